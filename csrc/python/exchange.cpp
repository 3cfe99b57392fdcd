// Sharing memory with NumPy and with whatever has a buffer.
#include "python/tensor_type.h"

namespace taimatsu {

namespace {

// ---- Element types as struct's format strings ---------------------------------------------------

const char* buffer_format(DType t) {
  switch (t) {
    case DType::Bool: return "?";
    case DType::U8: return "B";
    case DType::U16: return "H";
    case DType::U32: return "I";
    case DType::U64: return "Q";
    case DType::I8: return "b";
    case DType::I16: return "h";
    case DType::I32: return "i";
    case DType::I64: return "q";
    case DType::F16: return "e";
    case DType::F32: return "f";
    case DType::F64: return "d";
    case DType::C64: return "Zf";
    case DType::C128: return "Zd";
    default: return nullptr;  // struct has no 8-bit floats, bfloat16 or complex32
  }
  return nullptr;
}

[[noreturn]] void unsupported_array(PyObject* o) {
  Object dtype = Object::steal(PyObject_GetAttrString(o, "dtype"));
  if (!dtype) PyErr_Clear();
  fail(Error::Type, "can't convert np.ndarray of type ", dtype ? to_string(dtype.get()) : "unknown",
       ". The only supported types are: float64, float32, float16, complex64, complex128, int64, "
       "int32, int16, int8, uint64, uint32, uint16, uint8, and bool.");
}

DType dtype_of_format(PyObject* o, const char* format, Py_ssize_t itemsize) {
  if (!format) return DType::U8;
  if (*format == '>' || *format == '!') {
    fail(Error::Value,
         "given numpy array has byte order different from the native byte order. "
         "Conversion between byte orders is currently not supported.");
  }
  if (*format == '<' || *format == '=' || *format == '@') ++format;
  const bool complex = *format == 'Z';
  if (complex) ++format;
  if (!*format || format[1]) unsupported_array(o);
  // Sizes of C's integer types differ between platforms and between native and standard mode.
  if (std::strchr("bhilqn", *format)) {
    return itemsize == 1   ? DType::I8
           : itemsize == 2 ? DType::I16
           : itemsize == 4 ? DType::I32
                           : DType::I64;
  }
  if (std::strchr("BHILQN", *format)) {
    return itemsize == 1   ? DType::U8
           : itemsize == 2 ? DType::U16
           : itemsize == 4 ? DType::U32
                           : DType::U64;
  }
  switch (*format) {
    case '?': return DType::Bool;
    case 'e': return DType::F16;
    case 'f': return complex ? DType::C64 : DType::F32;
    case 'd': return complex ? DType::C128 : DType::F64;
    default: unsupported_array(o);
  }
}

// ---- To NumPy -----------------------------------------------------------------------------------

// NumPy's changes would go unrecorded; where nothing is recorded anyway that is no harm.
bool needs_detach(const Tensor& t) { return modes.grad && requires_grad(t); }

void refuse_numpy(const Tensor& t, bool requires_grad) {
  if (is_sparse(t)) {
    fail(Error::Type, "can't convert a sparse tensor to numpy. Use Tensor.to_dense() first.");
  }
  if (dispatches(t)) fail(Error::Runtime, ".numpy() is not supported for tensor subclasses.");
  if (requires_grad) {
    fail(Error::Runtime,
         "Can't call numpy() on Tensor that requires grad. Use tensor.detach().numpy() instead.");
  }
  if (t.device().type != DeviceType::CPU) {
    fail(Error::Type, "can't convert ", t.device().str(),
         " device type tensor to numpy. Use "
         "Tensor.cpu() to copy the tensor to host memory first.");
  }
  if (!buffer_format(t.dtype))
    fail(Error::Type, "Got unsupported ScalarType ", info(t.dtype).legacy);
}

Object byte_strides(const Tensor& t) {
  Ints found = t.strides();
  LayoutRef plain;
  if (t.numel() == 0) {  // NumPy compares all strides with the buffer, though there is no element
    plain = contiguous_layout(t.sizes());
    found = plain->strides();
  }
  std::vector<int64_t> strides(found.begin(), found.end());
  for (int64_t& s : strides) s *= itemsize(t.dtype);
  return Object::steal(ints_tuple(strides));
}

// numpy.ndarray(sizes, dtype, storage, offset, strides): the array holds the storage object.
PyObject* numpy_array(const Tensor& t) {
  static PyObject *ndarray = nullptr, *dtype = nullptr;
  static PyObject* dtypes[kDTypes] = {};
  python_function(ndarray, "numpy", "ndarray");
  python_function(dtype, "numpy", "dtype");
  PyObject*& element = dtypes[static_cast<int>(t.dtype)];
  if (!element) element = checked(PyObject_CallFunction(dtype, "s", info(t.dtype).name));
  Object storage = Object::steal(storage_object(t.storage));
  Object sizes = Object::steal(ints_tuple(t.sizes()));
  const int64_t first = t.numel() ? t.layout->offset : 0;  // of no element may be outside
  Object offset = Object::steal(checked(PyLong_FromLongLong(first * itemsize(t.dtype))));
  return checked(PyObject_CallFunctionObjArgs(ndarray, sizes.get(), element, storage.get(),
                                              offset.get(), byte_strides(t).get(), nullptr));
}

PyObject* numpy(PyObject* self, PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames) {
  static const Signature signature{"numpy", {"force"}, 0, 0};
  return guard([&] {
    PyObject* force = nullptr;
    if (nargs || kwnames) signature.unpack(args, nargs, kwnames, &force);
    Tensor& t = *as_tensor(self);
    if (force && to_bool(force) && t.device().type != DeviceType::CPU) {
      Object here = Object::steal(checked(PyObject_CallMethod(self, "cpu", nullptr)));
      refuse_numpy(*as_tensor(here.get()), false);
      return numpy_array(*as_tensor(here.get()));
    }
    refuse_numpy(t, needs_detach(t) && !(force && to_bool(force)));
    return numpy_array(t);
  });
}

// numpy.asarray(tensor) takes the buffer; this is for the errors, and for a dtype or a copy.
PyObject* array(PyObject* self, PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames) {
  static const Signature signature{"__array__", {"dtype", "copy"}, 2, 0};
  return guard([&] {
    PyObject* v[2];
    signature.unpack(args, nargs, kwnames, v);
    Tensor& t = *as_tensor(self);
    refuse_numpy(t, needs_detach(t));
    Object a = Object::steal(numpy_array(t));
    if (given(v[0])) {
      Object converted = Object::steal(PyObject_GetAttrString(a.get(), "astype"));
      Object keywords = Object::steal(checked(Py_BuildValue("{sO}", "copy", Py_False)));
      Object one = Object::steal(checked(PyTuple_Pack(1, v[0])));
      a = Object::steal(
          checked(PyObject_Call(checked(converted.get()), one.get(), keywords.get())));
    }
    if (v[1] == Py_True) a = Object::steal(checked(PyObject_CallMethod(a.get(), "copy", nullptr)));
    return a.leak();
  });
}

PyObject* array_interface(PyObject* self, void*) {
  return guard([&] {
    Tensor& t = *as_tensor(self);
    refuse_numpy(t, needs_detach(t));
    const char* kinds = "buifc";
    char kind = t.dtype == DType::Bool ? 'b'
                : is_complex(t.dtype)  ? 'c'
                : is_floating(t.dtype) ? 'f'
                                       : kinds[info(t.dtype).is_signed ? 2 : 1];
    std::string type = concat(kind == 'b' ? '|' : '<', kind, itemsize(t.dtype));
    void_notes();
    lend(*t.storage);
    Object sizes = Object::steal(ints_tuple(t.sizes()));
    return Py_BuildValue("{sO sO ss s(KO) si}", "shape", sizes.get(), "strides",
                         byte_strides(t).get(), "typestr", type.c_str(), "data",
                         reinterpret_cast<unsigned long long>(t.numel() ? t.data() : nullptr),
                         Py_False, "version", 3);
  });
}

// ---- The buffer protocol ------------------------------------------------------------------------

int get_buffer(PyObject* self, Py_buffer* view, int flags) {
  view->obj = nullptr;
  return guard(-1, [&] {
    Tensor& t = *as_tensor(self);
    const Layout& l = *t.layout;
    if (requires_grad(t)) {
      fail(Error::Buffer, "a Tensor that requires grad has no buffer; use tensor.detach()");
    }
    if (t.device().type != DeviceType::CPU) {
      fail(Error::Buffer, "a Tensor on ", t.device().str(), " has no buffer; use tensor.cpu()");
    }
    if (!buffer_format(t.dtype)) {
      fail(Error::Buffer, "torch.", info(t.dtype).name, " has no buffer format; view it as int16");
    }
    const bool fortran = (flags & PyBUF_F_CONTIGUOUS) == PyBUF_F_CONTIGUOUS;
    const bool strided = (flags & PyBUF_STRIDES) == PyBUF_STRIDES;
    if (!l.contiguous && (!strided || (flags & PyBUF_C_CONTIGUOUS) == PyBUF_C_CONTIGUOUS ||
                          (flags & PyBUF_ANY_CONTIGUOUS) == PyBUF_ANY_CONTIGUOUS)) {
      fail(Error::Buffer, "the Tensor is not contiguous; use tensor.contiguous()");
    }
    if (fortran && l.ndim > 1) {
      fail(Error::Buffer, "the Tensor is not Fortran contiguous; use numpy.asfortranarray");
    }
    auto* dims = new Py_ssize_t[2 * l.ndim + 1];
    for (int d = 0; d < l.ndim; ++d) {
      dims[d] = l.size(d);
      dims[l.ndim + d] = l.stride(d) * itemsize(t.dtype);
    }
    void_notes();
    lend(*t.storage);
    static char nothing[16];
    view->buf = t.numel() ? t.data() : nothing;
    view->len = t.numel() * itemsize(t.dtype);
    view->itemsize = itemsize(t.dtype);
    view->readonly = 0;
    view->ndim = l.ndim;
    view->format = flags & PyBUF_FORMAT ? const_cast<char*>(buffer_format(t.dtype)) : nullptr;
    view->shape = flags & PyBUF_ND ? dims : nullptr;
    view->strides = strided ? dims + l.ndim : nullptr;
    view->suboffsets = nullptr;
    view->internal = dims;
    view->obj = new_ref(self);
    return 0;
  });
}

void release_buffer(PyObject*, Py_buffer* view) {
  delete[] static_cast<Py_ssize_t*>(view->internal);
}

PyGetSetDef interface_getter[] = {
    {"__array_interface__", array_interface, nullptr, "NumPy's description of the memory.",
     nullptr},
    {},
};

// The type `name` of NumPy, without importing it: null where nobody else did.
PyTypeObject* numpy_type(PyTypeObject*& cache, const char* name) {
  if (!cache) {
    static PyObject* module_name = PyUnicode_InternFromString("numpy");
    Object module = Object::steal(PyImport_GetModule(module_name));
    Object type = Object::steal(module ? PyObject_GetAttrString(module.get(), name) : nullptr);
    if (!type) {
      PyErr_Clear();  // not there, or half imported
      return nullptr;
    }
    cache = reinterpret_cast<PyTypeObject*>(type.leak());
  }
  return cache;
}

}  // namespace

bool is_numpy_array(PyObject* o) {
  static PyTypeObject* type = nullptr;
  return numpy_type(type, "ndarray") && PyObject_TypeCheck(o, type);
}
bool is_numpy_scalar(PyObject* o) {
  static PyTypeObject* type = nullptr;
  return numpy_type(type, "generic") && PyObject_TypeCheck(o, type);
}

TensorRef from_array(PyObject* o, bool must_be_writable) {
  Object source(o);
  if (!PyObject_CheckBuffer(o)) {
    if (!PyObject_HasAttrString(o, "__array_interface__")) return nullptr;
    static PyObject* asarray = nullptr;
    python_function(asarray, "numpy", "asarray");
    source = Object::steal(checked(PyObject_CallFunctionObjArgs(asarray, o, nullptr)));
  }
  Object owner = Object::steal(PyMemoryView_FromObject(source.get()));
  if (!owner) {  // dates and the like
    PyErr_Clear();
    unsupported_array(source.get());
  }
  Py_buffer view;
  checked(PyObject_GetBuffer(owner.get(), &view, PyBUF_RECORDS_RO));
  struct Release {
    Py_buffer* view;
    ~Release() { PyBuffer_Release(view); }
  } release{&view};
  const DType dtype = dtype_of_format(source.get(), view.format, view.itemsize);
  if (view.ndim > kMaxDims) fail(Error::Value, "a tensor has at most ", kMaxDims, " dims");
  int64_t sizes[kMaxDims], strides[kMaxDims];
  for (int d = 0; d < view.ndim; ++d) {
    sizes[d] = view.shape[d];
    if (view.strides[d] < 0 && sizes[d] > 1) {
      fail(Error::Value,
           "At least one stride in the given numpy array is negative, and tensors with "
           "negative strides are not currently supported. (You can probably work around this by "
           "making a copy of your array  with array.copy().) ");
    }
    if (view.strides[d] % view.itemsize && sizes[d] > 1) {
      fail(Error::Value,
           "given numpy array strides not a multiple of the element byte size. Copy "
           "the numpy array to reallocate the memory.");
    }
    strides[d] = sizes[d] > 1 ? view.strides[d] / view.itemsize : 1;
  }
  if (view.readonly && must_be_writable) {
    checked(PyErr_WarnEx(PyExc_UserWarning,
                         "The given NumPy array is not writable, and tensors are. Writing to the "
                         "tensor is undefined: copy the array, or use torch.tensor(array).",
                         1));
  }
  LayoutRef layout = intern({sizes, view.ndim}, {strides, view.ndim});
  const size_t nbytes = static_cast<size_t>(reach(*layout).second + 1) * view.itemsize;
  Ref<Storage> memory = foreign_storage(view.buf, nbytes, Device{}, owner.get());
  return make_tensor(memory.get(), layout.get(), dtype);
}

PyMethodDef exchange_methods[] = {
    {"numpy", method(numpy), METH_FASTCALL | METH_KEYWORDS,
     "numpy(*, force=False)\n--\n\n"
     "The same memory as a NumPy array. RuntimeError if the tensor requires grad, TypeError if it\n"
     "is not on the CPU or NumPy lacks the dtype; `force` detaches and copies to the CPU."},
    {"__array__", method(array), METH_FASTCALL | METH_KEYWORDS, nullptr},
    {},
};

const std::vector<PyType_Slot>& exchange_slots() {
  static const std::vector<PyType_Slot> slots = {
      {Py_bf_getbuffer, slot(get_buffer)},
      {Py_bf_releasebuffer, slot(release_buffer)},
  };
  return slots;
}

int init_exchange(PyObject*) {
  return guard(-1, [] {
    add_getters(TensorType, interface_getter);
    return 0;
  });
}

}  // namespace taimatsu
