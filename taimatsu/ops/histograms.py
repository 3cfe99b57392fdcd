"""Histograms of points in several dims, and hashes."""

from __future__ import annotations

import math

from taimatsu import _core
from taimatsu._core import float64, int64, uint64

from .arithmetic import bitwise_xor
from .creation import linspace, zeros
from .indexing import scatter_add
from .shape import cat, wrap_dim
from .sorting import searchsorted
from .table import composite


def _edges(points, bins, low_high):
    """`bins` equal parts of each coordinate's range."""
    found = []
    for k, n in enumerate(bins):
        if n <= 0:
            raise RuntimeError(f"histogramdd(): bins {n} at dimension {k} must be positive")
        x = points[:, k]
        if low_high is not None:
            low, high = low_high[2 * k], low_high[2 * k + 1]
        elif x.is_meta or not x.numel():
            low, high = 0.0, 1.0
        else:
            low, high = float(x.min()), float(x.max())
        if not (math.isfinite(low) and math.isfinite(high)):
            raise RuntimeError(f"histogramdd(): dimension {k}'s range [{low}, {high}] is not "
                               "finite")
        if low > high:
            raise RuntimeError("histogramdd(): min should not exceed max, but got min "
                               f"{low} max {high} for dimension {k}")
        if low == high:
            low, high = low - 0.5, high + 0.5
        found.append(linspace(low, high, n + 1, dtype=points.dtype, device=points.device))
    return found


@composite("histogramdd(Tensor self, Any bins, float[]? range=None, Tensor? weight=None,"
           " bool density=False) -> (Tensor hist, Any bin_edges)", method=False, out=False)
def histogramdd(self, bins, range, weight, density):
    """How many points, the rows of the last dim, lie in each cell of a grid.

    bins      the edges of each coordinate as vectors, or how many equal parts for each, or for all
    range     low and high for each coordinate in turn [the points' own]
    weight    what each point counts for [1];   density   whether to divide by total and cell size

    Returns the counts, one dim for each coordinate, and the tuple of edges.

    >>> taimatsu.histogramdd(taimatsu.tensor([[0.0, 1.0], [1.0, 0.0]]), 2).hist
    tensor([[0., 1.],
            [1., 0.]])
    """
    if self.dim() < 2:
        raise RuntimeError("histogramdd(): input tensor should have at least 2 dimensions, but got "
                           f"{self.dim()}")
    if not self.dtype.is_floating_point:
        raise NotImplementedError(f"histogramdd: not defined for {self.dtype}; convert to a "
                                  "floating one")
    width = self.size(-1)
    points = self.detach().reshape(-1, width)
    if isinstance(bins, int):
        bins = [bins] * width
    if len(bins) != width:
        raise RuntimeError(f"histogramdd(): expected {width} sequences of bin edges for a "
                           f"{width}-dimensional histogram but got {len(bins)}")
    if range is not None and len(range) != 2 * width:
        raise RuntimeError(f"histogramdd(): for a {width}-dimensional histogram range should have "
                           f"{2 * width} elements, but got {len(range)}")
    given = [isinstance(b, _core.Tensor) for b in bins]
    if any(given) and not all(given):
        raise TypeError("histogramdd(): bins must be all tensors or all ints")
    edges = list(bins) if any(given) else _edges(points, bins, range)
    sizes = [e.numel() - 1 for e in edges]
    cell = zeros([points.size(0)], dtype=int64, device=self.device)
    inside = cell == 0
    for k, (e, n) in enumerate(zip(edges, sizes, strict=True)):
        x = points[:, k].contiguous()
        at = searchsorted(e.contiguous(), x, right=True) - 1
        at = at - (x == e[-1])  # the last part has both its ends
        inside = inside & (at >= 0) & (at < n)
        cell = cell * n + at.clamp(0, max(n - 1, 0))
    if weight is None:
        amount = inside.to(self.dtype)
    elif weight.shape != self.shape[:-1]:
        raise RuntimeError("histogramdd(): if weight tensor is provided it should have the same "
                           "shape as the input tensor excluding its innermost dimension; got "
                           f"{list(weight.shape)}")
    else:
        amount = weight.reshape(-1).to(self.dtype) * inside
    hist = scatter_add(points.new_zeros(math.prod(sizes)), 0, cell, amount).reshape(sizes)
    if density:
        hist = hist / hist.sum()
        for k, e in enumerate(edges):
            hist = hist / (e[1:] - e[:-1]).reshape([-1] + [1] * (width - k - 1))
    return hist, tuple(edges)


@composite("hash_tensor(Tensor self, int[1] dim=[], *, bool keepdim=False, int mode=0) -> Tensor",
           out="exact")
def hash_tensor(self, dim, keepdim, mode):
    """The exclusive or of all elements' bits, or along `dim`: the same for equal elements.

    Floating numbers are taken as float64, others as int64. Returns uint64.

    >>> taimatsu.hash_tensor(taimatsu.tensor([1, 2, 4]))
    tensor(7, dtype=torch.uint64)
    """
    if mode:
        raise RuntimeError(f"hash_tensor: unknown mode {mode}; there is mode 0 only")
    if self.is_complex():
        raise NotImplementedError(f"hash_tensor: not defined for {self.dtype}")
    n = self.dim()
    dims = sorted({wrap_dim(d, n) for d in dim}) or list(range(n))
    for d in dims:
        if n and not self.size(d):
            raise (IndexError if dim else RuntimeError)(
                f"hash_tensor: Expected reduction dim {d} to have non-zero size; got "
                f"{list(self.shape)}")
    words = self.to(float64).view(int64) if self.dtype.is_floating_point else self.to(int64)
    for d in dims if n else ():
        while (size := words.size(d)) > 1:  # the second half onto the first
            half = size // 2
            rest = words.narrow(d, 2 * half, size % 2)
            folded = bitwise_xor(words.narrow(d, 0, half), words.narrow(d, half, half))
            words = cat([folded, rest], d)
    shape = [size for d, size in enumerate(words.shape) if keepdim or d not in dims]
    return words.reshape(shape).view(uint64)
