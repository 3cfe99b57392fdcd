"""``tensor.parallel``: a model's layers divided among the processes of a mesh.

>>> plan = {"up": ColwiseParallel(), "down": RowwiseParallel()}
>>> model = parallelize_module(model, mesh["tp"], plan)  # doctest: +SKIP
"""

from __future__ import annotations

from .api import parallelize_module
from .loss import loss_parallel
from .style import (
    ColwiseParallel,
    ParallelStyle,
    PrepareModuleInput,
    PrepareModuleInputOutput,
    PrepareModuleOutput,
    RowwiseParallel,
    SequenceParallel,
)

__all__ = [
    "ColwiseParallel", "ParallelStyle", "PrepareModuleInput", "PrepareModuleInputOutput",
    "PrepareModuleOutput", "RowwiseParallel", "SequenceParallel", "loss_parallel",
    "parallelize_module",
]  # fmt: skip
