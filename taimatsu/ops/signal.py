"""Windows, and the short-time Fourier transform with its inverse."""

from __future__ import annotations

import math
from collections.abc import Sequence

from taimatsu import _core

from .creation import TENSOR_OPTIONS, arange, ones
from .fft import _inexact, _resized, _scale, c2c, c2r, r2c
from .margins import pad as pad_margins
from .shape import view_as_real
from .special import i0
from .table import composite

# ---- windows: k is the position, N the length of the symmetric window ---------------------------
# A periodic window of n elements is a symmetric one of n + 1, without its last.


def positions(n: int, symmetric: bool):
    """(k, N) in double precision: 0 .. n - 1, and n or n + 1."""
    return arange(n, dtype=_core.float64), n if symmetric else n + 1


def cosine_sum(n: int, symmetric: bool, a: Sequence[float]):
    """sum over i of (-1)^i a[i] cos(2 pi i k / (N - 1))."""
    k, N = positions(n, symmetric)
    w = 0 * k + a[0]
    for i, c in enumerate(a[1:], 1):
        w = w + (-1) ** i * c * (2 * math.pi * i / max(N - 1, 1) * k).cos()
    return w


def triangle(n: int, symmetric: bool):
    k, N = positions(n, symmetric)
    return 1 - (2 / max(N - 1, 1) * k - 1).abs()


def kaiser(n: int, symmetric: bool, beta: float):
    k, N = positions(n, symmetric)
    t = 2 / max(N - 1, 1) * k - 1
    # Rounding may take t past 1 at the ends.
    return i0(beta * (1 - t * t).clamp(min=0).sqrt()) / i0(_core.tensor(beta, dtype=_core.float64))


BLACKMAN = (0.42, 0.5, 0.08)
_WINDOW = f"*, {TENSOR_OPTIONS}"


def _declare(name: str, params: str, make, doc: str) -> None:
    """`name`_window(n, periodic, ...): one element is 1, whatever the formula."""
    name = f"{name}_window"

    def window(window_length, periodic, *rest):
        *own, dtype, layout, device, _, requires_grad = rest
        dtype = dtype or _core.get_default_dtype()
        if layout not in (None, _core.strided):
            raise RuntimeError(f"{name} is not implemented for sparse types, got: {layout}")
        if not dtype.is_floating_point:
            raise RuntimeError(f"{name} expects floating point dtypes, got: {dtype}")
        if window_length < 0:
            raise RuntimeError(f"{name} requires non-negative window_length, got "
                               f"window_length={window_length}")
        w = ones([1]) if window_length == 1 else make(window_length, not periodic, *own)
        w = w.to(device=device, dtype=dtype)
        return w.requires_grad_() if requires_grad else w

    composite(f"{name}(int window_length, bool periodic=True, {params}{_WINDOW}) -> Tensor",
              doc=f"{doc}\n\n    `periodic`: for spectra, with the period `window_length`; else "
                  "symmetric, for filters.\n    RuntimeError for negative lengths and dtypes that "
                  "are not floating.", method=False)(window)


_declare("hann", "", lambda n, s: cosine_sum(n, s, (0.5, 0.5)),
         """The Hann window: (1 - cos(2 pi k / N)) / 2.

    >>> taimatsu.hann_window(4)
    tensor([0.0000, 0.5000, 1.0000, 0.5000])
""")
_declare("hamming", "float alpha=0.54, float beta=0.46, ",
         lambda n, s, alpha, beta: cosine_sum(n, s, (alpha, beta)),
         "The Hamming window: alpha - beta cos(2 pi k / N).")
_declare("blackman", "", lambda n, s: cosine_sum(n, s, BLACKMAN),
         "The Blackman window: 0.42 - 0.5 cos(2 pi k / N) + 0.08 cos(4 pi k / N).")
