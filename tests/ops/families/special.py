"""Orthogonal polynomials, the gamma function's kin, logcumsumexp: SciPy's."""

import numpy as np
import scipy.special as sp

import taimatsu as torch

_POLYNOMIALS = {
    "chebyshev_polynomial_t": sp.eval_chebyt,
    "chebyshev_polynomial_u": sp.eval_chebyu,
    "chebyshev_polynomial_v": lambda n, x: sp.eval_jacobi(n, -0.5, 0.5, x) / _at_one(n, -0.5),
    "chebyshev_polynomial_w": lambda n, x: (2 * n + 1) * sp.eval_jacobi(n, 0.5, -0.5, x)
    / _at_one(n, 0.5),
    "hermite_polynomial_h": sp.eval_hermite,
    "hermite_polynomial_he": sp.eval_hermitenorm,
    "laguerre_polynomial_l": sp.eval_laguerre,
    "legendre_polynomial_p": sp.eval_legendre,
}  # fmt: skip


def _at_one(n, alpha):
    """The value of Jacobi's polynomial at 1."""
    return sp.binom(n + alpha, n)


def _oracle(name):
    function = _POLYNOMIALS[name.removeprefix("shifted_")]
    shifted = name.startswith("shifted_")

    def oracle(x, n):
        x, n = np.asarray(x, float), np.asarray(n)
        x = 2 * x - 1 if shifted else x
        n = np.trunc(n).astype(int)
        return np.where(n < 0, 0.0, function(np.maximum(n, 0), x))

    return oracle


_NAMES = [*_POLYNOMIALS, *(f"shifted_{n}" for n in _POLYNOMIALS if n.startswith("cheb"))]


def _logaddexp(x, y):
    """With the larger real part taken out, and its phase."""
    high, low = (x, y) if np.real(x) >= np.real(y) else (y, x)
    return high + np.log1p(np.exp(low - high))


def _logcumsumexp(x, dim):
    merged = np.frompyfunc(_logaddexp, 2, 1).accumulate(x, axis=dim, dtype=object)
    return np.array(merged).astype(complex if np.iscomplexobj(x) else float)


def _degrees(t):
    n = torch.arange(-1, 9)
    return [(t(4, 1, low=-1.2, high=1.2), n), (t(3, 4, low=-1, high=3), 5),
            (1.25, t(3, 4, low=-2, high=7))]  # fmt: skip


def _by_argument(t):
    # Away from the degree: its derivative is 0 between jumps.
    return [(t(4, 1), torch.arange(0, 5)), (t(2, 3), 3)]


def _shapes(t):
    return [(t(3, 4, low=0.1, high=8), t(3, 4, low=0, high=8)),
            (t(3, 1, low=20, high=200), t(4, low=20, high=200)),
            (t(4, low=0.01, high=1), t(2, 4, low=0.01, high=1))]  # fmt: skip


ORACLES = {
    **{f"special.{name}": _oracle(name) for name in _NAMES},
    "polygamma": lambda n, x: sp.polygamma(n, np.asarray(x, float)),
    "polygamma.method": lambda x, n: sp.polygamma(n, np.asarray(x, float)),
    "mvlgamma": lambda x, p: sum(sp.gammaln(x - k / 2) for k in range(p))
    + p * (p - 1) / 4 * np.log(np.pi),
    "logcumsumexp": _logcumsumexp,
    "special.airy_ai": lambda x: sp.airy(x)[0],
    "igamma": sp.gammainc,
    "igammac": sp.gammaincc,
}
HINTS = {
    **{f"special.{name}": _degrees for name in _NAMES},
    "polygamma": lambda t: [(n, t(3, 4)) for n in (0, 2, 5)],
    "polygamma.method": lambda t: [(t(3, 4), 2)],
    "mvlgamma": lambda t: [(t(3, 4), p) for p in (1, 2, 5)],
    "igamma": _shapes,
    "igammac": _shapes,
}
GRADIENT_SAMPLES = {
    **{f"special.{name}": _by_argument for name in _NAMES},
}
# By the shape there is none, as in PyTorch; by the other argument see tests/ops/test_special.py.
NO_GRADIENT = {"igamma": True, "igammac": True}
