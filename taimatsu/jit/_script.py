"""`torch.jit.script`: functions, modules and classes, compiled."""

from __future__ import annotations

import enum
import inspect
import io
import itertools
import linecache
import re
import typing
from collections.abc import Callable
from typing import Any

import taimatsu as torch
from taimatsu.nn import Module

from .archive import ScriptModule, save
from .compiler import Function
from .language import Code
from .objects import ModuleInfo
from .types import FLOAT, TENSOR, Type
from .unit import UNIT
from .values import literal

__all__ = ["CompilationUnit", "Constants", "ScriptFunction", "check", "script", "script_module"]


# ---- Arguments from Python ------------------------------------------------------------------
_CHECKS: dict[str, Any] = {
    "Tensor": torch.Tensor, "int": int, "float": (float, int), "str": str, "bool": bool,
    "List": list, "Dict": dict, "Tuple": tuple, "NoneType": type(None), "complex": (complex, float),
}  # fmt: skip


def _fits(value: Any, kind: Type) -> bool:
    if kind.name == "Optional":
        return value is None or _fits(value, kind.args[0])
    if kind.name == "Union":
        return any(_fits(value, k) for k in kind.args)
    wanted = _CHECKS.get(kind.name)
    if wanted is None:
        return True
    if kind.name == "int":
        return type(value) is int or (
            isinstance(value, (int, torch.dtype, torch.layout, torch.memory_format))
            and not isinstance(value, bool)
        )
    if kind.name == "List":
        item = kind.args[0]
        return isinstance(value, (list, tuple)) and (
            not value or all(_fits(v, item) for v in value)
        )
    if kind.name == "Dict":
        return isinstance(value, dict) and all(
            _fits(k, kind.args[0]) and _fits(v, kind.args[1]) for k, v in value.items()
        )
    if kind.name == "Tuple":
        return isinstance(value, tuple) and len(value) == len(kind.args) and all(
            map(_fits, value, kind.args)
        )
    return isinstance(value, wanted) and (kind == TENSOR or not isinstance(value, bool)
                                          or kind.name == "bool")  # fmt: skip


def check(function: Function, args: tuple, kwargs: dict[str, Any]) -> tuple[list, dict[str, Any]]:
    """A call's arguments, converted as TorchScript does. RuntimeError if they don't fit."""
    name, params = function.name, function.params
    if len(args) > len(params):
        raise _refused(
            function, f"{name}() expected at most {len(params)} argument(s) but received "
            f"{len(args)} argument(s).")  # fmt: skip
    for key in kwargs:
        if key not in {p.name for p in params}:
            raise _refused(function, f"Unknown keyword argument '{key}' for operator '{name}'.")
    found, named = list(args), dict(kwargs)
    for i, p in enumerate(params):
        if i < len(found):
            found[i] = _converted(found[i], p, i, function)
        elif p.name in named:
            named[p.name] = _converted(named[p.name], p, i, function)
        elif not p.has_default:
            raise _refused(function, f"{name}() is missing value for argument '{p.name}'.")
        else:
            named[p.name] = p.default
    return found, named


def _refused(function: Function, why: str) -> RuntimeError:
    return RuntimeError(f"{why} Declaration: {function.schema}")


def _converted(value: Any, p: Any, position: int, function: Function) -> Any:
    kind = p.type
    if kind is TENSOR and isinstance(value, torch.Tensor):
        return value
    if p.broadcast is not None and isinstance(value, (int, float)):
        return [value] * p.broadcast.length
    if not _fits(value, kind):
        raise _refused(
            function, f"{function.name}() Expected a value of type '{kind}' for argument "
            f"'{p.name}' but instead found type '{type(value).__name__}'.\n"
            f"Position: {position}\nValue: {value!r}\n")  # fmt: skip
    inner = kind.without_none
    if inner == FLOAT and isinstance(value, int):
        return float(value)
    if inner.name == "List" and isinstance(value, tuple):
        return list(value)
    return int(literal(value)) if isinstance(value, torch.dtype) else value


