"""Exponentials, logarithms, powers and their kin, as formulas in primitive arithmetic.

All are branch-free, so that they vectorise on any target, and at most 2 ULP off. Three devices
recur. Adding 1.5 * 2**52 to a number rounds it to an integer that is then also in the low bits of
the sum, so `bits(x + magic) << 52` makes a power of two without any conversion. Scaling by 2**n
in two steps of 2**(n/2) overflows and underflows gradually, as it must. And `at_most(c, x)`
keeps a nan in `x`, so that clamping costs no check.

The polynomials are in `coefficients`; tools/minimax.py says what each approximates.
"""

from __future__ import annotations

import math
import typing

from .coefficients import POLYNOMIALS
from .floats import (
    FORMATS,
    at_least,
    at_most,
    bits,
    coefficients,
    fast_two_sum,
    from_bits,
    horner,
    polynomial,
    power_of_two,
    rarely,
    representation,
    split,
    two_product,
)
from .ir import F32, F64, U64, Expr
from .lang import Value, bitcast, cast, copysign, fma, sqrt, trunc, where

# Constants to twice the precision of f64.
LN2 = (0.6931471805599453, 2.3190468138462996e-17)
TWICE_LN2 = (2 * LN2[0], 2 * LN2[1])
LOG2_E = (1.4426950408889634, 2.0355273740931033e-17)
LOG10_E = (0.4342944819032518, 1.098319650216765e-17)
LOG10_2 = (0.3010299956639812, -2.8037281277851704e-18)
THIRD = (1 / 3, 1.850371707708594e-17)


# Exponentials


class Reduced(typing.NamedTuple):
    """x = n * period + r, r = high + low with an exact high; `power` is 2**(n + shift)."""

    r: Value
    high: Value
    low: Value
    power: Value


def reduce_exponent(x: Value, period: tuple[float, float], shift: int = 0) -> Reduced:
    """Takes the nearest multiple of `period` from x. Needs 2**(n + shift) to be normal."""
    form = FORMATS[x.dtype]
    magic = form.magic + form.bias + shift
    t = fma(x, 1 / period[0], magic)
    n = t - magic
    hi, lo = split(period, x.dtype)
    high = fma(n, -hi, x)
    low = n * -lo
    r = fma(n, -lo, high) if lo else high
    return Reduced(r, high, low, from_bits(bits(t) << form.mantissa))


def exp(x: Value) -> Value:
    form = FORMATS[x.dtype]
    # The least has a root of 0: products that underflow are slow, and masks are full of them.
    x = at_least(-form.bias * TWICE_LN2[0], at_most(form.overflow, x))
    r, _, _, root = reduce_exponent(x, TWICE_LN2)
    p = horner((1.0, 1.0, *coefficients("exp", x.dtype)), r)
    return p * root * root


def exp2(x: Value) -> Value:
    return exp2_sum(x, None)


def exp2_sum(x: Value, low: Value | None) -> Value:
    """2**(x + low)"""
    form = FORMATS[x.dtype]
    x = at_least(-2.0 * form.bias, at_most(form.bias + 2.0, x))
    r, _, _, root = reduce_exponent(x, (2.0, 0.0))
    if low is not None:
        r = r + low
    p = horner((1.0, *coefficients("exp2", x.dtype)), r)
    return p * root * root


def expm1(x: Value) -> Value:
    form = FORMATS[x.dtype]
    z = at_least(-2.0 * form.mantissa, at_most(form.overflow, x))
    y = 2.0 * expm1_scaled(z, -1)  # 2**n itself may overflow
    return where(abs(x) < form.epsilon / 4, x, y)


def expm1_scaled(x: Value, shift: int) -> Value:
    """expm1(x) * 2**shift, unless x is too large for the power of two; +0.0 of -0.0."""
    r, high, low, power = reduce_exponent(x, LN2, shift)
    tail = fma(r * r, polynomial("expm1", r), low)
    return fma(tail, power, fma(high, power, power - 2.0**shift))


def over_one_more(e: Value, one: float) -> Value:
    """e / (one + e) for e >= 0. Where e is small the sum's rounding error matters."""
    d = e + one
    q = e / d
    return fma(q, where(e < one, ((d - one) - e) * (1 / one), 0.0), q)


