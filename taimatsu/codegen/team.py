"""The threads that take a row's elements in turns, and how their accumulators are merged."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .ir import I32, I64, U16, Axis, DType, Expr
from .llvm import Code, Value, literal, typed
from .loops import Fields, Scope, flatten, unflatten
from .rows import Blocks, RowPass, State, identity, regroup, single, ungroup
from .schedule import Pass, merge_formula

if TYPE_CHECKING:
    from .gpu import GpuKernel

WARP = 32
MOST_WARPS = 32  # of a block


class TeamPass(RowPass):
    """A pass whose elements the members of a team take in turns.

    Along the row a member takes `lanes` elements at a time. Of a column (`tid.y` is the member)
    one; if the pass scans, a column has one member.
    """

    kernel: GpuKernel

    def __init__(self, kernel: GpuKernel, p: Pass, scope: Scope) -> None:
        super().__init__(kernel, p, scope)
        self.along = kernel.plan.form == "rows"
        self.alone = not self.along and kernel.plan.serial
        if self.along:
            self.widths = self.lanes = kernel.plan.widths
        else:
            self.widths = self.lanes = (1,)
        self.levels = min(self.levels, 1)

    def counts(self, e: Expr) -> dict[int, DType]:
        return {}  # a thread's registers are no narrower

    def searches(self) -> bool:
        return False  # a member has a few elements of each block

    @property
    def direction(self) -> str:
        return "x" if self.along else "y"

    def stride(self, scope: Scope, elements: int) -> Value:
        if self.alone:
            return super().stride(scope, elements)
        members = self.kernel.register(scope, f"ntid.{self.direction}")
        return self.build.binary(self.scope.code, "mul", members, literal(elements, I64))

    def elements(
        self, scope: Scope, first: Value, end: Value, width: int, lanes: int, state: State,
        carry: State, chunk: Axis | None = None,
    ) -> tuple[State, State]:  # fmt: skip
        if not self.alone:
            member = self.kernel.register(scope, f"tid.{self.direction}")
            offset = self.build.binary(scope.code, "mul", member, literal(width, I64))
            first = self.build.binary(scope.code, "add", first, offset)
        return super().elements(scope, first, end, width, lanes, state, carry, chunk)

    def run(self) -> None:
        super().run()
        self.merge_team()

    def merge_team(self) -> None:
        """Leaves the merge of all members' accumulators in every member."""
        if self.alone:
            return
        for e in self.p.reduces:
            acc = self.scope.memo[e]
            acc = acc if isinstance(acc, list) else [acc]
            total = (across_row if self.along else down_column)(self.kernel, self.scope, e, acc)
            self.scope.memo[e] = single(total)

    # Elements that may be past the end of the row: `inside` says whether

    def element(self, inner: Scope, at: Value, end: Value, lanes: int) -> None:
        """The scope of elements at..at+lanes; past the end those of the last are taken again."""
        code, build = inner.code, self.build
        last = build.binary(code, "sub", end, literal(lanes, I64))
        inner.starts[self.r0] = self.kernel.least(code, at, last)
        inner.memo["inside"] = build.plain(code, build.compare(code, "lt", at, end))

    def accumulate_inside(self, inner: Scope, state: State) -> State:
        found = []
        for e, acc in zip(self.p.reduces, state, strict=True):
            fields = self.inside(inner, e)
            found.append(self.kernel.merge(inner.code, self.merges[e], acc, fields))
        return found

    def inside(self, inner: Scope, e: Expr) -> Fields:
        """The fields of a reduction or scan; its identity past the end."""
        lanes, code, build = inner.lanes, inner.code, self.build
        cond = build.splat(code, inner.found("inside")[0], lanes)
        return [
            build.select(code, cond, self.kernel.operand(f, inner, lanes), neutral)
            for f, neutral in zip(e.src, identity(e, lanes), strict=True)
        ]


