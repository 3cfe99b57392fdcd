// Reading and writing at positions along one dim: gather, index_select, embedding, and scatter and
// index_add with their kin. All are one walk over the places that the index names: the index, the
// tensor that it points into (its stride along the dim is apart), and what is read or written
// there.
#include <algorithm>
#include <atomic>
#include <complex>
#include <limits>

#include "autograd/tape.h"
#include "cpu/clones.h"
#include "cpu/elements.h"
#include "cpu/native.h"
#include "cpu/threads.h"

#pragma GCC optimize("O3")

namespace taimatsu {
namespace {

// ---- The walk -------------------------------------------------------------------------------

// The dims of the places, neighbouring ones as one where all three operands allow it.
struct Walk {
  int ndim = 0, dim = -1;
  int64_t size[kMaxDims], index[kMaxDims], self[kMaxDims], other[kMaxDims];
  int64_t step = 0;    // of the tensor pointed into, along the dim
  int64_t extent = 1;  // of that dim
  bool vector;         // one position for a slice

  // `index` has no stride along dims other than `dim` if it is a vector.
  Walk(Ints sizes, const Tensor& positions, const Tensor& pointed, const Tensor& with, int along) {
    const Layout &pi = *positions.layout, &ps = *pointed.layout, &po = *with.layout;
    vector = pi.ndim < static_cast<int>(sizes.size) || sizes.size == 0;
    if (ps.ndim > 0) {
      step = ps.stride(along);
      extent = ps.size(along);
    }
    for (int d = 0; d < static_cast<int>(sizes.size); ++d) {
      const bool here = d == along;
      if (sizes[d] == 1 && !here) continue;
      const int64_t at = vector ? (here && pi.ndim ? pi.stride(0) : 0) : pi.stride(d);
      const int64_t to = here || d >= ps.ndim ? 0 : ps.stride(d);
      const int64_t by = d < po.ndim ? po.stride(d) : 0;
      const bool joins = ndim > 0 && !here && dim != ndim - 1 && index[ndim - 1] == at * sizes[d] &&
                         self[ndim - 1] == to * sizes[d] && other[ndim - 1] == by * sizes[d];
      const int k = joins ? ndim - 1 : ndim++;
      if (here) dim = k;
      size[k] = joins ? size[k] * sizes[d] : sizes[d];
      index[k] = at;
      self[k] = to;
      other[k] = by;
    }
    if (ndim == 0) {
      ndim = 1;
      size[0] = 1;
      index[0] = self[0] = other[0] = 0;
      dim = 0;
    }
  }

