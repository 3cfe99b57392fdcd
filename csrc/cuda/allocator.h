// The caching allocator of GPU memory.
//
// A block belongs to the stream that it was allocated for, and its next user there runs after the
// last one, so that it is given out again at once. What other streams do with it is told by
// `record_stream`: it then waits for their events. Each device, stream and pool has arenas of its
// own, one for small blocks; in an arena the smallest block that fits is taken, and free
// neighbours are one block.
#pragma once

#include <array>
#include <memory>
#include <set>

#include "cuda/segment.h"

namespace taimatsu::cuda {

void* allocate(int device, size_t bytes);  // for the device's current stream; throws OutOfMemory
void deallocate(void* p);
// Memory for the length of a call, in the order of the current stream's work.
class Workspace {
 public:
  Workspace(int device, size_t bytes)
      : data_(bytes ? allocate(device, bytes) : nullptr), size_(bytes) {}
  ~Workspace() {
    if (data_) deallocate(data_);
  }
  Workspace(const Workspace&) = delete;
  Workspace& operator=(const Workspace&) = delete;
  void* data() const { return data_; }
  size_t size() const { return size_; }

 private:
  void* data_;
  size_t size_;
};

const Block* block_at(const void* p);  // that `allocate` gave; null of others

// Functions of Python; null for none. What the allocator does is told to the recorder; the
// collector may give memory up where there is too little.
extern PyObject *recorder, *collector;

// The stream's work of now uses the memory too. False if it isn't the allocator's.
bool record_stream(const void* p, int device, StreamHandle s);
void empty_cache();  // gives free memory back to the driver
void set_memory_fraction(int device, double fraction);
double memory_fraction(int device);
// Lets kernels and copies on `device` reach the memory of `peer`, if the machine can do that.
bool enable_peer_access(int device, int peer);

// ---- Pools ----------------------------------------------------------------------------------
// Memory apart from the rest, for graphs, which use their addresses again at each replay, and for
// whoever asks. Pool 0 is everybody's.
using PoolId = int64_t;
PoolId new_pool();
void retain_pool(PoolId id);
void release_pool(PoolId id);  // of one without users, free memory can be given back
int pool_users(PoolId id);
// Allocations of a capture (its number), or of this thread (0), come from the pool.
void route_to_pool(int device, PoolId id, unsigned long long capture);
void stop_routing(int device, PoolId id);

// ---- Figures --------------------------------------------------------------------------------
struct Stat {
  int64_t current = 0, peak = 0, allocated = 0, freed = 0;
  void add(int64_t n) {
    current += n;
    if (current > peak) peak = current;
    (n > 0 ? allocated : freed) += n > 0 ? n : -n;
  }
};
enum class Figure : uint8_t {
  Allocations,
  Segments,
  Active,
  InactiveSplit,  // numbers
  AllocatedBytes,
  ReservedBytes,
  ActiveBytes,
  InactiveSplitBytes,
  RequestedBytes
};
constexpr int kFigures = 9;
constexpr const char* kFigureNames[kFigures] = {
    "allocation",      "segment",        "active",       "inactive_split",
    "allocated_bytes", "reserved_bytes", "active_bytes", "inactive_split_bytes",
    "requested_bytes"};
struct Figures {
  std::array<Stat, kFigures> all, large, small;
  int64_t retries = 0, out_of_memory = 0, synchronizations = 0, segments_made = 0,
          segments_freed = 0;
};
const Figures& figures(int device);
void reset_peak_figures(int device);
void reset_accumulated_figures(int device);

struct Arena {
  struct BySize {
    bool operator()(const Block* a, const Block* b) const {
      return a->size != b->size ? a->size < b->size : a->p < b->p;
    }
  };
  int device;
  StreamHandle stream;
  PoolId pool;
  bool small;
  std::set<Block*, BySize> free;
  std::vector<Segment*> segments;
};
template <class F>
void for_each_arena(const F& body);  // body(const Arena&)

extern std::vector<std::unique_ptr<Arena>> arenas[kMaxDevices];
template <class F>
void for_each_arena(const F& body) {
  for (int d = 0; d < device_count(); ++d) {
    for (const auto& arena : arenas[d]) body(*arena);
  }
}

}  // namespace taimatsu::cuda
