"""The tensors of an indexed formula: loads at computed coordinates, and what gradients add to."""

from __future__ import annotations

import typing

from . import monoids
from .ir import BOOL, I64, Buffer, DType, Expr, Monoid, Store, const, load, topological
from .lang import Number, Value, context, expr_of, where, within
from .simplify import cast, logical, node


def _index(at: Value | int) -> Expr:
    e = expr_of(at, I64)
    if not e.dtype.integral:
        raise TypeError(f"formula: an index is an integer, got {e.dtype}")
    return cast(e, I64)


def _unchecked(at: Expr) -> bool:
    """Whether the index is read from data, and not from behind a check of its own."""
    if at.op == "where" and at.src[0].op == "check":
        return False
    return any(e.op == "load" for e in topological([at]))


class Operand:
    """A tensor of an indexed formula: `x[i, j]` loads; an index read from data is checked.

    The buffer's rank may be left open (UNKNOWN): the first indexing settles it.
    """

    __slots__ = ("buffer", "dtype")
    UNKNOWN = -1

    def __init__(self, buffer: Buffer, dtype: DType | None = None):
        self.buffer, self.dtype = buffer, dtype or buffer.dtype.compute

    def __repr__(self) -> str:
        return self.buffer.name

    @property
    def sizes(self) -> Sizes:
        return Sizes(self)

    def _size(self, dim: int) -> Expr:
        return Expr("size", (), (self.buffer, dim), I64)

    def _indices(self, at, checked: bool = True) -> tuple[Expr, ...]:
        at = at if isinstance(at, tuple) else (at,)
        if self.buffer.rank == Operand.UNKNOWN:
            self.buffer.rank = len(at)
        if len(at) != self.buffer.rank:
            raise TypeError(
                f"formula: {self!r} has {self.buffer.rank} dims, indexed with {len(at)}"
            )
        indices = tuple(map(_index, at))
        return tuple(
            within(i, self._size(d)) if checked and _unchecked(i) else i
            for d, i in enumerate(indices)
        )

    def _load(self, indices: tuple[Expr, ...]) -> Value:
        return Value(cast(load(self.buffer, *indices), self.dtype))

    def __getitem__(self, at) -> Value:
        return self._load(self._indices(at))

    def at(self, *at: Value | int, outside: Value | Number) -> Value:
        """The element, or `outside` where an index is out of range, also one read from data."""
        indices = self._indices(at, checked=False)
        inside: Expr = const(True, BOOL)
        for d, i in enumerate(indices):
            if i.op != "axis":
                low = node("le", const(0, I64), i, dtype=BOOL)
                inside = logical("and", inside, low)
            high = node("lt", i, self._size(d), dtype=BOOL)
            inside = logical("and", inside, high)
        return where(Value(inside), self._load(indices), outside)

    def near(self, *at: Value | int) -> Value:
        """The element at the nearest place that there is; zero if there is none.

        With this and arithmetic in place of `where`, loads whose places follow from loads, many
        deep, stay as many as they are: a condition would be asked again at each level.
        """
        indices = []
        for d, i in enumerate(self._indices(at, checked=False)):
            last = node("add", self._size(d), const(-1, I64))
            near = node("max", node("min", i, last), const(0, I64))
            indices.append(i if i.op == "axis" else near)
        return self._load(tuple(indices))

    def fold(self, *at: Value | int) -> Value:
        """The position of (..., *at) in the trailing dims flattened, row-major."""
        first = self.buffer.rank - len(at)
        flat = _index(at[0])
        for d, i in enumerate(at[1:], first + 1):
            flat = node("add", node("mul", flat, self._size(d)), _index(i))
        return Value(flat)


class Sizes:
    """`x.sizes[i]`: the extent of x's dim i, an i64 value."""

    __slots__ = ("operand",)

    def __init__(self, operand: Operand):
        self.operand = operand

    def __getitem__(self, dim: int) -> Value:
        if dim < 0:
            raise TypeError(f"formula: {self.operand!r}.sizes counts dims from 0, got {dim}")
        return Value(self.operand._size(dim))


class Accumulator(Operand):
    """The gradient that an indexed formula adds to: `gx[i, j] += value`.

    It starts as zeros. `gx.flat(n, c)[p]` takes the dims after n and c as one, row-major.
    """

    __slots__ = ("leading",)

    def __init__(self, buffer: Buffer, leading: tuple[Expr, ...] = ()):
        super().__init__(buffer)
        self.leading = leading

    def flat(self, *leading: Value | int) -> Accumulator:
        return Accumulator(self.buffer, tuple(map(_index, leading)))

    def __getitem__(self, at) -> _Slot:  # type: ignore[override]
        at = at if isinstance(at, tuple) else (at,)
        if self.leading:
            return self._flat_slot(_index(at[0]))
        indices = tuple(map(_index, at))
        return self._slot(indices)

    def _slot(self, indices: tuple[Expr, ...]) -> _Slot:
        if len(indices) != self.buffer.rank:
            raise TypeError(
                f"formula: {self!r} has {self.buffer.rank} dims, indexed with {len(indices)}"
            )
        guard: Expr = const(True, BOOL)
        for d, i in enumerate(indices):
            if _unchecked(i):
                guard = logical("and", guard, _checked(i, self._size(d)))
        return _Slot(self.buffer, indices, guard)

    def _flat_slot(self, at: Expr) -> _Slot:
        trailing = [self._size(d) for d in range(len(self.leading), self.buffer.rank)]
        total = const(1, I64)
        for size in trailing:
            total = node("mul", total, size)
        guard = _checked(at, total) if _unchecked(at) else const(True, BOOL)
        split: list[Expr] = []
        for size in reversed(trailing[1:]):
            split.append(node("irem", at, size))
            at = node("idiv", at, size)
        return _Slot(self.buffer, (*self.leading, at, *reversed(split)), guard)

    def __setitem__(self, at, value) -> None:
        if not isinstance(value, _Slot):
            raise TypeError(f"formula: {self!r} is added to: {self!r}[...] += value")


def _checked(at: Expr, size: Expr) -> Expr:
    low = node("le", const(0, I64), at, dtype=BOOL)
    inside = logical("and", low, node("lt", at, size, dtype=BOOL))
    return node("check", inside, arg=2)


class _Slot(typing.NamedTuple):
    """One place of an accumulator, between `[...]` and `+=`."""

    buffer: Buffer
    indices: tuple[Expr, ...]
    guard: Expr

    def __iadd__(self, value: Value | Number) -> _Slot:  # type: ignore[override, misc]
        self._combine(value, monoids.SUM)
        return self

    def raise_to(self, value: Value | Number) -> None:
        """The larger of what is there (zero at first) and `value`."""
        self._combine(value, monoids.MAX)

    def _combine(self, value: Value | Number, monoid: Monoid) -> None:
        t = self.buffer.dtype
        guard = None if self.guard.op == "const" else self.guard
        context().stores.append(
            Store(self.buffer, self.indices, cast(expr_of(value, t), t), monoid, guard)
        )
