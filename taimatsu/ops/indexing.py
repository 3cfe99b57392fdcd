"""Reading and writing at computed places.

The formulas see a tensor as (outer, dim, inner); `along` brings any dim to the middle, without a
copy where the strides allow it. Along the last dim there is no inner one: then other formulas take
(outer, dim), so that the innermost loop is over the dim.
"""

from __future__ import annotations

import math

from taimatsu.codegen.lang import check, where

from .table import composite, indexed, native, pointwise

_PRIVATE = {"module": None}


# ---- one dim ------------------------------------------------------------------------------------


@indexed("_take(Tensor self, Index index) -> Tensor", out=lambda x, i: [x[0], i[0], x[2]],
         **_PRIVATE)
def _take(x, index, o, d, i):
    return x[o, index[d], i]


@indexed("_take_last(Tensor self, Index index) -> Tensor", out=lambda x, i: [x[0], i[0]],
         **_PRIVATE)
def _take_last(x, index, o, d):
    return x[o, index[d]]


def take(x, index):
    """x[o, index[d], i]."""
    if x.size(2) == 1:
        return _take_last(x.select(2, 0), index).unsqueeze(2)
    return _take(x, index)


@indexed("_gather(Tensor self, Index index) -> Tensor", out=lambda x, i: list(i),
         outside=RuntimeError, **_PRIVATE)
def _gather(x, index, o, d, i):
    return x[o, index[o, d, i], i]


@indexed("_gather_last(Tensor self, Index index) -> Tensor", out=lambda x, i: list(i),
         outside=RuntimeError, **_PRIVATE)
def _gather_last(x, index, o, d):
    return x[o, index[o, d]]


def gather_along(x, index):
    """x[o, index[o, d, i], i]."""
    if x.size(2) == 1:
        return _gather_last(x.select(2, 0), index.select(2, 0)).unsqueeze(2)
    return _gather(x, index)


put_ = native("_put_(Tensor(a!) self, Tensor index, Tensor src, bool accumulate) -> Tensor",
              out=False, doc="self[o, index[d], i] = (or +=) src[o, d, i], one after the other; "
              "or at index[o, d, i].", **_PRIVATE)
put = native("_put(Tensor self, Tensor index, Tensor src, bool accumulate) -> Tensor",
             out=False, doc="A copy of `self` after _put_.", **_PRIVATE)
for _op in (put_, put):
    _op.gradient(
        self=lambda g, index, accumulate: g if accumulate else _cleared(g, index),
        src=lambda g, index: (take if index.dim() == 1 else gather_along)(g, index),
    )


def _cleared(g, index):
    rows = index.size(1) if index.dim() == 3 else index.numel()
    return put(g, index, g.new_zeros(()).expand(g.size(0), rows, g.size(2)), False)


def _dim(self, dim: int) -> int:
    n = max(self.dim(), 1)
    if not -n <= dim < n:
        raise IndexError(f"Dimension out of range (expected to be in range of [{-n}, {n - 1}], "
                         f"but got {dim})")
    return dim % n


def along(self, dim: int):
    """`self` as (outer, dim, inner)."""
    shape = self.shape
    return self.reshape(math.prod(shape[:dim]), shape[dim] if shape else 1,
                        math.prod(shape[dim + 1 :]))


@composite("index_select(Tensor self, int dim, Index index) -> Tensor", out="exact")
def index_select(self, dim, index):
    """The parts of `dim` at the positions in `index`, a vector of ints.

    Raises IndexError for a position outside of the dim.
    """
    if index.dim() > 1:
        raise IndexError("index_select(): Index is supposed to be a vector, but got dim: "
                         f"{index.dim()} with type: {index.dtype} and size: {list(index.shape)}")
    dim, index = _dim(self, dim), index.reshape(-1)
    shape = list(self.shape)
    out = take(along(self, dim), index)
    if not shape:
        return out.reshape(())
    return out.reshape(shape[:dim] + [index.numel()] + shape[dim + 1 :])


