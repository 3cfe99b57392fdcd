"""``distributed.optim``: optimizers of several processes, which need process groups."""

from __future__ import annotations

from taimatsu.distributed import _NoGroups

_groups = _NoGroups(globals(), "DISTRIBUTED", RuntimeError)
_groups.types("DistributedOptimizer PostLocalSGDOptimizer ZeroRedundancyOptimizer")

__all__ = list(_groups.names)
