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

int init_errors(PyObject* module) {
  out_of_memory_error = PyErr_NewExceptionWithDoc(
      "taimatsu.OutOfMemoryError",
      "Raised when a device has no memory left for an allocation. Every tensor is as it was.",
      PyExc_RuntimeError, nullptr);
  return out_of_memory_error
             ? PyModule_AddObjectRef(module, "OutOfMemoryError", out_of_memory_error)
             : -1;
}

}  // namespace taimatsu
