"""``cuda.streams``: queues of work for a GPU, and events in them."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

from taimatsu import _core, _streams

from ._driver import absent, core, index_of

__all__ = [
    "Event", "ExternalStream", "Stream", "StreamContext", "current_stream", "default_stream",
    "get_stream_from_external", "set_stream", "stream",
]  # fmt: skip

_BLOCKING_SYNC, _DISABLE_TIMING, _INTERPROCESS = 1, 2, 4  # the driver's flags of events
_TYPE = 1  # PyTorch's number of the kind of device


def _here(what: str) -> Any:
    try:
        return core(what)
    except AssertionError as error:  # what PyTorch's classes raise
        raise RuntimeError(str(error)) from None


class Stream(_streams.Stream):
    """A queue of work, which runs in order; that of different streams runs at the same time.

    ``device``: the current GPU by default. ``priority``: lower numbers go first, 0 by default. The
    streams of a device are a few that are given out in turns. RuntimeError where there is no GPU.

    >>> s = torch.cuda.Stream()
    >>> with torch.cuda.stream(s):
    ...     y = x @ x
    >>> torch.cuda.current_stream().wait_stream(s)
    """

    def __init__(
        self, device: Any = None, priority: int = 0, *,
        stream_id: int | None = None, device_index: int | None = None, device_type: int = _TYPE,
    ):  # fmt: skip
        cuda = _here("Stream")
        self.device_index = index_of(device if device_index is None else device_index)
        if stream_id is None:
            stream_id = cuda.new_stream(self.device_index, priority)
        self.cuda_stream: int = stream_id
        self.stream_id: int = stream_id
        self.device_type = _TYPE

    @property
    def device(self) -> _core.device:
        """The GPU."""
        return _core.device("cuda", self.device_index)

    @property
    def priority(self) -> int:  # type: ignore[override]
        """Lower numbers go first."""
        return core().stream_priority(self.device_index, self.cuda_stream)

    @staticmethod
    def priority_range() -> tuple[int, int]:
        """The least and the greatest priority: 0 and a negative number."""
        return core("Stream.priority_range").priority_range(-1)

    def query(self) -> bool:
        """Whether all work so far is done."""
        return core().stream_query(self.device_index, self.cuda_stream)

    def synchronize(self) -> None:
        """Waits for all work so far; raises what kernels have reported."""
        core().stream_synchronize(self.device_index, self.cuda_stream)

    def record_event(self, event: Event | None = None) -> Event:
        """An event that is reached when all work so far is done."""
        event = Event() if event is None else event
        event.record(self)
        return event

    def wait_event(self, event: Event) -> None:
        """What is queued from now on starts after the event. Doesn't wait itself."""
        event.wait(self)

    def wait_stream(self, stream: Stream) -> None:
        """What is queued from now on starts after all that `stream` has now. Doesn't wait."""
        self.wait_event(stream.record_event())

    def __enter__(self) -> Stream:
        self._contexts = [*getattr(self, "_contexts", ()), StreamContext(self)]
        self._contexts[-1].__enter__()
        return self

    def __exit__(self, *exc: object) -> None:
        self._contexts.pop().__exit__(*exc)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Stream):
            return NotImplemented
        return (self.device_index, self.cuda_stream) == (other.device_index, other.cuda_stream)

    def __hash__(self) -> int:
        return hash((self.device_index, self.cuda_stream))

    @property
    def _as_parameter_(self) -> Any:
        import ctypes

        return ctypes.c_void_p(self.cuda_stream)

    def __cuda_stream__(self) -> tuple[int, int]:
        return (0, self.cuda_stream)

    def __repr__(self) -> str:
        return f"<torch.cuda.Stream device={self.device} cuda_stream={self.cuda_stream:#x}>"


class ExternalStream(Stream):
    """A stream that another library has made, by its handle. It must live as long as this."""

    def __init__(self, stream_ptr: int, device: Any = None, **kwargs: Any):
        _here("ExternalStream")
        super().__init__(device, stream_id=int(stream_ptr))


