// The kernels of depthwise convolutions for AVX-512.
#include "cpu/depthwise_routine.h"

#if defined(__x86_64__)
#include <immintrin.h>

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx512f,fma"))), apply_to = function)
#else
#pragma GCC target("avx512f,fma")
#endif
#pragma GCC optimize("O3")

#define TM_VECTOR_BYTES 64
namespace taimatsu {
namespace depthwise_avx512 {
#include "cpu/depthwise_kernel.inc"
}  // namespace depthwise_avx512
}  // namespace taimatsu

#if defined(__clang__)
#pragma clang attribute pop
#endif
#endif
