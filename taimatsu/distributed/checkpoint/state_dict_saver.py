"""`save` and `async_save`: what processes hold together, into one checkpoint."""

from __future__ import annotations

import concurrent.futures
import inspect
import os
from collections.abc import Callable
from typing import Any

import taimatsu as torch
from taimatsu.utils._pytree import tree_map_only

from .. import collectives as dist
from ..tensor._api import DTensor, wrap
from .api import CheckpointException
from .default_planner import DefaultSavePlanner
from .filesystem import FileSystemWriter, _rank
from .metadata import Metadata
from .planner import SavePlanner
from .stateful import Stateful
from .storage import StorageWriter

__all__ = ["async_save", "save", "save_state_dict"]


def together(step: str, group: Any, size: int, action: Callable[[], Any]) -> list[Any]:
    """What the processes' actions give; `CheckpointException` in all if one fails."""
    error: BaseException | None = None
    result = None
    try:
        result = action()
    except Exception as failed:
        error = failed
    if size == 1:
        results = [(result, error)]
    else:
        gathered: list[Any] = [None] * size
        dist.all_gather_object(gathered, (result, error), group=group)
        results = gathered
    failures = {rank: e for rank, (_, e) in enumerate(results) if e is not None}
    if failures:
        raise CheckpointException(step, failures)
    return [r for r, _ in results]


def _takes_more(function: Callable) -> bool:
    """Whether it has ``**kwargs``, which not all writers have."""
    kinds = [p.kind for p in inspect.signature(function).parameters.values()]
    return inspect.Parameter.VAR_KEYWORD in kinds


def states(state_dict: dict[str, Any]) -> dict[str, Any]:
    """Objects that know their state, by it."""
    return {
        k: v.state_dict() if isinstance(v, Stateful) else v for k, v in state_dict.items()
    }  # fmt: skip


def save(
    state_dict: dict[str, Any], *, checkpoint_id: str | os.PathLike | None = None,
    storage_writer: StorageWriter | None = None, planner: SavePlanner | None = None,
    process_group: Any = None, no_dist: bool = False, use_collectives: bool = True,
) -> Metadata:  # fmt: skip
    """Writes a state dict: of each DTensor every process its part, all else once.

    ``checkpoint_id``: a folder; or a ``storage_writer``. All processes have to call it;
    ``no_dist``: this one alone. `CheckpointException` in all if one of them fails.

    >>> metadata = dist.checkpoint.save({"step": 3}, checkpoint_id="checkpoint")
    """
    state_dict = states(state_dict)
    rank, size = _rank(process_group, no_dist)
    writer = storage_writer or FileSystemWriter(checkpoint_id or "")
    if storage_writer is None and checkpoint_id is None:
        raise RuntimeError("save: needs a checkpoint_id or a storage_writer")
    planner = planner or DefaultSavePlanner()
    writer.reset(checkpoint_id)

    def plan() -> Any:
        planner.set_up_planner(state_dict, writer.storage_meta(), rank == 0)
        more = {"rank": rank} if _takes_more(writer.set_up_storage_writer) else {}
        writer.set_up_storage_writer(rank == 0, **more)
        return writer.prepare_local_plan(planner.create_local_plan())

    plans = together("plan", process_group, size, plan)
    plans, metadata = planner.create_global_plan(plans)  # alike in all processes
    plans = writer.prepare_global_plan(plans)
    final = planner.finish_plan(plans[rank])
    results = together(
        "write", process_group, size, lambda: writer.write_data(final, planner).wait()
    )

    def finish() -> None:
        if rank == 0:
            writer.finish(metadata, results)

    together("finish", process_group, size, finish)
    return metadata


def save_state_dict(
    state_dict: dict[str, Any], storage_writer: StorageWriter, process_group: Any = None,
    coordinator_rank: int = 0, no_dist: bool = False, planner: SavePlanner | None = None,
) -> Metadata:  # fmt: skip
    """The old name of `save`."""
    return save(state_dict, storage_writer=storage_writer, process_group=process_group,
                no_dist=no_dist, planner=planner)  # fmt: skip


def async_save(
    state_dict: dict[str, Any], *, checkpoint_id: str | os.PathLike | None = None,
    storage_writer: StorageWriter | None = None, planner: SavePlanner | None = None,
    process_group: Any = None, no_dist: bool = False, **options: Any,
) -> concurrent.futures.Future:  # fmt: skip
    """`save` of a copy, in another thread; a Future of its result.

    Give it a ``process_group`` of its own if others are used meanwhile.
    """

    def copied(t: Any) -> Any:
        if isinstance(t, DTensor):
            return wrap(t._local_tensor.detach().clone(), t._spec)
        return t.detach().clone()

    copy = tree_map_only(torch.Tensor, copied, states(state_dict))
    executor = concurrent.futures.ThreadPoolExecutor(1)
    future = executor.submit(
        save, copy, checkpoint_id=checkpoint_id, storage_writer=storage_writer, planner=planner,
        process_group=process_group, no_dist=no_dist,
    )  # fmt: skip
    executor.shutdown(wait=False)
    return future
