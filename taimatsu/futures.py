"""Results that are not there yet, and what happens once they are."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, Generic, TypeVar

__all__ = ["Future", "collect_all", "wait_all"]

T = TypeVar("T")


class Future(Generic[T]):
    """A value that another thread sets; callbacks run when it does, or at once if it has.

    >>> f = torch.futures.Future()
    >>> g = f.then(lambda f: f.value() + 1)
    >>> f.set_result(1)
    >>> g.wait()
    2
    """

    def __init__(self, *, devices: Any = None):
        self._done = threading.Condition()
        self._state: tuple[Any, BaseException | None] | None = None
        self._callbacks: list[Callable[[Future], Any]] = []

    def done(self) -> bool:
        """Whether there is a value, or an exception."""
        return self._state is not None

    def wait(self) -> T:
        """The value, once it is there; raises the exception if there is one instead."""
        with self._done:
            self._done.wait_for(self.done)
        return self.value()

    def value(self) -> T:
        """The value. RuntimeError if it isn't there; raises the exception if that is set."""
        if self._state is None:
            raise RuntimeError("Future.value: the future isn't completed; use wait()")
        value, error = self._state
        if error is not None:
            raise error
        return value

    def _complete(self, value: Any, error: BaseException | None) -> None:
        with self._done:
            if self._state is not None:
                raise RuntimeError(
                    "Future can only be marked completed once; it has a result already"
                )
            self._state = (value, error)
            callbacks, self._callbacks = self._callbacks, []
            self._done.notify_all()
        for callback in callbacks:
            callback(self)

    def set_result(self, result: T) -> None:
        """Sets the value. RuntimeError if it is set."""
        self._complete(result, None)

    def set_exception(self, result: BaseException) -> None:
        """Sets an exception, which `wait` and `value` raise."""
        if not isinstance(result, BaseException):
            raise AssertionError(f"{result} is of type {type(result)}, not an Exception.")
        self._complete(None, result)

    def add_done_callback(self, callback: Callable[[Future[T]], None]) -> None:
        """Calls ``callback(future)`` when it is completed."""
        with self._done:
            if self._state is None:
                self._callbacks.append(callback)
                return
        callback(self)

    def then(self, callback: Callable[[Future[T]], Any]) -> Future[Any]:
        """The future of ``callback(future)``; of its exception, if it raises one."""
        after: Future[Any] = Future()

        def run(future: Future[T]) -> None:
            try:
                result = callback(future)
            except Exception as error:
                after.set_exception(error)
            else:
                after.set_result(result)

        self.add_done_callback(run)
        return after


def collect_all(futures: list[Future]) -> Future[list[Future]]:
    """The future of all of them, completed once they all are.

    >>> done = torch.futures.Future()
    >>> done.set_result(3)
    >>> [f.value() for f in torch.futures.collect_all([done]).wait()]
    [3]
    """
    together: Future[list[Future]] = Future()
    left, lock = len(futures), threading.Lock()

    def one_done(_: Future) -> None:
        nonlocal left
        with lock:
            left -= 1
            last = left == 0
        if last:
            together.set_result(futures)

    if not futures:
        together.set_result([])
    for future in futures:
        future.add_done_callback(one_done)
    return together


def wait_all(futures: list[Future]) -> list[Any]:
    """The values of all of them; raises the first exception.

    >>> done = torch.futures.Future()
    >>> done.set_result(3)
    >>> torch.futures.wait_all([done])
    [3]
    """
    return [future.wait() for future in collect_all(futures).wait()]
