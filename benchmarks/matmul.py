"""Matrix products of n x n matrices of float32."""

from __future__ import annotations

from .table import Group, Workload

SIZES = (64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048)


def matrices(torch):
    squares = {n: torch.randn(n, n) for n in SIZES}
    return {f"a{n}": a for n,
            a in squares.items()} | {f"b{n}": a.clone() for n, a in squares.items()}


GROUPS = (
    Group(
        "matmul, float32",
        matrices,
        tuple(Workload(f"{n} x {n}", f"a{n} @ b{n}") for n in SIZES),
        mean=1.5,
        floor=0.95,
    ),
)
