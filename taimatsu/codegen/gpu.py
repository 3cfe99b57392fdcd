"""Kernels whose loops are dealt out to the threads of a GPU.

Expressions, addresses, accumulators and merges are rendered by the code that renders them for a
CPU. What differs is who runs an iteration:

    points      threads along x take the axis with most contiguous accesses, sixteen bytes each
                where all operands allow it; y all other axes that are independent
    rows        contiguous rows: the threads along x take the elements of a row in turns and merge
                their accumulators by shuffles, and through shared memory if they are several warps
    columns     other rows: a row for each thread along x, whose elements those along y take in
                turns; they merge through shared memory
    tiles       of points: where operands are contiguous along different axes
    products    of rows: see `products`
    sections    few very long rows: z runs over sections of them, which leave their accumulators
                in memory for the finish kernel to merge in order

Integers are added to computed positions by atomics: they add up to the same in any order. A store
that adds others there has an owner, one of the threads that meet in it, chosen by the position: so
each position's additions are made by one thread, in order.
"""

from __future__ import annotations

import typing
from collections.abc import Callable, Sequence

from .ir import BOOL, I32, I64, U32, Axis, DType, Expr, Store, topological
from .kernel import Kernel, Span
from .llvm import PTR, Builder, Code, Target, Value, literal, register_type, typed
from .loops import Scope
from .monoids import SUM
from .products import fits, tiled_product
from .ptx import ACCESS_BYTES, Plan
from .rows import Blocks
from .schedule import Schedule, affine
from .team import HeldPass, ScanPass, TeamPass, finish_rows
from .tiles import tiled

LAYOUT = "e-p6:32:32-i64:64-i128:128-i256:256-v16:16-v32:32-n16:32:64"  # NVPTX's data layout
SECTION = 64  # sections of a row begin at multiples of this
PRIMES = (1, 31, 1009, 65537, 2097593)  # spread positions among owners


class Share(typing.NamedTuple):
    """An iteration space dealt out: this thread takes `first`, then every `count`-th."""

    first: Value
    count: Value  # type: ignore[assignment]


