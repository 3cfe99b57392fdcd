// Elements picked by a mask: nonzero, masked_select, masked_scatter.
#include <algorithm>
#include <complex>

#include "cpu/elements.h"
#include "cpu/native.h"
#include "cpu/threads.h"

#pragma GCC optimize("O3")

namespace taimatsu {
namespace {

// Where elements aren't zero, a byte of 0 or 1 each, and how many there are before each block.
class Flags {
 public:
  static constexpr int64_t kBlock = 32768;

  explicit Flags(Tensor& t) : kept_(contiguous(t)), count_(t.numel()) {
    if (t.dtype == DType::Bool) {
      data_ = reinterpret_cast<const uint8_t*>(kept_->as<bool>());
    } else {
      made_ = empty({&count_, 1}, DType::U8);
      data_ = made_->as<uint8_t>();
      switch (t.dtype) {
        case DType::C64: make<std::complex<float>>(); break;
        case DType::C128: make<std::complex<double>>(); break;
        default: with_real_type(t.dtype, [&](auto tag) { make<typename decltype(tag)::type>(); });
      }
    }
    const int64_t blocks = this->blocks();
    first_.assign(static_cast<size_t>(blocks) + 1, 0);
    parallel_for(blocks, 4, 1, [&](int64_t begin, int64_t end) {
      for (int64_t b = begin; b < end; ++b) {
        int64_t sum = 0;
        for (int64_t i = b * kBlock; i < std::min(count_, (b + 1) * kBlock); ++i) sum += data_[i];
        first_[b + 1] = sum;
      }
    });
    for (int64_t b = 0; b < blocks; ++b) first_[b + 1] += first_[b];
  }

  const uint8_t* data() const { return data_; }
  int64_t size() const { return count_; }
  int64_t blocks() const { return (count_ + kBlock - 1) / kBlock; }
  int64_t found() const { return first_.back(); }

  // body(begin, end, first, last): the elements of each block, and which of those found they are.
  template <class F>
  void each_block(const F& body) const {
    WithoutGil without(static_cast<double>(count_) > kLongWork / 4);
    parallel_for(blocks(), 4, 1, [&](int64_t begin, int64_t end) {
      for (int64_t b = begin; b < end; ++b) {
        if (first_[b] == first_[b + 1]) continue;
        body(b * kBlock, std::min(count_, (b + 1) * kBlock), first_[b], first_[b + 1]);
      }
    });
  }

  // Runs visit(i, flag) for [begin, end) until done(); stretches without any are skipped.
  template <class Done, class Visit>
  void walk(int64_t begin, int64_t end, const Done& done, const Visit& visit) const {
    int64_t i = begin;
    for (; i + 8 <= end && !done(); i += 8) {
      uint64_t eight;
      std::memcpy(&eight, data_ + i, 8);
      if (eight == 0) continue;
      for (int64_t j = i; j < i + 8 && !done(); ++j) visit(j, data_[j]);
    }
    for (; i < end && !done(); ++i) visit(i, data_[i]);
  }

 private:
  template <class T>
  void make() {
    const T* x = kept_->as<T>();
    uint8_t* to = made_->as<uint8_t>();
    parallel_for(count_, 65536, 64, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        if constexpr (std::is_same<T, Half>::value || std::is_same<T, BFloat16>::value) {
          to[i] = (x[i].bits & 0x7fff) != 0;
        } else {
          to[i] = x[i] != T(0);
        }
      }
    });
  }

  TensorRef kept_, made_;
  int64_t count_;
  const uint8_t* data_;
  std::vector<int64_t> first_;
};

// ---- nonzero --------------------------------------------------------------------------------

void run_nonzero(Call& c) {
  const Tensor& t = c.args[0].t();
  const Flags flags(c.args[0].t());
  const int ndim = t.ndim();
  const int64_t sizes[2] = {flags.found(), ndim};
  int64_t* out = push_empty(c, {sizes, 2}, DType::I64).as<int64_t>();
  if (ndim == 0) return;
  const int64_t line = t.layout->size(ndim - 1);
  flags.each_block([&](int64_t begin, int64_t end, int64_t first, int64_t last) {
    int64_t *to = out + first * ndim, *stop = out + last * ndim;
    for (int64_t i = begin; i < end && to < stop;) {  // line by line
      const int64_t row = i / line, origin = row * line, rest = std::min(end, origin + line);
      const auto done = [&] { return to == stop; };
      // Written whether or not there is one: what isn't is overwritten by the next.
      if (ndim == 1) {
        flags.walk(i, rest, done, [&](int64_t k, uint8_t flag) {
          *to = k;
          to += flag;
        });
      } else if (ndim == 2) {
        flags.walk(i, rest, done, [&](int64_t k, uint8_t flag) {
          to[0] = row;
          to[1] = k - origin;
          to += 2 * flag;
        });
      } else {
        int64_t at[kMaxDims], r = row;
        for (int d = ndim - 2; d >= 0; --d) {
          at[d] = r % t.layout->size(d);
          r /= t.layout->size(d);
        }
        flags.walk(i, rest, done, [&](int64_t k, uint8_t flag) {
          if (!flag) return;
          std::copy_n(at, ndim - 1, to);
          to[ndim - 1] = k - origin;
          to += ndim;
        });
      }
      i = rest;
    }
  });
}
TM_NATIVE("_nonzero", nullptr, run_nonzero);

