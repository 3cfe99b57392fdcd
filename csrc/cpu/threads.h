// The thread pool: one OpenMP runtime for generated kernels, OpenBLAS and oneDNN.
#pragma once

#include <cmath>
#include <cstdint>
#include <functional>
#include <mutex>

namespace taimatsu {

int num_threads();  // what set_num_threads said; 1 in a forked child and inside a region
void set_num_threads(int n);
bool in_parallel_region();

// Numbers too small for full precision count as 0, and become 0: on this thread, and on the pool's
// threads while they work for it. False where the processor can't.
bool set_flush_denormal(bool on);

bool has_pool();  // whether a parallel region would get threads, were there any

// A mutex that a fork waits for, so that no child has one locked by a thread that it lacks. Whoever
// holds it must not wait for the GIL, which the forking thread has.
class ForkSafeMutex : public std::mutex {
 public:
  ForkSafeMutex();
  ~ForkSafeMutex();
};

// Runs body(begin, end) over [0, n) in at most num_threads() chunks of at least `grain`.
// Chunk borders are multiples of `align`. Results must not depend on the borders.
template <class F>
void parallel_for(int64_t n, int64_t grain, int64_t align, const F& body);

// The grain for `items` that take `work` elementary operations together.
inline int64_t grain_of(int64_t items, double work) {
  constexpr double kWorth = 1 << 18;  // operations for which a thread is woken
  if (work < kWorth) return items;
  return static_cast<int64_t>(std::ceil(static_cast<double>(items) * kWorth / work));
}

void parallel_chunks(int chunks, void (*body)(void* context, int chunk), void* context);

template <class F>
void parallel_for(int64_t n, int64_t grain, int64_t align, const F& body) {
  if (n <= 0) return;
  int64_t chunks = n / (grain > 0 ? grain : 1);
  if (chunks > num_threads()) chunks = num_threads();
  if (chunks <= 1 || in_parallel_region()) return body(int64_t{0}, n);
  int64_t each = (n + chunks - 1) / chunks;
  each = (each + align - 1) / align * align;
  struct Context {
    const F* body;
    int64_t n, each;
  } context{&body, n, each};
  parallel_chunks(
      static_cast<int>((n + each - 1) / each),
      [](void* p, int chunk) {
        auto& c = *static_cast<Context*>(p);
        int64_t begin = chunk * c.each;
        (*c.body)(begin, begin + c.each < c.n ? begin + c.each : c.n);
      },
      &context);
}

}  // namespace taimatsu
