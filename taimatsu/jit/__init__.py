"""``jit``: programs written for TorchScript run, eagerly.

`script` and `trace` check what they are given and give it back: the result computes the same, in
Python. There is no graph yet, so what needs one (saving an archive, looking at the graph) raises
NotImplementedError; ``state_dict`` with `taimatsu.save` keeps a model.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable
from contextlib import contextmanager
from typing import Any, NoReturn, TypeVar

import taimatsu as torch
from taimatsu.futures import Future
from taimatsu.nn import Module

__all__ = [
    "Attribute", "Error", "Final", "Future", "RecursiveScriptModule", "ScriptFunction",
    "ScriptModule", "TracerWarning", "annotate", "enable_onednn_fusion", "export", "fork",
    "freeze", "ignore", "interface", "is_scripting", "is_tracing", "isinstance", "load",
    "onednn_fusion_enabled", "optimize_for_inference", "optimized_execution",
    "run_frozen_optimizations", "save", "script", "script_if_tracing", "script_method",
    "set_fusion_strategy", "strict_fusion", "trace", "trace_module", "unused", "wait",
]  # fmt: skip

Final = typing.Final
_F = TypeVar("_F", bound=Callable)


class Error(RuntimeError):
    """An error raised in compiled code, in PyTorch."""


class TracerWarning(Warning):
    """What tracing can't see, such as a branch on a value."""

    @staticmethod
    def ignore_lib_warnings() -> None:
        """Nothing: none are given."""


class ScriptFunction:
    """A compiled function in PyTorch; `script` gives back the function here."""


class ScriptModule(Module):
    """The base class of modules with ``script_method``; an ordinary module here."""


RecursiveScriptModule = TopLevelTracedModule = TracedModule = ScriptModule


# ---- Compiling --------------------------------------------------------------------------------
def script(
    obj: Any, optimize: Any = None, _frames_up: int = 0, _rcb: Any = None,
    example_inputs: Any = None,
) -> Any:  # fmt: skip
    """A function, module or class for TorchScript; also a decorator. It is given back as it is.

    RuntimeError for anything else.

    >>> @torch.jit.script
    ... def f(x, n: int):
    ...     return x * n
    """
    if not callable(obj) and not inspect.isclass(obj):
        raise RuntimeError(
            f"script: expected a function, module or class; got {type(obj).__name__}"
        )
    return obj


def trace(
    func: Callable, example_inputs: Any = None, optimize: Any = None, check_trace: bool = True,
    check_inputs: Any = None, check_tolerance: float = 1e-5, strict: bool = True,
    example_kwarg_inputs: dict | None = None, **options: Any,
) -> Any:  # fmt: skip
    """A function or module for calls like that with the example. It is run once on the example, so
    that what is wrong with it shows, and given back.

    Branches on values are taken anew in each call, unlike in PyTorch, where those of the example
    are recorded.
    """
    if example_kwarg_inputs is not None:
        func(**example_kwarg_inputs)
    else:
        single = torch.is_tensor(example_inputs)
        func(*((example_inputs,) if single else tuple(example_inputs)))
    return func


def trace_module(mod: Module, inputs: dict[str, Any], *options: Any, **more: Any) -> Module:
    """`trace` of several methods of a module: by their names, the examples."""
    for name, example in inputs.items():
        trace(mod if name == "forward" else getattr(mod, name), example)
    return mod


def freeze(
    mod: Module, preserved_attrs: list[str] | None = None, optimize_numerics: bool = True
) -> Module:
    """A module whose parameters are constants: ``mod``. RuntimeError in training mode."""
    if mod.training:
        raise RuntimeError(
            "Freezing is currently only implemented for modules in eval mode. "
            "Please call .eval() on your module before freezing."
        )
    return mod


def optimize_for_inference(mod: Module, other_methods: list[str] | None = None) -> Module:
    """The module itself; see `freeze`."""
    return freeze(mod)


def run_frozen_optimizations(mod: Module, *options: Any, **more: Any) -> None:
    """Nothing."""


def script_if_tracing(fn: _F) -> _F:
    """A decorator of functions to be scripted when they are traced: ``fn`` itself."""
    return fn


def script_method(fn: _F) -> _F:
    """A decorator of methods of a `ScriptModule`: ``fn`` itself."""
    return fn


def interface(obj: Any) -> Any:
    """A decorator of classes of which only the methods' types matter: ``obj`` itself."""
    return obj


def export(fn: _F) -> _F:
    """A decorator of methods to be compiled besides `forward`: ``fn`` itself."""
    return fn


def ignore(drop: Any = False, **options: Any) -> Any:
    """A decorator of functions that stay in Python: ``fn`` itself."""
    return drop if callable(drop) else (lambda fn: fn)


def unused(fn: _F) -> _F:
    """A decorator of functions that compiled code doesn't call: ``fn`` itself."""
    return fn


_script_if_tracing = script_if_tracing


def _overload(fn: _F) -> _F:
    return fn


_overload_method = _overload


# ---- Inside compiled code ---------------------------------------------------------------------
def is_scripting() -> bool:
    """Whether the caller is compiled code: False."""
    return False


def is_tracing() -> bool:
    """Whether the caller is being traced: False."""
    return False


def annotate(the_type: Any, the_value: Any) -> Any:
    """A value whose type the compiler can't tell: the value."""
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
    """A task whose result `wait` gives. It is run at once."""
    future: Future = Future()
    try:
        future.set_result(func(*args, **kwargs))
    except Exception as error:
        future.set_exception(error)
    return future


def wait(future: Future) -> Any:
    """The result of a task."""
    return future.wait()


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


# ---- Archives ---------------------------------------------------------------------------------
def save(m: Any, f: Any, _extra_files: Any = None) -> NoReturn:
    """Writes a TorchScript archive. NotImplementedError: there is no graph to write yet."""
    raise NotImplementedError(
        "jit.save: TorchScript archives can't be written yet; keep the model's parameters with "
        "torch.save(model.state_dict(), path)"
    )


def load(f: Any, map_location: Any = None, _extra_files: Any = None, **options: Any) -> NoReturn:
    """Reads a TorchScript archive. NotImplementedError: its code can't be run yet."""
    raise NotImplementedError(
        "jit.load: TorchScript archives can't be run yet; in PyTorch, save the model's "
        "state_dict() with torch.save, and load it into the same module here"
    )
