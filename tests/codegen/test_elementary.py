"""Elementary functions against mpmath, NumPy and SciPy: accuracy, special values, extremes.

Errors are in ULP: units in the last place of the exact result.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache

import machine
import numpy as np
import pytest

from taimatsu.codegen.coefficients import ERRORS
from taimatsu.codegen.ir import DTYPES, DType
from taimatsu.codegen.simplify import node

mp = pytest.importorskip("mpmath")
special = pytest.importorskip("scipy.special")

FLOATS = {"f32": np.float32, "f64": np.float64}
pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")


@cache
def kernel(op: str, types: tuple[DType, ...], out: DType):
    return machine.pointwise(lambda *xs: node(op, *xs, dtype=out), (out,), *types)


def evaluate(op: str, *arrays: np.ndarray, out: np.dtype | type | None = None) -> np.ndarray:
    """`op` of the arrays' elements, by a compiled kernel."""
    arrays = tuple(np.ascontiguousarray(a).reshape(1, -1) for a in arrays)
    names = {np.dtype(t): n for n, t in machine.NUMPY.items() if n != "bf16"}
    types = tuple(DTYPES[names[a.dtype]] for a in arrays)
    y = np.empty(arrays[0].shape, out or arrays[0].dtype)
    call = machine.Call(kernel(op, types, DTYPES[names[y.dtype]]), [y, *arrays])
    assert call() == 0
    return y[0]


# The exact functions, on mpf. `wide` is NumPy's or SciPy's in f64: exact enough to test f32.


def _only(domain: Callable, f: Callable) -> Callable:
    return lambda x: f(x) if domain(x) else mp.nan


def _extended(f: Callable, limit: float, low: float, high: float) -> Callable:
    """f, with its limits where mpmath would need too much time or memory."""
    return lambda x: mp.mpf(high) if x > limit else mp.mpf(low) if x < -limit else f(x)


def _erfinv(x):
    if abs(x) >= 1:
        return x * mp.inf if abs(x) == 1 else mp.nan
    return x * mp.sqrt(mp.pi) / 2 if abs(x) < 1e-30 else mp.erfinv(x)


@np.vectorize
def _lgamma(x: float) -> float:
    try:
        return math.lgamma(x)
    except (ValueError, OverflowError):  # a pole, or near the largest number
        return math.inf


POSITIVE = lambda x: x >= 0
UNIT = lambda x: abs(x) <= 1
LOG_GAMMA = lambda x: mp.inf if x == 0 else mp.loggamma(x).real

# name: (exact, wide, intervals to sample, ULP allowed in f64, domain for random bits)
ANY = (-math.inf, math.inf)
FUNCTIONS = {
    "exp": (mp.exp, np.exp, [(-110, 95), (-1, 1), (-750, 715)], 2, ANY),
    "exp2": (lambda x: mp.mpf(2) ** x, np.exp2, [(-160, 130), (-1, 1), (-1080, 1030)], 2, ANY),
    "expm1": (mp.expm1, np.expm1, [(-1, 1), (-0.01, 0.01), (-40, 715)], 2, ANY),
    "log": (_only(POSITIVE, mp.log), np.log, [(0, 3), (0.9, 1.1)], 2, ANY),
    "log2": (_only(POSITIVE, lambda x: mp.log(x, 2)), np.log2, [(0, 3), (0.9, 1.1)], 2, ANY),
    "log10": (_only(POSITIVE, mp.log10), np.log10, [(0, 3), (0.9, 1.1)], 2, ANY),
    "log1p": (_only(lambda x: x >= -1, mp.log1p), np.log1p, [(-1, 3), (-0.1, 0.1)], 2, ANY),
    "rsqrt": (_only(POSITIVE, lambda x: 1 / mp.sqrt(x)), lambda x: 1 / np.sqrt(x), [(0, 3)], 2,
              ANY),
    "sinh": (mp.sinh, np.sinh, [(-90, 90), (-1, 1), (-711, 711)], 2, (-1e4, 1e4)),
    "cosh": (mp.cosh, np.cosh, [(-90, 90), (-1, 1), (-711, 711)], 2, (-1e4, 1e4)),
    "tanh": (mp.tanh, np.tanh, [(-20, 20), (-1, 1), (-0.1, 0.1)], 2, ANY),
    "asinh": (mp.asinh, np.arcsinh, [(-10, 10), (-1, 1), (-0.1, 0.1)], 2, ANY),
    "acosh": (_only(lambda x: x >= 1, mp.acosh), np.arccosh, [(1, 10), (1, 1.1)], 2, ANY),
    "atanh": (_only(UNIT, mp.atanh), np.arctanh, [(-1, 1), (-0.1, 0.1)], 2, ANY),
    "sin": (mp.sin, np.sin, [(-4, 4), (-1e5, 1e5), (-1e12, 1e12)], 2, ANY),
    "cos": (mp.cos, np.cos, [(-4, 4), (-1e5, 1e5), (-1e12, 1e12)], 2, ANY),
    "tan": (mp.tan, np.tan, [(-4, 4), (-1e5, 1e5), (-1e12, 1e12)], 2, ANY),
    "asin": (_only(UNIT, mp.asin), np.arcsin, [(-1, 1), (-0.1, 0.1)], 2, ANY),
    "acos": (_only(UNIT, mp.acos), np.arccos, [(-1, 1), (0.9, 1)], 2, ANY),
    "atan": (mp.atan, np.arctan, [(-5, 5), (-0.1, 0.1)], 2, ANY),
    "erf": (_extended(mp.erf, 50, -1, 1), special.erf, [(-6, 6), (-1, 1)], 2, ANY),
    "erfc": (_extended(mp.erfc, 50, 2, 0), special.erfc, [(-6, 28), (-1, 1)], 2, ANY),
    "erfinv": (_erfinv, lambda x: np.copysign(special.erfinv(x), x),
               [(-1, 1), (-0.1, 0.1), (0.999, 1)], 2, ANY),
    # For negative arguments see test_reflected: zeros there are only small in absolute terms.
    "lgamma": (LOG_GAMMA, _lgamma, [(0, 5), (0.9, 1.1), (1.9, 2.1), (0, 200)], 4,
               (0, 1e30)),
    "digamma": (mp.digamma, special.digamma, [(0, 5), (1.4, 1.5), (0, 200)], 4, (0, 1e30)),
    "trigamma": (lambda x: mp.polygamma(1, x), lambda x: special.polygamma(1, x),
                 [(0, 5), (0, 200)], 4, (1e-150, 1e30)),
}  # fmt: skip


