"""The loops of a kernel's function, and the values that are the same in all of it.

Every loop is a `Scope` with its own code and its own memo. An expression is evaluated in the
outermost scope that has all its operands, so hoisting is no pass: what is free in the outer axes
only lands before the inner loop because its text goes to the outer scope's code.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from .ir import BOOL, I32, I64, Axis, DType, Expr, Loop, topological
from .llvm import (
    PTR,
    Builder,
    Code,
    Target,
    Value,
    literal,
    memory_dtype,
    register_type,
    type_of,
    typed,
)
from .schedule import Schedule

Fields = list[Value]  # of an accumulator


class Scope:
    """One loop: its body's code, what has been evaluated there, and its axis' value.

    A branch is a scope too, and goes on in its parent's code; so is, where `straight`, one turn of
    a loop that is written out. Lanes are values of the axis `vector`, here and in what is inside.
    A scope for one lane of those around it binds their axis again, and has a `lane`: what gives
    the lane's part of a value from outside, or None.
    """

    lane: Callable[[Any], Any] | None = None

    def __init__(
        self, parent: Scope | None, code: Code, lanes: int, straight: bool = False
    ) -> None:
        self.parent, self.code, self.lanes, self.straight = parent, code, lanes, straight
        self.depth: int = parent.depth + 1 if parent else 0
        self.vector: Axis | None = parent.vector if parent else None
        self.memo: dict = {}
        self.starts: dict[Axis, Value] = {}

    def find(self, e) -> tuple[Any, Scope] | None:
        scope: Scope | None = self
        while scope is not None:
            found = scope.memo.get(e)
            if found is not None:
                return found, scope
            if scope.lane and _mentions(e, scope.starts):
                found = scope.lane(e)
                if found is None:
                    return None
                scope.memo[e] = found
                return found, scope
            scope = scope.parent
        return None

    def found(self, e) -> tuple[Any, Scope]:
        """The value of what has been evaluated here or outside, and where."""
        found = self.find(e)
        assert found is not None, f"codegen: {e} has no value yet"
        return found

    def binder(self, a: Axis) -> Scope:
        scope: Scope | None = self
        while scope is not None:
            if a in scope.starts:
                return scope
            scope = scope.parent
        raise KeyError(f"codegen: axis {a} is used outside its loop")

    def outermost(self) -> Scope:
        scope = self
        while scope.parent:
            scope = scope.parent
        return scope

    def here(self, home: Scope) -> Scope:
        """Where what belongs to `home` goes: a branch keeps what is evaluated in it to itself."""
        if home is self or home.code is not self.code:
            return home
        return self.parent.here(home) if self.straight and self.parent else self

    def depth_of(self, e: Expr) -> int:
        return max((self.binder(a).depth for a in e.axes), default=0)


def _mentions(key: Any, axes: dict[Axis, Value]) -> bool:
    """Whether an expression, or one in a memo's key, depends on some of these axes."""
    if isinstance(key, tuple):
        return any(_mentions(k, axes) for k in key)
    return isinstance(key, Expr) and bool(key.axes & axes.keys())


def start(a: Axis) -> Expr:
    """The axis' value in lane 0."""
    return Expr("start", (), a, I64)


def flatten(values: Sequence[Value]) -> list[Value]:
    return [p for v in values for p in (v.parts or (v,))]


def unflatten(flat: Sequence[Value], like: Sequence[Value]) -> list[Value]:
    out, rest = [], iter(flat)
    for v in like:
        if v.parts:
            re, im = next(rest), next(rest)
            out.append(Value("", v.dtype, v.lanes, False, (re, im)))
        else:
            out.append(next(rest))
    return out


