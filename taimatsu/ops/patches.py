"""Between space and channels: patches of planes as columns, and back; shuffled pixels."""

from __future__ import annotations

import math
from collections.abc import Sequence

from taimatsu.codegen import lang
from taimatsu.codegen.ir import BOOL
from taimatsu.codegen.lang import where, window
from taimatsu.codegen.promote import INEXACT

from .table import composite, indexed
from .window import per_dim

_F = {"module": "nn.functional", "method": False}
_PART = {"module": None, "dtypes": INEXACT | {BOOL}}
_SETTINGS = "int[2] kernel, int[2] dilation, int[2] padding, int[2] stride"


def _blocks(size, kernel, dilation, padding, stride) -> list[int]:
    """How many places a patch has in each dim."""
    return [(n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, d, p, s in
            zip(size, kernel, dilation, padding, stride, strict=True)]


@indexed(f"_im2col(Tensor self, {_SETTINGS}) -> Tensor",
         out=lambda x, kernel, dilation, padding, stride: [
             *x[:2], *kernel, *_blocks(x[2:], kernel, dilation, padding, stride)], **_PART)
def im2col(x, n, c, u, v, i, j, *, dilation, padding, stride):
    """Element (u, v) of the patch at (i, j); 0 in the padding."""
    h = i * stride[0] - padding[0] + u * dilation[0]
    w = j * stride[1] - padding[1] + v * dilation[1]
    return x.at(n, c, h, w, outside=lang.cast(0, x.dtype))


@indexed(f"_col2im(Tensor self, int height, int width, {_SETTINGS}) -> Tensor",
         out=lambda x, height, width: [*x[:2], height, width], **_PART)
def col2im(x, n, c, h, w, *, kernel, dilation, padding, stride):
    """The sum of the patches' elements that lie at (h, w)."""
    axes, places, inside = window(kernel), [], True
    for at, u, d, p, s in zip((h, w), axes, dilation, padding, stride, strict=True):
        from_edge = at + p - u * d
        place = lang.trunc_divide(from_edge, s) if s > 1 else from_edge
        places.append(place)
        if s > 1:
            inside = inside & (from_edge >= 0) & (place * s == from_edge)
    zero = lang.cast(0, x.dtype)
    values = x.at(n, c, *axes, *places, outside=zero)
    return where(inside, values, zero).sum(*axes).to(x.dtype)


im2col.gradient(self=lambda g, self_like, kernel, dilation, padding, stride: col2im(
    g, *self_like.shape[2:], kernel, dilation, padding, stride))
col2im.gradient(self=lambda g, kernel, dilation, padding, stride: im2col(
    g, kernel, dilation, padding, stride))


def _pairs(name, kernel_size, dilation, padding, stride) -> list[tuple[int, ...]]:
    settings = []
    for what, value, least in (("kernel_size", kernel_size, 1), ("dilation", dilation, 1),
                               ("padding", padding, 0), ("stride", stride, 1)):
        pair = per_dim(name, what, value, 2)
        if min(pair) < least:
            raise RuntimeError(f"{name}: {what} should be at least {least}, but got {list(pair)}")
        settings.append(pair)
    return settings


def _check_blocks(name: str, size: Sequence[int], settings) -> list[int]:
    blocks = _blocks(size, *settings)
    if min(blocks) < 1:
        raise RuntimeError(f"{name}: the array of sliding blocks over {list(size)} would be of "
                           f"shape {blocks}, but its components must be at least one; kernel, "
                           f"dilation, padding, stride are {settings}")
    return blocks


@composite("unfold(Tensor self, int[2] kernel_size, int[2] dilation=1, int[2] padding=0,"
           " int[2] stride=1) -> Tensor", **_F)
def unfold(self, kernel_size, dilation, padding, stride):
    """The patches of planes, as columns: (batch, channels, height, width) -> (batch, channels *
    patch, patches), or without a batch. RuntimeError for sizes that leave no patch."""
    settings = _pairs("unfold", kernel_size, dilation, padding, stride)
    if self.dim() not in (3, 4):
        raise IndexError(f"unfold: Expected 3D or 4D (batch mode) tensor; got {list(self.shape)}")
    if 0 in self.shape[-3:]:
        raise RuntimeError("unfold: Expected non-zero dimensions but for the batch; got "
                           f"{list(self.shape)}")
    _check_blocks("unfold", self.shape[-2:], settings)
    x = self if self.dim() == 4 else self.unsqueeze(0)
    columns = im2col(x, *settings).flatten(4).flatten(1, 3)
    return columns if self.dim() == 4 else columns.squeeze(0)


@composite("fold(Tensor self, int[2] output_size, int[2] kernel_size, int[2] dilation=1,"
           " int[2] padding=0, int[2] stride=1) -> Tensor", **_F)
def fold(self, output_size, kernel_size, dilation, padding, stride):
    """Planes of sizes `output_size` as sums of patches: the adjoint of `unfold`.

    (batch, channels * patch, patches) -> (batch, channels, *output_size), or without a batch.
    RuntimeError where the patches aren't as many as fit.
    """
    size = per_dim("fold", "output_size", output_size, 2)
    settings = _pairs("fold", kernel_size, dilation, padding, stride)
    if self.dim() not in (2, 3) or 0 in self.shape[-2:]:
        raise RuntimeError("fold: Expected 2D or 3D (batch mode) tensor with possibly 0 batch size "
                           f"and non-zero dimensions for input, but got: {list(self.shape)}")
    patch = math.prod(settings[0])
    if self.size(-2) % patch:
        raise RuntimeError("fold: Expected size of input's dimension -2 to be divisible by the "
                           f"product of kernel_size, but got {self.size(-2)} and {settings[0]}")
    blocks = _check_blocks("fold", size, settings)
    if self.size(-1) != math.prod(blocks):
        raise RuntimeError(f"fold: expected {blocks[0]} * {blocks[1]} sliding blocks for output "
                           f"{list(size)}, but got {self.size(-1)}")
    x = self if self.dim() == 3 else self.unsqueeze(0)
    patches = x.reshape(x.size(0), x.size(1) // patch, *settings[0], *blocks)
    out = col2im(patches, *size, *settings)
    return out if self.dim() == 3 else out.squeeze(0)


# ---- shuffled pixels ----------------------------------------------------------------------------


def _check_pixels(name: str, self, factor: int) -> None:
    if self.dim() < 3:
        raise RuntimeError(f"{name}: expects input to have at least 3 dimensions, but got "
                           f"{list(self.shape)}")
    if factor <= 0:
        raise RuntimeError(f"{name}: expects a positive factor, but got {factor}")


@composite("pixel_shuffle(Tensor self, int upscale_factor) -> Tensor", method=False)
def pixel_shuffle(self, upscale_factor):
    """(*, C r², H, W) -> (*, C, H r, W r) for the factor r. RuntimeError if it doesn't divide."""
    r = upscale_factor
    _check_pixels("pixel_shuffle", self, r)
    *batch, channels, height, width = self.shape
    if channels % (r * r):
        raise RuntimeError("pixel_shuffle: expects its input's 'channel' dimension to be divisible "
                           f"by the square of upscale_factor, but got {channels} and {r}")
    n, c = len(batch), channels // (r * r)
    parts = self.reshape(*batch, c, r, r, height, width)
    parts = parts.permute(*range(n), n, n + 3, n + 1, n + 4, n + 2)
    return parts.reshape(*batch, c, height * r, width * r)


@composite("pixel_unshuffle(Tensor self, int downscale_factor) -> Tensor", method=False)
def pixel_unshuffle(self, downscale_factor):
    """(*, C, H r, W r) -> (*, C r², H, W) for the factor r. RuntimeError if it doesn't divide."""
    r = downscale_factor
    _check_pixels("pixel_unshuffle", self, r)
    *batch, channels, height, width = self.shape
    if height % r or width % r:
        raise RuntimeError("pixel_unshuffle: expects height and width to be divisible by "
                           f"downscale_factor, but got {height}, {width} and {r}")
    n = len(batch)
    parts = self.reshape(*batch, channels, height // r, r, width // r, r)
    parts = parts.permute(*range(n), n, n + 2, n + 4, n + 1, n + 3)
    return parts.reshape(*batch, channels * r * r, height // r, width // r)


@composite("channel_shuffle(Tensor self, int groups) -> Tensor", method=False,
           names=("native_channel_shuffle",))
def channel_shuffle(self, groups):
    """The channels (dim 1) of `groups` groups, interleaved. RuntimeError if it doesn't divide."""
    if self.dim() < 3:
        raise RuntimeError("channel_shuffle expects input with > 2 dims, but got input with sizes "
                           f"{list(self.shape)}")
    if groups <= 0 or self.size(1) % groups:
        raise RuntimeError("Number of channels must be divisible by groups. Got "
                           f"{self.size(1)} channels and {groups} groups.")
    if not self.numel():
        return self.clone()
    n, channels, *rest = self.shape
    parts = self.reshape(n, groups, channels // groups, *rest)
    return parts.transpose(1, 2).reshape(self.shape)
