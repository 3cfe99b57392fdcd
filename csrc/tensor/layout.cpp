#include "tensor/layout.h"

#include <algorithm>
#include <cstdlib>
#include <new>

#include "tensor/freelist.h"
#include "tensor/iterate.h"

namespace taimatsu {

namespace {

// ---- The table of layouts -----------------------------------------------------------------------
// Open addressing with linear probing. A layout without references stays in the table ("idle"), as
// the next call is likely to ask for it again; when kMaxIdle of them have gathered, all are freed.

constexpr uint32_t kMaxIdle = kFreeLists ? 8192 : 0;

struct Slot {
  uint32_t hash;
  Layout* layout;  // null: empty
};

struct Table {
  Slot* slots = nullptr;
  uint32_t capacity = 0;  // a power of two
  uint32_t used = 0;
  uint32_t idle = 0;
  uint32_t next_id = 0;
  std::vector<uint32_t> free_ids;
};
Table table;

// The contiguous layout that sizes with this hash had last: no strides to compute or compare.
constexpr uint32_t kContiguousCache = 1024;
Layout* contiguous_cache[kContiguousCache];

uint64_t mix(uint64_t h, uint64_t v) {
  h = (h ^ v) * 0x9e3779b97f4a7c15u;
  return h ^ (h >> 32);
}

uint64_t hash_ints(uint64_t h, const int64_t* p, int64_t n) {
  for (int64_t i = 0; i < n; ++i) h = mix(h, static_cast<uint64_t>(p[i]));
  return h;
}

bool equal_ints(const int64_t* a, const int64_t* b, int64_t n) {
  for (int64_t i = 0; i < n; ++i) {  // few: memcmp's call costs more
    if (a[i] != b[i]) return false;
  }
  return true;
}

void insert(Slot slot) {
  uint32_t i = slot.hash & (table.capacity - 1);
  while (table.slots[i].layout) i = (i + 1) & (table.capacity - 1);
  table.slots[i] = slot;
}

void rehash(uint32_t capacity) {
  Slot* old = table.slots;
  uint32_t n = table.capacity;
  table.slots = static_cast<Slot*>(std::calloc(capacity, sizeof(Slot)));
  if (!table.slots) {
    table.slots = old;
    throw std::bad_alloc();
  }
  table.capacity = capacity;
  for (uint32_t i = 0; i < n; ++i) {
    if (old[i].layout) insert(old[i]);
  }
  std::free(old);
}

void free_idle() {
  std::memset(contiguous_cache, 0, sizeof contiguous_cache);
  for (uint32_t i = 0; i < table.capacity; ++i) {
    Layout* l = table.slots[i].layout;
    if (!l || l->refs != 0) continue;
    table.slots[i].layout = nullptr;
    table.free_ids.push_back(l->id);
    std::free(l);
    --table.used;
  }
  table.idle = 0;
  rehash(table.capacity);  // closes the gaps in the probe sequences
}

LayoutRef acquire(Layout* l) {
  if (l->refs++ == 0) --table.idle;
  return LayoutRef::steal(l);
}

// ---- What is known of a layout ------------------------------------------------------------------

int64_t multiply(int64_t a, int64_t b, Ints sizes) {
  int64_t product;
  if (__builtin_mul_overflow(a, b, &product)) {
    fail(Error::Runtime, "Storage size calculation overflowed with sizes=", format(sizes));
  }
  return product;
}

// Without gaps when the dims are walked in `order`, innermost first. Where `dims` of size 1 lie
// doesn't matter.
template <class Order>
bool packed(Ints sizes, Ints strides, const Order& order) {
  int64_t expected = 1;
  for (int d : order) {
    if (sizes[d] == 1) continue;
    if (strides[d] != expected) return false;
    expected *= sizes[d];
  }
  return true;
}

bool is_contiguous(const Layout& l) {
  if (l.numel == 0) return true;
  int64_t expected = 1;
  for (int d = l.ndim - 1; d >= 0; --d) {
    if (l.size(d) == 1) continue;
    if (l.stride(d) != expected) return false;
    expected *= l.size(d);
  }
  return true;
}

constexpr int kChannelsLast2d[] = {1, 3, 2, 0};
constexpr int kChannelsLast3d[] = {1, 4, 3, 2, 0};

bool is_channels_last(const Layout& l) {
  if (l.ndim == 4) return packed(l.sizes(), l.strides(), kChannelsLast2d);
  if (l.ndim == 5) return packed(l.sizes(), l.strides(), kChannelsLast3d);
  return false;
}

bool is_dense(const Layout& l) {
  int order[kMaxDims], n = 0;
  for (int d = 0; d < l.ndim; ++d) {
    if (l.size(d) >= 2) order[n++] = d;
  }
  std::sort(order, order + n, [&](int a, int b) { return l.stride(a) < l.stride(b); });
  return packed(l.sizes(), l.strides(), Span<int>(order, n));
}

Layout* make_layout(uint32_t hash, Ints sizes, Ints strides, int64_t offset) {
  if (sizes.size > kMaxDims) {
    fail(Error::Runtime, "tensors have at most ", kMaxDims, " dimensions; got ", sizes.size);
  }
  for (int64_t s : sizes) {
    if (s < 0) {
      fail(Error::Runtime, "Trying to create tensor with negative dimension ", s, ": ",
           format(sizes));
    }
  }
  int64_t numel = numel_of(sizes);
  int ndim = static_cast<int>(sizes.size);
  void* memory = std::malloc(sizeof(Layout) + 2 * sizeof(int64_t) * ndim);
  if (!memory) throw std::bad_alloc();
  Layout* l = new (memory) Layout;
  l->hash = hash;
  l->ndim = static_cast<int16_t>(ndim);
  l->offset = offset;
  l->numel = numel;
  std::copy(sizes.begin(), sizes.end(), l->dims);
  std::copy(strides.begin(), strides.end(), l->dims + ndim);
  l->contiguous = is_contiguous(*l);
  l->channels_last = is_channels_last(*l);
  l->dense = l->contiguous || l->channels_last || is_dense(*l);
  return l;
}

LayoutRef add(uint32_t hash, Ints sizes, Ints strides, int64_t offset) {
  if (table.idle > kMaxIdle) free_idle();
  if (2 * (table.used + 1) > table.capacity) rehash(table.capacity ? 2 * table.capacity : 1024);
  Layout* l = make_layout(hash, sizes, strides, offset);
  if (table.free_ids.empty()) {
    l->id = table.next_id++;
  } else {
    l->id = table.free_ids.back();
    table.free_ids.pop_back();
  }
  insert({hash, l});
  ++table.used;
  l->refs = 1;
  return LayoutRef::steal(l);
}

// Row-major strides in `order`, innermost first. A size of 0 counts as 1.
template <class Order>
void pack(Ints sizes, const Order& order, int64_t* strides) {
  int64_t next = 1;
  for (int d : order) {
    strides[d] = next;
    if (sizes[d] > 1) next = multiply(next, sizes[d], sizes);
  }
}

}  // namespace

void free_layout(const Layout*) { ++table.idle; }

LayoutRef intern(Ints sizes, Ints strides, int64_t offset) {
  uint64_t h = hash_ints(static_cast<uint64_t>(sizes.size), sizes.data, sizes.size);
  uint32_t hash = static_cast<uint32_t>(mix(hash_ints(h, strides.data, strides.size), offset));
  if (table.capacity) {
    uint32_t mask = table.capacity - 1;
    for (uint32_t i = hash & mask; Layout* l = table.slots[i].layout; i = (i + 1) & mask) {
      if (table.slots[i].hash == hash && l->ndim == sizes.size && l->offset == offset &&
          equal_ints(l->size_data(), sizes.data, l->ndim) &&
          equal_ints(l->stride_data(), strides.data, l->ndim)) {
        return acquire(l);
      }
    }
  }
  return add(hash, sizes, strides, offset);
}

LayoutRef contiguous_layout(Ints sizes) {
  uint64_t h = hash_ints(static_cast<uint64_t>(sizes.size), sizes.data, sizes.size);
  Layout*& cached = contiguous_cache[h % kContiguousCache];
  if (cached && cached->ndim == sizes.size &&
      equal_ints(cached->size_data(), sizes.data, sizes.size)) {
    return acquire(cached);
  }
  if (sizes.size > kMaxDims) return add(0, sizes, sizes, 0);  // which says what is wrong
  int64_t strides[kMaxDims], next = 1;
  for (int64_t d = sizes.size - 1; d >= 0; --d) {
    strides[d] = next;
    if (sizes[d] > 1) next = multiply(next, sizes[d], sizes);
  }
  LayoutRef l = intern(sizes, {strides, sizes.size});
  if (kMaxIdle) cached = const_cast<Layout*>(l.get());
  return l;
}

LayoutRef channels_last_layout(Ints sizes) {
  int64_t strides[5];
  if (sizes.size == 4) {
    pack(sizes, kChannelsLast2d, strides);
  } else if (sizes.size == 5) {
    pack(sizes, kChannelsLast3d, strides);
  } else {
    fail(Error::Runtime, "channels_last needs 4 dimensions, channels_last_3d needs 5; got ",
         sizes.size, " dimensions, sizes ", format(sizes));
  }
  return intern(sizes, {strides, sizes.size});
}

LayoutRef packed_layout(Ints sizes, Span<int> order) {
  int64_t strides[kMaxDims];
  pack(sizes, order, strides);
  return intern(sizes, {strides, sizes.size});
}

LayoutRef dense_layout_like(const Layout& l) {
  if (l.dense) return l.offset == 0 ? LayoutRef(&l) : intern(l.sizes(), l.strides());
  int order[kMaxDims];
  const int64_t* strides = l.stride_data();
  memory_order(l.sizes(), {&strides, 1}, order);
  return packed_layout(l.sizes(), {order, l.ndim});
}

LayoutRef scalar_layout() {
  static const LayoutRef* scalar = new LayoutRef(intern({}, {}));  // outlives every tensor
  return *scalar;
}

LayoutRef checked_layout(Ints sizes, Ints strides, int64_t offset, const char* function) {
  if (sizes.size != strides.size) {
    fail(Error::Runtime, function, ": mismatch in length of strides and shape; got size ",
         format(sizes), ", stride ", format(strides));
  }
  bool valid = offset >= 0 && sizes.size <= kMaxDims;
  for (int64_t i = 0; i < sizes.size; ++i) valid = valid && sizes[i] >= 0 && strides[i] >= 0;
  if (!valid) {
    fail(Error::Runtime, function,
         ": sizes, strides and the offset must be at least 0, and dims at "
         "most ",
         kMaxDims, "; got size ", format(sizes), ", stride ", format(strides), ", offset ", offset);
  }
  return intern(sizes, strides, offset);
}

std::pair<int64_t, int64_t> reach(const Layout& l) {
  if (l.numel == 0) return {0, -1};
  int64_t first = l.offset, last = l.offset;
  for (int d = 0; d < l.ndim; ++d) {
    int64_t span;
    if (__builtin_mul_overflow(l.size(d) - 1, l.stride(d), &span) ||
        __builtin_add_overflow(span < 0 ? first : last, span, span < 0 ? &first : &last)) {
      fail(Error::Runtime, "Storage size calculation overflowed with sizes=", format(l.sizes()),
           " and strides=", format(l.strides()));
    }
  }
  return {first, last};
}

// ---- Overlap ------------------------------------------------------------------------------------

namespace {

// Is sum_i d[i] * stride[i] = target possible with |d[i]| < size[i]? Dims from the largest stride
// to the smallest, so what is left must be within `rest`, the reach of the dims that follow.
// `budget` bounds the work; running out of it counts as yes.
bool meets(Span<std::pair<int64_t, int64_t>> dims, int64_t target, int64_t rest, int& budget) {
  if (target == 0 && dims.size == 0) return true;
  if (dims.size == 0) return false;
  if (target == 0) return true;  // all remaining differences 0
  auto [stride, size] = dims[0];
  rest -= stride * (size - 1);
  int64_t nearest = std::clamp(target / stride, 1 - size, size - 1);
  for (int64_t side : {-1, 1}) {
    for (int64_t d = side < 0 ? nearest : nearest + 1; d > -size && d < size; d += side) {
      if (--budget < 0) return true;
      int64_t left = target - d * stride;
      if (left > rest || left < -rest) {
        if (d != nearest) break;
        continue;
      }
      if (meets({dims.data + 1, dims.size - 1}, left, rest, budget)) return true;
    }
  }
  return false;
}

}  // namespace

bool overlaps_itself(const Layout& l) {
  if (l.dense || l.numel <= 1) return false;
  std::vector<std::pair<int64_t, int64_t>> dims;  // (stride, size), largest stride first
  for (int d = 0; d < l.ndim; ++d) {
    if (l.size(d) == 1) continue;
    if (l.stride(d) == 0) return true;
    dims.emplace_back(std::abs(l.stride(d)), l.size(d));
  }
  std::sort(dims.rbegin(), dims.rend());
  // Usual: each stride steps over all that lies below it.
  int64_t below = 0;
  bool nested = true;
  for (size_t i = dims.size(); i-- > 0;) {
    if (dims[i].first <= below) nested = false;
    below += dims[i].first * (dims[i].second - 1);
  }
  if (nested) return false;
  // Two elements meet where a difference of indices that isn't zero moves by zero. Say the first
  // dim in which it isn't zero is i, with difference d > 0.
  int budget = 10000;
  for (size_t i = 0; i < dims.size(); ++i) {
    int64_t rest = 0;
    Span<std::pair<int64_t, int64_t>> inner(dims.data() + i + 1,
                                            static_cast<int64_t>(dims.size() - i - 1));
    for (auto [stride, size] : inner) rest += stride * (size - 1);
    for (int64_t d = 1; d < dims[i].second && d * dims[i].first <= rest; ++d) {
      if (--budget < 0 || meets(inner, d * dims[i].first, rest, budget)) return true;
    }
  }
  return false;
}

// ---- Shapes -------------------------------------------------------------------------------------

int64_t wrap_dim(int64_t dim, int64_t ndim, bool scalar_has_one) {
  int64_t n = ndim;
  if (n == 0) {
    if (!scalar_has_one) {
      fail(Error::Index, "Dimension specified as ", dim, " but tensor has no dimensions");
    }
    n = 1;
  }
  if (dim < -n || dim >= n) {
    fail(Error::Index, "Dimension out of range (expected to be in range of [", -n, ", ", n - 1,
         "], but got ", dim, ")");
  }
  return dim < 0 ? dim + n : dim;
}

int64_t numel_of(Ints sizes) {
  for (int64_t s : sizes) {
    if (s == 0) return 0;
  }
  int64_t n = 1;
  for (int64_t s : sizes) n = multiply(n, s, sizes);
  return n;
}

void broadcast_into(std::vector<int64_t>& sizes, Ints other) {
  int64_t n = static_cast<int64_t>(sizes.size());
  if (other.size > n) {
    sizes.insert(sizes.begin(), other.begin(), other.begin() + (other.size - n));
    n = other.size;
  }
  for (int64_t d = n - 1, o = other.size - 1; o >= 0; --d, --o) {
    if (sizes[d] == other[o] || other[o] == 1) continue;
    if (sizes[d] != 1) {
      fail(Error::Runtime, "The size of tensor a (", sizes[d],
           ") must match the size of tensor b (", other[o], ") at non-singleton dimension ", d);
    }
    sizes[d] = other[o];
  }
}

bool is_expandable(Ints from, Ints to) {
  if (from.size > to.size) return false;
  for (int64_t f = from.size - 1, t = to.size - 1; f >= 0; --f, --t) {
    if (from[f] != to[t] && from[f] != 1) return false;
  }
  return true;
}

std::string format(Ints ints) {
  std::string text = "[";
  for (int64_t i = 0; i < ints.size; ++i) {
    if (i) text += ", ";
    text += std::to_string(ints[i]);
  }
  return text + "]";
}

}  // namespace taimatsu
