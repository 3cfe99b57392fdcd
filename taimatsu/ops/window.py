"""Pooling: the value at an output coordinate from a window of the input.

One to three dims are one mechanism: the formulas see a volume (batch, channel, depth, height,
width), or (batch, depth, height, width, channel) where that is the order in memory, with extents
of 1 for the dims that a pool lacks. What kinds of pooling differ in is where a window lies.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from taimatsu import _core
from taimatsu._interpreter import followed
from taimatsu.codegen import lang
from taimatsu.codegen.ir import I64
from taimatsu.codegen.lang import inf, minimum, where, window
from taimatsu.codegen.promote import FLOATING, INTEGERS

from .shape import cat
from .table import composite, indexed

_F = {"module": "nn.functional", "method": False}
_TOP = {"method": False}


# ---- where windows lie --------------------------------------------------------------------------


class Volume:
    """A tensor of a formula and the output's coordinates in it, whatever their order."""

    def __init__(self, x, coordinates: Sequence, last: bool):
        self.x, self.last = x, last
        self.n, *rest = coordinates
        self.at = rest[:-1] if last else rest[1:]
        self.c = rest[-1] if last else rest[0]
        first = 1 if last else 2
        self.extents = [x.sizes[first + d] for d in range(3)]

    def index(self, at: Sequence) -> tuple:
        return (self.n, *at, self.c) if self.last else (self.n, self.c, *at)

    def largest(self, at: Sequence, axes: Sequence, outside: bool = True) -> tuple:
        """The largest element of the places `at`, and its position in the flattened volume.

        Some may lie outside of it, unless that is ruled out.
        """
        d, h, w = at
        position = (d * self.extents[1] + h) * self.extents[2] + w
        place = self.index(at)
        value = self.x.at(*place, outside=_least(self.x.dtype)) if outside else self.x[place]
        return value.argmax(*axes, index=position)


def _least(t) -> float:
    """What no element of the type is less than."""
    return -inf if t.floating else -(1 << t.bits - 1) if t.kind == "i" else 0


def _ordered(sizes: Sequence[int], last: bool, spatial: Sequence[int]) -> list[int]:
    """The sizes of a pooled volume."""
    return [sizes[0], *spatial, sizes[4]] if last else [*sizes[:2], *spatial]


def pooled(n: int, k: int, stride: int, padding: int, dilation: int = 1, ceil: bool = False) -> int:
    """How many windows there are along an extent of `n`."""
    span = n + 2 * padding - dilation * (k - 1) - 1
    count = (span + (stride - 1 if ceil else 0)) // stride + 1
    # The last window starts inside the input or its left padding.
    if ceil and (count - 1) * stride >= n + padding:
        count -= 1
    return count


def _strided(x, kernel, stride, padding, dilation=(1, 1, 1), ceil=False, last=False):
    spatial = x[1:4] if last else x[2:]
    counts = [pooled(*a, ceil) for a in
              zip(spatial, kernel, stride, padding, dilation, strict=True)]
    return _ordered(x, last, counts)


def _parts(i, extent, count: int) -> tuple:
    """Begin and end of part `i` of `extent` in `count` parts, which overlap if they must."""
    return lang.trunc_divide(i * extent, count), lang.trunc_divide(
        (i + 1) * extent + (count - 1), count)


_NO_MARGIN, _DENSE = (0, 0, 0), (1, 1, 1)
_WINDOWS = "int[3] kernel, int[3] stride, int[3] padding"
_TO_POSITIONS = "-> (Tensor values, Tensor indices)"


@indexed(f"_max_pool(Tensor self, {_WINDOWS}, int[3] dilation, bool ceil, bool last)"
         f" {_TO_POSITIONS}", module=None, dtypes=FLOATING | INTEGERS, out=_strided)
