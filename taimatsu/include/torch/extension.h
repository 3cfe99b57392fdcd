// Taimatsu's C++ interface in PyTorch's spelling: headers over the C interface of
// taimatsu/taimatsu.h, so that no C++ ABI crosses the border to the framework.
//
//   torch::Tensor twice(torch::Tensor x) { return x * 2; }
//   PYBIND11_MODULE(TORCH_EXTENSION_NAME, m) { m.def("twice", &twice, "2 x"); }
//
// A function that is missing here is called by its Python name: at::call("linalg.inv", {x}).
#pragma once

#ifdef TM_PYTHON_MODULE
#define Py_LIMITED_API 0x030b0000
#include <Python.h>
#endif

#include "../taimatsu/cpp/bind.h"

namespace torch {
using namespace at;
using c10::nullopt;
using std::optional;
}  // namespace torch
