"""Options of collectives, groups and debugging, by PyTorch's names."""

from __future__ import annotations

import contextlib
import enum
import os
import pdb
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from . import collectives as dist
from .process_group import DEFAULT_TIMEOUT, ProcessGroup
from .store import DistBackendError

__all__ = [
    "AllToAllOptions", "AllreduceCoalescedOptions", "AllreduceOptions", "BackendConfig",
    "BarrierOptions", "BroadcastOptions", "BuiltinCommHookType", "DebugLevel", "GatherOptions",
    "GroupName", "QueueEmptyError", "ReduceOptions", "ReduceScatterOptions", "ScatterOptions",
    "breakpoint", "get_debug_level", "record_comm", "set_debug_level", "set_debug_level_from_env",
    "shrink_group", "split_group",
]  # fmt: skip

GroupName = str
"""The name of a process group."""


class QueueEmptyError(DistBackendError):
    """A queue of a store is empty."""


@dataclass
class _Options:
    """What every collective may be told."""

    timeout: timedelta = DEFAULT_TIMEOUT
    asyncOp: bool = True


@dataclass
class _Reducing(_Options):
    reduceOp: int = dist.ReduceOp.SUM


@dataclass
class _Rooted(_Options):
    rootRank: int = 0


class AllreduceOptions(_Reducing):
    """Of `all_reduce`."""


class AllreduceCoalescedOptions(AllreduceOptions):
    """Of `all_reduce_coalesced`."""


class ReduceScatterOptions(_Reducing):
    """Of `reduce_scatter`."""


class AllToAllOptions(_Options):
    """Of `all_to_all`."""


class GatherOptions(_Rooted):
    """Of `gather`."""


class ScatterOptions(_Rooted):
    """Of `scatter`."""


@dataclass
class BroadcastOptions(_Rooted):
    """Of `broadcast`; ``rootTensor``: which of the tensors."""

    rootTensor: int = 0


@dataclass
class ReduceOptions(_Reducing):
    """Of `reduce`."""

    rootRank: int = 0
    rootTensor: int = 0


@dataclass
class BarrierOptions(_Options):
    """Of `barrier`."""

    device: Any = None
    device_ids: list[int] = field(default_factory=list)


class BuiltinCommHookType(enum.Enum):
    """How gradients are averaged: as they are, or as float16."""

    ALLREDUCE = 1
    FP16_COMPRESS = 2


class BackendConfig:
    """The backends by types of devices, of "gloo" or "cpu:gloo,cuda:nccl"."""

    def __init__(self, backend: str):
        self.device_backend_map = dist._backends(backend)

    def get_device_backend_map(self) -> dict[str, str]:
        """The backends by types of devices."""
        return self.device_backend_map

    def __repr__(self) -> str:
        return ",".join(f"{kind}:{name}" for kind, name in self.device_backend_map.items())


# ---- debugging ----------------------------------------------------------------------------------


class DebugLevel(enum.Enum):
    """What `distributed` tells about itself."""

    OFF = 0
    INFO = 1
    DETAIL = 2


_VARIABLE = "TORCH_DISTRIBUTED_DEBUG"
_level: DebugLevel | None = None


def set_debug_level_from_env() -> None:
    """Takes the level from TORCH_DISTRIBUTED_DEBUG. RuntimeError if that isn't one."""
    global _level
    name = os.environ.get(_VARIABLE, "OFF").upper()
    if name not in DebugLevel.__members__:
        known = ", ".join(DebugLevel.__members__)
        raise RuntimeError(f"The value of {_VARIABLE} must be one of {known}; got {name}")
    _level = DebugLevel[name]


def get_debug_level() -> DebugLevel:
    """The level."""
    if _level is None:
        set_debug_level_from_env()
    assert _level is not None
    return _level


def set_debug_level(debug_level: DebugLevel) -> None:
    """Sets the level."""
    global _level
    _level = debug_level


@contextlib.contextmanager
def record_comm(name: str) -> Iterator[None]:
    """Inside, collectives are events of this name in profiles."""
    from taimatsu.autograd.profiler import record_function

    with record_function(name):
        yield


_passed: dict[int, int] = {}


def breakpoint(rank: int = 0, skip: int = 0, timeout_s: float = 3600) -> None:
    """Stops in the debugger in one process, while the others wait.

    ``skip``: goes on so many times before it stops.
    """
    if skip > 0:
        caller = hash(sys._getframe(1).f_lineno)
        _passed[caller] = _passed.get(caller, 0) + 1
        if _passed[caller] <= skip:
            return
    if dist.get_rank() == rank:
        debugger = pdb.Pdb()
        debugger.message(f"rank {rank} stopped; 'up' is where breakpoint was called")
        debugger.set_trace()
    dist.barrier()


# ---- groups of groups ---------------------------------------------------------------------------


def split_group(
    parent_pg: ProcessGroup | None = None, split_ranks: Sequence[Sequence[int]] | None = None,
    timeout: timedelta | None = None, pg_options: Any = None, group_desc: str | None = None,
    backend: str | None = None,
) -> ProcessGroup | None:  # fmt: skip
    """This process's part of a group, of parts given as ranks in it; None in none of them.

    All processes have to call it. ValueError for ranks that are in two parts, or not in the group.
    """
    parent = parent_pg or dist._world()
    every = [r for part in split_ranks or () for r in part]
    if not every:
        raise ValueError("split_group: split_ranks cannot be None or empty")
    if len(set(every)) != len(every) or any(not 0 <= r < parent.size() for r in every):
        raise ValueError(
            f"split_group: ranks have to be below {parent.size()} and in one part; got "
            f"{split_ranks}"
        )
    ranks = dist.get_process_group_ranks(parent)
    found = None
    for part in split_ranks or ():
        made = dist.new_group([ranks[r] for r in part], timeout, backend)
        found = made if isinstance(made, ProcessGroup) else found
    return found


def shrink_group(
    ranks_to_exclude: Sequence[int], group: ProcessGroup | None = None, shrink_flags: int = 0,
    pg_options: Any = None,
) -> ProcessGroup:  # fmt: skip
    """A group without some of its processes, which don't call this; the old one is ended.

    ValueError for no ranks, or such as aren't in the group; RuntimeError in a process to leave.
    """
    old = group or dist._world()
    excluded = set(ranks_to_exclude)
    if not excluded or any(not 0 <= r < old.size() for r in excluded):
        raise ValueError(f"shrink_group: expected ranks below {old.size()}; got {ranks_to_exclude}")
    if old.rank() in excluded:
        raise RuntimeError(f"shrink_group: rank {old.rank()} is one of those to leave")
    before = dist.get_process_group_ranks(old)
    kept = [before[r] for r in range(old.size()) if r not in excluded]
    assert dist._store is not None
    name = f"{old.group_name}-{'-'.join(map(str, sorted(excluded)))}"
    made = ProcessGroup(dist._store, kept.index(before[old.rank()]), len(kept), old.timeout, name,
                        old.backends)  # fmt: skip
    dist._ranks[made] = kept
    if old is dist.GroupMember.WORLD:
        dist.GroupMember.WORLD = made
    del dist._ranks[old]
    old.close()
    return made
