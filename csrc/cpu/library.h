// Shared libraries that travel beside the module and are loaded when one of their functions is
// first called: most programs never need them, and loading takes milliseconds and megabytes.
#pragma once

#include <atomic>
#include <mutex>

namespace taimatsu {

class Library {
 public:
  // `file` lies beside the module; `ready` runs once, when the library has been loaded. `threads`
  // is the variable of the environment that says how many threads it starts by being loaded: none.
  explicit Library(const char* file, void (*ready)() = nullptr, const char* threads = nullptr)
      : file_(file), ready_(ready), threads_(threads) {}
  void* symbol(const char* name);  // RuntimeError if the library or the symbol is not there

 private:
  const char* file_;
  void (*ready_)();
  const char* threads_;
  std::recursive_mutex loading_;  // `ready` calls functions of the library
  void* handle_ = nullptr;
};

// A function of a library, called like any other.
template <class Signature>
class LateFunction;
template <class R, class... Args>
class LateFunction<R(Args...)> {
 public:
  constexpr LateFunction(Library& library, const char* name) : library_(library), name_(name) {}
  R operator()(Args... args) const {
    auto* function = reinterpret_cast<R (*)(Args...)>(address_.load(std::memory_order_acquire));
    if (!function) {
      address_.store(library_.symbol(name_), std::memory_order_release);
      return (*this)(args...);
    }
    return function(args...);
  }

 private:
  Library& library_;
  const char* name_;
  mutable std::atomic<void*> address_{nullptr};
};

}  // namespace taimatsu
