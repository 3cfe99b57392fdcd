"""The standard's ``fft``: those of this library, with ``axis`` and ``axes``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import taimatsu as torch
from taimatsu import Tensor


def _of_axis(op: Callable) -> Callable:
    def function(
        x: Tensor, /, *, n: int | None = None, axis: int = -1, norm: str = "backward"
    ) -> Tensor:
        return op(x, n, axis, norm)

    return _named(function, op)


def _of_axes(op: Callable) -> Callable:
    def function(
        x: Tensor, /, *, s: Any = None, axes: Any = None, norm: str = "backward"
    ) -> Tensor:
        return op(x, s, axes, norm)

    return _named(function, op)


def _of_order(op: Callable) -> Callable:
    def function(x: Tensor, /, *, axes: Any = None) -> Tensor:
        return op(x, axes)

    return _named(function, op)


def _of_size(op: Callable) -> Callable:
    def function(
        n: int, /, *, d: float = 1.0, dtype: Any = None, device: Any = None
    ) -> Tensor:  # fmt: skip
        return op(n, d, dtype=dtype, device=device)

    return _named(function, op)


def _named(function: Callable, op: Callable) -> Callable:
    function.__name__ = function.__qualname__ = op.__name__
    function.__doc__ = op.__doc__
    return function


_WAYS = {
    _of_axis: ("fft", "ifft", "rfft", "irfft", "hfft", "ihfft"),
    _of_axes: ("fftn", "ifftn", "rfftn", "irfftn"),
    _of_order: ("fftshift", "ifftshift"),
    _of_size: ("fftfreq", "rfftfreq"),
}
__all__ = [name for names in _WAYS.values() for name in names]

for _way, _names in _WAYS.items():
    for _name in _names:
        globals()[_name] = _way(getattr(torch.fft, _name))
