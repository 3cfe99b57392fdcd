"""Helpers that libraries import from PyTorch's definitions of ops."""

from __future__ import annotations

from collections.abc import Sequence

import taimatsu as torch

__all__ = [
    "DeviceLikeType",
    "DimsSequenceType",
    "NumberType",
    "ShapeType",
    "TensorLike",
    "alert_not_deterministic",
]  # fmt: skip

DeviceLikeType = str | torch.device | int
NumberType = bool | int | float | complex
ShapeType = torch.Size | list[int] | tuple[int, ...]
DimsSequenceType = Sequence[int]
TensorLike = torch.Tensor


def alert_not_deterministic(caller: str) -> None:
    """Raises RuntimeError under `use_deterministic_algorithms`, for a function that isn't."""
    if torch.are_deterministic_algorithms_enabled():
        raise RuntimeError(
            f"{caller} does not have a deterministic implementation, but you set "
            "'torch.use_deterministic_algorithms(True)'."
        )
