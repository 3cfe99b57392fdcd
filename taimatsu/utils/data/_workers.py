"""The workers of a DataLoader: processes or threads that make batches, and the talk with them.

A worker gets `Epoch` and `Task` messages, in order, and answers each task with a `Reply`. It ends
when its connection does. What the main process does with the replies is `dataloader.py`'s matter;
here is how workers start, how they die, and that none is left.
"""

from __future__ import annotations

import contextlib
import os
import queue
import select
import signal
import threading
import time
import typing
from multiprocessing import parent_process
from typing import Any

import taimatsu as torch
from taimatsu.multiprocessing import interrupts, shared_memory

from . import _fetch
from ._fetch import Exhausted, Failure, WorkerInfo, fetcher, seed_all, seed_of_batch

GRACE_SECONDS = 0.4  # for a worker to finish what it is at, before it is ended


class Setup(typing.NamedTuple):
    """What a worker has to know of its DataLoader."""

    dataset: Any
    collate_fn: Any
    iterable: bool
    batched: bool
    drop_last: bool
    worker_init_fn: Any
    num_workers: int
    seed_per: str
    kind: str


class Epoch(typing.NamedTuple):
    """An epoch begins: its number, its seed, and the state that the dataset is to load."""

    number: int
    base_seed: int
    dataset_state: Any


class Task(typing.NamedTuple):
    """A batch to make, the `number` th of the epoch; or only to read past."""

    epoch: int
    number: int
    indices: Any
    skip: bool


class Reply(typing.NamedTuple):
    """Of a task: the batch, a `Failure`, `Exhausted` or `Skipped`; the dataset's state after it."""

    epoch: int
    number: int
    value: Any
    dataset_state: Any = None


class Worker:
    """One worker at its work, in its process or thread."""

    def __init__(self, setup: Setup, index: int, progress: Any):
        self.setup, self.index, self.progress = setup, index, progress
        self.where = f"in DataLoader worker {setup.kind} {index}"
        self.failed: Failure | None = None  # in the beginning: what every task is answered with
        self.started = False
        self.fetch: Any = None

    def begin(self, epoch: Epoch) -> None:
        """Seed, and begin with the dataset anew."""
        setup = self.setup
        self.base_seed = epoch.base_seed
        seed = epoch.base_seed + self.index
        if setup.kind == "process":  # threads have the global generators in common
            seed_all(seed)
        info = WorkerInfo(self.index, setup.num_workers, seed, setup.dataset, setup.kind)
        _fetch._local.info = info
        self.failed = None
        try:
            if not self.started and setup.worker_init_fn is not None:
                setup.worker_init_fn(self.index)
            self.started = True
            if epoch.dataset_state is not None:
                setup.dataset.load_state_dict(epoch.dataset_state)
            self.fetch = fetcher(setup)
        except Exception as error:
            self.failed = self.failure(error)

    def failure(self, error: Exception) -> Any:
        """How an exception is answered: by a description, or within a process by itself."""
        if self.setup.kind == "process":
            return Failure(self.where)
        error.add_note(f"({self.where})")
        return error

    def do(self, task: Task) -> Reply:
        """Carry out a task."""
        if self.failed is not None:
            return Reply(task.epoch, task.number, self.failed)
        if self.fetch is Exhausted:
            return Reply(task.epoch, task.number, Exhausted)
        state = None
        try:
            if self.setup.seed_per == "batch" and self.setup.kind == "process":
                seed_all(seed_of_batch(self.base_seed, task.number))
            if task.skip:
                value = self.fetch.skip(task.indices)
            else:
                value = self.fetch(task.indices, self.progress)
            if self.setup.iterable and hasattr(self.setup.dataset, "state_dict"):
                state = self.setup.dataset.state_dict()
        except Exception as error:
            value = self.failure(error)
        if value is Exhausted:
            self.fetch = Exhausted  # lets go of the iterator
        return Reply(task.epoch, task.number, value, state)


# ---- Processes -----------------------------------------------------------------------------------
def _serve(
    held: interrupts.Held, setup: Setup, index: int, connection: Any, progress: Any, to_close: list
) -> None:
    """The main function of a worker process."""
    import faulthandler

    interrupts.begin(lambda *_: None)  # the main process has it too, and ends this one
    signal.signal(signal.SIGTERM, _terminated)
    for inherited in to_close:  # of a fork: else their owner's end would not be noticed
        inherited.close()
    threading.Thread(target=_end_with_parent, daemon=True).start()
    if not faulthandler.is_enabled():
        faulthandler.enable(2)  # sys.stderr may be no file
    torch.set_num_threads(1)
    worker = Worker(setup, index, memoryview(progress.untyped_storage()).cast("q")[index:])
    try:
        while True:
            message = connection.recv()
            if isinstance(message, Epoch):
                worker.begin(message)
                continue
            reply = worker.do(message)
            try:
                connection.send(reply)
            except ConnectionError:
                return
            except Exception:
                failure = Failure(worker.where)
                value = reply.value.plain() if isinstance(reply.value, Failure) else failure.plain()
                connection.send(reply._replace(value=value, dataset_state=None))
            del reply, message
    except (EOFError, ConnectionError):
        return


def _terminated(number: int, _: object) -> None:
    """End by the signal, but not without giving shared memory back."""
    shared_memory.release_all()
    signal.signal(number, signal.SIG_DFL)
    signal.raise_signal(number)


def _end_with_parent() -> None:
    """However the main process ends, and whatever this one is at."""
    parent: Any = parent_process()
    try:
        if hasattr(os, "pidfd_open"):
            gone = select.poll()
            gone.register(os.pidfd_open(parent.pid), select.POLLIN)
            gone.poll()
        else:
            parent.join()
    except ProcessLookupError:
        pass
    os._exit(1)


