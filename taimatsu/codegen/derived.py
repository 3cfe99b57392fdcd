"""Derived ops: what they take, and how their schemas declare it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from .ir import C128, F64, Buffer, DType, Expr, topological

if TYPE_CHECKING:
    from taimatsu.ops.schema import SchemaParam
    from taimatsu.ops.table import Op

Source = tuple[str, Any]  # ("g" | "arg" | "out" | "like", position); see `table.Plan`
_ORDER = ("g", "arg", "out", "like")

# How an operand is seen by an op whose rows run along the dims that the original keeps.
_CROSSED = {"Row": "Row", "Tensor": "Row", "Cell": "Shared", "Shared": "Cell"}


def trial_dtypes(op: Op) -> list[DType]:
    """The dtypes of trial calls, which find out what a derivative mentions."""
    return [t for t in (F64, C128) if op.dtypes is None or t in op.dtypes] or [F64]


def mentioned(exprs: Iterable[Expr], sources: Mapping[Buffer, Source]) -> set[Source]:
    """What of `sources` the expressions load from."""
    loads = (e.arg for e in topological(exprs) if e.op == "load")
    return {sources[b] for b in loads if b in sources}


@dataclass
class Sources:
    """What of a call of `op` a derived op takes, in order."""

    op: Op
    order: list[Source]

    @staticmethod
    def sorted(op: Op, sources: Iterable[Source]) -> Sources:
        return Sources(op, sorted(sources, key=lambda s: (_ORDER.index(s[0]), s[1])))

    def want_sizes(self, source: Source) -> None:
        """Adds an argument for its sizes alone, unless it is there."""
        kind, i = source
        if source not in self.order and ("like", i) not in self.order:
            self.order.append(("like", i) if kind == "arg" else source)

    def position(self, i: int) -> int:
        """Where argument `i`, or its like, is."""
        wanted = (("arg", i), ("like", i))
        return next(n for n, source in enumerate(self.order) if source in wanted)

    @cached_property
    def names(self) -> dict[Source, str]:
        """A name for each source: arguments keep theirs, others get out of the way."""
        schema = self.op.parsed
        own = {p.name for p in schema.params}
        names: dict[Source, str] = {}
        for source in self.order:
            kind, i = source
            if kind in ("arg", "like"):
                names[source] = schema.params[i].name
                continue
            several = len(schema.outputs) > 1
            name = schema.outputs[i].name if kind == "out" else f"g{i}" if several else "g"
            while name in own or name in names.values():
                name = "g" + name if kind == "g" else name + "_"
            names[source] = name
        return names

    def type(self, source: Source) -> str:
        kind, i = source
        schema = self.op.parsed
        return schema.outputs[i].type if kind in ("g", "out") else schema.params[i].type

    def number(self, source: Source) -> bool:
        kind, i = source
        return kind == "arg" and self.op.parsed.params[i].number

    def keep(self, integral: Collection[int]) -> tuple[str, ...]:
        """Those outside of promotion: the op's own, and outputs that are positions."""
        params = self.op.parsed.params
        return tuple(
            self.names[kind, i]
            for kind, i in self.order
            if (kind in ("arg", "like") and not self.op.takes_gradient(params[i]))
            or (kind == "out" and i in integral)
        )


def source_names(op: Op) -> dict[str, Source]:
    """The names by which a declared gradient may ask for things; see `table.Op.gradient`."""
    known: dict[str, Source] = {}
    inputs = [i for i, p in enumerate(op.parsed.params) if p.tensor]
    called = [p.name for p in op.parsed.params]
    known |= {name: ("arg", i) for i, name in enumerate(called)}
    if op.is_formula:  # its formula's own names too: x for self
        own = list(inspect.signature(op.formula).parameters)[len(op.accumulates) :]
        for name, i in zip(own, inputs, strict=False):
            known.setdefault(name, ("arg", i))
    known |= {f"{name}_like": ("like", i) for name, (_, i) in known.items() if i in inputs}
    known["g"] = ("g", 0)
    for i, o in enumerate(op.parsed.outputs):
        known[f"g{i}"] = known[f"g_{o.name}"] = ("g", i)
        known.setdefault(o.name, ("out", i))
    return known


def passed_attributes(op: Op) -> list[SchemaParam]:
    """The attributes that a derived op takes on: `dtype` acted on the inputs already."""
    return [p for p in op.parsed.attributes if p.name != "dtype"]


def list_sources(op: Op, sources: Sources, *extra: tuple[str, Any]) -> list[tuple[str, Any]]:
    """The derived op's arguments: its tensors, `extra` ones, then the attributes."""
    passed = (("arg", op.parsed.position(p.name)) for p in passed_attributes(op))
    return [*sources.order, *extra, *passed]


def role(op: Op, type_: str) -> str:
    """The declared type of an operand: roles are for row ops."""
    return type_ if op.kind == "row" or type_ == "Index" else "Tensor"


def derived_op(
    op: Op,
    suffix: str,
    formula: Callable,
    sources: Sources,
    outputs: list[str],
    integral: Collection[int] = frozenset(),
    *,
    extra: Sequence[str] = (),
    crossed: bool = False,
    **options: Any,
) -> Op:
    """An op of `op`'s kind that takes `sources`, tensors of the types `extra`, op's attributes."""
    declared = []
    for s in sources.order:
        t = _CROSSED[sources.type(s)] if crossed else role(op, sources.type(s))
        declared.append(f"{t}{'|Number' if sources.number(s) else ''} {sources.names[s]}")
    taken = {*sources.names.values(), *(p.name for p in op.parsed.params)}
    for n, t in enumerate(extra):
        name = f"s{n}"
        while name in taken:
            name += "_"
        declared.append(f"{t} {name}")
    passed = passed_attributes(op)
    params = ", ".join([*declared, *(p.text for p in passed)])
    return type(op)(
        f"{op.name}_{suffix}({params}) -> ({', '.join(outputs)})",
        op.kind,
        formula,
        module=None,
        method=False,
        inplace=False,
        out=options.pop("out", False),
        promote=op.promote,
        keep=sources.keep(integral),
        static=tuple(p.name for p in passed if op.is_static(p)),
        dynamic=tuple(p.name for p in passed if not op.is_static(p)),
        settle={n: v for n, v in op.settle.items() if n in sources.names.values()},
        doc=f"The derivative of {op.name}.",
        **options,
    )
