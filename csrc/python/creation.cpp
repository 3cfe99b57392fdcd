// Tensors from Python's and other libraries' data: tensor, as_tensor, asarray, from_numpy,
// frombuffer.
#include <cmath>
#include <limits>

#include "python/tensor_type.h"

namespace taimatsu {

namespace {

constexpr int kKeywords = METH_FASTCALL | METH_KEYWORDS;

// ---- Numbers ------------------------------------------------------------------------------------

// The number as an element, where the dtype was asked for: conversions that would lose the value
// altogether are errors. Negative integers wrap in unsigned dtypes, as in PyTorch.
void store_checked(DType t, char* p, const Number& n) {
  const DTypeInfo& type = info(t);
  auto overflow = [&] {
    fail(Error::Runtime, "value cannot be converted to type ", type.name, " without overflow");
  };
  if (n.tag == Number::Complex && !is_complex(t)) {
    fail(Error::Type, "must be real number, not complex; the dtype is ", type.name);
  }
  if (type.category == Category::Integral && type.size < 8) {
    const int bits = 8 * type.size - (type.is_signed ? 1 : 0);
    const double limit = std::ldexp(1.0, bits);
    const double v = n.as_double();
    const double lowest = type.is_signed ? -limit : -(limit - 1);
    if (!(v > lowest - 1 && v < limit)) overflow();
  } else if (type.category == Category::Integral && n.tag == Number::Float) {
    if (!(n.f >= -std::ldexp(1.0, 63) && n.f < std::ldexp(1.0, type.is_signed ? 63 : 64)))
      overflow();
  }
  store_element(t, p, n);
}

// ---- Nested data --------------------------------------------------------------------------------

// What other libraries' arrays on a GPU have.
bool is_cuda_array(PyObject* o) { return PyObject_HasAttrString(o, "__cuda_array_interface__"); }

enum class Form { Number, Sequence, Array };  // Array: has its own sizes and dtype

Form kind_of(PyObject* o) {
  if (PyFloat_CheckExact(o) || PyLong_CheckExact(o) || PyBool_Check(o)) return Form::Number;
  if (PyList_Check(o) || PyTuple_Check(o)) return Form::Sequence;
  if (is_tensor(o)) return Form::Array;
  if (is_numpy_scalar(o)) return Form::Array;
  if (PyFloat_Check(o) || PyLong_Check(o) || PyComplex_Check(o)) return Form::Number;
  if (PyUnicode_Check(o) || PyBytes_Check(o) || PyDict_Check(o))
    return Form::Number;  // refused there
  // Other buffers (bytearray, array.array) are sequences of Python numbers, as in PyTorch.
  if (is_numpy_array(o) || PyObject_HasAttrString(o, "__array_interface__")) return Form::Array;
  if (is_cuda_array(o)) return Form::Array;
  return PySequence_Check(o) ? Form::Sequence : Form::Number;
}

TensorRef from_cuda_array(PyObject* o) {
  static PyObject* slot = nullptr;
  PyObject* function = python_function(slot, "taimatsu.cuda._arrays", "from_interface");
  Object made = Object::steal(checked(PyObject_CallFunctionObjArgs(function, o, nullptr)));
  return TensorRef(as_tensor(made.get()));
}

TensorRef array_of(PyObject* o) {
  if (is_tensor(o)) return TensorRef(as_tensor(o));
  return is_cuda_array(o) ? from_cuda_array(o) : from_array(o, false);
}

// Lists and tuples as they are; other sequences (ranges, classes with __getitem__) as lists.
class Items {
 public:
  explicit Items(PyObject* o) : o_(o) {
    if (!PyList_Check(o) && !PyTuple_Check(o)) o_ = Object::steal(checked(PySequence_List(o)));
    list_ = PyList_Check(o_.get());
  }
  Py_ssize_t size() const { return list_ ? PyList_Size(o_.get()) : PyTuple_Size(o_.get()); }
  // Borrowed. Null if a number's own code shrank the list meanwhile.
  PyObject* operator[](Py_ssize_t i) const {
    return checked(list_ ? PyList_GetItem(o_.get(), i) : PyTuple_GetItem(o_.get(), i));
  }

