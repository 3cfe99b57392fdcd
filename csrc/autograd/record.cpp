// From an op call to a node, and from a node to the gradients of the call's inputs: a node of an op
// executes the op's Plan.
#include <cctype>
#include <deque>
#include <memory>

#include "autograd/tape.h"
#include "ops/dispatch.h"
#include "ops/launch.h"
#include "ops/sparse.h"
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

// Where a value of a plan is while the plan runs.
struct Place {
  enum Kind : uint8_t { Nothing, Gradient, Saved, Kept, List, Result, Constant } kind = Nothing;
  uint8_t sub = 0;  // of a Result: which output of the step; of a Gradient: 1 if it may be absent
  uint16_t index = 0;  // gradient, saved tensor, kept value, list, step, constant
};

// A constant of a plan as an argument of an op; lists of ints are put into `lists`.
Value constant_value(const Param& p, PyObject* o, std::deque<std::vector<int64_t>>& lists) {
  DType dtype;
  if (o == Py_None) return Value();
  if (is_tensor(o)) return Value(as_tensor(o));
  if (PyBool_Check(o)) return Value::of_bool(o == Py_True);
  if (PyTuple_Check(o) || PyList_Check(o) || (PyLong_Check(o) && p.type == Type::Ints)) {
    lists.push_back(to_ints(o, p.name.c_str()));
    return Value(Ints(lists.back()));
  }
  if (PyLong_Check(o)) return Value::of_int(to_index(o));
  if (PyFloat_Check(o)) return Value::of_float(PyFloat_AsDouble(o));
  if (PyComplex_Check(o)) {
    return Value(Number::complex(PyComplex_RealAsDouble(o), PyComplex_ImagAsDouble(o)));
  }
  if (PyUnicode_Check(o)) return Value::of_string(PyUnicode_AsUTF8AndSize(o, nullptr));
  if (dtype_of(o, dtype)) return Value(dtype);
  return Value::of_object(o);
}

}  // namespace

// What a node keeps for a plan, in order, and where each step finds its arguments. One plan has
// one for each choice of which arguments are tensors, and which numbers or absent. A pass that
// wants only some of the gradients carries out a narrower plan on what the node has kept.
struct Recipe {
  struct Keep {
    enum Kind : uint8_t { Input, Like, Inputs, Likes, Value, Output } kind;
    uint8_t index;  // of the argument or output
  };
  const Plan& plan;      // lives as long as the op
  uint64_t tensors = 0;  // bits of the kept arguments that are tensors
  std::vector<Keep> keeps;
  uint16_t n_saved = 0, n_values = 0, n_lists = 0;
  std::vector<std::vector<Place>> steps;  // for each param of the step's op
  std::vector<Place> grads;               // for each param in the mask
  uint64_t list_params = 0;               // those of them that are lists
  std::vector<Value> constants;
  std::deque<std::vector<int64_t>> lists;  // of the constants

  Recipe(const Plan& plan, const Value* args);
  Recipe(const Plan& plan, const Recipe& whole);  // of a narrower plan

  // For the params in `mask` alone, from what is kept; for all if that mentions more.
  const Recipe& narrowed(Op& op, uint64_t mask) const;

 private:
  Place places_[2][kMaxArgs];  // of arguments and of outputs
  Place place(const Source& s, const Param* p);
  void trace();
};

Recipe::Recipe(const Plan& plan, const Value* args) : plan(plan) {
  each_bit(plan.saved_args | plan.saved_likes, [&](int i) {
    const bool whole = plan.saved_args & bit(i);
    const auto index = static_cast<uint8_t>(i);
    if (args[i].is_tensor()) {
      tensors |= bit(i);
      places_[0][i] = {Place::Saved, 0, n_saved++};
      keeps.push_back({whole ? Keep::Input : Keep::Like, index});
    } else if (args[i].tag == Value::Tensors) {
      places_[0][i] = {Place::List, 0, n_lists++};
      keeps.push_back({whole ? Keep::Inputs : Keep::Likes, index});
    } else {
      places_[0][i] = {Place::Kept, 0, n_values++};
      keeps.push_back({Keep::Value, index});
    }
  });
  each_bit(plan.saved_outs, [&](int i) {
    places_[1][i] = {Place::Saved, 0, n_saved++};
    keeps.push_back({Keep::Output, static_cast<uint8_t>(i)});
  });
  each_bit(plan.mask, [&](int i) {
    if (args[i].tag == Value::Tensors) list_params |= bit(i);
  });
  trace();
}

