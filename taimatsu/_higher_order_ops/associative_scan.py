"""`associative_scan`: all prefixes of a sequence, combined."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import taimatsu as torch
from taimatsu.utils._pytree import tree_flatten, tree_unflatten

__all__ = ["associative_scan"]


def associative_scan(
    combine_fn: Callable[[Any, Any], Any], xs: Any, dim: int, reverse: bool = False,
    combine_mode: str = "pointwise",
) -> Any:  # fmt: skip
    """For each position along ``dim``, what ``combine_fn`` makes of all up to it.

    ``combine_fn(a, b)`` is associative, on trees like ``xs`` of slices. Work is linear, in
    logarithmically many calls. ValueError for tensors of different sizes along ``dim``.

    >>> associative_scan(lambda a, b: a + b, torch.tensor([1, 2, 3]), 0)
    tensor([1, 3, 6])
    """
    leaves, spec = tree_flatten(xs)
    if len({x.shape[dim] for x in leaves}) != 1:
        raise ValueError(
            "associative_scan: all tensors need the same size along dim; got "
            f"{[tuple(x.shape) for x in leaves]}"
        )

    def combine(a: list, b: list) -> list:
        combined = combine_fn(tree_unflatten(a, spec), tree_unflatten(b, spec))
        return tree_flatten(combined)[0]

    def part(x: Any, start: int, stop: int | None, step: int) -> Any:
        return x.movedim(dim, 0)[start:stop:step].movedim(0, dim)

    def scan(xs: list) -> list:
        n = xs[0].shape[dim]
        if n < 2:
            return xs
        pairs = combine(
            [part(x, 0, n - 1, 2) for x in xs], [part(x, 1, None, 2) for x in xs]
        )  # fmt: skip
        odd = scan(pairs)  # the prefixes at 1, 3, 5 ...
        before = [part(x, 0, (n - 1) // 2, 1) for x in odd]
        rest = [part(x, 2, None, 2) for x in xs]
        even = combine(before, rest) if rest[0].shape[dim] else rest
        even = [torch.cat([part(x, 0, 1, 1), e], dim) for x, e in zip(xs, even, strict=True)]
        return [_interleave(e, o, dim) for e, o in zip(even, odd, strict=True)]

    if reverse:
        leaves = [x.flip(dim) for x in leaves]
    scanned = scan(leaves)
    if reverse:
        scanned = [x.flip(dim) for x in scanned]
    return tree_unflatten(scanned, spec)


def _interleave(even: Any, odd: Any, dim: int) -> Any:
    """even[0], odd[0], even[1], ..."""
    n = odd.shape[dim]
    head = torch.stack([even.narrow(dim, 0, n), odd], dim + 1 if dim >= 0 else dim)
    head = head.flatten(dim, dim + 1) if dim >= 0 else head.flatten(dim - 1, dim)
    return torch.cat([head, even.narrow(dim, n, even.shape[dim] - n)], dim)