def max_pool(x, n, p, q, r, s, *, kernel, stride, padding, dilation, last):
    """The largest element of each window, and its position in the flattened volume."""
    volume, axes = Volume(x, (n, p, q, r, s), last), window(kernel)
    at = [i * s - p + u * d for i, u, s, p, d in
          zip(volume.at, axes, stride, padding, dilation, strict=True)]
    return volume.largest(at, axes)


@indexed(f"_max_pool_values(Tensor self, {_WINDOWS}, int[3] dilation, bool ceil, bool last)"
         " -> Tensor", module=None, dtypes=FLOATING | INTEGERS, out=_strided)
def max_values(x, n, p, q, r, s, *, kernel, stride, padding, dilation, last):
    """`max_pool` where nobody asks for the positions, nor a gradient for them."""
    volume, axes = Volume(x, (n, p, q, r, s), last), window(kernel)
    at = [i * s - p + u * d for i, u, s, p, d in
          zip(volume.at, axes, stride, padding, dilation, strict=True)]
    return x.at(*volume.index(at), outside=_least(x.dtype)).max(*axes)


@indexed(f"_adaptive_max(Tensor self, int[3] size, int[3] kernel, bool last) {_TO_POSITIONS}",
         module=None, dtypes=FLOATING, out=lambda x, size, last: _ordered(x, last, size))
def adaptive_max(x, n, p, q, r, s, *, size, kernel, last):
    """The largest element of each part of an even division; `kernel` bounds the parts."""
    volume, axes = Volume(x, (n, p, q, r, s), last), window(kernel)
    at = []
    for i, u, count, extent in zip(volume.at, axes, size, volume.extents, strict=True):
        first, end = _parts(i, extent, count)
        at.append(minimum(first + u, end - 1))  # the last element again doesn't count
    return volume.largest(at, axes, outside=False)


@indexed("_fractional_max(Tensor self, Tensor samples, int[3] size, int[3] kernel)"
         f" {_TO_POSITIONS}",
         module=None, dtypes=FLOATING, keep=("samples",),
         out=lambda x, s, size: _ordered(x, False, size))
def fractional_max(x, samples, n, c, p, q, r, *, size, kernel):
    """The largest element of windows that begin at a pseudorandom sequence of whole numbers.

    With a = (extent - kernel) / (size - 1), window i begins at [(i + u) a] - [u a], u the sample,
    and the last one where it ends with the input (Graham, 2014).
    """
    volume, axes = Volume(x, (n, c, p, q, r), False), window(kernel)
    at = []
    for d, (i, u, count, k, extent) in enumerate(
            zip(volume.at, axes, size, kernel, volume.extents, strict=True)):
        room = extent - k
        sample = samples[n, c, d]
        step = room.to(sample.dtype) / max(count - 1, 1)
        begin = ((i.to(sample.dtype) + sample) * step).to(I64) - (sample * step).to(I64)
        at.append(where(i == count - 1, room, begin) + u)
    return volume.largest(at, axes)


def _to_positions(g_values, self_like, indices, last=False):
    """A maximum's gradient goes where the maximum was."""
    n, c, *spatial = self_like.shape
    if last:
        c, spatial = spatial[-1], [c, *spatial[:-1]]
    lines = [n, -1, c] if last else [n * c, -1, 1]
    if g_values.numel() == 0:
        return g_values.new_zeros(self_like.shape)
    zeros = g_values.new_zeros([lines[0], math.prod(spatial), lines[2]])
    flat = zeros.scatter_add_(1, indices.reshape(lines), g_values.reshape(lines))
    return flat.reshape(self_like.shape)


max_pool.gradient(self=_to_positions)
adaptive_max.gradient(self=_to_positions)
fractional_max.gradient(
    self=lambda g_values, self_like, indices: _to_positions(g_values, self_like, indices))


def _quotient(total, count):
    """`total` / `count`, of whole numbers rounded to zero."""
    if not total.dtype.floating:
        return lang.trunc_divide(total, count)
    return total / (count.to(total.dtype) if isinstance(count, lang.Value) else count)


