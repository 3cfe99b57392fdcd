"""Complex arithmetic and elementary functions, as formulas on real and imaginary parts.

The inverse functions are Kahan's ("Branch cuts for complex elementary functions", 1987): right on
both sides of the cuts, told apart by the sign of zero.
"""

from __future__ import annotations

import math

from . import elementary as real
from .elementary import LN2, LOG2_E, LOG10_E, hypot, log1p
from .floats import FORMATS, at_least, bits
from .lang import Value, cast, copysign, fma, imag, make_complex, sqrt, where
from .lang import real as re
from .trigonometric import atan2, cos, sin, tan


def _parts(z: Value) -> tuple[Value, Value]:
    return re(z), imag(z)


def _scale(z: Value, c: float) -> Value:
    return make_complex(re(z) * c, imag(z) * c)


def _times_i(z: Value) -> Value:
    return make_complex(-imag(z), re(z))


def _over_i(z: Value) -> Value:
    return make_complex(imag(z), -re(z))


def mul(z: Value, w: Value) -> Value:
    (a, b), (c, d) = _parts(z), _parts(w)
    return make_complex(a * c - b * d, a * d + b * c)


def div(z: Value, w: Value) -> Value:
    """Smith's method: by the larger part of the divisor, so that no square overflows."""
    (a, b), (c, d) = _parts(z), _parts(w)
    swap = abs(d) > abs(c)
    large, small = where(swap, d, c), where(swap, c, d)
    first, second = where(swap, b, a), where(swap, a, b)
    ratio = where(large == 0.0, small, small / large)
    divisor = fma(small, ratio, large)
    x = fma(second, ratio, first) / divisor
    y = fma(-first, ratio, second) / divisor
    return make_complex(x, where(swap, -y, y))


def absolute(z: Value) -> Value:
    return hypot(*_parts(z))


def exp(z: Value) -> Value:
    x, y = _parts(z)
    size = real.exp(x)
    # What C99 says where the angle is not finite, and that no angle makes no imaginary part.
    finite = abs(y) < math.inf
    a = where(finite, size * cos(y), where(x == math.inf, x, where(x == -math.inf, 0.0, y - y)))
    b = where(finite, size * sin(y), where(x == -math.inf, 0.0, y - y))
    return make_complex(where(y == 0.0, size, a), where(y == 0.0, y, b))


def exp2(z: Value) -> Value:
    return exp(_scale(z, LN2[0]))


def expm1(z: Value) -> Value:
    x, y = _parts(z)
    half = sin(0.5 * y)
    a = real.expm1(x) * cos(y) - 2.0 * half * half
    return make_complex(where(y == 0.0, real.expm1(x), a), imag(exp(z)))


def log(z: Value) -> Value:
    x, y = _parts(z)
    a, b = abs(x), abs(y)
    large, small = where(a > b, a, b), where(a > b, b, a)
    # Near the unit circle |z|**2 - 1 is what counts, without rounding |z|.
    near = 0.5 * log1p(fma(large - 1.0, large + 1.0, small * small))
    use = (large > 0.7) & (large < 1.5)
    return make_complex(where(use, near, real.log(hypot(x, y))), atan2(y, x))


def log2(z: Value) -> Value:
    return _scale(log(z), LOG2_E[0])


def log10(z: Value) -> Value:
    return _scale(log(z), LOG10_E[0])


def log_1p(z: Value) -> Value:
    x, y = _parts(z)
    near = 0.5 * log1p(fma(x, x + 2.0, y * y))
    far = real.log(hypot(1.0 + x, y))
    small = (abs(x) < 0.5) & (abs(y) < 0.5)
    return make_complex(where(small, near, far), atan2(y, 1.0 + x))


def square_root(z: Value) -> Value:
    x, y = _parts(z)
    form = FORMATS[x.dtype]
    a, b = abs(x), abs(y)
    # |z| + |x| must neither overflow nor lose the last bits of subnormals.
    large = (a > form.huge / 4) | (b > form.huge / 4)
    tiny = (a < form.tiny * 4) & (b < form.tiny * 4)
    up = 2.0 ** (form.mantissa + 1 + form.mantissa % 2)
    inward = where(large, cast(0.25, x.dtype), where(tiny, cast(up, x.dtype), 1.0))
    outward = where(large, cast(2.0, x.dtype), where(tiny, cast(up**-0.5, x.dtype), 1.0))
    a, b = a * inward, b * inward
    t = sqrt(0.5 * (a + hypot(a, b)))
    other = where(t == 0.0, t, 0.5 * b / t)
    t, other = (where(b == math.inf, b, v) for v in (t, other))
    t, other = t * outward, other * outward
    left = bits(x) < 0
    return make_complex(where(left, other, t), copysign(where(left, t, other), y))


def reciprocal_root(z: Value) -> Value:
    return div(make_complex(cast(1.0, re(z).dtype), 0.0), square_root(z))


