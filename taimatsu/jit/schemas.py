"""Ops, as the front end calls them: ATen's schemas, found by name and matched with arguments.

The op table has nearly all of them; `aten_schemas` has those that it has otherwise or not at all.
"""

from __future__ import annotations

import typing
from functools import cache
from typing import Any

from taimatsu._op_namespaces import PREFIX_OF
from taimatsu.ops.schema import REQUIRED, Schema, SchemaParam, parse

from .aten_schemas import SCHEMAS
from .types import (
    ANY,
    BOOL,
    DEVICE,
    FLOAT,
    GENERATOR,
    INT,
    NONE,
    NUMBER,
    NUMBERS,
    STR,
    TENSOR,
    Type,
    list_of,
)  # fmt: skip
from .values import UNKNOWN, Value, literal

__all__ = ["Mismatch", "call", "overloads"]

# A list whose items may be given as several arguments, as in x.view(2, 3).
_VARIADIC = frozenset((
    "view", "reshape", "permute", "expand", "repeat", "zeros", "ones", "empty", "rand", "randn",
    "flip", "new_zeros", "new_ones", "new_empty", "tile", "resize_", "full",
))  # fmt: skip

_OUTPUTS = {
    "Tensor": TENSOR, "Row": TENSOR, "Cell": TENSOR, "Tensor[]": list_of(TENSOR), "int": INT,
    "int[]": list_of(INT), "bool": BOOL, "float": FLOAT, "Number": NUMBER, "Any": ANY,
}  # fmt: skip


class Mismatch(Exception):
    """Arguments that a schema doesn't take: why."""


class Overload(typing.NamedTuple):
    """A schema by the name that code calls."""

    name: str
    schema: Schema

    @property
    def returns(self) -> Type:
        """The type of the result: a tuple knows the names of its elements."""
        outputs = self.schema.outputs
        if not outputs:
            return NONE
        kinds = [_OUTPUTS[o.type] for o in outputs]
        return kinds[0] if len(kinds) == 1 else Type(
            "Tuple", tuple(kinds), tuple(o.name for o in outputs)
        )  # fmt: skip

    def __str__(self) -> str:
        params = ", ".join(p.text for p in self.schema.params)
        return f"aten::{self.name}({params}) -> {self.returns}"


@cache
def _others() -> dict[str, list[Overload]]:
    found: dict[str, list[Overload]] = {}
    for line in SCHEMAS.strip().splitlines():
        base = line.partition("(")[0].partition(".")[0]
        schema = parse(line.replace("Tensor?[]", "Index[]"))
        found.setdefault(base, []).append(Overload(base, schema))
    return found


@cache
def _table() -> dict[str, list[Any]]:
    from taimatsu.ops.table import ENTRIES

    found: dict[str, list[Any]] = {}
    for entry in ENTRIES:
        if entry.module is not None and entry.module != "optim":
            base = entry.name.partition(".")[0]
            found.setdefault(PREFIX_OF.get(entry.module, "") + base, []).append(entry)
    for entries in found.values():  # the level of ATen before that of `nn.functional`
        entries.sort(key=lambda e: e.module == "nn.functional")
    return found


@cache
def _aliases() -> dict[str, str]:
    """Other names of ops, by which ATen doesn't know them."""
    return {alias: base for base, entries in _table().items() for e in entries for alias in e.names}


@cache
def overloads(name: str) -> list[Overload]:
    """The forms of the op that ATen calls ``name``; none if there is no such op."""
    if name in _others():
        return _others()[name]
    entries = [] if name.startswith("_") else _table().get(name, [])
    if not entries and name in _aliases():
        return overloads(_aliases()[name])
    if not entries and name.endswith("_") and not name.endswith("__"):
        base = _aliases().get(name[:-1], name[:-1])
        entries = [e for e in _table().get(base, []) if e.inplace]
    return [Overload(name, e.parsed) for e in entries]


# ---- Matching -----------------------------------------------------------------------------------
def call(name: str, args: list[Value], kwargs: dict[str, Value]) -> Value | list[str]:
    """The call of an op, or why none of its forms takes the arguments."""
    reasons = []
    for overload in overloads(name):
        for variadic in (False, True) if name in _VARIADIC else (False,):
            try:
                return Value(_bound(overload, args, dict(kwargs), variadic), overload.returns)
            except Mismatch as why:
                reasons.append(f"{overload}:\n  {why}.")
    return reasons