Recipe::Recipe(const Plan& plan, const Recipe& whole)
    : plan(plan), tensors(whole.tensors), list_params(whole.list_params) {
  for (int k = 0; k < 2; ++k) {
    std::copy(std::begin(whole.places_[k]), std::end(whole.places_[k]), places_[k]);
  }
  trace();
}

const Recipe& Recipe::narrowed(Op& op, uint64_t mask) const {
  const Plan& fewer = op.narrowed(plan, mask);
  const bool kept = !(fewer.saved_args & ~plan.saved_args) &&
                    !(fewer.saved_likes & ~(plan.saved_args | plan.saved_likes)) &&
                    !(fewer.saved_outs & ~plan.saved_outs);
  if (!kept) return *this;
  for (const auto& r : fewer.recipes) {
    if (r->tensors == tensors) return *r;
  }
  fewer.recipes.push_back(std::make_shared<Recipe>(fewer, *this));
  return *fewer.recipes.back();
}

// Where the steps and the gradients find what they mention.
void Recipe::trace() {
  for (const Step& s : plan.steps) {
    std::vector<Place> from;
    const size_t given = s.sources.size();
    for (size_t i = 0; i < given; ++i) {
      from.push_back(place(s.sources[i], s.op ? &s.op->schema.params[i] : nullptr));
    }
    for (size_t i = given; s.op && i < s.op->schema.params.size(); ++i) {
      from.push_back({Place::Constant, 0, static_cast<uint16_t>(constants.size())});
      constants.push_back(s.op->schema.params[i].default_value);
    }
    steps.push_back(std::move(from));
  }
  for (const Source& s : plan.grads) grads.push_back(place(s, nullptr));
}

Place Recipe::place(const Source& s, const Param* p) {
  const auto index = static_cast<uint16_t>(s.index);
  switch (s.kind) {
    case Source::Gradient: return {Place::Gradient, static_cast<uint8_t>(s.sub), index};
    case Source::Argument:
    case Source::Like: return places_[0][index];
    case Source::Output: return places_[1][index];
    case Source::Step: return {Place::Result, static_cast<uint8_t>(s.sub), index};
    case Source::Constant:
      constants.push_back(p ? constant_value(*p, s.constant.get(), lists)
                            : Value::of_object(s.constant.get()));
      return {Place::Constant, 0, static_cast<uint16_t>(constants.size() - 1)};
    case Source::Zero: break;
  }
  return {};
}

namespace {

// ---- What a node of an op keeps -----------------------------------------------------------------

using SavedList = std::vector<SavedTensor>;

// In one block: this head, saved tensors, other saved arguments, saved lists of tensors.
struct OpRecord {
  Op* op;
  const Recipe* recipe;

