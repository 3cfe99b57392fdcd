// len(t), x in t, iteration.
#include "python/tensor_type.h"

namespace taimatsu {

namespace {

Py_ssize_t length(PyObject* self) {
  if (overridden(self)) {
    Object n = Object::steal(call_override("__len__", self));
    return n ? PyLong_AsSsize_t(n.get()) : -1;
  }
  const Tensor& t = *as_tensor(self);
  if (t.ndim() == 0) {
    PyErr_SetString(PyExc_TypeError, "len() of a 0-d tensor");
    return -1;
  }
  return static_cast<Py_ssize_t>(t.layout->size(0));
}

// Programs mutate what they iterate over (`for row in x: row.zero_()`): the items are views.
PyObject* iterator(PyObject* self) {
  return guard([&] {
    if (as_tensor(self)->ndim() == 0) fail(Error::Type, "iteration over a 0-d tensor");
    static CoreOp unbind{"unbind"};
    Value v[kMaxOperatorArgs] = {Value(as_tensor(self)), Value::of_int(0)};
    Object views =
        Object::steal(is_plain_tensor(self) ? call_op(unbind, v, 2)
                                            : PyObject_CallMethod(self, "unbind", "i", 0));
    checked(views.get());
    return checked(PyObject_GetIter(views.get()));
  });
}

int contains(PyObject* self, PyObject* element) {
  return guard(-1, [&] {
    Number n;
    if (!is_tensor(element) && !number_of(element, n)) {
      fail(Error::Runtime,
           "Tensor.__contains__ only supports Tensor or scalar, but you passed in a ",
           to_string(reinterpret_cast<PyObject*>(Py_TYPE(element))), ".");
    }
    Object equal = Object::steal(checked(PyObject_RichCompare(self, element, Py_EQ)));
    Object any = Object::steal(checked(PyObject_CallMethod(equal.get(), "any", nullptr)));
    return to_bool(any.get()) ? 1 : 0;
  });
}

}  // namespace

const std::vector<PyType_Slot>& sequence_slots() {
  static const std::vector<PyType_Slot> slots = {
      {Py_mp_length, slot(length)},
      {Py_sq_contains, slot(contains)},
      {Py_tp_iter, slot(iterator)},
  };
  return slots;
}

}  // namespace taimatsu
