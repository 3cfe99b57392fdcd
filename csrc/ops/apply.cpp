// One pointwise rule over lists of tensors: what an optimizer's step is.
#include "ops/dispatch.h"
#include "ops/launch.h"
#include "ops/replay.h"
#include "python/objects.h"

namespace taimatsu {
namespace {

// For each return of the rule, the param that it replaces: the one of its name.
std::vector<int> replaced(const Op& op) {
  std::vector<int> at;
  for (const Return& r : op.schema.returns) {
    at.push_back(op.schema.find(r.name));
    if (at.back() < 0) fail(Error::Value, op.name, ": no parameter is called ", r.name);
  }
  return at;
}

// Writes the results for one set of tensors over the tensors that they replace.
void apply_one(Op& op, const Value* args, const std::vector<int>& targets) {
  void_notes();
  Tensors outs;
  if (dispatched(op, args, nullptr)) {
    call(op, args, outs);
    for (size_t j = 0; j < targets.size(); ++j) {
      copy_into(args[targets[j]].t(), *outs[static_cast<int>(j)]);
      bump_version(args[targets[j]].t());
    }
    return;
  }
  Call c{op, args, outs};
  const Variant& v = find_variant(c);
  bool direct = true;
  for (size_t j = 0; j < targets.size(); ++j) {
    Tensor& target = args[targets[j]].t();
    direct &= v.outputs[j].dtype == target.dtype && !overlaps_itself(*target.layout);
    for (uint8_t i : op.operands) {
      if (args[i].is_tensor() && args[i].t().sizes() != target.sizes()) direct = false;
    }
  }
  if (direct) {
    for (int at : targets) outs.push(TensorRef(args[at].tensor));
    emit(c);
  } else {
    infer_pointwise(c, nullptr);
    emit(c);
    for (size_t j = 0; j < targets.size(); ++j) copy_into(args[targets[j]].t(), *outs[j]);
  }
  for (int at : targets) bump_version(args[at].t());
}

// apply_list(entry, lists, options): `lists` has a list for each tensor param, in order.
PyObject* apply_list(PyObject*, PyObject* args) {
  return guard([&]() -> PyObject* {
    PyObject *entry, *lists, *options;
    if (!PyArg_ParseTuple(args, "OO!O!", &entry, &PyList_Type, &lists, &PyDict_Type, &options)) {
      python_error();
    }
    Op& op = *op_of(entry);
    if (op.kind != Kind::Pointwise)
      fail(Error::Type, op.name, ": apply_list needs a pointwise rule");
    const std::vector<int> targets = replaced(op);
    const Py_ssize_t width = PyList_Size(lists);
    const Py_ssize_t length = width ? PyList_Size(PyList_GetItem(lists, 0)) : 0;
    for (Py_ssize_t k = 0; k < width; ++k) {
      PyObject* list = PyList_GetItem(lists, k);
      if (!PyList_Check(list) || PyList_Size(list) != length) {
        fail(Error::Value, op.name, ": apply_list needs lists of one length");
      }
      for (Py_ssize_t i = 0; i < length; ++i) {
        if (!is_tensor(PyList_GetItem(list, i))) fail(Error::Type, op.name, ": not a tensor");
      }
    }
    if (length == 0) Py_RETURN_NONE;

    // The first set of tensors stands for all while the options are parsed.
    std::vector<PyObject*> given;
    for (Py_ssize_t k = 0; k < width; ++k) {
      given.push_back(PyList_GetItem(PyList_GetItem(lists, k), 0));
    }
    Object names = Object::steal(checked(PyTuple_New(PyDict_Size(options))));
    PyObject *key, *value;
    Py_ssize_t at = 0, n = 0;
    while (PyDict_Next(options, &at, &key, &value)) {
      Py_INCREF(key);
      checked(PyTuple_SetItem(names.get(), n++, key));
      given.push_back(value);
    }
    Arguments a;
    std::string why;
    if (!a.parse(op.schema, nullptr, given.data(), width, names.get(), &why)) {
      fail(Error::Type, op.base_name, "(): ", why);
    }
    for (Py_ssize_t i = 0; i < length; ++i) {
      for (Py_ssize_t k = 0; k < width; ++k) {
        a.values[k] = Value(as_tensor(PyList_GetItem(PyList_GetItem(lists, k), i)));
      }
      apply_one(op, a.values, targets);
    }
    Py_RETURN_NONE;
  });
}

PyMethodDef kMethods[] = {
    {"apply_list", apply_list, METH_VARARGS,
     "apply_list(rule, lists, options): for each i, writes what the rule makes of the i-th tensors "
     "over those that its outputs are named after."},
    {nullptr, nullptr, 0, nullptr},
};

}  // namespace

int init_apply(PyObject* module) { return PyModule_AddFunctions(module, kMethods); }

}  // namespace taimatsu
