"""Elements moved or picked by their place: flips, rotations, repetition, diagonals, triangles."""

from __future__ import annotations

from .creation import TENSOR_OPTIONS, arange, empty, zeros
from .indexing import index_select
from .shape import cat, wrap_dim
from .table import composite, native

# ---- turning ------------------------------------------------------------------------------------


flip = native(
    "flip(Tensor self, int[] dims) -> Tensor",
    out=False,
    doc="""The order along the dims reversed (a copy).

    >>> taimatsu.tensor([[1, 2], [3, 4]]).flip(0)
    tensor([[3, 4],
            [1, 2]])
    """,
).gradient(self=lambda g, dims: g.flip(dims))


@composite("fliplr(Tensor self) -> Tensor", out=False)
def fliplr(self):
    """Left and right exchanged: dim 1 reversed."""
    if self.dim() < 2:
        raise RuntimeError("fliplr: Input must be >= 2-d.")
    return flip(self, [1])


@composite("flipud(Tensor self) -> Tensor", out=False)
def flipud(self):
    """Up and down exchanged: dim 0 reversed."""
    if self.dim() < 1:
        raise RuntimeError("flipud: Input must be >= 1-d.")
    return flip(self, [0])


@composite("rot90(Tensor self, int k=1, int[] dims=[0, 1]) -> Tensor", out=False)
def rot90(self, k, dims):
    """Turned by `k` quarter turns in the plane of two dims, from the first to the second."""
    n = self.dim()
    if len(dims) != 2:
        raise RuntimeError("rot90: expected total rotation dims == 2, but got dims = "
                           f"{len(dims)}")
    if n < 2:
        raise RuntimeError(f"rot90: expected total dims >= 2, but got total dims = {n}")
    if abs(dims[0] - dims[1]) in (0, n):
        raise RuntimeError(f"rot90: expected rotation dims to be different, but got {dims}")
    if any(not -n <= d < n for d in dims):
        raise RuntimeError(f"rot90: rotation dims {dims} out of range of a {n}-d tensor")
    first, second = dims
    match k % 4:
        case 1:
            return flip(self, [second]).transpose(first, second)
        case 2:
            return flip(self, [first, second])
        case 3:
            return flip(self, [first]).transpose(first, second)
    return self.clone()


@composite("roll(Tensor self, int[1] shifts, int[1]? dims=None) -> Tensor", out=False)
def roll(self, shifts, dims):
    """Elements moved by `shifts` along `dims`, round the end; without dims of the flat tensor."""
    if not dims and len(shifts) == 1:
        return roll(self.reshape(-1), shifts, (0,)).reshape(self.shape)
    dims = dims or ()
    if len(shifts) != len(dims) or not shifts:
        raise RuntimeError(f"roll: shifts and dimensions must align; got {len(shifts)} shifts, "
                           f"{len(dims)} dims")
    if not self.dim():
        raise IndexError("roll: a 0-dim tensor has no dims to roll along")
    out = self
    for k, d in zip(shifts, dims, strict=True):
        n = self.size(d)
        if n:
            k %= n
            out = cat([out.narrow(d, n - k, k), out.narrow(d, 0, n - k)], d)
    return out.clone() if out is self else out


# ---- repetition ----------------------------------------------------------------------------------


@composite("repeat(Tensor self, int[] repeats) -> Tensor", module="Tensor", out=False)
def repeat(self, repeats):
    """The tensor laid out again and again along each dim."""
    from taimatsu import contiguous_format

    extra = len(repeats) - self.dim()
    if extra < 0:
        raise RuntimeError("repeat: Number of dimensions of repeat dims can not be smaller than "
                           f"number of dimensions of tensor; got {list(repeats)} for "
                           f"{self.dim()} dims")
    if any(r < 0 for r in repeats):
        raise RuntimeError(f"repeat: Trying to create tensor with negative dimension {repeats}")
    shape = [1] * extra + list(self.shape)
    sizes = [r * s for r, s in zip(repeats, shape, strict=True)]
    once, spread = [], []  # a repeated dim is two: how often, and the dim itself
    for r, s in zip(repeats, shape, strict=True):
        once += [1, s] if r != 1 else [s]
        spread += [r, s] if r != 1 else [s]
    copies = self.reshape(once).expand(spread).clone(memory_format=contiguous_format)
    return copies.reshape(sizes)


