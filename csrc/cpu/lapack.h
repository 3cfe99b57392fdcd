// LAPACK, as OpenBLAS exports it: one overload of each routine for each element type.
//
// Matrices are column-major without gaps. Each returns LAPACK's `info`: 0, or what went wrong.
// Workspaces are asked for and allocated inside.
#pragma once

#include <algorithm>
#include <complex>
#include <vector>

#include "cpu/openblas.h"

namespace taimatsu {

using complex64 = std::complex<float>;
using complex128 = std::complex<double>;

inline int workspace_size(double asked) { return std::max(1, static_cast<int>(asked)); }
inline int workspace_size(std::complex<double> asked) { return workspace_size(asked.real()); }

// clang-format off
#define TM_LAPACK(name, ...)                                                                      \
  inline const LateFunction<void(__VA_ARGS__)> scipy_##name##_ {                                  \
    openblas, "scipy_" #name "_"                                                                  \
  }

#define TM_ANY(p, T)                                                                              \
  TM_LAPACK(p##potrf, const char*, const int*, T*, const int*, int*);                             \
  TM_LAPACK(p##getrf, const int*, const int*, T*, const int*, int*, int*);                        \
  TM_LAPACK(p##getrs, const char*, const int*, const int*, const T*, const int*, const int*,      \
            T*, const int*, int*);                                                                \
  TM_LAPACK(p##trtrs, const char*, const char*, const char*, const int*, const int*, const T*,    \
            const int*, T*, const int*, int*);                                                    \
  TM_LAPACK(p##geqrf, const int*, const int*, T*, const int*, T*, T*, const int*, int*);          \
  /* a = l l^H or u^H u: one triangle is replaced */                                              \
  inline int potrf(char uplo, int n, T* a) {                                                      \
    int info;                                                                                     \
    scipy_##p##potrf_(&uplo, &n, a, &n, &info);                                                   \
    return info;                                                                                  \
  }                                                                                               \
  /* a = p l u */                                                                                 \
  inline int getrf(int m, int n, T* a, int* pivots) {                                             \
    int info;                                                                                     \
    scipy_##p##getrf_(&m, &n, a, &m, pivots, &info);                                              \
    return info;                                                                                  \
  }                                                                                               \
  /* a x = b, a^T x = b or a^H x = b (trans N, T, C) from the factors of a */                     \
  inline int getrs(char trans, int n, int k, const T* lu, const int* pivots, T* b) {              \
    int info;                                                                                     \
    scipy_##p##getrs_(&trans, &n, &k, lu, &n, pivots, b, &n, &info);                              \
    return info;                                                                                  \
  }                                                                                               \
  /* the same for a triangle of a */                                                              \
  inline int trtrs(char uplo, char trans, char diagonal, int n, int k, const T* a, T* b) {        \
    int info;                                                                                     \
    scipy_##p##trtrs_(&uplo, &trans, &diagonal, &n, &k, a, &n, b, &n, &info);                     \
    return info;                                                                                  \
  }                                                                                               \
  /* a = q r: r above the diagonal, q as reflections below and in tau */                          \
  inline int geqrf(int m, int n, T* a, T* tau) {                                                  \
    int info, query = -1;                                                                         \
    T size;                                                                                       \
    scipy_##p##geqrf_(&m, &n, a, &m, tau, &size, &query, &info);                                  \
    int lwork = workspace_size(size);                                                             \
    std::vector<T> work(lwork);                                                                   \
    scipy_##p##geqrf_(&m, &n, a, &m, tau, work.data(), &lwork, &info);                            \
    return info;                                                                                  \
  }
TM_ANY(s, float)
TM_ANY(d, double)
TM_ANY(c, complex64)
TM_ANY(z, complex128)
#undef TM_ANY

// The m by n matrix q from k reflections.
#define TM_REFLECT(name, T)                                                                       \
  TM_LAPACK(name, const int*, const int*, const int*, T*, const int*, const T*,                   \
            T*, const int*, int*);                                                                \
  inline int make_q(int m, int n, int k, T* a, const T* tau) {                                    \
    int info, query = -1;                                                                         \
    T size;                                                                                       \
    scipy_##name##_(&m, &n, &k, a, &m, tau, &size, &query, &info);                                \
    int lwork = workspace_size(size);                                                             \
    std::vector<T> work(lwork);                                                                   \
    scipy_##name##_(&m, &n, &k, a, &m, tau, work.data(), &lwork, &info);                          \
    return info;                                                                                  \
  }
TM_REFLECT(sorgqr, float)
TM_REFLECT(dorgqr, double)
TM_REFLECT(cungqr, complex64)
TM_REFLECT(zungqr, complex128)
#undef TM_REFLECT

#define TM_REAL(p, T)                                                                             \
  TM_LAPACK(p##gesdd, const char*, const int*, const int*, T*, const int*, T*, T*, const int*,    \
            T*, const int*, T*, const int*, int*, int*);                                          \
  TM_LAPACK(p##syevd, const char*, const char*, const int*, T*, const int*, T*, T*, const int*,   \
            int*, const int*, int*);                                                              \
  TM_LAPACK(p##geev, const char*, const char*, const int*, T*, const int*, T*, T*, T*,            \
            const int*, T*, const int*, T*, const int*, int*);                                    \
  /* a = u diag(s) vh. job: A (all of u and vh), S (as many as s), N (s only) */                  \
  inline int gesdd(char job, int m, int n, T* a, T* s, T* u, T* vh, int ldvh) {                   \
    int info, query = -1;                                                                         \
    T size;                                                                                       \
    std::vector<int> iwork(8 * std::min(m, n));                                                   \
    scipy_##p##gesdd_(&job, &m, &n, a, &m, s, u, &m, vh, &ldvh, &size, &query, iwork.data(),      \
                      &info);                                                                     \
    int lwork = workspace_size(size);                                                             \
    std::vector<T> work(lwork);                                                                   \
    scipy_##p##gesdd_(&job, &m, &n, a, &m, s, u, &m, vh, &ldvh, work.data(), &lwork, iwork.data(),\
                      &info);                                                                     \
    return info;                                                                                  \
  }                                                                                               \
  /* eigenvalues of a symmetric matrix, which becomes the vectors (job V; N: none) */             \
  inline int syevd(char job, char uplo, int n, T* a, T* w) {                                      \
    int info, query = -1, isize;                                                                  \
    T size;                                                                                       \
    scipy_##p##syevd_(&job, &uplo, &n, a, &n, w, &size, &query, &isize, &query, &info);           \
    int lwork = workspace_size(size);                                                             \
    std::vector<T> work(lwork);                                                                   \
    std::vector<int> iwork(isize);                                                                \
    scipy_##p##syevd_(&job, &uplo, &n, a, &n, w, work.data(), &lwork, iwork.data(), &isize,       \
                      &info);                                                                     \
    return info;                                                                                  \
  }                                                                                               \
  /* eigenvalues and right vectors of any matrix */                                               \
  inline int geev(int n, T* a, std::complex<T>* w, std::complex<T>* v) {                          \
    int info, query = -1, one = 1;                                                                \
    char none = 'N', vectors = 'V';                                                               \
    T size;                                                                                       \
    std::vector<T> re(n), im(n), packed(static_cast<size_t>(n) * n);                              \
    scipy_##p##geev_(&none, &vectors, &n, a, &n, re.data(), im.data(), nullptr, &one,             \
                     packed.data(), &n, &size, &query, &info);                                    \
    int lwork = workspace_size(size);                                                             \
    std::vector<T> work(lwork);                                                                   \
    scipy_##p##geev_(&none, &vectors, &n, a, &n, re.data(), im.data(), nullptr, &one,             \
                     packed.data(), &n, work.data(), &lwork, &info);                              \
    for (int j = 0; j < n; ++j) { /* columns j, j + 1 hold both parts of a conjugate pair */      \
      w[j] = {re[j], im[j]};                                                                      \
      const int first = im[j] < 0 ? j - 1 : j;                                                    \
      const T sign = im[j] < 0 ? T(-1) : T(1);                                                    \
      for (int i = 0; i < n; ++i) {                                                               \
        const T* x = packed.data() + static_cast<size_t>(first) * n + i;                          \
        v[static_cast<size_t>(j) * n + i] = {*x, im[j] == 0 ? T(0) : sign * x[n]};                \
      }                                                                                           \
    }                                                                                             \
    return info;                                                                                  \
  }