def _fitting(name: str, self, dim: int, index) -> None:
    if index.dim() != self.dim() and index.dim() and self.dim():
        raise RuntimeError(f"{name}(): Index tensor must have the same number of dimensions as "
                           f"input tensor; index has shape {list(index.shape)}, input "
                           f"{list(self.shape)}")
    for d, (i, n) in enumerate(zip(index.shape, self.shape, strict=False)):
        if d != dim and i > n:
            raise RuntimeError(f"{name}(): Size does not match at dimension {d} expected index "
                               f"{list(index.shape)} to be no larger than self "
                               f"{list(self.shape)} apart from dimension {dim}")


def _cropped(x, index, dim: int):
    """`x` cut to the extents of `index` in every dim but `dim`."""
    for d in range(x.dim()):
        if d != dim and x.size(d) != index.size(d):
            x = x.narrow(d, 0, index.size(d))
    return x


@composite("gather(Tensor self, int dim, Index index, *, bool sparse_grad=False) -> Tensor",
           out="exact")
def gather(self, dim, index, sparse_grad):
    """out[i][j][k] = self[index[i][j][k]][j][k] for dim 0, and so on.

    Shapes: `index` as `self` but for `dim`, or smaller; the result as `index`.
    """
    dim = _dim(self, dim)
    if index.numel() == 0:
        return self.reshape(-1)[:0].reshape(index.shape)  # empty, but on the tape
    _fitting("gather", self, dim, index)
    if self.dim() == 0 or index.dim() == 0:
        return gather_along(self.reshape(1, -1, 1), index.reshape(1, -1, 1)).reshape(index.shape)
    cut = _cropped(self, index, dim)
    return gather_along(along(cut, dim), along(index, dim)).reshape(index.shape)


@composite("scatter_add(Tensor self, int dim, Index index, Tensor src) -> Tensor", inplace=True,
           out=True)
def scatter_add(self, dim, index, src):
    """self[index[i][j][k]][j][k] += src[i][j][k] for dim 0, and so on."""
    dim = _dim(self, dim)
    if src.dtype != self.dtype:
        raise RuntimeError("scatter(): Expected self.dtype to be equal to src.dtype; got "
                           f"{self.dtype} and {src.dtype}")
    if index.numel() == 0:
        return self.clone()
    _fitting("scatter_add", self, dim, index)
    if src.dim() != index.dim() and src.dim() and index.dim():
        raise RuntimeError("scatter_add(): Index tensor must have the same number of dimensions as "
                           f"src tensor; index has shape {list(index.shape)}, src "
                           f"{list(src.shape)}")
    for d in range(src.dim()):
        if src.size(d) != index.size(d):
            src = src.narrow(d, 0, index.size(d))
    return written("scatter_add", self, dim, index, src, True)


def written(name: str, self, dim: int, index, src, accumulate: bool):
    """A copy of `self` in which src[i][j] stands at (or is added to) [index[i][j]][j], for dim 0.

    `index` has the sizes of `src`, in other dims than `dim` at most those of `self`.
    """
    part = _cropped(self, index, dim)
    try:
        new = put(along(part, dim), along(index.long(), dim), along(src, dim), accumulate)
    except IndexError as error:
        text = str(error).rpartition("index ")[2].replace("dimension 0", f"dimension {dim}")
        raise RuntimeError(f"{name}(): index {text}") from None
    new = new.reshape(part.shape)
    if part is self:
        return new
    out = self.clone()
    _cropped(out, index, dim).copy_(new)
    return out


@composite("index_add(Tensor self, int dim, Index index, Tensor source, *, Number alpha=1)"
           " -> Tensor", inplace=True, out=True)
def index_add(self, dim, index, source, alpha):
    """self[index[i]] += alpha * source[i] along `dim`."""
    dim = _dim(self, dim)
    shape = [1] * max(self.dim(), 1)
    shape[dim] = index.numel()
    source = source * alpha if alpha != 1 else source
    spread = index.reshape(shape).expand(source.shape) if self.dim() else index.reshape(())
    return scatter_add(self, dim, spread, source)