def sample(dtype: str, intervals, domain, bits: int, each: int) -> np.ndarray:
    """Random bit patterns of the domain, thus all exponents alike, and points of intervals."""
    rng = np.random.default_rng(1)
    width = 32 if dtype == "f32" else 64
    x = rng.integers(0, 2**width, bits, dtype=f"u{width // 8}").view(FLOATS[dtype])
    x = x[np.isfinite(x) & (x >= domain[0]) & (x <= domain[1])]
    parts = [rng.uniform(lo, hi, each).astype(FLOATS[dtype]) for lo, hi in intervals]
    return np.concatenate([x, *parts])


def ulp_f32(y: np.ndarray, exact: np.ndarray) -> np.ndarray:
    """The error of f32 results against exact values in f64."""
    rounded = exact.astype(np.float32)
    _, exponent = np.frexp(np.where(np.isfinite(exact) & (exact != 0), exact, 1))
    unit = np.ldexp(1.0, np.maximum(exponent - 24, -149))
    error = np.abs(y.astype(np.float64) - exact) / unit
    same = (y == rounded) | (np.isnan(y) & np.isnan(rounded))
    return np.where(same, 0, np.where(np.isnan(error), np.inf, error))


def ulp_f64(y: float, exact) -> float:
    if mp.isnan(exact) or math.isnan(y):
        return 0.0 if mp.isnan(exact) and math.isnan(y) else math.inf
    try:
        if y == float(exact):
            return 0.0
    except OverflowError:
        return 0.0 if math.isinf(y) and (y > 0) == (exact > 0) else math.inf
    if mp.isinf(exact) or math.isinf(y):
        return math.inf
    exponent = max(mp.frexp(exact)[1] - 53, -1074) if exact else -1074
    return float(abs(mp.mpf(y) - exact) / mp.ldexp(1, exponent))


def worst(x: np.ndarray, y: np.ndarray, error: np.ndarray) -> str:
    k = int(np.argmax(error))
    return f"{error[k]:.3f} ULP at {x[k]!r}: got {y[k]!r}"


@pytest.mark.parametrize("op", FUNCTIONS)
def test_f32_is_within_2_ulp(op):
    _, wide, intervals, _, domain = FUNCTIONS[op]
    x = sample("f32", intervals, domain, 200_000, 50_000)
    y = evaluate(op, x)
    error = ulp_f32(y, wide(x.astype(np.float64)))
    assert error.max() <= 2, worst(x, y, error)


