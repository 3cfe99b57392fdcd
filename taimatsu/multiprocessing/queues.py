"""Queues that carry tensors as handles: the standard library's, over our connections."""

from __future__ import annotations

import select
import socket
import threading
import time
from collections import deque
from multiprocessing import context, queues, util
from multiprocessing.synchronize import SEM_VALUE_MAX
from queue import Empty, Full
from typing import Any

from .connection import Pipe
from .reductions import Parcel, pack

__all__ = ["JoinableQueue", "Queue", "SimpleQueue"]


class SimpleQueue(queues.SimpleQueue):
    """A pipe for several senders and receivers; `put` waits while it is full."""

    def __init__(self, *, ctx: Any):
        self._reader, self._writer = Pipe(duplex=False)
        self._rlock = ctx.Lock()  # a pool takes it to empty the queue; packets need no locks
        self._wlock = None
        self._poll = self._reader.poll

    def get(self) -> Any:
        """The next value, waited for."""
        return self._reader.recv()

    def put(self, obj: Any) -> None:
        """Send a value; tensors in it move to shared memory."""
        self._writer.send(obj)


class Queue:
    """``multiprocessing.Queue`` for values with tensors in them.

    `put` sends at once where there is room in the pipe, and leaves the rest to a thread. What was
    put is there for the receiver even if the sender has ended. Arguments that can't be pickled
    raise in `put`.
    """

    def __init__(self, maxsize: int = 0, *, ctx: Any):
        if maxsize <= 0:
            maxsize = SEM_VALUE_MAX
        self._maxsize = maxsize
        self._reader, self._writer = Pipe(duplex=False)
        self._sem = ctx.BoundedSemaphore(maxsize)
        self._start()

    def _start(self) -> None:
        self._lock = threading.Lock()
        self._backlog: deque[Parcel] = deque()  # what the pipe had no room for
        self._thread: threading.Thread | None = None
        self._closed = False
        self._joining: Any = None
        util.register_after_fork(self, Queue._start)  # the child has no such thread

    def __getstate__(self) -> tuple:
        context.assert_spawning(self)
        return self._maxsize, self._reader, self._writer, self._sem

    def __setstate__(self, state: tuple) -> None:
        self._maxsize, self._reader, self._writer, self._sem = state
        self._start()

    def put(self, obj: Any, block: bool = True, timeout: float | None = None) -> None:
        """Send a value. queue.Full if there is no room, in `timeout` seconds."""
        self._check()
        parcel = pack(obj)
        if not self._sem.acquire(block, timeout):
            for segment in parcel.handles:
                segment.hand_out(-1)
            raise Full
        with self._lock:
            if not self._backlog:
                try:
                    return self._writer.send_parcel(parcel, socket.MSG_DONTWAIT)
                except BlockingIOError:
                    pass
            self._backlog.append(parcel)
            if self._thread is None:
                self._thread = threading.Thread(target=self._feed, daemon=True)
                self._thread.start()
                self._joining = util.Finalize(self, self._thread.join, exitpriority=-5)

    def _feed(self) -> None:
        ready = select.poll()
        ready.register(self._writer.fileno(), select.POLLOUT)
        while True:
            ready.poll(1000)
            with self._lock:
                try:
                    while self._backlog:
                        self._writer.send_parcel(self._backlog[0], socket.MSG_DONTWAIT)
                        self._backlog.popleft()
                except BlockingIOError:
                    continue
                except OSError:  # nobody can receive any more
                    self._backlog.clear()
                self._thread = None
                return

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        """The next value. queue.Empty if there is none, in `timeout` seconds."""
        self._check()
        end = None if timeout is None else time.monotonic() + max(0.0, timeout)
        while True:
            try:
                parcel = self._reader.receive_parcel(socket.MSG_DONTWAIT)
                break
            except BlockingIOError:
                left = None if end is None else end - time.monotonic()
                if not block or (left is not None and left <= 0) or not self._reader.poll(left):
                    raise Empty from None
        self._sem.release()
        return self._reader.unpack(parcel)

    def put_nowait(self, obj: Any) -> None:
        """`put` that doesn't wait."""
        return self.put(obj, False)

    def get_nowait(self) -> Any:
        """`get` that doesn't wait."""
        return self.get(False)

    def qsize(self) -> int:
        """About how many values are there."""
        return self._maxsize - self._sem.get_value()

    def empty(self) -> bool:
        """Whether nothing is there to get."""
        return not self._reader.poll()

    def full(self) -> bool:
        """Whether `put` would wait."""
        return self._sem.get_value() == 0

    def close(self) -> None:
        """This process puts and gets no more."""
        self._closed = True

    def join_thread(self) -> None:
        """Wait until all that was put is in the pipe. Only after `close`."""
        if not self._closed:
            raise AssertionError(f"Queue {self!r} not closed")
        if (thread := self._thread) is not None:
            thread.join()

    def cancel_join_thread(self) -> None:
        """Don't wait at exit for what is not in the pipe yet: it may be lost."""
        if self._joining is not None:
            self._joining.cancel()

    def _check(self) -> None:
        if self._closed:
            raise ValueError(f"Queue {self!r} is closed")


class JoinableQueue(Queue):
    """A `Queue` that knows how many of its values are not dealt with (`task_done`, `join`)."""

    def __init__(self, maxsize: int = 0, *, ctx: Any):
        super().__init__(maxsize, ctx=ctx)
        self._unfinished = ctx.Semaphore(0)
        self._finished = ctx.Condition()

    def __getstate__(self) -> tuple:
        return super().__getstate__(), self._unfinished, self._finished

    def __setstate__(self, state: tuple) -> None:
        state, self._unfinished, self._finished = state
        super().__setstate__(state)

    def put(self, obj: Any, block: bool = True, timeout: float | None = None) -> None:
        """Send a value, which `task_done` has to be called for."""
        with self._finished:
            self._unfinished.release()
        try:
            super().put(obj, block, timeout)
        except BaseException:
            self.task_done()
            raise

    def task_done(self) -> None:
        """A value that was got has been dealt with. ValueError if called too often."""
        with self._finished:
            if not self._unfinished.acquire(False):
                raise ValueError("task_done() called too many times")
            if self._unfinished._semlock._is_zero():
                self._finished.notify_all()

    def join(self) -> None:
        """Wait until all values have been dealt with."""
        with self._finished:
            if not self._unfinished._semlock._is_zero():
                self._finished.wait()
