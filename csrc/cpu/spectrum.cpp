// Singular values, eigenvalues, least squares. `info` is as in factorization.cpp.
#include "cpu/matrices.h"
#include "cpu/small.h"

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
        in.read(b, x.data(), m);
        infos[b] = 0;
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
    // Neither the square of an element that counts nor a sum of them leaves the range.
    const T most = largest(a, static_cast<int64_t>(n) * n);
    if (n <= 32 && most < T(1e15) && most > T(1e-10)) {
      return small::syevd(vectors, upper, n, a, values, w.work);
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
    each_matrix_chunk(out.size(), 2 * cube(a), [&](int64_t i, int64_t end) {
      Workspace<T> w;
      std::vector<T> x(static_cast<size_t>(m) * n), y(static_cast<size_t>(most) * std::max(1, k));
      for (; i < end; ++i) {
        left.read(i, x.data(), m);
        right.read(i, y.data(), most);
        infos[i] = ranks[i] = 0;
        if (least && all_finite(x.data(), static_cast<int64_t>(m) * n)) {
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
