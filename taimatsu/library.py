"""``library``: ops of one's own with a schema, kernels for devices, and a derivative.

>>> @torch.library.custom_op("mylib::twice", mutates_args=())
... def twice(x: torch.Tensor) -> torch.Tensor:
...     return x * 2
>>> _ = twice.register_autograd(lambda ctx, g: g * 2)
>>> torch.ops.mylib.twice(torch.ones(2))
tensor([2., 2.])

A kernel is a Python function; `taimatsu.pointwise` makes compiled ones of formulas.
"""

from __future__ import annotations

import functools
import inspect
import re
import types
import typing
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import taimatsu as torch

from ._dispatch import is_dispatched, tell
from ._op_namespaces import OpOverload, OpOverloadPacket, defined, namespace
from .ops.schema import REQUIRED, Schema, parse

__all__ = [
    "CustomOpDef", "Library", "custom_op", "define", "fallthrough_kernel", "get_ctx", "get_kernel",
    "impl", "impl_abstract", "infer_schema", "opcheck", "register_autocast", "register_autograd",
    "register_fake", "register_kernel", "register_torch_dispatch", "register_vmap",
]  # fmt: skip

# What an annotation is called in a schema.
_TYPES: dict[Any, str] = {
    torch.Tensor: "Tensor", int: "SymInt", float: "float", bool: "bool", str: "str",
    torch.dtype: "ScalarType", torch.device: "Device", int | float: "Scalar",
    int | float | bool: "Scalar", torch.types.Number: "Scalar",
}  # fmt: skip
_COMPOSITE = "CompositeImplicitAutograd"
_ANY_DEVICE = ("CompositeExplicitAutograd", _COMPOSITE, "")


# ---- Schemas ----------------------------------------------------------------------------------
def _type_name(annotation: Any, where: str) -> str:
    if annotation in _TYPES:
        return _TYPES[annotation]
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (typing.Union, types.UnionType) and type(None) in args:
        rest = tuple(a for a in args if a is not type(None))
        return _type_name(rest[0] if len(rest) == 1 else typing.Union[rest], where) + "?"  # noqa: UP007
    if origin in (list, Sequence) and args:
        return _type_name(args[0], where) + "[]"
    raise ValueError(f"infer_schema({where}): unsupported type {annotation}")


def infer_schema(
    prototype_function: Callable, /, *, mutates_args: Any, op_name: str | None = None
) -> str:
    """The schema that the annotations of a function tell.

    ``mutates_args``: the names of the arguments that it writes to, or "unknown" for all tensors.
    ValueError for a parameter without annotation or of a type that schemas don't have.

    >>> def f(x: torch.Tensor, n: int = 2) -> torch.Tensor: ...
    >>> infer_schema(f, mutates_args=(), op_name="f")
    'f(Tensor x, SymInt n=2) -> Tensor'
    """
    signature = inspect.signature(prototype_function)
    hints = typing.get_type_hints(prototype_function)
    params: list[str] = []
    names = list(signature.parameters)
    for name in () if mutates_args == "unknown" else mutates_args:
        if name not in names:
            raise ValueError(f"infer_schema: mutates_args: there is no argument {name!r}")
    keyword = False
    for i, (name, p) in enumerate(signature.parameters.items()):
        if p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD):
            raise ValueError("infer_schema(func): *args and **kwargs are not supported")
        if name not in hints:
            raise ValueError(f"infer_schema(func): Parameter {name} must have a type annotation.")
        if p.kind is p.KEYWORD_ONLY and not keyword:
            params.append("*")
            keyword = True
        kind = _type_name(hints[name], f"parameter {name}")
        mutated = kind.startswith("Tensor") if mutates_args == "unknown" else name in mutates_args
        if mutated:
            kind = kind.replace("Tensor", f"Tensor(a{i}!)", 1)
        default = "" if p.default is p.empty else f"={_default_text(p.default)}"
        params.append(f"{kind} {name}{default}")
    if "return" not in hints:
        raise ValueError("infer_schema(func): the return type must be annotated")
    result = hints["return"]
    if result is type(None):
        returns = "()"
    elif typing.get_origin(result) is tuple:
        parts = (_type_name(a, "return") for a in typing.get_args(result))
        returns = f"({', '.join(parts)})"
    else:
        returns = _type_name(result, "return")
    return f"{op_name or ''}({', '.join(params)}) -> {returns}"


