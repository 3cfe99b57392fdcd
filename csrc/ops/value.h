// Value: one argument of an op call, parsed. Borrowed: whoever made it keeps it alive.
#pragma once

#include "tensor/tensor.h"

namespace taimatsu {

enum class MemoryFormat : uint8_t { Contiguous, Preserve, ChannelsLast, ChannelsLast3d };

struct Value {
  enum Tag : uint8_t {
    None,
    Number,
    Tensor,
    Tensors,
    Ints,
    Floats,
    Bools,
    String,
    DType,
    Device,
    MemoryFormat,
    Object
  };
  Tag tag = None;
  union {
    taimatsu::Number number;
    taimatsu::Tensor* tensor;
    struct {
      taimatsu::Tensor* const* data;  // an element is null for None in an optional list
      int64_t size;
    } tensors;
    struct {
      const void* data;  // int64_t, double or bool by the tag
      int64_t size;
    } list;
    const char* string;  // UTF-8, of a Python str that lives
    taimatsu::DType dtype;
    taimatsu::Device device;
    taimatsu::MemoryFormat format;
    PyObject* object;  // a generator, a slice, anything else
  };

  Value() : number() {}
  Value(const taimatsu::Number& n) : tag(Number), number(n) {}
  Value(taimatsu::Tensor* t) : tag(t ? Tensor : None), number() {
    if (t) tensor = t;
  }
  Value(const TensorRef& t) : Value(t.get()) {}
  Value(taimatsu::Ints v) : tag(Ints), number() { list = {v.data, v.size}; }
  Value(taimatsu::DType t) : tag(DType), number() { dtype = t; }
  Value(taimatsu::Device d) : tag(Device), number() { device = d; }
  Value(taimatsu::MemoryFormat f) : tag(MemoryFormat), number() { format = f; }
  static Value of_bool(bool b) { return Value(taimatsu::Number::boolean(b)); }
  static Value of_int(int64_t i) { return Value(taimatsu::Number::integer(i)); }
  static Value of_float(double f) { return Value(taimatsu::Number::real(f)); }
  static Value of_string(const char* s) {
    Value v;
    v.tag = String;
    v.string = s;
    return v;
  }
  static Value of_tensors(taimatsu::Tensor* const* data, int64_t size) {
    Value v;
    v.tag = Tensors;
    v.tensors = {data, size};
    return v;
  }
  static Value of_object(PyObject* o) {
    Value v;
    v.tag = o ? Object : None;
    if (o) v.object = o;
    return v;
  }

  bool none() const { return tag == None; }
  bool is_tensor() const { return tag == Tensor; }
  taimatsu::Tensor& t() const { return *tensor; }
  taimatsu::Ints ints() const { return {static_cast<const int64_t*>(list.data), list.size}; }
  int64_t to_int() const { return number.as_int(); }
  double to_double() const { return number.as_double(); }
  bool to_bool() const { return number.as_double() != 0; }
};

constexpr int kMaxArgs = 32;

// A copy of a Value that owns what it mentions: what a tape node or a recorded call keeps.
class OwnedValue {
 public:
  OwnedValue() = default;
  explicit OwnedValue(const Value& v);
  OwnedValue(OwnedValue&& o) noexcept : value_(o.value_) { o.value_ = Value(); }
  OwnedValue& operator=(OwnedValue&& o) noexcept {
    std::swap(value_, o.value_);
    return *this;
  }
  OwnedValue(const OwnedValue&) = delete;
  ~OwnedValue() { clear(); }
  const Value& get() const { return value_; }
  void clear();

 private:
  Value value_;
};

bool equal(const Value& a, const Value& b);  // of values without tensors and other objects

// Whether tensors of that layout have the format (Preserve: whatever they have).
bool has_format(const Layout& l, MemoryFormat f);
// RuntimeError for Preserve, where a format is asked for.
void check_definite(MemoryFormat f);

// Python object <-> Value, untyped: what a Python gradient or composite receives.
PyObject* to_python(const Value& v);  // a new reference

}  // namespace taimatsu
