// x[key] and x[key] = value.
//
// Keys of ints, slices, None and Ellipsis are one view, computed here as one layout and recorded as
// the view op `_basic_index`. Everything else (tensors, lists, masks, arrays, bools) goes to
// taimatsu/ops/indexing.py, which splits it into a view and an indexed op.
#include "python/tensor_type.h"

namespace taimatsu {

namespace {

CoreOp kBasicIndex{"_basic_index"};

// ---- The view -----------------------------------------------------------------------------------
class View {
 public:
  View(const Layout& from, int consumed) : from_(from), consumed_(consumed), offset_(from.offset) {}

  void apply(PyObject* index) {
    if (PyLong_CheckExact(index)) {
      select(PyLong_AsSsize_t(index));
    } else if (Py_TYPE(index) == &PySlice_Type) {
      slice(index);
    } else if (index == Py_None) {
      push(1, at_ < from_.ndim ? wrapping_mul(from_.size(at_), from_.stride(at_)) : 1);
    } else if (index == Py_Ellipsis) {
      for (int rest = from_.ndim - consumed_; rest > 0; --rest) keep();
      consumed_ = from_.ndim;  // a second one stands for no dims
    } else {
      select(PyNumber_AsSsize_t(index, PyExc_IndexError));
    }
  }

  LayoutRef finish() {
    while (at_ < from_.ndim) keep();
    return intern({sizes_, ndim_}, {strides_, ndim_}, offset_);
  }

 private:
  void push(int64_t size, int64_t stride) {
    if (ndim_ == kMaxDims) fail(Error::Index, "a tensor has at most ", kMaxDims, " dims");
    sizes_[ndim_] = size;
    strides_[ndim_++] = stride;
  }
  void keep() {
    push(from_.size(at_), from_.stride(at_));
    ++at_;
  }
  void advance(int64_t steps) {
    offset_ = wrapping_add(offset_, wrapping_mul(steps, from_.stride(at_)));
  }
  void select(Py_ssize_t i) {
    if (i == -1 && PyErr_Occurred()) python_error();
    const int64_t size = from_.size(at_);
    if (i < -size || i >= size) {
      fail(Error::Index, "index ", i, " is out of bounds for dimension ", at_, " with size ", size);
    }
    advance(i < 0 ? i + size : i);
    ++at_;
  }
  void slice(PyObject* index) {
    Py_ssize_t start, stop, step;
    checked(PySlice_Unpack(index, &start, &stop, &step));
    if (step <= 0) fail(Error::Value, "step must be greater than zero");
    const Py_ssize_t n = PySlice_AdjustIndices(from_.size(at_), &start, &stop, step);
    advance(start);
    push(n, wrapping_mul(from_.stride(at_), step));
    ++at_;
  }

