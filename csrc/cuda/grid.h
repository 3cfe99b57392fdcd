// How many blocks and threads a generated kernel is launched with: what the formula says that came
// with it. taimatsu/codegen/grid.py writes it, and tells what its numbers mean.
#pragma once

#include <vector>

#include "base.h"

namespace taimatsu::cuda {

struct Grid {
  unsigned blocks[3], threads[2];
  int64_t sections, scratch;  // with more than one section, a finish kernel follows:
  unsigned finish_blocks[2], finish_threads[2];
};

Grid grid_of(const std::vector<int64_t>& formula, const int64_t* geometry, int64_t multiprocessors);

}  // namespace taimatsu::cuda
