"""Schemas of ops as objects, as `OpOverload._schema` gives them."""

from __future__ import annotations

import typing
from typing import Any

from .ops.schema import REQUIRED, parse, split

__all__ = ["AliasInfo", "Argument", "FunctionSchema", "parse_schema"]


class AliasInfo(typing.NamedTuple):
    """What memory an argument or a result is: the names that share it, and whether it is written
    to."""

    before_set: frozenset[str]
    is_write: bool

    @property
    def after_set(self) -> frozenset[str]:
        return self.before_set


class Argument(typing.NamedTuple):
    """A parameter of an op, or a result."""

    name: str
    type: str
    default_value: Any = None
    kwarg_only: bool = False
    alias_info: AliasInfo | None = None
    N: int | None = None
    required: bool = True

    def has_default_value(self) -> bool:
        return not self.required

    @property
    def is_out(self) -> bool:
        """Whether it is a tensor that results are written to."""
        return self.kwarg_only and bool(self.alias_info and self.alias_info.is_write)

    @property
    def is_write(self) -> bool:
        """Whether the op writes to it."""
        return self.alias_info is not None and self.alias_info.is_write


class FunctionSchema(typing.NamedTuple):
    """What an op takes and returns."""

    name: str
    overload_name: str
    arguments: list[Argument]
    returns: list[Argument]
    text: str

    @property
    def is_mutable(self) -> bool:
        """Whether it writes to an argument."""
        return any(a.is_write for a in self.arguments)

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return self.text


def _alias(declaration: str) -> AliasInfo | None:
    """The part in brackets of ``Tensor(a!) self``."""
    _, bracket, rest = declaration.partition("(")
    inside = rest.partition(")")[0]
    if not bracket or not inside.rstrip("!")[:1].isalpha():
        return None
    return AliasInfo(frozenset((inside.rstrip("!"),)), inside.endswith("!"))


def parse_schema(text: str) -> FunctionSchema:
    """The schema that ``aten::name.overload(Tensor self) -> Tensor`` declares; ValueError if it
    can't be read."""
    for role in ("Row", "Cell", "Shared", "Index"):
        text = text.replace(f"{role} ", "Tensor ").replace(f"{role}? ", "Tensor? ")
    text = text.replace("Tensor|Number", "Tensor").replace("Number", "Scalar")
    if text.endswith(("Row", "Cell")):
        text = text.rpartition(" ")[0] + " Tensor"
    space, mark, rest = text.partition("::")
    rest = rest if mark else text
    name = rest.partition("(")[0].strip()
    base, _, overload = name.partition(".")
    schema = parse(rest.replace("SymInt", "int"))
    declared = [d for d in split(rest.partition("->")[0].strip()[len(name) + 1 : -1]) if d != "*"]
    arguments = [
        Argument(
            p.name, p.text.rpartition(" ")[0], None if p.default is REQUIRED else p.default,
            p.keyword_only, _alias(d.partition("=")[0]), p.length, p.default is REQUIRED,
        )
        for p, d in zip(schema.params, declared, strict=True)
    ]  # fmt: skip
    tail = rest.partition("->")[2].strip()
    outputs = split(tail[1:-1]) if tail.startswith("(") else [tail]
    returns = [
        Argument(o.name if " " in d else "", o.type, alias_info=_alias(d))
        for o, d in zip(schema.outputs, outputs, strict=True)
    ]
    return FunctionSchema(f"{space}::{base}" if mark else base, overload, arguments, returns, text)
