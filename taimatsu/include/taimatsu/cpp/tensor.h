// at: tensors, accessors, ops, dispatch over dtypes, threads, in PyTorch's spelling.
#pragma once

#include <memory>

#include "types.h"

namespace at {

using c10::ArrayRef;
using c10::BFloat16;
using c10::Device;
using c10::DeviceType;
using c10::Half;
using c10::IntArrayRef;
using c10::Scalar;
using c10::ScalarType;
using c10::TensorOptions;
using c10::toString;

#define TM_CONSTANT(name, type, code, bits) constexpr ScalarType k##name = ScalarType::name;
TM_FORALL_DTYPES(TM_CONSTANT)
#undef TM_CONSTANT
constexpr DeviceType kCPU = DeviceType::CPU, kCUDA = DeviceType::CUDA;
constexpr ScalarType kFloat32 = kFloat, kFloat64 = kDouble, kFloat16 = kHalf, kInt8 = kChar,
                     kInt16 = kShort, kInt32 = kInt, kInt64 = kLong, kUInt8 = kByte;

// Elements by index: a[i][j].
template <class T, size_t N>
class TensorAccessor {
 public:
  TensorAccessor(T* data, const int64_t* sizes, const int64_t* strides)
      : data_(data), sizes_(sizes), strides_(strides) {}
  int64_t size(int64_t d) const { return sizes_[d]; }
  int64_t stride(int64_t d) const { return strides_[d]; }
  IntArrayRef sizes() const { return {sizes_, N}; }
  T* data() const { return data_; }
  decltype(auto) operator[](int64_t i) const {
    if constexpr (N == 1) {
      return (data_[i * strides_[0]]);
    } else {
      return TensorAccessor<T, N - 1>(data_ + i * strides_[0], sizes_ + 1, strides_ + 1);
    }
  }

 private:
  T* data_;
  const int64_t *sizes_, *strides_;
};

class Tensor;

// An argument of `call`, borrowed from whoever calls.
class Argument {
 public:
  Argument() = default;  // None
  Argument(std::nullopt_t) {}
  Argument(const Tensor& t);
  Argument(const std::vector<Tensor>& v);
  Argument(const Scalar& s) : value(s.value()) {}
  template <class T, class = std::enable_if_t<std::is_arithmetic_v<T>>>
  Argument(T v) : Argument(Scalar(v)) {}
  Argument(const char* s) {
    value.tag = TM_STRING;
    value.as.string = s;
  }
  Argument(IntArrayRef v) {
    value.tag = TM_INTS;
    value.as.list = {v.data(), static_cast<int64_t>(v.size())};
  }
  Argument(const std::vector<int64_t>& v) : Argument(IntArrayRef(v)) {}
  Argument(ScalarType t) {
    value.tag = TM_DTYPE;
    value.as.dtype = c10::to_dlpack(t);
  }
  Argument(const Device& d) {
    value.tag = TM_DEVICE;
    value.as.device = d.dlpack();
  }
  template <class T>
  Argument(const std::optional<T>& v) : Argument(v ? Argument(*v) : Argument()) {}

  tm_value value{};

