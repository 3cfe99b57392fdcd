"""All groups of workloads, by the name that the command line has for them."""

from __future__ import annotations

from . import convolution, kernels, linalg, matmul, models, movement, overhead, training

SUITES = {
    "overhead": overhead.GROUPS,
    "kernels": kernels.GROUPS,
    "movement": movement.GROUPS,
    "matmul": matmul.GROUPS,
    "convolution": convolution.GROUPS,
    "linalg": linalg.GROUPS,
    "models": models.GROUPS,
    "training": training.GROUPS,
}
