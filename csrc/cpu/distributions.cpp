// Filling tensors with random numbers. The order of draws and every rounding are part of each op's
// contract: a seed gives the numbers that PyTorch's CPU generator gives, bit for bit.
#include <algorithm>
#include <cmath>
#include <limits>

#include "cpu/clones.h"
#include "cpu/fill.h"
#include "cpu/threads.h"

namespace taimatsu {
namespace {

void check_floating(Tensor& t) {
  if (!is_differentiable(t.dtype)) {
    fail(Error::NotImplemented, "not implemented for '", info(t.dtype).legacy,
         "'; the tensor must be floating point");
  }
}

// ---- Bits to numbers -------------------------------------------------------------------------

// The vectorised part: what a processor can do changes its speed only, since nothing is contracted
// but where std::fma says so.
#pragma GCC push_options
#pragma GCC optimize("O3")
// The standard library's are functions of their own for a clone, and calls.
INLINED float fma(float x, float y, float z) { return __builtin_fmaf(x, y, z); }
INLINED double fma(double x, double y, double z) { return __builtin_fma(x, y, z); }
INLINED float sqrt(float x) { return __builtin_sqrtf(x); }
INLINED double sqrt(double x) { return __builtin_sqrt(x); }

VECTORISED void scale_bits(const uint32_t* bits, float* out, int64_t n, float from, float width) {
  for (int64_t i = 0; i < n; ++i) {
    const float u = static_cast<float>(static_cast<int32_t>(bits[i] & 0xffffff)) * 0x1p-24f;
    out[i] = fma(u, width, from);
  }
}

// Ones where a uniform double is below limit / 2^53, from pairs of draws: high word first.
template <class T>
VECTORISED void below(const uint32_t* bits, T* out, int64_t n, int64_t limit) {
  const T one = element<T>(1);
  for (int64_t i = 0; i < n; ++i) {
    const int64_t u = static_cast<int64_t>(bits[2 * i] & 0x1fffff) << 32 | bits[2 * i + 1];
    if constexpr (std::is_arithmetic<T>::value) {
      out[i] = static_cast<T>(u < limit);
    } else {
      out[i].bits = u < limit ? one.bits : 0;
    }
  }
}

// The same with a probability for each: a draw for a float, two for a double.
template <class T>
VECTORISED void below_each(const uint32_t* bits, const float* p, T* out, int64_t n) {
  const T zero = element<T>(0), one = element<T>(1);
  for (int64_t i = 0; i < n; ++i) {
    const float u = static_cast<float>(static_cast<int32_t>(bits[i] & 0xffffff)) * 0x1p-24f;
    if constexpr (std::is_arithmetic<T>::value) {
      out[i] = static_cast<T>(u < p[i]);
    } else {
      out[i].bits = u < p[i] ? one.bits : zero.bits;
    }
  }
}
template <class T>
void below_each(const uint32_t* bits, const double* p, T* out, int64_t n) {
  for (int64_t i = 0; i < n; ++i) {
    const int64_t u = static_cast<int64_t>(bits[2 * i] & 0x1fffff) << 32 | bits[2 * i + 1];
    out[i] = element<T>(static_cast<double>(u) * 0x1p-53 < p[i]);
  }
}
template <class R>
VECTORISED bool all_probabilities(const R* p, int64_t n) {
  int64_t wrong = 0;
  for (int64_t i = 0; i < n; ++i) wrong += !(p[i] >= 0) | !(p[i] <= 1);
  return wrong == 0;
}

// Logarithm on (0, 1], sine and cosine on [0, 2 pi]: those of S. Moshier's Cephes library in single
// precision, without branches. Which products enter a sum unrounded is part of the contract.
INLINED float cephes_log(float x) {
  int32_t bits;
  std::memcpy(&bits, &x, 4);
  const int32_t shift = (bits - 0x3f3504f3) & static_cast<int32_t>(0xff800000);  // from sqrt(1/2)
  const float e = static_cast<float>(shift >> 23);
  bits -= shift;
  float m;
  std::memcpy(&m, &bits, 4);
  m -= 1;
  const float z = m * m;
  float y = 7.0376836292e-2f;
  y = fma(y, m, -1.1514610310e-1f);
  y = fma(y, m, 1.1676998740e-1f);
  y = fma(y, m, -1.2420140846e-1f);
  y = fma(y, m, 1.4249322787e-1f);
  y = fma(y, m, -1.6668057665e-1f);
  y = fma(y, m, 2.0000714765e-1f);
  y = fma(y, m, -2.4999993993e-1f);
  y = fma(y, m, 3.3333331174e-1f);
  y = fma(y * m, z, e * -2.12194440e-4f);
  y = fma(z, -0.5f, y);
  return fma(e, 0.693359375f, m + y);
}
INLINED float flip_sign(float x, int32_t if_four) {
  int32_t bits;
  std::memcpy(&bits, &x, 4);
  bits ^= if_four << 29;
  std::memcpy(&x, &bits, 4);
  return x;
}
INLINED void cephes_sincos(float x, float& sine, float& cosine) {
  const int32_t octant = (static_cast<int32_t>(x * 1.27323954473516f) + 1) & ~1;
  const float n = static_cast<float>(octant);
  x = fma(n, -0.78515625f, x);  // x - n pi / 4, in three parts
  x = fma(n, -2.4187564849853515625e-4f, x);
  x = fma(n, -3.77489497744594108e-8f, x);
  const float z = x * x;
  float c = 2.443315711809948e-5f;
  c = fma(c, z, -1.388731625493765e-3f);
  c = fma(c, z, 4.166664568298827e-2f);
  c = fma(c * z, z, z * -0.5f) + 1;
  float s = -1.9515295891e-4f;
  s = fma(s, z, 8.3321608736e-3f);
  s = fma(s, z, -1.6666654611e-1f);
  s = fma(s * z, x, x);
  const float a = octant & 2 ? c : s, b = octant & 2 ? s : c;
  sine = flip_sign(a, octant & 4);
  cosine = flip_sign(b, (octant + 2) & 4);
}
INLINED void normals_of(const float* u1, const float* u2, float* a, float* b, float mean,
                        float std) {
  for (int j = 0; j < 8; ++j) {
    const float radius = sqrt(-2 * cephes_log(1 - u1[j]));
    float sine, cosine;
    cephes_sincos(static_cast<float>(2 * M_PI) * u2[j], sine, cosine);
    a[j] = fma(radius * cosine, std, mean);
    b[j] = fma(radius * sine, std, mean);
  }
}
INLINED void normals_of(const double* u1, const double* u2, double* a, double* b, double mean,
                        double std) {
  for (int j = 0; j < 8; ++j) {
    const double radius = sqrt(-2 * std::log(1 - u1[j])), theta = 2 * M_PI * u2[j];
    a[j] = fma(radius * std::cos(theta), std, mean);
    b[j] = fma(radius * std::sin(theta), std, mean);
  }
}

// 16 uniform numbers become 16 normal ones, `groups` times: element j pairs with element j + 8.
template <class R>
INLINED void normal_groups(R* x, int64_t groups, R mean, R std) {
  for (; groups > 0; --groups, x += 16) {
    R u[16];
    std::copy(x, x + 16, u);
    normals_of(u, u + 8, x, x + 8, mean, std);
  }
}
VECTORISED void normal_16(float* x, int64_t groups, float mean, float std) {
  normal_groups(x, groups, mean, std);
}
void normal_16(double* x, int64_t groups, double mean, double std) {
  normal_groups(x, groups, mean, std);
}

#pragma GCC pop_options

// ---- uniform_ -------------------------------------------------------------------------------

void infer_uniform(Call& c) {
  Tensor& t = c.args[0].t();
  check_floating(t);
  const double from = c.args[1].to_double(), to = c.args[2].to_double();
  if (!(from <= to)) {
    fail(Error::Runtime, "uniform_ expects to return a [from, to) range, but found from=", from,
         " > to=", to);
  }
  if (to - from > std::numeric_limits<double>::max()) {
    fail(Error::Runtime, "uniform_ expects to-from <= std::numeric_limits<double>::max()");
  }
}

void uniform_floats(Generator& g, float* out, int64_t n, float from, float width) {
  uint32_t bits[1024];
  for (int64_t done = 0; done < n; done += 1024) {
    const int64_t count = std::min<int64_t>(1024, n - done);
    g.engine.draw(bits, count);
    scale_bits(bits, out + done, count, from, width);
  }
}

void run_uniform(Call& c) {
  with_floats(c.args[0].t(), [&](auto tag, Tensor& t) {
    using T = typename decltype(tag)::type;
    using Real = std::conditional_t<std::is_same<T, double>::value, double, float>;
    const Real from = static_cast<Real>(c.args[1].to_double());
    const Real width = static_cast<Real>(c.args[2].to_double()) - from;
    const T to = static_cast<T>(static_cast<Real>(c.args[2].to_double()));
    with_generator(t, c.args[3], [&](Generator& g) {
      if constexpr (std::is_same<T, float>::value) {
        if (t.layout->dense) {
          float* first = t.storage->as<float>() + reach(*t.layout).first;
          return uniform_floats(g, first, t.numel(), from, width);
        }
      }
      each_in_memory<T>(t, [&](T& x) {
        if constexpr (std::is_same<T, double>::value) {
          x = std::fma(g.uniform(), width, from);
        } else {
          x = T(std::fma(g.uniform_float(), width, from));
          if (sizeof(T) == 2 && x == to) x = T(from);  // rounding may reach the open end
        }
      });
    });
  });
}
TM_NATIVE("uniform_", infer_uniform, run_uniform);

// ---- normal_ --------------------------------------------------------------------------------

template <class T>
void fill_normal(Generator& g, T* out, int64_t n, double mean, double std) {
  using R = std::conditional_t<std::is_same<T, double>::value, double, float>;
  const R m = static_cast<R>(mean), s = static_cast<R>(std);
  auto draw = [&](R* to, int64_t count) {
    if constexpr (std::is_same<R, float>::value) {
      uniform_floats(g, to, count, 0, 1);
    } else {
      for (int64_t i = 0; i < count; ++i) to[i] = g.uniform();
    }
  };
  if constexpr (std::is_same<T, R>::value) {
    // Drawn and transformed while it is in the cache; what is past the last 16 is drawn all the
    // same.
    constexpr int64_t kChunk = 1 << 15;
    for (int64_t done = 0; done < n; done += kChunk) {
      const int64_t count = std::min(kChunk, n - done);
      draw(out + done, count);
      parallel_for(count / 16, 512, 1, [&](int64_t begin, int64_t end) {
        normal_16(out + done + 16 * begin, end - begin, m, s);
      });
    }
  } else {
    R x[16];
    for (int64_t i = 0; i < n / 16; ++i) {
      draw(x, 16);
      normal_16(x, 1, m, s);
      std::transform(x, x + 16, out + 16 * i, [](R v) { return T(v); });
    }
  }
  if (n % 16) {  // the last 16 anew
    R x[16];
    draw(x, 16);
    normal_16(x, 1, m, s);
    std::transform(x, x + 16, out + n - 16, [](R v) { return T(v); });
  }
}

void infer_normal(Call& c) {
  check_floating(c.args[0].t());
  if (!(c.args[2].to_double() >= 0)) {
    fail(Error::Runtime, "normal expects std >= 0.0, but found std ", c.args[2].to_double());
  }
}
void run_normal(Call& c) {
  Tensor& self = c.args[0].t();
  const double mean = c.args[1].to_double();
  // Of complex numbers the variance is shared by the parts.
  const double std = c.args[2].to_double() / (is_complex(self.dtype) ? M_SQRT2 : 1);
  with_floats(self, [&](auto tag, Tensor& t) {
    using T = typename decltype(tag)::type;
    with_generator(t, c.args[3], [&](Generator& g) {
      if (t.numel() >= 16 && t.layout->contiguous) {
        return fill_normal(g, t.as<T>(), t.numel(), mean, std);
      }
      each_in_memory<T>(t, [&](T& x) { x = element<T>(std::fma(g.standard_normal(), std, mean)); });
    });
  });
}
TM_NATIVE("normal_", infer_normal, run_normal);

// ---- Numbers made from one uniform or normal double -----------------------------------------

template <class F>
void fill_from(Call& c, int generator, const F& sample) {
  with_real_type(c.args[0].t().dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    Tensor& t = c.args[0].t();
    with_generator(t, c.args[generator], [&](Generator& g) {
      each_in_memory<T>(t, [&](T& x) { x = element<T>(sample(g)); });
    });
  });
}

void infer_exponential(Call& c) {
  check_floating(c.args[0].t());
  if (!(c.args[1].to_double() > 0)) {
    fail(Error::Runtime,
         "exponential_ expects lambda > 0.0, but found lambda=", c.args[1].to_double());
  }
}
void run_exponential(Call& c) {
  const double lambda = c.args[1].to_double();
  fill_from(c, 2, [=](Generator& g) { return -1 / lambda * std::log1p(-g.uniform()); });
}
TM_NATIVE("exponential_", infer_exponential, run_exponential);

void infer_geometric(Call& c) {
  const double p = c.args[1].to_double();
  if (!(p > 0 && p < 1))
    fail(Error::Runtime, "geometric_ expects p to be in (0, 1), but got p=", p);
}
void run_geometric(Call& c) {
  const double p = c.args[1].to_double();
  fill_from(c, 2, [=](Generator& g) { return std::ceil(std::log(g.uniform()) / std::log1p(-p)); });
}
TM_NATIVE("geometric_", infer_geometric, run_geometric);

void infer_cauchy(Call& c) {
  check_floating(c.args[0].t());
  if (!(c.args[2].to_double() > 0)) {
    fail(Error::Runtime, "cauchy_ expects sigma > 0.0, but found sigma=", c.args[2].to_double());
  }
}
void run_cauchy(Call& c) {
  const double median = c.args[1].to_double(), sigma = c.args[2].to_double();
  fill_from(c, 3, [=](Generator& g) {
    return std::fma(sigma, std::tan(M_PI * (g.uniform() - 0.5)), median);
  });
}
TM_NATIVE("cauchy_", infer_cauchy, run_cauchy);

void infer_log_normal(Call& c) {
  check_floating(c.args[0].t());
  if (!(c.args[2].to_double() > 0)) {
    fail(Error::Runtime, "log_normal_ expects std > 0.0, but found std=", c.args[2].to_double());
  }
}
void run_log_normal(Call& c) {
  const double mean = c.args[1].to_double(), std = c.args[2].to_double();
  fill_from(c, 3, [=](Generator& g) { return std::exp(std::fma(g.standard_normal(), std, mean)); });
}
TM_NATIVE("log_normal_", infer_log_normal, run_log_normal);

// ---- random_: integers ----------------------------------------------------------------------

// The bits of the largest range of integers from 0 that a dtype counts through without a gap.
int counted_digits(DType t) {
  switch (t) {
    case DType::F64: return 53;
    case DType::F32: return 24;
    case DType::F16: return 11;
    case DType::BF16: return 8;
    case DType::Bool: return 1;
    default: return static_cast<int>(itemsize(t)) * 8 - (info(t).is_signed ? 1 : 0);
  }
}
// The finite values of a dtype: [lowest, highest].
void integer_limits(DType t, double& lowest, double& highest) {
  if (is_integral(t, true)) {
    highest = std::ldexp(1.0, counted_digits(t)) - 1;
    lowest = t != DType::Bool && info(t).is_signed ? -highest - 1 : 0;
    return;
  }
  highest = t == DType::F16    ? 65504
            : t == DType::BF16 ? 3.3895e38
            : t == DType::F32  ? 3.4028e38
                               : 1.7e308;
  lowest = -highest;
}
// The value of an integer in a floating dtype.
int64_t rounded_to(DType t, int64_t v) {
  switch (t) {
    case DType::F64: return static_cast<int64_t>(static_cast<double>(v));
    case DType::F32: return static_cast<int64_t>(static_cast<float>(v));
    case DType::F16: return static_cast<int64_t>(static_cast<float>(element<Half>(v)));
    case DType::BF16: return static_cast<int64_t>(static_cast<float>(element<BFloat16>(v)));
    default: return v;
  }
}
int64_t spacing_near(DType t, int64_t v) {
  int exponent = 0;
  for (uint64_t rest = static_cast<uint64_t>(v < 0 ? -v : v); rest >>= 1;) ++exponent;
  return int64_t{1} << std::max(0, exponent - counted_digits(t) + 1);
}
// Bounds drawn in, so that rounding to a floating dtype can't leave [from, to).
void keep_inside(DType t, int64_t& from, int64_t* to) {
  if (is_integral(t, true)) return;
  const int64_t above = rounded_to(t, from + 1);
  if (above < from) from = above + spacing_near(t, from + 1);
  if (to && rounded_to(t, *to - 1) >= *to) *to -= spacing_near(t, *to - 1);
}
void infer_random_range(Call& c) {
  const Tensor& t = c.args[0].t();
  if (is_complex(t.dtype)) {
    fail(Error::NotImplemented, "not implemented for '", info(t.dtype).legacy, "'");
  }
  const bool has_from = c.op.name == "random_.from";
  const int64_t from = has_from ? c.args[1].to_int() : 0;
  const Value& end = c.args[has_from ? 2 : 1];
  double lowest, highest;
  integer_limits(t.dtype, lowest, highest);
  const double to = end.none() ? highest + 1 : static_cast<double>(end.to_int());
  if (!end.none() && from >= end.to_int()) {
    fail(Error::Runtime, "random_ expects 'from' to be less than 'to', but got from=", from,
         " >= to=", end.to_int());
  }
  if (static_cast<double>(from) < lowest || static_cast<double>(from) > highest) {
    fail(Error::Runtime, "from is out of bounds for ", info(t.dtype).name, "; got ", from);
  }
  if (to - 1 < lowest || to - 1 > highest) {
    fail(Error::Runtime, "to - 1 is out of bounds for ", info(t.dtype).name,
         "; got to=", end.none() ? int64_t{0} : end.to_int());
  }
}

template <class F>
void fill_integers(Tensor& t, const Value& generator, const F& sample) {
  with_real_type(t.dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    with_generator(t, generator, [&](Generator& g) {
      each_in_memory<T>(t, [&](T& x) {
        const uint64_t v = sample(g);
        if constexpr (is_float<T>) {
          x = T(static_cast<std::conditional_t<std::is_same<T, double>::value, double, float>>(
              static_cast<int64_t>(v)));
        } else {
          x = static_cast<T>(v);
        }
      });
    });
  });
}

