// taimatsu._core._cuda: what taimatsu.cuda is written with. Devices, streams, events.
#include "cuda/bindings.h"

#include <tuple>

#include "cpu/random.h"
#include "cuda/allocator.h"
#include "cuda/module.h"
#include "cuda/stream.h"

namespace taimatsu::cuda {
namespace {

// ---- Devices ------------------------------------------------------------------------------------

PyObject* properties(int device) {
  device = checked_device(device);
  const Driver& cu = driver();
  DeviceId id;
  check(cu.device_get(&id, device), "cuDeviceGet");
  char name[256] = "";
  Uuid uuid = {};
  check(cu.device_name(name, sizeof name, id), "cuDeviceGetName");
  check(cu.device_uuid(&uuid, id), "cuDeviceGetUuid");
  Object all = Object::steal(checked(PyDict_New()));
  put(all.get(), "name", PyUnicode_FromString(name));
  put(all.get(), "uuid",
      PyBytes_FromStringAndSize(reinterpret_cast<char*>(uuid.bytes), sizeof uuid.bytes));
  put(all.get(), "total_memory", static_cast<int64_t>(total_memory(device)));
  const std::pair<const char*, Attribute> numbers[] = {
      {"major", kCapabilityMajor},
      {"minor", kCapabilityMinor},
      {"multi_processor_count", kMultiprocessors},
      {"is_integrated", kIntegrated},
      {"is_multi_gpu_board", kIsMultiGpuBoard},
      {"max_threads_per_block", kMaxThreadsPerBlock},
      {"max_threads_per_multi_processor", kMaxThreadsPerMultiprocessor},
      {"regs_per_multiprocessor", kRegistersPerMultiprocessor},
      {"warp_size", kWarpSize},
      {"L2_cache_size", kL2CacheBytes},
      {"shared_memory_per_block", kSharedMemoryPerBlock},
      {"shared_memory_per_block_optin", kSharedMemoryPerBlockOptin},
      {"shared_memory_per_multiprocessor", kSharedMemoryPerMultiprocessor},
      {"clock_rate", kClockRate},
      {"memory_clock_rate", kMemoryClockRate},
      {"memory_bus_width", kMemoryBusWidth},
      {"pci_bus_id", kPciBus},
      {"pci_device_id", kPciDevice},
      {"pci_domain_id", kPciDomain},
  };
  for (const auto& [key, which] : numbers) put(all.get(), key, attribute(device, which));
  return all.leak();
}

PyObject* py_unavailable(PyObject*, PyObject*) {
  return guard([] {
    const std::string& why = unavailable();
    return PyUnicode_FromStringAndSize(why.data(), static_cast<Py_ssize_t>(why.size()));
  });
}
PyObject* py_forked(PyObject*, PyObject*) { return boolean(forked()); }
PyObject* py_device_count(PyObject*, PyObject*) { return PyLong_FromLong(device_count()); }
PyObject* py_current_device(PyObject*, PyObject*) {
  return guard([] { return PyLong_FromLong(checked_device(-1)); });
}
PyObject* py_set_device(PyObject*, PyObject* args) {
  return call<int>(args, "i", [](int device) { set_current_device(device); });
}
PyObject* py_initialize(PyObject*, PyObject*) {
  return guard([] {
    enter(checked_device(-1));
    return new_ref(Py_None);
  });
}
// For calls of libraries in Python.
PyObject* py_enter(PyObject*, PyObject* args) {
  return call<int>(args, "i", [](int device) {
    device = checked_device(device);
    enter(device);
    return to_handle(current_stream(device));
  });
}
PyObject* py_has_context(PyObject*, PyObject* args) {
  return call<int>(args, "i", [](int device) { return boolean(started() && has_context(device)); });
}
PyObject* py_driver_version(PyObject*, PyObject*) {
  return guard([] {
    int version = 0;
    check(driver().driver_version(&version), "cuDriverGetVersion");
    return PyLong_FromLong(version);
  });
}
PyObject* py_properties(PyObject*, PyObject* args) { return call<int>(args, "i", properties); }
PyObject* py_can_access_peer(PyObject*, PyObject* args) {
  return call<int, int>(
      args, "ii", [](int device, int peer) { return boolean(can_access_peer(device, peer)); });
}
PyObject* py_memory_info(PyObject*, PyObject* args) {
  return call<int>(args, "i", [](int device) {
    enter(checked_device(device));
    size_t available = 0, total = 0;
    check(driver().memory_info(&available, &total), "cuMemGetInfo");
    return Py_BuildValue("(nn)", static_cast<Py_ssize_t>(available),
                         static_cast<Py_ssize_t>(total));
  });
}
PyObject* py_synchronize(PyObject*, PyObject* args) {
  return call_in_order<int>(args, "i", [](int device) { synchronize(checked_device(device)); });
}
PyObject* py_profiler(PyObject*, PyObject* args) {
  return call<int>(args, "p", [](int on) {
    enter(checked_device(-1));
    check(on ? driver().profiler_start() : driver().profiler_stop(), "cuProfilerStart");
  });
}
PyObject* py_default_generator(PyObject*, PyObject* args) {
  return call<int>(args, "i", [](int device) {
    const auto index = static_cast<int8_t>(checked_device(device));
    return new_ref(default_generator_object({DeviceType::CUDA, index}));
  });
}
// What a formula gives for a geometry, for comparison with code generation's own reading.
PyObject* py_grid(PyObject*, PyObject* args) {
  return call<PyObject*, PyObject*, int>(
      args, "OOi", [](PyObject* formula, PyObject* numbers, int multiprocessors) {
        const std::vector<int64_t> geometry = to_ints(numbers, "geometry");
        const Grid g = grid_of(to_ints(formula, "formula"), geometry.data(), multiprocessors);
        return Py_BuildValue("(III)(II)LL(II)(II)", g.blocks[0], g.blocks[1], g.blocks[2],
                             g.threads[0], g.threads[1], static_cast<long long>(g.sections),
                             static_cast<long long>(g.scratch), g.finish_blocks[0],
                             g.finish_blocks[1], g.finish_threads[0], g.finish_threads[1]);
      });
}

// ---- Streams ------------------------------------------------------------------------------------

PyObject* py_new_stream(PyObject*, PyObject* args) {
  return call<int, int>(args, "ii", [](int device, int priority) {
    return to_handle(pooled_stream(checked_device(device), priority));
  });
}
PyObject* py_priority_range(PyObject*, PyObject* args) {
  return call<int>(args, "i", [](int device) {
    const auto [least, greatest] = priority_range(checked_device(device));
    return Py_BuildValue("(ii)", least, greatest);
  });
}
PyObject* py_stream_priority(PyObject*, PyObject* args) {
  return call<int, Handle>(args, "iK", [](int device, Handle s) {
    enter(checked_device(device));
    int priority = 0;
    check(driver().stream_priority(from_handle<StreamHandle>(s), &priority), "cuStreamGetPriority");
    return PyLong_FromLong(priority);
  });
}
PyObject* py_current_stream(PyObject*, PyObject* args) {
  return call<int>(args, "i",
                   [](int device) { return to_handle(current_stream(checked_device(device))); });
}
PyObject* py_set_stream(PyObject*, PyObject* args) {
  return call_in_order<int, Handle>(args, "iK", [](int device, Handle s) {
    set_current_stream(checked_device(device), from_handle<StreamHandle>(s));
  });
}
PyObject* ready(Result r, const char* what) {
  if (r != kNotReady) check(r, what);
  return boolean(r == kSuccess);
}
PyObject* py_stream_query(PyObject*, PyObject* args) {
  return call_in_order<int, Handle>(args, "iK", [](int device, Handle s) {
    enter(checked_device(device));
    return ready(driver().stream_query(from_handle<StreamHandle>(s)), "cuStreamQuery");
  });
}
PyObject* py_stream_synchronize(PyObject*, PyObject* args) {
  return call_in_order<int, Handle>(args, "iK", [](int device, Handle s) {
    synchronize(checked_device(device), from_handle<StreamHandle>(s));
  });
}
PyObject* py_stream_wait(PyObject*, PyObject* args) {
  return call_in_order<int, Handle, Handle>(args, "iKK", [](int device, Handle s, Handle e) {
    enter(checked_device(device));
    check(driver().stream_wait(from_handle<StreamHandle>(s), from_handle<EventHandle>(e), 0),
          "cuStreamWaitEvent");
  });
}
PyObject* py_order(PyObject*, PyObject* args) {
  return call_in_order<int, Handle, Handle>(
      args, "iKK", [](int device, Handle earlier, Handle later) {
        device = checked_device(device);
        order(device, from_handle<StreamHandle>(earlier), device, from_handle<StreamHandle>(later));
      });
}
PyObject* py_capturing(PyObject*, PyObject* args) {
  return call<int>(args, "i", [](int device) {
    device = checked_device(device);
    if (captures_under_way) enter(device);
    return boolean(capturing(current_stream(device)));
  });
}

// ---- Events -------------------------------------------------------------------------------------

PyObject* py_new_event(PyObject*, PyObject* args) {
  return call<int, unsigned>(args, "iI", [](int device, unsigned flags) {
    enter(checked_device(device));
    EventHandle e = nullptr;
    check(driver().event_create(&e, flags), "cuEventCreate");
    return to_handle(e);
  });
}
PyObject* py_destroy_event(PyObject*, PyObject* args) {
  return call<Handle>(args, "K", [](Handle e) {
    if (started() && !finished()) driver().event_destroy(from_handle<EventHandle>(e));
  });
}
PyObject* py_record_event(PyObject*, PyObject* args) {
  return call_in_order<int, Handle, Handle>(args, "iKK", [](int device, Handle e, Handle s) {
    enter(checked_device(device));
    check(driver().event_record(from_handle<EventHandle>(e), from_handle<StreamHandle>(s)),
          "cuEventRecord");
  });
}
PyObject* py_query_event(PyObject*, PyObject* args) {
  return call_in_order<int, Handle>(args, "iK", [](int device, Handle e) {
    enter(checked_device(device));
    return ready(driver().event_query(from_handle<EventHandle>(e)), "cuEventQuery");
  });
}
PyObject* py_synchronize_event(PyObject*, PyObject* args) {
  return call_in_order<int, Handle>(args, "iK", [](int device, Handle e) {
    enter(checked_device(device));
    Result r;
    {
      Waiting waiting;
      r = driver().event_synchronize(from_handle<EventHandle>(e));
    }
    check(r, "cuEventSynchronize");
    check_reports();
  });
}
PyObject* py_elapsed(PyObject*, PyObject* args) {
  return call<int, Handle, Handle>(args, "iKK", [](int device, Handle a, Handle b) {
    enter(checked_device(device));
    float milliseconds = 0;
    const Result r = driver().event_elapsed(&milliseconds, from_handle<EventHandle>(a),
                                            from_handle<EventHandle>(b));
    if (r == kNotReady) {
      fail(Error::Runtime,
           "Both events must be completed before calculating elapsed time: "
           "synchronize() the second one");
    }
    check(r, "cuEventElapsedTime");
    return PyFloat_FromDouble(milliseconds);
  });
}

}  // namespace

#define TM_FUNCTION(name, doc) {#name, py_##name, METH_VARARGS, doc}
#define TM_FUNCTION0(name, doc) {#name, py_##name, METH_NOARGS, doc}
PyMethodDef device_functions[] = {
    TM_FUNCTION0(unavailable, "Why there is no driver to use; empty where there is one."),
    TM_FUNCTION0(forked, "Whether the driver was in use before the fork that made this process."),
    TM_FUNCTION0(device_count, "The number of GPUs."),
    TM_FUNCTION0(current_device, "The current GPU of this thread."),
    TM_FUNCTION(set_device, "set_device(device): makes it the current one of this thread."),
    TM_FUNCTION0(initialize, "Makes the current GPU's context."),
    TM_FUNCTION(enter, "enter(device) -> its current stream; its context is now the thread's."),
    TM_FUNCTION(has_context, "has_context(device)"),
    TM_FUNCTION0(driver_version, "1000 * major + 10 * minor of CUDA."),
    TM_FUNCTION(properties, "properties(device) -> dict"),
    TM_FUNCTION(can_access_peer, "can_access_peer(device, peer)"),
    TM_FUNCTION(memory_info, "memory_info(device) -> bytes free, bytes in all"),
    TM_FUNCTION(synchronize, "synchronize(device): waits for all its work."),
    TM_FUNCTION(profiler, "profiler(on): NVIDIA's profiler records, or stops."),
    TM_FUNCTION(default_generator, "default_generator(device)"),
    TM_FUNCTION(grid, "grid(formula, geometry, multiprocessors): as codegen.grid.evaluate."),
    {},
};
PyMethodDef stream_functions[] = {
    TM_FUNCTION(new_stream, "new_stream(device, priority) -> handle"),
    TM_FUNCTION(priority_range, "priority_range(device) -> least, greatest"),
    TM_FUNCTION(stream_priority, "stream_priority(device, stream)"),
    TM_FUNCTION(current_stream, "current_stream(device) -> handle"),
    TM_FUNCTION(set_stream, "set_stream(device, stream): makes it the device's current one."),
    TM_FUNCTION(stream_query, "stream_query(device, stream): whether all its work is done."),
    TM_FUNCTION(stream_synchronize, "stream_synchronize(device, stream)"),
    TM_FUNCTION(stream_wait, "stream_wait(device, stream, event)"),
    TM_FUNCTION(order, "order(device, earlier, later): the later stream waits for the earlier."),
    TM_FUNCTION(capturing, "capturing(device): whether its current stream is being captured."),
    TM_FUNCTION(new_event, "new_event(device, flags) -> handle"),
    TM_FUNCTION(destroy_event, "destroy_event(event)"),
    TM_FUNCTION(record_event, "record_event(device, event, stream)"),
    TM_FUNCTION(query_event, "query_event(device, event): whether it is reached."),
    TM_FUNCTION(synchronize_event, "synchronize_event(device, event)"),
    TM_FUNCTION(elapsed, "elapsed(device, start, end) -> milliseconds"),
    {},
};

}  // namespace taimatsu::cuda

namespace taimatsu {

int init_cuda(PyObject* module) {
  static PyModuleDef definition = {PyModuleDef_HEAD_INIT, "taimatsu._core._cuda",
                                   "CUDA's devices, streams, memory and graphs.", -1};
  return guard(-1, [&] {
    Object own = Object::steal(checked(PyModule_Create(&definition)));
    for (PyMethodDef* functions :
         {cuda::device_functions, cuda::stream_functions, cuda::memory_functions,
          cuda::graph_functions, cuda::library_functions, cuda::product_functions,
          cuda::share_functions}) {
      checked(PyModule_AddFunctions(own.get(), functions));
    }
    checked(PyModule_AddObjectRef(module, "_cuda", own.get()));
    return 0;
  });
}

}  // namespace taimatsu
