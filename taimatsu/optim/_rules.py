"""Steps over groups of parameters: by one rule for whole lists, or tensor by tensor."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any

import taimatsu as torch
from taimatsu import Tensor, _core

from .optimizer import Optimizer, number

__all__ = ["RuleOptimizer", "TensorOptimizer"]


def _real(t: Tensor) -> Tensor:
    return torch.view_as_real(t) if t.is_complex() else t


class _GroupOptimizer(Optimizer):
    """An optimizer that updates one group after another."""

    # A step of a parameter against its sparse gradient, where an optimizer takes these.
    _update_sparse: Callable[[Tensor, Tensor, dict[str, Any]], None] | None = None

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update all parameters that have a gradient.

        ``closure`` recomputes the loss (zero_grad, forward, backward); its value is returned.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        with torch.set_grad_enabled(bool(self.defaults.get("differentiable"))):
            for group in self.param_groups:
                self._update_group(group)
        return loss

    def _update_group(self, group: dict[str, Any]) -> None:
        raise NotImplementedError

    def _trained(self, group: dict[str, Any]) -> list[tuple[Tensor, Tensor]]:
        """Parameters with their gradients; RuntimeError, before any changes, if one is sparse and
        the optimizer doesn't take that."""
        trained = [(p, p.grad) for p in group["params"] if p.grad is not None]
        if self._update_sparse is None and any(grad.is_sparse for _, grad in trained):
            raise RuntimeError(
                f"{type(self).__name__} does not support sparse gradients; make the gradient "
                "dense, or use SparseAdam"
            )
        return trained


class TensorOptimizer(_GroupOptimizer):
    """An optimizer of real tensors whose `_update` is a function of several ops."""

    def _update(self, param: Tensor, grad: Tensor, group: dict[str, Any]) -> None:
        raise NotImplementedError

    def _update_group(self, group: dict[str, Any]) -> None:
        trained = self._trained(group)
        if any(param.is_complex() for param, _ in trained):
            raise RuntimeError(f"{type(self).__name__} does not support complex parameters")
        for param, grad in trained:
            self._update(param, grad, group)


class RuleOptimizer(_GroupOptimizer):
    """An optimizer that is a pointwise rule and some state tensors for each parameter.

    A subclass names its state tensors (``_state_names``, of a group) and gives the rule and its
    options for the parameters that have made ``step`` steps (``_rule``).
    """

    def _state_names(self, group: dict[str, Any]) -> tuple[str, ...]:
        """The state tensors that the rule takes, in the order of its schema."""
        raise NotImplementedError

    def _rule(self, group: dict[str, Any], step: Any, state: dict[str, Any]) -> tuple[Any, dict]:
        """(op, options) for the ``step``-th step; ``state`` is that of one of the parameters."""
        raise NotImplementedError

    def _new_state(self, param: Tensor, group: dict[str, Any]) -> dict[str, Any]:
        """The state of a parameter before its first step: a count and zeros."""
        zeros = {
            name: torch.zeros_like(param, memory_format=torch.preserve_format)
            for name in self._state_names(group)
        }
        return {"step": torch.tensor(0.0, dtype=torch.float32), **zeros}

    def _advance(self, param: Tensor, state: dict[str, Any], group: dict[str, Any]) -> Any:
        """Count a step; gives what parameters must share to be updated by one call."""
        state["step"] += 1
        return state["step"].item()

    def _update_group(self, group: dict[str, Any]) -> None:
        names = self._state_names(group)
        for step, members in self._by_step(group):
            rule, options = self._rule(group, step, members[0][1])
            if group.get("weight_decay"):
                options["weight_decay"] = number(group["weight_decay"])
            if group.get("maximize"):
                options["maximize"] = True
            lists = [
                [_real(p) for p, _ in members],
                [_real(p.grad) for p, _ in members],
                *([_real(state[name]) for _, state in members] for name in names),
            ]
            _core.apply_list(rule, lists, options)

    def _state_of(self, param: Tensor, group: dict[str, Any]) -> dict[str, Any]:
        state = self.state.get(param)
        if not state:
            state = self._new_state(param, group)
            if state:
                self.state[param] = state
        return state

    def _by_step(self, group: dict[str, Any]) -> Iterator[tuple[Any, list]]:
        """(count, [(param, state), ...]): parameters with gradients, by their number of steps."""
        members: defaultdict[Any, list] = defaultdict(list)
        for param, grad in self._trained(group):
            if grad.is_sparse:
                assert self._update_sparse is not None
                self._update_sparse(param, -grad if group.get("maximize") else grad, group)
                continue
            state = self._state_of(param, group)
            members[self._advance(param, state, group)].append((param, state))
        yield from members.items()
