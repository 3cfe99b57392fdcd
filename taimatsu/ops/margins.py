"""Margins around a tensor: constant, or read from the tensor itself."""

from __future__ import annotations

import math
from collections.abc import Sequence

from taimatsu import _core
from taimatsu.codegen import lang
from taimatsu.codegen.lang import where

from .table import composite, indexed

_WRAP = {
    "reflect": lambda i, n: n - 1 - abs(n - 1 - abs(i)),
    "replicate": lambda i, n: lang.maximum(lang.minimum(i, n - 1), 0),
    "circular": lambda i, n: where(i < 0, i + n, where(i < n, i, i - n)),
}
_ENDS = ("d0", "d1", "h0", "h1", "w0", "w1")


@indexed(f"_pad(Tensor self, int {', int '.join(_ENDS)}, int dims, str mode) -> Tensor",
         module=None, static=("dims",),
         out=lambda x, d0, d1, h0, h1, w0, w1:
         [x[0], x[1] + d0 + d1, x[2] + h0 + h1, x[3] + w0 + w1])
def wrapped(x, n, d, h, w, *, d0, h0, w0, dims, mode):
    """The last `dims` dims with margins, negative ones cut off; an element outside is `mode`'s."""
    at = [d, h, w]
    for k, begin in list(enumerate((d0, h0, w0)))[3 - dims :]:
        at[k] = _WRAP[mode](at[k] - begin, x.sizes[k + 1])
    return x[n, *at]


def _margins(name: str, self, pad: Sequence[int]) -> list[tuple[int, int]]:
    """(before, after) of the last dims, in the order of the dims."""
    if len(pad) % 2:
        raise RuntimeError(f"{name}: Padding length must be divisible by 2; got {len(pad)}")
    if len(pad) > 2 * self.dim():
        raise RuntimeError(f"{name}: Padding length should be less than or equal to two times the "
                           f"input dimension but got padding length {len(pad)} and input of "
                           f"dimension {self.dim()}")
    margins = [(pad[k], pad[k + 1]) for k in range(len(pad) - 2, -1, -2)]
    for n, (before, after) in zip(self.shape[self.dim() - len(margins) :], margins, strict=True):
        # What is cut from either side has to be there.
        if n + before + after < 0 or min(before, 0) + min(after, 0) + n < 0:
            raise RuntimeError(f"{name}: The input size {n}, plus negative padding {before} and "
                               f"{after}, resulted in a negative output size; input has shape "
                               f"{list(self.shape)}")
    return margins


def _inside(self, margins, sign: int = 1):
    """`self` without `margins`; those of the other sign are as 0."""
    first = self.dim() - len(margins)
    for d, ends in enumerate(margins, first):
        before, after = (max(sign * m, 0) for m in ends)
        if before or after:
            self = self.narrow(d, before, self.size(d) - before - after)
    return self


@composite("constant_pad_nd(Tensor self, int[] pad, Number value=0) -> Tensor", method=False)
def constant_pad_nd(self, pad, value):
    """The tensor with margins of `value`: pairs (before, after) for the last dim, the one before
    ...; negative margins cut off. RuntimeError for more pairs than dims."""
    margins = _margins("constant_pad_nd", self, pad)
    if self.dtype == _core.bool:
        value = bool(value)
    sizes = list(self.shape)
    for d, ends in enumerate(margins, self.dim() - len(margins)):
        sizes[d] += sum(ends)
    if all(m <= 0 for ends in margins for m in ends):
        return _inside(self, margins, -1).clone()
    out = self.new_full(sizes, value)
    _inside(out, margins).copy_(_inside(self, margins, -1))
    return out


def _check_wrapped(mode, self, pad, margins) -> None:
    dims = len(margins)
    if dims not in (1, 2, 3) or self.dim() not in (dims + 1, dims + 2):
        raise NotImplementedError(
            f"pad: Padding size {len(pad)} is not supported for {self.dim()}D input tensor with "
            f"mode {mode!r}; pairs are for the last 1 to 3 dims, before which are one or two")
    sizes = list(self.shape)
    inner = sizes[-dims:] if mode == "circular" else sizes[self.dim() - dims - 1 :]
    if 0 in inner:
        raise RuntimeError(f"pad: Expected non-zero dimensions but for the batch; got {sizes}")
    spare = {"reflect": 1, "circular": 0}.get(mode)
    for n, ends in zip(sizes[-dims:], margins, strict=True):
        # What wraps around is what is left after cutting.
        left = n + sum(min(m, 0) for m in ends) if mode == "circular" else n
        if spare is not None and max(ends) > left - spare:
            raise RuntimeError(f"pad: Padding size should be less than the corresponding input "
                               f"dimension for mode {mode!r}, but got: padding {ends} for a dim of "
                               f"{left} elements of input {sizes}")


@composite("pad(Tensor self, int[] pad, str mode='constant', float? value=None) -> Tensor",
           module="nn.functional", method=False)
def pad(self, pad, mode, value):
    """The tensor with margins: pairs (before, after) for the last dim, the last but one ...

    mode   "constant" (`value`, 0), "reflect" (mirrored at the outermost elements), "replicate"
           (these repeated), "circular". Negative margins cut off.
    Raises RuntimeError for margins that a mode can't fill, NotImplementedError where the modes
    other than "constant" don't have 1 to 3 pairs and one or two dims before them.
    """
    if mode == "constant":
        return constant_pad_nd(self, pad, 0.0 if value is None else value)
    if mode not in _WRAP:
        raise NotImplementedError(f"pad: Unrecognised padding mode {mode!r}; use 'constant', "
                                  f"{', '.join(map(repr, _WRAP))}")
    if value:
        raise RuntimeError(f'pad: Padding mode "{mode}" doesn\'t take in value argument')
    margins = _margins("pad", self, pad)
    _check_wrapped(mode, self, pad, margins)
    if self.dtype == _core.bool and mode != "circular":
        raise NotImplementedError(f"pad: mode {mode!r} is not defined for bool")
    if mode == "circular":
        self = _inside(self, margins, -1)
        margins = [(max(a, 0), max(b, 0)) for a, b in margins]
    dims = len(margins)
    lead, inner = list(self.shape[:-dims]), list(self.shape[-dims:])
    ends = [0] * (6 - 2 * dims) + [m for pair in margins for m in pair]
    volume = self.reshape([math.prod(lead), *[1] * (3 - dims), *inner])
    out = wrapped(volume, *ends, dims, mode)
    return out.reshape(lead + list(out.shape[4 - dims :]))