class Event(_streams.Event):
    """A mark in a stream: to wait for, to order streams by, to measure time between two.

    ``enable_timing``: `elapsed_time` can be asked. ``blocking``: `synchronize` lets other threads
    of the machine run. RuntimeError where there is no GPU.

    >>> start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    >>> start.record(); y = x @ x; end.record()
    >>> end.synchronize(); start.elapsed_time(end)  # milliseconds
    """

    def __init__(
        self, enable_timing: bool = False, blocking: bool = False, interprocess: bool = False,
        external: bool = False,
    ):  # fmt: skip
        _here("Event")
        if interprocess and enable_timing:
            raise RuntimeError("Event: interprocess events take no times; enable_timing=False")
        self._flags = _BLOCKING_SYNC * blocking | _DISABLE_TIMING * (not enable_timing)
        self._flags |= _INTERPROCESS * interprocess
        self.cuda_event = 0  # made on the device that first records it
        self.device: _core.device | None = None

    def _made(self, device: int) -> int:
        if not self.cuda_event:
            self.cuda_event = core().new_event(device, self._flags)
            self.device = _core.device("cuda", device)
        return self.cuda_event

    @property
    def _index(self) -> int:
        return self.device.index if self.device else 0  # type: ignore[return-value]

    def record(self, stream: Stream | None = None) -> None:
        """Marks where `stream`, by default the current one, is now."""
        stream = current_stream() if stream is None else stream
        if self.device and self.device.index != stream.device_index:
            raise RuntimeError(
                f"Event.record: the event's device {self.device} is not the stream's "
                f"{stream.device}; use an event of its own"
            )
        event = self._made(stream.device_index)
        core().record_event(stream.device_index, event, stream.cuda_stream)

    def wait(self, stream: Stream | None = None) -> None:
        """What is queued on `stream`, the current one by default, from now on starts after this."""
        stream = current_stream() if stream is None else stream
        if self.cuda_event:
            core().stream_wait(stream.device_index, stream.cuda_stream, self.cuda_event)

    def query(self) -> bool:
        """Whether it is reached; True if it was never recorded."""
        return not self.cuda_event or core().query_event(self._index, self.cuda_event)

    def ipc_handle(self) -> bytes:
        """What names it to other processes, of one made with ``interprocess=True``.

        It is recorded in this process, and waited for in those that `from_ipc_handle` opens it in.
        """
        if not self._flags & _INTERPROCESS:
            raise RuntimeError("Event.ipc_handle: the event is not made with interprocess=True")
        event = self._made(core().current_device() if self.device is None else self._index)
        return core().export_event(self._index, event)

    @classmethod
    def from_ipc_handle(cls, device: Any, handle: bytes) -> Event:
        """An event of another process, by its `ipc_handle`, on the same GPU."""
        index = index_of(device, "Event.from_ipc_handle")
        opened = cls(interprocess=True)
        opened.cuda_event = core().open_event(index, handle)
        opened.device = _core.device("cuda", index)
        return opened

    def synchronize(self) -> None:
        """Waits until it is reached; raises what kernels have reported."""
        if self.cuda_event:
            core().synchronize_event(self._index, self.cuda_event)

    def elapsed_time(self, end_event: Event) -> float:
        """Milliseconds from this to `end_event`. RuntimeError before both are reached."""
        if self._flags & _DISABLE_TIMING or end_event._flags & _DISABLE_TIMING:
            raise ValueError(
                "Both events must be created with argument 'enable_timing=True'."
            )  # fmt: skip
        if not self.cuda_event or not end_event.cuda_event:
            raise ValueError("Both events must be recorded before calculating elapsed time.")
        return core().elapsed(self._index, self.cuda_event, end_event.cuda_event)

    def __del__(self) -> None:
        if getattr(self, "cuda_event", 0):
            core().destroy_event(self.cuda_event)

    @property
    def _as_parameter_(self) -> Any:
        import ctypes

        return ctypes.c_void_p(self.cuda_event)

    def __repr__(self) -> str:
        return (
            f"<torch.cuda.Event {self.cuda_event:#x}>"
            if self.cuda_event
            else "<torch.cuda.Event uninitialized>"
        )


def current_stream(device: Any = None) -> Stream:
    """The stream that work of this thread is put on, of a device."""
    index = index_of(device, "current_stream")
    return Stream(device_index=index, stream_id=core().current_stream(index))


def default_stream(device: Any = None) -> Stream:
    """The stream that is the current one where nothing else is said."""
    return Stream(device_index=index_of(device, "default_stream"), stream_id=0)


def set_stream(stream: Stream | None) -> None:
    """Makes it the current one, of its device, in this thread; of None, nothing."""
    if stream is None:
        return
    cuda = core("set_stream")
    cuda.set_device(stream.device_index)
    cuda.set_stream(stream.device_index, stream.cuda_stream)


def get_stream_from_external(data_ptr: int, device: Any = None) -> ExternalStream:
    """`ExternalStream` of a handle."""
    core("get_stream_from_external")
    return ExternalStream(data_ptr, device)


class StreamContext(AbstractContextManager):
    """A context in which a stream, and its device, are the current ones; of None, nothing."""

    def __init__(self, stream: Stream | None):
        self.stream = stream

    def __enter__(self) -> None:
        if self.stream is None:
            return
        if not isinstance(self.stream, Stream):
            raise absent.refusal()
        cuda = core("stream")
        self._device = cuda.current_device()
        self._before = cuda.current_stream(self.stream.device_index)
        set_stream(self.stream)

    def __exit__(self, *exc: object) -> None:
        if self.stream is None:
            return
        cuda = core()
        cuda.set_stream(self.stream.device_index, self._before)
        cuda.set_device(self._device)


def stream(stream: Stream | None) -> StreamContext:
    """A context in which ``stream`` is the current one; of None, nothing."""
    return StreamContext(stream)
