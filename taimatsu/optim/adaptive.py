"""Optimizers that scale each element's step by the history of its gradient."""

from __future__ import annotations

from typing import Any

import taimatsu as torch
from taimatsu import Tensor
from taimatsu.ops import optim as rules

from ._rules import RuleOptimizer
from .optimizer import at_least_zero, check_implementation, check_lr, number

__all__ = ["ASGD", "Adadelta", "Adagrad", "RMSprop", "Rprop"]


class RMSprop(RuleOptimizer):
    """p -= lr * g / (sqrt(v) + eps), v a moving average of g^2 with decay ``alpha``.

    ``centered`` divides by the standard deviation; ``momentum`` is on the scaled gradient.

    >>> optimizer = torch.optim.RMSprop(model.parameters(), lr=0.01, momentum=0.9)
    """

    def __init__(
        self,
        params: Any,
        lr: float | Tensor = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0,
        momentum: float = 0,
        centered: bool = False,
        capturable: bool = False,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
    ):
        check_lr(lr)
        at_least_zero(epsilon=eps, momentum=momentum, weight_decay=weight_decay, alpha=alpha)
        super().__init__(
            params,
            {
                "lr": lr,
                "momentum": momentum,
                "alpha": alpha,
                "eps": eps,
                "centered": centered,
                "weight_decay": weight_decay,
                "capturable": capturable,
                "foreach": foreach,
                "maximize": maximize,
                "differentiable": differentiable,
            },
        )

    def _state_names(self, group: dict[str, Any]) -> tuple[str, ...]:
        names = ["square_avg"]
        names += ["momentum_buffer"] if group["momentum"] > 0 else []
        names += ["grad_avg"] if group["centered"] else []
        return tuple(names)

    def _rule(self, group: dict[str, Any], step: Any, state: dict[str, Any]) -> tuple[Any, dict]:
        options = {name: number(group[name]) for name in ("lr", "alpha", "eps")}
        if group["momentum"] > 0:
            options["momentum"] = number(group["momentum"])
            centered, plain = rules.rmsprop_centered_momentum, rules.rmsprop_momentum
        else:
            centered, plain = rules.rmsprop_centered, rules.rmsprop
        return centered if group["centered"] else plain, options


class Adagrad(RuleOptimizer):
    """p -= lr / (1 + (t - 1) lr_decay) * g / (sqrt(sum of g^2) + eps) (Duchi et al., 2011).

    >>> optimizer = torch.optim.Adagrad(model.parameters(), lr=0.01)
    """

    def __init__(
        self,
        params: Any,
        lr: float | Tensor = 1e-2,
        lr_decay: float = 0,
        weight_decay: float = 0,
        initial_accumulator_value: float = 0,
        eps: float = 1e-10,
        foreach: bool | None = None,
        *,
        maximize: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
    ):
        check_lr(lr)
        at_least_zero(
            lr_decay=lr_decay,
            weight_decay=weight_decay,
            initial_accumulator_value=initial_accumulator_value,
            epsilon=eps,
        )
        check_implementation(foreach, fused, differentiable)
        super().__init__(
            params,
            {
                "lr": lr,
                "lr_decay": lr_decay,
                "eps": eps,
                "weight_decay": weight_decay,
                "initial_accumulator_value": initial_accumulator_value,
                "foreach": foreach,
                "maximize": maximize,
                "differentiable": differentiable,
                "fused": fused,
            },
        )
        for group in self.param_groups:  # the sums exist from the start, so that they can be shared
            for param in group["params"]:
                self.state[param] = self._new_state(param, group)

    def _state_names(self, group: dict[str, Any]) -> tuple[str, ...]:
        return ("sum",)

    def _new_state(self, param: Tensor, group: dict[str, Any]) -> dict[str, Any]:
        state = super()._new_state(param, group)
        start = group["initial_accumulator_value"]
        state["sum"].fill_(complex(start, start) if param.is_complex() else start)
        return state

    def share_memory(self) -> None:
        """Move the state into memory that processes share."""
        for state in self.state.values():
            state["sum"].share_memory_()

    def _update_sparse(self, param: Tensor, grad: Tensor, group: dict[str, Any]) -> None:
        if group["weight_decay"]:
            raise RuntimeError("weight_decay option is not compatible with sparse gradients")
        state = self._state_of(param, group)
        options = self._rule(group, self._advance(param, state, group), state)[1]
        grad = grad.coalesce()
        at, g = tuple(grad.indices()), grad.values()
        total = state["sum"][at] + g * g
        state["sum"][at] = total
        param.index_put_(at, g / (total.sqrt() + options["eps"]) * -options["lr"], accumulate=True)

    def _rule(self, group: dict[str, Any], step: Any, state: dict[str, Any]) -> tuple[Any, dict]:
        lr = number(group["lr"]) / (1 + (step - 1) * group["lr_decay"])
        return rules.adagrad, {"lr": lr, "eps": group["eps"]}


