// x[key] and x[key] = value.
//
// Keys of ints, slices, None and Ellipsis are one view, computed here as one layout and recorded as
// the view op `_basic_index`. Everything else (tensors, lists, masks, arrays, bools) is split into
// such a view and indices of its dims, for `_index` and `_index_put_` (cpu/advanced.cpp).
#include <cfloat>
#include <cmath>

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

LayoutRef view_by(const Layout& from, PyObject* key) {
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

LayoutRef basic_layout(const Tensor& t, const Value* args) {
  LayoutRef from(t.layout);
  LayoutRef view = view_by(*from, args[1].none() ? Py_None : args[1].object);
  if (from.get() != t.layout) {  // by the __index__ of something in a slice
    fail(Error::Runtime, "the tensor changed from sizes ", format(from->sizes()), " to ",
         format(t.sizes()), " while its index was read");
  }
  return view;
}

TM_VIEW("_basic_index", {basic_layout, nullptr, ViewRoutine::Embed, nullptr});

// ---- Which keys are views -----------------------------------------------------------------------

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
    // On meta, as batches of vmap are, it has no one number.
    const bool number = t.ndim() == 0 && is_integral(t.dtype) && t.dtype != DType::U8 &&
                        t.device().type != DeviceType::Meta;
    return number ? Key::Numbers : Key::Advanced;
  }
  if (is_numpy_array(index)) return classify_array(index);
  if (is_numpy_scalar(index) && PyIndex_Check(index)) return Key::Basic;
  if (PyUnicode_Check(index) || PyBytes_Check(index)) {
    fail(Error::Type, "an index can't be of data type ", type_name(index),
         "; use integers, slices, ..., None, or tensors of integers or bools");
  }
  if (!PySequence_Check(index) && !PyIndex_Check(index) && !is_numpy_scalar(index)) {
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

// ---- Keys with tensors in them ------------------------------------------------------------------

TensorRef zero_positions(int64_t count) {
  TensorRef t = empty({&count, 1}, DType::I64);
  fill(*t, Number::integer(0));
  return t;
}

// A list, range or array as a tensor.
TensorRef index_tensor(PyObject* index) {
  if (is_tensor(index)) return TensorRef(as_tensor(index));
  static PyObject* convert = nullptr;
  python_function(convert, "taimatsu.ops.indexing", "as_index");
  Object made = Object::steal(checked(PyObject_CallFunctionObjArgs(convert, index, nullptr)));
  return TensorRef(as_tensor(made.get()));
}

// A key as a view of the tensor and indices of that view's dims.
class AdvancedKey {
 public:
  AdvancedKey(PyObject* self, PyObject* key)
      : self_(self), held_(as_tensor(self)->layout), from_(*held_) {
    const bool tuple = PyTuple_Check(key);
    const Py_ssize_t n = tuple ? PyTuple_Size(key) : 1;
    for (Py_ssize_t i = 0; i < n; ++i) {
      PyObject* item = tuple ? PyTuple_GetItem(key, i) : key;
      const bool tensor = classify_item(item) != Key::Basic && !PyBool_Check(item);
      items_.push_back({Object(item), tensor ? index_tensor(item) : TensorRef()});
      const Tensor* t = items_.back().tensor.get();
      used_ += t && is_mask(*t) ? t->ndim() : consumes(item) && !PyBool_Check(item);
    }
    if (used_ > from_.ndim) {
      fail(Error::Index, "too many indices for tensor of dimension ", from_.ndim);
    }
    for (Item& item : items_) apply(item);
    while (!at_.empty() && !at_.back()) at_.pop_back();
  }

  // What the indices index.
  Object view() const {
    if (plain_) return Object(self_);
    Object key = Object::steal(checked(PyList_AsTuple(basic_.get())));
    return Object::steal(view_of(self_, key.get()));
  }
  bool none() const { return at_.empty(); }
  Value indices() {
    for (const TensorRef& t : at_) pointers_.push_back(t.get());
    return Value::of_tensors(pointers_.data(), static_cast<int64_t>(pointers_.size()));
  }
  // The mask, where that of the first dims is all there is.
  Tensor* mask() const { return mask_.get(); }
  // The positions that masks hold are looked for when they are needed.
  void find() {
    if (!mask_) return;
    at_.clear();
    push_mask(*mask_);
  }

 private:
  struct Item {
    Object key;
    TensorRef tensor;
  };
  static bool is_mask(const Tensor& t) { return t.dtype == DType::Bool || t.dtype == DType::U8; }

  void add(PyObject* basic) { checked_int(PyList_Append(basic_.get(), basic)); }
  static void checked_int(int status) {
    if (status < 0) python_error();
  }
  void keep() {
    static PyObject* all = PySlice_New(nullptr, nullptr, nullptr);
    add(all);
    ++dim_;
  }

  void apply(Item& item) {
    PyObject* key = item.key.get();
    if (item.tensor) return apply(*item.tensor);
    if (key == Py_Ellipsis) {
      for (int rest = from_.ndim - used_; rest > 0; --rest, at_.emplace_back()) keep();
      used_ = from_.ndim;
    } else if (key == Py_None) {
      plain_ = false;
      add(key);
      at_.emplace_back();
    } else if (PyBool_Check(key)) {
      push_flag(key == Py_True);
    } else {
      const bool slice = Py_TYPE(key) == &PySlice_Type;
      plain_ = false;
      add(int_of(key).get());
      if (slice) at_.emplace_back();
      ++dim_;
    }
  }
  void apply(Tensor& t) {
    if (!is_mask(t)) {
      if (!is_integral(t.dtype)) {
        fail(Error::Index, "tensors used as indices must be long, int, byte or bool tensors; got ",
             info(t.dtype).name);
      }
      at_.emplace_back(&t);
      return keep();
    }
    if (t.ndim() == 0) return push_flag(read_item(t).as_int() != 0);
    for (int d = 0; d < t.ndim(); ++d) {
      if (t.layout->size(d) == from_.size(dim_ + d)) continue;
      fail(Error::Index, "The shape of the mask ", format(t.sizes()), " at index ", d,
           " does not match the shape of the indexed tensor ", format(from_.sizes()), " at index ",
           dim_ + d);
    }
    const bool alone = items_.size() == 1 ||
                       (items_.size() == 2 && dim_ == 0 && items_[1].key.get() == Py_Ellipsis);
    if (alone && t.dtype == DType::Bool && t.device() == as_tensor(self_)->device()) {
      mask_ = TensorRef(&t);
      at_.emplace_back(&t);
    } else {
      push_mask(t);
    }
    for (int d = 0; d < t.ndim(); ++d) keep();
  }
  void push_flag(bool flag) {
    plain_ = false;
    add(Py_None);
    at_.push_back(zero_positions(flag));
  }
  void push_mask(Tensor& t) {
    static Op &nonzero = core_op("_nonzero"), &select = core_op("select");
    TensorRef rows = call1(nonzero, {Value(&t)});
    for (int d = 0; d < t.ndim(); ++d) {
      at_.push_back(call1(select, {Value(rows), Value::of_int(1), Value::of_int(d)}));
    }
  }

  PyObject* self_;
  LayoutRef held_;  // the items' own code may give the tensor another one
  const Layout& from_;
  std::vector<Item> items_;
  int used_ = 0;       // dims that the key names
  int dim_ = 0;        // the next dim of the tensor
  bool plain_ = true;  // the view is the tensor itself
  Object basic_ = Object::steal(checked(PyList_New(0)));
  std::vector<TensorRef> at_;
  std::vector<Tensor*> pointers_;
  TensorRef mask_;
};

// ---- x[key] -------------------------------------------------------------------------------------

PyObject* advanced(PyObject* self, PyObject* key) {
  static CoreOp index{"_index"}, rows{"_rows_where"};
  AdvancedKey parts(self, key);
  Object view = parts.view();
  if (parts.none()) return view.leak();
  Value v[kMaxOperatorArgs] = {Value(as_tensor(view.get()))};
  if (parts.mask()) {
    v[1] = Value(parts.mask());
    return call_op(rows, v, 2);
  }
  v[1] = parts.indices();
  return call_op(index, v, 2);
}

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
    return advanced(self, key);
  });
}

