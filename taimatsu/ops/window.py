"""Pooling and padding: the value at an output coordinate from a window of the input."""

from __future__ import annotations

from typing import Any

from taimatsu.codegen import lang
from taimatsu.codegen.lang import inf, where, window
from taimatsu.codegen.promote import FLOATING

from .table import composite, indexed

_F = {"module": "nn.functional", "method": False}
_PART = {"module": None, "dtypes": FLOATING}


def pooled(n: int, k: int, stride: int, padding: int, dilation: int = 1, ceil: bool = False) -> int:
    """How many windows there are along an extent of `n`."""
    span = n + 2 * padding - dilation * (k - 1) - 1
    count = (span + (stride - 1 if ceil else 0)) // stride + 1
    # The last window starts inside the input or its left padding.
    if ceil and (count - 1) * stride >= n + padding:
        count -= 1
    return count


def _pooled_sizes(x, kernel, stride, padding, dilation=(1, 1), ceil=False):
    return [x[0], x[1], *(pooled(*a, ceil) for a in
                          zip(x[2:], kernel, stride, padding, dilation, strict=True))]


def _pooled_volume(x, kernel, stride, padding, dilation=(1, 1, 1), ceil=False):
    return _pooled_sizes(x, kernel, stride, padding, dilation, ceil)


_WINDOW2 = "int[2] kernel, int[2] stride, int[2] padding, int[2] dilation, bool ceil"


@indexed(f"_max_pool2d(Tensor self, {_WINDOW2}) -> (Tensor values, Tensor indices)",
         out=_pooled_sizes, **_PART)
def max_pool(x, n, c, i, j, *, kernel, stride, padding, dilation):
    """The largest element of each window, and its position in the flattened plane."""
    u, v = window(kernel)
    h = i * stride[0] - padding[0] + u * dilation[0]
    w = j * stride[1] - padding[1] + v * dilation[1]
    return x.at(n, c, h, w, outside=-inf).argmax(u, v, index=x.fold(h, w))


@max_pool.gradient  # the index is known; the derived one would search the window
def _(gx, g_values, self_like, indices, n, c, i, j):
    gx.flat(n, c)[indices[n, c, i, j]] += g_values[n, c, i, j]


@indexed("_avg_pool2d(Tensor self, int[2] kernel, int[2] stride, int[2] padding, bool ceil,"
         " bool include_pad, int divisor) -> Tensor", static=("divisor",),
         out=lambda x, kernel, stride, padding, ceil:
         _pooled_sizes(x, kernel, stride, padding, (1, 1), ceil), **_PART)
def avg_pool(x, n, c, i, j, *, kernel, stride, padding, include_pad, divisor):
    """The mean of each window; `divisor` 0 stands for the number of elements."""
    u, v = window(kernel)
    top, left = i * stride[0] - padding[0], j * stride[1] - padding[1]
    total = x.at(n, c, top + u, left + v, outside=0.0).sum(u, v)
    if divisor:
        return total / divisor
    margins = padding if include_pad else (0, 0)
    count: Any = 1
    for start, k, size, margin in zip((top, left), kernel, (x.sizes[2], x.sizes[3]), margins,
                                      strict=True):
        first = lang.maximum(start, -margin)
        last = lang.minimum(start + k, size + margin)
        count = count * (last - first)
    return total / count.to(x.dtype)


def _pair(v, n: int = 2):
    return tuple(v) * n if len(v) == 1 else tuple(v)


def _check_pool(name: str, self, dims: int, kernel, stride, padding, dilation=None) -> None:
    if self.dim() not in (dims + 1, dims + 2):
        raise RuntimeError(f"{name}: Expected {dims + 1}D or {dims + 2}D (batch mode) tensor, but "
                           f"got input of size {list(self.shape)}")
    if min(kernel) <= 0 or min(stride) <= 0:
        raise RuntimeError(f"{name}: kernel size and stride should be greater than zero, got "
                           f"kernel {kernel} and stride {stride}")
    for p, k in zip(padding, kernel, strict=True):
        if not 0 <= p <= k // 2:
            raise RuntimeError(f"{name}: pad should be at most half of effective kernel size, but "
                               f"got pad={p}, kernel_size={k} and dilation={dilation or 1}")


