"""Factorisations of matrices, solvers, and what is computed from them.

The routines (names with an underscore) are LAPACK's and never fail: `info`, one int for each
matrix, says what went wrong. The public functions raise `LinAlgError`.
"""

from __future__ import annotations

import math

from .linalg import _adjoint, matmul
from .table import composite, native

_L = {"module": "linalg", "method": False}
_HIDDEN = {"module": None, "method": False, "out": False}


def _failed(name, info, message):
    """Raises LinAlgError for the first matrix whose info isn't 0."""
    from taimatsu._linalg_error import LinAlgError

    if info.device.type == "meta" or info.numel() == 0:
        return
    for i, code in enumerate(info.reshape(-1).tolist()):
        if code != 0:
            where = f"(Batch element {i}): " if info.dim() else ""
            raise LinAlgError(f"{name}: {where}{message(code)}")


def _eye(x, n=None):
    from taimatsu import eye

    return eye(n or x.shape[-1], dtype=x.dtype, device=x.device)


def _embed(d):
    """Vectors as diagonal matrices."""
    from taimatsu import eye

    return d.unsqueeze(-1) * eye(d.shape[-1], dtype=d.dtype, device=d.device)


def _diagonal(x):
    return x.diagonal(0, -2, -1)


def _inverse_distance(values):
    """1 / (values_j - values_i), 0 on the diagonal."""
    gap = values.unsqueeze(-2) - values.unsqueeze(-1)
    diagonal = _eye(gap)
    return (1 - diagonal) / (gap + diagonal)


def _real(x):
    return x.real if x.is_complex() else x


# ---- Cholesky ----------------------------------------------------------------------------------

_cholesky = native("_cholesky(Tensor A, bool upper) -> (Tensor L, Tensor info)", **_HIDDEN,
                   doc="L with A = L L^H, or U with A = U^H U.")


@_cholesky.gradient
def _(g_L, L, upper):
    if upper:
        g_L, L = _adjoint(g_L), _adjoint(L)
    inner = matmul(_adjoint(L), g_L).tril()
    inner = inner - _embed(_diagonal(inner)) / 2
    g = solve_triangular(L, inner, upper=False, left=False)
    g = solve_triangular(_adjoint(L), g, upper=True)
    return (g + _adjoint(g)) / 2


def _not_positive(code):
    return ("The factorization could not be completed because the input is not positive-definite "
            f"(the leading minor of order {code} is not positive-definite).")


@composite("cholesky_ex(Tensor A, *, bool upper=False, bool check_errors=False)"
           " -> (Tensor L, Tensor info)", out=True, **_L)
def cholesky_ex(A, upper, check_errors):
    """`cholesky`, which says in `info` (int32, per matrix) if a matrix isn't positive definite."""
    L, info = _cholesky(A, upper)
    if check_errors:
        _failed("linalg.cholesky_ex", info, _not_positive)
    return L, info


@composite("cholesky(Tensor A, *, bool upper=False) -> Tensor", out=True, **_L)
def cholesky(A, upper):
    """The lower triangular L with A = L L^H, or with `upper` U with A = U^H U.

    A: (*, n, n), Hermitian and positive definite; one triangle is read. LinAlgError if not
    positive definite.

    >>> taimatsu.linalg.cholesky(taimatsu.tensor([[4.0, 0.0], [0.0, 9.0]]))
    tensor([[2., 0.],
            [0., 3.]])
    """
    L, info = _cholesky(A, upper)
    _failed("linalg.cholesky", info, _not_positive)
    return L


@composite("cholesky(Tensor self, bool upper=False) -> Tensor", out=True)
def cholesky_method(self, upper):
    """`linalg.cholesky`."""
    return cholesky(self, upper=upper)


@composite("cholesky_solve(Tensor self, Tensor L, bool upper=False) -> Tensor", out=True)
def cholesky_solve(self, L, upper):
    """X with A X = self, from the Cholesky factor of A. self: (*, n, k), L: (*, n, n)."""
    if upper:
        return solve_triangular(L, solve_triangular(_adjoint(L), self, upper=False), upper=True)
    return solve_triangular(_adjoint(L), solve_triangular(L, self, upper=False), upper=True)


