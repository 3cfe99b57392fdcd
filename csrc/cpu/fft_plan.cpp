#include "cpu/fft_plan.h"

#include <algorithm>
#include <cmath>
#include <list>
#include <type_traits>

#include "cpu/threads.h"

namespace taimatsu {
namespace fft {
namespace {

constexpr int64_t kLongestLanes = 4096;  // vectors that fit the cache
constexpr int64_t kShared = 1 << 15;     // elements of a line that threads share
constexpr int64_t kCachedBytes = int64_t{256} << 20;
constexpr size_t kCachedPlans = 64;

// ---- Roots of unity -----------------------------------------------------------------------------

// exp(-2 pi i j / n), correctly rounded but for rare cases: by a product of two tabulated roots in
// a wider type, within the first octant.
template <class T>
class Roots {
  using Wide = std::conditional_t<std::is_same<T, float>::value, double, long double>;

 public:
  explicit Roots(int64_t n) : n_(n) {  // angles are counted in 1 / (8 n) of a turn
    while (fine_ * fine_ < n) fine_ *= 2;
    const Wide unit = 2 * static_cast<Wide>(3.14159265358979323846264338327950288L) / (8 * n);
    for (int64_t i = 0; i < fine_; ++i) fine_roots_.push_back(root(unit * i));
    for (int64_t i = 0; i <= n / fine_; ++i) coarse_.push_back(root(unit * (i * fine_)));
  }
  void operator()(int64_t j, T* out) const {
    int64_t a = 8 * (j % n_);
    const bool below = a > 4 * n_;
    if (below) a = 8 * n_ - a;
    const bool left = a > 2 * n_;
    if (left) a = 4 * n_ - a;
    const bool steep = a > n_;
    if (steep) a = 2 * n_ - a;
    const Root x = coarse_[a / fine_], y = fine_roots_[a % fine_];
    Wide re = x.re * y.re - x.im * y.im, im = x.re * y.im + x.im * y.re;
    if (steep) std::swap(re, im);
    out[0] = static_cast<T>(left ? -re : re);
    out[1] = static_cast<T>(below ? im : -im);
  }

