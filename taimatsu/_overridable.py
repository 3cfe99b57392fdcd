"""Functions in Python that ``__torch_function__`` sees, as it sees ops."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

from . import _core

__all__ = ["overridable"]

_F = TypeVar("_F", bound=Callable)


def overridable(function: _F) -> _F:
    """A decorator: the classes of a function's arguments, in lists of them too, are asked first."""

    @functools.wraps(function)
    def asking(*args: Any, **kwargs: Any) -> Any:
        given = (*args, *kwargs.values()) if kwargs else args
        if any(type(a) in (list, tuple) for a in given):
            given = tuple(x for a in given for x in (a if type(a) in (list, tuple) else (a,)))
        if _core._has_torch_function(given):
            from .overrides import handle_torch_function

            return handle_torch_function(asking, given, *args, **kwargs)
        return function(*args, **kwargs)

    return asking  # type: ignore[return-value]
