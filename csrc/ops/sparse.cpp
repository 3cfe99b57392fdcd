#include "ops/sparse.h"

#include "autograd/autograd.h"
#include "ops/launch.h"
#include "python/python.h"

namespace taimatsu {

bool any_sparse = false;

namespace {

PyObject* calls = nullptr;    // the Python function for calls of ops
PyObject* members = nullptr;  // a dict: functions by the names of Tensor's getters and methods

bool sparse_argument(const Value& v) {
  if (v.is_tensor()) return is_sparse(*v.tensor);
  if (v.tag != Value::Tensors) return false;
  for (int64_t k = 0; k < v.tensors.size; ++k) {
    if (v.tensors.data[k] && is_sparse(*v.tensors.data[k])) return true;
  }
  return false;
}

Tensor& sparse_tensor(PyObject* o, const char* function) {
  if (!is_tensor(o)) fail(Error::Type, function, "() takes a Tensor, not ", type_name(o));
  return *as_tensor(o);
}

// One element of zeros, seen at every position: what looks at it by mistake finds memory there.
void become_sparse(Tensor& t, Ints sizes, PyObject* parts) {
  const std::vector<int64_t> strides(sizes.size, 0);
  LayoutRef layout = intern(sizes, strides, 0);
  release(std::exchange(t.layout, layout.leak()));
  Py_XDECREF(std::exchange(extra_of(t).parts, new_ref(parts)));
  track(&t);
  any_sparse = true;
}

// make_sparse(parts, sizes, dtype, device)
PyObject* make(PyObject*, PyObject* const* args, Py_ssize_t nargs) {
  return guard([&] {
    DType dtype;
    Device device;
    if (nargs != 4 || !dtype_of(args[2], dtype) || !device_of(args[3], device)) {
      fail(Error::Type, "make_sparse() takes parts, sizes, a dtype and a device");
    }
    TensorRef t = empty(Ints(), dtype, device);
    fill(*t, Number::integer(0));
    become_sparse(*t, to_ints(args[1], "make_sparse: sizes"), args[0]);
    return tensor_object(std::move(t));
  });
}

// set_sparse(tensor, parts, sizes): what is written to it in place.
PyObject* set(PyObject*, PyObject* const* args, Py_ssize_t nargs) {
  return guard([&] {
    if (nargs != 3) fail(Error::Type, "set_sparse() takes a tensor, parts and sizes");
    Tensor& t = sparse_tensor(args[0], "set_sparse");
    become_sparse(t, to_ints(args[2], "set_sparse: sizes"), args[1]);
    ++t.storage->version;
    return new_ref(Py_None);
  });
}

PyObject* parts_of(PyObject*, PyObject* o) {
  return guard([&] {
    const Tensor& t = sparse_tensor(o, "sparse_parts");
    return new_ref(is_sparse(t) ? t.extra->parts : Py_None);
  });
}

PyObject* set_handlers(PyObject*, PyObject* args) {
  if (!PyArg_ParseTuple(args, "OO!", &calls, &PyDict_Type, &members)) return nullptr;
  Py_INCREF(calls);
  Py_INCREF(members);
  Py_RETURN_NONE;
}

PyMethodDef functions[] = {
    {"make_sparse", method(make), METH_FASTCALL,
     "make_sparse(parts, sizes, dtype, device)\n--\n\nA sparse tensor; see taimatsu.sparse."},
    {"set_sparse", method(set), METH_FASTCALL,
     "set_sparse(tensor, parts, sizes)\n--\n\nGive a sparse tensor other parts, in place."},
    {"sparse_parts", parts_of, METH_O,
     "sparse_parts(tensor)\n--\n\nWhat a sparse tensor is made of; None of a strided one."},
    {"set_sparse_handlers", set_handlers, METH_VARARGS,
     "set_sparse_handlers(calls, members)\n--\n\nWho carries out the calls of ops, and of "
     "Tensor's\n"
     "getters and methods by name, on sparse tensors."},
    {},
};

}  // namespace

bool takes_sparse(const Op& op, const Value* args, Tensor* const* into) {
  for (uint8_t i : op.tensor_params) {
    if (sparse_argument(args[i])) return true;
  }
  if (into && is_sparse(*into[0])) return true;
  return op.schema.layout >= 0 && args[op.schema.layout].tag == Value::Object &&
         !is_strided(args[op.schema.layout].object);
}

PyObject* sparse_calls() {
  // The package of the handlers is imported with the first sparse tensor.
  if (!calls) Object::steal(checked(PyImport_ImportModule("taimatsu.sparse._dispatch")));
  return calls;
}

PyObject* sparse_member(const char* name) {
  return members ? PyDict_GetItemString(members, name) : nullptr;
}

PyObject* call_sparse_member(PyObject* member, PyObject* self, PyObject* const* args,
                             Py_ssize_t nargs, PyObject* kwnames) {
  Object tuple = Object::steal(checked(PyTuple_New(nargs + 1)));
  PyTuple_SetItem(tuple.get(), 0, new_ref(self));
  for (Py_ssize_t i = 0; i < nargs; ++i) PyTuple_SetItem(tuple.get(), i + 1, new_ref(args[i]));
  Object keywords = Object::steal(checked(PyDict_New()));
  for (Py_ssize_t k = 0; kwnames && k < PyTuple_Size(kwnames); ++k) {
    const int status = PyDict_SetItem(keywords.get(), PyTuple_GetItem(kwnames, k), args[nargs + k]);
    if (status < 0) python_error();
  }
  return checked(PyObject_Call(member, tuple.get(), keywords.get()));
}

Object ask_sparse(const char* name, const Tensor& t, PyObject* argument) {
  PyObject* member = sparse_member(name);
  if (!member) fail(Error::Runtime, "no member '", name, "' of sparse tensors");
  PyObject* self = const_cast<Tensor&>(t).object();
  return Object::steal(call_sparse_member(member, self, &argument, argument ? 1 : 0, nullptr));
}

TensorRef ask_sparse_tensor(const char* name, const Tensor& t, Tensor* argument) {
  Object found = ask_sparse(name, t, argument ? argument->object() : nullptr);
  if (!is_tensor(found.get())) fail(Error::Type, name, ": not a tensor");
  return TensorRef(as_tensor(found.get()));
}

void refuse_sparse(const Tensor& t, const char* what) {
  if (!is_sparse(t)) return;
  fail(Error::NotImplemented, what,
       ": a sparse tensor has no memory of its own; use .to_dense(), or its indices and values");
}

int init_sparse(PyObject* module) { return PyModule_AddFunctions(module, functions); }

}  // namespace taimatsu
