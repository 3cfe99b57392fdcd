// What Python calls: public functions and methods, overloads, results.
#include <algorithm>
#include <array>

#include "autograd/autograd.h"
#include "ops/launch.h"
#include "ops/replay.h"
#include "python/objects.h"
#include "python/python.h"

namespace taimatsu {
namespace {

// ---- Functions: builtins whose `self` holds the Function ----------------------------------------

struct Handle {
  PyObject_HEAD Function* function;
};

PyObject* call_function(PyObject* self, PyObject* const* args, Py_ssize_t nargs,
                        PyObject* kwnames) {
  return invoke(*reinterpret_cast<Handle*>(self)->function, nullptr, args, nargs, kwnames);
}

// A builtin is pickled as an attribute of its `self`: that is the module which it is found in.
PyObject* reduce_handle(PyObject* self, PyObject*) {
  return guard([&] {
    static PyObject* import_module = nullptr;
    python_function(import_module, "importlib", "import_module");
    const std::string& module = reinterpret_cast<Handle*>(self)->function->module;
    return checked(Py_BuildValue("O(s)", import_module, module.c_str()));
  });
}

PyTypeObject* handle_type() {
  static PyMethodDef methods[] = {{"__reduce__", reduce_handle, METH_NOARGS, nullptr},
                                  {nullptr, nullptr, 0, nullptr}};
  static PyType_Slot slots[] = {{Py_tp_methods, methods}, {0, nullptr}};
  static PyType_Spec spec = {"taimatsu._core.Handle", sizeof(Handle), 0,
                             Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION, slots};
  static auto* type = reinterpret_cast<PyTypeObject*>(checked(PyType_FromSpec(&spec)));
  return type;
}

// ---- Methods: method descriptors (so that `x.add(y)` binds nothing) carry no data, so each gets a
// C function of its own from this pool.

constexpr int kMaxMethods = 2048;
Function* methods[kMaxMethods];

template <int I>
PyObject* call_method(PyObject* self, PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames) {
  return invoke(*methods[I], self, args, nargs, kwnames);
}
using FastCall = PyObject* (*)(PyObject*, PyObject* const*, Py_ssize_t, PyObject*);
template <int... I>
constexpr std::array<FastCall, sizeof...(I)> pool(std::integer_sequence<int, I...>) {
  return {{&call_method<I>...}};
}
const std::array<FastCall, kMaxMethods> kPool =
    pool(std::make_integer_sequence<int, kMaxMethods>{});
int methods_used = 0;

// ---- Errors -----------------------------------------------------------------------------------

std::string types_given(PyObject* self, PyObject* const* args, Py_ssize_t nargs,
                        PyObject* kwnames) {
  std::string out = "(";
  auto put = [&](PyObject* o, const char* key) {
    Object name = Object::steal(PyObject_GetAttrString((PyObject*)Py_TYPE(o), "__name__"));
    if (out.size() > 1) out += ", ";
    if (key) out += std::string(key) + "=";
    out += name ? PyUnicode_AsUTF8AndSize(name.get(), nullptr) : "?";
  };
  if (self) put(self, nullptr);
  for (Py_ssize_t i = 0; i < nargs; ++i) put(args[i], nullptr);
  for (Py_ssize_t i = 0, n = kwnames ? PyTuple_Size(kwnames) : 0; i < n; ++i) {
    put(args[nargs + i], PyUnicode_AsUTF8AndSize(PyTuple_GetItem(kwnames, i), nullptr));
  }
  return out + ")";
}

// Overloads of earlier times (ops/deprecated.py): tried after the others, and not told of.
bool is_deprecated(const Op& op) { return op.schema.overload.rfind("deprecated", 0) == 0; }

bool has_one_signature(const Function& f) {
  return f.overloads.size() == 1 || is_deprecated(*f.overloads[1]);
}

[[noreturn]] void no_overload(const Function& f, PyObject* self, PyObject* const* args,
                              Py_ssize_t nargs, PyObject* kwnames) {
  std::string message = concat(f.name, "() received an invalid combination of arguments - got ",
                               types_given(self, args, nargs, kwnames), ", but expected one of:");
  for (const Op* op : f.overloads) {
    if (!is_deprecated(*op)) message += "\n * " + op->schema.signature();
  }
  fail(Error::Type, message);
}

// ---- Results ----------------------------------------------------------------------------------

// torch.return_types.max and its kind: a named tuple, where the schema names several returns.
std::string text(PyObject* o) {
  const char* s = PyUnicode_AsUTF8AndSize(o, nullptr);
  if (!s) python_error();
  return s;
}

PyObject* repr_named(PyObject* self, PyObject*) {
  return guard([&]() -> PyObject* {
    Object type(reinterpret_cast<PyObject*>(Py_TYPE(self)));
    Object module = Object::steal(checked(PyObject_GetAttrString(type.get(), "__module__")));
    Object name = Object::steal(checked(PyObject_GetAttrString(type.get(), "__name__")));
    Object fields = Object::steal(checked(PyObject_GetAttrString(type.get(), "__match_args__")));
    std::string out = text(module.get()) + "." + text(name.get()) + "(";
    for (Py_ssize_t i = 0, n = PyTuple_Size(fields.get()); i < n; ++i) {
      Object value = Object::steal(checked(PyObject_Repr(PyTuple_GetItem(self, i))));
      out += (i ? ",\n" : "\n") + text(PyTuple_GetItem(fields.get(), i)) + "=" + text(value.get());
    }
    out += ")";
    return PyUnicode_FromStringAndSize(out.data(), static_cast<Py_ssize_t>(out.size()));
  });
}

PyMethodDef kReprNamed{"__repr__", repr_named, METH_NOARGS, nullptr};

PyTypeObject* named_tuple(const Op& op) {
  static std::unordered_map<const Op*, PyTypeObject*> types;
  static std::unordered_map<std::string, PyTypeObject*> by_name;  // overloads share one
  auto it = types.find(&op);
  if (it != types.end()) return it->second;
  Object module = Object::steal(checked(PyObject_GetAttrString(op.entry.get(), "module")));
  const bool linalg = PyUnicode_Check(module.get()) && text(module.get()) == "linalg";
  Object package = Object::steal(checked(PyImport_ImportModule("taimatsu")));
  Object own = Object::steal(checked(PyObject_GetAttrString(package.get(), "__name__")));
  const std::string full =  // of PyTorch under taimatsu.as_torch
      concat(text(own.get()), ".return_types.", linalg ? "linalg_" : "", op.base_name);
  if (auto known = by_name.find(full); known != by_name.end()) return types[&op] = known->second;
  auto* fields = new std::vector<PyStructSequence_Field>;  // the type keeps pointing at it
  for (const Return& r : op.schema.returns) fields->push_back({r.name.c_str(), nullptr});
  fields->push_back({nullptr, nullptr});
  auto* name = new std::string(full);
  PyStructSequence_Desc desc{name->c_str(), nullptr, fields->data(),
                             static_cast<int>(op.schema.returns.size())};
  PyTypeObject* type = PyStructSequence_NewType(&desc);
  checked(reinterpret_cast<PyObject*>(type));
  Object repr = Object::steal(checked(PyDescr_NewMethod(type, &kReprNamed)));
  checked(PyObject_SetAttrString(reinterpret_cast<PyObject*>(type), "__repr__", repr.get()));
  return types[&op] = by_name[full] = type;
}

// return_type(entry) -> the named tuple that an op of several named returns gives.
PyObject* py_return_type(PyObject*, PyObject* entry) {
  return guard([&] { return new_ref(reinterpret_cast<PyObject*>(named_tuple(*define(entry)))); });
}

// The tensors that `out=` names.
std::vector<Tensor*> out_targets(const Op& op, PyObject* out) {
  std::vector<Tensor*> targets;
  if (is_tensor(out)) {
    targets.push_back(as_tensor(out));
  } else if (op.schema.returns.size() != 1 && (PyTuple_Check(out) || PyList_Check(out))) {
    for (Py_ssize_t i = 0, n = PySequence_Size(out); i < n; ++i) {
      PyObject* item = PyTuple_Check(out) ? PyTuple_GetItem(out, i) : PyList_GetItem(out, i);
      if (!is_tensor(item)) fail(Error::Type, op.base_name, "(): out must be tensors");
      targets.push_back(as_tensor(item));
    }
  } else {
    const char* wanted = op.schema.returns.size() == 1 ? "Tensor" : "tuple of Tensors";
    fail(Error::Type, op.base_name, "(): argument 'out' must be ", wanted, ", not ",
         type_name(out));
  }
  if (targets.size() != op.schema.returns.size()) {
    fail(Error::Type, op.base_name, "(): expected ", op.schema.returns.size(),
         " tensors in out=, got ", targets.size());
  }
  return targets;
}

// What makes tensors makes them of the dtype of `out=`, unless another is asked for.
void take_dtype(const Op& op, Value* args, const Tensor& out) {
  if (!op.tensor_params.empty()) return;
  const int i = op.schema.find("dtype");
  if (i < 0) return;
  if (args[i].none()) args[i] = Value(out.dtype);
  if (args[i].dtype != out.dtype) {
    fail(Error::Runtime, op.base_name, ": dtype ", info(args[i].dtype).legacy,
         " does not match dtype of out parameter (", info(out.dtype).legacy, "); leave dtype away");
  }
}

PyObject* run(Function& f, Op& op, Arguments& a) {
  Tensors outs;
  if (f.form == Function::Inplace) {
    if (!a.values[0].is_tensor()) fail(Error::Type, f.name, "() needs a tensor to write to");
    Tensor* target = a.values[0].tensor;
    call(op, a.values, outs, &target);
    retain(target);
    return target->object();
  }
  if (a.out) {
    if (!op.out) fail(Error::Type, f.name, "() got an unexpected keyword argument 'out'");
    // A list may change while the op runs: its items are held by a tuple.
    Object held =
        PyList_Check(a.out) ? Object::steal(checked(PyList_AsTuple(a.out))) : Object(a.out);
    std::vector<Tensor*> targets = out_targets(op, held.get());
    take_dtype(op, a.values, *targets[0]);
    call(op, a.values, outs, targets.data());
    if (targets.size() == 1) return new_ref(a.out);
    Tensors given;
    for (Tensor* t : targets) given.push(TensorRef(t));
    return wrap_outputs(op, given);
  }
  call(op, a.values, outs);
  return wrap_outputs(op, outs);
}

// ---- Registration, called by taimatsu.ops -------------------------------------------------------

Function* new_function(PyObject* args) {
  const char *name, *form, *doc, *module = "";
  PyObject* entries;
  if (!PyArg_ParseTuple(args, "sOss|s", &name, &entries, &form, &doc, &module)) python_error();
  auto* f = new Function;  // lives as long as the process
  f->name = name;
  f->module = *module ? concat("taimatsu.", module) : "taimatsu";
  f->form = std::strcmp(form, "inplace") == 0 ? Function::Inplace : Function::Plain;
  for (Py_ssize_t i = 0, n = PySequence_Size(entries); i < n; ++i) {
    Object entry = Object::steal(checked(PySequence_GetItem(entries, i)));
    f->overloads.push_back(define(entry.get()));
  }
  // CPython shows what follows the first line's "--" as the docstring, the line as the signature.
  f->doc = has_one_signature(*f)
               ? f->name +
                     f->overloads[0]->schema.signature().substr(f->overloads[0]->base_name.size()) +
                     "\n--\n\n" + doc
               : std::string(doc);
  f->doc.shrink_to_fit();  // there are hundreds, and they stay
  f->def = {f->name.c_str(), nullptr, METH_FASTCALL | METH_KEYWORDS, f->doc.c_str()};
  return f;
}

// function(name, entries, form, doc, module) -> builtin
PyObject* py_function(PyObject*, PyObject* args) {
  return guard([&] {
    Function* f = new_function(args);
    f->def.ml_meth = reinterpret_cast<PyCFunction>(reinterpret_cast<void*>(&call_function));
    Object handle = Object::steal(checked(PyType_GenericAlloc(handle_type(), 0)));
    reinterpret_cast<Handle*>(handle.get())->function = f;
    Object module = Object::steal(checked(PyUnicode_FromString(f->module.c_str())));
    f->callable = checked(PyCFunction_NewEx(&f->def, handle.get(), module.get()));
    Py_INCREF(f->callable);
    return f->callable;
  });
}

// method(name, entries, form, doc): adds it to Tensor.
PyObject* py_method(PyObject*, PyObject* args) {
  return guard([&]() -> PyObject* {
    Function* f = new_function(args);
    if (methods_used == kMaxMethods) fail(Error::Runtime, "too many methods: raise kMaxMethods");
    methods[methods_used] = f;
    f->def.ml_meth = reinterpret_cast<PyCFunction>(reinterpret_cast<void*>(kPool[methods_used++]));
    f->callable = checked(PyDescr_NewMethod(TensorType, &f->def));
    checked(PyObject_SetAttrString(reinterpret_cast<PyObject*>(TensorType), f->name.c_str(),
                                   f->callable));
    Py_RETURN_NONE;
  });
}

// define(entry) -> builtin: registers an op that has no public name (a derived gradient).
PyObject* py_define(PyObject* module, PyObject* entry) {
  return guard([&]() -> PyObject* {
    Object name = Object::steal(checked(PyUnicode_FromString(define(entry)->base_name.c_str())));
    Object args = Object::steal(checked(Py_BuildValue("(O(O)ss)", name.get(), entry, "plain", "")));
    return py_function(module, args.get());
  });
}

// Every param may be given, in the schema's order.
void take_all(Arguments& a, const Op& op, PyObject* const* args, Py_ssize_t n,
              PyObject* kwnames = nullptr) {
  std::string why;
  if (!a.parse_by_position(op.schema, args, n, kwnames, &why)) {
    fail(Error::Type, op.base_name, "(): ", why);
  }
}

// call(entry, *args): calls an op by its entry.
PyObject* py_call(PyObject*, PyObject* const* args, Py_ssize_t nargs, PyObject* kwnames) {
  return guard([&]() -> PyObject* {
    if (nargs < 1) fail(Error::Type, "call() needs an op");
    Op& op = *op_of(args[0]);
    Arguments a;
    take_all(a, op, args + 1, nargs - 1, kwnames);
    Function plain;
    plain.name = op.base_name;
    return run(plain, op, a);
  });
}

// call_into(entry, targets, *args): the in-place form, where targets[0] is the first argument, or
// the out= form; returns the target or the tuple of them.
PyObject* py_call_into(PyObject*, PyObject* const* args, Py_ssize_t nargs) {
  return guard([&]() -> PyObject* {
    if (nargs < 2 || !PyTuple_Check(args[1])) {
      fail(Error::Type, "call_into() takes an op, a tuple of tensors, and the op's arguments");
    }
    Op& op = *op_of(args[0]);
    Arguments a;
    take_all(a, op, args + 2, nargs - 2);
    Tensors outs;
    PyObject* out = PyTuple_Size(args[1]) == 1 ? PyTuple_GetItem(args[1], 0) : args[1];
    const bool inplace = nargs > 2 && out == args[2];
    std::vector<Tensor*> targets;
    if (inplace) {
      targets.push_back(a.values[0].tensor);
    } else {
      targets = out_targets(op, out);
    }
    call(op, a.values, outs, targets.data());
    return new_ref(out);
  });
}

// compose(entry, *args): runs a composite of the core, so that interpreters see the ops inside.
PyObject* py_compose(PyObject*, PyObject* const* args, Py_ssize_t nargs) {
  return guard([&]() -> PyObject* {
    if (nargs < 1) fail(Error::Type, "compose() needs an op");
    Op& op = *op_of(args[0]);
    Arguments a;
    take_all(a, op, args + 1, nargs - 1);
    Tensors outs;
    Call c{op, a.values, outs};
    run_composite(c);
    return wrap_outputs(op, outs);
  });
}

// constant(tensor) -> tensor: what a composite made itself and keeps, the same whatever elements
// its arguments have, so that a replay may use it (replay.h).
PyObject* py_constant(PyObject*, PyObject* tensor) {
  return guard([&] {
    if (!is_tensor(tensor)) fail(Error::Type, "constant() takes a tensor");
    as_tensor(tensor)->constant = true;
    return new_ref(tensor);
  });
}

// void_notes(): the composite that runs does what is no call of an op, and has to each time.
PyObject* py_void_notes(PyObject*, PyObject*) {
  void_notes();
  Py_RETURN_NONE;
}

// set_replays(on) -> whether they were: without, composites are run in Python each time.
PyObject* py_set_replays(PyObject*, PyObject* on) {
  return guard([&] { return boolean(set_replays(PyObject_IsTrue(on) == 1)); });
}

PyObject* py_set_interpreter(PyObject*, PyObject* function) {
  return guard([&]() -> PyObject* {
    set_interpreter(function == Py_None ? nullptr : function);
    Py_RETURN_NONE;
  });
}

// interpose(bit, on): sets a bit of the thread's flag (1 interpreters, 2 __torch_function__ modes).
PyObject* py_interpose(PyObject*, PyObject* args) {
  unsigned bit;
  int on;
  if (!PyArg_ParseTuple(args, "Ip", &bit, &on)) return nullptr;
  modes.interpose = on ? modes.interpose | bit : modes.interpose & ~bit;
  Py_RETURN_NONE;
}

PyMethodDef kMethods[] = {
    {"function", py_function, METH_VARARGS, nullptr},
    {"method", py_method, METH_VARARGS, nullptr},
    {"define", py_define, METH_O, nullptr},
    {"return_type", py_return_type, METH_O, nullptr},
    {"constant", py_constant, METH_O, nullptr},
    {"void_notes", py_void_notes, METH_NOARGS, nullptr},
    {"set_replays", py_set_replays, METH_O, nullptr},
    {"call", reinterpret_cast<PyCFunction>(reinterpret_cast<void*>(&py_call)),
     METH_FASTCALL | METH_KEYWORDS, nullptr},
    {"call_into", reinterpret_cast<PyCFunction>(reinterpret_cast<void*>(&py_call_into)),
     METH_FASTCALL, nullptr},
    {"compose", reinterpret_cast<PyCFunction>(reinterpret_cast<void*>(&py_compose)), METH_FASTCALL,
     nullptr},
    {"set_interpreter", py_set_interpreter, METH_O, nullptr},
    {"interpose", py_interpose, METH_VARARGS, nullptr},
    {nullptr, nullptr, 0, nullptr},
};

}  // namespace

PyObject* invoke(Function& f, PyObject* self, PyObject* const* args, Py_ssize_t nargs,
                 PyObject* kwnames) {
  return guard([&]() -> PyObject* {
    const size_t n = f.overloads.size();
    std::string why;
    if (modes.interpose & kFunctionModes) {
      return call_torch_function(f.callable, self, args, nargs, kwnames);
    }
    for (size_t i = 0; i < n; ++i) {
      Op& op = *f.overloads[i];
      Arguments a;
      if (!a.parse(op.schema, self, args, nargs, kwnames, n == 1 ? &why : nullptr)) continue;
      if (a.overridden || (a.out && !is_exact_tensor(a.out) && has_torch_function(a.out))) {
        return call_torch_function(f.callable, self, args, nargs, kwnames);
      }
      return run(f, op, a);
    }
    if (n > 1 && has_one_signature(f)) {
      Arguments().parse(f.overloads[0]->schema, self, args, nargs, kwnames, &why);
    }
    if (!why.empty()) fail(Error::Type, f.name, "(): ", why);
    no_overload(f, self, args, nargs, kwnames);
  });
}

PyObject* wrap_outputs(Op& op, Tensors& outs) {
  // A composite's own tuple gets the names that the schema gives.
  const size_t named = op.schema.returns.size();
  if (outs.other && named > 1 && !op.schema.returns[0].name.empty()) {
    if (outs.size() == 0) unwrap_outputs(op, outs);
    if (outs.size() == static_cast<int>(named)) outs.other = nullptr;
  }
  if (outs.other) {
    PyObject* o = outs.other.get();  // some of them no tensors
    if (named > 1 && !op.schema.returns[0].name.empty() && PyTuple_CheckExact(o) &&
        PyTuple_Size(o) == static_cast<Py_ssize_t>(named)) {
      Object tuple = Object::steal(checked(PyStructSequence_New(named_tuple(op))));
      for (size_t i = 0; i < named; ++i) {
        PyObject* item = PyTuple_GetItem(o, i);
        Py_INCREF(item);
        PyStructSequence_SetItem(tuple.get(), i, item);
      }
      return tuple.leak();
    }
    return outs.other.leak();
  }
  const int n = outs.size();
  if (outs.is_list) {
    Object tuple = Object::steal(checked(PyTuple_New(n)));
    for (int i = 0; i < n; ++i) {
      checked(PyTuple_SetItem(tuple.get(), i, tensor_object(std::move(outs[i]))));
    }
    return tuple.leak();
  }
  if (n == 0) Py_RETURN_NONE;
  if (n == 1) return tensor_object(std::move(outs[0]));
  if (op.schema.returns.empty() || op.schema.returns[0].name.empty()) {
    Object tuple = Object::steal(checked(PyTuple_New(n)));
    for (int i = 0; i < n; ++i) {
      checked(PyTuple_SetItem(tuple.get(), i, tensor_object(std::move(outs[i]))));
    }
    return tuple.leak();
  }
  Object tuple = Object::steal(checked(PyStructSequence_New(named_tuple(op))));
  for (int i = 0; i < n; ++i) {
    PyStructSequence_SetItem(tuple.get(), i, tensor_object(std::move(outs[i])));
  }
  return tuple.leak();
}

void unwrap_outputs(const Op& op, Tensors& outs) {
  if (!outs.other) return;
  PyObject* o = outs.other.get();
  if (is_tensor(o)) {
    outs.push(TensorRef(as_tensor(o)));
  } else if (PyTuple_Check(o) || PyList_Check(o)) {
    for (Py_ssize_t i = 0, n = PySequence_Size(o); i < n; ++i) {
      PyObject* item = PyTuple_Check(o) ? PyTuple_GetItem(o, i) : PyList_GetItem(o, i);
      if (!is_tensor(item)) return;  // not tensors after all: stays `other`
      outs.push(TensorRef(as_tensor(item)));
    }
    outs.is_list = op.schema.returns.size() == 1;
  } else {
    return;
  }
}

int init_apply(PyObject* module);  // apply.cpp

int init_ops(PyObject* module) {
  return PyModule_AddFunctions(module, kMethods) < 0 ? -1 : init_apply(module);
}

}  // namespace taimatsu
