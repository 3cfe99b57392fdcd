"""Factors of matrices where there is no library for them: batches at once, halves by halves.

Triangular systems and Cholesky factors are taken of the halves of a matrix, so that most of the
work is products; LU and QR go column by column. Eigenvalues and singular values are left to
libraries.
"""

from __future__ import annotations

import math

import taimatsu as torch

from . import computes
from .lines import iota, take

SMALL = 16  # rows of a matrix that are taken one by one


def _solve_lower(L, B, unit: bool):
    """X with L X = B, of which the lower triangle of L is read."""
    n = L.size(-1)
    if n > SMALL:
        half = n // 2
        top = _solve_lower(L[..., :half, :half], B[..., :half, :], unit)
        rest = B[..., half:, :] - torch.matmul(L[..., half:, :half], top)
        return torch.cat([top, _solve_lower(L[..., half:, half:], rest, unit)], -2)
    X = B.clone()
    for i in range(n):
        row = X[..., i : i + 1, :]
        if i:
            row = row - torch.matmul(L[..., i : i + 1, :i], X[..., :i, :])
        X[..., i : i + 1, :] = row if unit else row / L[..., i : i + 1, i : i + 1]
    return X


def _turned(x, *dims):
    """Both triangles exchanged: read from the end."""
    return x.flip(list(dims))


def solve_triangular(A, B, upper: bool, unit: bool):
    if upper:
        return _turned(_solve_lower(_turned(A, -2, -1), _turned(B, -2), unit), -2)
    return _solve_lower(A, B, unit)


@computes("_solve_triangular")
def _(A, B, upper, unitriangular):
    batch = torch.broadcast_shapes(A.shape[:-2], B.shape[:-2])
    if not A.size(-1) or not B.size(-1):
        return B.expand(*batch, *B.shape[-2:]).clone()
    return solve_triangular(A.expand(*batch, *A.shape[-2:]), B.expand(*batch, *B.shape[-2:]), upper,
                            unitriangular)  # fmt: skip


# ---- Cholesky -----------------------------------------------------------------------------------


def _factor(A, first: int, info):
    """L of A = L L^H, and the number of the first pivot that isn't positive."""
    n = A.size(-1)
    if n > SMALL:
        half = n // 2
        L11, info = _factor(A[..., :half, :half], first, info)
        L21 = _solve_lower(L11, A[..., half:, :half].mH, False).mH
        L22, info = _factor(A[..., half:, half:] - torch.matmul(L21, L21.mH), first + half, info)
        top = torch.cat([L11, torch.zeros_like(L21.mT)], -1)
        return torch.cat([top, torch.cat([L21, L22], -1)], -2), info
    A, L = A.clone(), torch.zeros_like(A)
    for j in range(n):
        pivot = A[..., j : j + 1, j : j + 1]
        real = pivot.real if pivot.is_complex() else pivot
        good = real > 0
        bad = (info == 0) & ~good.reshape(info.shape)
        info = torch.where(bad, torch.full_like(info, first + j + 1), info)
        root = torch.where(good, real, 1).sqrt()
        L[..., j : j + 1, j : j + 1] = root.to(L.dtype)
        if j + 1 < n:
            column = A[..., j + 1 :, j : j + 1] / root
            L[..., j + 1 :, j : j + 1] = column
            A[..., j + 1 :, j + 1 :] -= column * column.mH
    return L, info


@computes("_cholesky")
def _(A, upper):
    info = torch.zeros(A.shape[:-2], dtype=torch.int32, device=A.device)
    if not A.numel():
        return A.clone(), info
    L, info = _factor((A.mH if upper else A).contiguous(), 0, info)
    return (L.mH.contiguous() if upper else L), info


# ---- LU -----------------------------------------------------------------------------------------


def _size(x):
    """What LAPACK compares pivots by."""
    return x.real.abs() + x.imag.abs() if x.is_complex() else x.abs()


def _exchanged(x, order):
    """x[b, order[b, i], j] of a batch of matrices."""
    return take(x, order.unsqueeze(2))


def _lu(A):
    """A: (batch, m, n). Both factors in one matrix, the rows exchanged (from 1), and info."""
    batch, m, n = A.shape
    device, k = A.device, min(m, n)
    A, rows = A.clone(), iota(m, device)
    info = torch.zeros([batch], dtype=torch.int32, device=device)
    pivots = torch.zeros([batch, k], dtype=torch.int32, device=device)
    for j in range(k):
        p = _size(A[:, j:, j]).argmax(1, keepdim=True) + j
        pivots[:, j : j + 1] = (p + 1).to(torch.int32)
        A = _exchanged(A, torch.where(rows == j, p, torch.where(rows == p, j, rows)))
        pivot = A[:, j : j + 1, j : j + 1]
        zero = pivot == 0
        bad = (info == 0) & zero.reshape(-1)
        info = torch.where(bad, torch.full_like(info, j + 1), info)
        if j + 1 < m:
            column = A[:, j + 1 :, j : j + 1] / torch.where(zero, 1, pivot)
            A[:, j + 1 :, j : j + 1] = column
            if j + 1 < n:
                A[:, j + 1 :, j + 1 :] -= column * A[:, j : j + 1, j + 1 :]
    return A, pivots, info


def _order(pivots, m: int):
    """Which row of A is in each row of L U. pivots: (batch, k)."""
    rows = iota(m, pivots.device)
    order = rows.expand(pivots.size(0), m).clone()
    for j in range(pivots.size(1)):
        p = pivots[:, j : j + 1].to(torch.int64) - 1
        swap = torch.where(rows == j, p, torch.where(rows == p, j, rows))
        order = order.gather(1, swap)
    return order