class GpuBuilder(Builder):
    """Wide loads and stores are of whole, aligned vectors."""

    def align(self, dtype: DType, lanes: int) -> int:
        return min(ACCESS_BYTES, dtype.bits // 8 * lanes)

    def load(self, code: Code, pointer: Value, dtype: DType, lanes: int) -> Value:
        if lanes == 1 or pointer.lanes > 1 or dtype.kind == "c" or dtype is BOOL:
            return super().load(code, pointer, dtype, lanes)
        text = f"load {register_type(dtype, lanes)}, {typed(pointer)}"
        return self.let(code, dtype, lanes, f"{text}, align {self.align(dtype, lanes)}")

    def store(self, code: Code, pointer: Value, v: Value) -> None:
        if v.lanes == 1 or pointer.lanes > 1 or v.parts or v.dtype is BOOL:
            super().store(code, pointer, v)
            return
        code.emit(f"store {typed(v)}, {typed(pointer)}, align {self.align(v.dtype, v.lanes)}")

    def divide_long(self, code: Code, a: Value, b: Value, inverse: Value | None = None) -> Value:
        return self._divide_each(code, a, self._divisor(code, a, b))

    def remainder(self, code: Code, a: Value, b: Value) -> Value:
        return self.binary(code, "frem", a, b)


class GpuKernel(Kernel):
    """The functions of a kernel: `name`, and `name`_finish if rows may be split in sections."""

    def __init__(self, plan: Plan, target: Target, name: str) -> None:
        super().__init__(plan.schedule, target, name)
        self.build = GpuBuilder(target, self._flag)
        self.plan = plan
        self.shares: dict[Axis, Callable[[Scope], Share]] = {}
        self.shared: dict[str, str] = {}  # arrays that a block shares
        self.sectioned = False  # while the function that leaves accumulators is rendered
        recompute(self.schedule)

    def render(self) -> str:
        operands, geometry, scalars = self.arguments()
        arguments = (
            f"ptr byval([{operands} x ptr]) align 8 %ptr, "
            f"ptr byval([{geometry} x i64]) align 8 %geometry, "
            f"ptr byval([{scalars} x i64]) align 8 %scalars, "
            "ptr %flags, ptr %scratch, i64 %sections"
        )
        self.sectioned = self.schedule.blocked
        functions = [self.define(self.name, arguments, self.main)]
        self.sectioned = False
        if self.schedule.blocked:
            functions.append(self.define(self.name + "_finish", arguments, self.finish))
        parts = [f'target datalayout = "{LAYOUT}"', f'target triple = "{self.target.triple}"']
        parts += [*self.build.constants(), *self.shared.values(), *functions]
        parts += [*self.outlined.values()]
        parts += sorted(set(self.build.declarations.values()))
        threads = f'attributes #0 = {{ nounwind "nvvm.maxntid"="{self.plan.threads}" }}'
        return "\n\n".join([*parts, threads]) + "\n"

    def arguments(self) -> tuple[int, int, int]:
        """The lengths of the argument arrays: operands, geometry, scalars."""
        nest = self.nest
        if self.schedule.kind == "indexed":
            rest = sum(2 * b.rank for b in nest.operands)
        else:
            rest = len(nest.axes) * len(nest.operands)
        scalars = sum(2 if p.dtype.kind == "c" else 1 for p in nest.params)
        return len(nest.operands), 2 * len(nest.axes) + rest, max(1, scalars)

    def define(self, name: str, arguments: str, body: Callable[[Scope], None]) -> str:
        entry = self.entry()  # what is evaluated there is known everywhere
        start = Scope(entry, Code("start"), 1)
        self.locals: dict[str, str] = {}
        body(start)
        lines = ["entry:", *self.locals.values(), *entry.code.lines, "  br label %start", "start:"]
        text = "\n".join([*lines, *start.code.lines, "  ret void"])
        return f"define ptx_kernel void @{name}({arguments}) #0 {{\n{text}\n}}"

    def _flag(self, code: Code, cond: Value, bit: int) -> None:
        report, done = self.build.block(), self.build.block()
        code.emit(f"br {typed(self.build.any(code, cond))}, label %{report}, label %{done}")
        code.enter(report)
        code.emit(f"%{report}.old = atomicrmw or ptr %flags, i32 {bit} monotonic")
        code.emit(f"br label %{done}")
        code.enter(done)

    def check(self, code: Code, cond: Value, bit: int) -> Value:
        """Reports and goes on: the other threads of a team wait for this one."""
        bad = self.build.logic(code, "xor", cond, literal(True, BOOL, cond.lanes))
        self._flag(code, bad, bit)
        return cond

    def when(self, scope: Scope, cond: Value, body: Callable[[Scope], None]) -> None:
        """A branch in which `body` emits, where `cond` holds."""
        code = scope.code
        do, done = self.build.block(), self.build.block()
        code.emit(f"br {typed(self.build.plain(code, cond))}, label %{do}, label %{done}")
        code.enter(do)
        branch = Scope(scope, code, scope.lanes)
        body(branch)
        code.emit(f"br label %{done}")
        code.enter(done)

    # Who does what

    def register(self, scope: Scope, name: str) -> Value:
        """A special register, read once: tid.x, ctaid.y ..."""
        outermost = scope.outermost()
        if name not in outermost.memo:
            v = self.build.call(outermost.code, f"nvvm.read.ptx.sreg.{name}", I32, 1)
            outermost.memo[name] = self.build.convert(outermost.code, "zext", v, I64)
        return outermost.memo[name]

    def along(self, scope: Scope, d: str) -> Share:
        """All threads of the grid along x or y."""
        key = ("along", d)
        outermost = scope.outermost()
        if key not in outermost.memo:
            code, build = outermost.code, self.build
            size = self.register(scope, f"ntid.{d}")
            first = build.binary(code, "mul", self.register(scope, f"ctaid.{d}"), size)
            first = build.binary(code, "add", first, self.register(scope, f"tid.{d}"))
            count = build.binary(code, "mul", self.register(scope, f"nctaid.{d}"), size)
            outermost.memo[key] = Share(first, count)
        return outermost.memo[key]

    def threads(self, scope: Scope) -> Share:
        return self.along(scope, "x")

    def threads_along_y(self, scope: Scope) -> Share:
        return self.along(scope, "y")

    def blocks_along_y(self, scope: Scope) -> Share:
        return Share(self.register(scope, "ctaid.y"), self.register(scope, "nctaid.y"))

    def owners(self, scope: Scope) -> Share:
        """Those that share a point's additions: blocks along z, or threads where x has no axis."""
        blocks = Share(self.register(scope, "ctaid.z"), self.register(scope, "nctaid.z"))
        return blocks if self.plan.x >= 0 else self.along(scope, "x")

    def loop(
        self,
        scope: Scope,
        a: Axis,
        first: Value,
        end: Value,
        step: int | Value,
        lanes: int,
        carried: Sequence[Value],
        body: Callable[[Scope, list[Value]], Sequence[Value]],
    ) -> list[Value]:
        if a in self.shares:
            build, code = self.build, scope.code
            share = self.shares[a](scope)
            step = step if isinstance(step, Value) else literal(step, I64)
            first = build.binary(code, "add", first, build.binary(code, "mul", share.first, step))
            step = build.binary(code, "mul", share.count, step)
        return super().loop(scope, a, first, end, step, lanes, carried, body)

    def bounds(self, scope: Scope, a: Axis) -> tuple[Value, Value]:
        first, end = super().bounds(scope, a)
        if not self.sectioned or a not in self.nest.reduced:
            return first, end
        return self.section(scope, a, first, end)

    def section(self, scope: Scope, a: Axis, first: Value, end: Value) -> tuple[Value, Value]:
        """This block's part of a row: of r1 if that is long, else of r0."""
        outermost = scope.outermost()
        if ("section", a) not in outermost.memo:
            code, build = outermost.code, self.build
            r1, _ = self.nest.reduced
            low, high = super().bounds(scope, r1)
            outer = build.binary(code, "sub", high, low)
            chosen = build.compare(code, "lt", outer, literal(SECTION, I64))
            if a is r1:
                chosen = build.logic(code, "xor", chosen, literal(True, BOOL))
            sections = Value("%sections", I64)
            n = build.binary(code, "sub", end, first)
            n = build.binary(code, "add", n, build.binary(code, "sub", sections, literal(1, I64)))
            n = build.binary(code, "udiv", n, sections)
            n = build.binary(code, "add", n, literal(SECTION - 1, I64))
            n = build.binary(code, "and", n, literal(-SECTION, I64))
            begin = build.binary(code, "mul", n, self.register(scope, "ctaid.z"))
            begin = self.least(code, build.binary(code, "add", first, begin), end)
            stop = self.least(code, build.binary(code, "add", begin, n), end)
            outermost.memo["section", a] = tuple(
                build.select(code, chosen, x, y) for x, y in ((begin, first), (stop, end))
            )
        return outermost.memo["section", a]

    def least(self, code: Code, a: Value, b: Value) -> Value:
        return self.build.select(code, self.build.compare(code, "lt", a, b), a, b)

    def aligned(self, scope: Scope, first: Value, end: Value, lanes: int) -> Value:
        whole = super().aligned(scope, first, end, lanes)
        if lanes == 1:
            return whole
        return self.build.select(scope.code, self.accesses_aligned(scope), whole, first)

    def accesses_aligned(self, scope: Scope) -> Value:
        """Whether every operand that is read in vectors starts and goes on at whole ones."""
        outermost = scope.outermost()
        if "aligned" in outermost.memo:
            return outermost.memo["aligned"]
        build, code, nest = self.build, outermost.code, self.nest
        vector, bits = len(nest.axes) - 1, literal(0, I64)
        for i, b in enumerate(nest.operands):
            if self.schedule.classes[b][1] != "c":
                continue
            size = b.dtype.bits // 8
            misfit = literal(min(ACCESS_BYTES, size * self.plan.lanes) - 1, I64)
            pointer = self.at_entry(scope, ("operand", b), f"ptr, ptr %ptr, i64 {i}", PTR)
            found = build.convert(code, "ptrtoint", pointer, I64)
            strides = range(2 * len(nest.axes) + i * len(nest.axes), 2**31)
            for slot in (*strides[:vector], 2 * vector):  # and where the axis begins
                offset = build.binary(code, "mul", self.geometry(scope, slot), literal(size, I64))
                found = build.binary(code, "or", found, offset)
            bits = build.binary(code, "or", bits, build.binary(code, "and", found, misfit))
        outermost.memo["aligned"] = build.compare(code, "eq", bits, literal(0, I64))
        return outermost.memo["aligned"]

    # The loops outside

    def main(self, entry: Scope) -> None:
        if self.plan.product < 0:
            self.deal_out(entry)
            return
        code = entry.code
        tiles, rows, done = (self.build.block() for _ in range(3))
        test = self.build.plain(code, fits(self, entry))
        code.emit(f"br {typed(test)}, label %{tiles}, label %{rows}")
        for label, body in ((tiles, tiled_product), (rows, GpuKernel.deal_out)):
            code.enter(label)
            body(self, Scope(entry, code, 1))
            code.emit(f"br label %{done}")
        code.enter(done)

    def deal_out(self, entry: Scope) -> None:
        """The loops outside of points or rows."""
        spans = [(a, *self.bounds(entry, a)) for a in self.schedule.outer]
        if self.plan.form == "rows":
            k1, k0 = self.nest.axes[:2]
            self.shares = {k1: self.blocks_along_y, k0: self.threads_along_rows}
            self.outer(entry, spans)
        elif self.plan.form == "columns":
            self.shares = {self.nest.axes[0]: self.blocks_along_y}
            self.columns(entry)
        elif self.plan.form == "tiles":
            tiled(self, entry)
        else:
            self.points(entry, spans)

    def threads_along_rows(self, scope: Scope) -> Share:
        """A block has as many rows as its height; they are dealt out along the grid's x."""
        code, build = scope.outermost().code, self.build
        height = self.register(scope, "ntid.y")
        first = build.binary(code, "mul", self.register(scope, "ctaid.x"), height)
        first = build.binary(code, "add", first, self.register(scope, "tid.y"))
        return Share(first, build.binary(code, "mul", self.register(scope, "nctaid.x"), height))

    def columns(self, entry: Scope) -> None:
        """Whole blocks go round together: a thread past the last row repeats that, and is mute."""
        k1, k0 = self.nest.axes[:2]
        tile = Axis("columns")
        width = self.register(entry, "ntid.x")
        blocks = Share(self.register(entry, "ctaid.x"), self.register(entry, "nctaid.x"))
        self.shares[tile] = lambda _: blocks
        first, end = self.bounds(entry, k0)

        def several(scope: Scope, _: list[Value]) -> list[Value]:
            code, build = scope.code, self.build
            at = build.binary(code, "add", scope.starts[tile], self.register(scope, "tid.x"))
            last = build.binary(code, "sub", end, literal(1, I64))
            scope.starts[k0] = self.least(code, at, last)
            scope.memo["speaks"] = build.compare(code, "lt", at, end)
            self.innermost(scope)
            return []

        def body(scope: Scope, _: list[Value]) -> list[Value]:
            self.loop(scope, tile, first, end, width, 1, [], several)
            return []

        self.loop(entry, k1, *self.bounds(entry, k1), 1, 1, [], body)

    def points(self, entry: Scope, spans: list[Span]) -> None:
        """The axis `x` along x, other independent axes as one along y; the rest in turn."""
        axes, plan = self.nest.axes, self.plan
        along_x = [s for s in spans if plan.x >= 0 and s[0] is axes[plan.x]]
        along_y = [s for s in spans if axes.index(s[0]) in plan.y]
        rest = [s for s in spans if s not in along_x and s not in along_y]
        if along_x:
            self.shares[along_x[0][0]] = self.threads

        def in_turn(scope: Scope) -> None:
            self.outer(scope, [*rest, *along_x])

        self._flattened(entry, along_y, in_turn)

    def _flattened(self, scope: Scope, spans: list[Span], body: Callable[[Scope], None]) -> None:
        """One loop over all these axes together, dealt out along y."""
        build, code = self.build, scope.code
        extents = [build.binary(code, "sub", end, first) for _, first, end in spans]
        total = literal(1, I64)
        for extent in extents:
            total = build.binary(code, "mul", total, extent)
        flat = Axis("flat")
        self.shares[flat] = self.threads_along_y

        def run(inner: Scope, _: list[Value]) -> list[Value]:
            rest: Value = inner.starts[flat]
            split = list(zip(spans, extents, strict=True))
            for (a, first, _end), extent in reversed(split[1:]):
                position = build.binary(inner.code, "urem", rest, extent)
                rest = build.binary(inner.code, "udiv", rest, extent)
                inner.starts[a] = build.binary(inner.code, "add", first, position)
            for (a, first, _end), _extent in split[:1]:  # the outermost one takes what is left
                inner.starts[a] = build.binary(inner.code, "add", first, rest)
            body(inner)
            return []

        self.loop(scope, flat, literal(0, I64), total, 1, 1, [], run)

    # A row

    def innermost(self, scope: Scope) -> None:
        if not self.nest.reduced:
            super().innermost(scope)
        elif self.plan.held:
            self._held_or_not(scope)
        else:
            self.row(scope, TeamPass)

    def row(self, scope: Scope, kind: type[TeamPass]) -> None:
        self.row_scope = scope
        for p in self.schedule.passes:
            (ScanPass if p.scans and self.plan.form == "rows" else kind)(self, p, scope).run()
        if self.schedule.blocked:
            several = self.build.compare(scope.code, "lt", literal(1, I64), Value("%sections", I64))
            alone = self.build.logic(scope.code, "xor", several, literal(True, BOOL))
            block = self.register(scope, "ctaid.z")
            speaks = self.speaks(scope)
            for cond, leave in (
                (several, lambda branch: Blocks(self).save(branch, block)),
                (alone, self._after),
            ):
                self.when(scope, self.build.logic(scope.code, "and", cond, speaks), leave)
        elif self.schedule.after:
            for s in self.schedule.after:  # before the branch, where all can be seen by all
                for e in (s.value, *s.index):
                    self.value(e, scope)
            self.when(scope, self.speaks(scope), self._after)
        self.row_scope = None

    def _after(self, scope: Scope) -> None:
        self.row_scope = scope
        for s in self.schedule.after:
            Kernel.store(self, scope, s)

    def _held_or_not(self, scope: Scope) -> None:
        """Rows that fit are kept in registers between the passes."""
        build, code = self.build, scope.code
        (first1, end1), (first, end) = (self.bounds(scope, a) for a in self.nest.reduced)
        one = build.binary(code, "sub", end1, first1)
        fits = build.compare(code, "eq", one, literal(1, I64))
        n = build.binary(code, "sub", end, first)
        room = build.binary(code, "mul", self.register(scope, "ntid.x"),
                            literal(self.plan.held, I64))  # fmt: skip
        conds = [build.compare(code, "le", n, room), build.compare(code, "lt", first, end)]
        if self.plan.lanes > 1:
            over = build.binary(code, "and", n, literal(self.plan.lanes - 1, I64))
            conds.append(build.compare(code, "eq", over, literal(0, I64)))
            conds.append(self.accesses_aligned(scope))
        for cond in conds:
            fits = build.logic(code, "and", fits, cond)
        fits = build.plain(code, fits)
        fast, slow, done = build.block(), build.block(), build.block()
        code.emit(f"br {typed(fits)}, label %{fast}, label %{slow}")
        for label, kind in ((fast, HeldPass), (slow, TeamPass)):
            code.enter(label)
            branch = Scope(scope, code, 1)
            branch.starts[self.nest.reduced[0]] = first1  # of a held row, which has one line
            self.row(branch, kind)
            code.emit(f"br label %{done}")
        code.enter(done)

    def speaks(self, scope: Scope) -> Value:
        """Whether this member of the team stores what there is one of for a row."""
        code, build = scope.code, self.build
        member = "tid.x" if self.plan.form == "rows" else "tid.y"
        mine = build.compare(code, "eq", self.register(scope, member), literal(0, I64))
        found = scope.find("speaks")
        return build.logic(code, "and", mine, found[0]) if found else mine

    def finish(self, entry: Scope) -> None:
        """Merges the sections of each row: a warp for each."""
        self.shares = {self.nest.axes[0]: self.blocks_along_y,
                       self.nest.axes[1]: self.threads_along_rows}  # fmt: skip
        finish_rows(self, entry)

    # Memory

    def _store_over(self, scope: Scope, s: Store, windows: list[Axis]) -> None:
        store, cond = super()._store_over, None
        if windows:
            pass
        elif self.plan.atomic:
            store, cond = self._add_at_once, literal(True, BOOL)
            if s.guard is not None:
                cond = self.value(s.guard, scope)
        elif s.combine is not None and self.plan.owners:
            cond = self._owned(scope, s)
        elif found := scope.find("speaks") or scope.find("inside"):
            cond = found[0]
            for e in (s.value, *s.index):  # before the branch: it may be wanted after it
                self.value(e, scope)
        if cond is None:
            store(scope, s, windows)
        else:
            self.when(scope, cond, lambda branch: store(branch, s, windows))

    def _add_at_once(self, scope: Scope, s: Store, windows: list[Axis]) -> None:
        """Of integers, which add up to the same in any order."""
        value = self.value(s.value, scope)
        address, _ = self._address(s.buffer, s.index, scope)
        op = "add" if s.combine is SUM else "umax" if value.dtype.kind == "u" else "max"
        pointer = typed(self.value(address, scope))
        old = self.build.name()
        scope.code.emit(f"{old} = atomicrmw {op} {pointer}, {typed(value)} monotonic")

    def _owned(self, scope: Scope, s: Store) -> Value:
        """Whether this thread makes the additions to that place."""
        code, build, share = scope.code, self.build, self.owners(scope)
        count, mine, place = (
            build.convert(code, "trunc", v, U32)
            for v in (share.count, share.first, self._owner(scope, s))
        )
        return build.compare(code, "eq", build.binary(code, "urem", place, count), mine)

    def _owner(self, scope: Scope, s: Store) -> Value:
        """A number that only additions to the same place share with each other."""
        code, build = scope.code, self.build
        total = literal(0, I64)
        for i, prime in zip(reversed(s.index), PRIMES, strict=False):
            if {a for a in affine(i) if a} <= self.independent and None not in affine(i):
                continue
            at = self.value(i, scope)
            at = at if at.dtype.bits == 64 else build.cast(code, at, I64)
            total = build.binary(
                code, "add", total, build.binary(code, "mul", at, literal(prime, I64))
            )
        return total

    @property
    def independent(self) -> set[Axis]:
        return {self.nest.axes[i] for i in (self.plan.x, *self.plan.y) if i >= 0}

    def _load_where(self, e: Expr, scope: Scope) -> Value:
        """By a branch: an address to point to instead would have to be in memory too."""
        *index, guard, default = e.src
        if scope.lanes > 1 and self.schedule.vector in e.axes:
            return super()._load_where(e, scope)
        build, code = self.build, scope.code
        address, _ = self._address(e.arg, tuple(index), scope)
        cond, other = self.value(guard, scope), self.value(default, scope)
        pointer = self.value(address, scope)
        do, done = build.block(), build.block()
        cond, other = build.plain(code, cond), build.plain(code, other)
        before = code.label
        code.emit(f"br {typed(cond)}, label %{do}, label %{done}")
        code.enter(do)
        v = build.plain(code, build.load(code, pointer, e.dtype, 1))
        after = code.label
        code.emit(f"br label %{done}")
        code.enter(done)
        return self._phi(code, [(other, before), (v, after)])

    def _prefetch(self, e: Expr, scope: Scope, address: Expr, lanes: int) -> None:
        """Other warps run while one waits for memory."""

    # Arrays that a block shares

    def shared_array(self, key: str, v: Value, count: int) -> str:
        element = "i8" if v.dtype is BOOL else register_type(v.dtype)
        name = f"@shared_{key}_{element}"
        self.shared[name] = (
            f"{name} = internal addrspace(3) global [{count} x {element}] undef, align 8"
        )
        return name

    def shared_element(self, code: Code, array: str, dtype: DType, at: Value) -> str:
        name = self.build.name()
        memory = "i8" if dtype is BOOL else register_type(dtype)
        code.emit(f"{name} = getelementptr {memory}, ptr addrspace(3) {array}, {typed(at)}")
        return f"ptr addrspace(3) {name}"

    def put_shared(self, code: Code, array: str, at: Value, v: Value) -> None:
        memory = self.build.to_memory(code, self.build.plain(code, v))
        code.emit(f"store {typed(memory)}, {self.shared_element(code, array, v.dtype, at)}")

    def get_shared(self, code: Code, array: str, at: Value, dtype: DType) -> Value:
        stored = DType("", "u", 8) if dtype is BOOL else dtype
        place = self.shared_element(code, array, dtype, at)
        v = self.build.let(code, stored, 1, f"load {register_type(stored)}, {place}")
        return self.build.from_memory(code, v, dtype)

    def barrier(self, code: Code) -> None:
        name = "llvm.nvvm.barrier.cta.sync.aligned.all"
        self.build.declarations[name] = f"declare void @{name}(i32)"
        code.emit(f"call void @{name}(i32 0)")


def recompute(schedule: Schedule) -> None:
    """No scratch rows: computing a value again costs less than memory here. Scans too."""
    made = {r for p in schedule.passes for r in p.reduces}
    for p in schedule.passes:
        p.spills.clear()
        p.reloads.clear()
        p.scans = [e for e in topological(p.roots(), made) if e.op == "scan"]
