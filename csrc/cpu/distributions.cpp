// Filling tensors with random numbers. The order of draws is part of each op's contract: a seed
// gives the numbers that PyTorch's CPU generator gives.
#include <algorithm>
#include <cmath>
#include <limits>

#include "cpu/elements.h"
#include "cpu/native.h"
#include "cpu/random.h"
#include "cpu/threads.h"

namespace taimatsu {
namespace {

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
  body(g);
}

void check_floating(Tensor& t) {
  if (!is_differentiable(t.dtype)) {
    fail(Error::NotImplemented, "not implemented for '", info(t.dtype).legacy,
         "'; the tensor must be floating point");
  }
}

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
    for (int64_t i = 0; i < count; ++i) {
      out[done + i] =
          static_cast<float>(static_cast<int32_t>(bits[i] & 0xffffff)) * 0x1p-24f * width + from;
    }
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
          x = g.uniform() * width + from;
        } else {
          x = T(g.uniform_float() * width + from);
          if (sizeof(T) == 2 && x == to) x = T(from);  // rounding may reach the open end
        }
      });
    });
  });
}
TM_NATIVE("uniform_", infer_uniform, run_uniform);

// ---- normal_ --------------------------------------------------------------------------------

// Logarithm on (0, 1], sine and cosine of a turn: branch-free, so that compilers vectorise the
// loops over 8; within 2 ULP, where libm's scalars would take most of the time.
inline float fast_log(float x) {
  int32_t bits;
  std::memcpy(&bits, &x, 4);
  const int32_t shift = (bits - 0x3f3504f3) & static_cast<int32_t>(0xff800000);  // around sqrt(1/2)
  bits -= shift;
  float m;
  std::memcpy(&m, &bits, 4);
  const float e = static_cast<float>(shift >> 23);
  const float f = m - 1, s = f / (2 + f), z = s * s;
  const float r =
      z * (0.66666662693f + z * (0.40000972152f + z * (0.28498786688f + z * 0.24279078841f)));
  const float half = 0.5f * f * f;
  return e * 0.693138123f + (f - (half - (s * (half + r) + e * 9.0580006145e-6f)));
}
inline void fast_sincos_turn(float u, float& sine, float& cosine) {
  const float quarter = static_cast<float>(static_cast<int32_t>(4 * u + 0.5f));
  const float x = (u - 0.25f * quarter) * 6.28318531f, z = x * x;
  const int32_t q = static_cast<int32_t>(quarter);
  const float s =
      x + x * z * (-0.16666667f + z * (8.3333310e-3f + z * (-1.9840874e-4f + z * 2.7525562e-6f)));
  const float c = 1 + z * (-0.5f + z * (4.1666623e-2f + z * (-1.3886763e-3f + z * 2.4390449e-5f)));
  const float a = q & 1 ? c : s, b = q & 1 ? s : c;
  sine = q & 2 ? -a : a;
  cosine = (q + 1) & 2 ? -b : b;
}
inline void normals_of(const float* u1, const float* u2, float* a, float* b, float mean,
                       float std) {
  for (int j = 0; j < 8; ++j) {
    const float radius = std::sqrt(-2 * fast_log(1 - u1[j]));
    float sine, cosine;
    fast_sincos_turn(u2[j], sine, cosine);
    a[j] = radius * cosine * std + mean;
    b[j] = radius * sine * std + mean;
  }
}
inline void normals_of(const double* u1, const double* u2, double* a, double* b, double mean,
                       double std) {
  for (int j = 0; j < 8; ++j) {
    const double radius = std::sqrt(-2 * std::log(1 - u1[j])), theta = 2 * M_PI * u2[j];
    a[j] = radius * std::cos(theta) * std + mean;
    b[j] = radius * std::sin(theta) * std + mean;
  }
}

// 16 uniform numbers become 16 normal ones, `groups` times: element j pairs with element j + 8.
template <class R>
inline void normal_groups(R* x, int64_t groups, R mean, R std) {
  for (; groups > 0; --groups, x += 16) {
    R u[16];
    std::copy(x, x + 16, u);
    normals_of(u, u + 8, x, x + 8, mean, std);
  }
}
// Without contraction the instruction set changes the speed only.
#pragma GCC push_options
#pragma GCC optimize("O3")
#if defined(__x86_64__) && defined(__linux__) && !defined(__clang__)
__attribute__((target_clones("avx2", "default")))
#endif
void normal_16(float* x, int64_t groups, float mean, float std) {
  normal_groups(x, groups, mean, std);
}
#pragma GCC pop_options
void normal_16(double* x, int64_t groups, double mean, double std) {
  normal_groups(x, groups, mean, std);
}

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
    draw(out, n);
    parallel_for(n / 16, 1024, 1, [&](int64_t begin, int64_t end) {
      normal_16(out + 16 * begin, end - begin, m, s);
    });
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
  const double std = c.args[2].to_double() * (is_complex(self.dtype) ? M_SQRT1_2 : 1);
  with_floats(self, [&](auto tag, Tensor& t) {
    using T = typename decltype(tag)::type;
    with_generator(t, c.args[3], [&](Generator& g) {
      if (t.numel() >= 16 && t.layout->contiguous) {
        return fill_normal(g, t.as<T>(), t.numel(), mean, std);
      }
      each_in_memory<T>(t, [&](T& x) { x = T(g.standard_normal() * std + mean); });
    });
  });
}
TM_NATIVE("normal_", infer_normal, run_normal);

