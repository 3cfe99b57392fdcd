#include "cuda/driver.h"

#include <dlfcn.h>
#include <pthread.h>

#include <cstdlib>

namespace taimatsu::cuda {
namespace {

Driver table;
enum class State { Unknown, Absent, Ready, Forked };
State state = State::Unknown;
std::string reason;
bool ended = false;

const char* text_of(Result (*f)(Result, const char**), Result r) {
  const char* text = nullptr;
  return f && f(r, &text) == kSuccess && text ? text : "unknown error";
}

// Why the driver can't be used; empty if it can.
std::string load() {
  const char* file = std::getenv("TAIMATSU_LIBCUDA");
  const bool given = file && *file;
  if (!given) file = "libcuda.so.1";
  void* library = dlopen(file, RTLD_NOW | RTLD_LOCAL);
  if (!library) {
    return concat("no NVIDIA driver is found (", dlerror(),
                  given ? "; TAIMATSU_LIBCUDA names it" : "",
                  "); install the driver of your GPU from https://www.nvidia.com/drivers");
  }
  struct Entry {
    void** slot;
    const char* symbol;
  };
  const Entry entries[] = {
#define TM_ENTRY(name, symbol, parameters) {reinterpret_cast<void**>(&table.name), symbol},
      TM_CUDA_FUNCTIONS(TM_ENTRY)
#undef TM_ENTRY
  };
  for (const Entry& e : entries) {
    *e.slot = dlsym(library, e.symbol);
    if (!*e.slot) {
      return concat("the NVIDIA driver (", file, ") is too old: it has no function ", e.symbol,
                    "; install one of CUDA 11.4 (470) or newer");
    }
  }
  const Result r = table.init(0);
  if (r != kSuccess) {
    return concat("the NVIDIA driver (", file, ") doesn't start: ", text_of(table.error_string, r),
                  " (", text_of(table.error_name, r), "); see what nvidia-smi says",
                  r == kNoDevice ? ", and CUDA_VISIBLE_DEVICES" : "");
  }
  int count = 0;
  if (table.device_count(&count) != kSuccess || count == 0) {
    return "the NVIDIA driver finds no GPU; see what nvidia-smi says, and CUDA_VISIBLE_DEVICES";
  }
  return {};
}

void start() {
  if (state != State::Unknown) return;
  reason = load();
  state = reason.empty() ? State::Ready : State::Absent;
  if (state != State::Ready) return;
  // The driver's threads and its channel to the device don't survive a fork.
  pthread_atfork(nullptr, nullptr, [] {
    if (state == State::Ready) state = State::Forked;
  });
  Py_AtExit([] { ended = true; });
}

// What to do about the errors that users meet.
const char* advice(Result r) {
  switch (r) {
    case kInvalidValue: return "an argument is out of the range that the driver takes";
    case kDeinitialized: return "the process is ending";
    case kNoDevice: return "see what nvidia-smi says, and CUDA_VISIBLE_DEVICES";
    case 201: return "the current context is not the device's";
    case 200:
    case 209: return "the kernel was compiled for another GPU; remove the kernel cache";
    case 218:
    case 222: return "the driver is older than the kernel's PTX: update it";
    case 700:
    case 701:
    case 702:
    case 710:
    case 715:
    case 716:
    case 717:
    case 718:
    case 719:
      return "kernels run asynchronously, so an earlier op may be to blame: CUDA_LAUNCH_BLOCKING=1 "
             "names it. The process can't use this GPU any more; start it again";
    case 900: return "the call is not permitted while a stream is captured: move it before";
    case 901:
    case 902:
    case 904:
    case 905:
    case 906: return "what is captured must begin and end on the capturing stream";
    default: return "see the driver's documentation of this code";
  }
}

}  // namespace

const std::string& unavailable() {
  start();
  return reason;
}
bool forked() { return state == State::Forked; }
bool started() { return state == State::Ready; }
bool finished() { return ended; }

const Driver& driver() {
  if (state == State::Ready) return table;
  start();
  if (state == State::Forked) {
    fail(Error::Runtime,
         "Cannot re-initialize CUDA in forked subprocess. To use CUDA with multiprocessing, you "
         "must use the 'spawn' start method");
  }
  if (state == State::Absent) fail(Error::Runtime, "CUDA: ", reason);
  return table;
}

void check(Result r, const char* what) {
  if (r == kSuccess) return;
  const char* name = text_of(table.error_name, r);
  const char* text = text_of(table.error_string, r);
  if (r == kOutOfMemory) {
    fail(Error::OutOfMemory, "CUDA error: out of memory (", name, "), in ", what,
         "; drop tensors that are not needed, or call torch.cuda.empty_cache()");
  }
  fail(Error::Runtime, "CUDA error: ", text, " (", name, "), in ", what, "; ", advice(r));
}

bool launch_blocking() {
  static const bool blocking = [] {
    const char* text = std::getenv("CUDA_LAUNCH_BLOCKING");
    return text && *text && *text != '0';
  }();
  return blocking;
}

}  // namespace taimatsu::cuda
