// Tensor: a Python object that is also the C++ tensor.
#pragma once

#include "tensor/dtype.h"
#include "tensor/layout.h"
#include "tensor/storage.h"

namespace taimatsu {

struct Node;  // autograd/autograd.h

// What few tensors have.
struct TensorExtra {
  PyObject* hooks = nullptr;             // owned: hooks on the gradient, by id
  PyObject* accumulate_hooks = nullptr;  // owned: of a leaf, run after its `grad` was written
  Node* accumulator = nullptr;           // borrowed: of a leaf, its AccumulateGrad while that lives
  PyObject* parts = nullptr;  // owned: of a sparse tensor what it is made of (ops/sparse.h)
  bool retains_grad = false;
};

// Where a view comes from, if not from a plain view op in grad mode: then writing to it in place
// has no derivative, and is refused (autograd/views.cpp).
enum class ViewOrigin : uint8_t { Usual, NoGrad, Inference, OneOfSeveral, Function };

struct Tensor {
  PyObject ob_base;
  PyObject* dict;  // attributes set by users, and of subclasses
  PyObject* weakrefs;
  Storage* storage;      // owned, never null
  const Layout* layout;  // owned, never null
  DType dtype;
  bool requires_grad;     // of a leaf: asked for by the user
  bool inference;         // made in inference mode
  bool tracked;           // by the garbage collector
  uint16_t output_index;  // which output of `node`
  ViewOrigin view_origin;
  bool constant;          // a table, the same whoever asks for it (ops/replay.h)
  uint32_t node_version;  // of a view: the base's version when `node` was set
  Node* node;             // owned; what computed this tensor, null for leaves
  Tensor* grad;           // owned
  Tensor* base;           // owned; of a differentiable view: the tensor it is a view of
  TensorExtra* extra;     // owned

  Device device() const { return storage->device; }
  int ndim() const { return layout->ndim; }
  int64_t numel() const { return layout->numel; }
  Ints sizes() const { return layout->sizes(); }
  Ints strides() const { return layout->strides(); }
  // By integers, as the offset of a tensor without elements may be anything.
  char* data() const {
    return reinterpret_cast<char*>(reinterpret_cast<uintptr_t>(storage->as<char>()) +
                                   static_cast<uintptr_t>(layout->offset) * itemsize(dtype));
  }
  template <class T>
  T* as() const {
    return reinterpret_cast<T*>(data());
  }
  PyObject* object() { return &ob_base; }
};
using TensorRef = Ref<Tensor>;
TensorExtra& extra_of(Tensor& t);  // made on first use (these three: autograd/hooks.cpp)
void clear_extra(Tensor& t);
int traverse_extra(Tensor& t, visitproc visit, void* arg);
inline void retain(Tensor* t) { Py_INCREF(&t->ob_base); }
inline void release(Tensor* t) { Py_DECREF(&t->ob_base); }

extern PyTypeObject* TensorType;     // taimatsu.Tensor
extern PyTypeObject* ParameterType;  // taimatsu.nn.Parameter, set from Python; may be null

inline bool is_exact_tensor(PyObject* o) { return Py_TYPE(o) == TensorType; }
inline bool is_tensor(PyObject* o) {
  return Py_TYPE(o) == TensorType || PyObject_TypeCheck(o, TensorType);
}
inline Tensor* as_tensor(PyObject* o) { return reinterpret_cast<Tensor*>(o); }

// New tensors. The result is an exact Tensor without history.
TensorRef make_tensor(Storage* storage, const Layout* layout, DType dtype);
// Of a storage up to the last element of such a tensor; RuntimeError where int64 is too small.
size_t bytes_reached(const Layout& l, DType dtype);
TensorRef empty(const Layout* layout, DType dtype, Device d = {});  // offset 0
TensorRef empty(Ints sizes, DType dtype, Device d = {});
TensorRef empty_like(const Tensor& t);  // preserve_format
TensorRef empty_like(const Tensor& t, Device d);
// The same storage under another layout, no history. Views of the tape are made by ops/view.cpp.
inline TensorRef alias(const Tensor& t, const Layout* layout) {
  return make_tensor(t.storage, layout, t.dtype);
}
// The last step of deallocating an exact Tensor, untracked and with all that it owned dropped:
// gives up the reference to the type, and keeps the memory for make_tensor.
void recycle(Tensor* t);
void track(Tensor* t);  // from now on the garbage collector looks at it (it may be in a cycle)

}  // namespace taimatsu
