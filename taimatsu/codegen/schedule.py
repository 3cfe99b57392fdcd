"""From a nest and the layout of its operands to a schedule: what runs in which loop.

Nothing here is chosen by an op's name. The vector axis is the one with most contiguous accesses,
weighted by how often they run; a row is passed over as often as its reductions depend on each
other; what two passes share and is dear to compute goes through a scratch row. `kernel` renders
the result.
"""

from __future__ import annotations

import typing
from collections.abc import Mapping
from dataclasses import dataclass, field

from .ir import (
    BOOL,
    I64,
    U64,
    Axis,
    Buffer,
    DType,
    Expr,
    Nest,
    Store,
    axis,
    const,
    rebuild,
    topological,
)
from .lower import lower

# How rows run: by themselves, with vectors across them (those of few elements), in bundles, or in
# blocks that threads share, the states of which are merged in order.
Rows = typing.Literal["whole", "short", "bundled", "blocked"]
# The lanes of a reduction along the vector axis: the same for every dtype and body, so that a fused
# kernel adds in the order that the eager ones do. 32 f32 lanes are four AVX2 registers, enough
# independent accumulators to reach the bandwidth of the second-level cache.
REDUCE_LANES = 32
NARROW_LANES = 8
# Rows that are passed over one by one, but folded together.
BUNDLE = NARROW_LANES
# Rows of a tile, of an operand that is contiguous along another axis than the vector's.
TILE = 64
# How many elements a lane adds up before it flushes into a second accumulator, and that one into a
# third.
CHUNK = 128
# A value shared by two passes goes to a scratch row if it takes more operations than this.
DEAR = 6


# Expressions made here, beside those of the IR:
#   at        *index, guard, default   Buffer         the element where guard holds, else default
#   stride                             (Buffer, dim)  in elements


def prepare(nest: Nest, indexed: bool) -> list[Store]:
    """The stores with everything rewritten to what `evaluate` renders, and every load made safe."""
    stores = []
    for s in nest.stores:
        value, *rest = (
            lower(guarded(nest, indexed, split_selects(plainer(e))))
            for e in (s.value, *s.index, *([] if s.guard is None else [s.guard]))
        )
        index, guard = tuple(rest[: len(s.index)]), rest[-1] if s.guard is not None else None
        known = set() if guard is None else conjuncts(guard)
        for d, i in enumerate(index):
            inside = in_range(nest, s.buffer, d, i)
            if data_dependent(i) and Expr("check", (inside,), 2, BOOL) not in known:
                guard = inside if guard is None else both(guard, inside)
        stores.append(Store(s.buffer, index, value, s.combine, guard))
    return stores


def plainer(root: Expr) -> Expr:
    """Without what only derivation looks at, and with checks of one comparison each."""
    memo: dict[Expr, Expr] = {}
    for e in topological([root]):
        src = tuple(memo[s] for s in e.src)
        memo[e] = src[0] if e.op == "stop" else rebuild(e, src)
        if e.op == "loop":
            memo[e] = Expr("loop", src, e.arg.map(plainer), e.dtype)
        if e.op == "check" and src[0].op == "and":
            low, high = src[0].src
            index, size = high.src
            if size.op == "size" and low is Expr("le", (const(0, I64), index), None, BOOL):
                memo[e] = rebuild(e, (within_size(index, size),))
    return memo[root]


def within_size(index: Expr, size: Expr) -> Expr:
    """0 <= index < size, as one comparison."""
    return Expr("lt", tuple(Expr("cast", (e,), None, U64) for e in (index, size)), None, BOOL)


def split_selects(root: Expr) -> Expr:
    """x[where(c, i, j)] -> where(c, x[i], x[j]): each of the two may then be a vector load."""
    memo: dict[Expr, Expr] = {}
    for e in topological([root]):
        new = rebuild(e, tuple(memo[s] for s in e.src))
        memo[e] = _split(new) if e.op == "load" else new
    return memo[root]


