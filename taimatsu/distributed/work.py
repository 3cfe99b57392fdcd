"""What collectives are asked for and give: `ReduceOp`, `Work`."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import Any

from taimatsu.futures import Future

from .store import DistBackendError


class _RedOpType(type):
    names: tuple[str, ...]

    def __iter__(cls):
        return iter(cls.names)


class ReduceOp(metaclass=_RedOpType):
    """How `all_reduce` combines tensors."""

    SUM, AVG, PRODUCT, MIN, MAX, BAND, BOR, BXOR, PREMUL_SUM = range(9)
    RedOpType = int
    names = ("SUM", "AVG", "PRODUCT", "MIN", "MAX", "BAND", "BOR", "BXOR", "PREMUL_SUM")


class Work:
    """A collective that is being carried out."""

    def __init__(self) -> None:
        self._done = threading.Event()
        self._error: BaseException | None = None
        self._result: Any = None
        self._future: Future | None = None

    def _finish(self, result: Any, error: BaseException | None) -> None:
        self._result, self._error = result, error
        self._done.set()
        if self._future is not None:
            self._settle(self._future)

    def _settle(self, future: Future) -> None:
        if self._error is not None:
            future.set_exception(self._error)
        else:
            future.set_result(self._result)

    def wait(self, timeout: timedelta | None = None) -> bool:
        """Waits until it is done; its error is raised here."""
        seconds = timeout.total_seconds() if timeout else None
        if not self._done.wait(seconds):
            raise DistBackendError(f"Work.wait: not done after {seconds} s")
        if self._error is not None:
            raise self._error
        return True

    def is_completed(self) -> bool:
        """Whether it is done."""
        return self._done.is_set()

    def is_success(self) -> bool:
        """Whether it is done without an error."""
        return self._done.is_set() and self._error is None

    def exception(self) -> BaseException | None:
        """Its error."""
        return self._error

    def result(self) -> Any:
        """The tensors, once it is done."""
        self.wait()
        return self._result

    def get_future(self) -> Future:
        """The result as a Future."""
        if self._future is None:
            self._future = Future()
            if self._done.is_set():
                self._settle(self._future)
        return self._future
