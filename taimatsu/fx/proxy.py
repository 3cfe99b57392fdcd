"""`Tracer` and `Proxy`: a function run on stand-ins, whose uses become nodes of a graph."""

from __future__ import annotations

import builtins
import dis
import inspect
import math
import operator
import sys
from collections.abc import Callable, Iterator
from typing import Any

import taimatsu as torch
from taimatsu.nn import Module, Sequential

from .graph import Graph
from .node import Node, is_layer, map_aggregate

__all__ = ["Attribute", "GraphAppendingTracer", "Proxy", "TraceError", "Tracer", "wrap"]


class TraceError(ValueError):
    """What can't be traced: Python's control flow on a value, for one."""


# ---- Proxies ----------------------------------------------------------------------------------
class Proxy:
    """A stand-in for a value. What is done with it is recorded, and gives another one."""

    def __init__(self, node: Node, tracer: Tracer | None = None):
        self.node = node
        self.tracer = tracer or GraphAppendingTracer(node.graph)

    def __repr__(self) -> str:
        return f"Proxy({self.node.name})"

    def __getattr__(self, k: str) -> Attribute:
        if k.startswith("__") and k.endswith("__"):
            raise AttributeError(k)
        return Attribute(self, k)

    def __call__(self, *args: Any, **kwargs: Any) -> Proxy:
        return self.tracer.create_proxy("call_method", "__call__", (self, *args), kwargs)

    def __iter__(self) -> Iterator:
        # Unpacking tells how many there are: by the instruction of the caller.
        frame = inspect.currentframe()
        caller = frame.f_back if frame else None
        if caller is not None:
            for step in dis.get_instructions(caller.f_code):
                if step.offset == caller.f_lasti and step.opname == "UNPACK_SEQUENCE":
                    take = operator.getitem
                    return (take(self, i) for i in range(step.argval))
        return self.tracer.iter(self)

    def __bool__(self) -> bool:
        return self.tracer.to_bool(self)

    def keys(self) -> Any:
        """For ``**proxy``."""
        return self.tracer.keys(self)

    def __len__(self) -> int:
        raise RuntimeError(
            "'len' is not supported in symbolic tracing by default. If you want this call to be "
            "recorded, please call torch.fx.wrap('len') at module scope"
        )

    @classmethod
    def __torch_function__(
        cls, orig_method: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Proxy:
        kwargs = kwargs or {}
        tracer = _proxies((args, kwargs))[0].tracer
        name = getattr(orig_method, "__name__", "")
        if torch.overrides.is_tensor_method_or_property(orig_method):
            if name == "__get__":  # of a property
                name = getattr(orig_method.__self__, "__name__", name)
                return tracer.create_proxy("call_function", getattr, (args[0], name), {})
            return tracer.create_proxy("call_method", name, args, kwargs)
        return tracer.create_proxy("call_function", orig_method, args, kwargs)


def _proxies(arguments: Any) -> list[Proxy]:
    """The proxies among arguments."""
    found: list[Proxy] = []

    def look(a: Any) -> None:
        if isinstance(a, Proxy):
            found.append(a)

    map_aggregate(arguments, look)
    return found


class Attribute(Proxy):
    """An attribute of a stand-in: a node once it is used otherwise than by a call."""

    def __init__(self, root: Proxy, attr: str):
        self.root, self.attr, self.tracer = root, attr, root.tracer
        self._node: Node | None = None

    @property
    def node(self) -> Node:  # type: ignore[override]
        """The node that takes it."""
        if self._node is None:
            args = (self.root, self.attr)
            self._node = self.tracer.create_proxy("call_function", getattr, args, {}).node
        return self._node

    def __call__(self, *args: Any, **kwargs: Any) -> Proxy:
        return self.tracer.create_proxy("call_method", self.attr, (self.root, *args), kwargs)


def _operators() -> None:
    both = "add sub mul truediv floordiv mod matmul pow lshift rshift and_ or_ xor"
    for name in f"{both} eq ne lt gt le ge getitem".split():
        _operator(f"__{name.rstrip('_')}__", getattr(operator, name))
    for name in both.split():
        _operator(f"__r{name.rstrip('_')}__", getattr(operator, name), swapped=True)
    for name in ("neg", "pos", "invert", "abs"):
        _operator(f"__{name}__", getattr(operator, name) if name != "abs" else abs)
    Proxy.__hash__ = object.__hash__  # type: ignore[method-assign]


def _operator(name: str, function: Callable, swapped: bool = False) -> None:
    def method(self: Proxy, *args: Any) -> Proxy:
        given = (*args, self) if swapped else (self, *args)
        return self.tracer.create_proxy("call_function", function, given, {})

    method.__name__ = name
    setattr(Proxy, name, method)


_operators()


# ---- Functions that are recorded without looking inside ---------------------------------------
_wrapped: list[tuple[dict[str, Any], str]] = []


def wrap(fn_or_name: Any) -> Any:
    """Calls of this function of the caller's module are recorded as they are. Also a decorator.

    At the top level of a module, of its own functions or by name: ``torch.fx.wrap("len")``.
    """
    if not callable(fn_or_name) and not isinstance(fn_or_name, str):
        raise RuntimeError(
            "Unsupported type for global function! Must be either a callable or string name"
        )
    caller = sys._getframe(1)
    name = fn_or_name if isinstance(fn_or_name, str) else fn_or_name.__name__
    if caller.f_code.co_name != "<module>":
        raise NotImplementedError("wrap must be called at the top level of a module")
    _wrapped.append((caller.f_globals, name))
    return fn_or_name


class _Patches:
    """Attributes and globals that are something else while a function is traced."""

    def __init__(self) -> None:
        self._undo: list[Callable[[], Any]] = []

    def item(self, table: dict, name: str, value: Any) -> None:
        missing = name not in table
        before = table.get(name)
        table[name] = value
        self._undo.append(lambda: table.pop(name) if missing else table.update({name: before}))

    def attribute(self, cls: type, name: str, value: Any) -> None:
        own, before = name in vars(cls), getattr(cls, name)
        setattr(cls, name, value)
        self._undo.append(
            lambda: setattr(cls, name, before) if own else delattr(cls, name)
        )

    def __enter__(self) -> _Patches:
        return self

    def __exit__(self, *exc: object) -> None:
        for undo in reversed(self._undo):
            undo()


# ---- The tracer -------------------------------------------------------------------------------
class Tracer:
    """Runs a module or function on proxies. Override its methods to change what is recorded.

    ``autowrap_modules``, ``autowrap_functions``: whose functions are recorded as they are.
    """

    def __init__(
        self, autowrap_modules: tuple = (math,), autowrap_functions: tuple = (),
        param_shapes_constant: bool = False,
    ):  # fmt: skip
        self._modules = autowrap_modules
        self._functions = {id(f) for f in autowrap_functions}
        self.param_shapes_constant = param_shapes_constant
        self.proxy_buffer_attributes = False
        self.root: Any = None
        self.graph: Graph

    # ---- what subclasses change ---------------------------------------------------------------
    def is_leaf_module(self, m: Module, module_qualified_name: str) -> bool:
        """Whether a call of a module is a node, rather than looked into: those of ``nn`` are."""
        return is_layer(m) and not isinstance(m, Sequential)

    def call_module(self, m: Module, forward: Callable, args: tuple, kwargs: dict) -> Any:
        """A call of a module."""
        name = self.path_of_module(m)
        if not self.is_leaf_module(m, name):
            return forward(*args, **kwargs)
        return self.create_proxy("call_module", name, args, kwargs)

    def getattr(self, attr: str, attr_val: Any, parameter_proxy_cache: dict) -> Any:
        """An attribute of a module: parameters become nodes, the rest is what it is."""
        tracked = isinstance(attr_val, torch.nn.Parameter) or (
            self.proxy_buffer_attributes and isinstance(attr_val, torch.Tensor)
        )
        name = self._tensor_names.get(id(attr_val)) if tracked else None
        if name is None:
            return attr_val
        if name not in parameter_proxy_cache:
            parameter_proxy_cache[name] = self.create_proxy("get_attr", name, (), {})
        return parameter_proxy_cache[name]

    def to_bool(self, obj: Proxy) -> bool:
        """``if proxy``: TraceError."""
        raise TraceError(
            "symbolically traced variables cannot be used as inputs to control flow"
        )

    def iter(self, obj: Proxy) -> Iterator:
        """``for x in proxy``: TraceError."""
        raise TraceError(
            "Proxy object cannot be iterated. This can be attempted when the Proxy is used in a "
            "loop or as a *args or **kwargs function argument. See the torch.fx docs"
        )

    def keys(self, obj: Proxy) -> Any:
        """``**proxy``."""
        return Attribute(obj, "keys")()

    def proxy(self, node: Node) -> Proxy:
        """The stand-in for a node's value."""
        return Proxy(node, self)

    # ---- recording ----------------------------------------------------------------------------
    def create_node(
        self, kind: str, target: Any, args: tuple, kwargs: dict, name: str | None = None,
        type_expr: Any = None,
    ) -> Node:  # fmt: skip
        """A node of the graph."""
        return self.graph.create_node(kind, target, args, kwargs, name, type_expr)

    def create_proxy(
        self, kind: str, target: Any, args: tuple, kwargs: dict, name: str | None = None,
        type_expr: Any = None, proxy_factory_fn: Callable | None = None,
    ) -> Proxy:  # fmt: skip
        """A node of the graph, by arguments with proxies in them; its own proxy."""
        node = self.create_node(
            kind, target, self.create_arg(args), self.create_arg(kwargs), name, type_expr
        )
        return proxy_factory_fn(node) if proxy_factory_fn else self.proxy(node)

    def create_arg(self, a: Any) -> Any:
        """An argument as nodes have it: tensors become attributes of the module."""
        return map_aggregate(a, self._leaf)

    def _leaf(self, a: Any) -> Any:
        if isinstance(a, Proxy):
            return a.node
        if isinstance(a, torch.Tensor):
            known = self._tensor_names.get(id(a))
            name = known or ""
            if known is None:
                number = 0
                while hasattr(self.root, name := f"_tensor_constant{number}"):
                    number += 1
                setattr(self.root, name, a)
                self._tensor_names[id(a)] = name
                self._kept.append(a)
            return self.create_node("get_attr", name, (), {})
        if isinstance(a, Module):
            return self.create_node("get_attr", self.path_of_module(a), (), {})
        return a

    def path_of_module(self, mod: Module) -> str:
        """Where a submodule is. NameError if it is none of the root's."""
        for name, found in self.root.named_modules():
            if found is mod:
                return name
        raise NameError("module is not installed as a submodule")

    _tensor_names: dict[int, str]
    _kept: list

    def _name_tensors(self) -> None:
        self._kept = []
        self._tensor_names = {}
        named = [*self.root.named_parameters(), *self.root.named_buffers()]
        for prefix, module in self.root.named_modules():
            plain = ((n, v) for n, v in vars(module).items() if isinstance(v, torch.Tensor))
            named += [(f"{prefix}.{n}" if prefix else n, v) for n, v in plain]
        for name, tensor in named:
            self._tensor_names.setdefault(id(tensor), name)

    def _parameters(self, fn: Callable, concrete: dict[str, Any]) -> tuple[list, dict]:
        """The arguments to call ``fn`` with: proxies, but for those that are given."""
        args, kwargs = [], {}
        for name, p in inspect.signature(fn).parameters.items():
            default = () if p.default is p.empty else (p.default,)
            if name in concrete:
                value = concrete[name]
                if value is None or isinstance(value, (bool, int, float, str)):
                    self._specialised(name, value, default)
            else:
                star = "*" if p.kind is p.VAR_POSITIONAL else ""
                star = "**" if p.kind is p.VAR_KEYWORD else star
                value = self.create_proxy("placeholder", star + name, default, {})
            if p.kind is p.VAR_POSITIONAL and name in concrete:
                args += list(value)
            elif p.kind is p.KEYWORD_ONLY:
                kwargs[name] = value
            elif p.kind is not p.VAR_KEYWORD:
                args.append(value)
        return args, kwargs

    def _specialised(self, name: str, value: Any, default: tuple) -> None:
        """A parameter of the graph for one that has a value: another one is an error."""
        from ._symbolic_trace import _assert_is_none

        given = self.create_proxy("placeholder", f"{name}_1", default, {})
        what = f"{name} has been specialized to have value {value} but got another value"
        if value is None:
            self.create_proxy("call_function", _assert_is_none, (given, what), {})
        else:
            self.create_proxy("call_function", torch._assert, (given == value, what), {})

    def trace(self, root: Any, concrete_args: dict[str, Any] | None = None) -> Graph:
        """The graph of a module's forward, or of a function.

        ``concrete_args``: values of parameters that aren't traced. The graph has them still, and
        asserts the values.
        """
        self.root = root if isinstance(root, Module) else Module()
        fn = type(root).forward.__get__(root) if isinstance(root, Module) else root
        self.graph = Graph(tracer_cls=type(self))
        self._name_tensors()
        cache: dict[str, Proxy] = {}
        plain_getattribute, plain_call = Module.__getattribute__, Module.__call__
        tracer = self

        def traced_getattribute(module: Module, name: str) -> Any:
            value = plain_getattribute(module, name)
            return tracer.getattr(name, value, cache) if isinstance(value, torch.Tensor) else value

        def traced_call(module: Module, *args: Any, **kwargs: Any) -> Any:
            def forward(*args: Any, **kwargs: Any) -> Any:
                return plain_call(module, *args, **kwargs)

            return tracer.call_module(module, forward, args, kwargs)

        with _Patches() as patches:
            args, kwargs = self._parameters(fn, concrete_args or {})
            patches.attribute(Module, "__getattribute__", traced_getattribute)
            patches.attribute(Module, "__call__", traced_call)
            for module in (*self._modules, torch.nn.functional):
                for name, function in list(vars(module).items()):
                    if callable(function) and not name.startswith("_") and not isinstance(
                        function, type
                    ):  # fmt: skip
                        patches.item(vars(module), name, self._recorded(function))
            for table, name in _wrapped:
                function = table.get(name) or getattr(builtins, name)
                patches.item(table, name, self._recorded(function))
            result = fn(*args, **kwargs)
        self.create_node("output", "output", (self.create_arg(result),), {})
        return self.graph

    def _recorded(self, function: Callable) -> Callable:
        """The function that is recorded where an argument is a proxy, and else called."""

        def recorded(*args: Any, **kwargs: Any) -> Any:
            found = _proxies((args, kwargs))
            if not found:
                return function(*args, **kwargs)
            return found[0].tracer.create_proxy("call_function", function, args, kwargs)

        recorded.__name__ = getattr(function, "__name__", "function")
        return recorded


class GraphAppendingTracer(Tracer):
    """Adds nodes to a graph that is there: what is done with proxies of it.

    >>> graph = fx.Graph()
    >>> x = fx.Proxy(graph.placeholder("x"), fx.proxy.GraphAppendingTracer(graph))
    >>> _ = graph.output((x + 1).relu().node)
    """

    def __init__(self, graph: Graph):
        super().__init__()
        self.graph, self.root = graph, Module()
        self._name_tensors()
