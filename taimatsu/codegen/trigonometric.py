"""Sine, cosine, tangent and their inverses, as formulas in primitive arithmetic."""

from __future__ import annotations

import math
import typing
from functools import cache

from .floats import (
    FORMATS,
    bits,
    coefficients,
    fast_two_sum,
    flip_sign,
    from_bits,
    horner,
    polynomial,
    rarely,
    split,
    table,
    two_product,
    two_sum,
)
from .ir import F32, F64
from .lang import Value, cast, copysign, fma, rint, sqrt, where

PI = (3.141592653589793, 1.2246467991473532e-16, -2.9947698097183397e-33)
HALF_PI = tuple(c / 2 for c in PI)

# Up to here three parts of pi/2 reduce an angle exactly enough, and the rounded quotient is the
# nearest integer but for a margin that the polynomials are fitted with.
MODERATE = {F32: 2.0**16, F64: 2.0**32}


class Reduced(typing.NamedTuple):
    """x = n * pi/2 + r + rest. `quadrant` is an integer equal to n modulo 4."""

    r: Value
    rest: Value | None
    quadrant: Value


def reduce_moderate(x: Value, rest: bool = False) -> Reduced:
    """Takes the nearest multiple of pi/2 from a moderate x."""
    magic = FORMATS[x.dtype].magic
    t = fma(x, 1 / HALF_PI[0], magic)
    n = t - magic
    high, middle, low = split(HALF_PI, x.dtype, 3)
    r = fma(n, -high, x)  # exact
    if not rest:
        return Reduced(fma(n, -low, fma(n, -middle, r)), None, bits(t))
    p, p_low = two_product(n, middle)
    s = r - p
    return Reduced(s, ((r - s) - p) - fma(n, low, p_low), bits(t))


@cache
def two_over_pi() -> tuple[tuple[float, ...], ...]:
    """2/pi * 2**(16 j - 36) modulo 4, in four doubles, for j = 0 .. 63 (four columns).

    2/pi comes from Machin's formula in integers: 1300 bits, as the largest f64 needs.
    """
    precision = 1300

    def arccot(n: int) -> int:
        total = term = (1 << precision) // n
        k = 1
        while term:
            term //= -n * n
            k += 2
            total += term // k
        return total

    pi = 4 * (4 * arccot(5) - arccot(239))
    quotient = (2 << 2 * precision) // pi  # 2/pi * 2**precision
    rows = []
    for j in range(64):
        shift = 16 * j - 36
        scaled = quotient << shift if shift >= 0 else quotient >> -shift
        rest, row = scaled % (4 << precision), []
        for _ in range(4):
            row.append(rest / (1 << precision))  # an integer quotient: rounded right
            rest -= int(math.ldexp(row[-1], 200)) << precision >> 200
        rows.append(row)
    return tuple(zip(*rows, strict=True))


def reduce_large(x: Value) -> Reduced:
    """The same for an f64 of 2**16 or more: exact products with the right window of 2/pi.

    Below the window x is an integer, so that what was dropped of 2/pi, multiples of 4, only
    changes n by multiples of 4.
    """
    word = bits(x)
    window = (((word >> 52) & 0x7FF) - (1023 + 16)) >> 4
    window = where((window >= 0) & (window < 64), window, 0)
    x = where(abs(x) < math.inf, from_bits(word - (((window << 4) - 36) << 52)), math.nan)
    c = [table(column, window) for column in two_over_pi()]
    p, p_low = two_product(x, c[0])
    q, q_low = two_product(x, c[1])
    s, s_low = two_product(x, c[2])
    p = p - 4.0 * rint(0.25 * p)
    low, low_rest = two_sum(p_low, q)
    t, t_rest = two_sum(p, low)
    n = rint(t)
    t = t - n
    errors = fma(x, c[3], s_low)
    for part in (t_rest, low_rest, q_low, s):
        t, error = two_sum(t, part)
        errors = errors + error
    r, r_low = two_product(t, HALF_PI[0])
    rest = fma(errors, HALF_PI[0], fma(t, HALF_PI[1], r_low))
    return Reduced(r + rest, rest - ((r + rest) - r), bits(n + FORMATS[F64].magic))


def sine_reduced(r: Value) -> Value:
    return fma(r * (r * r), polynomial("sin", r * r), r)


def cosine_reduced(r: Value) -> Value:
    return horner((1.0, -0.5, *coefficients("cos", r.dtype)), r * r)


