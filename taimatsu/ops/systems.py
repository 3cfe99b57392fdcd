"""Linear systems, inverses, least squares and determinants."""

from __future__ import annotations

import math

from taimatsu._interpreter import elements

from .factorization import _lu_factor, _lu_solve
from .linalg import matmul
from .matrix import (
    HIDDEN,
    LINALG,
    adjoint,
    check_equations,
    check_inexact,
    check_info,
    check_matrix,
    check_square,
    conj,
    diagonal,
    identity,
    real,
    same_batch,
)
from .spectrum import pinv, svd
from .table import composite, native

# ---- Solving -----------------------------------------------------------------------------------

_solve = native(
    "_solve(Tensor A, Tensor B) -> (Tensor X, Tensor LU, Tensor pivots, Tensor info)", **HIDDEN,
    doc="X with A X = B, and the factors of A^T.",
)


@_solve.gradient
def _(g_X, A, X, LU, pivots):
    from taimatsu import is_grad_enabled

    if is_grad_enabled():  # the factors' own derivative would be needed
        g_B = solve(adjoint(A), g_X)
    else:
        g_B = conj(_lu_solve(LU, pivots, conj(g_X), False))
    return -matmul(g_B, adjoint(X)), g_B


def _is_vector(A, B):
    """Whether B is a batch of vectors, not of matrices."""
    return B.dim() == 1 or (A.dim() - 1 == B.dim() and B.shape == A.shape[:-1])


@composite("solve_ex(Tensor A, Tensor B, *, bool left=True, bool check_errors=False)"
           " -> (Tensor result, Tensor info)", out=True, **LINALG)
def solve_ex(A, B, left, check_errors):
    """`solve`, which says in `info` whether a matrix is singular."""
    check_square("linalg.solve", A)
    vector = _is_vector(A, B)
    if vector and not left:
        raise RuntimeError("linalg.solve: Vector broadcasting of the left hand side is not "
                           "supported for left=False")
    right = B.unsqueeze(-1) if vector else B
    check_equations("linalg.solve", A, right, left)
    if not left:
        A, right = A.mT, right.mT
    X, _, _, info = _solve(*same_batch(A, right))
    if check_errors:
        check_info("torch.linalg.solve_ex", info, _singular)
    X = X.squeeze(-1) if vector else X if left else X.mT
    return X, info


def _singular(code):
    return "The solver failed because the input matrix is singular."


@composite("solve(Tensor A, Tensor B, *, bool left=True) -> Tensor", out=True, **LINALG)
def solve(A, B, left):
    """X with A X = B, or X A = B if not `left`.

    A: (*, n, n), B: (*, n, k), or (n) or (*, n) for vectors; batches broadcast. LinAlgError
    if A is singular.

    >>> A = taimatsu.tensor([[2.0, 0.0], [0.0, 4.0]])
    >>> taimatsu.linalg.solve(A, taimatsu.tensor([2.0, 4.0]))
    tensor([1., 1.])
    """
    X, info = solve_ex(A, B, left=left)
    check_info("torch.linalg.solve", info, _singular)
    return X


def _not_invertible(code):
    return (f"The diagonal element {code} is zero, the inversion could not be completed because "
            "the input matrix is singular.")


@composite("inv_ex(Tensor A, *, bool check_errors=False) -> (Tensor inverse, Tensor info)",
           out=True, **LINALG)
def inv_ex(A, check_errors):
    """`inv`, which says in `info` whether a matrix is singular."""
    check_inexact("linalg.inv", check_square("linalg.inv", A))
    X, _, _, info = _solve(*same_batch(A, identity(A)))
    if check_errors:
        check_info("linalg.inv_ex", info, _not_invertible)
    return X, info


@composite("inv(Tensor A) -> Tensor", out=True, **LINALG)
def inv(A):
    """The inverse. A: (*, n, n); LinAlgError if it is singular."""
    X, info = inv_ex(A)
    check_info("linalg.inv", info, _not_invertible)
    return X


@composite("inverse(Tensor self) -> Tensor", out=True)
def inverse(self):
    """`linalg.inv`."""
    return inv(self)


# ---- Systems of tensors ------------------------------------------------------------------------


def _check_square_product(name, left, right, shapes):
    if math.prod(left) != math.prod(right):
        raise RuntimeError(f"linalg.{name}: Expected self to satisfy the requirement that the "
                           f"elements of {shapes} are as many; got {list(left)} and {list(right)}")


