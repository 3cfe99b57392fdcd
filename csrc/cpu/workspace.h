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

// `Slot` tells apart what a thread needs at the same time.
template <class A, int Slot = 0>
A* workspace(int64_t count) {
  struct Free {
    void operator()(void* p) const { std::free(p); }
  };
  thread_local std::unique_ptr<void, Free> memory;
  thread_local size_t size = 0;
  size_t bytes = static_cast<size_t>(round_up(count * sizeof(A), 4096));
  if (bytes > size) {
    memory.reset();
    size = 0;
    memory.reset(std::aligned_alloc(64, bytes));
    if (!memory) throw std::bad_alloc();
    size = bytes;
  }
  return static_cast<A*>(memory.get());
}

}  // namespace
}  // namespace taimatsu
