"""The intermediate representation: expressions over named axes, and stores.

An `Expr` is an immutable, interned node: two structurally equal expressions are the same
object, so `is` compares them and a dict keyed by them shares common subexpressions. Loops are
not stored anywhere. Every node knows its *free axes*, and hoisting, the number of passes over a
row, loop grouping and accumulators all follow from those.

    Load(x, (k, r))                      an element of buffer x
    reduce("sum", (r,), body)            binds r: the result is free in k only
    Store(y, (k, r), value)              y[k, r] = value, for every value of the free axes
    Nest(axes, stores)                   a kernel: the stores, in order

Reading order of the package: ir, lang (what formulas call), trace (formula -> nest), derive,
lower (elementary functions), schedule, llvm, engine, show.
"""

from __future__ import annotations

import itertools
import os
import threading
import typing
import weakref
from collections.abc import Callable, Container, Iterable, Mapping
from typing import Any, ClassVar

# No dataclasses here: their module costs more to import than this package may.


class DType(typing.NamedTuple):
    """An element type. `kind` is one of b(ool) u(nsigned) i(nteger) f(loat) c(omplex)."""

    name: str
    kind: str
    bits: int

    def __repr__(self) -> str:
        return self.name

    @property
    def floating(self) -> bool:
        return self.kind == "f"

    @property
    def integral(self) -> bool:
        return self.kind in "biu"

    @property
    def compute(self) -> DType:
        """The type that arithmetic on this one is done in: floats under 32 bits compute in f32."""
        if self.kind == "c":
            return C64 if self is C32 else self
        return F32 if self.kind == "f" and self.bits < 32 else self

    @property
    def real(self) -> DType:
        """The type of a complex number's parts; any other type itself."""
        return {"c32": F16, "c64": F32, "c128": F64}.get(self.name, self)


BOOL = DType("bool", "b", 8)
U8, U16, U32, U64 = (DType(f"u{n}", "u", n) for n in (8, 16, 32, 64))
I8, I16, I32, I64 = (DType(f"i{n}", "i", n) for n in (8, 16, 32, 64))
F16, BF16 = DType("f16", "f", 16), DType("bf16", "f", 16)
F32, F64 = DType("f32", "f", 32), DType("f64", "f", 64)
C32, C64, C128 = (DType(f"c{n}", "c", n) for n in (32, 64, 128))
# For storage: they are moved, compared and converted (see `narrow`), and there is no arithmetic.
FLOAT8 = tuple(
    DType(f"f8{name}", "f", 8) for name in ("e4m3fn", "e5m2", "e4m3fnuz", "e5m2fnuz", "e8m0fnu")
)
DTYPES = {
    t.name: t
    for t in (
        BOOL, U8, U16, U32, U64, I8, I16, I32, I64, F16, BF16, F32, F64, C64, C128, *FLOAT8, C32,
    )
}  # fmt: skip


class Axis:
    """A named index that runs over `range(extent)`; `extent` None is known at run time only.

    Axes compare by identity, so that two axes of equal extent are never confused.
    Roles: "p" a point of the output, "k" a row's index (kept), "r" inside the row (reduced),
    "w" a window. `origin` is the axis that a renamed one (see `substitute`) runs along; its own
    otherwise, so `a.origin` always is an axis of the nest or one of known extent.
    """

    __slots__ = ("extent", "name", "origin", "role", "serial")
    _serials = itertools.count()

    def __init__(
        self,
        name: str,
        role: str = "p",
        extent: int | None = None,
        origin: Axis | None = None,
    ):
        self.name, self.role, self.extent = name, role, extent
        self.origin: Axis = origin or self
        self.serial = next(Axis._serials)

    def __repr__(self) -> str:
        return self.name


class Buffer:
    """An operand in memory: element type and rank. Sizes and strides are known at run time.

    In pointwise and row nests every operand has one dim per axis of the nest: index d goes with
    stride d of the geometry, and is the constant 0 where the operand doesn't have the axis (a cell
    is `c[k1, k0, 0, 0]`, so it is free in the kept axes only). In indexed nests the rank is the
    tensor's own.

    `index` is its position in the kernel's operand list (outputs first); a scratch buffer has
    none. `role` is how a row formula sees it: "row", "cell" or "shared"; None elsewhere.
    """

    __slots__ = ("dtype", "index", "name", "rank", "role")

    def __init__(
        self, name: str, dtype: DType, rank: int, index: int | None = None, role: str | None = None
    ):
        self.name, self.dtype, self.rank, self.index, self.role = name, dtype, rank, index, role

    def __repr__(self) -> str:
        return self.name


