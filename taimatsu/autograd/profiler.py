"""Which ops ran when, and for how long: events, their averages, a trace for a browser.

>>> with torch.autograd.profiler.profile() as p:
...     _ = torch.ones(2).add(1)
>>> [e.name for e in p.events()]
['aten::ones', 'aten::add']

An interpreter takes the time around each op; those that a composite is made of lie inside of it.
"""

from __future__ import annotations

import functools
import json
import os
import threading
import time
import typing
from collections.abc import Callable
from typing import Any

from taimatsu import Tensor
from taimatsu._interpreter import Interpreter, frames

__all__ = ["EventList", "FunctionEvent", "emit_nvtx", "profile", "record_function"]


class FunctionEvent:
    """One op, or one block named by `record_function`. Times are in microseconds."""

    def __init__(self, name: str, start: float, parent: FunctionEvent | None, shapes: Any = None):
        self.name = self.key = name
        self.start_us, self.end_us = start, start
        self.cpu_parent = parent
        self.cpu_children: list[FunctionEvent] = []
        self.input_shapes = shapes
        self.thread = threading.get_ident()
        self.count = 1

    @property
    def cpu_time_total(self) -> float:
        """How long it took, with what it called."""
        return self.end_us - self.start_us

    cpu_time = cpu_time_total

    @property
    def self_cpu_time_total(self) -> float:
        """How long it took, without what it called."""
        return self.cpu_time_total - sum(c.cpu_time_total for c in self.cpu_children)

    def __repr__(self) -> str:
        return f"<FunctionEvent {self.name}: {self.cpu_time_total:.1f} us>"


class FunctionEventAvg:
    """The events of one name."""

    def __init__(self, key: str, events: list[FunctionEvent]):
        self.key, self.count = key, len(events)
        self.cpu_time_total = sum(e.cpu_time_total for e in events)
        self.self_cpu_time_total = sum(e.self_cpu_time_total for e in events)
        self.input_shapes = events[0].input_shapes

    @property
    def cpu_time(self) -> float:
        """How long one took, on average."""
        return self.cpu_time_total / self.count


class EventList(list):
    """Events, in order of their start, or averages."""

    def key_averages(self, group_by_input_shapes: bool = False, **options: Any) -> EventList:
        """The averages of events of one name (and of the same sizes)."""
        groups: dict[Any, list[FunctionEvent]] = {}
        for e in self:
            key = (e.name, repr(e.input_shapes)) if group_by_input_shapes else e.name
            groups.setdefault(key, []).append(e)
        return EventList(FunctionEventAvg(events[0].name, events) for events in groups.values())

    def total_average(self) -> FunctionEventAvg:
        """The average of all."""
        return FunctionEventAvg("Total", list(self))

    @property
    def self_cpu_time_total(self) -> float:
        """The time of all, counting nothing twice."""
        return sum(e.self_cpu_time_total for e in self)

    def table(
        self, sort_by: str | None = None, row_limit: int = 100, max_name_column_width: int = 55,
        **options: Any,
    ) -> str:  # fmt: skip
        """As text. ``sort_by``: an attribute of the averages, the largest first."""
        rows = list(self)
        if sort_by is not None:
            rows.sort(key=lambda e: -getattr(e, sort_by))
        total = self.self_cpu_time_total or 1.0
        lines = [("Name", "Self CPU %", "Self CPU", "CPU total", "CPU time avg", "# of Calls")]
        lines += [
            (
                e.key[:max_name_column_width],
                f"{e.self_cpu_time_total / total:.2%}",
                *(f"{t:.3f}us" for t in (e.self_cpu_time_total, e.cpu_time_total, e.cpu_time)),
                str(e.count),
            )
            for e in rows[: None if row_limit < 0 else row_limit]
        ]
        widths = [max(len(line[i]) for line in lines) for i in range(6)]
        text = [
            "  ".join(cell.rjust(w) for cell, w in zip(line, widths, strict=True)) for line in lines
        ]
        return "\n".join([text[0], "-" * len(text[0]), *text[1:]])

    def export_chrome_trace(self, path: str) -> None:
        """Writes the events for chrome://tracing and its kin."""
        events = [
            {
                "ph": "X", "cat": "cpu_op", "name": e.name, "pid": os.getpid(), "tid": e.thread,
                "ts": e.start_us, "dur": e.cpu_time_total,
                "args": {"Input Dims": e.input_shapes} if e.input_shapes is not None else {},
            }
            for e in self
        ]  # fmt: skip
        with open(path, "w") as file:
            json.dump({"traceEvents": events, "displayTimeUnit": "ms"}, file)


