// Matrix products on a GPU, by cuBLASLt. Shapes and errors are those of csrc/cpu/blas.cpp: its
// routines run here too, and the products that they describe come to `multiply`.
//
// cuBLASLt counts from the columns: what is row by row in memory is the transpose to it. So it is
// asked for out^T = b^T a^T.
#include <array>
#include <cstring>

#include "cpu/gemm.h"
#include "cuda/allocator.h"
#include "cuda/bindings.h"
#include "cuda/cublaslt.h"
#include "cuda/stream.h"
#include "ops/epilogue.h"
#include "ops/launch.h"

namespace taimatsu::cuda {

namespace {

enum class Unfit { Operands, Added };  // in memory as the library doesn't take it: copied, it does
struct Unsupported {};                 // whatever is copied

constexpr size_t kMaxWorkspace = 32 << 20;  // what its heuristics want on an H100
constexpr int64_t kMaxAlignment = 256;

// A matrix as cuBLASLt sees it: columns of `leading` elements.
struct Operand {
  const void* data = nullptr;
  int64_t rows = 0, columns = 0, leading = 0, batch_stride = 0;
  bool transposed = false;  // what is meant is the transpose
};

int64_t alignment(const void* data) {
  const auto p = reinterpret_cast<uintptr_t>(data);
  return std::min<int64_t>(kMaxAlignment, p ? static_cast<int64_t>(p & -p) : kMaxAlignment);
}

// The transpose of an m by n matrix.
Operand transpose_of(const Matrix& x, int64_t m, int64_t n, Unfit otherwise) {
  Operand o;
  o.data = x.data;
  if ((n == 1 || x.col == 1) && (m == 1 || x.row >= n)) {
    o.rows = n;
    o.columns = m;
    o.leading = m == 1 ? n : x.row;
  } else if ((m == 1 || x.row == 1) && (n == 1 || x.col >= m)) {
    o.rows = m;
    o.columns = n;
    o.leading = n == 1 ? m : x.col;
    o.transposed = true;
  } else {
    throw otherwise;
  }
  return o;
}

// What an algorithm is chosen for, and all of it: plans are found by it.
struct Key {
  enum Field {
    kDevice,
    kTypeA,
    kTypeB,
    kType,
    kScaling,
    kCompute,
    kEpilogue,
    kM,
    kN,
    kK,
    kBatch,
    kTransposes,
    kLeadingA,
    kLeadingB,
    kLeadingC,
    kLeadingD,
    kStrideA,
    kStrideB,
    kStrideC,
    kStrideD,
    kAlignA,
    kAlignB,
    kAlignC,
    kAlignD,
    kAlignBias,
    kAlignAux,
    kFields
  };
  std::array<int64_t, kFields> field{};
  bool operator==(const Key& o) const { return field == o.field; }
};
struct KeyHash {
  size_t operator()(const Key& k) const {
    uint64_t h = 1469598103934665603u;
    for (int64_t f : k.field) h = (h ^ static_cast<uint64_t>(f)) * 1099511628211u;
    return h;
  }
};

struct Plan {
  lt::Operation operation = nullptr;
  lt::MatrixLayout a = nullptr, b = nullptr, c = nullptr, d = nullptr;
  lt::Algorithm algorithm;
  size_t workspace = 0;
  bool possible = false;
};

template <class T>
void set(int (*function)(lt::Operation, int, const void*, size_t), lt::Operation o, int attribute,
         const T& value) {
  check_call(function(o, attribute, &value, sizeof value), "cublasLtMatmulDescSetAttribute");
}

lt::MatrixLayout layout(const lt::Functions& lib, int type, const Operand& o, int64_t batch) {
  lt::MatrixLayout l;
  check_call(lib.layout_create(&l, type, static_cast<uint64_t>(o.rows),
                               static_cast<uint64_t>(o.columns), o.leading),
             "cublasLtMatrixLayoutCreate");
  if (batch > 1) {
    const auto count = static_cast<int32_t>(batch);
    const char* const name = "cublasLtMatrixLayoutSetAttribute";
    check_call(lib.layout_set(l, lt::kBatchCount, &count, sizeof count), name);
    check_call(lib.layout_set(l, lt::kBatchStride, &o.batch_stride, sizeof o.batch_stride), name);
  }
  return l;
}

lt::Handle handle(const lt::Functions& lib, int device) {
  static lt::Handle handles[kMaxDevices];
  lt::Handle& h = handles[device];
  if (!h) {
    RelaxedCapture relaxed;
    check_call(lib.create(&h), "cublasLtCreate");
  }
  return h;
}

// What makes 8-bit floats of other numbers, in the GPU's memory: one f32 for all of a matrix, or
// one for each row of op(A) and each column of op(B).
struct Scaling {
  DType a, b;  // dtypes
  const void *of_a, *of_b;
  bool each, fast;  // fast: summed with fewer bits
};

// What is done beside a product: bits of lt::Epilogue, and the memory that they are about.
struct Beside {
  int64_t width = 0;  // of the result, as whoever asks for it takes it to be
  int epilogue = 0;
  const void* bias = nullptr;  // or where sums go: as long as `a` or `b` says
  const void* aux = nullptr;   // laid out as the result
};

// One call: a strided batch. The operands are those of out^T = a b, so a is the caller's b.
struct Matmul {
  int device;
  DType dtype;
  Operand a, b, c, d;
  int64_t batch;
  Beside beside;
  std::complex<double> alpha, beta;
  const Scaling* scaling = nullptr;  // operands of `dtype` where there is none

