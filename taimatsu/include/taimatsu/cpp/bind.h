// Functions for Python: their schemas and conversions follow from the C++ signatures. In the
// spelling of PYBIND11_MODULE and TORCH_LIBRARY.
#pragma once

#include <array>
#include <tuple>
#include <type_traits>

#include "tensor.h"

namespace taimatsu_extension {

template <class T>
using Plain = std::remove_cv_t<std::remove_reference_t<T>>;

// ---- Types: `name` in a schema, `from` an argument, `give` as a result
// ---------------------------

template <class T>
struct Convert;

inline at::Tensor borrowed(tm_tensor* t) { return at::Tensor(api()->retain(t)); }
inline void* allocate(size_t bytes) {
  void* memory = api()->allocate(bytes ? bytes : 1);
  if (!memory) throw std::bad_alloc();
  return memory;
}

template <>
struct Convert<at::Tensor> {
  static std::string name() { return "Tensor"; }
  static at::Tensor from(const tm_value& v) {
    return v.tag == TM_NONE ? at::Tensor() : borrowed(v.as.tensor);
  }
  static void give(at::Tensor x, tm_value& v) {
    v.tag = x.defined() ? TM_TENSOR : TM_NONE;
    v.as.tensor = x.release_handle();
  }
};
template <>
struct Convert<int64_t> {
  static std::string name() { return "int"; }
  static int64_t from(const tm_value& v) { return v.as.i; }
  static void give(int64_t x, tm_value& v) {
    v.tag = TM_INT;
    v.as.i = x;
  }
};
template <>
struct Convert<int> : Convert<int64_t> {
  static int from(const tm_value& v) { return static_cast<int>(v.as.i); }
};
template <>
struct Convert<bool> {
  static std::string name() { return "bool"; }
  static bool from(const tm_value& v) { return v.as.i != 0; }
  static void give(bool x, tm_value& v) {
    v.tag = TM_BOOL;
    v.as.i = x;
  }
};
template <>
struct Convert<double> {
  static std::string name() { return "float"; }
  static double from(const tm_value& v) { return at::Scalar(v).toDouble(); }
  static void give(double x, tm_value& v) {
    v.tag = TM_FLOAT;
    v.as.f[0] = x;
  }
};
template <>
struct Convert<float> : Convert<double> {
  static float from(const tm_value& v) { return at::Scalar(v).to<float>(); }
};
template <>
struct Convert<at::Scalar> {
  static std::string name() { return "Number"; }
  static at::Scalar from(const tm_value& v) { return at::Scalar(v); }
  static void give(const at::Scalar& x, tm_value& v) { v = x.value(); }
};
template <>
struct Convert<at::ScalarType> {
  static std::string name() { return "ScalarType"; }
  static at::ScalarType from(const tm_value& v) { return c10::from_dlpack(v.as.dtype); }
};
template <>
struct Convert<at::Device> {
  static std::string name() { return "Device"; }
  static at::Device from(const tm_value& v) { return at::Device(v.as.device); }
};
template <>
struct Convert<std::string> {
  static std::string name() { return "str"; }
  static std::string from(const tm_value& v) { return v.as.string; }
  static void give(const std::string& x, tm_value& v) {
    auto* copy = static_cast<char*>(allocate(x.size() + 1));
    std::memcpy(copy, x.c_str(), x.size() + 1);
    v.tag = TM_STRING;
    v.as.string = copy;
  }
};

template <>
struct Convert<at::IntArrayRef> {
  static std::string name() { return "int[]"; }
  static at::IntArrayRef from(const tm_value& v) {
    return {static_cast<const int64_t*>(v.as.list.data), static_cast<size_t>(v.as.list.size)};
  }
};
template <class T, int32_t tag>
struct ConvertNumbers {
  static std::vector<T> from(const tm_value& v) {
    auto* data = static_cast<const T*>(v.as.list.data);
    return {data, data + v.as.list.size};
  }
  static void give(const std::vector<T>& x, tm_value& v) {
    v.tag = tag;
    v.as.list = {std::memcpy(allocate(x.size() * sizeof(T)), x.data(), x.size() * sizeof(T)),
                 static_cast<int64_t>(x.size())};
  }
};
template <>
struct Convert<std::vector<int64_t>> : ConvertNumbers<int64_t, TM_INTS> {
  static std::string name() { return "int[]"; }
};
template <>
struct Convert<std::vector<double>> : ConvertNumbers<double, TM_FLOATS> {
  static std::string name() { return "float[]"; }
};
template <>
struct Convert<std::vector<at::Tensor>> {
  static std::string name() { return "Tensor[]"; }
  static std::vector<at::Tensor> from(const tm_value& v) {
    std::vector<at::Tensor> out;
    auto* data = static_cast<tm_tensor* const*>(v.as.list.data);
    for (int64_t i = 0; i < v.as.list.size; ++i) out.push_back(borrowed(data[i]));
    return out;
  }
  static void give(std::vector<at::Tensor> x, tm_value& v) {
    for (const at::Tensor& t : x) TORCH_CHECK(t.defined(), "a result's tensor is not defined");
    auto* data = static_cast<tm_tensor**>(allocate(x.size() * sizeof(tm_tensor*)));
    for (size_t i = 0; i < x.size(); ++i) data[i] = x[i].release_handle();
    v.tag = TM_TENSORS;
    v.as.list = {data, static_cast<int64_t>(x.size())};
  }
};
template <class T>
struct Convert<at::ArrayRef<T>> : Convert<std::vector<T>> {};
template <class T>
struct Convert<std::optional<T>> {
  static std::string name() { return Convert<T>::name() + "?"; }
  static std::optional<T> from(const tm_value& v) {
    return v.tag == TM_NONE ? std::nullopt : std::optional<T>(Convert<T>::from(v));
  }
  static void give(std::optional<T> x, tm_value& v) {
    v.tag = TM_NONE;
    if (x) Convert<T>::give(std::move(*x), v);
  }
};

// All results: none, one, or a tuple of them.
template <class R>
struct Results {
  static std::string names() { return Convert<R>::name(); }
  static void give(R r, tm_value* out) { Convert<R>::give(std::move(r), out[0]); }
};
template <>
struct Results<void> {
  static std::string names() { return "()"; }
};
template <class... Rs>
struct Results<std::tuple<Rs...>> {
  static std::string names() {
    std::string s;
    ((s += (s.empty() ? "" : ", ") + Convert<Rs>::name()), ...);
    return "(" + s + ")";
  }
  static void give(std::tuple<Rs...> r, tm_value* out) {
    std::apply([&](auto&... x) { (Convert<Plain<decltype(x)>>::give(std::move(x), *out++), ...); },
               r);
  }
};

// ---- Functions ----------------------------------------------------------------------------------

template <class R, class... Args, size_t... I>
void invoke(R (*f)(Args...), const tm_value* args, tm_value* results, std::index_sequence<I...>) {
  if constexpr (std::is_void_v<R>) {
    f(Convert<Plain<Args>>::from(args[I])...);
  } else {
    Results<Plain<R>>::give(f(Convert<Plain<Args>>::from(args[I])...), results);
  }
}

// An exception ends the call and becomes one of Python.
template <class F>
int32_t shielded(F&& body) {
  try {
    body();
    return 0;
  } catch (const Error& e) {
    return api()->fail(e.kind, e.what());
  } catch (const std::exception& e) {
    return api()->fail(TM_RUNTIME_ERROR, e.what());
  } catch (...) {
    return api()->fail(TM_RUNTIME_ERROR, "an exception that is no std::exception");
  }
}

template <class R, class... Args>
int32_t trampoline(void* context, const tm_value* args, tm_value* results) {
  return shielded([&] {
    invoke(reinterpret_cast<R (*)(Args...)>(context), args, results,
           std::index_sequence_for<Args...>{});
  });
}

template <class R, class... Args>
void define(const std::string& schema, const std::string& doc, R (*f)(Args...)) {
  if (api()->define(schema.c_str(), doc.c_str(), trampoline<R, Args...>,
                    reinterpret_cast<void*>(f))) {
    rethrow();
  }
}

}  // namespace taimatsu_extension

