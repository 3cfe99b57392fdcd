#include "cuda/host.h"

namespace taimatsu::cuda {

bool is_pinned(const void*) { return false; }
void record_use(const void*, int, StreamHandle) {}

}  // namespace taimatsu::cuda
