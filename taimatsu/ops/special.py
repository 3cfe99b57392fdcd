"""Special functions: Bessel's, the error function's kin, logarithms.

Where a function has no closed form, it is a Chebyshev series on an interval from zero, and on the
rest one of what is left after its leading behaviour, in the reciprocal of the argument. All is
computed in f64: that is what makes f32 exact, and costs less than care would.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

from taimatsu.codegen import lang
from taimatsu.codegen.floats import two_product
from taimatsu.codegen.ir import F64
from taimatsu.codegen.lang import Value, cast, exp, log, log1p, pi, sqrt, where
from taimatsu.codegen.lang import abs as magnitude
from taimatsu.codegen.promote import FLOATING

from . import special_tables as tables
from .table import pointwise

_S = {"module": "special", "promote": "float", "dtypes": FLOATING, "inplace": False, "out": True}


_LEAST = 5e-324  # the smallest number above 0


def widened(formula: Callable) -> Callable:
    """The formula computed in f64."""

    @functools.wraps(formula)
    def computed(*args):
        return cast(formula(*(cast(x, F64) for x in args)), args[0].dtype)

    return computed


def chebyshev(t: Value, coefficients: tuple[float, ...]) -> Value:
    """sum c[k] T_k(t) for t in [-1, 1], by Clenshaw's recurrence; for f32 as far as it matters."""
    if lang.context().compute.bits <= 32:
        least = 1e-9 * max(map(abs, coefficients))
        used = len(coefficients)
        while used > 1 and abs(coefficients[used - 1]) < least:
            used -= 1
        coefficients = coefficients[:used]
    b1 = b2 = 0.0 * t
    for c in coefficients[:0:-1]:
        b1, b2 = 2 * t * b1 - b2 + c, b1
    return t * b1 - b2 + coefficients[0]


# ---- modified Bessel functions of the first kind -------------------------------------------------


def _scaled_i(x, near, far, odd: bool):
    """exp(-|x|) I(x): a series in |x| up to 8, then in 1 / |x|."""
    a = magnitude(x)
    low = lang.minimum(a, 8.0)
    high = lang.maximum(a, 8.0)
    small = chebyshev(low / 4 - 1, near)
    large = chebyshev(16 / high - 1, far) / sqrt(high)
    return where(a <= 8, x * small, lang.copysign(large, x)) if odd else where(a <= 8, small, large)


@pointwise("i0e(Tensor self) -> Tensor", **_S)
@widened
def i0e(x):
    """The modified Bessel function `i0` times exp(-|x|)."""
    return _scaled_i(x, tables.I0E_NEAR, tables.I0E_FAR, False)


@pointwise("i1e(Tensor self) -> Tensor", **_S)
@widened
def i1e(x):
    """The modified Bessel function `i1` times exp(-|x|)."""
    return _scaled_i(x, tables.I1E_NEAR, tables.I1E_FAR, True)


@pointwise("i0(Tensor self) -> Tensor", promote="float", dtypes=FLOATING)
@widened
def i0(x):
    """The modified Bessel function of the first kind of order 0."""
    return _scaled_i(x, tables.I0E_NEAR, tables.I0E_FAR, False) * exp(magnitude(x))


@pointwise("i1(Tensor self) -> Tensor", **_S)
@widened
def i1(x):
    """The modified Bessel function of the first kind of order 1."""
    return _scaled_i(x, tables.I1E_NEAR, tables.I1E_FAR, True) * exp(magnitude(x))


def _i1_over(x, value, at_zero: float):
    """value / x, continued to 0."""
    return where(x == 0, at_zero, value / where(x == 0, 1.0, x))


@i0.gradient
def _(g, self):
    return g * i1(self)


@i0e.gradient
def _(g, self, result):
    return g * (i1e(self) - lang.sign(self) * result)


@i1.gradient
def _(g, self, result):
    return g * (i0(self) - _i1_over(self, result, 0.5))


@i1e.gradient
def _(g, self, result):
    return g * (i0e(self) - lang.sign(self) * result - _i1_over(self, result, 0.5))


def _public(name: str, op, doc: str) -> None:
    """A function of `special` that PyTorch also has under another name."""
    pointwise(f"{name}(Tensor self) -> Tensor", doc=doc, **_S)(op)


_public("modified_bessel_i0", lambda x: i0(x), "`i0`.")
_public("modified_bessel_i1", lambda x: i1(x), "`i1`.")


# ---- of the second kind --------------------------------------------------------------------------


def _k(x, order: int, scaled: bool):
    low, high = lang.clamp(x, _LEAST, 2.0), lang.maximum(x, 2.0)
    t = low * low / 2 - 1
    if order == 0:
        near = chebyshev(t, tables.K0_NEAR) - log(low / 2) * i0(low)
        far = chebyshev(4 / high - 1, tables.K0E_FAR)
    else:
        near = chebyshev(t, tables.K1_NEAR) / low + log(low / 2) * i1(low)
        far = chebyshev(4 / high - 1, tables.K1E_FAR)
    far = far / sqrt(high)
    near, far = (near * exp(low), far) if scaled else (near, far * exp(-high))
    return where(x < 0, lang.nan, where(x == 0, lang.inf, where(x <= 2, near, far)))