// ---- masked_select --------------------------------------------------------------------------

TensorRef broadcast(Tensor& t, Ints sizes) {
  if (t.sizes() == sizes) return contiguous(t);
  TensorRef out = empty(sizes, t.dtype, t.device());
  copy_into(*out, t);
  return out;
}

void check_mask(const Tensor& mask) {
  if (mask.dtype != DType::Bool) {
    fail(Error::Runtime, "expected a bool mask, got ", info(mask.dtype).name);
  }
}

// Rows of `width` elements of x, those that are flagged, one after the other.
void pick_rows(const Flags& flags, const Tensor& x, int64_t width, Tensor& out) {
  const int64_t size = itemsize(x.dtype), bytes = width * size;
  if (bytes == 0) return;
  if (width > 1) {
    flags.each_block([&](int64_t begin, int64_t end, int64_t first, int64_t) {
      char* to = out.data() + first * bytes;
      for (int64_t i = begin; i < end; ++i) {
        if (!flags.data()[i]) continue;
        std::memcpy(to, x.data() + i * bytes, bytes);
        to += bytes;
      }
    });
    return;
  }
  with_size(size, [&](auto tag) {
    using T = typename decltype(tag)::type;
    const T* from = x.as<T>();
    T* all = out.as<T>();
    flags.each_block([&](int64_t begin, int64_t end, int64_t first, int64_t last) {
      T *to = all + first, *stop = all + last;
      flags.walk(
          begin, end, [&] { return to == stop; },
          [&](int64_t i, uint8_t flag) {
            *to = from[i];
            to += flag;
          });
    });
  });
}

void run_masked_select(Call& c) {
  Tensor &self = c.args[0].t(), &mask = c.args[1].t();
  check_mask(mask);
  std::vector<int64_t> sizes;
  broadcast_into(sizes, self.sizes());
  broadcast_into(sizes, mask.sizes());
  const Flags flags(*broadcast(mask, sizes));
  TensorRef x = broadcast(self, sizes);
  const int64_t n = flags.found();
  pick_rows(flags, *x, 1, push_empty(c, {&n, 1}, self.dtype));
}
TM_NATIVE("masked_select", nullptr, run_masked_select);

// _rows_where(Tensor self, Tensor mask): what x[mask] is; the mask has the sizes of the first dims.
void run_rows_where(Call& c) {
  Tensor &self = c.args[0].t(), &mask = c.args[1].t();
  const int skip = mask.ndim();
  std::vector<int64_t> sizes = {0};
  int64_t width = 1;
  for (int d = skip; d < self.ndim(); ++d) {
    sizes.push_back(self.layout->size(d));
    width *= self.layout->size(d);
  }
  const Flags flags(mask);
  TensorRef x = contiguous(self);
  sizes[0] = flags.found();
  pick_rows(flags, *x, width, push_empty(c, sizes, self.dtype));
}
TM_NATIVE("_rows_where", nullptr, run_rows_where);

// ---- masked_scatter -------------------------------------------------------------------------

void infer_masked_scatter(Call& c) {
  const Tensor &self = c.args[0].t(), &mask = c.args[1].t(), &source = c.args[2].t();
  check_mask(mask);
  if (source.dtype != self.dtype) {
    fail(Error::Runtime, "expected self and source to have same dtypes but got ",
         info(self.dtype).name, " and ", info(source.dtype).name);
  }
  std::vector<int64_t> sizes;
  broadcast_into(sizes, self.sizes());
  broadcast_into(sizes, mask.sizes());
  c.outs.push(empty(sizes, self.dtype, self.device()));
}
void run_masked_scatter(Call& c) {
  Tensor& out = *c.outs[0];
  const Flags flags(*broadcast(c.args[1].t(), out.sizes()));
  TensorRef source = contiguous(c.args[2].t());
  if (flags.found() > source->numel()) {
    fail(Error::Runtime, "number of elements of source < number of ones in mask; got ",
         source->numel(), " and ", flags.found());
  }
  copy_into(out, c.args[0].t());
  with_size(itemsize(out.dtype), [&](auto tag) {
    using T = typename decltype(tag)::type;
    T* to = out.as<T>();
    const T* all = source->as<T>();
    flags.each_block([&](int64_t begin, int64_t end, int64_t first, int64_t last) {
      const T *from = all + first, *stop = all + last;
      flags.walk(
          begin, end, [&] { return from == stop; },
          [&](int64_t i, uint8_t flag) {
            to[i] = flag ? *from : to[i];
            from += flag;
          });
    });
  });
}
TM_NATIVE("masked_scatter", infer_masked_scatter, run_masked_scatter);

}  // namespace
}  // namespace taimatsu
