"""Singular values and eigenvalues, and what is computed from them: pinv, rank, norms, condition."""

from __future__ import annotations

from taimatsu._interpreter import followed

from .linalg import matmul
from .matrix import (
    HIDDEN,
    LINALG,
    adjoint,
    check_inexact,
    check_info,
    check_matrix,
    check_square,
    diagonal,
    embed,
    identity,
    largest,
    real,
)
from .reduction import vector_norm
from .shape import wrap_dim
from .table import composite, native


def _inverse_distance(values):
    """1 / (values_j - values_i), 0 on the diagonal."""
    gap = values.unsqueeze(-2) - values.unsqueeze(-1)
    ones = identity(gap)
    return (1 - ones) / (gap + ones)


def _check_phase(name, by_vectors):
    """RuntimeError if the loss depends on the phases of vectors, which the routine chose freely.

    by_vectors: the products of each vector with its gradient; turning it changes the loss by the
    imaginary part.
    """
    turned = by_vectors.imag.abs()
    if not turned.is_meta and bool((turned > 1e-2 * (1 + by_vectors.real.abs())).any()):
        raise RuntimeError(f"linalg.{name}: The vectors in the complex case are specified up to "
                           "multiplication by e^{i phi}. The specified loss function depends on "
                           "this quantity, so it is ill-defined; use their absolute values, or "
                           "products in which phi cancels")


# ---- Singular values ---------------------------------------------------------------------------

_svd = native(
    "_svd(Tensor A, bool full_matrices, bool compute_uv)"
    " -> (Tensor U, Tensor S, Tensor Vh, Tensor info)", **HIDDEN,
    doc="A = U diag(S) Vh, S descending.",
)


@_svd.gradient
def _(U, S, Vh, g_U=None, g_S=None, g_Vh=None):
    m, n, k = U.shape[-2], Vh.shape[-1], S.shape[-1]
    # Of full matrices, what spans the rest is not unique and has no derivative.
    g_U = None if g_U is None else g_U[..., :k]
    g_Vh = None if g_Vh is None else g_Vh[..., :k, :]
    U, Vh = U[..., :k], Vh[..., :k, :]
    inner = None if g_S is None else embed(g_S).to(U.dtype)
    if g_U is None and g_Vh is None:
        return None if inner is None else matmul(matmul(U, inner), Vh)
    wide = S.unsqueeze(-2)
    squares = _inverse_distance(S * S)  # 1 / (s_j^2 - s_i^2)
    phase = 0

    def skew(vectors, g):
        product = matmul(adjoint(vectors), g)
        return product, product - adjoint(product)

    def add(x, y):
        return y if x is None else x + y

    if g_U is not None:
        by_u, turned = skew(U, g_U)
        inner = add(inner, turned * squares * wide)
        phase = phase + diagonal(by_u)
    if g_Vh is not None:
        g_V = adjoint(g_Vh)
        by_v, turned = skew(adjoint(Vh), g_V)
        inner = add(inner, wide.mT * (turned * squares))
        phase = phase + diagonal(by_v)
    if U.is_complex():  # the phase of each pair of vectors is free, of both together
        _check_phase("svd", phase)
        if g_U is not None:
            inner = inner + embed(1j * diagonal(by_u).imag / S)
    g = matmul(matmul(U, inner), Vh)
    if g_U is not None and m > k:
        rest = g_U / wide
        g = g + matmul(rest - matmul(U, matmul(adjoint(U), rest)), Vh)
    if g_Vh is not None and n > k:
        rest = adjoint(g_V / wide)
        g = g + matmul(U, rest - matmul(matmul(rest, adjoint(Vh)), Vh))
    return g


def _svd_failed(code):
    if code == -4:
        return ("The algorithm failed to converge because the input matrix contained non-finite "
                "values.")
    return ("The algorithm failed to converge because the input matrix is ill-conditioned or has "
            f"too many repeated singular values (error code: {code}).")


def _check_driver(name, driver):
    if driver is not None:
        raise RuntimeError(f"torch.linalg.{name}: keyword argument `driver=` is only supported on "
                           f"CUDA inputs with cuSOLVER backend; got {driver!r}")


@composite("svd(Tensor A, bool full_matrices=True, *, str? driver=None)"
           " -> (Tensor U, Tensor S, Tensor Vh)", out=True, **LINALG)
