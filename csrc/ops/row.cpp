// Row ops: one row of the output from a row of the inputs (reductions, softmax, norms, scans).
//
// Every dim of the full shape belongs to the row or is kept. A Row operand has all of them, a Cell
// the kept ones (or all, with extent 1 in the row), a Shared the row's.
#include <algorithm>

#include "cpu/threads.h"
#include "ops/launch.h"

namespace taimatsu {
namespace {

constexpr int64_t kBlock = 32768;    // elements of a row that one partial accumulator covers
constexpr int64_t kShortRow = 16;    // below, the vector runs across rows
constexpr int64_t kMediumRow = 512;  // below, rows are folded in bundles
constexpr int64_t kBundle = 8;       // rows of one

// The full shape of a call and which of its dims belong to the row.
struct RowShape {
  int64_t extent[kMaxDims];
  bool in_row[kMaxDims];
  int dims = 0;
  bool scalar = false;  // the operand has no dims: one row of one element
  Ints sizes() const { return {extent, dims}; }
  Ints operand_sizes() const { return {extent, scalar ? 0 : dims}; }

  explicit RowShape(const Call& c) {
    bool first = true;
    for (uint8_t i : c.op.operands) {
      const Param& p = c.op.schema.params[i];
      if (p.role != Role::Row || !c.args[i].is_tensor()) continue;
      Ints own = c.args[i].t().sizes();
      if (!first && own != sizes()) {
        std::vector<int64_t> all(extent, extent + dims);
        broadcast_into(all, own);
        dims = static_cast<int>(all.size());
        std::copy(all.begin(), all.end(), extent);
      } else if (first) {
        dims = static_cast<int>(own.size);
        std::copy(own.begin(), own.end(), extent);
      }
      first = false;
    }
    scalar = dims == 0;
    if (scalar) extent[dims++] = 1;
    std::fill(in_row, in_row + dims, false);
    const RowSpec& spec = c.op.rows;
    const int n = dims;
    auto mark = [&](int64_t d) {
      d = wrap_dim(d, scalar ? 0 : n);
      if (in_row[d]) {
        fail(Error::Runtime, "dim ", d, " appears multiple times in the list of dims");
      }
      in_row[d] = true;
    };
    switch (spec.kind) {
      case RowSpec::All: std::fill(in_row, in_row + n, true); break;
      case RowSpec::Fixed: {
        const int d = spec.index < 0 ? n + spec.index : spec.index;
        if (0 <= d && d < n) in_row[d] = true;
        break;
      }
      case RowSpec::Trailing: {
        Ints shape = c.args[spec.index].ints();
        if (shape.size > n || shape.size == 0 ||
            Ints(extent + n - shape.size, shape.size) != shape) {
          fail(Error::Runtime, "given ", c.op.schema.params[spec.index].name, "=", format(shape),
               ", expected input with shape [*, ", format(shape).substr(1),
               ", but got input of size ", format(operand_sizes()));
        }
        std::fill(in_row + n - shape.size, in_row + n, true);
        break;
      }
      case RowSpec::Param: {
        const Value& v = c.args[spec.index];
        if (v.none() || (v.tag == Value::Ints && v.list.size == 0)) {
          std::fill(in_row, in_row + n, true);
        } else if (v.tag == Value::Ints) {
          for (int64_t d : v.ints()) mark(d);
        } else {
          mark(v.to_int());
        }
      }
    }
    if (spec.complement) {
      for (int d = 0; d < n; ++d) in_row[d] = !in_row[d];
    }
  }

  // The sizes of an output of that role.
  Ints output_sizes(Role role, bool keepdim, int64_t* out) const {
    int n = 0;
    for (int d = 0; d < dims && !scalar; ++d) {
      if (role == Role::Row || in_row[d] == (role == Role::Shared)) {
        out[n++] = extent[d];
      } else if (role == Role::Cell && keepdim) {
        out[n++] = 1;
      }
    }
    return {out, n};
  }
  int64_t row_length() const {
    int64_t n = 1;
    for (int d = 0; d < dims; ++d) n *= in_row[d] ? extent[d] : 1;
    return n;
  }

