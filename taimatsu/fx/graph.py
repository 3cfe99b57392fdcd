"""`Graph`: the steps of a function as data, that can be changed and written as Python again."""

from __future__ import annotations

import builtins
import keyword
import operator
import re
import typing
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import taimatsu as torch
from taimatsu._op_namespaces import OpOverload, OpOverloadPacket

from .node import Node, map_arg, nodes_from

__all__ = ["Graph", "PythonCode"]

# How calls of operators are written.
_INFIX = {
    operator.add: "+", operator.sub: "-", operator.mul: "*", operator.truediv: "/",
    operator.floordiv: "//", operator.mod: "%", operator.matmul: "@", operator.pow: "**",
    operator.lshift: "<<", operator.rshift: ">>", operator.and_: "&", operator.or_: "|",
    operator.xor: "^", operator.eq: "==", operator.ne: "!=", operator.lt: "<", operator.gt: ">",
    operator.le: "<=", operator.ge: ">=",
}  # fmt: skip
_PREFIX = {operator.neg: "-", operator.pos: "+", operator.invert: "~"}


class PythonCode(typing.NamedTuple):
    """Source of a function, and the names that it uses."""

    src: str
    globals: dict[str, Any]


class _node_list:
    """The nodes in order; `reversed` works."""

    def __init__(self, graph: Graph):
        self._graph = graph

    def __iter__(self) -> Iterator[Node]:
        return nodes_from(self._graph._root)

    def __reversed__(self) -> Iterator[Node]:
        return nodes_from(self._graph._root, "_prev")

    def __len__(self) -> int:
        return sum(1 for _ in self)


