"""`vmap`: a function of one example becomes one of a batch."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import taimatsu as torch
from taimatsu import Tensor
from taimatsu.utils._pytree import (
    TreeSpec,
    _broadcast_to_and_flatten,
    tree_flatten,
    tree_leaves,
    tree_map,
    tree_unflatten,
)

from ._batching import VMap, vmaps

__all__ = ["vmap"]

InDims = Any  # an int, or a tuple of trees that those of the arguments begin with: ints and None


def vmap(
    func: Callable[..., Any],
    in_dims: InDims = 0,
    out_dims: Any = 0,
    randomness: str = "error",
    *,
    chunk_size: int | None = None,
) -> Callable[..., Any]:
    """``func`` of one example as a function of a batch, computed for the whole batch at once.

    ``in_dims``: which dim of each positional argument the batch is, None where all examples share
    it. Keyword arguments are shared.
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
        flat_out_dims = tree_leaves(out_dims)
        if not all(d is None or isinstance(d, int) for d in flat_out_dims):
            raise ValueError(
                f"vmap({_get_name(func)}, ..., out_dims={out_dims}): `out_dims` must be an int, "
                "None or a tree of them"
            )
        size, dims, leaves, spec = _process_batched_inputs(in_dims, args, func)

        def run(leaves: Sequence[Any], size: int) -> Any:
            with VMap(size, randomness):
                level = len(vmaps())
                examples = _create_batched_inputs(dims, leaves, level, spec)
                outputs = func(*examples, **kwargs)
                return _unwrap_batched(outputs, out_dims, level, size, func)

        if chunk_size is None or size <= chunk_size:
            return run(leaves, size)
        ends = list(range(chunk_size, size, chunk_size))
        sizes = [stop - start for start, stop in pairwise([0, *ends, size])]
        columns = [
            [leaf] * len(sizes) if d is None else leaf.tensor_split(ends, d)
            for leaf, d in zip(leaves, dims, strict=True)
        ]
        chunks = map(run, zip(*columns, strict=True), sizes)
        parts, specs = zip(*map(tree_flatten, chunks), strict=True)
        where = _out_dims(out_dims, specs[0], func)
        whole = [
            column[0] if d is None else torch.cat(column, d)
            for *column, d in zip(*parts, where, strict=True)
        ]
        return tree_unflatten(whole, specs[0])

    return batched


# ---- the steps, by PyTorch's names --------------------------------------------------------------
# Libraries whose collections of tensors have a batch of their own put theirs in place of these.


def _get_name(func: Any) -> str:
    return getattr(func, "__name__", None) or repr(func)


def _process_batched_inputs(
    in_dims: Any, args: tuple, func: Callable
) -> tuple[int, list[int | None], list[Any], TreeSpec]:
    """How large the batch is, which dim of each leaf it is, the leaves, and their structure."""
    call = f"vmap({_get_name(func)}, in_dims={in_dims}, ...)(<inputs>)"
    if not isinstance(in_dims, (int, tuple)):
        raise ValueError(
            f"{call}: in_dims must be an int, or a tuple like the inputs; got a {type(in_dims)}"
        )
    if not args:
        raise ValueError(f"{call}: got no inputs; what is mapped over is a positional argument")
    leaves, spec = tree_flatten(args)
    dims = _broadcast_to_and_flatten(in_dims, spec)
    if dims is None:
        raise ValueError(
            f"{call}: in_dims is not compatible with the structure of the inputs, {spec}"
        )
    sizes = set()
    for i, (leaf, d) in enumerate(zip(leaves, dims, strict=True)):
        if d is None:
            continue
        if not isinstance(d, int):
            raise ValueError(f"{call}: got in_dim={d} for an input; it must be an int or None")
        if not isinstance(leaf, Tensor):
            raise ValueError(
                f"{call}: got in_dim={d} for an input, but the input is of type {type(leaf)}; "
                "only tensors have a batch, use None as the in_dim of others"
            )
        if not -leaf.dim() <= d < leaf.dim():
            raise ValueError(
                f"{call}: got in_dim={d} for an input of dimensionality {leaf.dim()}; expected "
                f"in_dim to satisfy -{leaf.dim()} <= in_dim < {leaf.dim()}"
            )
        dims[i] = d % leaf.dim()
        sizes.add(leaf.size(d))
    if not sizes:
        raise ValueError(f"{call}: at least one input must have a batch; got None for all")
    if len(sizes) > 1:
        raise ValueError(
            f"{call}: Expected all tensors to have the same size in the mapped dimension, got "
            f"sizes {sorted(sizes)}"
        )
    return sizes.pop(), dims, leaves, spec


def _create_batched_inputs(
    flat_in_dims: list[int | None], flat_args: Sequence[Any], vmap_level: int, args_spec: TreeSpec
) -> Any:
    """The arguments of the function: examples in the place of what has a batch."""
    return tree_unflatten(
        [
            leaf if d is None else _add_batch_dim(leaf, d, vmap_level)
            for leaf, d in zip(flat_args, flat_in_dims, strict=True)
        ],
        args_spec,
    )


def _unwrap_batched(
    batched_outputs: Any, out_dims: Any, vmap_level: int, batch_size: int, func: Callable
) -> Any:
    """What the function gave, as it is outside of the map."""
    outputs, spec = tree_flatten(batched_outputs)
    where = _out_dims(out_dims, spec, func)
    return tree_unflatten(
        [
            _maybe_remove_batch_dim(_get_name(func), y, vmap_level, batch_size, d)
            for y, d in zip(outputs, where, strict=True)
        ],
        spec,
    )


def _out_dims(out_dims: Any, spec: TreeSpec, func: Callable) -> list[int | None]:
    """One dim for each leaf of the outputs."""
    if spec.is_leaf() and isinstance(out_dims, tuple) and len(out_dims) == 1:
        out_dims = out_dims[0]
    where = _broadcast_to_and_flatten(out_dims, spec)
    if where is None:
        raise ValueError(
            f"vmap({_get_name(func)}, ..., out_dims={out_dims})(<inputs>): out_dims is not "
            f"compatible with the structure of the outputs, {spec}"
        )
    return where


def _add_batch_dim(tensor: Tensor, in_dim: int, level: int) -> Tensor:
    """What stands for one example of `tensor` in the map of this level; the outermost is 1."""
    return vmaps()[level - 1].wrap(tensor.movedim(in_dim, 0))


def _remove_batch_dim(tensor: Tensor, level: int, batch_size: int, out_dim: int) -> Tensor:
    """All examples of `tensor` in the map of this level, along `out_dim`."""
    return vmaps()[level - 1].batched(tensor).movedim(0, out_dim)


def _maybe_remove_batch_dim(
    name: str, batched_output: Any, vmap_level: int, batch_size: int, out_dim: int | None
) -> Any:
    """One result, as it is outside of the map."""
    if out_dim is None:
        if vmaps()[vmap_level - 1].owns(batched_output):
            raise ValueError(
                f"vmap({name}, ...): can't return a tensor that has a batch with out_dim=None; "
                "give an int"
            )
        return batched_output
    if not isinstance(batched_output, Tensor):
        raise ValueError(
            f"vmap({name}, ...): the function must only return tensors, got type "
            f"{type(batched_output)}; out_dims=None lets others through"
        )
    return _remove_batch_dim(batched_output, vmap_level, batch_size, out_dim)


def stack_trees(trees: list[Any]) -> Any:
    """Trees of one structure as one tree of stacked leaves."""
    return tree_map(lambda *leaves: torch.stack(leaves), trees[0], *trees[1:])
