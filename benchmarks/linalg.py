"""Factorisations, solvers and spectra of float32 matrices: many small ones, and single ones.

And sparse matrices.
"""

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
    svdvals="linalg.svdvals(a)",
    eigh="linalg.eigh(definite)",
    lstsq="linalg.lstsq(a, b)",
)

SHAPES = {
    "1000 of 4 x 4": (1000, 4, 4),
    "256 of 16 x 16": (256, 16, 16),
    **{f"{n} x {n}": (n, n) for n in (64, 256, 512)},
}



def sparse(torch):
    """A matrix of which one element in a hundred is kept, in two layouts, and dense ones."""
    dense = torch.randn(1000, 1000) * (torch.rand(1000, 1000) < 0.01)
    csr, coo = dense.to_sparse_csr(), dense.to_sparse()
    mat, vector, wide = torch.randn(1000, 64), torch.randn(1000), torch.randn(64, 1000)
    return locals()


GROUPS = (
    *(
        Group(f"linalg, {name}", partial(matrices, shape=shape), WORKLOADS, mean=1.0)
        for name, shape in SHAPES.items()
    ),
    Group(
        "sparse, 10,000 of 1000 x 1000",
        sparse,
        workloads(
            csr_vector="csr @ vector",
            csr_dense="csr @ mat",
            coo_dense="coo @ mat",
            csr_csr="csr @ csr",
            sampled="torch.sparse.sampled_addmm(csr, mat, wide)",
            to_csr="coo.to_sparse_csr()",
            to_coo="csr.to_sparse()",
            csr_to_dense="csr.to_dense()",
            of_dense="dense.to_sparse()",
        ),
        mean=1.0,
    ),
)
