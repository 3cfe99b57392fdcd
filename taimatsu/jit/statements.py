"""Statements: control flow, assignments, and the scopes that variables have."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from .types import (
    ANY,
    BOOL,
    FLOAT,
    INT,
    NONE,
    NUMBERS,
    STR,
    TENSOR,
    Type,
    is_subtype,
    list_of,
    unify,
)  # fmt: skip
from .values import Bound, Items, Static, Value, cast, empty_display, quoted

__all__ = ["Condition", "Frame", "Statements"]


class Condition:
    """A test: its text, whether its value is known, and what its outcomes tell of variables."""

    def __init__(
        self, text: str, static: bool | None = None, true: dict[str, Type] | None = None,
        false: dict[str, Type] | None = None,
    ):  # fmt: skip
        self.text, self.static, self.true, self.false = text, static, true or {}, false or {}

    def __invert__(self) -> Condition:
        known = None if self.static is None else not self.static
        return Condition(f"not ({self.text})", known, self.false, self.true)


class Frame:
    """The variables of a block. Those outside can be read, and keep their types."""

    def __init__(self, parent: Frame | None = None):
        self.parent, self.values = parent, {}  # type: ignore[var-annotated]
        self.missing: dict[str, str] = {}
        self.assigned: set[str] = set()

    def find(self, name: str) -> Any:
        """A variable; None if there is none."""
        frame: Frame | None = self
        while frame is not None:
            if name in frame.values:
                return frame.values[name]
            frame = frame.parent
        return None

    def why_missing(self, name: str) -> str | None:
        """Why a variable isn't there that was assigned somewhere."""
        frame: Frame | None = self
        while frame is not None:
            if name in frame.missing:
                return frame.missing[name]
            frame = frame.parent
        return None


