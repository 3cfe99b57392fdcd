#include "cpu/library.h"

#include <dlfcn.h>

#include "base.h"

namespace taimatsu {
namespace {

// The directory of this module, with a slash at the end.
std::string directory() {
  Dl_info here;
  if (!dladdr(reinterpret_cast<void*>(&directory), &here) || !here.dli_fname) return {};
  const std::string path = here.dli_fname;
  return path.substr(0, path.rfind('/') + 1);
}

}  // namespace

void* Library::symbol(const char* name) {
  std::lock_guard<std::recursive_mutex> lock(loading_);
  if (!handle_) {
    handle_ = dlopen((directory() + file_).c_str(), RTLD_LAZY | RTLD_LOCAL);
    if (!handle_) fail(Error::Runtime, "can't load ", file_, ": ", dlerror());
    if (ready_) ready_();
  }
  void* found = dlsym(handle_, name);
  if (!found) fail(Error::Runtime, file_, " has no function ", name);
  return found;
}

}  // namespace taimatsu
