// What every file of the core uses: reference counting, spans, errors.
//
// Reading order: base.h, tensor/dtype.h, tensor/layout.h, tensor/storage.h, tensor/tensor.h,
// ops/value.h, ops/schema.h, ops/op.h, autograd/autograd.h, and from there the .cpp files.
#pragma once

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <cstdint>
#include <cstring>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

namespace taimatsu {

// Reference counts are not atomic: whoever touches an object of the core holds the GIL.
// A kernel runs without it and touches memory only.
struct Counted {
  uint32_t refs = 0;
};

// Python objects (Tensor, Node, PyObject itself) count by Python's rule.
inline void retain(PyObject* o) { Py_INCREF(o); }
inline void release(PyObject* o) { Py_DECREF(o); }

// An owning pointer. T provides `retain(T*)` and `release(T*)`, found by argument-dependent lookup.
template <class T>
class Ref {
 public:
  Ref() = default;
  Ref(std::nullptr_t) {}
  Ref(T* p) : p_(p) {
    if (p_) retain(p_);
  }
  Ref(const Ref& o) : Ref(o.p_) {}
  Ref(Ref&& o) noexcept : p_(std::exchange(o.p_, nullptr)) {}
  ~Ref() {
    if (p_) release(p_);
  }
  Ref& operator=(Ref o) noexcept {
    std::swap(p_, o.p_);
    return *this;
  }
  static Ref steal(T* p) {  // takes over a reference that the caller owns
    Ref r;
    r.p_ = p;
    return r;
  }
  T* get() const { return p_; }
  T* operator->() const { return p_; }
  T& operator*() const { return *p_; }
  explicit operator bool() const { return p_ != nullptr; }
  T* leak() { return std::exchange(p_, nullptr); }  // gives the reference to the caller

 private:
  T* p_ = nullptr;
};

using Object = Ref<PyObject>;

// A borrowed run of values.
template <class T>
struct Span {
  const T* data = nullptr;
  int64_t size = 0;
  Span() = default;
  Span(const T* d, int64_t n) : data(d), size(n) {}
  Span(const std::vector<T>& v) : data(v.data()), size(static_cast<int64_t>(v.size())) {}
  const T& operator[](int64_t i) const { return data[i]; }
  const T* begin() const { return data; }
  const T* end() const { return data + size; }
  bool operator==(const Span& o) const {
    if (size != o.size) return false;
    for (int64_t i = 0; i < size; ++i) {  // few: memcmp's call costs more
      if (!(data[i] == o.data[i])) return false;
    }
    return true;
  }
  bool operator!=(const Span& o) const { return !(*this == o); }
};
using Ints = Span<int64_t>;

// ---- Errors -------------------------------------------------------------------------------------
// An Error becomes the Python exception of its kind where C++ was entered from Python (`guard`).
// Messages follow "op: the rule; what was given; what to do"; the op's name is put in front by the
// op call (ops/op.h), so that code below it states only the rule.
struct Error {
  enum Kind {
    Runtime,
    Type,
    Value,
    Index,
    NotImplemented,
    OutOfMemory,
    Overflow,
    Buffer,
    Attribute,
    Assertion,
    Python
  };
  Kind kind;
  std::string message;  // empty for Python: the interpreter's error indicator is set
  bool named = false;   // the message tells the op
};

template <class... Args>
std::string concat(const Args&... args) {
  std::ostringstream out;
  (out << ... << args);
  return out.str();
}

template <class... Args>
[[noreturn]] void fail(Error::Kind kind, const Args&... args) {
  throw Error{kind, concat(args...)};
}
[[noreturn]] inline void python_error() { throw Error{Error::Python, {}}; }

// The result of a C API call that must not be null.
inline PyObject* checked(PyObject* o) {
  if (!o) python_error();
  return o;
}
inline void checked(int status) {
  if (status < 0) python_error();
}

void raise(const Error& e);  // sets the interpreter's error indicator (python/errors.cpp)

// Runs `body` where Python called C++; a C++ error becomes a Python one and `otherwise` is
// returned.
template <class R, class F>
R guard(R otherwise, F&& body) {
  try {
    return body();
  } catch (const Error& e) {
    raise(e);
  } catch (const std::bad_alloc&) {
    raise({Error::OutOfMemory, "out of memory"});
  } catch (const std::exception& e) {
    raise({Error::Runtime, e.what()});
  }
  return otherwise;
}
template <class F>
PyObject* guard(F&& body) {
  return guard<PyObject*>(nullptr, std::forward<F>(body));
}

std::string format(Ints ints);  // "[2, 3]" (tensor/layout.cpp)

// PyEval_RestoreThread, but at the interpreter's end, where CPython makes daemon threads unwind and
// vanish: through C++ that would end the process, so they wait for its end instead.
void restore_gil(PyThreadState* state);

}  // namespace taimatsu
