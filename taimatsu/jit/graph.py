"""The ops of a compiled function as a graph, made from its text: what ``.graph`` shows.

    graph(%x : Tensor):
      %1 : int = prim::Constant[value=2]()
      %2 : Tensor = aten::mul(%x, %1)
      return (%2)
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Any

from . import schemas
from .language import Code, dotted

__all__ = ["Block", "Graph", "Node", "Value", "graph_of"]

_OPERATORS = {
    ast.Is: "aten::__is__", ast.IsNot: "aten::__isnot__", ast.Not: "aten::__not__",
    ast.And: "aten::__and__", ast.Or: "aten::__or__",
}  # fmt: skip


class Value:
    """A value in a graph, by its name, and the node that makes it."""

    def __init__(self, name: str, kind: str, node: Node | None = None):
        self._name, self._kind, self._node = name, kind, node

    def debugName(self) -> str:
        """Its name, without the "%"."""
        return self._name

    def type(self) -> str:
        """Its type, as text; "Any" if the text doesn't tell."""
        return self._kind

    def node(self) -> Node | None:
        """What makes it; None for an input."""
        return self._node

    def __str__(self) -> str:
        return f"%{self._name}"


class Block:
    """Nodes in order: of a graph, a branch, or a loop's body."""

    def __init__(self) -> None:
        self._nodes: list[Node] = []
        self._inputs: list[Value] = []
        self._outputs: list[Value] = []

    def nodes(self) -> Iterator[Node]:
        """The nodes in order."""
        return iter(self._nodes)

    def inputs(self) -> Iterator[Value]:
        """What is given."""
        return iter(self._inputs)

    def outputs(self) -> Iterator[Value]:
        """What is returned."""
        return iter(self._outputs)

    def findAllNodes(self, kind: str, recurse: bool = True) -> list[Node]:
        """The nodes of a kind, those in blocks included."""
        found = []
        for node in self._nodes:
            if node.kind() == kind:
                found.append(node)
            for block in node.blocks() if recurse else ():
                found += block.findAllNodes(kind)
        return found

    def findNode(self, kind: str, recurse: bool = True) -> Node | None:
        """The first node of a kind."""
        return next(iter(self.findAllNodes(kind, recurse)), None)

    def _lines(self, depth: int) -> list[str]:
        return [line for node in self._nodes for line in node._lines(depth)]


class Node:
    """An op: its kind, such as "aten::add", inputs, outputs and constants."""

    def __init__(self, kind: str, inputs: list[Value], attributes: dict[str, Any]):
        self._kind, self._inputs, self._attributes = kind, inputs, attributes
        self._outputs: list[Value] = []
        self._blocks: list[Block] = []

    def kind(self) -> str:
        """The op's name."""
        return self._kind

    def inputs(self) -> Iterator[Value]:
        """The arguments."""
        return iter(self._inputs)

    def outputs(self) -> Iterator[Value]:
        """The results."""
        return iter(self._outputs)

    def output(self) -> Value:
        """The only result."""
        (found,) = self._outputs
        return found

    def blocks(self) -> Iterator[Block]:
        """The branches, or a loop's body."""
        return iter(self._blocks)

    def attributeNames(self) -> list[str]:
        """The names of its constants."""
        return list(self._attributes)

    def s(self, name: str) -> str:
        """A constant that is a string."""
        return self._attributes[name]

    i = f = s

    def _lines(self, depth: int) -> list[str]:
        margin = "  " * depth
        left = ", ".join(f"{o} : {o.type()}" for o in self._outputs)
        given = ", ".join(map(str, self._inputs))
        names = ", ".join(f"{k}={_shown(v)}" for k, v in self._attributes.items())
        lines = [f"{margin}{left} = {self._kind}{f'[{names}]' if names else ''}({given})"]
        for i, block in enumerate(self._blocks):
            head = ", ".join(f"{v} : {v.type()}" for v in block._inputs)
            lines.append(f"{margin}  block{i}({head}):")
            lines += block._lines(depth + 2)
            lines.append(f"{margin}    -> ({', '.join(map(str, block._outputs))})")
        return lines

    def __str__(self) -> str:
        return "\n".join(self._lines(0)) + "\n"


