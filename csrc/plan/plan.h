// Plans: what is done for a segment that is seen again. `taimatsu.graph` decides which calls go
// into one kernel, or to a library together; here plans are found, built from what it says, and
// carried out.
#pragma once

#include "ops/epilogue.h"
#include "plan/graph.h"

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

struct SegmentPlan {
  std::vector<Action> actions;
  bool fused = false;        // of a segment that has come again; before, it is the calls
  std::vector<bool> needed;  // slots whose contents are produced, if the actions write them
  PlanGraphs graphs;
};

// What is to be done for a segment: its calls one by one, or better once it has come again.
std::shared_ptr<SegmentPlan> plan_for(const Segment& s);
void forget_plans();
void run_action(Segment& s, const Action& action);
void make_call(Segment& s, const Action& action);  // the same, and memory is kept
// What its kernel is given as scalars.
std::vector<int64_t> numbers_of(const Segment& s, const Action& action);

// The tensors that an action works with, outputs first.
template <class F>
void for_each_mention(const Segment& s, const Action& action, const F& body) {
  for (uint32_t mention : action.mentions) body(mention);
  for (uint32_t number : action.records) {
    const Record& r = s.records[number];
    for (uint32_t i = 0; i < r.n_tensors; ++i) body(r.outs + i);
  }
}

}  // namespace taimatsu
