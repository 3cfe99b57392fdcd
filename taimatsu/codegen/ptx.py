"""The same nests for NVIDIA GPUs: LLVM IR for NVPTX, and PTX text. Only the driver need be there.

    kernel = render(nest, classes, SM80)         kernel.ptx, and how to launch it

Expressions, addresses, accumulators and merges are rendered by the code that renders them for a
CPU. What differs is who runs an iteration:

    points      threads along x take the axis with most contiguous accesses, sixteen bytes each
                where all operands allow it; blocks along y all other axes that are independent
    rows        contiguous rows have a team each, a warp or a block, that takes its elements in
                turns and merges its accumulators by shuffles; other rows have a thread each

The kernel's arguments are the core's (see docs/layout.md), as arrays by value, and where to
report flags:

    name([n x ptr] ptr, [g x i64] geometry, [s x i64] scalars, i32* flags)
"""

from __future__ import annotations

import typing
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .ir import BOOL, I32, I64, U16, Axis, DType, Expr, Nest, topological
from .kernel import Kernel
from .llvm import PTR, Builder, Code, Target, Value, literal, register_type, typed
from .loops import Fields, Scope
from .rows import RowPass
from .schedule import Schedule, merge_formula

TRIPLE = "nvptx64-nvidia-cuda"
SM70, SM80, SM90 = (
    Target(TRIPLE, f"sm_{n}", f"+ptx{version}") for n, version in ((70, 64), (80, 78), (90, 80))
)
WARP = 32
BLOCK = 256  # threads of a block where the kernel doesn't need another number
ACCESS_BYTES = 16


@dataclass(frozen=True)
class Launch:
    """A kernel and what it wants: threads in a block, and what one block takes at a time.

    `points` and `rows` are per block: the grid's x covers the vector axis or the rows (k0), its y
    what is left. Any grid is right; a smaller one makes each thread go round more often.
    """

    name: str
    llvm: str
    ptx: str
    block: tuple[int, int]
    per_block: int
    arguments: tuple[int, int, int]  # lengths of the arrays: operands, geometry, scalars


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

    def remainder(self, code: Code, a: Value, b: Value) -> Value:
        return self.binary(code, "frem", a, b)