def tanh(x: Value) -> Value:
    a = at_most(9.5 if x.dtype is F32 else 20.0, abs(x))
    return copysign(over_one_more(expm1_scaled(2.0 * a, -1), 1.0), x)


def sinh(x: Value) -> Value:
    form = FORMATS[x.dtype]
    # With e a quarter of expm1(|x|), which doesn't overflow before sinh: (4 e + e / (1/4 + e)) / 2.
    a = abs(x)
    e = expm1_scaled(at_most(form.overflow + 0.5, a), -2)
    y = fma(0.5, over_one_more(e, 0.25), 2.0 * e)
    return copysign(where(a < form.epsilon / 4, a, y), x)


def cosh(x: Value) -> Value:
    form = FORMATS[x.dtype]
    a = at_most(form.overflow + 1.0, abs(x))
    r, _, _, root = reduce_exponent(a, TWICE_LN2)
    half = horner((1.0, 1.0, *coefficients("exp", x.dtype)), r) * (0.5 * root) * root
    return half + 0.25 / half


# Logarithms


class Normalized(typing.NamedTuple):
    """x = 2**n * (1 + f), with f in [-1/3, 1/3] or [sqrt(1/2) - 1, sqrt(2) - 1]."""

    f: Value
    n: Value


def normalize(x: Value, subnormals: bool = True) -> Normalized:
    """Takes a positive x apart. What it gives for other x means nothing."""
    form = FORMATS[x.dtype]
    if subnormals:
        small = x < form.tiny
        x = where(small, x * 2.0 ** (form.mantissa + 2), x)
    mask = (1 << form.mantissa) - 1
    if x.dtype is F32:
        start = representation(2 / 3, F32)
        word = bits(x) - start
        n = cast(word >> form.mantissa, F32)
    else:  # few vector units convert 64-bit integers: put n under the exponent of 2**52 instead
        start = representation(math.sqrt(0.5), F64)
        word = bitcast(x, U64) - (start - (form.bias << form.mantissa))
        shifted = from_bits((word >> form.mantissa) | representation(2.0**52, F64))
        n = shifted - (2.0**52 + form.bias)
    f = from_bits((word & mask) + start) - 1.0
    if subnormals:
        n = where(small, n - (form.mantissa + 2.0), n)
    return Normalized(f, n)


def log1p_tail(f: Value) -> Value:
    """log(1 + f) - f for a normalized f."""
    if f.dtype is F32:
        return f * f * polynomial("log", f)
    half_square = 0.5 * f * f
    return log1p_atanh(f, half_square) - half_square


def log1p_atanh(f: Value, half_square: Value) -> Value:
    """log(1 + f) - f + f**2 / 2, from 2 atanh(f / (2 + f))"""
    s = f / (f + 2.0)
    z = s * s
    return s * fma(z, polynomial("log", z), half_square)


def logarithm_specials(x: Value, y: Value) -> Value:
    at_zero = cast(-math.inf, x.dtype)
    y = where(x == math.inf, x, y)
    return where(x > 0.0, y, where(x == 0.0, at_zero, math.nan))


def log_normalized(f: Value, n: Value) -> Value:
    if f.dtype is F32:
        return fma(n, LN2[0], f + log1p_tail(f))
    hi, lo = LN2
    half_square = 0.5 * f * f
    tail = half_square - fma(n, lo, log1p_atanh(f, half_square))
    return fma(n, hi, f - tail)


def log(x: Value) -> Value:
    return logarithm_specials(x, log_normalized(*normalize(x)))


def log_in_base(x: Value, per_e: tuple[float, float], per_two: tuple[float, float]) -> Value:
    """log(x) in the base b for which per_e = log_b(e) and per_two = log_b(2)."""
    f, n = normalize(x)
    c_hi, c_lo = split(per_e, x.dtype)
    n_hi, n_lo = split(per_two, x.dtype)
    if x.dtype is F32:
        high, tail = f, log1p_tail(f)
    else:  # the quadratic term matters in the high part too
        half_square = 0.5 * f * f
        high = f - half_square
        tail = ((f - high) - half_square) + log1p_atanh(f, half_square)
    p, low = two_product(high, c_hi)
    low = fma(high, c_lo, fma(tail, c_hi, low))
    if n_lo:
        low = fma(n, n_lo, low)
    q, rest = fast_two_sum(n * n_hi, p)  # n * n_hi is zero, or the larger
    if n_lo:
        rest = rest + fma(n, n_hi, -(n * n_hi))
    return logarithm_specials(x, q + (rest + low))


