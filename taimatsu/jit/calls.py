"""Calls: of ops, functions, classes, methods and Python's builtins."""

from __future__ import annotations

import ast
import builtins
import enum
import functools
import inspect
import math
import operator
import typing
import warnings
from collections.abc import Callable
from typing import Any

import taimatsu as torch
from taimatsu import _C
from taimatsu._op_namespaces import PREFIX_OF
from taimatsu.nn import functional as F
from taimatsu.ops import namespaces

from . import schemas
from .expressions import arithmetic, called_op
from .statements import Condition
from .types import (
    ANY,
    BOOL,
    COMPLEX,
    DEVICE,
    FLOAT,
    INT,
    NONE,
    NUMBERS,
    STR,
    TENSOR,
    Type,
    is_subtype,
    list_of,
    tuple_of,
    union,
)  # fmt: skip
from .values import UNKNOWN, Bound, Items, Static, Value, cast, literal, quoted

__all__ = ["Calls", "op_names"]

_COMPARE = {ast.Eq: operator.eq, ast.NotEq: operator.ne, ast.Lt: operator.lt,
            ast.LtE: operator.le, ast.Gt: operator.gt, ast.GtE: operator.ge}  # fmt: skip
# Python functions of this package that ATen has as ops of the same name.
_ATENS = (
    "einsum", "meshgrid", "broadcast_tensors", "tensor", "as_tensor", "is_grad_enabled",
    "is_tensor", "is_floating_point", "is_complex", "numel", "manual_seed", "scalar_tensor",
    "softmax", "log_softmax", "is_nonzero", "allclose", "equal", "is_same_size", "is_signed",
    "set_grad_enabled",
)  # fmt: skip


@functools.cache
def op_names() -> dict[int, str]:
    """ATen's name for functions of this package, by their identity."""
    found = {}
    for space, prefix in (("nn.functional", ""), ("", ""), *PREFIX_OF.items()):
        for name, function in namespaces[space].items():
            found[id(function)] = prefix + name
    for name in _ATENS:
        found[id(getattr(torch, name))] = name
    for name in ("conv1d", "conv2d", "conv3d", "relu_", "sigmoid", "tanh"):
        found[id(getattr(F, name))] = name
    return found


