// The operators of Tensor: arithmetic, comparison, conversion to Python numbers.
//
// They build Values and call the table's ops directly; a method of the same meaning (`a.add(b)`)
// goes through the op's argument parsing instead.
#include <cmath>

#include "python/tensor_type.h"

namespace taimatsu {

namespace {

// What an override is told was called are PyTorch's functions behind its operators.
struct Operator {
  CoreOp op;
  const char* method;
  const char* reflected;
  const char* inplace;
  bool numbers = true;  // an operand may be a Python number
};

Operator kAdd{{"add"}, "add", "add", "add_"};
Operator kSub{{"sub"}, "sub", "__rsub__", "sub_"};
Operator kMul{{"mul"}, "mul", "mul", "mul_"};
Operator kDiv{{"div"}, "div", "__rdiv__", "div_"};
Operator kFloorDiv{{"floor_divide"}, "__floordiv__", "__rfloordiv__", "floor_divide_"};
Operator kMod{{"remainder"}, "remainder", "__rmod__", "remainder_"};
Operator kPow{{"pow"}, "pow", "__rpow__", "pow_"};
Operator kMatmul{{"matmul"}, "matmul", "__rmatmul__", nullptr, false};
Operator kAnd{{"bitwise_and"}, "__and__", "bitwise_and", "__iand__"};
Operator kOr{{"bitwise_or"}, "__or__", "bitwise_or", "__ior__"};
Operator kXor{{"bitwise_xor"}, "__xor__", "bitwise_xor", "__ixor__"};
Operator kLeft{{"bitwise_left_shift"}, "__lshift__", "__rlshift__", "__ilshift__"};
Operator kRight{{"bitwise_right_shift"}, "__rshift__", "__rrshift__", "__irshift__"};
Operator kCompare[] = {
    // by Py_LT ...
    {{"lt"}, "lt", "gt", nullptr},         {{"le"}, "le", "ge", nullptr},
    {{"eq"}, "__eq__", "__eq__", nullptr}, {{"ne"}, "ne", "ne", nullptr},
    {{"gt"}, "gt", "lt", nullptr},         {{"ge"}, "ge", "le", nullptr},
};

enum class Operand { Fine, Override, Foreign };

// `holder` keeps alive the tensor that a NumPy array is seen as.
Operand uncommon_operand(PyObject* o, bool numbers, Value& v, TensorRef& holder) {
  if (is_tensor(o)) {
    if (has_torch_function(o)) return Operand::Override;
    v = Value(as_tensor(o));
    return Operand::Fine;
  }
  if (o == Py_None || PyUnicode_Check(o) || PyList_Check(o) || PyTuple_Check(o)) {
    return Operand::Foreign;
  }
  if (is_numpy_array(o)) {
    holder = from_array(o, false);
    v = Value(holder);
    return Operand::Fine;
  }
  if (!PyLong_Check(o) && !PyFloat_Check(o) && !PyComplex_Check(o) && !is_numpy_scalar(o)) {
    return has_torch_function(o) ? Operand::Override : Operand::Foreign;
  }
  Number n;
  if (!numbers || !number_of(o, n)) return Operand::Foreign;
  v = Value(n);
  return Operand::Fine;
}

inline Operand operand(PyObject* o, bool numbers, Value& v, TensorRef& holder) {
  if (is_plain_tensor(o)) {
    v = Value(as_tensor(o));
    return Operand::Fine;
  }
  if (numbers && PyFloat_CheckExact(o)) {
    v = Value::of_float(PyFloat_AsDouble(o));
    return Operand::Fine;
  }
  return uncommon_operand(o, numbers, v, holder);
}

// Both operands can be computed with here.
inline bool ours(Operand first, Operand second) {
  return first == Operand::Fine && second == Operand::Fine && !(modes.interpose & kFunctionModes);
}
inline bool foreign(Operand first, Operand second) {
  return first == Operand::Foreign || second == Operand::Foreign;
}

PyObject* binary(Operator& f, PyObject* a, PyObject* b) {
  return guard([&]() -> PyObject* {
    Value v[kMaxOperatorArgs];
    TensorRef holder;
    Operand first = operand(a, f.numbers, v[0], holder);
    Operand second = operand(b, f.numbers, v[1], holder);
    if (ours(first, second)) return call_op(f.op, v, 2);
    if (foreign(first, second)) return new_ref(Py_NotImplemented);
    return is_tensor(a) ? call_override(f.method, a, &b, 1) : call_override(f.reflected, b, &a, 1);
  });
}

PyObject* inplace(Operator& f, PyObject* a, PyObject* b) {
  return guard([&]() -> PyObject* {
    Value v[kMaxOperatorArgs];
    TensorRef holder;
    Operand first = operand(a, false, v[0], holder);
    Operand second = operand(b, f.numbers, v[1], holder);
    if (ours(first, second)) return call_op_inplace(f.op, v, 2);
    if (foreign(first, second)) return new_ref(Py_NotImplemented);
    return call_override(f.inplace, a, &b, 1);
  });
}

template <Operator& f>
PyObject* nb(PyObject* a, PyObject* b) {
  return binary(f, a, b);
}
template <Operator& f>
PyObject* nb_inplace(PyObject* a, PyObject* b) {
  return inplace(f, a, b);
}

PyObject* power(PyObject* a, PyObject* b, PyObject* modulus) {
  if (modulus != Py_None) Py_RETURN_NOTIMPLEMENTED;
  return binary(kPow, a, b);
}
PyObject* inplace_power(PyObject* a, PyObject* b, PyObject* modulus) {
  if (modulus != Py_None) Py_RETURN_NOTIMPLEMENTED;
  return inplace(kPow, a, b);
}

PyObject* compare(PyObject* a, PyObject* b, int op) { return binary(kCompare[op], a, b); }

// ---- Of one operand -----------------------------------------------------------------------------
struct UnaryOperator {
  CoreOp op;
  const char* method;
  bool integers = false;  // defined for these and bool only
};
UnaryOperator kNeg{{"neg"}, "neg"}, kAbs{{"abs"}, "abs"},
    kInvert{{"bitwise_not"}, "__invert__", true};

template <UnaryOperator& f>
PyObject* unary(PyObject* self) {
  return guard([&]() -> PyObject* {
    if (overridden(self)) return call_override(f.method, self);
    if (f.integers && !is_integral(as_tensor(self)->dtype, true)) {
      fail(Error::Type, f.method, ": only implemented on integer and bool tensors; got ",
           info(as_tensor(self)->dtype).name, "; convert it");
    }
    Value v[kMaxOperatorArgs] = {Value(as_tensor(self))};
    return call_op(f.op, v, 1);
  });
}

PyObject* positive(PyObject* self) {
  return overridden(self) ? call_override("positive", self) : new_ref(self);
}

// ---- To Python's numbers ------------------------------------------------------------------------
Number only_element(PyObject* self) {
  const Tensor& t = *as_tensor(self);
  if (t.numel() != 1) {
    fail(Error::Value, "only one element tensors can be converted to Python scalars; got sizes ",
         format(t.sizes()));
  }
  return read_item(t);
}

int truth(PyObject* self) {
  return guard(-1, [&] {
    if (overridden(self)) {
      Object result = Object::steal(checked(call_override("__bool__", self)));
      return to_bool(result.get()) ? 1 : 0;
    }
    const Tensor& t = *as_tensor(self);
    if (t.numel() != 1) {
      fail(Error::Runtime, "Boolean value of Tensor with ",
           t.numel() ? "more than one value" : "no values", " is ambiguous; use any() or all()");
    }
    std::complex<double> z = read_item(t).as_complex();
    return z.real() != 0 || z.imag() != 0 ? 1 : 0;
  });
}

void refuse_complex(const Number& n, const char* what) {
  if (n.tag == Number::Complex && n.imag != 0) {
    fail(Error::Runtime, "value cannot be converted to type ", what,
         " without overflow: its imaginary part is not 0; take .real first");
  }
}

PyObject* to_python_float(PyObject* self) {
  return guard([&] {
    if (overridden(self)) return call_override("__float__", self);
    Number n = only_element(self);
    refuse_complex(n, "double");
    if (n.tag == Number::Int && as_tensor(self)->dtype == DType::U64) {
      return PyFloat_FromDouble(static_cast<double>(static_cast<uint64_t>(n.i)));
    }
    return PyFloat_FromDouble(n.as_double());
  });
}

PyObject* to_python_int(PyObject* self) {
  return guard([&] {
    if (overridden(self)) return call_override("__int__", self);
    Number n = only_element(self);
    refuse_complex(n, "int64_t");
    if (n.tag >= Number::Float) return checked(PyLong_FromDouble(n.f));
    if (as_tensor(self)->dtype == DType::U64) return PyLong_FromUnsignedLongLong(n.i);
    return PyLong_FromLongLong(n.i);
  });
}

PyObject* to_python_index(PyObject* self) {
  const Tensor& t = *as_tensor(self);
  if (t.numel() != 1 || !is_integral(t.dtype, true)) {
    PyErr_SetString(PyExc_TypeError,
                    "only integer tensors of a single element can be converted to an index");
    return nullptr;
  }
  return to_python_int(self);
}

PyObject* to_python_complex(PyObject* self, PyObject*) {
  return guard([&] {
    if (overridden(self)) return call_override("__complex__", self);
    std::complex<double> z = only_element(self).as_complex();
    return PyComplex_FromDoubles(z.real(), z.imag());
  });
}

}  // namespace

PyMethodDef number_methods[] = {
    {"__complex__", to_python_complex, METH_NOARGS, nullptr},
    {},
};

const std::vector<PyType_Slot>& number_slots() {
  static const std::vector<PyType_Slot> slots = {
      {Py_nb_add, slot(nb<kAdd>)},
      {Py_nb_subtract, slot(nb<kSub>)},
      {Py_nb_multiply, slot(nb<kMul>)},
      {Py_nb_true_divide, slot(nb<kDiv>)},
      {Py_nb_floor_divide, slot(nb<kFloorDiv>)},
      {Py_nb_remainder, slot(nb<kMod>)},
      {Py_nb_power, slot(power)},
      {Py_nb_matrix_multiply, slot(nb<kMatmul>)},
      {Py_nb_and, slot(nb<kAnd>)},
      {Py_nb_or, slot(nb<kOr>)},
      {Py_nb_xor, slot(nb<kXor>)},
      {Py_nb_lshift, slot(nb<kLeft>)},
      {Py_nb_rshift, slot(nb<kRight>)},
      {Py_nb_inplace_add, slot(nb_inplace<kAdd>)},
      {Py_nb_inplace_subtract, slot(nb_inplace<kSub>)},
      {Py_nb_inplace_multiply, slot(nb_inplace<kMul>)},
      {Py_nb_inplace_true_divide, slot(nb_inplace<kDiv>)},
      {Py_nb_inplace_floor_divide, slot(nb_inplace<kFloorDiv>)},
      {Py_nb_inplace_remainder, slot(nb_inplace<kMod>)},
      {Py_nb_inplace_power, slot(inplace_power)},
      {Py_nb_inplace_and, slot(nb_inplace<kAnd>)},
      {Py_nb_inplace_or, slot(nb_inplace<kOr>)},
      {Py_nb_inplace_xor, slot(nb_inplace<kXor>)},
      {Py_nb_inplace_lshift, slot(nb_inplace<kLeft>)},
      {Py_nb_inplace_rshift, slot(nb_inplace<kRight>)},
      {Py_nb_negative, slot(unary<kNeg>)},
      {Py_nb_positive, slot(positive)},
      {Py_nb_absolute, slot(unary<kAbs>)},
      {Py_nb_invert, slot(unary<kInvert>)},
      {Py_nb_bool, slot(truth)},
      {Py_nb_int, slot(to_python_int)},
      {Py_nb_float, slot(to_python_float)},
      {Py_nb_index, slot(to_python_index)},
      {Py_tp_richcompare, slot(compare)},
  };
  return slots;
}

}  // namespace taimatsu
