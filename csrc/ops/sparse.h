// Sparse tensors: of which only some elements are kept.
//
// To the core such a tensor is sizes, a dtype and a device, and a Python object that holds the
// dense tensors it is made of (its *parts*: indices and values; taimatsu/sparse). It has no
// elements of its own, so calls of ops with one go to Python, where they become calls with the
// parts. The tape knows the values alone: they answer what is asked about the history of a sparse
// tensor.
#pragma once

#include "ops/op.h"

namespace taimatsu {

// Whether there has ever been one: programs without them pay for looking at this flag alone.
extern bool any_sparse;

inline bool is_sparse(const Tensor& t) { return t.extra && t.extra->parts; }

// Whether a call is Python's: an argument or target is sparse, or a sparse layout is asked for.
bool takes_sparse(const Op& op, const Value* args, Tensor* const* into);
// The function of (entry, arguments, targets) that carries such calls out.
PyObject* sparse_calls();

// What a sparse tensor has in place of Tensor's getter or method of this name (borrowed); null
// where Tensor's own will do.
PyObject* sparse_member(const char* name);
PyObject* call_sparse_member(PyObject* member, PyObject* self, PyObject* const* args = nullptr,
                             Py_ssize_t nargs = 0, PyObject* kwnames = nullptr);
// The same where C++ asks.
Object ask_sparse(const char* name, const Tensor& t, PyObject* argument = nullptr);
TensorRef ask_sparse_tensor(const char* name, const Tensor& t, Tensor* argument = nullptr);

// NotImplementedError, where `what` needs memory.
void refuse_sparse(const Tensor& t, const char* what);

}  // namespace taimatsu