def sinh(z: Value) -> Value:
    x, y = _parts(z)
    # What is zero stays so, even times infinity or nan.
    a = where((x == 0.0) & (y - y != 0.0), x, real.sinh(x) * cos(y))
    return make_complex(a, where(y == 0.0, y, real.cosh(x) * sin(y)))


def cosh(z: Value) -> Value:
    x, y = _parts(z)
    zero = 0.0 * copysign(1.0, x) * copysign(1.0, y)
    exact = (y == 0.0) | ((x == 0.0) & (y - y != 0.0))
    return make_complex(real.cosh(x) * cos(y), where(exact, zero, real.sinh(x) * sin(y)))


def tanh(z: Value) -> Value:
    x, y = _parts(z)
    t, s = tan(y), real.sinh(at_least(-25.0, -at_least(-25.0, -x)))
    beta = fma(t, t, 1.0)
    divisor = fma(beta, s * s, 1.0)
    a, b = beta * sqrt(fma(s, s, 1.0)) * s / divisor, t / divisor
    far = abs(x) > 22.0
    b_far = 4.0 * sin(y) * cos(y) * real.exp(-2.0 * abs(x))
    # At a quarter turn the tangent overflows only in the quotient's two parts alike.
    return make_complex(where(far, copysign(1.0, x), a), where(far, b_far, b))


def sin_complex(z: Value) -> Value:
    return _over_i(sinh(_times_i(z)))


def cos_complex(z: Value) -> Value:
    return cosh(_times_i(z))


def tan_complex(z: Value) -> Value:
    return _over_i(tanh(_times_i(z)))


def _roots(z: Value) -> tuple[Value, Value]:
    """sqrt(1 - z) and sqrt(1 + z)"""
    x, y = _parts(z)
    return square_root(make_complex(1.0 - x, -y)), square_root(make_complex(1.0 + x, y))


def _unless_infinite(z: Value, w: Value, angle: Value, size: Value) -> Value:
    """`w`, or angle + i size where a part of z is infinite."""
    infinite = (abs(re(z)) == math.inf) | (abs(imag(z)) == math.inf)
    return make_complex(where(infinite, angle, re(w)), where(infinite, size, imag(w)))


def asin(z: Value) -> Value:
    x, y = _parts(z)
    (a, b), (c, d) = map(_parts, _roots(z))
    w = make_complex(atan2(x, a * c - b * d), real.asinh(a * d - b * c))
    return _unless_infinite(z, w, atan2(x, abs(y)), copysign(math.inf, y))


def acos(z: Value) -> Value:
    x, y = _parts(z)
    (a, b), (c, d) = map(_parts, _roots(z))
    w = make_complex(2.0 * atan2(a, c), real.asinh(c * b - d * a))
    return _unless_infinite(z, w, atan2(abs(y), x), -copysign(math.inf, y))


def acosh(z: Value) -> Value:
    x, y = _parts(z)
    a, b = _parts(square_root(make_complex(x - 1.0, y)))
    c, d = _parts(square_root(make_complex(x + 1.0, y)))
    w = make_complex(real.asinh(a * c + b * d), 2.0 * atan2(b, c))
    return _unless_infinite(z, w, abs(x) + abs(y), atan2(y, x))


def asinh(z: Value) -> Value:
    return _over_i(asin(_times_i(z)))


def atanh(z: Value) -> Value:
    x, y = _parts(z)
    size = abs(x)
    gap = 1.0 - size
    a = 0.25 * log1p(4.0 * size / fma(gap, gap, y * y))
    b = 0.5 * atan2(2.0 * y, fma(gap, 1.0 + size, -(y * y)))
    # Far out the squares overflow: 1 / z and a quarter turn are what is left.
    far = (size > FORMATS[x.dtype].huge ** 0.25) | (abs(y) > FORMATS[x.dtype].huge ** 0.25)
    w = div(make_complex(cast(1.0, x.dtype), 0.0), make_complex(size, y))
    b = where(far, copysign(math.pi / 2, y), b)
    return make_complex(copysign(where(far, re(w), a), x), b)


def atan(z: Value) -> Value:
    return _over_i(atanh(_times_i(z)))


def power(z: Value, w: Value) -> Value:
    y = exp(mul(w, log(z)))
    at_zero = (re(z) == 0.0) & (imag(z) == 0.0)
    one = (re(w) == 0.0) & (imag(w) == 0.0)
    vanishes = at_zero & (re(w) > 0.0)
    a = where(one, 1.0, where(vanishes, 0.0, re(y)))
    return make_complex(a, where(one | vanishes, 0.0, imag(y)))


FORMULAS = {
    "mul": mul, "div": div, "abs": absolute, "exp": exp, "exp2": exp2, "expm1": expm1,
    "log": log, "log2": log2, "log10": log10, "log1p": log_1p, "sqrt": square_root,
    "rsqrt": reciprocal_root, "sinh": sinh, "cosh": cosh, "tanh": tanh, "sin": sin_complex,
    "cos": cos_complex, "tan": tan_complex, "asin": asin, "acos": acos, "atan": atan,
    "asinh": asinh, "acosh": acosh, "atanh": atanh, "pow": power,
}  # fmt: skip
