// Replays: a composite in Python is run once for each kind of arguments; from then on only what it
// called is.
//
// What a composite of the table calls follows from its arguments' sizes, strides, dtypes and
// devices, from its other arguments and from the modes. So the calls of one run, with the places
// that their tensors came from, are the composite for all arguments that are alike: a recipe. The
// Python between the calls, most of the time where tensors are small, is gone. Each call is a whole
// one: tape, errors and random numbers are those of a run.
//
// A run that looks at elements, or meets a tensor that came from no call, leaves no recipe, and the
// composite is run in Python each time. One that consults anything else says `replayed=False`.
#pragma once

#include "autograd/autograd.h"

namespace taimatsu {

struct Replays* new_replays();  // of an op that has no recipes yet

bool set_replays(bool on);  // for the process; gives what it was

// Runs the composite by a recipe; false if there is none.
bool replay(Call& c);

// While it lives, the calls of the thread are noted: those of a run of the composite.
class Recording {
 public:
  explicit Recording(const Call& c);
  ~Recording();
  Recording(const Recording&) = delete;
  void finish(PyObject* result);  // keeps the recipe

 private:
  struct Notes* notes_ = nullptr;  // null: nothing is noted
};

// A call while notes are taken; those inside it are none, unless it is a composite to see through.
class NotedCall {
 public:
  NotedCall(Op& op, const Value* args, Tensor* const* into);
  ~NotedCall();
  NotedCall(const NotedCall&) = delete;
  void done(Tensors& outs);

 private:
  Op& op_;
  const Value* args_;
  Tensor* const* into_;
  bool inside_, done_ = false;
};

// Something is done that no recipe knows: elements are read, sizes follow from them.
void void_notes();
// `detach` is no op, but a recipe may have it.
void note_detached(Tensor& from, Tensor& to);

}  // namespace taimatsu
