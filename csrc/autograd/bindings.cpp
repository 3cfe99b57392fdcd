// The functions of taimatsu._core for the tape, and Tensor.backward.
#include "autograd/tape.h"
#include "python/tensor_type.h"

namespace taimatsu {
namespace {

// A sequence of tensors, or a single one; None stands for a null pointer where it is allowed.
std::vector<Tensor*> tensors_of(PyObject* o, const char* what, bool none_too, Object& keeper) {
  std::vector<Tensor*> out;
  if (!given(o)) return out;
  if (is_tensor(o)) return {as_tensor(o)};
  keeper = Object::steal(PySequence_Tuple(o));
  if (!keeper) {
    PyErr_Clear();
    fail(Error::Type, what, " must be a tensor or a sequence of tensors; got ", type_name(o));
  }
  for (Py_ssize_t i = 0, n = PyTuple_Size(keeper.get()); i < n; ++i) {
    PyObject* item = PyTuple_GetItem(keeper.get(), i);
    if (item == Py_None && none_too) {
      out.push_back(nullptr);
    } else if (is_tensor(item)) {
      out.push_back(as_tensor(item));
    } else {
      fail(Error::Type, "element ", i, " of ", what, " must be a tensor; got ", type_name(item));
    }
  }
  return out;
}

PyObject* run(PyObject* roots_object, PyObject* grads_object, PyObject* inputs_object, bool retain,
              bool create, bool want_results, bool allow_unused) {
  Object keepers[3];
  std::vector<Tensor*> roots = tensors_of(roots_object, "tensors", false, keepers[0]);
  std::vector<Tensor*> grads = tensors_of(grads_object, "grad_tensors", true, keepers[1]);
  std::vector<Tensor*> inputs = tensors_of(inputs_object, "inputs", false, keepers[2]);
  if (!grads.empty() && grads.size() != roots.size()) {
    fail(Error::Runtime, "got ", roots.size(), " tensors and ", grads.size(), " gradients");
  }
  if (given(inputs_object) && inputs.empty()) {
    fail(Error::Runtime, "`inputs` argument to `backward()` cannot be empty.");
  }
  std::vector<TensorRef> results;
  if (!want_results) {
    for (Tensor* t : inputs) {  // gradients of non-leaves go to `grad` too
      if (t->requires_grad || !requires_grad(*t)) continue;
      Object done =
          Object::steal(checked(PyObject_CallMethod(t->object(), "retain_grad", nullptr)));
    }
  }
  backward(roots, grads, retain, create, inputs, !want_results, want_results ? &results : nullptr,
           allow_unused);
  if (!want_results) return new_ref(Py_None);
  return grads_tuple(results.data(), static_cast<uint32_t>(results.size()));
}

// retain_graph=None means: as create_graph.
bool keeps_graph(PyObject* retain, bool create) { return given(retain) ? to_bool(retain) : create; }

PyObject* tensor_backward(PyObject* self, PyObject* const* args, Py_ssize_t nargs,
                          PyObject* kwnames) {
  static const Signature signature{
      "backward", {"gradient", "retain_graph", "create_graph", "inputs"}, 4, 0};
  return guard([&] {
    PyObject* v[4] = {};  // most calls give nothing
    if (nargs || kwnames) signature.unpack(args, nargs, kwnames, v);
    const bool create = v[2] && to_bool(v[2]);
    if (given(v[0]) && !is_tensor(v[0])) {
      fail(Error::Type, "gradients can be either Tensors or None, but got ", type_name(v[0]));
    }
    const bool retain = keeps_graph(v[1], create);
    if (given(v[3])) return run(self, v[0], v[3], retain, create, false, true);
    Tensor* root = as_tensor(self);
    Tensor* grad = given(v[0]) ? as_tensor(v[0]) : nullptr;
    backward({&root, 1}, {&grad, 1}, retain, create, {}, true, nullptr, true);
    return new_ref(Py_None);
  });
}

PyObject* run_backward(PyObject*, PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames) {
  static const Signature signature{
      "run_backward", {"tensors", "grad_tensors", "retain_graph", "create_graph", "inputs"}, 5, 1};
  return guard([&] {
    PyObject* v[5];
    signature.unpack(args, nargs, kwnames, v);
    const bool create = v[3] && to_bool(v[3]);
    return run(v[0], v[1], v[4], keeps_graph(v[2], create), create, false, true);
  });
}

PyObject* run_grad(PyObject*, PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames) {
  static const Signature signature{
      "run_grad",
      {"outputs", "inputs", "grad_outputs", "retain_graph", "create_graph", "allow_unused"},
      6,
      2};
  return guard([&] {
    PyObject* v[6];
    signature.unpack(args, nargs, kwnames, v);
    const bool create = v[4] && to_bool(v[4]);
    return run(v[0], v[2], v[1], keeps_graph(v[3], create), create, true, v[5] && to_bool(v[5]));
  });
}

PyObject* py_gradient_edge(PyObject*, PyObject* o) {
  return guard([&] {
    if (!is_tensor(o)) fail(Error::Type, "get_gradient_edge: expects a tensor; got ", type_name(o));
    GradMode on(true);
    Edge e = gradient_edge(*as_tensor(o));
    if (!e.node) {
      fail(Error::Runtime,
           "It is not possible to get the gradient edge for a Tensor that does not "
           "require gradients");
    }
    return checked(Py_BuildValue("(OI)", &e.node->ob_base, e.slot));
  });
}

PyObject* py_increment_version(PyObject*, PyObject* o) {
  return guard([&] {
    if (!is_tensor(o)) {
      fail(Error::Type, "increment_version: expects a tensor; got ", type_name(o));
    }
    Tensor& t = *as_tensor(o);
    if (t.inference) {
      fail(Error::Runtime, "increment_version: inference tensors do not track versions");
    }
    bump_version(t);
    t.storage->writer = nullptr;
    return new_ref(Py_None);
  });
}

PyObject* py_queue_callback(PyObject*, PyObject* f) {
  return guard([&] {
    queue_callback(f);
    return new_ref(Py_None);
  });
}

PyObject* py_current_backward(PyObject*, PyObject*) {
  return PyLong_FromUnsignedLongLong(current_backward());
}

PyObject* py_push_saved_hooks(PyObject*, PyObject* const* args, Py_ssize_t n) {
  return guard([&] {
    if (n != 2 || !PyCallable_Check(args[0]) || !PyCallable_Check(args[1])) {
      fail(Error::Type, "saved_tensors_hooks: expects two functions, pack_hook and unpack_hook");
    }
    push_saved_hooks(args[0], args[1]);
    return new_ref(Py_None);
  });
}
PyObject* py_pop_saved_hooks(PyObject*, PyObject*) {
  return guard([&] {
    pop_saved_hooks();
    return new_ref(Py_None);
  });
}
PyObject* py_disable_saved_hooks(PyObject*, PyObject* message) {
  return guard([&] { return disable_saved_hooks(message); });
}

PyObject* set_anomaly(PyObject*, PyObject* const* args, Py_ssize_t n) {
  return guard([&] {
    if (n != 2) fail(Error::Type, "set_anomaly_enabled() takes 2 arguments; got ", n);
    modes.anomaly = to_bool(args[0]);
    anomaly_checks_nan = to_bool(args[1]);
    return new_ref(Py_None);
  });
}
PyObject* is_anomaly_enabled(PyObject*, PyObject*) { return boolean(modes.anomaly); }
PyObject* is_anomaly_check_nan_enabled(PyObject*, PyObject*) { return boolean(anomaly_checks_nan); }

PyMethodDef functions[] = {
    {"run_backward", method(run_backward), METH_FASTCALL | METH_KEYWORDS,
     "run_backward(tensors, grad_tensors=None, retain_graph=None, create_graph=False, "
     "inputs=None)\n"
     "--\n\nAccumulate the gradients of `tensors` into the leaves, or into `inputs` only."},
    {"run_grad", method(run_grad), METH_FASTCALL | METH_KEYWORDS,
     "run_grad(outputs, inputs, grad_outputs=None, retain_graph=None, create_graph=False,\n"
     "         allow_unused=False)\n"
     "--\n\nThe gradients of `outputs` with respect to `inputs`, a tuple."},
    {"gradient_edge", py_gradient_edge, METH_O,
     "gradient_edge(tensor)\n--\n\n(node, index): where the gradient of the tensor arrives."},
    {"increment_version", py_increment_version, METH_O,
     "increment_version(tensor)\n--\n\nCount a write that the core did not see."},
    {"queue_callback", py_queue_callback, METH_O,
     "queue_callback(f)\n--\n\nCall f() at the end of the backward pass that runs now."},
    {"current_backward", py_current_backward, METH_NOARGS,
     "current_backward()\n--\n\nA number for the backward pass that runs now; 0 outside of any."},
    {"push_saved_tensors_hooks", method(py_push_saved_hooks), METH_FASTCALL,
     "push_saved_tensors_hooks(pack, unpack)\n--\n\nSee autograd.graph.saved_tensors_hooks."},
    {"pop_saved_tensors_hooks", py_pop_saved_hooks, METH_NOARGS,
     "pop_saved_tensors_hooks()\n--\n\nRemove the hooks that were pushed last."},
    {"disable_saved_tensors_hooks", py_disable_saved_hooks, METH_O,
     "disable_saved_tensors_hooks(message)\n--\n\nMake pushing hooks an error with this message, "
     "or\n"
     "with None allow it again; gives the message before."},
    {"set_anomaly_enabled", method(set_anomaly), METH_FASTCALL,
     "set_anomaly_enabled(enabled, check_nan)\n--\n\nSet anomaly mode for this thread."},
    {"is_anomaly_enabled", is_anomaly_enabled, METH_NOARGS,
     "is_anomaly_enabled()\n--\n\nWhether anomaly mode is on in this thread."},
    {"is_anomaly_check_nan_enabled", is_anomaly_check_nan_enabled, METH_NOARGS,
     "is_anomaly_check_nan_enabled()\n--\n\nWhether anomaly mode looks for NaN in gradients."},
    {},
};

PyMethodDef backward_method[] = {
    {"backward", method(tensor_backward), METH_FASTCALL | METH_KEYWORDS,
     "backward(gradient=None, retain_graph=None, create_graph=False, inputs=None)\n--\n\n"
     "Add the gradient of this tensor with respect to the leaves of the graph to their `grad`.\n\n"
     "gradient      the gradient of what comes after, of this tensor's sizes; None: 1, for a "
     "scalar\n"
     "retain_graph  keep what was saved, so that backward can run again [create_graph]\n"
     "create_graph  record the backward pass itself, for higher derivatives\n"
     "inputs        accumulate only into these tensors\n\n"
     "RuntimeError if the tensor requires no grad, if `gradient` is missing and the tensor is no\n"
     "scalar, if the graph was freed by an earlier call.\n\n"
     ">>> x = torch.tensor(3., requires_grad=True)\n"
     ">>> (x * x).backward()\n"
     ">>> x.grad\n"
     "tensor(6.)"},
    {},
};

}  // namespace

int init_autograd(PyObject* module) {
  return guard(-1, [&] {
    NodeType = new_node_type("Node");
    checked(PyModule_AddObjectRef(module, "Node", reinterpret_cast<PyObject*>(NodeType)));
    checked(init_function(module));
    add_methods(TensorType, backward_method);
    add_methods(TensorType, tape_tensor_methods);
    add_getters(TensorType, tape_tensor_getters);
    return PyModule_AddFunctions(module, functions);
  });
}

}  // namespace taimatsu