  int64_t count() const {
    int64_t n = 1;
    for (int d = 0; d < ndim; ++d) n *= size[d];
    return n;
  }
  // The innermost loop: the last dim, unless that is short.
  int inner() const {
    return size[ndim - 1] < 16 ? static_cast<int>(std::max_element(size, size + ndim) - size)
                               : ndim - 1;
  }
};

// Calls body(index, self, other offsets) for each line along w.inner(), with `axis` cut to [lo,
// hi).
template <class F>
void each_line(const Walk& w, int axis, int64_t lo, int64_t hi, const F& body) {
  const int inner = w.inner();
  int64_t begin[kMaxDims] = {0}, end[kMaxDims] = {0}, at[kMaxDims];
  int64_t i = 0, s = 0, o = 0, lines = 1;
  for (int d = 0; d < w.ndim; ++d) {
    begin[d] = at[d] = d == axis ? lo : 0;
    end[d] = d == axis ? hi : w.size[d];
    if (d != inner) lines *= end[d] - begin[d];
    i += begin[d] * w.index[d];
    s += begin[d] * w.self[d];
    o += begin[d] * w.other[d];
  }
  const int64_t n = end[inner] - begin[inner];
  for (int64_t line = 0; line < lines; ++line) {
    body(i, s, o, n);
    for (int d = w.ndim - 1; d >= 0; --d) {
      if (d == inner) continue;
      i += w.index[d];
      s += w.self[d];
      o += w.other[d];
      if (++at[d] < end[d]) break;
      const int64_t back = end[d] - begin[d];
      i -= back * w.index[d];
      s -= back * w.self[d];
      o -= back * w.other[d];
      at[d] = begin[d];
    }
  }
}

// visit(place in what is pointed into, place in the other) along a line of n places; `at` are the
// positions of the first.
template <class F>
void each_place(const Walk& w, const int64_t* at, int64_t n, const F& visit) {
  const int inner = w.inner();
  const int64_t is = w.index[inner], ss = w.self[inner], os = w.other[inner], step = w.step;
  if (is == 0) {
    const int64_t begin = *at * step;
    if (ss == 1 && os == 1) {
      for (int64_t k = 0; k < n; ++k) visit(begin + k, k);
    } else {
      for (int64_t k = 0; k < n; ++k) visit(begin + k * ss, k * os);
    }
  } else if (ss == 0 && is == 1 && os == 1) {
#pragma GCC unroll 4
    for (int64_t k = 0; k < n; ++k) visit(at[k] * step, k);
  } else {
    for (int64_t k = 0; k < n; ++k) visit(at[k * is] * step + k * ss, k * os);
  }
}

constexpr int64_t kPiece = 2048;  // positions that stay in the cache from their check to their use

// Whether all of n positions are in range(extent).
VECTORISED bool within(const int64_t* p, int64_t n, int64_t stride, int64_t extent) {
  const auto last = static_cast<uint64_t>(extent - 1);
  uint64_t signs = 0;
  auto see = [&](int64_t position) __attribute__((always_inline)) {
    const auto x = static_cast<uint64_t>(position);
    signs |= x | (last - x);
  };
  if (stride == 1) {
    for (int64_t i = 0; i < n; ++i) see(p[i]);
  } else {
    for (int64_t i = 0; i < n; ++i) see(p[i * stride]);
  }
  return signs >> 63 == 0;
}

// Whether equal ranges of the tensor pointed into are met by about as many positions each.
bool spread(const int64_t* p, int64_t n, int64_t stride, int64_t extent, int ranges) {
  std::vector<int64_t> met(ranges + 1);
  const double share = static_cast<double>(ranges) / static_cast<double>(extent);
  for (int64_t i = 0; i < n; ++i) {
    const double range = static_cast<double>(p[i * stride]) * share;
    ++met[range >= 0 && range < ranges ? static_cast<int>(range) : ranges];
  }
  return 2 * ranges * *std::max_element(met.begin(), met.end()) <= 3 * n;
}

// The same on several threads; tells whether all positions were in range. For those that aren't
// nothing is called. Writing splits no dim along which places may be equal.
template <class F>
bool each_line(const Walk& w, const int64_t* positions, bool writes, const F& body) {
  const int64_t total = w.count();
  if (total == 0) return true;
  int axis = -1;
  for (int d = 0; d < w.ndim; ++d) {
    const bool apart = !writes || (d != w.dim && w.self[d] != 0);
    if (apart && (axis < 0 || w.size[d] > w.size[axis])) axis = d;
  }
  const int inner = w.inner();
  const int64_t is = w.index[inner], ss = w.self[inner], os = w.other[inner];
  std::atomic<bool> inside{true};
  auto checked = [&](int64_t i, int64_t s, int64_t o, int64_t n) {
    if (is == 0) {  // one position for all
      const bool good = static_cast<uint64_t>(positions[i]) < static_cast<uint64_t>(w.extent);
      return good ? body(i, s, o, n) : inside.store(false);
    }
    for (int64_t k = 0; k < n; k += kPiece) {
      const int64_t m = std::min(kPiece, n - k);
      const bool good = within(positions + i + k * is, m, is, w.extent);
      good ? body(i + k * is, s + k * ss, o + k * os, m) : inside.store(false);
    }
  };
  WithoutGil without(static_cast<double>(total) > kLongWork / 2);
  if (axis < 0) {
    each_line(w, 0, 0, w.size[0], checked);
    return inside;
  }
  constexpr int64_t kGrain = 32768;
  // Where only slices could be cut, a thread rather has those whole that go to a range of its own.
  if (writes && axis == inner && w.vector && total >= 2 * kGrain && num_threads() > 1 &&
      spread(positions, w.size[w.dim], w.index[w.dim], w.extent, num_threads())) {
    parallel_for(
        w.extent, std::max<int64_t>(1, w.extent * kGrain / total), 1, [&](int64_t lo, int64_t hi) {
          const int64_t first = lo == 0 ? INT64_MIN : lo, end = hi == w.extent ? INT64_MAX : hi;
          each_line(w, 0, 0, w.size[0], [&](int64_t i, int64_t s, int64_t o, int64_t n) {
            if (positions[i] >= first && positions[i] < end) checked(i, s, o, n);
          });
        });
    return inside;
  }
  const int64_t grain = std::max<int64_t>(1, kGrain / std::max<int64_t>(1, total / w.size[axis]));
  parallel_for(w.size[axis], grain, axis == w.ndim - 1 ? 16 : 1,
               [&](int64_t lo, int64_t hi) { each_line(w, axis, lo, hi, checked); });
  return inside;
}

// ---- Positions ------------------------------------------------------------------------------

TensorRef positions_of(const Value& index) {
  Tensor& t = index.t();
  if (t.dtype != DType::I64 && t.dtype != DType::I32 && t.numel()) {
    fail(Error::Runtime, "Expected dtype int32/int64 for index; got ", info(t.dtype).name);
  }
  return to_dtype(t, DType::I64);
}

// Of what an op points into: its dim, and what it raises for a position that is out of range.
struct Bounds {
  int64_t extent;
  int dim;
  Error::Kind error;

