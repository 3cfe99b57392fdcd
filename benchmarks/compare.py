"""Two libraries at the same workload, in turn, each in a process of its own."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from statistics import median, quantiles

from .table import Group, Workload

OURS = "taimatsu"
# Variables that change what OpenBLAS does, and only on one of the two sides.
UNSET = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE", "OPENBLAS_NUM_THREADS")


def environment(threads: int) -> dict[str, str]:
    """What both libraries run under."""
    out = {name: value for name, value in os.environ.items() if name not in UNSET}
    # Threads wait awake for what comes next, but not into the other side's turn.
    spins = {"GOMP_SPINCOUNT": "30000"}
    return out | spins | {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}


@dataclass
class Result:
    """The times of a call, in seconds, of each round; or why there are none."""

    group: str
    workload: str
    peer: list[float] = field(default_factory=list)
    ours: list[float] = field(default_factory=list)
    error: str | None = None

    @property
    def ratios(self) -> list[float]:
        return [p / o for p, o in zip(self.peer, self.ours, strict=True)]

    @property
    def ratio(self) -> float:
        """The median of the rounds' ratios: load from outside hits both sides of a round."""
        return math.nan if self.error else median(self.ratios)

    @property
    def spread(self) -> float:
        """Half of the distance of the quartiles, relative to the ratio."""
        if self.error or len(self.ratios) < 2:
            return math.nan
        low, _, high = quantiles(self.ratios, n=4)
        return (high - low) / 2 / self.ratio


class Side:
    """A worker process and how to ask it."""

    def __init__(self, library: str, threads: int, clock: str) -> None:
        self.library = library
        self.process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.worker", library, str(threads), clock],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment(threads),
        )

    def ask(self, group: Group, workload: Workload, loops: int, answer: str) -> float:
        """One request; raises RuntimeError if the library can't run the workload."""
        request = {"group": group.name, "workload": workload.name, "loops": loops}
        try:
            self.process.stdin.write(json.dumps(request) + "\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise SystemExit(f"benchmarks: the process of {self.library} ended at {request}")
        got = json.loads(line)
        if "error" in got:
            raise RuntimeError(f"{self.library}: {got['error']}")
        return got[answer]

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait()


class Comparison:
    """The peer and this library, side by side.

    >>> with Comparison("torch", threads=1) as both:
    ...     result = both.run(group, group.workloads[0], rounds=5)
    """

    def __init__(self, peer: str, threads: int, clock: str = "perf_counter") -> None:
        self.sides = (Side(peer, threads, clock), Side(OURS, threads, clock))

    def __enter__(self) -> Comparison:
        return self

    def __exit__(self, *exception: object) -> None:
        for side in self.sides:
            side.close()

    def run(self, group: Group, workload: Workload, rounds: int) -> Result:
        result = Result(group.name, workload.name)
        try:
            loops = [int(side.ask(group, workload, 0, "loops")) for side in self.sides]
            for _ in range(rounds):
                for side, n, times in zip(
                    self.sides, loops, (result.peer, result.ours), strict=True
                ):
                    times.append(side.ask(group, workload, n, "seconds") / n)
        except RuntimeError as error:
            return Result(group.name, workload.name, error=str(error))
        return result


def geometric_mean(ratios: Iterable[float]) -> float:
    logs = [math.log(r) for r in ratios if not math.isnan(r)]
    return math.exp(sum(logs) / len(logs)) if logs else math.nan
