// Scratch memory of a thread, kept for what it computes next.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <memory>
#include <new>

namespace taimatsu {

// In an unnamed namespace: files compiled for different instruction sets must not share it.
namespace {

constexpr int64_t round_up(int64_t n, int64_t to) { return (n + to - 1) / to * to; }

// `Slot` tells apart what a thread needs at the same time. How much there is stands before it: the
// memory of threads themselves is scarce.
template <class A, int Slot = 0>
A* workspace(int64_t count) {
  struct Free {
    void operator()(void* p) const { std::free(p); }
  };
  thread_local std::unique_ptr<void, Free> memory;
  constexpr size_t alignment = 64;
  const auto bytes = static_cast<size_t>(round_up(count * sizeof(A), 4096));
  if (!memory || *static_cast<size_t*>(memory.get()) < bytes) {
    memory.reset();
    memory.reset(std::aligned_alloc(alignment, alignment + bytes));
    if (!memory) throw std::bad_alloc();
    *static_cast<size_t*>(memory.get()) = bytes;
  }
  return reinterpret_cast<A*>(static_cast<char*>(memory.get()) + alignment);
}

}  // namespace
}  // namespace taimatsu
