#include "cuda/graph.h"

#include "cuda/stream.h"

namespace taimatsu::cuda {

Graph::~Graph() {
  if (!started() || finished()) return;
  try {
    reset();
  } catch (const Error&) {  // the context is lost; later calls say so
  }
}

void Graph::begin(PoolId pool, CaptureMode mode) {
  if (recording_ || graph_ || exec_) {
    fail(Error::Runtime, "This CUDAGraph instance already owns a captured graph: reset() it first");
  }
  device_ = checked_device(-1);
  stream_ = current_stream(device_);
  if (!stream_) {
    fail(Error::Runtime,
         "CUDA graphs must be captured on a non-default stream: use torch.cuda.graph(), or enter "
         "torch.cuda.stream(torch.cuda.Stream()) before");
  }
  enter(device_);
  check(driver().capture_begin(stream_, mode), "cuStreamBeginCapture");
  ++captures_under_way;
  recording_ = true;
  pool_ = pool ? pool : new_pool();
  retain_pool(pool_);
  unsigned long long id = 0;
  try {
    capturing(stream_, &id);
  } catch (const Error&) {
    reset();
    throw;
  }
  route_to_pool(device_, pool_, id);
}

void Graph::leave() {
  recording_ = false;
  --captures_under_way;
  stop_routing(device_, pool_);
}

void Graph::end() {
  if (!recording_) fail(Error::Runtime, "capture_end: no capture has begun; call capture_begin");
  enter(device_);
  const Result r = driver().capture_end(stream_, &graph_);
  leave();
  if (r != kSuccess || !graph_) {
    graph_ = nullptr;
    release_pool(std::exchange(pool_, 0));
    check(r ? r : kInvalidValue, "cuStreamEndCapture");
  }
  if (!keep) instantiate();
}

void Graph::instantiate() {
  if (!graph_) {
    fail(Error::Runtime, "instantiate: there is no graph; capture one with keep_graph=True");
  }
  enter(device_);
  if (exec_)
    check(driver().graph_exec_destroy(std::exchange(exec_, nullptr)), "cuGraphExecDestroy");
  check(driver().graph_instantiate(&exec_, graph_, 0), "cuGraphInstantiate");
  if (!keep) check(driver().graph_destroy(std::exchange(graph_, nullptr)), "cuGraphDestroy");
}

void Graph::replay() {
  if (!exec_ && keep && graph_) instantiate();
  if (!exec_) {
    fail(Error::Runtime, "Called CUDAGraph::replay without a preceding successful capture");
  }
  enter(device_);
  const StreamHandle stream = current_stream(device_);
  check(driver().graph_launch(exec_, stream), "cuGraphLaunch");
  if (launch_blocking()) synchronize(device_, stream, "cuGraphLaunch");
}

void Graph::reset() {
  if (recording_) {
    enter(device_);
    driver().capture_end(stream_, &graph_);
    leave();
  }
  if (exec_) driver().graph_exec_destroy(std::exchange(exec_, nullptr));
  if (graph_) driver().graph_destroy(std::exchange(graph_, nullptr));
  if (pool_) release_pool(std::exchange(pool_, 0));
}

void Graph::dump(const char* path) {
  if (!graph_) {
    fail(Error::Runtime,
         "debug_dump: the graph isn't there any more; capture with keep_graph=True");
  }
  check(driver().graph_dump(graph_, path, 1), "cuGraphDebugDotPrint");
}

PoolId Graph::pool() const {
  if (!pool_) fail(Error::Runtime, "pool: nothing has been captured; call capture_begin first");
  return pool_;
}

}  // namespace taimatsu::cuda
