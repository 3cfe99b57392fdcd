// Settings of the calling thread and of the process: grad modes, default dtype, threads; and the
// rules of type promotion as functions.
#include <algorithm>
#include <limits>

#include "cpu/threads.h"
#include "python/tensor_type.h"

namespace taimatsu {

namespace {

// ---- Grad modes ---------------------------------------------------------------------------------
// Context managers that are decorators too. They cost one allocation and two assignments.
struct Mode {
  PyObject ob_base;
  bool value;            // what it sets
  bool grad, inference;  // what was before
};
Mode& mode_of(PyObject* o) { return *reinterpret_cast<Mode*>(o); }

enum class ModeKind { NoGrad, EnableGrad, SetGradEnabled, Inference };

template <ModeKind kind>
void enter_mode(Mode& m) {
  m.grad = modes.grad;
  m.inference = modes.inference;
  switch (kind) {
    case ModeKind::NoGrad: modes.grad = false; break;
    case ModeKind::EnableGrad: modes.grad = true; break;
    case ModeKind::SetGradEnabled: modes.grad = m.value; break;
    case ModeKind::Inference:
      modes.inference = m.value;
      if (m.value) modes.grad = false;
      break;
  }
}
void leave_mode(Mode& m) {
  modes.grad = m.grad;
  modes.inference = m.inference;
}

// A decorated function or generator function enters the mode on every call.
PyObject* decorated(PyObject* mode, PyObject* function) {
  static PyObject* decorate = nullptr;
  python_function(decorate, "taimatsu.autograd.grad_mode", "decorate");
  return checked(PyObject_CallFunctionObjArgs(decorate, mode, function, nullptr));
}

template <ModeKind kind>
PyObject* mode_new(PyTypeObject* type, PyObject* args, PyObject* kwargs) {
  return guard([&] {
    constexpr bool takes_value = kind >= ModeKind::SetGradEnabled;
    static const Signature signature =
        kind == ModeKind::SetGradEnabled ? Signature{"set_grad_enabled", {"mode"}, 1, 1}
        : kind == ModeKind::Inference    ? Signature{"inference_mode", {"mode"}, 1, 0}
        : kind == ModeKind::NoGrad       ? Signature{"no_grad", {"orig_func"}, 1, 0}
                                         : Signature{"enable_grad", {"orig_func"}, 1, 0};
    PyObject* argument = nullptr;
    if (PyTuple_Size(args) || kwargs) signature.unpack(args, kwargs, &argument);
    Object mode = Object::steal(checked(PyType_GenericAlloc(type, 0)));
    Mode& m = mode_of(mode.get());
    const bool function = argument && !PyBool_Check(argument) && PyCallable_Check(argument);
    m.value = takes_value && argument && !function ? to_flag(argument, "mode") : true;
    m.grad = modes.grad;
    m.inference = modes.inference;
    if (function && kind != ModeKind::SetGradEnabled) {  // @no_grad without parentheses
      return decorated(mode.get(), argument);
    }
    if (kind == ModeKind::SetGradEnabled) enter_mode<kind>(m);  // from here on, also without `with`
    return mode.leak();
  });
}

template <ModeKind kind>
PyObject* mode_enter(PyObject* self, PyObject*) {
  // set_grad_enabled took effect when it was made, and remembers what was before that.
  if (kind != ModeKind::SetGradEnabled) enter_mode<kind>(mode_of(self));
  Py_RETURN_NONE;
}
PyObject* mode_exit(PyObject* self, PyObject* const*, Py_ssize_t) {
  leave_mode(mode_of(self));
  Py_RETURN_NONE;
}

template <ModeKind kind>
PyObject* mode_call(PyObject* self, PyObject* args, PyObject* kwargs) {
  return guard([&] {
    static const Signature signature{"decorator", {"function"}, 1, 1};
    PyObject* function;
    signature.unpack(args, kwargs, &function);
    if (kind == ModeKind::SetGradEnabled) leave_mode(mode_of(self));  // only inside the function
    return decorated(self, function);
  });
}

// A fresh one with the same setting: a decorated function may call itself.
template <ModeKind kind>
PyObject* mode_clone(PyObject* self, PyObject*) {
  PyObject* copy = PyType_GenericAlloc(Py_TYPE(self), 0);
  if (!copy) return nullptr;
  mode_of(copy).value = mode_of(self).value;
  if (kind == ModeKind::SetGradEnabled) enter_mode<kind>(mode_of(copy));
  return copy;
}

template <ModeKind kind>
int add_mode(PyObject* module, const char* name, const char* doc) {
  static PyMethodDef methods[] = {
      {"__enter__", mode_enter<kind>, METH_NOARGS, nullptr},
      {"__exit__", method(mode_exit), METH_FASTCALL, nullptr},
      {"clone", mode_clone<kind>, METH_NOARGS, "clone()\n--\n\nA new one with the same setting."},
      {},
  };
  PyType_Slot slots[] = {
      {Py_tp_doc, const_cast<char*>(doc)},
      {Py_tp_new, slot(mode_new<kind>)},
      {Py_tp_call, slot(mode_call<kind>)},
      {Py_tp_methods, methods},
      {0, nullptr},
  };
  PyType_Spec spec = {name, sizeof(Mode), 0, Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE, slots};
  return add_type(module, spec) ? 0 : -1;
}

PyObject* is_grad_enabled(PyObject*, PyObject*) { return boolean(modes.grad); }
PyObject* is_inference_mode_enabled(PyObject*, PyObject*) { return boolean(modes.inference); }

// ---- Default dtype ------------------------------------------------------------------------------

DType dtype_argument(PyObject* o, const char* function) {
  DType t;
  if (!dtype_of(o, t)) {
    fail(Error::Type, function, "(): argument must be torch.dtype, not ", type_name(o));
  }
  return t;
}

PyObject* get_default_dtype(PyObject*, PyObject*) { return new_ref(dtype_object(default_dtype())); }
PyObject* py_set_default_dtype(PyObject*, PyObject* dtype) {
  return guard([&] {
    DType t = dtype_argument(dtype, "set_default_dtype");
    set_default_dtype(t);
    return new_ref(Py_None);
  });
}

// ---- Promotion ----------------------------------------------------------------------------------

// Its overloads have two parameters each: (tensor, other), (scalar, tensor), (scalar1, scalar2).
PyObject* result_type(PyObject*, PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames) {
  return guard([&] {
    static const char* const names[] = {"tensor", "other", "scalar", "scalar1", "scalar2"};
    const Py_ssize_t given = nargs + (kwnames ? PyTuple_Size(kwnames) : 0);
    for (Py_ssize_t k = nargs; k < given; ++k) {
      const std::string name = to_string(PyTuple_GetItem(kwnames, k - nargs));
      if (std::find(std::begin(names), std::end(names), name) == std::end(names)) {
        fail(Error::Type, "result_type() got an unexpected keyword argument '", name, "'");
      }
    }
    if (given != 2) fail(Error::Type, "result_type() takes 2 arguments; got ", given);
    Promotion p;
    for (Py_ssize_t i = 0; i < given; ++i) {
      Number n;
      if (is_tensor(args[i])) {
        p.tensor(as_tensor(args[i])->dtype, as_tensor(args[i])->ndim() == 0);
      } else if (number_of(args[i], n)) {
        p.number(n);
      } else {
        fail(Error::Type, "result_type(): arguments must be tensors or numbers; got ",
             type_name(args[i]));
      }
    }
    return new_ref(dtype_object(p.result()));
  });
}

PyObject* promote_types(PyObject*, PyObject* const* args, Py_ssize_t nargs) {
  return guard([&] {
    if (nargs != 2) fail(Error::Type, "promote_types() takes 2 dtypes; got ", nargs);
    return new_ref(dtype_object(promote(dtype_argument(args[0], "promote_types"),
                                        dtype_argument(args[1], "promote_types"))));
  });
}

PyObject* py_can_cast(PyObject*, PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames) {
  static const Signature signature{"can_cast", {"from_", "to"}, 2, 2};
  return guard([&] {
    PyObject* v[2];
    signature.unpack(args, nargs, kwnames, v);
    return boolean(can_cast(dtype_argument(v[0], "can_cast"), dtype_argument(v[1], "can_cast")));
  });
}

// ---- Threads ------------------------------------------------------------------------------------

PyObject* get_num_threads(PyObject*, PyObject*) { return PyLong_FromLong(num_threads()); }
PyObject* py_set_num_threads(PyObject*, PyObject* n) {
  return guard([&] {
    if (!PyLong_Check(n) || PyBool_Check(n)) {
      fail(Error::Type, "set_num_threads expects an int, but got ", type_name(n));
    }
    constexpr int64_t low = 0, high = std::numeric_limits<int>::max();
    set_num_threads(static_cast<int>(std::clamp(to_index(n), low, high)));
    return new_ref(Py_None);
  });
}

PyObject* py_set_flush_denormal(PyObject*, PyObject* on) {
  return guard([&] {
    if (!PyBool_Check(on)) {
      fail(Error::Type, "set_flush_denormal expects a bool, but got ", type_name(on));
    }
    return boolean(set_flush_denormal(on == Py_True));
  });
}

PyMethodDef functions[] = {
    {"is_grad_enabled", is_grad_enabled, METH_NOARGS,
     "is_grad_enabled()\n--\n\nWhether ops on this thread are recorded."},
    {"is_inference_mode_enabled", is_inference_mode_enabled, METH_NOARGS,
     "is_inference_mode_enabled()\n--\n\nWhether inference mode is on in this thread."},
    {"get_default_dtype", get_default_dtype, METH_NOARGS,
     "get_default_dtype()\n--\n\nThe dtype that Python floats become."},
    {"set_default_dtype", py_set_default_dtype, METH_O,
     "set_default_dtype(d)\n--\n\nSet the dtype that Python floats become, a floating one.\n"
     "TypeError otherwise."},
    {"result_type", method(result_type), METH_FASTCALL | METH_KEYWORDS,
     "result_type(tensor, other)\n--\n\nThe dtype of arithmetic between tensors or numbers."},
    {"promote_types", method(promote_types), METH_FASTCALL,
     "promote_types(type1, type2)\n--\n\nThe smallest dtype that both can be converted to.\n\n"
     ">>> torch.promote_types(torch.int32, torch.float16)\ntorch.float16"},
    {"can_cast", method(py_can_cast), METH_FASTCALL | METH_KEYWORDS,
     "can_cast(from_, to)\n--\n\nWhether a result of one dtype may be stored in the other."},
    {"get_num_threads", get_num_threads, METH_NOARGS,
     "get_num_threads()\n--\n\nHow many threads one op may use."},
    {"set_num_threads", py_set_num_threads, METH_O,
     "set_num_threads(n)\n--\n\nSet how many threads one op may use. Results don't depend on it."},
    {"set_flush_denormal", py_set_flush_denormal, METH_O,
     "set_flush_denormal(mode)\n--\n\n"
     "Whether numbers too small for full precision count as 0 in this thread's ops.\n"
     "False where the processor can't. TypeError for what is no bool."},
    {},
};

}  // namespace

int init_modes(PyObject* module) {
  if (add_mode<ModeKind::NoGrad>(
          module, "taimatsu.no_grad",
          "no_grad()\n--\n\nInside, ops are not recorded: results require no\n"
          "grad. A context manager and a decorator; per thread.") < 0 ||
      add_mode<ModeKind::EnableGrad>(
          module, "taimatsu.enable_grad",
          "enable_grad()\n--\n\nInside, ops are recorded, within no_grad\n"
          "too. A context manager and a decorator; per thread.") < 0 ||
      add_mode<ModeKind::SetGradEnabled>(
          module, "taimatsu.set_grad_enabled",
          "set_grad_enabled(mode)\n--\n\nWhether ops are recorded, from the call on; as a context\n"
          "manager until its end, as a decorator in the function.") < 0 ||
      add_mode<ModeKind::Inference>(
          module, "taimatsu.inference_mode",
          "inference_mode(mode=True)\n--\n\nLike no_grad, and tensors made inside can never take\n"
          "part in recorded ops.") < 0) {
    return -1;
  }
  return PyModule_AddFunctions(module, functions);
}

}  // namespace taimatsu
