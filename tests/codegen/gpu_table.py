"""Every kernel of the table for a GPU: which there are, and assembling many of them at once.

python tests/codegen/gpu_table.py [--targets sm_90] [--dtypes f32] [--ops softmax] [--jobs 2]
    renders and assembles all of it: dtypes, layouts, forward and derivative; lists what spills
"""

from __future__ import annotations

import argparse
import re
import sys
import typing
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

from taimatsu.codegen import ptx, show
from taimatsu.codegen.__main__ import variants
from taimatsu.codegen.ir import DTYPES, Nest
from taimatsu.codegen.schedule import Rows
from taimatsu.ops.anywhere import routines
from taimatsu.ops.table import ENTRIES

TARGETS = ("sm_70", "sm_80", "sm_90", "sm_100")
EVERY_TARGET = tuple(ptx.TARGETS)
ASSEMBLED_FOR = {"sm_70": "sm_75"}  # ptxas of CUDA 13 knows no older one; PTX is good for later
BATCH = 64  # kernels that ptxas is given at once
ROW_LAYOUTS = {  # what a row, a cell and a shared operand are then
    "contiguous": ("sc", "cu", "uc"),
    "columns": ("cs", "cu", "us"),
    "strided": ("ss", "su", "us"),
}


def layouts(nest: Nest) -> Iterator[tuple[str, tuple[str, ...], Rows]]:
    """(name, classes, rows) of all layouts that the core asks kernels for, one for each kind."""
    contiguous = show.contiguous(nest)
    yield "contiguous", contiguous, "whole"
    n, outputs = len(nest.operands), len(nest.outputs)
    if nest.reduced:
        roles = [("row", "cell", "shared").index(b.role or "row") for b in nest.operands]
        for name in ("columns", "strided"):
            yield name, tuple(ROW_LAYOUTS[name][r] for r in roles), "whole"
        yield "short", contiguous, "short"
    elif len(contiguous[0]) == 1:
        yield "strided", ("s",) * n, "whole"
        yield "uniform", (*contiguous[:outputs], *"u" * (n - outputs)), "whole"
    else:
        yield "uniform", (*contiguous[:outputs], *["su"] * (n - outputs)), "whole"
        yield "strided", ("ss",) * n, "whole"
        yield "transposed", (*["sc"] * outputs, *["cs"] * (n - outputs)), "whole"


def nests(dtypes: Iterable[str], ops: Iterable[str] | None = None) -> Iterator[tuple[str, Nest]]:
    routines()  # what other modules of the table define
    for dtype in dtypes:
        for name, v in variants([dtype], ops):
            yield f"{name}[{dtype}]", v.nest


def together(launches: Iterable[ptx.Launch]) -> str:
    """The PTX of one module with all of these kernels."""
    texts = {k.name: k.ptx for k in launches}
    head = ""
    bodies = []
    for text in texts.values():
        head, _, body = text.partition(".address_size 64\n")
        bodies.append(body)
    return "\n".join([head + ".address_size 64\n", *bodies])


def spills(said: str) -> dict[str, int]:
    """Bytes that each kernel spills, where it does, from what `ptxas -v` says."""
    found = {}
    for name, rest in re.findall(r"Function properties for (\w+)\n(.*)", said):
        stored = re.search(r"(\d+) bytes spill stores", rest)
        if stored and int(stored[1]):
            found[name] = int(stored[1])
    return found


class Work(typing.NamedTuple):
    label: str
    nest: Nest
    classes: tuple[str, ...]
    rows: Rows
    target: str


def everything(targets: Sequence[str], dtypes: Iterable[str], ops=None) -> Iterator[Work]:
    for name, nest in nests(dtypes, ops):
        for layout, classes, rows in layouts(nest):
            for target in targets:
                yield Work(f"{name} {layout} {target}", nest, classes, rows, target)


def sample(every: int = 16) -> Iterator[Work]:
    """Every nest of f32 in one of its layouts; of other dtypes one in `every`."""
    for i, (name, nest) in enumerate(nests(["f32"])):
        found = list(layouts(nest))
        layout, classes, rows = found[i % len(found)]
        others = EVERY_TARGET[i // 2 % len(EVERY_TARGET)]
        target = others if i % 2 == 0 else ("sm_80", "sm_90")[i // 2 % 2]
        yield Work(f"{name} {layout} {target}", nest, classes, rows, target)
    for k, dtype in enumerate(t for t in DTYPES if t != "f32"):
        routines()
        names = [op.name for op in ENTRIES if op.is_formula][k % every :: every]
        for i, work in enumerate(everything(["sm_90"], [dtype], names)):
            if i % 4 == k % 4:
                yield work


def arch(target: str) -> str:
    return ASSEMBLED_FOR.get(target, target)


def check(work: Iterable[Work], jobs: int = 1) -> tuple[int, list[str], dict[str, int]]:
    """Renders and assembles: how many kernels there are, what failed, and what spills."""
    failures, spilled, made = [], {}, 0
    names: dict[tuple[str, str], str] = {}
    batches: dict[str, list[ptx.Launch]] = {}
    sent = []
    with ThreadPoolExecutor(jobs) as pool:

        def send(target: str) -> None:
            launches = batches.pop(target)
            if ptx.assembler():
                job = pool.submit(ptx.assemble, together(launches), arch(target), "-v")
                sent.append((target, launches, job))

        for label, nest, classes, rows, target in work:
            try:
                k = ptx.render(nest, classes, ptx.TARGETS[target], rows=rows)
            except Exception as error:
                failures.append(f"{label}: {type(error).__name__}: {error}"[:400])
                continue
            made += 1
            if (target, k.name) not in names:
                names[target, k.name] = label
                batches.setdefault(target, []).append(k)
                if len(batches[target]) == BATCH:
                    send(target)
        for target in list(batches):
            send(target)
        for target, launches, job in sent:
            cubin, said = job.result()
            for k in launches if cubin is None else ():
                cubin, told = ptx.assemble(k.ptx, arch(target))
                if cubin is None:
                    failures.append(f"{names[target, k.name]}: {told}")
            for name, n in spills(said).items():
                spilled[names.get((target, name), name)] = n
    return made, failures, spilled


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--targets", nargs="+", default=["sm_90"])
    parser.add_argument("--dtypes", nargs="+", default=list(DTYPES))
    parser.add_argument("--ops", nargs="+", default=None)
    parser.add_argument("--jobs", type=int, default=1)
    options = parser.parse_args()
    work = everything(options.targets, options.dtypes, options.ops)
    made, failures, spilled = check(work, options.jobs)
    print(*failures, sep="\n")
    for label, n in sorted(spilled.items(), key=lambda item: -item[1]):
        print(f"spills {n} bytes: {label}")
    print(f"{made} kernels, {len(failures)} failed, {len(spilled)} spill")
    return bool(failures)


if __name__ == "__main__":
    sys.exit(main())