def _default_text(value: Any) -> str:
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, (torch.dtype, torch.device)):
        return str(value).removeprefix("torch.")
    return str(value)


_DEFAULTS = {"None": None, "True": True, "False": False}


def _default_of(text: Any) -> Any:
    if not isinstance(text, str):
        return text
    if text in _DEFAULTS:
        return _DEFAULTS[text]
    if text[:1] in "'\"":
        return text[1:-1]
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return getattr(torch, text, text)


# ---- Ops --------------------------------------------------------------------------------------
class CustomOpDef:
    """An op that a program defined. Call it, or register how it works.

    Its kernel is the one for the tensors' device, or that for all devices; on the meta device what
    `register_fake` gave. RuntimeError for a call that has none, and for a backward pass through an
    op without `register_autograd`.
    """

    def __init__(self, space: str, name: str):
        self._namespace, self._name = space, name
        self._schema = ""  # until it is defined
        self._kernels: dict[str, Callable] = {}
        self._fake: Callable | None = None
        self._backward: Callable | None = None
        self._setup_context: Callable | None = None
        self._vmap: Callable | None = None
        self._autocast: dict[str, torch.dtype] = {}
        self._function: Any = None
        self._dispatch_rules: dict[Any, Callable] = {}  # by class or mode

    def _set_schema(self, schema: str) -> None:
        self._schema, self._function = schema, None
        self._parsed: Schema = parse(_plain(schema))

    @property
    def _qualname(self) -> str:
        return f"{self._namespace}::{self._name}"

    def __repr__(self) -> str:
        return f"<CustomOpDef({self._qualname})>"

    # ---- how it works -------------------------------------------------------------------------
    def register_kernel(self, device_types: Any, func: Callable | None = None, /) -> Any:
        """The function for tensors on these devices (None: all). Also a decorator."""
        kinds = [device_types] if device_types is None or isinstance(device_types, str) else [
            *device_types
        ]  # fmt: skip

        def register(func: Callable) -> Callable:
            for kind in kinds:
                self._kernels["" if kind is None else kind.upper()] = func
            return func

        return register if func is None else register(func)

    def register_fake(self, func: Callable, /) -> Callable:
        """The function for tensors without data: it gives outputs of the right sizes and dtypes."""
        self._fake = func
        return func

    def register_autograd(
        self, backward: Callable, /, *, setup_context: Callable | None = None
    ) -> None:
        """The derivative: ``backward(ctx, *grads)`` gives a gradient for each argument.

        ``setup_context(ctx, inputs, output)`` keeps what it needs.
        """
        self._backward, self._setup_context, self._function = backward, setup_context, None

    def register_autocast(self, device_type: str, cast_inputs: Any, /) -> None:
        """Under autocast of the device, floating-point tensors are cast to this dtype first."""
        self._autocast[device_type] = cast_inputs

    def register_vmap(self, func: Callable, /) -> Callable:
        """The op on a batch: ``func(info, in_dims, *args)`` gives outputs and their `out_dims`.

        ``in_dims`` has the position of the batch in each argument, or None; ``info.batch_size`` is
        its size.
        """
        self._vmap, self._function = func, None
        return func

    def register_torch_dispatch(self, cls: Any, func: Callable | None = None, /) -> Any:
        """The function that a class of tensors, or a `TorchDispatchMode`, carries this op out by.

        It takes (class or mode, func, types, args, kwargs), in place of ``__torch_dispatch__``.
        """
        if func is None:
            return functools.partial(self.register_torch_dispatch, cls)
        self._dispatch_rules[cls] = func
        return func

    # ---- calls --------------------------------------------------------------------------------
    def _bind(self, args: tuple, kwargs: dict) -> list:
        """The arguments in the schema's order."""
        params = self._parsed.params
        positional = [p for p in params if not p.keyword_only]
        if len(args) > len(positional):
            raise RuntimeError(
                f"{self._qualname}() expected at most {len(positional)} argument(s) but received "
                f"{len(args)} argument(s). Declaration: {self._schema}"
            )
        values = dict(zip((p.name for p in positional), args, strict=False))
        for name, value in kwargs.items():
            if name in values or all(p.name != name for p in params):
                raise RuntimeError(
                    f"{self._qualname}(): unexpected or repeated argument '{name}'. "
                    f"Declaration: {self._schema}"
                )
            values[name] = value
        bound = []
        for p in params:
            if p.name not in values and p.default is REQUIRED:
                raise RuntimeError(
                    f"{self._qualname}() is missing value for argument '{p.name}'. "
                    f"Declaration: {self._schema}"
                )
            bound.append(values.get(p.name, _default_of(p.default)))
        return bound

    def _kernel(self, tensors: list) -> Callable:
        devices = {t.device.type for t in tensors}
        if "meta" in devices:
            found = self._fake or self._kernels.get("META") or self._kernels.get(_COMPOSITE)
        else:
            wanted = [d.upper() for d in devices] or ["CPU"]
            found = next((self._kernels[k] for k in (*wanted, *_ANY_DEVICE) if k in self._kernels),
                         None)  # fmt: skip
        if found is None:
            raise NotImplementedError(
                f"Could not run '{self._qualname}' with arguments on {sorted(devices)}: it has no "
                f"kernel for that; there are {sorted(self._kernels)}; see torch.library.impl"
            )
        return found

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        bound = self._bind(args, kwargs)
        tensors = [t for a in bound for t in (a if isinstance(a, (list, tuple)) else (a,))
                   if isinstance(t, torch.Tensor)]  # fmt: skip
        for device, dtype in self._autocast.items():
            if torch.is_autocast_enabled(device):
                bound = [_cast(a, dtype) for a in bound]
        for key, kernel in self._kernels.items():
            if key.startswith("AUTOCAST") and torch.is_autocast_enabled(key[8:].lower() or "cpu"):
                return self._run(kernel, bound)
        if "AUTOGRAD" in self._kernels:
            return self._run(self._kernels["AUTOGRAD"], bound)
        if self._kernel(tensors) is self._kernels.get(_COMPOSITE):
            return self._run(self._kernels[_COMPOSITE], bound)
        recorded = torch.is_grad_enabled() and any(t.requires_grad for t in tensors)
        if recorded or self._vmap is not None:
            return self._differentiable().apply(*bound)
        return self._below_tape(bound)

    def _below_tape(self, bound: list) -> Any:
        if is_dispatched(bound):
            overload = getattr(namespace(self._namespace), self._name).default
            rules = self._dispatch_rules

            def by_rule(*args: Any, **kwargs: Any) -> Any:
                return tell(overload, args, kwargs, rules)

            return self._run(by_rule, bound)
        return self._run(self._kernel([t for t in bound if isinstance(t, torch.Tensor)]), bound)

    def _run(self, kernel: Callable, bound: list) -> Any:
        pairs = list(zip(self._parsed.params, bound, strict=True))
        positional = [v for p, v in pairs if not p.keyword_only]
        return kernel(*positional, **{p.name: v for p, v in pairs if p.keyword_only})

    def _differentiable(self) -> Any:
        """The `autograd.Function` of this op."""
        if self._function is not None:
            return self._function
        op = self
        names = [p.name for p in self._parsed.params]
        keywords = [i for i, p in enumerate(self._parsed.params) if p.keyword_only]

        def forward(*bound: Any) -> Any:
            return op._below_tape(list(bound))

        def setup_context(ctx: Any, inputs: tuple, output: Any) -> None:
            if op._setup_context is None:
                return
            given = tuple(v for i, v in enumerate(inputs) if i not in keywords)
            if keywords:
                only = {names[i]: inputs[i] for i in keywords}
                op._setup_context(ctx, given, only, output)
            else:
                op._setup_context(ctx, given, output)

        def backward(ctx: Any, *grads: Any) -> Any:
            if op._backward is None:
                raise RuntimeError(
                    f"{op._qualname}: there is no derivative of this op; give one by "
                    "torch.library.register_autograd"
                )
            found = op._backward(ctx, *grads)
            found = found if isinstance(found, tuple) else (found,)
            return (*found, *(None for _ in range(len(names) - len(found))))

        def vmap(info: Any, in_dims: tuple, *bound: Any) -> Any:
            rule: Any = op._vmap
            dims = tuple(d for i, d in enumerate(in_dims) if i not in keywords)
            return op._run(functools.partial(rule, info, dims), list(bound))

        fields = {
            "forward": staticmethod(forward), "setup_context": staticmethod(setup_context),
            "backward": staticmethod(backward),
        }  # fmt: skip
        if op._vmap is not None:
            fields["vmap"] = staticmethod(vmap)
        self._function = type(f"{self._name}_function", (torch.autograd.Function,), fields)
        return self._function