def _as_planes(self, dims: int):
    """(N, C, H, W), and a function that undoes it."""
    x = self if self.dim() == dims + 2 else self.unsqueeze(0)
    x = x.unsqueeze(2) if dims == 1 else x

    def back(y):
        y = y.squeeze(2) if dims == 1 else y
        return y if self.dim() == dims + 2 else y.squeeze(0)

    return x, back


def _max_pool_nd(name, dims, self, kernel, stride, padding, dilation, ceil):
    kernel, padding, dilation = (_pair(v, dims) for v in (kernel, padding, dilation))
    stride = _pair(stride, dims) if stride else kernel
    _check_pool(name, self, dims, kernel, stride, padding, dilation)
    x, back = _as_planes(self, dims)
    if dims == 1:
        kernel, stride, dilation = (1, *kernel), (1, *stride), (1, *dilation)
        padding = (0, *padding)
    out = _pooled_sizes(x.shape, kernel, stride, padding, dilation, ceil)
    if min(out[2:]) <= 0:
        raise RuntimeError(f"{name}: Given input size: {list(self.shape[-dims:])}. Calculated "
                           f"output size: {out[2:]}. Output size is too small")
    values, indices = max_pool(x, kernel, stride, padding, dilation, ceil)
    return back(values), back(indices)


def _declare_max_pool(dims: int) -> None:
    params = (f"Tensor self, int[{dims}] kernel_size, int[{dims}] stride=[], "
              f"int[{dims}] padding=0, int[{dims}] dilation=1, bool ceil_mode=False")
    name = f"max_pool{dims}d"
    doc = ("The largest element of each window. Shapes: (N, C, ...) or (C, ...); `stride` is the "
           "kernel's size by default.")

    def values(self, kernel_size, stride, padding, dilation, ceil_mode, return_indices):
        out = _max_pool_nd(name, dims, self, kernel_size, stride, padding, dilation, ceil_mode)
        return out if return_indices else out[0]

    composite(f"{name}({params}, bool return_indices=False) -> Tensor", doc=doc, **_F)(values)

    def both(self, kernel_size, stride, padding, dilation, ceil_mode, return_indices):
        return _max_pool_nd(name, dims, self, kernel_size, stride, padding, dilation, ceil_mode)

    composite(f"{name}_with_indices({params}, bool return_indices=True) -> (Tensor, Tensor)",
              doc=doc + " Also the positions.", **_F)(both)


def _declare_avg_pool(dims: int) -> None:
    extra = ", int? divisor_override=None" if dims > 1 else ""
    name = f"avg_pool{dims}d"

    def formula(self, kernel_size, stride, padding, ceil_mode, count_include_pad,
                divisor_override=None):
        kernel, padding = _pair(kernel_size, dims), _pair(padding, dims)
        stride = _pair(stride, dims) if stride else kernel
        _check_pool(name, self, dims, kernel, stride, padding)
        if divisor_override == 0:
            raise RuntimeError("divisor must be not zero")
        x, back = _as_planes(self, dims)
        if dims == 1:
            kernel, stride, padding = (1, *kernel), (1, *stride), (0, *padding)
        return back(avg_pool(x, kernel, stride, padding, ceil_mode, count_include_pad,
                             divisor_override or 0))

    composite(f"{name}(Tensor self, int[{dims}] kernel_size, int[{dims}] stride=[], "
              f"int[{dims}] padding=0, bool ceil_mode=False, bool count_include_pad=True{extra})"
              " -> Tensor", doc="The mean of each window.", **_F)(formula)


for _dims in (1, 2):
    _declare_max_pool(_dims)
    _declare_avg_pool(_dims)


@indexed("_adaptive_avg_pool2d(Tensor self, int[2] size, int[2] kernel) -> Tensor",
         out=lambda x, size: [x[0], x[1], *size], **_PART)
def adaptive_avg(x, n, c, i, j, *, size, kernel):
    """Windows that cover the plane evenly; `kernel` bounds their extents."""
    u, v = window(kernel)
    inside: Any = True
    count: Any = 1
    at = []
    for o, w, out, extent in zip((i, j), (u, v), size, (x.sizes[2], x.sizes[3]), strict=True):
        first = lang.trunc_divide(o * extent, out)
        end = lang.trunc_divide((o + 1) * extent + (out - 1), out)
        inside = (first + w < end) & inside
        at.append(first + w)
        count = count * (end - first)
    total = where(inside, x.at(n, c, *at, outside=0.0), 0.0).sum(u, v)
    return total / count.to(x.dtype)


