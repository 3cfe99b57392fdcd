// What the rest of the core sees of CUDA: the backend of DeviceType::CUDA, found when first asked
// for.
#include "cuda/allocator.h"
#include "cuda/host.h"
#include "cuda/module.h"
#include "cuda/recording.h"
#include "cuda/stream.h"
#include "tensor/stream.h"

namespace taimatsu::cuda {
namespace {

Address address(const void* p) { return reinterpret_cast<Address>(p); }

// The driver knows both ends by their addresses.
void copy_on(int device, StreamHandle s, void* to, const void* from, size_t bytes) {
  enter(device);
  check(driver().copy(address(to), address(from), bytes, s), "cuMemcpyAsync");
}

void copy_between_devices(void* to, int to_device, const void* from, int from_device,
                          size_t bytes) {
  const StreamHandle reads = current_stream(from_device), writes = current_stream(to_device);
  enable_peer_access(from_device, to_device);
  order(to_device, writes, from_device, reads);
  enter(from_device);
  check(driver().copy_peer(address(to), context(to_device), address(from), context(from_device),
                           bytes, reads),
        "cuMemcpyPeerAsync");
  order(from_device, reads, to_device, writes);
}

void copy(void* to, Device to_device, const void* from, Device from_device, size_t bytes,
          bool non_blocking) {
  if (bytes == 0) return;
  const bool from_host = from_device.type != DeviceType::CUDA;
  const bool to_host = to_device.type != DeviceType::CUDA;
  if (recording_here() && (from_host || to_host)) {
    fail(Error::Runtime, "a graph can't hold a copy between the host and the GPU");
  }
  const int device = checked_device(from_host ? to_device.index : from_device.index);
  const StreamHandle stream = current_stream(device);
  if (!from_host && !to_host) {
    const int target = checked_device(to_device.index);
    if (target != device) return copy_between_devices(to, target, from, device, bytes);
    return copy_on(device, stream, to, from, bytes);
  }
  copy_on(device, stream, to, from, bytes);
  if (!non_blocking) return synchronize(device, stream);
  record_use(from_host ? from : to, device, stream);
}

const Backend kCuda = {
    "cuda",
    [](size_t bytes, Device d) { return allocate(checked_device(d.index), bytes); },
    [](void* p, size_t, Device) { deallocate(p); },
    [](void*, size_t) {},  // the block is given back as a whole
    copy,
    [](Device d) { synchronize(checked_device(d.index)); },
    current_device,
    [](Device d) { return target_of(checked_device(d.index)); },
    load_kernel,
    launch_kernel,
};

StreamHandle handle(Stream s) { return static_cast<StreamHandle>(s); }

const Streams kStreams = {
    [](int device) -> Stream { return current_stream(device); },
    [](int device, Stream s) { set_current_stream(device, handle(s)); },
    [](int device, Stream earlier, int later_device, Stream later) {
      order(device, handle(earlier), later_device, handle(later));
    },
    [](const Storage& memory, Stream s) {
      const Storage& root = memory.root();
      if (root.data) record_stream(root.data, root.device.index, handle(s));
    },
    [](int device) {
      const int before = current_device();
      set_current_device(device);
      return before;
    },
};

const Backend* find() {
  if (forked()) driver();  // says why not
  if (device_count() == 0) return nullptr;
  streams = &kStreams;
  work_recorder = &kWorkRecorder;
  return &kCuda;
}

const bool registered = (register_backend(DeviceType::CUDA, find), true);

}  // namespace
}  // namespace taimatsu::cuda
