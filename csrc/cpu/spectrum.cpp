// Singular values, eigenvalues, least squares. `info` is as in factorization.cpp.
#include "cpu/matrices.h"

namespace taimatsu {
namespace {

// The m by n matrix of ones on the diagonal.
template <class T>
void set_identity(T* columns, int64_t m, int64_t n) {
  std::fill_n(columns, m * n, T(0));
  for (int64_t i = 0; i < std::min(m, n); ++i) columns[i * m + i] = T(1);
}

// _svd(Tensor A, bool full_matrices, bool compute_uv)
//     -> (Tensor U, Tensor S, Tensor Vh, Tensor info)
void infer_svd(Call& c) {
  const Tensor& a = c.args[0].t();
  check_matrix(a, false);
  const int m = rows(a), n = cols(a), k = std::min(m, n);
  const bool full = c.args[1].to_bool(), vectors = c.args[2].to_bool();
  push_columns(c, vectors ? m : 0, vectors ? full ? m : k : 0, a.dtype);
  push(c, {k}, real_dtype(a.dtype));
  push_columns(c, vectors ? full ? n : k : 0, vectors ? n : 0, a.dtype);
  push(c, {}, DType::I32);
}
// Whether routines of our own can take the squares of the elements, and their sums.
template <class T>
bool has_squares(const T* a, int64_t count) {
  const RealOf<T> most = largest(a, count);
  return most < RealOf<T>(1e15) && most > RealOf<T>(1e-10);
}

// Small ones; false if it must be LAPACK. The outputs are null without vectors.
template <class T>
bool small_svd(const Matrices<T>& in, int64_t index, RealOf<T>* values, T* u, int u_columns, T* vh,
               int vh_rows, Workspace<T>& w) {
  if constexpr (kComplex<T>) {
    return false;
  } else {
    const bool wide = in.m < in.n;
    const Matrices<T> a = wide ? in.transposed() : in;  // then u and v change places
    const int m = static_cast<int>(a.m), n = static_cast<int>(a.n);
    const int columns = wide ? vh_rows : u_columns;
    if (m > 48 || n > 48) return false;
    w.reserve(static_cast<size_t>(m) * n + static_cast<size_t>(m) * m + 2 * n * n + 7 * n + m, 0);
    T *x = w.real.data(), *work = x + m * n, *left = work + n * n + 7 * n + m;
    T* right = left + m * columns;
    a.read(index, x, m);
    if (!has_squares(x, static_cast<int64_t>(m) * n)) return false;
    if (!u) return small<T>().gesvd(m, n, 0, x, values, nullptr, nullptr, work) == 0;
    T *own_u = wide ? left : u, *own_v = wide ? u : right;
    if (small<T>().gesvd(m, n, columns, x, values, own_u, own_v, work)) return false;
    const T* v = wide ? left : right;  // of the result
    const int height = static_cast<int>(in.n);
    for (int j = 0; j < vh_rows; ++j) {
      for (int i = 0; i < height; ++i) vh[i * vh_rows + j] = v[j * height + i];
    }
    return true;
  }
}

void run_svd(Call& c) {
  const Tensor& a = c.args[0].t();
  const int m = rows(a), n = cols(a), k = std::min(m, n);
  const bool vectors = c.args[2].to_bool();
  const char job = !vectors ? 'N' : c.args[1].to_bool() ? 'A' : 'S';
  int* infos = c.outs[3]->as<int>();
  with_lapack_type(a.dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    const Matrices<T> in(a), u(*c.outs[0]), vh(*c.outs[2]);
    auto* values = c.outs[1]->as<RealOf<T>>();
    each_matrix_chunk(in.size(), 10 * cube(a), [&](int64_t b, int64_t end) {
      Workspace<T> w;
      std::vector<T> x(static_cast<size_t>(m) * n);
      for (; b < end; ++b) {
        T *left = vectors ? u[b] : nullptr, *right = vectors ? vh[b] : nullptr;
        infos[b] = 0;
        if (k && small_svd(in, b, values + b * k, left, static_cast<int>(u.n), right,
                           static_cast<int>(vh.m), w)) {
          continue;
        }
        in.read(b, x.data(), m);
        if (k && all_finite(x.data(), static_cast<int64_t>(m) * n)) {
          infos[b] = gesdd(job, m, n, x.data(), values + b * k, left, right,
                           std::max(1, static_cast<int>(vh.m)), w);
        } else {
          if (k) infos[b] = kNotFinite;
          if (vectors) set_identity(left, u.m, u.n), set_identity(right, vh.m, vh.n);
          std::fill_n(values + b * k, k, std::numeric_limits<RealOf<T>>::quiet_NaN());
        }
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
  push_columns(c, v, v, a.dtype);
  push(c, {}, DType::I32);
}
// Gives LAPACK's info; vectors are made in the place of `a`.
template <class T>
int eigenvalues(bool vectors, bool upper, int n, T* a, RealOf<T>* values, Workspace<T>& w) {
  if constexpr (!kComplex<T>) {
    if (n <= (vectors ? 128 : 64) && has_squares(a, static_cast<int64_t>(n) * n)) {
      w.reserve(static_cast<size_t>(n) * (n + 3), 0);
      return small<T>().syevd(vectors, upper, n, a, values, w.real.data());
    }
  }
  return syevd(vectors ? 'V' : 'N', upper ? 'U' : 'L', n, a, values, w);
}
void run_eigh(Call& c) {
  const Tensor& a = c.args[0].t();
  const int n = rows(a);
  const bool upper = c.args[1].to_bool(), vectors = c.args[2].to_bool();
  int* infos = c.outs[2]->as<int>();
  with_lapack_type(a.dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    const Matrices<T> in(a), out(*c.outs[1]);
    auto* values = c.outs[0]->as<RealOf<T>>();
    each_matrix_chunk(in.size(), 4 * cube(a), [&](int64_t b, int64_t end) {
      Workspace<T> w;
      std::vector<T> buffer(vectors ? 0 : static_cast<size_t>(n) * n);
      for (; b < end; ++b) {
        T* m = vectors ? out[b] : buffer.data();
        in.read(b, m, n);
        for (int64_t j = 0; j < n; ++j) {  // the triangle that is not read may hold anything
          upper ? std::fill_n(m + j * n + j + 1, n - j - 1, T(0)) : std::fill_n(m + j * n, j, T(0));
        }
        const bool finite = all_finite(m, static_cast<int64_t>(n) * n);
        if (!finite) std::fill_n(values + b * n, n, std::numeric_limits<RealOf<T>>::quiet_NaN());
        infos[b] = n == 0   ? 0
                   : finite ? eigenvalues(vectors, upper, n, m, values + b * n, w)
                            : kNotFinite;
      }
    });
  });
}
TM_NATIVE("_eigh", infer_eigh, run_eigh);

// _eig(Tensor A, bool compute_v) -> (Tensor values, Tensor vectors, Tensor info)
void infer_eig(Call& c) {
  const Tensor& a = c.args[0].t();
  check_matrix(a, true);
  const int n = rows(a), v = c.args[1].to_bool() ? n : 0;
  push(c, {n}, complex_dtype(a.dtype));
  push_columns(c, v, v, complex_dtype(a.dtype));
  push(c, {}, DType::I32);
}
void run_eig(Call& c) {
  const Tensor& a = c.args[0].t();
  const int n = rows(a);
  const bool vectors = c.args[1].to_bool();
  int* infos = c.outs[2]->as<int>();
  with_lapack_type(a.dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    using C = std::complex<RealOf<T>>;
    const Matrices<T> in(a);
    const Matrices<C> out(*c.outs[1]);
    C* values = c.outs[0]->as<C>();
    each_matrix_chunk(in.size(), 10 * cube(a), [&](int64_t b, int64_t end) {
      Workspace<T> w;
      std::vector<T> m(static_cast<size_t>(n) * n);
      for (; b < end; ++b) {
        in.read(b, m.data(), n);
        if (n == 0 || all_finite(m.data(), static_cast<int64_t>(n) * n)) {
          infos[b] = n ? geev(n, m.data(), values + b * n, vectors ? out[b] : nullptr, w) : 0;
        } else {
          infos[b] = kNotFinite;
          const auto nan = std::numeric_limits<RealOf<T>>::quiet_NaN();
          std::fill_n(values + b * n, n, C(nan, nan));
          if (vectors) std::fill_n(out[b], static_cast<int64_t>(n) * n, C(nan, nan));
        }
      }
    });
  });
}
TM_NATIVE("_eig", infer_eig, run_eig);

// ---- Least squares ------------------------------------------------------------------------------

// The singular value of an upper triangle r, columns m apart, that two steps of iteration with r^H
// r, or its inverse, come to: the largest from below, or the smallest from above. 0 if r is
// singular.
template <class T>
RealOf<T> singular_value(int m, int n, const T* r, bool smallest, std::vector<T>& x) {
  using R = RealOf<T>;
  x.resize(n);
  uint32_t random = 1;
  for (int i = 0; i < n; ++i) {
    random = random * 1664525 + 1013904223;
    x[i] = T(static_cast<R>(random >> 8) / (1 << 23) - 1);
  }
  R growth = 0;
  for (int step = 0; step < 3; ++step) {  // the first makes the start one of length 1
    R square = 0;
    for (int i = 0; i < n; ++i) square += std::norm(x[i]);
    growth = std::sqrt(square);
    if (!(growth > 0 && std::isfinite(growth))) return 0;
    for (int i = 0; i < n; ++i) x[i] /= growth;
    if (step == 2) break;
    if (!smallest) {
      trmv('U', 'N', n, r, m, x.data());
      trmv('U', 'C', n, r, m, x.data());
    } else if (trtrs('U', 'C', 'N', n, 1, r, m, x.data()) ||
               trtrs('U', 'N', 'N', n, 1, r, m, x.data())) {
      return 0;
    }
  }
  return smallest ? 1 / std::sqrt(growth) : std::sqrt(growth);
}

// What gelsy does, without exchanging columns, which takes most of its time: where the rank is
// full beyond doubt, it gives the same. Else false, with `a` and `b` lost. m >= n.
template <class T>
bool full_rank_solution(int m, int n, int k, T* a, T* b, RealOf<T> rcond, T* x, Workspace<T>& w,
                        Workspace<T>& more) {
  std::vector<T> tau(n), vectors;
  reflections(m, n, a, tau.data(), w);
  const RealOf<T> least = singular_value(m, n, a, true, vectors);
  if (!(least > 4 * std::max(rcond, std::numeric_limits<RealOf<T>>::epsilon()) *
                    singular_value(m, n, a, false, vectors))) {
    return false;
  }
  if (k == 0) return true;
  ormqr('L', 'C', m, k, n, a, m, tau.data(), b, more);
  for (int64_t j = 0; j < k; ++j) std::copy_n(b + j * m, n, x + j * n);
  return trtrs('U', 'N', 'N', n, k, a, m, x) == 0;
}

// _lstsq(Tensor A, Tensor B, float rcond, str driver)
//     -> (Tensor X, Tensor rank, Tensor singular_values, Tensor info): one batch
LeastSquares driver_of(const Value& name) {
  const char* const names[] = {"gels", "gelsy", "gelsd", "gelss"};
  for (int i = 0; i < 4; ++i) {
    if (std::strcmp(name.string, names[i]) == 0) return static_cast<LeastSquares>(i);
  }
  fail(Error::Runtime, "parameter `driver` should be one of (gels, gelsy, gelsd, gelss); got ",
       name.string);
}
void infer_lstsq(Call& c) {
  const Tensor &a = c.args[0].t(), &b = c.args[1].t();
  check_matrix(a, false, "input");
  check_matrix(b, false, "other");
  check_pair(a, b);
  driver_of(c.args[3]);
  push_columns(c, cols(a), cols(b), b.dtype);
  push(c, {}, DType::I32);
  push(c, {std::min(rows(a), cols(a))}, real_dtype(a.dtype));
  push(c, {}, DType::I32);
}
void run_lstsq(Call& c) {
  const Tensor &a = c.args[0].t(), &b = c.args[1].t();
  const LeastSquares driver = driver_of(c.args[3]);
  const int m = rows(a), n = cols(a), k = cols(b), least = std::min(m, n), most = std::max(m, n);
  int *ranks = c.outs[1]->as<int>(), *infos = c.outs[3]->as<int>();
  with_lapack_type(a.dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    const auto rcond = static_cast<RealOf<T>>(c.args[2].to_double());
    const Matrices<T> left(a), right(b), out(*c.outs[0]);
    auto* values = c.outs[2]->as<RealOf<T>>();
    // Between them, no square is lost.
    const auto small_size = static_cast<RealOf<T>>(1e-10), large_size = 1 / small_size;
    each_matrix_chunk(out.size(), 2 * cube(a), [&](int64_t i, int64_t end) {
      Workspace<T> w, factoring, applying;
      std::vector<T> x(static_cast<size_t>(m) * n), y(static_cast<size_t>(most) * std::max(1, k));
      auto read = [&] {
        left.read(i, x.data(), m);
        right.read(i, y.data(), most);
      };
      for (; i < end; ++i) {
        read();
        infos[i] = ranks[i] = 0;
        const RealOf<T> size = largest(x.data(), static_cast<int64_t>(m) * n);
        if (driver == LeastSquares::gelsy && m >= n && size > small_size && size < large_size) {
          if (full_rank_solution(m, n, k, x.data(), y.data(), rcond, out[i], factoring, applying)) {
            ranks[i] = n;
            continue;
          }
          read();
        }
        if (least && std::isfinite(size)) {
          infos[i] = least_squares(driver, m, n, k, x.data(), y.data(), rcond, ranks + i,
                                   values + i * least, w);
        } else {
          if (least) infos[i] = kNotFinite;
          std::fill(y.begin(), y.end(), T(0));
          std::fill_n(values + i * least, least, RealOf<T>(0));
        }
        for (int64_t j = 0; j < k; ++j) std::copy_n(y.data() + j * most, n, out[i] + j * n);
      }
    });
  });
}
TM_NATIVE("_lstsq", infer_lstsq, run_lstsq);

}  // namespace
}  // namespace taimatsu
