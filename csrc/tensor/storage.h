// Storage: a run of bytes on a device, with the version counter of in-place writes.
#pragma once

#include "base.h"

namespace taimatsu {

enum class DeviceType : uint8_t { CPU, CUDA, Meta };
struct Device {
  DeviceType type = DeviceType::CPU;
  int8_t index = -1;  // -1: the current one
  bool operator==(const Device& o) const { return type == o.type && index == o.index; }
  bool operator!=(const Device& o) const { return !(*this == o); }
  std::string str() const;
  Device concrete() const;                // as tensors have it: the current one's index for none
  static Device parse(const char* text);  // "cpu", "cuda:1", "meta"; throws like PyTorch
};

// What a kind of device provides. Nothing above this struct and code generation's target knows
// which device it is on.
struct Backend {
  const char* name;
  void* (*allocate)(size_t bytes, Device d);  // 64-byte aligned; throws OutOfMemory
  void (*free)(void* p, size_t bytes, Device d);
  void (*discard)(void* p, size_t bytes);  // gives memory back, as far as it can, but not addresses
  // In the order of the device's work; the host waits for it, unless `non_blocking`.
  void (*copy)(void* to, Device to_device, const void* from, Device from_device, size_t bytes,
               bool non_blocking);
  void (*synchronize)(Device d);

  // Of devices whose kernels can't be called by the host. Null elsewhere.
  int (*current)() = nullptr;                 // the index that a device without one means
  std::string (*target)(Device d) = nullptr;  // what code generation is to write for: "sm_90"
  void* (*load)(PyObject* image, Device d) = nullptr;  // of `Variant.kernel_for`; kept for ever
  void (*launch)(void* code, const struct Launch& l, Device d) = nullptr;  // doesn't wait
};
const Backend& backend(DeviceType t);  // throws if there is none
// `find` gives the device's backend, or null where there is no such device; asked until it does.
void register_backend(DeviceType t, const Backend* (*find)());

struct Segment;  // plan/segment.h
struct Storage;
void flush(Segment& s);     // makes the calls that it put off (plan/segment.cpp)
void arrive(Storage& s);    // its pending calls are made, its memory is there
struct Failure : Counted {  // of the calls that were to write to some storages
  Error error;
};
inline void retain(Failure* f) { ++f->refs; }
inline void release(Failure* f) {
  if (--f->refs == 0) delete f;
}

struct Storage : Counted {
  uint32_t version = 0;               // counts in-place writes
  const struct Op* writer = nullptr;  // the op of the last one, for error messages
  Device device;
  bool resizable = true;
  void* data = nullptr;  // null on meta, and for 0 bytes
  size_t nbytes = 0;
  size_t reserved = 0;         // bytes of a block that shrank: what it was allocated with
  Storage* base = nullptr;     // of an alias: the owner of the memory (`Tensor.data`, `set_data`)
  Storage* aliases = nullptr;  // borrowed: the first alias of this one ...
  Storage* next = nullptr;     // ... and of an alias: the next one
  PyObject* owner = nullptr;   // of foreign memory: what keeps it alive (a NumPy array, a capsule)
  void (*deleter)(Storage&) = nullptr;  // of foreign memory
  Storage* former = nullptr;  // of one that moved: its memory before, where that is still lent out
  PyObject* wrapper = nullptr;  // borrowed: the UntypedStorage object, while it lives
  bool lent = false;            // arrays of others look at the memory
  bool shared_memory = false;
  bool has_room = false;  // small data fits behind the Storage, in its own block

  // Inside compiled functions: calls that write here have been put off, and the memory may not be
  // there yet (`data` is null, with `nbytes`). Whoever looks at the data makes them happen, or is
  // told that they failed.
  bool late = false;
  Segment* pending = nullptr;   // whose calls write here
  Failure* failure = nullptr;   // owned: nothing was ever written here, for this reason
  Segment* known_to = nullptr;  // where `slot` is this storage's
  uint64_t known_serial = 0;    // ... as it was then; of one that nobody knows yet: when made
  uint32_t slot = 0;

  template <class T>
  T* as() const {
    if (__builtin_expect(late, 0)) arrive(const_cast<Storage&>(*this));
    return static_cast<T*>(data);
  }
  const Storage& root() const { return base ? *base : *this; }
};
inline void lend(const Storage& s) {  // the memory must stay where it is
  auto& root = const_cast<Storage&>(s.root());
  if (root.late) arrive(root);
  root.resizable = false;
  root.lent = true;
}
inline void retain(Storage* s) { ++s->refs; }
void free_storage(Storage* s);
inline void release(Storage* s) {
  if (--s->refs == 0) free_storage(s);
}

// Set inside compiled functions, while calls are put off: memory is allocated when it is needed.
extern thread_local bool deferring;
extern thread_local const uint64_t* deferring_serial;  // of the segment that they go to
void fail_storage(Storage& s, Failure* f);             // whoever looks at its data is told `f`
Ref<Storage> new_storage(size_t nbytes, Device d = {});
// A call is being carried out, and has addresses of its tensors' memory: other threads, and
// finalizers, may give those tensors other memory meanwhile.
extern int calls_in_flight;
void free_retired();
struct InFlight {
  InFlight() { ++calls_in_flight; }
  ~InFlight() {
    if (--calls_in_flight == 0) free_retired();
  }
  InFlight(const InFlight&) = delete;
};
void retire(Storage* s);  // gives up a reference, when no call is in flight

void give_up_memory(Storage& s);  // of one whose contents nobody will ask for
// Memory that nobody else sees, to a storage that has none yet; false where either isn't so.
bool hand_over(Storage& from, Storage& to);
Ref<Storage> alias_storage(Storage* s);  // the same memory, a version counter of its own
Ref<Storage> foreign_storage(void* data, size_t nbytes, Device d, PyObject* owner,
                             void (*deleter)(Storage&) = nullptr);
void resize_storage(Storage& s, size_t nbytes);  // of its aliases too; keeps the contents
// To memory that other processes see; of its aliases too. Keeps the contents.
void share_storage(Storage& s, void* data, PyObject* owner);

// The caching CPU allocator (allocator.cpp): size classes, 64-byte aligned, gives memory back. A
// block is freed with the size that it was allocated with. GIL held.
void* cpu_allocate(size_t bytes);  // throws OutOfMemory
void cpu_free(void* p, size_t bytes);
void cpu_discard(void* p, size_t bytes);  // of a part of a block: what it held is gone
struct MemoryStats {
  int64_t allocated, reserved, peak_allocated, peak_reserved, allocations, system_allocations;
};
MemoryStats cpu_memory_stats();
void reset_peak_cpu_memory_stats();
void empty_cpu_cache();
void return_unused_cpu_memory();  // what has not been needed lately

}  // namespace taimatsu
