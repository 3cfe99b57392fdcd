"""``svd_lowrank`` and ``pca_lowrank``: a few of the largest singular values, by random projection.

Halko, Martinsson and Tropp, Finding structure with randomness, 2009 (algorithms 4.4 and 5.1).
"""

from __future__ import annotations

import taimatsu as torch

from ._overridable import overridable

Tensor = torch.Tensor


def _range_basis(A: Tensor, q: int, niter: int, M: Tensor | None) -> Tensor:
    """Orthonormal columns (*, m, q) that nearly span those of A - M."""

    def apply(x: Tensor) -> Tensor:
        return A @ x if M is None else A @ x - M @ x

    def apply_adjoint(x: Tensor) -> Tensor:
        return A.mH @ x if M is None else A.mH @ x - M.mH @ x

    start = torch.randn(A.shape[-1], q, dtype=A.dtype, device=A.device)
    Q = torch.linalg.qr(apply(start)).Q
    for _ in range(niter):
        Q = torch.linalg.qr(apply_adjoint(Q)).Q
        Q = torch.linalg.qr(apply(Q)).Q
    return Q


@overridable
def svd_lowrank(
    A: Tensor,
    q: int | None = 6,
    niter: int | None = 2,
    M: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """U, S, V with U diag(S) V^H near A, or A - M: the `q` largest singular values, nearly.

    A, M: (*, m, n). Result: U (*, m, q), S (*, q), V (*, n, q). More iterations (`niter`) make it
    more accurate. It is random: `manual_seed`.

    >>> U, S, V = taimatsu.svd_lowrank(taimatsu.diag(taimatsu.tensor([3.0, 2.0, 0.0])), q=2)
    >>> S.round(decimals=4)
    tensor([3., 2.])
    """
    q = 6 if q is None else q
    m, n = A.shape[-2:]
    if M is not None:
        M = M.broadcast_to(A.shape)
    wide = m < n  # the smaller side is projected
    if wide:
        A, M = A.mH, None if M is None else M.mH
    Q = _range_basis(A, q, 2 if niter is None else niter, M)
    B = Q.mH @ A if M is None else Q.mH @ A - Q.mH @ M
    U, S, Vh = torch.linalg.svd(B, full_matrices=False)
    U, V = Q @ U, Vh.mH
    return (V, S, U) if wide else (U, S, V)


@overridable
def pca_lowrank(
    A: Tensor,
    q: int | None = None,
    center: bool = True,
    niter: int = 2,
) -> tuple[Tensor, Tensor, Tensor]:
    """U, S, V of the matrices A with columns of mean 0 (if `center`): V has the principal axes.

    A: (*, m, n), m samples of n features; q: how many (6, or fewer if A is smaller). Result: as
    `svd_lowrank`. ValueError for a q over min(m, n), or a negative q or niter.
    """
    m, n = A.shape[-2:]
    if q is None:
        q = min(6, m, n)
    elif not 0 <= q <= min(m, n):
        raise ValueError(
            f"q(={q}) must be non-negative integer and not greater than min(m, n)={min(m, n)}"
        )
    if niter < 0:
        raise ValueError(f"niter(={niter}) must be non-negative integer")
    if not (A.is_floating_point() or A.is_complex()):
        raise ValueError(f"pca_lowrank: input must be floating or complex, not {A.dtype}")
    if not center:
        return svd_lowrank(A, q, niter)
    return svd_lowrank(A - A.mean(-2, keepdim=True), q, niter)
