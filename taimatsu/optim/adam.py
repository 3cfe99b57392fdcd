"""Adam and its relatives."""

from __future__ import annotations

import math
from typing import Any

import taimatsu as torch
from taimatsu import Tensor
from taimatsu.ops import optim as rules

from ._rules import RuleOptimizer
from .optimizer import at_least_zero, check_betas, check_implementation, check_lr, number

__all__ = ["Adam", "AdamW", "Adamax", "NAdam", "RAdam"]


def _options(group: dict[str, Any], step: float) -> dict[str, Any]:
    """The options that all of Adam's rules share; the corrections make up for the zero start."""
    beta1, beta2 = map(number, group["betas"])
    return {
        "lr": number(group["lr"]),
        "beta1": beta1,
        "beta2": beta2,
        "eps": number(group["eps"]),
        "correction1": 1 - beta1**step,
        "correction2": 1 - beta2**step,
        "decoupled": group["decoupled_weight_decay"],
    }


class Adam(RuleOptimizer):
    """Adam (Kingma and Ba, 2015): steps scaled by moving averages of g and g^2.

    ``weight_decay`` adds weight_decay * p to the gradient, or with ``decoupled_weight_decay``
    shrinks p by lr * weight_decay; ``amsgrad`` divides by the largest average so far.

    >>> optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    """

    def __init__(
        self,
        params: Any,
        lr: float | Tensor = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        amsgrad: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
        decoupled_weight_decay: bool = False,
    ):
        check_lr(lr, foreach and not capturable)
        at_least_zero(epsilon=eps)
        check_betas(betas)
        at_least_zero(weight_decay=weight_decay)
        _check_beta_types(betas, foreach and not capturable)
        check_implementation(foreach, fused, differentiable)
        super().__init__(
            params,
            {
                "lr": lr,
                "betas": betas,
                "eps": eps,
                "weight_decay": weight_decay,
                "amsgrad": amsgrad,
                "maximize": maximize,
                "foreach": foreach,
                "capturable": capturable,
                "differentiable": differentiable,
                "fused": fused,
                "decoupled_weight_decay": decoupled_weight_decay,
            },
        )

    def _state_names(self, group: dict[str, Any]) -> tuple[str, ...]:
        names = ("exp_avg", "exp_avg_sq")
        return (*names, "max_exp_avg_sq") if group["amsgrad"] else names

    def _rule(self, group: dict[str, Any], step: Any, state: dict[str, Any]) -> tuple[Any, dict]:
        rule = rules.adam_amsgrad if group["amsgrad"] else rules.adam
        return rule, _options(group, step)


def _check_beta_types(betas: tuple, foreach: bool | None) -> None:
    tensors = [isinstance(beta, Tensor) for beta in betas]
    if not any(tensors):
        return
    if not all(tensors):
        raise ValueError("betas must be either both floats or both Tensors")
    for i, beta in enumerate(betas):
        if foreach:
            raise ValueError(
                f"betas[{i}] as a Tensor is not supported for capturable=False and foreach=True"
            )
        if beta.numel() != 1:
            raise ValueError(f"Tensor betas[{i}] must be 1-element")


