"""Products, factorisations, solvers, spectra: NumPy's and SciPy's, or what defines a result."""

from __future__ import annotations

import numpy as np

import taimatsu as torch

# ---- samples -------------------------------------------------------------------------------------


def _square(t):
    return [t(3, 3), t(2, 3, 3)]


def _definite(t):
    return [t.spd(3, 3), t.spd(2, 3, 3)]


def _triangular(t):
    return t(3, 3).tril() + 3 * torch.eye(3, dtype=t.dtype)


def _solvable(t):
    return [(t.spd(3, 3), t(3, 2)), (t.spd(2, 3, 3), t(2, 3, 2))]


def _lu(t):
    return torch.linalg.lu_factor(t.spd(3, 3))


def _ldl(t):
    return torch.linalg.ldl_factor(t.spd(3, 3))


def _reflections(t):
    return [(t(4, 3), t(3)), (t(2, 4, 3), t(2, 2))]


def _scales(t):
    return {"beta": t.number(), "alpha": t.number()}


def _norms(t):
    return [t(3, 4), (t(2, 3, 4), 1, [0, 2]), (t(3, 4), -float("inf"), [1, 0], True),
            (t(4, 3), 2), (t(4, 3), -2)]


HINTS = {
    "mm": lambda t: [(t(3, 4), t(4, 2))],
    "bmm": lambda t: [(t(2, 3, 4), t(2, 4, 2))],
    "mv": lambda t: [(t(3, 4), t(4))],
    **dict.fromkeys(("dot", "vdot"), lambda t: [(t(4), t(4))]),
    "linalg.vecdot": lambda t: [(t(3, 4), t(4)), (t(3, 4), t(3, 4), {"dim": 0})],
    "outer": lambda t: [(t(3), t(4))],
    "inner": lambda t: [(t(2, 3), t(4, 3)), (t(3), t(3))],
    "addmm": lambda t: [(t(3, 2), t(3, 4), t(4, 2)), (t(2), t(3, 4), t(4, 2), _scales(t))],
    "addmv": lambda t: [(t(3), t(3, 4), t(4)), (t(3), t(3, 4), t(4), _scales(t))],
    "addr": lambda t: [(t(3, 4), t(3), t(4)), (t(3, 4), t(3), t(4), _scales(t))],
    "baddbmm": lambda t: [(t(2, 3, 2), t(2, 3, 4), t(2, 4, 2))],
    "addbmm": lambda t: [(t(3, 2), t(2, 3, 4), t(2, 4, 2)),
                         (t(3, 2), t(2, 3, 4), t(2, 4, 2), _scales(t))],
    **dict.fromkeys(("matmul", "linalg.matmul"),
                    lambda t: [(t(3, 4), t(4, 2)), (t(4), t(4)), (t(2, 3, 4), t(4, 2)),
                               (t(2, 1, 3, 4), t(5, 4, 2)), (t(3, 4), t(4))]),
    "linalg.cross": lambda t: [(t(4, 3), t(4, 3)), (t(2, 3, 4), t(1, 3, 4), {"dim": 1})],
    "cross": lambda t: [(t(4, 3), t(4, 3)), (t(3, 2, 3), t(3, 2, 3))],
    "kron": lambda t: [(t(2, 3), t(3, 2)), (t(2), t(2, 3, 2))],
    "tensordot": lambda t: [(t(2, 3, 4), t(3, 4, 5)), (t(2, 3, 4), t(4, 5, 2), [[0, 2], [2, 0]]),
                            (t(2), t(3), 0)],
    "linalg.vander": lambda t: [t(3), (t(2, 3), {"N": 4})],
    "linalg.multi_dot": lambda t: [([t(2, 3), t(3, 4), t(4, 2)],), ([t(3), t(3, 4), t(4)],)],
    **dict.fromkeys(("linalg.cholesky", "linalg.cholesky_ex", "cholesky", "logdet", "linalg.inv",
                     "linalg.inv_ex", "inverse", "linalg.det", "det", "linalg.slogdet", "slogdet",
                     "linalg.eigh", "linalg.eigvalsh", "linalg.lu_factor", "linalg.lu_factor_ex",
                     "linalg.lu", "linalg.ldl_factor", "linalg.ldl_factor_ex"), _definite),
    **dict.fromkeys(("linalg.eig", "linalg.eigvals", "matrix_exp", "linalg.matrix_exp",
                     "linalg.diagonal"), _square),
    **dict.fromkeys(("linalg.matrix_power", "matrix_power"),
                    lambda t: [(t.spd(3, 3), 3), (t.spd(3, 3), -2), (t(2, 3, 3), 0)]),
    **dict.fromkeys(("linalg.svd", "svd", "linalg.svdvals", "pinverse", "linalg.qr", "qr", "geqrf"),
                    lambda t: [t(3, 4), t(2, 4, 3)]),
    **dict.fromkeys(("linalg.pinv", "linalg.matrix_rank"),
                    lambda t: [t(3, 4), t(2, 4, 3), (t.spd(3, 3), {"hermitian": True})]),
    "linalg.pinv.rcond": lambda t: [(t(3, 4), 1e-3)],
    "linalg.matrix_rank.tol": lambda t: [(t(3, 4), 1e-3)],
    "cholesky_solve": lambda t: [(t(3, 2), _triangular(t)), (t(3, 2), _triangular(t).mT, True)],
    "cholesky_inverse": lambda t: [_triangular(t), (_triangular(t).mT, True)],
    "linalg.lu_solve": lambda t: [(*_lu(t), t(3, 2)), (*_lu(t), t(2, 3), {"left": False})],
    "lu_solve": lambda t: [(t(3, 2), *_lu(t))],
    "lu_unpack": lambda t: [_lu(t)],
    "linalg.ldl_solve": lambda t: [(*_ldl(t), t(3, 2))],
    **dict.fromkeys(("linalg.householder_product", "orgqr"), _reflections),
    "ormqr": lambda t: [(t(4, 3), t(3), t(4, 2)), (t(4, 3), t(3), t(2, 4), False, True)],
    **dict.fromkeys(("linalg.solve", "linalg.solve_ex"), _solvable),
    "linalg.solve_triangular": lambda t: [(_triangular(t), t(3, 2), {"upper": False})],
    "triangular_solve": lambda t: [(t(3, 2), _triangular(t), False)],
    "linalg.tensorsolve": lambda t: [(t.spd(6, 6).reshape(2, 3, 6), t(2, 3))],
    "linalg.tensorinv": lambda t: [t.spd(6, 6).reshape(2, 3, 6)],
    "linalg.lstsq": lambda t: [(t(5, 3), t(5, 2), {"driver": "gelsd"}), (t(5, 3), t(5, 2)),
                               (t(5, 3), t(5), {"driver": "gels"})],
    "linalg.matrix_norm": lambda t: _norms(t)[1:],
    "linalg.matrix_norm.str_ord": lambda t: [t(3, 4), (t(2, 3, 4), "nuc", [0, 2], True)],
    "linalg.norm": lambda t: [*_norms(t), (t(4), 3)],
    "linalg.norm.ord_str": lambda t: [(t(3, 4), "fro"), (t(2, 3, 4), "nuc", [0, 2], True)],
    "norm": lambda t: [t(3, 4), (t(3, 4), 3, [1], True), (t(3, 4), "nuc"), (t(3, 4), "fro", [0])],
    "linalg.cond": lambda t: [t(3, 4), (t.spd(3, 3), 1), (t.spd(2, 3, 3), -2)],
    "linalg.cond.p_str": lambda t: [(t.spd(3, 3), "nuc"), (t.spd(3, 3), "fro")],
}  # fmt: skip

