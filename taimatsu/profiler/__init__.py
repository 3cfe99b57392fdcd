"""``profiler``: which ops ran when, over the steps of a training loop.

>>> with torch.profiler.profile() as prof:
...     _ = torch.ones(2).add(1)
>>> print(prof.key_averages().table(sort_by="cpu_time_total"))  # doctest: +SKIP

It is `autograd.profiler` with a schedule: which steps are waited for, warmed up in, recorded.
"""

from __future__ import annotations

import enum
import json
import os
import socket
import time
import typing
from collections.abc import Callable, Iterable
from typing import Any

from taimatsu._lazy import submodules
from taimatsu.autograd.profiler import EventList, record_function
from taimatsu.autograd.profiler import profile as _Recording

__getattr__ = submodules(__name__)


__all__ = [
    "DeviceType", "ProfilerAction", "ProfilerActivity", "kineto_available", "profile",
    "record_function", "schedule", "supported_activities", "tensorboard_trace_handler",
]  # fmt: skip


class ProfilerActivity(enum.Enum):
    """What is recorded: of the CPU; of other devices nothing, there are none."""

    CPU = 0
    XPU = 1
    MTIA = 2
    CUDA = 3
    HPU = 4
    PrivateUse1 = 5


class DeviceType(enum.Enum):
    """Where an event was."""

    CPU = 0
    CUDA = 1
    XPU = 12
    MTIA = 20


class ProfilerAction(enum.Enum):
    """What is done in a step."""

    NONE = 0
    WARMUP = 1
    RECORD = 2
    RECORD_AND_SAVE = 3


def supported_activities() -> set[ProfilerActivity]:
    """What can be recorded."""
    return {ProfilerActivity.CPU}


def kineto_available() -> bool:
    """Whether PyTorch's library of GPU events is there: False."""
    return False


def schedule(
    *, wait: int, warmup: int, active: int, repeat: int = 0, skip_first: int = 0,
    skip_first_wait: int = 0, **options: Any,
) -> Callable[[int], ProfilerAction]:  # fmt: skip
    """For `profile`: after ``skip_first`` steps, cycles of steps that pass, warm up, are recorded.

    ``repeat`` cycles, endlessly many for 0. ``skip_first_wait``: the first cycle doesn't wait.

    >>> [schedule(wait=1, warmup=0, active=2)(i).name for i in range(4)]
    ['NONE', 'RECORD', 'RECORD_AND_SAVE', 'NONE']
    """
    if min(wait, warmup, repeat, skip_first) < 0 or active < 1:
        raise AssertionError(
            "schedule: wait, warmup, repeat and skip_first must be at least 0, active at least 1"
        )
    cycle = wait + warmup + active

    def action(step: int) -> ProfilerAction:
        step -= skip_first
        if step < 0:
            return ProfilerAction.NONE
        if skip_first_wait:
            step += wait
        if repeat and step >= repeat * cycle:
            return ProfilerAction.NONE
        at = step % cycle
        if at < wait:
            return ProfilerAction.NONE
        if at < wait + warmup:
            return ProfilerAction.WARMUP
        return ProfilerAction.RECORD if at < cycle - 1 else ProfilerAction.RECORD_AND_SAVE

    return action


def tensorboard_trace_handler(
    dir_name: str, worker_name: str | None = None, use_gzip: bool = False
) -> Callable[[Any], None]:
    """For ``on_trace_ready``: writes a trace file for each recording into a folder."""
    worker = worker_name or f"{socket.gethostname()}_{os.getpid()}"

    def write(prof: Any) -> None:
        os.makedirs(dir_name, exist_ok=True)
        ending = "pt.trace.json.gz" if use_gzip else "pt.trace.json"
        prof.export_chrome_trace(os.path.join(dir_name, f"{worker}.{time.time_ns()}.{ending}"))

    return write


def _default_schedule_fn(step: int) -> ProfilerAction:
    """Every step is recorded."""
    return ProfilerAction.RECORD


def _random_id() -> str:
    return os.urandom(16).hex().upper()


_RECORDING = (ProfilerAction.RECORD, ProfilerAction.RECORD_AND_SAVE)


