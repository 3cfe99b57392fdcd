// taimatsu._core._cuda: memory, pinned memory, pools, graphs.
#include <tuple>

#include "cuda/allocator.h"
#include "cuda/bindings.h"
#include "cuda/graph.h"
#include "cuda/host.h"
#include "cuda/stream.h"
#include "ops/launch.h"
#include "python/tensor_type.h"

namespace taimatsu::cuda {
namespace {

// ---- Figures ------------------------------------------------------------------------------------

PyObject* py_figures(PyObject*, PyObject* args) {
  return call<int>(args, "i", [](int device) {
    const Figures& f = figures(checked_device(device));
    Object all = Object::steal(checked(PyDict_New()));
    const std::pair<const char*, const std::array<Stat, kFigures>*> groups[] = {
        {"all", &f.all}, {"large_pool", &f.large}, {"small_pool", &f.small}};
    for (int i = 0; i < kFigures; ++i) {
      for (const auto& [group, stats] : groups) {
        const Stat& s = (*stats)[i];
        const std::pair<const char*, int64_t> values[] = {{"allocated", s.allocated},
                                                          {"current", s.current},
                                                          {"freed", s.freed},
                                                          {"peak", s.peak}};
        for (const auto& [name, value] : values) {
          put(all.get(), concat(kFigureNames[i], ".", group, ".", name).c_str(), value);
        }
      }
    }
    put(all.get(), "num_alloc_retries", f.retries);
    put(all.get(), "num_ooms", f.out_of_memory);
    put(all.get(), "num_sync_all_streams", f.synchronizations);
    put(all.get(), "num_device_alloc", f.segments_made);
    put(all.get(), "num_device_free", f.segments_freed);
    return all.leak();
  });
}
PyObject* py_reset_peak(PyObject*, PyObject* args) {
  return call<int>(args, "i", [](int device) { reset_peak_figures(checked_device(device)); });
}
PyObject* py_reset_accumulated(PyObject*, PyObject* args) {
  return call<int>(args, "i",
                   [](int device) { reset_accumulated_figures(checked_device(device)); });
}

// A run of blocks with memory behind, as PyTorch's snapshot shows it.
class Run {
 public:
  Run(const Arena& a, const Block* first)
      : dict_(Object::steal(checked(PyDict_New()))),
        blocks_(Object::steal(checked(PyList_New(0)))) {
    PyObject* d = dict_.get();
    put(d, "device", a.device);
    put(d, "address", to_handle(first->p));
    put(d, "stream", to_handle(a.stream));
    put(d, "segment_type", PyUnicode_FromString(a.small ? "small" : "large"));
    put(d, "segment_pool_id", Py_BuildValue("(iL)", 0, static_cast<long long>(a.pool)));
    put(d, "is_expandable", boolean(first->segment->granule != 0));
    put(d, "frames", PyList_New(0));
  }
  void add(const Block* b) {
    Object block = Object::steal(checked(PyDict_New()));
    const char* state = b->used      ? "active_allocated"
                        : b->pending ? "active_pending_free"
                                     : "inactive";
    put(block.get(), "address", to_handle(b->p));
    put(block.get(), "size", static_cast<int64_t>(b->size));
    put(block.get(), "requested_size", static_cast<int64_t>(b->used ? b->requested : 0));
    put(block.get(), "state", PyUnicode_FromString(state));
    put(block.get(), "frames", PyList_New(0));
    checked(PyList_Append(blocks_.get(), block.get()));
    total_ += static_cast<int64_t>(b->size);
    allocated_ += b->used ? static_cast<int64_t>(b->size) : 0;
    active_ += b->used || b->pending ? static_cast<int64_t>(b->size) : 0;
    requested_ += b->used ? static_cast<int64_t>(b->requested) : 0;
  }
  void finish(PyObject* list) {
    put(dict_.get(), "total_size", total_);
    put(dict_.get(), "allocated_size", allocated_);
    put(dict_.get(), "active_size", active_);
    put(dict_.get(), "requested_size", requested_);
    checked(PyDict_SetItemString(dict_.get(), "blocks", blocks_.get()));
    checked(PyList_Append(list, dict_.get()));
  }

