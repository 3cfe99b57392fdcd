"""`load`: a checkpoint, into what processes hold."""

from __future__ import annotations

import os
from typing import Any

from .default_planner import DefaultLoadPlanner, _EmptyStateDictLoadPlanner
from .filesystem import FileSystemReader, _rank
from .planner import LoadPlanner
from .state_dict_saver import states, together
from .stateful import Stateful
from .storage import StorageReader

__all__ = ["load", "load_state_dict"]


def load(
    state_dict: dict[str, Any], *, checkpoint_id: str | os.PathLike | None = None,
    storage_reader: StorageReader | None = None, planner: LoadPlanner | None = None,
    process_group: Any = None, no_dist: bool = False,
) -> None:  # fmt: skip
    """Reads into a state dict: into its tensors in place, each process its parts.

    The checkpoint may have been written by any number of processes, with tensors divided
    otherwise. Objects that aren't tensors are replaced. `CheckpointException` if something that
    the state dict has isn't there, or has other sizes.

    >>> _ = dist.checkpoint.save({"step": 3}, checkpoint_id="checkpoint")
    >>> state = {"step": 0}
    >>> dist.checkpoint.load(state, checkpoint_id="checkpoint")
    >>> state
    {'step': 3}
    """
    values = states(state_dict)
    if storage_reader is None and checkpoint_id is None:
        raise RuntimeError("load: needs a checkpoint_id or a storage_reader")
    rank, size = _rank(process_group, no_dist)
    reader = storage_reader or FileSystemReader(checkpoint_id or "")
    planner = planner or DefaultLoadPlanner()
    reader.reset(checkpoint_id)

    def plan() -> Any:
        metadata = reader.read_metadata()
        planner.set_up_planner(values, metadata, rank == 0)
        reader.set_up_storage_reader(metadata, rank == 0)
        return reader.prepare_local_plan(planner.create_local_plan())

    plans = together("plan", process_group, size, plan)
    plans = reader.prepare_global_plan(planner.create_global_plan(plans))
    final = planner.finish_plan(plans[rank])

    def read() -> None:
        reader.read_data(final, planner).wait()

    together("read", process_group, size, read)
    for key, value in list(state_dict.items()):
        if isinstance(value, Stateful):
            value.load_state_dict(values[key])
        else:
            state_dict[key] = values[key]


def load_state_dict(
    state_dict: dict[str, Any], storage_reader: StorageReader, process_group: Any = None,
    coordinator_rank: int = 0, no_dist: bool = False, planner: LoadPlanner | None = None,
) -> None:  # fmt: skip
    """The old name of `load`."""
    load(state_dict, storage_reader=storage_reader, process_group=process_group, no_dist=no_dist,
         planner=planner)  # fmt: skip


def _load_state_dict_from_keys(
    keys: set[str] | str | None = None, *, checkpoint_id: str | os.PathLike | None = None,
    storage_reader: StorageReader | None = None, process_group: Any = None,
) -> dict[str, Any]:  # fmt: skip
    """What a checkpoint holds under these names, or all."""
    state: dict[str, Any] = {}
    chosen = {keys} if isinstance(keys, str) else keys
    reader = storage_reader or FileSystemReader(checkpoint_id or "")
    planner = _EmptyStateDictLoadPlanner(chosen)
    planner_values: dict[str, Any] = state
    metadata = reader.read_metadata()
    planner.set_up_planner(planner_values, metadata)
    reader.set_up_storage_reader(metadata, True)
    reader.read_data(planner.create_local_plan(), planner).wait()
    return state
