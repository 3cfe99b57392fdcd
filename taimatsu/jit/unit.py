"""What this process has scripted: functions, classes and modules' types, by their names.

One `Unit` serves all, as a class that two models use is one class. `Code` runs its text; an archive
gets the definitions that what is saved depends on.
"""

from __future__ import annotations

import ast
import enum
import functools
import inspect
import sys
import types as python_types
import typing
from collections import ChainMap
from collections.abc import Callable
from typing import Any

import taimatsu as torch
from taimatsu.nn import Module

from .archive import ScriptModule
from .aten import Error
from .compiler import _TYPING, Compiler, Function, Parameter
from .frontend import FrontendTypeError, NotSupportedError, Source
from .language import CONSTANT, Code, path_of
from .objects import ClassInfo, EnumText, ModuleInfo, named_in, tuple_text
from .types import NONE, TENSOR, NamedTupleInfo, Type, from_annotation

__all__ = ["UNIT", "Unit"]


class _Text(typing.NamedTuple):
    """A definition that is only text: of a function, or from an archive."""

    written: str
    uses: frozenset[str]

    def text(self) -> str:
        return self.written


class Unit(Code):
    """The definitions of what `torch.jit.script` was given, and of what that uses."""

    trusted = True

    def __init__(self) -> None:
        super().__init__({}, [], ScriptModule)
        self.definitions: dict[str, Any] = {}
        self._functions: dict[Any, Function] = {}
        self._classes: dict[type, Type] = {}
        self._modules: dict[Any, ModuleInfo] = {}
        self._compiling: list[Any] = []
        self._python: dict[str, Callable] = {}
        self.infos: dict[str, Any] = {}  # of modules that were traced or loaded

    # ---- As code ----------------------------------------------------------------------------
    def defines(self, qualified: str) -> ast.stmt | None:
        found = self.definitions.get(qualified)
        return None if found is None else ast.parse(found.text()).body[0]

    def source(self, qualified: str) -> str:
        found = self.definitions.get(qualified)
        return "" if found is None else found.text()

    def operator(self, name: str) -> Callable:
        if name in self._python:
            return self._python[name]
        return super().operator(name)

    def closure(self, qualified: str) -> tuple[dict[str, str], list[Any]]:
        files: dict[str, list[str]] = {}
        waiting, seen = [qualified], {qualified}
        while waiting:
            name = waiting.pop()
            found = self.definitions.get(name)
            if found is None:
                continue
            if "ops.python." in found.text():
                raise Error(
                    f"Could not export Python function call: {name.rpartition('.')[2]} calls one "
                    "that torch.jit.ignore leaves in Python. Remove calls to Python functions "
                    "before export."
                )
            files.setdefault(path_of(name), []).append(found.text())
            uses = found.depends() if hasattr(found, "depends") else found.uses
            waiting += sorted(u for u in uses if u not in seen)
            seen |= set(uses)
        used: dict[str, str] = {}  # constants, by the numbers that they have here

        def renumbered(match: Any) -> str:
            return used.setdefault(match[0], f"CONSTANTS.c{len(used)}")

        made = {p: CONSTANT.sub(renumbered, "".join(texts)) for p, texts in files.items()}
        return made, [self.constants[int(name[11:])] for name in used]

    # ---- Names ------------------------------------------------------------------------------
    def qualified(self, target: Any, name: str | None = None) -> str:
        """A new name for a function or class."""
        place = getattr(target, "__module__", None) or "__main__"
        if place.partition(".")[0] == torch.__name__:
            place = f"torch{place[len(torch.__name__):]}"
            place = place.replace("jit.library", "nn.functional")
            place = place.replace("jit.layers_attention", "nn.modules.activation")
            place = place.replace("jit.layers", "nn.modules")
        name = name or target.__name__
        name = name if name.isidentifier() else "anonymous"
        path = [] if place == "__main__" else place.split(".")
        found = ".".join(["__torch__", *path, name])
        count = 0
        while found in self.definitions or found in self._found:
            found = ".".join(["__torch__", *path, f"___torch_mangle_{count}", name])
            count += 1
        return found

    # ---- Functions --------------------------------------------------------------------------
    def replaced(self, target: Any) -> Any:
        """The scriptable form of a function of this package; None if it is that itself."""
        from . import library

        try:
            return library.FUNCTIONS.get(target)
        except TypeError:  # not hashable
            return None

    def replaced_method(self, cls: type, name: str) -> Any:
        """The scriptable form of a method of this package's layers."""
        from . import layers

        for base in cls.__mro__:
            if (base, name) in layers.METHODS:
                return layers.METHODS[base, name]
            if name in vars(base):
                return None
        return None

    def listed(self, cls: type, name: str) -> Any:
        """What tells the names of the parameters that an attribute lists; None if it isn't one."""
        from . import layers

        return next((layers.LISTS[b, name] for b in cls.__mro__ if (b, name) in layers.LISTS), None)

    def function(
        self, target: Any, compiler: Any = None, node: ast.AST | None = None
    ) -> Function:
        """A function, compiled now if it isn't yet."""
        if isinstance(target, torch.jit.ScriptFunction):
            return target.function_for(self)
        modifier = getattr(target, "_torchscript_modifier", None)
        if modifier in ("ignore", "unused"):
            return self.outside(target, modifier, None, compiler)
        target = self.replaced(target) or target
        if target in self._functions:
            return self._functions[target]
        if target in self._compiling:
            raise compiler.error(
                node, f"function '{target.__name__}' is called recursively. Recursive calls are "
                "not supported")  # fmt: skip
        if not isinstance(inspect.unwrap(target), python_types.FunctionType):
            message = f"Python builtin {target!r} is currently not supported in Torchscript"
            raise compiler.error(node, message) if compiler else RuntimeError(message)
        self._compiling.append(target)
        try:
            qualified = self.qualified(target)
            made = self.compile_function(target, qualified.rpartition(".")[2], qualified)
        finally:
            self._compiling.remove(target)
        self.definitions[qualified] = _Text(made.text, made.uses)
        self._functions[target] = made
        return made

    def compile_function(
        self, target: Callable, name: str, qualified: str, owner: Any = None, static: bool = False
    ) -> Function:
        """A function or method to text."""
        try:
            source = Source.of(target)
        except OSError as error:
            raise OSError(str(error)) from None
        if isinstance(source.tree, ast.Assign) or source.tree is None:
            raise NotSupportedError(f"jit.script: {target!r} is no function that def made")
        compiler = Compiler(self, target, source, owner)
        compiler.is_static = static
        head = "" if owner is None or static else f"self: {owner.qualified}"
        if static:
            return self._static_method(compiler, name, owner)
        return compiler.compile(name, qualified, head)

    def _static_method(self, compiler: Compiler, name: str, owner: Any) -> Function:
        """A static method is a method that doesn't look at its object."""
        return compiler.compile(name, owner.qualified, f"self: {owner.qualified}")

    def outside(self, target: Any, modifier: str, owner: Any, compiler: Any) -> Function:
        """A function that stays in Python (`ignore`), or that must not be called (`unused`)."""
        key = (target, owner)
        if key in self._functions:
            return self._functions[key]
        inner = Compiler(self, target, Source.of(target), owner)
        params, returns = inner.parameters()
        returns = TENSOR if returns is None else returns
        qualified = self.qualified(target)
        name = qualified.rpartition(".")[2]
        texts = inner.parameter_texts(params)
        head = [f"self: {owner.qualified}"] if owner is not None else []
        if modifier == "unused":
            why = f"Function {name} is marked as unused: it can't be called in TorchScript"
            never = "None" if returns == NONE else f"uninitialized({returns})"
            body = (
                f'  ops.prim.RaiseException("{why}", "builtins.RuntimeError")\n  return {never}\n'
            )
        else:
            outer = f"python.{qualified.replace('.', '_')}"
            self._python[outer] = _in_python(target, owner)
            names = [inner.spelled(p.name) for p in params]
            given = ", ".join(["self", *names] if owner else names)
            body = f"  return ops.{outer}({given})\n"
        text = f"def {name}({', '.join([*head, *texts])}) -> {returns}:\n{body}"
        uses = frozenset({owner.qualified} if owner is not None else ())
        made = self._functions[key] = Function(name, qualified, params, returns, text, uses)
        self.definitions[qualified] = _Text(text, uses)
        return made

    # ---- Types ------------------------------------------------------------------------------
    def hint(self, hint: Any, cls: type) -> Any:
        """An annotation in a class, evaluated if it is a string."""
        if isinstance(hint, typing.ForwardRef):
            hint = hint.__forward_arg__
        if not isinstance(hint, str):
            return hint

        space = vars(sys.modules.get(cls.__module__, python_types))
        try:
            return eval(hint, {}, ChainMap(space, _TYPING))
        except Exception:
            return hint

    def annotation(self, hint: Any, cls: type) -> Type:
        """The type of an annotation in a class."""
        try:
            return typing.cast(Type, from_annotation(self.hint(hint, cls), self.class_type))
        except TypeError as error:
            raise FrontendTypeError(f"{cls.__name__}: {error}") from None

    def class_type(self, cls: type) -> Type:
        """The type of a class's instances: NamedTuple, enum or script class. TypeError if none."""
        if cls in self._classes:
            return self._classes[cls]
        if issubclass(cls, tuple) and hasattr(cls, "_fields"):
            return self._named_tuple(cls)
        if issubclass(cls, enum.Enum):
            qualified = self.qualified(cls)
            made = self._classes[cls] = Type(qualified, (), cls)
            self.definitions[qualified] = EnumText(cls, qualified)
            self._found[qualified] = cls
            return made
        from . import library

        cls = library.CLASSES.get(cls, cls)
        if cls in self._classes:
            return self._classes[cls]
        if cls.__module__ == "builtins" or issubclass(cls, (Module, BaseException)):
            raise TypeError(f"Unknown type annotation: '{cls.__name__}'")
        ours = cls.__module__.partition(".")[0] == torch.__name__
        if ours and cls.__module__ != library.__name__:
            raise TypeError(f"{cls.__name__} is no type of TorchScript")
        qualified = self.qualified(cls)
        info = ClassInfo(self, cls, qualified)
        self._classes[cls] = info.type
        self.definitions[qualified] = info
        try:
            info.build()
        except Exception as error:
            del self._classes[cls], self.definitions[qualified]
            if isinstance(error, OSError):
                raise TypeError(f"{cls.__name__} is no type of TorchScript") from None
            raise
        return info.type

    def _named_tuple(self, cls: Any) -> Type:
        hints = getattr(cls, "__annotations__", {})
        fields = {n: self.annotation(hints.get(n, torch.Tensor), cls) for n in cls._fields}
        qualified = self.qualified(cls)
        info = NamedTupleInfo(cls, fields, dict(cls._field_defaults))
        made = self._classes[cls] = Type(qualified, (), info)
        uses = frozenset().union(*(named_in(k) for k in fields.values()))
        self.definitions[qualified] = _Text(tuple_text(cls.__name__, fields), uses)
        self._found[qualified] = cls
        return made

    def fields_of(self, kind: Type) -> list[Parameter]:
        """A NamedTuple's fields, as the parameters of its constructor."""
        info = kind.info
        return [Parameter(n, k, n in info.defaults, info.defaults.get(n))
                for n, k in info.fields.items()]  # fmt: skip

    # ---- Modules ----------------------------------------------------------------------------
    def placeholder(self, function: Function) -> ScriptModule:
        """A module that does what a function does."""
        name = self.qualified(type(function), "PlaceholderModule")
        name = name.replace("torch.jit.compiler.", "")
        params = ",\n    ".join(
            [f"self: {name}", *(f"{p.name}: {p.type}{_default_of(p)}" for p in function.params)]
        )
        given = "".join(f"{p.name}, " for p in function.params)
        text = (
            f"class {name.rpartition('.')[2]}(Module):\n  __parameters__ = []\n  __buffers__ = []\n"
            "  training : bool\n  _is_full_backward_hook : Optional[bool]\n"
            f"  def forward({params}) -> {function.returns}:\n"
            f"    return {function.qualified}({given})\n"
        )
        self.definitions[name] = _Text(text, function.uses | {function.qualified})
        made = object.__new__(self.resolve(name))
        Module.__init__(made)
        return made

    def module_info(self, module: Module) -> ModuleInfo:
        """A module's type."""
        if isinstance(module, ScriptModule) and module._jit_qualified:
            return self._compiled_module(module)
        info = ModuleInfo(self, module, "")
        key = info.key()
        if key not in self._modules:
            qualified = self.qualified(type(module))
            info.qualified, info.type = qualified, Type(qualified, (), info)
            self._modules[key] = info
            self.definitions[qualified] = info
        return self._modules[key]

    def _compiled_module(self, module: ScriptModule) -> Any:
        found = self.definitions.get(module._jit_qualified)
        if module._jit_code is self and isinstance(found, ModuleInfo):
            return found
        from .adopt import adopted_module

        return adopted_module(self, module)


def _default_of(p: Parameter) -> str:
    return f"={p.default_text}" if p.has_default else ""


def _in_python(target: Callable, owner: Any) -> Callable:
    """A method gets the Python module that was scripted."""
    function = inspect.unwrap(target)
    if owner is None:
        return function

    @functools.wraps(function)
    def call(self: Any, *args: Any) -> Any:
        return function(getattr(self, "_jit_original", self), *args)

    return call


UNIT = Unit()
