// Filling tensors from a generator: what the routines of random numbers share.
#pragma once

#include <type_traits>

#include "cpu/elements.h"
#include "cpu/native.h"
#include "cpu/random.h"

namespace taimatsu {

// Calls next(T&) for each element in the order of memory.
template <class T, class F>
void each_in_memory(const Tensor& t, const F& next) {
  const Layout& l = *t.layout;
  if (l.dense) {
    T* first = t.storage->as<T>() + reach(l).first;
    for (int64_t i = 0; i < l.numel; ++i) next(first[i]);
    return;
  }
  Iteration it;
  const Layout* one = t.layout;
  iterate(it, {&one, 1}, t.sizes());
  T* data = t.as<T>();
  for_outer(it, 0, [&](const int64_t* offset) { next(data[offset[0]]); });
}

template <class T>
constexpr bool is_float = std::is_same<T, float>::value || std::is_same<T, double>::value ||
                          std::is_same<T, Half>::value || std::is_same<T, BFloat16>::value;

// A number in an element's type, rounded once where that is wider than half precision.
template <class T, class V>
T element(V v) {
  if constexpr (sizeof(T) == 2 && is_float<T>) {
    return T(static_cast<float>(v));
  } else {
    return static_cast<T>(v);
  }
}

// The real numbers of a tensor: of a complex one, its parts. Calls body(TypeTag<T>, tensor).
template <class F>
void with_floats(Tensor& t, const F& body) {
  if (is_complex(t.dtype)) {
    const Layout& l = *t.layout;
    std::vector<int64_t> sizes = to_vector(l.sizes()), strides = to_vector(l.strides());
    for (int64_t& s : strides) s *= 2;
    sizes.push_back(2);
    strides.push_back(1);
    LayoutRef parts = intern(sizes, strides, 2 * l.offset);
    TensorRef real = make_tensor(t.storage, parts.get(), real_dtype(t.dtype));
    return with_floats(*real, body);
  }
  with_real_type(t.dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    if constexpr (is_float<T>) {
      body(tag, t);
    } else {
      fail(Error::NotImplemented, "not implemented for '", info(t.dtype).legacy,
           "'; the tensor must be floating point");
    }
  });
}

// Runs body(generator) holding the generator's lock.
template <class F>
void with_generator(Tensor& t, const Value& generator, const F& body) {
  if (t.numel() == 0) return;
  Generator& g = generator_of(generator);
  WithoutGil without(t.numel() > 4096);
  std::lock_guard<std::mutex> lock(g.mutex);
  g.begin_call();
  body(g);
}

}  // namespace taimatsu
