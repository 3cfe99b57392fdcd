// Segments of device memory, and the blocks that they are divided into.
//
// An expandable segment is a large range of addresses, of which memory is mapped where it is
// needed, a granule at a time, so that what is freed in one place is mapped in another. Where the
// device can't do that a segment is what one cuMemAlloc gives.
#pragma once

#include "cuda/device.h"

namespace taimatsu::cuda {

constexpr size_t kMiB = size_t{1} << 20;
constexpr size_t kRound = 512;         // sizes are multiples
constexpr size_t kSmall = kMiB;        // blocks up to here share segments of their own
constexpr size_t kGranule = 2 * kMiB;  // of the memory of small blocks
constexpr size_t kLargeGranule = 20 * kMiB;

struct Arena;
struct Segment;

// A run of bytes of a segment: in use, free, or without memory.
struct Block {
  char* p;
  size_t size;
  Segment* segment;
  Block *before = nullptr, *after = nullptr;  // neighbours
  bool mapped = true;
  bool used = false;
  bool pending = false;  // freed, but other streams' work may still use it
  bool split = false;    // free, and counted as a part of a segment
  size_t requested = 0;  // what was asked for
  std::vector<std::pair<int, StreamHandle>> users;  // streams that use it besides its own
  int events = 0;                                   // of users, that are not reached yet
  bool is_free() const { return mapped && !used && !pending; }
};

struct Segment {
  Arena* arena;
  int device;
  char* base = nullptr;
  size_t bytes = 0;    // of addresses
  size_t granule = 0;  // 0: not expandable
  Block* first = nullptr;
  std::vector<Physical> memory;  // of each granule; 0 where none is mapped
};

// Null where the device has no memory left for it.
Segment* allocate_segment(Arena* arena, int device, size_t bytes);
Segment* reserve_segment(Arena* arena, int device, size_t granule);  // null: it can't
void free_segment(Segment* s);                                       // nothing of it is in use

// Maps memory behind the first `bytes` (whole granules) of a block that has none, which becomes a
// free block of that size, and the rest its neighbour. False if there is no memory left.
bool map_memory(Block* b, size_t bytes);
// Takes the memory from the whole granules inside a free block; what had none before joins them.
// Nothing may be using it. Returns how many bytes went; `b` is gone then.
size_t unmap_memory(Block* b, std::vector<Block*>& left_free);
void check_released();  // throws what went wrong meanwhile, once all blocks are in order

Block* split(Block* b, size_t size);  // the rest, which is of the same kind
Block* join(Block* a, Block* b);      // neighbours of the same kind become one: `a`

// Devices that may reach the memory of `owner`; of all its segments from now on.
void allow_access(int owner, int device, const std::vector<Segment*>& segments);
bool expandable(int device);

}  // namespace taimatsu::cuda