class Calls:
    """A mixin of `compiler.Compiler`."""

    def visit_Call(self: Any, node: ast.Call) -> Any:
        if _is_super(node.func):
            return self.base_method(node)
        callee = self.any(node.func)
        if isinstance(callee, Static):
            special = _SPECIAL.get(_key(callee.value))
            if special is not None:
                return special(self, node)
            return self.call_static(callee.value, node)
        if isinstance(callee, Value) and hasattr(callee.type.info, "called"):
            args, kwargs = self.arguments(node)
            return callee.type.info.called(self, callee, node, args, kwargs)
        if not isinstance(callee, Bound):
            raise self.error(node, f"{ast.unparse(node.func)} can't be called")
        args, kwargs = self.arguments(node)
        return callee.call(node, args, kwargs)

    def arguments(self: Any, node: ast.Call) -> tuple[list[Value], dict[str, Value]]:
        """The typed arguments of a call."""
        args: list[Value] = []
        for a in node.args:
            if not isinstance(a, ast.Starred):
                args.append(self.value(a))
                continue
            starred = self.any(a.value)
            if not isinstance(starred, Items):
                starred = self.as_value(starred, a)
                if starred.type.items is None:
                    raise self.error(a, f"only tuples can be unpacked here; got {starred.type}")
            args += [self.as_value(i, a) for i in self.items_of(starred, a)]
        kwargs = {}
        for k in node.keywords:
            if k.arg is None:
                raise self.error(k, "keyword-arg expansion is not supported",
                                 self.errors.NotSupportedError)  # fmt: skip
            kwargs[k.arg] = self.value(k.value)
        return args, kwargs

    def call_static(self: Any, target: Any, node: ast.Call) -> Any:
        """A call of an object of Python's."""
        target = self.unit.replaced(target) or target
        name = called_op(target) or op_names().get(id(target))
        if isinstance(target, tuple) and target[0] != "aten":
            return self._library_op(".".join(target), node)
        if name is None and isinstance(target, type):
            return self._class(target, node)
        args, kwargs = self.arguments(node)
        if name is not None:
            return self.op(node, name, args, kwargs)
        if not callable(target):
            kind = type(target).__name__
            raise self.error(node, f"python value of type '{kind}' can't be called")
        called = getattr(target, "__name__", "")
        if getattr(math, called, None) is target:
            return self._math(node, called, args)
        owner = getattr(target, "__self__", None)
        of_module = inspect.isbuiltin(target) and isinstance(owner, type(torch))
        if of_module and schemas.overloads(called):
            return self.op(node, called, args, kwargs)
        return self.function_call(node, self.unit.function(target, self, node), args, kwargs)

    def op(
        self: Any, node: ast.AST, name: str, args: list[Value], kwargs: dict[str, Value]
    ) -> Value:
        """A call of ATen's op of this name."""
        if name == "is_tensor":
            known = args[0].type == TENSOR
            return Value(str(known), BOOL, known)
        if name in ("einsum", "meshgrid", "broadcast_tensors") and args:
            args = _gathered(args, name == "einsum")
        if name in ("tensor", "as_tensor") and args and args[0].type.items is not None:
            args = [self.as_list(args[0], node), *args[1:]]
        if "inplace" in kwargs and kwargs["inplace"].const is False:
            del kwargs["inplace"]
        found = schemas.call(name, args, kwargs)
        if isinstance(found, Value):
            if name == "wait":
                return Value(found.text, args[0].type.args[0])
            return found
        if not found:
            raise self.error(
                node, f"Unknown builtin op: aten::{name}"
            )
        raise self.error(
            node, "Arguments for call are not valid.\nThe following variants are available:\n\n"
            + "\n".join("  " + r.replace("\n", "\n  ") for r in found)
            + "\n\nThe original call is")  # fmt: skip

    def _library_op(self: Any, name: str, node: ast.Call) -> Value:
        from taimatsu._op_namespaces import defined
        from taimatsu.ops.schema import parse

        space, _, base = name.partition(".")
        definition = defined.get(space, {}).get(base)
        if definition is None:
            raise self.error(node, f"Unknown builtin op: {space}::{base}")
        args, kwargs = self.arguments(node)
        given = ", ".join([*(a.text for a in args), *(f"{k}={v.text}" for k, v in kwargs.items())])
        text = getattr(definition, "schema", None)
        kind = TENSOR
        if text:
            kind = schemas.Overload(base, parse(str(text).split("::")[-1])).returns
        return Value(f"ops.{name}({given})", kind)

    def _math(self: Any, node: ast.AST, name: str, args: list[Value]) -> Value:
        kinds = [a.type for a in args]
        if any(k not in NUMBERS for k in kinds):
            raise self.error(node, f"math.{name} takes numbers; got {', '.join(map(str, kinds))}")
        result = {"floor": INT, "ceil": INT, "gcd": INT, "factorial": INT, "isnan": BOOL,
                  "isinf": BOOL, "isfinite": BOOL, "trunc": INT}.get(name, FLOAT)  # fmt: skip
        if name in ("modf", "frexp", "prod", "fsum", "dist", "hypot", "comb", "perm"):
            raise self.error(node, f"math.{name} isn't a function of TorchScript")
        return Value(f"torch.{name}({', '.join(a.text for a in args)})", result)

    def function_call(
        self: Any, node: ast.AST, function: Any, args: list[Value], kwargs: dict[str, Value]
    ) -> Any:
        """A call of a function of the program."""
        texts = self.matched(node, function.name, function.params, args, kwargs)
        self.uses.add(function.qualified)
        return Value(f"{function.qualified}({_list(texts)})", function.returns)

    def matched(
        self: Any, node: ast.AST, name: str, params: list[Any], args: list[Value],
        kwargs: dict[str, Value],
    ) -> list[str]:  # fmt: skip
        """The texts of arguments in the order of parameters. RuntimeError if they don't fit."""
        def refuse(why: str) -> Exception:
            declared = ", ".join(str(p) for p in params)
            return self.error(
                node, "Arguments for call are not valid.\nThe following variants are available:\n\n"
                f"  {name}({declared}):\n  {why}.\n\nThe original call is")  # fmt: skip

        if len(args) > len(params):
            raise refuse(f"Expected at most {len(params)} arguments but found {len(args)} "
                         "positional arguments")  # fmt: skip
        given = dict(zip((p.name for p in params), args, strict=False))
        for key, value in kwargs.items():
            if key not in {p.name for p in params}:
                raise refuse(f"Unknown keyword argument '{key}'")
            if key in given:
                raise refuse(f"Argument {key} specified twice")
            given[key] = value
        texts = []
        for p in params:
            if p.name not in given:
                if not p.has_default:
                    raise refuse(f"Argument {p.name} not provided")
                texts.append(p.default_text)
                continue
            text = self.passed(given[p.name], p)
            if text is None:
                raise refuse(f"Expected a value of type '{p.type}' for argument '{p.name}' but "
                             f"instead found type '{given[p.name].type}'")  # fmt: skip
            texts.append(text)
        last = max((i for i, p in enumerate(params) if p.name in given), default=-1)
        return texts[: last + 1]

    def passed(self: Any, value: Value, p: Any) -> str | None:
        """An argument's text as a parameter takes it; None if it doesn't."""
        if p.broadcast is not None:
            item = self.passed(value, p._replace(type=p.broadcast.item, broadcast=None))
            if item is not None:
                return f"[{', '.join([item] * p.broadcast.length)}]"
        if is_subtype(value.type, p.type):
            return cast(value, p.type)
        inner = p.type.without_none
        if value.text in ("[]", "{}") and inner.name in ("List", "Dict"):
            return cast(value, inner)
        if inner.name == "List" and value.type.items is not None:
            if all(k == inner.args[0] for k in value.type.items):
                return self.as_list(value, None).text
            if value.type.items and inner.args[0] == FLOAT and value.const is not UNKNOWN:
                return literal(list(value.const), "float")
            return None
        if inner == FLOAT and value.type == INT and value.const is not UNKNOWN:
            return literal(value.const, "float")
        if value.type == TENSOR and inner in (INT, FLOAT):
            return f"{inner}({value.text})"
        if inner == DEVICE and value.type == STR:
            return f"torch.device({value.text})"
        if value.parts is not None and inner.name == "List" == value.type.name:
            kinds = [q.type for q in value.parts]
            if all(is_subtype(k, inner.args[0]) for k in kinds):
                return f"annotate({inner}, {value.text})"
        return None

    def _class(self: Any, cls: type, node: ast.Call) -> Any:
        if issubclass(cls, enum.Enum):
            raise self.error(node, "enums can't be made from values in TorchScript")
        if cls in (torch.device, torch.dtype):
            args, _ = self.arguments(node)
            text = ", ".join(a.text for a in args)
            return Value(f"torch.device({text})", DEVICE, *_device(args))
        if cls is torch.Size:
            return self.value(node.args[0])
        if issubclass(cls, BaseException):
            raise self.error(node, "exceptions can only be raised")
        kind = self.unit.class_type(cls)
        args, kwargs = self.arguments(node)
        if kind.fields is not None:
            params = self.unit.fields_of(kind)
            texts = self.matched(node, kind.name, params, args, kwargs)
            given = len(texts)
            texts += [p.default_text for p in params[given:] if p.has_default]
            self.uses.add(kind.name)
            return Value(f"{kind.name}({_list(texts)})", kind)
        return kind.info.constructed(self, node, args, kwargs)

    # ---- What tests a type ------------------------------------------------------------------
    def predicate(self: Any, node: ast.Call) -> Condition | None:
        """`isinstance` and `hasattr`, whose outcomes tell of types; None for other calls."""
        callee = self.any(node.func)
        if not isinstance(callee, Static):
            return None
        if callee.value is builtins.isinstance or callee.value is torch.jit.isinstance:
            return self._isinstance(node)
        if callee.value is hasattr:
            found = self._has_attribute(node)
            return Condition(str(found), found)
        return None

    def _isinstance(self: Any, node: ast.Call) -> Condition:
        first, second = node.args
        found = self.any(first)
        elements = second.elts if isinstance(second, ast.Tuple) else [second]
        if self.is_module(found):
            classes = [self.evaluated(e) for e in elements]
            known = isinstance(found.type.info.module, tuple(classes))
            return Condition(str(known), known)
        value = self.as_value(found, first)
        candidates = [self._tested_type(e) for e in elements]
        parts = list(value.type.args) if value.type.name == "Union" else [value.type]
        if value.type.name == "Optional":
            parts = [value.type.args[0], NONE]
        if value.type != ANY:
            hits = [p for p in parts if any(_tested(p, c) for c in candidates)]
            if len(hits) in (0, len(parts)):
                known = bool(hits)
                return Condition(str(known), known)
            misses = [p for p in parts if p not in hits]
        else:
            hits, misses = [c for c in candidates if isinstance(c, Type)], []
        true, false = {}, {}
        if isinstance(first, ast.Name):
            true = {first.id: union(hits)} if hits else {}
            false = {first.id: union(misses)} if misses else {}
        shown = ", ".join(str(c) for c in (hits if value.type != ANY else candidates))
        text = f"isinstance({value.text}, {shown if len(hits) == 1 else f'[{shown}]'})"
        return Condition(text, None, true, false)

    def _tested_type(self: Any, node: ast.expr) -> Any:
        target = self.evaluated(node)
        if target in (list, tuple, dict):
            return target
        return self.annotation_of(target, node)

    def _has_attribute(self: Any, node: ast.Call) -> bool:
        base, name = self.any(node.args[0]), self.known(node.args[1])
        if isinstance(base, Static):
            return hasattr(base.value, name)
        info = getattr(base.type, "info", None)
        if info is not None and hasattr(info, "has"):
            return info.has(name)
        if base.type.fields is not None:
            return name in base.type.fields
        return hasattr(torch.Tensor, name) if base.type == TENSOR else False

    def folded(self: Any, op: ast.cmpop, left: Value, right: Value) -> bool | None:
        """The outcome of a comparison of constants."""
        if UNKNOWN in (left.const, right.const) or type(op) not in _COMPARE:
            return None
        return bool(_COMPARE[type(op)](left.const, right.const))