_declare("bartlett", "", triangle, "The Bartlett window: a triangle with zeros at its ends.")
_declare("kaiser", "float beta=12.0, ", kaiser,
         "The Kaiser window: i0(beta sqrt(1 - t^2)) / i0(beta), t from -1 to 1.")


# ---- short-time transforms ----------------------------------------------------------------------


def _require(name: str, holds: bool, rule: str) -> None:
    if not holds:
        raise RuntimeError(f"{name}: expected {rule}")


def _frame_sizes(name, n_fft, hop_length, win_length, window):
    hop = n_fft // 4 if hop_length is None else hop_length
    win = n_fft if win_length is None else win_length
    _require(name, 0 < win <= n_fft, f"0 < win_length <= n_fft, but got win_length={win} and "
             f"n_fft={n_fft}")
    _require(name, hop > 0, f"hop_length > 0, but got hop_length={hop}")
    if window is not None:
        _require(name, window.dim() == 1 and len(window) == win,
                 f"a 1D window tensor of size equal to win_length={win}, but got window with size "
                 f"{list(window.shape)}")
    return hop, win


def _centred(window, win, n_fft):
    """A window, or ones in its place, in the middle of zeros."""
    left = (n_fft - win) // 2
    return pad_margins(window, [left, n_fft - win - left]) if win < n_fft else window


@composite("stft(Tensor self, int n_fft, int? hop_length=None, int? win_length=None,"
           " Tensor? window=None, bool center=True, str pad_mode='reflect', bool normalized=False,"
           " bool? onesided=None, bool? return_complex=None, bool? align_to_window=None)"
           " -> Tensor")
