"""`Node`: one step of a `Graph`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from taimatsu._op_namespaces import OpOverload

__all__ = ["Node", "map_aggregate", "map_arg"]

OPS = (
    "placeholder", "get_attr", "call_function", "call_method", "call_module", "output", "root",
)  # fmt: skip


def map_aggregate(a: Any, fn: Callable[[Any], Any]) -> Any:
    """``fn`` of each leaf in tuples, lists, dicts and slices."""
    if isinstance(a, tuple):
        items = [map_aggregate(x, fn) for x in a]
        return type(a)(*items) if hasattr(a, "_fields") else tuple(items)
    if isinstance(a, list):
        return [map_aggregate(x, fn) for x in a]
    if isinstance(a, dict):
        return {k: map_aggregate(v, fn) for k, v in a.items()}
    if isinstance(a, slice):
        return slice(*(map_aggregate(x, fn) for x in (a.start, a.stop, a.step)))
    return fn(a)


def map_arg(a: Any, fn: Callable[[Node], Any]) -> Any:
    """``fn`` of each node in an argument."""
    return map_aggregate(a, lambda x: fn(x) if isinstance(x, Node) else x)


def is_layer(module: Any) -> bool:
    """Whether a module's class is one of ``nn``'s; under `as_torch` they say PyTorch's."""
    package, _, rest = type(module).__module__.partition(".")
    return package in ("taimatsu", "torch") and rest.partition(".")[0] == "nn"


def callable_name(function: Callable) -> str:
    """A function's name for people: ``torch.nn.functional.relu``, ``operator.add``."""
    if isinstance(function, OpOverload):
        return f"torch.ops.{function}"
    name = getattr(function, "__name__", None) or type(function).__name__
    module = getattr(function, "__module__", None) or ""
    if not module:
        return name
    return f"{module.lstrip('_').replace('taimatsu', 'torch', 1)}.{name}"