def _is_super(node: ast.expr) -> bool:
    return (
        isinstance(node, ast.Attribute) and isinstance(node.value, ast.Call)
        and isinstance(node.value.func, ast.Name) and node.value.func.id == "super"
    )  # fmt: skip


def _key(target: Any) -> Any:
    try:
        hash(target)
    except TypeError:
        return None
    return target


def _list(texts: list[str]) -> str:
    return ", ".join(texts) + (", " if texts else "")


def _tested(kind: Type, candidate: Any) -> bool:
    if candidate is list:
        return kind.name == "List"
    if candidate is dict:
        return kind.name == "Dict"
    if candidate is tuple:
        return kind.items is not None
    return is_subtype(kind, candidate)


def _device(args: list[Value]) -> tuple[Any, ...]:
    if any(a.const is UNKNOWN for a in args):
        return ()
    return (torch.device(*(a.const for a in args)),)


def _gathered(args: list[Value], first: bool) -> list[Value]:
    """Tensors given one by one, as a list."""
    head, rest = (args[:1], args[1:]) if first else ([], args)
    if rest and all(a.type == TENSOR for a in rest):
        text = f"[{', '.join(a.text for a in rest)}]"
        return [*head, Value(text, list_of(TENSOR))]
    return args


# ---- Functions with rules of their own ----------------------------------------------------------
_Special = Callable[[Any, ast.Call], Any]


