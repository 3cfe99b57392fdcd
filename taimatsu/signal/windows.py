"""``signal.windows``: functions that fade a signal out towards its ends.

Each takes the number of elements `M`, and `sym`: whether the window is symmetric, for filters, or
periodic with the period `M`, for spectra. The result has M elements, the largest at most 1; M = 1
gives a one. ValueError for a negative `M`, a dtype other than float32 and float64, or a layout
other than strided.

    >>> taimatsu.signal.windows.hann(5)
    tensor([0.0000, 0.5000, 1.0000, 0.5000, 0.0000])
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import taimatsu as torch

from ..ops import signal as formulas

__all__ = [
    "bartlett", "blackman", "cosine", "exponential", "gaussian", "general_cosine",
    "general_hamming", "hamming", "hann", "kaiser", "nuttall",
]  # fmt: skip


def _window(
    name: str, M: int, formula: Callable[[], torch.Tensor], dtype: torch.dtype | None,
    layout: torch.layout, device: Any, requires_grad: bool,
) -> torch.Tensor:  # fmt: skip
    dtype = dtype or torch.get_default_dtype()
    if M < 0:
        raise ValueError(f"{name} requires non-negative window length, got M={M}")
    if layout != torch.strided:
        raise ValueError(f"{name} is implemented for strided tensors only, got: {layout}")
    if dtype not in (torch.float32, torch.float64):
        raise ValueError(f"{name} expects float32 or float64 dtypes, got: {dtype}")
    w = torch.ones(1) if M == 1 else formula()
    w = w.to(device=device, dtype=dtype)
    return w.requires_grad_() if requires_grad else w


def _positive(what: str, value: float) -> None:
    if value <= 0:
        raise ValueError(f"{what} must be positive, got: {value} instead.")


def exponential(
    M: int, *, center: float | None = None, tau: float = 1.0, sym: bool = True,
    dtype: torch.dtype | None = None, layout: torch.layout = torch.strided, device: Any = None,
    requires_grad: bool = False,
) -> torch.Tensor:  # fmt: skip
    """exp(-|k - center| / tau); the centre is the middle, and only periodic windows may have
    another. ValueError also unless `tau` is positive.

    >>> torch.signal.windows.exponential(3)
    tensor([0.3679, 1.0000, 0.3679])
    """
    _positive("Tau", tau)
    if sym and center is not None:
        raise ValueError(f"Center must be None for symmetric windows; got {center}")

    def formula() -> torch.Tensor:
        k, N = formulas.positions(M, sym)
        return (-(k - ((N - 1) / 2 if center is None else center)).abs() / tau).exp()

    return _window("exponential", M, formula, dtype, layout, device, requires_grad)


def cosine(
    M: int, *, sym: bool = True, dtype: torch.dtype | None = None,
    layout: torch.layout = torch.strided, device: Any = None, requires_grad: bool = False,
) -> torch.Tensor:  # fmt: skip
    """sin(pi (k + 1/2) / N).

    >>> torch.signal.windows.cosine(3)
    tensor([0.5000, 1.0000, 0.5000])
    """

    def formula() -> torch.Tensor:
        k, N = formulas.positions(M, sym)
        return (torch.pi / max(N, 1) * (k + 0.5)).sin()

    return _window("cosine", M, formula, dtype, layout, device, requires_grad)


def gaussian(
    M: int, *, std: float = 1.0, sym: bool = True, dtype: torch.dtype | None = None,
    layout: torch.layout = torch.strided, device: Any = None, requires_grad: bool = False,
) -> torch.Tensor:  # fmt: skip
    """exp(-((k - middle) / std)^2 / 2). ValueError also unless `std` is positive.

    >>> torch.signal.windows.gaussian(3)
    tensor([0.6065, 1.0000, 0.6065])
    """
    _positive("Standard deviation", std)

    def formula() -> torch.Tensor:
        k, N = formulas.positions(M, sym)
        t = (k - (N - 1) / 2) / std
        return (-0.5 * t * t).exp()

    return _window("gaussian", M, formula, dtype, layout, device, requires_grad)


def kaiser(
    M: int, *, beta: float = 12.0, sym: bool = True, dtype: torch.dtype | None = None,
    layout: torch.layout = torch.strided, device: Any = None, requires_grad: bool = False,
) -> torch.Tensor:  # fmt: skip
    """i0(beta sqrt(1 - t^2)) / i0(beta), t from -1 to 1. ValueError also for a negative `beta`.

    >>> torch.signal.windows.kaiser(3)
    tensor([5.2773e-05, 1.0000e+00, 5.2773e-05])
    """
    if beta < 0:
        raise ValueError(f"beta must be non-negative, got: {beta} instead.")
    return _window("kaiser", M, lambda: formulas.kaiser(M, sym, beta), dtype, layout, device,
                   requires_grad)  # fmt: skip


def bartlett(
    M: int, *, sym: bool = True, dtype: torch.dtype | None = None,
    layout: torch.layout = torch.strided, device: Any = None, requires_grad: bool = False,
) -> torch.Tensor:  # fmt: skip
    """A triangle with zeros at its ends.

    >>> torch.signal.windows.bartlett(5)
    tensor([0.0000, 0.5000, 1.0000, 0.5000, 0.0000])
    """
    return _window("bartlett", M, lambda: formulas.triangle(M, sym), dtype, layout, device,
                   requires_grad)  # fmt: skip


def general_cosine(
    M: int, *, a: Iterable[float], sym: bool = True, dtype: torch.dtype | None = None,
    layout: torch.layout = torch.strided, device: Any = None, requires_grad: bool = False,
) -> torch.Tensor:  # fmt: skip
    """sum over i of (-1)^i a[i] cos(2 pi i k / (N - 1)). TypeError or ValueError unless `a` is a
    sequence of at least one coefficient.

    >>> torch.signal.windows.general_cosine(3, a=[0.5, 0.5])
    tensor([0., 1., 0.])
    """
    if not isinstance(a, Iterable):
        raise TypeError(f"Coefficients must be a list/tuple; got {a!r}")
    coefficients = tuple(a)
    if not coefficients:
        raise ValueError("Coefficients cannot be empty")
    return _window("general_cosine", M, lambda: formulas.cosine_sum(M, sym, coefficients), dtype,
                   layout, device, requires_grad)  # fmt: skip


def general_hamming(
    M: int, *, alpha: float = 0.54, sym: bool = True, dtype: torch.dtype | None = None,
    layout: torch.layout = torch.strided, device: Any = None, requires_grad: bool = False,
) -> torch.Tensor:  # fmt: skip
    """alpha - (1 - alpha) cos(2 pi k / (N - 1)).

    >>> torch.signal.windows.general_hamming(3)
    tensor([0.0800, 1.0000, 0.0800])
    """
    return general_cosine(M, a=(alpha, 1 - alpha), sym=sym, dtype=dtype, layout=layout,
                          device=device, requires_grad=requires_grad)  # fmt: skip


def hamming(
    M: int, *, sym: bool = True, dtype: torch.dtype | None = None,
    layout: torch.layout = torch.strided, device: Any = None, requires_grad: bool = False,
) -> torch.Tensor:  # fmt: skip
    """`general_hamming` with alpha 0.54.

    >>> torch.signal.windows.hamming(3)
    tensor([0.0800, 1.0000, 0.0800])
    """
    return general_hamming(M, sym=sym, dtype=dtype, layout=layout, device=device,
                           requires_grad=requires_grad)  # fmt: skip


def hann(
    M: int, *, sym: bool = True, dtype: torch.dtype | None = None,
    layout: torch.layout = torch.strided, device: Any = None, requires_grad: bool = False,
) -> torch.Tensor:  # fmt: skip
    """`general_hamming` with alpha 0.5.

    >>> torch.signal.windows.hann(3)
    tensor([0., 1., 0.])
    """
    return general_hamming(M, alpha=0.5, sym=sym, dtype=dtype, layout=layout, device=device,
                           requires_grad=requires_grad)  # fmt: skip


def blackman(
    M: int, *, sym: bool = True, dtype: torch.dtype | None = None,
    layout: torch.layout = torch.strided, device: Any = None, requires_grad: bool = False,
) -> torch.Tensor:  # fmt: skip
    """`general_cosine` of the coefficients 0.42, 0.5 and 0.08.

    >>> torch.signal.windows.blackman(5)[1:4]
    tensor([0.3400, 1.0000, 0.3400])
    """
    return general_cosine(M, a=formulas.BLACKMAN, sym=sym, dtype=dtype, layout=layout,
                          device=device, requires_grad=requires_grad)  # fmt: skip


def nuttall(
    M: int, *, sym: bool = True, dtype: torch.dtype | None = None,
    layout: torch.layout = torch.strided, device: Any = None, requires_grad: bool = False,
) -> torch.Tensor:  # fmt: skip
    """`general_cosine` of four coefficients with the smallest side lobes.

    >>> torch.signal.windows.nuttall(3)[1]
    tensor(1.)
    """
    return general_cosine(M, a=(0.3635819, 0.4891775, 0.1365995, 0.0106411), sym=sym, dtype=dtype,
                          layout=layout, device=device, requires_grad=requires_grad)  # fmt: skip
