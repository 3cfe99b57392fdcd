// x[indices] and x[indices] = values, where the indices are tensors of integers that are broadcast
// together. What they name are places: offsets by the dims before them, by them, and by those
// after.
#include <algorithm>
#include <atomic>
#include <complex>
#include <utility>

#include "cpu/clones.h"
#include "cpu/elements.h"
#include "cpu/native.h"
#include "cpu/threads.h"

#pragma GCC optimize("O3")

namespace taimatsu {
namespace {

// Some dims of a tensor.
struct Dims {
  int items[kMaxDims], count = 0;
  void push(int d) { items[count++] = d; }
  const int* begin() const { return items; }
  const int* end() const { return items + count; }
};

// Offsets of all positions of some dims, in row-major order.
std::vector<int64_t> offsets_of(const Layout& l, const Dims& dims) {
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
  Dims indexed, before, after;
  std::vector<int64_t> broadcast, result;  // sizes of the indices, and of x[indices]

  Shape(const Tensor& self, const Value& indices) {
    const Layout& l = *self.layout;
    if (indices.tensors.size > l.ndim) {
      fail(Error::Index, "too many indices for tensor of dimension ", l.ndim);
    }
    for (int d = 0; d < indices.tensors.size; ++d) {
      if (indices.tensors.data[d]) indexed.push(d);
    }
    if (indexed.count == 0) fail(Error::Value, "expects an index for one dim at least");
    // Neighbouring indices leave their dims where they are; others put them in front.
    const int first = indexed.items[0], last = indexed.items[indexed.count - 1];
    const bool adjacent = last - first + 1 == indexed.count;
    for (int d = 0; d < l.ndim; ++d) {
      if (d < indices.tensors.size && indices.tensors.data[d]) continue;
      (adjacent && d < first ? before : after).push(d);
    }
    for (int d : indexed) broadcast_index(indices, *indices.tensors.data[d]);
    result.reserve(before.count + broadcast.size() + after.count);
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

constexpr int64_t kPiece = 1024;  // positions whose offsets stay in the cache until they are used

// One index: p[i * step] for the i-th position, from -n to n.
struct Positions {
  TensorRef held;
  const int64_t* p;
  int64_t step, n, stride;
  int dim;

  bool in_range(int64_t i) const { return p[i * step] >= -n && p[i * step] < n; }
  // to[i - begin] = (or +=) the offsets of positions [begin, end); whether all are in range.
  VECTORISED bool offsets(int64_t begin, int64_t end, bool add, int64_t* to) const {
    const auto apart = static_cast<uint64_t>(stride);  // what is out of range may wrap round
    int64_t signs = 0;
    auto each = [&](int64_t i, int64_t k) __attribute__((always_inline)) {
      const int64_t from_start = k + (n & k >> 63);
      signs |= from_start | (n - 1 - from_start);
      const auto before = static_cast<uint64_t>(add ? to[i] : 0);
      to[i] = static_cast<int64_t>(before + static_cast<uint64_t>(from_start) * apart);
    };
    const int64_t* from = p + begin * step;
    if (step == 1) {
      for (int64_t i = 0; i < end - begin; ++i) each(i, from[i]);
    } else {
      for (int64_t i = 0; i < end - begin; ++i) each(i, *from);
    }
    return signs >= 0;
  }
};

struct Places {
  Shape shape;
  int64_t count;  // of the indices
  std::vector<int64_t> outer, inner;
  bool row;  // the inner dims lie in memory one element after the other

  Places(const Tensor& self, const Value& indices) : shape(self, indices) {
    const Layout& l = *self.layout;
    count = 1;
    for (int64_t n : shape.broadcast) count *= n;
    indices_.reserve(shape.indexed.count);
    for (int d : shape.indexed) {
      TensorRef index = to_dtype(*indices.tensors.data[d], DType::I64);
      const bool one = index->numel() == 1;
      if (!one && index->sizes() != Ints(shape.broadcast)) {
        TensorRef whole = empty(shape.broadcast, DType::I64);
        copy_into(*whole, *index);
        index = whole;
      }
      if (!one) index = contiguous(*index);
      const auto* p = index->as<int64_t>();
      indices_.push_back({std::move(index), p, one ? 0 : 1, l.size(d), l.stride(d), d});
    }
    outer = offsets_of(l, shape.before);
    inner = offsets_of(l, shape.after);
    row = true;
    for (size_t i = 0; row && i < inner.size(); ++i) row = inner[i] == static_cast<int64_t>(i);
  }

  // Of positions [begin, end); whether all are in range.
  bool offsets(int64_t begin, int64_t end, int64_t* to) const {
    bool inside = true, add = false;
    for (const Positions& index : indices_) {
      inside &= index.offsets(begin, end, std::exchange(add, true), to);
    }
    return inside;
  }
  // Those of all, checked.
  const int64_t* all_offsets(int64_t* few) {
    int64_t* to = few;
    if (count > kPiece) {
      held_ = empty(shape.broadcast, DType::I64);
      to = held_->as<int64_t>();
    }
    std::atomic<bool> inside{true};
    parallel_for(count, 1 << 15, 64, [&](int64_t begin, int64_t end) {
      if (!offsets(begin, end, to + begin)) inside = false;
    });
    if (!inside) refuse();
    return to;
  }
  void refuse() const {
    for (const Positions& index : indices_) {
      for (int64_t i = 0; i < count; ++i) {
        if (index.in_range(i)) continue;
        fail(Error::Index, "index ", index.p[i * index.step], " is out of bounds for dimension ",
             index.dim, " with size ", index.n);
      }
    }
  }

 private:
  std::vector<Positions> indices_;
  TensorRef held_;
};

// ---- x[indices] -----------------------------------------------------------------------------

void infer_index(Call& c) {
  const Tensor& self = c.args[0].t();
  c.outs.push(empty(Shape(self, c.args[1]).result, self.dtype, self.device()));
}
void run_index(Call& c) {
  const Tensor& self = c.args[0].t();
  Places places(self, c.args[1]);
  Tensor& out = *c.outs[0];
  const int64_t count = places.count, width = static_cast<int64_t>(places.inner.size());
  const int64_t lines = static_cast<int64_t>(places.outer.size()) * count;
  int64_t few[kPiece];
  const bool once = lines == count && width > 0;  // each offset is needed once
  const int64_t* all = once ? nullptr : places.all_offsets(few);
  if (lines * width == 0) return;
  std::atomic<bool> inside{true};
  with_size(itemsize(out.dtype), [&](auto tag) {
    using T = typename decltype(tag)::type;
    const T* x = self.as<T>();
    T* to = out.as<T>();
    WithoutGil without(static_cast<double>(lines) * width > kLongWork / 4);
    parallel_for(lines, std::max<int64_t>(1, 32768 / width), 1, [&](int64_t begin, int64_t end) {
      int64_t piece[kPiece];
      for (int64_t line = begin; line < end;) {  // a piece of those of one outer position
        const int64_t o = line / count, first = line - o * count;
        const int64_t n = std::min({end - line, count - first, kPiece});
        const T* from = x + places.outer[o];
        const int64_t* at = all ? all + first : piece;
        T* y = to + line * width;
        line += n;
        if (!all && !places.offsets(first, first + n, piece)) {
          inside = false;
        } else if (width == 1) {
#pragma GCC unroll 4
          for (int64_t i = 0; i < n; ++i) y[i] = from[at[i]];
        } else if (places.row) {
          for (int64_t i = 0; i < n; ++i) {
            std::memcpy(y + i * width, from + at[i], width * sizeof(T));
          }
        } else {
          const int64_t* inner = places.inner.data();
          for (int64_t i = 0; i < n; ++i, y += width) {
            for (int64_t k = 0; k < width; ++k) y[k] = from[at[i] + inner[k]];
          }
        }
      }
    });
  });
  if (!inside) places.refuse();
}
TM_NATIVE("_index", infer_index, run_index);

// ---- x[indices] = values --------------------------------------------------------------------

// One after the other along the indices: of equal places the last stays, and sums have one order.
// Threads share out the other dims.
template <class T, class Put>
void put(const Places& places, const int64_t* at, Tensor& self, const T* values, bool same,
         Put put_element) {
  T* x = self.as<T>();
  const auto outer = static_cast<int64_t>(places.outer.size());
  const auto width = static_cast<int64_t>(places.inner.size());
  const int64_t count = places.count, *inner = places.inner.data();
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
  Places places(self, indices);
  int64_t few[kPiece];
  const int64_t* at = places.all_offsets(few);  // all are checked before anything is written
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
      put(places, at, self, values->as<T>(), same, Set());
    });
  }
  auto add = [&](auto tag) {
    using T = typename decltype(tag)::type;
    if constexpr (!std::is_same<T, Half>::value && !std::is_same<T, BFloat16>::value) {
      put(places, at, self, values->as<T>(), same, Add());
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
