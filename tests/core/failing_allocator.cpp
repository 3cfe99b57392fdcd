// An allocator in which the n-th request fails, for the thread that asked for it. It is preloaded.
#include <dlfcn.h>
#include <sys/mman.h>

#include <cerrno>
#include <cstdlib>
#include <new>

static thread_local long left = -1, seen = 0;

extern "C" void fail_at(long n) {
  left = n;
  seen = 0;
}
extern "C" long stop_failing() {
  left = -1;
  return seen;
}
static bool fails() {
  if (left < 0) return false;
  ++seen;
  return left-- == 0;
}

extern "C" int posix_memalign(void** p, size_t alignment, size_t bytes) noexcept {
  using Function = int (*)(void**, size_t, size_t);
  static const auto real = reinterpret_cast<Function>(dlsym(RTLD_NEXT, "posix_memalign"));
  return fails() ? ENOMEM : real(p, alignment, bytes);
}
void* operator new(size_t bytes) {
  void* p = fails() ? nullptr : std::malloc(bytes ? bytes : 1);
  if (!p) throw std::bad_alloc();
  return p;
}
void* operator new[](size_t bytes) { return operator new(bytes); }
void operator delete(void* p) noexcept { std::free(p); }
void operator delete[](void* p) noexcept { std::free(p); }
void operator delete(void* p, size_t) noexcept { std::free(p); }
void operator delete[](void* p, size_t) noexcept { std::free(p); }
