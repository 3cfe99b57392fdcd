// A product of matrices with what follows it, where a device's library does both at once: which ops
// follow is in taimatsu/graph/epilogues.py, and csrc/plan finds them among calls that were put off.
#pragma once

#include "ops/op.h"

namespace taimatsu {

struct Epilogue {
  enum Activation : uint8_t { None, Relu, Gelu, GeluGradient } activation = None;
  Tensor* out = nullptr;   // what comes of it, laid out as the product is
  Tensor* bias = nullptr;  // a vector that is added to each row first
  Tensor* before =
      nullptr;  // what Gelu is applied to: written, if it is there; the gradient reads it
};

struct Epilogues {
  bool (*possible)(const Op& product);
  bool (*run)(Call& product, const Epilogue& e);  // false: it can't, and has done nothing
};
void register_epilogues(DeviceType type, Epilogues e);
const Epilogues* epilogues_on(DeviceType type);  // null where there are none

}  // namespace taimatsu
