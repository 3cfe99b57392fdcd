// The matrices of a batch, as LAPACK's routines (cpu/lapack.h) take them, and the loop over them.
//
// Results that LAPACK makes in place are column-major tensors, so that only what goes in is copied.
#pragma once

#include <cstring>

#include "cpu/elements.h"
#include "cpu/lapack.h"
#include "cpu/native.h"
#include "cpu/small.h"
#include "cpu/threads.h"

namespace taimatsu {

template <class F>
void with_lapack_type(DType t, const F& body) {
  switch (t) {
    case DType::F32: return body(TypeTag<float>{});
    case DType::F64: return body(TypeTag<double>{});
    case DType::C64: return body(TypeTag<complex64>{});
    case DType::C128: return body(TypeTag<complex128>{});
    case DType::F16:
    case DType::BF16: fail(Error::NotImplemented, "not implemented for '", info(t).legacy, "'");
    default:
      fail(Error::Runtime, "Expected a floating point or complex tensor as input. Got ",
           info(t).legacy);
  }
}

inline int rows(const Tensor& t) { return static_cast<int>(t.layout->size(t.ndim() - 2)); }
inline int cols(const Tensor& t) { return static_cast<int>(t.layout->size(t.ndim() - 1)); }

// Multiplications to factor one matrix, about.
inline double cube(const Tensor& t) {
  const double m = rows(t), n = cols(t);
  return m * n * std::min(m, n);
}

void check_matrix(const Tensor& t, bool square, const char* name = "A");
// Of equations a x = b: one dtype, one batch, one number of rows.
void check_pair(const Tensor& a, const Tensor& b);
// Row exchanges as getrf and sytrf give them: int32, one for each of `n` rows of `t`'s matrices.
void check_pivots(const Tensor& pivots, const Tensor& t, int64_t n);

// A further output for each matrix of the first argument; of matrices, column by column.
void push(Call& c, std::initializer_list<int64_t> last, DType dtype);
void push_columns(Call& c, int64_t m, int64_t n, DType dtype);

template <class T>
struct Matrices {
  T* data;
  std::vector<int64_t> at;  // where each starts
  int64_t row, col, m, n;

  explicit Matrices(const Tensor& t) : data(t.as<T>()) {
    const Layout& l = *t.layout;
    row = l.stride(l.ndim - 2), col = l.stride(l.ndim - 1);
    m = l.size(l.ndim - 2), n = l.size(l.ndim - 1);
    at.push_back(0);
    std::vector<int64_t> next;
    for (int d = 0; d < l.ndim - 2; ++d) {
      next.clear();
      next.reserve(at.size() * static_cast<size_t>(l.size(d)));
      for (int64_t base : at) {
        for (int64_t i = 0; i < l.size(d); ++i) next.push_back(base + i * l.stride(d));
      }
      at.swap(next);
    }
  }
  int64_t size() const { return static_cast<int64_t>(at.size()); }
  T* operator[](int64_t index) const { return data + at[index]; }
  Matrices transposed() const {
    Matrices t = *this;
    std::swap(t.row, t.col);
    std::swap(t.m, t.n);
    return t;
  }
  // Copies one into columns `height` apart.
  void read(int64_t index, T* to, int64_t height) const {
    const T* from = (*this)[index];
    if (row == 1) {
      for (int64_t j = 0; j < n; ++j) std::copy_n(from + j * col, m, to + j * height);
      return;
    }
    constexpr int64_t kTile = 16;  // a tile of either side stays in the cache
    for (int64_t j0 = 0; j0 < n; j0 += kTile) {
      const int64_t j1 = std::min(n, j0 + kTile);
      for (int64_t i0 = 0; i0 < m; i0 += kTile) {
        const int64_t i1 = std::min(m, i0 + kTile);
        for (int64_t j = j0; j < j1; ++j) {
          for (int64_t i = i0; i < i1; ++i) to[j * height + i] = from[i * row + j * col];
        }
      }
    }
  }
  // One where it is, if it is column-major there, else copied to `buffer`; `height` becomes its
  // leading dimension.
  const T* columns(int64_t index, std::vector<T>& buffer, int* height) const {
    *height = static_cast<int>(std::max<int64_t>(1, m));
    if (row == 1 && col >= *height && col <= std::numeric_limits<int>::max()) {
      *height = static_cast<int>(col);
      return (*this)[index];
    }
    buffer.resize(static_cast<size_t>(m * n));
    read(index, buffer.data(), *height);
    return buffer.data();
  }
};

// geqrf and orgqr, of small matrices without LAPACK.
template <class T>
constexpr bool few(int m, int n) {
  return !kComplex<T> && m <= 32 && n <= 32;
}
template <class T>
void reflections(int m, int n, T* a, T* tau, Workspace<T>& w) {
  if constexpr (!kComplex<T>) {
    if (few<T>(m, n)) return small<T>().geqrf(m, n, a, tau);
  }
  geqrf(m, n, a, tau, w);
}
template <class T>
void product_of_reflections(int m, int n, int k, T* a, const T* tau, Workspace<T>& w) {
  if constexpr (!kComplex<T>) {
    if (few<T>(m, n)) return small<T>().orgqr(m, n, k, a, tau);
  }
  orgqr(m, n, k, a, tau, w);
}

// Runs body(begin, end) over the matrices of a batch: on several threads if they are many, or with
// a threaded library if they are large. `work`: multiplications for one of them. A body keeps its
// buffers from matrix to matrix.
void each_matrix_chunk(int64_t count, double work,
                       const std::function<void(int64_t, int64_t)>& body);

// The largest magnitude of real and imaginary parts; NaN if there is one. As numbers above zero
// are in the order of their bits, with infinity and NaN at the end, it is found among integers.
#pragma GCC push_options
#pragma GCC optimize("O3")  // in vectors
template <class T>
RealOf<T> largest(const T* v, int64_t count) {
  using Bits = std::conditional_t<sizeof(RealOf<T>) == 4, int32_t, int64_t>;
  constexpr Bits kMagnitude = std::numeric_limits<Bits>::max();
  const char* from = reinterpret_cast<const char*>(v);
  Bits most = 0;
  for (int64_t i = 0; i < count * (kComplex<T> ? 2 : 1); ++i) {
    Bits x;
    std::memcpy(&x, from + i * sizeof(Bits), sizeof(Bits));
    most = std::max<Bits>(most, x & kMagnitude);
  }
  RealOf<T> result;
  std::memcpy(&result, &most, sizeof(result));
  return result;
}
#pragma GCC pop_options

// LAPACK doesn't promise to end where an iteration meets NaN or infinity.
constexpr int kNotFinite = -4;
template <class T>
bool all_finite(const T* v, int64_t count) {
  return std::isfinite(largest(v, count));
}

}  // namespace taimatsu
