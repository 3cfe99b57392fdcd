"""Recording the ops that a function calls."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any

import taimatsu as torch
from taimatsu import Tensor, _core, _op_namespaces
from taimatsu.fx import Graph, Node
from taimatsu.fx.capture import Recorder, trial
from taimatsu.ops import namespaces
from taimatsu.ops.table import ENTRIES, Op
from taimatsu.utils._pytree import tree_leaves

__all__ = ["Call", "Recording", "find_call", "generalize", "record", "sym_size"]

sym_size = torch.ops.aten.sym_size.int


class Call:
    """An op of the table as a graph's function: of its arguments in the schema's order.

    ``into``: how many tensors it writes to, which are then the first arguments.
    """

    def __init__(self, op: Op, into: int = 0):
        self.op, self.into = op, into
        prefix = op.module.replace(".", "_") + "_" if op.module in ("linalg", "fft") else ""
        self.__name__ = f"{prefix}{op.name.partition('.')[0]}"
        self.__module__ = "aten"

    def __call__(self, *args: Any) -> Any:
        if not self.into:
            return _core.call(self.op, *args)
        return _core.call_into(self.op, args[: self.into], *args[self.into :])

    def __str__(self) -> str:
        return f"aten.{self.__name__}{'_' if self.into else ''}.default"

    __repr__ = __str__


def _public(op: Op) -> Any:
    """``torch.ops.aten``'s function for an op, if it is this op and no other."""
    base = op.name.partition(".")[0]
    if op.module is None or "." in op.name or base not in namespaces.get(op.module, {}):
        return None
    name = _op_namespaces.PREFIX_OF.get(op.module, "") + base
    if _op_namespaces._aten(name) is not namespaces[op.module][base]:
        return None
    return getattr(torch.ops.aten, name).default


def find_call(name: str, module: str | None, into: int) -> Any:
    """The function that a file names."""
    for op in ENTRIES:
        if op.name == name and op.module == module:
            return Call(op, into)
    raise RuntimeError(f"export: the program uses the op {name!r}, which isn't here")


class Recording(Recorder):
    """Writes down the ops that are called inside; what comes from outside is an input."""

    def __init__(self, inputs: list[tuple[str, Tensor]], whole: bool = True):
        super().__init__(whole)
        self.constants: dict[str, Tensor] = {}
        for name, tensor in inputs:
            self.bind(tensor, self.graph.placeholder(name))

    def outside(self, tensor: Tensor) -> Node:
        name = f"c_lifted_tensor_{len(self.constants)}"
        self.constants[name] = tensor.detach()
        with self.graph.inserting_before(None):
            return self.graph.placeholder(name)

    def node(self, op: Op, args: tuple, targets: tuple | None) -> Node:
        given = self.argument((*(targets or ()), *args))
        node = self.graph.call_function(Call(op, len(targets or ())), given)
        node.meta["schema"] = op.schema
        return node


def record(
    function: Callable, inputs: list[tuple[str, Tensor]], whole: bool = True
) -> tuple[Recording, Any]:
    """What ``function()`` calls and gives; inputs: the tensors that are the graph's, by name."""
    recording = Recording(inputs, whole)
    with trial(recording):
        result = function()
        output = recording.argument(tuple(tree_leaves(result)))
    recording.graph.output(output)
    return recording, result


def publish(graph: Graph) -> None:
    """Gives nodes the functions of ``torch.ops.aten`` where these are the ops."""
    for node in graph.nodes:
        if not isinstance(node.target, Call) or node.target.into:
            continue
        public = _public(node.target.op)
        if public is None:
            continue
        params = node.target.op.parsed.params
        pairs = list(zip(params, node.args, strict=True))
        positional = [a for p, a in pairs if not p.keyword_only]
        plain = [p for p in params if not p.keyword_only]
        while positional and _is_default(plain[len(positional) - 1], positional[-1]):
            positional.pop()
        named = {p.name: a for p, a in pairs if p.keyword_only and not _is_default(p, a)}
        node.target = public
        node.args, node.kwargs = tuple(positional), named


def _is_default(param: Any, value: Any) -> bool:
    if isinstance(value, Node) or type(param.default) is not type(value):
        return False
    return param.default is value or bool(param.default == value)


# ---- open sizes ---------------------------------------------------------------------------------


