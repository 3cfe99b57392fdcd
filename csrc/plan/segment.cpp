#include "plan/segment.h"

#include <pthread.h>

#include <thread>

#include "autograd/tape.h"
#include "cpu/threads.h"
#include "plan/plan.h"
#include "python/python.h"

namespace taimatsu {
namespace {

constexpr size_t kMostRecords = 4096;
constexpr size_t kMostBytes = size_t{1} << 30;  // of memory that eager calls might have given back

constexpr unsigned long kVanished = ~0ul;  // a runner that a fork left behind

// Not destroyed: threads end when the interpreter may be gone.
Segment* segments = nullptr;  // of all threads
thread_local Segment& pending = *new Segment;
thread_local int depth = 0;
thread_local bool running = false;  // it makes calls that were put off, and puts off no others
uint64_t serials = 0;

Storage& root_of(Tensor& t) { return t.storage->base ? *t.storage->base : *t.storage; }

// A child has none of the other threads, and what they were at stays half done.
const bool initialised = [] {
  pthread_atfork(nullptr, nullptr, [] {
    const unsigned long self = PyThread_get_thread_ident();
    for (Segment* s = segments; s; s = s->next) {
      if (s->runner && s->runner != self) s->runner = kVanished;
    }
  });
  return true;
}();

// Those that calls were recorded for are the current ones: another thread has others.
class OnStreams {
 public:
  explicit OnStreams(const std::vector<std::pair<int, Stream>>& on) {
    for (const auto& [device, stream] : on) {
      before_.emplace_back(device, streams->current(device));
      streams->set_current(device, stream);
    }
  }
  ~OnStreams() {
    for (const auto& [device, stream] : before_) streams->set_current(device, stream);
  }

