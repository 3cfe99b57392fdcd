"""Where PyTorch's compiler captures graphs: names that programs use, see `taimatsu.compiler`."""

from __future__ import annotations

from typing import Any

from taimatsu._lazy import submodules
from taimatsu.compiler import (
    allow_in_graph,
    assume_constant_result,
    explain,
    is_compiling,
    list_backends,
    reset,
    substitute_in_graph,
)  # fmt: skip
from taimatsu.compiler import compile as optimize
from taimatsu.compiler import disable as disable

from . import config, eval_frame, exc
from .eval_frame import OptimizedModule

__getattr__ = submodules(__name__)


__all__ = [
    "OptimizedModule", "allow_in_graph", "assume_constant_result", "config", "disable",
    "disallow_in_graph", "eval_frame", "exc", "explain", "forbid_in_graph", "graph_break",
    "is_compiling", "list_backends", "mark_dynamic", "mark_static", "mark_static_address",
    "maybe_mark_dynamic", "optimize", "reset", "run", "substitute_in_graph",
]  # fmt: skip


def mark_dynamic(t: Any, index: Any, **bounds: Any) -> None:
    """A dim whose size changes from call to call: nothing, since nothing is compiled."""


maybe_mark_dynamic = mark_dynamic


def mark_static(t: Any, index: Any = None) -> None:
    """A dim whose size is always the same: nothing."""


def mark_static_address(t: Any, guard: bool = False) -> None:
    """A tensor that stays where it is: nothing."""


def graph_break(msg: str = "") -> None:
    """Where a graph ends: nothing."""


def run(fn: Any = None) -> Any:
    """The function itself."""
    return fn


disallow_in_graph = forbid_in_graph = allow_in_graph
