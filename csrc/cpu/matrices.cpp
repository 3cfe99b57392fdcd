#include "cpu/matrices.h"

#include "cpu/deterministic.h"

namespace taimatsu {

void check_matrix(const Tensor& t, bool square, const char* name) {
  if (t.ndim() < 2) {
    fail(Error::Runtime, "The input tensor ", name, " must have at least 2 dimensions.");
  }
  if (square && rows(t) != cols(t)) {
    fail(Error::Runtime, name, " must be batches of square matrices, but they are ", rows(t),
         " by ", cols(t), " matrices");
  }
  with_lapack_type(t.dtype, [](auto) {});
  if (rows(t) > 46340 || cols(t) > 46340) {  // LAPACK counts elements in int32
    fail(Error::Runtime, "matrices of more than 46340 rows or columns");
  }
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

void check_pivots(const Tensor& pivots, const Tensor& t, int64_t n) {
  const int batch = t.ndim() - 2;
  if (pivots.dtype != DType::I32 || pivots.ndim() != batch + 1 || pivots.layout->size(batch) != n ||
      !std::equal(t.sizes().begin(), t.sizes().begin() + batch, pivots.sizes().begin())) {
    fail(Error::Runtime, "pivots should be int32, ", n, " for each matrix of ", format(t.sizes()),
         "; got ", info(pivots.dtype).name, " with sizes ", format(pivots.sizes()));
  }
}

namespace {
std::vector<int64_t> sizes_of(const Tensor& like, std::initializer_list<int64_t> last) {
  std::vector<int64_t> sizes(like.sizes().begin(), like.sizes().end() - 2);
  sizes.insert(sizes.end(), last);
  return sizes;
}
}  // namespace

void push(Call& c, std::initializer_list<int64_t> last, DType dtype) {
  const Tensor& like = c.args[0].t();
  c.outs.push(empty(sizes_of(like, last), dtype, like.device()));
}

void push_columns(Call& c, int64_t m, int64_t n, DType dtype) {
  const Tensor& like = c.args[0].t();
  const std::vector<int64_t> sizes = sizes_of(like, {m, n});
  const int ndim = static_cast<int>(sizes.size());
  std::vector<int> order{ndim - 2, ndim - 1};
  for (int d = ndim - 3; d >= 0; --d) order.push_back(d);
  LayoutRef layout = packed_layout(sizes, {order.data(), ndim});
  c.outs.push(empty(layout.get(), dtype, like.device()));
}

void each_matrix_chunk(int64_t count, double work,
                       const std::function<void(int64_t, int64_t)>& body) {
  WithoutGil without(work * static_cast<double>(count) > kLongWork / 8);
  if (count > 1 && (work < 1e7 || count >= num_threads())) {
    const auto grain = std::max<int64_t>(1, static_cast<int64_t>(1e5 / (work + 1)));
    return parallel_for(count, grain, 1, body);
  }
  BlasThreads threads(deterministic_algorithms() ? 0 : work);
  body(0, count);
}

}  // namespace taimatsu
