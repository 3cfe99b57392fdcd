"""Writing at given places: scatter and the index_* family, masks, flat positions."""

from __future__ import annotations

import math

from taimatsu import _core
from taimatsu._core import int32, int64

from .creation import arange, full
from .indexing import _dim, _fitting, gather, getitem, scatter_add, written
from .shape import cat
from .table import composite, native


def _same_dtype(name: str, self, src) -> None:
    if src.dtype != self.dtype:
        raise RuntimeError(f"{name}(): Expected self.dtype to be equal to src.dtype; got "
                           f"{self.dtype} and {src.dtype}")


def _grid(sizes, dim: int, at):
    """The coordinates of every element of `sizes`, with `at` in place of those along `dim`."""
    return tuple(
        at if d == dim else arange(n, device=at.device).reshape([-1] + [1] * (len(sizes) - d - 1))
        for d, n in enumerate(sizes)
    )


def _checked(index, n: int, name: str, error: type[Exception] = RuntimeError):
    """`index`; `error` if a position isn't in range(n)."""
    if index.numel() and not index.is_meta:
        low, high = int(index.min()), int(index.max())
        if low < 0 or high >= n:
            bad = low if low < 0 else high
            raise error(
                f"{name}(): index {bad} is out of bounds for dimension with size {n}")
    return index


def _integers(name: str, index) -> None:
    if index.dtype not in (int64, int32):
        raise RuntimeError(f"{name}(): Expected dtype int32/int64 for index; got {index.dtype}")


def _scattered(name, self, dim, index, src, accumulate=False):
    """A copy of `self` in which src[i][j] stands at (or is added to) [index[i][j]][j]."""
    dim = _dim(self, dim)
    _integers(name, index)
    if index.numel() == 0:
        return self.clone()
    _fitting(name, self, dim, index)
    if not self.dim():
        return _scattered(name, self.reshape(1), 0, index.reshape(-1), src.reshape(-1),
                          accumulate).reshape(())
    index, src = (x if x.dim() else x.reshape(1) for x in (index, src))
    sizes = list(index.shape)
    for d, n in enumerate(sizes):
        if src.dim() != len(sizes) or n > src.size(d):
            raise RuntimeError(f"{name}(): Expected index {sizes} to be no larger than src "
                               f"{list(src.shape)}")
    src = src[tuple(slice(n) for n in sizes)]
    return written(name, self, dim, index, src, accumulate)


_REDUCE = {"add": "sum", "multiply": "prod"}


@composite("scatter(Tensor self, int dim, Index index, Tensor src) -> Tensor", inplace=True,
           out=True)
def scatter(self, dim, index, src):
    """self[index[i][j][k]][j][k] = src[i][j][k] for dim 0, and so on.

    Shapes: `index` has the dims of `self` and is nowhere larger than `src`, nor (but for `dim`)
    than `self`. Of several writes to one place the last stays.
    """
    _same_dtype("scatter", self, src)
    return _scattered("scatter", self, dim, index, src)


@composite("scatter.value(Tensor self, int dim, Index index, Number value) -> Tensor",
           inplace=True, out=True)
def scatter_value(self, dim, index, value):
    """`value` at every place that `index` names."""
    src = full(list(index.shape), value, dtype=self.dtype, device=self.device)
    return _scattered("scatter", self, dim, index, src)


@composite("scatter.reduce(Tensor self, int dim, Index index, Tensor src, *, str reduce) -> Tensor",
           inplace=True, out=True)
def scatter_with(self, dim, index, src, reduce):
    """`scatter_reduce` with "add" or "multiply"."""
    if reduce not in _REDUCE:
        raise RuntimeError(f"scatter: reduce argument must be either add or multiply,"
                           f" got {reduce!r}")
    _same_dtype("scatter", self, src)
    return scatter_reduce(self, dim, index, src, _REDUCE[reduce])


@composite("scatter.value_reduce(Tensor self, int dim, Index index, Number value, *, str reduce)"
           " -> Tensor", inplace=True, out=True)
