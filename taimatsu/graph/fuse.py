"""Which calls of a segment go into one kernel, and that kernel's nest.

The core records the calls of a compiled function, and asks `plan` what to do with a list of them
that has come again. Calls of formulas are gathered into *units*: a call joins an earlier unit if
both run over the same points, or rows, and if what is between them commutes with the one or with
the other. A unit's nest is the nests of its calls, with what one call stores in place of what
another loads. The elements of intermediate results are computed as eager kernels compute them,
rounding included; what nobody else looks at is never stored.

A tensor's *access* tells which element goes with which point: the strides along the unit's dims.
Two calls exchange values through a unit only where their accesses are the same.
"""

from __future__ import annotations

import typing
from collections.abc import Sequence
from typing import Any

from taimatsu import _core
from taimatsu.codegen.ir import (
    DTYPES,
    Axis,
    Buffer,
    Expr,
    Nest,
    Param,
    Store,
    axis,
    load,
    topological,
    transform,
)
from taimatsu.codegen.trace import Variant, place

WINDOW = 24  # how many units back a call may join
MEMBERS = 48  # calls in a unit
# Of a kernel; fewer rows than this, of that length, are reduced in blocks.
OPERANDS, SCALARS, FEW_ROWS, LONG_ROW = _core._kernel_limits
ROLES = {None: 0, "row": 1, "cell": 2, "shared": 3}  # csrc/ops/schema.h

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

    kind: str  # "pointwise", "row" or "other"
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
        return line not in {*stored, *(i for e in _loads(self.nest) for i in e.src)}

    def roles(self) -> list[str | None]:
        return [b.role for b in self.nest.operands]


def _loads(nest: Nest) -> list[Expr]:
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
        self.open = call.kind != "other" and not call.variant.fails
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
        if call.kind == "other" or call.variant.fails:
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


# ---- The nest of a unit --------------------------------------------------------------------------
class Builder:
    """Puts the nests of a unit's calls together."""

    def __init__(self, unit: Unit, calls: list[Call], needed: set[Slot]) -> None:
        self.unit, self.calls, self.needed = unit, calls, needed
        self.axes: tuple[Axis, ...] = (Axis("a1"), Axis("a0"))
        if unit.rows is not None:
            self.axes = (Axis("k1", "k"), Axis("k0", "k"), Axis("r1", "r"), Axis("r0", "r"))
        self.single = unit.rows is not None and unit.single
        self.values: dict[Slot, tuple[Expr, str | None, int]] = {}  # value, role, mention
        self.inputs: dict[tuple, tuple[Buffer, int, int]] = {}  # buffer, mention, C++ role
        self.params: list[Param] = []
        self.scalars: list[str] = []
        self.words = 0

    def build(self) -> tuple:
        for number in self.unit.members:
            self.add(self.calls[number], self.unit.levels[number])
        stored = [(s, *v) for s, v in self.values.items() if s in self.needed]
        read = {e.arg for e in topological(v for _, v, *_ in stored) if e.op == "load"}
        self.inputs = {key: x for key, x in self.inputs.items() if x[0] in read}
        # What is written in place comes last: its old elements are read before.
        stored.sort(key=lambda v: v[0] in self.unit.external)
        if len(stored) + len(self.inputs) > OPERANDS or self.words > SCALARS or not stored:
            raise NotFusible
        stores, mentions, roles, outputs = [], [], [], []
        for i, (_, value, role, mention) in enumerate(stored):
            buffer = Buffer(f"y{i}", value.dtype, len(self.axes), i, role)
            if role == "cell" and any(a.role == "r" for a in value.axes):
                raise NotFusible
            stores.append(Store(buffer, place(role, self.axes, self.single), value))
            outputs.append(buffer)
            mentions.append(mention)
            roles.append(ROLES[role])
        self._check_order(stored)
        for i, (buffer, mention, number) in enumerate(self.inputs.values()):
            buffer.index = len(stored) + i
            mentions.append(mention)
            roles.append(number)
        nest = Nest(
            "fused", self.axes, stores, tuple(outputs), tuple(b for b, *_ in self.inputs.values()),
            tuple(self.params), self.axes[2:] if self.unit.rows else (),
        )  # fmt: skip
        variant = Variant(
            nest,
            tuple((b.dtype.name, b.role or "point") for b in outputs),
            outputs[0].dtype.compute.name,
            tuple(self.scalars),
        )
        rows = next((m for m in self.unit.members if self.calls[m].rows), -1)
        return (variant, rows, self.unit.members[0], mentions, roles, len(stored),
                [m for m in self.unit.members if self.calls[m].variant.scalars])  # fmt: skip

    def _check_order(self, stored: list) -> None:
        """No store may read what one before it wrote."""
        written: set[Slot] = set()
        slot_of = {b: key[0] for key, (b, *_) in self.inputs.items()}
        for slot, value, *_ in stored:
            for e in topological([value]):
                if e.op == "load" and slot_of[e.arg] in written:
                    raise NotFusible
            written.add(slot)

    def add(self, call: Call, level: str) -> None:
        nest, unit = call.nest, self.unit
        accesses = unit.accesses(call, level)
        loads: dict[Buffer, Expr] = {}
        for b, t, a, i in zip(nest.operands, call.tensors, accesses, range(99), strict=False):
            if i >= call.n_outs:
                loads[b] = self.operand(call, level, b, t, a, call.first + i)
        axes = dict(zip(nest.axes, self.axes, strict=False)) if call.rows else {}
        shift, params = self.words, {}
        for p in nest.params:
            params[p] = Param(f"{p.name}_{len(self.params)}", p.dtype, p.slot + shift)
            self.params.append(params[p])
        self.scalars += call.variant.scalars
        self.words += sum(2 if kind == "c" else 1 for kind in call.variant.scalars)
        plain = {
            b: place(b.role if call.rows else None, nest.axes, self.single) for b in nest.operands
        }

        def rewrite(e: Expr) -> Expr | None:
            if e.op == "param":
                return Expr("param", (), params[e.arg], e.dtype)
            if e.op == "axis":
                if e.arg in nest.axes:
                    return axis(axes[e.arg]) if call.rows else e
                return None
            if e.op == "size" and isinstance(e.arg, Axis):
                if e.arg not in axes:
                    raise NotFusible
                return Expr("size", (), axes[e.arg], e.dtype)
            if e.op == "reduce":
                bound = tuple(axes.get(a, a) for a in e.arg[1])
                return Expr("reduce", e.src, (e.arg[0], bound), e.dtype)
            if e.op == "scan":
                return Expr("scan", e.src, (e.arg[0], axes.get(e.arg[1], e.arg[1])), e.dtype)
            if e.op in ("load", "bitload") and e.arg in loads:
                return loads[e.arg]
            return None

        for e in _loads(nest):
            if e.arg not in plain or e.src != plain[e.arg]:
                raise NotFusible  # at a computed position
        if any(s.combine or s.guard is not None for s in nest.stores):
            raise NotFusible
        values = transform([s.value for s in nest.stores], rewrite)
        for i, (s, value) in enumerate(zip(nest.stores, values, strict=True)):
            role = s.buffer.role if call.rows else self.role(level)
            self.values[call.tensors[i].slot] = (value, role, call.first + i)

    def role(self, level: str) -> str | None:
        if self.unit.rows is None:
            return None
        return "row" if level == "full" else "cell"

    def operand(self, call: Call, level: str, b: Buffer, t: Tensor, a: Access, mention: int):
        """The value of an operand: what a member computed, or a load."""
        if t.slot in self.values:
            value = self.values[t.slot][0]
            if value.dtype is not b.dtype:
                raise NotFusible
            return value
        rows = self.unit.rows
        role = b.role if call.rows else self.role(level)
        if rows and role == "row" and not any(s for s, r in zip(a[1], rows, strict=True) if r):
            place_as: str | None = "cell"  # the same all along the row
        else:
            place_as = role
        inside = ROLES[role]
        if level == "cells" and len(t.sizes) not in (0, len(self.unit.sizes)):
            inside = ROLES["row"]
        key = (t.slot, a, t.dtype, place_as)
        if key not in self.inputs:
            buffer = Buffer(f"x{len(self.inputs)}", DTYPES[t.dtype], len(self.axes), None, place_as)
            self.inputs[key] = (buffer, mention, inside)
        buffer = self.inputs[key][0]
        return load(buffer, *place(place_as, self.axes, self.single))


