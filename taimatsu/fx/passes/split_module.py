"""`split_module`: parts of a graph as submodules."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from taimatsu.fx import Graph, GraphModule, Node, map_arg
from taimatsu.nn import Module

__all__ = ["split_module"]


def split_module(
    m: GraphModule, root_m: Module, split_callback: Callable[[Node], Any],
    qualname_map: dict[str, str] | None = None, keep_original_order: bool | None = False,
    keep_original_node_name: bool | None = False, **options: Any,
) -> GraphModule:  # fmt: skip
    """A module of modules ``submod_<i>``: the nodes for which ``split_callback`` gives i.

    A part's nodes run together, so no value may pass from a part to another one and back;
    RuntimeError if one does.
    """
    steps = [n for n in m.graph.nodes if n.op not in ("placeholder", "get_attr", "output")]
    part_of = {n: split_callback(n) for n in steps}
    parts: dict[Any, list[Node]] = {}
    for node in steps:
        parts.setdefault(part_of[node], []).append(node)
    taken = {p: _taken(nodes) for p, nodes in parts.items()}
    order = _in_order(taken, part_of)
    used_elsewhere = {
        n for n in steps if any(part_of.get(user, ...) != part_of[n] for user in n.users)
    }
    graph, values = Graph(), {}
    for node in m.graph.nodes:
        if node.op == "placeholder":
            values[node] = graph.node_copy(node)
    made: dict[str, Module] = {}
    for part in order:
        inner, given = Graph(), {}
        for node in taken[part]:
            make = inner.node_copy if node.op == "get_attr" else _parameter(inner)
            given[node] = make(node)
        for node in parts[part]:
            given[node] = inner.node_copy(node, given.__getitem__)
        results = [n for n in parts[part] if n in used_elsewhere]
        outputs = [given[n] for n in results]
        inner.output(outputs[0] if len(outputs) == 1 else tuple(outputs))
        name = f"submod_{part}"
        made[name] = GraphModule(m, inner)
        inputs = tuple(values[n] for n in taken[part] if n.op != "get_attr")
        call = graph.call_module(name, inputs)
        for i, node in enumerate(results):
            values[node] = call if len(results) == 1 else _item(graph, call, i)
    returned = m.graph.output_node().args[0]
    for node in m.graph.nodes:
        if node.op == "get_attr" and m.graph.output_node() in node.users:
            values[node] = graph.node_copy(node)
    graph.output(map_arg(returned, lambda n: values[n]))
    root = Module()
    root.__dict__.update({k: v for k, v in m.__dict__.items() if k not in ("_graph", "_code")})
    root._modules = {**root._modules, **made}
    return GraphModule(root, graph, type(m).__name__)


def _taken(nodes: list[Node]) -> list[Node]:
    """What nodes use of others, each once."""
    own = set(nodes)
    return list(dict.fromkeys(n for node in nodes for n in node.all_input_nodes if n not in own))


def _in_order(taken: dict[Any, list[Node]], part_of: dict[Node, Any]) -> list[Any]:
    """The parts, each behind those whose values it takes."""
    order: list[Any] = []
    while len(order) < len(taken):
        ready = [
            p for p, needs in taken.items()
            if p not in order and all(part_of.get(n, p) in (p, *order) for n in needs)
        ]  # fmt: skip
        if not ready:
            raise RuntimeError("split_module: values pass from a part to another one and back")
        order.append(ready[0])
    return order


def _parameter(graph: Graph) -> Callable[[Node], Node]:
    return lambda node: graph.placeholder(node.name)


def _item(graph: Graph, call: Node, index: int) -> Node:
    import operator

    return graph.call_function(operator.getitem, (call, index))