def _averaging(name: str):
    return indexed(
        f"{name}(Tensor self, {_WINDOWS}, bool ceil, bool include_pad, int divisor, bool last)"
        " -> Tensor", module=None, dtypes=FLOATING | {I64}, static=("divisor",),
        out=lambda x, kernel, stride, padding, ceil, last: _strided(
            x, kernel, stride, padding, (1, 1, 1), ceil, last))


def _mean(x, n, p, q, r, s, *, kernel, stride, padding, include_pad, divisor, last):
    """The mean of each window; `divisor` 0 stands for the number of elements."""
    volume, axes = Volume(x, (n, p, q, r, s), last), window(kernel)
    begin = [i * s - p for i, s, p in zip(volume.at, stride, padding, strict=True)]
    at = [b + u for b, u in zip(begin, axes, strict=True)]
    total = x.at(*volume.index(at), outside=0).sum(*axes)
    if divisor:
        return _quotient(total, divisor)
    count: Any = 1
    for first, k, extent, p in zip(begin, kernel, volume.extents, padding, strict=True):
        margin = p if include_pad else 0
        count = count * (minimum(first + k, extent + margin) - lang.maximum(first, -margin))
    return _quotient(total, count)


_spaced = _averaging("_avg_pool")(_mean)
_dense = _averaging("_avg_pool_dense")(_mean)  # of stride 1


@indexed("_avg_share(Tensor self, int[3] kernel, int[3] padding, bool last) -> Tensor",
         module=None, dtypes=FLOATING)
def _share(g, n, p, q, r, s, *, kernel, padding, last):
    """A mean's gradient divided by the elements that its window of stride 1 has without padding."""
    volume = Volume(g, (n, p, q, r, s), last)
    count: Any = 1
    for i, k, extent, p in zip(volume.at, kernel, volume.extents, padding, strict=True):
        end = extent + (k - 1 - 2 * p)  # of what was pooled
        count = count * (minimum(i - p + k, end) - lang.maximum(i - p, 0))
    return _quotient(g[volume.index(volume.at)], count)


def _dense_gradient(g, kernel, padding, include_pad, divisor, last):
    """Windows of stride 1 over the gradient: of those that an element is in."""
    if divisor or include_pad or not any(padding):
        g = g / (divisor or math.prod(kernel))
    else:
        g = _share(g, kernel, padding, last)
    margin = [k - 1 - p for k, p in zip(kernel, padding, strict=True)]
    return _dense(g, kernel, _DENSE, margin, False, True, 1, last)


_dense.gradient(self=_dense_gradient)


def avg_pool(x, kernel, stride, padding, ceil, include_pad, divisor, last):
    """The means of windows of a volume."""
    op = _dense if tuple(stride) == _DENSE else _spaced
    return op(x, kernel, stride, padding, ceil, include_pad, divisor, last)


def window_sums(x, kernel: Sequence[int]):
    """The sums of the last dims' windows next to each other."""
    volume = Volumes(x, len(kernel))
    kernel = _three(kernel)
    return volume.back(
        avg_pool(volume.x, kernel, kernel, _NO_MARGIN, False, False, 1, volume.last))


# ---- what callers give --------------------------------------------------------------------------


def per_dim(name: str, what: str, value: Sequence[int], dims: int) -> tuple[int, ...]:
    """`value` for each dim: one number is for all."""
    if len(value) not in (1, dims):
        raise RuntimeError(f"{name}: {what} must be a single int or {dims} of them; got "
                           f"{list(value)}")
    return tuple(value) * dims if len(value) == 1 else tuple(value)


def _three(value: Sequence[int], fill: int = 1) -> tuple[int, ...]:
    """Numbers for depth, height and width from those of the last dims."""
    return (*([fill] * (3 - len(value))), *value)


