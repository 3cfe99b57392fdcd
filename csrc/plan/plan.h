// Plans: what is done for a segment that is seen again. `taimatsu.graph` decides which calls go
// into one kernel, or to a library together; here plans are found, built from what it says, and
// carried out.
#pragma once

#include "ops/epilogue.h"
#include "plan/segment.h"

namespace taimatsu {

// Recorded calls as they are, one after another: or one kernel for several, if there is a variant.
struct Action {
  std::vector<uint32_t> records;
  // Of several: a product and what follows it, which a library does at once, if it can.
  struct {
    Epilogue::Activation activation = Epilogue::None;
    int out = -1, bias = -1, before = -1;  // mentions
  } epilogue;
  std::unique_ptr<Variant> variant;
  int rows = -1;  // the record whose rows the kernel runs over; -1: it is pointwise
  int blame = 0;  // the record that errors are told of
  std::vector<uint32_t> mentions;  // its operands, outputs first
  std::vector<Role> roles;
  int n_outs = 0;
  std::vector<uint32_t> scalars;  // the numbers of these records, one after another
  std::vector<uint32_t> dying;    // slots that no later action mentions
};

using Actions = std::shared_ptr<const std::vector<Action>>;

// The actions for a segment: its calls one by one, or a plan once it has come again.
Actions actions_for(const Segment& s);
void run_action(Segment& s, const Action& action);

}  // namespace taimatsu
