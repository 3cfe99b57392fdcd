// Depthwise convolutions: each plane of the result comes from one plane of the input, so there is
// no product of matrices in it. A plane is copied with its padding, and each output is then a
// weighted sum of the copy at fixed distances, the taps. Columns are kept apart by their remainder
// by the stride: neighbouring outputs have neighbouring taps.
//
// The sum over a batch, in the weight's gradient, belongs to one thread: results don't depend on
// how many there are.
#include "cpu/conv.h"
#include "cpu/depthwise_routine.h"
#include "cpu/elements.h"
#include "cpu/native.h"
#include "cpu/threads.h"
#include "cpu/workspace.h"

namespace taimatsu {
namespace {

template <class T>
const DepthwiseRoutine<T>& best_for_this_machine() {
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx512f")) return depthwise_avx512::routine<T>();
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
    return depthwise_avx2::routine<T>();
  }
#endif
  return depthwise_baseline::routine<T>();
}

constexpr int64_t kVector = 16;  // numbers of the longest vector

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

// A plane with room around it. Column c of the padded plane is number c / step of the columns with
// the remainder c % step, which lie side by side.
struct Plane {
  int64_t rows, cols;  // of what is copied
  int64_t top, left;   // what is before it
  int64_t step, part;  // remainders, numbers for each
  int64_t height;      // with the padding

  // `below`, `right`: numbers that taps reach, counted from the first row, or of each remainder.
  Plane(int64_t rows, int64_t cols, int64_t top, int64_t left, int64_t step, int64_t below,
        int64_t right)
      : rows(rows), cols(cols), top(top), left(left), step(step) {
    part = std::max(right, ceil_div(cols + left, step)) + kVector;
    height = std::max(below, top + rows);
  }
  int64_t row() const { return step * part; }
  int64_t size() const { return height * row(); }
  int64_t column(int64_t c) const { return c % step * part + c / step; }

  // The padding is zero already.
  template <class T>
  void copy(const DepthwiseRoutine<T>& routine, const T* from, T* to) const {
    for (int64_t r = 0; r < std::min(step, cols); ++r) {  // columns r, r + step, ...
      routine.gather(from + r, cols, step, rows, ceil_div(cols - r, step),
                     to + top * row() + column(left + r), row());
    }
  }
};

template <class T>
class Depthwise {
 public:
  Depthwise(const ConvShape& s, T* x, T* w, const T* bias, int64_t bias_step, T* y)
      : s_(s), x_(x), w_(w), y_(y), bias_(bias), bias_step_(bias_step) {}

  void run(ConvKind kind) const {
    if (kind == ConvKind::Forward) forward();
    if (kind == ConvKind::Data) data();
    if (kind == ConvKind::Weight) weight();
  }

 private:
  int64_t each() const { return s_.out_channels / s_.groups; }  // outputs of an input
  // Planes are handed out in portions that are worth a thread.
  template <class F>
  void in_parallel(int64_t planes, double work, const F& body) const {
    parallel_for(planes, static_cast<int64_t>(1 + 1e5 / (1 + work)), 1, body);
  }
  double work_of_plane() const { return static_cast<double>(s_.out_size()) * s_.kernel_size(); }

  // What the outputs of an input see of it, and where.
  Plane seen() const {
    return Plane(s_.in[1], s_.in[2], s_.padding[1], s_.padding[2], s_.stride[2],
                 (s_.out[1] - 1) * s_.stride[1] + (s_.kernel[1] - 1) * s_.dilation[1] + 1,
                 s_.out[2] + (s_.kernel[2] - 1) * s_.dilation[2] / s_.stride[2] + 1);
  }
  std::vector<int64_t> offsets(const Plane& plane) const {
    std::vector<int64_t> at;
    for (int64_t u = 0; u < s_.kernel[1]; ++u) {
      for (int64_t v = 0; v < s_.kernel[2]; ++v) {
        at.push_back(u * s_.dilation[1] * plane.row() + plane.column(v * s_.dilation[2]));
      }
    }
    return at;
  }

  void forward() const {
    const Plane plane = seen();
    const std::vector<int64_t> at = offsets(plane);
    const int64_t taps = s_.kernel_size();
    in_parallel(s_.batch * s_.in_channels, work_of_plane() * each(), [&](int64_t i, int64_t end) {
      T* copy = zeros(plane.size());
      for (; i < end; ++i) {
        plane.copy(routine_, x_ + i * s_.in_size(), copy);
        for (int64_t k = 0; k < each(); ++k) {
          const int64_t out = i * each() + k, feature = out % s_.out_channels;
          routine_.combine({copy, s_.stride[1] * plane.row(), at.data(), taps}, w_ + feature * taps,
                           bias_ ? bias_[feature * bias_step_] : T(0), s_.out[1], s_.out[2],
                           y_ + out * s_.out_size(), s_.out[2], 1);
        }
      }
    });
  }

  // Of one dim, what inputs i = r, r + stride, ... see of the outputs: tap k of the t-th of them is
  // output t + distance.
  struct Tap {
    int64_t k, distance;
  };
  std::vector<Tap> taps_of(int d, int64_t r) const {
    std::vector<Tap> taps;
    for (int64_t k = 0; k < s_.kernel[d]; ++k) {
      const int64_t ahead = r + s_.padding[d] - k * s_.dilation[d];
      if (ahead % s_.stride[d] == 0) taps.push_back({k, ahead / s_.stride[d]});
    }
    return taps;
  }
  int64_t count_of(int d, int64_t r) const {
    return r < s_.in[d] ? ceil_div(s_.in[d] - r, s_.stride[d]) : 0;
  }

