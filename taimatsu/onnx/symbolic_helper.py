"""Helpers of functions that write ops for exports."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["parse_args"]


def parse_args(*arg_descriptors: str) -> Callable[[Callable], Callable]:
    """A decorator that tells the kinds of arguments; the function itself."""
    return lambda fn: fn