def _cast(value: Any, dtype: Any) -> Any:
    if isinstance(value, torch.Tensor) and value.is_floating_point():
        return value.to(dtype)
    return value


def _plain(schema: str) -> str:
    """A schema in the table's notation."""
    schema = re.sub(r"\((\w+)!?( -> [\w*|]+)?\)(?=\[|\?| \w)", "", schema.replace("SymInt", "int"))
    schema = schema.replace("-> ()", "-> Tensor")
    return re.sub(r"^([^(]*)\.\w+\(", r"\1(", schema)


def _split(qualname: str) -> tuple[str, str]:
    space, found, name = qualname.partition("::")
    if not found:
        raise ValueError(
            f"expected the name of an op in the form {{namespace}}::{{name}}; got {qualname!r}"
        )
    return space, name.partition(".")[0]


def _lookup(op: Any) -> CustomOpDef:
    if isinstance(op, CustomOpDef):
        return op
    if isinstance(op, OpOverload):
        op = op.name()
    if isinstance(op, OpOverloadPacket):
        op = f"{op.namespace}::{op.__name__}"
    space, name = _split(op)
    found = defined.get(space, {}).get(name)
    # What is registered of an op comes into force when it is defined, as by a library in C++.
    return found or _announced.setdefault(f"{space}::{name}", CustomOpDef(space, name))


