"""Native ops by other ops: how a device without a routine of its own for one computes it.

    @computes("kthvalue")
    def _(self, k, dim, keepdim): ...

A function here takes all arguments of the op in the schema's order and returns its outputs; it is
called below autograd, on tensors of any device. Its steps are formulas (`formulas` has those that
nothing else needs), views and other natives that end in formulas; nothing depends on the order in
which threads run, so results are the same each time. On the CPU, which has its routines, this is
only run by tests: an algorithm that is right there is right everywhere.

Imported when a device first asks (`Op.anywhere`).
"""

from __future__ import annotations

import pkgutil
from collections.abc import Callable
from functools import cache
from importlib import import_module

_FOUND: dict[str, Callable] = {}


def computes(*names: str) -> Callable[[Callable], Callable]:
    """Registers a function for the native ops of these names."""

    def register(function: Callable) -> Callable:
        for name in names:
            assert name not in _FOUND, f"anywhere: {name} has two functions"
            _FOUND[name] = function
        return function

    return register


@cache
def routines() -> dict[str, Callable]:
    """The function of each native op that has one."""
    for module in pkgutil.iter_modules(__path__):
        import_module(f"{__name__}.{module.name}")
    return _FOUND
