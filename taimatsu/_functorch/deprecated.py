"""`functorch`, PyTorch's package of transforms before they were in `torch.func`.

>>> function, parameters = make_functional(torch.nn.Linear(2, 1, bias=False))
>>> function([torch.ones(1, 2)], torch.ones(2))
tensor([2.])
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

from taimatsu import Tensor, nn
from taimatsu.func import (
    functional_call,
    grad,
    grad_and_value,
    hessian,
    jacfwd,
    jacrev,
    jvp,
    stack_module_state,
    vjp,
    vmap,
)
from taimatsu.fx.experimental.proxy_tensor import make_fx

__all__ = [
    "FunctionalModule",
    "FunctionalModuleWithBuffers",
    "combine_state_for_ensemble",
    "grad",
    "grad_and_value",
    "hessian",
    "jacfwd",
    "jacrev",
    "jvp",
    "make_functional",
    "make_functional_with_buffers",
    "make_fx",
    "vjp",
    "vmap",
]


class FunctionalModuleWithBuffers(nn.Module):
    """A module as a function of its parameters, its buffers, and what it is called with."""

    def __init__(self, stateless_model: nn.Module):
        super().__init__()
        self.stateless_model = stateless_model
        self.param_names = [name for name, _ in stateless_model.named_parameters()]
        self.buffer_names = [name for name, _ in stateless_model.named_buffers()]

    def forward(  # type: ignore[override]
        self, params: Sequence[Tensor], buffers: Sequence[Tensor], *args: Any, **kwargs: Any
    ) -> Any:
        state = dict(zip(self.param_names, params, strict=True))
        state |= zip(self.buffer_names, buffers, strict=True)
        return functional_call(self.stateless_model, state, args, kwargs)


class FunctionalModule(FunctionalModuleWithBuffers):
    """A module without buffers as a function of its parameters, and what it is called with."""

    def forward(self, params: Sequence[Tensor], *args: Any, **kwargs: Any) -> Any:  # type: ignore
        return super().forward(params, (), *args, **kwargs)


def make_functional_with_buffers(
    model: nn.Module, disable_autograd_tracking: bool = False
) -> tuple[FunctionalModuleWithBuffers, tuple[Tensor, ...], tuple[Tensor, ...]]:
    """A function ``f(params, buffers, *args)`` of a copy of the model, its parameters and buffers.

    ``disable_autograd_tracking``: the parameters require no gradient. See `func.functional_call`.
    """
    made = FunctionalModuleWithBuffers(copy.deepcopy(model))
    return made, *_state(made, disable_autograd_tracking)


def make_functional(
    model: nn.Module, disable_autograd_tracking: bool = False
) -> tuple[FunctionalModule, tuple[Tensor, ...]]:
    """A function ``f(params, *args)`` of a copy of the model, and its parameters.

    RuntimeError of a model with buffers.
    """
    if next(model.buffers(), None) is not None:
        raise RuntimeError(
            "make_functional: the model has buffers; use make_functional_with_buffers"
        )
    made = FunctionalModule(copy.deepcopy(model))
    return made, _state(made, disable_autograd_tracking)[0]


def _state(
    made: FunctionalModuleWithBuffers, disable_autograd_tracking: bool
) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    model = made.stateless_model
    if disable_autograd_tracking:
        model.requires_grad_(False)
    return tuple(model.parameters()), tuple(model.buffers())


def combine_state_for_ensemble(
    models: Sequence[nn.Module],
) -> tuple[FunctionalModuleWithBuffers, tuple[Tensor, ...], tuple[Tensor, ...]]:
    """One function for several models of one kind, and their parameters and buffers, stacked."""
    parameters, buffers = stack_module_state(models)
    made = FunctionalModuleWithBuffers(copy.deepcopy(models[0]))
    return made, tuple(parameters.values()), tuple(buffers.values())
