"""Resampling: a tensor's values on another regular grid.

Every dim is resampled by itself: an element of the output is a weighted sum of few of the input, at
places and with weights that depend on its position along that dim alone. All modes are tables of
these, so that there is one formula; the gradient is the same formula with the transposed table.
"""

from __future__ import annotations

import functools
import math
import operator
import typing
import warnings
from collections.abc import Callable, Sequence
from typing import Any

from taimatsu import _core
from taimatsu.codegen.lang import window
from taimatsu.codegen.promote import FLOATING

from .table import composite, indexed

_F = {"module": "nn.functional", "method": False}


# ---- tables: which elements, and how much of each -----------------------------------------------


def _cubic(a: float) -> Callable:
    """Keys' convolution kernel (1981)."""

    def kernel(x):
        import numpy as np

        x = np.abs(x)
        near = ((a + 2) * x - (a + 3)) * x * x + 1
        far = (((x - 5) * x + 8) * x - 4) * a
        return np.where(x < 1, near, np.where(x < 2, far, 0.0))

    return kernel


def _triangle(x):
    import numpy as np

    return np.maximum(1 - np.abs(x), 0.0)


def _lanczos(x):
    import numpy as np

    return np.where(np.abs(x) < 3, np.sinc(x) * np.sinc(x / 3), 0.0)


_KERNELS = {  # the kernel, where it ends, and the one of antialiasing
    "linear": (_triangle, 1, _triangle),
    "cubic": (_cubic(-0.75), 2, _cubic(-0.5)),
    "lanczos": (_lanczos, 3, _lanczos),  # of antialiasing only
}


def _step(n: int, count: int, align: bool, scale: float | None) -> float:
    """How far one element of the output is from the next in the input."""
    if align:
        return (n - 1) / (count - 1) if count > 1 else 0.0
    return 1 / scale if scale else n / count


class Taps(typing.NamedTuple):
    """Positions in one dim and their weights, (taps, count) each, and the transposed table."""

    index: Any
    weight: Any
    back: Any
    back_weight: Any


def _filled(taps: int) -> int:
    """The number of taps in a table: few numbers occur, as each is a kernel of its own."""
    power = 1 << (taps - 1).bit_length()
    return 3 * power // 4 if 4 * taps <= 3 * power and power > 2 else power


def _table(places, weights, n: int, dtype: Any) -> Taps:
    """The tensors of a table (taps, count) of positions in range(n), and of its transpose."""
    import numpy as np

    taps, count = places.shape
    at = np.broadcast_to(np.arange(count), places.shape)
    some = weights != 0
    order = np.argsort(places[some], kind="stable")
    row, column, value = (x[some][order] for x in (places, at, weights))
    rank = np.arange(row.size) - np.searchsorted(row, row)  # how many of its place come before
    back = np.zeros((_filled(int(rank.max(initial=0)) + 1), n), np.int64)
    back_weights = np.zeros(back.shape)
    back[rank, row], back_weights[rank, row] = column, value
    more = [(0, _filled(taps) - taps), (0, 0)]
    tables = np.pad(places, more), np.pad(weights, more), back, back_weights
    tensors = (_core.tensor(x) if x.dtype == np.int64 else _core.tensor(x).to(dtype)
               for x in tables)
    return Taps(*map(_core.constant, tensors))


@functools.lru_cache(256)
def _nearest(n: int, count: int, scale: float | None, exact: bool, double: bool, small: bool):
    """The element of `n` that each of `count` is.

    Where it falls between two, rounding decides: this is PyTorch's, in single or `double`
    precision, and in another way where planes are `small`.
    """
    import numpy as np

    at: Any
    real: Any = np.float64 if double and not small else np.float32
    i, step, half = np.arange(count), real(_step(n, count, False, scale)), real(0.5)
    if small and not exact and count in (n, 2 * n):
        at = i * n // count
    elif small:
        at = np.floor((i.astype(real) + half * exact) * step)
    elif exact:  # a product and a difference rounded once
        at = np.floor((np.float64(step) * (i + 0.5) - 0.5).astype(real) + half)
    else:
        at = np.floor(i.astype(real) * step)
    return np.clip(at, 0, n - 1).astype(np.int64)


@functools.lru_cache(256)
def _nearest_taps(dtype: Any, n: int, *how: Any) -> Taps:
    at = _nearest(n, *how)[None]
    return _table(at, (at >= 0) * 1.0, n, dtype)


@functools.lru_cache(256)
def _repeat_taps(n: int, times: int, dtype: Any) -> Taps:
    import numpy as np

    at = np.arange(n * times)[None] // times
    return _table(at, (at >= 0) * 1.0, n, dtype)


