#include "plan/plan.h"

#include <algorithm>
#include <unordered_map>

#include "python/python.h"

namespace taimatsu {
namespace {

// A segment that was seen, by all that its steps depend on.
struct Known {
  std::vector<uint64_t> identity;
  std::vector<LayoutRef> layouts;  // mentioned there by address
  std::vector<bool> alive;         // slots whose contents the steps produce, if they write them
  std::vector<Action> steps;
  bool planned = false;
};

constexpr size_t kMostKnown = 4096;

// Not destroyed: that would be after the interpreter's end.
auto& known = *new std::unordered_map<uint64_t, std::vector<std::unique_ptr<Known>>>;
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

// (slot, dtype, sizes, strides, offset)
PyObject* describe(const Segment& s, uint32_t mention) {
  const Tensor& t = *s.tensor(mention);
  return Py_BuildValue("(IsNNL)", s.slot_of[s.mentions[mention]], info(t.dtype).code,
                       to_python(Value(t.sizes())), to_python(Value(t.strides())),
                       static_cast<long long>(t.layout->offset));
}

// (kind, variant, tensors, how many of them are outputs, rows, scalars): see taimatsu.graph.fuse.
PyObject* describe(const Segment& s, const Record& r) {
  Object tensors = list_of(r.n_tensors);
  for (uint32_t i = 0; i < r.n_tensors; ++i) put(tensors, i, describe(s, r.outs + i));
  const char* kind = r.op->kind == Kind::Pointwise ? "pointwise"
                     : r.op->kind == Kind::Row     ? "row"
                                                   : "other";
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
  return Py_BuildValue("(sOOIO)", kind, r.variant ? r.variant->python.get() : Py_None,
                       tensors.get(), r.n_outs, rows.get());
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
  Action step;
  if (PyLong_Check(o)) {
    step.record = static_cast<int>(PyLong_AsLong(o));
    return step;
  }
  PyObject *variant, *mentions, *roles, *scalars;
  if (!PyArg_ParseTuple(o, "OiiOOiO", &variant, &step.rows, &step.blame, &mentions, &roles,
                        &step.n_outs, &scalars)) {
    python_error();
  }
  step.variant = variant_from(variant);
  step.mentions = numbers(mentions);
  for (uint32_t role : numbers(roles)) step.roles.push_back(static_cast<Role>(role));
  step.scalars = numbers(scalars);
  return step;
}

// Which slots each step writes, and which are mentioned for the last time.
void note_slots(const Segment& s, std::vector<Action>& steps) {
  std::vector<bool> seen(s.slots.size());
  for (size_t k = steps.size(); k-- > 0;) {
    Action& step = steps[k];
    std::vector<uint32_t> mentions = step.mentions;
    int n_outs = step.n_outs;
    if (step.record >= 0) {
      const Record& r = s.records[step.record];
      n_outs = static_cast<int>(r.n_outs);
      for (uint32_t i = 0; i < r.n_tensors; ++i) mentions.push_back(r.outs + i);
    }
    for (size_t i = 0; i < mentions.size(); ++i) {
      const uint32_t slot = s.slot_of[s.mentions[mentions[i]]];
      if (static_cast<int>(i) < n_outs) step.outs.push_back(slot);
      if (!seen[slot]) step.dying.push_back(slot);
      seen[slot] = true;
    }
  }
}

void make_plan(const Segment& s, Known& k) {
  static PyObject* plan = nullptr;
  python_function(plan, "taimatsu.graph.fuse", "plan");
  Object records = list_of(s.records.size()), alive = list_of(s.slots.size());
  for (size_t i = 0; i < s.records.size(); ++i) put(records, i, describe(s, s.records[i]));
  for (size_t i = 0; i < s.slots.size(); ++i) put(alive, i, PyBool_FromLong(k.alive[i]));
  Object made = Object::steal(
      checked(PyObject_CallFunctionObjArgs(plan, records.get(), alive.get(), nullptr)));
  k.steps.clear();
  for (Py_ssize_t i = 0, n = PySequence_Size(made.get()); i < n; ++i) {
    Object item = Object::steal(checked(PySequence_GetItem(made.get(), i)));
    k.steps.push_back(action_from(item.get()));
  }
  // Operands of a record are counted from the beginning of all mentions.
  note_slots(s, k.steps);
  k.planned = true;
}

void run_fused(Segment& s, const Action& step) {
  Tensor* tensors[kMaxOperands];
  const int n = static_cast<int>(step.mentions.size());
  for (int i = 0; i < n; ++i) {
    tensors[i] = s.tensor(step.mentions[i]);
    if (i < step.n_outs) tensors[i]->storage->as<char>();
  }
  int64_t scalars[kMaxScalars];
  int at = 0;
  for (uint32_t i : step.scalars) {
    const Record& r = s.records[i];
    Tensors none;
    Call c{*r.op, &s.values[r.args], none, r.variant};
    pack_scalars(c, scalars + at);
    for (char kind : r.variant->scalars) at += kind == 'c' ? 2 : 1;
  }
  const Record& r = s.records[step.rows < 0 ? step.blame : step.rows];
  if (step.rows < 0) return run_points(*r.op, *step.variant, tensors, n, scalars);
  Tensors none;
  Call c{*r.op, &s.values[r.args], none, r.variant};
  run_fused_rows(c, *step.variant, tensors, step.roles.data(), n, step.n_outs, scalars);
}

}  // namespace

const std::vector<Action>* find_plan(const Segment& s) {
  std::vector<bool> alive(s.slots.size());
  for (size_t i = 0; i < s.slots.size(); ++i) alive[i] = s.slots[i].alive();
  auto& same_hash = known[hash_of(s.identity)];
  for (auto& k : same_hash) {
    if (k->identity != s.identity) continue;
    bool enough = true;
    for (size_t i = 0; i < alive.size(); ++i) {
      enough &= k->alive[i] || !alive[i];
      if (alive[i]) k->alive[i] = true;
    }
    if (!k->planned || !enough) make_plan(s, *k);
    return &k->steps;
  }
  if (known_count++ >= kMostKnown) {
    known.clear();
    known_count = 0;
    return nullptr;
  }
  auto k = std::make_unique<Known>();
  k->identity = s.identity;
  for (const TensorRef& t : s.tensors) k->layouts.emplace_back(t->layout);
  k->alive = std::move(alive);
  same_hash.push_back(std::move(k));
  return nullptr;
}

void run_plan(Segment& s, const std::vector<Action>& steps) {
  for (const Action& step : steps) {
    if (step.record >= 0) {
      s.run_record(s.records[step.record]);
    } else {
      run_fused(s, step);
    }
    for (uint32_t slot : step.dying) {
      if (!s.slots[slot].alive()) give_up_memory(*s.slots[slot].storage);
    }
  }
}

}  // namespace taimatsu