  Key key() const {
    Key k;
    auto& f = k.field;
    f[Key::kDevice] = device;
    f[Key::kTypeA] = data_type(scaling ? scaling->a : dtype);
    f[Key::kTypeB] = data_type(scaling ? scaling->b : dtype);
    f[Key::kType] = data_type(dtype);
    f[Key::kScaling] = scaling ? 1 + scaling->each + 2 * scaling->fast : 0;
    f[Key::kCompute] = compute();
    f[Key::kEpilogue] = beside.epilogue;
    f[Key::kM] = d.rows;
    f[Key::kN] = d.columns;
    f[Key::kK] = a.transposed ? a.rows : a.columns;
    f[Key::kBatch] = batch;
    f[Key::kTransposes] = a.transposed + 2 * b.transposed;
    const Operand* each[] = {&a, &b, &c, &d};
    for (int i = 0; i < 4; ++i) {
      f[Key::kLeadingA + i] = each[i]->leading;
      f[Key::kStrideA + i] = each[i]->batch_stride;
      f[Key::kAlignA + i] = alignment(each[i]->data);
    }
    f[Key::kAlignBias] = alignment(beside.bias);
    f[Key::kAlignAux] = alignment(beside.aux);
    return k;
  }

  int compute() const {
    if (scaling) return lt::kF32;
    if (dtype == DType::F64 || dtype == DType::C128) return lt::kF64;
    return allow_tf32 && (dtype == DType::F32 || dtype == DType::C64) ? lt::kTF32 : lt::kF32;
  }
  int scale_type() const {  // of alpha and beta
    return data_type(is_complex(dtype) || dtype == DType::F64 ? dtype : DType::F32);
  }

  // Where this call's bias, aux and scales are.
  void point(const lt::Functions& lib, const Plan& p) const {
    if (beside.bias) set(lib.operation_set, p.operation, lt::kBiasPointer, beside.bias);
    if (beside.aux) set(lib.operation_set, p.operation, lt::kAuxPointer, beside.aux);
    if (!scaling) return;
    set(lib.operation_set, p.operation, lt::kScaleAPointer, scaling->of_a);
    set(lib.operation_set, p.operation, lt::kScaleBPointer, scaling->of_b);
  }

