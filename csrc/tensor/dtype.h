// Element types, numbers, and the promotion rules between them.
#pragma once

#include <complex>

#include "base.h"

namespace taimatsu {

enum class DType : uint8_t {
  Bool,
  U8,
  U16,
  U32,
  U64,
  I8,
  I16,
  I32,
  I64,
  F16,
  BF16,
  F32,
  F64,
  C64,
  C128,
  F8E4M3,
  F8E5M2,
  F8E4M3UZ,
  F8E5M2UZ,
  F8E8M0,
  C32
};
constexpr int kDTypes = 21;
// Behind these come dtypes that are known by name only: programs compare with them and keep them in
// tables; no tensor has one.
constexpr int kNamedDTypes = 40;

enum class Category : uint8_t { Bool, Integral, Floating, Complex };

struct DTypeInfo {
  const char* name;    // "float32", PyTorch's name
  const char* code;    // "f32", what code generation calls it
  const char* legacy;  // "Float", as in error messages and old type names
  uint8_t size;        // bytes
  Category category;
  bool is_signed;
};
const DTypeInfo& info(DType t);
inline int64_t itemsize(DType t) { return info(t).size; }
inline Category category(DType t) { return info(t).category; }
inline bool is_floating(DType t) { return category(t) == Category::Floating; }
inline bool is_complex(DType t) { return category(t) == Category::Complex; }
inline bool is_integral(DType t, bool with_bool = false) {
  return category(t) == Category::Integral || (with_bool && t == DType::Bool);
}
inline bool is_differentiable(DType t) { return category(t) >= Category::Floating; }
// 8-bit floats are for storage: they are moved, compared and converted, and there is no arithmetic.
inline bool is_float8(DType t) { return t >= DType::F8E4M3 && t <= DType::F8E8M0; }
DType real_dtype(DType t);              // complex64 -> float32; others themselves
DType complex_dtype(DType t);           // float32 -> complex64; throws for 8-bit floats
DType dtype_of_code(const char* code);  // inverse of info().code; throws
const char* kernel_code(DType t);       // info(t).code

DType promote(DType a, DType b);  // both tensors with dimensions: PyTorch's table

DType default_dtype();  // float32 unless set_default_dtype said otherwise
void set_default_dtype(DType t);

// A Python number. Bool < Int < Float < Complex as promotion categories.
struct Number {
  enum Tag : uint8_t { Bool, Int, Float, Complex } tag = Int;
  union {
    int64_t i;
    double f;  // also the real part
  };
  double imag = 0;

  Number() : i(0) {}
  static Number boolean(bool b) { return make(Bool, b); }
  static Number integer(int64_t v) { return make(Int, v); }
  static Number real(double v) {
    Number n;
    n.tag = Float;
    n.f = v;
    return n;
  }
  static Number complex(double re, double im) {
    Number n = real(re);
    n.tag = Complex;
    n.imag = im;
    return n;
  }
  double as_double() const { return tag <= Int ? static_cast<double>(i) : f; }
  int64_t as_int() const { return tag <= Int ? i : static_cast<int64_t>(f); }
  std::complex<double> as_complex() const { return {as_double(), tag == Complex ? imag : 0.0}; }
  Category category() const;
  DType dtype() const;  // bool, int64, default dtype, its complex type

 private:
  static Number make(Tag t, int64_t v) {
    Number n;
    n.tag = t;
    n.i = v;
    return n;
  }
};

// The common type of operands in PyTorch's three priorities: tensors with dimensions decide within
// their category; 0-dim tensors, then Python numbers, only where their category is higher.
class Promotion {
 public:
  void tensor(DType t, bool zero_dim);
  void number(const Number& n);
  bool empty() const { return !any_; }
  DType result() const;

 private:
  bool any_ = false;
  int8_t dim_ = -1, zero_ = -1, number_ = -1;  // a DType, or -1
};

// Element conversions for the few places that handle single elements (item, fill, printing).
// Integers wrap around, floats truncate; a uint64 is the int64 with its bits.
Number load_element(DType t, const void* p);
void store_element(DType t, void* p, const Number& n);
void check_fits(DType t, const Number& n);  // PyTorch's overflow check of filling with a number
std::string format(const Number& n);        // as Python writes it

}  // namespace taimatsu
