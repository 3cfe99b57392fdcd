/* Elements of cudaDataType_t, read and written in double precision. */
#pragma once

#include <complex.h>
#include <math.h>

#include "double.h"

typedef double complex number;

enum {
  R_32F = 0,
  R_64F = 1,
  R_16F = 2,
  R_8I = 3,
  C_32F = 4,
  C_64F = 5,
  R_32I = 10,
  R_16BF = 14,
  R_8F_E4M3 = 28,
  R_8F_E5M2 = 29
};

static inline size_t size_of(int type) {
  switch (type) {
    case R_8I:
    case R_8F_E4M3:
    case R_8F_E5M2: return 1;
    case R_16F:
    case R_16BF: return 2;
    case R_32F:
    case R_32I: return 4;
    case R_64F:
    case C_32F: return 8;
    case C_64F: return 16;
    default: return 0;
  }
}

/* A float of `exponent` and `mantissa` bits, which has no infinities where `finite`. */
static inline double narrow(unsigned bits, int exponent, int mantissa, int finite) {
  const int bias = (1 << (exponent - 1)) - 1, top = (1 << exponent) - 1;
  const double sign = bits >> (exponent + mantissa) & 1 ? -1 : 1;
  const int e = bits >> mantissa & top, m = bits & ((1 << mantissa) - 1);
  if (e == top && !finite) return m ? NAN : sign * INFINITY;
  if (e == top && finite && m == (1 << mantissa) - 1) return NAN;
  return sign * (e ? ldexp(1 + ldexp(m, -mantissa), e - bias) : ldexp(m, 1 - bias - mantissa));
}

static inline number get(const void* data, int type, int64_t i) {
  switch (type) {
    case R_32F: return ((const float*)data)[i];
    case R_64F: return ((const double*)data)[i];
    case R_16F: return (double)((const _Float16*)data)[i];
    case R_16BF: {
      uint32_t bits = (uint32_t)((const uint16_t*)data)[i] << 16;
      float f;
      memcpy(&f, &bits, 4);
      return f;
    }
    case C_32F: return ((const float complex*)data)[i];
    case C_64F: return ((const double complex*)data)[i];
    case R_8I: return ((const int8_t*)data)[i];
    case R_32I: return ((const int32_t*)data)[i];
    case R_8F_E4M3: return narrow(((const uint8_t*)data)[i], 4, 3, 1);
    default: return narrow(((const uint8_t*)data)[i], 5, 2, 0);
  }
}

static inline void put(void* data, int type, int64_t i, number x) {
  switch (type) {
    case R_32F: ((float*)data)[i] = (float)creal(x); break;
    case R_64F: ((double*)data)[i] = creal(x); break;
    case R_16F: ((_Float16*)data)[i] = (_Float16)creal(x); break;
    case R_16BF: {
      float f = (float)creal(x);
      uint32_t bits;
      memcpy(&bits, &f, 4);
      if (f == f) bits += 0x7fff + (bits >> 16 & 1);
      ((uint16_t*)data)[i] = (uint16_t)(bits >> 16);
      break;
    }
    case C_32F: ((float complex*)data)[i] = (float complex)x; break;
    case C_64F: ((double complex*)data)[i] = x; break;
    case R_32I: ((int32_t*)data)[i] = (int32_t)creal(x); break;
    default: violation("a result of type %d is not written here", type);
  }
}
