"""Stochastic gradient descent."""

from __future__ import annotations

from typing import Any

import taimatsu as torch
from taimatsu import Tensor
from taimatsu.ops import optim as rules

from ._rules import RuleOptimizer
from .optimizer import at_least_zero, check_implementation, check_lr, number

__all__ = ["SGD"]


class SGD(RuleOptimizer):
    """Stochastic gradient descent, with momentum (Sutskever et al., 2013).

    b = momentum * b + (1 - dampening) * g (the first time g); p -= lr * b, with ``nesterov``
    lr * (g + momentum * b). ``weight_decay`` adds weight_decay * p to the gradient.

    >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    >>> loss.backward()
    >>> optimizer.step()
    """

    def __init__(
        self,
        params: Any,
        lr: float | Tensor = 1e-3,
        momentum: float = 0,
        dampening: float = 0,
        weight_decay: float = 0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        differentiable: bool = False,
        fused: bool | None = None,
    ):
        check_lr(lr, foreach)
        at_least_zero(momentum=momentum, weight_decay=weight_decay)
        check_implementation(foreach, fused, differentiable)
        if nesterov and (momentum <= 0 or dampening != 0):
            raise ValueError("Nesterov momentum requires a momentum and zero dampening")
        super().__init__(
            params,
            {
                "lr": lr,
                "momentum": momentum,
                "dampening": dampening,
                "weight_decay": weight_decay,
                "nesterov": nesterov,
                "maximize": maximize,
                "foreach": foreach,
                "differentiable": differentiable,
                "fused": fused,
            },
        )

    def _state_names(self, group: dict[str, Any]) -> tuple[str, ...]:
        return ("momentum_buffer",) if group["momentum"] else ()

    def _new_state(self, param: Tensor, group: dict[str, Any]) -> dict[str, Any]:
        return {"momentum_buffer": None} if group["momentum"] else {}

    def _advance(self, param: Tensor, state: dict[str, Any], group: dict[str, Any]) -> bool:
        first = bool(group["momentum"]) and state.get("momentum_buffer") is None
        if first:
            state["momentum_buffer"] = torch.zeros_like(param)
        return first

    def _update_sparse(self, param: Tensor, grad: Tensor, group: dict[str, Any]) -> None:
        if group["weight_decay"]:
            raise RuntimeError(
                "SGD: weight_decay would add a dense tensor to the gradient, which is sparse; set "
                "it to 0"
            )
        momentum = number(group["momentum"])
        if momentum:
            state = self._state_of(param, group)
            before = state["momentum_buffer"]
            if before is None:
                average = grad.detach().clone()
            else:
                average = before * momentum + grad * (1 - number(group["dampening"]))
                average = average.coalesce()  # or it would grow with every step
            state["momentum_buffer"] = average
            grad = grad + average * momentum if group["nesterov"] else average
        param.add_(grad, alpha=-number(group["lr"]))

    def _rule(self, group: dict[str, Any], step: bool, state: dict[str, Any]) -> tuple[Any, dict]:
        if not group["momentum"]:
            return rules.sgd, {"lr": number(group["lr"])}
        return rules.sgd_momentum, {
            "lr": number(group["lr"]),
            "momentum": number(group["momentum"]),
            "dampening": number(group["dampening"]),
            "nesterov": group["nesterov"],
            "first": step,
        }
