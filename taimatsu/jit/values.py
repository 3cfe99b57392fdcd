"""What expressions are to the front end: typed text, or something known when it compiles."""

from __future__ import annotations

import enum
import keyword
import typing
from collections.abc import Callable
from typing import Any

import taimatsu as torch

from .aten import CODES, MEMORY_FORMATS, Error
from .types import FLOAT, INT, NONE, TENSOR, Type, dict_of, list_of

__all__ = ["UNKNOWN", "Bound", "Items", "Static", "Value", "attribute", "literal", "quoted"]

UNKNOWN = type("Unknown", (), {"__repr__": lambda _: "UNKNOWN"})()


class Value(typing.NamedTuple):
    """A value of the program: its expression and type.

    ``const``: what it is, if that is known; ``parts``: the elements of a tuple or list display.
    """

    text: str
    type: Type
    const: Any = UNKNOWN
    parts: tuple[Value, ...] | None = None

    def part(self, index: int) -> Value:
        """An element of a tuple."""
        if self.parts is not None:
            return self.parts[index]
        assert self.type.items is not None
        return Value(f"({self.text})[{index}]", self.type.items[index])


class Static(typing.NamedTuple):
    """An object of Python's: a module, function or class, of which nothing is in the text."""

    value: Any


class Bound(typing.NamedTuple):
    """A method, or anything that the front end knows how to call."""

    call: Callable[..., Any]
    name: str
    method: Any = None  # (module's type, name, text of the module), where it is a module's method


class Items(typing.NamedTuple):
    """A sequence whose length is known: loops over it are unrolled."""

    items: list[Any]
    keys: list[str] | None = None


# ---- Text ---------------------------------------------------------------------------------------
def attribute(base: str, name: str) -> str:
    """An attribute's expression: names of modules may be numbers."""
    if name.isidentifier() and not keyword.iskeyword(name):
        return f"{base}.{name}"
    return f'getattr({base}, "{name}")'


def quoted(text: str) -> str:
    """A string's literal, in double quotes."""
    return '"' + text.encode("unicode_escape").decode().replace('"', '\\"') + '"'


def literal(value: Any, kind: str = "") -> str:
    """A constant as code writes it; ``kind``: the schema's type, if it is known."""
    if isinstance(value, list):
        return "[" + ", ".join(literal(v, kind) for v in value) + "]"
    if isinstance(value, (tuple, torch.Size)):
        return literal(list(value), kind)
    if value is None or isinstance(value, bool):
        return str(value)
    if isinstance(value, enum.Enum):
        return literal(value.value)
    if isinstance(value, (int, float)) and (kind == "float" or isinstance(value, float)):
        text = repr(float(value))
        return text if text[-1].isdigit() else f'float("{text}")'
    if isinstance(value, int):
        return str(int(value))
    if isinstance(value, complex):
        return f"complex({value.real!r}, {value.imag!r})"
    if isinstance(value, str):
        return f"torch.device({quoted(value)})" if kind == "Device" else quoted(value)
    if isinstance(value, torch.device):
        return f'torch.device("{value}")'
    if isinstance(value, torch.dtype):
        return str(CODES[str(value).rpartition(".")[2]])
    if value in MEMORY_FORMATS:
        return str(MEMORY_FORMATS.index(value))
    if value is torch.strided:
        return "0"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{literal(k)}: {literal(v)}" for k, v in value.items()) + "}"
    raise Error(f"jit: {type(value).__name__} can't be written as TorchScript")


def display(value: Any, kind: Type) -> str:
    """A constant of a known type: `literal`, with tuples as tuples and empty lists typed."""
    if kind.items is not None:
        texts = [display(v, k) for v, k in zip(value, kind.items, strict=True)]
        return f"({', '.join(texts)}{',' * (len(texts) == 1)})"
    if kind.name == "List":
        if not value and kind != list_of(TENSOR):
            return f"annotate({kind}, [])"
        return "[" + ", ".join(display(v, kind.args[0]) for v in value) + "]"
    if kind.name == "Dict":
        items = ", ".join(
            f"{display(k, kind.args[0])}: {display(v, kind.args[1])}" for k, v in value.items()
        )
        return f"annotate({kind}, {{{items}}})"
    if kind == FLOAT:
        return literal(value, "float")
    return literal(value)


def cast(value: Value, kind: Type) -> str:
    """The text of a value where ``kind`` is declared, of which it is a subtype."""
    if value.type == kind:
        return value.text
    if value.text == "[]" and kind.name == "List":
        return f"annotate({kind}, [])"
    if value.text == "{}" and kind.name == "Dict":
        return f"annotate({kind}, {{}})"
    if value.type == NONE and kind.optional and kind != NONE:
        return f"annotate({kind}, None)"
    return value.text


def empty_display(value: Value, kind: Type) -> bool:
    """Whether it is ``[]`` or ``{}``, whose elements may be of any type."""
    return (value.text == "[]" and kind.name == "List") or (
        value.text == "{}" and kind.name == "Dict"
    )


DEFAULT_LIST, DEFAULT_DICT = list_of(TENSOR), dict_of(Type("str"), TENSOR)
INTS = list_of(INT)
