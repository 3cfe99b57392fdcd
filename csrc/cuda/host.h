// Pinned host memory: what devices copy from and to without the host's help. Cached: pinning takes
// milliseconds.
#pragma once

#include "cuda/device.h"

namespace taimatsu::cuda {

Ref<Storage> pinned_storage(size_t bytes);  // on the CPU; throws OutOfMemory
bool is_pinned(const void* p);              // what others have pinned too
// The stream's work uses pinned memory: it isn't given out again before that is done.
void record_use(const void* p, int device, StreamHandle s);
void empty_host_cache();

struct HostFigures {
  int64_t allocated = 0, peak_allocated = 0, reserved = 0, peak_reserved = 0;  // bytes
  int64_t allocations = 0, driver_allocations = 0, driver_frees = 0;
};
HostFigures& host_figures();

}  // namespace taimatsu::cuda
