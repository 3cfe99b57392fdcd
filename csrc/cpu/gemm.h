// Matrix products for every dtype and any strides, on the CPU.
#pragma once

#include <vector>

#include "tensor/dtype.h"
#include "tensor/storage.h"

namespace taimatsu {

// Element (i, j) is `data[i * row + j * col]`, counted in elements.
struct Matrix {
  void* data = nullptr;
  int64_t row = 0, col = 0;
};

// A right operand as the kernels read it, for many products with one matrix.
struct PackedColumns {
  const void* data = nullptr;
  int64_t columns = 0;  // of the whole, in whole panels
  int64_t rows = 0;     // of the whole: a product may have fewer
  int64_t first = 0;    // the column where the product begins: a multiple of the panel
};
int64_t packed_bytes(DType dtype, int64_t k, int64_t n);
PackedColumns pack_columns(DType dtype, const Matrix& b, int64_t k, int64_t n, void* to);

class PackedMatrix {  // that holds its memory, and is made by all threads
 public:
  PackedMatrix() = default;
  PackedMatrix(DType dtype, const Matrix& b, int64_t k, int64_t n);
  PackedColumns from(int64_t column) const { return {memory_->data, columns_, rows_, column}; }
  explicit operator bool() const { return static_cast<bool>(memory_); }

 private:
  Ref<Storage> memory_;
  int64_t columns_ = 0, rows_ = 0;
};
int64_t panel_columns(DType dtype);

// out = alpha * a @ b + beta * add, once for each of `batch` matrices.
//
// Each element of the result is summed in an order that the sizes and strides alone decide, so
// results don't depend on the number of threads. `add` may be `out`; otherwise `out` must not
// overlap the operands. 16-bit floats are summed in f32, integers wrap around.
struct Product {
  DType dtype;
  Device device;    // of all memory here
  int64_t m, n, k;  // a is m by k, b is k by n
  Matrix a, b, out;
  PackedColumns packed_b;  // if it has data: in the place of b
  Matrix add;              // its strides may be 0; no data: not there
  Number alpha = Number::integer(1), beta = Number::integer(1);
  int64_t batch = 1;
  // Where matrix i of the batch starts, in elements; empty: at 0.
  std::vector<int64_t> a_at, b_at, out_at, add_at;
};
void multiply(const Product& p);
// What `multiply` is on another device.
using Multiply = void (*)(const Product& p);
void register_multiplier(DeviceType type, Multiply multiply);

}  // namespace taimatsu
