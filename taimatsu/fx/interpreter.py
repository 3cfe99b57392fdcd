"""`Interpreter`: runs a graph node by node. `Transformer`: makes a new graph by doing so."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from taimatsu.nn import Module

from .graph import Graph
from .graph_module import GraphModule
from .node import Node, map_arg
from .proxy import Proxy, Tracer

__all__ = ["Interpreter", "Transformer"]


class Interpreter:
    """Runs a graph. Override the method of a kind of node, or `run_node`, to change what happens.

    >>> class Twice(Interpreter):
    ...     def call_function(self, target, args, kwargs):
    ...         return 2 * super().call_function(target, args, kwargs)
    >>> Twice(symbolic_trace(lambda x: torch.neg(x))).run(torch.ones(1))
    tensor([-2.])
    """

    def __init__(
        self, module: Module, garbage_collect_values: bool = True, graph: Graph | None = None
    ):
        self.module, self.graph = module, graph if graph is not None else module.graph
        self.garbage_collect_values = garbage_collect_values
        self.env: dict[Node, Any] = {}
        self.args_iter: Iterator

    def run(
        self, *args: Any, initial_env: dict[Node, Any] | None = None,
        enable_io_processing: bool = True,
    ) -> Any:  # fmt: skip
        """What the graph returns for these arguments. RuntimeError if there are too few."""
        self.env = dict(initial_env or {})
        self.args_iter = iter(args)
        last_use: dict[Node, Node] = {}
        for node in self.graph.nodes:
            for used in node.all_input_nodes:
                last_use[used] = node
        for node in self.graph.nodes:
            if node in self.env:
                continue
            self.env[node] = self.run_node(node)
            if node.op == "output":
                return self.env[node]
            if self.garbage_collect_values:
                for used in node.all_input_nodes:
                    if last_use[used] is node:
                        self.env.pop(used, None)
        return None

    def run_node(self, n: Node) -> Any:
        """The value of one node."""
        args, kwargs = self.fetch_args_kwargs_from_env(n)
        return getattr(self, n.op)(n.target, args, kwargs)

    def fetch_args_kwargs_from_env(self, n: Node) -> tuple[tuple, dict]:
        """A node's arguments, with values in the place of nodes."""
        return self.map_nodes_to_values((n.args, n.kwargs), n)

    def map_nodes_to_values(self, args: Any, n: Node) -> Any:
        """An argument, with values in the place of nodes."""
        return map_arg(args, lambda used: self.env[used])

    def fetch_attr(self, target: str) -> Any:
        """An attribute of the module. RuntimeError if there is none."""
        found: Any = self.module
        for atom in target.split("."):
            if not hasattr(found, atom):
                raise RuntimeError(f"Node referenced nonexistent target {target}")
            found = getattr(found, atom)
        return found

    def placeholder(self, target: str, args: tuple, kwargs: dict) -> Any:
        """A parameter: the next argument, or its default."""
        if target.startswith("*"):
            return list(self.args_iter)
        for value in self.args_iter:
            return value
        if args:
            return args[0]
        raise RuntimeError(f"Expected positional argument for parameter {target}")

    def get_attr(self, target: str, args: tuple, kwargs: dict) -> Any:
        """An attribute of the module."""
        return self.fetch_attr(target)

    def call_function(self, target: Any, args: tuple, kwargs: dict) -> Any:
        """A call of a function."""
        return target(*args, **kwargs)

    def call_method(self, target: str, args: tuple, kwargs: dict) -> Any:
        """A call of a method."""
        return getattr(args[0], target)(*args[1:], **kwargs)

    def call_module(self, target: str, args: tuple, kwargs: dict) -> Any:
        """A call of a submodule."""
        return self.fetch_attr(target)(*args, **kwargs)

    def output(self, target: str, args: tuple, kwargs: dict) -> Any:
        """What is returned."""
        return args[0]


class Transformer(Interpreter):
    """Runs a graph on proxies, so that overridden methods make a new graph: `transform`."""

    def __init__(self, module: Module):
        super().__init__(module)
        self.new_graph = Graph()

        class Recorder(Tracer):
            def is_leaf_module(self, m: Module, module_qualified_name: str) -> bool:
                return True

        self.tracer = Recorder()
        self.tracer.graph, self.tracer.root = self.new_graph, module
        self.tracer._name_tensors()

    def placeholder(self, target: str, args: tuple, kwargs: dict) -> Proxy:
        """A parameter of the new graph."""
        default = args[0] if args else ...
        return Proxy(self.new_graph.placeholder(target, default_value=default), self.tracer)

    def get_attr(self, target: str, args: tuple, kwargs: dict) -> Proxy:
        """An attribute, as a node of the new graph."""
        return self.tracer.create_proxy("get_attr", target, args, kwargs)

    def call_function(self, target: Any, args: tuple, kwargs: dict) -> Any:
        """A call, as a node of the new graph."""
        return self.tracer.create_proxy("call_function", target, args, kwargs)

    def call_module(self, target: str, args: tuple, kwargs: dict) -> Any:
        """A call of a submodule, as a node of the new graph."""
        return self.tracer.create_proxy("call_module", target, args, kwargs)

    def transform(self) -> GraphModule:
        """The module with the new graph."""
        result = super().run()
        if result is not None:
            self.new_graph.output(self.tracer.create_arg(result))
        return GraphModule(self.module, self.new_graph)

    def run_node(self, n: Node) -> Any:
        """The stand-in for a node's value in the new graph."""
        value = super().run_node(n)
        if isinstance(value, Proxy):
            value.node.meta.update(n.meta)
        return value
