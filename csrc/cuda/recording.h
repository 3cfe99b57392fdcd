// Recordings of compiled functions' work: graphs whose kernels get other operands and numbers from
// one launch to the next. See plan/graph.h.
#pragma once

#include "cuda/graph.h"
#include "plan/graph.h"

namespace taimatsu::cuda {

// A generated kernel's launch, as the driver is told of it.
struct KernelLaunch {
  Function function;
  unsigned blocks[3], threads[2];
  const Op* op;
  const int64_t* arrays[3];  // operands, geometry, scalars
  const int64_t* lengths;
  int32_t* report;
  void* scratch;
  int64_t sections;
};

bool recording_here();  // what this thread launches goes into such a recording
void note_launch(const KernelLaunch& launch, StreamHandle stream);

extern const WorkRecorder kWorkRecorder;

}  // namespace taimatsu::cuda
