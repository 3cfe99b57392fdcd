/* Factorisations by the textbook, in complex double precision; matrices are by columns. */
#pragma once

#include "numbers.h"

typedef struct {
  number* x;
  int64_t m, n;
} Dense;
#define AT(a, i, j) (a).x[(i) + (j) * (a).m]

static Dense dense(int64_t m, int64_t n) {
  return (Dense){calloc(m * n + 1, sizeof(number)), m, n};
}
static Dense read_matrix(const void* data, int type, int64_t m, int64_t n, int64_t leading) {
  Dense a = dense(m, n);
  for (int64_t j = 0; j < n; ++j) {
    for (int64_t i = 0; i < m; ++i) AT(a, i, j) = get(data, type, i + j * leading);
  }
  return a;
}
static void write_matrix(Dense a, void* data, int type, int64_t leading) {
  for (int64_t j = 0; j < a.n; ++j) {
    for (int64_t i = 0; i < a.m; ++i) put(data, type, i + j * leading, AT(a, i, j));
  }
  free(a.x);
}

static int factor_cholesky(Dense a, int lower) { /* in place */
  for (int64_t j = 0; j < a.n; ++j) {
    for (int64_t i = j; i < a.n; ++i) {
      number *here = lower ? &AT(a, i, j) : &AT(a, j, i), sum = lower ? *here : conj(*here);
      for (int64_t k = 0; k < j; ++k) {
        number l = lower ? AT(a, i, k) : conj(AT(a, k, i));
        number r = lower ? AT(a, j, k) : conj(AT(a, k, j));
        sum -= l * conj(r);
      }
      if (i == j) {
        if (!(creal(sum) > 0)) return (int)j + 1;
        *here = sqrt(creal(sum));
      } else {
        number value = sum / AT(a, j, j);
        *here = lower ? value : conj(value);
      }
    }
  }
  return 0;
}

static double magnitude(number x) { return fabs(creal(x)) + fabs(cimag(x)); }
static int factor_lu(Dense a, int64_t* pivots) {
  int info = 0;
  for (int64_t j = 0; j < a.m && j < a.n; ++j) {
    int64_t p = j;
    for (int64_t i = j; i < a.m; ++i) {
      if (magnitude(AT(a, i, j)) > magnitude(AT(a, p, j))) p = i;
    }
    pivots[j] = p + 1;
    if (AT(a, p, j) == 0) {
      if (!info) info = (int)j + 1;
      continue;
    }
    for (int64_t k = 0; k < a.n; ++k) {
      number t = AT(a, j, k);
      AT(a, j, k) = AT(a, p, k);
      AT(a, p, k) = t;
    }
    for (int64_t i = j + 1; i < a.m; ++i) {
      AT(a, i, j) /= AT(a, j, j);
      for (int64_t k = j + 1; k < a.n; ++k) AT(a, i, k) -= AT(a, i, j) * AT(a, j, k);
    }
  }
  return info;
}
static void exchange(Dense b, int64_t i, int64_t j) {
  for (int64_t k = 0; k < b.n; ++k) {
    number t = AT(b, i, k);
    AT(b, i, k) = AT(b, j, k);
    AT(b, j, k) = t;
  }
}
static void solve_lu(Dense a, const int64_t* pivots, Dense b, int operation) {
  const int64_t n = a.n;
  if (!operation) {
    for (int64_t i = 0; i < n; ++i) exchange(b, i, pivots[i] - 1);
  }
  for (int64_t c = 0; c < b.n; ++c) {
    for (int half = 0; half < 2; ++half) { /* L then U, or U^T then L^T */
      const int forward = half == 0, unit = operation ? half == 1 : half == 0;
      for (int64_t s = 0; s < n; ++s) {
        const int64_t i = forward ? s : n - 1 - s;
        number sum = AT(b, i, c);
        for (int64_t k = forward ? 0 : i + 1; k < (forward ? i : n); ++k) {
          number f = operation ? AT(a, k, i) : AT(a, i, k);
          sum -= (operation == 2 ? conj(f) : f) * AT(b, k, c);
        }
        number d = operation == 2 ? conj(AT(a, i, i)) : AT(a, i, i);
        AT(b, i, c) = unit ? sum : sum / d;
      }
    }
  }
  if (operation) {
    for (int64_t i = n - 1; i >= 0; --i) exchange(b, i, pivots[i] - 1);
  }
}

