// One OpenMP runtime runs generated kernels, our own routines, OpenBLAS and oneDNN.
//
// Waiting: libgomp's default is kept (spin for some milliseconds, then sleep), which makes a
// region that follows another one cost about a microsecond. OMP_WAIT_POLICY=PASSIVE is the user's
// switch for machines that are shared with other programs.
#include "cpu/threads.h"

#include <omp.h>
#include <pthread.h>

#include <algorithm>
#include <atomic>
#include <exception>
#include <vector>

#include "base.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace taimatsu {
namespace {

constexpr int kMost = 4096;  // who asks for more has made a slip

std::atomic<int> wanted{0};          // 0: not yet decided
std::atomic<bool> pool_used{false};  // this process has started threads
bool forked_from_pool = false;       // this is a child of such a process: its pool is gone
thread_local bool in_region = false;
thread_local bool flushes = false;  // set_flush_denormal

int default_threads() {
  // OpenMP's own default respects OMP_NUM_THREADS and the process's CPU affinity.
  const int n = omp_get_max_threads();
  return std::max(1, std::min(n > kMost ? omp_get_num_procs() : n, omp_get_thread_limit()));
}

// The processor's own bits for it, of results and of operands.
void flush_denormals(bool on) {
  if (flushes == on) return;
#if defined(__x86_64__)
  constexpr unsigned kBits = 0x8040;
  _mm_setcsr(on ? _mm_getcsr() | kBits : _mm_getcsr() & ~kBits);
#elif defined(__aarch64__)
  constexpr uint64_t kBit = uint64_t{1} << 24;
  uint64_t control;
  asm volatile("mrs %0, fpcr" : "=r"(control));
  asm volatile("msr fpcr, %0" ::"r"(on ? control | kBit : control & ~kBit));
#else
  return;
#endif
  flushes = on;
}

// Locks that a fork waits for: a child would wait for ever for one that another thread held.
struct HeldOverFork {
  std::mutex lock;
  std::vector<std::mutex*> mutexes;
};
HeldOverFork& held_over_fork() {
  static auto* held = new HeldOverFork;  // never freed: used at exit
  return *held;
}

void before_fork() {
  HeldOverFork& held = held_over_fork();
  held.lock.lock();
  for (std::mutex* m : held.mutexes) m->lock();
}

void after_fork() {
  HeldOverFork& held = held_over_fork();
  for (std::mutex* m : held.mutexes) m->unlock();
  held.lock.unlock();
}

// A child has the pool's bookkeeping, but of its threads only the one that called fork: a parallel
// region would wait for the others for ever.
void after_fork_in_child() {
  after_fork();
  if (pool_used) forked_from_pool = true;
  in_region = false;
}

const bool initialised = [] {
  pthread_atfork(before_fork, after_fork, after_fork_in_child);
  return true;
}();

}  // namespace

ForkSafeMutex::ForkSafeMutex() {
  HeldOverFork& held = held_over_fork();
  std::lock_guard<std::mutex> lock(held.lock);
  held.mutexes.push_back(this);
}

ForkSafeMutex::~ForkSafeMutex() {
  HeldOverFork& held = held_over_fork();
  std::lock_guard<std::mutex> lock(held.lock);
  held.mutexes.erase(std::find(held.mutexes.begin(), held.mutexes.end(), this));
}

int num_threads() {
  if (in_region || forked_from_pool) return 1;
  int n = wanted.load(std::memory_order_relaxed);
  if (n == 0) wanted = n = default_threads();
  return n;
}

void set_num_threads(int n) {
  if (n < 1 || n > kMost) {
    fail(Error::Runtime, "set_num_threads expects a positive number of threads; got ", n);
  }
  wanted = std::min(n, omp_get_thread_limit());
}

bool set_flush_denormal(bool on) {
  flush_denormals(on);
  return flushes == on;
}

bool in_parallel_region() { return in_region; }
bool has_pool() { return !in_region && !forked_from_pool; }

void parallel_chunks(int chunks, void (*body)(void* context, int chunk), void* context) {
  if (chunks <= 1 || in_region || forked_from_pool) {
    for (int i = 0; i < chunks; ++i) body(context, i);
    return;
  }
  pool_used = true;
  omp_set_dynamic(0);         // a thread for every chunk: OpenBLAS's jobs wait for each other
  std::exception_ptr thrown;  // the first; nothing may leave the region by itself
  // Always the whole team, whose members without a chunk wait: libgomp ends the threads that a
  // region doesn't need, and the next larger one has to start them again.
  const int team = std::max(chunks, num_threads());
  const bool flush = flushes;
#pragma omp parallel num_threads(team)
  {
    in_region = true;
    flush_denormals(flush);
    try {
      for (int i = omp_get_thread_num(); i < chunks; i += omp_get_num_threads()) body(context, i);
    } catch (...) {
#pragma omp critical(taimatsu_thrown)
      if (!thrown) thrown = std::current_exception();
    }
    in_region = false;
  }
  if (thrown) std::rethrow_exception(thrown);
}

}  // namespace taimatsu
