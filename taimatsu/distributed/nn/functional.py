"""Collectives as functions of tensors, with gradients: each process's are summed where they meet.

>>> features = torch.cat(dist.nn.functional.all_gather(features))  # doctest: +SKIP
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import taimatsu as torch
from taimatsu.autograd import Function
from taimatsu.distributed import collectives as dist
from taimatsu.distributed.process_group import ReduceOp

__all__ = ["all_gather", "all_reduce", "broadcast", "reduce_scatter"]


class _AllReduce(Function):
    @staticmethod
    def forward(ctx: Any, op: int, group: Any, tensor: Any) -> Any:
        ctx.op, ctx.group = op, group
        result = tensor.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(result, op, group)
        return result

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        return None, None, _AllReduce.apply(ctx.op, ctx.group, grad)


class _AllGather(Function):
    @staticmethod
    def forward(ctx: Any, group: Any, tensor: Any) -> Any:
        ctx.group = group
        parts = [torch.empty_like(tensor) for _ in range(dist.get_world_size(group))]
        dist.all_gather(parts, tensor.contiguous(), group)
        return tuple(parts)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        mine = torch.empty_like(grads[0])
        dist.reduce_scatter(mine, [g.contiguous() for g in grads], group=ctx.group)
        return None, mine


class _ReduceScatter(Function):
    @staticmethod
    def forward(ctx: Any, group: Any, *tensors: Any) -> Any:
        ctx.group = group
        mine = torch.empty_like(tensors[0])
        dist.reduce_scatter(mine, [t.contiguous() for t in tensors], group=group)
        return mine

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        return None, *_AllGather.apply(ctx.group, grad)


class _Broadcast(Function):
    @staticmethod
    def forward(ctx: Any, src: int, group: Any, tensor: Any) -> Any:
        ctx.src, ctx.group = src, group
        result = tensor.clone()
        dist.broadcast(result, src, group)
        return result

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        total = grad.contiguous().clone()
        dist.reduce(total, ctx.src, group=ctx.group)
        return None, None, total if dist.get_rank() == ctx.src else torch.zeros_like(total)


def all_reduce(tensor: Any, op: int = ReduceOp.SUM, group: Any = None) -> Any:
    """Everybody's tensors, summed."""
    return _AllReduce.apply(op, group, tensor)


def all_gather(tensor: Any, group: Any = None) -> tuple[Any, ...]:
    """Everybody's tensors."""
    return _AllGather.apply(group, tensor)


def reduce_scatter(
    output: Any, input_list: Sequence[Any], op: int = ReduceOp.SUM, group: Any = None
) -> Any:
    """The sum of everybody's i-th tensors in process i. ``output`` tells the size only."""
    if op != ReduceOp.SUM:
        raise NotImplementedError("reduce_scatter: only the sum has a gradient here; use SUM")
    return _ReduceScatter.apply(group, *input_list)


def broadcast(tensor: Any, src: int, group: Any = None) -> Any:
    """One process's tensor."""
    return _Broadcast.apply(src, group, tensor)
