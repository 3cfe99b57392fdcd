"""``__torch_function__``: classes, and modes, that take over the functions called on them.

A class that defines ``__torch_function__(cls, func, types, args, kwargs)`` is asked whenever a
function of this package or a method of Tensor gets one of its instances, whether it derives from
Tensor or not. A `TorchFunctionMode` is asked for every call inside its ``with`` block.

>>> class Log(torch.overrides.TorchFunctionMode):
...     def __torch_function__(self, func, types, args=(), kwargs=None):
...         print(torch.overrides.resolve_name(func))
...         return func(*args, **(kwargs or {}))
>>> with Log():
...     _ = torch.add(torch.ones(2), 1)
torch.ones
torch.add
"""

from __future__ import annotations

import functools
import inspect
import threading
import types as _types
import typing
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import taimatsu as torch

from . import _core

__all__ = [
    "BaseTorchFunctionMode",
    "TorchFunctionMode",
    "enable_reentrant_dispatch",
    "get_ignored_functions",
    "get_overridable_functions",
    "get_testing_overrides",
    "handle_torch_function",
    "has_torch_function",
    "is_tensor_like",
    "is_tensor_method_or_property",
    "redispatch_function",
    "resolve_name",
    "wrap_torch_function",
]

_FUNCTION_MODES = 2  # the bit of the core's flag


# ---- modes --------------------------------------------------------------------------------------


class _Modes(threading.local):
    def __init__(self) -> None:
        self.stack: list[TorchFunctionMode] = []
        self.running: list[TorchFunctionMode] = []  # whose __torch_function__ is being carried out


_modes = _Modes()


