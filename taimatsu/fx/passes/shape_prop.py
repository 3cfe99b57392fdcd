"""`ShapeProp`: runs a graph and notes at each node what its value is like."""

from __future__ import annotations

import typing
from typing import Any

import taimatsu as torch
from taimatsu.fx import Interpreter, Node
from taimatsu.fx.node import map_aggregate

__all__ = ["ShapeProp", "TensorMetadata"]


class TensorMetadata(typing.NamedTuple):
    """What is known of a tensor without its elements."""

    shape: Any
    dtype: Any
    requires_grad: bool
    stride: tuple[int, ...]
    memory_format: Any
    is_quantized: bool
    qparams: dict[str, Any]


def _extract_tensor_metadata(result: Any, include_contiguity: bool = True) -> TensorMetadata:
    formats = (torch.contiguous_format, torch.channels_last, torch.channels_last_3d)
    fitting = (
        f for f in formats if include_contiguity and result.is_contiguous(memory_format=f)
    )
    return TensorMetadata(
        result.shape, result.dtype, result.requires_grad, result.stride(), next(fitting, None),
        False, {},
    )  # fmt: skip


class ShapeProp(Interpreter):
    """Notes in ``node.meta``: "tensor_meta", `TensorMetadata` of the tensors in its value, and
    "type", the value's type.

    >>> graph = fx.symbolic_trace(lambda x: x.sum(0))
    >>> _ = ShapeProp(graph).propagate(torch.ones(2, 3))
    >>> [tuple(n.meta["tensor_meta"].shape) for n in graph.graph.nodes]
    [(2, 3), (3,), (3,)]
    """

    def run_node(self, n: Node) -> Any:
        """The node's value, noted."""
        result = super().run_node(n)
        found = False

        def note(value: Any) -> Any:
            nonlocal found
            if not isinstance(value, torch.Tensor):
                return value
            found = True
            return _extract_tensor_metadata(value)

        meta = map_aggregate(result, note)
        if found:
            n.meta["tensor_meta"] = meta
        n.meta["type"] = type(result)
        return result

    def propagate(self, *args: Any) -> Any:
        """Runs the graph with these arguments."""
        return self.run(*args)