@composite("cholesky_inverse(Tensor self, bool upper=False) -> Tensor", out=True)
def cholesky_inverse(self, upper):
    """The inverse of A from its Cholesky factor."""
    return cholesky_solve(_eye(self), self, upper)


# ---- LU and linear systems ---------------------------------------------------------------------

_lu_factor = native("_lu_factor(Tensor A) -> (Tensor LU, Tensor pivots, Tensor info)", **_HIDDEN,
                    doc="Both triangular factors in one matrix, and the rows exchanged.")


@_lu_factor.gradient
def _(g_LU, LU, pivots):
    n = LU.shape[-1]
    if LU.shape[-2] != n:
        raise NotImplementedError("lu_factor: the derivative is there for square matrices only")
    lower, upper = LU.tril(-1) + _eye(LU), LU.triu()
    inner = (matmul(_adjoint(lower), g_LU.tril(-1)).tril(-1)
             + matmul(g_LU.triu(), _adjoint(upper)).triu())
    inner = solve_triangular(_adjoint(upper), inner, upper=False, left=False)
    inner = solve_triangular(_adjoint(lower), inner, upper=True, unitriangular=True)
    return matmul(_permutation(pivots, n, LU.dtype), inner)


def _permutation(pivots, m, dtype):
    """The matrices P of A = P L U from the rows that were exchanged, one after the other."""
    from taimatsu import tensor

    rows = []
    count = math.prod(pivots.shape[:-1])
    for exchanged in pivots.reshape(count, pivots.shape[-1]).tolist():
        order = list(range(m))
        for i, p in enumerate(exchanged):
            order[i], order[p - 1] = order[p - 1], order[i]
        rows.append([[float(order[j] == i) for j in range(m)] for i in range(m)])
    return tensor(rows, device=pivots.device).to(dtype).reshape(*pivots.shape[:-1], m, m)


def _zero_diagonal(code):
    return f"U[{code},{code}] is zero and using it on lu_solve would result in a division by zero."


@composite("lu_factor_ex(Tensor A, *, bool pivot=True, bool check_errors=False)"
           " -> (Tensor LU, Tensor pivots, Tensor info)", out=True, **_L)
def lu_factor_ex(A, pivot, check_errors):
    """`lu_factor`, which says in `info` whether a matrix is singular."""
    if not pivot:
        raise RuntimeError("linalg.lu_factor: LU without pivoting is not implemented on the CPU")
    LU, pivots, info = _lu_factor(A)
    if check_errors:
        _failed("linalg.lu_factor_ex", info, _zero_diagonal)
    return LU, pivots, info


@composite("lu_factor(Tensor A, *, bool pivot=True) -> (Tensor LU, Tensor pivots)", out=True, **_L)
def lu_factor(A, pivot):
    """A compact LU factorisation with row exchanges, for `lu_solve`.

    A: (*, m, n). Result: LU (*, m, n), pivots (*, min(m, n)), int32, counted from 1.
    """
    return lu_factor_ex(A, pivot=pivot, check_errors=False)[:2]


@composite("lu(Tensor A, *, bool pivot=True) -> (Tensor P, Tensor L, Tensor U)", out=True, **_L)
def lu(A, pivot):
    """A = P L U with a permutation P, a unit lower triangle L and an upper triangle U."""
    LU, pivots = lu_factor(A, pivot=pivot)
    m, n = LU.shape[-2:]
    k = min(m, n)
    from taimatsu import eye

    lower = LU[..., :k].tril(-1) + eye(m, k, dtype=LU.dtype, device=LU.device)
    return _permutation(pivots, m, LU.dtype), lower, LU[..., :k, :].triu()


_lu_solve = native("_lu_solve(Tensor LU, Tensor pivots, Tensor B, bool adjoint) -> Tensor",
                   **_HIDDEN, doc="X with A X = B, or A^H X = B.")
_lu_solve.gradient(B=lambda g, LU, pivots, adjoint: _lu_solve(LU, pivots, g, not adjoint))


