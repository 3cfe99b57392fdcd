"""The standard's ``linalg``: of stacks of matrices in the last two axes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import taimatsu as torch
from taimatsu import Tensor
from taimatsu.linalg import (
    det,
    eigh,
    eigvalsh,
    inv,
    matrix_power,
    slogdet,
    svdvals,
)

from ._promotion import as_one_dtype
from ._reductions import sum as _sum

__all__ = [
    "cholesky", "cross", "det", "diagonal", "eig", "eigh", "eigvals", "eigvalsh", "inv", "matmul",
    "matrix_norm", "matrix_power", "matrix_rank", "matrix_transpose", "outer", "pinv", "qr",
    "slogdet", "solve", "svd", "svdvals", "tensordot", "trace", "vecdot", "vector_norm",
]  # fmt: skip

eig, eigvals = torch.linalg.eig, torch.linalg.eigvals


def matmul(x1: Tensor, x2: Tensor, /) -> Tensor:
    """Products of matrices."""
    return torch.matmul(*as_one_dtype(x1, x2))


def matrix_transpose(x: Tensor, /) -> Tensor:
    """Rows as columns."""
    return x.mT


def tensordot(
    x1: Tensor, x2: Tensor, /, *, axes: int | tuple[Sequence[int], Sequence[int]] = 2
) -> Tensor:
    """Sums of products over axes of both."""
    x1, x2 = as_one_dtype(x1, x2)
    return torch.tensordot(x1, x2, dims=axes)


def vecdot(x1: Tensor, x2: Tensor, /, *, axis: int = -1) -> Tensor:
    """Sums of products of two vectors, the first conjugated."""
    x1, x2 = torch.broadcast_tensors(*as_one_dtype(x1, x2))
    return torch.matmul(x1.movedim(axis, -1).conj()[..., None, :],
                        x2.movedim(axis, -1)[..., None])[..., 0, 0]  # fmt: skip


def outer(x1: Tensor, x2: Tensor, /) -> Tensor:
    """Every product of an element of one vector and one of the other."""
    return torch.outer(*as_one_dtype(x1, x2))


def cross(x1: Tensor, x2: Tensor, /, *, axis: int = -1) -> Tensor:
    """Cross products of vectors of three elements."""
    return torch.linalg.cross(*as_one_dtype(x1, x2), dim=axis)


def cholesky(x: Tensor, /, *, upper: bool = False) -> Tensor:
    """The triangular L of L Lᴴ, or with `upper` Lᴴ."""
    return torch.linalg.cholesky(x, upper=upper)


def diagonal(x: Tensor, /, *, offset: int = 0) -> Tensor:
    """The diagonals of matrices."""
    return torch.diagonal(x, offset, -2, -1)


def trace(x: Tensor, /, *, offset: int = 0, dtype: Any = None) -> Tensor:
    """The sums of diagonals."""
    return _sum(diagonal(x, offset=offset), axis=-1, dtype=dtype)


def qr(x: Tensor, /, *, mode: str = "reduced") -> Any:
    """Q and R."""
    return torch.linalg.qr(x, mode)


def svd(x: Tensor, /, *, full_matrices: bool = True) -> Any:
    """U, S and Vᴴ."""
    return torch.linalg.svd(x, full_matrices)


def solve(x1: Tensor, x2: Tensor, /) -> Tensor:
    """x of x1 x = x2, where `x2` is one vector or a stack of matrices."""
    x1, x2 = as_one_dtype(x1, x2)
    if x2.ndim == 1:
        return torch.linalg.solve(x1, x2[:, None])[..., 0]
    stack = torch.broadcast_shapes(x1.shape[:-2], x2.shape[:-2])
    return torch.linalg.solve(x1, x2.expand(*stack, *x2.shape[-2:]))


def pinv(x: Tensor, /, *, rtol: float | Tensor | None = None) -> Tensor:
    """Pseudo-inverses."""
    return torch.linalg.pinv(x, rtol=_tolerance(x) if rtol is None else rtol)


def matrix_rank(x: Tensor, /, *, rtol: float | Tensor | None = None) -> Tensor:
    """How many singular values are more than `rtol` times the greatest."""
    return torch.linalg.matrix_rank(x, rtol=_tolerance(x) if rtol is None else rtol)


def _tolerance(x: Tensor) -> float:
    return max(x.shape[-2:]) * torch.finfo(x.dtype).eps


def matrix_norm(x: Tensor, /, *, keepdims: bool = False, ord: Any = "fro") -> Tensor:
    """Norms of matrices."""
    return torch.linalg.matrix_norm(x, ord, keepdim=keepdims)


def vector_norm(
    x: Tensor, /, *, axis: int | tuple[int, ...] | None = None, keepdims: bool = False,
    ord: float = 2,
) -> Tensor:  # fmt: skip
    """Norms of all elements, or along axes."""
    if axis == ():
        return x.abs() if ord else (x != 0).to(x.abs().dtype)
    return torch.linalg.vector_norm(x, ord, axis, keepdims)
