"""Expressions: Python's syntax to typed text."""

from __future__ import annotations

import ast
import enum
import types as python_types
from typing import Any

import taimatsu as torch
from taimatsu._op_namespaces import Namespace, OpOverload, OpOverloadPacket
from taimatsu.nn import Module

from . import schemas
from .containers import CASTS, TENSOR_ATTRIBUTES, method
from .types import (
    ANY,
    BOOL,
    COMPLEX,
    FLOAT,
    INT,
    NONE,
    NUMBERS,
    STR,
    TENSOR,
    Type,
    is_subtype,
    list_of,
    of_value,
    optional,
    tuple_of,
    unify,
    unify_all,
    union,
)  # fmt: skip
from .values import (
    UNKNOWN,
    Bound,
    Items,
    Static,
    Value,
    cast,
    display,
    empty_display,
    literal,
    quoted,
)  # fmt: skip

__all__ = ["Expressions"]

_BINARY = {
    ast.Add: "add", ast.Sub: "sub", ast.Mult: "mul", ast.Div: "div", ast.Mod: "remainder",
    ast.Pow: "pow", ast.FloorDiv: "floordiv", ast.MatMult: "matmul", ast.BitAnd: "__and__",
    ast.BitOr: "__or__", ast.BitXor: "__xor__", ast.LShift: "__lshift__", ast.RShift: "__rshift__",
}  # fmt: skip
COMPARISONS = {
    ast.Eq: "eq", ast.NotEq: "ne", ast.Lt: "lt", ast.LtE: "le", ast.Gt: "gt", ast.GtE: "ge",
}  # fmt: skip
_SYMBOLS = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/", ast.Mod: "%", ast.Pow: "**",
            ast.FloorDiv: "//", ast.MatMult: "@", ast.BitAnd: "&", ast.BitOr: "|", ast.BitXor: "^",
            ast.LShift: "<<", ast.RShift: ">>"}  # fmt: skip


def _simple(text: str) -> str:
    """An expression that ``.name`` may follow."""
    return text if text.replace(".", "").replace("_", "").isalnum() else f"({text})"


def arithmetic(first: Type, second: Type) -> Type | None:
    """The type of a sum of numbers."""
    if first not in NUMBERS or second not in NUMBERS:
        return None
    for kind in (COMPLEX, FLOAT, INT):
        if kind in (first, second):
            other = second if first == kind else first
            return other if other.name == "number" else kind
    return INT if first == BOOL == second else first


