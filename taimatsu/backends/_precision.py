"""How exactly float32 is multiplied: a setting for all, for a library, and for an op of it.

A level that has no precision of its own, "none", has that of the level above it.
"""

from __future__ import annotations

import sys
from types import ModuleType

from taimatsu import _core


class Level:
    """``fp32_precision`` of an op or a library: "ieee", "tf32" or "none"."""

    def __init__(self, above: Level | None, *more: str, otherwise: str = "none"):
        self._above, self._own, self._otherwise = above, "none", otherwise
        self._known = "ieee", "tf32", "none", *more

    def _told(self) -> str:
        above = self._above._told() if self._above else "none"
        return above if self._own == "none" else self._own

    @property
    def fp32_precision(self) -> str:
        """The precision; setting another name raises RuntimeError."""
        told = self._told()
        return self._otherwise if told == "none" else told

    @fp32_precision.setter
    def fp32_precision(self, precision: str) -> None:
        if precision not in self._known:
            raise RuntimeError(
                f"Unknown precision: {precision}; there are {', '.join(self._known)}"
            )
        self._own = precision
        if hasattr(_core, "_cuda"):
            _core._cuda.set_allow_tf32(matmul.fp32_precision == "tf32")


everything = Level(None, "bf16")
matmul = Level(everything)  # of cuBLASLt
cudnn = Level(everything)
conv, rnn = Level(cudnn, otherwise="tf32"), Level(cudnn, otherwise="tf32")


def gives(name: str, level: Level) -> None:
    """A level's precision is the module's attribute ``fp32_precision``."""

    class Module(ModuleType):
        @property
        def fp32_precision(self) -> str:
            return level.fp32_precision

        @fp32_precision.setter
        def fp32_precision(self, precision: str) -> None:
            level.fp32_precision = precision

    sys.modules[name].__class__ = Module
