// From an op call to a node, and from a node to the gradients of the call's inputs: a node of an op
// executes the op's Plan.
#include <algorithm>
#include <memory>

#include "autograd/tape.h"
#include "ops/launch.h"
#include "python/tensor_type.h"

namespace taimatsu {

thread_local Modes modes;

namespace {

uint64_t bit(size_t i) { return uint64_t{1} << i; }

// Visits the positions of the set bits, lowest first.
template <class F>
void each_bit(uint64_t bits, F&& body) {
  for (; bits; bits &= bits - 1) body(__builtin_ctzll(bits));
}

// ---- What a node of an op keeps
// --------------------------------------------------------------------- In one block: this head,
// the saved tensors (of arguments in order, lists flattened, then of outputs), the other saved
// arguments (of a list its length).
struct OpRecord {
  Op* op;
  const Plan* plan;
  uint64_t tensors = 0, lists = 0;  // which of the saved arguments are tensors, or lists of them
  uint64_t list_params = 0;         // which of the mask's params are lists
  uint16_t n_saved, n_values;

  SavedTensor* saved() { return reinterpret_cast<SavedTensor*>(this + 1); }
  OwnedValue* values() { return reinterpret_cast<OwnedValue*>(saved() + n_saved); }
  size_t bytes() const {
    return sizeof *this + n_saved * sizeof(SavedTensor) + n_values * sizeof(OwnedValue);
  }
};

OpRecord& record_of(Node& n) { return *static_cast<OpRecord*>(n.payload); }

void release_op(Node& n) {
  if (!n.payload) return;
  OpRecord& r = record_of(n);
  for (int i = 0; i < r.n_saved; ++i) r.saved()[i].clear();
  for (int i = 0; i < r.n_values; ++i) r.values()[i].clear();
}

int traverse_op(Node& n, visitproc visit, void* arg) {
  if (!n.payload) return 0;
  OpRecord& r = record_of(n);
  for (int i = 0; i < r.n_saved; ++i) {
    if (int status = r.saved()[i].traverse(visit, arg)) return status;
  }
  for (int i = 0; i < r.n_values; ++i) {
    if (r.values()[i].get().tag == Value::Object) Py_VISIT(r.values()[i].get().object);
  }
  return 0;
}

void destroy_op(Node& n) {
  if (!n.payload) return;
  if (!n.released) release_op(n);
  OpRecord* r = static_cast<OpRecord*>(std::exchange(n.payload, nullptr));
  pool_give(r, r->bytes());
}

// ---- Executing a plan
// ---------------------------------------------------------------------------------

// A constant of a plan as an argument of an op.
Value constant_value(const Param& p, PyObject* o, std::vector<std::vector<int64_t>>& lists) {
  Value v;
  DType dtype;
  if (o == Py_None) return v;
  if (is_tensor(o)) return Value(as_tensor(o));
  if (PyBool_Check(o)) return Value::of_bool(o == Py_True);
  if (PyLong_Check(o) && p.type == Type::Ints) {
    lists.push_back({to_index(o)});
    return Value(Ints(lists.back()));
  }
  if (PyLong_Check(o)) return Value::of_int(to_index(o));
  if (PyFloat_Check(o)) return Value::of_float(PyFloat_AsDouble(o));
  if (PyComplex_Check(o)) {
    return Value(Number::complex(PyComplex_RealAsDouble(o), PyComplex_ImagAsDouble(o)));
  }
  if (PyUnicode_Check(o)) return Value::of_string(PyUnicode_AsUTF8AndSize(o, nullptr));
  if (PyTuple_Check(o) || PyList_Check(o)) {
    lists.push_back(to_ints(o, p.name.c_str()));
    return Value(Ints(lists.back()));
  }
  if (dtype_of(o, dtype)) return Value(dtype);
  return Value::of_object(o);
}

// A run of a plan: what it has unpacked and computed so far.
class Execution {
 public:
  Execution(Node& n, TensorRef* grads)
      : n_(n), r_(record_of(n)), grads_(grads), n_steps_(r_.plan->steps.size()) {
    if (n.released && r_.n_saved + r_.n_values > 0) fail_released();
    const size_t bytes = n_steps_ * sizeof(Tensors) + r_.n_saved * sizeof(TensorRef);
    char* memory = bytes <= sizeof few_ ? few_ : static_cast<char*>(pool_take(bytes));
    steps_ = reinterpret_cast<Tensors*>(memory);
    held_ = reinterpret_cast<TensorRef*>(memory + n_steps_ * sizeof(Tensors));
    for (size_t i = 0; i < n_steps_; ++i) new (&steps_[i]) Tensors;
    for (int i = 0; i < r_.n_saved; ++i) new (&held_[i]) TensorRef;
    n_held_ = r_.n_saved;
  }
  ~Execution() {
    for (size_t i = 0; i < n_steps_; ++i) steps_[i].~Tensors();
    for (int i = 0; i < n_held_; ++i) held_[i].~TensorRef();
    if (reinterpret_cast<char*>(steps_) != few_) {
      pool_give(steps_, n_steps_ * sizeof(Tensors) + n_held_ * sizeof(TensorRef));
    }
  }
  Execution(const Execution&) = delete;

