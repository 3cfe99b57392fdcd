"""Optimizers on many small parameters, where the cost of calls dominates, and on large ones."""

from __future__ import annotations

from functools import partial

from .table import Group, workloads


def many(torch, count, size=4):
    """`count` square parameters, with gradients."""
    parameters = [torch.randn(size, size).requires_grad_() for _ in range(count)]
    for p in parameters:
        p.grad = torch.randn(size, size)
    adam, sgd = torch.optim.Adam(parameters), torch.optim.SGD(parameters, lr=0.1, momentum=0.9)
    clip = torch.nn.utils.clip_grad_norm_
    return locals()


def updates(count: int, size: int = 4, floor: float = 5) -> Group:
    return Group(
        f"{count:,} parameters of {size} x {size}",
        partial(many, count=count, size=size),
        (
            *workloads(
                Adam="adam.step()",
                SGD="sgd.step()",
                clip_grad_norm_="clip(parameters, 1.0)",
                zero_grad="adam.zero_grad(set_to_none=False)",
            ),
        ),
        floor=floor,
    )


GROUPS = (updates(64), updates(1024), updates(8, 512, floor=1))
