#include "cuda/allocator.h"

namespace taimatsu::cuda {

void* allocate(int device, size_t bytes) {
  enter(device);
  Address a = 0;
  check(driver().memory_allocate(&a, bytes), "cuMemAlloc");
  return reinterpret_cast<void*>(a);
}

void deallocate(void* p) {
  if (started() && !finished()) driver().memory_free(reinterpret_cast<Address>(p));
}

}  // namespace taimatsu::cuda
