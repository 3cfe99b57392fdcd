// The ops that are matrix products: shapes and errors here, arithmetic in gemm.cpp.
#include "cpu/gemm.h"
#include "cpu/native.h"

namespace taimatsu {
namespace {

std::string by(Ints s) {  // "2x3"
  std::string text;
  for (int64_t i = 0; i < s.size; ++i) text += (i ? "x" : "") + std::to_string(s[i]);
  return text;
}

void check_dtypes(const Tensor& a, const Tensor& b) {
  if (a.dtype != b.dtype) {
    fail(Error::Runtime,
         "expected both operands to have the same dtype, but got: ", info(a.dtype).name,
         " != ", info(b.dtype).name, "; convert one of them with .to()");
  }
  if (a.dtype == DType::Bool) {
    fail(Error::Runtime, "not implemented for 'Bool'; convert to a number type first");
  }
  if (is_float8(a.dtype) || a.dtype == DType::C32) {
    fail(Error::NotImplemented, "not implemented for '", info(a.dtype).legacy,
         "'; convert to a wider type first");
  }
}

void check_ndim(const Tensor& t, int ndim, const char* name) {
  if (t.ndim() != ndim) {
    fail(Error::Runtime, name, " must be a ",
         ndim == 1   ? "vector"
         : ndim == 2 ? "matrix"
                     : "3D tensor",
         "; got ", t.ndim(), "-D with sizes ", format(t.sizes()));
  }
}

void check_mm(const Tensor& a, const Tensor& b) {
  if (a.layout->size(1) != b.layout->size(0)) {
    fail(Error::Runtime, "mat1 and mat2 shapes cannot be multiplied (", by(a.sizes()), " and ",
         by(b.sizes()), ")");
  }
  check_dtypes(a, b);
}

// The last two dims as a matrix; a vector as a row or a column.
Matrix matrix(const Tensor& t) {
  const Layout& l = *t.layout;
  return {t.data(), l.stride(l.ndim - 2), l.stride(l.ndim - 1)};
}
Matrix row(const Tensor& t) { return {t.data(), 0, t.layout->stride(0)}; }
Matrix column(const Tensor& t) { return {t.data(), t.layout->stride(0), 1}; }

// `t` laid over an m by n matrix.
Matrix broadcast(const Tensor& t, int64_t m, int64_t n) {
  const Layout& l = *t.layout;
  Matrix r{t.data(), 0, 0};
  if (l.ndim >= 1 && n > 1 && l.size(l.ndim - 1) > 1) r.col = l.stride(l.ndim - 1);
  if (l.ndim >= 2 && m > 1 && l.size(l.ndim - 2) > 1) r.row = l.stride(l.ndim - 2);
  return r;
}

void run(Product& p) {
  const bool here = p.device.type == DeviceType::CPU;
  WithoutGil without(here && static_cast<double>(p.m) * p.n * p.k * p.batch > kLongWork);
  multiply(p);
}

Product product(const Tensor& out, int64_t m, int64_t n, int64_t k, Matrix a, Matrix b) {
  Product p;
  p.dtype = out.dtype;
  p.device = out.device();
  p.m = m;
  p.n = n;
  p.k = k;
  p.a = a;
  p.b = b;
  p.out = {out.data(), n, 1};
  return p;
}

// alpha and beta of the addmm family; of integers their fractions don't count.
void scale(Product& p, const Value& beta, const Value& alpha) {
  const bool integral = !is_differentiable(p.dtype);
  p.alpha = integral ? Number::integer(alpha.to_int()) : alpha.number;
  p.beta = integral ? Number::integer(beta.to_int()) : beta.number;
  if (p.beta.as_complex() == 0.0) p.add.data = nullptr;  // not even its NaNs count
}

void push(Call& c, std::initializer_list<int64_t> sizes, const Tensor& like) {
  c.outs.push(
      empty(Ints(sizes.begin(), static_cast<int64_t>(sizes.size())), like.dtype, like.device()));
}

// ---- mm, mv, dot ----------------------------------------------------------------------------

void infer_mm(Call& c) {
  const Tensor &a = c.args[0].t(), &b = c.args[1].t();
  check_ndim(a, 2, "self");
  check_ndim(b, 2, "mat2");
  check_mm(a, b);
  push(c, {a.layout->size(0), b.layout->size(1)}, a);
}
void multiply_2d(const Tensor& a, const Tensor& b, const Tensor& out) {
  Product p =
      product(out, a.layout->size(0), b.layout->size(1), a.layout->size(1), matrix(a), matrix(b));
  run(p);
}
void run_mm(Call& c) { multiply_2d(c.args[0].t(), c.args[1].t(), *c.outs[0]); }

void infer_mv(Call& c) {
  const Tensor &a = c.args[0].t(), &v = c.args[1].t();
  if (a.ndim() != 2 || v.ndim() != 1) {
    fail(Error::Runtime, "vector + matrix @ vector expected, got ", a.ndim(), ", ", v.ndim());
  }
  if (a.layout->size(1) != v.layout->size(0)) {
    fail(Error::Runtime, "size mismatch, got input (", a.layout->size(0), "), mat (", by(a.sizes()),
         "), vec (", v.layout->size(0), ")");
  }
  check_dtypes(a, v);
  push(c, {a.layout->size(0)}, a);
}
void run_mv(Call& c) {
  const Tensor &a = c.args[0].t(), &v = c.args[1].t();
  Product p = product(*c.outs[0], a.layout->size(0), 1, a.layout->size(1), matrix(a), column(v));
  run(p);
}

void infer_dot(Call& c) {
  const Tensor &a = c.args[0].t(), &b = c.args[1].t();
  if (a.ndim() != 1 || b.ndim() != 1) {
    fail(Error::Runtime, "1D tensors expected, but got ", a.ndim(), "D and ", b.ndim(),
         "D tensors");
  }
  if (a.layout->size(0) != b.layout->size(0)) {
    fail(Error::Runtime, "inconsistent tensor size, expected tensor ", format(a.sizes()),
         " and src ", format(b.sizes()), " to have the same number of elements, but got ",
         a.numel(), " and ", b.numel(), " elements respectively");
  }
  check_dtypes(a, b);
  push(c, {}, a);
}
void run_dot(Call& c) {
  const Tensor &a = c.args[0].t(), &b = c.args[1].t();
  Product p = product(*c.outs[0], 1, 1, a.layout->size(0), row(a), column(b));
  run(p);
}

// The product, and the sums of a's rows or of b's columns: products with ones.
void infer_mm_sums(Call& c) {
  infer_mm(c);
  const Tensor& product = *c.outs[0];
  push(c, {product.layout->size(c.args[2].to_bool() ? 0 : 1)}, product);
}
void run_mm_sums(Call& c) {
  const Tensor &a = c.args[0].t(), &b = c.args[1].t(), &sums = *c.outs[1];
  multiply_2d(a, b, *c.outs[0]);
  char one[16] = {0};
  store_element(a.dtype, one, Number::integer(1));
  const Matrix ones{one, 0, 0};
  const bool of_a = c.args[2].to_bool();
  const int64_t m = of_a ? a.layout->size(0) : 1, n = of_a ? 1 : b.layout->size(1);
  Product p =
      product(sums, m, n, a.layout->size(1), of_a ? matrix(a) : ones, of_a ? ones : matrix(b));
  run(p);
}

TM_NATIVE("mm", infer_mm, run_mm);
TM_NATIVE("_mm_sums", infer_mm_sums, run_mm_sums);
TM_NATIVE("mv", infer_mv, run_mv);
TM_NATIVE("dot", infer_dot, run_dot);

// ---- addmm, bmm, baddbmm --------------------------------------------------------------------

void infer_addmm(Call& c) {
  const Tensor &add = c.args[0].t(), &a = c.args[1].t(), &b = c.args[2].t();
  check_ndim(a, 2, "mat1");
  check_ndim(b, 2, "mat2");
  check_mm(a, b);
  check_dtypes(add, a);
  int64_t sizes[2] = {a.layout->size(0), b.layout->size(1)};
  if (!is_expandable(add.sizes(), {sizes, 2})) {
    fail(Error::Runtime, "self with sizes ", format(add.sizes()),
         " can't be expanded to those of the "
         "product, ",
         format({sizes, 2}));
  }
  push(c, {sizes[0], sizes[1]}, a);
}
void run_addmm(Call& c) {
  const Tensor &a = c.args[1].t(), &b = c.args[2].t();
  Product p = product(*c.outs[0], a.layout->size(0), b.layout->size(1), a.layout->size(1),
                      matrix(a), matrix(b));
  p.add = broadcast(c.args[0].t(), p.m, p.n);
  scale(p, c.args[3], c.args[4]);
  run(p);
}
TM_NATIVE("addmm", infer_addmm, run_addmm);

}  // namespace

std::vector<int64_t> batch_starts(const Tensor& t, Ints sizes, int matrix_dims) {
  const Layout& l = *t.layout;
  const int batch_dims = l.ndim - matrix_dims;
  bool all_zero = true;
  std::vector<int64_t> strides(sizes.size, 0);
  for (int d = 0; d < batch_dims; ++d) {
    if (l.size(d) > 1) strides[sizes.size - batch_dims + d] = l.stride(d);
    all_zero &= l.size(d) == 1 || l.stride(d) == 0;
  }
  if (all_zero) return {};
  std::vector<int64_t> at{0}, next;
  for (int64_t d = 0; d < sizes.size; ++d) {
    next.clear();
    next.reserve(at.size() * sizes[d]);
    for (int64_t base : at) {
      for (int64_t i = 0; i < sizes[d]; ++i) next.push_back(base + i * strides[d]);
    }
    at.swap(next);
  }
  return at;
}

namespace {

void set_batch(Product& p, Ints sizes, const Tensor& a, int a_dims, const Tensor& b, int b_dims) {
  p.batch = numel_of(sizes);
  if (p.batch == 0) return;
  p.a_at = batch_starts(a, sizes, a_dims);
  p.b_at = batch_starts(b, sizes, b_dims);
  if (p.batch > 1) {
    p.out_at.resize(p.batch);
    for (int64_t i = 0; i < p.batch; ++i) p.out_at[i] = i * p.m * p.n;
  }
}

void check_bmm(const Tensor& a, const Tensor& b) {
  check_ndim(a, 3, "batch1");
  check_ndim(b, 3, "batch2");
  const Layout &la = *a.layout, &lb = *b.layout;
  if (la.size(0) != lb.size(0) || la.size(2) != lb.size(1)) {
    fail(Error::Runtime, "Expected size for first two dimensions of batch2 tensor to be: [",
         la.size(0), ", ", la.size(2), "] but got: [", lb.size(0), ", ", lb.size(1), "].");
  }
  check_dtypes(a, b);
}
void infer_bmm(Call& c) {
  const Tensor &a = c.args[0].t(), &b = c.args[1].t();
  check_bmm(a, b);
  push(c, {a.layout->size(0), a.layout->size(1), b.layout->size(2)}, a);
}
Product bmm(const Tensor& a, const Tensor& b, const Tensor& out) {
  Product p =
      product(out, a.layout->size(1), b.layout->size(2), a.layout->size(2), matrix(a), matrix(b));
  set_batch(p, {out.layout->size_data(), 1}, a, 2, b, 2);
  return p;
}
void run_bmm(Call& c) {
  Product p = bmm(c.args[0].t(), c.args[1].t(), *c.outs[0]);
  run(p);
}
void infer_baddbmm(Call& c) {
  const Tensor &add = c.args[0].t(), &a = c.args[1].t(), &b = c.args[2].t();
  check_bmm(a, b);
  check_dtypes(add, a);
  int64_t sizes[3] = {a.layout->size(0), a.layout->size(1), b.layout->size(2)};
  if (!is_expandable(add.sizes(), {sizes, 3})) {
    fail(Error::Runtime, "self with sizes ", format(add.sizes()),
         " can't be expanded to those of the "
         "product, ",
         format({sizes, 3}));
  }
  push(c, {sizes[0], sizes[1], sizes[2]}, a);
}
void run_baddbmm(Call& c) {
  Product p = bmm(c.args[1].t(), c.args[2].t(), *c.outs[0]);
  const Tensor& add = c.args[0].t();
  p.add = broadcast(add, p.m, p.n);
  if (add.ndim() == 3) p.add_at = batch_starts(add, {c.outs[0]->layout->size_data(), 1}, 2);
  scale(p, c.args[3], c.args[4]);
  run(p);
}
TM_NATIVE("bmm", infer_bmm, run_bmm);
TM_NATIVE("baddbmm", infer_baddbmm, run_baddbmm);

// ---- linear, matmul -------------------------------------------------------------------------

// All dims but the last as one, if the strides allow: the stride between rows, or -1.
int64_t row_stride(const Layout& l) {
  int64_t stride = -1, expected = 0;
  for (int d = l.ndim - 2; d >= 0; --d) {
    if (l.size(d) == 1) continue;
    if (stride < 0) {
      stride = l.stride(d);
    } else if (l.stride(d) != expected) {
      return -1;
    }
    expected = l.stride(d) * l.size(d);
  }
  return stride < 0 ? l.ndim ? l.size(l.ndim - 1) : 1 : stride;
}

// x [..., k] as a matrix with all leading dims as rows; `kept` holds the copy if one is needed.
Matrix rows_of(Tensor& x, TensorRef& kept) {
  int64_t stride = x.numel() == 0 ? 0 : row_stride(*x.layout);
  if (stride >= 0) return {x.data(), stride, x.layout->stride(x.ndim() - 1)};
  kept = contiguous(x);
  return {kept->data(), x.layout->size(x.ndim() - 1), 1};
}

void infer_linear(Call& c) {
  const Tensor &x = c.args[0].t(), &w = c.args[1].t();
  if (x.ndim() == 0 || (w.ndim() != 2 && w.ndim() != 1)) {
    fail(Error::Runtime, "expects an input of at least 1 dimension and a weight of 1 or 2; got ",
         format(x.sizes()), " and ", format(w.sizes()));
  }
  const int64_t k = x.layout->size(x.ndim() - 1);
  if (k != w.layout->size(w.ndim() - 1)) {
    const int64_t rows = k ? x.numel() / k : 0;
    fail(Error::Runtime, "mat1 and mat2 shapes cannot be multiplied (", rows, "x", k, " and ",
         w.layout->size(w.ndim() - 1), "x", w.ndim() == 2 ? w.layout->size(0) : 1,
         "); the input's last dimension must be the weight's");
  }
  check_dtypes(x, w);
  int64_t sizes[kMaxDims];
  std::copy(x.sizes().begin(), x.sizes().end(), sizes);
  int64_t ndim = x.ndim();
  if (w.ndim() == 2) {
    sizes[ndim - 1] = w.layout->size(0);
  } else {
    --ndim;
  }
  if (!c.args[2].none()) {
    const Tensor& bias = c.args[2].t();
    check_dtypes(bias, x);
    if (bias.ndim() > 1 || !is_expandable(bias.sizes(), {sizes, ndim})) {
      fail(Error::Runtime, "a bias with sizes ", format(bias.sizes()),
           " can't be added to a result "
           "with sizes ",
           format({sizes, ndim}));
    }
  }
  c.outs.push(empty({sizes, ndim}, x.dtype, x.device()));
}
void run_linear(Call& c) {
  Tensor &x = c.args[0].t(), &w = c.args[1].t(), &out = *c.outs[0];
  const int64_t k = w.layout->size(w.ndim() - 1), n = w.ndim() == 2 ? w.layout->size(0) : 1;
  TensorRef kept;
  Matrix rows = rows_of(x, kept);
  Matrix weight{w.data(), w.layout->stride(w.ndim() - 1), w.ndim() == 2 ? w.layout->stride(0) : 1};
  Product p = product(out, n ? out.numel() / n : 0, n, k, rows, weight);
  if (!c.args[2].none()) p.add = broadcast(c.args[2].t(), p.m, w.ndim() == 2 ? n : 1);
  run(p);
}
TM_NATIVE("linear", infer_linear, run_linear);

void infer_matmul(Call& c) {
  const Tensor &a = c.args[0].t(), &b = c.args[1].t();
  const Layout &la = *a.layout, &lb = *b.layout;
  if (la.ndim == 2 && lb.ndim == 2) {
    check_mm(a, b);
    return push(c, {la.size(0), lb.size(1)}, a);
  }
  if (la.ndim == 0 || lb.ndim == 0) {
    fail(Error::Runtime, "both arguments to matmul need to be at least 1D, but they are ", la.ndim,
         "D and ", lb.ndim, "D");
  }
  const int64_t k = la.size(la.ndim - 1), kb = lb.size(lb.ndim > 1 ? lb.ndim - 2 : 0);
  if (k != kb) {
    fail(Error::Runtime, "mat1 and mat2 shapes cannot be multiplied (", by(a.sizes()), " and ",
         by(b.sizes()), "): the last dimension of the first must be the ",
         lb.ndim > 1 ? "last but one" : "only one", " of the second");
  }
  check_dtypes(a, b);
  std::vector<int64_t> sizes(la.size_data(), la.size_data() + std::max(0, la.ndim - 2));
  broadcast_into(sizes, {lb.size_data(), std::max<int64_t>(0, lb.ndim - 2)});
  if (la.ndim > 1) sizes.push_back(la.size(la.ndim - 2));
  if (lb.ndim > 1) sizes.push_back(lb.size(lb.ndim - 1));
  c.outs.push(empty(sizes, a.dtype, a.device()));
}
void run_matmul(Call& c) {
  Tensor &a = c.args[0].t(), &b = c.args[1].t(), &out = *c.outs[0];
  const Layout &la = *a.layout, &lb = *b.layout;
  if (la.ndim == 2 && lb.ndim == 2) return multiply_2d(a, b, out);
  const Matrix right = lb.ndim > 1 ? matrix(b) : column(b);
  const int64_t n = lb.ndim > 1 ? lb.size(lb.ndim - 1) : 1, k = la.size(la.ndim - 1);
  if (lb.ndim <= 2) {  // all leading dims of the first are rows
    TensorRef kept;
    Product p = product(out, n ? out.numel() / n : 0, n, k, rows_of(a, kept), right);
    return run(p);
  }
  const bool is_row = la.ndim == 1;
  Product p =
      product(out, is_row ? 1 : la.size(la.ndim - 2), n, k, is_row ? row(a) : matrix(a), right);
  set_batch(p, {out.layout->size_data(), out.ndim() - (is_row ? 1 : 2)}, a, is_row ? 1 : 2, b, 2);
  run(p);
}
TM_NATIVE("matmul", infer_matmul, run_matmul);

}  // namespace
}  // namespace taimatsu
