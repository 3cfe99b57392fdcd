"""Branches and loops as functions: Python's own, as Python runs on every call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import taimatsu as torch
from taimatsu._C._functorch import is_batchedtensor
from taimatsu.utils._pytree import tree_flatten, tree_map, tree_unflatten

__all__ = ["cond", "map", "scan", "while_loop"]


def cond(
    pred: Any, true_fn: Callable[..., Any], false_fn: Callable[..., Any], operands: Any = ()
) -> Any:
    """``true_fn(*operands)`` if ``pred``, else ``false_fn(*operands)``.

    ``pred``: a bool, or a tensor of one element. Under `vmap`, where it may differ from example to
    example, both functions run and each example has its result; they give trees of tensors then.
    RuntimeError for another ``pred`` or ``operands`` that aren't a tuple or list.

    >>> torch.cond(torch.tensor(2) > 1, lambda x: x + 1, lambda x: x - 1, (torch.ones(2),))
    tensor([2., 2.])
    """
    if not callable(true_fn) or not callable(false_fn):
        raise RuntimeError(f"cond: needs two functions; got {true_fn} and {false_fn}")
    if not isinstance(operands, (tuple, list)):
        raise RuntimeError(f"cond: operands must be a tuple or list; got {type(operands)}")
    tensor = isinstance(pred, torch.Tensor)
    if not isinstance(pred, (bool, int)) and not (tensor and pred.numel() == 1):
        raise RuntimeError(f"cond: pred must be a bool or a tensor of one element; got {pred}")
    if is_batchedtensor(pred):
        either = true_fn(*operands), false_fn(*operands)
        return tree_map(lambda yes, no: torch.where(pred, yes, no), *either)
    return true_fn(*operands) if pred else false_fn(*operands)


def map(f: Callable[..., Any], xs: Any, *args: Any) -> Any:
    """``f(x, *args)`` of each x along the first dim of ``xs``, a tensor or a tree of them, stacked.

    >>> torch._higher_order_ops.map(lambda x, y: x * y, torch.tensor([1, 2, 3]), 2)
    tensor([2, 4, 6])
    """
    return scan(lambda carry, x: (carry, f(x, *args)), (), xs)[1]


def while_loop(
    cond_fn: Callable[..., Any], body_fn: Callable[..., Any], carried_inputs: Any
) -> Any:
    """``carried = body_fn(*carried)`` as long as ``cond_fn(*carried)``; what was carried last.

    RuntimeError for inputs that aren't a tuple or list, and for a body that gives back another
    structure, other sizes, dtypes or devices.

    >>> torch.while_loop(lambda i, x: i < 3, lambda i, x: (i + 1, x * 2), (0, torch.ones(2)))
    (3, tensor([8., 8.]))
    """
    if not callable(cond_fn) or not callable(body_fn):
        raise RuntimeError(f"while_loop: needs two functions; got {cond_fn} and {body_fn}")
    if not isinstance(carried_inputs, (tuple, list)):
        raise RuntimeError(
            f"while_loop: carried_inputs must be a tuple or list; got {type(carried_inputs)}"
        )
    carried = carried_inputs
    while cond_fn(*carried):
        after = body_fn(*carried)
        if isinstance(after, torch.Tensor):
            after = (after,)
        _check_same("while_loop", "body_fn", list(carried_inputs), list(after))
        carried = after
    return carried if len(carried) != 1 or isinstance(carried[0], dict) else carried[0]


def scan(
    combine_fn: Callable[[Any, Any], tuple[Any, Any]],
    init: Any,
    xs: Any,
    *,
    dim: int = 0,
    reverse: bool = False,
) -> tuple[Any, Any]:
    """``carry, y = combine_fn(carry, x)`` for each slice x of ``xs`` along ``dim``, from ``init``.

    The last carry, and the ys, stacked along ``dim``. ``reverse``: from the last slice to the
    first. ``init``, ``xs`` and the ys are tensors or trees of them. RuntimeError for trees without
    a slice, of different sizes along ``dim``, and where the carry changes its sizes or dtypes.

    >>> add = lambda total, x: (total + x, total + x)
    >>> scan(add, torch.tensor(0), torch.tensor([1, 2, 3]))
    (tensor(6), tensor([1, 3, 6]))
    """
    leaves, spec = tree_flatten(xs)
    if not callable(combine_fn):
        raise RuntimeError(f"scan: combine_fn must be callable; got {combine_fn}")
    if not leaves or any(x.dim() == 0 or x.shape[dim] == 0 for x in leaves):
        raise RuntimeError("scan: needs tensors with at least one slice along dim in xs")
    if len({x.shape[dim] for x in leaves}) > 1:
        raise RuntimeError(
            "scan: all tensors of xs need the same size along dim; got "
            f"{[tuple(x.shape) for x in leaves]}"
        )
    carry, ys = init, []
    for slices in list(zip(*(x.unbind(dim) for x in leaves), strict=True))[:: -1 if reverse else 1]:
        after, y = combine_fn(carry, tree_unflatten(slices, spec))
        _check_same("scan", "combine_fn", carry, after)
        carry = after
        ys.append(y)
    if reverse:
        ys.reverse()
    return carry, tree_map(lambda *parts: torch.stack(parts, dim), *ys)


def _check_same(op: str, function: str, before: Any, after: Any) -> None:
    """That what is carried has the sizes, dtypes and devices that it had."""
    (old, old_spec), (new, new_spec) = tree_flatten(before), tree_flatten(after)

    def facts(x: Any) -> Any:
        return (tuple(x.shape), x.dtype, x.device) if isinstance(x, torch.Tensor) else type(x)

    if old_spec != new_spec or [facts(x) for x in old] != [facts(x) for x in new]:
        raise RuntimeError(
            f"{op}: {function} must give back what it carries with the same structure, sizes, "
            f"dtypes and devices; got {before}, and then {after}"
        )
