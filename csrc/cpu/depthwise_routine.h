// What the kernels of depthwise convolutions (depthwise_kernel.inc) share, and how depthwise.cpp
// knows them.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <utility>

namespace taimatsu {

// A plane of numbers as taps see it: tap k of point (i, j) is data[i * row + j + offsets[k]].
// Points are read in whole vectors: up to 16 beyond the last of a row are memory that may be read.
template <class T>
struct Taps {
  const T* data;
  int64_t row;
  const int64_t* offsets;
  int64_t count;
};

template <class T>
struct DepthwiseRoutine {
  // out[i * out_row + j * out_col] = base + the sum of weights[k] * tap k of (i, j).
  void (*combine)(const Taps<T>& taps, const T* weights, T base, int64_t rows, int64_t cols, T* out,
                  int64_t out_row, int64_t out_col);
  // sums[k] = the sum of g[i * cols + j] * tap k of (i, j).
  void (*correlate)(const Taps<T>& taps, const T* g, int64_t rows, int64_t cols, T* sums);
  // to[i * to_row + j] = from[i * from_row + j * step], `count` in each row.
  void (*gather)(const T* from, int64_t from_row, int64_t step, int64_t rows, int64_t count, T* to,
                 int64_t to_row);
};

namespace depthwise_baseline {
template <class T>
const DepthwiseRoutine<T>& routine();
}
namespace depthwise_avx2 {
template <class T>
const DepthwiseRoutine<T>& routine();
}
namespace depthwise_avx512 {
template <class T>
const DepthwiseRoutine<T>& routine();
}

}  // namespace taimatsu
