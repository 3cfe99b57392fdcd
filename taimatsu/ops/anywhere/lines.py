"""What the other modules share: tensors as lines along one dim, and lines sorted or searched."""

from __future__ import annotations

import math
from typing import Any

import taimatsu as torch

from ..shape import wrap_dim
from . import formulas


def iota(n: int, device: Any, dtype: Any = torch.int64):
    """0 ... n - 1."""
    return formulas.iota(torch.zeros([1], dtype=dtype, device=device).expand(n))


def middle(x, dim: int):
    """`x` as three dims, the middle one `dim`; a tensor without dims as a single element."""
    if not x.dim():
        return x.reshape(1, 1, 1)
    dim = wrap_dim(dim, x.dim())
    return x.reshape(math.prod(x.shape[:dim]), x.shape[dim], math.prod(x.shape[dim + 1 :]))


def rows(x, dim: int):
    """`x` as a matrix whose rows are the lines along `dim`."""
    return x.reshape(1, 1) if not x.dim() else x.movedim(dim, -1).reshape(-1, x.size(dim))


def unrows(y, like, dim: int, keepdim: bool = True):
    """The inverse of `rows`, of rows of any length; of a column the dim may be left out."""
    if not like.dim():
        return y.reshape(())
    sizes = list(like.movedim(dim, -1).shape)
    y = y.reshape(*sizes[:-1], y.size(-1)).movedim(-1, dim)
    return y if keepdim else y.squeeze(dim)


def steps(n: int) -> int:
    """Bisections that places in 0 ... n take, in a few sizes: each is a kernel of its own."""
    return -(-max(n, 1).bit_length() // 8) * 8


def comparable(x):
    """Elements in a dtype that is ordered as they are."""
    return x.to(torch.uint8) if x.dtype == torch.bool else x


def sort_rows(x, descending: bool = False):
    """Rows in order and where each element was, equal ones as before: by merging longer runs."""
    n, dtype = x.size(1), x.dtype
    x, index = comparable(x), iota(n, x.device).expand(x.shape)
    width = 1
    while width < n and x.numel():
        x, index = formulas.merge(x, index, width, descending, steps(width))
        width *= 2
    return x.to(dtype), index


def find(sequence, x, right: bool = False):
    """For each x[r, i] the number of elements of the sorted row sequence[r] before it."""
    return formulas.search(comparable(sequence), comparable(x), right, steps(sequence.size(1)))


def take(x, index):
    """x[a, index[a, i, b], b]; `index` broadcasts."""
    sizes = [x.size(0), index.size(1), x.size(2)]
    return formulas.take(x, index.expand(sizes))


def pick(x, index):
    """x[r, index[r, i]]."""
    return formulas.take(x.unsqueeze(2), index.unsqueeze(2)).squeeze(2)


LINE = 4096  # elements of a long vector that are summed as a row


def running_count(flags):
    """How many flags hold up to and with each place of a vector; a long one as several rows."""
    n = flags.numel()
    x = flags.to(torch.int64)
    if n <= 2 * LINE:
        return x.cumsum(0)
    padded = torch.cat([x, x.new_zeros([-n % LINE])]).reshape(-1, LINE).cumsum(1)
    before = running_count(padded[:, -1]) - padded[:, -1]
    return (padded + before.unsqueeze(1)).reshape(-1)[:n]


def places(flags):
    """Where the flags of a vector hold. Their number is asked of the device."""
    if not flags.numel():
        return flags.new_zeros([0], dtype=torch.int64)
    before = running_count(flags)
    wanted = iota(int(before[-1]), flags.device) + 1
    return find(before.unsqueeze(0), wanted.unsqueeze(0))[0]


def join_runs(x, run, reduce: str, longest: int):
    """x: (n, m), run: (n), equal for neighbours of one run. The last row of a run is all of it."""
    distance = 1
    while distance < longest:
        x = formulas.join(x, run, distance, reduce)
        distance *= 2
    return x


def fold_rows(x, index, size: int, reduce: str):
    """x: (n, m), index: (n). For each of 0 ... size - 1 its rows of `x` as one, and their number.

    Summed in the order in which they stand; what has no rows is undefined.
    """
    keys, order = sort_rows(index.to(torch.int64).unsqueeze(0))
    ends = find(keys, iota(size, x.device).unsqueeze(0), True)[0]
    count = ends - torch.cat([ends.new_zeros([1]), ends[:-1]])
    longest = int(count.max()) if size and index.numel() else 0
    if not longest:
        return x.new_zeros([size, x.size(1)]), count
    x = take(x.unsqueeze(0), order.unsqueeze(2))[0]
    x = join_runs(x, keys[0], reduce, longest)
    return take(x.unsqueeze(0), (ends - 1).clamp(min=0).reshape(1, -1, 1))[0], count