void fill_range(Call& c, int64_t from, const Value& end, const Value& generator) {
  Tensor& t = c.args[0].t();
  uint64_t range;  // 0 stands for 2^64
  if (end.none()) {
    keep_inside(t.dtype, from, nullptr);
    const int digits = counted_digits(t.dtype);
    const uint64_t end_of_count = digits == 64 ? 0 : uint64_t{1} << digits;
    // Of floating dtypes the first integer that the next one doesn't follow belongs to it.
    range = end_of_count - (is_integral(t.dtype, true) ? 1 : 0) - static_cast<uint64_t>(from) + 1;
  } else {
    int64_t to = end.to_int();
    keep_inside(t.dtype, from, &to);
    range = static_cast<uint64_t>(to) - static_cast<uint64_t>(from);
  }
  const uint64_t base = static_cast<uint64_t>(from);
  if (range == 0) return fill_integers(t, generator, [](Generator& g) { return g.bits64(); });
  if (range < uint64_t{1} << 28) {
    const uint32_t small = static_cast<uint32_t>(range);
    return fill_integers(t, generator, [=](Generator& g) { return g.bits32() % small + base; });
  }
  fill_integers(t, generator, [=](Generator& g) { return g.bits64() % range + base; });
}
void run_random_from(Call& c) { fill_range(c, c.args[1].to_int(), c.args[2], c.args[3]); }
void run_random_to(Call& c) { fill_range(c, 0, c.args[1], c.args[2]); }