@composite("lu_solve(Tensor LU, Tensor pivots, Tensor B, *, bool left=True, bool adjoint=False)"
           " -> Tensor", out=True, **_L)
def lu_solve(LU, pivots, B, left, adjoint):
    """X with A X = B (or X A = B, or with A^H) from what `lu_factor` returned."""
    if not left:
        return _adjoint(lu_solve(LU, pivots, _adjoint(B), adjoint=not adjoint))
    LU, B = _same_batch(LU, B)
    pivots = pivots.expand(LU.shape[:-1])
    if not LU.requires_grad:
        return _lu_solve(LU, pivots, B, adjoint)
    lower, upper = LU.tril(-1) + _eye(LU), LU.triu()
    P = _permutation(pivots, LU.shape[-1], LU.dtype)
    if adjoint:
        x = solve_triangular(_adjoint(upper), B, upper=False)
        return matmul(P, solve_triangular(_adjoint(lower), x, upper=True, unitriangular=True))
    x = solve_triangular(lower, matmul(_adjoint(P), B), upper=False, unitriangular=True)
    return solve_triangular(upper, x, upper=True)


@composite("lu_solve(Tensor self, Tensor LU_data, Tensor LU_pivots) -> Tensor", out=True)
def lu_solve_method(self, LU_data, LU_pivots):
    """`linalg.lu_solve` with the right-hand side first."""
    return lu_solve(LU_data, LU_pivots, self)


def _same_batch(A, B):
    """Both with the batch dims that they broadcast to."""
    if A.shape[:-2] == B.shape[:-2]:
        return A, B
    from taimatsu import broadcast_shapes

    batch = broadcast_shapes(A.shape[:-2], B.shape[:-2])
    return A.expand(*batch, *A.shape[-2:]), B.expand(*batch, *B.shape[-2:])


_solve = native(
    "_solve(Tensor A, Tensor B) -> (Tensor X, Tensor LU, Tensor pivots, Tensor info)", **_HIDDEN,
    doc="X with A X = B, and the factors of A.",
)


@_solve.gradient
def _(g_X, A, X, LU, pivots):
    from taimatsu import is_grad_enabled

    if is_grad_enabled():  # the factors' own derivative would be needed
        g_B = solve(_adjoint(A), g_X)
    else:
        g_B = _lu_solve(LU, pivots, g_X, True)
    return -matmul(g_B, _adjoint(X)), g_B


def _is_vector(A, B):
    """Whether B is a batch of vectors, not of matrices."""
    return B.dim() == 1 or (A.dim() - 1 == B.dim() and B.shape == A.shape[:-1])


@composite("solve_ex(Tensor A, Tensor B, *, bool left=True, bool check_errors=False)"
           " -> (Tensor result, Tensor info)", out=True, **_L)
def solve_ex(A, B, left, check_errors):
    """`solve`, which says in `info` whether a matrix is singular."""
    if A.dim() < 2:
        raise RuntimeError("linalg.solve: The input tensor A must have at least 2 dimensions.")
    vector = _is_vector(A, B)
    right = B.unsqueeze(-1) if vector else B
    if not left:
        if vector:
            raise RuntimeError("linalg.solve: Vector broadcasting of the left hand side is not "
                               "supported for left=False")
        A, right = A.mT, right.mT
    X, _, _, info = _solve(*_same_batch(A, right))
    if check_errors:
        _failed("torch.linalg.solve_ex", info, _singular)
    X = X.squeeze(-1) if vector else X if left else X.mT
    return X, info


def _singular(code):
    return "The solver failed because the input matrix is singular."


@composite("solve(Tensor A, Tensor B, *, bool left=True) -> Tensor", out=True, **_L)
def solve(A, B, left):
    """X with A X = B, or X A = B if not `left`.

    A: (*, n, n), B: (*, n, k), or (n) or (*, n) for vectors; batches broadcast. LinAlgError
    if A is singular.

    >>> A = taimatsu.tensor([[2.0, 0.0], [0.0, 4.0]])
    >>> taimatsu.linalg.solve(A, taimatsu.tensor([2.0, 4.0]))
    tensor([1., 1.])
    """
    X, info = solve_ex(A, B, left=left)
    _failed("torch.linalg.solve", info, _singular)
    return X