class Node:
    """A step: what is called (``op``, ``target``) with which arguments.

    op              target
    placeholder     the parameter's name
    get_attr        where an attribute of the module is
    call_function   the function
    call_method     the method's name; the first argument is the object
    call_module     where the submodule is
    output          "output"; the argument is what is returned

    Arguments hold other nodes, in containers too; ``users`` are the nodes that have this one among
    theirs. ``meta`` is for whoever works on the graph.
    """

    __slots__ = (
        "__dict__", "__weakref__", "_args", "_erased", "_inputs", "_kwargs", "_next", "_prev",
        "graph", "meta", "name", "op", "target", "type", "users",
    )  # fmt: skip

    def __init__(
        self, graph: Any, name: str, op: str, target: Any, args: tuple, kwargs: dict,
        return_type: Any = None,
    ):  # fmt: skip
        if op not in OPS:
            raise AssertionError(f"Node: op must be one of {', '.join(OPS)}; got {op!r}")
        self.graph, self.name, self.op, self.target = graph, name, op, target
        self.type = return_type
        self.users: dict[Node, None] = {}
        self.meta: dict[str, Any] = {}
        self._inputs: dict[Node, None] = {}
        self._args: tuple = ()
        self._kwargs: dict[str, Any] = {}
        self._prev = self._next = self
        self._erased = False
        self._update(tuple(args), dict(kwargs))

    # ---- arguments ----------------------------------------------------------------------------
    def _update(self, args: tuple, kwargs: dict) -> None:
        for node in self._inputs:
            node.users.pop(self, None)
        self._args, self._kwargs, self._inputs = args, kwargs, {}
        map_arg((args, kwargs), lambda n: self._inputs.setdefault(n))
        for node in self._inputs:
            node.users.setdefault(self)

    @property
    def args(self) -> tuple:
        """Positional arguments; assign to change them."""
        return self._args

    @args.setter
    def args(self, args: tuple) -> None:
        self._update(tuple(args), self._kwargs)

    @property
    def kwargs(self) -> dict[str, Any]:
        """Keyword arguments; assign to change them."""
        return self._kwargs

    @kwargs.setter
    def kwargs(self, kwargs: dict[str, Any]) -> None:
        self._update(self._args, dict(kwargs))

    @property
    def all_input_nodes(self) -> list[Node]:
        """The nodes among the arguments, each once."""
        return list(self._inputs)

    def update_arg(self, idx: int, arg: Any) -> None:
        """Sets one positional argument."""
        self.args = (*self.args[:idx], arg, *self.args[idx + 1 :])

    def insert_arg(self, idx: int, arg: Any) -> None:
        """Puts one positional argument before another."""
        if not 0 <= idx <= len(self.args):
            raise AssertionError(f"insert_arg: index {idx} is outside of {len(self.args)} args")
        self.args = (*self.args[:idx], arg, *self.args[idx:])

    def update_kwarg(self, key: str, arg: Any) -> None:
        """Sets one keyword argument."""
        self.kwargs = {**self.kwargs, key: arg}

    def replace_input_with(self, old_input: Node, new_input: Node) -> None:
        """Puts one node in the place of another among the arguments."""
        swapped = map_arg((self.args, self.kwargs), lambda n: new_input if n is old_input else n)
        self._update(*swapped)

    def replace_all_uses_with(
        self, replace_with: Node, delete_user_cb: Callable[[Node], bool] = lambda user: True,
        *, propagate_meta: bool = False,
    ) -> list[Node]:  # fmt: skip
        """Puts another node in the place of this one wherever it is used; who used it."""
        if propagate_meta:
            replace_with.meta.update(self.meta)
        users = [user for user in self.users if delete_user_cb(user)]
        for user in users:
            user.replace_input_with(self, replace_with)
        return users

    # ---- order --------------------------------------------------------------------------------
    @property
    def prev(self) -> Node:
        """The node before."""
        return self._prev

    @property
    def next(self) -> Node:
        """The node behind."""
        return self._next

    def prepend(self, x: Node) -> None:
        """Moves a node to just before this one."""
        if x is self:
            return
        x._unlink()
        before = self._prev
        before._next, x._prev, x._next, self._prev = x, before, self, x

    def append(self, x: Node) -> None:
        """Moves a node to just behind this one."""
        self._next.prepend(x)

    def _unlink(self) -> None:
        self._prev._next, self._next._prev = self._next, self._prev

    def __lt__(self, other: Node) -> bool:
        node = self._next
        while node.op != "root":
            if node is other:
                return True
            node = node._next
        return False

    # ---- facts --------------------------------------------------------------------------------
    @property
    def stack_trace(self) -> str | None:
        """Where it was recorded, if that is kept."""
        return self.meta.get("stack_trace")

    @stack_trace.setter
    def stack_trace(self, trace: str | None) -> None:
        self.meta["stack_trace"] = trace

    def is_impure(self, impure_random: bool = True) -> bool:
        """Whether it does more than compute: then it isn't dead code without users."""
        if self.op in ("placeholder", "output"):
            return True
        if self.op == "call_function":
            name = getattr(self.target, "__name__", "")
            return self.target in _side_effects or (name.endswith("_") and name[-2:] != "__")
        if self.op == "call_module":
            return not is_layer(self._submodule())
        return self.op == "call_method" and self.target[-1] == "_" and self.target[-2:] != "__"

    def _submodule(self) -> Any:
        owner = self.graph.owning_module
        return owner.get_submodule(self.target) if owner is not None else None

    def format_node(self, placeholder_names: Any = None, maybe_return_typename: Any = None) -> str:
        """As a line: ``%add : [num_users=1] = call_function[target=operator.add](...)``."""
        head = f"%{self.name} : [num_users={len(self.users)}] = "
        if self.op == "placeholder":
            default = f"(default={self.args[0]})" if self.args else ""
            return f"{head}placeholder[target={self.target}]{default}"
        if self.op == "get_attr":
            return f"{head}get_attr[target={self.target}]"
        if self.op == "output":
            return f"return {self.args[0]}"
        target = self.target if isinstance(self.target, str) else callable_name(self.target)
        args, kwargs = _shown(self.args), _shown(self.kwargs)
        return f"{head}{self.op}[target={target}](args = {args}, kwargs = {kwargs})"

    def __repr__(self) -> str:
        return self.name


def _shown(argument: Any) -> str:
    """An argument in a line of text: nodes with a percent sign, names without quotes."""
    if isinstance(argument, Node):
        return f"%{argument.name}"
    if isinstance(argument, tuple) and not hasattr(argument, "_fields"):
        return f"({', '.join(map(_shown, argument))}{',' if len(argument) == 1 else ''})"
    if isinstance(argument, list):
        return f"[{', '.join(map(_shown, argument))}]"
    if isinstance(argument, dict):
        return "{" + ", ".join(f"{k}: {_shown(v)}" for k, v in argument.items()) + "}"
    return str(argument)


_side_effects: set[Callable] = set()


def has_side_effect(fn: Callable) -> Callable:
    """Marks a function whose calls are kept though nothing uses their results."""
    _side_effects.add(fn)
    return fn


def nodes_from(root: Node, step: str = "_next") -> Iterator[Node]:
    """The nodes of a graph from its root on."""
    node = getattr(root, step)
    while node is not root:
        if not node._erased:
            yield node
        node = getattr(node, step)
