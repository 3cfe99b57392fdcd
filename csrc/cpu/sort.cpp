// sort, topk, kthvalue, median, mode: line by line, on keys (cpu/order.h).
#include <algorithm>
#include <mutex>

#include "cpu/native.h"
#include "cpu/order.h"
#include "cpu/threads.h"
#include "cpu/workspace.h"

#pragma GCC optimize("O3")

namespace taimatsu {
namespace {

void check_ordered(const Tensor& t) {
  if (is_complex(t.dtype)) {
    fail(Error::Runtime, "complex numbers have no order; got ", info(t.dtype).name);
  }
}

int dim_of(const Tensor& t, const Value& dim) {
  return static_cast<int>(wrap_dim(dim.to_int(), t.ndim()));
}

// The tensor with `dim` as its last: a view.
TensorRef with_last(Tensor& t, int dim) {
  const Layout& l = *t.layout;
  if (l.ndim == 0 || dim == l.ndim - 1) return TensorRef(&t);
  std::vector<int64_t> sizes, strides;
  for (int k = 0; k < l.ndim; ++k) {
    const int d = k < dim ? k : k == l.ndim - 1 ? dim : k + 1;
    sizes.push_back(l.size(d));
    strides.push_back(l.stride(d));
  }
  return alias(t, intern(sizes, strides, l.offset).get());
}

// Lines along a dim, one after the other in memory.
struct Rows {
  TensorRef tensor;
  int64_t count, length;
  Rows(Tensor& t, int dim) : tensor(contiguous(*with_last(t, dim))) {
    length = t.ndim() ? t.layout->size(dim) : 1;
    count = length ? t.numel() / length : 0;
  }
  const char* line(int64_t i) const {
    return tensor->data() + i * length * itemsize(tensor->dtype);
  }
};

// An output whose lines along a dim are written one after the other: itself, or what is copied to
// it when all are.
class RowsOut {
 public:
  RowsOut(Tensor& out, int dim) : out_(with_last(out, dim)), rows_(out_) {
    if (!out_->layout->contiguous) rows_ = empty(out_->sizes(), out_->dtype);
    length_ = out_->ndim() ? out_->layout->size(out_->ndim() - 1) : 1;
  }
  char* line(int64_t i) const { return rows_->data() + i * length_ * itemsize(rows_->dtype); }
  int64_t* indices(int64_t i) const { return reinterpret_cast<int64_t*>(line(i)); }
  void finish() {
    if (rows_.get() != out_.get()) copy_into(*out_, *rows_);
  }

