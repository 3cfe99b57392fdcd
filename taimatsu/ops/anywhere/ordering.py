"""Order by merging: sort and what follows from sorted lines."""

from __future__ import annotations

import taimatsu as torch

from ..sorting import searchsorted_native
from . import computes
from .lines import (
    comparable,
    find,
    fold_rows,
    iota,
    pick,
    places,
    rows,
    running_count,
    sort_rows,
    unrows,
)


@computes("sort")
def _(self, dim, descending, stable):
    values, index = sort_rows(rows(self, dim), descending)
    return unrows(values, self, dim), unrows(index, self, dim)


@computes("topk")
def _(self, k, dim, largest, sorted):
    values, index = sort_rows(rows(self, dim), largest)
    return tuple(unrows(x.narrow(1, 0, k), self, dim) for x in (values, index))


def _element(x, at, self, dim, keepdim):
    """Of sorted rows (values, index) the one at `at`, (rows, 1)."""
    return tuple(unrows(pick(part, at), self, dim, keepdim) for part in x)


@computes("kthvalue")
def _(self, k, dim, keepdim):
    x = rows(self, dim)
    return _element(sort_rows(x), iota(1, x.device).expand(x.size(0), 1) + (k - 1), self, dim,
                    keepdim)  # fmt: skip


@computes("median.dim")
def _(self, dim, keepdim):
    x = rows(self, dim)
    at = iota(1, x.device).expand(x.size(0), 1) + (x.size(1) - 1) // 2
    if x.dtype.is_floating_point:  # the first NaN, if there is one
        numbers = (~x.isnan()).sum(1, keepdim=True)
        at = torch.where(numbers < x.size(1), numbers, at)
    return _element(sort_rows(x), at, self, dim, keepdim)


