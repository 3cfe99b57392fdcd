"""Distances between points, and lengths."""

from __future__ import annotations

from taimatsu.codegen import lang
from taimatsu.codegen.lang import sign, where
from taimatsu.codegen.promote import FLOATING

from .reduction import vector_norm
from .shape import wrap_dim
from .table import composite, pointwise, row

_PRIVATE = {"module": None, "method": False, "inplace": False}


@row("_distance(Row self, Row other, float p, int dim=-1) -> Cell", module=None, static=("p",),
     dtypes=FLOATING)
def distance(x, y, p):
    """sum(|x - y|^p)^(1/p) of each pair of rows."""
    d = lang.abs(x - y)
    if p == 0:
        return where(d == 0, 0.0, 1.0).sum()
    if p == lang.inf:
        return d.max()
    if p == 1:
        return d.sum()
    if p == 2:
        return lang.sqrt((d * d).sum())
    return lang.pow(lang.pow(d, p).sum(), 1 / p)


@distance.gradient
def _(g, self, other, result, p):
    # Where a distance or a difference is 0 there are kinks; PyTorch's choice is 0.
    d = self - other
    if p == 0:
        by_self = 0 * d
    elif p == lang.inf:
        by_self = where(lang.abs(d) == result, g * sign(d), 0)
    elif p == 1:
        by_self = g * sign(d)
    elif p == 2:
        by_self = where(result == 0, 0, g * (d / result))
    else:
        by_self = where(d == 0, 0, g * sign(d) * lang.pow(lang.abs(d) / result, p - 1))
    return by_self, -by_self


@pointwise("_length(Tensor self) -> Tensor", dtypes=FLOATING, **_PRIVATE)
def length(square):
    """The square root of a sum of squares, which rounding may have made negative."""
    return lang.sqrt(lang.maximum(square, 0))


@length.gradient
def _(g, result):
    return where(result == 0, 0, g / (2 * result))


def _floating(name: str, *tensors) -> None:
    for x in tensors:
        if not x.dtype.is_floating_point:
            raise RuntimeError(f"{name} only supports floating-point dtypes, got: {x.dtype}")
    if len({x.dtype for x in tensors}) > 1:
        raise RuntimeError(f"{name}: expected tensors of one dtype, got "
                           f"{', '.join(str(x.dtype) for x in tensors)}")
    if tensors[0].dtype.itemsize < 4:
        raise NotImplementedError(f'"{name}" not implemented for {tensors[0].dtype}; convert to '
                                  "float32")


def _check_p(name: str, p: float) -> None:
    if not p >= 0:
        raise RuntimeError(f"{name} only supports non-negative p values, got {p}")


_BY_PRODUCT = "use_mm_for_euclid_dist"
_COMPUTE_MODES = (f"{_BY_PRODUCT}_if_necessary", _BY_PRODUCT, f"donot_{_BY_PRODUCT}")


def _by_product(x1, x2):
    """Euclidean distances by |x|² - 2 x·y + |y|²: one product, at the cost of digits."""
    from taimatsu import cat, ones_like

    square1, square2 = (x.square().sum(-1, keepdim=True) for x in (x1, x2))
    left = cat([-2 * x1, square1, ones_like(square1)], -1)
    right = cat([x2, ones_like(square2), square2], -1)
    return length(left @ right.mT)


@pointwise("_shrink(Tensor self, float limit) -> Tensor", dtypes=FLOATING, **_PRIVATE)
def shrink(norm, limit):
    """What brings the norm to `limit` where it is larger, and else 1."""
    return where(norm > limit, limit / (norm + 1e-7), 1)


@composite("cdist(Tensor x1, Tensor x2, float p=2.0, str? compute_mode="
           f"'{_COMPUTE_MODES[0]}') -> Tensor", method=False)