def generalize(
    first: Graph, others: list[tuple[dict[str, int], Graph]], sizes: dict[str, int],
    places: dict[str, tuple[Node, int]],
) -> None:  # fmt: skip
    """Puts expressions of the open sizes in the place of numbers that change with them.

    first: recorded with ``sizes``; others: with others, one changed at a time, at last all.
    places: the placeholder and dim whose size each is. RuntimeError where the graphs differ
    otherwise, or a number is no sum or product of sizes.
    """
    names = list(sizes)
    runs = [list(graph.nodes) for _, graph in others]
    nodes = list(first.nodes)
    if any(len(run) != len(nodes) for run in runs):
        raise RuntimeError(
            "export: the ops that are called depend on a size that dynamic_shapes leaves open; "
            "make it static, by Dim.STATIC"
        )
    after = [n for n in nodes if n.op == "placeholder"][-1]
    known: dict[str, Node] = {}

    def size_node(name: str) -> Node:
        if name not in known:
            with first.inserting_after(after):
                known[name] = first.call_function(sym_size, places[name])
                known[name].meta["val"] = sizes[name]
        return known[name]

    for at, node in enumerate(nodes):
        same = [run[at] for run in runs]

        def expression(path: tuple, value: Any, same: list[Node] = same, node: Node = node) -> Any:
            seen = [_at(other.args, path) for other in same]
            if isinstance(value, Node) or all(v is value or v == value for v in seen):
                return value
            if type(value) is not int:
                raise RuntimeError(
                    f"export: in {node.target} the value {value!r} depends on the sizes "
                    f"{', '.join(names)}; make them static"
                )
            found = _fit(value, seen, names, sizes, [changed for changed, _ in others])
            if found is None:
                raise RuntimeError(
                    f"export: in {node.target} the number {value} depends on the sizes "
                    f"{', '.join(names)} in a way that isn't found; make one static"
                )
            with first.inserting_before(node):
                return _build(first, found, size_node)

        node.args = _mapped(node.args, expression)


def _at(args: Any, path: tuple) -> Any:
    for step in path:
        args = _bounds(args)[step] if isinstance(args, slice) else args[step]
    return args


def _bounds(s: slice) -> tuple[Any, Any, Any]:
    return s.start, s.stop, s.step


def _mapped(value: Any, function: Callable, path: tuple = ()) -> Any:
    if isinstance(value, (tuple, list)):
        return type(value)(_mapped(v, function, (*path, i)) for i, v in enumerate(value))
    if isinstance(value, slice):
        return slice(*_mapped(_bounds(value), function, path))
    return function(path, value)


def _fit(value: int, seen: list[int], names: list[str], sizes: dict[str, int],
         changed: list[dict[str, int]]) -> tuple[str, Any] | None:  # fmt: skip
    """A number as a sum of multiples of sizes, or of a product of them, and a constant."""
    factors = []
    for name, v, run in zip(names, seen, changed, strict=False):
        factor, rest = divmod(v - value, run[name] - sizes[name])
        factors.append(None if rest else factor)
    last = changed[-1]
    if None not in factors:
        terms = {n: f for n, f in zip(names, factors, strict=True) if f}
        constant = value - sum(f * sizes[n] for n, f in terms.items())
        if constant + sum(f * last[n] for n, f in terms.items()) == seen[-1]:
            return "sum", (constant, terms)
    involved = [n for n, v in zip(names, seen, strict=False) if v != value]
    products = [math.prod(run[n] for n in involved) for run in (sizes, *changed)]
    factor = (seen[-1] - value) // ((products[-1] - products[0]) or 1)
    constant = value - factor * products[0]
    if all(factor * p + constant == v for p, v in zip(products[1:], seen, strict=True)):
        return "product", (constant, factor, involved)
    return None


def _build(graph: Graph, found: tuple[str, Any], size_node: Callable[[str], Node]) -> Node:
    def times(term: Node, factor: int) -> Node:
        return term if factor == 1 else graph.call_function(operator.mul, (term, factor))

    kind, parts = found
    if kind == "product":
        number, factor, names = parts
        made = size_node(names[0])
        for name in names[1:]:
            made = graph.call_function(operator.mul, (made, size_node(name)))
        made = times(made, factor)
    else:
        number, terms = parts
        each = [times(size_node(name), factor) for name, factor in terms.items()]
        made = each[0]
        for term in each[1:]:
            made = graph.call_function(operator.add, (made, term))
    return graph.call_function(operator.add, (made, number)) if number else made
