#include "cuda/stream.h"

#include <algorithm>
#include <memory>

#include "cuda/module.h"

namespace taimatsu::cuda {

int captures_under_way = 0;

namespace {

// By device, once this thread has set one. A pointer: what is loaded at run time has less than 2 KB
// of thread-local memory in all, and the next library would not load.
thread_local std::unique_ptr<StreamHandle[]> current;

constexpr int kPool = 32;  // streams of a device and priority
constexpr int kPriorities = 8;

struct StreamPool {
  StreamHandle streams[kPool] = {};
  unsigned next = 0;
};
StreamPool pools[kMaxDevices][kPriorities];
std::vector<EventHandle> events[kMaxDevices];

}  // namespace

StreamHandle current_stream(int device) { return current ? current[device] : nullptr; }
void set_current_stream(int device, StreamHandle s) {
  if (!current) current = std::make_unique<StreamHandle[]>(kMaxDevices);
  current[device] = s;
}

std::pair<int, int> priority_range(int device) {
  enter(device);
  int least = 0, greatest = 0;
  check(driver().priority_range(&least, &greatest), "cuCtxGetStreamPriorityRange");
  return {least, greatest};
}

StreamHandle pooled_stream(int device, int priority) {
  const auto [least, greatest] = priority_range(device);
  priority = std::clamp(priority, std::max(greatest, 1 - kPriorities), least);
  StreamPool& pool = pools[device][-priority];
  StreamHandle& s = pool.streams[pool.next++ % kPool];
  if (!s) check(driver().stream_create(&s, kStreamNonBlocking, priority), "cuStreamCreate");
  return s;
}

void synchronize(int device, StreamHandle s, const char* what) {
  enter(device);
  Result r;
  {
    Waiting waiting;
    r = driver().stream_synchronize(s);
  }
  check(r, what);
  check_reports();
}

void synchronize(int device) {
  enter(device);
  Result r;
  {
    Waiting waiting;
    r = driver().context_synchronize();
  }
  check(r, "cuCtxSynchronize");
  check_reports();
}

void order(int device, StreamHandle earlier, int later_device, StreamHandle later) {
  if (earlier == later && device == later_device) return;
  EventHandle e = take_event(device);
  const Driver& cu = driver();
  check(cu.event_record(e, earlier), "cuEventRecord");
  enter(later_device);
  const Result r = cu.stream_wait(later, e, 0);
  give_event(device, e);  // a wait keeps what it waits for, whatever the event records next
  check(r, "cuStreamWaitEvent");
}

bool capturing(StreamHandle s, unsigned long long* id) {
  if (captures_under_way == 0) return false;
  int status = kNotCapturing;
  unsigned long long number = 0;
  check(driver().capture_info(s, &status, &number, nullptr, nullptr, nullptr),
        "cuStreamGetCaptureInfo");
  if (id) *id = number;
  return status == kCapturing;
}

EventHandle take_event(int device) {
  enter(device);
  std::vector<EventHandle>& free = events[device];
  EventHandle e;
  if (free.empty()) {
    check(driver().event_create(&e, kEventDisableTiming), "cuEventCreate");
  } else {
    e = free.back();
    free.pop_back();
  }
  return e;
}
void give_event(int device, EventHandle e) { events[device].push_back(e); }

}  // namespace taimatsu::cuda
