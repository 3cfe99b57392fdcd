"""Functions of local tensors, called with DTensors."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from taimatsu.utils import _pytree as pytree

from ._api import DTensor, implicit_replication

__all__ = ["implicit_replication", "local_map"]


def local_map(
    func: Callable | None = None, out_placements: Any = None, in_placements: Any = None,
    in_grad_placements: Any = None, device_mesh: Any = None, *, redistribute_inputs: bool = False,
) -> Callable:  # fmt: skip
    """``func`` of local tensors, as a function of DTensors.

    ``in_placements`` and ``out_placements``: for each argument and result how it lies; None for
    what isn't a tensor. ValueError for arguments that lie otherwise, unless
    ``redistribute_inputs``.
    """
    if func is None:
        return functools.partial(
            local_map, out_placements=out_placements, in_placements=in_placements,
            in_grad_placements=in_grad_placements, device_mesh=device_mesh,
            redistribute_inputs=redistribute_inputs,
        )  # fmt: skip

    @functools.wraps(func)
    def mapped(*args: Any, **kwargs: Any) -> Any:
        leaves, spec = pytree.tree_flatten(args)
        mesh = device_mesh
        for i, x in enumerate(leaves):
            if not isinstance(x, DTensor):
                continue
            mesh = mesh or x.device_mesh
            wanted = None if in_placements is None else in_placements[i]
            if wanted is not None and tuple(wanted) != x.placements:
                if not redistribute_inputs:
                    raise ValueError(
                        f"local_map: argument {i} lies as {x.placements}, and should as "
                        f"{tuple(wanted)}; set redistribute_inputs=True to move it"
                    )
                x = x.redistribute(placements=wanted)
            given = None if in_grad_placements is None else in_grad_placements[i]
            leaves[i] = x.to_local(grad_placements=given)
        result = func(*pytree.tree_unflatten(leaves, spec), **kwargs)
        if mesh is None:
            return result
        outputs, out_spec = pytree.tree_flatten(result)
        each = isinstance(out_placements, tuple) and out_placements and all(
            p is None or isinstance(p, (list, tuple)) for p in out_placements
        )  # fmt: skip
        placed = out_placements if each else [out_placements] * len(outputs)
        return pytree.tree_unflatten(
            [
                o if p is None else DTensor.from_local(o, mesh, p)
                for o, p in zip(outputs, placed, strict=True)
            ],
            out_spec,
        )

    return mapped