@composite("tensorsolve(Tensor A, Tensor other, int[]? dims=None) -> Tensor", out=True, **LINALG)
def tensorsolve(A, other, dims):
    """X with tensordot(A, X, X.dim()) = other.

    A, after `dims` of it were moved to its end, has the sizes of `other` and then those of X, as
    many elements in the one as in the other: else RuntimeError. LinAlgError if it is singular.

    >>> A = taimatsu.eye(6).reshape(2, 3, 6)
    >>> taimatsu.linalg.tensorsolve(A, taimatsu.ones(2, 3))
    tensor([1., 1., 1., 1., 1., 1.])
    """
    if dims is not None:
        A = A.movedim(dims, [d - len(dims) for d in range(len(dims))])
    B = other
    given, wanted = A.shape[: B.dim()], A.shape[B.dim() :]
    _check_square_product("tensorsolve", wanted, B.shape, "shape[other.ndim:] and other")
    _check_square_product("tensorsolve", wanted, given, "shape[other.ndim:] and shape[:other.ndim]")
    n = math.prod(wanted)
    return solve(A.reshape(n, n), B.reshape(n)).reshape(wanted)


@composite("tensorinv(Tensor A, int ind=2) -> Tensor", out=True, **LINALG)
def tensorinv(A, ind):
    """The inverse of tensordot(A, X, A.dim() - ind) as a map of X.

    A: (*a, *b), `ind` sizes in a, and as many elements in a as in b: RuntimeError. Result:
    (*b, *a).
    """
    if ind <= 0:
        raise RuntimeError(f"Expected a strictly positive integer for 'ind', but got {ind}")
    left, right = A.shape[:ind], A.shape[ind:]
    _check_square_product("tensorinv", right, left, "shape[ind:] and shape[:ind]")
    n = math.prod(left)
    X, info = inv_ex(A.reshape(n, n))
    check_info("linalg.tensorinv", info, _not_invertible)
    return X.reshape(*right, *left)


# ---- Least squares -----------------------------------------------------------------------------

_lapack_lstsq = native(
    "_lstsq(Tensor A, Tensor B, float rcond, str driver)"
    " -> (Tensor X, Tensor rank, Tensor singular_values, Tensor info)", **HIDDEN,
    doc="The X of least |A X - B|.",
)


@_lapack_lstsq.gradient
def _(g_X, A, B, X, rcond):
    # X = pinv(A) B, by the derivative of pinv.
    P = pinv(A, rtol=rcond)
    g_B = matmul(adjoint(P), g_X)
    error = B - matmul(A, X)
    outside = g_X - matmul(P, matmul(A, g_X))
    g_A = (-matmul(g_B, adjoint(X))
           + matmul(matmul(error, adjoint(g_B)), adjoint(P))
           + matmul(matmul(adjoint(P), X), adjoint(outside)))
    return g_A, g_B


_DRIVERS = ("gels", "gelsy", "gelsd", "gelss")


@composite("lstsq(Tensor self, Tensor b, float? rcond=None, *, str? driver=None)"
           " -> (Tensor solution, Tensor residuals, Tensor rank, Tensor singular_values)",
           out=True, **LINALG)
def lstsq(self, b, rcond, driver):
    """The X of least norm among those that minimise |A X - B|.

    self, A: (*, m, n); b, B: (*, m, k) or (*, m), of one batch. driver, of LAPACK: 'gelsy' (if
    None), 'gelsd' and 'gelss' for any A, 'gels' for one of full rank. rcond: singular values up to
    it, relative to the largest, count as zero; max(m, n) * eps if None.

    residuals         sums of squares (*, k), where m > n, each A has full rank and the driver
                      isn't 'gelsy', else empty
    rank              A's (*), empty for 'gels'
    singular_values   A's (*, min(m, n)) for 'gelsd' and 'gelss', else empty
    """
    from taimatsu import finfo, int64

    A, B, name = self, b, "torch.linalg.lstsq"
    check_inexact(name, check_matrix(name, A, "input"))
    if B.dim() < 1:
        raise RuntimeError(f"{name}: other must have at least 1 dimension.")
    if A.dim() - B.dim() not in (0, 1):
        raise RuntimeError(f"{name}: input.dim() must be greater or equal to other.dim() and "
                           f"(input.dim() - other.dim()) <= 1; got {A.dim()} and {B.dim()}")
    vector = A.dim() == B.dim() + 1
    right = B.unsqueeze(-1) if vector else B
    if A.shape[-2] != right.shape[-2]:
        side = "-1" if vector else "-2"
        raise RuntimeError(f"{name}: input.size(-2) should match other.size({side}); got "
                           f"{list(A.shape)} and {list(B.shape)}")
    if A.dtype != B.dtype:
        raise RuntimeError(f"{name}: Expected input and other to have the same dtype, but got "
                           f"input's dtype {A.dtype} and other's dtype {B.dtype}")
    driver = driver or "gelsy"
    if driver not in _DRIVERS:
        raise RuntimeError(f"{name}: parameter `driver` should be one of "
                           f"({', '.join(_DRIVERS)}); got {driver!r}")
    repeated = [d for d, size in enumerate(A.shape[:-2]) if size == 1]
    A, right = same_batch(A, right)
    m, n = A.shape[-2:]
    if rcond is None:
        rcond = max(m, n) * finfo(A.dtype).eps
    X, rank, S, info = _lapack_lstsq(A, right, rcond, driver)
    check_info(name, info, _not_solved)
    for d in repeated:  # ranks and singular values are those of the A that were given
        rank, S = rank.narrow(d, 0, 1), S.narrow(d, 0, 1)
    rank = rank.to(int64)
    residuals = real(X).flatten()[:0]
    ranks = elements(rank)
    known = driver != "gelsy" and not ranks.is_meta
    full = driver == "gels" or (known and bool((ranks == n).all()))
    if m > n and full:
        error = matmul(A, X) - right
        residuals = (error.abs() if error.is_complex() else error).square().sum(-2)
    if driver == "gels":
        rank = rank.new_empty(0)
    if driver in ("gels", "gelsy"):
        S = S.new_empty(0)
    return X.squeeze(-1) if vector else X, residuals, rank, S.detach()


