"""``fx``: functions and modules as graphs, to be looked at, changed, and run again.

>>> def f(x, y):
...     return torch.relu(x + y) * 2
>>> m = symbolic_trace(f)
>>> print(m.code.strip())
def forward(self, x, y):
    add = x + y;  x = y = None
    relu = torch.relu(add);  add = None
    mul = relu * 2;  relu = None
    return mul
>>> m(torch.ones(1), torch.ones(1))
tensor([4.])

`node`, `graph`: the data; `proxy`: how a graph is recorded; `graph_module`: how it runs as Python;
`interpreter`: how it runs node by node; `subgraph`: patterns in it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from taimatsu._lazy import submodules
from taimatsu.nn import Module

from .graph import Graph, PythonCode
from .graph_module import GraphModule
from .interpreter import Interpreter, Transformer
from .node import Node, has_side_effect, map_arg
from .proxy import Proxy, TraceError, Tracer, wrap
from .subgraph import Match, replace_pattern

__all__ = [
    "Graph", "GraphModule", "Interpreter", "Match", "Node", "Proxy", "PythonCode", "TraceError",
    "Tracer", "Transformer", "has_side_effect", "map_arg", "replace_pattern", "symbolic_trace",
    "wrap",
]  # fmt: skip

__getattr__ = submodules(__name__)


def symbolic_trace(
    root: Module | Callable, concrete_args: dict[str, Any] | None = None
) -> GraphModule:
    """A module whose forward does what a module's or a function does, as a graph.

    ``concrete_args``: parameters that have one value. TraceError where Python's control flow
    depends on a value.

    >>> print(fx.symbolic_trace(lambda x: x.relu() + 1).code.strip())
    def forward(self, x):
        relu = x.relu();  x = None
        add = relu + 1;  relu = None
        return add
    """
    tracer = Tracer()
    graph = tracer.trace(root, concrete_args)
    name = type(root).__name__ if isinstance(root, Module) else root.__name__
    return GraphModule(tracer.root, graph, name)
