// Factorisations of matrices that are smaller than LAPACK's calls are worth, with its conventions:
// columns of an m by n matrix lie m apart, factors replace it.
#pragma once

#include "cpu/lapack.h"

namespace taimatsu {
namespace small {

#pragma GCC push_options
#pragma GCC optimize("O3")  // loops in vectors

template <class T>
T dot(int n, const T* x, const T* y) {
  constexpr int kLanes = 8;
  T sums[kLanes] = {};
  int i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    for (int l = 0; l < kLanes; ++l) sums[l] += x[i + l] * y[i + l];
  }
  for (; i < n; ++i) sums[0] += x[i] * y[i];
  for (int half = kLanes / 2; half > 0; half /= 2) {
    for (int l = 0; l < half; ++l) sums[l] += sums[l + half];
  }
  return sums[0];
}

template <class T>
void axpy(int n, T factor, const T* x, T* y) {
  for (int i = 0; i < n; ++i) y[i] += factor * x[i];
}

// The length of a vector, whose squares may be too large or too small.
template <class T>
T norm(int n, const T* x) {
  using Limits = std::numeric_limits<T>;
  const T square = dot(n, x, x);
  if (square > Limits::min() / (Limits::epsilon() * Limits::epsilon()) && square < Limits::max()) {
    return std::sqrt(square);
  }
  T largest = 0, sum = 0;
  for (int i = 0; i < n; ++i) largest = std::max(largest, std::abs(x[i]));
  if (!(largest > 0)) return square;  // 0 or NaN
  for (int i = 0; i < n; ++i) sum += (x[i] / largest) * (x[i] / largest);
  return largest * std::sqrt(sum);
}

// The reflection 1 - tau v v^T that maps x to (beta, 0, ...): v replaces x but for its first
// element, a one, in whose place is beta. Gives tau.
template <class T>
T reflector(int n, T* x) {
  using Limits = std::numeric_limits<T>;
  const T length = norm(n - 1, x + 1);
  if (length == 0) return 0;
  const T beta = -std::copysign(std::hypot(x[0], length), x[0]);
  constexpr T kTiny = Limits::min() / Limits::epsilon();
  if (std::abs(beta) < kTiny) {  // too few digits are left
    for (int i = 0; i < n; ++i) x[i] /= kTiny;
    const T tau = reflector(n, x);
    x[0] *= kTiny;
    return tau;
  }
  const T tau = (beta - x[0]) / beta, divisor = x[0] - beta;
  for (int i = 1; i < n; ++i) x[i] /= divisor;
  x[0] = beta;
  return tau;
}

// y -= tau v (v . y), of v without its first element.
template <class T>
void reflect(int n, T tau, const T* v, T* y) {
  const T by = tau * (y[0] + dot(n - 1, v, y + 1));
  y[0] -= by;
  axpy(n - 1, -by, v, y + 1);
}

template <class T>
void geqrf(int m, int n, T* a, T* tau) {
  for (int k = 0; k < std::min(m, n); ++k) {
    T* column = a + k * m + k;
    tau[k] = reflector(m - k, column);
    for (int j = k + 1; j < n; ++j) reflect(m - k, tau[k], column + 1, a + j * m + k);
  }
}

// The first n columns of the product of k reflections.
template <class T>
void orgqr(int m, int n, int k, T* a, const T* tau) {
  for (int j = k; j < n; ++j) {
    std::fill_n(a + j * m, m, T(0));
    a[j * m + j] = T(1);
  }
  for (int i = k - 1; i >= 0; --i) {
    T* v = a + i * m + i;
    for (int j = i + 1; j < n; ++j) reflect(m - i, tau[i], v + 1, a + j * m + i);
    std::fill_n(a + i * m, i, T(0));
    v[0] = 1 - tau[i];
    for (int r = 1; r < m - i; ++r) v[r] *= -tau[i];
  }
}

template <class T>
int getrf(int m, int n, T* a, int* pivots) {
  auto size = [](const T& x) { return std::abs(std::real(x)) + std::abs(std::imag(x)); };
  int info = 0;
  for (int k = 0; k < std::min(m, n); ++k) {
    T* column = a + k * m;
    int pivot = k;
    for (int i = k + 1; i < m; ++i) {
      if (size(column[i]) > size(column[pivot])) pivot = i;
    }
    pivots[k] = pivot + 1;
    if (column[pivot] == T(0)) {
      if (info == 0) info = k + 1;
      continue;
    }
    if (pivot != k) {
      for (int j = 0; j < n; ++j) std::swap(a[j * m + k], a[j * m + pivot]);
    }
    const T divisor = column[k];
    for (int i = k + 1; i < m; ++i) column[i] /= divisor;
    for (int j = k + 1; j < n; ++j) {
      T* __restrict other = a + j * m;
      const T x = other[k];
      for (int i = k + 1; i < m; ++i) other[i] -= column[i] * x;
    }
  }
  return info;
}

// ---- Eigenvalues of a symmetric matrix ----------------------------------------------------------

// a = q t q^T, t tridiagonal: its diagonal d, and e beside it. `q` may be absent. Both triangles of
// `a` are read and lost.
template <class T>
void tridiagonalise(int n, T* a, T* d, T* e, T* q, T* work) {
  T *v = work, *w = work + n;
  if (q) {
    std::fill_n(q, n * n, T(0));
    for (int i = 0; i < n; ++i) q[i * n + i] = T(1);
  }
  for (int k = 0; k + 1 < n; ++k) {
    const int m = n - k - 1;  // what is left of the matrix begins at (k + 1, k + 1)
    T* rest = a + (k + 1) * n + k + 1;
    d[k] = a[k * n + k];
    std::copy_n(a + k * n + k + 1, m, v);
    const T tau = reflector(m, v);
    e[k] = v[0];
    if (tau == 0) continue;
    v[0] = 1;
    // rest -= v w^T + w v^T
    std::fill_n(w, m, T(0));
    for (int j = 0; j < m; ++j) axpy(m, tau * v[j], rest + j * n, w);
    axpy(m, -tau / 2 * dot(m, v, w), v, w);
    for (int j = 0; j < m; ++j) {
      T* __restrict column = rest + j * n;
      const T by_w = v[j], by_v = w[j];
      for (int i = 0; i < m; ++i) column[i] -= by_w * w[i] + by_v * v[i];
    }
    if (!q) continue;
    T* columns = q + (k + 1) * n;  // q times the reflection
    std::fill_n(w, n, T(0));
    for (int j = 0; j < m; ++j) axpy(n, tau * v[j], columns + j * n, w);
    for (int j = 0; j < m; ++j) axpy(n, -v[j], w, columns + j * n);
  }
  if (n) d[n - 1] = a[(n - 1) * n + n - 1];
}

// Turns neighbouring columns of q, from `last` down to `first`, by a cosine and a sine each.
template <class T>
void turn_columns(int n, int first, int last, const T* cosines, const T* sines, T* q) {
  constexpr int kRows = 64 / sizeof(T);
  int at = 0;
  for (; at + kRows <= n; at += kRows) {
    T right[kRows];
    std::copy_n(q + last * n + at, kRows, right);
    for (int i = last - 1; i >= first; --i) {
      const T c = cosines[i], s = sines[i];
      T *left = q + i * n + at, *to = left + n;
      for (int r = 0; r < kRows; ++r) {
        const T x = left[r], y = right[r];
        to[r] = s * x + c * y;
        right[r] = c * x - s * y;
      }
    }
    std::copy_n(right, kRows, q + first * n + at);
  }
  for (int i = last - 1; i >= first; --i) {
    const T c = cosines[i], s = sines[i];
    T *left = q + i * n, *right = left + n;
    for (int r = at; r < n; ++r) {
      const T x = left[r], y = right[r];
      right[r] = s * x + c * y;
      left[r] = c * x - s * y;
    }
  }
}

// Eigenvalues of a tridiagonal matrix by QL steps with implicit shifts; the columns of `q` turn
// with them. Gives 0, or how many did not converge.
template <class T>
int ql(int n, T* d, T* e, T* q, T* work) {
  T *cosines = work, *sines = work + n;
  const T epsilon = std::numeric_limits<T>::epsilon() / 2;
  e[n - 1] = 0;
  int steps = 0;
  for (int l = 0; l < n; ++l) {
    for (;;) {
      int m = l;
      while (m < n - 1 && std::abs(e[m]) > epsilon * (std::abs(d[m]) + std::abs(d[m + 1]))) ++m;
      if (m == l) break;
      if (++steps > 30 * n) return n - l;
      // Wilkinson's shift: the eigenvalue of the first 2 by 2 that is nearer to d[l].
      const T slope = (d[l + 1] - d[l]) / (2 * e[l]);
      const T shift = e[l] / (slope + std::copysign(std::hypot(slope, T(1)), slope));
      T g = d[m] - d[l] + shift, s = 1, c = 1, p = 0;
      int i = m - 1;
      for (; i >= l; --i) {
        const T f = s * e[i], b = c * e[i], r = std::sqrt(f * f + g * g);
        e[i + 1] = r;
        if (r == 0) {
          d[i + 1] -= p;
          e[m] = 0;
          break;
        }
        s = f / r, c = g / r;
        sines[i] = s, cosines[i] = c;
        g = d[i + 1] - p;
        const T t = (d[i] - g) * s + 2 * c * b;
        p = s * t;
        d[i + 1] = g + p;
        g = c * t - b;
      }
      if (q) turn_columns(n, i + 1, m, cosines, sines, q);
      if (i >= l) continue;
      d[l] -= p;
      e[l] = g;
      e[m] = 0;
    }
  }
  return 0;
}

// Eigenvalues in ascending order, and the vectors in place of `a` if `vectors`. What is in the
// other triangle than `upper` tells is not read.
template <class T>
int syevd(bool vectors, bool upper, int n, T* a, T* values, std::vector<T>& work) {
  work.resize(static_cast<size_t>(n) * n + 3 * n);
  T *whole = work.data(), *e = whole + n * n, *more = e + n;
  for (int j = 0; j < n; ++j) {
    for (int i = 0; i <= j; ++i) {
      whole[i * n + j] = whole[j * n + i] = upper ? a[j * n + i] : a[i * n + j];
    }
  }
  tridiagonalise(n, whole, values, e, vectors ? a : nullptr, more);
  const int info = ql(n, values, e, vectors ? a : nullptr, more);
  for (int j = 0; j + 1 < n; ++j) {
    const int least = static_cast<int>(std::min_element(values + j, values + n) - values);
    if (least == j) continue;
    std::swap(values[j], values[least]);
    if (vectors) std::swap_ranges(a + j * n, a + (j + 1) * n, a + least * n);
  }
  return info;
}

#pragma GCC pop_options

}  // namespace small
}  // namespace taimatsu
