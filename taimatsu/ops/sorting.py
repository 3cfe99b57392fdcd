"""Order: sort, topk, unique, nonzero and their kin. NaN counts as greater than any number."""

from __future__ import annotations

from .table import composite, core_composite, native


def _scatter_back(g, indices, dim, self_like):
    """The gradient of elements picked along `dim` by `indices`."""
    zeros = g.new_zeros(self_like.shape)
    return zeros.scatter_add_(dim, indices, g)


sort = native(
    "sort(Tensor self, int dim=-1, bool descending=False, *, bool? stable=None)"
    " -> (Tensor values, Tensor indices)",
    out=True,
    doc="""The elements in order along `dim`, and where each was.

    Equal elements keep their order, whether or not `stable` asks for it.

    >>> taimatsu.sort(taimatsu.tensor([3, 1, 2]))[1]
    tensor([1, 2, 0])
    """,
).gradient(
    self=lambda g_values, indices, dim, self_like: _scatter_back(g_values, indices, dim, self_like)
)

topk = native(
    "topk(Tensor self, int k, int dim=-1, bool largest=True, bool sorted=True)"
    " -> (Tensor values, Tensor indices)",
    out="exact",
    doc="""The `k` largest (or smallest) elements along `dim`, and where they were.

    Of equal elements the first are taken. RuntimeError if there are fewer than `k`.

    >>> taimatsu.topk(taimatsu.tensor([3.0, 1.0, 2.0]), 2)[0]
    tensor([3., 2.])
    """,
).gradient(
    self=lambda g_values, indices, dim, self_like: _scatter_back(g_values, indices, dim, self_like)
)


def element_gradient(g_values, indices, dim, keepdim, self_like):
    """Of ops that pick one element of each line."""
    if not keepdim and self_like.dim():
        g_values, indices = g_values.unsqueeze(dim), indices.unsqueeze(dim)
    return _scatter_back(g_values, indices, dim, self_like)


kthvalue = native(
    "kthvalue(Tensor self, int k, int dim=-1, bool keepdim=False)"
    " -> (Tensor values, Tensor indices)",
    out=True,
    doc="""The `k`-th smallest element along `dim`, k = 1 the smallest, and where it was.

    >>> taimatsu.kthvalue(taimatsu.tensor([3, 1, 2]), 2)[0]
    tensor(2)
    """,
).gradient(self=element_gradient)


@composite("argsort(Tensor self, int dim=-1, bool descending=False, bool stable=False) -> Tensor")
def argsort(self, dim, descending, stable):
    """The indices that sort `self` along `dim`.

    >>> taimatsu.argsort(taimatsu.tensor([3, 1, 2]))
    tensor([1, 2, 0])
    """
    return sort(self.detach(), dim, descending)[1]


@composite("msort(Tensor self) -> Tensor", out=True)
def msort(self):
    """The elements in order along the first dim."""
    return sort(self, 0)[0]


nonzero_ = native(
    "_nonzero(Tensor self) -> Tensor",
    method=False,
    module=None,
    out=False,
    doc="The positions of elements that are not zero, one row each, in order.",
).gradient(self=lambda g: None)


nonzero = core_composite(
    "nonzero(Tensor self, *, bool as_tuple=False) -> Tensor",
    """The positions of the elements that are not zero, in row-major order.

    Result: int64, (count, self.dim()); `as_tuple`: its columns, which index `self`.

    >>> taimatsu.nonzero(taimatsu.tensor([0, 5, 0, 7]))
    tensor([[1],
            [3]])
    """,
    out=True,
)


@composite("argwhere(Tensor self) -> Tensor", out=False)
def argwhere(self):
    """The positions of the elements that are not zero, one row each."""
    return nonzero_(self)


# ---- unique -------------------------------------------------------------------------------------

_HIDDEN = {"method": False, "module": None, "out": False, "doc": ""}
_THREE = "(Tensor values, Tensor inverse, Tensor counts)"
_WANTED = "Tensor self, bool with_inverse, bool with_counts"
_unique = native(f"_unique({_WANTED}) -> {_THREE}", **_HIDDEN)
_unique_consecutive = native(f"_unique_consecutive({_WANTED}) -> {_THREE}", **_HIDDEN)
_unique_rows = native(f"_unique_rows(Tensor self, bool sort) -> {_THREE}", **_HIDDEN)
for _op in (_unique, _unique_consecutive, _unique_rows):
    _op.gradient(self=lambda g: None)