@pytest.mark.parametrize("op", FUNCTIONS)
def test_f64_is_within_its_bound(op):
    exact, _, intervals, bound, domain = FUNCTIONS[op]
    x = sample("f64", intervals, domain, 300, 150)
    y = evaluate(op, x)
    with mp.workprec(200):
        error = np.array([ulp_f64(float(b), exact(mp.mpf(float(a))))
                          for a, b in zip(x, y, strict=True)])  # fmt: skip
    assert error.max() <= bound, worst(x, y, error)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("op", ["lgamma", "digamma", "trigamma"])
def test_reflected(op, dtype):
    """Negative arguments: small errors relative to the larger of the result and 1."""
    x = np.random.default_rng(2).uniform(-20, 0, 300).astype(FLOATS[dtype])
    y = evaluate(op, x)
    with mp.workprec(200):
        exact = np.array([float(FUNCTIONS[op][0](mp.mpf(float(a)))) for a in x])
    # The poles' neighbourhoods amplify the rounding of pi x, as they do that of x itself.
    distance = np.abs(x - np.rint(x)).astype(np.float64)
    scale = np.maximum(np.abs(exact), 1) / np.minimum(1, distance * 4)
    assert np.max(np.abs(y - exact) / scale) <= 8 * np.finfo(FLOATS[dtype]).eps


SPECIAL = [
    0.0, -0.0, 1, -1, 0.5, -0.5, 2, -2, 1.5, 3, -3, 10, 100, -100, 1000, -1000,
    math.inf, -math.inf, math.nan, 5e-324, -5e-324, 1e-310, 1e-45, -1e-45, 1e-40, 2.0**-126,
    2.0**-1022, 1e-30, 1e30, -1e30, 1e300, 3.4e38, 1.79e308, 0.1,
]  # fmt: skip


def agrees(y: np.ndarray, expected: np.ndarray, digits: float = 1e-5) -> np.ndarray:
    """Equal zeros with their signs, infinities and nans; other values nearly equal."""
    same = (y == expected) & (np.signbit(y) == np.signbit(expected))
    same |= np.isnan(y) & np.isnan(expected)
    smallest = np.finfo(y.dtype).smallest_subnormal
    near = np.abs(y - expected) <= digits * np.abs(expected) + 2 * smallest
    return same | (near & (expected != 0) & np.isfinite(expected) & np.isfinite(y))


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("op", [f for f in FUNCTIONS if f not in ("digamma", "trigamma")])
def test_special_values(op, dtype):
    x = np.array(SPECIAL).astype(FLOATS[dtype])
    y = evaluate(op, x)
    # In f64, then rounded: NumPy's own f32 functions flush some subnormals.
    expected = FUNCTIONS[op][1](x.astype(np.float64)).astype(FLOATS[dtype])
    bad = ~agrees(y, expected)
    assert not bad.any(), list(zip(x[bad], y[bad], expected[bad], strict=True))


@pytest.mark.parametrize("dtype", FLOATS)
def test_poles(dtype):
    x = np.array([0.0, -0.0, -1, -2, math.inf, -math.inf, math.nan], FLOATS[dtype])
    inf, nan = math.inf, math.nan
    for op, expected in {
        "lgamma": [inf, inf, inf, inf, inf, inf, nan],
        "digamma": [-inf, inf, nan, nan, inf, nan, nan],
        "trigamma": [inf, inf, inf, inf, 0, nan, nan],
    }.items():
        np.testing.assert_array_equal(evaluate(op, x), np.array(expected, FLOATS[dtype]), op)


@pytest.mark.parametrize("dtype", FLOATS)
def test_angles_next_to_multiples_of_a_right_angle(dtype):
    """Where reduction loses most: x = n pi/2 rounded, for n up to the largest there is."""
    rng = np.random.default_rng(3)
    top = 125 if dtype == "f32" else 1020
    n = [int(rng.integers(1, 2**40)) << int(rng.integers(0, top - 40)) for _ in range(300)]
    with mp.workprec(1400):
        x = np.array([float(mp.mpf(k) * mp.pi / 2) for k in n]).astype(FLOATS[dtype])
        for op, exact in (("sin", mp.sin), ("cos", mp.cos), ("tan", mp.tan)):
            y = evaluate(op, x)
            truth = [exact(mp.mpf(float(a))) for a in x]
            if dtype == "f32":
                error = ulp_f32(y, np.array([float(t) for t in truth]))
            else:
                error = np.array([ulp_f64(float(b), t) for b, t in zip(y, truth, strict=True)])
            assert error.max() <= 2, (op, worst(x, y, error))


