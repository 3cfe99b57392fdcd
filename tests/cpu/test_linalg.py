"""Factorisations and solvers against SciPy, NumPy and their defining equations."""

import numpy as np
import pytest
import scipy.linalg
from arrays import COMPLEX, FLOATS, array, random_tensor, tensor

import taimatsu as torch
from taimatsu import linalg

DTYPES = (*FLOATS, *COMPLEX)
BATCHES = [(), (3,), (2, 2), (0,)]
SIZES = [0, 1, 2, 7, 40]


def matrix(batch, m, n, dtype, seed=0):
    return random_tensor(np.random.default_rng(seed), (*batch, m, n), dtype)


def definite(batch, n, dtype):
    a = array(matrix(batch, n, n, dtype))
    return tensor(a @ a.conj().swapaxes(-1, -2) + n * np.eye(n), dtype)


def near(got, expected, dtype, slack=1):
    wide = dtype in (torch.float64, torch.complex128)
    got = array(got) if isinstance(got, torch.Tensor) else got
    assert got.shape == expected.shape
    scale = max(1.0, np.abs(expected).max()) if expected.size else 1.0
    np.testing.assert_allclose(got, expected, rtol=0,
                               atol=slack * scale * (1e-11 if wide else 2e-4))


def adjoint(a):
    return a.conj().swapaxes(-1, -2)


def identity(batch, n):
    return np.broadcast_to(np.eye(n), (*batch, n, n))


def diag(v):
    return np.einsum("...i,ij->...ij", v, np.eye(v.shape[-1]))


@pytest.fixture(params=[(d, b, n) for d in DTYPES for b in BATCHES for n in SIZES],
                ids=lambda p: f"{str(p[0])[6:]}-{p[1]}-{p[2]}")
def case(request):
    return request.param


def test_cholesky(case):
    dtype, batch, n = case
    a = definite(batch, n, dtype)
    lower, upper = array(linalg.cholesky(a)), array(linalg.cholesky(a, upper=True))
    near(lower @ adjoint(lower), array(a), dtype)
    near(adjoint(upper) @ upper, array(a), dtype)
    assert not np.triu(lower, 1).any() and not np.tril(upper, -1).any()
    b = matrix(batch, n, 2, dtype, 1)
    near(array(a) @ array(torch.cholesky_solve(b, linalg.cholesky(a))), array(b), dtype)


def test_solve_and_inverse(case):
    dtype, batch, n = case
    a, b = definite(batch, n, dtype), matrix(batch, n, 3, dtype, 1)
    near(array(a) @ array(linalg.solve(a, b)), array(b), dtype)
    near(array(linalg.solve(a, b.transpose(-1, -2), left=False)) @ array(a),
         array(b).swapaxes(-1, -2), dtype)
    near(array(linalg.inv(a)) @ array(a), identity(batch, n), dtype)
    factors = linalg.lu_factor(a)
    near(array(a) @ array(linalg.lu_solve(*factors, b)), array(b), dtype)
    near(adjoint(array(a)) @ array(linalg.lu_solve(*factors, b, adjoint=True)), array(b), dtype)


def test_solve_vectors_and_broadcasts():
    a, b = matrix((), 4, 4, torch.float64), matrix((), 3, 4, torch.float64, 1)
    near(linalg.solve(a, b[0]), np.linalg.solve(array(a), array(b[0])), torch.float64)
    many = matrix((3,), 4, 4, torch.float64, 2)
    near(linalg.solve(many, b), np.linalg.solve(array(many), array(b)[..., None])[..., 0],
         torch.float64)
    near(linalg.solve(many, a), np.linalg.solve(array(many), array(a)), torch.float64)


def test_lu(case):
    dtype, batch, n = case
    for m in (n, n + 2):
        a = matrix(batch, m, n, dtype)
        p, lower, upper = (array(x) for x in linalg.lu(a))
        near(p @ lower @ upper, array(a), dtype)


def test_determinants(case):
    dtype, batch, n = case
    a = matrix(batch, n, n, dtype)
    sign, logabs = np.linalg.slogdet(array(a).astype(complex if a.is_complex() else float))
    near(linalg.slogdet(a)[0], sign, dtype, 10)
    near(linalg.slogdet(a)[1], logabs, dtype, 10)
    if n < 10:
        near(linalg.det(a), np.linalg.det(array(a)), dtype, 10)


