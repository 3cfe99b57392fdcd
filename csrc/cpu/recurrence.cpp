// h[i] = b[i] + a[i] h[i - 1] along a dim: what the gradient of a cumulative product is made of.
#include <complex>

#include "cpu/elements.h"
#include "cpu/native.h"
#include "cpu/threads.h"

#pragma GCC optimize("O3")

namespace taimatsu {
namespace {

// _recurrence(Tensor a, Tensor b, int dim, bool reverse): reversed, h[i] = b[i] + a[i] h[i + 1].
// The first h is b there.
void infer_recurrence(Call& c) {
  const Tensor &a = c.args[0].t(), &b = c.args[1].t();
  wrap_dim(c.args[2].to_int(), a.ndim());
  if (a.sizes() != b.sizes() || a.dtype != b.dtype || !is_differentiable(a.dtype)) {
    fail(Error::Runtime, "expects floating tensors alike; got ", format(a.sizes()), " and ",
         format(b.sizes()));
  }
  c.outs.push(empty(a.sizes(), a.dtype, a.device()));
}

template <class T>
T step(T b, T a, T h) {
  if constexpr (std::is_same<T, Half>::value || std::is_same<T, BFloat16>::value) {
    return T(static_cast<float>(b) + static_cast<float>(a) * static_cast<float>(h));
  } else {
    return b + a * h;
  }
}

// Lines of consecutive elements, some at once: each waits for its own last result only.
template <class T>
void lines(const T* x, const T* y, T* to, int64_t n, int64_t count, bool reverse) {
  constexpr int kAtOnce = 8;
  auto run = [&](auto width) {
    T h[width] = {};
    for (int64_t i = 0; i < n; ++i) {
      const int64_t at = reverse ? n - 1 - i : i;
      for (int r = 0; r < width; ++r) {
        const int64_t k = r * n + at;
        to[k] = h[r] = i == 0 ? y[k] : step(y[k], x[k], h[r]);
      }
    }
    x += width * n, y += width * n, to += width * n;
  };
  for (; count >= kAtOnce; count -= kAtOnce) run(std::integral_constant<int, kAtOnce>{});
  for (; count > 0; --count) run(std::integral_constant<int, 1>{});
}

template <class T>
void run(const Tensor& a, const Tensor& b, Tensor& h, int dim, bool reverse) {
  int64_t inner = 1;
  for (int d = dim + 1; d < h.ndim(); ++d) inner *= h.layout->size(d);
  const int64_t n = h.ndim() ? h.layout->size(dim) : 1, outer = h.numel() / (n * inner);
  const T *x = a.as<T>(), *y = b.as<T>();
  T* to = h.as<T>();
  parallel_for(outer * inner, std::max<int64_t>(1, 32768 / n), 1, [&](int64_t begin, int64_t end) {
    if (inner == 1)
      return lines(x + begin * n, y + begin * n, to + begin * n, n, end - begin, reverse);
    for (int64_t line = begin; line < end;) {  // those of one outer position, side by side
      const int64_t first = line % inner, count = std::min(end - line, inner - first);
      const int64_t base = line / inner * n * inner + first;
      for (int64_t i = 0; i < n; ++i) {
        const int64_t at = base + (reverse ? n - 1 - i : i) * inner;
        const int64_t before = at + (reverse ? inner : -inner);
        for (int64_t k = 0; k < count; ++k) {
          to[at + k] = i == 0 ? y[at + k] : step(y[at + k], x[at + k], to[before + k]);
        }
      }
      line += count;
    }
  });
}

void run_recurrence(Call& c) {
  Tensor& h = *c.outs[0];
  if (h.numel() == 0) return;
  TensorRef a = contiguous(c.args[0].t()), b = contiguous(c.args[1].t());
  const int dim = static_cast<int>(wrap_dim(c.args[2].to_int(), h.ndim()));
  const bool reverse = c.args[3].to_bool();
  WithoutGil without(static_cast<double>(h.numel()) > kLongWork / 4);
  if (h.dtype == DType::C64) return run<std::complex<float>>(*a, *b, h, dim, reverse);
  if (h.dtype == DType::C128) return run<std::complex<double>>(*a, *b, h, dim, reverse);
  with_real_type(h.dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    if constexpr (!std::is_integral<T>::value) run<T>(*a, *b, h, dim, reverse);
  });
}
TM_NATIVE("_recurrence", infer_recurrence, run_recurrence);

}  // namespace
}  // namespace taimatsu
