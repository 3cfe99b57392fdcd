// Searching and counting: searchsorted, isin, bincount, histograms.
#include <algorithm>
#include <cmath>

#include "cpu/elements.h"
#include "cpu/native.h"
#include "cpu/order.h"
#include "cpu/threads.h"

#pragma GCC optimize("O3")

namespace taimatsu {
namespace {

constexpr int64_t kBlock = 1024;  // elements whose keys are made at a time

void check_ordered(const Tensor& t) {
  if (is_complex(t.dtype)) {
    fail(Error::Runtime, "complex numbers have no order; got ", info(t.dtype).name);
  }
}

// Runs body(keys, begin, count) for blocks of the tensor's elements, some on each thread.
template <class F>
void each_block(Tensor& t, const F& body) {
  const KeyType& type = key_type(t.dtype);
  parallel_for(t.numel(), 4 * kBlock, kBlock, [&](int64_t begin, int64_t end) {
    uint64_t keys[kBlock];
    for (int64_t i = begin; i < end; i += kBlock) {
      const int64_t n = std::min(kBlock, end - i);
      type.load(t.data() + i * type.bits / 8, n, false, keys);
      body(keys, i, n);
    }
  });
}

// ---- searchsorted ---------------------------------------------------------------------------

// searchsorted(Tensor sorted_sequence, Tensor self, *, bool out_int32, bool right)
void infer_searchsorted(Call& c) {
  const Tensor &sequence = c.args[0].t(), &t = c.args[1].t();
  check_ordered(t);
  if (sequence.ndim() == 0)
    fail(Error::Runtime, "the sorted sequence must have a dimension; got 0-D");
  if (sequence.dtype != t.dtype) {
    fail(Error::Runtime, "the boundary tensor and the input must have the same dtype, but got ",
         info(sequence.dtype).name, " and ", info(t.dtype).name);
  }
  if (sequence.ndim() > 1) {
    bool same = sequence.ndim() == t.ndim();
    for (int d = 0; same && d < t.ndim() - 1; ++d)
      same = sequence.layout->size(d) == t.layout->size(d);
    if (!same) {
      fail(Error::Runtime,
           "boundaries must be 1-D, or the first N-1 dimensions of boundaries and input "
           "must match; got ",
           format(sequence.sizes()), " and ", format(t.sizes()));
    }
  }
  c.outs.push(empty(t.sizes(), c.args[2].to_bool() ? DType::I32 : DType::I64, t.device()));
}

template <class Index>
void search_rows(const KeyType& type, const char* lines, int64_t n, const char* values,
                 int64_t width, int64_t rows, bool right, Index* to) {
  const int64_t size = type.bits / 8;
  std::vector<uint64_t> keys(static_cast<size_t>(n));
  for (int64_t r = 0; r < rows; ++r) {
    type.load(lines + r * n * size, n, false, keys.data());
    const int64_t blocks = (width + kBlock - 1) / kBlock;
    parallel_for(blocks, std::max<int64_t>(1, 8), 1, [&](int64_t begin, int64_t end) {
      uint64_t wanted[kBlock];
      for (int64_t i = begin * kBlock; i < std::min(width, end * kBlock); i += kBlock) {
        const int64_t count = std::min(kBlock, width - i);
        type.load(values + (r * width + i) * size, count, false, wanted);
        search_keys(keys.data(), n, wanted, count, right, to + r * width + i);
      }
    });
  }
}

void run_searchsorted(Call& c) {
  TensorRef sequence = contiguous(c.args[0].t()), input = contiguous(c.args[1].t());
  Tensor& out = *c.outs[0];
  if (input->numel() == 0) return;
  const bool right = c.args[3].to_bool();
  const int64_t n = sequence->layout->size(sequence->ndim() - 1);
  const bool shared = sequence->ndim() == 1;
  const int64_t width = shared ? input->numel() : input->layout->size(input->ndim() - 1);
  const int64_t rows = input->numel() / width;
  const KeyType& type = key_type(input->dtype);
  auto run = [&](auto* to) {
    search_rows(type, sequence->data(), n, input->data(), width, rows, right, to);
  };
  WithoutGil without(static_cast<double>(input->numel()) > kLongWork / 16);
  if (out.dtype == DType::I32) return run(out.as<int32_t>());
  run(out.as<int64_t>());
}
TM_NATIVE("_searchsorted", infer_searchsorted, run_searchsorted);

// ---- isin -----------------------------------------------------------------------------------

// _isin(Tensor elements, Tensor tests, bool invert) -> Tensor, of one dtype.
void infer_isin(Call& c) {
  const Tensor& t = c.args[0].t();
  check_ordered(t);
  c.outs.push(empty(t.sizes(), DType::Bool, t.device()));
}
void run_isin(Call& c) {
  TensorRef elements = contiguous(c.args[0].t()), tests = contiguous(c.args[1].t());
  const bool invert = c.args[2].to_bool();
  bool* out = c.outs[0]->as<bool>();
  const int64_t n = tests->numel();
  if (n == 0) {
    std::fill_n(out, elements->numel(), invert);
    return;
  }
  const KeyType& type = key_type(elements->dtype);
  std::vector<uint64_t> keys(static_cast<size_t>(n)), other(static_cast<size_t>(n));
  WithoutGil without(static_cast<double>(elements->numel() + n) > kLongWork / 16);
  type.load(tests->data(), n, false, keys.data());
  const KeyRange range = range_of_keys(keys.data(), n);
  const uint64_t nan = type.nan, span = range.high - range.low;
  if (span < static_cast<uint64_t>(16 * (n + elements->numel()))) {
    std::vector<uint8_t> present(static_cast<size_t>(span) + 1, 0);
    for (uint64_t k : keys) present[k - range.low] = !nan || k != nan;  // NaN equals nothing
    each_block(*elements, [&](const uint64_t* block, int64_t begin, int64_t count) {
      for (int64_t i = 0; i < count; ++i) {
        const uint64_t at = block[i] - range.low;
        out[begin + i] = (at <= span && present[at]) != invert;
      }
    });
    return;
  }
  Words w = make_words(keys.data(), n, range, false);
  sort_words(w, other.data());
  each_block(*elements, [&](const uint64_t* block, int64_t begin, int64_t count) {
    uint64_t wanted[kBlock];
    int64_t found[kBlock];
    for (int64_t i = 0; i < count; ++i) wanted[i] = block[i] - w.low;
    search_keys(w.data, n, wanted, count, false, found);
    for (int64_t i = 0; i < count; ++i) {
      const bool in = block[i] >= w.low && found[i] < n && w.data[found[i]] == wanted[i] &&
                      (!nan || block[i] != nan);
      out[begin + i] = in != invert;
    }
  });
}
TM_NATIVE("_isin", infer_isin, run_isin);

// ---- bincount -------------------------------------------------------------------------------

// The largest of n positions, of which a negative one counts as larger than any other.
template <class T>
uint64_t largest_position(const T* x, int64_t n) {
  constexpr int kLanes = 4;
  uint64_t most[kLanes] = {0};
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    for (int k = 0; k < kLanes; ++k) {
      most[k] = std::max(most[k], static_cast<uint64_t>(static_cast<int64_t>(x[i + k])));
    }
  }
  for (; i < n; ++i) most[0] = std::max(most[0], static_cast<uint64_t>(static_cast<int64_t>(x[i])));
  return std::max(std::max(most[0], most[1]), std::max(most[2], most[3]));
}

// Adds to counts[at(i)], begin <= i < end. A count that has just been stored is not known at once:
// elements next to each other are counted in different tables.
template <class F>
void count_part(int64_t begin, int64_t end, int64_t size, int64_t* counts, const F& at) {
  constexpr int kTables = 4;
  constexpr int64_t kSmall = 2048, kMost = int64_t{1} << 31;
  int64_t i = begin;
  if (size <= kSmall && end - begin >= 8 * size && end - begin < kMost) {
    std::vector<uint32_t> tables(static_cast<size_t>(kTables * size), 0);
    uint32_t* t = tables.data();
    for (; i + kTables <= end; i += kTables) {
      for (int k = 0; k < kTables; ++k) ++t[k * size + at(i + k)];
    }
    for (int64_t v = 0; v < size; ++v) {
      for (int k = 0; k < kTables; ++k) counts[v] += t[k * size + v];
    }
  }
  for (; i < end; ++i) ++counts[at(i)];
}

// Adds to counts[position(i)], 0 <= i < n, with tables of each thread's own.
template <class F>
void count_positions(int64_t n, int64_t size, int64_t* counts, const F& position) {
  const int64_t blocks = std::max<int64_t>(
      1, std::min<int64_t>(num_threads(), n / std::max<int64_t>(65536, 2 * size)));
  const int64_t block = (n + blocks - 1) / blocks;
  std::vector<int64_t> tables(static_cast<size_t>((blocks - 1) * size), 0);
  parallel_for(blocks, 1, 1, [&](int64_t b, int64_t end) {
    for (; b < end; ++b) {
      int64_t* table = b ? tables.data() + (b - 1) * size : counts;
      const F at = position;  // here, where the compiler sees that counting doesn't change it
      count_part(b * block, std::min(n, (b + 1) * block), size, table, at);
    }
  });
  for (int64_t b = 1; b < blocks; ++b) {
    const int64_t* table = tables.data() + (b - 1) * size;
    for (int64_t v = 0; v < size; ++v) counts[v] += table[v];
  }
}

// The least that is more than x >= 0; 0 if there is none.
int64_t next_power_of_two(int64_t x) {
  int64_t power = 1;
  while (power && power <= x) power = power >> 61 ? 0 : power << 1;
  return power;
}

void run_bincount(Call& c) {
  Tensor& self = c.args[0].t();
  const bool weighted = !c.args[1].none();
  const int64_t at_least = c.args[2].to_int();
  if (self.ndim() != 1 || !is_integral(self.dtype)) {
    fail(Error::Runtime, "only supports 1-d non-negative integral inputs; got ",
         info(self.dtype).name, " with sizes ", format(self.sizes()));
  }
  if (at_least < 0) fail(Error::Runtime, "minlength should be >= 0; got ", at_least);
  if (weighted && c.args[1].t().sizes() != self.sizes()) {
    fail(Error::Runtime, "weights should be 1-d and have the same length as input; got ",
         format(c.args[1].t().sizes()), " and ", format(self.sizes()));
  }
  TensorRef values = contiguous(self);
  const int64_t n = self.numel();
  DType dtype = DType::I64;
  TensorRef weights;
  if (weighted) {
    dtype = c.args[1].t().dtype == DType::F32 ? DType::F32 : DType::F64;
    weights = contiguous(*to_dtype(c.args[1].t(), dtype));
  }
  with_real_type(self.dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    const T* x = values->as<T>();
    if constexpr (!std::is_integral<T>::value) return;
    auto at = [x](int64_t i) { return static_cast<int64_t>(x[i]); };
    int64_t size = at_least;
    // A power of two that is more than all is found quicker than the largest, which the counts
    // tell.
    int64_t bits = 0;
    for (int64_t i = 0; i < n; ++i) bits |= at(i);
    const int64_t bound = bits < 0 ? 0 : next_power_of_two(bits);
    if (!weighted && bound && bound <= std::max<int64_t>(4096, n)) {
      std::vector<int64_t> counts(static_cast<size_t>(bound), 0);
      count_positions(n, bound, counts.data(), at);
      while (!counts.empty() && !counts.back()) counts.pop_back();
      size = std::max(size, static_cast<int64_t>(counts.size()));
      Tensor& out = push_empty(c, {&size, 1}, dtype);
      std::fill_n(std::copy(counts.begin(), counts.end(), out.as<int64_t>()),
                  size - static_cast<int64_t>(counts.size()), 0);
      return;
    }
    if (n) {
      const auto most = static_cast<int64_t>(largest_position(x, n));
      if (most < 0) {
        fail(Error::Runtime, "only supports 1-d non-negative integral inputs; got an element ",
             most);
      }
      size = std::max(size, most + 1);
    }
    Tensor& out = push_empty(c, {&size, 1}, dtype);
    fill(out, Number::integer(0));
    auto add = [&](auto* sums, const auto* w) {  // in order: floating sums depend on it
      for (int64_t i = 0; i < n; ++i) sums[static_cast<int64_t>(x[i])] += w[i];
    };
    if (dtype == DType::F32) return add(out.as<float>(), weights->as<float>());
    if (dtype == DType::F64) return add(out.as<double>(), weights->as<double>());
    count_positions(n, size, out.as<int64_t>(), at);
  });
}
TM_NATIVE("bincount", nullptr, run_bincount);

