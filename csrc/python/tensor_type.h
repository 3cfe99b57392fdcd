// What the files that make up the type Tensor share:
//   tensor_type.cpp       the type itself: making, freeing, garbage collection
//   tensor_number.cpp     operators
//   tensor_sequence.cpp   len, in, iteration
//   tensor_getters.cpp    attributes
//   tensor_methods.cpp    methods that are not ops of the table
//   indexing.cpp          x[...]
//   exchange.cpp          NumPy, buffers, DLPack
#pragma once

#include "autograd/autograd.h"
#include "ops/dispatch.h"
#include "ops/launch.h"
#include "ops/replay.h"
#include "ops/sparse.h"
#include "python/python.h"

namespace taimatsu {

// Tensors whose type can't override ops: nearly all.
inline bool is_plain_tensor(PyObject* o) {
  return Py_TYPE(o) == TensorType || Py_TYPE(o) == ParameterType;
}

// Whether what is asked of `self` goes to Python: its class overrides, or a mode is on.
inline bool overridden(PyObject* self) {
  return (modes.interpose & kFunctionModes) || (!is_plain_tensor(self) && has_torch_function(self));
}
// Tells the override that Tensor's method, or getter, of this name was called.
PyObject* call_override(const char* method, PyObject* self, PyObject* const* args = nullptr,
                        Py_ssize_t nargs = 0, PyObject* kwnames = nullptr);
PyObject* call_getter_override(const char* getter, PyObject* self);

constexpr int kMaxOperatorArgs = 4;  // of the ops that stand behind operators and attributes

inline void fill_defaults(Op& op, Value* v, size_t given) {
  if (op.schema.params.size() > kMaxOperatorArgs) {
    fail(Error::Runtime, op.name, ": too many params to stand behind an operator");
  }
  for (size_t i = given; i < op.schema.params.size(); ++i) v[i] = op.schema.params[i].default_value;
}

// Calls an op on `given` values (room for kMaxOperatorArgs); the rest are defaults.
inline PyObject* call_op(CoreOp& name, Value* v, size_t given) {
  Op& op = name.get();
  fill_defaults(op, v, given);
  Tensors outs;
  call(op, v, outs);
  if (outs.size() == 1 && !outs.is_list && !outs.other) return tensor_object(std::move(outs[0]));
  return wrap_outputs(op, outs);
}

// The in-place form on v[0], which is returned.
inline PyObject* call_op_inplace(CoreOp& name, Value* v, size_t given) {
  Op& op = name.get();
  fill_defaults(op, v, given);
  Tensors outs;
  Tensor* self = v[0].tensor;
  call(op, v, outs, op.pure ? &self : nullptr);
  return new_ref(self->object());
}

bool is_numpy_array(PyObject* o);  // false without importing NumPy
bool is_numpy_scalar(PyObject* o);

// A new tensor of the same memory and no history; its type is exactly Tensor.
inline TensorRef detached(const Tensor& t) {
  if (is_sparse(t)) return ask_sparse_tensor("detach", t);
  if (dispatches(t)) return detach_dispatched(const_cast<Tensor&>(t));
  TensorRef d = alias(t, t.layout);
  d->inference = t.inference;
  return d;
}

// The flag of a leaf, with all that forbids it.
void set_requires_grad(Tensor& t, bool required);
// Gives `t` other memory; its identity, history and flags stay.
void set_contents(Tensor& t, Storage* storage, const Layout* layout, DType dtype);

const std::vector<PyType_Slot>& number_slots();
const std::vector<PyType_Slot>& sequence_slots();
const std::vector<PyType_Slot>& indexing_slots();
const std::vector<PyType_Slot>& exchange_slots();
extern PyGetSetDef tensor_getters[];
extern PyMethodDef number_methods[];
extern PyMethodDef sequence_methods[];
extern PyMethodDef exchange_methods[];
extern PyMethodDef tensor_methods[];

}  // namespace taimatsu
