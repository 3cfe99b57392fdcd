// Writing at positions along a dim: behind x[index] = value, scatter, scatter_add and index_add.
#include <atomic>
#include <complex>

#include "autograd/autograd.h"
#include "cpu/threads.h"
#include "ops/launch.h"

#pragma GCC optimize("O3")

namespace taimatsu {
namespace {

// Positions along the middle dim: one for each row of `src`, or one for each of its elements.
struct Positions {
  const int64_t* data;
  int64_t stride[3] = {0, 0, 0};  // for the dims of `src`
  explicit Positions(const Tensor& index) : data(index.as<int64_t>()) {
    const Layout& l = *index.layout;
    for (int d = 0; d < l.ndim; ++d) stride[l.ndim == 3 ? d : 1] = l.stride(d);
  }
  const int64_t* line(int64_t o, int64_t d) const { return data + o * stride[0] + d * stride[1]; }
};

// Whether `count` positions are in [0, n).
bool in_range(const int64_t* line, int64_t step, int64_t count, int64_t n) {
  int64_t signs = 0;  // negative if any position is out of range
  if (step == 1) {
    for (int64_t i = 0; i < count; ++i) signs |= line[i] | (n - 1 - line[i]);
  } else {
    for (int64_t i = 0; i < count; ++i) signs |= line[i * step] | (n - 1 - line[i * step]);
  }
  return signs >= 0;
}

// Throws unless all positions are in [0, n).
void check_positions(const Tensor& index, const Tensor& src, int64_t n) {
  const Positions at(index);
  int64_t extent[3];
  for (int d = 0; d < 3; ++d) extent[d] = at.stride[d] == 0 ? 1 : src.layout->size(d);
  const int inner = extent[2] == 1 ? 1 : 2;
  for (int64_t o = 0; o < extent[0]; ++o) {
    for (int64_t d = 0; d < (inner == 1 ? 1 : extent[1]); ++d) {
      const int64_t *line = at.line(o, d), step = at.stride[inner];
      if (in_range(line, step, extent[inner], n)) continue;
      for (int64_t i = 0;; ++i) {
        if (in_range(line + i * step, 1, 1, n)) continue;
        fail(Error::Index, "index ", line[i * step], " is out of bounds for dimension 0 with size ",
             n);
      }
    }
  }
}

void check_put(const Tensor& self, const Tensor& index, const Tensor& src) {
  if (index.dtype != DType::I64) fail(Error::Index, "positions must be int64");
  const bool each = index.ndim() == 3;
  if (self.ndim() != 3 || src.ndim() != 3 || self.dtype != src.dtype ||
      src.layout->size(0) != self.layout->size(0) ||
      (each ? index.sizes() != src.sizes() : src.layout->size(1) != index.numel()) ||
      src.layout->size(2) != self.layout->size(2)) {
    fail(Error::Runtime, "values of shape ", format(src.sizes()), " don't fit positions of shape ",
         format(index.sizes()), " in ", format(self.sizes()));
  }
}

template <bool accumulate, class T>
void put_element(T& to, const T& value) {
  if constexpr (accumulate) {
    to += value;
  } else {
    to = value;
  }
}

// The part [begin, end) of one dim: the outer one, where there are several, else the inner one.
// Positions of one line may be equal, so that the middle dim has to be gone through in order.
// False, and no further, at a line with a position that is out of range.
template <class T, bool accumulate>
bool put_part(Tensor& self, const Tensor& index, const Tensor& src, bool outer, int64_t begin,
              int64_t end) {
  const Positions at(index);
  const int64_t *ts = self.layout->stride_data(), *fs = src.layout->stride_data();
  const int64_t rows = src.layout->size(1), n = self.layout->size(1);
  const int64_t o0 = outer ? begin : 0, o1 = outer ? end : src.layout->size(0);
  const int64_t i0 = outer ? 0 : begin, i1 = outer ? src.layout->size(2) : end;
  for (int64_t o = o0; o < o1; ++o) {
    T* to = self.as<T>() + o * ts[0];
    const T* from = src.as<T>() + o * fs[0];
    if (src.layout->size(2) == 1) {
      const int64_t* line = at.line(o, 0);
      if (!in_range(line, at.stride[1], rows, n)) return false;
      for (int64_t d = 0; d < rows; ++d) {
        put_element<accumulate>(to[line[d * at.stride[1]] * ts[1]], from[d * fs[1]]);
      }
      continue;
    }
    for (int64_t d = 0; d < rows; ++d) {
      const int64_t* line = at.line(o, d);
      const T* value = from + d * fs[1];
      const int64_t positions = at.stride[2] == 0 ? 1 : i1 - i0;
      if (!in_range(line + i0 * at.stride[2], at.stride[2], positions, n)) return false;
      if (at.stride[2] == 0) {
        T* row = to + *line * ts[1];
        if (ts[2] == 1 && fs[2] == 1) {
          for (int64_t i = i0; i < i1; ++i) put_element<accumulate>(row[i], value[i]);
        } else {
          for (int64_t i = i0; i < i1; ++i) {
            put_element<accumulate>(row[i * ts[2]], value[i * fs[2]]);
          }
        }
      } else {
        for (int64_t i = i0; i < i1; ++i) {
          put_element<accumulate>(to[line[i * at.stride[2]] * ts[1] + i * ts[2]], value[i * fs[2]]);
        }
      }
    }
  }
  return true;
}

template <class T, bool accumulate>
void put(Tensor& self, const Tensor& index, const Tensor& src) {
  const int64_t outer = src.layout->size(0), inner = src.layout->size(2);
  const bool by_outer = outer >= num_threads() || outer >= inner;
  const int64_t extent = by_outer ? outer : inner;
  const int64_t grain = std::max<int64_t>(1, 32768 / std::max<int64_t>(1, src.numel() / extent));
  std::atomic<bool> good{true};
  parallel_for(extent, grain, by_outer ? 1 : 64, [&](int64_t begin, int64_t end) {
    if (!put_part<T, accumulate>(self, index, src, by_outer, begin, end)) good = false;
  });
  if (!good) check_positions(index, src, self.layout->size(1));
}

struct Raw16 {
  uint64_t words[2];
};

void put(Tensor& self, Tensor& index, Tensor& given, bool accumulate) {
  if (given.numel() == 0) return;
  TensorRef src = overlap(self, given) == Overlap::None ? TensorRef(&given) : clone(given);
  if (!accumulate) {
    switch (itemsize(self.dtype)) {
      case 1: return put<uint8_t, false>(self, index, *src);
      case 2: return put<uint16_t, false>(self, index, *src);
      case 4: return put<uint32_t, false>(self, index, *src);
      case 8: return put<uint64_t, false>(self, index, *src);
      default: return put<Raw16, false>(self, index, *src);
    }
  }
  switch (self.dtype) {
    case DType::F32: return put<float, true>(self, index, *src);
    case DType::F64: return put<double, true>(self, index, *src);
    case DType::C64: return put<std::complex<float>, true>(self, index, *src);
    case DType::C128: return put<std::complex<double>, true>(self, index, *src);
    case DType::Bool: return put<bool, true>(self, index, *src);
    case DType::U8:
    case DType::I8: return put<uint8_t, true>(self, index, *src);
    case DType::U16:
    case DType::I16: return put<uint16_t, true>(self, index, *src);
    case DType::U32:
    case DType::I32: return put<uint32_t, true>(self, index, *src);
    case DType::U64:
    case DType::I64: return put<uint64_t, true>(self, index, *src);
    default: {  // 16-bit floats: sums in f32, rounded once per position written
      TensorRef wide = empty(self.sizes(), DType::F32), values = empty(src->sizes(), DType::F32);
      copy_into(*wide, self);
      copy_into(*values, *src);
      put<float, true>(*wide, index, *values);
      copy_into(self, *wide);
    }
  }
}

void infer_put_(Call& c) { check_put(c.args[0].t(), c.args[1].t(), c.args[2].t()); }
void run_put_(Call& c) {
  if (c.args[2].t().numel() > 0) {  // what is written in place is written whole or not at all
    check_positions(c.args[1].t(), c.args[2].t(), c.args[0].t().layout->size(1));
  }
  put(c.args[0].t(), c.args[1].t(), c.args[2].t(), c.args[3].to_bool());
}
TM_NATIVE("_put_", infer_put_, run_put_);

void infer_put(Call& c) {
  const Tensor& self = c.args[0].t();
  check_put(self, c.args[1].t(), c.args[2].t());
  c.outs.push(empty(self.sizes(), self.dtype, self.device()));
}
void run_put(Call& c) {
  copy_into(*c.outs[0], c.args[0].t());
  put(*c.outs[0], c.args[1].t(), c.args[2].t(), c.args[3].to_bool());
}
TM_NATIVE("_put", infer_put, run_put);

}  // namespace
}  // namespace taimatsu
