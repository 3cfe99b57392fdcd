#include "cuda/device.h"

namespace taimatsu::cuda {
namespace {

thread_local int current = 0;
Context contexts[kMaxDevices];
bool peers[kMaxDevices][kMaxDevices];

DeviceId id_of(int device) {
  DeviceId id;
  check(driver().device_get(&id, device), "cuDeviceGet");
  return id;
}

}  // namespace

int device_count() {
  static int count = -1;  // doesn't change while a process runs
  if (count >= 0) return count;
  if (!unavailable().empty() || !started()) return 0;
  int n = 0;
  if (driver().device_count(&n) != kSuccess) return 0;
  return count = n < kMaxDevices ? n : kMaxDevices;
}

int current_device() { return current; }

int checked_device(int device) {
  if (device == -1) device = current;
  driver();
  if (device < 0 || device >= device_count()) {
    fail(Error::Runtime, "CUDA error: invalid device ordinal: there is no device ", device,
         ", the GPUs are 0 to ", device_count() - 1,
         "; see torch.cuda.device_count() and CUDA_VISIBLE_DEVICES");
  }
  return device;
}

void set_current_device(int device) { current = checked_device(device); }

bool has_context(int device) { return contexts[device] != nullptr; }

Context context(int device) {
  Context& c = contexts[device];
  if (c) return c;
  check(driver().context_retain(&c, id_of(checked_device(device))), "cuDevicePrimaryCtxRetain");
  return c;
}

void enter(int device) {
  const Driver& cu = driver();
  Context wanted = context(device), now = nullptr;
  // Other libraries change it too.
  if (cu.context_current(&now) == kSuccess && now == wanted) return;
  check(cu.context_set_current(wanted), "cuCtxSetCurrent");
}

DeviceScope::DeviceScope(int device) : before_(current) {
  current = checked_device(device);
  enter(current);
}
DeviceScope::~DeviceScope() { current = before_; }

int attribute(int device, Attribute a) {
  int value = 0;
  check(driver().device_attribute(&value, a, id_of(checked_device(device))),
        "cuDeviceGetAttribute");
  return value;
}

std::string target_of(int device) {
  return concat("sm_", attribute(device, kCapabilityMajor), attribute(device, kCapabilityMinor));
}

size_t total_memory(int device) {
  size_t bytes = 0;
  check(driver().device_memory(&bytes, id_of(checked_device(device))), "cuDeviceTotalMem");
  return bytes;
}

bool can_access_peer(int device, int peer) {
  int can = 0;
  device = checked_device(device);
  peer = checked_device(peer);
  if (device == peer) return false;
  check(driver().device_can_access_peer(&can, id_of(device), id_of(peer)), "cuDeviceCanAccessPeer");
  return can != 0;
}

bool enable_context_access(int device, int peer) {
  if (device == peer || peers[device][peer]) return true;
  if (!can_access_peer(device, peer)) return false;
  enter(device);
  const Result r = driver().context_enable_peer(context(peer), 0);
  if (r != kPeerAccessAlreadyEnabled) check(r, "cuCtxEnablePeerAccess");
  return peers[device][peer] = true;
}

}  // namespace taimatsu::cuda