def _shaped(name: str, self, dims: int, elements: bool = True) -> None:
    """Raises unless there are `dims` dims and channels, perhaps a batch, and `elements` in each."""
    sizes = list(self.shape)
    if len(sizes) not in (dims + 1, dims + 2):
        raise RuntimeError(f"{name}: Expected {dims + 1}D or {dims + 2}D (batch mode) tensor, but "
                           f"got input of size {sizes}")
    if elements and 0 in sizes[len(sizes) - dims - 1 :]:
        raise RuntimeError(f"{name}: Expected input to have non-zero size for non-batch "
                           f"dimensions, but got {sizes}")


def channels_last(self) -> bool:
    """Whether a batched tensor's channels are next to each other in memory."""
    return self.dim() > 3 and self.size(1) > 1 and self.stride(1) == 1 and self.size(-1) > 1


class Volumes:
    """`self` as a volume for the formulas, and results brought back to its shape."""

    def __init__(self, self_, dims: int):
        x = self_ if self_.dim() == dims + 2 else self_.unsqueeze(0)
        self.batched, self.dims, self.last = x is self_, dims, channels_last(x)
        x = x.movedim(1, -1) if self.last else x
        self.sizes = list(x.shape[1:-1] if self.last else x.shape[2:])
        lead = [1] * (3 - dims)
        n, *rest = x.shape
        self.x = x if not lead else x.view([n, *lead, *rest] if self.last else
                                           [n, rest[0], *lead, *rest[1:]])

    def back(self, y):
        """A result with as many dims as the input."""
        if self.dims < 3:
            n, *rest = y.shape
            lead = 3 - self.dims
            y = y.view([n, *rest[lead:]] if self.last else [n, rest[0], *rest[1 + lead :]])
        y = y.movedim(-1, 1) if self.last else y
        return y if self.batched else y.squeeze(0)


def _check_windows(name, self, dims, kernel, stride, padding, dilation, ceil) -> None:
    for what, values in (("kernel_size", kernel), ("stride", stride), ("dilation", dilation)):
        if min(values) <= 0:
            raise RuntimeError(f"{name}: {what} should be greater than zero, but got "
                               f"{list(values)}")
    for p, k, d in zip(padding, kernel, dilation, strict=True):
        if not 0 <= p <= (d * (k - 1) + 1) // 2:
            raise RuntimeError(f"{name}: pad should be non-negative and at most half of effective "
                               f"kernel size, but got pad={p}, kernel_size={k} and dilation={d}")
    sizes = self.shape[-dims:]
    counts = [pooled(*a, ceil) for a in zip(sizes, kernel, stride, padding, dilation, strict=True)]
    if min(counts) <= 0:
        raise RuntimeError(f"{name}: Given input size: {list(sizes)}. Calculated output size: "
                           f"{counts}. Output size is too small")


def _windowed(name, self, dims, kernel_size, stride, padding, dilation, ceil):
    """Kernel, stride, padding and dilation of a volume, checked."""
    _shaped(name, self, dims)
    kernel = per_dim(name, "kernel_size", kernel_size, dims)
    stride = per_dim(name, "stride", stride, dims) if stride else kernel
    padding = per_dim(name, "padding", padding, dims)
    dilation = per_dim(name, "dilation", dilation, dims)
    _check_windows(name, self, dims, kernel, stride, padding, dilation, ceil)
    return _three(kernel), _three(stride), _three(padding, 0), _three(dilation)


# ---- maximum and mean ---------------------------------------------------------------------------


def _max_pool(name, dims, self, kernel_size, stride, padding, dilation, ceil_mode, indices=True):
    windows = _windowed(name, self, dims, kernel_size, stride, padding, dilation, ceil_mode)
    volume = Volumes(self, dims)
    if not indices and not followed(self):
        return (volume.back(max_values(volume.x, *windows, ceil_mode, volume.last)),)
    values, indices = max_pool(volume.x, *windows, ceil_mode, volume.last)
    return volume.back(values), volume.back(indices)