def svd(A, full_matrices, driver):
    """A = U diag(S) Vh with orthonormal columns and rows, S descending.

    A: (*, m, n), k = min(m, n). U (*, m, m), S (*, k), Vh (*, n, n), or U (*, m, k) and Vh
    (*, k, n) if not `full_matrices`. LinAlgError for NaN or infinity. U and Vh have a derivative
    if they are not the full ones, and the singular values differ.
    """
    _check_driver("svd", driver)
    U, S, Vh, info = _svd(check_matrix("linalg.svd", A), full_matrices, True)
    check_info("linalg.svd", info, _svd_failed)
    return U, S, Vh


@composite("svdvals(Tensor A, *, str? driver=None) -> Tensor", out=True, **LINALG)
def svdvals(A, driver):
    """The singular values, descending. A: (*, m, n). Result: (*, min(m, n))."""
    _check_driver("svdvals", driver)
    check_matrix("linalg.svdvals", A)
    _, S, _, info = _svd(A, False, followed(A))
    check_info("linalg.svdvals", info, _svd_failed)
    return S


@composite("svd(Tensor self, bool some=True, bool compute_uv=True)"
           " -> (Tensor U, Tensor S, Tensor V)", out=True)
def svd_method(self, some, compute_uv):
    """U, S, V with self = U diag(S) V^H; U and V are zeros if not `compute_uv`."""
    check_matrix("linalg.svd", self)
    if not compute_uv:
        m, n = self.shape[-2:]
        batch = self.shape[:-2]
        return self.new_zeros((*batch, m, m)), svdvals(self), self.new_zeros((*batch, n, n))
    U, S, Vh = svd(self, not some)
    return U, S, adjoint(Vh)


# ---- Eigenvalues -------------------------------------------------------------------------------

_eigh = native(
    "_eigh(Tensor A, bool upper, bool compute_v) -> (Tensor values, Tensor vectors, Tensor info)",
    **HIDDEN, doc="Eigenvalues and vectors of Hermitian matrices.",
)


@_eigh.gradient
def _(values, vectors, g_values=None, g_vectors=None):
    inner = None if g_values is None else embed(g_values).to(vectors.dtype)
    if g_vectors is not None:
        by_vectors = matmul(adjoint(vectors), g_vectors)
        if vectors.is_complex():
            _check_phase("eigh", diagonal(by_vectors))
        # Of A's changes only Hermitian ones count.
        by_vectors = (by_vectors - adjoint(by_vectors)) / 2 * _inverse_distance(values)
        inner = by_vectors if inner is None else inner + by_vectors
    return None if inner is None else matmul(matmul(vectors, inner), adjoint(vectors))


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
           out=True, **LINALG)
def eigh(A, UPLO):
    """Eigenvalues (real, ascending) and orthonormal eigenvectors (columns) of Hermitian matrices.

    A: (*, n, n), of which the triangle `UPLO` is read. Result: (*, n), (*, n, n).
    """
    upper = _upper("linalg.eigh", UPLO)
    values, vectors, info = _eigh(check_square("linalg.eigh", A), upper, True)
    check_info("linalg.eigh", info, _eigen_failed)
    return values, vectors


@composite("eigvalsh(Tensor A, str UPLO='L') -> Tensor", out=True, **LINALG)
def eigvalsh(A, UPLO):
    """The eigenvalues of Hermitian matrices, ascending."""
    upper = _upper("linalg.eigvalsh", UPLO)
    check_square("linalg.eigvalsh", A)
    values, _, info = _eigh(A, upper, followed(A))
    check_info("linalg.eigvalsh", info, _eigen_failed)
    return values


_eig = native("_eig(Tensor A, bool compute_v) -> (Tensor values, Tensor vectors, Tensor info)",
              **HIDDEN, doc="Complex eigenvalues and unit vectors of any matrices.")


@_eig.gradient
def _(A, values, vectors, g_values=None, g_vectors=None):
    from .systems import solve

    inner = None if g_values is None else embed(g_values)
    if g_vectors is not None:
        by_vectors = matmul(adjoint(vectors), g_vectors)
        _check_phase("eig", diagonal(by_vectors))
        # Vectors have unit length: what would change it flows back nowhere.
        along = matmul(adjoint(vectors), vectors * diagonal(by_vectors).real.unsqueeze(-2))
        by_vectors = (by_vectors - along) * _inverse_distance(values).conj_physical()
        inner = by_vectors if inner is None else inner + by_vectors
    if inner is None:
        return None
    g = solve(adjoint(vectors), matmul(inner, adjoint(vectors)))
    return g if A.is_complex() else g.real


