"""Embeddings: rows of a table by index, and their sums over bags."""

from __future__ import annotations

import math

from taimatsu import _core

from .distance import shrink
from .reduction import vector_norm
from .table import composite, indexed, native


def _frequency(indices):
    """How often each of them occurs."""
    from taimatsu import bincount

    return bincount(indices).index_select(0, indices)


def rows_of_gradient(indices, g, shape, padding_idx=-1):
    """The sparse gradient whose rows at `indices` are those of `g`, without `padding_idx`."""
    from taimatsu import sparse_coo_tensor

    if padding_idx >= 0:
        keep = (indices != padding_idx).nonzero().reshape(-1)
        indices, g = indices[keep], g.index_select(0, keep)
    return sparse_coo_tensor(indices.long().unsqueeze(0), g, shape)


embedding = native(
    "embedding(Tensor weight, Index indices, int padding_idx=-1, bool scale_grad_by_freq=False,"
    " bool sparse=False) -> Tensor",
    method=False,
    doc="""The rows of the matrix `weight` at `indices`: shape indices.shape + (width,).

    The row `padding_idx` gets no gradient; with `scale_grad_by_freq` the others get the mean of
    what comes from equal indices, not the sum. With `sparse` the gradient is a sparse tensor of the
    rows that were used.
    RuntimeError if `weight` isn't a matrix, IndexError for a row that it hasn't.
    """,
)


@embedding.gradient
def _(g, indices, padding_idx, scale_grad_by_freq, sparse, weight_like):
    rows, width = weight_like.shape
    flat, g = indices.reshape(-1), g.reshape(-1, width)
    if sparse:
        if scale_grad_by_freq:
            raise RuntimeError("embedding_backward: scale_grad_by_freq not supported with sparse "
                               "gradients; leave one of them out")
        return rows_of_gradient(flat, g, weight_like.shape, padding_idx)
    if scale_grad_by_freq and flat.numel():
        g = g / _frequency(flat.long()).unsqueeze(1)
    total = g.new_zeros([rows, width]).index_add_(0, flat, g)
    if padding_idx >= 0:
        total[padding_idx] = 0
    return total


@composite("embedding_renorm_(Tensor(a!) self, Tensor indices, float max_norm, float norm_type)"
           " -> Tensor(a!)", method=False, out=False)
def embedding_renorm_(self, indices, max_norm, norm_type):
    """Scales down, in place, the rows at `indices` whose norm is larger than `max_norm`."""
    from taimatsu import no_grad

    if indices.is_meta:  # which rows there are depends on elements
        return self
    with no_grad():
        used = indices.reshape(-1).unique()
        rows = self.index_select(0, used)
        self[used] = rows * shrink(vector_norm(rows, norm_type, [1], True), max_norm)
    return self


# ---- bags: several rows as one ------------------------------------------------------------------


@indexed("_bag_sum(Tensor weight, Tensor scale, Index index, Index bag, int bags) -> Tensor out",
         accumulates=("out",), over="scale", static=(), module=None,
         ranks={"out": 2, "weight": 2, "scale": 2, "index": 1, "bag": 1},
         out=lambda w, s, i, b, bags: [bags, w[1]])
def bag_sum(out, weight, scale, index, bag, k, j):
    """Zeros, to which row index[k] of `weight`, times scale[k], is added at row bag[k]."""
    out[bag[k], j] += weight[index[k], j] * scale[k, j]


def _bag_of(offsets, n: int):
    """For each of `n` positions the bag that it is in, by where bags begin."""
    begun = offsets.new_zeros([n + 1]).index_add_(0, offsets, offsets.new_ones(offsets.shape))
    return begun[:n].cumsum(0) - 1


def _bag_max(weight, indices, offsets, keep):
    """The largest of each column over each bag, and which row it is from; 0 and -1 of none."""
    from taimatsu import arange, cat

    n = indices.numel()
    ends = cat([offsets[1:], offsets.new_full([1], n)])
    longest = int((ends - offsets).max()) if offsets.numel() and not offsets.is_meta else 0
    if not longest:
        shape = [offsets.numel(), weight.size(1)]
        return weight.new_zeros(shape), offsets.new_full(shape, -1)
    at = offsets.unsqueeze(1) + arange(longest, device=offsets.device)
    inside = at < ends.unsqueeze(1)
    at = at.clamp(max=n - 1).reshape(-1)
    if keep is not None:
        inside = inside & keep.index_select(0, at).reshape(inside.shape)
    places = indices.index_select(0, at)
    rows = weight.index_select(0, places).reshape(*inside.shape, -1)
    values, which = rows.masked_fill(~inside.unsqueeze(2), -math.inf).max(1)
    some = inside.any(1, keepdim=True)
    source = places.reshape(inside.shape).gather(1, which)
    return values.masked_fill(~some, 0), source.masked_fill(~some, -1)