def test_triangular(case):
    dtype, batch, n = case
    a = definite(batch, n, dtype)
    b = matrix(batch, n, 3, dtype, 1)
    for upper in (False, True):
        for unit in (False, True):
            t = (np.triu if upper else np.tril)(array(a) / (50 if unit else 1))
            full = t - diag(np.einsum("...ii->...i", t)) + np.eye(n) if unit else t
            x = linalg.solve_triangular(tensor(array(a) / (50 if unit else 1)), b, upper=upper,
                                        unitriangular=unit)
            near(full @ array(x), array(b), dtype, 10)
    x = linalg.solve_triangular(a, b.transpose(-1, -2), upper=True, left=False)
    near(array(x) @ np.triu(array(a)), array(b).swapaxes(-1, -2), dtype)


def test_qr(case):
    dtype, batch, n = case
    for m in (n + 3, max(0, n - 3)):
        a = matrix(batch, m, n, dtype)
        for mode in ("reduced", "complete"):
            q, r = (array(x) for x in linalg.qr(a, mode))
            near(q @ r, array(a), dtype)
            near(adjoint(q) @ q, identity(batch, q.shape[-1]), dtype)
            assert not np.tril(r, -1).any()


def test_svd(case):
    dtype, batch, n = case
    for m in (n + 3, max(0, n - 3)):
        a = matrix(batch, m, n, dtype)
        k = min(m, n)
        near(linalg.svdvals(a), np.linalg.svd(array(a), compute_uv=False), dtype)
        for full in (False, True):
            u, s, vh = (array(x) for x in linalg.svd(a, full))
            assert u.shape == (*batch, m, m if full else k)
            assert vh.shape == (*batch, n if full else k, n)
            near(u[..., :k] * s[..., None, :] @ vh[..., :k, :], array(a), dtype)
            near(vh @ adjoint(vh), identity(batch, vh.shape[-2]), dtype)


def test_eigh(case):
    dtype, batch, n = case
    a = definite(batch, n, dtype)
    for uplo in "LU":
        half = tensor((np.tril if uplo == "L" else np.triu)(array(a)))  # the rest isn't read
        w, v = (array(x) for x in linalg.eigh(half, uplo))
        near(v * w[..., None, :] @ adjoint(v), array(a), dtype)
        near(linalg.eigvalsh(half, uplo), w, dtype)
        assert (np.diff(w, axis=-1) >= 0).all()


def test_eig(case):
    dtype, batch, n = case
    a = matrix(batch, n, n, dtype)
    w, v = (array(x) for x in linalg.eig(a))
    near(array(a) @ v, v * w[..., None, :], dtype, 10)
    near(np.linalg.norm(v, axis=-2), np.ones(w.shape), dtype)


def test_what_follows():
    a = matrix((2,), 6, 4, torch.float64)
    near(linalg.pinv(a), np.linalg.pinv(array(a)), torch.float64)
    low = tensor(array(a)[..., :2] @ array(a)[..., :2, :])
    assert linalg.matrix_rank(low).tolist() == [2, 2]
    b = matrix((2,), 6, 3, torch.float64, 1)
    solution, residuals, rank, _ = linalg.lstsq(a, b, driver="gelsd")
    for i in range(2):
        x, r, k, _ = scipy.linalg.lstsq(array(a)[i], array(b)[i])
        near(solution[i], x, torch.float64)
        near(residuals[i], r, torch.float64)
        assert rank[i].item() == k
    one = linalg.lstsq(a[:1], b, driver="gelsd")  # of one matrix, for two right-hand sides
    assert one.rank.tolist() == [4] and one.singular_values.shape == (1, 4)
    near(one.solution[1], linalg.lstsq(a[0], b[1]).solution, torch.float64)
    square = matrix((), 4, 4, torch.float64)
    for n in (0, 1, 5, -2):
        near(linalg.matrix_power(square, n), np.linalg.matrix_power(array(square), n),
             torch.float64, 10)
    chain = [matrix((), m, n, torch.float64) for m, n in [(3, 9), (9, 2), (2, 5)]]
    near(linalg.multi_dot(chain), np.linalg.multi_dot([array(x) for x in chain]), torch.float64)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: linalg.cholesky(-torch.eye(2)), "leading minor of order 1"),
        (lambda: linalg.cholesky(torch.stack([torch.eye(2), -torch.eye(2)])), "Batch element 1"),
        (lambda: linalg.inv(torch.zeros(2, 2)), "singular"),
        (lambda: linalg.solve(torch.zeros(2, 2), torch.ones(2)), "singular"),
        (lambda: linalg.svd(torch.full((2, 2), float("nan"))), "non-finite"),
        (lambda: linalg.eigh(torch.full((2, 2), float("inf"))), "non-finite"),
        (lambda: linalg.eig(torch.full((2, 2), float("nan"))), "non-finite"),
    ],
)
def test_unfit_matrices(call, message):
    with pytest.raises(linalg.LinAlgError, match=message):
        call()
    assert issubclass(linalg.LinAlgError, RuntimeError)


