"""Whether ops are recorded: context managers that are decorators too."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

from taimatsu._core import (
    enable_grad,
    inference_mode,
    is_grad_enabled,
    is_inference_mode_enabled,
    no_grad,
    set_grad_enabled,
)

__all__ = [
    "enable_grad",
    "enforce_grad_layout_policy",
    "inference_mode",
    "is_grad_enabled",
    "is_inference_mode_enabled",
    "no_grad",
    "set_grad_enabled",
    "set_multithreading_enabled",
]

F = TypeVar("F", bound=Callable[..., Any])


_GENERATOR, _COROUTINE = 0x20, 0x80  # as `inspect` has them, which is large to import


def _flags(function: Any) -> int:
    """Those of its code."""
    while isinstance(function, functools.partial):
        function = function.func
    return getattr(getattr(function, "__code__", None), "co_flags", 0)


def decorate(mode: Any, function: F) -> F:
    """``function`` with every call of it inside a fresh ``mode``.

    A generator function enters the mode each time it runs on, and leaves it while it is suspended.
    """
    if isinstance(function, type):
        raise TypeError(
            f"{type(mode).__name__}: can't decorate the class {function.__name__}; decorate its "
            "methods"
        )
    flags = _flags(function)
    if flags & _GENERATOR:
        wrapped = _generator(mode, function)
    elif flags & _COROUTINE:

        @functools.wraps(function)
        async def wrapped(*args, **kwargs):
            with mode.clone():
                return await function(*args, **kwargs)
    else:

        @functools.wraps(function)
        def wrapped(*args, **kwargs):
            with mode.clone():
                return function(*args, **kwargs)

    return wrapped  # type: ignore[return-value]


def _generator(mode: Any, function: Callable) -> Callable:
    @functools.wraps(function)
    def wrapped(*args, **kwargs):
        generator = function(*args, **kwargs)
        step, payload = generator.send, None
        try:
            while True:
                with mode.clone():
                    try:
                        item = step(payload)
                    except StopIteration as stop:
                        return stop.value
                try:
                    payload = yield item
                    step = generator.send
                except GeneratorExit:
                    raise
                except BaseException as error:
                    payload, step = error, generator.throw
        finally:
            with mode.clone():
                generator.close()

    return wrapped


class _Setting:
    """A switch that is kept: set by calling it, for good or for a ``with`` block."""

    _value = True

    def __init__(self, mode: bool = True):
        cls = type(self)
        self.prev, self.mode = cls._value, mode
        cls._value = mode

    def __enter__(self) -> None:
        pass

    def __exit__(self, *exc: object) -> None:
        type(self)._value = self.prev

    def clone(self) -> _Setting:
        """Another one of the same mode."""
        return type(self)(self.mode)

    def __call__(self, function: F) -> F:
        type(self)._value = self.prev  # it holds in calls of the function only
        return decorate(self, function)


class set_multithreading_enabled(_Setting):
    """Whether backward uses a thread for each device. It runs in the caller's thread here."""


class enforce_grad_layout_policy(_Setting):
    """Whether gradients are accumulated in the layout of their tensors, as they always are."""