static void swap(number* x, number* y) {
  const number t = *x;
  *x = *y;
  *y = t;
}
/* L D L^T of the lower triangle, D of blocks of one and two (Bunch and Kaufman). */
static int factor_ldl(Dense a, int* pivots) {
  const int64_t n = a.n;
  const double alpha = (1 + sqrt(17)) / 8;
  int info = 0;
  for (int64_t k = 0, step; k < n; k += step) {
    int64_t most = k, p = k;
    double column = 0, row = 0;
    for (int64_t i = k + 1; i < n; ++i) {
      if (magnitude(AT(a, i, k)) > column) column = magnitude(AT(a, most = i, k));
    }
    const double here = magnitude(AT(a, k, k));
    step = 1;
    if (here < alpha * column) {
      for (int64_t j = k; j < n; ++j) {
        if (j != most) row = fmax(row, magnitude(j < most ? AT(a, most, j) : AT(a, j, most)));
      }
      if (here < alpha * column * (column / row)) {
        p = most;
        if (magnitude(AT(a, most, most)) < alpha * row) step = 2;
      }
    }
    const int64_t at = k + step - 1;
    if (p != at) {
      for (int64_t i = p + 1; i < n; ++i) swap(&AT(a, i, at), &AT(a, i, p));
      for (int64_t j = at + 1; j < p; ++j) swap(&AT(a, j, at), &AT(a, p, j));
      swap(&AT(a, at, at), &AT(a, p, p));
      if (step == 2) swap(&AT(a, at, k), &AT(a, p, k));
    }
    for (int64_t i = k; i <= at; ++i) pivots[i] = (int)(step == 2 ? -p - 1 : p + 1);
    if (step == 1 && AT(a, k, k) == 0) {
      if (!info) info = (int)k + 1;
      continue;
    }
    const number d = AT(a, k, k), e = step == 2 ? AT(a, at, k) : 0, f = AT(a, at, at),
                 det = step == 2 ? d * f - e * e : d;
    for (int64_t j = at + 1; j < n; ++j) { /* of row j: L */
      const number x = AT(a, j, k), y = step == 2 ? AT(a, j, at) : 0;
      const number u = step == 2 ? (x * f - y * e) / det : x / det, v = (y * d - x * e) / det;
      for (int64_t i = j; i < n; ++i) {
        AT(a, i, j) -= AT(a, i, k) * u + (step == 2 ? AT(a, i, at) * v : 0);
      }
      AT(a, j, k) = u;
      if (step == 2) AT(a, j, at) = v;
    }
  }
  return info;
}
static void solve_ldl(Dense a, const int64_t* pivots, Dense b) {
  const int64_t n = a.n;
  for (int64_t k = 0, step; k < n; k += step) {
    step = pivots[k] > 0 ? 1 : 2;
    const int64_t at = k + step - 1;
    exchange(b, at, (step == 1 ? pivots[k] : -pivots[k]) - 1);
    for (int64_t c = 0; c < b.n; ++c) {
      for (int64_t i = at + 1; i < n; ++i) {
        for (int64_t j = k; j <= at; ++j) AT(b, i, c) -= AT(a, i, j) * AT(b, j, c);
      }
      const number d = AT(a, k, k), e = AT(a, at, k), f = AT(a, at, at), x = AT(b, k, c),
                   y = AT(b, at, c);
      AT(b, k, c) = step == 1 ? x / d : (x * f - y * e) / (d * f - e * e);
      if (step == 2) AT(b, at, c) = (y * d - x * e) / (d * f - e * e);
    }
  }
  for (int64_t k = n - 1, step; k >= 0; k -= step) {
    step = pivots[k] > 0 ? 1 : 2;
    for (int64_t c = 0; c < b.n; ++c) {
      for (int64_t j = k - step + 1; j <= k; ++j) {
        for (int64_t i = k + 1; i < n; ++i) AT(b, j, c) -= AT(a, i, j) * AT(b, i, c);
      }
    }
    exchange(b, k, (step == 1 ? pivots[k] : -pivots[k]) - 1);
  }
}

