// Extensions: shared libraries that offer functions through the C interface of
// taimatsu/include/taimatsu/taimatsu.h. Each becomes a callable with a schema; what more it is (an
// op with a derivative, the member of a module) is up to taimatsu/utils/cpp_extension.py.
#include <dlfcn.h>

#include <algorithm>
#include <cstdlib>

#include "../taimatsu/include/taimatsu/taimatsu.h"
#include "cpu/threads.h"
#include "ops/launch.h"
#include "python/dlpack.h"

namespace taimatsu {
namespace {

// ---- Failures -----------------------------------------------------------------------------------

// What the extension said, or what an api function ran into, until somebody asks.
thread_local Error failure{Error::Runtime, {}};
thread_local bool failed = false;

int32_t set_failure(Error e) {
  failure = std::move(e);
  failed = true;
  return -1;
}

// A Python exception as an Error, so that it can be kept while the extension goes on.
Error python_failure() {
  PyObject *a, *b, *c;
  PyErr_Fetch(&a, &b, &c);
  PyErr_NormalizeException(&a, &b, &c);
  Object type = Object::steal(a), value = Object::steal(b), trace = Object::steal(c);
  static const std::pair<PyObject*, Error::Kind> kinds[] = {
      {PyExc_TypeError, Error::Type},
      {PyExc_IndexError, Error::Index},
      {PyExc_ValueError, Error::Value},
      {PyExc_NotImplementedError, Error::NotImplemented},
  };
  Object text = Object::steal(value ? PyObject_Str(value.get()) : nullptr);
  const std::string message = text ? to_string(text.get()) : "unknown error";
  PyErr_Clear();
  for (auto& [exception, kind] : kinds) {
    if (type && PyErr_GivenExceptionMatches(type.get(), exception)) return {kind, message};
  }
  return {Error::Runtime, message};
}

// Runs an api function: what is thrown becomes the failure, the result then `bad`.
template <class R, class F>
R shielded(R bad, F&& body) {
  try {
    return body();
  } catch (Error& e) {
    set_failure(e.kind == Error::Python ? python_failure() : e);
  } catch (std::exception& e) {
    set_failure({Error::Runtime, e.what()});
  }
  return bad;
}

[[noreturn]] void throw_failure(const std::string& function) {
  if (!failed) fail(Error::Runtime, function, ": failed without a reason (see api->fail)");
  failed = false;
  throw Error{failure.kind, function + ": " + failure.message};
}

// ---- Values -------------------------------------------------------------------------------------

tm_tensor* handle(Tensor* t) { return reinterpret_cast<tm_tensor*>(t); }
Tensor* tensor(tm_tensor* t) { return reinterpret_cast<Tensor*>(t); }
PyObject* new_tensor(tm_tensor* t) {
  if (!t) fail(Error::Value, "a tensor's handle is null");
  return new_ref(tensor(t)->object());
}

tm_value to_c(const Value& v) {
  tm_value out{};
  switch (v.tag) {
    case Value::None: out.tag = TM_NONE; break;
    case Value::Tensor:
      out.tag = TM_TENSOR;
      out.as.tensor = handle(v.tensor);
      break;
    case Value::Number:
      if (v.number.tag == Number::Bool || v.number.tag == Number::Int) {
        out.tag = v.number.tag == Number::Bool ? TM_BOOL : TM_INT;
        out.as.i = v.to_int();
      } else {
        const auto z = v.number.as_complex();
        out.tag = v.number.tag == Number::Float ? TM_FLOAT : TM_COMPLEX;
        out.as.f[0] = z.real();
        out.as.f[1] = z.imag();
      }
      break;
    case Value::String:
      out.tag = TM_STRING;
      out.as.string = v.string;
      break;
    case Value::DType:
      out.tag = TM_DTYPE;
      out.as.dtype = to_dlpack_type(v.dtype);
      break;
    case Value::Device:
      out.tag = TM_DEVICE;
      out.as.device = to_dlpack_device(v.device);
      break;
    case Value::Tensors:
      out.tag = TM_TENSORS;
      out.as.list.data = v.tensors.data;
      out.as.list.size = v.tensors.size;
      break;
    case Value::Ints:
    case Value::Floats:
      out.tag = v.tag == Value::Ints ? TM_INTS : TM_FLOATS;
      out.as.list.data = v.list.data;
      out.as.list.size = v.list.size;
      break;
    default: fail(Error::Type, "an argument of this type can't be passed to an extension");
  }
  return out;
}

template <class T, class Make>
PyObject* list_of(const tm_value& v, const Make& make) {
  Object list = Object::steal(checked(PyList_New(v.as.list.size)));
  for (int64_t i = 0; i < v.as.list.size; ++i) {
    PyList_SetItem(list.get(), i, checked(make(static_cast<const T*>(v.as.list.data)[i])));
  }
  return list.leak();
}

PyObject* to_python_object(const tm_value& v) {
  switch (v.tag) {
    case TM_NONE: return new_ref(Py_None);
    case TM_TENSOR: return new_tensor(v.as.tensor);
    case TM_INT: return PyLong_FromLongLong(v.as.i);
    case TM_BOOL: return boolean(v.as.i != 0);
    case TM_FLOAT: return PyFloat_FromDouble(v.as.f[0]);
    case TM_COMPLEX: return PyComplex_FromDoubles(v.as.f[0], v.as.f[1]);
    case TM_STRING: return PyUnicode_FromString(v.as.string);
    case TM_DTYPE: return new_ref(dtype_object(from_dlpack_type(v.as.dtype)));
    case TM_DEVICE: return device_object(from_dlpack_device(v.as.device));
    case TM_TENSORS: return list_of<tm_tensor*>(v, new_tensor);
    case TM_INTS: return list_of<int64_t>(v, PyLong_FromLongLong);
    case TM_FLOATS: return list_of<double>(v, PyFloat_FromDouble);
  }
  fail(Error::Value, "a value has the unknown tag ", v.tag);
}

template <class T, class Make>
void fill_list(tm_value& out, PyObject* o, int32_t tag, const Make& make) {
  const Py_ssize_t n = PySequence_Size(o);
  auto* data = static_cast<T*>(std::malloc(std::max<size_t>(1, n * sizeof(T))));
  if (!data) throw std::bad_alloc();
  for (Py_ssize_t i = 0; i < n; ++i) {
    Object item = Object::steal(checked(PySequence_GetItem(o, i)));
    data[i] = make(item.get());
  }
  out.tag = tag;
  out.as.list = {data, n};
}

// A result of api->call: references and memory that the extension owns from here on.
tm_value from_python(PyObject* o) {
  tm_value out{};
  if (o == Py_None) {
    out.tag = TM_NONE;
  } else if (is_tensor(o)) {
    out.tag = TM_TENSOR;
    out.as.tensor = handle(as_tensor(new_ref(o)));
  } else if (PyBool_Check(o)) {
    out.tag = TM_BOOL;
    out.as.i = o == Py_True;
  } else if (PyLong_Check(o)) {
    out.tag = TM_INT;
    out.as.i = to_index(o);
  } else if (PyFloat_Check(o)) {
    out.tag = TM_FLOAT;
    out.as.f[0] = PyFloat_AsDouble(o);
  } else if (PyComplex_Check(o)) {
    out.tag = TM_COMPLEX;
    out.as.f[0] = PyComplex_RealAsDouble(o);
    out.as.f[1] = PyComplex_ImagAsDouble(o);
  } else if (PyUnicode_Check(o)) {
    const std::string text = to_string(o);
    auto* copy = static_cast<char*>(std::malloc(text.size() + 1));
    if (!copy) throw std::bad_alloc();
    std::copy(text.c_str(), text.c_str() + text.size() + 1, copy);
    out.tag = TM_STRING;
    out.as.string = copy;
  } else if (PyTuple_Check(o) || PyList_Check(o)) {  // a list inside of a tuple of results
    Object first = Object::steal(PySequence_Size(o) ? PySequence_GetItem(o, 0) : nullptr);
    if (first && is_tensor(first.get())) {
      fill_list<tm_tensor*>(out, o, TM_TENSORS, [](PyObject* x) {
        if (!is_tensor(x)) fail(Error::Type, "a list of tensors and other things can't be passed");
        return handle(as_tensor(new_ref(x)));
      });
    } else if (first && PyFloat_Check(first.get())) {
      fill_list<double>(out, o, TM_FLOATS, PyFloat_AsDouble);
    } else {
      fill_list<int64_t>(out, o, TM_INTS, to_index);
    }
  } else if (DType t; dtype_of(o, t)) {
    out.tag = TM_DTYPE;
    out.as.dtype = to_dlpack_type(t);
  } else if (Device d; device_of(o, d)) {
    out.tag = TM_DEVICE;
    out.as.device = to_dlpack_device(d);
  } else {
    fail(Error::Type, "a result of type ", type_name(o), " can't be passed to an extension");
  }
  return out;
}

// ---- Functions ----------------------------------------------------------------------------------

struct ExtensionFunction {
  Schema schema;
  std::string qualified;  // "space::name", as it was defined
  std::string doc;
  tm_function function;
  void* context;
  PyMethodDef def;
};

// A result as a Python object; references and memory are taken over.
PyObject* take_result(tm_value& v) {
  Object o = Object::steal(to_python_object(v));
  if (v.tag == TM_TENSOR) release(tensor(v.as.tensor));
  if (v.tag == TM_TENSORS) {
    for (int64_t i = 0; i < v.as.list.size; ++i) {
      release(tensor(static_cast<tm_tensor* const*>(v.as.list.data)[i]));
    }
  }
  if (v.tag >= TM_TENSORS) std::free(const_cast<void*>(v.as.list.data));
  if (v.tag == TM_STRING) std::free(const_cast<char*>(v.as.string));
  v.tag = TM_NONE;
  return o.leak();
}

PyObject* call_extension(PyObject* self, PyObject* const* args, Py_ssize_t nargs,
                         PyObject* kwnames) {
  return guard([&]() -> PyObject* {
    auto& f = *static_cast<ExtensionFunction*>(PyCapsule_GetPointer(self, nullptr));
    Arguments a;
    std::string why;
    if (!a.parse(f.schema, nullptr, args, nargs, kwnames, &why)) {
      fail(Error::Type, f.schema.name, "(): ", why);
    }
    const size_t count = f.schema.params.size(), returns = f.schema.returns.size();
    tm_value values[kMaxArgs];
    for (size_t i = 0; i < count; ++i) values[i] = to_c(a.values[i]);
    std::vector<tm_value> results(std::max<size_t>(1, returns));
    failed = false;
    if (f.function(f.context, values, results.data())) throw_failure(f.schema.name);
    for (size_t i = 0; i < count; ++i) {
      if (f.schema.params[i].written && a.values[i].is_tensor()) bump_version(a.values[i].t());
    }
    if (returns == 1) return take_result(results[0]);
    if (returns == 0) Py_RETURN_NONE;
    Object tuple = Object::steal(checked(PyTuple_New(static_cast<Py_ssize_t>(returns))));
    for (size_t i = 0; i < returns; ++i) {
      PyTuple_SetItem(tuple.get(), static_cast<Py_ssize_t>(i), checked(take_result(results[i])));
    }
    return tuple.leak();
  });
}

// ---- The interface ------------------------------------------------------------------------------

thread_local PyObject* defined = nullptr;  // the list that api->define adds to, while one is loaded

void add_defined(const char* name, const char* schema, Object value) {
  Object entry = Object::steal(checked(Py_BuildValue("(ssO)", name, schema, value.get())));
  if (PyList_Append(defined, entry.get()) < 0) python_error();
}

// Adds (name, schema, callable) of a function that lives as long as the process, as code does;
// of no function, the documentation of them all.
int32_t api_define(const char* schema, const char* doc, tm_function function, void* context) {
  return shielded(-1, [&] {
    if (!defined) fail(Error::Runtime, "define: only to be called from tm_extension");
    if (!function) {
      add_defined("__doc__", "", Object::steal(checked(PyUnicode_FromString(doc))));
      return 0;
    }
    auto f = std::make_unique<ExtensionFunction>();
    const std::string text = schema;
    const size_t colons = text.substr(0, text.find('(')).rfind("::");
    f->schema = Schema::parse(colons == std::string::npos ? text : text.substr(colons + 2));
    f->qualified = text.substr(0, text.find('('));
    f->doc = f->schema.signature() + "\n--\n\n" + (doc ? doc : "");
    f->function = function;
    f->context = context;
    f->def = {f->schema.name.c_str(), method(call_extension), METH_FASTCALL | METH_KEYWORDS,
              f->doc.c_str()};
    Object capsule = Object::steal(checked(PyCapsule_New(f.get(), nullptr, nullptr)));
    Object callable = Object::steal(checked(PyCFunction_NewEx(&f->def, capsule.get(), nullptr)));
    add_defined(f->qualified.c_str(), schema, std::move(callable));
    f.release();
    return 0;
  });
}

int32_t api_fail(int32_t error, const char* message) {
  static const Error::Kind kinds[] = {Error::Runtime, Error::Type, Error::Value, Error::Index,
                                      Error::NotImplemented};
  const bool known = error >= 0 && error < static_cast<int32_t>(std::size(kinds));
  return set_failure({known ? kinds[error] : Error::Runtime, message ? message : ""});
}

const char* api_why() { return failure.message.c_str(); }

int32_t api_describe(tm_tensor* t, DLTensor* out) {
  return shielded(-1, [&] {
    const Tensor& self = *tensor(t);
    auto* dims = const_cast<int64_t*>(self.layout->dims);
    *out = {self.numel() ? self.data() : nullptr,
            to_dlpack_device(self.device()),
            self.ndim(),
            to_dlpack_type(self.dtype),
            dims,
            dims + self.ndim(),
            0};
    return 0;
  });
}

tm_tensor* api_retain(tm_tensor* t) {
  retain(tensor(t));
  return t;
}
void api_release(tm_tensor* t) {
  if (t) release(tensor(t));
}

tm_tensor* api_empty(DLDataType dtype, DLDevice device, int32_t ndim, const int64_t* sizes) {
  return shielded(static_cast<tm_tensor*>(nullptr), [&] {
    for (int32_t i = 0; i < ndim; ++i) {
      if (sizes[i] < 0) fail(Error::Runtime, "empty: a size is negative: ", format({sizes, ndim}));
    }
    if (ndim < 0 || ndim > kMaxDims) fail(Error::Runtime, "empty: at most ", kMaxDims, " dims");
    const Ints dims(sizes, ndim);
    return handle(empty(dims, from_dlpack_type(dtype), from_dlpack_device(device)).leak());
  });
}

tm_tensor* api_from_dlpack(DLManagedTensorVersioned* managed) {
  return shielded(static_cast<tm_tensor*>(nullptr),
                  [&] { return handle(from_dlpack_managed(managed).leak()); });
}

// The framework's function of that dotted name; else a method of the first argument.
Object function_named(const std::string& name, const std::vector<Object>& args) {
  Object found = Object::steal(checked(PyImport_ImportModule("taimatsu")));
  for (size_t at = 0; found && at <= name.size();) {
    const size_t dot = std::min(name.find('.', at), name.size());
    found = Object::steal(PyObject_GetAttrString(found.get(), name.substr(at, dot - at).c_str()));
    at = dot + 1;
  }
  if (found) return found;
  PyErr_Clear();
  if (!args.empty()) {
    found = Object::steal(
        PyObject_GetAttrString(reinterpret_cast<PyObject*>(Py_TYPE(args[0].get())), name.c_str()));
  }
  if (!found) {
    PyErr_Clear();
    fail(Error::NotImplemented, "call: there is no function or method ", name);
  }
  return found;
}

int32_t api_call(const char* function, const tm_value* args, int32_t nargs,
                 const char* const* keywords, int32_t nkeywords, tm_value* results,
                 int32_t capacity) {
  return shielded(-1, [&]() -> int32_t {
    std::vector<Object> values;
    for (int32_t i = 0; i < nargs; ++i) {
      values.push_back(Object::steal(checked(to_python_object(args[i]))));
    }
    Object callable = function_named(function, values);
    Object positional = Object::steal(checked(PyTuple_New(nargs - nkeywords)));
    Object named = Object::steal(checked(PyDict_New()));
    for (int32_t i = 0; i < nargs; ++i) {
      const int32_t k = i - (nargs - nkeywords);
      if (k < 0) PyTuple_SetItem(positional.get(), i, values[i].leak());
      if (k >= 0 && PyDict_SetItemString(named.get(), keywords[k], values[i].get()) < 0) {
        python_error();
      }
    }
    Object result =
        Object::steal(checked(PyObject_Call(callable.get(), positional.get(), named.get())));
    const bool several = PyTuple_Check(result.get()) || PyList_Check(result.get());
    const Py_ssize_t n = several ? PySequence_Size(result.get()) : 1;
    for (Py_ssize_t i = 0; i < n && i < capacity; ++i) {
      Object item = several ? Object::steal(checked(PySequence_GetItem(result.get(), i))) : result;
      results[i] = from_python(item.get());
    }
    return static_cast<int32_t>(n);
  });
}

void api_parallel_for(int64_t begin, int64_t end, int64_t grain,
                      void (*body)(void*, int64_t, int64_t), void* context) {
  parallel_for(end - begin, grain, 1,
               [&](int64_t a, int64_t b) { body(context, begin + a, begin + b); });
}

const tm_api kApi = {
    TM_VERSION,  0,         sizeof(tm_api),   api_define,
    api_fail,    api_why,   api_describe,     api_retain,
    api_release, api_empty, api_from_dlpack,  api_call,
    std::malloc, std::free, api_parallel_for, [] { return static_cast<int32_t>(num_threads()); },
};

// load_extension(path): opens a shared library and asks for what it offers: a list of
// (name, schema, callable).
PyObject* load_extension(PyObject*, PyObject* path) {
  return guard([&]() -> PyObject* {
    const std::string file = to_string(path);
    void* library = dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL);  // never closed: code is in use
    if (!library) fail(Error::Runtime, "load_extension: ", dlerror());
    auto* start = reinterpret_cast<int32_t (*)(const tm_api*)>(dlsym(library, "tm_extension"));
    if (!start) {
      fail(Error::Runtime, "load_extension: ", file,
           " exports no tm_extension; see taimatsu/include/taimatsu/taimatsu.h");
    }
    Object list = Object::steal(checked(PyList_New(0)));
    PyObject* outer = std::exchange(defined, list.get());
    failed = false;
    const int32_t status = start(&kApi);
    defined = outer;
    if (status || failed) throw_failure("load_extension");
    return list.leak();
  });
}

PyMethodDef functions[] = {
    {"load_extension", load_extension, METH_O, nullptr},
    {},
};

}  // namespace

int init_extensions(PyObject* module) { return PyModule_AddFunctions(module, functions); }

}  // namespace taimatsu