def _annotate(c: Any, node: ast.Call) -> Value:
    kind = c.annotation(node.args[0])
    return c.of_type(c.value(node.args[1], kind), kind, node)


def _constant(value: Any) -> _Special:
    return lambda c, node: Value(str(value), BOOL, value)


def _as_condition(c: Any, node: ast.Call) -> Value:
    test = c.predicate(node)
    known = UNKNOWN if test.static is None else test.static
    return Value(test.text, BOOL, known)


def _len(c: Any, node: ast.Call) -> Value:
    found = c.any(node.args[0])
    if isinstance(found, Items):
        return Value(str(len(found.items)), INT, len(found.items))
    value = c.as_value(found, node)
    if value.type.items is not None:
        return Value(str(len(value.type.items)), INT, len(value.type.items))
    if getattr(value.type.info, "iterable", False):
        count = len(value.type.info.sequence(c, value, node).items)
        return Value(str(count), INT, count)
    if hasattr(value.type.info, "length"):
        return value.type.info.length(c, value, node)
    if value.type.name not in ("Tensor", "List", "Dict", "str"):
        raise c.error(node, f"object of type {value.type} has no len()")
    return Value(f"torch.len({value.text})", INT)


def _print(c: Any, node: ast.Call) -> Value:
    args, kwargs = c.arguments(node)
    if kwargs:
        raise c.error(node, "print doesn't accept any keyword arguments")
    return Value(f"print({', '.join(a.text for a in args)})", NONE)


