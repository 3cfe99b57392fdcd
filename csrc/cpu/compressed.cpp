// Rows one after the other: where each begins, what is in it, and its product with a matrix.
#include <atomic>

#include "cpu/clones.h"
#include "cpu/elements.h"
#include "cpu/native.h"
#include "cpu/threads.h"

namespace taimatsu {
namespace {

template <class F>
void with_index(const Tensor& t, const F& body) {
  if (t.ndim() != 1) fail(Error::Runtime, "expected a vector; got sizes ", format(t.sizes()));
  if (t.dtype == DType::I32) return body(TypeTag<int32_t>{});
  if (t.dtype == DType::I64) return body(TypeTag<int64_t>{});
  fail(Error::Runtime, "expected int32 or int64, not ", info(t.dtype).name);
}

// _spread(Tensor counts) -> Tensor: i, counts[i] times, one after the other
void run_spread(Call& c) {
  TensorRef counts = contiguous(c.args[0].t());
  with_index(*counts, [&](auto tag) {
    using I = typename decltype(tag)::type;
    const I* count = counts->as<I>();
    const int64_t n = counts->numel();
    int64_t total = 0;
    for (int64_t i = 0; i < n; ++i) {
      if (count[i] < 0 || __builtin_add_overflow(total, int64_t{count[i]}, &total)) {
        fail(Error::Runtime, "repeats can not be negative; got ", count[i]);
      }
    }
    int64_t* to = push_empty(c, {&total, 1}, DType::I64).as<int64_t>();
    for (int64_t i = 0; i < n; ++i) to = std::fill_n(to, count[i], i);
  });
}
TM_NATIVE("_spread", nullptr, run_spread);

// _row_starts(Tensor rows, int count) -> Tensor: of `count` rows and the end, the first element;
// `rows` has the row of each, in order (else some rows that rise come of it)
void infer_row_starts(Call& c) {
  const int64_t size = c.args[1].to_int() + 1;
  push_empty(c, {&size, 1}, DType::I64);
}
void run_row_starts(Call& c) {
  TensorRef rows = contiguous(c.args[0].t());
  const int64_t count = c.args[1].to_int();
  int64_t* starts = c.outs[0]->as<int64_t>();
  with_index(*rows, [&](auto tag) {
    using I = typename decltype(tag)::type;
    const I* row = rows->as<I>();
    std::fill_n(starts, count + 1, 0);
    for (int64_t i = 0; i < rows->numel(); ++i) {  // where each row ends
      if (row[i] < 0 || row[i] >= count) {
        fail(Error::Runtime, "expected rows from 0 to ", count - 1, "; got ", row[i]);
      }
      starts[row[i] + 1] = i + 1;
    }
    for (int64_t i = 1; i <= count; ++i) starts[i] = std::max(starts[i], starts[i - 1]);
  });
}
TM_NATIVE("_row_starts", infer_row_starts, run_row_starts);

// ---- Products -------------------------------------------------------------------------------

#pragma GCC push_options
#pragma GCC optimize("O3")  // in vectors

// Compressed rows, with the rows of the result, and those that columns name in a matrix.
template <class T, class I>
struct Rows {
  const I *starts, *columns;
  int64_t size, count, width;  // of the columns; of the matrix: rows and columns
  const T *values, *mat;
  T* out;

  // Rows [begin, end) of the product. False where an index isn't one.
  VECTORISED bool times_vector(int64_t begin, int64_t end) const {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t first = starts[i], last = starts[i + 1];
      if (first < 0 || first > last || last > size) return false;
      T sum = 0;
      for (int64_t q = first; q < last; ++q) {
        const auto column = static_cast<int64_t>(columns[q]);
        if (static_cast<uint64_t>(column) >= static_cast<uint64_t>(count)) return false;
        sum += values[q] * mat[column];
      }
      out[i] = sum;
    }
    return true;
  }
  VECTORISED bool times_matrix(int64_t begin, int64_t end) const {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t first = starts[i], last = starts[i + 1];
      if (first < 0 || first > last || last > size) return false;
      T* __restrict to = out + i * width;
      std::fill_n(to, width, T(0));
      for (int64_t q = first; q < last; ++q) {
        const auto column = static_cast<int64_t>(columns[q]);
        if (static_cast<uint64_t>(column) >= static_cast<uint64_t>(count)) return false;
        const T factor = values[q];
        const T* from = mat + column * width;
#pragma GCC ivdep
        for (int64_t j = 0; j < width; ++j) to[j] += factor * from[j];
      }
    }
    return true;
  }
  // One number for each column: the product of the row that it names with row i of `values`.
  VECTORISED bool dots(int64_t begin, int64_t end) const {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t first = starts[i], last = starts[i + 1];
      if (first < 0 || first > last || last > size) return false;
      const T* x = values + i * width;
      for (int64_t q = first; q < last; ++q) {
        const auto column = static_cast<int64_t>(columns[q]);
        if (static_cast<uint64_t>(column) >= static_cast<uint64_t>(count)) return false;
        const T* y = mat + column * width;
        T sums[16] = {};
        int64_t j = 0;
        for (; j + 16 <= width; j += 16) {
          for (int l = 0; l < 16; ++l) sums[l] += x[j + l] * y[j + l];
        }
        for (; j < width; ++j) sums[0] += x[j] * y[j];
        for (int half = 8; half; half /= 2) {
          for (int l = 0; l < half; ++l) sums[l] += sums[l + half];
        }
        out[q] = sums[0];
      }
    }
    return true;
  }
};
#pragma GCC pop_options