@pytest.mark.parametrize("dtype", FLOATS)
def test_rare_lanes_among_common_ones(dtype):
    """One huge angle in a vector of small ones: only that lane takes the other path."""
    x = np.linspace(-3, 3, 77).astype(FLOATS[dtype])
    alone = evaluate("sin", x)
    x[40] = 1e30
    together = evaluate("sin", x)
    expected = np.float64(mp.sin(mp.mpf(float(x[40]))))
    assert abs(together[40] - expected) < 1e-6
    others = np.arange(77) != 40
    np.testing.assert_array_equal(together[others], alone[others])


# Functions of two arguments


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize(
    ("op", "wide"),
    [("pow", np.power), ("atan2", np.arctan2), ("hypot", np.hypot), ("fmod", np.fmod)],
)
def test_binary_special_values(op, wide, dtype):
    values = np.array([*SPECIAL, 7, -7, 2.5, -2.5, 1e16, -1e16 - 2]).astype(FLOATS[dtype])
    x, y = (a.ravel() for a in np.meshgrid(values, values))
    z = evaluate(op, x, y)
    expected = wide(x.astype(np.float64), y.astype(np.float64)).astype(FLOATS[dtype])
    bad = ~agrees(z, expected)
    assert not bad.any(), list(zip(x[bad], y[bad], z[bad], expected[bad], strict=True))[:8]


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize(
    ("op", "exact"),
    [("pow", lambda a, b: a**b), ("atan2", mp.atan2), ("hypot", mp.hypot)],
)
def test_binary_within_2_ulp(op, exact, dtype):
    rng = np.random.default_rng(4)
    x, y = (rng.uniform(-3, 3, 900).astype(FLOATS[dtype]) for _ in range(2))
    if op == "pow":  # up to where the result leaves the range
        limit = np.log(2.0) * (127 if dtype == "f32" else 1023)
        x = np.concatenate([np.abs(x), rng.uniform(0.99, 1.01, 300)]).astype(FLOATS[dtype])
        y = rng.uniform(-1, 1, 1200) * np.minimum(limit / np.abs(np.log(x)), 1e5)
        y = y.astype(FLOATS[dtype])
    z = evaluate(op, x, y)
    with mp.workprec(200):
        truth = [exact(mp.mpf(float(a)), mp.mpf(float(b))) for a, b in zip(x, y, strict=True)]
    if dtype == "f32":
        error = ulp_f32(z, np.array([float(t) for t in truth]))
    else:
        error = np.array([ulp_f64(float(c), t) for c, t in zip(z, truth, strict=True)])
    assert error.max() <= 2, (worst(x, z, error), y[int(np.argmax(error))])


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize(("op", "function"), [("fmod", np.fmod), ("nextafter", np.nextafter)])
def test_exact_functions(op, function, dtype):
    rng = np.random.default_rng(5)
    width = 32 if dtype == "f32" else 64
    x, y = (
        rng.integers(0, 2**width, 20_000, dtype=f"u{width // 8}").view(FLOATS[dtype])
        for _ in range(2)
    )
    np.testing.assert_array_equal(evaluate(op, x, y), function(x, y))
    x = rng.uniform(-100, 100, 10_000).astype(FLOATS[dtype])
    y = np.where(np.arange(10_000) % 3 == 0, x, rng.uniform(-5, 5, 10_000)).astype(FLOATS[dtype])
    np.testing.assert_array_equal(evaluate(op, x, y), function(x, y))


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int32, np.int64, np.uint64])
def test_integer_power(dtype):
    """Wraps around; a negative exponent leaves 1/x truncated."""
    info, rng = np.iinfo(dtype), np.random.default_rng(6)
    x = np.concatenate([rng.integers(-9 if info.min else 0, 10, 500), [1, 0, 2, 3]]).astype(dtype)
    n = np.concatenate([rng.integers(-9 if info.min else 0, 70, 500), [info.max] * 4]).astype(dtype)

    def power(a: int, b: int) -> int:
        if b < 0:
            return a ** (b % 2) if abs(a) == 1 else 0
        wrapped = pow(a, b, 1 << info.bits)
        return wrapped - (1 << info.bits) if info.min and wrapped > info.max else wrapped

    expected = np.array([power(int(a), int(b)) for a, b in zip(x, n, strict=True)], dtype)
    np.testing.assert_array_equal(evaluate("pow", x, n), expected)


# Complex functions