@pytest.mark.parametrize(
    "call",
    [
        lambda: linalg.cholesky(torch.ones(2, 3)),
        lambda: linalg.cholesky(torch.ones(3)),
        lambda: linalg.cholesky(torch.eye(2).int()),
        lambda: linalg.det(torch.ones(2, 3)),
        lambda: linalg.inv(torch.ones(2, 3)),
        lambda: linalg.solve(torch.eye(2), torch.ones(3, 1)),
        lambda: linalg.solve(torch.eye(2), torch.ones(2, 1).double()),
        lambda: linalg.qr(torch.eye(2), "most"),
        lambda: linalg.lu_solve(torch.eye(2), torch.tensor([7, 1]).int(), torch.eye(2)),
    ],
)
def test_errors(call):
    with pytest.raises(RuntimeError):
        call()


def test_info_instead_of_errors():
    bad = torch.stack([torch.eye(2), -torch.eye(2), torch.zeros(2, 2)])
    assert linalg.cholesky_ex(bad)[1].tolist() == [0, 1, 1]
    assert linalg.inv_ex(bad)[1].tolist() == [0, 0, 1]
    assert linalg.det(bad).tolist() == [1, 1, 0]


def hermitian(a):
    return (a + a.mH) / 2


GRADIENTS = {
    "solve": (lambda a, b: linalg.solve(a, b), 2),
    "inv": (lambda a: linalg.inv(a), 1),
    "det": (lambda a: linalg.det(a), 1),
    "slogdet": (lambda a: linalg.slogdet(a)[1], 1),
    "cholesky": (lambda a: linalg.cholesky(hermitian(a)), 1),
    "cholesky upper": (lambda a: linalg.cholesky(hermitian(a), upper=True), 1),
    "solve_triangular": (lambda a, b: linalg.solve_triangular(a, b, upper=True), 2),
    "lu_factor": (lambda a: linalg.lu_factor(a)[0], 1),
    "lu_solve": (lambda a, b: linalg.lu_solve(*linalg.lu_factor(a), b), 2),
    "qr": (lambda a: linalg.qr(a)[0] + linalg.qr(a)[1], 1),
    "svdvals": (lambda a: linalg.svdvals(a), 1),
    "svd": (lambda a: (lambda u, s, v: (u * s**2) @ u.mH)(*linalg.svd(a, False)), 1),
    "eigvalsh": (lambda a: linalg.eigvalsh(hermitian(a)), 1),
    "eigh": (lambda a: (lambda w, v: (v * w**3) @ v.mH)(*linalg.eigh(hermitian(a))), 1),
    "eigvals": (lambda a: linalg.eigvals(a).abs().sum(), 1),
    "pinv": (lambda a: linalg.pinv(a), 1),
    "matrix_power": (lambda a: linalg.matrix_power(a, 3), 1),
}


@pytest.mark.parametrize("name", GRADIENTS)
def test_gradients(name):
    function, n = GRADIENTS[name]
    inputs = [definite((), 3, torch.float64), matrix((), 3, 2, torch.float64, 1)][:n]
    inputs = [x.requires_grad_() for x in inputs]
    assert torch.autograd.gradcheck(function, tuple(inputs), atol=1e-4)


def compact(a):
    return linalg.lu_factor_ex(a)[0]


def outer_product(v, scale):
    """What doesn't depend on the phases of the columns of v."""
    return (v * scale.unsqueeze(-2)) @ v.mH


# Of complex and non-square matrices, by what the factors determine.
OTHER_GRADIENTS = {
    "lu, wide": (compact, (3, 5)), "lu, tall": (compact, (5, 3)),
    "qr, wide": (lambda a: (lambda q, r: q @ r[..., :1] + r[..., 1:2])(*linalg.qr(a)), (3, 5)),
    "qr, tall": (lambda a: linalg.qr(a), (5, 3)),
    "svd": (lambda a: (lambda u, s, v: (outer_product(u, s**2), outer_product(v.mH, s)))(
        *linalg.svd(a, False)), (3, 4)),
    "eigh": (lambda a: (lambda w, v: outer_product(v, w**3))(*linalg.eigh(hermitian(a))), (3, 3)),
    "eig": (lambda a: (lambda w, v: v.abs() * w.abs().unsqueeze(-2))(*linalg.eig(a)), (3, 3)),
    "pinv": (linalg.pinv, (3, 4)), "pinv, tall": (linalg.pinv, (4, 3)),
    "lstsq": (lambda a: linalg.lstsq(a, a[:, :2] * 2 + a.abs()[:, 1:], driver="gels")[:2], (5, 3)),
    "cholesky_solve": (lambda a: torch.cholesky_solve(a[:, :2], a.tril()), (3, 3)),
    "cholesky_inverse": (lambda a: torch.cholesky_inverse(a.triu(), True), (3, 3)),
    "householder_product": (lambda a: linalg.householder_product(a, a[0]), (4, 3)),
    "ormqr": (lambda a: torch.ormqr(a, a[0], a.mT, False, True), (4, 3)),
    "matrix_exp": (torch.matrix_exp, (3, 3)), "det": (linalg.det, (3, 3)),
    "matrix_power 0": (lambda a: linalg.matrix_power(a, 0), (3, 3)),
}  # fmt: skip


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128])
@pytest.mark.parametrize("name", OTHER_GRADIENTS)
def test_other_gradients(name, dtype):
    function, (m, n) = OTHER_GRADIENTS[name]
    a = matrix((2,) if m == n and "cholesky" not in name else (), m, n, dtype, 3)
    assert torch.autograd.gradcheck(function, (a.requires_grad_(),), atol=1e-4)