class ScriptFunction:
    """A compiled function: it is called as the function is, and it can be saved."""

    def __init__(self, function: Function, code: Code, original: Callable):
        self._function, self._code, self._original = function, code, original
        self._run = code.resolve(function.qualified)
        self.__name__ = self.name = function.name
        self.qualified_name = function.qualified
        self.__doc__, self.__module__ = original.__doc__, original.__module__
        self._torchdynamo_inline = original

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        found, named = check(self._function, args, kwargs)
        if torch.jit.is_tracing():
            from .record import calling

            return calling(self._run, found, named, self._function, self._code)
        return self._run(*found, **named)

    @property
    def __signature__(self) -> inspect.Signature:
        return inspect.signature(self._original)

    def function_for(self, unit: Any) -> Function:
        """What a program that calls it calls."""
        return self._function

    @property
    def schema(self) -> str:
        """Its declaration."""
        return self._function.schema

    @property
    def code(self) -> str:
        """Its text."""
        return self._code.source(self._function.qualified)

    @property
    def code_with_constants(self) -> tuple[str, Any]:
        """Its text, and the tensors that this calls ``CONSTANTS.c0``."""
        return self.code, Constants(self._code.constants)

    @property
    def graph(self) -> Any:
        """Its ops, as a graph."""
        from .graph import graph_of

        return graph_of(self._code, self._function.qualified)

    inlined_graph = graph

    def graph_for(self, *args: Any, **kwargs: Any) -> Any:
        """The graph that runs for these arguments: `graph`."""
        return self.graph

    def save(self, f: Any, _extra_files: dict[str, Any] | None = None) -> None:
        """Writes an archive; see `torch.jit.save`."""
        save(self, f, _extra_files)

    def save_to_buffer(self, _extra_files: dict[str, Any] | None = None) -> bytes:
        """The bytes of an archive."""
        buffer = io.BytesIO()
        save(self, buffer, _extra_files)
        return buffer.getvalue()

    def as_module(self) -> ScriptModule:
        """A module whose ``forward`` is the function: what an archive has."""
        return UNIT.placeholder(self.function_for(UNIT))

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        return self if instance is None else (lambda *a, **k: self(instance, *a, **k))

    def __repr__(self) -> str:
        return f"<torch.jit.ScriptFunction {self.name} at {id(self):#x}>"


class Constants:
    """Tensors by the names that code has for them."""

    def __init__(self, values: list[Any]):
        self.const_mapping = {f"c{i}": v for i, v in enumerate(values)}

    def __getattr__(self, name: str) -> Any:
        try:
            return self.const_mapping[name]
        except KeyError:
            raise AttributeError(name) from None


class TracedFunction(ScriptFunction):
    """What `trace` recorded of a function, as the module whose ``forward`` it is."""

    def __init__(self, module: ScriptModule, original: Callable):
        self._module, self._original, self._code = module, original, module._jit_code
        self.__name__ = self.name = getattr(original, "__name__", "function")
        self.qualified_name = module._jit_qualified
        self.__doc__ = original.__doc__

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._module(*args, **kwargs)

    def function_for(self, unit: Any) -> Function:
        from .adopt import adopted_function

        return adopted_function(unit, self._module, self.name)

    @property
    def schema(self) -> str:
        return self.function_for(UNIT).schema

    @property
    def code(self) -> str:
        return self._module.code

    @property
    def graph(self) -> Any:
        return self._module.graph

    inlined_graph = graph

    def as_module(self) -> ScriptModule:
        return self._module


# ---- Modules ------------------------------------------------------------------------------------
def _to_compile(info: ModuleInfo) -> list[str]:
    """The methods that are compiled though nothing may call them."""
    names = []
    forward = info.function_named("forward")
    modifier = getattr(forward, "_torchscript_modifier", None)
    if forward not in (None, Module.forward) and modifier not in ("ignore", "unused"):
        names.append("forward")
    for base in info.cls.__mro__:
        for name, value in vars(base).items():
            if getattr(value, "_torchscript_modifier", None) == "export" and name not in names:
                names.append(name)
    return names


def script_module(module: Module) -> ScriptModule:
    """A module's compiled form; parameters, buffers and attributes are shared with it."""
    info = UNIT.module_info(module)
    seen: set[str] = set()

    def compile_all(of: Any) -> None:
        if of is None or of.qualified in seen or not isinstance(of, ModuleInfo):
            return
        seen.add(of.qualified)
        for child in of.children.values():
            compile_all(child)
        for name in _to_compile(of):
            of.method(name)

    compile_all(info)
    return build(info, module, {})


