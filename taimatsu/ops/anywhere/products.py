"""Products of matrices where there is no library for them, and what is made of products.

A product is a row formula over operands that broadcast: sums of a[i, k] * b[k, j] along k. What is
made of products calls `matmul`, for which the device may have a library.
"""

from __future__ import annotations

import math

import taimatsu as torch

from ..compressed import rows_of, scattered
from . import computes
from .formulas import product_sums


def product(a, b):
    """a: (..., n, k), b: (..., k, m) -> (..., n, m); batch dims broadcast."""
    n, k, m = a.size(-2), a.size(-1), b.size(-1)
    batch = torch.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    if not k or not n or not m or not math.prod(batch):
        return a.new_zeros([*batch, n, m])
    sizes = [*batch, n, m, k]
    rows = a.unsqueeze(-2).expand(sizes)
    columns = b.mT.unsqueeze(-3).expand(sizes)
    return product_sums(rows, columns, -1).to(a.dtype)


@computes("_rows_product")
def _(starts, columns, values, mat):
    return scattered(values, mat, columns.long(), rows_of(starts), starts.numel() - 1)


@computes("_rows_dots")
def _(starts, columns, left, right):
    rows = left.index_select(0, rows_of(starts)), right.index_select(0, columns)
    return product_sums(*rows, -1).to(left.dtype)


@computes("mm", "bmm")
def _(a, b):
    return product(a, b)


@computes("_mm_sums")
def _(a, b, left):
    return a.mm(b), a.sum(1) if left else b.sum(0)


@computes("mv")
def _(self, vec):
    return product(self, vec.unsqueeze(1)).squeeze(1)


@computes("dot")
def _(self, tensor):
    return product(self.unsqueeze(0), tensor.unsqueeze(1)).reshape(())


def _plus(self, made, beta, alpha):
    made = made if alpha == 1 else made * alpha
    if beta == 0:  # whatever `self` holds, NaN too
        return made
    return (made + (self if beta == 1 else self * beta)).to(made.dtype)


@computes("addmm", "baddbmm")
def _(self, a, b, beta, alpha):
    return _plus(self, product(a, b), beta, alpha)


@computes("linear")
def linear(input, weight, bias):
    if weight.dim() == 1:
        out = matmul(input, weight)
    else:
        flat = input.reshape(-1, input.size(-1))
        out = product(flat, weight.mT).reshape(*input.shape[:-1], weight.size(0))
    return out if bias is None else (out + bias).to(out.dtype)


@computes("matmul")
def matmul(self, other):
    a = self.unsqueeze(0) if self.dim() == 1 else self
    b = other.unsqueeze(1) if other.dim() == 1 else other
    out = product(a, b)
    if other.dim() == 1:
        out = out.squeeze(-1)
    return out.squeeze(-1 if other.dim() == 1 else -2) if self.dim() == 1 else out


# ---- convolution: a product with patches ---------------------------------------------------------


def _patches(x, kernel, stride, dilation, out):
    """x: (batch, channels, *sizes), padded -> a view (batch, channels, *out, *kernel)."""
    strides = list(x.stride())
    steps = strides[2:]
    return x.as_strided(
        [*x.shape[:2], *out, *kernel],
        [*strides[:2], *(s * k for s, k in zip(steps, stride, strict=True)),
         *(s * k for s, k in zip(steps, dilation, strict=True))],
        x.storage_offset(),
    )  # fmt: skip


def _padded(x, padding):
    if not any(padding):
        return x.contiguous()
    sizes = [n + 2 * p for n, p in zip(x.shape[2:], padding, strict=True)]
    out = x.new_zeros([*x.shape[:2], *sizes])
    inner = out
    for d, (n, p) in enumerate(zip(x.shape[2:], padding, strict=True), 2):
        inner = inner.narrow(d, p, n)
    inner.copy_(x)
    return out


def _spread(x, stride):
    """Zeros between the elements: where a strided convolution has looked."""
    if all(s == 1 for s in stride):
        return x
    sizes = [(n - 1) * s + 1 if n else 0 for n, s in zip(x.shape[2:], stride, strict=True)]
    out = x.new_zeros([*x.shape[:2], *sizes])
    index = (slice(None), slice(None), *(slice(None, None, s) for s in stride))
    out[index].copy_(x)
    return out