class GpuKernel(Kernel):
    """A kernel whose loops are dealt out to threads."""

    def __init__(self, schedule: Schedule, target: Target, name: str, team: int) -> None:
        super().__init__(schedule, target, name)
        self.build = GpuBuilder(target, self._flag)
        self.team = team
        self.shares: dict[Axis, Callable[[Scope], Share]] = {}
        self.shared: dict[str, str] = {}  # arrays that a block shares
        for p in schedule.passes:
            if any(e.op == "scan" for e in p.spills):
                raise NotImplementedError("codegen: a scan that is read twice has no GPU kernel")
            p.spills.clear()  # computing a value again costs less than memory here
            p.reloads.clear()

    def render(self) -> str:
        operands, geometry, scalars = self.arguments()
        arguments = (
            f"ptr byval([{operands} x ptr]) align 8 %ptr, "
            f"ptr byval([{geometry} x i64]) align 8 %geometry, "
            f"ptr byval([{scalars} x i64]) align 8 %scalars, ptr %flags"
        )
        function = self.define(self.name, arguments, self.main)
        parts = [f'target triple = "{self.target.triple}"', *self.build.constants()]
        parts += [*self.shared.values(), function, *self.outlined.values()]
        return "\n\n".join([*parts, *sorted(set(self.build.declarations.values()))]) + "\n"

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
        entry = Scope(None, Code("entry"), 1)
        self.locals: dict[str, str] = {}
        body(entry)
        text = "\n".join(["entry:", *self.locals.values(), *entry.code.lines, "  ret void"])
        return f"define ptx_kernel void @{name}({arguments}) nounwind {{\n{text}\n}}"

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

    # Who does what

    def register(self, scope: Scope, name: str) -> Value:
        """A special register, read once: tid.x, ctaid.y ..."""
        outermost = scope.outermost()
        if name not in outermost.memo:
            v = self.build.call(outermost.code, f"nvvm.read.ptx.sreg.{name}", I32, 1)
            outermost.memo[name] = self.build.convert(outermost.code, "zext", v, I64)
        return outermost.memo[name]

    def threads(self, scope: Scope) -> Share:
        """All threads of the grid's x."""
        code, build = self.entry(scope), self.build
        size = self.register(scope, "ntid.x")
        first = build.binary(code, "mul", self.register(scope, "ctaid.x"), size)
        first = build.binary(code, "add", first, self.register(scope, "tid.x"))
        return Share(first, build.binary(code, "mul", self.register(scope, "nctaid.x"), size))

    def teams(self, scope: Scope) -> Share:
        """The warps of all blocks (they are a block's rows, tid.y), or all blocks."""
        code, build = self.entry(scope), self.build
        block, count = self.register(scope, "ctaid.x"), self.register(scope, "nctaid.x")
        if self.team > WARP:
            return Share(block, count)
        height = self.register(scope, "ntid.y")
        first = build.binary(code, "mul", block, height)
        first = build.binary(code, "add", first, self.register(scope, "tid.y"))
        return Share(first, build.binary(code, "mul", count, height))

    def blocks_along_y(self, scope: Scope) -> Share:
        return Share(self.register(scope, "ctaid.y"), self.register(scope, "nctaid.y"))

    def members(self, scope: Scope) -> Share:
        """The threads of a team; a row's passes go on by the team's size already."""
        return Share(self.register(scope, "tid.x"), literal(1, I64))

    def entry(self, scope: Scope) -> Code:
        return scope.outermost().code

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
            offset = build.binary(code, "mul", share.first, literal(step, I64))
            if self.nest.reduced and a is self.nest.reduced[1]:
                offset = share.first
            first = build.binary(code, "add", first, offset)
            step = build.binary(code, "mul", share.count, literal(step, I64))
        return super().loop(scope, a, first, end, step, lanes, carried, body)

    def aligned(self, scope: Scope, first: Value, end: Value, lanes: int) -> Value:
        if self.nest.reduced:  # whoever has nothing left to do waits
            return end
        whole = super().aligned(scope, first, end, lanes)
        if lanes == 1:
            return whole
        fits = self._accesses_aligned(scope, first)
        return self.build.select(scope.code, fits, whole, first)

    def _accesses_aligned(self, scope: Scope, first: Value) -> Value:
        """Whether sixteen bytes of every operand that is read in vectors start at a multiple."""
        build, code, nest = self.build, scope.outermost().code, self.nest
        bits = literal(0, I64)
        for i, b in enumerate(nest.operands):
            if self.schedule.classes[b][1] != "c":
                continue
            pointer = self.at_entry(scope, ("operand", b), f"ptr, ptr %ptr, i64 {i}", PTR)
            address = build.convert(code, "ptrtoint", pointer, I64)
            row = self.geometry(scope, 2 * len(nest.axes) + i * len(nest.axes))
            start = self.geometry(scope, 2)  # the inner axis' lo
            for elements in (row, start):
                size = build.binary(code, "mul", elements, literal(b.dtype.bits // 8, I64))
                bits = build.binary(code, "or", bits, size)
            bits = build.binary(code, "or", bits, address)
        low = build.binary(code, "and", bits, literal(ACCESS_BYTES - 1, I64))
        return build.compare(code, "eq", low, literal(0, I64))

    def main(self, entry: Scope) -> None:
        spans = [(a, *self.bounds(entry, a)) for a in self.schedule.outer]
        if self.team > 1:  # rows: k1 along y, k0 along x
            self.shares = {
                self.nest.axes[0]: self.blocks_along_y,
                self.nest.axes[1]: self.teams,
                self.nest.reduced[1]: self.members,
            }
            self.outer(entry, spans)
            return
        # The vector axis along x, all other independent axes as one along y; the rest in turn.
        # Where there is none, one row or column of the grid does the work.
        inner = self.schedule.vector
        parallel = {self.nest.axes[i] for i in self.schedule.parallel}
        along_x = [s for s in spans if s[0] is inner]
        along_y = [s for s in spans if s[0] in parallel and s[0] is not inner]
        rest = [s for s in spans if s not in along_x and s not in along_y]
        if along_x:
            self.shares[inner] = self.threads

        def in_turn(scope: Scope) -> None:
            self.outer(scope, [*rest, *along_x])

        def one_column(scope: Scope) -> None:
            self._flattened(scope, [], self.threads, in_turn)

        self._flattened(entry, along_y, self.blocks_along_y, in_turn if along_x else one_column)

    def _flattened(
        self, scope: Scope, spans: list, share: Callable, body: Callable[[Scope], None]
    ) -> None:
        """One loop over all these axes together, dealt out by `share`."""
        build, code = self.build, scope.code
        extents = [build.binary(code, "sub", end, first) for _, first, end in spans]
        total = literal(1, I64)
        for extent in extents:
            total = build.binary(code, "mul", total, extent)
        flat = Axis("flat")
        self.shares[flat] = share

        def run(inner: Scope, _: list[Value]) -> list[Value]:
            rest = inner.starts[flat]
            for (a, first, _end), extent in reversed(list(zip(spans, extents, strict=True))):
                position = build.binary(inner.code, "urem", rest, extent)
                rest = build.binary(inner.code, "udiv", rest, extent)
                inner.starts[a] = build.binary(inner.code, "add", first, position)
            body(inner)
            return []

        self.loop(scope, flat, literal(0, I64), total, 1, 1, [], run)

    def innermost(self, scope: Scope) -> None:
        if self.team == 1:
            super().innermost(scope)
            return
        self.row_scope = scope
        for p in self.schedule.passes:
            TeamPass(self, p, scope).run()
        self._by_first_member(scope, self.schedule.after)
        self.row_scope = None

    def _by_first_member(self, scope: Scope, stores: list) -> None:
        if not stores:
            return
        code, build = scope.code, self.build
        for s in stores:  # before the branch: what is computed here may be wanted after it
            for e in (s.value, *s.index):
                self.value(e, scope)
        mine = build.compare(code, "eq", self.register(scope, "tid.x"), literal(0, I64))
        do, done = build.block(), build.block()
        code.emit(f"br {typed(mine)}, label %{do}, label %{done}")
        code.enter(do)
        branch = Scope(scope, code, scope.lanes)
        for s in stores:
            self.store(branch, s)
        code.emit(f"br label %{done}")
        code.enter(done)

    def _prefetch(self, e: Expr, scope: Scope, address: Expr, lanes: int) -> None:
        """Other warps run while one waits for memory."""

    # Merging the accumulators of a team

    def across_team(self, code: Code, e: Expr, acc: Fields) -> Fields:
        """The merge of all members' accumulators, in every member."""
        formula = merge_formula(e)
        distance = WARP // 2
        while distance:
            other = [self._shuffle(code, "down", v, distance) for v in acc]
            acc = self.merge(code, formula, acc, other)
            distance //= 2
        if self.team == WARP:
            return [self._shuffle(code, "idx", v, 0) for v in acc]
        return self._across_warps(code, formula, acc)

    def _shuffle(self, code: Code, kind: str, v: Value, lane: int) -> Value:
        """`v` as the thread has it that is `lane` further on (down), or number `lane` (idx)."""
        build = self.build
        if v.parts:
            return build.pair(v.dtype, *(self._shuffle(code, kind, p, lane) for p in v.parts))
        words = [
            self._shuffle_word(code, kind, w, lane) for w in self._words(code, build.plain(code, v))
        ]
        return self._from_words(code, words, v.dtype)

    def _shuffle_word(self, code: Code, kind: str, v: Value, lane: int) -> Value:
        arguments = (literal(-1, I32), v, literal(lane, I32), literal(WARP - 1, I32))
        return self.build.call(code, f"nvvm.shfl.sync.{kind}.i32", I32, 1, *arguments)

    def _words(self, code: Code, v: Value) -> list[Value]:
        """A scalar as 32-bit integers."""
        build = self.build
        if v.dtype.bits == 64:
            if v.dtype is not I64:
                v = build.convert(code, "bitcast", v, I64)
            high = build.binary(code, "lshr", v, literal(32, I64))
            return [build.convert(code, "trunc", x, I32) for x in (v, high)]
        if v.dtype.bits == 32:
            return [v if v.dtype.kind in "iu" else build.convert(code, "bitcast", v, I32)]
        if v.dtype.kind == "f":
            v = build.convert(code, "bitcast", v, U16)
        return [build.convert(code, "zext", v, I32)]

    def _from_words(self, code: Code, words: list[Value], dtype: DType) -> Value:
        build = self.build
        if dtype.bits == 64:
            low, high = (build.convert(code, "zext", w, I64) for w in words)
            v = build.binary(code, "shl", high, literal(32, I64))
            v = build.binary(code, "or", v, low)
            integer = dtype.kind in "iu"
            return v._replace(dtype=dtype) if integer else build.convert(code, "bitcast", v, dtype)
        (v,) = words
        if dtype.bits == 32:
            integer = dtype.kind in "iu"
            return v._replace(dtype=dtype) if integer else build.convert(code, "bitcast", v, dtype)
        if dtype.kind == "f":
            return build.convert(code, "bitcast", build.convert(code, "trunc", v, U16), dtype)
        return build.convert(code, "trunc", v, dtype)

    def _across_warps(self, code: Code, formula: tuple[Expr, ...], acc: Fields) -> Fields:
        """Each warp's first thread leaves its accumulator in shared memory; all merge all."""
        build, warps = self.build, self.team // WARP
        entry = Value("%tid", I64)
        self.locals["%tid"] = (
            "  %tid.32 = call i32 @llvm.nvvm.read.ptx.sreg.tid.x()\n"
            "  %tid = zext i32 %tid.32 to i64"
        )
        build.declarations["tid"] = "declare i32 @llvm.nvvm.read.ptx.sreg.tid.x()"
        warp = build.binary(code, "lshr", entry, literal(5, I64))
        lane = build.binary(code, "and", entry, literal(WARP - 1, I64))
        flat = [p for v in acc for p in (v.parts or (v,))]
        arrays = [self._shared(build.plain(code, v), warps) for v in flat]
        do, done = build.block(), build.block()
        self._barrier(code)  # the previous row's have been read
        first = build.compare(code, "eq", lane, literal(0, I64))
        code.emit(f"br {typed(first)}, label %{do}, label %{done}")
        code.enter(do)
        for v, array in zip(flat, arrays, strict=True):
            v = build.to_memory(code, build.plain(code, v))
            code.emit(f"store {typed(v)}, {self._element(code, array, v.dtype, warp)}")
        code.emit(f"br label %{done}")
        code.enter(done)
        self._barrier(code)
        total: Fields | None = None
        for w in range(warps):
            parts = []
            for v, array in zip(flat, arrays, strict=True):
                stored = DType("", "u", 8) if v.dtype is BOOL else v.dtype
                place = self._element(code, array, stored, literal(w, I64))
                x = build.let(code, stored, 1, f"load {register_type(stored)}, {place}")
                parts.append(build.from_memory(code, x, v.dtype))
            fields = _regrouped(parts, acc)
            total = fields if total is None else self.merge(code, formula, total, fields)
        return total

    def _shared(self, v: Value, count: int) -> str:
        name = f"@shared{len(self.shared)}"
        element = "i8" if v.dtype is BOOL else register_type(v.dtype)
        self.shared[name] = (
            f"{name} = internal addrspace(3) global [{count} x {element}] undef, align 8"
        )
        return name

    def _element(self, code: Code, array: str, dtype: DType, at: Value) -> str:
        name = self.build.name()
        code.emit(f"{name} = getelementptr {register_type(dtype)}, ptr addrspace(3) {array}, "
                  f"{typed(at)}")  # fmt: skip
        return f"ptr addrspace(3) {name}"

    def _barrier(self, code: Code) -> None:
        name = "llvm.nvvm.barrier.cta.sync.aligned.all"
        self.build.declarations[name] = f"declare void @{name}(i32)"
        code.emit(f"call void @{name}(i32 0)")


class TeamPass(RowPass):
    """A pass whose elements the members of a team take in turns."""

    def __init__(self, kernel: GpuKernel, p, scope: Scope) -> None:
        super().__init__(kernel, p, scope)
        self.widths, self.lanes = (kernel.team,), (1,)

    def run(self) -> None:
        super().run()
        for e in self.p.reduces:
            acc = self.scope.memo[e]
            acc = acc if isinstance(acc, list) else [acc]
            total = self.kernel.across_team(self.scope.code, e, acc)  # type: ignore[attr-defined]
            self.scope.memo[e] = total if len(total) > 1 else total[0]


def _regrouped(flat: list[Value], like: Fields) -> Fields:
    out, rest = [], iter(flat)
    for v in like:
        if v.parts:
            re, im = next(rest), next(rest)
            out.append(Value("", v.dtype, 1, False, (re, im)))
        else:
            out.append(next(rest))
    return out


def schedule_for(nest: Nest, classes: tuple[str, ...]) -> tuple[Schedule, int]:
    """A schedule with the GPU's widths; and the size of a row's team, 1 where there is none."""
    schedule = Schedule(nest, tuple(classes))
    scans = any(p.scans for p in schedule.passes)
    if schedule.along_row and not scans:
        schedule.lanes = (1,)
        return schedule, WARP
    if schedule.along_row:  # a scan's elements depend on one another: a thread for each row
        schedule = Schedule(nest, tuple(classes), short=True)
    schedule.lanes = _widths(schedule)
    schedule.tiled = None
    return schedule, 1


def _widths(schedule: Schedule) -> tuple[int, ...]:
    """Elements that a thread takes at once: sixteen bytes of the widest operand, if contiguous."""
    if schedule.kind != "pointwise" or schedule.vector is not schedule.nest.axes[1]:
        return (1,)
    if any(c[1] == "s" for c in schedule.classes.values()):
        return (1,)
    values = topological([s.value for s in schedule.stores])
    branches = any(e.arg == "rarely" or e.op == "loop" for e in values)
    widest = max(b.dtype.bits for b in schedule.nest.operands)
    lanes = ACCESS_BYTES * 8 // widest
    return (1,) if branches or lanes < 2 else (lanes, 1)


def render(
    nest: Nest,
    classes: Sequence[str],
    target: Target = SM80,
    name: str = "kernel",
    row_threads: int = WARP,
) -> Launch:
    """The nest's kernel for a GPU.

    A contiguous row has `row_threads` threads: a warp, or for few long rows a block, a multiple.

    Raises NotImplementedError for nests without a GPU kernel: those that read a scan twice.
    """
    from . import engine

    schedule, team = schedule_for(nest, tuple(classes))
    if team > 1:
        team = row_threads
    kernel = GpuKernel(schedule, target, name, team)
    text = kernel.render()
    block = {1: (BLOCK, 1), WARP: (WARP, BLOCK // WARP)}.get(team, (team, 1))
    per_block = {1: BLOCK * schedule.lanes[0], WARP: BLOCK // WARP}.get(team, 1)
    assembly = str(engine.emit(text, target, assembly=True))
    return Launch(name, text, assembly, block, per_block,
                  kernel.arguments())  # fmt: skip


