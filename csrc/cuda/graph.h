// Graphs: the work of streams, recorded once and launched again as a whole.
#pragma once

#include "cuda/allocator.h"

namespace taimatsu::cuda {

class Graph {
 public:
  ~Graph();
  // What the current stream (and those that wait for it) are given is recorded instead of run. Its
  // memory comes from `pool`, or from a new one (0). Not of the default stream.
  void begin(PoolId pool, CaptureMode mode);
  void end();          // stops recording
  void instantiate();  // makes what can be launched, where `end` was told to keep the graph
  void replay();       // on the current stream
  void reset();        // gives all of it back
  void dump(const char* path);
  PoolId pool() const;
  bool keep = false;  // the graph itself, after instantiating
  GraphHandle handle() const { return graph_; }
  GraphExec exec() const { return exec_; }

 private:
  void leave();
  int device_ = 0;
  StreamHandle stream_ = nullptr;
  PoolId pool_ = 0;
  bool recording_ = false;
  GraphHandle graph_ = nullptr;
  GraphExec exec_ = nullptr;
};

}  // namespace taimatsu::cuda
