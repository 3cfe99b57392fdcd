"""Counts of instructions, by valgrind's callgrind: see `Timer.collect_callgrind`."""

from __future__ import annotations

import dataclasses
import os
import pickle
import re
import shutil
import subprocess
import sys
import tempfile
import typing
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .measurement import TaskSpec

__all__ = ["CallgrindStats", "CopyIfCallgrind", "FunctionCount", "FunctionCounts"]


class FunctionCount(typing.NamedTuple):
    """Instructions of a function."""

    count: int  # type: ignore[assignment]
    function: str


@dataclass(frozen=True)
class FunctionCounts:
    """Instructions by function, the most first. They can be added, subtracted and indexed."""

    _data: tuple[FunctionCount, ...]
    inclusive: bool
    truncate_rows: bool = True
    _linewidth: int | None = None

    def __iter__(self) -> Iterator[FunctionCount]:
        return iter(self._data)

    def __len__(self) -> int:
        return len(self._data)

    def __getitem__(self, item: Any) -> Any:
        found = self._data[item]
        return FunctionCounts(found, self.inclusive, False) if isinstance(item, slice) else found

    def _merged(self, other: FunctionCounts, sign: int) -> FunctionCounts:
        if self.inclusive != other.inclusive:
            raise AssertionError("Cannot merge inclusive and exclusive counts.")
        counts: dict[str, int] = {c.function: c.count for c in self._data}
        for c in other:
            counts[c.function] = counts.get(c.function, 0) + sign * c.count
        return self._from_dict(counts, self.inclusive)

    def __add__(self, other: FunctionCounts) -> FunctionCounts:
        return self._merged(other, 1)

    def __sub__(self, other: FunctionCounts) -> FunctionCounts:
        return self._merged(other, -1)

    def __mul__(self, other: float) -> FunctionCounts:
        scaled = {c.function: int(c.count * other) for c in self._data}
        return self._from_dict(scaled, self.inclusive)

    @staticmethod
    def _from_dict(counts: dict[str, int], inclusive: bool) -> FunctionCounts:
        found = (FunctionCount(n, f) for f, n in counts.items() if n)
        return FunctionCounts(tuple(sorted(found, reverse=True)), inclusive)

    def transform(self, map_fn: Callable[[str], str]) -> FunctionCounts:
        """With other names; counts of what then is one name are added."""
        counts: dict[str, int] = {}
        for c in self._data:
            name = map_fn(c.function)
            counts[name] = counts.get(name, 0) + c.count
        return self._from_dict(counts, self.inclusive)

    def filter(self, filter_fn: Callable[[str], bool]) -> FunctionCounts:
        """Those of whose names a function holds."""
        kept = tuple(c for c in self._data if filter_fn(c.function))
        return FunctionCounts(kept, self.inclusive)

    def sum(self) -> int:
        """All together."""
        return sum(c.count for c in self._data)

    def denoise(self) -> FunctionCounts:
        """Without functions of Python's dicts, whose counts change with addresses."""
        return self.filter(lambda name: "dictobject.c:lookdict_unicode" not in name)

    def __repr__(self) -> str:
        rows = [f"{c.count:>14}  {c.function}" for c in self._data]
        if self.truncate_rows and len(rows) > 18:
            rows = [*rows[:9], "           ...", *rows[-9:]]
        return "\n".join([f"{type(self).__name__}", *rows, "", f"Total: {self.sum()}"])


@dataclass(frozen=True, repr=False)
class CallgrindStats:
    """The instructions of a statement, and of an empty one in the same surroundings."""

    task_spec: TaskSpec
    number_per_run: int
    built_with_debug_symbols: bool
    baseline_inclusive_stats: FunctionCounts
    baseline_exclusive_stats: FunctionCounts
    stmt_inclusive_stats: FunctionCounts
    stmt_exclusive_stats: FunctionCounts
    stmt_callgrind_out: str | None

    def stats(self, inclusive: bool = False) -> FunctionCounts:
        """By function, without those that it calls or with them."""
        return self.stmt_inclusive_stats if inclusive else self.stmt_exclusive_stats

    def counts(self, *, denoise: bool = False) -> int:
        """All of the statement's."""
        stats = self.stmt_exclusive_stats
        return (stats.denoise() if denoise else stats).sum()

    def delta(self, other: CallgrindStats, inclusive: bool = False) -> FunctionCounts:
        """How many more than another statement's, by function."""
        return self.stats(inclusive=inclusive) - other.stats(inclusive=inclusive)

    def as_standardized(self) -> CallgrindStats:
        """With files by their names alone, so that machines can be compared."""
        short = lambda name: re.sub(r"/\S*/", "", name)
        return dataclasses.replace(
            self,
            baseline_inclusive_stats=self.baseline_inclusive_stats.transform(short),
            baseline_exclusive_stats=self.baseline_exclusive_stats.transform(short),
            stmt_inclusive_stats=self.stmt_inclusive_stats.transform(short),
            stmt_exclusive_stats=self.stmt_exclusive_stats.transform(short),
        )

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}\n{self.task_spec.title}\n  Instructions: {self.counts()} "
            f"(baseline: {self.baseline_exclusive_stats.sum()})\n  {self.number_per_run} runs"
        )


