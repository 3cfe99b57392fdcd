// Plans as graphs of their device: what a segment gives a GPU is recorded once, when the segment
// has come often enough, and launched as a whole from then on.
//
// Storages lie elsewhere in each call, and numbers are others: they are written into the graph
// before it is launched. What can't be changed so (a library's kernels, copies) belongs to the
// memory and the numbers that it was recorded with. For others it is recorded again, and where
// memory moves on, with memory of the graph's own, to and from which the storages are copied. What
// nobody looks at afterwards lies in a pool that all graphs of a stream share.
#pragma once

#include "plan/segment.h"

namespace taimatsu {

// Work of a device, recorded action by action.
class RecordedWork {
 public:
  struct Place {  // of a storage; null for what the recording has allocated
    char* data;
    size_t bytes;
  };
  virtual ~RecordedWork() = default;      // of one that hasn't ended: it is forgotten
  virtual void action(const Op& op) = 0;  // what comes now is the next one, with kernels of `op`
  virtual void end(std::vector<Place> p) = 0;
  virtual bool fixed(size_t action) const = 0;  // it has work that can't be changed
  virtual void move(size_t place, char* to) = 0;
  // Of the action's kernels. False if none takes so many.
  virtual bool set_numbers(size_t action, const std::vector<int64_t>& numbers) = 0;
  virtual void renew() = 0;   // draws other random numbers: Python runs
  virtual void update() = 0;  // carries changes out; work that is under way is not affected
  virtual void launch() = 0;  // on the current stream
};
struct WorkRecorder {
  bool (*recording)(Device d);  // the current stream's work is being recorded: by a program, say
  std::unique_ptr<RecordedWork> (*begin)(Device d);  // null while another thread does the same
};
extern const WorkRecorder* work_recorder;  // of GPUs, once one has been asked for

struct SegmentPlan;
struct PlanGraph;

// What a plan knows of its graphs.
struct PlanGraphs {
  std::vector<std::shared_ptr<PlanGraph>> ready;
  std::vector<bool> moved;  // slots that lay elsewhere, and a recording couldn't follow
  std::string refused;      // why there will be none
  int64_t seen = 0, recorded = 0, launched = 0;
};

// Does the segment's work on its GPU, if it can be launched as a graph. If not, nothing is done.
bool launch_as_graph(Segment& s, SegmentPlan& plan);
// Whether an action is a part of that work.
bool is_on_gpu(const Segment& s, const struct Action& action);
// {"recorded": ..., "launched": ..., "refused": ...}, of the process.
PyObject* graph_figures();

}  // namespace taimatsu