class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov and Hutter, 2019).

    >>> optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.05)
    """

    def __init__(
        self,
        params: Any,
        lr: float | Tensor = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
    ):
        super().__init__(
            params,
            lr,
            betas,
            eps,
            weight_decay,
            amsgrad,
            foreach=foreach,
            maximize=maximize,
            capturable=capturable,
            differentiable=differentiable,
            fused=fused,
            decoupled_weight_decay=True,
        )

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        for group in self.param_groups:
            group["decoupled_weight_decay"] = True


class NAdam(RuleOptimizer):
    """Adam with Nesterov's momentum (Dozat, 2016).

    >>> optimizer = torch.optim.NAdam(model.parameters())
    """

    def __init__(
        self,
        params: Any,
        lr: float | Tensor = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        momentum_decay: float = 4e-3,
        decoupled_weight_decay: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
    ):
        check_lr(lr)
        at_least_zero(epsilon=eps)
        check_betas(betas)
        at_least_zero(weight_decay=weight_decay, momentum_decay=momentum_decay)
        super().__init__(
            params,
            {
                "lr": lr,
                "betas": betas,
                "eps": eps,
                "weight_decay": weight_decay,
                "momentum_decay": momentum_decay,
                "decoupled_weight_decay": decoupled_weight_decay,
                "maximize": maximize,
                "foreach": foreach,
                "capturable": capturable,
                "differentiable": differentiable,
            },
        )

    def _state_names(self, group: dict[str, Any]) -> tuple[str, ...]:
        return ("exp_avg", "exp_avg_sq")

    def _new_state(self, param: Tensor, group: dict[str, Any]) -> dict[str, Any]:
        state = super()._new_state(param, group)
        product = torch.tensor(1.0, dtype=torch.float32)
        return {"step": state.pop("step"), "mu_product": product, **state}

    def _advance(self, param: Tensor, state: dict[str, Any], group: dict[str, Any]) -> Any:
        step = super()._advance(param, state, group)
        state["mu_product"] *= self._momentum(group, step)
        return step, state["mu_product"].item()

    def _momentum(self, group: dict[str, Any], step: float) -> float:
        return number(group["betas"][0]) * (1 - 0.5 * 0.96 ** (step * group["momentum_decay"]))

    def _rule(self, group: dict[str, Any], step: Any, state: dict[str, Any]) -> tuple[Any, dict]:
        step, product = step
        options = _options(group, step)
        now, after = self._momentum(group, step), self._momentum(group, step + 1)
        options["grad_rate"] = options["lr"] * (1 - now) / (1 - product)
        options["mean_rate"] = options["lr"] * after / (1 - product * after)
        return rules.nadam, options


class RAdam(RuleOptimizer):
    """Adam with a rectified variance, which needs no warm-up (Liu et al., 2020).

    >>> optimizer = torch.optim.RAdam(model.parameters())
    """

    def __init__(
        self,
        params: Any,
        lr: float | Tensor = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        decoupled_weight_decay: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
    ):
        check_lr(lr)
        at_least_zero(epsilon=eps)
        check_betas(betas)
        at_least_zero(weight_decay=weight_decay)
        super().__init__(
            params,
            {
                "lr": lr,
                "betas": betas,
                "eps": eps,
                "weight_decay": weight_decay,
                "maximize": maximize,
                "foreach": foreach,
                "capturable": capturable,
                "decoupled_weight_decay": decoupled_weight_decay,
                "differentiable": differentiable,
            },
        )

    def _state_names(self, group: dict[str, Any]) -> tuple[str, ...]:
        return ("exp_avg", "exp_avg_sq")

    def _rule(self, group: dict[str, Any], step: Any, state: dict[str, Any]) -> tuple[Any, dict]:
        options = _options(group, step)
        beta2 = options["beta2"]
        longest = 2 / (1 - beta2) - 1  # the length of the average in the limit, and now
        length = longest - 2 * step * beta2**step / options["correction2"]
        options["rectification"] = (
            math.sqrt(
                (length - 4) * (length - 2) * longest / ((longest - 4) * (longest - 2) * length)
            )
            if length > 5.0
            else None
        )
        return rules.radam, options


class Adamax(RuleOptimizer):
    """Adam with the infinity norm (Kingma and Ba, 2015).

    >>> optimizer = torch.optim.Adamax(model.parameters())
    """

    def __init__(
        self,
        params: Any,
        lr: float | Tensor = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        foreach: bool | None = None,
        *,
        maximize: bool = False,
        differentiable: bool = False,
        capturable: bool = False,
    ):
        check_lr(lr)
        at_least_zero(epsilon=eps)
        check_betas(betas)
        at_least_zero(weight_decay=weight_decay)
        super().__init__(
            params,
            {
                "lr": lr,
                "betas": betas,
                "eps": eps,
                "weight_decay": weight_decay,
                "foreach": foreach,
                "maximize": maximize,
                "differentiable": differentiable,
                "capturable": capturable,
            },
        )

    def _state_names(self, group: dict[str, Any]) -> tuple[str, ...]:
        return ("exp_avg", "exp_inf")

    def _rule(self, group: dict[str, Any], step: Any, state: dict[str, Any]) -> tuple[Any, dict]:
        beta1, beta2 = map(number, group["betas"])
        return rules.adamax, {
            "lr": number(group["lr"]),
            "beta1": beta1,
            "beta2": beta2,
            "eps": group["eps"],
            "correction1": 1 - beta1**step,
        }
