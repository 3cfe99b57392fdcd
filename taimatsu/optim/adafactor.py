"""Adafactor: second moments of matrices as a product of a column and a row."""

from __future__ import annotations

import math
from typing import Any

import taimatsu as torch
from taimatsu import Tensor
from taimatsu.ops import optim as rules

from ._rules import TensorOptimizer
from .optimizer import number

__all__ = ["Adafactor"]


def check_at_least_zero(**options: Any) -> None:
    """ValueError naming the first of ``options`` that is negative."""
    for name, value in options.items():
        if not value >= 0.0:
            raise ValueError(f"{name} should be >= 0 but is: {value}")


def _root_mean_square(t: Tensor) -> float:
    return (torch.linalg.vector_norm(t) / math.sqrt(max(t.numel(), 1))).item()


class Adafactor(TensorOptimizer):
    """Adafactor (Shazeer and Stern, 2018): a memory of n + m numbers for an n x m matrix.

    v is the moving average of g^2 with the rate t^beta2_decay; of a parameter of two dims or more
    only its means along either of the last two dims are kept. The update u = g / sqrt(v) is scaled
    down to a root mean square of at most ``d``, and the step is u times
    max(eps[1], rms(p)) min(lr, 1 / sqrt(t)). ``weight_decay`` shrinks p by lr * weight_decay.
    ``eps[0]`` None is the dtype's epsilon.

    >>> optimizer = torch.optim.Adafactor(model.parameters())
    """

    def __init__(
        self,
        params: Any,
        lr: float | Tensor = 1e-2,
        beta2_decay: float = -0.8,
        eps: tuple[float | None, float] = (None, 1e-3),
        d: float = 1.0,
        weight_decay: float = 0.0,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
    ):
        if isinstance(lr, Tensor) and lr.numel() != 1:
            raise ValueError("Tensor lr must be 1-element")
        check_at_least_zero(**{"Learning rate": lr})
        if not beta2_decay <= 0.0:
            raise ValueError(f"beta2_decay should be <= 0 but is: {beta2_decay}")
        if eps[0] is not None:
            check_at_least_zero(epsilon1=eps[0])
        check_at_least_zero(epsilon2=eps[1])
        if not d >= 1.0:
            raise ValueError(f"Clipping threshold d should be >= 1 but is: {d}")
        check_at_least_zero(weight_decay=weight_decay)
        super().__init__(
            params,
            {
                "lr": lr,
                "beta2_decay": beta2_decay,
                "eps": eps,
                "d": d,
                "weight_decay": weight_decay,
                "foreach": foreach,
                "maximize": maximize,
            },
        )

    def _update(self, param: Tensor, grad: Tensor, group: dict[str, Any]) -> None:
        state = self.state[param]
        if not state:
            state.update(_new_state(param))
        state["step"] += 1
        t, lr, (eps1, eps2) = state["step"].item(), number(group["lr"]), group["eps"]
        eps1 = torch.finfo(param.dtype).eps if eps1 is None else eps1
        size = max(eps2, _root_mean_square(param)) * min(lr, 1 / math.sqrt(t))
        if group["weight_decay"]:
            param.mul_(1 - lr * group["weight_decay"])
        update = _scaled(grad, state, t ** group["beta2_decay"], eps1)
        size /= max(1.0, _root_mean_square(update) / group["d"])
        param.add_(update, alpha=size if group["maximize"] else -size)


def _new_state(param: Tensor) -> dict[str, Tensor]:
    count = torch.tensor(0.0, dtype=torch.float32)
    if param.dim() < 2:
        return {"step": count, "variance": torch.zeros_like(param)}
    *lead, n, m = param.shape
    return {
        "step": count,
        "row_var": param.new_zeros([*lead, n, 1]),
        "col_var": param.new_zeros([*lead, 1, m]),
    }


def _scaled(grad: Tensor, state: dict[str, Tensor], rate: float, eps: float) -> Tensor:
    """g / sqrt(v), after v moved towards g^2 by ``rate``."""
    square = grad * grad
    if "variance" in state:
        variance = state["variance"].lerp_(square, rate)
        return rules.adafactor(grad, variance, variance.new_ones(()), eps=eps)
    rows = state["row_var"].lerp_(square.mean(-1, keepdim=True), rate)
    columns = state["col_var"].lerp_(square.mean(-2, keepdim=True), rate)
    return rules.adafactor(grad, rows / rows.mean(-2, keepdim=True).clamp_(min=eps), columns,
                           eps=eps)
