"""``distributed``: several processes that compute together, on one machine or more.

    dist.init_process_group("gloo")             # torchrun's environment says who is who
    model = nn.parallel.DistributedDataParallel(model)

`store` and `rendezvous`: how they find one another; `process_group`: their connections;
`collectives`: what they do together; `run`: a launcher. The backend "gloo" is that of the CPU.
"""

from __future__ import annotations

import importlib
from types import MappingProxyType
from typing import Any

from taimatsu._lazy import submodules

from . import _parts  # noqa: F401  (modules that are known by name only)
from .collectives import *  # noqa: F403
from .collectives import __all__ as _collectives
from .collectives import _all_gather_base, _reduce_scatter_base  # noqa: F401
from .process_group import ProcessGroup, ReduceOp, Work
from .rendezvous import register_rendezvous_handler
from .rendezvous import rendezvous as rendezvous
from .store import (
    DistBackendError,
    DistError,
    DistNetworkError,
    DistStoreError,
    FileStore,
    HashStore,
    PrefixStore,
    Store,
    TCPStore,
)

ProcessGroupGloo = ProcessGroup
SUM, AVG, PRODUCT, MIN, MAX = 0, 1, 2, 3, 4

__all__ = [
    "DistBackendError", "DistError", "DistNetworkError", "DistStoreError", "FileStore",
    "HashStore", "PrefixStore", "ProcessGroup", "ProcessGroupGloo", "ReduceOp", "Store", "TCPStore",
    "Work", "register_rendezvous_handler", "rendezvous", *_collectives,
]  # fmt: skip


class Backend(str):
    """A backend's name, in small letters. ValueError for none."""

    UNDEFINED, GLOO, NCCL, MPI, UCC, XCCL = "undefined", "gloo", "nccl", "mpi", "ucc", "xccl"
    default_device_backend_map = MappingProxyType({"cpu": GLOO})
    backend_list = (UNDEFINED, GLOO, NCCL, XCCL, UCC, MPI)

    def __new__(cls, name: str) -> Backend:
        if not isinstance(name, str):
            raise ValueError("Backend constructor parameter must be string-ish")
        return super().__new__(cls, name.lower())


__all__ += ["Backend"]

_LAZY = {"DeviceMesh": "device_mesh", "init_device_mesh": "device_mesh"} | dict.fromkeys(
    (
        "AllToAllOptions", "AllreduceCoalescedOptions", "AllreduceOptions", "BackendConfig",
        "BarrierOptions", "BroadcastOptions", "BuiltinCommHookType", "DebugLevel", "GatherOptions",
        "GroupName", "QueueEmptyError", "ReduceOptions", "ReduceScatterOptions", "ScatterOptions",
        "breakpoint", "get_debug_level", "record_comm", "set_debug_level",
        "set_debug_level_from_env", "shrink_group", "split_group",
    ),
    "_options",
)  # fmt: skip


_submodule = submodules(__name__)


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(f"{__name__}.{_LAZY[name]}"), name)
    if name == "GradBucket":
        return importlib.import_module("taimatsu.nn.parallel.distributed").GradBucket
    return _submodule(name)
