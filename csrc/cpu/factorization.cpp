// Cholesky, LU, LDL and QR factorisations, and the systems that their factors solve.
//
// Nothing is thrown for singular or indefinite matrices: `info` tells, one number for each, and
// the public functions in taimatsu/ops decide.
#include "cpu/matrices.h"

namespace taimatsu {
namespace {

// ---- Triangular systems ---------------------------------------------------------------------

// _solve_triangular(Tensor A, Tensor B, bool upper, bool unitriangular) -> Tensor
void infer_solve_triangular(Call& c) {
  const Tensor &a = c.args[0].t(), &b = c.args[1].t();
  check_matrix(a, true);
  check_matrix(b, false, "B");
  check_pair(a, b);
  push_columns(c, rows(b), cols(b), b.dtype);
}

// By substitution: a zero on the diagonal gives infinities, as a division does.
template <class T>
void substitute(const Matrices<T>& a, int64_t index, bool upper, int64_t k, T* x) {
  const T* t = a[index];
  const int64_t n = a.n;
  for (int64_t column = 0; column < k; ++column, x += n) {
    for (int64_t s = 0; s < n; ++s) {
      const int64_t i = upper ? n - 1 - s : s;
      T sum = x[i];
      for (int64_t j = upper ? i + 1 : 0; j < (upper ? n : i); ++j) {
        sum -= t[i * a.row + j * a.col] * x[j];
      }
      x[i] = sum / t[i * (a.row + a.col)];
    }
  }
}

void run_solve_triangular(Call& c) {
  const Tensor &a = c.args[0].t(), &b = c.args[1].t();
  const bool upper = c.args[2].to_bool(), unit = c.args[3].to_bool();
  const int n = rows(a), k = cols(b);
  with_lapack_type(b.dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    const Matrices<T> left(a), right(b), out(*c.outs[0]);
    // Row-major matrices are the transposes of column-major ones.
    const bool flipped = left.row != 1 && left.col == 1;
    const Matrices<T> stored = flipped ? left.transposed() : left;
    const char uplo = upper != flipped ? 'U' : 'L', trans = flipped ? 'T' : 'N';
    each_matrix_chunk(out.size(), static_cast<double>(n) * n * k / 2, [&](int64_t i, int64_t end) {
      std::vector<T> buffer;
      for (; n && k && i < end; ++i) {
        int height;
        const T* t = stored.columns(i, buffer, &height);
        right.read(i, out[i], n);
        if (trtrs(uplo, trans, unit ? 'U' : 'N', n, k, t, height, out[i]) > 0) {
          substitute(left, i, upper, k, out[i]);
        }
      }
    });
  });
}
TM_NATIVE("_solve_triangular", infer_solve_triangular, run_solve_triangular);

// ---- Cholesky -------------------------------------------------------------------------------

// _cholesky(Tensor A, bool upper) -> (Tensor L, Tensor info)
void infer_cholesky(Call& c) {
  const Tensor& a = c.args[0].t();
  check_matrix(a, true);
  push(c, {rows(a), rows(a)}, a.dtype);
  push(c, {}, DType::I32);
}
template <class T>
int triangle(bool lower, int n, T* a) {
  if constexpr (!kComplex<T>) {
    if (n <= 16 && !lower) return small<T>().potrf(n, a);
  }
  return potrf(lower ? 'L' : 'U', n, a);
}
// Row by row: of the rows of a, read as columns, LAPACK makes the rows of the factor.
void run_cholesky(Call& c) {
  const Tensor& a = c.args[0].t();
  const bool upper = c.args[1].to_bool();
  const int n = rows(a);
  int* infos = c.outs[1]->as<int>();
  with_lapack_type(a.dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    const Matrices<T> in = Matrices<T>(a).transposed(), out(*c.outs[0]);
    each_matrix_chunk(out.size(), cube(a) / 3, [&](int64_t b, int64_t end) {
      for (; b < end; ++b) {
        T* m = out[b];
        in.read(b, m, n);
        infos[b] = n ? triangle(upper, n, m) : 0;
        for (int64_t i = 0; i < n; ++i) {
          if (upper) {
            std::fill_n(m + i * n, i, T(0));
          } else {
            std::fill_n(m + i * n + i + 1, n - i - 1, T(0));
          }
        }
      }
    });
  });
}
TM_NATIVE("_cholesky", infer_cholesky, run_cholesky);