@composite("tile(Tensor self, int[] dims) -> Tensor", out=False)
def tile(self, dims):
    """`repeat`, with missing leading repeats taken as 1."""
    return repeat(self, [1] * (self.dim() - len(dims)) + list(dims))


spread = native("_spread(Tensor counts) -> Tensor", module=None, method=False, out=False,
                doc="i, counts[i] times, one after the other.").gradient(counts=lambda g: None)


def _positions(repeats, total, n: int):
    """For each place of the output, which of `n` elements it repeats."""
    if repeats.dim() > 1:
        raise RuntimeError("repeat_interleave: repeats must be 0-dim or 1-dim tensor")
    if repeats.dtype.is_floating_point or repeats.dtype.is_complex or repeats.element_size() < 4:
        raise RuntimeError("repeat_interleave: repeats has to be Long or Int tensor; got "
                           f"{repeats.dtype}")
    repeats = repeats.long()
    if repeats.dim() == 0 or (repeats.numel() == 1 and n != 1):
        repeats = repeats.reshape(1).expand(n)
    if repeats.numel() != n:
        raise RuntimeError("repeat_interleave: repeats must have the same size as input along dim; "
                           f"got {repeats.numel()} and {n}")
    if repeats.is_meta:  # there is only what was said
        return repeats.new_empty([int(repeats.sum()) if total is None else total])
    return spread(repeats)


@composite("repeat_interleave(Tensor self, Tensor repeats, int? dim=None, *, int? output_size=None)"
           " -> Tensor", out=False)
def repeat_interleave(self, repeats, dim, output_size):
    """Each element (slice along `dim`) repeated `repeats` times, one after the other.

    Without `dim` the tensor is flattened first.

    >>> taimatsu.repeat_interleave(taimatsu.tensor([5, 7]), taimatsu.tensor([1, 2]))
    tensor([5, 7, 7])
    """
    if dim is None:
        self, dim = self.reshape(-1), 0
    n = self.size(dim) if self.dim() else 1
    at = _positions(repeats, output_size, n)
    if output_size is not None and output_size != at.numel():
        raise RuntimeError(f"repeat_interleave: output_size {output_size} is not the sum of "
                           f"repeats, {at.numel()}")
    return index_select(self if self.dim() else self.reshape(1), dim, at)


@composite("repeat_interleave.number(Tensor self, int repeats, int? dim=None, *,"
           " int? output_size=None) -> Tensor", out=False)
def repeat_interleave_number(self, repeats, dim, output_size):
    """Each element (slice along `dim`) repeated `repeats` times."""
    if repeats < 0:
        raise RuntimeError(f"repeat_interleave: Repeats must be non-negative; got {repeats}")
    if dim is None:
        self, dim = self.reshape(-1), 0
    self = self if self.dim() else self.reshape(1)
    dim = wrap_dim(dim, self.dim())
    sizes = list(self.shape)
    spread = self.unsqueeze(dim + 1).expand(sizes[: dim + 1] + [repeats] + sizes[dim + 1 :])
    sizes[dim] *= repeats
    return spread.clone().reshape(sizes)


@composite("repeat_interleave.counts(Tensor repeats, *, int? output_size=None) -> Tensor",
           method=False, out=False)
def repeat_interleave_counts(repeats, output_size):
    """0 repeats[0] times, 1 repeats[1] times, and so on."""
    return _positions(repeats, output_size, repeats.numel())


# ---- diagonals -----------------------------------------------------------------------------------


