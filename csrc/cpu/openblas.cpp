#include "cpu/openblas.h"

#include <cstddef>
#include <thread>
#include <vector>

#include "cpu/threads.h"

namespace taimatsu {
namespace {

// Its jobs wait for each other, so each needs a thread of its own: where there is no pool to give
// one, plain threads are started.
void run_jobs(int, void (*job)(int, void*, int), int count, size_t job_bytes, void* jobs,
              int data) {
  auto run = [&](int i) { job(i, static_cast<char*>(jobs) + i * job_bytes, data); };
  if (!has_pool()) {
    std::vector<std::thread> others;
    for (int i = 1; i < count; ++i) others.emplace_back(run, i);
    run(0);
    for (auto& t : others) t.join();
    return;
  }
  parallel_chunks(count, [](void* f, int i) { (*static_cast<decltype(run)*>(f))(i); }, &run);
}

const LateFunction<void(int)> set_num_threads_{openblas, "scipy_openblas_set_num_threads"};
const LateFunction<void(decltype(&run_jobs))> set_threads_callback{
    openblas, "scipy_openblas_set_threads_callback_function"};

}  // namespace

Library openblas(
    TM_OPENBLAS,
    [] {
      set_num_threads_(1);  // until a BlasThreads asks for more
      set_threads_callback(run_jobs);
    },
    "OPENBLAS_NUM_THREADS");

BlasThreads::BlasThreads(double flops) {
  int n = flops < 1e7 ? 1 : num_threads();
  if (n == 1) return;
  mutex().lock();
  raised_ = true;
  set_num_threads_(n);
}

BlasThreads::~BlasThreads() {
  if (!raised_) return;
  set_num_threads_(1);
  mutex().unlock();
}

std::mutex& BlasThreads::mutex() {
  static ForkSafeMutex m;
  return m;
}

}  // namespace taimatsu
