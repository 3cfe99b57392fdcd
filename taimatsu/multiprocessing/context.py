"""The start methods of processes, each with queues and pipes that carry tensors."""

from __future__ import annotations

import multiprocessing
import sys
from multiprocessing import context
from typing import Any

__all__ = ["get_context"]


class _Sharing:
    """What differs from the standard library's contexts."""

    def get_context(self, method: str | None = None) -> Any:
        return self if method is None else get_context(method)

    def Pipe(self, duplex: bool = True) -> Any:
        """Two connected ends; see `multiprocessing.Pipe`."""
        from .connection import Pipe

        return Pipe(duplex)

    def Queue(self, maxsize: int = 0) -> Any:
        """A queue for several processes; see `multiprocessing.Queue`."""
        from .queues import Queue

        return Queue(maxsize, ctx=self)

    def JoinableQueue(self, maxsize: int = 0) -> Any:
        """A queue that can be waited for; see `multiprocessing.JoinableQueue`."""
        from .queues import JoinableQueue

        return JoinableQueue(maxsize, ctx=self)

    def SimpleQueue(self) -> Any:
        """A queue without a limit and a thread; see `multiprocessing.SimpleQueue`."""
        from .queues import SimpleQueue

        return SimpleQueue(ctx=self)


def _contexts() -> dict[str, Any]:
    found = {}
    for method in multiprocessing.get_all_start_methods():
        base = type(multiprocessing.get_context(method))
        # Packets on Unix sockets, which carry descriptors, are Linux's; elsewhere the standard
        # queues carry handles of the strategy file_system.
        bases = (_Sharing, base) if sys.platform == "linux" else (base,)
        found[method] = type(base.__name__, bases, {"__module__": __name__})()
    return found


_CONTEXTS = _contexts()


def get_context(method: str | None = None) -> Any:
    """The context of a start method ("fork", "spawn", "forkserver"), by default of the present one.

    It has the module's functions. ValueError for a method that the platform doesn't have.
    """
    if isinstance(method, context.BaseContext):
        return method
    chosen = multiprocessing.get_context(method).get_start_method()
    return _CONTEXTS[chosen]