DOMAINS = {"logdet": (0.1, 4)}
# A matrix whose columns are the same has not full rank, and eigenvalues that repeat.
NEEDS_ALL_ELEMENTS = dict.fromkeys((
    "pinverse", "linalg.pinv", "linalg.pinv.rcond", "linalg.matrix_rank", "linalg.matrix_rank.tol",
    "linalg.lstsq", "linalg.eig", "linalg.eigvals", "linalg.cond", "linalg.solve_triangular",
    "linalg.matrix_norm", "linalg.norm",
), True)  # fmt: skip

# ---- the same by NumPy ---------------------------------------------------------------------------


def _adjoint(x):
    return x.swapaxes(-1, -2).conj()


def _axis(dim):
    return tuple(dim) if isinstance(dim, (list, tuple)) else dim


def _scaled(product):
    """beta * x + alpha * product(...)."""
    return lambda x, *factors, beta=1, alpha=1: beta * x + alpha * product(*factors)


def _upper(f):
    return lambda x, upper=False, **rest: _adjoint(f(x)) if upper else f(x)


def _factored(L, upper=False):
    return _adjoint(L) @ L if upper else L @ _adjoint(L)


def _lu_product(LU, pivots):
    """The matrix whose factorization `linalg.lu_factor` gave."""
    P, L, U = _unpacked(LU, pivots)
    return P @ L @ U


