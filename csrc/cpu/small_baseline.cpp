// Factorisations of small matrices for any x86-64 or 64-bit ARM.
#include "cpu/small.h"

#if defined(__aarch64__)
#include <arm_neon.h>
#endif

#pragma GCC optimize("O3", "cx-fortran-rules")  // no search for infinities

#define TM_VECTOR_BYTES 16
namespace taimatsu {
namespace small_baseline {
#include "cpu/small_kernel.inc"
}  // namespace small_baseline
}  // namespace taimatsu