class Expressions:
    """A mixin of `compiler.Compiler`: `value` gives a typed value, `any` also what is static."""

    expected: Type | None = None  # the type that an empty display is of

    # ---- What a node is ---------------------------------------------------------------------
    def any(self: Any, node: ast.expr) -> Any:
        """The value of an expression, or what is known of it when the program is compiled."""
        visit = getattr(self, "visit_" + type(node).__name__, None)
        if visit is None:
            raise self.source.unsupported(node)
        return visit(node)

    def value(self: Any, node: ast.expr, expected: Type | None = None) -> Value:
        """The typed value of an expression."""
        outer, self.expected = self.expected, expected
        found = self.any(node)
        self.expected = outer
        return self.as_value(found, node)

    def as_value(self: Any, found: Any, node: ast.AST) -> Value:
        """A typed value, of what may be a constant of Python's. RuntimeError for other objects."""
        if isinstance(found, Value):
            return found
        if isinstance(found, Items):
            parts = tuple(self.as_value(i, node) for i in found.items)
            kind = tuple_of(p.type for p in parts)
            return Value(f"({', '.join(p.text for p in parts)},)", kind, parts=parts)
        if isinstance(found, Static):
            if isinstance(found.value, enum.Enum):
                kind = self.unit.class_type(type(found.value))
                self.uses.add(kind.name)
                return Value(f"{kind.name}.{found.value.name}", kind)
            if isinstance(found.value, (torch.dtype, torch.layout, torch.memory_format)):
                return Value(literal(found.value), INT, found.value)
            name = type(found.value).__name__
            raise self.error(
                node,
                f"python value of type '{name}' cannot be used as a value. Perhaps it is a closed "
                "over global variable? If so, please consider passing it in as an argument or use "
                "a local variable instead.",
            )
        raise self.error(node, f"'{found.name}' is a method; it can only be called")

    def constant(self: Any, value: Any, node: ast.AST) -> Any:
        """A constant of Python's; static if it is none of TorchScript's."""
        kind = of_value(value, self.unit.class_type)
        if kind is None or isinstance(value, (torch.Tensor, Module, enum.Enum)):
            return Static(value)
        return Value(display(value, kind), kind, value)

    # ---- Names and attributes ---------------------------------------------------------------
    def visit_Name(self: Any, node: ast.Name) -> Any:
        found = self.frame.find(node.id)
        if found is not None:
            return found
        why = self.frame.why_missing(node.id)
        if why:
            raise self.error(node, why)
        if node.id in self.names:
            return self.static(self.names[node.id])
        raise self.error(node, f"undefined value {node.id}")

    def static(self: Any, value: Any) -> Any:
        """An object that a name or attribute of Python's is."""
        if value is None or value is Ellipsis:
            return Value("None", NONE, None)
        if isinstance(value, (torch.dtype, torch.layout, torch.memory_format)):
            return Value(literal(value), INT, value)
        if isinstance(value, torch.device):
            return self.constant(value, None)
        return Static(value)

    def visit_Attribute(self: Any, node: ast.Attribute) -> Any:
        base = self.any(node.value)
        if isinstance(base, Static):
            return self._of_static(base.value, node)
        if isinstance(base, Items):
            return self.of_items(base, node.attr, node)
        return self.attribute_of(self.as_value(base, node.value), node.attr, node)

    def _of_static(self: Any, base: Any, node: ast.Attribute) -> Any:
        if isinstance(base, Namespace):
            return Static((base.__name__, node.attr))
        if isinstance(base, tuple) and len(base) == 2:
            return Static(base)  # an overload's name
        try:
            found = getattr(base, node.attr)
        except AttributeError:
            raise self.error(node, f"object has no attribute {node.attr}") from None
        if isinstance(base, python_types.ModuleType) and not callable(found):
            return self.constant(found, node)
        if isinstance(base, type) and isinstance(found, (int, float, str)):
            return Static(found) if isinstance(found, enum.Enum) else self.constant(found, node)
        return self.static(found)

    def of_items(self: Any, base: Items, name: str, node: ast.AST) -> Any:
        """``items()``, ``keys()`` and ``values()`` of a ModuleDict."""
        keys = [Value(quoted(k), STR, k) for k in base.keys or ()]
        found = {
            "values": list(base.items), "keys": keys,
            "items": [Items([k, v]) for k, v in zip(keys, base.items, strict=bool(base.keys))],
        }.get(name) if base.keys is not None else None  # fmt: skip
        if found is None:
            raise self.error(node, f"object has no attribute {name}")
        return Bound(lambda *_: Items(found), name)

    def attribute_of(self: Any, base: Value, name: str, node: ast.AST) -> Any:
        """An attribute or method of a typed value."""
        kind, text = base.type, _simple(base.text)
        if kind == TENSOR:
            return self._of_tensor(base, name, node)
        if kind.fields is not None and name in kind.fields:
            return Value(f"{text}.{name}", kind.fields[name])
        if kind.name == "Tuple" and isinstance(kind.info, tuple) and name in kind.info:
            return base.part(kind.info.index(name))
        if hasattr(kind.info, "member"):
            return kind.info.member(self, base, name, node)
        if isinstance(kind.info, type) and issubclass(kind.info, enum.Enum):
            if name == "name":
                return Value(f"{text}.name", STR)
            if name == "value":
                values = [of_value(m.value, self.unit.class_type) for m in kind.info]
                return Value(f"{text}.value", values[0] or ANY)
        if kind.name == "Device" and name in ("type", "index"):
            return Value(f"ops.prim.{name}({base.text})", STR if name == "type" else optional(INT))
        if kind == COMPLEX and name in ("real", "imag"):
            return Value(f"ops.aten.{name}({base.text})", FLOAT)
        found = method(self, base, name)
        if found is None:
            shown = "Optional type" if kind.optional else f"'{kind}' object"
            raise self.error(node, f"{shown} has no attribute or method '{name}'")
        return found

    def _of_tensor(self: Any, base: Value, name: str, node: ast.AST) -> Any:
        if name in TENSOR_ATTRIBUTES:
            form, kind = TENSOR_ATTRIBUTES[name]
            return Value(form.format(base.text), kind)
        if name in CASTS:
            code = literal(getattr(torch, CASTS[name]))
            return Bound(lambda *_: Value(f"torch.to({base.text}, {code})", TENSOR), name)
        if name == "tolist":
            return Bound(lambda *_: self._tolist(base, node), name)
        if name == "type" or name == "__len__":
            return method(self, base, name)
        if not schemas.overloads(name):
            raise self.error(
                node, f"'Tensor' object has no attribute or method '{name}'."
            )
        return Bound(lambda n, args, kwargs: self.op(n, name, [base, *args], kwargs), name)

    def _tolist(self: Any, base: Value, node: ast.AST) -> Value:
        kind = self.expected
        if kind is None or kind.name not in ("List", "int", "float", "bool"):
            raise self.error(node, "Expected type hint for result of tolist()")
        return Value(f"annotate({kind}, {_simple(base.text)}.tolist())", kind)

    # ---- Literals ---------------------------------------------------------------------------
    def visit_Constant(self: Any, node: ast.Constant) -> Any:
        if node.value is Ellipsis:
            return Static(Ellipsis)
        kind = of_value(node.value, self.unit.class_type)
        if kind is None:
            raise self.source.unsupported(node)
        return Value(display(node.value, kind), kind, node.value)

    def visit_JoinedStr(self: Any, node: ast.JoinedStr) -> Value:
        form, parts = "", []
        for item in node.values:
            if isinstance(item, ast.Constant):
                form += str(item.value).replace("{", "{{").replace("}", "}}")
                continue
            assert isinstance(item, ast.FormattedValue)
            if item.conversion != -1:
                raise self.error(item, "Don't support conversion in JoinedStr",
                                 self.errors.NotSupportedError)  # fmt: skip
            if item.format_spec is not None:
                raise self.error(item, "Don't support formatting in JoinedStr",
                                 self.errors.NotSupportedError)  # fmt: skip
            form += "{}"
            parts.append(self.value(item.value).text)
        return Value(f"torch.format({', '.join([quoted(form), *parts])})", STR)

    def visit_Tuple(self: Any, node: ast.Tuple) -> Any:
        wanted = self.expected.items if self.expected is not None else None
        if wanted is None or len(wanted) != len(node.elts):
            wanted = (None,) * len(node.elts)
        found = []
        for element, kind in zip(node.elts, wanted, strict=True):
            outer, self.expected = self.expected, kind
            found.append(self.any(element))
            self.expected = outer
        if any(isinstance(f, (Items, Bound)) or self.is_module(f) for f in found):
            return Items(found)
        return self.display([self.as_value(f, e) for f, e in zip(found, node.elts, strict=True)])

    def display(self, values: list[Value]) -> Value:
        """A tuple display."""
        text = f"({', '.join(v.text for v in values)}{',' * (len(values) == 1)})"
        known = all(v.const is not UNKNOWN for v in values)
        const = tuple(v.const for v in values) if known else UNKNOWN
        return Value(text, tuple_of(v.type for v in values), const, tuple(values))

    def visit_List(self: Any, node: ast.List) -> Value:
        wanted = self.expected.without_none if self.expected is not None else None
        item = wanted.args[0] if wanted is not None and wanted.name == "List" else None
        values = [self.value(e, item) for e in node.elts]
        if not values:
            if item is not None:
                return Value(f"annotate(List[{item}], [])", list_of(item))
            return Value("[]", list_of(TENSOR))
        kinds = [v.type for v in values]
        common = unify_all(kinds)
        if item is not None and all(is_subtype(k, item) for k in kinds):
            common = item
        if common is None:
            common = union(kinds)
        text = f"[{', '.join(cast(v, common) for v in values)}]"
        if any(k != common for k in kinds):
            text = f"annotate(List[{common}], [{', '.join(v.text for v in values)}])"
        known = all(v.const is not UNKNOWN for v in values)
        const = [v.const for v in values] if known else UNKNOWN
        return Value(text, list_of(common), const, tuple(values))

    def visit_Dict(self: Any, node: ast.Dict) -> Value:
        wanted = self.expected.without_none if self.expected is not None else None
        inner = wanted.args if wanted is not None and wanted.name == "Dict" else (None, None)
        if None in node.keys:
            raise self.source.unsupported(node)
        keys = [self.value(k, inner[0]) for k in node.keys if k is not None]
        values = [self.value(v, inner[1]) for v in node.values]
        if not keys:
            if wanted is not None and inner[0] is not None:
                return Value(f"annotate({wanted}, {{}})", wanted)
            return Value("{}", Type("Dict", (STR, TENSOR)))
        key, item = unify_all(k.type for k in keys), unify_all(v.type for v in values)
        if inner[1] is not None and all(is_subtype(v.type, inner[1]) for v in values):
            item = inner[1]
        if key is None or item is None:
            raise self.error(node, "Dict values must all be of one type")
        kind = Type("Dict", (key, item))
        text = "{" + ", ".join(
            f"{k.text}: {v.text}" for k, v in zip(keys, values, strict=True)
        ) + "}"  # fmt: skip
        if any(v.type != item for v in values):
            text = f"annotate({kind}, {text})"
        return Value(text, kind)

    # ---- Operators --------------------------------------------------------------------------
    def visit_BinOp(self: Any, node: ast.BinOp) -> Any:
        left, right = self.value(node.left), self.value(node.right)
        return self.binary(node, type(node.op), left, right)

    def binary(
        self: Any, node: ast.AST, op: type[ast.operator], left: Value, right: Value
    ) -> Value:
        """An operator's result."""
        name = _BINARY[op]
        if left.type == STR and op is ast.Mod:
            return Value(f"torch.percentFormat({left.text}, {right.text})", STR)
        if TENSOR in (left.type, right.type):
            return self._of_tensors(node, op, left, right)
        kinds = {left.type.name, right.type.name}
        if (op, kinds) in ((ast.Add, {"Tuple", "List"}), (ast.Mult, {"Tuple", INT.name})):
            left, right = (self.as_list(v, node) if v.type.items else v for v in (left, right))
        kind = self._plain_result(op, left, right)
        if kind is None and hasattr(left.type.info, "operator"):
            return left.type.info.operator(self, node, name, left, right)
        if kind is None:
            if left.type.items is not None and right.type.items is not None and op is ast.Add:
                both = ((left, len(left.type.items)), (right, len(right.type.items)))
                return self.display([v.part(i) for v, count in both for i in range(count)])
            raise self.error(
                node,
                f"Arguments for call are not valid: there is no operator "
                f"'{_SYMBOLS[op]}' for {left.type} and {right.type}",
            )
        return Value(f"torch.{name}({left.text}, {right.text})", kind)

    def _of_tensors(
        self: Any, node: ast.AST, op: type[ast.operator], left: Value, right: Value
    ) -> Value:
        for side in (left, right):
            if side.type != TENSOR and side.type not in NUMBERS:
                raise self.error(
                    node, f"Arguments for call are not valid: there is no operator "
                    f"'{_SYMBOLS[op]}' for {left.type} and {right.type}")  # fmt: skip
        name = _BINARY[op]
        if op is ast.FloorDiv:
            name = "floor_divide"
        if left.type == TENSOR:
            return Value(f"torch.{name}({left.text}, {right.text})", TENSOR)
        if op in (ast.Add, ast.Mult):
            return Value(f"torch.{name}({right.text}, {left.text})", TENSOR)
        if op is ast.Sub:
            return Value(f"torch.rsub({right.text}, {left.text})", TENSOR)
        if op is ast.Div:
            return Value(f"torch.mul(torch.reciprocal({right.text}), {left.text})", TENSOR)
        if op in (ast.BitAnd, ast.BitOr, ast.BitXor):
            return Value(f"torch.{name}({right.text}, {left.text})", TENSOR)
        if op in (ast.FloorDiv, ast.MatMult):
            made = f"torch.scalar_tensor({left.text})"
            return Value(f"torch.{name}({made}, {right.text})", TENSOR)
        return Value(f"torch.{name}({left.text}, {right.text})", TENSOR)

    def _plain_result(self, op: type, left: Value, right: Value) -> Type | None:
        a, b = left.type, right.type
        number = arithmetic(a, b)
        if number is not None:
            if op is ast.Div or (op is ast.Pow and number == INT):
                return COMPLEX if number == COMPLEX else FLOAT
            if op in (ast.BitAnd, ast.BitOr, ast.BitXor):
                return BOOL if a == b == BOOL else INT if a == b == INT else None
            if op in (ast.LShift, ast.RShift):
                return INT if a == b == INT else None
            return None if op is ast.MatMult else number
        if op is ast.Add and a == b == STR:
            return STR
        if op is ast.Add and a.name == b.name == "List":
            return a if a == b or right.text == "[]" else b if left.text == "[]" else None
        if op is ast.Mult:
            for x, n in ((a, b), (b, a)):
                if n == INT and (x == STR or x.name == "List"):
                    return x
        return None

    def visit_UnaryOp(self: Any, node: ast.UnaryOp) -> Any:
        if isinstance(node.op, ast.Not):
            return self.condition_value(node)
        value = self.value(node.operand)
        if isinstance(node.op, ast.UAdd):
            return value
        if isinstance(node.op, ast.Invert):
            if value.type == TENSOR:
                return Value(f"torch.bitwise_not({value.text})", TENSOR)
            raise self.error(node, f"~ takes a Tensor; got {value.type}")
        if value.type != TENSOR and value.type not in NUMBERS:
            raise self.error(node, f"bad operand type for unary -: {value.type}")
        if isinstance(node.operand, ast.Constant) and value.const is not UNKNOWN:
            return Value(display(-value.const, value.type), value.type, -value.const)
        return Value(f"torch.neg({value.text})", INT if value.type == BOOL else value.type)

    def visit_BoolOp(self: Any, node: ast.BoolOp) -> Any:
        return self.condition_value(node)

    def visit_Compare(self: Any, node: ast.Compare) -> Any:
        return self.condition_value(node)

    def comparison(self: Any, node: ast.AST, op: ast.cmpop, left: Value, right: Value) -> Value:
        """``left op right``."""
        if isinstance(op, (ast.In, ast.NotIn)):
            if right.type.items is not None:
                right = self.as_list(right, node)
            if right.type.name not in ("List", "Dict", "str"):
                raise self.error(node, f"'in' needs a list, dict or str; got {right.type}")
            text = f"torch.__contains__({right.text}, {left.text})"
            return Value(text if isinstance(op, ast.In) else f"torch.__not__({text})", BOOL)
        name = COMPARISONS[type(op)]
        if TENSOR in (left.type, right.type):
            if left.type != TENSOR:
                mirrored = {"lt": "gt", "gt": "lt", "le": "ge", "ge": "le"}
                left, right, name = right, left, mirrored.get(name, name)
            if right.type != TENSOR and right.type not in NUMBERS:
                raise self.error(node, f"Tensors can't be compared with {right.type}")
            return Value(f"torch.{name}({left.text}, {right.text})", TENSOR)
        if hasattr(left.type.info, "operator"):
            return left.type.info.operator(self, node, f"__{name}__", left, right)
        comparable = (
            (left.type in NUMBERS and right.type in NUMBERS)
            or unify(left.type, right.type) is not None
            or empty_display(right, left.type)
        )
        if not comparable:
            raise self.error(node, f"{left.type} and {right.type} can't be compared")
        return Value(f"torch.{name}({left.text}, {right.text})", BOOL)

    def as_list(self: Any, value: Value, node: ast.AST) -> Value:
        """A tuple of one type as a list."""
        count = len(value.type.items or ())
        parts = [value.part(i) for i in range(count)]
        item = unify_all(p.type for p in parts)
        if item is None:
            raise self.error(node, f"the elements of {value.type} are of different types")
        return Value(f"[{', '.join(p.text for p in parts)}]", list_of(item), value.const)

    def visit_IfExp(self: Any, node: ast.IfExp) -> Any:
        test = self.condition(node.test)
        if test.static is not None:
            return self.any(node.body if test.static else node.orelse)
        kept = self.expected
        with self.refined(test.true):
            first = self.value(node.body, kept)
        with self.refined(test.false):
            second = self.value(node.orelse, kept)
        kind = unify(first.type, second.type)
        if empty_display(first, second.type):
            kind = second.type
        if kind is None and kept is not None and all(
            is_subtype(v.type, kept) for v in (first, second)
        ):
            kind = kept
        if kind is None:
            raise self.error(
                node, f"Type mismatch: the branches of an if-expression are of {first.type} and "
                f"{second.type}")  # fmt: skip
        return Value(f"({cast(first, kind)} if {test.text} else {cast(second, kind)})", kind)

    # ---- Subscripts -------------------------------------------------------------------------
    def visit_Subscript(self: Any, node: ast.Subscript) -> Any:
        base = self.any(node.value)
        if isinstance(base, Items):
            return self._item_of(base, node)
        if isinstance(base, Static):
            if isinstance(base.value, type) or hasattr(base.value, "__origin__"):
                return Static(eval(compile(ast.Expression(node), "", "eval"), dict(self.names)))
            return self.as_value(base, node.value)
        base = self.as_value(base, node.value)
        if hasattr(base.type.info, "subscript"):
            return base.type.info.subscript(self, base, node)
        return self.subscript(base, node.slice, node)

    def _item_of(self: Any, base: Items, node: ast.Subscript) -> Any:
        if isinstance(node.slice, ast.Slice):
            bounds = self._known_bounds(node.slice)
            keys = base.keys[bounds] if base.keys else None
            return Items(base.items[bounds], keys)
        index = self.known(node.slice)
        if isinstance(index, str) and base.keys is not None and index in base.keys:
            return base.items[base.keys.index(index)]
        if not isinstance(index, int) or not -len(base.items) <= index < len(base.items):
            raise self.error(node, f"list index out of range: {index!r}")
        return base.items[index]

    def known(self: Any, node: ast.expr) -> Any:
        """The value of a constant expression. RuntimeError if it isn't one."""
        value = self.value(node)
        if value.const is UNKNOWN:
            raise self.error(
                node, "Expected integer literal for index. ModuleList/Sequential indexing is only "
                "supported with integer literals. For example, 'i = 4; self.layers[i](x)' will "
                "fail because i is not a literal. Enumeration is supported, e.g. 'for index, v in "
                "enumerate(self): out = v(inp)'")  # fmt: skip
        return value.const

    def subscript(self: Any, base: Value, key: ast.expr, node: ast.AST) -> Value:
        """``base[key]``."""
        kind = base.type
        if kind == TENSOR:
            return self.tensor_item(base, key, node)
        if kind.optional:
            raise self.error(node, f"'{kind}' object is not subscriptable: is it None?")
        if isinstance(key, ast.Slice):
            return self._slice(base, key, node)
        if kind.items is not None:
            index = self.value(key)
            if index.const is UNKNOWN:
                raise self.error(key, "tuple index must be a constant")
            if not -len(kind.items) <= index.const < len(kind.items):
                raise self.error(node, "Tuple index is out of range")
            return base.part(index.const % len(kind.items))
        if kind.name in ("List", "str"):
            index = self.value(key)
            if index.type not in (INT, TENSOR):
                raise self.error(key, f"an index has to be an int; got {index.type}")
            text = index.text if index.type == INT else f"int({index.text})"
            return Value(f"{_simple(base.text)}[{text}]", STR if kind == STR else kind.args[0])
        if kind.name == "Dict":
            found = self.value(key)
            if not is_subtype(found.type, kind.args[0]):
                raise self.error(key, f"a key of {kind} can't be a {found.type}")
            return Value(f"{_simple(base.text)}[{found.text}]", kind.args[1])
        raise self.error(node, f"'{kind}' object is not subscriptable")

    def _slice(self: Any, base: Value, key: ast.Slice, node: ast.AST) -> Value:
        if base.type.items is not None:
            bounds = self._known_bounds(key)
            count = range(len(base.type.items))[bounds]
            return self.display([base.part(i) for i in count])
        if base.type.name not in ("List", "str"):
            raise self.error(node, f"'{base.type}' object can't be sliced")
        return Value(f"torch.slice({base.text}, {self._bounds(key)})", base.type)

    def _known_bounds(self: Any, key: ast.Slice) -> slice:
        return slice(*(None if p is None else self.known(p)
                       for p in (key.lower, key.upper, key.step)))  # fmt: skip

    def _bounds(self: Any, key: ast.Slice) -> str:
        given = [self.value(p).text if p else "None" for p in (key.lower, key.upper)]
        return ", ".join([*given, self.value(key.step).text if key.step else "1"])

    def tensor_item(self: Any, base: Value, key: ast.expr, node: ast.AST) -> Value:
        """What is read by indexing a tensor: `select`, `slice` and `unsqueeze`, then `index`."""
        text, indices = self.indexed(base, key)
        if any(i is not None for i in indices):
            text = f"torch.index({text}, {_optional_list(indices)})"
        return Value(text, TENSOR)

    def indexed(self: Any, base: Value, key: ast.expr) -> tuple[str, list[str | None]]:
        """The view that plain indices select, and the tensors that index its dims."""
        text, dim, indices = base.text, 0, []  # type: ignore[var-annotated]
        keys = list(key.elts) if isinstance(key, ast.Tuple) else [key]
        values = [None if isinstance(k, ast.Slice) else self.any(k) for k in keys]
        if isinstance(values[0], Value) and len(values) == 1 and values[0].type.name == "Tuple":
            values = [values[0].part(i) for i in range(len(values[0].type.args))]
            keys = [key] * len(values)
        dots = [i for i, v in enumerate(values) if isinstance(v, Static) and v.value is Ellipsis]
        after = 0
        if dots:
            consumed = [v for v in values[dots[0] + 1 :] if not _is_none(v)]
            after = len(consumed)
        for i, (k, v) in enumerate(zip(keys, values, strict=True)):
            if isinstance(k, ast.Slice):
                if k.lower or k.upper or k.step:
                    text = f"torch.slice({text}, {dim}, {self._bounds(k)})"
                dim += 1
            elif dots and i == dots[0]:
                dim, after = -after, 0
                indices = [*indices, ...] if any(indices) else []
            elif _is_none(v):
                place = dim if dim >= 0 else dim - 1
                text = f"torch.unsqueeze({text}, {place})"
                dim += dim >= 0
            else:
                v = self.as_value(v, k)
                if v.type == INT:
                    text = f"torch.select({text}, {dim}, {v.text})"
                    dim += dim < 0
                elif v.type == TENSOR or v.type.name == "List":
                    if dim < 0 or ... in indices:
                        raise self.error(k, "a tensor can't be an index behind '...' here")
                    given = v.text if v.type == TENSOR else f"torch.tensor({v.text})"
                    indices += [None] * (dim - len(indices)) + [given]
                    dim += 1
                elif v.type == BOOL:
                    raise self.error(k, "a bool can't be an index in TorchScript")
                else:
                    raise self.error(
                        k, "Unsupported operation: indexing tensor with unsupported index type "
                        f"'{v.type}'. Only ints, slices, lists and tensors are supported"
                    )  # fmt: skip
        indices = [i for i in indices if i is not ...]
        return (f"torch.alias({text})" if text == base.text and not any(indices) else text), indices

    # ---- Comprehensions ---------------------------------------------------------------------
    def visit_ListComp(self: Any, node: ast.ListComp) -> Any:
        generator = self._generator(node)
        sequence = self.any(generator.iter)
        inner = self.expected.args[0] if self.expected and self.expected.name == "List" else None
        if self.is_unrolled(sequence):
            values = []
            for item in self.items_of(sequence, generator.iter):
                with self.scope():
                    self.bind(generator.target, item)
                    values.append(self.value(node.elt, inner))
            kind = unify_all(v.type for v in values)
            if kind is None:
                raise self.error(node, "a list's elements have to be of one type")
            text = f"[{', '.join(v.text for v in values)}]"
            return Value(text, list_of(kind), parts=tuple(values))
        sequence, item = self.iterated(sequence, generator.iter)
        with self.scope():
            target = self.bind_text(generator.target, item)
            value = self.value(node.elt, inner)
        kind = inner if inner is not None and is_subtype(value.type, inner) else value.type
        text = f"[{value.text} for {target} in {sequence}]"
        if kind != value.type:
            text = f"annotate(List[{kind}], {text})"
        return Value(text, list_of(kind))

    def visit_DictComp(self: Any, node: ast.DictComp) -> Value:
        generator = self._generator(node)
        sequence, item = self.iterated(self.any(generator.iter), generator.iter)
        with self.scope():
            target = self.bind_text(generator.target, item)
            key, value = self.value(node.key), self.value(node.value)
        kind = Type("Dict", (key.type, value.type))
        return Value(f"{{{key.text}: {value.text} for {target} in {sequence}}}", kind)

    def _generator(self: Any, node: Any) -> ast.comprehension:
        generator = node.generators[0]
        if len(node.generators) > 1:
            raise self.error(node, "Only a single generator is currently supported",
                             self.errors.NotSupportedError)  # fmt: skip
        if generator.ifs:
            raise self.error(node, "Comprehension ifs are not supported yet",
                             self.errors.NotSupportedError)  # fmt: skip
        return generator

    def visit_Starred(self: Any, node: ast.Starred) -> Any:
        raise self.error(node, "A Starred expression is only allowed in a call or an assignment")

    def is_module(self, found: Any) -> bool:
        """Whether it is a module."""
        return isinstance(found, Value) and getattr(found.type.info, "is_module", False)


def _is_none(found: Any) -> bool:
    return isinstance(found, Value) and found.type == NONE


def _optional_list(indices: list[str | None]) -> str:
    return f"annotate(List[Optional[Tensor]], [{', '.join(i or 'None' for i in indices)}])"


def called_op(value: Any) -> str | None:
    """The name by which ATen knows what a call calls, if it is one of its ops."""
    if isinstance(value, tuple) and len(value) == 2:
        return value[1] if value[0] == "aten" else None
    if isinstance(value, OpOverload):
        value = value.overloadpacket
    if isinstance(value, OpOverloadPacket):
        return value.__name__ if value.namespace == "aten" else None
    return None
