#include "tensor/dtype.h"

#include <cmath>
#include <limits>

#include "tensor/float8.h"
#include "tensor/half.h"

namespace taimatsu {

namespace {

constexpr DTypeInfo kInfo[kNamedDTypes] = {
    {"bool", "bool", "Bool", 1, Category::Bool, false},
    {"uint8", "u8", "Byte", 1, Category::Integral, false},
    {"uint16", "u16", "UInt16", 2, Category::Integral, false},
    {"uint32", "u32", "UInt32", 4, Category::Integral, false},
    {"uint64", "u64", "UInt64", 8, Category::Integral, false},
    {"int8", "i8", "Char", 1, Category::Integral, true},
    {"int16", "i16", "Short", 2, Category::Integral, true},
    {"int32", "i32", "Int", 4, Category::Integral, true},
    {"int64", "i64", "Long", 8, Category::Integral, true},
    {"float16", "f16", "Half", 2, Category::Floating, true},
    {"bfloat16", "bf16", "BFloat16", 2, Category::Floating, true},
    {"float32", "f32", "Float", 4, Category::Floating, true},
    {"float64", "f64", "Double", 8, Category::Floating, true},
    {"complex64", "c64", "ComplexFloat", 8, Category::Complex, true},
    {"complex128", "c128", "ComplexDouble", 16, Category::Complex, true},
    {"float8_e4m3fn", "f8e4m3fn", "Float8_e4m3fn", 1, Category::Floating, true},
    {"float8_e5m2", "f8e5m2", "Float8_e5m2", 1, Category::Floating, true},
    {"float8_e4m3fnuz", "f8e4m3fnuz", "Float8_e4m3fnuz", 1, Category::Floating, true},
    {"float8_e5m2fnuz", "f8e5m2fnuz", "Float8_e5m2fnuz", 1, Category::Floating, true},
    {"float8_e8m0fnu", "f8e8m0fnu", "Float8_e8m0fnu", 1, Category::Floating, true},
    {"complex32", "c32", "ComplexHalf", 4, Category::Complex, true},
    // By name only.
    {"float4_e2m1fn_x2", "", "Float4_e2m1fn_x2", 1, Category::Floating, true},
    {"quint8", "", "QUInt8", 1, Category::Integral, false},
    {"qint8", "", "QInt8", 1, Category::Integral, true},
    {"qint32", "", "QInt32", 4, Category::Integral, true},
    {"quint4x2", "", "QUInt4x2", 1, Category::Integral, false},
    {"uint1", "", "UInt1", 1, Category::Integral, false},
    {"uint2", "", "UInt2", 1, Category::Integral, false},
    {"uint3", "", "UInt3", 1, Category::Integral, false},
    {"uint4", "", "UInt4", 1, Category::Integral, false},
    {"uint5", "", "UInt5", 1, Category::Integral, false},
    {"uint6", "", "UInt6", 1, Category::Integral, false},
    {"uint7", "", "UInt7", 1, Category::Integral, false},
    {"int1", "", "Int1", 1, Category::Integral, true},
    {"int2", "", "Int2", 1, Category::Integral, true},
    {"int3", "", "Int3", 1, Category::Integral, true},
    {"int4", "", "Int4", 1, Category::Integral, true},
    {"int5", "", "Int5", 1, Category::Integral, true},
    {"int6", "", "Int6", 1, Category::Integral, true},
    {"int7", "", "Int7", 1, Category::Integral, true},
};

DType default_dtype_ = DType::F32;

bool is_wide_unsigned(DType t) { return t == DType::U16 || t == DType::U32 || t == DType::U64; }

[[noreturn]] void cannot_promote(DType a, DType b) {
  fail(Error::Runtime,
       "Promotion for uint16, uint32, uint64 types is not supported, attempted to promote ",
       info(a).legacy, " and ", info(b).legacy, "; convert one of them with .to(dtype)");
}

}  // namespace

const DTypeInfo& info(DType t) { return kInfo[static_cast<int>(t)]; }
const char* kernel_code(DType t) { return info(t).code; }

const Float8& float8_format(DType t) {
  static constexpr Float8 formats[] = {
      {3, 7, 0x7e, Float8::Saturate, false},     {2, 15, 0x7b, Float8::Infinity, false},
      {3, 8, 0x7f, Float8::NotANumber, true},    {2, 16, 0x7f, Float8::NotANumber, true},
      {0, 127, 0xfe, Float8::NotANumber, false},
  };
  return formats[static_cast<int>(t) - static_cast<int>(DType::F8E4M3)];
}

DType real_dtype(DType t) {
  switch (t) {
    case DType::C32: return DType::F16;
    case DType::C64: return DType::F32;
    case DType::C128: return DType::F64;
    default: return t;
  }
}

DType complex_dtype(DType t) {
  if (is_complex(t)) return t;
  if (is_float8(t)) fail(Error::Runtime, "there is no complex dtype of torch.", info(t).name);
  return t == DType::F64 ? DType::C128 : t == DType::F16 ? DType::C32 : DType::C64;
}

DType dtype_of_code(const char* code) {
  for (int i = 0; i < kDTypes; ++i) {
    if (std::strcmp(kInfo[i].code, code) == 0) return static_cast<DType>(i);
  }
  fail(Error::Value, "no dtype has the code '", code, "'");
}

DType default_dtype() { return default_dtype_; }

void set_default_dtype(DType t) {
  if (!is_floating(t) || is_float8(t)) {
    fail(Error::Type,
         "only floating-point types that there is arithmetic of are supported as the "
         "default type; got ",
         info(t).name);
  }
  default_dtype_ = t;
}

// ---- Promotion ----------------------------------------------------------------------------------

DType promote(DType a, DType b) {
  if (a == b) return a;
  if (is_float8(a) || is_float8(b)) {
    fail(Error::Runtime, "Promotion for Float8 Types is not supported, attempted to promote ",
         info(a).legacy, " and ", info(b).legacy, "; convert one of them with .to(dtype)");
  }
  if (category(a) > category(b)) std::swap(a, b);  // from here on b's category is not below a's
  Category high = category(b);
  if (category(a) == high) {
    switch (high) {
      case Category::Complex:
        return a == DType::C128 || b == DType::C128 ? DType::C128 : DType::C64;
      case Category::Floating:
        // Neither 16-bit type holds the other's values.
        if (a == DType::F64 || b == DType::F64) return DType::F64;
        return DType::F32;
      default: break;
    }
    if (is_wide_unsigned(a) || is_wide_unsigned(b)) cannot_promote(a, b);
    // uint8 fits into the signed types but int8, where both fit into int16.
    if (a != DType::U8 && b != DType::U8) return a > b ? a : b;
    DType is_signed = a == DType::U8 ? b : a;
    return is_signed == DType::I8 ? DType::I16 : is_signed;
  }
  // A higher category wins, with enough precision for a real of the lower one.
  if (high == Category::Complex) {
    if (is_wide_unsigned(a)) cannot_promote(a, b);
    return is_floating(a) ? promote(complex_dtype(a), b) : b;
  }
  if (high == Category::Integral && is_wide_unsigned(b)) cannot_promote(a, b);
  return b;
}

Category Number::category() const {
  return tag == Bool    ? Category::Bool
         : tag == Int   ? Category::Integral
         : tag == Float ? Category::Floating
                        : Category::Complex;
}

DType Number::dtype() const {
  switch (tag) {
    case Bool: return DType::Bool;
    case Int: return DType::I64;
    case Float: return default_dtype();
    default: return complex_dtype(default_dtype());
  }
}

namespace {

void widen(int8_t& slot, DType t) {
  slot = static_cast<int8_t>(slot < 0 ? t : promote(static_cast<DType>(slot), t));
}

// What remains of `high` when operands of a lower priority come in: it keeps its width, and only
// its category may rise.
int8_t combine(int8_t high, int8_t low) {
  if (high < 0) return low;
  if (low < 0) return high;
  DType h = static_cast<DType>(high), l = static_cast<DType>(low);
  if (is_complex(h)) return high;
  if (is_floating(h)) return is_complex(l) ? static_cast<int8_t>(complex_dtype(h)) : high;
  if (is_differentiable(l)) return low;
  return h == DType::Bool ? static_cast<int8_t>(promote(h, l)) : high;
}

}  // namespace

void Promotion::tensor(DType t, bool zero_dim) {
  any_ = true;
  widen(zero_dim ? zero_ : dim_, t);
}

void Promotion::number(const Number& n) {
  any_ = true;
  widen(number_, n.dtype());
}

DType Promotion::result() const {
  int8_t t = combine(dim_, combine(zero_, number_));
  return t < 0 ? default_dtype() : static_cast<DType>(t);
}

// ---- Single elements ----------------------------------------------------------------------------

namespace {

// The value of a Number as an integer of T, wrapping around; floats truncate towards zero.
template <class T>
T to_integer(const Number& n) {
  if (n.tag <= Number::Int) return static_cast<T>(n.i);
  // A float out of range is undefined in C++; through 64 bits it wraps where it can.
  if (n.f >= 0x1p63 && n.f < 0x1p64) return static_cast<T>(static_cast<uint64_t>(n.f));
  if (!(n.f >= -0x1p63 && n.f < 0x1p63)) return 0;
  return static_cast<T>(static_cast<int64_t>(n.f));
}

template <class T>
T load(const void* p) {
  T v;
  std::memcpy(&v, p, sizeof v);
  return v;
}

template <class T>
void store(void* p, T v) {
  std::memcpy(p, &v, sizeof v);
}

template <class T>
bool fits_integer(const Number& n) {
  using Limits = std::numeric_limits<T>;
  if (n.tag <= Number::Int) {
    if (Limits::is_signed) {
      return n.i >= static_cast<int64_t>(Limits::min()) &&
             n.i <= static_cast<int64_t>(Limits::max());
    }
    // A negative number may wrap around, within the width.
    uint64_t magnitude = n.i < 0 ? 0 - static_cast<uint64_t>(n.i) : static_cast<uint64_t>(n.i);
    return magnitude <= static_cast<uint64_t>(Limits::max());
  }
  if (n.tag == Number::Complex && n.imag != 0) return false;
  // NaN fails both comparisons. The largest 64-bit integers are no doubles; the next one is.
  double bound = static_cast<double>(Limits::max());
  return n.f >= static_cast<double>(Limits::min()) && (sizeof(T) < 8 ? n.f <= bound : n.f < bound);
}

bool fits_float(double v) {
  return !std::isfinite(v) || std::fabs(v) <= std::numeric_limits<float>::max();
}

// Numbers that are to be stored in 8 bits may be no larger than the largest; infinity and NaN may.
bool fits_float8(const Float8& f, double v) {
  if (!std::isfinite(v)) return true;
  if (!f.has_sign() && v < 0) return false;
  return std::fabs(v) <= float8_to_float(f, f.largest);
}

bool fits(DType t, const Number& n) {
  if (t == DType::Bool || t == DType::C128) return true;
  if (t == DType::C64)
    return fits_float(n.as_double()) && (n.tag != Number::Complex || fits_float(n.imag));
  if (t == DType::C32) return true;
  if (is_floating(t)) {
    if (n.tag == Number::Complex && n.imag != 0) return false;
    if (is_float8(t)) return fits_float8(float8_format(t), n.as_double());
    return t != DType::F32 || fits_float(n.as_double());  // 16-bit floats round to infinity
  }
  switch (t) {
    case DType::U8: return fits_integer<uint8_t>(n);
    case DType::U16: return fits_integer<uint16_t>(n);
    case DType::U32: return fits_integer<uint32_t>(n);
    case DType::U64: return fits_integer<uint64_t>(n);
    case DType::I8: return fits_integer<int8_t>(n);
    case DType::I16: return fits_integer<int16_t>(n);
    case DType::I32: return fits_integer<int32_t>(n);
    default: return fits_integer<int64_t>(n);
  }
}

}  // namespace

std::string format(const Number& n) {
  switch (n.tag) {
    case Number::Bool: return n.i ? "True" : "False";
    case Number::Int: return std::to_string(n.i);
    case Number::Float: return concat(n.f);
    default: return concat("(", n.f, n.imag < 0 ? "" : "+", n.imag, "j)");
  }
}

void check_fits(DType t, const Number& n) {
  if (!fits(t, n)) {
    fail(Error::Runtime, "value cannot be converted to type ", info(t).name,
         " without overflow; got ", format(n));
  }
}

Number load_element(DType t, const void* p) {
  switch (t) {
    case DType::Bool: return Number::boolean(load<uint8_t>(p) != 0);
    case DType::U8: return Number::integer(load<uint8_t>(p));
    case DType::U16: return Number::integer(load<uint16_t>(p));
    case DType::U32: return Number::integer(load<uint32_t>(p));
    case DType::U64: return Number::integer(static_cast<int64_t>(load<uint64_t>(p)));
    case DType::I8: return Number::integer(load<int8_t>(p));
    case DType::I16: return Number::integer(load<int16_t>(p));
    case DType::I32: return Number::integer(load<int32_t>(p));
    case DType::I64: return Number::integer(load<int64_t>(p));
    case DType::F16: return Number::real(float16_to_float(load<uint16_t>(p)));
    case DType::BF16: return Number::real(bfloat16_to_float(load<uint16_t>(p)));
    case DType::F8E4M3:
    case DType::F8E5M2:
    case DType::F8E4M3UZ:
    case DType::F8E5M2UZ:
    case DType::F8E8M0: return Number::real(float8_to_float(float8_format(t), load<uint8_t>(p)));
    case DType::C32: {
      const auto* parts = static_cast<const uint16_t*>(p);
      return Number::complex(float16_to_float(parts[0]), float16_to_float(parts[1]));
    }
    case DType::F32: return Number::real(load<float>(p));
    case DType::F64: return Number::real(load<double>(p));
    case DType::C64: {
      auto c = load<std::complex<float>>(p);
      return Number::complex(c.real(), c.imag());
    }
    case DType::C128: {
      auto c = load<std::complex<double>>(p);
      return Number::complex(c.real(), c.imag());
    }
  }
  return {};
}

void store_element(DType t, void* p, const Number& n) {
  switch (t) {
    case DType::Bool: return store<uint8_t>(p, n.as_complex() != std::complex<double>());
    case DType::U8: return store(p, to_integer<uint8_t>(n));
    case DType::U16: return store(p, to_integer<uint16_t>(n));
    case DType::U32: return store(p, to_integer<uint32_t>(n));
    case DType::U64: return store(p, to_integer<uint64_t>(n));
    case DType::I8: return store(p, to_integer<int8_t>(n));
    case DType::I16: return store(p, to_integer<int16_t>(n));
    case DType::I32: return store(p, to_integer<int32_t>(n));
    case DType::I64: return store(p, to_integer<int64_t>(n));
    case DType::F16: return store(p, float_to_float16(static_cast<float>(n.as_double())));
    case DType::BF16: return store(p, float_to_bfloat16(static_cast<float>(n.as_double())));
    case DType::F8E4M3:
    case DType::F8E5M2:
    case DType::F8E4M3UZ:
    case DType::F8E5M2UZ:
    case DType::F8E8M0:
      return store(p, float_to_float8(float8_format(t), static_cast<float>(n.as_double())));
    case DType::C32: {
      const std::complex<double> z = n.as_complex();
      const uint16_t parts[] = {float_to_float16(static_cast<float>(z.real())),
                                float_to_float16(static_cast<float>(z.imag()))};
      std::memcpy(p, parts, sizeof parts);
      return;
    }
    case DType::F32: return store(p, static_cast<float>(n.as_double()));
    case DType::F64: return store(p, n.as_double());
    case DType::C64: return store(p, std::complex<float>(n.as_complex()));
    case DType::C128: return store(p, n.as_complex());
  }
}

}  // namespace taimatsu
