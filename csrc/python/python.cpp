// Making types, taking arguments.
#include "python/python.h"
#include "python/tensor_type.h"

#include <cxxabi.h>
#include <unistd.h>

#include <algorithm>

namespace taimatsu {

PyTypeObject* add_type(PyObject* module, PyType_Spec& spec, PyObject* bases) {
  PyObject* type = PyType_FromModuleAndSpec(module, &spec, bases);
  if (!type) return nullptr;
  const char* dot = std::strrchr(spec.name, '.');
  if (PyModule_AddObjectRef(module, dot ? dot + 1 : spec.name, type) < 0) Py_CLEAR(type);
  return reinterpret_cast<PyTypeObject*>(type);
}

void add_methods(PyTypeObject* type, PyMethodDef* defs) {
  auto* object = reinterpret_cast<PyObject*>(type);
  for (PyMethodDef* d = defs; d->ml_name; ++d) {
    Object method = Object::steal(d->ml_flags & METH_CLASS ? PyDescr_NewClassMethod(type, d)
                                                           : PyDescr_NewMethod(type, d));
    checked(PyObject_SetAttrString(object, d->ml_name, checked(method.get())));
  }
}

void add_getters(PyTypeObject* type, PyGetSetDef* defs) {
  for (PyGetSetDef* d = defs; d->name; ++d) {
    Object getter = Object::steal(checked(PyDescr_NewGetSet(type, d)));
    checked(PyObject_SetAttrString(reinterpret_cast<PyObject*>(type), d->name, getter.get()));
  }
}

int Signature::keyword(PyObject* name) const {
  for (size_t i = 0; i < names.size(); ++i) {
    if (PyUnicode_CompareWithASCIIString(name, names[i]) == 0) return static_cast<int>(i);
  }
  fail(Error::Type, function, "() got an unexpected keyword argument '", to_string(name), "'");
}

void Signature::check_positional(Py_ssize_t n) const {
  if (n <= positional) return;
  fail(Error::Type, function, "() takes ", positional, " positional argument",
       positional == 1 ? "" : "s", " but ", n, n == 1 ? " was" : " were", " given");
}

void Signature::check(PyObject* const* out) const {
  for (int i = 0; i < required; ++i) {
    if (!out[i]) fail(Error::Type, function, "() missing required argument '", names[i], "'");
  }
}

void Signature::unpack(PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames,
                       PyObject** out) const {
  check_positional(nargs);
  std::fill(out, out + names.size(), nullptr);
  std::copy(args, args + nargs, out);
  Py_ssize_t keywords = kwnames ? PyTuple_Size(kwnames) : 0;
  for (Py_ssize_t k = 0; k < keywords; ++k) {
    PyObject*& slot = out[keyword(PyTuple_GetItem(kwnames, k))];
    if (slot) {
      fail(Error::Type, function, "() got multiple values for argument '",
           to_string(PyTuple_GetItem(kwnames, k)), "'");
    }
    slot = args[nargs + k];
  }
  check(out);
}

void Signature::unpack(PyObject* tuple, PyObject* dict, PyObject** out) const {
  std::vector<PyObject*> args;
  Py_ssize_t nargs = PyTuple_Size(tuple);
  for (Py_ssize_t i = 0; i < nargs; ++i) args.push_back(PyTuple_GetItem(tuple, i));
  Object kwnames;
  if (dict && PyDict_Size(dict) > 0) {
    Object keys = Object::steal(checked(PyDict_Keys(dict)));
    kwnames = Object::steal(checked(PyList_AsTuple(keys.get())));
    PyObject *key, *value;
    for (Py_ssize_t at = 0; PyDict_Next(dict, &at, &key, &value);) args.push_back(value);
  }
  unpack(args.data(), nargs, kwnames.get(), out);
}

int64_t to_index(PyObject* o) {
  if (PyLong_CheckExact(o)) {
    int64_t i = PyLong_AsLongLong(o);
    if (i == -1 && PyErr_Occurred()) python_error();
    return i;
  }
  Object index = Object::steal(checked(PyNumber_Index(o)));
  int64_t i = PyLong_AsLongLong(index.get());
  if (i == -1 && PyErr_Occurred()) python_error();
  return i;
}

bool to_bool(PyObject* o) {
  int truth = PyObject_IsTrue(o);
  checked(truth);
  return truth;
}

bool to_flag(PyObject* o, const char* name) {
  const bool numpy = !PyBool_Check(o) && is_numpy_scalar(o);
  if (!PyBool_Check(o) && !(numpy && std::string(type_name(o)).substr(0, 4) == "bool")) {
    fail(Error::Type, "argument '", name, "' must be bool, not ", type_name(o));
  }
  return to_bool(o);
}

std::string to_string(PyObject* o) {
  Object text = Object::steal(checked(PyObject_Str(o)));
  Py_ssize_t size;
  const char* data = PyUnicode_AsUTF8AndSize(text.get(), &size);
  if (!data) python_error();
  return {data, static_cast<size_t>(size)};
}

std::string type_name(PyObject* o) {
  auto* type = reinterpret_cast<PyObject*>(Py_TYPE(o));
  Object name = Object::steal(checked(PyObject_GetAttrString(type, "__name__")));
  return to_string(name.get());
}

std::vector<int64_t> to_ints(PyObject* o, const char* what) {
  std::vector<int64_t> ints;
  if (PyIndex_Check(o) && !PySequence_Check(o)) return {to_index(o)};
  if (!PyTuple_Check(o) && !PyList_Check(o)) {
    fail(Error::Type, what, " must be a tuple of ints; got ", type_name(o));
  }
  Py_ssize_t n = PySequence_Size(o);
  for (Py_ssize_t i = 0; i < n; ++i) {
    Object item = Object::steal(checked(PySequence_GetItem(o, i)));
    if (!PyIndex_Check(item.get())) {
      fail(Error::Type, what, " must be a tuple of ints; got ", type_name(item.get()),
           " at position ", i);
    }
    ints.push_back(to_index(item.get()));
  }
  return ints;
}

PyObject* ints_tuple(Ints ints) {
  Object tuple = Object::steal(checked(PyTuple_New(ints.size)));
  for (int64_t i = 0; i < ints.size; ++i) {
    checked(PyTuple_SetItem(tuple.get(), i, checked(PyLong_FromLongLong(ints[i]))));
  }
  return tuple.leak();
}

PyObject* python_function(PyObject*& slot, const char* module, const char* name) {
  if (!slot) {
    Object m = Object::steal(checked(PyImport_ImportModule(module)));
    slot = checked(PyObject_GetAttrString(m.get(), name));
  }
  return slot;
}

void restore_gil(PyThreadState* state) {
  try {
    PyEval_RestoreThread(state);
  } catch (abi::__forced_unwind&) {
    for (;;) pause();
  }
}

}  // namespace taimatsu
