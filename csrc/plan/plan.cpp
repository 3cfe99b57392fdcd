#include "plan/plan.h"

#include <algorithm>
#include <unordered_map>

#include "python/python.h"

namespace taimatsu {
namespace {

// A segment that was seen, by all that its actions depend on.
struct Known {
  std::vector<uint64_t> identity;
  std::vector<LayoutRef> layouts;     // mentioned there by address
  std::vector<bool> needed;           // of all calls so far
  std::shared_ptr<SegmentPlan> plan;  // for fewer of them, once; then it is made again
};

constexpr size_t kMostKnown = 4096;

// Not destroyed: that would be after the interpreter's end.
auto& known = *new std::unordered_map<uint64_t, std::vector<std::shared_ptr<Known>>>;
size_t known_count = 0;

uint64_t hash_of(const std::vector<uint64_t>& words) {
  uint64_t h = words.size();
  for (uint64_t w : words) h = (h ^ w) * 0x9E3779B97F4A7C15u ^ h >> 29;
  return h;
}

Object list_of(size_t n) { return Object::steal(checked(PyList_New(static_cast<Py_ssize_t>(n)))); }

void put(Object& list, size_t i, PyObject* item) {
  checked(item);
  PyList_SetItem(list.get(), static_cast<Py_ssize_t>(i), item);
}

// (slot, dtype, sizes, strides, offset, device)
PyObject* describe(const Segment& s, uint32_t mention) {
  const Tensor& t = *s.tensor(mention);
  return Py_BuildValue("(IsNNLs)", s.slot_of[s.mentions[mention]], info(t.dtype).code,
                       to_python(Value(t.sizes())), to_python(Value(t.strides())),
                       static_cast<long long>(t.layout->offset), t.device().str().c_str());
}

// How the call is told to taimatsu.graph: "product" is one that may have an epilogue.
const char* kind_of(const Segment& s, const Record& r) {
  switch (r.op->kind) {
    case Kind::Pointwise: return "pointwise";
    case Kind::Row: return "row";
    default: break;
  }
  const Epilogues* e = r.n_outs ? epilogues_on(s.tensor(r.outs)->device().type) : nullptr;
  return e && e->possible(*r.op) ? "product" : "other";
}

// Which of a record's tensors it writes to: their numbers among them.
Object written(const Segment& s, const Record& r) {
  Object numbers = list_of(0);
  uint32_t at = 0;
  auto note = [&](uint32_t count, bool written) {
    for (; count-- > 0; ++at) {
      if (!written) continue;
      Object number = Object::steal(checked(PyLong_FromUnsignedLong(at)));
      if (PyList_Append(numbers.get(), number.get()) < 0) python_error();
    }
  };
  note(r.n_outs, true);
  for (size_t i = 0; i < r.op->schema.params.size(); ++i) {
    const Value& v = s.values[r.args + i];
    const bool list = v.tag == Value::Tensors;
    const uint32_t count = list ? std::count_if(v.tensors.data, v.tensors.data + v.tensors.size,
                                                [](Tensor* t) { return t; })
                                : v.tag == Value::Tensor;
    note(count, r.op->schema.params[i].written);
  }
  return numbers;
}

// (op, kind, variant, tensors, how many are outputs, which are written to, rows): see
// taimatsu.graph.fuse.
PyObject* describe(const Segment& s, const Record& r) {
  Object tensors = list_of(r.n_tensors);
  for (uint32_t i = 0; i < r.n_tensors; ++i) put(tensors, i, describe(s, r.outs + i));
  Object rows(Py_None);
  if (r.op->kind == Kind::Row) {
    Tensors outs;
    Call c{*r.op, &s.values[r.args], outs, r.variant};
    std::vector<int64_t> sizes;
    std::vector<bool> in_row;
    rows_of(c, sizes, in_row);
    Object inside = list_of(sizes.size());
    for (size_t d = 0; d < sizes.size(); ++d) put(inside, d, PyBool_FromLong(in_row[d]));
    rows =
        Object::steal(checked(Py_BuildValue("(NO)", to_python(Value(Ints(sizes))), inside.get())));
  }
  return Py_BuildValue("(ssOOIOO)", r.op->base_name.c_str(), kind_of(s, r),
                       r.variant ? r.variant->python.get() : Py_None, tensors.get(), r.n_outs,
                       written(s, r).get(), rows.get());
}

std::vector<uint32_t> numbers(PyObject* list) {
  std::vector<uint32_t> out;
  for (Py_ssize_t i = 0, n = PySequence_Size(list); i < n; ++i) {
    Object item = Object::steal(checked(PySequence_GetItem(list, i)));
    out.push_back(static_cast<uint32_t>(PyLong_AsLong(item.get())));
  }
  return out;
}

Action action_from(PyObject* o) {
  Action action;
  if (PyLong_Check(o)) {
    action.records = {static_cast<uint32_t>(PyLong_AsLong(o))};
    return action;
  }
  if (PyTuple_Check(o) && PyTuple_Size(o) == 5) {
    PyObject* records;
    const char* activation;
    auto& e = action.epilogue;
    if (!PyArg_ParseTuple(o, "Osiii", &records, &activation, &e.out, &e.bias, &e.before)) {
      python_error();
    }
    action.records = numbers(records);
    const std::string name = activation;
    e.activation = name == "relu"            ? Epilogue::Relu
                   : name == "gelu"          ? Epilogue::Gelu
                   : name == "gelu_gradient" ? Epilogue::GeluGradient
                                             : Epilogue::None;
    return action;
  }
  PyObject *variant, *mentions, *roles, *scalars;
  if (!PyArg_ParseTuple(o, "OiiOOiO", &variant, &action.rows, &action.blame, &mentions, &roles,
                        &action.n_outs, &scalars)) {
    python_error();
  }
  action.variant = variant_from(variant);
  action.mentions = numbers(mentions);
  for (uint32_t role : numbers(roles)) action.roles.push_back(static_cast<Role>(role));
  action.scalars = numbers(scalars);
  return action;
}

// With what memory may be given up after each action.
std::shared_ptr<SegmentPlan> finished(const Segment& s, std::vector<Action> actions,
                                      std::vector<bool> needed) {
  std::vector<bool> seen(s.slots.size());
  for (size_t k = actions.size(); k-- > 0;) {
    Action& action = actions[k];
    for_each_mention(s, action, [&](uint32_t mention) {
      const uint32_t slot = s.slot_of[s.mentions[mention]];
      if (!seen[slot]) action.dying.push_back(slot);
      seen[slot] = true;
    });
  }
  auto plan = std::make_shared<SegmentPlan>();
  plan->actions = std::move(actions);
  plan->needed = std::move(needed);
  return plan;
}

// Python runs meanwhile, and with it other threads: what is known may change.
std::shared_ptr<SegmentPlan> make_plan(const Segment& s, const std::vector<bool>& needed) {
  static PyObject* plan = nullptr;
  python_function(plan, "taimatsu.graph.fuse", "plan");
  Object records = list_of(s.records.size()), alive = list_of(s.slots.size());
  for (size_t i = 0; i < s.records.size(); ++i) put(records, i, describe(s, s.records[i]));
  for (size_t i = 0; i < s.slots.size(); ++i) put(alive, i, PyBool_FromLong(needed[i]));
  Object made = Object::steal(
      checked(PyObject_CallFunctionObjArgs(plan, records.get(), alive.get(), nullptr)));
  std::vector<Action> actions;
  for (Py_ssize_t i = 0, n = PySequence_Size(made.get()); i < n; ++i) {
    Object item = Object::steal(checked(PySequence_GetItem(made.get(), i)));
    actions.push_back(action_from(item.get()));
  }
  std::shared_ptr<SegmentPlan> finished_plan = finished(s, std::move(actions), needed);
  finished_plan->fused = true;
  return finished_plan;
}

// The scalars of an action's calls, one after another; how many words they are.
int pack(const Segment& s, const Action& action, int64_t* scalars) {
  int at = 0;
  auto add = [&](uint32_t record) {
    const Record& r = s.records[record];
    if (r.variant->scalars.empty()) return;
    Tensors none;
    Call c{*r.op, &s.values[r.args], none, r.variant};
    pack_scalars(c, scalars + at);
    for (char kind : r.variant->scalars) at += kind == 'c' ? 2 : 1;
  };
  for (uint32_t i : action.variant ? action.scalars : action.records) add(i);
  return at;
}

void run_fused(Segment& s, const Action& action) {
  Tensor* tensors[kMaxOperands];
  const int n = static_cast<int>(action.mentions.size());
  for (int i = 0; i < n; ++i) {
    tensors[i] = s.tensor(action.mentions[i]);
    if (i < action.n_outs) tensors[i]->storage->as<char>();
  }
  int64_t scalars[kMaxScalars];
  pack(s, action, scalars);
  const Record& r = s.records[action.rows < 0 ? action.blame : action.rows];
  if (action.rows < 0) return run_points(*r.op, *action.variant, tensors, n, scalars);
  Tensors none;
  Call c{*r.op, &s.values[r.args], none, r.variant};
  run_fused_rows(c, *action.variant, tensors, action.roles.data(), n, action.n_outs, scalars);
}

// False where the calls have to be made one by one: the library can't, or a number isn't one (the
// factor of what is added).
bool run_epilogue(Segment& s, const Action& action) {
  for (size_t k = 1; k < action.records.size(); ++k) {
    const Record& follower = s.records[action.records[k]];
    for (uint8_t i : follower.op->scalars) {
      if (s.values[follower.args + i].number.as_complex() != 1.0) return false;
    }
  }
  auto tensor = [&](int mention) { return mention < 0 ? nullptr : s.tensor(mention); };
  const auto& about = action.epilogue;
  const Epilogue e{about.activation, tensor(about.out), tensor(about.bias), tensor(about.before)};
  const Record& r = s.records[action.records[0]];
  Tensors outs;
  outs.push(TensorRef(s.tensor(r.outs)));
  Call product{*r.op, &s.values[r.args], outs, r.variant};
  return epilogues_on(e.out->device().type)->run(product, e);
}

}  // namespace

std::shared_ptr<SegmentPlan> plan_for(const Segment& s) {
  std::vector<bool> alive(s.slots.size());
  for (size_t i = 0; i < s.slots.size(); ++i) alive[i] = s.slots[i].alive();
  const uint64_t hash = hash_of(s.identity);
  for (const auto& seen : known[hash]) {
    if (seen->identity != s.identity) continue;
    const std::shared_ptr<Known> k = seen;  // other threads may forget it meanwhile
    for (size_t i = 0; i < alive.size(); ++i) k->needed[i] = k->needed[i] || alive[i];
    if (k->plan->fused && k->plan->needed == k->needed) return k->plan;
    const std::vector<bool> needed = k->needed;
    std::shared_ptr<SegmentPlan> made = make_plan(s, needed);
    if (k->needed == needed) k->plan = made;
    return made;
  }
  if (known_count++ >= kMostKnown) {
    forget_plans();
    known_count = 1;
  }
  auto k = std::make_shared<Known>();
  k->identity = s.identity;
  for (const TensorRef& t : s.tensors) k->layouts.emplace_back(t->layout);
  std::vector<Action> calls(s.records.size());
  for (size_t i = 0; i < calls.size(); ++i) calls[i].records = {static_cast<uint32_t>(i)};
  k->plan = finished(s, std::move(calls), alive);
  k->needed = std::move(alive);
  known[hash].push_back(k);
  return k->plan;
}

void forget_plans() {
  auto forgotten = std::move(known);  // what they hold may lead back here
  known.clear();
  known_count = 0;
}

std::vector<int64_t> numbers_of(const Segment& s, const Action& action) {
  int64_t scalars[kMaxScalars];
  return {scalars, scalars + pack(s, action, scalars)};
}

void make_call(Segment& s, const Action& action) {
  if (action.variant) {
    run_fused(s, action);
  } else if (action.records.size() == 1 || !run_epilogue(s, action)) {
    for (uint32_t number : action.records) s.run_record(s.records[number]);
  }
}

void run_action(Segment& s, const Action& action) {
  make_call(s, action);
  for (uint32_t slot : action.dying) {
    if (!s.slots[slot].alive()) give_up_memory(*s.slots[slot].storage);
  }
}

}  // namespace taimatsu
