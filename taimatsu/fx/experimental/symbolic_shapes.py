"""Questions about sizes that a graph leaves open: here sizes are numbers."""

from __future__ import annotations

from typing import Any

__all__ = ["guard_bool", "guard_int", "guard_or_false", "guard_or_true", "guard_size_oblivious",
           "is_concrete_bool", "is_concrete_int", "statically_known_true", "sym_eq"]  # fmt: skip


def guard_int(a: Any) -> int:
    """The number."""
    return int(a)


def guard_bool(a: Any) -> bool:
    """The condition."""
    return bool(a)


guard_size_oblivious = guard_or_false = guard_or_true = statically_known_true = guard_bool


def is_concrete_int(a: Any) -> bool:
    """Whether it is a number: True."""
    return isinstance(a, int)


def is_concrete_bool(a: Any) -> bool:
    """Whether it is known: True."""
    return isinstance(a, bool)


def sym_eq(x: Any, y: Any) -> bool:
    """Whether sizes are equal."""
    return bool(x == y)
