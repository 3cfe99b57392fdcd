"""Capture: the ops that one call carries out, as a graph, whatever its Python does.

`symbolic_trace` runs a function on placeholders; here it runs on tensors, and what is recorded is
what it did: control flow is that of these arguments. Tensors that come from outside, parameters
among them, become attributes of the module.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import taimatsu as torch
from taimatsu._aten import own_form
from taimatsu._interpreter import Interpreter
from taimatsu._op_namespaces import overload_of
from taimatsu.nn import Module
from taimatsu.overrides import BaseTorchFunctionMode
from taimatsu.utils import _pytree as pytree

from .graph import Graph
from .graph_module import GraphModule
from .node import Node

__all__ = ["Recorder", "ValueRead", "capture", "trial"]

# What makes Python depend on elements, or goes past the ops.
_READS = frozenset((
    "item", "tolist", "numpy", "__bool__", "__int__", "__float__", "__complex__", "__index__",
    "__contains__", "backward",
))  # fmt: skip


class ValueRead(RuntimeError):
    """The function looked at elements, so that what it does next depends on them."""


class Recorder(Interpreter):
    """Writes the ops of its ``with`` block to a graph.

    ``whole``: composites are nodes, rather than what they come down to. A subclass says how an op
    is written, `node`, and what a tensor is that none of them made, `outside`.
    """

    def __init__(self, whole: bool = True):
        self.graph, self.whole = Graph(), whole
        self.nodes: dict[int, Node] = {}
        self.tensors: list[Any] = []  # kept alive: their ids are keys of `nodes`
        self.written: dict[int, tuple[Any, Any]] = {}  # from outside, with the contents before
        self.within = False  # a call that is recorded as a whole

    def node(self, op: Any, args: tuple, targets: tuple | None) -> Node:
        raise NotImplementedError

    def outside(self, tensor: Any) -> Node:
        raise NotImplementedError

    def bind(self, value: Any, node: Node) -> None:
        """The tensors of a value are what this node gives, from now on."""
        node.meta["val"] = pytree.tree_map(_without_elements, value)
        if isinstance(value, torch.Tensor):
            self.nodes[id(value)] = node
            self.tensors.append(value)
        elif isinstance(value, (tuple, list)):
            for i, item in enumerate(value):
                if isinstance(item, torch.Tensor):
                    self.bind(item, self.graph.call_function(operator.getitem, (node, i)))

    def node_of(self, tensor: Any) -> Node:
        """The node that gives a tensor."""
        if id(tensor) not in self.nodes:
            self.bind(tensor, self.outside(tensor))
        return self.nodes[id(tensor)]

    def argument(self, value: Any) -> Any:
        """An argument, with nodes for tensors."""
        if isinstance(value, torch.Tensor):
            return self.node_of(value)
        if isinstance(value, (tuple, list)):
            return type(value)(self.argument(v) for v in value)
        return value

    def call(self, op: Any, args: tuple, targets: tuple | None) -> Any:
        composite = op.kind == "composite"
        for t in targets or (args[:1] if op.name.endswith("_") else ()):
            self._keep(t)
        if self.within or (composite and (not self.whole or op.name[0] == "_")):
            return (self.descend if composite else self.below)(op, args, targets)
        node = self.node(op, args, targets)
        self.within = True  # what a composite writes to is seen
        try:
            result = (self.descend if composite else self.below)(op, args, targets)
        finally:
            self.within = False
        self.bind(result, node)
        return result

    def became(self, x: Any, view: Any) -> None:
        if not self.within:
            self.nodes[id(x)] = self.node_of(view)

    def function(self, cls: Any, args: tuple) -> Any:
        if self.within:
            return self.function_below(cls, args)
        node = self.graph.call_function(cls.apply, self.argument(args))
        result = self.function_below(cls, args)
        self.bind(result, node)
        return result

    def _keep(self, target: Any) -> None:
        """What the call to be recorded writes to, if it isn't its own."""
        known = self.nodes.get(id(target))
        if known is None or known.op in ("placeholder", "get_attr"):
            self.written.setdefault(id(target), (target, target.detach().clone()))


