// 8-bit floats as bits: conversion to and from float. The formats are those of the OCP (e4m3fn,
// e5m2), their variants without negative zero (fnuz), and a bare exponent, the scale of the OCP's
// MX formats (e8m0fnu). `codegen/narrow.py` says the same as formulas, for whole tensors.
#pragma once

#include "tensor/dtype.h"
#include "tensor/half.h"

namespace taimatsu {

struct Float8 {
  int mantissa;     // stored bits
  int bias;         // of the exponent
  uint8_t largest;  // the code of the largest finite number
  enum Overflow : uint8_t { Saturate, Infinity, NotANumber } overflow;
  bool unsigned_zero;  // the code of -0 is NaN, the only one

  bool has_sign() const { return mantissa > 0; }
};
const Float8& float8_format(DType t);  // of one for which is_float8

inline float float8_to_float(const Float8& f, uint8_t code) {
  const float nan = bits_float(0x7fc00000);
  if (!f.has_sign()) return code == 0xff ? nan : bits_float(code ? uint32_t{code} << 23 : 1u << 22);
  if (f.unsigned_zero && code == 0x80) return nan;
  const uint32_t sign = uint32_t{code & 0x80u} << 24, rest = code & 0x7fu;
  if (rest > f.largest) {
    const bool infinite = f.overflow == Float8::Infinity && rest == f.largest + 1u;
    return bits_float(sign | (infinite ? 0x7f800000 : 0x7fc00000));
  }
  const float scale = bits_float(static_cast<uint32_t>(254 - f.bias) << 23);  // 2^(127 - bias)
  return bits_float(sign | float_bits(bits_float(rest << (23 - f.mantissa)) * scale));
}

// Rounded to nearest even.
inline uint8_t float_to_float8(const Float8& f, float value) {
  const uint32_t bits = float_bits(value), rest = bits & 0x7fffffff;
  if (!f.has_sign()) {  // the sign is dropped, a tie rounds up
    const uint32_t exponent = rest >> 23, half = 1u << 22;
    const bool up = (rest & 0x7fffff) >= half + (exponent == 0);
    return static_cast<uint8_t>(exponent == 255 ? 255 : exponent + up);
  }
  const uint32_t sign = f.unsigned_zero ? 0x80 : bits >> 24 & 0x80;
  const uint32_t nan = f.unsigned_zero ? 0x80 : 0x7f;
  if (rest > 0x7f800000) return static_cast<uint8_t>((f.unsigned_zero ? 0 : sign) | nan);
  const int shift = 23 - f.mantissa;
  const uint32_t smallest = static_cast<uint32_t>(128 - f.bias) << 23;  // normal number
  uint32_t code;
  if (rest < smallest) {  // the addition rounds at the last place of subnormals
    const uint32_t magic = static_cast<uint32_t>(128 - f.bias + shift) << 23;
    code = float_bits(bits_float(rest) + bits_float(magic)) - magic;
  } else {
    const uint32_t odd = rest >> shift & 1;
    code = ((rest + (1u << (shift - 1)) - 1 + odd) >> shift) -
           (static_cast<uint32_t>(127 - f.bias) << f.mantissa);
  }
  if (code > f.largest) {
    if (f.overflow == Float8::NotANumber) return 0x80;
    code = f.overflow == Float8::Infinity ? f.largest + 1u : f.largest;
  }
  if (f.unsigned_zero) return static_cast<uint8_t>(code ? code | (bits >> 24 & 0x80) : 0);
  return static_cast<uint8_t>(sign | code);
}

}  // namespace taimatsu