@composite("eig(Tensor A) -> (Tensor eigenvalues, Tensor eigenvectors)", out=True, **LINALG)
def eig(A):
    """Eigenvalues and eigenvectors (columns of length 1) of square matrices; both complex."""
    values, vectors, info = _eig(check_square("linalg.eig", A), True)
    check_info("linalg.eig", info, _eigen_failed)
    return values, vectors


@composite("eigvals(Tensor A) -> Tensor", out=True, **LINALG)
def eigvals(A):
    """The eigenvalues of square matrices, complex. A: (*, n, n). Result: (*, n)."""
    check_square("linalg.eigvals", A)
    values, _, info = _eig(A, followed(A))
    check_info("linalg.eigvals", info, _eigen_failed)
    return values


# ---- Rank and pseudoinverse --------------------------------------------------------------------


def _tolerance(name, A, S, atol, rtol):
    """The sizes up to which singular values count as zero: max(atol, rtol * largest), (*, 1)."""
    from taimatsu import Tensor, as_tensor, finfo, maximum, where

    def along(tolerance, what):
        tolerance = as_tensor(tolerance, device=S.device)
        if tolerance.is_complex():
            raise RuntimeError(f"torch.{name}: {what} tensor of complex type is not supported. Got "
                               f"{tolerance.dtype}")
        return tolerance.to(S.dtype).unsqueeze(-1)

    default = max(A.shape[-2:]) * finfo(S.dtype).eps
    if rtol is None:
        if isinstance(atol, Tensor):
            rtol = where(atol.to(S.dtype) > 0, 0.0, default)
        else:
            rtol = 0.0 if atol else default
    relative = largest(S, -1, keepdim=True) * along(rtol, "rtol")
    return relative if atol is None else maximum(relative, along(atol, "atol"))


_TOLERANCES = "Tensor|Number? atol=None, Tensor|Number? rtol=None, bool hermitian=False"


def _pinv(A, atol, rtol, hermitian):
    from taimatsu import where

    name = "linalg.pinv"
    check_inexact(name, check_matrix(name, A))
    if A.numel() == 0:
        return A.new_zeros((*A.shape[:-2], A.shape[-1], A.shape[-2]))
    if hermitian:
        values, vectors = eigh(A)
        U, S, V = vectors, values.abs(), vectors
        inverted = values
    else:
        U, S, Vh = svd(A, False)
        V, inverted = adjoint(Vh), S
    keep = _tolerance(name, A, S, atol, rtol) < S
    zero, one = S.new_zeros(()), S.new_ones(())
    inverse = where(keep, 1 / where(keep, inverted, one), zero)
    return matmul(V * inverse.unsqueeze(-2), adjoint(U))


def _pinv_gradient(g, A, result):
    """For perturbations that leave the rank as it is; singular vectors would divide by zero."""
    P, Ph, gh = result, adjoint(result), adjoint(g)
    return (-matmul(matmul(Ph, g), Ph)
            + matmul(gh - matmul(A, matmul(P, gh)), matmul(P, Ph))
            + matmul(matmul(Ph, P), gh - matmul(matmul(gh, P), A)))


@composite(f"pinv(Tensor A, *, {_TOLERANCES}) -> Tensor", out=True, **LINALG)
def pinv(A, atol, rtol, hermitian):
    """The Moore-Penrose inverse; singular values up to max(atol, rtol * largest) count as 0.

    A: (*, m, n). Result: (*, n, m). rtol is max(m, n) * eps if neither is given; both may be
    tensors that broadcast with the batch. `hermitian`: the lower triangle is read. The derivative
    holds where the rank is constant.
    """
    return _pinv(A, atol, rtol, hermitian)


pinv.gradient(A=_pinv_gradient)


@composite("pinv.rcond(Tensor A, Tensor|Number rcond, bool hermitian=False) -> Tensor", out=True,
           **LINALG)
def pinv_rcond(A, rcond, hermitian):
    """`pinv` with rtol=rcond."""
    return pinv(A, atol=0.0, rtol=rcond, hermitian=hermitian)


@composite("pinverse(Tensor self, float rcond=1e-15) -> Tensor")
def pinverse(self, rcond):
    """`linalg.pinv` with rtol=rcond."""
    return pinv(self, atol=0.0, rtol=rcond)


@composite(f"matrix_rank(Tensor A, *, {_TOLERANCES}) -> Tensor", out=True, **LINALG)
def matrix_rank(A, atol, rtol, hermitian):
    """How many singular values are above max(atol, rtol * largest).

    A: (*, m, n). Result: (*), int64. rtol is max(m, n) * eps if neither is given.
    """
    name = "linalg.matrix_rank"
    A = check_matrix(f"torch.{name}", A.detach(), "input")
    S = eigvalsh(A).abs() if hermitian else svdvals(A)
    return (_tolerance(name, A, S, atol, rtol) < S).sum(-1)


