// The kernels of depthwise convolutions in vectors of 16 bytes, which every x86-64 and 64-bit ARM
// has.
#include "cpu/depthwise_routine.h"

#if defined(__aarch64__)
#include <arm_neon.h>
#endif

#pragma GCC optimize("O3")

#define TM_VECTOR_BYTES 16
namespace taimatsu {
namespace depthwise_baseline {
#include "cpu/depthwise_kernel.inc"
}  // namespace depthwise_baseline
}  // namespace taimatsu
