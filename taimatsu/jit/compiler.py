"""The front end: a function of Python's, in the language of TorchScript, to typed text.

Statements, expressions and calls are in the modules of those names; each is a mixin of `Compiler`,
which holds what is known of the function that is compiled.
"""

from __future__ import annotations

import ast
import builtins
import contextlib
import inspect
import re
import typing
from collections import ChainMap
from collections.abc import Callable
from typing import Any

import taimatsu as torch

from . import frontend
from .calls import Calls
from .expressions import Expressions
from .frontend import Source
from .statements import Frame, Statements
from .types import (
    ANY,
    NONE,
    Broadcast,
    Type,
    from_annotation,
    is_subtype,
    of_value,
    unify,
)  # fmt: skip
from .values import Value, display

__all__ = ["Compiler", "Function", "Parameter", "namespace"]

_RESERVED = frozenset((
    "torch", "ops", "CONSTANTS", "annotate", "uninitialized", "unchecked_cast", "fork", "wait",
    "inf", "nan", "print", "int", "float", "bool", "str", "len", "range", "list", "dict", "tuple",
    "enumerate", "zip", "min", "max", "abs", "sum", "sorted", "getattr", "hasattr", "isinstance",
    "any", "all", "round", "hash", "divmod", "rangelist", "awaitable", "complex",
))  # fmt: skip
_TYPING = {n: getattr(typing, n) for n in (
    "Any", "Dict", "List", "Optional", "Tuple", "Union", "NamedTuple", "Callable",
)} | {"Tensor": torch.Tensor, "Final": typing.Final}  # fmt: skip
_COMMENT = re.compile(r"#\s*type:\s*(?!\s*ignore)(.+?)\s*(#.*)?$")


class Parameter(typing.NamedTuple):
    """A parameter of a compiled function."""

    name: str
    type: Type
    has_default: bool = False
    default: Any = None
    broadcast: Broadcast | None = None

    @property
    def default_text(self) -> str:
        """The default's expression."""
        if self.default is None:
            return "None"
        return display(self.default, self.type.without_none)

    def __str__(self) -> str:
        default = f"={self.default_text}" if self.has_default else ""
        return f"{self.type.schema} {self.name}{default}"


class Function(typing.NamedTuple):
    """A compiled function or method: its text, and the definitions that it uses."""

    name: str
    qualified: str
    params: list[Parameter]
    returns: Type
    text: str
    uses: frozenset[str]

    @property
    def schema(self) -> str:
        """Its declaration."""
        returns = self.returns.schema
        return f"{self.name}({', '.join(map(str, self.params))}) -> ({returns})"


def namespace(function: Callable) -> ChainMap[str, Any]:
    """What the names in a function mean."""
    function = inspect.unwrap(function)
    enclosed = {}
    names = function.__code__.co_freevars if hasattr(function, "__code__") else ()
    for name, cell in zip(names, getattr(function, "__closure__", None) or (), strict=True):
        with contextlib.suppress(ValueError):  # not yet assigned
            enclosed[name] = cell.cell_contents
    return ChainMap(enclosed, getattr(function, "__globals__", {}), vars(builtins))