// All values that the dtype counts through.
void infer_random(Call& c) {
  if (is_complex(c.args[0].t().dtype)) {
    fail(Error::NotImplemented, "not implemented for '", info(c.args[0].t().dtype).legacy, "'");
  }
}
void run_random(Call& c) {
  Tensor& t = c.args[0].t();
  const Value& generator = c.args[1];
  auto modulo = [&](uint64_t n) {
    fill_integers(t, generator, [=](Generator& g) { return uint64_t{g.bits32()} % n; });
  };
  switch (t.dtype) {
    case DType::Bool: return modulo(2);
    case DType::F16: return modulo((1 << 11) + 1);
    case DType::BF16: return modulo((1 << 8) + 1);
    case DType::F32: return modulo((1 << 24) + 1);
    case DType::F64:
      return fill_integers(t, generator,
                           [](Generator& g) { return g.bits64() % ((uint64_t{1} << 53) + 1); });
    case DType::I64:
      return fill_integers(t, generator,
                           [](Generator& g) { return g.bits64() & (~uint64_t{0} >> 1); });
    case DType::U64: return fill_integers(t, generator, [](Generator& g) { return g.bits64(); });
    default: {
      const int bits = static_cast<int>(itemsize(t.dtype)) * 8 - (info(t.dtype).is_signed ? 1 : 0);
      modulo(uint64_t{1} << bits);
    }
  }
}
TM_NATIVE("random_.from", infer_random_range, run_random_from);
TM_NATIVE("random_.to", infer_random_range, run_random_to);
TM_NATIVE("random_", infer_random, run_random);

