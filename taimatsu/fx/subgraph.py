"""`replace_pattern`: parts of a graph that look like a function, replaced by another function."""

from __future__ import annotations

import typing
from collections.abc import Callable
from typing import Any

from .graph import Graph
from .graph_module import GraphModule
from .node import Node

__all__ = ["Match", "replace_pattern"]


class Match(typing.NamedTuple):
    """Where a pattern was found: the node that its result is, and node by node of the pattern."""

    anchor: Node
    nodes_map: dict[Node, Any]


def _graph_of(pattern: Callable | GraphModule) -> Graph:
    from . import symbolic_trace

    return (pattern if isinstance(pattern, GraphModule) else symbolic_trace(pattern)).graph


def _same(p: Any, g: Any, found: dict[Node, Any]) -> bool:
    """Whether an argument of the graph is like one of the pattern."""
    if isinstance(p, Node):
        if p in found:
            return found[p] is g
        if p.op == "placeholder":  # stands for anything
            found[p] = g
            return True
        if not isinstance(g, Node) or (p.op, p.target) != (g.op, g.target):
            return False
        found[p] = g
        return _same(p.args, g.args, found) and _same(p.kwargs, g.kwargs, found)
    if isinstance(p, (tuple, list)):
        fits = isinstance(g, (tuple, list)) and len(p) == len(g)
        return fits and all(_same(a, b, found) for a, b in zip(p, g, strict=True))
    if isinstance(p, dict):
        fits = isinstance(g, dict) and p.keys() == g.keys()
        return fits and all(_same(v, g[k], found) for k, v in p.items())
    return not isinstance(g, Node) and type(p) is type(g) and p == g


def replace_pattern(
    gm: GraphModule, pattern: Callable | GraphModule, replacement: Callable | GraphModule
) -> list[Match]:
    """Puts ``replacement`` wherever a part of the graph computes what ``pattern`` does.

    Both are functions of the same parameters. Values inside of a match that the rest of the graph
    uses too prevent it. What was found.

    >>> m = symbolic_trace(lambda x: torch.relu(x) + 1)
    >>> _ = replace_pattern(m, lambda x: torch.relu(x), lambda x: torch.tanh(x))
    >>> m(torch.zeros(1))
    tensor([1.])
    """
    graph, old, new = gm.graph, _graph_of(pattern), _graph_of(replacement)
    wanted = old.output_node().args[0]
    matches: list[Match] = []
    taken: set[Node] = set()
    for node in list(graph.nodes):
        found: dict[Node, Any] = {}
        if node._erased or not _same(wanted, node, found):
            continue
        inside = {g for p, g in found.items() if p.op != "placeholder"}
        leaks = any(u not in inside for g in inside if g is not node for u in g.users)
        if leaks or inside & taken:
            continue
        taken |= inside
        matches.append(Match(node, found))
    params = [n for n in old.nodes if n.op == "placeholder"]
    moved: dict[Node, Any] = {}  # what earlier replacements put in the place of a match
    for match in matches:
        given = [match.nodes_map.get(p) for p in params]
        own = [n for n in new.nodes if n.op == "placeholder"]
        values = {
            n: moved.get(v, v) if isinstance(v, Node) else v
            for n, v in zip(own, given, strict=True)
        }
        with graph.inserting_before(match.anchor):
            result = graph.graph_copy(new, values)
        match.anchor.replace_all_uses_with(result)
        moved[match.anchor] = result
        inner = [g for p, g in match.nodes_map.items() if p.op != "placeholder"]
        for node in sorted(inner, key=list(graph.nodes).index, reverse=True):
            graph.erase_node(node)
    gm.recompile()
    return matches
