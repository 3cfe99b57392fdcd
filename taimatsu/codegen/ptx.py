"""The same nests for NVIDIA GPUs: PTX, by LLVM's NVPTX, and what launching takes.

    kernel = render(nest, classes, SM90)             the PTX, and how to launch it
    g = kernel.grid(geometry, multiprocessors)       blocks and threads for a geometry

`gpu` says who runs which iteration. A kernel's arguments are the core's (docs/layout.md), as
arrays by value; where to report flags; and, for rows split in sections, memory for what a section
leaves, and how many there are:

    name([n x ptr] ptr, [g x i64] geometry, [s x i64] scalars,
         i32* flags, ptr scratch, i64 sections)

Building needs no CUDA; if `ptxas` is found (`TAIMATSU_PTXAS`, PATH, /usr/local/cuda), kernels are
kept on disk assembled, else as text, which the driver assembles.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache

from . import monoids, products, tiles
from .cache import cache, counts, lock
from .grid import BLOCK, HELD, MOST_THREADS, Grid, evaluate, formula
from .ir import Nest, Store, topological
from .llvm import Target
from .schedule import Rows, Schedule

TRIPLE = "nvptx64-nvidia-cuda"
# What LLVM is told about each generation; a later GPU of the same major version runs its PTX.
TARGETS = {
    f"sm_{n}": Target(TRIPLE, f"sm_{n}", f"+ptx{version}")
    for n, version in (
        (70, 64), (75, 64), (80, 78), (86, 78), (89, 78), (90, 80), (100, 86), (120, 87),
    )
}  # fmt: skip
SM70, SM80, SM90, SM100 = (TARGETS[f"sm_{n}"] for n in (70, 80, 90, 100))
ACCESS_BYTES = 16
HELD_COST = 48  # operations for each element of a row in registers that are worth writing out


@dataclass(frozen=True)
class Launch:
    """A kernel, and what launching it takes.

    name, ptx     of the kernel; `image` is what to load: a cubin, or the text and a zero byte
    arguments     lengths of the arrays: operands, geometry, scalars
    form          "points", "tiles", "rows" or "columns", see `gpu`
    formula       of the grid, see `codegen.grid`
    finish        the name of the function (in the same image) that merges sections, or ""
    """

    name: str
    ptx: str
    arguments: tuple[int, int, int]
    form: str
    formula: tuple[int, ...]
    finish: str = ""
    image: bytes = field(default=b"", repr=False)
    llvm: str = field(default="", repr=False)

    def grid(self, geometry: Sequence[int], multiprocessors: int = 132) -> Grid:
        """How it is launched for a geometry."""
        return evaluate(self.formula, geometry, multiprocessors)


@dataclass(frozen=True)
class Plan:
    """A schedule with the GPU's widths, and how it is dealt out.

    form          as in `Launch`
    x, y          the axes (positions in the geometry) that x and y run over; x -1: none
    lanes         elements that a thread takes at once along x (of rows: along the row)
    held          elements of a row that a thread can keep in registers
    serial        a column has exactly one thread, as where it is scanned
    owners        additions are shared among blocks along z (or along x, where that has no axis)
    atomic        they are made by atomics
    product       -1, or the operand that in a product of matrices has stride 0 along axis 0
    """

    schedule: Schedule
    form: str
    x: int = -1
    y: tuple[int, ...] = ()
    lanes: int = 1
    held: int = 0
    serial: bool = False
    owners: bool = False
    atomic: bool = False
    product: int = -1

    @property
    def widths(self) -> tuple[int, ...]:
        return (self.lanes, 1) if self.lanes > 1 else (1,)

    @property
    def threads(self) -> int:
        """The most threads that a block has."""
        return BLOCK if self.form in ("points", "tiles") else MOST_THREADS


def plan(nest: Nest, classes: tuple[str, ...], rows: Rows = "whole") -> Plan:
    """How a nest runs on a GPU for operands of these layout classes."""
    schedule = Schedule(nest, classes, rows)
    schedule.blocked = schedule.blockable()
    schedule.tiled = None
    product = products.factors(schedule)
    at = -1 if product is None else product[2]
    scans = any(p.scans for p in schedule.passes)
    if schedule.kind == "row":
        if not schedule.along_row:
            schedule.lanes = (1,)
            return Plan(schedule, "columns", 1, (0,), serial=scans, product=at)
        lanes = 1 if scans else _row_lanes(schedule)
        schedule.lanes = (lanes, 1) if lanes > 1 else (1,)
        held = 0 if scans else _held(schedule, lanes)
        return Plan(schedule, "rows", 1, (0,), lanes, held, product=at)
    if tiles.transposed(schedule):
        schedule.lanes = (1,)
        return Plan(schedule, "tiles", 1, (0,))
    schedule.lanes = _widths(schedule)
    inner, parallel = schedule.vector, schedule.parallel
    added = [s for s in schedule.stores if s.combine is not None]
    atomic = bool(added) and len(added) == len(schedule.stores) and all(map(order_free, added))
    if atomic:  # then no axis has to go in turn
        parallel = tuple(range(len(nest.axes)))
        inner = inner or nest.axes[-1]
    x = -1 if inner is None else nest.axes.index(inner)
    y = tuple(i for i in parallel if i != x)
    in_turn = len(nest.axes) - len(y) - (x >= 0)
    return Plan(schedule, "points", x, y, schedule.lanes[0], owners=bool(in_turn and added),
                atomic=atomic)  # fmt: skip


def order_free(s: Store) -> bool:
    """Whether what is added to a place is the same in any order: so of integers."""
    t = s.buffer.dtype
    return t.kind in "iu" and t.bits >= 32 and s.combine in (monoids.SUM, monoids.MAX)


def _widths(schedule: Schedule) -> tuple[int, ...]:
    """Elements that a thread takes at once: sixteen bytes of the widest operand, if contiguous."""
    if schedule.kind != "pointwise" or schedule.vector is not schedule.nest.axes[1]:
        return (1,)
    if any(c[1] in "s2" for c in schedule.classes.values()) or _branches(schedule):
        return (1,)
    lanes = _lanes_of(schedule)
    return (1,) if lanes < 2 else (lanes, 1)


def _branches(schedule: Schedule) -> bool:
    values = topological([s.value for s in schedule.stores])
    return any(e.arg == "rarely" or e.op == "loop" for e in values)


def _lanes_of(schedule: Schedule) -> int:
    bits = [b.dtype.bits for b, c in schedule.classes.items() if c[1] == "c"]
    return max(1, ACCESS_BYTES * 8 // max(bits)) if bits else 1


def _row_lanes(schedule: Schedule) -> int:
    """The same along a row, where every element is at its place."""
    r0 = schedule.nest.reduced[1]
    if any(c[1] in "s2" for c in schedule.classes.values()) or _branches(schedule):
        return 1
    for buffer, index, _ in schedule.every_access():
        access = schedule.access(buffer, index)
        step = access.step(r0)
        if step is None or step.op != "const" or step.arg not in (0, 1):
            return 1
        if step.arg and not (access.rest.op == "const" and access.rest.arg == 0):
            return 1
    return _lanes_of(schedule)


def _held(schedule: Schedule, lanes: int) -> int:
    """How many elements of a row a thread keeps: none where a row is read once."""
    if len(schedule.passes) < 2 or _branches(schedule):
        return 0
    row = [e for e in topological([s.value for s in schedule.stores]) if e.axes & schedule.row]
    loads = [e for e in row if e.op in ("load", "at")]
    if not loads or len(row) - len(loads) > HELD_COST or any(e.op == "reduce" for e in row):
        return 0
    wide = any(e.dtype.bits > 32 for e in row if e.dtype.kind in "fc") or len(loads) > 2
    return max(lanes, HELD // 2 if wide else HELD)


def render(
    nest: Nest, classes: Sequence[str], target: Target = SM80, name: str = "", rows: Rows = "whole"
) -> Launch:
    """The nest's kernel for a GPU. Its name is a digest of its text, unless one is given."""
    from . import engine
    from .gpu import GpuKernel

    how = plan(nest, tuple(classes), rows)
    schedule = how.schedule
    kernel = GpuKernel(how, target, "kernel")
    text = kernel.render()
    name = name or "k" + hashlib.sha256(text.encode()).hexdigest()[:24]
    text = re.sub(r"@(?=rare|table|shared_)", f"@{name}_", text.replace("@kernel", f"@{name}"))
    blocked = schedule.blocked
    return Launch(
        name, str(engine.emit(text, target, assembly=True)), kernel.arguments(), how.form,
        formula(how, schedule.state_bytes if blocked else 0), name + "_finish" if blocked else "",
        llvm=text,
    )  # fmt: skip


