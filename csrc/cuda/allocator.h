// The caching allocator of GPU memory.
#pragma once

#include "cuda/device.h"

namespace taimatsu::cuda {

void* allocate(int device, size_t bytes);  // for the device's current stream; throws OutOfMemory
void deallocate(void* p);

}  // namespace taimatsu::cuda
