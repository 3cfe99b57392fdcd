"""What was traced or loaded, as a part of what is scripted: its definitions, and their types."""

from __future__ import annotations

import ast
import re
from typing import Any

from taimatsu.nn import Module

from .archive import ScriptModule
from .compiler import Function, Parameter
from .language import Code, dotted, parsed, shifted
from .objects import ObjectInfo, _base
from .types import (
    ANY,
    NONE,
    TENSOR,
    NamedTupleInfo,
    Type,
    dict_of,
    list_of,
    optional,
    tuple_of,
    union,
)
from .values import Bound, Value, attribute

__all__ = ["adopted_function", "adopted_module"]

_NAMES = re.compile(r"__torch__(?:\.\w+)+")


class Adopted:
    """A definition's text; ``uses``: the others that it names."""

    def __init__(self, text: str):
        self._text, self.uses = text, frozenset(_NAMES.findall(text))

    def text(self) -> str:
        return self._text


class CompiledInfo(ObjectInfo):
    """The type of a module that was traced or loaded: what its class's text declares."""

    is_module = True

    def __init__(self, unit: Any, qualified: str, definition: ast.ClassDef):
        super().__init__(unit, Module, qualified)
        self.definition = definition
        unit.infos[qualified] = self
        for part in definition.body:
            if isinstance(part, ast.AnnAssign) and isinstance(part.target, ast.Name):
                self.fields[part.target.id] = type_in(unit, part.annotation)
            elif isinstance(part, ast.Assign) and isinstance(part.targets[0], ast.Subscript):
                name = ast.literal_eval(part.targets[0].slice)
                self.fields[name] = type_in(unit, part.value)
        for part in definition.body:
            if isinstance(part, ast.FunctionDef):
                self.methods[part.name] = function_in(unit, part, qualified)

    def member(self, compiler: Any, base: Value, name: str, node: ast.AST) -> Value | Bound:
        """An attribute, submodule or method."""
        compiler.uses.add(self.qualified)
        if name in self.fields:
            return Value(attribute(_base(base), name), self.fields[name])
        if name in self.methods:
            return self.bound(base, name, compiler)
        raise compiler.error(node, f"Module '{self.definition.name}' has no attribute '{name}'")

    def has(self, name: str) -> bool:
        return name in self.fields or name in self.methods

    def called(
        self, compiler: Any, base: Value, node: ast.AST, args: list[Value], kwargs: dict[str, Value]
    ) -> Value:
        return self.call(compiler, base, "forward", node, args, kwargs)

    def depends(self) -> set[str]:
        """The definitions that it uses."""
        return set(self.unit.definitions[self.qualified].uses)


def type_in(unit: Any, node: ast.expr | None) -> Type:
    """The type that an annotation of an archive means."""
    match node:
        case None:
            return TENSOR
        case ast.Constant(value=None):
            return NONE
        case ast.Subscript(value=ast.Name(id=name), slice=inside):
            parts = inside.elts if isinstance(inside, ast.Tuple) else [inside]
            kinds = [type_in(unit, p) for p in parts]
            return {
                "List": lambda: list_of(kinds[0]), "Dict": lambda: dict_of(*kinds),
                "Optional": lambda: optional(kinds[0]), "Union": lambda: union(kinds),
                "Final": lambda: kinds[0], "Future": lambda: Type("Future", tuple(kinds)),
            }.get(name, lambda: tuple_of(kinds))()  # fmt: skip
        case ast.Name(id=name):
            return Type(name)
    names = dotted(node)
    return named_type(unit, ".".join(names)) if names else ANY


def named_type(unit: Any, qualified: str) -> Type:
    """The type of a class of an archive, which has been adopted."""
    if qualified in unit.infos:
        return unit.infos[qualified].type
    definition = unit.defines(qualified)
    if not isinstance(definition, ast.ClassDef):
        return Type(qualified)
    if definition.bases and dotted(definition.bases[0]) == ["NamedTuple"]:
        fields = {p.target.id: type_in(unit, p.annotation) for p in definition.body
                  if isinstance(p, ast.AnnAssign) and isinstance(p.target, ast.Name)}  # fmt: skip
        return Type(qualified, (), NamedTupleInfo(None, fields, {}))
    return CompiledInfo(unit, qualified, definition).type


def function_in(unit: Any, definition: ast.FunctionDef, qualified: str) -> Function:
    """The declaration of a function of an archive."""
    given = definition.args
    nodes = [a for a in given.args if a.arg != "self"]
    without = len(nodes) - len(given.defaults)
    params = []
    for i, node in enumerate(nodes):
        default = None if i < without else given.defaults[i - without]
        value = None
        if default is not None:
            try:
                value = ast.literal_eval(default)
            except ValueError:
                default = None
        kind = type_in(unit, node.annotation)
        params.append(Parameter(node.arg, kind, default is not None, value))
    returns = type_in(unit, definition.returns)
    return Function(definition.name, qualified, params, returns, "", frozenset({qualified}))


def adopt(unit: Any, code: Code, qualified: str) -> None:
    """Copies the definitions that one depends on; their constants go behind the unit's own."""
    if qualified in unit.definitions:
        return
    files, constants = code.closure(qualified)
    first = len(unit.constants)
    unit.constants.extend(constants)
    for path, text in files.items():
        place = path.removesuffix(".py").replace("/", ".")
        for statement in parsed(text).body:
            name = getattr(statement, "name", "")
            written = shifted(ast.unparse(statement) + "\n", first)
            unit.definitions.setdefault(f"{place}.{name}", Adopted(written))


def adopted_module(unit: Any, module: ScriptModule) -> CompiledInfo:
    """The type of a module that was traced or loaded."""
    adopt(unit, module._jit_code, module._jit_qualified)
    named_type(unit, module._jit_qualified)
    return unit.infos[module._jit_qualified]


def adopted_function(unit: Any, module: ScriptModule, name: str) -> Function:
    """A traced function, as one of the unit: ``forward`` of its module without ``self``."""
    key = ("traced", module._jit_qualified)
    if key not in unit._functions:
        adopt(unit, module._jit_code, module._jit_qualified)
        definition = unit.defines(module._jit_qualified)
        forward = next(p for p in definition.body if isinstance(p, ast.FunctionDef))
        qualified = unit.qualified(type(module), name)
        forward.name, forward.args.args = qualified.rpartition(".")[2], forward.args.args[1:]
        written = Adopted(ast.unparse(forward) + "\n")
        unit.definitions[qualified] = written
        made = function_in(unit, forward, qualified)
        unit._functions[key] = made._replace(uses=frozenset({qualified, *written.uses}))
    return unit._functions[key]