class TorchFunctionMode:
    """Inside its ``with`` block, sees every function of the package and method of Tensor called.

    A subclass defines ``__torch_function__(self, func, types, args, kwargs)`` and returns what the
    call shall give; calls that it makes itself go to the mode further out. Modes nest, the
    innermost is asked first, and each is asked before the classes of the arguments.
    """

    def __torch_function__(
        self, func: Any, types: tuple, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        raise NotImplementedError(f"{type(self).__name__}: must define __torch_function__")

    def __enter__(self) -> typing.Self:
        _modes.stack.append(self)
        _core.interpose(_FUNCTION_MODES, True)
        return self

    def __exit__(self, *exc: object) -> None:
        _modes.stack.pop()
        _core.interpose(_FUNCTION_MODES, bool(_modes.stack))

    @classmethod
    def push(cls, *args: Any, **kwargs: Any) -> typing.Self:
        """The old spelling of ``cls(...)``."""
        return cls(*args, **kwargs)


class BaseTorchFunctionMode(TorchFunctionMode):
    """A mode that changes nothing: what to derive from for seeing calls only."""

    def __torch_function__(
        self, func: Any, types: tuple, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        return func(*args, **(kwargs or {}))


def _call_mode(func: Any, types: tuple, args: tuple, kwargs: dict) -> Any:
    """Asks the innermost mode; the next one is innermost meanwhile."""
    stack = _modes.stack
    mode = stack.pop()
    _modes.running.append(mode)
    if not stack:
        _core.interpose(_FUNCTION_MODES, False)
    try:
        return mode.__torch_function__(func, types, args, kwargs)
    finally:
        _modes.running.pop()
        stack.append(mode)
        _core.interpose(_FUNCTION_MODES, True)


_core._set_function_mode(_call_mode)


@contextmanager
def enable_reentrant_dispatch() -> Iterator[None]:
    """Inside a mode's ``__torch_function__``: let the mode see the calls made in this block too."""
    if not _modes.running:
        yield
        return
    with _modes.running[-1]:
        yield


# ---- asking and telling -------------------------------------------------------------------------


def has_torch_function(relevant_args: Iterable[Any]) -> bool:
    """Whether a mode is on or one of the arguments' classes has a ``__torch_function__``."""
    return _core._has_torch_function(relevant_args)


def has_torch_function_unary(arg: Any) -> bool:
    """`has_torch_function` of one argument."""
    return _core._has_torch_function((arg,))


def has_torch_function_variadic(*args: Any) -> bool:
    """`has_torch_function` of the arguments."""
    return _core._has_torch_function(args)


def handle_torch_function(
    public_api: Callable, relevant_args: Iterable[Any], *args: Any, **kwargs: Any
) -> Any:
    """What the mode or the arguments' classes make of ``public_api(*args, **kwargs)``.

    The mode is asked first, then each class once, subclasses before their bases, else from left to
    right, until one returns something else than NotImplemented. TypeError if none does.

    >>> def area(shape):
    ...     if torch.overrides.has_torch_function((shape,)):
    ...         return torch.overrides.handle_torch_function(area, (shape,), shape)
    ...     return shape.prod()
    """
    overriding = _core._overriding_args(tuple(relevant_args))
    types = tuple(map(type, overriding))
    if _modes.stack and _core._has_torch_function(()):
        result = _call_mode(public_api, types, args, kwargs)
        if result is not NotImplemented:
            return result
    for arg in overriding:
        result = arg.__torch_function__(public_api, types, args, kwargs)
        if result is not NotImplemented:
            return result
    name = f"{public_api.__module__}.{public_api.__name__}"
    raise TypeError(
        f"no implementation found for {name!r} on types that implement __torch_function__: "
        f"{list(types)}; return something else than NotImplemented in one of them"
    )


def redispatch_function(
    func: Callable, types: Iterable[type], args: tuple = (), kwargs: dict | None = None
) -> Any:
    """``func`` as if this class had no ``__torch_function__``: what ``super()`` would do."""
    with _core.DisableTorchFunctionSubclass():
        return func(*args, **(kwargs or {}))


def wrap_torch_function(dispatcher: Callable) -> Callable[[Callable], Callable]:
    """A decorator that makes a function overridable.

    ``dispatcher`` takes the function's arguments and gives those whose classes are to be asked.

    >>> @torch.overrides.wrap_torch_function(lambda a: (a,))
    ... def twice(a):
    ...     return a + a
    """

    def wrap(function: Callable) -> Callable:
        @functools.wraps(function)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            relevant = dispatcher(*args, **kwargs)
            if _core._has_torch_function(relevant):
                return handle_torch_function(wrapped, relevant, *args, **kwargs)
            return function(*args, **kwargs)

        return wrapped

    return wrap


def is_tensor_like(inp: Any) -> bool:
    """Whether it is a Tensor, or of a class with a ``__torch_function__``."""
    return type(inp) is torch.Tensor or hasattr(inp, "__torch_function__")


# ---- what can be overridden ---------------------------------------------------------------------

# Of Tensor's own members: what Python itself calls, and what makes or describes instances.
_NOT_METHODS = frozenset((
    "__class__", "__delattr__", "__dict__", "__dir__", "__doc__", "__getattribute__", "__init__",
    "__init_subclass__", "__module__", "__new__", "__setattr__", "__sizeof__", "__str__",
    "__subclasshook__", "__torch_function__", "__weakref__", "_become", "_make_subclass",
    "as_subclass", "__array_interface__", "__array_priority__", "__dictoffset__",
    "__weaklistoffset__", "__getstate__",
))  # fmt: skip
# Functions that take no tensor, or none that could say something about the call.
_IGNORED = (
    "arange", "as_tensor", "asarray", "can_cast", "empty", "empty_strided", "enable_grad", "eye",
    "from_dlpack", "from_numpy", "frombuffer", "full", "get_default_device", "get_default_dtype",
    "get_num_threads", "get_rng_state", "initial_seed", "is_grad_enabled",
    "is_inference_mode_enabled", "is_storage", "is_tensor", "linspace", "load", "logspace",
    "manual_seed", "no_grad", "ones", "promote_types", "rand", "randint", "randn", "randperm",
    "save", "seed", "set_default_device", "set_default_dtype", "set_grad_enabled",
    "set_num_threads", "set_printoptions", "set_rng_state", "tensor", "zeros",
)  # fmt: skip


def get_ignored_functions() -> set[Callable]:
    """Functions that ``__torch_function__`` of an argument does not see: they take no tensors."""
    found = {getattr(torch, name) for name in _IGNORED if hasattr(torch, name)}
    return found | {is_tensor_like, has_torch_function, handle_torch_function, resolve_name}


def get_default_nowrap_functions() -> set[Callable]:
    """Functions whose results a subclass's ``__torch_function__`` leaves as they are."""
    return {vars(torch.Tensor)[name].__get__ for name in ("_base", "grad")}


def _members() -> Iterator[tuple[str, Callable]]:
    for name in dir(torch.Tensor):
        if name in _NOT_METHODS:
            continue
        member = inspect.getattr_static(torch.Tensor, name)
        if isinstance(member, (_types.GetSetDescriptorType, property)):
            yield f"{name}.__get__", member.__get__
        elif callable(member):
            yield name, getattr(torch.Tensor, name)


@functools.cache
def _named() -> dict[Callable, str]:
    """Every overridable function, and its name."""
    names: dict[Callable, str] = {}
    ignored = get_ignored_functions()
    spaces = (
        ("torch", torch.ops.namespaces[""]),
        ("torch.functional", {n: getattr(torch.functional, n) for n in torch.functional.__all__}),
        ("torch.nn.functional", vars(torch.nn.functional)),
        ("torch.linalg", torch.ops.namespaces.get("linalg", {})),
        ("torch.special", torch.ops.namespaces.get("special", {})),
        ("torch.fft", torch.ops.namespaces.get("fft", {})),
    )
    for space, functions in spaces:
        for name, function in functions.items():
            plain = isinstance(function, (_types.BuiltinFunctionType, _types.FunctionType))
            if plain and not name.startswith("_") and function not in ignored:
                names.setdefault(function, f"{space}.{name}")
    for name, member in _members():
        names.setdefault(member, f"torch.Tensor.{name}")
    return names


def get_overridable_functions() -> dict[Any, list[Callable]]:
    """The functions and methods that ``__torch_function__`` sees, by the module or class they are
    of."""
    homes = {
        "torch.Tensor": torch.Tensor,
        "torch.functional": torch.functional,
        "torch.nn.functional": torch.nn.functional,
        "torch.linalg": torch.linalg,
        "torch.special": torch.special,
        "torch": torch,
    }
    found: dict[Any, list[Callable]] = {}
    for function, name in _named().items():
        stem = name.removesuffix(".__get__").rpartition(".")[0]
        found.setdefault(homes.get(stem, torch), []).append(function)
    return found


def get_testing_overrides() -> dict[Callable, Callable]:
    """For each overridable function one that takes the same arguments and returns -1."""

    def override_of(function: Callable) -> Callable:
        def override(*args: Any, **kwargs: Any) -> int:
            return -1

        with suppress(TypeError, ValueError):  # several overloads: any arguments
            override.__signature__ = inspect.signature(function)  # type: ignore[attr-defined]
        return override

    return {function: override_of(function) for function in _named()}


def resolve_name(f: Callable) -> str | None:
    """The public name of an overridable function: "torch.Tensor.add"; None of others."""
    found = _named().get(f)
    if found is None and f in get_ignored_functions():
        found = f"torch.{f.__name__}"
    return found


def is_tensor_method_or_property(func: Callable) -> bool:
    """Whether it is a method of Tensor, or the ``__get__`` of one of its attributes."""
    return (_named().get(func) or "").startswith("torch.Tensor.")
