// Streams, events, and what the host waits for.
#pragma once

#include "cuda/device.h"

namespace taimatsu::cuda {

StreamHandle current_stream(int device);  // of this thread; the default one (null) at first
void set_current_stream(int device, StreamHandle s);
// One of a few that each device has for each priority, in turns: none is ever destroyed.
StreamHandle pooled_stream(int device, int priority);
std::pair<int, int> priority_range(int device);  // least, greatest; greater ones are negative

// Waits, and raises what kernels have reported meanwhile. The GIL is let go of.
void synchronize(int device, StreamHandle s, const char* what = "cuStreamSynchronize");
void synchronize(int device);

// What is put on `later` from now on starts after what is on `earlier` (of any devices) already.
void order(int device, StreamHandle earlier, int later_device, StreamHandle later);

// Whether the stream's work is being recorded into a graph; `id` tells which recording.
bool capturing(StreamHandle s, unsigned long long* id = nullptr);
extern int captures_under_way;  // in this process: 0 in nearly all calls

// While it lives, calls are permitted that a capture elsewhere would forbid: of memory, say.
class RelaxedCapture {
 public:
  RelaxedCapture() { exchange(); }
  ~RelaxedCapture() { exchange(); }
  RelaxedCapture(const RelaxedCapture&) = delete;
  RelaxedCapture& operator=(const RelaxedCapture&) = delete;

 private:
  void exchange() {
    if (active_) driver().capture_exchange_mode(&mode_);
  }
  const bool active_ = captures_under_way > 0;
  int mode_ = kCaptureRelaxed;
};

// Events without timing, used again and again.
EventHandle take_event(int device);
void give_event(int device, EventHandle e);

}  // namespace taimatsu::cuda