def test_what_has_no_derivative():
    a = matrix((), 4, 3, torch.float64).requires_grad_()
    for mode in ("complete", "r"):
        with pytest.raises(RuntimeError, match="differentia"):
            linalg.qr(a, mode).R.sum().backward()
    b = matrix((), 3, 3, torch.complex128).requires_grad_()
    for vectors in (lambda: linalg.svd(b).U, lambda: linalg.eig(b)[1], lambda: linalg.eigh(b)[1]):
        with pytest.raises(RuntimeError, match="phi"):
            vectors().real.sum().backward()


def test_determinant_gradient_where_the_rank_is_lower_by_two():
    a = torch.zeros(3, 3, dtype=torch.float64, requires_grad=True)
    linalg.det(a).backward()
    assert not a.grad.any()


@pytest.mark.parametrize("driver", ["gels", "gelsy", "gelsd", "gelss"])
def test_least_squares(driver):
    for dtype in DTYPES:
        for m, n in [(5, 3), (3, 5), (0, 3), (3, 0), (40, 30)]:
            a, b = matrix((2,), m, n, dtype), matrix((2,), m, 2, dtype, 1)
            x, residuals, rank, values = linalg.lstsq(a, b, driver=driver)
            near(x, np.stack([np.linalg.pinv(p) @ q for p, q in zip(array(a), array(b),
                                                                    strict=True)]), dtype, 10)
            assert (residuals.numel() > 0) == (m > n and driver != "gelsy")
            assert rank.tolist() == ([] if driver == "gels" else [min(m, n)] * 2)
            assert values.shape == ((2, min(m, n)) if driver in ("gelsd", "gelss") else (0,))


def test_batches_are_the_same_for_any_number_of_threads():
    a = definite((40,), 24, torch.float32)

    def results():
        found = (linalg.cholesky(a), *linalg.svd(a), *linalg.eigh(a), linalg.inv(a), *linalg.qr(a))
        return [array(x).tobytes() for x in found]

    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = results()
        torch.set_num_threads(4)
        assert results() == one
    finally:
        torch.set_num_threads(before)


def test_lobpcg():
    a = definite((), 20, torch.float64)
    b = tensor(np.diag(np.arange(1.0, 21)), torch.float64)
    for largest in (True, False):
        for other in (None, b):
            values, vectors = torch.lobpcg(a, 2, other, largest=largest, tol=1e-11)
            all_values = scipy.linalg.eigh(array(a), None if other is None else array(other))[0]
            near(values, all_values[::-1][:2] if largest else all_values[:2], torch.float64, 1e3)
            right = array(vectors) if other is None else array(other) @ array(vectors)
            near(array(a) @ array(vectors), right * array(values), torch.float64, 1e5)
    with pytest.raises(ValueError, match="3 x"):
        torch.lobpcg(torch.eye(5), 2)


def test_low_rank():
    x, y = matrix((2,), 9, 3, torch.float64), matrix((2,), 3, 7, torch.float64, 1)
    a = x @ y
    for m in (a, a.mT):
        u, s, v = torch.svd_lowrank(m, 3)
        near((u * s.unsqueeze(-2)) @ v.mH, array(m), torch.float64, 100)
    u, s, v = torch.pca_lowrank(a, 3)
    near((u * s.unsqueeze(-2)) @ v.mH, array(a - a.mean(-2, keepdim=True)), torch.float64, 100)


def test_determinant_of_a_singular_matrix_has_a_gradient():
    a = torch.tensor([[1.0, 2.0], [2.0, 4.0]], dtype=torch.float64, requires_grad=True)
    linalg.det(a).backward()
    np.testing.assert_allclose(array(a.grad), [[4, -2], [-2, 1]], atol=1e-12)