// ---- bernoulli_ -----------------------------------------------------------------------------

void infer_bernoulli(Call& c) {
  const double p = c.args[1].to_double();
  if (!(p >= 0 && p <= 1))
    fail(Error::Runtime, "bernoulli_ expects p to be in [0, 1], but got p=", p);
}
void run_bernoulli(Call& c) {
  const double p = c.args[1].to_double();
  Tensor& t = c.args[0].t();
  with_real_type(t.dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    with_generator(t, c.args[2], [&](Generator& g) {
      if (!t.layout->dense) {
        return each_in_memory<T>(t, [&](T& x) { x = element<T>(g.uniform() < p); });
      }
      T* out = t.storage->as<T>() + reach(*t.layout).first;
      const int64_t limit = static_cast<int64_t>(std::ceil(p * 0x1p53));
      uint32_t bits[1024];
      for (int64_t done = 0, n = t.numel(); done < n; done += 512) {
        const int64_t count = std::min<int64_t>(512, n - done);
        g.engine.draw(bits, 2 * count);
        below(bits, out + done, count, limit);
      }
    });
  });
}
TM_NATIVE("bernoulli_.float", infer_bernoulli, run_bernoulli);

void infer_bernoulli_tensor(Call& c) {
  const Tensor &t = c.args[0].t(), &p = c.args[1].t();
  if (!is_floating(p.dtype)) {
    fail(Error::Runtime, "expects probabilities to be floating point, got ", info(p.dtype).name);
  }
  if (!is_expandable(p.sizes(), t.sizes())) {
    fail(Error::Runtime, "probabilities with sizes ", format(p.sizes()), " can't be expanded to ",
         format(t.sizes()));
  }
}
template <class R, class T>
void fill_below(Generator& g, const R* p, T* out, int64_t n) {
  constexpr int64_t kDraws = sizeof(R) / sizeof(float), kBlock = 1024;
  uint32_t bits[kDraws * kBlock];
  for (int64_t done = 0; done < n; done += kBlock) {
    const int64_t count = std::min(kBlock, n - done);
    g.engine.draw(bits, kDraws * count);
    below_each(bits, p + done, out + done, count);
  }
}
void run_bernoulli_tensor(Call& c) {
  Tensor& t = c.args[0].t();
  const bool wide = c.args[1].t().dtype == DType::F64;  // then uniform doubles are compared
  TensorRef p = to_dtype(c.args[1].t(), wide ? DType::F64 : DType::F32);
  const Layout* layouts[2] = {t.layout, p->layout};
  Iteration it;
  iterate(it, {layouts, 2}, t.sizes());
  bool valid = true;
  with_real_type(t.dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    with_generator(t, c.args[2], [&](Generator& g) {
      auto fill = [&](const auto* probability, auto draw) {
        if (t.layout->contiguous && p->layout == t.layout) {
          valid = all_probabilities(probability, t.numel());
          return valid ? fill_below(g, probability, t.as<T>(), t.numel()) : void();
        }
        for_outer(it, 0, [&](const int64_t* at) {
          valid &= probability[at[1]] >= 0 && probability[at[1]] <= 1;
        });
        if (!valid) return;
        for_outer(it, 0, [&](const int64_t* at) {
          t.as<T>()[at[0]] = element<T>(draw() < probability[at[1]]);
        });
      };
      if (wide) {
        fill(p->as<double>(), [&] { return g.uniform(); });
      } else {
        fill(p->as<float>(), [&] { return g.uniform_float(); });
      }
    });
  });
  if (!valid)
    fail(Error::Runtime, "Expected p_in >= 0 && p_in <= 1 to be true, but some element is not");
}
TM_NATIVE("bernoulli_.Tensor", infer_bernoulli_tensor, run_bernoulli_tensor);

