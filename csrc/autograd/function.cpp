// autograd.Function: a node whose backward is a Python method. The `ctx` of forward and backward is
// the node itself.
#include <algorithm>

#include "autograd/tape.h"
#include "python/tensor_type.h"

namespace taimatsu {

PyTypeObject* FunctionNodeType;

namespace {

struct FunctionRecord {
  Object to_save, dirty, non_differentiable, needs_input_grad;  // tuples
  std::vector<SavedTensor> saved;
  std::vector<bool> is_tensor;      // of each argument of apply
  std::vector<uint32_t> edge_args;  // which argument an edge belongs to
  bool materialize = true;
  bool keeps = false;  // something was saved
};

FunctionRecord& record_of(Node& n) { return *static_cast<FunctionRecord*>(n.payload); }
FunctionRecord& record_of(PyObject* o) { return record_of(*as_node(o)); }

void release_saved(Node& n) {
  if (n.payload) record_of(n).saved.clear();
}

int traverse(Node& n, visitproc visit, void* arg) {
  if (!n.payload) return 0;
  FunctionRecord& r = record_of(n);
  for (auto* o : {&r.to_save, &r.dirty, &r.non_differentiable, &r.needs_input_grad}) {
    Py_VISIT(o->get());
  }
  for (auto& s : r.saved) {
    if (int status = s.traverse(visit, arg)) return status;
  }
  return 0;
}

void destroy(Node& n) { delete static_cast<FunctionRecord*>(std::exchange(n.payload, nullptr)); }

// ---- Backward -----------------------------------------------------------------------------------

Object gradients_for_python(Node& n, const FunctionRecord& r, TensorRef* grads) {
  for (uint32_t i = 0; i < n.n_outputs; ++i) {
    NodeOutput& o = n.outputs[i];
    if (!grads[i] && r.materialize && o.layout) {
      grads[i] = zeros(o.layout.get(), o.dtype, o.device);
    }
  }
  return Object::steal(grads_tuple(grads, n.n_outputs));
}

void apply_function(Node& n, TensorRef* grads, TensorRef* inputs) {
  FunctionRecord& r = record_of(n);
  Object given = gradients_for_python(n, r, grads);
  Object self(&n.ob_base);
  Object args = Object::steal(checked(PyTuple_New(n.n_outputs + 1)));
  PyTuple_SetItem(args.get(), 0, new_ref(self.get()));
  for (uint32_t i = 0; i < n.n_outputs; ++i) {
    PyTuple_SetItem(args.get(), i + 1, new_ref(PyTuple_GetItem(given.get(), i)));
  }
  Object cls = Object::steal(checked(PyObject_GetAttrString(self.get(), "_forward_cls")));
  Object backward = Object::steal(checked(PyObject_GetAttrString(cls.get(), "backward")));
  Object got = Object::steal(checked(PyObject_Call(backward.get(), args.get(), nullptr)));
  if (!PyTuple_Check(got.get())) {
    got = Object::steal(
        checked(PyList_Check(got.get()) ? PyList_AsTuple(got.get()) : PyTuple_Pack(1, got.get())));
  }
  const size_t expected = r.is_tensor.size();
  size_t count = static_cast<size_t>(PyTuple_Size(got.get()));
  while (count > expected && PyTuple_GetItem(got.get(), count - 1) == Py_None) --count;
  if (count != expected) {
    fail(Error::Runtime, "function ", name_of(n),
         " returned an incorrect number of gradients (expected ", expected, ", got ", count, ")");
  }
  for (size_t i = 0, e = 0; i < expected; ++i) {
    PyObject* g = PyTuple_GetItem(got.get(), i);
    if (g != Py_None && !r.is_tensor[i]) {
      fail(Error::Runtime, "function ", name_of(n),
           " returned a gradient different from None at "
           "position ",
           i + 1, ", but the corresponding forward input was not a Variable");
    }
    if (g != Py_None && !is_tensor(g)) {
      fail(Error::Type, "function ", name_of(n), " must return tensors or None as gradients; got ",
           type_name(g), " at position ", i + 1);
    }
    if (e < r.edge_args.size() && r.edge_args[e] == i) {
      if (g != Py_None) inputs[e] = TensorRef(as_tensor(g));
      ++e;
    }
  }
}

const NodeClass function_class = {apply_function, release_saved, traverse, destroy};

// ---- ctx ----------------------------------------------------------------------------------------

PyObject* new_ctx(PyTypeObject* type, PyObject*, PyObject*) {
  return guard([&] {
    PyObject* self = checked(PyType_GenericAlloc(type, 0));
    init_node(*as_node(self), &function_class);
    as_node(self)->payload = new FunctionRecord;
    return self;
  });
}

PyObject* tuple_of_args(PyObject* const* args, Py_ssize_t n, const char* method, bool none_too) {
  Object tuple = Object::steal(checked(PyTuple_New(n)));
  for (Py_ssize_t i = 0; i < n; ++i) {
    if (!is_tensor(args[i]) && !(none_too && args[i] == Py_None)) {
      fail(Error::Type, method, " can only take tensors; argument ", i, " is of type ",
           type_name(args[i]), none_too ? "; set an attribute of ctx for other values" : "");
    }
    PyTuple_SetItem(tuple.get(), i, new_ref(args[i]));
  }
  return tuple.leak();
}

PyObject* save_for_backward(PyObject* self, PyObject* const* args, Py_ssize_t n) {
  return guard([&] {
    record_of(self).to_save = Object::steal(tuple_of_args(args, n, "save_for_backward", true));
    return new_ref(Py_None);
  });
}
PyObject* save_for_forward(PyObject* self, PyObject* const* args, Py_ssize_t n) {
  return guard([&] {
    Object checked_only = Object::steal(tuple_of_args(args, n, "save_for_forward", true));
    return new_ref(Py_None);
  });
}
PyObject* mark_dirty(PyObject* self, PyObject* const* args, Py_ssize_t n) {
  return guard([&] {
    record_of(self).dirty = Object::steal(tuple_of_args(args, n, "mark_dirty", false));
    return new_ref(Py_None);
  });
}
PyObject* mark_non_differentiable(PyObject* self, PyObject* const* args, Py_ssize_t n) {
  return guard([&] {
    record_of(self).non_differentiable =
        Object::steal(tuple_of_args(args, n, "mark_non_differentiable", false));
    return new_ref(Py_None);
  });
}
PyObject* set_materialize_grads(PyObject* self, PyObject* value) {
  return guard([&] {
    record_of(self).materialize = to_bool(value);
    return new_ref(Py_None);
  });
}

PyObject* get_saved_tensors(PyObject* self, void*) {
  return guard([&] {
    Node& n = *as_node(self);
    FunctionRecord& r = record_of(n);
    if (n.released && r.keeps) fail_released();
    const size_t count = r.saved.size();
    Object tuple = Object::steal(checked(PyTuple_New(count)));
    for (size_t i = 0; i < count; ++i) {
      if (i >= r.saved.size()) fail_released();  // by a hook that unpacked the one before
      TensorRef held;
      Tensor* t = r.saved[i].unpack(n, true, held);
      PyTuple_SetItem(tuple.get(), i, new_ref(t ? t->object() : Py_None));
    }
    return tuple.leak();
  });
}

PyObject* or_none(const Object& o) { return new_ref(o ? o.get() : Py_None); }
PyObject* get_to_save(PyObject* self, void*) { return or_none(record_of(self).to_save); }
PyObject* get_dirty(PyObject* self, void*) { return or_none(record_of(self).dirty); }
PyObject* get_non_differentiable(PyObject* self, void*) {
  return or_none(record_of(self).non_differentiable);
}
PyObject* get_needs(PyObject* self, void*) { return or_none(record_of(self).needs_input_grad); }
int set_needs(PyObject* self, PyObject* value, void*) {
  record_of(self).needs_input_grad = Object(value);
  return 0;
}
PyObject* get_materialize(PyObject* self, void*) { return boolean(record_of(self).materialize); }
int set_materialize(PyObject* self, PyObject* value, void*) {
  return guard(-1, [&] {
    record_of(self).materialize = to_bool(value);
    return 0;
  });
}

// ---- Forward ------------------------------------------------------------------------------------

bool contains(const Object& tuple, PyObject* o) {
  if (!tuple) return false;
  for (Py_ssize_t i = 0, n = PyTuple_Size(tuple.get()); i < n; ++i) {
    if (PyTuple_GetItem(tuple.get(), i) == o) return true;
  }
  return false;
}

CoreOp kAlias{"alias"};

// Hangs output `i` of the call on the node; gives the tensor to return in its place.
Object finish_output(Node& n, FunctionRecord& r, bool recorded, PyObject* o, uint32_t i,
                     Span<PyObject*> args, size_t n_outputs) {
  Tensor& t = *as_tensor(o);
  const bool is_input = std::find(args.begin(), args.end(), o) != args.end();
  const bool dirty = contains(r.dirty, o);
  const bool fixed = !recorded || !is_differentiable(t.dtype) || contains(r.non_differentiable, o);
  if (dirty) {
    if (!is_input) {
      fail(Error::Runtime, "mark_dirty: only inputs of the Function can be marked as modified");
    }
    if (recorded && t.requires_grad) {
      fail(Error::Runtime,
           "a leaf Variable that requires grad has been used in an in-place operation.");
    }
    if (fixed) return Object(o);
    n.outputs[i].describe(t);
    if (!t.base) {
      leave_hooks(t, t.node, n, i);
      set_history(t, &n, i);
      return Object(o);
    }
    if (n_outputs > 1) {
      fail(Error::Runtime,
           "If your Function modifies inplace an input that is a view of another "
           "tensor, it can't return more than one output; clone() the input first.");
    }
    check_inplace(kAlias.get(), t, 1);
    rebase_view(t, {NodeRef(&n), i});
    return Object(o);
  }
  if (!is_input) {
    if (fixed) return Object(o);
    n.outputs[i].describe(t);
    t.requires_grad = false;
    if (t.base) t.view_origin = ViewOrigin::Function;
    set_history(t, &n, i);
    return Object(o);
  }
  // An input that is returned as it is: a view of it, so that the input keeps its own history.
  GradMode off(false);
  TensorRef view = call1(kAlias.get(), {Value(&t)});
  view->view_origin = ViewOrigin::Function;
  if (!fixed) {
    n.outputs[i].describe(*view);
    set_history(*view, &n, i);
  }
  return Object::steal(tensor_object(std::move(view)));
}

void save_marked(Node& n, FunctionRecord& r) {
  if (!r.to_save) return;
  const Py_ssize_t count = PyTuple_Size(r.to_save.get());
  r.saved.resize(count);
  for (Py_ssize_t i = 0; i < count; ++i) {
    PyObject* o = PyTuple_GetItem(r.to_save.get(), i);
    if (o == Py_None) continue;
    Tensor& t = *as_tensor(o);
    if (t.node == &n) {
      r.saved[i].save_output(t, t.output_index);
    } else {
      r.saved[i].save_input(&t);
    }
  }
  r.keeps = count > 0;
  r.to_save = nullptr;
}

void bump_dirty(const FunctionRecord& r) {
  if (!r.dirty) return;
  for (Py_ssize_t i = 0, n = PyTuple_Size(r.dirty.get()); i < n; ++i) {
    Tensor& t = *as_tensor(PyTuple_GetItem(r.dirty.get(), i));
    bump_version(t);
    t.storage->writer = nullptr;
  }
}

PyObject* call_forward(PyObject* cls, PyObject* ctx, Span<PyObject*> args) {
  Object separate = Object::steal(checked(PyObject_GetAttrString(cls, "_separate_context")));
  const bool sets_up = to_bool(separate.get());
  Object forward = Object::steal(checked(PyObject_GetAttrString(cls, "forward")));
  Object tuple = Object::steal(checked(PyTuple_New(args.size + !sets_up)));
  if (!sets_up) PyTuple_SetItem(tuple.get(), 0, new_ref(ctx));
  for (int64_t i = 0; i < args.size; ++i) {
    PyTuple_SetItem(tuple.get(), i + !sets_up, new_ref(args[i]));
  }
  Object out = Object::steal(checked(PyObject_Call(forward.get(), tuple.get(), nullptr)));
  if (sets_up) {
    Object setup = Object::steal(checked(PyObject_GetAttrString(cls, "setup_context")));
    Object done = Object::steal(
        checked(PyObject_CallFunctionObjArgs(setup.get(), ctx, tuple.get(), out.get(), nullptr)));
  }
  return out.leak();
}

PyObject* apply(PyObject*, PyObject* const* raw, Py_ssize_t n_raw) {
  return guard([&]() -> PyObject* {
    if (n_raw < 1) fail(Error::Type, "apply() needs the Function's class");
    PyObject* cls = raw[0];
    Span<PyObject*> args(raw + 1, n_raw - 1);
    Object type = Object::steal(checked(PyObject_GetAttrString(cls, "_backward_cls")));
    Object ctx = Object::steal(checked(PyObject_CallNoArgs(type.get())));
    Node& n = *as_node(ctx.get());
    FunctionRecord& r = record_of(n);
    std::vector<Edge> edges;
    r.needs_input_grad = Object::steal(checked(PyTuple_New(args.size)));
    const bool grad_mode = modes.grad;
    for (int64_t i = 0; i < args.size; ++i) {
      GradMode on(true);
      const bool tensor = is_tensor(args[i]);
      Edge e = tensor ? gradient_edge(*as_tensor(args[i])) : Edge();
      r.is_tensor.push_back(tensor);
      PyTuple_SetItem(r.needs_input_grad.get(), i, boolean(e.node && grad_mode));
      if (!e.node || !grad_mode) continue;
      edges.push_back(std::move(e));
      r.edge_args.push_back(static_cast<uint32_t>(i));
    }
    const bool recorded = !edges.empty();
    Object out;
    {
      GradMode off(false);
      out = Object::steal(call_forward(cls, ctx.get(), args));
    }
    const bool single = !PyTuple_Check(out.get());
    const size_t count = single ? 1 : static_cast<size_t>(PyTuple_Size(out.get()));
    set_shape(n, static_cast<uint32_t>(edges.size()), static_cast<uint32_t>(count));
    for (size_t i = 0; i < edges.size(); ++i) n.edges[i] = std::move(edges[i]);
    stamp(n);
    Object results = Object::steal(checked(PyTuple_New(count)));
    size_t returned = 0;
    bool any_tensor = false;
    bump_dirty(r);
    for (size_t i = 0; i < count; ++i) {
      PyObject* o = single ? out.get() : PyTuple_GetItem(out.get(), i);
      Object result(o);
      if (is_tensor(o)) {
        any_tensor = true;
        returned += contains(r.dirty, o);
        result = finish_output(n, r, recorded, o, static_cast<uint32_t>(i), args, count);
      }
      PyTuple_SetItem(results.get(), i, result.leak());
    }
    if (single && !any_tensor) {
      fail(Error::Type, name_of(n),
           ".forward: expected to return a tensor or a tuple of tensors; got ",
           type_name(out.get()));
    }
    if (r.dirty && returned < static_cast<size_t>(PyTuple_Size(r.dirty.get()))) {
      fail(Error::Runtime,
           "Some elements marked as dirty during the forward method were not returned "
           "as output. The inputs that are modified inplace must all be outputs of the Function.");
    }
    if (recorded) {
      save_marked(n, r);
    } else {
      r.to_save = nullptr;
    }
    r.dirty = nullptr;
    r.non_differentiable = nullptr;
    return single ? new_ref(PyTuple_GetItem(results.get(), 0)) : results.leak();
  });
}

PyMethodDef methods[] = {
    {"save_for_backward", method(save_for_backward), METH_FASTCALL,
     "save_for_backward(*tensors)\n--\n\nKeep inputs or outputs for backward: `saved_tensors` "
     "there."},
    {"save_for_forward", method(save_for_forward), METH_FASTCALL,
     "save_for_forward(*tensors)\n--\n\nAccepted for compatibility; nothing is kept."},
    {"mark_dirty", method(mark_dirty), METH_FASTCALL,
     "mark_dirty(*tensors)\n--\n\nSay which inputs forward has written to."},
    {"mark_non_differentiable", method(mark_non_differentiable), METH_FASTCALL,
     "mark_non_differentiable(*tensors)\n--\n\nSay which outputs require no grad."},
    {"set_materialize_grads", set_materialize_grads, METH_O,
     "set_materialize_grads(value)\n--\n\nWhether backward gets zeros (the default) or None for\n"
     "gradients that are absent."},
    {},
};

PyGetSetDef getters[] = {
    {"saved_tensors", get_saved_tensors, nullptr, "What save_for_backward kept.", nullptr},
    {"to_save", get_to_save, nullptr, "What will be kept.", nullptr},
    {"dirty_tensors", get_dirty, nullptr, "What mark_dirty was given.", nullptr},
    {"non_differentiable", get_non_differentiable, nullptr,
     "What mark_non_differentiable was given.", nullptr},
    {"needs_input_grad", get_needs, set_needs,
     "For each argument of apply, whether its gradient is wanted.", nullptr},
    {"materialize_grads", get_materialize, set_materialize, "See set_materialize_grads.", nullptr},
    {},
};

PyMethodDef functions[] = {
    {"apply_function", method(apply), METH_FASTCALL,
     "apply_function(cls, *args)\n--\n\nCall cls.forward and put its node on the tape."},
    {},
};

}  // namespace

int init_function(PyObject* module) {
  const PyType_Slot slots[] = {
      {Py_tp_new, slot(new_ctx)}, {Py_tp_methods, methods}, {Py_tp_getset, getters}, {0, nullptr}};
  FunctionNodeType = new_node_type("FunctionNode", slots);
  checked(
      PyModule_AddObjectRef(module, "FunctionNode", reinterpret_cast<PyObject*>(FunctionNodeType)));
  return PyModule_AddFunctions(module, functions);
}

}  // namespace taimatsu