  SavedTensor* saved() { return reinterpret_cast<SavedTensor*>(this + 1); }
  OwnedValue* values() { return reinterpret_cast<OwnedValue*>(saved() + recipe->n_saved); }
  SavedList* lists() { return reinterpret_cast<SavedList*>(values() + recipe->n_values); }
  static size_t bytes(const Recipe& r) {
    return sizeof(OpRecord) + r.n_saved * sizeof(SavedTensor) + r.n_values * sizeof(OwnedValue) +
           r.n_lists * sizeof(SavedList);
  }
};

OpRecord& record_of(Node& n) { return *static_cast<OpRecord*>(n.payload); }

void release_op(Node& n) {
  if (!n.payload) return;
  OpRecord& r = record_of(n);
  for (int i = 0; i < r.recipe->n_saved; ++i) r.saved()[i].clear();
  for (int i = 0; i < r.recipe->n_values; ++i) r.values()[i].clear();
  for (int i = 0; i < r.recipe->n_lists; ++i) r.lists()[i].clear();
}

int traverse_op(Node& n, visitproc visit, void* arg) {
  if (!n.payload) return 0;
  OpRecord& r = record_of(n);
  for (int i = 0; i < r.recipe->n_saved; ++i) {
    if (int status = r.saved()[i].traverse(visit, arg)) return status;
  }
  for (int i = 0; i < r.recipe->n_values; ++i) {
    if (r.values()[i].get().tag == Value::Object) Py_VISIT(r.values()[i].get().object);
  }
  for (int i = 0; i < r.recipe->n_lists; ++i) {
    for (SavedTensor& s : r.lists()[i]) {
      if (int status = s.traverse(visit, arg)) return status;
    }
  }
  return 0;
}

void destroy_op(Node& n) {
  if (!n.payload) return;
  if (!n.released) release_op(n);
  OpRecord* r = static_cast<OpRecord*>(std::exchange(n.payload, nullptr));
  for (int i = 0; i < r->recipe->n_lists; ++i) r->lists()[i].~SavedList();
  pool_give(r, OpRecord::bytes(*r->recipe));
}

// ---- Executing a plan ---------------------------------------------------------------------------

// Edges of a param: a list of tensors has one for each.
uint32_t edges_of(const Node& n, const Recipe& whole, int param) {
  const bool is_list = whole.list_params & bit(param);
  return is_list ? n.n_edges - static_cast<uint32_t>(whole.grads.size()) + 1 : 1;
}

// What the running pass wants of the node.
const Recipe& wanted_recipe(Node& n) {
  const OpRecord& r = record_of(n);
  if (!wants_only_some() || n.n_edges < 2) return *r.recipe;
  uint64_t mask = 0;
  const Edge* edge = n.edges;
  each_bit(r.recipe->plan.mask, [&](int param) {
    for (uint32_t k = edges_of(n, *r.recipe, param); k > 0; --k, ++edge) {
      if (edge->node && wants(*edge->node)) mask |= bit(param);
    }
  });
  return mask == r.recipe->plan.mask ? *r.recipe : r.recipe->narrowed(*r.op, mask);
}

// A run of a plan: what it has unpacked and computed so far.
class Execution {
 public:
  Execution(Node& n, TensorRef* grads)
      : n_(n), r_(record_of(n)), kept_(*r_.recipe), recipe_(wanted_recipe(n)), grads_(grads) {
    check_released();
    char* memory = bytes() <= sizeof few_ ? few_ : static_cast<char*>(pool_take(bytes()));
    results_ = reinterpret_cast<Tensors*>(memory);
    held_ = reinterpret_cast<TensorRef*>(results_ + recipe_.steps.size());
    for (size_t i = 0; i < recipe_.steps.size(); ++i) new (&results_[i]) Tensors;
    for (int i = 0; i < kept_.n_saved; ++i) new (&held_[i]) TensorRef;
  }
  ~Execution() {
    for (size_t i = 0; i < recipe_.steps.size(); ++i) results_[i].~Tensors();
    for (int i = 0; i < kept_.n_saved; ++i) held_[i].~TensorRef();
    if (reinterpret_cast<char*>(results_) != few_) pool_give(results_, bytes());
  }
  Execution(const Execution&) = delete;

  void run(TensorRef* inputs) {
    const bool history = modes.grad;
    for (int i = 0; i < kept_.n_saved; ++i) r_.saved()[i].unpack(n_, history, held_[i]);
    for (int i = 0; i < kept_.n_lists; ++i) unpack_list(r_.lists()[i], history);
    check_released();  // hooks that unpack may run a pass themselves
    for (size_t i = 0; i < recipe_.steps.size(); ++i) {
      const Step& s = recipe_.plan.steps[i];
      s.op ? call_op(*s.op, i) : call_function(s.function.get(), i);
    }
    if (kept_.list_params || &recipe_ != &kept_) return gradients_by_param(inputs);
    for (size_t i = 0; i < recipe_.grads.size(); ++i) inputs[i] = gradient(recipe_.grads[i]);
  }

 private:
  Node& n_;
  OpRecord& r_;
  const Recipe &kept_, &recipe_;  // of what the node keeps, and of what is wanted
  TensorRef* grads_;
  Tensors* results_;  // of the steps
  TensorRef* held_;   // saved tensors
  struct UnpackedList {
    std::vector<TensorRef> held;
    std::vector<Tensor*> pointers;
  };
  std::vector<UnpackedList> lists_;
  alignas(Tensors) char few_[2 * sizeof(Tensors) + 6 * sizeof(TensorRef)];

  void check_released() const {
    if (n_.released && !kept_.keeps.empty()) fail_released();
  }

  size_t bytes() const {
    return recipe_.steps.size() * sizeof(Tensors) + kept_.n_saved * sizeof(TensorRef);
  }

  void unpack_list(const SavedList& saved, bool history) {
    UnpackedList list;
    list.held.resize(saved.size());
    for (size_t i = 0; i < saved.size(); ++i) {  // fewer, if a hook gives them up
      list.pointers.push_back(saved[i].unpack(n_, history, list.held[i]));
    }
    lists_.push_back(std::move(list));
  }

  TensorRef& incoming(int i) {
    if (!grads_[i]) {
      NodeOutput& o = n_.outputs[i];
      grads_[i] = zeros(o.layout.get(), o.dtype, o.device);
    }
    return grads_[i];
  }