def _distinct(self, sort, return_inverse, return_counts, dim):
    self = self.detach()
    if dim is None:
        distinct = _unique if sort else _unique_consecutive
        values, inverse, counts = distinct(self, return_inverse, return_counts)
    else:
        rows = self.movedim(dim, 0)
        if 0 in rows.shape[1:]:
            raise RuntimeError("unique: There are 0 sized dimensions, and they aren't selected, so "
                               f"unique cannot be applied; got {list(self.shape)}, dim {dim}")
        n = self.size(dim)
        rows = rows.reshape(n, self.numel() // n if n else 0)
        kept, inverse, counts = _unique_rows(rows, sort)
        values = self.index_select(dim, kept)
    out = [values]
    if return_inverse:
        out.append(inverse)
    if return_counts:
        out.append(counts)
    return tuple(out) if len(out) > 1 else values


@composite("unique(Tensor self, bool sorted=True, bool return_inverse=False,"
           " bool return_counts=False, int? dim=None) -> Tensor", out=False)
def unique(self, sorted, return_inverse, return_counts, dim):
    """The distinct elements (or slices along `dim`), in order.

    Returns the values; with `return_inverse` also where in them each element is, with
    `return_counts` also how often each occurs.

    >>> taimatsu.unique(taimatsu.tensor([2, 1, 2]), return_counts=True)
    (tensor([1, 2]), tensor([1, 2]))
    """
    return _distinct(self, True, return_inverse, return_counts, dim)


@composite("unique_consecutive(Tensor self, bool return_inverse=False, bool return_counts=False,"
           " int? dim=None) -> Tensor", out=False)
def unique_consecutive(self, return_inverse, return_counts, dim):
    """The first of each run of equal elements (or slices along `dim`)."""
    return _distinct(self, False, return_inverse, return_counts, dim)


# ---- searching and counting ---------------------------------------------------------------------

searchsorted_native = native(
    "_searchsorted(Tensor sorted_sequence, Tensor self, bool out_int32, bool right) -> Tensor",
    **_HIDDEN,
).gradient(sorted_sequence=lambda g: None, self=lambda g: None)


def _positions(sequence, values, out_int32, right, side, sorter=None):
    from taimatsu import Tensor, result_type

    if side not in (None, "left", "right"):
        raise RuntimeError(f"searchsorted: side must be 'left' or 'right'; got {side!r}")
    if side == "left" and right:
        raise RuntimeError("searchsorted: side and right can't be set to opposites; got side='left'"
                           " and right=True")
    if not isinstance(values, Tensor):
        values = sequence.new_tensor(values)
    if sorter is not None:
        sequence = sequence.gather(-1, sorter)
    if sequence.dtype != values.dtype:
        dtype = result_type(sequence, values)
        sequence, values = sequence.to(dtype), values.to(dtype)
    return searchsorted_native(sequence, values, out_int32, right or side == "right")


@composite("searchsorted(Tensor sorted_sequence, Tensor|Number self, *, bool out_int32=False,"
           " bool right=False, str? side=None, Tensor? sorter=None) -> Tensor",
           method=False, out=True)
def searchsorted(sorted_sequence, self, out_int32, right, side, sorter):
    """Where elements would have to be inserted to keep a sequence sorted.

    sorted_sequence: (n), or (..., n) with the leading sizes of `self`. Position i fulfils
    sequence[i - 1] < value <= sequence[i], with `right` sequence[i - 1] <= value < sequence[i].

    >>> taimatsu.searchsorted(taimatsu.tensor([1, 3, 5]), taimatsu.tensor([3, 6]))
    tensor([1, 3])
    """
    return _positions(sorted_sequence, self, out_int32, right, side, sorter)


@composite("bucketize(Tensor|Number self, Tensor boundaries, *, bool out_int32=False,"
           " bool right=False) -> Tensor", method=False, out="exact")
def bucketize(self, boundaries, out_int32, right):
    """The bucket of each element between sorted `boundaries` (1-D)."""
    if boundaries.dim() != 1:
        raise RuntimeError(f"bucketize: boundaries must be 1 dimension, got {boundaries.dim()}")
    return _positions(boundaries, self, out_int32, right, None)


bincount = native(
    "bincount(Tensor self, Tensor? weights=None, int minlength=0) -> Tensor",
    out=False,
    doc="""How often each of 0, 1, 2 ... occurs, or the sums of the `weights` where it does.

    self: 1-D, non-negative integers.

    >>> taimatsu.bincount(taimatsu.tensor([0, 2, 2]))
    tensor([1, 0, 2])
    """,
).gradient(self=lambda g: None, weights=lambda g, self: g[self])
