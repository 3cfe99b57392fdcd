"""The type of compiled modules in PyTorch."""

from __future__ import annotations

from typing import Any

from taimatsu.nn import Module

__all__ = ["OptimizedModule"]


class OptimizedModule(Module):
    """What `compile` makes of a module in PyTorch. Here that is the module itself, so there are no
    instances; `isinstance` is what programs use this for."""

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        raise TypeError("OptimizedModule: torch.compile returns the module itself in this version")