// ---- LU -------------------------------------------------------------------------------------

constexpr int kFewRows = 24;  // up to which LAPACK's calls take longer than what they do

template <class T>
int factor(int m, int n, T* a, int* pivots) {
  return m <= kFewRows && n <= kFewRows ? small<T>().getrf(m, n, a, pivots)
                                        : getrf(m, n, a, pivots);
}
template <class T>
void solve_factored(char trans, int n, int k, const T* lu, int height, const int* pivots, T* b) {
  if (n <= kFewRows) {
    small<T>().getrs(trans, n, k, lu, height, pivots, b);
  } else {
    getrs(trans, n, k, lu, height, pivots, b);
  }
}

// _lu_factor(Tensor A) -> (Tensor LU, Tensor pivots, Tensor info)
void infer_lu_factor(Call& c) {
  const Tensor& a = c.args[0].t();
  check_matrix(a, false);
  push_columns(c, rows(a), cols(a), a.dtype);
  push(c, {std::min(rows(a), cols(a))}, DType::I32);
  push(c, {}, DType::I32);
}
void run_lu_factor(Call& c) {
  const Tensor& a = c.args[0].t();
  const int m = rows(a), n = cols(a), k = std::min(m, n);
  int *pivots = c.outs[1]->as<int>(), *infos = c.outs[2]->as<int>();
  with_lapack_type(a.dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    const Matrices<T> in(a), out(*c.outs[0]);
    each_matrix_chunk(out.size(), cube(a), [&](int64_t b, int64_t end) {
      for (; b < end; ++b) {
        in.read(b, out[b], m);
        infos[b] = k ? factor(m, n, out[b], pivots + b * k) : 0;
      }
    });
  });
}
TM_NATIVE("_lu_factor", infer_lu_factor, run_lu_factor);

// _row_order(Tensor pivots, int rows) -> Tensor: int64, which row of a is in each row of l u
void infer_row_order(Call& c) {
  const Tensor& pivots = c.args[0].t();
  const int64_t k = pivots.layout->size(pivots.ndim() - 1), m = c.args[1].to_int();
  if (pivots.dtype != DType::I32 || k > m) {
    fail(Error::Runtime, "pivots should be int32, at most one for each of ", m, " rows; got ",
         info(pivots.dtype).name, " with sizes ", format(pivots.sizes()));
  }
  std::vector<int64_t> sizes = to_vector(pivots.sizes());
  sizes.back() = m;
  c.outs.push(empty(sizes, DType::I64, pivots.device()));
}
void run_row_order(Call& c) {
  TensorRef pivots = contiguous(c.args[0].t());
  const int64_t k = pivots->layout->size(pivots->ndim() - 1), m = c.args[1].to_int();
  const int* p = pivots->as<int>();
  int64_t* order = c.outs[0]->as<int64_t>();
  for (int64_t count = m ? c.outs[0]->numel() / m : 0; count > 0; --count, order += m, p += k) {
    for (int64_t i = 0; i < m; ++i) order[i] = i;
    for (int64_t i = 0; i < k; ++i) {
      if (p[i] < 1 || p[i] > m) {
        fail(Error::Runtime, "pivots must be between 1 and ", m, "; got ", p[i]);
      }
      std::swap(order[i], order[p[i] - 1]);
    }
  }
}
TM_NATIVE("_row_order", infer_row_order, run_row_order);

// x of a x = b from factors of a: (Tensor factors, Tensor pivots, Tensor B, ...), one batch for
// all.
void infer_factored_solve(Call& c) {
  const Tensor &factors = c.args[0].t(), &b = c.args[2].t();
  check_matrix(factors, true, c.op.schema.params[0].name.c_str());
  check_matrix(b, false, "B");
  check_pair(factors, b);
  check_pivots(c.args[1].t(), factors, rows(factors));
  push_columns(c, rows(b), cols(b), b.dtype);
}
// Calls solve(factors, their leading dimension, which matrix, b, which becomes x) for each.
template <class F>
void run_factored_solve(Call& c, const F& solve) {
  const Tensor &lu = c.args[0].t(), &b = c.args[2].t();
  const int n = rows(lu), k = cols(b);
  with_lapack_type(b.dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    const Matrices<T> factors(lu), in(b), out(*c.outs[0]);
    each_matrix_chunk(out.size(), static_cast<double>(n) * n * k, [&](int64_t i, int64_t end) {
      std::vector<T> buffer;
      for (; n && k && i < end; ++i) {
        int height;
        const T* f = factors.columns(i, buffer, &height);
        in.read(i, out[i], n);
        solve(f, height, i, out[i]);
      }
    });
  });
}

