// Copies between tensors that are contiguous along different dims.
#pragma once

#include "tensor/tensor.h"

namespace taimatsu {

// Copies `from` into `to`, tensors of one dtype and of one shape on the CPU without memory in
// common, if their elements are neighbours along different dims; else returns false.
bool transpose_into(Tensor& to, Tensor& from);

}  // namespace taimatsu