 private:
  Object dict_, blocks_;
  int64_t total_ = 0, allocated_ = 0, active_ = 0, requested_ = 0;
};

PyObject* py_snapshot(PyObject*, PyObject*) {
  return guard([] {
    Object list = Object::steal(checked(PyList_New(0)));
    for_each_arena([&](const Arena& a) {
      for (const Segment* s : a.segments) {
        for (const Block* b = s->first; b;) {
          if (!b->mapped) {
            b = b->after;
            continue;
          }
          Run run(a, b);
          for (; b && b->mapped; b = b->after) run.add(b);
          run.finish(list.get());
        }
      }
    });
    return list.leak();
  });
}

// ---- Memory -------------------------------------------------------------------------------------

PyObject* py_empty_cache(PyObject*, PyObject*) {
  return guard([] {
    if (started()) empty_cache();
    return new_ref(Py_None);
  });
}
PyObject* py_allocate(PyObject*, PyObject* args) {
  return call<int, Py_ssize_t, Handle>(args, "inK", [](int device, Py_ssize_t bytes, Handle s) {
    device = checked_device(device);
    if (bytes < 0) fail(Error::Runtime, "a size must not be negative; got ", bytes);
    const StreamHandle before = current_stream(device);
    set_current_stream(device, from_handle<StreamHandle>(s));
    void* p = nullptr;
    try {
      p = bytes ? allocate(device, static_cast<size_t>(bytes)) : nullptr;
    } catch (const Error&) {
      set_current_stream(device, before);
      throw;
    }
    set_current_stream(device, before);
    return to_handle(p);
  });
}
PyObject* py_deallocate(PyObject*, PyObject* args) {
  return call<Handle>(args, "K", [](Handle p) { deallocate(from_handle<void*>(p)); });
}
PyObject* py_record_stream(PyObject*, PyObject* args) {
  return call<Handle, int, Handle>(args, "KiK", [](Handle p, int device, Handle s) {
    return boolean(record_stream(from_handle<void*>(p), device, from_handle<StreamHandle>(s)));
  });
}
PyObject* py_expandable(PyObject*, PyObject* args) {
  return call<int>(args, "i",
                   [](int device) { return boolean(expandable(checked_device(device))); });
}
// storage_at(address, bytes, device, owner): of memory that somebody else has allocated.
PyObject* py_storage_at(PyObject*, PyObject* args) {
  return call<Handle, Py_ssize_t, int, PyObject*>(
      args, "KniO", [](Handle p, Py_ssize_t bytes, int device, PyObject* owner) {
        const Device d{DeviceType::CUDA, static_cast<int8_t>(checked_device(device))};
        Ref<Storage> s = foreign_storage(from_handle<void*>(p), bytes, d, owner);
        return storage_object(s.get());
      });
}
// The device that an address is of; -1 of memory of the host, and of what the driver doesn't know.
PyObject* py_device_of(PyObject*, PyObject* args) {
  return call<Handle>(args, "K", [](Handle p) {
    enter(checked_device(-1));
    unsigned kind = 0;
    int device = -1;
    if (driver().pointer_attribute(&kind, kPointerMemoryType, p) == kSuccess &&
        kind == kDeviceMemory) {
      check(driver().pointer_attribute(&device, kPointerDevice, p), "cuPointerGetAttribute");
    }
    return PyLong_FromLong(device);
  });
}
PyObject* py_set_memory_fraction(PyObject*, PyObject* args) {
  return call<int, double>(args, "id", [](int device, double fraction) {
    set_memory_fraction(checked_device(device), fraction);
  });
}
PyObject* py_memory_fraction(PyObject*, PyObject* args) {
  return call<int>(args, "i", [](int device) {
    return PyFloat_FromDouble(memory_fraction(checked_device(device)));
  });
}

PyObject* py_new_pool(PyObject*, PyObject*) { return PyLong_FromLongLong(new_pool()); }
PyObject* py_retain_pool(PyObject*, PyObject* args) {
  return call<long long>(args, "L", [](long long id) { retain_pool(id); });
}
PyObject* py_release_pool(PyObject*, PyObject* args) {
  return call<long long>(args, "L", [](long long id) { release_pool(id); });
}
PyObject* py_pool_users(PyObject*, PyObject* args) {
  return call<long long>(args, "L", [](long long id) { return PyLong_FromLong(pool_users(id)); });
}
PyObject* py_use_pool(PyObject*, PyObject* args) {
  return call_in_order<int, long long>(args, "iL", [](int device, long long id) {
    retain_pool(id);
    route_to_pool(checked_device(device), id, 0);
  });
}
PyObject* py_leave_pool(PyObject*, PyObject* args) {
  return call_in_order<int, long long>(args, "iL", [](int device, long long id) {
    stop_routing(checked_device(device), id);
    release_pool(id);
  });
}

// ---- Pinned memory ------------------------------------------------------------------------------

Tensor& tensor_argument(PyObject* o) {
  if (!is_tensor(o)) fail(Error::Type, "expected a Tensor, got ", type_name(o));
  return *as_tensor(o);
}
// pinned(like): a tensor without contents, of these sizes and dtype, in pinned memory.
PyObject* py_pinned(PyObject*, PyObject* args) {
  return call<PyObject*>(args, "O", [](PyObject* o) {
    Tensor& t = tensor_argument(o);
    LayoutRef layout = dense_layout_like(*t.layout);
    Ref<Storage> storage = pinned_storage(static_cast<size_t>(t.numel() * itemsize(t.dtype)));
    return tensor_object(make_tensor(storage.get(), layout.get(), t.dtype));
  });
}
PyObject* py_is_pinned(PyObject*, PyObject* args) {
  return call<Handle>(args, "K",
                      [](Handle p) { return boolean(is_pinned(from_handle<void*>(p))); });
}
PyObject* py_host_figures(PyObject*, PyObject*) {
  return guard([] {
    const HostFigures& f = host_figures();
    Object all = Object::steal(checked(PyDict_New()));
    put(all.get(), "allocated_bytes.current", f.allocated);
    put(all.get(), "allocated_bytes.peak", f.peak_allocated);
    put(all.get(), "reserved_bytes.current", f.reserved);
    put(all.get(), "reserved_bytes.peak", f.peak_reserved);
    put(all.get(), "allocation.allocated", f.allocations);
    put(all.get(), "num_host_alloc", f.driver_allocations);
    put(all.get(), "num_host_free", f.driver_frees);
    return all.leak();
  });
}
PyObject* py_reset_host_figures(PyObject*, PyObject*) {
  HostFigures& f = host_figures();
  f.peak_allocated = f.allocated;
  f.peak_reserved = f.reserved;
  return new_ref(Py_None);
}
PyObject* py_empty_host_cache(PyObject*, PyObject*) {
  return guard([] {
    if (started()) empty_host_cache();
    return new_ref(Py_None);
  });
}
PyObject* py_host_register(PyObject*, PyObject* args) {
  return call<Handle, Py_ssize_t>(args, "Kn", [](Handle p, Py_ssize_t bytes) {
    enter(checked_device(-1));
    check(driver().host_register(from_handle<void*>(p), static_cast<size_t>(bytes), kHostPortable),
          "cuMemHostRegister");
  });
}
PyObject* py_host_unregister(PyObject*, PyObject* args) {
  return call<Handle>(args, "K", [](Handle p) {
    check(driver().host_unregister(from_handle<void*>(p)), "cuMemHostUnregister");
  });
}

// ---- Graphs: a capsule each ---------------------------------------------------------------------

constexpr const char* kGraph = "taimatsu.cuda.graph";
Graph& graph_in(PyObject* o) {
  void* p = PyCapsule_GetPointer(o, kGraph);
  if (!p) python_error();
  return *static_cast<Graph*>(p);
}
PyObject* py_new_graph(PyObject*, PyObject* args) {
  return call<int>(args, "p", [](int keep) {
    auto* graph = new Graph;
    graph->keep = keep != 0;
    return PyCapsule_New(graph, kGraph, [](PyObject* o) {
      delete static_cast<Graph*>(PyCapsule_GetPointer(o, kGraph));
    });
  });
}
PyObject* py_graph_begin(PyObject*, PyObject* args) {
  return call_in_order<PyObject*, long long, int>(
      args, "OLi", [](PyObject* o, long long pool, int mode) {
        graph_in(o).begin(pool, static_cast<CaptureMode>(mode));
      });
}
template <void (Graph::*step)()>
PyObject* graph_step(PyObject*, PyObject* args) {
  return call_in_order<PyObject*>(args, "O", [](PyObject* o) { (graph_in(o).*step)(); });
}
PyObject* py_graph_pool(PyObject*, PyObject* args) {
  return call<PyObject*>(args, "O",
                         [](PyObject* o) { return PyLong_FromLongLong(graph_in(o).pool()); });
}
PyObject* py_graph_dump(PyObject*, PyObject* args) {
  return call<PyObject*, const char*>(
      args, "Os", [](PyObject* o, const char* path) { graph_in(o).dump(path); });
}
PyObject* py_graph_handle(PyObject*, PyObject* args) {
  return call<PyObject*>(args, "O", [](PyObject* o) { return to_handle(graph_in(o).handle()); });
}

}  // namespace

#define TM_FUNCTION(name, doc) {#name, py_##name, METH_VARARGS, doc}
#define TM_FUNCTION0(name, doc) {#name, py_##name, METH_NOARGS, doc}
PyMethodDef memory_functions[] = {
    TM_FUNCTION(figures, "figures(device): the allocator's, as torch.cuda.memory_stats has them."),
    TM_FUNCTION(reset_peak, "reset_peak(device)"),
    TM_FUNCTION(reset_accumulated, "reset_accumulated(device)"),
    TM_FUNCTION0(snapshot, "All segments with their blocks."),
    TM_FUNCTION0(empty_cache, "Gives free memory back to the driver."),
    TM_FUNCTION(allocate, "allocate(device, bytes, stream) -> address"),
    TM_FUNCTION(deallocate, "deallocate(address)"),
    TM_FUNCTION(record_stream, "record_stream(address, device, stream): whether it is known."),
    TM_FUNCTION(expandable, "expandable(device): whether memory is mapped where it is needed."),
    TM_FUNCTION(storage_at, "storage_at(address, bytes, device, owner): of others' memory."),
    TM_FUNCTION(device_of, "device_of(address): -1 of what is no device's."),
    TM_FUNCTION(set_memory_fraction, "set_memory_fraction(device, fraction)"),
    TM_FUNCTION(memory_fraction, "memory_fraction(device)"),
    TM_FUNCTION0(new_pool, "A pool of memory apart from the rest: its number."),
    TM_FUNCTION(retain_pool, "retain_pool(pool)"),
    TM_FUNCTION(release_pool, "release_pool(pool)"),
    TM_FUNCTION(pool_users, "pool_users(pool)"),
    TM_FUNCTION(use_pool, "use_pool(device, pool): this thread's memory comes from it."),
    TM_FUNCTION(leave_pool, "leave_pool(device, pool)"),
    TM_FUNCTION(pinned, "pinned(like): a tensor in pinned memory, without contents."),
    TM_FUNCTION(is_pinned, "is_pinned(address)"),
    TM_FUNCTION0(host_figures, "Figures of pinned memory."),
    TM_FUNCTION0(reset_host_figures, "Peaks are what is in use now."),
    TM_FUNCTION0(empty_host_cache, "Unpins what is not in use."),
    TM_FUNCTION(host_register, "host_register(address, bytes)"),
    TM_FUNCTION(host_unregister, "host_unregister(address)"),
    {},
};
PyMethodDef graph_functions[] = {
    TM_FUNCTION(new_graph, "new_graph(keep) -> capsule"),
    TM_FUNCTION(graph_begin, "graph_begin(graph, pool or 0, mode)"),
    {"graph_end", graph_step<&Graph::end>, METH_VARARGS, "graph_end(graph)"},
    {"graph_instantiate", graph_step<&Graph::instantiate>, METH_VARARGS,
     "graph_instantiate(graph)"},
    {"graph_replay", graph_step<&Graph::replay>, METH_VARARGS, "graph_replay(graph)"},
    {"graph_reset", graph_step<&Graph::reset>, METH_VARARGS, "graph_reset(graph)"},
    TM_FUNCTION(graph_pool, "graph_pool(graph) -> number"),
    TM_FUNCTION(graph_dump, "graph_dump(graph, path)"),
    TM_FUNCTION(graph_handle, "graph_handle(graph) -> handle"),
    {},
};

}  // namespace taimatsu::cuda
