// Op: a row of the table as the core sees it, and the path of every call.
//
//   Function (what Python calls)  ->  Arguments::parse by schema  ->  call()
//   call():  interpreters? -> infer outputs -> emit() -> tape
//   emit():  the one place through which every launch goes, below autograd
#pragma once

#include <memory>
#include <unordered_map>

#include "ops/schema.h"

namespace taimatsu {

enum class Kind : uint8_t { Pointwise, Row, Indexed, View, Composite, Native };

// The outputs of a call: few, so kept inline.
class Tensors {
 public:
  int size() const { return size_; }
  TensorRef& operator[](int i) { return size_ <= kInline ? small_[i] : many_[i]; }
  const TensorRef& operator[](int i) const { return size_ <= kInline ? small_[i] : many_[i]; }
  void push(TensorRef t);
  void clear();
  bool is_list = false;  // one Tensor[] return, rather than that many returns
  Object other;          // the result of ops that return no tensor (item, equal, composites)

 private:
  static constexpr int kInline = 4;
  TensorRef small_[kInline];
  std::vector<TensorRef> many_;
  int size_ = 0;
};

struct Op;
__extension__ typedef unsigned __int128 OperandBits;

// One call on its way down: what emit() sees, and what a recorder would keep.
struct Call {
  Op& op;
  const Value* args;  // by schema
  Tensors& outs;
  struct Variant* variant = nullptr;
  bool recorded = false;  // the tape has seen it already

  // What one look at the operands of a formula tells (`scan`).
  bool scanned = false;
  bool on_cpu = false;             // all of them
  const Layout* shared = nullptr;  // the layout that all have, if it has no gaps
  OperandBits operands = 0;        // see VariantKey
  uint64_t mask = 0;               // see grad_mask
};

// ---- Generated kernels ----------------------------------------------------------------------
using KernelFn = int32_t (*)(void* const* ptr, const int64_t* geometry, const int64_t* scalars,
                             void* scratch);
using FinishFn = int32_t (*)(void* const* ptr, const int64_t* geometry, const int64_t* scalars,
                             void* states, int64_t blocks);
struct Kernel {
  KernelFn fn = nullptr;
  FinishFn finish = nullptr;
  uint32_t parallel = 0;      // bit i: threads may split axis i
  int64_t scratch_bytes = 0;  // per element of the row
  int64_t state_bytes = 0;    // per row and block
  void* code = nullptr;       // of another device than the CPU: what its backend loaded
  Device device;
};

constexpr int kMaxOperands = 16;
constexpr int kMaxScalars = 64;                     // words
constexpr int64_t kFewRows = 64, kLongRow = 65536;  // so few of such length: reduced in blocks

// What tells kernels of one variant apart: the stride classes of the operands, and how rows run.
struct LayoutClass {
  enum Rows : uint8_t { Whole, Short, Bundled, Blocked };  // `Rows` of codegen/schedule.py
  uint64_t strides = 0;
  Rows rows = Whole;
  bool operator==(const LayoutClass& o) const { return strides == o.strides && rows == o.rows; }
  // Two axes an operand, `first` is the outer; 0, 1, 2, 3: uniform, contiguous, strided, by twos.
  void add(int operand, int first, int second) {
    strides |= static_cast<uint64_t>(first << 2 | second) << (4 * operand);
  }
};

// A formula with its operands' dtypes and static attributes settled.
struct Variant {
  DType compute;
  struct Output {
    DType dtype;
    Role role;
  };
  std::vector<Output> outputs;
  std::vector<char> scalars;  // 'i', 'f' or 'c' for each scalar of the kernel
  bool fails = false;         // it may refuse an element after it has written others
  Object python;              // the Variant of code generation
  std::vector<std::pair<LayoutClass, Kernel>> kernels;    // most recently used first
  std::vector<std::pair<LayoutClass, Kernel>> elsewhere;  // those of other devices
  // Indexed ops: the sizes of the outputs by those of the operands; the operand (outputs first)
  // whose dims the axes run over; the rank of each; whether stores add to zeros.
  std::unordered_map<std::string, std::vector<std::vector<int64_t>>> sizes;
  int over = 0;
  std::vector<int> ranks;
  bool accumulates = false;
  std::shared_ptr<struct RowMemo> row;  // of the last call of a row op

