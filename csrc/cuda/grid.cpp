#include "cuda/grid.h"

#include <algorithm>

namespace taimatsu::cuda {
namespace {

constexpr int64_t kWarp = 32, kBlock = 256, kMostThreads = 512, kHeld = 16;
constexpr int64_t kWaves = 32, kMostAlongY = 65535;
constexpr int64_t kTileSide = 32, kTileRows = 8;
constexpr int64_t kFew = 64, kLong = 65536;
constexpr int64_t kSectionRows = 16384, kSectionColumns = 1024, kMostSections = 1024;

int64_t between(int64_t low, int64_t n, int64_t high) { return std::max(low, std::min(n, high)); }
int64_t parts(int64_t n, int64_t size) { return (n + size - 1) / size; }
int64_t power(int64_t n, int64_t low, int64_t high) {
  int64_t p = 1;
  while (p < n) p *= 2;
  return between(low, p, high);
}

Grid of(int64_t x, int64_t y, int64_t z, int64_t width, int64_t height) {
  Grid g;
  g.blocks[0] = static_cast<unsigned>(x);
  g.blocks[1] = static_cast<unsigned>(y);
  g.blocks[2] = static_cast<unsigned>(z);
  g.threads[0] = static_cast<unsigned>(width);
  g.threads[1] = static_cast<unsigned>(height);
  return g;
}

}  // namespace

Grid grid_of(const Form& f, const int64_t* geometry, int axes, int64_t multiprocessors) {
  auto extent = [&](int a) { return std::max<int64_t>(0, geometry[2 * a + 1] - geometry[2 * a]); };
  const int64_t most = multiprocessors * kWaves;
  if (f.kind == Form::Points) {
    if (f.x < 0) return of(multiprocessors, 1, 1, kBlock, 1);
    int64_t others = 1;
    for (int a = 0; a < axes; ++a) others *= f.y >> a & 1 ? extent(a) : 1;
    const int64_t wide = parts(extent(f.x), f.lanes);
    const int64_t width = power(wide, 1, kBlock);
    const int64_t height = std::min(kBlock / width, power(others, 1, kBlock));
    const int64_t x = between(1, parts(wide, width), most);
    const int64_t y = between(1, parts(others, height), std::min(kMostAlongY, parts(most, x)));
    return of(x, y, f.owners ? between(1, most / (x * y), 64) : 1, width, height);
  }
  if (f.kind == Form::Tiles) {
    return of(between(1, parts(extent(1), kTileSide), most),
              between(1, parts(extent(0), kTileSide), kMostAlongY), 1, kTileSide, kTileRows);
  }
  const int64_t rows = extent(1), outer = extent(0), length = extent(2) * extent(3);
  const bool in_rows = f.kind == Form::Rows;
  int64_t width, height;
  if (in_rows) {
    width = power(parts(extent(3), f.held ? f.held : kHeld), kWarp, kMostThreads);
    height = width == kWarp ? kBlock / kWarp : 1;
  } else {
    height = f.serial ? 1 : power(parts(length, kHeld), 1, kMostThreads / kWarp);
    width = height > 1 ? kWarp : kBlock;
  }
  const int64_t section = in_rows ? kSectionRows : kSectionColumns;
  const int64_t x = between(1, parts(rows, in_rows ? height : width), most);
  const int64_t y = between(1, outer, std::min(kMostAlongY, most));
  if (!f.state_bytes || x * outer >= kFew || length < std::max(4 * section, kLong)) {
    return of(x, y, 1, width, height);
  }
  const int64_t sections = std::min(kMostSections, parts(length, section));
  Grid g = of(x, y, sections, width, height);
  g.sections = sections;
  g.scratch = sections * rows * outer * f.state_bytes;
  g.finish_blocks[0] = static_cast<unsigned>(parts(rows, kBlock / kWarp));
  g.finish_blocks[1] = static_cast<unsigned>(y);
  g.finish_threads[0] = kWarp;
  g.finish_threads[1] = kBlock / kWarp;
  return g;
}

}  // namespace taimatsu::cuda