class Graph:
    """Nodes in the order in which they run. New ones are added where `inserting_before` says.

    >>> g = Graph()
    >>> x = g.placeholder("x")
    >>> _ = g.output(g.call_function(torch.relu, (x,)))
    >>> print(g.python_code("self").src.strip())
    def forward(self, x):
        relu = torch.relu(x);  x = None
        return relu
    """

    def __init__(
        self, owning_module: Any = None, tracer_cls: Any = None, tracer_extras: Any = None
    ):
        self._root = Node(self, "", "root", "", (), {})
        self._at = self._root  # new nodes go before it
        self._names: set[str] = set()
        self.owning_module, self._tracer_cls = owning_module, tracer_cls

    @property
    def nodes(self) -> _node_list:
        """The nodes."""
        return _node_list(self)

    def output_node(self) -> Node:
        """The node that returns."""
        node = self._root._prev
        if node.op != "output":
            raise AssertionError("output_node: the last node returns nothing")
        return node

    def find_nodes(self, *, op: str, target: Any = None, sort: bool = True) -> list[Node]:
        """The nodes of this kind, and target if it is given."""
        return [n for n in self.nodes if n.op == op and target in (None, n.target)]

    # ---- new nodes ----------------------------------------------------------------------------
    def _unique(self, hint: str) -> str:
        name = re.sub(r"\W", "_", hint) or "_"
        if name[0].isdigit():
            name = f"_{name}"
        if keyword.iskeyword(name) or hasattr(builtins, name) or name in ("self", "torch"):
            name = f"{name}_1"
        base = re.sub(r"_\d+$", "", name)
        number = 0
        while name in self._names:
            number += 1
            name = f"{base}_{number}"
        self._names.add(name)
        return name

    def create_node(
        self, op: str, target: Any, args: tuple | None = None, kwargs: dict | None = None,
        name: str | None = None, type_expr: Any = None,
    ) -> Node:  # fmt: skip
        """A new node, at the place of insertion."""
        known = target if isinstance(target, str) else getattr(target, "__name__", "node")
        hint = str(name or known)
        if op == "get_attr" or op == "call_module" or not isinstance(target, str):
            hint = hint.replace(".", "_").lstrip("_") or hint
        node = Node(self, self._unique(hint), op, target, args or (), kwargs or {}, type_expr)
        self._at.prepend(node)
        return node

    def placeholder(self, name: str, type_expr: Any = None, default_value: Any = ...) -> Node:
        """A parameter of the function."""
        args = () if default_value is ... else (default_value,)
        return self.create_node("placeholder", name, args, type_expr=type_expr)

    def get_attr(self, qualified_name: str, type_expr: Any = None) -> Node:
        """An attribute of the module."""
        return self.create_node("get_attr", qualified_name, type_expr=type_expr)

    def call_module(
        self, module_name: str, args: tuple | None = None, kwargs: dict | None = None,
        type_expr: Any = None,
    ) -> Node:  # fmt: skip
        """A call of a submodule."""
        return self.create_node("call_module", module_name, args, kwargs, type_expr=type_expr)

    def call_method(
        self, method_name: str, args: tuple | None = None, kwargs: dict | None = None,
        type_expr: Any = None,
    ) -> Node:  # fmt: skip
        """A call of a method of the first argument."""
        return self.create_node("call_method", method_name, args, kwargs, type_expr=type_expr)

    def call_function(
        self, the_function: Callable, args: tuple | None = None, kwargs: dict | None = None,
        type_expr: Any = None, name: str | None = None,
    ) -> Node:  # fmt: skip
        """A call of a function."""
        return self.create_node("call_function", the_function, args, kwargs, name, type_expr)

    def output(self, result: Any, type_expr: Any = None) -> Node:
        """What is returned."""
        return self.create_node("output", "output", (result,), type_expr=type_expr)

    def node_copy(self, node: Node, arg_transform: Callable[[Node], Any] = lambda x: x) -> Node:
        """A copy of a node of another graph, whose arguments ``arg_transform`` finds here."""
        args, kwargs = map_arg((node.args, node.kwargs), arg_transform)
        copied = self.create_node(node.op, node.target, args, kwargs, node.name, node.type)
        copied.meta = dict(node.meta)
        return copied

    def graph_copy(self, g: Graph, val_map: dict, return_output_node: bool = False) -> Any:
        """Copies all nodes of a graph but its output; what that returns, in terms of copies."""
        for node in g.nodes:
            if node in val_map:
                continue
            if node.op == "output":
                result = map_arg(node.args[0], lambda n: val_map[n])
                return (result, node) if return_output_node else result
            val_map[node] = self.node_copy(node, lambda n: val_map[n])
        return None

    def __deepcopy__(self, memo: dict) -> Graph:
        copied = Graph(tracer_cls=self._tracer_cls)
        result = copied.graph_copy(self, {}, return_output_node=True)
        if result is not None:
            returned, node = result
            copied.output(returned, node.type).meta.update(node.meta)
        memo[id(self)] = copied
        return copied

    # ---- change -------------------------------------------------------------------------------
    @contextmanager
    def _inserting(self, node: Node):
        before, self._at = self._at, node
        try:
            yield
        finally:
            self._at = before

    def inserting_before(self, n: Node | None = None) -> Any:
        """A context in which new nodes come before ``n``, by default before all."""
        return self._inserting(n if n is not None else self._root._next)

    def inserting_after(self, n: Node | None = None) -> Any:
        """A context in which new nodes come behind ``n``, by default first."""
        return self._inserting((n if n is not None else self._root)._next)

    def erase_node(self, to_erase: Node) -> None:
        """Takes a node out. RuntimeError if others use it."""
        if to_erase.users:
            raise RuntimeError(
                f"Tried to erase Node {to_erase} but it still had {len(to_erase.users)} users in "
                f"the graph: {to_erase.users}!"
            )
        if to_erase._erased:
            return
        to_erase._unlink()
        to_erase._erased = True
        to_erase._update((), {})
        if self._at is to_erase:
            self._at = to_erase._next

    def eliminate_dead_code(self, is_impure_node: Callable[[Node], bool] | None = None) -> bool:
        """Takes out the nodes that nothing uses and that only compute; whether there were any."""
        self.lint()
        impure = is_impure_node or Node.is_impure
        changed = False
        for node in list(reversed(self.nodes)):
            if not node.users and not impure(node):
                self.erase_node(node)
                changed = True
        return changed

    def lint(self) -> None:
        """RuntimeError if a node uses one that comes later, or what isn't there."""
        seen: set[Node] = set()
        names: set[str] = set()
        for node in self.nodes:
            for used in node.all_input_nodes:
                if used.graph is not self:
                    raise RuntimeError(f"Argument '{used}' of Node '{node}' is of another graph")
                if used not in seen:
                    raise RuntimeError(
                        f"Argument '{used}' of Node '{node}' was used before it has been defined! "
                        f"Please check that Nodes in the graph are topologically ordered\n{self}"
                    )
            if node.name in names:
                raise RuntimeError(f"Node redefined name {node.name}!")
            seen.add(node)
            names.add(node.name)
            if self.owning_module is not None and node.op in ("call_module", "get_attr"):
                found = self.owning_module
                for atom in node.target.split("."):
                    if not hasattr(found, atom):
                        raise RuntimeError(f"Node {node} target {node.target} doesn't exist")
                    found = getattr(found, atom)

    # ---- text ---------------------------------------------------------------------------------
    def python_code(self, root_module: str = "self", **options: Any) -> PythonCode:
        """The function ``forward`` as source. Values are dropped after their last use."""
        names = _Globals(self._names)
        dying: dict[Node, list[Node]] = {}  # what is used for the last time, where
        seen: set[Node] = set()
        for node in reversed(self.nodes):
            dying[node] = [n for n in node.all_input_nodes if n not in seen]
            seen.update(node.all_input_nodes)
        params, lines, returns = [], [], "None"
        for node in self.nodes:
            if node.op == "placeholder":
                default = f" = {names.text(node.args[0])}" if node.args else ""
                params.append(f"{node.target}{default}")
                raw = node.target.lstrip("*")
                if raw != node.name:
                    lines.append(f"{node.name} = {raw}")
            elif node.op == "output":
                returns = names.text(node.args[0])
            else:
                drop = [n.name for n in dying[node]] + ([] if node.users else [node.name])
                tail = f";  {' = '.join(drop)} = None" if drop else ""
                lines.append(f"{node.name} = {self._expression(node, names, root_module)}{tail}")
        body = "".join(f"    {line}\n" for line in [*lines, f"return {returns}"])
        head = f"\n\n\ndef forward({', '.join([root_module, *params])}):\n"
        return PythonCode(head + body + "    ", names.table)

    def _expression(self, node: Node, names: _Globals, root: str) -> str:
        args = [names.text(a) for a in node.args]
        kwargs = [f"{k} = {names.text(v)}" for k, v in node.kwargs.items()]
        given = ", ".join(args + kwargs)
        if node.op == "get_attr":
            return _attribute(root, node.target)
        if node.op == "call_module":
            return f"{_attribute(root, node.target)}({given})"
        if node.op == "call_method":
            return f"{args[0]}.{node.target}({', '.join(args[1:] + kwargs)})"
        if not kwargs:
            if node.target in _INFIX and len(args) == 2:
                return f"{args[0]} {_INFIX[node.target]} {args[1]}"
            if node.target in _PREFIX and len(args) == 1:
                return f"{_PREFIX[node.target]}{args[0]}"
            if node.target is operator.getitem and len(args) == 2:
                return f"{args[0]}[{args[1]}]"
            if node.target is getattr and len(args) == 2 and str(node.args[1]).isidentifier():
                return f"{args[0]}.{node.args[1]}"
        return f"{names.callable(node.target)}({given})"

    def __str__(self) -> str:
        return "\n    ".join(["graph():", *(n.format_node() for n in self.nodes)])

    def print_tabular(self) -> None:
        """Prints the nodes as a table."""
        rows = [["opcode", "name", "target", "args", "kwargs"]]
        rows += [list(map(str, (n.op, n.name, n.target, n.args, n.kwargs))) for n in self.nodes]
        widths = [max(len(row[i]) for row in rows) for i in range(5)]
        for i, row in enumerate(rows):
            print("  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip())
            if not i:
                print("  ".join("-" * w for w in widths))


def _attribute(root: str, target: str) -> str:
    """``self.layers.0.weight`` as an expression."""
    for atom in target.split("."):
        root = f"{root}.{atom}" if atom.isidentifier() else f'getattr({root}, "{atom}")'
    return root


class _Globals:
    """Names for the objects that source refers to."""

    def __init__(self, taken: set[str]) -> None:
        self.table: dict[str, Any] = {"torch": torch}
        self._taken = taken  # by values

    def callable(self, function: Callable) -> str:
        """An expression for a function."""
        name = getattr(function, "__name__", "")
        if getattr(builtins, name, None) is function:
            return name
        if isinstance(function, (OpOverload, OpOverloadPacket)):
            return f"torch.ops.{function}"
        for prefix, place in (
            ("torch", torch), ("torch.nn.functional", torch.nn.functional),
            ("torch.Tensor", torch.Tensor), ("torch.linalg", torch.linalg),
            ("torch.special", torch.special),
        ):  # fmt: skip
            if name and getattr(place, name, None) is function:
                return f"{prefix}.{name}"
        return self._own(name or "function", function)

    def _own(self, hint: str, value: Any) -> str:
        for name, known in self.table.items():
            if known is value:
                return name
        name = base = re.sub(r"\W", "_", hint)
        number = 0
        while name in self.table or name in self._taken or hasattr(builtins, name):
            number += 1
            name = f"{base}_{number}"
        self.table[name] = value
        return name

    def text(self, value: Any) -> str:
        """An expression for an argument."""
        if isinstance(value, Node):
            return value.name
        if type(value) is tuple:
            return f"({', '.join(map(self.text, value))}{',' if len(value) == 1 else ''})"
        if isinstance(value, tuple) and hasattr(value, "_fields"):
            made = self._own(type(value).__name__, type(value))
            return f"{made}({', '.join(map(self.text, value))})"
        if isinstance(value, list):
            return f"[{', '.join(map(self.text, value))}]"
        if isinstance(value, dict):
            return "{" + ", ".join(f"{k!r}: {self.text(v)}" for k, v in value.items()) + "}"
        if isinstance(value, slice):
            return f"slice({', '.join(map(self.text, (value.start, value.stop, value.step)))})"
        if value is None or value is ... or isinstance(value, (bool, int, str, bytes)):
            return "..." if value is ... else repr(value)
        if isinstance(value, float) and value == value and abs(value) != float("inf"):
            return repr(value)
        if isinstance(value, (torch.dtype, torch.layout, torch.memory_format)):
            return str(value)
        if isinstance(value, torch.device):
            return f"torch.{value!r}"
        return self._own(type(value).__name__ if not callable(value) else "value", value)
