"""``sparse``: tensors of which only some elements are kept. There are none yet.

Layouts (``torch.sparse_coo`` ...) are names to compare with; making a sparse tensor raises
NotImplementedError.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

import taimatsu as torch

__all__ = ["addmm", "check_sparse_tensor_invariants", "log_softmax", "mm", "softmax", "sum"]


class check_sparse_tensor_invariants(AbstractContextManager):
    """Whether making a sparse tensor checks its indices: kept for programs that set it."""

    _enabled = False

    def __init__(self, enable: bool = True):
        self._enable = enable

    @classmethod
    def is_enabled(cls) -> bool:
        """What was set."""
        return cls._enabled

    @classmethod
    def enable(cls) -> None:
        """Sets it."""
        check_sparse_tensor_invariants._enabled = True

    @classmethod
    def disable(cls) -> None:
        """Unsets it."""
        check_sparse_tensor_invariants._enabled = False

    def __enter__(self) -> None:
        self._before = self.is_enabled()
        check_sparse_tensor_invariants._enabled = self._enable

    def __exit__(self, *exc: object) -> None:
        check_sparse_tensor_invariants._enabled = self._before


def mm(mat1: torch.Tensor, mat2: torch.Tensor, reduce: str | None = None) -> torch.Tensor:
    """The product of two matrices."""
    return torch.mm(mat1, mat2)


def addmm(
    mat: torch.Tensor, mat1: torch.Tensor, mat2: torch.Tensor, *, beta: Any = 1.0, alpha: Any = 1.0
) -> torch.Tensor:
    """``beta * mat + alpha * (mat1 @ mat2)``."""
    return torch.addmm(mat, mat1, mat2, beta=beta, alpha=alpha)


def sum(input: torch.Tensor, dim: Any = None, dtype: Any = None) -> torch.Tensor:
    """The sum of all elements, or along dims."""
    if dim is None:
        return torch.sum(input, dtype=dtype)
    return torch.sum(input, dim, dtype=dtype)


def softmax(input: torch.Tensor, dim: int, *, dtype: Any = None) -> torch.Tensor:
    """`nn.functional.softmax`."""
    return torch.softmax(input, dim, dtype=dtype)


def log_softmax(input: torch.Tensor, dim: int, *, dtype: Any = None) -> torch.Tensor:
    """`nn.functional.log_softmax`."""
    return torch.log_softmax(input, dim, dtype=dtype)