for _order in (0, 1):
    for _scaled in (False, True):
        pointwise(
            f"{'scaled_' if _scaled else ''}modified_bessel_k{_order}(Tensor x) -> Tensor",
            doc=f"The modified Bessel function of the second kind of order {_order}"
                f"{', times exp(x)' if _scaled else ''}; NaN of negative numbers.", **_S,
        )(widened(functools.partial(_k, order=_order, scaled=_scaled)))  # fmt: skip


# ---- Bessel functions ----------------------------------------------------------------------------


def _oscillating(x, p, q, order: int):
    """(P, Q, cos, sin) for a = |x| > 8: J = P cos - Q sin, Y = P sin + Q cos.

    Of the angle a - (2 order + 1) pi / 4, by the sine and cosine of a, which are exact for large a.
    """
    a = lang.maximum(magnitude(x), 8.0)
    t = 128 / (a * a) - 1
    amplitude = where(a < lang.inf, 1 / sqrt(pi * a), 0.0)
    finite = where(a < lang.inf, a, 8.0)
    sine, cosine = lang.sin(finite), lang.cos(finite)
    plus, minus = amplitude * (sine + cosine), amplitude * (sine - cosine)
    angle = (minus, -plus) if order else (plus, minus)
    return chebyshev(t, p), chebyshev(t, q) / a, *angle


def _j(x, near, p, q, order: int):
    low = lang.minimum(magnitude(x), 8.0)
    small = chebyshev(low * low / 32 - 1, near)
    P, Q, cosine, sine = _oscillating(x, p, q, order)
    large = P * cosine - Q * sine
    if order:
        return where(magnitude(x) <= 8, x * small, where(x < 0, -large, large))
    return where(magnitude(x) <= 8, small, large)


def _y(x, near, j_near, p, q, order: int):
    low = lang.clamp(x, _LEAST, 8.0)
    t = low * low / 32 - 1
    rest, j = chebyshev(t, near), chebyshev(t, j_near)
    if order:
        small = low * rest + 2 / pi * (log(low) * low * j - 1 / low)
    else:
        small = rest + 2 / pi * log(low) * j
    P, Q, cosine, sine = _oscillating(x, p, q, order)
    large = P * sine + Q * cosine
    return where(x < 0, lang.nan, where(x == 0, -lang.inf, where(x <= 8, small, large)))


@pointwise("bessel_j0(Tensor self) -> Tensor", **_S)
@widened
def bessel_j0(x):
    """The Bessel function of the first kind of order 0."""
    return _j(x, tables.J0_NEAR, tables.J0_P, tables.J0_Q, 0)


@pointwise("bessel_j1(Tensor self) -> Tensor", **_S)
@widened
def bessel_j1(x):
    """The Bessel function of the first kind of order 1."""
    return _j(x, tables.J1_NEAR, tables.J1_P, tables.J1_Q, 1)


@pointwise("bessel_y0(Tensor self) -> Tensor", **_S)
@widened
def bessel_y0(x):
    """The Bessel function of the second kind of order 0; NaN of negative numbers."""
    return _y(x, tables.Y0_NEAR, tables.J0_NEAR, tables.J0_P, tables.J0_Q, 0)


@pointwise("bessel_y1(Tensor self) -> Tensor", **_S)
@widened
def bessel_y1(x):
    """The Bessel function of the second kind of order 1; NaN of negative numbers."""
    return _y(x, tables.Y1_NEAR, tables.J1_NEAR, tables.J1_P, tables.J1_Q, 1)


@pointwise("spherical_bessel_j0(Tensor x) -> Tensor", **_S)
@widened
def spherical_bessel_j0(x):
    """sin(x) / x, 1 at 0 and 0 at infinity."""
    safe = where(x == 0, 1.0, x)
    return where(lang.isinf(x), 0.0, where(x == 0, 1.0, lang.sin(safe) / safe))


# ---- Airy's function -----------------------------------------------------------------------------