  // Raises unless all positions are in range.
  void check(const Tensor& index) const {
    TensorRef kept = contiguous(const_cast<Tensor&>(index));
    const int64_t *p = kept->as<int64_t>(), count = kept->numel();
    std::atomic<bool> inside{true};
    parallel_for(count, 1 << 16, 512, [&](int64_t begin, int64_t end) {
      if (!within(p + begin, end - begin, 1, extent)) inside = false;
    });
    if (inside) return;
    const int64_t at = *std::find_if(p, p + count, [&](int64_t i) { return i < 0 || i >= extent; });
    fail(error, "index ", at, " is out of bounds for dimension ", dim, " with size ", extent);
  }
};

int64_t extent_of(const Tensor& t, int dim) { return t.ndim() ? t.layout->size(dim) : 1; }

int dim_of(const Tensor& t, const Value& dim) {
  return static_cast<int>(wrap_dim(dim.to_int(), t.ndim()));
}

void check_vector(const Tensor& index) {
  if (index.ndim() > 1) {
    fail(Error::Index, "Index is supposed to be a vector, but got dim: ", index.ndim(),
         " with type: ", info(index.dtype).name, " and size: ", format(index.sizes()));
  }
}

// ---- Reading --------------------------------------------------------------------------------

// out[place] = self[place with the position in it].
bool read(const Walk& w, const Tensor& index, const Tensor& self, Tensor& out) {
  const int inner = w.inner();
  const bool copies = w.index[inner] == 0 && w.self[inner] == 1 && w.other[inner] == 1;
  return with_size(itemsize(out.dtype), [&](auto tag) {
    using T = typename decltype(tag)::type;
    const int64_t* positions = index.as<int64_t>();
    const T* from = self.as<T>();
    T* to = out.as<T>();
    return each_line(w, positions, false, [=, &w](int64_t i, int64_t s, int64_t o, int64_t n) {
      const T* x = from + s;
      T* y = to + o;
      if (copies) {
        std::memcpy(y, x + positions[i] * w.step, n * sizeof(T));
      } else {
        each_place(w, positions + i, n, [=](int64_t at, int64_t k) { y[k] = x[at]; });
      }
    });
  });
}

void read(Ints sizes, const Tensor& index, const Tensor& self, Tensor& out, const Bounds& bounds) {
  const Walk w(sizes, index, self, out, bounds.dim);
  if (out.numel() == 0 || !read(w, index, self, out)) bounds.check(index);
}

// A place may be in fewer elements than self or src has, but not in more.
void check_places(const Tensor& self, const Tensor& index, int dim) {
  if (std::max(1, index.ndim()) != std::max(1, self.ndim())) {
    fail(Error::Runtime, "Index tensor must have the same number of dimensions as input tensor; ",
         "index has shape ", format(index.sizes()), ", input ", format(self.sizes()));
  }
  for (int d = 0; d < std::min(self.ndim(), index.ndim()); ++d) {
    if (d == dim || index.layout->size(d) <= self.layout->size(d)) continue;
    fail(Error::Runtime, "Size does not match at dimension ", d, " expected index ",
         format(index.sizes()), " to be no larger than self ", format(self.sizes()),
         " apart from dimension ", dim);
  }
}

void infer_gather(Call& c) {
  const Tensor &self = c.args[0].t(), &index = c.args[2].t();
  const int dim = dim_of(self, c.args[1]);
  if (index.numel()) check_places(self, index, dim);
  c.outs.push(empty(index.sizes(), self.dtype, self.device()));
}
void run_gather(Call& c) {
  const Tensor& self = c.args[0].t();
  const int dim = dim_of(self, c.args[1]);
  TensorRef index = positions_of(c.args[2]);
  read(index->sizes(), *index, self, *c.outs[0], {extent_of(self, dim), dim, Error::Runtime});
}
TM_NATIVE("gather", infer_gather, run_gather);

void infer_index_select(Call& c) {
  const Tensor &self = c.args[0].t(), &index = c.args[2].t();
  check_vector(index);
  const int dim = dim_of(self, c.args[1]);
  std::vector<int64_t> sizes = to_vector(self.sizes());
  if (self.ndim()) {
    sizes[dim] = index.numel();
  } else if (index.numel() != 1) {
    fail(Error::Index, "Index to scalar can have only 1 value, got ", index.numel());
  }
  c.outs.push(empty(sizes, self.dtype, self.device()));
}
void run_index_select(Call& c) {
  const Tensor& self = c.args[0].t();
  const int dim = dim_of(self, c.args[1]);
  TensorRef index = positions_of(c.args[2]);
  Tensor& out = *c.outs[0];
  read(out.sizes(), *index, self, out, {extent_of(self, dim), dim, Error::Index});
}
TM_NATIVE("index_select", infer_index_select, run_index_select);

// embedding(Tensor self, Index indices, ...): rows of a matrix.
void infer_embedding(Call& c) {
  const Tensor &self = c.args[0].t(), &index = c.args[1].t();
  if (self.ndim() != 2) fail(Error::Runtime, "'weight' must be 2-D");
  std::vector<int64_t> sizes = to_vector(index.sizes());
  sizes.push_back(self.layout->size(1));
  c.outs.push(empty(sizes, self.dtype, self.device()));
}
void run_embedding(Call& c) {
  const Tensor& self = c.args[0].t();
  TensorRef index = contiguous(*positions_of(c.args[1]));
  const int64_t sizes[2] = {index->numel(), self.layout->size(1)}, one = 1;
  TensorRef flat = alias(*index, intern({sizes, 1}, {&one, 1}, index->layout->offset).get());
  TensorRef rows = alias(*c.outs[0], contiguous_layout({sizes, 2}).get());
  read({sizes, 2}, *flat, self, *rows, {self.layout->size(0), 0, Error::Index});
}
TM_NATIVE("embedding", infer_embedding, run_embedding);

// ---- Writing --------------------------------------------------------------------------------

struct Mul {
  template <class T>
  void operator()(T& to, const T& x) const {
    to = static_cast<T>(to * x);
  }
  void operator()(bool& to, bool x) const { to &= x; }
};
// to = x if so, without a branch: which of them wins is anybody's guess.
template <class T>
void choose(bool so, T& to, const T& x) {
  using Bits =
      std::conditional_t<sizeof(T) == 8, uint64_t,
                         std::conditional_t<sizeof(T) == 4, uint32_t,
                                            std::conditional_t<sizeof(T) == 2, uint16_t, uint8_t>>>;
  Bits a, b;
  std::memcpy(&a, &to, sizeof(T));
  std::memcpy(&b, &x, sizeof(T));
  a ^= static_cast<Bits>((a ^ b) & (Bits{0} - Bits{so}));
  std::memcpy(&to, &a, sizeof(T));
}
struct Max {  // a NaN stays
  template <class T>
  void operator()(T& to, const T& x) const {
    choose((x > to) | (x != x), to, x);
  }
};
struct Min {
  template <class T>
  void operator()(T& to, const T& x) const {
    choose((x < to) | (x != x), to, x);
  }
};

template <class T, class Fold>
bool write(const Walk& w, const Tensor& index, const Tensor& src, Tensor& out, Fold fold) {
  const int64_t* positions = index.as<int64_t>();
  const T* from = src.as<T>();
  T* to = out.as<T>();
  return each_line(w, positions, true, [=, &w](int64_t i, int64_t s, int64_t o, int64_t n) {
    const T* x = from + o;
    T* y = to + s;
    each_place(w, positions + i, n, [=](int64_t at, int64_t k) { fold(y[at], x[k]); });
  });
}

template <class F>
auto with_number_type(DType t, const F& body) {  // what is added and multiplied
  if (t == DType::C64) return body(TypeTag<std::complex<float>>{});
  if (t == DType::C128) return body(TypeTag<std::complex<double>>{});
  return with_real_type(t, body);
}

enum class How { Set, Sum, Prod, Max, Min };

How how_of(const char* name) {
  const std::string s = name;
  if (s == "set") return How::Set;
  if (s == "sum") return How::Sum;
  if (s == "prod") return How::Prod;
  if (s == "amax") return How::Max;
  if (s == "amin") return How::Min;
  fail(Error::Runtime, "reduce argument must be one of sum, prod, mean, amax, amin; got ", s);
}

// What a fold that leaves the target's own value out begins with.
Number neutral(How how, DType t) {
  if (how == How::Sum) return Number::integer(0);
  if (how == How::Prod) return Number::integer(1);
  const bool least = how == How::Max;
  if (is_floating(t)) {
    const double infinity = std::numeric_limits<double>::infinity();
    return Number::real(least ? -infinity : infinity);
  }
  if (t == DType::Bool) return Number::boolean(!least);
  const int bits = static_cast<int>(8 * itemsize(t)) - (info(t).is_signed ? 1 : 0);
  const auto most = static_cast<int64_t>(bits == 64 ? ~uint64_t{0} : (uint64_t{1} << bits) - 1);
  return Number::integer(!least ? most : info(t).is_signed ? -most - 1 : 0);
}

TensorRef scalar_tensor(const Number& n, DType dtype) {
  TensorRef t = empty(Ints(), dtype);
  store_element(dtype, t->data(), n);
  return t;
}

// Tells whether all positions were in range; only what is at such ones is written.
bool write(How how, Ints sizes, const Tensor& index, Tensor& src, Tensor& out, int dim) {
  if (how != How::Set && itemsize(out.dtype) == 2 && is_floating(out.dtype)) {
    // Folded in f32 and rounded once.
    TensorRef wide = empty(out.sizes(), DType::F32), values = to_dtype(src, DType::F32);
    copy_into(*wide, out);
    const bool inside = write(how, sizes, index, *values, *wide, dim);
    copy_into(out, *wide);
    return inside;
  }
  const Walk w(sizes, index, out, src, dim);
  if (how == How::Set) {
    return with_size(itemsize(out.dtype), [&](auto tag) {
      return write<typename decltype(tag)::type>(w, index, src, out, Set());
    });
  }
  auto fold = [&](auto tag) -> bool {
    using T = typename decltype(tag)::type;
    if constexpr (!std::is_same<T, Half>::value && !std::is_same<T, BFloat16>::value) {
      if (how == How::Sum) return write<T>(w, index, src, out, Add());
      if (how == How::Prod) return write<T>(w, index, src, out, Mul());
      if constexpr (std::is_arithmetic<T>::value) {
        if (how == How::Max) return write<T>(w, index, src, out, Max());
        return write<T>(w, index, src, out, Min());
      } else {
        fail(Error::NotImplemented, "complex numbers have no order");
      }
    }
    fail(Error::NotImplemented, "not defined for ", info(out.dtype).name);
  };
  return with_number_type(out.dtype, fold);
}

// A copy of self (self itself, in place), in which the elements of src are at the positions, one
// after the other. Everything is checked before anything is written that is seen.
void write_all(Call& c, How how, bool include_self, Ints sizes, Tensor& index, Tensor& src, int dim,
               Error::Kind error) {
  Tensor &self = c.args[0].t(), &out = *c.outs[0];
  const Bounds bounds{extent_of(self, dim), dim, error};
  if (&out == &self || out.numel() == 0) bounds.check(index);
  if (&out != &self) copy_into(out, self);
  if (index.numel() == 0) return;
  if (!include_self) {
    TensorRef start = scalar_tensor(neutral(how, out.dtype), out.dtype);
    write(How::Set, sizes, index, *start, out, dim);
  }
  if (!write(how, sizes, index, src, out, dim)) bounds.check(index);
}

void push_like_self(Call& c) {
  const Tensor& self = c.args[0].t();
  c.outs.push(empty(self.sizes(), self.dtype, self.device()));
}

void check_same_dtype(const Tensor& self, const Tensor& src) {
  if (src.dtype == self.dtype) return;
  fail(Error::Runtime, "Expected self.dtype to be equal to src.dtype; got ", info(self.dtype).name,
       " and ", info(src.dtype).name);
}

// (Tensor self, int dim, Index index, Tensor src, ...)
void infer_scatter(Call& c) {
  const Tensor &self = c.args[0].t(), &index = c.args[2].t(), &src = c.args[3].t();
  const int dim = dim_of(self, c.args[1]);
  check_same_dtype(self, src);
  if (index.numel()) {
    check_places(self, index, dim);
    bool fits = src.ndim() == index.ndim() || (src.ndim() <= 1 && index.ndim() <= 1);
    for (int d = 0; fits && d < std::min(index.ndim(), src.ndim()); ++d) {
      fits = index.layout->size(d) <= src.layout->size(d);
    }
    if (!fits || index.numel() > std::max<int64_t>(1, src.numel())) {
      fail(Error::Runtime, "Expected index ", format(index.sizes()), " to be no larger than src ",
           format(src.sizes()));
    }
  }
  push_like_self(c);
}
void run_scatter_as(Call& c, How how, bool include_self) {
  const int dim = dim_of(c.args[0].t(), c.args[1]);
  TensorRef index = positions_of(c.args[2]);
  write_all(c, how, include_self, index->sizes(), *index, c.args[3].t(), dim, Error::Runtime);
}
void run_scatter(Call& c) { run_scatter_as(c, How::Set, true); }
void run_scatter_add(Call& c) { run_scatter_as(c, How::Sum, true); }
void run_scatter_fold(Call& c) { run_scatter_as(c, how_of(c.args[4].string), c.args[5].to_bool()); }
TM_NATIVE("scatter", infer_scatter, run_scatter, false, false, true);
TM_NATIVE("scatter_add", infer_scatter, run_scatter_add, false, false, true);
TM_NATIVE("_scatter_fold", infer_scatter, run_scatter_fold, false, false, true);

// (Tensor self, int dim, Index index, Number value)
void infer_scatter_value(Call& c) {
  const Tensor &self = c.args[0].t(), &index = c.args[2].t();
  const int dim = dim_of(self, c.args[1]);
  if (index.numel()) check_places(self, index, dim);
  push_like_self(c);
}
void run_scatter_value(Call& c) {
  const Tensor& self = c.args[0].t();
  TensorRef index = positions_of(c.args[2]);
  check_fits(self.dtype, c.args[3].number);
  TensorRef value = scalar_tensor(c.args[3].number, self.dtype);
  write_all(c, How::Set, true, index->sizes(), *index, *value, dim_of(self, c.args[1]),
            Error::Runtime);
}
TM_NATIVE("scatter.value", infer_scatter_value, run_scatter_value, false, false, true);

// (Tensor self, int dim, Index index, Tensor source, ...): whole slices.
void infer_slices(Call& c) {
  const Tensor &self = c.args[0].t(), &index = c.args[2].t(), &source = c.args[3].t();
  check_vector(index);
  const int dim = dim_of(self, c.args[1]);
  check_same_dtype(self, source);
  std::vector<int64_t> wanted = to_vector(self.sizes());
  if (self.ndim()) wanted[dim] = index.numel();
  const bool one =
      source.numel() == 1 && index.numel() == 1 && source.ndim() <= 1 && self.ndim() <= 1;
  if (source.sizes() != Ints(wanted) && !one) {
    fail(Error::Runtime, "source tensor shape must match self tensor shape, with ", index.numel(),
         " slices along dimension ", dim, "; got self ", format(self.sizes()), " and source ",
         format(source.sizes()));
  }
  push_like_self(c);
}
void run_slices(Call& c, How how, bool include_self, Tensor& source, Error::Kind error) {
  const Tensor& self = c.args[0].t();
  std::vector<int64_t> sizes = to_vector(self.sizes());
  const int dim = dim_of(self, c.args[1]);
  TensorRef index = positions_of(c.args[2]);
  if (self.ndim()) sizes[dim] = index->numel();
  write_all(c, how, include_self, sizes, *index, source, dim, error);
}
void run_index_add(Call& c) {
  TensorRef source(&c.args[3].t());
  const Number& alpha = c.args[4].number;
  if (alpha.tag == Number::Complex || alpha.as_double() != 1) {
    static Op& mul = core_op("mul");
    GradMode off(false);
    source = to_dtype(*call1(mul, {c.args[3], c.args[4]}), c.args[0].t().dtype);
  }
  run_slices(c, How::Sum, true, *source, Error::Runtime);
}
void run_index_fold(Call& c) {
  run_slices(c, how_of(c.args[4].string), c.args[5].to_bool(), c.args[3].t(), Error::Index);
}
void run_index_copy(Call& c) { run_slices(c, How::Set, true, c.args[3].t(), Error::Index); }
TM_NATIVE("index_copy", infer_slices, run_index_copy, false, false, true);
TM_NATIVE("index_add", infer_slices, run_index_add, false, false, true);
TM_NATIVE("_index_fold", infer_slices, run_index_fold, false, false, true);

// index_fill(Tensor self, int dim, Tensor index, Tensor value): positions may count from the end.
void infer_index_fill(Call& c) {
  const Tensor &self = c.args[0].t(), &value = c.args[3].t();
  check_vector(c.args[2].t());
  dim_of(self, c.args[1]);
  if (value.ndim() > 0) {
    fail(Error::Runtime, "only supports a 0-dimensional value tensor, but got tensor with ",
         value.ndim(), " dimension(s).");
  }
  push_like_self(c);
}
void run_index_fill(Call& c) {
  const Tensor& self = c.args[0].t();
  const int dim = dim_of(self, c.args[1]);
  const int64_t n = extent_of(self, dim);
  TensorRef given = contiguous(*positions_of(c.args[2])), index = empty(given->sizes(), DType::I64);
  for (int64_t i = 0; i < index->numel(); ++i) {
    const int64_t p = given->as<int64_t>()[i];
    index->as<int64_t>()[i] = p < 0 ? p + n : p;
  }
  std::vector<int64_t> sizes = to_vector(self.sizes());
  if (self.ndim()) sizes[dim] = index->numel();
  TensorRef value = to_dtype(c.args[3].t(), self.dtype);
  write_all(c, How::Set, true, sizes, *index, *value, dim, Error::Index);
}
TM_NATIVE("_index_fill", infer_index_fill, run_index_fill, false, false, true);

}  // namespace
}  // namespace taimatsu
