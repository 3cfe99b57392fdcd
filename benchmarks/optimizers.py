"""Optimizers on many small parameters, where the cost of calls dominates."""

from __future__ import annotations

from functools import partial

from .table import Group, workloads


def many(torch, count):
    """`count` parameters of 4 x 4, with gradients."""
    parameters = [torch.randn(4, 4).requires_grad_() for _ in range(count)]
    for p in parameters:
        p.grad = torch.randn(4, 4)
    adam, sgd = torch.optim.Adam(parameters), torch.optim.SGD(parameters, lr=0.1, momentum=0.9)
    clip = torch.nn.utils.clip_grad_norm_
    return locals()


def updates(count: int) -> Group:
    return Group(
        f"{count:,} parameters of 4 x 4",
        partial(many, count=count),
        (
            *workloads(
                Adam="adam.step()",
                SGD="sgd.step()",
                clip_grad_norm_="clip(parameters, 1.0)",
                zero_grad="adam.zero_grad(set_to_none=False)",
            ),
        ),
        floor=5,
    )


GROUPS = (updates(64), updates(1024))
