"""Sizes given as one number or one per dimension, by the names that modules elsewhere use."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import repeat
from typing import Any

from .._sizes import repeated_reversed

__all__ = ["consume_prefix_in_state_dict_if_present"]


def _ntuple(n: int, name: str = "parse") -> Callable[[Any], tuple]:
    """A function that repeats a number `n` times, and makes a tuple of anything iterable."""

    def parse(x: Any) -> tuple:
        return tuple(x) if isinstance(x, Iterable) else tuple(repeat(x, n))

    parse.__name__ = name
    return parse


_single = _ntuple(1, "_single")
_pair = _ntuple(2, "_pair")
_triple = _ntuple(3, "_triple")
_quadruple = _ntuple(4, "_quadruple")


def _reverse_repeat_tuple(t: tuple, n: int) -> tuple:
    """Each element `n` times, the last first."""
    return repeated_reversed(t) if n == 2 else tuple(x for x in reversed(t) for _ in range(n))


def consume_prefix_in_state_dict_if_present(state_dict: dict[str, Any], prefix: str) -> None:
    """Take ``prefix`` off the keys that begin with it, in place, and off those of the metadata."""
    metadata = getattr(state_dict, "_metadata", {})
    for known in (state_dict, metadata):
        for key in list(known):
            if key.startswith(prefix):
                known[key.removeprefix(prefix)] = known.pop(key)
    if (whole := prefix.removesuffix(".")) in metadata:
        metadata.setdefault("", metadata.pop(whole))
