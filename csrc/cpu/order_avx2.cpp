// Keys for AVX2.
#include <type_traits>
#include <utility>

#include "cpu/elements.h"
#include "cpu/order.h"

#if defined(__x86_64__)
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2"))), apply_to = function)
#else
#pragma GCC target("avx2")
#endif
#pragma GCC optimize("O3")

namespace taimatsu {
namespace order_avx2 {
#include "cpu/order_kernel.inc"
}  // namespace order_avx2
}  // namespace taimatsu

#if defined(__clang__)
#pragma clang attribute pop
#endif
#endif
