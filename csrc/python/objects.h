// Between C++ values and the Python objects that stand for them.
#pragma once

#include "ops/value.h"

namespace taimatsu {

// False if `o` is something else; no Python error is left behind.
bool dtype_of(PyObject* o, DType& out);    // torch.dtype; also float, int, bool, complex types
bool device_of(PyObject* o, Device& out);  // torch.device, str, int (a CUDA index)
bool memory_format_of(PyObject* o, MemoryFormat& out);
bool layout_of(PyObject* o, const char*& name);  // "strided" and others
PyObject* strided_object();                      // borrowed: taimatsu.strided
inline bool is_strided(PyObject* layout) { return layout == strided_object(); }

PyObject* dtype_object(DType t);    // borrowed: singletons
PyObject* device_object(Device d);  // new references from here on
PyObject* memory_format_object(MemoryFormat f);
PyObject* size_object(Ints sizes);  // taimatsu.Size
PyObject* number_object(const Number& n);
inline PyObject* tensor_object(TensorRef t) { return reinterpret_cast<PyObject*>(t.leak()); }

// The only element of a one-element tensor (waits for the device).
Number read_item(const Tensor& t);
inline bool requires_grad_flag(const Tensor& t) { return t.requires_grad || t.node; }

// The type of `o` (neither Tensor nor Parameter) has a __torch_function__ that is not disabled.
bool has_torch_function(PyObject* o);
void overrides_nothing(PyTypeObject* type);  // a type of ours, which lives as long as the module
// Calls the override of the arguments' types, by PyTorch's rules: a new reference, or null with an
// error set. `function` is the public callable.
PyObject* call_torch_function(PyObject* function, PyObject* self, PyObject* const* args,
                              Py_ssize_t nargs, PyObject* kwnames);

Device default_device();  // of tensors made without `device=`, in this thread

// Adds methods to a type made by PyType_FromSpec; `defs` ends with an empty entry and lives on.
void add_methods(PyTypeObject* type, PyMethodDef* defs);
void add_getters(PyTypeObject* type, PyGetSetDef* defs);

// Each part of csrc/python and the layers below exports one of these; 0, or -1 with an error set.
int init_dtypes(PyObject* module);
int init_storage_type(PyObject* module);
int init_tensor_type(PyObject* module);
int init_creation(PyObject* module);
int init_modes(PyObject* module);
int init_ops(PyObject* module);       // csrc/ops/function.cpp
int init_sparse(PyObject* module);    // csrc/ops/sparse.cpp
int init_dispatch(PyObject* module);  // csrc/ops/dispatch.cpp
int init_plan(PyObject* module);      // csrc/plan
int init_autograd(PyObject* module);  // csrc/autograd
int init_cpu(PyObject* module);       // csrc/cpu: Generator, thread settings of libraries
int init_cuda(PyObject* module);      // csrc/cuda/bindings.cpp, in builds with USE_CUDA

}  // namespace taimatsu