@composite("matrix_rank.tol(Tensor A, Tensor|Number tol, bool hermitian=False) -> Tensor", out=True,
           **LINALG)
def matrix_rank_tol(A, tol, hermitian):
    """`matrix_rank` with atol=tol."""
    return matrix_rank(A, atol=tol, rtol=0.0, hermitian=hermitian)


# ---- Norms -------------------------------------------------------------------------------------

_DIMS = "int[1]? dim=None, bool keepdim=False, *, ScalarType? dtype=None"
_MATRIX_DIMS = "int[] dim=[-2, -1], bool keepdim=False, *, ScalarType? dtype=None"


def _check_norm_dtype(name, A, dtype):
    check_inexact(name, A)
    if dtype is None:
        return A
    if not (dtype.is_floating_point or dtype.is_complex):
        raise RuntimeError(f"{name}: dtype should be floating point or complex, but got {dtype}")
    if dtype.is_complex != A.is_complex():
        kind = "complex for complex" if A.is_complex() else "real for real"
        raise RuntimeError(f"{name}: dtype should be {kind} inputs, but got {dtype}")
    from taimatsu import promote_types

    if promote_types(A.dtype, dtype) != dtype:
        raise RuntimeError(f"{name}: the dtype of the input ({A.dtype}) should be convertible "
                           f"without narrowing to the specified dtype ({dtype})")
    return A.to(dtype)


def _matrix_norm(A, order, dim, keepdim, dtype):
    name = "linalg.matrix_norm"
    check_inexact(name, check_matrix(name, A))
    dim = [dim] if isinstance(dim, int) else list(dim)
    if len(dim) != 2:
        raise RuntimeError(f"{name}: dim must be a 2-tuple. Got {' '.join(map(str, dim))}")
    rows, columns = (wrap_dim(d, A.dim()) for d in dim)
    if rows == columns:
        raise RuntimeError(f"{name}: dims must be different. Got ({dim[0]}, {dim[1]})")
    if order == "fro":
        return vector_norm(A, 2, dim, keepdim, dtype=dtype)
    if order not in ("nuc", 1, -1, 2, -2, float("inf"), float("-inf")):
        raise RuntimeError(f"{name}: Order {order} not supported.")
    A = _check_norm_dtype(name, A, dtype)
    if order in ("nuc", 2, -2):
        from taimatsu import bfloat16, float16

        if A.dtype in (bfloat16, float16):
            raise RuntimeError(f"{name}: Low precision dtypes not supported. Got {A.dtype}")
        S = svdvals(A.movedim((rows, columns), (-2, -1)))
        out = S.sum(-1) if order == "nuc" else _extreme(S, -1, order > 0, False)
        if keepdim:
            out = out.unsqueeze(-1).unsqueeze(-1).movedim((-2, -1), (rows, columns))
        return out
    if abs(order) == 1:  # sums of columns, the inner dim first
        rows, columns = columns, rows
    sums = vector_norm(A, 1, [columns], True)
    out = _extreme(sums, rows, order > 0, True)
    return out if keepdim else out.squeeze((rows, columns))


def _extreme(x, dim, most, keepdim):
    if most:
        return largest(x, dim, keepdim=keepdim)
    return x.amin(dim, keepdim=keepdim)


@composite(f"matrix_norm(Tensor A, Number ord, {_MATRIX_DIMS}) -> Tensor", out=True, **LINALG)
def matrix_norm_number(A, ord, dim, keepdim, dtype):
    """A norm of matrices: see `matrix_norm`."""
    return _matrix_norm(A, ord, dim, keepdim, dtype)


@composite(f"matrix_norm.str_ord(Tensor A, str ord='fro', {_MATRIX_DIMS}) -> Tensor", out=True,
           **LINALG)
def matrix_norm(A, ord, dim, keepdim, dtype):
    """A norm of the matrices along two dims.

    ord   'fro': the square root of the sum of squares; 'nuc': the sum of singular values;
          2, -2: the largest, smallest singular value; 1, -1: of the columns' absolute sums,
          inf, -inf: of the rows'
    dtype   what `A` is converted to first, if wider than its own

    >>> taimatsu.linalg.matrix_norm(taimatsu.tensor([[3.0, 0.0], [4.0, 0.0]]), 1)
    tensor(7.)
    """
    return _matrix_norm(A, ord, dim, keepdim, dtype)


