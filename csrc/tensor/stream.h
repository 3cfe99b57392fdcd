// Streams: the queues that a device's work is put on, of devices that have several.
#pragma once

#include "tensor/storage.h"

namespace taimatsu {

using Stream = void*;  // null: the device's default one

// By a device's index. Current ones are the calling thread's.
struct Streams {
  Stream (*current)(int device);
  void (*set_current)(int device, Stream s);
  // What is put on `later` (of any device) from now on starts after what is on `earlier` already.
  void (*order)(int device, Stream earlier, int later_device, Stream later);
  // The memory is used by what is on `s` now: it isn't given out again before that is done.
  void (*use)(const Storage& memory, Stream s);
  int (*enter)(int device);  // makes the device the current one; returns the one before
};
// Of GPUs, once one has been asked for; null before.
extern const Streams* streams;

// The stream that work with memory of the device is put on now.
inline Stream stream_of(Device d) {
  return streams && d.type == DeviceType::CUDA ? streams->current(d.index) : nullptr;
}

}  // namespace taimatsu
