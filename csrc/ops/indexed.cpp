// Indexed ops: the value at an output coordinate, by loads at computed coordinates.
#include "ops/launch.h"
#include "ops/unchanged.h"

namespace taimatsu {
namespace {

std::string shape_key(const Call& c) {
  std::string key;
  auto put = [&](const void* p, size_t n) { key.append(static_cast<const char*>(p), n); };
  for (uint8_t i : c.op.operands) {
    if (!c.args[i].is_tensor()) continue;
    Ints s = c.args[i].t().sizes();
    put(&s.size, 8);
    put(s.data, 8 * s.size);
  }
  for (size_t i = 0; i < c.op.schema.params.size(); ++i) {
    if (c.args[i].tag == Value::Number) put(&c.args[i].number.i, 8);
  }
  return key;
}

// The entry's own function of the operands' sizes (tuples; None where absent) and the attributes.
std::vector<std::vector<int64_t>> compute_sizes(const Call& c) {
  const auto& params = c.op.schema.params;
  Object args = Object::steal(checked(PyTuple_New(static_cast<Py_ssize_t>(c.op.operands.size()))));
  for (size_t k = 0; k < c.op.operands.size(); ++k) {
    const Value& v = c.args[c.op.operands[k]];
    Object o = v.is_tensor() ? Object::steal(to_python(Value(v.t().sizes()))) : Object(Py_None);
    checked(PyTuple_SetItem(args.get(), static_cast<Py_ssize_t>(k), o.leak()));
  }
  Object kwargs = Object::steal(checked(PyDict_New()));
  for (size_t i = 0; i < params.size(); ++i) {
    if (params[i].type <= Type::TensorOrNumber) continue;
    Object o = Object::steal(to_python(c.args[i]));
    checked(PyDict_SetItem(kwargs.get(), params[i].interned, o.get()));
  }
  Object result =
      Object::steal(checked(PyObject_Call(c.op.out_sizes.get(), args.get(), kwargs.get())));
  std::vector<std::vector<int64_t>> all;
  for (Py_ssize_t i = 0, n = PySequence_Size(result.get()); i < n; ++i) {
    Object sizes = Object::steal(checked(PySequence_GetItem(result.get(), i)));
    all.emplace_back();
    for (Py_ssize_t d = 0, m = PySequence_Size(sizes.get()); d < m; ++d) {
      Object extent = Object::steal(checked(PySequence_GetItem(sizes.get(), d)));
      all.back().push_back(PyLong_AsLongLong(extent.get()));
    }
  }
  if (PyErr_Occurred()) python_error();
  return all;
}

}  // namespace

void infer_indexed(Call& c, Tensor* const*) {
  Variant& v = find_variant(c);
  std::string key = shape_key(c);
  auto it = v.sizes.find(key);
  if (it == v.sizes.end()) {
    if (v.sizes.size() > 4096) v.sizes.clear();
    const Unchanged before(c);
    auto sizes = compute_sizes(c);
    before.check();
    it = v.sizes.emplace(std::move(key), std::move(sizes)).first;
  }
  Device device;
  for (uint8_t i : c.op.operands) {
    if (c.args[i].is_tensor()) {
      device = c.args[i].t().device();
      break;
    }
  }
  const size_t n = v.outputs.size();
  for (size_t i = 0; i < n; ++i) {
    const auto& sizes = it->second[it->second.size() == 1 ? 0 : i];
    c.outs.push(empty(sizes, v.outputs[i].dtype, device));
  }
}

void run_indexed(Call& c) {
  Variant& v = find_variant(c);
  Tensor* ops[kMaxOperands];
  int n = 0;
  for (int i = 0; i < c.outs.size(); ++i) ops[n++] = c.outs[i].get();
  for (uint8_t i : c.op.operands) {
    if (c.args[i].is_tensor()) ops[n++] = c.args[i].tensor;
  }
  for (int i = 0; i < c.outs.size() && v.accumulates; ++i) fill(*c.outs[i], Number::integer(0));
  int64_t geometry[kMaxGeometry];
  int at = 0;
  int64_t work = 1;
  for (int i = 0; i < n; ++i) {
    if (ops[i]->ndim() != v.ranks[i]) {
      fail(Error::Runtime, "expected a tensor of ", v.ranks[i], " dims, but got one of shape ",
           format(ops[i]->sizes()));
    }
  }
  const Ints extents = ops[v.over]->sizes();
  for (int64_t extent : extents) {
    geometry[at++] = 0;
    geometry[at++] = extent;
    work *= extent;
  }
  if (work == 0) return;
  LayoutClass key;
  for (int i = 0; i < n; ++i) {
    const Layout& l = *ops[i]->layout;
    if (at + 2 * l.ndim > kMaxGeometry) fail(Error::Runtime, "too many dims for one kernel");
    for (int d = 0; d < l.ndim; ++d) geometry[at++] = l.size(d);
    for (int d = 0; d < l.ndim; ++d) geometry[at++] = l.stride(d);
    key.add(i, 0, l.ndim ? stride_class(l.stride(l.ndim - 1)) : 1);
  }
  int64_t scalars[kMaxScalars];
  if (!v.scalars.empty()) pack_scalars(c, scalars);
  void* ptr[kMaxOperands];
  for (int i = 0; i < n; ++i) ptr[i] = ops[i]->data();
  Kernel kernel = v.kernel(key, n, 1, ops[0]->device());
  int32_t status =
      launch({kernel, ptr, geometry, at, static_cast<int>(extents.size), scalars, work, 0, &c.op});
  if (status) check_status(c.op, status);
}

}  // namespace taimatsu