def _norm(A, order, dim, keepdim, dtype):
    if dim is not None and len(dim) not in (1, 2):
        raise RuntimeError(f"linalg.norm: If dim is specified, it must be of length 1 or 2. Got "
                           f"{list(dim)}")
    if order is None:
        return vector_norm(_norm_input(A, dtype), 2, dim, keepdim, dtype=dtype)
    if dim is None:
        if A.dim() not in (1, 2):
            raise RuntimeError("linalg.norm: If dim is not specified but ord is, the input must be "
                               f"1D or 2D. Got {A.dim()}D.")
        dim = list(range(A.dim()))
    if len(dim) == 2 or isinstance(order, str):
        return _matrix_norm(A, order, dim, keepdim, dtype)
    return vector_norm(_norm_input(A, dtype), order, dim, keepdim, dtype=dtype)


def _norm_input(A, dtype):
    _check_norm_dtype("linalg.vector_norm", A, dtype)
    return A


@composite(f"norm(Tensor A, Number? ord=None, {_DIMS}) -> Tensor", out=True, **LINALG)
def linalg_norm(A, ord, dim, keepdim, dtype):
    """A norm of vectors along one dim, or of matrices along two.

    Without `ord` the 2-norm of the elements along `dim`, or of all. Else `vector_norm` along one
    dim and `matrix_norm` along two; without `dim`, `A` must be a vector or matrix: RuntimeError.

    >>> taimatsu.linalg.norm(taimatsu.tensor([3.0, 4.0]))
    tensor(5.)
    """
    return _norm(A, ord, dim, keepdim, dtype)


@composite(f"norm.ord_str(Tensor A, str ord, {_DIMS}) -> Tensor", out=True, **LINALG)
def linalg_norm_str(A, ord, dim, keepdim, dtype):
    """`norm` with ord 'fro' or 'nuc'."""
    return _norm(A, ord, dim, keepdim, dtype)


@composite("norm(Tensor self, Any p='fro', int[1]? dim=None, bool keepdim=False,"
           " ScalarType? dtype=None) -> Tensor", out=True)
def norm(self, p, dim, keepdim, dtype):
    """The p-norm of all elements, or along `dim`; 'fro' the 2-norm, 'nuc' of matrices.

    A number p is a vector norm also along several dims, unlike `linalg.norm`.
    """
    A = self
    if p == "nuc" or (isinstance(p, str) and p != "fro"):
        return _matrix_norm(A, p, list(range(A.dim())) if dim is None else dim, keepdim, dtype)
    if p == "fro" and dim is not None and len(dim) > 2:
        return _matrix_norm(A, p, dim, keepdim, dtype)
    order = 2 if p is None or p == "fro" else p
    return vector_norm(_norm_input(A, dtype), order, dim, keepdim, dtype=dtype)


# ---- Condition ---------------------------------------------------------------------------------


def _cond(A, p):
    from .systems import inv_ex

    name = "linalg.cond"
    check_inexact(name, check_matrix(name, A))
    if p in (None, 2, -2):
        if A.numel() == 0:
            return real(A).new_zeros(A.shape[:-2])
        S = svdvals(A)
        most, least = S[..., 0], S[..., -1]
        return least / most if p == -2 else most / least
    check_square(f"{name}(ord={p})", A)
    if A.numel() == 0:
        return real(A).new_zeros(A.shape[:-2])
    if p == "nuc":  # over singular values, so that singular matrices need no care
        S = svdvals(A)
        return S.sum(-1) * (1 / S).sum(-1)
    inverse, info = inv_ex(A)
    inverse = inverse.masked_fill((info != 0).unsqueeze(-1).unsqueeze(-1), float("inf"))
    return _matrix_norm(A, p, (-2, -1), False, None) * _matrix_norm(inverse, p, (-2, -1), False,
                                                                    None)


@composite("cond(Tensor A, Number? p=None) -> Tensor", out=True, **LINALG)
def cond(A, p):
    """The condition number of matrices: the norm of A times that of its inverse.

    A: (*, m, n); square unless p is None, 2 or -2: RuntimeError. p: an order of `matrix_norm`.
    Infinite for singular matrices.

    >>> taimatsu.linalg.cond(taimatsu.tensor([[2.0, 0.0], [0.0, 0.5]]))
    tensor(4.)
    """
    return _cond(A, p)


@composite("cond.p_str(Tensor A, str p) -> Tensor", out=True, **LINALG)
def cond_str(A, p):
    """`cond` with p 'fro' or 'nuc'."""
    return _cond(A, p)