def _flat(x, dims: int):
    """The batch dims as one."""
    lead = x.shape[: x.dim() - dims]
    return x.reshape(math.prod(lead), *x.shape[x.dim() - dims :])


@computes("_lu_factor")
def _(A):
    lead, (m, n) = A.shape[:-2], A.shape[-2:]
    LU, pivots, info = _lu(_flat(A, 2))
    return (LU.reshape(A.shape), pivots.reshape(*lead, min(m, n)), info.reshape(lead))


@computes("_row_order")
def _(pivots, rows):
    return _order(_flat(pivots, 1), rows).reshape(*pivots.shape[:-1], rows)


def _solve_by(LU, order, B, adjoint: bool):
    """X with P L U X = B, or its adjoint's: batches of matrices."""
    if not adjoint:
        Y = _solve_lower(LU, _exchanged(B, order), True)
        return solve_triangular(LU, Y, True, False)
    Y = solve_triangular(LU.mH, B, False, False)
    Y = solve_triangular(LU.mH, Y, True, True)
    return _exchanged(Y, order.argsort(1))


@computes("_lu_solve")
def _(LU, pivots, B, adjoint):
    if not B.numel():
        return B.clone()
    order = _order(_flat(pivots, 1), LU.size(-2))
    return _solve_by(_flat(LU, 2), order, _flat(B, 2), adjoint).reshape(B.shape)


@computes("_solve")
def _(A, B):
    """By the factors of the transpose."""
    LU, pivots, info = _lu(_flat(A.mT, 2))
    X = B.clone()
    if B.numel():
        order = _order(pivots, A.size(-1))
        X = _solve_by(LU, order, _flat(B.conj_physical(), 2), True)
        X = X.conj_physical().reshape(B.shape)
    lead = A.shape[:-2]
    return X, LU.reshape(A.shape), pivots.reshape(*lead, -1), info.reshape(lead)


# ---- QR, by reflections I - tau v v^H -----------------------------------------------------------


def _reflected(A):
    """R above the diagonal, the vectors v below, and their factors tau. A: (batch, m, n)."""
    batch, m, n = A.shape
    A, k = A.clone(), min(m, n)
    tau = A.new_zeros([batch, k])
    for j in range(k):
        x = A[:, j:, j : j + 1]
        alpha = x[:, :1]
        rest = x[:, 1:].abs().square().sum([1, 2], keepdim=True)
        real = alpha.real if alpha.is_complex() else alpha
        beta = -torch.where(real < 0, -1.0, 1.0).to(real.dtype) * (
            alpha.abs().square() + rest).sqrt()
        nothing = rest == 0  # the column is a multiple of the unit vector already
        if alpha.is_complex():
            nothing = nothing & (alpha.imag == 0)
        t = torch.where(nothing, 0, (beta - alpha) / torch.where(nothing, 1, beta))
        below = torch.where(nothing, 0, x[:, 1:] / torch.where(nothing, 1, alpha - beta))
        tau[:, j : j + 1] = t.squeeze(2)
        v = torch.cat([torch.ones_like(alpha), below], 1)
        if j + 1 < n:
            there = A[:, j:, j + 1 :]
            A[:, j:, j + 1 :] = there - t.conj_physical() * v * torch.matmul(v.mH, there)
        A[:, j : j + 1, j : j + 1] = torch.where(nothing, alpha, beta.to(A.dtype))
        A[:, j + 1 :, j : j + 1] = below
    return A, tau


def _vector(a, j: int):
    """The j-th reflection's vector, of which the first j elements are zero and the next is 1."""
    m = a.size(1)
    rows = iota(m, a.device).reshape(1, m, 1)
    return torch.where(rows < j, 0, torch.where(rows == j, 1, a[:, :, j : j + 1]))


def _apply(a, tau, x, backwards: bool, adjoint: bool):
    """The reflections' product, or its adjoint, times x."""
    order = range(tau.size(1))
    for j in reversed(order) if backwards else order:
        v = _vector(a, j)
        t = tau[:, j].reshape(-1, 1, 1)
        x = x - (t.conj_physical() if adjoint else t) * v * torch.matmul(v.mH, x)
    return x


def _eye(batch: int, m: int, n: int, like):
    return torch.eye(m, n, dtype=like.dtype, device=like.device).expand(batch, m, n)


@computes("geqrf")
def _(self):
    a, tau = _reflected(_flat(self, 2))
    return a.reshape(self.shape), tau.reshape(*self.shape[:-2], -1)


@computes("_qr")
def _(A, complete):
    lead, (m, n) = A.shape[:-2], A.shape[-2:]
    a, tau = _reflected(_flat(A, 2))
    k = m if complete else min(m, n)
    Q = _apply(a, tau, _eye(a.size(0), m, k, a), True, False)
    return Q.reshape(*lead, m, k), a[:, :k].triu().reshape(*lead, k, n)


@computes("_householder_product")
def _(input, tau):
    a = _flat(input, 2)
    Q = _apply(a, _flat(tau, 1), _eye(a.size(0), a.size(1), a.size(2), a), True, False)
    return Q.reshape(input.shape)


@computes("_ormqr")
def _(input, tau, other, left, transpose):
    a, t = _flat(input, 2), _flat(tau, 1)
    x = _flat(other, 2)
    if not left:  # X Q = (Q^H X^H)^H
        return _apply(a, t, x.mH, transpose, not transpose).mH.reshape(other.shape).contiguous()
    return _apply(a, t, x, not transpose, transpose).reshape(other.shape)
