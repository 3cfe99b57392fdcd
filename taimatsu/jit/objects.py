"""Script classes, NamedTuples, enums and modules as types of the front end.

A type's ``info`` answers what its values' attributes are, and compiles the methods that are used.
"""

from __future__ import annotations

import ast
import dataclasses
import enum
import inspect
import linecache
import sys
import types as python_types
import typing
from collections.abc import Callable
from typing import Any

import taimatsu as torch
from taimatsu.nn import Module

from .compiler import Compiler, Function
from .frontend import FrontendTypeError, Source
from .types import BOOL, NONE, TENSOR, Type, is_subtype, list_of, of_value
from .values import (
    Bound,
    Items,
    Static,
    Value,
    attribute,
    cast,
    display,
    empty_display,
    literal,
)  # fmt: skip

__all__ = ["ClassInfo", "EnumText", "ModuleInfo", "tuple_text"]

_OPERATORS = {
    "add": "__add__", "sub": "__sub__", "mul": "__mul__", "div": "__truediv__",
    "remainder": "__mod__", "pow": "__pow__", "floordiv": "__floordiv__", "matmul": "__matmul__",
}  # fmt: skip


class ObjectInfo:
    """What classes and modules have in common: fields, and methods compiled when they are used."""

    is_module = False
    iterable = False

    def __init__(self, unit: Any, cls: type, qualified: str):
        self.unit, self.cls, self.qualified = unit, cls, qualified
        self.type = Type(qualified, (), self)
        self.fields: dict[str, Type] = {}
        self.methods: dict[str, Function] = {}
        self._compiling: list[str] = []
        self.uses: set[str] = set()

    def function_named(self, name: str) -> Any:
        """The Python function of a method; None if there is none."""
        return inspect.getattr_static(self.cls, name, None)

    def method(self, name: str, compiler: Any = None, node: ast.AST | None = None) -> Function:
        """A method, compiled now if it isn't yet."""
        if name in self.methods:
            return self.methods[name]
        if name in self._compiling:
            raise compiler.error(
                node, f"function '{name}' is called recursively. Recursive calls are not supported"
            )
        found = self.function_named(name)
        static = isinstance(found, staticmethod)
        function = found.__func__ if static else found
        self._compiling.append(name)
        try:
            made = self.unit.compile_function(function, name, self.qualified, self, static)
        finally:
            self._compiling.remove(name)
        self.methods[name] = made
        self.uses |= made.uses
        return made

    def call(
        self, compiler: Any, base: Value, name: str, node: ast.AST, args: list[Value],
        kwargs: dict[str, Value],
    ) -> Value:  # fmt: skip
        """A call of a method."""
        function = self.method(name, compiler, node)
        compiler.uses.add(self.qualified)
        texts = compiler.matched(node, name, function.params, args, kwargs)
        given = ", ".join(texts) + (", " if texts else "")
        return Value(f"({base.text}).{name}({given})", function.returns)

    def bound(self, base: Value, name: str, compiler: Any) -> Bound:
        """A method of a value."""
        return Bound(
            lambda node, args, kwargs: self.call(compiler, base, name, node, args, kwargs), name,
            (self, name, base.text),
        )  # fmt: skip

    def base_call(
        self, compiler: Any, node: ast.AST, name: str, args: list[Value], kwargs: dict[str, Value]
    ) -> Value:
        """``super().name(...)`` in a method: the base's method, as one of this class's."""
        function = inspect.unwrap(compiler.function)
        holder = next((c for c in self.cls.__mro__
                       if vars(c).get(function.__name__) is function),
                      self.cls)  # fmt: skip
        order = self.cls.__mro__[self.cls.__mro__.index(holder) + 1 :]
        above = next((c for c in order if name in vars(c)), None)
        if above is None or above in (Module, object):
            if name == "__init__":
                return Value("", NONE)
            raise compiler.error(node, f"super() has no method {name}")
        mine = f"_{above.__name__}_{name}"
        if mine not in self.methods:
            made = self.unit.compile_function(vars(above)[name], mine, self.qualified, self)
            self.methods[mine] = made
            self.uses |= made.uses
        texts = compiler.matched(node, name, self.methods[mine].params, args, kwargs)
        given = ", ".join(texts) + (", " if texts else "")
        return Value(f"(self).{mine}({given})", self.methods[mine].returns)

    def _methods_text(self) -> str:
        return "".join(
            "".join(f"  {line}\n" for line in f.text.splitlines()) for f in self.methods.values()
        )


