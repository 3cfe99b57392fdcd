"""What a fork waits for: a child has none of the other threads, but the locks that they hold."""

from __future__ import annotations

import contextlib
import importlib
import os
from typing import Any

_guarded: list[Any] = []  # in the order in which they are taken
_held: list[Any] = []


def guard(lock: Any) -> Any:
    """``lock`` itself, with ``acquire`` and ``release``, which is nobody's in a child."""
    _guarded.append(lock)
    return lock


def _half_imported() -> list[str]:
    """Modules of this package that threads are importing now: those are locked too."""
    locks = getattr(importlib, "_bootstrap")._module_locks  # noqa: B009  (not in type stubs)
    package = __name__.partition(".")[0] + "."
    return [name for name in list(locks) if name.startswith(package)]


def _before() -> None:
    for attempt in range(100):
        for lock in _guarded:  # more may come while this waits
            lock.acquire()
            _held.append(lock)
        names = _half_imported()
        if not names or attempt == 99:
            return
        _after()  # an import may need the locks
        for name in names:
            with contextlib.suppress(Exception):  # the thread that imports it is told
                importlib.import_module(name)


def _after() -> None:
    while _held:
        _held.pop().release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before, after_in_parent=_after, after_in_child=_after)