def _not_invertible(code):
    return (f"The diagonal element {code} is zero, the inversion could not be completed because "
            "the input matrix is singular.")


@composite("inv_ex(Tensor A, *, bool check_errors=False) -> (Tensor inverse, Tensor info)",
           out=True, **_L)
def inv_ex(A, check_errors):
    """`inv`, which says in `info` whether a matrix is singular."""
    if A.dim() < 2 or A.shape[-2] != A.shape[-1]:
        raise RuntimeError("linalg.inv: A must be batches of square matrices, but they are "
                           f"{' by '.join(map(str, A.shape[-2:]))} matrices")
    X, _, _, info = _solve(*_same_batch(A, _eye(A)))
    if check_errors:
        _failed("linalg.inv_ex", info, _not_invertible)
    return X, info


@composite("inv(Tensor A) -> Tensor", out=True, **_L)
def inv(A):
    """The inverse. A: (*, n, n); LinAlgError if it is singular."""
    X, info = inv_ex(A)
    _failed("linalg.inv", info, _not_invertible)
    return X


@composite("inverse(Tensor self) -> Tensor", out=True)
def inverse(self):
    """`linalg.inv`."""
    return inv(self)


_solve_triangular = native(
    "_solve_triangular(Tensor A, Tensor B, bool upper, bool unitriangular) -> Tensor", **_HIDDEN,
    doc="X with A X = B, of which one triangle of A is read.",
)


@_solve_triangular.gradient
def _(g, A, upper, unitriangular, result):
    g_B = _solve_triangular(_adjoint(A), g, not upper, unitriangular)
    g_A = -matmul(g_B, _adjoint(result))
    k = 1 if unitriangular else 0
    return g_A.triu(k) if upper else g_A.tril(-k), g_B


@composite("solve_triangular(Tensor A, Tensor B, *, bool upper, bool left=True,"
           " bool unitriangular=False) -> Tensor", out=True, **_L)
def solve_triangular(A, B, upper, left, unitriangular):
    """X with A X = B, or X A = B if not `left`, for a triangular A.

    A: (*, n, n); only the triangle that `upper` says is read, without the diagonal if it is
    `unitriangular`. B: (*, n, k). A zero on the diagonal gives infinities, as a division does.
    """
    if not left:
        return solve_triangular(A.mT, B.mT, upper=not upper, unitriangular=unitriangular).mT
    return _solve_triangular(*_same_batch(A, B), upper, unitriangular)


@composite("triangular_solve(Tensor self, Tensor A, bool upper=True, bool transpose=False,"
           " bool unitriangular=False) -> (Tensor solution, Tensor cloned_coefficient)")
def triangular_solve(self, A, upper, transpose, unitriangular):
    """`linalg.solve_triangular` with the right-hand side first, and a copy of A."""
    left = A.mT if transpose else A
    solution = solve_triangular(left, self, upper=upper != transpose, unitriangular=unitriangular)
    return solution, A.clone()


# ---- Determinants ------------------------------------------------------------------------------


def _permutation_sign(pivots):
    """-1 for an odd number of exchanges."""
    from taimatsu import arange

    n = pivots.shape[-1]
    odd = (pivots != arange(1, n + 1, dtype=pivots.dtype, device=pivots.device)).sum(-1) % 2
    return 1 - 2 * odd


@composite("slogdet(Tensor A) -> (Tensor sign, Tensor logabsdet)", out=True, **_L)
def slogdet(A):
    """Sign and logarithm of the absolute value of the determinant; 0 and -inf if A is singular.

    A: (*, n, n).
    """
    return _slogdet(A)


@composite("slogdet(Tensor self) -> (Tensor sign, Tensor logabsdet)", out=True)
def slogdet_method(self):
    """`linalg.slogdet`."""
    return _slogdet(self)