def _unpacked(LU, pivots):
    n = LU.shape[-1]
    P = np.eye(n)
    for i in range(n):
        P[:, [i, pivots[i] - 1]] = P[:, [pivots[i] - 1, i]]
    return P, np.tril(LU, -1) + np.eye(n), np.triu(LU)


def _lu_solve(LU, pivots, B, left=True):
    A = _lu_product(LU, pivots)
    return np.linalg.solve(A, B) if left else B @ np.linalg.inv(A)


def _ldl_product(LD, pivots):
    """A = L D L^T, from the lower triangle and exchanges of LAPACK's sytrf."""
    n = LD.shape[-1]
    full, D, i = np.eye(n, dtype=LD.dtype), np.zeros_like(LD), 0
    while i < n:
        width = 2 if pivots[i] < 0 else 1
        at = slice(i, i + width)
        D[at, at] = np.tril(LD[at, at]) + np.tril(LD[at, at], -1).T
        step = np.eye(n, dtype=LD.dtype)
        step[i + width :, at] = LD[i + width :, at]
        exchange = np.eye(n)
        last = i + width - 1
        exchange[:, [last, abs(pivots[i]) - 1]] = exchange[:, [abs(pivots[i]) - 1, last]]
        full = full @ exchange @ step
        i += width
    return full @ D @ full.T


def _reflected(a, tau):
    """The product of reflections 1 - tau v v^H."""
    m, out = a.shape[-2], np.eye(a.shape[-2])
    for i in range(tau.shape[-1]):
        v = np.where(np.arange(m) > i, a[..., i], 0) + (np.arange(m) == i)
        out = out @ (np.eye(m) - tau[..., i, None, None] * v[..., None] * v[..., None, :].conj())
    return out


def _ormqr(a, tau, other, left=True, transpose=False):
    Q = _reflected(a, tau)
    Q = _adjoint(Q) if transpose else Q
    return Q @ other if left else other @ Q


def _vector_norm(x, ord=2, dim=None, keepdim=False, dtype=None):
    a = np.abs(x.astype(float) if dtype is None and x.dtype.kind in "biu" else x)
    axis = None if dim is None or dim == [] else tuple(np.atleast_1d(dim))
    if ord in (np.inf, -np.inf):
        return (np.max if ord > 0 else np.min)(a, axis=axis, keepdims=keepdim)
    if ord == 0:
        return (a != 0).sum(axis=axis, keepdims=keepdim).astype(a.dtype)
    return (a**ord).sum(axis=axis, keepdims=keepdim) ** (1 / ord)


def _norm(A, ord=None, dim=None, keepdim=False, dtype=None):
    return np.linalg.norm(A, ord, _axis(dim), keepdim)


def _matrix_norm(A, ord="fro", dim=(-2, -1), keepdim=False, dtype=None):
    return np.linalg.norm(A, ord, _axis(dim), keepdim)


def _any_norm(A, p="fro", dim=None, keepdim=False):
    if p == "nuc":
        return np.linalg.norm(A, p, _axis(dim), keepdim)
    return _vector_norm(A, 2 if p == "fro" else p, dim, keepdim)


def _cond(A, p=None):
    """Not NumPy's, which inverts for the nuclear norm."""
    if p == "nuc":
        S = np.linalg.svd(A, compute_uv=False)
        return S.sum(-1) * (1 / S).sum(-1)
    return np.linalg.cond(A, p)


def _solve_triangular(A, B, upper, left=True, unitriangular=False):
    return np.linalg.solve(np.triu(A) if upper else np.tril(A), B)


def _expm(A):
    """By mpmath: SciPy's loses digits where elements cancel."""
    import mpmath

    with mpmath.workdps(30):
        flat = [np.array(mpmath.expm(mpmath.matrix(a)).tolist(), dtype=A.dtype)
                for a in A.reshape(-1, *A.shape[-2:])]
    return np.stack(flat).reshape(A.shape)


def _rank(A, tol=None, hermitian=False):
    return np.linalg.matrix_rank(A, tol, hermitian)


