// Factorisations and solvers, matrix by matrix over a batch. Tensors are row-major or strided,
// LAPACK is column-major: each matrix is copied on the way in and out.
//
// Nothing is thrown for singular or indefinite matrices: `info` tells, one number for each, and
// the public functions in taimatsu/ops/linalg.py decide.
#include "cpu/lapack.h"

#include "cpu/deterministic.h"
#include "cpu/elements.h"
#include "cpu/native.h"
#include "cpu/openblas.h"
#include "cpu/threads.h"

namespace taimatsu {
namespace {

template <class F>
void with_lapack_type(DType t, const F& body) {
  switch (t) {
    case DType::F32: return body(TypeTag<float>{});
    case DType::F64: return body(TypeTag<double>{});
    case DType::C64: return body(TypeTag<complex64>{});
    case DType::C128: return body(TypeTag<complex128>{});
    default:
      fail(Error::Runtime, "Expected a floating point or complex tensor as input. Got ",
           info(t).legacy);
  }
}

int rows(const Tensor& t) { return static_cast<int>(t.layout->size(t.ndim() - 2)); }
int cols(const Tensor& t) { return static_cast<int>(t.layout->size(t.ndim() - 1)); }

void check_matrix(const Tensor& t, bool square, const char* name = "A") {
  if (t.ndim() < 2) {
    fail(Error::Runtime, "The input tensor ", name, " must have at least 2 dimensions.");
  }
  if (square && rows(t) != cols(t)) {
    fail(Error::Runtime, name, " must be batches of square matrices, but they are ", rows(t),
         " by ", cols(t), " matrices");
  }
  with_lapack_type(t.dtype, [](auto) {});
  if (rows(t) > 46340 || cols(t) > 46340)
    fail(Error::Runtime, "matrices of more than 46340 rows or columns");
}
void check_pair(const Tensor& a, const Tensor& b) {
  if (a.dtype != b.dtype) {
    fail(Error::Runtime, "expected both matrices to have the same dtype, but got ",
         info(a.dtype).name, " and ", info(b.dtype).name);
  }
  if (a.ndim() != b.ndim() || rows(a) != rows(b) ||
      !std::equal(a.sizes().begin(), a.sizes().end() - 2, b.sizes().begin())) {
    fail(Error::Runtime, "Incompatible shapes of A and B for the equation AX = B (",
         format(a.sizes()), " and ", format(b.sizes()), ")");
  }
}

std::vector<int64_t> sizes_of(const Tensor& like, std::initializer_list<int64_t> last) {
  std::vector<int64_t> sizes(like.sizes().begin(), like.sizes().end() - 2);
  sizes.insert(sizes.end(), last);
  return sizes;
}
void push(Call& c, std::initializer_list<int64_t> last, DType dtype) {
  c.outs.push(empty(sizes_of(c.args[0].t(), last), dtype, c.args[0].t().device()));
}

// The matrices of a tensor whose last two dims are one. Outputs are contiguous.
template <class T>
struct Batch {
  T* data;
  std::vector<int64_t> at;
  int64_t row, col, m, n;
  explicit Batch(const Tensor& t) : data(t.as<T>()) {
    const Layout& l = *t.layout;
    row = l.stride(l.ndim - 2), col = l.stride(l.ndim - 1);
    m = l.size(l.ndim - 2), n = l.size(l.ndim - 1);
    at.push_back(0);
    std::vector<int64_t> next;
    for (int d = 0; d < l.ndim - 2; ++d) {
      next.clear();
      for (int64_t base : at) {
        for (int64_t i = 0; i < l.size(d); ++i) next.push_back(base + i * l.stride(d));
      }
      at.swap(next);
    }
  }
  int64_t size() const { return static_cast<int64_t>(at.size()); }
  std::vector<T> read(int64_t index) const {
    std::vector<T> columns(static_cast<size_t>(m * n));
    const T* from = data + at[index];
    for (int64_t j = 0; j < n; ++j) {
      for (int64_t i = 0; i < m; ++i) columns[j * m + i] = from[i * row + j * col];
    }
    return columns;
  }
  // Of columns `height` apart, the first m rows.
  void write(int64_t index, const T* columns, int64_t height) const {
    T* to = data + at[index];
    for (int64_t i = 0; i < m; ++i) {
      for (int64_t j = 0; j < n; ++j) to[i * row + j * col] = columns[j * height + i];
    }
  }
};

// Runs body(index) for each matrix: on several threads if they are many, or with a threaded
// library if they are large. `work`: multiplications for one of them.
template <class F>
void each_matrix(int64_t count, double work, const F& body) {
  WithoutGil without(work * static_cast<double>(count) > kLongWork / 8);
  if (count > 1 && (work < 1e7 || count >= num_threads())) {
    parallel_for(count, std::max<int64_t>(1, static_cast<int64_t>(1e5 / (work + 1))), 1,
                 [&](int64_t begin, int64_t end) {
                   for (int64_t i = begin; i < end; ++i) body(i);
                 });
    return;
  }
  BlasThreads threads(deterministic_algorithms() ? 0 : work);
  for (int64_t i = 0; i < count; ++i) body(i);
}
// LAPACK doesn't promise to end where an iteration meets NaN or infinity.
constexpr int kNotFinite = -4;
template <class T>
bool all_finite(const std::vector<T>& v) {
  return std::all_of(v.begin(), v.end(), [](const T& x) {
    return std::isfinite(std::real(x)) && std::isfinite(std::imag(x));
  });
}

double cube(const Tensor& t) {
  const double m = rows(t), n = cols(t);
  return m * n * std::min(m, n);
}

// ---- Cholesky -------------------------------------------------------------------------------

// _cholesky(Tensor A, bool upper) -> (Tensor, Tensor info)
void infer_cholesky(Call& c) {
  const Tensor& a = c.args[0].t();
  check_matrix(a, true);
  push(c, {rows(a), rows(a)}, a.dtype);
  push(c, {}, DType::I32);
}
void run_cholesky(Call& c) {
  const Tensor& a = c.args[0].t();
  const bool upper = c.args[1].to_bool();
  const int n = rows(a);
  int* infos = c.outs[1]->as<int>();
  with_lapack_type(a.dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    const Batch<T> in(a), out(*c.outs[0]);
    each_matrix(in.size(), cube(a) / 3, [&](int64_t b) {
      std::vector<T> m = in.read(b);
      infos[b] = n ? potrf(upper ? 'U' : 'L', n, m.data()) : 0;
      for (int64_t j = 0; j < n; ++j) {
        for (int64_t i = upper ? j + 1 : 0; i < (upper ? n : j); ++i) m[j * n + i] = T(0);
      }
      out.write(b, m.data(), n);
    });
  });
}
TM_NATIVE("_cholesky", infer_cholesky, run_cholesky);

// ---- LU -------------------------------------------------------------------------------------

// _lu_factor(Tensor A) -> (Tensor LU, Tensor pivots, Tensor info)
void infer_lu_factor(Call& c) {
  const Tensor& a = c.args[0].t();
  check_matrix(a, false);
  push(c, {rows(a), cols(a)}, a.dtype);
  push(c, {std::min(rows(a), cols(a))}, DType::I32);
  push(c, {}, DType::I32);
}
void run_lu_factor(Call& c) {
  const Tensor& a = c.args[0].t();
  const int m = rows(a), n = cols(a), k = std::min(m, n);
  int *pivots = c.outs[1]->as<int>(), *infos = c.outs[2]->as<int>();
  with_lapack_type(a.dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    const Batch<T> in(a), out(*c.outs[0]);
    each_matrix(in.size(), cube(a), [&](int64_t b) {
      std::vector<T> lu = in.read(b);
      infos[b] = k ? getrf(m, n, lu.data(), pivots + b * k) : 0;
      out.write(b, lu.data(), m);
    });
  });
}
TM_NATIVE("_lu_factor", infer_lu_factor, run_lu_factor);