@functools.lru_cache(256)
def _times(n: int, count: int, *how: Any) -> int:
    """How often each of `n` occurs, if that is the same for all, or else 0."""
    import numpy as np

    times = count // n
    same = n * times == count and np.array_equal(_nearest(n, count, *how),
                                                 np.arange(count) // max(times, 1))
    return times if same else 0


@functools.lru_cache(256)
def part_taps(n: int, count: int, dtype: Any) -> Taps:
    """The means of `count` parts of `n`: of i n / count to (i + 1) n / count, rounded up."""
    import numpy as np

    i = np.arange(count)
    first, end = i * n // count, -(-(i + 1) * n // count)
    places = first + np.arange(int((end - first).max()))[:, None]
    weights = (places < end) / (end - first)
    return _table(np.minimum(places, n - 1), weights, n, dtype)


@functools.lru_cache(256)
def _taps(
    n: int, count: int, kind: str, align: bool, scale: float | None, antialias: bool, dtype: Any
):
    import numpy as np

    kernel, reach, smooth = _KERNELS[kind]
    step = _step(n, count, align, scale)
    at = np.arange(count)
    if antialias:
        wide = max(step, 1.0)
        center = step * (at + 0.5)
        first = np.maximum((center - reach * wide + 0.5).astype(np.int64), 0)
        end = np.minimum((center + reach * wide + 0.5).astype(np.int64), n)
        places = first + np.arange(max(int((end - first).max()), 1))[:, None]
        weights = smooth((places - center + 0.5) / wide) * (places < end)
        total = weights.sum(0)
        weights = weights / np.where(total == 0, 1, total)
    else:
        center = step * at if align else step * (at + 0.5) - 0.5
        if kind == "linear":  # the edges go on as they are
            center = np.maximum(center, 0)
        places = np.floor(center).astype(np.int64) + np.arange(1 - reach, 1 + reach)[:, None]
        weights = kernel(center - places)
    places = np.clip(places, 0, n - 1)
    if dtype == _core.uint8:
        places, weights = _distinct(places, weights)
        weights, dtype = _quantized(weights), _core.float64
    return _table(places, weights, n, dtype)


def _distinct(places, weights):
    """The same taps without repeated places, as there are at the edges: these add up."""
    import numpy as np

    columns = np.arange(places.shape[1])
    total = np.zeros_like(weights)
    for row, weight in zip(places - places[0], weights, strict=True):
        total[row, columns] += weight
    return np.minimum(places[0] + np.arange(len(places))[:, None], places.max()), total


def _quantized(weights):
    """Weights of bytes: multiples of the smallest power of 2 that makes 16-bit numbers of them."""
    import numpy as np

    unit = 2.0 ** max(p for p in range(1, 23) if weights.max() * 2.0**p + 0.5 < 2**15)
    return np.copysign(np.floor(np.abs(weights) * unit + 0.5), weights) / unit


_SAMPLES = "Index index, Tensor weight, Index back, Tensor back_weight, int taps"
_PART = {"module": None, "static": ("taps",), "dtypes": FLOATING,
         "follows": ("weight", "back_weight"), "ranks": {"back": 2, "back_weight": 2}}


@indexed(f"_resample(Tensor self, {_SAMPLES}) -> Tensor",
         out=lambda x, i, *_: [x[0], i[1], x[2]], **_PART)
def _resample(x, index, weight, back, back_weight, o, j, i, *, taps):
    """Sums of elements along the middle dim, at index[:, j] with weight[:, j]."""
    u = window(taps)
    return (weight[u, j] * x[o, index[u, j], i]).sum(u)


@indexed(f"_resample_last(Tensor self, {_SAMPLES}) -> Tensor",
         out=lambda x, i, *_: [x[0], i[1]], **_PART)
def _resample_last(x, index, weight, back, back_weight, o, j, *, taps):
    """Likewise along the last dim."""
    u = window(taps)
    return (weight[u, j] * x[o, index[u, j]]).sum(u)


def _transposed(op):
    return lambda g, index, weight, back, back_weight: op(
        g, back, back_weight, index, weight, back.size(0))


for _op in (_resample, _resample_last):
    _op.gradient(self=_transposed(_op))


def resample(x, dim: int, table: Taps):
    """`x` resampled along `dim` by a table."""
    table = Taps(*(t.to(x.device) for t in table))
    shape, taps = x.shape, table.index.size(0)
    lines = x.reshape(math.prod(shape[:dim]), shape[dim], math.prod(shape[dim + 1 :]))
    if lines.size(2) == 1:
        out = _resample_last(lines.select(2, 0), *table, taps)
    else:
        out = _resample(lines, *table, taps)
    return out.reshape([*shape[:dim], table.index.size(1), *shape[dim + 1 :]])


def _passes(self, sizes: Sequence[int]) -> list[int]:
    """The dims that change, in the order that has the least to compute."""
    first = self.dim() - len(sizes)
    changes = {d: n / max(self.size(d), 1) for d, n in enumerate(sizes, first)}
    return sorted(changes, key=lambda d: (changes[d], -d))


_SMALL_PLANE = 128  # the most that height and width add up to


@composite("_repeated(Tensor self, int[] times) -> Tensor", module=None, method=False)
def _repeated(self, times):
    """Every element of the last dims as often as `times` says."""
    out = self
    for d, k in enumerate(times, self.dim() - len(times)):
        if k > 1:
            out = resample(out, d, _repeat_taps(out.size(d), k, _weights_of(self)))
    return out


@_repeated.gradient
def _(g, times):
    from .window import window_sums

    return window_sums(g, times)


def _nearest_nd(self, sizes, scales, exact):
    out = self
    small = len(sizes) == 2 and sum(sizes) <= _SMALL_PLANE
    double = self.dtype == _core.float64
    how = [(n, *to, exact, double, small) for n, *to in
           zip(self.shape[2:], sizes, scales, strict=True)]
    if self.dtype.is_floating_point and all(times := [_times(*h) for h in how]):
        return _repeated(self, times)
    for d in _passes(self, sizes):
        h = how[d - 2]
        if self.dtype.is_floating_point:
            out = resample(out, d, _nearest_taps(_weights_of(self), *h))
        else:
            out = out.index_select(d, _core.tensor(_nearest(*h)).to(out.device))
    return out


def _weights_of(self):
    return _core.float64 if self.dtype == _core.float64 else _core.float32


def _weighted_nd(self, sizes, scales, kind, align, antialias):
    if self.dtype == _core.uint8:
        return _weighted_bytes(self, sizes, scales, kind, align, antialias)
    out = self.to(_weights_of(self))
    for d in _passes(self, sizes):
        k = d - self.dim() + len(sizes)
        out = resample(out, d, _taps(self.size(d), sizes[k], kind, align, scales[k], antialias,
                                     out.dtype))
    return out.to(self.dtype)


def _weighted_bytes(self, sizes, scales, kind, align, antialias):
    """Of bytes: columns first, and bytes again after each dim."""
    out = self.double()
    for d in (self.dim() - 1, self.dim() - 2):
        k = d - self.dim() + len(sizes)
        out = resample(out, d, _taps(self.size(d), sizes[k], kind, align, scales[k], antialias,
                                     self.dtype))
        out = (out + 0.5).floor().clamp(0, 255)
    return out.to(_core.uint8)


# ---- interpolate --------------------------------------------------------------------------------

_PLANAR = {"linear": 3, "bilinear": 4, "bicubic": 4, "trilinear": 5, "lanczos": 4}
_ANY = ("nearest", "nearest-exact", "area")


def _target(self, size, scale_factor, recompute: bool | None, mode: str):
    """The sizes of the output, and the scales that were given (None: by the sizes)."""
    spatial = list(self.shape[2:])
    if size is not None and scale_factor is not None:
        raise ValueError("interpolate: only one of size or scale_factor should be defined")
    if size is None and scale_factor is None:
        raise ValueError("interpolate: either size or scale_factor should be defined")
    given = size if scale_factor is None else scale_factor
    try:
        values = list(given)
    except TypeError:
        values = [given] * len(spatial)
    if len(values) != len(spatial):
        raise ValueError("interpolate: Input and output must have the same number of spatial "
                         f"dimensions, but got input with {spatial} and {given}")
    if scale_factor is None:
        if recompute:
            raise ValueError("interpolate: recompute_scale_factor is not meaningful with an "
                             "explicit size.")
        return [operator.index(n) for n in values], [None] * len(values)
    scales = [float(s) for s in values]
    sizes = [math.floor(n * s) for n, s in zip(spatial, scales, strict=True)]
    return sizes, [None] * len(sizes) if recompute or mode == "area" else scales


def _check_mode(self, mode: str, align: bool | None, antialias: bool) -> None:
    dims = self.dim()
    if mode in _ANY and align is not None:
        raise ValueError("interpolate: align_corners option can only be set with the "
                         "interpolating modes: linear | bilinear | bicubic | trilinear")
    if antialias and (mode not in ("bilinear", "bicubic", "lanczos") or dims != 4):
        raise ValueError("interpolate: Anti-alias option is restricted to bilinear, bicubic, and "
                         f"lanczos modes and requires a 4-D tensor as input; got {mode}, {dims}-D")
    if mode == "lanczos" and not antialias:
        raise ValueError("interpolate: mode 'lanczos' requires antialias=True")
    if dims not in (3, 4, 5) or mode not in (*_ANY, *_PLANAR):
        raise NotImplementedError("interpolate: Only 3D, 4D and 5D input Tensors supported (got "
                                  f"{dims}D) for the modes: {' | '.join((*_ANY, *_PLANAR))} (got "
                                  f"{mode})")
    if mode in _PLANAR and _PLANAR[mode] != dims:
        raise NotImplementedError(f"interpolate: Got {dims}D input, but {mode} mode needs "
                                  f"{_PLANAR[mode]}D input")


@composite("interpolate(Tensor self, Any size=None, Any scale_factor=None, str mode='nearest',"
           " bool? align_corners=None, bool? recompute_scale_factor=None, bool antialias=False)"
           " -> Tensor", **_F)
def interpolate(self, size, scale_factor, mode, align_corners, recompute_scale_factor, antialias):
    """The tensor (batch, channels, ...) with its last 1 to 3 dims resampled.

    size, scale_factor   one of them: the new extents, or their ratios to the old; a number for all
                         dims or one for each
    mode                 "nearest", "nearest-exact", "area" (means); by dims "linear", "bilinear",
                         "bicubic", "lanczos", "trilinear"
    align_corners        corner elements stay where they are; else the corners of elements do
    recompute_scale_factor   positions follow from the sizes, not from `scale_factor`
    antialias            where it shrinks, weights reach as far as the step is
    Raises ValueError for options that don't go together, NotImplementedError for a mode that the
    number of dims hasn't, RuntimeError for empty sizes.
    """
    if self.dim() > 2:
        sizes, scales = _target(self, size, scale_factor, recompute_scale_factor, mode)
    _check_mode(self, mode, align_corners, antialias)
    if mode == "area":
        from .window import adaptive_mean

        return adaptive_mean(self, sizes)
    if min([*sizes, *self.shape[2:]]) <= 0:
        raise RuntimeError("interpolate: Input and output sizes should be greater than 0, but got "
                           f"input {list(self.shape[2:])} output {sizes}")
    if self.size(1) == 0:
        raise RuntimeError(f"interpolate: Non-empty {self.dim()}D data tensor expected but got a "
                           f"tensor with sizes {list(self.shape)}")
    self.new_empty([*self.shape[:2], *sizes])  # refuses before tables of such sizes are made
    near = mode in _ANY
    if not self.dtype.is_floating_point and not (
            self.dtype == _core.uint8 and (near or self.dim() == 4)):
        raise NotImplementedError(f"interpolate: mode {mode!r} is not defined for {self.dtype}; "
                                  "convert to a floating type")
    if near:
        return _nearest_nd(self, sizes, scales, mode == "nearest-exact")
    kind = mode.removeprefix("bi").removeprefix("tri")
    return _weighted_nd(self, sizes, scales, kind, bool(align_corners), antialias)


def _deprecated(name: str) -> None:
    _core.void_notes()  # each call warns
    warnings.warn(f"`nn.functional.{name}` is deprecated. Use `nn.functional.interpolate` "
                  "instead.", stacklevel=3)


@composite("upsample(Tensor self, Any size=None, Any scale_factor=None, str mode='nearest',"
           " bool? align_corners=None) -> Tensor", **_F)
def upsample(self, size, scale_factor, mode, align_corners):
    """`interpolate`, as it was called before."""
    _deprecated("upsample")
    return interpolate(self, size, scale_factor, mode, align_corners)


@composite("upsample_nearest(Tensor self, Any size=None, Any scale_factor=None) -> Tensor", **_F)
def upsample_nearest(self, size, scale_factor):
    """`interpolate` with mode "nearest", as it was called before."""
    _deprecated("upsample_nearest")
    return interpolate(self, size, scale_factor)


@composite("upsample_bilinear(Tensor self, Any size=None, Any scale_factor=None) -> Tensor", **_F)
def upsample_bilinear(self, size, scale_factor):
    """`interpolate` with mode "bilinear" and aligned corners, as it was called before."""
    _deprecated("upsample_bilinear")
    return interpolate(self, size, scale_factor, "bilinear", True)
