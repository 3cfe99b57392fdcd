// How many blocks and threads a generated kernel is launched with.
#pragma once

#include "base.h"

namespace taimatsu::cuda {

// What taimatsu.codegen.ptx.Launch says of a kernel; the names are explained there.
struct Form {
  enum Kind : uint8_t { Points, Tiles, Rows, Columns } kind = Points;
  int x = -1;
  uint64_t y = 0;  // axes, as bits
  int64_t lanes = 1, held = 0;
  bool serial = false, owners = false;
  int64_t state_bytes = 0;
};

struct Grid {
  unsigned blocks[3] = {1, 1, 1}, threads[2] = {1, 1};
  int64_t sections = 1, scratch = 0;  // with more than one section, a finish kernel follows:
  unsigned finish_blocks[2] = {0, 0}, finish_threads[2] = {0, 0};
};

// The same as taimatsu.codegen.ptx.grid, which tells why; a test compares them.
Grid grid_of(const Form& f, const int64_t* geometry, int axes, int64_t multiprocessors);

}  // namespace taimatsu::cuda