// ---- Numbers made from one uniform or normal double
// -----------------------------------------------

template <class F>
void fill_from(Call& c, int generator, const F& sample) {
  with_real_type(c.args[0].t().dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    Tensor& t = c.args[0].t();
    with_generator(t, c.args[generator], [&](Generator& g) {
      each_in_memory<T>(t, [&](T& x) {
        if constexpr (sizeof(T) == 2 && is_float<T>) {
          x = T(static_cast<float>(sample(g)));
        } else {
          x = static_cast<T>(sample(g));
        }
      });
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
  fill_from(c, 3,
            [=](Generator& g) { return median + sigma * std::tan(M_PI * (g.uniform() - 0.5)); });
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
  fill_from(c, 3, [=](Generator& g) { return std::exp(g.standard_normal() * std + mean); });
}
TM_NATIVE("log_normal_", infer_log_normal, run_log_normal);

// ---- random_: integers ----------------------------------------------------------------------

// The integers that a dtype can hold exactly: [lowest, highest].
void integer_limits(DType t, double& lowest, double& highest) {
  const int bits = static_cast<int>(itemsize(t)) * 8;
  if (t == DType::Bool) {
    lowest = 0, highest = 1;
  } else if (is_integral(t)) {
    lowest = info(t).is_signed ? -std::ldexp(1.0, bits - 1) : 0;
    highest = std::ldexp(1.0, info(t).is_signed ? bits - 1 : bits) - 1;
  } else {
    const int digits = t == DType::F64 ? 53 : t == DType::F32 ? 24 : t == DType::F16 ? 11 : 8;
    highest = t == DType::F16    ? 65504
              : t == DType::BF16 ? 3.3895e38
              : t == DType::F32  ? 3.4028e38
                                 : 1.7e308;
    lowest = -highest;
    (void)digits;
  }
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
    double lowest, highest;
    integer_limits(t.dtype, lowest, highest);
    const int64_t last = t.dtype == DType::I64        ? std::numeric_limits<int64_t>::max()
                         : is_integral(t.dtype, true) ? static_cast<int64_t>(highest)
                                                      : int64_t{1} << (t.dtype == DType::F64   ? 53
                                                                       : t.dtype == DType::F32 ? 24
                                                                       : t.dtype == DType::F16 ? 11
                                                                                               : 8);
    range = static_cast<uint64_t>(last) - static_cast<uint64_t>(from) + 1;
  } else {
    range = static_cast<uint64_t>(end.to_int()) - static_cast<uint64_t>(from);
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
template <class T>
T zero_or_one(bool b) {
  if constexpr (sizeof(T) == 2 && is_float<T>) {
    return T(b ? 1.0f : 0.0f);
  } else {
    return static_cast<T>(b);
  }
}
void run_bernoulli(Call& c) {
  const double p = c.args[1].to_double();
  Tensor& t = c.args[0].t();
  with_real_type(t.dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    with_generator(t, c.args[2], [&](Generator& g) {
      each_in_memory<T>(t, [&](T& x) { x = zero_or_one<T>(g.uniform() < p); });
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
        for_outer(it, 0, [&](const int64_t* at) {
          valid &= probability[at[1]] >= 0 && probability[at[1]] <= 1;
        });
        if (!valid) return;
        for_outer(it, 0, [&](const int64_t* at) {
          t.as<T>()[at[0]] = zero_or_one<T>(draw() < probability[at[1]]);
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
  if (c.args[0].t().ndim() != 1) fail(Error::Runtime, "expects a vector");
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
    for (int64_t i = 0; i < n; ++i) {
      if constexpr (sizeof(T) == 2 && is_float<T>) {
        out[i * stride] = T(static_cast<float>(order[i]));
      } else {
        out[i * stride] = static_cast<T>(order[i]);
      }
    }
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
  std::vector<T> score(rows * n);
  for (int64_t i = 0; i < rows * n; ++i) {
    score[i] = p[i] / static_cast<T>(-std::log1p(-g.uniform()));
  }
  std::vector<int64_t> order(n);
  for (int64_t r = 0; r < rows; ++r) {
    const T* row = score.data() + r * n;
    for (int64_t i = 0; i < n; ++i) order[i] = i;
    std::partial_sort(
        order.begin(), order.begin() + samples, order.end(),
        [&](int64_t a, int64_t b) { return row[a] > row[b] || (row[a] == row[b] && a < b); });
    std::copy(order.begin(), order.begin() + samples, out + r * samples);
  }
}

void run_multinomial(Call& c) {
  const DType compute = c.args[0].t().dtype == DType::F64 ? DType::F64 : DType::F32;
  TensorRef p = contiguous(*to_dtype(c.args[0].t(), compute));
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
  if (compute == DType::F64) return sample(p->as<double>());
  sample(p->as<float>());
}
TM_NATIVE("multinomial", infer_multinomial, run_multinomial);

}  // namespace
}  // namespace taimatsu