_announced: dict[str, CustomOpDef] = {}


def _define(space: str, schema: str) -> CustomOpDef:
    name = schema.partition("(")[0].strip().partition(".")[0]
    op = _announced.pop(f"{space}::{name}", None) or CustomOpDef(space, name)
    op._set_schema(schema)
    defined.setdefault(space, {})[name] = op
    namespace(space).forget(name)
    return op


def custom_op(
    name: str, fn: Callable | None = None, /, *, mutates_args: Any, device_types: Any = None,
    schema: str | None = None, tags: Any = None,
) -> Any:  # fmt: skip
    """Makes an op of a function, by the name ``namespace::name``. Also a decorator.

    ``mutates_args``: the arguments it writes to. ``device_types``: those that the function is for.
    The schema is told by annotations where it isn't given.
    """
    space, short = _split(name)

    def make(fn: Any) -> CustomOpDef:
        text = schema or infer_schema(fn, mutates_args=mutates_args)
        op = _define(space, f"{short}{text}")
        op.register_kernel(device_types, fn)
        op.__name__, op.__doc__ = short, fn.__doc__  # type: ignore[attr-defined]
        return op

    return make if fn is None else make(fn)


class Library:
    """A part of a namespace: "DEF" defines ops, "IMPL" and "FRAGMENT" add to them.

    >>> lib = torch.library.Library("mylib", "FRAGMENT")
    >>> lib.define("half(Tensor x) -> Tensor")
    'half'
    >>> lib.impl("half", lambda x: x / 2, "CompositeImplicitAutograd")
    >>> torch.ops.mylib.half(torch.ones(1))
    tensor([0.5000])
    """

    def __init__(self, ns: str, kind: str, dispatch_key: str = ""):
        if kind not in ("IMPL", "DEF", "FRAGMENT"):
            raise ValueError(f"Unsupported kind: {kind}")
        if ns == "prim":
            raise ValueError(f"{ns} is a reserved namespace. Please try creating another one.")
        self.ns, self.kind, self.dispatch_key = ns, kind, dispatch_key
        self._names: list[str] = []

    def define(self, schema: str, alias_analysis: str = "", *, tags: Any = ()) -> str:
        """A new op. Its name."""
        if self.kind == "IMPL":
            raise RuntimeError("Library.define: a library of kind IMPL adds kernels only")
        op = _define(self.ns, schema)
        self._names.append(op._name)
        return op._name

    def impl(
        self, op_name: Any, fn: Callable, dispatch_key: str = "", *, with_keyset: bool = False,
        allow_override: bool = False,
    ) -> None:  # fmt: skip
        """The function that computes an op on a device ("CPU"), or composed of other ops."""
        if not callable(fn):
            raise TypeError(f"Input function is required to be a callable but found {type(fn)}")
        name = op_name.overloadpacket.__name__ if isinstance(op_name, OpOverload) else op_name
        name = name.rpartition("::")[2]
        op = _lookup(f"{self.ns}::{name}")
        key = dispatch_key or self.dispatch_key or "CompositeImplicitAutograd"
        op._kernels[key if key.startswith("Composite") else key.upper()] = fn

    def fallback(self, fn: Callable, dispatch_key: str = "", **options: Any) -> NoReturn:
        """A function for all ops. NotImplementedError: see `utils._python_dispatch`."""
        raise NotImplementedError(
            "Library.fallback: to see all calls of ops use TorchFunctionMode or TorchDispatchMode"
        )

    def _destroy(self) -> None:
        for name in self._names:
            defined.get(self.ns, {}).pop(name, None)
            namespace(self.ns).forget(name)
        self._names.clear()