class _Recorder(Interpreter):
    def __init__(self, record_shapes: bool):
        self.events: list[FunctionEvent] = []
        self.record_shapes = record_shapes
        self._open: FunctionEvent | None = None

    def begin(self, name: str, shapes: Any = None) -> FunctionEvent:
        event = FunctionEvent(name, time.perf_counter_ns() / 1000, self._open, shapes)
        if self._open is not None:
            self._open.cpu_children.append(event)
        self.events.append(event)
        self._open = event
        return event

    def end(self, event: FunctionEvent) -> None:
        event.end_us = time.perf_counter_ns() / 1000
        self._open = event.cpu_parent

    def call(self, op: Any, args: tuple, targets: tuple | None) -> Any:
        shapes = None
        if self.record_shapes:
            shapes = [list(a.shape) if isinstance(a, Tensor) else [] for a in args]
        inplace = targets is not None and args[0] is targets[0]
        event = self.begin(f"aten::{op.name.partition('.')[0]}{'_' * inplace}", shapes)
        try:
            carry_out = self.descend if op.kind == "composite" else self.below
            return carry_out(op, args, targets)
        finally:
            self.end(event)


def innermost_recording() -> _Recorder | None:
    """What records the thread's ops, if anything does."""
    return next((f for f in reversed(frames()) if isinstance(f, _Recorder)), None)


class profile:
    """Records the ops of its ``with`` block in this thread, those of backward passes too.

    ``enabled=False``: records nothing. ``record_shapes``: the operands' sizes too. Other options
    are accepted and have no effect. RuntimeError where the results are asked for too early.
    """

    def __init__(self, enabled: bool = True, *, record_shapes: bool = False, **options: Any):
        self.enabled = enabled
        self._recorder = _Recorder(record_shapes)
        self._done = False

    def __enter__(self) -> typing.Self:
        if self.enabled:
            self._recorder.__enter__()
        return self

    def __exit__(self, *exc: object) -> None:
        if self.enabled:
            self._recorder.__exit__()
        self._done = True

    def events(self) -> EventList:
        """The events."""
        if not self._done:
            raise RuntimeError("Profiler didn't finish running; ask after the `with` block")
        return EventList(self._recorder.events)

    function_events = property(events)

    def key_averages(self, group_by_input_shape: bool = False, **options: Any) -> EventList:
        """Their averages by name."""
        return self.events().key_averages(group_by_input_shape)

    def total_average(self) -> FunctionEventAvg:
        """The average of all."""
        return self.events().total_average()

    def table(self, **options: Any) -> str:
        """The averages as text."""
        return self.key_averages().table(**options)

    def export_chrome_trace(self, path: str) -> None:
        """Writes the events for chrome://tracing and its kin."""
        self.events().export_chrome_trace(path)

    @property
    def self_cpu_time_total(self) -> float:
        """The time of all, in microseconds."""
        return self.events().self_cpu_time_total


class emit_nvtx(Interpreter):
    """A context in which every op is a range in the timeline of NVIDIA's profilers.

    ``enabled=False``: nothing is. RuntimeError, on entering, where there is no GPU.
    """

    def __init__(self, enabled: bool = True, record_shapes: bool = False):
        self.enabled, self.record_shapes = enabled, record_shapes

    def __enter__(self) -> typing.Self:
        from taimatsu.cuda import nvtx

        if self.enabled:
            nvtx.mark("begin")
            super().__enter__()
        return self

    def __exit__(self, *exc: object) -> None:
        if self.enabled:
            super().__exit__(*exc)

    def call(self, op: Any, args: tuple, targets: tuple | None) -> Any:
        """The op, in its range."""
        from taimatsu.cuda import nvtx

        shapes = [tuple(a.shape) for a in args if isinstance(a, Tensor)]
        with nvtx.range(f"{op.name}, sizes = {shapes}" if self.record_shapes else op.name):
            return self.below(op, args, targets)


class record_function:
    """A context manager and decorator: an event of this name, around those inside.

    >>> with torch.autograd.profiler.record_function("my block"):
    ...     pass
    """

    def __init__(self, name: str, args: str | None = None):
        self.name, self.args = name, args
        self._events: list[tuple[_Recorder, FunctionEvent]] = []

    def __enter__(self) -> typing.Self:
        recorders = [f for f in frames() if isinstance(f, _Recorder)]
        self._events = [(r, r.begin(self.name)) for r in recorders]
        return self

    def __exit__(self, *exc: object) -> None:
        for recorder, event in self._events:
            recorder.end(event)

    def __call__(self, function: Callable) -> Callable:
        @functools.wraps(function)
        def decorated(*args: Any, **kwargs: Any) -> Any:
            with record_function(self.name, self.args):
                return function(*args, **kwargs)

        return decorated
