"""`DistributedDataParallel`, which needs `taimatsu.distributed`: not there yet."""

from __future__ import annotations

from typing import Any

from taimatsu.nn.module import Module

__all__ = ["DistributedDataParallel"]


class DistributedDataParallel(Module):
    """A module trained by several processes. RuntimeError: there are no process groups yet."""

    def __init__(self, module: Module, *args: Any, **kwargs: Any):
        raise RuntimeError(
            "DistributedDataParallel: torch.distributed is not available in this build "
            "(torch.distributed.is_available() is False); train the module itself in one process"
        )
