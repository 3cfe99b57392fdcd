"""Averages of a model's parameters over training: stochastic weight averaging, and moving ones."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable
from typing import Any

import taimatsu as torch
from taimatsu import Tensor
from taimatsu.nn import Module
from taimatsu.nn.norm import _BatchNorm

from .lr_scheduler import LRScheduler

__all__ = [
    "SWALR",
    "AveragedModel",
    "get_ema_avg_fn",
    "get_ema_multi_avg_fn",
    "get_swa_avg_fn",
    "get_swa_multi_avg_fn",
    "update_bn",
]


def _check_decay(decay: float) -> None:
    if not 0.0 <= decay <= 1.0:
        raise ValueError(f"Invalid decay value {decay} provided. Please provide a value in [0,1].")


def get_ema_avg_fn(decay: float = 0.999) -> Callable:
    """The average that moves by 1 - decay towards each new value: a function of tensors.

    >>> get_ema_avg_fn(0.9)(torch.tensor([0.0]), torch.tensor([1.0]), torch.tensor([3]))
    tensor([0.1000])
    """
    _check_decay(decay)

    def average(ema: Tensor, current: Tensor, count: Any) -> Tensor:
        with torch.no_grad():
            return decay * ema + (1 - decay) * current

    return average


def get_swa_avg_fn() -> Callable:
    """The average of all values with the same weight: a function of tensors.

    >>> get_swa_avg_fn()(torch.tensor([0.0]), torch.tensor([1.0]), torch.tensor([3]))
    tensor([0.2500])
    """

    def average(mean: Tensor, current: Tensor, count: Any) -> Tensor:
        with torch.no_grad():
            return mean + (current - mean) / (count + 1)

    return average


def _over_lists(weight: Callable[[Any], Any]) -> Callable:
    def average(averages: Any, currents: Any, count: Any) -> None:
        with torch.no_grad():
            for a, c in zip(averages, currents, strict=True):
                if a.is_floating_point() or a.is_complex():
                    a.lerp_(c.to(a.dtype), float(weight(count)))
                else:
                    a.copy_(c)

    return average


def get_ema_multi_avg_fn(decay: float = 0.999) -> Callable:
    """`get_ema_avg_fn` of lists of tensors, in place.

    >>> average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.99))
    """
    _check_decay(decay)
    return _over_lists(lambda count: 1 - decay)


def get_swa_multi_avg_fn() -> Callable:
    """`get_swa_avg_fn` of lists of tensors, in place.

    >>> average = AveragedModel(model, multi_avg_fn=get_swa_multi_avg_fn())
    """
    return _over_lists(lambda count: 1 / (count + 1))


class AveragedModel(Module):
    """A copy of a model whose parameters are averages of the model's.

    ``avg_fn(average, value, count)`` gives the new average of one tensor, ``multi_avg_fn`` updates
    lists of them in place; by default all values have the same weight. ``use_buffers``: buffers are
    averaged too, else copied.

    >>> average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.999))
    >>> average.update_parameters(model)  # after each step of the optimizer
    """

    n_averaged: Tensor

    def __init__(
        self,
        model: Module,
        device: Any = None,
        avg_fn: Callable | None = None,
        multi_avg_fn: Callable | None = None,
        use_buffers: bool = False,
    ):
        super().__init__()
        if avg_fn is not None and multi_avg_fn is not None:
            raise AssertionError("Only one of avg_fn and multi_avg_fn should be provided")
        self.module = copy.deepcopy(model)
        if device is not None:
            self.module = self.module.to(device)
        self.register_buffer("n_averaged", torch.tensor(0, dtype=torch.long, device=device))
        self.avg_fn, self.multi_avg_fn, self.use_buffers = avg_fn, multi_avg_fn, use_buffers

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.module(*args, **kwargs)

    def _tensors(self, model: Module) -> list[Tensor]:
        tensors: list[Tensor] = list(model.parameters())
        return tensors + list(model.buffers()) if self.use_buffers else tensors

    def update_parameters(self, model: Module) -> None:
        """Takes in the model's present parameters."""
        mine = [t.detach() for t in self._tensors(self.module)]
        theirs = [t.detach().to(a.device) for t, a in zip(self._tensors(model), mine, strict=True)]
        if self.n_averaged == 0:
            for a, t in zip(mine, theirs, strict=True):
                a.copy_(t)
        elif self.avg_fn is not None:
            count = self.n_averaged
            for a, t in zip(mine, theirs, strict=True):
                a.copy_(self.avg_fn(a, t, count.to(a.device)))
        else:
            (self.multi_avg_fn or get_swa_multi_avg_fn())(mine, theirs, self.n_averaged)
        if not self.use_buffers:
            for mean, value in zip(self.module.buffers(), model.buffers(), strict=True):
                mean.detach().copy_(value.detach().to(mean.device))
        self.n_averaged += 1


