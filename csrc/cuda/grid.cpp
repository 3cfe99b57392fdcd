#include "cuda/grid.h"

#include <algorithm>

namespace taimatsu::cuda {
namespace {

constexpr size_t kResults = 11, kMostSteps = 256;

int64_t power(int64_t n) {
  int64_t p = 1;
  while (p < n) p *= 2;
  return p;
}

// Without overflow's consequences: a step that isn't chosen in the end may have any operands.
int64_t times(int64_t a, int64_t b) {
  return static_cast<int64_t>(static_cast<uint64_t>(a) * static_cast<uint64_t>(b));
}

}  // namespace

Grid grid_of(const std::vector<int64_t>& formula, const int64_t* geometry,
             int64_t multiprocessors) {
  int64_t value[kMostSteps];
  const int64_t* step = formula.data() + kResults;
  const size_t steps = (formula.size() - kResults) / 4;
  if (steps > kMostSteps) fail(Error::Assertion, "a grid's formula has ", steps, " steps");
  for (size_t i = 0; i < steps; ++i, step += 4) {
    auto given = [&](int k) { return value[step[k]]; };
    switch (step[0]) {
      case 'n': value[i] = step[1]; break;
      case 'g': value[i] = geometry[step[1]]; break;
      case 'p': value[i] = multiprocessors; break;
      case '+': value[i] = given(1) + given(2); break;
      case '-': value[i] = given(1) - given(2); break;
      case '*': value[i] = times(given(1), given(2)); break;
      case '/': value[i] = given(2) ? given(1) / given(2) : 0; break;
      case 'm': value[i] = std::min(given(1), given(2)); break;
      case 'M': value[i] = std::max(given(1), given(2)); break;
      case '2': value[i] = power(given(1)); break;
      case '<': value[i] = given(1) < given(2); break;
      case '?': value[i] = given(1) ? given(2) : given(3); break;
      default: fail(Error::Assertion, "a grid's formula has no operation ", step[0]);
    }
  }
  auto result = [&](int k) { return value[formula[k]]; };
  auto size = [&](int k) { return static_cast<unsigned>(result(k)); };
  return {{size(0), size(1), size(2)}, {size(3), size(4)}, result(5), result(6),
          {size(7), size(8)},          {size(9), size(10)}};
}

}  // namespace taimatsu::cuda
