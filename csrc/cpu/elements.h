// Element types of C++ for the dtypes, and the switch from one to the other.
#pragma once

#include "tensor/dtype.h"
#include "tensor/half.h"

namespace taimatsu {

struct Half {
  uint16_t bits = 0;
  Half() = default;
  explicit Half(float f) : bits(float_to_float16(f)) {}
  operator float() const { return float16_to_float(bits); }
};
struct BFloat16 {
  uint16_t bits = 0;
  BFloat16() = default;
  explicit BFloat16(float f) : bits(float_to_bfloat16(f)) {}
  operator float() const { return bfloat16_to_float(bits); }
};

template <class T>
struct TypeTag {
  using type = T;
};

// Calls body(TypeTag<T>{}) with the element type of a dtype that is not complex.
template <class F>
auto with_real_type(DType t, const F& body) {
  switch (t) {
    case DType::Bool: return body(TypeTag<bool>{});
    case DType::U8: return body(TypeTag<uint8_t>{});
    case DType::U16: return body(TypeTag<uint16_t>{});
    case DType::U32: return body(TypeTag<uint32_t>{});
    case DType::U64: return body(TypeTag<uint64_t>{});
    case DType::I8: return body(TypeTag<int8_t>{});
    case DType::I16: return body(TypeTag<int16_t>{});
    case DType::I32: return body(TypeTag<int32_t>{});
    case DType::I64: return body(TypeTag<int64_t>{});
    case DType::F16: return body(TypeTag<Half>{});
    case DType::BF16: return body(TypeTag<BFloat16>{});
    case DType::F32: return body(TypeTag<float>{});
    case DType::F64: return body(TypeTag<double>{});
    default:
      fail(Error::NotImplemented, "not implemented for '", info(t).legacy,
           "'; convert it with .to(", is_complex(t) ? "torch.complex64)" : "torch.float32)");
  }
}

// What becomes of an element that is written to.
struct Set {
  template <class T>
  void operator()(T& to, const T& x) const {
    to = x;
  }
};
struct Add {
  template <class T>
  void operator()(T& to, const T& x) const {
    to = static_cast<T>(to + x);
  }
  void operator()(bool& to, bool x) const { to |= x; }
};

struct Bytes16 {
  uint64_t words[2];
};

// body(TypeTag<T>{}) with a type of `size` bytes: what elements are where they are only moved.
template <class F>
auto with_size(int64_t size, const F& body) {
  switch (size) {
    case 1: return body(TypeTag<uint8_t>{});
    case 2: return body(TypeTag<uint16_t>{});
    case 4: return body(TypeTag<uint32_t>{});
    case 8: return body(TypeTag<uint64_t>{});
    default: return body(TypeTag<Bytes16>{});
  }
}

}  // namespace taimatsu