class Statements:
    """A mixin of `compiler.Compiler`: `block` appends the lines of statements to `lines`.

    It gives whether the block is left before its end, by return, raise, break or continue.
    """

    def block(self: Any, body: list[ast.stmt]) -> bool:
        """The statements of a block."""
        for statement in body:
            visit = getattr(self, "visit_" + type(statement).__name__, None)
            if visit is None:
                raise self.source.unsupported(statement)
            if visit(statement):
                return True
        return False

    def emit(self: Any, line: str) -> None:
        """A line of the block."""
        self.lines.append("  " * self.depth + line)

    @contextmanager
    def nested(self: Any) -> Iterator[Frame]:
        """A block inside, which is ``pass`` if nothing is in it."""
        outer, self.frame = self.frame, Frame(self.frame)
        self.depth += 1
        count = len(self.lines)
        yield self.frame
        if len(self.lines) == count:
            self.emit("pass")
        self.depth -= 1
        self.frame = outer

    @contextmanager
    def scope(self: Any) -> Iterator[None]:
        """Variables of an expression: of a comprehension, or narrowed ones."""
        outer, self.frame = self.frame, Frame(self.frame)
        yield
        self.frame = outer

    @contextmanager
    def refined(self: Any, types: dict[str, Type]) -> Iterator[None]:
        """Where some variables are known to be of narrower types."""
        with self.scope():
            self.refine(types)
            yield

    def refine(self: Any, types: dict[str, Type]) -> None:
        """Variables are of narrower types from here on."""
        for name, kind in types.items():
            found = self.frame.find(name)
            if isinstance(found, Value) and found.type != kind:
                self.frame.values[name] = Value(found.text, kind)

    # ---- Simple statements ------------------------------------------------------------------
    def visit_Pass(self: Any, node: ast.Pass) -> None:
        pass

    def visit_Expr(self: Any, node: ast.Expr) -> None:
        if isinstance(node.value, ast.Constant):
            return  # a docstring
        found = self.any(node.value)
        if isinstance(found, Value) and found.text not in ("", "None"):
            self.emit(found.text)

    def visit_Return(self: Any, node: ast.Return) -> bool:
        wanted = self.returns
        value = Value("None", NONE) if node.value is None else self.value(node.value, wanted)
        if wanted is not None:
            if value.type == TENSOR and wanted in (INT, FLOAT):
                value = Value(f"{wanted}({value.text})", wanted)
            if not is_subtype(value.type, wanted) and not empty_display(value, wanted):
                raise self.error(
                    node, f"Return value was annotated as having type {wanted} but is actually of "
                    f"type {value.type}")  # fmt: skip
            value = Value(cast(value, wanted), wanted)
        self.returned.append((value.type, node))
        self.emit(f"return {value.text}")
        return True

    def visit_Raise(self: Any, node: ast.Raise) -> bool:
        name, message = "Exception", '""'
        error: ast.expr | None = node.exc
        if isinstance(error, ast.Call):
            kinds = [self.value(a) for a in error.args]
            shown = [k.text if k.type == STR else f"str({k.text})" for k in kinds]
            if len(shown) == 1:
                message = shown[0]
            elif shown:
                form = ", ".join(["{}"] * len(shown))
                message = f"torch.format({', '.join([quoted(form), *shown])})"
            error = error.func
        if error is not None:
            found = self.any(error)
            if not isinstance(found, Static) or not isinstance(found.value, type):
                raise self.error(node, "raise must be followed by an exception's class or instance")
            name = f"{found.value.__module__}.{found.value.__qualname__}"
        self.emit(f"ops.prim.RaiseException({message}, {quoted(name)})")
        self.emit(f"return {self.NEVER}")  # what leaves the block, for whoever reads this code
        return True

    def visit_Assert(self: Any, node: ast.Assert) -> bool | None:
        test = self.condition(node.test)
        message = '""' if node.msg is None else self.value(node.msg).text
        if test.static is not True:
            self.emit(f"assert {test.text}, {message}")
        self.refine(test.true)
        return True if test.static is False else None

    def visit_Break(self: Any, node: ast.Break) -> bool:
        return self._leave(node, "break")

    def visit_Continue(self: Any, node: ast.Continue) -> bool:
        return self._leave(node, "continue")

    def _leave(self: Any, node: ast.stmt, word: str) -> bool:
        if not self.loops or self.loops[-1] == "unrolled":
            raise self.error(
                node, "Because we emit iteration over Modulelists or Tuples as unrolled loops, we "
                "do not support break or continue inside the body of these loops")  # fmt: skip
        self.emit(word)
        return True

    def visit_Delete(self: Any, node: ast.Delete) -> None:
        for target in node.targets:
            if isinstance(target, ast.Subscript):
                base, key = self.value(target.value), self.value(target.slice)
                self.emit(f"torch.Delete({base.text}, {key.text})")
            elif isinstance(target, ast.Name):
                self.frame.values.pop(target.id, None)
                self.frame.missing[target.id] = f"undefined value {target.id}: it was deleted"
            else:
                raise self.source.unsupported(node)

    # ---- Assignments ------------------------------------------------------------------------
    def visit_Assign(self: Any, node: ast.Assign) -> None:
        hint = self._declared_by(node.targets[0])
        outer, self.expected = self.expected, hint
        found = self.any(node.value)
        self.expected = outer
        if len(node.targets) > 1 and isinstance(found, Value):
            name = self.fresh()
            self.emit(f"{name} = {found.text}")
            found = Value(name, found.type)
        for target in node.targets:
            self.assign(target, found, node)

    def _declared_by(self: Any, target: ast.expr) -> Type | None:
        """The type of what is assigned to, which an empty display takes."""
        if isinstance(target, ast.Name):
            found = self.frame.find(target.id)
            return found.type if isinstance(found, Value) else None
        if isinstance(target, ast.Attribute):
            base = self.any(target.value)
            fields = getattr(getattr(base, "type", None), "info", None)
            return getattr(fields, "fields", {}).get(target.attr)
        if isinstance(target, ast.Subscript):
            base = self.any(target.value)
            if isinstance(base, Value) and base.type.name in ("List", "Dict"):
                return base.type.args[-1]
        return None

    def of_type(self: Any, value: Value, kind: Type, node: ast.AST) -> Value:
        """A value under a declared type."""
        if not is_subtype(value.type, kind) and not empty_display(value, kind):
            raise self.error(
                node, f"Variable is annotated with type {kind} but is being assigned to a value of "
                f"type {value.type}")  # fmt: skip
        if value.type == kind:
            return value
        text = cast(value, kind)
        return Value(text if text != value.text else f"annotate({kind}, {text})", kind)

    def visit_AnnAssign(self: Any, node: ast.AnnAssign) -> None:
        kind = self.annotation(node.annotation)
        if node.value is None:
            raise self.error(node, "Expected a value: variables can't be declared without one")
        value = self.of_type(self.value(node.value, kind), kind, node)
        if isinstance(node.target, ast.Name) and self.frame.parent is not None:
            outer = self.frame.parent.find(node.target.id)
            if outer is not None:
                raise self.error(
                    node, "Attempting to declare and annotate the type of variable "
                    f"'{node.target.id}' that is already defined in an outer block")  # fmt: skip
        if isinstance(node.target, ast.Name):
            self.frame.values.pop(node.target.id, None)
        self.assign(node.target, value, node)

    def visit_AugAssign(self: Any, node: ast.AugAssign) -> None:
        target = node.target
        if isinstance(target, ast.Subscript):
            self._augment_item(node, target)
            return
        left, right = self.value(target), self.value(node.value)
        if isinstance(target, ast.Attribute):  # a tensor's write shows in the attribute
            result = self._augmented(node, left, right)
            if left.type == TENSOR:
                self.emit(result.text)
            else:
                self.assign(target, result, node)
            return
        self.assign(target, self._augmented(node, left, right), node)

    def _augmented(self: Any, node: ast.AugAssign, left: Value, right: Value) -> Value:
        if left.type == TENSOR:
            inplace = {
                ast.Add: "add_", ast.Sub: "sub_", ast.Mult: "mul_", ast.Div: "div_",
                ast.Mod: "remainder_", ast.Pow: "pow_", ast.FloorDiv: "floor_divide_",
                ast.BitAnd: "__iand__", ast.BitOr: "__ior__", ast.BitXor: "__ixor__",
                ast.LShift: "__ilshift__", ast.RShift: "__irshift__",
            }.get(type(node.op))  # fmt: skip
            if inplace is None or (right.type != TENSOR and right.type not in NUMBERS):
                return self.binary(node, type(node.op), left, right)
            return Value(f"torch.{inplace}({left.text}, {right.text})", TENSOR)
        if left.type.name == "List" and isinstance(node.op, ast.Add):
            text = cast(right, left.type)
            return Value(f"torch.add_({left.text}, {text})", left.type)
        return self.binary(node, type(node.op), left, right)

    def _augment_item(self: Any, node: ast.AugAssign, target: ast.Subscript) -> None:
        base, right = self.value(target.value), self.value(node.value)
        if base.type == TENSOR:
            text, indices = self.indexed(base, target.slice)
            if not any(indices):
                self.emit(self._augmented(node, Value(text, TENSOR), right).text)
                return
            old = self.tensor_item(base, target.slice, node)
            self.assign(target, self.binary(node, type(node.op), old, right), node)
            return
        key = self.value(target.slice)
        name = self.fresh()
        self.emit(f"{name} = {key.text}")
        item = Value(f"({base.text})[{name}]", base.type.args[-1])
        result = self._augmented(node, item, right)
        self.emit(f"torch._set_item({base.text}, {name}, {result.text})")

    def assign(self: Any, target: ast.expr, found: Any, node: ast.AST) -> None:
        """``target = found``."""
        if isinstance(target, ast.Name):
            self._assign_name(target, found, node)
        elif isinstance(target, (ast.Tuple, ast.List)):
            self._unpack(target, found, node)
        elif isinstance(target, ast.Attribute):
            self._assign_attribute(target, self.as_value(found, node), node)
        elif isinstance(target, ast.Subscript):
            self._assign_item(target, self.as_value(found, node), node)
        else:
            raise self.source.unsupported(target)

    def _assign_name(self: Any, target: ast.Name, found: Any, node: ast.AST) -> None:
        name = target.id
        if isinstance(found, (Static, Items, Bound)) or self.is_module(found):
            self.frame.values[name] = found
            return
        outer = self.frame.parent.find(name) if self.frame.parent is not None else None
        if isinstance(outer, Value):
            declared = outer.type
            if not is_subtype(found.type, declared) and not empty_display(found, declared):
                raise self.error(
                    node, f"Variable '{name}' previously had type {declared} but is now being "
                    f"assigned to a value of type {found.type}")  # fmt: skip
            found = Value(cast(found, declared), found.type)
        text = self.spelled(name)
        if found.text != text:
            self.emit(f"{text} = {found.text}")
        self.frame.values[name] = Value(text, found.type)
        self.frame.assigned.add(name)

    def _unpack(self: Any, target: Any, found: Any, node: ast.AST) -> None:
        if isinstance(found, Items):
            items = found.items
        else:
            items = self._unpacked(target, self.as_value(found, node), node)
        starred = [i for i, t in enumerate(target.elts) if isinstance(t, ast.Starred)]
        if starred:
            at, behind = starred[0], len(target.elts) - starred[0] - 1
            rest = items[at : len(items) - behind]
            middle: Any = (
                self.display(rest) if all(isinstance(r, Value) for r in rest) else Items(rest)
            )
            items = [*items[:at], middle, *items[len(items) - behind :]]
        if len(items) != len(target.elts):
            many = "Not enough" if len(items) < len(target.elts) else "Too many"
            raise self.error(
                node, f"{many} values to unpack: expected {len(target.elts)}; got {len(items)}"
            )
        for element, item in zip(target.elts, items, strict=True):
            inner = element.value if isinstance(element, ast.Starred) else element
            self.assign(inner, item, node)

    def _unpacked(self: Any, target: Any, value: Value, node: ast.AST) -> list[Value]:
        """The elements of a value, in variables where they are computed."""
        count = len(target.elts)
        if value.type.items is not None:
            if value.parts is not None:  # all are computed before any is assigned
                names = [self.fresh() for _ in value.parts]
                for name, part in zip(names, value.parts, strict=True):
                    self.emit(f"{name} = {part.text}")
                return [Value(n, p.type) for n, p in zip(names, value.parts, strict=True)]
            name = self.fresh()
            self.emit(f"{name} = {value.text}")
            return [Value(name, value.type).part(i) for i in range(len(value.type.items))]
        name = self.fresh()
        if value.type.name == "List":
            item = value.type.args[0]
            if any(isinstance(t, ast.Starred) for t in target.elts):
                raise self.error(node, "a list can't be unpacked into a starred name")
        elif value.type == TENSOR:
            value, item = Value(f"torch.unbind({value.text})", list_of(TENSOR)), TENSOR
        else:
            raise self.error(node, f"a {value.type} can't be unpacked")
        names = [self.fresh() for _ in range(count)]
        self.emit(f"{', '.join(names)}{',' * (count == 1)} = {value.text}")
        return [Value(n, item) for n in names]

    def _assign_attribute(self: Any, target: ast.Attribute, value: Value, node: ast.AST) -> None:
        base = self.any(target.value)
        info = getattr(getattr(base, "type", None), "info", None)
        if info is None or not hasattr(info, "assign"):
            raise self.error(node, f"attributes of {getattr(base, 'type', base)} can't be assigned")
        self.emit(info.assign(self, base, target.attr, value, node))

    def _assign_item(self: Any, target: ast.Subscript, value: Value, node: ast.AST) -> None:
        base = self.value(target.value)
        kind = base.type
        if kind == TENSOR:
            text, indices = self.indexed(base, target.slice)
            if value.type in NUMBERS:
                made = f"torch.tensor({value.text}, dtype=ops.prim.dtype({base.text}), "
                value = Value(f"{made}device=ops.prim.device({base.text}))", TENSOR)
            if value.type != TENSOR:
                raise self.error(node, f"a tensor's elements can't be a {value.type}")
            if any(indices):
                listed = ", ".join(i or "None" for i in indices)
                given = f"annotate(List[Optional[Tensor]], [{listed}])"
                self.emit(f"torch.index_put_({text}, {given}, {value.text})")
            else:
                self.emit(f"torch.copy_({text}, {value.text})")
            return
        if hasattr(kind.info, "assign_item"):
            self.emit(kind.info.assign_item(self, base, target, value, node))
            return
        if kind.name not in ("List", "Dict"):
            raise self.error(node, f"'{kind}' object does not support item assignment")
        key, item = self.value(target.slice), kind.args[-1]
        if not is_subtype(value.type, item) and not empty_display(value, item):
            raise self.error(node, f"an item of {kind} can't be a {value.type}")
        self.emit(f"torch._set_item({base.text}, {key.text}, {cast(value, item)})")

    # ---- Branches ---------------------------------------------------------------------------
    def visit_If(self: Any, node: ast.If) -> bool | None:
        test = self.condition(node.test)
        if test.static is not None:
            self.refine(test.true if test.static else test.false)
            return self.block(node.body if test.static else node.orelse)
        self.emit(f"if {test.text}:")
        with self.nested() as true:
            self.refine(test.true)
            true_left = self.block(node.body)
        self.emit("else:")
        with self.nested() as false:
            self.refine(test.false)
            false_left = self.block(node.orelse)
        if true_left and false_left:
            return True
        if true_left or false_left:
            kept = false if true_left else true
            self.frame.values |= kept.values
            self.frame.assigned |= kept.assigned
            self.frame.missing |= kept.missing
            return None
        self._merge(node, true, false)
        return None

    def _merge(self: Any, node: ast.If, true: Frame, false: Frame) -> None:
        """The variables after an if."""
        self.frame.missing |= true.missing | false.missing
        for name in sorted(true.assigned | false.assigned):
            first, second = true.find(name), false.find(name)
            if first is None or second is None:
                branch = "true" if first is None else "false"
                self.frame.missing[name] = f"{name} is not defined in the {branch} branch"
                continue
            if not isinstance(first, Value) or not isinstance(second, Value):
                self.frame.missing[name] = f"{name} is not a value in one of the branches"
                continue
            kind = unify(first.type, second.type)
            if kind is None:
                self.frame.values.pop(name, None)
                self.frame.missing[name] = (
                    f"Type mismatch: {name} is set to type {first.type} in the true branch and "
                    f"type {second.type} in the false branch"
                )
                continue
            self.frame.values[name] = Value(first.text, kind)
            self.frame.assigned.add(name)

    # ---- Loops ------------------------------------------------------------------------------
    def visit_While(self: Any, node: ast.While) -> None:
        if node.orelse:
            raise self.error(node, "else branches of while loops aren't supported",
                             self.errors.NotSupportedError)  # fmt: skip
        test = self.condition(node.test)
        if test.static is False:
            return
        self.emit(f"while {test.text}:")
        self._body(node.body, lambda: self.refine(test.true))

    def _body(self: Any, body: list[ast.stmt], prepare: Any) -> None:
        self.loops.append("loop")
        with self.nested() as inner:
            prepare()
            self.block(body)
        self.loops.pop()
        for name in inner.assigned:
            if self.frame.find(name) is None:
                self.frame.missing[name] = f"undefined value {name}: the loop may not be entered"

    def visit_For(self: Any, node: ast.For) -> bool | None:
        if node.orelse:
            raise self.error(node, "else branches of for loops aren't supported",
                             self.errors.NotSupportedError)  # fmt: skip
        sequence = self.any(node.iter)
        if self.is_unrolled(sequence):
            self.loops.append("unrolled")
            for item in self.items_of(sequence, node.iter):
                self.bind(node.target, item)
                if self.block(node.body):
                    self.loops.pop()
                    return True
            self.loops.pop()
            return None
        text, item = self.iterated(sequence, node.iter)
        place = len(self.lines)
        self.emit("")

        def prepare() -> None:
            target = self.bind_text(node.target, item)
            self.lines[place] = "  " * (self.depth - 1) + f"for {target} in {text}:"

        self._body(node.body, prepare)
        return None

    def is_unrolled(self: Any, sequence: Any) -> bool:
        """Whether a loop over it is unrolled: its length is known, or its types differ."""
        if isinstance(sequence, Items):
            return True
        if not isinstance(sequence, Value):
            return False
        return sequence.type.items is not None or getattr(sequence.type.info, "iterable", False)

    def items_of(self: Any, sequence: Any, node: ast.AST) -> list[Any]:
        """The items of a sequence whose length is known."""
        if isinstance(sequence, Items):
            return sequence.items
        if sequence.type.items is not None:
            return [sequence.part(i) for i in range(len(sequence.type.items))]
        return sequence.type.info.sequence(self, sequence, node).items

    def iterated(self: Any, sequence: Any, node: ast.AST) -> tuple[str, Type]:
        """The text of what is looped over, and the type of an item."""
        if isinstance(sequence, Bound):  # range, enumerate, zip
            raise self.error(node, f"'{sequence.name}' object is not iterable")
        value = self.as_value(sequence, node)
        kind = value.type
        if kind.name in ("List", "Iterable"):
            return value.text, kind.args[0]
        if kind.name == "Dict":
            return f"torch.keys({value.text})", kind.args[0]
        if kind == TENSOR:
            return f"torch.unbind({value.text})", TENSOR
        if kind == STR:
            return f"list({value.text})", STR
        raise self.error(node, f"'{kind}' object is not iterable")

    def bind(self: Any, target: ast.expr, item: Any) -> None:
        """A loop's variable, in a loop that is unrolled."""
        if isinstance(item, Items) and isinstance(target, ast.Tuple):
            for inner, part in zip(target.elts, item.items, strict=True):
                self.bind(inner, part)
        elif isinstance(item, Value) and not self.is_module(item) and isinstance(target, ast.Name):
            self.frame.values[target.id] = item
        else:
            self.assign(target, item, target)

    def bind_text(self: Any, target: ast.expr, kind: Type) -> str:
        """A loop's variables, and how the loop spells them."""
        if isinstance(target, ast.Name):
            text = self.spelled(target.id)
            self.frame.values[target.id] = Value(text, kind)
            self.frame.assigned.add(target.id)
            return text
        if isinstance(target, (ast.Tuple, ast.List)) and kind.items is not None:
            if len(kind.items) != len(target.elts):
                raise self.error(target, f"{len(target.elts)} names for the elements of {kind}")
            texts = [self.bind_text(t, k) for t, k in zip(target.elts, kind.items, strict=True)]
            return f"({', '.join(texts)}{',' * (len(texts) == 1)})"
        raise self.error(target, f"a {kind} can't be unpacked here")

    # ---- With -------------------------------------------------------------------------------
    def visit_With(self: Any, node: ast.With) -> bool | None:
        for item in node.items:
            value = self.value(item.context_expr)
            info = value.type.info
            if not hasattr(info, "enter"):
                raise self.error(item.context_expr, f"With item expression must be an object with "
                                 f"__enter__ and __exit__; got {value.type}")  # fmt: skip
            entered = info.enter(self, value, node)
            name = ""
            if item.optional_vars is not None:
                assert isinstance(item.optional_vars, ast.Name)
                name = f" as {self.spelled(item.optional_vars.id)}"
                self.frame.values[item.optional_vars.id] = Value(
                    self.spelled(item.optional_vars.id), entered
                )
            self.emit(f"with {value.text}{name}:")
            self.depth += 1
        count = len(self.lines)
        left = self.block(node.body)
        if len(self.lines) == count:
            self.emit("pass")
        self.depth -= len(node.items)
        return left

    # ---- Conditions -------------------------------------------------------------------------
    def condition(self: Any, node: ast.expr) -> Condition:
        """A test: of a branch, a loop, an assertion."""
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            return ~self.condition(node.operand)
        if isinstance(node, ast.BoolOp):
            return self._connected(node)
        if isinstance(node, ast.Compare):
            return self._compared(node)
        if isinstance(node, ast.Call):
            found = self.predicate(node)
            if found is not None:
                return found
        found = self.any(node)
        if isinstance(found, Items):
            return Condition(str(bool(found.items)), bool(found.items))
        value = self.as_value(found, node)
        if value.type == NONE:
            return Condition("False", False)
        if isinstance(value.const, bool):
            return Condition(str(value.const), value.const)
        if value.type == BOOL:
            return Condition(value.text)
        if value.type == TENSOR or value.type in NUMBERS:
            return Condition(f"bool({value.text})")
        raise self.error(
            node, f"Could not cast value of type {value.type} to bool"
        )

    def condition_value(self: Any, node: ast.expr) -> Value:
        """A test's outcome; of a comparison of tensors a tensor."""
        if isinstance(node, ast.Compare) and len(node.ops) == 1:
            op = node.ops[0]
            if not isinstance(op, (ast.Is, ast.IsNot)):
                left, right = self.value(node.left), self.value(node.comparators[0])
                return self.comparison(node, op, left, right)
        test = self.condition(node)
        known = {} if test.static is None else {"const": test.static}
        return Value(f"({test.text})", BOOL, **known)

    def _connected(self: Any, node: ast.BoolOp) -> Condition:
        conjunction = isinstance(node.op, ast.And)
        texts: list[str] = []
        known: dict[str, Type] = {}  # where all of them so far had the outcome that goes on
        single: dict[str, Type] | None = None
        for operand in node.values:
            with self.refined(known):
                test = self.condition(operand)
            if test.static is not None:
                if test.static != conjunction:  # it decides, whatever the others are
                    return Condition(str(test.static), test.static)
                continue
            texts.append(f"({test.text})" if len(node.values) > 1 else test.text)
            known |= test.true if conjunction else test.false
            single = (test.false if conjunction else test.true) if single is None else {}
        if not texts:
            return Condition(str(conjunction), conjunction)
        text = _joined(texts, conjunction)
        if conjunction:
            return Condition(text, None, known, single)
        return Condition(text, None, single, known)

    def _compared(self: Any, node: ast.Compare) -> Condition:
        if len(node.ops) == 1:
            op, right = node.ops[0], node.comparators[0]
            if isinstance(op, (ast.Is, ast.IsNot)):
                return self._identity(node, node.left, op, right)
            left, second = self.value(node.left), self.value(right)
            value = self.comparison(node, op, left, second)
            known = self.folded(op, left, second)
            text = value.text if value.type == BOOL else f"bool({value.text})"
            return Condition(text, known)
        values = [self.value(v) for v in (node.left, *node.comparators)]
        pairs = zip(node.ops, values, values[1:], strict=False)
        texts = [self.comparison(node, op, a, b).text for op, a, b in pairs]
        return Condition(" and ".join(f"({t})" for t in texts))

    def _identity(
        self: Any, node: ast.AST, first: ast.expr, op: ast.cmpop, second: ast.expr
    ) -> Condition:
        negated = isinstance(op, ast.IsNot)
        left, right = self.any(first), self.any(second)
        if isinstance(left, (Items, Bound)) or self.is_module(left) or isinstance(left, Static):
            same = isinstance(left, Static) and isinstance(right, Static)
            same = same and left.value is right.value
            return Condition(str(same != negated), same != negated)
        left, right = self.as_value(left, first), self.as_value(right, second)
        if right.type != NONE and left.type == NONE:
            left, right, first = right, left, second
        if right.type != NONE:
            text = f"torch.{'__isnot__' if negated else '__is__'}({left.text}, {right.text})"
            return Condition(text)
        if left.type == NONE or (not left.type.optional and left.type != ANY):
            outcome = (left.type == NONE) != negated
            return Condition(str(outcome), outcome)
        word = "is not" if negated else "is"
        found = {}
        if isinstance(first, ast.Name) and left.type != ANY:
            found = {first.id: left.type.without_none}
        text = f"{left.text} {word} None"
        return Condition(text, None, *((found, {}) if negated else ({}, found)))


def _joined(texts: list[str], conjunction: bool) -> str:
    return texts[0][1:-1] if len(texts) == 1 else (" and " if conjunction else " or ").join(texts)
