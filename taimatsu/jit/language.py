"""TorchScript's language, as archives have it: checked, and turned into Python functions.

An archive's code is a part of Python: classes of modules with typed attributes, functions of
statements over ``torch.<op>``. It may come from anywhere, so it is compiled from its syntax tree
with no builtins, by these rules: only the listed kinds of statements and expressions; ``torch``,
``ops``, ``CONSTANTS`` and ``__torch__`` are tables, not modules; an attribute is one that the
object's class in the archive declares.
"""

from __future__ import annotations

import ast
import copy
import enum
import re
import sys
import typing
from collections.abc import Callable
from typing import Any

import taimatsu as torch
from taimatsu.ops.schema import split

from .aten import Error, operator_of

__all__ = ["Code", "Declared", "dotted", "path_of"]

_STATEMENTS = (
    ast.Assign, ast.AugAssign, ast.AnnAssign, ast.Expr, ast.If, ast.For, ast.While, ast.Return,
    ast.Pass, ast.Break, ast.Continue, ast.Assert, ast.With, ast.withitem, ast.FunctionDef,
)  # fmt: skip
_EXPRESSIONS = (
    ast.Name, ast.Constant, ast.Attribute, ast.Call, ast.Tuple, ast.List, ast.Dict, ast.Subscript,
    ast.Slice, ast.BinOp, ast.UnaryOp, ast.BoolOp, ast.Compare, ast.IfExp, ast.ListComp,
    ast.DictComp, ast.comprehension, ast.keyword,
)  # fmt: skip
_HIDDEN = (ast.operator, ast.unaryop, ast.boolop, ast.cmpop, ast.expr_context)


class Declared:
    """An object of a class of the archive: compiled code sees what `_declared` names."""

    _jit_declared: frozenset[str] = frozenset()


def _attribute(value: Any, name: str) -> Any:
    if isinstance(value, Declared) and name in value._jit_declared:
        return getattr(value, name)
    if isinstance(value, tuple) and name in getattr(value, "_fields", ()):
        return getattr(value, name)
    if isinstance(value, enum.Enum) and name in ("name", "value"):
        return getattr(value, name)
    raise Error(f"jit: compiled code can't take the attribute {name!r} of {type(value).__name__}")


def _set_attribute(value: Any, name: str, new: Any) -> None:
    if not isinstance(value, Declared) or name not in value._jit_declared:
        raise Error(f"jit: compiled code can't set {name!r} of {type(value).__name__}")
    setattr(value, name, new)


class _Lookup(dict):
    """A table that asks for what it doesn't have yet, once."""

    def __init__(self, find: Callable[[str], Any]):
        self._find = find

    def __missing__(self, name: str) -> Any:
        self[name] = found = self._find(name)
        return found


def _direct(operator: Callable) -> Callable:
    """What a call without keywords calls."""
    return getattr(operator, "direct", operator)


def _tolist(value: Any) -> Any:
    if not isinstance(value, torch.Tensor):
        raise Error(f"jit: tolist() is of tensors; got {type(value).__name__}")
    return value.tolist()


def _new(cls: Any) -> Any:
    if not (isinstance(cls, type) and issubclass(cls, Declared)):
        raise Error(f"jit: {cls!r} is no class of the program")
    return cls.__new__(cls)


def _managed(value: Any) -> Any:
    if not isinstance(value, Declared):
        raise Error(f"jit: with needs an object of the program; got a {type(value).__name__}")
    return value


def _fail(message: str) -> None:
    operator_of("prim.RaiseException")(f"AssertionError: {message}")


def _item(table: str, key: Any) -> ast.Subscript:
    return ast.Subscript(_load(table), ast.Constant(key), ast.Load())


def _load(name: str) -> ast.Name:
    return ast.Name(name, ast.Load())


def _call(function: str, *args: ast.expr) -> ast.Call:
    return ast.Call(_load(function), list(args), [])


def dotted(node: ast.expr) -> list[str] | None:
    """The names of ``a.b.c``."""
    names = []
    while isinstance(node, ast.Attribute):
        names.append(node.attr)
        node = node.value
    return [node.id, *reversed(names)] if isinstance(node, ast.Name) else None


# Ops that Python's operators are, for tensors and plain values alike.
_BINARY = {
    "add": ast.Add, "sub": ast.Sub, "mul": ast.Mult, "div": ast.Div, "matmul": ast.MatMult,
    "remainder": ast.Mod, "floordiv": ast.FloorDiv,
}  # fmt: skip
_COMPARISONS = {"eq": ast.Eq, "ne": ast.NotEq, "lt": ast.Lt, "le": ast.LtE, "gt": ast.Gt,
                "ge": ast.GtE}  # fmt: skip


