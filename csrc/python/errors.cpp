// C++ errors as Python exceptions.
#include "python/python.h"

namespace taimatsu {

static PyObject* out_of_memory_error;

static PyObject* exception_of(Error::Kind kind) {
  switch (kind) {
    case Error::Runtime: return PyExc_RuntimeError;
    case Error::Type: return PyExc_TypeError;
    case Error::Value: return PyExc_ValueError;
    case Error::Index: return PyExc_IndexError;
    case Error::NotImplemented: return PyExc_NotImplementedError;
    case Error::OutOfMemory: return out_of_memory_error;
    case Error::Overflow: return PyExc_OverflowError;
    case Error::Buffer: return PyExc_BufferError;
    case Error::Attribute: return PyExc_AttributeError;
    case Error::Assertion: return PyExc_AssertionError;
    case Error::Python: break;
  }
  return PyExc_SystemError;
}

void raise(const Error& e) {
  if (e.kind == Error::Python && PyErr_Occurred()) return;
  PyErr_SetString(exception_of(e.kind), e.message.c_str());
}

// In C++, since the interrupt would be raised, and lost again, in a hook that is Python code.
static PyObject* interrupt_again(PyObject*, PyObject* const* args, Py_ssize_t nargs) {
  return guard([&]() -> PyObject* {
    if (nargs != 2) fail(Error::Type, "interrupt_again: expected 2 arguments; got ", nargs);
    Object kind = Object::steal(checked(PyObject_GetAttrString(args[1], "exc_type")));
    if (PyErr_GivenExceptionMatches(kind.get(), PyExc_KeyboardInterrupt)) {
      PyErr_SetInterrupt();
      return new_ref(Py_None);
    }
    return checked(PyObject_CallFunctionObjArgs(args[0], args[1], nullptr));
  });
}

static PyMethodDef functions[] = {
    {"interrupt_again", method(interrupt_again), METH_FASTCALL,
     "interrupt_again(hook, unraisable)\n--\n\n"
     "A sys.unraisablehook after another `hook`: KeyboardInterrupt is raised again elsewhere."},
    {},
};

int init_errors(PyObject* module) {
  out_of_memory_error = PyErr_NewExceptionWithDoc(
      "taimatsu.OutOfMemoryError",
      "Raised when a device has no memory left for an allocation. Every tensor is as it was.",
      PyExc_RuntimeError, nullptr);
  if (!out_of_memory_error || PyModule_AddFunctions(module, functions) < 0) return -1;
  return PyModule_AddObjectRef(module, "OutOfMemoryError", out_of_memory_error);
}

}  // namespace taimatsu