 private:
  std::shared_ptr<std::vector<tm_tensor*>> handles_;  // of a list: copies point there, too
};
using Arguments = std::vector<Argument>;
using Keywords = std::vector<std::pair<const char*, Argument>>;

// Calls a function of the framework, or a method of the first argument, by its Python name.
Tensor call(const char* function, const Arguments& args, const Keywords& keywords = {});
std::vector<Tensor> call_list(const char* function, const Arguments& args,
                              const Keywords& keywords = {});
Scalar call_number(const char* function, const Arguments& args);

// Ops that are methods and functions, by what they take.
#define TM_FORALL_UNARY(_)                                                                         \
  _(abs)                                                                                           \
  _(acos) _(asin) _(atan) _(ceil) _(cos) _(cosh) _(det) _(erf) _(exp) _(expm1) _(floor) _(inverse) \
      _(isfinite) _(isnan) _(log) _(log10) _(log1p) _(log2) _(logical_not) _(neg) _(nonzero)       \
          _(reciprocal) _(relu) _(round) _(rsqrt) _(sigmoid) _(sign) _(sin) _(sinh) _(sqrt)        \
              _(square) _(t) _(tan) _(tanh) _(trace)
#define TM_FORALL_BINARY(_)                                                                        \
  _(add)                                                                                           \
  _(atan2) _(bmm) _(div) _(dot) _(eq) _(fmod) _(ge) _(gt) _(le) _(logical_and) _(logical_or) _(lt) \
      _(matmul) _(maximum) _(minimum) _(mm) _(mul) _(mv) _(ne) _(outer) _(pow) _(remainder) _(sub)
#define TM_FORALL_REDUCTIONS(_) _(amax) _(amin) _(argmax) _(argmin) _(mean) _(prod) _(sum)
#define TM_FORALL_INPLACE(_) _(exp_) _(neg_) _(relu_) _(sigmoid_) _(sqrt_) _(tanh_) _(zero_)
#define TM_FORALL_BINARY_INPLACE(_) _(add_) _(copy_) _(div_) _(fill_) _(mul_) _(sub_)

class Tensor {
 public:
  Tensor() = default;  // not defined: None
  explicit Tensor(tm_tensor* owned) : t_(owned) {}
  Tensor(const Tensor& o) : t_(o.t_ ? api()->retain(o.t_) : nullptr) {}
  Tensor(Tensor&& o) noexcept : t_(std::exchange(o.t_, nullptr)) {}
  Tensor& operator=(Tensor o) noexcept {
    std::swap(t_, o.t_);
    return *this;
  }
  ~Tensor() {
    if (t_) api()->release(t_);
  }
  bool defined() const { return t_; }
  tm_tensor* handle() const { return t_; }
  tm_tensor* release_handle() { return std::exchange(t_, nullptr); }

  // ---- What it is
  int64_t dim() const { return describe().ndim; }
  int64_t ndimension() const { return dim(); }
  IntArrayRef sizes() const {
    const DLTensor d = describe();
    return {d.shape, static_cast<size_t>(d.ndim)};
  }
  IntArrayRef strides() const {
    const DLTensor d = describe();
    return {d.strides, static_cast<size_t>(d.ndim)};
  }
  int64_t size(int64_t d) const { return sizes()[wrapped(d)]; }
  int64_t stride(int64_t d) const { return strides()[wrapped(d)]; }
  int64_t numel() const {
    int64_t n = 1;
    for (int64_t s : sizes()) n *= s;
    return n;
  }
  ScalarType scalar_type() const { return c10::from_dlpack(describe().dtype); }
  ScalarType dtype() const { return scalar_type(); }
  ScalarType type() const { return scalar_type(); }  // what older code dispatches on
  size_t element_size() const { return describe().dtype.bits / 8; }
  Device device() const { return Device(describe().device); }
  bool is_cpu() const { return device().is_cpu(); }
  bool is_cuda() const { return device().is_cuda(); }
  TensorOptions options() const { return TensorOptions(scalar_type()).device(device()); }
  bool is_contiguous() const {
    const IntArrayRef n = sizes(), s = strides();
    int64_t expected = 1;
    for (size_t d = n.size(); d-- > 0; expected *= n[d]) {
      if (n[d] != 1 && s[d] != expected) return numel() == 0;
    }
    return true;
  }

  // ---- Its memory
  void* data_ptr() const { return describe().data; }
  template <class T>
  T* data_ptr() const {
    check_type<T>();
    return static_cast<T*>(describe().data);
  }
  template <class T>
  const T* const_data_ptr() const {
    return data_ptr<T>();
  }
  template <class T>
  T* mutable_data_ptr() const {
    return data_ptr<T>();
  }
  template <class T, size_t N>
  TensorAccessor<T, N> accessor() const {
    check_type<T>();
    const DLTensor d = describe();
    TORCH_CHECK(d.ndim == static_cast<int32_t>(N), "TensorAccessor expected ", N,
                " dims but tensor has ", d.ndim);
    return {static_cast<T*>(d.data), d.shape, d.strides};
  }
  Scalar item() const { return call_number("item", {*this}); }
  template <class T>
  T item() const {
    return item().to<T>();
  }