class profile:
    """Records the ops of its ``with`` block, or of the steps that ``schedule`` chooses.

    schedule        a function from the number of the step to a `ProfilerAction`; call `step` at the
                    end of each step
    on_trace_ready  called with the profiler whenever a recording is complete
    record_shapes   the operands' sizes too

    ``activities`` other than the CPU's, memory, stacks, flops and modules are not recorded; the
    options are accepted. AssertionError for results that are asked for before there are any.
    """

    def __init__(
        self, *, activities: Iterable[ProfilerActivity] | None = None,
        schedule: Callable[[int], ProfilerAction] | None = None,
        on_trace_ready: Callable[[Any], Any] | None = None, record_shapes: bool = False,
        profile_memory: bool = False, with_stack: bool = False, with_flops: bool = False,
        with_modules: bool = False, **options: Any,
    ):  # fmt: skip
        self.activities = set(activities or supported_activities())
        self.schedule = schedule or _default_schedule_fn
        self._steps = schedule is not None
        self.on_trace_ready = on_trace_ready
        self.record_shapes = record_shapes
        self.step_num = 0
        self.current_action = self.schedule(0)
        self._recording: _Recording | None = None
        self._step_range: record_function | None = None
        self._metadata: dict[str, Any] = {}
        self.profiler: _Recording | None = None  # the last complete recording
        self._make_trace_id: Callable[[], str] = _random_id
        self._trace_id: str | None = None

    # ---- the recording ------------------------------------------------------------------------
    def start(self) -> None:
        """Begins; ``with`` does this."""
        if self.current_action in _RECORDING:
            self._begin()
        self._enter_step()

    def stop(self) -> None:
        """Ends; ``with`` does this."""
        self._leave_step()
        if self._recording is not None:
            self._end()
            if self.on_trace_ready:
                self.on_trace_ready(self)

    def step(self) -> None:
        """The end of a step, and the beginning of the next."""
        self._leave_step()
        before = self.current_action
        self.step_num += 1
        self.current_action = self.schedule(self.step_num)
        over = before is ProfilerAction.RECORD_AND_SAVE or self.current_action not in _RECORDING
        if self._recording is not None and over:
            self._end()
            if self.on_trace_ready:
                self.on_trace_ready(self)
        if self._recording is None and self.current_action in _RECORDING:
            self._begin()
        self._enter_step()

    def _begin(self) -> None:
        self._trace_id = self._make_trace_id()
        self._recording = _Recording(record_shapes=self.record_shapes)
        self._recording.__enter__()

    def _end(self) -> None:
        assert self._recording is not None
        self._recording.__exit__()
        self.profiler, self._recording = self._recording, None

    def _enter_step(self) -> None:
        if self._steps and self._recording is not None:
            self._step_range = record_function(f"ProfilerStep#{self.step_num}")
            self._step_range.__enter__()

    def _leave_step(self) -> None:
        if self._step_range is not None:
            self._step_range.__exit__()
            self._step_range = None

    def __enter__(self) -> typing.Self:
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def prepare_trace(self) -> None:
        """Nothing: recording needs no preparation."""

    def start_trace(self) -> None:
        """Records from here on, whatever the schedule says."""
        if self._recording is None:
            self._begin()

    def stop_trace(self) -> None:
        """Ends what `start_trace` began."""
        if self._recording is not None:
            self._end()

    def preset_metadata_json(self, key: str, value: str) -> None:
        """`add_metadata_json`, before there is a recording."""
        self.add_metadata_json(key, value)

    def set_custom_trace_id_callback(self, callback: Callable[[], str]) -> None:
        """What makes the name of each recording, in place of random ones."""
        self._make_trace_id = callback

    def get_trace_id(self) -> str | None:
        """The name of the running or last recording; None before the first."""
        return self._trace_id

    # ---- what was recorded --------------------------------------------------------------------
    def _last(self) -> _Recording:
        if self.profiler is None:
            raise AssertionError("Profiler must be initialized before getting its results")
        return self.profiler

    def events(self) -> EventList:
        """The events of the last recording."""
        return self._last().events()

    def key_averages(self, group_by_input_shape: bool = False, **options: Any) -> EventList:
        """Their averages by name."""
        return self._last().key_averages(group_by_input_shape)

    def export_chrome_trace(self, path: str) -> None:
        """Writes the last recording for chrome://tracing, compressed if the path ends on .gz."""
        events = self.events()
        if not path.endswith(".gz") and not self._metadata:
            return events.export_chrome_trace(path)
        import gzip
        import tempfile

        with tempfile.TemporaryDirectory() as folder:
            plain = os.path.join(folder, "trace.json")
            events.export_chrome_trace(plain)
            with open(plain) as file:
                trace = {**json.load(file), **self._metadata}
        with (gzip.open if path.endswith(".gz") else open)(path, "wt") as file:
            json.dump(trace, file)
        return None

    def add_metadata(self, key: str, value: str) -> None:
        """Text that `export_chrome_trace` adds."""
        self._metadata[key] = value

    def add_metadata_json(self, key: str, value: str) -> None:
        """JSON that `export_chrome_trace` adds."""
        self._metadata[key] = json.loads(value)

    def export_stacks(self, path: str, metric: str = "self_cpu_time_total") -> None:
        """Writes stacks for flame graphs. RuntimeError: stacks are not recorded."""
        raise RuntimeError(
            "profile.export_stacks: the Python stacks of ops are not recorded; "
            "use export_chrome_trace"
        )

    def export_memory_timeline(self, path: str, device: str | None = None) -> None:
        """Writes memory over time. RuntimeError: memory is not recorded."""
        raise RuntimeError(
            "profile.export_memory_timeline: memory is not recorded; see torch.memory_stats()"
        )