  Value value(Place p) {
    switch (p.kind) {
      case Place::Gradient: return p.sub && !grads_[p.index] ? Value() : Value(incoming(p.index));
      case Place::Saved: return Value(held_[p.index]);
      case Place::Kept: return r_.values()[p.index].get();
      case Place::List: {
        auto& pointers = lists_[p.index].pointers;
        return Value::of_tensors(pointers.data(), static_cast<int64_t>(pointers.size()));
      }
      case Place::Result: {
        Tensors& outs = results_[p.index];
        if (p.sub < outs.size()) return Value(outs[p.sub]);
        return outs.other ? Value::of_object(outs.other.get()) : Value();
      }
      case Place::Constant: return recipe_.constants[p.index];
      case Place::Nothing: break;
    }
    return Value();
  }

  void call_op(Op& op, size_t step) {
    const std::vector<Place>& from = recipe_.steps[step];
    alignas(Value) char raw[kMaxArgs * sizeof(Value)];
    Value* args = reinterpret_cast<Value*>(raw);
    for (size_t i = 0; i < from.size(); ++i) new (&args[i]) Value(value(from[i]));
    Tensors& outs = results_[step];
    call(op, args, outs);
    if (outs.size() == 0 && outs.other) unwrap_outputs(op, outs);
  }

