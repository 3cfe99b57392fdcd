"""Values of all elements, or along axes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import taimatsu as torch
from taimatsu import Tensor

from ._promotion import KINDS, as_one_dtype

__all__ = [
    "all", "any", "argmax", "argmin", "argsort", "count_nonzero", "cumulative_prod",
    "cumulative_sum", "diff", "max", "mean", "min", "nonzero", "prod", "searchsorted", "sort",
    "std", "sum", "var",
]  # fmt: skip

Axes = int | tuple[int, ...] | None


def _along(op: Callable, x: Tensor, axis: Axes, keepdims: bool) -> Tensor:
    """`op` over some axes; over none each element is a row of its own."""
    if axis is None:
        axis = tuple(range(x.ndim))
    elif isinstance(axis, int):
        axis = (axis,)
    if not axis:
        return op(x.unsqueeze(-1), (-1,), False)
    return op(x, axis, keepdims)


def _sum_dtype(x: Tensor) -> Any:
    if x.dtype in KINDS["unsigned integer"]:
        return torch.uint64
    return torch.int64 if x.dtype in KINDS["signed integer"] else x.dtype


def sum(
    x: Tensor, /, *, axis: Axes = None, dtype: Any = None, keepdims: bool = False
) -> Tensor:
    """Sums; of integers in 64 bits."""
    dtype = dtype or _sum_dtype(x)
    return _along(lambda x, a, k: torch.sum(x, a, k, dtype=dtype), x, axis, keepdims)


def prod(
    x: Tensor, /, *, axis: Axes = None, dtype: Any = None, keepdims: bool = False
) -> Tensor:
    """Products; of integers in 64 bits."""
    dtype = dtype or _sum_dtype(x)

    def products(x: Tensor, axes: tuple[int, ...], keepdims: bool) -> Tensor:
        kept = sorted({*range(x.ndim)} - {a % x.ndim for a in axes})
        flat = x.permute(*kept, *axes).flatten(len(kept)) if len(axes) > 1 else x.movedim(axes, -1)
        made = torch.prod(flat, -1, dtype=dtype)
        for a in sorted(a % x.ndim for a in axes) if keepdims else ():
            made = made.unsqueeze(a)
        return made

    return _along(products, x, axis, keepdims) if x.ndim else torch.prod(x, dtype=dtype)


def max(x: Tensor, /, *, axis: Axes = None, keepdims: bool = False) -> Tensor:
    """The greatest elements."""
    return _along(torch.amax, x, axis, keepdims)


def min(x: Tensor, /, *, axis: Axes = None, keepdims: bool = False) -> Tensor:
    """The smallest elements."""
    return _along(torch.amin, x, axis, keepdims)


def mean(x: Tensor, /, *, axis: Axes = None, keepdims: bool = False) -> Tensor:
    """Means."""
    return _along(torch.mean, x, axis, keepdims)


def var(
    x: Tensor, /, *, axis: Axes = None, correction: float = 0.0, keepdims: bool = False
) -> Tensor:
    """Variances."""
    return _along(
        lambda x, a, k: torch.var(x, a, correction=correction, keepdim=k), x, axis, keepdims
    )


def std(
    x: Tensor, /, *, axis: Axes = None, correction: float = 0.0, keepdims: bool = False
) -> Tensor:
    """Standard deviations."""
    return _along(
        lambda x, a, k: torch.std(x, a, correction=correction, keepdim=k), x, axis, keepdims
    )


def all(x: Tensor, /, *, axis: Axes = None, keepdims: bool = False) -> Tensor:
    """Whether no element is zero."""
    return _along(torch.all, x, axis, keepdims).to(torch.bool)


def any(x: Tensor, /, *, axis: Axes = None, keepdims: bool = False) -> Tensor:
    """Whether some element is not zero."""
    return _along(torch.any, x, axis, keepdims).to(torch.bool)


def count_nonzero(x: Tensor, /, *, axis: Axes = None, keepdims: bool = False) -> Tensor:
    """How many elements are not zero."""
    return sum(x != 0, axis=axis, dtype=torch.int64, keepdims=keepdims)


def argmax(x: Tensor, /, *, axis: int | None = None, keepdims: bool = False) -> Tensor:
    """Where the greatest elements are, the first of equal ones."""
    return _position(torch.argmax, x, axis, keepdims)


def argmin(x: Tensor, /, *, axis: int | None = None, keepdims: bool = False) -> Tensor:
    """Where the smallest elements are, the first of equal ones."""
    return _position(torch.argmin, x, axis, keepdims)


def _position(op: Callable, x: Tensor, axis: int | None, keepdims: bool) -> Tensor:
    if axis is not None:
        return op(x, axis, keepdims)
    return op(x).reshape((1,) * x.ndim if keepdims else ())


def sort(x: Tensor, /, *, axis: int = -1, descending: bool = False, stable: bool = True) -> Tensor:
    """In order along an axis."""
    return torch.sort(x, dim=axis, descending=descending, stable=stable).values


def argsort(
    x: Tensor, /, *, axis: int = -1, descending: bool = False, stable: bool = True
) -> Tensor:
    """The positions of the elements in order along an axis."""
    return torch.argsort(x, dim=axis, descending=descending, stable=stable)


def searchsorted(
    x1: Tensor, x2: Tensor, /, *, side: str = "left", sorter: Tensor | None = None
) -> Tensor:
    """Where elements of `x2` go in, so that `x1` stays in order."""
    x1, x2 = as_one_dtype(x1, x2)
    return torch.searchsorted(x1, x2, side=side, sorter=sorter)


def nonzero(x: Tensor, /) -> tuple[Tensor, ...]:
    """The positions of elements that are not zero, a tensor for each axis.

    ValueError for an array without axes.
    """
    if x.ndim == 0:
        raise ValueError("nonzero: an array of 0 dims has no positions")
    return torch.unbind(torch.nonzero(x), 1)


def diff(
    x: Tensor, /, *, axis: int = -1, n: int = 1, prepend: Tensor | None = None,
    append: Tensor | None = None,
) -> Tensor:  # fmt: skip
    """Differences of neighbours, `n` times."""
    return torch.diff(x, n=n, dim=axis, prepend=prepend, append=append)


def _cumulative(
    op: Callable, first: int, x: Tensor, axis: int | None, dtype: Any, include_initial: bool
) -> Tensor:
    if axis is None:
        if x.ndim > 1:
            raise ValueError(f"{op.__name__}: an array of {x.ndim} dims needs an axis")
        axis = 0
    if x.ndim == 0:
        x = x.unsqueeze(0)
    made = op(x, axis, dtype=dtype or _sum_dtype(x))
    if include_initial:
        sizes = list(made.shape)
        sizes[axis] = 1
        start = torch.full(sizes, first, dtype=made.dtype, device=made.device)
        made = torch.concat([start, made], axis)
    return made


def cumulative_sum(
    x: Tensor, /, *, axis: int | None = None, dtype: Any = None, include_initial: bool = False
) -> Tensor:
    """Sums of the elements so far; with ``include_initial`` after a 0."""
    return _cumulative(torch.cumsum, 0, x, axis, dtype, include_initial)


def cumulative_prod(
    x: Tensor, /, *, axis: int | None = None, dtype: Any = None, include_initial: bool = False
) -> Tensor:
    """Products of the elements so far; with ``include_initial`` after a 1."""
    return _cumulative(torch.cumprod, 1, x, axis, dtype, include_initial)
