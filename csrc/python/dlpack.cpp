// DLPack: sharing memory with other array libraries.
#include "python/dlpack.h"

#include "ops/sparse.h"
#include "plan/segment.h"
#include "tensor/stream.h"

namespace taimatsu {

DLDataType to_dlpack_type(DType t) {
  DLDataTypeCode code = t == DType::Bool    ? kDLBool
                        : t == DType::BF16  ? kDLBfloat
                        : is_complex(t)     ? kDLComplex
                        : is_floating(t)    ? kDLFloat
                        : info(t).is_signed ? kDLInt
                                            : kDLUInt;
  if (is_float8(t)) {  // kDLFloat8_e4m3fn and those that follow, in DLPack's order
    constexpr uint8_t codes[] = {10, 12, 11, 13, 14};
    return {codes[static_cast<int>(t) - static_cast<int>(DType::F8E4M3)], 8, 1};
  }
  return {static_cast<uint8_t>(code), static_cast<uint8_t>(8 * itemsize(t)), 1};
}

DType from_dlpack_type(DLDataType d) {
  for (int i = 0; i < kDTypes && d.lanes == 1; ++i) {
    DLDataType ours = to_dlpack_type(static_cast<DType>(i));
    if (ours.code == d.code && ours.bits == d.bits) return static_cast<DType>(i);
  }
  fail(Error::Buffer, "from_dlpack: there is no dtype of code ", int{d.code}, ", ", int{d.bits},
       " bits and ", d.lanes, " lanes");
}

DLDevice to_dlpack_device(Device d) {
  if (d.type == DeviceType::Meta) fail(Error::Value, "Unknown device type meta for Dlpack");
  return {d.type == DeviceType::CPU ? kDLCPU : kDLCUDA, d.index < 0 ? 0 : d.index};
}

Device from_dlpack_device(DLDevice d) {
  if (d.device_type == kDLCUDA) {
    backend(DeviceType::CUDA);  // says why not
    return {DeviceType::CUDA, static_cast<int8_t>(d.device_id)};
  }
  if (d.device_type != kDLCPU) {
    fail(Error::Buffer, "from_dlpack: memory of DLPack device type ", d.device_type,
         " can't be used; copy it to the CPU first");
  }
  return {};
}

namespace {

constexpr const char *kOld = "dltensor", *kOldUsed = "used_dltensor";
constexpr const char *kNew = "dltensor_versioned", *kNewUsed = "used_dltensor_versioned";

// ---- Export: what a consumer holds is the tensor, and the sizes and strides for it --------------

template <class Managed>
struct Export {
  Managed managed;
  PyObject* tensor;
  int64_t dims[];
};

template <class Managed>
void delete_export(Managed* m) {
  PyGILState_STATE gil = PyGILState_Ensure();  // a consumer may be done in any thread
  auto* e = static_cast<Export<Managed>*>(m->manager_ctx);
  Py_DECREF(e->tensor);
  std::free(e);
  PyGILState_Release(gil);
}

template <class Managed>
void capsule_destructor(PyObject* capsule) {
  const char* name = PyCapsule_GetName(capsule);
  if (!name || (std::strcmp(name, kOld) && std::strcmp(name, kNew))) return;  // somebody took it
  auto* m = static_cast<Managed*>(PyCapsule_GetPointer(capsule, name));
  if (m && m->deleter) m->deleter(m);
}

template <class Managed>
PyObject* make_capsule(Tensor& t, const char* name) {
  void_notes();
  const Layout& l = *t.layout;
  void* memory = std::calloc(1, sizeof(Export<Managed>) + 2 * l.ndim * sizeof(int64_t));
  if (!memory) throw std::bad_alloc();
  auto* e = static_cast<Export<Managed>*>(memory);
  std::copy(l.dims, l.dims + 2 * l.ndim, e->dims);
  e->tensor = new_ref(t.object());
  e->managed.manager_ctx = e;
  e->managed.deleter = delete_export<Managed>;
  e->managed.dl_tensor = {t.numel() ? t.data() : nullptr,
                          to_dlpack_device(t.device()),
                          l.ndim,
                          to_dlpack_type(t.dtype),
                          e->dims,
                          e->dims + l.ndim,
                          0};
  if constexpr (std::is_same_v<Managed, DLManagedTensorVersioned>) e->managed.version.major = 1;
  PyObject* capsule = PyCapsule_New(&e->managed, name, capsule_destructor<Managed>);
  if (!capsule) delete_export(&e->managed);
  return checked(capsule);
}

// Streams as the array API numbers them: 1 is the default one, and CUDA's handle of it too.
Stream stream_of_number(int64_t n) {
  return n == 1 ? nullptr : reinterpret_cast<Stream>(static_cast<intptr_t>(n));
}
PyObject* stream_number(int device) {
  const Stream s = streams->current(device);
  return PyLong_FromUnsignedLongLong(s ? reinterpret_cast<uintptr_t>(s) : 1);
}

// What the consumer's stream does from now on comes after all that was written to `t`. None is the
// default stream; -1, or nothing, asks for no order.
void order_for_consumer(const Tensor& t, PyObject* stream) {
  if (!stream) return;
  if (stream != Py_None && !PyLong_CheckExact(stream)) {
    fail(Error::Type, "stream must be ``int`` or ``none``");
  }
  const int64_t number = stream == Py_None ? 1 : to_index(stream);
  if (number == -1) return;
  const Device d = t.device();
  if (d.type != DeviceType::CUDA) {
    if (stream != Py_None) fail(Error::Assertion, "stream should be None on cpu.");
    return;
  }
  if (number < 1) {
    fail(Error::Assertion, "unsupported stream on CUDA: ", number,
         "; 1 is the default stream, others are handles");
  }
  flush_pending();
  streams->order(d.index, streams->current(d.index), d.index, stream_of_number(number));
}

Device device_of_pair(PyObject* pair) {
  Object type = Object::steal(checked(PySequence_GetItem(pair, 0)));
  Object index = Object::steal(checked(PySequence_GetItem(pair, 1)));
  return from_dlpack_device(
      {static_cast<int32_t>(to_index(type.get())), static_cast<int32_t>(to_index(index.get()))});
}

// On the device that the consumer asks for.
TensorRef on_dlpack_device(TensorRef t, PyObject* device, bool may_copy) {
  const Device wanted = device_of_pair(device);
  if (wanted.type == t->device().type && (wanted == t->device() || wanted.index < 0)) return t;
  if (!may_copy) {
    fail(Error::Value, "cannot move (i.e. copy=False) tensor from ", t->device().str(), " to ",
         wanted.str(), " without copying.");
  }
  Object name = Object::steal(device_object(wanted));
  Object moved = Object::steal(checked(PyObject_CallMethod(t->object(), "to", "O", name.get())));
  return TensorRef(as_tensor(moved.get()));
}

PyObject* to_dlpack(PyObject* self, PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames) {
  static const Signature signature{
      "__dlpack__", {"stream", "max_version", "dl_device", "copy"}, 0, 0};
  return guard([&] {
    PyObject* v[4];
    signature.unpack(args, nargs, kwnames, v);
    TensorRef t(as_tensor(self));
    refuse_sparse(*t, "__dlpack__");
    if (requires_grad(*t)) {
      fail(Error::Buffer, "Can't export tensors that require gradient, use tensor.detach()");
    }
    if (given(v[2])) t = on_dlpack_device(std::move(t), v[2], v[3] != Py_False);
    if (v[3] == Py_True && t.get() == as_tensor(self)) t = clone(*t);
    order_for_consumer(*t, v[0]);
    lend(*t->storage);
    bool versioned = false;
    if (given(v[1])) {
      Object major = Object::steal(checked(PySequence_GetItem(v[1], 0)));
      versioned = to_index(major.get()) >= 1;
    }
    return versioned ? make_capsule<DLManagedTensorVersioned>(*t, kNew)
                     : make_capsule<DLManagedTensor>(*t, kOld);
  });
}

PyObject* dlpack_device(PyObject* self, PyObject*) {
  return guard([&] {
    DLDevice d = to_dlpack_device(as_tensor(self)->device());
    return Py_BuildValue("(ii)", d.device_type, d.device_id);
  });
}

// ---- Import: the storage owns a capsule whose end is the producer's deleter ---------------------

template <class Managed>
Object take(PyObject* capsule, const char* name, const char* used, DLTensor& out) {
  auto* m = static_cast<Managed*>(PyCapsule_GetPointer(capsule, name));
  if (!m) python_error();
  Object owner = Object::steal(checked(PyCapsule_New(m, nullptr, [](PyObject* c) {
    auto* managed = static_cast<Managed*>(PyCapsule_GetPointer(c, nullptr));
    if (managed && managed->deleter) managed->deleter(managed);
  })));
  checked(PyCapsule_SetName(capsule, used));
  out = m->dl_tensor;
  return owner;
}

Device device_of_producer(PyObject* o) {
  if (!PyObject_HasAttrString(o, "__dlpack_device__")) return {};
  Object found = Object::steal(checked(PyObject_CallMethod(o, "__dlpack_device__", nullptr)));
  return device_of_pair(found.get());
}

// The producer is told the stream that will use the memory; who made a capsule was told before.
Object capsule_of(PyObject* o) {
  if (PyCapsule_CheckExact(o)) return Object(o);
  Object method = Object::steal(checked(PyObject_GetAttrString(o, "__dlpack__")));
  Object none = Object::steal(checked(PyTuple_New(0)));
  Object options = Object::steal(checked(PyDict_New()));
  if (const Device d = device_of_producer(o); d.type == DeviceType::CUDA) {
    Object stream = Object::steal(checked(stream_number(d.index)));
    checked(PyDict_SetItemString(options.get(), "stream", stream.get()));
  }
  Object old = Object::steal(checked(PyDict_Copy(options.get())));
  Object version = Object::steal(checked(Py_BuildValue("(ii)", 1, 0)));
  checked(PyDict_SetItemString(options.get(), "max_version", version.get()));
  Object capsule = Object::steal(PyObject_Call(method.get(), none.get(), options.get()));
  if (!capsule && PyErr_ExceptionMatches(PyExc_TypeError)) {  // a producer of before 1.0
    PyErr_Clear();
    capsule = Object::steal(PyObject_Call(method.get(), none.get(), old.get()));
  }
  checked(capsule.get());
  return capsule;
}

PyObject* py_from_dlpack(PyObject*, PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames) {
  static const Signature signature{"from_dlpack", {"ext_tensor", "device", "copy"}, 1, 1};
  return guard([&]() -> PyObject* {
    PyObject* v[3];
    signature.unpack(args, nargs, kwnames, v);
    TensorRef t = from_dlpack(v[0]);
    if (v[2] == Py_True) t = clone(*t);
    Object made = Object::steal(tensor_object(std::move(t)));
    if (!given(v[1])) return made.leak();
    Object moved = Object::steal(checked(PyObject_CallMethod(made.get(), "to", "O", v[1])));
    if (v[2] == Py_False && moved.get() != made.get()) {
      fail(Error::Value, "from_dlpack: copy=False, but the memory is on another device");
    }
    return moved.leak();
  });
}

PyMethodDef methods[] = {
    {"__dlpack__", method(to_dlpack), METH_FASTCALL | METH_KEYWORDS, nullptr},
    {"__dlpack_device__", dlpack_device, METH_NOARGS, nullptr},
    {},
};
PyMethodDef functions[] = {
    {"from_dlpack", method(py_from_dlpack), METH_FASTCALL | METH_KEYWORDS,
     "from_dlpack(ext_tensor, *, device=None, copy=None)\n--\n\n"
     "A tensor of the memory of another library's array, or of a DLPack capsule; a copy of it\n"
     "where `copy` or another device asks. ValueError for copy=False with another device."},
    {},
};

}  // namespace

TensorRef from_dlpack(PyObject* o) {
  Object capsule = capsule_of(o);
  DLTensor d;
  const bool versioned = PyCapsule_IsValid(capsule.get(), kNew);
  if (!versioned && !PyCapsule_IsValid(capsule.get(), kOld)) {
    fail(Error::Runtime,
         "from_dlpack received an invalid capsule. Note that DLTensor capsules can be "
         "consumed only once, so you might have already constructed a tensor from it once.");
  }
  Object owner = versioned ? take<DLManagedTensorVersioned>(capsule.get(), kNew, kNewUsed, d)
                           : take<DLManagedTensor>(capsule.get(), kOld, kOldUsed, d);
  const Device device = from_dlpack_device(d.device);
  const DType dtype = from_dlpack_type(d.dtype);
  if (d.ndim < 0 || d.ndim > kMaxDims) {
    fail(Error::Buffer, "from_dlpack: a tensor has at most ", kMaxDims, " dims; got ", d.ndim);
  }
  if (d.ndim && !d.shape) fail(Error::Buffer, "from_dlpack: the capsule doesn't tell its sizes");
  Ints sizes(d.shape, d.ndim);
  LayoutRef layout = contiguous_layout(sizes);
  if (d.strides && layout->numel > 1) {
    layout = checked_layout(sizes, {d.strides, d.ndim}, 0, "from_dlpack");
  }
  const size_t nbytes = bytes_reached(*layout, dtype);
  if (nbytes && !d.data) fail(Error::Buffer, "from_dlpack: the capsule's memory is a null pointer");
  Ref<Storage> memory =
      foreign_storage(static_cast<char*>(d.data) + d.byte_offset, nbytes, device, owner.get());
  return make_tensor(memory.get(), layout.get(), dtype);
}

TensorRef from_dlpack_managed(DLManagedTensorVersioned* managed) {
  Object capsule = Object::steal(checked(PyCapsule_New(managed, kNew, nullptr)));
  return from_dlpack(capsule.get());
}

int init_dlpack(PyObject* module) {
  return guard(-1, [&] {
    add_methods(TensorType, methods);
    return PyModule_AddFunctions(module, functions);
  });
}

}  // namespace taimatsu
