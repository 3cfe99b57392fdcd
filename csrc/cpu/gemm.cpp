// Which kernel, and how the threads share the result. The kernels are in gemm_kernel.inc, compiled
// once for each instruction set by gemm_baseline.cpp, gemm_avx2.cpp and gemm_avx512.cpp.
#include "cpu/gemm.h"

#include <algorithm>

#include "cpu/gemm_routine.h"
#include "cpu/threads.h"

namespace taimatsu {
namespace {

RoutineFor best_for_this_machine() {
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx512f")) return gemm_avx512::routine_for;
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
    return gemm_avx2::routine_for;
#endif
  return gemm_baseline::routine_for;
}
const RoutineFor routine_for = best_for_this_machine();

constexpr double kWorkPerThread = 1 << 19;  // multiplications that are worth waking a thread

// sum + x * y; of complex numbers without a second thought for infinities, as in the kernels.
template <class T>
T plus_product(T sum, T x, T y) {
  return sum + x * y;
}
template <class R>
std::complex<R> plus_product(std::complex<R> sum, std::complex<R> x, std::complex<R> y) {
  return {sum.real() + (x.real() * y.real() - x.imag() * y.imag()),
          sum.imag() + (x.real() * y.imag() + x.imag() * y.real())};
}

// A few numbers: setting up tiles would take longer than the product. N columns.
template <class T, int N>
void few(const Product& p, int64_t index) {
  auto start = [&](const Matrix& m, const std::vector<int64_t>& at) {
    T* data = static_cast<T*>(m.data);
    return data && !at.empty() ? data + at[index] : data;
  };
  const T *a = start(p.a, p.a_at), *b = start(p.b, p.b_at), *add = start(p.add, p.add_at);
  T* out = start(p.out, p.out_at);
  for (int64_t i = 0; i < p.m; ++i) {
    T sums[N] = {};
    for (int64_t q = 0; q < p.k; ++q) {
      const T x = a[i * p.a.row + q * p.a.col];
      for (int j = 0; j < N; ++j) {
        sums[j] = plus_product(sums[j], x, b[q * p.b.row + j * p.b.col]);
      }
    }
    for (int j = 0; j < N; ++j) {
      if (add) sums[j] += add[i * p.add.row + j * p.add.col];
      out[i * p.out.row + j * p.out.col] = sums[j];
    }
  }
}
template <class T>
void few_of_each(const Product& p) {
  constexpr void (*by_columns[])(const Product&, int64_t) = {few<T, 1>, few<T, 2>, few<T, 3>,
                                                             few<T, 4>};
  const auto run = by_columns[p.n - 1];
  if (p.batch == 1) return run(p, 0);
  parallel_for(p.batch, 4096, 1, [&](int64_t i, int64_t end) {
    for (; i < end; ++i) run(p, i);
  });
}
bool only_few(const Product& p) {
  if (p.n > 4 || p.m * p.n * p.k > 128) return false;
  if (p.alpha.as_complex() != 1.0 || (p.add.data && p.beta.as_complex() != 1.0)) return false;
  switch (p.dtype) {
    case DType::F32: return few_of_each<float>(p), true;
    case DType::F64: return few_of_each<double>(p), true;
    case DType::C64: return few_of_each<std::complex<float>>(p), true;
    case DType::C128: return few_of_each<std::complex<double>>(p), true;
    default: return false;
  }
}

// k = 0: there is nothing to sum.
void only_add(Product p) {
  char zero[16] = {};
  p.a = p.b = {zero, 0, 0};  // 0 * 0, once
  p.packed_b = {};
  p.k = 1;
  p.a_at.clear();
  p.b_at.clear();
  multiply(p);
}

}  // namespace

int64_t panel_columns(DType dtype) { return routine_for(dtype).cols; }

int64_t packed_bytes(DType dtype, int64_t k, int64_t n) {
  const Routine& routine = routine_for(dtype);
  return round_up(n, routine.cols) * k * routine.bytes;
}

PackedColumns pack_columns(DType dtype, const Matrix& b, int64_t k, int64_t n, void* to) {
  const Routine& routine = routine_for(dtype);
  const int64_t columns = round_up(n, routine.cols);
  routine.pack(b, k, 0, n, columns, to);
  return {to, columns, k, 0};
}

PackedMatrix::PackedMatrix(DType dtype, const Matrix& b, int64_t k, int64_t n) : rows_(k) {
  const Routine& routine = routine_for(dtype);
  columns_ = round_up(n, routine.cols);
  memory_ = new_storage(columns_ * k * routine.bytes);
  parallel_for(
      n, std::max<int64_t>(1, (1 << 15) / (k + 1)), routine.cols,
      [&](int64_t begin, int64_t end) { routine.pack(b, k, begin, end, columns_, memory_->data); });
}

namespace {
Multiply& multiplier_on(DeviceType type) {
  static std::unordered_map<DeviceType, Multiply> all;
  return all[type];
}
}  // namespace
void register_multiplier(DeviceType type, Multiply multiply) { multiplier_on(type) = multiply; }

void multiply(const Product& p) {
  if (p.device.type != DeviceType::CPU) return multiplier_on(p.device.type)(p);
  if (p.m == 0 || p.n == 0 || p.batch == 0) return;
  if (p.k == 0) return only_add(p);
  if (!p.packed_b.data && only_few(p)) return;
  if (!p.packed_b.data && p.n == 1 &&
      p.m > 1) {  // a matrix times a column: the transposed problem is one row
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
  const int threads =
      work < 2 * kWorkPerThread
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
