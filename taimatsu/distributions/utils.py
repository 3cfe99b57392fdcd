"""What the distributions share: broadcasting of parameters, probabilities and logits, triangles."""

from __future__ import annotations

import functools
import math
import numbers
from collections.abc import Callable
from typing import Any

import taimatsu as torch
from taimatsu import Tensor

__all__ = [
    "broadcast_all",
    "clamp_probs",
    "lazy_property",
    "logits_to_probs",
    "probs_to_logits",
    "tril_matrix_to_vec",
    "vec_to_tril_matrix",
]

euler_constant = 0.57721566490153286060


def broadcast_all(*values: Any) -> tuple[Tensor, ...]:
    """Tensors and numbers as tensors of one shape; numbers get the dtype of the first tensor.

    ValueError for anything else.
    """
    if not all(isinstance(v, (Tensor, numbers.Number)) for v in values):
        raise ValueError(
            "broadcast_all: all arguments must be tensors or numbers; got "
            + ", ".join(type(v).__name__ for v in values)
        )
    like = next((v for v in values if isinstance(v, Tensor)), None)
    dtype = torch.get_default_dtype() if like is None else like.dtype
    device = None if like is None else like.device
    return tuple(
        torch.broadcast_tensors(
            *(
                v if isinstance(v, Tensor) else torch.tensor(v, dtype=dtype, device=device)
                for v in values
            )
        )
    )


def all_numbers(*values: Any) -> bool:
    """Whether no parameter is a tensor, so that the batch shape is ()."""
    return all(isinstance(v, numbers.Number) for v in values)


def standard_normal(shape: Any, dtype: Any, device: Any) -> Tensor:
    """Independent numbers of N(0, 1)."""
    return torch.empty(shape, dtype=dtype, device=device).normal_()


def sum_rightmost(value: Tensor, dims: int) -> Tensor:
    """The sum over the last `dims` dimensions."""
    return value if dims == 0 else value.reshape(*value.shape[: value.dim() - dims], -1).sum(-1)


def logits_to_probs(logits: Tensor, is_binary: bool = False) -> Tensor:
    """Probabilities of logits: one by one (log odds), or normalised along the last dim."""
    return torch.sigmoid(logits) if is_binary else torch.softmax(logits, -1)


def clamp_probs(probs: Tensor) -> Tensor:
    """Probabilities away from 0 and 1 by the dtype's epsilon."""
    eps = torch.finfo(probs.dtype).eps
    return probs.clamp(min=eps, max=1 - eps)


def probs_to_logits(probs: Tensor, is_binary: bool = False) -> Tensor:
    """Logits of probabilities: log odds, or logarithms; finite ones also for 0 and 1."""
    clamped = clamp_probs(probs)
    return torch.log(clamped) - torch.log1p(-clamped) if is_binary else torch.log(clamped)


def multivariate_digamma(x: Tensor, p: int) -> Tensor:
    """The derivative of `mvlgamma`."""
    halves_below = x.unsqueeze(-1) - torch.arange(p, dtype=x.dtype, device=x.device) / 2
    return torch.digamma(halves_below).sum(-1)


class lazy_property:
    """An attribute computed when it is first read, and kept in the instance from then on."""

    def __init__(self, compute: Callable[[Any], Any]):
        self.compute = compute
        functools.update_wrapper(self, compute)

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        if instance is None:
            return _ClassLazyProperty(self.compute)
        with torch.enable_grad():
            value = self.compute(instance)
        setattr(instance, self.compute.__name__, value)
        return value


class _ClassLazyProperty(lazy_property, property):
    """What a lazy property is on its class: a property, so that documentation tools list it."""

    def __init__(self, compute: Callable[[Any], Any]):
        property.__init__(self, compute)


def tril_matrix_to_vec(mat: Tensor, diag: int = 0) -> Tensor:
    """The lower triangle up to diagonal `diag` of (*, n, n), row by row, as (*, m)."""
    n = mat.shape[-1]
    if not -n < diag < n:
        raise ValueError(f"diag ({diag}) provided is outside [{-n}, {n - 1}]")
    rows, columns = torch.tril_indices(n, n, diag, device=mat.device)
    return mat[..., rows, columns]


def vec_to_tril_matrix(vec: Tensor, diag: int = 0) -> Tensor:
    """The inverse of `tril_matrix_to_vec`, zeros above the diagonal."""
    # Rows of n up to diagonal d hold m entries, where n^2 + (2 d + 1) n = 2 m + |d| (d + 1).
    length, b = vec.shape[-1], 2 * diag + 1
    n = (math.sqrt(b * b + 8 * length + 4 * abs(diag) * (diag + 1)) - b) / 2
    if not round(n) - n < torch.finfo(vec.dtype).eps:
        raise ValueError(
            f"The size of last dimension is {length} which cannot be expressed as "
            f"the lower triangular part of a square D x D matrix."
        )
    size = round(n)
    mat = vec.new_zeros(*vec.shape[:-1], size, size)
    rows, columns = torch.tril_indices(size, size, diag, device=vec.device)
    mat[..., rows, columns] = vec
    return mat


# PyTorch's names, which libraries of distributions import.
_standard_normal, _sum_rightmost = standard_normal, sum_rightmost
