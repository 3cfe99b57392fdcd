// Factorisations of matrices that are smaller than LAPACK's calls are worth, with its conventions:
// columns of an m by n matrix lie m apart, factors replace it.
#pragma once

#include "cpu/lapack.h"

namespace taimatsu {

template <class T>
struct SmallRoutines {
  int (*getrf)(int m, int n, T* a, int* pivots);
  // The factors' columns lie `height` apart.
  void (*getrs)(char trans, int n, int k, const T* lu, int height, const int* pivots, T* b);
  // Of real matrices only.
  int (*potrf)(int n, T* a);  // the upper triangle
  void (*geqrf)(int m, int n, T* a, T* tau);
  void (*orgqr)(int m, int n, int k, T* a, const T* tau);
  // Works in n * n + 3 * n numbers. The squares of elements must be neither too large nor too
  // small.
  int (*syevd)(bool vectors, bool upper, int n, T* a, T* values, T* work);
  // The same of their squares. a = u diag(values) v^T, m >= n, u of so many columns, v of n; null
  // without vectors. `a` is lost; works in n * n + 7 * n + m numbers. 1 if it didn't converge.
  int (*gesvd)(int m, int n, int columns, T* a, T* values, T* u, T* v, T* work);
};

template <class T>
const SmallRoutines<T>& small();  // the best of this machine

namespace small_baseline {
template <class T>
const SmallRoutines<T>& small();
}
namespace small_avx2 {
template <class T>
const SmallRoutines<T>& small();
}

template <class T>
const SmallRoutines<T>& small() {
#if defined(__x86_64__)
  static const bool wide = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  if (wide) return small_avx2::small<T>();
#endif
  return small_baseline::small<T>();
}

}  // namespace taimatsu