// ---- randperm, multinomial ------------------------------------------------------------------

// _randperm_(Tensor(a!) self, *, Generator? generator): 0 .. n-1 shuffled, into a vector of n.
void infer_randperm(Call& c) {
  const Tensor& t = c.args[0].t();
  if (t.ndim() != 1) fail(Error::Runtime, "expects a vector");
  double lowest, highest;
  integer_limits(t.dtype, lowest, highest);
  const double last = static_cast<double>(t.numel()) - 1;
  if (last > std::min(highest, std::ldexp(1.0, counted_digits(t.dtype)))) {
    fail(Error::Runtime, "n is too large for ", info(t.dtype).name, "; got ", t.numel());
  }
}
void run_randperm(Call& c) {
  Tensor& t = c.args[0].t();
  const int64_t n = t.numel();
  std::vector<int64_t> order(n);
  for (int64_t i = 0; i < n; ++i) order[i] = i;
  with_generator(t, c.args[1], [&](Generator& g) {
    for (int64_t i = 0; i < n - 1; ++i) {
      const uint64_t left = static_cast<uint64_t>(n - i);
      const uint64_t z = left < uint64_t{1} << 32 ? g.bits32() % left : g.bits64() % left;
      std::swap(order[i], order[i + static_cast<int64_t>(z)]);
    }
  });
  with_real_type(t.dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    T* out = t.as<T>();
    const int64_t stride = t.layout->stride(0);
    for (int64_t i = 0; i < n; ++i) out[i * stride] = element<T>(order[i]);
  });
}
TM_NATIVE("_randperm_", infer_randperm, run_randperm);

