"""Reading and writing at computed places: x[key], gather, scatter and index_add.

Whatever is read by one of these is written back by another, so that they are each other's
derivatives. Positions along one dim are csrc/cpu/along.cpp, several indices at once
csrc/cpu/advanced.cpp; what a key means is csrc/python/indexing.cpp.
"""

from __future__ import annotations

from .table import composite, native

_PRIVATE = {"method": False, "module": None, "out": False, "doc": ""}


def _cropped(x, index):
    """`x` cut to the sizes of `index`."""
    for d in range(x.dim()):
        if x.size(d) != index.size(d):
            x = x.narrow(d, 0, index.size(d))
    return x


# ---- one dim ------------------------------------------------------------------------------------

gather = native(
    "gather(Tensor self, int dim, Index index, *, bool sparse_grad=False) -> Tensor",
    out="exact",
    doc="""out[i][j][k] = self[index[i][j][k]][j][k] for dim 0, and so on.

    Shapes: `index` as `self` but for `dim`, or smaller; the result as `index`. With `sparse_grad`
    the gradient is a sparse tensor. RuntimeError for a position outside of the dim.

    >>> taimatsu.tensor([[1, 2], [3, 4]]).gather(1, taimatsu.tensor([[0], [1]]))
    tensor([[1],
            [4]])
    """,
)


@gather.gradient
def _(g, dim, index, sparse_grad, self_like):
    if not sparse_grad:
        return g.new_zeros(self_like.shape).scatter_add_(dim, index, g)
    from taimatsu import arange, sparse_coo_tensor, stack

    if not index.dim():
        return sparse_coo_tensor(index.new_zeros((0, 1)), g.reshape(1), ())
    d = dim % index.dim()
    rows = [
        index.long() if k == d
        else arange(n, device=index.device).reshape([-1 if j == k else 1 for j in
                                                     range(index.dim())]).expand(index.shape)
        for k, n in enumerate(index.shape)
    ]  # fmt: skip
    return sparse_coo_tensor(stack(rows).flatten(1), g.reshape(-1), self_like.shape)


scatter = native(
    "scatter(Tensor self, int dim, Index index, Tensor src) -> Tensor",
    inplace=True,
    out=True,
    doc="""self[index[i][j][k]][j][k] = src[i][j][k] for dim 0, and so on.

    Shapes: `index` has the dims of `self` and is nowhere larger than `src`, nor (but for `dim`)
    than `self`. Of several writes to one place the last stays.
    """,
).gradient(
    self=lambda g, dim, index: g.scatter(dim, index, 0),
    src=lambda g, dim, index, src_like: _read_back(g, dim, index, src_like),
)

scatter_value = native(
    "scatter.value(Tensor self, int dim, Index index, Number value) -> Tensor",
    inplace=True,
    out=True,
    doc="`value` at every place that `index` names.",
).gradient(self=lambda g, dim, index: g.scatter(dim, index, 0))

scatter_add = native(
    "scatter_add(Tensor self, int dim, Index index, Tensor src) -> Tensor",
    inplace=True,
    out=True,
    doc="self[index[i][j][k]][j][k] += src[i][j][k] for dim 0, and so on.",
).gradient(
    self=lambda g: g,
    src=lambda g, dim, index, src_like: _read_back(g, dim, index, src_like),
)


def _read_back(g, dim, index, src):
    """The gradient of what was written: zero where `index` is smaller than the source."""
    read = g.gather(dim, index) if index.numel() else g.new_zeros(index.shape)
    if read.shape == src.shape:
        return read
    whole = g.new_zeros(src.shape)
    _cropped(whole, index).copy_(read)
    return whole


index_select = native(
    "index_select(Tensor self, int dim, Index index) -> Tensor",
    out="exact",
    doc="""The parts of `dim` at the positions in `index`, a vector of ints.

    Raises IndexError for a position outside of the dim.

    >>> taimatsu.tensor([[1, 2], [3, 4]]).index_select(0, taimatsu.tensor([1, 1]))
    tensor([[3, 4],
            [3, 4]])
    """,
).gradient(
    self=lambda g, dim, index, self_like: g.new_zeros(self_like.shape).index_add_(dim, index, g)
)

