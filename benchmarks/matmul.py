"""Matrix products of n x n matrices of float32."""

from __future__ import annotations

from .table import Group, Workload

SIZES = (64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048)


def matrices(torch):
    """a64, b64, a96, ...: two random matrices of each size."""
    return {f"{name}{n}": torch.randn(n, n) for n in SIZES for name in "ab"}


GROUPS = (
    Group(
        "matmul, float32",
        matrices,
        tuple(Workload(f"{n} x {n}", f"a{n} @ b{n}") for n in SIZES),
        mean=1.5,
        floor=0.95,
    ),
)
