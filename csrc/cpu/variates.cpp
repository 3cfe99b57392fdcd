// Numbers whose distribution depends on a tensor of parameters, most of them by rejection: how many
// draws one takes depends on what is drawn. Arithmetic is in double precision.
//
// Sources: W. Hoermann, "The transformed rejection method for generating Poisson random variables"
// (1993) and "The generation of binomial random variates" (1993); G. Marsaglia and W. Tsang, "A
// simple method for generating gamma variables" (2000).
#include <algorithm>
#include <cmath>
#include <limits>

#include "cpu/fill.h"

namespace taimatsu {
namespace {

double poisson(Generator& g, double rate) {
  if (rate >= 10) {
    const double root = std::sqrt(rate), log_rate = std::log(rate);
    const double b = 0.931 + 2.53 * root, a = -0.059 + 0.02483 * b;
    const double inverse_alpha = 1.1239 + 1.1328 / (b - 3.4), accepted = 0.9277 - 3.6224 / (b - 2);
    for (;;) {
      const double u = g.uniform() - 0.5, v = g.uniform(), us = 0.5 - std::fabs(u);
      const double k = std::floor((2 * a / us + b) * u + rate + 0.43);
      if (us >= 0.07 && v <= accepted) return k;
      if (k < 0 || (us < 0.013 && v > us)) continue;
      if (std::log(v) + std::log(inverse_alpha) - std::log(a / (us * us) + b) <=
          -rate + k * log_rate - std::lgamma(k + 1)) {
        return k;
      }
    }
  }
  if (rate == 0) return 0;
  const double limit = std::exp(-rate);
  double k = 0;
  for (double product = g.uniform(); product > limit; product *= g.uniform()) ++k;
  return k;
}

// log(k!) less Stirling's approximation of it.
double stirling_tail(double k) {
  static const double kTail[] = {0.08106146679532726, 0.04134069595540929, 0.02767792568499834,
                                 0.02079067210376509, 0.01664469118982119, 0.01387612882307075,
                                 0.01189670994589177, 0.01041126526197209, 0.009255462182712733,
                                 0.008330563433362871};
  if (k <= 9) return kTail[static_cast<int>(k)];
  const double square = (k + 1) * (k + 1);
  return (1.0 / 12 - (1.0 / 360 - 1.0 / 1260 / square) / square) / (k + 1);
}

// The binomial distribution for p <= 1/2: counts of geometric gaps where few successes are
// expected, transformed rejection where many are.
double binomial_low(Generator& g, double n, double p) {
  if (n * p < 10) {
    const double log_failure = std::log1p(-p);
    double successes = 0;
    for (double trials = 0;; ++successes) {
      trials += std::ceil(std::log(g.uniform()) / log_failure);
      if (trials > n) return successes;
    }
  }
  const double deviation = std::sqrt(n * p * (1 - p));
  const double b = 1.15 + 2.53 * deviation, a = -0.0873 + 0.0248 * b + 0.01 * p, c = n * p + 0.5;
  const double accepted = 0.92 - 4.2 / b, odds = p / (1 - p);
  const double alpha = (2.83 + 5.1 / b) * deviation, m = std::floor((n + 1) * p);
  for (;;) {
    const double u = g.uniform() - 0.5;
    double v = g.uniform();
    const double us = 0.5 - std::fabs(u), k = std::floor((2 * a / us + b) * u + c);
    if (us >= 0.07 && v <= accepted) return k;
    if (k < 0 || k > n) continue;
    v = std::log(v * alpha / (a / (us * us) + b));
    const double bound = (m + 0.5) * std::log((m + 1) / (odds * (n - m + 1))) +
                         (n + 1) * std::log((n - m + 1) / (n - k + 1)) +
                         (k + 0.5) * std::log(odds * (n - k + 1) / (k + 1)) + stirling_tail(m) +
                         stirling_tail(n - m) - stirling_tail(k) - stirling_tail(n - k);
    if (v <= bound) return k;
  }
}
double binomial(Generator& g, double n, double p) {
  if (!(n > 0 && p > 0)) return std::isnan(n) || std::isnan(p) ? NAN : 0;
  if (p >= 1) return n;
  return p <= 0.5 ? binomial_low(g, n, p) : n - binomial_low(g, n, 1 - p);
}

// Some constants and, below a shape of 1, the exponent are rounded to the dtype or to float: that
// is part of the numbers which a seed gives.
template <class Real>
double gamma(Generator& g, Real shape) {
  double scale = 1;
  if (shape < 1) {
    if (shape == 0) return 0;
    scale = std::pow(1 - g.uniform(), 1 / shape);
    shape += 1;
  }
  const double d = shape - 1.0f / 3, c = 1 / std::sqrt(9 * d);
  for (;;) {
    double x, root;
    do {
      x = g.standard_normal();
      root = 1 + c * x;
    } while (root <= 0);
    const double v = root * root * root, u = 1 - g.uniform(), xx = x * x;
    if (u < 1 - 0.0331f * xx * xx || std::log(u) < 0.5 * xx + d * (1 - v + std::log(v))) {
      return scale * d * v;
    }
  }
}

// ---- Routines -------------------------------------------------------------------------------

// One number for each element of the parameters, in logical order.
void infer_elementwise(Call& c) {
  const Tensor& t = c.args[0].t();
  if (!is_floating(t.dtype)) {
    fail(Error::NotImplemented, "not implemented for '", info(t.dtype).legacy,
         "'; the parameters must be floating point");
  }
  c.outs.push(empty(t.sizes(), t.dtype, t.device()));
}

template <class F>
void draw_each(Call& c, const Value& generator, const F& sample) {
  TensorRef parameters = contiguous(c.args[0].t());
  with_floats(*c.outs[0], [&](auto tag, Tensor& out) {
    using T = typename decltype(tag)::type;
    const T* p = parameters->as<T>();
    with_generator(out, generator, [&](Generator& g) {
      for (int64_t i = 0; i < out.numel(); ++i) out.as<T>()[i] = sample(g, tag, p[i], i);
    });
  });
}

bool any_negative(Tensor& t) {
  TensorRef wide = to_dtype(*contiguous(t), DType::F64);
  const double* p = wide->as<double>();
  return std::any_of(p, p + wide->numel(), [](double x) { return x < 0; });
}

void run_poisson(Call& c) {
  if (any_negative(c.args[0].t())) {
    fail(Error::Runtime, "invalid Poisson rate, expected rate to be non-negative");
  }
  draw_each(c, c.args[1], [](Generator& g, auto tag, double rate, int64_t) {
    return element<typename decltype(tag)::type>(poisson(g, rate));
  });
}
TM_NATIVE("poisson", infer_elementwise, run_poisson);

void infer_binomial(Call& c) {
  infer_elementwise(c);
  const Tensor &n = c.args[0].t(), &p = c.args[1].t();
  if (n.dtype != p.dtype) {
    fail(Error::Runtime, "Found dtype ", info(p.dtype).name, " but expected ", info(n.dtype).name);
  }
  if (n.sizes() != p.sizes()) {
    fail(Error::Runtime, "count and prob must have one shape; got ", format(n.sizes()), " and ",
         format(p.sizes()));
  }
}
void run_binomial(Call& c) {
  TensorRef probability = to_dtype(*contiguous(c.args[1].t()), DType::F64);
  const double* p = probability->as<double>();
  draw_each(c, c.args[2], [=](Generator& g, auto tag, double n, int64_t i) {
    return element<typename decltype(tag)::type>(binomial(g, n, p[i]));
  });
}
TM_NATIVE("_binomial", infer_binomial, run_binomial);

template <class T>
double smallest_normal() {
  if constexpr (std::is_same<T, Half>::value) return 0x1p-14;
  if constexpr (std::is_same<T, BFloat16>::value) return 0x1p-126;
  return std::numeric_limits<T>::min();
}
void run_gamma(Call& c) {
  draw_each(c, c.args[1], [](Generator& g, auto tag, auto shape, int64_t) {
    using T = typename decltype(tag)::type;
    using Real = std::conditional_t<std::is_same<T, double>::value, double, float>;
    return std::max(element<T>(gamma<Real>(g, shape)), element<T>(smallest_normal<T>()));
  });
}
TM_NATIVE("_standard_gamma", infer_elementwise, run_gamma);

// ---- The gradient of gamma(shape) numbers ---------------------------------------------------

// A value and its derivative with respect to one parameter.
struct Dual {
  double v, d;
};
Dual operator+(Dual a, Dual b) { return {a.v + b.v, a.d + b.d}; }
Dual operator*(Dual a, Dual b) { return {a.v * b.v, a.d * b.v + a.v * b.d}; }
Dual operator/(Dual a, Dual b) { return {a.v / b.v, (a.d - a.v / b.v * b.d) / b.v}; }

double digamma(double x) {
  double shift = 0;
  for (; x < 10; ++x) shift -= 1 / x;
  const double z = 1 / (x * x);
  return shift + std::log(x) - 0.5 / x -
         z * (1.0 / 12 - z * (1.0 / 120 - z * (1.0 / 252 - z * (1.0 / 240 - z / 132))));
}

// How a number x of the gamma distribution moves with its shape a at a fixed probability:
// dx/da = -(dP(a, x)/da) / p(x), P the regularised lower incomplete gamma function.
double gamma_slope(double a, double x) {
  if (!(x > 0 && a > 0)) return std::isnan(x) || std::isnan(a) ? NAN : 0;
  const Dual shape{a, 1};
  if (x < a + 1) {  // P = x p(x) S / a, S = sum of x^n / ((a + 1) ... (a + n))
    Dual term{1, 0}, sum{1, 0};
    for (int n = 1; n < 100000 && std::fabs(term.v) + std::fabs(term.d) > 1e-17 * sum.v; ++n) {
      term = term * Dual{x, 0} / (shape + Dual{static_cast<double>(n), 0});
      sum = sum + term;
    }
    const Dual ratio = sum / shape;  // dP/da / (x p) = ratio' + ratio (log x - digamma(a))
    return -x * (ratio.d + ratio.v * (std::log(x) - digamma(a)));
  }
  // 1 - P = x p(x) / F, F a continued fraction, by Lentz's method
  Dual b{x + 1 - a, -1}, c{1e300, 0}, d = Dual{1, 0} / b, h = d;
  for (int n = 1; n < 100000; ++n) {
    const double step = n;
    const Dual an{-step * (step - a), step};
    b = b + Dual{2, 0};
    d = Dual{1, 0} / (an * d + b);
    c = b + an / c;
    const Dual factor = c * d;
    h = h * factor;
    if (std::fabs(factor.v - 1) + std::fabs(factor.d) < 1e-16) break;
  }
  return x * (h.d + h.v * (std::log(x) - digamma(a)));
}

// Continued fraction of the incomplete beta function: I_x(a, b) = x^a (1 - x)^b F / (a B(a, b)).
Dual beta_fraction(Dual a, Dual b, double x) {
  auto number = [](double v) { return Dual{v, 0}; };
  const Dual one = number(1), at = number(x), negative = number(-x);
  auto kept_off_zero = [](Dual v) { return std::fabs(v.v) < 1e-300 ? Dual{1e-300, v.d} : v; };
  Dual c = one, d = one / kept_off_zero(one + (a + b) * negative / (a + one)), f = d;
  for (int m = 1; m < 100000; ++m) {
    const Dual k = number(m), a_2m = a + number(2 * m);
    const Dual even = k * (b + number(-m)) * at / ((a_2m + number(-1)) * a_2m);
    const Dual odd = (a + k) * (a + b + k) * negative / (a_2m * (a_2m + one));
    Dual factor;
    for (const Dual& term : {even, odd}) {
      d = one / kept_off_zero(one + term * d);
      c = kept_off_zero(one + term / c);
      factor = c * d;
      f = f * factor;
    }
    if (std::fabs(factor.v - 1) + std::fabs(factor.d) < 1e-15) break;
  }
  return f;
}

// How a number x of the distribution Beta(a, b) moves with a at a fixed probability, over 1 - x.
double beta_slope(double x, double a, double b) {
  if (!(x > 0 && x < 1)) return std::isnan(x) ? NAN : 0;
  const double log_slope = std::log(x) - digamma(a) + digamma(a + b);
  if (x < (a + 1) / (a + b + 2)) {
    const Dual f = beta_fraction({a, 1}, {b, 0}, x);
    return -x / a * (f.d + f.v * (log_slope - 1 / a));
  }
  const Dual f = beta_fraction({b, 0}, {a, 1}, 1 - x);  // I_x(a, b) = 1 - I_(1 - x)(b, a)
  return x / b * (f.d + f.v * log_slope);
}

// Runs f(i, operands as doubles) for each element of the output.
template <class F>
void map_doubles(Call& c, int operands, const F& f) {
  std::vector<TensorRef> wide;
  std::vector<const double*> from;
  for (int i = 0; i < operands; ++i) {
    wide.push_back(to_dtype(*contiguous(c.args[i].t()), DType::F64));
    from.push_back(wide.back()->as<double>());
  }
  with_floats(*c.outs[0], [&](auto tag, Tensor& out) {
    using T = typename decltype(tag)::type;
    for (int64_t i = 0; i < out.numel(); ++i) out.as<T>()[i] = element<T>(f(i, from));
  });
}
void run_gamma_slope(Call& c) {
  map_doubles(c, 2, [](int64_t i, const auto& p) { return gamma_slope(p[0][i], p[1][i]); });
}
TM_NATIVE("_standard_gamma_grad", infer_elementwise, run_gamma_slope);

// _dirichlet_grad(Tensor self, Tensor concentration, Tensor total) of x and its marginal's law.
void run_beta_slope(Call& c) {
  map_doubles(c, 3, [](int64_t i, const auto& p) {
    return beta_slope(p[0][i], p[1][i], p[2][i] - p[1][i]);
  });
}
TM_NATIVE("_dirichlet_grad", infer_elementwise, run_beta_slope);

}  // namespace
}  // namespace taimatsu