  // `letters` of the class of each of `operands` operands stand in the key .
  Kernel kernel(const LayoutClass& key, int operands, int letters, Device device);
};

// Identity of a variant: all that promotion looks at, and the static attributes.
struct VariantKey {
  uint64_t operands = 0;  // 6 bits each: dtype, 24 + kind of a number, 31 absent; +32 if 0-dim
  uint32_t statics = 0;   // interned
  DType default_dtype = DType::F32;
  bool operator==(const VariantKey& o) const {
    return operands == o.operands && statics == o.statics && default_dtype == o.default_dtype;
  }
};

// ---- Derivatives ----------------------------------------------------------------------------
struct Source {
  // Like: a tensor with the sizes, dtype and device of an argument, whose elements aren't read.
  enum Kind : uint8_t { Zero, Gradient, Argument, Output, Like, Step, Constant } kind = Zero;
  int16_t index = 0;
  int16_t sub = 0;  // of Step: which output
  Object constant;
};
struct Step {
  Op* op = nullptr;  // or a Python function
  Object function;
  std::vector<Source> sources;
  int nout = 1;
};
// How to differentiate an op with respect to the params in `mask`.
struct Plan {
  uint64_t mask = 0;
  uint64_t saved_args = 0, saved_outs = 0;  // bit sets of what the steps mention
  uint64_t saved_likes = 0;                 // arguments mentioned as Like
  std::vector<Step> steps;
  std::vector<Source> grads;                                    // one per set bit of mask
  mutable std::vector<std::shared_ptr<struct Recipe>> recipes;  // autograd/record.cpp
  Object statics, present;                              // what else it was asked of the entry for
  mutable std::vector<std::unique_ptr<Plan>> narrower;  // the same call's for fewer params
};

// ---- Routines of view and native ops: C++, by name ----------------------------------------------
struct ViewRoutine {
  LayoutRef (*layout)(const Tensor& self, const Value* args) = nullptr;
  // Ops that return several views (split, unbind).
  void (*layouts)(const Tensor& self, const Value* args, std::vector<LayoutRef>& out) = nullptr;
  // How a gradient goes back: through the inverse view, a sum, or into zeros. None: it doesn't,
  // and the view is no view to the tape.
  enum Inverse : uint8_t { Embed, Reshape, Permute, SumTo, None } inverse = Embed;
  DType (*dtype)(const Tensor& self, const Value* args) = nullptr;  // null: self's
};
struct NativeRoutine {
  // Makes the outputs (sizes and dtypes only; this much runs on meta tensors too) ...
  void (*infer)(Call& c) = nullptr;  // null: sizes depend on data, `run` makes them
  // ... and computes them.
  void (*run)(Call& c) = nullptr;
  bool any_devices = false;  // the tensors may be on different ones
  bool one_value = false;    // is written to every element, which may then share memory
  bool updates = false;      // the output is self, changed in places: in place, self is the output
  bool neutral = false;      // `run` is made of other ops and copies: it serves all devices
};
using CompositeRoutine = void (*)(Call& c);  // calls other ops
void register_view(const char* name, ViewRoutine r);
void register_native(const char* name, NativeRoutine r);
void register_composite(const char* name, CompositeRoutine r);
// The routine of a device for a native op whose own is for the CPU. Without one, or where it gives
// false and has done nothing, the op is computed in Python (the entry's `routine`), or by the CPU
// with copies: see ops/device.cpp.
void register_native_on(DeviceType type, const char* name, bool (*run)(Call& c));
#define TM_CONCAT_(a, b) a##b
#define TM_CONCAT(a, b) TM_CONCAT_(a, b)
// At namespace scope: TM_NATIVE("mm", mm_infer, mm_run);
#define TM_NATIVE(name, ...)                             \
  static const bool TM_CONCAT(tm_native_, __COUNTER__) = \
      (register_native(name, {__VA_ARGS__}), true)
#define TM_NATIVE_NEUTRAL(name, infer, run, any_devices, one_value) \
  static const bool TM_CONCAT(tm_native_, __COUNTER__) =            \
      (register_native(name, {infer, run, any_devices, one_value, false, true}), true)
#define TM_VIEW(name, ...) \
  static const bool TM_CONCAT(tm_view_, __COUNTER__) = (register_view(name, __VA_ARGS__), true)
#define TM_COMPOSITE(name, ...)                             \
  static const bool TM_CONCAT(tm_composite_, __COUNTER__) = \
      (register_composite(name, __VA_ARGS__), true)

struct RowSpec {
  enum Kind : uint8_t { Param, All, Fixed, Trailing } kind = All;
  int index = 0;            // the param, or the dim
  bool complement = false;  // all dims but those
};

struct Op {
  std::string name;       // "max.dim"
  std::string base_name;  // "max"
  Kind kind;
  Schema schema;
  Object entry;                        // the table's entry; null only for ops of the core itself
  bool pure = true;                    // writes to none of its arguments
  std::vector<uint8_t> tensor_params;  // params that are tensors, may be, or are lists of them
  // Formula kinds
  std::vector<uint8_t> operands;  // params that are tensors or may be
  std::vector<uint8_t> scalars;   // dynamic attributes
  std::vector<uint8_t> statics;   // static attributes
  bool has_statics = false;       // statics, scalars that may be absent, numbers that settle
  int settling = -1;              // the operand for which these numbers have their own variants
  std::vector<double> settled;
  uint64_t kept = 0;  // operand params outside promotion
  enum Promote : uint8_t { Common, Float, None } promote = Common;
  RowSpec rows;
  int keepdim = -1;                    // that param's position
  bool nonempty = false;               // a row of no elements has no result (max, argmin)
  Error::Kind outside = Error::Index;  // what an index out of range raises
  Object out_sizes;                    // of indexed ops: the entry's `out` function
  bool inplace = false, out = false;   // which forms exist besides the plain one
  bool exact_out = false;              // out= has to have the result's dtype: nothing is cast

