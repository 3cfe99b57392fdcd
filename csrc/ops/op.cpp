// The registry of ops: from a table entry to an Op, its variants and its derivative plans.
#include "ops/op.h"

#include "ops/replay.h"
#include "ops/unchanged.h"

#include <algorithm>

#include "autograd/autograd.h"
#include "python/objects.h"

namespace taimatsu {
namespace {

template <class T>
std::unordered_map<std::string, T>& routines() {
  static auto* all = new std::unordered_map<std::string, T>;  // never freed: used at exit
  return *all;
}

std::unordered_map<std::string, Op*>& registry() {
  static auto* all = new std::unordered_map<std::string, Op*>;
  return *all;
}

Object attribute(PyObject* o, const char* name) {
  return Object::steal(checked(PyObject_GetAttrString(o, name)));
}

std::string text(PyObject* o) {
  const char* s = PyUnicode_AsUTF8AndSize(o, nullptr);
  if (!s) python_error();
  return s;
}
std::string text(PyObject* o, const char* name) { return text(attribute(o, name).get()); }

bool truth(PyObject* o, const char* name) {
  int r = PyObject_IsTrue(attribute(o, name).get());
  checked(r);
  return r != 0;
}

// Runs `body` for each str of a sequence attribute.
template <class F>
void each_name(PyObject* entry, const char* name, F&& body) {
  Object names = attribute(entry, name);
  if (names.get() == Py_None) return;
  Py_ssize_t n = PySequence_Size(names.get());
  for (Py_ssize_t i = 0; i < n; ++i) {
    Object item = Object::steal(checked(PySequence_GetItem(names.get(), i)));
    body(text(item.get()));
  }
}

Kind kind_of(const std::string& name) {
  static const char* names[] = {"pointwise", "row", "indexed", "view", "composite", "native"};
  for (int i = 0; i < 6; ++i) {
    if (name == names[i]) return static_cast<Kind>(i);
  }
  fail(Error::Value, "unknown kind of op '", name, "'");
}

RowSpec row_spec(const Schema& s, PyObject* spec) {
  RowSpec r;
  if (spec == Py_None) {
    r.index = s.find("dim");
    r.kind = r.index >= 0 ? RowSpec::Param : RowSpec::All;
  } else if (PyLong_Check(spec)) {
    r.kind = RowSpec::Fixed;
    r.index = static_cast<int>(PyLong_AsLong(spec));
  } else if (PyTuple_Check(spec)) {
    std::string what = text(PyTuple_GetItem(spec, 0));
    PyObject* argument = PyTuple_GetItem(spec, 1);
    if (what == "not") {
      r = row_spec(s, argument);
      r.complement = !r.complement;
    } else {  // ("trailing", param): as many dims as the list has
      r.kind = RowSpec::Trailing;
      r.index = s.find(text(argument));
    }
  } else if (text(spec) != "all") {
    r.kind = RowSpec::Param;
    r.index = s.find(text(spec));
  }
  if (r.kind != RowSpec::All && r.kind != RowSpec::Fixed && r.index < 0) {
    fail(Error::Value, s.name, ": `rows` names no param of the schema");
  }
  return r;
}

// Which params of a formula are operands, run-time scalars, and part of the kernel's identity.
void classify(Op& op, PyObject* entry) {
  Schema& s = op.schema;
  each_name(entry, "static", [&](const std::string& n) {
    int i = s.find(n);
    if (i >= 0) s.params[i].is_static = true;
  });
  each_name(entry, "dynamic", [&](const std::string& n) {
    int i = s.find(n);
    if (i >= 0) s.params[i].is_static = false;
  });
  op.nonempty = truth(entry, "nonempty");
  op.outside =
      attribute(entry, "outside").get() == PyExc_RuntimeError ? Error::Runtime : Error::Index;
  if (op.kind == Kind::Row) {
    op.rows = row_spec(s, attribute(entry, "rows").get());
    op.keepdim = s.find("keepdim");
  }
  auto consumed = [&](int i) {
    bool names_rows = op.kind == Kind::Row && i == op.rows.index &&
                      (op.rows.kind == RowSpec::Param || op.rows.kind == RowSpec::Trailing);
    return names_rows || (op.keepdim == i && op.kind == Kind::Row);
  };
  for (size_t i = 0; i < s.params.size(); ++i) {
    const Param& p = s.params[i];
    if (p.type == Type::Tensor || p.type == Type::TensorOrNumber) {
      op.operands.push_back(static_cast<uint8_t>(i));
    } else if (consumed(static_cast<int>(i))) {
      continue;
    } else if (p.is_static) {
      op.statics.push_back(static_cast<uint8_t>(i));
    } else if (p.type == Type::Int || p.type == Type::Float || p.type == Type::Number ||
               p.type == Type::Bool || (p.type == Type::Ints && p.list_size > 0)) {
      op.scalars.push_back(static_cast<uint8_t>(i));
    } else {
      fail(Error::Value, op.name, ": a formula can't take the param '", p.name, "'");
    }
  }
  each_name(entry, "keep", [&](const std::string& n) {
    int i = s.find(n);
    if (i >= 0) op.kept |= uint64_t{1} << i;
  });
  std::string promote = text(entry, "promote");
  op.promote = promote == "float" ? Op::Float : promote == "none" ? Op::None : Op::Common;
  Object settle = attribute(entry, "settle");
  PyObject *name, *numbers;
  for (Py_ssize_t at = 0; PyDict_Next(settle.get(), &at, &name, &numbers);) {
    op.settling = s.find(text(name));
    for (Py_ssize_t i = 0, n = PySequence_Size(numbers); i < n; ++i) {
      Object number = Object::steal(checked(PySequence_GetItem(numbers, i)));
      op.settled.push_back(PyFloat_AsDouble(number.get()));
    }
  }
  op.has_statics = !op.statics.empty() || op.counts_rows() || op.settling >= 0;
  for (uint8_t i : op.scalars) op.has_statics |= s.params[i].optional;
  if (op.operands.size() + s.returns.size() > kMaxOperands || op.scalars.size() > kMaxScalars / 2) {
    fail(Error::Value, op.name, ": too many operands or scalars for one kernel");
  }
}

Source source(PyObject* o) {
  Source s;
  if (o == Py_None) return s;
  std::string kind = text(PyTuple_GetItem(o, 0));
  PyObject* index = PyTuple_GetItem(o, 1);
  if (kind == "value") {
    s.kind = Source::Constant;
    s.constant = Object(index);
    return s;
  }
  if (kind == "like") {
    s.kind = Source::Like;
    s.index = static_cast<int16_t>(PyLong_AsLong(index));
    return s;
  }
  if (kind == "step") {
    s.kind = Source::Step;
    s.index = static_cast<int16_t>(PyLong_AsLong(PyTuple_GetItem(index, 0)));
    s.sub = static_cast<int16_t>(PyLong_AsLong(PyTuple_GetItem(index, 1)));
    return s;
  }
  s.kind = kind == "arg" ? Source::Argument : kind == "out" ? Source::Output : Source::Gradient;
  s.sub = kind == "g?";
  s.index = static_cast<int16_t>(PyLong_AsLong(index));
  return s;
}

void note_saved(Plan& plan, const Source& s) {
  if (s.kind == Source::Argument) plan.saved_args |= uint64_t{1} << s.index;
  if (s.kind == Source::Output) plan.saved_outs |= uint64_t{1} << s.index;
  if (s.kind == Source::Like) plan.saved_likes |= uint64_t{1} << s.index;
}

// Asks the entry.
std::unique_ptr<Plan> make_plan(const Op& op, uint64_t mask, Object statics, Object present) {
  Object made = Object::steal(checked(PyObject_CallMethod(op.entry.get(), "plan", "KOO",
                                                          static_cast<unsigned long long>(mask),
                                                          statics.get(), present.get())));
  auto plan = std::make_unique<Plan>();
  plan->mask = mask;
  plan->statics = std::move(statics);
  plan->present = std::move(present);
  Object steps = attribute(made.get(), "steps"), grads = attribute(made.get(), "grads");
  for (Py_ssize_t i = 0, n = PySequence_Size(steps.get()); i < n; ++i) {
    Object item = Object::steal(checked(PySequence_GetItem(steps.get(), i)));
    Object callee = Object::steal(checked(PySequence_GetItem(item.get(), 0)));
    Object sources = Object::steal(checked(PySequence_GetItem(item.get(), 1)));
    Object nout = Object::steal(checked(PySequence_GetItem(item.get(), 2)));
    Step step;
    if (PyObject_HasAttrString(callee.get(), "schema")) {
      step.op = op_of(callee.get());
    } else {
      step.function = callee;
    }
    for (Py_ssize_t k = 0, m = PySequence_Size(sources.get()); k < m; ++k) {
      Object src = Object::steal(checked(PySequence_GetItem(sources.get(), k)));
      step.sources.push_back(source(src.get()));
      note_saved(*plan, step.sources.back());
    }
    step.nout = static_cast<int>(PyLong_AsLong(nout.get()));
    plan->steps.push_back(std::move(step));
  }
  for (Py_ssize_t i = 0, n = PySequence_Size(grads.get()); i < n; ++i) {
    Object item = Object::steal(checked(PySequence_GetItem(grads.get(), i)));
    plan->grads.push_back(source(item.get()));
    note_saved(*plan, plan->grads.back());
  }
  return plan;
}

}  // namespace

void register_view(const char* name, ViewRoutine r) { routines<ViewRoutine>()[name] = r; }
void register_native(const char* name, NativeRoutine r) { routines<NativeRoutine>()[name] = r; }
void register_composite(const char* name, CompositeRoutine r) {
  routines<CompositeRoutine>()[name] = r;
}

void Tensors::push(TensorRef t) {
  if (size_ < kInline) {
    small_[size_++] = std::move(t);
    return;
  }
  if (size_ == kInline) {
    many_.reserve(2 * kInline);
    for (auto& s : small_) many_.push_back(std::move(s));
  }
  many_.push_back(std::move(t));
  ++size_;
}

void Tensors::clear() {
  for (auto& s : small_) s = nullptr;
  many_.clear();
  size_ = 0;
  is_list = false;
  other = nullptr;
}

Op* define(PyObject* entry) {
  Object handle = attribute(entry, "handle");
  if (handle.get() != Py_None) return static_cast<Op*>(PyLong_AsVoidPtr(handle.get()));
  auto op = std::make_unique<Op>();
  op->kind = kind_of(text(entry, "kind"));
  op->schema = Schema::parse(text(entry, "schema"));
  op->base_name = op->schema.name;
  op->name = op->base_name + (op->schema.overload.empty() ? "" : "." + op->schema.overload);
  op->entry = Object(entry);
  op->inplace = truth(entry, "inplace");
  op->out = truth(entry, "out");
  op->exact_out = PyUnicode_Check(attribute(entry, "out").get());
  for (size_t i = 0; i < op->schema.params.size(); ++i) {
    const Param& p = op->schema.params[i];
    op->pure &= !p.written;
    if (p.type <= Type::Tensors) op->tensor_params.push_back(static_cast<uint8_t>(i));
    const bool may_be_absent = p.optional || (p.has_default && p.default_value.none());
    if (may_be_absent || p.type == Type::TensorOrNumber) {
      op->varying.push_back(static_cast<uint8_t>(i));
    }
  }
  switch (op->kind) {
    case Kind::Pointwise:
    case Kind::Row:
    case Kind::Indexed:
      classify(*op, entry);
      if (op->kind == Kind::Indexed) op->out_sizes = attribute(entry, "sizes");
      break;
    case Kind::View: {
      auto it = routines<ViewRoutine>().find(op->name);
      if (it == routines<ViewRoutine>().end()) {
        fail(Error::Value, op->name, ": the core has no view routine of that name");
      }
      op->view = &it->second;
      break;
    }
    case Kind::Native: {
      auto it = routines<NativeRoutine>().find(op->name);
      if (it == routines<NativeRoutine>().end()) {
        fail(Error::Value, op->name, ": the core has no native routine of that name");
      }
      op->native = &it->second;
      break;
    }
    case Kind::Composite: {
      auto it = routines<CompositeRoutine>().find(op->name);
      if (it != routines<CompositeRoutine>().end()) {
        op->composite = it->second;
      } else {
        op->python = attribute(entry, "formula").leak();
        if (op->pure && truth(entry, "replayed")) op->replays = new_replays();
      }
      break;
    }
  }
  Object number = Object::steal(checked(PyLong_FromVoidPtr(op.get())));
  checked(PyObject_SetAttrString(entry, "handle", number.get()));
  registry().emplace(op->name, op.get());  // derived ops may share a name: the first is found by it
  return op.release();                     // ops live as long as the process
}

Op* op_of(PyObject* entry) { return define(entry); }

Op& core_op(const char* name) {
  auto it = registry().find(name);
  if (it == registry().end()) fail(Error::Runtime, name, ": no op of that name is in the table");
  return *it->second;
}

bool Op::differentiable() const {
  if (differentiable_known < 0) {  // settled once: the table doesn't change after the first call
    differentiable_known = kind != Kind::View && entry && truth(entry.get(), "differentiable");
  }
  return differentiable_known;
}

const Plan& Op::plan(uint64_t mask, const Value* args) {
  uint64_t present = 0;  // which arguments are there, and which are tensors
  for (uint8_t i : varying) {
    if (!args[i].none()) present |= uint64_t{1} << i;
    if (args[i].is_tensor()) present |= uint64_t{1} << (i + 32);
  }
  uint32_t static_id = 0;
  std::string statics_key;
  for (uint8_t i : statics) {
    const Value& v = args[i];
    if (v.tag == Value::Number) statics_key += concat(int{v.number.tag}, ':', v.number.i, ';');
    if (v.tag == Value::String) statics_key += concat(v.string, ';');
    if (v.tag == Value::Ints) statics_key += format(v.ints());
  }
  if (!statics_key.empty()) {
    static_id = static_ids.emplace("plan:" + statics_key, static_ids.size() + 1).first->second;
  }
  std::pair<uint64_t, uint64_t> key{mask | uint64_t{static_id} << 40, present};
  for (auto& p : plans) {
    if (p.first == key) return *p.second;
  }
  Object values = Object::steal(checked(PyDict_New()));
  Object presence = Object::steal(checked(PyDict_New()));
  for (size_t i = 0; i < schema.params.size(); ++i) {
    const Param& p = schema.params[i];
    checked(PyDict_SetItem(presence.get(), p.interned, args[i].none() ? Py_False : Py_True));
    if (p.is_static) {
      Object v = Object::steal(to_python(args[i]));
      checked(PyDict_SetItem(values.get(), p.interned, v.get()));
    }
  }
  plans.emplace_back(key, make_plan(*this, mask, std::move(values), std::move(presence)));
  return *plans.back().second;
}

const Plan& Op::narrowed(const Plan& whole, uint64_t mask) {
  if (mask == whole.mask) return whole;
  for (auto& p : whole.narrower) {
    if (p->mask == mask) return *p;
  }
  whole.narrower.push_back(make_plan(*this, mask, whole.statics, whole.present));
  return *whole.narrower.back();
}

// ---- Variants -------------------------------------------------------------------------------

namespace {

// How many dims a row op's `dim` names; -1 for all.
int row_dims(const Op& op, const Value* args) {
  const Value& v = args[op.rows.index];
  if (!v.none() && v.tag != Value::Ints) return 1;
  return v.none() || v.list.size == 0 ? -1 : static_cast<int>(v.list.size);
}

// What the operands' dtypes promote to, before a formula widens 16-bit floats.
DType common_dtype(const Op& op, const Value* args) {
  Promotion p;
  for (uint8_t i : op.operands) {
    const Value& v = args[i];
    const bool kept = (op.kept >> i & 1) || op.schema.params[i].role == Role::Index;
    if (v.none() || kept) continue;
    if (v.is_tensor()) {
      if (op.promote == Op::None) return v.t().dtype;  // each stays itself; the first counts
      p.tensor(v.t().dtype, v.t().ndim() == 0);
    } else {
      p.number(v.number);
    }
  }
  DType common = p.empty() ? args[op.operands[0]].t().dtype : p.result();
  return op.promote == Op::Float && is_integral(common, true) ? default_dtype() : common;
}

// The values of static attributes and the presence of optional scalars, as bytes.
uint32_t statics_id(Op& op, const Value* args) {
  std::string key;
  auto put = [&](const void* p, size_t n) { key.append(static_cast<const char*>(p), n); };
  for (uint8_t i : op.statics) {
    const Value& v = args[i];
    key.push_back(static_cast<char>(v.tag));
    switch (v.tag) {
      case Value::Number: put(&v.number.i, 8); break;
      case Value::String: put(v.string, std::strlen(v.string) + 1); break;
      case Value::Ints:
        put(&v.list.size, 8);
        put(v.list.data, 8 * v.list.size);
        break;
      case Value::Floats:
        put(&v.list.size, 8);
        put(v.list.data, 8 * v.list.size);
        break;
      case Value::Bools:
        put(&v.list.size, 8);
        put(v.list.data, v.list.size);
        break;
      case Value::DType: key.push_back(static_cast<char>(v.dtype)); break;
      default: break;
    }
  }
  for (uint8_t i : op.scalars) key.push_back(args[i].none() ? 0 : 1);
  if (op.settling >= 0) {
    const bool settles = op.settles(op.settling, args);
    const double number = settles ? args[op.settling].to_double() : 0;
    put(&number, 8);
    key.push_back(settles);
  }
  if (op.counts_rows()) key.push_back(static_cast<char>(row_dims(op, args)));
  if (key == op.last_statics.first) return op.last_statics.second;  // as nearly always
  uint32_t id =
      op.static_ids.emplace(key, static_cast<uint32_t>(op.static_ids.size() + 1)).first->second;
  op.last_statics = {std::move(key), id};
  return id;
}

std::unique_ptr<Variant> make_variant(const Op& op, const Value* args) {
  Object operands = Object::steal(checked(PyTuple_New(op.operands.size())));
  for (size_t k = 0; k < op.operands.size(); ++k) {
    const Value& v = args[op.operands[k]];
    if (op.schema.params[op.operands[k]].role == Role::Index && !is_integral(v.t().dtype)) {
      fail(Error::Runtime, "Expected an index of dtype int64 or int32; got torch.",
           info(v.t().dtype).legacy, "Tensor; convert it with .long()");
    }
    Object item =
        v.none()        ? Object(Py_None)
        : v.is_tensor() ? Object::steal(checked(Py_BuildValue("(ss)", info(v.t().dtype).code,
                                                              v.t().ndim() ? "tensor" : "scalar")))
        : op.settles(op.operands[k], args)
            ? Object::steal(checked(Py_BuildValue("(ssN)", info(v.number.dtype()).code, "number",
                                                  number_object(v.number))))
            : Object::steal(checked(Py_BuildValue("(ss)", info(v.number.dtype()).code, "number")));
    checked(PyTuple_SetItem(operands.get(), k, item.leak()));
  }
  Object statics = Object::steal(checked(PyDict_New()));
  for (uint8_t i : op.statics) {
    const Value& value = args[i];
    Object v = Object::steal(value.tag == Value::DType
                                 ? checked(PyUnicode_FromString(info(value.dtype).code))
                                 : to_python(value));
    checked(PyDict_SetItem(statics.get(), op.schema.params[i].interned, v.get()));
  }
  for (uint8_t i : op.scalars) {  // an absent optional is settled, like a static
    if (args[i].none())
      checked(PyDict_SetItem(statics.get(), op.schema.params[i].interned, Py_None));
  }
  if (op.counts_rows()) {  // how many dims, not which: the kernel sees their strides
    const int n = row_dims(op, args);
    std::vector<int64_t> dims(std::max(n, 0));
    Object v = n < 0 ? Object(Py_None) : Object::steal(to_python(Value(Ints(dims))));
    checked(PyDict_SetItem(statics.get(), op.schema.params[op.rows.index].interned, v.get()));
  }
  Object python =
      Object::steal(checked(PyObject_CallMethod(op.entry.get(), "recalled", "OOs", operands.get(),
                                                statics.get(), info(common_dtype(op, args)).code)));
  auto variant = variant_from(python.get());
  if (op.kind == Kind::Indexed) {
    variant->over = static_cast<int>(PyLong_AsLong(attribute(python.get(), "over").get()));
    variant->accumulates = PySequence_Size(attribute(python.get(), "zeroed").get()) > 0;
    Object ranks = attribute(python.get(), "ranks");
    for (Py_ssize_t i = 0, n = PySequence_Size(ranks.get()); i < n; ++i) {
      Object rank = Object::steal(checked(PySequence_GetItem(ranks.get(), i)));
      variant->ranks.push_back(static_cast<int>(PyLong_AsLong(rank.get())));
    }
  }
  return variant;
}

}  // namespace

std::unique_ptr<Variant> variant_from(PyObject* python) {
  auto variant = std::make_unique<Variant>();
  variant->python = Object(python);
  variant->compute = dtype_of_code(text(variant->python.get(), "compute").c_str());
  Object outputs = attribute(variant->python.get(), "outputs");
  for (Py_ssize_t i = 0, n = PySequence_Size(outputs.get()); i < n; ++i) {
    Object item = Object::steal(checked(PySequence_GetItem(outputs.get(), i)));
    std::string role = text(PyTuple_GetItem(item.get(), 1));
    variant->outputs.push_back({dtype_of_code(text(PyTuple_GetItem(item.get(), 0)).c_str()),
                                role == "row"      ? Role::Row
                                : role == "cell"   ? Role::Cell
                                : role == "shared" ? Role::Shared
                                                   : Role::Plain});
  }
  each_name(variant->python.get(), "scalars",
            [&](const std::string& s) { variant->scalars.push_back(s[0]); });
  variant->fails = truth(variant->python.get(), "fails");
  return variant;
}

void scan(Call& c) {
  const Layout* shared = nullptr;
  bool same = true, on_cpu = true;
  OperandBits operands = 0;
  uint64_t mask = 0;
  int at = 0;
  for (uint8_t i : c.op.operands) {
    const Value& v = c.args[i];
    uint64_t code = 31;
    if (v.is_tensor()) {
      const Tensor& t = *v.tensor;
      code = static_cast<uint64_t>(t.dtype) + (t.layout->ndim == 0 ? 32 : 0);
      if (!shared) shared = t.layout;
      same &= t.layout == shared;
      on_cpu &= t.storage->device.type == DeviceType::CPU;
      mask |= static_cast<uint64_t>(requires_grad(t)) << i;
    } else if (!v.none()) {
      code = 24 + static_cast<uint64_t>(v.number.tag);
    }
    operands |= OperandBits{code} << at;
    at += 6;
  }
  c.scanned = true;
  c.on_cpu = on_cpu;
  c.shared = same && shared && shared->dense ? shared : nullptr;
  c.operands = operands;
  if (mask && modes.grad && (c.op.node_type || c.op.differentiable())) c.mask = mask;
}

Variant& find_variant(Call& c) {
  if (c.variant) return *c.variant;
  if (!c.scanned) scan(c);
  Op& op = c.op;
  VariantKey key;
  key.operands = c.operands;
  key.default_dtype = default_dtype();
  if (op.has_statics) key.statics = statics_id(op, c.args);
  auto& variants = op.variants;
  for (size_t i = 0; i < variants.size(); ++i) {
    if (variants[i].first == key) {
      if (i) std::swap(variants[i], variants[i - 1]);  // what is used often moves to the front
      return *(c.variant = variants[i ? i - 1 : 0].second.get());
    }
  }
  const Unchanged before(c);
  std::unique_ptr<Variant> made = make_variant(op, c.args);
  before.check();
  variants.emplace_back(key, std::move(made));
  return *(c.variant = variants.back().second.get());
}

namespace {

// The class of each operand in code generation's letters.
Object class_names(const LayoutClass& key, int operands, int letters) {
  Object names = Object::steal(checked(PyTuple_New(operands)));
  for (int i = 0; i < operands; ++i) {
    const uint64_t bits = key.strides >> (4 * i);
    const char text[2] = {"ucs2"[bits >> 2 & 3], "ucs2"[bits & 3]};
    checked(PyTuple_SetItem(names.get(), i,
                            checked(PyUnicode_FromStringAndSize(text + 2 - letters, letters))));
  }
  return names;
}

const char* rows_name(const LayoutClass& key) {
  constexpr const char* names[] = {"whole", "short", "bundled", "blocked"};
  return names[key.rows];
}

Kernel compiled(const Variant& v, PyObject* names, const LayoutClass& key) {
  Object made = Object::steal(
      checked(PyObject_CallMethod(v.python.get(), "kernel", "Os", names, rows_name(key))));
  unsigned long long fn = 0, finish = 0;
  PyObject* parallel = nullptr;
  long long scratch = 0, state = 0;
  if (!PyArg_ParseTuple(made.get(), "KKOLL", &fn, &finish, &parallel, &scratch, &state)) {
    python_error();
  }
  Kernel kernel;
  kernel.fn = reinterpret_cast<KernelFn>(fn);
  kernel.finish = reinterpret_cast<FinishFn>(finish);
  kernel.scratch_bytes = scratch;
  kernel.state_bytes = state;
  for (Py_ssize_t i = 0, n = PySequence_Size(parallel); i < n; ++i) {
    Object item = Object::steal(checked(PySequence_GetItem(parallel, i)));
    kernel.parallel |= 1u << PyLong_AsLong(item.get());
  }
  return kernel;
}

Kernel loaded(const Variant& v, PyObject* names, const LayoutClass& key, Device device) {
  const Backend& b = backend(device.type);
  Object image = Object::steal(checked(PyObject_CallMethod(
      v.python.get(), "kernel_for", "sOs", b.target(device).c_str(), names, rows_name(key))));
  Kernel kernel;
  kernel.code = b.load(image.get(), device);
  kernel.device = device;
  return kernel;
}

}  // namespace

Kernel Variant::kernel(const LayoutClass& key, int operands, int letters, Device device) {
  const bool here = device.type == DeviceType::CPU;
  auto& known = here ? kernels : elsewhere;
  for (size_t i = 0; i < known.size(); ++i) {
    if (known[i].first == key && (here || known[i].second.device == device)) {
      if (i) std::swap(known[i], known[i - 1]);
      return known[i ? i - 1 : 0].second;
    }
  }
  Object names = class_names(key, operands, letters);
  known.emplace_back(
      key, here ? compiled(*this, names.get(), key) : loaded(*this, names.get(), key, device));
  return known.back().second;
}

// The scalars of a kernel: numbers that stand for operands, then dynamic attributes.
void pack_scalars(const Call& c, int64_t* scalars) {
  const Variant& v = *c.variant;
  size_t slot = 0, at = 0;
  auto put = [&](const Number& n) {
    switch (v.scalars[slot++]) {
      case 'i': scalars[at++] = n.as_int(); break;
      case 'c': {
        std::complex<double> z = n.as_complex();
        std::memcpy(&scalars[at], &z, 16);
        at += 2;
        break;
      }
      default: {
        double f = n.as_double();
        std::memcpy(&scalars[at++], &f, 8);
      }
    }
  };
  for (uint8_t i : c.op.operands) {
    if (c.args[i].tag == Value::Number && !c.op.settles(i, c.args)) put(c.args[i].number);
  }
  for (uint8_t i : c.op.scalars) {
    const Value& value = c.args[i];
    if (value.tag == Value::Ints) {
      for (int64_t k : value.ints()) put(Number::integer(k));
    } else if (!value.none()) {
      put(value.number);
    }
  }
}

void check_status(const Op& op, int32_t status) {
  if (status & 1) fail(Error::Runtime, "ZeroDivisionError: integer division or modulo by zero");
  if (status & 2) fail(op.outside, "index out of range in self");
  if (status & 4) {
    fail(Error::Runtime,
         "Integers to negative integer powers are not allowed; convert the base to "
         "a floating dtype");
  }
}

}  // namespace taimatsu
