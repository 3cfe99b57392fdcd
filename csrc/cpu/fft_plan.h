// Plans of Fourier transforms: factors, roots of unity, and which way a length goes. Kept by
// length.
#pragma once

#include <memory>

#include "cpu/fft_routine.h"

namespace taimatsu {
namespace fft {

template <class T>
const Routine<T>& best_routine();

// What is needed for transforms of `length` elements; each part is there if that way is open.
template <class T>
struct Plan {
  int64_t length = 0;
  bool smooth = false;      // no prime factor above kMaxRadix
  bool fits_lanes = false;  // `lanes` is there: the buffer fits the cache
  bool as_line = false;     // a single line is quicker as a matrix than as one of several lanes
  LanePlan<T> lanes;
  LinePlan<T> line;  // of smooth lengths
  // Bluestein: x[j] c[j], convolved with conj(c), times c[k], where c[j] = exp(-pi i j^2 / n).
  std::shared_ptr<const Plan> convolution;
  std::vector<T> chirp, chirp_transform;
  std::vector<T> halves;  // exp(-2 pi i k / (2 length)), k <= length / 2: for real lines

  int64_t bytes() const;
  // One contiguous line, on the calling thread or shared among all. `in` may be `out`.
  void run(const T* in, T* out, Direction, T scale, bool threads) const;
};

// From the cache; whoever asks holds the GIL, and keeps the plan while it is used.
template <class T>
std::shared_ptr<const Plan<T>> plan_for(int64_t length);

}  // namespace fft
}  // namespace taimatsu
