// Ops on devices whose memory and kernels are out of the host's reach.
//
//   formulas   the generated kernel for that device: run_pointwise, run_row, run_indexed
//   natives    the device's own routine; else a function in Python (`Op.routine`), which calls a
//              library or other ops; else the CPU's routine, on copies
#include <list>

#include "autograd/tape.h"
#include "cpu/random.h"
#include "ops/epilogue.h"
#include "ops/launch.h"
#include "plan/segment.h"

namespace taimatsu {
namespace {

using Routine = bool (*)(Call&);
std::unordered_map<std::string, Routine>& routines_on(DeviceType type) {
  static std::unordered_map<DeviceType, std::unordered_map<std::string, Routine>> all;
  return all[type];
}

// The arguments of a call with its tensors replaced by `change(tensor)`.
class Moved {
 public:
  template <class F>
  Moved(const Call& c, const F& change) {
    const size_t n = c.op.schema.params.size();
    std::copy(c.args, c.args + n, values);
    for (uint8_t i : c.op.tensor_params) {
      if (c.args[i].is_tensor()) values[i] = Value(kept_.emplace_back(change(c.args[i].t())));
      if (c.args[i].tag != Value::Tensors) continue;
      auto& list = lists_.emplace_back();
      for (int64_t k = 0; k < c.args[i].tensors.size; ++k) {
        Tensor* t = c.args[i].tensors.data[k];
        list.push_back(t ? kept_.emplace_back(change(*t)).get() : nullptr);
      }
      values[i] = Value::of_tensors(list.data(), static_cast<int64_t>(list.size()));
    }
  }
  Value values[kMaxArgs];

 private:
  std::vector<TensorRef> kept_;
  std::list<std::vector<Tensor*>> lists_;
};

// What was computed becomes the call's outputs: itself, where nobody has seen those yet. Of an op
// that only writes to its arguments it is what they become.
void give(Call& c, Tensors& results) {
  if (c.outs.size() == 0) {
    int next = 0;
    for (size_t i = 0; i < c.op.schema.params.size(); ++i) {
      if (!c.op.schema.params[i].written || !c.args[i].is_tensor() || next == results.size()) {
        continue;
      }
      copy_into(c.args[i].t(), *results[next]);
      results[next++] = TensorRef(c.args[i].tensor);
    }
    for (int i = 0; i < results.size(); ++i) c.outs.push(results[i]);
  }
  for (int i = 0; i < c.outs.size(); ++i) {
    if (c.outs[i].get() == results[i].get()) continue;
    const bool fresh = Py_REFCNT(c.outs[i]->object()) == 1;
    const bool alike = c.outs[i]->dtype == results[i]->dtype &&
                       c.outs[i]->sizes() == results[i]->sizes() &&
                       c.outs[i]->device() == results[i]->device();
    if (fresh && alike && !c.outs[i]->requires_grad) {
      c.outs[i] = results[i];
    } else if (c.outs[i]->layout != results[i]->layout || c.outs[i]->dtype != results[i]->dtype ||
               !hand_over(*results[i]->storage, *c.outs[i]->storage)) {
      copy_into(*c.outs[i], *results[i]);
    }
  }
}

// False where the function can't, and has done nothing.
bool run_in_python(Call& c, PyObject* function) {
  const size_t n = c.op.schema.params.size();
  Object args = Object::steal(checked(PyTuple_New(static_cast<Py_ssize_t>(n))));
  for (size_t i = 0; i < n; ++i) {
    checked(PyTuple_SetItem(args.get(), static_cast<Py_ssize_t>(i), to_python(c.args[i])));
  }
  Tensors results;
  results.other = Object::steal(checked(PyObject_Call(function, args.get(), nullptr)));
  if (results.other.get() == Py_NotImplemented) return false;
  unwrap_outputs(c.op, results);
  if (results.size()) {
    give(c, results);
  } else if (results.other.get() != Py_None) {
    c.outs.other = results.other;
  }
  return true;
}

void run_on_host(Device d, Call& c) {
  std::vector<std::pair<Tensor*, TensorRef>> copies;
  auto host = [&](Tensor& t) -> TensorRef {
    for (auto& [from, to] : copies) {
      if (from == &t) return to;
    }
    return copies.emplace_back(&t, on_device(t, Device{})).second;
  };
  Moved args(c, host);
  const Schema& s = c.op.schema;
  if (s.device >= 0) args.values[s.device] = Value(Device{});
  for (size_t i = 0; i < s.params.size(); ++i) {  // random numbers are the device's still
    if (s.params[i].type == Type::Generator && c.args[i].none()) {
      args.values[i] = Value::of_object(default_generator_object(d));
    }
  }
  Tensors results;
  for (int i = 0; i < c.outs.size(); ++i) {
    bool is_argument = false;
    for (auto& [from, to] : copies) {
      if (from != c.outs[i].get()) continue;
      results.push(to);
      is_argument = true;
    }
    if (!is_argument) results.push(empty_like(*c.outs[i], Device{}));
  }
  const bool known = results.size() > 0;
  Call there{c.op, args.values, results};
  c.op.native->run(there);
  for (size_t i = 0; i < s.params.size(); ++i) {
    if (s.params[i].written && c.args[i].is_tensor()) {
      copy_into(c.args[i].t(), args.values[i].t());
    }
  }
  for (int i = 0; i < results.size(); ++i) {
    if (known) {
      copy_into(*c.outs[i], *results[i]);
    } else {
      c.outs.push(on_device(*results[i], d));
    }
  }
  c.outs.is_list = results.is_list;
  if (results.other) c.outs.other = results.other;
}

}  // namespace

void register_native_on(DeviceType type, const char* name, Routine run) {
  routines_on(type)[name] = run;
}

namespace {
std::unordered_map<DeviceType, Epilogues>& all_epilogues() {
  static std::unordered_map<DeviceType, Epilogues> all;
  return all;
}
}  // namespace

void register_epilogues(DeviceType type, Epilogues e) { all_epilogues()[type] = e; }

const Epilogues* epilogues_on(DeviceType type) {
  const auto found = all_epilogues().find(type);
  return found == all_epilogues().end() ? nullptr : &found->second;
}

void emit_on(Device d, Call& c) {
  Immediately at_once;
  if (c.op.kind == Kind::Native && c.op.native->neutral) return c.op.native->run(c);
  // Tensors without dims may be on the CPU.
  Moved args(c, [&](Tensor& t) { return on_device(t, d); });
  Call there{c.op, args.values, c.outs, c.variant};
  switch (c.op.kind) {
    case Kind::Pointwise: return run_pointwise(there);
    case Kind::Row: return run_row(there);
    case Kind::Indexed: return run_indexed(there);
    default: break;
  }
  const auto& routines = routines_on(d.type);
  if (auto own = routines.find(c.op.name); own != routines.end() && own->second(there)) return;
  GradMode off(false);
  Object routine = Object::steal(
      checked(PyObject_CallMethod(c.op.entry.get(), "routine", "s", backend(d.type).name)));
  if (routine.get() != Py_None && run_in_python(there, routine.get())) return;
  run_on_host(d, c);
}

}  // namespace taimatsu
