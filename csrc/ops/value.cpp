#include "ops/value.h"

#include <functional>

#include "python/objects.h"

namespace taimatsu {
namespace {

template <class T>
T* copy_of(const Value& v) {
  T* data = new T[v.list.size > 0 ? v.list.size : 1];
  if (v.list.size) std::memcpy(data, v.list.data, sizeof(T) * v.list.size);
  return data;
}

PyObject* sequence(int64_t n, const std::function<PyObject*(int64_t)>& item, bool tuple = true) {
  Object out = Object::steal(checked(tuple ? PyTuple_New(n) : PyList_New(n)));
  for (int64_t i = 0; i < n; ++i) {
    PyObject* o = checked(item(i));
    checked(tuple ? PyTuple_SetItem(out.get(), i, o) : PyList_SetItem(out.get(), i, o));
  }
  return out.leak();
}

size_t item_size(Value::Tag t) {
  return t == Value::Ints ? sizeof(int64_t) : t == Value::Floats ? sizeof(double) : sizeof(bool);
}

}  // namespace

OwnedValue::OwnedValue(const Value& v) : value_(v) {
  switch (v.tag) {
    case Value::Tensor: retain(v.tensor); break;
    case Value::Object: Py_INCREF(v.object); break;
    case Value::Ints: value_.list.data = copy_of<int64_t>(v); break;
    case Value::Floats: value_.list.data = copy_of<double>(v); break;
    case Value::Bools: value_.list.data = copy_of<bool>(v); break;
    case Value::String: value_.string = strdup(v.string); break;
    case Value::Tensors: {
      auto** data = new Tensor*[v.tensors.size > 0 ? v.tensors.size : 1];
      for (int64_t i = 0; i < v.tensors.size; ++i) {
        data[i] = v.tensors.data[i];
        if (data[i]) retain(data[i]);
      }
      value_.tensors.data = data;
      break;
    }
    default: break;
  }
}

void OwnedValue::clear() {
  Value v = std::exchange(value_, Value());  // a destructor may come back here
  switch (v.tag) {
    case Value::Tensor: release(v.tensor); break;
    case Value::Object: Py_DECREF(v.object); break;
    case Value::Ints: delete[] static_cast<const int64_t*>(v.list.data); break;
    case Value::Floats: delete[] static_cast<const double*>(v.list.data); break;
    case Value::Bools: delete[] static_cast<const bool*>(v.list.data); break;
    case Value::String: free(const_cast<char*>(v.string)); break;
    case Value::Tensors:
      for (int64_t i = 0; i < v.tensors.size; ++i) {
        if (v.tensors.data[i]) release(v.tensors.data[i]);
      }
      delete[] v.tensors.data;
      break;
    default: break;
  }
}

bool equal(const Value& a, const Value& b) {
  if (a.tag != b.tag) return false;
  switch (a.tag) {
    case Value::Number:
      return a.number.tag == b.number.tag && a.number.i == b.number.i &&
             (a.number.tag != Number::Complex || a.number.imag == b.number.imag);
    case Value::Ints:
    case Value::Floats:
    case Value::Bools:
      if (a.list.size != b.list.size) return false;
      return !a.list.size ||  // then there may be no address
             !std::memcmp(a.list.data, b.list.data, a.list.size * item_size(a.tag));
    case Value::String: return !std::strcmp(a.string, b.string);
    case Value::DType: return a.dtype == b.dtype;
    case Value::Device: return a.device == b.device;
    case Value::MemoryFormat: return a.format == b.format;
    default: return a.tag == Value::None;
  }
}

bool has_format(const Layout& l, MemoryFormat f) {
  switch (f) {
    case MemoryFormat::Preserve: return true;
    case MemoryFormat::Contiguous: return l.contiguous;
    case MemoryFormat::ChannelsLast: return l.ndim == 4 && l.channels_last;
    case MemoryFormat::ChannelsLast3d: return l.ndim == 5 && l.channels_last;
  }
  return false;
}

void check_definite(MemoryFormat f) {
  if (f != MemoryFormat::Preserve) return;
  fail(Error::Runtime, "preserve memory format is unsupported by the contiguous operator");
}

PyObject* to_python(const Value& v) {
  switch (v.tag) {
    case Value::None: Py_RETURN_NONE;
    case Value::Number: return checked(number_object(v.number));
    case Value::Tensor: retain(v.tensor); return v.tensor->object();
    case Value::Tensors:
      return sequence(v.tensors.size, [&](int64_t i) {
        PyObject* o = v.tensors.data[i] ? v.tensors.data[i]->object() : Py_None;
        Py_INCREF(o);
        return o;
      });
    case Value::Ints:
      return sequence(v.list.size, [&](int64_t i) { return PyLong_FromLongLong(v.ints()[i]); });
    case Value::Floats:
      return sequence(v.list.size, [&](int64_t i) {
        return PyFloat_FromDouble(static_cast<const double*>(v.list.data)[i]);
      });
    case Value::Bools:
      return sequence(v.list.size, [&](int64_t i) {
        return PyBool_FromLong(static_cast<const bool*>(v.list.data)[i]);
      });
    case Value::String: return checked(PyUnicode_FromString(v.string));
    case Value::DType: {
      PyObject* o = dtype_object(v.dtype);
      Py_INCREF(o);
      return o;
    }
    case Value::Device: return checked(device_object(v.device));
    case Value::MemoryFormat: return checked(memory_format_object(v.format));
    case Value::Object: Py_INCREF(v.object); return v.object;
  }
  Py_RETURN_NONE;
}

}  // namespace taimatsu