def _split(e: Expr) -> Expr:
    for i, index in enumerate(e.src):
        if index.op == "where" and not data_dependent(index):
            cond, a, b = index.src
            branches = (
                _split(Expr("load", (*e.src[:i], x, *e.src[i + 1 :]), e.arg, e.dtype))
                for x in (a, b)
            )
            return Expr("where", (cond, *branches), None, e.dtype)
    return e


def data_dependent(index: Expr) -> bool:
    return any(n.op in ("load", "at") for n in topological([index]))


def in_range(nest: Nest, buffer: Buffer, dim: int, index: Expr) -> Expr:
    """That the index is one of the dim; the formula's own check of it, if there is one."""
    size = Expr("size", (), nest.axes[dim] if nest.reduced else (buffer, dim), I64)
    if index.op == "where" and index.src[0].op == "check":
        test, at, _ = index.src
        if test.src[0] is within_size(at, size):
            return test
    return within_size(index, size)


def both(a: Expr, b: Expr) -> Expr:
    return Expr("and", (a, b), None, BOOL)


def guarded(nest: Nest, indexed: bool, root: Expr) -> Expr:
    """Loads at computed positions that a `where` may not choose run only where it does.

    Positions that come from memory are checked against the sizes besides, so that whatever the
    data, nothing outside an operand is read.
    """
    whole = (lambda i: i.op == "axis") if indexed else (lambda i: not data_dependent(i))
    computed: dict[Expr, bool] = {}
    for e in topological([root]):
        own = e.op == "load" and not all(map(whole, e.src))
        computed[e] = own or any(computed[s] for s in e.src)
    memo: dict[tuple[Expr, Expr | None], Expr] = {}

    def walk(e: Expr, cond: Expr | None) -> Expr:
        if not computed[e]:
            return e
        key = (e, cond)
        if key not in memo:
            memo[key] = guard(e, cond)
        return memo[key]

    def guard(e: Expr, cond: Expr | None) -> Expr:
        if e.op == "where":
            test, a, b = e.src
            test = walk(test, cond)
            no = Expr("not", (test,), None, BOOL)
            a = walk(a, test if cond is None else both(cond, test))
            b = walk(b, no if cond is None else both(cond, no))
            for branch, other, when in ((a, b, test), (b, a, no)):
                # Where the guard fails for another reason than `test`, nobody looks at the value.
                unset = branch.op == "at" and branch.src[-1].op == "const"
                if unset and when in conjuncts(branch.src[-2]):
                    return Expr("at", (*branch.src[:-1], other), branch.arg, branch.dtype)
            return Expr("where", (test, a, b), e.arg, e.dtype)
        if e.op == "load":
            index = tuple(walk(i, cond) for i in e.src)
            for d, i in enumerate(index):
                if data_dependent(i):
                    inside = in_range(nest, e.arg, d, i)
                    cond = inside if cond is None else both(cond, inside)
            if cond is None:
                return rebuild(e, index)
            return Expr("at", (*index, cond, zero(e.dtype)), e.arg, e.dtype)
        if e.op == "reduce" and cond is not None and cond.axes & set(e.arg[1]):
            cond = None  # a condition on another value of the axis: not a condition on this loop
        return rebuild(e, tuple(walk(s, cond) for s in e.src))

    return walk(root, None)


def conjuncts(cond: Expr) -> set[Expr]:
    out, stack = set(), [cond]
    while stack:
        e = stack.pop()
        out.add(e)
        if e.op == "and":
            stack.extend(e.src)
    return out


def zero(dtype) -> Expr:
    return const(0, dtype)


# Index arithmetic


def plus(a: Expr, b: Expr) -> Expr:
    if a.op == "const" and b.op == "const":
        return const(a.arg + b.arg, I64)
    if a.op == "const" and a.arg == 0:
        return b
    if b.op == "const" and b.arg == 0:
        return a
    return Expr("add", (a, b), None, I64)