void infer_multinomial(Call& c) {
  const Tensor& p = c.args[0].t();
  const int64_t samples = c.args[1].to_int();
  if (p.ndim() != 1 && p.ndim() != 2) {
    fail(Error::Runtime, "prob_dist must be 1 or 2 dim; got ", p.ndim());
  }
  if (!is_floating(p.dtype)) {
    fail(Error::Runtime,
         "multinomial only supports floating-point dtypes for input, got: ", info(p.dtype).name);
  }
  const int64_t n = p.layout->size(p.ndim() - 1);
  if (n > int64_t{1} << 24) {
    fail(Error::Runtime, "number of categories cannot exceed 2^24; got ", n);
  }
  if (samples <= 0) fail(Error::Runtime, "cannot sample n_sample <= 0 samples; got ", samples);
  if (!c.args[2].to_bool() && samples > n) {
    fail(Error::Runtime,
         "cannot sample n_sample > prob_dist.size(-1) samples without replacement; "
         "got ",
         samples, " of ", n);
  }
  int64_t sizes[2] = {p.layout->size(0), samples};
  c.outs.push(empty(p.ndim() == 1 ? Ints(sizes + 1, 1) : Ints(sizes, 2), DType::I64, p.device()));
}

// Without replacement: the largest p / q with exponential q. With: by the cumulative distribution.
template <class T>
using float_of = std::conditional_t<std::is_same<T, double>::value, double, float>;

