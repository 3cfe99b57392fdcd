// Convolution: shapes and errors, and the way without oneDNN: patches as a matrix, then a product.
#include "cpu/conv.h"

#include <complex>

#include "cpu/elements.h"
#include "cpu/gemm.h"
#include "cpu/native.h"
#include "cpu/threads.h"

namespace taimatsu {
namespace {

// ---- Patches as columns ---------------------------------------------------------------------

// Runs body(column row, first output position, first input position, count, step) for every run of
// outputs along the last dim whose input is inside; the rest of `columns` must be zero already.
template <class F>
void each_run(const ConvShape& s, int64_t channels, const F& body) {
  const int64_t kernels = s.kernel_size();
  for (int64_t row = 0; row < channels * kernels; ++row) {
    const int64_t channel = row / kernels, k = row % kernels;
    const int64_t k2 = k % s.kernel[2], k1 = k / s.kernel[2] % s.kernel[1],
                  k0 = k / s.kernel[2] / s.kernel[1];
    const int64_t shift = k2 * s.dilation[2] - s.padding[2];
    // Outputs [lo, hi) have inputs o * stride + shift in [0, in).
    const int64_t lo = shift < 0 ? (-shift + s.stride[2] - 1) / s.stride[2] : 0;
    int64_t hi = s.in[2] - shift <= 0 ? 0 : (s.in[2] - shift - 1) / s.stride[2] + 1;
    hi = std::min(hi, s.out[2]);
    if (lo >= hi) continue;
    for (int64_t o0 = 0; o0 < s.out[0]; ++o0) {
      const int64_t i0 = o0 * s.stride[0] - s.padding[0] + k0 * s.dilation[0];
      if (i0 < 0 || i0 >= s.in[0]) continue;
      for (int64_t o1 = 0; o1 < s.out[1]; ++o1) {
        const int64_t i1 = o1 * s.stride[1] - s.padding[1] + k1 * s.dilation[1];
        if (i1 < 0 || i1 >= s.in[1]) continue;
        body(row, (o0 * s.out[1] + o1) * s.out[2] + lo,
             ((channel * s.in[0] + i0) * s.in[1] + i1) * s.in[2] + lo * s.stride[2] + shift,
             hi - lo, s.stride[2]);
      }
    }
  }
}

template <class T>
void to_columns(const ConvShape& s, int64_t channels, const T* x, T* columns) {
  const int64_t width = s.out_size();
  std::fill(columns, columns + channels * s.kernel_size() * width, T());
  each_run(s, channels, [&](int64_t row, int64_t o, int64_t i, int64_t count, int64_t step) {
    T* to = columns + row * width + o;
    const T* from = x + i;
    for (int64_t k = 0; k < count; ++k) to[k] = from[k * step];
  });
}

template <class T>
void add_columns(const ConvShape& s, int64_t channels, const T* columns, T* x) {
  const int64_t width = s.out_size();
  each_run(s, channels, [&](int64_t row, int64_t o, int64_t i, int64_t count, int64_t step) {
    const T* from = columns + row * width + o;
    T* to = x + i;
    for (int64_t k = 0; k < count; ++k) to[k * step] = static_cast<T>(to[k * step] + from[k]);
  });
}

// Of element type T. x and w are contiguous, and images of y: (features, positions) or, if `rows`,
// (positions, features). Images are shared among threads, but each is computed as if alone.
template <class T>
void by_columns(ConvKind kind, const ConvShape& s, DType dtype, T* x, T* w, T* y, bool rows) {
  const int64_t channels = s.in_channels / s.groups, features = s.out_channels / s.groups;
  const int64_t height = channels * s.kernel_size(), width = s.out_size();
  const int64_t weights = s.out_channels * height, image = channels * s.in_size();
  auto result_of = [&](int64_t n, int64_t g) {
    const int64_t feature = rows ? 1 : width;
    return Matrix{y + n * s.out_channels * width + g * features * feature, feature,
                  rows ? s.out_channels : 1};
  };
  auto transposed = [](const Matrix& m) { return Matrix{m.data, m.col, m.row}; };
  auto one = [&](int64_t n, int64_t g, Matrix weight, T* columns) {
    T* from = x + (n * s.groups + g) * image;
    const Matrix result = result_of(n, g), patches{columns, width, 1};
    Product p;
    p.dtype = dtype;
    if (kind != ConvKind::Data) to_columns(s, channels, from, columns);
    if (kind == ConvKind::Forward && rows) {  // its lines are positions
      p.m = width, p.n = features, p.k = height;
      p.a = transposed(patches), p.b = transposed(weight), p.out = transposed(result);
    } else if (kind == ConvKind::Forward) {
      p.m = features, p.n = width, p.k = height;
      p.a = weight, p.b = patches, p.out = result;
    } else if (kind == ConvKind::Data) {
      p.m = height, p.n = width, p.k = features;
      p.a = transposed(weight), p.b = result, p.out = patches;
    } else {
      p.m = features, p.n = height, p.k = width;
      p.a = result, p.b = transposed(patches), p.out = weight;
    }
    multiply(p);
    if (kind == ConvKind::Data) {
      std::fill_n(from, image, T());
      add_columns(s, channels, columns, from);
    }
  };
  // Gradients of the weight are summed over the batch in its order, by so many images at a time.
  constexpr int64_t together = 8;
  const bool sums = kind == ConvKind::Weight;
  std::vector<T> parts(sums ? std::min(together, s.batch) * weights : 0);
  for (int64_t n0 = 0; n0 < s.batch; n0 += sums ? together : s.batch) {
    const int64_t count = std::min(sums ? together : s.batch, s.batch - n0);
    auto chunk = [&](int64_t begin, int64_t end) {
      std::vector<T> columns(height * width);
      for (int64_t i = begin; i < end; ++i) {
        const int64_t n = i / s.groups, g = i % s.groups;
        T* of_image = sums ? parts.data() + n * weights : w;
        one(n0 + n, g, {of_image + g * features * height, height, 1}, columns.data());
      }
    };
    if (count * s.groups < num_threads()) {  // which share the product instead
      chunk(0, count * s.groups);
    } else {
      parallel_for(count * s.groups, 1, 1, chunk);
    }
    for (int64_t n = 0; sums && n < count; ++n) {
      const T* part = parts.data() + n * weights;
      if (n0 + n == 0) {
        std::copy_n(part, weights, w);
      } else {
        for (int64_t k = 0; k < weights; ++k) w[k] = static_cast<T>(w[k] + part[k]);
      }
    }
  }
}

// ---- Kernels of one element -----------------------------------------------------------------

// One element at every position: the input itself is the columns.
bool is_product(const ConvShape& s) {
  for (int d = 0; d < 3; ++d) {
    if (s.kernel[d] != 1 || s.stride[d] != 1 || s.padding[d] != 0 || s.in[d] != s.out[d])
      return false;
  }
  return s.groups == 1;
}

// Image after image. `w` is (out, in), an image of x or y (channels, positions).
void as_product(ConvKind kind, const ConvShape& s, Product p, Matrix x, Matrix w,
                const Tensor* bias, Matrix y) {
  const int64_t in = s.in_channels, out = s.out_channels, width = s.out_size();
  auto transposed = [](Matrix m) { return Matrix{m.data, m.col, m.row}; };
  if (kind == ConvKind::Weight) {  // the sum has one order
    p.m = out, p.n = in, p.k = width;
    p.a = y, p.b = transposed(x), p.out = w;
    for (int64_t n = 0; n < s.batch; ++n) {
      p.a_at = {n * out * width};
      p.b_at = {n * in * width};
      if (n > 0) p.add = p.out;
      multiply(p);
    }
    return;
  }
  const bool forward = kind == ConvKind::Forward;
  p.m = forward ? out : in, p.n = width, p.k = forward ? in : out;
  p.a = forward ? w : transposed(w);
  p.b = forward ? x : y;
  p.out = forward ? y : x;
  if (bias) p.add = {bias->data(), bias->layout->stride(0), 0};
  p.batch = s.batch;
  for (int64_t n = 0; n < s.batch; ++n) {
    p.b_at.push_back(n * p.k * width);
    p.out_at.push_back(n * p.m * width);
  }
  multiply(p);
}

// Channels last: all positions of all images are rows.
void as_product_of_rows(ConvKind kind, const ConvShape& s, Product p, Matrix x, Matrix w,
                        const Tensor* bias, Matrix y) {
  const int64_t in = s.in_channels, out = s.out_channels, positions = s.batch * s.out_size();
  std::swap(x.row, x.col);
  std::swap(y.row, y.col);
  if (kind == ConvKind::Forward) {
    p.m = positions, p.n = out, p.k = in;
    p.a = x, p.b = {w.data, w.col, w.row}, p.out = y;
    if (bias) p.add = {bias->data(), 0, bias->layout->stride(0)};
  } else if (kind == ConvKind::Data) {
    p.m = positions, p.n = in, p.k = out;
    p.a = y, p.b = w, p.out = x;
  } else {
    p.m = out, p.n = in, p.k = positions;
    p.a = {y.data, y.col, y.row}, p.b = x, p.out = w;
  }
  multiply(p);
}

bool has_dense_images(const Tensor& t) { return t.layout->contiguous || t.layout->channels_last; }

// `rows`: an image of x lies as (positions, channels), and not as (channels, positions).
void multiply_images(ConvKind kind, const ConvShape& s, DType dtype, void* x, bool rows, Matrix w,
                     const Tensor* bias, const Tensor& y) {
  auto image = [&](void* data, bool rows, int64_t channels) {
    return rows ? Matrix{data, 1, channels} : Matrix{data, s.out_size(), 1};
  };
  Product p{};
  p.dtype = dtype;
  const bool both = rows && y.layout->channels_last;  // of one position y is contiguous too
  const auto run = both ? as_product_of_rows : as_product;
  WithoutGil without(s.work() > kLongWork);
  run(kind, s, p, image(x, rows, s.in_channels), w, bias,
      image(y.data(), both || !y.layout->contiguous, s.out_channels));
}

// Whether it is a product of dense images, and has been done.
bool by_product(ConvKind kind, const ConvShape& s, const Tensor& x, const Tensor& w,
                const Tensor* bias, const Tensor& y) {
  if (!is_product(s) || !has_dense_images(x) || !has_dense_images(y)) return false;
  multiply_images(kind, s, x.dtype, x.data(), x.layout->channels_last,
                  {w.data(), w.layout->stride(0), w.layout->stride(1)}, bias, y);
  return true;
}

// ---- Kernels that don't overlap -------------------------------------------------------------

// Where no position of an image is met twice, what an output sees can be its channels, and then the
// kernel has one element. False of others.
bool by_product_of_patches(ConvKind kind, ConvShape s, int dims, Tensor& x, Tensor& w,
                           const Tensor* bias, const Tensor& y) {
  if (s.groups > 1 || !has_dense_images(y)) return false;
  bool covers = true;
  for (int d = 0; d < 3; ++d) {
    if (s.out[d] == 1) s.stride[d] = s.in[d];  // as good as any
    if (s.padding[d] != 0 || (s.kernel[d] - 1) * s.dilation[d] >= s.stride[d]) return false;
    covers &= s.kernel[d] == s.stride[d] && s.in[d] == s.out[d] * s.stride[d];
  }
  // Patches are (batch, channels, *kernel, *positions). What is innermost in x remains so, or
  // whichever runs are longer, the kernel's or the positions'.
  const bool last = x.layout->channels_last, rows = last || s.kernel[2] >= s.out[2];
  std::vector<int64_t> sizes{s.batch, s.in_channels};
  std::vector<int64_t> strides{x.layout->stride(0), x.layout->stride(1)};
  auto add = [&](const int64_t* extents, const int64_t* steps) {
    for (int d = 3 - dims; d < 3; ++d) {
      sizes.push_back(extents[d]);
      strides.push_back(wrapping_mul(x.layout->stride(d - 1 + dims), steps[d]));
    }
  };
  add(s.kernel, s.dilation);
  add(s.out, s.stride);
  LayoutRef seen = intern(sizes, strides, x.layout->offset);
  std::vector<int> order;
  auto then = [&](int first, int count) {
    for (int d = first + count - 1; d >= first; --d) order.push_back(d);
  };
  if (!rows) then(2 + dims, dims);
  if (last) then(1, 1);
  then(2, dims);
  if (!last) then(1, 1);
  if (rows) then(2 + dims, dims);
  then(0, 1);
  LayoutRef dense = packed_layout(sizes, {order.data(), static_cast<int64_t>(order.size())});
  TensorRef met = alias(x, seen.get()), patches = empty(dense.get(), x.dtype, x.device());
  TensorRef weight = &w;  // its elements in the order of a patch's
  if (!(last ? w.layout->channels_last : w.layout->contiguous)) {
    LayoutRef same = last ? channels_last_layout(w.sizes()) : contiguous_layout(w.sizes());
    weight = empty(same.get(), w.dtype, w.device());
    if (kind != ConvKind::Weight) copy_into(*weight, w);
  }
  s.in_channels *= s.kernel_size();
  for (int d = 0; d < 3; ++d) s.in[d] = s.out[d], s.kernel[d] = s.stride[d] = s.dilation[d] = 1;
  if (kind != ConvKind::Data) copy_into(*patches, *met);
  multiply_images(kind, s, x.dtype, patches->data(), rows, {weight->data(), s.in_channels, 1}, bias,
                  y);
  if (kind == ConvKind::Weight && weight.get() != &w) copy_into(w, *weight);
  if (kind == ConvKind::Data) {
    if (!covers) fill(x, Number::integer(0));
    copy_into(*met, *patches);
  }
  return true;
}

#if TM_USE_MKLDNN
// ---- Gradients of images as convolutions ----------------------------------------------------

// Positions first, first + step, ... of an image's dims, `count` of them.
TensorRef every(const Tensor& x, const int64_t* first, const int64_t* step, const int64_t* count) {
  std::vector<int64_t> sizes = to_vector(x.sizes()), strides = to_vector(x.strides());
  int64_t offset = x.layout->offset;
  for (int d = 2; d < x.ndim(); ++d) {
    const int i = d + 3 - x.ndim();
    offset = wrapping_add(offset, wrapping_mul(first[i], strides[d]));
    strides[d] = wrapping_mul(strides[d], step[i]);
    sizes[d] = count[i];
  }
  LayoutRef layout = intern(sizes, strides, offset);
  return alias(x, layout.get());
}
TensorRef dense_like(const Tensor& t) {
  LayoutRef layout = dense_layout_like(*t.layout);
  return empty(layout.get(), t.dtype, t.device());
}

// Of the positions r, r + stride, ... of a dim: the elements of the kernel that meet them are
// first, first + stride, ..., `count` of them, and turned round they are a kernel of stride 1 that
// makes these positions from the result's.
struct Remainder {
  int64_t first, count, positions, padding, padding_end;
  Remainder(const ConvShape& s, int d, int64_t r) {
    first = (r + s.padding[d]) % s.stride[d];
    count = first < s.kernel[d] ? (s.kernel[d] - 1 - first) / s.stride[d] + 1 : 0;
    positions = r < s.in[d] ? (s.in[d] - 1 - r) / s.stride[d] + 1 : 0;
    const int64_t span = s.dilation[d] * (count - 1);
    padding = span - (r + s.padding[d]) / s.stride[d];
    padding_end = positions + span - s.out[d] - padding;
  }
};

// Those elements of the weight, turned round, with inputs and outputs exchanged. One group, or
// groups of one input: then the outputs of a group lie side by side.
TensorRef turned_round(Tensor& w, const ConvShape& s, const Remainder* r) {
  const int64_t firsts[3] = {r[0].first, r[1].first, r[2].first};
  const int64_t counts[3] = {r[0].count, r[1].count, r[2].count}, one[3] = {1, 1, 1};
  TensorRef met = every(w, firsts, s.stride, counts), turned = dense_like(*met);
  for (int64_t i = 0; i < counts[0]; ++i) {
    for (int64_t j = 0; j < counts[1]; ++j) {
      for (int64_t k = 0; k < counts[2]; ++k) {
        const int64_t at[3] = {i, j, k};
        const int64_t from[3] = {counts[0] - 1 - i, counts[1] - 1 - j, counts[2] - 1 - k};
        copy_into(*every(*turned, at, one, one), *every(*met, from, one, one));
      }
    }
  }
  std::vector<int64_t> sizes = to_vector(turned->sizes()), strides = to_vector(turned->strides());
  std::swap(sizes[0], sizes[1]);
  std::swap(strides[0], strides[1]);
  if (s.groups > 1) {
    sizes[0] = s.groups, sizes[1] = s.out_channels / s.groups;
    strides[0] = strides[1] * sizes[1];
  }
  LayoutRef layout = intern(sizes, strides, 0);
  return alias(*turned, layout.get());
}

// oneDNN convolves faster than it computes gradients of images: where channels are last, and with a
// stride that doesn't divide the kernel. False where this can't be done.
bool data_by_convolutions(const ConvShape& s, int dims, Tensor& x, Tensor& w, Tensor& y) {
  const int64_t each = s.in_channels / s.groups;
  if (s.groups > 1 ? each > 1 : each < 8) return false;
  bool strided = false, divides = true;
  for (int d = 0; d < 3; ++d) {
    strided |= s.stride[d] > 1;
    divides &= s.kernel[d] % s.stride[d] == 0;
    if (s.stride[d] > 1 && (s.dilation[d] > 1 || s.stride[d] > s.kernel[d])) return false;
  }
  const bool last = y.layout->channels_last;
  if (strided ? dims == 1 || divides : !last) return false;
  TensorRef g = &y;                       // of several convolutions each would reorder it
  for (int pass = 0; pass < 2; ++pass) {  // the first one looks whether it can be done
    if (pass == 1 && !last) {
      LayoutRef layout = channels_last_layout(y.sizes());
      g = empty(layout.get(), y.dtype, y.device());
      copy_into(*g, y);
    }
    int64_t r[3];
    for (r[0] = 0; r[0] < s.stride[0]; ++r[0]) {
      for (r[1] = 0; r[1] < s.stride[1]; ++r[1]) {
        for (r[2] = 0; r[2] < s.stride[2]; ++r[2]) {
          const Remainder of[3] = {{s, 0, r[0]}, {s, 1, r[1]}, {s, 2, r[2]}};
          ConvShape part = s;
          std::swap(part.in_channels, part.out_channels);
          for (int d = 0; d < 3; ++d) {
            if (of[d].padding < 0 || of[d].padding_end < 0) return false;
            part.in[d] = s.out[d], part.out[d] = of[d].positions, part.kernel[d] = of[d].count;
            part.stride[d] = 1, part.padding[d] = of[d].padding;
          }
          if (pass == 0 || part.out_size() == 0) continue;
          TensorRef kernel = turned_round(w, s, of);
          TensorRef place = every(x, r, s.stride, part.out);
          TensorRef result = place;
          if (strided) {
            LayoutRef layout = channels_last_layout(place->sizes());
            result = empty(layout.get(), x.dtype, x.device());
          }
          if (!by_product(ConvKind::Forward, part, *g, *kernel, nullptr, *result) &&
              !onednn_convolution(ConvKind::Forward, part, dims, *g, *kernel, nullptr, *result)) {
            return false;
          }
          if (strided) copy_into(*place, *result);
        }
      }
    }
  }
  return true;
}
#endif

template <class F>
void with_conv_type(DType t, const F& body) {
  switch (t) {
    case DType::F32: return body(TypeTag<float>{});
    case DType::F64: return body(TypeTag<double>{});
    case DType::C64: return body(TypeTag<std::complex<float>>{});
    case DType::C128: return body(TypeTag<std::complex<double>>{});
    case DType::U8: return body(TypeTag<uint8_t>{});
    case DType::I8: return body(TypeTag<int8_t>{});
    case DType::I16: return body(TypeTag<int16_t>{});
    case DType::I32: return body(TypeTag<int32_t>{});
    case DType::I64: return body(TypeTag<int64_t>{});
    default: fail(Error::Runtime, "not implemented for '", info(t).legacy, "'");
  }
}

// Patches as columns, for any operands.
void of_columns(ConvKind kind, const ConvShape& s, Tensor& x, Tensor& w, Tensor* bias, Tensor& y) {
  Tensor& result = kind == ConvKind::Forward ? y : kind == ConvKind::Data ? x : w;
  const bool rows = y.layout->channels_last && !y.layout->contiguous;
  TensorRef plain[3] = {contiguous(x), contiguous(w), rows ? TensorRef(&y) : contiguous(y)};
  with_conv_type(result.dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    WithoutGil without(s.work() > kLongWork);
    by_columns<T>(kind, s, result.dtype, plain[0]->as<T>(), plain[1]->as<T>(), plain[2]->as<T>(),
                  rows);
    if (bias) {
      const int64_t step = bias->layout->stride(0), size = rows ? 1 : s.out_size();
      for (int64_t i = 0; i < s.batch * s.out_channels * s.out_size() / size; ++i) {
        const T b = bias->as<T>()[i % s.out_channels * step];
        T* to = plain[2]->as<T>() + i * size;
        for (int64_t k = 0; k < size; ++k) to[k] = static_cast<T>(to[k] + b);
      }
    }
  });
  const TensorRef& computed = plain[kind == ConvKind::Forward ? 2 : kind == ConvKind::Data ? 0 : 1];
  if (computed.get() != &result) copy_into(result, *computed);
}

// Of images with few channels a vector of them is mostly padding, and oneDNN has its slowest ways:
// columns are better by 1.5 to 8 times (measured on AVX2).
bool few_inputs(ConvKind kind, const ConvShape& s, int dims) {
  if (s.groups > 1) return false;
  if (kind == ConvKind::Data) return s.in_channels <= 4;
  return s.in_channels == 1 && (kind == ConvKind::Weight || dims == 1);
}

// `result` (one of x, w, y, by kind) from the other two.
void convolve(ConvKind kind, const ConvShape& s, int dims, Tensor& x, Tensor& w, Tensor* bias,
              Tensor& y) {
  Tensor& result = kind == ConvKind::Forward ? y : kind == ConvKind::Data ? x : w;
  if (result.numel() == 0) return;
  if (s.work() == 0) return fill(result, Number::integer(0));
  const bool half = result.dtype == DType::F16 || result.dtype == DType::BF16;
  if (half || result.dtype == DType::C32) {  // computed in 32 bits
    const DType t = half ? DType::F32 : DType::C64;
    TensorRef wide[3] = {to_dtype(x, t), to_dtype(w, t), to_dtype(y, t)};
    TensorRef wide_bias = bias ? to_dtype(*bias, t) : TensorRef();
    convolve(kind, s, dims, *wide[0], *wide[1], wide_bias.get(), *wide[2]);
    return copy_into(result, *wide[kind == ConvKind::Forward ? 2 : kind == ConvKind::Data ? 0 : 1]);
  }
  if (by_product(kind, s, x, w, bias, y)) return;
  if (by_product_of_patches(kind, s, dims, x, w, bias, y)) return;
  if (depthwise_convolution(kind, s, x, w, bias, y)) return;
#if TM_USE_MKLDNN
  if (result.dtype == DType::F32 && !few_inputs(kind, s, dims)) {
    if (kind == ConvKind::Data && data_by_convolutions(s, dims, x, w, y)) return;
    if (onednn_convolution(kind, s, dims, x, w, bias, y)) return;
  }
#endif
  of_columns(kind, s, x, w, bias, y);
}

// ---- Arguments ------------------------------------------------------------------------------

// stride, padding, dilation, transposed, output_padding, groups: in this order in both schemas.
struct Settings {
  Ints stride, padding, dilation, output_padding;
  bool transposed;
  int64_t groups;
  Settings(const Value* v)
      : stride(v[0].ints()),
        padding(v[1].ints()),
        dilation(v[2].ints()),
        output_padding(v[4].ints()),
        transposed(v[3].to_bool()),
        groups(v[5].to_int()) {}
};

std::string times(const int64_t* v, int n) {
  std::string text;
  for (int i = 0; i < n; ++i) text += (i ? " x " : "") + std::to_string(v[i]);
  return text;
}

// A conv from x to y; of a transposed one x and y have changed places. Sizes of x and w are known.
ConvShape shape_of(Ints x, Ints w, const Settings& s) {
  const int dims = static_cast<int>(x.size) - 2, added = 3 - dims;
  ConvShape shape;
  shape.batch = x[0];
  shape.groups = s.groups;
  shape.in_channels = s.transposed ? w[1] * s.groups : x[1];
  shape.out_channels = w[0];
  for (int d = 0; d < 3; ++d) {
    const int i = d - added;
    shape.stride[d] = i < 0 ? 1 : s.stride[i];
    shape.padding[d] = i < 0 ? 0 : s.padding[i];
    shape.dilation[d] = i < 0 ? 1 : s.dilation[i];
    shape.kernel[d] = i < 0 ? 1 : w[i + 2];
    const int64_t size = i < 0 ? 1 : x[i + 2];
    const int64_t span = shape.dilation[d] * (shape.kernel[d] - 1) + 1;
    if (s.transposed) {
      shape.out[d] = size;
      shape.in[d] = (size - 1) * shape.stride[d] - 2 * shape.padding[d] + span +
                    (i < 0 ? 0 : s.output_padding[i]);
    } else {
      shape.in[d] = size;
      const int64_t room = size + 2 * shape.padding[d] - span;
      shape.out[d] = room < 0 ? 0 : room / shape.stride[d] + 1;
    }
  }
  return shape;
}

void check_list(Ints v, int dims, int64_t least, const char* name) {
  if (v.size != dims) {
    fail(Error::Runtime, "expected ", name, " to have ", dims,
         " elements, one for each dimension; got ", format(v));
  }
  for (int64_t i : v) {
    if (i < least)
      fail(Error::Runtime, name, least ? " must be positive" : " must not be negative", "; got ",
           format(v));
  }
}

void check(const Tensor& x, const Tensor& w, const Value& bias, const Settings& s) {
  const int dims = w.ndim() - 2;
  if (dims < 1 || dims > 3 || x.ndim() != w.ndim()) {
    fail(Error::Runtime, "Expected ", w.ndim() - 1, "D (unbatched) or ", w.ndim(),
         "D (batched) input to conv", std::max(1, dims),
         "d, but got input of size: ", format(x.sizes()), " for a weight of size ",
         format(w.sizes()));
  }
  check_list(s.stride, dims, 1, "stride");
  check_list(s.padding, dims, 0, "padding");
  check_list(s.dilation, dims, 1, "dilation");
  check_list(s.output_padding, dims, 0, "output_padding");
  if (s.groups <= 0) fail(Error::Runtime, "groups must be positive; got ", s.groups);
  if (x.dtype != w.dtype || (!bias.none() && bias.t().dtype != x.dtype)) {
    fail(Error::Runtime, "Input type (", info(x.dtype).name, "), weight type (", info(w.dtype).name,
         ") and bias type must be the same",
         bias.none() ? "" : concat("; the bias is ", info(bias.t().dtype).name));
  }
  const int64_t out_channels = s.transposed ? w.layout->size(1) * s.groups : w.layout->size(0);
  const int64_t in_channels = s.transposed ? w.layout->size(0) : w.layout->size(1) * s.groups;
  if (x.layout->size(1) != in_channels) {
    fail(Error::Runtime, "Given groups=", s.groups, ", weight of size ", format(w.sizes()),
         ", expected input", format(x.sizes()), " to have ", in_channels, " channels, but got ",
         x.layout->size(1), " channels instead");
  }
  if (w.layout->size(0) % s.groups != 0 || w.layout->size(0) < s.groups) {
    fail(Error::Runtime, "Given groups=", s.groups,
         ", expected weight to be divisible by groups at "
         "dimension 0, but got weight of size ",
         format(w.sizes()), " instead");
  }
  if (!bias.none() && (bias.t().ndim() != 1 || bias.t().layout->size(0) != out_channels)) {
    fail(Error::Runtime, "Given weight of size ", format(w.sizes()),
         ", expected bias to be 1-dimensional "
         "with ",
         out_channels, " elements, but got bias of size ", format(bias.t().sizes()), " instead");
  }
  int64_t padded[3], spans[3];
  for (int d = 0; d < dims; ++d) {
    if (s.transposed && s.output_padding[d] >= std::max(s.stride[d], s.dilation[d])) {
      fail(Error::Runtime,
           "output padding must be smaller than either stride or dilation, but got "
           "output_padding ",
           format(s.output_padding), " stride ", format(s.stride), " dilation ",
           format(s.dilation));
    }
    padded[d] = x.layout->size(d + 2) + 2 * s.padding[d];
    spans[d] = s.dilation[d] * (w.layout->size(d + 2) - 1) + 1;
    if (w.layout->size(d + 2) <= 0) {
      fail(Error::Runtime, "kernel size should be greater than zero, but got shape ",
           format(w.sizes()));
    }
  }
  for (int d = 0; d < dims && !s.transposed; ++d) {
    if (padded[d] < spans[d]) {
      fail(Error::Runtime, "Calculated padded input size per channel: (", times(padded, dims),
           "). Kernel size: (", times(spans, dims),
           "). Kernel size can't be greater than actual input size");
    }
  }
}

bool wants_channels_last(const Tensor& t) {
  return t.layout->channels_last && !t.layout->contiguous;
}

// convolution(input, weight, bias, stride, padding, dilation, transposed, output_padding, groups)
void infer_convolution(Call& c) {
  const Tensor &x = c.args[0].t(), &w = c.args[1].t();
  const Settings s(c.args + 3);
  check(x, w, c.args[2], s);
  const ConvShape shape = shape_of(x.sizes(), w.sizes(), s);
  const int64_t* spatial = s.transposed ? shape.in : shape.out;
  std::vector<int64_t> sizes{x.layout->size(0),
                             s.transposed ? shape.in_channels : shape.out_channels};
  for (int d = 5 - x.ndim(); d < 3; ++d) {
    if (spatial[d] < (s.transposed ? 0 : 1)) {
      fail(Error::Runtime, "Given input size per channel: ", format(x.sizes()),
           ". Calculated output size is too "
           "small: ",
           spatial[d]);
    }
    sizes.push_back(spatial[d]);
  }
  const bool last =
      (x.ndim() == 4 || x.ndim() == 5) && (wants_channels_last(x) || wants_channels_last(w));
  LayoutRef layout = last ? channels_last_layout(sizes) : contiguous_layout(sizes);
  c.outs.push(empty(layout.get(), x.dtype, x.device()));
}
void run_convolution(Call& c) {
  Tensor &input = c.args[0].t(), &w = c.args[1].t(), &out = *c.outs[0];
  const Settings s(c.args + 3);
  Tensor* bias = c.args[2].none() ? nullptr : c.args[2].tensor;
  const ConvShape shape = shape_of(input.sizes(), w.sizes(), s);
  const int dims = input.ndim() - 2;
  if (!s.transposed) return convolve(ConvKind::Forward, shape, dims, input, w, bias, out);
  convolve(ConvKind::Data, shape, dims, out, w, nullptr, input);
  if (bias) {
    static Op& add = core_op("add");
    std::vector<int64_t> sizes(out.ndim() - 1, 1);
    sizes[0] = bias->numel();
    std::vector<int64_t> strides(sizes.size(), 0);
    strides[0] = bias->layout->stride(0);
    LayoutRef layout = intern(sizes, strides, bias->layout->offset);
    TensorRef column = alias(*bias, layout.get());
    copy_into(out, *call1(add, {Value(&out), Value(column)}));
  }
}
TM_NATIVE("convolution", infer_convolution, run_convolution);

// _convolution_weight(grad, input, sizes, stride, padding, dilation, transposed, output_padding,
// groups): the gradient of the weight, which has the given sizes.
void infer_convolution_weight(Call& c) {
  c.outs.push(empty(c.args[2].ints(), c.args[0].t().dtype, c.args[0].t().device()));
}
void run_convolution_weight(Call& c) {
  Tensor &g = c.args[0].t(), &input = c.args[1].t(), &out = *c.outs[0];
  const Settings s(c.args + 3);
  const ConvShape shape = shape_of(input.sizes(), out.sizes(), s);
  convolve(ConvKind::Weight, shape, g.ndim() - 2, s.transposed ? g : input, out, nullptr,
           s.transposed ? input : g);
}
TM_NATIVE("_convolution_weight", infer_convolution_weight, run_convolution_weight);

}  // namespace
}  // namespace taimatsu
