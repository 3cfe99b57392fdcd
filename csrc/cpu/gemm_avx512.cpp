// The kernels of matrix products for AVX-512.
#include "cpu/gemm_routine.h"

#if defined(__x86_64__)
#include <immintrin.h>

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx512f,fma"))), apply_to = function)
#else
#pragma GCC target("avx512f,fma")
#endif
#pragma GCC optimize("O3")

#define TM_VECTOR_BYTES 64
#define TM_TILE_ROWS 12
namespace taimatsu {
namespace gemm_avx512 {
#include "cpu/gemm_kernel.inc"
}  // namespace gemm_avx512
}  // namespace taimatsu

#if defined(__clang__)
#pragma clang attribute pop
#endif
#endif
