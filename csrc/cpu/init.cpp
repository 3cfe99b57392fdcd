// What the module shows of the CPU's routines and libraries.
#include "cpu/deterministic.h"
#include "cpu/random.h"
#include "python/python.h"

namespace taimatsu {
namespace {

bool deterministic = false;

PyObject* set_deterministic(PyObject*, PyObject* mode) {
  return guard([&] {
    deterministic = to_bool(mode);
    return new_ref(Py_None);
  });
}
PyObject* get_deterministic(PyObject*, PyObject*) { return boolean(deterministic); }

PyMethodDef functions[] = {
    {"_set_deterministic_algorithms", set_deterministic, METH_O,
     "Whether results must not depend on the number of threads."},
    {"are_deterministic_algorithms_enabled", get_deterministic, METH_NOARGS,
     "are_deterministic_algorithms_enabled()\n--\n\nWhat use_deterministic_algorithms set."},
    {}};

}  // namespace

bool deterministic_algorithms() { return deterministic; }

int init_cpu(PyObject* module) {
  if (init_random(module) < 0 || PyModule_AddFunctions(module, functions) < 0) return -1;
  return guard(-1, [&] {
    checked(PyModule_AddObjectRef(module, "_has_mkldnn", TM_USE_MKLDNN ? Py_True : Py_False));
    checked(PyModule_AddObjectRef(module, "_sanitized", TM_SANITIZE ? Py_True : Py_False));
    return 0;
  });
}

}  // namespace taimatsu
