"""TorchScript's types: what annotations mean, which values have them, which stands for which."""

from __future__ import annotations

import builtins
import enum
import inspect
import types as python_types
import typing
from collections.abc import Callable, Iterable
from typing import Any as Anything

import taimatsu as torch
from taimatsu.futures import Future

from .annotations import BroadcastingList

__all__ = ["Broadcast", "Type", "from_annotation", "is_subtype", "of_value", "unify", "unify_all"]


class Type(typing.NamedTuple):
    """A type by its name in archives; ``args``: of containers; ``info``: what defines a class.

    ``info`` is the user's class of a NamedTuple or an enum, or the front end's record of a script
    class or module.
    """

    name: str
    args: tuple[Type, ...] = ()
    info: Anything = None

    def __str__(self) -> str:
        if self.name == "Tuple" and not self.args:
            return "Tuple[()]"
        return f"{self.name}[{', '.join(map(str, self.args))}]" if self.args else self.name

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Type) and self[:2] == other[:2]

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return hash(self[:2])

    @property
    def schema(self) -> str:
        """The type as schemas write it: ``int[]?``."""
        inner = [a.schema for a in self.args]
        match self.name:
            case "List":
                return f"{inner[0]}[]"
            case "Optional":
                return f"{inner[0]}?"
            case "Tuple" | "Dict":
                return f"{'' if self.name == 'Tuple' else 'Dict'}({', '.join(inner)})"
        return str(self)

    @property
    def optional(self) -> bool:
        """Whether None is one of its values."""
        return self.name in ("Optional", "NoneType") or (self.name == "Union" and NONE in self.args)

    @property
    def without_none(self) -> Type:
        """What is left when it isn't None."""
        if self.name == "Optional":
            return self.args[0]
        if self.name == "Union":
            return union(a for a in self.args if a != NONE)
        return self

    @property
    def fields(self) -> dict[str, Type] | None:
        """Of a NamedTuple: its fields."""
        return self.info.fields if isinstance(self.info, NamedTupleInfo) else None

    @property
    def items(self) -> tuple[Type, ...] | None:
        """Of a tuple, named or not: the types of its elements."""
        if self.name == "Tuple":
            return self.args
        return None if self.fields is None else tuple(self.fields.values())


class NamedTupleInfo(typing.NamedTuple):
    """A class made by NamedTuple."""

    cls: Anything
    fields: dict[str, Type]
    defaults: dict[str, Anything]


class Broadcast(typing.NamedTuple):
    """``BroadcastingListN[T]``: a list, for which one value may be given."""

    item: Type
    length: int
    optional: bool = False

    @property
    def type(self) -> Type:
        """The list's type."""
        return optional(list_of(self.item)) if self.optional else list_of(self.item)


(TENSOR, INT, FLOAT, BOOL, STR, COMPLEX, NUMBER, NONE, DEVICE, ANY, GENERATOR) = map(Type, (
    "Tensor", "int", "float", "bool", "str", "complex", "number", "NoneType", "Device", "Any",
    "Generator",
))  # fmt: skip
NUMBERS = (INT, FLOAT, COMPLEX, BOOL, NUMBER)


def list_of(item: Type) -> Type:
    return Type("List", (item,))


def dict_of(key: Type, value: Type) -> Type:
    return Type("Dict", (key, value))


def tuple_of(items: Iterable[Type]) -> Type:
    return Type("Tuple", tuple(items))


def optional(inner: Type) -> Type:
    return inner if inner.optional or inner == ANY else Type("Optional", (inner,))


def union(kinds: Iterable[Type]) -> Type:
    """One of several types."""
    flat: list[Type] = []
    for kind in kinds:
        parts = kind.args if kind.name == "Union" else (kind,)
        if kind.name == "Optional":
            parts = (kind.args[0], NONE)
        flat += [p for p in parts if p not in flat]
    if len(flat) == 1:
        return flat[0]
    if len(flat) == 2 and NONE in flat:
        return optional(next(k for k in flat if k != NONE))
    return Type("Union", tuple(flat))


def is_subtype(kind: Type, wanted: Type) -> bool:
    """Whether values of ``kind`` may stand where ``wanted`` is declared."""
    if kind == wanted or wanted == ANY:
        return True
    if wanted.name == "Optional":
        return kind == NONE or is_subtype(kind.without_none, wanted.args[0])
    if kind.name in ("Union", "Optional"):
        parts = kind.args if kind.name == "Union" else (kind.args[0], NONE)
        return all(is_subtype(k, wanted) for k in parts)
    if wanted.name == "Union":
        return any(is_subtype(kind, w) for w in wanted.args)
    if wanted == NUMBER:
        return kind in (INT, FLOAT, COMPLEX)
    if wanted.name == "Tuple" and kind.items is not None:
        return len(kind.items) == len(wanted.args) and all(
            map(is_subtype, kind.items, wanted.args)
        )
    return getattr(wanted.info, "is_interface", False) and wanted.info.is_met_by(kind)


