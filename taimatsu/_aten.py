"""A call of an op of the table in ATen's terms: which form of which op it is, and its arguments.

What a ``__torch_dispatch__`` is told. Ops that ATen doesn't have come down to others (`parts`), or
are in the namespace ``taimatsu``: those that were derived, and the rules of optimizers.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import taimatsu as torch
from taimatsu import Tensor, _core

from ._op_namespaces import PREFIX_OF, OpOverload, OpOverloadPacket, namespace
from .ops.table import ENTRIES

__all__ = ["form", "own_form", "parts"]

# ---- ops that come down to others ---------------------------------------------------------------


def _linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    rows = x if x.dim() == 2 else x.reshape(-1, x.shape[-1])
    product = rows.mm(weight.t()) if bias is None else torch.addmm(bias, rows, weight.t())
    return product if x.dim() == 2 else product.view(*x.shape[:-1], weight.shape[0])


def _matmul(a: Tensor, b: Tensor) -> Tensor:
    if a.dim() == 1 and b.dim() == 1:
        return a.dot(b)
    if a.dim() == 2 and b.dim() <= 2:
        return a.mm(b) if b.dim() == 2 else a.mv(b)
    if a.dim() == 1:
        return _matmul(a.unsqueeze(0), b).squeeze(-2)
    if b.dim() == 1:
        return _matmul(a, b.unsqueeze(1)).squeeze(-1)
    if b.dim() == 2:
        return a.reshape(-1, a.shape[-1]).mm(b).view(*a.shape[:-1], b.shape[-1])
    batch = torch.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    left, right = (
        t.expand(*batch, *t.shape[-2:]).reshape(-1, *t.shape[-2:]) for t in (a, b)
    )  # fmt: skip
    return left.bmm(right).view(*batch, a.shape[-2], b.shape[-1])


def _basic_index(x: Tensor, key: Any) -> Tensor:
    keys = list(key) if isinstance(key, tuple) else [key]
    if Ellipsis in [k for k in keys if not isinstance(k, Tensor)]:
        at = next(i for i, k in enumerate(keys) if k is Ellipsis)
        named = sum(k is not None for k in keys) - 1
        keys[at : at + 1] = [slice(None)] * (x.dim() - named)
    dim, result = 0, x
    for k in keys:
        if k is None:
            result = result.unsqueeze(dim)
        elif not isinstance(k, slice):
            result = result.select(dim, int(k))
            continue
        elif k != slice(None):
            start, stop, step = k.indices(result.shape[dim])
            result = torch.ops.aten.slice.Tensor(result, dim, start, max(start, stop), step)
        dim += 1
    return torch.ops.aten.alias(result) if result is x else result


def _reshape(x: Tensor, shape: Any) -> Tensor:
    from ._dispatch import tell

    shadow = torch.empty_strided(x.shape, x.stride(), device="meta")
    try:
        shadow.view(shape)
    except RuntimeError:
        copy = x.clone(memory_format=torch.contiguous_format)
        return tell(torch.ops.aten._unsafe_view.default, (copy, list(shape)), {})
    return x.view(shape)


def _flatten(x: Tensor, start: int, end: int) -> Tensor:
    start, end = start % max(x.dim(), 1), end % max(x.dim(), 1)
    return _reshape(x, [*x.shape[:start], -1, *x.shape[end + 1 :]] if x.numel() else
                    x.to("meta").flatten(start, end).shape)  # fmt: skip


_PARTS: dict[str, Callable] = {
    "linear": _linear,
    "matmul": _matmul,
    "reshape": _reshape,
    "flatten": _flatten,
    "mT": lambda x: x.transpose(-2, -1),
    "narrow": lambda x, dim, start, length: torch.ops.aten.slice.Tensor(
        x, dim, start, start + length
    ),
    "_basic_index": _basic_index,
    "relu6": lambda x: torch.nn.functional.hardtanh(x, 0.0, 6.0),
    "softsign": lambda x: x / (x.abs() + 1),
    "tanhshrink": lambda x: x - x.tanh(),
}


def parts(op: Any, args: tuple, targets: tuple | None) -> Callable | None:
    """What computes the call by other ops, if it isn't one of ATen's."""
    if targets is not None and op.name != "matmul":
        return None
    if op.name in ("sub", "div", "true_divide") and not isinstance(args[0], Tensor):
        return _number_first
    return _PARTS.get(op.name)


def _number_first(number: Any, x: Tensor, alpha: Any = None) -> Tensor:
    return x.reciprocal() * number if alpha is None else torch.rsub(x, number, alpha=alpha)


# ---- names of forms -----------------------------------------------------------------------------


def _kinds(tensors: str, scalar: str, first_scalar: str) -> Callable:
    """By which of the first two operands are tensors."""

    def choose(a: Any, b: Any, *rest: Any) -> str:
        if not isinstance(a, Tensor):
            return first_scalar
        return tensors if isinstance(b, Tensor) else scalar

    return choose


def _last(*args: Any) -> str:
    return "Tensor" if isinstance(args[-1], Tensor) else "Scalar"


def _dims(absent: str, several: str, one: str | None = None) -> Callable:
    def choose(x: Tensor, dim: Any, *rest: Any) -> str:
        if dim is None:
            return absent
        return one if one and len(dim) == 1 else several

    return choose


_operand = _kinds("Tensor", "Scalar", "Scalar_Tensor")
_OVERLOADS: dict[str, str | Callable[..., str]] = {
    **dict.fromkeys(("add", "sub", "mul", "div", "slice", "split", "frexp", "ldexp"), "Tensor"),
    **dict.fromkeys(("eq", "ne", "lt", "le", "gt", "ge", "remainder", "fmod", "rsub", "copysign",
                     "bitwise_and", "bitwise_or", "bitwise_xor"), _operand),
    **dict.fromkeys(("lerp", "masked_fill"), _last),
    **dict.fromkeys(("transpose", "select", "unbind"), "int"),
    **dict.fromkeys(("var", "std", "var_mean", "std_mean"), "correction"),
    "pow": _kinds("Tensor_Tensor", "Tensor_Scalar", "Scalar"),
    "bitwise_left_shift": _kinds("Tensor", "Tensor_Scalar", "Scalar_Tensor"),
    "bitwise_right_shift": _kinds("Tensor", "Tensor_Scalar", "Scalar_Tensor"),
    "xlogy": _kinds("Tensor", "Scalar_Other", "Scalar_Self"),
    "floor_divide": _kinds("default", "Scalar", "default"),
    "clamp": lambda x, *bounds: "Tensor" if any(isinstance(b, Tensor) for b in bounds) else
        "default",
    "where": "self",
    "round": lambda x, decimals: "decimals" if decimals else "default",
    "sum": _dims("default", "dim_IntList"),
    "mean": _dims("default", "dim"),
    "count_nonzero": _dims("default", "dim_IntList"),
    "any": _dims("default", "dims", "dim"),
    "all": _dims("default", "dims", "dim"),
    "empty": "memory_format",
    "fill_": "Scalar",
    "scatter": "src",
    "arange.start": lambda start, end, step, *rest: "start" if step == 1 else "start_step",
    "eye": lambda n, m, *rest: "default" if m is None else "m",
    "sort": lambda x, dim, down, stable: "default" if stable is None else "stable",
    "argmax.dim": "default", "argmin.dim": "default", "polygamma.method": "default",
    "true_divide": "Tensor", "_index": "Tensor", "_rows_where": "Tensor",
}  # fmt: skip
# Other names, and arguments in another order.
_NAMES = {
    "true_divide": "div", "max.other": "maximum", "min.other": "minimum", "_to": "_to_copy",
    "softmax": "_softmax", "log_softmax": "_log_softmax", "_index": "index",
    "_rows_where": "index",
    "_index_put_": "index_put_", "_nonzero": "nonzero", "split.sizes": "split_with_sizes",
}  # fmt: skip
_ARGUMENTS: dict[str, Callable] = {
    "softmax": lambda x, dim, dtype: (x, dim, False),
    "log_softmax": lambda x, dim, dtype: (x, dim, False),
    "_index": lambda x, indices: (x, list(indices)),
    "_rows_where": lambda x, mask: (x, [mask]),
    "_index_put_": lambda x, indices, values, accumulate: (
        (x, list(indices), values, *((True,) if accumulate else ()))
    ),
    "any": lambda x, dim, *keepdim: _one_dim(x, dim, keepdim),
    "all": lambda x, dim, *keepdim: _one_dim(x, dim, keepdim),
}


def _one_dim(x: Tensor, dim: Any, keepdim: tuple) -> tuple:
    dims = () if dim is None else (dim[0],) if len(dim) == 1 else (list(dim),)
    return (x, *dims, *(k for k in keepdim if k))


def _arguments(op: Any, args: tuple) -> tuple[tuple, dict[str, Any]]:
    """Positional arguments and keywords, without those that are defaults."""
    if op.name in _ARGUMENTS:
        return _ARGUMENTS[op.name](*args), {}
    positional, named = [], {}
    for p, a in zip(op.parsed.params, args, strict=True):
        a = list(a) if isinstance(a, tuple) else a
        if not p.keyword_only:
            positional.append((a, _is_default(a, p.default)))
        elif not _is_default(a, p.default):
            named[p.name] = a
    while positional and positional[-1][1]:
        positional.pop()
    return tuple(a for a, _ in positional), named


def _is_default(a: Any, default: Any) -> bool:
    if isinstance(a, Tensor):
        return False
    return a is default or (type(a) is type(default) and a == default)


def form(op: Any, args: tuple, targets: tuple | None) -> tuple[OpOverload, tuple, dict[str, Any]]:
    """What ATen calls the call, and its arguments: ``func(*args, **kwargs)`` is the call."""
    if op.name in ("add", "mul") and not isinstance(args[0], Tensor):
        args = (args[1], args[0], *args[2:])
    base, _, overload = op.name.partition(".")
    inplace = targets is not None and len(targets) == 1 and targets[0] is args[0]
    out = targets is not None and not inplace
    name = _NAMES.get(op.name, base) + ("_" if inplace else "")
    known = (op.name[0] != "_" or op.name in _NAMES) and op in _table(len(ENTRIES))
    packet = known and getattr(namespace("aten"), PREFIX_OF.get(op.module, "") + name, None)
    if not packet:
        named = {"out": targets} if out else {}
        return own_form(op, "out" if out else "_" if inplace else ""), args, named
    chosen = _OVERLOADS.get(op.name, "default" if op.name in _NAMES else overload or "default")
    if callable(chosen):
        chosen = chosen(*args)
    positional, named = _arguments(op, args)
    if targets is not None and out:
        chosen, named["out"] = "out", targets[0] if len(targets) == 1 else targets
    return getattr(packet, chosen), positional, named


@functools.lru_cache(1)
def _table(entries: int) -> frozenset:
    """The ops of the table, of which there are so many by now."""
    return frozenset(ENTRIES)


def own_form(op: Any, kind: str = "") -> OpOverload:
    """A form of an op that ATen doesn't have: derived, or a program's own."""
    return getattr(_own_packet(op, kind == "_"), "out" if kind == "out" else "default")


@functools.cache
def _own_packet(op: Any, inplace: bool) -> OpOverloadPacket:
    def call(*args: Any, out: tuple | None = None) -> Any:
        if inplace or out is not None:
            return _core.call_into(op, args[:1] if out is None else out, *args)
        return _core.call(op, *args)

    call._table_op = op  # type: ignore[attr-defined]
    return namespace("taimatsu")._add(op.name.partition(".")[0] + ("_" if inplace else ""), call)
