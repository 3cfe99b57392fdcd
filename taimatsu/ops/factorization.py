"""Triangular systems, and the factorisations that end in them: Cholesky, LU, LDL, QR."""

from __future__ import annotations

from .linalg import matmul
from .matrix import (
    HIDDEN,
    LINALG,
    adjoint,
    check_equations,
    check_info,
    check_matrix,
    check_square,
    conj,
    diagonal,
    embed,
    identity,
    same_batch,
)
from .table import composite, native

# ---- Triangular systems ------------------------------------------------------------------------

_solve_triangular = native(
    "_solve_triangular(Tensor A, Tensor B, bool upper, bool unitriangular) -> Tensor", **HIDDEN,
    doc="X with A X = B, of which one triangle of A is read.",
)


@_solve_triangular.gradient
def _(g, A, upper, unitriangular, result):
    g_B = _solve_triangular(adjoint(A), g, not upper, unitriangular)
    g_A = -matmul(g_B, adjoint(result))
    k = 1 if unitriangular else 0
    return g_A.triu(k) if upper else g_A.tril(-k), g_B


@composite("solve_triangular(Tensor A, Tensor B, *, bool upper, bool left=True,"
           " bool unitriangular=False) -> Tensor", out=True, **LINALG)
def solve_triangular(A, B, upper, left, unitriangular):
    """X with A X = B, or X A = B if not `left`, for a triangular A.

    A: (*, n, n); only the triangle that `upper` says is read, without the diagonal if it is
    `unitriangular`. B: (*, n, k). A zero on the diagonal gives infinities, as a division does.
    """
    check_equations("linalg.solve_triangular", A, B, left)
    if not left:
        return solve_triangular(A.mT, B.mT, upper=not upper, unitriangular=unitriangular).mT
    return _solve_triangular(*same_batch(A, B), upper, unitriangular)


@composite("triangular_solve(Tensor self, Tensor A, bool upper=True, bool transpose=False,"
           " bool unitriangular=False) -> (Tensor solution, Tensor cloned_coefficient)",
           out="exact")
def triangular_solve(self, A, upper, transpose, unitriangular):
    """`linalg.solve_triangular` with the right-hand side first, and a copy of A.

    self: (*, n, k), A: (*, n, n); with `transpose` A^T X = self. RuntimeError for vectors.
    """
    if self.dim() < 2:
        raise RuntimeError("triangular_solve: Expected b to have at least 2 dimensions, but it "
                           f"has {self.dim()} dimensions instead")
    if A.dim() < 2:
        raise RuntimeError("triangular_solve: Expected A to have at least 2 dimensions, but it "
                           f"has {A.dim()} dimensions instead")
    check_equations("triangular_solve", A, self)
    self, A = same_batch(self, A)
    left = A.mT if transpose else A
    solution = solve_triangular(left, self, upper=upper != transpose, unitriangular=unitriangular)
    return solution, A.clone()


# ---- Cholesky ----------------------------------------------------------------------------------

_cholesky = native("_cholesky(Tensor A, bool upper) -> (Tensor L, Tensor info)", **HIDDEN,
                   doc="L with A = L L^H, or U with A = U^H U.")


@_cholesky.gradient
def _(g_L, L, upper):
    if upper:
        g_L, L = adjoint(g_L), adjoint(L)
    inner = matmul(adjoint(L), g_L).tril()
    inner = inner - embed(diagonal(inner)) / 2
    g = solve_triangular(L, inner, upper=False, left=False)
    g = solve_triangular(adjoint(L), g, upper=True)
    return (g + adjoint(g)) / 2


def _not_positive(code):
    return ("The factorization could not be completed because the input is not positive-definite "
            f"(the leading minor of order {code} is not positive-definite).")


@composite("cholesky_ex(Tensor A, *, bool upper=False, bool check_errors=False)"
           " -> (Tensor L, Tensor info)", out=True, **LINALG)
def cholesky_ex(A, upper, check_errors):
    """`cholesky`, which says in `info` (int32, per matrix) if a matrix isn't positive definite."""
    L, info = _cholesky(A, upper)
    if check_errors:
        check_info("linalg.cholesky_ex", info, _not_positive)
    return L, info


