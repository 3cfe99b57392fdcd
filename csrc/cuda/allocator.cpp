#include "cuda/allocator.h"

#include <algorithm>
#include <deque>
#include <memory>
#include <thread>
#include <unordered_map>

#include "cuda/stream.h"
#include "python/python.h"

namespace taimatsu::cuda {

std::vector<std::unique_ptr<Arena>> arenas[kMaxDevices];
PyObject *recorder = nullptr, *collector = nullptr;

namespace {

struct Pending {  // blocks that a stream still uses, and the events that tell when it has done
  int device;
  StreamHandle stream;
  std::deque<std::pair<EventHandle, Block*>> uses;  // in the order of the stream's work
};
struct Route {
  int device;
  PoolId pool;
  unsigned long long capture;
  std::thread::id thread;
};

Figures stats[kMaxDevices];
std::array<double, kMaxDevices> fractions = [] {  // of the device's memory, at most
  std::array<double, kMaxDevices> all;
  all.fill(1);
  return all;
}();
std::unordered_map<const void*, Block*> used;
std::vector<Pending> pending;
size_t uses_pending = 0;
std::vector<Block*> deferred;  // freed during a capture, when no event can be recorded
std::vector<Route> routes;
std::unordered_map<PoolId, int> pools;  // and how many use them
PoolId last_pool = 0;

void count(const Arena& a, Figure f, int64_t n) {
  Figures& s = stats[a.device];
  const auto i = static_cast<size_t>(f);
  s.all[i].add(n);
  (a.small ? s.small : s.large)[i].add(n);
}

// ---- Those who want to know -----------------------------------------------------------------

// Calls a function of Python, wherever this is: errors before stay, its own are only shown.
template <class... Args>
void tell(PyObject* function, const char* format, Args... args) {
  PyObject *type, *value, *trace;
  PyErr_Fetch(&type, &value, &trace);
  Object held(function);
  Object done = Object::steal(PyObject_CallFunction(function, format, args...));
  if (!done) PyErr_WriteUnraisable(function);
  PyErr_Restore(type, value, trace);
}

struct Note {
  const char* action;
  int device;
  const void* p;
  size_t bytes;
  StreamHandle stream;
  PoolId pool;
};
std::vector<Note> notes;  // not told yet: Python may free tensors, so all must be in order first

void note(const char* action, const Arena& a, const void* p, size_t bytes) {
  if (recorder) notes.push_back({action, a.device, p, bytes, a.stream, a.pool});
}

void tell_notes() {
  for (const Note& n : std::exchange(notes, {})) {
    if (!recorder) return;
    tell(recorder, "siKnKL", n.action, n.device, reinterpret_cast<unsigned long long>(n.p),
         static_cast<Py_ssize_t>(n.bytes), reinterpret_cast<unsigned long long>(n.stream),
         static_cast<long long>(n.pool));
  }
}

// ---- Free blocks ----------------------------------------------------------------------------

void count_split(Block* b, int sign) {
  count(*b->segment->arena, Figure::InactiveSplit, sign);
  count(*b->segment->arena, Figure::InactiveSplitBytes, sign * static_cast<int64_t>(b->size));
}
void put_free(Block* b) {
  b->segment->arena->free.insert(b);
  b->split = b->before || b->after;
  if (b->split) count_split(b, 1);
}
void take_free(Block* b) {
  b->segment->arena->free.erase(b);
  if (std::exchange(b->split, false)) count_split(b, -1);
}

// A block becomes free, and one with its free neighbours.
Block* set_free(Block* b) {
  b->used = b->pending = false;
  if (b->before && b->before->is_free()) {
    take_free(b->before);
    b = join(b->before, b);
  }
  if (b->after && b->after->is_free()) {
    take_free(b->after);
    join(b, b->after);
  }
  put_free(b);
  return b;
}

// Nobody uses the block any more.
void settle(Block* b) {
  const Arena& a = *b->segment->arena;
  count(a, Figure::Active, -1);
  count(a, Figure::ActiveBytes, -static_cast<int64_t>(b->size));
  note("free_completed", a, b->p, b->size);
  set_free(b);
}

// ---- Other streams --------------------------------------------------------------------------

// An event on each stream that uses the block: it is free when all are reached.
void wait_for_users(Block* b) {
  for (const auto& [device, stream] : std::exchange(b->users, {})) {
    EventHandle e = take_event(device);
    check(driver().event_record(e, stream), "cuEventRecord");
    auto queue = std::find_if(
        pending.begin(), pending.end(),
        [&, d = device, s = stream](const Pending& p) { return p.device == d && p.stream == s; });
    if (queue == pending.end()) queue = pending.insert(queue, {device, stream, {}});
    queue->uses.emplace_back(e, b);
    ++uses_pending;
    ++b->events;
  }
}

void collect_pending() {
  if (captures_under_way) return;  // events can't be asked
  for (Block* b : std::exchange(deferred, {})) wait_for_users(b);
  for (Pending& p : pending) {
    if (p.uses.empty()) continue;
    enter(p.device);
    while (!p.uses.empty()) {
      const auto [event, block] = p.uses.front();
      const Result r = driver().event_query(event);
      if (r == kNotReady) break;
      check(r, "cuEventQuery");
      p.uses.pop_front();
      --uses_pending;
      give_event(p.device, event);
      if (--block->events == 0) settle(block);
    }
  }
}

// ---- Growing and giving back ----------------------------------------------------------------

PoolId pool_for(int device, StreamHandle stream) {
  for (auto r = routes.rbegin(); r != routes.rend(); ++r) {
    if (r->device != device) continue;
    unsigned long long id = 0;
    if (r->capture ? capturing(stream, &id) && id == r->capture
                   : r->thread == std::this_thread::get_id()) {
      return r->pool;
    }
  }
  return 0;
}

Arena& arena_for(int device, StreamHandle stream, bool small) {
  const PoolId pool = routes.empty() ? 0 : pool_for(device, stream);
  for (const auto& a : arenas[device]) {
    if (a->stream == stream && a->small == small && a->pool == pool) return *a;
  }
  arenas[device].push_back(std::unique_ptr<Arena>(new Arena{device, stream, pool, small, {}, {}}));
  return *arenas[device].back();
}

size_t rounded(size_t n, size_t unit) { return (n + unit - 1) / unit * unit; }

bool within_limit(int device, size_t more) {
  if (fractions[device] >= 1) return true;
  const auto reserved = stats[device].all[static_cast<size_t>(Figure::ReservedBytes)].current;
  return static_cast<double>(reserved) + static_cast<double>(more) <=
         fractions[device] * static_cast<double>(total_memory(device));
}

void count_memory(const Arena& a, int64_t bytes) {
  count(a, Figure::ReservedBytes, bytes);
  ++(bytes > 0 ? stats[a.device].segments_made : stats[a.device].segments_freed);
}

Block* grow_plainly(Arena& a, size_t size) {
  const size_t bytes = a.small                    ? kGranule
                       : size < kLargeGranule / 2 ? kLargeGranule
                                                  : rounded(size, kGranule);
  if (!within_limit(a.device, bytes)) return nullptr;
  Segment* s = allocate_segment(&a, a.device, bytes);
  if (!s) return nullptr;
  a.segments.push_back(s);
  count(a, Figure::Segments, 1);
  count_memory(a, static_cast<int64_t>(bytes));
  note("segment_alloc", a, s->base, bytes);
  put_free(s->first);
  return s->first;
}

// Memory is mapped where the least of it is missing, with what is free beside.
Block* grow(Arena& a, size_t size) {
  if (!expandable(a.device)) return grow_plainly(a, size);
  if (a.segments.empty()) {
    Segment* s = reserve_segment(&a, a.device, a.small ? kGranule : kLargeGranule);
    if (!s) return grow_plainly(a, size);
    a.segments.push_back(s);
    count(a, Figure::Segments, 1);
  }
  const size_t granule = a.segments[0]->granule;
  Block* best = nullptr;
  size_t least = 0;
  for (Block* b = a.segments[0]->first; b; b = b->after) {
    if (b->mapped) continue;
    const size_t before = b->before && b->before->is_free() ? b->before->size : 0;
    const size_t after = b->after && b->after->is_free() ? b->after->size : 0;
    const size_t missing = rounded(size - std::min(size, before), granule);
    if (missing > b->size && before + b->size + after < size) continue;
    const size_t bytes = std::min(missing, b->size);
    if (best && bytes >= least) continue;
    best = b;
    least = bytes;
  }
  if (!best || !within_limit(a.device, least) || !map_memory(best, least)) return nullptr;
  count_memory(a, static_cast<int64_t>(least));
  note("segment_map", a, best->p, least);
  return set_free(best);
}

void give_back(Arena& a) {
  std::vector<Block*> blocks(a.free.begin(), a.free.end());
  for (Block* b : blocks) {
    Segment* s = b->segment;
    take_free(b);
    if (s->granule) {
      std::vector<Block*> left;
      const char* from = b->p;
      const size_t bytes = unmap_memory(b, left);
      if (!bytes) left.push_back(b);
      for (Block* rest : left) put_free(rest);
      if (!bytes) continue;
      count_memory(a, -static_cast<int64_t>(bytes));
      note("segment_unmap", a, s->base + rounded(from - s->base, s->granule), bytes);
    } else if (b->before || b->after) {
      put_free(b);
    } else {
      count_memory(a, -static_cast<int64_t>(s->bytes));
      count(a, Figure::Segments, -1);
      a.segments.erase(std::find(a.segments.begin(), a.segments.end(), s));
      note("segment_free", a, s->base, s->bytes);
      free_segment(s);
    }
  }
}

bool pool_in_use(PoolId id) { return id != 0 && pools.count(id) && pools[id] > 0; }

// Waits for the device, then gives the memory of all free blocks back. False during a capture.
bool give_back_cached(int device) {
  if (captures_under_way) return false;
  enter(device);
  ++stats[device].synchronizations;
  Result r;
  {
    Waiting waiting;
    r = driver().context_synchronize();
  }
  check(r, "cuCtxSynchronize");
  collect_pending();
  for (const auto& a : arenas[device]) {
    if (!pool_in_use(a->pool)) give_back(*a);
  }
  // Of pools that are gone, also the addresses.
  auto gone = [](const std::unique_ptr<Arena>& a) {
    if (a->pool == 0 || pools.count(a->pool)) return false;
    for (Segment* s : a->segments) {
      if (s->first->mapped || s->first->after) return false;
    }
    for (Segment* s : a->segments) {
      count(*a, Figure::Segments, -1);
      free_segment(s);
    }
    return true;
  };
  auto& all = arenas[device];
  all.erase(std::remove_if(all.begin(), all.end(), gone), all.end());
  check_released();
  return true;
}

// ---- Out of memory --------------------------------------------------------------------------

std::string human(double bytes) {
  const char* units[] = {"bytes", "KiB", "MiB", "GiB"};
  int u = 0;
  for (; bytes >= 1024 && u < 3; ++u) bytes /= 1024;
  char text[32];
  std::snprintf(text, sizeof text, u ? "%.2f %s" : "%.0f %s", bytes, units[u]);
  return text;
}

[[noreturn]] void out_of_memory(int device, size_t bytes) {
  ++stats[device].out_of_memory;
  size_t available = 0, total = 0, largest = 0;
  enter(device);
  driver().memory_info(&available, &total);
  if (recorder) {
    notes.push_back({"oom", device, reinterpret_cast<void*>(available), bytes, nullptr, 0});
    tell_notes();
  }
  for (const auto& a : arenas[device]) {
    if (!a->free.empty()) largest = std::max(largest, (*a->free.rbegin())->size);
  }
  const auto& all = stats[device].all;
  const auto allocated = static_cast<double>(all[static_cast<int>(Figure::AllocatedBytes)].current);
  const auto reserved = static_cast<double>(all[static_cast<int>(Figure::ReservedBytes)].current);
  const double idle = reserved - allocated;
  const int fragmented =
      idle > 0 ? static_cast<int>(100 * (1 - static_cast<double>(largest) / idle) + 0.5) : 0;
  std::string limit;
  if (fractions[device] < 1) {
    limit = concat(" The process may use ", human(fractions[device] * static_cast<double>(total)),
                   " of it (set_per_process_memory_fraction).");
  }
  fail(Error::OutOfMemory, "CUDA out of memory. Tried to allocate ",
       human(static_cast<double>(bytes)), ". GPU ", device, " has a total capacity of ",
       human(static_cast<double>(total)), " of which ", human(static_cast<double>(available)),
       " is free.", limit, " Tensors have ", human(allocated), ", and ", human(idle),
       " is reserved but not in use: fragmentation ", fragmented, " %, the largest free block has ",
       human(static_cast<double>(largest)),
       ". Drop tensors that are not needed, work in smaller pieces, or see "
       "torch.cuda.memory_summary()");
}

}  // namespace

// ---- Allocating -----------------------------------------------------------------------------

void* allocate(int device, size_t bytes) {
  const size_t size = rounded(bytes, kRound);
  if (uses_pending || !deferred.empty()) collect_pending();
  Arena& a = arena_for(device, current_stream(device), size <= kSmall);
  Block key{nullptr, size, nullptr};
  auto found = a.free.lower_bound(&key);
  Block* b = found != a.free.end() ? *found : nullptr;
  if (!b && size <= total_memory(device)) {
    b = grow(a, size);
    if (!b && collector) tell(collector, nullptr);
    if (!b && (++stats[device].retries, give_back_cached(device))) b = grow(a, size);
  }
  if (!b) out_of_memory(device, bytes);
  take_free(b);
  if (b->size > size) put_free(split(b, size));
  b->used = true;
  b->requested = bytes;
  used.emplace(b->p, b);
  for (Figure f : {Figure::Allocations, Figure::Active}) count(a, f, 1);
  for (Figure f : {Figure::AllocatedBytes, Figure::ActiveBytes}) {
    count(a, f, static_cast<int64_t>(b->size));
  }
  count(a, Figure::RequestedBytes, static_cast<int64_t>(bytes));
  note("alloc", a, b->p, b->size);
  if (!notes.empty()) tell_notes();
  return b->p;
}

void deallocate(void* p) {
  if (!started() || finished()) return;  // a fork, or the process' end
  auto found = used.find(p);
  if (found == used.end()) return;
  Block* b = found->second;
  used.erase(found);
  const Arena& a = *b->segment->arena;
  count(a, Figure::Allocations, -1);
  count(a, Figure::AllocatedBytes, -static_cast<int64_t>(b->size));
  count(a, Figure::RequestedBytes, -static_cast<int64_t>(b->requested));
  note("free_requested", a, b->p, b->size);
  if (b->users.empty()) {
    settle(b);
  } else {
    b->used = false;
    b->pending = true;
    if (captures_under_way) {
      deferred.push_back(b);
    } else {
      try {
        wait_for_users(b);
      } catch (const Error&) {  // the context is lost, and the block with it: later calls say so
      }
    }
  }
  if (!notes.empty()) tell_notes();
}

const Block* block_at(const void* p) {
  auto found = used.find(p);
  return found == used.end() ? nullptr : found->second;
}

bool record_stream(const void* p, int device, StreamHandle s) {
  auto found = used.find(p);
  if (found == used.end()) return false;
  Block* b = found->second;
  const std::pair<int, StreamHandle> user(device, s);
  const bool own = b->segment->arena->stream == s && b->segment->device == device;
  if (!own && std::find(b->users.begin(), b->users.end(), user) == b->users.end()) {
    b->users.push_back(user);
  }
  return true;
}

void empty_cache() {
  for (int d = 0; d < device_count(); ++d) {
    if (!arenas[d].empty()) give_back_cached(d);
  }
  tell_notes();
}

void set_memory_fraction(int device, double fraction) { fractions[device] = fraction; }
double memory_fraction(int device) { return fractions[device]; }

bool enable_peer_access(int device, int peer) {
  if (!enable_context_access(device, peer)) return false;
  std::vector<Segment*> all;
  for (const auto& a : arenas[peer]) all.insert(all.end(), a->segments.begin(), a->segments.end());
  allow_access(peer, device, all);
  return true;
}

// ---- Pools ----------------------------------------------------------------------------------

PoolId new_pool() {
  pools[++last_pool] = 0;
  return last_pool;
}
void retain_pool(PoolId id) { ++pools[id]; }
void release_pool(PoolId id) {
  auto found = pools.find(id);
  if (found != pools.end() && --found->second <= 0) pools.erase(found);
}
int pool_users(PoolId id) {
  auto found = pools.find(id);
  return found == pools.end() ? 0 : found->second;
}
void route_to_pool(int device, PoolId id, unsigned long long capture) {
  routes.push_back({device, id, capture, std::this_thread::get_id()});
}
void stop_routing(int device, PoolId id) {
  for (auto r = routes.rbegin(); r != routes.rend(); ++r) {
    if (r->device != device || r->pool != id) continue;
    routes.erase(std::next(r).base());
    return;
  }
}

// ---- Figures --------------------------------------------------------------------------------

const Figures& figures(int device) { return stats[device]; }

namespace {
template <class F>
void for_each_stat(int device, const F& body) {
  for (auto* group : {&stats[device].all, &stats[device].large, &stats[device].small}) {
    for (Stat& s : *group) body(s);
  }
}
}  // namespace

void reset_peak_figures(int device) {
  for_each_stat(device, [](Stat& s) { s.peak = s.current; });
}
void reset_accumulated_figures(int device) {
  for_each_stat(device, [](Stat& s) { s.allocated = s.freed = 0; });
  stats[device].retries = stats[device].out_of_memory = 0;
}

}  // namespace taimatsu::cuda
