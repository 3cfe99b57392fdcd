// 16-bit floats as bits: conversion to and from float, rounding to nearest even.
#pragma once

#include <cstdint>
#include <cstring>

namespace taimatsu {

inline uint32_t float_bits(float f) {
  uint32_t u;
  std::memcpy(&u, &f, sizeof u);
  return u;
}
inline float bits_float(uint32_t u) {
  float f;
  std::memcpy(&f, &u, sizeof f);
  return f;
}

inline float bfloat16_to_float(uint16_t h) { return bits_float(uint32_t{h} << 16); }

inline uint16_t float_to_bfloat16(float f) {
  uint32_t u = float_bits(f);
  if (f != f) return 0x7fc0 | (u >> 16 & 0x8000);  // rounding could turn a NaN into infinity
  return static_cast<uint16_t>((u + 0x7fff + (u >> 16 & 1)) >> 16);
}

inline float float16_to_float(uint16_t h) {
  uint32_t sign = uint32_t{h & 0x8000u} << 16, rest = h & 0x7fffu;
  if (rest >= 0x7c00) return bits_float(sign | 0x7f800000 | (rest & 0x3ff) << 13);
  // The exponent field is off by 112; the product is exact, and normalises what is subnormal.
  return bits_float(sign | float_bits(bits_float(rest << 13) * 0x1p112f));
}

inline uint16_t float_to_float16(float f) {
  uint32_t u = float_bits(f), sign = u >> 16 & 0x8000;
  u &= 0x7fffffff;
  if (u > 0x7f800000) return sign | 0x7e00;   // NaN
  if (u >= 0x477ff000) return sign | 0x7c00;  // 65520 and above round to infinity
  if (u < 0x38800000) {                       // below 2^-14: the addition rounds at 2^-24
    return sign | static_cast<uint16_t>(float_bits(bits_float(u) + 0.5f) - 0x3f000000);
  }
  return sign | static_cast<uint16_t>((u - 0x38000000 + 0xfff + (u >> 13 & 1)) >> 13);
}

}  // namespace taimatsu