@composite("cholesky(Tensor A, *, bool upper=False) -> Tensor", out=True, **LINALG)
def cholesky(A, upper):
    """The lower triangular L with A = L L^H, or with `upper` U with A = U^H U.

    A: (*, n, n), Hermitian and positive definite; one triangle is read. LinAlgError if not
    positive definite.

    >>> taimatsu.linalg.cholesky(taimatsu.tensor([[4.0, 0.0], [0.0, 9.0]]))
    tensor([[2., 0.],
            [0., 3.]])
    """
    L, info = _cholesky(A, upper)
    check_info("linalg.cholesky", info, _not_positive)
    return L


@composite("cholesky(Tensor self, bool upper=False) -> Tensor", out=True)
def cholesky_method(self, upper):
    """`linalg.cholesky`."""
    L, info = _cholesky(self, upper)
    check_info("cholesky", info, _not_positive)
    return L


@composite("cholesky_solve(Tensor self, Tensor L, bool upper=False) -> Tensor", out=True)
def cholesky_solve(self, L, upper):
    """X with A X = self, from the Cholesky factor of A. self: (*, n, k), L: (*, n, n).

    RuntimeError for vectors; a batch of the one broadcasts over that of the other.
    """
    for x, name in ((self, "b"), (L, "u")):
        if x.dim() < 2:
            raise RuntimeError(f"cholesky_solve: {name} should have at least 2 dimensions, but has "
                               f"{x.dim()} dimensions instead")
    check_equations("cholesky_solve", L, self)
    if upper:
        return solve_triangular(L, solve_triangular(adjoint(L), self, upper=False), upper=True)
    return solve_triangular(adjoint(L), solve_triangular(L, self, upper=False), upper=True)


@composite("cholesky_inverse(Tensor self, bool upper=False) -> Tensor", out=True)
def cholesky_inverse(self, upper):
    """The inverse of A from its Cholesky factor. self: (*, n, n)."""
    check_square("cholesky_inverse", self)
    return cholesky_solve(identity(self).expand(self.shape), self, upper)


def _factor_gradient(common, L, upper):
    """Of A^-1 = (L L^H)^-1, or (U^H U)^-1, by all elements of the factor."""
    return -matmul(L, common) if upper else -matmul(common, L)


@cholesky_solve.gradient
def _(g, L, upper, result):
    g_self = cholesky_solve(g, L, upper)
    common = matmul(g_self, adjoint(result))
    return g_self, _factor_gradient(common + adjoint(common), L, upper)


@cholesky_inverse.gradient
def _(g, self, upper, result):
    return _factor_gradient(matmul(matmul(result, g + adjoint(g)), result), self, upper)


# ---- LU ----------------------------------------------------------------------------------------

_lu_factor = native("_lu_factor(Tensor A) -> (Tensor LU, Tensor pivots, Tensor info)", **HIDDEN,
                    doc="Both triangular factors in one matrix, and the rows exchanged.")


def _unit_lower(x):
    """The strict lower triangle of square matrices, and ones on the diagonal."""
    return x.tril(-1) + identity(x)


@_lu_factor.gradient
def _(g_LU, LU, pivots):
    # Of the square block as of a square matrix; what is to the right of it is U only, what is
    # below it L only.
    m, n = LU.shape[-2:]
    k = min(m, n)
    block, g = LU[..., :k, :k], g_LU[..., :k, :k]
    lower, upper = adjoint(_unit_lower(block)), adjoint(block.triu())
    right, g_right = LU[..., :k, k:], g_LU[..., :k, k:]
    below, g_below = LU[..., k:, :k], g_LU[..., k:, :k]
    # The block's factors move with it and with what else they solve for.
    by_lower, by_upper = matmul(lower, g.tril(-1)), matmul(g.triu(), upper)
    if n > k:
        by_lower = by_lower - matmul(g_right, adjoint(right))
    if m > k:
        by_upper = by_upper - matmul(adjoint(below), g_below)
    inner = by_lower.tril(-1) + by_upper.triu()
    inner = solve_triangular(upper, inner, upper=False, left=False)
    inner = solve_triangular(lower, inner, upper=True, unitriangular=True)
    if n > k:
        rest = solve_triangular(lower, g_right, upper=True, unitriangular=True)
        inner = _joined(inner, rest, -1)
    if m > k:
        rest = solve_triangular(upper, g_below, upper=False, left=False)
        inner = _joined(inner, rest, -2)
    return matmul(_permutation(pivots, m, LU.dtype), inner)


