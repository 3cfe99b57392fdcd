// cuBLASLt: what is used of it, declared from its documentation.
#pragma once

#include "cuda/library.h"

namespace taimatsu::cuda::lt {

using Handle = struct HandleOpaque*;
using Operation = struct OperationOpaque*;
using MatrixLayout = struct MatrixLayoutOpaque*;
using Preference = struct PreferenceOpaque*;
struct Algorithm {
  uint64_t data[8];
};
struct Heuristic {
  Algorithm algorithm;
  size_t workspace;
  int status;
  float waves;
  int reserved[4];
};

enum ComputeType : int { kF32 = 68, kF64 = 70, kI32 = 72, kTF32 = 77 };
enum Transpose : int { kPlain = 0, kTransposed = 1 };
enum OperationAttribute : int {
  kTransposeA = 3,
  kTransposeB = 4,
  kEpilogue = 7,
  kBiasPointer = 8,
  kAuxPointer = 11,
  kAuxLeading = 12,  // int64_t
  kScaleAPointer = 17,
  kScaleBPointer = 18,
  kFastAccumulation = 25,  // int8_t
  kScaleAMode = 31,
  kScaleBMode = 32,
};
enum ScaleMode : int { kOneScale = 0, kScaleEachRow = 3 };
enum LayoutAttribute : int { kBatchCount = 5, kBatchStride = 6 };
enum PreferenceAttribute : int {
  kMaxWorkspace = 1,
  kAlignmentA = 5,
  kAlignmentB = 6,
  kAlignmentC = 7,
  kAlignmentD = 8,
};
// What is done beside the product, as bits that are combined.
enum Epilogue : int {
  kNothing = 1,  // alone
  kRelu = 2,
  kBias = 4,
  kGelu = 32,  // by tanh
  kGeluGradient = 64,
  kAux = 128,  // what Gelu is applied to is written, or for its gradient read
  kSumsOfA = 256,
  kSumsOfB = 512,  // along the dim that the product sums, in the place of the bias
};
constexpr int64_t kAuxElements = 8;  // its leading dimension is a multiple

#define TM_CUBLASLT_FUNCTIONS(X)                                                            \
  X(create, "cublasLtCreate", (Handle*))                                                    \
  X(operation_create, "cublasLtMatmulDescCreate", (Operation*, int compute, int scale))     \
  X(operation_set, "cublasLtMatmulDescSetAttribute",                                        \
    (Operation, int attribute, const void*, size_t))                                        \
  X(layout_create, "cublasLtMatrixLayoutCreate",                                            \
    (MatrixLayout*, int type, uint64_t rows, uint64_t columns, int64_t leading))            \
  X(layout_set, "cublasLtMatrixLayoutSetAttribute",                                         \
    (MatrixLayout, int attribute, const void*, size_t))                                     \
  X(preference_create, "cublasLtMatmulPreferenceCreate", (Preference*))                     \
  X(preference_set, "cublasLtMatmulPreferenceSetAttribute",                                 \
    (Preference, int attribute, const void*, size_t))                                       \
  X(preference_destroy, "cublasLtMatmulPreferenceDestroy", (Preference))                    \
  X(heuristic, "cublasLtMatmulAlgoGetHeuristic",                                            \
    (Handle, Operation, MatrixLayout, MatrixLayout, MatrixLayout, MatrixLayout, Preference, \
     int wanted, Heuristic*, int* found))                                                   \
  X(matmul, "cublasLtMatmul",                                                               \
    (Handle, Operation, const void* alpha, const void* a, MatrixLayout, const void* b,      \
     MatrixLayout, const void* beta, const void* c, MatrixLayout, void* d, MatrixLayout,    \
     const Algorithm*, void* workspace, size_t, StreamHandle))

TM_LIBRARY(Functions, "cublasLt", TM_CUBLASLT_FUNCTIONS);

}  // namespace taimatsu::cuda::lt