def _declare_max_pool(dims: int) -> None:
    name = f"max_pool{dims}d"
    params = (f"Tensor self, int[{dims}] kernel_size, int[{dims}]? stride=None, "
              f"int[{dims}] padding=0, int[{dims}] dilation=1, bool ceil_mode=False")
    doc = f"""The largest element of each window.

    Shapes: (batch, channels, ...) or (channels, ...), {dims} more. `stride` is the kernel's size by
    default; `padding` is at most half of it and never chosen. RuntimeError for sizes that leave no
    window.
    """
    both = f"{doc.rstrip()} Also the positions, in the flattened dims.\n    "

    def pool(*given):
        return _max_pool(name, dims, *given)

    def values(*given):
        return pool(*given, False)[0]

    composite(f"{name}({params}) -> Tensor", doc=doc, **_TOP)(values)
    composite(f"{name}({params}, bool return_indices=False) -> Tensor", doc=doc, **_F)(
        lambda *given: pool(*given[:-1]) if given[-1] else values(*given[:-1]))
    composite(f"{name}_with_indices({params}, bool return_indices=False) -> (Tensor, Tensor)",
              doc=both, **_F)(lambda *given: pool(*given[:-1]))
    if dims == 1:
        composite(f"{name}_with_indices({params}) -> (Tensor, Tensor)", doc=both, **_TOP)(pool)


def _avg_pool(name, dims, self, kernel_size, stride, padding, ceil_mode, include_pad, divisor=None):
    if divisor == 0:
        raise RuntimeError(f"{name}: divisor must be not zero")
    kernel, stride, padding, _ = _windowed(name, self, dims, kernel_size, stride, padding, (1,),
                                           ceil_mode)
    volume = Volumes(self, dims)
    return volume.back(avg_pool(volume.x, kernel, stride, padding, ceil_mode, include_pad,
                                divisor or 0, volume.last))


def _declare_avg_pool(dims: int) -> None:
    name = f"avg_pool{dims}d"
    divisor = ", int? divisor_override=None" if dims > 1 else ""
    where_to = _TOP if dims == 1 else {**_F, "out": True}
    declare = composite(
        f"{name}(Tensor self, int[{dims}] kernel_size, int[{dims}]? stride=None, "
        f"int[{dims}] padding=0, bool ceil_mode=False, bool count_include_pad=True{divisor})"
        " -> Tensor",
        doc=f"""The mean of each window.

    Shapes: (batch, channels, ...) or (channels, ...), {dims} more. `stride` is the kernel's size by
    default; zeros of the padding count as elements if `count_include_pad`; `divisor_override`
    stands for the number of elements. RuntimeError for sizes that leave no window.
    """, **where_to)
    declare(lambda *given: _avg_pool(name, dims, *given))


# ---- parts of an even division ------------------------------------------------------------------


def _division(name, self, dims, output_size) -> tuple[tuple, tuple, bool]:
    """How many parts in each dim, what bounds their extents, and whether they are all that long."""
    sizes = [output_size] if isinstance(output_size, int) else output_size
    if isinstance(output_size, int) or dims == 1:
        if len(sizes) != 1:
            raise RuntimeError(f"{name}: argument 'output_size' should contain one int (got "
                               f"{len(sizes)})")
        sizes = [*sizes] * dims
    elif self.dim() <= len(sizes):
        raise ValueError(f"{name}: Input dimension should be at least {len(sizes) + 1}; got shape "
                         f"{list(self.shape)}")
    if len(sizes) != dims:
        raise RuntimeError(f"{name}: output_size must be {dims}; got {list(sizes)}")
    extents = self.shape[-dims:]
    counts = [n if c is None and dims > 1 else c for n, c in zip(extents, sizes, strict=True)]
    if not all(isinstance(c, int) for c in counts):
        raise TypeError(f"{name}: output_size is made of ints; got {output_size!r}")
    if min(counts) < 0:
        raise RuntimeError(f"{name}: elements of output_size must be greater than or equal to 0 "
                           f"but received {counts}")
    even = all(c and n and n % c == 0 for n, c in zip(extents, counts, strict=True))
    # Part i runs from [i n / c] to [(i + 1) n / c] rounded up: nearly one more than n / c at most.
    bound = [n // c if even else (n + c - 2) // c + 1 if c else 1
             for n, c in zip(extents, counts, strict=True)]
    return _three(counts), _three(bound), even


