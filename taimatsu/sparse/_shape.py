"""Other shapes and parts: what changes the indices."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import taimatsu as torch
from taimatsu import Tensor, _core

from ._parts import (
    BLOCK_LAYOUTS,
    Compressed,
    Coo,
    coalesced,
    coo,
    is_sparse,
    make,
    parts,
)

__all__ = ["FUNCTIONS"]

_TURNED = {
    _core.sparse_csr: _core.sparse_csc, _core.sparse_csc: _core.sparse_csr,
    _core.sparse_bsr: _core.sparse_bsc, _core.sparse_bsc: _core.sparse_bsr,
}  # fmt: skip


def _dim(dim: int, ndim: int) -> int:
    if not -ndim <= dim < ndim:
        raise IndexError(
            f"Dimension out of range (expected to be in range of [{-ndim}, {ndim - 1}], but got "
            f"{dim})"
        )
    return dim % ndim


def permute(self: Tensor, dims: Any) -> Tensor:
    ndim = self.dim()
    order = [_dim(d, ndim) for d in dims]
    if sorted(order) != list(range(ndim)):
        raise RuntimeError(
            "permute(sparse_coo): number of dimensions in the tensor input does not match the "
            f"length of the desired ordering of dimensions i.e. input.dim() = {ndim} is not equal "
            f"to len(dims) = {len(dims)}"
        )
    data = parts(self)
    size = [self.shape[d] for d in order]
    if isinstance(data, Compressed):
        return _permute_compressed(self, data, order, size)
    n = data.sparse_dim
    if sorted(order[:n]) != list(range(n)):
        raise RuntimeError(
            "sparse transpose: transposed dimensions must be sparse, or all dense. Got sparse_dim: "
            f"{n}, order: {order}"
        )
    indices = data.indices[torch.tensor(order[:n], dtype=torch.int64)] if n else data.indices
    values = data.values.permute([0, *(d - n + 1 for d in order[n:])])
    return make(Coo(indices, values, data.coalesced and order[:n] == list(range(n))), size)


def _permute_compressed(self: Tensor, data: Compressed, order: list[int], size: Any) -> Tensor:
    b = data.batch_dim
    if order == list(range(len(order))):
        return self
    if order != [*range(b), b + 1, b, *range(b + 2, len(order))]:
        raise RuntimeError(
            f"permute: of {data.layout} only the rows and columns can change places; got {order}"
        )
    values = data.values
    if data.layout in BLOCK_LAYOUTS:
        values = values.transpose(b + 1, b + 2)
    turned = Compressed(_TURNED[data.layout], data.compressed, data.plain, values)
    return make(turned, size)


def transpose(self: Tensor, dim0: int, dim1: int) -> Tensor:
    ndim = self.dim()
    a, b = _dim(dim0, ndim), _dim(dim1, ndim)
    order = list(range(ndim))
    order[a], order[b] = b, a
    return permute(self, order)


def t(self: Tensor) -> Tensor:
    if self.dim() > 2:
        raise RuntimeError(f"t() expects a tensor with <= 2 dimensions, but self is {self.dim()}D")
    return self if self.dim() < 2 else transpose(self, 0, 1)


def unsqueeze(self: Tensor, dim: int) -> Tensor:
    data = coo(self)
    at = _dim(dim, self.dim() + 1)
    size = [*self.shape[:at], 1, *self.shape[at:]]
    if at > data.sparse_dim:
        return make(data.holding(data.values.unsqueeze(at - data.sparse_dim + 1)), size)
    row = data.indices.new_zeros((1, data.nnz))
    indices = torch.cat([data.indices[:at], row, data.indices[at:]])
    return make(Coo(indices, data.values, data.coalesced), size)


def _squeezed(self: Tensor, dims: Any) -> Tensor:
    data, n = coo(self), self.dim()
    drop = {d for d in (_dim(d, n) for d in dims) if self.shape[d] == 1}
    keep = [d for d in range(n) if d not in drop]
    size = [self.shape[d] for d in keep]
    rows = [d for d in keep if d < data.sparse_dim]
    indices = data.indices[torch.tensor(rows, dtype=torch.int64)]
    values = data.values.reshape(data.nnz, *size[len(rows) :])
    return make(Coo(indices, values, data.coalesced), size)


def squeeze(self: Tensor) -> Tensor:
    return _squeezed(self, range(self.dim()))


def squeeze_dim(self: Tensor, dim: int) -> Tensor:
    return _squeezed(self, [dim])


def _some(data: Coo, keep: Tensor, indices: Tensor, coalesced: bool) -> Coo:
    """The elements at the positions `keep`, at other indices."""
    return Coo(indices, data.values[keep], coalesced)


def select(self: Tensor, dim: int, index: int) -> Tensor:
    data, d = coo(self), _dim(dim, self.dim())
    n = self.shape[d]
    if not -n <= index < n:
        raise IndexError(f"select(): index {index} out of range for tensor of size "
                         f"{list(self.shape)} at dimension {d}")  # fmt: skip
    index %= n
    size = [*self.shape[:d], *self.shape[d + 1 :]]
    if d >= data.sparse_dim:
        values = data.values.select(d - data.sparse_dim + 1, index)
        return make(data.holding(values), size)
    keep = (data.indices[d] == index).nonzero().reshape(-1)
    if data.sparse_dim == 1:
        return data.values[keep].sum(0)
    rows = torch.cat([data.indices[:d], data.indices[d + 1 :]])
    return make(_some(data, keep, rows[:, keep], data.coalesced), size)


def narrow(self: Tensor, dim: int, start: int, length: int) -> Tensor:
    data, d = coo(self), _dim(dim, self.dim())
    n = self.shape[d]
    start = start + n if start < 0 else start
    if not 0 <= start <= start + length <= n:
        raise RuntimeError(f"narrow: start ({start}) + length ({length}) exceeds dimension size "
                           f"({n})")  # fmt: skip
    size = [*self.shape[:d], length, *self.shape[d + 1 :]]
    if d >= data.sparse_dim:
        values = data.values.narrow(d - data.sparse_dim + 1, start, length)
        return make(data.holding(values), size)
    row = data.indices[d]
    keep = ((row >= start) & (row < start + length)).nonzero().reshape(-1)
    shift = torch.zeros((data.sparse_dim, 1), dtype=torch.int64)
    shift[d] = start
    return make(_some(data, keep, data.indices[:, keep] - shift, data.coalesced), size)


def index_select(self: Tensor, dim: int, index: Tensor) -> Tensor:
    data, d = coo(self), _dim(dim, self.dim())
    if index.dim() != 1 or index.dtype not in (torch.int64, torch.int32):
        raise IndexError(
            "index_select(): index must be a vector of int32 or int64; got shape "
            f"{tuple(index.shape)} and {index.dtype}"
        )
    n = self.shape[d]
    if index.numel() and not (-n <= int(index.min()) and int(index.max()) < n):
        raise IndexError(f"index_select(): index out of range for dimension {d} with size {n}")
    index = torch.where(index < 0, index + n, index).long()
    size = [*self.shape[:d], index.shape[0], *self.shape[d + 1 :]]
    if d >= data.sparse_dim:
        values = data.values.index_select(d - data.sparse_dim + 1, index)
        return like_or_coo(self, data.holding(values), size)
    # For each element the places in `index` that name its row.
    ordered, places = torch.sort(index, stable=True)
    row = data.indices[d].contiguous()
    first = torch.searchsorted(ordered, row)
    many = torch.searchsorted(ordered, row, right=True) - first
    source = torch.repeat_interleave(torch.arange(data.nnz), many)
    nth = torch.arange(source.shape[0]) - (many.cumsum(0) - many)[source]
    indices = data.indices[:, source]
    indices[d] = places[first[source] + nth]
    found = Coo(indices, data.values[source])
    if data.coalesced:
        found = coalesced(found, size)
    return like_or_coo(self, found, size)


def like_or_coo(self: Tensor, data: Coo, size: Any) -> Tensor:
    """In the layout of `self`, where that is by rows or columns, of other sizes."""
    found, layout = make(data, size), self.layout
    if layout in (_core.sparse_csr, _core.sparse_csc):
        return found.to_sparse(layout=layout)
    return found


def cat(tensors: Any, dim: int = 0) -> Tensor:
    for i, x in enumerate(tensors):
        if not is_sparse(x):
            raise RuntimeError(
                f"Concatenating sparse tensors, but a dense tensor was found at position {i}."
            )
    first = tensors[0]
    d, n = _dim(dim, first.dim()), coo(first).sparse_dim
    dtype = first.dtype
    for x in tensors[1:]:
        others = [(a, b) for k, (a, b) in enumerate(zip(first.shape, x.shape, strict=False))
                  if k != d]  # fmt: skip
        if x.dim() != first.dim() or any(a != b for a, b in others):
            raise RuntimeError(
                f"cat: sizes of tensors must match except in dimension {d}; got "
                f"{tuple(first.shape)} and {tuple(x.shape)}"
            )
        if coo(x).sparse_dim != n:
            raise RuntimeError(
                f"cat: all tensors must have as many sparse dims; got {n} and {coo(x).sparse_dim}"
            )
        dtype = torch.promote_types(dtype, x.dtype)
    size = list(first.shape)
    size[d] = sum(x.shape[d] for x in tensors)
    indices, values, start = [], [], 0
    for x in tensors:
        data = coo(x)
        shift = torch.zeros((n, 1), dtype=torch.int64)
        where = [0, 0]
        if d < n:
            shift[d] = start
        else:
            where = [start, size[d] - start - x.shape[d]]
        indices.append(data.indices + shift)
        pads = [0, 0] * (first.dim() - 1 - d) + where
        padded = data.values if d < n else torch.nn.functional.pad(data.values, pads)
        values.append(padded.to(dtype))
        start += x.shape[d]
    ordered = d == 0 and n > 0 and all(coo(x).coalesced for x in tensors)
    found = Coo(torch.cat(indices, 1), torch.cat(values), ordered)
    return like_or_coo(first, found, size)


def stack(tensors: Any, dim: int = 0) -> Tensor:
    for i, x in enumerate(tensors):
        if x.shape != tensors[0].shape:
            raise RuntimeError(
                f"stack expects each tensor to be equal size, but got {list(tensors[0].shape)} at "
                f"entry 0 and {list(x.shape)} at entry {i}"
            )
    return cat([unsqueeze(x, dim) if is_sparse(x) else x for x in tensors], dim)


def unbind(self: Tensor, dim: int = 0) -> tuple[Tensor, ...]:
    d = _dim(dim, self.dim())
    return tuple(select(self, d, i) for i in range(self.shape[d]))


def basic_index(self: Tensor, key: Any) -> Tensor:
    keys = list(key) if isinstance(key, tuple) else [key]
    named = sum(k is not None and k is not Ellipsis for k in keys)
    if named > self.dim():
        raise IndexError(f"too many indices for tensor of dimension {self.dim()}")
    if Ellipsis in keys:
        at = keys.index(Ellipsis)
        keys[at : at + 1] = [slice(None)] * (self.dim() - named)
    found, d = self, 0
    for k in keys:
        if k is None:
            found, d = unsqueeze(found, d), d + 1
        elif isinstance(k, slice):
            start, stop, step = k.indices(found.shape[d])
            if step != 1:
                raise NotImplementedError(
                    "indexing: slices of sparse tensors have step 1; use index_select()"
                )
            if (start, stop) != (0, found.shape[d]):
                found = narrow(found, d, start, max(stop - start, 0))
            d += 1
        else:
            found = select(found, d, int(k))
            if not is_sparse(found):  # all sparse dims are gone
                rest = tuple(keys[keys.index(k) + 1 :])
                return found[rest] if rest else found
    return found


def reshape(self: Tensor, shape: Any) -> Tensor:
    raise RuntimeError("reshape is not implemented for sparse tensors; use .to_dense()")


def expand(self: Tensor, size: Any) -> Tensor:
    raise RuntimeError("expand is unsupported for Sparse tensors; use .to_dense()")


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "permute": permute, "transpose": transpose, "t": t, "unsqueeze": unsqueeze,
    "squeeze": squeeze, "squeeze.dim": squeeze_dim, "squeeze.dims": _squeezed, "select": select,
    "narrow": narrow, "index_select": index_select, "cat": cat, "stack": stack, "unbind": unbind,
    "_basic_index": basic_index, "reshape": reshape, "flatten": lambda self, *_: reshape(self, ()),
    "expand": expand,
}  # fmt: skip
