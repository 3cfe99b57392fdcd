"""Reductions and normalisations over the elements that a mask picks.

A masked-out element counts as the identity of the reduction; where all of a row are masked out, the
result is that identity (nan of `mean` and its kin).

>>> x = torch.tensor([[1., 2.], [3., 4.]])
>>> torch.masked.sum(x, 1, mask=torch.tensor([[True, False], [True, True]]))
tensor([1., 7.])
"""

from __future__ import annotations

import typing

import taimatsu as torch
from taimatsu import Tensor
from taimatsu._masked_tensor import (
    MaskedTensor,
    as_masked_tensor,
    is_masked_tensor,
    masked_tensor,
)
from taimatsu.ops.shape import wrap_dim

__all__ = [
    "MaskedTensor",
    "amax",
    "amin",
    "argmax",
    "argmin",
    "as_masked_tensor",
    "cumprod",
    "cumsum",
    "is_masked_tensor",
    "log_softmax",
    "logaddexp",
    "logsumexp",
    "masked_tensor",
    "mean",
    "median",
    "norm",
    "normalize",
    "prod",
    "softmax",
    "softmin",
    "std",
    "sum",
    "var",
]

Dim = int | tuple[int, ...] | list[int] | None


def _kept(input: Tensor, mask: Tensor | None) -> Tensor | None:
    """The mask, of the input's sizes. TypeError unless it is of bools."""
    if mask is None:
        return None
    if mask.dtype != torch.bool:
        raise TypeError(f"masked: expected a mask of dtype torch.bool; got {mask.dtype}")
    return mask.expand(input.shape)


def _filled(input: Tensor, mask: Tensor | None, value: float) -> Tensor:
    kept = _kept(input, mask)
    return input if kept is None else torch.where(kept, input, value)


def _ordered(dtype: typing.Any) -> None:
    if dtype == torch.bool or dtype.is_complex:
        raise NotImplementedError(f"masked: there is no least or greatest element of {dtype}")


def _least(dtype: typing.Any) -> float:
    _ordered(dtype)
    return -torch.inf if dtype.is_floating_point else torch.iinfo(dtype).min


def _greatest(dtype: typing.Any) -> float:
    _ordered(dtype)
    return torch.inf if dtype.is_floating_point else torch.iinfo(dtype).max


def _dims(input: Tensor, dim: Dim) -> list[int]:
    if dim is None or (isinstance(dim, (tuple, list)) and not dim):
        return list(range(input.dim()))
    listed = [dim] if isinstance(dim, int) else list(dim)
    return [wrap_dim(d, input.dim()) for d in listed]


def _typed(input: Tensor, dtype: typing.Any) -> Tensor:
    return input if dtype is None else input.to(dtype)


def sum(input: Tensor, dim: Dim = None, *, keepdim: bool = False, dtype: typing.Any = None,
        mask: Tensor | None = None) -> Tensor:  # fmt: skip
    """The sum of the elements where the mask holds."""
    return torch.sum(_filled(_typed(input, dtype), mask, 0), _dims(input, dim), keepdim=keepdim)


def prod(input: Tensor, dim: Dim = None, *, keepdim: bool = False, dtype: typing.Any = None,
         mask: Tensor | None = None) -> Tensor:  # fmt: skip
    """The product of the elements where the mask holds; of integers and bools as int64."""
    x = _typed(input, dtype)
    if dtype is None and not (x.is_floating_point() or x.is_complex()):
        x = x.to(torch.int64)
    result = _filled(x, mask, 1)
    for d in sorted(_dims(input, dim), reverse=True):
        result = torch.prod(result, d, keepdim=keepdim)
    return result


def amax(input: Tensor, dim: Dim = None, *, keepdim: bool = False, dtype: typing.Any = None,
         mask: Tensor | None = None) -> Tensor:  # fmt: skip
    """The largest element where the mask holds."""
    x = _typed(input, dtype)
    x = x if mask is None else _filled(x, mask, _least(x.dtype))
    return torch.amax(x, _dims(input, dim), keepdim=keepdim)