def scatter_value_with(self, dim, index, value, reduce):
    """`scatter_reduce` of one value with "add" or "multiply"."""
    src = full(list(index.shape), value, dtype=self.dtype, device=self.device)
    return scatter_with(self, dim, index, src, reduce=reduce)


_NEUTRAL = {"sum": 0, "mean": 0, "prod": 1}


def _extreme(self, largest: bool):
    """What a maximum (or minimum) starts from."""
    from taimatsu import finfo, iinfo

    if self.dtype.is_floating_point:
        return -math.inf if largest else math.inf
    if self.dtype == _core.bool:
        return not largest
    info = (finfo if self.dtype.is_floating_point else iinfo)(self.dtype)
    return info.min if largest else info.max


@composite("scatter_reduce(Tensor self, int dim, Index index, Tensor src, str reduce, *,"
           " bool include_self=True) -> Tensor", inplace=True, out=True)
def scatter_reduce(self, dim, index, src, reduce, include_self):
    """All src[i][j] with one place [index[i][j]][j] there as one value.

    reduce   "sum", "prod", "mean", "amax" or "amin"; the value that was there takes part
             if `include_self`.
    """
    if reduce not in ("sum", "prod", "mean", "amax", "amin"):
        raise RuntimeError("scatter_reduce: reduce argument must be one of sum, prod, mean, amax, "
                           f"amin; got {reduce!r}")
    dim = _dim(self, dim)
    _same_dtype("scatter", self, src)
    _integers("scatter_reduce", index)
    if index.numel() == 0:
        return self.clone()
    if not self.dim():
        return scatter_reduce(self.reshape(1), 0, index.reshape(-1), src.reshape(-1), reduce,
                              include_self=include_self).reshape(())
    index, src = (t if t.dim() else t.reshape(1) for t in (index, src))
    _fitting("scatter_reduce", self, dim, index)
    _checked(index, self.size(dim), "scatter_reduce")
    src = src[tuple(slice(n) for n in index.shape)]
    if reduce in ("sum", "mean"):
        return _scatter_sum(self, dim, index, src, reduce, include_self)
    return _scatter_fold(self, dim, index, src, reduce, include_self)


def _counts(self, dim, index):
    """How many elements go to each place."""
    zeros = self.detach().new_zeros(self.shape, dtype=int64)
    return scatter_add(zeros, dim, index, index.new_ones(index.shape, dtype=int64))


def _scatter_sum(self, dim, index, src, reduce, include_self):
    if include_self and reduce == "sum":
        return scatter_add(self, dim, index, src)
    count = _counts(self, dim, index)
    start = self if include_self else self.masked_fill(count > 0, 0)
    total = scatter_add(start, dim, index, src)
    if reduce == "sum":
        return total
    count = (count + int(include_self)).clamp(min=1)
    if total.dtype.is_floating_point or total.is_complex():
        return (total / count).to(self.dtype)
    return total.div(count, rounding_mode="floor").to(total.dtype)


def _scatter_fold(self, dim, index, src, reduce, include_self):
    """prod, amax, amin: elements of one place in sorted order next to each other, then rounds that
    take the k-th of each place."""
    from .arithmetic import maximum, minimum, mul

    fold = {"prod": mul, "amax": maximum, "amin": minimum}[reduce]
    out = self
    if not include_self:
        neutral = 1 if reduce == "prod" else _extreme(self, reduce == "amax")
        out = self.masked_fill(_counts(self, dim, index) > 0, neutral)
    if index.is_meta:
        return out.clone()
    rank = _ranks(index, dim)
    lines = arange(index.size(dim)).reshape([-1] + [1] * (index.dim() - dim - 1))
    lines = lines.expand(index.shape)
    for k in range(int(rank.max()) + 1):
        # Places that have a k-th element, and which it is; elsewhere the neutral one.
        now = rank == k
        where_ = getitem(index, now)
        grid = [g.expand(index.shape) for g in _grid(index.shape, dim, lines)]
        at = tuple(where_ if d == dim else getitem(g, now) for d, g in enumerate(grid))
        out = out.index_put(at, fold(getitem(out, at), getitem(src, now)))
    return out


