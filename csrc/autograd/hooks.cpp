// Hooks: on the gradient of a tensor, before and after a node, after accumulation into a leaf.
#include "autograd/tape.h"
#include "python/python.h"

namespace taimatsu {

// ---- What few tensors have (tensor/tensor.h) ----------------------------------------------------

TensorExtra& extra_of(Tensor& t) {
  if (!t.extra) t.extra = new TensorExtra;
  return *t.extra;
}

void clear_extra(Tensor& t) {
  TensorExtra* extra = std::exchange(t.extra, nullptr);
  Py_XDECREF(extra->hooks);
  Py_XDECREF(extra->accumulate_hooks);
  Py_XDECREF(extra->parts);
  delete extra;
}

int traverse_extra(Tensor& t, visitproc visit, void* arg) {
  Py_VISIT(t.extra->hooks);
  Py_VISIT(t.extra->accumulate_hooks);
  Py_VISIT(t.extra->parts);
  return 0;
}

// ---- Hooks of nodes -----------------------------------------------------------------------------

NodeHooks& hooks_of(Node& n) {
  if (!n.hooks) n.hooks = new NodeHooks;
  return *n.hooks;
}

int traverse_hooks(Node& n, visitproc visit, void* arg) {
  for (auto& h : n.hooks->tensors) Py_VISIT(h.hooks.get());
  for (auto& r : n.hooks->retained) Py_VISIT(r.tensor.get());
  Py_VISIT(n.hooks->pre.get());
  Py_VISIT(n.hooks->post.get());
  Py_VISIT(n.hooks->metadata.get());
  return 0;
}

PyObject* metadata_of(Node& n) {
  Object& dict = hooks_of(n).metadata;
  if (!dict) dict = Object::steal(checked(PyDict_New()));
  return dict.get();
}

PyObject* grads_tuple(const TensorRef* grads, uint32_t n) {
  Object tuple = Object::steal(checked(PyTuple_New(n)));
  for (uint32_t i = 0; i < n; ++i) {
    checked(PyTuple_SetItem(tuple.get(), i, new_ref(grads[i] ? grads[i]->object() : Py_None)));
  }
  return tuple.leak();
}

namespace {

// The hooks at this moment: one may remove itself while it runs.
Object hooks_in(PyObject* dict) {
  Object values = Object::steal(checked(PyMapping_Values(dict)));
  return Object::steal(checked(PySequence_Tuple(values.get())));
}

std::string hook_name(PyObject* hook) {
  Object name = Object::steal(PyObject_GetAttrString(hook, "__name__"));
  if (name) return to_string(name.get());
  PyErr_Clear();
  return type_name(hook);
}

// A hook's result in place of the gradient that it was given.
TensorRef replacement(PyObject* hook, PyObject* result, const Tensor& given) {
  if (!is_tensor(result)) {
    fail(Error::Type, "expected Variable, but hook returned '", type_name(result), "'");
  }
  Tensor& t = *as_tensor(result);
  if (t.sizes() != given.sizes()) {
    fail(Error::Runtime, "hook '", hook_name(hook), "' has changed the size of value");
  }
  if (t.dtype != given.dtype) {
    fail(Error::Runtime, "hook '", hook_name(hook), "' has changed the type of value (was ",
         info(given.dtype).name, " got ", info(t.dtype).name, ")");
  }
  if (t.device().type != given.device().type) {
    fail(Error::Runtime, "hook '", hook_name(hook), "' has changed the device of value");
  }
  return TensorRef(&t);
}

void replace_all(PyObject* hook, PyObject* result, TensorRef* values, uint32_t n) {
  if (result == Py_None) return;
  Object tuple(result);
  if (is_tensor(result)) tuple = Object::steal(checked(PyTuple_Pack(1, result)));
  if (!PyTuple_Check(tuple.get()) && !PyList_Check(tuple.get())) {
    fail(Error::Type, "hook '", hook_name(hook), "' must return None or a tuple of gradients; got ",
         type_name(result));
  }
  if (PySequence_Size(tuple.get()) != static_cast<Py_ssize_t>(n)) {
    fail(Error::Runtime, "hook '", hook_name(hook),
         "' has returned an incorrect number of values "
         "(got ",
         PySequence_Size(tuple.get()), ", but expected ", n, ")");
  }
  for (uint32_t i = 0; i < n; ++i) {
    Object item = Object::steal(checked(PySequence_GetItem(tuple.get(), i)));
    if (item.get() == Py_None) {
      values[i] = nullptr;
    } else if (!is_tensor(item.get())) {
      fail(Error::Type, "expected Variable, but hook returned '", type_name(item.get()), "'");
    } else {
      values[i] =
          values[i] ? replacement(hook, item.get(), *values[i]) : TensorRef(as_tensor(item.get()));
    }
  }
}

Object ordered_dict() {
  static PyObject* type = nullptr;
  return Object::steal(
      checked(PyObject_CallNoArgs(python_function(type, "collections", "OrderedDict"))));
}

// Adds `hook` to `dict` (made if null, owned) and gives the handle that removes it.
PyObject* add_hook(PyObject*& dict, PyObject* hook) {
  if (!PyCallable_Check(hook)) fail(Error::Type, "a hook must be callable; got ", type_name(hook));
  static PyObject* handle_type = nullptr;
  if (!dict) dict = ordered_dict().leak();
  Object held(dict);
  Object handle = Object::steal(checked(PyObject_CallFunctionObjArgs(
      python_function(handle_type, "taimatsu.utils.hooks", "RemovableHandle"), held.get(),
      nullptr)));
  Object id = Object::steal(checked(PyObject_GetAttrString(handle.get(), "id")));
  checked(PyObject_SetItem(held.get(), id.get(), hook));
  return handle.leak();
}

PyObject* add_hook(Object& dict, PyObject* hook) {
  PyObject* raw = dict.leak();
  Object handle = Object::steal(add_hook(raw, hook));
  dict = Object::steal(raw);
  return handle.leak();
}

}  // namespace

PyObject* add_pre_hook(Node& n, PyObject* hook) { return add_hook(hooks_of(n).pre, hook); }
PyObject* add_post_hook(Node& n, PyObject* hook) { return add_hook(hooks_of(n).post, hook); }

void attach_tensor_hooks(Node& n, uint32_t slot, Tensor& t) {
  if (!t.extra || !t.extra->hooks) return;
  for (auto& h : hooks_of(n).tensors) {
    if (h.hooks.get() == t.extra->hooks) return;
  }
  hooks_of(n).tensors.push_back({slot, Object(t.extra->hooks)});
}

static void retain_at(Tensor& t, Node& n, uint32_t slot) {
  Object weak = Object::steal(checked(PyWeakref_NewRef(t.object(), nullptr)));
  hooks_of(n).retained.push_back({slot, weak});
}

void leave_hooks(Tensor& t, Node* before, Node& n, uint32_t slot) {
  if (!t.extra) return;
  Py_CLEAR(t.extra->hooks);
  if (!t.extra->retains_grad) return;
  if (before && before->hooks) {
    auto& retained = before->hooks->retained;
    for (size_t i = retained.size(); i-- > 0;) {
      if (PyWeakref_GetObject(retained[i].tensor.get()) == t.object()) {
        retained.erase(retained.begin() + static_cast<std::ptrdiff_t>(i));
      }
    }
  }
  retain_at(t, n, slot);
}

void run_tensor_hooks(Node& n, TensorRef* grads) {
  for (size_t k = 0; k < n.hooks->tensors.size(); ++k) {
    const uint32_t slot = n.hooks->tensors[k].slot;
    if (!grads[slot]) continue;
    Object hooks = hooks_in(n.hooks->tensors[k].hooks.get());
    for (Py_ssize_t i = 0, m = PyTuple_Size(hooks.get()); i < m; ++i) {
      PyObject* hook = PyTuple_GetItem(hooks.get(), i);
      Object result = Object::steal(
          checked(PyObject_CallFunctionObjArgs(hook, grads[slot]->object(), nullptr)));
      if (result.get() != Py_None) grads[slot] = replacement(hook, result.get(), *grads[slot]);
    }
  }
}

void run_retained(Node& n, TensorRef* grads) {
  for (size_t k = 0; k < n.hooks->retained.size(); ++k) {  // other threads run during the sum
    const uint32_t slot = n.hooks->retained[k].slot;
    Object held(PyWeakref_GetObject(n.hooks->retained[k].tensor.get()));
    if (!grads[slot] || held.get() == Py_None) continue;
    Tensor& t = *as_tensor(held.get());
    TensorRef sum = t.grad ? add(*t.grad, *grads[slot]) : grads[slot];
    Tensor* before = std::exchange(t.grad, sum.leak());
    if (before) release(before);
  }
}

void run_pre_hooks(Node& n, TensorRef* grads) {
  if (!n.hooks->pre) return;
  Object hooks = hooks_in(n.hooks->pre.get());
  for (Py_ssize_t i = 0, m = PyTuple_Size(hooks.get()); i < m; ++i) {
    PyObject* hook = PyTuple_GetItem(hooks.get(), i);
    Object values = Object::steal(grads_tuple(grads, n.n_outputs));
    Object result =
        Object::steal(checked(PyObject_CallFunctionObjArgs(hook, values.get(), nullptr)));
    replace_all(hook, result.get(), grads, n.n_outputs);
  }
}

void run_post_hooks(Node& n, TensorRef* inputs, const TensorRef* grads) {
  Object hooks = hooks_in(n.hooks->post.get());
  Object outputs = Object::steal(grads_tuple(grads, n.n_outputs));
  for (Py_ssize_t i = 0, m = PyTuple_Size(hooks.get()); i < m; ++i) {
    PyObject* hook = PyTuple_GetItem(hooks.get(), i);
    Object values = Object::steal(grads_tuple(inputs, n.n_edges));
    Object result = Object::steal(
        checked(PyObject_CallFunctionObjArgs(hook, values.get(), outputs.get(), nullptr)));
    replace_all(hook, result.get(), inputs, n.n_edges);
  }
}

void run_accumulate_hooks(Tensor& leaf) {
  if (!leaf.extra || !leaf.extra->accumulate_hooks) return;
  Object hooks = hooks_in(leaf.extra->accumulate_hooks);
  for (Py_ssize_t i = 0, m = PyTuple_Size(hooks.get()); i < m; ++i) {
    Object result = Object::steal(checked(
        PyObject_CallFunctionObjArgs(PyTuple_GetItem(hooks.get(), i), leaf.object(), nullptr)));
  }
}

// ---- Methods of Tensor --------------------------------------------------------------------------

namespace {

bool records(Tensor& t) {
  GradMode on(true);  // views that were written get their nodes
  return requires_grad(t);
}

void attach(Tensor& t) {
  if (Node* n = grad_fn(t)) {
    attach_tensor_hooks(*n, t.output_index, t);
  } else if (t.extra->accumulator) {
    attach_tensor_hooks(*t.extra->accumulator, 0, t);
  }
}

PyObject* register_hook(PyObject* self, PyObject* hook) {
  return guard([&] {
    Tensor& t = *as_tensor(self);
    if (!records(t)) {
      fail(Error::Runtime, "cannot register a hook on a tensor that doesn't require gradient");
    }
    track(&t);
    Object handle = Object::steal(add_hook(extra_of(t).hooks, hook));
    attach(t);
    return handle.leak();
  });
}

PyObject* register_post_accumulate_grad_hook(PyObject* self, PyObject* hook) {
  return guard([&] {
    Tensor& t = *as_tensor(self);
    if (!records(t)) {
      fail(Error::Runtime, "cannot register a hook on a tensor that doesn't require gradient");
    }
    if (!t.requires_grad) {
      fail(Error::Runtime, "post accumulate grad hooks cannot be registered on non-leaf tensors");
    }
    track(&t);
    return add_hook(extra_of(t).accumulate_hooks, hook);
  });
}

PyObject* retain_grad(PyObject* self, PyObject*) {
  return guard([&] {
    Tensor& t = *as_tensor(self);
    if (!records(t)) {
      fail(Error::Runtime, "can't retain_grad on Tensor that has requires_grad=False");
    }
    Node* n = grad_fn(t);
    if (n && !extra_of(t).retains_grad) {
      retain_at(t, *n, t.output_index);
      t.extra->retains_grad = true;
    }
    return new_ref(Py_None);
  });
}

PyObject* get_retains_grad(PyObject* self, void*) {
  TensorExtra* extra = as_tensor(self)->extra;
  return boolean(extra && extra->retains_grad);
}

PyObject* get_hooks(PyObject* self, void*) {
  TensorExtra* extra = as_tensor(self)->extra;
  return new_ref(extra && extra->hooks ? extra->hooks : Py_None);
}

int set_hooks(PyObject* self, PyObject* value, void*) {
  return guard(-1, [&] {
    Tensor& t = *as_tensor(self);
    PyObject* dict = given(value) ? new_ref(value) : nullptr;
    Object before = Object::steal(std::exchange(extra_of(t).hooks, dict));
    track(&t);
    if (dict) attach(t);
    return 0;
  });
}

PyObject* get_accumulate_hooks(PyObject* self, void*) {
  TensorExtra* extra = as_tensor(self)->extra;
  return new_ref(extra && extra->accumulate_hooks ? extra->accumulate_hooks : Py_None);
}

int set_accumulate_hooks(PyObject* self, PyObject* value, void*) {
  return guard(-1, [&] {
    Tensor& t = *as_tensor(self);
    PyObject* dict = given(value) ? new_ref(value) : nullptr;
    Object before = Object::steal(std::exchange(extra_of(t).accumulate_hooks, dict));
    track(&t);
    return 0;
  });
}

PyObject* is_view(PyObject* self, PyObject*) { return boolean(as_tensor(self)->base); }

}  // namespace

PyMethodDef tape_tensor_methods[] = {
    {"register_hook", register_hook, METH_O,
     "register_hook(hook)\n--\n\n"
     "Call hook(grad) whenever the gradient of this tensor is computed; a tensor that it returns "
     "is\n"
     "used instead. Gives a handle whose remove() takes the hook away. After an in-place write "
     "the\n"
     "hook stays with the value from before.\n\n"
     ">>> x = torch.ones(2, requires_grad=True)\n"
     ">>> handle = x.register_hook(lambda g: 2 * g)\n"
     ">>> x.sum().backward()\n"
     ">>> x.grad\n"
     "tensor([2., 2.])"},
    {"register_post_accumulate_grad_hook", register_post_accumulate_grad_hook, METH_O,
     "register_post_accumulate_grad_hook(hook)\n--\n\n"
     "Call hook(tensor) after a gradient was added to `grad` of this leaf. RuntimeError if the\n"
     "tensor is no leaf."},
    {"retain_grad", retain_grad, METH_NOARGS,
     "retain_grad()\n--\n\nLet backward() fill `grad` of this tensor though it is no leaf."},
    {"_is_view", is_view, METH_NOARGS,
     "_is_view()\n--\n\nWhether it is a view that the tape knows."},
    {},
};

PyGetSetDef tape_tensor_getters[] = {
    {"retains_grad", get_retains_grad, nullptr, "Whether retain_grad() was called on a non-leaf.",
     nullptr},
    {"_backward_hooks", get_hooks, set_hooks, "The hooks on the gradient by id, or None.", nullptr},
    {"_post_accumulate_grad_hooks", get_accumulate_hooks, set_accumulate_hooks,
     "The hooks after accumulation by id, or None.", nullptr},
    {},
};

}  // namespace taimatsu
