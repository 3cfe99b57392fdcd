#include "cuda/share.h"

#include <unistd.h>

namespace taimatsu::cuda {
namespace {

Address address(const void* p) { return reinterpret_cast<Address>(p); }

}  // namespace

Exported export_memory(const void* p, size_t bytes) {
  const Block* b = block_at(p);
  if (!b) {
    fail(Error::Runtime,
         "only memory of the caching allocator can be shared with other processes; clone() the "
         "tensor first");
  }
  const Segment& s = *b->segment;
  const auto from = static_cast<size_t>(static_cast<const char*>(p) - s.base);
  enter(s.device);
  Exported e;
  if (!s.granule) {
    e.offset = from;
    check(driver().ipc_memory_handle(&e.handle, address(s.base)), "cuIpcGetMemHandle");
    return e;
  }
  const size_t first = from / s.granule, last = (from + bytes - 1) / s.granule;
  e.offset = from - first * s.granule;
  e.granule = s.granule;
  for (size_t i = first; i <= last; ++i) {
    int descriptor = -1;
    const Result r = driver().export_physical(&descriptor, s.memory[i], kPosixDescriptor, 0);
    if (r != kSuccess) {
      for (int each : e.descriptors) close(each);
      check(r, "cuMemExportToShareableHandle");
    }
    e.descriptors.push_back(descriptor);
  }
  return e;
}

void* open_memory(int device, const IpcHandle& handle) {
  enter(device);
  Address base = 0;
  check(driver().ipc_open_memory(&base, handle, kIpcLazyPeerAccess), "cuIpcOpenMemHandle");
  return reinterpret_cast<void*>(base);
}

void* open_memory(int device, size_t granule, const std::vector<int>& descriptors) {
  enter(device);
  const Driver& cu = driver();
  const size_t bytes = granule * descriptors.size();
  Address base = 0;
  check(cu.address_reserve(&base, bytes, 0, 0, 0), "cuMemAddressReserve");
  size_t mapped = 0;
  try {
    for (int descriptor : descriptors) {
      Physical memory = 0;
      void* name = reinterpret_cast<void*>(static_cast<intptr_t>(descriptor));
      check(cu.import_physical(&memory, name, kPosixDescriptor), "cuMemImportFromShareableHandle");
      const Result r = cu.memory_map(base + mapped, granule, 0, memory, 0);
      cu.physical_release(memory);  // the mapping keeps it
      check(r, "cuMemMap");
      mapped += granule;
    }
    AccessDescription access;
    access.location.id = device;
    check(cu.memory_set_access(base, bytes, &access, 1), "cuMemSetAccess");
  } catch (const Error&) {
    for (size_t at = 0; at < mapped; at += granule) cu.memory_unmap(base + at, granule);
    cu.address_free(base, bytes);
    throw;
  }
  return reinterpret_cast<void*>(base);
}

void close_memory(int device, void* base, size_t mapped_bytes) {
  enter(device);
  const Driver& cu = driver();
  if (!mapped_bytes) return check(cu.ipc_close_memory(address(base)), "cuIpcCloseMemHandle");
  check(cu.memory_unmap(address(base), mapped_bytes), "cuMemUnmap");
  check(cu.address_free(address(base), mapped_bytes), "cuMemAddressFree");
}

IpcHandle export_event(EventHandle e) {
  IpcHandle handle;
  check(driver().ipc_event_handle(&handle, e), "cuIpcGetEventHandle");
  return handle;
}

EventHandle open_event(int device, const IpcHandle& handle) {
  enter(device);
  EventHandle e;
  check(driver().ipc_open_event(&e, handle), "cuIpcOpenEventHandle");
  return e;
}

}  // namespace taimatsu::cuda