def _number(name: str, kind: Type) -> _Special:
    def make(c: Any, node: ast.Call) -> Value:
        if not node.args:
            return Value({"int": "0", "float": "0.", "bool": "False"}[name], kind)
        value = c.value(node.args[0])
        known = (*NUMBERS, TENSOR, STR)
        if value.type not in known and not value.type.name.startswith("__torch__"):
            raise c.error(node, f"Cannot cast type '{value.type}' to type '{name}'")
        if value.type == STR and value.const is not UNKNOWN and name == "float":
            return Value(f"float({value.text})", kind, float(value.const))
        return Value(f"{name}({value.text})", kind)

    return make


def _str(c: Any, node: ast.Call) -> Value:
    return Value(f"str({c.value(node.args[0]).text})", STR)


def _range(c: Any, node: ast.Call) -> Value:
    args, _ = c.arguments(node)
    texts = []
    for a in args:
        if a.type not in (INT, TENSOR):
            raise c.error(node, f"range takes ints; got {a.type}")
        texts.append(a.text if a.type == INT else f"int({a.text})")
    return Value(f"range({', '.join(texts)})", Type("Iterable", (INT,)))


def _enumerate(c: Any, node: ast.Call) -> Any:
    found = c.any(node.args[0])
    start = node.args[1] if len(node.args) > 1 else None
    for k in node.keywords:
        start = k.value
    if c.is_unrolled(found):
        first = 0 if start is None else c.known(start)
        items = c.items_of(found, node)
        return Items([Items([Value(str(i), INT, i), x]) for i, x in enumerate(items, first)])
    text, item = c.iterated(found, node)
    more = "" if start is None else f", {c.value(start).text}"
    return Value(f"enumerate({text}{more})", Type("Iterable", (tuple_of((INT, item)),)))