class ClassInfo(ObjectInfo):
    """A class that `torch.jit.script` was given, or that a program uses."""

    @property
    def is_interface(self) -> bool:
        """Whether only its methods' types matter."""
        return vars(self.cls).get("_torchscript_interface", False)

    def is_met_by(self, kind: Type) -> bool:
        """Whether a class has the methods of an interface."""
        found = getattr(kind.info, "methods", {})
        return all(
            n in found and [p.type for p in found[n].params] == [p.type for p in m.params]
            and found[n].returns == m.returns
            for n, m in self.methods.items()
        )  # fmt: skip

    def _declare(self, name: str, function: Callable) -> None:
        """A method of an interface: its declaration alone."""
        compiler = Compiler(self.unit, function, Source.of(function), self)
        params, returns = compiler.parameters()
        listed = ", ".join([f"self: {self.qualified}", *compiler.parameter_texts(params)])
        text = f"def {name}({listed}) -> {returns or NONE}:\n  pass\n"
        self.methods[name] = Function(
            name, self.qualified, params, returns or NONE, text, frozenset()
        )

    def build(self) -> None:
        """Its fields and methods: `__init__` tells the fields."""
        if self.is_interface:
            for name, function in vars(self.cls).items():
                if isinstance(function, python_types.FunctionType):
                    self._declare(name, function)
            return
        for name, hint in getattr(self.cls, "__annotations__", {}).items():
            self.fields[name] = self.unit.annotation(hint, self.cls)
        functions = [n for n, f in vars(self.cls).items()
                     if isinstance(f, (python_types.FunctionType, staticmethod))
                     and (n == "__init__" or not _is_made(f))]  # fmt: skip
        if "__init__" in functions:
            self.initialising = True
            self.method("__init__")
            self.initialising = False
        for name in functions:
            if not getattr(vars(self.cls)[name], "_torchscript_modifier", None):
                self.method(name)

    initialising = False

    def function_named(self, name: str) -> Any:
        found = super().function_named(name)
        return _data_init(self.cls) if name == "__init__" and _is_made(found) else found

    def member(self, compiler: Any, base: Value, name: str, node: ast.AST) -> Any:
        """An attribute or method."""
        if name in self.fields:
            return Value(attribute(_base(base), name), self.fields[name])
        found = self.function_named(name)
        if isinstance(found, property):
            raise compiler.error(node, f"properties of script classes can't be used: {name}")
        if isinstance(found, (python_types.FunctionType, staticmethod)):
            return self.bound(base, name, compiler)
        if found is not None:
            return compiler.constant(found, node)
        raise compiler.error(
            node, f"Tried to access nonexistent attribute or method '{name}' of type "
            f"'{self.qualified}'. Did you forget to initialize an attribute in __init__()?"
        )  # fmt: skip

    def has(self, name: str) -> bool:
        return name in self.fields or self.function_named(name) is not None

    def assign(self, compiler: Any, base: Value, name: str, value: Value, node: ast.AST) -> str:
        """The text of an assignment to a field."""
        if name not in self.fields:
            if not self.initialising:
                raise compiler.error(
                    node, f"Tried to set nonexistent attribute: {name}. Did you forget to "
                    "initialize it in __init__()?")  # fmt: skip
            self.fields[name] = value.type
        return _assignment(compiler, base, name, value, self.fields[name], node)

    def constructed(
        self, compiler: Any, node: ast.AST, args: list[Value], kwargs: dict[str, Value]
    ) -> Value:
        """A new instance."""
        compiler.uses.add(self.qualified)
        texts = []
        if "__init__" in vars(self.cls):
            made = self.method("__init__", compiler, node)
            texts = compiler.matched(node, self.qualified, made.params, args, kwargs)
        given = ", ".join(texts) + (", " if texts else "")
        return Value(f"{self.qualified}({given})", self.type)

    def operator(
        self, compiler: Any, node: ast.AST, name: str, left: Value, right: Value
    ) -> Value:
        """``left + right`` and its like."""
        return self.call(compiler, left, _OPERATORS.get(name, name), node, [right], {})

    def subscript(self, compiler: Any, base: Value, node: ast.Subscript) -> Value:
        key = compiler.value(node.slice)
        return self.call(compiler, base, "__getitem__", node, [key], {})

    def assign_item(
        self, compiler: Any, base: Value, target: ast.Subscript, value: Value, node: ast.AST
    ) -> str:
        key = compiler.value(target.slice)
        return self.call(compiler, base, "__setitem__", node, [key, value], {}).text

    def length(self, compiler: Any, base: Value, node: ast.AST) -> Value:
        return self.call(compiler, base, "__len__", node, [], {})

    def called(
        self, compiler: Any, base: Value, node: ast.AST, args: list[Value], kwargs: dict[str, Value]
    ) -> Value:
        return self.call(compiler, base, "__call__", node, args, kwargs)

    def enter(self, compiler: Any, base: Value, node: ast.AST) -> Type:
        """The type of what ``with`` binds."""
        compiler.uses.add(self.qualified)
        return self.method("__enter__", compiler, node).returns

    def text(self) -> str:
        """The class's definition in an archive."""
        base = "(Interface)" if self.is_interface else ""
        lines = [f"class {self.qualified.rpartition('.')[2]}{base}:"]
        lines += [f"  {name} : {kind}" for name, kind in self.fields.items()]
        return "\n".join(lines) + "\n" + self._methods_text()


