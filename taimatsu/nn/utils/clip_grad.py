"""Limit gradients by their joint norm, or each element by itself."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from typing import Any

import taimatsu as torch
from taimatsu import Tensor

__all__ = [
    "clip_grad_norm",
    "clip_grad_norm_", "clip_grad_value_",
    "clip_grads_with_norm_",
    "get_total_norm",
]


def _tensors(parameters: Any) -> list[Tensor]:
    return [parameters] if isinstance(parameters, Tensor) else list(parameters)


def get_total_norm(
    tensors: Tensor | Iterable[Tensor],
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
    foreach: bool | None = None,
) -> Tensor:
    """The norm of all ``tensors`` as one vector, a tensor of no dimensions.

    Raises RuntimeError if it is not finite and ``error_if_nonfinite``.
    """
    norms = [torch.linalg.vector_norm(t, float(norm_type)) for t in _tensors(tensors)]
    if not norms:
        return torch.tensor(0.0)
    device = norms[0].device
    total = torch.linalg.vector_norm(torch.stack([n.to(device) for n in norms]), float(norm_type))
    if error_if_nonfinite and not bool(torch.isfinite(total)):
        raise RuntimeError(
            f"get_total_norm: the norm of order {norm_type} is non-finite ({float(total)}); "
            "inspect the gradients, or pass error_if_nonfinite=False to clip all the same"
        )
    return total


def clip_grads_with_norm_(
    parameters: Tensor | Iterable[Tensor],
    max_norm: float,
    total_norm: Tensor,
    foreach: bool | None = None,
) -> None:
    """Scale the gradients in place by max_norm / (total_norm + 1e-6), if that is below 1."""
    factor = (float(max_norm) / (total_norm + 1e-6)).clamp(max=1.0)
    with torch.no_grad():
        for param in _tensors(parameters):
            if param.grad is not None:
                param.grad.mul_(factor.to(param.grad.device))


def clip_grad_norm_(
    parameters: Tensor | Iterable[Tensor],
    max_norm: float,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
    foreach: bool | None = None,
) -> Tensor:
    """Scale all gradients in place so that their joint norm is at most ``max_norm``.

    Gives the norm before. ``foreach`` is accepted and has no effect.

    >>> loss.backward()
    >>> nn.utils.clip_grad_norm_(model.parameters(), max_norm=1.0)
    """
    parameters = _tensors(parameters)
    grads = [p.grad for p in parameters if p.grad is not None]
    with torch.no_grad():
        total = get_total_norm(grads, norm_type, error_if_nonfinite)
    clip_grads_with_norm_(parameters, max_norm, total)
    return total


def clip_grad_norm(
    parameters: Tensor | Iterable[Tensor],
    max_norm: float,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
    foreach: bool | None = None,
) -> Tensor:
    """The old name of `clip_grad_norm_`; deprecated."""
    warnings.warn(
        "clip_grad_norm is deprecated; use clip_grad_norm_", FutureWarning, stacklevel=2
    )
    return clip_grad_norm_(parameters, max_norm, norm_type, error_if_nonfinite, foreach)


def clip_grad_value_(
    parameters: Tensor | Iterable[Tensor], clip_value: float, foreach: bool | None = None
) -> None:
    """Limit every element of the gradients in place to [-clip_value, clip_value]."""
    limit = float(clip_value)
    with torch.no_grad():
        for param in _tensors(parameters):
            if param.grad is not None:
                param.grad.clamp_(min=-limit, max=limit)
