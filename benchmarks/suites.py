"""All groups of workloads, by the name that the command line has for them."""

from __future__ import annotations

from . import (
    attention,
    calls,
    compilation,
    convolution,
    data,
    dtypes,
    kernels,
    linalg,
    matmul,
    models,
    movement,
    optimizers,
    ordering,
    overhead,
)

SUITES = {
    "overhead": overhead.GROUPS,
    "calls": calls.GROUPS,
    "kernels": kernels.GROUPS,
    "dtypes": dtypes.GROUPS,
    "movement": movement.GROUPS,
    "ordering": ordering.GROUPS,
    "matmul": matmul.GROUPS,
    "convolution": convolution.GROUPS,
    "attention": attention.GROUPS,
    "linalg": linalg.GROUPS,
    "models": models.GROUPS,
    "optimizers": optimizers.GROUPS,
    "compilation": compilation.GROUPS,
    "data": data.GROUPS,
}
