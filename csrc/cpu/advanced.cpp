// x[indices] and x[indices] = values, where the indices are tensors of integers that are broadcast
// together. What they name are places: offsets by the dims before them, by them, and by those
// after.
#include <algorithm>
#include <complex>

#include "cpu/elements.h"
#include "cpu/native.h"
#include "cpu/threads.h"

#pragma GCC optimize("O3")

namespace taimatsu {
namespace {

// Offsets of all positions of some dims, in row-major order.
std::vector<int64_t> offsets_of(const Layout& l, const std::vector<int>& dims) {
  std::vector<int64_t> out = {0}, next;
  for (int d : dims) {
    next.clear();
    next.reserve(out.size() * static_cast<size_t>(l.size(d)));
    for (int64_t base : out) {
      for (int64_t i = 0; i < l.size(d); ++i) next.push_back(base + i * l.stride(d));
    }
    out.swap(next);
  }
  return out;
}

// Which dims an index is for, and the sizes of the result.
struct Shape {
  std::vector<int> indexed, before, after;  // dims
  std::vector<int64_t> broadcast, result;   // sizes of the indices, and of x[indices]

  Shape(const Tensor& self, const Value& indices) {
    const Layout& l = *self.layout;
    if (indices.tensors.size > l.ndim) {
      fail(Error::Index, "too many indices for tensor of dimension ", l.ndim);
    }
    for (int d = 0; d < indices.tensors.size; ++d) {
      if (indices.tensors.data[d]) indexed.push_back(d);
    }
    if (indexed.empty()) fail(Error::Value, "expects an index for one dim at least");
    // Neighbouring indices leave their dims where they are; others put them in front.
    const bool adjacent = indexed.back() - indexed.front() + 1 == static_cast<int>(indexed.size());
    for (int d = 0; d < l.ndim; ++d) {
      if (std::find(indexed.begin(), indexed.end(), d) != indexed.end()) continue;
      (adjacent && d < indexed.front() ? before : after).push_back(d);
    }
    for (int d : indexed) broadcast_index(indices, *indices.tensors.data[d]);
    for (int d : before) result.push_back(l.size(d));
    result.insert(result.end(), broadcast.begin(), broadcast.end());
    for (int d : after) result.push_back(l.size(d));
  }

 private:
  void broadcast_index(const Value& indices, const Tensor& t) {
    if (!is_integral(t.dtype) || t.dtype == DType::U8) {
      fail(Error::Index, "tensors used as indices must be long, int, byte or bool tensors; got ",
           info(t.dtype).name);
    }
    try {
      broadcast_into(broadcast, t.sizes());
    } catch (const Error&) {
      std::string shapes;
      for (int d : indexed) {
        shapes += (shapes.empty() ? "" : ", ") + format(indices.tensors.data[d]->sizes());
      }
      fail(Error::Index,
           "shape mismatch: indexing tensors could not be broadcast together with shapes ", shapes);
    }
  }
};

struct Places {
  Shape shape;
  TensorRef offsets;  // of each position of the indices
  int64_t count;
  const int64_t* at;
  std::vector<int64_t> outer, inner;
  bool row;  // the inner dims lie in memory one element after the other

  Places(const Tensor& self, const Value& indices) : shape(self, indices) {
    const Layout& l = *self.layout;
    offsets = empty(shape.broadcast, DType::I64);
    count = offsets->numel();
    auto* sum = offsets->as<int64_t>();
    std::fill_n(sum, count, 0);
    for (int d : shape.indexed) {
      TensorRef index = to_dtype(*indices.tensors.data[d], DType::I64);
      add(*index, l.size(d), l.stride(d), d, sum);
    }
    at = sum;
    outer = offsets_of(l, shape.before);
    inner = offsets_of(l, shape.after);
    row = true;
    for (size_t i = 0; row && i < inner.size(); ++i) row = inner[i] == static_cast<int64_t>(i);
  }

