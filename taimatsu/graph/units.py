"""Calls of a segment, and the units that they are gathered in.

A tensor's *access* tells which element goes with which point: the strides along the unit's dims.
Two calls exchange values through a unit only where their accesses are the same.
"""

from __future__ import annotations

import typing
from collections.abc import Sequence
from typing import Any

from taimatsu import _core
from taimatsu.codegen.ir import Expr, Nest, axis, topological

MEMBERS = 48  # calls in a unit
# Of a kernel; fewer rows than this, of that length, are reduced in blocks.
OPERANDS, SCALARS, FEW_ROWS, LONG_ROW = _core._kernel_limits

Slot = int
Access = tuple[int, tuple[int, ...]]  # offset, stride along each dim of the unit (0: the same)


class NotFusible(Exception):
    """These calls have to be made one by one."""


class Tensor(typing.NamedTuple):
    """A tensor that a call mentions: a storage, by number, and how it is laid out there."""

    slot: Slot
    dtype: str
    sizes: tuple[int, ...]
    strides: tuple[int, ...]
    offset: int
    device: str

    def access(self, dims: Sequence[int], extents: Sequence[int]) -> Access:
        """Its last dim goes with the last of `dims`, those of the unit, and so on."""
        strides = [0] * len(extents)
        n = len(self.sizes)
        if n > len(dims):
            raise NotFusible
        for d, size, stride in zip(dims[len(dims) - n :], self.sizes, self.strides, strict=True):
            if size != 1:
                strides[d] = stride
        return self.offset, tuple(strides)


class Call(typing.NamedTuple):
    """A recorded call: tensors (outputs first), and for a row op the rows."""

    kind: str  # "pointwise", "row", "product" (of matrices, by a library) or "other"
    variant: Any
    tensors: list[Tensor]
    n_outs: int
    writes: frozenset[Slot]
    rows: tuple[tuple[int, ...], tuple[bool, ...]] | None
    first: int  # of its tensors among those of all calls

    @property
    def reads(self) -> frozenset[Slot]:
        return frozenset(t.slot for t in self.tensors[self.n_outs :])

    @property
    def device(self) -> str | None:
        """Where all of its tensors are."""
        found = {t.device for t in self.tensors}
        return found.pop() if len(found) == 1 else None

    @property
    def is_formula(self) -> bool:
        return self.kind in ("pointwise", "row")

    @property
    def sizes(self) -> tuple[int, ...]:
        return self.rows[0] if self.rows else self.tensors[0].sizes

    @property
    def nest(self) -> Nest:
        return getattr(self.variant, "variant", self.variant).nest

    @property
    def single(self) -> bool:
        """Whether its rows run along the last reduced axis only."""
        line = axis(self.nest.reduced[0])
        stored = (i for s in self.nest.stores for i in s.index)
        return line not in {*stored, *(i for e in loads(self.nest) for i in e.src)}

    def roles(self) -> list[str | None]:
        return [b.role for b in self.nest.operands]


def loads(nest: Nest) -> list[Expr]:
    return [e for e in topological(s.value for s in nest.stores) if e.op == "load"]


