"""Least squares by factors that a device has: QR where the rank is full, else singular values."""

from __future__ import annotations

import math

import taimatsu as torch

from .. import spectrum
from . import computes

_NOT_FINITE = -4  # of `info`: an argument of LAPACK's routines


def _by_qr(A, B):
    """Of full rank; where a triangle has a zero, `info` has its place."""
    tall = A.size(-2) >= A.size(-1)
    Q, R = torch.linalg.qr(A if tall else A.mH)
    if tall:
        X = torch.linalg.solve_triangular(R, torch.matmul(Q.mH, B), upper=True)
    else:
        X = torch.matmul(Q, torch.linalg.solve_triangular(R.mH, B, upper=False))
    zero = (R.diagonal(0, -2, -1) == 0).to(torch.int32)
    return X, torch.where(zero.any(-1), zero.argmax(-1) + 1, 0).to(torch.int32)


def _by_singular_values(A, B, rcond: float):
    """The least X: what belongs to singular values up to rcond times the largest is left out."""
    U, S, Vh, info = spectrum._svd(A, False, True)
    kept = rcond * S[..., :1] < S
    inverse = torch.where(kept, 1 / torch.where(kept, S, 1), 0)
    parts = torch.matmul(U.mH, B) * inverse.unsqueeze(-1).to(B.dtype)
    return torch.matmul(Vh.mH, parts), kept.sum(-1).to(torch.int32), S, info


@computes("_lstsq")
def _(A, B, rcond, driver):
    lead, (m, n) = A.shape[:-2], A.shape[-2:]
    least = min(m, n)
    real = A.real.dtype if A.is_complex() else A.dtype
    rank = torch.zeros(lead, dtype=torch.int32, device=A.device)
    S = torch.zeros([*lead, least], dtype=real, device=A.device)
    if not least or not B.size(-1) or not math.prod(lead):
        return B.new_zeros([*lead, n, B.size(-1)]), rank, S, torch.zeros_like(rank)
    finite = A.isfinite().all(-1).all(-1)
    good = torch.where(finite[..., None, None], A, 0)
    if driver == "gels":
        X, info = _by_qr(torch.where(finite[..., None, None], A, torch.eye(m, n, dtype=A.dtype,
                                                                           device=A.device)), B)
    else:
        X, rank, S, info = _by_singular_values(good, B, rcond)
    X = torch.where(finite[..., None, None], X, 0)
    return X, rank, S, torch.where(finite, info, _NOT_FINITE).to(torch.int32)