def _slogdet(A):
    LU, pivots, _ = _lu_factor(_square("linalg.slogdet", A))
    diagonal = _diagonal(LU)
    size = diagonal.abs()
    sign = diagonal / (size + (size == 0))
    return sign.prod(-1) * _permutation_sign(pivots), size.log().sum(-1)


def _square(name, A):
    if A.dim() < 2 or A.shape[-1] != A.shape[-2]:
        raise RuntimeError(f"{name}: A must be batches of square matrices, but its sizes are "
                           f"{list(A.shape)}")
    return A


@composite("det(Tensor A) -> Tensor", out=True, **_L)
def det(A):
    """The determinant. A: (*, n, n).

    >>> taimatsu.linalg.det(taimatsu.tensor([[1.0, 2.0], [3.0, 4.0]]))
    tensor(-2.)
    """
    return _det(_square("linalg.det", A))


@composite("det(Tensor self) -> Tensor")
def det_method(self):
    """`linalg.det`."""
    return _det(_square("det", self))


def _det(A):
    from taimatsu import is_grad_enabled

    LU, pivots, info = _lu_factor(A)
    if A.requires_grad and is_grad_enabled() and bool(info.any()):
        # The LU derivative divides by the zero on the diagonal; singular vectors don't.
        U, S, Vh = svd(A)
        return _det(matmul(U, Vh)) * S.prod(-1)
    return _diagonal(LU).prod(-1) * _permutation_sign(pivots)


@composite("logdet(Tensor self) -> Tensor")
def logdet(self):
    """The logarithm of the determinant; NaN where that is negative."""
    sign, logabs = _slogdet(self)
    return logabs + sign.log()


# ---- QR ----------------------------------------------------------------------------------------

_qr = native("_qr(Tensor A, bool complete) -> (Tensor Q, Tensor R)", **_HIDDEN,
             doc="Q with orthonormal columns and an upper triangle R, A = Q R.")


@_qr.gradient
def _(g_Q, g_R, Q, R):
    m, k, n = Q.shape[-2], Q.shape[-1], R.shape[-1]
    if m < n or (m > n and k == m):
        raise NotImplementedError(
            "linalg.qr: the derivative is there for m >= n in mode 'reduced' only; got a matrix "
            f"of {m} by {n} and Q of {m} by {k}"
        )
    inner = None
    if g_R is not None:
        inner = matmul(R, _adjoint(g_R))
    if g_Q is not None:
        by_q = matmul(_adjoint(g_Q), Q)
        inner = -by_q if inner is None else inner - by_q
    if inner is None:
        return None
    inner = inner.tril() + _adjoint(inner.tril(-1))
    if inner.is_complex():  # R's diagonal is real
        inner = inner - _embed(1j * _diagonal(inner).imag)
    g = matmul(Q, inner)
    if g_Q is not None:
        g = g + g_Q
    return solve_triangular(_adjoint(R), g, upper=False, left=False)


@composite("qr(Tensor A, str mode='reduced') -> (Tensor Q, Tensor R)", out=True, **_L)
def qr(A, mode):
    """A = Q R, Q with orthonormal columns, R upper triangular.

    A: (*, m, n), k = min(m, n). mode 'reduced': Q (*, m, k), R (*, k, n); 'complete': Q
    (*, m, m), R (*, m, n); 'r': an empty Q.
    """
    if mode not in ("reduced", "complete", "r"):
        raise RuntimeError(f"qr received unrecognized mode '{mode}' but expected one of 'reduced' "
                           "(default), 'r', or 'complete'")
    Q, R = _qr(A, mode == "complete")
    return (A.new_empty(0), R) if mode == "r" else (Q, R)


@composite("qr(Tensor self, bool some=True) -> (Tensor Q, Tensor R)", out=True)
def qr_method(self, some):
    """`linalg.qr`; `some`: the reduced form."""
    return _qr(self, not some)


# ---- Singular values ---------------------------------------------------------------------------

_svd = native(
    "_svd(Tensor A, bool full_matrices, bool compute_uv)"
    " -> (Tensor U, Tensor S, Tensor Vh, Tensor info)", **_HIDDEN,
    doc="A = U diag(S) Vh, S descending.",
)


