#include "cuda/recording.h"

#include <algorithm>
#include <tuple>

#include "autograd/tape.h"
#include "cuda/stream.h"
#include "python/python.h"

namespace taimatsu::cuda {
namespace {

class Recording;
thread_local Recording* here = nullptr;
bool side_in_use[kMaxDevices];
StreamHandle sides[kMaxDevices];  // what is recorded goes there: the default stream can't be

// Internal results of all graphs that are launched on a stream: they run one after another.
PoolId pool_of(int device, StreamHandle stream) {
  static auto& pools = *new std::vector<std::tuple<int, StreamHandle, PoolId>>;
  for (const auto& [d, s, pool] : pools) {
    if (d == device && s == stream) return pool;
  }
  pools.emplace_back(device, stream, new_pool());
  return std::get<2>(pools.back());
}

PyObject* in_python(const char* name, PyObject* argument) {
  Object module = Object::steal(checked(PyImport_ImportModule("taimatsu.cuda.graphs")));
  Object function = Object::steal(checked(PyObject_GetAttrString(module.get(), name)));
  return checked(PyObject_CallFunctionObjArgs(function.get(), argument, nullptr));
}

class Recording final : public RecordedWork {
 public:
  explicit Recording(int device) : device_(device), before_(current_stream(device)) {
    graph_.keep = true;  // its nodes are mentioned when kernels change
  }
  void begin() {
    if (!sides[device_]) {
      enter(device_);
      check(driver().stream_create(&sides[device_], kStreamNonBlocking, 0), "cuStreamCreate");
    }
    draws_ = Object::steal(in_python("begin_draws", nullptr));
    side_in_use[device_] = under_way_ = true;
    set_current_stream(device_, sides[device_]);
    graph_.begin(pool_of(device_, before_), kCaptureThreadLocal);
    here = this;
  }
  ~Recording() override {
    if (!under_way_) return;
    PendingError kept;  // of what couldn't be recorded
    try {
      graph_.reset();
      leave();
    } catch (const Error&) {
      PyErr_Clear();
    }
  }

  void action(const Op& op) override {
    close_action();
    op_ = &op;
    actions_.push_back(false);
  }
  void end(std::vector<Place> places) override {
    close_action();
    here = nullptr;
    graph_.end();
    leave();
    graph_.instantiate();
    find_places(places);
  }
  bool fixed(size_t action) const override { return actions_[action]; }

  void note(const KernelLaunch& l, StreamHandle stream) {
    Noted n;
    n.launch = l;
    n.action = actions_.size() - 1;
    n.own = l.op == op_;
    for (int i = 0; i < 3; ++i) {
      n.arguments.insert(n.arguments.end(), l.arrays[i], l.arrays[i] + l.lengths[i]);
    }
    int status;
    unsigned long long id;
    GraphHandle graph;
    const GraphNode* nodes = nullptr;
    size_t count = 0;
    check(driver().capture_info(stream, &status, &id, &graph, &nodes, &count),
          "cuStreamGetCaptureInfo");
    if (count != 1) return;  // close_action() misses it
    n.node = nodes[0];
    notes_.push_back(std::move(n));
  }

  void move(size_t place, char* to) override {
    for (Noted& n : notes_) {
      for (size_t i = 0; i < n.at.size(); ++i) {
        if (n.at[i].first != static_cast<int>(place)) continue;
        n.arguments[i] = reinterpret_cast<int64_t>(to + n.at[i].second);
        n.changed = true;
      }
    }
  }
  bool set_numbers(size_t action, const std::vector<int64_t>& numbers) override {
    bool found = false;
    for (Noted& n : notes_) {
      const auto words = static_cast<size_t>(n.launch.lengths[2]);
      if (n.action != action || !n.own || words != numbers.size()) continue;
      std::copy(numbers.begin(), numbers.end(), n.arguments.end() - numbers.size());
      n.changed = found = true;
    }
    return found;
  }
  void renew() override {
    if (draws_.get() == Py_None) return;
    Object done = Object::steal(checked(PyObject_CallMethod(draws_.get(), "renew", nullptr)));
  }
  void update() override {
    enter(device_);
    for (Noted& n : notes_) {
      if (!n.changed) continue;
      KernelLaunch& l = n.launch;
      int64_t* at = n.arguments.data();
      void* params[] = {at,        at + l.lengths[0], at + l.lengths[0] + l.lengths[1],
                        &l.report, &l.scratch,        &l.sections};
      const KernelNodeParams p{l.function,   l.blocks[0],  l.blocks[1], l.blocks[2],
                               l.threads[0], l.threads[1], 1,           0,
                               params,       nullptr,      nullptr,     nullptr};
      check(driver().graph_exec_set_kernel(graph_.exec(), n.node, &p),
            "cuGraphExecKernelNodeSetParams");
      n.changed = false;
    }
  }
  void launch() override { graph_.replay(); }