index_add = native(
    "index_add(Tensor self, int dim, Index index, Tensor source, *, Number alpha=1) -> Tensor",
    inplace=True,
    out=True,
    doc="self[index[i]] += alpha * source[i] along `dim`.",
).gradient(
    self=lambda g: g,
    source=lambda g, dim, index, alpha, source_like: (
        g.index_select(dim, index).reshape(source_like.shape) * alpha.conjugate()
    ),
)


# ---- x[key]: what isn't plain slicing ------------------------------------------------------------

index_ = native("_index(Tensor self, Tensor?[] indices) -> Tensor", **_PRIVATE).gradient(
    self=lambda g, indices, self_like: _put_back(g, indices, self_like)
)
index_put_native = native(
    "_index_put_(Tensor(a!) self, Tensor?[] indices, Tensor values, bool accumulate) -> Tensor",
    **_PRIVATE,
).gradient(
    self=lambda g, indices, accumulate: g if accumulate else _cleared(g, indices),
    values=lambda g, indices, values_like: index_(g, indices).sum_to_size(values_like.shape),
)
rows_where = native("_rows_where(Tensor self, Tensor mask) -> Tensor", **_PRIVATE).gradient(
    self=lambda g, mask, self_like: _put_back(g, _positions([mask]), self_like)
)


def _put_back(g, indices, self):
    return index_put_native(g.new_zeros(self.shape), indices, g, True)


def _cleared(g, indices):
    return index_put_native(g.clone(), indices, g.new_zeros(()), False)


def as_index(key):
    """An index that is no tensor yet: a list, a range, an array."""
    from taimatsu import _core, as_tensor

    key = as_tensor(list(key) if isinstance(key, range) else key)
    return key.long() if key.numel() == 0 and key.dtype != _core.bool else key


def as_value(value, place):
    """What is assigned and is no tensor yet, in the dtype of its place."""
    from taimatsu import tensor

    return tensor(value, dtype=place.dtype, device=place.device)


def _positions(indices):
    """Masks as the positions where they hold."""
    from taimatsu import _core

    out = []
    for i in indices:
        if i is not None and i.dtype in (_core.bool, _core.uint8):
            out += i.nonzero().unbind(1)
        else:
            out.append(i)
    return out


@composite("index_put_(Tensor(a!) self, Any indices, Tensor values, bool accumulate=False)"
           " -> Tensor", out=False)
def index_put_(self, indices, values, accumulate):
    """self[indices] = values, or += where `accumulate`."""
    index_put_native(self, _positions(indices), values, accumulate)
    return self


@composite("index_put(Tensor self, Any indices, Tensor values, bool accumulate=False) -> Tensor",
           out=False)
def index_put(self, indices, values, accumulate):
    """A copy of `self` with self[indices] = values, or += where `accumulate`."""
    return index_put_native(self.clone(), _positions(indices), values, accumulate)


masked_select = native(
    "masked_select(Tensor self, Tensor mask) -> Tensor",
    out="exact",
    doc="""The elements where `mask` holds, as a vector; the two are broadcast.

    >>> x = taimatsu.tensor([1.0, -2.0, 3.0])
    >>> x.masked_select(x > 0)
    tensor([1., 3.])
    """,
).gradient(self=lambda g, mask, self_like: _spread(g, mask, self_like.shape))


def _spread(g, mask, shape):
    from taimatsu import broadcast_shapes

    shape = broadcast_shapes(shape, mask.shape)
    return g.new_zeros(shape).masked_scatter(mask, g)


@composite("take(Tensor self, Index index) -> Tensor", out="exact")
def take_flat(self, index):
    """The elements of the flattened tensor at the positions `index`."""
    return index_(self.reshape(-1), [index])