def _shown(value: Any) -> str:
    return f'"{value}"' if isinstance(value, str) else f"{value}"


class Graph(Block):
    """The ops of a function."""

    def __str__(self) -> str:
        head = ",\n      ".join(f"{v} : {v.type()}" for v in self._inputs)
        body = "".join(line + "\n" for line in self._lines(1))
        return f"graph({head}):\n{body}  return ({', '.join(map(str, self._outputs))})\n"

    __repr__ = __str__


class _Builder:
    """Statements to nodes. Variables are the values that they are at the time."""

    def __init__(self, code: Code):
        self.code = code
        self.names: dict[str, Value] = {}
        self.block: Block = Graph()
        self.count = 0

    def node(self, kind: str, inputs: list[Value], results: list[str], **attributes: Any) -> Node:
        made = Node(kind, inputs, attributes)
        for result in results:
            made._outputs.append(Value(str(self.count), result, made))
            self.count += 1
        self.block._nodes.append(made)
        return made

    def function(self, definition: ast.FunctionDef) -> Graph:
        graph = self.block
        assert isinstance(graph, Graph)
        for arg in definition.args.args:
            kind = ast.unparse(arg.annotation) if arg.annotation else "Tensor"
            graph._inputs.append(Value(arg.arg, kind))
            self.names[arg.arg] = graph._inputs[-1]
        self.statements(definition.body)
        return graph

    # ---- Statements -------------------------------------------------------------------------
    def statements(self, body: list[ast.stmt]) -> None:
        for statement in body:
            match statement:
                case ast.Assign(targets=[target], value=value):
                    self.assign(target, self.value(value))
                case ast.AnnAssign(target=target, value=ast.expr() as value):
                    self.assign(target, self.value(value))
                case ast.Expr(value=value):
                    self.value(value)
                case ast.Return(value=value):
                    self.block._outputs = [] if value is None else [self.value(value)]
                case ast.If():
                    self.branch(statement)
                case ast.For() | ast.While():
                    self.loop(statement)
                case ast.Assert(test=test, msg=message):
                    given = [self.value(test), *([self.value(message)] if message else [])]
                    self.node("prim::RaiseException", given[1:], [])
                case ast.With(items=items, body=inner):
                    entered = [self.value(i.context_expr) for i in items]
                    self.node("prim::Enter", entered, ["Any"])
                    self.statements(inner)
                    self.node("prim::Exit", entered, ["Any"])
                case ast.Break() | ast.Continue():
                    self.node(f"prim::{type(statement).__name__}Stmt", [], [])

    def assign(self, target: ast.expr, value: Value) -> None:
        match target:
            case ast.Name(id=name):
                self.names[name] = value
            case ast.Tuple(elts=elements):
                unpacked = self.node("prim::TupleUnpack", [value], ["Any"] * len(elements))
                for element, item in zip(elements, unpacked.outputs(), strict=True):
                    self.assign(element, item)
            case ast.Attribute(value=base, attr=name):
                self.node("prim::SetAttr", [self.value(base), value], [], name=name)

    def branch(self, statement: ast.If) -> None:
        node = self.node("prim::If", [self.value(statement.test)], [])
        before = dict(self.names)
        after = [self.inside(node, body, before) for body in (statement.body, statement.orelse)]
        changed = [n for n in after[0] if n in after[1] and not (
            after[0][n] is after[1][n] is before.get(n))]  # fmt: skip
        for name in changed:
            for block, names in zip(node._blocks, after, strict=True):
                block._outputs.append(names[name])
            node._outputs.append(Value(f"{name}.{self.count}", after[0][name].type(), node))
            self.count += 1
            self.names[name] = node._outputs[-1]

    def inside(self, node: Node, body: list[ast.stmt], names: dict[str, Value]) -> dict[str, Value]:
        outer, self.block = self.block, Block()
        node._blocks.append(self.block)
        self.names = dict(names)
        self.statements(body)
        found, self.names, self.block = self.names, dict(names), outer
        return found

    def loop(self, statement: ast.For | ast.While) -> None:
        head = statement.test if isinstance(statement, ast.While) else statement.iter
        node = self.node("prim::Loop", [self.value(head)], [])
        before = dict(self.names)
        inner = dict(before)
        item = Value(f"i.{self.count}", "int")
        self.count += 1
        if isinstance(statement, ast.For):
            for target in ast.walk(statement.target):
                if isinstance(target, ast.Name):
                    inner[target.id] = item
        after = self.inside(node, statement.body, inner)
        node._blocks[-1]._inputs.append(item)
        self.names = before
        for name, value in before.items():
            if after.get(name) is not value and name in after:
                node._blocks[-1]._outputs.append(after[name])
                node._inputs.append(value)
                node._outputs.append(Value(f"{name}.{self.count}", value.type(), node))
                self.count += 1
                self.names[name] = node._outputs[-1]

    # ---- Expressions ------------------------------------------------------------------------
    def value(self, node: ast.expr) -> Value:
        match node:
            case ast.Name(id=name) if name in self.names:
                return self.names[name]
            case ast.Constant(value=constant):
                kind = "NoneType" if constant is None else type(constant).__name__
                given = {} if constant is None else {"value": constant}
                return self.node("prim::Constant", [], [kind], **given).output()
            case ast.List(elts=items) | ast.Tuple(elts=items):
                values = [self.value(i) for i in items]
                word = type(node).__name__
                kinds = [v.type() for v in values]
                inner = ", ".join(kinds[:1] if word == "List" else kinds)
                return self.node(f"prim::{word}Construct", values, [f"{word}[{inner}]"]).output()
            case ast.Dict(keys=keys, values=items):
                pairs = [self.value(x) for p in zip(keys, items, strict=True) for x in p if x]
                return self.node("prim::DictConstruct", pairs, ["Dict"]).output()
            case ast.Attribute():
                return self.attribute(node)
            case ast.Subscript(value=base, slice=key):
                return self.op("aten::__getitem__", [base, key], "Any")
            case ast.Compare(left=left, ops=[op], comparators=[right]):
                return self.op(_OPERATORS[type(op)], [left, right], "bool")
            case ast.BoolOp(op=op, values=parts):
                return self.op(_OPERATORS[type(op)], parts, "bool")
            case ast.UnaryOp(op=ast.Not(), operand=inner_node):
                return self.op("aten::__not__", [inner_node], "bool")
            case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=number)):
                return self.value(ast.Constant(-number))  # type: ignore[operator]
            case ast.IfExp(test=test, body=body, orelse=other):
                made = self.node("prim::If", [self.value(test)], [])
                for branch in (body, other):
                    outer, self.block = self.block, Block()
                    made._blocks.append(self.block)
                    self.block._outputs.append(self.value(branch))
                    self.block = outer
                made._outputs.append(
                    Value(str(self.count), made._blocks[0]._outputs[0].type(), made)
                )
                self.count += 1
                return made.output()
            case ast.Call():
                return self.call(node)
            case ast.ListComp(generators=generators):
                return self.op("prim::Loop", [g.iter for g in generators], "List")
        return self.node("prim::Constant", [], ["Any"], value=ast.unparse(node)).output()

    def op(self, kind: str, parts: list[ast.expr], result: str) -> Value:
        return self.node(kind, [self.value(p) for p in parts], [result]).output()

    def attribute(self, node: ast.Attribute) -> Value:
        names = dotted(node)
        if names and names[0] == "CONSTANTS":
            index = int(names[1].removeprefix("c"))
            value = f"<Tensor {list(self.code.constants[index].shape)}>"
            return self.node("prim::Constant", [], ["Tensor"], value=value).output()
        base = self.value(node.value)
        kind = self.field(base.type(), node.attr)
        return self.node("prim::GetAttr", [base], [kind], name=node.attr).output()

    def field(self, owner: str, name: str) -> str:
        """The type of a class's attribute."""
        definition = self.code.defines(owner) if owner.startswith("__torch__") else None
        for part in getattr(definition, "body", ()):
            if isinstance(part, ast.AnnAssign) and isinstance(part.target, ast.Name):
                if part.target.id == name:
                    return ast.unparse(part.annotation)
            elif (
                isinstance(part, ast.Assign) and isinstance(part.targets[0], ast.Subscript)
                and ast.literal_eval(part.targets[0].slice) == name
            ):  # fmt: skip
                return ast.unparse(part.value)
        return "Any"

    def call(self, node: ast.Call) -> Value:
        names = dotted(node.func) or []
        if names and names[0] in ("annotate", "unchecked_cast"):
            inner = self.value(node.args[1])
            return Value(inner._name, ast.unparse(node.args[0]), inner._node)
        if names and names[0] == "getattr":
            base, name = self.value(node.args[0]), ast.literal_eval(node.args[1])
            kind = self.field(base.type(), name)
            return self.node("prim::GetAttr", [base], [kind], name=name).output()
        given = [self.value(a) for a in (*node.args, *(k.value for k in node.keywords))]
        if names and names[0] in ("torch", "ops"):
            space = names[1] if names[0] == "ops" else "aten"
            return self._made(self.node(f"{space}::{names[-1]}", given, [_result(names, given)]))
        if names and names[0] == "__torch__":
            found = self.code.defines(".".join(names))
            kind = _returned(found) if isinstance(found, ast.FunctionDef) else ".".join(names)
            word = "CallFunction" if isinstance(found, ast.FunctionDef) else "CreateObject"
            return self._made(self.node(f"prim::{word}", given, [kind], name=".".join(names)))
        if isinstance(node.func, ast.Attribute):
            base = self.value(node.func.value)
            kind = self.method(base.type(), node.func.attr)
            made = self.node("prim::CallMethod", [base, *given], [kind], name=node.func.attr)
            return self._made(made)
        names = names or ["call"]
        kind = names[0] if names[0] in ("int", "float", "bool", "str") else "Any"
        words = {"print": "Print", "int": "Int", "float": "Float", "bool": "Bool"}
        return self._made(self.node(f"aten::{words.get(names[0], names[0])}", given, [kind]))

    def _made(self, node: Node) -> Value:
        return node._outputs[0]

    def method(self, owner: str, name: str) -> str:
        """What a class's method returns."""
        definition = self.code.defines(owner) if owner.startswith("__torch__") else None
        for part in getattr(definition, "body", ()):
            if isinstance(part, ast.FunctionDef) and part.name == name:
                return _returned(part)
        return "Any"


_TESTS = frozenset(("eq", "ne", "lt", "gt", "le", "ge", "__contains__", "__not__"))


def _result(names: list[str], given: list[Value]) -> str:
    """What an op returns, as far as its schema and the arguments tell."""
    found = schemas.overloads(names[-1]) if names[0] == "torch" else []
    plain = bool(given) and all(g.type() in ("int", "float", "bool", "str") for g in given)
    if plain and (not found or str(found[0].returns) == "Tensor"):
        if names[-1] in _TESTS:
            return "bool"
        return "float" if "float" in (g.type() for g in given) else given[0].type()
    return str(found[0].returns) if found else "Any"


def _returned(definition: ast.FunctionDef) -> str:
    return ast.unparse(definition.returns) if definition.returns else "Tensor"


def graph_of(code: Code, qualified: str, method: str = "") -> Graph:
    """The graph of a function, or of a class's method. RuntimeError if there is none."""
    found: Any = code.defines(qualified)
    if method:
        found = next((p for p in getattr(found, "body", ())
                      if isinstance(p, ast.FunctionDef) and p.name == method), None)  # fmt: skip
    if not isinstance(found, ast.FunctionDef):
        raise RuntimeError(f"jit: {qualified} has no method {method}")
    return _Builder(code).function(found)
