// The kernels of matrix products for AVX2.
#include "cpu/gemm_routine.h"

#if defined(__x86_64__)
#include <immintrin.h>

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#else
#pragma GCC target("avx2,fma")
#endif
#pragma GCC optimize("O3")

#define TM_VECTOR_BYTES 32
#define TM_TILE_ROWS 6
namespace taimatsu {
namespace gemm_avx2 {
#include "cpu/gemm_kernel.inc"
}  // namespace gemm_avx2
}  // namespace taimatsu

#if defined(__clang__)
#pragma clang attribute pop
#endif
#endif
