"""Parsing an op's schema, the one-line text that says what it takes and returns.

    name(Type param=default, ..., *, Type keyword_only) -> Type  |  (Type name, Type name)

Types: Tensor; its roles Row, Cell, Shared in row ops; Index (validated positions); Tensor|Number;
int, float, bool, str, Number, ScalarType, Device, ...; `?` marks an optional, `[]` or `[2]` a list.
"""

from __future__ import annotations

import re
import typing
from typing import Any

TENSOR_TYPES = ("Tensor", "Row", "Cell", "Shared", "Index")
REQUIRED = type("Required", (), {"__repr__": lambda _: "REQUIRED"})()

_PARAM = re.compile(
    r"(?P<base>\w+)(?P<number>\|Number)?(?P<alias>\(\w!?\))?(?P<list>\[\d*\])?(?P<optional>\?)?"
    r"(?P<list2>\[\d*\])?\s+(?P<name>\w+)\s*(?:=\s*(?P<default>.+))?$"
)
_OUTPUT = re.compile(r"(?P<base>\w+)(\(\w!?\))?(?P<list>\[\])?(?:\s+(?P<name>\w+))?$")


class SchemaParam(typing.NamedTuple):
    name: str
    type: str  # without ?, [] and |Number
    optional: bool = False
    number: bool = False  # a Python number may stand for the tensor
    length: int | None = None  # of a list: its declared length, 0 if free; None: not a list
    default: Any = REQUIRED
    keyword_only: bool = False

    @property
    def tensor(self) -> bool:
        return self.type in TENSOR_TYPES

    @property
    def text(self) -> str:
        """The declaration as in a schema, without a default."""
        brackets = "" if self.length is None else f"[{self.length or ''}]"
        number = "|Number" if self.number else ""
        return f"{self.type}{number}{brackets}{'?' if self.optional else ''} {self.name}"


class SchemaOutput(typing.NamedTuple):
    type: str
    name: str


class Schema(typing.NamedTuple):
    name: str
    params: tuple[SchemaParam, ...]
    outputs: tuple[SchemaOutput, ...]

    @property
    def tensors(self) -> tuple[SchemaParam, ...]:
        return tuple(p for p in self.params if p.tensor)

    @property
    def attributes(self) -> tuple[SchemaParam, ...]:
        return tuple(p for p in self.params if not p.tensor)

    def position(self, name: str) -> int:
        """Which parameter `name` is."""
        return next(i for i, p in enumerate(self.params) if p.name == name)


def split(text: str) -> list[str]:
    """`text` at its commas, those inside brackets and quotes excepted."""
    parts, depth, quoted, start = [], 0, False, 0
    for i, c in enumerate(text):
        if c == "'":
            quoted = not quoted
        elif not quoted:
            depth += (c in "([{") - (c in ")]}")
            if c == "," and depth == 0:
                parts.append(text[start:i].strip())
                start = i + 1
    last = text[start:].strip()
    return [*parts, last] if last else parts


def _default(text: str | None, length: int | None) -> Any:
    if text is None:
        return REQUIRED
    text = text.strip()
    named = {"None": None, "True": True, "False": False, "inf": float("inf")}
    if text in named:
        return named[text]
    if text[0] == "'":
        return text[1:-1]
    if text[0] == "[":
        return tuple(_default(t, None) for t in split(text[1:-1]))
    try:
        value: float = int(text)
    except ValueError:
        try:
            value = float(text)
        except ValueError:
            return text  # a name the core knows: torch.strided, contiguous_format ...
    return (value,) * length if length else value


def parse(text: str) -> Schema:
    """The schema that `text` declares; ValueError, naming the part, if it can't be read."""
    head, arrow, tail = text.partition("->")
    name, bracket, inner = head.strip().partition("(")
    if not (arrow and bracket and inner.endswith(")")):
        raise ValueError(f"schema: expected 'name(params) -> outputs', got {text!r}")
    params, keyword_only = [], False
    for part in split(inner[:-1]):
        if part == "*":
            keyword_only = True
            continue
        m = _PARAM.match(part)
        if not m:
            raise ValueError(f"schema: can't read the parameter {part!r} of {text!r}")
        brackets = m["list"] or m["list2"]
        length = None if brackets is None else int(brackets[1:-1] or 0)
        params.append(
            SchemaParam(
                m["name"], m["base"], bool(m["optional"]), bool(m["number"]), length,
                _default(m["default"], length), keyword_only,
            )
        )  # fmt: skip
    return Schema(name.strip(), tuple(params), _outputs(tail.strip(), text))


def _outputs(tail: str, text: str) -> tuple[SchemaOutput, ...]:
    if tail == "()":
        return ()
    parts = split(tail[1:-1]) if tail.startswith("(") else [tail]
    outputs = []
    for i, part in enumerate(parts):
        m = _OUTPUT.match(part)
        if not m:
            raise ValueError(f"schema: can't read the output {part!r} of {text!r}")
        default = "result" if len(parts) == 1 else f"result{i}"
        outputs.append(SchemaOutput(m["base"] + (m["list"] or ""), m["name"] or default))
    return tuple(outputs)
