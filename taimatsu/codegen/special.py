"""The error function, the logarithm of the gamma function and their kin, as primitive formulas.

In f32 most of these are computed in f64, where a short formula is exact enough; `erf`, which is
in every GELU, is not.
"""

from __future__ import annotations

import math

from .coefficients import POLYNOMIALS
from .elementary import (
    LN2,
    LOG2_E,
    exp2_widened,
    log,
    log2_widened,
    pow,
    reduce_exponent,
)
from .floats import (
    at_most,
    coefficients,
    horner,
    polynomial,
    rarely,
    split,
    two_product,
)
from .ir import F32, F64
from .iteration import iterate
from .lang import Value, cast, copysign, floor, fma, rint, sqrt, where
from .trigonometric import PI, cosine_reduced, sine_reduced

HALF_LOG_2PI = 0.9189385332046728
DIGAMMA_ROOT = (1.4616321449683622, 9.549995429965697e-17)


def erf(x: Value) -> Value:
    """x + x P(x**2) near zero, 1 - 2**-(t P(t)) further out."""
    a = abs(x)
    near = fma(x, polynomial("erf", x * x), x)
    t = at_most(3.95 if x.dtype is F32 else 5.95, a)
    r, _, _, power = reduce_exponent(-(t * polynomial("erf_tail", t)), (1.0, 0.0))
    p = horner((1.0, *coefficients("erf_exp2", x.dtype)), r)
    return where(a < 0.925, near, copysign(fma(-p, power, 1.0), x))


def erfc(x: Value) -> Value:
    """exp(-x**2) (1 + P(t)) / (1 + 2 x), t = (x - 4) / (x + 4), for positive x"""
    if x.dtype is F32:
        a = at_most(10.1, abs(cast(x, F64)))
        g = horner(POLYNOMIALS["erfc_f32"], (a - 4.0) / (a + 4.0))
        y = exp2_widened(a * a * -LOG2_E[0]) * ((1.0 + g) / (1.0 + 2.0 * a))
        return cast(where(x < 0.0, 2.0 - y, y), F32)
    a = at_most(27.3, abs(x))
    # t and the quotient are corrected by the remainders of their divisions.
    d = a + 4.0
    t = (a - 4.0) / d
    t = t + (fma(-t, a, a - 4.0) - 4.0 * t) / d
    g = polynomial("erfc", t)
    d = fma(2.0, a, 1.0)
    q = (1.0 + g) / d
    q = q + (fma(-2.0 * a, q, 1.0 - q) + g) / d
    square, rest = two_product(a, a)
    _, high, low, power = reduce_exponent(-square, LN2, 540)  # 2**n itself may be subnormal
    r = high + (low - rest)
    e = fma(r * r, polynomial("expm1", r), r)
    y = (fma(q, e, q) * power) * 2.0**-540
    y = where(x < 0.0, 2.0 - y, y)
    return where(a < 0.5, 1.0 - fma(x, polynomial("erf", x * x), x), y)


def erfinv(x: Value) -> Value:
    """x P(w), w = -log(1 - x**2), with other polynomials, of sqrt(w), near 1."""
    if x.dtype is F32:
        v = cast(x, F64)
        w = -LN2[0] * log2_widened(fma(-v, v, 1.0))
        tail = horner(POLYNOMIALS["erfinv_tail_f32"], sqrt(w) - 3.0)
        y = cast(v * rarely(w >= 5.0, tail, horner(POLYNOMIALS["erfinv_f32"], w)), F32)
    else:
        a = abs(x)
        w = -log((1.0 - a) * (1.0 + a))
        s = sqrt(w)
        tail = where(
            s < 4.0,
            horner(POLYNOMIALS["erfinv_tail_f64"], s - 3.25),
            horner(POLYNOMIALS["erfinv_far_f64"], s - 5.0),
        )
        y = x * rarely(w >= 6.25, tail, horner(POLYNOMIALS["erfinv_f64"], w - 3.0))
    return where(abs(x) < 1.0, y, where(abs(x) == 1.0, math.inf * x, math.nan))


# The gamma function's kin. Up to 8, steps of 1 lead to an interval with a polynomial; from there
# on the asymptotic series takes over; negative arguments are reflected, behind a branch.

FAR = 8.0


def lgamma(x: Value) -> Value:
    """log |gamma(x)|. Near its zeros at negative x only the absolute error is small."""
    if x.dtype is F32:
        return cast(lgamma(cast(x, F64)), F32)
    a = abs(x)
    far = a >= FAR
    low = a < 0.875
    # gamma(a) = product * gamma(t), or gamma(t) / a
    t = where(low, a + 1.0, a)
    product = where(low, a, 1.0)
    for _ in range(6):
        more = t > 2.125
        t = where(more, t - 1.0, t)
        product = where(more, product * t, product)
    logarithm = log(where(far, a, product))
    near = (t - 1.0) * (t - 2.0) * polynomial("lgamma", t - 1.5)
    near = near + where(low, -logarithm, logarithm)
    series = polynomial("stirling", 1.0 / (a * a)) / a
    stirling = fma(a - 0.5, logarithm - 1.0, series + (HALF_LOG_2PI - 0.5))
    y = where(far, stirling, near)
    sine, _ = _sine_cosine_pi(a)
    reflected = where(a < math.inf, log(PI[0] / (a * abs(sine))) - y, math.inf)
    return rarely(x < -(2.0**-60), reflected, y)