def _kron(x, y):
    if x.ndim < y.ndim:
        x = x.reshape((1,) * (y.ndim - x.ndim) + x.shape)
    return np.kron(x, y)


def _cross(x, y, dim=-1):
    return np.cross(x, y, axis=dim)


def _first_three(x, y, dim=None):
    return _cross(x, y, x.shape.index(3))


ORACLES = {
    "mm": np.matmul, "bmm": np.matmul, "mv": np.matmul, "dot": np.dot, "matmul": np.matmul,
    "linalg.matmul": np.matmul, "vdot": np.vdot, "inner": np.inner, "outer": np.outer,
    "linalg.vecdot": lambda x, y, dim=-1: (x.conj() * y).sum(dim),
    "addmm": _scaled(np.matmul), "addmv": _scaled(np.matmul), "baddbmm": _scaled(np.matmul),
    "addr": _scaled(np.outer), "addbmm": _scaled(lambda a, b: (a @ b).sum(0)),
    "linalg.cross": _cross, "cross": _first_three, "kron": _kron,
    "tensordot": lambda a, b, dims=2: np.tensordot(a, b, dims),
    "linalg.vander": lambda x, N=None: x[..., None] ** np.arange(x.shape[-1] if N is None else N),
    "linalg.multi_dot": np.linalg.multi_dot,
    "linalg.diagonal": lambda x: x.diagonal(0, -2, -1),
    "linalg.cholesky": _upper(np.linalg.cholesky), "cholesky": _upper(np.linalg.cholesky),
    "linalg.cholesky_ex": lambda x, **k: (_upper(np.linalg.cholesky)(x, **k),
                                          np.zeros(x.shape[:-2])),
    "cholesky_solve": lambda B, L, upper=False: np.linalg.solve(_factored(L, upper), B),
    "cholesky_inverse": lambda L, upper=False: np.linalg.inv(_factored(L, upper)),
    "linalg.lu_solve": _lu_solve, "lu_solve": lambda B, LU, pivots: _lu_solve(LU, pivots, B),
    "lu_unpack": _unpacked,
    "linalg.ldl_solve": lambda LD, pivots, B: np.linalg.solve(_ldl_product(LD, pivots), B),
    "linalg.householder_product": lambda a, tau: _reflected(a, tau)[..., : a.shape[-1]],
    "orgqr": lambda a, tau: _reflected(a, tau)[..., : a.shape[-1]],
    "ormqr": _ormqr,
    "linalg.solve": np.linalg.solve,
    "linalg.solve_ex": lambda A, B: (np.linalg.solve(A, B), np.zeros(A.shape[:-2])),
    "linalg.inv": np.linalg.inv, "inverse": np.linalg.inv,
    "linalg.inv_ex": lambda A: (np.linalg.inv(A), np.zeros(A.shape[:-2])),
    "linalg.tensorsolve": np.linalg.tensorsolve, "linalg.tensorinv": np.linalg.tensorinv,
    "linalg.solve_triangular": _solve_triangular,
    "triangular_solve": lambda B, A, upper=True: (_solve_triangular(A, B, upper), A),
    "linalg.slogdet": np.linalg.slogdet, "slogdet": np.linalg.slogdet, "linalg.det": np.linalg.det,
    "det": np.linalg.det, "logdet": lambda x: np.log(np.linalg.det(x)),
    "linalg.vector_norm": _vector_norm, "linalg.matrix_norm": _matrix_norm,
    "linalg.norm": _norm, "norm": _any_norm, "linalg.cond": _cond,
    "linalg.svdvals": lambda A: np.linalg.svd(A, compute_uv=False),
    "linalg.eigvalsh": np.linalg.eigvalsh,
    "linalg.pinv": lambda A, *_, **__: np.linalg.pinv(A), "pinverse": np.linalg.pinv,
    "linalg.matrix_rank": _rank, "linalg.matrix_power": np.linalg.matrix_power,
    "matrix_power": np.linalg.matrix_power,
    "matrix_exp": _expm, "linalg.matrix_exp": _expm,
}  # fmt: skip

# ---- conditions, where several results are right -------------------------------------------------


def _same(a, b):
    np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-3)


def _check_eig(result, A):
    values, vectors = result
    _same(A @ vectors, vectors * values[..., None, :])


def _check_eigh(result, A, UPLO="L"):
    values, vectors = result
    _same(vectors * values[..., None, :] @ _adjoint(vectors), A)