def cdist(x1, x2, p, compute_mode):
    """The distances between all rows of x1 (..., P, M) and all of x2 (..., R, M): (..., P, R).

    p              of the norm, 0 (how many differ) to inf
    compute_mode   of the Euclidean distance: by a matrix product if either has more than 25 rows,
                   always ("use_mm_for_euclid_dist") or never ("donot_use_mm_for_euclid_dist")
    The leading dims broadcast. RuntimeError for sizes or types that don't match, ValueError for
    another mode.
    """
    from taimatsu import broadcast_shapes

    if compute_mode not in _COMPUTE_MODES:
        raise ValueError(f"{compute_mode} is not a valid value for compute_mode; use one of "
                         f"{', '.join(_COMPUTE_MODES)}")
    for x in (x1, x2):
        if x.dim() < 2:
            raise RuntimeError(f"cdist only supports at least 2D tensors, got: {x.dim()}D")
    if x1.size(-1) != x2.size(-1):
        raise RuntimeError("cdist: X1 and X2 must have the same number of columns. X1: "
                           f"{x1.size(-1)} X2: {x2.size(-1)}")
    _floating("cdist", x1, x2)
    _check_p("cdist", p)
    rows, many = (x1.size(-2), x2.size(-2)), max(x1.size(-2), x2.size(-2)) > 25
    mode = _COMPUTE_MODES.index(compute_mode)
    if p == 2 and (mode == 1 or (mode == 0 and many)) and x1.size(-1):
        return _by_product(x1, x2)
    sizes = [*broadcast_shapes(x1.shape[:-2], x2.shape[:-2]), *rows]
    if not x1.size(-1):
        return x1.new_zeros(sizes) + (x1.sum() + x2.sum())  # with a history
    return distance(x1.unsqueeze(-2).expand(*sizes, -1), x2.unsqueeze(-3).expand(*sizes, -1), p)


@composite("pdist(Tensor self, float p=2.0) -> Tensor", method=False)
def pdist(self, p):
    """The distances between all pairs of rows of an (N, M) matrix: N (N - 1) / 2 of them.

    In the order of the upper triangle, row by row. RuntimeError for other shapes and types.
    """
    from taimatsu import triu_indices

    if self.dim() != 2:
        raise RuntimeError(f"pdist only supports 2D tensors, got: {self.dim()}D")
    _floating("pdist", self)
    _check_p("pdist", p)
    n = self.size(0)
    if n < 2 or not self.size(1):
        return self.new_zeros([n * (n - 1) // 2]) + 0 * self.sum()  # with a history
    first, second = triu_indices(n, n, 1, device=self.device)
    return distance(self.index_select(0, first), self.index_select(0, second), p)


@composite("pairwise_distance(Tensor x1, Tensor x2, float p=2.0, float eps=1e-6,"
           " bool keepdim=False) -> Tensor", method=False)
def pairwise_distance(x1, x2, p, eps, keepdim):
    """The p-norm of x1 - x2 + eps along the last dim; the shapes broadcast."""
    return vector_norm(x1 - x2 + eps, p, [max(x1.dim(), x2.dim()) - 1], keepdim)


@composite("cosine_similarity(Tensor x1, Tensor x2, int dim=1, float eps=1e-8) -> Tensor",
           method=False)
def cosine_similarity(x1, x2, dim, eps):
    """x1 · x2 / (max(|x1|, eps) max(|x2|, eps)) along `dim` of the common shape.

    RuntimeError for types that aren't floating.
    """
    from taimatsu import broadcast_tensors, result_type

    common = result_type(x1, x2)
    if not common.is_floating_point:
        raise RuntimeError("cosine_similarity: expected common dtype to be floating point, yet "
                           f"common dtype is {common}")
    pair = broadcast_tensors(x1.to(common), x2.to(common))
    units = [x / vector_norm(x, 2, dim, True).clamp_min(eps) for x in pair]
    return (units[0] * units[1]).sum(dim)


@composite("dist(Tensor self, Tensor other, Number p=2) -> Tensor")
def dist(self, other, p):
    """The p-norm of all elements of self - other; the shapes broadcast."""
    d = self - other
    if not (d.dtype.is_floating_point or d.is_complex()):
        raise RuntimeError(f"dist: input dtype should be either floating point or complex. Got "
                           f"{d.dtype} instead.")
    return vector_norm(d, p)


@composite("renorm(Tensor self, Number p, int dim, Number maxnorm) -> Tensor", inplace=True,
           out=True)
def renorm(self, p, dim, maxnorm):
    """The slices along `dim`, scaled down to the p-norm `maxnorm` where theirs is larger.

    RuntimeError for fewer than two dims, p <= 0, a negative `maxnorm`, or integers.
    """
    if isinstance(p, complex):
        raise RuntimeError(f"renorm: p must be real-valued, got {p}")
    if not p > 0:
        raise RuntimeError(f"renorm: non-positive-norm not supported, got {p}")
    if isinstance(maxnorm, complex) or not maxnorm >= 0:
        raise RuntimeError(f"renorm: expected maxnorm to be >= 0 but got {maxnorm}")
    if self.dim() < 2:
        raise RuntimeError(f"renorm: input needs at least 2 dimensions, got {self.dim()}")
    dim = wrap_dim(dim, self.dim())
    if not (self.dtype.is_floating_point or self.is_complex()):
        raise RuntimeError(f"renorm: Expected a floating point or complex tensor as input. Got "
                           f"{self.dtype}")
    others = [d for d in range(self.dim()) if d != dim]
    norm = vector_norm(self, p, others, True)
    return self * shrink(norm, maxnorm)
