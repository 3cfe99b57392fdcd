// Ops whose result sizes depend on the data: nonzero, unique, bincount.
#include "cpu/native.h"
#include "cpu/order.h"
#include "cpu/threads.h"

namespace taimatsu {
namespace {

template <class T>
bool is_nonzero(const T& x) {
  if constexpr (std::is_same<T, Half>::value || std::is_same<T, BFloat16>::value) {
    return (x.bits & 0x7fff) != 0;
  } else {
    return x != T(0);
  }
}

// body(TypeTag) with element types for which is_nonzero works, complex ones too.
template <class F>
void with_any_type(DType t, const F& body) {
  if (t == DType::C64) return body(TypeTag<std::complex<float>>{});
  if (t == DType::C128) return body(TypeTag<std::complex<double>>{});
  with_real_type(t, body);
}

// ---- nonzero --------------------------------------------------------------------------------

void run_nonzero(Call& c) {
  TensorRef kept = contiguous(c.args[0].t());
  const Tensor& t = *kept;
  const int64_t n = t.numel();
  constexpr int64_t kBlock = 65536;
  const int64_t blocks = (n + kBlock - 1) / kBlock;
  std::vector<int64_t> first(blocks + 1, 0);
  with_any_type(t.dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    const T* x = t.as<T>();
    parallel_for(blocks, 1, 1, [&](int64_t begin, int64_t end) {
      for (int64_t b = begin; b < end; ++b) {
        int64_t count = 0;
        for (int64_t i = b * kBlock; i < std::min(n, (b + 1) * kBlock); ++i)
          count += is_nonzero(x[i]);
        first[b + 1] = count;
      }
    });
    for (int64_t b = 0; b < blocks; ++b) first[b + 1] += first[b];
    const int ndim = t.ndim();
    int64_t sizes[2] = {first[blocks], ndim};
    int64_t* out = push_empty(c, {sizes, 2}, DType::I64).template as<int64_t>();
    parallel_for(blocks, 1, 1, [&](int64_t begin, int64_t end) {
      for (int64_t b = begin; b < end; ++b) {
        int64_t* to = out + first[b] * ndim;
        for (int64_t i = b * kBlock; i < std::min(n, (b + 1) * kBlock); ++i) {
          if (!is_nonzero(x[i])) continue;
          int64_t rest = i;
          for (int d = ndim - 1; d > 0; --d) {
            to[d] = rest % t.layout->size(d);
            rest /= t.layout->size(d);
          }
          if (ndim) to[0] = rest;
          to += ndim;
        }
      }
    });
  });
}
TM_NATIVE("nonzero", nullptr, run_nonzero);

// ---- unique ---------------------------------------------------------------------------------

// What the three forms share: `same[i]` says that element order[i] equals the one before it.
// Outputs: which elements are kept (positions), the group of each element, the size of each group.
struct Groups {
  std::vector<int64_t> kept, counts;
  int64_t* inverse = nullptr;
};

void push_groups(Call& c, Groups& g) {
  const int64_t n = static_cast<int64_t>(g.counts.size());
  int64_t* counts = push_empty(c, {&n, 1}, DType::I64).as<int64_t>();
  std::copy(g.counts.begin(), g.counts.end(), counts);
}

// _unique(Tensor self) -> (values, inverse, counts): the sorted distinct elements.
// _unique_consecutive(Tensor self): one element of each run.
template <bool sorted>
void run_unique(Call& c) {
  TensorRef kept = contiguous(c.args[0].t());
  const Tensor& t = *kept;
  const int64_t n = t.numel();
  if (is_complex(t.dtype)) fail(Error::Runtime, "not implemented for complex numbers");
  TensorRef inverse = empty(t.sizes(), DType::I64, t.device());
  Groups g;
  with_real_type(t.dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    using Key = decltype(order_key(T()));
    const T* x = t.as<T>();
    std::vector<Item<Key>> items(n), other;
    for (int64_t i = 0; i < n; ++i) items[i] = Item<Key>(order_key(x[i]), i);
    if (sorted) radix_sort(items, other);
    const Key nan = static_cast<Key>(~Key(0));
    for (int64_t i = 0; i < n; ++i) {
      // NaNs are different from each other, as everywhere.
      const bool is_nan = !std::is_integral<T>::value && items[i].key() == nan;
      if (i == 0 || items[i].key() != items[i - 1].key() || is_nan) {
        g.kept.push_back(items[i].position());
        g.counts.push_back(0);
      }
      ++g.counts.back();
      inverse->as<int64_t>()[items[i].position()] = static_cast<int64_t>(g.counts.size()) - 1;
    }
    const int64_t distinct = static_cast<int64_t>(g.kept.size());
    T* values = push_empty(c, {&distinct, 1}, t.dtype).template as<T>();
    for (int64_t i = 0; i < distinct; ++i) values[i] = x[g.kept[i]];
  });
  c.outs.push(inverse);
  push_groups(c, g);
}
TM_NATIVE("_unique", nullptr, run_unique<true>);
TM_NATIVE("_unique_consecutive", nullptr, run_unique<false>);

