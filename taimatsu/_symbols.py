"""Symbolic numbers, which only graphs have in PyTorch: there are none, and numbers pass through."""

from __future__ import annotations

import math
import typing
from typing import Any

__all__ = [
    "SymBool", "SymFloat", "SymInt", "sym_float", "sym_int", "sym_ite", "sym_max", "sym_min",
    "sym_not", "sym_sqrt", "sym_sum",
]  # fmt: skip


class SymInt:
    """An integer of a graph: for annotations and `isinstance`; there are no instances."""

    def __new__(cls, *args: Any) -> typing.Never:
        raise TypeError(f"{cls.__name__}: there are no symbolic numbers; use Python's")


class SymFloat(SymInt):
    """A number of a graph: for annotations and `isinstance`; there are no instances."""


class SymBool(SymInt):
    """A condition of a graph: for annotations and `isinstance`; there are no instances."""


def sym_not(a: Any) -> bool:
    """``not a``."""
    return not a


def sym_float(a: Any) -> float:
    """``float(a)``."""
    return float(a)


def sym_int(a: Any) -> int:
    """``a`` without its fraction."""
    return math.trunc(a)


def sym_max(a: Any, b: Any) -> Any:
    """The larger one; a float if one of them is."""
    return _common(max(a, b), a, b)


def sym_min(a: Any, b: Any) -> Any:
    """The smaller one; a float if one of them is."""
    return _common(min(a, b), a, b)


def _common(value: Any, a: Any, b: Any) -> Any:
    return float(value) if isinstance(a, float) or isinstance(b, float) else value


def sym_sum(args: Any) -> Any:
    """The sum."""
    return sum(args)


def sym_sqrt(a: Any) -> float:
    """The square root."""
    return math.sqrt(a)


def sym_ite(b: Any, t: Any, f: Any) -> Any:
    """``t if b else f``. TypeError if they are of different types."""
    if type(t) is not type(f):
        raise TypeError(f"sym_ite: both must be of one type; got {type(t)} and {type(f)}")
    return t if b else f