  // Strides of an operand along every dim of the full shape; 0 where it is broadcast.
  void strides(const Tensor& t, Role role, int64_t* out) const {
    const int n = dims;
    std::fill(out, out + n, 0);
    if (t.ndim() == 0) return;
    auto bad = [&] {
      fail(Error::Runtime, "an operand of shape ", format(t.sizes()), " doesn't fit the rows of ",
           format(operand_sizes()));
    };
    auto put = [&](int d, int from) {
      if (t.layout->size(from) == 1) return;
      if (t.layout->size(from) != extent[d]) bad();
      out[d] = t.layout->stride(from);
    };
    // With all dims there is nothing to choose: extent 1 marks what the role leaves out.
    if (role == Role::Row || (role == Role::Cell && t.ndim() == n)) {
      if (t.ndim() > n) bad();
      for (int from = 0; from < t.ndim(); ++from) put(n - t.ndim() + from, from);
      return;
    }
    int from = t.ndim() - 1;  // right-aligned to the dims that the role has
    for (int d = n - 1; d >= 0 && from >= 0; --d) {
      if (in_row[d] == (role == Role::Shared)) put(d, from--);
    }
    if (from >= 0) bad();
  }
};

int row_operands(const Call& c, Tensor** tensors, Role* roles) {
  int n = 0;
  for (int i = 0; i < c.outs.size(); ++i) {
    tensors[n] = c.outs[i].get();
    roles[n++] = c.variant->outputs[i].role;
  }
  for (uint8_t i : c.op.operands) {
    if (!c.args[i].is_tensor()) continue;
    const Role role = c.op.schema.params[i].role;
    tensors[n] = c.args[i].tensor;
    roles[n++] = role == Role::Plain || role == Role::Index ? Role::Row : role;
  }
  return n;
}

// Row tensors whose row dims can't be walked with two axes, rewritten with them innermost.
TensorRef rows_innermost(Tensor& t, const RowShape& shape, bool copy) {
  const int n = shape.dims;
  std::vector<int64_t> strides(n);
  int64_t step = 1;
  for (bool row : {true, false}) {
    for (int d = n - 1; d >= 0; --d) {
      if (shape.in_row[d] != row) continue;
      strides[d] = step;
      step *= shape.extent[d];
    }
  }
  TensorRef out = empty(shape.sizes(), t.dtype, t.device());
  LayoutRef layout = intern(shape.sizes(), strides);
  out = make_tensor(out->storage, layout.get(), t.dtype);
  if (copy) copy_into(*out, t);
  return out;
}

// An argument that sizes follow from, beside the tensors.
Value argument(const Call& c, int param) { return param < 0 ? Value() : c.args[param]; }

bool names_rows(RowSpec::Kind k) { return k == RowSpec::Param || k == RowSpec::Trailing; }

}  // namespace

// What follows from layouts and dims alone. That of the last call is kept: most are like it.
struct RowMemo {
  explicit RowMemo(const Call& c) : dims_(dims(c)), keepdim_(argument(c, c.op.keepdim)) {
    for (uint8_t i : c.op.operands) {
      if (!c.args[i].is_tensor()) continue;
      if (operands_.empty()) device_ = c.args[i].t().device();
      operands_.emplace_back(c.args[i].t().layout);
    }
  }
  Device device() const { return device_; }
  bool fits(const Call& c) const {
    size_t n = 0;
    for (uint8_t i : c.op.operands) {
      if (!c.args[i].is_tensor()) continue;
      const Tensor& t = c.args[i].t();
      if (n == operands_.size() || operands_[n].get() != t.layout) return false;
      if (n++ == 0 && t.device() != device_) return false;
    }
    return n == operands_.size() && equal(dims_.get(), dims(c)) &&
           equal(keepdim_.get(), argument(c, c.op.keepdim));
  }
  bool gives(const Tensors& outs) const {  // an out= form may have other layouts
    for (int i = 0; i < outs.size(); ++i) {
      if (outs[i]->layout != outputs[i].get()) return false;
    }
    return true;
  }

  std::vector<LayoutRef> outputs;
  // Of the one launch, if one will do.
  bool direct = false;
  std::vector<int64_t> geometry;
  LayoutClass key;
  int64_t length = 0;

