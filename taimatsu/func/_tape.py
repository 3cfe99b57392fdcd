"""One transform's part of the tape: what it differentiates by, and whether others follow it too.

Transforms nest on the one tape. Each follows its inputs through aliases of its own, so that no two
can be confused; its results stay connected to what the transforms further out, or a user's
`requires_grad`, follow, and to nothing else. Under `vmap` the tape sees values, which have the
batch: an alias is made for every example, so that each gets its own gradient.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import taimatsu as torch
from taimatsu import Tensor, _core

from ._batching import VMap, below, vmaps

__all__ = ["Tape"]


class Tape:
    """Follows inputs while a transformed function runs; recording has to be on."""

    def __init__(self) -> None:
        self._own: set[int] = set()
        self._leaves: list[Tensor] = []  # keeps them, and so their ids, alive

    def follow(self, x: Any) -> Any:
        """An alias of x, by which results can be differentiated."""
        if not isinstance(x, Tensor):
            return x
        if not (x.is_floating_point() or x.is_complex()):
            raise RuntimeError(
                "func: only tensors of floating point and complex dtype can be differentiated by; "
                f"got {x.dtype}"
            )
        return self._follow(x, vmaps())

    def _follow(self, x: Tensor, maps: list[VMap]) -> Tensor:
        if maps:
            top = maps[-1]
            with below(top):
                return top.wrap(self._follow(top.batched(x), maps[:-1]))
        if x.requires_grad:
            return x.view_as(x)
        leaf = x.detach().requires_grad_()
        self._own.add(id(leaf))
        self._leaves.append(leaf)
        return leaf

    def shared(self, outputs: Sequence[Tensor]) -> bool:
        """Whether results of the outputs' history matter to anyone but this transform."""
        seen: set[Any] = set()
        for y in outputs:
            while hasattr(y, "value"):
                y = y.value
            if y.requires_grad and y.grad_fn is None and id(y) not in self._own:
                return True
            seen.add(y.grad_fn)
        todo = [node for node in seen if node is not None]
        while todo:
            node = todo.pop()
            variable = getattr(node, "variable", None)
            if variable is not None and id(variable) not in self._own:
                return True
            for after, _ in node.next_functions:
                if after is not None and after not in seen:
                    seen.add(after)
                    todo.append(after)
        return False


def gradients(
    outputs: Sequence[Tensor],
    inputs: Sequence[Tensor],
    grad_outputs: Sequence[Tensor | None],
    create_graph: bool,
    retain_graph: bool = True,
) -> list[Tensor]:
    """The gradients of the outputs by the inputs, zeros where there is no connection."""
    followed = [
        (y, g) for y, g in zip(outputs, grad_outputs, strict=True) if y.requires_grad
    ]  # fmt: skip
    if not followed:
        return [torch.zeros_like(x) for x in inputs]
    ys, gs = (list(part) for part in zip(*followed, strict=True))
    return _gradients(ys, list(inputs), gs, create_graph, retain_graph, vmaps())


def _gradients(ys, xs, gs, create_graph, retain_graph, maps) -> list[Tensor]:
    if not maps:
        found = _core.run_grad(ys, xs, gs, retain_graph, create_graph, True)
        return [torch.zeros_like(x) if g is None else g for g, x in zip(found, xs, strict=True)]
    top = maps[-1]
    if any(map(top.owns, (*ys, *xs))):
        with below(top):
            ones = [torch.ones_like(y.value if top.owns(y) else y) if g is None else g
                    for y, g in zip(ys, gs, strict=True)]  # fmt: skip
            found = _gradients(
                [top.batched(y) for y in ys], [x.value if top.owns(x) else x for x in xs],
                [g if not top.owns(g) and g.dim() > y.dim() else top.batched(g)
                 for y, g in zip(ys, ones, strict=True)],
                create_graph, retain_graph, maps[:-1],
            )  # fmt: skip
            return [top.wrap(g) if top.owns(x) else g for g, x in zip(found, xs, strict=True)]
    if any(map(top.owns, gs)):  # the history is one for all examples: a pass for each
        with below(top):
            rows = [
                _gradients(ys, xs, [g.value[i] if top.owns(g) else g for g in gs], create_graph,
                           True, maps[:-1])
                for i in range(top.size)
            ]  # fmt: skip
            return [top.wrap(torch.stack(column)) for column in zip(*rows, strict=True)]
    with below(top):
        return _gradients(ys, xs, gs, create_graph, retain_graph, maps[:-1])