def _check_bags(weight, indices, offsets, mode, per_sample_weights, padding_idx) -> None:
    name = "embedding_bag"
    if weight.dim() != 2:
        raise RuntimeError(f"{name}: weight has to be a matrix, got shape {list(weight.shape)}")
    if not weight.dtype.is_floating_point:
        raise RuntimeError(f"{name}: expected weight of a floating type, got {weight.dtype}")
    for what, x in (("indices", indices), ("offsets", offsets)):
        if x.dtype not in (_core.int64, _core.int32) or x.dim() != 1:
            raise RuntimeError(f"{name}: expected {what} to be a vector of int32 or int64, got "
                               f"shape {list(x.shape)} and {x.dtype}")
    if per_sample_weights is not None and mode:
        raise RuntimeError(f"{name}: per_sample_weights are only for sums (mode 0), got mode "
                           f"{mode}")
    if per_sample_weights is not None and (
            per_sample_weights.dtype != weight.dtype
            or per_sample_weights.numel() != indices.numel()):
        raise RuntimeError(f"{name}: expected per_sample_weights of weight's type, one for each "
                           f"index; got {per_sample_weights.dtype} and "
                           f"{list(per_sample_weights.shape)} for {weight.dtype} and "
                           f"{indices.numel()} indices")
    rows, n = weight.size(0), indices.numel()
    if padding_idx is not None and not -rows <= padding_idx < rows:
        raise RuntimeError(f"{name}: {rows} rows have no padding_idx {padding_idx}")
    if weight.is_meta or indices.is_meta:
        return
    if offsets.numel() and (int(offsets[0]) != 0 or int(offsets[-1]) > n):
        raise RuntimeError(f"{name}: offsets[0] has to be 0 and offsets[-1] at most the number of "
                           f"indices, {n}; got {int(offsets[0])} and {int(offsets[-1])}")
    if offsets.numel() > 1 and bool((offsets[1:] < offsets[:-1]).any()):
        raise RuntimeError(f"{name}: offsets have to be in ascending order")
    low, high = (int(x) for x in indices.aminmax()) if n else (0, -1)
    if low < 0 or high >= rows:
        raise RuntimeError(f"{name}: expected indices in [0, {rows}), but found {low} to {high}")


@composite("embedding_bag(Tensor weight, Tensor indices, Tensor offsets,"
           " bool scale_grad_by_freq=False, int mode=0, bool sparse=False,"
           " Tensor? per_sample_weights=None, bool include_last_offset=False,"
           " int? padding_idx=None) -> (Tensor, Tensor, Tensor, Tensor)", method=False)
def embedding_bag(weight, indices, offsets, scale_grad_by_freq, mode, sparse, per_sample_weights,
                  include_last_offset, padding_idx):
    """Sums (mode 0), means (1) or maxima (2) of rows of `weight` over bags of indices.

    weight: (rows, width), indices: (n), offsets: (bags), where each begins (with one more, n, if
    `include_last_offset`). Results: (bags, width), the bag of each index, the size of each bag, and
    the rows of the maxima. `padding_idx` takes no part.
    RuntimeError for shapes and types that don't match, and indices or offsets out of range.
    """
    from taimatsu import ones

    _check_bags(weight, indices, offsets, mode, per_sample_weights, padding_idx)
    if include_last_offset:
        offsets = offsets[:-1]
    indices, offsets = indices.long(), offsets.long()
    n, bags = indices.numel(), offsets.numel()
    bag = _bag_of(offsets, n)
    if padding_idx is None:
        keep, scale = None, ones([1], dtype=weight.dtype, device=weight.device)
    else:
        keep = indices != padding_idx % weight.size(0)
        scale = keep.to(weight.dtype)
    size = offsets.new_zeros([bags]).index_add(
        0, bag, offsets.new_ones([1]).expand(n) if keep is None else keep.long())
    if mode == 2:
        out, source = _bag_max(weight, indices, offsets, keep)
        return out, bag, size, source
    if per_sample_weights is not None:
        scale = per_sample_weights * scale
    scale = scale.reshape(-1, 1).expand(n, weight.size(1))
    if (sparse or scale_grad_by_freq) and n:
        row = -1 if padding_idx is None else padding_idx % weight.size(0)
        rows = embedding(weight, indices, row, scale_grad_by_freq, sparse) * scale
        out = weight.new_zeros([bags, weight.size(1)]).index_add(0, bag, rows)
    else:
        out = bag_sum(weight, scale, indices, bag, bags).to(weight.dtype)
    if mode == 1:
        out = out / size.clamp(min=1).unsqueeze(1).to(out.dtype)
    return out, bag, size, size