 private:
  Object o_;
  bool list_;
};

std::vector<int64_t> sizes_of(PyObject* data) {
  std::vector<int64_t> sizes;
  Object o(data);
  while (true) {
    const Form kind = kind_of(o.get());
    if (kind == Form::Array) {
      TensorRef t = array_of(o.get());
      sizes.insert(sizes.end(), t->sizes().begin(), t->sizes().end());
      return sizes;
    }
    if (kind == Form::Number) {
      if (!sizes.empty() && (PyUnicode_Check(o.get()) || PyBytes_Check(o.get()))) {
        fail(Error::Value, "too many dimensions '", type_name(o.get()), "'");
      }
      return sizes;
    }
    Items items(o.get());
    sizes.push_back(items.size());
    if (sizes.back() == 0) return sizes;
    if (sizes.size() > kMaxDims) {
      fail(Error::Value, "tensor: too many dimensions '", type_name(o.get()), "'; at most ",
           kMaxDims, " are possible");
    }
    o = Object(items[0]);
  }
}

// Writes nested data of known sizes, one element after the other. Where the dtype is inferred, it
// is a guess from the elements so far; one that doesn't fit ends the pass with `wider` set, and
// the next pass starts with that.
class Filler {
 public:
  Filler(const std::vector<int64_t>& sizes, DType dtype, bool inferring)
      : wider(dtype), sizes_(sizes), dtype_(dtype), inferring_(inferring) {}

  bool fill(PyObject* data, char* out) {
    out_ = out;
    return visit(data, 0);
  }
  DType wider;

 private:
  bool widens(DType t) {
    if (!inferring_ || t == dtype_) return false;
    wider = promote(dtype_, t);
    return wider != dtype_;
  }

  bool visit(PyObject* o, size_t depth) {
    // Code of the data's own classes may run below, and drop it from the list that it is in.
    Object alive(PyFloat_CheckExact(o) ? nullptr : o);
    if (depth == sizes_.size()) return kind_of(o) == Form::Array ? array(o, depth) : number(o);
    const Form kind = kind_of(o);
    if (kind == Form::Array) return array(o, depth);
    if (kind == Form::Number) {
      if (PyUnicode_Check(o)) refuse(o);
      fail(Error::Type, "not a sequence: expected ", sizes_[depth], " elements at dim ", depth,
           ", got ", type_name(o));
    }
    Items items(o);
    if (items.size() != sizes_[depth]) wrong_length(depth, items.size());
    if (depth + 1 == sizes_.size()) return row(items);
    for (int64_t i = 0; i < sizes_[depth]; ++i) {
      if (!visit(items[i], depth + 1)) return false;
    }
    return true;
  }

  // The innermost loop, for the usual dtypes with nothing to decide.
  bool row(const Items& items) {
    const int64_t n = items.size();
    for (int64_t i = 0; i < n; ++i) {
      PyObject* o = items[i];
      if (dtype_ == DType::F32 && PyFloat_CheckExact(o)) {
        *reinterpret_cast<float*>(out_) = static_cast<float>(PyFloat_AsDouble(o));
        out_ += sizeof(float);
      } else if (dtype_ == DType::F64 && PyFloat_CheckExact(o) &&
                 (!inferring_ || default_dtype() == DType::F64)) {
        *reinterpret_cast<double*>(out_) = PyFloat_AsDouble(o);
        out_ += sizeof(double);
      } else if (!visit(o, sizes_.size())) {
        return false;
      }
    }
    return true;
  }

