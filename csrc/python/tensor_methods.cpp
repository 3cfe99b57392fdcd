// Methods of Tensor that are not ops of the table: they ask about the tensor or change its layout,
// and compute nothing.
#include "ops/sparse.h"
#include "python/tensor_type.h"

namespace taimatsu {

namespace {

using Args = PyObject* const*;

// ---- Shape and memory ---------------------------------------------------------------------------

PyObject* one_or_all(PyObject* self, Args args, Py_ssize_t nargs, PyObject* kwnames,
                     const Signature& signature, const int64_t* values, PyObject* (*all)(Ints)) {
  PyObject* dim;
  signature.unpack(args, nargs, kwnames, &dim);
  const int ndim = as_tensor(self)->ndim();
  if (!given(dim)) return all({values, ndim});
  return checked(PyLong_FromLongLong(values[wrap_dim(to_index(dim), ndim, false)]));
}

PyObject* size(PyObject* self, Args args, Py_ssize_t nargs, PyObject* kwnames) {
  static const Signature signature{"size", {"dim"}, 1, 0};
  return guard([&] {
    return one_or_all(self, args, nargs, kwnames, signature, as_tensor(self)->layout->size_data(),
                      size_object);
  });
}
PyObject* stride(PyObject* self, Args args, Py_ssize_t nargs, PyObject* kwnames) {
  static const Signature signature{"stride", {"dim"}, 1, 0};
  return guard([&] {
    return one_or_all(self, args, nargs, kwnames, signature, as_tensor(self)->layout->stride_data(),
                      ints_tuple);
  });
}

PyObject* dim(PyObject* self, PyObject*) { return PyLong_FromLong(as_tensor(self)->ndim()); }
PyObject* numel(PyObject* self, PyObject*) { return PyLong_FromLongLong(as_tensor(self)->numel()); }
PyObject* storage_offset(PyObject* self, PyObject*) {
  void_notes();
  return PyLong_FromLongLong(as_tensor(self)->layout->offset);
}
PyObject* element_size(PyObject* self, PyObject*) {
  return PyLong_FromLongLong(itemsize(as_tensor(self)->dtype));
}
PyObject* data_ptr(PyObject* self, PyObject*) {
  void_notes();
  return guard([&] {
    const Tensor& t = *as_tensor(self);
    refuse_sparse(t, "data_ptr");
    return PyLong_FromVoidPtr(t.storage->as<void>() && t.numel() ? t.data() : nullptr);
  });
}

PyObject* is_contiguous(PyObject* self, Args args, Py_ssize_t nargs, PyObject* kwnames) {
  static const Signature signature{"is_contiguous", {"memory_format"}, 0, 0};
  return guard([&] {
    PyObject* format;
    signature.unpack(args, nargs, kwnames, &format);
    MemoryFormat f = MemoryFormat::Contiguous;
    if (given(format) && !memory_format_of(format, f)) {
      fail(Error::Type, "is_contiguous(): memory_format must be a torch.memory_format, not ",
           type_name(format));
    }
    check_definite(f);
    return boolean(has_format(*as_tensor(self)->layout, f));
  });
}

PyObject* is_floating_point(PyObject* self, PyObject*) {
  return boolean(is_floating(as_tensor(self)->dtype));
}
PyObject* has_complex_dtype(PyObject* self, PyObject*) {
  return boolean(is_complex(as_tensor(self)->dtype));
}
PyObject* is_signed(PyObject* self, PyObject*) {
  return boolean(info(as_tensor(self)->dtype).is_signed);
}
PyObject* is_inference(PyObject* self, PyObject*) { return boolean(as_tensor(self)->inference); }
PyObject* is_view(PyObject* self, PyObject*) { return boolean(as_tensor(self)->base); }
PyObject* never(PyObject*, PyObject*) { Py_RETURN_FALSE; }
PyObject* get_device(PyObject* self, PyObject*) {
  Device d = as_tensor(self)->device();
  return PyLong_FromLong(d.type == DeviceType::CPU ? -1 : std::max<int>(d.index, 0));
}

Tensor& tensor_argument(PyObject* o, const char* method) {
  if (!is_tensor(o)) fail(Error::Type, method, "(): argument must be Tensor, not ", type_name(o));
  return *as_tensor(o);
}
PyObject* is_same_size(PyObject* self, PyObject* other) {
  return guard([&] {
    return boolean(as_tensor(self)->sizes() == tensor_argument(other, "is_same_size").sizes());
  });
}
PyObject* is_set_to(PyObject* self, PyObject* other) {
  return guard([&] {
    const Tensor &a = *as_tensor(self), &b = tensor_argument(other, "is_set_to");
    return boolean(a.layout == b.layout && &a.storage->root() == &b.storage->root());
  });
}

PyObject* untyped_storage(PyObject* self, PyObject*) {
  return guard([&] {
    refuse_sparse(*as_tensor(self), "untyped_storage");
    return storage_object(as_tensor(self)->storage);
  });
}

// ---- Values -------------------------------------------------------------------------------------

PyObject* element_object(DType t, const char* p) {
  switch (t) {
    case DType::Bool: return boolean(*p);
    case DType::F32: return PyFloat_FromDouble(*reinterpret_cast<const float*>(p));
    case DType::F64: return PyFloat_FromDouble(*reinterpret_cast<const double*>(p));
    case DType::I64: return PyLong_FromLongLong(*reinterpret_cast<const int64_t*>(p));
    case DType::U64: return PyLong_FromUnsignedLongLong(*reinterpret_cast<const uint64_t*>(p));
    default: return number_object(load_element(t, p));
  }
}

PyObject* item(PyObject* self, PyObject*) {
  return guard([&] {
    const Tensor& t = *as_tensor(self);
    void_notes();
    if (t.numel() != 1) {
      fail(Error::Runtime, "a Tensor with ", t.numel(), " elements cannot be converted to Scalar");
    }
    if (t.device().type == DeviceType::CPU && !is_sparse(t) && !told_to_dispatch(t)) {
      return checked(element_object(t.dtype, t.data()));
    }
    if (told_to_dispatch(t)) return item_dispatched(t).leak();
    return number_object(read_item(t));
  });
}

PyObject* nested_list(const Tensor& t, const char* p, int d) {
  const Layout& l = *t.layout;
  if (d == l.ndim) return checked(element_object(t.dtype, p));
  const int64_t step = l.stride(d) * itemsize(t.dtype);
  Object list = Object::steal(checked(PyList_New(l.size(d))));
  for (int64_t i = 0; i < l.size(d); ++i) {
    checked(PyList_SetItem(list.get(), i, nested_list(t, p + i * step, d + 1)));
  }
  return list.leak();
}

PyObject* tolist(PyObject* self, PyObject*) {
  return guard([&] {
    TensorRef t = on_host(*as_tensor(self), "tolist");
    return nested_list(*t, t->data(), 0);
  });
}

// ---- History ------------------------------------------------------------------------------------

PyObject* detach(PyObject* self, PyObject*) {
  return guard([&]() -> PyObject* {
    Tensor& from = *as_tensor(self);
    const bool told = !is_sparse(from) && told_to_dispatch(from);
    TensorRef t = told ? detach_dispatched(from) : detached(from);
    note_detached(*as_tensor(self), *t);
    return tensor_object(std::move(t));
  });
}

PyObject* detach_(PyObject* self, PyObject*) {
  return guard([&] {
    Tensor& t = *as_tensor(self);
    if (t.base) {
      fail(Error::Runtime, "Can't detach views in-place. Use detach() instead.");
    }
    if (Node* node = std::exchange(t.node, nullptr)) release(node);
    t.output_index = 0;
    t.requires_grad = false;
    return new_ref(self);
  });
}

PyObject* requires_grad_(PyObject* self, Args args, Py_ssize_t nargs, PyObject* kwnames) {
  static const Signature signature{"requires_grad_", {"requires_grad"}, 1, 0};
  return guard([&] {
    PyObject* required;
    signature.unpack(args, nargs, kwnames, &required);
    set_requires_grad(*as_tensor(self), !required || to_flag(required, "requires_grad"));
    return new_ref(self);
  });
}

// ---- Other memory -------------------------------------------------------------------------------

void refuse_grad(const Tensor& t, const char* method) {
  if (!t.requires_grad && !t.node) return;
  fail(Error::Runtime, "cannot ", method, " variables that require grad; detach() first");
}

// Makes the storage reach as far as the layout does.
void cover(Storage& s, const Layout& l, DType t) {
  const size_t needed = bytes_reached(l, t);
  if (needed > s.nbytes) resize_storage(s, needed);
}

PyObject* resize_(PyObject* self, Args args, Py_ssize_t nargs, PyObject* kwnames) {
  return guard([&] {
    Tensor& t = *as_tensor(self);
    refuse_grad(t, "resize");
    refuse_sparse(t, "resize_");
    MemoryFormat order = MemoryFormat::Contiguous;
    if (kwnames) {
      static const Signature keywords{"resize_", {"memory_format"}, 0, 0};
      PyObject* given_format;
      keywords.unpack(args + nargs, 0, kwnames, &given_format);
      memory_format_of(given_format, order);
    }
    std::vector<int64_t> sizes;
    if (nargs == 1 && (PyTuple_Check(args[0]) || PyList_Check(args[0]))) {
      sizes = to_ints(args[0], "resize_(): sizes");
    } else {
      for (Py_ssize_t i = 0; i < nargs; ++i) sizes.push_back(to_index(args[i]));
    }
    for (int64_t s : sizes) {
      if (s < 0) fail(Error::Runtime, "resize_: sizes must be at least 0; got ", format(sizes));
    }
    LayoutRef fresh = order == MemoryFormat::ChannelsLast ? channels_last_layout(sizes)
                                                          : contiguous_layout(sizes);
    LayoutRef moved = intern(fresh->sizes(), fresh->strides(), t.layout->offset);
    cover(*t.storage, *moved, t.dtype);
    set_contents(t, t.storage, moved.get(), t.dtype);
    return new_ref(self);
  });
}

PyObject* set_(PyObject* self, Args args, Py_ssize_t nargs, PyObject* kwnames) {
  static const Signature signature{"set_", {"source", "storage_offset", "size", "stride"}, 4, 0};
  return guard([&] {
    Tensor& t = *as_tensor(self);
    if (modes.grad && t.requires_grad) {
      fail(Error::Runtime,
           "a leaf Variable that requires grad is being used in an in-place "
           "operation.");
    }
    PyObject* v[4];
    signature.unpack(args, nargs, kwnames, v);
    refuse_sparse(t, "set_");
    if (!v[0]) {
      Ref<Storage> nothing = new_storage(0, t.device());
      const int64_t zero = 0;
      set_contents(t, nothing.get(), contiguous_layout({&zero, 1}).get(), t.dtype);
      return new_ref(self);
    }
    Storage* found;
    LayoutRef whole;
    if (is_tensor(v[0])) {
      const Tensor& source = *as_tensor(v[0]);
      if (source.dtype != t.dtype) {
        fail(Error::Runtime, "set_: source must have the tensor's dtype; expected ",
             info(t.dtype).name, " but got ", info(source.dtype).name);
      }
      found = source.storage;
      whole = LayoutRef(source.layout);
    } else if (!storage_of(v[0], found)) {
      fail(Error::Type, "set_(): source must be a Tensor or an UntypedStorage, not ",
           type_name(v[0]));
    }
    Ref<Storage> storage(found);
    if (storage->device != t.device()) {
      fail(Error::Runtime, "set_: source must be on the tensor's device; expected ",
           t.device().str(), " but got ", storage->device.str());
    }
    LayoutRef layout = whole;
    if (!whole || given(v[2])) {
      const int64_t offset = given(v[1]) ? to_index(v[1]) : 0;
      std::vector<int64_t> sizes{static_cast<int64_t>(storage->nbytes) / itemsize(t.dtype) -
                                 offset};
      if (given(v[2])) sizes = to_ints(v[2], "set_(): size");
      std::vector<int64_t> strides;
      if (given(v[3])) {
        strides = to_ints(v[3], "set_(): stride");
      } else {
        LayoutRef contiguous = contiguous_layout(sizes);
        strides.assign(contiguous->strides().begin(), contiguous->strides().end());
      }
      layout = checked_layout(sizes, strides, offset, "set_");
      cover(*storage, *layout, t.dtype);
    }
    set_contents(t, storage.get(), layout.get(), t.dtype);
    return new_ref(self);
  });
}

// The in-place forms of views: `self` becomes `view`, which is a view of it.
PyObject* become(PyObject* self, PyObject* other) {
  return guard([&] {
    Tensor &t = *as_tensor(self), &view = tensor_argument(other, "_become");
    if (modes.grad && t.requires_grad) {
      fail(Error::Runtime,
           "a leaf Variable that requires grad is being used in an in-place operation.");
    }
    if (view.storage != t.storage) fail(Error::Runtime, "_become: needs a view of the tensor");
    if (view.node) {
      retain(view.node);
      if (Node* old = std::exchange(t.node, view.node)) release(old);
      t.output_index = view.output_index;
      track(&t);
    }
    set_contents(t, t.storage, view.layout, view.dtype);
    bump_version(t);
    t.node_version = t.storage->version;
    return new_ref(self);
  });
}

// ---- Subclasses ---------------------------------------------------------------------------------

PyTypeObject* tensor_class(PyObject* o, const char* function) {
  auto* type = reinterpret_cast<PyTypeObject*>(o);
  if (!PyType_Check(o) || !PyType_IsSubtype(type, TensorType)) {
    fail(Error::Type, function, "(): cls must be a subclass of Tensor; got ", to_string(o));
  }
  return type;
}

PyObject* make_subclass(PyObject*, Args args, Py_ssize_t nargs, PyObject* kwnames) {
  static const Signature signature{"_make_subclass", {"cls", "data", "require_grad"}, 3, 2};
  return guard([&] {
    PyObject* v[3];
    signature.unpack(args, nargs, kwnames, v);
    Tensor& data = tensor_argument(v[1], "_make_subclass");
    // The memory, not what a class that carries ops out makes of detach().
    TensorRef plain = is_sparse(data) ? detached(data) : alias(data, data.layout);
    Object made = Object::steal(adopt(tensor_class(v[0], "_make_subclass"), std::move(plain)));
    if (given(v[2]) && to_bool(v[2])) set_requires_grad(*as_tensor(made.get()), true);
    return made.leak();
  });
}

PyObject* as_subclass(PyObject* self, PyObject* cls) {
  return guard([&] {
    static CoreOp view{"_basic_index"};
    PyTypeObject* type = tensor_class(cls, "as_subclass");
    return adopt(type, call1(view.get(), {Value(as_tensor(self)), Value::of_object(Py_Ellipsis)}));
  });
}

constexpr int kKeywords = METH_FASTCALL | METH_KEYWORDS;

// ---- Methods that __torch_function__ sees, and that sparse tensors may have others of: `body` for
// all the rest ------------------------------------------------------------------------------------
const char* name_of(PyCFunction f) {
  const PyMethodDef* def = tensor_methods;
  while (def->ml_meth != f) ++def;
  return def->ml_name;
}

PyObject* override_of(PyCFunction f, PyObject* self, Args args, Py_ssize_t nargs,
                      PyObject* kwnames = nullptr) {
  return guard([&] { return call_override(name_of(f), self, args, nargs, kwnames); });
}

PyObject* sparse_of(PyObject* self, PyCFunction f) {
  return is_sparse(*as_tensor(self)) ? sparse_member(name_of(f)) : nullptr;
}

template <auto body>
struct Overridable;
template <PyObject* (*body)(PyObject*, PyObject*)>
struct Overridable<body> {
  static PyObject* call(PyObject* self, PyObject* arg) {
    if (overridden(self)) return override_of(method(&call), self, &arg, arg ? 1 : 0);
    if (PyObject* member = sparse_of(self, method(&call))) {
      return guard([&] { return call_sparse_member(member, self, &arg, arg ? 1 : 0); });
    }
    return body(self, arg);
  }
};
template <PyObject* (*body)(PyObject*, Args, Py_ssize_t, PyObject*)>
struct Overridable<body> {
  static PyObject* call(PyObject* self, Args args, Py_ssize_t nargs, PyObject* kwnames) {
    if (overridden(self)) return override_of(method(&call), self, args, nargs, kwnames);
    if (PyObject* member = sparse_of(self, method(&call))) {
      return guard([&] { return call_sparse_member(member, self, args, nargs, kwnames); });
    }
    return body(self, args, nargs, kwnames);
  }
};
template <auto body>
PyCFunction overridable() {
  return method(&Overridable<body>::call);
}

}  // namespace

TensorRef on_host(Tensor& t, const char* what) {
  void_notes();
  refuse_sparse(t, what);
  if (dispatches(t)) {
    fail(Error::Runtime, what, ": not supported for tensor subclasses that carry ops out, as ",
         type_name(t.object()), " does; ask for what it wraps");
  }
  if (t.device().type == DeviceType::Meta) {
    fail(Error::NotImplemented, what, ": Cannot copy out of meta tensor; no data!");
  }
  return on_device(t, Device{});
}

Number read_item(const Tensor& t) {
  void_notes();
  if (told_to_dispatch(t)) {
    Object found = item_dispatched(t);
    Number n;
    if (number_of(found.get(), n)) return n;
    fail(Error::Type, "item: not a number: ", type_name(found.get()));
  }
  refuse_sparse(t, "item");
  if (t.device().type == DeviceType::CPU) return load_element(t.dtype, t.data());
  if (t.device().type == DeviceType::Meta) {
    fail(Error::Runtime, "Tensor.item() cannot be called on meta tensors");
  }
  char element[16];
  backend(t.device().type).copy(element, Device{}, t.data(), t.device(), itemsize(t.dtype), false);
  return load_element(t.dtype, element);
}

PyMethodDef tensor_methods[] = {
    {"size", overridable<size>(), kKeywords,
     "size(dim=None)\n--\n\nThe sizes, or the size of `dim`. IndexError if there is no such dim."},
    {"stride", overridable<stride>(), kKeywords,
     "stride(dim=None)\n--\n\nThe distance in elements between neighbours along each dim, or "
     "`dim`."},
    {"dim", overridable<dim>(), METH_NOARGS, "dim()\n--\n\nThe number of dimensions."},
    {"ndimension", overridable<dim>(), METH_NOARGS,
     "ndimension()\n--\n\nThe number of dimensions."},
    {"numel", overridable<numel>(), METH_NOARGS, "numel()\n--\n\nThe number of elements."},
    {"nelement", overridable<numel>(), METH_NOARGS, "nelement()\n--\n\nThe number of elements."},
    {"storage_offset", overridable<storage_offset>(), METH_NOARGS,
     "storage_offset()\n--\n\nWhere in the storage the first element is, in elements."},
    {"element_size", overridable<element_size>(), METH_NOARGS,
     "element_size()\n--\n\nBytes in an element."},
    {"data_ptr", data_ptr, METH_NOARGS, "data_ptr()\n--\n\nThe address of the first element."},
    {"is_contiguous", overridable<is_contiguous>(), kKeywords,
     "is_contiguous(*, memory_format=torch.contiguous_format)\n--\n\n"
     "Whether the elements lie in memory in the order of that format, without gaps."},
    {"is_floating_point", overridable<is_floating_point>(), METH_NOARGS,
     "is_floating_point()\n--\n\nWhether the dtype is real and floating."},
    {"is_complex", overridable<has_complex_dtype>(), METH_NOARGS,
     "is_complex()\n--\n\nWhether the dtype is complex."},
    {"is_signed", overridable<is_signed>(), METH_NOARGS,
     "is_signed()\n--\n\nWhether the dtype has negative values."},
    {"is_inference", overridable<is_inference>(), METH_NOARGS,
     "is_inference()\n--\n\nWhether the tensor was made in inference mode."},
    {"_is_view", overridable<is_view>(), METH_NOARGS,
     "_is_view()\n--\n\nWhether the tensor is a view of another."},
    {"is_conj", overridable<never>(), METH_NOARGS,
     "is_conj()\n--\n\nAlways False: conjugates are computed."},
    {"is_neg", overridable<never>(), METH_NOARGS,
     "is_neg()\n--\n\nAlways False: negatives are computed."},
    {"has_names", overridable<never>(), METH_NOARGS,
     "has_names()\n--\n\nAlways False: dims have no names."},
    {"get_device", overridable<get_device>(), METH_NOARGS,
     "get_device()\n--\n\nThe index of the GPU, -1 on the CPU."},
    {"is_same_size", overridable<is_same_size>(), METH_O,
     "is_same_size(other)\n--\n\nWhether both have the same sizes."},
    {"is_set_to", overridable<is_set_to>(), METH_O,
     "is_set_to(tensor)\n--\n\nWhether both are the same elements of the same memory."},
    {"untyped_storage", untyped_storage, METH_NOARGS,
     "untyped_storage()\n--\n\nThe memory, as bytes; views share it."},
    {"item", overridable<item>(), METH_NOARGS,
     "item()\n--\n\nThe only element as a Python number. RuntimeError if there are more or none."},
    {"tolist", overridable<tolist>(), METH_NOARGS,
     "tolist()\n--\n\nThe elements as nested lists of Python numbers; of a 0-dim tensor the "
     "number."},
    {"detach", overridable<detach>(), METH_NOARGS,
     "detach()\n--\n\nThe same memory in a tensor without history, which requires no grad."},
    {"detach_", overridable<detach_>(), METH_NOARGS,
     "detach_()\n--\n\nForget this tensor's history. RuntimeError on views."},
    {"requires_grad_", overridable<requires_grad_>(), kKeywords,
     "requires_grad_(requires_grad=True)\n--\n\nSet whether gradients are computed; returns self."},
    {"resize_", overridable<resize_>(), kKeywords,
     "resize_(*sizes, memory_format=torch.contiguous_format)\n--\n\n"
     "Change the sizes; the elements stay in memory where they are, new ones are undefined."},
    {"set_", overridable<set_>(), kKeywords,
     "set_(source=None, storage_offset=0, size=None, stride=None)\n--\n\n"
     "Become a view of `source`, a tensor or an UntypedStorage; without it, become empty."},
    {"_become", become, METH_O,
     "_become(view)\n--\n\nBecome `view`, a view of this tensor, with its history."},
    {"as_subclass", as_subclass, METH_O,
     "as_subclass(cls)\n--\n\nThe same memory and history as an instance of a Tensor subclass."},
    {"_make_subclass", method(make_subclass), kKeywords | METH_STATIC,
     "_make_subclass(cls, data, require_grad=False)\n--\n\n"
     "An instance of `cls` with the memory of `data` and no history."},
    {},
};

}  // namespace taimatsu
