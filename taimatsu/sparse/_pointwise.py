"""Element by element."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import taimatsu as torch
from taimatsu import Tensor, _core

from ._convert import to_sparse, values_at
from ._parts import (
    BLOCK_LAYOUTS,
    Coo,
    coalesced,
    coo,
    count,
    found_in,
    is_sparse,
    keys_of,
    make,
    parts,
    replace,
)

__all__ = ["FUNCTIONS", "INPLACE", "LINEAR", "ZERO_PRESERVING"]

# Ops that make zero of zero, so that they are ops on the values ...
ZERO_PRESERVING = frozenset((
    "abs", "asin", "asinh", "atan", "atanh", "ceil", "erf", "erfinv", "expm1", "floor", "frac",
    "isinf", "isnan", "isneginf", "isposinf", "log1p", "nan_to_num", "relu", "round", "sgn", "sign",
    "signbit", "sin", "sinh", "sqrt", "square", "tan", "tanh", "trunc",
))  # fmt: skip
# ... of each of several elements at one place, where they go with addition.
LINEAR = frozenset(("_to", "conj_physical", "deg2rad", "neg", "positive", "rad2deg"))


def like(tensor: Tensor, data: Coo) -> Tensor:
    """Coordinates in the layout of `tensor`."""
    found = make(data, tensor.shape)
    before = parts(tensor)
    if before.layout is _core.sparse_coo:
        return found
    return to_sparse(found, before.layout,
                     before.block if before.layout in BLOCK_LAYOUTS else None)  # fmt: skip


def in_order(tensor: Tensor) -> Any:
    """The parts, without equal places."""
    data = parts(tensor)
    return coalesced(data, tensor.shape) if isinstance(data, Coo) else data


def of_values(op: Any, distinct: bool, tensor: Tensor, *rest: Any) -> Tensor:
    """`op` of the values."""
    data = in_order(tensor) if distinct else parts(tensor)
    return make(data.holding(_core.call(op, data.values, *rest)), tensor.shape)


def _sizes_match(name: str, a: Tensor, b: Tensor) -> None:
    if a.shape != b.shape:
        raise RuntimeError(
            f"{name}: expected 'self' and 'other' to have same size, but self has size "
            f"{list(a.shape)} while other has size {list(b.shape)}; sparse tensors are not "
            "broadcast"
        )


# ---- sums ---------------------------------------------------------------------------------------


def _scaled(values: Tensor, alpha: Any) -> Tensor:
    return values if alpha == 1 else values * alpha


def add(self: Any, other: Any, alpha: Any = 1) -> Tensor:
    if not is_sparse(self):
        return _add_to_dense(self, other, alpha)
    if not is_sparse(other):
        raise RuntimeError(
            "add(sparse, dense) is not supported. Use add(dense, sparse) instead."
        )
    _sizes_match("add", self, other)
    a, b = coo(self), coo(other)
    if a.sparse_dim != b.sparse_dim:
        raise RuntimeError(
            f"add: expected operands with the same number of sparse dims; got {a.sparse_dim} and "
            f"{b.sparse_dim}"
        )
    dtype = torch.result_type(a.values, b.values)
    if a.indices is b.indices:
        total = torch.add(a.values, b.values, alpha=alpha)
        return like(self, a.holding(total))
    values = torch.cat([a.values.to(dtype), _scaled(b.values, alpha).to(dtype)])
    data = Coo(torch.cat([a.indices, b.indices], 1), values)
    if a.coalesced and b.coalesced:
        data = coalesced(data, self.shape)
    return like(self, data)


def sub(self: Any, other: Any, alpha: Any = 1) -> Tensor:
    return add(self, other, -alpha)


def _add_to_dense(dense: Any, sparse: Tensor, alpha: Any) -> Tensor:
    if not isinstance(dense, Tensor):
        dense = torch.tensor(dense)
    _sizes_match("add", dense, sparse)
    data = coo(sparse)
    dtype = torch.result_type(dense, data.values)
    sizes = sparse.shape[: data.sparse_dim]
    flat = dense.to(dtype).reshape(count(sizes), *data.values.shape[1:])
    values = _scaled(data.values, alpha).to(dtype)
    return flat.index_add(0, keys_of(data.indices, sizes), values).reshape(dense.shape)


def add_(self: Tensor, other: Tensor, alpha: Any = 1) -> Tensor:
    """dense += alpha * sparse: writes to the places that there are."""
    _sizes_match("add_", self, other)
    data = coo(other)
    values = _scaled(data.values, alpha)
    if not torch.can_cast(torch.result_type(self, values), self.dtype):
        raise RuntimeError(
            f"add_: result type {values.dtype} can't be cast to the desired output type "
            f"{self.dtype}"
        )
    values = values.to(self.dtype)
    if data.sparse_dim == 1:
        return self.index_add_(0, data.indices[0], values)
    if not data.sparse_dim:
        return self.add_(values.sum(0))
    return self.index_put_(tuple(data.indices), values, accumulate=True)


def sub_(self: Tensor, other: Tensor, alpha: Any = 1) -> Tensor:
    return add_(self, other, -alpha)


# ---- products -----------------------------------------------------------------------------------


def _is_number(x: Any) -> bool:
    return not isinstance(x, Tensor) or (x.dim() == 0 and not is_sparse(x))


def mul(self: Any, other: Any) -> Tensor:
    if not is_sparse(self):
        self, other = other, self
    data = parts(self)
    if _is_number(other):
        return make(data.holding(data.values * other), self.shape)
    if is_sparse(other):
        return _intersection(self, other)
    try:
        whole = other.expand(self.shape)
    except RuntimeError as error:
        raise RuntimeError(
            f"mul: a dense operand has to broadcast to the sparse one; got shapes "
            f"{tuple(self.shape)} and {tuple(other.shape)}"
        ) from error
    places = coo(self)
    return like(self, places.holding(places.values * values_at(whole, places)))


def _intersection(self: Tensor, other: Tensor) -> Tensor:
    """The products of elements at places that both have."""
    if self.shape != other.shape:
        raise RuntimeError(
            f"mul: expected sparse operands of one size; got {tuple(self.shape)} and "
            f"{tuple(other.shape)}"
        )
    a, b = coo(self), coo(other)
    if a.indices is b.indices and a.coalesced:
        return like(self, a.holding(a.values * b.values))
    a, b = coalesced(a, self.shape), coalesced(b, self.shape)
    if a.sparse_dim != b.sparse_dim:
        raise RuntimeError("mul: expected operands with the same number of sparse dims")
    sizes = self.shape[: a.sparse_dim]
    with torch.no_grad():
        hit, at = found_in(keys_of(b.indices, sizes), keys_of(a.indices, sizes))
        here = hit.nonzero().reshape(-1)
        there = at[here]
    product = a.values[here] * b.values[there]
    return like(self, Coo(a.indices[:, here], product, True))


def _divided(divide: Any, self: Any, other: Any) -> Tensor:
    if not is_sparse(self):
        raise NotImplementedError(
            "div: a dense tensor or number can't be divided by a sparse tensor, most of which is "
            "zeros; use .to_dense()"
        )
    if not _is_number(other):
        shape = list(getattr(other, "shape", ()))
        raise RuntimeError(
            "Sparse division requires a scalar or zero-dim dense tensor divisor (got shape "
            f"{shape} for divisor)"
        )
    data = in_order(self)
    return make(data.holding(divide(data.values, other)), self.shape)


def div(self: Any, other: Any) -> Tensor:
    return _divided(torch.true_divide, self, other)


def div_mode(self: Any, other: Any, rounding_mode: Any) -> Tensor:
    return _divided(functools.partial(torch.div, rounding_mode=rounding_mode), self, other)


def floor_divide(self: Any, other: Any) -> Tensor:
    return _divided(torch.floor_divide, self, other)


def pow_(self: Any, exponent: Any) -> Tensor:
    if not is_sparse(self) or not _is_number(exponent) or float(exponent) <= 0:
        raise NotImplementedError(
            "pow: of a sparse tensor only with a positive number for exponent, as others don't "
            "make zero of zero; use .to_dense()"
        )
    data = in_order(self)
    return make(data.holding(data.values**exponent), self.shape)


# ---- copies -------------------------------------------------------------------------------------


def clone(self: Tensor, memory_format: Any = None) -> Tensor:
    data = parts(self)
    return make(data.rebuilt([t.clone() for t in data.tensors()]), self.shape)


def copy_(self: Tensor, src: Tensor, non_blocking: bool = False) -> Tensor:
    if not is_sparse(self) or not is_sparse(src):
        raise RuntimeError(
            "copy_() between dense and sparse Tensors is not implemented! Found self of layout "
            f"{self.layout} and src of layout {src.layout}; use .to_dense()"
        )
    if self.layout is not src.layout:
        raise RuntimeError(
            f"copy_(): expected one layout; got {self.layout} and {src.layout}"
        )
    data = parts(clone(src))
    return replace(self, data.holding(data.values.to(self.dtype)), src.shape)


def zero_(self: Tensor) -> Tensor:
    data = parts(self)
    if isinstance(data, Coo):
        nothing = Coo(data.indices[:, :0], data.values.detach()[:0], True)
        return replace(self, nothing)
    return replace(self, data.holding(torch.zeros_like(data.values)))


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "add": add, "sub": sub, "mul": mul, "div": div, "true_divide": div, "div.mode": div_mode,
    "floor_divide": floor_divide, "pow": pow_, "clone": clone, "copy_": copy_, "zero_": zero_,
}  # fmt: skip
# Where the target is a dense first operand.
INPLACE: dict[str, Callable[..., Any]] = {"add": add_, "sub": sub_}
