"""How a process tells the launcher what failed: by its status and its traceback."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

__all__ = ["ChildFailedError", "record"]

_F = TypeVar("_F", bound=Callable)


def record(fn: _F, error_handler: Any = None) -> _F:
    """A decorator of a program's main function: ``fn``, whose traceback is printed anyway."""
    return fn


class ChildFailedError(Exception):
    """Processes of a launcher failed: ``failures``, what is known of each by its rank."""

    def __init__(self, name: str, failures: dict[int, Any]):
        self.name, self.failures = name, failures
        super().__init__(f"{name} failed: {failures}")
