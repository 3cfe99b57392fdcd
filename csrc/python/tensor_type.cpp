// The type Tensor: making instances, freeing them, the garbage collector's view of them.
#include "python/tensor_type.h"

#include <structmember.h>

#include <cstddef>

namespace taimatsu {

namespace {

// ---- Making -------------------------------------------------------------------------------------
bool is_size(PyObject* o) {  // a number, or an array of one element in its place
  if (PyLong_Check(o)) return true;
  if (!PyIndex_Check(o)) return false;
  const bool is_data = PyObject_Size(o) >= 0;
  PyErr_Clear();
  return !is_data;
}

// Tensor(), Tensor(2, 3), Tensor([1, 2]), Tensor(other): PyTorch's old constructor, which always
// makes the default dtype. taimatsu.tensor and taimatsu.empty are the ones to use.
PyObject* tensor_new(PyTypeObject* cls, PyObject* args, PyObject* kwargs) {
  return guard([&] {
    Device device = default_device();
    if (kwargs && PyDict_Size(kwargs) > 0) {
      static const Signature keywords{"Tensor", {"device"}, 0, 0};
      PyObject* v;
      Object none = Object::steal(checked(PyTuple_New(0)));
      keywords.unpack(none.get(), kwargs, &v);
      if (given(v) && !device_of(v, device)) {
        fail(Error::Type, "Tensor(): argument 'device' must be torch.device, not ", type_name(v));
      }
    }
    const Py_ssize_t n = PyTuple_Size(args);
    PyObject* first = n ? PyTuple_GetItem(args, 0) : nullptr;
    const DType dtype = default_dtype();
    if (n == 1 && is_tensor(first)) return adopt(cls, detached(*as_tensor(first)));
    if (n == 1 && !is_size(first)) return adopt(cls, tensor_of(first, &dtype, device));
    std::vector<int64_t> sizes{0};
    if (n) sizes = to_ints(args, "Tensor(): sizes");
    for (int64_t s : sizes) {
      if (s < 0) fail(Error::Runtime, "Trying to create tensor with negative dimension ", s);
    }
    return adopt(cls, empty(sizes, dtype, device));
  });
}

// ---- Freeing ------------------------------------------------------------------------------------
template <class T>
void drop(T*& field) {
  if (T* old = std::exchange(field, nullptr)) release(old);
}

// A gradient may have one itself, and so on: not by recursion.
void drop_grads(Tensor& t) {
  Tensor* g = std::exchange(t.grad, nullptr);
  while (g) {
    Tensor* next = Py_REFCNT(g->object()) == 1 ? std::exchange(g->grad, nullptr) : nullptr;
    release(g);
    g = next;
  }
}

int tensor_clear(PyObject* self) {
  Tensor& t = *as_tensor(self);
  drop(t.dict);
  drop(t.node);
  drop_grads(t);
  drop(t.base);
  if (t.extra) clear_extra(t);
  return 0;
}

int tensor_traverse(PyObject* self, visitproc visit, void* arg) {
  Tensor& t = *as_tensor(self);
  Py_VISIT(Py_TYPE(self));
  Py_VISIT(t.dict);
  Py_VISIT(reinterpret_cast<PyObject*>(t.node));
  Py_VISIT(reinterpret_cast<PyObject*>(t.grad));
  Py_VISIT(reinterpret_cast<PyObject*>(t.base));
  return t.extra ? traverse_extra(t, visit, arg) : 0;
}

void tensor_dealloc(PyObject* self) {
  Tensor& t = *as_tensor(self);
  const bool exact = Py_TYPE(self) == TensorType;
  // Python re-tracks an instance of a subclass before it calls its base's dealloc.
  if (t.tracked || !exact) PyObject_GC_UnTrack(self);
  if (t.weakrefs) PyObject_ClearWeakRefs(self);
  if (t.dict || t.node || t.grad || t.base || t.extra) tensor_clear(self);
  if (t.storage) release(t.storage);
  if (t.layout) release(t.layout);
  if (exact) return recycle(&t);
  PyTypeObject* type = Py_TYPE(self);
  PyObject_GC_Del(self);
  Py_DECREF(reinterpret_cast<PyObject*>(type));
}

// ---- Attributes that users set ------------------------------------------------------------------

// A tensor with attributes may be in a cycle, so the garbage collector has to know it.
int tensor_setattr(PyObject* self, PyObject* name, PyObject* value) {
  int status = PyObject_GenericSetAttr(self, name, value);
  if (as_tensor(self)->dict) track(as_tensor(self));
  return status;
}

Py_hash_t identity_hash(PyObject* self) {  // of id(self), as PyTorch's
  return static_cast<Py_hash_t>(reinterpret_cast<uintptr_t>(self));
}

PyObject* set_parameter_type(PyObject*, PyObject* cls) {
  auto* type = reinterpret_cast<PyTypeObject*>(new_ref(cls));
  PyTypeObject* old = std::exchange(ParameterType, type);
  Py_XDECREF(reinterpret_cast<PyObject*>(old));
  Py_RETURN_NONE;
}

PyMemberDef members[] = {
    {"__dictoffset__", T_PYSSIZET, offsetof(Tensor, dict), READONLY, nullptr},
    {"__weaklistoffset__", T_PYSSIZET, offsetof(Tensor, weakrefs), READONLY, nullptr},
    {},
};
PyMethodDef functions[] = {
    {"_set_parameter_type", set_parameter_type, METH_O,
     "_set_parameter_type(cls)\n--\n\nTell the core which class Parameter is: ops take its\n"
     "instances for plain tensors."},
    {},
};

}  // namespace

PyObject* adopt(PyTypeObject* cls, TensorRef t) {
  if (cls == TensorType) return tensor_object(std::move(t));
  PyObject* made = checked(PyType_GenericAlloc(cls, 0));
  Tensor& to = *as_tensor(made);
  to.tracked = true;
  retain(t->storage);
  retain(t->layout);
  to.storage = t->storage;
  to.layout = t->layout;
  to.dtype = t->dtype;
  to.requires_grad = t->requires_grad;
  to.inference = t->inference;
  to.output_index = t->output_index;
  to.view_origin = t->view_origin;
  to.node_version = t->node_version;
  if ((to.node = t->node)) retain(to.node);
  if ((to.base = t->base)) retain(to.base);
  if (is_sparse(*t)) extra_of(to).parts = new_ref(t->extra->parts);
  return made;
}

PyObject* call_override(const char* method, PyObject* self, PyObject* const* args, Py_ssize_t nargs,
                        PyObject* kwnames) {
  auto* type = reinterpret_cast<PyObject*>(TensorType);
  Object function = Object::steal(PyObject_GetAttrString(type, method));
  if (!function) return nullptr;
  return call_torch_function(function.get(), self, args, nargs, kwnames);
}

PyObject* call_getter_override(const char* getter, PyObject* self) {
  auto* type = reinterpret_cast<PyObject*>(TensorType);
  Object descriptor = Object::steal(PyObject_GetAttrString(type, getter));
  if (!descriptor) return nullptr;
  Object get = Object::steal(PyObject_GetAttrString(descriptor.get(), "__get__"));
  if (!get) return nullptr;
  return call_torch_function(get.get(), self, nullptr, 0, nullptr);
}

int init_tensor_type(PyObject* module) {
  return guard(-1, [&] {
    std::vector<PyType_Slot> slots = {
        {Py_tp_doc, const_cast<char*>("An array of numbers of one dtype on one device.\n\n"
                                      ">>> torch.tensor([[1., 2.]]).shape\ntorch.Size([1, 2])")},
        {Py_tp_new, slot(tensor_new)},
        {Py_tp_dealloc, slot(tensor_dealloc)},
        {Py_tp_traverse, slot(tensor_traverse)},
        {Py_tp_clear, slot(tensor_clear)},
        {Py_tp_setattro, slot(tensor_setattr)},
        {Py_tp_hash, slot(identity_hash)},
        {Py_tp_members, members},
        {Py_tp_getset, tensor_getters},
        {Py_tp_methods, tensor_methods},
    };
    for (auto& more : {number_slots(), sequence_slots(), indexing_slots(), exchange_slots()}) {
      slots.insert(slots.end(), more.begin(), more.end());
    }
    slots.push_back({0, nullptr});
    PyType_Spec spec = {"taimatsu.Tensor", sizeof(Tensor), 0,
                        Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
                        slots.data()};
    TensorType = add_type(module, spec);
    if (!TensorType) return -1;
    add_methods(TensorType, number_methods);
    add_methods(TensorType, exchange_methods);
    auto* type = reinterpret_cast<PyObject*>(TensorType);
    // NumPy's operators leave an operation between an array and a tensor to the tensor.
    Object priority = Object::steal(checked(PyLong_FromLong(1000)));
    checked(PyObject_SetAttrString(type, "__array_priority__", priority.get()));
    return PyModule_AddFunctions(module, functions);
  });
}

}  // namespace taimatsu