  Plan make(const lt::Functions& lib) const {
    Plan p;
    check_call(lib.operation_create(&p.operation, compute(), scale_type()),
               "cublasLtMatmulDescCreate");
    set<int32_t>(lib.operation_set, p.operation, lt::kTransposeA, a.transposed);
    set<int32_t>(lib.operation_set, p.operation, lt::kTransposeB, b.transposed);
    const int32_t epilogue = beside.epilogue ? beside.epilogue : lt::kNothing;
    set(lib.operation_set, p.operation, lt::kEpilogue, epilogue);
    if (beside.aux) set(lib.operation_set, p.operation, lt::kAuxLeading, d.leading);
    if (scaling) {
      const int32_t mode = scaling->each ? lt::kScaleEachRow : lt::kOneScale;
      if (scaling->each) {  // what libraries before CUDA 12.9 don't know
        if (lib.operation_set(p.operation, lt::kScaleAMode, &mode, sizeof mode) ||
            lib.operation_set(p.operation, lt::kScaleBMode, &mode, sizeof mode)) {
          return p;
        }
      }
      set<int8_t>(lib.operation_set, p.operation, lt::kFastAccumulation, scaling->fast);
    }
    point(lib, p);
    const int type = data_type(dtype);
    p.a = layout(lib, scaling ? data_type(scaling->a) : type, a, batch);
    p.b = layout(lib, scaling ? data_type(scaling->b) : type, b, batch);
    p.c = layout(lib, type, c, batch);
    p.d = layout(lib, type, d, batch);
    lt::Preference wish;
    check_call(lib.preference_create(&wish), "cublasLtMatmulPreferenceCreate");
    auto want = [&](int attribute, auto value) {
      check_call(lib.preference_set(wish, attribute, &value, sizeof value),
                 "cublasLtMatmulPreferenceSetAttribute");
    };
    want(lt::kMaxWorkspace, uint64_t{kMaxWorkspace});
    want(lt::kAlignmentA, static_cast<uint32_t>(alignment(a.data)));
    want(lt::kAlignmentB, static_cast<uint32_t>(alignment(b.data)));
    want(lt::kAlignmentC, static_cast<uint32_t>(alignment(c.data)));
    want(lt::kAlignmentD, static_cast<uint32_t>(alignment(d.data)));
    lt::Heuristic best{};
    int found = 0;
    const int status =
        lib.heuristic(handle(lib, device), p.operation, p.a, p.b, p.c, p.d, wish, 1, &best, &found);
    check_call(lib.preference_destroy(wish), "cublasLtMatmulPreferenceDestroy");
    p.possible = status == 0 && found > 0 && best.status == 0;
    p.algorithm = best.algorithm;
    p.workspace = best.workspace;
    return p;
  }