@computes("nanmedian.dim")
def _(self, dim, keepdim):
    x = rows(self, dim)
    numbers = (~x.isnan()).sum(1, keepdim=True)
    return _element(sort_rows(x), (numbers - 1).clamp(min=0) // 2, self, dim, keepdim)


@computes("mode")
def _(self, dim, keepdim):
    """The longest run of equal elements; of several the first, and of that the last element."""
    x = rows(self, dim)
    values, index = sort_rows(x)
    if not x.size(1):
        return unrows(values, self, dim, keepdim), unrows(index, self, dim, keepdim)
    length = find(values, values, True) - find(values, values)
    at = find(values, pick(values, length.argmax(1, keepdim=True)), True) - 1
    return _element((values, index), at, self, dim, keepdim)


@computes("_searchsorted")
def _(sorted_sequence, self, out_int32, right):
    n = sorted_sequence.size(-1)
    shared = sorted_sequence.dim() == 1
    sequence = sorted_sequence.reshape(1, n) if shared else sorted_sequence.reshape(-1, n)
    x = self.reshape(1, -1) if shared else self.reshape(sequence.size(0), -1)
    found = find(sequence, x, right).reshape(self.shape)
    return found.to(torch.int32) if out_int32 else found


@computes("_isin")
def _(elements, tests, invert):
    from taimatsu import result_type

    dtype = result_type(elements, tests)
    x, known = elements.to(dtype).reshape(1, -1), tests.to(dtype).reshape(1, -1)
    known = sort_rows(known)[0]
    inside = find(known, x, True) > find(known, x)
    if dtype.is_floating_point:  # NaN equals nothing
        inside = inside & (x == x)
    inside = inside.reshape(elements.shape)
    return ~inside if invert else inside


# ---- counting -----------------------------------------------------------------------------------


@computes("_nonzero")
def _(self):
    at = places((self != 0).reshape(-1))
    columns = []
    for n in reversed(self.shape):
        columns.append(at % n)
        at = torch.div(at, n, rounding_mode="floor")
    return torch.stack(columns[::-1], 1) if columns else at.reshape(-1, 1)[:, :0]


def _runs(x, first, order, with_inverse, with_counts):
    """Values, the run of each element, and lengths: `first` flags where runs begin.

    `order`: where each element was before it was sorted, or None.
    """
    none = first.new_zeros([0], dtype=torch.int64)
    starts = places(first)
    inverse = counts = none
    if with_inverse:
        inverse = running_count(first) - 1
        if order is not None:
            inverse = _inverted(order, inverse)
    if with_counts:
        counts = torch.cat([starts[1:], starts.new_full([1], first.numel())]) - starts \
            if first.numel() else none
    return starts, inverse, counts


def _inverted(order, x):
    """y with y[order[i]] = x[i], of a permutation."""
    back = sort_rows(order.reshape(1, -1))[1]
    return pick(x.reshape(1, -1), back)[0]


def _begins(x):
    """Whether each element of a vector differs from the one before."""
    if not x.numel():
        return x.new_zeros([0], dtype=torch.bool)
    return torch.cat([x.new_ones([1], dtype=torch.bool), x[1:] != x[:-1]])


@computes("_unique")
def _(self, with_inverse, with_counts):
    values, order = sort_rows(self.reshape(1, -1))
    starts, inverse, counts = _runs(self, _begins(values[0]), order[0], with_inverse, with_counts)
    return (pick(values, starts.unsqueeze(0))[0],
            inverse.reshape(self.shape) if with_inverse else inverse, counts)  # fmt: skip


@computes("_unique_consecutive")
def _(self, with_inverse, with_counts):
    x = self.reshape(-1)
    starts, inverse, counts = _runs(self, _begins(x), None, with_inverse, with_counts)
    return (pick(x.unsqueeze(0), starts.unsqueeze(0))[0],
            inverse.reshape(self.shape) if with_inverse else inverse, counts)  # fmt: skip


@computes("_unique_rows")
def _(self, sort):
    """By columns, the last one first: the order of those before stays where one is equal."""
    n, order = self.size(0), iota(self.size(0), self.device)
    if sort:
        for column in reversed(range(self.size(1))):
            x = pick(self[:, column].reshape(1, -1), order.unsqueeze(0))
            order = pick(order.unsqueeze(0), sort_rows(x)[1])[0]
    x = comparable(self).index_select(0, order)
    first = torch.ones([n], dtype=torch.bool, device=self.device)
    if n > 1:
        first[1:] = (x[1:] != x[:-1]).any(1)
    starts, inverse, counts = _runs(self, first, order if sort else None, True, True)
    return order.index_select(0, starts), inverse, counts


@computes("_spread")
def _(counts):
    if counts.numel() and int(counts.min()) < 0:
        raise RuntimeError("repeats can not be negative")
    ends = counts.long().cumsum(0)
    total = int(ends[-1]) if counts.numel() else 0
    return searchsorted_native(ends, iota(total, ends.device), False, True)


@computes("_row_starts")
def _(rows, count):
    return searchsorted_native(rows.long(), iota(count + 1, rows.device), False, False)


@computes("bincount")
def _(self, weights, minlength):
    if self.numel() and int(self.min()) < 0:
        raise RuntimeError("bincount: only supports 1-d non-negative integral inputs")
    size = max(minlength, int(self.max()) + 1 if self.numel() else 0)
    if weights is None:
        from .formulas import counted

        return counted(self.to(torch.int64), size)
    dtype = weights.dtype if weights.dtype == torch.float32 else torch.float64
    total, count = fold_rows(weights.to(dtype).reshape(-1, 1), self, size, "sum")
    return total[:, 0].masked_fill(count == 0, 0)


@computes("_histogram")
def _(self, edges, weight):
    """Part i is edges[i] <= x < edges[i + 1], the last one with its end."""
    x, n = self.reshape(1, -1), edges.numel() - 1
    at = find(edges.reshape(1, -1), x, True)[0] - 1
    at = torch.where(x[0] == edges[-1], n - 1, at)
    inside = (at >= 0) & (at < n) & (x[0] == x[0])
    amount = torch.ones_like(x[0]) if weight is None else weight.reshape(-1).to(self.dtype)
    amount = torch.where(inside, amount, 0).reshape(-1, 1)
    total, count = fold_rows(amount, at.clamp(0, max(n - 1, 0)), n, "sum")
    return total[:, 0].masked_fill(count == 0, 0)


@computes("_histc")
def _(self, bins, low, high):
    x = self.reshape(-1)
    inside = (x >= low) & (x <= high)
    at = ((x.to(torch.float64) - low) * (bins / (high - low) if high > low else 0)).floor()
    at = torch.where(inside, at, 0).to(torch.int64).clamp(0, bins - 1)
    from .formulas import counted

    total = counted(torch.where(inside, at, bins), bins + 1)
    return total[:bins].to(self.dtype)
