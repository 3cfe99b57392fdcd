"""``fft``: discrete Fourier transforms, by the names of `taimatsu.ops.fft`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import Tensor
from .ops import namespaces

if TYPE_CHECKING:
    from ._fft import *  # noqa: F403  (a stub, made from the table)

globals().update(namespaces["fft"])

__all__ = ["Tensor", *namespaces["fft"]]
