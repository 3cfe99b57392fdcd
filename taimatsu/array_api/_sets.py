"""Distinct values."""

from __future__ import annotations

import typing
from typing import Any

import taimatsu as torch
from taimatsu import Tensor

from ._promotion import as_one_dtype

__all__ = ["isin", "unique_all", "unique_counts", "unique_inverse", "unique_values"]


class UniqueAll(typing.NamedTuple):
    """What `unique_all` gives."""

    values: Tensor
    indices: Tensor
    inverse_indices: Tensor
    counts: Tensor


class UniqueCounts(typing.NamedTuple):
    """What `unique_counts` gives."""

    values: Tensor
    counts: Tensor


class UniqueInverse(typing.NamedTuple):
    """What `unique_inverse` gives."""

    values: Tensor
    inverse_indices: Tensor


def unique_all(x: Tensor, /) -> UniqueAll:
    """The distinct values, where each is first, which of them each element is, and how often."""
    values, inverse, counts = torch.unique(x, return_inverse=True, return_counts=True)
    first = torch.full_like(counts, x.numel())
    at = torch.arange(x.numel(), device=x.device)
    first = first.scatter_reduce(0, inverse.flatten(), at, "amin")
    return UniqueAll(values, first, inverse.reshape(x.shape), counts)


def unique_counts(x: Tensor, /) -> UniqueCounts:
    """The distinct values and how often each is there."""
    return UniqueCounts(*torch.unique(x, return_counts=True))


def unique_inverse(x: Tensor, /) -> UniqueInverse:
    """The distinct values, and which of them each element is."""
    values, inverse = torch.unique(x, return_inverse=True)
    return UniqueInverse(values, inverse.reshape(x.shape))


def isin(x1: Any, x2: Any, /, *, invert: bool = False) -> Tensor:
    """Whether each element of `x1` is among those of `x2`, or with `invert` is not."""
    return torch.isin(*as_one_dtype(x1, x2), invert=invert)


def unique_values(x: Tensor, /) -> Tensor:
    """The distinct values."""
    return torch.unique(x)