class Param(typing.NamedTuple):
    """A run-time scalar: 8 bytes at `slot` of the kernel's scalars (complex: two slots)."""

    name: str
    dtype: DType
    slot: int


class Monoid:
    """A reduction, as formulas: `init(dtypes)` and `merge(a, b)` on tuples of field values.

    `merge` is associative, and takes the earlier elements on the left, so that the same formula
    serves the vector step, the horizontal fold, the merge of blocks and a GPU's shuffle.
    """

    __slots__ = ("fields", "init", "merge", "name")

    def __init__(
        self,
        name: str,
        init: Callable[[tuple[DType, ...]], tuple[Any, ...]],
        merge: Callable[[tuple[Expr, ...], tuple[Expr, ...]], tuple[Expr, ...]],
        fields: int = 1,
    ):
        self.name, self.init, self.merge, self.fields = name, init, merge, fields

    def __repr__(self) -> str:
        return self.name


class Loop(typing.NamedTuple):
    """A recurrence inside an element: state = following(state), while `going`.

    At most `limit` times. The formulas are closed: their only leaves are constants and "hole"s,
    which stand for the node's operands by position: the state first, then what stays the same
    throughout. So nothing is bound by the node, and what rewrites expressions need not know of it,
    but for `map`.
    """

    limit: int
    going: Expr
    following: tuple[Expr, ...]  # the next state, field by field

    @property
    def fields(self) -> int:
        return len(self.following)

    def map(self, rewrite: Callable[[Expr], Expr]) -> Loop:
        return Loop(self.limit, rewrite(self.going), tuple(map(rewrite, self.following)))


class Expr:
    """One node: `op`, its operands `src`, what else defines it `arg`, and its `dtype`.

    op        src              arg
    const                      the Python value
    param                      Param
    axis                       Axis (dtype i64)
    size                       (Buffer, dim) of an indexed nest, or an Axis of the nest: its
                               whole extent, i64, whatever part of it this call runs over
    load      the indices      Buffer; in a branch of a `where`, only done where it is taken
    cast                       (dtype tells)       value conversion, as C's
    bitcast                                        the same bits
    where     cond, a, b
    reduce    one per field    (Monoid, axes)      binds the axes; several fields: see `item`
    scan      one per field    (Monoid, axis)      running reduction; the axis stays free
    loop      state, *others   Loop                what becomes of the state; see `item`
    hole                       position            an operand of the loop whose formula it is in
    item      the node         the field's index   of a reduce, scan or loop
    stop      x                                    x, with derivative zero (`lang.constant`)
    custom    x, *inputs       an op, attributes   x, that op's result, with its own derivative
                               (`trace` drops it; the back ends never see it)
    pick      row, index       axis                the row's element at a computed position
                               (`trace` turns it into a load; the back ends never see it)
    check     cond             flag                cond itself; where false, the kernel returns flag
    others: arithmetic and elementary functions, listed in `lang` and `lower`.
    """

    __slots__ = ("__weakref__", "arg", "axes", "dtype", "op", "src")
    _interned: ClassVar[weakref.WeakValueDictionary[tuple, Expr]] = weakref.WeakValueDictionary()

    op: str
    src: tuple[Expr, ...]
    arg: Any
    dtype: DType
    axes: frozenset[Axis]

    def __new__(cls, op: str, src: tuple[Expr, ...], arg: Any, dtype: DType) -> Expr:
        # 0.0 == -0.0 and 1 == 1.0 == True, but they are different constants; nan is not itself.
        tag = (type(arg).__name__, repr(arg)) if op == "const" else arg
        key = (op, tuple(map(id, src)), tag, dtype.name)
        found = cls._interned.get(key)
        if found is not None:
            return found
        self = object.__new__(cls)
        self.op, self.src, self.arg, self.dtype = op, src, arg, dtype
        self.axes = _free_axes(op, src, arg)
        with _interning:  # another thread may have been quicker
            return cls._interned.setdefault(key, self)

    def __reduce__(self):
        return (Expr, (self.op, self.src, self.arg, self.dtype))

    def __repr__(self) -> str:
        return self._text(6)

    def _text(self, depth: int) -> str:
        """The expression down to some depth: written out, a graph can be exponentially long."""
        if self.op == "const":
            return repr(self.arg)
        if self.op in ("param", "axis"):
            return self.arg.name
        args = ", ".join(s._text(depth - 1) for s in self.src) if depth else "..."
        if self.op in ("load", "pick"):
            return f"{self.arg}[{args}]" if self.op == "load" else f"pick({args})"
        if self.op in ("reduce", "scan"):
            monoid, axes = self.arg
            names = axes if isinstance(axes, Axis) else ",".join(a.name for a in axes)
            return f"{self.op}.{monoid.name}[{names}]({args})"
        if self.op in ("cast", "bitcast"):
            return f"{self.op}.{self.dtype}({args})"
        if self.op == "loop":
            return f"loop({args})"
        return f"{self.op}({args})" if self.arg is None else f"{self.op}.{self.arg}({args})"


