"""`Timer`: runs a statement often enough to tell how long it takes."""

from __future__ import annotations

import enum
import textwrap
import timeit
from collections.abc import Callable
from typing import Any

import taimatsu as torch

from .measurement import Measurement, TaskSpec, set_torch_threads

__all__ = ["Language", "Timer", "timer"]

timer = timeit.default_timer


class Language(enum.Enum):
    """Of the statement."""

    PYTHON = 0
    CPP = 1


class Timer:
    """Times ``stmt`` after ``setup`` with ``num_threads`` threads, by default one.

    ``label``, ``sub_label``, ``description`` and ``env`` name it in the tables of `Compare`.
    ``torch`` is there without being imported. NotImplementedError for C++.

    >>> Timer("x + 1", globals={"x": torch.ones(3)}).timeit(100).median < 1
    True
    """

    def __init__(
        self, stmt: str = "pass", setup: str = "pass", global_setup: str = "",
        timer: Callable[[], float] = timer, globals: dict[str, Any] | None = None,
        label: str | None = None, sub_label: str | None = None, description: str | None = None,
        env: str | None = None, num_threads: int = 1, language: Any = Language.PYTHON,
    ):  # fmt: skip
        if not isinstance(stmt, str):
            raise ValueError("Currently only a `str` stmt is supported.")
        if language not in (Language.PYTHON, "py", "python"):
            raise NotImplementedError(
                f"Timer: statements are Python; got language={language!r}"
            )
        stmt, setup = textwrap.dedent(stmt).strip(), textwrap.dedent(setup).strip()
        self._globals = dict(globals or {})
        names = {"torch": torch, **self._globals}
        self._timer = timeit.Timer(stmt, setup or "pass", timer, names)
        self._task_spec = TaskSpec(
            stmt, setup, global_setup, label, sub_label, description, env, num_threads
        )

    def _run(self, number: int) -> float:
        with set_torch_threads(self._task_spec.num_threads):
            return max(self._timer.timeit(number), 1e-9)

    def timeit(self, number: int = 1000000) -> Measurement:
        """One run of ``number`` executions, after a shorter one to warm up."""
        self._run(max(number // 100, 2))
        return Measurement(number, [self._run(number)], self._task_spec)

    def _block_size(self, min_run_time: float) -> int:
        """How many executions a run has, that the timer's own time doesn't count."""
        number, time = 1, self._run(1)
        while time < min(min_run_time / 1000, 0.01) and number < 10**9:
            number *= 10
            time = self._run(number)
        return number

    def blocked_autorange(
        self, callback: Callable[[int, float], Any] | None = None, min_run_time: float = 0.2
    ) -> Measurement:
        """Runs of equal length, ``min_run_time`` seconds in all."""
        return self.adaptive_autorange(0.0, min_run_time=min_run_time, callback=callback,
                                       max_run_time=min_run_time)  # fmt: skip

    def adaptive_autorange(
        self, threshold: float = 0.1, *, min_run_time: float = 0.01, max_run_time: float = 10.0,
        callback: Callable[[int, float], Any] | None = None,
    ) -> Measurement:  # fmt: skip
        """Runs until their middle half is within ``threshold`` of the median, or time is up."""
        number = self._block_size(min_run_time)
        times: list[float] = []
        total = 0.0
        while total < max_run_time:
            times.append(self._run(number))
            total += times[-1]
            if callback:
                callback(number, times[-1])
            measured = Measurement(number, times, self._task_spec)
            enough = total >= min_run_time and len(times) >= 4
            if enough and measured.iqr / measured.median < threshold:
                break
        return Measurement(number, times, self._task_spec)

    def autorange(self, callback: Callable[[int, float], Any] | None = None) -> tuple[int, float]:
        """As `timeit.Timer.autorange`."""
        return self._timer.autorange(callback)

    def collect_callgrind(
        self, number: int = 100, *, repeats: int | None = None, collect_baseline: bool = True,
        retain_out_file: bool = False,
    ) -> Any:  # fmt: skip
        """The instructions that ``number`` executions take, counted by valgrind's callgrind.

        A `CallgrindStats`, or with ``repeats`` several. The statement runs in another process:
        ``globals`` have to be picklable. RuntimeError where there is no valgrind.
        """
        from .callgrind import collect

        runs = [
            collect(self._task_spec, self._globals, number, collect_baseline)
            for _ in range(repeats or 1)
        ]
        return runs[0] if repeats is None else tuple(runs)
