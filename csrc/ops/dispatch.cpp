#include "ops/dispatch.h"

#include "python/tensor_type.h"

namespace taimatsu {

bool any_dispatching = false;
thread_local int dispatch_off = 0;

namespace {

PyObject* attribute_name;
PyObject* no_dispatch;  // Tensor's own `__torch_dispatch__`, which carries ops out as they are
PyObject *calls = nullptr, *detaches = nullptr, *items = nullptr;  // Python functions

bool in_argument(const Value& v) {
  if (v.is_tensor()) return dispatches(*v.tensor);
  if (v.tag != Value::Tensors) return false;
  for (int64_t k = 0; k < v.tensors.size; ++k) {
    if (v.tensors.data[k] && dispatches(*v.tensors.data[k])) return true;
  }
  return false;
}

struct Off {
  Off() { ++dispatch_off; }
  ~Off() { --dispatch_off; }
};

PyObject* disabled_torch_dispatch(PyObject*, PyObject* const* v, Py_ssize_t n) {
  return guard([&] {
    if (n < 3) fail(Error::Type, "__torch_dispatch__ takes func, types, args, kwargs");
    Off here;
    return checked(PyObject_Call(v[0], v[2], n > 3 && v[3] != Py_None ? v[3] : nullptr));
  });
}

PyObject* disable_enter(PyObject*, PyObject*) {
  ++dispatch_off;
  Py_RETURN_NONE;
}
PyObject* disable_exit(PyObject*, PyObject* const*, Py_ssize_t) {
  --dispatch_off;
  Py_RETURN_NONE;
}

PyObject* class_dispatches_(PyObject*, PyObject* type) {
  return guard([&] {
    const bool is_type = PyType_Check(type);
    return boolean(is_type && class_dispatches(reinterpret_cast<PyTypeObject*>(type)));
  });
}

PyObject* is_off(PyObject*, PyObject*) { return boolean(dispatch_off > 0); }

PyObject* note_class(PyObject*, PyObject*) {
  any_dispatching = true;
  Py_RETURN_NONE;
}

PyObject* set_dispatchers(PyObject*, PyObject* args) {
  if (!PyArg_ParseTuple(args, "OOO", &calls, &detaches, &items)) return nullptr;
  for (PyObject* f : {calls, detaches, items}) Py_INCREF(f);
  Py_RETURN_NONE;
}

// make_wrapper(cls, sizes, strides or None, offset, dtype, device)
PyObject* make_wrapper(PyObject*, PyObject* const* v, Py_ssize_t n) {
  return guard([&] {
    DType dtype;
    Device device;
    const bool is_class = n == 6 && PyType_Check(v[0]) &&
                          PyType_IsSubtype(reinterpret_cast<PyTypeObject*>(v[0]), TensorType);
    if (!is_class || !dtype_of(v[4], dtype) || !device_of(v[5], device)) {
      fail(Error::Type, "_make_wrapper_subclass() takes a subclass of Tensor, sizes, a dtype, ...");
    }
    const std::vector<int64_t> sizes = to_ints(v[1], "_make_wrapper_subclass: size");
    std::vector<int64_t> strides;
    if (v[2] == Py_None) {
      LayoutRef contiguous = contiguous_layout(sizes);
      strides.assign(contiguous->strides().begin(), contiguous->strides().end());
    } else {
      strides = to_ints(v[2], "_make_wrapper_subclass: strides");
    }
    LayoutRef layout = checked_layout(sizes, strides, to_index(v[3]), "_make_wrapper_subclass");
    any_dispatching = true;
    return adopt(reinterpret_cast<PyTypeObject*>(v[0]),
                 without_memory(layout.get(), dtype, device.concrete()));
  });
}

// share_storage(view, source): two wrappers of the same memory, whose writes count for both.
PyObject* share(PyObject*, PyObject* const* v, Py_ssize_t n) {
  return guard([&] {
    if (n != 2 || !is_tensor(v[0]) || !is_tensor(v[1])) {
      fail(Error::Type, "_share_storage() takes two tensors");
    }
    Tensor& view = *as_tensor(v[0]);
    set_contents(view, as_tensor(v[1])->storage, view.layout, view.dtype);
    return new_ref(v[0]);
  });
}

PyMethodDef disable_methods[] = {
    {"__enter__", disable_enter, METH_NOARGS, nullptr},
    {"__exit__", method(disable_exit), METH_FASTCALL, nullptr},
    {},
};

PyMethodDef functions[] = {
    {"_disabled_torch_dispatch_impl", method(disabled_torch_dispatch), METH_FASTCALL,
     "As a class's ``__torch_dispatch__``: ops on its instances are carried out as on any tensor."},
    {"_class_dispatches", class_dispatches_, METH_O,
     "_class_dispatches(cls)\n--\n\nWhether the class carries ops out itself."},
    {"_dispatch_is_off", is_off, METH_NOARGS,
     "_dispatch_is_off()\n--\n\nWithin `_DisableTorchDispatch`."},
    {"_note_dispatching_class", note_class, METH_NOARGS,
     "_note_dispatching_class()\n--\n\nThere is a class that does."},
    {"_set_dispatchers", set_dispatchers, METH_VARARGS, nullptr},
    {"_share_storage", method(share), METH_FASTCALL, nullptr},
    {"_make_wrapper", method(make_wrapper), METH_FASTCALL, nullptr},
    {},
};

}  // namespace

bool class_dispatches(PyTypeObject* type) {
  Object f = Object::steal(PyObject_GetAttr(reinterpret_cast<PyObject*>(type), attribute_name));
  if (!f) PyErr_Clear();
  return f && f.get() != no_dispatch;
}

bool takes_dispatch(const Op& op, const Value* args, Tensor* const* into) {
  for (uint8_t i : op.tensor_params) {
    if (in_argument(args[i])) return true;
  }
  for (size_t i = 0; into && i < op.schema.returns.size(); ++i) {
    if (dispatches(*into[i])) return true;
    if (op.inplace && args[0].is_tensor() && into[0] == args[0].tensor) break;
  }
  return false;
}

PyObject* dispatcher() { return calls; }

TensorRef detach_dispatched(Tensor& t) {
  void_notes();
  Object made = Object::steal(checked(PyObject_CallFunctionObjArgs(detaches, t.object(), nullptr)));
  if (!is_tensor(made.get())) fail(Error::Type, "detach: not a tensor: ", to_string(made.get()));
  return TensorRef(as_tensor(made.get()));
}

Object item_dispatched(const Tensor& t) {
  PyObject* self = const_cast<Tensor&>(t).object();
  return Object::steal(checked(PyObject_CallFunctionObjArgs(items, self, nullptr)));
}

TensorRef without_memory(const Layout* layout, DType dtype, Device d) {
  auto* why = new Failure;
  why->error = Error{Error::Runtime,
                     "Cannot access data pointer of Tensor that doesn't have storage: it is a "
                     "wrapper, whose class carries ops out; unwrap it in its __torch_dispatch__"};
  Ref<Failure> failure(why);
  Ref<Storage> memory = foreign_storage(nullptr, bytes_reached(*layout, dtype), d, nullptr);
  if (memory->nbytes) fail_storage(*memory, failure.get());
  return make_tensor(memory.get(), layout, dtype);
}

int init_dispatch(PyObject* module) {
  attribute_name = PyUnicode_InternFromString("__torch_dispatch__");
  if (!attribute_name || PyModule_AddFunctions(module, functions) < 0) return -1;
  no_dispatch = PyObject_GetAttrString(module, "_disabled_torch_dispatch_impl");
  auto* tensor = reinterpret_cast<PyObject*>(TensorType);
  if (!no_dispatch || PyObject_SetAttr(tensor, attribute_name, no_dispatch) < 0) return -1;
  PyType_Slot slots[] = {
      {Py_tp_doc, const_cast<char*>("Inside, neither modes nor classes carry ops out themselves.")},
      {Py_tp_methods, disable_methods},
      {0, nullptr},
  };
  PyType_Spec spec = {"taimatsu._DisableTorchDispatch", sizeof(PyObject), 0, Py_TPFLAGS_DEFAULT,
                      slots};
  return add_type(module, spec) ? 0 : -1;
}

}  // namespace taimatsu
