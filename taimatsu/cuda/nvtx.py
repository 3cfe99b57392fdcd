"""``cuda.nvtx``: marks in the timeline of NVIDIA's profilers.

They cost nothing and show nothing: `profiler.record_function` marks ranges that its own timeline
shows. Where there is no GPU they raise RuntimeError, as PyTorch's do.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ._driver import is_available

__all__ = ["mark", "range", "range_end", "range_pop", "range_push", "range_start"]

_depth = 0
_numbers = itertools.count(1)


def _there() -> None:
    if not is_available():
        raise RuntimeError(
            "NVTX functions not installed. Are you sure you have a CUDA build? "
            "torch.profiler.record_function marks ranges on the CPU"
        )


def mark(msg: str) -> None:
    """A point."""
    _there()


def range_push(msg: str) -> int:
    """Opens a range; returns how many were open before."""
    global _depth
    _there()
    _depth += 1
    return _depth - 1


def range_pop() -> int:
    """Closes the range that was opened last; returns how many are open then."""
    global _depth
    _there()
    _depth -= 1
    return _depth


def range_start(msg: str) -> int:
    """Opens a range that another thread may close; returns its number."""
    _there()
    return next(_numbers)


def range_end(range_id: int) -> None:
    """Closes the range of this number."""
    _there()


@contextmanager
def range(msg: str, *args: Any, **kwargs: Any) -> Iterator[None]:
    """A named range around a block."""
    range_push(msg.format(*args, **kwargs))
    try:
        yield
    finally:
        range_pop()
