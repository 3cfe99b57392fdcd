// taimatsu.dtype, layout, memory_format: named singletons. taimatsu.Size: a tuple of ints.
#include <algorithm>

#include "python/python.h"

namespace taimatsu {

namespace {

// ---- Singletons ---------------------------------------------------------------------------------

// One object for each value, printed `torch.<name>` (programs compare these texts with PyTorch's)
// and pickled by name.
struct Named {
  PyObject ob_base;
  const char* name;
  int value;
};
Named* as_named(PyObject* o) { return reinterpret_cast<Named*>(o); }

PyObject* named_repr(PyObject* self) {
  return PyUnicode_FromFormat("torch.%s", as_named(self)->name);
}
PyObject* named_reduce(PyObject* self, PyObject*) {
  return PyUnicode_FromString(as_named(self)->name);
}
PyObject* named_itself(PyObject* self, PyObject*) { return new_ref(self); }

PyObject* new_named(PyObject* module, PyTypeObject* type, const char* name, int value) {
  PyObject* o = checked(PyType_GenericAlloc(type, 0));
  as_named(o)->name = name;
  as_named(o)->value = value;
  checked(PyModule_AddObjectRef(module, name, o));
  return o;
}

PyMethodDef named_methods[] = {
    {"__reduce__", named_reduce, METH_NOARGS, nullptr},
    {"__copy__", named_itself, METH_NOARGS, nullptr},
    {"__deepcopy__", named_itself, METH_O, nullptr},
    {},
};

constexpr unsigned kSingleton = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION;

// ---- dtype --------------------------------------------------------------------------------------

PyTypeObject* dtype_type;
PyObject* dtypes[kNamedDTypes];

DType value_of(PyObject* self) { return static_cast<DType>(as_named(self)->value); }

PyObject* dtype_is_floating_point(PyObject* self, void*) {
  return boolean(is_floating(value_of(self)));
}
PyObject* dtype_is_complex(PyObject* self, void*) { return boolean(is_complex(value_of(self))); }
PyObject* dtype_is_signed(PyObject* self, void*) { return boolean(info(value_of(self)).is_signed); }
PyObject* dtype_itemsize(PyObject* self, void*) {
  return PyLong_FromLongLong(itemsize(value_of(self)));
}
PyObject* dtype_code(PyObject* self, void*) {
  return PyUnicode_FromString(info(value_of(self)).code);
}
PyObject* dtype_legacy(PyObject* self, void*) {
  return PyUnicode_FromString(info(value_of(self)).legacy);
}
PyObject* dtype_to_real(PyObject* self, PyObject*) {
  return new_ref(dtype_object(real_dtype(value_of(self))));
}
PyObject* dtype_to_complex(PyObject* self, PyObject*) {
  return guard([&] {
    DType t = value_of(self);
    if (!is_differentiable(t)) {
      fail(Error::Runtime, "dtype.to_complex: there is no complex dtype of torch.", info(t).name,
           "; convert to a floating dtype first");
    }
    return new_ref(dtype_object(complex_dtype(t)));
  });
}

PyGetSetDef dtype_getters[] = {
    {"is_floating_point", dtype_is_floating_point, nullptr, "Whether it is a real floating dtype.",
     nullptr},
    {"is_complex", dtype_is_complex, nullptr, "Whether it is a complex dtype.", nullptr},
    {"is_signed", dtype_is_signed, nullptr, "Whether negative values can be represented.", nullptr},
    {"itemsize", dtype_itemsize, nullptr, "Bytes in an element.", nullptr},
    {"_code", dtype_code, nullptr, "The name in code generation: 'f32'.", nullptr},
    {"_legacy_name", dtype_legacy, nullptr, "The name in type strings: 'Float'.", nullptr},
    {},
};
PyMethodDef dtype_methods[] = {
    {"to_real", dtype_to_real, METH_NOARGS, "The real dtype of the same precision."},
    {"to_complex", dtype_to_complex, METH_NOARGS,
     "The complex dtype of the same precision. RuntimeError for integers."},
    {},
};

// ---- Size ---------------------------------------------------------------------------------------

PyTypeObject* size_type;

PyObject* new_size(Py_ssize_t n) { return checked(PyType_GenericAlloc(size_type, n)); }

PyObject* size_of_tuple(PyObject* tuple) {  // takes over `tuple`, which may be null
  Object owned = Object::steal(checked(tuple));
  Py_ssize_t n = PyTuple_Size(tuple);
  PyObject* size = new_size(n);
  for (Py_ssize_t i = 0; i < n; ++i) {
    PyTuple_SetItem(size, i, new_ref(PyTuple_GetItem(tuple, i)));
  }
  return size;
}

PyObject* size_new(PyTypeObject*, PyObject* args, PyObject* kwargs) {
  return guard([&] {
    static const Signature signature{"Size", {"sizes"}, 1, 0};
    PyObject* sizes;
    signature.unpack(args, kwargs, &sizes);
    if (!sizes) return new_size(0);
    Object items = Object::steal(checked(PySequence_Tuple(sizes)));
    Py_ssize_t n = PyTuple_Size(items.get());
    Object size = Object::steal(new_size(n));
    for (Py_ssize_t i = 0; i < n; ++i) {
      PyObject* item = PyTuple_GetItem(items.get(), i);
      if (!PyLong_Check(item) && !PyIndex_Check(item)) {
        fail(Error::Type, "torch.Size() takes an iterable of 'int' (item ", i, " is '",
             type_name(item), "')");
      }
      checked(PyTuple_SetItem(size.get(), i, checked(PyNumber_Index(item))));
    }
    return size.leak();
  });
}

PyObject* size_repr(PyObject* self) {
  return guard([&] {
    Object list = Object::steal(checked(PySequence_List(self)));
    return PyUnicode_FromFormat("torch.Size(%R)", list.get());
  });
}

PyObject* size_add(PyObject* a, PyObject* b) {
  if (!PyTuple_Check(a) || !PyTuple_Check(b)) Py_RETURN_NOTIMPLEMENTED;
  return guard([&] { return size_of_tuple(PySequence_Concat(a, b)); });
}

PyObject* size_multiply(PyObject* a, PyObject* b) {
  if (!PyTuple_Check(a)) std::swap(a, b);
  if (!PyTuple_Check(a) || !PyIndex_Check(b)) Py_RETURN_NOTIMPLEMENTED;
  return guard([&] { return size_of_tuple(PySequence_Repeat(a, to_index(b))); });
}

PyObject* size_subscript(PyObject* self, PyObject* key) {
  if (PyLong_CheckExact(key)) {
    Py_ssize_t i = PyLong_AsSsize_t(key);
    if (i == -1 && PyErr_Occurred()) return nullptr;
    PyObject* item = PyTuple_GetItem(self, i < 0 ? i + PyTuple_Size(self) : i);
    return item ? new_ref(item) : nullptr;
  }
  static auto of_tuple =
      reinterpret_cast<binaryfunc>(PyType_GetSlot(&PyTuple_Type, Py_mp_subscript));
  PyObject* item = of_tuple(self, key);
  if (!item || !PyTuple_CheckExact(item)) return item;
  return guard([&] { return size_of_tuple(item); });
}

PyObject* size_numel(PyObject* self, PyObject*) {
  Object product = Object::steal(PyLong_FromLong(1));
  for (Py_ssize_t i = 0; product && i < PyTuple_Size(self); ++i) {
    product = Object::steal(PyNumber_Multiply(product.get(), PyTuple_GetItem(self, i)));
  }
  return product.leak();
}

PyObject* size_reduce(PyObject* self, PyObject*) {
  Object tuple = Object::steal(PyTuple_GetSlice(self, 0, PyTuple_Size(self)));
  return tuple ? Py_BuildValue("(O(O))", size_type, tuple.get()) : nullptr;
}

PyMethodDef size_methods[] = {
    {"numel", size_numel, METH_NOARGS, "The number of elements: the product of the sizes."},
    {"__reduce__", size_reduce, METH_NOARGS, nullptr},
    {},
};

PyType_Slot size_slots[] = {
    {Py_tp_doc, const_cast<char*>("The sizes of a tensor: a tuple of ints.\n\n"
                                  ">>> torch.Size([2, 3]).numel()\n6")},
    {Py_tp_base, &PyTuple_Type},
    {Py_tp_new, slot(size_new)},
    {Py_tp_repr, slot(size_repr)},
    {Py_nb_add, slot(size_add)},
    {Py_nb_multiply, slot(size_multiply)},
    {Py_mp_subscript, slot(size_subscript)},
    {Py_tp_methods, size_methods},
    {0, nullptr},
};
PyType_Spec size_spec = {"taimatsu.Size", 0, 0, Py_TPFLAGS_DEFAULT, size_slots};

PyTypeObject* new_singleton_type(PyObject* module, const char* name, const char* doc,
                                 PyMethodDef* methods, PyGetSetDef* getters) {
  PyType_Slot slots[] = {
      {Py_tp_doc, const_cast<char*>(doc)},
      {Py_tp_repr, slot(named_repr)},
      {Py_tp_methods, named_methods},
      {0, nullptr},
  };
  PyType_Spec spec = {name, sizeof(Named), 0, kSingleton, slots};
  auto* type = add_type(module, spec);
  if (!type) python_error();
  overrides_nothing(type);
  if (methods) add_methods(type, methods);
  if (getters) add_getters(type, getters);
  return type;
}

PyTypeObject* layout_type;
PyObject* strided;
PyTypeObject* memory_format_type;
PyObject* memory_formats[4];

}  // namespace

PyObject* dtype_object(DType t) { return dtypes[static_cast<int>(t)]; }

bool dtype_of(PyObject* o, DType& out) {
  if (Py_TYPE(o) == dtype_type) {
    out = value_of(o);
    if (static_cast<int>(out) >= kDTypes) {
      fail(Error::NotImplemented, "torch.", info(out).name,
           " is known by name only, there are no tensors of it; use another dtype");
    }
  } else if (o == reinterpret_cast<PyObject*>(&PyFloat_Type)) {
    out = DType::F64;
  } else if (o == reinterpret_cast<PyObject*>(&PyLong_Type)) {
    out = DType::I64;
  } else if (o == reinterpret_cast<PyObject*>(&PyBool_Type)) {
    out = DType::Bool;
  } else if (o == reinterpret_cast<PyObject*>(&PyComplex_Type)) {
    out = DType::C128;
  } else {
    return false;
  }
  return true;
}

bool layout_of(PyObject* o, const char*& name) {
  if (Py_TYPE(o) != layout_type) return false;
  name = as_named(o)->name;
  return true;
}

PyObject* strided_object() { return strided; }

bool memory_format_of(PyObject* o, MemoryFormat& out) {
  if (Py_TYPE(o) != memory_format_type) return false;
  out = static_cast<MemoryFormat>(as_named(o)->value);
  return true;
}

PyObject* memory_format_object(MemoryFormat f) {
  return new_ref(memory_formats[static_cast<int>(f)]);
}

// Programs ask for the same few shapes over and over, and a Size never changes: the last one of
// each slot is kept.
PyObject* size_object(Ints sizes) {
  constexpr int kMaxKept = 6;
  struct Kept {
    int64_t ndim = -1;
    int64_t sizes[kMaxKept];
    Object object;
  };
  static auto* kept = new Kept[64];  // never freed: asked at exit too

  uint64_t hash = static_cast<uint64_t>(sizes.size);
  for (int64_t s : sizes) hash = (hash ^ static_cast<uint64_t>(s)) * 0x9e3779b97f4a7c15u;
  Kept& slot = kept[hash >> 58];
  if (slot.ndim == sizes.size && std::equal(sizes.begin(), sizes.end(), slot.sizes)) {
    return new_ref(slot.object.get());
  }
  Object size = Object::steal(new_size(sizes.size));
  for (int64_t i = 0; i < sizes.size; ++i) {
    PyTuple_SetItem(size.get(), i, checked(PyLong_FromLongLong(sizes[i])));
  }
  if (sizes.size <= kMaxKept) {
    slot.ndim = sizes.size;
    std::copy(sizes.begin(), sizes.end(), slot.sizes);
    slot.object = size;
  }
  return size.leak();
}

PyObject* number_object(const Number& n) {
  switch (n.tag) {
    case Number::Bool: return boolean(n.i != 0);
    case Number::Int: return checked(PyLong_FromLongLong(n.i));
    case Number::Float: return checked(PyFloat_FromDouble(n.f));
    case Number::Complex: return checked(PyComplex_FromDoubles(n.f, n.imag));
  }
  return nullptr;
}

int init_dtypes(PyObject* module) {
  return guard(-1, [&] {
    dtype_type = new_singleton_type(module, "taimatsu.dtype", "The type of a tensor's elements.",
                                    dtype_methods, dtype_getters);
    for (int i = 0; i < kNamedDTypes; ++i) {
      dtypes[i] = new_named(module, dtype_type, info(static_cast<DType>(i)).name, i);
    }
    const std::pair<const char*, DType> others[] = {
        {"half", DType::F16},  {"float", DType::F32},  {"double", DType::F64},
        {"short", DType::I16}, {"int", DType::I32},    {"long", DType::I64},
        {"chalf", DType::C32}, {"cfloat", DType::C64}, {"cdouble", DType::C128},
    };
    for (auto& [name, t] : others) checked(PyModule_AddObjectRef(module, name, dtype_object(t)));

    layout_type = new_singleton_type(
        module, "taimatsu.layout", "How elements are stored: with strides, or only some (sparse).",
        nullptr, nullptr);
    // The last two are names for programs to compare with: no tensor has them.
    const char* layouts[] = {"strided",    "sparse_coo", "sparse_csr", "sparse_csc",
                             "sparse_bsr", "sparse_bsc", "_mkldnn",    "jagged"};
    strided = new_named(module, layout_type, layouts[0], 0);
    for (int i = 1; i < 8; ++i) Object::steal(new_named(module, layout_type, layouts[i], i));

    memory_format_type =
        new_singleton_type(module, "taimatsu.memory_format",
                           "An order of the dimensions in memory.", nullptr, nullptr);
    const char* formats[] = {"contiguous_format", "preserve_format", "channels_last",
                             "channels_last_3d"};
    for (int i = 0; i < 4; ++i) {
      memory_formats[i] = new_named(module, memory_format_type, formats[i], i);
    }

    size_type = add_type(module, size_spec);
    return size_type ? 0 : -1;
  });
}

}  // namespace taimatsu