// The few names of pybind11 that extensions use beside m.def.
namespace pybind11 {

struct none {};

struct arg {
  std::string name, value;  // the default as in a schema
  explicit arg(const char* n) : name(n) {}
  arg operator=(pybind11::none) const { return with("None"); }
  arg operator=(std::nullopt_t) const { return with("None"); }
  arg operator=(bool v) const { return with(v ? "True" : "False"); }
  arg operator=(const char* v) const { return with("'" + std::string(v) + "'"); }
  template <class T, class = std::enable_if_t<std::is_arithmetic_v<T>>>
  arg operator=(T v) const {
    std::string s = taimatsu_extension::text(v);
    if (std::is_floating_point_v<T> && s.find_first_of(".en") == std::string::npos) s += ".0";
    return with(s);
  }

 private:
  arg with(std::string v) const {
    arg a = *this;
    a.value = std::move(v);
    return a;
  }
};

namespace literals {
inline arg operator""_a(const char* name, size_t) { return arg(name); }
}  // namespace literals
}  // namespace pybind11
namespace py = pybind11;

namespace taimatsu_extension {

// What m.def is given beside the function: parameters and documentation, in any order.
struct Extra {
  std::vector<py::arg> args;
  std::string doc;
  void add(const char* text) { doc = text; }
  void add(const py::arg& a) { args.push_back(a); }
};

template <class R, class... Args>
std::string schema_of(const std::string& name, R (*)(Args...), const Extra& extra) {
  const std::array<std::string, sizeof...(Args)> types{Convert<Plain<Args>>::name()...};
  std::string s = name + "(";
  for (size_t i = 0; i < types.size(); ++i) {
    const bool named = i < extra.args.size();
    s += (i ? ", " : "") + types[i] + " " + (named ? extra.args[i].name : text("arg", i));
    if (named && !extra.args[i].value.empty()) s += "=" + extra.args[i].value;
  }
  return s + ") -> " + Results<Plain<R>>::names();
}

// `m` in the blocks below.
class Module {
 public:
  explicit Module(std::string space) : space_(std::move(space)) {}