def _is_made(function: Any) -> bool:
    """Whether a method is one that `dataclass` writes."""
    code = getattr(inspect.unwrap(function), "__code__", None) if callable(function) else None
    return code is not None and code.co_filename == "<string>"


def _data_init(cls: Any) -> Callable:
    """The `__init__` of a dataclass, with a source. TypeError for fields with a factory."""
    fields = [f for f in dataclasses.fields(cls) if f.init]
    if any(f.default_factory is not dataclasses.MISSING for f in fields):
        raise TypeError(f"{cls.__name__}: fields with a default_factory are not supported")
    defaults = {f.name: f.default for f in fields if f.default is not dataclasses.MISSING}
    params = ", ".join(f"{f.name}=_{f.name}" if f.name in defaults else f.name for f in fields)
    lines = [f"def __init__(self, {params}):", *(f"    self.{f.name} = {f.name}" for f in fields)]
    if hasattr(cls, "__post_init__"):
        lines.append("    self.__post_init__()")
    text, path = "\n".join(lines) + "\n", f"<dataclass {cls.__module__}.{cls.__qualname__}>"
    linecache.cache[path] = len(text), None, text.splitlines(True), path
    names = dict(vars(sys.modules[cls.__module__])) | {f"_{n}": v for n, v in defaults.items()}
    exec(compile(text, path, "exec"), names)
    function = names["__init__"]
    function.__annotations__ = {f.name: f.type for f in fields}
    function.__module__ = cls.__module__
    return function


def _base(base: Value) -> str:
    return base.text if base.text.replace(".", "").replace("_", "").isalnum() else f"({base.text})"


def _assignment(
    compiler: Any, base: Value, name: str, value: Value, kind: Type, node: ast.AST
) -> str:
    if not is_subtype(value.type, kind) and not empty_display(value, kind):
        raise compiler.error(
            node, f"Wrong type for attribute assignment. Expected {kind} but got {value.type}"
        )
    return f"{attribute(_base(base), name)} = {cast(value, kind)}"