// _lu_solve(Tensor LU, Tensor pivots, Tensor B, bool adjoint) -> Tensor: one batch for all three.
void infer_lu_solve(Call& c) {
  const Tensor &lu = c.args[0].t(), &pivots = c.args[1].t(), &b = c.args[2].t();
  check_matrix(lu, true, "LU");
  check_matrix(b, false, "B");
  check_pair(lu, b);
  if (pivots.dtype != DType::I32 || pivots.ndim() != lu.ndim() - 1 ||
      !std::equal(pivots.sizes().begin(), pivots.sizes().end(), lu.sizes().begin())) {
    fail(Error::Runtime, "pivots should be int32, one for each row of LU; got ",
         info(pivots.dtype).name, " with sizes ", format(pivots.sizes()));
  }
  push(c, {rows(b), cols(b)}, b.dtype);
}
void run_lu_solve(Call& c) {
  const Tensor &lu = c.args[0].t(), &b = c.args[2].t();
  TensorRef pivots = contiguous(c.args[1].t());
  const int n = rows(lu), k = cols(b);
  for (int64_t i = 0; i < pivots->numel(); ++i) {
    const int p = pivots->as<int>()[i];
    if (p < 1 || p > n) fail(Error::Runtime, "pivots must be between 1 and ", n, "; got ", p);
  }
  const char trans = c.args[3].to_bool() ? 'C' : 'N';
  with_lapack_type(b.dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    const Batch<T> factors(lu), in(b), out(*c.outs[0]);
    each_matrix(in.size(), static_cast<double>(n) * n * k, [&](int64_t i) {
      std::vector<T> f = factors.read(i), x = in.read(i);
      if (n && k) getrs(trans, n, k, f.data(), pivots->as<int>() + i * n, x.data());
      out.write(i, x.data(), n);
    });
  });
}
TM_NATIVE("_lu_solve", infer_lu_solve, run_lu_solve);

