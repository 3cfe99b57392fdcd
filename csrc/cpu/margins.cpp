// Margins of the last dims that are read from between them: pad by reflection, by the outermost
// elements, or around.
#include <algorithm>

#include "cpu/elements.h"
#include "cpu/native.h"
#include "cpu/threads.h"

#pragma GCC optimize("O3")

namespace taimatsu {
namespace {

enum class Margin { Reflect, Replicate, Circular };

Margin margin_of(const char* mode) {
  if (!std::strcmp(mode, "reflect")) return Margin::Reflect;
  return std::strcmp(mode, "replicate") ? Margin::Circular : Margin::Replicate;
}

// The element of a dim of n that place i is, counted from the end of the margin before it.
int64_t origin(Margin mode, int64_t i, int64_t n) {
  switch (mode) {
    case Margin::Reflect: return n - 1 - std::abs(n - 1 - std::abs(i));
    case Margin::Replicate: return std::min(std::max<int64_t>(i, 0), n - 1);
    case Margin::Circular: return i < 0 ? i + n : i < n ? i : i - n;
  }
  return i;
}

// Of the last dims, from the last: how many elements before and after.
void infer_margins(Call& c) {
  const Tensor& t = c.args[0].t();
  const Ints ends = c.args[1].ints();
  std::vector<int64_t> sizes = to_vector(t.sizes());
  for (int64_t k = 0; k < ends.size; ++k) sizes[t.ndim() - ends.size / 2 + k / 2] += ends[k];
  c.outs.push(empty(sizes, t.dtype, t.device()));
}

// Line by line: what is between the margins is one copy, margins are copied element by element.
void run_margins(Call& c) {
  TensorRef self = contiguous(c.args[0].t());
  Tensor& out = *c.outs[0];
  const Ints ends = c.args[1].ints();
  const Margin mode = margin_of(c.args[2].string);
  if (out.numel() == 0) return;
  const int ndim = out.ndim(), first = ndim - static_cast<int>(ends.size / 2);
  const Layout &from = *self->layout, &to = *out.layout;
  const int64_t n = from.size(ndim - 1), wide = to.size(ndim - 1);
  const int64_t before = ends[ends.size - 2];
  // The line of self that a line of the output is: by a table for each dim that has margins.
  std::vector<std::vector<int64_t>> lines(ndim - first);
  for (int d = first; d < ndim - 1; ++d) {
    for (int64_t i = 0; i < to.size(d); ++i) {
      const int64_t at = origin(mode, i - ends[2 * (d - first)], from.size(d));
      lines[d - first].push_back(at * from.stride(d));
    }
  }
  int64_t block = 1;  // what a place in the outer dims has; strides of dims of 1 tell nothing
  for (int d = first; d < ndim; ++d) block *= from.size(d);
  WithoutGil without(static_cast<double>(out.numel()) > kLongWork);
  with_size(itemsize(out.dtype), [&](auto tag) {
    using T = typename decltype(tag)::type;
    const T* x = self->as<T>();
    T* y = out.as<T>();
    const int64_t grain = std::max<int64_t>(1, 32768 / wide);
    parallel_for(out.numel() / wide, grain, 1, [&](int64_t begin, int64_t end) {
      for (int64_t line = begin; line < end; ++line) {
        int64_t rest = line, at = 0;
        for (int d = ndim - 2; d >= first; --d) {
          at += lines[d - first][rest % to.size(d)];
          rest /= to.size(d);
        }
        const T* source = x + at + rest * block;
        T* target = y + line * wide;
        for (int64_t i = 0; i < before; ++i) target[i] = source[origin(mode, i - before, n)];
        std::memcpy(target + before, source, n * sizeof(T));
        for (int64_t i = before + n; i < wide; ++i) target[i] = source[origin(mode, i - before, n)];
      }
    });
  });
}
TM_NATIVE("_wrap_margins", infer_margins, run_margins);

}  // namespace
}  // namespace taimatsu