def _ranks(index, dim):
    """How many equal entries of `index` stand before each along `dim`."""
    from .reduction import cummax
    from .sorting import sort

    ordered, order = sort(index, dim)
    n = index.size(dim)
    place = arange(n).reshape([-1] + [1] * (index.dim() - dim - 1)).expand(index.shape)
    first = cat([ordered.narrow(dim, 0, 1) == ordered.narrow(dim, 0, 1),
                 ordered.narrow(dim, 1, n - 1) != ordered.narrow(dim, 0, n - 1)], dim)
    begin = cummax(place * first, dim)[0]
    return (place - begin).new_zeros(index.shape).scatter(dim, order, place - begin)


# ---- slices along a dim -------------------------------------------------------------------------


def _vector(name: str, index) -> None:
    if index.dim() > 1:
        raise RuntimeError(f"{name}(): Index is supposed to be a vector; got {index.dim()} dims")
    _integers(name, index)


def _wrapped(name: str, index, n: int):
    if index.numel() and not index.is_meta:
        low, high = int(index.min()), int(index.max())
        if low < -n or high >= n:
            raise IndexError(f"{name}(): index out of range in self; positions {low} to {high} of "
                             f"{n}")
    return index % n if n else index


@composite("index_fill(Tensor self, int dim, Tensor index, Tensor|Number value) -> Tensor",
           inplace=True, out=False)
def index_fill(self, dim, index, value):
    """A copy with `value` in the slices of `dim` at the positions `index`."""
    dim = _dim(self, dim)
    _vector("index_fill", index)
    if isinstance(value, _core.Tensor) and value.dim():
        raise RuntimeError("index_fill_ only supports a 0-dimensional value tensor, but got tensor "
                           f"with {value.dim()} dimension(s).")
    n = self.size(dim) if self.dim() else 1
    hit = self.detach().new_zeros([n], dtype=_core.bool)
    hit[_wrapped("index_fill", index.reshape(-1).long(), n)] = True
    hit = hit.reshape([-1] + [1] * (self.dim() - dim - 1)) if self.dim() else hit.reshape(())
    return self.masked_fill(hit, value)


@composite("index_copy(Tensor self, int dim, Tensor index, Tensor source) -> Tensor",
           inplace=True, out=True)
def index_copy(self, dim, index, source):
    """A copy with the slices of `dim` at the positions `index` replaced by those of `source`."""
    dim = _dim(self, dim)
    _vector("index_copy", index)
    if source.dtype != self.dtype:
        raise RuntimeError("index_copy_(): self and source expected to have the same dtype,"
                           " but got "
                           f"(self) {self.dtype} and (source) {source.dtype}")
    if not self.dim():
        _checked(index, 1, "index_copy", IndexError)
        return source.reshape(()).clone()
    wanted = list(self.shape)
    wanted[dim] = index.numel()
    if list(source.shape) != wanted and not (source.dim() == 0 and math.prod(wanted) == 1):
        raise RuntimeError(f"index_copy_(): Source/destination tensor must have same slice shapes; "
                           f"expected {wanted}, got {list(source.shape)}")
    index = _checked(index.reshape(-1).long(), self.size(dim), "index_copy", IndexError)
    key = (slice(None),) * dim + (index,)
    return self.index_put([None if isinstance(k, slice) else k for k in key],
                          source.reshape(wanted), False)


@composite("index_reduce(Tensor self, int dim, Tensor index, Tensor source, str reduce, *,"
           " bool include_self=True) -> Tensor", inplace=True, out=True)
def index_reduce(self, dim, index, source, reduce, include_self):
    """`scatter_reduce` of whole slices along `dim`: "prod", "mean", "amax" or "amin"."""
    dim = _dim(self, dim)
    _vector("index_reduce", index)
    if reduce not in ("prod", "mean", "amax", "amin"):
        raise RuntimeError("index_reduce(): Expected reduce to be one of prod, mean, amax or amin "
                           f"but got {reduce}.")
    if not self.dim():
        return scatter_reduce(self, 0, index.reshape(()), source.reshape(()), reduce,
                              include_self=include_self)
    index = index.reshape([-1] + [1] * (self.dim() - dim - 1)).expand(source.shape)
    return scatter_reduce(self, dim, index, source, reduce, include_self=include_self)