// Runs body(rows, begin, end) over the rows; `operand` becomes `rows.values`.
template <class F>
void each_row(Call& c, const Tensor& operand, const Tensor& mat, const F& body) {
  TensorRef starts = contiguous(c.args[0].t()), columns = contiguous(c.args[1].t());
  const int64_t width = mat.layout->size(1), rows = starts->numel() - 1;
  const double work = static_cast<double>(columns->numel() + rows) * static_cast<double>(width + 4);
  std::atomic<bool> fine{true};
  auto run = [&](auto value, auto index) {
    using T = typename decltype(value)::type;
    using I = typename decltype(index)::type;
    const Rows<T, I> all{starts->as<I>(), columns->as<I>(), columns->numel(), mat.layout->size(0),
                         width,           operand.as<T>(),  mat.as<T>(),      c.outs[0]->as<T>()};
    fine = all.starts[0] == 0 && all.starts[rows] == all.size;
    WithoutGil without(work > kLongWork);
    parallel_for(rows, grain_of(rows, work), 1, [&](int64_t begin, int64_t end) {
      if (!body(all, begin, end)) fine = false;
    });
  };
  with_index(*starts, [&](auto index) {
    switch (mat.dtype) {
      case DType::F32: return run(TypeTag<float>{}, index);
      case DType::F64: return run(TypeTag<double>{}, index);
      default: fail(Error::NotImplemented, "not implemented for '", info(mat.dtype).legacy, "'");
    }
  });
  if (!fine) {
    fail(Error::Runtime, "the starts of the rows don't rise from 0 to ", columns->numel(),
         ", or a column isn't below ", mat.layout->size(0));
  }
}

void check_rows(const Tensor& starts, const Tensor& columns, const Tensor& x, const Tensor& y) {
  if (starts.ndim() != 1 || starts.numel() < 1 || columns.ndim() != 1 ||
      starts.dtype != columns.dtype) {
    fail(Error::Runtime, "expected starts of rows and columns as vectors of one dtype; got sizes ",
         format(starts.sizes()), " and ", format(columns.sizes()), ", ", info(starts.dtype).name,
         " and ", info(columns.dtype).name);
  }
  if (x.dtype != y.dtype) {
    fail(Error::Runtime, "expected operands of one dtype; got ", info(x.dtype).name, " and ",
         info(y.dtype).name);
  }
}

// _rows_product(Tensor starts, Tensor columns, Tensor values, Tensor mat) -> Tensor
void infer_rows_product(Call& c) {
  const Tensor &starts = c.args[0].t(), &columns = c.args[1].t(), &values = c.args[2].t(),
               &mat = c.args[3].t();
  check_rows(starts, columns, values, mat);
  if (mat.ndim() != 2 || values.ndim() != 1 || values.numel() != columns.numel()) {
    fail(Error::Runtime, "expected a value for each column, and a matrix; got sizes ",
         format(values.sizes()), " and ", format(mat.sizes()));
  }
  const int64_t sizes[2] = {starts.numel() - 1, mat.layout->size(1)};
  c.outs.push(empty({sizes, 2}, values.dtype, values.device()));
}
void run_rows_product(Call& c) {
  TensorRef values = contiguous(c.args[2].t()), mat = contiguous(c.args[3].t());
  each_row(c, *values, *mat, [](const auto& rows, int64_t begin, int64_t end) {
    return rows.width == 1 ? rows.times_vector(begin, end) : rows.times_matrix(begin, end);
  });
}
TM_NATIVE("_rows_product", infer_rows_product, run_rows_product);

// _rows_dots(Tensor starts, Tensor columns, Tensor left, Tensor right) -> Tensor
void infer_rows_dots(Call& c) {
  const Tensor &starts = c.args[0].t(), &columns = c.args[1].t(), &left = c.args[2].t(),
               &right = c.args[3].t();
  check_rows(starts, columns, left, right);
  if (left.ndim() != 2 || right.ndim() != 2 || left.layout->size(1) != right.layout->size(1) ||
      left.layout->size(0) != starts.numel() - 1) {
    fail(Error::Runtime, "expected two matrices of as many columns, the first with a row for each ",
         "start but the last; got sizes ", format(left.sizes()), " and ", format(right.sizes()));
  }
  c.outs.push(empty(columns.sizes(), left.dtype, left.device()));
}
void run_rows_dots(Call& c) {
  TensorRef left = contiguous(c.args[2].t()), right = contiguous(c.args[3].t());
  each_row(c, *left, *right,
           [](const auto& rows, int64_t begin, int64_t end) { return rows.dots(begin, end); });
}
TM_NATIVE("_rows_dots", infer_rows_dots, run_rows_dots);

}  // namespace
}  // namespace taimatsu
