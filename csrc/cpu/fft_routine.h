// Fourier transforms: what a plan holds, and what the kernels (fft_kernel.inc) carry out.
//
// Vectors never run along the elements of one transform. They run across `width` transforms, so
// that every step is the same arithmetic on whole vectors, real and imaginary parts apart:
//
//   a dim that is not the last   neighbouring columns are the lanes
//   short lines, many of them    lines are the lanes, transposed on the way in and out
//   one line of n = n1 n2        x as a matrix (n1, n2): transforms of length n1 down its columns,
//                                lanes are columns; times roots of unity; transposed; transforms of
//                                length n2 along its rows, lanes are rows. Two passes over memory,
//                                and everything between in the cache.
//
// Within the lanes a transform is mixed-radix, decimated in time, in place in a buffer that is
// filled in digit-reversed order. Lengths with a large prime factor become a convolution
// (Bluestein), real lines of even length complex ones of half the length.
#pragma once

#include <algorithm>
#include <cstdint>
#include <type_traits>
#include <vector>

#include "cpu/workspace.h"

namespace taimatsu {
namespace fft {

constexpr int kMaxRadix = 61;  // a larger prime factor makes Bluestein's way the cheaper one

// A transform of `length` vectors.
template <class T>
struct LanePlan {
  int64_t length = 1;
  std::vector<int> radices;     // of the passes; the first makes transforms of its own length
  std::vector<int64_t> first;   // the first input of each butterfly of the first pass
  std::vector<int64_t> places;  // where in the buffer each input belongs
  std::vector<T> twiddles;      // (re, im) for each pass but the first, k < L, 1 <= r < radix
  std::vector<const T*> roots;  // for each pass: (cos, sin) of 2 pi j / radix, j <= radix / 2
  std::vector<std::vector<T>> root_tables;
};

// A transform of one line of n1 * n2 elements.
template <class T>
struct LinePlan {
  LanePlan<T> columns, rows;  // of length n1 and n2
  std::vector<T> twiddles;    // vectors (re, im) for each group of columns and k1 < n1
};

// Where transforms are: elements `step` numbers apart, interleaved complex.
template <class T>
struct Place {
  T* data;
  int64_t step;
};

enum class Direction : bool { Forward, Backward };  // the sign of the exponent: minus, plus

// The kernels for one instruction set. `buffer` holds 2 * width numbers for each element.
template <class T>
struct Routine {
  int width;
  const int* order;  // the column in each lane, after interleaved numbers are taken apart
  // `count` <= width columns side by side.
  void (*columns)(const LanePlan<T>&, Place<const T> in, Place<T> out, int count, Direction,
                  T scale, T* buffer);
  // `count` <= width contiguous lines, that many numbers apart; a buffer of twice the size.
  void (*lines)(const LanePlan<T>&, const T* in, int64_t in_line, T* out, int64_t out_line,
                int count, Direction, T scale, T* buffer);
  // The two halves of a line, for a group of `width` columns or rows; `middle` is between them.
  void (*line_columns)(const LinePlan<T>&, const T* in, T* middle, int64_t group, Direction,
                       T* buffer);
  void (*line_rows)(const LinePlan<T>&, const T* middle, T* out, int64_t group, Direction, T scale,
                    T* buffer);
  // Between the transform of n real numbers and that of n / 2 complex ones, of the same memory:
  // x[k], x[n/2 - k] from one another for 0 < k <= n / 4; `twiddles`: exp(-2 pi i k / n).
  void (*halves)(const T* in, T* out, int64_t half, const T* twiddles, Direction, T factor);
  // out[i] = x[i] * y[i] of complex numbers; of the conjugate of the product if so said.
  void (*multiply)(const T* x, const T* y, T* out, int64_t n, bool conjugate);

  int64_t middle_size(const LinePlan<T>& p) const {  // room for reading whole groups of rows
    return (round_up(p.rows.length, width) / width * p.columns.length + width) * 2 * width;
  }
};

namespace baseline {
template <class T>
const Routine<T>& routine();
}
namespace avx2 {
template <class T>
const Routine<T>& routine();
}

}  // namespace fft
}  // namespace taimatsu