 private:
  struct Root {
    Wide re, im;
  };
  static Root root(Wide angle) { return {std::cos(angle), std::sin(angle)}; }
  int64_t n_, fine_ = 1;
  std::vector<Root> coarse_, fine_roots_;
};

// ---- Factors ------------------------------------------------------------------------------------

// Radices whose product is n, powers of 2 first and in large steps; empty if a prime is too large.
std::vector<int> radices_of(int64_t n) {
  std::vector<int> found;
  int twos = 0;
  for (; n % 2 == 0; n /= 2) ++twos;
  if (twos % 3 == 1) {
    if (twos >= 4) {
      found = {4, 4};
      twos -= 4;
    } else {
      found = {2};
      twos -= 1;
    }
  } else if (twos % 3 == 2) {
    found = {4};
    twos -= 2;
  }
  found.insert(found.begin(), static_cast<size_t>(twos / 3), 8);
  for (int p = 3; n > 1 && p <= kMaxRadix; p += 2) {
    for (; n % p == 0; n /= p) found.push_back(p);
  }
  if (n > 1) return {};
  if (found.empty()) found = {1};
  return found;
}

// About how long a transform of n vectors takes, n smooth.
double lane_cost(int64_t n) {
  double steps = 1;
  for (int r : radices_of(n)) steps += r <= 2 ? 1.5 : r == 4 ? 2.1 : r == 8 ? 2.8 : 1 + 0.6 * r;
  return steps * n * (n > 512 ? 1.3 : 1) * (n > kLongestLanes ? 3 : 1);
}

template <class T>
LanePlan<T> lane_plan(int64_t n) {
  LanePlan<T> p;
  p.length = n;
  p.radices = radices_of(n);
  p.root_tables.reserve(p.radices.size());
  for (int r : p.radices) {
    std::vector<T> table(2 * (r / 2 + 1));
    const Roots<T> roots(r);
    for (int j = 0; j <= r / 2; ++j) {
      roots(j, &table[2 * j]);
      table[2 * j + 1] = -table[2 * j + 1];
    }
    p.root_tables.push_back(std::move(table));
    p.roots.push_back(p.root_tables.back().data());
  }
  // The block r of the last pass is the transform of the inputs that are r modulo its radix.
  std::vector<int64_t> inputs(n);  // in the order of the buffer
  int64_t length = n, stride = 1;
  for (size_t i = p.radices.size(); i-- > 0;) {
    const int radix = p.radices[i];
    length /= radix;
    for (int64_t at = 0; at < n; ++at) inputs[at] += at / length % radix * stride;
    stride *= radix;
  }
  p.places.resize(n);
  for (int64_t at = 0; at < n; ++at) p.places[inputs[at]] = at;
  for (int64_t at = 0; at < n; at += p.radices[0]) p.first.push_back(inputs[at]);
  int64_t done = p.radices[0];
  for (size_t i = 1; i < p.radices.size(); ++i) {
    const int radix = p.radices[i];
    const Roots<T> roots(done * radix);
    for (int64_t k = 0; k < done; ++k) {
      for (int r = 1; r < radix; ++r) {
        p.twiddles.resize(p.twiddles.size() + 2);
        roots(k * r, &p.twiddles[p.twiddles.size() - 2]);
      }
    }
    done *= radix;
  }
  return p;
}

template <class T>
double line_cost(int64_t columns, int64_t rows, int width) {
  return lane_cost(columns) * ((rows + width - 1) / width) +
         (lane_cost(rows) + 2.5 * rows) * ((columns + width - 1) / width);
}

template <class T>
int64_t best_columns(int64_t n, int width) {
  int64_t best = 1;
  double least = 1e300;
  for (int64_t d = 1; d * d <= n; ++d) {
    if (n % d) continue;
    for (int64_t columns : {d, n / d}) {
      const double cost = line_cost<T>(columns, n / columns, width);
      if (cost < least) {
        least = cost;
        best = columns;
      }
    }
  }
  return best;
}

template <class T>
LinePlan<T> line_plan(int64_t n, int64_t columns, const Routine<T>& routine) {
  LinePlan<T> p;
  p.columns = lane_plan<T>(columns);
  p.rows = lane_plan<T>(n / columns);
  const int width = routine.width;
  const int64_t groups = round_up(p.rows.length, width) / width;
  p.twiddles.resize(groups * columns * 2 * width);
  const Roots<T> roots(n);
  T* to = p.twiddles.data();
  for (int64_t g = 0; g < groups; ++g) {
    for (int64_t k = 0; k < columns; ++k, to += 2 * width) {
      for (int i = 0; i < width; ++i) {
        T w[2];
        roots((g * width + routine.order[i]) * k, w);
        to[i] = w[0];
        to[width + i] = w[1];
      }
    }
  }
  return p;
}

// The cheapest length to convolve in that is at least n.
int64_t convolution_length(int64_t n) {
  int64_t best = 0;
  double least = 1e300;
  for (int64_t odd : {1, 3, 5, 9, 15, 25, 27, 45}) {
    int64_t m = odd;
    while (m < n) m *= 2;
    double steps = 4;
    for (int r : radices_of(m)) steps += r == 8 ? 2.8 : r == 4 ? 2.1 : 1 + 0.6 * r;
    if (m * steps < least) {
      least = m * steps;
      best = m;
    }
  }
  return best;
}

template <class T>
void set_bluestein(Plan<T>& p) {
  const int64_t n = p.length, m = convolution_length(2 * n - 1);
  p.convolution = plan_for<T>(m);
  p.chirp.resize(2 * n);
  const Roots<T> roots(2 * n);
  __extension__ typedef unsigned __int128 Square;
  for (int64_t j = 0; j < n; ++j) {
    roots(static_cast<int64_t>(static_cast<Square>(j) * j % (2 * n)), &p.chirp[2 * j]);
  }
  p.chirp_transform.assign(2 * m, T(0));
  for (int64_t j = 0; j < n; ++j) {
    for (int64_t at : {j, (m - j) % m}) {
      p.chirp_transform[2 * at] = p.chirp[2 * j];
      p.chirp_transform[2 * at + 1] = -p.chirp[2 * j + 1];
    }
  }
  T* x = p.chirp_transform.data();
  p.convolution->run(x, x, Direction::Forward, static_cast<T>(1.0 / m), false);
}

template <class T>
std::shared_ptr<const Plan<T>> make_plan(int64_t n) {
  auto p = std::make_shared<Plan<T>>();
  p->length = n;
  const Routine<T>& routine = best_routine<T>();
  p->smooth = !radices_of(n).empty();
  if (p->smooth) {
    const int64_t columns = best_columns<T>(n, routine.width);
    p->line = line_plan<T>(n, columns, routine);
    p->fits_lanes = n <= kLongestLanes;
    if (p->fits_lanes) p->lanes = lane_plan<T>(n);
    const double alone = line_cost<T>(columns, n / columns, routine.width);
    p->as_line = !p->fits_lanes || (alone + 60) * routine.width < lane_cost(n) + 6.0 * n;
  } else {
    set_bluestein(*p);
    p->as_line = true;
  }
  const Roots<T> roots(2 * n);
  p->halves.resize(2 * (n / 2 + 1));
  for (int64_t k = 0; k <= n / 2; ++k) roots(k, &p->halves[2 * k]);
  return p;
}

}  // namespace

template <class T>
const Routine<T>& best_routine() {
#if defined(__x86_64__)
  static const bool wide = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  if (wide) return avx2::routine<T>();
#endif
  return baseline::routine<T>();
}

template <class T>
int64_t Plan<T>::bytes() const {
  const size_t numbers = line.twiddles.size() + lanes.twiddles.size() + chirp.size() +
                         chirp_transform.size() + halves.size();
  return static_cast<int64_t>(numbers * sizeof(T)) + 16 * length;
}

template <class T>
void Plan<T>::run(const T* in, T* out, Direction direction, T scale, bool threads) const {
  const Routine<T>& routine = best_routine<T>();
  if (smooth) {
    const int width = routine.width;
    const int64_t longest = std::max(line.columns.length, line.rows.length);
    T* middle = workspace<T, 1>(routine.middle_size(line));
    const int64_t grain =
        threads && length >= kShared ? std::max<int64_t>(1, 4096 / longest) : length;
    parallel_for((line.rows.length + width - 1) / width, grain, 1, [&](int64_t a, int64_t b) {
      T* buffer = workspace<T>(longest * 2 * width);
      for (; a < b; ++a) routine.line_columns(line, in, middle, a, direction, buffer);
    });
    parallel_for((line.columns.length + width - 1) / width, grain, 1, [&](int64_t a, int64_t b) {
      T* buffer = workspace<T>(longest * 2 * width);
      for (; a < b; ++a) routine.line_rows(line, middle, out, a, direction, scale, buffer);
    });
    return;
  }
  // Backward is forward of the conjugate, conjugated.
  const int64_t m = convolution->length;
  T* x = workspace<T, 2>(2 * m);
  const bool backward = direction == Direction::Backward;
  if (backward) {
    for (int64_t j = 0; j < length; ++j) {
      x[2 * j] = in[2 * j];
      x[2 * j + 1] = -in[2 * j + 1];
    }
    in = x;
  }
  routine.multiply(in, chirp.data(), x, length, false);
  std::fill(x + 2 * length, x + 2 * m, T(0));
  convolution->run(x, x, Direction::Forward, T(1), threads);
  routine.multiply(x, chirp_transform.data(), x, m, false);
  convolution->run(x, x, Direction::Backward, scale, threads);
  routine.multiply(x, chirp.data(), out, length, backward);
}

template <class T>
std::shared_ptr<const Plan<T>> plan_for(int64_t length) {
  static std::list<std::shared_ptr<const Plan<T>>> plans;  // most recently used first
  static int64_t bytes = 0;
  for (auto it = plans.begin(); it != plans.end(); ++it) {
    if ((*it)->length == length) {
      plans.splice(plans.begin(), plans, it);
      return plans.front();
    }
  }
  std::shared_ptr<const Plan<T>> made = make_plan<T>(length);
  plans.push_front(made);
  bytes += made->bytes();
  while (plans.size() > 1 && (plans.size() > kCachedPlans || bytes > kCachedBytes)) {
    bytes -= plans.back()->bytes();
    plans.pop_back();
  }
  return made;
}

template const Routine<float>& best_routine<float>();
template const Routine<double>& best_routine<double>();
template struct Plan<float>;
template struct Plan<double>;
template std::shared_ptr<const Plan<float>> plan_for<float>(int64_t);
template std::shared_ptr<const Plan<double>> plan_for<double>(int64_t);

}  // namespace fft
}  // namespace taimatsu