  void run(TensorRef* inputs) {
    unpack();
    const Plan& plan = *r_.plan;
    for (size_t i = 0; i < n_steps_; ++i) {
      const Step& s = plan.steps[i];
      s.op ? call_op(s, steps_[i]) : call_function(s, steps_[i]);
    }
    size_t k = 0, at = 0;
    each_bit(plan.mask, [&](int param) {
      const Source& s = plan.grads[k++];
      if (r_.list_params & bit(param)) {
        at += list_gradients(s, inputs + at, n_.n_edges - at);
      } else {
        inputs[at++] = gradient(s);
      }
    });
  }

 private:
  Node& n_;
  OpRecord& r_;
  TensorRef* grads_;
  const size_t n_steps_;
  int n_held_;
  Tensors* steps_;   // results
  TensorRef* held_;  // what was unpacked
  std::vector<Tensor*> list_items_;
  std::vector<std::vector<int64_t>> lists_;
  // Only what the plan saved is filled in; nothing else is read.
  alignas(Value) char args_[kMaxArgs * sizeof(Value)];
  alignas(Tensors) char few_[2 * sizeof(Tensors) + 6 * sizeof(TensorRef)];

  Value& arg(size_t i) { return reinterpret_cast<Value*>(args_)[i]; }

  void unpack() {
    const bool history = modes.grad;
    int tensor = 0, value = 0;
    auto next = [&] {
      TensorRef& kept = held_[tensor];
      return r_.saved()[tensor++].unpack(n_, history, kept);
    };
    if (r_.lists) list_items_.reserve(r_.n_saved);  // pointers into it must stay
    each_bit(r_.plan->saved_args | r_.plan->saved_likes, [&](int i) {
      if (r_.tensors & bit(i)) {
        new (&arg(i)) Value(next());
      } else if (r_.lists & bit(i)) {
        const int64_t size = r_.values()[value++].get().to_int();
        const size_t first = list_items_.size();
        for (int64_t k = 0; k < size; ++k) list_items_.push_back(next());
        new (&arg(i)) Value(Value::of_tensors(list_items_.data() + first, size));
      } else {
        new (&arg(i)) Value(r_.values()[value++].get());
      }
    });
    each_bit(r_.plan->saved_outs, [&](int) { next(); });
  }

  Tensor* output(int i) {
    const int outs = __builtin_popcountll(r_.plan->saved_outs);
    const int before = __builtin_popcountll(r_.plan->saved_outs & (bit(i) - 1));
    return held_[r_.n_saved - outs + before].get();
  }

  TensorRef& incoming(int i) {
    if (!grads_[i]) {
      NodeOutput& o = n_.outputs[i];
      grads_[i] = zeros(o.layout.get(), o.dtype, o.device);
    }
    return grads_[i];
  }

