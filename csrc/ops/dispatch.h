// `__torch_dispatch__`: classes of tensors, and modes, that carry out the ops themselves.
//
// They stand below the tape, where a kernel would be: what they give is the result that the tape
// records, and what they call is not recorded. Composites have fallen apart by then. Which mode or
// class is asked is Python's business (taimatsu/_dispatch.py).
#pragma once

#include "autograd/autograd.h"

namespace taimatsu {

// Whether there has ever been such a class: programs without one pay for looking at this flag.
extern bool any_dispatching;
extern thread_local int dispatch_off;  // depth of no_dispatch

bool class_dispatches(PyTypeObject* type);

// Whether the tensor's class is such a one: then it may have no elements of its own, and whatever
// is done to it has to be an op.
inline bool dispatches(const Tensor& t) {
  if (!any_dispatching || dispatch_off) return false;
  PyTypeObject* type = Py_TYPE(const_cast<PyObject*>(&t.ob_base));
  return type != TensorType && type != ParameterType && class_dispatches(type);
}

bool takes_dispatch(const Op& op, const Value* args, Tensor* const* into);
// Whether a call goes to a mode or to the class of one of its tensors.
inline bool dispatched(const Op& op, const Value* args, Tensor* const* into) {
  if (dispatch_off) return false;
  if (modes.interpose & kDispatchModes) return true;
  return any_dispatching && takes_dispatch(op, args, into);
}
// The function of (entry, arguments, targets) that carries such calls out.
PyObject* dispatcher();

// Whether `x.detach()` and `x.item()`, no ops of the table, are told to a mode or x's class.
TensorRef detach_dispatched(Tensor& t);
inline bool told_to_dispatch(const Tensor& t) {
  return ((modes.interpose & kDispatchModes) && !dispatch_off) || dispatches(t);
}
Object item_dispatched(const Tensor& t);
// A tensor with sizes, a dtype and a device, of which nobody can see elements.
TensorRef without_memory(const Layout* layout, DType dtype, Device d);

}  // namespace taimatsu