# ---- By name ----------------------------------------------------------------------------------
def define(qualname: str, schema: str, *, lib: Library | None = None, tags: Any = ()) -> None:
    """A new op ``namespace::name`` with a schema such as ``"(Tensor x) -> Tensor"``."""
    space, name = _split(qualname)
    if not schema.startswith("("):
        raise ValueError(f"define: the schema has to begin with its parameters; got {schema!r}")
    _define(space, f"{name}{schema}")


def impl(qualname: Any, types: Any, func: Callable | None = None, *, lib: Any = None) -> Any:
    """The kernel of an op on devices: "cpu", "default" for all. Also a decorator."""
    kinds = [types] if isinstance(types, str) else list(types)
    kinds = [None if kind == "default" else kind for kind in kinds]
    return _lookup(qualname).register_kernel(kinds, func)


def register_kernel(
    op: Any, device_types: Any, func: Callable | None = None, /, *, lib: Any = None
) -> Any:
    """See `CustomOpDef.register_kernel`."""
    return _lookup(op).register_kernel(device_types, func)


def register_fake(
    op: Any, func: Callable | None = None, /, *, lib: Any = None, **options: Any
) -> Any:
    """See `CustomOpDef.register_fake`. Also a decorator."""
    if func is None:
        return lambda func: register_fake(op, func)
    return _lookup(op).register_fake(func)


impl_abstract = register_fake


def register_autograd(
    op: Any, backward: Callable, /, *, setup_context: Callable | None = None, lib: Any = None
) -> None:
    """See `CustomOpDef.register_autograd`."""
    _lookup(op).register_autograd(backward, setup_context=setup_context)


