// What the files of csrc/python share among themselves: making types, taking arguments, reading
// tensors. What other layers need of Python is in objects.h.
#pragma once

#include "python/objects.h"

namespace taimatsu {

int init_errors(PyObject* module);
int init_devices(PyObject* module);
int init_overrides(PyObject* module);
int init_exchange(PyObject* module);
int init_dlpack(PyObject* module);
int init_extensions(PyObject* module);

// A function of any of METH_*'s signatures, as PyMethodDef wants it.
template <class F>
PyCFunction method(F* f) {
  return reinterpret_cast<PyCFunction>(reinterpret_cast<void (*)()>(f));
}
template <class F>
void* slot(F* f) {
  return reinterpret_cast<void*>(f);
}

// A heap type of the module, added to it under the last part of the spec's name.
PyTypeObject* add_type(PyObject* module, PyType_Spec& spec, PyObject* bases = nullptr);

// ---- Arguments of the core's own functions (ops parse theirs by schema) -------------------------

// `names` in order; the first `positional` of them may be given by position, the first `required`
// must be given. `out` has one entry for each name, borrowed, null where not given.
struct Signature {
  const char* function;
  std::vector<const char*> names;
  int positional;
  int required;

  void unpack(PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames, PyObject** out) const;
  void unpack(PyObject* tuple, PyObject* dict, PyObject** out) const;  // as tp_new gets them

 private:
  int keyword(PyObject* name) const;
  void check(PyObject* const* out) const;
  void check_positional(Py_ssize_t n) const;
};

int64_t to_index(PyObject* o);                // anything with __index__; TypeError, OverflowError
bool to_bool(PyObject* o);                    // truth value
bool to_flag(PyObject* o, const char* name);  // of a bool, Python's or NumPy's
std::string to_string(PyObject* o);
std::string type_name(PyObject* o);  // the name of its class
// A tuple or list of ints, or a single int as a list of one. TypeError names `what`.
std::vector<int64_t> to_ints(PyObject* o, const char* what);
PyObject* ints_tuple(Ints ints);  // a new reference

inline bool given(PyObject* o) { return o && o != Py_None; }
inline PyObject* new_ref(PyObject* o) {
  Py_INCREF(o);
  return o;
}
inline PyObject* boolean(bool b) { return new_ref(b ? Py_True : Py_False); }

// The taimatsu function of this dotted name, imported on first use: "ops.indexing.getitem".
// Only for paths that are slow anyway. The cache is `slot`.
PyObject* python_function(PyObject*& slot, const char* module, const char* name);  // borrowed

// ---- Tensors ------------------------------------------------------------------------------------

// The memory of a tensor that Python is about to read or write: throws on meta tensors.
TensorRef on_host(Tensor& t, const char* what);
// An instance of `cls` (Tensor or a subclass) that takes over everything of the fresh tensor `t`.
PyObject* adopt(PyTypeObject* cls, TensorRef t);
// Visits the elements in row-major order: visit(address).
template <class Visit>
void for_each_element(const Tensor& t, char* data, const Visit& visit);

// `data` (numbers in nested sequences, arrays, tensors) as a new tensor. A null dtype is inferred.
TensorRef tensor_of(PyObject* data, const DType* dtype, Device device);
// Shares memory with what has a buffer or an __array_interface__; null if `o` has neither.
TensorRef from_array(PyObject* o, bool must_be_writable);
TensorRef from_dlpack(PyObject* o);

PyObject* storage_object(Storage* s);  // the UntypedStorage of `s`, made once; a new reference
bool storage_of(PyObject* o, Storage*& out);

template <class Visit>
void for_each_element(const Tensor& t, char* data, const Visit& visit) {
  const Layout& l = *t.layout;
  const int64_t item = itemsize(t.dtype);
  if (l.numel == 0) return;
  if (l.contiguous) {
    for (int64_t i = 0; i < l.numel; ++i) visit(data + i * item);
    return;
  }
  int64_t index[kMaxDims] = {};
  const int last = l.ndim - 1;
  while (true) {
    for (int64_t i = 0; i < l.size(last); ++i) visit(data + i * l.stride(last) * item);
    int d = last - 1;
    for (; d >= 0; --d) {
      data += l.stride(d) * item;
      if (++index[d] < l.size(d)) break;
      data -= l.size(d) * l.stride(d) * item;
      index[d] = 0;
    }
    if (d < 0) return;
  }
}

}  // namespace taimatsu