 private:
  TensorRef out_, rows_;
  int64_t length_;
};

// Runs body(i, keys, scratch) for all lines; the two have room for a line. Many short lines are
// shared out among threads; of long ones, each is worked on by all.
template <class F>
void each_line(const Rows& rows, const F& body) {
  if (rows.length > kLongLine) {
    const int64_t room = 2 * rows.length;
    TensorRef memory = empty({&room, 1}, DType::I64);
    auto* keys = reinterpret_cast<uint64_t*>(memory->as<int64_t>());
    WithoutGil without(true);
    for (int64_t i = 0; i < rows.count; ++i) body(i, keys, keys + rows.length);
    return;
  }
  const int64_t grain = std::max<int64_t>(1, 16384 / std::max<int64_t>(1, rows.length));
  WithoutGil without(static_cast<double>(rows.count) * rows.length > kLongWork / 8);
  parallel_for(rows.count, grain, 1, [&](int64_t begin, int64_t end) {
    uint64_t* keys = workspace<uint64_t>(2 * rows.length);
    for (int64_t i = begin; i < end; ++i) body(i, keys, keys + rows.length);
  });
}

// One element for each line: an element of the line and its position.
void put_element(const Rows& rows, int64_t i, int64_t position, Tensor& values, Tensor& indices) {
  const int64_t size = itemsize(values.dtype);
  indices.as<int64_t>()[i] = position;
  std::memcpy(values.data() + i * size, rows.line(i) + position * size, size);
}

int64_t find_key(const uint64_t* keys, uint64_t key, int64_t nth = 0) {
  for (int64_t i = 0;; ++i) {
    if (keys[i] == key && nth-- == 0) return i;
  }
}

// Values and indices with one element in place of each line.
void push_reduced(Call& c, int dim, bool keepdim) {
  const Tensor& t = c.args[0].t();
  std::vector<int64_t> sizes = to_vector(t.sizes());
  if (t.ndim()) {
    if (keepdim) {
      sizes[dim] = 1;
    } else {
      sizes.erase(sizes.begin() + dim);
    }
  }
  c.outs.push(empty(sizes, t.dtype, t.device()));
  c.outs.push(empty(sizes, DType::I64, t.device()));
}

// ---- sort -----------------------------------------------------------------------------------

void infer_sort(Call& c) {
  const Tensor& t = c.args[0].t();
  check_ordered(t);
  dim_of(t, c.args[1]);
  LayoutRef layout = dense_layout_like(*t.layout);
  c.outs.push(empty(layout.get(), t.dtype, t.device()));
  c.outs.push(empty(layout.get(), DType::I64, t.device()));
}
void run_sort(Call& c) {
  Tensor& t = c.args[0].t();
  if (t.numel() == 0) return;
  const int dim = dim_of(t, c.args[1]);
  const bool descending = c.args[2].to_bool();
  const Rows rows(t, dim);
  const int64_t n = rows.length;
  if (n >= int64_t{1} << 32) fail(Error::Runtime, "lines of 2^32 elements or more");
  RowsOut values(*c.outs[0], dim), indices(*c.outs[1], dim);
  const KeyType& type = key_type(t.dtype);
  each_line(rows, [&](int64_t i, uint64_t* keys, uint64_t* scratch) {
    const char* line = rows.line(i);
    const Words w = sort_line(type, line, n, descending, keys, scratch);
    char* to = values.line(i);
    int64_t* index = indices.indices(i);
    in_blocks(n, [&](int64_t begin, int64_t end) {
      for (int64_t k = begin; k < end; ++k) index[k] = w.position(k);
      if (w.dropped == 0) {
        type.store(w, begin, end, descending, line, to);
      } else {
        const auto* from = reinterpret_cast<const uint64_t*>(line);  // only 64 bits can be missing
        auto* wide = reinterpret_cast<uint64_t*>(to);
        for (int64_t k = begin; k < end; ++k) wide[k] = from[index[k]];
      }
    });
  });
  values.finish();
  indices.finish();
}
TM_NATIVE("sort", infer_sort, run_sort);

// ---- topk -----------------------------------------------------------------------------------

void infer_topk(Call& c) {
  const Tensor& t = c.args[0].t();
  check_ordered(t);
  const int64_t k = c.args[1].to_int();
  const int dim = dim_of(t, c.args[2]);
  const int64_t n = t.ndim() ? t.layout->size(dim) : 1;
  if (k < 0 || k > n) fail(Error::Runtime, "selected index k out of range; got ", k, " of ", n);
  std::vector<int64_t> sizes = to_vector(t.sizes());
  if (t.ndim()) sizes[dim] = k;
  c.outs.push(empty(sizes, t.dtype, t.device()));
  c.outs.push(empty(sizes, DType::I64, t.device()));
}

// The k least of the keys that it is shown, in order, the first of equal ones: for k so small that
// hardly a key gets past the comparison with the greatest of those kept.
class Least {
 public:
  static constexpr int64_t kMost = 64;
  explicit Least(int64_t k) : k_(k) {}
  int64_t position(int64_t i) const { return kept_[i].position; }

  // The keys of positions from `first` on.
  void add(const uint64_t* keys, int64_t n, int64_t first) {
    int64_t i = 0;
    for (; i < n && count_ < k_; ++i) insert({keys[i], first + i}, count_++);
    while ((i = next_below(keys, i, n, kept_[k_ - 1].key)) < n) {
      insert({keys[i], first + i}, k_ - 1);
      ++i;
    }
  }
  void add(const Least& o) {
    for (int64_t i = 0; i < o.count_; ++i) {
      if (count_ < k_) {
        insert(o.kept_[i], count_++);
      } else if (o.kept_[i] < kept_[k_ - 1]) {
        insert(o.kept_[i], k_ - 1);
      }
    }
  }

