// The kernels of depthwise convolutions for AVX2.
#include "cpu/depthwise_routine.h"

#if defined(__x86_64__)
#include <immintrin.h>

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#else
#pragma GCC target("avx2,fma")
#endif
#pragma GCC optimize("O3")

#define TM_VECTOR_BYTES 32
namespace taimatsu {
namespace depthwise_avx2 {
#include "cpu/depthwise_kernel.inc"
}  // namespace depthwise_avx2
}  // namespace taimatsu

#if defined(__clang__)
#pragma clang attribute pop
#endif
#endif
