"""What all schedules share: counting, applying rates, saving."""

from __future__ import annotations

import functools
import warnings
import weakref
from typing import Any

from taimatsu import Tensor
from taimatsu.optim.optimizer import Optimizer

__all__ = ["LRScheduler"]


def _copied(value: Any) -> Any:
    return value.clone() if isinstance(value, Tensor) else value


def _set(group: dict[str, Any], key: str, value: Any) -> None:
    """Write an option; a tensor keeps its identity, since a compiled step may hold it."""
    if isinstance(group[key], Tensor):
        group[key].fill_(value if not isinstance(value, Tensor) else value.item())
    else:
        group[key] = value


def _per_group(name: str, optimizer: Optimizer, value: Any) -> list:
    """``value`` for each parameter group; ValueError if a list has another length."""
    n = len(optimizer.param_groups)
    if not isinstance(value, (list, tuple)):
        return [value] * n
    if len(value) != n:
        raise ValueError(
            f"{name} must have the same length as optimizer.param_groups: expected {n}, got "
            f"{len(value)}"
        )
    return list(value)


class LRScheduler:
    """Base class of schedules.

    ``last_epoch`` -1 starts anew and keeps the present rates as ``initial_lr`` of the groups;
    another value resumes. A subclass defines ``get_lr``.
    """

    _get_lr_called_within_step = False
    _is_initial = False
    _not_saved: tuple[str, ...] = ("optimizer",)

    def __init__(self, optimizer: Optimizer, last_epoch: int = -1):
        if not isinstance(optimizer, Optimizer):
            raise TypeError(f"{type(optimizer).__name__} is not an Optimizer")
        self.optimizer = optimizer
        for i, group in enumerate(optimizer.param_groups):
            if last_epoch == -1:
                group.setdefault("initial_lr", _copied(group["lr"]))
            elif "initial_lr" not in group:
                raise KeyError(
                    f"param 'initial_lr' is not specified in param_groups[{i}] when resuming "
                    f"scheduler with last_epoch >= 0"
                )
        self.base_lrs = [_copied(group["initial_lr"]) for group in optimizer.param_groups]
        self.last_epoch = last_epoch
        self._count_optimizer_steps()
        self._initial_step()

    def _count_optimizer_steps(self) -> None:
        """Make ``optimizer.step`` note that it ran, for the warning about the order of calls."""
        optimizer = self.optimizer
        if hasattr(optimizer.step, "_counted"):
            return
        ref, step = weakref.ref(optimizer), optimizer.step.__func__

        @functools.wraps(step)
        def counted_step(*args, **kwargs):
            optimizer = ref()
            optimizer._opt_called = True
            return step(optimizer, *args, **kwargs)

        counted_step._counted = True
        optimizer.step = counted_step

    def _initial_step(self) -> None:
        self._step_count = 0
        self._is_initial = True
        try:
            self.step()
        finally:
            self._is_initial = False

    def state_dict(self) -> dict[str, Any]:
        """All of the schedule's fields but the optimizer."""
        return {k: v for k, v in self.__dict__.items() if k not in self._not_saved}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over what `state_dict` gave."""
        self.__dict__.update(state_dict)

    def get_last_lr(self) -> list:
        """The rates that the last step set, one for each group."""
        return self._last_lr

    def get_lr(self) -> list:
        """The rates of the epoch ``last_epoch``; called by `step`."""
        raise NotImplementedError(f"{type(self).__name__}: must define get_lr()")

    def _lrs(self) -> list:
        return [_copied(group["lr"]) for group in self.optimizer.param_groups]

    def _scaled(self, factor: Any) -> list:
        """The present rates times ``factor``."""
        return [group["lr"] * factor for group in self.optimizer.param_groups]

    def step(self, epoch: int | None = None) -> None:
        """Go to the next epoch (or to ``epoch``, deprecated) and set its rates."""
        if self._step_count == 1 and not getattr(self.optimizer, "_opt_called", False):
            if not hasattr(self.optimizer.step, "_counted"):
                message = "the optimizer's step was replaced after the schedule was made"
            else:
                message = (
                    "lr_scheduler.step() was called before optimizer.step(), which skips the "
                    "first value of the schedule; call optimizer.step() first"
                )
            warnings.warn(message, UserWarning, stacklevel=2)
        self._step_count += 1
        if epoch is not None:
            warnings.warn(
                "step: the epoch argument is deprecated; step() goes one epoch on",
                UserWarning,
                stacklevel=2,
            )
        self._update_lr(epoch)

    def _update_lr(self, epoch: int | None = None) -> None:
        self._get_lr_called_within_step = True
        try:
            if epoch is None:
                self.last_epoch += 1
                values = self.get_lr()
            else:
                self.last_epoch = epoch
                values = getattr(self, "_get_closed_form_lr", self.get_lr)()
        finally:
            self._get_lr_called_within_step = False
        for group, lr in zip(self.optimizer.param_groups, values, strict=False):
            _set(group, "lr", lr)
        self._last_lr = self._lrs()