def amin(input: Tensor, dim: Dim = None, *, keepdim: bool = False, dtype: typing.Any = None,
         mask: Tensor | None = None) -> Tensor:  # fmt: skip
    """The smallest element where the mask holds."""
    x = _typed(input, dtype)
    x = x if mask is None else _filled(x, mask, _greatest(x.dtype))
    return torch.amin(x, _dims(input, dim), keepdim=keepdim)


def argmax(input: Tensor, dim: int | None = None, *, keepdim: bool = False,
           dtype: typing.Any = None, mask: Tensor | None = None) -> Tensor:  # fmt: skip
    """Where the largest element is, among those where the mask holds, in the input's dtype."""
    x = _typed(input, dtype)
    return torch.argmax(_filled(x, mask, _least(x.dtype)), dim, keepdim).to(x.dtype)


def argmin(input: Tensor, dim: int | None = None, *, keepdim: bool = False,
           dtype: typing.Any = None, mask: Tensor | None = None) -> Tensor:  # fmt: skip
    """Where the smallest element is, among those where the mask holds, in the input's dtype."""
    x = _typed(input, dtype)
    return torch.argmin(_filled(x, mask, _greatest(x.dtype)), dim, keepdim).to(x.dtype)


def _count(input: Tensor, dim: Dim, keepdim: bool, mask: Tensor | None) -> Tensor:
    kept = torch.ones(input.shape, dtype=torch.bool) if mask is None else _kept(input, mask)
    assert kept is not None
    return torch.sum(kept.to(input.device), _dims(input, dim), keepdim=keepdim)


def mean(input: Tensor, dim: Dim = None, *, keepdim: bool = False, dtype: typing.Any = None,
         mask: Tensor | None = None) -> Tensor:  # fmt: skip
    """The mean of the elements where the mask holds; nan where there are none.

    ValueError for integers and bools without a floating ``dtype``.
    """
    x = _typed(input, dtype)
    if not (x.is_floating_point() or x.is_complex()):
        raise ValueError("mean(): Could not infer output dtype. Input dtype must be either a "
                         f"floating point or complex dtype. Got: {x.dtype}")
    return sum(x, dim, keepdim=keepdim, mask=mask) / _count(x, dim, keepdim, mask).to(x.dtype)


def var(input: Tensor, dim: Dim = None, unbiased: bool | None = None, *,
        correction: float | None = None, keepdim: bool = False, dtype: typing.Any = None,
        mask: Tensor | None = None) -> Tensor:  # fmt: skip
    """The variance of the elements where the mask holds."""
    x = _typed(input, dtype)
    if not (x.is_floating_point() or x.is_complex()):
        x = x.to(torch.get_default_dtype())
    less = correction if correction is not None else float(unbiased is None or unbiased)
    centred = x - mean(x, dim, keepdim=True, mask=mask)
    square = (centred * centred.conj()).real if x.is_complex() else centred * centred
    count = _count(x, dim, keepdim, mask).to(square.dtype)
    found = sum(square, dim, keepdim=keepdim, mask=mask) / torch.clamp(count - less, min=0)
    return found.to(x.dtype)  # of complex numbers too


def std(input: Tensor, dim: Dim = None, unbiased: bool | None = None, *,
        correction: float | None = None, keepdim: bool = False, dtype: typing.Any = None,
        mask: Tensor | None = None) -> Tensor:  # fmt: skip
    """The standard deviation of the elements where the mask holds."""
    return var(input, dim, unbiased, correction=correction, keepdim=keepdim, dtype=dtype,
               mask=mask).sqrt()  # fmt: skip


