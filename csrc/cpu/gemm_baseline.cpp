// The kernels of matrix products in vectors of 16 bytes, which every x86-64 and 64-bit ARM has.
#include "cpu/gemm_routine.h"

#if defined(__aarch64__)
#include <arm_neon.h>
#endif

#pragma GCC optimize("O3")

#define TM_VECTOR_BYTES 16
#define TM_TILE_ROWS 6
namespace taimatsu {
namespace gemm_baseline {
#include "cpu/gemm_kernel.inc"
}  // namespace gemm_baseline
}  // namespace taimatsu
