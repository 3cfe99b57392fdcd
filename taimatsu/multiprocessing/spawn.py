"""Running one function in several processes, whose failure is an exception here."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from multiprocessing import connection
from typing import Any

from . import interrupts
from .context import get_context

__all__ = [
    "ProcessContext", "ProcessException", "ProcessExitedException", "ProcessRaisedException",
    "SpawnContext", "spawn", "start_processes",
]  # fmt: skip

GRACE_SECONDS = 30.0  # between asking a process to end and killing it


class ProcessException(Exception):
    """One of the processes failed: that of index ``error_index``, with the pid ``error_pid``."""

    def __init__(self, msg: str, error_index: int, error_pid: int):
        super().__init__(msg)
        self.msg, self.error_index, self.pid = msg, error_index, error_pid

    @property
    def error_pid(self) -> int:
        """The pid of the process."""
        return self.pid

    def __reduce__(self) -> tuple:
        return type(self), (self.msg, self.error_index, self.pid)


class ProcessRaisedException(ProcessException):
    """One of the processes raised an exception; the message has its traceback."""


class ProcessExitedException(ProcessException):
    """One of the processes exited with ``exit_code``, or was killed by the signal of a name."""

    def __init__(
        self, msg: str, error_index: int, error_pid: int, exit_code: int,
        signal_name: str | None = None,
    ):  # fmt: skip
        super().__init__(msg, error_index, error_pid)
        self.exit_code, self.signal_name = exit_code, signal_name

    def __reduce__(self) -> tuple:
        return type(self), (*super().__reduce__()[1], self.exit_code, self.signal_name)


def signal_name(exitcode: int) -> str | None:
    """The name of the signal that a process's exit code tells of."""
    if exitcode >= 0:
        return None
    try:
        return signal.Signals(-exitcode).name
    except ValueError:
        return f"<Unknown signal {-exitcode}>"


def _run(fn: Callable, index: int, args: tuple, errors: Any, held: interrupts.Held) -> None:
    try:
        interrupts.begin()
        fn(index, *args)
    except KeyboardInterrupt:
        pass  # the parent has it too
    except Exception:
        import sys
        import traceback

        errors.send(traceback.format_exc())
        sys.exit(1)


class ProcessContext:
    """Processes that `start_processes` started; `join` waits for them."""

    def __init__(self, processes: list[Any], errors: list[Any]):
        self.processes, self._errors = processes, errors
        self.sentinels = {p.sentinel: i for i, p in enumerate(processes)}

    def pids(self) -> list[int]:
        """The process ids."""
        return [int(p.pid) for p in self.processes]

    def join(self, timeout: float | None = None, grace_period: float | None = None) -> bool:
        """Wait until all processes have ended well, or one failed: True if all have ended.

        Waits `timeout` seconds at most. When one failed the others are asked to end, after
        `grace_period` seconds of their own, and killed if they don't. ProcessRaisedException with
        the traceback of a function that raised, ProcessExitedException of one that exited
        otherwise.
        """
        if not self.sentinels:
            return True
        failed = None
        ended: list[Any] = []
        for seconds in interrupts.waits(timeout):
            if ended := connection.wait(list(self.sentinels), seconds):
                break
        for sentinel in ended:
            index = self.sentinels.pop(sentinel)
            self.processes[index].join()
            if self.processes[index].exitcode != 0 and failed is None:
                failed = index
        if failed is None:
            return not self.sentinels
        self._end_others(grace_period)
        raise self._error(failed)

    def _end_others(self, grace_period: float | None) -> None:
        steps: list[Callable] = [lambda p: p.terminate(), lambda p: p.kill()]
        if grace_period is not None:
            _join_all(self.processes, grace_period)
        for step in steps:
            for p in self.processes:
                if p.is_alive():
                    step(p)
            _join_all(self.processes, GRACE_SECONDS if grace_period is None else grace_period)
        self.sentinels = {}

    def _error(self, index: int) -> ProcessException:
        failed, errors = self.processes[index], self._errors[index]
        if errors.poll():
            try:
                text = errors.recv()
            except EOFError:
                text = None
            if text is not None:
                message = f"\n\n-- Process {index} terminated with the following error:\n{text}"
                return ProcessRaisedException(message, index, failed.pid)
        name = signal_name(failed.exitcode)
        how = f"signal {name}" if name else f"exit code {failed.exitcode}"
        return ProcessExitedException(
            f"process {index} terminated with {how}", index, failed.pid, failed.exitcode, name
        )


class SpawnContext(ProcessContext):
    """The older name of `ProcessContext`."""


def _join_all(processes: list[Any], seconds: float) -> None:
    end = time.monotonic() + seconds
    for p in processes:
        p.join(max(0.0, end - time.monotonic()))


def start_processes(
    fn: Callable, args: tuple = (), nprocs: int = 1, join: bool = True, daemon: bool = False,
    start_method: str = "spawn",
) -> ProcessContext | None:  # fmt: skip
    """Run ``fn(i, *args)`` for i = 0 ... nprocs - 1, each in a process of its own.

    Without `join` a `ProcessContext` is returned at once; else see its `join` for what is raised.
    """
    mp = get_context(start_method)
    processes, errors = [], []
    with interrupts.held(start_method):
        for i in range(nprocs):
            receiver, sender = mp.Pipe(duplex=False)
            given = (fn, i, args, sender, interrupts.Held())
            p = mp.Process(target=_run, args=given, daemon=daemon)
            p.start()
            sender.close()
            processes.append(p)
            errors.append(receiver)
    started = ProcessContext(processes, errors)
    if not join:
        return started
    while not started.join():
        pass
    return None


def spawn(
    fn: Callable, args: tuple = (), nprocs: int = 1, join: bool = True, daemon: bool = False,
    start_method: str = "spawn",
) -> ProcessContext | None:  # fmt: skip
    """`start_processes` with fresh interpreters: `fn` must be a function of a module.

    >>> spawn(train, args=(model,), nprocs=4)  # doctest: +SKIP
    """
    if start_method != "spawn":
        import warnings

        warnings.warn(
            f"spawn: start_method={start_method!r} is not used; call start_processes with it",
            FutureWarning, stacklevel=2,
        )  # fmt: skip
    return start_processes(fn, args, nprocs, join, daemon, "spawn")
