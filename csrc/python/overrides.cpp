// __torch_function__: types, and modes, that take over the functions called on them.
#include <algorithm>
#include <unordered_set>

#include "autograd/autograd.h"
#include "python/python.h"

namespace taimatsu {

namespace {

thread_local int disabled = 0;  // depth of DisableTorchFunctionSubclass
PyObject* attribute_name;
PyObject* no_override;    // what a class sets as its __torch_function__ to be a plain tensor
PyObject* function_mode;  // the Python function that calls the innermost mode

struct Disable {
  Disable() { ++disabled; }
  ~Disable() { --disabled; }
};

std::unordered_set<PyTypeObject*> without;  // types known to override nothing

// What a type overrides ops with. Types that can't change are asked once: a failing look-up costs
// more than many an op.
Object override_of(PyObject* o) {
  PyTypeObject* type = Py_TYPE(o);
  if (without.count(type)) return Object();
  Object f = Object::steal(PyObject_GetAttr(reinterpret_cast<PyObject*>(type), attribute_name));
  if (!f) {
    PyErr_Clear();
    const unsigned long flags = PyType_GetFlags(type);
    if (!(flags & Py_TPFLAGS_HEAPTYPE)) without.insert(type);
  }
  return f.get() == no_override ? Object() : f;
}

struct Deeper {  // one list further in; a RecursionError for one that has no end
  Deeper() {
    if (Py_EnterRecursiveCall(" in lists of arguments")) python_error();
  }
  ~Deeper() { Py_LeaveRecursiveCall(); }
};

// Those who override, once for each type, subclasses before their bases, else as they stand.
void collect(PyObject* o, std::vector<PyObject*>& found) {
  if (is_exact_tensor(o) || Py_TYPE(o) == ParameterType) return;
  if (PyTuple_Check(o) || PyList_Check(o)) {
    Deeper deeper;
    Py_ssize_t n = PySequence_Size(o);
    for (Py_ssize_t i = 0; i < n; ++i) {
      collect(PyTuple_Check(o) ? PyTuple_GetItem(o, i) : PyList_GetItem(o, i), found);
    }
    return;
  }
  if (!has_torch_function(o)) return;
  auto at = found.end();
  for (auto it = found.begin(); it != found.end(); ++it) {
    if (Py_TYPE(*it) == Py_TYPE(o)) return;
    if (at == found.end() && PyType_IsSubtype(Py_TYPE(o), Py_TYPE(*it))) at = it;
  }
  found.insert(at, o);
}

PyObject* disabled_torch_function(PyObject*, PyObject* const* v, Py_ssize_t n) {
  return guard([&] {
    if (n < 3) fail(Error::Type, "__torch_function__ takes func, types, args, kwargs");
    Disable here;
    return checked(PyObject_Call(v[0], v[2], n > 3 && v[3] != Py_None ? v[3] : nullptr));
  });
}

PyObject* py_has_torch_function(PyObject*, PyObject* args) {  // a tuple of arguments
  return guard([&] {
    Object items = Object::steal(checked(PySequence_Tuple(args)));
    std::vector<PyObject*> found;
    collect(items.get(), found);
    return boolean((modes.interpose & kFunctionModes) || !found.empty());
  });
}

PyObject* overriding_args(PyObject*, PyObject* args) {  // one for each type, as collected
  return guard([&] {
    std::vector<PyObject*> found;
    collect(args, found);
    Object list = Object::steal(checked(PyList_New(found.size())));
    for (size_t i = 0; i < found.size(); ++i) PyList_SetItem(list.get(), i, new_ref(found[i]));
    return list.leak();
  });
}

PyObject* set_function_mode(PyObject*, PyObject* function) {
  Py_INCREF(function);
  Py_XDECREF(std::exchange(function_mode, function));
  Py_RETURN_NONE;
}

// Context managers: ops see subclasses as plain tensors; and the modes are off too.
struct Disabling {
  PyObject ob_base;
  uint32_t modes;
};
template <bool with_modes>
PyObject* disable_enter(PyObject* self, PyObject*) {
  ++disabled;
  reinterpret_cast<Disabling*>(self)->modes = with_modes ? modes.interpose & kFunctionModes : 0;
  if (with_modes) modes.interpose &= ~kFunctionModes;
  Py_RETURN_NONE;
}
PyObject* disable_exit(PyObject* self, PyObject* const*, Py_ssize_t) {
  --disabled;
  modes.interpose |= reinterpret_cast<Disabling*>(self)->modes;
  Py_RETURN_NONE;
}
template <bool with_modes>
PyMethodDef disable_methods[] = {
    {"__enter__", disable_enter<with_modes>, METH_NOARGS, nullptr},
    {"__exit__", method(disable_exit), METH_FASTCALL, nullptr},
    {},
};
template <bool with_modes>
PyTypeObject* add_disabling(PyObject* module, const char* name, const char* doc) {
  PyType_Slot slots[] = {
      {Py_tp_doc, const_cast<char*>(doc)},
      {Py_tp_methods, disable_methods<with_modes>},
      {0, nullptr},
  };
  PyType_Spec spec = {name, sizeof(Disabling), 0, Py_TPFLAGS_DEFAULT, slots};
  return add_type(module, spec);
}

PyMethodDef functions[] = {
    {"_disabled_torch_function_impl", method(disabled_torch_function), METH_FASTCALL,
     "As a class's ``__torch_function__``: its instances are treated as plain tensors."},
    {"_has_torch_function", py_has_torch_function, METH_O,
     "_has_torch_function(args)\n--\n\nWhether an argument's type overrides ops, or a mode is on."},
    {"_overriding_args", overriding_args, METH_O,
     "_overriding_args(args)\n--\n\nThose of the arguments whose types override ops, one for each\n"
     "type, subclasses first."},
    {"_set_function_mode", set_function_mode, METH_O, nullptr},
    {},
};

}  // namespace

void overrides_nothing(PyTypeObject* type) { without.insert(type); }

bool has_torch_function(PyObject* o) { return disabled == 0 && override_of(o); }

PyObject* call_torch_function(PyObject* function, PyObject* self, PyObject* const* args,
                              Py_ssize_t nargs, PyObject* kwnames) {
  return guard([&]() -> PyObject* {
    std::vector<PyObject*> positional, found;
    if (self) positional.push_back(self);
    positional.insert(positional.end(), args, args + nargs);
    for (PyObject* o : positional) collect(o, found);
    Object tuple = Object::steal(checked(PyTuple_New(positional.size())));
    for (size_t i = 0; i < positional.size(); ++i) {
      PyTuple_SetItem(tuple.get(), i, new_ref(positional[i]));
    }
    Object keywords = Object::steal(checked(PyDict_New()));
    for (Py_ssize_t k = 0; kwnames && k < PyTuple_Size(kwnames); ++k) {
      collect(args[nargs + k], found);
      checked(PyDict_SetItem(keywords.get(), PyTuple_GetItem(kwnames, k), args[nargs + k]));
    }
    Object types = Object::steal(checked(PyTuple_New(found.size())));
    for (size_t i = 0; i < found.size(); ++i) {
      PyTuple_SetItem(types.get(), i, new_ref(reinterpret_cast<PyObject*>(Py_TYPE(found[i]))));
    }
    if ((modes.interpose & kFunctionModes) && function_mode) {
      Object result = Object::steal(checked(PyObject_CallFunctionObjArgs(
          function_mode, function, types.get(), tuple.get(), keywords.get(), nullptr)));
      if (result.get() != Py_NotImplemented) return result.leak();
    }
    for (PyObject* o : found) {
      Object f = override_of(o);
      Object result = Object::steal(checked(PyObject_CallFunctionObjArgs(
          f.get(), function, types.get(), tuple.get(), keywords.get(), nullptr)));
      if (result.get() != Py_NotImplemented) return result.leak();
    }
    Object name = Object::steal(PyObject_GetAttrString(function, "__name__"));
    if (!name) PyErr_Clear();
    fail(Error::Type, "no implementation found for '", name ? to_string(name.get()) : "function",
         "' on types that implement __torch_function__: ", to_string(types.get()));
  });
}

int init_overrides(PyObject* module) {
  attribute_name = PyUnicode_InternFromString("__torch_function__");
  if (!attribute_name || PyModule_AddFunctions(module, functions) < 0) return -1;
  no_override = PyObject_GetAttrString(module, "_disabled_torch_function_impl");
  return no_override &&
                 add_disabling<false>(module, "taimatsu.DisableTorchFunctionSubclass",
                                      "Inside, ops see Tensor subclasses as plain tensors.") &&
                 add_disabling<true>(module, "taimatsu.DisableTorchFunction",
                                     "Inside, ops see Tensor subclasses as plain tensors, and\n"
                                     "__torch_function__ modes are off.")
             ? 0
             : -1;
}

}  // namespace taimatsu