def _floating(name: str, self) -> None:
    if not self.dtype.is_floating_point:
        raise NotImplementedError(f"{name}: not defined for {self.dtype}; convert to a floating "
                                  "type")


def _adaptive_avg(name, dims, self, output_size):
    counts, bound, even = _division(name, self, dims, output_size)
    _shaped(name, self, dims, elements=False)
    _floating(name, self)
    if counts == _DENSE:
        return self.mean([-1 - d for d in range(dims)], keepdim=True)
    volume = Volumes(self, dims)
    if even:
        return volume.back(
            avg_pool(volume.x, bound, bound, _NO_MARGIN, False, True, 0, volume.last))
    return volume.back(_means(volume.x, counts, 1 if volume.last else 2))


def _means(x, counts, first: int):
    """The means of parts of the three dims from `first`, one dim after the other."""
    from .resample import part_taps, resample

    sizes = [*x.shape[:first], *counts, *x.shape[first + 3 :]]
    if 0 in counts:
        return x.new_zeros(sizes) + 0 * x.sum()
    x.new_empty(sizes)  # refuses before tables of such sizes are made
    out = x if x.dtype == _core.float64 else x.float()
    for d, count in enumerate(counts, first):
        if count != x.size(d):
            out = resample(out, d, part_taps(x.size(d), count, out.dtype))
    return out.to(x.dtype)


def adaptive_mean(self, sizes: Sequence[int]):
    """The means of the parts of the last dims."""
    dims = len(sizes)
    return _adaptive_avg(f"adaptive_avg_pool{dims}d", dims, self, sizes)


def _adaptive_max(name, dims, self, output_size):
    counts, bound, even = _division(name, self, dims, output_size)
    _shaped(name, self, dims)
    _floating(name, self)
    volume = Volumes(self, dims)
    if even:
        found = max_pool(volume.x, bound, bound, _NO_MARGIN, _DENSE, False, volume.last)
    else:
        found = adaptive_max(volume.x, counts, bound, volume.last)
    return tuple(map(volume.back, found))


def _declare_adaptive(dims: int) -> None:
    mean, largest = f"adaptive_avg_pool{dims}d", f"adaptive_max_pool{dims}d"
    size = "Tensor self, Any output_size"
    doc = f"""The {{}} of parts that divide the input evenly.

    Shapes: (batch, channels, ...) or (channels, ...), {dims} more, of which `output_size` says into
    how many parts each is divided (one number for all, None: as many as there are). Part i of c of
    n elements runs from [i n / c] to (i + 1) n / c, rounded up.
    """
    both = f"{doc.format('largest element').rstrip()} Also the positions, in the flattened dims.\n"

    def pool(*given):
        return _adaptive_max(largest, dims, *given)

    def average(*given):
        return _adaptive_avg(mean, dims, *given)

    composite(f"{mean}({size}) -> Tensor", doc=doc.format("mean"), **_F)(average)
    composite(f"{largest}({size}, bool return_indices=False) -> Tensor",
              doc=doc.format("largest element"), **_F)(
        lambda *given: pool(*given[:-1]) if given[-1] else pool(*given[:-1])[0])
    composite(f"{largest}_with_indices({size}, bool return_indices=False) -> (Tensor, Tensor)",
              doc=both, **_F)(lambda *given: pool(*given[:-1]))
    if dims == 1:
        composite(f"{mean}({size}) -> Tensor", doc=doc.format("mean"), **_TOP)(average)
        composite(f"{largest}({size}) -> (Tensor, Tensor)", doc=both, **_TOP)(pool)


# ---- windows at random places -------------------------------------------------------------------


