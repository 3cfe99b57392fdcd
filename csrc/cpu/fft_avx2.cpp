// The kernels of Fourier transforms for AVX2, which machines with AVX-512 take too: transposing
// costs more in longer vectors than they gain.
#include "cpu/fft_routine.h"

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
namespace fft {
namespace avx2 {
#include "cpu/fft_kernel.inc"
}  // namespace avx2
}  // namespace fft
}  // namespace taimatsu

#if defined(__clang__)
#pragma clang attribute pop
#endif
#endif