template <class T>
void sample_rows(Generator& g, const T* p, int64_t rows, int64_t n, int64_t samples, bool replace,
                 int64_t* out) {
  if (replace && samples > 1) {
    std::vector<double> upto(n);
    for (int64_t r = 0; r < rows; ++r) {
      double sum = 0;
      for (int64_t i = 0; i < n; ++i) upto[i] = sum += static_cast<double>(p[r * n + i]);
      for (int64_t i = 0; i < n; ++i) upto[i] /= sum;
      if (n > 0) upto[n - 1] = 1;
      for (int64_t s = 0; s < samples; ++s) {
        const double u = g.uniform();
        out[r * samples + s] = std::lower_bound(upto.begin(), upto.end(), u) - upto.begin();
      }
    }
    return;
  }
  // Every step in the weights' own dtype, ties broken as `topk` does.
  std::vector<float_of<T>> score(rows * n);
  for (int64_t i = 0; i < rows * n; ++i) {
    const float_of<T> q = element<T>(-std::log1p(-g.uniform()));
    score[i] = element<T>(static_cast<float_of<T>>(p[i]) / q);
  }
  std::vector<std::pair<float_of<T>, int64_t>> order(n);
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t i = 0; i < n; ++i) order[i] = {score[r * n + i], i};
    auto larger = [](const auto& a, const auto& b) { return a.first > b.first; };
    const auto first = order.begin(), last = first + samples;
    if (samples == 1) {
      *first = *std::min_element(first, order.end(), larger);
    } else if (samples * 64 <= n) {
      std::partial_sort(first, last, order.end(), larger);
    } else {
      std::nth_element(first, last - 1, order.end(), larger);
      std::sort(first, last - 1, larger);
    }
    std::transform(first, last, out + r * samples, [](const auto& o) { return o.second; });
  }
}

