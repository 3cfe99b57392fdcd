"""Attributes of tensors, and the methods of strings, lists, dicts and futures."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .types import (
    BOOL,
    DEVICE,
    INT,
    NONE,
    STR,
    TENSOR,
    Type,
    is_subtype,
    list_of,
    optional,
    tuple_of,
    unify,
)  # fmt: skip
from .values import Bound, Value, cast, empty_display

__all__ = ["CASTS", "TENSOR_ATTRIBUTES", "method"]

TENSOR_ATTRIBUTES: dict[str, tuple[str, Type]] = {
    "shape": ("torch.size({})", list_of(INT)), "T": ("torch.numpy_T({})", TENSOR),
    "mT": ("torch.transpose({}, -2, -1)", TENSOR), "dtype": ("ops.prim.dtype({})", INT),
    "device": ("ops.prim.device({})", DEVICE), "layout": ("ops.prim.layout({})", INT),
    "data": ("ops.prim.data({})", TENSOR), "grad": ("ops.prim.grad({})", optional(TENSOR)),
    "is_cuda": ("ops.prim.is_cuda({})", BOOL), "is_sparse": ("ops.prim.is_sparse({})", BOOL),
    "is_quantized": ("ops.prim.is_quantized({})", BOOL),
    "requires_grad": ("ops.prim.requires_grad({})", BOOL), "ndim": ("torch.dim({})", INT),
    "is_leaf": ("torch.is_leaf({})", BOOL), "itemsize": ("ops.prim.itemsize({})", INT),
    "real": ("torch.real({})", TENSOR), "imag": ("torch.imag({})", TENSOR),
    "is_meta": ("ops.prim.is_meta({})", BOOL), "names": ("ops.prim.names({})", list_of(STR)),
}  # fmt: skip
CASTS = {
    "float": "float32", "double": "float64", "half": "float16", "bfloat16": "bfloat16",
    "int": "int32", "long": "int64", "short": "int16", "char": "int8", "byte": "uint8",
    "bool": "bool", "cfloat": "complex64", "cdouble": "complex128",
}  # fmt: skip

# name: types of the arguments, the last `count` of which may be left out; the result's.
_STRINGS: dict[str, tuple[tuple[Type, ...], int, Type]] = {
    **dict.fromkeys(("upper", "lower", "title", "capitalize", "swapcase"), ((), 0, STR)),
    **dict.fromkeys(("strip", "lstrip", "rstrip"), ((STR,), 1, STR)),
    **dict.fromkeys(("find", "rfind", "index", "rindex", "count"), ((STR, INT, INT), 2, INT)),
    **dict.fromkeys(("startswith", "endswith"), ((STR, INT, INT), 2, BOOL)),
    **{f"is{what}": ((), 0, BOOL) for what in (
        "digit", "alpha", "alnum", "upper", "lower", "space", "decimal", "numeric", "title",
        "identifier", "printable",
    )},
    **dict.fromkeys(("center", "ljust", "rjust"), ((INT, STR), 1, STR)),
    "split": ((STR, INT), 2, list_of(STR)), "rsplit": ((STR, INT), 2, list_of(STR)),
    "splitlines": ((BOOL,), 1, list_of(STR)), "join": ((list_of(STR),), 0, STR),
    "replace": ((STR, STR, INT), 1, STR), "zfill": ((INT,), 0, STR),
    "expandtabs": ((INT,), 1, STR),
    "partition": ((STR,), 0, tuple_of((STR, STR, STR))),
    "rpartition": ((STR,), 0, tuple_of((STR, STR, STR))),
}  # fmt: skip


def _list_methods(kind: Type) -> dict[str, tuple[tuple[Type, ...], int, Type]]:
    item = kind.args[0]
    return {
        "append": ((item,), 0, NONE), "extend": ((kind,), 0, NONE),
        "insert": ((INT, item), 0, NONE), "pop": ((INT,), 1, item),
        "remove": ((item,), 0, NONE), "clear": ((), 0, NONE),
        "reverse": ((), 0, NONE), "copy": ((), 0, kind), "index": ((item,), 0, INT),
        "count": ((item,), 0, INT), "sort": ((BOOL,), 1, NONE),
    }  # fmt: skip


def _dict_methods(kind: Type) -> dict[str, tuple[tuple[Type, ...], int, Type]]:
    key, value = kind.args
    return {
        "keys": ((), 0, list_of(key)), "values": ((), 0, list_of(value)),
        "items": ((), 0, list_of(tuple_of((key, value)))), "clear": ((), 0, NONE),
        "copy": ((), 0, kind), "update": ((kind,), 0, NONE), "pop": ((key, value), 1, value),
        "popitem": ((), 0, tuple_of((key, value))), "setdefault": ((key, value), 0, value),
    }  # fmt: skip


def method(compiler: Any, base: Value, name: str) -> Bound | None:
    """The method of a value that isn't a tensor; None if there is none."""
    kind = base.type
    if name == "__len__" and kind.name in ("Tensor", "List", "Dict", "str"):
        return Bound(lambda *_: Value(f"torch.len({base.text})", INT), name)
    if kind == TENSOR and name == "type":
        return Bound(lambda node, args, _: Value(f"torch.to({base.text}, {args[0].text})", TENSOR),
                     name)  # fmt: skip
    if kind == STR and name == "format":
        return Bound(lambda node, args, _: Value(
            f"torch.format({', '.join([base.text, *(a.text for a in args)])})", STR), name)
    if kind.name == "Future" and name == "wait":
        return Bound(lambda *_: Value(f"torch.wait({base.text})", kind.args[0]), name)
    if kind.name == "Dict" and name == "get":
        return Bound(_get(compiler, base), name)
    table: dict[str, tuple[tuple[Type, ...], int, Type]] = {}
    if kind == STR:
        table = _STRINGS
    elif kind.name == "List":
        table = _list_methods(kind)
    elif kind.name == "Dict":
        table = _dict_methods(kind)
    if name not in table:
        return None
    return Bound(_of_signature(compiler, base, name, *table[name]), name)


