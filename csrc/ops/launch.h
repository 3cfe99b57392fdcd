// Launching kernels, and the few tensor operations that the core itself needs.
#pragma once

#include "ops/op.h"
#include "tensor/iterate.h"

namespace taimatsu {

// One kernel over its outer axes; threads split the longest axis that the kernel allows.
struct Launch {
  const Kernel& kernel;
  void** ptr;         // operands
  int64_t* geometry;  // lo, hi per axis, then what the kind prescribes
  int geometry_size;
  int axes;
  const int64_t* scalars;
  int64_t work;            // elements touched: decides whether threads pay
  int64_t row = 0;         // extent of the row, for scratch
  const Op* op = nullptr;  // for errors that are only known later
};
int32_t launch(const Launch& l);

// The same for each position of the dims [from, it.ndim), which threads share out. `ptr` are the
// operands' first elements, `work` is that of one position.
int32_t launch_each(const Launch& l, int operands, const Iteration& it, int from,
                    const int64_t* itemsizes);

// Runs `body(offset per operand)` for the positions [begin, end) of the dims [from, it.ndim).
// (In elements; the operands' item sizes are the caller's.)
template <class F>
void for_outer(const Iteration& it, int from, int64_t begin, int64_t end, const F& body) {
  int64_t position[kMaxDims] = {0};
  int64_t offset[Iteration::kMaxOperands] = {0};
  int64_t left = begin;
  for (int d = from; d < it.ndim && left; ++d) {
    position[d] = left % it.extent[d];
    left /= it.extent[d];
    for (int k = 0; k < it.nops; ++k) offset[k] += position[d] * it.stride[k][d];
  }
  for (int64_t i = begin; i < end; ++i) {
    body(offset);
    for (int d = from; d < it.ndim; ++d) {
      for (int k = 0; k < it.nops; ++k) offset[k] += it.stride[k][d];
      if (++position[d] < it.extent[d]) break;
      for (int k = 0; k < it.nops; ++k) offset[k] -= it.stride[k][d] * it.extent[d];
      position[d] = 0;
    }
  }
}

// The same for all positions.
template <class F>
void for_outer(const Iteration& it, int from, const F& body) {
  int64_t total = 1;
  for (int d = from; d < it.ndim; ++d) total *= it.extent[d];
  for_outer(it, from, 0, total, body);
}

// The stride class of an axis: what a kernel is specialised on. Steps of two are 3.
inline int stride_class(int64_t stride) {
  return stride == 0 || stride == 1 ? static_cast<int>(stride) : stride == 2 ? 3 : 2;
}
// lo, hi of the axes; sizes and strides of the operands.
constexpr int kMaxGeometry = 16 + 16 * 2 * 8;

// Elementary operations, without history unless stated. On tensors whose class carries ops out
// (ops/dispatch.h) copy_into, fill and clone are ops.
void copy_into(Tensor& to, Tensor& from, bool non_blocking = false);  // broadcasts and converts
TensorRef clone(Tensor& t);                                           // preserve_format
TensorRef contiguous(Tensor& t);                                      // t itself where it is
TensorRef on_device(Tensor& t, Device d);                             // t itself where it is there
TensorRef to_dtype(Tensor& t, DType dtype);  // with history; t itself where it has the dtype
void fill(Tensor& t, const Number& n);
void resize_tensor(Tensor& t, Ints sizes, bool only_memory);  // the out= form's
bool can_cast(DType from, DType to);

enum class Overlap { None, Same, Partial };
Overlap overlap(const Tensor& a, const Tensor& b);

// `outs.other` (what Python returned) -> tensors; TypeError if it is not what the schema says.
void unwrap_outputs(const Op& op, Tensors& outs);
void set_interpreter(PyObject* function);

}  // namespace taimatsu
