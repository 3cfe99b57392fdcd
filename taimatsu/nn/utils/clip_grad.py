"""Limit gradients by their joint norm, or each element by itself."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from typing import Any

import taimatsu as torch
from taimatsu import Tensor, _core
from taimatsu.ops import optim as rules

__all__ = [
    "clip_grad_norm",
    "clip_grad_norm_",
    "clip_grad_value_",
    "clip_grads_with_norm_",
    "get_total_norm",
]


def _tensors(parameters: Any) -> list[Tensor]:
    return [parameters] if isinstance(parameters, Tensor) else list(parameters)


def _rewrite_gradients(parameters: Any, rule: Any, **options: float) -> None:
    """Writes what a rule makes of every gradient over it, in one call for all."""
    grads = [p.grad for p in _tensors(parameters) if p.grad is not None]
    with torch.no_grad():
        for i, g in enumerate(grads):
            if g.is_sparse:  # what is added up is one element
                grads[i] = g.copy_(g.coalesce()).values()
        _core.apply_list(rule, [grads], options)


def get_total_norm(
    tensors: Tensor | Iterable[Tensor],
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
    foreach: bool | None = None,
) -> Tensor:
    """The norm of all ``tensors`` as one vector, a tensor of no dimensions.

    Raises RuntimeError if it is not finite and ``error_if_nonfinite``.

    >>> nn.utils.get_total_norm([torch.tensor([3.0]), torch.tensor([4.0])])
    tensor(5.)
    """
    norm, order = torch.linalg.vector_norm, float(norm_type)
    norms = [norm(t, order) for t in _tensors(tensors)]
    if not norms:
        return torch.tensor(0.0)
    if len({n.device for n in norms}) > 1:
        norms = [n.to(norms[0].device) for n in norms]
    total = norm(torch.stack(norms), order)
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
    """Scale the gradients in place by max_norm / (total_norm + 1e-6), if that is below 1.

    >>> loss.backward()
    >>> total = nn.utils.get_total_norm([p.grad for p in model.parameters()])
    >>> nn.utils.clip_grads_with_norm_(model.parameters(), 1.0, total)
    """
    factor = (float(max_norm) / (total_norm + 1e-6)).clamp(max=1.0).item()
    if factor != 1:
        _rewrite_gradients(parameters, rules.scale, factor=factor)


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
    >>> norm = nn.utils.clip_grad_norm_(model.parameters(), max_norm=1.0)
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
    """Limit every element of the gradients in place to [-clip_value, clip_value].

    >>> loss.backward()
    >>> nn.utils.clip_grad_value_(model.parameters(), 0.01)
    >>> model[0].weight.grad.abs().max() <= 0.01
    tensor(True)
    """
    _rewrite_gradients(parameters, rules.limit, largest=float(clip_value))
