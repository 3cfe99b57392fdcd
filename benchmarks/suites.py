"""All groups of workloads, by the name that the command line has for them."""

from __future__ import annotations

from . import kernels, matmul, models, overhead

SUITES = {
    "overhead": overhead.GROUPS,
    "kernels": kernels.GROUPS,
    "matmul": matmul.GROUPS,
    "models": models.GROUPS,
}