  void run(const lt::Functions& lib) const {
    static std::unordered_map<Key, Plan, KeyHash> plans;
    const Key k = key();
    auto found = plans.find(k);
    if (found == plans.end()) found = plans.emplace(k, make(lib)).first;
    const Plan& p = found->second;
    if (!p.possible) throw Unsupported{};
    point(lib, p);
    const Workspace workspace(device, p.workspace);
    // In the library's type: single where that is what is computed in.
    const bool wide = compute() == lt::kF64;
    const double wide_scales[2][2] = {{alpha.real(), alpha.imag()}, {beta.real(), beta.imag()}};
    float scales[2][2];
    for (int i = 0; i < 4; ++i)
      scales[i / 2][i % 2] = static_cast<float>(wide_scales[i / 2][i % 2]);
    auto scale = [&](int i) -> const void* {
      return wide ? static_cast<const void*>(wide_scales[i]) : scales[i];
    };
    const StreamHandle stream = current_stream(device);
    check_call(lib.matmul(handle(lib, device), p.operation, scale(0), a.data, p.a, b.data, p.b,
                          scale(1), c.data, p.c, const_cast<void*>(d.data), p.d, &p.algorithm,
                          workspace.data(), workspace.size(), stream),
               "cublasLtMatmul");
    if (launch_blocking() && !capturing(stream)) synchronize(device, stream, "cublasLtMatmul");
  }
};

// Where matrix i starts, and how many from there on lie at equal distances.
struct Starts {
  const std::vector<int64_t>& at;
  int64_t operator[](int64_t i) const { return at.empty() ? 0 : at[i]; }
  int64_t stride(int64_t i) const {
    return at.empty() || i + 1 == static_cast<int64_t>(at.size()) ? 0 : at[i + 1] - at[i];
  }
};
int64_t even_run(std::initializer_list<Starts> all, int64_t i, int64_t batch) {
  int64_t end = i + 1;
  auto even = [&] {
    for (const Starts& s : all) {
      if (s.stride(i) < 0 || s[end] - s[end - 1] != s.stride(i)) return false;
    }
    return true;
  };
  while (end < batch && even()) ++end;
  return end - i;
}

bool is_one(const Number& n) { return n.as_complex() == 1.0; }

// What the call under way wants beside its product, which `multiply` is asked for.
const Beside* wanted = nullptr;

void multiply(const Product& p) {
  const bool empty = p.m == 0 || p.n == 0 || p.batch == 0;
  if (wanted && (empty || p.batch > 1 || p.n != wanted->width)) throw Unsupported{};
  if (empty) return;
  if (p.k == 0) throw Unsupported{};
  const lt::Functions& lib = *library<lt::Functions>();
  Matmul call;
  call.device = checked_device(p.device.index);
  enter(call.device);
  call.dtype = p.dtype;
  call.a = transpose_of(p.b, p.k, p.n, Unfit::Operands);
  call.b = transpose_of(p.a, p.m, p.k, Unfit::Operands);
  call.c = call.d = transpose_of(p.out, p.m, p.n, Unfit::Operands);
  if (wanted) call.beside = *wanted;
  call.alpha = p.alpha.as_complex();
  call.beta = 0;
  const bool narrow = itemsize(p.dtype) <= 4;
  const bool is_bias = p.add.data && narrow && p.add.row == 0 && (p.n == 1 || p.add.col == 1) &&
                       p.add_at.empty() && is_one(p.alpha) && is_one(p.beta);
  if (is_bias) {
    call.beside.epilogue |= lt::kBias;
    call.beside.bias = p.add.data;
  } else if (p.add.data) {
    call.c = transpose_of(p.add, p.m, p.n, Unfit::Added);
    if (call.c.transposed) throw Unfit::Added;
    call.beta = p.beta.as_complex();
  }
  const Matmul first = call;
  const Starts a{p.b_at}, b{p.a_at}, c{is_bias || !p.add.data ? p.out_at : p.add_at}, d{p.out_at};
  const int64_t item = itemsize(p.dtype);
  auto moved = [&](const Operand& from, const Starts& s, int64_t i) {
    Operand o = from;
    o.data = static_cast<const char*>(from.data) + s[i] * item;
    o.batch_stride = s.stride(i);
    return o;
  };
  for (int64_t i = 0; i < p.batch; i += call.batch) {
    call.batch = even_run({a, b, c, d}, i, p.batch);
    call.a = moved(first.a, a, i);
    call.b = moved(first.b, b, i);
    call.c = moved(first.c, c, i);
    call.d = moved(first.d, d, i);
    call.run(lib);
  }
}

// out = (a * scale_a) @ (b * scale_b) + bias, of 8-bit floats: a by rows, b by columns, all on one
// GPU. False where the library has no algorithm.
bool multiply_scaled(Tensor& out, const Tensor& a, const Tensor& b, const Tensor& scale_a,
                     const Tensor& scale_b, const Tensor* bias, bool fast) {
  const lt::Functions* lib = library<lt::Functions>();
  if (!lib) return false;
  auto matrix = [](const Tensor& t) {
    return Matrix{t.data(), t.layout->stride(0), t.layout->stride(1)};
  };
  const int64_t m = a.layout->size(0), k = a.layout->size(1), n = b.layout->size(1);
  const Scaling scaling{b.dtype, a.dtype, scale_b.data(), scale_a.data(), scale_a.numel() > 1,
                        fast};
  Matmul call{};
  call.device = checked_device(out.device().index);
  enter(call.device);
  call.dtype = out.dtype;
  call.batch = 1;
  call.scaling = &scaling;
  if (bias) call.beside = {n, lt::kBias, bias->data()};
  call.alpha = 1;
  try {
    call.a = transpose_of(matrix(b), k, n, Unfit::Operands);
    call.b = transpose_of(matrix(a), m, k, Unfit::Operands);
    call.c = call.d = transpose_of(matrix(out), m, n, Unfit::Operands);
    call.run(*lib);
  } catch (Unsupported&) {
    return false;
  } catch (Unfit) {
    return false;
  }
  return true;
}

PyObject* py_multiply_scaled(PyObject*, PyObject* args) {
  using Object = PyObject*;
  return call<Object, Object, Object, Object, Object, Object, int>(
      args, "OOOOOOp",
      [](Object out, Object a, Object b, Object scale_a, Object scale_b, Object bias, int fast) {
        auto tensor = [](Object o) -> Tensor& {
          if (!is_tensor(o)) fail(Error::Type, "multiply_scaled takes tensors");
          return *as_tensor(o);
        };
        return PyBool_FromLong(multiply_scaled(tensor(out), tensor(a), tensor(b), tensor(scale_a),
                                               tensor(scale_b),
                                               bias == Py_None ? nullptr : &tensor(bias), fast));
      });
}

// ---- The ops ------------------------------------------------------------------------------------

int added_of(const Op& op) {  // which argument is added to the product; -1: none
  return op.name == "linear" ? 2 : op.name.find("add") == std::string::npos ? -1 : 0;
}

bool by_cublaslt(Call& c) {
  const int added = added_of(c.op);
  const DType dtype = c.args[added == 0 ? 1 : 0].t().dtype;
  if (!is_differentiable(dtype) || is_float8(dtype) || data_type(dtype) < 0) return false;
  if (!library<lt::Functions>()) return false;
  const size_t n = c.op.schema.params.size();
  Value values[kMaxArgs];
  std::copy(c.args, c.args + n, values);
  std::vector<TensorRef> kept;
  Call there{c.op, values, c.outs, c.variant};
  for (int attempt = 0; attempt < 3; ++attempt) {
    try {
      c.op.native->run(there);
      return true;
    } catch (Unsupported&) {
      return false;
    } catch (Unfit which) {
      for (uint8_t i : c.op.tensor_params) {
        if (values[i].none() || (i == added) != (which == Unfit::Added)) continue;
        Tensor& t = values[i].t();
        kept.push_back(i == added ? empty_like(*c.outs[0]) : clone(t));
        if (i == added) copy_into(*kept.back(), t);
        if (i != added) kept.back() = contiguous(*kept.back());
        values[i] = Value(kept.back());
      }
    }
  }
  return false;
}

// The call with something beside its product; false where the library can't, and nothing is done.
bool by_cublaslt_with(Call& c, const Beside& beside) {
  struct Scope {
    ~Scope() { wanted = nullptr; }
  } scope;
  wanted = &beside;
  return by_cublaslt(c);
}

bool with_epilogue(Call& product, const Epilogue& e) {
  constexpr int kActivations[] = {0, lt::kRelu, lt::kGelu, lt::kGeluGradient};  // by their enum
  Beside beside{e.out->layout->size(e.out->ndim() - 1), kActivations[e.activation]};
  if (e.bias) {
    beside.epilogue |= lt::kBias;
    beside.bias = e.bias->data();
  }
  if (e.before) {
    if (beside.width % lt::kAuxElements) return false;
    beside.epilogue |= lt::kAux;
    beside.aux = e.before->data();
  }
  Tensors outs;
  outs.push(TensorRef(e.out));
  Call c{product.op, product.args, outs, product.variant};
  return by_cublaslt_with(c, beside);
}

// A product with the sums of one factor: what a weight and a bias have for gradients.
bool mm_with_sums(Call& c) {
  static CoreOp mm{"mm"};
  const Tensor& made = *c.outs[0];
  if (!is_differentiable(made.dtype) || is_complex(made.dtype) || itemsize(made.dtype) > 4) {
    return false;
  }
  const bool of_left = c.args[2].to_bool();
  const Beside beside{made.layout->size(1), of_left ? lt::kSumsOfB : lt::kSumsOfA,
                      c.outs[1]->data()};
  Tensors outs;
  outs.push(c.outs[0]);
  Call product{mm.get(), c.args, outs};
  return by_cublaslt_with(product, beside);
}

constexpr const char* kProducts[] = {"mm",  "mv",      "dot",    "addmm",
                                     "bmm", "baddbmm", "linear", "matmul"};

bool possible(const Op& product) {
  const bool found = std::any_of(std::begin(kProducts), std::end(kProducts),
                                 [&](const char* name) { return product.name == name; });
  return found && product.native && library<lt::Functions>();
}

const bool registered = [] {
  register_multiplier(DeviceType::CUDA, multiply);
  register_epilogues(DeviceType::CUDA, {possible, with_epilogue});
  register_native_on(DeviceType::CUDA, "_mm_sums", mm_with_sums);
  for (const char* name : kProducts) register_native_on(DeviceType::CUDA, name, by_cublaslt);
  return true;
}();

}  // namespace

PyMethodDef product_functions[] = {
    {"multiply_scaled", py_multiply_scaled, METH_VARARGS,
     "multiply_scaled(out, a, b, scale_a, scale_b, bias, fast): whether cuBLASLt did."},
    {},
};

}  // namespace taimatsu::cuda
