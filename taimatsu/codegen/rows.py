"""Rows: passes over their elements, accumulators, scans, scratch rows, blocked reductions.

Along the row, a wide, a narrow and a scalar loop each have their own accumulators, which are folded
into one another after the row: which element meets which is settled by the extent alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from .ir import BOOL, I8, I16, I32, I64, U8, U16, U32, Axis, Buffer, DType, Expr, axis, const
from .llvm import BYTE, PTR, Code, Value, literal, register_type, typed
from .loops import Fields, Scope, start
from .monoids import VALUE_OF
from .schedule import CHUNK, Pass, choices, initial, merge_formula, plus, rounds, times
from .simplify import cast

if TYPE_CHECKING:
    from .kernel import Kernel

SEARCH = 4096  # bytes of elements that are looked at together before they are searched
SCAN_SEGMENT = 8  # lanes that a prefix is taken over by shifts; segments are chained

State = list[Fields]  # the fields of each reduction (or scan)


def single(fields: Fields) -> Value | Fields:
    """What a reduction or scan is in a scope's memo."""
    return fields if len(fields) > 1 else fields[0]


def identity(e: Expr, lanes: int) -> Fields:
    return [literal(v, f.dtype, lanes) for v, f in zip(initial(e), e.src, strict=True)]


class RowPass:
    """One pass: a loop over r1 and r0 that reduces, scans, stores and spills.

    A `whole` row is less than a chunk.
    """

    turn: Axis | None = None  # which of the rows that have a scratch row at a time

    def __init__(self, kernel: Kernel, p: Pass, scope: Scope, whole: bool = False) -> None:
        self.kernel, self.build, self.p, self.scope = kernel, kernel.build, p, scope
        self.schedule = kernel.schedule
        self.r1, self.r0 = kernel.nest.reduced
        along = self.schedule.along_row
        self.widths = self.schedule.lanes if along else (1,)  # elements of the row per iteration
        self.lanes = self.schedule.lanes if along else (scope.lanes,)
        self.merges = {e: merge_formula(e) for e in (*p.reduces, *p.scans)}
        self.whole = whole
        self.short = {e: self.positions(e) | self.counts(e) for e in p.reduces}
        if whole:
            self.levels = 0
            self.merges |= {e: merge_formula(e, short) for e, short in self.short.items()}
        elif any(rounds(self.merges[e]) for e in p.reduces):
            self.levels = 2
        else:
            self.levels = int(any(self.short.values()))

    # Fields of accumulators that are narrower within a chunk: more lanes to a register

    def positions(self, e: Expr) -> dict[int, DType]:
        """Positions in the row, to choose among (argmax): offsets from where the chunk begins."""
        fields = choices(self.merges[e], len(e.src))
        row = (self.r1, self.r0)
        return {f: I32 for f in fields if e.src[f].op == "axis" and e.src[f].arg in row}

    def counts(self, e: Expr) -> dict[int, DType]:
        """The sum of integers of few bits, which a chunk of them in a lane doesn't overflow.

        The lanes of a whole row are folded before they are widened.
        """
        (x, *more), (merge, *_) = e.src, self.merges[e]
        if more or merge.op != "add" or x.op != "cast" or not x.dtype.integral:
            return {}
        if self.whole:
            narrow = {BOOL: I16, U8: I32, I8: I32, U16: I32, I16: I32}.get(x.src[0].dtype)
        else:
            narrow = {BOOL: U8, U8: U16, I8: I16, U16: U32, I16: I32}.get(x.src[0].dtype)
        return {0: narrow} if narrow and narrow.bits < x.dtype.bits else {}

    def stride(self, scope: Scope, elements: int) -> Value:
        """How far a loop goes on from one iteration to the next, of so many elements each."""
        return literal(elements, I64)

    def run(self) -> None:
        """Renders the pass; leaves the results of reductions in the row's memo."""
        states = self.accumulators()
        for i, e in enumerate(self.p.reduces):
            total = states[0][i]
            for narrower in states[1:]:
                total = self.narrowed(e, total, narrower[i])
            self.scope.memo[e] = single(total)

    def accumulators(self) -> list[State]:
        """What the loops over the row leave: a state for each width."""
        kernel, scope, p = self.kernel, self.scope, self.p
        identities = self.chunk_identity if self.whole else identity
        states = [[identities(e, n) for e in p.reduces] for n in self.lanes]
        carry = [identity(e, 1 if self.schedule.along_row else scope.lanes) for e in p.scans]
        shape = [*states, carry]

        def over_r1(inner: Scope, values: list[Value]) -> list[Value]:
            *states, carry = regroup(values, shape)
            first, end = kernel.bounds(inner, self.r0)
            for i, (width, lanes) in enumerate(zip(self.widths, self.lanes, strict=True)):
                stop = kernel.aligned(scope, first, end, width)
                levels = 0 if i else self.levels
                if i == 0 and self.searches():
                    states[i] = self.search(inner, first, stop, width, lanes, states[i])
                else:
                    states[i], carry = self.chunks(
                        inner, first, stop, width, lanes, states[i], carry, levels
                    )
                first = stop
            return ungroup((*states, carry))

        first, end = kernel.bounds(scope, self.r1)
        values = kernel.loop(scope, self.r1, first, end, 1, scope.lanes, ungroup(shape), over_r1)
        return regroup(values, shape)[:-1]

    def elements(
        self, scope: Scope, first: Value, end: Value, width: int, lanes: int, state: State,
        carry: State, chunk: Axis | None = None,
    ) -> tuple[State, State]:  # fmt: skip
        """The innermost loop, from r0 = first to end."""
        shape = [state, carry]

        def body(inner: Scope, values: list[Value]) -> list[Value]:
            state, carry = regroup(values, shape)
            for e, buffer in self.p.reloads.items():
                pointer = self.scratch(inner, buffer)
                inner.memo[e] = self.build.load(inner.code, pointer, e.dtype, inner.lanes)
            carry = [self.scan(inner, e, c) for e, c in zip(self.p.scans, carry, strict=True)]
            state = [
                self.accumulate(inner, e, acc, chunk)
                for e, acc in zip(self.p.reduces, state, strict=True)
            ]
            for e, buffer in self.p.spills.items():
                v = self.kernel.operand(e, inner, inner.lanes)
                self.build.store(inner.code, self.scratch(inner, buffer), v)
            for s in self.p.stores:
                self.kernel.store(inner, s)
            return ungroup((state, carry))

        step = self.stride(scope, width)
        values = self.kernel.loop(scope, self.r0, first, end, step, lanes, ungroup(shape), body)
        state, carry = regroup(values, shape)
        return state, carry

    def chunks(
        self, scope: Scope, first: Value, end: Value, width: int, lanes: int, state: State,
        carry: State, levels: int,
    ) -> tuple[State, State]:  # fmt: skip
        """The same in chunks (of chunks) whose results are merged: long sums lose fewer digits."""
        if levels == 0:
            return self.elements(scope, first, end, width, lanes, state, carry)
        shape = [state, carry]
        kernel, build, reduces = self.kernel, self.build, self.p.reduces
        chunk, step = Axis("chunk"), self.stride(scope, CHUNK**levels * width)

        def body(inner: Scope, values: list[Value]) -> list[Value]:
            state, carry = regroup(values, shape)
            begin = inner.starts[chunk]
            far = build.binary(inner.code, "add", begin, step)
            near = build.compare(inner.code, "lt", far, end)
            stop = build.select(inner.code, near, far, end)
            if levels == 1:
                fresh = [
                    self.chunk_identity(e, a[0].lanes) for e, a in zip(reduces, state, strict=True)
                ]
                part, carry = self.elements(inner, begin, stop, width, lanes, fresh, carry, chunk)
                part = [
                    self.widened(inner, e, x, begin) for e, x in zip(reduces, part, strict=True)
                ]
            else:
                fresh = [identity(e, a[0].lanes) for e, a in zip(reduces, state, strict=True)]
                part, carry = self.chunks(
                    inner, begin, stop, width, lanes, fresh, carry, levels - 1
                )
            state = [
                kernel.merge(inner.code, self.merges[e], a, x)
                for e, a, x in zip(reduces, state, part, strict=True)
            ]
            return ungroup((state, carry))

        values = kernel.loop(scope, chunk, first, end, step, lanes, ungroup(shape), body)
        state, carry = regroup(values, shape)
        return state, carry

    def searches(self) -> bool:
        """Whether nothing is wanted but the largest elements and where they are."""
        p = self.p
        known = p.reduces and all(e.arg[0] in VALUE_OF for e in p.reduces)
        others = p.scans or p.stores or p.spills or p.reloads
        return bool(known and not others and self.schedule.along_row and not self.whole)

    def search(
        self, scope: Scope, first: Value, end: Value, width: int, lanes: int, state: State
    ) -> State:
        """The same for positions of the largest: few blocks have an element beyond those before.

        Of each the largest is found first, which takes an instruction or two; only where that is
        beyond, positions are kept. (The first block is beyond anything.)
        """
        kernel, build, reduces = self.kernel, self.build, self.p.reduces
        values = [Expr("reduce", e.src[:1], (VALUE_OF[e.arg[0]], e.arg[1]), e.src[0].dtype)
                  for e in reduces]  # fmt: skip
        self.merges |= {v: merge_formula(v) for v in values}
        block = Axis("block")
        size = literal(SEARCH * 8 // max(8, *(v.dtype.bits for v in values)), I64)

        def largest(inner: Scope, found: list[Value]) -> list[Value]:
            out = []
            for v, m in zip(values, found, strict=True):
                x = kernel.operand(v.src[0], inner, lanes)
                out += kernel.merge(inner.code, self.merges[v], [m], [x])
            return out

        def body(inner: Scope, carried: list[Value]) -> list[Value]:
            code, begin = inner.code, inner.starts[block]
            (now,) = regroup(carried, [state])
            far = build.binary(code, "add", begin, size)
            stop = build.select(code, build.compare(code, "lt", far, end), far, end)
            beyond = build.compare(code, "eq", begin, first)
            looked = build.select(code, beyond, begin, stop)
            found = [identity(v, lanes)[0] for v in values]
            found = kernel.loop(inner, self.r0, begin, looked, width, lanes, found, largest)
            for e, v, m, s in zip(reduces, values, found, now, strict=True):
                (m,), (best,) = self.fold(v, [m], 1, code), self.fold(v, [s[0]], 1, code)
                places = [literal(i, f.dtype, 1) for i in (0, 1) for f in e.src[1:]]
                n = len(e.src) - 1
                *_, chosen = kernel.merge(
                    code, self.merges[e], [best, *places[:n]], [m, *places[n:]]
                )
                beats = build.compare(code, "ne", chosen, literal(0, I64))
                beyond = build.binary(code, "or", beyond, beats)
            stop = build.select(code, beyond, stop, begin)
            now, _ = self.chunks(inner, begin, stop, width, lanes, now, [], self.levels)
            return ungroup((now,))

        done = kernel.loop(scope, block, first, end, size, lanes, ungroup((state,)), body)
        return regroup(done, [state])[0]

    def chunk_identity(self, e: Expr, lanes: int) -> Fields:
        return [
            literal(_short(initial(e)[f]), self.short[e][f], lanes) if f in self.short[e] else v
            for f, v in enumerate(identity(e, lanes))
        ]

    # Accumulators

    def accumulate(self, scope: Scope, e: Expr, acc: Fields, chunk: Axis | None) -> Fields:
        """The accumulator of `e` with the current elements merged in."""
        kernel = self.kernel
        lanes = acc[0].lanes
        short = self.short[e] if chunk or self.whole else {}
        fields = []
        for i, f in enumerate(e.src):
            if i in short and f.op == "axis":
                fields.append(self.position(scope, f.arg, lanes, chunk))
            else:
                f = cast(f.src[0], short[i]) if i in short else f
                fields.append(kernel.operand(f, scope, lanes))
        formula = merge_formula(e, short) if short else self.merges[e]
        return kernel.merge(scope.code, formula, acc, fields)

    def position(self, scope: Scope, a: Axis, lanes: int, chunk: Axis | None) -> Value:
        """Where the elements are in the chunk, or in the whole row, along `a`."""
        if chunk and a is self.r1:
            return literal(0, I32, lanes)
        code, build = scope.code, self.build
        offset = scope.binder(a).starts[a]
        if chunk:
            offset = build.binary(code, "sub", offset, scope.binder(chunk).starts[chunk])
        offset = build.splat(code, build.cast(code, offset, I32), lanes)
        if a is self.r1 or not self.schedule.along_row:
            return offset
        return build.binary(code, "add", offset, build.iota(I32, lanes))

    def widened(self, scope: Scope, e: Expr, acc: Fields, begin: Value | None = None) -> Fields:
        """An accumulator of a chunk as one of the row; positions count from its beginning."""
        code, build = scope.code, self.build
        out = list(acc)
        for f in self.short[e]:
            short, none = acc[f], initial(e)[f]
            lanes = short.lanes
            long = build.cast(code, short, e.src[f].dtype)
            if e.src[f].op != "axis":
                out[f] = long
                continue
            if begin:
                base = begin if e.src[f].arg is self.r0 else scope.binder(self.r1).starts[self.r1]
                long = build.binary(code, "add", long, build.splat(code, base, lanes))
            unset = build.compare(code, "eq", short, literal(_short(none), I32, lanes))
            out[f] = build.select(code, unset, literal(none, I64, lanes), long)
        return out

    def fold(self, e: Expr, acc: Fields, lanes: int, code: Code | None = None) -> Fields:
        """Merges the lanes of an accumulator, halving it, until there are `lanes`."""
        code, build = code or self.scope.code, self.build
        while acc[0].lanes > lanes:
            half = acc[0].lanes // 2
            low = [build.shuffle(code, v, list(range(half))) for v in acc]
            high = [build.shuffle(code, v, list(range(half, 2 * half))) for v in acc]
            acc = self.kernel.merge(code, self.merges[e], low, high)
        return acc

    def narrowed(self, e: Expr, acc: Fields, other: Fields) -> Fields:
        """A wider accumulator folded to the lanes of another, and merged with it."""
        folded = self.fold(e, acc, other[0].lanes)
        return self.kernel.merge(self.scope.code, self.merges[e], folded, other)

    # Scans

    def scan(self, scope: Scope, e: Expr, carry: Fields) -> Fields:
        """Evaluates a scan in the loop's body; returns what the next iteration continues from."""
        code, kernel, formula, lanes = scope.code, self.kernel, self.merges[e], scope.lanes
        fields = [kernel.operand(f, scope, lanes) for f in e.src]
        if not self.schedule.along_row or lanes == 1:
            result = kernel.merge(code, formula, carry, fields)
            scope.memo[e] = single(result)
            return result
        if self.chooses(e):
            result, carry = self.rare(code, e, carry, fields, lanes)
        else:
            result, carry = self.prefixes(code, e, carry, fields, lanes)
        scope.memo[e] = single(result)
        return carry

    def chooses(self, e: Expr) -> bool:
        """Whether a merge gives one of the two, and its last field tells which."""
        return len(e.src) > 1 and len(choices(self.merges[e], len(e.src))) == len(e.src)

    def rare(
        self, code: Code, e: Expr, carry: Fields, fields: Fields, lanes: int
    ) -> tuple[Fields, Fields]:
        """The same where most elements change nothing, as with a running maximum.

        If none is chosen over what was carried here, that is the result in all lanes.
        """
        build = self.build
        before = [build.splat(code, c, lanes) for c in carry]
        *_, chosen = self.kernel.merge(code, self.merges[e], before, fields)
        unchanged = build.all(code, build.compare(code, "eq", chosen, before[-1]))
        before = [build.plain(code, v) for v in before]
        some, done, origin = build.block(), build.block(), code.label
        code.emit(f"br {typed(unchanged)}, label %{done}, label %{some}")
        code.enter(some)
        result, following = self.prefixes(code, e, carry, fields, lanes)
        result = [build.plain(code, v) for v in result]
        following = [build.plain(code, v) for v in following]
        last = code.label
        code.emit(f"br label %{done}")
        code.enter(done)

        def met(old: Value, new: Value) -> Value:
            ty = register_type(new.dtype, new.lanes)
            return build.let(code, new.dtype, new.lanes,
                             f"phi {ty} [ {old.text}, %{origin} ], [ {new.text}, %{last} ]")

        return (
            [met(*pair) for pair in zip(before, result, strict=True)],
            [met(*pair) for pair in zip(carry, following, strict=True)],
        )

    def prefixes(
        self, code: Code, e: Expr, carry: Fields, fields: Fields, lanes: int
    ) -> tuple[Fields, Fields]:
        """Segments are scanned by shifts, all at once, and then chained."""
        build, kernel, formula = self.build, self.kernel, self.merges[e]
        neutral = identity(e, lanes)
        shift = 1
        while shift < SCAN_SEGMENT:
            order = [j - shift if j % SCAN_SEGMENT >= shift else lanes for j in range(lanes)]
            moved = [build.shuffle(code, x, order, z) for x, z in zip(fields, neutral, strict=True)]
            fields = kernel.merge(code, formula, moved, fields)
            shift *= 2
        before = []
        for last in range(SCAN_SEGMENT - 1, lanes, SCAN_SEGMENT):
            before.append(carry)
            ends = [build.shuffle(code, x, [last]) for x in fields]
            carry = kernel.merge(code, formula, carry, ends)
        spread = [self.spread(code, list(c), lanes) for c in zip(*before, strict=True)]
        return kernel.merge(code, formula, spread, fields), carry

    def spread(self, code: Code, values: list[Value], lanes: int) -> Value:
        """A vector whose segments are the given scalars."""
        build = self.build
        if values[0].parts:
            parts = (self.spread(code, [v.parts[i] for v in values], lanes) for i in (0, 1))
            return build.pair(values[0].dtype, *parts)
        n = len(values)
        if n == 1:
            return build.splat(code, values[0], lanes)
        v = Value("poison", values[0].dtype, n)
        for i, x in enumerate(values):
            v = build.let(code, v.dtype, n, f"insertelement {typed(v)}, {typed(x)}, i64 {i}")
        return build.shuffle(code, v, [i * n // lanes for i in range(lanes)])

    # Scratch rows

    def scratch(self, scope: Scope, buffer: Buffer) -> Value:
        """The pointer to this element's value; those of rows in lanes are side by side."""
        schedule, kernel = self.schedule, self.kernel
        widest, lanes = (1, 1) if schedule.along_row else (schedule.lanes[0], scope.lanes)
        before = schedule.scratch[: schedule.scratch.index(buffer)]
        offset = widest * sum(b.dtype.bits // 8 for b in before)
        height, length = (Expr("size", (), a, I64) for a in (self.r1, self.r0))
        size = times(height, length)
        base = times(const(offset, I64), size)
        if self.turn:
            all_of_row = times(const(schedule.row_bytes, I64), size)
            base = plus(base, times(axis(self.turn), all_of_row))
        position = times(const(lanes, I64), plus(times(length, axis(self.r1)), start(self.r0)))
        code, build = scope.code, self.build
        p = build.gep(code, Value("%scratch", PTR), BYTE, kernel.value(base, scope))
        return build.gep(code, p, buffer.dtype, kernel.value(position, scope))


class Blocks:
    """Blocked reductions: a block leaves the accumulators of its rows, one field after another."""

    def __init__(self, kernel: Kernel) -> None:
        self.kernel, self.build, self.schedule = kernel, kernel.build, kernel.schedule

    def pointers(self, scope: Scope, block: Value | None) -> Iterator[tuple[Expr, int, Value]]:
        """(reduce, field, pointer) of each field of the accumulators of this row, in a block."""
        code, build, kernel = scope.code, self.build, self.kernel
        k1, k0 = kernel.nest.axes[:2]
        (first1, end1), (first0, end0) = kernel.bounds(scope, k1), kernel.bounds(scope, k0)
        breadth = build.binary(code, "sub", end0, first0)
        row = build.binary(code, "sub", scope.binder(k1).starts[k1], first1)
        row = build.binary(code, "mul", row, breadth)
        along = build.binary(code, "sub", scope.binder(k0).starts[k0], first0)
        row = build.binary(code, "add", row, along)
        if block:
            rows = build.binary(code, "mul", build.binary(code, "sub", end1, first1), breadth)
            row = build.binary(code, "add", row, build.binary(code, "mul", rows, block))
        states, stride = self.schedule.states, self.schedule.state_bytes
        start_of_row = build.binary(code, "mul", row, literal(stride, I64))
        for i, (e, f) in enumerate(states):
            offset = literal(i * (stride // len(states)), I64)
            offset = build.binary(code, "add", start_of_row, offset)
            p = build.gep(code, Value("%scratch", PTR), BYTE, offset)
            if scope.lanes > 1:
                steps = build.iota(I64, scope.lanes, stride)
                p = build.gep(code, p, BYTE, steps)
            yield e, f, p

    def save(self, scope: Scope, block: Value | None = None) -> None:
        for e, f, pointer in self.pointers(scope, block):
            v = scope.found(e)[0]
            v = v[f] if isinstance(v, list) else v
            self.build.store(scope.code, pointer, self.build.splat(scope.code, v, scope.lanes))

    def finish(self, scope: Scope) -> None:
        """The finish function: merges the blocks of every row in order, and stores."""
        kernel, build = self.kernel, self.build
        reduces = self.schedule.passes[0].reduces
        merges = {e: merge_formula(e) for e in reduces}
        k1, k0 = kernel.nest.axes[:2]
        block, chunk = Axis("block"), Axis("chunk")
        nothing = [identity(e, 1) for e in reduces]
        blocks = Value("%blocks", I64)

        def merge(code: Code, a: State, b: State) -> list[Value]:
            return ungroup(
                kernel.merge(code, merges[e], x, y) for e, x, y in zip(reduces, a, b, strict=True)
            )

        def one(inner: Scope, values: list[Value]) -> list[Value]:
            fields: dict[Expr, Fields] = {e: [] for e in reduces}
            for e, f, p in self.pointers(inner, inner.starts[block]):
                fields[e].append(build.load(inner.code, p, e.src[f].dtype, 1))
            return merge(inner.code, regroup(values, nothing), list(fields.values()))

        def several(inner: Scope, values: list[Value]) -> list[Value]:
            first = inner.starts[chunk]
            far = build.binary(inner.code, "add", first, literal(SCAN_SEGMENT, I64))
            near = build.compare(inner.code, "lt", far, blocks)
            end = build.select(inner.code, near, far, blocks)
            part = kernel.loop(inner, block, first, end, 1, 1, ungroup(nothing), one)
            return merge(inner.code, regroup(values, nothing), regroup(part, nothing))

        def row(inner: Scope, _: list[Value]) -> list[Value]:
            kernel.row_scope = inner
            zero = literal(0, I64)
            step = SCAN_SEGMENT
            total = kernel.loop(inner, chunk, zero, blocks, step, 1, ungroup(nothing), several)
            for e, fields in zip(reduces, regroup(total, nothing), strict=True):
                inner.memo[e] = single(fields)
            for s in self.schedule.after:
                kernel.store(inner, s)
            kernel.row_scope = None
            return []

        def outer(inner: Scope, _: list[Value]) -> list[Value]:
            kernel.loop(inner, k0, *kernel.bounds(inner, k0), 1, 1, [], row)
            return []

        kernel.loop(scope, k1, *kernel.bounds(scope, k1), 1, 1, [], outer)


def _short(value: int) -> int:
    """A neutral position (the first or the last there is) in 32 bits."""
    return max(-(1 << 31), min(value, (1 << 31) - 1))


def ungroup(groups) -> list[Value]:
    """All values of nested lists, in order."""
    out: list[Value] = []
    for g in groups:
        if isinstance(g, Value):
            out.append(g)
        else:
            out += ungroup(g)
    return out


def regroup(values: Sequence[Value], like: Sequence) -> list:
    """The inverse of `ungroup`: values in nested lists of the shape of `like`."""
    rest = iter(values)

    def walk(shape: Sequence) -> list:
        return [next(rest) if isinstance(x, Value) else walk(x) for x in shape]

    return walk(like)