static void factor_qr(Dense a, number* tau) { /* LAPACK's reflections */
  for (int64_t j = 0; j < a.m && j < a.n; ++j) {
    double rest = 0;
    for (int64_t i = j + 1; i < a.m; ++i) rest += pow(cabs(AT(a, i, j)), 2);
    const number alpha = AT(a, j, j);
    tau[j] = 0;
    if (rest == 0 && cimag(alpha) == 0) continue;
    double beta = sqrt(pow(cabs(alpha), 2) + rest);
    if (creal(alpha) > 0) beta = -beta;
    tau[j] = (beta - alpha) / beta;
    for (int64_t i = j + 1; i < a.m; ++i) AT(a, i, j) /= alpha - beta;
    AT(a, j, j) = beta;
    for (int64_t k = j + 1; k < a.n; ++k) { /* H^H on what is behind */
      number sum = AT(a, j, k);
      for (int64_t i = j + 1; i < a.m; ++i) sum += conj(AT(a, i, j)) * AT(a, i, k);
      sum *= conj(tau[j]);
      AT(a, j, k) -= sum;
      for (int64_t i = j + 1; i < a.m; ++i) AT(a, i, k) -= sum * AT(a, i, j);
    }
  }
}
/* c := Q c, or Q^H c, of k reflections in the columns of a. */
static void reflect(Dense a, const number* tau, int64_t k, Dense c, int adjoint) {
  for (int64_t s = 0; s < k; ++s) {
    const int64_t j = adjoint ? s : k - 1 - s;
    const number t = adjoint ? conj(tau[j]) : tau[j];
    for (int64_t l = 0; l < c.n; ++l) {
      number sum = AT(c, j, l);
      for (int64_t i = j + 1; i < c.m; ++i) sum += conj(AT(a, i, j)) * AT(c, i, l);
      sum *= t;
      AT(c, j, l) -= sum;
      for (int64_t i = j + 1; i < c.m; ++i) AT(c, i, l) -= sum * AT(a, i, j);
    }
  }
}

/* One-sided rotations (Jacobi): the columns of a become orthogonal, v collects the rotations. */
static void orthogonalize(Dense a, Dense v) {
  for (int64_t j = 0; j < a.n; ++j) AT(v, j, j) = 1;
  for (int sweep = 0; sweep < 60; ++sweep) {
    double worst = 0;
    for (int64_t p = 0; p < a.n; ++p) {
      for (int64_t q = p + 1; q < a.n; ++q) {
        double pp = 0, qq = 0;
        number pq = 0;
        for (int64_t i = 0; i < a.m; ++i) {
          pp += pow(cabs(AT(a, i, p)), 2);
          qq += pow(cabs(AT(a, i, q)), 2);
          pq += conj(AT(a, i, p)) * AT(a, i, q);
        }
        if (cabs(pq) <= 1e-15 * sqrt(pp * qq) || pq == 0) continue;
        worst = 1;
        const double zeta = (qq - pp) / (2 * cabs(pq));
        const double t = (zeta >= 0 ? 1 : -1) / (fabs(zeta) + sqrt(1 + zeta * zeta));
        const double c = 1 / sqrt(1 + t * t);
        const number s = c * t * pq / cabs(pq);
        Dense both[] = {a, v};
        for (int w = 0; w < 2; ++w) {
          for (int64_t i = 0; i < both[w].m; ++i) {
            const number x = AT(both[w], i, p), y = AT(both[w], i, q);
            AT(both[w], i, p) = c * x - conj(s) * y;
            AT(both[w], i, q) = s * x + c * y;
          }
        }
      }
    }
    if (worst == 0) break;
  }
}
static double length(Dense a, int64_t j) {
  double sum = 0;
  for (int64_t i = 0; i < a.m; ++i) sum += pow(cabs(AT(a, i, j)), 2);
  return sqrt(sum);
}
static void swap_columns(Dense a, int64_t i, int64_t j) {
  for (int64_t k = 0; k < a.m; ++k) {
    number t = AT(a, k, i);
    AT(a, k, i) = AT(a, k, j);
    AT(a, k, j) = t;
  }
}
/* The columns from `from` on: a basis of what the others leave out. */
static void complete(Dense u, int64_t from) {
  for (int64_t j = from; j < u.n; ++j) {
    for (int64_t e = 0; e < u.m; ++e) {
      for (int64_t i = 0; i < u.m; ++i) AT(u, i, j) = i == e;
      for (int again = 0; again < 2; ++again) {
        for (int64_t k = 0; k < j; ++k) {
          number sum = 0;
          for (int64_t i = 0; i < u.m; ++i) sum += conj(AT(u, i, k)) * AT(u, i, j);
          for (int64_t i = 0; i < u.m; ++i) AT(u, i, j) -= sum * AT(u, i, k);
        }
      }
      const double l = length(u, j);
      if (l < 0.1) continue;
      for (int64_t i = 0; i < u.m; ++i) AT(u, i, j) /= l;
      break;
    }
  }
}

