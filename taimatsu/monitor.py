"""``monitor``: events and statistics of a running program, for whoever listens.

>>> seen = []
>>> handle = torch.monitor.register_event_handler(seen.append)
>>> torch.monitor.log_event(torch.monitor.Event("loss", datetime.now(), {"value": 0.5}))
>>> seen[0].data
{'value': 0.5}
>>> torch.monitor.unregister_event_handler(handle)
"""

from __future__ import annotations

import enum
import threading
import time
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import Any

__all__ = [
    "Aggregation", "Event", "EventHandlerHandle", "Stat", "TensorboardEventHandler", "data_value_t",
    "log_event", "register_event_handler", "unregister_event_handler",
]  # fmt: skip

data_value_t = str | float | int | bool
_handlers: dict[int, Callable[[Event], Any]] = {}
_lock = threading.Lock()


class Event:
    """Something that happened: a name, when, and values by name (str, float, int or bool)."""

    def __init__(self, name: str, timestamp: datetime, data: dict[str, Any]):
        if not isinstance(name, str) or not isinstance(timestamp, datetime):
            raise TypeError("Event: takes a name, a datetime and a dict of values")
        if any(not isinstance(v, (str, float, int, bool)) for v in data.values()):
            raise TypeError(f"Event: values are str, float, int or bool; got {data}")
        self.name, self.timestamp, self.data = name, timestamp, dict(data)


class EventHandlerHandle:
    """What `register_event_handler` gives, to end it by."""

    def __init__(self, key: int):
        self._key = key


def register_event_handler(callback: Callable[[Event], Any]) -> EventHandlerHandle:
    """Calls a function with every event from now on. It should not take long."""
    with _lock:
        key = max(_handlers, default=0) + 1
        _handlers[key] = callback
    return EventHandlerHandle(key)


def unregister_event_handler(handler: EventHandlerHandle) -> None:
    """Ends what `register_event_handler` began."""
    with _lock:
        _handlers.pop(handler._key, None)


def log_event(event: Event) -> None:
    """Gives an event to all handlers."""
    with _lock:
        handlers = list(_handlers.values())
    for handler in handlers:
        handler(event)


class Aggregation(enum.Enum):
    """What a `Stat` makes of the values of a window."""

    NONE = 0
    VALUE = 1
    MEAN = 2
    COUNT = 3
    SUM = 4
    MAX = 5
    MIN = 6


_AGGREGATE: dict[Aggregation, Callable[[list[float]], float]] = {
    Aggregation.VALUE: lambda v: v[-1] if v else 0.0,
    Aggregation.MEAN: lambda v: sum(v) / len(v) if v else 0.0,
    Aggregation.COUNT: lambda v: float(len(v)),
    Aggregation.SUM: lambda v: float(sum(v)),
    Aggregation.MAX: lambda v: max(v, default=0.0),
    Aggregation.MIN: lambda v: min(v, default=0.0),
}


class Stat:
    """Values of a window of time, logged as an event when it is over.

    window_size   how long a window is; it ends with the next value, or look, after that
    max_samples   how many values a window takes; further ones are dropped

    >>> stat = Stat("loss", [Aggregation.MEAN, Aggregation.COUNT], timedelta(seconds=60))
    >>> stat.add(1.0)
    >>> stat.add(2.0)
    >>> stat.get()
    {<Aggregation.MEAN: 2>: 1.5, <Aggregation.COUNT: 3>: 2.0}
    """

    def __init__(self, name: str, aggregations: Iterable[Aggregation], window_size: timedelta,
                 max_samples: int = 2**63 - 1):  # fmt: skip
        self.name = name
        self._aggregations, self._window = list(aggregations), window_size.total_seconds()
        if self._window <= 0:
            raise ValueError(f"Stat: the window has to be longer than nothing; got {window_size}")
        self._most = max_samples
        self._values: list[float] = []
        self._lock = threading.Lock()
        self._began = self._now()

    def _now(self) -> int:
        return int(time.time() // self._window)

    def _aggregate(self) -> dict[Aggregation, float]:
        return {a: _AGGREGATE[a](self._values) for a in self._aggregations if a in _AGGREGATE}

    def _turn(self) -> None:
        """Logs the window and begins another one, if its time is over."""
        now = self._now()
        if now == self._began:
            return
        found, any_values = self._aggregate(), bool(self._values)
        began, self._began, self._values = self._began, now, []
        if any_values:
            data = {f"{self.name}.{a.name.lower()}": value for a, value in found.items()}
            when = datetime.fromtimestamp(began * self._window)
            log_event(Event("torch.monitor.Stat", when, data))

    def add(self, v: float) -> None:
        """A value."""
        with self._lock:
            self._turn()
            if len(self._values) < self._most:
                self._values.append(float(v))

    def get(self) -> dict[Aggregation, float]:
        """What the values of this window make so far."""
        with self._lock:
            self._turn()
            return self._aggregate()

    @property
    def count(self) -> int:
        """How many values this window has."""
        with self._lock:
            self._turn()
            return len(self._values)


class TensorboardEventHandler:
    """A handler that writes statistics with a ``SummaryWriter``, as scalars."""

    def __init__(self, writer: Any):
        self._writer = writer

    def __call__(self, event: Event) -> None:
        if event.name == "torch.monitor.Stat":
            for key, value in event.data.items():
                self._writer.add_scalar(key, value, walltime=event.timestamp.timestamp())
