"""Tracing of tensors rather than of Python: see `taimatsu.fx.capture`."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import taimatsu as torch
from taimatsu.fx import GraphModule
from taimatsu.utils import _pytree as pytree

__all__ = ["get_proxy_mode", "make_fx"]


def get_proxy_mode() -> None:
    """The tracer of tensors that is active: None, since none stays so."""
    return None


def make_fx(
    f: Callable, decomposition_table: dict | None = None, tracing_mode: str = "real",
    _allow_non_fake_inputs: bool = False, **options: Any,
) -> Callable[..., GraphModule]:  # fmt: skip
    """A function that gives the graph of ``f`` for its arguments, tensors or containers of them,
    in ops of `torch.ops.aten`. Control flow is that of these arguments.

    ``decomposition_table``: functions by op, whose ops are recorded instead of it. Sizes are
    constants of the graph, whatever ``tracing_mode`` is. TypeError for arguments that aren't
    tensors, RuntimeError if ``f`` looks at elements.

    >>> make_fx(lambda x: torch.sin(x) + 1)(torch.ones(2)).graph.find_nodes(op="call_function")
    [sin, add]
    """
    from taimatsu.fx.capture import capture

    @functools.wraps(f)
    def traced(*args: Any) -> GraphModule:
        for leaf in pytree.tree_leaves(args):
            if not isinstance(leaf, torch.Tensor):
                raise TypeError(
                    f"make_fx: the arguments have to be tensors; got {type(leaf).__name__}; bind "
                    "other arguments by functools.partial"
                )
        module, spec = capture(f, args, aten=True, instead=decomposition_table)
        output = module.graph.output_node()
        output.args = (pytree.tree_unflatten(output.args[0], spec),)
        module.recompile()
        return module

    return traced
