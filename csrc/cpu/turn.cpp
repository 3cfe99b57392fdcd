// Copies with elements in another order or left out: flip, tril, triu.
#include <algorithm>

#include "cpu/clones.h"
#include "cpu/elements.h"
#include "cpu/native.h"
#include "cpu/threads.h"

#pragma GCC optimize("O3")

namespace taimatsu {
namespace {

// ---- flip -----------------------------------------------------------------------------------

std::vector<bool> flipped(const Tensor& t, Ints dims) {
  std::vector<bool> flip(static_cast<size_t>(t.ndim()), false);
  for (int64_t dim : dims) {
    const auto d = static_cast<size_t>(wrap_dim(dim, t.ndim()));
    if (d >= flip.size()) continue;  // of a tensor without dims
    if (flip[d]) fail(Error::Runtime, "dim ", d, " appears multiple times in the list of dims");
    flip[d] = true;
  }
  return flip;
}

void infer_flip(Call& c) {
  const Tensor& t = c.args[0].t();
  flipped(t, c.args[1].ints());
  c.outs.push(empty(t.sizes(), t.dtype, t.device()));
}

// to[k] = from[-k]
#define TM_REVERSE(T)                                        \
  VECTORISED void reverse(const T* from, T* to, int64_t n) { \
    const T* last = from - (n - 1);                          \
    for (int64_t k = 0; k < n; ++k) to[k] = last[n - 1 - k]; \
  }
TM_REVERSE(uint8_t)
TM_REVERSE(uint16_t)
TM_REVERSE(uint32_t)
TM_REVERSE(uint64_t)
TM_REVERSE(Bytes16)
#undef TM_REVERSE

// The dims of x as a walk from the far end where they are flipped, neighbours joined: lines of the
// last dim are copied, forwards or backwards.
void run_flip(Call& c) {
  const Tensor& t = c.args[0].t();
  const std::vector<bool> flip = flipped(t, c.args[1].ints());
  if (t.numel() == 0) return;
  int64_t size[kMaxDims] = {1}, stride[kMaxDims] = {1}, start = 0;
  int ndim = 0;
  for (int d = 0; d < t.ndim(); ++d) {
    const int64_t n = t.layout->size(d), s = flip[d] ? -t.layout->stride(d) : t.layout->stride(d);
    if (n == 1) continue;
    if (flip[d]) start += (n - 1) * t.layout->stride(d);
    if (ndim && stride[ndim - 1] == s * n) {
      size[ndim - 1] *= n;
      stride[ndim - 1] = s;
    } else {
      size[ndim] = n;
      stride[ndim++] = s;
    }
  }
  ndim = std::max(ndim, 1);
  const int64_t n = size[ndim - 1], step = stride[ndim - 1], lines = t.numel() / n;
  with_size(itemsize(t.dtype), [&](auto tag) {
    using T = typename decltype(tag)::type;
    const T* x = t.as<T>() + start;
    T* y = c.outs[0]->as<T>();
    WithoutGil without(static_cast<double>(t.numel()) > kLongWork);
    auto copy = [=](const T* from, T* to, int64_t begin, int64_t end) {
      if (step == 1) {
        std::memcpy(to + begin, from + begin, (end - begin) * sizeof(T));
      } else if (step == -1) {
        reverse(from - begin, to + begin, end - begin);
      } else {
        for (int64_t k = begin; k < end; ++k) to[k] = from[k * step];
      }
    };
    if (lines == 1) {
      return parallel_for(n, 1 << 16, 64,
                          [&](int64_t begin, int64_t end) { copy(x, y, begin, end); });
    }
    parallel_for(lines, std::max<int64_t>(1, 32768 / n), 1, [&](int64_t begin, int64_t end) {
      for (int64_t line = begin; line < end; ++line) {
        int64_t rest = line, at = 0;
        for (int d = ndim - 2; d >= 0; --d) {
          at += rest % size[d] * stride[d];
          rest /= size[d];
        }
        copy(x + at, y + line * n, 0, n);
      }
    });
  });
}
TM_NATIVE("flip", infer_flip, run_flip);

// ---- tril, triu -----------------------------------------------------------------------------

void infer_triangle(Call& c) {
  const Tensor& t = c.args[0].t();
  if (t.ndim() < 2) fail(Error::Runtime, "input tensor must have at least 2 dimensions");
  c.outs.push(empty(t.sizes(), t.dtype, t.device()));
}

// Row i keeps [0, i + diagonal] of its columns, or [i + diagonal, columns).
template <bool lower>
void run_triangle(Call& c) {
  Tensor& self = c.args[0].t();
  Tensor& out = *c.outs[0];
  if (out.numel() == 0) return;
  const bool within = &out == &self && out.layout->contiguous;
  TensorRef from = contiguous(self), to = TensorRef(&out);
  if (!out.layout->contiguous) to = empty(out.sizes(), out.dtype);
  const int ndim = out.ndim();
  const int64_t rows = out.layout->size(ndim - 2), columns = out.layout->size(ndim - 1);
  const int64_t diagonal = c.args[1].to_int(), bytes = itemsize(out.dtype);
  const char* x = from->data();
  char* y = to->data();
  parallel_for(
      out.numel() / columns, std::max<int64_t>(1, 32768 / columns), 1,
      [&](int64_t begin, int64_t end) {
        for (int64_t r = begin; r < end; ++r) {
          const int64_t edge = diagonal < -rows ? -rows : diagonal > columns ? columns : diagonal;
          const int64_t border = r % rows + edge + (lower ? 1 : 0);
          const int64_t cut = std::min(std::max<int64_t>(border, 0), columns) * bytes;
          const int64_t line = r * columns * bytes, all = columns * bytes;
          const int64_t kept = lower ? 0 : cut, count = lower ? cut : all - cut;
          if (!within) std::memcpy(y + line + kept, x + line + kept, count);
          std::memset(y + line + (lower ? cut : 0), 0, all - count);
        }
      });
  if (to.get() != &out) copy_into(out, *to);
}
TM_NATIVE("tril", infer_triangle, run_triangle<true>, false, false, true);
TM_NATIVE("triu", infer_triangle, run_triangle<false>, false, false, true);

}  // namespace
}  // namespace taimatsu