class CopyIfCallgrind:
    """A value of ``globals`` that another process may have a copy of, made by ``setup`` there."""

    def __init__(self, value: Any, *, setup: str | None = None):
        self._value, self._setup = value, setup

    @property
    def value(self) -> Any:
        """The value."""
        return self._value

    @property
    def setup(self) -> str | None:
        """The statement to be run first."""
        return self._setup

    @staticmethod
    def unwrap_all(globals: dict[str, Any]) -> dict[str, Any]:
        """The values of a dict."""
        return {k: v.value if isinstance(v, CopyIfCallgrind) else v for k, v in globals.items()}


_PROGRAM = """
import pickle, sys
import taimatsu as torch
from taimatsu.utils.benchmark import CopyIfCallgrind
with open(sys.argv[1], "rb") as file:
    stmt, setup, names, number, threads = pickle.load(file)
torch.set_num_threads(threads)
space = {"torch": torch, **names}
exec(setup, space)
code = compile(stmt, "<stmt>", "exec")
exec(code, space)
for _ in range(number):
    exec(code, space)
"""


def _run(stmt: str, spec: TaskSpec, names: dict[str, Any], number: int) -> dict[str, int]:
    """The instructions by function, of a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        given, out = Path(folder, "given"), Path(folder, "callgrind.out")
        with open(given, "wb") as file:
            setup = "\n".join(filter(None, (spec.global_setup, spec.setup)))
            pickle.dump((stmt, setup, names, number, spec.num_threads), file)
        command = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={out}",
                   sys.executable, "-c", _PROGRAM, str(given)]  # fmt: skip
        package = str(Path(__file__).resolve().parents[3])
        path = os.pathsep.join(filter(None, (package, os.environ.get("PYTHONPATH"))))
        done = subprocess.run(command, capture_output=True, text=True,
                              env={**os.environ, "PYTHONPATH": path})  # fmt: skip
        if done.returncode:
            raise RuntimeError(f"collect_callgrind: the statement failed:\n{done.stderr}")
        text = subprocess.run(["callgrind_annotate", "--threshold=100", str(out)],
                              capture_output=True, text=True, check=True).stdout  # fmt: skip
    counts: dict[str, int] = {}
    for line in text.splitlines():
        found = re.match(r"\s*([\d,]+)(?:\s*\(\s*[\d.]+%\))?\s+(\S.*:\S.*?)(?:\s+\[.*\])?$", line)
        if found:
            name = found[2]
            counts[name] = counts.get(name, 0) + int(found[1].replace(",", ""))
    return counts


def collect(
    spec: TaskSpec, names: dict[str, Any], number: int, baseline: bool
) -> CallgrindStats:
    """What `Timer.collect_callgrind` gives: of ``number`` executions more than of none."""
    if shutil.which("valgrind") is None:
        raise RuntimeError("collect_callgrind: needs valgrind, which isn't found; install it")
    many = _run(spec.stmt, spec, CopyIfCallgrind.unwrap_all(names), number)
    none = _run(spec.stmt, spec, CopyIfCallgrind.unwrap_all(names), 0)
    counts = FunctionCounts._from_dict(
        {f: n - none.get(f, 0) for f, n in many.items() if n > none.get(f, 0)}, False
    )
    empty = _run("pass", spec, {}, number) if baseline else none
    rest = _run("pass", spec, {}, 0) if baseline else none
    surroundings = FunctionCounts._from_dict(
        {f: n - rest.get(f, 0) for f, n in empty.items() if n > rest.get(f, 0)}, False
    )
    inclusive = FunctionCounts(counts._data, True)
    return CallgrindStats(spec, number, False, FunctionCounts(surroundings._data, True),
                          surroundings, inclusive, counts, None)  # fmt: skip