class Function:
    """What all functions of a kernel share; `evaluate.Evaluator` adds expressions."""

    def __init__(self, schedule: Schedule, target: Target) -> None:
        self.schedule, self.nest, self.target = schedule, schedule.nest, target
        self.build = Builder(target, self._flag)

    def entry(self) -> Scope:
        """The scope of what is the same in the whole function."""
        scope = Scope(None, Code("entry"), 1)
        scope.vector = self.schedule.vector
        return scope

    def define(self, name: str, arguments: str, body: Callable[[Scope], None]) -> str:
        """The text of a function that returns the flags."""
        entry = self.entry()
        self.locals: dict[str, str] = {}
        self.exits: dict[int, str] = {}
        body(entry)
        if "%flags" in self.locals:
            entry.code.emit("%result = load i32, ptr %flags")
        lines = ["entry:", *self.locals.values(), *entry.code.lines]
        lines.append(f"  ret i32 {'%result' if '%flags' in self.locals else 0}")
        for bit, label in self.exits.items():
            lines += [label + ":", f"  ret i32 {bit}"]
        text = "\n".join(lines)
        return f"define i32 @{name}({arguments}) nounwind {{\n{text}\n}}"

    def local(self, name: str, ty: str) -> Value:
        """A variable on the stack, zero at first."""
        self.locals[name] = f"  {name} = alloca {ty}, align 64"
        if name in ("%flags", "%nowhere"):
            self.locals[name] += f"\n  store {ty} zeroinitializer, ptr {name}"
        return Value(name, PTR)

    def variable(self, dtype: DType, lanes: int) -> Value:
        """A variable for so many elements."""
        n = 2 * lanes if dtype.kind == "c" else lanes
        return self.local(self.build.name(), f"[{n} x {register_type(memory_dtype(dtype.real))}]")

    def _flag(self, code: Code, cond: Value, bit: int) -> None:
        flags = self.local("%flags", "i32")
        some = self.build.any(code, cond)
        bits = self.build.select(code, some, literal(bit, I32), literal(0, I32))
        new = self.build.binary(code, "or", self.build.load(code, flags, I32, 1), bits)
        self.build.store(code, flags, new)

    def check(self, code: Code, cond: Value, bit: int) -> Value:
        """`cond`, which is true from here on: where it is false, the function returns the flag."""
        good = self.build.all(code, cond)
        on = self.build.block()
        failed = self.exits.setdefault(bit, f"failed{bit}")
        code.emit(f"br {typed(good)}, label %{on}, label %{failed}")
        code.enter(on)
        return literal(True, BOOL, cond.lanes)

    def nowhere(self) -> Value:
        """Where lanes that are masked off point to."""
        return self.local("%nowhere", "[16 x i8]")

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
        """for a = first; a < end; a += step. `carried` goes round through `body` and comes out.

        Vectors of bools go round as bytes: those of bits would be packed and unpacked every time.
        """
        build, code = self.build, scope.code
        head, done = build.block(), build.block()
        index, following = build.name(), build.name()
        byte = 8 if build.masks else 0
        flat = [build.as_mask(code, v, byte) if v.dtype is BOOL and v.lanes > 1 else v
                for v in flatten(carried)]  # fmt: skip
        inside = [v._replace(text=build.name(), literal=False) for v in flat]
        outside = [v._replace(text=build.name(), literal=False) for v in flat]
        inner = Scope(scope, Code(head), lanes)
        inner.starts[a] = Value(index, I64)
        results = flatten(body(inner, unflatten(inside, carried)))
        results = [build.as_mask(inner.code, r, v.mask) if r.dtype is BOOL else r
                   for r, v in zip(results, flat, strict=True)]  # fmt: skip
        nonempty = build.compare(code, "lt", first, end)
        before = code.label
        code.emit(f"br {typed(nonempty)}, label %{head}, label %{done}")
        latch = inner.code
        latch.emit(
            f"{following} = add i64 {index}, {step.text if isinstance(step, Value) else step}"
        )
        more = build.compare(latch, "lt", Value(following, I64), end)
        latch.emit(f"br {typed(more)}, label %{head}, label %{done}")
        code.enter(head)
        phis = [
            (Value(index, I64), first, Value(following, I64)),
            *zip(inside, flat, results, strict=True),
        ]
        for v, initially, later in phis:
            code.emit(f"{v.text} = phi {type_of(v)} [ {initially.text}, %{before} ], "
                      f"[ {later.text}, %{latch.label} ]")  # fmt: skip
        code.lines += latch.lines
        code.enter(done)
        for v, initially, later in zip(outside, flat, results, strict=True):
            code.emit(f"{v.text} = phi {type_of(v)} [ {initially.text}, %{before} ], "
                      f"[ {later.text}, %{latch.label} ]")  # fmt: skip
        return unflatten(outside, carried)

    def bounds(self, scope: Scope, a: Axis) -> tuple[Value, Value]:
        if a not in self.nest.axes:
            return literal(0, I64), literal(a.extent or 0, I64)
        i = self.nest.axes.index(a)
        return self.geometry(scope, 2 * i), self.geometry(scope, 2 * i + 1)

    def geometry(self, scope: Scope, slot: int) -> Value:
        return self.at_entry(scope, ("geometry", slot), f"i64, ptr %geometry, i64 {slot}", I64)

    def at_entry(self, scope: Scope, key: tuple, element: str, dtype: DType) -> Value:
        """An element of one of the kernel's argument arrays, loaded once."""
        scope = scope.outermost()
        if key not in scope.memo:
            p = self.build.let(scope.code, PTR, 1, f"getelementptr {element}")
            text = f"load {register_type(dtype)}, {typed(p)}"
            scope.memo[key] = self.build.let(scope.code, dtype, 1, text)
        return scope.memo[key]

    def aligned(self, scope: Scope, first: Value, end: Value, lanes: int) -> Value:
        """The end of the whole vectors in first..end."""
        code, build = scope.code, self.build
        if lanes == 1:
            return end
        n = build.binary(code, "sub", end, first)
        n = build.binary(code, "and", n, literal(-lanes, I64))
        return build.binary(code, "add", first, n)

    def merge(self, code: Code, formula: tuple[Expr, ...], a: Fields, b: Fields) -> Fields:
        """A monoid's merge (see `schedule.merge_formula`) on two tuples of fields."""
        holes = {e: v for e in topological(formula) if e.op == "hole" for v in ((*a, *b)[e.arg],)}
        return self.formula(code, formula, holes, a[0].lanes)

    def formula(
        self, code: Code, roots: Sequence[Expr], known: dict[Expr, Value], lanes: int
    ) -> list[Value]:
        """Values of arithmetic expressions of what is `known`, on this many lanes."""
        values: dict[Expr, Any] = dict(known)
        for e in topological(roots, known):
            if e in values:
                continue
            if e.op == "const":
                values[e] = literal(e.arg, e.dtype, lanes)
            elif e.op == "loop":
                values[e] = self.iterate(code, e.arg, [values[s] for s in e.src])
            elif e.op == "item":
                values[e] = values[e.src[0]][e.arg]
            else:
                values[e] = self.build.operation(code, e, [values[s] for s in e.src])
        return [values[e] for e in roots]

    def iterate(self, code: Code, loop: Loop, operands: Sequence[Value]) -> Fields:
        """The state in the end: a lane that is done keeps its own until the last one is."""
        build, lanes = self.build, operands[0].lanes
        n = loop.fields
        first = [build.plain(code, v) for v in flatten(operands[:n])]
        names = [v._replace(text=build.name(), literal=False) for v in first]
        state = unflatten(names, operands[:n])
        holes = {
            Expr("hole", (), i, v.dtype): v for i, v in enumerate((*state, *operands[n:]))
        }
        count, counted = (Value(build.name(), I64) for _ in range(2))
        head, body, done = build.block(), build.block(), build.block()
        before = code.label
        code.emit(f"br label %{head}")
        inner = Code(head)
        (going,) = self.formula(inner, [loop.going], holes, lanes)
        going = build.plain(inner, going)
        more = build.compare(inner, "lt", count, literal(loop.limit, I64))
        more = build.logic(inner, "and", build.any(inner, going), more)
        inner.emit(f"br {typed(build.plain(inner, more))}, label %{body}, label %{done}")
        inner.enter(body)
        following = self.formula(inner, loop.following, holes, lanes)
        kept = [build.select(inner, going, *pair) for pair in zip(following, state, strict=True)]
        later = [build.plain(inner, v) for v in flatten(kept)]
        inner.emit(f"{counted.text} = add i64 {count.text}, 1")
        inner.emit(f"br label %{head}")
        code.enter(head)
        phis = [(count, literal(0, I64), counted), *zip(names, first, later, strict=True)]
        for v, initially, then in phis:
            ty = register_type(v.dtype, v.lanes)
            code.emit(f"{v.text} = phi {ty} [ {initially.text}, %{before} ], "
                      f"[ {then.text}, %{inner.label} ]")  # fmt: skip
        code.lines += inner.lines
        code.enter(done)
        return state
