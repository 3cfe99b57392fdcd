"""Writing at given places: scatter and the index_* family, masks, flat positions."""

from __future__ import annotations

from taimatsu import _core
from taimatsu._core import int64

from .comparison import where
from .creation import full, ones_like, zeros_like
from .indexing import gather, index_add, index_select, scatter_add
from .shape import cat, wrap_dim
from .table import composite, native


def _same_dtype(name: str, self, src) -> None:
    if src.dtype != self.dtype:
        raise RuntimeError(f"{name}(): Expected self.dtype to be equal to src.dtype; got "
                           f"{self.dtype} and {src.dtype}")


_REDUCE = {"add": "sum", "multiply": "prod"}


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


_FOLDS = "str reduce, bool include_self) -> Tensor"
_HIDDEN = {"method": False, "module": None, "out": False, "doc": ""}
scatter_fold = native(f"_scatter_fold(Tensor self, int dim, Index index, Tensor src, {_FOLDS}",
                      **_HIDDEN)
index_fold = native(f"_index_fold(Tensor self, int dim, Index index, Tensor src, {_FOLDS}",
                    **_HIDDEN)


def _fold_gradient(g, self, dim, index, src, reduce, include_self, result, read, add):
    """Of both: `read` reads at the positions of a fold, `add` sums what stands there."""
    zeros = zeros_like(self)
    if reduce == "sum":
        kept = g if include_self else g.masked_fill(add(zeros, index, ones_like(src)) > 0, 0)
        return kept, read(g, index)
    if reduce in ("amax", "amin"):  # shared among the elements that it equals
        mine, theirs = (self == result).to(g.dtype), (src == read(result, index)).to(g.dtype)
        if not include_self:
            mine = mine.masked_fill(add(zeros, index, ones_like(src)) > 0, 0)
        share = g / add(mine, index, theirs)
        return mine * share, theirs * read(share, index)
    # The product of all others, without division where there is a zero among them.
    self, src, result = self.conj(), src.conj(), result.conj()
    fold = scatter_fold if index.dim() == src.dim() else index_fold
    others = fold(self.masked_fill(self == 0, 1), dim, index, src, "prod", include_self)
    kept = g * others / self.masked_fill(self == 0, 1)
    if not include_self:
        kept = g.masked_fill(add(zeros, index, ones_like(src)) > 0, 0)
    zero = src == 0
    lone = zero & (read(add(zeros, index, zero.to(g.dtype)), index) == 1)
    without = fold(self, dim, index, src.masked_fill(lone, 1), "prod", include_self)
    whole = read(g * result, index) / src.masked_fill(zero, 1)
    return kept, where(lone, read(g * without, index), whole)


@scatter_fold.gradient
def _(g, self, dim, index, src, reduce, include_self, result):
    part = src[tuple(slice(n) for n in index.shape)] if index.dim() else src
    gradients = _fold_gradient(
        g, self, dim, index, part, reduce, include_self, result,
        lambda x, at: gather(x, dim, at), lambda x, at, y: scatter_add(x, dim, at, y))
    if part.shape == src.shape:
        return gradients
    whole = zeros_like(src)
    whole[tuple(slice(n) for n in index.shape)] = gradients[1]
    return gradients[0], whole


@index_fold.gradient
def _(g, self, dim, index, src, reduce, include_self, result):
    kept, given = _fold_gradient(
        g, self, dim, index, src, reduce, include_self, result,
        lambda x, at: index_select(x, dim, at).reshape(src.shape),
        lambda x, at, y: index_add(x, dim, at, y))
    return kept, given


def _averaged(total, self, count, include_self):
    """The sums over the numbers of what was summed."""
    count = (count + int(include_self)).clamp(min=1)
    if total.dtype.is_floating_point or total.is_complex():
        return (total / count).to(self.dtype)
    return total.div(count, rounding_mode="floor").to(total.dtype)


@composite("scatter_reduce(Tensor self, int dim, Index index, Tensor src, str reduce, *,"
           " bool include_self=True) -> Tensor", inplace=True, out=True)
def scatter_reduce(self, dim, index, src, reduce, include_self):
    """All src[i][j] with one place [index[i][j]][j] there as one value.

    reduce   "sum", "prod", "mean", "amax" or "amin"; the value that was there takes part
             if `include_self`.
    """
    if reduce != "mean":
        if reduce == "set":
            raise RuntimeError("scatter_reduce: reduce argument must be one of sum, prod, mean, "
                               f"amax, amin; got {reduce!r}")
        return scatter_fold(self, dim, index, src, reduce, include_self)
    total = scatter_fold(self, dim, index, src, "sum", include_self)
    ones = index.new_ones((), dtype=int64).expand(index.shape)
    count = scatter_add(self.new_zeros(self.shape, dtype=int64), dim, index, ones)
    return _averaged(total, self, count, include_self)


# ---- slices along a dim -------------------------------------------------------------------------

index_fill_with = native(
    "_index_fill(Tensor self, int dim, Index index, Tensor value) -> Tensor", **_HIDDEN
)