_interning = threading.Lock()
# A thread that interned during a fork isn't in the child, to let go; the table itself is whole.
os.register_at_fork(after_in_child=_interning._at_fork_reinit)  # type: ignore[attr-defined]


def _free_axes(op: str, src: tuple[Expr, ...], arg: Any) -> frozenset[Axis]:
    if op == "axis":
        return frozenset((arg,))
    free = frozenset().union(*(s.axes for s in src)) if src else frozenset()
    if op == "reduce":
        return free - set(arg[1])
    if op == "scan":
        return free | {arg[1]}
    if op == "pick":  # binds its axis in the row, not in the index
        return (src[0].axes - {arg}) | src[1].axes
    return free


class Store(typing.NamedTuple):
    """`buffer[index] = value`, or combined with what is there by the monoid `combine`.

    For every value of the axes free in it: axes of the nest, and windows (of known extent).
    `guard` None is always; otherwise only where it holds.
    """

    buffer: Buffer
    index: tuple[Expr, ...]  # type: ignore[assignment]
    value: Expr
    combine: Monoid | None = None
    guard: Expr | None = None


class Nest:
    """What one kernel computes. `axes` are its outer axes in the order of the geometry.

    `reduced` are, of a row nest, (r1, r0).
    """

    __slots__ = ("axes", "inputs", "name", "outputs", "params", "reduced", "stores")

    def __init__(
        self,
        name: str,
        axes: tuple[Axis, ...],
        stores: list[Store],
        outputs: tuple[Buffer, ...],
        inputs: tuple[Buffer, ...],
        params: tuple[Param, ...] = (),
        reduced: tuple[Axis, ...] = (),
    ):
        self.name, self.axes, self.stores = name, axes, stores
        self.outputs, self.inputs, self.params, self.reduced = outputs, inputs, params, reduced

    def __repr__(self) -> str:
        lines = (
            f"  {s.buffer}[{', '.join(map(repr, s.index))}] "
            f"{f'{s.combine}=' if s.combine else '='} {s.value!r}"
            + (f" if {s.guard!r}" if s.guard is not None else "")
            for s in self.stores
        )
        return "\n".join([f"{self.name} over ({', '.join(map(repr, self.axes))}):", *lines])

    @property
    def operands(self) -> tuple[Buffer, ...]:
        return self.outputs + self.inputs


def const(value: Any, dtype: DType) -> Expr:
    kind = {"f": float, "c": complex, "b": bool}.get(dtype.kind, int)
    return Expr("const", (), kind(value), dtype)


def axis(a: Axis) -> Expr:
    return Expr("axis", (), a, I64)


def load(buffer: Buffer, *index: Expr) -> Expr:
    assert len(index) == buffer.rank, (buffer, index)
    return Expr("load", index, buffer, buffer.dtype)


def reduce(monoid: Monoid, axes: Iterable[Axis], *fields: Expr) -> Expr:
    return Expr("reduce", fields, (monoid, tuple(axes)), fields[0].dtype)