 private:
  struct Noted {
    KernelLaunch launch;  // its arrays are in `arguments`
    std::vector<int64_t> arguments;
    std::vector<std::pair<int, int64_t>> at;  // of each operand: its place, and how far inside
    GraphNode node = nullptr;
    size_t action = 0;
    bool own = false;  // of the action's op, so that the action's numbers are its
    bool changed = false;
  };

  // What an action has added beside kernels that were noted can't be changed.
  void close_action() {
    if (actions_.empty()) return;
    int status;
    unsigned long long id;
    GraphHandle graph = nullptr;
    check(driver().capture_info(sides[device_], &status, &id, &graph, nullptr, nullptr),
          "cuStreamGetCaptureInfo");
    size_t nodes = 0;
    check(driver().graph_nodes(graph, nullptr, &nodes), "cuGraphGetNodes");
    actions_.back() = nodes - nodes_ != notes_.size() - noted_;
    nodes_ = nodes;
    noted_ = notes_.size();
  }
  void find_places(const std::vector<Place>& places) {
    std::vector<std::pair<char*, int>> starts;
    for (size_t i = 0; i < places.size(); ++i) {
      if (places[i].data) starts.emplace_back(places[i].data, static_cast<int>(i));
    }
    std::sort(starts.begin(), starts.end());
    for (size_t k = 1; k < starts.size(); ++k) {
      const auto& [data, place] = starts[k - 1];
      if (data + places[place].bytes > starts[k].first) {
        fail(Error::Runtime, "two of its storages share memory");
      }
    }
    for (Noted& n : notes_) {
      for (int i = 0; i < n.launch.lengths[0]; ++i) {
        auto* p = reinterpret_cast<char*>(n.arguments[i]);
        auto after = std::upper_bound(starts.begin(), starts.end(), std::make_pair(p, INT32_MAX));
        n.at.emplace_back(-1, 0);
        if (after == starts.begin()) continue;
        const auto& [data, place] = *--after;
        if (p < data + places[place].bytes) n.at.back() = {place, p - data};
      }
    }
  }
  void leave() {
    if (!std::exchange(under_way_, false)) return;
    here = nullptr;
    set_current_stream(device_, before_);
    side_in_use[device_] = false;
    draws_ = Object::steal(in_python("end_draws", draws_.get()));
  }

  int device_;
  StreamHandle before_;
  Graph graph_;
  Object draws_;  // taimatsu.cuda.graphs.Draws; None where there are none
  bool under_way_ = false;
  const Op* op_ = nullptr;
  std::vector<bool> actions_;  // whether it is fixed
  std::vector<Noted> notes_;
  size_t nodes_ = 0, noted_ = 0;  // when the last action was closed
};

}  // namespace

bool recording_here() { return here != nullptr; }
void note_launch(const KernelLaunch& launch, StreamHandle stream) { here->note(launch, stream); }

const WorkRecorder kWorkRecorder = {
    [](Device d) {
      if (captures_under_way == 0) return false;
      enter(d.index);
      return capturing(current_stream(d.index));
    },
    [](Device d) -> std::unique_ptr<RecordedWork> {
      if (side_in_use[d.index]) return nullptr;
      auto recording = std::make_unique<Recording>(d.index);
      recording->begin();
      return recording;
    },
};

}  // namespace taimatsu::cuda
