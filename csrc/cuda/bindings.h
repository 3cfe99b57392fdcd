// What the files that show CUDA to Python share. Handles are ints, devices are checked.
#pragma once

#include "cuda/device.h"
#include "plan/segment.h"
#include "python/python.h"

namespace taimatsu::cuda {

extern PyMethodDef device_functions[], stream_functions[], memory_functions[], graph_functions[],
    library_functions[], product_functions[], share_functions[];

// A function of positional arguments, by PyArg_ParseTuple's format: `body(values...)` gives a new
// reference, or nothing, for None.
template <class... Args, class F>
PyObject* call(PyObject* args, const char* format, const F& body) {
  return guard([&]() -> PyObject* {
    std::tuple<Args...> values{};
    const bool parsed = std::apply(
        [&](Args&... each) { return PyArg_ParseTuple(args, format, &each...) != 0; }, values);
    if (!parsed) python_error();
    if constexpr (std::is_void_v<decltype(std::apply(body, values))>) {
      std::apply(body, values);
      return new_ref(Py_None);
    } else {
      return std::apply(body, values);
    }
  });
}

// The same of what the device's work is ordered by: calls that were put off come before.
template <class... Args, class F>
PyObject* call_in_order(PyObject* args, const char* format, const F& body) {
  return call<Args...>(args, format, [&](Args... values) {
    flush_pending();
    return body(values...);
  });
}

using Handle = unsigned long long;  // "K"
template <class T>
T from_handle(Handle h) {
  return reinterpret_cast<T>(h);
}
inline PyObject* to_handle(const void* p) {
  return PyLong_FromUnsignedLongLong(reinterpret_cast<Handle>(p));
}

// Puts a new reference under the key.
inline void put(PyObject* dict, const char* key, PyObject* value) {
  Object owned = Object::steal(checked(value));
  checked(PyDict_SetItemString(dict, key, owned.get()));
}
inline void put(PyObject* dict, const char* key, int64_t value) {
  put(dict, key, PyLong_FromLongLong(value));
}

}  // namespace taimatsu::cuda
