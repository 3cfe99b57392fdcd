#include "cpu/order.h"

#include <algorithm>
#include <mutex>

#include "cpu/threads.h"

#pragma GCC optimize("O3")

namespace taimatsu {
namespace {

constexpr int64_t kCached = 1 << 17;        // words that stay in the cache with their scratch
constexpr int kWideDigit = 11, kDigit = 8;  // bits

int bit_length(uint64_t x) { return x ? 64 - __builtin_clzll(x) : 0; }

const OrderRoutine& routine() {
#if defined(__x86_64__)
  static const OrderRoutine& chosen =
      __builtin_cpu_supports("avx2") ? order_avx2::routine : order_baseline::routine;
  return chosen;
#else
  return order_baseline::routine;
#endif
}

// Words by one digit, into `to`. False, and nothing done, if all have the same.
bool scatter_by_digit(const uint64_t* from, uint64_t* to, int64_t n, int shift, int bits) {
  uint32_t count[1 << kWideDigit];
  const int64_t digits = int64_t{1} << bits;
  const uint64_t mask = static_cast<uint64_t>(digits) - 1;
  std::fill_n(count, digits, 0);
  for (int64_t i = 0; i < n; ++i) ++count[from[i] >> shift & mask];
  if (count[from[0] >> shift & mask] == static_cast<uint32_t>(n)) return false;
  uint32_t sum = 0;
  for (int64_t v = 0; v < digits; ++v) sum += std::exchange(count[v], sum);
  for (int64_t i = 0; i < n; ++i) to[count[from[i] >> shift & mask]++] = from[i];
  return true;
}

// Sorts words that differ in the bits [low, high) and are in order of those below `low`. True if
// the result is in `other`. `spread`: the leading bits tell words apart as well as any would.
bool sort_range(uint64_t* words, uint64_t* other, int64_t n, int low, int high, bool spread);

// The same, the result in `words`.
void sort_in_place(uint64_t* words, uint64_t* other, int64_t n, int low, int high, bool spread) {
  if (sort_range(words, other, n, low, high, spread)) std::copy_n(other, n, words);
}

// Least significant digit first, on as many of the leading bits as it takes; what these leave is
// sorted run by run.
bool sort_cached(uint64_t* words, uint64_t* other, int64_t n, int low, int high, bool spread) {
  const int bits = high - low, widest = n < 2048 ? kDigit : kWideDigit;
  const int wanted = std::min(bits, spread ? bit_length(static_cast<uint64_t>(n)) + 6 : 32);
  const int passes = (wanted + widest - 1) / widest;
  const int each = std::min(widest, (bits + passes - 1) / passes);
  const int begin = std::max(low, high - passes * each);
  uint64_t *from = words, *to = other;
  for (int at = begin; at < high; at += each) {
    if (scatter_by_digit(from, to, n, at, std::min(each, high - at))) std::swap(from, to);
  }
  for (int64_t i = 0; begin > low && i < n;) {
    int64_t end = i + 1;
    while (end < n && from[end] >> begin == from[i] >> begin) ++end;
    if (end - i > 1) sort_in_place(from + i, to + i, end - i, low, begin, true);
    i = end;
  }
  return from != words;
}

// By the leading digit first, then each bucket. Blocks of the line are counted and scattered side
// by side: where each writes follows from the counts of all, so that the result is that of one
// thread.
bool sort_long(uint64_t* words, uint64_t* other, int64_t n, int low, int high) {
  const int digit = std::min(high - low, 10), shift = high - digit;
  const int64_t digits = int64_t{1} << digit;
  const uint64_t mask = static_cast<uint64_t>(digits) - 1;
  const int64_t blocks = std::min<int64_t>(num_threads(), n >> 14);
  const int64_t block = (n + blocks - 1) / blocks;
  std::vector<int64_t> start(static_cast<size_t>(blocks * digits));
  parallel_for(blocks, 1, 1, [&](int64_t b, int64_t end) {
    for (; b < end; ++b) {
      int64_t* count = start.data() + b * digits;
      const int64_t stop = std::min(n, (b + 1) * block);
      for (int64_t i = b * block; i < stop; ++i) ++count[words[i] >> shift & mask];
    }
  });
  std::vector<int64_t> bucket(static_cast<size_t>(digits) + 1);
  int64_t sum = 0;
  for (int64_t v = 0; v < digits; ++v) {
    bucket[v] = sum;
    for (int64_t b = 0; b < blocks; ++b) sum += std::exchange(start[b * digits + v], sum);
  }
  bucket[digits] = n;
  parallel_for(blocks, 1, 1, [&](int64_t b, int64_t end) {
    for (; b < end; ++b) {
      int64_t* at = start.data() + b * digits;
      const int64_t stop = std::min(n, (b + 1) * block);
      for (int64_t i = b * block; i < stop; ++i) other[at[words[i] >> shift & mask]++] = words[i];
    }
  });
  if (shift == low) return true;
  // Shares of about n / blocks words; a bucket is in the share in which it begins.
  parallel_for(blocks, 1, 1, [&](int64_t b, int64_t end) {
    const auto first = std::lower_bound(bucket.begin(), bucket.end() - 1, b * block);
    const auto last = std::lower_bound(bucket.begin(), bucket.end() - 1, end * block);
    for (auto it = first; it != last; ++it) {
      if (it[1] - it[0] > 1) {
        sort_in_place(other + it[0], words + it[0], it[1] - it[0], low, shift, true);
      }
    }
  });
  return true;
}

bool sort_range(uint64_t* words, uint64_t* other, int64_t n, int low, int high, bool spread) {
  if (n <= kFewWords) {
    routine().sort_few(words, n);
    return false;
  }
  if (high <= low) return false;
  if (num_threads() > 1 ? n <= kLongLine : n <= kCached || high - low <= kWideDigit) {
    return sort_cached(words, other, n, low, high, spread);
  }
  return sort_long(words, other, n, low, high);
}

}  // namespace

const KeyType& key_type(DType t) {
  if (is_complex(t) || is_float8(t)) {
    fail(Error::NotImplemented, "not implemented for '", info(t).legacy, "'");
  }
  return routine().types[static_cast<int>(t)];
}

void load_keys(const KeyType& type, const void* line, int64_t n, bool descending, uint64_t* keys) {
  in_blocks(n, [&](int64_t begin, int64_t end) {
    const char* from = static_cast<const char*>(line) + begin * type.bits / 8;
    type.load(from, end - begin, descending, keys + begin);
  });
}

KeyRange range_of_keys(const uint64_t* keys, int64_t n) {
  KeyRange all{keys[0], keys[0], true};
  std::mutex lock;
  in_blocks(n, [&](int64_t begin, int64_t end) {
    const KeyRange r = routine().range_of_keys(keys + begin, end - begin);
    const bool rises = r.sorted && (begin == 0 || keys[begin - 1] <= keys[begin]);
    std::lock_guard<std::mutex> held(lock);
    all = {std::min(all.low, r.low), std::max(all.high, r.high), all.sorted && rises};
  });
  return all;
}

int64_t next_below(const uint64_t* keys, int64_t from, int64_t n, uint64_t limit) {
  return routine().next_below(keys, from, n, limit);
}

Words make_words(uint64_t* keys, int64_t n, const KeyRange& range, bool with_positions) {
  Words w{keys, n};
  w.low = range.low;
  w.position_bits = with_positions ? bit_length(static_cast<uint64_t>(n - 1)) : 0;
  w.key_bits = bit_length(range.high - range.low);
  w.dropped = std::max(0, w.key_bits + w.position_bits - 64);
  w.key_bits -= w.dropped;
  in_blocks(n, [&](int64_t begin, int64_t end) {
    routine().pack(keys, begin, end, w.low, w.dropped, w.position_bits);
  });
  return w;
}

void sort_words(Words& w, uint64_t* other) {
  const int low = w.position_bits, high = low + w.key_bits;
  if (w.n > 1 && sort_range(w.data, other, w.n, low, high, w.spread)) w.data = other;
}

Words sort_line(const KeyType& type, const void* line, int64_t n, bool descending, uint64_t* keys,
                uint64_t* other) {
  load_keys(type, line, n, descending, keys);
  const KeyRange range = range_of_keys(keys, n);
  Words w = make_words(keys, n, range);
  if (range.sorted) return w;
  w.spread = type.nan == 0;  // floating numbers cluster around powers of 2
  sort_words(w, other);
  if (w.dropped == 0) return w;
  std::vector<std::pair<uint64_t, uint64_t>> run;
  for (int64_t i = 0; i < n;) {
    int64_t end = i + 1;
    while (end < n && w.group(end) == w.group(i)) ++end;
    if (end - i > 1) {
      run.clear();
      for (int64_t k = i; k < end; ++k) {
        run.emplace_back(key_at(type, line, w.position(k), descending), w.data[k]);
      }
      std::sort(run.begin(), run.end());
      for (int64_t k = i; k < end; ++k) w.data[k] = run[static_cast<size_t>(k - i)].second;
    }
    i = end;
  }
  return w;
}

Selected select_key(const uint64_t* keys, int64_t n, int64_t k, const KeyRange& range,
                    uint64_t* scratch) {
  uint64_t low = range.low;
  int bits = bit_length(range.high - range.low);
  int64_t less = 0;
  const uint64_t* from = keys;
  while (n > 256 && bits > 0) {  // the part of the keys whose leading digit is that of the k-th
    const int digit = std::min(bits, n < 4096 ? kDigit : kWideDigit), shift = bits - digit;
    uint32_t count[1 << kWideDigit];
    std::fill_n(count, int64_t{1} << digit, 0);
    for (int64_t i = 0; i < n; ++i) ++count[(from[i] - low) >> shift];
    uint64_t v = 0;
    for (; less + count[v] <= k; ++v) less += count[v];
    int64_t left = 0;
    for (int64_t i = 0; i < n; ++i) {
      scratch[left] = from[i];
      left += (from[i] - low) >> shift == v;
    }
    low += v << shift;
    bits = shift;
    from = scratch;
    n = left;
  }
  if (bits == 0) return {low, less};
  if (from != scratch) std::copy_n(from, n, scratch);
  uint64_t* kth = scratch + (k - less);
  std::nth_element(scratch, kth, scratch + n);
  for (int64_t i = 0; i < n; ++i) less += scratch[i] < *kth;
  return {*kth, less};
}

template <class Index>
void search_keys(const uint64_t* keys, int64_t n, const uint64_t* values, int64_t count, bool right,
                 Index* to) {
  constexpr int kAtOnce = 8;  // searches that wait for memory together
  for (int64_t i = 0; i < count; i += kAtOnce) {
    const int m = static_cast<int>(std::min<int64_t>(kAtOnce, count - i));
    uint64_t v[kAtOnce];
    const uint64_t* at[kAtOnce];
    for (int j = 0; j < kAtOnce; ++j) {
      v[j] = j < m ? values[i + j] : 0;
      at[j] = keys;
    }
    int64_t left = n;
    if (right) {
      for (; left > 1; left -= left / 2) {
        const int64_t half = left / 2;
        for (int j = 0; j < kAtOnce; ++j)
          at[j] += half & -static_cast<int64_t>(at[j][half - 1] <= v[j]);
      }
      for (int j = 0; j < m; ++j)
        to[i + j] = static_cast<Index>(at[j] - keys + (n && *at[j] <= v[j]));
    } else {
      for (; left > 1; left -= left / 2) {
        const int64_t half = left / 2;
        for (int j = 0; j < kAtOnce; ++j)
          at[j] += half & -static_cast<int64_t>(at[j][half - 1] < v[j]);
      }
      for (int j = 0; j < m; ++j)
        to[i + j] = static_cast<Index>(at[j] - keys + (n && *at[j] < v[j]));
    }
  }
}
template void search_keys(const uint64_t*, int64_t, const uint64_t*, int64_t, bool, int32_t*);
template void search_keys(const uint64_t*, int64_t, const uint64_t*, int64_t, bool, int64_t*);

}  // namespace taimatsu