def _joined(a, b, dim):
    from taimatsu import cat

    return cat((a, b), dim)


_row_order = native("_row_order(Tensor pivots, int rows) -> Tensor", **HIDDEN,
                    doc="Which row of A is in each row of L U, from the rows exchanged.")


def _permutation(pivots, m, dtype):
    """The matrices P of A = P L U from the rows that were exchanged, one after the other."""
    from taimatsu import arange

    order = _row_order(pivots, m)
    return (order.unsqueeze(-2) == arange(m, device=pivots.device).unsqueeze(-1)).to(dtype)


def _zero_diagonal(code):
    return (f"U[{code},{code}] is zero and using it on lu_solve would result in a division by "
            "zero. If you still want to perform the factorization, consider calling "
            "linalg.lu(A, pivot) or linalg.lu_factor_ex(A, pivot)")


@composite("lu_factor_ex(Tensor A, *, bool pivot=True, bool check_errors=False)"
           " -> (Tensor LU, Tensor pivots, Tensor info)", out=True, **LINALG)
def lu_factor_ex(A, pivot, check_errors):
    """`lu_factor`, which says in `info` whether a matrix is singular."""
    check_matrix("torch.lu_factor", A)
    if not pivot:
        raise RuntimeError("linalg.lu_factor: LU without pivoting is not implemented on the CPU")
    LU, pivots, info = _lu_factor(A)
    if check_errors:
        check_info("linalg.lu_factor_ex", info, _zero_diagonal, RuntimeError)
    return LU, pivots, info


@composite("lu_factor(Tensor A, *, bool pivot=True) -> (Tensor LU, Tensor pivots)", out=True,
           **LINALG)
def lu_factor(A, pivot):
    """A compact LU factorisation with row exchanges, for `lu_solve`.

    A: (*, m, n). Result: LU (*, m, n), pivots (*, min(m, n)), int32, counted from 1. RuntimeError
    if a matrix is singular.
    """
    LU, pivots, info = lu_factor_ex(A, pivot=pivot)
    check_info("linalg.lu_factor", info, _zero_diagonal, RuntimeError)
    return LU, pivots


def _triangles(LU):
    """L (*, m, k) and U (*, k, n) from the compact form."""
    from taimatsu import eye

    m, n = LU.shape[-2:]
    k = min(m, n)
    lower = LU[..., :k].tril(-1) + eye(m, k, dtype=LU.dtype, device=LU.device)
    return lower, LU[..., :k, :].triu()


@composite("lu(Tensor A, *, bool pivot=True) -> (Tensor P, Tensor L, Tensor U)", out=True, **LINALG)
def lu(A, pivot):
    """A = P L U with a permutation P, a unit lower triangle L and an upper triangle U.

    A: (*, m, n), k = min(m, n). P: (*, m, m), L: (*, m, k), U: (*, k, n).
    """
    LU, pivots, _ = lu_factor_ex(A, pivot=pivot)
    return _permutation(pivots, LU.shape[-2], LU.dtype), *_triangles(LU)


@composite("lu_unpack(Tensor LU_data, Tensor LU_pivots, bool unpack_data=True,"
           " bool unpack_pivots=True) -> (Tensor P, Tensor L, Tensor U)", out=True, method=False)
