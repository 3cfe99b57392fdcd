"""Submodules that are imported when they are asked for."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any


def submodules(package: str) -> Callable[[str], Any]:
    """The ``__getattr__`` of a package: its attributes are its submodules too."""

    def __getattr__(name: str) -> Any:
        if not name.startswith("__"):
            full = f"{package}.{name}"
            try:
                return importlib.import_module(full)
            except ModuleNotFoundError as missing:
                if missing.name != full:  # one that the submodule needs
                    raise
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    return __getattr__
