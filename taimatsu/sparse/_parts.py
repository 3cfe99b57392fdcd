"""What a sparse tensor is made of, and the arithmetic of its indices.

A sparse tensor is sizes, a dtype and a device to the core, and an object of one of these classes:
dense tensors that are all of its data. The tape knows the values; what ops on sparse tensors do,
they do to the parts by ops on dense ones, and their derivatives follow from that.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any

import taimatsu as torch
from taimatsu import Tensor, _core

__all__ = ["Compressed", "Coo", "coo", "is_sparse", "make", "parts", "replace"]

ROW_LAYOUTS = (_core.sparse_csr, _core.sparse_bsr)
BLOCK_LAYOUTS = (_core.sparse_bsr, _core.sparse_bsc)


class Coo:
    """Coordinates: `indices` (sparse dims, n), int64; `values` (n, *dense sizes).

    Elements at equal indices are added. `coalesced`: there are none, and the indices are in
    lexicographic order.
    """

    __slots__ = ("coalesced", "indices", "values")
    layout = _core.sparse_coo

    def __init__(self, indices: Tensor, values: Tensor, coalesced: bool = False):
        self.indices, self.values = indices, values
        self.coalesced = coalesced or values.shape[0] < 2

    def holding(self, values: Tensor) -> Coo:
        """Other values at the same places."""
        return Coo(self.indices, values, self.coalesced)

    @property
    def sparse_dim(self) -> int:
        return self.indices.shape[0]

    @property
    def nnz(self) -> int:
        return self.values.shape[0]

    def tensors(self) -> tuple[Tensor, ...]:
        return self.indices, self.values

    def rebuilt(self, tensors: Sequence[Tensor]) -> Coo:
        """The same with what was made of each of `tensors()`."""
        indices, values = tensors
        return Coo(indices, values, self.coalesced)


class Compressed:
    """Rows (csr, bsr) or columns (csc, bsc), or blocks of them, one after the other.

    `compressed` (*batch, rows + 1): where each begins; `plain` (*batch, n): the columns; `values`
    (*batch, n, *block, *dense sizes).
    """

    __slots__ = ("compressed", "layout", "plain", "values")

    def __init__(self, layout: Any, compressed: Tensor, plain: Tensor, values: Tensor):
        self.layout, self.compressed, self.plain, self.values = layout, compressed, plain, values

    def holding(self, values: Tensor) -> Compressed:
        """Other values at the same places."""
        return Compressed(self.layout, self.compressed, self.plain, values)

    @property
    def by_rows(self) -> bool:
        return self.layout in ROW_LAYOUTS

    @property
    def batch_dim(self) -> int:
        return self.compressed.dim() - 1

    @property
    def block(self) -> tuple[int, int]:
        """The sizes of a block; of the layouts without them (1, 1)."""
        if self.layout not in BLOCK_LAYOUTS:
            return 1, 1
        at = self.batch_dim + 1
        return self.values.shape[at], self.values.shape[at + 1]

    @property
    def nnz(self) -> int:
        return self.plain.shape[-1]

    def tensors(self) -> tuple[Tensor, ...]:
        return self.compressed, self.plain, self.values

    def rebuilt(self, tensors: Sequence[Tensor]) -> Compressed:
        return Compressed(self.layout, *tensors)


Parts = Coo | Compressed


def is_sparse(x: Any) -> bool:
    """Whether it is a tensor of any sparse layout."""
    return isinstance(x, Tensor) and _core.sparse_parts(x) is not None


def parts(tensor: Tensor) -> Any:
    """The parts of a sparse tensor, None of a dense one."""
    return _core.sparse_parts(tensor)


def coo(tensor: Tensor) -> Coo:
    """The parts of a sparse tensor as coordinates."""
    found = parts(tensor)
    if isinstance(found, Coo):
        return found
    return _expanded()(found, tensor.shape)


@functools.cache
def _expanded() -> Any:  # its module needs this one
    from ._convert import expanded

    return expanded


def make(data: Parts, size: Sequence[int]) -> Tensor:
    """The sparse tensor with these parts and sizes."""
    return _core.make_sparse(data, tuple(size), data.values.dtype, data.values.device)


def replace(tensor: Tensor, data: Parts, size: Sequence[int] | None = None) -> Tensor:
    """Gives a sparse tensor other parts, in place."""
    _core.set_sparse(tensor, data, tuple(tensor.shape if size is None else size))
    return tensor


# ---- indices ------------------------------------------------------------------------------------


def strides_of(sizes: Sequence[int]) -> list[int]:
    """How far apart neighbours along each dim are when elements are counted row by row."""
    strides = [1] * len(sizes)
    for d in reversed(range(len(sizes) - 1)):
        strides[d] = strides[d + 1] * max(sizes[d + 1], 1)
    if strides and strides[0] * max(sizes[0], 1) >= 2**63:
        raise RuntimeError(f"sparse: an int64 doesn't count the positions in {tuple(sizes)}")
    return strides


def keys_of(indices: Tensor, sizes: Sequence[int]) -> Tensor:
    """For each column of indices one number that orders them as the indices do."""
    if not sizes:
        return torch.zeros(indices.shape[1], dtype=torch.int64, device=indices.device)
    steps = torch.tensor(strides_of(sizes), device=indices.device)
    return (indices * steps.unsqueeze(1)).sum(0)


def indices_of(keys: Tensor, sizes: Sequence[int]) -> Tensor:
    """The inverse of `keys_of`."""
    if not sizes:
        return torch.zeros((0, keys.shape[0]), dtype=torch.int64, device=keys.device)
    steps = strides_of(sizes)
    rows = [(keys // step) % max(n, 1) for step, n in zip(steps, sizes, strict=True)]
    return torch.stack(rows)


def sum_at(values: Tensor, at: Tensor, count: int) -> Tensor:
    """(count, ...): zeros, to which values[i] is added at at[i]; of bools whether any is true."""
    if values.dtype is torch.bool:
        return sum_at(values.to(torch.int64), at, count) != 0
    return values.new_zeros((count, *values.shape[1:])).index_add_(0, at, values)


def coalesced(data: Coo, size: Sequence[int]) -> Coo:
    """In order, with the elements at equal indices added."""
    if data.coalesced:
        return data
    sizes = size[: data.sparse_dim]
    with torch.no_grad():
        keys, at = torch.unique(keys_of(data.indices, sizes), return_inverse=True)
        indices = indices_of(keys, sizes)
    return Coo(indices, sum_at(data.values, at, keys.shape[0]), True)


def dense_sizes(data: Coo, size: Sequence[int]) -> tuple[int, ...]:
    return tuple(size[data.sparse_dim :])


def count(sizes: Sequence[int]) -> int:
    """How many elements there are in these sizes."""
    return math.prod(sizes)


def found_in(keys: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor]:
    """Which of the numbers `wanted` are among `keys`, which rise, and where."""
    if not keys.shape[0]:
        return torch.zeros_like(wanted, dtype=torch.bool), torch.zeros_like(wanted)
    at = torch.searchsorted(keys, wanted).clamp(max=keys.shape[0] - 1)
    return keys[at] == wanted, at
