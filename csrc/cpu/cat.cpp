// cat, and what native routines share.
#ifdef __SSE2__
#include <emmintrin.h>
#endif

#include <algorithm>
#include <limits>

#include "cpu/elements.h"
#include "cpu/native.h"
#include "cpu/threads.h"

namespace taimatsu {

Lines::Lines(const Tensor& t, int64_t dim) {
  const Layout& l = *t.layout;
  length = l.ndim ? l.size(static_cast<int>(dim)) : 1;
  stride = l.ndim ? l.stride(static_cast<int>(dim)) : 1;
  count = 1;
  at.push_back(0);
  std::vector<int64_t> next;
  for (int d = 0; d < l.ndim; ++d) {
    if (d == dim) continue;
    count *= l.size(d);
    next.clear();
    next.reserve(at.size() * static_cast<size_t>(l.size(d)));
    for (int64_t base : at) {
      for (int64_t i = 0; i < l.size(d); ++i) next.push_back(base + i * l.stride(d));
    }
    at.swap(next);
  }
}

namespace {

template <class T>
void range_of(Tensor& t, int64_t& least, int64_t& greatest) {
  TensorRef kept = contiguous(t);
  const T* p = kept->as<T>();
  T low = std::numeric_limits<T>::max(), high = std::numeric_limits<T>::lowest();
  for (int64_t i = 0, n = t.numel(); i < n; ++i) {
    low = std::min(low, p[i]);
    high = std::max(high, p[i]);
  }
  least = static_cast<int64_t>(low);
  greatest = static_cast<int64_t>(high);
}

}  // namespace

void check_index_range(const Tensor& index, int64_t lo, int64_t hi, int64_t dim) {
  if (index.numel() == 0 || index.device().type == DeviceType::Meta) return;
  auto& t = const_cast<Tensor&>(index);
  int64_t least, greatest;
  switch (index.dtype) {
    case DType::I64: range_of<int64_t>(t, least, greatest); break;
    case DType::I32: range_of<int32_t>(t, least, greatest); break;
    case DType::I16: range_of<int16_t>(t, least, greatest); break;
    case DType::I8: range_of<int8_t>(t, least, greatest); break;
    case DType::U8: range_of<uint8_t>(t, least, greatest); break;
    default:
      fail(Error::Index, "tensors used as indices must be of an integer dtype; got ",
           info(index.dtype).name);
  }
  if (least < lo || greatest >= hi) {
    fail(Error::Index, "index ", least < lo ? least : greatest, " is out of bounds for dimension ",
         dim, " with size ", hi);
  }
}

namespace {

// Empty vectors are skipped, whatever the other tensors' sizes.
bool skipped(const Tensor& t) { return t.ndim() == 1 && t.numel() == 0; }

const Tensor& pattern(const Value& list) {
  for (int64_t i = 0; i < list.tensors.size; ++i) {
    if (!skipped(*list.tensors.data[i])) return *list.tensors.data[i];
  }
  return *list.tensors.data[0];
}

void infer_cat(Call& c) {
  const Value& list = c.args[0];
  if (list.tensors.size == 0) fail(Error::Value, "expected a non-empty list of Tensors");
  const Tensor& first = pattern(list);
  Promotion promotion;
  bool channels_last = true;
  for (int64_t i = 0; i < list.tensors.size; ++i) {
    const Tensor& t = *list.tensors.data[i];
    if (t.ndim() == 0) {
      fail(Error::Runtime, "zero-dimensional tensor (at position ", i,
           ") cannot be concatenated; "
           "unsqueeze(0) it, or use stack");
    }
    promotion.tensor(t.dtype, false);
    channels_last &= t.layout->channels_last && !t.layout->contiguous;
  }
  const int dim = static_cast<int>(wrap_dim(c.args[1].to_int(), first.ndim()));
  std::vector<int64_t> sizes = to_vector(first.sizes());
  sizes[dim] = 0;
  for (int64_t i = 0; i < list.tensors.size; ++i) {
    const Tensor& t = *list.tensors.data[i];
    if (skipped(t)) continue;
    if (t.ndim() != first.ndim()) {
      fail(Error::Runtime, "Tensors must have same number of dimensions: got ", first.ndim(),
           " and ", t.ndim());
    }
    for (int d = 0; d < t.ndim(); ++d) {
      if (d != dim && t.layout->size(d) != sizes[d]) {
        fail(Error::Runtime, "Sizes of tensors must match except in dimension ", dim,
             ". Expected size ", sizes[d], " but got size ", t.layout->size(d),
             " for tensor number ", i, " in the list.");
      }
    }
    if (__builtin_add_overflow(sizes[dim], t.layout->size(dim), &sizes[dim])) {
      fail(Error::Runtime, "Storage size calculation overflowed: dimension ", dim,
           " of the result has more than 2^63 elements");
    }
  }
  if (skipped(first)) sizes[0] = 0;
  LayoutRef layout = channels_last ? channels_last_layout(sizes) : contiguous_layout(sizes);
  c.outs.push(empty(layout.get(), promotion.result(), first.device()));
}

// Copies that don't fit into the cache go past it: reading what will be overwritten is saved.
constexpr int64_t kPastCache = int64_t{4} << 20;

void copy_past_cache(char* to, const char* from, int64_t bytes) {
#ifdef __SSE2__
  for (; bytes && reinterpret_cast<uintptr_t>(to) % 16; --bytes) *to++ = *from++;
  for (; bytes >= 64; bytes -= 64, to += 64, from += 64) {
    for (int i = 0; i < 64; i += 16) {
      _mm_stream_si128(reinterpret_cast<__m128i*>(to + i),
                       _mm_loadu_si128(reinterpret_cast<const __m128i*>(from + i)));
    }
  }
  _mm_sfence();
#endif
  std::memcpy(to, from, bytes);
}

void copy(char* to, const char* from, int64_t bytes, bool past_cache) {
  if (past_cache && bytes >= 4096) {
    copy_past_cache(to, from, bytes);
  } else {
    std::memcpy(to, from, bytes);
  }
}

// Lines of a few elements of each tensor: blocks of lines, so that what one tensor's part is stored
// between is still in the cache when the next one's is.
bool cat_narrow(const Value& list, Tensor& out, int dim, int64_t inner, int64_t outer) {
  constexpr int64_t kNarrow = 16, kBlock = 2048;
  const int64_t line = inner * out.layout->size(dim);
  if (!out.layout->contiguous || outer < 2 || line > 8 * kNarrow) return false;
  const int64_t bytes = inner * list.tensors.data[0]->layout->size(dim);
  const bool one_move = bytes && bytes <= kNarrow && (bytes & (bytes - 1)) == 0;
  for (int64_t i = 0; i < list.tensors.size; ++i) {
    const Tensor& t = *list.tensors.data[i];
    const bool alike = t.ndim() == out.ndim() && t.layout->contiguous && t.dtype == out.dtype;
    if (!one_move || !alike || inner * t.layout->size(dim) != bytes) return false;
  }
  with_size(bytes, [&](auto tag) {
    using T = typename decltype(tag)::type;
    parallel_for(outer, 65536, 64, [&](int64_t begin, int64_t end) {
      for (int64_t first = begin; first < end; first += kBlock) {
        const int64_t last = std::min(end, first + kBlock);
        for (int64_t i = 0; i < list.tensors.size; ++i) {
          const char* from = list.tensors.data[i]->data();
          char* to = out.data() + i * bytes;
          for (int64_t k = first; k < last; ++k) {
            std::memcpy(to + k * line, from + k * sizeof(T), sizeof(T));
          }
        }
      }
    });
  });
  return true;
}

// Parts of one line of the result, from tensors that hold their parts of all lines in a row.
struct Part {
  const char* from;
  int64_t at, bytes;  // within a line
};

// Bytes [begin, end) of the result's, which has lines of so many.
void cat_bytes(const std::vector<Part>& parts, char* to, int64_t line, int64_t begin, int64_t end,
               bool past_cache) {
  for (int64_t k = begin / line; k * line < end; ++k) {
    const int64_t lo = std::max<int64_t>(0, begin - k * line);
    const int64_t hi = std::min(line, end - k * line);
    auto part = parts.begin();
    if (lo > 0) {
      part = std::partition_point(part, parts.end(),
                                  [&](const Part& p) { return p.at + p.bytes <= lo; });
    }
    for (; part != parts.end() && part->at < hi; ++part) {
      const int64_t first = std::max(lo, part->at), last = std::min(hi, part->at + part->bytes);
      copy(to + k * line + first, part->from + k * part->bytes + (first - part->at), last - first,
           past_cache);
    }
  }
}

void run_cat(Call& c) {
  const Value& list = c.args[0];
  Tensor& out = *c.outs[0];
  const Layout& l = *out.layout;
  const int dim = static_cast<int>(wrap_dim(c.args[1].to_int(), out.ndim()));
  int64_t start = 0;
  // Whole blocks where memory allows: everything behind `dim` is contiguous in all of them.
  int64_t inner = itemsize(out.dtype), outer = 1;
  for (int d = dim + 1; d < l.ndim; ++d) inner *= l.size(d);
  for (int d = 0; d < dim; ++d) outer *= l.size(d);
  const int64_t line = inner * l.size(dim);
  if (cat_narrow(list, out, dim, inner, outer)) return;
  std::vector<Part> parts;
  parts.reserve(static_cast<size_t>(list.tensors.size));
  for (int64_t i = 0; i < list.tensors.size; ++i) {
    Tensor& t = *list.tensors.data[i];
    if (skipped(t)) continue;
    const int64_t n = t.layout->size(dim);
    if (l.contiguous && t.layout->contiguous && t.dtype == out.dtype) {
      if (t.numel()) parts.push_back({t.data(), start * inner, n * inner});
    } else if (t.numel()) {
      std::vector<int64_t> sizes = to_vector(l.sizes());
      sizes[dim] = n;
      LayoutRef part = intern(sizes, l.strides(), l.offset + start * l.stride(dim));
      copy_into(*alias(out, part.get()), t);
    }
    start += n;
  }
  if (parts.empty()) return;
  const int64_t bytes = outer * line;
  WithoutGil without(bytes > (int64_t{1} << 20));
  parallel_for(bytes, 1 << 17, 64, [&](int64_t begin, int64_t end) {
    cat_bytes(parts, out.data(), line, begin, end, bytes >= kPastCache);
  });
}
TM_NATIVE("cat", infer_cat, run_cat);

}  // namespace
}  // namespace taimatsu
