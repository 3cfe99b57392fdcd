// taimatsu._core._cuda: what taimatsu.cuda is written with.
#include "cuda/module.h"
#include "cuda/stream.h"
#include "python/python.h"

namespace taimatsu {
namespace {

using namespace cuda;

PyObject* py_device_count(PyObject*, PyObject*) { return PyLong_FromLong(device_count()); }

PyMethodDef functions[] = {
    {"device_count", py_device_count, METH_NOARGS, "device_count()\n--\n\nThe number of GPUs."},
    {},
};
PyModuleDef definition = {PyModuleDef_HEAD_INIT,
                          "taimatsu._core._cuda",
                          "CUDA's devices, streams, memory and graphs.",
                          -1,
                          functions,
                          nullptr,
                          nullptr,
                          nullptr,
                          nullptr};

}  // namespace

int init_cuda(PyObject* module) {
  return guard(-1, [&] {
    Object cuda = Object::steal(checked(PyModule_Create(&definition)));
    checked(PyModule_AddObjectRef(module, "_cuda", cuda.get()));
    return 0;
  });
}

}  // namespace taimatsu