 private:
  void add(Tensor& index, int64_t n, int64_t stride, int dim, int64_t* sum) {
    TensorRef whole;
    if (index.numel() != 1) {
      whole = index.sizes() == Ints(shape.broadcast) ? contiguous(index)
                                                     : empty(shape.broadcast, DType::I64);
      if (index.sizes() != Ints(shape.broadcast)) copy_into(*whole, index);
    }
    const int64_t one = whole ? 0 : *index.as<int64_t>();
    const int64_t* p = whole ? whole->as<int64_t>() : &one;
    const int64_t step = whole ? 1 : 0;
    int64_t signs = 0;
    for (int64_t i = 0; i < count; ++i) {
      const int64_t k = p[i * step], from_start = k + (k < 0 ? n : 0);
      signs |= from_start | (n - 1 - from_start);
      sum[i] += from_start * stride;
    }
    if (signs >= 0) return;
    for (int64_t i = 0; i < count; ++i) {
      const int64_t k = p[i * step];
      if (k < -n || k >= n) {
        fail(Error::Index, "index ", k, " is out of bounds for dimension ", dim, " with size ", n);
      }
    }
  }
};

// ---- x[indices] -----------------------------------------------------------------------------

void infer_index(Call& c) {
  const Tensor& self = c.args[0].t();
  c.outs.push(empty(Shape(self, c.args[1]).result, self.dtype, self.device()));
}
void run_index(Call& c) {
  const Tensor& self = c.args[0].t();
  const Places places(self, c.args[1]);
  Tensor& out = *c.outs[0];
  const int64_t count = places.count, width = static_cast<int64_t>(places.inner.size());
  const int64_t lines = static_cast<int64_t>(places.outer.size()) * count;
  if (lines * width == 0) return;
  with_size(itemsize(out.dtype), [&](auto tag) {
    using T = typename decltype(tag)::type;
    const T* x = self.as<T>();
    T* to = out.as<T>();
    WithoutGil without(static_cast<double>(lines) * width > kLongWork / 4);
    parallel_for(lines, std::max<int64_t>(1, 32768 / width), 1, [&](int64_t begin, int64_t end) {
      for (int64_t line = begin; line < end;) {  // those of one outer position
        const int64_t o = line / count, first = line - o * count;
        const int64_t stop = std::min(end - o * count, count);
        const T* from = x + places.outer[o];
        const int64_t* at = places.at;
        T* y = to + line * width;
        if (width == 1) {
          for (int64_t i = first; i < stop; ++i) *y++ = from[at[i]];
        } else if (places.row) {
          for (int64_t i = first; i < stop; ++i, y += width) {
            std::memcpy(y, from + at[i], width * sizeof(T));
          }
        } else {
          const int64_t* inner = places.inner.data();
          for (int64_t i = first; i < stop; ++i, y += width) {
            for (int64_t k = 0; k < width; ++k) y[k] = from[at[i] + inner[k]];
          }
        }
        line = o * count + stop;
      }
    });
  });
}
TM_NATIVE("_index", infer_index, run_index);

// ---- x[indices] = values --------------------------------------------------------------------

// One after the other along the indices: of equal places the last stays, and sums have one order.
// Threads share out the other dims.
template <class T, class Put>
void put(const Places& places, Tensor& self, const T* values, bool same, Put put_element) {
  T* x = self.as<T>();
  const auto outer = static_cast<int64_t>(places.outer.size());
  const auto width = static_cast<int64_t>(places.inner.size());
  const int64_t count = places.count, *at = places.at, *inner = places.inner.data();
  const int64_t total = outer * count * width;
  if (total == 0) return;
  const bool row = places.row;
  WithoutGil without(static_cast<double>(total) > kLongWork / 4);
  auto part = [&](int64_t o, int64_t lo, int64_t hi) {
    T* to = x + places.outer[o];
    const T* from = values + (same ? 0 : o * count * width);
    if (width == 1) {
      for (int64_t i = 0; i < count; ++i) put_element(to[at[i]], from[same ? 0 : i]);
      return;
    }
    for (int64_t i = 0; i < count; ++i) {
      T* y = to + at[i];
      if (same) {
        for (int64_t k = lo; k < hi; ++k) put_element(y[inner[k]], *from);
      } else if (row) {
        for (int64_t k = lo; k < hi; ++k) put_element(y[k], from[i * width + k]);
      } else {
        for (int64_t k = lo; k < hi; ++k) put_element(y[inner[k]], from[i * width + k]);
      }
    }
  };
  const bool by_outer = outer >= num_threads() || outer >= width;
  const int64_t extent = by_outer ? outer : width;
  const int64_t grain = std::max<int64_t>(1, 32768 / std::max<int64_t>(1, total / extent));
  parallel_for(extent, grain, by_outer ? 1 : 16, [&](int64_t begin, int64_t end) {
    if (!by_outer) {
      for (int64_t o = 0; o < outer; ++o) part(o, begin, end);
    } else {
      for (int64_t o = begin; o < end; ++o) part(o, 0, width);
    }
  });
}

void put_all(const Value& indices, Tensor& self, Tensor& given, bool accumulate) {
  if (accumulate && is_floating(self.dtype) && itemsize(self.dtype) == 2) {
    TensorRef wide = empty(self.sizes(), DType::F32);  // sums in f32, rounded once
    copy_into(*wide, self);
    put_all(indices, *wide, *to_dtype(given, DType::F32), true);
    return copy_into(self, *wide);
  }
  const Places places(self, indices);
  const bool same = given.numel() == 1;
  TensorRef values;
  if (overlap(self, given) != Overlap::None) {
    values = clone(given);
  } else {
    values = TensorRef(&given);
  }
  if (!same && values->sizes() != Ints(places.shape.result)) {
    TensorRef whole = empty(places.shape.result, given.dtype);
    copy_into(*whole, *values);
    values = whole;
  }
  values = contiguous(*values);
  if (!accumulate) {
    return with_size(itemsize(self.dtype), [&](auto tag) {
      using T = typename decltype(tag)::type;
      put(places, self, values->as<T>(), same, Set());
    });
  }
  auto add = [&](auto tag) {
    using T = typename decltype(tag)::type;
    if constexpr (!std::is_same<T, Half>::value && !std::is_same<T, BFloat16>::value) {
      put(places, self, values->as<T>(), same, Add());
    }
  };
  if (self.dtype == DType::C64) return add(TypeTag<std::complex<float>>{});
  if (self.dtype == DType::C128) return add(TypeTag<std::complex<double>>{});
  with_real_type(self.dtype, add);
}

// _index_put_(Tensor(a!) self, Tensor?[] indices, Tensor values, bool accumulate)
void infer_index_put(Call& c) {
  const Tensor &self = c.args[0].t(), &values = c.args[2].t();
  if (self.dtype != values.dtype) {
    fail(Error::Runtime, "Index put requires the source and destination dtypes match, got ",
         info(self.dtype).legacy, " for the destination and ", info(values.dtype).legacy,
         " for the source.");
  }
  const Shape shape(self, c.args[1]);
  const Ints sizes = values.sizes();
  const auto n = static_cast<int>(shape.result.size()), more = static_cast<int>(sizes.size) - n;
  bool fits = true;
  for (int d = 0; d < static_cast<int>(sizes.size); ++d) {
    fits &= sizes[d] == 1 || (d >= more && sizes[d] == shape.result[d - more]);
  }
  if (!fits) {
    fail(Error::Runtime, "shape mismatch: value tensor of shape ", format(sizes),
         " cannot be broadcast to indexing result of shape ", format(shape.result));
  }
}
void run_index_put(Call& c) {
  Tensor& given = c.args[2].t();
  TensorRef values(&given);
  const size_t n = Shape(c.args[0].t(), c.args[1]).result.size();
  if (given.ndim() > static_cast<int>(n)) {  // leading dims of size 1 are dropped
    const Layout& l = *given.layout;
    const int skip = l.ndim - static_cast<int>(n);
    LayoutRef last = intern({l.size_data() + skip, static_cast<int64_t>(n)},
                            {l.stride_data() + skip, static_cast<int64_t>(n)}, l.offset);
    values = alias(given, last.get());
  }
  put_all(c.args[1], c.args[0].t(), *values, c.args[3].to_bool());
}
TM_NATIVE("_index_put_", infer_index_put, run_index_put);

}  // namespace
}  // namespace taimatsu
