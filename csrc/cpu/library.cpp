#include "cpu/library.h"

#include <dlfcn.h>

#include <cstdlib>
#include <optional>
#include <string>

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

// A variable of the environment as "1" while this lives.
class SetToOne {
 public:
  explicit SetToOne(const char* name) : name_(name) {
    if (!name) return;
    if (const char* was = std::getenv(name)) was_ = was;
    setenv(name, "1", 1);
  }
  ~SetToOne() {
    if (!name_) return;
    if (was_) {
      setenv(name_, was_->c_str(), 1);
    } else {
      unsetenv(name_);
    }
  }
  SetToOne(const SetToOne&) = delete;

 private:
  const char* name_;
  std::optional<std::string> was_;
};

}  // namespace

void* Library::symbol(const char* name) {
  std::lock_guard<std::recursive_mutex> lock(loading_);
  if (!handle_) {
    {
      SetToOne threads(threads_);
      handle_ = dlopen((directory() + file_).c_str(), RTLD_LAZY | RTLD_LOCAL);
    }
    if (!handle_) fail(Error::Runtime, "can't load ", file_, ": ", dlerror());
    if (ready_) ready_();
  }
  void* found = dlsym(handle_, name);
  if (!found) fail(Error::Runtime, file_, " has no function ", name);
  return found;
}

}  // namespace taimatsu
