"""Instruction counts by valgrind: exact where times are noise, and by function.

    python -m benchmarks profile --filter "small ops, 4 elements: add$"

Valgrind runs the loop of a workload only (`callgrind_control` switches it on), so that the counts
are those of the calls and the 20 or so instructions of the interpreter's loop.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from .compare import OURS, environment
from .table import Group, Workload

SECONDS = 0.2  # of the loop without counting: then what switching costs is under a percent
WARM_UP = 10


def profile(group: Group, workload: Workload, functions: int = 25) -> str:
    """Instructions of a call of the workload, and the functions that they are spent in."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "counts"
        run = subprocess.run(
            [
                "valgrind", "--tool=callgrind", "--instr-atstart=no", f"--callgrind-out-file={out}",
                sys.executable, "-m", "benchmarks.instructions", group.name, workload.name,
            ],
            env=environment(1),
            capture_output=True,
            text=True,
        )  # fmt: skip
        if run.returncode:
            raise SystemExit(f"benchmarks profile: valgrind failed\n{run.stderr[-2000:]}")
        text = subprocess.run(
            ["callgrind_annotate", str(out)], stdout=subprocess.PIPE, text=True, check=True
        ).stdout
    total = int(re.search(r"([\d,]+) .*PROGRAM TOTALS", text)[1].replace(",", ""))
    loops = int(run.stdout.split()[-1])
    lines = [f"{group.name}: {workload.name}: {total / loops:.0f} instructions a call"]
    for count, name in re.findall(r"^\s*([\d,]+) \([^)]*\)\s+(.*)$", text, re.M)[1 : functions + 1]:
        lines.append(f"{int(count.replace(',', '')) / loops:10.1f}  {function(name)}")
    return "\n".join(lines)


def function(name: str) -> str:
    """The bare name of a function that is given as file:function(parameters) [object]."""
    name = name.partition(":")[2].replace("(anonymous namespace)::", "").replace("taimatsu::", "")
    return "a generated kernel" if name.startswith("0x") else re.split(r"[(\[]", name)[0].strip()


def main() -> None:
    """Under valgrind: the loop of a workload, with counting switched on around it."""
    import importlib

    from .suites import SUITES
    from .worker import compiled

    group_name, workload_name = sys.argv[1:]
    group = next(g for groups in SUITES.values() for g in groups if g.name == group_name)
    workload = next(w for w in group.workloads if w.name == workload_name)
    torch = importlib.import_module(OURS)
    torch.set_num_threads(1)
    timed = compiled(workload, group.operands(torch), time.perf_counter)
    timed(WARM_UP)
    loops = max(WARM_UP, round(SECONDS * WARM_UP / timed(WARM_UP)))
    switch = ["callgrind_control", str(os.getpid()), "-i"]
    subprocess.run([*switch, "on"], check=True, stdout=subprocess.DEVNULL)
    timed(loops)
    subprocess.run([*switch, "off"], check=True, stdout=subprocess.DEVNULL)
    print(loops)


if __name__ == "__main__":
    main()
