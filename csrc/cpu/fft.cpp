// The native ops of Fourier transforms: dims and lines of tensors. fft_plan.h has the transforms.
#include <algorithm>

#include "cpu/fft_plan.h"
#include "cpu/native.h"
#include "cpu/threads.h"

namespace taimatsu {
namespace {

using fft::Direction;
using fft::Plan;
using fft::Routine;

constexpr int64_t kGrain = 1 << 14;  // elements that are worth waking a thread for

template <class F>
void with_precision(DType t, const F& body) {
  if (t == DType::F32 || t == DType::C64) return body(float());
  body(double());
}
double work_of(int64_t elements) { return 20.0 * static_cast<double>(elements); }

// Runs body(first, count) for groups of lines or columns, some on each thread.
template <class F>
void each_group(int64_t total, int64_t width, int64_t elements, const F& body) {
  parallel_for((total + width - 1) / width, std::max<int64_t>(1, kGrain / (width * elements)), 1,
               [&](int64_t a, int64_t b) {
                 for (; a < b; ++a) body(a * width, std::min(width, total - a * width));
               });
}

// Contiguous lines of complex numbers, `in_line` and `out_line` numbers apart; may be in place.
// `before` and `after` work on a line in memory of its own, ahead of and behind its transform.
template <class T, class Before, class After>
void each_line(const Plan<T>& plan, const T* in, int64_t in_line, T* out, int64_t out_line,
               int64_t count, Direction direction, T scale, const Before& before,
               const After& after) {
  const Routine<T>& routine = fft::best_routine<T>();
  const int width = routine.width;
  if (!plan.as_line && count >= width / 2) {
    each_group(count, width, plan.length, [&](int64_t first, int64_t lines) {
      T* buffer = workspace<T>(plan.length * 4 * width);
      for (int64_t i = first; i < first + lines; ++i) before(i);
      routine.lines(plan.lanes, in + first * in_line, in_line, out + first * out_line, out_line,
                    static_cast<int>(lines), direction, scale, buffer);
      for (int64_t i = first; i < first + lines; ++i) after(i);
    });
    return;
  }
  auto one = [&](int64_t i, bool threads) {
    before(i);
    plan.run(in + i * in_line, out + i * out_line, direction, scale, threads);
    after(i);
  };
  if (count < num_threads()) {
    for (int64_t i = 0; i < count; ++i) one(i, true);
  } else {
    each_group(count, 1, plan.length, [&](int64_t i, int64_t) { one(i, false); });
  }
}

// Along a dim with `inner` elements behind each of its own.
template <class T>
void each_column(const Plan<T>& plan, const T* in, T* out, int64_t outer, int64_t inner,
                 Direction direction, T scale) {
  const Routine<T>& routine = fft::best_routine<T>();
  const int64_t width = routine.width, n = plan.length, groups = (inner + width - 1) / width;
  each_group(outer * groups, 1, n * width, [&](int64_t at, int64_t) {
    const int64_t first = at % groups * width, start = 2 * (at / groups * n * inner + first);
    const int64_t count = std::min(width, inner - first);
    if (plan.fits_lanes) {
      T* buffer = workspace<T>(n * 2 * width);
      routine.columns(plan.lanes, {in + start, 2 * inner}, {out + start, 2 * inner},
                      static_cast<int>(count), direction, scale, buffer);
      return;
    }
    T* lines = workspace<T, 3>(2 * n * count);
    for (int64_t j = 0; j < n; ++j) {
      const T* from = in + start + 2 * j * inner;
      for (int64_t i = 0; i < count; ++i) {
        lines[2 * (i * n + j)] = from[2 * i];
        lines[2 * (i * n + j) + 1] = from[2 * i + 1];
      }
    }
    for (int64_t i = 0; i < count; ++i) {
      plan.run(lines + 2 * i * n, lines + 2 * i * n, direction, scale, false);
    }
    for (int64_t j = 0; j < n; ++j) {
      T* to = out + start + 2 * j * inner;
      for (int64_t i = 0; i < count; ++i) {
        to[2 * i] = lines[2 * (i * n + j)];
        to[2 * i + 1] = lines[2 * (i * n + j) + 1];
      }
    }
  });
}

// ---- complex to complex -------------------------------------------------------------------------

void infer_c2c(Call& c) {
  const Tensor& t = c.args[0].t();
  if (t.dtype != DType::C64 && t.dtype != DType::C128) {
    fail(Error::Runtime, "expected a complex tensor; got ", info(t.dtype).name);
  }
  for (int64_t d : c.args[1].ints()) {
    if (t.layout->size(static_cast<int>(wrap_dim(d, t.ndim()))) < 1) {
      fail(Error::Runtime, "Invalid number of data points (0) specified");
    }
  }
  c.outs.push(empty(t.sizes(), t.dtype, t.device()));
}

void run_c2c(Call& c) {
  Tensor &t = c.args[0].t(), &out = *c.outs[0];
  if (out.numel() == 0) return;
  TensorRef kept = contiguous(t);
  const Layout& l = *out.layout;
  with_precision(t.dtype, [&](auto zero) {
    using T = decltype(zero);
    const T* in = kept->as<T>();
    T* to = out.as<T>();
    auto scale = static_cast<T>(c.args[2].to_double());
    const Direction direction = c.args[3].to_bool() ? Direction::Forward : Direction::Backward;
    std::vector<std::shared_ptr<const Plan<T>>> plans;
    std::vector<int> dims;
    for (int64_t d : c.args[1].ints()) {
      dims.push_back(static_cast<int>(wrap_dim(d, l.ndim)));
      plans.push_back(fft::plan_for<T>(l.size(dims.back())));
    }
    WithoutGil without(work_of(out.numel()) > kLongWork);
    for (size_t i = dims.size(); i-- > 0;) {
      const Plan<T>& plan = *plans[i];
      int64_t inner = 1;
      for (int d = dims[i] + 1; d < l.ndim; ++d) inner *= l.size(d);
      const int64_t outer = l.numel / inner / plan.length, line = 2 * plan.length;
      if (inner == 1) {
        auto nothing = [](int64_t) {};
        each_line(plan, in, line, to, line, outer, direction, scale, nothing, nothing);
      } else {
        each_column(plan, in, to, outer, inner, direction, scale);
      }
      in = to;
      scale = 1;
    }
  });
}
TM_NATIVE("_fft_c2c", infer_c2c, run_c2c);

// ---- real to complex, complex to real: along one dim, which is innermost in memory --------------

// The dims in the order of memory: `dim` last.
std::vector<int64_t> with_last(int ndim, int dim) {
  std::vector<int64_t> order;
  for (int d = 0; d < ndim; ++d) {
    if (d != dim) order.push_back(d);
  }
  order.push_back(dim);
  return order;
}

void push_with_last(Call& c, std::vector<int64_t> sizes, int dim, DType dtype) {
  if (dim == static_cast<int>(sizes.size()) - 1) {
    return c.outs.push(empty(sizes, dtype, c.args[0].t().device()));
  }
  std::vector<int64_t> strides(sizes.size());
  int64_t stride = 1;
  const std::vector<int64_t> order = with_last(static_cast<int>(sizes.size()), dim);
  for (size_t i = order.size(); i-- > 0;) {
    strides[order[i]] = stride;
    stride *= std::max<int64_t>(1, sizes[order[i]]);
  }
  LayoutRef layout = intern(sizes, strides);
  c.outs.push(empty(layout.get(), dtype, c.args[0].t().device()));
}

TensorRef contiguous_with_last(Tensor& t, int dim) {
  if (dim == t.ndim() - 1) return contiguous(t);
  std::vector<int64_t> sizes, strides;
  for (int64_t d : with_last(t.ndim(), dim)) {
    sizes.push_back(t.layout->size(static_cast<int>(d)));
    strides.push_back(t.layout->stride(static_cast<int>(d)));
  }
  LayoutRef layout = intern(sizes, strides, t.layout->offset);
  return contiguous(*alias(t, layout.get()));
}

int dim_of(const Call& c) {
  return static_cast<int>(wrap_dim(c.args[1].to_int(), c.args[0].t().ndim()));
}

void infer_r2c(Call& c) {
  const Tensor& t = c.args[0].t();
  if (t.dtype != DType::F32 && t.dtype != DType::F64) {
    fail(Error::Runtime, "expected a float or double tensor; got ", info(t.dtype).name);
  }
  const int dim = dim_of(c);
  std::vector<int64_t> sizes = to_vector(t.sizes());
  if (sizes[dim] < 1) fail(Error::Runtime, "Invalid number of data points (0) specified");
  if (c.args[3].to_bool()) sizes[dim] = sizes[dim] / 2 + 1;
  push_with_last(c, sizes, dim, t.dtype == DType::F32 ? DType::C64 : DType::C128);
}

void run_r2c(Call& c) {
  Tensor &t = c.args[0].t(), &out = *c.outs[0];
  if (out.numel() == 0) return;
  const int dim = dim_of(c);
  const int64_t n = t.layout->size(dim), half = n / 2, count = t.numel() / n;
  const int64_t line = 2 * out.layout->size(dim);
  const bool whole = !c.args[3].to_bool(), even = n % 2 == 0;
  TensorRef kept = contiguous_with_last(t, dim);
  with_precision(t.dtype, [&](auto zero) {
    using T = decltype(zero);
    const T* in = kept->as<T>();
    T* to = out.as<T>();
    const auto scale = static_cast<T>(c.args[2].to_double());
    const Routine<T>& routine = fft::best_routine<T>();
    auto plan = fft::plan_for<T>(even ? half : n);
    auto mirror = [&](T* x) {  // the other half of a Hermitian line
      for (int64_t k = half + 1; whole && k < n; ++k) {
        x[2 * k] = x[2 * (n - k)];
        x[2 * k + 1] = -x[2 * (n - k) + 1];
      }
    };
    WithoutGil without(work_of(out.numel()) > kLongWork);
    if (even) {
      auto split = [&](int64_t i) {
        T* x = to + i * line;
        const T first = x[0] + x[1], last = x[0] - x[1];
        routine.halves(x, x, half, plan->halves.data(), Direction::Forward, scale / 2);
        x[0] = first * scale, x[1] = 0;
        x[2 * half] = last * scale, x[2 * half + 1] = 0;
        mirror(x);
      };
      each_line(*plan, in, n, to, line, count, Direction::Forward, T(1), [](int64_t) {}, split);
      return;
    }
    each_group(count, 1, n, [&](int64_t i, int64_t) {
      T* x = workspace<T, 3>(2 * n);
      for (int64_t j = 0; j < n; ++j) x[2 * j] = in[i * n + j], x[2 * j + 1] = 0;
      plan->run(x, x, Direction::Forward, scale, true);
      x[1] = 0;
      std::copy(x, x + 2 * (half + 1), to + i * line);
      mirror(to + i * line);
    });
  });
}
TM_NATIVE("_fft_r2c", infer_r2c, run_r2c);

void infer_c2r(Call& c) {
  const Tensor& t = c.args[0].t();
  if (t.dtype != DType::C64 && t.dtype != DType::C128) {
    fail(Error::Runtime, "expected a complex tensor; got ", info(t.dtype).name);
  }
  const int dim = dim_of(c);
  std::vector<int64_t> sizes = to_vector(t.sizes());
  const int64_t n = c.args[3].to_int();
  if (n < 1) fail(Error::Runtime, "Invalid number of data points (", n, ") specified");
  if (sizes[dim] != n / 2 + 1) {
    fail(Error::Runtime, "a real line of ", n, " elements has a transform of ", n / 2 + 1, "; got ",
         sizes[dim]);
  }
  sizes[dim] = n;
  push_with_last(c, sizes, dim, t.dtype == DType::C64 ? DType::F32 : DType::F64);
}

void run_c2r(Call& c) {
  Tensor &t = c.args[0].t(), &out = *c.outs[0];
  if (out.numel() == 0) return;
  const int dim = dim_of(c);
  const int64_t n = c.args[3].to_int(), half = n / 2, count = out.numel() / n;
  const int64_t line = 2 * (half + 1);
  const bool even = n % 2 == 0;
  TensorRef kept = contiguous_with_last(t, dim);
  with_precision(t.dtype, [&](auto zero) {
    using T = decltype(zero);
    const T* in = kept->as<T>();
    T* to = out.as<T>();
    const auto scale = static_cast<T>(c.args[2].to_double());
    const Routine<T>& routine = fft::best_routine<T>();
    auto plan = fft::plan_for<T>(even ? half : n);
    WithoutGil without(work_of(out.numel()) > kLongWork);
    if (even) {
      auto join = [&](int64_t i) {
        const T* x = in + i * line;
        T* y = to + i * n;
        routine.halves(x, y, half, plan->halves.data(), Direction::Backward, scale);
        const T first = x[0], last = x[2 * half];
        y[0] = (first + last) * scale, y[1] = (first - last) * scale;
      };
      each_line(*plan, to, n, to, n, count, Direction::Backward, T(1), join, [](int64_t) {});
      return;
    }
    each_group(count, 1, n, [&](int64_t i, int64_t) {
      T* x = workspace<T, 3>(2 * n);
      const T* from = in + i * line;
      x[0] = from[0], x[1] = 0;
      for (int64_t k = 1; k <= half; ++k) {
        x[2 * k] = x[2 * (n - k)] = from[2 * k];
        x[2 * k + 1] = from[2 * k + 1];
        x[2 * (n - k) + 1] = -from[2 * k + 1];
      }
      plan->run(x, x, Direction::Backward, scale, true);
      for (int64_t j = 0; j < n; ++j) to[i * n + j] = x[2 * j];
    });
  });
}
TM_NATIVE("_fft_c2r", infer_c2r, run_c2r);

}  // namespace
}  // namespace taimatsu