  bool number(PyObject* o) {
    Number n;
    DType own;
    if (PyBool_Check(o)) {
      n = Number::boolean(o == Py_True);
      own = DType::Bool;
    } else if (PyFloat_Check(o)) {
      n = Number::real(PyFloat_AsDouble(o));
      own = default_dtype();
    } else if (PyLong_Check(o)) {
      n = integer(o);
      own = DType::I64;
    } else if (PyComplex_Check(o)) {
      n = Number::complex(PyComplex_RealAsDouble(o), PyComplex_ImagAsDouble(o));
      own = complex_dtype(default_dtype());
    } else {
      refuse(o);
    }
    if (widens(own)) return false;
    if (dtype_ == DType::I64 && n.tag == Number::Int) {
      *reinterpret_cast<int64_t*>(out_) = n.i;
    } else if (inferring_) {
      store_element(dtype_, out_, n);
    } else {
      store_checked(dtype_, out_, n);
    }
    advance();
    return true;
  }

  Number integer(PyObject* o) const {
    int overflow = 0;
    int64_t i = PyLong_AsLongLongAndOverflow(o, &overflow);
    if (!overflow) return Number::integer(i);
    if (is_differentiable(dtype_) && !inferring_) {
      double f = PyLong_AsDouble(o);
      if (f == -1 && PyErr_Occurred()) python_error();
      return Number::real(f);
    }
    if (overflow > 0 && dtype_ == DType::U64) {
      uint64_t u = PyLong_AsUnsignedLongLong(o);
      if (!PyErr_Occurred()) return Number::integer(static_cast<int64_t>(u));
      PyErr_Clear();
    }
    fail(Error::Value, "tensor: Overflow when unpacking long long: ", to_string(o),
         " does not fit into int64; give dtype=torch.float64");
  }

  bool array(PyObject* o, size_t depth) {
    TensorRef t = array_of(o);
    Ints expected(sizes_.data() + depth, static_cast<int64_t>(sizes_.size() - depth));
    if (t->sizes() != expected) {
      if (expected.size && t->ndim()) wrong_length(depth, t->layout->size(0));
      fail(Error::Value, "tensor: expected data of sizes ", format(expected), " at dim ", depth,
           " (got ", format(t->sizes()), ")");
    }
    if (widens(t->dtype)) return false;
    t = on_host(*t, "tensor");
    for_each_element(*t, t->data(), [&](const char* p) {
      if (t->dtype == dtype_) {
        std::memcpy(out_, p, itemsize(dtype_));
      } else if (inferring_) {
        store_element(dtype_, out_, load_element(t->dtype, p));
      } else {
        store_checked(dtype_, out_, load_element(t->dtype, p));
      }
      advance();
    });
    return true;
  }

  void advance() { out_ += itemsize(dtype_); }
  [[noreturn]] void wrong_length(size_t depth, int64_t got) const {
    fail(Error::Value, "expected sequence of length ", sizes_[depth], " at dim ", depth, " (got ",
         got, ")");
  }
  [[noreturn]] void refuse(PyObject* o) const {
    if (PyUnicode_Check(o) || PyBytes_Check(o)) {
      fail(Error::Type, "new(): invalid data type '", type_name(o), "'");
    }
    if (!inferring_ || PySequence_Check(o)) {
      fail(Error::Type, "tensor: elements must be numbers; got ", type_name(o));
    }
    fail(Error::Runtime, "Could not infer dtype of ", type_name(o));
  }

  const std::vector<int64_t>& sizes_;
  DType dtype_;
  bool inferring_;
  char* out_ = nullptr;
};

// What the first element says: right for most data, so that one pass is enough.
DType first_guess(PyObject* data) {
  Object o(data);
  while (PyList_Check(o.get()) || PyTuple_Check(o.get())) {
    Items items(o.get());
    if (items.size() == 0) return default_dtype();
    o = Object(items[0]);
  }
  if (PyFloat_CheckExact(o.get())) return default_dtype();
  if (PyBool_Check(o.get())) return DType::Bool;
  if (PyLong_Check(o.get())) return DType::I64;
  if (PyComplex_Check(o.get()) && !is_numpy_scalar(o.get())) return complex_dtype(default_dtype());
  return kind_of(o.get()) == Form::Array ? array_of(o.get())->dtype : DType::Bool;
}

// A contiguous copy without history, in `dtype`.
TensorRef copy_of(Tensor& t, DType dtype, Device device) {
  TensorRef plain = detached(t);
  TensorRef copy = empty(t.sizes(), dtype, t.device());
  if (t.dtype == dtype && t.device().type == DeviceType::CPU) {
    char* out = copy->data();
    const int64_t item = itemsize(dtype);
    if (t.layout->contiguous) {
      if (t.numel()) std::memcpy(out, t.data(), t.numel() * item);
    } else {
      for_each_element(t, t.data(), [&](const char* p) {
        std::memcpy(out, p, item);
        out += item;
      });
    }
  } else {
    copy_into(*copy, *plain);
  }
  copy = on_device(*copy, device.concrete());
  copy->inference = modes.inference;
  return copy;
}

// ---- The functions ------------------------------------------------------------------------------

struct Options {
  DType dtype = DType::F32;
  bool has_dtype = false;
  Device device;
  bool has_device = false;

