"""From one layout to another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import taimatsu as torch
from taimatsu import Tensor, _core
from taimatsu.ops.compressed import row_starts, rows_of

from ._parts import (
    BLOCK_LAYOUTS,
    ROW_LAYOUTS,
    Compressed,
    Coo,
    coalesced,
    coo,
    count,
    dense_sizes,
    found_in,
    indices_of,
    keys_of,
    make,
    parts,
    sum_at,
)

__all__ = ["compressed", "sparse_mask", "to_dense", "to_sparse"]

LAYOUTS = (
    _core.sparse_coo, _core.sparse_csr, _core.sparse_csc, _core.sparse_bsr, _core.sparse_bsc,
)  # fmt: skip


def to_dense(tensor: Tensor, dtype: Any = None) -> Tensor:
    """All elements, zeros where there are none."""
    if parts(tensor) is None:
        return tensor if dtype is None else tensor.to(dtype)
    data = coo(tensor)
    sizes = tensor.shape[: data.sparse_dim]
    whole = sum_at(data.values, keys_of(data.indices, sizes), count(sizes))
    whole = whole.reshape(tensor.shape)
    return whole if dtype is None else whole.to(dtype)


def coo_of_dense(tensor: Tensor, sparse_dim: int | None = None) -> Tensor:
    """The elements that aren't zero, or what of the last dims has some."""
    ndim = tensor.dim()
    n = ndim if sparse_dim is None else sparse_dim
    if not 0 <= n <= ndim:
        raise RuntimeError(f"to_sparse: sparse_dim has to be in [0, {ndim}]; got {n}")
    if n == 0 and ndim:
        raise RuntimeError("to_sparse: sparse_dim has to be at least 1 for a tensor with dims")
    with torch.no_grad():
        used = tensor.detach() != 0
        if n < ndim:
            used = used.flatten(n).any(-1)
        if n:
            indices = used.nonzero().t().contiguous()
        else:
            indices = torch.zeros((0, int(used)), dtype=torch.int64, device=tensor.device)
    values = tensor[tuple(indices)] if n else tensor.reshape(1)[: indices.shape[1]]
    return make(Coo(indices, values, True), tensor.shape)


def to_sparse(
    tensor: Tensor, layout: Any = None, blocksize: Any = None, dense_dim: int | None = None,
    sparse_dim: int | None = None,
) -> Tensor:  # fmt: skip
    """A sparse tensor with the elements of `tensor`: of `layout`, coordinates by default."""
    layout = _core.sparse_coo if layout is None else layout
    if layout is _core.strided:
        return to_dense(tensor)
    if layout not in LAYOUTS:
        raise RuntimeError(f"to_sparse: there are no tensors of layout {layout}")
    if blocksize is not None and layout not in BLOCK_LAYOUTS:
        raise RuntimeError(
            f"to_sparse: a blocksize goes with torch.sparse_bsr and torch.sparse_bsc; got {layout}"
        )
    data = parts(tensor)
    if data is None:
        if layout is _core.sparse_coo:
            if dense_dim is not None:
                sparse_dim = tensor.dim() - dense_dim
            return coo_of_dense(tensor, sparse_dim)
        n = tensor.dim() - (dense_dim or 0)
        if n < 2:
            raise RuntimeError(
                f"to_sparse: {layout} needs at least 2 dims that are not dense; got a tensor of "
                f"shape {tuple(tensor.shape)} and dense_dim {dense_dim or 0}"
            )
        source = coo_of_dense(tensor, n)
        return compressed(coo(source), tensor.shape, layout, blocksize)
    if layout is data.layout and (blocksize is None or tuple(blocksize) == data.block):
        return tensor
    if layout is _core.sparse_coo:
        return make(coo(tensor), tensor.shape)
    return compressed(coo(tensor), tensor.shape, layout, blocksize)


