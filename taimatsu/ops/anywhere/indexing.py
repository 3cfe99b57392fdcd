"""Reading and writing at computed places.

Reads are one formula. A write turns round: each place of the result finds out which element was
written there last, and reads it. Where several are added up, they are sorted by place and runs of
equal places joined, in the order in which they stood.
"""

from __future__ import annotations

import math

import taimatsu as torch

from ..shape import wrap_dim
from . import computes
from .formulas import writer
from .lines import fold_rows, iota, middle, pick, places, running_count, take

# ---- one dim ------------------------------------------------------------------------------------


def _cut(x, index, dim):
    """`x` with the sizes of `index` in dims other than `dim`."""
    for d in range(x.dim()):
        if d != dim and x.size(d) != index.size(d):
            x = x.narrow(d, 0, index.size(d))
    return x


@computes("gather")
def gather(self, dim, index, sparse_grad=False):
    if not index.numel():
        return self.new_zeros(index.shape)
    if not self.dim() or not index.dim():
        return take(self.reshape(1, -1, 1), index.reshape(1, -1, 1)).reshape(index.shape)
    dim = wrap_dim(dim, self.dim())
    x = _cut(self, index, dim)
    return take(middle(x, dim), middle(index, dim)).reshape(index.shape)


@computes("index_select")
def index_select(self, dim, index):
    if not self.dim():
        return self.clone()
    dim = wrap_dim(dim, self.dim())
    sizes = list(self.shape)
    sizes[dim] = index.numel()
    if not math.prod(sizes):
        return self.new_zeros(sizes)
    return take(middle(self, dim), index.reshape(1, -1, 1)).reshape(sizes)


@computes("embedding")
def _(weight, indices, padding_idx, scale_grad_by_freq, sparse):
    found = index_select(weight, 0, indices.reshape(-1))
    return found.reshape(*indices.shape, weight.size(1))


def _written(self, last, source):
    """Three dims: `source` where it has written (`last`, see `formulas.writer`), else `self`."""
    if not source.size(1):
        return self.clone()
    return torch.where(last > 0, take(source, (last - 1).clamp(min=0)), self)


def _write(self, dim, index, source):
    """source[i][j] to the place [index[i][j]][j]; `source` has the sizes of `index`."""
    if not index.numel():
        return self.clone()
    if not self.dim():
        return source.reshape(-1)[-1].clone()
    dim = wrap_dim(dim, self.dim())
    whole, x = self, self
    x = _cut(x, index, dim)
    last = writer(middle(index, dim), x.size(dim))
    new = _written(middle(x, dim), last, middle(source, dim)).reshape(x.shape)
    if x.shape == whole.shape:
        return new
    out = whole.clone()
    _cut(out, index, dim).copy_(new)
    return out


def _as_index(index, src):
    """`src` cut to the sizes of `index`."""
    for d in range(src.dim() if index.dim() else 0):
        src = src.narrow(d, 0, index.size(d))
    return src


@computes("scatter")
def _(self, dim, index, src):
    return _write(self, dim, index, _as_index(index, src))


@computes("scatter.value")
def _(self, dim, index, value):
    return _write(self, dim, index, self.new_full([1], value).reshape([1] * index.dim())
                  .expand(index.shape))  # fmt: skip


def _along(self, dim, index, source):
    """An index of whole slices as one of elements, and the source with its sizes."""
    if not self.dim():
        return index.reshape(-1), source.reshape(-1)
    dim = wrap_dim(dim, self.dim())
    sizes = list(self.shape)
    sizes[dim] = index.numel()
    at = index.reshape([-1 if d == dim else 1 for d in range(self.dim())]).expand(sizes)
    return at, source.expand(sizes) if not source.dim() else source.reshape(sizes)


@computes("index_copy")
def _(self, dim, index, source):
    return _write(self, dim, *_along(self, dim, index, source))


@computes("_index_fill")
def _(self, dim, index, value):
    return _write(self, dim, *_along(self, dim, index, value.to(self.dtype)))


# ---- sums, products, extrema at places -----------------------------------------------------------