// ---- histograms -----------------------------------------------------------------------------

// _histc(Tensor self, int bins, float low, float high): elements in equal parts of [low, high].
void infer_histc(Call& c) {
  const int64_t bins = c.args[1].to_int();
  c.outs.push(empty({&bins, 1}, c.args[0].t().dtype, c.args[0].t().device()));
}
void run_histc(Call& c) {
  TensorRef kept = contiguous(c.args[0].t());
  const int64_t bins = c.args[1].to_int(), n = kept->numel();
  const double low = c.args[2].to_double(), high = c.args[3].to_double();
  const double scale = static_cast<double>(bins) / (high - low);
  std::vector<int64_t> counts(static_cast<size_t>(bins) + 1, 0);  // the last: outside
  with_real_type(kept->dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    const T* x = kept->as<T>();
    {
      WithoutGil without(static_cast<double>(n) > kLongWork / 4);
      count_positions(n, bins + 1, counts.data(), [=](int64_t i) {
        const auto v = static_cast<double>(static_cast<float>(0) + x[i]);
        if (!(v >= low && v <= high)) return bins;
        return std::min(bins - 1, static_cast<int64_t>((v - low) * scale));
      });
    }
    T* out = c.outs[0]->as<T>();
    for (int64_t b = 0; b < bins; ++b) {
      if constexpr (sizeof(T) == 2 && !std::is_integral<T>::value) {
        out[b] = T(static_cast<float>(counts[b]));
      } else {
        out[b] = static_cast<T>(counts[b]);
      }
    }
  });
}
TM_NATIVE("_histc", infer_histc, run_histc);

