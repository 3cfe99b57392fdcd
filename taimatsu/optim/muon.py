"""Muon: momentum whose matrix is made orthogonal."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import taimatsu as torch
from taimatsu import Tensor

from ._rules import TensorOptimizer
from .adafactor import check_at_least_zero
from .optimizer import number

__all__ = ["Muon"]

_MOST_STEPS = 100


def _orthogonal(matrix: Tensor, coefficients: Any, steps: int, eps: float) -> Tensor:
    """Nearly the matrix U V^T of a matrix U S V^T, by a Newton-Schulz iteration in bfloat16."""
    if steps >= _MOST_STEPS:
        raise ValueError(f"Number of steps must be less than {_MOST_STEPS}; got {steps}")
    if matrix.dim() != 2:
        raise ValueError(f"Input tensor must be a 2D matrix; got shape {list(matrix.shape)}")
    if len(coefficients) != 3:
        raise ValueError(f"Coefficients must be a tuple of exactly 3 values; got {coefficients}")
    a, b, c = coefficients
    x = matrix.bfloat16()
    tall = x.size(0) > x.size(1)
    x = x.T if tall else x
    x = x / torch.linalg.vector_norm(x).clamp(min=eps)
    for _ in range(steps):  # x <- a x + (b g + c g g) x with g = x x^T
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.T if tall else x


_ADJUSTMENTS: dict[str | None, Callable[[int, int], float]] = {
    None: lambda n, m: math.sqrt(max(1, n / m)),
    "original": lambda n, m: math.sqrt(max(1, n / m)),
    "match_rms_adamw": lambda n, m: 0.2 * math.sqrt(max(n, m)),
}


class Muon(TensorOptimizer):
    """Muon (Jordan et al., 2024): momentum, orthogonalised, for the matrices of hidden layers.

    b = momentum * b + (1 - momentum) * g, with ``nesterov`` mixed with g once more; the step is
    lr times the nearest orthogonal matrix, found by ``ns_steps`` steps of a Newton-Schulz iteration
    with ``ns_coefficients``. ``adjust_lr_fn`` scales lr by the matrix's shape (n, m): "original"
    (the default) sqrt(max(1, n / m)), "match_rms_adamw" 0.2 sqrt(max(n, m)).
    Raises ValueError for parameters that are no matrices: optimize these by AdamW.

    >>> optimizer = torch.optim.Muon([p for p in model.parameters() if p.dim() == 2])
    """

    def __init__(
        self,
        params: Any,
        lr: float = 1e-3,
        weight_decay: float = 0.1,
        momentum: float = 0.95,
        nesterov: bool = True,
        ns_coefficients: tuple[float, float, float] = (3.4445, -4.775, 2.0315),
        eps: float = 1e-7,
        ns_steps: int = 5,
        adjust_lr_fn: str | None = None,
    ):
        if isinstance(lr, Tensor) and lr.numel() != 1:
            raise ValueError("Tensor lr must be 1-element")
        check_at_least_zero(
            **{"Learning rate": lr, "momentum": momentum, "weight decay": weight_decay}
        )
        if adjust_lr_fn not in _ADJUSTMENTS:
            raise ValueError(f"Adjust learning rate function {adjust_lr_fn} is not supported")
        super().__init__(
            params,
            {
                "lr": lr,
                "weight_decay": weight_decay,
                "momentum": momentum,
                "nesterov": nesterov,
                "ns_coefficients": ns_coefficients,
                "eps": eps,
                "ns_steps": ns_steps,
                "adjust_lr_fn": adjust_lr_fn,
            },
        )
        for group in self.param_groups:
            for param in group["params"]:
                if param.dim() != 2:
                    raise ValueError(
                        "Muon only supports 2D parameters whereas we found a parameter with size: "
                        f"{param.size()}"
                    )

    def _update(self, param: Tensor, grad: Tensor, group: dict[str, Any]) -> None:
        state, lr, momentum = self.state[param], number(group["lr"]), group["momentum"]
        if not state:
            state["momentum_buffer"] = torch.zeros_like(grad)
        buffer = state["momentum_buffer"].lerp_(grad, 1 - momentum)
        matrix = grad.lerp(buffer, momentum) if group["nesterov"] else buffer
        step = _orthogonal(matrix, group["ns_coefficients"], group["ns_steps"], group["eps"])
        scale = _ADJUSTMENTS[group["adjust_lr_fn"]](*param.shape)
        param.mul_(1 - lr * group["weight_decay"]).add_(step.to(param.dtype), alpha=-lr * scale)