# ---- Plans ---------------------------------------------------------------------------------------
def plan(records: list[tuple], alive: list[bool]) -> list:
    """The actions for the recorded calls: numbers of calls, and kernels for several.

    `alive` tells of every slot whether anybody looks at it afterwards. A kernel is (variant, the
    call whose rows it runs over or -1, the call to blame for errors, its tensors, their roles, how
    many are outputs, the calls whose scalars it takes).
    """
    calls, first = [], 0
    for kind, variant, tensors, n_outs, written, rows in records:
        found = [Tensor(s, d, tuple(n), tuple(m), o) for s, d, n, m, o in tensors]
        writes = frozenset(found[i].slot for i in written)
        where = (tuple(rows[0]), tuple(rows[1])) if rows else None
        calls.append(Call(kind, variant, found, n_outs, writes, where, first))
        first += len(found)
    users: dict[Slot, set[int]] = {}
    for i, call in enumerate(calls):
        for t in call.tensors:
            users.setdefault(t.slot, set()).add(i)

    def needed(slot: Slot, unit: Unit, *more: int) -> bool:
        return alive[slot] or not users[slot] <= {*unit.members, *more}

    def actions(numbers: Sequence[int]) -> list:
        return [action for unit in _units(numbers, calls, needed) for action in actions_of(unit)]

    def actions_of(unit: Unit) -> list:
        members = unit.members
        if len(members) == 1:
            return members
        try:
            return [Builder(unit, calls, {s for s in unit.defined if needed(s, unit)}).build()]
        except NotFusible:
            half = len(members) // 2
            return actions(members[:half]) + actions(members[half:])

    return actions(range(len(calls)))


def _units(
    numbers: Sequence[int], calls: list[Call], needed: typing.Callable[..., bool]
) -> list[Unit]:
    """The calls of these numbers, gathered.

    A call joins the latest unit that it can: one that nothing has to come after, up to the call, or
    one that may as well come after what is between them.
    """
    units: list[Unit] = []
    for i in numbers:
        call = calls[i]
        for at in range(len(units) - 1, max(-1, len(units) - 1 - WINDOW), -1):
            unit, later = units[at], units[at + 1 :]
            if not unit.might_take(call):
                continue
            stays = not any(u.conflicts(call) for u in later)
            if not stays and any(u.conflicts(unit) for u in later):
                continue
            level = unit.joins(call, lambda s, u: needed(s, u, i))  # noqa: B023
            if level is not None:
                if not stays:
                    units.append(units.pop(at))
                unit.join(i, call, level)
                break
        else:
            units.append(Unit(i, call))
    return units
