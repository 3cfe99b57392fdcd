#include "cuda/host.h"

#include <algorithm>
#include <map>

#include "cuda/stream.h"

namespace taimatsu::cuda {
namespace {

struct HostBlock {
  size_t size;
  std::vector<std::pair<int, StreamHandle>> users;
  std::vector<std::pair<int, EventHandle>> events;  // of users, once it is freed
};
using Blocks = std::map<char*, HostBlock>;

Blocks blocks;
std::multimap<size_t, char*> unused;
std::vector<char*> pending;  // freed, but events are not reached
HostFigures stats;

// An eighth of a power of two: little is wasted, and sizes that are alike share blocks.
size_t class_size(size_t bytes) {
  size_t unit = 64;
  while (unit * 16 < bytes) unit *= 2;
  return (bytes + unit - 1) / unit * unit;
}

HostBlock* block_of(const void* p) {
  auto next = blocks.upper_bound(static_cast<char*>(const_cast<void*>(p)));
  if (next == blocks.begin()) return nullptr;
  auto& [start, block] = *std::prev(next);
  return p < start + block.size ? &block : nullptr;
}

bool reached(HostBlock& b) {
  while (!b.events.empty()) {
    const auto [device, event] = b.events.back();
    enter(device);
    const Result r = driver().event_query(event);
    if (r == kNotReady) return false;
    check(r, "cuEventQuery");
    give_event(device, event);
    b.events.pop_back();
  }
  return true;
}

void collect_pending() {
  if (captures_under_way) return;
  for (char* p : std::exchange(pending, {})) {
    HostBlock& b = blocks.find(p)->second;
    if (reached(b)) {
      unused.emplace(b.size, p);
    } else {
      pending.push_back(p);
    }
  }
}

void deallocate(Storage& s) {
  if (!started() || finished()) return;
  auto* p = static_cast<char*>(s.data);
  HostBlock& b = blocks.find(p)->second;
  stats.allocated -= static_cast<int64_t>(b.size);
  try {
    for (const auto& [device, stream] : std::exchange(b.users, {})) {
      EventHandle e = take_event(device);
      b.events.emplace_back(device, e);
      check(driver().event_record(e, stream), "cuEventRecord");
    }
  } catch (const Error&) {  // the context is lost, and the block with it: later calls say so
    return;
  }
  if (b.events.empty()) {
    unused.emplace(b.size, p);
  } else {
    pending.push_back(p);
  }
}

char* allocate(size_t bytes) {
  const size_t size = class_size(bytes);
  if (!pending.empty()) collect_pending();
  char* p;
  auto found = unused.find(size);
  if (found != unused.end()) {
    p = found->second;
    unused.erase(found);
  } else {
    enter(current_device());
    RelaxedCapture relaxed;
    void* memory = nullptr;
    Result r = driver().host_allocate(&memory, size, kHostPortable);
    if (r == kOutOfMemory && !unused.empty()) {
      empty_host_cache();
      r = driver().host_allocate(&memory, size, kHostPortable);
    }
    check(r, concat("cuMemHostAlloc of ", bytes, " bytes of pinned host memory").c_str());
    p = static_cast<char*>(memory);
    blocks[p].size = size;
    ++stats.driver_allocations;
    stats.reserved += static_cast<int64_t>(size);
    stats.peak_reserved = std::max(stats.peak_reserved, stats.reserved);
  }
  ++stats.allocations;
  stats.allocated += static_cast<int64_t>(size);
  stats.peak_allocated = std::max(stats.peak_allocated, stats.allocated);
  return p;
}

}  // namespace

Ref<Storage> pinned_storage(size_t bytes) {
  driver();
  void* data = bytes ? allocate(bytes) : nullptr;
  return foreign_storage(data, bytes, Device{}, nullptr, data ? deallocate : [](Storage&) {});
}

bool is_pinned(const void* p) {
  if (!p || !started()) return false;
  if (block_of(p)) return true;
  if (!has_context(current_device())) return false;
  unsigned kind = 0;
  return driver().pointer_attribute(&kind, kPointerMemoryType, reinterpret_cast<Address>(p)) ==
             kSuccess &&
         kind == kHostMemory;
}

void record_use(const void* p, int device, StreamHandle s) {
  HostBlock* b = block_of(p);
  if (!b) return;
  const std::pair<int, StreamHandle> user(device, s);
  if (std::find(b->users.begin(), b->users.end(), user) == b->users.end()) {
    b->users.push_back(user);
  }
}

void empty_host_cache() {
  collect_pending();
  for (const auto& [size, p] : std::exchange(unused, {})) {
    check(driver().host_free(p), "cuMemFreeHost");
    blocks.erase(p);
    ++stats.driver_frees;
    stats.reserved -= static_cast<int64_t>(size);
  }
}

HostFigures& host_figures() { return stats; }

}  // namespace taimatsu::cuda