// _histogram(Tensor self, Tensor edges, Tensor? weight): what lies between edges that rise; the
// last part has both its ends. f32 or f64, weights of the same dtype.
void infer_histogram(Call& c) {
  const Tensor& edges = c.args[1].t();
  const int64_t bins = std::max<int64_t>(0, edges.numel() - 1);
  if (edges.dtype != DType::F32 && edges.dtype != DType::F64) {
    fail(Error::NotImplemented, "not implemented for '", info(edges.dtype).legacy, "'");
  }
  c.outs.push(empty({&bins, 1}, edges.dtype, edges.device()));
}
void run_histogram(Call& c) {
  TensorRef x = contiguous(c.args[0].t()), edges = contiguous(c.args[1].t());
  TensorRef weight = c.args[2].none() ? TensorRef() : contiguous(c.args[2].t());
  const int64_t n = edges->numel(), bins = n - 1;
  if (bins < 1) return;
  const KeyType& type = key_type(x->dtype);
  std::vector<uint64_t> keys(static_cast<size_t>(n));
  std::vector<int32_t> at(static_cast<size_t>(x->numel()));
  std::vector<double> sums(static_cast<size_t>(bins) + 1, 0);
  std::vector<int64_t> counts(static_cast<size_t>(bins) + 1, 0);
  {
    WithoutGil without(static_cast<double>(x->numel()) > kLongWork / 16);
    type.load(edges->data(), n, false, keys.data());
    const uint64_t last = keys.back();
    each_block(*x, [&](const uint64_t* block, int64_t begin, int64_t count) {
      search_keys(keys.data(), n, block, count, true, at.data() + begin);
      for (int64_t i = 0; i < count; ++i) {
        int32_t& bin = at[static_cast<size_t>(begin + i)];
        bin = block[i] == last ? static_cast<int32_t>(bins - 1) : bin - 1;
        if (bin < 0) bin = static_cast<int32_t>(bins);
      }
    });
    if (weight) {
      auto add = [&](const auto* w) {
        for (size_t i = 0; i < at.size(); ++i) sums[at[i]] += static_cast<double>(w[i]);
      };
      weight->dtype == DType::F32 ? add(weight->as<float>()) : add(weight->as<double>());
    } else {
      count_positions(x->numel(), bins + 1, counts.data(),
                      [bin = at.data()](int64_t i) { return bin[i]; });
      for (int64_t b = 0; b < bins; ++b) sums[b] = static_cast<double>(counts[b]);
    }
  }
  if (edges->dtype == DType::F32) {
    for (int64_t b = 0; b < bins; ++b) c.outs[0]->as<float>()[b] = static_cast<float>(sums[b]);
  } else {
    std::copy_n(sums.begin(), bins, c.outs[0]->as<double>());
  }
}
TM_NATIVE("_histogram", infer_histogram, run_histogram);

}  // namespace
}  // namespace taimatsu
