"""Factorisations, solvers and spectra of float32 matrices: many small ones, and single ones."""

from __future__ import annotations

from functools import partial

from .table import Group, workloads


def matrices(torch, shape):
    """Any and symmetric positive definite matrices of one shape, and right-hand sides."""
    n = shape[-1]
    a = torch.randn(*shape)
    definite = a @ a.mT + n * torch.eye(n)
    b = torch.randn(*shape[:-1], 8)
    return {"linalg": torch.linalg, "a": a, "definite": definite, "b": b}


WORKLOADS = workloads(
    cholesky="linalg.cholesky(definite)",
    solve="linalg.solve(definite, b)",
    inv="linalg.inv(definite)",
    lu_factor="linalg.lu_factor(definite)",
    qr="linalg.qr(a)",
    svd="linalg.svd(a, full_matrices=False)",
    eigh="linalg.eigh(definite)",
    lstsq="linalg.lstsq(a, b)",
)

SHAPES = {"256 of 16 x 16": (256, 16, 16), **{f"{n} x {n}": (n, n) for n in (64, 256, 512)}}

GROUPS = tuple(
    Group(f"linalg, {name}", partial(matrices, shape=shape), WORKLOADS, mean=1.0)
    for name, shape in SHAPES.items()
)
