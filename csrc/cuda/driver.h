// The CUDA driver, loaded when first asked for: what is used of its types and functions, declared
// from its documentation, so that building needs no toolkit.
//
// Reading order: driver.h, device.h, stream.h, allocator.h, and the .cpp file of each concern.
// Everything here runs with the GIL held; what waits for the device lets go of it (`Waiting`).
#pragma once

#include "base.h"

namespace taimatsu::cuda {

// ---- Types --------------------------------------------------------------------------------------
using Result = int;
using DeviceId = int;
using Address = unsigned long long;  // of device memory
using Context = struct ContextOpaque*;
using StreamHandle = struct StreamOpaque*;  // null: the default stream
using EventHandle = struct EventOpaque*;
using Module = struct ModuleOpaque*;
using Function = struct FunctionOpaque*;
using GraphHandle = struct GraphOpaque*;
using GraphNode = struct GraphNodeOpaque*;
using GraphExec = struct GraphExecOpaque*;
using Physical = unsigned long long;  // memory without an address

enum : Result {
  kSuccess = 0,
  kInvalidValue = 1,
  kOutOfMemory = 2,
  kNotInitialized = 3,
  kDeinitialized = 4,
  kNoDevice = 100,
  kPeerAccessAlreadyEnabled = 704,
  kNotReady = 600,
  kNotPermitted = 800,
  kNotSupported = 801,
};

enum : unsigned {  // flags
  kStreamNonBlocking = 1,
  kEventBlockingSync = 1,
  kEventDisableTiming = 2,
  kEventInterprocess = 4,
  kHostPortable = 1,
  kHostMapped = 2,
  kIpcLazyPeerAccess = 1,
};
enum CaptureMode : int { kCaptureGlobal, kCaptureThreadLocal, kCaptureRelaxed };
enum CaptureStatus : int { kNotCapturing, kCapturing, kCaptureInvalidated };
enum JitOption : int { kJitErrorLog = 5, kJitErrorLogBytes = 6 };
enum PointerAttribute : int { kPointerMemoryType = 2, kPointerDevice = 9 };
enum MemoryType : unsigned { kHostMemory = 1, kDeviceMemory = 2 };

enum Attribute : int {
  kMaxThreadsPerBlock = 1,
  kSharedMemoryPerBlock = 8,
  kWarpSize = 10,
  kClockRate = 13,
  kMultiprocessors = 16,
  kIntegrated = 18,
  kPciBus = 33,
  kPciDevice = 34,
  kMemoryClockRate = 36,
  kMemoryBusWidth = 37,
  kL2CacheBytes = 38,
  kMaxThreadsPerMultiprocessor = 39,
  kPciDomain = 50,
  kCapabilityMajor = 75,
  kCapabilityMinor = 76,
  kSharedMemoryPerMultiprocessor = 81,
  kRegistersPerMultiprocessor = 82,
  kIsMultiGpuBoard = 84,
  kSharedMemoryPerBlockOptin = 97,
  kVirtualMemory = 102,
  kPosixDescriptors = 103,
};

struct Location {
  int type = 1;  // a device
  int id = 0;
};
struct AllocationProperties {
  int type = 1;  // pinned to its location
  int handle_types = 0;
  Location location;
  void* reserved_pointer = nullptr;
  unsigned char flags[8] = {};
};
struct AccessDescription {
  Location location;
  int flags = 3;  // to read and write
};
enum : int { kPosixDescriptor = 1 };  // types of handles of physical memory
struct IpcHandle {
  char bytes[64];
};
struct KernelNodeParams {
  Function function;
  unsigned gx, gy, gz, bx, by, bz, shared_bytes;
  void **params, **extra;
  void *kernel, *context;  // of later versions of the function
};
struct Uuid {
  unsigned char bytes[16];
};

// ---- Functions ----------------------------------------------------------------------------------
// X(name here, name in the library, parameters)
#define TM_CUDA_FUNCTIONS(X)                                                                       \
  X(init, "cuInit", (unsigned flags))                                                              \
  X(driver_version, "cuDriverGetVersion", (int* version))                                          \
  X(error_name, "cuGetErrorName", (Result, const char** text))                                     \
  X(error_string, "cuGetErrorString", (Result, const char** text))                                 \
  X(device_count, "cuDeviceGetCount", (int* count))                                                \
  X(device_get, "cuDeviceGet", (DeviceId*, int ordinal))                                           \
  X(device_name, "cuDeviceGetName", (char* name, int size, DeviceId))                              \
  X(device_uuid, "cuDeviceGetUuid", (Uuid*, DeviceId))                                             \
  X(device_memory, "cuDeviceTotalMem_v2", (size_t* bytes, DeviceId))                               \
  X(device_attribute, "cuDeviceGetAttribute", (int* value, int attribute, DeviceId))               \
  X(device_can_access_peer, "cuDeviceCanAccessPeer", (int* can, DeviceId, DeviceId peer))          \
  X(context_retain, "cuDevicePrimaryCtxRetain", (Context*, DeviceId))                              \
  X(context_state, "cuDevicePrimaryCtxGetState", (DeviceId, unsigned* flags, int* active))         \
  X(context_current, "cuCtxGetCurrent", (Context*))                                                \
  X(context_set_current, "cuCtxSetCurrent", (Context))                                             \
  X(context_synchronize, "cuCtxSynchronize", ())                                                   \
  X(context_enable_peer, "cuCtxEnablePeerAccess", (Context peer, unsigned flags))                  \
  X(priority_range, "cuCtxGetStreamPriorityRange", (int* least, int* greatest))                    \
  X(memory_info, "cuMemGetInfo_v2", (size_t* free, size_t* total))                                 \
  X(memory_allocate, "cuMemAlloc_v2", (Address*, size_t bytes))                                    \
  X(memory_free, "cuMemFree_v2", (Address))                                                        \
  X(address_reserve, "cuMemAddressReserve",                                                        \
    (Address*, size_t bytes, size_t alignment, Address hint, unsigned long long flags))            \
  X(address_free, "cuMemAddressFree", (Address, size_t bytes))                                     \
  X(physical_create, "cuMemCreate",                                                                \
    (Physical*, size_t bytes, const AllocationProperties*, unsigned long long flags))              \
  X(physical_release, "cuMemRelease", (Physical))                                                  \
  X(export_physical, "cuMemExportToShareableHandle",                                               \
    (void* handle, Physical, int type, unsigned long long flags))                                  \
  X(import_physical, "cuMemImportFromShareableHandle", (Physical*, void* handle, int type))        \
  X(ipc_memory_handle, "cuIpcGetMemHandle", (IpcHandle*, Address))                                 \
  X(ipc_open_memory, "cuIpcOpenMemHandle_v2", (Address*, IpcHandle, unsigned flags))               \
  X(ipc_close_memory, "cuIpcCloseMemHandle", (Address))                                            \
  X(ipc_event_handle, "cuIpcGetEventHandle", (IpcHandle*, EventHandle))                            \
  X(ipc_open_event, "cuIpcOpenEventHandle", (EventHandle*, IpcHandle))                             \
  X(memory_map, "cuMemMap",                                                                        \
    (Address, size_t bytes, size_t offset, Physical, unsigned long long flags))                    \
  X(memory_unmap, "cuMemUnmap", (Address, size_t bytes))                                           \
  X(memory_set_access, "cuMemSetAccess",                                                           \
    (Address, size_t bytes, const AccessDescription*, size_t count))                               \
  X(allocation_granularity, "cuMemGetAllocationGranularity",                                       \
    (size_t* bytes, const AllocationProperties*, int option))                                      \
  X(host_allocate, "cuMemHostAlloc", (void**, size_t bytes, unsigned flags))                       \
  X(host_free, "cuMemFreeHost", (void*))                                                           \
  X(host_register, "cuMemHostRegister_v2", (void*, size_t bytes, unsigned flags))                  \
  X(host_unregister, "cuMemHostUnregister", (void*))                                               \
  X(pointer_attribute, "cuPointerGetAttribute", (void* value, int attribute, Address))             \
  X(copy, "cuMemcpyAsync", (Address to, Address from, size_t bytes, StreamHandle))                 \
  X(copy_peer, "cuMemcpyPeerAsync",                                                                \
    (Address to, Context, Address from, Context, size_t bytes, StreamHandle))                      \
  X(fill_bytes, "cuMemsetD8Async", (Address, unsigned char value, size_t bytes, StreamHandle))     \
  X(stream_create, "cuStreamCreateWithPriority", (StreamHandle*, unsigned flags, int priority))    \
  X(stream_priority, "cuStreamGetPriority", (StreamHandle, int* priority))                         \
  X(stream_query, "cuStreamQuery", (StreamHandle))                                                 \
  X(stream_synchronize, "cuStreamSynchronize", (StreamHandle))                                     \
  X(stream_wait, "cuStreamWaitEvent", (StreamHandle, EventHandle, unsigned flags))                 \
  X(event_create, "cuEventCreate", (EventHandle*, unsigned flags))                                 \
  X(event_destroy, "cuEventDestroy_v2", (EventHandle))                                             \
  X(event_record, "cuEventRecord", (EventHandle, StreamHandle))                                    \
  X(event_query, "cuEventQuery", (EventHandle))                                                    \
  X(event_synchronize, "cuEventSynchronize", (EventHandle))                                        \
  X(event_elapsed, "cuEventElapsedTime", (float* milliseconds, EventHandle, EventHandle))          \
  X(profiler_start, "cuProfilerStart", ())                                                         \
  X(profiler_stop, "cuProfilerStop", ())                                                           \
  X(module_load, "cuModuleLoadDataEx",                                                             \
    (Module*, const void* image, unsigned count, int* options, void** values))                     \
  X(module_function, "cuModuleGetFunction", (Function*, Module, const char* name))                 \
  X(launch, "cuLaunchKernel",                                                                      \
    (Function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz,       \
     unsigned shared_bytes, StreamHandle, void** params, void** extra))                            \
  X(capture_begin, "cuStreamBeginCapture_v2", (StreamHandle, int mode))                            \
  X(capture_end, "cuStreamEndCapture", (StreamHandle, GraphHandle*))                               \
  X(capture_info, "cuStreamGetCaptureInfo_v2",                                                     \
    (StreamHandle, int* status, unsigned long long* id, GraphHandle*, const GraphNode**, size_t*)) \
  X(capture_exchange_mode, "cuThreadExchangeStreamCaptureMode", (int* mode))                       \
  X(graph_nodes, "cuGraphGetNodes", (GraphHandle, GraphNode*, size_t* count))                      \
  X(graph_dump, "cuGraphDebugDotPrint", (GraphHandle, const char* path, unsigned flags))           \
  X(graph_instantiate, "cuGraphInstantiateWithFlags",                                              \
    (GraphExec*, GraphHandle, unsigned long long flags))                                           \
  X(graph_exec_set_kernel, "cuGraphExecKernelNodeSetParams",                                       \
    (GraphExec, GraphNode, const KernelNodeParams*))                                               \
  X(graph_launch, "cuGraphLaunch", (GraphExec, StreamHandle))                                      \
  X(graph_destroy, "cuGraphDestroy", (GraphHandle))                                                \
  X(graph_exec_destroy, "cuGraphExecDestroy", (GraphExec))

struct Driver {
#define TM_DECLARE(name, symbol, parameters) Result(*name) parameters;
  TM_CUDA_FUNCTIONS(TM_DECLARE)
#undef TM_DECLARE
};

// The functions; loads and initialises the driver the first time. RuntimeError where there is none,
// and in a process forked from one that has used it.
const Driver& driver();

// Why there is no driver to use; empty where there is one. Never throws.
const std::string& unavailable();
bool forked();    // the driver was in use before a fork that made this process: it can't be here
bool started();   // the driver is in use here
bool finished();  // the process ends, and the driver may have gone before

// Throws for a result that isn't success: OutOfMemory or RuntimeError, "CUDA error: ...", naming
// the call or the op. An error from which the context doesn't recover is told by every later call.
void check(Result r, const char* what);

// Whether kernels are waited for where they are launched (CUDA_LAUNCH_BLOCKING).
bool launch_blocking();

// Others may run Python while this thread waits for the device.
class Waiting {
 public:
  Waiting() : state_(PyEval_SaveThread()) {}
  ~Waiting() { restore_gil(state_); }
  Waiting(const Waiting&) = delete;
  Waiting& operator=(const Waiting&) = delete;

 private:
  PyThreadState* state_;
};

}  // namespace taimatsu::cuda
