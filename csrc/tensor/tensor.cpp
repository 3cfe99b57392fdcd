#include "tensor/tensor.h"

#include "tensor/freelist.h"

namespace taimatsu {

PyTypeObject* TensorType = nullptr;
PyTypeObject* ParameterType = nullptr;

namespace {

// Memory of dead Tensors, garbage collector's header included. Through here neither the allocator
// of Python objects nor the collector's count of new objects is touched.
FreeList<sizeof(PyObject)> dead;
constexpr int kKeep = 1024;

}  // namespace

size_t bytes_reached(const Layout& l, DType dtype) {
  if (l.numel == 0) return 0;
  int64_t last = l.dense ? l.numel - 1 : reach(l).second, bytes;
  if ((l.dense && __builtin_add_overflow(last, l.offset, &last)) ||
      __builtin_add_overflow(last, 1, &last) ||
      __builtin_mul_overflow(last, itemsize(dtype), &bytes)) {
    fail(Error::Runtime, "Storage size calculation overflowed with sizes=", format(l.sizes()),
         " and strides=", format(l.strides()));
  }
  return static_cast<size_t>(bytes);
}

TensorRef make_tensor(Storage* storage, const Layout* layout, DType dtype) {
  retain(storage);  // now: the allocation below may collect garbage
  retain(layout);
  Tensor* t = static_cast<Tensor*>(dead.pop());
  if (t) {
    PyObject_Init(t->object(), TensorType);
  } else {
    t = PyObject_GC_New(Tensor, TensorType);
    if (!t) {
      release(storage);
      release(layout);
      python_error();
    }
  }
  std::memset(reinterpret_cast<char*>(t) + sizeof(PyObject), 0, sizeof(Tensor) - sizeof(PyObject));
  t->storage = storage;
  t->layout = layout;
  t->dtype = dtype;
  return TensorRef::steal(t);
}

void recycle(Tensor* t) {
  PyTypeObject* type = Py_TYPE(t->object());
  if (kFreeLists && dead.size() < kKeep) {
    dead.push(t);
  } else {
    PyObject_GC_Del(t);
  }
  Py_DECREF(reinterpret_cast<PyObject*>(type));  // an instance of a heap type owns one
}

void track(Tensor* t) {
  if (t->tracked) return;
  t->tracked = true;
  PyObject_GC_Track(t);
}

TensorRef empty(const Layout* layout, DType dtype, Device d) {
  return make_tensor(new_storage(bytes_reached(*layout, dtype), d).get(), layout, dtype);
}

TensorRef empty(Ints sizes, DType dtype, Device d) {
  return empty(contiguous_layout(sizes).get(), dtype, d);
}

TensorRef empty_like(const Tensor& t) { return empty_like(t, t.device()); }

TensorRef empty_like(const Tensor& t, Device d) {
  return empty(dense_layout_like(*t.layout).get(), t.dtype, d);
}

}  // namespace taimatsu