def _of_signature(
    compiler: Any, base: Value, name: str, kinds: tuple[Type, ...], optional_count: int,
    returns: Type,
) -> Callable:  # fmt: skip
    def call(node: Any, args: list[Value], kwargs: dict[str, Value]) -> Value:
        given = [*args, *kwargs.values()]
        if not len(kinds) - optional_count <= len(given) <= len(kinds):
            raise compiler.error(
                node, f"{base.type}.{name} takes {len(kinds) - optional_count} to {len(kinds)} "
                f"arguments; got {len(given)}")  # fmt: skip
        texts = []
        for value, wanted in zip(given, kinds, strict=False):
            if not is_subtype(value.type, wanted) and not empty_display(value, wanted):
                raise compiler.error(
                    node, f"Arguments for call are not valid: {name} of a {base.type} expected a "
                    f"value of type '{wanted}' but instead found type '{value.type}'")  # fmt: skip
            texts.append(cast(value, wanted))
        return Value(f"torch.{name}({', '.join([base.text, *texts])})", returns)

    return call


def _get(compiler: Any, base: Value) -> Callable:
    key, item = base.type.args

    def call(node: Any, args: list[Value], kwargs: dict[str, Value]) -> Value:
        given = [*args, *kwargs.values()]
        if not 1 <= len(given) <= 2 or not is_subtype(given[0].type, key):
            raise compiler.error(node, f"get of a {base.type} takes a {key} and a default")
        text = f"torch.get({', '.join([base.text, *(g.text for g in given)])})"
        if len(given) == 1:
            return Value(text, optional(item))
        kind = unify(item, given[1].type)
        if kind is None:
            raise compiler.error(node, f"the default of a {base.type} can't be a {given[1].type}")
        return Value(text, kind)

    return call