def scan(monoid: Monoid, a: Axis, *fields: Expr) -> Expr:
    return Expr("scan", fields, (monoid, a), fields[0].dtype)


def item(e: Expr, i: int) -> Expr:
    """Field `i` of a reduction or scan of several fields, or of a loop's state."""
    return Expr("item", (e,), i, e.src[i].dtype)


def topological(roots: Iterable[Expr], known: Container[Expr] = ()) -> list[Expr]:
    """Every node reachable from `roots`, operands first; nothing below what is `known`.

    Iterative: formulas may be deep.
    """
    order: list[Expr] = []
    seen: set[Expr] = set()
    stack = [(r, False) for r in reversed(list(roots))]
    while stack:
        e, done = stack.pop()
        if done:
            order.append(e)
        elif e not in seen:
            seen.add(e)
            stack.append((e, True))
            if e not in known:
                stack.extend((s, False) for s in reversed(e.src) if s not in seen)
    return order


def rebuild(e: Expr, src: tuple[Expr, ...]) -> Expr:
    """`e` with other operands."""
    return e if e.src == src else Expr(e.op, src, e.arg, e.dtype)


def transform(
    roots: Iterable[Expr],
    rule: Callable[[Expr], Expr | None],
    known: Mapping[Expr, Expr] | None = None,
) -> list[Expr]:
    """Replaces nodes, bottom-up, by what `rule` makes of them (None: as it is).

    What is in `known` is replaced whole, without a look at its operands. For rewriting a node to an
    equal one, free in the same axes, which is as right under a binder as outside of it. To replace
    an axis, or anything by something else, is `substitute`'s work.
    """
    roots = list(roots)
    done: dict[Expr, Expr] = {}

    def within(formula: Expr) -> Expr:
        return transform([formula], rule)[0]

    for e in topological(roots):
        found = known.get(e) if known else None
        if found is None:
            new = rebuild(e, tuple(done[s] for s in e.src))
            if new.op == "loop":
                new = Expr("loop", new.src, new.arg.map(within), new.dtype)
            found = rule(new) or new
        done[e] = found
    return [done[r] for r in roots]


def substitute(root: Expr, mapping: dict[Expr, Expr]) -> Expr:
    """Replaces expressions (axes among them) everywhere they are free: the one substitution.

    Under a binder of an axis that the replacement would capture, the bound axis is renamed
    first. Nothing else in this package walks under a binder.
    """
    memo: dict[tuple[Expr, frozenset], Expr] = {}

    def walk(e: Expr, live: dict[Expr, Expr]) -> Expr:
        if e in live:
            return live[e]
        key = (e, frozenset(live.items()))
        if key in memo:
            return memo[key]
        bound: tuple[Axis, ...] = ()
        if e.op == "reduce":
            bound = e.arg[1]
        elif e.op == "pick":
            bound = (e.arg,)
        if not bound:
            arg = e.arg
            if e.op == "scan" and axis(arg[1]) in live:
                target = live[axis(arg[1])]
                assert target.op == "axis", "a scan runs along an axis; it can't be re-indexed"
                arg = (arg[0], target.arg)
            src = tuple(walk(s, live) for s in e.src)
            out = e if arg is e.arg and src == e.src else Expr(e.op, src, arg, e.dtype)
        else:
            inner = {k: v for k, v in live.items() if k.op != "axis" or k.arg not in bound}
            # An expression that mentions the bound axis is another value under the binder.
            inner = {k: v for k, v in inner.items() if not (k.axes & set(bound))}
            captured = set().union(*(v.axes for v in inner.values())) if inner else set()
            clash = [b for b in bound if b in captured]
            fresh = {b: Axis(b.name + "'", b.role, b.extent, b.origin) for b in clash}
            for b, f in fresh.items():
                inner[axis(b)] = axis(f)
            names = tuple(fresh.get(b, b) for b in bound)
            if e.op == "reduce":
                src = tuple(walk(s, inner) for s in e.src) if inner else e.src
                out = Expr(e.op, src, (e.arg[0], names), e.dtype)
            else:
                src = (walk(e.src[0], inner), walk(e.src[1], live))
                out = Expr(e.op, src, names[0], e.dtype)
        memo[key] = out
        return out

    return walk(root, dict(mapping))
