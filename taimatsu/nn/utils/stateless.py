"""The old home of `torch.func.functional_call`."""

from __future__ import annotations

import warnings
from contextlib import AbstractContextManager
from typing import Any

from taimatsu import Tensor

from ..module import Module

__all__ = ["functional_call"]


def functional_call(
    module: Module,
    parameters_and_buffers: dict[str, Tensor],
    args: Any = None,
    kwargs: dict[str, Any] | None = None,
    *,
    tie_weights: bool = True,
    strict: bool = False,
) -> Any:
    """`torch.func.functional_call` under its old name; deprecated."""
    from taimatsu import func

    warnings.warn(
        "nn.utils.stateless.functional_call is deprecated; use torch.func.functional_call",
        FutureWarning,
        stacklevel=2,
    )
    return func.functional_call(
        module, parameters_and_buffers, args, kwargs, tie_weights=tie_weights, strict=strict
    )


def _reparametrize_module(
    module: Module,
    parameters_and_buffers: dict[str, Tensor],
    tie_weights: bool = False,
    strict: bool = False,
    stack_weights: bool = False,
) -> AbstractContextManager:
    """A context in which a module has these parameters and buffers in place of its own."""
    from taimatsu.func._modules import swapped

    return swapped(module, parameters_and_buffers, tie_weights, strict)
