"""Which calls of a segment go into one kernel, and that kernel's nest.

The core records the calls of a compiled function, and asks `plan` what to do with a list of them
that has come again. Calls of formulas are gathered into *units*: a call joins an earlier unit if
both run over the same points, or rows, and if what is between them commutes with the one or with
the other. A unit's nest is the nests of its calls, with what one call stores in place of what
another loads. The elements of intermediate results are computed as eager kernels compute them,
rounding included; what nobody else looks at is never stored.
"""

from __future__ import annotations

import typing
from collections.abc import Sequence

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

from .epilogues import Product
from .units import OPERANDS, SCALARS, Access, Call, NotFusible, Slot, Tensor, Unit, loads

WINDOW = 24  # how many units back a call may join
ROLES = {None: 0, "row": 1, "cell": 2, "shared": 3}  # csrc/ops/schema.h


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
        given: dict[Buffer, Expr] = {}
        for b, t, a, i in zip(nest.operands, call.tensors, accesses, range(99), strict=False):
            if i >= call.n_outs:
                given[b] = self.operand(call, level, b, t, a, call.first + i)
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
            if e.op in ("load", "bitload") and e.arg in given:
                return given[e.arg]
            return None

        for e in loads(nest):
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
# Told of every plan: the names of the ops called, and for each action which calls it makes.
watching: list[typing.Callable[[Sequence[str], Sequence[Sequence[int]]], None]] = []


def plan(records: list[tuple], alive: list[bool]) -> list:
    """The actions for the recorded calls: numbers of calls, kernels for several, and products.

    `alive` tells of every slot whether anybody looks at it afterwards. A kernel is (variant, the
    call whose rows it runs over or -1, the call to blame for errors, its tensors, their roles, how
    many are outputs, the calls whose scalars it takes); a product with what follows it, see
    `epilogues.Product.action`.
    """
    calls, first = [], 0
    names = [name for name, *_ in records]
    for _, kind, variant, tensors, n_outs, written, rows in records:
        found = [Tensor(s, d, tuple(n), tuple(m), *rest) for s, d, n, m, *rest in tensors]
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

    def actions_of(unit: Unit) -> list:  # with the calls that each makes
        members = unit.members
        if len(members) == 1:
            return [(members[0], members)]
        if isinstance(unit, Product):
            return [(unit.action(needed), members)]
        try:
            shown = {s for s in unit.defined if needed(s, unit)}
            return [(Builder(unit, calls, shown).build(), members)]
        except NotFusible:
            half = len(members) // 2
            return actions(members[:half]) + actions(members[half:])

    made = actions(range(len(calls)))
    for watch in watching:
        watch(names, [members for _, members in made])
    return [action for action, _ in made]


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
            units.append(Product(i, call) if call.kind == "product" else Unit(i, call))
    return units
