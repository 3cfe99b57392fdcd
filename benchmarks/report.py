"""Tables of results, with the target beside each figure and a mark where it is missed."""

from __future__ import annotations

import importlib.metadata as metadata
import os
import platform
from datetime import date
from pathlib import Path
from statistics import median

from .compare import OURS, Result, geometric_mean
from .footprint import Figure
from .table import Group

MISSED = "MISSED"


def machine(peer: str, threads: int) -> dict[str, str]:
    """What a reader has to know about a run."""
    cpu = platform.processor()
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        cpu = next((x.split(":")[1].strip() for x in lines if x.startswith("model name")), cpu)
    return {
        "date": date.today().isoformat(),
        "cpu": f"{cpu}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}",
        "threads": str(threads),
        "python": platform.python_version(),
        peer: _version(peer),
        OURS: _version(OURS),
    }


def _version(library: str) -> str:
    try:
        return metadata.version(library)
    except metadata.PackageNotFoundError:
        return "built in place"


def duration(seconds: float) -> str:
    """Three digits and a unit.

    >>> duration(1.23456e-7)
    '123 ns'
    """
    for unit, scale in (("ns", 1e9), ("µs", 1e6), ("ms", 1e3)):  # noqa: B007
        if seconds * scale < 999.5:
            break
    else:
        unit, scale = "s", 1.0
    value = seconds * scale
    digits = 0 if value >= 99.95 else 1 if value >= 9.995 else 2
    return f"{value:.{digits}f} {unit}"


def _mark(reached: bool) -> str:
    return "" if reached else MISSED


def misses(group: Group, results: list[Result]) -> int:
    """How many targets of the group are missed: of workloads, and of their mean."""
    ratios = [r.ratio for r in results]
    below = sum(r.error is not None or r.ratio < (group.floor or 0) for r in results)
    return below + (group.mean is not None and not geometric_mean(ratios) >= group.mean)


def group_table(group: Group, results: list[Result], peer: str) -> str:
    """Of each workload the time of both sides and their ratio, with its spread over the rounds."""
    targets = [
        f"{what} >= {target:g}"
        for what, target in (("mean", group.mean), ("each", group.floor))
        if target is not None
    ]
    lines = [
        f"{group.name}   [{', '.join(targets) or 'no target'}]",
        f"  {'':26}{peer:>10}{'ours':>10}{'ratio':>9}",
    ]
    for r in results:
        if r.error:
            lines.append(f"  {r.workload:26}{r.error}  {MISSED}")
            continue
        times = "".join(f"{duration(median(t)):>10}" for t in (r.peer, r.ours))
        mark = _mark(r.ratio >= (group.floor or 0))
        lines.append(f"  {r.workload:26}{times}{r.ratio:9.2f} ±{r.spread:4.0%}  {mark}")
    if len(results) > 1 or group.mean is not None:
        mean = geometric_mean(r.ratio for r in results)
        mark = _mark(group.mean is None or mean >= group.mean)
        lines.append(f"  {'geometric mean':46}{mean:9.2f}        {mark}")
    return "\n".join(line.rstrip() for line in lines)


def footprint_table(figures: list[Figure], peer: str) -> str:
    lines = ["footprint", f"  {'':38}{peer:>10}{'ours':>10}{'limit':>10}"]
    for f in figures:
        values = "".join(
            f"{'' if v is None else f'{v:.3g} {f.unit}':>10}" for v in (f.peer, f.ours, f.limit)
        )
        lines.append(f"  {f.name:38}{values}  {_mark(f.ours < f.limit)}".rstrip())
    return "\n".join(lines)
