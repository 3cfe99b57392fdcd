"""`PassBase`: a change of a graph as an object."""

from __future__ import annotations

import typing

from taimatsu.fx import GraphModule

__all__ = ["PassBase", "PassResult"]


class PassResult(typing.NamedTuple):
    """The module after a pass, and whether it was changed."""

    graph_module: GraphModule
    modified: bool


class PassBase:
    """A pass: `call` does it, `requires` and `ensures` look at the module before and after."""

    def __call__(self, graph_module: GraphModule) -> PassResult | None:
        self.requires(graph_module)
        result = self.call(graph_module)
        self.ensures(graph_module)
        return result

    def call(self, graph_module: GraphModule) -> PassResult | None:
        """To be overridden."""
        raise NotImplementedError(f"{type(self).__name__}: must define call")

    def requires(self, graph_module: GraphModule) -> None:
        """Called before; may raise."""

    def ensures(self, graph_module: GraphModule) -> None:
        """Called after; may raise."""