class HeldPass(TeamPass):
    """A pass over a row that the team has in registers: written out, element by element."""

    def run(self) -> None:
        state = [identity(e, self.kernel.plan.lanes) for e in self.p.reduces]
        for inner in self.held():
            state = self.accumulate_inside(inner, state)
            for s in self.p.stores:
                self.kernel.store(inner, s)
        for e, acc in zip(self.p.reduces, state, strict=True):
            self.scope.memo[e] = single(self.fold(e, acc, 1))
        self.merge_team()

    def held(self) -> list[Scope]:
        """A scope for each element (or vector) that this thread has: the same in each pass."""
        kernel, build, scope = self.kernel, self.build, self.scope
        found = scope.memo.get("held")
        if found is not None:
            return found
        lanes, code = kernel.plan.lanes, scope.code
        first, end = kernel.bounds(scope, self.r0)
        member = kernel.register(scope, "tid.x")
        step = self.stride(scope, lanes)
        at = build.binary(code, "mul", member, literal(lanes, I64))
        at = build.binary(code, "add", first, at)
        scopes = []
        for i in range(kernel.plan.held // lanes):
            inner = Scope(scope, code, lanes, straight=True)
            if i:
                at = build.binary(code, "add", at, step)
            self.element(inner, at, end, lanes)
            scopes.append(inner)
        scope.memo["held"] = scopes
        return scopes


class ScanPass(TeamPass):
    """A pass with a scan: the team goes along the row together, an element for each member.

    A warp scans by shuffles; what the warps of a block come to is scanned once more by each.
    """

    def __init__(self, kernel: GpuKernel, p: Pass, scope: Scope) -> None:
        super().__init__(kernel, p, scope)
        self.widths = self.lanes = (1,)
        self.levels = 0

    def elements(
        self, scope: Scope, first: Value, end: Value, width: int, lanes: int, state: State,
        carry: State, chunk: Axis | None = None,
    ) -> tuple[State, State]:  # fmt: skip
        shape = [state, carry]
        line = Axis("line")

        def body(inner: Scope, values: list[Value]) -> list[Value]:
            state, carry = regroup(values, shape)
            lane = self.kernel.register(inner, "tid.x")
            at = self.build.binary(inner.code, "add", inner.starts[line], lane)
            self.element(inner, at, end, 1)
            carry = [self.scan(inner, e, c) for e, c in zip(self.p.scans, carry, strict=True)]
            state = self.accumulate_inside(inner, state)
            for s in self.p.stores:
                self.kernel.store(inner, s)
            return ungroup((state, carry))

        step = self.stride(scope, 1)
        values = self.kernel.loop(scope, line, first, end, step, 1, ungroup(shape), body)
        state, carry = regroup(values, shape)
        return state, carry

    def scan(self, scope: Scope, e: Expr, carry: Fields) -> Fields:
        code, build, kernel, formula = scope.code, self.build, self.kernel, self.merges[e]
        members, member = kernel.register(scope, "ntid.x"), kernel.register(scope, "tid.x")
        lane = build.binary(code, "and", member, literal(WARP - 1, I64))
        fields = [
            build.plain(code, v) for v in self.scan_warp(code, e, self.inside(scope, e), lane)
        ]
        ends = [shuffle(kernel, code, "idx", v, WARP - 1) for v in fields]  # of this warp
        several = build.compare(code, "lt", literal(WARP, I64), members)
        wide, done = build.block(), build.block()
        flat = [build.plain(code, v) for v in flatten([*fields, *ends])]
        alone = code.label
        code.emit(f"br {typed(several)}, label %{wide}, label %{done}")
        code.enter(wide)
        warp = build.binary(code, "lshr", member, literal(5, I64))
        others = through_shared(kernel, scope, e, ends, warp, lane, members)
        others = self.scan_warp(code, e, others, lane)
        first = build.compare(code, "eq", warp, literal(0, I64))
        last = build.binary(code, "lshr", members, literal(5, I64))
        last, before = (build.binary(code, "sub", v, literal(1, I64)) for v in (last, warp))
        offset = [
            build.select(code, first, z, shuffle(kernel, code, "idx", v, before))
            for v, z in zip(others, identity(e, 1), strict=True)
        ]
        total = [shuffle(kernel, code, "idx", v, last) for v in others]
        merged = [*kernel.merge(code, formula, offset, fields), *total]
        parts = [build.plain(code, v) for v in flatten(merged)]
        after = code.label
        code.emit(f"br label %{done}")
        code.enter(done)
        pairs = zip(flat, parts, strict=True)
        joined = unflatten([kernel._phi(code, [(a, alone), (b, after)]) for a, b in pairs],
                           [*fields, *ends])  # fmt: skip
        fields, ends = joined[: len(fields)], joined[len(fields) :]
        scope.memo[e] = single(kernel.merge(code, formula, carry, fields))
        return kernel.merge(code, formula, carry, ends)

    def scan_warp(self, code: Code, e: Expr, fields: Fields, lane: Value) -> Fields:
        """The running reduction of a warp's fields."""
        build, distance = self.build, 1
        while distance < WARP:
            reached = build.compare(code, "le", literal(distance, I64), lane)
            moved = [
                build.select(code, reached, shuffle(self.kernel, code, "up", v, distance), z)
                for v, z in zip(fields, identity(e, 1), strict=True)
            ]
            fields = self.kernel.merge(code, self.merges[e], moved, fields)
            distance *= 2
        return fields


# Merging


def through_shared(
    kernel: GpuKernel, scope: Scope, e: Expr, acc: Fields, warp: Value, lane: Value, members: Value
) -> Fields:
    """In lane i of each warp what warp i has for `acc`, by way of memory that a block shares."""
    code, build = scope.code, kernel.build
    flat = [build.plain(code, v) for v in flatten(acc)]
    arrays = [kernel.shared_array(f"row{i}", v, MOST_WARPS) for i, v in enumerate(flat)]
    kernel.barrier(code)  # the previous ones have been read

    def leave(branch: Scope) -> None:
        for v, array in zip(flat, arrays, strict=True):
            kernel.put_shared(branch.code, array, warp, v)

    kernel.when(scope, build.compare(code, "eq", lane, literal(0, I64)), leave)
    kernel.barrier(code)
    there = build.compare(code, "lt", lane, build.binary(code, "lshr", members, literal(5, I64)))
    stored = [
        kernel.get_shared(code, array, lane, v.dtype) for v, array in zip(flat, arrays, strict=True)
    ]
    return [
        build.select(code, there, v, z)
        for v, z in zip(unflatten(stored, acc), identity(e, 1), strict=True)
    ]


def across_warp(kernel: GpuKernel, code: Code, formula: tuple[Expr, ...], acc: Fields) -> Fields:
    """The merge of a warp's accumulators, in every thread of it."""
    distance = WARP // 2
    while distance:
        other = [shuffle(kernel, code, "down", v, distance) for v in acc]
        acc = kernel.merge(code, formula, acc, other)
        distance //= 2
    return [shuffle(kernel, code, "idx", v, 0) for v in acc]


def across_row(kernel: GpuKernel, scope: Scope, e: Expr, acc: Fields) -> Fields:
    """The merge of a row's accumulators: those of its warps meet in shared memory."""
    code, build, formula = scope.code, kernel.build, merge_formula(e)
    acc = [build.plain(code, v) for v in across_warp(kernel, code, formula, acc)]
    members, member = kernel.register(scope, "ntid.x"), kernel.register(scope, "tid.x")
    several = build.compare(code, "lt", literal(WARP, I64), members)
    wide, done = build.block(), build.block()
    alone = code.label
    code.emit(f"br {typed(several)}, label %{wide}, label %{done}")
    code.enter(wide)
    flat = [build.plain(code, v) for v in flatten(acc)]
    warp = build.binary(code, "lshr", member, literal(5, I64))
    lane = build.binary(code, "and", member, literal(WARP - 1, I64))
    parts = through_shared(kernel, scope, e, acc, warp, lane, members)
    total = [build.plain(code, v) for v in across_warp(kernel, code, formula, parts)]
    end = code.label
    code.emit(f"br label %{done}")
    code.enter(done)
    pairs = zip(flatten(total), flat, strict=True)
    merged = [kernel._phi(code, [(b, alone), (a, end)]) for a, b in pairs]
    return unflatten(merged, acc)


def down_column(kernel: GpuKernel, scope: Scope, e: Expr, acc: Fields) -> Fields:
    """The merge of a column's accumulators, in the order of its members (tid.y)."""
    code, build, formula = scope.code, kernel.build, merge_formula(e)
    members, member = kernel.register(scope, "ntid.y"), kernel.register(scope, "tid.y")
    column = kernel.register(scope, "tid.x")
    acc = [build.plain(code, v) if not v.parts else v for v in acc]
    several = build.compare(code, "lt", literal(1, I64), members)
    wide, done = build.block(), build.block()
    flat = [build.plain(code, v) for v in flatten(acc)]
    alone = code.label
    code.emit(f"br {typed(several)}, label %{wide}, label %{done}")
    code.enter(wide)
    most = kernel.plan.threads
    arrays = [kernel.shared_array(f"column{i}", v, most) for i, v in enumerate(flat)]
    mine = build.binary(code, "mul", member, literal(WARP, I64))
    mine = build.binary(code, "add", mine, column)
    kernel.barrier(code)
    for v, array in zip(flat, arrays, strict=True):
        kernel.put_shared(code, array, mine, v)
    kernel.barrier(code)
    turn, nothing = Axis("member"), identity(e, 1)

    def one(inner: Scope, values: list[Value]) -> list[Value]:
        at = build.binary(inner.code, "mul", inner.starts[turn], literal(WARP, I64))
        at = build.binary(inner.code, "add", at, column)
        parts = [
            kernel.get_shared(inner.code, array, at, v.dtype)
            for v, array in zip(flat, arrays, strict=True)
        ]
        return kernel.merge(inner.code, formula, values, unflatten(parts, acc))

    branch = Scope(scope, code, 1)
    total = kernel.loop(branch, turn, literal(0, I64), members, 1, 1, nothing, one)
    total = [build.plain(code, v) for v in flatten(total)]
    end = code.label
    code.emit(f"br label %{done}")
    code.enter(done)
    merged = [kernel._phi(code, [(b, alone), (a, end)]) for a, b in zip(total, flat, strict=True)]
    return unflatten(merged, acc)


def finish_rows(kernel: GpuKernel, entry: Scope) -> None:
    """Merges the accumulators that a row's sections left: a warp for each row."""
    build = kernel.build
    reduces = kernel.schedule.passes[0].reduces
    merges = {e: merge_formula(e) for e in reduces}
    k1, k0 = kernel.nest.axes[:2]
    turn = Axis("section")
    nothing = [identity(e, 1) for e in reduces]
    lane = kernel.register(entry, "tid.x")

    def one(inner: Scope, values: list[Value]) -> list[Value]:
        fields: dict[Expr, Fields] = {e: [] for e in reduces}
        for e, f, p in Blocks(kernel).pointers(inner, inner.starts[turn]):
            fields[e].append(build.load(inner.code, p, e.src[f].dtype, 1))
        state = regroup(values, nothing)
        return ungroup(
            kernel.merge(inner.code, merges[e], x, y)
            for (e, y), x in zip(fields.items(), state, strict=True)
        )

    def row(inner: Scope, _: list[Value]) -> list[Value]:
        kernel.row_scope = inner
        sections = Value("%sections", I64)
        total = kernel.loop(inner, turn, lane, sections, WARP, 1, ungroup(nothing), one)
        for e, fields in zip(reduces, regroup(total, nothing), strict=True):
            inner.memo[e] = single(across_warp(kernel, inner.code, merges[e], fields))
        mine = build.compare(inner.code, "eq", lane, literal(0, I64))
        kernel.when(inner, mine, kernel._after)
        kernel.row_scope = None
        return []

    def outer(inner: Scope, _: list[Value]) -> list[Value]:
        kernel.loop(inner, k0, *kernel.bounds(inner, k0), 1, 1, [], row)
        return []

    kernel.loop(entry, k1, *kernel.bounds(entry, k1), 1, 1, [], outer)


# Shuffles


def shuffle(kernel: GpuKernel, code: Code, kind: str, v: Value, lane: int | Value) -> Value:
    """`v` as another thread has it: `lane` further on (down), back (up), or number `lane` (idx)."""
    build = kernel.build
    if v.parts:
        return build.pair(v.dtype, *(shuffle(kernel, code, kind, p, lane) for p in v.parts))
    at = build.cast(code, lane, I32) if isinstance(lane, Value) else literal(lane, I32)
    found = []
    for word in _words(kernel, code, build.plain(code, v)):
        clamp = 0 if kind == "up" else WARP - 1
        arguments = (literal(-1, I32), word, at, literal(clamp, I32))
        found.append(build.call(code, f"nvvm.shfl.sync.{kind}.i32", I32, 1, *arguments))
    return _from_words(kernel, code, found, v.dtype)


def _words(kernel: GpuKernel, code: Code, v: Value) -> list[Value]:
    """A scalar as 32-bit integers."""
    build = kernel.build
    if v.dtype.bits == 64:
        if v.dtype.kind == "f":
            v = build.convert(code, "bitcast", v, I64)
        high = build.binary(code, "lshr", v, literal(32, I64))
        return [build.convert(code, "trunc", x, I32) for x in (v, high)]
    if v.dtype.bits == 32:
        return [v if v.dtype.kind in "iu" else build.convert(code, "bitcast", v, I32)]
    if v.dtype.kind == "f":
        v = build.convert(code, "bitcast", v, U16)
    return [build.convert(code, "zext", v, I32)]


def _from_words(kernel: GpuKernel, code: Code, words: list[Value], dtype: DType) -> Value:
    build = kernel.build
    integer = dtype.kind in "iu"
    if dtype.bits == 64:
        low, high = (build.convert(code, "zext", w, I64) for w in words)
        v = build.binary(code, "shl", high, literal(32, I64))
        v = build.binary(code, "or", v, low)
        return v._replace(dtype=dtype) if integer else build.convert(code, "bitcast", v, dtype)
    (v,) = words
    if dtype.bits == 32:
        return v._replace(dtype=dtype) if integer else build.convert(code, "bitcast", v, dtype)
    if dtype.kind == "f":
        return build.convert(code, "bitcast", build.convert(code, "trunc", v, U16), dtype)
    return build.convert(code, "trunc", v, dtype)