@_svd.gradient
def _(g_U, g_S, g_Vh, U, S, Vh):
    k = S.shape[-1]
    U, Vh = U[..., :k], Vh[..., :k, :]
    V = _adjoint(Vh)
    g_U = None if g_U is None else g_U[..., :k]
    g_V = None if g_Vh is None else _adjoint(g_Vh[..., :k, :])
    inner = None if g_S is None else _embed(g_S).to(U.dtype)
    if g_U is None and g_V is None:
        return None if inner is None else matmul(matmul(U, inner), Vh)
    squares = _inverse_distance(S * S)  # 1 / (s_j^2 - s_i^2)

    def skew(x):
        return x - _adjoint(x)

    def add(x, y):
        return y if x is None else x + y

    wide = S.unsqueeze(-2)
    if g_U is not None:
        by_u = skew(matmul(_adjoint(U), g_U))
        inner = add(inner, by_u * squares * wide)
    if g_V is not None:
        by_v = skew(matmul(_adjoint(V), g_V))
        inner = add(inner, wide.mT * (by_v * squares))
    if U.is_complex() and g_U is not None:  # the phase of each pair of vectors is free
        phase = _diagonal(matmul(_adjoint(U), g_U)).imag / S
        inner = inner + _embed(1j * phase)
    g = matmul(matmul(U, inner), Vh)
    if g_U is not None and U.shape[-2] > k:
        rest = g_U / wide
        g = g + matmul(rest - matmul(U, matmul(_adjoint(U), rest)), Vh)
    if g_V is not None and V.shape[-2] > k:
        rest = _adjoint(g_V / wide)
        g = g + matmul(U, rest - matmul(matmul(rest, V), Vh))
    return g


def _svd_failed(code):
    if code == -4:
        return ("The algorithm failed to converge because the input matrix contained non-finite "
                "values.")
    return ("The algorithm failed to converge because the input matrix is ill-conditioned or has "
            f"too many repeated singular values (error code: {code}).")


@composite("svd(Tensor A, bool full_matrices=True, *, str? driver=None)"
           " -> (Tensor U, Tensor S, Tensor Vh)", out=True, **_L)
def svd(A, full_matrices, driver):
    """A = U diag(S) Vh with orthonormal columns and rows, S descending.

    A: (*, m, n), k = min(m, n). U (*, m, m), S (*, k), Vh (*, n, n), or U (*, m, k) and Vh
    (*, k, n) if not `full_matrices`. LinAlgError for NaN or infinity.
    """
    U, S, Vh, info = _svd(A, full_matrices, True)
    _failed("linalg.svd", info, _svd_failed)
    return U, S, Vh


@composite("svdvals(Tensor A, *, str? driver=None) -> Tensor", out=True, **_L)
def svdvals(A, driver):
    """The singular values, descending. A: (*, m, n)."""
    _, S, _, info = _svd(A, False, A.requires_grad)
    _failed("linalg.svdvals", info, _svd_failed)
    return S


@composite("svd(Tensor self, bool some=True, bool compute_uv=True)"
           " -> (Tensor U, Tensor S, Tensor V)", out=True)
def svd_method(self, some, compute_uv):
    """U, S, V with self = U diag(S) V^H."""
    U, S, Vh = svd(self, not some)
    if not compute_uv:
        U, Vh = U * 0, Vh * 0
    return U, S, _adjoint(Vh)


# ---- Eigenvalues -------------------------------------------------------------------------------

_eigh = native(
    "_eigh(Tensor A, bool upper, bool compute_v) -> (Tensor values, Tensor vectors, Tensor info)",
    **_HIDDEN, doc="Eigenvalues and vectors of Hermitian matrices.",
)


@_eigh.gradient
def _(g_values, g_vectors, values, vectors):
    inner = None if g_values is None else _embed(g_values).to(vectors.dtype)
    if g_vectors is not None:
        by_vectors = matmul(_adjoint(vectors), g_vectors) * _inverse_distance(values)
        inner = by_vectors if inner is None else inner + by_vectors
    return None if inner is None else matmul(matmul(vectors, inner), _adjoint(vectors))