def register_autocast(op: Any, device_type: str, cast_inputs: Any, /, *, lib: Any = None) -> None:
    """See `CustomOpDef.register_autocast`."""
    _lookup(op).register_autocast(device_type, cast_inputs)


def register_vmap(op: Any, func: Callable | None = None, /, *, lib: Any = None) -> Any:
    """See `CustomOpDef.register_vmap`."""
    return (lambda f: register_vmap(op, f)) if func is None else _lookup(op).register_vmap(func)


def register_torch_dispatch(
    op: Any, torch_dispatch_class: Any, func: Callable | None = None, /, *, lib: Any = None
) -> Any:
    """See `CustomOpDef.register_torch_dispatch`."""
    return _lookup(op).register_torch_dispatch(torch_dispatch_class, func)


def get_kernel(op: Any, dispatch_key: str) -> Callable:
    """The kernel of an op for a device."""
    return _lookup(op)._kernel([torch.empty(0, device=str(dispatch_key).lower())])


def fallthrough_kernel(*args: Any) -> NoReturn:
    """Stands for "whatever comes next" where a kernel is registered; not to be called."""
    raise NotImplementedError("fallthrough_kernel() should never be called.")


def get_ctx() -> NoReturn:
    """The context of a fake implementation. RuntimeError: sizes that depend on data have none."""
    raise RuntimeError(
        "get_ctx: outputs whose sizes depend on data can't be described without data here"
    )


def opcheck(
    op: Any, args: tuple, kwargs: dict | None = None, *, test_utils: Any = None,
    raise_exception: bool = True, atol: float | None = None, rtol: float | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Checks an op on an example: its schema, its fake implementation, its derivative.

    What was found, by the name of the test: "SUCCESS" or the exception, which is raised unless
    ``raise_exception`` is False.
    """
    from taimatsu.utils._pytree import tree_leaves, tree_map_only

    definition, kwargs = _lookup(op), kwargs or {}

    def schema() -> None:
        before = [t.detach().clone() for t in tree_leaves((args, kwargs)) if torch.is_tensor(t)]
        definition(*args, **kwargs)
        after = [t for t in tree_leaves((args, kwargs)) if torch.is_tensor(t)]
        writes = "!" in definition._schema
        if not writes and not all(map(torch.equal, before, after)):
            raise RuntimeError(f"{definition}: wrote to an argument that mutates_args doesn't name")

    def fake() -> None:
        meta = tree_map_only(torch.Tensor, lambda t: t.detach().to("meta"), (args, kwargs))
        found, wanted = definition(*meta[0], **meta[1]), definition(*args, **kwargs)
        for f, w in zip(tree_leaves(found), tree_leaves(wanted), strict=True):
            if torch.is_tensor(w) and (f.shape, f.dtype) != (w.shape, w.dtype):
                raise RuntimeError(
                    f"{definition}: the fake implementation gives {f.dtype} {tuple(f.shape)}, the "
                    f"kernel {w.dtype} {tuple(w.shape)}"
                )

    def derivative() -> None:
        outputs = [t for t in tree_leaves(definition(*args, **kwargs)) if torch.is_tensor(t)]
        outputs = [t for t in outputs if t.requires_grad]
        if outputs:
            inputs = [t for t in tree_leaves((args, kwargs)) if torch.is_tensor(t)]
            inputs = [t for t in inputs if t.requires_grad]
            torch.autograd.grad([t.sum() for t in outputs], inputs, allow_unused=True)

    tests = {
        "test_schema": schema, "test_autograd_registration": derivative,
        "test_faketensor": fake,
    }  # fmt: skip
    wanted = [test_utils] if isinstance(test_utils, str) else test_utils or list(tests)
    results: dict[str, Any] = {}
    for name in wanted:
        try:
            tests.get(name, schema)()
            results[name] = "SUCCESS"
        except Exception as error:
            if raise_exception:
                raise
            results[name] = error
    return results