def _zip(c: Any, node: ast.Call) -> Any:
    found = [c.any(a) for a in node.args]
    if any(c.is_unrolled(f) for f in found):
        count = min(len(c.items_of(f, node)) for f in found if c.is_unrolled(f))
        columns = []
        for f in found:
            if c.is_unrolled(f):
                columns.append(c.items_of(f, node))
            else:
                text, item = c.iterated(f, node)
                columns.append([Value(f"({text})[{i}]", item) for i in range(count)])
        return Items([Items(list(row)) for row in zip(*columns, strict=False)])
    pairs = [c.iterated(f, node) for f in found]
    texts, kinds = [p[0] for p in pairs], [p[1] for p in pairs]
    return Value(f"zip({', '.join(texts)})", Type("Iterable", (tuple_of(kinds),)))


def _list_of(c: Any, node: ast.Call) -> Any:
    if not node.args:
        return Value("[]", list_of(TENSOR))
    found = c.any(node.args[0])
    if isinstance(found, Items):
        return found
    value = c.as_value(found, node)
    if value.type.items is not None:
        return c.as_list(value, node)
    text, item = c.iterated(value, node)
    return Value(f"list({text})", list_of(item))


def _tuple_of(c: Any, node: ast.Call) -> Any:
    found = c.any(node.args[0])
    if isinstance(found, Items):
        return found
    value = c.as_value(found, node)
    if value.type.items is None:
        if value.parts is not None:
            return c.display(list(value.parts))
        raise c.error(node, f"a {value.type} can't be a tuple: its length isn't known")
    return value


def _dict_of(c: Any, node: ast.Call) -> Value:
    args, kwargs = c.arguments(node)
    if kwargs and not args:
        kind = union(v.type for v in kwargs.values())
        text = ", ".join(f"{quoted(k)}: {v.text}" for k, v in kwargs.items())
        return Value(f"{{{text}}}", Type("Dict", (STR, kind)))
    if not args:
        return Value("{}", Type("Dict", (STR, TENSOR)))
    kind = args[0].type
    if kind.name == "List" and kind.args[0].items is not None:
        kind = Type("Dict", kind.args[0].items)
    return Value(f"dict({args[0].text})", kind)


def _extreme(name: str) -> _Special:
    def make(c: Any, node: ast.Call) -> Value:
        args, kwargs = c.arguments(node)
        if any(a.type == TENSOR for a in args):
            return c.op(node, name, args, kwargs)
        if len(args) == 1 and args[0].type.items is not None:
            args = [c.as_list(args[0], node)]
        texts = ", ".join(a.text for a in args)
        if len(args) == 1 and args[0].type.name == "List":
            return Value(f"{name}({texts})", args[0].type.args[0])
        kind = args[0].type
        for a in args[1:]:
            found = arithmetic(kind, a.type) or (kind if kind == a.type else None)
            if found is None:
                raise c.error(node, f"{name} can't compare {kind} with {a.type}")
            kind = found
        if len(args) > 2:  # it takes two
            nested = args[0].text
            for a in args[1:]:
                nested = f"{name}({nested}, {a.text})"
            return Value(nested, kind)
        return Value(f"{name}({texts})", kind)

    return make


def _abs(c: Any, node: ast.Call) -> Value:
    value = c.value(node.args[0])
    if value.type == TENSOR:
        return Value(f"torch.abs({value.text})", TENSOR)
    return Value(f"abs({value.text})", FLOAT if value.type == COMPLEX else value.type)


def _plain(name: str, returns: Any) -> _Special:
    def make(c: Any, node: ast.Call) -> Value:
        args, kwargs = c.arguments(node)
        texts = [*(a.text for a in args), *(f"{k}={v.text}" for k, v in kwargs.items())]
        kind = returns(args) if callable(returns) and not isinstance(returns, Type) else returns
        return Value(f"{name}({', '.join(texts)})", kind)

    return make


def _sum(c: Any, node: ast.Call) -> Value:
    value = c.value(node.args[0])
    if value.type == TENSOR:
        return c.op(node, "sum", [value], {})
    if value.type.items is not None:
        value = c.as_list(value, node)
    if value.type.name != "List" or value.type.args[0] not in NUMBERS:
        raise c.error(node, f"sum takes a list of numbers; got {value.type}")
    kind = value.type.args[0]
    return Value(f"sum({value.text})", INT if kind == BOOL else kind)