def lu_unpack(LU_data, LU_pivots, unpack_data, unpack_pivots):
    """P, L and U from what `linalg.lu_factor` gives; those not asked for are empty.

    RuntimeError if the pivots aren't int32, or not between 1 and the number of rows.

    >>> LU, pivots = taimatsu.linalg.lu_factor(taimatsu.tensor([[0.0, 2.0], [1.0, 1.0]]))
    >>> taimatsu.lu_unpack(LU, pivots).P
    tensor([[0., 1.],
            [1., 0.]])
    """
    from taimatsu import int32

    check_matrix("torch.lu_unpack", LU_data, "LU_data")
    P = L = U = LU_data.new_empty(0)
    if unpack_pivots:
        m, n = LU_data.shape[-2:]
        if LU_pivots.dtype != int32:
            raise RuntimeError("torch.lu_unpack: LU_pivots is expected to be a contiguous tensor "
                               f"of torch.int32 dtype; got {LU_pivots.dtype}")
        if LU_pivots.shape != (*LU_data.shape[:-2], min(m, n)) and LU_pivots.numel():
            raise RuntimeError(f"torch.lu_unpack: expected pivots of sizes "
                               f"{[*LU_data.shape[:-2], min(m, n)]}, got {list(LU_pivots.shape)}")
        if not LU_pivots.is_meta and ((LU_pivots < 1) | (LU_pivots > m)).any():
            raise RuntimeError("torch.lu_unpack: pivots passed to lu_unpack must be between 1 and "
                               f"LU.size(-2) = {m} inclusive")
        P = _permutation(LU_pivots, m, LU_data.dtype)
    if unpack_data:
        L, U = _triangles(LU_data)
    return P, L, U


_lu_solve = native("_lu_solve(Tensor LU, Tensor pivots, Tensor B, bool adjoint) -> Tensor",
                   **HIDDEN, doc="X with A X = B, or A^H X = B.")


@_lu_solve.gradient
def _(g, LU, pivots, adjoint, result, needs):
    g_B = _lu_solve(LU, pivots, g, not adjoint)
    if not needs[0]:
        return None, None, g_B
    g_A = -matmul(result, _adjoint(g_B)) if adjoint else -matmul(g_B, _adjoint(result))
    rows = matmul(_permutation(pivots, LU.shape[-1], LU.dtype).mT, g_A)  # of L U = P^T A
    g_L = matmul(rows, _adjoint(LU.triu())).tril(-1)
    return g_L + matmul(_adjoint(_unit_lower(LU)), rows).triu(), None, g_B


@composite("lu_solve(Tensor LU, Tensor pivots, Tensor B, *, bool left=True, bool adjoint=False)"
           " -> Tensor", out=True, **LINALG)
def lu_solve(LU, pivots, B, left, adjoint):
    """X with A X = B, X A = B if not `left`, A^H in place of A with `adjoint`, from A's factors.

    LU: (*, n, n), pivots: (*, n), as `lu_factor` gives them; B: (*, n, k), or (*, k, n).
    """
    from taimatsu import int32

    check_equations("linalg.lu_solve", LU, B, left)
    if pivots.dtype != int32:
        raise RuntimeError("linalg.lu_solve: pivots should be a Tensor of scalar type torch.int32, "
                           f"not {pivots.dtype}")
    if pivots.shape != LU.shape[:-1]:
        raise RuntimeError("linalg.lu_solve: Number of pivots per batch should be same as the "
                           f"dimension of the matrix; got {list(pivots.shape)} and "
                           f"{list(LU.shape)}")
    if not left:  # X A = B is A^H X^H = B^H
        return _adjoint(lu_solve(LU, pivots, _adjoint(B), adjoint=not adjoint))
    if LU.shape[:-2] != B.shape[:-2]:
        LU, B = same_batch(LU, B)
        pivots = pivots.expand(LU.shape[:-1])
    return _lu_solve(LU, pivots, B, adjoint)


_adjoint = adjoint  # where a parameter has that name


@composite("lu_solve(Tensor self, Tensor LU_data, Tensor LU_pivots) -> Tensor", out=True)
def lu_solve_method(self, LU_data, LU_pivots):
    """`linalg.lu_solve` with the right-hand side first."""
    return lu_solve(LU_data, LU_pivots, self)


# ---- LDL ---------------------------------------------------------------------------------------

_ldl_factor = native("_ldl_factor(Tensor A, bool hermitian) -> (Tensor LD, Tensor pivots,"
                     " Tensor info)", **HIDDEN, doc="L and the block diagonal D in one matrix.")
_ldl_solve = native("_ldl_solve(Tensor LD, Tensor pivots, Tensor B, bool hermitian) -> Tensor",
                    **HIDDEN, doc="X with A X = B from the factors of A.")


def _zero_block(code):
    return (f"D[{code},{code}] is zero: the factorization has been completed, but using it on "
            "ldl_solve would result in a division by zero")