  void data() const {
    // Room for all that is seen, before the first output and in all.
    int64_t before[3] = {}, in_all[3] = {};
    for (int d = 1; d < 3; ++d) {
      for (int64_t r = 0; r < s_.stride[d]; ++r) {
        for (const Tap& tap : taps_of(d, r)) {
          before[d] = std::max(before[d], -tap.distance);
          in_all[d] = std::max(in_all[d], count_of(d, r) + tap.distance);
        }
      }
      in_all[d] += before[d];
    }
    const Plane plane(s_.out[1], s_.out[2], before[1], before[2], 1, in_all[1], in_all[2]);
    struct Phase {  // inputs that have the same taps
      int64_t row, col;
      std::vector<int64_t> offsets, which;  // `which` element of the weights of an input's outputs
    };
    std::vector<Phase> phases;
    for (int64_t row = 0; row < std::min(s_.stride[1], s_.in[1]); ++row) {
      for (int64_t col = 0; col < std::min(s_.stride[2], s_.in[2]); ++col) {
        Phase p{row, col, {}, {}};
        for (int64_t k = 0; k < each(); ++k) {
          for (const Tap& u : taps_of(1, row)) {
            for (const Tap& v : taps_of(2, col)) {
              p.offsets.push_back(k * plane.size() + (before[1] + u.distance) * plane.row() +
                                  before[2] + v.distance);
              p.which.push_back((k * s_.kernel[1] + u.k) * s_.kernel[2] + v.k);
            }
          }
        }
        phases.push_back(std::move(p));
      }
    }
    const int64_t of_input = each() * s_.kernel_size();
    in_parallel(s_.batch * s_.in_channels, work_of_plane() * each(), [&](int64_t i, int64_t end) {
      T* copy = zeros(each() * plane.size() + of_input);
      T* weights = copy + each() * plane.size();
      for (; i < end; ++i) {
        for (int64_t k = 0; k < each(); ++k) {
          plane.copy(routine_, y_ + (i * each() + k) * s_.out_size(), copy + k * plane.size());
        }
        T* out = x_ + i * s_.in_size();
        for (const Phase& p : phases) {
          const int64_t taps = static_cast<int64_t>(p.which.size());
          const T* w = w_ + i % s_.in_channels * of_input;
          for (int64_t k = 0; k < taps; ++k) weights[k] = w[p.which[k]];
          routine_.combine({copy, plane.row(), p.offsets.data(), taps}, weights, T(0),
                           count_of(1, p.row), count_of(2, p.col), out + p.row * s_.in[2] + p.col,
                           s_.stride[1] * s_.in[2], s_.stride[2]);
        }
      }
    });
  }

  void weight() const {
    const Plane plane = seen();
    const std::vector<int64_t> at = offsets(plane);
    const int64_t taps = s_.kernel_size();
    in_parallel(s_.out_channels, work_of_plane() * s_.batch, [&](int64_t begin, int64_t end) {
      T *copy = zeros(plane.size() + taps), *sums = copy + plane.size();
      std::vector<double> total((end - begin) * taps);
      for (int64_t n = 0; n < s_.batch; ++n) {
        double* to = total.data();
        for (int64_t f = begin; f < end; ++f) {
          plane.copy(routine_, x_ + (n * s_.in_channels + f / each()) * s_.in_size(), copy);
          routine_.correlate({copy, s_.stride[1] * plane.row(), at.data(), taps},
                             y_ + (n * s_.out_channels + f) * s_.out_size(), s_.out[1], s_.out[2],
                             sums);
          for (int64_t k = 0; k < taps; ++k) *to++ += sums[k];
        }
      }
      for (size_t i = 0; i < total.size(); ++i) w_[begin * taps + i] = static_cast<T>(total[i]);
    });
  }

  static T* zeros(int64_t count) {
    T* memory = workspace<T>(count + kVector);
    std::fill_n(memory, count + kVector, T(0));
    return memory;
  }

  const ConvShape& s_;
  T *x_, *w_, *y_;
  const T* bias_;
  int64_t bias_step_;
  const DepthwiseRoutine<T>& routine_ = routine();
  static const DepthwiseRoutine<T>& routine() {
    static const DepthwiseRoutine<T>& best = best_for_this_machine<T>();
    return best;
  }
};

}  // namespace

bool depthwise_convolution(ConvKind kind, const ConvShape& s, const Tensor& x, const Tensor& w,
                           const Tensor* bias, const Tensor& y) {
  if (s.groups != s.in_channels || s.groups == 1 || s.in[0] != 1 || s.kernel[0] != 1 ||
      s.out[0] != 1 || s.stride[0] != 1) {
    return false;
  }
  if (x.dtype != DType::F32 && x.dtype != DType::F64) return false;
  const bool contiguous_images = x.layout->contiguous && y.layout->contiguous;
  if (kind == ConvKind::Weight && !contiguous_images && w.layout->contiguous) {
    // The other way is so slow that copies are nothing beside it.
    TensorRef input = contiguous(const_cast<Tensor&>(x)), grad = contiguous(const_cast<Tensor&>(y));
    return depthwise_convolution(kind, s, *input, w, bias, *grad);
  }
  if (!contiguous_images || !w.layout->contiguous) return false;
  auto run = [&](auto tag) {
    using T = typename decltype(tag)::type;
    const Depthwise<T> d(s, x.as<T>(), w.as<T>(), bias ? bias->as<T>() : nullptr,
                         bias ? bias->layout->stride(0) : 0, y.as<T>());
    WithoutGil without(s.work() > kLongWork);
    d.run(kind);
  };
  x.dtype == DType::F32 ? run(TypeTag<float>{}) : run(TypeTag<double>{});
  return true;
}

}  // namespace taimatsu
