// sort, topk, kthvalue: line by line, on unsigned keys with positions (cpu/order.h).
#include "cpu/native.h"
#include "cpu/order.h"
#include "cpu/threads.h"

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

// What sorting a line takes, kept for the thread's next line.
template <class T>
struct Scratch {
  using Key = decltype(order_key(T()));
  std::vector<Item<Key>> items, other;

  // A line's items; largest first if `descending`.
  void load(const T* line, int64_t n, int64_t stride, bool descending) {
    items.resize(static_cast<size_t>(n));
    const Key flip = descending ? static_cast<Key>(~Key(0)) : Key(0);
    for (int64_t i = 0; i < n; ++i) {
      items[i] = Item<Key>(static_cast<Key>(order_key(line[i * stride]) ^ flip), i);
    }
  }
};

// Runs body(line, scratch) for all lines, some on each thread.
template <class T, class F>
void each_line(const Lines& lines, const F& body) {
  const int64_t grain = std::max<int64_t>(1, 16384 / std::max<int64_t>(1, lines.length));
  WithoutGil without(static_cast<double>(lines.count) * lines.length > kLongWork / 8);
  parallel_for(lines.count, grain, 1, [&](int64_t begin, int64_t end) {
    Scratch<T> scratch;
    for (int64_t i = begin; i < end; ++i) body(i, scratch);
  });
}

// The lines of both outputs along one dim.
struct Target {
  Lines values, indices;
  int64_t* index_data;
  Target(Tensor& v, Tensor& i, int dim)
      : values(v, dim), indices(i, dim), index_data(i.as<int64_t>()) {}
};

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
  const Lines from(t, dim);
  if (from.length >= int64_t{1} << 32) fail(Error::Runtime, "lines of 2^32 elements or more");
  const Target to(*c.outs[0], *c.outs[1], dim);
  with_real_type(t.dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    const T* data = t.as<T>();
    T* values = c.outs[0]->as<T>();
    each_line<T>(from, [&](int64_t i, Scratch<T>& scratch) {
      const T* line = data + from.at[i];
      scratch.load(line, from.length, from.stride, descending);
      auto& items = scratch.items;
      radix_sort(items, scratch.other);
      T* v = values + to.values.at[i];
      int64_t* index = to.index_data + to.indices.at[i];
      for (int64_t k = 0; k < from.length; ++k) {
        const int64_t at = items[k].position();
        v[k * to.values.stride] = line[at * from.stride];
        index[k * to.indices.stride] = at;
      }
    });
  });
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

// The k least items, in order if `sorted`. Most items are refused by one comparison with the
// greatest of those that may still belong to the result.
template <class Key, class Next>
void least(int64_t n, int64_t k, bool sorted, std::vector<Item<Key>>& kept, const Next& next) {
  kept.clear();
  const size_t room = static_cast<size_t>(2 * k + 64);
  kept.reserve(room);
  Item<Key> limit(static_cast<Key>(~Key(0)), 0xffffffff);
  bool limited = false;
  for (int64_t i = 0; i < n; ++i) {
    Item<Key> item = next(i);
    if (limited && !(item < limit)) continue;
    kept.push_back(item);
    if (kept.size() == room) {
      std::nth_element(kept.begin(), kept.begin() + k, kept.end());
      kept.resize(static_cast<size_t>(k));
      limit = *std::max_element(kept.begin(), kept.end());
      limited = true;
    }
  }
  if (static_cast<int64_t>(kept.size()) > k) {
    std::nth_element(kept.begin(), kept.begin() + k, kept.end());
    kept.resize(static_cast<size_t>(k));
  }
  if (sorted) std::sort(kept.begin(), kept.end());
}

