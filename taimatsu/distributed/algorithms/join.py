"""`Join`: training with data of different lengths in the processes."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from typing import Any

import taimatsu as torch

from .. import collectives as dist

__all__ = ["Join", "JoinHook", "Joinable"]


class JoinHook:
    """What a process does when it has no more data, while others have."""

    def main_hook(self) -> None:
        """In each step of the others: the collectives that they do."""

    def post_hook(self, is_last_joiner: bool) -> None:
        """When all are done; ``is_last_joiner``: whether this one was among the last."""


class Joinable(ABC):
    """Something whose steps have collectives, such as `DistributedDataParallel`.

    Its steps call `Join.notify_join_context` before their first collective.
    """

    _join_config: Join | None = None

    @abstractmethod
    def join_hook(self, **kwargs: Any) -> JoinHook:
        """What is done in its place."""

    @property
    @abstractmethod
    def join_device(self) -> Any:
        """Where its collectives are."""

    @property
    @abstractmethod
    def join_process_group(self) -> Any:
        """Among which processes."""


class Join:
    """A context in which processes may have data of different lengths.

    A process that is done takes part in the others' collectives until all are. With
    ``throw_on_early_termination`` all stop with a RuntimeError as soon as one is done.

    >>> with Join([model]):  # doctest: +SKIP
    ...     for x in data:
    ...         model(x).sum().backward()
    """

    def __init__(
        self, joinables: list[Joinable], enable: bool = True,
        throw_on_early_termination: bool = False, **kwargs: Any,
    ):  # fmt: skip
        if not joinables:
            raise ValueError("The join context manager requires at least one joinable")
        self._joinables, self._enable = joinables, enable
        self._throw = throw_on_early_termination
        self._hooks = [j.join_hook(**kwargs) for j in joinables]
        self._group = joinables[0].join_process_group
        self._device = joinables[0].join_device
        if any(j.join_process_group is not self._group for j in joinables):
            raise ValueError("Using join context manager with multiple process groups")

    def __enter__(self) -> Join:
        if self._enable:
            for j in self._joinables:
                j._join_config = self
        return self

    def _count(self, active: bool) -> int:
        """How many processes have data."""
        n = torch.tensor([int(active)], device=self._device)
        dist.all_reduce(n, group=self._group)
        return int(n)

    def __exit__(self, kind: Any, *exc: Any) -> None:
        for j in self._joinables:
            j._join_config = None
        if not self._enable or kind is not None:
            return
        last, steps = True, 0
        while self._count(False):
            if self._throw:
                self._stop()
            last = False
            steps += 1
            if steps == 1000:
                warnings.warn(
                    "Join: 1000 steps since this process ran out of data; use data of lengths "
                    "that differ less", stacklevel=2,
                )  # fmt: skip
            for hook in self._hooks:
                hook.main_hook()
        for hook in self._hooks:
            hook.post_hook(last)

    def _stop(self) -> None:
        raise RuntimeError(
            "Detected at least one rank that exhausted inputs. Throwing across all ranks."
        )

    @staticmethod
    def notify_join_context(joinable: Joinable) -> None:
        """Tells those that are done that this process isn't; once in each step."""
        context = joinable._join_config
        if context is None or joinable is not context._joinables[0]:
            return None
        active = context._count(True)
        if context._throw and active < dist.get_world_size(context._group):
            context._stop()
        return None
