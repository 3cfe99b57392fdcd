// From Python arguments to Values, by the op's schema.
#include "ops/schema.h"
#include "ops/sparse.h"
#include "python/objects.h"
#include "python/python.h"

namespace taimatsu {

namespace {

// An object's type, and those of the items of a sequence.
std::string type_of(PyObject* o) {
  if (!PyTuple_Check(o) && !PyList_Check(o)) return type_name(o);
  std::string out = type_name(o) + " of (";
  Py_ssize_t n = PySequence_Size(o);
  for (Py_ssize_t i = 0; i < n && i < 4; ++i) {
    Object item = Object::steal(checked(PySequence_GetItem(o, i)));
    if (i) out += ", ";
    out += type_name(item.get());
  }
  return out + (n > 4 ? ", ...)" : ")");
}

// Other names that NumPy users and PyTorch's documentation have for a param.
bool also_named(const std::string& param, const char* given) {
  auto is = [&](const char* s) { return std::strcmp(given, s) == 0; };
  if (param == "self") return is("input") || is("x") || is("a") || is("x1") || is("tensor");
  if (param == "A" || param == "x") return is("input");
  if (param == "dim") return is("axis");
  if (param == "dims") return is("axis") || is("dim");
  if (param == "keepdim") return is("keepdims");
  if (param == "dim0" || param == "dim1") return is(param == "dim0" ? "axis0" : "axis1");
  if (param == "other") return is("x2");
  if (param == "L") return is("input2");
  if (param == "split_size") return is("split_size_or_sections") || is("split_sizes");
  if (param == "elements") return is("element");
  if (param == "test_elements") return is("test_element");
  if (param == "sizes") return is("size");
  return false;
}

bool overrides(PyObject* o) {
  if (is_exact_tensor(o) || Py_TYPE(o) == ParameterType) return false;
  if (Py_TYPE(o) == &PyLong_Type || Py_TYPE(o) == &PyFloat_Type || o == Py_None ||
      Py_TYPE(o) == &PyTuple_Type || Py_TYPE(o) == &PyList_Type || Py_TYPE(o) == &PyBool_Type ||
      Py_TYPE(o) == &PyUnicode_Type) {
    return false;
  }
  return has_torch_function(o);
}

bool to_int(PyObject* o, int64_t& out) {
  if (!PyLong_Check(o) || PyBool_Check(o)) {
    if (PyFloat_Check(o) || PyBool_Check(o)) return false;
    if (is_tensor(o)) {
      Tensor& t = *as_tensor(o);
      if (t.ndim() != 0 || !is_integral(t.dtype)) return false;
      out = read_item(t).as_int();
      return true;
    }
    if (!PyIndex_Check(o)) return false;
    Object held(o);  // __index__ may change the list that it stands in
    Object i = Object::steal(PyNumber_Index(o));
    if (!i) {
      PyErr_Clear();
      return false;
    }
    return to_int(i.get(), out);
  }
  int overflow = 0;
  out = PyLong_AsLongLongAndOverflow(o, &overflow);
  if (overflow) fail(Error::Runtime, "value cannot be converted to type int64_t without overflow");
  return true;
}

bool to_float(PyObject* o, double& out) {
  if (PyFloat_Check(o)) {
    out = PyFloat_AsDouble(o);
    return true;
  }
  Number n;
  if (!number_of(o, n) || n.tag == Number::Complex) return false;
  out = n.as_double();
  return true;
}

bool is_sequence(PyObject* o) { return PyTuple_Check(o) || PyList_Check(o); }

PyObject* item_of(PyObject* sequence, Py_ssize_t i) {  // borrowed
  return PyTuple_Check(sequence) ? PyTuple_GetItem(sequence, i) : PyList_GetItem(sequence, i);
}

// Every item as a number by `convert`; false too where that shortens the list on the way.
template <class Convert>
bool each_item(PyObject* sequence, Py_ssize_t n, Convert&& convert) {
  for (Py_ssize_t k = 0; k < n; ++k) {
    PyObject* item = item_of(sequence, k);
    if (!item) {
      PyErr_Clear();
      return false;
    }
    if (!convert(item, k)) return false;
  }
  return true;
}

}  // namespace

bool number_of(PyObject* o, Number& out) {
  if (PyBool_Check(o)) {
    out = Number::boolean(o == Py_True);
  } else if (PyFloat_Check(o)) {
    out = Number::real(PyFloat_AsDouble(o));
  } else if (PyLong_Check(o)) {
    int overflow = 0;
    int64_t i = PyLong_AsLongLongAndOverflow(o, &overflow);
    if (overflow > 0) {  // uint64 values keep their bits
      uint64_t u = PyLong_AsUnsignedLongLong(o);
      if (PyErr_Occurred()) {
        PyErr_Clear();
        fail(Error::Runtime, "value cannot be converted to type int64_t without overflow");
      }
      i = static_cast<int64_t>(u);
    } else if (overflow < 0) {
      fail(Error::Runtime, "value cannot be converted to type int64_t without overflow");
    }
    out = Number::integer(i);
  } else if (PyComplex_Check(o)) {
    out = Number::complex(PyComplex_RealAsDouble(o), PyComplex_ImagAsDouble(o));
  } else if (is_tensor(o)) {
    Tensor& t = *as_tensor(o);
    if (t.numel() != 1 || t.ndim() != 0 || requires_grad_flag(t)) return false;
    out = read_item(t);
  } else if (is_sequence(o) || PyUnicode_Check(o) || o == Py_None) {
    return false;
  } else if (PyIndex_Check(o)) {
    Object i = Object::steal(PyNumber_Index(o));
    if (!i) {
      PyErr_Clear();
      return false;
    }
    return number_of(i.get(), out);
  } else {  // NumPy's scalars: anything that says itself what Python number it is
    Object item = Object::steal(PyObject_GetAttrString(o, "item"));
    if (!item || !PyObject_HasAttrString(o, "dtype")) {
      PyErr_Clear();
      return false;
    }
    Object value = Object::steal(PyObject_CallNoArgs(item.get()));
    if (!value) {
      PyErr_Clear();
      return false;
    }
    PyObject* v = value.get();
    if (!PyFloat_Check(v) && !PyLong_Check(v) && !PyComplex_Check(v)) return false;
    return number_of(value.get(), out);
  }
  return true;
}

template <class T>
T* Arguments::reserve(int64_t n) {
  const int64_t words = (n * static_cast<int64_t>(sizeof(T)) + 7) / 8;
  if (used_ + words <= kSmall) {
    int64_t* p = small_ + used_;
    used_ += static_cast<int>(words);
    return reinterpret_cast<T*>(p);
  }
  large_.emplace_back(new int64_t[words]);
  return reinterpret_cast<T*>(large_.back().get());
}

PyObject* Arguments::snapshot(PyObject* sequence) {
  if (PyTuple_Check(sequence)) return sequence;
  held_.push_back(Object::steal(checked(PyList_AsTuple(sequence))));
  return held_.back().get();
}

bool Arguments::convert(const Param& p, PyObject* o, Value& v, std::string* why) {
  if (o == Py_None) {
    if (p.optional || (p.has_default && p.default_value.none())) {
      v = Value();
      return true;
    }
  } else {
    switch (p.type) {
      case Type::Tensor:
      case Type::TensorOrNumber: {
        if (is_tensor(o)) {
          v = Value(as_tensor(o));
          return true;
        }
        Number n;
        if ((p.type == Type::TensorOrNumber || numbers_for_tensors_) && number_of(o, n)) {
          v = Value(n);
          return true;
        }
        break;
      }
      case Type::Tensors: {
        if (!is_sequence(o)) break;
        o = snapshot(o);
        Py_ssize_t n = PySequence_Size(o);
        Tensor** items = reserve<Tensor*>(n);
        for (Py_ssize_t i = 0; i < n; ++i) {
          PyObject* item = item_of(o, i);
          if (item == Py_None && p.optional_items) {
            items[i] = nullptr;
          } else if (is_tensor(item)) {
            items[i] = as_tensor(item);
            if (overrides(item) && !overridden) overridden = item;
          } else if (overrides(item)) {
            if (!overridden) overridden = item;
            items[i] = nullptr;
          } else {
            if (why) {
              *why = concat("argument '", p.name, "' (element ", i, ") must be Tensor, not ",
                            type_of(item));
            }
            return false;
          }
        }
        v = Value::of_tensors(items, n);
        return true;
      }
      case Type::Number: {
        Number n;
        if (number_of(o, n)) {
          v = Value(n);
          return true;
        }
        break;
      }
      case Type::Int: {
        int64_t i;
        if (to_int(o, i)) {
          v = Value::of_int(i);
          return true;
        }
        break;
      }
      case Type::Float: {
        double f;
        if (to_float(o, f)) {
          v = Value::of_float(f);
          return true;
        }
        break;
      }
      case Type::Bool: {
        if (PyBool_Check(o)) {
          v = Value::of_bool(o == Py_True);
          return true;
        }
        Number n;  // NumPy's bool, and 0-dim bool tensors
        if (!PyLong_Check(o) && number_of(o, n) && n.tag == Number::Bool) {
          v = Value(n);
          return true;
        }
        break;
      }
      case Type::Ints: {
        int64_t i;
        if (!is_sequence(o)) {
          if (p.list_size > 0 && to_int(o, i)) {
            int64_t* data = reserve<int64_t>(p.list_size);
            for (int k = 0; k < p.list_size; ++k) data[k] = i;
            v = Value(Ints(data, p.list_size));
            return true;
          }
          if (is_tensor(o)) {  // a 1-d tensor of ints is a list of them
            Tensor& given = *as_tensor(o);
            if (given.ndim() != 1 || !is_integral(given.dtype)) break;
            TensorRef t = on_host(given, p.name.c_str());
            int64_t n = t->numel(), step = t->layout->stride(0) * itemsize(t->dtype);
            int64_t* data = reserve<int64_t>(n);
            for (int64_t k = 0; k < n; ++k) {
              data[k] = load_element(t->dtype, t->data() + k * step).as_int();
            }
            v = Value(Ints(data, n));
            return true;
          }
          break;
        }
        Py_ssize_t n = PySequence_Size(o);
        int64_t* data = reserve<int64_t>(n);
        if (!each_item(o, n, [&](PyObject* item, Py_ssize_t k) { return to_int(item, data[k]); })) {
          break;
        }
        if (p.list_size > 0 && n == 1 && p.list_size > 1) {
          int64_t only = data[0];
          data = reserve<int64_t>(p.list_size);
          for (int k = 0; k < p.list_size; ++k) data[k] = only;
          n = p.list_size;
        }
        v = Value(Ints(data, n));
        return true;
      }
      case Type::Floats: {
        Py_ssize_t n = is_sequence(o) ? PySequence_Size(o) : 1;
        double* items = reserve<double>(n);
        auto put = [&](PyObject* item, Py_ssize_t k) { return to_float(item, items[k]); };
        if (!(is_sequence(o) ? each_item(o, n, put) : put(o, 0))) break;
        v = Value();
        v.tag = Value::Floats;
        v.list = {items, n};
        return true;
      }
      case Type::Bools: {
        if (!is_sequence(o)) break;
        Py_ssize_t n = PySequence_Size(o);
        bool* items = reserve<bool>(n);
        bool fine = true;
        for (Py_ssize_t k = 0; k < n && fine; ++k) {
          fine = PyBool_Check(item_of(o, k));
          items[k] = item_of(o, k) == Py_True;
        }
        if (!fine) break;
        v = Value();
        v.tag = Value::Bools;
        v.list = {items, n};
        return true;
      }
      case Type::String:
        if (PyUnicode_Check(o)) {
          v = Value::of_string(PyUnicode_AsUTF8AndSize(o, nullptr));
          if (!v.string) python_error();
          return true;
        }
        break;
      case Type::DType: {
        DType t;
        if (dtype_of(o, t)) {
          v = Value(t);
          return true;
        }
        break;
      }
      case Type::Device: {
        Device d;
        if (device_of(o, d)) {
          v = Value(d);
          return true;
        }
        break;
      }
      case Type::MemoryFormat: {
        MemoryFormat f;
        if (memory_format_of(o, f)) {
          v = Value(f);
          return true;
        }
        break;
      }
      case Type::Layout: {
        const char* name;
        if (!layout_of(o, name)) break;
        any_sparse |= !is_strided(o);  // so that the call is looked at
        v = Value::of_object(o);
        return true;
      }
      case Type::Generator:
      case Type::Any: v = Value::of_object(o); return true;
    }
    if (overrides(o)) {  // whatever it is, its __torch_function__ will know
      if (!overridden) overridden = o;
      v = Value();
      return true;
    }
  }
  if (why) {
    *why = concat("argument '", p.name == "self" ? "input" : p.name, "' must be ", expected_type(p),
                  ", not ", type_of(o));
  }
  return false;
}

bool Arguments::parse(const Schema& s, PyObject* self, PyObject* const* args, Py_ssize_t nargs,
                      PyObject* kwnames, std::string* why) {
  const int count = static_cast<int>(s.params.size());
  const int shift = self ? 1 : 0;
  const Py_ssize_t total = nargs + shift;
  auto arg = [&](Py_ssize_t i) { return i < shift ? self : args[i - shift]; };

  Py_ssize_t by_position = total;
  bool varargs = false;
  if (s.varargs_ints >= 0 && total > s.varargs_ints && !is_sequence(arg(s.varargs_ints)) &&
      arg(s.varargs_ints) != Py_None) {
    Py_ssize_t n = total - s.varargs_ints;
    int64_t* data = reserve<int64_t>(n);
    for (Py_ssize_t k = 0; k < n; ++k) {
      if (!to_int(arg(s.varargs_ints + k), data[k])) {
        PyObject* o = arg(s.varargs_ints + k);
        if (n == 1) {  // not ints at all: let the conversion say so
          Value v;
          return convert(s.params[s.varargs_ints], o, v, why) &&
                 (values[s.varargs_ints] = v,
                  fill(s, self, args, nargs, kwnames, s.varargs_ints, why));
        }
        if (why) {
          *why = concat("argument '", s.params[s.varargs_ints].name,
                        "' must be tuple of ints, but found element of type ", type_of(o),
                        " at position ", k);
        }
        return false;
      }
    }
    values[s.varargs_ints] = Value(Ints(data, n));
    by_position = s.varargs_ints;
    varargs = true;
  } else if (total > s.positional) {
    if (why) {
      *why = concat("takes ", s.positional, " positional argument", s.positional == 1 ? "" : "s",
                    " but ", total, s.positional == 1 && total == 1 ? " was" : " were", " given");
    }
    return false;
  }
  if (!kwnames && !varargs) {  // the common case: no names to look up
    for (int i = 0; i < count; ++i) {
      if (i >= by_position) {
        if (!s.params[i].has_default) return fill(s, self, args, nargs, kwnames, -1, why);
        values[i] = s.params[i].default_value;
        continue;
      }
      PyObject* o = arg(i);
      if (is_exact_tensor(o) && s.params[i].type <= Type::TensorOrNumber) {
        values[i] = Value(as_tensor(o));
      } else if (overrides(o) && !overridden) {
        overridden = o;
        if (!convert(s.params[i], o, values[i], why)) return false;
      } else if (!convert(s.params[i], o, values[i], why)) {
        return false;
      }
    }
    return true;
  }
  if (!kwnames) {  // zeros(2, 3): what isn't the list has its default
    for (int i = s.varargs_ints + 1; i < count; ++i) {
      if (!s.params[i].has_default) return fill(s, self, args, nargs, kwnames, s.varargs_ints, why);
      values[i] = s.params[i].default_value;
    }
    if (s.varargs_ints == 0) return true;
    if (overrides(arg(0)) && !overridden) overridden = arg(0);
    return convert(s.params[0], arg(0), values[0], why);
  }
  return fill(s, self, args, nargs, kwnames, varargs ? s.varargs_ints : -1, why);
}

bool Arguments::parse_by_position(const Schema& s, PyObject* const* args, Py_ssize_t nargs,
                                  PyObject* kwnames, std::string* why) {
  numbers_for_tensors_ = true;
  if (nargs <= static_cast<Py_ssize_t>(s.params.size())) {
    return fill(s, nullptr, args, nargs, kwnames, -1, why);
  }
  if (why) *why = concat("takes ", s.params.size(), " arguments but ", nargs, " were given");
  return false;
}

bool Arguments::fill(const Schema& s, PyObject* self, PyObject* const* args, Py_ssize_t nargs,
                     PyObject* kwnames, int settled, std::string* why) {
  const int count = static_cast<int>(s.params.size());
  const int shift = self ? 1 : 0;
  PyObject* given[kMaxArgs] = {nullptr};
  Py_ssize_t by_position = settled >= 0 ? settled : nargs + shift;
  for (Py_ssize_t i = 0; i < by_position; ++i) given[i] = i < shift ? self : args[i - shift];

  Py_ssize_t nkw = kwnames ? PyTuple_Size(kwnames) : 0;
  for (Py_ssize_t k = 0; k < nkw; ++k) {
    PyObject* key = PyTuple_GetItem(kwnames, k);
    PyObject* value = args[nargs + k];
    int at = -1;
    for (int i = 0; i < count && at < 0; ++i) {
      if (s.params[i].interned == key) at = i;
    }
    if (at < 0) {
      const char* name = PyUnicode_AsUTF8AndSize(key, nullptr);
      if (!name) python_error();
      for (int i = 0; i < count && at < 0; ++i) {
        if (s.params[i].name == name || also_named(s.params[i].name, name)) at = i;
      }
      if (at < 0 && std::strcmp(name, "out") == 0) {
        out = value == Py_None ? nullptr : value;
        continue;
      }
      if (at < 0) {
        if (why) *why = concat("got an unexpected keyword argument '", name, "'");
        return false;
      }
    }
    if (given[at] || at == settled) {
      if (why) *why = concat("got multiple values for argument '", s.params[at].name, "'");
      return false;
    }
    given[at] = value;
  }
  for (int i = 0; i < count; ++i) {
    if (i == settled) continue;
    const Param& p = s.params[i];
    if (!given[i]) {
      if (!p.has_default) {
        if (why) {
          *why = concat("missing 1 required ", p.keyword_only ? "keyword-only" : "positional",
                        " argument: '", p.name == "self" ? "input" : p.name, "'");
        }
        return false;
      }
      values[i] = p.default_value;
      continue;
    }
    if (!overridden && overrides(given[i])) overridden = given[i];
    if (!convert(p, given[i], values[i], why)) return false;
  }
  return true;
}

void Arguments::fill_defaults(const Schema& s) {
  for (size_t i = 0; i < s.params.size(); ++i) values[i] = s.params[i].default_value;
}

}  // namespace taimatsu
