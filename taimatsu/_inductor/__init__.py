"""Names of PyTorch's compiler that programs touch; see `taimatsu.compiler`."""

from __future__ import annotations

from . import config

__all__ = ["config", "cudagraph_mark_step_begin", "list_mode_options", "list_options"]

from taimatsu.compiler import cudagraph_mark_step_begin


def list_mode_options(mode: str | None = None, dynamic: bool | None = None) -> dict:
    """The options that modes of `compile` stand for: none."""
    names = ("default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs")
    return {name: {} for name in names} if mode is None else {}


def list_options() -> list[str]:
    """The names of options: none."""
    return []
