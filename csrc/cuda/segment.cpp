#include "cuda/segment.h"

#include <algorithm>
#include <cstdlib>

#include "cuda/stream.h"

namespace taimatsu::cuda {
namespace {

std::vector<int> readers[kMaxDevices];  // besides the device itself
enum class Expandable : uint8_t { Unknown, Yes, No };
Expandable known[kMaxDevices];

// PyTorch's variables, and its spelling of the one option that means something here.
bool wanted() {
  for (const char* name : {"PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_ALLOC_CONF"}) {
    const char* text = std::getenv(name);
    if (text && std::strstr(text, "expandable_segments:False")) return false;
  }
  return true;
}

Address address(const void* p) { return reinterpret_cast<Address>(p); }

bool unshareable[kMaxDevices];  // the driver has refused memory that processes can share

AllocationProperties on(int device) {
  AllocationProperties p;
  p.location.id = device;
  const bool shareable = !unshareable[device] && attribute(device, kPosixDescriptors);
  p.handle_types = shareable ? kPosixDescriptor : 0;
  return p;
}

Result create(Physical* memory, size_t bytes, AllocationProperties& p) {
  Result r = driver().physical_create(memory, bytes, &p, 0);
  if (p.handle_types && (r == kNotPermitted || r == kNotSupported)) {
    unshareable[p.location.id] = true;
    p.handle_types = 0;
    r = driver().physical_create(memory, bytes, &p, 0);
  }
  return r;
}

void set_access(Address a, size_t bytes, int device) {
  std::vector<AccessDescription> who(1 + readers[device].size());
  who[0].location.id = device;
  for (size_t i = 1; i < who.size(); ++i) who[i].location.id = readers[device][i - 1];
  check(driver().memory_set_access(a, bytes, who.data(), who.size()), "cuMemSetAccess");
}

std::pair<Result, const char*> failure;  // the first of `release`, until `check_released`

// Takes memory from the granules [from, to). One that can't be unmapped keeps it, and gives it to
// the next that is to be mapped there.
void release(Segment& s, size_t from, size_t to) {
  const Driver& cu = driver();
  auto note = [](Result r, const char* what) {
    if (r != kSuccess && failure.first == kSuccess) failure = {r, what};
    return r == kSuccess;
  };
  for (size_t i = from; i < to; ++i) {
    if (!s.memory[i]) continue;
    if (note(cu.memory_unmap(address(s.base + i * s.granule), s.granule), "cuMemUnmap")) {
      note(cu.physical_release(std::exchange(s.memory[i], 0)), "cuMemRelease");
    }
  }
}

}  // namespace

void check_released() {
  const auto [r, what] = std::exchange(failure, {});
  if (r != kSuccess) check(r, what);
}

bool expandable(int device) {
  Expandable& k = known[device];
  if (k == Expandable::Unknown) {
    k = wanted() && attribute(device, kVirtualMemory) ? Expandable::Yes : Expandable::No;
  }
  return k == Expandable::Yes;
}

Segment* allocate_segment(Arena* arena, int device, size_t bytes) {
  enter(device);
  RelaxedCapture relaxed;
  Address a = 0;
  const Result r = driver().memory_allocate(&a, bytes);
  if (r == kOutOfMemory) return nullptr;
  check(r, "cuMemAlloc");
  auto* s = new Segment{arena, device, reinterpret_cast<char*>(a), bytes};
  s->first = new Block{s->base, bytes, s};
  return s;
}

Segment* reserve_segment(Arena* arena, int device, size_t granule) {
  enter(device);
  const AllocationProperties properties = on(device);
  size_t unit = 0;
  Address a = 0;
  const size_t bytes = (total_memory(device) / 8 * 9 / granule + 1) * granule;
  if (driver().allocation_granularity(&unit, &properties, 0) != kSuccess || granule % unit ||
      driver().address_reserve(&a, bytes, 0, 0, 0) != kSuccess) {
    known[device] = Expandable::No;
    return nullptr;
  }
  auto* s = new Segment{arena, device, reinterpret_cast<char*>(a), bytes, granule};
  s->memory.resize(bytes / granule);
  s->first = new Block{s->base, bytes, s};
  s->first->mapped = false;
  return s;
}

void free_segment(Segment* s) {
  enter(s->device);
  const Driver& cu = driver();
  if (s->granule) {
    release(*s, 0, s->memory.size());
    check(cu.address_free(address(s->base), s->bytes), "cuMemAddressFree");
  } else {
    check(cu.memory_free(address(s->base)), "cuMemFree");
  }
  for (Block* b = s->first; b;) delete std::exchange(b, b->after);
  delete s;
}

bool map_memory(Block* b, size_t bytes) {
  Segment& s = *b->segment;
  const Driver& cu = driver();
  enter(s.device);
  RelaxedCapture relaxed;
  AllocationProperties properties = on(s.device);
  const size_t first = (b->p - s.base) / s.granule, last = first + bytes / s.granule;
  try {
    for (size_t i = first; i < last; ++i) {
      if (s.memory[i]) continue;
      Physical memory = 0;
      const Result r = create(&memory, s.granule, properties);
      if (r == kOutOfMemory) {
        release(s, first, i);
        return false;
      }
      check(r, "cuMemCreate");
      const Result mapped = cu.memory_map(address(s.base + i * s.granule), s.granule, 0, memory, 0);
      if (mapped != kSuccess) cu.physical_release(memory);
      check(mapped, "cuMemMap");
      s.memory[i] = memory;
    }
    set_access(address(b->p), bytes, s.device);
  } catch (const Error&) {
    release(s, first, last);
    throw;
  }
  if (bytes < b->size) split(b, bytes);
  b->mapped = true;
  return true;
}

size_t unmap_memory(Block* b, std::vector<Block*>& left_free) {
  Segment& s = *b->segment;
  const size_t from = b->p - s.base, to = from + b->size;
  const size_t first = (from + s.granule - 1) / s.granule, last = to / s.granule;
  if (first >= last) return 0;
  enter(s.device);
  release(s, first, last);
  if (first * s.granule > from) {
    Block* rest = split(b, first * s.granule - from);
    left_free.push_back(b);
    b = rest;
  }
  if (last * s.granule < to) left_free.push_back(split(b, (last - first) * s.granule));
  b->mapped = false;
  if (b->before && !b->before->mapped) b = join(b->before, b);
  if (b->after && !b->after->mapped) join(b, b->after);
  return (last - first) * s.granule;
}

Block* split(Block* b, size_t size) {
  auto* rest = new Block{b->p + size, b->size - size, b->segment};
  rest->mapped = b->mapped;
  rest->before = b;
  rest->after = b->after;
  if (b->after) b->after->before = rest;
  b->after = rest;
  b->size = size;
  return rest;
}

Block* join(Block* a, Block* b) {
  a->size += b->size;
  a->after = b->after;
  if (b->after) b->after->before = a;
  delete b;
  return a;
}

void allow_access(int owner, int device, const std::vector<Segment*>& segments) {
  std::vector<int>& all = readers[owner];
  if (device == owner || std::find(all.begin(), all.end(), device) != all.end()) return;
  all.push_back(device);
  for (const Segment* s : segments) {
    if (!s->granule || s->device != owner) continue;
    for (Block* b = s->first; b; b = b->after) {
      if (b->mapped) set_access(address(b->p), b->size, owner);
    }
  }
}

}  // namespace taimatsu::cuda
