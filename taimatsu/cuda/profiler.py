"""``cuda.profiler``: starts and stops the recording of NVIDIA's profilers (nsys, ncu)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ._driver import core

__all__ = ["profile", "start", "stop"]


def start() -> None:
    """From here on, what is launched is recorded, by a profiler that waits for this."""
    core("profiler.start").profiler(True)


def stop() -> None:
    """Ends what `start` began."""
    core("profiler.stop").profiler(False)


@contextmanager
def profile() -> Iterator[None]:
    """A context that is recorded."""
    start()
    try:
        yield
    finally:
        stop()