def _bound(
    overload: Overload, args: list[Value], kwargs: dict[str, Value], variadic: bool
) -> str:
    params = overload.schema.params
    out = kwargs.pop("out", None)
    positional = [p for p in params if not p.keyword_only]
    texts: dict[str, str] = {}
    rest = list(args)
    for p in positional:
        if not rest:
            break
        if variadic and p.length == 0 and len(rest) > 0 and _item(rest[0], p) is not None:
            listed = Value("", NONE, parts=tuple(rest))
            texts[p.name] = _listed(listed.parts, p)  # type: ignore[arg-type]
            rest = []
            break
        texts[p.name] = _given(rest.pop(0), p)
    if rest:
        raise Mismatch(f"Expected at most {len(positional)} arguments but found {len(args)} "
                       "positional arguments")  # fmt: skip
    first = params[0].name if params else ""
    for key, value in kwargs.items():
        key = first if key in ("input", "self") and key not in {p.name for p in params} else key
        p = next((p for p in params if p.name == key), None)  # type: ignore[assignment]
        if p is None:
            raise Mismatch(f"Unknown keyword argument '{key}' for operator 'aten::{overload.name}'")
        if key in texts:
            raise Mismatch(f"Argument {key} specified twice")
        texts[key] = _given(value, p)
    return _text(overload, texts, out)


def _text(overload: Overload, texts: dict[str, str], out: Value | None) -> str:
    """The call, without the arguments at its end that are left at their defaults."""
    params = overload.schema.params
    last = max((i for i, p in enumerate(params) if p.name in texts and not p.keyword_only),
               default=-1)  # fmt: skip
    parts = []
    for i, p in enumerate(params):
        given = p.name in texts
        if not given and p.default is REQUIRED:
            raise Mismatch(f"Argument {p.name} not provided")
        if p.keyword_only:
            if given:
                parts.append(f"{p.name}={texts[p.name]}")
        elif i <= last:
            parts.append(texts[p.name] if given else _default(p))
    if out is not None:
        parts.append(f"out={out.text}")
    return f"torch.{overload.name}({', '.join(parts)})"


def _default(p: SchemaParam) -> str:
    return literal(p.default, p.type)


def _given(value: Value, p: SchemaParam) -> str:
    text = argument(value, p)
    if text is None:
        raise Mismatch(
            f"Expected a value of type '{_shown(p)}' for argument '{p.name}' but instead found "
            f"type '{value.type}'"
        )
    return text


def _shown(p: SchemaParam) -> str:
    kind = f"List[{p.type}]" if p.length is not None else p.type
    return f"Optional[{kind}]" if p.optional else kind


def argument(value: Value, p: SchemaParam) -> str | None:
    """A value's text where a parameter is declared, converted as ops do; None if it can't be."""
    kind = value.type
    if kind == NONE:
        return "None" if p.optional or p.type == "Any" else None
    if kind.optional and kind != ANY:
        inner = Value(value.text, kind.without_none)
        return argument(inner, p._replace(optional=False)) if p.optional else None
    if p.length is None:
        return _item(value, p)
    if kind.name == "List":
        if value.text == "[]":
            return f"annotate(List[{_ELEMENTS.get(p.type, p.type)}], [])"
        item = kind.args[0]
        if p.type == "Index" and item.name == "Optional":
            return value.text
        return value.text if _item(Value("", item), p) is not None else None
    if kind.items is not None:
        return _listed(tuple(value.part(i) for i in range(len(kind.items))), p, quiet=True)
    single = _item(value, p) if p.length else None
    return None if single is None else f"[{', '.join([single] * (p.length or 1))}]"


_ELEMENTS = {"Index": "Optional[Tensor]", "Number": "number", "ScalarType": "int"}


def _listed(parts: tuple[Value, ...], p: SchemaParam, quiet: bool = False) -> Any:
    texts = [_item(part, p) for part in parts]
    if None in texts:
        if quiet:
            return None
        raise Mismatch(f"Expected a value of type '{_shown(p)}' for argument '{p.name}'")
    return f"[{', '.join(typing.cast('list[str]', texts))}]"


def _item(value: Value, p: SchemaParam) -> str | None:
    """One value, where a list's items are of the parameter's type."""
    kind, text = value.type, value.text
    known = value.const is not UNKNOWN
    match p.type:
        case "Tensor" | "Row" | "Cell" | "Shared" | "Index":
            return text if kind == TENSOR or (p.number and kind in NUMBERS) else None
        case "int":
            if kind == TENSOR:
                return f"int({text})"
            return text if kind == INT else None
        case "float":
            if known and kind in (INT, FLOAT):
                return literal(value.const, "float")
            if kind in (TENSOR, INT):
                return f"float({text})"
            return text if kind in (FLOAT, NUMBER) else None
        case "Number":
            if kind == TENSOR:
                return f"torch.item({text})"
            return text if kind in NUMBERS else None
        case "bool":
            if kind == TENSOR:
                return f"bool({text})"
            return text if kind == BOOL else None
        case "str":
            return text if kind == STR else None
        case "ScalarType" | "Layout" | "MemoryFormat":
            return text if kind == INT else None
        case "Device":
            if kind == STR:
                return f"torch.device({text})"
            return text if kind == DEVICE else None
        case "Generator":
            return text if kind == GENERATOR else None
    return text
