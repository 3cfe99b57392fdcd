"""Margins around a tensor: constant, or read from the tensor itself."""

from __future__ import annotations

from collections.abc import Sequence

from taimatsu import _core

from .table import composite, native


def _copied_from(mode: str, n: int, before: int, after: int):
    """Of a dim of `n` between its margins: where each margin is, and where its elements are from.

    (begin, length) each, mirrored or not. All elements are from between the margins.
    """
    end = before + n
    parts = {
        "reflect": ((before + 1, before), (end - 1 - after, after)),
        "replicate": ((before, 1), (end - 1, 1)),
        "circular": ((end - before, before), (before, after)),
    }[mode]
    for margin, source in zip(((0, before), (end, after)), parts, strict=True):
        if margin[1]:
            yield margin, source, mode == "reflect"


def _dims(self, margins):
    return zip(range(self.dim() - len(margins), self.dim()), margins, strict=True)


def _pairs(ends: Sequence[int]) -> list[tuple[int, int]]:
    return list(zip(ends[::2], ends[1::2], strict=True))


wrap_margins = native(
    "_wrap_margins(Tensor self, int[] ends, str mode) -> Tensor", module=None, method=False,
    doc="The tensor with margins of the last dims that `mode` copies from it: pairs of how many "
    "elements before and after, in the order of the dims.")  # fmt: skip


@composite("_add_margins(Tensor self, int[] ends, str mode) -> Tensor", module=None, method=False)
def add_margins(self, ends, mode):
    """What is inside the margins, and added to it what these hold: the adjoint of wrapping."""
    margins, out = _pairs(ends), self.clone()
    for d, (before, after) in reversed(list(_dims(self, margins))):
        n = self.size(d) - before - after
        for margin, source, mirrored in _copied_from(mode, n, before, after):
            elements = out.narrow(d, *margin)
            if source[1] < margin[1]:
                elements = elements.sum(d, keepdim=True)
            out.narrow(d, *source).add_(elements.flip(d) if mirrored else elements)
    return _inside(out, margins)


wrap_margins.gradient(self=lambda g, ends, mode: add_margins(g, ends, mode))
add_margins.gradient(lambda g, ends, mode: wrap_margins(g, ends, mode))
_MODES = ("reflect", "replicate", "circular")


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
    if mode not in _MODES:
        raise NotImplementedError(f"pad: Unrecognised padding mode {mode!r}; use 'constant', "
                                  f"{', '.join(map(repr, _MODES))}")
    if value:
        raise RuntimeError(f'pad: Padding mode "{mode}" doesn\'t take in value argument')
    margins = _margins("pad", self, pad)
    _check_wrapped(mode, self, pad, margins)
    if self.dtype == _core.bool and mode != "circular":
        raise NotImplementedError(f"pad: mode {mode!r} is not defined for bool")
    if mode == "circular":  # what is cut off doesn't come round
        self = _inside(self, margins, -1)
    ends = [max(m, 0) for pair in margins for m in pair]
    out = wrap_margins(self, ends, mode)
    return out if mode == "circular" else _inside(out, margins, -1)