@composite("ldl_factor_ex(Tensor self, *, bool hermitian=False, bool check_errors=False)"
           " -> (Tensor LD, Tensor pivots, Tensor info)", out=True, **LINALG)
def ldl_factor_ex(self, hermitian, check_errors):
    """`ldl_factor`, which says in `info` whether a matrix is singular."""
    check_square("torch.linalg.ldl_factor_ex", self)
    LD, pivots, info = _ldl_factor(self.detach(), hermitian)
    if check_errors:
        check_info("torch.linalg.ldl_factor_ex", info, _zero_block, RuntimeError)
    return LD, pivots, info


@composite("ldl_factor(Tensor self, *, bool hermitian=False) -> (Tensor LD, Tensor pivots)",
           out=True, **LINALG)
def ldl_factor(self, hermitian):
    """A compact factorisation of symmetric matrices, A = L D L^T, for `ldl_solve`.

    A: (*, n, n), of which the lower triangle is read; with `hermitian` A = L D L^H. D has blocks
    of one and two rows, a pivot is negative for those of two. Result: LD (*, n, n), pivots (*, n),
    int32. RuntimeError if a matrix is singular.
    """
    LD, pivots, info = ldl_factor_ex(self, hermitian=hermitian)
    check_info("torch.linalg.ldl_factor", info, _zero_block, RuntimeError)
    return LD, pivots


@composite("ldl_solve(Tensor LD, Tensor pivots, Tensor B, *, bool hermitian=False) -> Tensor",
           out=True, **LINALG)
def ldl_solve(LD, pivots, B, hermitian):
    """X with A X = B from what `ldl_factor` gives. B: (*, n, k)."""
    check_equations("torch.linalg.ldl_solve", LD, B)
    if pivots.dtype.is_floating_point or pivots.dtype.is_complex:
        raise RuntimeError("torch.linalg.ldl_solve: Expected pivots to be integers. "
                           f"Got {pivots.dtype}")
    if pivots.shape != LD.shape[:-1]:
        raise RuntimeError("torch.linalg.ldl_solve: Expected LD.shape[:-1] and pivots.shape to be "
                           f"the same, but got pivots with shape {list(pivots.shape)}")
    LD, B = same_batch(LD, B)
    return _ldl_solve(LD.detach(), pivots.int().expand(LD.shape[:-1]), B.detach(), hermitian)


# ---- QR ----------------------------------------------------------------------------------------

_qr = native("_qr(Tensor A, bool complete) -> (Tensor Q, Tensor R)", **HIDDEN,
             doc="Q with orthonormal columns and an upper triangle R, A = Q R.")


@_qr.gradient
def _(Q, R, g_Q=None, g_R=None):
    m, k, n = Q.shape[-2], Q.shape[-1], R.shape[-1]
    if m > n and k == m:
        raise RuntimeError("linalg.qr: The QR decomposition is not differentiable when "
                           "mode='complete' and nrows > ncols.")
    if m >= n:
        return _qr_gradient(g_Q, g_R, Q, R)
    # A = Q [R1 R2]: of R2 = Q^H A2 the gradient goes to A2 and to Q, the rest is that of A1.
    g_1 = g_2 = None
    if g_R is not None:
        g_1, g_2 = g_R[..., :m], g_R[..., m:]
        by_rest = matmul(Q, matmul(R[..., m:], adjoint(g_2)))
        g_Q = by_rest if g_Q is None else g_Q + by_rest
    first = _qr_gradient(g_Q, g_1, Q, R[..., :m])
    rest = Q.new_zeros((*first.shape[:-1], n - m)) if g_2 is None else matmul(Q, g_2)
    return _joined(first, rest, -1)


def _qr_gradient(g_Q, g_R, Q, R):
    inner = None
    if g_R is not None:
        inner = matmul(R, adjoint(g_R.triu()))
    if g_Q is not None:
        by_q = matmul(adjoint(g_Q), Q)
        inner = -by_q if inner is None else inner - by_q
    if inner is None:
        return None
    inner = inner.tril() + adjoint(inner.tril(-1))
    if inner.is_complex():  # R's diagonal is real
        inner = inner - embed(1j * diagonal(inner).imag)
    g = matmul(Q, inner)
    if g_Q is not None:
        g = g + g_Q
    return solve_triangular(adjoint(R), g, upper=False, left=False)