  const ViewRoutine* view = nullptr;
  const NativeRoutine* native = nullptr;
  PyObject* python = nullptr;            // of composites: a function,
  CompositeRoutine composite = nullptr;  // or a routine of the core
  struct Replays* replays = nullptr;     // what is known of the function (ops/replay.h)

  // Caches. Linear search with the last hit in front: an op sees few variants.
  std::vector<std::pair<VariantKey, std::unique_ptr<Variant>>> variants;
  std::unordered_map<std::string, uint32_t> static_ids;
  std::pair<std::string, uint32_t> last_statics{"", 0};
  std::vector<std::pair<std::pair<uint64_t, uint64_t>, std::unique_ptr<Plan>>> plans;
  // Params that may be absent, or a number in place of a tensor: plans differ by which they are.
  std::vector<uint8_t> varying;

  PyTypeObject* node_type = nullptr;  // of the tape's nodes for this op, made on first use

  bool differentiable() const;  // some gradient exists
  mutable int8_t differentiable_known = -1;
  // The row is given by a list of dims, or by one that may be absent: how many is part of the
  // variant's identity.
  bool counts_rows() const {
    if (kind != Kind::Row || rows.kind != RowSpec::Param) return false;
    const Param& p = schema.params[rows.index];
    return p.type == Type::Ints || p.optional;
  }
  const Plan& plan(uint64_t mask, const Value* args);
  const Plan& narrowed(const Plan& whole, uint64_t mask);  // of the same call
  // Whether the argument is a number that is part of the variant's identity.
  bool settles(size_t param, const Value* args) const {
    if (static_cast<int>(param) != settling || args[param].tag != Value::Number) return false;
    const Number& n = args[param].number;
    if (n.tag != Number::Int && n.tag != Number::Float) return false;
    for (double v : settled) {
      if (n.as_double() == v) return true;
    }
    return false;
  }
};

Op* define(PyObject* entry);    // registers a table entry; idempotent
Op* op_of(PyObject* entry);     // the registered op, defining it if need be
Op& core_op(const char* name);  // an op that C++ calls by name ("add", "copy_", "sum")

// The same, looked up on first use.
struct CoreOp {
  const char* name;
  Op* op = nullptr;
  Op& get() { return op ? *op : *(op = &core_op(name)); }
};

// Calls an op: the whole path, tape included. `into` are the tensors of the in-place or out= form.
void call(Op& op, const Value* args, Tensors& outs, Tensor* const* into = nullptr);
TensorRef call1(Op& op, std::initializer_list<Value> args);

// Tells which op an error came from, once: the innermost op that failed.
void name_error(Error& e, const Op& op);

// A composite itself, without its own place on the tape or before the interpreters.
void run_composite(Call& c);

// Below autograd: computes c.outs, which exist. Every launch goes through here.
void emit(Call& c);
void emit_on(Device d, Call& c);  // the same on another device than the CPU (ops/device.cpp)

// The passes by kind (ops/pointwise.cpp, row.cpp, indexed.cpp, view.cpp).
void infer_pointwise(Call& c, Tensor* const* into);
void run_pointwise(Call& c);
// A kernel over tensors (outputs first) with its numbers; `op` is who errors are told of.
void run_points(const Op& op, Variant& v, Tensor* const* tensors, int n, const int64_t* scalars);
void infer_row(Call& c, Tensor* const* into);
void run_row(Call& c);
// The same for rows, those of the row op's call `c`, with the first `nouts` tensors as outputs; the
// layouts are the same each time.
void run_fused_rows(const Call& c, Variant& v, Tensor* const* tensors, const Role* roles, int n,
                    int nouts, const int64_t* scalars);
// The dims of the call's rows: the sizes of the whole, and which of its dims are in the row.
void rows_of(const Call& c, std::vector<int64_t>& sizes, std::vector<bool>& in_row);
void infer_indexed(Call& c, Tensor* const* into);
void run_indexed(Call& c);
void run_view(Call& c);
void scan(Call& c);
Variant& find_variant(Call& c);
std::unique_ptr<Variant> variant_from(PyObject* python);  // of pointwise and row kernels, whole
void pack_scalars(const Call& c, int64_t* scalars);
void check_status(const Op& op, int32_t status);

// What Python calls: one public name, its overloads in order, and the form.
struct Function {
  std::string name, module;
  std::vector<Op*> overloads;
  enum Form : uint8_t { Plain, Inplace } form = Plain;
  PyMethodDef def{};
  PyObject* callable = nullptr;  // what was made of it: a builtin or a method descriptor
  std::string doc;
};
PyObject* invoke(Function& f, PyObject* self, PyObject* const* args, Py_ssize_t nargs,
                 PyObject* kwnames);
PyObject* wrap_outputs(Op& op, Tensors& outs);

}  // namespace taimatsu
