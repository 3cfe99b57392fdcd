"""What the lowered functions share: devices of floating-point arithmetic, on `lang.Value`s."""

from __future__ import annotations

import struct
import typing
from collections.abc import Sequence

from .coefficients import POLYNOMIALS
from .ir import F32, F64, I32, I64, DType, Expr
from .lang import Value, bitcast, cast, fma
from .simplify import node


class Format(typing.NamedTuple):
    """What the formulas need to know of a floating-point format."""

    mantissa: int  # stored bits
    bias: int
    magic: float  # adding it rounds to an integer, which is then in the low bits of the sum
    tiny: float  # the smallest normal number
    huge: float  # the largest finite number
    overflow: float  # exp of more is infinite
    word: DType  # the integer of the same width

    @property
    def epsilon(self) -> float:
        """The distance from 1 to the next number."""
        return 2.0**-self.mantissa


FORMATS = {
    F32: Format(23, 127, 1.5 * 2.0**23, 2.0**-126, 2.0**128 - 2.0**104, 89.0, I32),
    F64: Format(52, 1023, 1.5 * 2.0**52, 2.0**-1022, (2.0 - 2.0**-52) * 2.0**1023, 710.0, I64),
}


def bits(x: Value) -> Value:
    """The representation of a float as a signed integer."""
    return bitcast(x, FORMATS[x.dtype].word)


def from_bits(word: Value) -> Value:
    return bitcast(word, F32 if word.dtype.bits == 32 else F64)


def representation(value: float, dtype: DType) -> int:
    """The bits of a positive constant."""
    code, word = ("<f", "<i") if dtype is F32 else ("<d", "<q")
    return struct.unpack(word, struct.pack(code, value))[0]


def power_of_two(n: Value) -> Value:
    """2**n for an integral n for which that is a normal number."""
    form = FORMATS[n.dtype]
    return from_bits(bits(n + (form.magic + form.bias)) << form.mantissa)


def flip_sign(x: Value, word: Value, bit: int) -> Value:
    """x, negated where `word` has the bit of value 2**bit."""
    top = x.dtype.bits - 1
    sign = (word << (top - bit)) & (-1 << top)
    return from_bits(bits(x) ^ sign)


def at_most(limit: float, x: Value) -> Value:
    """limit < x ? limit : x; a nan stays, as it does not in the plain minimum turned round."""
    return Value(node("min", *_operands(limit, x)))


def at_least(limit: float, x: Value) -> Value:
    return Value(node("max", *_operands(limit, x)))


def _operands(limit: float, x: Value) -> tuple[Expr, Expr]:
    return cast(limit, x.dtype).expr, x.expr


def rarely(cond: Value, a: Value, b: Value) -> Value:
    """`where(cond, a, b)` for a condition that almost never holds: `a` may be branched around."""
    return Value(Expr("where", (cond.expr, a.expr, b.expr), "rarely", a.dtype))


def table(values: Sequence[float], index: Value) -> Value:
    """values[index], f64 constants; the index has to be inside."""
    return Value(Expr("table", (index.expr,), tuple(values), F64))


def coefficients(name: str, dtype: DType) -> tuple[float, ...]:
    return POLYNOMIALS[f"{name}_{dtype}"]


def polynomial(name: str, x: Value) -> Value:
    """The fitted polynomial `name` for x's dtype."""
    return horner(coefficients(name, x.dtype), x)


def horner(terms: Sequence[float], x: Value) -> Value:
    """The polynomial with these coefficients, the constant term first."""
    *rest, last = terms
    p = cast(last, x.dtype)
    for c in reversed(rest):
        p = fma(p, x, c)
    return p


# Unevaluated sums of two: twice the precision.

Constant = Sequence[float]  # (nearest f64, rest)


def split(constant: Constant, dtype: DType, parts: int = 2) -> list[float]:
    """A constant as a sum of `parts` numbers of `dtype`, the largest first."""
    from fractions import Fraction  # not by `import taimatsu`: it brings decimal numbers

    rest, result = sum(map(Fraction, constant)), []
    for _ in range(parts):
        part = float(rest)
        if dtype is F32:
            part = struct.unpack("f", struct.pack("f", part))[0]
        result.append(part)
        rest -= Fraction(part)
    return result


def two_sum(a: Value, b: Value) -> tuple[Value, Value]:
    """a + b exactly, as (rounded, error)."""
    s = a + b
    t = s - a
    return s, (a - (s - t)) + (b - t)


def fast_two_sum(a: Value, b: Value) -> tuple[Value, Value]:
    """a + b exactly where |a| >= |b| or a is zero, as (rounded, error)."""
    s = a + b
    return s, b - (s - a)


def two_product(a: Value, b: Value | float) -> tuple[Value, Value]:
    """a * b exactly, as (rounded, error)."""
    p = a * b
    return p, fma(a, b, -p)
