"""Ctrl-C among several processes: one of them raises KeyboardInterrupt, and it is never lost.

A terminal sends SIGINT to every process of a program. The main one ends it and what it started;
those get the signal too and have to be silent, also while they are starting (`held`, `begin`).
Python loses a KeyboardInterrupt in two ways:

* The signal comes just before a system call that waits, or another thread takes it: the call goes
  on. So nothing here waits longer than a moment at a time (`waits`).
* It is raised where there is nobody to catch it, in the callback of a weak reference, ``__del__``
  or a hook of forks: Python prints it and goes on. `insist` has it raised again.
"""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from multiprocessing import forkserver, resource_tracker
from typing import Any

from taimatsu._core import interrupt_again

__all__ = ["Held", "begin", "held", "insist", "waits"]

MOMENT = 0.2  # seconds

_handler: Any = None  # what `held` has put off


@contextlib.contextmanager
def held(start_method: str) -> Iterator[None]:
    """Put SIGINT off until the end; processes that are started meanwhile have it blocked.

    Not those that a fork server starts, as it may be there already: give them a `Held`.
    """
    global _handler
    if start_method != "fork":  # would be started blocked too, or unblocks
        resource_tracker.ensure_running()
    if start_method == "forkserver":
        forkserver.ensure_running()
    came: list[tuple] = []
    handler = signal.getsignal(signal.SIGINT)
    # Blocking is not enough here, since another thread may take the signal.
    replaced = callable(handler) and threading.current_thread() is threading.main_thread()
    if replaced:
        signal.signal(signal.SIGINT, lambda *args: came.append(args))
        _handler = handler
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        if replaced:
            signal.signal(signal.SIGINT, handler)
        if came:
            signal.raise_signal(signal.SIGINT)


class Held:
    """An argument of a process: where it is unpickled SIGINT is blocked, until `begin`.

    Before that a process ends silently by it; after that it would tell.
    """

    def __reduce__(self) -> tuple:
        return _blocked, ()


def _blocked() -> Held:
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    return Held()


def begin(handler: Callable | None = None) -> None:
    """In a process that was started inside `held`: SIGINT goes to `handler`, or where it went."""
    if handler or _handler:
        signal.signal(signal.SIGINT, handler or _handler)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


def waits(timeout: float | None) -> Iterator[float]:
    """A wait of `timeout` seconds, or one without an end, in pieces: the seconds of each."""
    end = None if timeout is None else time.monotonic() + timeout
    left = MOMENT
    while left > 0:
        if end is not None:
            left = max(0.0, min(MOMENT, end - time.monotonic()))
        yield left


def insist() -> None:
    """From now on a KeyboardInterrupt that nobody can catch is raised again."""
    hook = sys.unraisablehook
    if getattr(hook, "func", None) is not interrupt_again:
        sys.unraisablehook = partial(interrupt_again, hook)
