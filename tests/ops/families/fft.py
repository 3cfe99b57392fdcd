"""Fourier transforms, windows and short-time transforms: SciPy's."""

import numpy as np
import scipy.fft as sp
import scipy.signal

import taimatsu as torch

_ONE = ("fft", "ifft", "rfft", "irfft", "hfft", "ihfft")


def _stft(x, n_fft, hop_length=None, win_length=None, window=None, center=True,
          pad_mode="reflect", normalized=False, onesided=None, return_complex=None,
          align_to_window=None):
    """Frame by frame."""
    hop, win = hop_length or n_fft // 4, win_length or n_fft
    w = np.zeros(n_fft, float if window is None else window.dtype)
    left = (n_fft - win) // 2
    w[left : left + win] = 1 if window is None else window
    lines = x if x.ndim == 2 else x[None]
    if center:
        lines = np.pad(lines, [(0, 0), (n_fft // 2, n_fft // 2)], mode=pad_mode)
    if align_to_window:
        lines = np.pad(lines, [(0, 0), (left, n_fft - win - left)])
    real = not np.iscomplexobj(x) and not np.iscomplexobj(w)
    transform = np.fft.rfft if real and onesided in (None, True) else np.fft.fft
    out = np.stack([transform(lines[:, t : t + n_fft] * w, norm="ortho" if normalized else None)
                    for t in range(0, lines.shape[1] - n_fft + 1, hop)], -1)
    out = out if x.ndim == 2 else out[0]
    return np.stack([out.real, out.imag], -1) if return_complex is False else out


def _istft(x, n_fft, hop_length=None, win_length=None, window=None, center=True, normalized=False,
           onesided=None, length=None, return_complex=False):
    hop, win = hop_length or n_fft // 4, win_length or n_fft
    w = np.zeros(n_fft)
    left = (n_fft - win) // 2
    w[left : left + win] = 1 if window is None else window
    inverse = np.fft.ifft if return_complex else np.fft.irfft
    count = x.shape[-1]
    y, cover = 0, np.zeros(n_fft + hop * (count - 1))
    for t in range(count):
        place = np.zeros((*x.shape[:-2], len(cover)), complex if return_complex else float)
        frame = inverse(x[..., : n_fft if return_complex else n_fft // 2 + 1, t], n_fft,
                        norm="ortho" if normalized else None)
        place[..., t * hop : t * hop + n_fft] = frame * w
        y = y + place
        cover[t * hop : t * hop + n_fft] += w * w
    start = n_fft // 2 if center else 0
    end = len(cover) - start if length is None else start + length
    y = y[..., start:end] / cover[start:end]
    missing = 0 if length is None else length - y.shape[-1]
    return np.pad(y, [(0, 0)] * (y.ndim - 1) + [(0, missing)])


def _window(name):
    def window(n, periodic=True, *parameters, dtype=None):
        if n == 0:
            return np.zeros(0)
        given = {"kaiser": parameters or (12.0,)}.get(name, ())
        if name == "hamming" and parameters:
            return scipy.signal.windows.general_cosine(n, parameters, sym=not periodic)
        return scipy.signal.get_window((name, *given), n, fftbins=periodic)

    return window


ORACLES = {
    **{f"fft.{name}{suffix}": getattr(sp, name + suffix) for name in _ONE
       for suffix in ("", "2", "n")},
    "fft.fftfreq": lambda n, d=1.0, dtype=None: sp.fftfreq(n, d),
    "fft.rfftfreq": lambda n, d=1.0, dtype=None: sp.rfftfreq(n, d),
    "fft.fftshift": lambda x, dim=None: sp.fftshift(x, dim),
    "fft.ifftshift": lambda x, dim=None: sp.ifftshift(x, dim),
    "stft": _stft,
    "istft": _istft,
    **{f"{name}_window": _window(name) for name in
       ("hann", "hamming", "blackman", "bartlett", "kaiser")},
}  # fmt: skip


def _lines(t):
    return [(t(3, 8),), (t(3, 7),), (t(6, 4), None, 0), (t(3, 4), 6), (t(3, 6), 4, 1, "ortho"),
            (t(3, 5), 3, -1, "forward"), (t(2, 5), 5, -1, "backward")]  # fmt: skip


def _planes(t):
    return [(t(2, 3, 4),), (t(2, 4, 3), (2, 5)), (t(2, 4, 3), (3, 2), (0, 1), "ortho"),
            (t(2, 5), None, (1, 0), "forward")]  # fmt: skip


def _all_dims(t):
    return [(t(2, 3, 4),), (t(2, 3, 4), (2, 5)), (t(2, 3, 4), (3, 4, 2), (2, 0, 1), "ortho"),
            (t(5), None, None, "forward"), (t(2, 3, 5), (6,), (1,))]  # fmt: skip


def _signals(t):
    w = t(8, low=0.5, high=1)
    return [(t(20), 8, {"return_complex": True}),
            (t(2, 20), 8, 3, 8, w, {"normalized": True, "return_complex": True}),
            (t(2, 20), 8, 2, 6, w[:6], False, {"onesided": False, "return_complex": True}),
            (t(20), 8, 3, 5, w[:5], False, {"return_complex": False, "align_to_window": True}),
            (t(2, 20), 7, {"pad_mode": "constant", "return_complex": True})]  # fmt: skip


def _spectra(t):
    kind = torch.complex128 if t.dtype in (torch.float64, torch.complex128) else torch.complex64
    w = t(8, low=0.5, high=1)
    w = w.real if w.is_complex() else w
    return [(t(5, 6, dtype=kind), 8), (t(2, 5, 4, dtype=kind), 8, 3, 8, w, {"normalized": True}),
            (t(5, 6, dtype=kind), 8, 2, 8, w, {"length": 14}),
            (t(5, 4, dtype=kind), 8, 2, 8, w, {"center": False}),
            (t(8, 6, dtype=kind), 8, {"onesided": False, "return_complex": True})]  # fmt: skip


def _lengths(t):
    return [(6,), (7, False), (1,), (0,)]


HINTS = {
    **{f"fft.{name}": _lines for name in _ONE},
    **{f"fft.{name}2": _planes for name in _ONE},
    **{f"fft.{name}n": _all_dims for name in _ONE},
    **dict.fromkeys(("fft.fftfreq", "fft.rfftfreq"),
                    lambda t: [(6, {"dtype": t.dtype}), (7, 0.5, {"dtype": t.dtype})]),
    **dict.fromkeys(("fft.fftshift", "fft.ifftshift"),
                    lambda t: [(t(3, 4),), (t(3, 4), 0), (t(5), (0,))]),
    "stft": _signals,
    "istft": _spectra,
    **{f"{name}_window": lambda t: [(*a, {"dtype": t.dtype}) for a in _lengths(t)] for name in
       ("hann", "blackman", "bartlett")},
    "hamming_window": lambda t: [(*a, {"dtype": t.dtype}) for a in
                                 (*_lengths(t), (6, True, 0.5, 0.4))],
    "kaiser_window": lambda t: [(*a, {"dtype": t.dtype}) for a in (*_lengths(t), (6, False, 4.0))],
}  # fmt: skip
