// Broadcasting and collapsing of dimensions: how N operands are walked together.
#pragma once

#include "tensor/layout.h"

namespace taimatsu {

// Dim 0 is the innermost. Strides count elements; 0 where an operand is broadcast.
struct Iteration {
  static constexpr int kMaxOperands = 16;
  int ndim = 0;
  int nops = 0;
  int64_t extent[kMaxDims];
  int64_t stride[kMaxOperands][kMaxDims];
  // Rows: dims [0, reduced) belong to the row, dims [reduced, ndim) are kept. 0 elsewhere.
  int reduced = 0;

  int64_t numel() const {
    int64_t n = 1;
    for (int d = 0; d < ndim; ++d) n *= extent[d];
    return n;
  }
};

// Lays operands over `sizes` (each expandable to it), drops dims of extent 1, puts the first
// operand's smallest stride innermost (ties: the next operands'), merges dims that are one for all.
// A null layout stands for an operand that is not in memory (strides 0). There is at least one dim:
// a single element has extent 1 and stride 1, so that it shares the kernel of contiguous operands.
void iterate(Iteration& it, Span<const Layout*> operands, Ints sizes);

// The same for rows: `in_row[d]` tells whether dim d of `sizes` belongs to the row. The two groups
// are ordered and merged apart, and may be empty. Operand i has its strides in `strides[i]`,
// sizes.size of them.
void iterate_rows(Iteration& it, Span<const int64_t*> strides, Ints sizes, const bool* in_row);

// The order of dims in memory, order[0] the innermost, as PyTorch decides it: the first operand
// that has two different strides other than 0 for a pair of dims tells which is the inner one;
// pairs of which no operand tells stay in row-major order.
void memory_order(Ints sizes, Span<const int64_t*> strides, int* order);

// PyTorch's rule for the layout of a pointwise result: contiguous or channels_last (of 4 dims) if
// all inputs are, the inputs' common strides if these leave no gaps, else packed in `memory_order`.
LayoutRef pointwise_output_layout(Span<const Layout*> inputs, Ints sizes);

}  // namespace taimatsu
