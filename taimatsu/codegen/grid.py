"""How many blocks and threads a kernel is launched with, as a formula of the geometry.

`formula` writes it once for a kernel, as numbers: for each number of a `Grid` the step that gives
it, then the steps, of four numbers each:

    operation, a, b, c      `OPERATIONS` by its character; a, b, c: earlier steps, or what is meant

Who launches kernels carries the steps out (csrc/cuda/grid.cpp; `evaluate` here), and knows nothing
else of how a kernel is dealt out.

Any number of blocks is right: threads go round until all is done. How rows are shared among threads
and sections settles the order of additions, so that depends on extents alone; the number of
multiprocessors only bounds the number of blocks.
"""

from __future__ import annotations

import typing
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from . import products, tiles
from .team import WARP

if TYPE_CHECKING:
    from .ptx import Plan

BLOCK = 256  # threads of a block where the kernel doesn't need another number
MOST_THREADS = 512  # of a block: each may then have 128 registers
HELD = 16  # elements of a row that a thread has in registers between passes
# Rows are split in sections where there are less than FEW of them, from LONG elements on.
FEW, LONG = 64, 65536
SECTION_ROWS, SECTION_COLUMNS, MOST_SECTIONS = 16384, 1024, 1024
WAVES = 32  # blocks for each multiprocessor, at most: then threads go round
MOST_ALONG_Y, MOST_OWNERS = 65535, 64


class Grid(typing.NamedTuple):
    """Blocks and threads. With `sections` > 1 the finish function is launched after the kernel.

    `scratch` bytes are for what the sections leave; both functions get them and `sections`.
    """

    blocks: tuple[int, int, int]
    threads: tuple[int, int]
    sections: int = 1
    scratch: int = 0
    finish_blocks: tuple[int, int] = (0, 0)
    finish_threads: tuple[int, int] = (0, 0)


RESULTS = 11  # numbers of a Grid


# ---- Formulas ------------------------------------------------------------------------------------

OPERATIONS: dict[str, Callable[[int, int, int], int]] = {
    "+": lambda a, b, c: a + b,
    "-": lambda a, b, c: a - b,
    "*": lambda a, b, c: a * b,
    "/": lambda a, b, c: a // b if b else 0,
    "m": lambda a, b, c: min(a, b),
    "M": lambda a, b, c: max(a, b),
    "2": lambda a, b, c: 1 << max(0, a - 1).bit_length(),  # the power of two that is at least a
    "<": lambda a, b, c: int(a < b),
    "?": lambda a, b, c: b if a else c,
}  # and "n", the number a; "g", number a of the geometry; "p", the multiprocessors


class Count:
    """A number that is known at the launch: what a step gives."""

    def __init__(self, sheet: Sheet, step: int) -> None:
        self.sheet, self.step = sheet, step

    def __add__(self, other: Count | int) -> Count:
        return self.sheet.add("+", self, other)

    def __sub__(self, other: Count | int) -> Count:
        return self.sheet.add("-", self, other)

    def __mul__(self, other: Count | int) -> Count:
        return self.sheet.add("*", self, other)

    def __floordiv__(self, other: Count | int) -> Count:
        return self.sheet.add("/", self, other)

    def __lt__(self, other: Count | int) -> Count:
        return self.sheet.add("<", self, other)

    def parts(self, size: Count | int) -> Count:
        """How many of `size` there are, the last one perhaps not whole."""
        return (self + size - 1) // size

    def within(self, low: Count | int, high: Count | int) -> Count:
        return self.sheet.add("M", low, self.sheet.add("m", self, high))

    def power(self, low: int, high: int) -> Count:
        """The power of two that is at least this, within bounds."""
        return self.sheet.add("2", self).within(low, high)

    def then(self, yes: Count | int, no: Count | int) -> Count:
        """`yes` where this isn't 0."""
        return self.sheet.add("?", self, yes, no)


class Sheet:
    """Steps, each once."""

    def __init__(self) -> None:
        self.steps: dict[tuple[str, int, int, int], int] = {}

    def step(self, operation: str, *of: int) -> Count:
        key = (operation, *of, *[0] * (3 - len(of)))
        return Count(self, self.steps.setdefault(key, len(self.steps)))  # type: ignore[arg-type]

    def number(self, n: Count | int) -> Count:
        return n if isinstance(n, Count) else self.step("n", n)

    def add(self, operation: str, *of: Count | int) -> Count:
        return self.step(operation, *(self.number(n).step for n in of))

    def extent(self, axis: int) -> Count:
        return (self.step("g", 2 * axis + 1) - self.step("g", 2 * axis)).within(0, 2**62)

    def results(self, *results: Count | int) -> tuple[int, ...]:
        found = [self.number(n).step for n in results]
        steps = [n for (operation, *of) in self.steps for n in (ord(operation), *of)]
        return *found, *steps


