"""Products of 8-bit floats by cuBLASLt, on GPUs since sm_89."""

from __future__ import annotations

from typing import Any

import taimatsu as torch

from .._driver import core
from . import enter

_FORMATS = torch.float8_e4m3fn, torch.float8_e5m2  # those of GPUs; two e5m2 aren't multiplied
_ALIGNED = 16  # elements, which are bytes


def _by_rows(x: torch.Tensor) -> torch.Tensor:
    """Rows that start at multiples of 16 bytes, copied where they don't."""
    good = x.stride(1) == 1 and x.stride(0) % _ALIGNED == 0 and x.data_ptr() % _ALIGNED == 0
    return x if good else x.clone(memory_format=torch.contiguous_format)


def _takes(a: torch.Tensor, b: torch.Tensor, scale_a: torch.Tensor, scale_b: torch.Tensor) -> bool:
    formats = a.dtype in _FORMATS and b.dtype in _FORMATS and torch.float8_e4m3fn in (
        a.dtype, b.dtype)  # fmt: skip
    sizes = a.numel() and b.numel() and not (a.size(1) % _ALIGNED or b.size(1) % _ALIGNED)
    there = all(x.device == a.device for x in (b, scale_a, scale_b))
    return bool(formats and sizes and there) and (scale_a.numel() == 1) == (scale_b.numel() == 1)


def product(a: torch.Tensor, b: torch.Tensor, scale_a: torch.Tensor, scale_b: torch.Tensor,
            bias: torch.Tensor | None, dtype: Any, fast: bool) -> torch.Tensor | None:  # fmt: skip
    """``(a * scale_a) @ (b * scale_b) + bias``, in float32 where `dtype` isn't a 16-bit float; None
    where the library can't."""
    if not _takes(a, b, scale_a, scale_b):
        return None
    wide = dtype not in (torch.float16, torch.bfloat16)
    out = torch.empty([a.size(0), b.size(1)], dtype=torch.float32 if wide else dtype,
                      device=a.device)  # fmt: skip
    added = bias if bias is not None and bias.dtype == out.dtype and not wide else None
    enter(a)
    done = core().multiply_scaled(
        out, _by_rows(a), _by_rows(b.t()).t(), scale_a.contiguous(), scale_b.contiguous(),
        None if added is None else added.contiguous(), fast,
    )  # fmt: skip
    if not done:
        return None
    return out if bias is None or added is not None else out + bias
