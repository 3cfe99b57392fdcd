"""Tensors of a rule, joined and turned: cat, flip, triangles, ranges."""

from __future__ import annotations

import math

import taimatsu as torch

from ..shape import wrap_dim
from . import computes
from .formulas import band, reversed_
from .lines import iota, middle


@computes("cat")
def _(tensors, dim):
    kept = [t for t in tensors if t.dim() != 1 or t.numel()] or list(tensors)[:1]
    first = kept[0]
    dtype = tensors[0].dtype
    for t in tensors:
        dtype = torch.promote_types(dtype, t.dtype)
    dim = wrap_dim(dim, first.dim())
    sizes = list(first.shape)
    sizes[dim] = sum(t.size(dim) for t in kept)
    out, at = torch.empty(sizes, dtype=dtype, device=first.device), 0
    for t in kept:
        out.narrow(dim, at, t.size(dim)).copy_(t)
        at += t.size(dim)
    return out


@computes("flip")
def _(self, dims):
    x = self
    for d in dims:
        if self.dim() and x.numel():
            x = reversed_(middle(x, d)).reshape(self.shape)
    return x.clone() if x is self else x


def _triangle(self, diagonal, lower):
    if not self.numel():
        return self.clone()
    matrices = self.reshape(-1, self.size(-2), self.size(-1))
    return band(matrices, diagonal, lower).reshape(self.shape)


@computes("tril")
def _(self, diagonal):
    return _triangle(self, diagonal, True)


@computes("triu")
def _(self, diagonal):
    return _triangle(self, diagonal, False)


def _range(start, end, step, dtype, device, requires_grad):
    whole = all(isinstance(x, int) for x in (start, end, step))
    if dtype is None:
        dtype = torch.int64 if whole else torch.get_default_dtype()
    n = max(0, -((start - end) // step) if whole else math.ceil((end - start) / step))
    exact = torch.int64 if whole or not dtype.is_floating_point else torch.float64
    if exact == torch.int64:
        start, step = int(start), int(step)
    out = (iota(n, device, exact) * step + start).to(dtype)
    return out.requires_grad_() if requires_grad else out


@computes("arange")
def _(end, dtype, layout, device, pin_memory, requires_grad):
    return _range(0, end, 1, dtype, device, requires_grad)


@computes("arange.start")
def _(start, end, step, dtype, layout, device, pin_memory, requires_grad):
    return _range(start, end, step, dtype, device, requires_grad)


@computes("linspace")
def _(start, end, steps, dtype, layout, device, pin_memory, requires_grad):
    """From both ends, so that both are met."""
    complex_too = isinstance(start, complex) or isinstance(end, complex)
    if dtype is None:
        dtype = torch.get_default_dtype()
        dtype = torch.promote_types(dtype, torch.complex64) if complex_too else dtype
    wide = torch.complex128 if dtype.is_complex else torch.float64
    if steps < 2:
        return torch.full([steps], start, dtype=dtype, device=device)
    step = (end - start) / (steps - 1)
    i = iota(steps, device)
    up, down = i.to(wide) * step + start, end - (steps - 1 - i).to(wide) * step
    out = torch.where(i < steps // 2, up, down).to(dtype)
    return out.requires_grad_() if requires_grad else out


@computes("eye")
def _(n, m, dtype, layout, device, pin_memory, requires_grad):
    m = n if m is None else m
    one = iota(n, device).unsqueeze(1) == iota(m, device)
    out = one.to(dtype or torch.get_default_dtype())
    return out.requires_grad_() if requires_grad else out
