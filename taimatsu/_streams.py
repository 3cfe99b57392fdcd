"""``Stream`` and ``Event`` of any device: those of `cuda` for a GPU; the CPU's are always done."""

from __future__ import annotations

from typing import Any

from . import _core


class _ByDevice(type):
    """Calling a class for any device makes an object of the class for the device that is meant."""

    def __call__(cls, *args: Any, **options: Any) -> Any:
        if object not in cls.__bases__:  # a class for one device
            return super().__call__(*args, **options)
        from . import accelerator, cuda

        device = args[0] if args else options.pop("device", None)
        device = device if device is not None else accelerator.current_accelerator() or "cpu"
        device = _core.device(device)
        if device.type != "cuda":
            return super().__call__(device, *args[1:], **options)
        place = {"device": device} if cls is Stream else {}  # events are where they are recorded
        return getattr(cuda, cls.__name__)(*args[1:], **place, **options)


class Stream(metaclass=_ByDevice):
    """A queue of work on a device, by default the accelerator, else the CPU.

    priority: lower numbers go first. For a GPU a ``cuda.Stream``; RuntimeError where it is absent.

    >>> torch.Stream("cpu").query()
    True
    """

    def __init__(self, device: Any = None, *, priority: int = 0):
        self.device, self.priority = device, priority

    def query(self) -> bool:
        """Whether all work so far is done."""
        return True

    def synchronize(self) -> None:
        """Waits for all work so far."""

    def wait_event(self, event: Any) -> None:
        """What is queued from now on starts after the event."""

    def wait_stream(self, stream: Any) -> None:
        """What is queued from now on starts after all that `stream` has now."""

    def record_event(self, event: Any = None) -> Any:
        """An event that is reached when all work so far is done."""
        return Event(self.device) if event is None else event

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *exc: object) -> None:
        pass

    def __repr__(self) -> str:
        return f"torch.Stream device={self.device}"


class Event(metaclass=_ByDevice):
    """A mark in a stream of a device, by default of the accelerator, else of the CPU.

    For a GPU a ``cuda.Event``; RuntimeError where it is absent.

    >>> torch.Event("cpu").query()
    True
    """

    def __init__(
        self, device: Any = None, *,
        enable_timing: bool = False, blocking: bool = False, interprocess: bool = False,
    ):  # fmt: skip
        self.device = device

    def record(self, stream: Any = None) -> None:
        """Marks where the stream is now."""

    def wait(self, stream: Any = None) -> None:
        """What is queued on the stream from now on starts after this."""

    def query(self) -> bool:
        """Whether it is reached."""
        return True

    def synchronize(self) -> None:
        """Waits until it is reached."""

    def elapsed_time(self, end_event: Any) -> float:
        """Milliseconds from this to `end_event`; nothing measures them on the CPU: RuntimeError."""
        raise RuntimeError(f"elapsed_time: {self.device} keeps no times; use time.perf_counter")

    def __repr__(self) -> str:
        return f"torch.Event device={self.device}"
