"""``nn.parallel``: one model on several devices of a machine. With the CPU alone there is one."""

from __future__ import annotations

from taimatsu._lazy import submodules

from . import comm
from .data_parallel import DataParallel, data_parallel
from .distributed import DistributedDataParallel
from .parallel_apply import parallel_apply
from .replicate import replicate
from .scatter_gather import gather, scatter, scatter_kwargs

__getattr__ = submodules(__name__)


__all__ = [
    "DataParallel", "DistributedDataParallel", "comm", "data_parallel", "gather", "parallel_apply",
    "replicate", "scatter", "scatter_kwargs",
]  # fmt: skip
