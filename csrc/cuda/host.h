// Pinned host memory: what devices copy from and to without the host's help.
#pragma once

#include "cuda/device.h"

namespace taimatsu::cuda {

bool is_pinned(const void* p);
// `p` is pinned memory that the stream's work uses: not given out again before that is done.
void record_use(const void* p, int device, StreamHandle s);

}  // namespace taimatsu::cuda