// _lu_solve(Tensor LU, Tensor pivots, Tensor B, bool adjoint) -> Tensor
void run_lu_solve(Call& c) {
  TensorRef pivots = contiguous(c.args[1].t());
  const int n = rows(c.args[0].t()), k = cols(c.args[2].t());
  const int* p = pivots->as<int>();
  for (int64_t i = 0; i < pivots->numel(); ++i) {
    if (p[i] < 1 || p[i] > n) {
      fail(Error::Runtime, "pivots must be between 1 and ", n, "; got ", p[i]);
    }
  }
  const char trans = c.args[3].to_bool() ? 'C' : 'N';
  run_factored_solve(c, [&](const auto* f, int height, int64_t i, auto* x) {
    solve_factored(trans, n, k, f, height, p + i * n, x);
  });
}
TM_NATIVE("_lu_solve", infer_factored_solve, run_lu_solve);

// _solve(Tensor A, Tensor B) -> (Tensor X, Tensor LU, Tensor pivots, Tensor info)
void infer_solve(Call& c) {
  const Tensor &a = c.args[0].t(), &b = c.args[1].t();
  check_matrix(a, true);
  check_matrix(b, false, "B");
  check_pair(a, b);
  push_columns(c, rows(b), cols(b), b.dtype);
  push_columns(c, rows(a), rows(a), a.dtype);
  push(c, {rows(a)}, DType::I32);
  push(c, {}, DType::I32);
}
// The factors are those of the transpose of a, so that row-major matrices are copied as they are.
void run_solve(Call& c) {
  const Tensor &a = c.args[0].t(), &b = c.args[1].t();
  const int n = rows(a), k = cols(b);
  int *pivots = c.outs[2]->as<int>(), *infos = c.outs[3]->as<int>();
  with_lapack_type(a.dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    const Matrices<T> left = Matrices<T>(a).transposed(), right(b), x(*c.outs[0]), lu(*c.outs[1]);
    const double work = cube(a) / 1.5 + static_cast<double>(n) * n * k;
    each_matrix_chunk(x.size(), work, [&](int64_t i, int64_t end) {
      for (; i < end; ++i) {
        left.read(i, lu[i], n);
        right.read(i, x[i], n);
        infos[i] = n ? factor(n, n, lu[i], pivots + i * n) : 0;
        if (n && k && infos[i] == 0) solve_factored('T', n, k, lu[i], n, pivots + i * n, x[i]);
      }
    });
  });
}
TM_NATIVE("_solve", infer_solve, run_solve);

// ---- LDL ------------------------------------------------------------------------------------

// _ldl_factor(Tensor A, bool hermitian) -> (Tensor LD, Tensor pivots, Tensor info)
void infer_ldl_factor(Call& c) {
  const Tensor& a = c.args[0].t();
  check_matrix(a, true);
  push_columns(c, rows(a), rows(a), a.dtype);
  push(c, {rows(a)}, DType::I32);
  push(c, {}, DType::I32);
}
void run_ldl_factor(Call& c) {
  const Tensor& a = c.args[0].t();
  const bool hermitian = c.args[1].to_bool();
  const int n = rows(a);
  int *pivots = c.outs[1]->as<int>(), *infos = c.outs[2]->as<int>();
  with_lapack_type(a.dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    const Matrices<T> in(a), out(*c.outs[0]);
    each_matrix_chunk(out.size(), cube(a) / 3, [&](int64_t b, int64_t end) {
      Workspace<T> w;
      for (; b < end; ++b) {
        in.read(b, out[b], n);
        for (int64_t j = 1; j < n; ++j) std::fill_n(out[b] + j * n, j, T(0));  // only L is read
        infos[b] = n ? ldl(hermitian, n, out[b], pivots + b * n, w) : 0;
      }
    });
  });
}
TM_NATIVE("_ldl_factor", infer_ldl_factor, run_ldl_factor);