void run_multinomial(Call& c) {
  TensorRef p = contiguous(c.args[0].t());
  Tensor& out = *c.outs[0];
  const int64_t n = p->layout->size(p->ndim() - 1), rows = n ? p->numel() / n : 0;
  const int64_t samples = c.args[1].to_int();
  auto sample = [&](const auto* weights) {
    for (int64_t r = 0; r < rows; ++r) {
      double sum = 0;
      for (int64_t i = 0; i < n; ++i) {
        const double w = static_cast<double>(weights[r * n + i]);
        if (!(w >= 0) || !std::isfinite(w)) {
          fail(Error::Runtime, "probability tensor contains either `inf`, `nan` or element < 0");
        }
        sum += w;
      }
      if (sum == 0) {
        fail(Error::Runtime, "invalid multinomial distribution (sum of probabilities <= 0)");
      }
    }
    with_generator(out, c.args[3], [&](Generator& g) {
      sample_rows(g, weights, rows, n, samples, c.args[2].to_bool(), out.as<int64_t>());
    });
  };
  with_floats(
      *p, [&](auto tag, Tensor& weights) { sample(weights.as<typename decltype(tag)::type>()); });
}
TM_NATIVE("multinomial", infer_multinomial, run_multinomial);

}  // namespace
}  // namespace taimatsu