 private:
  struct Ranked {
    uint64_t key;
    int64_t position;
    bool operator<(const Ranked& o) const {
      return key != o.key ? key < o.key : position < o.position;
    }
  };
  void insert(Ranked r, int64_t at) {
    for (; at > 0 && r < kept_[at - 1]; --at) kept_[at] = kept_[at - 1];
    kept_[at] = r;
  }
  int64_t k_, count_ = 0;
  Ranked kept_[kMost];
};

Least least_of(const KeyType& type, const char* line, int64_t n, bool descending, int64_t k) {
  constexpr int64_t kBlock = 4096;     // keys that stay in the cache until they are looked at
  constexpr int64_t kShare = 1 << 16;  // elements for which a thread is woken: some 30 us
  Least all(k);
  std::mutex lock;
  parallel_for(n, kShare, kBlock, [&](int64_t begin, int64_t end) {
    Least own(k);
    uint64_t keys[kBlock];
    for (int64_t i = begin; i < end; i += kBlock) {
      const int64_t m = std::min(kBlock, end - i);
      type.load(line + i * type.bits / 8, m, descending, keys);
      own.add(keys, m, i);
    }
    std::lock_guard<std::mutex> held(lock);
    all.add(own);
  });
  return all;
}

// Their positions, in the order of the line, for any k; `found` has room for n.
void select_least(const uint64_t* keys, int64_t n, int64_t k, uint64_t* found) {
  const Selected kth = select_key(keys, n, k - 1, range_of_keys(keys, n), found);
  int64_t equal = k - kth.less, count = 0;
  for (int64_t i = 0; i < n && count < k; ++i) {
    if (keys[i] < kth.key || (keys[i] == kth.key && equal-- > 0)) {
      found[count++] = static_cast<uint64_t>(i);
    }
  }
}

void run_topk(Call& c) {
  Tensor& t = c.args[0].t();
  const int64_t k = t.ndim() ? c.args[1].to_int() : std::min<int64_t>(1, c.args[1].to_int());
  if (c.outs[0]->numel() == 0 || k == 0) return;
  const int dim = dim_of(t, c.args[2]);
  const bool largest = c.args[3].to_bool(), sorted = c.args[4].to_bool();
  const Rows rows(t, dim);
  const int64_t n = rows.length;
  RowsOut values(*c.outs[0], dim), indices(*c.outs[1], dim);
  const KeyType& type = key_type(t.dtype);
  const int64_t size = type.bits / 8;
  each_line(rows, [&](int64_t i, uint64_t* keys, uint64_t* found) {
    const char* line = rows.line(i);
    int64_t* index = indices.indices(i);
    char* to = values.line(i);
    auto copy = [&] {
      for (int64_t j = 0; j < k; ++j) std::memcpy(to + j * size, line + index[j] * size, size);
    };
    if (k <= Least::kMost && 8 * k <= n) {
      const Least kept = least_of(type, line, n, largest, k);
      for (int64_t j = 0; j < k; ++j) index[j] = kept.position(j);
      return copy();
    }
    load_keys(type, line, n, largest, keys);
    select_least(keys, n, k, found);
    for (int64_t j = 0; j < k; ++j) index[j] = static_cast<int64_t>(found[j]);
    copy();
    if (!sorted) return;
    const Words w = sort_line(type, to, k, largest, keys, found);
    uint64_t* at = w.data == keys ? found : keys;
    for (int64_t j = 0; j < k; ++j) at[j] = static_cast<uint64_t>(index[w.position(j)]);
    for (int64_t j = 0; j < k; ++j) index[j] = static_cast<int64_t>(at[j]);
    copy();
  });
  values.finish();
  indices.finish();
}
TM_NATIVE("topk", infer_topk, run_topk);

// ---- kthvalue, median -----------------------------------------------------------------------

void infer_kthvalue(Call& c) {
  const Tensor& t = c.args[0].t();
  check_ordered(t);
  const int64_t k = c.args[1].to_int();
  const int dim = dim_of(t, c.args[2]);
  const int64_t n = t.ndim() ? t.layout->size(dim) : 1;
  if (k < 1 || k > n) {
    fail(Error::Runtime, "selected number k out of range for dimension ", dim, "; got ", k, " of ",
         n);
  }
  push_reduced(c, dim, c.args[3].to_bool());
}

// For each line the element that comes k-th, k being rank(number of NaNs).
template <class F>
void select_ranks(Call& c, Rows& rows, const F& rank) {
  const KeyType& type = key_type(c.args[0].t().dtype);
  const int64_t n = rows.length;
  each_line(rows, [&](int64_t i, uint64_t* keys, uint64_t* scratch) {
    load_keys(type, rows.line(i), n, false, keys);
    const KeyRange range = range_of_keys(keys, n);
    int64_t nans = 0;
    if (type.nan && range.high == type.nan) nans = std::count(keys, keys + n, type.nan);
    const int64_t k = rank(nans);
    const Selected s = select_key(keys, n, k, range, scratch);
    put_element(rows, i, find_key(keys, s.key, k - s.less), *c.outs[0], *c.outs[1]);
  });
}

void run_kthvalue(Call& c) {
  Tensor& t = c.args[0].t();
  if (t.numel() == 0) return;
  const int64_t k = c.args[1].to_int() - 1;
  Rows rows(t, dim_of(t, c.args[2]));
  select_ranks(c, rows, [k](int64_t) { return k; });
}
TM_NATIVE("kthvalue", infer_kthvalue, run_kthvalue);

// (Tensor self, int dim, bool keepdim): one element of each line, of which there has to be one.
void infer_element(Call& c) {
  const Tensor& t = c.args[0].t();
  check_ordered(t);
  const int dim = dim_of(t, c.args[1]);
  if (t.ndim() && t.layout->size(dim) == 0) {
    fail(Error::Index, "Expected reduction dim ", dim, " to have non-zero size.");
  }
  push_reduced(c, dim, c.args[2].to_bool());
}

template <bool ignore_nan>
void run_median(Call& c) {
  Tensor& t = c.args[0].t();
  if (t.numel() == 0) return;
  Rows rows(t, dim_of(t, c.args[1]));
  const int64_t n = rows.length;
  select_ranks(c, rows, [n](int64_t nans) {
    if (ignore_nan) return std::max<int64_t>(0, n - nans - 1) / 2;
    return nans ? n - nans : (n - 1) / 2;  // the first NaN
  });
}
TM_NATIVE("median.dim", infer_element, run_median<false>);
TM_NATIVE("nanmedian.dim", infer_element, run_median<true>);

// ---- mode -----------------------------------------------------------------------------------

void run_mode(Call& c) {
  Tensor& t = c.args[0].t();
  if (t.numel() == 0) return;
  const Rows rows(t, dim_of(t, c.args[1]));
  const KeyType& type = key_type(t.dtype);
  each_line(rows, [&](int64_t i, uint64_t* keys, uint64_t* scratch) {
    const Words w = sort_line(type, rows.line(i), rows.length, false, keys, scratch);
    auto key = [&](int64_t k) { return key_at(type, rows.line(i), w.position(k), false); };
    const bool nans = type.nan && key(rows.length - 1) == type.nan;
    auto differ = [&](int64_t a, int64_t b) {  // a NaN is like no other
      return w.group(a) != w.group(b) || (w.dropped > 0 && key(a) != key(b)) ||
             (nans && key(a) == type.nan);
    };
    int64_t longest = 0, last = 0;
    for (int64_t begin = 0; begin < rows.length;) {
      int64_t end = begin + 1;
      while (end < rows.length && !differ(end, begin)) ++end;
      if (end - begin > longest) {
        longest = end - begin;
        last = end - 1;
      }
      begin = end;
    }
    put_element(rows, i, w.position(last), *c.outs[0], *c.outs[1]);
  });
}
TM_NATIVE("mode", infer_element, run_mode);

}  // namespace
}  // namespace taimatsu