def update_bn(loader: Iterable[Any], model: Module, device: Any = None) -> None:
    """Computes the running statistics of the model's batch norms anew, in one pass over the data.

    Items that are tuples or lists stand for their first element.

    >>> norm = nn.BatchNorm1d(3)
    >>> update_bn([torch.ones(4, 3)], norm)
    >>> norm.running_mean
    tensor([1., 1., 1.])
    """
    norms: list[Any] = [m for m in model.modules() if isinstance(m, _BatchNorm)]
    if not norms:
        return
    training, momenta = model.training, [m.momentum for m in norms]
    model.train()
    for m in norms:
        m.reset_running_stats()
        m.momentum = None  # the average over all batches
    try:
        with torch.no_grad():
            for item in loader:
                x = item[0] if isinstance(item, (list, tuple)) else item
                model(x if device is None else x.to(device))
    finally:
        for m, momentum in zip(norms, momenta, strict=True):
            m.momentum = momentum
        model.train(training)


class SWALR(LRScheduler):
    """Goes from each group's learning rate to ``swa_lr`` in ``anneal_epochs`` steps, and stays.

    ``anneal_strategy``: "cos" or "linear".

    >>> schedule = SWALR(optimizer, swa_lr=0.05)
    """

    def __init__(
        self,
        optimizer: Any,
        swa_lr: float | list[float],
        anneal_epochs: int = 10,
        anneal_strategy: str = "cos",
        last_epoch: int = -1,
    ):
        groups = optimizer.param_groups
        rates = list(swa_lr) if isinstance(swa_lr, (list, tuple)) else [swa_lr] * len(groups)
        if len(rates) != len(groups):
            raise ValueError(
                f"swa_lr must have the same length as optimizer.param_groups: swa_lr has "
                f"{len(rates)}, optimizer.param_groups has {len(groups)}"
            )
        if anneal_strategy not in ("cos", "linear"):
            raise ValueError(
                f"anneal_strategy must by one of 'cos' or 'linear', instead got {anneal_strategy}"
            )
        if not isinstance(anneal_epochs, int) or anneal_epochs < 0:
            raise ValueError(f"anneal_epochs must be equal or greater than 0, got {anneal_epochs}")
        for rate, group in zip(rates, groups, strict=True):
            group["swa_lr"] = rate
        self.anneal_epochs, self._strategy = anneal_epochs, anneal_strategy
        super().__init__(optimizer, last_epoch)

    def _share(self, step: int) -> float:
        """How much of the way is done after that many steps."""
        t = max(0.0, min(1.0, step / max(1, self.anneal_epochs)))
        return t if self._strategy == "linear" else (1 - math.cos(math.pi * t)) / 2

    def get_lr(self) -> list[Any]:
        """The next rates, from the present ones, which others may have changed."""
        step = self._step_count - 1
        if self.anneal_epochs == 0:
            step = max(1, step)
        before, now = self._share(step - 1), self._share(step)
        rates = []
        for group in self.optimizer.param_groups:
            goal = group["swa_lr"]
            start = goal if before == 1 else (group["lr"] - before * goal) / (1 - before)
            rates.append(goal * now + start * (1 - now))
        return rates
