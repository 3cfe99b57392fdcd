"""``distributed.fsdp``: models whose parameters, gradients and optimizer states are divided.

`fully_shard` divides a module's parameters in place; `FullyShardedDataParallel` is a wrapper that
does the same, with PyTorch's older interface. `_sharded`: what both do.
"""

from __future__ import annotations

from ._fully_shard import (
    CPUOffloadPolicy,
    DataParallelMeshDims,
    FSDPModule,
    MixedPrecisionPolicy,
    OffloadPolicy,
    UnshardHandle,
    fully_shard,
    register_fsdp_forward_method,
    share_comm_ctx,
)
from .api import *  # noqa: F403
from .api import __all__ as _options
from .fully_sharded_data_parallel import FullyShardedDataParallel, OptimStateKeyType

__all__ = [
    "CPUOffloadPolicy", "DataParallelMeshDims", "FSDPModule", "FullyShardedDataParallel",
    "MixedPrecisionPolicy", "OffloadPolicy", "OptimStateKeyType", "UnshardHandle", "fully_shard",
    "register_fsdp_forward_method", "share_comm_ctx", *_options,
]  # fmt: skip