def _wide(dtype):
    """What many are added up in."""
    if dtype in (torch.float16, torch.bfloat16):
        return torch.float32
    return torch.uint8 if dtype == torch.bool else dtype


def fold_into(self, place, source, reduce, include_self=True):
    """`self` and `source` flat, `place` positions in `self`: all that share a place as one."""
    if not place.numel():
        return self.clone()
    wide = _wide(self.dtype)
    columns = source.reshape(place.numel(), -1).to(wide)
    folded, count = fold_rows(columns, place, self.size(0), reduce)
    old = self.to(wide)
    joined = {
        "sum": lambda: old + folded, "prod": lambda: old * folded,
        "amax": lambda: torch.maximum(old, folded), "amin": lambda: torch.minimum(old, folded),
    }[reduce]() if include_self else folded  # fmt: skip
    return torch.where(count.unsqueeze(1) > 0, joined, old).to(self.dtype)


def _fold(self, dim, index, src, reduce, include_self=True):
    """As `_write`, with what is written joined."""
    if not index.numel():
        return self.clone()
    if not self.dim():
        return fold_into(self.reshape(1, 1), index.reshape(-1), src, reduce,
                         include_self).reshape(())  # fmt: skip
    dim = wrap_dim(dim, self.dim())
    x = _cut(self, index, dim)
    at, b = middle(index, dim), middle(x, dim).size(2)
    device = self.device
    a = iota(at.size(0), device).reshape(-1, 1, 1)
    columns = iota(b, device)
    inside = (at >= 0) & (at < x.size(dim))
    _all_inside(inside, x.size(dim))
    place = (a * x.size(dim) + at) * b + columns
    new = fold_into(x.reshape(-1, 1), place.reshape(-1), src.reshape(-1, 1), reduce, include_self)
    new = new.reshape(x.shape)
    if x.shape == self.shape:
        return new
    out = self.clone()
    _cut(out, index, dim).copy_(new)
    return out


def _all_inside(inside, size):
    if not bool(inside.all()):
        raise RuntimeError(f"index out of bounds for a dim of size {size}")


@computes("scatter_add")
def scatter_add(self, dim, index, src):
    return _fold(self, dim, index, _as_index(index, src), "sum")


@computes("_scatter_fold")
def _(self, dim, index, src, reduce, include_self):
    return _fold(self, dim, index, _as_index(index, src), reduce, include_self)


def _fold_slices(self, dim, index, source, reduce, include_self=True):
    """Slices along `dim`: these are sorted as a whole."""
    if not self.dim():
        return _fold(self, dim, index, source, reduce, include_self)
    dim = wrap_dim(dim, self.dim())
    first = self.movedim(dim, 0)
    n = index.numel()
    at = torch.where(index < 0, index + self.size(dim), index).reshape(-1)
    _all_inside((at >= 0) & (at < self.size(dim)), self.size(dim))
    if not first.numel() or not n:
        return self.clone()
    slices = source.reshape([n if d == dim else k for d, k in enumerate(self.shape)])
    new = fold_into(first.reshape(first.size(0), -1), at, slices.movedim(dim, 0).reshape(n, -1),
                    reduce, include_self)  # fmt: skip
    return new.reshape(first.shape).movedim(0, dim).contiguous()


@computes("index_add")
def _(self, dim, index, source, alpha):
    if alpha != 1:
        source = source * alpha
    return _fold_slices(self, dim, index, source, "sum")


@computes("_index_fold")
def _(self, dim, index, source, reduce, include_self):
    return _fold_slices(self, dim, index, source, reduce, include_self)


# ---- several indices at once ---------------------------------------------------------------------