@composite("qr(Tensor A, str mode='reduced') -> (Tensor Q, Tensor R)", out=True, **LINALG)
def qr(A, mode):
    """A = Q R, Q with orthonormal columns, R upper triangular.

    A: (*, m, n), k = min(m, n). mode 'reduced': Q (*, m, k), R (*, k, n); 'complete': Q
    (*, m, m), R (*, m, n); 'r': an empty Q. There is no derivative for 'complete' if m > n, nor
    for 'r': RuntimeError in `backward`.
    """
    if mode not in ("reduced", "complete", "r"):
        raise RuntimeError(f"qr received unrecognized mode '{mode}' but expected one of 'reduced' "
                           "(default), 'r', or 'complete'")
    check_matrix("linalg.qr", A)
    return _qr_r(A) if mode == "r" else _qr(A, mode == "complete")


@composite("_qr_r(Tensor A) -> (Tensor Q, Tensor R)", **HIDDEN)
def _qr_r(A):
    return A.new_empty(0), _qr(A, False)[1]


@_qr_r.gradient
def _(g_R):
    raise RuntimeError("The derivative of linalg.qr depends on Q, which is not computed when "
                       "mode='r'. Please use linalg.qr(A, mode='reduced') if you are going to "
                       "differentiate through linalg.qr.")


@composite("qr(Tensor self, bool some=True) -> (Tensor Q, Tensor R)", out=True)
def qr_method(self, some):
    """`linalg.qr`; `some`: the reduced form."""
    return _qr(check_matrix("qr", self), not some)


geqrf = native(
    "geqrf(Tensor self) -> (Tensor a, Tensor tau)", out=True,
    doc="""The QR factorisation of matrices (*, m, n) as LAPACK keeps it.

    R is above the diagonal of `a`; below it and in `tau` (*, min(m, n)) are the reflections of
    which Q is the product: see `linalg.householder_product` and `ormqr`. It has no derivative.
    """,
)

_householder_product = native("_householder_product(Tensor input, Tensor tau) -> Tensor", **HIDDEN,
                              doc="The first columns of a product of reflections.")


@composite("householder_product(Tensor input, Tensor tau) -> Tensor", out=True, **LINALG)
def householder_product(input, tau):
    """The first n columns of H1 H2 ... Hk, Hi = 1 - tau[i] v v^H, as `geqrf` gives them.

    input: (*, m, n), m >= n, whose column i holds v below the diagonal (above it v is 0, on it 1);
    tau: (*, k), k <= n. Result: (*, m, n).
    """
    return _of_reflections("torch.linalg.householder_product", input, tau)


@composite("orgqr(Tensor self, Tensor input2) -> Tensor", out=True)
def orgqr(self, input2):
    """`linalg.householder_product`."""
    return _of_reflections("torch.linalg.householder_product", self, input2)


def _check_reflections(name, input, tau):
    check_matrix(name, input, "input")
    if input.shape[-2] < input.shape[-1] and name != "torch.ormqr":
        raise RuntimeError(f"{name}: input.shape[-2] must be greater than or equal to "
                           f"input.shape[-1]; got {list(input.shape)}")
    if tau.dim() != input.dim() - 1:
        raise RuntimeError(f"{name}: Expected tau to have one dimension less than input, but got "
                           f"tau.ndim equal to {tau.dim()} and input.ndim is equal to "
                           f"{input.dim()}")
    if tau.dtype != input.dtype:
        raise RuntimeError(f"{name}: tau dtype {tau.dtype} does not match input dtype "
                           f"{input.dtype}")
    if tau.shape[:-1] != input.shape[:-2]:
        raise RuntimeError(f"{name}: Expected batch dimensions of tau to be equal to "
                           f"input.shape[:-2], but got {list(tau.shape[:-1])}")


def _of_reflections(name, input, tau):
    _check_reflections(name, input, tau)
    if input.shape[-1] < tau.shape[-1]:
        raise RuntimeError(f"{name}: input.shape[-1] must be greater than or equal to "
                           f"tau.shape[-1]; got {list(input.shape)} and {list(tau.shape)}")
    return _householder_product(input, tau)


