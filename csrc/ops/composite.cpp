// Composites that every program passes through: functions of other ops, as those of the table that
// are written in Python. Each calls ops by their whole path, so that tape and interpreters see
// them.
#include "autograd/tape.h"
#include "ops/launch.h"

namespace taimatsu {
namespace {

void give(Call& c, TensorRef t) { c.outs.push(std::move(t)); }

// Calls `op` with its defaults but for what `fill` sets. The result is the one to go on with, of
// ops in place too: an interpreter may have put another tensor in place of the target.
template <class F>
TensorRef call_with(Op& op, F&& fill) {
  Value args[kMaxArgs];
  for (size_t i = 0; i < op.schema.params.size(); ++i) {
    args[i] = op.schema.params[i].default_value;
  }
  fill(args);
  Tensors outs;
  call(op, args, outs);
  if (outs.size() == 0) unwrap_outputs(op, outs);
  return outs[0];
}

// ---- Other dtypes, devices, memory orders -------------------------------------------------------

CoreOp kCast{"_to"}, kClone{"clone"}, kEmptyLike{"empty_like"}, kCopy{"copy_"};

// `t` as asked for: the tensor itself where nothing changes, unless `copy`.
TensorRef converted(TensorRef t, DType dtype, Device device, bool copy, MemoryFormat format,
                    bool non_blocking = false) {
  device = device.concrete();
  if (device != t->device()) {
    const Schema& s = kEmptyLike.get().schema;
    TensorRef fresh = call_with(kEmptyLike.get(), [&](Value* args) {
      args[0] = Value(t);
      args[s.dtype] = Value(dtype);
      args[s.device] = Value(device);
      args[s.memory_format] = Value(format);
    });
    return call1(kCopy.get(), {Value(fresh), Value(t), Value::of_bool(non_blocking)});
  }
  if (dtype != t->dtype) {
    t = call1(kCast.get(), {Value(t), Value(dtype)});
    copy = false;
  }
  if (!copy && has_format(*t->layout, format)) return t;
  return call1(kClone.get(), {Value(t), Value(format)});
}

MemoryFormat format_of(const Call& c, MemoryFormat otherwise) {
  const int at = c.op.schema.memory_format;
  return at < 0 || c.args[at].none() ? otherwise : c.args[at].format;
}

// to(self, ..., copy, *, memory_format): dtype and device as the arguments before `copy` say.
template <int CopyAt>
void run_to(Call& c) {
  Tensor& self = c.args[0].t();
  DType dtype = self.dtype;
  Device device = self.device();
  for (int i = 1; i < CopyAt - 1; ++i) {
    const Value& v = c.args[i];
    if (v.is_tensor() || v.tag == Value::DType) dtype = v.is_tensor() ? v.t().dtype : v.dtype;
    if (v.is_tensor() || v.tag == Value::Device) device = v.is_tensor() ? v.t().device() : v.device;
  }
  const bool non_blocking = c.args[CopyAt - 1].to_bool(), copy = c.args[CopyAt].to_bool();
  const MemoryFormat format = format_of(c, MemoryFormat::Preserve);
  give(c, converted(TensorRef(&self), dtype, device, copy, format, non_blocking));
}

template <DType dtype>
void run_as(Call& c) {
  Tensor& self = c.args[0].t();
  const MemoryFormat format = format_of(c, MemoryFormat::Preserve);
  give(c, converted(TensorRef(&self), dtype, self.device(), false, format));
}

void run_cpu(Call& c) {
  Tensor& self = c.args[0].t();
  const MemoryFormat format = format_of(c, MemoryFormat::Preserve);
  give(c, converted(TensorRef(&self), self.dtype, Device{}, false, format));
}

void run_type_as(Call& c) {
  const Tensor& other = c.args[1].t();
  TensorRef self(&c.args[0].t());
  give(c, converted(self, other.dtype, other.device(), false, MemoryFormat::Preserve));
}

void run_contiguous(Call& c) {
  Tensor& self = c.args[0].t();
  const MemoryFormat format = format_of(c, MemoryFormat::Contiguous);
  check_definite(format);
  give(c, converted(TensorRef(&self), self.dtype, self.device(), false, format));
}

TM_COMPOSITE("to", run_to<4>);
TM_COMPOSITE("to.dtype", run_to<3>);
TM_COMPOSITE("to.other", run_to<3>);
TM_COMPOSITE("half", run_as<DType::F16>);
TM_COMPOSITE("bfloat16", run_as<DType::BF16>);
TM_COMPOSITE("float", run_as<DType::F32>);
TM_COMPOSITE("double", run_as<DType::F64>);
TM_COMPOSITE("chalf", run_as<DType::C32>);
TM_COMPOSITE("cfloat", run_as<DType::C64>);
TM_COMPOSITE("cdouble", run_as<DType::C128>);
TM_COMPOSITE("bool", run_as<DType::Bool>);
TM_COMPOSITE("byte", run_as<DType::U8>);
TM_COMPOSITE("char", run_as<DType::I8>);
TM_COMPOSITE("short", run_as<DType::I16>);
TM_COMPOSITE("int", run_as<DType::I32>);
TM_COMPOSITE("long", run_as<DType::I64>);
TM_COMPOSITE("cpu", run_cpu);
TM_COMPOSITE("type_as", run_type_as);
TM_COMPOSITE("contiguous", run_contiguous);

// ---- The sizes of another tensor ----------------------------------------------------------------

CoreOp kView{"view"}, kReshape{"reshape"}, kExpand{"expand"}, kTranspose{"transpose"},
    kConj{"conj"};

template <CoreOp& op>
void run_sized_as(Call& c) {
  give(c, call1(op.get(), {c.args[0], Value(c.args[1].t().sizes())}));
}

void run_adjoint(Call& c) {
  TensorRef t = call1(kTranspose.get(), {c.args[0], Value::of_int(-2), Value::of_int(-1)});
  give(c, is_complex(t->dtype) ? call1(kConj.get(), {Value(t)}) : t);
}

TM_COMPOSITE("view_as", run_sized_as<kView>);
TM_COMPOSITE("reshape_as", run_sized_as<kReshape>);
TM_COMPOSITE("expand_as", run_sized_as<kExpand>);
TM_COMPOSITE("adjoint", run_adjoint);

// ---- Stacking -----------------------------------------------------------------------------------

CoreOp kCat{"cat"}, kUnsqueeze{"unsqueeze"};

void run_stack(Call& c) {
  const Value& list = c.args[0];
  const int64_t n = list.tensors.size;
  if (n == 0) fail(Error::Runtime, "stack expects a non-empty TensorList");
  const Ints first = list.tensors.data[0]->sizes();
  for (int64_t i = 1; i < n; ++i) {
    const Ints sizes = list.tensors.data[i]->sizes();
    if (sizes == first) continue;
    fail(Error::Runtime, "stack expects each tensor to be equal size, but got ", format(first),
         " at entry 0 and ", format(sizes), " at entry ", i);
  }
  const auto dim = static_cast<int>(wrap_dim(c.args[1].to_int(), static_cast<int>(first.size) + 1));
  const Value at = Value::of_int(dim);
  // Along a dim that is there, with that dim divided afterwards: a view for all, not one for each.
  // (Of 4 dims and more tensors may be channels_last, which says something else of the result.)
  if (dim < first.size && first.size < 4) {
    std::vector<int64_t> sizes(first.begin(), first.end());
    sizes.insert(sizes.begin() + dim, n);
    TensorRef whole = call1(kCat.get(), {list, at});
    return give(c, call1(kView.get(), {Value(whole), Value(Ints(sizes))}));
  }
  std::vector<TensorRef> rows;
  std::vector<Tensor*> pointers;
  for (int64_t i = 0; i < n; ++i) {
    rows.push_back(call1(kUnsqueeze.get(), {Value(list.tensors.data[i]), at}));
    pointers.push_back(rows.back().get());
  }
  give(c, call1(kCat.get(), {Value::of_tensors(pointers.data(), n), at}));
}

TM_COMPOSITE("stack", run_stack);

// ---- Places of extremes -------------------------------------------------------------------------

CoreOp kArgmax{"argmax.dim"}, kArgmin{"argmin.dim"};

// (self, dim, keepdim): along `dim`, or of the flattened tensor.
template <CoreOp& along>
void run_arg(Call& c) {
  if (!c.args[1].none()) return give(c, call1(along.get(), {c.args[0], c.args[1], c.args[2]}));
  const Tensor& self = c.args[0].t();
  const int64_t flat[] = {-1};
  const std::vector<int64_t> ones(self.ndim(), 1);
  TensorRef row = call1(kReshape.get(), {c.args[0], Value(Ints{flat, 1})});
  TensorRef at = call1(along.get(), {Value(row), Value::of_int(0)});
  const bool keepdim = c.args[2].to_bool() && !ones.empty();
  give(c, keepdim ? call1(kReshape.get(), {Value(at), Value(Ints(ones))}) : at);
}

TM_COMPOSITE("argmax", run_arg<kArgmax>);
TM_COMPOSITE("argmin", run_arg<kArgmin>);

// ---- Positions ----------------------------------------------------------------------------------

CoreOp kNonzero{"_nonzero"}, kUnbind{"unbind"};

// (self, as_tuple): rows of positions, or as a tuple their columns.
void run_nonzero(Call& c) {
  TensorRef self(&c.args[0].t());
  const bool columns = c.args[1].to_bool();
  if (columns && self->ndim() == 0) {
    self = call1(kUnsqueeze.get(), {Value(self), Value::of_int(0)});
  }
  TensorRef rows = call1(kNonzero.get(), {Value(self)});
  if (!columns) return give(c, rows);
  Value args[] = {Value(rows), Value::of_int(1)};
  call(kUnbind.get(), args, c.outs);
}

TM_COMPOSITE("nonzero", run_nonzero);

// ---- Factories ----------------------------------------------------------------------------------

CoreOp kEmpty{"empty"}, kZeros{"zeros"}, kOnes{"ones"}, kFull{"full"};
CoreOp kUniform{"uniform_"}, kNormal{"normal_"};

// What two schemas share by way of factories' keywords, from the call to `args` of `op`.
void copy_options(const Call& c, const Schema& to, Value* args) {
  const Schema& from = c.op.schema;
  const int pairs[][2] = {{from.dtype, to.dtype},
                          {from.device, to.device},
                          {from.requires_grad, to.requires_grad},
                          {from.memory_format, to.memory_format}};
  for (auto [source, target] : pairs) {
    if (source >= 0 && target >= 0 && !c.args[source].none()) args[target] = c.args[source];
  }
}

// new_*(self, size, ...): dtype and device of `self` unless they are given.
template <CoreOp& factory>
void run_new(Call& c) {
  const Tensor& self = c.args[0].t();
  const Schema& s = factory.get().schema;
  give(c, call_with(factory.get(), [&](Value* args) {
         args[s.dtype] = Value(self.dtype);
         args[s.device] = Value(self.device());
         for (int i = 1; i < c.op.schema.dtype; ++i) args[i - 1] = c.args[i];
         copy_options(c, s, args);
       }));
}

// rand(size, *, generator, ...), rand_like(self, *, generator, ...): fresh memory, filled in place.
template <CoreOp& factory, CoreOp& fill>
void run_random(Call& c) {
  TensorRef out = call_with(factory.get(), [&](Value* args) {
    args[0] = c.args[0];
    copy_options(c, factory.get().schema, args);
  });
  GradMode off(false);  // a leaf may be asked for that requires grad
  give(c, call_with(fill.get(), [&](Value* args) {
         args[0] = Value(out);
         args[3] = c.args[1];  // of (self, from, to, generator) the last
       }));
}

TM_COMPOSITE("new_empty", run_new<kEmpty>);
TM_COMPOSITE("new_zeros", run_new<kZeros>);
TM_COMPOSITE("new_ones", run_new<kOnes>);
TM_COMPOSITE("new_full", run_new<kFull>);
TM_COMPOSITE("rand", run_random<kEmpty, kUniform>);
TM_COMPOSITE("randn", run_random<kEmpty, kNormal>);
TM_COMPOSITE("rand_like", run_random<kEmptyLike, kUniform>);
TM_COMPOSITE("randn_like", run_random<kEmptyLike, kNormal>);

}  // namespace
}  // namespace taimatsu
