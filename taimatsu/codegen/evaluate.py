"""What every expression of a kernel becomes: operations, loads, windows, and the stores.

Addresses are expressions too, sums ordered by how deep their axes' loops are, so that each loop
computes only what changes in it. How a vector of elements is read or written follows from the step
between lanes: one wide load, a load and a shuffle, a gather.
"""

from __future__ import annotations

from collections.abc import Sequence

from .ir import (
    BOOL,
    F32,
    F64,
    I64,
    Axis,
    Buffer,
    DType,
    Expr,
    Store,
    axis,
    const,
    substitute,
    topological,
)
from .llvm import (
    BYTE,
    INVERSE_BITS,
    PTR,
    Code,
    Target,
    Value,
    is_true,
    literal,
    register_type,
    type_of,
    typed,
)
from .loops import Function, Scope, start
from .rows import identity
from .schedule import Schedule, affine, both, conjuncts, merge_formula, plus, times
from .simplify import cast, node, where

PREFETCH = 8  # rows ahead
PAGE = 4096
LEAVES = ("load", "at", "reduce", "scan", "item", "axis", "param", "size")


class Evaluator(Function):
    """Evaluates expressions in scopes. The results of a row's reductions are in `row_scope`."""

    row_scope: Scope | None = None

    def __init__(self, schedule: Schedule, target: Target) -> None:
        super().__init__(schedule, target)
        self.outlined: dict[Expr, str] = {}

    def operand(self, e: Expr, scope: Scope, lanes: int) -> Value:
        """e's value on this many lanes."""
        v = self.value(e, scope)
        if v.lanes == lanes:
            return v
        if v.literal:
            return self.build.splat(scope.code, v, lanes)
        key = ("splat", e, lanes)
        found = scope.find(key)
        if found:
            return found[0]
        home = scope.here(scope.found(e)[1])
        home.memo[key] = self.build.splat(home.code, v, lanes)
        return home.memo[key]

    def value(self, e: Expr, scope: Scope) -> Value:
        """e's value: a scalar, or as many lanes as the scope has if it differs between lanes."""
        if e.op == "const":
            return literal(e.arg, e.dtype)
        found = scope.find(e)
        if found:
            return found[0]
        stack = [e]
        while stack:
            x = stack[-1]
            if x.op == "const" or scope.find(x):
                stack.pop()
                continue
            missing = [s for s in self._operands(x) if s.op != "const" and not scope.find(s)]
            if missing:
                stack.extend(missing)
                continue
            stack.pop()
            self._evaluate(x, scope)
        return scope.found(e)[0]

    def _operands(self, e: Expr) -> Sequence[Expr]:
        if e.op in ("load", "at", "reduce"):  # these evaluate what they need themselves
            return ()
        if e.arg == "rarely":
            return (e.src[0], e.src[2], *self._inputs(e))
        assert e.op != "scan", f"codegen: scan {e} is used outside its pass"
        return e.src

    def _evaluate(self, e: Expr, scope: Scope) -> None:
        op = e.op
        if op == "reduce":
            self._window(e, scope)
        elif op in ("load", "at"):
            home = self._home(e, scope)
            read = self._load if op == "load" else self._load_where
            home.memo[e] = read(e, home)
        elif op in ("start", "axis"):
            home = scope.here(scope.binder(e.arg))
            home.memo[e] = self._axis(e, home)
        elif op in ("param", "size", "stride", "pointer"):
            home = scope.outermost()
            home.memo[e] = self._leaf(e, home)
        else:
            operands = self._operands(e)
            home = self._deepest(operands, scope)
            if e.arg == "rarely":
                home.memo[e] = self._rarely(e, home, operands)
                return
            if op == "loop":
                lanes = max(self.value(s, scope).lanes for s in e.src)
                values = [self.operand(s, scope, lanes) for s in e.src]
                home.memo[e] = self.iterate(home.code, e.arg, values)
                return
            if op == "item":
                v = scope.found(e.src[0])[0]
                home.memo[e] = v[e.arg] if isinstance(v, list) else v
                return
            values = [self.value(s, scope) for s in e.src]
            lanes = max([v.lanes for v in values], default=1)
            if op == "lanes":  # the offsets of lanes that are src apart
                lanes = e.arg
            if op == "idiv" and values[1].lanes < lanes:
                self._flag_zero(e.src[1], values[1], scope)
                home.memo[e] = self._divided(e, home, lanes)
                return
            home.memo[e] = self._operation(e, home, [self.operand(s, scope, lanes) for s in e.src])

    def _deepest(self, operands: Sequence[Expr], scope: Scope) -> Scope:
        """The outermost scope that has all operands."""
        home: Scope | None = None
        for s in operands:
            if s.op != "const":
                at = scope.found(s)[1]
                if home is None or at.depth > home.depth:
                    home = at
        return scope.here(home or scope.outermost())

    def _home(self, e: Expr, scope: Scope) -> Scope:
        """The outermost scope that binds e's axes; inside a row, no further out than the row."""
        depth = scope.depth_of(e)
        if self.row_scope is not None and self._needs_row(e):
            depth = max(depth, self.row_scope.depth)
        home = scope
        while home.parent and home.depth > depth:
            home = home.parent
        return scope.here(home)

    def _needs_row(self, e: Expr) -> bool:
        return any(self.schedule.reduces_row(n) for n in topological([e]))

    def _flag_zero(self, divisor: Expr, v: Value, scope: Scope) -> None:
        home = scope.outermost() if v.literal else scope.here(scope.found(divisor)[1])
        zero = self.build.compare(home.code, "eq", v, literal(0, v.dtype))
        self.build.flag(home.code, zero, 1)

    def _divided(self, e: Expr, home: Scope, lanes: int) -> Value:
        """a // b, truncating, where all lanes have one b."""
        a, b = e.src
        if a.dtype.bits < 64:
            return self.operand(_quotient(a, b), home, lanes)
        inverse = _inverse(b, INVERSE_BITS, F64)
        x, y, z = (self.operand(v, home, lanes) for v in (a, b, inverse))
        return self.build.divide_long(home.code, x, y, z)

    def _operation(self, e: Expr, home: Scope, values: list[Value]) -> Value:
        code, build = home.code, self.build
        if e.op == "gep":
            return build.gep(code, values[0], e.arg, values[1])
        if e.op == "lanes":
            steps = build.iota(I64, e.arg)
            return build.binary(code, "mul", values[0], steps)
        if e.op == "check":
            return self.check(code, values[0], e.arg)
        return build.operation(code, e, values)

    def _axis(self, e: Expr, home: Scope) -> Value:
        first = home.binder(e.arg).starts[e.arg]
        if e.op == "start" or e.arg is not home.vector or home.lanes == 1:
            return first
        lanes = home.lanes
        wide = self.build.splat(home.code, first, lanes)
        return self.build.binary(home.code, "add", wide, self.build.iota(I64, lanes))

    def _leaf(self, e: Expr, entry: Scope) -> Value:
        nest = self.nest
        if e.op == "pointer":
            key = ("operand", e.arg)
            i = nest.operands.index(e.arg)
            return self.at_entry(entry, key, f"ptr, ptr %ptr, i64 {i}", PTR)
        if e.op == "param":
            p = e.arg
            if p.dtype.kind == "c":
                parts = (self._scalar(entry, p.slot + i, p.dtype.real) for i in (0, 1))
                return self.build.pair(p.dtype, *parts)
            return self._scalar(entry, p.slot, p.dtype)
        if e.op == "size" and isinstance(e.arg, Axis):
            if self.schedule.kind != "indexed":
                return self.bounds(entry, e.arg)[1]
            e = self.schedule.size_of(e.arg)
        buffer, dim = e.arg
        i = nest.operands.index(buffer)
        slot = 2 * len(nest.axes)
        if self.schedule.kind == "indexed":
            slot += sum(2 * b.rank for b in nest.operands[:i])
            slot += dim + (buffer.rank if e.op == "stride" else 0)
        else:
            slot += i * len(nest.axes) + dim
        return self.geometry(entry, slot)

    def _scalar(self, entry: Scope, slot: int, dtype: DType) -> Value:
        given = F64 if dtype.kind == "f" else I64
        element = f"{register_type(given)}, ptr %scalars, i64 {slot}"
        v = self.at_entry(entry, ("scalar", slot), element, given)
        return self.build.cast(entry.code, v, dtype)

    # Rare values: a function of one element, called for the lanes that need it

    def _inputs(self, e: Expr) -> list[Expr]:
        """What the rare value of `e` is computed from: no arithmetic, or shared with the usual."""
        cond, rare, usual = e.src
        shared = {n for n in topological([cond, usual]) if n.op not in ("const", "loop")}
        leaves = {n for n in topological([rare]) if n.op in LEAVES and not _of_loop(n)} | shared
        return [n for n in topological([rare], leaves) if n in leaves]

    def _rarely(self, e: Expr, home: Scope, operands: Sequence[Expr]) -> Value:
        build, code = self.build, home.code
        values = [self.value(x, home) for x in operands]
        lanes = max(v.lanes for v in values)
        cond, usual, *inputs = (self.operand(x, home, lanes) for x in operands)
        usual = build.plain(code, usual)
        if e not in self.outlined:
            self.outlined[e] = self._outline(e, operands[2:])
        function = f"@rare{list(self.outlined).index(e)}"
        some, done = build.block(), build.block()
        results = [(usual, code.label)]
        code.emit(f"br {typed(build.any(code, cond))}, label %{some}, label %{done}")
        results[0] = (usual, code.label)
        code.enter(some)
        if lanes == 1:
            rare = self._call(code, function, e.dtype, inputs)
        else:
            rare = self._call_lanes(home, function, e.dtype, cond, usual, inputs)
        results.append((rare, code.label))
        code.emit(f"br label %{done}")
        code.enter(done)
        return self._phi(code, results)

    def _outline(self, e: Expr, inputs: Sequence[Expr]) -> str:
        code = Code("entry")
        known = {x: Value(f"%a{i}", x.dtype) for i, x in enumerate(inputs)}
        (result,) = self.formula(code, [e.src[1]], known, 1)
        code.emit(f"ret {typed(result)}")
        arguments = ", ".join(map(typed, known.values()))
        head = f"define internal {type_of(result)} @rare{len(self.outlined)}({arguments})"
        return "\n".join([f"{head} noinline nounwind {{", "entry:", *code.lines, "}"])

    def _call(self, code: Code, function: str, dtype: DType, inputs: Sequence[Value]) -> Value:
        arguments = ", ".join(map(typed, inputs))
        return self.build.let(
            code, dtype, 1, f"call {register_type(dtype)} {function}({arguments})"
        )

    def _call_lanes(
        self, scope: Scope, function: str, dtype: DType, cond: Value, usual: Value,
        inputs: Sequence[Value],
    ) -> Value:  # fmt: skip
        """The function's value in the lanes where `cond` holds, by way of memory."""
        build, code, lanes = self.build, scope.code, usual.lanes

        def stored(v: Value) -> Value:
            place = self.variable(v.dtype, lanes)
            build.store(code, place, v)
            return place

        flags, result = stored(cond), stored(usual)
        places = [stored(v) for v in inputs]
        lane = Axis("lane")

        def body(inner: Scope, _: list[Value]) -> list[Value]:
            at, code = inner.starts[lane], inner.code

            def element(place: Value, dtype: DType) -> Value:
                return build.load(code, build.gep(code, place, dtype, at), dtype, 1)

            do, done = build.block(), build.block()
            code.emit(f"br {typed(element(flags, BOOL))}, label %{do}, label %{done}")
            code.enter(do)
            arguments = [element(p, v.dtype) for p, v in zip(places, inputs, strict=True)]
            value = self._call(code, function, dtype, arguments)
            build.store(code, build.gep(code, result, dtype, at), value)
            code.emit(f"br label %{done}")
            code.enter(done)
            return []

        self.loop(scope, lane, literal(0, I64), literal(lanes, I64), 1, 1, [], body)
        return build.load(code, result, dtype, lanes)

    # Windows: reductions over axes of known extent, inside an element

    def _window(self, e: Expr, scope: Scope) -> None:
        home = self._home(e, scope)
        assert not self.schedule.reduces_row(e), f"codegen: {e} is used before its pass"
        formula = merge_formula(e)
        varies = home.vector in e.axes
        state = identity(e, home.lanes if varies else 1)

        def around(outer: Scope, axes: tuple[Axis, ...], values: list[Value]) -> list[Value]:
            if not axes:
                fields = [self.operand(f, outer, values[0].lanes) for f in e.src]
                return self.merge(outer.code, formula, values, fields)
            first, end = self.bounds(outer, axes[0])
            return self.loop(outer, axes[0], first, end, 1, outer.lanes, values,
                             lambda inner, v: around(inner, axes[1:], v))  # fmt: skip

        result = around(home, e.arg[1], state)
        home.memo[e] = result if len(result) > 1 else result[0]

    # Loads and stores

    def _address(
        self, buffer: Buffer, index: tuple[Expr, ...], scope: Scope
    ) -> tuple[Expr, Expr | None]:
        """The pointer to lane 0 (or a vector of pointers), and the step between lanes or None."""
        vector = scope.vector
        access = self.schedule.access(buffer, index)
        step = access.step(vector) if scope.lanes > 1 else const(0, I64)
        parts = [(scope.depth_of(access.rest), access.rest)]
        for a, c in access.terms.items():
            position = axis(a) if a is not vector or step is None else start(a)
            parts.append((max(scope.binder(a).depth, scope.depth_of(c)), times(c, position)))
        parts.sort(key=lambda part: part[0])
        pointer = Expr("pointer", (), buffer, PTR)
        offset, depth = const(0, I64), 0
        for d, part in parts:
            if d > depth and offset is not const(0, I64):
                pointer = Expr("gep", (pointer, offset), buffer.dtype, PTR)
                offset = const(0, I64)
            offset, depth = plus(offset, part), d
        return Expr("gep", (pointer, offset), buffer.dtype, PTR), step

    def _steps(self, pointer: Expr, step: Expr, element: DType, lanes: int) -> Expr:
        """Pointers to lanes that are `step` elements apart."""
        return Expr("gep", (pointer, Expr("lanes", (step,), lanes, I64)), element, PTR)

    def _load(self, e: Expr, scope: Scope) -> Value:
        address, step = self._address(e.arg, e.src, scope)
        lanes = scope.lanes if scope.vector in e.axes else 1
        if step is not None and step.op == "const" and step.arg == 1 and lanes > 1:
            self._prefetch(e, scope, address, lanes)
        return self._read(scope, address, step, e.dtype, lanes)

    def _prefetch(self, e: Expr, scope: Scope, address: Expr, lanes: int) -> None:
        """Down the columns of a matrix: each step is on another page, which no CPU foresees."""
        if self.schedule.along_row or not self.nest.reduced:
            return
        down = self.schedule.access(e.arg, e.src).terms.get(self.nest.reduced[1])
        if down is None or down.op == "const":
            return
        build, code = self.build, scope.code
        ahead = self._ahead(scope.outermost(), down, e.dtype.bits // 8)
        pointer = build.gep(code, self.value(address, scope), e.dtype, ahead)
        for line in range(0, lanes * e.dtype.bits // 8, 64):
            build.prefetch(code, build.gep(code, pointer, BYTE, literal(line, I64)))

    def _ahead(self, entry: Scope, down: Expr, size: int) -> Value:
        """How far to prefetch, for rows that are `down` elements of this size apart.

        Not at all if they are few. Rows a multiple of the page apart share the ways of a cache set,
        of which those on the way must not take all.
        """
        key = ("ahead", down, size)
        if key not in entry.memo:
            build, code = self.build, entry.code
            near, far = (self.value(times(const(n, I64), down), entry)
                         for n in (PREFETCH // 4, PREFETCH))  # fmt: skip
            bytes_apart = self.value(times(const(size, I64), down), entry)
            within = build.binary(code, "and", bytes_apart, literal(PAGE - 1, I64))
            alike = build.compare(code, "eq", within, literal(0, I64))
            rows = self.bounds(entry, self.nest.reduced[1])[1]
            few = build.compare(code, "lt", rows, literal(2 * PREFETCH, I64))
            distance = build.select(code, alike, near, far)
            entry.memo[key] = build.select(code, few, literal(0, I64), distance)
        return entry.memo[key]

    def _read(
        self, scope: Scope, address: Expr, step: Expr | None, dtype: DType, lanes: int
    ) -> Value:
        build, code = self.build, scope.code
        pointer = self.value(address, scope)
        known = step.arg if step is not None and step.op == "const" else None
        if lanes == 1 or known == 0:
            return build.load(code, pointer, dtype, 1)
        if step is None:
            return build.load(code, build.splat(code, pointer, lanes), dtype, lanes)
        if known == 1:
            return build.load(code, pointer, dtype, lanes)
        if known == -1:
            pointer = build.gep(code, pointer, dtype, literal(1 - lanes, I64))
            forward = build.load(code, pointer, dtype, lanes)
            return build.shuffle(code, forward, list(range(lanes - 1, -1, -1)))
        if known in (2, 3, 4):
            return self._stepped(code, pointer, dtype, lanes, known)
        pointers = self.value(self._steps(address, step, dtype, lanes), scope)
        return build.load(code, pointers, dtype, lanes)

    def _stepped(self, code: Code, pointer: Value, dtype: DType, lanes: int, step: int) -> Value:
        """Every step-th element by whole vectors; the last one ends at the last element wanted."""
        build = self.build
        result = v = build.load(code, pointer, dtype, lanes)
        have = 0
        for i in range(step):
            begin = i * lanes if i < step - 1 else (lanes - 1) * step + 1 - lanes
            if i:
                p = build.gep(code, pointer, dtype, literal(begin, I64))
                v = build.load(code, p, dtype, lanes)
            ready = min(lanes, (begin + lanes - 1) // step + 1)
            order = [
                j if j < have else (lanes if i else 0) + min(j * step - begin, lanes - 1)
                if j < ready else 0
                for j in range(lanes)
            ]  # fmt: skip
            result = build.shuffle(code, result, order, v if i else None)
            have = ready
        return result

    def _load_where(self, e: Expr, scope: Scope) -> Value:
        """An element where the guard holds, else the default: nothing is read where it fails."""
        *index, guard, default = e.src
        build = self.build
        vector = scope.vector
        lanes = scope.lanes if vector in e.axes else 1
        address, step = self._address(e.arg, tuple(index), scope)
        if all(c.op in ("and", "check") for c in conjuncts(guard)) and is_true(
            self.value(guard, scope)
        ):
            return self._read(scope, address, step, e.dtype, lanes)
        if lanes == 1:
            cond, other = self.value(guard, scope), self.value(default, scope)
            p = build.select(scope.code, cond, self.value(address, scope), self.nowhere())
            return build.select(scope.code, cond, build.load(scope.code, p, e.dtype, 1), other)
        other = build.plain(scope.code, self.operand(default, scope, lanes))
        everywhere = everywhere_true(guard, vector, lanes)
        nowhere = everywhere_true(Expr("not", (guard,), None, BOOL), vector, lanes)
        if step is None or everywhere is None:
            return self._gather_where(scope, e, address, step, guard, other)
        # The usual cases cost a comparison of the vector's two ends.
        full, part, mixed, done = (build.block() for _ in range(4))
        self.value(address, scope)
        code = scope.code
        test = self.value(everywhere, scope)
        code.emit(f"br {typed(test)}, label %{full}, label %{part}")
        results = []
        code.enter(full)
        branch = Scope(scope, code, lanes)
        whole = build.splat(code, self._read(branch, address, step, e.dtype, lanes), lanes)
        results.append((whole, code.label))
        code.emit(f"br label %{done}")
        code.enter(part)
        branch = Scope(scope, code, lanes)
        if nowhere is not None:
            test = self.value(nowhere, branch)
            results.append((other, code.label))
            code.emit(f"br {typed(test)}, label %{done}, label %{mixed}")
            code.enter(mixed)
        v = self._gather_where(branch, e, address, step, guard, other)
        results.append((v, code.label))
        code.emit(f"br label %{done}")
        code.enter(done)
        return self._phi(code, results)

    def _phi(self, code: Code, results: list[tuple[Value, str]]) -> Value:
        first = results[0][0]
        if first.parts:
            parts = (self._phi(code, [(v.parts[i], label) for v, label in results]) for i in (0, 1))
            return self.build.pair(first.dtype, *parts)
        ty = register_type(first.dtype, first.lanes)
        sources = ", ".join(f"[ {v.text}, %{label} ]" for v, label in results)
        return self.build.let(code, first.dtype, first.lanes, f"phi {ty} {sources}")

    def _gather_where(
        self, scope, e: Expr, address: Expr, step, guard: Expr, other: Value
    ) -> Value:
        build, code, lanes = self.build, scope.code, other.lanes
        mask = self.operand(guard, scope, lanes)
        known = step.arg if step is not None and step.op == "const" else None
        if known == 1 and e.dtype.bits >= 32 and e.dtype.kind != "c":
            return build.masked_load(code, self.value(address, scope), e.dtype, mask, other)
        if step is not None and known != 0:
            address = self._steps(address, step, e.dtype, lanes)
        pointers = self.operand(address, scope, lanes)
        nowhere = build.splat(code, self.nowhere(), lanes)
        pointers = build.select(code, mask, pointers, nowhere)
        return build.select(code, mask, build.load(code, pointers, e.dtype, lanes), other)

    def store(self, scope: Scope, s: Store) -> None:
        axes = frozenset().union(s.value.axes, *(i.axes for i in s.index))
        windows = [a for a in sorted(axes, key=lambda a: a.serial) if a not in self.nest.axes]
        self._store_over(scope, s, windows)

    def _store_over(self, scope: Scope, s: Store, windows: list[Axis]) -> None:
        if windows:
            first, end = self.bounds(scope, windows[0])

            def body(inner: Scope, _: list[Value]) -> list[Value]:
                self._store_over(inner, s, windows[1:])
                return []

            self.loop(scope, windows[0], first, end, 1, scope.lanes, [], body)
            return
        build, lanes = self.build, scope.lanes
        value = self.operand(s.value, scope, lanes)
        address, step = self._address(s.buffer, s.index, scope)
        known = step.arg if step is not None and step.op == "const" else None
        mask = None if s.guard is None else self.operand(s.guard, scope, lanes)
        if mask is not None and is_true(mask):
            mask = None
        code = scope.code
        if lanes > 1 and known != 1:
            if step is not None:
                address = self._steps(address, step, s.buffer.dtype, lanes)
            pointer = self.operand(address, scope, lanes)
        else:
            pointer = self.value(address, scope)
        done = None
        if mask is not None and lanes == 1:
            do, done = build.block(), build.block()
            code.emit(f"br {typed(mask)}, label %{do}, label %{done}")
            code.enter(do)
            mask = None
        if s.combine is not None:
            value = self._combine(scope, s, pointer, mask, value)
        if mask is None:
            build.store(code, pointer, value)
        elif pointer.lanes == 1:
            build.masked_store(code, pointer, value, mask)
        else:
            build.scatter(code, pointer, value, mask)
        if done:
            code.emit(f"br label %{done}")
            code.enter(done)

    def _combine(self, scope: Scope, s: Store, pointer: Value, mask: Value | None, value: Value):
        code, build, lanes = scope.code, self.build, value.lanes
        safe = pointer
        if mask is not None:
            if pointer.lanes == 1:
                safe = build.gep(code, pointer, s.buffer.dtype, build.iota(I64, lanes))
            safe = build.select(code, mask, safe, build.splat(code, self.nowhere(), lanes))
        old = build.load(code, safe, s.buffer.dtype, lanes)
        formula = merge_formula(Expr("reduce", (s.value,), (s.combine, ()), s.value.dtype))
        return self.merge(code, formula, [old], [value])[0]


def _inverse(b: Expr, bits: int, t: DType) -> Expr:
    """The reciprocal of an integer, to divide those of so many bits by it, and then to truncate.

    Quotients of n-bit integers that aren't whole are at least 2**-n (relative) below the next
    integer. With a reciprocal that is too large by less than that, whole ones aren't missed either.
    """
    nonzero = where(node("eq", b, const(0, b.dtype), dtype=BOOL), const(1, b.dtype), b)
    return node("div", const(1 + 2.0 ** -(bits + 3), t), cast(nonzero, t))


def _quotient(a: Expr, b: Expr) -> Expr:
    """a // b, truncating, of up to 32 bits, for a b that many a have."""
    wide, divisor = F32 if a.dtype.bits <= 16 else F64, b
    if a.dtype.kind == "i":  # the least number divided by -1 wraps round, as when it is negated
        zero, one, ones = (const(n, b.dtype) for n in (0, 1, -1))
        turned = where(node("eq", b, ones, dtype=BOOL), ones, zero)
        divisor = where(node("eq", b, ones, dtype=BOOL), one, b)
    inverse = _inverse(divisor, a.dtype.bits, wide)
    q = cast(node("mul", cast(a, wide), inverse), a.dtype)
    return q if a.dtype.kind == "u" else node("sub", node("xor", q, turned), turned)


def _of_loop(e: Expr) -> bool:
    return e.op == "item" and e.src[0].op == "loop"


def everywhere_true(cond: Expr, vector: Axis | None, lanes: int) -> Expr | None:
    """A scalar condition that implies `cond` in every lane, or None.

    A comparison of expressions affine in the vector axis holds in all lanes if at both ends.
    """
    if vector not in cond.axes:
        return cond
    if cond.op == "and":
        a, b = (everywhere_true(c, vector, lanes) for c in cond.src)
        return None if a is None or b is None else both(a, b)
    test = cond.src[0] if cond.op == "not" else cond
    if cond.op == "not" and test.op == "and":
        a, b = (everywhere_true(Expr("not", (c,), None, BOOL), vector, lanes) for c in test.src)
        return (a or b) if a is None or b is None else Expr("or", (a, b), None, BOOL)
    if cond.op == "not" and test.op == "not":
        return everywhere_true(test.src[0], vector, lanes)
    if test.op not in ("lt", "le") or test.src[0].dtype is not I64:
        return None
    for side in test.src:
        rest = affine(side).get(None)
        if rest is not None and vector in rest.axes:
            return None
    ends = (start(vector), plus(start(vector), const(lanes - 1, I64)))
    return both(*(substitute(cond, {axis(vector): end}) for end in ends))