@composite("take_along_dim(Tensor self, Tensor indices, int? dim=None) -> Tensor", out=True)
def take_along_dim(self, indices, dim):
    """`gather`, with sizes that broadcast; without `dim` of the flattened tensors."""
    if indices.dtype != int64:
        raise RuntimeError("take_along_dim(): dtype of indices should be Long but got "
                           f"{indices.dtype}")
    if dim is None:
        return gather(self.reshape(-1), 0, indices.reshape(-1))
    if self.dim() != indices.dim():
        raise RuntimeError("take_along_dim(): input and indices should have the same number of "
                           f"dimensions, but got {self.dim()} dimensions for input, and "
                           f"{indices.dim()} dimensions for indices")
    from taimatsu import broadcast_shapes

    dim = _dim(self, dim)
    mine, theirs = list(self.shape), list(indices.shape)
    if self.dim():
        mine[dim] = theirs[dim] = 1
        sizes = list(broadcast_shapes(mine, theirs))
        mine, theirs = list(sizes), list(sizes)
        mine[dim], theirs[dim] = self.size(dim), indices.size(dim)
    return gather(self.expand(mine), dim, indices.expand(theirs))


# ---- masks and flat positions -------------------------------------------------------------------


masked_scatter = native(
    "masked_scatter(Tensor self, Tensor mask, Tensor source) -> Tensor",
    inplace=True, out=False,
    doc="""The elements of `source`, one after the other, where `mask` holds.

    RuntimeError if `source` has fewer elements than are written, or another dtype.
    """,
).gradient(
    self=lambda g, mask: g.masked_fill(mask, 0),
    source=lambda g, mask, source_like: _picked(g, mask, source_like),
)


def _picked(g, mask, source):
    """What masked_scatter took from `source`, and zeros for what it left."""
    taken = g.masked_select(mask)
    left = taken.new_zeros([source.numel() - taken.numel()])
    return cat([taken, left]).reshape(source.shape)


@composite("put(Tensor self, Tensor index, Tensor source, bool accumulate=False) -> Tensor",
           inplace=True, out=False)
def put(self, index, source, accumulate):
    """A copy with `source` at the positions `index` of the flattened tensor, or added there."""
    if index.dtype != int64:
        raise RuntimeError(f"put_(): Expected a long tensor for index, but got {index.dtype}")
    if source.dtype != self.dtype:
        raise RuntimeError("put_(): self and source expected to have the same dtype, but got self: "
                           f"{self.dtype} and source: {source.dtype}")
    if source.numel() != index.numel():
        raise RuntimeError("put_(): Expected source and index to have the same number of elements, "
                           f"but got source.numel() = {source.numel()}, index.numel() = "
                           f"{index.numel()}")
    flat = self.reshape(-1).index_put([index.reshape(-1)], source.reshape(-1), accumulate)
    return flat.reshape(self.shape)


@composite("unravel_index(Tensor indices, Any shape) -> Tensor[]", method=False, out=False)
def unravel_index(indices, shape):
    """The coordinates, one tensor for each dim, of flat positions in a tensor of sizes `shape`."""
    if indices.dtype.is_floating_point or indices.is_complex() or indices.dtype == _core.bool:
        raise ValueError(f"unravel_index: expected integer indices, got {indices.dtype}")
    sizes = [shape] if isinstance(shape, int) else list(shape)
    if any(n < 0 for n in sizes):
        raise ValueError(f"unravel_index: 'shape' cannot have negative values, but got {shape}")
    found, rest = [], indices
    for n in reversed(sizes):
        found.append(rest % n)
        rest = rest.div(n, rounding_mode="floor")
    return tuple(reversed(found))