// _solve(Tensor A, Tensor B) -> (Tensor X, Tensor LU, Tensor pivots, Tensor info)
void infer_solve(Call& c) {
  const Tensor &a = c.args[0].t(), &b = c.args[1].t();
  check_matrix(a, true);
  check_matrix(b, false, "B");
  check_pair(a, b);
  push(c, {rows(b), cols(b)}, b.dtype);
  push(c, {rows(a), rows(a)}, a.dtype);
  push(c, {rows(a)}, DType::I32);
  push(c, {}, DType::I32);
}
void run_solve(Call& c) {
  const Tensor &a = c.args[0].t(), &b = c.args[1].t();
  const int n = rows(a), k = cols(b);
  int *pivots = c.outs[2]->as<int>(), *infos = c.outs[3]->as<int>();
  with_lapack_type(a.dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    const Batch<T> left(a), right(b), x_out(*c.outs[0]), lu_out(*c.outs[1]);
    each_matrix(left.size(), cube(a) / 1.5 + static_cast<double>(n) * n * k, [&](int64_t i) {
      std::vector<T> lu = left.read(i), x = right.read(i);
      infos[i] = n ? getrf(n, n, lu.data(), pivots + i * n) : 0;
      if (n && k && infos[i] == 0) getrs('N', n, k, lu.data(), pivots + i * n, x.data());
      x_out.write(i, x.data(), n);
      lu_out.write(i, lu.data(), n);
    });
  });
}
TM_NATIVE("_solve", infer_solve, run_solve);

// ---- Triangular systems ---------------------------------------------------------------------