  void call_function(PyObject* function, size_t step) {
    const std::vector<Place>& from = recipe_.steps[step];
    Object args = Object::steal(checked(PyTuple_New(from.size())));
    for (size_t i = 0; i < from.size(); ++i) {
      checked(PyTuple_SetItem(args.get(), i, to_python(value(from[i]))));
    }
    Object got = Object::steal(checked(PyObject_Call(function, args.get(), nullptr)));
    Tensors& outs = results_[step];
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

  TensorRef gradient(Place p) {
    if (p.kind == Place::Gradient) return grads_[p.index];
    Value v = value(p);
    if (v.is_tensor()) return TensorRef(v.tensor);
    if (v.none()) return nullptr;
    if (v.tag == Value::Object && is_tensor(v.object)) return TensorRef(as_tensor(v.object));
    fail(Error::Type, name_of(n_), ": the derivative of '", r_.op->name,
         "' gave something else than a tensor or None");
  }

  // Where params and edges differ in number: one param is a list, or some are not wanted.
  void gradients_by_param(TensorRef* inputs) {
    size_t k = 0;
    each_bit(kept_.plan.mask, [&](int param) {
      const int edges = static_cast<int>(edges_of(n_, kept_, param));
      if (recipe_.plan.mask & bit(param)) {
        const Place p = recipe_.grads[k++];
        if (!(kept_.list_params & bit(param))) {
          *inputs = gradient(p);
        } else if (p.kind == Place::Result) {
          Tensors& outs = results_[p.index];
          for (int i = 0; i < std::min(edges, outs.size()); ++i) inputs[i] = outs[i];
        }
      }
      inputs += edges;
    });
  }
};

void apply_op(Node& n, TensorRef* grads, TensorRef* inputs) {
  bool any = false;
  for (uint32_t i = 0; i < n.n_outputs; ++i) any |= static_cast<bool>(grads[i]);
  if (any) Execution(n, grads).run(inputs);
}

const NodeClass op_class = {apply_op, release_op, traverse_op, destroy_op};

// ---- Making a node ------------------------------------------------------------------------------

// The node with its edges. The edge of the in-place target, `target`, was taken before the write.
NodeRef connect(Op& op, uint64_t mask, const Recipe& recipe, const Value* args, uint32_t n_outputs,
                Edge* target) {
  auto n_edges = static_cast<uint32_t>(recipe.grads.size());
  each_bit(recipe.list_params,
           [&](int i) { n_edges += static_cast<uint32_t>(args[i].tensors.size) - 1; });
  NodeRef n = new_node(node_type_of(op), &op_class, n_edges, n_outputs);
  Edge* edge = n->edges;
  each_bit(mask, [&](int i) {
    if (target && i == 0) {
      *edge++ = std::move(*target);
    } else if (args[i].tag == Value::Tensors) {
      for (int64_t k = 0; k < args[i].tensors.size; ++k, ++edge) {
        if (Tensor* t = args[i].tensors.data[k]) *edge = gradient_edge(*t);
      }
    } else {
      *edge++ = gradient_edge(args[i].t());
    }
  });
  stamp(*n);
  return n;
}

const Recipe& recipe_of(const Plan& plan, const Value* args) {
  uint64_t tensors = 0;
  each_bit(plan.saved_args | plan.saved_likes,
           [&](int i) { tensors |= static_cast<uint64_t>(args[i].is_tensor()) << i; });
  for (const auto& r : plan.recipes) {
    if (r->tensors == tensors) return *r;
  }
  plan.recipes.push_back(std::make_shared<Recipe>(plan, args));
  return *plan.recipes.back();
}

// `out(i)` is the i-th output.
template <class Out>
void save(Node& n, Op& op, const Recipe& recipe, const Value* args, Out&& out) {
  auto* r = static_cast<OpRecord*>(pool_take(OpRecord::bytes(recipe)));
  r->op = &op;
  r->recipe = &recipe;
  SavedTensor* saved = r->saved();
  OwnedValue* value = r->values();
  SavedList* list = r->lists();
  for (int i = 0; i < recipe.n_saved; ++i) new (&saved[i]) SavedTensor;
  for (int i = 0; i < recipe.n_values; ++i) new (&value[i]) OwnedValue;
  for (int i = 0; i < recipe.n_lists; ++i) new (&list[i]) SavedList;
  n.payload = r;
  for (const Recipe::Keep& k : recipe.keeps) {
    switch (k.kind) {
      case Recipe::Keep::Input: (saved++)->save_input(args[k.index].tensor); break;
      case Recipe::Keep::Like: (saved++)->save_like(args[k.index].tensor); break;
      case Recipe::Keep::Output: (saved++)->save_output(out(k.index), k.index); break;
      case Recipe::Keep::Value: *value++ = OwnedValue(args[k.index]); break;
      case Recipe::Keep::Inputs:
      case Recipe::Keep::Likes:
        list->resize(args[k.index].tensors.size);
        for (size_t i = 0; i < list->size(); ++i) {
          Tensor* t = args[k.index].tensors.data[i];
          k.kind == Recipe::Keep::Inputs ? (*list)[i].save_input(t) : (*list)[i].save_like(t);
        }
        ++list;
    }
  }
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
  const Recipe& recipe = recipe_of(op.plan(mask, args), args);
  NodeRef n = connect(op, mask, recipe, args, n_outs, nullptr);
  for (int i = 0; i < n_outs; ++i) {
    if (outs[i]) n->outputs[i].describe(*outs[i]);
  }
  save(*n, op, recipe, args, [&](int i) -> Tensor& { return *outs[i]; });
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
  const Recipe& recipe = recipe_of(op.plan(mask, args), args);
  Edge before = gradient_edge(t);
  bump_version(t);
  t.storage->writer = &op;
  if (modes.anomaly) note_write(*t.storage);
  if (args[0].is_tensor() && args[0].tensor != &t && before.node && !args[0].t().node) {
    // The value from before the write is a copy; it has the history that `t` had.
    set_history(args[0].t(), before.node.get(), before.slot);
  }
  NodeRef n = connect(op, mask, recipe, args, 1, mask & 1 ? &before : nullptr);
  n->outputs[0].describe(t);
  save(*n, op, recipe, args, [&](int) -> Tensor& { return t; });
  if (t.base) {
    rebase_view(t, {std::move(n), 0});
  } else {
    leave_hooks(t, t.node, *n, 0);
    set_history(t, n.get(), 0);
  }
}

// ---- Operations that the tape itself needs ------------------------------------------------------

namespace {

CoreOp kAdd{"add"}, kSum{"sum"}, kReshape{"reshape"};

}  // namespace

TensorRef add(Tensor& a, Tensor& b) {
  const bool turned = is_sparse(a) && !is_sparse(b);  // only a dense tensor takes the other in
  return call1(kAdd.get(), {Value(turned ? &b : &a), Value(turned ? &a : &b)});
}

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
  if ((modes.interpose & kDispatchModes) && !dispatch_off) {  // a mode makes its own
    static CoreOp made{"zeros"};
    Op& op = made.get();
    Value args[kMaxArgs];
    for (size_t i = 1; i < op.schema.params.size(); ++i)
      args[i] = op.schema.params[i].default_value;
    args[0] = Value(layout->sizes());
    args[op.schema.dtype] = Value(dtype);
    args[op.schema.device] = Value(d);
    Tensors outs;
    call(op, args, outs);
    return outs[0];
  }
  LayoutRef dense =
      layout->dense && layout->offset == 0 ? LayoutRef(layout) : contiguous_layout(layout->sizes());
  TensorRef z = empty(dense.get(), dtype, d);
  fill(*z, Number::integer(0));
  return z;
}

TensorRef ones_like(Tensor& t) {
  if (dispatches(t)) {
    static CoreOp ones{"ones_like"};
    GradMode off(false);
    return call1(ones.get(), {Value(&t)});
  }
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