class WorkerProcesses:
    """The main process's side of worker processes."""

    def __init__(self, setup: Setup, context: Any):
        n = setup.num_workers
        self.progress = torch.zeros(n, dtype=torch.int64).share_memory_()
        self.processes: list[Any] = []
        self.connections: list[Any] = []
        self.poll = select.poll()
        self.by_fd: dict[int, int] = {}
        interrupts.insist()
        try:
            with interrupts.held(context.get_start_method()):
                for i in range(n):
                    self._start(setup, i, context)
        except BaseException:
            self.close()
            raise

    def _start(self, setup: Setup, i: int, context: Any) -> None:
        ours, theirs = context.Pipe()
        forks = context.get_start_method() == "fork"
        to_close = [*self.connections, ours] if forks else []
        process = context.Process(
            target=_serve,
            args=(interrupts.Held(), setup, i, theirs, self.progress, to_close),
            daemon=True,
            name=f"DataLoader worker {i}",
        )
        process.start()
        theirs.close()
        self.processes.append(process)
        self.connections.append(ours)
        for fd in (ours.fileno(), process.sentinel):
            self.poll.register(fd, select.POLLIN)
            self.by_fd[fd] = i

    def send(self, i: int, message: Any) -> None:
        """Give worker `i` a message. That it died is told by `receive`."""
        with contextlib.suppress(ConnectionError):
            self.connections[i].send(message)

    def receive(self, timeout: float | None) -> tuple[int, Reply] | None:
        """The next reply and whose it is; None after `timeout` seconds.

        ProcessDied where a worker is no more and has left no reply.
        """
        for seconds in interrupts.waits(timeout):
            if ready := self.poll.poll(seconds * 1000):
                break
        else:
            return None
        fd = ready[0][0]
        i = self.by_fd[fd]
        connection = self.connections[i]
        try:
            if fd == connection.fileno() or connection.poll():
                return i, connection.recv()
        except (EOFError, ConnectionError):
            pass
        raise ProcessDied(i)

    def died(self, i: int, task: Task | None) -> RuntimeError:
        """What to raise for a worker that died at a task."""
        process = self.processes[i]
        process.join(1)
        code, at = process.exitcode, ""
        if task is not None and isinstance(task.indices, list):
            where = int(self.progress[i])
            index = task.indices[where] if where < len(task.indices) else task.indices
            at = f" while reading index {index!r} (batch {task.number})"
        elif task is not None:
            at = f" while reading {task.indices!r} (batch {task.number})"
        how = f"exited unexpectedly with exit code {code}"
        if code is not None and code < 0:
            from taimatsu.multiprocessing.spawn import signal_name

            name = signal_name(code)
            hints = {
                "SIGKILL": "; the system may have run out of memory",
                "SIGBUS": "; shared memory may be exhausted: see docker's --shm-size",
                "SIGSEGV": "; its Python stack is on stderr",
            }
            how = f"is killed by signal: {name}{hints.get(name or '', '')}"
        return RuntimeError(f"DataLoader worker {i} (pid {process.pid}) {how}{at}.")

    def close(self) -> None:
        """End all workers: those that don't end by themselves within the grace."""
        try:
            self._end()
        except BaseException:  # a second Ctrl-C
            for process in self.processes:
                process.kill()
            raise

    def _end(self) -> None:
        for connection in self.connections:
            connection.close()
        end = time.monotonic() + GRACE_SECONDS
        steps: list[Any] = [None, "terminate", "kill"]
        for step in steps:
            for process in self.processes:
                if step and process.is_alive():
                    getattr(process, step)()
            for process in self.processes:
                process.join(max(0.0, end - time.monotonic()) if step != "kill" else None)
            end = time.monotonic() + GRACE_SECONDS / 2
        self.processes, self.connections = [], []


class ProcessDied(Exception):
    """Worker `args[0]` is no more."""


# ---- Threads -------------------------------------------------------------------------------------
class WorkerThreads:
    """Worker threads: they have the dataset in common, and batches are handed over as they are."""

    def __init__(self, setup: Setup, context: Any = None):
        self.replies: queue.SimpleQueue = queue.SimpleQueue()
        self.tasks = [queue.SimpleQueue() for _ in range(setup.num_workers)]
        for i, tasks in enumerate(self.tasks):
            args = (Worker(setup, i, None), tasks, self.replies)
            name = f"DataLoader worker {i}"
            threading.Thread(target=_work, args=args, daemon=True, name=name).start()

    def send(self, i: int, message: Any) -> None:
        """Give worker `i` a message."""
        self.tasks[i].put(message)

    def receive(self, timeout: float | None) -> tuple[int, Reply] | None:
        """The next reply and whose it is; None after `timeout` seconds."""
        for seconds in interrupts.waits(timeout):
            with contextlib.suppress(queue.Empty):
                return self.replies.get(timeout=seconds)
        return None

    def died(self, i: int, task: Any) -> RuntimeError:
        """Threads don't."""
        raise NotImplementedError

    def close(self) -> None:
        """Tell the threads to end; they finish what they are at first."""
        for tasks in self.tasks:
            while True:  # what was ordered ahead is not wanted any more
                try:
                    tasks.get_nowait()
                except queue.Empty:
                    break
            tasks.put(None)


def _work(worker: Worker, tasks: Any, replies: Any) -> None:
    while (message := tasks.get()) is not None:
        if isinstance(message, Epoch):
            worker.begin(message)
        else:
            replies.put((worker.index, worker.do(message)))