class EnumText:
    """An enum's definition in an archive."""

    def __init__(self, cls: type[enum.Enum], qualified: str):
        self.cls, self.qualified, self.uses = cls, qualified, set()  # type: ignore[var-annotated]

    def text(self) -> str:
        """The class's definition in an archive."""
        lines = [f"class {self.qualified.rpartition('.')[2]}(Enum):"]
        lines += [f"  {m.name} = {literal(m.value)}" for m in self.cls]
        return "\n".join(lines) + "\n"


def tuple_text(name: str, fields: dict[str, Type]) -> str:
    """A NamedTuple's definition in an archive."""
    lines = [f"class {name}(NamedTuple):", *(f"  {n} : {k}" for n, k in fields.items())]
    return "\n".join(lines) + "\n"


# ---- Modules ------------------------------------------------------------------------------------
_CONTAINERS = (
    torch.nn.ModuleList, torch.nn.Sequential, torch.nn.ModuleDict, torch.nn.ParameterList,
    torch.nn.ParameterDict,
)  # fmt: skip
_LIBRARY = f"{torch.__name__}.nn"
_INTERNAL = frozenset(vars(Module())) | {"_backward_hooks"}


def _library_options(cls: type) -> frozenset[str]:
    """The options of this package's own layers, which are constants of theirs."""
    found: set[str] = set()
    for base in cls.__mro__:
        if base.__module__.startswith(_LIBRARY) and base not in (Module, *_CONTAINERS):
            found |= set(inspect.signature(base).parameters)
            found |= {"_reversed_padding_repeated_twice", "mode", "_all_weights", "n_dims", "dims",
                      "_qkv_same_embed_dim", "head_dim", "padding", "norm", "_dim"}  # fmt: skip
    return frozenset(found)


