// The caching CPU allocator.
//
// Sizes are rounded up to a class: multiples of 64 bytes up to 1 KiB, then 8 classes per doubling.
// Each class has a stack of free blocks, so that most calls pop or push a pointer. Blocks of a
// megabyte and more are mapped on their own; what the cache keeps is bounded, and beyond the bound
// the largest blocks go back to the system first: they are the few that hold the most. Every few
// seconds of use the bound is what was needed at most since the last but one: a program that has
// had its peak gives the memory back, one that comes to it again and again doesn't.
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <fstream>
#include <utility>

#include "tensor/freelist.h"
#include "tensor/storage.h"

namespace taimatsu {

namespace {

constexpr size_t kAlignment = 64;
constexpr size_t kSmall = 1024;  // up to here classes are multiples of kAlignment
constexpr int kSmallClasses = kSmall / kAlignment;
constexpr int kClasses = kSmallClasses + 8 * (47 - 10);  // up to 2^47 bytes, an address space
constexpr size_t kLargest = size_t{1} << 47;
constexpr size_t kMapped = size_t{1} << 20;  // from here on blocks are mapped on their own
constexpr size_t kHugePage = size_t{1} << 21;
constexpr size_t kGiB = size_t{1} << 30;

constexpr int64_t kReviewed = 4096;  // allocations of small blocks between looks at the clock
constexpr std::chrono::seconds kReviewPeriod{5};
constexpr size_t kAlwaysKept = size_t{16} << 20;

FreeList<> cache[kClasses];
MemoryStats stats = {};
int64_t needed = 0, needed_before = 0;  // the most that tensors had at once, by period
std::chrono::steady_clock::time_point next_review;

size_t cached() { return static_cast<size_t>(stats.reserved - stats.allocated); }

int size_class(size_t bytes) {  // of 1 <= bytes <= kLargest
  if (bytes <= kSmall) return static_cast<int>((bytes - 1) / kAlignment);
  size_t n = bytes - 1;
  int log = 63 - __builtin_clzll(n);
  return kSmallClasses + (log - 10) * 8 + static_cast<int>(n >> (log - 3) & 7);
}

size_t class_size(int c) {
  if (c < kSmallClasses) return (c + 1) * kAlignment;
  int log = 10 + (c - kSmallClasses) / 8;
  return (size_t{9} + (c - kSmallClasses) % 8) << (log - 3);
}

// The memory that this process may hope for: physical and swap, or what its container allows.
size_t memory_limit() {
  static const size_t limit = [] {
    size_t n = static_cast<size_t>(sysconf(_SC_PHYS_PAGES)) * sysconf(_SC_PAGESIZE);
    std::ifstream info("/proc/meminfo");
    for (std::string word; info >> word;) {
      size_t kib;
      if (word == "SwapTotal:" && info >> kib) n += kib << 10;
    }
    for (const char* path :
         {"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"}) {
      size_t allowed;
      if (std::ifstream(path) >> allowed) n = std::min(n, allowed);
    }
    return n;
  }();
  return limit;
}

// What the cache may keep; 0 until somebody asks on a slow path, which finds out.
size_t cache_limit = 0;

// A mapping aligned to huge pages, which save most of the page faults of a large tensor.
void* map(size_t bytes) {
  size_t extra = bytes >= kHugePage ? kHugePage : 0;
  void* p =
      mmap(nullptr, bytes + extra, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (p == MAP_FAILED) return nullptr;
  if (!extra) return p;
  uintptr_t start = reinterpret_cast<uintptr_t>(p);
  uintptr_t aligned = (start + kHugePage - 1) / kHugePage * kHugePage;
  size_t before = aligned - start;
  if (before) munmap(p, before);
  if (before < extra) munmap(reinterpret_cast<void*>(aligned + bytes), extra - before);
  p = reinterpret_cast<void*>(aligned);
#ifdef MADV_HUGEPAGE
  madvise(p, bytes, MADV_HUGEPAGE);
#endif
  return p;
}

void* system_allocate(size_t bytes) {
  if (kFreeLists && bytes >= kMapped) return map(bytes);
  void* p = nullptr;
  return posix_memalign(&p, kAlignment, bytes) == 0 ? p : nullptr;
}

void system_free(void* p, size_t bytes) {
  stats.reserved -= static_cast<int64_t>(bytes);
  if (kFreeLists && bytes >= kMapped) {
    munmap(p, bytes);
  } else {
    std::free(p);
  }
}

void shrink_cache(size_t limit) {
  for (int c = kClasses - 1; c >= 0 && cached() > limit; --c) {
    while (cached() > limit) {
      void* p = cache[c].pop();
      if (!p) break;
      system_free(p, class_size(c));
    }
  }
}

std::string human(size_t bytes) {
  const char* units[] = {"bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  int u = 0;
  double n = static_cast<double>(bytes);
  for (; n >= 1024 && u < 6; ++u) n /= 1024;
  char text[32];
  std::snprintf(text, sizeof text, u ? "%.2f %s" : "%.0f %s", n, units[u]);
  return text;
}

[[noreturn]] void out_of_memory(size_t bytes) {
  fail(Error::OutOfMemory, "cannot allocate ", human(bytes), " on cpu (you tried to allocate ",
       bytes, " bytes); ", human(stats.allocated), " are in use by tensors, the limit is ",
       human(memory_limit()), "; drop tensors that are not needed, or work in smaller pieces");
}

void* allocate_slowly(size_t asked, size_t bytes) {
  void* p = nullptr;
  if (bytes <= memory_limit() && stats.allocated + bytes <= memory_limit()) {
    p = system_allocate(bytes);
    if (!p && cached()) {
      shrink_cache(0);
      p = system_allocate(bytes);
    }
  }
  if (!p) out_of_memory(asked);
  ++stats.system_allocations;
  stats.reserved += static_cast<int64_t>(bytes);
  stats.peak_reserved = std::max(stats.peak_reserved, stats.reserved);
  return p;
}

void review() {
  if (std::chrono::steady_clock::now() >= next_review) return_unused_cpu_memory();
}

// The block has just been put into the cache, which is full.
void over_limit() {
  if (cache_limit == 0) cache_limit = std::clamp(memory_limit() / 8, kGiB / 4, 4 * kGiB);
  shrink_cache(cache_limit);
}

}  // namespace

void* cpu_allocate(size_t bytes) {
  if (bytes == 0) return nullptr;
  if (bytes > kLargest) out_of_memory(bytes);
  int c = size_class(bytes);
  size_t size = kFreeLists ? class_size(c) : bytes;
  void* p = cache[c].pop();
  if (!p) p = allocate_slowly(bytes, size);
  ++stats.allocations;
  stats.allocated += static_cast<int64_t>(size);
  if (stats.allocated > stats.peak_allocated) stats.peak_allocated = stats.allocated;
  if (stats.allocated > needed) needed = stats.allocated;
  if (size >= kMapped || stats.allocations % kReviewed == 0) review();
  return p;
}

void cpu_free(void* p, size_t bytes) {
  if (!p) return;
  int c = size_class(bytes);
  size_t size = kFreeLists ? class_size(c) : bytes;
  stats.allocated -= static_cast<int64_t>(size);
  if (!kFreeLists) return system_free(p, size);
  cache[c].push(p);
  if (cached() > cache_limit) over_limit();
}

void cpu_discard(void* p, size_t bytes) {
  const uintptr_t page = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
  const uintptr_t first = (reinterpret_cast<uintptr_t>(p) + page - 1) / page * page;
  const uintptr_t last = (reinterpret_cast<uintptr_t>(p) + bytes) / page * page;
  if (first < last) madvise(reinterpret_cast<void*>(first), last - first, MADV_DONTNEED);
}

MemoryStats cpu_memory_stats() { return stats; }

void reset_peak_cpu_memory_stats() {
  stats.peak_allocated = stats.allocated;
  stats.peak_reserved = stats.reserved;
}

void empty_cpu_cache() { shrink_cache(0); }

void return_unused_cpu_memory() {
  const int64_t idle = std::max(needed, needed_before) - stats.allocated;
  shrink_cache(static_cast<size_t>(idle) + kAlwaysKept);
  needed_before = std::exchange(needed, stats.allocated);
  next_review = std::chrono::steady_clock::now() + kReviewPeriod;
}

}  // namespace taimatsu