TM_REAL(s, float)
TM_REAL(d, double)
#undef TM_REAL

#define TM_COMPLEX(p, T)                                                                          \
  TM_LAPACK(p##gesdd, const char*, const int*, const int*, T*, const int*, T::value_type*, T*,    \
            const int*, T*, const int*, T*, const int*, T::value_type*, int*, int*);              \
  TM_LAPACK(p##heevd, const char*, const char*, const int*, T*, const int*, T::value_type*,       \
            T*, const int*, T::value_type*, const int*, int*, const int*, int*);                  \
  TM_LAPACK(p##geev, const char*, const char*, const int*, T*, const int*, T*, T*, const int*,    \
            T*, const int*, T*, const int*, T::value_type*, int*);                                \
  inline int gesdd(char job, int m, int n, T* a, T::value_type* s, T* u, T* vh, int ldvh) {       \
    int info, query = -1;                                                                         \
    const size_t least = std::min(m, n), most = std::max(m, n);                                   \
    T size;                                                                                       \
    std::vector<int> iwork(8 * least);                                                            \
    std::vector<T::value_type> rwork(                                                             \
        least * std::max<size_t>(5 * least + 7, 2 * most + 2 * least + 1) + 1);                   \
    scipy_##p##gesdd_(&job, &m, &n, a, &m, s, u, &m, vh, &ldvh, &size, &query, rwork.data(),      \
                      iwork.data(), &info);                                                       \
    int lwork = workspace_size(size);                                                             \
    std::vector<T> work(lwork);                                                                   \
    scipy_##p##gesdd_(&job, &m, &n, a, &m, s, u, &m, vh, &ldvh, work.data(), &lwork,              \
                      rwork.data(), iwork.data(), &info);                                         \
    return info;                                                                                  \
  }                                                                                               \
  inline int syevd(char job, char uplo, int n, T* a, T::value_type* w) {                          \
    int info, query = -1, isize;                                                                  \
    T size;                                                                                       \
    T::value_type rsize;                                                                          \
    scipy_##p##heevd_(&job, &uplo, &n, a, &n, w, &size, &query, &rsize, &query, &isize, &query,   \
                      &info);                                                                     \
    int lwork = workspace_size(size), lrwork = workspace_size(rsize);                             \
    std::vector<T> work(lwork);                                                                   \
    std::vector<T::value_type> rwork(lrwork);                                                     \
    std::vector<int> iwork(isize);                                                                \
    scipy_##p##heevd_(&job, &uplo, &n, a, &n, w, work.data(), &lwork, rwork.data(), &lrwork,      \
                      iwork.data(), &isize, &info);                                               \
    return info;                                                                                  \
  }                                                                                               \
  inline int geev(int n, T* a, T* w, T* v) {                                                      \
    int info, query = -1, one = 1;                                                                \
    char none = 'N', vectors = 'V';                                                               \
    T size;                                                                                       \
    std::vector<T::value_type> rwork(2 * n);                                                      \
    scipy_##p##geev_(&none, &vectors, &n, a, &n, w, nullptr, &one, v, &n, &size, &query,          \
                     rwork.data(), &info);                                                        \
    int lwork = workspace_size(size);                                                             \
    std::vector<T> work(lwork);                                                                   \
    scipy_##p##geev_(&none, &vectors, &n, a, &n, w, nullptr, &one, v, &n, work.data(), &lwork,    \
                     rwork.data(), &info);                                                        \
    return info;                                                                                  \
  }
TM_COMPLEX(c, complex64)
TM_COMPLEX(z, complex128)
#undef TM_COMPLEX
#undef TM_LAPACK
// clang-format on

}  // namespace taimatsu
