"""Fourier transforms: mixed radix, by products with small matrices; chirps where a prime is large.

A transform of n = r m points (Cooley and Tukey, 1965) is m-point transforms of every r-th element,
factors exp(-+ 2 pi i j k / n), and r-point transforms across them.
"""

from __future__ import annotations

import math

import taimatsu as torch

from . import computes
from .lines import iota

LARGEST = 64  # radix that is a product with a matrix


def _turns(numerator, n: int, forward: bool, dtype):
    """exp(-+ 2 pi i numerator / n), its angle reduced exactly."""
    real = torch.float64 if dtype == torch.complex128 else torch.float32
    angle = (numerator % n).to(torch.float64) * ((-2 if forward else 2) * math.pi / n)
    return torch.complex(angle.cos().to(real), angle.sin().to(real))


def _radix(n: int) -> int:
    """The largest factor that is a matrix; 0 where there is none."""
    return next((r for r in range(min(LARGEST, n), 1, -1) if n % r == 0), 0)


def _transform(x, forward: bool):
    """Along the last of two dims."""
    n = x.size(1)
    if n == 1:
        return x
    if n <= LARGEST:
        k = iota(n, x.device)
        return torch.mm(x, _turns(k.unsqueeze(1) * k, n, forward, x.dtype))
    r = _radix(n)
    if not r:
        return _chirp(x, forward)
    m, lines = n // r, x.size(0)
    parts = x.reshape(lines, m, r).transpose(1, 2).reshape(lines * r, m)
    parts = _transform(parts, forward).reshape(lines, r, m)
    j, k = iota(r, x.device).unsqueeze(1), iota(m, x.device)
    parts = parts * _turns(j * k, n, forward, x.dtype)
    across = _transform(parts.transpose(1, 2).reshape(lines * m, r), forward)
    return across.reshape(lines, m, r).transpose(1, 2).reshape(lines, n)


def _chirp(x, forward: bool):
    """A prime length as a convolution of length 2^k, by j k = (j^2 + k^2 - (j - k)^2) / 2
    (Bluestein, 1970)."""
    n = x.size(1)
    size = 1 << (2 * n - 2).bit_length()
    k = iota(n, x.device)
    chirp = _turns(k * k, 2 * n, forward, x.dtype)
    a = x.new_zeros([x.size(0), size])
    a[:, :n] = x * chirp
    b = x.new_zeros([1, size])
    b[0, :n] = chirp.conj_physical()
    b[0, size - n + 1 :] = chirp[1:].flip([0]).conj_physical()
    spectrum = _transform(a, True) * _transform(b, True)
    return _transform(spectrum, False)[:, :n] * (chirp / size)


def along(x, dim: int, scale: float, forward: bool):
    if not x.numel():
        return x.clone()
    moved = x.movedim(dim, -1)
    y = _transform(moved.reshape(-1, x.size(dim)), forward) * scale
    return y.reshape(moved.shape).movedim(-1, dim)


@computes("_fft_c2c")
def _(self, dim, scale, forward):
    x = self
    for i, d in enumerate(dim):
        x = along(x, d, 1.0 if i else scale, forward)
    return x.contiguous() if dim else x * scale


@computes("_fft_r2c")
def _(self, dim, scale, onesided):
    y = along(torch.complex(self, torch.zeros_like(self)), dim, scale, True)
    return (y.narrow(dim, 0, self.size(dim) // 2 + 1) if onesided else y).contiguous()


@computes("_fft_c2r")
def _(self, dim, scale, n):
    """The other half is the conjugate of the first, from its end."""
    half = self.narrow(dim, 0, n // 2 + 1)
    rest = half.narrow(dim, 1, (n - 1) // 2).flip([dim]).conj_physical()
    # The imaginary parts of the elements that stand for themselves don't count.
    return along(torch.cat([half, rest], dim), dim, scale, False).real.contiguous()