def _check_svd(result, A):
    U, S, Vh = result
    k = S.shape[-1]
    _same((U[..., :k] * S[..., None, :]) @ Vh[..., :k, :], A)


def _check_qr(result, A, *_, **__):
    Q, R = result
    if Q.size:  # mode "r" has none
        _same(Q @ R, A)
    _same(np.tril(R, -1), 0)


def _check_geqrf(result, A):
    a, tau = result
    k = min(a.shape[-2:])
    _same(_reflected(a[..., :k], tau)[..., :k] @ np.triu(a)[..., :k, :], A)


def _check_lu_factor(result, A, **_):
    LU, pivots, *_info = result
    for lu, p, a in zip(LU.reshape(-1, *LU.shape[-2:]), pivots.reshape(-1, pivots.shape[-1]),
                        A.reshape(-1, *A.shape[-2:]), strict=True):
        _same(_lu_product(lu, p), a)


def _check_ldl_factor(result, A):
    LD, pivots, *_info = result
    for ld, p, a in zip(LD.reshape(-1, *LD.shape[-2:]), pivots.reshape(-1, pivots.shape[-1]),
                        A.reshape(-1, *A.shape[-2:]), strict=True):
        _same(_ldl_product(ld, p), np.tril(a) + np.tril(a, -1).T)


def _check_lstsq(result, A, B, driver=None):
    solution, residuals, rank, singular = np.linalg.lstsq(A, B, rcond=None)
    _same(result[0], solution)
    assert result[1].size == 0 if driver is None else np.allclose(result[1], residuals, 1e-3)
    assert result[2].size == 0 if driver == "gels" else result[2] == rank
    assert np.allclose(result[3], singular, 1e-3) if driver == "gelsd" else result[3].size == 0


CHECKS = {
    "linalg.eig": _check_eig, "linalg.eigh": _check_eigh, "linalg.svd": _check_svd,
    "svd": lambda r, A: _check_svd((r[0], r[1], _adjoint(r[2])), A), "linalg.qr": _check_qr,
    "qr": _check_qr, "geqrf": _check_geqrf, "linalg.lstsq": _check_lstsq,
    "linalg.lu_factor": _check_lu_factor, "linalg.lu_factor_ex": _check_lu_factor,
    "linalg.ldl_factor": _check_ldl_factor, "linalg.ldl_factor_ex": _check_ldl_factor,
    "linalg.lu": lambda r, A, **_: _same(r[0] @ r[1] @ r[2], A),
    "linalg.eigvals": lambda r, A: _same(np.sort_complex(r), np.sort_complex(np.linalg.eigvals(A))),
}  # fmt: skip

# ---- derivatives ---------------------------------------------------------------------------------

# Of results that are determined up to a factor (tests/cpu/test_linalg.py has functions that don't
# depend on it), of factors by all their elements, as PyTorch has it (there too), and where there
# is no derivative.
NO_GRADIENT = dict.fromkeys((
    "linalg.eig", "linalg.eigh", "linalg.svd", "svd", "linalg.qr", "qr", "geqrf",
    "linalg.ldl_factor", "linalg.ldl_factor_ex", "linalg.ldl_solve", "cholesky_solve",
    "cholesky_inverse", "linalg.matrix_rank",
), True)  # fmt: skip
# Ops of Hermitian matrices, which read one triangle: their argument is made one first.
HERMITIAN = dict.fromkeys((
    "cholesky", "linalg.cholesky", "linalg.cholesky_ex", "linalg.eigvalsh",
), True)  # fmt: skip
GRADIENT_SAMPLES = {
    "linalg.matrix_power": lambda t: [(t.spd(3, 3), 3), (t.spd(3, 3), -2)],
    "matrix_power": lambda t: [(t.spd(3, 3), 3), (t.spd(3, 3), -2)],
    "linalg.eigvals": lambda t: [t.spd(3, 3)],
    "linalg.pinv": lambda t: [t(3, 4)],
    "linalg.pinv.rcond": lambda t: [(t(3, 4), 1e-3)],
    "linalg.cond": lambda t: [t(3, 4), (t.spd(3, 3), 1)],
    "linalg.cond.p_str": lambda t: [(t.spd(3, 3), "nuc"), (t.spd(3, 3), "fro")],
    "linalg.lstsq": lambda t: [(t(5, 3), t(5, 2)), (t(3, 5), t(3))],
}  # fmt: skip
