// OpenBLAS, of which LAPACK is used: products are ours (cpu/gemm.h), so that one routine serves
// every dtype and layout, and does not depend on the number of threads.
#pragma once

#include "cpu/library.h"

namespace taimatsu {

extern Library openblas;

// While it lives OpenBLAS runs on num_threads() threads of the pool, if the work is worth it; it
// has one thread at all other times. The setting is global, so only one thread can hold it.
class BlasThreads {
 public:
  explicit BlasThreads(double flops);
  ~BlasThreads();
  BlasThreads(const BlasThreads&) = delete;

 private:
  static std::mutex& mutex();
  bool raised_ = false;
};

}  // namespace taimatsu