  Value value(const Source& s, const Param* p) {
    switch (s.kind) {
      case Source::Gradient: return Value(incoming(s.index));
      case Source::Argument:
      case Source::Like: return arg(s.index);
      case Source::Output: return Value(output(s.index));
      case Source::Step: {
        Tensors& outs = steps_[s.index];
        if (s.sub < outs.size()) return Value(outs[s.sub]);
        return outs.other ? Value::of_object(outs.other.get()) : Value();
      }
      case Source::Constant:
        return p ? constant_value(*p, s.constant.get(), lists_)
                 : Value::of_object(s.constant.get());
      case Source::Zero: break;
    }
    return Value();
  }

  void call_op(const Step& s, Tensors& outs) {
    const auto& params = s.op->schema.params;
    alignas(Value) char raw[kMaxArgs * sizeof(Value)];
    Value* args = reinterpret_cast<Value*>(raw);
    const size_t given = s.sources.size();
    for (size_t i = 0; i < params.size(); ++i) {
      new (&args[i]) Value(i < given ? value(s.sources[i], &params[i]) : params[i].default_value);
    }
    call(*s.op, args, outs);
    if (outs.size() == 0 && outs.other) unwrap_outputs(*s.op, outs);
  }

  void call_function(const Step& s, Tensors& outs) {
    Object args = Object::steal(checked(PyTuple_New(s.sources.size())));
    for (size_t i = 0; i < s.sources.size(); ++i) {
      checked(PyTuple_SetItem(args.get(), i, to_python(value(s.sources[i], nullptr))));
    }
    Object got = Object::steal(checked(PyObject_Call(s.function.get(), args.get(), nullptr)));
    if (got.get() == Py_None || is_tensor(got.get())) {
      outs.push(got.get() == Py_None ? TensorRef() : TensorRef(as_tensor(got.get())));
      return;
    }
    if (!PyTuple_Check(got.get()) && !PyList_Check(got.get())) {
      outs.other = got;  // a size or a flag, for a later step
      return;
    }
    outs.is_list = PyList_Check(got.get());
    for (Py_ssize_t i = 0, m = PySequence_Size(got.get()); i < m; ++i) {
      Object item = Object::steal(checked(PySequence_GetItem(got.get(), i)));
      if (item.get() != Py_None && !is_tensor(item.get())) {
        outs.clear();
        outs.other = got;
        return;
      }
      outs.push(item.get() == Py_None ? TensorRef() : TensorRef(as_tensor(item.get())));
    }
  }

  TensorRef gradient(const Source& s) {
    if (s.kind == Source::Gradient) return grads_[s.index];
    Value v = value(s, nullptr);
    if (v.tag == Value::Object && is_tensor(v.object)) return TensorRef(as_tensor(v.object));
    if (!v.none() && !v.is_tensor()) {
      fail(Error::Type, name_of(n_), ": the derivative of '", r_.op->name,
           "' gave something else than a tensor or None");
    }
    return v.is_tensor() ? TensorRef(v.tensor) : TensorRef();
  }

  // The gradients of a list's elements; how many there are.
  size_t list_gradients(const Source& s, TensorRef* inputs, size_t room) {
    const size_t size = std::min<size_t>(room, list_size_);
    if (s.kind != Source::Step) return size;
    Tensors& outs = steps_[s.index];
    for (size_t i = 0; i < size && static_cast<int>(i) < outs.size(); ++i) inputs[i] = outs[i];
    return size;
  }