@index_fill_with.gradient
def _(g, dim, index, value_like):
    hit = index_fill_with(zeros_like(g, dtype=_core.bool), dim, index, _core.tensor(True))
    return g.masked_fill(hit, 0), g.masked_fill(~hit, 0).sum()


@composite("index_fill(Tensor self, int dim, Index index, Tensor|Number value) -> Tensor",
           inplace=True, out=False)
def index_fill(self, dim, index, value):
    """A copy with `value` in the slices of `dim` at the positions `index`."""
    if not isinstance(value, _core.Tensor):
        value = self.new_full((), value)
    return index_fill_with(self, dim, index, value)


index_copy = native(
    "index_copy(Tensor self, int dim, Index index, Tensor source) -> Tensor",
    inplace=True,
    out=True,
    doc="A copy with the slices of `dim` at the positions `index` replaced by those of `source`.",
).gradient(
    self=lambda g, dim, index: g.index_fill(dim, index, 0),
    source=lambda g, dim, index, source_like: (
        g.index_select(dim, index).reshape(source_like.shape)
    ),
)


@composite("index_reduce(Tensor self, int dim, Tensor index, Tensor source, str reduce, *,"
           " bool include_self=True) -> Tensor", inplace=True, out=True)
def index_reduce(self, dim, index, source, reduce, include_self):
    """`scatter_reduce` of whole slices along `dim`: "prod", "mean", "amax" or "amin"."""
    if reduce not in ("prod", "mean", "amax", "amin"):
        raise RuntimeError("index_reduce(): Expected reduce to be one of prod, mean, amax or amin "
                           f"but got {reduce}.")
    if reduce != "mean":
        return index_fold(self, dim, index, source, reduce, include_self)
    total = index_fold(self, dim, index, source, "sum", include_self)
    ones = source.new_ones((), dtype=int64).expand(source.shape)
    count = index_add(self.new_zeros(self.shape, dtype=int64), dim, index, ones)
    return _averaged(total, self, count, include_self)


@composite("take_along_dim(Tensor self, Tensor indices, int? dim=None) -> Tensor", out=True)
def take_along_dim(self, indices, dim):
    """`gather`, with sizes that broadcast and indices that may count from the end; without `dim` of
    the flattened tensors."""
    if indices.dtype != int64:
        raise RuntimeError("take_along_dim(): dtype of indices should be Long but got "
                           f"{indices.dtype}")
    if dim is None:
        return take_along_dim(self.reshape(-1), indices.reshape(-1), 0)
    if self.dim() != indices.dim():
        raise RuntimeError("take_along_dim(): input and indices should have the same number of "
                           f"dimensions, but got {self.dim()} dimensions for input, and "
                           f"{indices.dim()} dimensions for indices")
    from taimatsu import broadcast_shapes

    dim = wrap_dim(dim, self.dim())
    n = self.size(dim) if self.dim() else 1
    indices = where(indices < 0, indices + n, indices)
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
           out=False)
def put(self, index, source, accumulate):
    """A copy with `source` at the positions `index` of the flattened tensor, or added there."""
    return put_(self.clone(), index, source, accumulate)


@composite("put_(Tensor(a!) self, Tensor index, Tensor source, bool accumulate=False) -> Tensor",
           out=False)
def put_(self, index, source, accumulate):
    """Sets the positions `index` of the flattened tensor to `source`, or adds it there."""
    if index.dtype != int64:
        raise RuntimeError(f"put_(): Expected a long tensor for index, but got {index.dtype}")
    if source.dtype != self.dtype:
        raise RuntimeError("put_(): self and source expected to have the same dtype, but got self: "
                           f"{self.dtype} and source: {source.dtype}")
    if source.numel() != index.numel():
        raise RuntimeError("put_(): Expected source and index to have the same number of elements, "
                           f"but got source.numel() = {source.numel()}, index.numel() = "
                           f"{index.numel()}")
    index, source = index.reshape(-1), source.reshape(-1)
    flat = self.contiguous().view(-1).index_put_([index], source, accumulate)
    return self if self.is_contiguous() else self.copy_(flat.view(self.shape))


@composite("unravel_index(Tensor indices, Any shape) -> Tensor[]", method=False, out=False)
def unravel_index(indices, shape):
    """The coordinates, one tensor for each dim, of flat positions in a tensor of sizes `shape`."""
    if indices.dtype.is_floating_point or indices.is_complex() or indices.dtype == _core.bool:
        raise ValueError(f"unravel_index: expected integer indices, got {indices.dtype}")
    sizes = [shape] if isinstance(shape, int) else list(shape)
    if any(n < 0 for n in sizes):
        raise ValueError(f"unravel_index: 'shape' cannot have negative values, but got {shape}")
    found, rest = [], indices.to(int64)
    for n in reversed(sizes):
        found.append(rest % n)
        rest = rest.div(n, rounding_mode="floor")
    return tuple(reversed(found))