def _round(c: Any, node: ast.Call) -> Value:
    args, _ = c.arguments(node)
    if len(args) == 1:
        return Value(f"int(torch.round({args[0].text}))" if args[0].type != TENSOR else
                     f"torch.round({args[0].text})", INT if args[0].type != TENSOR else TENSOR)
    return Value(f"torch.round({args[0].text}, {args[1].text})", args[0].type)


def _pow(c: Any, node: ast.Call) -> Value:
    args, _ = c.arguments(node)
    return c.binary(node, ast.Pow, *args)


def _getattr(c: Any, node: ast.Call) -> Any:
    name = c.known(node.args[1])
    if len(node.args) > 2 and not c._has_attribute(node):
        return c.any(node.args[2])
    made = ast.copy_location(ast.Attribute(node.args[0], name, ast.Load()), node)
    return c.any(made)


def _fork(c: Any, node: ast.Call) -> Value:
    callee = c.any(node.args[0])
    rest = ast.copy_location(ast.Call(node.args[0], node.args[1:], node.keywords), node)
    result = c.as_value(c.visit_Call(rest), node)
    function, _, given = result.text.partition("(")
    if isinstance(callee, Value) or not function:  # (self).sub.forward(x, )
        function, _, given = _last_call(result.text)
    given = given.removesuffix(")").rstrip(", ")
    text = f"fork({function}{', ' if given else ''}{given})"
    return Value(text, Type("Future", (result.type,)))


def _last_call(text: str) -> tuple[str, str, str]:
    """The function and arguments of ``f(...)`` where brackets may be in ``f``."""
    depth = 0
    for i in range(len(text) - 1, -1, -1):
        depth += (text[i] == ")") - (text[i] == "(")
        if depth == 0:
            return text[:i], "(", text[i + 1 :]
    return text, "", ""


def _wait(c: Any, node: ast.Call) -> Value:
    value = c.value(node.args[0])
    if value.type.name != "Future":
        raise c.error(node, f"wait takes a Future; got {value.type}")
    return Value(f"torch.wait({value.text})", value.type.args[0])


def _warn(c: Any, node: ast.Call) -> Value:
    value = c.value(node.args[0])
    return Value(f"torch.warn({value.text}, 2)", NONE)


def _cast(c: Any, node: ast.Call) -> Any:
    return c.value(node.args[1])


_SPECIAL: dict[Any, _Special] = {
    torch.jit.annotate: _annotate,
    torch.jit.is_scripting: _constant(True), torch.jit.is_tracing: _constant(False),
    _C._get_tracing_state: lambda c, node: Value("None", NONE, None),
    torch.jit.isinstance: _as_condition, builtins.isinstance: _as_condition,
    hasattr: _as_condition, getattr: _getattr, len: _len, print: _print, str: _str,
    int: _number("int", INT), float: _number("float", FLOAT), bool: _number("bool", BOOL),
    complex: _plain("complex", COMPLEX), range: _range, enumerate: _enumerate, zip: _zip,
    list: _list_of, tuple: _tuple_of, dict: _dict_of, max: _extreme("max"), min: _extreme("min"),
    abs: _abs, sum: _sum, round: _round, pow: _pow, ord: _plain("torch.ord", INT),
    chr: _plain("torch.chr", STR), hex: _plain("torch.hex", STR), oct: _plain("torch.oct", STR),
    bin: _plain("torch.bin", STR), any: _plain("any", BOOL), all: _plain("all", BOOL),
    hash: _plain("hash", INT), sorted: _plain("sorted", lambda args: args[0].type),
    divmod: _plain("divmod", lambda args: tuple_of([
        arithmetic(args[0].type, args[1].type) or INT] * 2)),
    torch.jit.fork: _fork, torch.jit.wait: _wait, warnings.warn: _warn, typing.cast: _cast,
}  # fmt: skip