 private:
  static Value dims(const Call& c) {
    return names_rows(c.op.rows.kind) ? argument(c, c.op.rows.index) : Value();
  }
  Device device_;  // of the operands
  std::vector<LayoutRef> operands_;
  OwnedValue dims_, keepdim_;
};

void infer_row(Call& c, Tensor* const*) {
  Variant& v = find_variant(c);
  if (v.row && v.row->fits(c)) {
    const RowMemo& memo = *v.row;
    if (v.outputs.size() == 1) {
      return c.outs.push(empty(memo.outputs[0].get(), v.outputs[0].dtype, memo.device()));
    }
    const Device device = memo.device();
    const std::vector<LayoutRef> layouts = memo.outputs;  // a finalizer may call this op, too
    for (size_t i = 0; i < layouts.size(); ++i) {
      c.outs.push(empty(layouts[i].get(), v.outputs[i].dtype, device));
    }
    return;
  }
  RowShape shape(c);
  const bool keepdim = c.op.keepdim >= 0 && c.args[c.op.keepdim].to_bool();
  const Tensor* like = nullptr;
  for (uint8_t i : c.op.operands) {
    if (!like && c.args[i].is_tensor()) like = c.args[i].tensor;
  }
  if (!like) fail(Error::Type, "at least one argument must be a Tensor");
  // Rows come out contiguous, whatever the operand's strides, so that their elements can be viewed
  // in other shapes. Those of all dims but some, of images, may have channels innermost: they stay.
  const bool keeps_order = c.op.rows.complement && like->ndim() > 3;
  for (const Variant::Output& o : v.outputs) {
    if (o.role == Role::Row && keeps_order && like->sizes() == shape.sizes()) {
      c.outs.push(empty(dense_layout_like(*like->layout).get(), o.dtype, like->device()));
    } else {
      int64_t sizes[kMaxDims];
      c.outs.push(empty(shape.output_sizes(o.role, keepdim, sizes), o.dtype, like->device()));
    }
  }
  auto memo = std::make_shared<RowMemo>(c);
  for (int i = 0; i < c.outs.size(); ++i) memo->outputs.emplace_back(c.outs[i]->layout);
  v.row = std::move(memo);
}

namespace {

// The kernel over all rows, or over those of one place in the dims that it hasn't got.
class RowKernel {
 public:
  RowKernel(const Op& op, Variant& v, const RowMemo& m, int operands, Device device,
            const int64_t* scalars)
      : op_(op),
        kernel_(v.kernel(m.key, operands, 2, device)),
        length_(m.length),
        size_(8 + 4 * operands),
        scalars_(scalars) {
    std::copy(m.geometry.begin(), m.geometry.end(), geometry_);
  }
  int32_t run(void** ptr) {
    if (kernel_.finish) return run_blocks(ptr);
    return launch(launched(ptr));
  }
  // For each position of the dims [from, it.ndim).
  int32_t run_each(void** ptr, const Iteration& it, int from, const int64_t* itemsizes) {
    if (!kernel_.finish) return launch_each(launched(ptr), it.nops, it, from, itemsizes);
    int32_t status = 0;
    for_outer(it, from, [&](const int64_t* offset) {
      void* at[kMaxOperands];
      for (int i = 0; i < it.nops; ++i) {
        at[i] = static_cast<char*>(ptr[i]) + offset[i] * itemsizes[i];
      }
      status |= run_blocks(at);
    });
    return status;
  }

 private:
  int64_t rows() const { return geometry_[1] * geometry_[3]; }
  Launch launched(void** ptr) {
    return {kernel_, ptr, geometry_, size_, 4, scalars_, rows() * length_, length_, &op_};
  }
  int32_t run_blocks(void** ptr) {
    const int64_t rows = this->rows();
    const int axis = geometry_[5] >= 64 ? 2 : 3;  // r1 or r0
    const int64_t extent = geometry_[2 * axis + 1];
    const int64_t step = axis == 2 ? std::max<int64_t>(1, kBlock / geometry_[7]) : kBlock;
    const int64_t blocks = (extent + step - 1) / step;
    TensorRef states =
        empty(Ints(std::vector<int64_t>{blocks * rows * kernel_.state_bytes}.data(), 1), DType::U8);
    std::vector<int32_t> flags(blocks);
    PyThreadState* state = PyEval_SaveThread();
    parallel_for(blocks, 1, 1, [&](int64_t begin, int64_t end) {
      int64_t g[8 + 4 * kMaxOperands];
      std::copy(geometry_, geometry_ + size_, g);
      for (int64_t b = begin; b < end; ++b) {
        g[2 * axis] = b * step;
        g[2 * axis + 1] = std::min(extent, (b + 1) * step);
        flags[b] =
            kernel_.fn(ptr, g, scalars_, states->as<char>() + b * rows * kernel_.state_bytes);
      }
    });
    restore_gil(state);
    int32_t status = 0;
    for (int32_t f : flags) status |= f;
    return status | kernel_.finish(ptr, geometry_, scalars_, states->data(), blocks);
  }