# Assembled, and kept on disk


@lru_cache(maxsize=1)
def assembler() -> str | None:
    """The path of `ptxas`, or None."""
    for place in (os.environ.get("TAIMATSU_PTXAS"), "ptxas", "/usr/local/cuda/bin/ptxas"):
        found = shutil.which(place) if place else None
        if found:
            return found
    return None


def assemble(ptx: str, target: str, *options: str) -> tuple[bytes | None, str]:
    """The cubin, or None, and what ptxas says. Raises FileNotFoundError if there is no ptxas."""
    path = assembler()
    if path is None:
        raise FileNotFoundError("ptxas: not found; set TAIMATSU_PTXAS, or install nvidia-cuda-nvcc")
    with tempfile.TemporaryDirectory() as folder:
        source, result = os.path.join(folder, "k.ptx"), os.path.join(folder, "k.cubin")
        with open(source, "w") as f:
            f.write(ptx)
        command = [path, f"-arch={target}", *options, source, "-o", result]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            return None, done.stderr
        with open(result, "rb") as f:
            return f.read(), done.stderr


_KEPT = ("name", "arguments", "form", "formula", "finish")
_loaded: dict[str, Launch] = {}


def key(nest: Nest, classes: Sequence[str], target: str, rows: Rows) -> str:
    """What the kernel is called in the cache."""
    from . import engine

    return engine.key(nest, (target, *classes), rows)


