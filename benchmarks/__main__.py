"""The command line: `python -m benchmarks --help`."""

from __future__ import annotations

import argparse
import importlib.util
import json
import re
import sys
from pathlib import Path

from tqdm import tqdm

from . import footprint, instructions, report, scaling
from .compare import Comparison, Result
from .suites import SUITES
from .table import Group

CHOICES = (*SUITES, "scaling", "footprint", "profile")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="benchmarks",
        description="Ratios of a peer's time to ours: medians of interleaved rounds, each "
        "library in its own process. `scaling` compares 1, 2 and 4 threads, `profile` counts "
        "instructions of our side (needs valgrind).",
    )
    parser.add_argument("suite", nargs="?", choices=CHOICES, help="all but `profile` by default")
    parser.add_argument("--filter", default="", metavar="REGEX", help="of 'group: workload'")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeat", type=int, default=21, help="rounds of each workload")
    parser.add_argument(
        "--cpu-time", action="store_true",
        help="the time that the calling thread runs, not the wall's: for one thread on a busy "
        "machine",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all times")
    parser.add_argument("--against", default="torch", metavar="MODULE")
    options = parser.parse_args()
    if options.suite != "profile" and importlib.util.find_spec(options.against) is None:
        parser.error(f"{options.against} is not installed; pip install it, or name another peer")
    return options


def chosen(options: argparse.Namespace) -> list[Group]:
    """The groups to run, with the workloads that the filter leaves of them."""
    suites = [options.suite] if options.suite in SUITES else list(SUITES)
    wanted = re.compile(options.filter)
    return [
        left
        for name in suites
        for group in SUITES[name]
        if (left := group.only(lambda text: wanted.search(text) is not None)).workloads
    ]


def run_groups(options: argparse.Namespace, groups: list[Group]) -> tuple[list[Result], int]:
    """Measures and prints the groups; gives the results and the number of missed targets."""
    results: list[Result] = []
    missed = 0
    total = sum(len(g.workloads) for g in groups)
    clock = "thread_time" if options.cpu_time else "perf_counter"
    with Comparison(options.against, options.threads, clock) as both, tqdm(total=total) as bar:
        for group in groups:
            of_group = []
            for workload in group.workloads:
                bar.set_description(f"{group.name}: {workload.name}")
                of_group.append(both.run(group, workload, options.repeat))
                bar.update()
            tqdm.write(report.group_table(group, of_group, options.against) + "\n", sys.stdout)
            missed += report.misses(group, of_group)
            results += of_group
    return results, missed


def run_footprint(options: argparse.Namespace) -> list[footprint.Figure]:
    wanted = re.compile(options.filter)
    names = [n for n in footprint.MEASUREMENTS if wanted.search(f"footprint: {n}")]
    figures = []
    for name in tqdm(names, desc="footprint"):
        figures += footprint.MEASUREMENTS[name](options.against, options.repeat)
    if figures:
        print(report.footprint_table(figures, options.against))
    return figures


def main() -> None:
    options = arguments()
    if options.suite == "profile":
        for group in chosen(options):
            for workload in group.workloads:
                print(instructions.profile(group, workload))
        return
    if options.suite == "scaling":
        clock = "thread_time" if options.cpu_time else "perf_counter"
        groups = scaling.chosen(re.compile(options.filter))
        scaling.run(options.against, groups, options.repeat, clock)
        return
    about = report.machine(options.against, options.threads)
    print("; ".join(f"{key} {value}" for key, value in about.items()), end="\n\n")
    results: list[Result] = []
    figures: list[footprint.Figure] = []
    missed = 0
    if options.suite != "footprint" and (groups := chosen(options)):
        results, missed = run_groups(options, groups)
    if options.suite in (None, "footprint"):
        figures = run_footprint(options)
    missed += sum(f.ours >= f.limit for f in figures)
    print(f"\n{missed} targets missed")
    if options.json:
        everything = {
            "about": about,
            "results": [vars(r) | {"ratio": r.ratio} for r in results],
            "footprint": [vars(f) for f in figures],
        }
        options.json.write_text(json.dumps(everything, indent=1))


if __name__ == "__main__":
    main()