def compressed(data: Coo, size: Sequence[int], layout: Any, blocksize: Any = None) -> Tensor:
    """Coordinates (*batch, row, column) by rows or columns, or by blocks of them."""
    if data.sparse_dim < 2:
        raise RuntimeError(
            f"to_sparse: {layout} needs 2 sparse dims; got a tensor with {data.sparse_dim}"
        )
    if layout in BLOCK_LAYOUTS:
        if blocksize is None or len(blocksize) != 2 or min(blocksize) < 1:
            raise RuntimeError(f"to_sparse: {layout} needs a blocksize of 2 sizes; got {blocksize}")
        high, wide = blocksize
    else:
        high, wide = 1, 1
    *batch, rows, columns = size[: data.sparse_dim]
    if rows % high or columns % wide:
        raise RuntimeError(
            f"to_sparse: blocks of {(high, wide)} do not divide a matrix of {(rows, columns)}"
        )
    by_rows = layout in ROW_LAYOUTS
    with torch.no_grad():
        r, c = data.indices[-2], data.indices[-1]
        if data.coalesced and layout is _core.sparse_csr and not batch:
            starts = row_starts(r, rows)
            return make(Compressed(layout, starts, c.contiguous(), data.values), size)
        lines, across = (r // high, c // wide) if by_rows else (c // wide, r // high)
        sizes = (rows // high, columns // wide) if by_rows else (columns // wide, rows // high)
        many = count(batch)
        item = keys_of(data.indices[:-2], batch)
        in_order = data.coalesced and by_rows and high == wide == 1
        if not in_order:
            blocks = keys_of(torch.stack([item, lines, across]), (many, *sizes))
            used, at = torch.unique(blocks, return_inverse=True)
            item, lines, across = indices_of(used, (many, *sizes))
            inside = (at * high + r % high) * wide + c % wide
        each = _equal_counts(item, many)
        starts = torch.bincount(item * sizes[0] + lines, minlength=many * sizes[0])
        starts = starts.reshape(*batch, sizes[0]).cumsum(-1)
        starts = torch.cat([starts.new_zeros((*batch, 1)), starts], -1)
        plain = across.reshape(*batch, each)
    values = data.values if in_order else sum_at(data.values, inside, many * each * high * wide)
    block = (high, wide) if layout in BLOCK_LAYOUTS else ()
    values = values.reshape(*batch, each, *block, *dense_sizes(data, size))
    return make(Compressed(layout, starts, plain, values), size)


def _equal_counts(item: Tensor, many: int) -> int:
    """How many elements each of the matrices of a batch has: as many as each other."""
    if many == 1:
        return item.shape[0]
    counts = torch.bincount(item, minlength=many).tolist()
    if len(set(counts)) > 1:
        raise RuntimeError(
            "to_sparse: Expect the same number of specified elements per batch; got "
            f"{counts}"
        )
    return counts[0] if counts else 0


def lines_of(data: Compressed) -> Tensor:
    """(batch, n): the row (of column layouts: the column) of each element or block."""
    if not data.batch_dim:
        return rows_of(data.compressed).unsqueeze(0)
    starts = data.compressed.reshape(-1, data.compressed.shape[-1]).long()
    lengths = starts.diff(dim=-1)
    many, lines = lengths.shape
    all_lines = torch.arange(lines, device=starts.device).repeat(many)
    return torch.repeat_interleave(all_lines, lengths.reshape(-1)).reshape(many, data.nnz)


def expanded(data: Compressed, size: Sequence[int]) -> Coo:
    """The coordinates of all elements that rows, columns or blocks hold, in order."""
    batch = size[: data.batch_dim]
    high, wide = data.block
    with torch.no_grad():
        lines = lines_of(data)
        if data.layout is _core.sparse_csr and not batch:
            return Coo(torch.cat([lines, data.plain.unsqueeze(0).long()]), data.values, True)
        plain = data.plain.reshape(lines.shape).long()
        r, c = (lines, plain) if data.by_rows else (plain, lines)
        places = torch.arange(high * wide, device=r.device)
        r = (r * high).unsqueeze(-1) + places // wide
        c = (c * wide).unsqueeze(-1) + places % wide
        item = torch.arange(lines.shape[0], device=r.device).reshape(-1, 1, 1).expand(r.shape)
        indices = torch.cat([
            indices_of(item.reshape(-1), batch), r.reshape(1, -1), c.reshape(1, -1),
        ])  # fmt: skip
    used = len(batch) + 1 + 2 * (data.layout in BLOCK_LAYOUTS)
    values = data.values.reshape(-1, *data.values.shape[used:])
    in_order = data.layout is _core.sparse_csr
    return coalesced(Coo(indices, values, in_order), size)


def sparse_mask(tensor: Tensor, mask: Tensor) -> Tensor:
    """The elements of `tensor` where the sparse tensor `mask` has some."""
    where = parts(mask)
    if where is None:
        raise RuntimeError("sparse_mask: the mask has to be a sparse tensor; call .to_sparse()")
    if tensor.shape != mask.shape:
        raise RuntimeError(
            f"sparse_mask: operands have incompatible sizes: {tuple(tensor.shape)} and "
            f"{tuple(mask.shape)}"
        )
    places = coo(mask)
    if where.layout is not _core.sparse_coo:
        block = where.block if where.layout in BLOCK_LAYOUTS else None
        picked = make(places.holding(values_at(tensor, places)), mask.shape)
        return to_sparse(picked, where.layout, block)
    return make(places.holding(values_at(tensor, places)), mask.shape)


def values_at(tensor: Tensor, places: Coo) -> Tensor:
    """The values of `tensor`, dense or sparse, at coordinates."""
    data = parts(tensor)
    if data is None:
        if not places.sparse_dim:
            return tensor.unsqueeze(0).expand(places.nnz, *tensor.shape)
        return tensor[tuple(places.indices)]
    have = coalesced(coo(tensor), tensor.shape)
    if have.sparse_dim != places.sparse_dim:
        return values_at(to_dense(tensor), places)
    sizes = tensor.shape[: have.sparse_dim]
    with torch.no_grad():
        hit, at = found_in(keys_of(have.indices, sizes), keys_of(places.indices, sizes))
    if not have.nnz:
        return have.values.new_zeros((places.nnz, *have.values.shape[1:]))
    hit = hit.reshape(-1, *[1] * (have.values.dim() - 1))
    return torch.where(hit, have.values[at], have.values.new_zeros(()))
