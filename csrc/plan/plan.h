// Plans: what is done for a segment that is seen again. `taimatsu.graph` decides which calls go
// into one kernel; here plans are found, built from what it says, and carried out.
#pragma once

#include "plan/segment.h"

namespace taimatsu {

// A recorded call as it is, or one kernel for several.
struct Action {
  int record = -1;
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
