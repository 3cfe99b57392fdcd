"""Sizes given as one number or one per dimension."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any


def ntuple(value: Any, n: int) -> tuple:
    """``value`` repeated ``n`` times if it is a number, else as a tuple."""
    return tuple(value) if isinstance(value, Iterable) else (value,) * n


def repeated_reversed(values: tuple) -> tuple:
    """(h, w) -> (w, w, h, h): paddings per dimension as `F.pad` takes them, last dim first."""
    return tuple(v for v in reversed(values) for _ in range(2))