def _in_python(op: str, args: list[ast.expr]) -> ast.expr | None:
    """A call of an op as an operator, which is faster; None if there is none for it."""
    if len(args) == 2 and op in _BINARY:
        return ast.BinOp(args[0], _BINARY[op](), args[1])
    if len(args) == 2 and op in _COMPARISONS:
        return ast.Compare(args[0], [_COMPARISONS[op]()], [args[1]])
    return None


class _Compiler(ast.NodeTransformer):
    """Names that begin with "<" are this module's own: no source can spell them."""

    def __init__(self, code: Code):
        self.code = code

    def visit(self, node: ast.AST) -> Any:
        if not isinstance(node, (*_STATEMENTS, *_EXPRESSIONS, *_HIDDEN)):
            raise Error(f"jit: {type(node).__name__} is not a part of TorchScript's code")
        return super().visit(node)

    def visit_Attribute(self, node: ast.Attribute) -> ast.expr:
        names = dotted(node)
        if names and names[0] in ("torch", "ops"):
            return _item("<ops>", ".".join(names[1:]))
        if names and names[0] == "CONSTANTS":
            return _item("<constants>", int(names[1].removeprefix("c")))
        if names and names[0] == "__torch__":
            return _item("<defined>", ".".join(names))
        value = self.visit(node.value)
        if self.code.trusted:
            return ast.Attribute(value, node.attr, node.ctx)
        return _call("<attribute>", value, ast.Constant(node.attr))

    def visit_Call(self, node: ast.Call) -> Any:
        name = node.func.id if isinstance(node.func, ast.Name) else ""
        if name in ("annotate", "unchecked_cast"):
            return self.visit(node.args[1])
        if name == "uninitialized":
            return ast.Constant(None)
        if name == "getattr":
            take = "<getattr>" if self.code.trusted else "<attribute>"
            return _call(take, self.visit(node.args[0]), self.visit(node.args[1]))
        if name == "isinstance":
            kind = self.code.keep(self.code.type(node.args[1]))
            return _call("<isinstance>", self.visit(node.args[0]), kind)
        names = dotted(node.func)
        if names and names[0] == "torch" and len(names) == 2 and not node.keywords:
            args = [self.visit(a) for a in node.args]
            return _in_python(names[1], args) or ast.Call(_item("<direct>", names[1]), args, [])
        method = node.func.attr if isinstance(node.func, ast.Attribute) else ""
        if method == "__new__" and len(node.args) == 1:
            return _call("<new>", self.visit(node.args[0]))
        if isinstance(node.func, ast.Attribute) and method == "tolist" and not node.args:
            return _call("<tolist>", self.visit(node.func.value))
        return self.generic_visit(node)

    def visit_Assert(self, node: ast.Assert) -> Any:
        failed = _call("<fail>", self.visit(node.msg) if node.msg else ast.Constant(""))
        return ast.If(ast.UnaryOp(ast.Not(), self.visit(node.test)), [ast.Expr(failed)], [])

    def visit_withitem(self, node: ast.withitem) -> Any:
        target = node.optional_vars and self.visit(node.optional_vars)
        return ast.withitem(_call("<managed>", self.visit(node.context_expr)), target)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> Any:
        return self.code.definition(node)

    def visit_Assign(self, node: ast.Assign) -> Any:
        target = node.targets[0]
        if isinstance(target, ast.Attribute) and not self.code.trusted:
            value = self.visit(node.value)
            name = ast.Constant(target.attr)
            return ast.Expr(_call("<set>", self.visit(target.value), name, value))
        return self.generic_visit(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> Any:
        if node.value is None:
            return ast.Pass()
        return self.visit(ast.Assign([node.target], node.value))


class Code:
    """The functions and classes of an archive by name, each compiled when it is first asked for.

    ``files``: the sources by their paths; ``base``: the class of modules; ``trusted``: they are
    this process's own, and their attributes needn't be checked.
    """

    trusted = False

    def __init__(self, files: dict[str, str], constants: list[Any], base: type):
        self.files, self.constants, self._base = files, constants, base
        self._parsed: dict[str, dict[str, ast.stmt]] = {}
        self._found: dict[str, Any] = {}
        self._kept: list[Any] = []
        self._globals: dict[str, Any] = {
            "__builtins__": {}, "<ops>": _Lookup(self.operator), "<constants>": constants,
            "<direct>": _Lookup(lambda name: _direct(self.operator(name))), "<getattr>": getattr,
            "<kept>": self._kept, "<defined>": _Lookup(self.resolve), "<attribute>": _attribute,
            "<set>": _set_attribute, "<isinstance>": torch.jit.isinstance, "<tolist>": _tolist,
            "<fail>": _fail, "<new>": _new, "<managed>": _managed, "fork": torch.jit.fork,
            "int": _number(int), "float": _number(float), "bool": _number(bool), "str": str,
            "range": range, "len": len, "print": print, "list": list, "enumerate": enumerate,
            "zip": zip, "min": min, "max": max, "abs": abs, "sum": sum, "sorted": sorted,
            "dict": dict, "any": any, "all": all, "complex": complex, "hash": hash,
            "divmod": divmod, "rangelist": lambda n: list(range(n)), "inf": float("inf"),
            "nan": float("nan"),
        }  # fmt: skip

    def keep(self, value: Any) -> ast.expr:
        """An expression for an object."""
        self._kept.append(value)
        index = ast.Constant(len(self._kept) - 1)
        return ast.Subscript(_load("<kept>"), index, ast.Load())

    def source(self, qualified: str) -> str:
        """The text of the file that defines a name."""
        return self.files.get(path_of(qualified), "")

    def closure(self, qualified: str) -> tuple[dict[str, str], list[Any]]:
        """The files, and the constants, that an archive of this class or function has."""
        return self.files, self.constants

    def operator(self, name: str) -> Callable:
        """``torch.<name>`` and ``ops.<name>``."""
        return operator_of(name)

    def defines(self, qualified: str) -> ast.stmt | None:
        """The definition of a name."""
        module, _, name = qualified.rpartition(".")
        if module not in self._parsed:
            body = parsed(self.files.get(path_of(qualified), "")).body
            self._parsed[module] = {getattr(s, "name", ""): s for s in body}
        return self._parsed[module].get(name)

    def resolve(self, qualified: str) -> Any:
        """The function or class ``__torch__...``. `Error` if the archive has none."""
        if qualified not in self._found:
            definition = self.defines(qualified)
            if isinstance(definition, ast.FunctionDef):
                self._found[qualified] = self.compiled(definition)
            elif isinstance(definition, ast.ClassDef):
                self._class(qualified, definition)
            else:
                owner, _, member = qualified.rpartition(".")
                found = self.resolve(owner) if owner.count(".") else None
                if not (isinstance(found, type) and issubclass(found, enum.Enum)):
                    raise Error(f"jit: the archive has no definition of {qualified}")
                self._found[qualified] = found[member]
        return self._found[qualified]

    def compiled(self, definition: ast.FunctionDef) -> Callable:
        """A Python function of this definition."""
        module = ast.fix_missing_locations(ast.Module([self.definition(definition)], []))
        space: dict[str, Any] = {}
        exec(compile(module, f"<TorchScript {definition.name}>", "exec"), self._globals, space)
        return space[definition.name]

    def definition(self, given: ast.FunctionDef) -> ast.FunctionDef:
        """What Python runs for a definition."""
        given = copy.deepcopy(given)  # it is rewritten in place
        compiler, args = _Compiler(self), given.args
        if args.vararg or args.kwarg or args.posonlyargs or given.decorator_list:
            raise Error(f"jit: {given.name}() has parameters that TorchScript doesn't have")
        arguments = ast.arguments(
            posonlyargs=[], args=[ast.arg(a.arg) for a in args.args], vararg=None,
            kwonlyargs=[ast.arg(a.arg) for a in args.kwonlyargs],
            kw_defaults=[d and compiler.visit(d) for d in args.kw_defaults], kwarg=None,
            defaults=[compiler.visit(d) for d in args.defaults],
        )  # fmt: skip
        body = [compiler.visit(s) for s in given.body] or [ast.Pass()]
        fields: dict[str, Any] = {"name": given.name, "args": arguments, "body": body}
        if sys.version_info >= (3, 12):
            fields["type_params"] = []
        return ast.FunctionDef(**fields, decorator_list=[], returns=None)

    def _class(self, qualified: str, definition: ast.ClassDef) -> None:
        kind = dotted(definition.bases[0]) if definition.bases else None
        fields = {s.target.id: s for s in definition.body if _is_field(s)}
        if any(name[:2] == "__" for name in fields):
            raise Error(f"jit: {qualified} has fields that TorchScript doesn't have")
        members: dict[str, Any] = {"__module__": "torch.jit"}
        if kind == ["NamedTuple"]:
            types = [(n, Any) for n in fields]
            self._found[qualified] = typing.NamedTuple(definition.name, types)
            return
        if kind == ["Enum"]:
            members = {
                s.targets[0].id: ast.literal_eval(s.value) for s in definition.body
                if isinstance(s, ast.Assign) and isinstance(s.targets[0], ast.Name)
            }  # fmt: skip
            self._found[qualified] = enum.Enum(definition.name, members)
            return
        if kind not in (None, ["Module"], ["object"], ["Interface"], ["ModuleInterface"]):
            raise Error(f"jit: {qualified} is {kind}, which can't be loaded")
        lists = {
            s.targets[0].id: ast.literal_eval(s.value) for s in definition.body
            if isinstance(s, ast.Assign) and isinstance(s.targets[0], ast.Name)
        }  # fmt: skip
        annotated = [
            ast.literal_eval(s.targets[0].slice) for s in definition.body
            if isinstance(s, ast.Assign) and isinstance(s.targets[0], ast.Subscript)
        ]  # fmt: skip
        constants = {n: _literal(f.value) for n, f in fields.items() if f.value is not None}
        members |= constants
        base = self._base if kind == ["Module"] else Declared
        members |= {
            "_jit_parameters": frozenset(lists.get("__parameters__", ())),
            "_jit_buffers": frozenset(lists.get("__buffers__", ())),
            "_jit_constants": frozenset(constants), "_jit_qualified": qualified, "_jit_code": self,
            "__doc__": None,
        }  # fmt: skip
        methods = [s for s in definition.body if isinstance(s, ast.FunctionDef)]
        named = {m.name for m in methods if m.name in _DUNDERS or m.name[:2] != "__"}
        members["_jit_declared"] = frozenset({*fields, *annotated, *named})
        made = self._found[qualified] = type(definition.name, (base,), members)
        for method in methods:
            if method.name in named:
                setattr(made, method.name, self.compiled(method))

    def type(self, node: ast.expr) -> Any:
        """The type that an annotation names, for `isinstance`."""
        if isinstance(node, (ast.Tuple, ast.List)):
            return tuple(self.type(e) for e in node.elts)
        if isinstance(node, ast.Subscript):
            origin = _TYPES[dotted(node.value)[-1]]  # type: ignore[index]
            inner = self.type(node.slice)
            return origin[inner]
        names = dotted(node)
        if names and names[0] == "__torch__":
            return self.resolve(".".join(names))
        if names and names[-1] in _TYPES:
            return _TYPES[names[-1]]
        if isinstance(node, ast.Constant) and node.value is None:
            return type(None)
        raise Error(f"jit: unknown type {ast.unparse(node)}")


_TYPES: dict[str, Any] = {
    "Tensor": torch.Tensor, "int": int, "float": float, "bool": bool, "str": str,
    "complex": complex, "NoneType": type(None), "Device": torch.device, "List": list,
    "list": list, "Dict": dict, "Tuple": tuple, "Optional": typing.Optional,
    "Union": typing.Union, "Any": Any, "number": typing.Union[int, float, complex],  # noqa: UP007
}  # fmt: skip


# The methods of classes that Python's syntax calls.
_DUNDERS = frozenset(f"__{name}__" for name in (
    "init", "enter", "exit", "len", "contains", "getitem", "setitem", "delitem", "call", "add",
    "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul", "and", "or", "xor", "lshift",
    "rshift", "eq", "ne", "lt", "le", "gt", "ge", "neg", "pos", "bool", "int", "float", "str",
    "hash",
))  # fmt: skip


CONSTANT = re.compile(r"\bCONSTANTS\.c(\d+)")
_HEAD = re.compile(r"(?<=def )(\w+)\((.*?)\)(?= ->|:\n)", re.DOTALL)


def parsed(text: str) -> ast.Module:
    """The syntax tree. PyTorch writes keyword-only parameters as the others, so one that has to be
    given may follow a default, which calls then don't rely on."""
    try:
        return ast.parse(text)
    except SyntaxError:
        return ast.parse(_HEAD.sub(_without_early_defaults, text))


def shifted(text: str, by: int) -> str:
    """The text where its constants come behind others."""
    return CONSTANT.sub(lambda m: f"CONSTANTS.c{int(m[1]) + by}", text)


def _without_early_defaults(head: re.Match) -> str:
    params = split(head[2])
    required = max((i for i, p in enumerate(params) if "=" not in p), default=-1)
    kept = (p.partition("=")[0] if i < required else p for i, p in enumerate(params))
    return f"{head[1]}({', '.join(kept)})"


def path_of(qualified: str) -> str:
    """The file that defines a name."""
    return qualified.rpartition(".")[0].replace(".", "/") + ".py"


def _number(kind: type) -> Callable:
    def convert(x: Any) -> Any:
        return kind(x.item() if isinstance(x, torch.Tensor) else x)

    return convert


def _is_field(statement: ast.stmt) -> typing.TypeGuard[Any]:
    return isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name)


def _literal(node: ast.expr) -> Any:
    """A constant of a class, where ``inf``, ``torch.device("cpu")`` and the like are left out."""
    try:
        return ast.literal_eval(node)
    except ValueError:
        return None