def _fractional(name, dims, self, kernel_size, output_size, output_ratio, samples):
    kernel = per_dim(name, "kernel_size", kernel_size, dims)
    if self.dim() not in (dims + 1, dims + 2):
        raise IndexError(f"{name}: Expected {dims + 1}D or {dims + 2}D input; got shape "
                         f"{list(self.shape)}")
    extents = self.shape[-dims:]
    if output_size is None:
        if output_ratio is None:
            raise ValueError(f"{name} requires specifying either an output_size or an output_ratio")
        ratios = per_dim(name, "output_ratio", output_ratio, dims)
        output_size = [int(n * r) for n, r in zip(extents, ratios, strict=True)]
    counts = per_dim(name, "output_size", output_size, dims)
    _shaped(name, self, dims)
    for n, k, c in zip(extents, kernel, counts, strict=True):
        if c <= 0 or k < 0 or c + k - 1 > n:
            raise RuntimeError(f"{name}: pool {list(kernel)} too large relative to input "
                               f"{list(extents)} for an output of {list(counts)}")
    x = self if self.dim() == dims + 2 else self.unsqueeze(0)
    n, c, *_ = x.shape
    if samples is None:
        from .random import rand

        samples = rand([n, c, dims], dtype=self.dtype, device=self.device)
    if samples.dtype != self.dtype:
        raise RuntimeError(f"{name}: Expect _random_samples to have the same dtype as input; got "
                           f"{samples.dtype} and {self.dtype}")
    if samples.dim() != 3 or samples.size(0) < n or list(samples.shape[1:]) != [c, dims]:
        raise RuntimeError(f"{name}: Expect _random_samples of shape {[n, c, dims]}; got "
                           f"{list(samples.shape)}")
    if dims == 2:  # the plane's samples are (width, height); the volume's (depth, height, width)
        from .rearrange import flip

        samples = flip(samples, [-1])
    samples = samples[:n].detach()
    return x, _three(kernel), _three(counts), samples


def _fractional_max(name, dims, self, *given):
    x, kernel, counts, samples = _fractional(name, dims, self, *given)
    if dims == 2:  # a volume of depth 1
        x, samples = x.unsqueeze(2), cat([samples[..., :1], samples], -1)
    found = fractional_max(x, samples, counts, kernel)
    undone = [y.squeeze(2) if dims == 2 else y for y in found]
    return tuple(y if self.dim() == dims + 2 else y.squeeze(0) for y in undone)


def _declare_fractional(dims: int) -> None:
    name = f"fractional_max_pool{dims}d"
    params = (f"Tensor self, int[{dims}] kernel_size, int[{dims}]? output_size=None, "
              f"float[{dims}]? output_ratio=None, bool return_indices=False, "
              "Tensor? _random_samples=None")
    doc = f"""The largest element of windows at pseudorandom places (Graham, 2014).

    Shapes: (batch, channels, ...) or (channels, ...), {dims} more. The output's extents are
    `output_size`, or `output_ratio` of the input's. ValueError if neither is given, RuntimeError
    where windows don't fit.
    """

    def pool(self, kernel, size, ratio, _, samples):
        return _fractional_max(name, dims, self, kernel, size, ratio, samples)

    composite(f"{name}({params}) -> Tensor", doc=doc, **_F)(
        lambda *given: pool(*given) if given[4] else pool(*given)[0])
    composite(f"{name}_with_indices({params}) -> (Tensor, Tensor)",
              doc=f"{doc.rstrip()} Also the positions, in the flattened dims.\n", **_F)(pool)


# ---- the inverse of a maximum, and the norm of windows ------------------------------------------