def times(a: Expr, b: Expr) -> Expr:
    if b.op == "const":
        a, b = b, a
    if a.op == "const":
        if b.op == "const":
            return const(a.arg * b.arg, I64)
        if a.arg in (0, 1):
            return b if a.arg else a
    return Expr("mul", (a, b), None, I64)


Affine = dict[Axis | None, Expr]  # coefficients of axes; None: what remains


def affine(e: Expr) -> Affine:
    """e as a sum of coefficients (free of axes) times axes, and a remainder of any shape."""
    if e.op == "axis":
        return {e.arg: const(1, I64)}
    if e.op in ("add", "sub") and e.dtype is I64:
        out = dict(affine(e.src[0]))
        sign = const(-1 if e.op == "sub" else 1, I64)
        for a, c in affine(e.src[1]).items():
            out[a] = plus(out[a], times(sign, c)) if a in out else times(sign, c)
        return out
    if e.op == "neg" and e.dtype is I64:
        return {a: times(const(-1, I64), c) for a, c in affine(e.src[0]).items()}
    if e.op == "mul" and e.dtype is I64:
        for scale, other in (e.src, e.src[::-1]):
            if not scale.axes:
                return {a: times(scale, c) for a, c in affine(other).items()}
    return {None: e}


@dataclass
class Access:
    """Where an element is: the sum of `terms` (coefficients of axes, in elements) and `rest`."""

    terms: dict[Axis, Expr]
    rest: Expr

    def step(self, vector: Axis | None) -> Expr | None:
        """Elements from one lane to the next; None if the lanes' positions are not affine."""
        if vector is None:
            return const(0, I64)
        if vector in self.rest.axes:
            return None
        return self.terms.get(vector, const(0, I64))


@dataclass
class Pass:
    """One loop over a row: what is reduced, scanned, stored, and exchanged with other passes."""

    reduces: list[Expr] = field(default_factory=list)
    scans: list[Expr] = field(default_factory=list)
    stores: list[Store] = field(default_factory=list)
    spills: dict[Expr, Buffer] = field(default_factory=dict)
    reloads: dict[Expr, Buffer] = field(default_factory=dict)

    def roots(self) -> list[Expr]:
        out = [s for r in (*self.reduces, *self.scans) for s in r.src]
        for s in self.stores:
            out += [*s.index, s.value, *([] if s.guard is None else [s.guard])]
        return out


