// Distinct elements: unique, unique_consecutive, of elements and of rows.
//
// Each routine gives the values (or the rows' positions), the group of each element (`inverse`) and
// the size of each group (`counts`); the latter two are empty unless they are asked for.
#include <algorithm>

#include "cpu/elements.h"
#include "cpu/native.h"
#include "cpu/order.h"

#pragma GCC optimize("O3")

namespace taimatsu {
namespace {

Tensor& push_vector(Call& c, int64_t n, DType dtype) { return push_empty(c, {&n, 1}, dtype); }

// The first n elements of a vector: those themselves, unless they are the smaller part.
void push_part(Call& c, Tensor& whole, int64_t n) {
  LayoutRef first = contiguous_layout({&n, 1});
  TensorRef part = make_tensor(whole.storage, first.get(), whole.dtype);
  c.outs.push(2 * n < whole.numel() ? clone(*part) : part);
}

// The group of each element, if wanted; else nothing.
int64_t* new_inverse(const Tensor& t, bool wanted, TensorRef& inverse) {
  const int64_t none = 0;
  inverse = wanted ? empty(t.sizes(), DType::I64) : empty({&none, 1}, DType::I64);
  return wanted ? inverse->as<int64_t>() : nullptr;
}

void push_groups(Call& c, TensorRef inverse, const std::vector<int64_t>& counts, bool wanted) {
  c.outs.push(inverse);
  Tensor& out = push_vector(c, wanted ? static_cast<int64_t>(counts.size()) : 0, DType::I64);
  if (wanted) std::copy(counts.begin(), counts.end(), out.as<int64_t>());
}

// Integers of a range not much wider than there are elements: a table of counts.
void unique_dense(Call& c, const KeyType& type, const Tensor& t, uint64_t* keys, KeyRange range) {
  const bool with_inverse = c.args[1].to_bool(), with_counts = c.args[2].to_bool();
  const int64_t n = t.numel();
  std::vector<int64_t> table(static_cast<size_t>(range.high - range.low) + 1, 0), counts;
  for (int64_t i = 0; i < n; ++i) ++table[keys[i] - range.low];
  std::vector<uint64_t> distinct;
  for (size_t v = 0; v < table.size(); ++v) {
    if (!table[v]) continue;
    distinct.push_back(v);
    counts.push_back(std::exchange(table[v], static_cast<int64_t>(counts.size())));
  }
  Words w{distinct.data(), static_cast<int64_t>(distinct.size())};
  w.low = range.low;
  type.store(w, 0, w.n, false, t.data(), push_vector(c, w.n, t.dtype).data());
  TensorRef inverse;
  if (int64_t* to = new_inverse(t, with_inverse, inverse)) {
    for (int64_t i = 0; i < n; ++i) to[i] = table[keys[i] - range.low];
  }
  push_groups(c, inverse, counts, with_counts);
}

// _unique(Tensor self, bool inverse, bool counts): the distinct elements in order.
void run_unique(Call& c) {
  TensorRef kept = contiguous(c.args[0].t());
  const Tensor& t = *kept;
  const int64_t n = t.numel();
  if (is_complex(t.dtype)) fail(Error::Runtime, "not implemented for complex numbers");
  const bool with_inverse = c.args[1].to_bool(), with_counts = c.args[2].to_bool();
  const KeyType& type = key_type(t.dtype);
  const int64_t room = 2 * n;
  TensorRef memory = empty({&room, 1}, DType::I64);
  auto* keys = reinterpret_cast<uint64_t*>(memory->as<int64_t>());
  load_keys(type, t.data(), n, false, keys);
  if (n && !type.nan) {
    const KeyRange range = range_of_keys(keys, n);
    if (range.high - range.low < static_cast<uint64_t>(2 * n + 1024)) {
      return unique_dense(c, type, t, keys, range);
    }
  }
  Words w{keys, n};
  {
    WithoutGil without(static_cast<double>(n) > kLongWork / 16);
    if (n && !type.nan && !with_inverse) {  // an integer is its key: positions don't matter
      w = make_words(keys, n, range_of_keys(keys, n), false);
      sort_words(w, keys + n);
    } else if (n) {
      w = sort_line(type, t.data(), n, false, keys, keys + n);
    }
  }
  auto key = [&](int64_t i) { return key_at(type, t.data(), w.position(i), false); };
  const uint64_t nan = type.nan - w.low;
  TensorRef inverse;
  int64_t* to = new_inverse(t, with_inverse, inverse);
  std::vector<int64_t> counts;
  int64_t distinct = 0, begin = 0;
  uint64_t* first = w.data;  // the first word of each group, in place of words gone through
  for (int64_t i = 0; i < n; ++i) {
    // NaNs are different from each other, as everywhere.
    const bool same =
        i && w.group(i) == w.group(i - 1) &&
        (w.dropped ? key(i) == key(i - 1) && key(i) != type.nan : !type.nan || w.group(i) != nan);
    if (!same) {
      if (with_counts && i) counts.push_back(i - begin);
      begin = i;
      first[distinct++] = w.data[i];
    }
    if (to) to[w.position(i)] = distinct - 1;
  }
  if (with_counts && n) counts.push_back(n - begin);
  Words firsts = w;
  firsts.data = first;
  Tensor& values = push_vector(c, distinct, t.dtype);
  if (w.dropped == 0) {
    type.store(firsts, 0, distinct, false, t.data(), values.data());
  } else {
    const int64_t size = type.bits / 8;
    for (int64_t i = 0; i < distinct; ++i) {
      std::memcpy(values.data() + i * size, t.data() + firsts.position(i) * size, size);
    }
  }
  push_groups(c, inverse, counts, with_counts);
}
TM_NATIVE("_unique", nullptr, run_unique);

// _unique_consecutive(Tensor self, bool inverse, bool counts): one element of each run.
void run_unique_consecutive(Call& c) {
  TensorRef kept = contiguous(c.args[0].t());
  const Tensor& t = *kept;
  const int64_t n = t.numel();
  if (is_complex(t.dtype)) fail(Error::Runtime, "not implemented for complex numbers");
  const bool with_inverse = c.args[1].to_bool(), with_counts = c.args[2].to_bool();
  TensorRef inverse;
  int64_t* to = new_inverse(t, with_inverse, inverse);
  std::vector<int64_t> counts;
  with_real_type(t.dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    const T* x = t.as<T>();
    if (!to && !with_counts) {
      // In one go, into room for all: each element is written over the last while the run lasts.
      TensorRef whole = empty({&n, 1}, t.dtype);
      T *values = whole->as<T>(), *end = values;
      T last = n ? x[0] : T();
      if (n) *values = last;
      for (int64_t i = 1; i < n; ++i) {
        const T element = x[i];
        *(end += element != last) = element;
        last = element;
      }
      push_part(c, *whole, n ? end - values + 1 : 0);
      return;
    }
    int64_t distinct = n > 0;
    for (int64_t i = 1; i < n; ++i) distinct += x[i] != x[i - 1];
    T* values = push_vector(c, distinct, t.dtype).template as<T>();
    if (n) values[0] = x[0];
    int64_t at = 0, begin = 0;
    for (int64_t i = 0; i < n; ++i) {
      if (i && x[i] != x[i - 1]) {
        values[++at] = x[i];
        if (with_counts) counts.push_back(i - std::exchange(begin, i));
      }
      if (to) to[i] = at;
    }
    if (with_counts && n) counts.push_back(n - begin);
  });
  push_groups(c, inverse, counts, with_counts);
}
TM_NATIVE("_unique_consecutive", nullptr, run_unique_consecutive);

// _unique_rows(Tensor self, bool sort) -> (index of each distinct row, inverse, counts): rows of a
// matrix, in lexicographic order or in runs.
void run_unique_rows(Call& c) {
  TensorRef kept = contiguous(c.args[0].t());
  const Tensor& t = *kept;
  if (t.ndim() != 2 || is_complex(t.dtype))
    fail(Error::Runtime, "expects a matrix of real numbers");
  const int64_t rows = t.layout->size(0), width = t.layout->size(1);
  TensorRef inverse = empty({&rows, 1}, DType::I64, t.device());
  std::vector<int64_t> order(rows), first, counts;
  for (int64_t i = 0; i < rows; ++i) order[i] = i;
  const KeyType& type = key_type(t.dtype);
  std::vector<uint64_t> keys(static_cast<size_t>(rows * width));
  type.load(t.data(), rows * width, false, keys.data());
  auto compare = [&](int64_t a, int64_t b) {
    const uint64_t *u = keys.data() + a * width, *v = keys.data() + b * width;
    for (int64_t j = 0; j < width; ++j) {
      if (u[j] != v[j]) return u[j] < v[j] ? -1 : 1;
    }
    return 0;
  };
  if (c.args[1].to_bool()) {
    std::stable_sort(order.begin(), order.end(),
                     [&](int64_t a, int64_t b) { return compare(a, b) < 0; });
  }
  for (int64_t i = 0; i < rows; ++i) {
    if (i == 0 || compare(order[i - 1], order[i]) != 0) {
      first.push_back(order[i]);
      counts.push_back(0);
    }
    ++counts.back();
    inverse->as<int64_t>()[order[i]] = static_cast<int64_t>(counts.size()) - 1;
  }
  const int64_t distinct = static_cast<int64_t>(first.size());
  std::copy(first.begin(), first.end(), push_vector(c, distinct, DType::I64).as<int64_t>());
  push_groups(c, inverse, counts, true);
}
TM_NATIVE("_unique_rows", nullptr, run_unique_rows);

}  // namespace
}  // namespace taimatsu
