#include "ops/launch.h"

#include <algorithm>
#include <atomic>

#include "autograd/tape.h"
#include "cpu/native.h"
#include "cpu/threads.h"
#include "cpu/transpose.h"
#include "ops/dispatch.h"

namespace taimatsu {
namespace {

// Elements that one thread should have at least: below, waking another costs more than it saves.
constexpr int64_t kGrain = 16384;
constexpr int64_t kGrainBytes = 1 << 17;  // the same of bytes that are copied or set
// Work above which other Python threads may run meanwhile.
constexpr int64_t kReleaseGil = 1 << 17;

void* scratch_of_thread(int64_t bytes) {
  static thread_local std::vector<char> buffer;
  if (bytes == 0) return nullptr;
  if (static_cast<int64_t>(buffer.size()) < bytes + 64) buffer.resize(bytes + 64);
  return reinterpret_cast<void*>((reinterpret_cast<uintptr_t>(buffer.data()) + 63) &
                                 ~uintptr_t{63});
}

// The axis that threads split, or -1: the outermost of enough steps for all, as each thread then
// walks memory of its own; else the longest.
int split_axis(const Launch& l, int threads) {
  int longest = -1;
  int64_t most = 1;
  for (int a = 0; a < l.axes; ++a) {
    const int64_t extent = l.geometry[2 * a + 1] - l.geometry[2 * a];
    if (!(l.kernel.parallel >> a & 1) || extent <= most) continue;
    longest = a;
    most = extent;
    if (extent >= 8 * threads) break;
  }
  return longest;
}

int32_t launch_alone(const Launch& l) {
  return l.kernel.fn(l.ptr, l.geometry, l.scalars,
                     scratch_of_thread(l.kernel.scratch_bytes * l.row));
}

}  // namespace

int32_t launch(const Launch& l) {
  if (l.kernel.code) {
    backend(l.kernel.device.type).launch(l.kernel.code, l, l.kernel.device);
    return 0;  // what it has to report is known when the host waits for it
  }
  const int threads = l.work >= 2 * kGrain ? num_threads() : 1;
  const int axis = threads > 1 ? split_axis(l, threads) : -1;
  WithoutGil without(axis >= 0 || l.work >= kReleaseGil);
  if (axis < 0) return launch_alone(l);
  const int64_t lo = l.geometry[2 * axis], extent = l.geometry[2 * axis + 1] - lo;
  const int64_t per_step = std::max<int64_t>(1, l.work / extent);
  // Whole vectors and lines of the cache, where the axis is long.
  const int64_t align = extent >= 4096 ? 64 : extent >= 64 * threads ? 16 : 1;
  std::atomic<int32_t> status{0};
  parallel_for(extent, std::max<int64_t>(1, kGrain / per_step), align,
               [&](int64_t begin, int64_t end) {
                 int64_t geometry[kMaxGeometry];
                 std::copy(l.geometry, l.geometry + l.geometry_size, geometry);
                 geometry[2 * axis] = lo + begin;
                 geometry[2 * axis + 1] = lo + end;
                 Launch part = l;
                 part.geometry = geometry;
                 status |= launch_alone(part);
               });
  return status;
}

int32_t launch_each(const Launch& l, int operands, const Iteration& it, int from,
                    const int64_t* itemsizes) {
  int64_t places = 1;
  for (int d = from; d < it.ndim; ++d) places *= it.extent[d];
  std::atomic<int32_t> status{0};
  auto run = [&](int64_t begin, int64_t end, int32_t (*launch_one)(const Launch&)) {
    for_outer(it, from, begin, end, [&](const int64_t* offset) {
      void* at[kMaxOperands];
      for (int i = 0; i < operands; ++i) {
        at[i] = static_cast<char*>(l.ptr[i]) + offset[i] * itemsizes[i];
      }
      Launch one = l;
      one.ptr = at;
      status |= launch_one(one);
    });
  };
  if (l.kernel.code || (places < num_threads() && l.work >= 2 * kGrain)) {
    run(0, places, launch);
    return status;
  }
  const int64_t each = std::max<int64_t>(1, l.work);
  WithoutGil without(each * places >= kReleaseGil);
  parallel_for(places, std::max<int64_t>(1, kGrain / each), 1,
               [&](int64_t begin, int64_t end) { run(begin, end, launch_alone); });
  return status;
}

namespace {

char* lowest(const Tensor& t) {
  return t.storage->as<char>() + reach(*t.layout).first * itemsize(t.dtype);
}

// Whether the elements of both lie in memory alike, without gaps.
bool same_bytes(const Tensor& a, const Tensor& b) {
  if (a.dtype != b.dtype || a.numel() != b.numel()) return false;
  if (a.layout->contiguous && b.layout->contiguous) return true;
  return a.layout->dense && b.layout->dense && a.sizes() == b.sizes() && a.strides() == b.strides();
}

void copy_bytes(Tensor& to, Tensor& from, bool non_blocking) {
  const int64_t bytes = to.numel() * itemsize(to.dtype);
  char *target = lowest(to), *source = lowest(from);
  const Device d = to.device().type == DeviceType::CPU ? from.device() : to.device();
  if (d.type != DeviceType::CPU) {
    return backend(d.type).copy(target, to.device(), source, from.device(), bytes, non_blocking);
  }
  parallel_for(bytes, kGrainBytes, 4096, [&](int64_t begin, int64_t end) {
    std::memmove(target + begin, source + begin, end - begin);
  });
}

}  // namespace

void copy_into(Tensor& to, Tensor& from, bool non_blocking) {
  if (&to == &from || to.numel() == 0) return;
  if (any_dispatching && (dispatches(to) || dispatches(from))) {
    static CoreOp copy{"copy_"};
    GradMode off(false);
    call1(copy.get(), {Value(&to), Value(&from), Value::of_bool(non_blocking)});
    return;
  }
  if (to.device().type == DeviceType::Meta || from.device().type == DeviceType::Meta) return;
  if (deferring && to.device() == from.device()) {
    static Op& copy = core_op("copy_");
    Value args[3] = {Value(&to), Value(&from), Value::of_bool(non_blocking)};
    Tensors outs;
    Call c{copy, args, outs};
    return emit(c);
  }
  if (same_bytes(to, from)) return copy_bytes(to, from, non_blocking);
  if (to.device() != from.device()) {  // as bytes, which `to` then takes as it wants them
    TensorRef there = empty_like(from, to.device()), here(&from);
    if (!same_bytes(*there, from)) here = clone(from);
    copy_bytes(*there, *here, non_blocking);
    return copy_into(to, *there);
  }
  const Overlap common = overlap(to, from);
  const bool moves = to.dtype == from.dtype && to.device().type == DeviceType::CPU;
  if (moves && common == Overlap::None && transpose_into(to, from)) return;
  static Op& cast = core_op("_to");
  Value args[2] = {Value(&from), Value(to.dtype)};
  TensorRef temporary;
  if (common == Overlap::Partial) {
    temporary = clone(from);
    args[0] = Value(temporary);
  }
  Tensors outs;
  outs.push(TensorRef(&to));
  Call c{cast, args, outs};
  emit(c);
}

TensorRef clone(Tensor& t) {
  if (dispatches(t)) {
    static CoreOp copy{"clone"};
    GradMode off(false);
    return call1(copy.get(), {Value(&t)});
  }
  TensorRef out = empty_like(t);
  copy_into(*out, t);
  return out;
}

TensorRef on_device(Tensor& t, Device d) {
  if (t.device() == d) return TensorRef(&t);
  TensorRef out = empty_like(t, d);
  copy_into(*out, t);
  return out;
}

TensorRef contiguous(Tensor& t) {
  if (t.layout->contiguous) return TensorRef(&t);
  TensorRef out = empty(t.sizes(), t.dtype, t.device());
  copy_into(*out, t);
  return out;
}

TensorRef to_dtype(Tensor& t, DType dtype) {
  if (t.dtype == dtype) return TensorRef(&t);
  static Op& cast = core_op("_to");
  return call1(cast, {Value(&t), Value(dtype)});
}

// All elements of a tensor without gaps, from the bytes of one.
static void fill_bytes(Tensor& t, const char* value, int64_t size) {
  constexpr int64_t kPage = 4096;
  char* first = lowest(t);
  const int64_t bytes = t.numel() * size;
  const bool alike = std::all_of(value, value + size, [&](char c) { return c == value[0]; });
  parallel_for(bytes, kGrainBytes, kPage, [&](int64_t begin, int64_t end) {
    if (alike) {
      std::memset(first + begin, value[0], end - begin);
      return;
    }
    char* to = first + begin;  // once, then what is there again and again
    std::memcpy(to, value, size);
    for (int64_t done = size, step; done < end - begin; done += step) {
      step = std::min({done, kPage, end - begin - done});
      std::memcpy(to + done, to, step);
    }
  });
}

void fill(Tensor& t, const Number& n) {
  if (t.numel() == 0 || t.device().type == DeviceType::Meta) return;
  check_fits(t.dtype, n);
  if (dispatches(t)) {
    static CoreOp set{"fill_"};
    GradMode off(false);
    call1(set.get(), {Value(&t), Value(n)});
    return;
  }
  if (deferring && t.device().type == DeviceType::CPU) {
    static Op& set = core_op("fill_");
    Value args[2] = {Value(&t), Value(n)};
    Tensors outs;
    Call c{set, args, outs};
    return emit(c);
  }
  if (t.device().type != DeviceType::CPU) {  // the number goes with the launch
    static Op& filled = core_op("_filled");
    Value args[2] = {Value(&t), Value(n)};
    Tensors outs;
    outs.push(TensorRef(&t));
    Call c{filled, args, outs};
    return emit(c);
  }
  char value[16] = {0};
  store_element(t.dtype, value, n);
  const int64_t size = itemsize(t.dtype);
  if (t.layout->dense) return fill_bytes(t, value, size);
  Ref<Storage> one = foreign_storage(value, size, Device{}, nullptr, [](Storage&) {});
  LayoutRef scalar = scalar_layout();
  TensorRef source = make_tensor(one.get(), scalar.get(), t.dtype);
  static Op& cast = core_op("_to");
  Value args[2] = {Value(source), Value(t.dtype)};
  Tensors outs;
  outs.push(TensorRef(&t));
  Call c{cast, args, outs};
  emit(c);
}

void resize_tensor(Tensor& t, Ints sizes, bool only_memory) {
  LayoutRef layout = contiguous_layout(sizes);
  const size_t bytes = bytes_reached(*layout, t.dtype);
  if (t.storage->nbytes < bytes) resize_storage(*t.storage, bytes);
  if (only_memory) return;
  release(std::exchange(t.layout, layout.leak()));
}

bool can_cast(DType from, DType to) {
  Category a = category(from), b = category(to);
  if (a == Category::Complex && b != Category::Complex) return false;
  if (a == Category::Floating && b < Category::Floating) return false;
  return a == Category::Bool || b != Category::Bool;
}

// How far elements are apart that differ in the dims from `d` on.
static int64_t span_from(const Tensor& a, const Tensor& b, int d) {
  int64_t span = 0;
  for (; d < a.ndim(); ++d) {
    span += (std::max(a.layout->size(d), b.layout->size(d)) - 1) * a.layout->stride(d);
  }
  return span;
}

// Whether one step along a dim is more than all steps along those after it.
static bool nested(const Tensor& a, const Tensor& b) {
  for (int d = 0; d < a.ndim(); ++d) {
    const bool one = a.layout->size(d) == 1 && b.layout->size(d) == 1;
    if (!one && a.layout->stride(d) <= span_from(a, b, d + 1)) return false;
  }
  return true;
}

// Whether two views of nested strides, of which the second begins `shift` later, have a common
// element: whether steps in each dim, within the sizes, add up to `shift`. (Parts of a matrix
// interleave in memory without meeting.)
static bool meet(const Tensor& a, const Tensor& b, int d, int64_t shift) {
  if (d == a.ndim()) return shift == 0;
  const int64_t most = a.layout->size(d) - 1, least = 1 - b.layout->size(d);
  if (most == least) return meet(a, b, d + 1, shift);  // one place each
  const int64_t stride = a.layout->stride(d);
  for (int64_t steps = shift / stride - 1; steps <= shift / stride + 1; ++steps) {
    if (steps < least || steps > most) continue;
    if (meet(a, b, d + 1, shift - steps * stride)) return true;
  }
  return false;
}

Overlap overlap(const Tensor& a, const Tensor& b) {
  if (&a.storage->root() != &b.storage->root()) return Overlap::None;
  if (a.layout == b.layout && a.dtype == b.dtype) return Overlap::Same;
  if (a.numel() == 0 || b.numel() == 0) return Overlap::None;
  auto ra = reach(*a.layout), rb = reach(*b.layout);
  const int64_t sa = itemsize(a.dtype), sb = itemsize(b.dtype);
  if ((ra.second + 1) * sa <= rb.first * sb || (rb.second + 1) * sb <= ra.first * sa) {
    return Overlap::None;
  }
  if (a.sizes() == b.sizes() && a.strides() == b.strides() && ra.first == rb.first) {
    return Overlap::Same;
  }
  if (sa == sb && a.strides() == b.strides() && nested(a, b) &&
      !meet(a, b, 0, b.layout->offset - a.layout->offset)) {
    return Overlap::None;
  }
  return Overlap::Partial;
}

}  // namespace taimatsu
