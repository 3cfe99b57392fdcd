// Memory and events that processes share: what one exports and another opens. Handles are bytes or
// descriptors, which Python sends (taimatsu/multiprocessing/gpu.py).
#pragma once

#include "cuda/allocator.h"

namespace taimatsu::cuda {

// How another process reaches the memory of a block. Of memory that was allocated as a whole a
// handle; of mapped memory a descriptor for each granule, which is the receiver's to close.
struct Exported {
  size_t offset = 0;  // of the block, in what is opened
  IpcHandle handle = {};
  size_t granule = 0;  // 0: `handle` it is
  std::vector<int> descriptors;
};
Exported export_memory(const void* p, size_t bytes);  // of an allocated block
void* open_memory(int device, const IpcHandle& handle);
void* open_memory(int device, size_t granule, const std::vector<int>& descriptors);
void close_memory(int device, void* base, size_t mapped_bytes);  // 0: of a handle

IpcHandle export_event(EventHandle e);
EventHandle open_event(int device, const IpcHandle& handle);

}  // namespace taimatsu::cuda
