"""``cuda.nvtx``: marks in the timeline of NVIDIA's profilers, which need a GPU."""

from __future__ import annotations

from contextlib import contextmanager
from typing import Any, NoReturn

__all__ = ["mark", "range", "range_end", "range_pop", "range_push", "range_start"]


def _refuse(*args: Any) -> NoReturn:
    """Raises RuntimeError: there is no GPU to be profiled."""
    raise RuntimeError(
        "NVTX functions not installed. Are you sure you have a CUDA build? "
        "torch.profiler.record_function marks ranges on the CPU"
    )


mark = range_end = range_pop = range_push = range_start = _refuse


@contextmanager
def range(msg: str, *args: Any, **kwargs: Any):
    """A named range around a block."""
    range_push(msg.format(*args, **kwargs))
    try:
        yield
    finally:
        range_pop()