// _unique_rows(Tensor self, bool sort) -> (index of each distinct row, inverse, counts): rows of a
// matrix, in lexicographic order or in runs.
void run_unique_rows(Call& c) {
  TensorRef kept = contiguous(c.args[0].t());
  const Tensor& t = *kept;
  if (t.ndim() != 2 || is_complex(t.dtype))
    fail(Error::Runtime, "expects a matrix of real numbers");
  const int64_t rows = t.layout->size(0), width = t.layout->size(1);
  TensorRef inverse = empty({&rows, 1}, DType::I64, t.device());
  std::vector<int64_t> order(rows);
  for (int64_t i = 0; i < rows; ++i) order[i] = i;
  Groups g;
  with_real_type(t.dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    const T* x = t.as<T>();
    auto compare = [&](int64_t a, int64_t b) {
      for (int64_t j = 0; j < width; ++j) {
        const auto u = order_key(x[a * width + j]), v = order_key(x[b * width + j]);
        if (u != v) return u < v ? -1 : 1;
      }
      return 0;
    };
    if (c.args[1].to_bool()) {
      std::stable_sort(order.begin(), order.end(),
                       [&](int64_t a, int64_t b) { return compare(a, b) < 0; });
    }
    for (int64_t i = 0; i < rows; ++i) {
      if (i == 0 || compare(order[i - 1], order[i]) != 0) {
        g.kept.push_back(order[i]);
        g.counts.push_back(0);
      }
      ++g.counts.back();
      inverse->as<int64_t>()[order[i]] = static_cast<int64_t>(g.counts.size()) - 1;
    }
  });
  const int64_t distinct = static_cast<int64_t>(g.kept.size());
  std::copy(g.kept.begin(), g.kept.end(), push_empty(c, {&distinct, 1}, DType::I64).as<int64_t>());
  c.outs.push(inverse);
  push_groups(c, g);
}
TM_NATIVE("_unique_rows", nullptr, run_unique_rows);

// ---- bincount -------------------------------------------------------------------------------

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
  TensorRef values = contiguous(*to_dtype(self, DType::I64));
  const int64_t* x = values->as<int64_t>();
  const int64_t n = self.numel();
  int64_t size = at_least;
  for (int64_t i = 0; i < n; ++i) {
    if (x[i] < 0) {
      fail(Error::Runtime, "only supports 1-d non-negative integral inputs; got an element ", x[i]);
    }
    size = std::max(size, x[i] + 1);
  }
  if (!weighted) {
    Tensor& out = push_empty(c, {&size, 1}, DType::I64);
    fill(out, Number::integer(0));
    for (int64_t i = 0; i < n; ++i) ++out.as<int64_t>()[x[i]];
    return;
  }
  auto add = [&](DType dtype, auto* zero) {
    using T = std::remove_pointer_t<decltype(zero)>;
    TensorRef weights = contiguous(*to_dtype(c.args[1].t(), dtype));
    Tensor& out = push_empty(c, {&size, 1}, dtype);
    fill(out, Number::integer(0));
    for (int64_t i = 0; i < n; ++i) out.as<T>()[x[i]] += weights->as<T>()[i];
  };
  if (c.args[1].t().dtype == DType::F32) return add(DType::F32, static_cast<float*>(nullptr));
  add(DType::F64, static_cast<double*>(nullptr));
}
TM_NATIVE("bincount", nullptr, run_bincount);

}  // namespace
}  // namespace taimatsu