@composite("embedding(Tensor self, Index indices, int padding_idx=-1,"
           " bool scale_grad_by_freq=False, bool sparse=False) -> Tensor", method=False)
def embedding(self, indices, padding_idx, scale_grad_by_freq, sparse):
    """The rows of the matrix `self` at `indices`: shape indices.shape + (width,).

    The row `padding_idx` gets no gradient.
    """
    if self.dim() != 2:
        raise RuntimeError("'weight' must be 2-D")
    rows = _embed(self, indices.reshape(-1), padding_idx)
    return rows.reshape(*indices.shape, self.size(1))


@indexed("_embed(Tensor self, Index index, int padding) -> Tensor",
         out=lambda x, i: [i[0], x[1]], **_PRIVATE)
def _embed(x, index, d, i, *, padding):
    return x[index[d], i]


@_embed.gradient
def _(gx, g, index, d, i, *, padding):
    gx[index[d], i] += where(index[d] == padding, 0, g[d, i])


# ---- x[key]: what isn't plain slicing ------------------------------------------------------------


@pointwise("_wrap(Tensor self, int n) -> Tensor", method=False, inplace=False, **_PRIVATE)
def wrap(i, n):
    """Positions as Python counts them, from the end if negative, checked against `n`."""
    i = i.to("i64")
    i = where(i < 0, i + n, i)
    return where(check((i >= 0) & (i < n), 2), i, 0)


def _positions(index, n: int, dim: int):
    try:
        return wrap(index, n)
    except IndexError:
        low, high = int(index.min()), int(index.max())
        bad = high if high >= n else low
        raise IndexError(
            f"index {bad} is out of bounds for dimension {dim} with size {n}"
        ) from None


def _parts(self, key):
    """`self` with the plain parts of `key` applied, and {dim: index tensor} of the rest."""
    import taimatsu

    key = list(key) if isinstance(key, tuple) else [key]
    for i, k in enumerate(key):
        if isinstance(k, (list, tuple, range)) or type(k).__module__ == "numpy":
            k = taimatsu.as_tensor(k if not isinstance(k, range) else list(k), device=self.device)
            key[i] = k.long() if k.numel() == 0 and k.dtype != taimatsu.bool else k
    used = sum(
        k.dim() if isinstance(k, taimatsu.Tensor) and k.dtype in (taimatsu.bool, taimatsu.uint8)
        else k is not None and k is not Ellipsis and not isinstance(k, bool)
        for k in key
    )
    if used > self.dim():
        raise IndexError(f"too many indices for tensor of dimension {self.dim()}")
    out, dim, found = self, 0, {}
    for k in key:
        if k is Ellipsis:
            dim += self.dim() - used
        elif k is None:
            out, dim = out.unsqueeze(dim), dim + 1
        elif isinstance(k, slice):
            out, dim = out[(slice(None),) * dim + (k,)], dim + 1
        elif isinstance(k, bool):
            out = out.unsqueeze(dim)
            found[dim] = taimatsu.zeros(int(k), dtype=taimatsu.int64)
            dim += 1
        elif not isinstance(k, taimatsu.Tensor):
            out = out.select(dim, k.__index__())
        elif k.dtype in (taimatsu.bool, taimatsu.uint8):
            if k.dim() == 0:
                out = out.unsqueeze(dim)
                found[dim] = taimatsu.zeros(int(k.item()), dtype=taimatsu.int64)
                dim += 1
                continue
            for d in range(k.dim()):
                if k.size(d) != out.size(dim + d):
                    raise IndexError(
                        f"The shape of the mask {list(k.shape)} at index {d} does not match the "
                        f"shape of the indexed tensor {list(out.shape)} at index {dim + d}"
                    )
            for d, at in enumerate(k.nonzero().unbind(1)):
                found[dim + d] = at
            dim += k.dim()
        else:
            if k.dtype.is_floating_point or k.dtype.is_complex:
                raise IndexError("tensors used as indices must be long, int, byte or bool tensors")
            found[dim] = k
            dim += 1
    return out, found


