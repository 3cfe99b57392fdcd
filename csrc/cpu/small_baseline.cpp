// Factorisations of small matrices for any x86-64 or 64-bit ARM.
#include "cpu/small.h"

#pragma GCC optimize("O3")

namespace taimatsu {
namespace small_baseline {
#include "cpu/small_kernel.inc"
}  // namespace small_baseline
}  // namespace taimatsu
