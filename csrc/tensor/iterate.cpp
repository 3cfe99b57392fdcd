#include "tensor/iterate.h"

#include <algorithm>

namespace taimatsu {

namespace {

constexpr int64_t kZeros[kMaxDims] = {};

// Strides of `l` laid over `sizes`: 0 where it is broadcast. In `buffer`, if they are not l's own.
inline const int64_t* expanded_strides(const Layout* l, Ints sizes, int64_t* buffer) {
  if (!l) return kZeros;
  if (l->sizes() == sizes) return l->stride_data();
  int64_t lead = sizes.size - l->ndim;
  for (int64_t d = 0; d < lead; ++d) buffer[d] = 0;
  for (int d = 0; d < l->ndim; ++d) {
    buffer[lead + d] = l->size(d) == 1 && sizes[lead + d] != 1 ? 0 : l->stride(d);
  }
  return buffer;
}

// 1 if dim a is to be outside dim b, -1 if inside, 0 if no operand tells.
inline int compare(Ints sizes, Span<const int64_t*> strides, int a, int b) {
  for (const int64_t* s : strides) {
    if (s[a] == 0 || s[b] == 0) continue;
    if (s[a] != s[b]) return s[a] > s[b] ? 1 : -1;
    if (sizes[a] > sizes[b]) return 1;
  }
  return 0;
}

// Insertion sort, as the order is not total: a dim passes over those that don't tell only if one
// further on does.
inline void sort_dims(Ints sizes, Span<const int64_t*> strides, int* dims, int n) {
  for (int i = 1; i < n; ++i) {
    int at = i;
    for (int j = i - 1; j >= 0; --j) {
      int order = compare(sizes, strides, dims[j], dims[at]);
      if (order < 0) break;
      if (order > 0) {
        std::swap(dims[j], dims[at]);
        at = j;
      }
    }
  }
}

// Appends `dims`, innermost first, in memory order and merged where they are one dim.
inline void append(Iteration& it, Ints sizes, Span<const int64_t*> strides, int* dims, int n) {
  sort_dims(sizes, strides, dims, n);
  int first = it.ndim;
  for (int i = 0; i < n; ++i) {
    int d = dims[i], last = it.ndim - 1;
    bool merge = last >= first;
    for (int64_t k = 0; merge && k < strides.size; ++k) {
      merge = strides[k][d] == it.stride[k][last] * it.extent[last];
    }
    if (merge) {
      it.extent[last] *= sizes[d];
      continue;
    }
    it.extent[it.ndim] = sizes[d];
    for (int64_t k = 0; k < strides.size; ++k) it.stride[k][it.ndim] = strides[k][d];
    ++it.ndim;
  }
}

}  // namespace

void memory_order(Ints sizes, Span<const int64_t*> strides, int* order) {
  int n = static_cast<int>(sizes.size);
  for (int i = 0; i < n; ++i) order[i] = n - 1 - i;
  sort_dims(sizes, strides, order, n);
}

void iterate(Iteration& it, Span<const Layout*> operands, Ints sizes) {
  it.nops = static_cast<int>(operands.size);
  it.ndim = 0;
  it.reduced = 0;
  // Most often all operands have one layout without gaps: a single run.
  const Layout* first = operands.size ? operands[0] : nullptr;
  bool same = first && first->dense && first->sizes() == sizes;
  for (int i = 1; same && i < it.nops; ++i) same = operands[i] == first;
  if (same) {
    it.ndim = 1;
    it.extent[0] = first->numel;
    for (int i = 0; i < it.nops; ++i) it.stride[i][0] = 1;
    return;
  }
  int64_t buffer[Iteration::kMaxOperands][kMaxDims];
  const int64_t* strides[Iteration::kMaxOperands];
  for (int i = 0; i < it.nops; ++i) strides[i] = expanded_strides(operands[i], sizes, buffer[i]);
  int dims[kMaxDims], n = 0;
  for (int d = static_cast<int>(sizes.size) - 1; d >= 0; --d) {
    if (sizes[d] != 1) dims[n++] = d;
  }
  append(it, sizes, {strides, it.nops}, dims, n);
  if (it.ndim == 0) {
    it.ndim = 1;
    it.extent[0] = 1;
    for (int i = 0; i < it.nops; ++i) it.stride[i][0] = operands[i] ? 1 : 0;
  }
}

void iterate_rows(Iteration& it, Span<const int64_t*> strides, Ints sizes, const bool* in_row) {
  it.nops = static_cast<int>(strides.size);
  it.ndim = 0;
  for (bool row : {true, false}) {
    int dims[kMaxDims], n = 0;
    for (int d = static_cast<int>(sizes.size) - 1; d >= 0; --d) {
      if (sizes[d] != 1 && in_row[d] == row) dims[n++] = d;
    }
    append(it, sizes, strides, dims, n);
    if (row) it.reduced = it.ndim;
  }
}

LayoutRef pointwise_output_layout(Span<const Layout*> inputs, Ints sizes) {
  const Layout* first = nullptr;
  bool same_sizes = true, contiguous = true, channels_last = true, same_strides = true;
  for (const Layout* l : inputs) {
    if (!l) continue;
    if (!first) first = l;
    same_sizes = same_sizes && l->sizes() == sizes;
    contiguous = contiguous && l->contiguous;
    channels_last = channels_last && l->channels_last && l->ndim == 4;
    same_strides = same_strides && l->dense && (l == first || l->strides() == first->strides());
  }
  if (!first) return contiguous_layout(sizes);
  if (same_sizes) {
    if (contiguous) return contiguous_layout(sizes);
    if (channels_last) return channels_last_layout(sizes);
    if (same_strides) return dense_layout_like(*first);
  }
  int64_t buffer[Iteration::kMaxOperands][kMaxDims];
  const int64_t* strides[Iteration::kMaxOperands];
  int n = 0;
  for (const Layout* l : inputs) {
    if (l) strides[n] = expanded_strides(l, sizes, buffer[n]), ++n;
  }
  int order[kMaxDims];
  memory_order(sizes, {strides, n}, order);
  return packed_layout(sizes, {order, sizes.size});
}

}  // namespace taimatsu