COMPLEX = {
    "exp": mp.exp, "log": mp.log, "sqrt": mp.sqrt, "sinh": mp.sinh, "cosh": mp.cosh,
    "tanh": mp.tanh, "sin": mp.sin, "cos": mp.cos, "tan": mp.tan, "asin": mp.asin,
    "acos": mp.acos, "atan": mp.atan, "asinh": mp.asinh, "acosh": mp.acosh, "atanh": mp.atanh,
    "expm1": mp.expm1, "log2": lambda z: mp.log(z) / mp.log(2), "log10": mp.log10,
    "log1p": lambda z: mp.log(1 + z), "rsqrt": lambda z: 1 / mp.sqrt(z),
}  # fmt: skip
NAMES = {"asin": "arcsin", "acos": "arccos", "atan": "arctan", "asinh": "arcsinh",
         "acosh": "arccosh", "atanh": "arctanh"}  # fmt: skip


@pytest.mark.parametrize("dtype", [np.complex64, np.complex128])
@pytest.mark.parametrize("op", COMPLEX)
def test_complex_functions(op, dtype):
    """Small errors relative to the modulus, on all scales around 1."""
    rng = np.random.default_rng(7)
    size, angle = np.exp(rng.uniform(-6, 2.5, 300)), rng.uniform(-np.pi, np.pi, 300)
    z = (size * np.exp(1j * angle)).astype(dtype)
    y = evaluate(op, z)
    with mp.workprec(200):
        exact = [COMPLEX[op](mp.mpc(complex(a))) for a in z]
        error = [float(abs(mp.mpc(complex(b)) - t) / abs(t)) for b, t in zip(y, exact, strict=True)]
    k = int(np.argmax(error))
    assert error[k] <= 4 * np.finfo(dtype).eps, (z[k], y[k], exact[k])


@pytest.mark.parametrize("op", [f for f in COMPLEX if f not in ("expm1", "rsqrt")])
def test_complex_zeros_infinities_and_cuts(op):
    """As C99 (through NumPy) has it, for parts that aren't nan; both sides of each cut."""
    parts = [0.0, -0.0, 1, -1, 0.5, -0.5, 2, -2, 1e30, -1e30, math.inf, -math.inf]
    circular = op in ("exp", "sin", "cos", "tan", "sinh", "cosh", "tanh")
    z = np.array([complex(a, b) for a in parts for b in parts])
    if circular:  # an infinite angle makes nan of one part, and leaves the other's sign open
        z = z[np.isfinite(z.real) & np.isfinite(z.imag)]
    elif op in ("atan", "atanh"):
        z = z[np.isfinite(z.real) | np.isfinite(z.imag)]
    y, expected = evaluate(op, z), getattr(np, NAMES.get(op, op))(z)
    ok = agrees(y.real.copy(), expected.real) & agrees(y.imag.copy(), expected.imag)
    assert ok.all(), list(zip(z[~ok], y[~ok], expected[~ok], strict=True))[:8]


@pytest.mark.parametrize("dtype", [np.complex64, np.complex128])
def test_complex_arithmetic(dtype):
    rng = np.random.default_rng(8)
    a, b, c, d = rng.normal(size=(4, 500)) * np.exp(rng.normal(size=(4, 500)) * 3)
    z, w = (a + 1j * b).astype(dtype), (c + 1j * d).astype(dtype)
    eps = np.finfo(dtype).eps
    wide = np.clongdouble
    for op, f in (("mul", np.multiply), ("div", np.divide)):
        expected = f(z.astype(wide), w.astype(wide))
        assert np.max(np.abs(evaluate(op, z, w) - expected) / np.abs(expected)) <= 3 * eps, op
    real = np.float32 if dtype is np.complex64 else np.float64
    size = evaluate("abs", z, out=real)
    assert np.max(np.abs(size - np.abs(z.astype(wide))) / np.abs(z)) <= 2 * eps
    power = evaluate("pow", z[:200], w[:200] / 4)
    expected = np.power(z[:200].astype(wide), (w[:200] / 4).astype(wide))
    fine = np.isfinite(expected) & (np.abs(expected) > 1e-30) & (np.abs(expected) < 1e30)
    scale = 1 + np.abs(w[:200] / 4) * (np.abs(np.log(np.abs(z[:200]))) + np.pi)
    assert np.max((np.abs(power - expected) / np.abs(expected) / scale)[fine]) <= 4 * eps


def test_division_by_huge_and_tiny_complex_numbers():
    z = np.array([1e300 + 1e300j, 1e-300 + 1e-300j, 1 + 1j])
    np.testing.assert_allclose(evaluate("div", z, z), 1)
    np.testing.assert_allclose(evaluate("abs", z, out=np.float64), np.abs(z))


def test_polynomials_are_as_good_as_the_formulas_need():
    """What tools/minimax.py measured after rounding. The weights make it relative to the result."""
    for name, error in ERRORS.items():
        assert error < 2.0**-23.5 if name.endswith("f32") else error < 2.0**-28, name
