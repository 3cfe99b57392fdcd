"""``jit``: programs written for TorchScript, and its archives.

`trace` records ops as TorchScript's code (`record`), `script` compiles Python to it (`_script`,
`unit`, `compiler`), `load` reads archives of PyTorch's or our own (`archive`). One evaluator runs
all of them (`language`, `aten`).
"""

from __future__ import annotations

import functools
import inspect
import typing
from collections.abc import Callable
from contextlib import contextmanager
from typing import Any, TypeVar

import taimatsu as torch
from taimatsu.futures import Future
from taimatsu.nn import Module

from .archive import ScriptModule, load, save
from .aten import Error

__all__ = [
    "Attribute", "CompilationUnit", "Error", "Final", "Future", "RecursiveScriptModule",
    "ScriptFunction", "ScriptModule", "TracerWarning", "annotate", "enable_onednn_fusion",
    "export", "export_opnames", "fork",
    "freeze", "ignore", "interface", "is_scripting", "is_tracing", "isinstance", "load",
    "onednn_fusion_enabled", "optimize_for_inference", "optimized_execution",
    "run_frozen_optimizations", "save", "script", "script_if_tracing", "script_method",
    "set_fusion_strategy", "strict_fusion", "trace", "trace_module", "unused", "wait",
]  # fmt: skip

Final = typing.Final
_F = TypeVar("_F", bound=Callable)


class TracerWarning(Warning):
    """What tracing can't see, such as a branch on a value."""

    @staticmethod
    def ignore_lib_warnings() -> None:
        """Nothing: none are given."""


RecursiveScriptModule = TopLevelTracedModule = TracedModule = ScriptModule


# ---- Compiling --------------------------------------------------------------------------------
def trace(
    func: Any, example_inputs: Any = None, optimize: Any = None, check_trace: bool = True,
    check_inputs: Any = None, check_tolerance: float = 1e-5, strict: bool = True,
    example_kwarg_inputs: dict | None = None, **options: Any,
) -> Any:  # fmt: skip
    """What a function or module does in a call with the example, as a `ScriptModule` or
    `ScriptFunction`: its ops, recorded. It can be saved, and loaded by PyTorch.

    Branches and sizes are those of the example in each call. A module's parameters and buffers are
    shared with it. `Error` for what can't be written as TorchScript.

    >>> traced = torch.jit.trace(nn.Linear(2, 3), torch.ones(1, 2))
    >>> traced.save("model.pt")
    """
    from .record import record

    single = torch.is_tensor(example_inputs) or isinstance(example_inputs, dict)
    args = (example_inputs,) if single else tuple(example_inputs or ())
    forward = func.forward if _is(func, Module) else func
    if example_kwarg_inputs is not None:
        bound = inspect.signature(forward).bind(**example_kwarg_inputs)
        args = tuple(bound.arguments.values())
        names = list(bound.arguments)
    else:
        names = _names(forward, len(args))
    root = func if _is(func, Module) else getattr(func, "__self__", None)
    if root is not None and _is(root, Module):
        return record(root, func, names, args)
    from ._script import TracedFunction

    return TracedFunction(record(Module(), func, names, args), func)