class Schedule:
    """How a nest runs for operands of given layout classes (see docs/layout.md)."""

    def __init__(self, nest: Nest, classes: tuple[str, ...], rows: Rows = "whole") -> None:
        self.nest = nest
        self.classes = dict(zip(nest.operands, classes, strict=True))
        self.row: frozenset[Axis] = frozenset(nest.reduced)
        self.kind = "row" if self.row else ("pointwise" if len(classes[0]) == 2 else "indexed")
        self.stores = prepare(nest, self.kind == "indexed")
        self.accesses: dict[tuple, Access] = {}
        self.plain = self._plain_axes()
        self.parallel = tuple(
            i for i, a in enumerate(nest.axes) if a in self.plain and a not in self.row
        )
        self.scratch: list[Buffer] = []
        self._plan_passes()
        self.vector = self._vector_axis(rows)
        self.along_row = self.vector in self.row
        self.lanes = self._lanes()
        self.blocked = rows == "blocked" and self.blockable()
        self.bundled = rows == "bundled" and self.along_row
        self.outer = [a for a in nest.axes if a not in self.row and a is not self.vector]
        if self.vector is not None and not self.along_row:
            self.outer.append(self.vector)
        self.tiled = self._tiled_axis()

    # Memory

    def stride(self, buffer: Buffer, dim: int) -> Expr:
        """In elements: 0, 1 and 2 are known from the layout class, others at run time."""
        letters = self.classes[buffer]
        if self.kind == "indexed":
            letter = letters if dim == buffer.rank - 1 else "s"
        else:
            tracked = (1, 3) if self.kind == "row" else (0, 1)
            letter = letters[tracked.index(dim)] if dim in tracked else "s"
        known = {"u": 0, "c": 1, "2": 2}.get(letter)
        if known is not None:
            return const(known, I64)
        return Expr("stride", (), (buffer, dim), I64)

    def size_of(self, a: Axis) -> Expr:
        """The extent of an axis of an indexed nest, as the size of an output along it."""
        for s in self.nest.stores:
            for d, i in enumerate(s.index):
                if i is axis(a):
                    return Expr("size", (), (s.buffer, d), I64)
        raise NotImplementedError(f"codegen: no output has axis {a} as a dim; its size is unknown")

    def access(self, buffer: Buffer, index: tuple[Expr, ...]) -> Access:
        key = (buffer, index)
        found = self.accesses.get(key)
        if found is None:
            terms: dict[Axis, Expr] = {}
            rest = const(0, I64)
            for d, i in enumerate(index):
                stride = self.stride(buffer, d)
                i = i if i.dtype is I64 else Expr("cast", (i,), None, I64)
                for a, c in affine(i).items():
                    c = times(c, stride)
                    if a is None:
                        rest = plus(rest, c)
                    else:
                        terms[a] = plus(terms[a], c) if a in terms else c
            terms = {a: c for a, c in terms.items() if not (c.op == "const" and c.arg == 0)}
            found = self.accesses[key] = Access(terms, rest)
        return found

    def every_access(self) -> list[tuple[Buffer, tuple[Expr, ...], int]]:
        """(buffer, index, how often it runs per point) of all loads and stores."""
        out = []
        for s in self.stores:
            roots = [s.value, *s.index, *([] if s.guard is None else [s.guard])]
            for e in topological(roots):
                if e.op in ("load", "at"):
                    index = e.src[: e.arg.rank]
                    often = self._per_point(index)
                    for a in frozenset().union(*(i.axes for i in index)) - set(self.nest.axes):
                        often *= a.extent or 8
                    out.append((e.arg, index, often))
            out.append((s.buffer, s.index, self._per_point(s.index)))
        return out

    def _per_point(self, index: tuple[Expr, ...]) -> int:
        """1, or 0 for what runs once a row: against a row of elements that is nothing."""
        return int(not self.row or any(i.axes & self.row for i in index))

    # Choices

    def _plain_axes(self) -> set[Axis]:
        """Axes of which different values store to different places: threads may split these."""
        plain = set(self.nest.axes)
        if self.kind == "indexed":
            for s in self.stores:
                own = set()
                for i in s.index:
                    terms = affine(i)
                    rest = terms.pop(None, None)
                    if len(terms) == 1 and (rest is None or not rest.axes):
                        ((a, c),) = terms.items()
                        if c.op == "const" and c.arg != 0:
                            own.add(a)
                plain &= own
        return plain

    def _vector_axis(self, rows: Rows) -> Axis | None:
        axes = self.nest.axes
        if self.kind == "row":
            candidates = [axes[1]] if rows == "short" else [axes[1], axes[3]]
        else:
            candidates = [a for a in axes if a in self.plain]

        def score(a: Axis) -> float:
            total = 0.0
            for buffer, index, often in self.every_access():
                step = self.access(buffer, index).step(a)
                if step is None or step.op != "const":
                    continue
                total += often * {0: 0.1, 1: 1.0, -1: 0.8, 2: 0.6, 3: 0.5, 4: 0.4}.get(step.arg, 0)
            return total

        best = None
        for a in reversed(candidates):
            if best is None or score(a) > score(best):
                best = a
        return best

    def _lanes(self) -> tuple[int, ...]:
        """Widths of the loops along the vector axis, widest first; the last one is 1."""
        if self.vector is None:
            return (1,)
        if self.along_row:
            return (REDUCE_LANES, NARROW_LANES, 1)
        roots = [s.value for s in self.stores]
        rare = {e.src[1] for e in topological(roots) if e.arg == "rarely"}
        values = [
            e
            for e in topological(roots, rare)
            if e.op not in ("axis", "size", "param", "const", "item")
            and (e.axes & self.row or not self.row)
        ]
        if self._divides(values):
            return (1,)
        steps = [self.access(b, i).step(self.vector) for b, i, _ in self.every_access()]
        if any(step is None or step.op != "const" for step in steps):
            # Gathers go lane by lane anyway, so that vectors pay for arithmetic only.
            return (NARROW_LANES, 1) if self._computes(values) else (1,)
        if any(e.op == "loop" for e in values):
            return (NARROW_LANES, 1)  # its lanes wait for one another
        types = [e.dtype for e in values] + [s.buffer.dtype for s in self.stores]
        bits = max(t.real.bits for t in types)
        widest = min(1024 // bits, REDUCE_LANES if self.row else 1024)
        return (widest, NARROW_LANES, 1) if widest > NARROW_LANES else (NARROW_LANES, 1)

    def _computes(self, values: list[Expr]) -> bool:
        """Whether there is more to do than to choose and to move elements."""
        moves = ("load", "at", "where", "cast", "check", "and", "or", "not")
        return any(e.op not in moves and e.dtype is not I64 and e.dtype is not BOOL for e in values)

    def _divides(self, values: list[Expr]) -> bool:
        """Whether integer divisions, which no vector unit has, are most of the work."""
        divisions = [e for e in values if e.op == "idiv" and e.src[1].op != "const"]
        return sum(self.vector in e.axes for e in divisions) > 4

    def _tiled_axis(self) -> Axis | None:
        """An axis that some operand is contiguous in, when lanes of it are far apart: a transpose.

        It is split in tiles inside which it runs innermost, so that every cache line that a vector
        touches is used up while it is there.
        """
        if self.kind == "row" or len(self.outer) < 2:
            return None
        for buffer, index, _ in self.every_access():
            access = self.access(buffer, index)
            step = access.step(self.vector)
            if step is None or step.op == "const":
                continue
            for a in self.outer[:-1]:
                along = access.step(a)
                if along is not None and along.op == "const" and abs(along.arg) == 1:
                    return a
        return None

    # Passes over a row

    def _plan_passes(self) -> None:
        level: dict[Expr, int] = {}
        roots = [
            e
            for s in self.stores
            for e in (s.value, *s.index, *([] if s.guard is None else [s.guard]))
        ]
        order = topological(roots)
        passes: list[Pass] = []

        def at_pass(i: int) -> Pass:
            while len(passes) <= i:
                passes.append(Pass())
            return passes[i]

        for e in order:
            level[e] = max((level[s] for s in e.src), default=0)
            if self.reduces_row(e):
                at_pass(level[e]).reduces.append(e)
                level[e] += 1
            elif e.op == "scan":
                at_pass(level[e]).scans.append(e)
        self.after: list[Store] = []  # stores of one value per row
        for s in self.stores:
            parts = [s.value, *s.index, *([] if s.guard is None else [s.guard])]
            if any(p.axes & self.row for p in parts):
                at_pass(max(level[p] for p in parts)).stores.append(s)
            else:
                self.after.append(s)
        self.passes = passes
        cost, scanned = self._costs(order)
        computed: dict[Expr, int] = {}  # the first pass that computes it
        for q, p in enumerate(passes):
            stack, seen = p.roots(), set()
            while stack:
                e = stack.pop()
                if e in seen or not e.axes & self.row:
                    continue
                seen.add(e)
                first = computed.get(e)
                if first is not None and (e in scanned or cost[e] > DEAR) and e.op != "axis":
                    buffer = passes[first].spills.get(e)
                    if buffer is None:
                        buffer = Buffer(f"scratch{len(self.scratch)}", e.dtype, 1)
                        self.scratch.append(buffer)
                        passes[first].spills[e] = buffer
                    p.reloads[e] = buffer
                    continue
                if not (e.op == "scan" and e not in p.scans):
                    stack.extend(e.src)
            for e in seen:
                computed.setdefault(e, q)

    def _costs(self, order: list[Expr]) -> tuple[dict[Expr, int], set[Expr]]:
        """Operations below each expression that run per element of the row; which hold a scan."""
        below: dict[Expr, frozenset[Expr]] = {}
        scanned = set()
        for e in order:
            if not e.axes & self.row:
                below[e] = frozenset()
                continue
            own = (
                frozenset()
                if e.op in ("load", "axis", "const", "cast", "item")
                else frozenset((e,))
            )
            below[e] = own.union(*(below[s] for s in e.src))
            if e.op == "scan" or any(s in scanned for s in e.src):
                scanned.add(e)
        return {e: len(s) for e, s in below.items()}, scanned

    def reduces_row(self, e: Expr) -> bool:
        return e.op == "reduce" and bool(self.row.intersection(e.arg[1]))

    # Blocked reductions

    def blockable(self) -> bool:
        if self.kind != "row" or len(self.passes) != 1 or self.passes[0].stores:
            return False
        if self.passes[0].scans:
            return False
        # A block sees its own extent only: bodies that mention the row's are not blocked.
        return not any(e.op == "size" for e in topological(self.passes[0].roots()))

    @property
    def states(self) -> list[tuple[Expr, int]]:
        """The fields of the accumulators of a row, in memory order: (reduce, field)."""
        return [(r, i) for r in self.passes[0].reduces for i in range(len(r.src))]

    @property
    def state_bytes(self) -> int:
        """Bytes of a row's accumulators. Each field takes the size of the largest."""
        return len(self.states) * max(r.src[i].dtype.bits // 8 for r, i in self.states)

    @property
    def row_bytes(self) -> int:
        """Of a row's scratch rows, for each of its elements."""
        return sum(b.dtype.bits // 8 for b in self.scratch)

    @property
    def scratch_bytes(self) -> int:
        """Of those of all the rows that are under way at a time."""
        if self.along_row:
            return self.row_bytes * (BUNDLE if self.bundled else 1)
        return self.row_bytes * self.lanes[0]

    # Bundled rows

    def cells(self, p: Pass) -> list[Expr]:
        """What elements of the pass are computed from that is one value per row: the largest."""
        out, seen, stack = [], set(), p.roots()
        while stack:
            e = stack.pop()
            if e in seen or e in p.reloads:
                continue
            seen.add(e)
            if e.axes & self.row:
                stack.extend(e.src)
            elif e.op not in ("const", "param", "size", "axis"):
                out.append(e)
        return out


def merge_formula(e: Expr, short: Mapping[int, DType] | None = None) -> tuple[Expr, ...]:
    """A reduction's or scan's merge, as expressions of "hole"s: the fields of a, then those of b.

    The fields in `short` are of those types instead of their own.
    """
    n = len(e.src)
    types = [(short or {}).get(f, s.dtype) for f, s in enumerate(e.src)]
    holes = [Expr("hole", (), i, types[i % n]) for i in range(2 * n)]
    return tuple(lower(m) for m in e.arg[0].merge(tuple(holes[:n]), tuple(holes[n:])))


def choices(merge: tuple[Expr, ...], fields: int) -> set[int]:
    """The fields that a merge takes from either side as they are."""

    def chosen(e: Expr, f: int) -> bool:
        if e.op == "where":
            return chosen(e.src[1], f) and chosen(e.src[2], f)
        return e.op == "hole" and e.arg % fields == f

    return {f for f, e in enumerate(merge) if chosen(e, f)}


def initial(e: Expr) -> tuple:
    """The identity of a reduction or scan: a Python value or constant per field."""
    values = e.arg[0].init(tuple(s.dtype for s in e.src))
    return tuple(v.arg if isinstance(v, Expr) else v for v in values)


def rounds(merge: tuple[Expr, ...]) -> bool:
    """Whether merging loses digits, so that long sums want a second accumulator."""
    return any(
        e.op in ("add", "mul", "fma", "div") and e.dtype.kind in "fc" for e in topological(merge)
    )
