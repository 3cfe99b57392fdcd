// Factorisations of small matrices for AVX2.
#include "cpu/small.h"

#if defined(__x86_64__)
#include <immintrin.h>

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#else
#pragma GCC target("avx2,fma")
#endif
#pragma GCC optimize("O3", "cx-fortran-rules")  // no search for infinities

#define TM_VECTOR_BYTES 32
namespace taimatsu {
namespace small_avx2 {
#include "cpu/small_kernel.inc"
}  // namespace small_avx2
}  // namespace taimatsu

#if defined(__clang__)
#pragma clang attribute pop
#endif
#endif