def kernel(nest: Nest, classes: Sequence[str], target: str, rows: Rows = "whole") -> Launch:
    """The nest's kernel for `target` ("sm_90"), from the cache or rendered.

    Raises ValueError for a target that isn't in `TARGETS`.
    """
    if target not in TARGETS:
        raise ValueError(f"codegen: no target {target!r}; there are {', '.join(TARGETS)}")
    with lock:
        name = key(nest, classes, target, rows)
        found = _loaded.get(name) or recall(name)
        if found is None:
            found = render(nest, tuple(classes), TARGETS[target], rows=rows)
            cubin = assemble(found.ptx, target)[0] if assembler() else None
            found = replace(found, image=cubin or found.ptx.encode() + b"\0", llvm="")
            text = found.ptx.encode()
            about = {k: getattr(found, k) for k in _KEPT} | {"ptx": len(text)}
            cache().put(name, about, text + found.image)
            counts.compiled += 1
        _loaded[name] = found
        return found


def recall(name: str) -> Launch | None:
    """A kernel from the cache on disk."""
    kept = cache().get(name)
    if kept is None:
        return None
    about, code = kept
    if "ptx" not in about:
        return None
    n = about.pop("ptx")
    about = {k: tuple(v) if isinstance(v, list) else v for k, v in about.items()}
    counts.cache_hits += 1
    return Launch(ptx=code[:n].decode(), image=code[n:], **about)
