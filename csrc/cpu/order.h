// Ordering: every real dtype as unsigned keys, and sorting, selecting and searching of those.
//
// A line of a tensor is loaded as 64-bit keys whatever its dtype, so that one routine each sorts,
// selects and searches. To be sorted, a key and its position share one word: the key less the
// smallest of the line stands above the position. Comparing words is then stable, and moving a word
// moves both. What can be vectors is in order_kernel.inc, compiled for more than one instruction
// set.
#pragma once

#include <cstdint>

#include "cpu/threads.h"
#include "tensor/dtype.h"

namespace taimatsu {

// The keys of one dtype: -0 equals 0, NaN comes after everything.
struct KeyType {
  int bits;
  uint64_t nan;  // the key of NaN; 0 for dtypes that have none
  // keys[i] = the key of line[i], upside down if `descending`.
  void (*load)(const void* line, int64_t n, bool descending, uint64_t* keys);
  // to[i] = the element that words[i] of `w` stands for, begin <= i < end, if no bits were dropped.
  // Where a key is that of several elements (NaNs, zeros), it is copied from the line.
  void (*store)(const struct Words& w, int64_t begin, int64_t end, bool descending,
                const void* line, void* to);
};
const KeyType& key_type(DType t);  // NotImplementedError for complex dtypes
inline uint64_t key_at(const KeyType& type, const void* line, int64_t position, bool descending) {
  uint64_t key;
  type.load(static_cast<const char*>(line) + position * type.bits / 8, 1, descending, &key);
  return key;
}

// Above this length threads work on a line together. They do so in every step or in none: a thread
// that sleeps through long steps between short ones costs more than it saves.
constexpr int64_t kLongLine = 1 << 16;
template <class F>
void in_blocks(int64_t n, const F& body) {
  parallel_for(n, n > kLongLine ? 1 << 14 : n, 1024, body);
}

void load_keys(const KeyType& type, const void* line, int64_t n, bool descending, uint64_t* keys);
// The least and greatest of n > 0 keys, and whether they rise.
struct KeyRange {
  uint64_t low, high;
  bool sorted;
};
KeyRange range_of_keys(const uint64_t* keys, int64_t n);
// The first i >= from with keys[i] < limit, or n.
int64_t next_below(const uint64_t* keys, int64_t from, int64_t n, uint64_t limit);

// n keys of a line, as words. Where both don't fit into 64 bits, the last bits of keys are missing.
struct Words {
  uint64_t* data;
  int64_t n;
  uint64_t low = 0;
  int position_bits = 0, key_bits = 0;
  int dropped = 0;
  bool spread = true;  // the leading bits of keys tell them apart

  uint64_t mask() const { return (uint64_t{1} << position_bits) - 1; }
  int64_t position(int64_t i) const { return static_cast<int64_t>(data[i] & mask()); }
  uint64_t group(int64_t i) const { return data[i] >> position_bits; }  // equal for equal keys
};
// Makes keys words, in place; without positions (which are 0 then) if not `with_positions`.
Words make_words(uint64_t* keys, int64_t n, const KeyRange& range, bool with_positions = true);
// Sorts words; `other` is scratch of n words, which `words.data` may be afterwards, and the other
// way round. The same for any number of threads.
void sort_words(Words& words, uint64_t* other);
// Loads a line as words and sorts them, by the whole key even where bits of it were dropped.
Words sort_line(const KeyType& type, const void* line, int64_t n, bool descending, uint64_t* keys,
                uint64_t* other);

// The k-th least of n keys (k from 0), and how many are less. `scratch`: n words.
struct Selected {
  uint64_t key;
  int64_t less;
};
Selected select_key(const uint64_t* keys, int64_t n, int64_t k, const KeyRange& range,
                    uint64_t* scratch);

// For one instruction set; the functions are those of the same names above.
struct OrderRoutine {
  KeyType types[kDTypes];
  KeyRange (*range_of_keys)(const uint64_t*, int64_t);
  int64_t (*next_below)(const uint64_t*, int64_t, int64_t, uint64_t);
  void (*pack)(uint64_t* keys, int64_t begin, int64_t end, uint64_t low, int dropped,
               int position_bits);
  void (*sort_few)(uint64_t* words, int64_t n);  // at most kFewWords, by a sorting network
};
constexpr int64_t kFewWords = 32;
namespace order_baseline {
extern const OrderRoutine routine;
}
namespace order_avx2 {
extern const OrderRoutine routine;
}

// to[i] = how many of n rising keys are less than (`right`: less than or equal to) values[i].
template <class Index>
void search_keys(const uint64_t* keys, int64_t n, const uint64_t* values, int64_t count, bool right,
                 Index* to);

}  // namespace taimatsu