class Compiler(Expressions, Statements, Calls):
    """One function's compilation; ``owner``: the class or module of which it is a method."""

    NEVER = "uninitialized(<returned>)"
    errors = frontend

    def __init__(self, unit: Any, function: Callable, source: Source, owner: Any = None):
        self.unit, self.function, self.source, self.owner = unit, function, source, owner
        self.names = namespace(function)
        if owner is not None and not owner.is_module:  # a class may name itself
            self.names = self.names.new_child({owner.cls.__name__: owner.cls})
        self.frame = Frame()
        self.lines: list[str] = []
        self.depth = 1
        self.returns: Type | None = None
        self.returned: list[tuple[Type, ast.AST]] = []
        self.loops: list[str] = []
        self.uses: set[str] = set()
        self._temporaries = 0

    def error(
        self, node: ast.AST | None, message: str, kind: Callable[[str], Exception] = RuntimeError
    ) -> Exception:
        """An error at a node."""
        return self.source.error(node or self.source.tree, message, kind)

    def fresh(self) -> str:
        """A name for a value of the front end's own."""
        self._temporaries += 1
        return f"_{self._temporaries - 1}"

    def spelled(self, name: str) -> str:
        """A variable's name in the text."""
        mine = name in _RESERVED or (name[0] == "_" and name[1:].isdigit())
        return f"{name}_" if mine else name

    # ---- Types ------------------------------------------------------------------------------
    def evaluated(self, node: ast.expr) -> Any:
        """What an expression of types is, in Python."""
        try:
            code = compile(ast.Expression(node), self.source.path, "eval")
            return eval(code, {"__builtins__": {}}, ChainMap(self.names, _TYPING))
        except Exception as error:
            raise self.error(node, f"Unknown type name '{ast.unparse(node)}' ({error})") from None

    def annotation(self, node: ast.expr) -> Type:
        """The type that an annotation in the source means."""
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            node = ast.copy_location(ast.parse(node.value, mode="eval").body, node)
        return self.annotation_of(self.evaluated(node), node)

    def annotation_of(self, target: Any, node: ast.AST | None = None) -> Type:
        """The type that an annotation's value means."""
        found = self._parsed(target, node)
        return found.type if isinstance(found, Broadcast) else found

    def _parsed(self, target: Any, node: ast.AST | None) -> Type | Broadcast:
        try:
            if isinstance(target, str):
                target = eval(target, {"__builtins__": {}}, ChainMap(self.names, _TYPING))
            if isinstance(target, typing.ForwardRef):
                return self._parsed(target.__forward_arg__, node)
            return from_annotation(target, self.unit.class_type)
        except (NameError, AttributeError, SyntaxError) as error:
            raise self.error(node, f"Unknown type name '{target}' ({error})") from None
        except TypeError as error:
            raise self.error(node, str(error)) from None

    # ---- The signature ----------------------------------------------------------------------
    def parameters(self) -> tuple[list[Parameter], Type | None]:
        """The parameters, ``self`` excepted, and what is declared to be returned."""
        definition: ast.FunctionDef = self.source.tree
        given = definition.args
        if given.vararg or given.kwarg:
            raise self.error(
                given.vararg or given.kwarg, "Compiled functions can't take variable number of "
                "arguments or use keyword-only arguments with defaults",
                frontend.NotSupportedError)  # fmt: skip
        for arg, default in zip(given.kwonlyargs, given.kw_defaults, strict=True):
            if default is not None:
                raise self.error(
                    arg, "Compiled functions can't take variable number of arguments or use "
                    "keyword-only arguments with defaults", frontend.NotSupportedError)  # fmt: skip
        nodes = [*given.posonlyargs, *given.args, *given.kwonlyargs]
        defaults = {p.name: p.default for p in inspect.signature(self.function).parameters.values()
                    if p.default is not p.empty}  # fmt: skip
        hints = getattr(inspect.unwrap(self.function), "__annotations__", {})
        comments, returned = self._comments(definition, nodes)
        if self.owner is not None and not self.is_static:
            nodes = nodes[1:]
        params = []
        for node in nodes:
            hint = hints.get(node.arg, comments.get(node.arg, torch.Tensor))
            parsed = self._parsed(hint, node)
            broadcast = parsed if isinstance(parsed, Broadcast) else None
            kind = parsed.type if isinstance(parsed, Broadcast) else parsed
            given_default = defaults.get(node.arg)
            if broadcast is not None and isinstance(given_default, (int, float)):
                given_default = [given_default] * broadcast.length
            if node.arg in defaults and broadcast is None:
                self._check_default(node, kind, given_default)
            params.append(Parameter(node.arg, kind, node.arg in defaults, given_default, broadcast))
        if "return" in hints:
            returned = self.annotation_of(hints["return"], definition.returns or definition)
        return params, returned

    is_static = False

    def _check_default(self, node: ast.arg, kind: Type, default: Any) -> None:
        if isinstance(default, (list, dict)) and default:
            raise self.error(
                node, "Mutable default parameters are not supported because Python binds them to "
                "the function and they persist across function calls. As a workaround, make the "
                f"default None and make the parameter in the function. Found {type(default)} on "
                f"parameter {node.arg}")  # fmt: skip
        found = of_value(default, self.unit.class_type)
        inner = kind.without_none
        fits = found is not None and (
            is_subtype(found, kind)
            or (inner.name == "float" and found.name == "int")
            or (inner.name in ("List", "Dict") and not default)
            or (inner.name == "List" and found.items is not None)
            or (inner.name == "Device" and found.name == "str")
        )
        if not fits:
            raise self.error(
                node, f'Expected a default value of type {kind} on parameter "{node.arg}"'
            )

    def _comments(
        self, definition: ast.FunctionDef, nodes: list[ast.arg]
    ) -> tuple[dict[str, Any], Type | None]:
        """The types of ``# type: (int, Tensor) -> Tensor``, and of comments behind parameters."""
        types: dict[str, Any] = {}
        for node in nodes:
            found = _COMMENT.search(self.source.text_at(node.end_lineno or 1))
            if found and not found[1].startswith("("):
                types[node.arg] = found[1].rstrip(",")
        first = definition.body[0].lineno
        for line in range(definition.lineno, first + 1):
            found = _COMMENT.search(self.source.text_at(line))
            if found is None or not found[1].startswith("("):
                continue
            left, _, right = found[1].rpartition("->")
            kinds = ast.parse(left.strip() or "()", mode="eval").body
            listed = list(kinds.elts) if isinstance(kinds, ast.Tuple) else [kinds]
            offset = len(nodes) - len(listed)
            for node, kind in zip(nodes[offset:], listed, strict=False):
                if not isinstance(kind, ast.Constant):
                    types[node.arg] = ast.unparse(kind)
            return types, self.annotation_of(right.strip(), definition)
        return types, None

    # ---- The whole --------------------------------------------------------------------------
    def compile(self, name: str, qualified: str, head: str = "") -> Function:
        """The function's text; ``head``: the parameter ``self``."""
        definition = self.source.tree
        if not isinstance(definition, ast.FunctionDef):
            raise self.source.unsupported(definition)
        params, self.returns = self.parameters()
        for p in params:
            self.frame.values[p.name] = Value(self.spelled(p.name), p.type)
            self.frame.assigned.add(p.name)
        if self.owner is not None and not self.is_static:
            first = [*definition.args.posonlyargs, *definition.args.args][0].arg
            self.frame.values[first] = Value("self", self.owner.type)
        left = self.block(definition.body)
        returns = self._result(definition, left)
        if not left:
            self.emit("return None")
        text = "\n".join(self.lines)
        never = "None" if returns == NONE else f"uninitialized({returns})"
        text = text.replace(self.NEVER, never)
        given = [head] if head else []
        given += self.parameter_texts(params)
        listed = ",\n    ".join(given)
        self._use_types([*(p.type for p in params), returns])
        return Function(
            name, qualified, params, returns, f"def {name}({listed}) -> {returns}:\n{text}\n",
            frozenset(self.uses),
        )  # fmt: skip

    def parameter_texts(self, params: list[Parameter]) -> list[str]:
        """The declarations. Keyword-only ones are as the others, so those before one that has to be
        given have no default: calls in the text give them."""
        required = max((i for i, p in enumerate(params) if not p.has_default), default=-1)
        return [
            f"{self.spelled(p.name)}: {p.type}"
            + (f"={p.default_text}" if p.has_default and i > required else "")
            for i, p in enumerate(params)
        ]

    def _use_types(self, kinds: typing.Iterable[Type]) -> None:
        for kind in kinds:
            if kind.name.startswith("__torch__"):
                self.uses.add(kind.name)
            self._use_types(kind.args)

    def _result(self, definition: ast.FunctionDef, left: bool) -> Type:
        if self.returns is not None:
            if not left and not self.returns.optional and self.returns != ANY:
                raise self.error(
                    definition, "Function was not annotated as having type None, but does not "
                    f"return along all paths: it is to return {self.returns}")  # fmt: skip
            return self.returns
        found: Type | None = None
        for kind, node in self.returned:
            merged = kind if found is None else unify(found, kind)
            if merged is None:
                raise self.error(
                    node, f"Previous return statement returned a value of type {found} but this "
                    f"return statement returns a value of type {kind}")  # fmt: skip
            found = merged
        if found is None:
            return NONE
        if not left and not found.optional:
            raise self.error(
                definition, f"The function returns {found} in some paths and nothing in others"
            )
        return Type(found.name, found.args, found.info)

    def base_method(self, node: ast.Call) -> Any:
        """``super().method(...)``: the method of the class's base, compiled with it."""
        if self.owner is None:
            raise self.error(node, "super() is for methods")
        args, kwargs = self.arguments(node)
        assert isinstance(node.func, ast.Attribute)
        return self.owner.base_call(self, node, node.func.attr, args, kwargs)
