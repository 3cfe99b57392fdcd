// taimatsu._core._cuda: memory and events shared between processes; what is noted of allocations.
#include <tuple>

#include "cuda/bindings.h"
#include "cuda/share.h"

namespace taimatsu::cuda {
namespace {

PyObject* bytes_of(const IpcHandle& h) {
  return PyBytes_FromStringAndSize(h.bytes, sizeof h.bytes);
}
IpcHandle handle_of(PyObject* o) {
  char* data;
  Py_ssize_t size;
  checked(PyBytes_AsStringAndSize(o, &data, &size));
  IpcHandle h;
  if (size != sizeof h.bytes) {
    fail(Error::Value, "a handle has ", sizeof h.bytes, " bytes; got ", size);
  }
  std::memcpy(h.bytes, data, sizeof h.bytes);
  return h;
}

PyObject* py_export_memory(PyObject*, PyObject* args) {
  return call<Handle, Py_ssize_t>(args, "Kn", [](Handle p, Py_ssize_t bytes) {
    const Exported e = export_memory(from_handle<void*>(p), static_cast<size_t>(bytes));
    Object fds = Object::steal(checked(PyList_New(0)));
    for (int fd : e.descriptors) {
      Object number = Object::steal(checked(PyLong_FromLong(fd)));
      checked(PyList_Append(fds.get(), number.get()));
    }
    return Py_BuildValue("(nNnO)", static_cast<Py_ssize_t>(e.offset), bytes_of(e.handle),
                         static_cast<Py_ssize_t>(e.granule), fds.get());
  });
}
PyObject* py_open_memory(PyObject*, PyObject* args) {
  return call<int, PyObject*, Py_ssize_t, PyObject*>(
      args, "iOnO", [](int device, PyObject* handle, Py_ssize_t granule, PyObject* fds) {
        device = checked_device(device);
        if (!granule) return to_handle(open_memory(device, handle_of(handle)));
        std::vector<int> descriptors;
        for (int64_t fd : to_ints(fds, "descriptors")) descriptors.push_back(static_cast<int>(fd));
        return to_handle(open_memory(device, static_cast<size_t>(granule), descriptors));
      });
}
PyObject* py_close_memory(PyObject*, PyObject* args) {
  return call<int, Handle, Py_ssize_t>(args, "iKn", [](int device, Handle p, Py_ssize_t bytes) {
    if (started() && !finished()) {
      close_memory(checked_device(device), from_handle<void*>(p), static_cast<size_t>(bytes));
    }
  });
}
PyObject* py_export_event(PyObject*, PyObject* args) {
  return call<int, Handle>(args, "iK", [](int device, Handle e) {
    enter(checked_device(device));
    return bytes_of(export_event(from_handle<EventHandle>(e)));
  });
}
PyObject* py_open_event(PyObject*, PyObject* args) {
  return call<int, PyObject*>(args, "iO", [](int device, PyObject* handle) {
    return to_handle(open_event(checked_device(device), handle_of(handle)));
  });
}

// set_recorder(function), set_collector(function): None for none.
template <PyObject** slot>
PyObject* set_hook(PyObject*, PyObject* function) {
  Py_XDECREF(std::exchange(*slot, function == Py_None ? nullptr : new_ref(function)));
  return new_ref(Py_None);
}

}  // namespace

#define TM_FUNCTION(name, doc) {#name, py_##name, METH_VARARGS, doc}
PyMethodDef share_functions[] = {
    TM_FUNCTION(export_memory, "export_memory(address, bytes) -> offset, handle, granule, fds"),
    TM_FUNCTION(open_memory, "open_memory(device, handle, granule, fds) -> address"),
    TM_FUNCTION(close_memory, "close_memory(device, address, bytes): 0 of what a handle opened."),
    TM_FUNCTION(export_event, "export_event(device, event) -> handle"),
    TM_FUNCTION(open_event, "open_event(device, handle) -> event"),
    {"set_recorder", set_hook<&recorder>, METH_O,
     "set_recorder(f): f(action, device, address, bytes, stream, pool) of what the allocator "
     "does."},
    {"set_collector", set_hook<&collector>, METH_O,
     "set_collector(f): f() gives memory up, before there is too little."},
    {},
};

}  // namespace taimatsu::cuda
