"""L-BFGS with an optional strong Wolfe line search."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import taimatsu as torch
from taimatsu import Tensor

from .optimizer import Optimizer, check_lr, number

__all__ = ["LBFGS"]


def _cubic_minimum(x1, f1, g1, x2, f2, g2, bounds=None) -> float:
    """The minimum of the cubic through two points with their slopes, inside the bounds."""
    low, high = bounds if bounds is not None else (min(x1, x2), max(x1, x2))
    d1 = g1 + g2 - 3 * (f1 - f2) / (x1 - x2)
    square = d1**2 - g1 * g2
    if square < 0:
        return (low + high) / 2.0
    d2 = square**0.5
    if x1 <= x2:
        x = x2 - (x2 - x1) * ((g2 + d2 - d1) / (g2 - g1 + 2 * d2))
    else:
        x = x1 - (x1 - x2) * ((g1 + d2 - d1) / (g1 - g2 + 2 * d2))
    return min(max(x, low), high)


def strong_wolfe(
    evaluate: Callable[[float], tuple[float, Tensor]],
    t: float,
    direction: Tensor,
    f: float,
    g: Tensor,
    gtd: float,
    c1: float = 1e-4,
    c2: float = 0.9,
    tolerance_change: float = 1e-9,
    max_ls: int = 25,
) -> tuple[float, Tensor, float, int]:
    """A step along ``direction`` that fulfils the strong Wolfe conditions.

    ``evaluate(t)`` gives loss and flat gradient; ``gtd`` is the slope at 0. Gives (loss,
    gradient, step, evaluations). First a bracket is grown, then it is shrunk (Nocedal and
    Wright, algorithms 3.5 and 3.6).
    """
    size = float(direction.abs().max())
    start_f, start_slope = f, gtd
    new_f, new_g = evaluate(t)
    evaluations = 1
    new_slope = float(new_g.dot(direction))
    last = (0.0, f, g.clone(), gtd)
    bracket: list[tuple[float, float, Tensor, float]] = []
    done = False
    tries = 0
    while tries < max_ls:
        here = (t, new_f, new_g.clone(), new_slope)
        if new_f > start_f + c1 * t * start_slope or (tries > 1 and new_f >= last[1]):
            bracket = [last, here]
            break
        if abs(new_slope) <= -c2 * start_slope:
            bracket, done = [here], True
            break
        if new_slope >= 0:
            bracket = [last, here]
            break
        bounds = (t + 0.01 * (t - last[0]), t * 10)
        grown = _cubic_minimum(last[0], last[1], last[3], t, new_f, new_slope, bounds)
        last, t = here, grown
        new_f, new_g = evaluate(t)
        evaluations += 1
        new_slope = float(new_g.dot(direction))
        tries += 1
    if tries == max_ls:
        bracket = [(0.0, start_f, g, start_slope), (t, new_f, new_g, new_slope)]

    stuck = False
    low, high = (0, 1) if bracket[0][1] <= bracket[-1][1] else (1, 0)
    while not done and tries < max_ls:
        if abs(bracket[1][0] - bracket[0][0]) * size < tolerance_change:
            break
        (t0, f0, _, s0), (t1, f1, _, s1) = bracket
        t = _cubic_minimum(t0, f0, s0, t1, f1, s1)
        left, right = min(t0, t1), max(t0, t1)
        margin = 0.1 * (right - left)
        if min(right - t, t - left) < margin:  # too near to a border, twice: go a tenth inside
            if stuck or t >= right or t <= left:
                t = right - margin if abs(t - right) < abs(t - left) else left + margin
                stuck = False
            else:
                stuck = True
        else:
            stuck = False
        new_f, new_g = evaluate(t)
        evaluations += 1
        new_slope = float(new_g.dot(direction))
        tries += 1
        here = (t, new_f, new_g.clone(), new_slope)
        if new_f > start_f + c1 * t * start_slope or new_f >= bracket[low][1]:
            bracket[high] = here
            low, high = (0, 1) if bracket[0][1] <= bracket[1][1] else (1, 0)
        else:
            if abs(new_slope) <= -c2 * start_slope:
                done = True
            elif new_slope * (bracket[high][0] - bracket[low][0]) >= 0:
                bracket[high] = bracket[low]
            bracket[low] = here
    t, new_f, new_g, _ = bracket[low if len(bracket) > 1 else 0]
    return new_f, new_g, t, evaluations


class LBFGS(Optimizer):
    """Limited-memory BFGS: one group of parameters, and a closure that `step` calls many times.

    A step makes up to ``max_iter`` iterations and ``max_eval`` (1.25 * max_iter) evaluations.
    ``line_search_fn``: None or 'strong_wolfe'.

    >>> optimizer = torch.optim.LBFGS(model.parameters())
    >>> def closure():
    ...     optimizer.zero_grad()
    ...     loss = model(x).square().mean()
    ...     loss.backward()
    ...     return loss
    >>> optimizer.step(closure) > model(x).square().mean()
    tensor(True)
    """

    def __init__(
        self,
        params: Any,
        lr: float | Tensor = 1,
        max_iter: int = 20,
        max_eval: int | None = None,
        tolerance_grad: float = 1e-7,
        tolerance_change: float = 1e-9,
        history_size: int = 100,
        line_search_fn: str | None = None,
    ):
        check_lr(lr)
        super().__init__(
            params,
            {
                "lr": lr,
                "max_iter": max_iter,
                "max_eval": max_iter * 5 // 4 if max_eval is None else max_eval,
                "tolerance_grad": tolerance_grad,
                "tolerance_change": tolerance_change,
                "history_size": history_size,
                "line_search_fn": line_search_fn,
            },
        )
        if len(self.param_groups) != 1:
            raise ValueError("LBFGS doesn't support per-parameter options (parameter groups)")
        self._params = self.param_groups[0]["params"]

    @staticmethod
    def _real(t: Tensor) -> Tensor:
        return torch.view_as_real(t) if t.is_complex() else t

    def _gradient(self) -> Tensor:
        parts = [
            p.new_zeros(p.numel()) if p.grad is None else p.grad.reshape(-1) for p in self._params
        ]
        return torch.cat([self._real(part).reshape(-1) for part in parts])

    def _move(self, step: float, direction: Tensor) -> None:
        start = 0
        for param in self._params:
            values = self._real(param)
            n = values.numel()
            values.add_(direction[start : start + n].view_as(values), alpha=step)
            start += n

    def _direction(self, state: dict[str, Any], gradient: Tensor) -> Tensor:
        """The inverse Hessian's estimate times minus the gradient, by two recursions."""
        dirs, steps, ro = state["old_dirs"], state["old_stps"], state["ro"]
        q = gradient.neg()
        weights = state["al"]
        for i in range(len(dirs) - 1, -1, -1):
            weights[i] = steps[i].dot(q) * ro[i]
            q.add_(dirs[i], alpha=-float(weights[i]))
        r = q * state["H_diag"]
        for i in range(len(dirs)):
            r.add_(steps[i], alpha=float(weights[i] - dirs[i].dot(r) * ro[i]))
        return r

    def _remember(self, state: dict[str, Any], gradient: Tensor, history: int) -> None:
        """Add the last step and its change of the gradient to the history."""
        change = gradient.sub(state["prev_flat_grad"])
        step = state["d"].mul(state["t"])
        curvature = float(change.dot(step))
        if curvature <= 1e-10:
            return
        if len(state["old_dirs"]) == history:
            for name in ("old_dirs", "old_stps", "ro"):
                state[name].pop(0)
        state["old_dirs"].append(change)
        state["old_stps"].append(step)
        state["ro"].append(1.0 / curvature)
        state["H_diag"] = curvature / float(change.dot(change))

    def step(self, closure: Callable[[], Any]) -> Any:
        """Minimise; ``closure`` clears the gradients, computes the loss and its gradients.

        Gives the loss before the step.
        """
        with torch.no_grad():
            return self._minimise(closure)

    def _minimise(self, closure: Callable[[], Any]) -> Any:
        group = self.param_groups[0]
        lr, tolerance = number(group["lr"]), group["tolerance_change"]
        state = self.state[self._params[0]]
        state.setdefault("func_evals", 0)
        state.setdefault("n_iter", 0)

        def evaluate() -> Any:
            with torch.enable_grad():
                return closure()

        first_loss = evaluate()
        loss = float(first_loss)
        evaluations = 1
        state["func_evals"] += 1
        gradient = self._gradient()
        if float(gradient.abs().max()) <= group["tolerance_grad"]:
            return first_loss
        state.setdefault("al", [None] * group["history_size"])
        iterations = 0
        while iterations < group["max_iter"]:
            iterations += 1
            state["n_iter"] += 1
            if state["n_iter"] == 1:
                state.update(d=gradient.neg(), old_dirs=[], old_stps=[], ro=[], H_diag=1)
            else:
                self._remember(state, gradient, group["history_size"])
                state["d"] = self._direction(state, gradient)
            direction = state["d"]
            state["prev_flat_grad"] = gradient.clone()
            state["prev_loss"] = before = loss
            first = state["n_iter"] == 1
            t = min(1.0, 1.0 / float(gradient.abs().sum())) * lr if first else lr
            slope = float(gradient.dot(direction))
            state["t"] = t
            if slope > -tolerance:
                break
            used = 0
            if group["line_search_fn"] is not None:
                if group["line_search_fn"] != "strong_wolfe":
                    raise RuntimeError("only 'strong_wolfe' is supported")
                start = [p.clone() for p in self._params]

                def at(step: float, start=start, direction=direction) -> tuple[float, Tensor]:
                    self._move(step, direction)
                    value = float(evaluate())
                    slope_there = self._gradient()
                    for param, saved in zip(self._params, start, strict=True):
                        param.copy_(saved)
                    return value, slope_there

                loss, gradient, t, used = strong_wolfe(at, t, direction, loss, gradient, slope)
                self._move(t, direction)
            else:
                self._move(t, direction)
                if iterations != group["max_iter"]:
                    loss = float(evaluate())
                    gradient = self._gradient()
                    used = 1
            state["t"] = t
            evaluations += used
            state["func_evals"] += used
            if (
                evaluations >= group["max_eval"]
                or float(gradient.abs().max()) <= group["tolerance_grad"]
                or float(direction.mul(t).abs().max()) <= tolerance
                or abs(loss - before) < tolerance
            ):
                break
        return first_loss