def _reflections_gradient(g, input, tau, x, reverse):
    """By input, tau and x of H1 ... Hk x, or of Hk ... H1 x (reverse): reflection by reflection."""
    from taimatsu import cat, stack

    k = tau.shape[-1]
    vectors = input[..., :k].tril(-1) + identity(input, input.shape[-2])[:, :k]
    v = [vectors[..., i : i + 1] for i in range(k)]
    t = [tau[..., i, None, None] for i in range(k)]
    before = {}  # what each reflection was applied to
    order = list(range(k)) if reverse else list(reversed(range(k)))
    for i in order:
        before[i] = x
        x = x - t[i] * v[i] * matmul(adjoint(v[i]), x)
    g_v, g_t = {}, {}
    for i in reversed(order):
        onto_g, onto_x = matmul(adjoint(v[i]), g), matmul(adjoint(v[i]), before[i])
        g_t[i] = -(onto_g * conj(onto_x)).sum((-2, -1))
        g_v[i] = -conj(t[i]) * matmul(g, adjoint(onto_x)) - t[i] * matmul(before[i],
                                                                         adjoint(onto_g))
        g = g - conj(t[i]) * v[i] * onto_g
    if k == 0:
        return input * 0, tau * 0, g
    g_input = cat([g_v[i] for i in range(k)], -1).tril(-1)
    if input.shape[-1] > k:
        rest = input.new_zeros((*input.shape[:-1], input.shape[-1] - k))
        g_input = cat((g_input, rest), -1)
    return g_input, stack([g_t[i] for i in range(k)], -1), g


@_householder_product.gradient
def _(g, input, tau):
    columns = identity(input, input.shape[-2])[:, : input.shape[-1]].expand(input.shape)
    return _reflections_gradient(g, input, tau, columns, False)[:2]


_ormqr = native(
    "_ormqr(Tensor input, Tensor tau, Tensor other, bool left, bool transpose) -> Tensor",
    **HIDDEN, doc="Q other, other Q or those with Q^H, for a product Q of reflections.",
)


@composite("ormqr(Tensor self, Tensor input2, Tensor input3, bool left=True,"
           " bool transpose=False) -> Tensor", out=True)
def ormqr(self, input2, input3, left, transpose):
    """Q other, or other Q if not `left`; Q^H in place of Q with `transpose`.

    Q (*, m, m) is the product of the reflections that `geqrf` gave, self (*, m, n) and input2
    (*, k). input3, `other`: (*, m, r), or (*, r, m).
    """
    name, tau, other = "torch.ormqr", input2, input3
    _check_reflections(name, self, tau)
    check_matrix(name, other, "other")
    side = -2 if left else -1
    if other.shape[side] < tau.shape[-1]:
        raise RuntimeError(f"{name}: other.shape[{side}] must be greater than or equal to "
                           f"tau.shape[-1]; got {list(other.shape)} and {list(tau.shape)}")
    if other.shape[side] != self.shape[-2]:
        raise RuntimeError(f"{name}: other.shape[{side}] must be equal to input.shape[-2]; got "
                           f"{list(other.shape)} and {list(self.shape)}")
    if tau.shape[-1] != min(other.shape[side], self.shape[-1]):
        raise RuntimeError(f"{name}: tau.shape[-1] must be equal to min(other.shape[{side}], "
                           f"input.shape[-1]); got {list(tau.shape)} and {list(self.shape)}")
    if other.dtype != self.dtype or other.shape[:-2] != self.shape[:-2]:
        raise RuntimeError(f"{name}: input and other must have one dtype and batch; got "
                           f"{self.dtype} {list(self.shape)} and {other.dtype} "
                           f"{list(other.shape)}")
    return _ormqr(self, tau, other, left, transpose)


@_ormqr.gradient
def _(g, input, tau, other, left, transpose):
    if not left:  # other Q is (Q^H other^H)^H
        g, other, transpose = adjoint(g), adjoint(other), not transpose
    t = conj(tau) if transpose else tau
    g_input, g_tau, g_other = _reflections_gradient(g, input, t, other, transpose)
    g_other = g_other if left else adjoint(g_other)
    return g_input, conj(g_tau) if transpose else g_tau, g_other