def _turned(weight, groups):
    """The kernel of the transposed map: in and out exchanged, read from its end."""
    w = weight.reshape(groups, -1, *weight.shape[1:]).transpose(1, 2)
    w = w.reshape(-1, w.size(2), *weight.shape[2:])
    return w.flip(list(range(2, w.dim())))


def _convolved(x, weight, stride, dilation, groups):
    """x padded; weight: (out, in / groups, *kernel)."""
    kernel = weight.shape[2:]
    out = [(n - d * (k - 1) - 1) // s + 1
           for n, k, s, d in zip(x.shape[2:], kernel, stride, dilation, strict=True)]  # fmt: skip
    batch, channels = x.size(0), weight.size(0)
    if not math.prod([batch, channels, *out]) or not x.numel():
        return x.new_zeros([batch, channels, *out])
    p = _patches(x, kernel, stride, dilation, out)
    n = len(out)
    inside = p.size(1) // groups
    p = p.reshape(batch, groups, inside, *out, *kernel)
    order = [0, 1, 2, *range(3 + n, 3 + 2 * n), *range(3, 3 + n)]  # kernel before places
    columns = p.permute(*order).reshape(batch, groups, inside * math.prod(kernel), -1)
    w = weight.reshape(groups, channels // groups, -1)
    return torch.matmul(w, columns).reshape(batch, channels, *out)


@computes("convolution")
def _(input, weight, bias, stride, padding, dilation, transposed, output_padding, groups):
    n = weight.dim() - 2
    stride, padding, dilation, output_padding = (
        list(v) * (n if len(v) == 1 else 1) for v in (stride, padding, dilation, output_padding)
    )
    x = input
    if transposed:
        x, kernel = _spread(x, stride), weight.shape[2:]
        margins = [d * (k - 1) - p for d, k, p in zip(dilation, kernel, padding, strict=True)]
        x = _shifted(x, margins, output_padding)
        out = _convolved(x, _turned(weight, groups), [1] * n, dilation, groups)
    else:
        out = _convolved(_padded(x, padding), weight, stride, dilation, groups)
    if bias is not None:
        out = (out + bias.reshape(-1, *[1] * n)).to(out.dtype)
    return out


def _shifted(x, margins, more):
    """Zeros around, `more` at the end; a negative margin cuts."""
    sizes = [n + 2 * m + e for n, m, e in zip(x.shape[2:], margins, more, strict=True)]
    out = x.new_zeros([*x.shape[:2], *(max(n, 0) for n in sizes)])
    to, source = out, x
    for d, (n, size, m) in enumerate(zip(x.shape[2:], sizes, margins, strict=True), 2):
        first, last = max(0, -m), min(n, size - m)
        if last <= first:
            return out
        source = source.narrow(d, first, last - first)
        to = to.narrow(d, first + m, last - first)
    to.copy_(source)
    return out


@computes("_convolution_weight")
def _(grad, input, sizes, stride, padding, dilation, transposed, output_padding, groups):
    """Each weight by the places it has met: products of patches and gradients."""
    n = len(sizes) - 2
    stride, padding, dilation = (
        list(v) * (n if len(v) == 1 else 1) for v in (stride, padding, dilation)
    )
    if transposed:  # the map's transpose: input and output exchange their parts
        grad, input = input, grad
    kernel = list(sizes[2:])
    x = _padded(input, padding)
    out = list(grad.shape[2:])
    if not grad.numel() or not x.numel():
        return grad.new_zeros(list(sizes))
    p = _patches(x, kernel, stride, dilation, out)
    batch, inside, outside = x.size(0), x.size(1) // groups, grad.size(1) // groups
    order = [1, *range(2 + n, 2 + 2 * n), 0, *range(2, 2 + n)]
    p = p.permute(*order).reshape(groups, inside * math.prod(kernel), -1)
    g = grad.movedim(1, 0).reshape(groups, outside, batch * math.prod(out))
    return torch.matmul(g, p.mT).reshape(list(sizes))
