"""Context managers that are decorators too, of generators as well."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

__all__: list[str] = []


class _DecoratorContextManager:
    """A context that can decorate a function: each call runs in a context of its own (`clone`)."""

    def __enter__(self) -> Any:
        raise NotImplementedError

    def __exit__(self, *exc: object) -> Any:
        raise NotImplementedError

    def clone(self) -> Any:
        """A context as this one; to be overridden where the constructor takes arguments."""
        return type(self)()

    def __call__(self, function: Callable) -> Callable:
        if inspect.isgeneratorfunction(function):

            @functools.wraps(function)
            def generator(*args: Any, **kwargs: Any) -> Any:
                made = function(*args, **kwargs)
                step, value = made.send, None
                while True:
                    try:
                        with self.clone():
                            given = step(value)
                    except StopIteration as stop:
                        return stop.value
                    try:
                        value, step = (yield given), made.send
                    except GeneratorExit:
                        with self.clone():
                            made.close()
                        raise
                    except BaseException as error:
                        value, step = error, made.throw

            return generator

        @functools.wraps(function)
        def inside(*args: Any, **kwargs: Any) -> Any:
            with self.clone():
                return function(*args, **kwargs)

        return inside


class _NoParamDecoratorContextManager(_DecoratorContextManager):
    """One whose class decorates too: ``@name`` is ``@name()``."""

    def __new__(cls, function: Callable | None = None) -> Any:
        made = super().__new__(cls)
        return made if function is None else made(function)