@composite("diag_embed(Tensor self, int offset=0, int dim1=-2, int dim2=-1) -> Tensor", out=False)
def diag_embed(self, offset, dim1, dim2):
    """Matrices in the dims `dim1`, `dim2` whose diagonals are the vectors along the last dim."""
    n = self.dim() + 1
    dim1, dim2 = wrap_dim(dim1, n), wrap_dim(dim2, n)
    if dim1 == dim2:
        raise RuntimeError(f"diag_embed: diagonal dimensions cannot be identical {dim1}, {dim2}")
    size = (self.size(-1) if self.dim() else 1) + abs(offset)
    sizes = list(self.shape[:-1])
    for d in sorted((dim1, dim2)):
        sizes.insert(d, size)
    out = self.new_zeros(sizes)
    out.diagonal(offset, dim1, dim2).copy_(self)
    return out


@composite("diag(Tensor self, int diagonal=0) -> Tensor", out="exact")
def diag(self, diagonal):
    """The diagonal of a matrix (a copy), or the matrix with a vector as its diagonal."""
    if self.dim() not in (1, 2):
        raise RuntimeError("diag: Supports 1D or 2D tensors. Got "
                           f"{self.dim()}D")
    return diag_embed(self, diagonal) if self.dim() == 1 else self.diagonal(diagonal).clone()


@composite("diagflat(Tensor self, int offset=0) -> Tensor", out=False)
def diagflat(self, offset):
    """The matrix with all elements as its diagonal."""
    return diag_embed(self.reshape(-1), offset)


@composite("trace(Tensor self) -> Tensor", out=False)
def trace(self):
    """The sum of a matrix's diagonal."""
    if self.dim() != 2:
        raise RuntimeError(f"trace: expected a matrix, but got tensor with dim {self.dim()}")
    return self.diagonal().sum()


@composite("vander(Tensor x, int? N=None, bool increasing=False) -> Tensor", method=False,
           out=False,
           module="")
def vander(x, N, increasing):
    """The Vandermonde matrix: powers of a vector as columns, falling unless `increasing`."""
    if x.dim() != 1:
        raise RuntimeError("vander: x must be a one-dimensional tensor.")
    n = x.numel() if N is None else N
    if n < 0:
        raise RuntimeError(f"vander: N must be non-negative; got {n}")
    x = x if x.dtype.is_floating_point or x.is_complex() else x.long()
    one = x.new_ones(x.numel(), 1)
    powers = cat([one, x.unsqueeze(1).expand(-1, max(n - 1, 0))], 1).cumprod(1)[:, :n]
    return powers if increasing else fliplr(powers)


# ---- triangles -----------------------------------------------------------------------------------


def _triangle(name: str, keep, doc: str):
    triangle = native(f"{name}(Tensor self, int diagonal=0) -> Tensor", doc=doc, inplace=True,
                      out=True)
    triangle.gradient(self=lambda g, diagonal: triangle(g, diagonal))

    @composite(f"{name}_indices(int row, int col, int offset=0, *, {TENSOR_OPTIONS}) -> Tensor",
               method=False, out=False,
               doc=f"Where the elements are that `{name}` keeps of a (row, col) matrix: (2,"
                   f" count).")
    def indices(row, col, offset, dtype, layout, device, pin_memory, requires_grad):
        if row < 0 or col < 0:
            raise RuntimeError(f"{name}_indices: row and col must be non-negative; got {row},"
                               f" {col}")
        ones = zeros([row, col]).eq(0)
        kept = keep(arange(col) - arange(row).unsqueeze(1), offset) & ones
        return kept.nonzero().t().contiguous().to(device=device, dtype=dtype)

    return triangle


tril = _triangle("tril", lambda d, k: d <= k, "Zeros above the diagonal.")
triu = _triangle("triu", lambda d, k: d >= k, "Zeros below the diagonal.")


