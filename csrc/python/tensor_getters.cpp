// The attributes of Tensor.
#include "ops/sparse.h"
#include "python/tensor_type.h"

namespace taimatsu {

namespace {

// What a sparse tensor answers, if it isn't what others do.
PyObject* sparse_getter(PyObject* self, const char* name) {
  PyObject* member = is_sparse(*as_tensor(self)) ? sparse_member(name) : nullptr;
  return member ? call_sparse_member(member, self) : nullptr;
}

// Most getters say what one expression says: GETTER(name, expression of `t` giving an object).
#define TM_GETTER(name, expression)                                   \
  PyObject* get_##name(PyObject* self, void*) {                       \
    return guard([&]() -> PyObject* {                                 \
      if (overridden(self)) return call_getter_override(#name, self); \
      if (PyObject* f = sparse_getter(self, #name)) return f;         \
      [[maybe_unused]] Tensor& t = *as_tensor(self);                  \
      return expression;                                              \
    });                                                               \
  }

TM_GETTER(shape, size_object(t.sizes()))
TM_GETTER(dtype, new_ref(dtype_object(t.dtype)))
TM_GETTER(device, device_object(t.device()))
TM_GETTER(ndim, PyLong_FromLong(t.ndim()))
TM_GETTER(itemsize, PyLong_FromLongLong(itemsize(t.dtype)))
TM_GETTER(nbytes, PyLong_FromLongLong(t.numel() * itemsize(t.dtype)))
TM_GETTER(requires_grad, boolean(requires_grad(t)))
TM_GETTER(is_leaf, boolean(!requires_grad(t) || t.requires_grad))
TM_GETTER(output_nr, PyLong_FromLong(t.output_index))
TM_GETTER(_base, new_ref(t.base ? t.base->object() : Py_None))
TM_GETTER(grad, new_ref(t.grad ? t.grad->object() : Py_None))
TM_GETTER(is_cpu, boolean(t.device().type == DeviceType::CPU))
TM_GETTER(is_cuda, boolean(t.device().type == DeviceType::CUDA))
TM_GETTER(is_meta, boolean(t.device().type == DeviceType::Meta))

PyObject* get__version(PyObject* self, void*) {
  return guard([&] {
    const Tensor& t = *as_tensor(self);
    if (t.inference) fail(Error::Runtime, "Inference tensors do not track version counter.");
    return checked(PyLong_FromUnsignedLong(t.storage->version));
  });
}

TM_GETTER(layout, new_ref(strided_object()))
TM_GETTER(is_sparse, boolean(false))
TM_GETTER(is_sparse_csr, boolean(false))

PyObject* get_grad_fn(PyObject* self, void*) {
  return guard([&] {
    if (overridden(self)) return call_getter_override("grad_fn", self);
    if (PyObject* f = sparse_getter(self, "grad_fn")) return f;
    Node* node = grad_fn(*as_tensor(self));
    return new_ref(node ? &node->ob_base : Py_None);
  });
}

// A tensor with attributes may be in a cycle, so the garbage collector has to know it.
PyObject* get_dict(PyObject* self, void*) {
  track(as_tensor(self));
  return PyObject_GenericGetDict(self, nullptr);
}

// Kinds of tensor that PyTorch has and that are not there: programs ask before they use them.
PyObject* get_false(PyObject*, void*) { Py_RETURN_FALSE; }

PyObject* get_names(PyObject* self, void*) {
  return guard([&] {
    Object names = Object::steal(checked(PyTuple_New(as_tensor(self)->ndim())));
    for (int i = 0; i < as_tensor(self)->ndim(); ++i) {
      PyTuple_SetItem(names.get(), i, new_ref(Py_None));
    }
    return names.leak();
  });
}

// ---- Setters ------------------------------------------------------------------------------------

// Setting an attribute: 0, or -1 with an error set. `value` is null for `del`.
template <class F>
int setter(PyObject* value, const char* name, F&& body) {
  return guard(-1, [&] {
    if (!value) fail(Error::Type, "can't delete the attribute '", name, "' of a Tensor");
    body();
    return 0;
  });
}

int set_requires_grad(PyObject* self, PyObject* value, void*) {
  return setter(value, "requires_grad",
                [&] { set_requires_grad(*as_tensor(self), to_flag(value, "requires_grad")); });
}

int set_grad(PyObject* self, PyObject* value, void*) {
  Tensor& t = *as_tensor(self);
  return guard(-1, [&] {
    if (!given(value)) {
      if (is_sparse(t)) ask_sparse("set_grad", t, Py_None);
      Tensor* old = std::exchange(t.grad, nullptr);
      if (old) release(old);
      return 0;
    }
    if (!is_tensor(value)) {
      fail(Error::Type, "assigned grad expected to be a Tensor or None but got grad of type ",
           type_name(value));
    }
    Tensor& g = *as_tensor(value);
    if (&g == &t) fail(Error::Runtime, "can't assign Variable as its own grad");
    if (g.dtype != t.dtype) {
      fail(Error::Runtime, "assigned grad has data of a different type; the tensor is ",
           info(t.dtype).name, ", the grad ", info(g.dtype).name);
    }
    if (g.device().type != t.device().type) {
      fail(Error::Runtime,
           "assigned grad has data located on a different device; the tensor is on ",
           t.device().str(), ", the grad on ", g.device().str());
    }
    if (g.sizes() != t.sizes()) {
      fail(Error::Runtime, "assigned grad has data of a different size; the tensor has sizes ",
           format(t.sizes()), ", the grad ", format(g.sizes()));
    }
    if (is_sparse(t)) {
      ask_sparse("set_grad", t, value);
      return 0;
    }
    track(&t);
    retain(&g);
    Tensor* old = std::exchange(t.grad, &g);
    if (old) release(old);
    return 0;
  });
}

PyObject* get_data(PyObject* self, void*) {
  return guard([&] {
    if (overridden(self)) return call_getter_override("data", self);
    if (PyObject* f = sparse_getter(self, "data")) return f;
    Tensor& t = *as_tensor(self);
    if (dispatches(t)) return tensor_object(detach_dispatched(t));
    // Writes through `.data` are not counted against what was saved for backward.
    Ref<Storage> memory = alias_storage(t.storage);
    return adopt(is_plain_tensor(self) ? TensorType : Py_TYPE(self),
                 make_tensor(memory.get(), t.layout, t.dtype));
  });
}

int set_data(PyObject* self, PyObject* value, void*) {
  return setter(value, "data", [&] {
    if (!is_tensor(value)) {
      fail(Error::Type, "Variable data has to be a tensor, but got ", type_name(value));
    }
    Tensor &t = *as_tensor(self), &from = *as_tensor(value);
    if (&t == &from) return;
    if (is_sparse(t)) {
      ask_sparse("set_data", t, value);
      return;
    }
    refuse_sparse(from, "data");
    if ((t.requires_grad || t.node) && !is_differentiable(from.dtype)) {
      fail(Error::Runtime,
           "data set to a tensor that requires gradients must be floating point or "
           "complex dtype; got ",
           info(from.dtype).name);
    }
    Ref<Storage> memory = alias_storage(from.storage);
    memory->version = t.storage->version;
    set_contents(t, memory.get(), from.layout, from.dtype);
  });
}

// ---- Views --------------------------------------------------------------------------------------

// Attributes that are views: what a subclass overrides is told of `Tensor.T.__get__`.
template <class F>
PyObject* view_getter(PyObject* self, const char* name, F&& body) {
  return guard([&]() -> PyObject* {
    if (overridden(self)) return call_getter_override(name, self);
    return tensor_object(body(*as_tensor(self)));
  });
}

CoreOp kPermute{"permute"}, kTranspose{"transpose"}, kConj{"conj_physical"},
    kViewAsReal{"view_as_real"}, kSelect{"select"};

TensorRef reversed_dims(Tensor& t) {
  std::vector<int64_t> dims(t.ndim());
  for (int i = 0; i < t.ndim(); ++i) dims[i] = t.ndim() - 1 - i;
  return call1(kPermute.get(), {Value(&t), Value(Ints(dims))});
}
TensorRef swapped(Tensor& t, int64_t a, int64_t b) {
  if (t.ndim() == 0) return reversed_dims(t);
  return call1(kTranspose.get(), {Value(&t), Value::of_int(a), Value::of_int(b)});
}
TensorRef conjugate(TensorRef t) {
  return is_complex(t->dtype) ? call1(kConj.get(), {Value(t)}) : t;
}

PyObject* get_T(PyObject* self, void*) {
  return view_getter(self, "T", [](Tensor& t) {
    if (t.ndim() != 2 && t.ndim() != 0) {
      checked(PyErr_WarnEx(PyExc_UserWarning,
                           "The use of `x.T` on tensors of dimension other than 2 to reverse their "
                           "shape is deprecated; use `x.mT` to transpose batches of matrices or "
                           "`x.permute(*torch.arange(x.ndim - 1, -1, -1))` to reverse the "
                           "dimensions",
                           1));
    }
    return reversed_dims(t);
  });
}

TensorRef swapped_matrices(Tensor& t, const char* name) {
  if (t.ndim() == 1) {
    fail(Error::Runtime, "tensor.", name,
         " is only supported on matrices or batches of matrices. Got 1-D tensor.");
  }
  return swapped(t, -2, -1);
}

PyObject* get_mT(PyObject* self, void*) {
  return view_getter(self, "mT", [](Tensor& t) { return swapped_matrices(t, "mT"); });
}
PyObject* get_mH(PyObject* self, void*) {
  return view_getter(self, "mH", [](Tensor& t) { return conjugate(swapped_matrices(t, "mH")); });
}
PyObject* get_H(PyObject* self, void*) {
  return view_getter(self, "H", [](Tensor& t) {
    if (t.ndim() != 2 && t.ndim() != 0) {
      fail(Error::Runtime, "tensor.H is only supported on matrices (2-D tensors). Got ", t.ndim(),
           "-D tensor.", t.ndim() > 2 ? " For batches of matrices, consider using tensor.mH" : "");
    }
    return conjugate(swapped(t, 0, 1));
  });
}

TensorRef part(Tensor& t, int64_t which) {
  TensorRef pairs = call1(kViewAsReal.get(), {Value(&t)});
  return call1(kSelect.get(), {Value(pairs), Value::of_int(-1), Value::of_int(which)});
}

PyObject* get_real(PyObject* self, void*) {
  return view_getter(self, "real",
                     [](Tensor& t) { return is_complex(t.dtype) ? part(t, 0) : TensorRef(&t); });
}
PyObject* get_imag(PyObject* self, void*) {
  return view_getter(self, "imag", [](Tensor& t) {
    if (!is_complex(t.dtype)) {
      fail(Error::Runtime, "imag is not implemented for tensors with non-complex dtypes.");
    }
    return part(t, 1);
  });
}

// x.real = value: writes into the view that the getter gives. `closure` is the getter.
int set_part(PyObject* self, PyObject* value, void* closure) {
  return setter(value, "real or imag", [&] {
    Object part = Object::steal(checked(reinterpret_cast<getter>(closure)(self, nullptr)));
    Object copied = Object::steal(
        checked(PyObject_CallMethod(part.get(), is_tensor(value) ? "copy_" : "fill_", "O", value)));
  });
}

#define TM_ABSENT(name) \
  {name, get_false, nullptr, "Always False: there are no such tensors.", nullptr}

}  // namespace

void set_requires_grad(Tensor& t, bool required) {
  if (is_sparse(t)) {
    ask_sparse("set_requires_grad", t, required ? Py_True : Py_False);
    return;
  }
  if (t.requires_grad == required && !requires_grad(t)) return;
  void_notes();
  if (requires_grad(t) && !t.requires_grad) {
    if (required) return;
    fail(Error::Runtime,
         "you can only change requires_grad flags of leaf variables. If you want to "
         "use a computed variable in a subgraph that doesn't require differentiation use "
         "var_no_grad = var.detach().");
  }
  if (required && !is_differentiable(t.dtype)) {
    fail(Error::Runtime,
         "only Tensors of floating point and complex dtype can require gradients; "
         "got ",
         info(t.dtype).name);
  }
  if (required && t.inference && !modes.inference) {
    fail(Error::Runtime,
         "Setting requires_grad=True on inference tensor outside InferenceMode is "
         "not allowed; clone() it first.");
  }
  t.requires_grad = required;
}

void set_contents(Tensor& t, Storage* storage, const Layout* layout, DType dtype) {
  void_notes();
  retain(storage);
  retain(layout);
  Storage* before = std::exchange(t.storage, storage);
  release(std::exchange(t.layout, layout));
  t.dtype = dtype;
  retire(before);
}

PyGetSetDef tensor_getters[] = {
    {"__dict__", get_dict, PyObject_GenericSetDict, nullptr, nullptr},
    {"shape", get_shape, nullptr, "The sizes of the dimensions, a torch.Size.", nullptr},
    {"dtype", get_dtype, nullptr, "The type of the elements.", nullptr},
    {"device", get_device, nullptr, "Where the elements are.", nullptr},
    {"layout", get_layout, nullptr, "torch.strided, or a sparse layout.", nullptr},
    {"ndim", get_ndim, nullptr, "The number of dimensions.", nullptr},
    {"itemsize", get_itemsize, nullptr, "Bytes in an element.", nullptr},
    {"nbytes", get_nbytes, nullptr, "Bytes in all elements: numel() * itemsize.", nullptr},
    {"requires_grad", get_requires_grad, set_requires_grad,
     "Whether gradients are computed for this tensor. Settable on leaves; RuntimeError on others\n"
     "and where the dtype is not floating or complex.",
     nullptr},
    {"is_leaf", get_is_leaf, nullptr,
     "True of tensors that no recorded op computed; backward() fills their `grad`.", nullptr},
    {"grad", get_grad, set_grad, "The gradient that backward() accumulated, or None.", nullptr},
    {"_grad", get_grad, set_grad, "The same as `grad`.", nullptr},
    {"grad_fn", get_grad_fn, nullptr, "The node of the tape that computed this tensor, or None.",
     nullptr},
    {"output_nr", get_output_nr, nullptr, "Which output of `grad_fn` this tensor is.", nullptr},
    {"_version", get__version, nullptr, "How often the memory was written in place.", nullptr},
    {"_base", get__base, nullptr, "The tensor that this one is a view of, or None.", nullptr},
    {"data", get_data, set_data,
     "The same memory without history; writes through it are not counted. Settable.", nullptr},
    {"T", get_T, nullptr, "The transpose of a matrix, a view.", nullptr},
    {"mT", get_mT, nullptr, "The last two dimensions exchanged, a view.", nullptr},
    {"H", get_H, nullptr, "The conjugate transpose of a matrix.", nullptr},
    {"mH", get_mH, nullptr, "The conjugate, with the last two dimensions exchanged.", nullptr},
    {"real", get_real, set_part, "The real parts, a view; of a real tensor itself.",
     slot(get_real)},
    {"imag", get_imag, set_part, "The imaginary parts, a view.", slot(get_imag)},
    {"names", get_names, nullptr, "The names of the dimensions; always None.", nullptr},
    {"is_cpu", get_is_cpu, nullptr, "On the CPU.", nullptr},
    {"is_cuda", get_is_cuda, nullptr, "On an NVIDIA GPU.", nullptr},
    {"is_meta", get_is_meta, nullptr, "On the meta device: sizes and dtype without data.", nullptr},
    {"is_sparse", get_is_sparse, nullptr, "Whether the layout is torch.sparse_coo.", nullptr},
    {"is_sparse_csr", get_is_sparse_csr, nullptr, "Whether the layout is torch.sparse_csr.",
     nullptr},
    TM_ABSENT("is_quantized"),
    TM_ABSENT("is_mkldnn"),
    TM_ABSENT("is_nested"),
    TM_ABSENT("is_mps"),
    TM_ABSENT("is_xpu"),
    TM_ABSENT("is_xla"),
    TM_ABSENT("is_mtia"),
    TM_ABSENT("is_maia"),
    TM_ABSENT("is_ipu"),
    TM_ABSENT("is_vulkan"),
    TM_ABSENT("is_ort"),
    TM_ABSENT("is_hpu"),
    {},
};

}  // namespace taimatsu