def _unpooled(name, self, dims, kernel, stride, padding, output_size) -> list[int]:
    """The extents that were pooled: by the windows, or `output_size` if that is near them."""
    default = [(n - 1) * s - 2 * p + k for n, k, s, p in
               zip(self.shape[-dims:], kernel, stride, padding, strict=True)]
    if output_size is None:
        return default
    sizes = list(output_size)
    if len(sizes) == dims + 2:
        sizes = sizes[2:]
    if len(sizes) != dims:
        raise ValueError(f"{name}: output_size should be a sequence containing {dims} or "
                         f"{dims + 2} elements, but it has a length of {len(sizes)!r}")
    for d, (n, near, s) in enumerate(zip(sizes, default, stride, strict=True)):
        if not near - s < n < near + s:
            raise ValueError(f"{name}: invalid output_size {sizes} (dim {d} must be between "
                             f"{near - s} and {near + s})")
    return sizes


def _unpool(name, dims, self, indices, kernel_size, stride, padding, output_size):
    from .indexing import scatter

    kernel = per_dim(name, "kernel_size", kernel_size, dims)
    stride = per_dim(name, "stride", stride, dims) if stride else kernel
    padding = per_dim(name, "padding", padding, dims)
    sizes = _unpooled(name, self, dims, kernel, stride, padding, output_size)
    if indices.dtype != _core.int64:
        raise RuntimeError(f"{name}: elements in indices should be type int64 but got: "
                           f"{indices.dtype}")
    if indices.shape != self.shape:
        raise RuntimeError(f"{name}: Expected shape of indices to be same as that of the input "
                           f"tensor {list(self.shape)}; got {list(indices.shape)}")
    _shaped(name, self, dims)
    if min(stride) <= 0:
        raise RuntimeError(f"{name}: strides should be greater than zero, but got {list(stride)}")
    lead, volume = list(self.shape[:-dims]), math.prod(sizes)
    if indices.numel() and not indices.is_meta and not 0 <= int(indices.min()) <= int(
            indices.max()) < volume:
        raise RuntimeError(f"{name}: Found an invalid max index (output volumes are of size "
                           f"{sizes}); indices are {int(indices.min())} to {int(indices.max())}")
    lines = [math.prod(lead), math.prod(self.shape[-dims:])]
    zeros = self.new_zeros([lines[0], volume])
    flat = scatter(zeros, 1, indices.reshape(lines), self.reshape(lines))
    return flat.reshape(lead + sizes)


def _declare_unpool(dims: int) -> None:
    name = f"max_unpool{dims}d"
    declare = composite(
        f"{name}(Tensor self, Tensor indices, int[{dims}] kernel_size, int[{dims}]? stride=None, "
        f"int[{dims}] padding=0, int[]? output_size=None) -> Tensor",
        doc=f"""The values at the positions where `max_pool{dims}d` found them, zeros elsewhere.

    Shapes: as the pool's output; the result has the sizes of its input, or `output_size` where
    several sizes give the same output. RuntimeError for positions outside of these.
    """, **_F)
    declare(lambda *given: _unpool(name, dims, *given))


def _declare_lp_pool(dims: int) -> None:
    name = f"lp_pool{dims}d"

    def lp_pool(self, norm_type, kernel_size, stride, ceil_mode):
        powers = self.pow(norm_type)
        mean = _avg_pool(name, dims, powers, kernel_size, stride, (0,), ceil_mode, True)
        count = math.prod(per_dim(name, "kernel_size", kernel_size, dims))
        # A sum of odd powers that is negative counts as its negated magnitude's root: 0.
        return (mean.sign() * mean.abs().relu()).mul(count).pow(1.0 / norm_type)

    composite(
        f"{name}(Tensor self, Number norm_type, int[{dims}] kernel_size, int[{dims}]? stride=None, "
        "bool ceil_mode=False) -> Tensor",
        doc=f"""The p-norm of each window, p = `norm_type`, without its magnitudes' signs.

    Shapes: (batch, channels, ...) or (channels, ...), {dims} more.
    """, **_F)(lp_pool)


for _dims in (1, 2, 3):
    _declare_max_pool(_dims)
    _declare_avg_pool(_dims)
    _declare_adaptive(_dims)
    _declare_unpool(_dims)
    _declare_lp_pool(_dims)
    if _dims > 1:
        _declare_fractional(_dims)
