#include "cuda/library.h"

#include <dlfcn.h>

#include <tuple>

#include "cuda/bindings.h"
#include "plan/plan.h"

namespace taimatsu::cuda {

bool allow_tf32 = false;

bool open_library(const char* stem, std::initializer_list<Symbol> symbols) {
  static PyObject* slot = nullptr;
  PyObject* found = python_function(slot, "taimatsu.cuda._libraries", "found");
  Object path = Object::steal(checked(PyObject_CallFunction(found, "s", stem)));
  const std::string file = to_string(path.get());
  void* library = file.empty() ? nullptr : dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!library) return false;
  for (const Symbol& s : symbols) {
    *s.slot = dlsym(library, s.name);
    if (*s.slot) continue;
    const std::string why = concat(file, " has no function ", s.name,
                                   ": it is too old, and not used; update NVIDIA's packages");
    if (PyErr_WarnEx(PyExc_RuntimeWarning, why.c_str(), 1) < 0) python_error();
    return false;
  }
  return true;
}

void check_call(int status, const char* function) {
  if (status == 0) return;
  fail(Error::Runtime, "CUDA error: ", function, " returned status ", status,
       "; see its documentation, and CUDA_LAUNCH_BLOCKING=1 for what an earlier op did");
}

int data_type(DType t) {
  switch (t) {
    case DType::F32: return 0;
    case DType::F64: return 1;
    case DType::F16: return 2;
    case DType::I8: return 3;
    case DType::C64: return 4;
    case DType::C128: return 5;
    case DType::I32: return 10;
    case DType::BF16: return 14;
    case DType::F8E4M3: return 28;
    case DType::F8E5M2: return 29;
    default: return -1;
  }
}

namespace {
PyObject* py_set_allow_tf32(PyObject*, PyObject* args) {
  return call<int>(args, "p", [](int allowed) {
    if (allow_tf32 == (allowed != 0)) return;
    flush_pending();
    forget_plans();  // recordings hold what was chosen before
    allow_tf32 = allowed != 0;
  });
}
}  // namespace

PyMethodDef library_functions[] = {
    {"set_allow_tf32", py_set_allow_tf32, METH_VARARGS,
     "set_allow_tf32(allowed): whether float32 may be multiplied in TF32."},
    {},
};

}  // namespace taimatsu::cuda