class Adadelta(RuleOptimizer):
    """Steps scaled by the ratio of the mean squares of steps and gradients (Zeiler, 2012).

    >>> optimizer = torch.optim.Adadelta(model.parameters())
    """

    def __init__(
        self,
        params: Any,
        lr: float | Tensor = 1.0,
        rho: float = 0.9,
        eps: float = 1e-6,
        weight_decay: float = 0,
        foreach: bool | None = None,
        *,
        capturable: bool = False,
        maximize: bool = False,
        differentiable: bool = False,
    ):
        check_lr(lr)
        if not 0.0 <= rho <= 1.0:
            raise ValueError(f"Invalid rho value: {rho}")
        at_least_zero(epsilon=eps, weight_decay=weight_decay)
        super().__init__(
            params,
            {
                "lr": lr,
                "rho": rho,
                "eps": eps,
                "weight_decay": weight_decay,
                "maximize": maximize,
                "capturable": capturable,
                "foreach": foreach,
                "differentiable": differentiable,
            },
        )

    def _state_names(self, group: dict[str, Any]) -> tuple[str, ...]:
        return ("square_avg", "acc_delta")

    def _rule(self, group: dict[str, Any], step: Any, state: dict[str, Any]) -> tuple[Any, dict]:
        return rules.adadelta, {name: number(group[name]) for name in ("lr", "rho", "eps")}


class ASGD(RuleOptimizer):
    """Gradient descent whose path is averaged from step ``t0`` on, in the state ``ax``.

    The step size is lr / (1 + lambd * lr * t) ** alpha (Polyak and Juditsky, 1992).

    >>> optimizer = torch.optim.ASGD(model.parameters(), lr=0.01)
    """

    def __init__(
        self,
        params: Any,
        lr: float | Tensor = 1e-2,
        lambd: float = 1e-4,
        alpha: float = 0.75,
        t0: float = 1e6,
        weight_decay: float = 0,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
        capturable: bool = False,
    ):
        check_lr(lr)
        at_least_zero(weight_decay=weight_decay)
        super().__init__(
            params,
            {
                "lr": lr,
                "lambd": lambd,
                "alpha": alpha,
                "t0": t0,
                "weight_decay": weight_decay,
                "foreach": foreach,
                "maximize": maximize,
                "differentiable": differentiable,
                "capturable": capturable,
            },
        )

    def _state_names(self, group: dict[str, Any]) -> tuple[str, ...]:
        return ("ax",)

    def _new_state(self, param: Tensor, group: dict[str, Any]) -> dict[str, Any]:
        state = super()._new_state(param, group)
        eta = torch.tensor(number(group["lr"]), dtype=torch.float32)
        return {"step": state["step"], "eta": eta, "mu": torch.tensor(1.0), "ax": state["ax"]}

    def _advance(self, param: Tensor, state: dict[str, Any], group: dict[str, Any]) -> Any:
        # This step uses the rates that the last one left; then they are those of the next.
        step = super()._advance(param, state, group)
        eta, mu = state["eta"].item(), state["mu"].item()
        lr, lambd = number(group["lr"]), group["lambd"]
        state["eta"] = torch.tensor(lr / (1 + lambd * lr * step) ** group["alpha"])
        state["mu"] = torch.tensor(1 / max(1.0, step - group["t0"]))
        return eta, mu

    def _rule(self, group: dict[str, Any], step: Any, state: dict[str, Any]) -> tuple[Any, dict]:
        eta, mu = step
        return rules.asgd, {"eta": eta, "mu": mu, "lambd": group["lambd"]}


class Rprop(RuleOptimizer):
    """Resilient backpropagation: steps by the sign of the gradient (Riedmiller and Braun, 1993).

    A step size shrinks by ``etas[0]`` where the sign turned, grows by ``etas[1]`` where it stayed,
    within ``step_sizes``. For whole batches only.

    >>> optimizer = torch.optim.Rprop(model.parameters())
    """

    def __init__(
        self,
        params: Any,
        lr: float | Tensor = 1e-2,
        etas: tuple[float, float] = (0.5, 1.2),
        step_sizes: tuple[float, float] = (1e-6, 50),
        *,
        capturable: bool = False,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
    ):
        check_lr(lr)
        if not 0.0 < etas[0] < 1.0 < etas[1]:
            raise ValueError(f"Invalid eta values: {etas[0]}, {etas[1]}")
        super().__init__(
            params,
            {
                "lr": lr,
                "etas": etas,
                "step_sizes": step_sizes,
                "foreach": foreach,
                "maximize": maximize,
                "differentiable": differentiable,
                "capturable": capturable,
            },
        )

    def _state_names(self, group: dict[str, Any]) -> tuple[str, ...]:
        return ("prev", "step_size")

    def _new_state(self, param: Tensor, group: dict[str, Any]) -> dict[str, Any]:
        state = super()._new_state(param, group)
        lr = number(group["lr"])
        state["step_size"].fill_(complex(lr, lr) if param.is_complex() else lr)
        return state

    def _rule(self, group: dict[str, Any], step: Any, state: dict[str, Any]) -> tuple[Any, dict]:
        (shrink, grow), (smallest, largest) = group["etas"], group["step_sizes"]
        options = {"shrink": shrink, "grow": grow, "smallest": smallest, "largest": largest}
        return rules.rprop, options