# ---- parts replaced, in a copy -------------------------------------------------------------------


def _replaced(self, src, show, name: str):
    out = self.clone()
    return _replace(out, src, show(out), name)


def _replace(out, src, part, name: str):
    """`out`, after `src` was written to its view `part`."""
    if part.shape != src.shape:
        raise RuntimeError(f"{name}: expected src to have a size equal to the slice of self. src "
                           f"size = {list(src.shape)}, slice size = {list(part.shape)}")
    part.copy_(src)
    return out


@composite("select_scatter(Tensor self, Tensor src, int dim, int index) -> Tensor", out=False)
def select_scatter(self, src, dim, index):
    """A copy with self.select(dim, index) replaced by `src`."""
    return _replaced(self, src, lambda x: x.select(dim, index), "select_scatter")


@composite("slice_scatter(Tensor self, Tensor src, int dim=0, int? start=None, int? end=None,"
           " int step=1) -> Tensor", out=True)
def slice_scatter(self, src, dim, start, end, step):
    """A copy with self[start:end:step] along `dim` replaced by `src`."""
    from .shape import slice_

    out = self.clone()
    part = slice_(out, dim, start, end, step)
    part.copy_(src)
    return out


@composite("diagonal_scatter(Tensor self, Tensor src, int offset=0, int dim1=0, int dim2=1)"
           " -> Tensor", out=False)
def diagonal_scatter(self, src, offset, dim1, dim2):
    """A copy with the diagonal replaced by `src`."""
    return _replaced(self, src, lambda x: x.diagonal(offset, dim1, dim2), "diagonal_scatter")


@composite("as_strided_scatter(Tensor self, Tensor src, int[] size, int[] stride,"
           " int? storage_offset=None) -> Tensor", out=False)
def as_strided_scatter(self, src, size, stride, storage_offset):
    """A copy with self.as_strided(size, stride, storage_offset) replaced by `src`.

    Offsets count in the whole storage that `self` is a view of.
    """
    extent = self.untyped_storage().nbytes() // self.itemsize
    if self.is_meta or extent == self.numel():
        out = self.clone()
    else:  # what lies between and around the elements of `self` belongs to it too
        whole = self.as_strided([extent], [1], 0).clone()
        out = whole.as_strided(self.shape, self.stride(), self.storage_offset())
    return _replace(out, src, out.as_strided(size, stride, storage_offset), "as_strided_scatter")


# ---- choices of elements -------------------------------------------------------------------------


_MOST_PICKS = 1 << 28  # of elements in all: Python lists the positions


@composite("combinations(Tensor self, int r=2, bool with_replacement=False) -> Tensor",
           method=False, out=False)
def combinations(self, r, with_replacement):
    """All ways to pick `r` elements of a vector, one row each."""
    import math
    from itertools import combinations as without
    from itertools import combinations_with_replacement as replaced

    from taimatsu import int64, tensor

    if self.dim() != 1:
        raise RuntimeError(f"combinations: Expect a 1D vector, but got shape {list(self.shape)}")
    if r < 0:
        raise RuntimeError(f"combinations: Expect a non-negative number, but got {r}")
    if r == 0:
        return empty([0], dtype=self.dtype, device=self.device)
    n = self.numel()
    total = max(n + r - 1, 0) if with_replacement else n
    fewer = min(r, total - r)  # 2**fewer is the least that there are
    if fewer > 60 or (fewer >= 0 and math.comb(total, fewer) * r > _MOST_PICKS):
        raise RuntimeError(f"combinations: there are more than {_MOST_PICKS // r} ways to pick "
                           f"{r} of {n} elements, too many to list; pick fewer")
    ways = replaced if with_replacement else without
    picks = list(ways(range(n), r)) if fewer >= 0 else []
    at = tensor(picks, dtype=int64, device=self.device).reshape(len(picks), r)
    return index_select(self, 0, at.reshape(-1)).reshape(len(picks), r)