  // ---- Ops
#define TM_OP(name) \
  Tensor name() const { return call(#name, {*this}); }
  TM_FORALL_UNARY(TM_OP)
  TM_OP(clone)
  TM_OP(contiguous) TM_OP(cpu) TM_OP(detach) TM_OP(flatten) TM_OP(squeeze)
#undef TM_OP
#define TM_OP(name) \
  Tensor name(const Argument& other) const { return call(#name, {*this, other}); }
      TM_FORALL_BINARY(TM_OP)
#undef TM_OP
#define TM_OP(name)            \
  const Tensor& name() const { \
    call(#name, {*this});      \
    return *this;              \
  }
          TM_FORALL_INPLACE(TM_OP)
#undef TM_OP
#define TM_OP(name)                                 \
  const Tensor& name(const Argument& other) const { \
    call(#name, {*this, other});                    \
    return *this;                                   \
  }
              TM_FORALL_BINARY_INPLACE(TM_OP)
#undef TM_OP
#define TM_OP(name)                                            \
  Tensor name() const { return call(#name, {*this}); }         \
  Tensor name(int64_t d, bool keepdim = false) const {         \
    return call(#name, {*this, d}, {{"keepdim", keepdim}});    \
  }                                                            \
  Tensor name(IntArrayRef dims, bool keepdim = false) const {  \
    return call(#name, {*this, dims}, {{"keepdim", keepdim}}); \
  }
                  TM_FORALL_REDUCTIONS(TM_OP)
#undef TM_OP
#define TM_OP(name) \
  Tensor name(IntArrayRef v) const { return call(#name, {*this, v}); }
                      TM_OP(expand) TM_OP(permute) TM_OP(repeat) TM_OP(reshape) TM_OP(view)
#undef TM_OP
#define TM_OP(name) \
  Tensor name(int64_t d) const { return call(#name, {*this, d}); }
                          TM_OP(cumsum) TM_OP(log_softmax) TM_OP(softmax) TM_OP(squeeze)
                              TM_OP(unsqueeze)
#undef TM_OP
                                  Tensor view_as(const Tensor& o) const {
    return call("view_as", {*this, o});
  }
  Tensor expand_as(const Tensor& o) const { return call("expand_as", {*this, o}); }
  Tensor transpose(int64_t a, int64_t b) const { return call("transpose", {*this, a, b}); }
  Tensor select(int64_t d, int64_t i) const { return call("select", {*this, d, i}); }
  Tensor operator[](int64_t i) const { return select(0, i); }
  Tensor narrow(int64_t d, int64_t start, int64_t length) const {
    return call("narrow", {*this, d, start, length});
  }
  Tensor index_select(int64_t d, const Tensor& i) const {
    return call("index_select", {*this, d, i});
  }
  Tensor gather(int64_t d, const Tensor& i) const { return call("gather", {*this, d, i}); }
  Tensor clamp(const Argument& low, const Argument& high = {}) const {
    return call("clamp", {*this, low, high});
  }
  Tensor masked_fill(const Tensor& mask, const Scalar& v) const {
    return call("masked_fill", {*this, mask, v});
  }
  std::vector<Tensor> chunk(int64_t n, int64_t d = 0) const {
    return call_list("chunk", {*this, n, d});
  }
  std::vector<Tensor> split(int64_t n, int64_t d = 0) const {
    return call_list("split", {*this, n}, {{"dim", d}});
  }
  std::vector<Tensor> unbind(int64_t d = 0) const { return call_list("unbind", {*this, d}); }
  Tensor to(ScalarType t) const { return call("to", {*this, t}); }
  Tensor to(const Device& d) const { return call("to", {*this, d}); }
  Tensor toType(ScalarType t) const { return to(t); }

  Tensor operator-() const { return neg(); }
  const Tensor& operator+=(const Argument& o) const { return add_(o); }
  const Tensor& operator-=(const Argument& o) const { return sub_(o); }
  const Tensor& operator*=(const Argument& o) const { return mul_(o); }
  const Tensor& operator/=(const Argument& o) const { return div_(o); }

 private:
  static const tm_api* api() { return taimatsu_extension::api(); }
  DLTensor describe() const {
    TORCH_CHECK(t_, "a tensor that is not defined was used");
    DLTensor d;
    if (api()->describe(t_, &d)) taimatsu_extension::rethrow();
    return d;
  }
  size_t wrapped(int64_t d) const {
    const int64_t n = dim();
    TORCH_CHECK_INDEX(d >= -n && d < n, "Dimension out of range (expected to be in range of [", -n,
                      ", ", n - 1, "], but got ", d, ")");
    return static_cast<size_t>(d < 0 ? d + n : d);
  }
  template <class T>
  void check_type() const {
    constexpr ScalarType wanted = c10::CppTypeToScalarType<std::remove_const_t<T>>::value;
    TORCH_CHECK(scalar_type() == wanted, "expected scalar type ", wanted, " but found ",
                scalar_type());
  }
  tm_tensor* t_ = nullptr;  // owned
};

inline Argument::Argument(const Tensor& t) {
  value.tag = t.defined() ? TM_TENSOR : TM_NONE;
  value.as.tensor = t.handle();
}
inline Argument::Argument(const std::vector<Tensor>& v) {
  handles_ = std::make_shared<std::vector<tm_tensor*>>();
  for (const Tensor& t : v) handles_->push_back(t.handle());
  value.tag = TM_TENSORS;
  value.as.list = {handles_->data(), static_cast<int64_t>(handles_->size())};
}

inline std::vector<tm_value> call_values(const char* function, const Arguments& args,
                                         const Keywords& keywords) {
  constexpr int32_t kMost = 1024;
  std::vector<tm_value> values, results(kMost);
  std::vector<const char*> names;
  for (const Argument& a : args) values.push_back(a.value);
  for (auto& [name, a] : keywords) {
    names.push_back(name);
    values.push_back(a.value);
  }
  const int32_t n = taimatsu_extension::api()->call(
      function, values.data(), static_cast<int32_t>(values.size()), names.data(),
      static_cast<int32_t>(names.size()), results.data(), kMost);
  if (n < 0) taimatsu_extension::rethrow();
  TORCH_CHECK(n <= kMost, function, ": gave ", n, " results, at most ", kMost, " are passed on");
  results.resize(static_cast<size_t>(n));
  return results;
}
inline std::vector<Tensor> call_list(const char* function, const Arguments& args,
                                     const Keywords& keywords) {
  std::vector<Tensor> out;
  for (const tm_value& v : call_values(function, args, keywords)) {
    if (v.tag == TM_TENSOR) out.emplace_back(v.as.tensor);
  }
  return out;
}
inline Tensor call(const char* function, const Arguments& args, const Keywords& keywords) {
  std::vector<Tensor> out = call_list(function, args, keywords);
  TORCH_CHECK_TYPE(out.size() == 1, function, ": gave ", out.size(),
                   " tensors where one was asked");
  return std::move(out[0]);
}
inline Scalar call_number(const char* function, const Arguments& args) {
  return Scalar(call_values(function, args, {}).at(0));
}

// ---- Functions ----------------------------------------------------------------------------------

#define TM_OP(name) \
  inline Tensor name(const Tensor& x) { return x.name(); }
TM_FORALL_UNARY(TM_OP)
#undef TM_OP
#define TM_OP(name) \
  inline Tensor name(const Tensor& x, const Argument& y) { return x.name(y); }
TM_FORALL_BINARY(TM_OP)
#undef TM_OP
#define TM_OP(name)                              \
  template <class... Args>                       \
  Tensor name(const Tensor& x, Args&&... args) { \
    return x.name(std::forward<Args>(args)...);  \
  }
TM_FORALL_REDUCTIONS(TM_OP)
#undef TM_OP
#define TM_OP(name) \
  inline Tensor name(const Tensor& x) { return call(#name, {x}); }
TM_OP(empty_like)
TM_OP(ones_like) TM_OP(rand_like) TM_OP(randn_like) TM_OP(zeros_like)
#undef TM_OP

#define TM_OP(sign, name) \
  inline Tensor operator sign(const Tensor& a, const Argument& b) { return a.name(b); }
    TM_OP(+, add) TM_OP(-, sub) TM_OP(*, mul) TM_OP(/, div) TM_OP(==, eq) TM_OP(!=, ne) TM_OP(<, lt)
        TM_OP(<=, le) TM_OP(>, gt) TM_OP(>=, ge)
#undef TM_OP
            inline Tensor operator+(const Scalar& a, const Tensor& b) {
  return b.add(a);
}
inline Tensor operator*(const Scalar& a, const Tensor& b) { return b.mul(a); }
inline Tensor operator-(const Scalar& a, const Tensor& b) { return call("rsub", {b, a}); }
inline Tensor operator/(const Scalar& a, const Tensor& b) { return b.reciprocal().mul(a); }

inline Keywords keywords(const TensorOptions& o) {
  return {{"dtype", o.dtype()}, {"device", o.device()}, {"requires_grad", o.requires_grad()}};
}
#define TM_OP(name)                                                    \
  inline Tensor name(IntArrayRef sizes, const TensorOptions& o = {}) { \
    return call(#name, {sizes}, keywords(o));                          \
  }
TM_OP(empty)
TM_OP(ones) TM_OP(rand) TM_OP(randn) TM_OP(zeros)
#undef TM_OP
    inline Tensor full(IntArrayRef sizes, const Scalar& v, const TensorOptions& o = {}) {
  return call("full", {sizes, v}, keywords(o));
}
inline Tensor arange(const Scalar& end, const TensorOptions& o = kLong) {
  return call("arange", {end}, keywords(o));
}
inline Tensor cat(const std::vector<Tensor>& x, int64_t d = 0) { return call("cat", {x, d}); }
inline Tensor stack(const std::vector<Tensor>& x, int64_t d = 0) { return call("stack", {x, d}); }
inline Tensor addmm(const Tensor& c, const Tensor& a, const Tensor& b) {
  return call("addmm", {c, a, b});
}
inline Tensor linear(const Tensor& x, const Tensor& weight, const Tensor& bias = {}) {
  return call("nn.functional.linear", {x, weight, bias});
}
inline Tensor elu(const Tensor& x, const Scalar& alpha = 1.0) {
  return call("nn.functional.elu", {x, alpha});
}
inline Tensor softmax(const Tensor& x, int64_t d) { return x.softmax(d); }
inline Tensor log_softmax(const Tensor& x, int64_t d) { return x.log_softmax(d); }
inline Tensor clamp(const Tensor& x, const Argument& low, const Argument& high = {}) {
  return x.clamp(low, high);
}
inline Tensor where(const Tensor& condition, const Argument& a, const Argument& b) {
  return call("where", {condition, a, b});
}

// f(begin, end) over [begin, end), in threads and pieces of at least `grain`. It must call no
// function of the framework: take pointers before.
template <class F>
void parallel_for(int64_t begin, int64_t end, int64_t grain, const F& f) {
  taimatsu_extension::api()->parallel_for(
      begin, end, grain,
      [](void* context, int64_t a, int64_t b) { (*static_cast<const F*>(context))(a, b); },
      const_cast<F*>(&f));
}
inline int get_num_threads() { return taimatsu_extension::api()->num_threads(); }

}  // namespace at

// ---- Dispatch over dtypes: scalar_t is the C++ type
// ----------------------------------------------

#define AT_DISPATCH_CASE(dtype, ...)                                              \
  case dtype: {                                                                   \
    using scalar_t [[maybe_unused]] = typename c10::ScalarTypeToCpp<dtype>::type; \
    return __VA_ARGS__();                                                         \
  }
#define AT_DISPATCH_SWITCH(type, name, ...)                                              \
  [&] {                                                                                  \
    const c10::ScalarType tm_type = type;                                                \
    switch (tm_type) {                                                                   \
      __VA_ARGS__                                                                        \
      default:                                                                           \
        throw c10::Error(TM_NOT_IMPLEMENTED_ERROR,                                       \
                         taimatsu_extension::text('"', name, "\" not implemented for '", \
                                                  c10::toString(tm_type), "'"));         \
    }                                                                                    \
  }()
#define AT_DISPATCH_CASE_FLOATING_TYPES(...) \
  AT_DISPATCH_CASE(at::kDouble, __VA_ARGS__) \
  AT_DISPATCH_CASE(at::kFloat, __VA_ARGS__)
#define AT_DISPATCH_CASE_INTEGRAL_TYPES(...)                                         \
  AT_DISPATCH_CASE(at::kByte, __VA_ARGS__)                                           \
  AT_DISPATCH_CASE(at::kChar, __VA_ARGS__) AT_DISPATCH_CASE(at::kShort, __VA_ARGS__) \
      AT_DISPATCH_CASE(at::kInt, __VA_ARGS__) AT_DISPATCH_CASE(at::kLong, __VA_ARGS__)
#define AT_DISPATCH_FLOATING_TYPES(type, name, ...) \
  AT_DISPATCH_SWITCH(type, name, AT_DISPATCH_CASE_FLOATING_TYPES(__VA_ARGS__))
#define AT_DISPATCH_INTEGRAL_TYPES(type, name, ...) \
  AT_DISPATCH_SWITCH(type, name, AT_DISPATCH_CASE_INTEGRAL_TYPES(__VA_ARGS__))
#define AT_DISPATCH_ALL_TYPES(type, name, ...)                    \
  AT_DISPATCH_SWITCH(type, name,                                  \
                     AT_DISPATCH_CASE_FLOATING_TYPES(__VA_ARGS__) \
                         AT_DISPATCH_CASE_INTEGRAL_TYPES(__VA_ARGS__))
