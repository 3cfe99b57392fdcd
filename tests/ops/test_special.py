"""Special functions against mpmath: a few units in the last place, all over where they matter."""

from __future__ import annotations

from fractions import Fraction

import mpmath as mp
import numpy as np
import pytest

import taimatsu as torch
from taimatsu.autograd import gradcheck, gradgradcheck
from taimatsu.ops import special_tables

inf, nan = float("inf"), float("nan")


def scaled_k(order):
    return lambda x: mp.besselk(order, x) * mp.exp(x)


# name: (the function, intervals, ULP in f64). Errors count relative to the result, or where it has
# zeros to its size around.
FUNCTIONS = {
    "i0": (lambda x: mp.besseli(0, x), [(-8, 8), (8, 80)], 12),
    "i0e": (lambda x: mp.besseli(0, x) * mp.exp(-abs(x)), [(-8, 8), (8, 500)], 8),
    "i1": (lambda x: mp.besseli(1, x), [(-8, 8), (8, 80), (-1e-5, 1e-5)], 30),
    "i1e": (lambda x: mp.besseli(1, x) * mp.exp(-abs(x)), [(-8, 8), (8, 500)], 30),
    "modified_bessel_k0": (lambda x: mp.besselk(0, x), [(0, 2), (2, 80)], 20),
    "modified_bessel_k1": (lambda x: mp.besselk(1, x), [(0, 2), (2, 80)], 20),
    "scaled_modified_bessel_k0": (scaled_k(0), [(0, 2), (2, 800)], 20),
    "scaled_modified_bessel_k1": (scaled_k(1), [(0, 2), (2, 800)], 20),
    "bessel_j0": (lambda x: mp.besselj(0, x), [(-8, 8), (8, 80), (1e4, 1e7)], 20),
    "bessel_j1": (lambda x: mp.besselj(1, x), [(-8, 8), (8, 80), (1e4, 1e7)], 20),
    "bessel_y0": (lambda x: mp.bessely(0, x), [(0, 1), (1, 80), (1e4, 1e7)], 60),
    "bessel_y1": (lambda x: mp.bessely(1, x), [(0, 1), (1, 80), (1e4, 1e7)], 20),
    "spherical_bessel_j0": (lambda x: mp.sin(x) / x, [(-8, 8), (8, 1e4)], 4),
    "airy_ai": (mp.airyai, [(-4, 2), (-100, -4), (2, 100), (-1e4, -1e3)], 20),
    "erfcx": (lambda x: mp.exp(x * x) * mp.erfc(x), [(-20, 0), (0, 5), (5, 1e8)], 8),
    "ndtr": (mp.ncdf, [(-37, 0), (-3, 8)], 8),
    "log_ndtr": (lambda x: mp.log(mp.ncdf(x)), [(-100, -1), (-3, 8)], 8),
    "ndtri": (lambda p: mp.sqrt(2) * mp.erfinv(2 * p - 1), [(0, 1), (0, 1e-3)], 8),
    "entr": (lambda x: -x * mp.log(x), [(0, 0.9), (1.1, 1e3)], 4),
    "sinc": (lambda x: mp.sinpi(x) / (mp.pi * x), [(-4, 4), (0.999, 1.001), (100, 300)], 6),
    "psi": (mp.digamma, [(2, 100), (0, 1)], 8),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_accuracy(name):
    exact, intervals, allowed = FUNCTIONS[name]
    rng = np.random.default_rng(0)
    function = getattr(torch.special, name)
    for low, high in intervals:
        x = rng.uniform(low, high, 12).astype(np.float32)
        with mp.workdps(40):
            want = [exact(mp.mpf(float(v))) for v in x]
        size = np.array([float(abs(w)) for w in want])
        size = np.maximum(size, np.median(size)) if "bessel" in name or "airy" in name else size
        single, double = function(torch.tensor(x)), function(torch.tensor(x.astype(np.float64)))
        error = np.array([float(g - w) for g, w in zip(double.tolist(), want, strict=True)])
        # Not relative to a zero, nor where results fall below the normal numbers.
        assert (abs(error) <= allowed * 2.0**-53 * np.maximum(size, 2.0**-970)).all(), (low, high)
        inside = (size > 2.0**-126) & (size < 2.0**127)
        error = single.numpy().astype(np.float64) - [float(w) for w in want]
        assert (abs(error) <= 1.01 * 2.0**-23 * size)[inside].all(), (low, high)


@pytest.mark.parametrize(
    ("name", "points", "results"),
    [
        ("airy_ai", (inf, -inf, 200.0), (0, 0, 0)),
        ("bessel_j0", (inf, -inf, 0.0), (0, 0, 1)),
        ("bessel_j1", (inf, -inf, 0.0), (0, 0, 0)),
        ("bessel_y0", (inf, 0.0, -1.0), (0, -inf, nan)),
        ("bessel_y1", (inf, 0.0, -1.0), (0, -inf, nan)),
        ("modified_bessel_k0", (inf, 0.0, -1.0), (0, inf, nan)),
        ("scaled_modified_bessel_k1", (inf, 0.0, -1.0), (0, inf, nan)),
        ("i1e", (inf, -inf, -0.0), (0, 0, 0)),
        ("erfcx", (inf, -inf, -27.5), (0, inf, inf)),
        ("ndtr", (inf, -inf, -50.0), (1, 0, 0)),
        ("log_ndtr", (inf, -inf, 0.0), (0, -inf, np.log(0.5))),
        ("ndtri", (0.0, 1.0, 1.5), (-inf, inf, nan)),
        ("entr", (0.0, -1.0, inf), (0, -inf, -inf)),
        ("spherical_bessel_j0", (inf, -inf, 0.0), (0, 0, 1)),
    ],
)
@pytest.mark.parametrize("dtype", (torch.float32, torch.float64))
def test_ends(name, points, results, dtype):
    x = torch.tensor((*points, nan), dtype=dtype)
    got = getattr(torch.special, name)(x).numpy()
    np.testing.assert_allclose(got, (*results, nan), rtol=1e-6)


# ---- gamma's kin -------------------------------------------------------------------------------

SHAPES = {
    "small": lambda rng: (rng.uniform(0.01, 20, 30), rng.uniform(0.01, 40, 30)),
    "tiny": lambda rng: (10 ** rng.uniform(-8, 0, 30), 10 ** rng.uniform(-6, 0.5, 30)),
    "near": lambda rng: (a := 10 ** rng.uniform(1.4, 5, 30),
                         a + rng.normal(size=30) * 2 * np.sqrt(a)),
    "apart": lambda rng: (a := rng.uniform(20, 200, 30), a * rng.uniform(0.4, 2, 30)),
}  # fmt: skip


@pytest.mark.parametrize("kind", SHAPES)
def test_incomplete_gamma(kind):
    """Both relative to themselves, however small, but for what the exponent's own rounding does."""
    a, x = SHAPES[kind](np.random.default_rng(1))
    lower = torch.igamma(torch.tensor(a), torch.tensor(x)).tolist()
    upper = torch.igammac(torch.tensor(a), torch.tensor(x)).tolist()
    with mp.workdps(50):
        for a_, x_, p, q in zip(a.tolist(), x.tolist(), lower, upper, strict=True):
            want = mp.gammainc(a_, 0, x_, regularized=True)
            slack = 64 + 4 * float(abs(mp.log(want) + mp.log(1 - want)))
            for got, exact in ((p, want), (q, 1 - want)):
                assert abs(got - exact) <= slack * 2.0**-53 * exact, (a_, x_, got)


def test_incomplete_gamma_at_the_ends():
    a = torch.tensor([0.0, 1, 1, inf, 0, inf, -1, 1, nan, 1])
    x = torch.tensor([1.0, 0, inf, 1, 0, inf, 1, -1, 1, nan])
    np.testing.assert_array_equal(torch.igamma(a, x).numpy(), [1, 0, 1, 0, *[nan] * 6])
    np.testing.assert_array_equal(torch.igammac(a, x).numpy(), [0, 1, 0, 1, *[nan] * 6])


def test_incomplete_gamma_derivatives():
    a = torch.tensor([0.5, 2.0, 30.0], dtype=torch.float64)
    x = torch.tensor([0.3, 4.0, 28.0], dtype=torch.float64, requires_grad=True)
    for function in (torch.igamma, torch.igammac):
        assert gradcheck(lambda x, f=function: f(a, x), (x,))
        assert gradgradcheck(lambda x, f=function: f(a, x), (x,))
        with pytest.raises(NotImplementedError, match="derivative"):
            function(a.clone().requires_grad_(), x).sum().backward()


def test_temme_coefficients():
    """Those of the table, from the power series in exact rationals."""
    count = 24
    # mu mu' = eta (1 + mu) for mu = eta + eta**2 / 3 + ...
    mu = [Fraction(0), Fraction(1)]
    for n in range(2, count + 2):
        rest = sum(mu[i] * (n + 1 - i) * mu[n + 1 - i] for i in range(2, n))
        mu.append((mu[n - 1] - rest) / (n + 1))
    inverse = [Fraction(1)]  # eta / mu
    for n in range(1, count):
        inverse.append(-sum(mu[i + 1] * inverse[n - i] for i in range(1, n + 1)))
    row = inverse[1:]
    stirling = Fraction(1, 12)
    for k in (0, 1):
        given = special_tables.TEMME[k]
        np.testing.assert_allclose(given, [float(c) for c in row[: len(given)]], rtol=1e-15)
        row = [(n + 2) * row[n + 2] - stirling * inverse[n + 1] for n in range(len(row) - 2)]


def test_polygamma_of_any_order_and_sign():
    x = np.array([0.01, 0.7, 3.2, 12.5, 80.0, -0.3, -7.4, -40.25])
    for n in (2, 3, 7):
        got = torch.polygamma(n, torch.tensor(x)).tolist()
        for v, g in zip(x.tolist(), got, strict=True):
            want = mp.polygamma(n, mp.mpf(v))
            assert abs(g - want) <= 64 * 2.0**-53 * abs(want), (n, v)
    poles = torch.polygamma(3, torch.tensor([0.0, -1.0, inf, nan]))
    np.testing.assert_array_equal(poles.numpy(), [inf, inf, 0, nan])
    with pytest.raises(RuntimeError, match="at least 0"):
        torch.polygamma(-1, torch.ones(2))
    with pytest.raises(RuntimeError, match="at least 1"):
        torch.mvlgamma(torch.ones(2), 0)


def test_zeta_at_the_ends():
    s = torch.tensor([1.0, 0.5, 2, 2, 2.5, 3, nan, 2, inf])
    q = torch.tensor([2.0, 2, 0, -1, -1.5, inf, 2, nan, 2])
    want = [inf, nan, inf, inf, nan, 0, nan, nan, 0]
    np.testing.assert_array_equal(torch.special.zeta(s, q).numpy(), want)
    with pytest.raises(NotImplementedError, match="derivative by 'self'"):
        torch.special.zeta(s.requires_grad_(), 2.0).sum().backward()


# ---- polynomials -------------------------------------------------------------------------------


def chebyshev(n: int, x: float, first: Fraction) -> Fraction:
    x = Fraction(x)
    before, last = Fraction(1), first
    for _ in range(n - 1):
        before, last = last, 2 * x * last - before
    return last


def test_high_degrees_in_closed_form():
    """Steps and closed form meet; both stay exact where degrees are high."""
    kinds = {"t": (1, 0), "u": (2, 0), "v": (2, -1), "w": (2, 1)}
    x = torch.tensor([-0.999, -0.3, 0.5, 0.97, 1.0, -1.0], dtype=torch.float64)
    for n in (60, 70, 200):
        for letter, (slope, constant) in kinds.items():
            got = getattr(torch.special, f"chebyshev_polynomial_{letter}")(x, n).tolist()
            for v, g in zip(x.tolist(), got, strict=True):
                want = float(chebyshev(n, v, slope * Fraction(v) + constant))
                assert abs(g - want) <= 1e-12 * max(1, abs(want)), (letter, n, v)


def test_degrees_that_are_none():
    degrees = torch.tensor([-1.0, 2.9, nan, 1e9])
    got = torch.special.legendre_polynomial_p(0.5, degrees)
    np.testing.assert_array_equal(got.numpy(), np.float32([0, -0.125, nan, nan]))
    assert torch.special.hermite_polynomial_h(torch.tensor([1.0]), 600).isnan().all()
    with pytest.raises(NotImplementedError):
        torch.special.legendre_polynomial_p(torch.ones(2, dtype=torch.complex64), 2)
