"""Conversion of 8-bit floats, as formulas on their bits: they are for storage, and computed in f32.

The formats are those of the OCP (e4m3fn, e5m2), their variants without negative zero (fnuz), and a
bare exponent, the scale of the OCP's MX formats (e8m0fnu). `csrc/tensor/float8.h` says the same for
single elements.
"""

from __future__ import annotations

import typing

from .floats import from_bits
from .ir import F32, FLOAT8, I32, U8, DType
from .lang import Value, bitcast, cast, where

_REST = (1 << 31) - 1  # all but the sign
_INFINITY, _NAN = 0x7F800000, 0x7FC00000  # of f32


class Format(typing.NamedTuple):
    """What tells the formats apart."""

    mantissa: int  # stored bits
    bias: int
    largest: int  # the code of the largest finite number
    overflow: int  # the code of what is beyond: that number's, infinity's, or NaN's
    nan: int
    unsigned_zero: bool  # the code of -0 is NaN


_E4M3, _E5M2, _E4M3UZ, _E5M2UZ, _E8M0 = FLOAT8
FORMATS = {
    _E4M3: Format(3, 7, 0x7E, 0x7E, 0x7F, False),
    _E5M2: Format(2, 15, 0x7B, 0x7C, 0x7F, False),
    _E4M3UZ: Format(3, 8, 0x7F, 0x80, 0x80, True),
    _E5M2UZ: Format(2, 16, 0x7F, 0x80, 0x80, True),
}


def widened(x: Value) -> Value:
    """The f32 with the value of an 8-bit float, which is exact."""
    code = cast(bitcast(x, U8), I32)
    if x.dtype is _E8M0:
        bits = where(code == 0, 1 << 22, code << 23)
        return from_bits(where(code == 255, _NAN, bits))
    f = FORMATS[x.dtype]
    rest = code & 0x7F
    # The exponent field is off by the difference of the biases; the product is exact, and
    # normalises what is subnormal.
    size = bitcast(from_bits(rest << (23 - f.mantissa)) * 2.0 ** (127 - f.bias), I32)
    if f.unsigned_zero:
        return from_bits(where(code == 0x80, _NAN, size | (code & 0x80) << 24))
    # Above the largest are a NaN and, where there is one, infinity.
    special = cast(_NAN, I32)
    if f.overflow > f.largest:
        special = where(rest == f.overflow, _INFINITY, special)
    return from_bits(where(rest > f.largest, special, size) | (code & 0x80) << 24)


def narrowed(x: Value, dtype: DType) -> Value:
    """An f32 as an 8-bit float, rounded to nearest even."""
    bits = bitcast(x, I32)
    rest = bits & _REST
    if dtype is _E8M0:  # the sign is dropped, a tie rounds up
        exponent = rest >> 23
        half = where(exponent == 0, cast((1 << 22) + 1, I32), 1 << 22)
        up = where((rest & 0x7FFFFF) >= half, exponent + 1, exponent)
        return bitcast(cast(where(exponent == 255, 255, up), U8), dtype)
    f = FORMATS[dtype]
    shift = 23 - f.mantissa
    smallest = (128 - f.bias) << 23  # the smallest normal number; below, an addition rounds
    magic = (128 - f.bias + shift) << 23
    subnormal = bitcast(from_bits(rest) + 2.0 ** (1 - f.bias + shift), I32) - magic
    sign, odd = (bits >> 24) & 0x80, (rest >> shift) & 1
    normal = ((rest + ((1 << (shift - 1)) - 1) + odd) >> shift) - ((127 - f.bias) << f.mantissa)
    code = where(rest < smallest, subnormal, normal)
    if f.unsigned_zero:
        sign = where(code == 0, 0, sign)
    code = where(code > f.largest, f.overflow, code)
    code = where(rest > _INFINITY, f.nan, code) | sign
    return bitcast(cast(code, U8), dtype)


def converted(x: Value, dtype: DType) -> Value:
    """A cast from or to an 8-bit float."""
    if x.dtype in FLOAT8:
        return cast(widened(x), dtype)
    return narrowed(cast(x, F32), dtype)