def _rows(self, found):
    """(self as (1, rows, inner), positions, their shape, the other dims' sizes, where these go)."""
    import taimatsu

    dims = sorted(found)
    try:
        indices = taimatsu.broadcast_tensors(*(found[d] for d in dims))
    except RuntimeError:
        shapes = ", ".join(str(list(found[d].shape)) for d in dims)
        raise IndexError("shape mismatch: indexing tensors could not be broadcast together with "
                         f"shapes {shapes}") from None
    position = None
    for d, index in zip(dims, indices, strict=True):
        n = self.size(d)
        at = _positions(index, n, d)
        position = at if position is None else position * n + at
    others = [d for d in range(self.dim()) if d not in found]
    rest = [self.size(d) for d in others]
    moved = self.permute(*dims, *others) if dims != list(range(len(dims))) else self
    adjacent = dims[-1] - dims[0] == len(dims) - 1
    before = dims[0] if adjacent else 0
    rows = math.prod(self.size(d) for d in dims)
    return moved, (1, rows, math.prod(rest)), position, rest, before


def getitem(self, key):
    """`self[key]` where the key has tensors, lists or masks."""
    x, found = _parts(self, key)
    if not found:
        return x
    moved, shape, position, rest, before = _rows(x, found)
    out = take(moved.reshape(shape), position.reshape(-1))
    out = out.reshape(list(position.shape) + rest)
    if before:  # adjacent indices: their dims stay where they were
        k, n = position.dim(), out.dim()
        out = out.permute(*range(k, k + before), *range(k), *range(k + before, n))
    return out


def setitem(self, key, value) -> None:
    """`self[key] = value` where the key has tensors, lists or masks."""
    assign(self, key, value, False)


def assign(self, key, value, accumulate: bool) -> None:
    import taimatsu

    if not isinstance(value, taimatsu.Tensor):
        value = taimatsu.tensor(value, dtype=self.dtype, device=self.device)
    if isinstance(key, taimatsu.Tensor) and key.dtype == taimatsu.bool and value.dim() == 0 \
            and key.shape == self.shape and not accumulate:
        self.masked_fill_(key, value)
        return
    x, found = _parts(self, key)
    if not found:
        x.copy_(value)
        return
    moved, shape, position, rest, before = _rows(x, found)
    whole = list(position.shape) + rest
    if before:
        k = position.dim()
        n = len(whole)
        order = [*range(k, k + before), *range(k), *range(k + before, n)]
        value = _broadcast(value, [whole[d] for d in order])
        back = [order.index(d) for d in range(n)]
        value = value.permute(back)
    else:
        value = _broadcast(value, whole)
    value = value.to(self.dtype).reshape(1, position.numel(), shape[2])
    rows = moved.reshape(shape)
    put_(rows, position.reshape(-1), value, accumulate)
    if rows.untyped_storage().data_ptr() != moved.untyped_storage().data_ptr():
        moved.copy_(rows.reshape(moved.shape))


def _broadcast(value, sizes):
    while value.dim() > len(sizes) and value.size(0) == 1:
        value = value.squeeze(0)
    try:
        return value.expand(sizes)
    except RuntimeError:
        raise RuntimeError(f"shape mismatch: value tensor of shape {list(value.shape)} cannot be "
                           f"broadcast to indexing result of shape {sizes}") from None


@composite("index_put_(Tensor(a!) self, Any indices, Tensor values, bool accumulate=False)"
           " -> Tensor", out=False)
def index_put_(self, indices, values, accumulate):
    """self[indices] = values, or += where `accumulate`."""
    assign(self, tuple(slice(None) if i is None else i for i in indices), values, accumulate)
    return self


@composite("index_put(Tensor self, Any indices, Tensor values, bool accumulate=False) -> Tensor",
           out=False)
def index_put(self, indices, values, accumulate):
    """A copy of `self` with self[indices] = values, or += where `accumulate`."""
    return self.clone().index_put_(indices, values, accumulate)


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
    return getitem(self.reshape(-1), index)
