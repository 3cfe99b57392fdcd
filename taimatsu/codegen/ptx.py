"""The same nests for NVIDIA GPUs: PTX, by LLVM's NVPTX, and what launching takes.

    kernel = render(nest, classes, SM90)             the PTX, and how to launch it
    g = grid(kernel, geometry, multiprocessors)      blocks and threads for a geometry

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
import typing
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache

from . import monoids, products, tiles
from .cache import cache, counts, lock
from .ir import Nest, Store, topological
from .llvm import Target
from .schedule import Rows, Schedule
from .team import WARP

TRIPLE = "nvptx64-nvidia-cuda"
# What LLVM is told about each generation; a later GPU of the same major version runs its PTX.
TARGETS = {
    f"sm_{n}": Target(TRIPLE, f"sm_{n}", f"+ptx{version}")
    for n, version in (
        (70, 64), (75, 64), (80, 78), (86, 78), (89, 78), (90, 80), (100, 86), (120, 87),
    )
}  # fmt: skip
SM70, SM80, SM90, SM100 = (TARGETS[f"sm_{n}"] for n in (70, 80, 90, 100))
BLOCK = 256  # threads of a block where the kernel doesn't need another number
MOST_THREADS = 512  # of a block: each may then have 128 registers
ACCESS_BYTES = 16
HELD = 16  # elements of a row that a thread has in registers between passes
HELD_COST = 48  # operations for each that are worth writing out so often
# Rows are split in sections where there are less than FEW of them, from LONG elements on.
FEW, LONG = 64, 65536
SECTION_ROWS, SECTION_COLUMNS, MOST_SECTIONS = 16384, 1024, 1024
WAVES = 32  # blocks for each multiprocessor, at most: then threads go round
MOST_ALONG_Y = 65535


@dataclass(frozen=True)
class Launch:
    """A kernel, and what launching it takes; `grid` works out blocks for a geometry.

    name, ptx     of the kernel; `image` is what to load: a cubin, or the text and a zero byte
    block         (x, y) threads of a block, as a rule: see `grid`
    per_block     elements or rows that such a block takes at a time along x
    arguments     lengths of the arrays: operands, geometry, scalars
    form          "points", "tiles", "rows" or "columns", see `gpu`
    x, y          the axes (positions in the geometry) that x and y run over; x -1: none
    lanes         elements that a thread takes at once along x (of rows: along the row)
    held          elements of a row that a thread can keep in registers
    serial        a column has exactly one thread, as where it is scanned
    product       -1, or the operand that in a product of matrices has stride 0 along axis 0
    owners        additions are shared among blocks along z (or along x, where that has no axis)
    state_bytes   what a section leaves for each row; 0 if rows can't be split
    finish        the name of the function (in the same image) that merges sections, or ""
    shared        bytes of dynamic shared memory: none so far, what is shared is in the image
    """

    name: str
    ptx: str
    block: tuple[int, int]
    per_block: int
    arguments: tuple[int, int, int]
    form: str = "points"
    x: int = -1
    y: tuple[int, ...] = ()
    lanes: int = 1
    held: int = 0
    serial: bool = False
    owners: bool = False
    product: int = -1
    state_bytes: int = 0
    finish: str = ""
    shared: int = 0
    image: bytes = field(default=b"", repr=False)
    llvm: str = field(default="", repr=False)


class Grid(typing.NamedTuple):
    """Blocks and threads. With `sections` > 1 the finish function is launched after the kernel.

    `scratch` bytes are for what the sections leave; both functions get them and `sections`.
    """

    blocks: tuple[int, int, int]
    threads: tuple[int, int]
    sections: int = 1
    scratch: int = 0
    finish_blocks: tuple[int, int, int] = (0, 0, 0)
    finish_threads: tuple[int, int] = (0, 0)


def grid(launch: Launch, geometry: Sequence[int], multiprocessors: int = 132) -> Grid:
    """How a kernel is launched for a geometry.

    Any number of blocks is right: threads go round until all is done. How rows are shared among
    threads and sections settles the order of additions, so that depends on extents alone; the
    number of multiprocessors only bounds the number of blocks.
    """

    def extent(a: int) -> int:
        return max(0, geometry[2 * a + 1] - geometry[2 * a])

    most = multiprocessors * WAVES
    if launch.form == "points":
        points, others = (extent(launch.x) if launch.x >= 0 else 1), 1
        for a in launch.y:
            others *= extent(a)
        if launch.x < 0:  # its threads are owners
            return Grid((multiprocessors, 1, 1), (BLOCK, 1))
        wide = -(-points // launch.lanes)
        width = _power(wide, 1, BLOCK)
        height = min(BLOCK // width, _power(others, 1, BLOCK))
        along_x = _between(1, -(-wide // width), most)
        along_y = _between(1, -(-others // height), min(MOST_ALONG_Y, -(-most // along_x)))
        owners = 1
        if launch.owners:
            owners = _between(1, most // (along_x * along_y), 64)
        return Grid((along_x, along_y, owners), (width, height))
    if launch.form == "tiles":
        along_x, along_y = (-(-extent(a) // tiles.SIDE) for a in (1, 0))
        return Grid((_between(1, along_x, most), _between(1, along_y, MOST_ALONG_Y), 1),
                    (tiles.SIDE, tiles.ROWS))  # fmt: skip
    rows, outer, length = extent(1), extent(0), extent(2) * extent(3)
    if launch.product >= 0 and not geometry[8 + 4 * launch.product] and extent(2) == 1:
        along_x, along_y = (-(-n // products.TILE) for n in (rows, outer))
        return Grid((_between(1, along_x, most), _between(1, along_y, MOST_ALONG_Y), 1),
                    (products.SIDE, products.SIDE))  # fmt: skip
    along_y = _between(1, outer, min(MOST_ALONG_Y, most))
    if launch.form == "rows":
        width = _power(-(-extent(3) // (launch.held or HELD)), WARP, MOST_THREADS)
        height = BLOCK // WARP if width == WARP else 1
        long = SECTION_ROWS
    else:
        height = 1 if launch.serial else _power(-(-length // HELD), 1, MOST_THREADS // WARP)
        width = WARP if height > 1 else BLOCK
        long = SECTION_COLUMNS
    across = height if launch.form == "rows" else width
    along_x = _between(1, -(-rows // across), most)
    if not launch.state_bytes or along_x * outer >= FEW or length < max(4 * long, LONG):
        return Grid((along_x, along_y, 1), (width, height))
    sections = min(MOST_SECTIONS, -(-length // long))
    return Grid(
        (along_x, along_y, sections), (width, height), sections,
        sections * rows * outer * launch.state_bytes,
        (-(-rows // (BLOCK // WARP)), along_y, 1), (WARP, BLOCK // WARP),
    )  # fmt: skip


def _power(n: int, low: int, high: int) -> int:
    """The power of two that is at least n, within bounds."""
    return _between(low, 1 << max(0, n - 1).bit_length(), high)


def _between(low: int, n: int, high: int) -> int:
    return max(low, min(n, high))


@dataclass(frozen=True)
class Plan:
    """A schedule with the GPU's widths, and how it is dealt out: fields as in `Launch`."""

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
    block = (BLOCK, 1) if how.form == "points" or how.serial else (WARP, BLOCK // WARP)
    per_block = {"points": BLOCK * how.lanes, "rows": block[1]}.get(how.form, block[0])
    return Launch(
        name, str(engine.emit(text, target, assembly=True)), block, per_block, kernel.arguments(),
        how.form, how.x, how.y, how.lanes, how.held, how.serial, how.owners, how.product,
        schedule.state_bytes if schedule.blocked else 0,
        name + "_finish" if schedule.blocked else "",
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


_KEPT = ("name", "block", "per_block", "arguments", "form", "x", "y", "lanes", "held",
         "serial", "owners", "product", "state_bytes", "finish", "shared")  # fmt: skip
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