class _Functions(Recorder):
    """Ops as the functions that programs call; ``aten``: as those of `torch.ops.aten`."""

    def __init__(self, function: Callable, aten: bool, instead: dict[Any, Callable]):
        super().__init__(whole=not aten)
        self.aten, self.instead = aten, instead
        self.attributes: dict[str, Any] = {}
        self.names: dict[int, str] = {}
        if isinstance(function, Module):
            every = (*function.named_parameters(), *function.named_buffers())
            self.names = {id(t): name for name, t in every}

    def outside(self, tensor: Any) -> Node:
        name = self.names.get(id(tensor), f"_tensor_constant{len(self.attributes)}")
        self.attributes[name] = tensor
        return self.graph.get_attr(name)

    def call(self, op: Any, args: tuple, targets: tuple | None) -> Any:
        replaced = None
        if self.instead and targets is None and not self.within and op.name[0] != "_":
            replaced = self.instead.get(overload_of(op, False))
        if replaced is None:
            return super().call(op, args, targets)
        with self:
            return replaced(*args)

    def node(self, op: Any, args: tuple, targets: tuple | None) -> Node:
        params = op.parsed.params
        base = op.name.partition(".")[0]
        inplace = targets is not None and len(targets) == 1 and targets[0] is args[0]
        given = [self.argument(a) for a in args]
        if base in _PRIVATE and targets is None:
            return _PRIVATE[base](self.graph, *given)
        named = {p.name: a for p, a in zip(params, given, strict=True)
                 if p.keyword_only and a != p.default}  # fmt: skip
        kept = [(p, a) for p, a in zip(params, given, strict=True) if not p.keyword_only]
        while kept and kept[-1][0].default is kept[-1][1]:
            kept.pop()
        positional = tuple(a for _, a in kept)
        if targets is not None and not inplace:
            named["out"] = self.argument(targets if len(targets) > 1 else targets[0])
        name = base + "_" if inplace and not base.endswith("_") else base
        if self.aten and op.name[0] != "_":
            form = overload_of(op, inplace)
            if form is not None:
                return self.graph.call_function(form, positional, named, name=name)
        function = None if inplace else public_function(op)
        if function is not None:
            return self.graph.call_function(function, positional, named)
        if hasattr(torch.Tensor, name) and name[0] != "_":
            return self.graph.call_method(name, positional, named)
        return self.graph.call_function(own_form(op), (*given,))


class _Watch(BaseTorchFunctionMode):
    """Refuses what a graph can't express."""

    def __init__(self, recorder: Recorder):
        self.recorder = recorder

    def __torch_function__(
        self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        if getattr(func, "__name__", "") in _READS and not self.recorder.within:
            raise ValueRead(
                f"capture: a graph depends on sizes and dtypes only; the function calls "
                f"{func.__name__}, which looks at elements; leave that part out of the graph"
            )
        return super().__torch_function__(func, types, args, kwargs)


def _without_elements(value: Any) -> Any:
    if not isinstance(value, torch.Tensor):
        return value
    return torch.empty_strided(value.shape, value.stride(), dtype=value.dtype, device="meta")


def public_function(op: Any) -> Callable | None:
    """Under what an op of the table is called."""
    if op.module == "Tensor":
        return None
    owner: Any = torch
    for part in filter(None, op.module.split(".")):
        owner = getattr(owner, part, None)
    found = getattr(owner, op.name.partition(".")[0], None)
    return found if callable(found) else None


def _index(graph: Graph, x: Any, indices: Any) -> Node:
    key = tuple(slice(None) if i is None else i for i in indices)
    return graph.call_function(operator.getitem, (x, key))


_PRIVATE: dict[str, Callable[..., Node]] = {
    "_basic_index": lambda graph, x, key: graph.call_function(operator.getitem, (x, key)),
    "_index": _index,
    "_to": lambda graph, x, dtype, *rest: graph.call_method("to", (x, dtype)),
}


@contextmanager
def trial(recorder: Recorder) -> Iterator[None]:
    """Takes back what a call writes to tensors from outside, and its random draws."""
    try:
        with torch.random.fork_rng(), ExitStack() as stack:
            stack.enter_context(recorder)
            stack.enter_context(_Watch(recorder))
            yield
    finally:
        with torch.no_grad():
            for tensor, before in recorder.written.values():
                tensor.copy_(before)


def capture(
    function: Callable, args: tuple, kwargs: dict[str, Any] | None = None, aten: bool = False,
    instead: dict[Any, Callable] | None = None,
) -> tuple[GraphModule, pytree.TreeSpec]:  # fmt: skip
    """The graph of a call, whose placeholders are the tensors among the arguments, in the order of
    `tree_leaves`, and whose output is a tuple of leaves; and what these are leaves of.

    ``aten``: in ops of ATen, those that composites come down to; ``instead``: functions that are
    recorded in place of some. The call leaves nothing behind. `ValueRead` if it looks at elements.
    """
    recorder = _Functions(function, aten, instead or {})
    graph = recorder.graph
    for i, leaf in enumerate(pytree.tree_leaves((args, kwargs or {}))):
        if isinstance(leaf, torch.Tensor):
            recorder.bind(leaf, graph.placeholder(f"arg{i}_1"))
    with trial(recorder):
        leaves, spec = pytree.tree_flatten(function(*args, **(kwargs or {})))
        output = recorder.argument(tuple(leaves))
    graph.output(output)
    return GraphModule(recorder.attributes, graph), spec