def stft(self, n_fft, hop_length, win_length, window, center, pad_mode, normalized, onesided,
         return_complex, align_to_window):
    """The short-time Fourier transform: `fft` of windowed frames.

    self: (*, time), of one dim or two. Result: (*, frequencies, frames), complex, or with real and
    imaginary parts as another dim if not `return_complex`.

    n_fft        the length of a frame; hop_length   the step between them [n_fft // 4]
    win_length, window   what a frame is multiplied by, zeros on both sides [n_fft, ones]
    center       frame t is around t * hop_length, the signal padded by `pad_mode`
    normalized   divides by sqrt(n_fft)
    onesided     leaves out what the Hermitian symmetry implies [yes, of real signals]
    align_to_window   without `center`: frames begin where their windows do, not their zeros

    RuntimeError for sizes that don't fit, and for a real signal without `return_complex`.

    >>> taimatsu.stft(taimatsu.ones(16), 4, return_complex=True).shape
    torch.Size([3, 17])
    """
    real = not self.is_complex() and not (window is not None and window.is_complex())
    if return_complex is None:
        if real:
            raise RuntimeError("stft requires the return_complex parameter be given for real "
                               "inputs; set return_complex=True")
        return_complex = True
    if center and align_to_window is not None:
        raise RuntimeError("stft: align_to_window should only be set when center = false")
    _require("stft", self.is_floating_point() or self.is_complex(),
             f"a tensor of floating point or complex values; got {self.dtype}")
    _require("stft", self.dim() in (1, 2), f"a 1D or 2D tensor; got {self.dim()} dims")
    x = self if self.dim() == 2 else self.unsqueeze(0)
    if center:
        margin = [n_fft // 2, n_fft // 2]
        x = pad_margins(x.unsqueeze(0), margin, pad_mode).squeeze(0)
    time = x.shape[1]
    _require("stft", 0 < n_fft <= time, f"0 < n_fft <= {time}, but got n_fft={n_fft}")
    hop, win = _frame_sizes("stft", n_fft, hop_length, win_length, window)
    if onesided is None:
        onesided = real
    elif onesided and not real:
        raise RuntimeError("Cannot have onesided output if window or input is complex")
    if align_to_window and win < n_fft:
        left = (n_fft - win) // 2
        x = pad_margins(x, [left, n_fft - win - left])
    frames = x.unfold(1, n_fft, hop)
    if window is not None or win < n_fft:
        if window is None:
            window = ones([win], dtype=x.dtype, device=x.device)
        frames = frames * _centred(window, win, n_fft)
    scale = _scale("stft", "ortho" if normalized else None, n_fft, True)
    frames = _inexact("stft", frames, False)
    spectra = r2c(frames, 2, scale, onesided) if real else c2c(frames, (2,), scale, True)
    out = spectra.transpose(1, 2)
    out = out if self.dim() == 2 else out.squeeze(0)
    return out if return_complex else view_as_real(out)


def _overlapped(frames, at, length: int):
    """The sum of frames (*, frame, position), each at its place of a line."""
    lines = frames.flatten(-2)
    return lines.new_zeros(*lines.shape[:-1], length).index_add(-1, at, lines)


@composite("istft(Tensor self, int n_fft, int? hop_length=None, int? win_length=None,"
           " Tensor? window=None, bool center=True, bool normalized=False, bool? onesided=None,"
           " int? length=None, bool return_complex=False) -> Tensor")
def istft(self, n_fft, hop_length, win_length, window, center, normalized, onesided, length,
          return_complex):
    """The signal whose `stft` is nearest to `self`: frames summed, over the sum of squared windows.

    self: complex, (*, frequencies, frames) of two dims or three. The arguments are those of
    `stft`; `length`: of the result, trimmed or padded with zeros [what the frames reach].

    RuntimeError for a real input, sizes that don't fit, and windows that leave samples uncovered.
    """
    name = "istft"
    if not self.is_complex():
        raise RuntimeError(f"{name} requires a complex-valued input tensor matching the output "
                           f"from stft with return_complex=True; got {self.dtype}")
    _require(name, self.numel() > 0, "a tensor that is not empty")
    _require(name, self.dim() in (2, 3), f"a tensor with 2 or 3 dims; got {self.dim()}")
    hop, win = _frame_sizes(name, n_fft, hop_length, win_length, window)
    _require(name, hop <= win, f"0 < hop_length <= win_length; got {hop} and {win}")
    frequencies, count = self.shape[-2:]
    if onesided is None:
        onesided = frequencies != n_fft
    wanted = n_fft // 2 + 1 if onesided else n_fft
    _require(name, frequencies == wanted, f"the frequency dimension (the last but one) to match "
             f"n_fft={n_fft}, {'onesided: ' if onesided else ''}{wanted}; got {frequencies}")
    if window is not None and window.is_complex() and not return_complex:
        raise RuntimeError("Complex windows are incompatible with return_complex=False")
    if onesided and return_complex:
        raise RuntimeError("Cannot have onesided output if window or input is complex")
    spectra = self.transpose(-2, -1)
    scale = _scale(name, "ortho" if normalized else None, n_fft, False)
    along = spectra.dim() - 1
    if return_complex:
        frames = c2c(spectra, (along,), scale, False)
    else:
        frames = c2r(spectra.narrow(along, 0, n_fft // 2 + 1), along, scale, n_fft)
    if window is None:
        window = ones([win], dtype=frames.dtype, device=self.device)
    window = _centred(window, win, n_fft)
    reach = n_fft + hop * (count - 1)
    begins = hop * arange(count, device=self.device).unsqueeze(1)
    at = (begins + arange(n_fft, device=self.device)).flatten()
    y = _overlapped(frames * window, at, reach)
    cover = _overlapped((window * window).expand(count, n_fft), at, reach)
    start = n_fft // 2 if center else 0
    end = reach - start if length is None else start + length
    _require(name, end > start, f"frames or a length for at least one sample; got {count} frames "
             f"and length={length}")
    y, cover = y[..., start:end], cover[start:end]
    if not cover.is_meta and not bool((cover.abs() > 1e-11).all()):
        raise RuntimeError(f"{name}: window overlap add min: {cover.abs().min().item()}; the "
                           "windows must cover every sample")
    y = y / cover
    return y if length is None else _resized(y, [y.dim() - 1], [length])
