"""`ShardedGradScaler`: infinities in any process's gradients count in all."""

from __future__ import annotations

from typing import Any

import taimatsu as torch
from taimatsu.amp import GradScaler

from .. import collectives as dist

__all__ = ["ShardedGradScaler"]


class ShardedGradScaler(GradScaler):
    """A `GradScaler` for gradients that are divided among the processes of a group."""

    def __init__(self, device: str = "cuda", *args: Any, process_group: Any = None, **options: Any):
        super().__init__(device, *args, **options)
        self.process_group = process_group

    def unscale_(self, optimizer: Any) -> None:
        """As `GradScaler.unscale_`; what was found is that of all processes."""
        super().unscale_(optimizer)
        if optimizer in self._found:
            found = torch.tensor(float(self._found[optimizer]))
            dist.all_reduce(found, dist.ReduceOp.MAX, group=self.process_group)
            self._found[optimizer] = bool(found)