def _sine_cosine_pi(a: Value) -> tuple[Value, Value]:
    """sin(pi a) and cos(pi a), but for the sign that both change where a grows by 1."""
    r = a - rint(a)
    size = abs(r)
    outer = size > 0.25
    v = PI[0] * where(outer, 0.5 - size, size)
    s, c = sine_reduced(v), cosine_reduced(v)
    return copysign(where(outer, c, s), r), where(outer, s, c)


def digamma(x: Value) -> Value:
    """The derivative of lgamma; -inf at 0 and nan at negative integers, as PyTorch has it."""
    if x.dtype is F32:
        return cast(digamma(cast(x, F64)), F32)
    negative = x < 0.0
    a = where(negative, 1.0 - x, x)
    far = a >= FAR
    low = a < 1.0
    # digamma(a) = digamma(t) + numerator / denominator
    t = where(low, a + 1.0, a)
    numerator = where(low, cast(-1.0, F64), 0.0)
    denominator = where(low, a, 1.0)
    for _ in range(6):
        more = t > 2.0
        t = where(more, t - 1.0, t)
        numerator = where(more, fma(numerator, t, denominator), numerator)
        denominator = where(more, denominator * t, denominator)
    root, rest = split(DIGAMMA_ROOT, F64)
    near = fma((t - root) - rest, polynomial("digamma", t - 1.5), numerator / denominator)
    inverse = 1.0 / a
    square = inverse * inverse
    tail = fma(square, polynomial("digamma_far", square), 0.5 * inverse)
    y = where(far, log(a) - tail, near)
    sine, cosine = _sine_cosine_pi(x)
    pole = where(sine == 0.0, math.nan, PI[0] * cosine / sine)
    return rarely(negative, y - pole, y)


def trigamma(x: Value) -> Value:
    """The derivative of digamma; inf at 0 and the negative integers."""
    if x.dtype is F32:
        return cast(trigamma(cast(x, F64)), F32)
    negative = x < 0.0
    a = where(negative, 1.0 - x, x)
    # trigamma(a) = trigamma(t) + numerator / denominator, t >= 8
    t = a
    numerator, denominator = cast(0.0, F64), cast(1.0, F64)
    for _ in range(8):
        more = t < FAR
        square = t * t
        numerator = where(more, fma(numerator, square, denominator), numerator)
        denominator = where(more, denominator * square, denominator)
        t = where(more, t + 1.0, t)
    inverse = 1.0 / t
    square = inverse * inverse
    tail = fma(square, polynomial("trigamma_far", square), 0.5 * inverse)
    y = (inverse + inverse * tail) + numerator / denominator
    y = where(a < 2.0**-500, math.inf, y)
    sine, _ = _sine_cosine_pi(x)
    reflected = PI[0] * PI[0] / (sine * sine) - y
    return rarely(negative, reflected, y)


# B(2j) / (2j)!, the coefficients of the Euler-Maclaurin formula.
EULER_MACLAURIN = (
    1 / 12, -1 / 720, 1 / 30240, -1 / 1209600, 1 / 47900160, -691 / 1307674368000,
    1 / 74724249600, -3617 / 10670622842880000,
)  # fmt: skip
DIRECT = 12  # terms that are summed as they are


def zeta(s: Value, q: Value) -> Value:
    """The sum of (q + k)**-s over k = 0, 1 ...; of negative q only where s is whole."""
    if q.dtype is F32:
        return cast(zeta(cast(s, F64), cast(q, F64)), F32)
    whole = floor(s) == s
    fraction = q - floor(q)
    y = _zeta_positive(s, where(q > 0.0, q, where(fraction > 0.0, fraction, 1.0)))
    # What is left of the origin is a sum of its own, to infinity but for what is further left.
    half = 0.5 * s
    sign = where(floor(half) == half, cast(1.0, F64), -1.0)
    left = _zeta_positive(s, 1.0 - fraction) - _zeta_positive(s, 1.0 - q)
    y = rarely(q < 0.0, y + sign * left, y)
    below = where(floor(q) == q, math.inf, where((q < 0.0) & whole, y, math.nan))
    y = where(q > 0.0, y, below)
    return where(s > 1.0, y, where(s == 1.0, cast(math.inf, F64), math.nan))


def _zeta_positive(s: Value, q: Value) -> Value:
    """A dozen terms, from the smallest on, after the rest by Euler and Maclaurin's formula."""
    a = q + float(DIRECT)
    above = pow(a, 1.0 - s)
    term = above / a
    rest = 0.5 * term + above / (s - 1.0)
    factor, scaled, tail = s, term / a, cast(0.0, F64)
    for j, c in enumerate(EULER_MACLAURIN):
        tail = tail + c * factor * scaled
        factor = factor * (s + (2.0 * j + 1.0)) * (s + (2.0 * j + 2.0))
        scaled = scaled / (a * a)
    rest = where(term > 0.0, rest + tail, rest)  # a huge s has a huge factor

    def step(k: Value, total: Value, q: Value, s: Value) -> tuple[Value, Value]:
        return k - 1.0, total + pow(q + k, -s)

    start = (cast(DIRECT - 1.0, F64), rest)
    return iterate(DIRECT, lambda k, *_: k >= 0.0, step, start, q, s)[1]
