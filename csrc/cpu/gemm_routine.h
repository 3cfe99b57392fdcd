// What the kernels of matrix products (gemm_kernel.inc) share, and how gemm.cpp knows them.
#pragma once

#include <algorithm>
#include <complex>
#include <type_traits>

#include "cpu/elements.h"
#include "cpu/gemm.h"
#include "cpu/workspace.h"

namespace taimatsu {

struct Routine {
  void (*run)(const Product& p, int64_t index, int64_t m0, int64_t m1, int64_t n0, int64_t n1);
  // Columns [n0, n1) of a right operand to where PackedColumns has them; n0 starts a panel.
  void (*pack)(const Matrix& b, int64_t k, int64_t n0, int64_t n1, int64_t columns, void* to);
  int rows, cols;  // of a tile
  int bytes;       // of a packed element
};
using RoutineFor = const Routine& (*)(DType);

namespace gemm_baseline {
const Routine& routine_for(DType t);
}
namespace gemm_avx2 {
const Routine& routine_for(DType t);
}
namespace gemm_avx512 {
const Routine& routine_for(DType t);
}

// ---- For the kernels. In each file they are other functions: other instructions ----------------
namespace {

template <class Stored_, class Computed_>
struct Real {
  using Stored = Stored_;
  using Computed = Computed_;
  static constexpr bool complex = false;
};
template <class R>
struct Complex {
  using Stored = std::complex<R>;
  using Computed = R;
  static constexpr bool complex = true;
};

// alpha and beta in the dtype of the sums.
template <class Element>
struct Scale {
  using T = typename Element::Stored;
  using A = typename Element::Computed;
  using F = std::conditional_t<Element::complex, T, A>;
  F alpha, beta;
  bool plain;  // both are 1
  explicit Scale(const Product& p) : alpha(as(p.alpha)), beta(as(p.beta)) {
    plain = alpha == F(1) && (!p.add.data || beta == F(1));
  }
  static F as(const Number& n) {
    if constexpr (Element::complex) {
      return F(n.as_complex());
    } else if constexpr (std::is_integral<A>::value) {
      return static_cast<A>(n.as_int());
    } else {
      return static_cast<A>(n.as_double());
    }
  }
  F product(const A* sum) const {
    if constexpr (Element::complex) {
      return plain ? T(sum[0], sum[1]) : alpha * T(sum[0], sum[1]);
    } else {
      return static_cast<F>(plain ? *sum : alpha * *sum);
    }
  }
  F sum(F value, T add) const { return static_cast<F>(value + beta * static_cast<F>(add)); }
};

}  // namespace
}  // namespace taimatsu
