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
from importlib.util import find_spec

_FOUND: dict[tuple[str, str], Callable] = {}  # by the op's name and the device's type, "" for any


def computes(*names: str, device: str = "") -> Callable[[Callable], Callable]:
    """Registers a function for the native ops of these names.

    One for the devices of a type calls a library of theirs. It comes before the one for all, which
    is taken where it returns NotImplemented: where the library is missing, say.
    """

    def register(function: Callable) -> Callable:
        for name in names:
            assert (name, device) not in _FOUND, f"anywhere: {name} has two functions"
            _FOUND[name, device] = function
        return function

    return register


@cache
def routines() -> dict[str, Callable]:
    """The function of each native op that has one."""
    for module in pkgutil.iter_modules(__path__):
        import_module(f"{__name__}.{module.name}")
    return {name: function for (name, device), function in _FOUND.items() if not device}


@cache
def routine(name: str, device: str) -> Callable | None:
    """The function of a native op for devices of a type: see `Op.routine`."""
    if find_spec(module := f"taimatsu.{device}.libraries"):
        import_module(module)
    own, general = _FOUND.get((name, device)), routines().get(name)
    if own is None or general is None:
        return own or general

    def first_own(*args: object) -> object:
        result = own(*args)
        return general(*args) if result is NotImplemented else result

    return first_own