def _adaptive(self, size, dims: int):
    x, back = _as_planes(self, dims)
    size = [x.size(2 + d) if n is None else n for d, n in
            enumerate([1, *size] if dims == 1 else _pair(size))]
    planes = x.shape[2:]
    if all(n and h % n == 0 for h, n in zip(planes, size, strict=True)):
        step = tuple(h // n for h, n in zip(planes, size, strict=True))
        return back(avg_pool(x, step, step, (0, 0), False, True, 0))
    bound = tuple(-(-h // n) + 1 if n else 1 for h, n in zip(planes, size, strict=True))
    return back(adaptive_avg(x, tuple(size), bound))


@composite("adaptive_avg_pool1d(Tensor self, Any output_size) -> Tensor", **_F)
def adaptive_avg_pool1d(self, output_size):
    """The mean of windows that cover the line evenly."""
    return _adaptive(self, [output_size] if isinstance(output_size, int) else output_size, 1)


@composite("adaptive_avg_pool2d(Tensor self, Any output_size) -> Tensor", **_F)
def adaptive_avg_pool2d(self, output_size):
    """The mean of windows that cover the plane evenly; None keeps an extent."""
    return _adaptive(self, [output_size] if isinstance(output_size, int) else output_size, 2)


# ---- padding ------------------------------------------------------------------------------------


def _reflect(i: int, n: int) -> int:
    return n - 1 - abs(n - 1 - abs(i))


_OUTSIDE = {
    "reflect": _reflect,
    "replicate": lambda i, n: min(max(i, 0), n - 1),
    "circular": lambda i, n: i % n,
}


@composite("pad(Tensor self, int[] pad, str mode='constant', float? value=None) -> Tensor", **_F)
def pad(self, pad, mode, value):
    """The tensor with margins: pairs (before, after) for the last dim, the last but one ...

    mode   "constant" (`value`, 0), "reflect", "replicate", "circular". Negative margins cut off.
    Raises RuntimeError for margins that a mode can't fill.
    """
    import taimatsu

    if len(pad) % 2 or len(pad) > 2 * self.dim():
        raise RuntimeError("Padding length must be divisible by 2 and at most twice the number of "
                           f"dimensions of the input; got {len(pad)} for {self.dim()} dimensions")
    margins = {self.dim() - 1 - k: (pad[2 * k], pad[2 * k + 1]) for k in range(len(pad) // 2)}
    if mode == "constant":
        return _pad_constant(self, margins, 0.0 if value is None else value)
    if mode not in _OUTSIDE:
        raise NotImplementedError(f"Unrecognised padding mode {mode}")
    out = self
    for dim, (before, after) in margins.items():
        if not before and not after:
            continue
        n = self.size(dim)
        limit = {"reflect": n - 1, "circular": n}.get(mode)
        if limit is not None and max(before, after) > limit:
            raise RuntimeError(f"pad: padding size should be less than the corresponding input "
                               f"dimension, but got: padding ({before}, {after}) at dimension "
                               f"{dim} of input {list(self.shape)}")
        at = [_OUTSIDE[mode](i, n) for i in range(-before, n + after)]
        out = out.index_select(
            dim, taimatsu.tensor(at, dtype=taimatsu.int64, device=self.device))
    return out


def _pad_constant(self, margins, value):
    sizes, inner, place = list(self.shape), self, []
    for dim, (before, after) in margins.items():
        sizes[dim] += before + after
        if sizes[dim] < 0:
            raise RuntimeError(f"The input size {self.size(dim)}, plus negative padding {before} "
                               f"and {after}, resulted in a negative output size, in dimension "
                               f"{dim}")
        first, last = max(0, -before), self.size(dim) - max(0, -after)
        inner = inner.narrow(dim, first, last - first)
        place.append((dim, max(0, before), last - first))
    out = self.new_full(sizes, value)
    view = out
    for dim, start, length in place:
        view = view.narrow(dim, start, length)
    view.copy_(inner)
    return out
