// Which kernel, and how the threads share the result. The kernels are in gemm_kernel.inc.
#include "cpu/gemm.h"

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <type_traits>

#include "cpu/elements.h"
#include "cpu/threads.h"

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

namespace taimatsu {
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
  // `sum`: of complex numbers the imaginary part lies `width` further.
  auto product(const A* sum, int width) const {
    if constexpr (Element::complex) {
      return plain ? T(sum[0], sum[width]) : alpha * T(sum[0], sum[width]);
    } else {
      return static_cast<T>(plain ? *sum : alpha * *sum);
    }
  }
  T sum(T value, T add) const { return static_cast<T>(static_cast<F>(value) + beta * static_cast<F>(add)); }
};

// Scratch memory of a thread, kept for its next product.
template <class A>
A* workspace(int64_t count) {
  struct Free {
    void operator()(void* p) const { std::free(p); }
  };
  thread_local std::unique_ptr<void, Free> memory;
  thread_local size_t size = 0;
  size_t bytes = (count * sizeof(A) + 4095) / 4096 * 4096;
  if (bytes > size) {
    memory.reset();
    size = 0;
    memory.reset(std::aligned_alloc(64, bytes));
    if (!memory) throw std::bad_alloc();
    size = bytes;
  }
  return static_cast<A*>(memory.get());
}

constexpr int64_t round_up(int64_t n, int64_t to) { return (n + to - 1) / to * to; }

struct Routine {
  void (*run)(const Product& p, int64_t index, int64_t m0, int64_t m1, int64_t n0, int64_t n1);
  int rows, cols;  // of a tile
};

#pragma GCC push_options
#pragma GCC optimize("O3")
namespace baseline {
#define TM_VECTOR_BYTES 16
#define TM_TILE_ROWS 6
#include "cpu/gemm_kernel.inc"
#undef TM_VECTOR_BYTES
#undef TM_TILE_ROWS
}  // namespace baseline
#if defined(__x86_64__)
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#else
#pragma GCC target("avx2,fma")
#endif
namespace avx2 {
#define TM_VECTOR_BYTES 32
#define TM_TILE_ROWS 6
#include "cpu/gemm_kernel.inc"
#undef TM_VECTOR_BYTES
#undef TM_TILE_ROWS
}  // namespace avx2
#if defined(__clang__)
#pragma clang attribute pop
#pragma clang attribute push(__attribute__((target("avx512f,fma"))), apply_to = function)
#else
#pragma GCC target("avx512f,fma")
#endif
namespace avx512 {
#define TM_VECTOR_BYTES 64
#define TM_TILE_ROWS 12
#include "cpu/gemm_kernel.inc"
#undef TM_VECTOR_BYTES
#undef TM_TILE_ROWS
}  // namespace avx512
#if defined(__clang__)
#pragma clang attribute pop
#endif
#endif
#pragma GCC pop_options

using RoutineFor = const Routine& (*)(DType);
RoutineFor best_for_this_machine() {
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx512f")) return avx512::routine_for;
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return avx2::routine_for;
#endif
  return baseline::routine_for;
}
const RoutineFor routine_for = best_for_this_machine();

constexpr double kWorkPerThread = 1 << 19;  // multiplications that are worth waking a thread

// k = 0: there is nothing to sum.
void only_add(Product p) {
  char zero[16] = {};
  p.a = p.b = {zero, 0, 0};  // 0 * 0, once
  p.k = 1;
  p.a_at.clear();
  p.b_at.clear();
  multiply(p);
}

}  // namespace

void multiply(const Product& p) {
  if (p.m == 0 || p.n == 0 || p.batch == 0) return;
  if (p.k == 0) return only_add(p);
  if (p.n == 1 && p.m > 1) {  // a matrix times a column: the transposed problem is one row
    Product t = p;
    std::swap(t.m, t.n);
    auto transposed = [](const Matrix& m) { return Matrix{m.data, m.col, m.row}; };
    t.a = transposed(p.b);
    t.b = transposed(p.a);
    t.out = transposed(p.out);
    t.add = transposed(p.add);
    std::swap(t.a_at, t.b_at);
    return multiply(t);
  }
  const Routine& routine = routine_for(p.dtype);
  const double work = static_cast<double>(p.m) * p.n * p.k * p.batch;
  const int threads = work < 2 * kWorkPerThread
                          ? 1
                          : static_cast<int>(std::min<double>(num_threads(), work / kWorkPerThread));
  if (threads == 1) {
    for (int64_t i = 0; i < p.batch; ++i) routine.run(p, i, 0, p.m, 0, p.n);
    return;
  }
  if (p.batch >= 2 * threads) {
    parallel_for(p.batch, 1, 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) routine.run(p, i, 0, p.m, 0, p.n);
    });
    return;
  }
  // A grid of blocks with the smallest largest block; among those the squarest.
  const int64_t row_tiles = (p.m + routine.rows - 1) / routine.rows;
  const int64_t col_tiles = (p.n + routine.cols - 1) / routine.cols;
  int64_t rows = p.m, cols = p.n;
  double best = 1e300;
  for (int64_t down = 1; down <= std::min<int64_t>(threads, row_tiles); ++down) {
    const int64_t across = std::min<int64_t>(threads / down, col_tiles);
    const int64_t r = (row_tiles + down - 1) / down * routine.rows;
    const int64_t c = (col_tiles + across - 1) / across * routine.cols;
    const double cost = static_cast<double>(r) * c + 8.0 * (r + c);  // 8: packing an element
    if (cost < best) {
      best = cost;
      rows = r;
      cols = c;
    }
  }
  const int64_t down = (p.m + rows - 1) / rows, across = (p.n + cols - 1) / cols;
  for (int64_t i = 0; i < p.batch; ++i) {
    auto block = [&](int64_t at) {
      const int64_t m0 = at / across * rows, n0 = at % across * cols;
      routine.run(p, i, m0, std::min(p.m, m0 + rows), n0, std::min(p.n, n0 + cols));
    };
    parallel_for(down * across, 1, 1, [&](int64_t begin, int64_t end) {
      for (int64_t at = begin; at < end; ++at) block(at);
    });
  }
}

}  // namespace taimatsu