def quarter_turns(a: Reduced, turns: int) -> Value:
    """sin(x + turns * pi/2)"""
    quadrant = a.quadrant + turns if turns else a.quadrant
    odd = (quadrant & 1) != 0
    return flip_sign(where(odd, cosine_reduced(a.r), sine_reduced(a.r)), quadrant, 1)


def _circular(x: Value, turns: int) -> Value:
    far = cast(quarter_turns(reduce_large(cast(x, F64)), turns), x.dtype)
    return rarely(abs(x) > MODERATE[x.dtype], far, quarter_turns(reduce_moderate(x), turns))


def sin(x: Value) -> Value:
    return where(x == 0.0, x, _circular(x, 0))


def cos(x: Value) -> Value:
    return _circular(x, 1)


def tan(x: Value) -> Value:
    if x.dtype is F32:
        return cast(tan(cast(x, F64)), F32)
    near = _tangent(reduce_moderate(x, rest=True))
    y = rarely(abs(x) > MODERATE[F64], _tangent(reduce_large(x)), near)
    return where(x == 0.0, x, y)


def _tangent(a: Reduced) -> Value:
    r, square = a.r, a.r * a.r
    s = r + fma(r * square, polynomial("sin", square), a.rest)
    c = fma(-r, a.rest, cosine_reduced(r))
    odd = (a.quadrant & 1) != 0
    return flip_sign(where(odd, c, s) / where(odd, s, c), a.quadrant, 0)


def atan(x: Value) -> Value:
    return copysign(atan_ratio(abs(x), cast(1.0, x.dtype)), x)


def atan_ratio(y: Value, x: Value) -> Value:
    """The angle of the point (x, y) in the first quadrant; neither both zero nor both infinite.

    atan(t) = atan(c) + atan((t - c) / (1 + t c)) for c = 0, 1, infinity, all as one division.
    """
    high, low = split(HALF_PI, x.dtype)
    middle = 2.0 * y > x
    steep = y > 2.0 * x
    t = where(steep, -x, where(middle, y - x, y)) / where(steep, y, where(middle, y + x, x))
    base = where(steep, high, where(middle, cast(high / 2, x.dtype), 0.0))
    rest = where(steep, low, where(middle, cast(low / 2, x.dtype), 0.0))
    square = t * t
    return base + (t + fma(t * square, polynomial("atan", square), rest))


def atan2(y: Value, x: Value) -> Value:
    # Quotients of what is denormal or about to overflow: bring the larger to a moderate size.
    a, b = abs(y), abs(x)
    form = FORMATS[x.dtype]
    large = (a > form.huge / 4) | (b > form.huge / 4)
    small = (a < form.tiny * 2.0**form.mantissa) & (b < form.tiny * 2.0**form.mantissa)
    scale = where(large, 0.125, where(small, cast(2.0 ** (2 * form.mantissa), x.dtype), 1.0))
    same = a == b  # zeros and infinities among them
    angle = atan_ratio(where(same, 1.0, a * scale), where(same, 1.0, b * scale))
    angle = where(same & (a == 0.0), 0.0, angle)
    pi_high, pi_low = split(PI, x.dtype)
    negative = bits(x) < 0
    angle = where(negative, pi_high - (angle - pi_low), angle)
    nan = (x != x) | (y != y)
    return where(nan, x + y, copysign(angle, y))


def asin(x: Value) -> Value:
    outer, root, tail = _arc(abs(x))
    high, low = split(HALF_PI, x.dtype)
    s, rest = fast_two_sum(cast(high, x.dtype), -2.0 * root)
    return copysign(where(outer, s - fma(2.0, tail, -(rest + low)), root + tail), x)


def acos(x: Value) -> Value:
    outer, root, tail = _arc(abs(x))
    high, low = split(HALF_PI, x.dtype)
    inner = high - (copysign(root, x) - (low - copysign(tail, x)))
    y = 2.0 * (root + tail)
    return where(outer, where(x < 0.0, 2.0 * high - (y - 2.0 * low), y), inner)


def _arc(a: Value) -> tuple[Value, Value, Value]:
    """(a > 1/2, root, tail): root + tail is asin(a), or from 1/2 on half of acos(a)."""
    outer = a > 0.5
    square = where(outer, fma(-0.5, a, 0.5), a * a)
    root = where(outer, sqrt(square), a)
    return outer, root, root * square * polynomial("asin", square)
