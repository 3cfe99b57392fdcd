// taimatsu.device, and the default device that its context manager sets.
#include "python/python.h"

namespace taimatsu {

namespace {

PyTypeObject* device_type;

struct DeviceObject {
  PyObject ob_base;
  Device device;
};
Device value_of(PyObject* self) { return reinterpret_cast<DeviceObject*>(self)->device; }

// Innermost last; the first is what set_default_device said.
thread_local std::vector<Device> defaults{Device{}};

Device accelerator(int64_t index) {
  try {
    backend(DeviceType::CUDA);
  } catch (const Error&) {
    fail(Error::Runtime, "device: an int stands for an accelerator, and there is none; got ", index,
         "; use device('cpu')");
  }
  if (index < 0 || index > 127) fail(Error::Runtime, "device: index out of range: ", index);
  return {DeviceType::CUDA, static_cast<int8_t>(index)};
}

PyObject* device_new(PyTypeObject*, PyObject* args, PyObject* kwargs) {
  return guard([&] {
    static const Signature signature{"device", {"type", "index"}, 2, 1};
    PyObject* v[2];
    signature.unpack(args, kwargs, v);
    Device d;
    if (!device_of(v[0], d)) {
      fail(Error::Type, "device() takes a torch.device, a str or an int; got ", type_name(v[0]));
    }
    if (given(v[1])) {
      if (!PyUnicode_Check(v[0]) || d.index >= 0) {
        fail(Error::Runtime,
             "device: type must not include an index where index is given; got type ",
             to_string(v[0]), ", index ", to_string(v[1]));
      }
      if (!PyLong_Check(v[1])) {
        fail(Error::Type, "device(): argument 'index' must be int, not ", type_name(v[1]));
      }
      int64_t index = to_index(v[1]);
      if (index < -1 || index > 127) fail(Error::Runtime, "device: index out of range: ", index);
      d.index = static_cast<int8_t>(index);
    }
    return device_object(d);
  });
}

PyObject* device_type_name(PyObject* self, void*) {
  Device d = value_of(self);
  d.index = -1;
  return PyUnicode_FromString(d.str().c_str());
}
PyObject* device_index(PyObject* self, void*) {
  int index = value_of(self).index;
  return index < 0 ? new_ref(Py_None) : PyLong_FromLong(index);
}

PyObject* device_repr(PyObject* self) {
  Object type = Object::steal(device_type_name(self, nullptr));
  int index = value_of(self).index;
  if (index < 0) return PyUnicode_FromFormat("device(type=%R)", type.get());
  return PyUnicode_FromFormat("device(type=%R, index=%d)", type.get(), index);
}
PyObject* device_str(PyObject* self) { return PyUnicode_FromString(value_of(self).str().c_str()); }

PyObject* device_compare(PyObject* a, PyObject* b, int op) {
  if (Py_TYPE(b) != device_type || (op != Py_EQ && op != Py_NE)) Py_RETURN_NOTIMPLEMENTED;
  return boolean((value_of(a) == value_of(b)) == (op == Py_EQ));
}
Py_hash_t device_hash(PyObject* self) {
  Device d = value_of(self);
  return static_cast<Py_hash_t>(d.type) << 8 | static_cast<uint8_t>(d.index);
}

PyObject* device_reduce(PyObject* self, PyObject*) {
  Object type = Object::steal(device_type_name(self, nullptr));
  int index = value_of(self).index;
  if (index < 0) return Py_BuildValue("(O(O))", device_type, type.get());
  return Py_BuildValue("(O(Oi))", device_type, type.get(), index);
}

PyObject* device_enter(PyObject* self, PyObject*) {
  defaults.push_back(value_of(self));
  return new_ref(self);
}
PyObject* device_exit(PyObject*, PyObject* const*, Py_ssize_t) {
  if (defaults.size() > 1) defaults.pop_back();
  Py_RETURN_NONE;
}

PyObject* get_default_device(PyObject*, PyObject*) {
  return guard([&] { return device_object(default_device()); });
}
PyObject* set_default_device(PyObject*, PyObject* device) {
  return guard([&] {
    Device d;
    if (given(device) && !device_of(device, d)) {
      fail(Error::Type, "set_default_device() takes a torch.device, a str, an int or None; got ",
           type_name(device));
    }
    defaults.front() = d;
    return new_ref(Py_None);
  });
}

PyGetSetDef getters[] = {
    {"type", device_type_name, nullptr, "'cpu', 'cuda' or 'meta'.", nullptr},
    {"index", device_index, nullptr, "Which of them; None: the current one.", nullptr},
    {},
};
PyMethodDef methods[] = {
    {"__reduce__", device_reduce, METH_NOARGS, nullptr},
    {"__enter__", device_enter, METH_NOARGS, nullptr},
    {"__exit__", method(device_exit), METH_FASTCALL, nullptr},
    {},
};
PyMethodDef functions[] = {
    {"get_default_device", get_default_device, METH_NOARGS,
     "get_default_device()\n--\n\nThe device of tensors made without ``device=``."},
    {"set_default_device", set_default_device, METH_O,
     "set_default_device(device)\n--\n\n"
     "Make ``device`` the device of tensors made without ``device=``, in this thread.\n"
     "None stands for the CPU."},
    {},
};

PyType_Slot slots[] = {
    {Py_tp_doc,
     const_cast<char*>("device(type, index=None)\n--\n\n"
                       "Where a tensor lives: 'cpu', 'cuda', 'cuda:1', 'meta'.\n\n"
                       "As a context manager, the device of tensors made inside without\n"
                       "``device=``.\n\n>>> with torch.device('meta'):\n"
                       "...     torch.empty(2).device\ndevice(type='meta')")},
    {Py_tp_new, slot(device_new)},
    {Py_tp_repr, slot(device_repr)},
    {Py_tp_str, slot(device_str)},
    {Py_tp_richcompare, slot(device_compare)},
    {Py_tp_hash, slot(device_hash)},
    {Py_tp_getset, getters},
    {Py_tp_methods, methods},
    {0, nullptr},
};
PyType_Spec spec = {"taimatsu.device", sizeof(DeviceObject), 0, Py_TPFLAGS_DEFAULT, slots};

}  // namespace

bool device_of(PyObject* o, Device& out) {
  if (Py_TYPE(o) == device_type) {
    out = value_of(o);
  } else if (PyUnicode_Check(o)) {
    out = Device::parse(to_string(o).c_str());
  } else if (PyLong_Check(o)) {
    out = accelerator(to_index(o));
  } else {
    return false;
  }
  return true;
}

PyObject* device_object(Device d) {
  static PyObject* cpu = nullptr;  // nearly all of them
  if (cpu && d == Device{}) return new_ref(cpu);
  PyObject* o = checked(PyType_GenericAlloc(device_type, 0));
  reinterpret_cast<DeviceObject*>(o)->device = d;
  if (d == Device{}) cpu = new_ref(o);
  return o;
}

Device default_device() { return defaults.back(); }

int init_devices(PyObject* module) {
  device_type = add_type(module, spec);
  if (!device_type) return -1;
  overrides_nothing(device_type);
  return PyModule_AddFunctions(module, functions);
}

}  // namespace taimatsu