  template <class R, class... Args, class... More>
  Module& def(const char* name, R (*f)(Args...), const More&... more) {
    Extra extra;
    (extra.add(more), ...);
    const std::string given = name;  // with a schema in TORCH_LIBRARY, a name elsewhere
    const bool schema = given.find('(') != std::string::npos;
    define(schema ? space_ + given : schema_of(space_ + given, f, extra), extra.doc, f);
    return *this;
  }
  // A schema whose function `impl` gives, in this file or another one.
  Module& def(const char* schema) {
    schemas().push_back(space_ + schema);
    return *this;
  }
  template <class R, class... Args>
  Module& impl(const char* name, R (*f)(Args...)) {
    const std::string wanted = space_ + name;
    for (const std::string& schema : schemas()) {
      if (schema.substr(0, schema.find('(')) == wanted) {
        define(schema, "", f);
        return *this;
      }
    }
    throw Error(TM_VALUE_ERROR, "impl: no schema was defined for " + wanted);
  }
  std::string& doc() { return doc_; }  // the Python module's docstring, to be assigned
  void document() const {
    if (!doc_.empty()) api()->define("", doc_.c_str(), nullptr, nullptr);
  }

 private:
  static std::vector<std::string>& schemas() {
    static std::vector<std::string> all;
    return all;
  }
  std::string space_, doc_;
};

// The blocks of all files of an extension: those with schemas are run before those with functions.
struct Block {
  void (*body)(Module&);
  const char* space;
  bool implements;
};
inline std::vector<Block>& blocks() {
  static std::vector<Block> all;
  return all;
}
inline bool add_block(Block b) {
  blocks().push_back(b);
  return true;
}

}  // namespace taimatsu_extension

// Inline, so that each file of an extension may have it.
extern "C" TM_EXPORT __attribute__((used)) inline int32_t tm_extension(const tm_api* api) {
  taimatsu_extension::api() = api;
  return taimatsu_extension::shielded([] {
    for (const bool implements : {false, true}) {
      for (const taimatsu_extension::Block& b : taimatsu_extension::blocks()) {
        if (b.implements != implements) continue;
        taimatsu_extension::Module m(b.space);
        b.body(m);
        m.document();
      }
    }
  });
}

// With setuptools the library is a module that Python imports: it asks the framework to fill it.
#ifdef TM_PYTHON_MODULE
namespace taimatsu_extension {
inline int fill(PyObject* module) {
  PyObject* framework = PyImport_ImportModule("taimatsu.utils.cpp_extension");
  PyObject* file = framework ? PyObject_GetAttrString(module, "__file__") : nullptr;
  PyObject* done = file ? PyObject_CallMethod(framework, "_fill", "OO", module, file) : nullptr;
  const int status = done ? 0 : -1;
  Py_XDECREF(done);
  Py_XDECREF(file);
  Py_XDECREF(framework);
  return status;
}
}  // namespace taimatsu_extension
#define TM_INIT_(name) TM_INIT__(name)
#define TM_INIT__(name)                                                                       \
  PyMODINIT_FUNC PyInit_##name() {                                                            \
    static PyModuleDef_Slot slots[] = {                                                       \
        {Py_mod_exec, reinterpret_cast<void*>(&taimatsu_extension::fill)}, {0, nullptr}};     \
    static PyModuleDef definition = {                                                         \
        PyModuleDef_HEAD_INIT, #name, nullptr, 0, nullptr, slots, nullptr, nullptr, nullptr}; \
    return PyModuleDef_Init(&definition);                                                     \
  }
#else
#define TM_INIT_(name)
#endif

#define TM_CONCAT_(a, b) a##b
#define TM_CONCAT(a, b) TM_CONCAT_(a, b)
#define TM_BLOCK_(body, space, implements, m)                   \
  static void body(taimatsu_extension::Module&);                \
  [[maybe_unused]] static const bool TM_CONCAT(body, _added) =  \
      taimatsu_extension::add_block({body, space, implements}); \
  static void body([[maybe_unused]] taimatsu_extension::Module& m)
#define PYBIND11_MODULE(name, m) \
  TM_INIT_(name)                 \
  TM_BLOCK_(tm_module, "", false, m)
#define TORCH_LIBRARY(ns, m) TM_BLOCK_(TM_CONCAT(tm_library_, ns), #ns "::", false, m)
#define TORCH_LIBRARY_FRAGMENT(ns, m) \
  TM_BLOCK_(TM_CONCAT(tm_fragment_, __LINE__), #ns "::", false, m)
#define TORCH_LIBRARY_IMPL(ns, key, m) \
  TM_BLOCK_(TM_CONCAT(tm_library_##ns##_, key), #ns "::", true, m)