 public:
  size_t list_size_ = 0;
};

void apply_op(Node& n, TensorRef* grads, TensorRef* inputs) {
  if (std::none_of(grads, grads + n.n_outputs, [](const TensorRef& g) { return bool(g); })) return;
  Execution e(n, grads);
  const OpRecord& r = record_of(n);
  if (r.list_params) {  // an op has at most one list that is differentiated
    e.list_size_ = n.n_edges - (__builtin_popcountll(r.plan->mask) - 1);
  }
  e.run(inputs);
}

const NodeClass op_class = {apply_op, release_op, traverse_op, destroy_op};

// ---- Making a node
// --------------------------------------------------------------------------------------

// The node with its edges. The edge of the in-place target, `target`, was taken before the write.
NodeRef connect(Op& op, uint64_t mask, const Value* args, uint32_t n_outputs, Edge* target) {
  uint32_t n_edges = 0;
  each_bit(mask, [&](int i) {
    n_edges += args[i].tag == Value::Tensors ? static_cast<uint32_t>(args[i].tensors.size) : 1;
  });
  NodeRef n = new_node(node_type_of(op), &op_class, n_edges, n_outputs);
  uint32_t e = 0;
  each_bit(mask, [&](int i) {
    if (target && i == 0) {
      n->edges[e++] = std::move(*target);
    } else if (args[i].tag == Value::Tensors) {
      for (int64_t k = 0; k < args[i].tensors.size; ++k, ++e) {
        if (Tensor* t = args[i].tensors.data[k]) n->edges[e] = gradient_edge(*t);
      }
    } else {
      n->edges[e++] = gradient_edge(args[i].t());
    }
  });
  stamp(*n);
  return n;
}

// `out(i)` is the i-th output.
template <class Out>
void save(Node& n, Op& op, const Plan& plan, const Value* args, Out&& out) {
  const uint64_t kept = plan.saved_args | plan.saved_likes;
  uint64_t tensors = 0, lists = 0;
  int n_saved = __builtin_popcountll(plan.saved_outs), n_values = 0;
  each_bit(kept, [&](int i) {
    if (args[i].is_tensor()) {
      tensors |= bit(i);
      ++n_saved;
      return;
    }
    ++n_values;
    if (args[i].tag == Value::Tensors) {
      lists |= bit(i);
      n_saved += static_cast<int>(args[i].tensors.size);
    }
  });
  const size_t bytes =
      sizeof(OpRecord) + n_saved * sizeof(SavedTensor) + n_values * sizeof(OwnedValue);
  auto* r = new (pool_take(bytes)) OpRecord;
  r->op = &op;
  r->plan = &plan;
  r->tensors = tensors;
  r->lists = lists;
  r->n_saved = static_cast<uint16_t>(n_saved);
  r->n_values = static_cast<uint16_t>(n_values);
  for (int i = 0; i < n_saved; ++i) new (&r->saved()[i]) SavedTensor;
  for (int i = 0; i < n_values; ++i) new (&r->values()[i]) OwnedValue;
  each_bit(plan.mask, [&](int i) {
    if (args[i].tag == Value::Tensors) r->list_params |= bit(i);
  });
  n.payload = r;
  SavedTensor* saved = r->saved();
  OwnedValue* value = r->values();
  auto save_tensor = [&](int i, Tensor* t) {
    plan.saved_args& bit(i) ? saved->save_input(t) : saved->save_like(t);
    ++saved;
  };
  each_bit(kept, [&](int i) {
    if (args[i].is_tensor()) {
      save_tensor(i, args[i].tensor);
    } else if (args[i].tag == Value::Tensors) {
      *value++ = OwnedValue(Value::of_int(args[i].tensors.size));
      for (int64_t k = 0; k < args[i].tensors.size; ++k) save_tensor(i, args[i].tensors.data[k]);
    } else {
      *value++ = OwnedValue(args[i]);
    }
  });
  each_bit(plan.saved_outs, [&](int i) { (saved++)->save_output(out(i), i); });
}

}  // namespace

PyTypeObject* node_type_of(Op& op) {
  if (op.node_type) return op.node_type;
  std::string name;
  bool upper = true;
  for (char c : op.base_name) {
    if (c != '_') name += upper ? static_cast<char>(std::toupper(c)) : c;
    upper = c == '_';
  }
  return op.node_type = new_node_type(name + "Backward0");
}

uint64_t grad_mask(const Op& op, const Value* args) {
  if (!modes.grad) return 0;
  uint64_t mask = 0;
  for (uint8_t i : op.tensor_params) {
    if (args[i].is_tensor()) {
      if (requires_grad(args[i].t())) mask |= bit(i);
    } else if (args[i].tag == Value::Tensors) {
      for (int64_t k = 0; k < args[i].tensors.size; ++k) {
        Tensor* t = args[i].tensors.data[k];
        if (t && requires_grad(*t)) mask |= bit(i);
      }
    }
  }
  // An op that has a type of nodes was found differentiable before.
  return mask && (op.node_type || op.differentiable()) ? mask : 0;
}

void record(Op& op, uint64_t mask, const Value* args, Tensors& outs) {
  const int n_outs = outs.size();
  auto differentiable = [&](int i) { return outs[i] && is_differentiable(outs[i]->dtype); };
  int first = 0;
  while (first < n_outs && !differentiable(first)) ++first;
  if (first == n_outs) return;
  const Plan& plan = op.plan(mask, args);
  NodeRef n = connect(op, mask, args, n_outs, nullptr);
  for (int i = 0; i < n_outs; ++i) {
    if (outs[i]) n->outputs[i].describe(*outs[i]);
  }
  save(*n, op, plan, args, [&](int i) -> Tensor& { return *outs[i]; });
  for (int i = first; i < n_outs; ++i) {
    if (differentiable(i)) set_history(*outs[i], n.get(), i);
  }
}

void written(Op& op, uint64_t mask, const Value* args, Tensor& t) {
  if (!mask || !is_differentiable(t.dtype)) {
    bump_version(t);
    t.storage->writer = &op;
    if (modes.anomaly) note_write(*t.storage);
    return;
  }
  const Plan& plan = op.plan(mask, args);
  Edge before = gradient_edge(t);
  bump_version(t);
  t.storage->writer = &op;
  if (modes.anomaly) note_write(*t.storage);
  if (args[0].is_tensor() && args[0].tensor != &t && before.node && !args[0].t().node) {
    // The value from before the write is a copy; it has the history that `t` had.
    set_history(args[0].t(), before.node.get(), before.slot);
  }
  NodeRef n = connect(op, mask, args, 1, &before);
  n->outputs[0].describe(t);
  save(*n, op, plan, args, [&](int) -> Tensor& { return t; });
  if (t.base) {
    rebase_view(t, {std::move(n), 0});
  } else {
    leave_hooks(t, t.node, *n, 0);
    set_history(t, n.get(), 0);
  }
}

// ---- Operations that the tape itself needs
// --------------------------------------------------------

namespace {

CoreOp kAdd{"add"}, kSum{"sum"}, kReshape{"reshape"};

}  // namespace

TensorRef add(Tensor& a, Tensor& b) { return call1(kAdd.get(), {Value(&a), Value(&b)}); }

void add_into(Tensor& to, Tensor& g) {
  GradMode off(false);
  Op& op = kAdd.get();
  Value args[kMaxArgs] = {Value(&to), Value(&g)};
  for (size_t i = 2; i < op.schema.params.size(); ++i) args[i] = op.schema.params[i].default_value;
  Tensor* into = &to;
  Tensors outs;
  call(op, args, outs, &into);
}

TensorRef zeros(const Layout* layout, DType dtype, Device d) {
  LayoutRef dense =
      layout->dense && layout->offset == 0 ? LayoutRef(layout) : contiguous_layout(layout->sizes());
  TensorRef z = empty(dense.get(), dtype, d);
  fill(*z, Number::integer(0));
  return z;
}

TensorRef ones_like(Tensor& t) {
  TensorRef ones = empty_like(t);
  if (t.numel() == 1 && t.device().type == DeviceType::CPU) {  // no kernel for one number
    store_element(t.dtype, ones->data(), Number::integer(1));
    return ones;
  }
  fill(*ones, Number::integer(1));
  return ones;
}

TensorRef sum_to(Tensor& g, Ints sizes) {
  if (g.sizes() == sizes) return TensorRef(&g);
  const int64_t extra = g.ndim() - sizes.size;
  std::vector<int64_t> dims;
  for (int64_t d = 0; d < g.ndim(); ++d) {
    if (d < extra || (sizes[d - extra] == 1 && g.layout->size(d) != 1)) dims.push_back(d);
  }
  TensorRef sum(&g);
  if (!dims.empty()) sum = call1(kSum.get(), {Value(&g), Value(Ints(dims)), Value::of_bool(true)});
  if (sum->sizes() == sizes) return sum;
  return call1(kReshape.get(), {Value(sum), Value(sizes)});
}

}  // namespace taimatsu