def log2(x: Value) -> Value:
    return log_in_base(x, LOG2_E, (1.0, 0.0))


def log10(x: Value) -> Value:
    return log_in_base(x, LOG10_E, LOG10_2)


def log1p(x: Value) -> Value:
    form = FORMATS[x.dtype]
    # 1 + x = 2**n * (1 + f): n from the rounded sum, then f from x itself, with one rounding.
    _, n = normalize(1.0 + x, subnormals=False)
    quarter = power_of_two(2.0 - n)  # 4 * 2**-n: 2**-n alone may be subnormal
    f = fma(0.25 * x, quarter, fma(0.25, quarter, -1.0))
    y = logarithm_specials(1.0 + x, log_normalized(f, n))
    return where(abs(x) < 2.0 ** -(form.mantissa + 2), x, y)


def asinh(x: Value) -> Value:
    form = FORMATS[x.dtype]
    a = abs(x)
    if x.dtype is F32:
        w = cast(a, F64)
        y = cast(log_widened(w + sqrt(fma(w, w, 1.0))), F32)
    else:
        huge = a > 2.0**28
        square = a * a
        y = log1p(where(huge, a - 1.0, a + square / (1.0 + sqrt(1.0 + square))))
        y = where(huge, y + LN2[0], y)
    return copysign(where(a < 2.0 ** (-form.mantissa / 2 - 1), a, y), x)


def acosh(x: Value) -> Value:
    if x.dtype is F32:
        w = cast(x, F64)
        y = cast(log_widened(w + sqrt(fma(w, w, -1.0))), F32)
        return where(x >= 1.0, y, math.nan)
    huge = x > 2.0**28
    t = x - 1.0
    y = log1p(where(huge, t, t + sqrt(fma(t, t, 2.0 * t))))
    return where(x >= 1.0, where(huge, y + LN2[0], y), math.nan)


def atanh(x: Value) -> Value:
    a = abs(x)
    if x.dtype is F32:
        w = cast(a, F64)
        y = cast(0.5 * log_widened((1.0 + w) / (1.0 - w)), F32)
        y = where(a < 2.0**-12, a, y)
    else:
        y = 0.5 * log1p(2.0 * a / (1.0 - a))
    return copysign(where(a <= 1.0, y, math.nan), x)


def log_widened(x: Value) -> Value:
    """log of a positive f64 to the accuracy of f32, also relative to x - 1."""
    return LN2[0] * log2_widened(x)


# Roots and powers


def rsqrt(x: Value) -> Value:
    return 1.0 / sqrt(x)


def log2_widened(x: Value) -> Value:
    """log2 of a positive f32 given as f64, good to 2**-33; -inf of 0, inf of inf."""
    f, n = normalize(x, subnormals=False)
    y = fma(f, horner(POLYNOMIALS["log2_pow"], f), n)
    return where(x < math.inf, where(x > 0.0, y, -math.inf), x)


def exp2_widened(x: Value) -> Value:
    """2**x in f64 to the accuracy of f32; its range, too, is f32's and a little more."""
    r, _, _, power = reduce_exponent(at_least(-200.0, at_most(200.0, x)), (1.0, 0.0))
    return horner((1.0, *POLYNOMIALS["exp2_pow"]), r) * power


def pow_positive(x: Value, y: Value) -> Value:
    """x**y for x >= 0, but for 1**y and x**0"""
    if x.dtype is F32:
        return cast(exp2_widened(cast(y, F64) * log2_widened(cast(x, F64))), F32)
    hi, lo = log2_double(x)
    z, rest = two_product(y, hi)
    rest = fma(y, lo, rest)
    return exp2_sum(z, where(abs(z) < 1100.0, rest, 0.0))


