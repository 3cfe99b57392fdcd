// Calls put off, inside compiled functions: what `emit` records instead of launching.
//
//   emit -> put_off -> Segment::record ... run: the calls one by one, when they are seen the first
//   time; when the same calls come again a plan is made of them (plan.h), and carried out.
//
// Where one of the calls fails, those after it are not made. Storages that had no contents before,
// and were to get them there, keep the failure in their place (`lose`); others stay as they are.
//
// Python runs on every call of a compiled function, so nothing is assumed about it. Only memory is
// late: a storage that recorded calls write to is flagged, and looking at its data runs them.
#pragma once

#include <deque>

#include "ops/launch.h"
#include "ops/op.h"
#include "tensor/stream.h"

namespace taimatsu {

struct Record {
  Op* op;
  Variant* variant;            // of formulas
  uint32_t args, outs;         // where they begin: in `values`, in `mentions`
  uint32_t n_outs, n_tensors;  // in `mentions`: the outputs, then the tensors among the arguments
};

struct Segment {
  // A storage that is mentioned, with the tensors over it that the segment has made.
  struct Slot {
    Storage* storage;
    uint32_t held = 0, latest = 0;
    bool written = false;
    bool fresh = false;  // before these calls nothing was ever written to it
    bool alive() const { return storage->refs > held; }  // somebody else has it
  };
  std::vector<Record> records;
  std::vector<Value> values;
  std::deque<OwnedValue> owned;            // lists, texts and objects among the values
  std::deque<std::vector<Tensor*>> lists;  // of tensors
  std::vector<TensorRef> tensors;
  std::vector<uint32_t> slot_of;   // each tensor's
  std::vector<uint32_t> mentions;  // tensors, call by call
  std::vector<Slot> slots;
  std::vector<uint64_t> identity;  // all that a plan depends on
  size_t late_bytes = 0;
  std::vector<std::pair<int, Stream>> on;  // of each GPU: the stream that the calls are for
  uint64_t serial = 0;       // tells the storages' slots of this segment from those of earlier ones
  unsigned long runner = 0;  // the thread that makes the calls now
  bool graphs = false;       // all of them were recorded where `as_graphs` was set
  Segment* next;             // that of another thread

  Segment();
  void settle(const Call& c);  // calls of other threads that `c` depends on are made
  void record(Call& c);
  void run();  // the calls that were recorded, by whatever thread needs them
  bool full() const;
  void run_record(const Record& r);
  Tensor* tensor(uint32_t mention) const { return tensors[mentions[mention]].get(); }

 private:
  void wait();  // while another thread makes the calls
  void mention(Tensor& t, bool written);
  void note_stream(Device d);
  void make_calls();
  void lose(uint32_t mention, Failure& f) const;
  void lose(const Record& r, Failure& f) const;
  void clear();
};

// What emit() does where `deferring` is set.
void put_off(Call& c);
// The calling thread's calls are put off from here on; scopes nest. The end of the outermost one
// makes them.
class Deferral {
 public:
  // `graphs`: those that come again are launched as graphs of their device, where it has them.
  explicit Deferral(bool on = true, bool graphs = false);
  void end();  // may throw what the calls throw
  ~Deferral();

 private:
  bool on_, graphs_before_;
};
void flush_pending();  // makes the calling thread's calls, if any are put off

struct Immediately {  // a scope in which calls are made at once
  bool before = std::exchange(deferring, false);
  ~Immediately() { deferring = before; }
};

}  // namespace taimatsu
