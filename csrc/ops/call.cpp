// The path of every op call: interpreters, outputs, emit, tape.
#include "autograd/tape.h"
#include "ops/dispatch.h"
#include "ops/launch.h"
#include "ops/replay.h"
#include "ops/sparse.h"
#include "plan/segment.h"
#include "python/objects.h"
#include "python/tensor_type.h"

namespace taimatsu {
namespace {

thread_local const Op* composite = nullptr;  // whose Python function runs, if users know it

// All tensors of a call on one device; 0-dim CPU tensors go with any, as do indices on the CPU.
Device common_device(const Op& op, const Value* args) {
  Device device;
  const Tensor* first = nullptr;
  auto see = [&](const Tensor* t) {
    if (!t) return;
    if (!first || (first->ndim() == 0 && first->device().type == DeviceType::CPU)) {
      first = t;
      device = t->device();
    } else if (t->device() != device && !(t->ndim() == 0 && t->device().type == DeviceType::CPU)) {
      fail(Error::Runtime,
           "Expected all tensors to be on the same device, but found at least two "
           "devices, ",
           device.str(), " and ", t->device().str(), "; move them with .to()");
    }
  };
  for (uint8_t i : op.tensor_params) {
    if (args[i].is_tensor()) see(args[i].tensor);
    if (args[i].tag != Value::Tensors) continue;
    const bool indices = op.schema.params[i].optional_items;
    for (int64_t k = 0; k < args[i].tensors.size; ++k) {
      const Tensor* t = args[i].tensors.data[k];
      if (!(indices && t && t->device().type == DeviceType::CPU)) see(t);
    }
  }
  return device;
}

// Of tensors that may be on different devices: the first that isn't the CPU.
Device first_elsewhere(const Op& op, const Value* args) {
  for (uint8_t i : op.tensor_params) {
    if (!args[i].is_tensor()) continue;
    if (const Device d = args[i].t().device(); d.type != DeviceType::CPU) return d;
  }
  return {};
}

void infer(Call& c, Tensor* const* into) {
  switch (c.op.kind) {
    case Kind::Pointwise: return infer_pointwise(c, into);
    case Kind::Row: return infer_row(c, into);
    case Kind::Indexed: return infer_indexed(c, into);
    default:
      if (c.op.native->infer) return c.op.native->infer(c);
      void_notes();  // sizes that depend on elements
  }
}

// An operand that isn't the target shares memory with it.
bool aliased(const Call& c, const Tensor& target) {
  for (uint8_t i : c.op.operands) {
    if (!c.args[i].is_tensor() || c.args[i].tensor == &target) continue;
    if (&c.args[i].tensor->storage->root() == &target.storage->root()) return true;
  }
  return false;
}

void check_elements_apart(const Tensor& target) {
  if (!overlaps_itself(*target.layout)) return;
  fail(Error::Runtime,
       "unsupported operation: more than one element of the written-to tensor refers to a single "
       "memory location; clone() the tensor before writing to it");
}

[[noreturn]] void refuse_overlap() {
  fail(Error::Runtime,
       "unsupported operation: some elements of the input tensor and the "
       "written-to tensor refer to a single memory location; clone() one of them first");
}

// How far inputs show the target's memory. Refused, unless not `strict`: some elements, or all but
// not in their places; of lists' items, and by ops with exact outputs that have no in-place form
// and are no formulas, the target itself, too. `from`: the first argument that is looked at.
Overlap check_apart(const Op& op, const Value* args, const Tensor& target, bool strict = true,
                    int from = 0) {
  Overlap found = Overlap::None;
  auto see = [&](const Tensor* t, bool may_be_target) {
    const Overlap o = !t ? Overlap::None : t == &target ? Overlap::Same : overlap(*t, target);
    if (strict && (o == Overlap::Partial || (o == Overlap::Same && !may_be_target))) {
      refuse_overlap();
    }
    found = std::max(found, o);
  };
  const bool may_be_target = op.kind <= Kind::Row || !op.exact_out || op.inplace;
  for (uint8_t i : op.tensor_params) {
    if (i < from) continue;
    if (args[i].is_tensor()) see(args[i].tensor, may_be_target);
    if (args[i].tag == Value::Tensors) {
      for (int64_t k = 0; k < args[i].tensors.size; ++k) see(args[i].tensors.data[k], false);
    }
  }
  return found;
}

void check_target(const Op& op, const Tensor& found, const Tensor& target) {
  if (found.device() != target.device()) {
    fail(Error::Runtime, "Expected all tensors to be on the same device, but the result is on ",
         found.device().str(), " and the written-to tensor on ", target.device().str(),
         "; move it with .to()");
  }
  if (op.exact_out && found.dtype != target.dtype) {
    fail(Error::Runtime, "Expected out tensor to have dtype ", info(found.dtype).legacy,
         ", but got ", info(target.dtype).legacy, " instead");
  }
  if (!can_cast(found.dtype, target.dtype)) {
    fail(Error::Runtime, "result type ", info(found.dtype).legacy,
         " can't be cast to the desired output type ", info(target.dtype).legacy);
  }
  check_elements_apart(target);
}

// Each of several results has memory of its own.
void check_targets_apart(Tensor* const* into, int n) {
  for (int i = 1; i < n; ++i) {
    for (int j = 0; j < i; ++j) {
      if (into[i] == into[j] || overlap(*into[i], *into[j]) != Overlap::None) refuse_overlap();
    }
  }
}

// Results of out= have no history, so nothing may ask for one: not what is given, nor the targets.
void check_unrecorded(bool asked, Tensor* const* into, int n) {
  for (int i = 0; i < n; ++i) asked |= modes.grad && requires_grad(*into[i]);
  if (!asked) return;
  fail(Error::Runtime,
       "functions with out=... arguments don't support automatic differentiation, but one of the "
       "arguments requires grad");
}

// Gives targets the results' sizes: all of them, or none if memory can't be had.
void resize_targets(Tensor* const* into, const Tensors& results) {
  for (int i = 0; i < results.size(); ++i) {
    if (into[i]->sizes() == results[i]->sizes() || into[i]->numel() == 0) continue;
    const std::string text = concat(
        "An output with one or more elements was resized since it had shape ",
        format(into[i]->sizes()), ", which does not match the required output shape ",
        format(results[i]->sizes()), ". Resize it to no elements beforehand, by t.resize_(0).");
    checked(PyErr_WarnEx(PyExc_UserWarning, text.c_str(), 1));
  }
  for (const bool only_memory : {true, false}) {
    for (int i = 0; i < results.size(); ++i) {
      if (into[i]->sizes() == results[i]->sizes()) continue;
      resize_tensor(*into[i], results[i]->sizes(), only_memory);
    }
  }
}

// The in-place and out= forms: results go into `into`, in the kernel where dtype and memory allow,
// by a copy otherwise. The targets are checked before anything is written.
void run_into(Call& c, Tensor* const* into, bool resize) {
  // One target that is an operand, and all operands laid out alike: nothing to check or to copy.
  if (c.scanned && c.shared && c.on_cpu && c.op.kind == Kind::Pointwise &&
      into[0]->layout == c.shared && c.args[0].is_tensor() && into[0] == c.args[0].tensor) {
    const Variant& v = find_variant(c);
    if (v.outputs.size() == 1 && v.outputs[0].dtype == into[0]->dtype && !v.fails &&
        !aliased(c, *into[0])) {
      c.outs.push(TensorRef(into[0]));
      return emit(c);
    }
  }
  infer(c, nullptr);
  const bool known = c.outs.size() > 0;
  if (!known) emit(c);  // sizes depend on data
  const int n = c.outs.size();
  for (int i = 0; i < n; ++i) {
    Tensor& target = *into[i];
    Tensor& fresh = *c.outs[i];
    if (target.sizes() != fresh.sizes()) {
      check_elements_apart(target);
      if (!resize) {
        fail(Error::Runtime, "output with shape ", format(target.sizes()),
             " doesn't match the broadcast shape ", format(fresh.sizes()));
      }
      // An input can't be resized while it is read.
      if (check_apart(c.op, c.args, target) == Overlap::Same) refuse_overlap();
    }
    check_target(c.op, fresh, target);
  }
  check_targets_apart(into, n);
  bool direct[8] = {false};
  // What may fail half-way is computed apart, and copied if it didn't.
  const bool apart = c.op.kind <= Kind::Indexed && find_variant(c).fails;
  Tensors fresh;
  for (int i = 0; i < n; ++i) {
    Tensor& target = *into[i];
    // A routine that changes places of self does so in self, unless it reads that elsewhere too.
    const bool updates = c.op.kind == Kind::Native && c.op.native->updates &&
                         c.args[0].is_tensor() && c.args[0].tensor == &target;
    const bool fits = target.sizes() == c.outs[i]->sizes();  // else resized once nothing can fail
    direct[i & 7] = known && i < 8 && (c.op.kind <= Kind::Indexed || updates) && !apart && fits &&
                    target.dtype == c.outs[i]->dtype;
    const Overlap o = check_apart(c.op, c.args, target, fits, updates ? 1 : 0);
    // Other kinds than pointwise read elements after others were written.
    if (o == Overlap::Partial || (o == Overlap::Same && c.op.kind != Kind::Pointwise)) {
      direct[i & 7] = false;
    }
    fresh.push(c.outs[i]);
    if (direct[i & 7]) c.outs[i] = TensorRef(&target);
  }
  if (known) emit(c);
  resize_targets(into, c.outs);
  for (int i = 0; i < n; ++i) {
    if (!direct[i & 7]) {
      copy_into(*into[i], *c.outs[i]);
      c.outs[i] = TensorRef(into[i]);
    }
  }
}

// The out= form of a composite: its results are copied, once all targets have been checked.
void store_outputs(const Op& op, const Value* args, Tensors& outs, Tensor* const* into) {
  unwrap_outputs(op, outs);
  const auto wanted = static_cast<int>(op.schema.returns.size());
  if (outs.other && outs.size() != wanted) {
    fail(Error::Type, "with these arguments it has no out= form: it does not return ", wanted,
         wanted == 1 ? " tensor" : " tensors");
  }
  outs.other = nullptr;
  bool recorded = false;
  for (int i = 0; i < outs.size(); ++i) recorded |= modes.grad && requires_grad(*outs[i]);
  check_unrecorded(recorded, into, outs.size());
  for (int i = 0; i < outs.size(); ++i) {
    if (outs[i].get() == into[i]) continue;
    check_target(op, *outs[i], *into[i]);
    check_apart(op, args, *into[i]);
  }
  check_targets_apart(into, outs.size());
  resize_targets(into, outs);
  for (int i = 0; i < outs.size(); ++i) {
    if (outs[i].get() == into[i]) continue;
    copy_into(*into[i], *outs[i]);
    bump_version(*into[i]);
    outs[i] = TensorRef(into[i]);
  }
}

// One with a gradient of its own: the ops inside leave no history, the call as a whole does.
void run_overridden(Call& c, uint64_t mask) {
  {
    GradMode off(false);
    run_composite(c);
  }
  unwrap_outputs(c.op, c.outs);
  c.outs.other = nullptr;
  for (int i = 0; i < c.outs.size(); ++i) {
    if (c.outs[i]->base) c.outs[i] = alias(*c.outs[i], c.outs[i]->layout);
  }
  record(c.op, mask, c.args, c.outs);
}

// Where the outputs of an in-place op without formula are: its written params.
void written_params(const Op& op, const Value* args, Tensors& outs) {
  for (size_t i = 0; i < op.schema.params.size(); ++i) {
    if (op.schema.params[i].written && args[i].is_tensor()) outs.push(TensorRef(args[i].tensor));
  }
}

void call_native_inplace(Call& c) {
  uint64_t mask = grad_mask(c.op, c.args);
  Tensors targets;
  written_params(c.op, c.args, targets);
  for (int i = 0; i < targets.size(); ++i) {
    check_inplace(c.op, *targets[i], mask);
    if (!c.op.native->one_value) check_elements_apart(*targets[i]);
  }
  if (c.op.native->infer) c.op.native->infer(c);  // refuses before anything is written
  emit(c);
  for (int i = 0; i < targets.size(); ++i) written(c.op, mask, c.args, *targets[i]);
  if (c.outs.size() == 0) {
    for (int i = 0; i < targets.size(); ++i) c.outs.push(targets[i]);
  }
}

// Before an in-place call with history: what the derivative needs of the target is its value
// before. Puts a copy of it, which is returned, in its place among the arguments.
TensorRef keep_target(Op& op, uint64_t mask, Value* args, Tensor& target) {
  const Plan& plan = op.plan(mask, args);
  TensorRef before;
  for (size_t i = 0; i < op.schema.params.size(); ++i) {
    if (!args[i].is_tensor() || args[i].tensor != &target || !(plan.saved_args >> i & 1)) continue;
    if (!before) before = clone(target);
    args[i] = Value(before);
  }
  return before;
}

void run_recorded(Call& c, uint64_t mask, Tensor& target) {
  Value kept[kMaxArgs];
  std::copy(c.args, c.args + c.op.schema.params.size(), kept);
  const TensorRef before = keep_target(c.op, mask, kept, target);
  Tensor* into = &target;
  run_into(c, &into, false);
  written(c.op, mask, kept, target);
}

// What was computed is copied to the target, with history. The ops inside may save the target, so
// where there is history they are given a copy of it.
void call_composite_inplace(Call& c) {
  static Op &clone_op = core_op("clone"), &copy = core_op("copy_");
  const Value target = c.args[0];
  Value given[kMaxArgs];
  std::copy_n(c.args, c.op.schema.params.size(), given);
  TensorRef before;
  for (uint8_t i : c.op.tensor_params) {
    if (before || !modes.grad || !given[i].is_tensor() || !requires_grad(given[i].t())) continue;
    before = call1(clone_op, {target, Value()});
    given[0] = Value(before);
  }
  c.args = given;
  run_composite(c);
  unwrap_outputs(c.op, c.outs);
  check_target(c.op, *c.outs[0], target.t());
  call1(copy, {target, Value(c.outs[0])});
}

void call_checked(Op& op, const Value* args, Tensors& outs, Tensor* const* into) {
  Call c{op, args, outs};
  if (op.kind == Kind::View) {
    run_view(c);
    if (into) fail(Error::Runtime, "views have no out= form");
    if (!c.recorded) record_view(op, args, outs);
    return;
  }
  if (op.kind == Kind::Composite) {
    if (const uint64_t mask = into ? 0 : grad_mask(op, args)) return run_overridden(c, mask);
    if (into && op.inplace && args[0].is_tensor() && into[0] == args[0].tensor) {
      return call_composite_inplace(c);
    }
    run_composite(c);
    if (into) store_outputs(op, args, outs, into);
    return;
  }
  if (!op.pure) return call_native_inplace(c);

  uint64_t mask;
  if (op.kind <= Kind::Indexed) {
    scan(c);
    mask = c.mask;
  } else {
    mask = grad_mask(op, args);
  }
  if (!into) {
    infer(c, nullptr);
    emit(c);
    if (mask) record(op, mask, args, outs);
    return;
  }
  // In place: the first param is the target. Otherwise out=.
  const bool inplace = op.inplace && args[0].is_tensor() && into[0] == args[0].tensor;
  if (!inplace) {
    check_unrecorded(mask != 0, into, static_cast<int>(op.schema.returns.size()));
    run_into(c, into, true);
    for (int i = 0; i < outs.size(); ++i) bump_version(*outs[i]);
    return;
  }
  Tensor& target = *into[0];
  check_inplace(op, target, mask);
  if (mask) return run_recorded(c, mask, target);
  run_into(c, into, false);
  written(op, mask, args, target);
}

PyObject* interpreter = nullptr;  // the Python function that an interposed call goes to

// Carries a call out by a Python function of (entry, arguments, targets).
void delegate(PyObject* function, Op& op, const Value* args, Tensors& outs, Tensor* const* into) {
  const auto& params = op.schema.params;
  Object list = Object::steal(checked(PyTuple_New(static_cast<Py_ssize_t>(params.size()))));
  for (size_t i = 0; i < params.size(); ++i) {
    checked(PyTuple_SetItem(list.get(), static_cast<Py_ssize_t>(i), to_python(args[i])));
  }
  Object targets(Py_None);
  if (into) {  // of an in-place op one, of out= one for each result
    const bool inplace = op.inplace && args[0].is_tensor() && into[0] == args[0].tensor;
    const size_t n = inplace ? 1 : op.schema.returns.size();
    targets = Object::steal(checked(PyTuple_New(static_cast<Py_ssize_t>(n))));
    for (size_t i = 0; i < n; ++i) PyTuple_SetItem(targets.get(), i, into[i]->object());
    for (size_t i = 0; i < n; ++i) Py_INCREF(into[i]->object());
  }
  outs.other = Object::steal(checked(
      PyObject_CallFunctionObjArgs(function, op.entry.get(), list.get(), targets.get(), nullptr)));
  unwrap_outputs(op, outs);
}

// What is made in inference mode is an inference tensor; a view is what its base is.
void mark_inference(const Op& op, const Value* args, Tensors& outs) {
  for (int i = 0; i < outs.size(); ++i) {
    outs[i]->inference = op.kind != Kind::View || args[0].t().inference;
  }
}

// A tensor of the same class and attributes: what was given back is not the argument itself.
TensorRef own_object(Tensor& t) {
  Object made = Object::steal(adopt(Py_TYPE(t.object()), alias(t, t.layout)));
  if (t.dict) {
    Object attributes = Object::steal(checked(PyDict_Copy(t.dict)));
    if (PyObject_SetAttrString(made.get(), "__dict__", attributes.get()) < 0) python_error();
  }
  return TensorRef(as_tensor(made.get()));
}

// What a class gave for a view op lies in `self` as the op says: a wrapper's layout is a claim.
void place_views(const Op& op, const Value* args, Tensors& outs) {
  Tensor& self = args[0].t();
  if (!dispatches(self)) return;
  std::vector<LayoutRef> layouts;
  if (op.view->layouts) {
    op.view->layouts(self, args, layouts);
  } else {
    layouts.push_back(op.view->layout(self, args));
  }
  for (int i = 0; i < outs.size() && i < static_cast<int>(layouts.size()); ++i) {
    Tensor& out = *outs[i];
    if (!layouts[i] || !dispatches(out) || out.sizes() != layouts[i]->sizes()) continue;
    release(std::exchange(out.layout, layouts[i].leak()));
  }
}

// A mode, or the class of a tensor, stands where the kernel would; the tape records the call.
void call_dispatched(Op& op, const Value* args, Tensors& outs, Tensor* const* into) {
  void_notes();
  const uint64_t mask = grad_mask(op, args);
  const bool inplace =
      !op.pure || (into && op.inplace && args[0].is_tensor() && into[0] == args[0].tensor);
  Tensors targets;
  if (!op.pure) {
    written_params(op, args, targets);
  } else if (into) {
    const int n = inplace ? 1 : static_cast<int>(op.schema.returns.size());
    if (!inplace) check_unrecorded(mask != 0, into, n);
    for (int i = 0; i < n; ++i) targets.push(TensorRef(into[i]));
  }
  Value kept[kMaxArgs];
  std::copy(args, args + op.schema.params.size(), kept);
  TensorRef before;
  for (int i = 0; inplace && i < targets.size(); ++i) check_inplace(op, *targets[i], mask);
  if (inplace && op.pure && mask) before = keep_target(op, mask, kept, *targets[0]);
  const int asked = op.schema.requires_grad;  // of a factory: the flag is the tape's
  const bool leaf = asked >= 0 && args[asked].to_bool();
  Value given[kMaxArgs];
  std::copy(args, args + op.schema.params.size(), given);
  if (leaf) given[asked] = Value::of_bool(false);
  {
    GradMode off(false);
    delegate(dispatcher(), op, given, outs, into);
  }
  for (int i = 0; leaf && i < outs.size(); ++i) outs[i]->requires_grad = true;
  if (targets.size()) {
    outs = Tensors();
    for (int i = 0; i < targets.size(); ++i) {
      inplace ? written(op, mask, kept, *targets[i]) : bump_version(*targets[i]);
      outs.push(targets[i]);
    }
    return;
  }
  for (int i = 0; i < outs.size(); ++i) {
    const bool argument = std::any_of(
        op.tensor_params.begin(), op.tensor_params.end(),
        [&](uint8_t k) { return args[k].is_tensor() && args[k].tensor == outs[i].get(); });
    if (argument) outs[i] = own_object(*outs[i]);
  }
  if (op.kind != Kind::View) {
    if (mask) record(op, mask, args, outs);
    return;
  }
  for (int i = 0; i < outs.size(); ++i) {
    if (Tensor* base = std::exchange(outs[i]->base, nullptr)) release(base);
  }
  place_views(op, args, outs);
  record_view(op, args, outs);
}

void carry_out(Op& op, const Value* args, Tensors& outs, Tensor* const* into) {
  if (any_sparse && takes_sparse(op, args, into)) {
    void_notes();
    return delegate(sparse_calls(), op, args, outs, into);
  }
  const bool whole = op.kind != Kind::Composite || op.schema.requires_grad >= 0;  // a factory
  if (whole && dispatched(op, args, into)) {
    call_dispatched(op, args, outs, into);
  } else {
    call_checked(op, args, outs, into);
  }
  const bool makes = op.pure && op.kind != Kind::Composite;  // its ops have seen to it
  if (modes.inference && !into && makes) mark_inference(op, args, outs);
}

}  // namespace

void name_error(Error& e, const Op& op) {
  // An op that users don't know speaks for the composite that calls it.
  const Op* known = op.base_name[0] != '_' ? &op : composite;
  if (e.named || e.kind == Error::Python || !known) return;
  e.named = true;
  if (e.message.compare(0, known->base_name.size(), known->base_name)) {
    e.message = known->base_name + ": " + e.message;
  }
}

void set_interpreter(PyObject* function) {
  Py_XINCREF(function);
  Py_XDECREF(std::exchange(interpreter, function));
}

void run_composite(Call& c) {
  if (c.op.composite) return c.op.composite(c);
  struct Outer {  // the composite that calls this one
    const Op* op = composite;
    ~Outer() { composite = op; }
  } outer;
  if (c.op.base_name[0] != '_') composite = &c.op;
  if (replay(c)) return;
  Recording recording(c);
  const auto& params = c.op.schema.params;
  Object args = Object::steal(checked(PyTuple_New(static_cast<Py_ssize_t>(params.size()))));
  for (size_t i = 0; i < params.size(); ++i) {
    checked(PyTuple_SetItem(args.get(), static_cast<Py_ssize_t>(i), to_python(c.args[i])));
  }
  c.outs.other = Object::steal(checked(PyObject_Call(c.op.python, args.get(), nullptr)));
  recording.finish(c.outs.other.get());
}

void call(Op& op, const Value* args, Tensors& outs, Tensor* const* into) {
  try {
    if (modes.interpose & (kInterpreters | kRecording)) {
      if ((modes.interpose & kInterpreters) && interpreter) {
        return delegate(interpreter, op, args, outs, into);
      }
      if (modes.interpose & kRecording) {
        NotedCall noted(op, args, into);
        carry_out(op, args, outs, into);
        return noted.done(outs);
      }
    }
    carry_out(op, args, outs, into);
  } catch (Error& e) {
    name_error(e, op);
    throw;
  }
}

TensorRef call1(Op& op, std::initializer_list<Value> args) {
  Value values[kMaxArgs];
  std::copy(args.begin(), args.end(), values);
  for (size_t i = args.size(); i < op.schema.params.size(); ++i) {
    values[i] = op.schema.params[i].default_value;
  }
  Tensors outs;
  call(op, values, outs);
  if (outs.size() == 0) unwrap_outputs(op, outs);
  return outs[0];
}

void emit(Call& c) {
  if (!c.scanned || !c.on_cpu) {  // most formulas' operands were found to be on the CPU already
    const bool anywhere = c.op.kind == Kind::Native && c.op.native->any_devices;
    Device d = anywhere ? first_elsewhere(c.op, c.args) : common_device(c.op, c.args);
    if (d.type == DeviceType::Meta) {
      if (c.op.kind == Kind::Native && !c.op.native->infer) {
        fail(Error::NotImplemented,
             "the sizes of the result depend on elements, which a tensor on "
             "device meta hasn't; move it to another device");
      }
      return;
    }
    for (int i = 0; i < c.outs.size(); ++i) {
      if (c.outs[i]->device().type == DeviceType::Meta) return;
      if (d.type == DeviceType::CPU) d = c.outs[i]->device();
    }
    if (d.type != DeviceType::CPU && !deferring) return emit_on(d, c);
  }
  if (deferring) return put_off(c);
  InFlight now;
  switch (c.op.kind) {
    case Kind::Pointwise: return run_pointwise(c);
    case Kind::Row: return run_row(c);
    case Kind::Indexed: return run_indexed(c);
    case Kind::Native: return c.op.native->run(c);
    default: break;
  }
}

}  // namespace taimatsu