  Options(const char* function, PyObject* dtype_object, PyObject* device_object) {
    if (given(dtype_object) && !(has_dtype = dtype_of(dtype_object, dtype))) {
      fail(Error::Type, function, "(): argument 'dtype' must be torch.dtype, not ",
           type_name(dtype_object));
    }
    if (given(device_object) && !(has_device = device_of(device_object, device))) {
      fail(Error::Type, function, "(): argument 'device' must be torch.device, not ",
           type_name(device_object));
    }
    device = has_device ? device.concrete() : default_device();
  }
  const DType* dtype_pointer() const { return has_dtype ? &dtype : nullptr; }
};

PyObject* with_grad(TensorRef t, PyObject* required) {
  if (given(required) && to_flag(required, "requires_grad")) set_requires_grad(*t, true);
  return tensor_object(std::move(t));
}

// Modes below the tape see what was made of numbers, as they see factories.
PyObject* lifted(PyObject* t) {
  if (!(modes.interpose & kDispatchModes) || dispatch_off) return t;
  static PyObject* lift = nullptr;
  Object made = Object::steal(t);
  python_function(lift, "taimatsu._dispatch", "lift");
  return checked(PyObject_CallFunctionObjArgs(lift, made.get(), nullptr));
}

PyObject* tensor(PyObject*, PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames) {
  static const Signature signature{
      "tensor", {"data", "dtype", "device", "requires_grad", "pin_memory", "names"}, 1, 1};
  return guard([&] {
    PyObject* v[6];
    signature.unpack(args, nargs, kwnames, v);
    Options o("tensor", v[1], v[2]);
    if (is_tensor(v[0])) {
      checked(PyErr_WarnEx(PyExc_UserWarning,
                           "To copy construct from a tensor, it is recommended to use "
                           "sourceTensor.detach().clone() or "
                           "sourceTensor.detach().clone().requires_grad_(True), rather than "
                           "torch.tensor(sourceTensor).",
                           1));
      if (!o.has_device) o.device = as_tensor(v[0])->device();
    } else if (!o.has_device && kind_of(v[0]) == Form::Array && is_cuda_array(v[0])) {
      TensorRef shared = from_cuda_array(v[0]);
      return with_grad(tensor_of(shared->object(), o.dtype_pointer(), shared->device()), v[3]);
    }
    return lifted(with_grad(tensor_of(v[0], o.dtype_pointer(), o.device), v[3]));
  });
}

// Converts what exists already, sharing memory where dtype and device stay.
TensorRef converted(TensorRef t, const Options& o) {
  if (o.has_dtype && t->dtype != o.dtype) t = to_dtype(*t, o.dtype);
  if (o.has_device && t->device() != o.device) {
    Object device = Object::steal(device_object(o.device));
    Object moved =
        Object::steal(checked(PyObject_CallMethod(t->object(), "to", "O", device.get())));
    t = TensorRef(as_tensor(moved.get()));
  }
  return t;
}

PyObject* as_tensor(PyObject*, PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames) {
  static const Signature signature{"as_tensor", {"data", "dtype", "device"}, 1, 1};
  return guard([&] {
    PyObject* v[3];
    signature.unpack(args, nargs, kwnames, v);
    Options o("as_tensor", v[1], v[2]);
    if (is_tensor(v[0])) return tensor_object(converted(TensorRef(taimatsu::as_tensor(v[0])), o));
    if (is_numpy_array(v[0])) return tensor_object(converted(from_array(v[0], true), o));
    if (kind_of(v[0]) == Form::Array && is_cuda_array(v[0]))
      return tensor_object(converted(from_cuda_array(v[0]), o));
    return tensor_object(tensor_of(v[0], o.dtype_pointer(), o.device));
  });
}

PyObject* asarray(PyObject*, PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames) {
  static const Signature signature{
      "asarray", {"obj", "dtype", "device", "copy", "requires_grad"}, 1, 1};
  return guard([&] {
    PyObject* v[5];
    signature.unpack(args, nargs, kwnames, v);
    Options o("asarray", v[1], v[2]);
    TensorRef shared;
    if (is_tensor(v[0])) {
      shared = TensorRef(taimatsu::as_tensor(v[0]));
    } else if (is_numpy_array(v[0]) || is_numpy_scalar(v[0])) {
      shared = from_array(v[0], is_numpy_array(v[0]));
    } else if (PyCapsule_CheckExact(v[0]) || PyObject_HasAttrString(v[0], "__dlpack__")) {
      shared = from_dlpack(v[0]);
    } else if (PyObject_CheckBuffer(v[0])) {
      shared = from_array(v[0], true);
    } else if (kind_of(v[0]) == Form::Array && is_cuda_array(v[0])) {
      shared = from_cuda_array(v[0]);
    }
    if (!shared) {
      if (v[3] == Py_False)
        fail(Error::Value, "asarray: can't alias arbitrary sequence into a tensor.");
      return with_grad(tensor_of(v[0], o.dtype_pointer(), o.device), v[4]);
    }
    if (v[3] == Py_True) {
      Device d = o.has_device ? o.device : shared->device();
      shared = copy_of(*shared, o.has_dtype ? o.dtype : shared->dtype, d);
    } else if (v[3] == Py_False && ((o.has_dtype && o.dtype != shared->dtype) ||
                                    (o.has_device && o.device != shared->device()))) {
      fail(Error::Value, "asarray: can't alias tensor with dtype ", info(shared->dtype).name,
           " on device ", shared->device().str(),
           " as another dtype or on another device; "
           "leave copy=None");
    }
    TensorRef result = converted(shared, o);
    const bool asked = given(v[4]) && to_bool(v[4]);
    if (is_tensor(v[0]) && result.get() == taimatsu::as_tensor(v[0])) {
      if (!asked && requires_grad(*result)) result = detached(*result);
    } else if (requires_grad(*result) && !asked) {
      result = detached(*result);
    }
    return with_grad(result, v[4]);
  });
}

PyObject* from_numpy(PyObject*, PyObject* o) {
  return guard([&] {
    if (!is_numpy_array(o)) fail(Error::Type, "expected np.ndarray (got ", type_name(o), ")");
    return tensor_object(from_array(o, true));
  });
}

PyObject* frombuffer(PyObject*, PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames) {
  static const Signature signature{
      "frombuffer", {"buffer", "dtype", "count", "offset", "requires_grad"}, 1, 2};
  return guard([&] {
    PyObject* v[5];
    signature.unpack(args, nargs, kwnames, v);
    Options o("frombuffer", v[1], nullptr);
    if (!o.has_dtype) {
      fail(Error::Type, "frombuffer(): argument 'dtype' must be torch.dtype, not NoneType");
    }
    if (!PyObject_CheckBuffer(v[0])) {
      fail(Error::Value, "object does not implement Python buffer protocol.");
    }
    Object owner = Object::steal(checked(PyMemoryView_FromObject(v[0])));
    Py_buffer view;
    checked(PyObject_GetBuffer(owner.get(), &view, PyBUF_SIMPLE));
    char* data = static_cast<char*>(view.buf);
    const int64_t length = view.len;
    const bool readonly = view.readonly;
    PyBuffer_Release(&view);  // `owner` still holds it

    const int64_t item = itemsize(o.dtype);
    int64_t count = given(v[2]) ? to_index(v[2]) : -1;
    const int64_t offset = given(v[3]) ? to_index(v[3]) : 0;
    if (length == 0 || count == 0) {
      fail(Error::Value, "both buffer length (", length, ") and count (", count, ") must not be 0");
    }
    if (offset < 0 || offset >= length) {
      fail(Error::Value, "offset (", offset,
           " bytes) must be non-negative and no greater than buffer "
           "length (",
           length, " bytes) minus 1");
    }
    if (count < 0 && (length - offset) % item) {
      fail(Error::Value, "buffer length (", length - offset, " bytes) after offset (", offset,
           " bytes) must be a multiple of element size (", item, ")");
    }
    if (count < 0) count = (length - offset) / item;
    if (count > (length - offset) / item) {
      fail(Error::Value, "requested buffer length (", count, " * ", item, " bytes) after offset (",
           offset, " bytes) must not be greater than actual buffer length (", length, " bytes)");
    }
    if (readonly) {
      checked(
          PyErr_WarnEx(PyExc_UserWarning,
                       "The given buffer is not writable, and tensors are. Writing to the tensor "
                       "is undefined: copy the buffer to a bytearray first.",
                       1));
    }
    Ref<Storage> memory = foreign_storage(data + offset, count * item, Device{}, owner.get());
    return with_grad(make_tensor(memory.get(), contiguous_layout({&count, 1}).get(), o.dtype),
                     v[4]);
  });
}

PyMethodDef functions[] = {
    {"tensor", method(tensor), kKeywords,
     "tensor(data, *, dtype=None, device=None, requires_grad=False, pin_memory=False)\n--\n\n"
     "A tensor with a copy of `data`: numbers in nested sequences, an array, a number.\n\n"
     "The dtype is the data's: bool, int64, the default dtype or its complex one, or what arrays\n"
     "have. ValueError if the sequences are ragged, RuntimeError if a number doesn't fit.\n\n"
     ">>> torch.tensor([[1, 2], [3, 4.5]])\n"
     "tensor([[1.0000, 2.0000],\n        [3.0000, 4.5000]])"},
    {"as_tensor", method(as_tensor), kKeywords,
     "as_tensor(data, dtype=None, device=None)\n--\n\n"
     "`data` as a tensor, sharing the memory of tensors and NumPy arrays where it can."},
    {"asarray", method(asarray), kKeywords,
     "asarray(obj, *, dtype=None, device=None, copy=None, requires_grad=False)\n--\n\n"
     "`obj` as a tensor: a tensor, an array, a DLPack capsule, a buffer, or nested sequences.\n"
     "`copy`: True always copies, False never (ValueError if it must), None where it must."},
    {"from_numpy", from_numpy, METH_O,
     "from_numpy(ndarray)\n--\n\nA tensor of a NumPy array's memory. TypeError for dtypes that "
     "have\n"
     "no counterpart, ValueError for negative strides and foreign byte orders."},
    {"frombuffer", method(frombuffer), kKeywords,
     "frombuffer(buffer, *, dtype, count=-1, offset=0, requires_grad=False)\n--\n\n"
     "A 1-dim tensor of a buffer's memory, from byte `offset` on."},
    {},
};

}  // namespace

TensorRef tensor_of(PyObject* data, const DType* dtype, Device device) {
  const Form kind = kind_of(data);
  if (kind == Form::Array) {
    TensorRef array = array_of(data);
    return copy_of(*array, dtype ? *dtype : array->dtype, device);
  }
  std::vector<int64_t> sizes = sizes_of(data);
  DType guess = dtype ? *dtype : first_guess(data);
  while (true) {
    TensorRef t = empty(sizes, guess);
    Filler filler(sizes, guess, !dtype);
    if (filler.fill(data, t->data())) {
      t = on_device(*t, device.concrete());
      t->inference = modes.inference;
      return t;
    }
    guess = filler.wider;
  }
}

int init_creation(PyObject* module) { return PyModule_AddFunctions(module, functions); }

}  // namespace taimatsu
