// Keys for any x86-64 or 64-bit ARM.
#include <type_traits>
#include <utility>

#include "cpu/elements.h"
#include "cpu/order.h"

#pragma GCC optimize("O3")

namespace taimatsu {
namespace order_baseline {
#include "cpu/order_kernel.inc"
}  // namespace order_baseline
}  // namespace taimatsu