  const Op& op_;
  Kernel kernel_;
  int64_t length_;
  int size_;
  const int64_t* scalars_;
  int64_t geometry_[8 + 4 * kMaxOperands];
};

// The operands of a launch in the order of its loops: `it` has the rows' dims first. Row tensors
// whose dims two axes can't walk are rewritten.
struct RowWalk {
  RowWalk(const RowShape& shape, Tensor* const* given, const Role* roles, int n, int nouts)
      : given_(given), nouts_(nouts) {
    int64_t strides[kMaxOperands][kMaxDims];
    const int64_t* rows[kMaxOperands];
    for (int i = 0; i < n; ++i) {
      tensors[i] = given[i];
      shape.strides(*given[i], roles[i], strides[i]);
      rows[i] = strides[i];
    }
    iterate_rows(it, {rows, n}, shape.sizes(), shape.in_row);
    if (it.reduced <= 2) return;
    rewritten_.resize(n);
    for (int i = 0; i < n; ++i) {
      if (roles[i] != Role::Row) continue;
      rewritten_[i] = rows_innermost(*given[i], shape, i >= nouts);
      tensors[i] = rewritten_[i].get();
      shape.strides(*tensors[i], Role::Row, strides[i]);
    }
    iterate_rows(it, {rows, n}, shape.sizes(), shape.in_row);
    if (it.reduced > 2) fail(Error::NotImplemented, "reductions over operands of such strides");
  }
  bool rewritten() const { return !rewritten_.empty(); }
  void store() const {  // the outputs where they were given
    for (int i = 0; i < nouts_ && rewritten(); ++i) {
      if (rewritten_[i]) copy_into(*given_[i], *rewritten_[i]);
    }
  }
  // A kernel has two kept dims; how many positions there are in the others.
  int first_outer() const { return it.reduced + 2; }
  int64_t outer() const {
    int64_t n = 1;
    for (int d = first_outer(); d < it.ndim; ++d) n *= it.extent[d];
    return n;
  }
  // The dim of an axis k1, k0, r1 or r0; -1 where it is absent.
  int dim(int axis) const {
    if (axis >= 2) return 3 - axis < it.reduced ? 3 - axis : -1;
    return 1 - axis < it.ndim - it.reduced ? it.reduced + 1 - axis : -1;
  }

  Iteration it;
  Tensor* tensors[kMaxOperands];