// ---- x[key] = value -----------------------------------------------------------------------------

// PyTorch drops leading dims of size 1 of a value that has more dims than its place.
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

// Whether a Python number is one of the dtype's, so that filling with it is assigning it.
bool number_for(DType dtype, PyObject* value, Number& n) {
  if (Py_TYPE(value) != &PyFloat_Type && !PyLong_Check(value)) return false;
  if (!number_of(value, n)) return false;
  switch (dtype) {
    case DType::F64: return true;
    case DType::F32: return !(std::abs(n.as_double()) > FLT_MAX);
    case DType::I64: return n.tag == Number::Int;
    case DType::Bool: return n.tag == Number::Bool;
    default: return false;
  }
}

// A number as a tensor of the dtype that it is assigned to; a tensor itself.
TensorRef assigned(const Tensor& place, PyObject* value) {
  if (is_tensor(value)) return TensorRef(as_tensor(value));
  Number n;
  if (place.device().type == DeviceType::CPU && number_for(place.dtype, value, n)) {
    TensorRef one = empty(Ints(), place.dtype);
    store_element(place.dtype, one->data(), n);
    return one;
  }
  static PyObject* convert = nullptr;
  python_function(convert, "taimatsu.ops.indexing", "as_value");
  Object made = Object::steal(checked(
      PyObject_CallFunctionObjArgs(convert, value, const_cast<Tensor&>(place).object(), nullptr)));
  return TensorRef(as_tensor(made.get()));
}

void assign_advanced(PyObject* self, PyObject* key, PyObject* value) {
  static CoreOp put{"_index_put_"}, fill_masked{"masked_fill"};
  AdvancedKey parts(self, key);
  Object view = parts.view();
  Tensor& place = *as_tensor(view.get());
  if (parts.none()) return assign(place, value);
  Value v[kMaxOperatorArgs] = {Value(&place)};
  const bool elements = parts.mask() && parts.mask()->ndim() == place.ndim();
  Number n;
  if (elements && number_for(place.dtype, value, n)) {
    v[1] = Value(parts.mask());
    v[2] = Value(n);
    Object done = Object::steal(call_op_inplace(fill_masked, v, 3));
    return;
  }
  TensorRef source = assigned(place, value);
  if (elements && source->ndim() == 0 && source->dtype == place.dtype) {
    v[1] = Value(parts.mask());
    v[2] = Value(source);
    Object done = Object::steal(call_op_inplace(fill_masked, v, 3));
    return;
  }
  parts.find();
  v[1] = parts.indices();
  v[2] = Value(source);
  v[3] = Value::of_bool(false);
  Object done = Object::steal(call_op(put, v, 4));
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
      assign_advanced(self, key, value);
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