def _names(function: Callable, count: int) -> list[str]:
    """The names of the first parameters."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except ValueError:  # of a builtin
        parameters = {}.values()
    plain = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    return [*plain, *(f"argument_{i}" for i in range(len(plain), count))][:count]


def trace_module(mod: Module, inputs: dict[str, Any], *options: Any, **more: Any) -> Any:
    """`trace` of several of a module's methods: by their names, the examples.

    >>> traced = torch.jit.trace_module(model, {"forward": torch.ones(4, 3)})
    >>> traced(x).shape
    torch.Size([4, 2])
    """
    from .record import record

    calls = []
    for name, example in inputs.items():
        single = torch.is_tensor(example) or _is(example, dict)
        args = (example,) if single else tuple(example)
        method = getattr(mod, name)
        calls.append((mod if name == "forward" else method, _names(method, len(args)), args, name))
    first, *others = calls
    return record(mod, *first, *others)


def freeze(
    mod: Any, preserved_attrs: list[str] | None = None, optimize_numerics: bool = True
) -> Any:
    """A compiled module in eval mode with its parameters as constants; see `_freeze`.

    RuntimeError for modules that aren't compiled, or are in training mode.

    >>> torch.jit.freeze(torch.jit.script(model.eval()))(x).shape
    torch.Size([4, 2])
    """
    from ._freeze import freeze as frozen

    return frozen(mod, preserved_attrs, optimize_numerics)


def optimize_for_inference(mod: Any, other_methods: list[str] | None = None) -> Any:
    """The module frozen: kernels are fused as they run, there is nothing else to prepare.

    RuntimeError for modules that aren't compiled.
    """
    if not _is(mod, ScriptModule):
        raise RuntimeError(
            "optimize_for_inference expects a ScriptModule as input. Please use torch.jit.script "
            "or torch.jit.trace to script your 'nn.Module'."
        )
    return freeze(mod.eval(), other_methods) if hasattr(mod, "training") else mod


def run_frozen_optimizations(mod: Module, *options: Any, **more: Any) -> None:
    """Nothing."""


def script_if_tracing(fn: _F) -> _F:
    """A decorator of functions that are compiled when a trace first calls them."""

    @functools.wraps(fn)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        if is_tracing():
            from ._script import script

            return script(fn)(*args, **kwargs)
        return fn(*args, **kwargs)

    wrapper.__original_fn = fn  # type: ignore[attr-defined]
    wrapper.__script_if_tracing_wrapper = True  # type: ignore[attr-defined]
    return typing.cast(_F, wrapper)


def script_method(fn: _F) -> _F:
    """A decorator of methods of a `ScriptModule` that are compiled."""
    return _marked("export")(fn)


def _marked(modifier: str) -> Callable[[_F], _F]:
    def mark(fn: _F) -> _F:
        target: Any = getattr(fn, "fget", fn)  # of a property
        target._torchscript_modifier = modifier
        return fn

    return mark


def interface(obj: Any) -> Any:
    """A decorator of classes of which only the methods' types matter: any class that has such
    methods may stand where one is declared."""
    obj._torchscript_interface = True
    return obj


def export(fn: _F) -> _F:
    """A decorator of methods to be compiled besides ``forward``."""
    return _marked("export")(fn)


def ignore(drop: Any = False, **options: Any) -> Any:
    """A decorator of functions that stay in Python: compiled code calls them there, and can't be
    saved. With ``drop=True`` as `unused`."""
    if callable(drop):
        return _marked("ignore")(drop)
    return _marked("unused" if drop else "ignore")


def unused(fn: _F) -> _F:
    """A decorator of functions that compiled code may mention, but not call: RuntimeError."""
    return _marked("unused")(fn)


_script_if_tracing = script_if_tracing


def _overload(fn: _F) -> _F:
    return fn


_overload_method = _overload


# ---- Inside compiled code ---------------------------------------------------------------------
def is_scripting() -> bool:
    """Whether the caller is compiled code: False.

    >>> torch.jit.is_scripting()
    False
    """
    return False


def is_tracing() -> bool:
    """Whether a trace records what the caller does."""
    return _tracing > 0


_tracing = 0  # how many traces are under way


def annotate(the_type: Any, the_value: Any) -> Any:
    """A value whose type the compiler can't tell: the value.

    >>> torch.jit.annotate(list[int], [])
    []
    """
    return the_value


class Attribute(typing.NamedTuple):
    """A value and its type, as an attribute of a module."""

    value: Any
    type: Any


def isinstance(obj: Any, target_type: Any) -> bool:
    """Whether ``obj`` is of a type, that of containers' elements included.

    >>> torch.jit.isinstance([1, 2], list[int]), torch.jit.isinstance([1, "a"], list[int])
    (True, False)
    """
    return _matches(obj, target_type)


def _matches(obj: Any, kind: Any) -> bool:
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if type(kind) is tuple:
        return any(_matches(obj, k) for k in kind)
    if kind is Any:
        return True
    if kind is None:
        return obj is None
    if origin is None:
        return _is(obj, kind)
    if origin in (list, set, frozenset):
        return _is(obj, origin) and all(_matches(o, args[0]) for o in obj)
    if origin is dict:
        return _is(obj, dict) and all(
            _matches(k, args[0]) and _matches(v, args[1]) for k, v in obj.items()
        )
    if origin is tuple:
        if len(args) == 2 and args[1] is ...:
            return _is(obj, tuple) and all(_matches(o, args[0]) for o in obj)
        return _is(obj, tuple) and len(obj) == len(args) and all(map(_matches, obj, args))
    return any(_matches(obj, a) for a in args)  # a union


_is = __builtins__["isinstance"] if type(__builtins__) is dict else __builtins__.isinstance


def fork(func: Callable, *args: Any, **kwargs: Any) -> Future:
    """A task whose result `wait` gives. It is run at once.

    >>> torch.jit.wait(torch.jit.fork(torch.add, torch.ones(1), 2))
    tensor([3.])
    """
    future: Future = Future()
    try:
        future.set_result(func(*args, **kwargs))
    except Exception as error:
        future.set_exception(error)
    return future


def wait(future: Future) -> Any:
    """The result of a task."""
    return future.wait()


_SCRIPTS = ("CompilationUnit", "ScriptFunction", "export_opnames", "script")


def __getattr__(name: str) -> Any:
    if name in _SCRIPTS:  # not by `import taimatsu.jit` alone
        from . import _script

        globals().update({n: getattr(_script, n) for n in _SCRIPTS})
        return getattr(_script, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


# ---- Settings of the compiler -----------------------------------------------------------------
@contextmanager
def optimized_execution(should_optimize: bool):
    """Whether compiled code is optimized inside the block: nothing changes."""
    yield


@contextmanager
def strict_fusion():
    """In which everything has to be fused, in PyTorch: nothing changes."""
    yield


def set_fusion_strategy(strategy: list[tuple[str, int]]) -> list[tuple[str, int]]:
    """How often code is specialised for sizes; what was set before: nothing."""
    return []


_onednn_fusion = False


def enable_onednn_fusion(enabled: bool) -> None:
    """Whether oneDNN may fuse ops of a graph: kept, there are no graphs."""
    global _onednn_fusion
    _onednn_fusion = enabled


def onednn_fusion_enabled() -> bool:
    """What `enable_onednn_fusion` set."""
    return _onednn_fusion