def evaluate(formula: Sequence[int], geometry: Sequence[int], multiprocessors: int) -> Grid:
    """What the core does at a launch."""
    values: list[int] = []
    for i in range(RESULTS, len(formula), 4):
        code, *of = formula[i : i + 4]
        match chr(code):
            case "n":
                values.append(of[0])
            case "g":
                values.append(geometry[of[0]])
            case "p":
                values.append(multiprocessors)
            case operation:
                a, b, c = (values[n] if n < len(values) else 0 for n in of)
                values.append(OPERATIONS[operation](a, b, c))
    x, y, z, tx, ty, sections, scratch, fx, fy, ftx, fty = (values[n] for n in formula[:RESULTS])
    return Grid((x, y, z), (tx, ty), sections, scratch, (fx, fy), (ftx, fty))


# ---- The kernels' --------------------------------------------------------------------------------


def formula(plan: Plan, state_bytes: int) -> tuple[int, ...]:
    """The grid of a kernel; `state_bytes`: what a section leaves for each row, 0 without any."""
    sheet = Sheet()
    if plan.form == "points":
        return _of_points(plan, sheet)
    if plan.form == "tiles":
        return _of_tiles(sheet)
    return _of_rows(plan, sheet, state_bytes)


def _most(sheet: Sheet) -> Count:
    return sheet.step("p") * WAVES


def _of_points(plan: Plan, sheet: Sheet) -> tuple[int, ...]:
    if plan.x < 0:  # its threads are owners
        return sheet.results(sheet.step("p"), 1, 1, BLOCK, 1, 1, 0, 0, 0, 0, 0)
    most, others = _most(sheet), sheet.number(1)
    for a in plan.y:
        others = others * sheet.extent(a)
    wide = sheet.extent(plan.x).parts(plan.lanes)
    width = wide.power(1, BLOCK)
    height = sheet.add("m", sheet.number(BLOCK) // width, others.power(1, BLOCK))
    x = wide.parts(width).within(1, most)
    y = others.parts(height).within(1, sheet.add("m", MOST_ALONG_Y, most.parts(x)))
    owners = (most // (x * y)).within(1, MOST_OWNERS) if plan.owners else 1
    return sheet.results(x, y, owners, width, height, 1, 0, 0, 0, 0, 0)


def _of_tiles(sheet: Sheet) -> tuple[int, ...]:
    y, x = (sheet.extent(a).parts(tiles.SIDE) for a in (0, 1))
    x, y = x.within(1, _most(sheet)), y.within(1, MOST_ALONG_Y)
    return sheet.results(x, y, 1, tiles.SIDE, tiles.ROWS, 1, 0, 0, 0, 0, 0)


def _of_rows(plan: Plan, sheet: Sheet, state_bytes: int) -> tuple[int, ...]:
    outer, rows, lines, line = map(sheet.extent, range(4))
    most, length = _most(sheet), lines * line
    width, height = sheet.number(BLOCK), sheet.number(1)
    if plan.form == "rows":
        width = line.parts(plan.held or HELD).power(WARP, MOST_THREADS)
        height = (width < WARP + 1).then(BLOCK // WARP, 1)
    elif not plan.serial:
        height = length.parts(HELD).power(1, MOST_THREADS // WARP)
        width = (height < 2).then(BLOCK, WARP)
    x = rows.parts(height if plan.form == "rows" else width).within(1, most)
    y = outer.within(1, sheet.add("m", MOST_ALONG_Y, most))
    z, scratch = sheet.number(1), sheet.number(0)
    finish: list[Count | int] = [0, 0, 0, 0]
    if state_bytes:
        long = SECTION_ROWS if plan.form == "rows" else SECTION_COLUMNS
        few = (x * outer < FEW) * (sheet.number(max(4 * long, LONG) - 1) < length)
        z = few.then(length.parts(long).within(1, MOST_SECTIONS), 1)
        scratch = few.then(z * rows * outer * state_bytes, 0)
        finish = [few.then(n, 0)
                  for n in (rows.parts(BLOCK // WARP), y, WARP, BLOCK // WARP)]  # fmt: skip
    if plan.product >= 0:  # see products.fits
        stride = sheet.step("g", 8 + 4 * plan.product)
        same = (stride < 1) * (sheet.number(-1) < stride)
        tiled = same * (lines < 2) * (sheet.number(0) < lines)
        x = tiled.then(rows.parts(products.TILE).within(1, most), x)
        y = tiled.then(outer.parts(products.TILE).within(1, MOST_ALONG_Y), y)
        width, height = (tiled.then(products.SIDE, n) for n in (width, height))
        z, scratch = tiled.then(1, z), tiled.then(0, scratch)
    return sheet.results(x, y, z, width, height, z, scratch, *finish)