def build(info: Any, module: Module, made: dict[int, ScriptModule]) -> ScriptModule:
    """An instance of a module's type, with what the module has."""
    if isinstance(module, ScriptModule) and module._jit_qualified:
        return module
    if id(module) in made:
        return made[id(module)]
    cls = UNIT.resolve(info.qualified)
    cls._jit_forward = info.methods.get("forward")
    new = made[id(module)] = object.__new__(cls)
    Module.__init__(new)
    values: dict[str, Any] = {**module._parameters, **module._buffers}
    for name, child in module._modules.items():
        values[name] = child and build(info.children[name], child, made)
    values |= {n: _attribute_value(getattr(module, n)) for n in info.fields if n not in values}
    new._jit_restore(values)
    for name, value in info.constants.items():
        if name not in values:
            object.__setattr__(new, name, value)
    object.__setattr__(new, "_jit_original", module)
    new._non_persistent_buffers_set |= module._non_persistent_buffers_set
    return new


def _attribute_value(value: Any) -> Any:
    return value.value if isinstance(value, torch.jit.Attribute) else value


def script(
    obj: Any, optimize: Any = None, _frames_up: int = 0, _rcb: Any = None,
    example_inputs: Any = None,
) -> Any:  # fmt: skip
    """A function, module or class compiled as TorchScript, which can be saved; also a decorator.

    Of a module, ``forward`` and what `torch.jit.export` marks is compiled, with all that these
    call. Parameters and buffers are shared with the module.

    RuntimeError for programs that aren't TorchScript's: it names the file, the line and the rule.
    TypeError for what is no function, module or class.

    >>> @torch.jit.script
    ... def power(x, n: int):
    ...     y = x
    ...     for _ in range(n - 1):
    ...         y = y * x
    ...     return y
    >>> power(torch.tensor(2.0), 3)
    tensor(8.)
    """
    if isinstance(obj, (ScriptModule, ScriptFunction)):
        return obj
    if isinstance(obj, Module):
        return script_module(obj)
    if isinstance(obj, dict):
        return dict(obj)
    if isinstance(obj, list):
        return list(obj)
    if inspect.isclass(obj):
        if issubclass(obj, Module):
            raise RuntimeError(
                f"Type '{obj}' cannot be compiled since it inherits from nn.Module, consider "
                "passing an instance instead"
            )
        if not issubclass(obj, (enum.Enum, tuple)) and len(obj.__mro__) > 2:
            raise RuntimeError(
                "TorchScript classes does not support inheritance yet. Please directly inherit "
                "from 'object'."
            )
        UNIT.class_type(obj)
        return obj
    if not callable(obj):
        raise TypeError(
            f"jit.script: expected a function, module or class; got {type(obj).__name__}"
        )
    if not hasattr(inspect.unwrap(obj), "__code__"):
        raise TypeError(f"jit.script: {obj!r} has no Python source that could be compiled")
    if hasattr(obj, "__self__"):
        raise RuntimeError(f"jit.script: {obj!r} is a bound method: script the module instead")
    return ScriptFunction(UNIT.function(obj), UNIT, obj)


class CompilationUnit:
    """Functions from text, as attributes.

    >>> torch.jit.CompilationUnit("def twice(n: int):\\n    return n * 2").twice(4)
    8
    """

    def __init__(self, lang: str = "", name: str = "CompilationUnit"):
        self._functions: dict[str, ScriptFunction] = {}
        if lang:
            self.define(lang)

    def define(self, lang: str) -> None:
        """Adds the functions of a text."""
        path = f"<torch.jit.CompilationUnit {next(_texts)}>"
        linecache.cache[path] = (len(lang), None, lang.splitlines(keepends=True), path)
        space: dict[str, Any] = {"torch": torch, "Tensor": torch.Tensor, **vars(typing)}
        exec(compile(lang, path, "exec"), space)
        functions = {n: f for n, f in space.items() if getattr(f, "__code__", None) is not None
                     and f.__code__.co_filename == path}  # fmt: skip
        self._functions |= {n: script(f) for n, f in functions.items()}

    def __getattr__(self, name: str) -> ScriptFunction:
        try:
            return self.__dict__["_functions"][name]
        except KeyError:
            raise AttributeError(f"CompilationUnit has no function {name!r}") from None


_texts = itertools.count()


def export_opnames(m: Any) -> list[str]:
    """The ops that a compiled module calls, as "aten::relu"."""
    module = m.as_module() if isinstance(m, ScriptFunction) else m
    files, _ = module._jit_code.closure(module._jit_qualified)
    found = {name for text in files.values() for name in re.findall(r"\btorch\.(\w+)\(", text)}
    return sorted(f"aten::{name}" for name in found)
