"""`cuda.make_graphed_callables`: forward and backward of callables as graphs."""

from __future__ import annotations

from typing import Any

import taimatsu as torch
from taimatsu import Tensor
from taimatsu.utils import _pytree as pytree

from .graphs import CUDAGraph, graph, graph_pool_handle
from .streams import Stream, stream


class _Recording:
    """One callable: its fixed inputs and outputs, and the graphs between them."""

    def __init__(self, function: Any, arguments: tuple, allow_unused: bool):
        self.function, self.arguments, self.allow_unused = function, arguments, allow_unused
        self.parameters: tuple[Tensor, ...] = ()
        if isinstance(function, torch.nn.Module):
            self.parameters = tuple(p for p in function.parameters() if p.requires_grad)
            self._check(function)
        flat = list(pytree.tree_leaves(arguments))
        if not all(isinstance(a, Tensor) for a in flat):
            raise TypeError("make_graphed_callables: sample_args must be tensors, or nests of them")
        self.inputs: list[Tensor] = [*flat, *self.parameters]
        self.given = len(flat)
        self.forward, self.backward = CUDAGraph(), CUDAGraph()

    def _check(self, module: Any) -> None:
        if module._forward_hooks or module._forward_pre_hooks or module._backward_hooks:
            raise RuntimeError(
                "Modules must not have hooks registered at the time they are passed. However, "
                "registering hooks on modules after passing them through make_graphed_callables "
                "is allowed."
            )
        if any(b.requires_grad for b in module.buffers()):
            raise RuntimeError(
                "In any :class:`~torch.nn.Module` passed to :func:`~make_graphed_callables`, only "
                "parameters may be trainable. All buffers must have ``requires_grad=False``."
            )

    def gradients(self, outputs: list[Tensor], grads: list[Tensor]) -> list[Tensor | None]:
        wanted = [x for x in self.inputs if x.requires_grad]
        found = iter(torch.autograd.grad(
            [o for o in outputs if o.requires_grad], wanted, grads,
            only_inputs=True, allow_unused=self.allow_unused,
        ))  # fmt: skip
        return [next(found) if x.requires_grad else None for x in self.inputs]

    def warm_up(self, times: int) -> None:
        for _ in range(times):
            outputs = pytree.tree_leaves(self.function(*self.arguments))
            if any(o.requires_grad for o in outputs) and any(x.requires_grad for x in self.inputs):
                grads = [torch.empty_like(o) for o in outputs if o.requires_grad]
                self.gradients(outputs, grads)

    def record_forward(self, pool: Any) -> None:
        with graph(self.forward, pool=pool):
            result = self.function(*self.arguments)
        self.outputs, self.spec = pytree.tree_flatten(result)

    def record_backward(self, pool: Any) -> None:
        self.grads_out = [torch.empty_like(o) if o.requires_grad else None for o in self.outputs]
        self.grads_in: list[Tensor | None] = [None] * len(self.inputs)
        present = [g for g in self.grads_out if g is not None]
        self.differentiable = bool(present) and any(x.requires_grad for x in self.inputs)
        if self.differentiable:
            with graph(self.backward, pool=pool):
                self.grads_in = self.gradients(self.outputs, present)
        self.outputs = [o.detach() for o in self.outputs]

    def callable(self) -> Any:
        recording = self

        class Graphed(torch.autograd.Function):
            @staticmethod
            def forward(ctx: Any, *inputs: Tensor) -> Any:
                for own, given in zip(recording.inputs[: recording.given], inputs, strict=False):
                    if own.data_ptr() != given.data_ptr():
                        own.copy_(given)
                recording.forward.replay()
                return tuple(o.detach() for o in recording.outputs)

            @staticmethod
            @torch.autograd.function.once_differentiable
            def backward(ctx: Any, *grads: Tensor) -> Any:
                for own, given in zip(recording.grads_out, grads, strict=True):
                    if own is not None and own.data_ptr() != given.data_ptr():
                        own.copy_(given)
                recording.backward.replay()
                return tuple(g if g is None else g.detach() for g in recording.grads_in)

        def run(*arguments: Any) -> Any:
            flat = pytree.tree_leaves(arguments)
            return pytree.tree_unflatten(
                list(Graphed.apply(*flat, *recording.parameters)), recording.spec
            )

        return run


def _in_place_of(module: Any, run: Any) -> Any:
    """The module itself, whose forward is `run` as long as it is in the mode of now."""
    training, forward = module.training, module.forward

    def either(*arguments: Any) -> Any:
        return run(*arguments) if module.training == training else forward(*arguments)

    module.forward = either
    return module


def graphed(
    callables: tuple, samples: tuple, warmups: int, allow_unused: bool, pool: Any
) -> list[Any]:
    """See `cuda.make_graphed_callables`."""
    recordings = [
        _Recording(f, tuple(a) if isinstance(a, (tuple, list)) else (a,), allow_unused)
        for f, a in zip(callables, samples, strict=True)
    ]
    pool = graph_pool_handle() if pool is None else pool
    torch.cuda.synchronize()
    with stream(Stream()):
        for r in recordings:
            r.warm_up(warmups)
    torch.cuda.synchronize()
    for r in recordings:
        r.record_forward(pool)
    for r in reversed(recordings):  # as they will run: memory is used again in this order
        r.record_backward(pool)
    return [
        _in_place_of(r.function, r.callable())
        if isinstance(r.function, torch.nn.Module)
        else r.callable()
        for r in recordings
    ]
