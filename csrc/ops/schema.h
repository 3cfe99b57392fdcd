// Schemas: the contract of an op, in PyTorch's notation, parsed once at registration.
//
//   "add(Tensor self, Tensor|Number other, *, Number alpha=1) -> Tensor"
//   "max.dim(Row self, int dim, bool keepdim=False) -> (Cell values, Cell indices)"
#pragma once

#include <memory>

#include "ops/value.h"

namespace taimatsu {

enum class Type : uint8_t {
  Tensor,
  TensorOrNumber,
  Tensors,
  Number,
  Int,
  Float,
  Bool,
  Ints,
  Floats,
  Bools,
  String,
  DType,
  Layout,
  Device,
  MemoryFormat,
  Generator,
  Any
};
enum class Role : uint8_t { Plain, Row, Cell, Shared, Index };

struct Param {
  std::string name;
  PyObject* interned;  // the name as an interned str: keywords compare by pointer first
  Type type;
  Role role = Role::Plain;
  bool optional = false;        // "?": None is accepted
  bool optional_items = false;  // "Tensor?[]"
  bool keyword_only = false;
  bool has_default = false;
  bool written = false;    // "(a!)": the op writes to it
  bool is_static = false;  // part of the kernel's identity
  int list_size = -1;      // int[2]: a single int stands for two
  Value default_value;
};

struct Return {
  std::string name;  // "" if unnamed
  Type type;
  Role role = Role::Plain;
};

struct Schema {
  std::string text;      // as declared
  std::string name;      // "max", without the overload
  std::string overload;  // "dim"
  std::vector<Param> params;
  std::vector<Return> returns;
  int positional = 0;     // how many params may be given by position
  int varargs_ints = -1;  // the param that takes trailing ints: zeros(2, 3)
  // Where the keyword arguments of factories are; -1: there is none.
  int dtype = -1, device = -1, layout = -1, requires_grad = -1, memory_format = -1;

  static Schema parse(const std::string& text);
  int find(const std::string& param) const;  // -1: none
  std::string signature() const;             // as Python would show it
};

const char* expected_type(const Param& p);  // as error messages name it
// A Python or NumPy number, or a 0-dim tensor that needs no gradient; false: something else.
bool number_of(PyObject* o, Number& out);

// The arguments of one call, by schema. Owns the temporaries that parsing made.
class Arguments {
 public:
  union {  // left uninitialised: a call pays for the params it has
    Value values[kMaxArgs];
  };
  Arguments() {}
  ~Arguments() {}

  // Fills `values` in the schema's order. `self` (may be null) stands before `args`. Returns false
  // and leaves a description in `why` if they don't fit (then another overload may).
  bool parse(const Schema& s, PyObject* self, PyObject* const* args, Py_ssize_t nargs,
             PyObject* kwnames, std::string* why);
  // What an interposed call was given, in the schema's order: keyword-only params by position too,
  // and numbers for tensors, as operators pass them.
  bool parse_by_position(const Schema& s, PyObject* const* args, Py_ssize_t nargs,
                         PyObject* kwnames, std::string* why);
  void fill_defaults(const Schema& s);

  PyObject* out = nullptr;         // the `out=` argument, borrowed (a tensor or a tuple of tensors)
  PyObject* overridden = nullptr;  // the first argument whose type has a __torch_function__

 private:
  bool convert(const Param& p, PyObject* o, Value& v, std::string* why);
  // Everything but the param `settled`, which has its value already (-1: none).
  bool fill(const Schema& s, PyObject* self, PyObject* const* args, Py_ssize_t nargs,
            PyObject* kwnames, int settled, std::string* why);
  // A tuple of the items, which hold them while the op runs, whatever becomes of the list.
  PyObject* snapshot(PyObject* sequence);
  // Lists are kept in `small_` as far as they fit.
  template <class T>
  T* reserve(int64_t n);
  bool numbers_for_tensors_ = false;
  static constexpr int kSmall = 24;
  int64_t small_[kSmall];
  int used_ = 0;
  std::vector<std::unique_ptr<int64_t[]>> large_;
  std::vector<Object> held_;
};

}  // namespace taimatsu
