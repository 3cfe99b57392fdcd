// LAPACK, as OpenBLAS exports it: its routines for each element type, and a template for each.
//
// Matrices are column-major; those without a leading dimension among the arguments have no gaps.
// Each template returns LAPACK's `info`: 0, or what went wrong.
#pragma once

#include <algorithm>
#include <cmath>
#include <complex>
#include <limits>
#include <type_traits>
#include <vector>

#include "cpu/openblas.h"

namespace taimatsu {

using complex64 = std::complex<float>;
using complex128 = std::complex<double>;

template <class T>
using RealOf = decltype(std::real(T()));
template <class T>
constexpr bool kComplex = !std::is_same_v<T, RealOf<T>>;

// The routines for one element type, by the names of the real ones without the type's letter.
template <class T>
struct Lapack;

using Letter = const char*;
using Count = const int*;

// clang-format off
#define TM_ROUTINE(name, symbol, ...)                                                             \
  static inline const LateFunction<void(__VA_ARGS__)> name { openblas, "scipy_" #symbol "_" }

// What has the same arguments for real and complex elements.
#define TM_ANY(p, o, s)                                                                           \
  TM_ROUTINE(potrf, p##potrf, Letter, Count, T*, Count, int*);                                    \
  TM_ROUTINE(getrf, p##getrf, Count, Count, T*, Count, int*, int*);                               \
  TM_ROUTINE(getrs, p##getrs, Letter, Count, Count, const T*, Count, Count, T*, Count, int*);     \
  TM_ROUTINE(trtrs, p##trtrs, Letter, Letter, Letter, Count, Count, const T*, Count, T*, Count,   \
             int*);                                                                               \
  TM_ROUTINE(trmv, p##trmv, Letter, Letter, Letter, Count, const T*, Count, T*, Count);           \
  TM_ROUTINE(geqrf, p##geqrf, Count, Count, T*, Count, T*, T*, Count, int*);                      \
  TM_ROUTINE(orgqr, p##o##gqr, Count, Count, Count, T*, Count, const T*, T*, Count, int*);        \
  TM_ROUTINE(ormqr, p##o##mqr, Letter, Letter, Count, Count, Count, const T*, Count, const T*,    \
             T*, Count, T*, Count, int*);                                                         \
  TM_ROUTINE(sytrf, p##sytrf, Letter, Count, T*, Count, int*, T*, Count, int*);                   \
  TM_ROUTINE(sytrs, p##sytrs, Letter, Count, Count, const T*, Count, Count, T*, Count, int*);     \
  TM_ROUTINE(hetrf, p##s##trf, Letter, Count, T*, Count, int*, T*, Count, int*);                  \
  TM_ROUTINE(hetrs, p##s##trs, Letter, Count, Count, const T*, Count, Count, T*, Count, int*);    \
  TM_ROUTINE(gels, p##gels, Letter, Count, Count, Count, T*, Count, T*, Count, T*, Count, int*)

#define TM_REAL(p, type)                                                                          \
  template <>                                                                                     \
  struct Lapack<type> {                                                                           \
    using T = type;                                                                               \
    TM_ANY(p, or, sy);                                                                            \
    TM_ROUTINE(gesdd, p##gesdd, Letter, Count, Count, T*, Count, T*, T*, Count, T*, Count, T*,    \
               Count, int*, int*);                                                                \
    TM_ROUTINE(syevd, p##syevd, Letter, Letter, Count, T*, Count, T*, T*, Count, int*, Count,     \
               int*);                                                                             \
    TM_ROUTINE(geev, p##geev, Letter, Letter, Count, T*, Count, T*, T*, T*, Count, T*, Count,     \
               T*, Count, int*);                                                                  \
    TM_ROUTINE(gelsy, p##gelsy, Count, Count, Count, T*, Count, T*, Count, int*, const T*, int*,  \
               T*, Count, int*);                                                                  \
    TM_ROUTINE(gelsd, p##gelsd, Count, Count, Count, T*, Count, T*, Count, T*, const T*, int*,    \
               T*, Count, int*, int*);                                                            \
    TM_ROUTINE(gelss, p##gelss, Count, Count, Count, T*, Count, T*, Count, T*, const T*, int*,    \
               T*, Count, int*);                                                                  \
  }
TM_REAL(s, float);
TM_REAL(d, double);
#undef TM_REAL

#define TM_COMPLEX(p, type)                                                                       \
  template <>                                                                                     \
  struct Lapack<type> {                                                                           \
    using T = type;                                                                               \
    using R = type::value_type;                                                                   \
    TM_ANY(p, un, he);                                                                            \
    TM_ROUTINE(gesdd, p##gesdd, Letter, Count, Count, T*, Count, R*, T*, Count, T*, Count, T*,    \
               Count, R*, int*, int*);                                                            \
    TM_ROUTINE(syevd, p##heevd, Letter, Letter, Count, T*, Count, R*, T*, Count, R*, Count, int*, \
               Count, int*);                                                                      \
    TM_ROUTINE(geev, p##geev, Letter, Letter, Count, T*, Count, T*, T*, Count, T*, Count, T*,     \
               Count, R*, int*);                                                                  \
    TM_ROUTINE(gelsy, p##gelsy, Count, Count, Count, T*, Count, T*, Count, int*, const R*, int*,  \
               T*, Count, R*, int*);                                                              \
    TM_ROUTINE(gelsd, p##gelsd, Count, Count, Count, T*, Count, T*, Count, R*, const R*, int*,    \
               T*, Count, R*, int*, int*);                                                        \
    TM_ROUTINE(gelss, p##gelss, Count, Count, Count, T*, Count, T*, Count, R*, const R*, int*,    \
               T*, Count, R*, int*);                                                              \
  }
TM_COMPLEX(c, complex64);
TM_COMPLEX(z, complex128);
#undef TM_COMPLEX
#undef TM_ANY
#undef TM_ROUTINE
// clang-format on

// The memory that a routine works in: asked for at the first call, and kept for further matrices
// of the same sizes.
template <class T>
struct Workspace {
  std::vector<T> work;
  std::vector<RealOf<T>> real;
  std::vector<int> integers;

  // Calls routine(work, lwork, info).
  template <class F>
  int run(const F& routine) {
    int info = 0;
    if (work.empty()) {
      const int query = -1;
      T size;
      routine(&size, &query, &info);
      work.resize(count(std::real(size)));
    }
    const int lwork = static_cast<int>(work.size());
    routine(work.data(), &lwork, &info);
    return info;
  }
  // A size that came as a floating number, which may have been rounded down.
  static int count(RealOf<T> size) {
    const auto up = size * (1 + std::numeric_limits<RealOf<T>>::epsilon());
    return std::max(1, static_cast<int>(std::ceil(up)));
  }
  void reserve(size_t reals, size_t ints) {
    if (real.size() < reals) real.resize(reals);
    if (integers.size() < ints) integers.resize(ints);
  }
};

// a = l l^H or u^H u: one triangle is replaced
template <class T>
int potrf(char uplo, int n, T* a) {
  int info;
  Lapack<T>::potrf(&uplo, &n, a, &n, &info);
  return info;
}

// a = p l u
template <class T>
int getrf(int m, int n, T* a, int* pivots) {
  int info;
  Lapack<T>::getrf(&m, &n, a, &m, pivots, &info);
  return info;
}

// a x = b, a^T x = b or a^H x = b (trans N, T, C) from the factors of a
template <class T>
int getrs(char trans, int n, int k, const T* lu, int lda, const int* pivots, T* b) {
  int info;
  Lapack<T>::getrs(&trans, &n, &k, lu, &lda, pivots, b, &n, &info);
  return info;
}

// the same for a triangle of a; the result is the first zero on the diagonal, counted from 1
template <class T>
int trtrs(char uplo, char trans, char diagonal, int n, int k, const T* a, int lda, T* b) {
  int info;
  Lapack<T>::trtrs(&uplo, &trans, &diagonal, &n, &k, a, &lda, b, &n, &info);
  return info;
}

// x becomes a x, a triangular
template <class T>
void trmv(char uplo, char trans, int n, const T* a, int lda, T* x) {
  const char general = 'N';
  const int one = 1;
  Lapack<T>::trmv(&uplo, &trans, &general, &n, a, &lda, x, &one);
}

// a = q r: r above the diagonal, q as reflections below and in tau
template <class T>
int geqrf(int m, int n, T* a, T* tau, Workspace<T>& w) {
  return w.run([&](T* work, Count lwork, int* info) {
    Lapack<T>::geqrf(&m, &n, a, &m, tau, work, lwork, info);
  });
}

// the first n columns of q, which is m by m, from k reflections
template <class T>
int orgqr(int m, int n, int k, T* a, const T* tau, Workspace<T>& w) {
  return w.run([&](T* work, Count lwork, int* info) {
    Lapack<T>::orgqr(&m, &n, &k, a, &m, tau, work, lwork, info);
  });
}

// c becomes q c, or c q (side R), with q or q^H (trans C), from k reflections
template <class T>
int ormqr(char side, char trans, int m, int n, int k, const T* a, int lda, const T* tau, T* c,
          Workspace<T>& w) {
  if (!kComplex<T> && trans == 'C') trans = 'T';
  return w.run([&](T* work, Count lwork, int* info) {
    Lapack<T>::ormqr(&side, &trans, &m, &n, &k, a, &lda, tau, c, &m, work, lwork, info);
  });
}

// a = l d l^T or l d l^H (hermitian), d of blocks of one and two
template <class T>
int ldl(bool hermitian, int n, T* a, int* pivots, Workspace<T>& w) {
  const char lower = 'L';
  const auto& routine = hermitian ? Lapack<T>::hetrf : Lapack<T>::sytrf;
  return w.run([&](T* work, Count lwork, int* info) {
    routine(&lower, &n, a, &n, pivots, work, lwork, info);
  });
}
template <class T>
int ldl_solve(bool hermitian, int n, int k, const T* a, int lda, const int* pivots, T* b) {
  const char lower = 'L';
  int info;
  const auto& routine = hermitian ? Lapack<T>::hetrs : Lapack<T>::sytrs;
  routine(&lower, &n, &k, a, &lda, pivots, b, &n, &info);
  return info;
}

// a = u diag(s) vh. job: A (all of u and vh), S (as many as s), N (s only)
template <class T>
int gesdd(char job, int m, int n, T* a, RealOf<T>* s, T* u, T* vh, int ldvh, Workspace<T>& w) {
  const size_t least = std::min(m, n), most = std::max(m, n);
  const size_t reals = least * std::max<size_t>(5 * least + 7, 2 * most + 2 * least + 1) + 1;
  w.reserve(kComplex<T> ? reals : 0, 8 * least);
  return w.run([&](T* work, Count lwork, int* info) {
    if constexpr (kComplex<T>) {
      Lapack<T>::gesdd(&job, &m, &n, a, &m, s, u, &m, vh, &ldvh, work, lwork, w.real.data(),
                       w.integers.data(), info);
    } else {
      Lapack<T>::gesdd(&job, &m, &n, a, &m, s, u, &m, vh, &ldvh, work, lwork, w.integers.data(),
                       info);
    }
  });
}

// eigenvalues of a Hermitian matrix, which becomes the vectors (job V; N: none)
template <class T>
int syevd(char job, char uplo, int n, T* a, RealOf<T>* values, Workspace<T>& w) {
  const size_t square = job == 'V' ? static_cast<size_t>(n) * n : 0;
  w.reserve(kComplex<T> ? 1 + 5 * n + 2 * square : 0, job == 'V' ? 3 + 5 * n : 1);
  const int reals = static_cast<int>(w.real.size()), integers = static_cast<int>(w.integers.size());
  return w.run([&](T* work, Count lwork, int* info) {
    if constexpr (kComplex<T>) {
      Lapack<T>::syevd(&job, &uplo, &n, a, &n, values, work, lwork, w.real.data(), &reals,
                       w.integers.data(), &integers, info);
    } else {
      Lapack<T>::syevd(&job, &uplo, &n, a, &n, values, work, lwork, w.integers.data(), &integers,
                       info);
    }
  });
}

// eigenvalues and right vectors (none if null) of any matrix
template <class T>
int geev(int n, T* a, std::complex<RealOf<T>>* values, std::complex<RealOf<T>>* vectors,
         Workspace<T>& w) {
  const int one = 1;
  const char none = 'N', job = vectors ? 'V' : 'N';
  if constexpr (kComplex<T>) {
    w.reserve(2 * static_cast<size_t>(n), 0);
    return w.run([&](T* work, Count lwork, int* info) {
      Lapack<T>::geev(&none, &job, &n, a, &n, values, nullptr, &one, vectors, &n, work, lwork,
                      w.real.data(), info);
    });
  } else {
    const size_t square = vectors ? static_cast<size_t>(n) * n : 0;
    w.reserve(2 * n + square, 0);
    T *re = w.real.data(), *im = re + n, *packed = im + n;
    const int info = w.run([&](T* work, Count lwork, int* code) {
      Lapack<T>::geev(&none, &job, &n, a, &n, re, im, nullptr, &one, packed, &n, work, lwork, code);
    });
    for (int j = 0; j < n; ++j) {
      values[j] = {re[j], im[j]};
      if (!vectors) continue;
      // Columns j, j + 1 hold both parts of a conjugate pair.
      const T* x = packed + static_cast<size_t>(im[j] < 0 ? j - 1 : j) * n;
      const T sign = im[j] < 0 ? T(-1) : T(1);
      for (int i = 0; i < n; ++i) {
        vectors[static_cast<size_t>(j) * n + i] = {x[i], im[j] == 0 ? T(0) : sign * x[n + i]};
      }
    }
    return info;
  }
}

// The x of least squares |a x - b|, in place of b, of which columns are max(m, n) long. Singular
// values up to rcond times the largest are zero; `s`: those values, where the routine has them.
enum class LeastSquares { gels, gelsy, gelsd, gelss };
template <class T>
int least_squares(LeastSquares driver, int m, int n, int k, T* a, T* b, RealOf<T> rcond, int* rank,
                  RealOf<T>* s, Workspace<T>& w) {
  const int ldb = std::max(m, n);
  const char trans = 'N';
  const size_t least = std::min(m, n), most = ldb;
  if (driver == LeastSquares::gels) {
    return w.run([&](T* work, Count lwork, int* info) {
      Lapack<T>::gels(&trans, &m, &n, &k, a, &m, b, &ldb, work, lwork, info);
    });
  }
  if (driver == LeastSquares::gelsd) {  // whose bounds depend on its tree of subproblems
    const size_t levels = 1 + static_cast<size_t>(std::log2(static_cast<double>(least) + 1));
    const size_t reals = 10 * most + 2 * least * 25 + 8 * least * levels + 3 * 25 * k + 676 +
                         std::max<size_t>(676, least * (1 + k) + 2 * k);
    w.reserve(kComplex<T> ? reals + 8 * least * k : 0, (3 * levels + 11) * least + 1);
    return w.run([&](T* work, Count lwork, int* info) {
      if constexpr (kComplex<T>) {
        Lapack<T>::gelsd(&m, &n, &k, a, &m, b, &ldb, s, &rcond, rank, work, lwork, w.real.data(),
                         w.integers.data(), info);
      } else {
        Lapack<T>::gelsd(&m, &n, &k, a, &m, b, &ldb, s, &rcond, rank, work, lwork,
                         w.integers.data(), info);
      }
    });
  }
  w.reserve(kComplex<T> ? 5 * most : 0, n);
  std::fill_n(w.integers.begin(), n, 0);  // gelsy: all columns may be exchanged
  return w.run([&](T* work, Count lwork, int* info) {
    if constexpr (kComplex<T>) {
      if (driver == LeastSquares::gelsy) {
        Lapack<T>::gelsy(&m, &n, &k, a, &m, b, &ldb, w.integers.data(), &rcond, rank, work, lwork,
                         w.real.data(), info);
      } else {
        Lapack<T>::gelss(&m, &n, &k, a, &m, b, &ldb, s, &rcond, rank, work, lwork, w.real.data(),
                         info);
      }
    } else if (driver == LeastSquares::gelsy) {
      Lapack<T>::gelsy(&m, &n, &k, a, &m, b, &ldb, w.integers.data(), &rcond, rank, work, lwork,
                       info);
    } else {
      Lapack<T>::gelss(&m, &n, &k, a, &m, b, &ldb, s, &rcond, rank, work, lwork, info);
    }
  });
}

}  // namespace taimatsu