@pointwise("airy_ai(Tensor x) -> Tensor", **_S)
@widened
def airy_ai(x):
    """Airy's function Ai, which solves y'' = x y: waves for negative x, falling for positive.

    >>> taimatsu.special.airy_ai(taimatsu.tensor([-2.0, 0.0, 2.0]))
    tensor([0.2274, 0.3550, 0.0349])
    """
    near = chebyshev(lang.clamp(x, -4.0, 2.0) / 3 + 1 / 3, tables.AIRY_NEAR)
    a = lang.clamp(magnitude(x), 2.0, 1e200)
    root = sqrt(a)
    # 2/3 a^(3/2) in two parts: it goes into an exponential, or a sine.
    power, rest = two_product(a, root)
    rest = rest + a * (lang.fma(-root, root, a) / (2 * root))
    phase, low = two_product(power, 2 / 3)
    low = low + 2 / 3 * rest + power * 3.700743415417188e-17
    low = where(magnitude(low) < 0.5, low, 0.0)  # where it is more, nobody knows the phase
    scale = 1 / (math.sqrt(pi) * sqrt(root))

    ratio = 2 / a
    far = chebyshev(2 * ratio * sqrt(ratio) - 1, tables.AIRY_FAR)
    far = 0.5 * scale * far * exp(-phase) * (1 - low)

    ratio = 4 / lang.maximum(a, 4.0)
    t = 2 * ratio * ratio * ratio - 1
    P, Q = chebyshev(t, tables.AIRY_P), chebyshev(t, tables.AIRY_Q) / phase
    sine, cosine = lang.sin(phase), lang.cos(phase)
    sine, cosine = sine + cosine * low, cosine - sine * low
    # cos and sin of the phase less pi / 4
    waves = scale * math.sqrt(0.5) * ((sine + cosine) * P + (sine - cosine) * Q)
    return where(lang.isinf(x), 0.0, where(x > 2, far, where(x < -4, waves, near)))


# ---- the normal distribution ---------------------------------------------------------------------


@pointwise("erfcx(Tensor self) -> Tensor", **_S)
@widened
def erfcx(x):
    """exp(x²) erfc(x): `erfc` without its fall."""
    a = lang.minimum(magnitude(x), 1e18)
    upper = chebyshev((a - 2) / (a + 2), tables.ERFCX) / (a + 2)
    upper = where(magnitude(x) > 1e18, 1 / (math.sqrt(pi) * magnitude(x)), upper)
    square, rest = two_product(lang.maximum(x, -27.0), lang.maximum(x, -27.0))
    power = exp(where(x < -26.7, lang.inf, square)) * (1 + rest)
    return where(x < 0, 2 * power - upper, upper)


@erfcx.gradient
def _(g, self, result):
    return g * (2 * self * result - 2 / math.sqrt(math.pi))


_ROOT_HALF = math.sqrt(0.5)
_ROOT_HALF_REST = -4.833646656726457e-17  # sqrt(1/2) beyond f64


def _ndtr(x):
    z, rest = two_product(x, -_ROOT_HALF)
    rest = where(lang.isinf(x), 0.0, rest - x * _ROOT_HALF_REST)
    # erfc(z + rest)
    return 0.5 * lang.erfc(z) - exp(-z * z) * rest / math.sqrt(pi)


@pointwise("ndtr(Tensor self) -> Tensor", **_S)
@widened
def ndtr(x):
    """The probability that a standard normal number is at most x."""
    return _ndtr(x)


@pointwise("log_ndtr(Tensor self) -> Tensor", **_S)
@widened
def log_ndtr(x):
    """log(ndtr(x)), without underflow."""
    low = lang.minimum(x, -1.0)
    high = lang.maximum(x, -1.0)
    lower = log(0.5 * erfcx(-low * _ROOT_HALF)) - 0.5 * low * low
    return where(x < -1, lower, log1p(-_ndtr(-high)))


@log_ndtr.gradient
def _(g, self):
    return g * (math.sqrt(2 / math.pi) / erfcx(-self * _ROOT_HALF))


@pointwise("ndtri(Tensor self) -> Tensor", **_S)
@widened
def ndtri(p):
    """The inverse of `ndtr`."""
    # The lower tail by Newton's steps on the logarithm, from its leading behaviour.
    tail = lang.minimum(p, 1 - p)
    tail = lang.clamp(tail, _LEAST, 0.02)
    target = log(tail)
    y = -sqrt(-2 * target - log(-4 * pi * target))
    for _ in range(4):
        value = log(0.5 * erfcx(-y * _ROOT_HALF)) - 0.5 * y * y
        y = y - (value - target) * erfcx(-y * _ROOT_HALF) * math.sqrt(math.pi / 2)
    middle = math.sqrt(2) * lang.erfinv(2 * lang.clamp(p, 0.02, 0.98) - 1)
    inner = where(p < 0.02, y, where(p > 0.98, -y, middle))
    ends = where(p == 0, -lang.inf, where(p == 1, lang.inf, lang.nan))
    return where((p > 0) & (p < 1), inner, ends)


@ndtri.gradient
def _(g, result):
    return g * math.sqrt(2 * math.pi) * exp(0.5 * result * result)


# ---- logarithms ----------------------------------------------------------------------------------


@pointwise("entr(Tensor self) -> Tensor", **_S)
def entr(x):
    """-x log(x): 0 at 0, -inf below."""
    return where(lang.isnan(x), x, where(x > 0, -x * log(x), where(x == 0, 0.0, -lang.inf)))


@pointwise("xlog1py(Tensor|Number self, Tensor|Number other) -> Tensor", **_S)
def xlog1py(x, y):
    """self * log1p(other), 0 where `self` is 0 and `other` isn't NaN."""
    return where(lang.isnan(y), y, where(x == 0, 0, x * log1p(y)))


@xlog1py.gradient
def _(g, self, other):
    return where((self == 0) & (other <= -1), 0, g * log1p(other)), g * self / (1 + other)
