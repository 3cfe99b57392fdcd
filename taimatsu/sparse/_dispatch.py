"""Calls of ops on sparse tensors.

The core gives every call with a sparse argument to `call`: an op that has a sparse form is carried
out by a function here, on the parts; a composite by its formula, whose ops come here in turn; a
derived derivative, which the tape calls, on the dense tensors. All others refuse, and name the way
out.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import taimatsu as torch
from taimatsu import Tensor, _core
from taimatsu.ops.table import ENTRIES, Op

from . import _members, _pointwise, _products, _reduce, _shape
from ._construct import empty as empty_coo
from ._construct import empty_compressed
from ._convert import to_dense
from ._parts import Compressed, Coo, coo, is_sparse, parts, replace

__all__ = ["call"]


# ---- factories ----------------------------------------------------------------------------------


def _empty(size: Any, dtype: Any, layout: Any, device: Any, requires_grad: Any) -> Tensor:
    if layout is _core.sparse_coo:
        return empty_coo(size, dtype or torch.get_default_dtype(), device, bool(requires_grad))
    if layout in (_core.sparse_csr, _core.sparse_csc, _core.sparse_bsr, _core.sparse_bsc):
        found = empty_compressed(size, dtype or torch.get_default_dtype(), layout, device)
        return found.requires_grad_(bool(requires_grad))
    raise NotImplementedError(f"there are no tensors of layout {layout}; leave it out")


def zeros(size, dtype, layout, device, pin_memory, requires_grad, *_) -> Tensor:
    return _empty(size, dtype, layout, device, requires_grad)


def zeros_like(self, dtype, layout, device, pin_memory, requires_grad, *_):
    layout = layout or self.layout
    dtype, device = dtype or self.dtype, device or self.device
    if layout is _core.strided:
        return torch.zeros(self.shape, dtype=dtype, device=device, requires_grad=requires_grad)
    data = parts(self)
    if isinstance(data, Compressed) and layout is data.layout:
        starts, plain = torch.zeros_like(data.compressed), data.plain[..., :0]
        values = data.values.detach().to(dtype).flatten(0, data.batch_dim)[:0]
        values = values.reshape(*plain.shape, *data.values.shape[data.batch_dim + 1 :])
        return _core.make_sparse(Compressed(layout, starts, plain, values), tuple(self.shape),
                                 dtype, device)  # fmt: skip
    if layout is _core.sparse_coo:
        sparse_dim = coo(self).sparse_dim if is_sparse(self) else None
        return empty_coo(self.shape, dtype, device, bool(requires_grad), sparse_dim)
    return _empty(self.shape, dtype, layout, device, requires_grad)


def _new(self, size, dtype, layout, device, pin_memory, requires_grad):
    layout = layout or self.layout
    if layout is _core.strided:
        return torch.zeros(size, dtype=dtype or self.dtype, requires_grad=bool(requires_grad))
    return _empty(size, dtype or self.dtype, layout, device or self.device, requires_grad)


_OWN: dict[str, Callable[..., Any]] = {
    **_pointwise.FUNCTIONS, **_shape.FUNCTIONS, **_reduce.FUNCTIONS, **_products.FUNCTIONS,
    "zeros": zeros, "empty": zeros, "zeros_like": zeros_like, "empty_like": zeros_like,
    "new_zeros": _new, "new_empty": _new,
    "detach": _members.detach, "conj": lambda self: self.conj_physical(),
}  # fmt: skip


# ---- calls --------------------------------------------------------------------------------------


def _function(op: Op) -> Callable[..., Any] | None:
    """What carries the op out on the parts; None where it has no sparse form of its own."""
    name = op.name
    if name in _OWN:
        return _OWN[name]
    if name in _pointwise.LINEAR:
        return functools.partial(_pointwise.of_values, op, False)
    if name in _pointwise.ZERO_PRESERVING:
        return functools.partial(_pointwise.of_values, op, True)
    return None


def _dense(x: Any) -> Any:
    if isinstance(x, Tensor):
        return to_dense(x)
    return [_dense(item) for item in x] if isinstance(x, (list, tuple)) else x


def _tensors(args: Any) -> list[Tensor]:
    given = [a for arg in args for a in (arg if isinstance(arg, (list, tuple)) else [arg])]
    return [a for a in given if isinstance(a, Tensor)]


@functools.cache
def _in_table() -> frozenset[int]:
    return frozenset(map(id, ENTRIES))


def _carried_out(op: Op, args: tuple) -> Any:
    function = _function(op)
    if function is not None:
        return function(*args)
    given, name = _tensors(args), op.name.lstrip("_")
    if not any(map(is_sparse, given)):
        raise NotImplementedError(f"{name}: makes strided tensors only; call .to_sparse() of one")
    if op.kind == "composite":
        return op.formula(*args)
    if id(op) not in _in_table():
        return _core.call(op, *map(_dense, args))
    layouts = ", ".join(str(x.layout) for x in given)
    raise NotImplementedError(
        f"{name}: not defined for sparse tensors; got {layouts}; convert with .to_dense()"
    )


def call(op: Op, args: tuple, targets: tuple | None) -> Any:
    """Carries out one call; `targets` of the in-place form (the first argument) or of out=."""
    if targets is None:
        return _carried_out(op, args)
    inplace = targets[0] is args[0]
    if inplace and not is_sparse(targets[0]) and op.name in _pointwise.INPLACE:
        return _pointwise.INPLACE[op.name](*args)
    if inplace and targets[0].is_leaf and targets[0].requires_grad and torch.is_grad_enabled():
        raise RuntimeError(
            "a leaf Variable that requires grad is being used in an in-place operation."
        )
    result = _carried_out(op, args)
    results = result if isinstance(result, (tuple, list)) else (result,)
    for target, value in zip(targets, results, strict=True):
        _write(op, target, value, inplace)
    return targets[0] if len(targets) == 1 else targets


def _write(op: Op, target: Tensor, value: Tensor, inplace: bool) -> None:
    if target.layout is not value.layout:
        raise RuntimeError(
            f"{op.name}: the result has layout {value.layout}, the tensor to write to "
            f"{target.layout}; convert with .to_dense() or .to_sparse()"
        )
    if not torch.can_cast(value.dtype, target.dtype):
        raise RuntimeError(
            f"{op.name}: result type {value.dtype} can't be cast to the desired output type "
            f"{target.dtype}"
        )
    if inplace and target.shape != value.shape:
        raise RuntimeError(
            f"{op.name}: output with shape {list(target.shape)} doesn't match the shape "
            f"{list(value.shape)} of the result"
        )
    if not is_sparse(target):
        if target.shape != value.shape:
            target.resize_(value.shape)
        target.copy_(value)
        return
    data: Coo | Compressed = parts(value)
    replace(target, data.holding(data.values.to(target.dtype)), value.shape)


_core.set_sparse_handlers(call, _members.MEMBERS)
