"""``cpu``: the CPU, in the form in which other devices' modules are asked.

Ops run where they are called and have run when the call returns, so a stream is only a name.
"""

from __future__ import annotations

import functools
import types as _types
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any

from taimatsu import _streams
from taimatsu._lazy import submodules

__all__ = [
    "Event", "Stream", "StreamContext", "current_device", "current_stream", "device_count",
    "get_capabilities", "is_available", "is_initialized", "set_device", "stream", "synchronize",
]  # fmt: skip

__getattr__ = submodules(__name__)


def is_available() -> bool:
    """True."""
    return True


def is_initialized() -> bool:
    """True."""
    return True


def device_count() -> int:
    """1, whatever number of cores it has."""
    return 1


def current_device() -> str:
    """ "cpu"."""
    return "cpu"


def set_device(device: Any) -> None:
    """Nothing: there is one."""


def synchronize(device: Any = None) -> None:
    """Nothing: all work is done when a call returns."""


@functools.cache
def get_capabilities() -> Mapping[str, bool]:
    """The instruction sets that there are, by LLVM's names: ``{"avx2": True, ...}``."""
    import llvmlite.binding as llvm

    return _types.MappingProxyType(dict(llvm.get_host_cpu_features()))


class Stream(_streams.Stream):
    """A queue of work; here none is ever queued."""

    def __init__(self, priority: int = -1):
        super().__init__("cpu", priority=priority)

    def record_event(self, event: Any = None) -> Event:
        """An event, that has happened."""
        return event or Event()


class Event(_streams.Event):
    """A point in a stream, which has always been passed."""

    def __init__(self) -> None:
        super().__init__("cpu")


_current = Stream()


def current_stream(device: Any = None) -> Stream:
    """The current stream."""
    return _current


class StreamContext(AbstractContextManager):
    """A context in which a stream is the current one."""

    def __init__(self, stream: Stream | None):
        self.stream = stream

    def __enter__(self) -> None:
        global _current
        self._before = _current
        if self.stream is not None:
            _current = self.stream

    def __exit__(self, *exc: object) -> None:
        global _current
        _current = self._before


def stream(stream: Stream | None) -> AbstractContextManager:
    """A context in which ``stream`` is the current one."""
    return StreamContext(stream)