def log2_double(x: Value) -> tuple[Value, Value]:
    """log2 of a positive f64 as an unevaluated sum, good to 2**-66; (-inf, 0) of 0."""
    f, n = normalize(x)
    # s = f / (2 + f), z = s**2 and log(1 + f) = 2 s (1 + z / 3 + z**2 P(z)), all but P in pairs.
    d, d_low = fast_two_sum(cast(2.0, F64), f)
    s = f / d
    s_low = fma(s, -d, f) - s * d_low
    s_low = s_low / d
    z, z_low = two_product(s, s)
    z_low = fma(s + s, s_low, z_low)
    t, t_low = two_product(z, THIRD[0])
    t_low = fma(z, THIRD[1], fma(z_low, THIRD[0], t_low))
    t_low = fma(z * z, horner(POLYNOMIALS["atanh_tail"], z), t_low)
    u, u_low = fast_two_sum(cast(1.0, F64), t)
    u_low = u_low + t_low
    p, p_low = two_product(s, u)
    p_low = fma(s, u_low, fma(s_low, u, p_low))
    c = 2 * LOG2_E[0], 2 * LOG2_E[1]
    q, q_low = two_product(p, c[0])
    q_low = fma(p, c[1], fma(p_low, c[0], q_low))
    hi, hi_low = fast_two_sum(n, q)
    hi, lo = fast_two_sum(hi, hi_low + q_low)
    special = where(x == 0.0, -math.inf, x)
    finite = (x > 0.0) & (x < math.inf)
    return where(finite, hi, special), where(finite, lo, 0.0)


def pow(x: Value, y: Value) -> Value:
    size = abs(x)
    one = (size == 1.0) | (y == 0.0)
    magnitude = where(one, 1.0, pow_positive(size, y))
    integral = trunc(y) == y
    half = 0.5 * y
    odd = integral & (trunc(half) != half)
    signed = where(odd, copysign(magnitude, x), magnitude)
    # Only a finite negative number to a power that isn't integral is undefined; x is 1 for any y.
    undefined = (x < 0.0) & (x > -math.inf) & ~integral
    return where(undefined, math.nan, signed)


def hypot(x: Value, y: Value) -> Value:
    a, b = abs(x), abs(y)
    if x.dtype is F32:
        v, w = cast(a, F64), cast(b, F64)
        r = cast(sqrt(fma(v, v, w * w)), F32)
    else:
        large = (a > 2.0**510) | (b > 2.0**510)
        small = (a < 2.0**-450) & (b < 2.0**-450)
        inward = where(large, cast(2.0**-600, F64), where(small, cast(2.0**600, F64), 1.0))
        outward = where(large, cast(2.0**600, F64), where(small, cast(2.0**-600, F64), 1.0))
        a, b = a * inward, b * inward
        r = sqrt(fma(a, a, b * b)) * outward
    return where((a == math.inf) | (b == math.inf), math.inf, r)


def fmod(x: Value, y: Value) -> Value:
    """x - n y for the n that truncates x / y: exact."""
    a, b = abs(x), abs(y)
    q = trunc(a / b)
    r = fma(-q, b, a)  # exact, but by a quotient that was rounded up to n + 1
    r = where(r < 0.0, r + b, r)
    r = where(b == math.inf, a - (a - a), r)
    exact = FORMATS[x.dtype].magic / 2
    remainder = Value(Expr("frem", (a.expr, b.expr), None, x.dtype))
    return copysign(rarely((a < math.inf) & (q > exact), remainder, r), x)


def nextafter(x: Value, y: Value) -> Value:
    word = bits(x)
    away = (x < y) == (x > 0.0)
    step = from_bits(where(away, word + 1, word - 1))
    first = copysign(from_bits(cast(1, word.dtype)), y)  # the smallest subnormal
    moved = where(x == 0.0, first, step)
    return where((x != x) | (y != y), x + y, where(x == y, y, moved))


def integer_power(x: Value, n: Value) -> Value:
    """x**n, wrapping around; for negative n what truncation leaves of the fraction."""
    y = _power_bits(x, n, x.dtype.bits)
    if x.dtype.bits > 8:
        y = rarely(n >= 256, y, _power_bits(x, n, 8))
    if x.dtype.kind == "u":
        return y
    unit = where(x == -1, where((n & 1) == 0, cast(1, x.dtype), -1), cast(x == 1, x.dtype))
    return where(n < 0, unit, y)


def _power_bits(x: Value, n: Value, count: int) -> Value:
    """x to the power of the lowest `count` bits of n, by repeated squaring."""
    y = cast(1, x.dtype)
    for i in range(count):
        y = where((n >> i) & 1 != 0, y * x, y)
        x = x * x
    return y