// _ldl_solve(Tensor LD, Tensor pivots, Tensor B, bool hermitian) -> Tensor
void run_ldl_solve(Call& c) {
  TensorRef pivots = contiguous(c.args[1].t());
  const bool hermitian = c.args[3].to_bool();
  const int n = rows(c.args[0].t()), k = cols(c.args[2].t());
  // A block of two has twice the negative of one row.
  const int* p = pivots->as<int>();
  for (int64_t i = 0; i < pivots->numel(); ++i) {
    if (p[i] == 0 || p[i] < -n || p[i] > n) {
      fail(Error::Runtime, "pivots must be between 1 and ", n, ", or -", n, " and -1; got ", p[i]);
    }
    if (p[i] < 0 && ((i % n == n - 1) || p[i] != p[i + 1])) {
      fail(Error::Runtime, "negative pivots must come in pairs, as ldl_factor gives them");
    }
    i += p[i] < 0;
  }
  run_factored_solve(c, [&](const auto* f, int height, int64_t i, auto* x) {
    ldl_solve(hermitian, n, k, f, height, p + i * n, x);
  });
}
TM_NATIVE("_ldl_solve", infer_factored_solve, run_ldl_solve);

// ---- QR -------------------------------------------------------------------------------------

// geqrf(Tensor self) -> (Tensor a, Tensor tau)
void infer_geqrf(Call& c) {
  const Tensor& a = c.args[0].t();
  check_matrix(a, false, "input");
  push_columns(c, rows(a), cols(a), a.dtype);
  push(c, {std::min(rows(a), cols(a))}, a.dtype);
}
void run_geqrf(Call& c) {
  const Tensor& a = c.args[0].t();
  const int m = rows(a), n = cols(a), k = std::min(m, n);
  with_lapack_type(a.dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    const Matrices<T> in(a), out(*c.outs[0]);
    T* tau = c.outs[1]->as<T>();
    each_matrix_chunk(out.size(), cube(a), [&](int64_t b, int64_t end) {
      Workspace<T> w;
      for (; k && b < end; ++b) {
        in.read(b, out[b], m);
        reflections(m, n, out[b], tau + b * k, w);
      }
    });
  });
}
TM_NATIVE("geqrf", infer_geqrf, run_geqrf);

void check_reflections(const Tensor& a, const Tensor& tau) {
  check_matrix(a, false, "input");
  if (tau.ndim() != a.ndim() - 1) {
    fail(Error::Runtime, "Expected tau to have one dimension less than input, but got tau.ndim ",
         tau.ndim(), " and input.ndim ", a.ndim());
  }
  if (!std::equal(tau.sizes().begin(), tau.sizes().end() - 1, a.sizes().begin())) {
    fail(Error::Runtime, "Expected batch dimensions of tau to be equal to input.shape[:-2], but ",
         "got ", format(tau.sizes()), " and ", format(a.sizes()));
  }
  if (tau.dtype != a.dtype) {
    fail(Error::Runtime, "tau dtype ", info(tau.dtype).name, " does not match input dtype ",
         info(a.dtype).name);
  }
}

// _householder_product(Tensor input, Tensor tau) -> Tensor
void infer_householder_product(Call& c) {
  const Tensor &a = c.args[0].t(), &tau = c.args[1].t();
  check_reflections(a, tau);
  if (rows(a) < cols(a) || cols(a) < tau.layout->size(tau.ndim() - 1)) {
    fail(Error::Runtime, "matrices must have no fewer rows than columns, and no fewer columns ",
         "than tau has elements; got ", format(a.sizes()), " and ", format(tau.sizes()));
  }
  push_columns(c, rows(a), cols(a), a.dtype);
}
void run_householder_product(Call& c) {
  const Tensor& a = c.args[0].t();
  TensorRef taus = contiguous(c.args[1].t());
  const int m = rows(a), n = cols(a), k = static_cast<int>(taus->layout->size(taus->ndim() - 1));
  with_lapack_type(a.dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    const Matrices<T> in(a), out(*c.outs[0]);
    each_matrix_chunk(out.size(), 2 * cube(a), [&](int64_t b, int64_t end) {
      Workspace<T> w;
      for (; n && b < end; ++b) {
        in.read(b, out[b], m);
        product_of_reflections(m, n, k, out[b], taus->as<T>() + b * k, w);
      }
    });
  });
}
TM_NATIVE("_householder_product", infer_householder_product, run_householder_product);