def _not_solved(code):
    if code == -4:
        return "The input matrix contained non-finite values."
    return ("The least squares solution could not be computed because the input matrix does not "
            f"have full rank or the algorithm failed to converge (error code: {code}).")


# ---- Determinants ------------------------------------------------------------------------------


def _permutation_sign(pivots):
    """-1 for an odd number of exchanges."""
    from taimatsu import arange

    n = pivots.shape[-1]
    odd = (pivots != arange(1, n + 1, dtype=pivots.dtype, device=pivots.device)).sum(-1) % 2
    return 1 - 2 * odd


def _determinant(A):
    LU, pivots, _ = _lu_factor(A.mT)  # of row-major matrices the transpose is read faster
    return diagonal(LU).prod(-1) * _permutation_sign(pivots)


def _det_gradient(g, A, result):
    # g conj(det A) A^-H; the adjugate, by singular values, where A isn't invertible.
    inverse, _, _, info = _solve(*same_batch(adjoint(A), identity(A)))
    if info.is_meta or not info.any():
        return (g * conj(result)).unsqueeze(-1).unsqueeze(-1) * inverse
    U, S, Vh = svd(A, False)
    turn = conj(_determinant(matmul(U, Vh)))
    scale = (g * turn).unsqueeze(-1) * _products_of_others(S)
    return matmul(U * scale.unsqueeze(-2), Vh)


def _products_of_others(x):
    """For each element of a row the product of all others."""
    from taimatsu import cat, ones_like

    one, n = ones_like(x[..., :1]), x.shape[-1]
    before = cat((one, x[..., : n - 1]), -1).cumprod(-1)
    after = cat((one, x.flip(-1)[..., : n - 1]), -1).cumprod(-1).flip(-1)
    return before * after


@composite("det(Tensor A) -> Tensor", out=True, **LINALG)
def det(A):
    """The determinant. A: (*, n, n).

    >>> taimatsu.linalg.det(taimatsu.tensor([[1.0, 2.0], [3.0, 4.0]]))
    tensor(-2.)
    """
    return _determinant(check_square("linalg.det", A))


det.gradient(A=_det_gradient)


@composite("det(Tensor self) -> Tensor")
def det_method(self):
    """`linalg.det`."""
    return det(self)


def _slogdet(name, A):
    LU, pivots, _ = _lu_factor(check_square(name, A))
    on_diagonal = diagonal(LU)
    size = on_diagonal.abs()
    sign = on_diagonal / (size + (size == 0))
    return sign.prod(-1) * _permutation_sign(pivots), size.log().sum(-1)


@composite("slogdet(Tensor A) -> (Tensor sign, Tensor logabsdet)", out=True, **LINALG)
def slogdet(A):
    """Sign and logarithm of the absolute value of the determinant; 0 and -inf if A is singular.

    A: (*, n, n).
    """
    return _slogdet("linalg.slogdet", A)


@composite("slogdet(Tensor self) -> (Tensor sign, Tensor logabsdet)", out=True)
def slogdet_method(self):
    """`linalg.slogdet`."""
    return _slogdet("linalg.slogdet", self)


@composite("logdet(Tensor self) -> Tensor")
def logdet(self):
    """The logarithm of the determinant; NaN where that is negative."""
    sign, logabs = _slogdet("logdet", self)
    return logabs + sign.log()
