// What the module shows of the CPU's routines and libraries.
#include "cpu/deterministic.h"
#include "cpu/random.h"
#include "python/python.h"

namespace taimatsu {
namespace {

bool deterministic = false;

PyObject* set_deterministic(PyObject*, PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames) {
  static const Signature signature{"use_deterministic_algorithms", {"mode", "warn_only"}, 1, 1};
  return guard([&] {
    PyObject* v[2];
    signature.unpack(args, nargs, kwnames, v);
    if (!PyBool_Check(v[0])) {
      fail(Error::Type, "use_deterministic_algorithms(): argument 'mode' must be bool, not ",
           type_name(v[0]));
    }
    deterministic = v[0] == Py_True;
    return new_ref(Py_None);
  });
}
PyObject* get_deterministic(PyObject*, PyObject*) { return boolean(deterministic); }

PyMethodDef functions[] = {
    {"use_deterministic_algorithms", method(set_deterministic), METH_FASTCALL | METH_KEYWORDS,
     "use_deterministic_algorithms(mode, *, warn_only=False)\n--\n\n"
     "Whether results must not depend on the number of threads, at the cost of speed.\n\n"
     "Most ops promise that anyway; docs/reproducibility lists those for which this changes\n"
     "something. Every op has a path that can, so there is nothing to warn of: `warn_only` is\n"
     "taken because PyTorch has it."},
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