void run_topk(Call& c) {
  Tensor& t = c.args[0].t();
  const int64_t k = t.ndim() ? c.args[1].to_int() : std::min<int64_t>(1, c.args[1].to_int());
  if (c.outs[0]->numel() == 0 || k == 0) return;
  const int dim = dim_of(t, c.args[2]);
  const bool largest = c.args[3].to_bool(), sorted = c.args[4].to_bool();
  const Lines from(t, dim);
  const Target to(*c.outs[0], *c.outs[1], dim);
  with_real_type(t.dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    using Key = decltype(order_key(T()));
    const T* data = t.as<T>();
    T* values = c.outs[0]->as<T>();
    each_line<T>(from, [&](int64_t i, Scratch<T>& scratch) {
      const T* line = data + from.at[i];
      auto& best = scratch.items;
      least<Key>(from.length, k, sorted, best, [&](int64_t j) {
        const Key key = order_key(line[j * from.stride]);
        return Item<Key>(largest ? static_cast<Key>(~key) : key, j);
      });
      for (int64_t j = 0; j < k; ++j) {
        const int64_t at = best[j].position();
        values[to.values.at[i] + j * to.values.stride] = line[at * from.stride];
        to.index_data[to.indices.at[i] + j * to.indices.stride] = at;
      }
    });
  });
}
TM_NATIVE("topk", infer_topk, run_topk);

// ---- kthvalue -------------------------------------------------------------------------------

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
  std::vector<int64_t> sizes = to_vector(t.sizes());
  if (t.ndim()) {
    if (c.args[3].to_bool()) {
      sizes[dim] = 1;
    } else {
      sizes.erase(sizes.begin() + dim);
    }
  }
  c.outs.push(empty(sizes, t.dtype, t.device()));
  c.outs.push(empty(sizes, DType::I64, t.device()));
}
void run_kthvalue(Call& c) {
  Tensor& t = c.args[0].t();
  if (t.numel() == 0) return;
  const int64_t k = c.args[1].to_int() - 1;
  const Lines from(t, dim_of(t, c.args[2]));
  with_real_type(t.dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    const T* data = t.as<T>();
    T* values = c.outs[0]->as<T>();
    int64_t* indices = c.outs[1]->as<int64_t>();
    each_line<T>(
        from,
        [&](int64_t i,
            Scratch<T>& scratch) {  // outputs are contiguous: one element for each line, in order
          const T* line = data + from.at[i];
          scratch.load(line, from.length, from.stride, false);
          auto& items = scratch.items;
          std::nth_element(items.begin(), items.begin() + k, items.end());
          indices[i] = items[k].position();
          values[i] = line[indices[i] * from.stride];
        });
  });
}
TM_NATIVE("kthvalue", infer_kthvalue, run_kthvalue);

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
void run_searchsorted(Call& c) {
  TensorRef sequence = contiguous(c.args[0].t()), input = contiguous(c.args[1].t());
  Tensor& out = *c.outs[0];
  const bool right = c.args[3].to_bool();
  const int64_t n = sequence->layout->size(sequence->ndim() - 1);
  const bool shared = sequence->ndim() == 1;
  const int64_t width =
      shared ? std::max<int64_t>(1, input->numel()) : input->layout->size(input->ndim() - 1);
  with_real_type(input->dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    const T *line = sequence->as<T>(), *values = input->as<T>();
    parallel_for(input->numel(), 2048, 64, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const T* first = line + (shared ? 0 : i / width * n);
        const auto key = order_key(values[i]);
        const T* found = right ? std::upper_bound(first, first + n, key,
                                                  [](auto k, T x) { return k < order_key(x); })
                               : std::lower_bound(first, first + n, key,
                                                  [](T x, auto k) { return order_key(x) < k; });
        if (out.dtype == DType::I32) {
          out.as<int32_t>()[i] = static_cast<int32_t>(found - first);
        } else {
          out.as<int64_t>()[i] = found - first;
        }
      }
    });
  });
}
TM_NATIVE("_searchsorted", infer_searchsorted, run_searchsorted);

}  // namespace
}  // namespace taimatsu
