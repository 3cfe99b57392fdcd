// What the routines of native ops share.
#pragma once

#include "ops/launch.h"
#include "ops/op.h"

namespace taimatsu {

// Lets other Python threads run while a routine works on memory alone, if that takes long enough.
class WithoutGil {
 public:
  explicit WithoutGil(bool worth_it) : state_(worth_it ? PyEval_SaveThread() : nullptr) {}
  ~WithoutGil() {
    if (state_) restore_gil(state_);
  }
  WithoutGil(const WithoutGil&) = delete;

 private:
  PyThreadState* state_;
};
constexpr double kLongWork = 1 << 17;  // elementary operations; about 50 microseconds

inline std::vector<int64_t> to_vector(Ints v) { return {v.begin(), v.end()}; }

// For ops whose outputs are known only once they have run.
inline Tensor& push_empty(Call& c, Ints sizes, DType dtype) {
  c.outs.push(empty(sizes, dtype, c.args[0].t().device()));
  return *c.outs[c.outs.size() - 1];
}

// Throws IndexError unless lo <= value < hi for every element of an integer tensor; `dim` is the
// dimension that is indexed, for the message.
void check_index_range(const Tensor& index, int64_t lo, int64_t hi, int64_t dim);

// Where each matrix of a batch over `sizes` starts, in elements; nothing if all start at 0. The
// tensor's dims but the last `matrix_dims` are broadcast to those sizes.
std::vector<int64_t> batch_starts(const Tensor& t, Ints sizes, int matrix_dims);

// The lines of a tensor along one of its dims, for routines that work line by line.
struct Lines {
  int64_t count, length, stride;
  std::vector<int64_t> at;  // where each line starts, in elements from data()
  Lines(const Tensor& t, int64_t dim);
};

}  // namespace taimatsu
