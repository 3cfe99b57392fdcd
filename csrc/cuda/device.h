// GPUs: their contexts, which is current, what they can do.
#pragma once

#include "cuda/driver.h"
#include "tensor/storage.h"

namespace taimatsu::cuda {

constexpr int kMaxDevices = 64;

int device_count();    // 0 where there is no driver; never throws
int current_device();  // of this thread; needs no driver
void set_current_device(int device);
int checked_device(
    int device);  // -1 stands for the current one; RuntimeError if there is none such

Context context(int device);  // its primary context, made when first asked for
bool has_context(int device);
void enter(int device);  // makes its context the thread's: before calls that act on the current one

// The device is current for the driver, and for the program, meanwhile.
class DeviceScope {
 public:
  explicit DeviceScope(int device);
  ~DeviceScope();
  DeviceScope(const DeviceScope&) = delete;
  DeviceScope& operator=(const DeviceScope&) = delete;

 private:
  int before_;
};

int attribute(int device, Attribute a);
std::string target_of(int device);  // "sm_90": what code generation writes for
size_t total_memory(int device);
// Lets `device` reach what cuMemAlloc gave on `peer`, if the machine can do that. See
// enable_peer_access in allocator.h.
bool enable_context_access(int device, int peer);
bool can_access_peer(int device, int peer);

}  // namespace taimatsu::cuda
