"""Times of runs, and what was run."""

from __future__ import annotations

import contextlib
import math
import statistics
import typing
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

__all__ = [
    "Measurement", "TaskSpec", "ordered_unique", "select_unit", "set_torch_threads", "trim_sigfig",
    "unit_to_english",
]  # fmt: skip

_UNITS = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0}
_ENGLISH = {"ns": "nanosecond", "us": "microsecond", "ms": "millisecond", "s": "second"}
_MAX_DIGITS = 4
_TOO_FEW = 3  # runs, below which quartiles mean nothing


def select_unit(t: float) -> tuple[str, float]:
    """The unit for a time in seconds, and its length in seconds.

    >>> select_unit(0.002)
    ('ms', 0.001)
    """
    for unit, length in reversed(_UNITS.items()):
        if t >= length:
            return unit, length
    return "ns", 1e-9


def unit_to_english(u: str) -> str:
    """The unit's name."""
    return _ENGLISH[u]


def trim_sigfig(x: float, n: int) -> float:
    """A number rounded to ``n`` significant digits."""
    if x == 0:
        return 0.0
    magnitude = math.ceil(math.log10(abs(x)))
    scale = 10.0 ** (magnitude - n)
    return round(x / scale) * scale


def ordered_unique(elements: Iterable[Any]) -> list[Any]:
    """The elements, each once, in the order of their first place."""
    return list(dict.fromkeys(elements))


@contextlib.contextmanager
def set_torch_threads(n: int) -> Iterator[None]:
    """Inside, ops use so many threads."""
    import taimatsu as torch

    before = torch.get_num_threads()
    torch.set_num_threads(n)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class TaskSpec(typing.NamedTuple):
    """What was run."""

    stmt: str
    setup: str
    global_setup: str = ""
    label: str | None = None
    sub_label: str | None = None
    description: str | None = None
    env: str | None = None
    num_threads: int = 1

    @property
    def title(self) -> str:
        """Its label, or the statement."""
        name = self.label or self.stmt.strip().split("\n")[0]
        return f"{name}: {self.sub_label}" if self.sub_label else name


@dataclass
class Measurement:
    """Times of several runs of ``number_per_run`` executions each, in seconds."""

    number_per_run: int
    raw_times: list[float]
    task_spec: TaskSpec
    metadata: dict[str, Any] | None = field(default=None)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name not in TaskSpec._fields + ("title",):
            raise AttributeError(name)
        return getattr(self.task_spec, name)

    @property
    def times(self) -> list[float]:
        """Of one execution, on average in each run."""
        return [t / self.number_per_run for t in self.raw_times]

    def _quantile(self, q: float) -> float:
        ordered = sorted(self.times)
        position = q * (len(ordered) - 1)
        low = math.floor(position)
        high = min(low + 1, len(ordered) - 1)
        return ordered[low] + (position - low) * (ordered[high] - ordered[low])

    @property
    def median(self) -> float:
        """The median of the times."""
        return statistics.median(self.times)

    @property
    def mean(self) -> float:
        """The mean of the times."""
        return statistics.fmean(self.times)

    @property
    def iqr(self) -> float:
        """The range of the middle half of the times."""
        return self._quantile(0.75) - self._quantile(0.25)

    @property
    def significant_figures(self) -> int:
        """How many digits of the median the spread leaves."""
        n = len(self.times)
        if n < _TOO_FEW:
            return 1
        sigma = max(self.iqr / 1.35, 0.01 * self.median)  # of a normal law; noise has a floor
        interval = max(self.median - 1.645 * sigma / math.sqrt(n), 1e-15)
        digits = math.ceil(math.log10(self.median / max(self.median - interval, 1e-15)))
        return min(max(1, digits), _MAX_DIGITS)

    @property
    def has_warnings(self) -> bool:
        """Whether the times are too few or spread."""
        return len(self.times) < _TOO_FEW or self.iqr / self.median > 0.1

    @staticmethod
    def merge(measurements: Iterable[Measurement]) -> list[Measurement]:
        """One measurement for each task, with the times of all."""
        groups: dict[tuple, list[Measurement]] = {}
        for m in measurements:
            groups.setdefault((m.task_spec, m.number_per_run), []).append(m)
        return [
            Measurement(number, [t for m in group for t in m.raw_times], spec)
            for (spec, number), group in groups.items()
        ]

    def __repr__(self) -> str:
        unit, length = select_unit(self.median)
        lines = [f"{object.__repr__(self)}", self.task_spec.title]
        if self.task_spec.description:
            lines.append(self.task_spec.description)
        if len(self.times) > 1:
            lines.append(f"  Median: {self.median / length:.2f} {unit}")
            lines.append(f"  IQR:    {self.iqr / length:.2f} {unit}")
        else:
            lines.append(f"  {self.median / length:.2f} {unit}")
        threads = f"{self.num_threads} thread{'s' if self.num_threads > 1 else ''}"
        runs = f"{len(self.times)} measurement{'s' if len(self.times) > 1 else ''}"
        lines.append(f"  {runs}, {self.number_per_run} runs per measurement, {threads}")
        return "\n".join(lines)
