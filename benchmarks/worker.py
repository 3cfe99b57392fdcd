"""A process that times the workloads of one library on request.

    python -m benchmarks.worker torch 1 perf_counter

The last argument is the clock: a function of the module time.

Requests and answers are lines of JSON on standard input and output. {"group", "workload", "loops"}
is answered by {"seconds": what so many loops took}. With 0 loops the workload is set up and run
for a moment; the answer is {"loops": how many fill a sample}. {"error": text} if it can't run.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import sys
import time
from collections.abc import Callable

from .suites import SUITES
from .table import Workload

SAMPLE_SECONDS = 0.005  # shorter than a time slice, so that most are undisturbed on a busy machine

Timed = Callable[[int], float]  # runs the statement so many times; gives seconds


def compiled(workload: Workload, operands: dict, clock: Callable[[], float]) -> Timed:
    """The statement in a loop, with every operand a local name."""
    setup = workload.setup.strip().replace("\n", "\n    ")
    source = f"""
def prepare(_clock, {", ".join(operands)}):
    {setup}
    def run(_loops):
        _began = _clock()
        for _ in range(_loops):
            {workload.statement}
        return _clock() - _began
    return run
"""
    names: dict = {}
    exec(compile(source, f"<benchmark {workload.name}>", "exec"), names)
    return names["prepare"](clock, **operands)


def loops_for_a_sample(timed: Timed) -> int:
    """Also warms up: kernels are compiled, caches filled.

    The least of three times, as one that is interrupted would make samples of a few cold calls.
    """
    loops = 1
    timed(loops)
    while (seconds := min(timed(loops) for _ in range(3))) < SAMPLE_SECONDS / 2:
        loops = max(2 * loops, int(loops * SAMPLE_SECONDS / 4 / max(seconds, 1e-7)))
    return max(1, round(loops * SAMPLE_SECONDS / seconds))


class Worker:
    """One library, and the workload that it is at."""

    def __init__(self, library: str, threads: int, clock: str) -> None:
        self.clock = getattr(time, clock)
        self.torch = importlib.import_module(library)
        self.torch.set_num_threads(threads)
        self.groups = {g.name: g for groups in SUITES.values() for g in groups}
        self.group: str | None = None
        self.operands: dict = {}
        self.timed: Timed | None = None

    def answer(self, group: str, workload: str, loops: int) -> dict:
        try:
            if loops:
                return {"seconds": self.timed(loops)}
            self.timed = None
            if group != self.group:
                self.operands = {}  # those of the last group are freed first
                self.operands = self.groups[group].operands(self.torch)
                self.group = group
            found = next(w for w in self.groups[group].workloads if w.name == workload)
            self.timed = compiled(found, self.operands, self.clock)
            gc.collect()
            return {"loops": loops_for_a_sample(self.timed)}
        except Exception as error:
            return {"error": f"{type(error).__name__}: {error}".split("\n")[0]}


def main() -> None:
    library, threads, clock = sys.argv[1:]
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what libraries print is no answer
    worker = Worker(library, int(threads), clock)
    gc.disable()
    for line in sys.stdin:
        print(json.dumps(worker.answer(**json.loads(line))), file=answers)


if __name__ == "__main__":
    main()