def _eigen_failed(code):
    if code == -4:
        return "The input matrix contained non-finite values."
    return ("The algorithm failed to converge because the input matrix is ill-conditioned or has "
            f"too many repeated eigenvalues (error code: {code}).")


def _upper(name, UPLO):
    if UPLO not in ("L", "U", "l", "u"):
        raise RuntimeError(f"{name}: Expected UPLO argument to be 'L' or 'U', but got {UPLO}")
    return UPLO in "Uu"


@composite("eigh(Tensor A, str UPLO='L') -> (Tensor eigenvalues, Tensor eigenvectors)",
           out=True, **_L)
def eigh(A, UPLO):
    """Eigenvalues (real, ascending) and orthonormal eigenvectors (columns) of Hermitian matrices.

    A: (*, n, n), of which the triangle `UPLO` is read. Result: (*, n), (*, n, n).
    """
    values, vectors, info = _eigh(A, _upper("linalg.eigh", UPLO), True)
    _failed("linalg.eigh", info, _eigen_failed)
    return values, vectors


@composite("eigvalsh(Tensor A, str UPLO='L') -> Tensor", out=True, **_L)
def eigvalsh(A, UPLO):
    """The eigenvalues of Hermitian matrices, ascending."""
    values, _, info = _eigh(A, _upper("linalg.eigvalsh", UPLO), A.requires_grad)
    _failed("linalg.eigvalsh", info, _eigen_failed)
    return values


_eig = native("_eig(Tensor A) -> (Tensor values, Tensor vectors, Tensor info)", **_HIDDEN,
              doc="Complex eigenvalues and unit vectors of any matrices.")


@_eig.gradient
def _(g_values, g_vectors, A, values, vectors):
    inner = None if g_values is None else _embed(g_values)
    if g_vectors is not None:
        by_vectors = matmul(_adjoint(vectors), g_vectors)
        # Vectors have unit length: what would change it flows back nowhere.
        along = matmul(_adjoint(vectors), vectors * _diagonal(by_vectors).real.unsqueeze(-2))
        by_vectors = (by_vectors - along) * _inverse_distance(values).conj_physical()
        inner = by_vectors if inner is None else inner + by_vectors
    if inner is None:
        return None
    g = solve(_adjoint(vectors), matmul(inner, _adjoint(vectors)))
    return g if A.is_complex() else g.real


@composite("eig(Tensor A) -> (Tensor eigenvalues, Tensor eigenvectors)", out=True, **_L)
def eig(A):
    """Eigenvalues and eigenvectors (columns of length 1) of square matrices; both complex."""
    values, vectors, info = _eig(A)
    _failed("linalg.eig", info, _eigen_failed)
    return values, vectors


@composite("eigvals(Tensor A) -> Tensor", out=True, **_L)
def eigvals(A):
    """The eigenvalues of square matrices, complex."""
    return eig(A)[0]


# ---- What follows ------------------------------------------------------------------------------


def _tolerance(S, atol, rtol, shape):
    """The size below which a singular value counts as zero."""
    from taimatsu import finfo

    if rtol is None:
        rtol = 0.0 if atol is not None else max(shape[-2:]) * finfo(S.dtype).eps
    largest = S.amax(-1, keepdim=True) if S.shape[-1] else S.sum(-1, keepdim=True)
    return (largest * rtol).clamp(min=atol or 0.0)


@composite("pinv(Tensor A, *, float? atol=None, float? rtol=None, bool hermitian=False) -> Tensor",
           out=True, **_L)
def pinv(A, atol, rtol, hermitian):
    """The Moore-Penrose inverse; singular values up to max(atol, rtol * largest) count as 0.

    A: (*, m, n). Result: (*, n, m).
    """
    from taimatsu import where

    U, S, Vh = svd(A, False)
    keep = _tolerance(S, atol, rtol, A.shape) < S
    inverse = where(keep, 1 / where(keep, S, S.new_ones(())), S.new_zeros(()))
    return matmul(_adjoint(Vh) * inverse.unsqueeze(-2), _adjoint(U))


