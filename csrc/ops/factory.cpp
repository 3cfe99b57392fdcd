// Native ops that make or fill whole tensors: factories, clone, copy_, fill_.
#include <algorithm>
#include <cmath>

#include "autograd/autograd.h"
#include "cpu/clones.h"
#include "cpu/threads.h"
#include "ops/launch.h"
#include "python/objects.h"

#pragma GCC optimize("O3")

namespace taimatsu {
namespace {

// The keyword arguments that every factory has, wherever the schema puts them.
struct Options {
  DType dtype;
  Device device;
  bool requires_grad = false;

  Options(const Call& c, DType default_type, Device default_place = default_device())
      : dtype(default_type), device(default_place) {
    const Schema& s = c.op.schema;
    if (s.dtype >= 0 && !c.args[s.dtype].none()) dtype = c.args[s.dtype].dtype;
    if (s.device >= 0 && !c.args[s.device].none()) device = c.args[s.device].device;
    device = device.concrete();
    if (s.requires_grad >= 0) requires_grad = c.args[s.requires_grad].to_bool();
    if (requires_grad && !is_differentiable(dtype)) {
      fail(Error::Runtime,
           "Only Tensors of floating point and complex dtype can require gradients");
    }
  }
};

void make(Call& c, const Layout* layout, const Options& o) {
  c.outs.push(empty(layout, o.dtype, o.device));
  c.outs[0]->requires_grad = o.requires_grad;
}

MemoryFormat format_of(const Call& c, MemoryFormat otherwise) {
  const int at = c.op.schema.memory_format;
  if (at >= 0 && !c.args[at].none()) return c.args[at].format;
  return otherwise;
}

LayoutRef layout_in(MemoryFormat f, const Tensor& like) {
  switch (f) {
    case MemoryFormat::Preserve: return dense_layout_like(*like.layout);
    case MemoryFormat::ChannelsLast:
    case MemoryFormat::ChannelsLast3d: return channels_last_layout(like.sizes());
    default: return contiguous_layout(like.sizes());
  }
}

void nothing(Call&) {}

// ---- empty, zeros, ones, full ---------------------------------------------------------------

void infer_sized(Call& c) {
  Ints sizes = c.args[0].ints();
  for (int64_t n : sizes) {
    if (n < 0) {
      fail(Error::Runtime, "Trying to create tensor with negative dimension ", n, ": ",
           format(sizes));
    }
  }
  MemoryFormat f = format_of(c, MemoryFormat::Contiguous);
  LayoutRef layout = f == MemoryFormat::Contiguous || f == MemoryFormat::Preserve
                         ? contiguous_layout(sizes)
                         : channels_last_layout(sizes);
  make(c, layout.get(), Options(c, default_dtype()));
}
void infer_full(Call& c) {
  const Number& n = c.args[1].number;
  make(c, contiguous_layout(c.args[0].ints()).get(),
       Options(c, n.tag == Number::Int ? DType::I64 : n.dtype()));
}
void infer_strided(Call& c) {
  LayoutRef layout = checked_layout(c.args[0].ints(), c.args[1].ints(), 0, "empty_strided");
  make(c, layout.get(), Options(c, default_dtype()));
}
void infer_like(Call& c) {
  Tensor& like = c.args[0].t();
  make(c, layout_in(format_of(c, MemoryFormat::Preserve), like).get(),
       Options(c, like.dtype, like.device()));
}

void run_zeros(Call& c) { fill(*c.outs[0], Number::integer(0)); }
void run_ones(Call& c) { fill(*c.outs[0], Number::integer(1)); }
void run_full(Call& c) { fill(*c.outs[0], c.args[1].number); }

TM_NATIVE_NEUTRAL("empty", infer_sized, nothing, false, false);
TM_NATIVE_NEUTRAL("zeros", infer_sized, run_zeros, false, false);
TM_NATIVE_NEUTRAL("ones", infer_sized, run_ones, false, false);
TM_NATIVE_NEUTRAL("full", infer_full, run_full, false, false);
TM_NATIVE_NEUTRAL("empty_strided", infer_strided, nothing, false, false);
TM_NATIVE_NEUTRAL("empty_like", infer_like, nothing, false, false);
TM_NATIVE_NEUTRAL("zeros_like", infer_like, run_zeros, false, false);
TM_NATIVE_NEUTRAL("ones_like", infer_like, run_ones, false, false);
TM_NATIVE_NEUTRAL("full_like", infer_like, run_full, false, false);

// ---- arange, linspace, eye ------------------------------------------------------------------

struct Range {
  Number start, end, step;
  explicit Range(const Call& c) : start(Number::integer(0)), step(Number::integer(1)) {
    const bool from_zero = c.op.name == "arange";
    if (!from_zero) start = c.args[0].number;
    end = c.args[from_zero ? 0 : 1].number;
    if (!from_zero) step = c.args[2].number;
  }
  bool integral() const {
    return start.tag <= Number::Int && end.tag <= Number::Int && step.tag <= Number::Int;
  }
  // PyTorch's int64 ranges are those of their bounds' integral parts.
  void truncate() {
    for (Number* n : {&start, &end, &step}) {
      const double x = n->as_double();
      if (n->tag > Number::Int && std::fabs(x) < 9e18)
        *n = Number::integer(static_cast<int64_t>(x));
    }
  }
};

void infer_arange(Call& c) {
  Range r(c);
  Options o(c, r.integral() ? DType::I64 : default_dtype());
  const bool stands = r.step.as_double() == 0;
  if (o.dtype == DType::I64) r.truncate();
  const double step = r.step.as_double(), start = r.start.as_double(), end = r.end.as_double();
  if (step == 0) {
    fail(stands ? Error::Runtime : Error::Value, "step must be nonzero",
         stands ? "" : "; as an int64 it is 0: ask for a floating dtype");
  }
  if (!std::isfinite(start) || !std::isfinite(end)) {
    fail(Error::Runtime, "unsupported range: ", start, " -> ", end);
  }
  if ((step > 0) != (end >= start) && end != start) {
    fail(Error::Runtime, "upper bound and lower bound inconsistent with step sign");
  }
  int64_t n;
  if (r.integral()) {
    // 128 bits: from -2^63 to 2^63 - 1 is more than an int64 holds.
    const __int128 s = r.step.i, span = static_cast<__int128>(r.end.i) - r.start.i;
    const __int128 exact = (span + s + (s > 0 ? -1 : 1)) / s;
    if (exact > INT64_MAX) fail(Error::Runtime, "invalid size: the range has over 2^63 elements");
    n = static_cast<int64_t>(exact);
  } else {
    const double exact = std::ceil((end - start) / step);
    if (exact > 9e18) fail(Error::Runtime, "the range has too many elements: ", exact);
    n = static_cast<int64_t>(exact);
  }
  n = std::max<int64_t>(0, n);
  make(c, contiguous_layout({&n, 1}).get(), o);
}

// start + step * (i - origin), rounded as it stands.
struct Line {
  double start, step;
  int64_t origin = 0;
  Number at(int64_t i) const {
    return Number::real(start + step * static_cast<double>(i - origin));
  }
};
struct IntegerLine {
  int64_t start, step;
  Number at(int64_t i) const { return Number::integer(start + i * step); }
};

// Elements [begin, end) of a line. What is converted to doubles has 32 bits, of which vectors can.
template <class T>
VECTORISED void draw(const Line& line, int64_t begin, int64_t end, T* to) {
  constexpr int64_t kBlock = 4096;
  const double start = line.start, step = line.step;
  for (int64_t i = begin; i < end; i += kBlock) {
    const auto first = static_cast<double>(i - line.origin);
    const auto n = static_cast<int32_t>(std::min(kBlock, end - i));
    T* block = to + i;
    for (int32_t j = 0; j < n; ++j) block[j] = static_cast<T>(start + step * (first + j));
  }
}
template <class T>
VECTORISED void draw(const IntegerLine& line, int64_t begin, int64_t end, T* to) {
  const auto step = static_cast<uint64_t>(line.step);
  uint64_t v = static_cast<uint64_t>(line.start) + static_cast<uint64_t>(begin) * step;
  for (int64_t i = begin; i < end; ++i, v += step) to[i] = static_cast<T>(static_cast<int64_t>(v));
}

// Writes a line to the elements [from, to).
template <class L>
void generate(Tensor& t, const L& line, int64_t from, int64_t to) {
  char* p = t.data();
  const int64_t size = itemsize(t.dtype);
  auto typed = [&](auto* out) {
    parallel_for(to - from, 32768, 64,
                 [&](int64_t begin, int64_t end) { draw(line, from + begin, from + end, out); });
  };
  switch (t.dtype) {
    case DType::F32: return typed(reinterpret_cast<float*>(p));
    case DType::F64: return typed(reinterpret_cast<double*>(p));
    case DType::I64: return typed(reinterpret_cast<int64_t*>(p));
    case DType::I32: return typed(reinterpret_cast<int32_t*>(p));
    default:
      for (int64_t i = from; i < to; ++i) store_element(t.dtype, p + i * size, line.at(i));
  }
}

void run_arange(Call& c) {
  Range r(c);
  Tensor& t = *c.outs[0];
  if (is_integral(t.dtype, true)) {
    return generate(t, IntegerLine{r.start.as_int(), r.step.as_int()}, 0, t.numel());
  }
  generate(t, Line{r.start.as_double(), r.step.as_double()}, 0, t.numel());
}

void infer_linspace(Call& c) {
  int64_t n = c.args[2].to_int();
  if (n < 0) fail(Error::Runtime, "number of steps must be non-negative");
  const bool complex =
      c.args[0].number.tag == Number::Complex || c.args[1].number.tag == Number::Complex;
  Options o(c, complex ? complex_dtype(default_dtype()) : default_dtype());
  if (complex && !is_complex(o.dtype)) {
    fail(Error::Runtime, "linspace: start and end are complex and can't be safely cast to ",
         info(o.dtype).name, "; ask for a complex dtype");
  }
  make(c, contiguous_layout({&n, 1}).get(), o);
}

// From both ends, so that the last element is exact and the result symmetric.
struct Between {
  Line rises, falls;  // the first half, the second
  int64_t half;
  Between(double start, double end, int64_t n) : half(n == 1 ? 1 : n / 2) {
    const double step = n > 1 ? (end - start) / static_cast<double>(n - 1) : 0;
    rises = {start, step, 0};
    falls = {end, step, n - 1};
  }
  double at(int64_t i) const { return (i < half ? rises : falls).at(i).as_double(); }
};

void run_linspace(Call& c) {
  Tensor& t = *c.outs[0];
  const int64_t n = t.numel();
  const std::complex<double> start = c.args[0].number.as_complex();
  const std::complex<double> end = c.args[1].number.as_complex();
  if (is_complex(t.dtype)) {
    const Between real(start.real(), end.real(), n), imaginary(start.imag(), end.imag(), n);
    for (int64_t i = 0; i < n; ++i) {
      store_element(t.dtype, t.data() + i * itemsize(t.dtype),
                    Number::complex(real.at(i), imaginary.at(i)));
    }
    return;
  }
  double first = start.real(), last = end.real();
  if (is_integral(t.dtype, true)) {
    first = std::trunc(first);
    last = std::trunc(last);
  }
  const Between line(first, last, n);
  generate(t, line.rises, 0, std::min(n, line.half));
  generate(t, line.falls, line.half, n);
}

void infer_eye(Call& c) {
  int64_t sizes[2] = {c.args[0].to_int(),
                      c.args[1].none() ? c.args[0].to_int() : c.args[1].to_int()};
  for (int64_t n : sizes) {
    if (n < 0) fail(Error::Runtime, "n must be greater or equal to 0, got ", n);
  }
  make(c, contiguous_layout({sizes, 2}).get(), Options(c, default_dtype()));
}
void run_eye(Call& c) {
  Tensor& t = *c.outs[0];
  fill(t, Number::integer(0));
  int64_t n = std::min(t.layout->size(0), t.layout->size(1)), stride = t.layout->size(1) + 1;
  LayoutRef diagonal = intern({&n, 1}, {&stride, 1});
  fill(*alias(t, diagonal.get()), Number::integer(1));
}

TM_NATIVE("arange", infer_arange, run_arange);
TM_NATIVE("arange.start", infer_arange, run_arange);
TM_NATIVE("linspace", infer_linspace, run_linspace);
TM_NATIVE("eye", infer_eye, run_eye);

// ---- clone, copy_, fill_ --------------------------------------------------------------------

void run_clone(Call& c) { copy_into(*c.outs[0], c.args[0].t()); }
TM_NATIVE_NEUTRAL("clone", infer_like, run_clone, false, false);

void infer_copy_(Call& c) {
  Tensor &to = c.args[0].t(), &from = c.args[1].t();
  if (!is_expandable(from.sizes(), to.sizes())) {
    fail(Error::Runtime, "output with shape ", format(to.sizes()),
         " doesn't match the broadcast shape ", format(from.sizes()));
  }
  if (from.device().type == DeviceType::Meta && to.device().type != DeviceType::Meta) {
    fail(Error::NotImplemented, "Cannot copy out of meta tensor; no data!");
  }
}
void run_copy_(Call& c) {
  copy_into(c.args[0].t(), c.args[1].t(), c.args[2].to_bool());  // non_blocking
}
void run_fill_(Call& c) { fill(c.args[0].t(), c.args[1].number); }
void run_zero_(Call& c) { fill(c.args[0].t(), Number::integer(0)); }
TM_NATIVE_NEUTRAL("copy_", infer_copy_, run_copy_, true, false);
TM_NATIVE_NEUTRAL("fill_", nothing, run_fill_, false, true);
TM_NATIVE_NEUTRAL("zero_", nothing, run_zero_, false, true);

}  // namespace
}  // namespace taimatsu