 private:
  std::vector<TensorRef> rewritten_;
  Tensor* const* given_;
  int nouts_;
};

// `along`: vectors can run along the rows of some operand.
LayoutClass::Rows way_to_run(const RowMemo& memo, const RowWalk& walk, bool along) {
  if (memo.length < kShortRow) return LayoutClass::Short;
  if (walk.tensors[0]->device().type != DeviceType::CPU) return LayoutClass::Whole;
  const int64_t k1 = memo.geometry[1], k0 = memo.geometry[3];
  if (k1 * k0 * walk.outer() < kFewRows && memo.length >= kLongRow) return LayoutClass::Blocked;
  const bool bundled = along && memo.length < kMediumRow && k0 >= kBundle;
  return bundled ? LayoutClass::Bundled : LayoutClass::Whole;
}

// What the kernel for the walk is, and its geometry: of absent axes extent 1 and stride 0.
void describe(RowMemo& memo, const RowWalk& walk, const Role* roles, int n) {
  std::vector<int64_t>& geometry = memo.geometry;
  geometry.resize(8 + 4 * n);
  for (int a = 0; a < 4; ++a) {
    const int d = walk.dim(a);
    geometry[2 * a] = 0;
    geometry[2 * a + 1] = d < 0 ? 1 : walk.it.extent[d];
    for (int i = 0; i < n; ++i) geometry[8 + 4 * i + a] = d < 0 ? 0 : walk.it.stride[i][d];
  }
  if (memo.length == 0) geometry[7] = 0;
  bool along = false;
  for (int i = 0; i < n; ++i) {
    along |= roles[i] == Role::Row && geometry[8 + 4 * i + 3] == 1;
  }
  for (int i = 0; i < n; ++i) {
    // An axis of extent 1 is as good as contiguous, where the operand has it at all; but a single
    // row has no vectors across it, be its elements where they will.
    auto cls = [&](int a) {
      if (geometry[2 * a + 1] != 1) return stride_class(geometry[8 + 4 * i + a]);
      const bool absent = roles[i] == (a < 2 ? Role::Shared : Role::Cell);
      return absent || (a == 1 && !along) ? stride_class(0) : 1;
    };
    memo.key.add(i, cls(1), cls(3));
  }
  memo.key.rows = way_to_run(memo, walk, along);
  memo.direct = walk.outer() == 1 && !walk.rewritten();
}

void check_not_empty(const Call& c, const RowShape& shape) {
  if (!c.op.nonempty || shape.row_length() > 0) return;
  const Value dims = c.op.rows.kind == RowSpec::Param ? c.args[c.op.rows.index] : Value();
  const bool named = !dims.none() && !(dims.tag == Value::Ints && dims.list.size == 0);
  fail(named ? Error::Index : Error::Runtime,
       "Expected reduction dim to have non-zero size; the input has shape ",
       format(shape.operand_sizes()));
}

// A kernel over the rows of the call `c`; what it was launched with.
std::shared_ptr<RowMemo> run_rows(const Call& c, Variant& v, Tensor* const* tensors,
                                  const Role* roles, int n, int nouts, const int64_t* scalars) {
  const RowShape shape(c);
  if (std::all_of(tensors, tensors + nouts, [](Tensor* t) { return t->numel() == 0; })) {
    return nullptr;
  }
  check_not_empty(c, shape);
  const RowWalk walk(shape, tensors, roles, n, nouts);
  auto memo = std::make_shared<RowMemo>(c);
  memo->length = shape.row_length();
  describe(*memo, walk, roles, n);

  void* base[kMaxOperands];  // now: where the kernel isn't known yet, Python runs
  int64_t itemsizes[kMaxOperands];
  for (int i = 0; i < n; ++i) {
    base[i] = walk.tensors[i]->data();
    itemsizes[i] = itemsize(walk.tensors[i]->dtype);
  }
  RowKernel kernel(c.op, v, *memo, n, walk.tensors[0]->device(), scalars);
  const int32_t status = walk.outer() == 1
                             ? kernel.run(base)
                             : kernel.run_each(base, walk.it, walk.first_outer(), itemsizes);
  if (status) check_status(c.op, status);
  walk.store();
  return memo;
}

}  // namespace

void run_row(Call& c) {
  Variant& v = find_variant(c);
  int64_t scalars[kMaxScalars];
  if (!v.scalars.empty()) pack_scalars(c, scalars);
  if (v.row && v.row->direct && v.row->fits(c) && v.row->gives(c.outs)) {
    void* ptr[kMaxOperands];
    int n = 0;
    for (int i = 0; i < c.outs.size(); ++i) ptr[n++] = c.outs[i]->data();
    for (uint8_t i : c.op.operands) {
      if (c.args[i].is_tensor()) ptr[n++] = c.args[i].t().data();
    }
    RowKernel kernel(c.op, v, *v.row, n, v.row->device(), scalars);
    if (const int32_t status = kernel.run(ptr)) check_status(c.op, status);
    return;
  }
  Tensor* tensors[kMaxOperands];
  Role roles[kMaxOperands];
  const int n = row_operands(c, tensors, roles);
  std::shared_ptr<RowMemo> memo = run_rows(c, v, tensors, roles, n, c.outs.size(), scalars);
  if (memo && memo->direct && v.row && v.row->fits(c) && v.row->gives(c.outs)) {
    memo->outputs = v.row->outputs;
    v.row = std::move(memo);
  }
}

void rows_of(const Call& c, std::vector<int64_t>& sizes, std::vector<bool>& in_row) {
  RowShape shape(c);
  sizes.assign(shape.extent, shape.extent + shape.dims);
  in_row.assign(shape.in_row, shape.in_row + shape.dims);
}

void run_fused_rows(const Call& c, Variant& v, Tensor* const* tensors, const Role* roles, int n,
                    int nouts, const int64_t* scalars) {
  if (!v.row || !v.row->direct) {
    v.row = run_rows(c, v, tensors, roles, n, nouts, scalars);
    return;
  }
  void* ptr[kMaxOperands];
  for (int i = 0; i < n; ++i) ptr[i] = tensors[i]->data();
  RowKernel kernel(c.op, v, *v.row, n, tensors[0]->device(), scalars);
  if (const int32_t status = kernel.run(ptr)) check_status(c.op, status);
}

}  // namespace taimatsu