  const Layout& from_;
  int consumed_;  // dims that the key names without its Ellipsis
  int at_ = 0;    // the next dim of `from_`
  int64_t offset_;
  int ndim_ = 0;
  int64_t sizes_[kMaxDims], strides_[kMaxDims];
};

bool consumes(PyObject* index) { return index != Py_None && index != Py_Ellipsis; }

void check_dims(const Layout& l, int consumed, PyObject* key) {
  if (consumed <= l.ndim) return;
  if (l.ndim == 0 && Py_TYPE(key) == &PySlice_Type) {
    fail(Error::Index, "slice() cannot be applied to a 0-dim tensor.");
  }
  if (l.ndim == 0 && !PyTuple_Check(key)) {
    fail(Error::Index,
         "invalid index of a 0-dim tensor. Use `tensor.item()` in Python to convert a "
         "0-dim tensor to a number");
  }
  fail(Error::Index, "too many indices for tensor of dimension ", l.ndim);
}

LayoutRef basic_layout(const Tensor& t, const Value* args) {
  const Layout& from = *t.layout;
  PyObject* key = args[1].object;
  if (!PyTuple_Check(key)) {
    check_dims(from, consumes(key), key);
    View view(from, consumes(key));
    view.apply(key);
    return view.finish();
  }
  const Py_ssize_t n = PyTuple_Size(key);
  int consumed = 0;
  for (Py_ssize_t i = 0; i < n; ++i) consumed += consumes(PyTuple_GetItem(key, i));
  check_dims(from, consumed, key);
  View view(from, consumed);
  for (Py_ssize_t i = 0; i < n; ++i) view.apply(PyTuple_GetItem(key, i));
  return view.finish();
}

TM_VIEW("_basic_index", {basic_layout, nullptr, ViewRoutine::Embed, nullptr});

// ---- Which keys are views
// -------------------------------------------------------------------------
enum class Key {
  Basic,
  Numbers,  // basic once its 0-dim integer tensors and arrays are ints
  Advanced,
};

Key classify_array(PyObject* array) {  // a 0-dim one of integers is a number
  if (PyObject_Size(array) >= 0) return Key::Advanced;
  PyErr_Clear();
  Object number = Object::steal(PyNumber_Index(array));
  PyErr_Clear();
  return number ? Key::Numbers : Key::Advanced;
}

Key classify_item(PyObject* index) {
  if (PyLong_CheckExact(index) || Py_TYPE(index) == &PySlice_Type || index == Py_None ||
      index == Py_Ellipsis) {
    return Key::Basic;
  }
  if (PyBool_Check(index)) return Key::Advanced;
  if (PyLong_Check(index)) return Key::Basic;
  if (is_tensor(index)) {
    const Tensor& t = *as_tensor(index);
    const bool number = t.ndim() == 0 && is_integral(t.dtype) && t.dtype != DType::U8;
    return number ? Key::Numbers : Key::Advanced;
  }
  if (is_numpy_array(index)) return classify_array(index);
  if (is_numpy_scalar(index) && PyIndex_Check(index)) return Key::Basic;
  const bool sequence = PySequence_Check(index) && !PyUnicode_Check(index) && !PyBytes_Check(index);
  if (!sequence && !PyIndex_Check(index) && !is_numpy_scalar(index)) {
    fail(Error::Index,
         "only integers, slices (`:`), ellipsis (`...`), None and long or byte tensors "
         "are valid indices (got ",
         type_name(index), ")");
  }
  return Key::Advanced;
}

Key classify(PyObject* key) {
  if (!PyTuple_Check(key)) return classify_item(key);
  Key worst = Key::Basic;
  const Py_ssize_t n = PyTuple_Size(key);
  for (Py_ssize_t i = 0; i < n && worst != Key::Advanced; ++i) {
    worst = std::max(worst, classify_item(PyTuple_GetItem(key, i)));
  }
  return worst;
}

Object int_of(PyObject* index) {
  return is_tensor(index) || is_numpy_array(index) ? Object::steal(checked(PyNumber_Index(index)))
                                                   : Object(index);
}

// The view keeps its key, so what may change in it becomes an int.
Object plain_key(PyObject* key) {
  if (!PyTuple_Check(key)) return int_of(key);
  const Py_ssize_t n = PyTuple_Size(key);
  Object plain = Object::steal(checked(PyTuple_New(n)));
  for (Py_ssize_t i = 0; i < n; ++i) {
    checked(PyTuple_SetItem(plain.get(), i, int_of(PyTuple_GetItem(key, i)).leak()));
  }
  return plain;
}

// PyTorch takes a short list with anything but numbers in it for a tuple, and warns.
Object tuple_of_list(PyObject* key) {
  const Py_ssize_t n = PyList_Size(key);
  bool tuple = false;
  for (Py_ssize_t i = 0; i < n && n < 32; ++i) {
    PyObject* o = PyList_GetItem(key, i);
    tuple |= !consumes(o) || is_tensor(o) || Py_TYPE(o) == &PySlice_Type || PySequence_Check(o);
  }
  if (!tuple) return Object(key);
  checked(
      PyErr_WarnEx(PyExc_UserWarning,
                   "Using a non-tuple sequence for multidimensional indexing is deprecated; use "
                   "x[tuple(seq)] instead of x[seq], or x[torch.tensor(seq)]",
                   1));
  return Object::steal(checked(PyList_AsTuple(key)));
}

PyObject* view_of(PyObject* self, PyObject* key) {
  Value v[kMaxOperatorArgs] = {Value(as_tensor(self)), Value::of_object(key)};
  return call_op(kBasicIndex, v, 2);
}

// ---- x[key] -------------------------------------------------------------------------------------
PyObject* get(PyObject* self, PyObject* key) {
  return guard([&]() -> PyObject* {
    if (overridden(self)) return checked(call_override("__getitem__", self, &key, 1));
    Object list;
    if (PyList_Check(key)) key = (list = tuple_of_list(key)).get();
    switch (classify(key)) {
      case Key::Basic: return view_of(self, key);
      case Key::Numbers: return view_of(self, plain_key(key).get());
      case Key::Advanced: break;
    }
    static PyObject* getitem = nullptr;
    python_function(getitem, "taimatsu.ops.indexing", "getitem");
    return checked(PyObject_CallFunctionObjArgs(getitem, self, key, nullptr));
  });
}

// ---- x[key] = value
// ------------------------------------------------------------------------------- PyTorch drops
// leading dims of size 1 of a value that has more dims than its place.
TensorRef without_leading_ones(Tensor& value, int ndim) {
  int drop = 0;
  while (value.ndim() - drop > ndim && value.layout->size(drop) == 1) ++drop;
  if (!drop) return TensorRef(&value);
  Object key = Object::steal(checked(PyTuple_New(drop)));
  for (int i = 0; i < drop; ++i) {
    PyTuple_SetItem(key.get(), i, checked(PyLong_FromLong(0)));
  }
  return call1(kBasicIndex.get(), {Value(&value), Value::of_object(key.get())});
}

void assign(Tensor& place, PyObject* value) {
  static CoreOp copy{"copy_"}, fill_number{"fill_"};
  Value v[kMaxOperatorArgs] = {Value(&place)};
  TensorRef source;
  if (is_tensor(value)) {
    source = without_leading_ones(*as_tensor(value), place.ndim());
    v[1] = Value(source);
    Object done = Object::steal(call_op_inplace(copy, v, 2));
    return;
  }
  Number n;
  if (!(PyLong_Check(value) || PyFloat_Check(value) || PyComplex_Check(value) ||
        is_numpy_scalar(value)) ||
      !number_of(value, n)) {
    fail(Error::Type, "can't assign a ", type_name(value), " to a torch.", info(place.dtype).legacy,
         "Tensor");
  }
  if (n.tag == Number::Complex && !is_complex(place.dtype)) {
    fail(Error::Runtime, "value cannot be converted to type ", info(place.dtype).name,
         " without overflow: it is complex");
  }
  v[1] = Value(n);
  Object done = Object::steal(call_op_inplace(fill_number, v, 2));
}

int set(PyObject* self, PyObject* key, PyObject* value) {
  return guard(-1, [&] {
    if (!value) fail(Error::Type, "Tensor does not support deleting items");
    if (overridden(self) || (is_tensor(value) && overridden(value))) {
      PyObject* args[] = {key, value};
      Object done = Object::steal(checked(call_override("__setitem__", self, args, 2)));
      return 0;
    }
    Object list;
    if (PyList_Check(key)) key = (list = tuple_of_list(key)).get();
    Key kind = classify(key);
    if (kind == Key::Advanced) {
      static PyObject* setitem = nullptr;
      python_function(setitem, "taimatsu.ops.indexing", "setitem");
      Object done =
          Object::steal(checked(PyObject_CallFunctionObjArgs(setitem, self, key, value, nullptr)));
      return 0;
    }
    Object plain = kind == Key::Numbers ? plain_key(key) : Object(key);
    Object place = Object::steal(view_of(self, plain.get()));
    assign(*as_tensor(place.get()), value);
    return 0;
  });
}

}  // namespace

const std::vector<PyType_Slot>& indexing_slots() {
  static const std::vector<PyType_Slot> slots = {
      {Py_mp_subscript, slot(get)},
      {Py_mp_ass_subscript, slot(set)},
  };
  return slots;
}

}  // namespace taimatsu