@composite("pinverse(Tensor self, float rcond=1e-15) -> Tensor")
def pinverse(self, rcond):
    """`linalg.pinv`."""
    return pinv(self, rtol=rcond)


@composite("matrix_rank(Tensor A, *, float? atol=None, float? rtol=None, bool hermitian=False)"
           " -> Tensor", **_L)
def matrix_rank(A, atol, rtol, hermitian):
    """How many singular values are above max(atol, rtol * largest)."""
    S = svdvals(A.detach())
    return (_tolerance(S, atol, rtol, A.shape) < S).sum(-1)


@composite("lstsq(Tensor A, Tensor B, float? rcond=None, *, str? driver=None)"
           " -> (Tensor solution, Tensor residuals, Tensor rank, Tensor singular_values)", **_L)
def lstsq(A, B, rcond, driver):
    """The X of least norm among those that minimise |A X - B|.

    A: (*, m, n), B: (*, m, k) or (*, m). `residuals`: the sums of squares, where m > n and A has
    full rank, else empty. `singular_values` for the drivers 'gelsd' and 'gelss', else empty.
    """
    vector = _is_vector(A, B)
    right = B.unsqueeze(-1) if vector else B
    m, n = A.shape[-2:]
    S = svdvals(A.detach())
    rank = (_tolerance(S, None, rcond, A.shape) < S).sum(-1)
    solution = matmul(pinv(A, rtol=rcond), right)
    residuals = A.new_empty(0)
    if m > n and not rank.is_meta and bool((rank == n).all()):
        error = matmul(A, solution) - right
        residuals = (error.abs() ** 2).sum(-2)
    values = S if driver in ("gelsd", "gelss") else S.new_empty(0)
    return solution.squeeze(-1) if vector else solution, residuals, rank, values


def _power(A, n):
    _square("linalg.matrix_power", A)
    if n == 0:
        return _eye(A).expand(A.shape).contiguous()
    if n < 0:
        A, n = inv(A), -n
    out = None
    while True:  # by squaring
        if n & 1:
            out = A if out is None else matmul(out, A)
        n >>= 1
        if n == 0:
            return out
        A = matmul(A, A)


@composite("matrix_power(Tensor A, int n) -> Tensor", out=True, **_L)
def matrix_power(A, n):
    """The n-th power of square matrices; of the inverse for negative n."""
    return _power(A, n)


@composite("matrix_power(Tensor self, int n) -> Tensor", out=True)
def matrix_power_method(self, n):
    """`linalg.matrix_power`."""
    return _power(self, n)


@composite("multi_dot(Tensor[] tensors) -> Tensor", **_L)
def multi_dot(tensors):
    """The product of two or more matrices in the cheapest order.

    The first and last may be vectors. RuntimeError for fewer than two.
    """
    if len(tensors) < 2:
        raise RuntimeError(f"multi_dot(): expected at least 2 tensors but got {len(tensors)}")
    row, column = tensors[0].dim() == 1, tensors[-1].dim() == 1
    chain = list(tensors)
    if row:
        chain[0] = chain[0].unsqueeze(0)
    if column:
        chain[-1] = chain[-1].unsqueeze(1)
    sizes = [x.shape[0] for x in chain] + [chain[-1].shape[1]]
    n = len(chain)
    cost = {(i, i): (0, i) for i in range(n)}
    for length in range(2, n + 1):
        for i in range(n - length + 1):
            j = i + length - 1
            cost[i, j] = min(
                (cost[i, s][0] + cost[s + 1, j][0] + sizes[i] * sizes[s + 1] * sizes[j + 1], s)
                for s in range(i, j)
            )

    def product(i, j):
        if i == j:
            return chain[i]
        s = cost[i, j][1]
        return matmul(product(i, s), product(s + 1, j))

    out = product(0, n - 1)
    out = out.squeeze(0) if row else out
    return out.squeeze(-1) if column else out
