// Layouts: offset, sizes and strides, interned and immutable.
//
// Equal layouts are one object while any reference to it lives, so a pointer compares them, stands
// for them in a cache key, and a recorded call mentions them by `id`. Strides and offset count
// elements.
#pragma once

#include "base.h"

namespace taimatsu {

constexpr int kMaxDims = 64;

struct Layout : Counted {
  uint32_t hash;
  uint32_t id;  // unique among the living
  int16_t ndim;
  bool contiguous;  // row-major without gaps, offset apart
  bool dense;       // non-overlapping and dense in some order of the dims
  bool channels_last;
  int64_t offset;
  int64_t numel;
  int64_t dims[];  // ndim sizes, then ndim strides

  const int64_t* size_data() const { return dims; }
  const int64_t* stride_data() const { return dims + ndim; }
  Ints sizes() const { return {dims, ndim}; }
  Ints strides() const { return {dims + ndim, ndim}; }
  int64_t size(int d) const { return dims[d]; }
  int64_t stride(int d) const { return dims[ndim + d]; }
};

using LayoutRef = Ref<const Layout>;
inline void retain(const Layout* l) { ++const_cast<Layout*>(l)->refs; }
void free_layout(const Layout* l);
inline void release(const Layout* l) {
  if (--const_cast<Layout*>(l)->refs == 0) free_layout(l);
}

LayoutRef intern(Ints sizes, Ints strides, int64_t offset = 0);
// Of numbers that a user gave: RuntimeError where they are negative or differ in count.
LayoutRef checked_layout(Ints sizes, Ints strides, int64_t offset, const char* function);
LayoutRef contiguous_layout(Ints sizes);     // row-major, offset 0; sizes must be >= 0
LayoutRef channels_last_layout(Ints sizes);  // 4 or 5 dims
LayoutRef packed_layout(Ints sizes,
                        Span<int> order);      // without gaps; order[0] is the innermost dim
LayoutRef dense_layout_like(const Layout& l);  // preserve_format: l's order of dims, without gaps
LayoutRef scalar_layout();                     // no dims, offset 0

// The elements that the layout reaches: [first, last], offset included; {0, -1} when empty.
std::pair<int64_t, int64_t> reach(const Layout& l);
// Two elements of the tensor may be the same memory (an expanded dim, overlapping windows).
bool overlaps_itself(const Layout& l);

int64_t wrap_dim(int64_t dim, int64_t ndim,
                 bool scalar_has_one = true);  // IndexError like PyTorch's
int64_t numel_of(Ints sizes);                  // throws on overflow

// Arithmetic of strides and offsets. Those of a dim of one, or of a tensor without elements, lead
// nowhere: they may be anything, and wrap.
inline int64_t wrapping_mul(int64_t a, int64_t b) {
  return static_cast<int64_t>(static_cast<uint64_t>(a) * static_cast<uint64_t>(b));
}
inline int64_t wrapping_add(int64_t a, int64_t b) {
  return static_cast<int64_t>(static_cast<uint64_t>(a) + static_cast<uint64_t>(b));
}

// Shape algebra; the op's name is put in front of errors by the op call.
void broadcast_into(std::vector<int64_t>& sizes, Ints other);  // widens `sizes`, or RuntimeError
bool is_expandable(Ints from, Ints to);

}  // namespace taimatsu
