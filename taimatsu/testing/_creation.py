"""`make_tensor`: random numbers of any dtype, within bounds."""

from __future__ import annotations

import math
from typing import Any

import taimatsu as torch
from taimatsu import Tensor

__all__ = ["make_tensor"]


def _bounds(dtype: Any, low: Any, high: Any) -> tuple[Any, Any]:
    """The range [low, high), within what the dtype holds."""
    default: Any
    lowest: Any
    highest: Any
    if dtype == torch.bool:
        default, lowest, highest = (0, 2), 0, 2
    elif not (dtype.is_floating_point or dtype.is_complex):
        info = torch.iinfo(dtype)
        default, lowest, highest = (0 if dtype == torch.uint8 else -9, 10), info.min, info.max
        default = (max(default[0], info.min), default[1])
    else:
        limit = torch.finfo(dtype).max
        default, lowest, highest = (-9, 9), -limit, limit
    low, high = (d if v is None else v for d, v in zip(default, (low, high), strict=True))
    if any(isinstance(v, float) and math.isnan(v) for v in (low, high)):
        raise ValueError(f"make_tensor: `low` and `high` cannot be NaN, but got {low=} and {high=}")
    if low == high and (dtype.is_floating_point or dtype.is_complex):
        pass
    elif low >= high:
        raise ValueError(f"make_tensor: `low` must be less than `high`, but got {low} >= {high}")
    if low > highest or high < lowest:
        raise ValueError(
            f"make_tensor: [{low}, {high}) lies outside of what {dtype} holds, "
            f"[{lowest}, {highest}]"
        )
    return max(low, lowest), min(high, highest)


def make_tensor(
    *shape: Any,
    dtype: Any,
    device: Any = None,
    low: float | None = None,
    high: float | None = None,
    requires_grad: bool = False,
    noncontiguous: bool = False,
    exclude_zero: bool = False,
    memory_format: Any = None,
) -> Tensor:
    """A tensor of numbers drawn uniformly from [low, high).

    By default [-9, 9) for floating and complex dtypes, integers from -9 to 9 (0 to 9 for uint8).
    ``noncontiguous``: with gaps in memory (not for tensors of fewer than two elements).
    ``exclude_zero``: zeros become the smallest positive number, or 1. ValueError for bounds that
    are none of the dtype, and for a memory format with ``noncontiguous``.

    >>> torch.testing.make_tensor((3,), dtype=torch.float32, low=0, high=1).shape
    torch.Size([3])
    """
    sizes = tuple(shape[0]) if len(shape) == 1 and not isinstance(shape[0], int) else shape
    if noncontiguous and memory_format is not None:
        raise ValueError(
            "make_tensor: the parameters `noncontiguous` and `memory_format` are mutually "
            f"exclusive, but got {noncontiguous=} and {memory_format=}"
        )
    if requires_grad and not (dtype.is_floating_point or dtype.is_complex):
        raise ValueError(
            f"make_tensor: `requires_grad=True` is not supported for integral dtypes; got {dtype}"
        )
    low, high = _bounds(dtype, low, high)
    gaps = noncontiguous and math.prod(sizes) >= 2
    drawn = (*sizes[:-1], 2 * sizes[-1]) if gaps else sizes
    if dtype == torch.bool or not (dtype.is_floating_point or dtype.is_complex):
        # int64 holds neither the largest uint64 nor one past the largest int64.
        top = min(math.ceil(high), 2**63 - 1)
        result = torch.randint(math.floor(low), max(top, math.floor(low) + 1), drawn, device=device)
        result = result.to(dtype)
    else:
        real = {torch.complex64: torch.float32, torch.complex128: torch.float64}.get(dtype)
        wide = real or (dtype if dtype in (torch.float32, torch.float64) else torch.float32)

        def uniform() -> Tensor:  # twice half the width, which can't overflow
            unit = torch.rand(drawn, dtype=wide, device=device)
            return low * (1 - unit) + high * unit

        result = torch.complex(uniform(), uniform()) if real else uniform().to(dtype)
    if gaps:
        result = result[..., ::2]
    if memory_format is not None:
        result = result.contiguous(memory_format=memory_format)
    if exclude_zero:
        inexact = dtype.is_floating_point or dtype.is_complex
        result[result == 0] = torch.finfo(dtype).tiny if inexact else 1
    return result.requires_grad_(requires_grad) if requires_grad else result
