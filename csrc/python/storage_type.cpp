// taimatsu.UntypedStorage: the bytes under tensors. Tensors from bytes, memory statistics.
#include "python/tensor_type.h"

namespace taimatsu {

namespace {

PyTypeObject* storage_type;

struct StorageObject {
  PyObject ob_base;
  Storage* storage;  // owned
};
Storage& storage_in(PyObject* o) { return *reinterpret_cast<StorageObject*>(o)->storage; }

constexpr int kKeywords = METH_FASTCALL | METH_KEYWORDS;

// The bytes, for Python to read or write.
uint8_t* bytes_of(Storage& s, const char* what) {
  if (s.device.type == DeviceType::Meta) {
    fail(Error::NotImplemented, what, ": a storage on the meta device has no data");
  }
  if (s.device.type != DeviceType::CPU) {
    fail(Error::Type, what, ": the storage is on ", s.device.str(), "; copy it to the CPU first");
  }
  return s.as<uint8_t>();
}

PyObject* wrap(PyTypeObject* type, Ref<Storage> s) {
  PyObject* o = checked(PyType_GenericAlloc(type, 0));
  s->wrapper = o;
  reinterpret_cast<StorageObject*>(o)->storage = s.leak();
  return o;
}

void dealloc(PyObject* self) {
  if (Storage* s = reinterpret_cast<StorageObject*>(self)->storage) {
    s->wrapper = nullptr;
    release(s);
  }
  PyTypeObject* type = Py_TYPE(self);
  reinterpret_cast<freefunc>(PyType_GetSlot(type, Py_tp_free))(self);
  Py_DECREF(reinterpret_cast<PyObject*>(type));
}

size_t byte_count(PyObject* o) {
  int64_t n = to_index(o);
  if (n < 0)
    fail(Error::Runtime, "UntypedStorage: the number of bytes must be at least 0; got ", n);
  return static_cast<size_t>(n);
}

Device device_argument(PyObject* o, const char* function) {
  Device d;
  if (given(o) && !device_of(o, d)) {
    fail(Error::Type, function, "(): argument 'device' must be torch.device, not ", type_name(o));
  }
  return d;
}

PyObject* storage_new(PyTypeObject* type, PyObject* args, PyObject* kwargs) {
  return guard([&] {
    static const Signature signature{"UntypedStorage", {"nbytes", "device"}, 1, 0};
    PyObject* v[2];
    signature.unpack(args, kwargs, v);
    Device device = device_argument(v[1], "UntypedStorage");
    if (!v[0] || PyIndex_Check(v[0])) {
      return wrap(type, new_storage(v[0] ? byte_count(v[0]) : 0, device));
    }
    Object items = Object::steal(checked(PySequence_Tuple(v[0])));  // the bytes themselves
    const Py_ssize_t n = PyTuple_Size(items.get());
    Ref<Storage> s = new_storage(n, device);
    for (Py_ssize_t i = 0; i < n; ++i) {
      bytes_of(*s, "UntypedStorage")[i] =
          static_cast<uint8_t>(to_index(PyTuple_GetItem(items.get(), i)));
    }
    return wrap(type, std::move(s));
  });
}

// ---- Foreign memory -----------------------------------------------------------------------------
// A storage over a Python buffer. The memoryview holds the buffer, and with it what owns it; one
// that is given is held itself, so that a weak reference tells when the storage is done with it.
Ref<Storage> storage_of_buffer(PyObject* o, int64_t offset, int64_t count) {
  Object view = Object::steal(
      Py_TYPE(o) == &PyMemoryView_Type ? new_ref(o) : checked(PyMemoryView_FromObject(o)));
  Py_buffer buffer;
  checked(PyObject_GetBuffer(view.get(), &buffer, PyBUF_SIMPLE));
  char* data = static_cast<char*>(buffer.buf);
  const int64_t available = buffer.len;
  PyBuffer_Release(&buffer);
  if (offset < 0 || offset > available || count > available - offset) {
    fail(Error::Value, "from_buffer: ", count, " bytes from ", offset,
         " on lie outside of the buffer, which has ", available);
  }
  return foreign_storage(data + offset, count < 0 ? available - offset : count, Device{},
                         view.get());
}

PyObject* from_buffer(PyObject* cls, PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames) {
  static const Signature signature{
      "from_buffer", {"buffer", "offset", "count", "byte_order", "dtype"}, 5, 1};
  return guard([&] {
    PyObject* v[5];
    signature.unpack(args, nargs, kwnames, v);
    if (given(v[3]) && to_string(v[3]) != "native" && to_string(v[3]) != "little") {
      fail(Error::Value, "from_buffer: byte_order must be 'native' or 'little'; got ",
           to_string(v[3]));
    }
    Ref<Storage> shared = storage_of_buffer(v[0], given(v[1]) ? to_index(v[1]) : 0,
                                            given(v[2]) ? to_index(v[2]) : -1);
    Ref<Storage> own = new_storage(shared->nbytes);
    if (shared->nbytes) std::memcpy(own->as<char>(), shared->data, shared->nbytes);
    return wrap(reinterpret_cast<PyTypeObject*>(cls), std::move(own));
  });
}

PyObject* sharing_buffer(PyObject* cls, PyObject* const* args, Py_ssize_t nargs,
                         PyObject* kwnames) {
  static const Signature signature{"_sharing", {"buffer", "shared_memory"}, 2, 1};
  return guard([&] {
    PyObject* v[2];
    signature.unpack(args, nargs, kwnames, v);
    Ref<Storage> s = storage_of_buffer(v[0], 0, -1);
    s->shared_memory = given(v[1]) && to_bool(v[1]);
    return wrap(reinterpret_cast<PyTypeObject*>(cls), std::move(s));
  });
}

// ---- Memory that processes share ----------------------------------------------------------------
// The mapping is Python's (multiprocessing/shared_memory.py); here a storage moves into it.
PyObject* share(PyObject* self, PyObject* buffer) {
  return guard([&] {
    Storage& s = storage_in(self);
    bytes_of(s, "share_memory_");
    Ref<Storage> to = storage_of_buffer(buffer, 0, -1);
    if (to->nbytes != s.nbytes) {
      fail(Error::Value, "_share: the buffer has ", to->nbytes, " bytes, the storage ", s.nbytes);
    }
    share_storage(s, to->data, to->owner);
    return new_ref(self);
  });
}

PyObject* owner(PyObject* self, PyObject*) {
  PyObject* o = storage_in(self).root().owner;
  return new_ref(o ? o : Py_None);
}

// Counts that processes share are changed here, as Python has no atomic operations.
PyObject* atomic_add(PyObject*, PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames) {
  static const Signature signature{"atomic_add", {"buffer", "offset", "value"}, 3, 3};
  return guard([&] {
    PyObject* v[3];
    signature.unpack(args, nargs, kwnames, v);
    Ref<Storage> s = storage_of_buffer(v[0], to_index(v[1]), sizeof(int64_t));
    auto* count = s->as<int64_t>();
    if (reinterpret_cast<uintptr_t>(count) % alignof(int64_t)) {
      fail(Error::Value, "atomic_add: offset ", to_index(v[1]), " is not aligned to 8 bytes");
    }
    return PyLong_FromLongLong(__atomic_add_fetch(count, to_index(v[2]), __ATOMIC_SEQ_CST));
  });
}

// ---- Bytes --------------------------------------------------------------------------------------
Py_ssize_t length(PyObject* self) { return static_cast<Py_ssize_t>(storage_in(self).nbytes); }

PyObject* tolist(PyObject* self, PyObject*) {
  return guard([&] {
    Storage& s = storage_in(self);
    uint8_t* data = bytes_of(s, "tolist");
    Object list = Object::steal(checked(PyList_New(s.nbytes)));
    for (size_t i = 0; i < s.nbytes; ++i) {
      checked(PyList_SetItem(list.get(), i, checked(PyLong_FromLong(data[i]))));
    }
    return list.leak();
  });
}

struct Range {
  Py_ssize_t start, count, step;
  bool single;
};
Range range_of(const Storage& s, PyObject* key) {  // the key's own code may change the size
  if (Py_TYPE(key) == &PySlice_Type) {
    Py_ssize_t start, stop, step;
    checked(PySlice_Unpack(key, &start, &stop, &step));
    if (step != 1) fail(Error::Runtime, "UntypedStorage: a slice must have step 1; got ", step);
    const auto count =
        PySlice_AdjustIndices(static_cast<Py_ssize_t>(s.nbytes), &start, &stop, step);
    return {start, count, step, false};
  }
  int64_t i = to_index(key);
  const auto n = static_cast<Py_ssize_t>(s.nbytes);
  if (i < -n || i >= n) {
    fail(Error::Index, "index ", i, " out of range for storage of size ", n);
  }
  return {static_cast<Py_ssize_t>(i < 0 ? i + n : i), 1, 1, true};
}

PyObject* subscript(PyObject* self, PyObject* key) {
  return guard([&]() -> PyObject* {
    Storage& s = storage_in(self);
    Range r = range_of(s, key);
    uint8_t* data = bytes_of(s, "UntypedStorage");
    if (r.single) return PyLong_FromLong(data[r.start]);
    lend(s);
    Ref<Storage> part =
        foreign_storage(data + std::min<Py_ssize_t>(r.start, s.nbytes), r.count, s.device, self);
    return wrap(storage_type, std::move(part));
  });
}

int assign(PyObject* self, PyObject* key, PyObject* value) {
  return guard(-1, [&] {
    if (!value) fail(Error::Type, "UntypedStorage does not support deleting items");
    Storage& s = storage_in(self);
    const auto byte = static_cast<int>(to_index(value) & 255);
    Range r = range_of(s, key);
    if (r.count) std::memset(bytes_of(s, "UntypedStorage") + r.start, byte, r.count);
    return 0;
  });
}

PyObject* nbytes(PyObject* self, PyObject*) { return PyLong_FromSize_t(storage_in(self).nbytes); }
PyObject* data_ptr(PyObject* self, PyObject*) {
  return PyLong_FromVoidPtr(storage_in(self).as<void>());
}
PyObject* get_identity(PyObject* self, void*) {
  return PyLong_FromVoidPtr(const_cast<Storage*>(&storage_in(self).root()));
}
PyObject* element_size(PyObject*, PyObject*) { return PyLong_FromLong(1); }
PyObject* resizable(PyObject* self, PyObject*) {
  return boolean(storage_in(self).root().resizable);
}
PyObject* is_shared(PyObject* self, PyObject*) { return boolean(storage_in(self).shared_memory); }
PyObject* get_device(PyObject* self, void*) {
  return guard([&] { return device_object(storage_in(self).device); });
}

PyObject* resize_(PyObject* self, PyObject* size) {
  return guard([&] {
    resize_storage(const_cast<Storage&>(storage_in(self).root()), byte_count(size));
    return new_ref(self);
  });
}

Storage& storage_argument(PyObject* o, const char* method) {
  Storage* s;
  if (!storage_of(o, s)) {
    fail(Error::Type, method, "(): argument must be UntypedStorage, not ", type_name(o));
  }
  return *s;
}

PyObject* copy_(PyObject* self, PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames) {
  static const Signature signature{"copy_", {"source", "non_blocking"}, 2, 1};
  return guard([&] {
    PyObject* v[2];
    signature.unpack(args, nargs, kwnames, v);
    Storage &to = storage_in(self), &from = storage_argument(v[0], "copy_");
    if (to.nbytes != from.nbytes) {
      fail(Error::Runtime, "copy_: size does not match; self has ", to.nbytes, " bytes, src ",
           from.nbytes);
    }
    const Device d = to.device.type == DeviceType::CPU ? from.device : to.device;
    backend(d.type).copy(to.as<char>(), to.device, from.as<char>(), from.device, to.nbytes, false);
    return new_ref(self);
  });
}

PyObject* clone(PyObject* self, PyObject*) {
  return guard([&] {
    Storage& s = storage_in(self);
    Ref<Storage> copy = new_storage(s.nbytes, s.device);
    if (s.nbytes)
      backend(s.device.type)
          .copy(copy->as<char>(), s.device, s.as<char>(), s.device, s.nbytes, false);
    return wrap(storage_type, std::move(copy));
  });
}

PyObject* fill_(PyObject* self, PyObject* value) {
  return guard([&] {
    Storage& s = storage_in(self);
    const auto byte = static_cast<int>(to_index(value) & 255);
    if (s.nbytes) std::memset(bytes_of(s, "fill_"), byte, s.nbytes);
    return new_ref(self);
  });
}

// ---- The buffer protocol ------------------------------------------------------------------------

int get_buffer(PyObject* self, Py_buffer* view, int flags) {
  return guard(-1, [&] {
    Storage& s = storage_in(self);
    if (s.device.type != DeviceType::CPU) {
      fail(Error::Buffer, "UntypedStorage: memory on ", s.device.str(), " has no buffer");
    }
    lend(s);
    static char nothing;
    checked(PyBuffer_FillInfo(view, self, s.nbytes ? s.as<void>() : &nothing, s.nbytes, 0, flags));
    return 0;
  });
}

PyObject* repr(PyObject* self) {
  return guard([&] {
    const Storage& s = storage_in(self);
    return checked(PyUnicode_FromFormat("<taimatsu.UntypedStorage of %zu bytes on %s>", s.nbytes,
                                        s.device.str().c_str()));
  });
}

PyGetSetDef getters[] = {
    {"device", get_device, nullptr, "Where the bytes are.", nullptr},
    {"_cdata", get_identity, nullptr, "A number that is the same for storages of the same memory.",
     nullptr},
    {},
};
PyMethodDef methods[] = {
    {"nbytes", nbytes, METH_NOARGS, "nbytes()\n--\n\nThe number of bytes."},
    {"size", nbytes, METH_NOARGS, "size()\n--\n\nThe number of bytes."},
    {"data_ptr", data_ptr, METH_NOARGS, "data_ptr()\n--\n\nThe address of the first byte."},
    {"element_size", element_size, METH_NOARGS, "element_size()\n--\n\n1."},
    {"resizable", resizable, METH_NOARGS,
     "resizable()\n--\n\nFalse where the memory belongs to somebody else, or is lent out."},
    {"is_shared", is_shared, METH_NOARGS,
     "is_shared()\n--\n\nWhether other processes see the memory."},
    {"resize_", resize_, METH_O,
     "resize_(size)\n--\n\nChange the number of bytes; what was there stays as far as it fits."},
    {"copy_", method(copy_), kKeywords,
     "copy_(source, non_blocking=False)\n--\n\nCopy the bytes of a storage of the same size."},
    {"clone", clone, METH_NOARGS, "clone()\n--\n\nA copy."},
    {"__deepcopy__", clone, METH_O, nullptr},
    {"fill_", fill_, METH_O, "fill_(value)\n--\n\nSet every byte."},
    {"tolist", tolist, METH_NOARGS, "tolist()\n--\n\nThe bytes as a list of ints."},
    {"from_buffer", method(from_buffer), kKeywords | METH_CLASS,
     "from_buffer(buffer, offset=0, count=-1, byte_order='native', dtype=None)\n--\n\n"
     "A copy of the bytes of an object with the buffer protocol."},
    {"_sharing", method(sharing_buffer), kKeywords | METH_CLASS,
     "_sharing(buffer, shared_memory=False)\n--\n\n"
     "The memory of an object with the buffer protocol, kept alive."},
    {"_share", share, METH_O,
     "_share(buffer)\n--\n\nMove the bytes to a buffer of the same size that processes share."},
    {"_owner", owner, METH_NOARGS,
     "_owner()\n--\n\nThe object that the memory belongs to, None where it is the storage's own."},
    {},
};
PyType_Slot slots[] = {
    {Py_tp_doc, const_cast<char*>("UntypedStorage(nbytes=0, *, device='cpu')\n--\n\n"
                                  "The memory of tensors, as bytes. Has the buffer protocol.")},
    {Py_tp_new, slot(storage_new)},
    {Py_tp_dealloc, slot(dealloc)},
    {Py_tp_repr, slot(repr)},
    {Py_mp_length, slot(length)},
    {Py_mp_subscript, slot(subscript)},
    {Py_mp_ass_subscript, slot(assign)},
    {Py_bf_getbuffer, slot(get_buffer)},
    {Py_tp_getset, getters},
    {Py_tp_methods, methods},
    {0, nullptr},
};
PyType_Spec spec = {"taimatsu.UntypedStorage", sizeof(StorageObject), 0,
                    Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE, slots};

// ---- Functions of the module --------------------------------------------------------------------

PyObject* tensor_from_storage(PyObject*, PyObject* const* args, Py_ssize_t nargs,
                              PyObject* kwnames) {
  static const Signature signature{
      "tensor_from_storage", {"storage", "dtype", "storage_offset", "size", "stride"}, 5, 5};
  return guard([&] {
    PyObject* v[5];
    signature.unpack(args, nargs, kwnames, v);
    Storage& s = storage_argument(v[0], "tensor_from_storage");
    DType dtype;
    if (!dtype_of(v[1], dtype)) {
      fail(Error::Type, "tensor_from_storage(): argument 'dtype' must be torch.dtype, not ",
           type_name(v[1]));
    }
    LayoutRef layout = checked_layout(to_ints(v[3], "size"), to_ints(v[4], "stride"),
                                      to_index(v[2]), "tensor_from_storage");
    const size_t needed = bytes_reached(*layout, dtype);
    if (needed > s.nbytes) {
      fail(Error::Runtime, "tensor_from_storage: sizes ", format(layout->sizes()), ", strides ",
           format(layout->strides()), " and offset ", layout->offset, " need ", needed,
           " bytes; the storage has ", s.nbytes);
    }
    return tensor_object(make_tensor(&s, layout.get(), dtype));
  });
}

PyObject* memory_stats(PyObject*, PyObject*) {
  MemoryStats m = cpu_memory_stats();
  return Py_BuildValue("{sLsLsLsLsLsL}", "allocated", m.allocated, "reserved", m.reserved,
                       "peak_allocated", m.peak_allocated, "peak_reserved", m.peak_reserved,
                       "allocations", m.allocations, "system_allocations", m.system_allocations);
}
PyObject* reset_peak_memory_stats(PyObject*, PyObject*) {
  reset_peak_cpu_memory_stats();
  Py_RETURN_NONE;
}
PyObject* empty_cache(PyObject*, PyObject*) {
  empty_cpu_cache();
  Py_RETURN_NONE;
}
PyObject* return_unused(PyObject*, PyObject*) {
  return_unused_cpu_memory();
  Py_RETURN_NONE;
}

PyMethodDef functions[] = {
    {"tensor_from_storage", method(tensor_from_storage), kKeywords,
     "tensor_from_storage(storage, dtype, storage_offset, size, stride)\n--\n\n"
     "A tensor of the storage's memory. Offset and strides count elements."},
    {"memory_stats", memory_stats, METH_NOARGS,
     "memory_stats()\n--\n\nBytes that CPU tensors hold and held at most, and the allocator's."},
    {"reset_peak_memory_stats", reset_peak_memory_stats, METH_NOARGS,
     "reset_peak_memory_stats()\n--\n\nStart the peaks of memory_stats anew."},
    {"atomic_add", method(atomic_add), kKeywords,
     "atomic_add(buffer, offset, value)\n--\n\n"
     "Add to the int64 at a byte offset of a buffer, in one step; the sum."},
    {"empty_cache", empty_cache, METH_NOARGS,
     "empty_cache()\n--\n\nGive the CPU allocator's free memory back to the system."},
    {"return_unused", return_unused, METH_NOARGS,
     "return_unused()\n--\n\nGive back the CPU allocator's free memory that was not needed since "
     "the last call but one. It calls this itself, every few seconds of use."},
    {},
};

}  // namespace

PyObject* storage_object(Storage* s) {
  void_notes();
  if (s->wrapper) return new_ref(s->wrapper);
  return wrap(storage_type, Ref<Storage>(s));
}

bool storage_of(PyObject* o, Storage*& out) {
  if (!PyObject_TypeCheck(o, storage_type)) return false;
  out = reinterpret_cast<StorageObject*>(o)->storage;
  return true;
}

int init_storage_type(PyObject* module) {
  storage_type = add_type(module, spec);
  return storage_type ? PyModule_AddFunctions(module, functions) : -1;
}

}  // namespace taimatsu
