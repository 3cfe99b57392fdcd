// Stacks of freed blocks, for the objects that come and go with every call. GIL held.
#pragma once

#include <cstddef>

namespace taimatsu {

#if TM_SANITIZE
constexpr bool kFreeLists = false;  // a block that is kept hides its use after free
#else
constexpr bool kFreeLists = true;
#endif

// The link lies in the freed block, `offset` bytes in (an object's header may have to survive).
template <size_t offset = 0>
class FreeList {
 public:
  // Takes a block; null if there is none.
  void* pop() {
    void* block = head_;
    if (block) {
      head_ = next(block);
      --size_;
    }
    return block;
  }
  void push(void* block) {
    next(block) = head_;
    head_ = block;
    ++size_;
  }
  int size() const { return size_; }

 private:
  static void*& next(void* block) {
    return *reinterpret_cast<void**>(static_cast<char*>(block) + offset);
  }
  void* head_ = nullptr;
  int size_ = 0;
};

}  // namespace taimatsu
