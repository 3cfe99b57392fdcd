"""QR, eigenvalues and least squares of matrices that are hard: by their scale or their rank.

Sizes lie on both sides of those where LAPACK takes over.
"""

import numpy as np
import pytest
from arrays import array, random_tensor, tensor

import taimatsu as torch
from taimatsu import linalg

DTYPES = (torch.float32, torch.float64)
KINDS = {
    "random": lambda a: a,
    "rows of all scales": lambda a: a * 10.0 ** np.linspace(-8, 8, a.shape[-2])[:, None],
    "columns of all scales": lambda a: a * 10.0 ** np.linspace(-30, 6, a.shape[-1]),
    "rank one": lambda a: a[..., :, :1] * a[..., :1, :],
    "zero": lambda a: 0 * a,
    "integers": np.round,
    "tiny": lambda a: 1e-12 * a,
    "nearly one": lambda a: np.eye(*a.shape[-2:]) + 1e-6 * a,
}


def matrices(kind, m, n):
    return KINDS[kind](np.random.default_rng(m * 100 + n).standard_normal((2, m, n)))


def wide(t):
    return array(t).astype(np.float64)


def identity_error(q):
    return np.abs(q.swapaxes(-1, -2) @ q - np.eye(q.shape[-1])).max()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", KINDS)
def test_qr(kind, dtype):
    eps = torch.finfo(dtype).eps
    for m, n in [(1, 1), (3, 2), (2, 5), (16, 16), (32, 9), (32, 32), (33, 32), (34, 40)]:
        a = wide(tensor(matrices(kind, m, n), dtype))
        for mode in ("reduced", "complete"):
            q, r = (wide(t) for t in linalg.qr(tensor(a, dtype), mode))
            assert identity_error(q) < 20 * m * eps
            of_column = np.abs(a).max(-2, keepdims=True) * m + 1e-300
            assert (np.abs(q @ r - a) / of_column).max() < 20 * eps
            assert not np.tril(r, -1).any()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", KINDS)
def test_svd(kind, dtype):
    eps = torch.finfo(dtype).eps
    for m, n in [(1, 1), (3, 2), (2, 5), (16, 16), (48, 9), (31, 32), (48, 48), (50, 49)]:
        a = wide(tensor(matrices(kind, m, n), dtype))
        values = np.linalg.svd(a, compute_uv=False)
        close = (30 if m <= 48 else 100) * eps * max(values.max(), 1e-300)
        alone = wide(linalg.svdvals(tensor(a, dtype)))
        np.testing.assert_allclose(alone, values, rtol=0, atol=close)
        for full in (False, True):
            u, s, vh = (wide(t) for t in linalg.svd(tensor(a, dtype), full_matrices=full))
            assert (np.diff(s) <= 0).all() and (s >= 0).all()
            np.testing.assert_allclose(s, values, rtol=0, atol=close)
            assert max(identity_error(u), identity_error(vh.swapaxes(-1, -2))) < 60 * eps
            k = min(m, n)
            again = u[..., :k] * s[..., None, :] @ vh[..., :k, :]
            np.testing.assert_allclose(again, a, rtol=0, atol=close)


@pytest.mark.parametrize("dtype", [*DTYPES, torch.complex64, torch.complex128])
def test_solutions_from_factors(dtype):
    rng = np.random.default_rng(0)
    for n, columns in [(1, 1), (2, 3), (5, 17), (24, 40), (25, 2)]:
        a = random_tensor(rng, (3, n, n), dtype)
        b = random_tensor(rng, (3, n, columns), dtype)
        lu = linalg.lu_factor(a)
        for x, left in (
            (linalg.solve(a, b), a),
            (linalg.lu_solve(*lu, b), a),
            (linalg.lu_solve(*lu, b, adjoint=True), a.mH),
        ):
            miss = array(left) @ array(x) - array(b)
            scale = np.abs(array(left)).max() * np.abs(array(x)).max() * n
            assert np.abs(miss).max() < 8 * torch.finfo(dtype).eps * scale


def test_pivots_below_the_normal_range():
    tiny = torch.tensor([[1e-39, 2e-39], [0, 4e-39]])
    x = linalg.lu_solve(tiny, torch.tensor([1, 2], dtype=torch.int32), torch.tensor([[4e-39]] * 2))
    np.testing.assert_allclose(array(x), [[2], [1]], rtol=1e-3)


@pytest.mark.parametrize("upper", [False, True])
def test_cholesky_reads_one_triangle(upper):
    rng = np.random.default_rng(0)
    for n in (1, 2, 5, 16, 17):
        x = rng.standard_normal((n, n))
        whole = x @ x.T + n * np.eye(n)
        half = torch.tensor(np.where(np.tri(n).T if upper else np.tri(n), whole, np.nan))
        factor = wide(linalg.cholesky(half, upper=upper))
        again = factor.T @ factor if upper else factor @ factor.T
        np.testing.assert_allclose(again, whole, rtol=1e-13, atol=1e-13)
        assert not (np.tril(factor, -1) if upper else np.triu(factor, 1)).any()


def test_qr_of_subnormal_numbers():
    a = torch.full((2, 2), 1e-40)
    q, r = linalg.qr(a)
    assert identity_error(wide(q)) < 1e-6
    np.testing.assert_allclose(wide(q @ r), 1e-40, rtol=1e-3)


def test_qr_passes_on_what_is_not_a_number():
    for bad in (np.nan, np.inf):
        q, r = linalg.qr(torch.tensor([[1.0, 2.0], [bad, 3.0]]))
        assert q.isnan().any() and r.isnan().any()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", KINDS)
def test_eigh(kind, dtype):
    eps = torch.finfo(dtype).eps
    for n in (1, 2, 3, 16, 31, 64, 65, 127, 129):
        a = matrices(kind, n, n)
        a = wide(tensor(a + a.swapaxes(-1, -2), dtype))
        scale = n * np.abs(a).max() + 1e-300
        for uplo, half in (("L", np.tril(a)), ("U", np.triu(a))):
            values, vectors = (wide(t) for t in linalg.eigh(tensor(half, dtype), uplo))
            assert identity_error(vectors) < 10 * n * eps
            rebuilt = vectors * values[..., None, :] @ vectors.swapaxes(-1, -2)
            assert np.abs(rebuilt - a).max() / scale < 20 * eps
            assert np.abs(values - np.linalg.eigvalsh(a)).max() / scale < 20 * eps
            alone = wide(linalg.eigvalsh(tensor(half, dtype), uplo))
            assert np.abs(values - alone).max() / scale < 20 * eps


@pytest.mark.parametrize("m, n", [(12, 12), (20, 7), (80, 60)])
def test_the_rank_of_least_squares(m, n):
    """Exchanging columns is left out only where it can't matter."""
    rng = np.random.default_rng(0)
    u, v = (np.linalg.qr(rng.standard_normal((k, n)))[0] for k in (m, n))
    b = rng.standard_normal((m, 2))
    for least, rank in [(1.0, n), (1e-4, n), (3e-9, n - 1), (0.0, n - 1)]:
        s = np.linspace(2, 1, n)
        s[-1] = least
        a = (u * s) @ v.T
        x, _, found, _ = linalg.lstsq(tensor(a), tensor(b), rcond=1e-8)
        assert found.item() == rank
        expected = np.linalg.pinv(a, rcond=1e-8) @ b
        np.testing.assert_allclose(array(x), expected, atol=1e-9 * np.abs(expected).max())
    x, _, found, _ = linalg.lstsq(tensor(np.zeros((m, n))), tensor(b))
    assert found.item() == 0 and not x.any()
