"""`ZeroRedundancyOptimizer`: each process has the optimizer's state of a part of the parameters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import taimatsu as torch

from .. import collectives as dist

__all__ = ["ZeroRedundancyOptimizer"]


class ZeroRedundancyOptimizer(torch.optim.Optimizer):
    """An optimizer whose state is divided: each process updates some parameters, and sends them.

    ``optimizer_class`` and ``defaults``: what updates a part. Parameters go, the largest first, to
    the process that has the least. `consolidate_state_dict` collects the state for `state_dict`.

    >>> optimizer = ZeroRedundancyOptimizer(
    ...     model.parameters(), optimizer_class=torch.optim.Adam, lr=0.01
    ... )
    """

    def __init__(
        self, params: Any, optimizer_class: type[torch.optim.Optimizer], process_group: Any = None,
        parameters_as_bucket_view: bool = False, overlap_with_ddp: bool = False, **defaults: Any,
    ):  # fmt: skip
        if overlap_with_ddp:
            raise NotImplementedError(
                "ZeroRedundancyOptimizer: overlap_with_ddp=True isn't there; leave it out"
            )
        self._group = process_group or dist._world()
        self._class, self._options = optimizer_class, defaults
        self._whole: list[dict] | None = None
        self.optim: torch.optim.Optimizer | None = None
        super().__init__(params, defaults)
        self._divide()

    def _divide(self) -> None:
        load = [0] * self._group.size()
        self._owner: dict[Any, int] = {}
        every = [p for g in self.param_groups for p in g["params"]]
        for p in sorted(every, key=lambda p: -p.numel()):
            rank = load.index(min(load))
            load[rank] += p.numel()
            self._owner[p] = rank
        mine = []
        for g in self.param_groups:
            own = [p for p in g["params"] if self._owner[p] == self._group.rank()]
            mine.append({**g, "params": own})
        before = self.optim.state if self.optim is not None else {}
        self.optim = self._class(mine, **self._options)
        self.optim.state.update(before)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Adds parameters, and divides them anew."""
        super().add_param_group(param_group)
        if self.optim is not None:
            self._divide()

    def _options_to(self) -> None:
        """What a scheduler set, for the part's optimizer."""
        assert self.optim is not None
        for whole, own in zip(self.param_groups, self.optim.param_groups, strict=True):
            own.update({k: v for k, v in whole.items() if k != "params"})

    def step(self, closure: Callable | None = None, **kwargs: Any) -> Any:
        """Updates this process's part, and takes the others' from them."""
        assert self.optim is not None
        self._options_to()
        loss = self.optim.step(closure, **kwargs) if closure else self.optim.step(**kwargs)
        with torch.no_grad():
            for p, rank in self._owner.items():
                dist.broadcast(p.detach(), group=self._group, group_src=rank)
        return loss

    # ---- state dicts
    def consolidate_state_dict(self, to: int = 0) -> None:
        """Collects the state of all processes in process ``to``, for its `state_dict`."""
        assert self.optim is not None
        self._options_to()
        numbers = {p: i for i, p in enumerate(self._params())}
        own = {numbers[p]: dict(values) for p, values in self.optim.state.items()}
        found: list[Any] | None = None
        if self._group.rank() == to:
            found = [None] * self._group.size()
        dist.gather_object(own, found, dst=dist.get_global_rank(self._group, to),
                           group=self._group)  # fmt: skip
        self._whole = found

    def _params(self) -> list[Any]:
        return [p for g in self.param_groups for p in g["params"]]

    def state_dict(self) -> dict[str, Any]:
        """The whole state. RuntimeError before `consolidate_state_dict`, or in other processes."""
        if self._whole is None:
            raise RuntimeError(
                "Optimizer state has not been consolidated on this rank. Please call "
                f"`consolidate_state_dict(to={self._group.rank()})` on all ranks beforehand"
            )
        whole = super().state_dict()
        whole["state"] = {i: v for part in self._whole for i, v in part.items()}
        return whole

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes a whole state: of it this process's part."""
        assert self.optim is not None
        params = self._params()
        mine = {p: i for i, p in enumerate(self.optim_params())}
        part = {
            mine[params[i]]: v for i, v in state_dict["state"].items() if params[i] in mine
        }  # fmt: skip
        groups, at = [], 0
        for given, own in zip(state_dict["param_groups"], self.optim.param_groups, strict=True):
            numbers = list(range(at, at + len(own["params"])))
            at += len(numbers)
            groups.append({**given, "params": numbers})
        self.optim.load_state_dict({"state": part, "param_groups": groups})
        for whole, given in zip(self.param_groups, state_dict["param_groups"], strict=True):
            whole.update({k: v for k, v in given.items() if k != "params"})

    def optim_params(self) -> list[Any]:
        """This process's parameters."""
        assert self.optim is not None
        return [p for g in self.optim.param_groups for p in g["params"]]
