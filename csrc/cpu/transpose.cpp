#include "cpu/transpose.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "cpu/elements.h"
#include "cpu/native.h"
#include "cpu/threads.h"
#include "tensor/iterate.h"

#pragma GCC optimize("O3")

namespace taimatsu {
namespace {

constexpr int kLine = 64;    // bytes of the cache's lines
constexpr int kVector = 16;  // bytes of the vectors that every CPU has
constexpr int64_t kFew = 8;  // along a shorter dim a line isn't used up anyway

// A matrix of lanes vectors, turned by interleaving its halves log2(lanes) times.
template <class T>
struct Square {
  static constexpr int kLanes = kVector / sizeof(T);
  typedef T Vector __attribute__((vector_size(kVector)));

  template <int first, size_t... I>
  static Vector interleave(Vector a, Vector b, std::index_sequence<I...>) {
#if defined(__clang__) || __GNUC__ >= 12
    return __builtin_shufflevector(a, b, (first + I / 2 + I % 2 * kLanes)...);
#else
    return __builtin_shuffle(a, b, Vector{static_cast<T>(first + I / 2 + I % 2 * kLanes)...});
#endif
  }

  static void turn(const T* from, int64_t from_row, T* to, int64_t to_row) {
    const auto order = std::make_index_sequence<kLanes>();
    Vector rows[kLanes], next[kLanes];
    for (int i = 0; i < kLanes; ++i) std::memcpy(&rows[i], from + i * from_row, kVector);
    for (int step = 1; step < kLanes; step *= 2) {
      for (int i = 0; i < kLanes / 2; ++i) {
        next[2 * i] = interleave<0>(rows[i], rows[i + kLanes / 2], order);
        next[2 * i + 1] = interleave<kLanes / 2>(rows[i], rows[i + kLanes / 2], order);
      }
      for (int i = 0; i < kLanes; ++i) rows[i] = next[i];
    }
    for (int i = 0; i < kLanes; ++i) std::memcpy(to + i * to_row, &rows[i], kVector);
  }
};
template <>
struct Square<Bytes16> {
  static constexpr int kLanes = 1;
  static void turn(const Bytes16* from, int64_t, Bytes16* to, int64_t) { *to = *from; }
};

// As many rows as a line has elements: lines are read whole and written whole, by way of a buffer,
// as rows that are a multiple of a page apart would drive one another out of the cache.
template <class T>
void turn_lines(const T* from, int64_t from_row, T* to, int64_t to_row) {
  constexpr int n = kLine / sizeof(T), lanes = Square<T>::kLanes;
  alignas(kLine) T buffer[n * n];
  for (int i = 0; i < n; ++i) __builtin_prefetch(from + (n + i) * from_row);
  for (int i = 0; i < n; i += lanes) {
    for (int j = 0; j < n; j += lanes) {
      Square<T>::turn(from + i * from_row + j, from_row, buffer + j * n + i, n);
    }
  }
  for (int j = 0; j < n; ++j) std::memcpy(to + j * to_row, buffer + j * n, kLine);
}

// to[j * to_row + i] = from[i * from_row + j]
template <class T>
void turn(const T* from, int64_t from_row, T* to, int64_t to_row, int64_t rows, int64_t columns) {
  constexpr int64_t n = kLine / sizeof(T);
  for (int64_t i = 0; i < rows; i += n) {
    if (columns == n && rows - i >= n) {
      turn_lines(from + i * from_row, from_row, to + i, to_row);
      continue;
    }
    const int64_t end = std::min(rows, i + n);
    for (int64_t j = 0; j < columns; ++j) {
      for (int64_t k = i; k < end; ++k) to[j * to_row + k] = from[k * from_row + j];
    }
  }
}

}  // namespace

bool transpose_into(Tensor& to, Tensor& from) {
  Iteration it;
  const Layout* layouts[2] = {to.layout, from.layout};
  iterate(it, {layouts, 2}, to.sizes());
  int dim = 1;  // along which `from` has its neighbours; `to` has them along 0
  while (dim < it.ndim && it.stride[1][dim] != 1) ++dim;
  if (dim >= it.ndim || it.stride[0][0] != 1 || it.stride[1][0] == 1) return false;
  const int64_t rows = it.extent[0], columns = it.extent[dim];
  if (rows < kFew || columns < kFew) return false;
  with_size(itemsize(to.dtype), [&](auto tag) {
    using T = typename decltype(tag)::type;
    constexpr int64_t n = kLine / sizeof(T);
    const int64_t strips = (columns + n - 1) / n, all = it.numel() / (rows * columns) * strips;
    const T* x = from.as<T>();
    T* y = to.as<T>();
    WithoutGil without(static_cast<double>(it.numel()) > kLongWork);
    parallel_for(all, std::max<int64_t>(1, 32768 / (n * rows)), 1, [&](int64_t begin, int64_t end) {
      for (int64_t strip = begin; strip < end; ++strip) {
        const int64_t j = strip % strips * n;
        int64_t rest = strip / strips, at = j * it.stride[0][dim], source = j;
        for (int d = 1; d < it.ndim; ++d) {
          if (d == dim) continue;
          const int64_t k = rest % it.extent[d];
          rest /= it.extent[d];
          at += k * it.stride[0][d];
          source += k * it.stride[1][d];
        }
        turn(x + source, it.stride[1][0], y + at, it.stride[0][dim], rows,
             std::min(n, columns - j));
      }
    });
  });
  return true;
}

}  // namespace taimatsu
