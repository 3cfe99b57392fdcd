// c10: errors, dtypes, devices, options and views of arrays, in PyTorch's spelling.
#pragma once

#include <algorithm>
#include <complex>
#include <cstring>
#include <initializer_list>
#include <optional>
#include <sstream>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "../taimatsu.h"

namespace taimatsu_extension {

inline const tm_api*& api() {
  static const tm_api* the_api = nullptr;  // set when the extension is loaded
  return the_api;
}

struct Error : std::runtime_error {
  int32_t kind;  // tm_error
  Error(int32_t k, const std::string& message) : std::runtime_error(message), kind(k) {}
};

template <class... Args>
std::string text(const Args&... args) {
  std::ostringstream out;
  (out << ... << args);
  return out.str();
}

// An exception of what the C interface said last.
[[noreturn]] inline void rethrow() { throw Error(TM_RUNTIME_ERROR, api()->why()); }

}  // namespace taimatsu_extension

namespace c10 {

using Error = taimatsu_extension::Error;

struct Half {
  uint16_t x;
};
struct BFloat16 {
  uint16_t x;
};
template <class T>
using complex = std::complex<T>;

// Of each dtype: name, C++ type, DLPack's code and bits.
#define TM_FORALL_DTYPES(_)                               \
  _(Byte, uint8_t, kDLUInt, 8)                            \
  _(Char, int8_t, kDLInt, 8)                              \
  _(Short, int16_t, kDLInt, 16)                           \
  _(Int, int32_t, kDLInt, 32)                             \
  _(Long, int64_t, kDLInt, 64)                            \
  _(Half, c10::Half, kDLFloat, 16)                        \
  _(Float, float, kDLFloat, 32)                           \
  _(Double, double, kDLFloat, 64)                         \
  _(ComplexFloat, c10::complex<float>, kDLComplex, 64)    \
  _(ComplexDouble, c10::complex<double>, kDLComplex, 128) \
  _(Bool, bool, kDLBool, 8)                               \
  _(BFloat16, c10::BFloat16, kDLBfloat, 16)

enum class ScalarType : int8_t {
#define TM_MEMBER(name, type, code, bits) name,
  TM_FORALL_DTYPES(TM_MEMBER)
#undef TM_MEMBER
      Undefined
};

template <ScalarType>
struct ScalarTypeToCpp;
template <class T>
struct CppTypeToScalarType;
#define TM_MAP(name, cpp, code, bits)                     \
  template <>                                             \
  struct ScalarTypeToCpp<ScalarType::name> {              \
    using type = cpp;                                     \
  };                                                      \
  template <>                                             \
  struct CppTypeToScalarType<cpp> {                       \
    static constexpr ScalarType value = ScalarType::name; \
  };
TM_FORALL_DTYPES(TM_MAP)
#undef TM_MAP

inline const char* toString(ScalarType t) {
  switch (t) {
#define TM_CASE(name, type, code, bits) \
  case ScalarType::name: return #name;
    TM_FORALL_DTYPES(TM_CASE)
#undef TM_CASE
    default: return "Undefined";
  }
}
inline std::ostream& operator<<(std::ostream& out, ScalarType t) { return out << toString(t); }

inline DLDataType to_dlpack(ScalarType t) {
  switch (t) {
#define TM_CASE(name, type, code, bits) \
  case ScalarType::name: return {static_cast<uint8_t>(code), bits, 1};
    TM_FORALL_DTYPES(TM_CASE)
#undef TM_CASE
    default: throw Error(TM_VALUE_ERROR, "what is not defined has no dtype");
  }
}
inline ScalarType from_dlpack(DLDataType d) {
#define TM_CASE(name, type, c, b) \
  if (d.code == (c) && d.bits == (b)) return ScalarType::name;
  TM_FORALL_DTYPES(TM_CASE)
#undef TM_CASE
  return ScalarType::Undefined;
}

enum class DeviceType : int8_t { CPU = kDLCPU, CUDA = kDLCUDA };
class Device {
 public:
  Device(DeviceType t = DeviceType::CPU, int8_t index = -1) : type_(t), index_(index) {}
  explicit Device(DLDevice d)
      : type_(static_cast<DeviceType>(d.device_type)),
        index_(d.device_type == kDLCPU ? int8_t{-1} : static_cast<int8_t>(d.device_id)) {}
  DLDevice dlpack() const { return {static_cast<int32_t>(type_), std::max<int32_t>(0, index_)}; }
  DeviceType type() const { return type_; }
  int8_t index() const { return index_; }
  bool is_cpu() const { return type_ == DeviceType::CPU; }
  bool is_cuda() const { return type_ == DeviceType::CUDA; }
  bool operator==(const Device& o) const { return type_ == o.type_ && index_ == o.index_; }
  bool operator!=(const Device& o) const { return !(*this == o); }