// _solve_triangular(Tensor A, Tensor B, bool upper, bool unitriangular) -> Tensor
void infer_solve_triangular(Call& c) {
  const Tensor &a = c.args[0].t(), &b = c.args[1].t();
  check_matrix(a, true);
  check_matrix(b, false, "B");
  check_pair(a, b);
  push(c, {rows(b), cols(b)}, b.dtype);
}
void run_solve_triangular(Call& c) {
  const Tensor &a = c.args[0].t(), &b = c.args[1].t();
  const char uplo = c.args[2].to_bool() ? 'U' : 'L', diagonal = c.args[3].to_bool() ? 'U' : 'N';
  const int n = rows(a), k = cols(b);
  with_lapack_type(b.dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    const Batch<T> left(a), in(b), out(*c.outs[0]);
    each_matrix(in.size(), static_cast<double>(n) * n * k / 2, [&](int64_t i) {
      std::vector<T> t = left.read(i), x = in.read(i);
      if (n && k && trtrs(uplo, 'N', diagonal, n, k, t.data(), x.data()) > 0) {
        // A zero on the diagonal: infinities, as divisions would give, not LAPACK's refusal.
        for (int64_t col = 0; col < k; ++col) {
          T* v = x.data() + col * n;
          for (int s = 0; s < n; ++s) {
            const int r = uplo == 'U' ? n - 1 - s : s;
            T sum = v[r];
            for (int q = uplo == 'U' ? r + 1 : 0; q < (uplo == 'U' ? n : r); ++q) {
              sum -= t[static_cast<int64_t>(q) * n + r] * v[q];
            }
            v[r] = sum / t[static_cast<int64_t>(r) * n + r];
          }
        }
      }
      out.write(i, x.data(), n);
    });
  });
}
TM_NATIVE("_solve_triangular", infer_solve_triangular, run_solve_triangular);

// ---- QR -------------------------------------------------------------------------------------

// _qr(Tensor A, bool complete) -> (Tensor Q, Tensor R)
void infer_qr(Call& c) {
  const Tensor& a = c.args[0].t();
  check_matrix(a, false);
  const int m = rows(a), n = cols(a), k = c.args[1].to_bool() ? m : std::min(m, n);
  push(c, {m, k}, a.dtype);
  push(c, {k, n}, a.dtype);
}
void run_qr(Call& c) {
  const Tensor& a = c.args[0].t();
  const int m = rows(a), n = cols(a), k = std::min(m, n), width = cols(*c.outs[0]);
  with_lapack_type(a.dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    const Batch<T> in(a), q_out(*c.outs[0]), r_out(*c.outs[1]);
    each_matrix(in.size(), 2 * cube(a), [&](int64_t b) {
      std::vector<T> q = in.read(b), tau(std::max(1, k)), r(static_cast<size_t>(width) * n);
      if (k) geqrf(m, n, q.data(), tau.data());
      for (int64_t j = 0; j < n; ++j) {
        for (int64_t i = 0; i <= std::min<int64_t>(j, width - 1); ++i)
          r[j * width + i] = q[j * m + i];
      }
      r_out.write(b, r.data(), width);
      q.resize(static_cast<size_t>(m) * std::max(width, n));
      if (k) {
        make_q(m, width, k, q.data(), tau.data());
      } else {
        for (int64_t i = 0; i < width; ++i) q[i * m + i] = T(1);
      }
      q_out.write(b, q.data(), m);
    });
  });
}
TM_NATIVE("_qr", infer_qr, run_qr);

// ---- Singular values and eigenvalues
// --------------------------------------------------------------