 private:
  std::vector<std::pair<int, Stream>> before_;
};

struct NoCollection {  // finalizers would meet what is half recorded
  int before = PyGC_Disable();
  ~NoCollection() {
    if (before) PyGC_Enable();
  }
};

// What readers are told of a storage that was to be written when `e` was thrown, or later.
Ref<Failure> failure_of(const Error& e) {
  Ref<Failure> f(new Failure);
  f->error = {e.kind, e.message, true};
  if (e.kind == Error::Python) {  // an interrupt isn't to be raised whenever a tensor is read
    PyObject *type, *value, *trace;
    PyErr_Fetch(&type, &value, &trace);
    PyErr_NormalizeException(&type, &value, &trace);
    Object text = Object::steal(value ? PyObject_Str(value) : nullptr);
    f->error.kind = Error::Runtime;
    f->error.message =
        concat(value ? type_name(value) : "an exception", ": ", text ? to_string(text.get()) : "");
    PyErr_Restore(type, value, trace);
  }
  f->error.message +=
      "\nThis failed in a compiled function, where the elements of this tensor were to be computed "
      "then or later, and never were; compute it anew";
  return f;
}

}  // namespace

Segment::Segment() : next(std::exchange(segments, this)) {}

// Python runs meanwhile, so nothing of `c` has been recorded yet, and all is looked at again.
void Segment::settle(const Call& c) {
  bool settled;
  auto see = [&](Tensor* t) {
    if (!t) return;
    Storage& s = root_of(*t);
    if (!s.known_to || s.known_to == this || s.known_to->serial != s.known_serial) return;
    settled = false;
    s.known_to->run();  // calls that write it, or read it still
  };
  do {
    settled = true;
    wait();
    for (int i = 0; i < c.outs.size(); ++i) see(c.outs[i].get());
    for (uint8_t i : c.op.tensor_params) {
      const Value& v = c.args[i];
      if (v.tag == Value::Tensor) see(v.tensor);
      for (int64_t k = 0; v.tag == Value::Tensors && k < v.tensors.size; ++k) {
        see(v.tensors.data[k]);
      }
    }
  } while (!settled);
}

void Segment::note_stream(Device d) {
  for (const auto& [device, stream] : on) {
    if (device == d.index) return;
  }
  on.emplace_back(d.index, stream_of(d));
}

// The segment's own tensor for `t`, so that what happens to that object later doesn't matter.
void Segment::mention(Tensor& t, bool written) {
  Storage& s = root_of(t);
  const bool known = s.known_to == this && s.known_serial == serial;
  const Tensor* latest = known ? tensors[slots[s.slot].latest].get() : nullptr;
  TensorRef own;  // before anything is noted: there may be no memory for it
  if (!latest || latest->layout != t.layout || latest->dtype != t.dtype) {
    own = make_tensor(&s, t.layout, t.dtype);
  }
  if (!known) {
    if (s.device.type == DeviceType::CUDA) note_stream(s.device);
    Slot slot{&s};
    slot.fresh = !s.data || (!s.known_to && s.known_serial == serial);
    s.known_to = this;
    s.known_serial = serial;
    s.slot = static_cast<uint32_t>(slots.size());
    slots.push_back(slot);
  }
  Slot& slot = slots[s.slot];
  if (own) {
    slot.latest = static_cast<uint32_t>(tensors.size());
    slot.held++;
    tensors.push_back(std::move(own));
    slot_of.push_back(s.slot);
  }
  mentions.push_back(slot.latest);
  identity.push_back(uint64_t{s.slot} << 32 | static_cast<uint64_t>(s.device.type) << 16 |
                     static_cast<uint64_t>(static_cast<uint8_t>(s.device.index)) << 8 |
                     static_cast<uint64_t>(t.dtype));
  identity.push_back(reinterpret_cast<uint64_t>(t.layout));
  if (!written || slot.written) return;
  slot.written = true;
  if (!s.data) late_bytes += s.nbytes;
  s.pending = this;
  s.late = true;
  for (Storage* a = s.aliases; a; a = a->next) a->late = true;
}

void Segment::record(Call& c) {
  NoCollection now;
  graphs = as_graphs && (graphs || records.empty());
  const Op& op = c.op;
  const size_t n = op.schema.params.size();
  Record r{&c.op,
           op.kind <= Kind::Indexed ? &find_variant(c) : nullptr,
           static_cast<uint32_t>(values.size()),
           static_cast<uint32_t>(mentions.size()),
           static_cast<uint32_t>(c.outs.size()),
           0};
  identity.push_back(reinterpret_cast<uint64_t>(r.op));
  identity.push_back(reinterpret_cast<uint64_t>(r.variant));
  for (int i = 0; i < c.outs.size(); ++i) mention(*c.outs[i], true);
  values.insert(values.end(), c.args, c.args + n);
  for (size_t i = 0; i < n; ++i) {
    Value& v = values[r.args + i];
    switch (v.tag) {
      case Value::Tensor:
        mention(*v.tensor, op.schema.params[i].written);
        v = Value(tensors[mentions.back()].get());
        break;
      case Value::Tensors: {
        auto& list = lists.emplace_back();
        for (int64_t k = 0; k < v.tensors.size; ++k) {
          Tensor* t = v.tensors.data[k];
          if (t) mention(*t, op.schema.params[i].written);
          list.push_back(t ? tensors[mentions.back()].get() : nullptr);
        }
        v = Value::of_tensors(list.data(), static_cast<int64_t>(list.size()));
        break;
      }
      case Value::None:
      case Value::DType:
      case Value::Device:
      case Value::MemoryFormat: break;
      case Value::Number:  // which rows there are is part of what a plan depends on
        if (op.kind == Kind::Row) identity.push_back(static_cast<uint64_t>(v.to_int()));
        break;
      default:
        v = owned.emplace_back(v).get();
        if (op.kind == Kind::Row && v.tag == Value::Ints) {
          identity.push_back(static_cast<uint64_t>(v.list.size));
          for (int64_t k : v.ints()) identity.push_back(static_cast<uint64_t>(k));
        }
    }
  }
  r.n_tensors = static_cast<uint32_t>(mentions.size()) - r.outs;
  identity.push_back(r.n_tensors);
  records.push_back(r);
}

bool Segment::full() const {
  if (records.size() >= kMostRecords || late_bytes >= kMostBytes) return true;
  // Of what the latest call reads, others may change the bytes without a call.
  const Record& r = records.back();
  for (uint32_t i = r.outs; i < r.outs + r.n_tensors; ++i) {
    if (tensor(i)->storage->lent || tensor(i)->storage->owner) return true;
  }
  return false;
}

void Segment::run_record(const Record& r) {
  Tensors outs;
  for (uint32_t i = 0; i < r.n_outs; ++i) {
    Tensor* t = tensor(r.outs + i);
    const bool here = t->device().type == DeviceType::CPU;
    if (here) t->storage->as<char>();  // the memory is there before threads write to it
    outs.push(TensorRef(t));
  }
  Call c{*r.op, &values[r.args], outs, r.variant};
  emit(c);
}

void Segment::wait() {
  while (runner && runner != PyThread_get_thread_ident()) {
    if (runner == kVanished) {
      Ref<Failure> f = failure_of(
          {Error::Runtime, "the process was forked while another of its threads computed this"});
      for (const Record& r : records) lose(r, *f);
      return clear();
    }
    PyThreadState* state = PyEval_SaveThread();
    std::this_thread::yield();
    restore_gil(state);
  }
}

void Segment::lose(uint32_t mention, Failure& f) const {
  const Slot& slot = slots[slot_of[mentions[mention]]];
  if (slot.fresh && slot.storage->nbytes) fail_storage(*slot.storage, &f);
}

// All that the call writes.
void Segment::lose(const Record& r, Failure& f) const {
  uint32_t at = r.outs;
  for (uint32_t i = 0; i < r.n_outs; ++i) lose(at++, f);
  const auto& params = r.op->schema.params;
  for (size_t i = 0; i < params.size(); ++i) {
    const Value& v = values[r.args + i];
    const int64_t n = v.tag == Value::Tensors ? v.tensors.size : v.tag == Value::Tensor;
    for (int64_t k = 0; k < n; ++k) {
      if (v.tag == Value::Tensors && !v.tensors.data[k]) continue;
      if (params[i].written) lose(at, f);
      ++at;
    }
  }
}

// Where a call fails, what it and those after it were to write is lost.
void Segment::make_calls() {
  std::shared_ptr<SegmentPlan> plan;
  size_t made = 0;
  auto lose_rest = [&](const Error& e) {
    Ref<Failure> f = failure_of(e);
    if (!plan) {
      for (const Record& r : records) lose(r, *f);
    }
    for (; plan && made < plan->actions.size(); ++made) {
      const Action& action = plan->actions[made];
      for (uint32_t number : action.records) lose(records[number], *f);
      for (int k = 0; k < action.n_outs; ++k) lose(action.mentions[k], *f);
    }
  };
  try {
    plan = plan_for(*this);
    const bool launched = launch_as_graph(*this, *plan);
    for (; made < plan->actions.size(); ++made) {
      const Action& action = plan->actions[made];
      if (!launched || !is_on_gpu(*this, action)) run_action(*this, action);
    }
  } catch (Error& e) {
    if (plan && made < plan->actions.size()) {
      const Action& action = plan->actions[made];
      const Op& op = *records[action.variant ? action.blame : action.records[0]].op;
      if (op.base_name[0] != '_') name_error(e, op);
    }
    e.named = true;  // whoever looks at a value now is not to blame
    lose_rest(e);
    throw;
  } catch (const std::bad_alloc&) {
    lose_rest({Error::OutOfMemory, "out of memory"});
    throw;
  }
}

void Segment::run() {
  wait();
  if (runner || slots.empty()) return;
  runner = PyThread_get_thread_ident();
  Immediately at_once;
  InFlight now;
  const OnStreams there(on);
  struct Emptied {
    Segment& s;
    bool outer = std::exchange(running, true);
    ~Emptied() {
      s.clear();
      running = outer;
    }
  } emptied{*this};
  make_calls();
}

void Segment::clear() {
  for (const Slot& slot : slots) {
    Storage& s = *slot.storage;
    s.pending = nullptr;
    s.late = s.failure || (!s.data && s.nbytes);
  }
  records.clear();
  values.clear();
  owned.clear();
  lists.clear();
  slot_of.clear();
  mentions.clear();
  slots.clear();
  identity.clear();
  late_bytes = 0;
  on.clear();
  serial = ++serials;
  runner = 0;
  std::vector<TensorRef> last;  // what their destructors do may come back here
  last.swap(tensors);
  last.clear();
  if (tensors.empty()) tensors.swap(last);  // its capacity is used again
}

void put_off(Call& c) {
  if (c.op.kind == Kind::Native && !c.op.native->infer) {  // sizes depend on elements
    pending.run();
    Immediately at_once;
    return emit(c);
  }
  pending.settle(c);
  pending.record(c);
  if (pending.full()) pending.run();
}

void flush(Segment& s) {
  if (!in_parallel_region()) s.run();  // else it is a thread of one of those calls, without the GIL
}

void flush_pending() { pending.run(); }

Deferral::Deferral(bool on, bool graphs) : on_(on && !running), graphs_before_(as_graphs) {
  if (!on_) return;
  as_graphs |= graphs;
  deferring_serial = &pending.serial;
  if (depth++ == 0) pending.serial = ++serials;
  deferring = true;
}

void Deferral::end() {
  if (!std::exchange(on_, false)) return;
  as_graphs = graphs_before_;
  if (--depth > 0) return;
  deferring = false;
  pending.run();
}

Deferral::~Deferral() {  // of an exception, which is the one to tell
  if (!on_) return;
  PendingError kept;
  try {
    end();
  } catch (...) {
  }
}

namespace {

// _deferred(function, args, kwargs, graphs): the call, with the calls inside it put off till its
// end.
PyObject* call_deferred(PyObject*, PyObject* const* args, Py_ssize_t nargs) {
  return guard([&] {
    if (nargs != 4) fail(Error::Type, "_deferred: takes a function, a tuple, a dict and a bool");
    Deferral deferral(true, args[3] == Py_True);
    Object result = Object::steal(checked(PyObject_Call(args[0], args[1], args[2])));
    deferral.end();
    return result.leak();
  });
}

PyMethodDef kFunctions[] = {
    {"_deferred", method(call_deferred), METH_FASTCALL,
     "_deferred(function, args, kwargs, graphs)\n--\n\n"
     "Calls it; ops inside run at the end, or when a value is needed; where they come again and "
     "graphs is set, as graphs of their device."},
    {"_graph_figures", [](PyObject*, PyObject*) { return guard(graph_figures); }, METH_NOARGS,
     "Graphs of compiled functions: how many were recorded, launched, refused."},
    {"_forget_plans",
     [](PyObject*, PyObject*) {
       return guard([] {
         flush_pending();
         forget_plans();
         return new_ref(Py_None);
       });
     },
     METH_NOARGS, "Forgets what was planned for compiled functions, with its graphs."},
    {},
};

}  // namespace

int init_plan(PyObject* module) {
  Object limits = Object::steal(Py_BuildValue("(iiLL)", kMaxOperands, kMaxScalars,
                                              static_cast<long long>(kFewRows),
                                              static_cast<long long>(kLongRow)));
  if (PyModule_AddObjectRef(module, "_kernel_limits", limits.get()) < 0) return -1;
  return PyModule_AddFunctions(module, kFunctions);
}

}  // namespace taimatsu
