"""`vmap`: a function of one example becomes one of a batch."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import taimatsu as torch
from taimatsu import Tensor
from taimatsu.utils._pytree import tree_flatten, tree_map, tree_unflatten

from ._batching import VMap

__all__ = ["vmap"]

InDims = Any  # an int, None, or a tree of them that the arguments' tree begins with


def vmap(
    func: Callable[..., Any],
    in_dims: InDims = 0,
    out_dims: Any = 0,
    randomness: str = "error",
    *,
    chunk_size: int | None = None,
) -> Callable[..., Any]:
    """``func`` of one example as a function of a batch, computed for the whole batch at once.

    ``in_dims``: which dim of each argument the batch is, None where all examples share it.
    ``out_dims``: where it shall be in the results. ``randomness``: "error", or numbers that are
    "same" or "different" for the examples. ``chunk_size``: compute that many examples at a time.

    ValueError if no argument has a batch, or batches of several sizes.

    >>> dot = torch.func.vmap(torch.dot)
    >>> dot(torch.ones(2, 3), torch.arange(6.).reshape(2, 3))
    tensor([ 3., 12.])
    """
    if randomness not in ("error", "same", "different"):
        raise RuntimeError(
            "vmap: only the randomness modes 'error', 'different' and 'same' are there; got "
            f"{randomness!r}"
        )
    if chunk_size is not None and chunk_size < 1:
        raise ValueError(f"vmap: chunk_size should be None or greater than 0. (got {chunk_size})")

    @functools.wraps(func)
    def batched(*args: Any, **kwargs: Any) -> Any:
        leaves, spec = tree_flatten(args)
        dims = _spread(in_dims, args, "in_dims")
        named, named_spec = tree_flatten(kwargs)
        leaves += named
        dims += [0 if isinstance(leaf, Tensor) else None for leaf in named]
        size = _batch_size(leaves, dims, func)
        fronts = [
            leaf if d is None else leaf.movedim(d, 0) for leaf, d in zip(leaves, dims, strict=True)
        ]

        def run(start: int, count: int) -> tuple[list, Any]:
            vm = VMap(count, randomness)
            with vm:
                examples = [
                    leaf if d is None
                    else vm.wrap(leaf if count == size else leaf.narrow(0, start, count))
                    for leaf, d in zip(fronts, dims, strict=True)
                ]  # fmt: skip
                positional = tree_unflatten(examples[: spec.num_leaves], spec)
                keywords = tree_unflatten(examples[spec.num_leaves :], named_spec)
                outputs, out_spec = tree_flatten(func(*positional, **keywords))
            where = _spread(out_dims, tree_unflatten(outputs, out_spec), "out_dims")
            left = [_leave(vm, y, d) for y, d in zip(outputs, where, strict=True)]
            return left, (out_spec, where)

        step = size if chunk_size is None else min(chunk_size, size)
        parts: list[list] = []
        out_spec: Any = None
        where: list = []
        for start in range(0, size, max(step, 1)) if size else [0]:
            outputs, (out_spec, where) = run(start, min(step, size - start))
            parts.append(outputs)
        whole = parts[0] if len(parts) == 1 else [
            column[0] if d is None else torch.cat(column, d)
            for column, d in zip(zip(*parts, strict=True), where, strict=True)
        ]  # fmt: skip
        return tree_unflatten(whole, out_spec)

    return batched


def _spread(dims: Any, tree: Any, what: str) -> list[int | None]:
    """One dim for each leaf, from a tree of dims that the tree begins with."""
    spread: list[int | None] = []

    def visit(dim: Any, part: Any) -> None:
        if dim is None or (isinstance(dim, int) and not isinstance(dim, bool)):
            spread.extend([dim] * tree_flatten(part)[1].num_leaves)
            return
        if isinstance(dim, dict) and isinstance(part, dict) and dim.keys() == part.keys():
            for key in part:
                visit(dim[key], part[key])
            return
        fits = isinstance(dim, (tuple, list)) and isinstance(part, (tuple, list))
        if what == "out_dims" and isinstance(dim, (tuple, list)) and len(dim) == 1 and not fits:
            return visit(dim[0], part)
        if not fits or len(dim) != len(part):
            raise ValueError(
                f"vmap: {what} is not compatible with the structure of what it is for: "
                f"{what} has {dim!r} where that has a {type(part).__name__}"
            )
        for d, p in zip(dim, part, strict=True):
            visit(d, p)

    visit(dims, tree)
    return spread


def _batch_size(leaves: list, dims: list[int | None], func: Callable) -> int:
    sizes = set()
    for i, (leaf, d) in enumerate(zip(leaves, dims, strict=True)):
        if d is None:
            continue
        if not isinstance(leaf, Tensor):
            raise ValueError(
                f"vmap: got in_dim={d} for an input, but the input is of type {type(leaf)}; only "
                "tensors have a batch, use None as the in_dim of others"
            )
        if not -leaf.dim() <= d < leaf.dim():
            raise ValueError(
                f"vmap: got in_dim={d} for an input of dimensionality {leaf.dim()}; expected "
                f"in_dim to satisfy -{leaf.dim()} <= in_dim < {leaf.dim()}"
            )
        dims[i] = d % leaf.dim()
        sizes.add(leaf.size(d))
    if not sizes:
        raise ValueError(
            f"vmap({getattr(func, '__name__', func)}): at least one argument must have a batch; "
            "got none with an in_dim"
        )
    if len(sizes) > 1:
        raise ValueError(
            f"vmap: Expected all tensors to have the same size in the mapped dimension, got sizes "
            f"{sorted(sizes)} for the mapped dimension"
        )
    return sizes.pop()


def _leave(vm: VMap, y: Any, dim: int | None) -> Any:
    """A result, as it is outside of the map."""
    if not isinstance(y, Tensor):
        raise ValueError(f"vmap: the function must only return tensors, got type {type(y)}")
    if dim is None:
        if vm.owns(y):
            raise ValueError(
                "vmap: can't return a tensor that has a batch with out_dim=None; give an int"
            )
        return y
    if not -y.dim() - 1 <= dim <= y.dim():
        raise IndexError(f"vmap: out_dim {dim} is not a dim of a result of {y.dim() + 1} dims")
    return vm.batched(y).movedim(0, dim)


def stack_trees(trees: list[Any]) -> Any:
    """Trees of one structure as one tree of stacked leaves."""
    return tree_map(lambda *leaves: torch.stack(leaves), trees[0], *trees[1:])