def unify(first: Type, second: Type) -> Type | None:
    """The type of a value that is of the one or of the other; None if there is none."""
    if is_subtype(first, second):
        return second
    if is_subtype(second, first):
        return first
    if NONE in (first, second):
        return optional(first if second == NONE else second)
    if first.name == "Optional" or second.name == "Optional":
        inner = unify(first.without_none, second.without_none)
        return None if inner is None else optional(inner)
    if first.name == second.name == "Tuple" and len(first.args) == len(second.args):
        items = [unify(a, b) for a, b in zip(first.args, second.args, strict=True)]
        return None if None in items else tuple_of(typing.cast("list[Type]", items))
    return None


def unify_all(kinds: Iterable[Type]) -> Type | None:
    """`unify` of several."""
    found: Type | None = None
    for i, kind in enumerate(kinds):
        found = kind if i == 0 else found and unify(found, kind)
    return found


# ---- From Python --------------------------------------------------------------------------------
_PLAIN: dict[Anything, Type] = {
    torch.Tensor: TENSOR, torch.nn.Parameter: TENSOR, int: INT, float: FLOAT, bool: BOOL, str: STR,
    complex: COMPLEX, type(None): NONE, None: NONE, torch.device: DEVICE, torch.dtype: INT,
    torch.layout: INT, torch.memory_format: INT, typing.Any: ANY, torch.Generator: GENERATOR,
    torch.Size: list_of(INT), Future: Type("Future", (TENSOR,)),
    list: list_of(TENSOR), tuple: Type("Tuple"), dict: dict_of(STR, TENSOR),
    builtins.type(Ellipsis): ANY,
}  # fmt: skip
_KEYS = (STR, INT, FLOAT, COMPLEX, BOOL, TENSOR)

# How the front end turns a class, or a module, into a type.
ClassType = Callable[[type], Type]


def from_annotation(given: Anything, of_class: ClassType) -> Type | Broadcast:
    """The type that an annotation's value means. TypeError if TorchScript has none."""
    if isinstance(given, (Type, Broadcast)):
        return given
    try:
        if given in _PLAIN:
            return _PLAIN[given]
    except TypeError:  # not hashable
        raise TypeError(f"Unknown type annotation: {given!r}") from None
    origin, args = typing.get_origin(given), typing.get_args(given)
    inside = lambda kind: _plain(from_annotation(kind, of_class))
    if origin is typing.Annotated or origin is typing.Final:
        return from_annotation(args[0], of_class)
    if origin is list:
        return list_of(inside(args[0]))
    if origin is dict:
        key = inside(args[0])
        if key not in _KEYS:
            raise TypeError(f"Cannot create dict for key type '{key}', only int, float, complex, "
                            "Tensor, device and string keys are supported")  # fmt: skip
        return dict_of(key, inside(args[1]))
    if origin is tuple:
        if args and args[-1] is ...:
            raise TypeError("Tuples of any length aren't types of TorchScript: use List")
        return tuple_of(inside(a) for a in args if a != ())
    if origin in (typing.Union, python_types.UnionType):
        kinds = [from_annotation(a, of_class) for a in args]
        lists = [k for k in kinds if isinstance(k, Broadcast)]
        if lists:
            return lists[0]._replace(optional=NONE in kinds)
        return union(typing.cast("list[Type]", kinds))
    if origin is Future:
        return Type("Future", (inside(args[0]),))
    if isinstance(given, BroadcastingList):
        return Broadcast(inside(given.item), given.length)
    if inspect.isclass(given) and origin is None:
        return of_class(given)
    raise TypeError(f"Unknown type annotation: {given!r}")


def _plain(kind: Type | Broadcast) -> Type:
    return kind.type if isinstance(kind, Broadcast) else kind


def of_value(value: Anything, of_class: ClassType) -> Type | None:
    """The type of a Python value; None if TorchScript has none."""
    if isinstance(value, torch.Tensor):
        return TENSOR
    if value is None or isinstance(value, (bool, int, float, complex, str, torch.device)):
        kind = type(value)
        return _PLAIN.get(kind) or (of_class(kind) if isinstance(value, enum.Enum) else None)
    if isinstance(value, (torch.dtype, torch.layout, torch.memory_format)):
        return INT
    if isinstance(value, torch.Size):
        return list_of(INT)
    if isinstance(value, torch.Generator):
        return GENERATOR
    if isinstance(value, list):
        kinds = [of_value(v, of_class) for v in value]
        item = _common(kinds) if kinds else TENSOR
        return None if item is None else list_of(item)
    if isinstance(value, dict):
        keys = _common([of_value(k, of_class) for k in value]) if value else STR
        values = _common([of_value(v, of_class) for v in value.values()]) if value else TENSOR
        return None if keys not in _KEYS or values is None else dict_of(keys, values)
    if type(value) is tuple:
        items = [of_value(v, of_class) for v in value]
        return None if None in items else tuple_of(typing.cast("list[Type]", items))
    try:
        return of_class(type(value))
    except (TypeError, RuntimeError):
        return None


def _common(kinds: list[Type | None]) -> Type | None:
    return None if None in kinds else unify_all(typing.cast("list[Type]", kinds))