static Dense product(Dense a, Dense b) {
  Dense c = dense(a.m, b.n);
  for (int64_t j = 0; j < b.n; ++j) {
    for (int64_t k = 0; k < a.n; ++k) {
      for (int64_t i = 0; i < a.m; ++i) AT(c, i, j) += AT(a, i, k) * AT(b, k, j);
    }
  }
  return c;
}
/* Eigenvalues of any matrix: shifted QR steps until the triangle is left, whose eigenvectors come
 * by substitution; the columns of v, of length 1. */
static void eigen(Dense a, number* values, Dense v) {
  const int64_t n = a.n;
  Dense q = dense(n, n);
  for (int64_t i = 0; i < n; ++i) AT(q, i, i) = 1;
  for (int step = 0; step < 500 * (int)n; ++step) {
    int64_t last = n - 1; /* the first that isn't found yet, from the end */
    while (last > 0 && cabs(AT(a, last, last - 1)) <=
                           1e-15 * (cabs(AT(a, last, last)) + cabs(AT(a, last - 1, last - 1))))
      --last;
    if (last == 0) break;
    const number p = AT(a, last - 1, last - 1), s = AT(a, last, last),
                 root =
                     csqrt((p - s) * (p - s) / 4 + AT(a, last - 1, last) * AT(a, last, last - 1)),
                 one = (p + s) / 2 + root, other = (p + s) / 2 - root;
    number shift = cabs(one - s) < cabs(other - s) ? one : other;
    if (step % 11 == 10) shift += cabs(AT(a, last, last - 1));
    Dense r = dense(n, n), turn = dense(n, n);
    number* tau = calloc(n + 1, sizeof *tau);
    memcpy(r.x, a.x, n * n * sizeof(number));
    for (int64_t i = 0; i < n; ++i) AT(r, i, i) -= shift;
    factor_qr(r, tau);
    for (int64_t i = 0; i < n; ++i) AT(turn, i, i) = 1;
    reflect(r, tau, n, turn, 0);
    for (int64_t j = 0; j < n; ++j) {
      for (int64_t i = j + 1; i < n; ++i) AT(r, i, j) = 0;
    }
    Dense next = product(r, turn), turned = product(q, turn);
    for (int64_t i = 0; i < n; ++i) AT(next, i, i) += shift;
    memcpy(a.x, next.x, n * n * sizeof(number));
    memcpy(q.x, turned.x, n * n * sizeof(number));
    free(next.x), free(turned.x), free(r.x), free(turn.x), free(tau);
  }
  Dense x = dense(n, n);
  for (int64_t j = 0; j < n; ++j) {
    values[j] = AT(a, j, j);
    AT(x, j, j) = 1;
    for (int64_t i = j - 1; i >= 0; --i) {
      number sum = 0, gap = values[j] - AT(a, i, i);
      for (int64_t k = i + 1; k <= j; ++k) sum += AT(a, i, k) * AT(x, k, j);
      AT(x, i, j) = sum / (cabs(gap) > 1e-300 ? gap : 1e-15);
    }
  }
  Dense found = product(q, x);
  for (int64_t j = 0; j < n; ++j) {
    const double l = length(found, j);
    for (int64_t i = 0; i < n; ++i) AT(v, i, j) = AT(found, i, j) / l;
  }
  free(q.x), free(x.x), free(found.x);
}