 private:
  DeviceType type_;
  int8_t index_;
};
inline std::ostream& operator<<(std::ostream& out, const Device& d) {
  return out << (d.is_cpu() ? "cpu" : "cuda:" + std::to_string(d.index()));
}

class TensorOptions {
 public:
  TensorOptions() = default;
  TensorOptions(ScalarType t) : dtype_(t) {}
  TensorOptions(Device d) : device_(d) {}
  TensorOptions(DeviceType d) : device_(d) {}
  TensorOptions dtype(ScalarType t) const { return with(&TensorOptions::dtype_, t); }
  TensorOptions device(Device d) const { return with(&TensorOptions::device_, d); }
  TensorOptions requires_grad(bool on) const { return with(&TensorOptions::requires_grad_, on); }
  ScalarType dtype() const { return dtype_; }
  Device device() const { return device_; }
  bool requires_grad() const { return requires_grad_; }

 private:
  template <class Member, class V>
  TensorOptions with(Member member, V value) const {
    TensorOptions o = *this;
    o.*member = value;
    return o;
  }
  ScalarType dtype_ = ScalarType::Float;
  Device device_;
  bool requires_grad_ = false;
};

// A borrowed array.
template <class T>
class ArrayRef {
 public:
  ArrayRef() = default;
  ArrayRef(const T* data, size_t size) : data_(data), size_(size) {}
  ArrayRef(const std::vector<T>& v) : ArrayRef(v.data(), v.size()) {}
  ArrayRef(const std::initializer_list<T>& v) : ArrayRef(v.begin(), v.size()) {}
  const T* begin() const { return data_; }
  const T* end() const { return data_ + size_; }
  const T* data() const { return data_; }
  size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  const T& operator[](size_t i) const { return data_[i]; }
  std::vector<T> vec() const { return {begin(), end()}; }
  bool operator==(const ArrayRef& o) const {
    return size_ == o.size_ && std::equal(begin(), end(), o.begin());
  }
  bool operator!=(const ArrayRef& o) const { return !(*this == o); }

 private:
  const T* data_ = nullptr;
  size_t size_ = 0;
};
using IntArrayRef = ArrayRef<int64_t>;
template <class T>
std::ostream& operator<<(std::ostream& out, const ArrayRef<T>& v) {
  out << '[';
  for (size_t i = 0; i < v.size(); ++i) out << (i ? ", " : "") << v[i];
  return out << ']';
}

template <class T>
using optional = std::optional<T>;
constexpr std::nullopt_t nullopt = std::nullopt;

// A number.
class Scalar {
 public:
  template <class T, class = std::enable_if_t<std::is_arithmetic_v<T>>>
  Scalar(T v) {
    value_.tag = std::is_same_v<T, bool> ? TM_BOOL : std::is_integral_v<T> ? TM_INT : TM_FLOAT;
    if constexpr (std::is_integral_v<T>) {
      value_.as.i = static_cast<int64_t>(v);
    } else {
      value_.as.f[0] = static_cast<double>(v);
    }
  }
  explicit Scalar(const tm_value& v) : value_(v) {}
  const tm_value& value() const { return value_; }
  template <class T>
  T to() const {
    const bool real = value_.tag == TM_FLOAT || value_.tag == TM_COMPLEX;
    return real ? static_cast<T>(value_.as.f[0]) : static_cast<T>(value_.as.i);
  }
  double toDouble() const { return to<double>(); }
  int64_t toLong() const { return to<int64_t>(); }

 private:
  tm_value value_{};
};

}  // namespace c10

#define TM_CHECK_(kind, condition, ...)                                                           \
  do {                                                                                            \
    if (!(condition)) {                                                                           \
      const std::string why = taimatsu_extension::text(__VA_ARGS__);                              \
      throw c10::Error(kind,                                                                      \
                       why.empty() ? "Expected " #condition " to be true, but got false." : why); \
    }                                                                                             \
  } while (false)
#define TORCH_CHECK(condition, ...) TM_CHECK_(TM_RUNTIME_ERROR, condition, ##__VA_ARGS__)
#define TORCH_CHECK_VALUE(condition, ...) TM_CHECK_(TM_VALUE_ERROR, condition, ##__VA_ARGS__)
#define TORCH_CHECK_TYPE(condition, ...) TM_CHECK_(TM_TYPE_ERROR, condition, ##__VA_ARGS__)
#define TORCH_CHECK_INDEX(condition, ...) TM_CHECK_(TM_INDEX_ERROR, condition, ##__VA_ARGS__)
#define TORCH_INTERNAL_ASSERT TORCH_CHECK
#define AT_ASSERT TORCH_CHECK
#define AT_ASSERTM TORCH_CHECK
#define AT_ERROR(...) TORCH_CHECK(false, __VA_ARGS__)