def _split(self, indices):
    """The dims that are indexed moved to the front, where the result has the index's dims, and
    the flat position that each set of indices is."""
    given = [d for d, i in enumerate(indices) if i is not None]
    together = given == list(range(given[0], given[-1] + 1))
    rest = [d for d in range(self.dim()) if d not in given]
    moved = self.permute(*given, *rest)
    sizes = torch.broadcast_shapes(*(indices[d].shape for d in given))
    flat = iota(1, self.device)[0]
    ok = flat == 0
    for d in given:
        n = self.size(d)
        i = indices[d].to(torch.int64)
        good = (i >= -n) & (i < n)
        i = torch.where(i < 0, i + n, i)
        flat, ok = flat * n + i, ok & good
    if ok.numel() and not bool(ok.all()):
        raise IndexError(f"index is out of bounds for dims of sizes {list(self.shape)}")
    count = math.prod(self.shape[d] for d in given)
    tail = [self.size(d) for d in rest]
    at = given[0] if together else 0  # where the index's dims stand in the result
    return moved, flat.expand(sizes), count, tail, at


def _from_front(x, lead: int, at: int):
    """The leading dims moved behind the `at` dims that follow them."""
    order = [*range(lead, lead + at), *range(lead), *range(lead + at, x.dim())]
    return x.permute(*order)


@computes("_index")
def _(self, indices):
    if all(i is None for i in indices):
        return self.clone()
    moved, flat, count, tail, at = _split(self, indices)
    sizes = [*flat.shape, *tail]
    if not math.prod(sizes):
        found = self.new_zeros(sizes)
    else:
        x = moved.reshape(1, count, -1)
        found = take(x, flat.reshape(1, -1, 1)).reshape(sizes)
    return _from_front(found, flat.dim(), at).contiguous()


@computes("_index_put_")
def _(self, indices, values, accumulate):
    if all(i is None for i in indices):
        return self + values if accumulate else values.expand(self.shape).clone()
    moved, flat, count, tail, at = _split(self, indices)
    width = math.prod(tail)
    n = flat.numel()
    if not n or not width:
        return self.clone()
    lead = flat.dim()
    result = [*tail[:at], *flat.shape, *tail[at:]]
    order = [*range(at, at + lead), *range(at), *range(at + lead, len(result))]
    source = values.to(self.dtype).expand(result).permute(*order).reshape(1, n, width)
    x = moved.reshape(1, count, width)
    if accumulate:
        new = fold_into(x[0], flat.reshape(-1), source, "sum")
    else:
        new = _written(x, writer(flat.reshape(1, n, 1), count), source)
    back = sorted(range(self.dim()), key=_moved_order(indices, self.dim()).__getitem__)
    return new.reshape(moved.shape).permute(*back)


def _moved_order(indices, dims: int) -> list[int]:
    """The permutation that `_split` applies."""
    given = [d for d, i in enumerate(indices) if i is not None]
    return [*given, *(d for d in range(dims) if d not in given)]


# ---- masks --------------------------------------------------------------------------------------


@computes("_rows_where")
def _(self, mask):
    lead = mask.dim()
    at = places(mask.reshape(-1))
    sizes = [at.numel(), *self.shape[lead:]]
    if not math.prod(sizes):
        return self.new_zeros(sizes)
    return take(self.reshape(1, mask.numel(), -1), at.reshape(1, -1, 1)).reshape(sizes)


@computes("masked_select")
def _(self, mask):
    sizes = torch.broadcast_shapes(self.shape, mask.shape)
    x, flags = self.expand(sizes).reshape(1, -1), mask.expand(sizes).reshape(-1)
    at = places(flags).unsqueeze(0)
    return pick(x, at)[0] if at.numel() else x.new_zeros([0])


@computes("masked_scatter")
def _(self, mask, source):
    sizes = torch.broadcast_shapes(self.shape, mask.shape)
    flags = mask.expand(sizes).reshape(-1)
    if not flags.numel():
        return self.expand(sizes).clone()
    before = running_count(flags)
    if int(before[-1]) > source.numel():
        raise RuntimeError("masked_scatter: expected self and source to have same dtypes, and "
                           f"source at least {int(before[-1])} elements; got {source.numel()}")
    if not source.numel():
        return self.expand(sizes).clone()
    given = pick(source.reshape(1, -1), (before - 1).clamp(min=0).unsqueeze(0))[0]
    return torch.where(flags, given, self.expand(sizes).reshape(-1)).reshape(sizes)


