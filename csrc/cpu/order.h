// Ordering: keys that compare as unsigned integers, and sorting items by them.
#pragma once

#include <algorithm>
#include <type_traits>
#include <vector>

#include "cpu/elements.h"

namespace taimatsu {

// An unsigned integer with the order of the values: -0 equals 0, NaN comes after everything.
template <class T>
auto order_key(T x) {
  if constexpr (std::is_same<T, bool>::value) {
    return static_cast<uint8_t>(x);
  } else if constexpr (std::is_integral<T>::value) {
    using U = std::make_unsigned_t<T>;
    const U flip = std::is_signed<T>::value ? U(1) << (8 * sizeof(T) - 1) : U(0);
    return static_cast<U>(static_cast<U>(x) ^ flip);
  } else if constexpr (sizeof(T) == 2) {
    const uint16_t infinity = std::is_same<T, Half>::value ? 0x7c00 : 0x7f80;
    uint16_t u = x.bits;
    if ((u & 0x7fff) > infinity) return static_cast<uint16_t>(0xffff);
    if ((u & 0x7fff) == 0) u = 0;
    return static_cast<uint16_t>(u & 0x8000 ? ~u : u | 0x8000);
  } else {
    using U = std::conditional_t<sizeof(T) == 4, uint32_t, uint64_t>;
    constexpr U sign = U(1) << (8 * sizeof(T) - 1);
    if (x != x) return static_cast<U>(~U(0));
    if (x == 0) x = 0;
    U u;
    std::memcpy(&u, &x, sizeof u);
    return static_cast<U>(u & sign ? ~u : u | sign);
  }
}

// A key and where it was. Keys of up to 32 bits share one word with the position, so that a
// comparison of words is stable.
template <class Key, bool narrow = sizeof(Key) <= 4>
struct Item {
  using Word = uint64_t;
  static constexpr int key_shift = 32;
  Word word;
  Item() = default;
  Item(Key key, int64_t position) : word(Word{key} << 32 | static_cast<uint32_t>(position)) {}
  Word key() const { return word >> 32; }
  int64_t position() const { return static_cast<int64_t>(word & 0xffffffff); }
  bool operator<(const Item& o) const { return word < o.word; }
};
template <class Key>
struct Item<Key, false> {
  uint64_t word;
  int64_t at;
  Item() = default;
  Item(Key key, int64_t position) : word(key), at(position) {}
  uint64_t key() const { return word; }
  int64_t position() const { return at; }
  bool operator<(const Item& o) const { return word < o.word || (word == o.word && at < o.at); }
};

// Sorts items by key; those of equal keys stay in order. `other` is scratch of the same size; the
// result is in `items`. Least significant digit first, digits that all items share are skipped.
template <class Key>
void radix_sort(std::vector<Item<Key>>& items, std::vector<Item<Key>>& other) {
  constexpr int key_bits = 8 * sizeof(Key);
  constexpr int digits = (key_bits + 10) / 11, bits = (key_bits + digits - 1) / digits;
  constexpr uint64_t mask = (uint64_t{1} << bits) - 1;
  const size_t n = items.size();
  if (n < 256) {  // counting digits costs more
    std::sort(items.begin(), items.end());
    return;
  }
  std::vector<uint32_t> counts(static_cast<size_t>(digits) << bits, 0);
  for (const auto& item : items) {
    const uint64_t key = item.key();
    for (int d = 0; d < digits; ++d)
      ++counts[(static_cast<size_t>(d) << bits) + (key >> (d * bits) & mask)];
  }
  other.resize(n);
  for (int d = 0; d < digits; ++d) {
    uint32_t* count = counts.data() + (static_cast<size_t>(d) << bits);
    if (count[items[0].key() >> (d * bits) & mask] == n) continue;
    uint32_t sum = 0;
    for (size_t v = 0; v <= mask; ++v) sum += std::exchange(count[v], sum);
    for (const auto& item : items) other[count[item.key() >> (d * bits) & mask]++] = item;
    items.swap(other);
  }
}

}  // namespace taimatsu