def median(input: Tensor | MaskedTensor, dim: int = -1, *, keepdim: bool = False,
           dtype: typing.Any = None, mask: Tensor | None = None) -> Tensor:  # fmt: skip
    """The median of the elements where the mask holds; nan where there are none.

    ValueError for integers, which have no nan, with a mask.
    """
    if mask is None and isinstance(input, MaskedTensor):
        mask = input.get_mask()
        input = input.get_data()
    x = _typed(input, dtype)
    if mask is None or not x.dim():
        return _filled(x, mask, torch.nan) if not x.dim() else torch.median(x, dim, keepdim).values
    if not x.is_floating_point():
        raise ValueError(f"masked median expects no fully masked out rows of {x.dtype}")
    return torch.nanmedian(_filled(x, mask, torch.nan), dim, keepdim).values


def norm(input: Tensor, ord: float | None = 2.0, dim: Dim = None, *, keepdim: bool = False,
         dtype: typing.Any = None, mask: Tensor | None = None) -> Tensor:  # fmt: skip
    """The vector norm of the elements where the mask holds."""
    order = 2.0 if ord is None else float(ord)
    x = _filled(_typed(input, dtype), mask, torch.inf if order < 0 else 0)
    return torch.linalg.vector_norm(x, order, _dims(input, dim), keepdim)


def logsumexp(input: Tensor, dim: Dim = None, *, keepdim: bool = False, dtype: typing.Any = None,
              mask: Tensor | None = None) -> Tensor:  # fmt: skip
    """log(sum(exp)) of the elements where the mask holds, in the input's dtype."""
    x = _typed(input, dtype)
    found = torch.logsumexp(_filled(x, mask, -torch.inf), _dims(input, dim), keepdim)
    return found.to(x.dtype)


def logaddexp(input: Tensor, other: Tensor, *, dtype: typing.Any = None,
              input_mask: Tensor | None = None, other_mask: Tensor | None = None
              ) -> Tensor:  # fmt: skip
    """log(exp(input) + exp(other)), where what is masked out adds nothing."""
    return torch.logaddexp(
        _filled(_typed(input, dtype), input_mask, -torch.inf),
        _filled(_typed(other, dtype), other_mask, -torch.inf),
    )


def cumsum(input: Tensor, dim: int, *, dtype: typing.Any = None,
           mask: Tensor | None = None) -> Tensor:  # fmt: skip
    """The running sum, to which what is masked out adds nothing."""
    x = _typed(input, dtype)
    return torch.cumsum(_filled(x, mask, 0), dim, dtype=x.dtype)


def cumprod(input: Tensor, dim: int, *, dtype: typing.Any = None,
            mask: Tensor | None = None) -> Tensor:  # fmt: skip
    """The running product, which what is masked out leaves as it is."""
    x = _typed(input, dtype)
    return torch.cumprod(_filled(x, mask, 1), dim, dtype=x.dtype)


def softmax(input: Tensor, dim: int, *, dtype: typing.Any = None,
            mask: Tensor | None = None) -> Tensor:  # fmt: skip
    """The softmax of the elements where the mask holds; others are 0."""
    return torch.softmax(_filled(_typed(input, dtype), mask, -torch.inf), dim)


def log_softmax(input: Tensor, dim: int, *, dtype: typing.Any = None,
                mask: Tensor | None = None) -> Tensor:  # fmt: skip
    """The logarithm of `softmax`."""
    return torch.log_softmax(_filled(_typed(input, dtype), mask, -torch.inf), dim)


def softmin(input: Tensor, dim: int, *, dtype: typing.Any = None,
            mask: Tensor | None = None) -> Tensor:  # fmt: skip
    """`softmax` of the negative."""
    return softmax(-input, dim, dtype=dtype, mask=mask)


def normalize(input: Tensor, ord: float, dim: int, *, eps: float = 1e-12, dtype: typing.Any = None,
              mask: Tensor | None = None) -> Tensor:  # fmt: skip
    """The elements over their norm, which is at least ``eps``, where the mask holds; others 0."""
    x = _filled(_typed(input, dtype), mask, 0)
    return x / norm(x, ord, dim, keepdim=True, mask=mask).clamp(min=eps)
