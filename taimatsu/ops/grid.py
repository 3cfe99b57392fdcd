"""Sampling at points: a grid of coordinates in [-1, 1] instead of a regular one.

Along each dim a coordinate becomes taps, a few positions with a weight each (0 for one outside);
a sample is the sum over all combinations of the dims' taps. The taps don't depend on the channel,
so they are made first, once for each point.
"""

from __future__ import annotations

import math
import warnings
from typing import Any

from taimatsu import _core
from taimatsu.codegen import lang
from taimatsu.codegen.ir import I32, I64
from taimatsu.codegen.lang import where, window
from taimatsu.codegen.promote import FLOATING

from .table import composite, indexed

_F = {"module": "nn.functional", "method": False}
_MODES, _PADDINGS = ("bilinear", "nearest", "bicubic"), ("zeros", "border", "reflection")
_TAPS = (2, 1, 4)  # of each mode
_A = -0.75  # of Keys' kernel (1981)


def _brought_in(x, n, padding: int, align: bool):
    """A position as the padding mode sees it."""
    if padding == 0:
        return x
    if padding == 2:
        low = 0.0 if align else -0.5
        span = n - 1 if align else n
        span = where(span == 0, 1, span)
        x = where(x < low, low - x, x - low)
        turns = lang.floor(x / span)
        rest = x - lang.constant(turns) * span
        x = where(turns - 2 * lang.floor(turns / 2) == 0, rest, span - rest) + low
    return where(x <= 0, 0, where(x >= n - 1, n - 1, x))  # at the edges no derivative


def _near(x):
    return ((_A + 2) * x - (_A + 3)) * x * x + 1


def _far(x):
    return (((x - 5) * x + 8) * x - 4) * _A


@indexed("_grid_taps(Tensor self, int extent, int mode, int padding, bool align)"
         " -> (Tensor index, Tensor weight)", module=None, static=("mode", "padding"),
         dtypes=FLOATING, out=lambda x, mode: [[_TAPS[mode], *x]] * 2)
def grid_taps(x, u, n, p, *, extent, mode, padding, align):
    """Which elements of `extent` a coordinate is made of, and how much of each."""
    x, size = x[n, p], extent.to(x.dtype)
    # -1 and 1: the outermost elements' centres, or their outer edges.
    x = (x + 1) / 2 * (size - 1) if align else ((x + 1) * size - 1) / 2
    if mode == 2:
        low = lang.floor(x)
        t = x - low
        at = lang.rint(_brought_in(low + (u - 1).to(t.dtype), size, padding, align))
        weight = where(u == 0, _far(t + 1), where(u == 1, _near(t),
                       where(u == 2, _near(1 - t), _far(2 - t))))
    else:
        x = _brought_in(x, size, padding, align)
        if mode == 1:
            at, weight = lang.rint(x), lang.constant(x * 0) + 1
        else:
            low = lang.floor(x)
            at = low + u.to(x.dtype)
            weight = where(u == 0, low + 1 - x, x - low)
    inside = (at >= 0) & (at < size)
    return where(inside, at, 0).to(I32).to(I64), where(inside, weight, 0)


def _sample(x, lead: tuple, at: tuple, weights: tuple, taps: int):
    """The sum of the elements at all combinations of the dims' taps."""
    n, _, p = lead
    axes = window((taps,) * len(at))
    total: Any = x[*lead[:2], *(i[u, n, p] for i, u in zip(at, axes, strict=True))]
    for weight, u in zip(weights, axes, strict=True):
        total = total * weight[u, n, p]
    return total.sum(*axes)


_PART = {"module": None, "static": ("taps",), "dtypes": FLOATING}


@indexed("_grid_sample2d(Tensor self, Index at_y, Index at_x, Tensor y, Tensor x, int taps)"
         " -> Tensor", out=lambda x, at, *_: [*x[:2], at[2]], **_PART)
def sample_plane(image, at_y, at_x, y, x, n, c, p, *, taps):
    """Elements of planes, by the taps' positions and weights (taps, n, points) in each dim."""
    return _sample(image, (n, c, p), (at_y, at_x), (y, x), taps)


@indexed("_grid_sample3d(Tensor self, Index at_z, Index at_y, Index at_x, Tensor z, Tensor y,"
         " Tensor x, int taps) -> Tensor", out=lambda x, at, *_: [*x[:2], at[2]], **_PART)
def sample_volume(image, at_z, at_y, at_x, z, y, x, n, c, p, *, taps):
    """Elements of volumes, likewise."""
    return _sample(image, (n, c, p), (at_z, at_y, at_x), (z, y, x), taps)


def _sampled(input, grid, mode: int, padding: int, align: bool):
    n, *points, dims = grid.shape
    grid = grid.reshape(n, math.prod(points), dims)
    if input.dtype.itemsize < 4:  # taps don't fit 16 bits
        return _sampled(input.float(), grid.float(), mode, padding, align).to(
            input.dtype).reshape(*input.shape[:2], *points)
    at, weights = zip(*(
        grid_taps(grid.select(2, dims - 1 - d), input.size(2 + d), mode, padding, align)
        for d in range(dims)), strict=True)
    sample = sample_plane if dims == 2 else sample_volume
    return sample(input, *at, *weights, _TAPS[mode]).reshape(*input.shape[:2], *points)