class Unit:
    """Calls that one kernel makes. `rows` tells which dims of `sizes` are reduced, if any are."""

    def __init__(self, number: int, call: Call) -> None:
        self.members = [number]
        self.reads: set[Slot] = set()
        self.writes: set[Slot] = set()
        self.external: dict[Slot, Access] = {}  # read from memory
        self.defined: dict[Slot, Access] = {}  # written, so that later members take it from here
        self.levels: dict[int, str] = {}  # members that run over the cells of the rows, or all
        self.device = call.device
        self.open = call.is_formula and self.device is not None and not call.variant.fails
        self.closed_rows = False  # only cells may join
        self.mentions(call)
        if not self.open:
            return
        self.sizes, self.rows = call.sizes, call.rows[1] if call.rows else None
        if call.rows:
            self.open = "shared" not in call.roles()[: call.n_outs]
        self.take(number, call, "full")

    def mentions(self, call: Call) -> None:
        self.writes |= call.writes
        self.reads |= call.reads

    def conflicts(self, other: Call | Unit) -> bool:
        """Whether the order of the two matters."""
        return bool(other.writes & (self.reads | self.writes) or other.reads & self.writes)

    # Joining

    def kept(self) -> list[int]:
        return [d for d in range(len(self.sizes)) if not (self.rows and self.rows[d])]

    def dims(self, t: Tensor, level: str, role: str | None) -> list[int]:
        """The dims of the unit that the tensor's last dims go with."""
        every = list(range(len(self.sizes)))
        if role == "shared":
            return [d for d in every if self.rows and self.rows[d]]
        if (role == "cell" and len(t.sizes) != len(every)) or level == "kept":
            return self.kept()
        return every

    def accesses(self, call: Call, level: str) -> list[Access]:
        roles = call.roles() if call.rows else [None] * len(call.tensors)
        return [
            t.access(self.dims(t, level, role), self.sizes)
            for t, role in zip(call.tensors, roles, strict=True)
        ]

    def level_of(self, call: Call) -> str | None:
        """Over what of this unit the call runs: "full", "cells" (of one size along the row) or
        "kept" (without the row's dims); None if over nothing of it."""
        if call.rows:
            same = self.rows is None or self.rows == call.rows[1]
            return "full" if same and call.sizes == self.sizes else None
        if call.sizes == self.sizes:
            return None if self.closed_rows else "full"
        if self.rows is None:
            return None
        if call.sizes == tuple(1 if r else n for n, r in zip(self.sizes, self.rows, strict=True)):
            return "cells"
        return "kept" if call.sizes == tuple(self.sizes[d] for d in self.kept()) else None

    def might_take(self, call: Call) -> bool:
        if not self.open or len(self.members) >= MEMBERS:
            return False
        if not call.is_formula or call.variant.fails or call.device != self.device:
            return False
        slots = call.reads | call.writes
        return not (slots.isdisjoint(self.reads) and slots.isdisjoint(self.writes))

    def joins(self, call: Call, needed: typing.Callable[[Slot, Unit], bool]) -> str | None:
        """The level at which a call that it might take can join, or None."""
        level = self.level_of(call)
        slots = call.reads | call.writes | self.reads | self.writes
        if level is None or len(slots) > OPERANDS + len(self.defined):
            return None
        try:
            accesses = self.accesses(call, level)
        except NotFusible:
            return None
        if level == "kept" and not any(
            self.defined.get(t.slot) == a
            for t, a in zip(call.tensors[call.n_outs :], accesses[call.n_outs :], strict=True)
        ):
            return None
        for t, a in zip(call.tensors[call.n_outs :], accesses[call.n_outs :], strict=True):
            if self.defined.get(t.slot, a) != a:
                return None
        if call.rows and not self._takes_rows(call, accesses, needed):
            return None
        # Lanes go along the axis with most contiguous accesses, and the order of a sum with them:
        # it must be the one that the row op alone would have.
        if self.rows and _fastest(accesses, self.rows) not in (self.fastest, None):
            return None
        in_rows = bool(self.rows or call.rows)
        for t, a in zip(call.tensors[: call.n_outs], accesses, strict=False):
            if self.defined.get(t.slot, a) != a:
                return None
            read = self.external.get(t.slot)
            if read is not None and (in_rows or read != a):
                return None
        return level

    def _takes_rows(
        self, call: Call, accesses: list[Access], needed: typing.Callable[[Slot, Unit], bool]
    ) -> bool:
        if "shared" in call.roles()[: call.n_outs]:
            return False
        if self.rows is not None:
            return self.single == call.single and not self.closed_rows
        inplace = self.defined.keys() & self.external.keys()
        assert call.rows is not None
        line = _fastest(accesses, call.rows[1])
        theirs = [*self.external.values(), *self.defined.values()]
        if any(_fastest([a], call.rows[1]) not in (line, None) for a in theirs):
            return False
        return not inplace and not (
            _few_long_rows(call) and any(needed(s, self) for s in self.defined)
        )

    def take(self, number: int, call: Call, level: str) -> None:
        if call.rows:
            self.rows, self.single = call.rows[1], call.single
            self.closed_rows = _few_long_rows(call)
        accesses = self.accesses(call, level)
        if call.rows:
            self.fastest = _fastest(accesses, call.rows[1])
        for t, a in zip(call.tensors[call.n_outs :], accesses[call.n_outs :], strict=True):
            if t.slot not in self.defined and self.external.setdefault(t.slot, a) != a:
                self.external[t.slot] = (-1, ())  # in several ways: equal to no other
        for t, a in zip(call.tensors[: call.n_outs], accesses, strict=False):
            self.defined[t.slot] = a
        self.levels[number] = level

    def join(self, number: int, call: Call, level: str) -> None:
        self.members.append(number)
        self.mentions(call)
        self.take(number, call, level)


def _fastest(accesses: Sequence[Access], rows: Sequence[bool]) -> int | None:
    """The dim along which tensors that vary along the rows are contiguous; -1 if they disagree."""
    dims = {
        strides.index(1) if 1 in strides else -1
        for _, strides in accesses
        if any(s for s, r in zip(strides, rows, strict=False) if r)
    }
    return None if not dims else dims.pop() if len(dims) == 1 else -1


def _few_long_rows(call: Call) -> bool:
    assert call.rows is not None
    length = count = 1
    for size, in_row in zip(*call.rows, strict=True):
        length, count = (length * size, count) if in_row else (length, count * size)
    return count < FEW_ROWS and length >= LONG_ROW
