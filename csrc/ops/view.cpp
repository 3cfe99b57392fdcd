// Views: new sizes, strides and offset over the same storage.
#include <algorithm>

#include "autograd/autograd.h"
#include "ops/launch.h"

namespace taimatsu {
namespace {

struct Strided {  // a layout being put together
  int64_t sizes[kMaxDims + 1], strides[kMaxDims + 1];
  int64_t ndim, offset;

  explicit Strided(const Tensor& t) : ndim(t.ndim()), offset(t.layout->offset) {
    std::copy(t.sizes().begin(), t.sizes().end(), sizes);
    std::copy(t.strides().begin(), t.strides().end(), strides);
  }
  LayoutRef intern() const {
    if (ndim > kMaxDims) fail(Error::Runtime, "too many dims: at most ", kMaxDims);
    return taimatsu::intern({sizes, ndim}, {strides, ndim}, offset);
  }
  void remove(int64_t d) {
    std::copy(sizes + d + 1, sizes + ndim, sizes + d);
    std::copy(strides + d + 1, strides + ndim, strides + d);
    --ndim;
  }
  void insert(int64_t d, int64_t size, int64_t stride) {
    std::copy_backward(sizes + d, sizes + ndim, sizes + ndim + 1);
    std::copy_backward(strides + d, strides + ndim, strides + ndim + 1);
    sizes[d] = size;
    strides[d] = stride;
    ++ndim;
  }
};

// The strides that `sizes` has on t's memory, or false if elements would have to move.
bool view_strides(const Layout& l, Ints sizes, int64_t* out) {
  std::fill(out, out + sizes.size, 0);
  if (l.numel == 0) {
    int64_t step = 1;
    for (int64_t d = sizes.size; d-- > 0; step *= std::max<int64_t>(1, sizes[d])) out[d] = step;
    return true;
  }
  // Walk runs of old dims that are one in memory, and cut each into new dims.
  int64_t d = sizes.size - 1;
  int64_t base = l.ndim ? l.stride(l.ndim - 1) : 1;
  int64_t old_run = 1, new_run = 1;
  for (int o = l.ndim - 1; o >= 0; --o) {
    old_run *= l.size(o);
    if (o == 0 || (l.size(o - 1) != 1 && l.stride(o - 1) != old_run * base)) {
      while (d >= 0 && (new_run < old_run || sizes[d] == 1)) {
        out[d] = new_run * base;
        new_run *= sizes[d--];
      }
      if (new_run != old_run) return false;
      if (o > 0) {
        base = l.stride(o - 1);
        old_run = new_run = 1;
      }
    }
  }
  for (; d >= 0; --d) out[d] = base;
  return true;
}

void resolve(Ints sizes, int64_t numel, int64_t* out) {  // fills in a -1
  if (sizes.size > kMaxDims) fail(Error::Runtime, "too many dims: ", sizes.size);
  int64_t known = 1, unknown = -1;
  bool too_large = false;
  for (int64_t d = 0; d < sizes.size; ++d) {
    out[d] = sizes[d];
    if (sizes[d] == -1) {
      if (unknown >= 0) fail(Error::Runtime, "only one dimension can be inferred");
      unknown = d;
    } else if (sizes[d] < 0) {
      fail(Error::Runtime, "invalid shape dimension ", sizes[d]);
    } else {
      too_large |= __builtin_mul_overflow(known, sizes[d], &known);
    }
  }
  if (unknown >= 0 && known == 0 && numel == 0) {
    fail(Error::Runtime, "cannot reshape tensor of 0 elements into shape ", format(sizes),
         " because the unspecified dimension size -1 can be any value and is ambiguous");
  }
  if (too_large || (unknown >= 0 ? known == 0 || numel % known : known != numel)) {
    fail(Error::Runtime, "shape '", format(sizes), "' is invalid for input of size ", numel);
  }
  if (unknown >= 0) out[unknown] = numel / known;
}

LayoutRef reshaped(const Tensor& t, Ints requested, bool may_copy) {
  int64_t extent[kMaxDims], stride[kMaxDims];
  resolve(requested, t.numel(), extent);
  const Ints sizes(extent, requested.size);
  if (t.layout->contiguous && t.layout->offset == 0) return contiguous_layout(sizes);
  if (view_strides(*t.layout, sizes, stride)) {
    return intern(sizes, {stride, sizes.size}, t.layout->offset);
  }
  if (may_copy) return nullptr;
  fail(Error::Runtime,
       "view size is not compatible with input tensor's size and stride (at least "
       "one dimension spans across two contiguous subspaces). Use .reshape(...) instead. "
       "The input has shape ",
       format(t.sizes()), " and strides ", format(t.strides()));
}

LayoutRef permuted(const Tensor& t, Ints dims) {
  const int n = t.ndim();
  if (dims.size != n) {
    fail(Error::Runtime,
         "permute(sparse_coo): number of dimensions in the tensor input does not "
         "match the length of the desired ordering of dimensions i.e. input.dim() = ",
         n, " is not equal to len(dims) = ", dims.size);
  }
  Strided s(t);
  bool seen[kMaxDims] = {false};
  for (int i = 0; i < n; ++i) {
    int64_t d = wrap_dim(dims[i], n);
    if (seen[d]) fail(Error::Runtime, "duplicate dims are not allowed in ", format(dims));
    seen[d] = true;
    s.sizes[i] = t.layout->size(d);
    s.strides[i] = t.layout->stride(d);
  }
  return s.intern();
}

LayoutRef transposed(const Tensor& t, int64_t a, int64_t b) {
  a = wrap_dim(a, t.ndim());
  b = wrap_dim(b, t.ndim());
  if (t.ndim() == 0 || a == b) return LayoutRef(t.layout);
  Strided s(t);
  std::swap(s.sizes[a], s.sizes[b]);
  std::swap(s.strides[a], s.strides[b]);
  return s.intern();
}

LayoutRef sliced(const Tensor& t, int64_t dim, int64_t start, int64_t stop, int64_t step) {
  if (t.ndim() == 0) fail(Error::Runtime, "slice() cannot be applied to a 0-dim tensor");
  dim = wrap_dim(dim, t.ndim());
  if (step <= 0) fail(Error::Value, "slice step must be positive");
  const int64_t n = t.layout->size(dim);
  auto clamp = [&](int64_t i) { return std::min(std::max<int64_t>(i < 0 ? i + n : i, 0), n); };
  start = clamp(start);
  stop = std::max(clamp(stop), start);
  Strided s(t);
  s.offset = wrapping_add(s.offset, wrapping_mul(start, s.strides[dim]));
  s.sizes[dim] = stop == start ? 0 : (stop - start - 1) / step + 1;
  s.strides[dim] = wrapping_mul(s.strides[dim], step);
  return s.intern();
}

LayoutRef expanded(const Tensor& t, Ints sizes) {
  const int64_t extra = sizes.size - t.ndim();
  if (extra < 0) {
    fail(Error::Runtime, "the number of sizes provided (", sizes.size,
         ") must be greater or equal to the number of dimensions in the tensor (", t.ndim(), ")");
  }
  Strided s(t);
  if (sizes.size > kMaxDims) fail(Error::Runtime, "too many dims: ", sizes.size);
  for (int64_t d = 0; d < extra; ++d) s.insert(0, 1, 0);
  for (int64_t d = 0; d < sizes.size; ++d) {
    if (sizes[d] == -1 && d >= extra) continue;
    if (sizes[d] < 0) {
      fail(Error::Runtime, "The expanded size of the tensor (", sizes[d],
           ") isn't allowed in a leading, non-existing dimension ", d);
    }
    if (s.sizes[d] != 1 && s.sizes[d] != sizes[d]) {
      fail(Error::Runtime, "The expanded size of the tensor (", sizes[d],
           ") must match the existing size (", s.sizes[d], ") at non-singleton dimension ", d,
           ".  Target sizes: ", format(sizes), ".  Tensor sizes: ", format(t.sizes()));
    }
    if (s.sizes[d] == 1 && (sizes[d] != 1 || d < extra)) s.strides[d] = 0;
    s.sizes[d] = sizes[d];
  }
  return s.intern();
}

// ---- Routines: (self, the op's arguments) -> layout ---------------------------------------------

LayoutRef view_alias(const Tensor& t, const Value*) { return LayoutRef(t.layout); }
LayoutRef view_view(const Tensor& t, const Value* a) { return reshaped(t, a[1].ints(), false); }
LayoutRef view_reshape(const Tensor& t, const Value* a) { return reshaped(t, a[1].ints(), true); }
LayoutRef view_permute(const Tensor& t, const Value* a) { return permuted(t, a[1].ints()); }
LayoutRef view_transpose(const Tensor& t, const Value* a) {
  return transposed(t, a[1].to_int(), a[2].to_int());
}
LayoutRef view_t(const Tensor& t, const Value*) {
  if (t.ndim() > 2)
    fail(Error::Runtime, "t() expects a tensor with <= 2 dimensions, but self is ", t.ndim(), "D");
  return t.ndim() < 2 ? LayoutRef(t.layout) : transposed(t, 0, 1);
}
LayoutRef view_mT(const Tensor& t, const Value*) {
  if (t.ndim() < 2) {
    fail(Error::Runtime, "tensor.mT is only supported on matrices or batches of matrices. Got ",
         t.ndim(), "-D tensor.");
  }
  return transposed(t, -2, -1);
}
LayoutRef view_select(const Tensor& t, const Value* a) {
  if (t.ndim() == 0) fail(Error::Index, "select() cannot be applied to a 0-dim tensor.");
  int64_t dim = wrap_dim(a[1].to_int(), t.ndim()), i = a[2].to_int();
  const int64_t n = t.layout->size(dim);
  if (i < -n || i >= n) {
    fail(Error::Index, "select(): index ", i, " out of range for tensor of size ",
         format(t.sizes()), " at dimension ", dim);
  }
  Strided s(t);
  s.offset = wrapping_add(s.offset, wrapping_mul(i < 0 ? i + n : i, s.strides[dim]));
  s.remove(dim);
  return s.intern();
}
LayoutRef view_slice(const Tensor& t, const Value* a) {
  return sliced(t, a[1].to_int(), a[2].none() ? 0 : a[2].to_int(),
                a[3].none() ? INT64_MAX : a[3].to_int(), a[4].none() ? 1 : a[4].to_int());
}
LayoutRef view_narrow(const Tensor& t, const Value* a) {
  if (t.ndim() == 0) fail(Error::Runtime, "narrow() cannot be applied to a 0-dim tensor.");
  int64_t dim = wrap_dim(a[1].to_int(), t.ndim()), start = a[2].to_int(), length = a[3].to_int();
  const int64_t n = t.layout->size(dim);
  if (start < -n || start > n) {
    fail(Error::Index, "start out of range (expected to be in range of [", -n, ", ", n,
         "], but got ", start, ")");
  }
  if (start < 0) start += n;
  if (length < 0) fail(Error::Runtime, "length must be non-negative; got ", length);
  if (length > n - start) {
    fail(Error::Runtime, "start (", start, ") + length (", length, ") exceeds dimension size (", n,
         ").");
  }
  return sliced(t, dim, start, start + length, 1);
}
LayoutRef view_expand(const Tensor& t, const Value* a) { return expanded(t, a[1].ints()); }
LayoutRef view_squeeze(const Tensor& t, const Value*) {
  Strided s(t);
  for (int64_t d = t.ndim(); d-- > 0;) {
    if (s.sizes[d] == 1) s.remove(d);
  }
  return s.intern();
}
LayoutRef view_squeeze_dims(const Tensor& t, const Value* a) {
  Strided s(t);
  bool drop[kMaxDims] = {false};
  if (a[1].tag == Value::Number) {
    drop[wrap_dim(a[1].to_int(), t.ndim())] = true;
  } else {
    for (int64_t d : a[1].ints()) drop[wrap_dim(d, t.ndim())] = true;
  }
  for (int64_t d = t.ndim(); d-- > 0;) {
    if (drop[d] && s.sizes[d] == 1) s.remove(d);
  }
  return s.intern();
}
LayoutRef view_unsqueeze(const Tensor& t, const Value* a) {
  int64_t d = wrap_dim(a[1].to_int(), t.ndim() + 1);
  Strided s(t);
  s.insert(d, 1, d < t.ndim() ? wrapping_mul(s.sizes[d], s.strides[d]) : 1);
  return s.intern();
}
LayoutRef view_flatten(const Tensor& t, const Value* a) {
  if (t.ndim() == 0) {
    int64_t one = 1;
    return reshaped(t, Ints(&one, 1), true);
  }
  int64_t from = wrap_dim(a[1].to_int(), t.ndim()), to = wrap_dim(a[2].to_int(), t.ndim());
  if (from > to)
    fail(Error::Runtime, "flatten() has invalid args: start_dim cannot come after end_dim");
  if (from == to) return LayoutRef(t.layout);
  std::vector<int64_t> sizes(t.sizes().begin(), t.sizes().begin() + from);
  int64_t n = 1;
  for (int64_t d = from; d <= to; ++d) n *= t.layout->size(d);
  sizes.push_back(n);
  sizes.insert(sizes.end(), t.sizes().begin() + to + 1, t.sizes().end());
  return reshaped(t, sizes, true);
}
LayoutRef view_as_strided(const Tensor& t, const Value* a) {
  Ints sizes = a[1].ints(), strides = a[2].ints();
  const int64_t offset = a[3].none() ? t.layout->offset : a[3].to_int();
  LayoutRef layout = checked_layout(sizes, strides, offset, "as_strided");
  const size_t needed = bytes_reached(*layout, t.dtype);
  if (needed > t.storage->nbytes && t.device().type != DeviceType::Meta) {
    fail(Error::Runtime, "setStorage: sizes ", format(sizes), ", strides ", format(strides),
         ", storage offset ", offset, ", and itemsize ", itemsize(t.dtype),
         " requiring a storage size of ", needed, " are out of bounds for storage of size ",
         t.storage->nbytes);
  }
  return layout;
}
LayoutRef view_diagonal(const Tensor& t, const Value* a) {
  int64_t offset = a[1].to_int();
  int64_t d1 = wrap_dim(a[2].to_int(), t.ndim()), d2 = wrap_dim(a[3].to_int(), t.ndim());
  if (d1 == d2) {
    fail(Error::Runtime, "diagonal dimensions cannot be identical ", a[2].to_int(), ", ",
         a[3].to_int());
  }
  Strided s(t);
  int64_t rows = s.sizes[d1], columns = s.sizes[d2];
  int64_t n = std::max<int64_t>(
      0, offset >= 0 ? std::min(rows, columns - offset) : std::min(rows + offset, columns));
  if (n > 0) {
    s.offset = wrapping_add(s.offset, offset >= 0 ? wrapping_mul(offset, s.strides[d2])
                                                  : wrapping_mul(-offset, s.strides[d1]));
  }
  int64_t stride = wrapping_add(s.strides[d1], s.strides[d2]);
  s.remove(std::max(d1, d2));
  s.remove(std::min(d1, d2));
  s.insert(s.ndim, n, stride);
  return s.intern();
}
LayoutRef view_unfold(const Tensor& t, const Value* a) {
  int64_t dim = wrap_dim(a[1].to_int(), t.ndim()), size = a[2].to_int(), step = a[3].to_int();
  const int64_t n = t.ndim() ? t.layout->size(dim) : 1;
  if (size < 0 || size > n) {
    fail(Error::Runtime, "maximum size for tensor at dimension ", dim, " is ", n, " but size is ",
         size);
  }
  if (step <= 0) fail(Error::Runtime, "step is ", step, " but must be > 0");
  Strided s(t);
  int64_t stride = t.ndim() ? s.strides[dim] : 1;
  if (t.ndim()) {
    s.sizes[dim] = (n - size) / step + 1;
    s.strides[dim] = wrapping_mul(stride, step);
  }
  s.insert(s.ndim, size, stride);
  return s.intern();
}

void views_of_sections(const Tensor& t, int64_t dim, Ints lengths, std::vector<LayoutRef>& out) {
  int64_t at = 0;
  for (int64_t n : lengths) {
    out.push_back(sliced(t, dim, at, at + n, 1));
    at += n;
  }
}
void views_split(const Tensor& t, const Value* a, std::vector<LayoutRef>& out) {
  if (t.ndim() == 0) fail(Error::Runtime, "split expects at least a 1-dimensional tensor");
  int64_t dim = wrap_dim(a[2].to_int(), t.ndim());
  const int64_t n = t.layout->size(dim);
  if (a[1].tag == Value::Ints) {
    int64_t total = 0;
    bool too_many = false;
    for (int64_t k : a[1].ints()) {
      if (k < 0)
        fail(Error::Runtime,
             "split_with_sizes expects split_sizes have only non-negative entries, but got "
             "split_sizes=",
             format(a[1].ints()));
      too_many |= __builtin_add_overflow(total, k, &total);
    }
    if (too_many || total != n) {
      fail(Error::Runtime, "split_with_sizes expects split_sizes to sum exactly to ", n,
           " (input tensor's size at dimension ", dim,
           "), but got split_sizes=", format(a[1].ints()));
    }
    return views_of_sections(t, dim, a[1].ints(), out);
  }
  int64_t size = a[1].to_int();
  if (size < 0 || (size == 0 && n != 0)) {
    fail(Error::Runtime, "split expects split_size be non-negative, but got split_size=", size);
  }
  std::vector<int64_t> lengths;
  for (int64_t at = 0; at < n; at += size) lengths.push_back(std::min(size, n - at));
  if (lengths.empty()) lengths.push_back(0);
  views_of_sections(t, dim, lengths, out);
}
void views_unbind(const Tensor& t, const Value* a, std::vector<LayoutRef>& out) {
  if (t.ndim() == 0)
    fail(Error::Index, "Dimension specified as ", a[1].to_int(), " but tensor has no dimensions");
  int64_t dim = wrap_dim(a[1].to_int(), t.ndim());
  for (int64_t i = 0; i < t.layout->size(dim); ++i) {
    Strided s(t);
    s.offset = wrapping_add(s.offset, wrapping_mul(i, s.strides[dim]));
    s.remove(dim);
    out.push_back(s.intern());
  }
}

DType view_real_dtype(const Tensor& t, const Value*) {
  if (!is_complex(t.dtype)) fail(Error::Runtime, "is only supported for complex tensors");
  return real_dtype(t.dtype);
}
LayoutRef view_as_real(const Tensor& t, const Value*) {
  Strided s(t);
  for (int64_t d = 0; d < s.ndim; ++d) s.strides[d] *= 2;
  s.offset *= 2;
  s.insert(s.ndim, 2, 1);
  return s.intern();
}
DType view_complex_dtype(const Tensor& t, const Value*) {
  if (t.dtype != DType::F16 && t.dtype != DType::F32 && t.dtype != DType::F64) {
    fail(Error::Runtime,
         "view_as_complex is only supported for half, float and double tensors, "
         "but got a tensor of scalar type: ",
         info(t.dtype).legacy);
  }
  return complex_dtype(t.dtype);
}
LayoutRef view_as_complex(const Tensor& t, const Value*) {
  const int n = t.ndim();
  if (n == 0 || t.layout->size(n - 1) != 2) {
    fail(Error::Runtime, "Tensor must have a last dimension of size 2");
  }
  if (t.layout->stride(n - 1) != 1) {
    fail(Error::Runtime, "Tensor must have a last dimension with stride 1");
  }
  Strided s(t);
  s.remove(n - 1);
  for (int64_t d = 0; d < s.ndim; ++d) {
    if (s.strides[d] % 2) {
      fail(Error::Runtime, "Tensor must have a stride divisible by 2 for all but last dimension");
    }
    s.strides[d] /= 2;
  }
  if (s.offset % 2) fail(Error::Runtime, "Tensor must have a storage_offset divisible by 2");
  s.offset /= 2;
  return s.intern();
}

// The same bytes as elements of another dtype. Elements of another size regroup along the last dim,
// which must have them side by side.
DType view_other_dtype(const Tensor&, const Value* a) { return a[1].dtype; }
LayoutRef view_dtype(const Tensor& t, const Value* a) {
  const DType to = a[1].dtype;
  const int64_t old_size = itemsize(t.dtype), new_size = itemsize(to);
  if (old_size == new_size) return LayoutRef(t.layout);
  const std::string purpose = concat(" to view ", info(t.dtype).legacy, " as ", info(to).legacy,
                                     " (different element sizes)");
  if (t.ndim() == 0) fail(Error::Runtime, "self.dim() cannot be 0", purpose);
  Strided s(t);
  const int64_t last = s.ndim - 1;
  if (s.strides[last] != 1) {
    fail(Error::Runtime, "self.stride(-1) must be 1", purpose, ", but got ", s.strides[last],
         "; call contiguous() first");
  }
  if (old_size > new_size) {
    const int64_t ratio = old_size / new_size;
    bool too_large = __builtin_mul_overflow(s.offset, ratio, &s.offset) ||
                     __builtin_mul_overflow(s.sizes[last], ratio, &s.sizes[last]);
    for (int64_t d = 0; d < last; ++d) {
      too_large |= __builtin_mul_overflow(s.strides[d], ratio, &s.strides[d]);
    }
    if (too_large) fail(Error::Runtime, "sizes overflow int64", purpose);
    return s.intern();
  }
  const int64_t ratio = new_size / old_size;
  auto divide = [&](int64_t& n, auto&&... what) {
    if (n % ratio) {
      fail(Error::Runtime, what..., " must be divisible by ", ratio, purpose, ", but got ", n);
    }
    n /= ratio;
  };
  divide(s.sizes[last], "self.size(-1)");
  divide(s.offset, "self.storage_offset()");
  for (int64_t d = 0; d < last; ++d) divide(s.strides[d], "self.stride(", d, ")");
  return s.intern();
}

using V = ViewRoutine;
TM_VIEW("alias", {view_alias, nullptr, V::Reshape});
TM_VIEW("view", {view_view, nullptr, V::Reshape});
TM_VIEW("view.dtype", {view_dtype, nullptr, V::None, view_other_dtype});
TM_VIEW("reshape", {view_reshape, nullptr, V::Reshape});
TM_VIEW("flatten", {view_flatten, nullptr, V::Reshape});
TM_VIEW("permute", {view_permute, nullptr, V::Permute});
TM_VIEW("transpose", {view_transpose, nullptr, V::Permute});
TM_VIEW("t", {view_t, nullptr, V::Permute});
TM_VIEW("mT", {view_mT, nullptr, V::Permute});
TM_VIEW("select", {view_select});
TM_VIEW("slice", {view_slice});
TM_VIEW("narrow", {view_narrow});
TM_VIEW("expand", {view_expand, nullptr, V::SumTo});
TM_VIEW("squeeze", {view_squeeze, nullptr, V::Reshape});
TM_VIEW("squeeze.dim", {view_squeeze_dims, nullptr, V::Reshape});
TM_VIEW("squeeze.dims", {view_squeeze_dims, nullptr, V::Reshape});
TM_VIEW("unsqueeze", {view_unsqueeze, nullptr, V::Reshape});
TM_VIEW("as_strided", {view_as_strided});
TM_VIEW("diagonal", {view_diagonal});
TM_VIEW("unfold", {view_unfold});
TM_VIEW("split", {nullptr, views_split});
TM_VIEW("split.sizes", {nullptr, views_split});
TM_VIEW("unbind", {nullptr, views_unbind});
TM_VIEW("view_as_real", {view_as_real, nullptr, V::Embed, view_real_dtype});
TM_VIEW("view_as_complex", {view_as_complex, nullptr, V::Embed, view_complex_dtype});

}  // namespace

void run_view(Call& c) {
  Tensor& self = c.args[0].t();
  const ViewRoutine& r = *c.op.view;
  DType dtype = r.dtype ? r.dtype(self, c.args) : self.dtype;
  if (r.layouts) {
    std::vector<LayoutRef> layouts;
    r.layouts(self, c.args, layouts);
    for (auto& l : layouts) c.outs.push(make_tensor(self.storage, l.get(), dtype));
    c.outs.is_list = true;
    return;
  }
  LayoutRef layout = r.layout(self, c.args);
  if (layout) {
    c.outs.push(make_tensor(self.storage, layout.get(), dtype));
    return;
  }
  // Elements have to move (reshape): a copy, and a view of that.
  static Op& clone_op = core_op("clone");
  TensorRef copy = call1(clone_op, {Value(&self), Value(MemoryFormat::Contiguous)});
  Value args[kMaxArgs];
  std::copy(c.args, c.args + c.op.schema.params.size(), args);
  args[0] = Value(copy);
  c.outs.push(make_tensor(copy->storage, r.layout(*copy, args).get(), dtype));
  record_view(c.op, args, c.outs);
  c.recorded = true;
}

}  // namespace taimatsu