def _grid_sampler(dims: tuple[int, ...], input, grid, mode: int, padding: int, align: bool):
    name = "grid_sampler"
    if input.dim() not in dims or input.dim() != grid.dim():
        raise RuntimeError(f"{name}(): expected {' or '.join(f'{d}D' for d in dims)} input and "
                           f"grid with the same number of dimensions, but got input with sizes "
                           f"{list(input.shape)} and grid with sizes {list(grid.shape)}")
    if input.size(0) != grid.size(0):
        raise RuntimeError(f"{name}(): expected grid and input to have same batch size, but got "
                           f"input with sizes {list(input.shape)} and grid with sizes "
                           f"{list(grid.shape)}")
    if grid.size(-1) != input.dim() - 2:
        raise RuntimeError(f"{name}(): expected grid to have size {input.dim() - 2} in last "
                           f"dimension, but got grid with sizes {list(grid.shape)}")
    if 0 in input.shape[2:]:
        raise RuntimeError(f"{name}(): expected input to have non-empty spatial dimensions, but "
                           f"input has sizes {list(input.shape)}")
    if input.dtype != grid.dtype:
        raise RuntimeError(f"{name}(): expected input and grid to have one dtype, but found "
                           f"{input.dtype} and {grid.dtype}")
    if not input.dtype.is_floating_point:
        raise NotImplementedError(f"{name}(): not defined for {input.dtype}; convert to a floating "
                                  "type")
    if mode == 2 and input.dim() == 5:
        raise RuntimeError(f"{name}(): bicubic interpolation only supports 4D input")
    return _sampled(input, grid, mode, padding, align)


def _declare_grid_samplers() -> None:
    params = ("Tensor input, Tensor grid, int interpolation_mode, int padding_mode, "
              "bool align_corners")
    doc = """`nn.functional.grid_sample`, with its modes as numbers in the order given there."""
    for name, dims in (("grid_sampler", (4, 5)), ("grid_sampler_2d", (4,)),
                       ("grid_sampler_3d", (5,))):
        composite(f"{name}({params}) -> Tensor", method=False, doc=doc)(
            lambda *given, dims=dims: _grid_sampler(dims, *given))


_declare_grid_samplers()


def _aligned(align_corners: bool | None) -> bool:
    if align_corners is None:
        _core.void_notes()  # each call warns
        warnings.warn("grid_sample and affine_grid take align_corners=False by default; give it "
                      "explicitly", stacklevel=4)
    return bool(align_corners)


@composite("grid_sample(Tensor input, Tensor grid, str mode='bilinear', str padding_mode='zeros',"
           " bool? align_corners=None) -> Tensor", **_F)
def grid_sample(input, grid, mode, padding_mode, align_corners):
    """Elements of `input` at the points of `grid`, interpolated.

    input: (batch, channels, height, width), grid: (batch, rows, columns, 2) of (x, y), where -1
    and 1 are the borders (the outermost elements' centres if `align_corners`); with a depth each
    and (x, y, z) alike. Result: (batch, channels, rows, columns).

    mode           "bilinear", "nearest" or "bicubic" (of planes)
    padding_mode   what is outside: "zeros", the "border"'s elements, or a "reflection" there
    Raises ValueError for other modes, RuntimeError for sizes and dtypes that don't match.
    """
    if mode not in _MODES:
        raise ValueError(f"nn.functional.grid_sample(): expected mode to be {_MODES}, but got: "
                         f"{mode!r}")
    if padding_mode not in _PADDINGS:
        raise ValueError(f"nn.functional.grid_sample(): expected padding_mode to be {_PADDINGS}, "
                         f"but got: {padding_mode!r}")
    return _grid_sampler((4, 5), input, grid, _MODES.index(mode), _PADDINGS.index(padding_mode),
                         _aligned(align_corners))


def _affine_points(theta, size, align: bool):
    """The points of a regular grid, mapped: (batch, ..., dims)."""
    from taimatsu import linspace, meshgrid, ones_like, stack

    n, _, *spatial = size
    if theta.size(0) != n:
        raise RuntimeError(f"affine_grid: expected {n} matrices for size {list(size)}; got theta "
                           f"of shape {list(theta.shape)}")
    axes = []
    for extent in spatial:
        line = linspace(-1, 1, extent, dtype=theta.dtype, device=theta.device)
        if extent == 1:
            line = line * 0
        axes.append(line if align else line * ((extent - 1) / extent))
    grid = meshgrid(*axes, indexing="ij")
    points = stack([*reversed(grid), ones_like(grid[0])], -1).reshape(1, -1, len(spatial) + 1)
    mapped = points.expand(n, -1, -1).bmm(theta.transpose(1, 2))
    return mapped.reshape(n, *spatial, len(spatial))


composite("affine_grid_generator(Tensor theta, int[] size, bool align_corners) -> Tensor",
          method=False, doc="`nn.functional.affine_grid`.")(_affine_points)


@composite("affine_grid(Tensor theta, Any size, bool? align_corners=None) -> Tensor", **_F)
def affine_grid(theta, size, align_corners):
    """The grid for `grid_sample` that maps the output of sizes `size` by affine matrices.

    theta: (batch, 2, 3) for size (batch, channels, height, width), (batch, 3, 4) with a depth.
    ValueError for other shapes or types, NotImplementedError for other numbers of dims.
    """
    size = list(size)
    if not theta.dtype.is_floating_point:
        raise ValueError("affine_grid: Expected theta to have floating point type, but got "
                         f"{theta.dtype}")
    if len(size) not in (4, 5):
        raise NotImplementedError("affine_grid only supports 4D and 5D sizes, for 2D and 3D affine "
                                  f"transforms, respectively. Got size {size}")
    d = len(size) - 2
    if theta.dim() != 3 or list(theta.shape[1:]) != [d, d + 1]:
        raise ValueError(f"affine_grid: Expected a batch of {d}D affine matrices of shape "
                         f"Nx{d}x{d + 1} for size {size}. Got {list(theta.shape)}.")
    if min(size[2:]) <= 0 or min(size) <= 0:
        raise ValueError(f"affine_grid: Expected non-zero, positive output size. Got {size}")
    return _affine_points(theta, size, _aligned(align_corners))