class ModuleInfo(ObjectInfo):
    """A module's type. Modules of one class, with equal constants and types, have one."""

    is_module = True

    def __init__(self, unit: Any, module: Module, qualified: str):
        super().__init__(unit, type(module), qualified)
        self.module = module
        self.constants: dict[str, Any] = {}
        self.statics: dict[str, Any] = {}
        self.failed: dict[str, str] = {}
        self.children: dict[str, ModuleInfo | None] = {}
        self.iterable = isinstance(module, _CONTAINERS)
        self._read()

    def _read(self) -> None:
        module, hints = self.module, self._hints()
        constant = {n for n, h in hints.items() if _is_final(h)}
        constant |= set(getattr(module, "__constants__", ()))
        options = _library_options(type(module))
        for name, tensor in (*module._parameters.items(), *module._buffers.items()):
            self.fields[name] = NONE if tensor is None else TENSOR
            if tensor is None and name in hints and not _is_final(hints[name]):
                self.fields[name] = self.unit.annotation(hints[name], type(module))
        for name, child in module._modules.items():
            self.children[name] = child and self.unit.module_info(child)
        self.fields["training"] = BOOL
        known = {*self.fields, *self.children, *_INTERNAL,
                 *getattr(module, "__jit_ignored_attributes__", ()),
                 *getattr(module, "__jit_unused_properties__", ())}  # fmt: skip
        values = {n: v for n, v in self._class_attributes().items() if n not in known}
        values |= {n: v for n, v in vars(module).items() if n not in known}
        for name, value in values.items():
            if name in hints and not _is_final(hints[name]) and name not in options:
                try:
                    self.fields[name] = self.unit.annotation(hints[name], type(module))
                except FrontendTypeError:
                    if name in vars(module):
                        raise
                    self.failed[name] = str(hints[name])  # a class's own, which code may not need
                continue
            if isinstance(value, torch.jit.Attribute):
                self.fields[name] = self.unit.annotation(value.type, type(module))
                continue
            kind = of_value(value, self.unit.class_type)
            if name in constant or name in options:
                self.constants[name] = value
            elif kind is not None and not isinstance(value, type):
                self.fields[name] = kind
            elif callable(value):
                self.statics[name] = value
            else:
                self.failed[name] = type(value).__name__

    def _hints(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for base in reversed(type(self.module).__mro__):
            if base not in (Module, object) and not base.__module__.startswith(_LIBRARY):
                found |= {n: self.unit.hint(h, base)
                          for n, h in vars(base).get("__annotations__", {}).items()}  # fmt: skip
        return found

    def _class_attributes(self) -> dict[str, Any]:
        """What user's classes say of all their modules."""
        found: dict[str, Any] = {}
        for base in reversed(type(self.module).__mro__):
            if base in (Module, object) or not issubclass(base, Module):
                continue
            if base.__module__.startswith((_LIBRARY, f"{torch.__name__}.jit")):
                continue
            found |= {
                n: v for n, v in vars(base).items()
                if n[:2] != "__" and not callable(v)
                and not isinstance(v, (property, staticmethod, classmethod))
            }  # fmt: skip
        return found

    def key(self) -> Any:
        """What modules of the same type have in common."""
        children = tuple((n, c and c.qualified) for n, c in self.children.items())
        fields = tuple((n, str(k)) for n, k in self.fields.items())
        constants = tuple((n, repr(v)) for n, v in self.constants.items())
        statics = tuple((n, id(v)) for n, v in self.statics.items())
        own = tuple((n, id(getattr(v, "__func__", v))) for n, v in vars(self.module).items()
                    if isinstance(v, python_types.MethodType))  # fmt: skip
        nones = tuple(n for n, t in self.module._parameters.items() if t is None)
        failed = tuple(self.failed.items())
        return self.cls, fields, constants, children, statics, own, nones, failed

    def function_named(self, name: str) -> Any:
        replaced = self.unit.replaced_method(self.cls, name)
        if replaced is not None:
            return replaced
        own = vars(self.module).get(name)
        if isinstance(own, python_types.MethodType):
            return own.__func__
        return super().function_named(name)

    # ---- What the front end asks ------------------------------------------------------------
    def member(self, compiler: Any, base: Value, name: str, node: ast.AST) -> Any:
        """An attribute, submodule or method."""
        if name in self.children:
            child = self.children[name]
            text = attribute(_base(base), name)
            return Value("None", NONE, None) if child is None else Value(text, child.type)
        if name in self.fields:
            if self.fields[name] == NONE:
                return Value("None", NONE, None)
            return Value(attribute(_base(base), name), self.fields[name])
        if name in self.constants:
            return compiler.constant(self.constants[name], node)
        if name in self.statics:
            return Static(self.statics[name])
        if self.iterable and name in ("values", "keys", "items"):
            return compiler.of_items(self.sequence(compiler, base, node), name, node)
        if name == "_modules":
            return self.sequence(compiler, base, node)
        listed = self.unit.listed(self.cls, name)
        if listed is not None:
            items = [self.member(compiler, base, n, node) for n in listed(self.module)]
            return Value(f"[{', '.join(i.text for i in items)}]", list_of(TENSOR))
        found = self.function_named(name)
        if isinstance(found, property):
            return self._property(compiler, base, name, found, node)
        if isinstance(found, (python_types.FunctionType, staticmethod)):
            modifier = getattr(found, "_torchscript_modifier", None)
            if modifier in ("ignore", "unused"):
                return self._left_in_python(compiler, base, name, found, modifier)
            return self.bound(base, name, compiler)
        if found is not None and not callable(found):
            return compiler.constant(found, node)
        why = ""
        if name in self.failed:
            why = (
                "(This attribute exists on the Python module, but we failed to convert Python "
                f"type: '{self.failed[name]}' to a TorchScript type. Its type was inferred; try "
                "adding a type annotation for the attribute.)"
            )
        raise compiler.error(node, f"Module '{self.cls.__name__}' has no attribute '{name}' {why}")

    def _property(
        self, compiler: Any, base: Value, name: str, found: property, node: ast.AST
    ) -> Value:
        getter = f"_get_{name}"
        if getter not in self.methods:
            made = self.unit.compile_function(found.fget, getter, self.qualified, self)
            self.methods[getter] = made
            self.uses |= made.uses
        return self.call(compiler, base, getter, node, [], {})

    def _left_in_python(
        self, compiler: Any, base: Value, name: str, function: Callable, modifier: str
    ) -> Bound:
        def call(node: ast.AST, args: list[Value], kwargs: dict[str, Value]) -> Value:
            made = self.unit.outside(function, modifier, self, compiler)
            texts = [base.text, *compiler.matched(node, name, made.params, args, kwargs)]
            compiler.uses.add(made.qualified)
            return Value(f"{made.qualified}({', '.join(texts)})", made.returns)

        return Bound(call, name)

    def has(self, name: str) -> bool:
        return (
            name in self.fields or name in self.children or name in self.constants
            or name in self.statics or self.function_named(name) is not None
        )  # fmt: skip

    def assign(self, compiler: Any, base: Value, name: str, value: Value, node: ast.AST) -> str:
        """The text of an assignment to an attribute."""
        if name not in self.fields:
            what = "constant" if name in self.constants else "nonexistent attribute"
            raise compiler.error(
                node, f"Tried to set {what}: {name}. Did you forget to initialize it in __init__()?"
            )
        return _assignment(compiler, base, name, value, self.fields[name], node)

    def called(
        self, compiler: Any, base: Value, node: ast.AST, args: list[Value], kwargs: dict[str, Value]
    ) -> Value:
        return self.call(compiler, base, "forward", node, args, kwargs)

    def sequence(self, compiler: Any, base: Value, node: ast.AST) -> Items:
        """The modules of a container, or the parameters of one."""
        if isinstance(self.module, (torch.nn.ParameterList, torch.nn.ParameterDict)):
            keys = list(self.module._parameters)
        else:
            keys = list(self.children)
        return Items([self.member(compiler, base, k, node) for k in keys], keys)

    def subscript(self, compiler: Any, base: Value, node: ast.Subscript) -> Any:
        if not self.iterable:
            return self.call(compiler, base, "__getitem__", node, [compiler.value(node.slice)], {})
        return compiler._item_of(self.sequence(compiler, base, node), node)

    # ---- The archive's class ----------------------------------------------------------------
    def text(self) -> str:
        """The class's definition in an archive."""
        module = self.module

        def listed(names: Any) -> str:
            return "[" + "".join(f'"{n}", ' for n in names) + "]"

        lines = [f"class {self.qualified.rpartition('.')[2]}(Module):"]
        for title, tensors in (("parameters", module._parameters), ("buffers", module._buffers)):
            present = listed(n for n, t in tensors.items() if t is not None)
            lines.append(f"  __{title}__ = {present}")
        kinds = {n: str(k) for n, k in self.fields.items()}
        kinds["_is_full_backward_hook"] = "Optional[bool]"
        kinds |= {n: "NoneType" if c is None else c.qualified for n, c in self.children.items()}
        for name, kind in kinds.items():
            plain = attribute("", name)[0] == "."
            lines.append(f"  {name} : {kind}" if plain else f'  __annotations__["{name}"] = {kind}')
        for name, value in self.constants.items():
            constant = of_value(value, self.unit.class_type)
            if constant is not None and constant not in (NONE, TENSOR):
                lines.append(f"  {name} : Final[{constant}] = {display(value, constant)}")
        return "\n".join(lines) + "\n" + self._methods_text()

    def depends(self) -> set[str]:
        """The definitions that it uses."""
        found = set(self.uses) | {c.qualified for c in self.children.values() if c is not None}
        for kind in self.fields.values():
            found |= named_in(kind)
        return found


def named_in(kind: Type) -> set[str]:
    """The program's own types in a type."""
    found = {kind.name} if kind.name.startswith("__torch__") else set()
    return found.union(*(named_in(a) for a in kind.args))


def _is_final(hint: Any) -> bool:
    return hint is typing.Final or typing.get_origin(hint) is typing.Final or (
        isinstance(hint, str) and hint.startswith(("Final", "torch.jit.Final"))
    )