// _svd(Tensor A, bool full_matrices, bool compute_uv) -> (Tensor U, Tensor S, Tensor Vh, Tensor
// info)
void infer_svd(Call& c) {
  const Tensor& a = c.args[0].t();
  check_matrix(a, false);
  const int m = rows(a), n = cols(a), k = std::min(m, n);
  const bool full = c.args[1].to_bool(), vectors = c.args[2].to_bool();
  push(c, {vectors ? m : 0, vectors ? full ? m : k : 0}, a.dtype);
  push(c, {k}, real_dtype(a.dtype));
  push(c, {vectors ? full ? n : k : 0, vectors ? n : 0}, a.dtype);
  push(c, {}, DType::I32);
}
void run_svd(Call& c) {
  const Tensor& a = c.args[0].t();
  const int m = rows(a), n = cols(a), k = std::min(m, n);
  const bool vectors = c.args[2].to_bool();
  const int u_cols = cols(*c.outs[0]), vh_rows = vectors ? rows(*c.outs[2]) : 1;
  const char job = !vectors ? 'N' : c.args[1].to_bool() ? 'A' : 'S';
  int* infos = c.outs[3]->as<int>();
  with_lapack_type(a.dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    using R = decltype(std::real(T()));
    const Batch<T> in(a), u_out(*c.outs[0]), vh_out(*c.outs[2]);
    R* values = c.outs[1]->as<R>();
    each_matrix(in.size(), 10 * cube(a), [&](int64_t b) {
      std::vector<T> x = in.read(b), u(static_cast<size_t>(m) * u_cols + 1),
                     vh(static_cast<size_t>(vh_rows) * n + 1);
      if (k == 0) {
        infos[b] = 0;
        for (int64_t i = 0; i < std::min(m, u_cols); ++i) u[i * m + i] = T(1);
        for (int64_t i = 0; vectors && i < std::min(n, vh_rows); ++i) vh[i * vh_rows + i] = T(1);
      } else {
        infos[b] = all_finite(x) ? gesdd(job, m, n, x.data(), values + b * k, u.data(), vh.data(),
                                         std::max(1, vh_rows))
                                 : kNotFinite;
      }
      if (vectors) {
        u_out.write(b, u.data(), m);
        vh_out.write(b, vh.data(), vh_rows);
      }
    });
  });
}
TM_NATIVE("_svd", infer_svd, run_svd);

// _eigh(Tensor A, bool upper, bool compute_v) -> (Tensor values, Tensor vectors, Tensor info)
void infer_eigh(Call& c) {
  const Tensor& a = c.args[0].t();
  check_matrix(a, true);
  const int n = rows(a), v = c.args[2].to_bool() ? n : 0;
  push(c, {n}, real_dtype(a.dtype));
  push(c, {v, v}, a.dtype);
  push(c, {}, DType::I32);
}
void run_eigh(Call& c) {
  const Tensor& a = c.args[0].t();
  const int n = rows(a);
  const bool upper = c.args[1].to_bool(), vectors = c.args[2].to_bool();
  int* infos = c.outs[2]->as<int>();
  with_lapack_type(a.dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    using R = decltype(std::real(T()));
    const Batch<T> in(a), out(*c.outs[1]);
    R* values = c.outs[0]->as<R>();
    each_matrix(in.size(), 4 * cube(a), [&](int64_t b) {
      std::vector<T> m = in.read(b);
      infos[b] = n == 0 ? 0
                 : all_finite(m)
                     ? syevd(vectors ? 'V' : 'N', upper ? 'U' : 'L', n, m.data(), values + b * n)
                     : kNotFinite;
      if (vectors) out.write(b, m.data(), n);
    });
  });
}
TM_NATIVE("_eigh", infer_eigh, run_eigh);

// _eig(Tensor A) -> (Tensor values, Tensor vectors, Tensor info)
void infer_eig(Call& c) {
  const Tensor& a = c.args[0].t();
  check_matrix(a, true);
  push(c, {rows(a)}, complex_dtype(a.dtype));
  push(c, {rows(a), rows(a)}, complex_dtype(a.dtype));
  push(c, {}, DType::I32);
}
void run_eig(Call& c) {
  const Tensor& a = c.args[0].t();
  const int n = rows(a);
  int* infos = c.outs[2]->as<int>();
  with_lapack_type(a.dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    using C = std::complex<decltype(std::real(T()))>;
    const Batch<T> in(a);
    const Batch<C> out(*c.outs[1]);
    C* values = c.outs[0]->as<C>();
    each_matrix(in.size(), 10 * cube(a), [&](int64_t b) {
      std::vector<T> m = in.read(b);
      std::vector<C> v(static_cast<size_t>(n) * n);
      infos[b] = n == 0          ? 0
                 : all_finite(m) ? geev(n, m.data(), values + b * n, v.data())
                                 : kNotFinite;
      out.write(b, v.data(), n);
    });
  });
}
TM_NATIVE("_eig", infer_eig, run_eig);

}  // namespace
}  // namespace taimatsu