// _ormqr(Tensor input, Tensor tau, Tensor other, bool left, bool transpose) -> Tensor
void infer_ormqr(Call& c) {
  const Tensor &a = c.args[0].t(), &tau = c.args[1].t(), &other = c.args[2].t();
  check_reflections(a, tau);
  check_matrix(other, false, "other");
  const int side = c.args[3].to_bool() ? rows(other) : cols(other);
  if (other.dtype != a.dtype || other.ndim() != a.ndim() || side != rows(a) ||
      !std::equal(a.sizes().begin(), a.sizes().end() - 2, other.sizes().begin()) ||
      tau.layout->size(tau.ndim() - 1) != std::min(cols(a), rows(a))) {
    fail(Error::Runtime, "expected input, tau and other to be of one dtype and batch, with as ",
         "many reflections as min(rows, columns) of input, and its rows to be those of other ",
         "(columns, if not left); got ", format(a.sizes()), ", ", format(tau.sizes()), " and ",
         format(other.sizes()));
  }
  push_columns(c, rows(other), cols(other), other.dtype);
}
void run_ormqr(Call& c) {
  const Tensor &a = c.args[0].t(), &other = c.args[2].t();
  TensorRef taus = contiguous(c.args[1].t());
  const char side = c.args[3].to_bool() ? 'L' : 'R', trans = c.args[4].to_bool() ? 'C' : 'N';
  const int m = rows(other), n = cols(other);
  const int k = static_cast<int>(taus->layout->size(taus->ndim() - 1));
  with_lapack_type(other.dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    const Matrices<T> in(a), right(other), out(*c.outs[0]);
    each_matrix_chunk(out.size(), 2 * cube(other), [&](int64_t b, int64_t end) {
      Workspace<T> w;
      std::vector<T> buffer;
      for (; m && n && b < end; ++b) {
        int height;
        const T* q = in.columns(b, buffer, &height);
        right.read(b, out[b], m);
        if (k) ormqr(side, trans, m, n, k, q, height, taus->as<T>() + b * k, out[b], w);
      }
    });
  });
}
TM_NATIVE("_ormqr", infer_ormqr, run_ormqr);

// _qr(Tensor A, bool complete) -> (Tensor Q, Tensor R)
void infer_qr(Call& c) {
  const Tensor& a = c.args[0].t();
  check_matrix(a, false);
  const int m = rows(a), n = cols(a), k = c.args[1].to_bool() ? m : std::min(m, n);
  push_columns(c, m, k, a.dtype);
  push_columns(c, k, n, a.dtype);
}
void run_qr(Call& c) {
  const Tensor& a = c.args[0].t();
  const int m = rows(a), n = cols(a), k = std::min(m, n), width = cols(*c.outs[0]);
  with_lapack_type(a.dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    const Matrices<T> in(a), q(*c.outs[0]), r(*c.outs[1]);
    each_matrix_chunk(q.size(), 2 * cube(a), [&](int64_t b, int64_t end) {
      Workspace<T> factoring, forming;
      std::vector<T> x(static_cast<size_t>(m) * n), tau(std::max(1, k));
      for (; b < end; ++b) {
        in.read(b, x.data(), m);
        if (k) reflections(m, n, x.data(), tau.data(), factoring);
        for (int64_t j = 0; j < n; ++j) {
          const int64_t height = std::min<int64_t>(j + 1, width);
          std::copy_n(x.data() + j * m, height, r[b] + j * width);
          std::fill_n(r[b] + j * width + height, width - height, T(0));
        }
        const int64_t reflections = static_cast<int64_t>(m) * k;
        std::copy_n(x.data(), reflections, q[b]);
        std::fill_n(q[b] + reflections, static_cast<int64_t>(m) * (width - k), T(0));
        if (k) {
          product_of_reflections(m, width, k, q[b], tau.data(), forming);
        } else {
          for (int64_t i = 0; i < width; ++i) q[b][i * m + i] = T(1);
        }
      }
    });
  });
}
TM_NATIVE("_qr", infer_qr, run_qr);

}  // namespace
}  // namespace taimatsu
