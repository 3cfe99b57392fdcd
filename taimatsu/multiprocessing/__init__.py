"""``multiprocessing``: the standard module, whose queues and pipes carry tensors without copying.

A tensor that is sent, or given to a process, moves to shared memory (see `shared_memory`) and the
other process gets a tensor over the same memory. What isn't defined here is the standard module's.

    import taimatsu.multiprocessing as mp

    queue = mp.Queue()
    process = mp.Process(target=work, args=(queue, model))
"""

from __future__ import annotations

import multiprocessing as _standard
from typing import Any

from .context import get_context
from .reductions import init_reductions
from .shared_memory import (
    get_all_sharing_strategies,
    get_sharing_strategy,
    set_sharing_strategy,
)
from .spawn import (
    ProcessContext,
    ProcessException,
    ProcessExitedException,
    ProcessRaisedException,
    SpawnContext,
    spawn,
    start_processes,
)

# Names of the contexts: those of the present start method are ours.
_OF_CONTEXT = ("JoinableQueue", "Pipe", "Pool", "Queue", "SimpleQueue")


def __getattr__(name: str) -> Any:
    if name in _OF_CONTEXT:
        return getattr(get_context(), name)
    if name.startswith("__"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(_standard, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_standard.__all__})


__all__ = [
    *(name for name in _standard.__all__ if name != "Manager"),
    "Manager",
    "ProcessContext",
    "ProcessException",
    "ProcessExitedException",
    "ProcessRaisedException",
    "SpawnContext",
    "get_all_sharing_strategies",
    "get_sharing_strategy",
    "init_reductions",
    "set_sharing_strategy",
    "spawn",
    "start_processes",
]