_BAG_MODES = ("sum", "mean", "max")


def _check_options(input, weight, offsets, mode, by_freq, sparse, per_sample_weights) -> None:
    name = "embedding_bag"
    if per_sample_weights is not None and input.shape != per_sample_weights.shape:
        raise ValueError(f"{name}: If per_sample_weights is not None, it must have the same shape "
                         f"as the input; got {list(per_sample_weights.shape)} and "
                         f"{list(input.shape)}")
    if weight.dim() != 2:
        raise ValueError(f"{name}: weight has to be a 2D Tensor, got shape {list(weight.shape)}")
    if input.dim() not in (1, 2):
        raise ValueError(f"{name}: input has to be 1D or 2D, got shape {list(input.shape)}")
    if input.dim() == 2 and offsets is not None:
        raise ValueError(f"{name}: if input is 2D, its rows are the bags, and offsets has to be "
                         "None")
    if input.dim() == 1 and (offsets is None or offsets.dim() != 1):
        raise ValueError(f"{name}: if input is 1D, offsets has to be a 1D Tensor; got "
                         f"{None if offsets is None else list(offsets.shape)}")
    if mode not in _BAG_MODES:
        raise ValueError(f"{name}: mode has to be one of sum, mean or max; got {mode!r}")
    if mode == "max" and (by_freq or sparse):
        raise ValueError(f"{name}: max mode does not support "
                         f"{'scaling the gradient by the frequency' if by_freq else 'sparse'}")
    if per_sample_weights is not None and mode != "sum":
        raise NotImplementedError("embedding_bag: per_sample_weights was not None, but it is only "
                                  f"supported for mode='sum' (got mode={mode!r})")


@composite("embedding_bag(Tensor input, Tensor weight, Tensor? offsets=None, float? max_norm=None,"
           " float norm_type=2.0, bool scale_grad_by_freq=False, str mode='mean',"
           " bool sparse=False, Tensor? per_sample_weights=None, bool include_last_offset=False,"
           " int? padding_idx=None) -> Tensor", module="nn.functional", method=False)
def bag_embedding(input, weight, offsets, max_norm, norm_type, scale_grad_by_freq, mode, sparse,
                  per_sample_weights, include_last_offset, padding_idx):
    """Sums, means or maxima of rows of `weight` over bags of indices, as `mode` says.

    input: (bags, n), or (n) with `offsets` (bags), where each bag begins (with one more, n, if
    `include_last_offset`); weight: (rows, width); result: (bags, width), 0 for an empty bag.
    `per_sample_weights` are of input's shape, for sums. The row `padding_idx` takes no part. With
    `max_norm` the rows that are used are first scaled down in place to that norm.
    ValueError for shapes or options that don't go together, RuntimeError for types or indices.
    """
    from taimatsu import arange

    _check_options(input, weight, offsets, mode, scale_grad_by_freq, sparse, per_sample_weights)
    if input.dim() == 2:
        bags, n = input.shape
        offsets = arange(bags, device=input.device) * n
        include_last_offset = False
        input = input.reshape(-1)
        if per_sample_weights is not None:
            per_sample_weights = per_sample_weights.reshape(-1)
    if max_norm is not None:
        embedding_renorm_(weight.detach(), input, max_norm, norm_type)
    return embedding_bag(weight, input, offsets, scale_grad_by_freq, _BAG_MODES.index(mode),
                         sparse, per_sample_weights, include_last_offset, padding_idx)[0]
