#include "plan/graph.h"

#include <algorithm>

#include "plan/plan.h"
#include "python/python.h"

namespace taimatsu {

const WorkRecorder* work_recorder = nullptr;
thread_local bool as_graphs = false;

// A recording, and what it was made with.
struct PlanGraph {
  Stream stream;
  std::unique_ptr<RecordedWork> work;
  std::vector<RecordedWork::Place> places;      // of the segment's slots
  std::vector<bool> fixed;                      // those that can't move
  std::vector<Ref<Storage>> own;                // memory in a slot's place
  std::vector<std::vector<int64_t>> numbers;    // of each action's kernels
  std::vector<std::vector<OwnedValue>> values;  // of each call that isn't a formula
};

namespace {

constexpr int64_t kSeenBefore = 2;  // times that a plan is carried out before it is recorded
constexpr size_t kMostGraphs = 4;   // of a plan
constexpr int64_t kInPlace = 2;     // recordings without memory of their own: places may alternate
constexpr int64_t kTrials = 12;     // recordings after which they must have been of use
constexpr int64_t kWorth = 4;       // launches for each

struct {
  int64_t recorded = 0, launched = 0, refused = 0;
} figures;

const Op& op_of(const Segment& s, const Action& a) {
  return *s.records[!a.variant ? a.records[0] : a.rows >= 0 ? a.rows : a.blame].op;
}

bool is_formula(const Segment& s, const Action& a) {
  return a.variant || (a.records.size() == 1 && op_of(s, a).kind <= Kind::Indexed);
}

// What a call that is no formula is given beside tensors.
template <class F>
void for_each_value(const Segment& s, const Action& a, const F& body) {
  for (uint32_t number : a.records) {
    const Record& r = s.records[number];
    for (size_t i = 0; i < r.op->schema.params.size(); ++i) {
      const Value& v = s.values[r.args + i];
      if (v.tag != Value::Tensor && v.tag != Value::Tensors) body(v);
    }
  }
}

bool same_values(const Segment& s, const Action& a, const std::vector<OwnedValue>& known) {
  size_t i = 0;
  bool same = true;
  for_each_value(s, a, [&](const Value& v) {
    const Value& k = known[i++].get();
    same &= v.tag == Value::Object ? k.tag == v.tag && k.object == v.object : equal(k, v);
  });
  return same;
}

// Others are told why a segment isn't a graph: counters and logs, in Python.
void refuse(PlanGraphs& graphs, const std::string& why) {
  graphs.refused = why;
  graphs.ready.clear();
  ++figures.refused;
  static PyObject* told = nullptr;
  try {
    python_function(told, "taimatsu.compiler._graphs", "refused");
    Object done = Object::steal(checked(PyObject_CallFunction(told, "s", why.c_str())));
  } catch (const Error&) {
    PyErr_WriteUnraisable(told);
  }
}

// The text of an error, which is over with that. Interrupts go on.
std::string taken(const Error& e) {
  if (e.kind != Error::Python) return e.message;
  if (!PyErr_ExceptionMatches(PyExc_Exception)) throw e;
  PyObject *type, *value, *trace;
  PyErr_Fetch(&type, &value, &trace);
  PyErr_NormalizeException(&type, &value, &trace);
  const Object types = Object::steal(type), values = Object::steal(value),
               traces = Object::steal(trace);
  Object text = Object::steal(PyObject_Str(value));
  return text ? to_string(text.get()) : "an exception";
}

// Makes the calls while the device records them. Memory of slots without a place is the
// recording's.
std::shared_ptr<PlanGraph> record(Segment& s, const SegmentPlan& plan, Device device,
                                  std::vector<RecordedWork::Place> places) {
  auto g = std::make_shared<PlanGraph>();
  g->stream = stream_of(device);
  g->fixed.resize(places.size());
  g->own.resize(places.size());
  for (size_t i = 0; i < places.size(); ++i) {
    if (!places[i].data || plan.graphs.recorded < kInPlace || !plan.graphs.moved[i]) continue;
    g->own[i] = new_storage(places[i].bytes, device);
    places[i].data = g->own[i]->as<char>();
  }
  g->places = places;
  struct Meanwhile {  // whatever happens, nothing of the recording's memory is left in the slots
    Segment& s;
    const PlanGraph& g;
    Meanwhile(Segment& segment, const PlanGraph& graph) : s(segment), g(graph) { exchange(); }
    ~Meanwhile() {
      exchange();
      for (size_t i = 0; i < g.places.size(); ++i) {
        Storage& slot = *s.slots[i].storage;
        if (!g.places[i].data && slot.device.type == DeviceType::CUDA) give_up_memory(slot);
      }
    }
    void exchange() const {
      for (size_t i = 0; i < g.own.size(); ++i) {
        if (g.own[i]) std::swap(s.slots[i].storage->data, g.own[i]->data);
      }
    }
  };
  g->work = work_recorder->begin(device);
  if (!g->work) return nullptr;
  {
    Meanwhile meanwhile(s, *g);
    for (const Action& a : plan.actions) {
      g->numbers.emplace_back();
      g->values.emplace_back();
      if (!is_on_gpu(s, a)) continue;
      if (is_formula(s, a)) {
        g->numbers.back() = numbers_of(s, a);
      } else {
        for_each_value(s, a, [&](const Value& v) { g->values.back().emplace_back(v); });
      }
      g->work->action(op_of(s, a));
      make_call(s, a);
      for (uint32_t slot : a.dying) {
        if (!places[slot].data) give_up_memory(*s.slots[slot].storage);
      }
    }
    g->work->end(places);
  }
  size_t recorded = 0;
  for (const Action& a : plan.actions) {
    if (!is_on_gpu(s, a) || !g->work->fixed(recorded++)) continue;
    for_each_mention(s, a,
                     [&](uint32_t mention) { g->fixed[s.slot_of[s.mentions[mention]]] = true; });
  }
  return g;
}

// The slot can't be where it is now.
bool stuck(const PlanGraph& g, size_t slot, const RecordedWork::Place& place) {
  return g.fixed[slot] && !g.own[slot] && g.places[slot].data != place.data;
}

bool fits(const Segment& s, const SegmentPlan& plan, const PlanGraph& g, Stream stream,
          const std::vector<RecordedWork::Place>& places) {
  if (g.stream != stream) return false;
  for (size_t i = 0; i < places.size(); ++i) {
    if (stuck(g, i, places[i])) return false;
    if (!g.places[i].data != !places[i].data) return false;
  }
  for (size_t k = 0; k < plan.actions.size(); ++k) {
    const Action& a = plan.actions[k];
    if (is_on_gpu(s, a) && !is_formula(s, a) && !same_values(s, a, g.values[k])) return false;
  }
  return true;
}

// Numbers and places of now. False if the graph can't take them.
bool brought_up_to_date(const Segment& s, const SegmentPlan& plan, PlanGraph& g,
                        const std::vector<RecordedWork::Place>& places) {
  size_t recorded = 0;
  for (size_t k = 0; k < plan.actions.size(); ++k) {
    const Action& a = plan.actions[k];
    if (!is_on_gpu(s, a)) continue;
    const size_t number = recorded++;
    if (!is_formula(s, a)) continue;
    std::vector<int64_t> now = numbers_of(s, a);
    if (now == g.numbers[k]) continue;
    if (!g.work->set_numbers(number, now)) return false;
    g.numbers[k] = std::move(now);
  }
  for (size_t i = 0; i < places.size(); ++i) {
    if (g.own[i] || g.places[i].data == places[i].data) continue;
    g.work->move(i, places[i].data);
    g.places[i] = places[i];
  }
  g.work->update();
  return true;
}

// Copies contents of slots to memory of the graph's own, or from there.
void copy_own(const Segment& s, const PlanGraph& g, bool in, const std::vector<bool>& which) {
  for (size_t i = 0; i < g.own.size(); ++i) {
    if (!g.own[i] || !which[i]) continue;
    const Storage& slot = *s.slots[i].storage;
    const Device d = slot.device;
    const Storage &from = in ? slot : *g.own[i], &to = in ? *g.own[i] : slot;
    backend(d.type).copy(to.data, d, from.data, d, slot.nbytes, true);
  }
}

// A call has tensors on the host and on a GPU.
bool works_across(const Segment& s, const SegmentPlan& plan) {
  return std::any_of(plan.actions.begin(), plan.actions.end(), [&](const Action& a) {
    bool host = false;
    for_each_mention(s, a, [&](uint32_t mention) {
      host |= s.tensor(mention)->device().type != DeviceType::CUDA;
    });
    return host && is_on_gpu(s, a);
  });
}

void keep(PlanGraphs& graphs, const std::shared_ptr<PlanGraph>& g) {
  ++figures.recorded;
  const auto number = static_cast<size_t>(graphs.recorded++);
  if (graphs.ready.size() < kMostGraphs) {
    graphs.ready.push_back(g);
  } else {
    graphs.ready[number % kMostGraphs] = g;
  }
}

}  // namespace

bool is_on_gpu(const Segment& s, const Action& a) {
  bool gpu = false;
  for_each_mention(
      s, a, [&](uint32_t mention) { gpu |= s.tensor(mention)->device().type == DeviceType::CUDA; });
  return gpu;
}

bool launch_as_graph(Segment& s, SegmentPlan& plan) {
  if (!s.graphs || !plan.fused || !work_recorder || s.on.empty()) return false;
  PlanGraphs& graphs = plan.graphs;
  if (!graphs.refused.empty() || graphs.seen++ < kSeenBefore) return false;
  const Device device{DeviceType::CUDA, static_cast<int8_t>(s.on[0].first)};
  const Stream stream = s.on[0].second;
  if (work_recorder->recording(device)) return false;  // as a part of what the program records
  if (s.on.size() > 1 || works_across(s, plan)) {
    refuse(graphs, "a call works on the host and a GPU, or several GPUs are used");
    return false;
  }
  std::vector<RecordedWork::Place> places(s.slots.size());
  std::vector<bool> had_contents(places.size()), written(places.size());
  for (size_t i = 0; i < places.size(); ++i) {
    Storage& storage = *s.slots[i].storage;
    if (storage.failure) return false;
    if (storage.device.type != DeviceType::CUDA) continue;
    had_contents[i] = storage.data != nullptr;
    written[i] = s.slots[i].written;
    if (!storage.data && plan.needed[i]) storage.as<char>();
    places[i] = {static_cast<char*>(storage.data), storage.data ? storage.nbytes : 0};
  }
  std::shared_ptr<PlanGraph> g;
  graphs.moved.resize(places.size());
  for (const auto& known : graphs.ready) {
    if (fits(s, plan, *known, stream, places)) g = known;
    for (size_t i = 0; i < places.size(); ++i) {
      if (known->stream == stream && stuck(*known, i, places[i])) graphs.moved[i] = true;
    }
  }
  try {
    if (g) g->work->renew();  // from here to the launch no other thread runs
    if (g && !brought_up_to_date(s, plan, *g, places)) g = nullptr;
    if (!g) {
      if (graphs.recorded >= kTrials && graphs.launched < kWorth * graphs.recorded) {
        refuse(graphs, "memory or arguments that can't be changed are others in most calls");
        return false;
      }
      g = record(s, plan, device, places);
      if (!g) return false;
      g->work->renew();
      keep(graphs, g);
    }
  } catch (const Error& e) {
    refuse(graphs, taken(e));
    return false;
  }
  copy_own(s, *g, true, had_contents);
  g->work->launch();
  copy_own(s, *g, false, written);
  ++graphs.launched;
  ++figures.launched;
  for (const Segment::Slot& slot : s.slots) {
    const bool here = slot.storage->device.type == DeviceType::CUDA;
    if (here && !slot.alive()) give_up_memory(*slot.storage);
  }
  return true;
}

PyObject* graph_figures() {
  return Py_BuildValue("{sLsLsL}", "recorded", static_cast<long long>(figures.recorded), "launched",
                       static_cast<long long>(figures.launched), "refused",
                       static_cast<long long>(figures.refused));
}

}  // namespace taimatsu
