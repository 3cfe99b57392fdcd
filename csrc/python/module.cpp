// The module taimatsu._core.
#include "python/python.h"

using namespace taimatsu;

namespace {

// In this order: Tensor's attributes give dtypes and devices, the tape adds methods to Tensor.
constexpr int (*kParts[])(PyObject*) = {
    init_errors,      init_overrides,  init_dtypes, init_devices,  init_storage_type,
    init_tensor_type, init_exchange,   init_dlpack, init_creation, init_modes,
    init_cpu,         init_autograd,   init_ops,    init_plan,     init_sparse,
    init_dispatch,    init_extensions,
#if TM_USE_CUDA
    init_cuda,
#endif
};

PyModuleDef definition = {PyModuleDef_HEAD_INIT,
                          "taimatsu._core",
                          "The native core: tensors, op calls, the tape.",
                          -1,
                          nullptr,
                          nullptr,
                          nullptr,
                          nullptr,
                          nullptr};

}  // namespace

PyMODINIT_FUNC PyInit__core() {
  PyObject* module = PyModule_Create(&definition);
  if (!module) return nullptr;
  for (auto init : kParts) {
    if (init(module) < 0) {
      Py_DECREF(module);
      return nullptr;
    }
  }
  return module;
}
