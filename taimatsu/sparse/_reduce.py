"""Sums, norms, and softmax over the elements that there are."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import taimatsu as torch
from taimatsu import Tensor

from ._parts import Compressed, Coo, coalesced, coo, keys_of, make, parts, sum_at
from ._pointwise import in_order
from ._shape import _dim

__all__ = ["FUNCTIONS", "log_softmax", "softmax", "sum_"]


def sum_(self: Tensor, dim: Any = None, keepdim: bool = False, dtype: Any = None) -> Tensor:
    """Dense where no sparse dim is left, else sparse."""
    if not dim and dim != 0:
        return parts(self).values.sum(dtype=dtype)
    data = parts(self)
    if isinstance(data, Compressed) and not data.values.dim() > 1:
        return _sum_lines(self, data, dim, keepdim, dtype)
    data = coo(self)
    n = data.sparse_dim
    dims = sorted({_dim(d, self.dim()) for d in ([dim] if isinstance(dim, int) else dim)})
    inner = [d - n + 1 for d in dims if d >= n]
    values = data.values
    if dtype is not None or not (values.dtype.is_floating_point or values.dtype.is_complex):
        values = values.to(dtype or torch.int64)
    if inner:
        values = values.sum(inner, keepdim=keepdim)
    outer = [d for d in dims if d < n]
    if len(outer) == n:
        total = values.sum(0)
        return total.reshape([1] * n + list(total.shape)) if keepdim else total
    if keepdim:
        indices = data.indices.clone()
        for d in outer:
            indices[d] = 0
        size = [1 if d in dims else s for d, s in enumerate(self.shape)]
    else:
        rows = [d for d in range(n) if d not in outer]
        indices = data.indices[torch.tensor(rows)]
        size = [s for d, s in enumerate(self.shape) if d not in dims]
    found = Coo(indices, values, data.coalesced and not outer)
    return make(coalesced(found, size), size)


def _sum_lines(self: Tensor, data: Compressed, dim: Any, keepdim: bool, dtype: Any) -> Tensor:
    """Of rows and columns: dense sums along the dims, which stay; PyTorch gives these for csr."""
    found = make(coo(self), self.shape)
    if not keepdim:
        return sum_(found, dim, keepdim, dtype)
    return sum_(found, dim, True, dtype).to_sparse(layout=data.layout)


def vector_norm(
    self: Tensor, ord: Any = 2, dim: Any = None, keepdim: bool = False, dtype: Any = None
) -> Tensor:
    dims = range(self.dim()) if dim is None or not len(dim) else dim
    if len({_dim(d, self.dim()) for d in dims}) != self.dim():
        raise RuntimeError(
            "norm_sparse currently only supports full reductions, so 'dim' must either be empty or "
            "contain all dimensions of the input"
        )
    # The zeros that aren't kept don't count, but where elements are counted or compared.
    if float(ord) <= 0:
        raise RuntimeError(f"vector_norm: of sparse tensors ord has to be above 0; got {ord}")
    found = torch.linalg.vector_norm(in_order(self).values, ord, dtype=dtype)
    return found.reshape([1] * self.dim()) if keepdim else found


def any_(self: Tensor, dim: Any = None, keepdim: bool = False) -> Tensor:
    if dim is not None and dim != ():
        raise NotImplementedError("any: of a sparse tensor over all elements only; use .to_dense()")
    return in_order(self).values.any()


def _grouped(self: Tensor, dim: int) -> tuple[Coo, Tensor, int]:
    """The elements in order, and for each which of the lines along `dim` it is in."""
    data = coalesced(coo(self), self.shape)
    others = [d for d in range(data.sparse_dim) if d != dim]
    sizes = [self.shape[d] for d in others]
    keys = keys_of(data.indices[torch.tensor(others, dtype=torch.int64)], sizes)
    used, line = torch.unique(keys, return_inverse=True)
    return data, line, used.shape[0]


def _log_sums(values: Tensor, line: Tensor, lines: int) -> tuple[Tensor, Tensor]:
    """(values less the largest of the line, the logarithm of the sum of their exponentials)"""
    with torch.no_grad():
        at = line.reshape(-1, *[1] * (values.dim() - 1)).expand(values.shape)
        top = values.new_full((lines, *values.shape[1:]), -math.inf)
        top = top.scatter_reduce(0, at, values.detach(), "amax")
        top = torch.where(top == -math.inf, 0, top)[line]
    shifted = values - top
    return shifted, sum_at(shifted.exp(), line, lines)[line].log()


def log_softmax(self: Tensor, dim: int, dtype: Any = None) -> Tensor:
    """Of the elements that there are: the others count as -inf."""
    dim = _dim(dim, self.dim())
    if dtype is not None:
        self = self.to(dtype)
    data = coo(self)
    if dim >= data.sparse_dim:
        data = coalesced(data, self.shape)
        return make(data.holding(data.values.log_softmax(dim - data.sparse_dim + 1)), self.shape)
    data, line, lines = _grouped(self, dim)
    shifted, total = _log_sums(data.values, line, lines)
    return make(data.holding(shifted - total), self.shape)


def softmax(self: Tensor, dim: int, dtype: Any = None) -> Tensor:
    """Of the elements that there are: the others count as -inf."""
    found = log_softmax(self, dim, dtype)
    data = parts(found)
    return make(data.holding(data.values.exp()), found.shape)


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "sum": sum_, "vector_norm": vector_norm, "any": any_,
}  # fmt: skip
