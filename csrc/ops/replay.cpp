#include "ops/replay.h"

#include <algorithm>

#include "autograd/tape.h"
#include "ops/launch.h"
#include "python/objects.h"

namespace taimatsu {
namespace {

constexpr size_t kMaxInputs = 16, kMaxSlots = 64, kMaxItems = 32, kMaxRecipes = 32;
constexpr int kCredit = 64;  // runs that may be noted before a recipe has to have been of use
constexpr int kTries = 3;    // for a recipe: the first run may fill tables that others find

// ---- What arguments have to have in common ----

// The tensors of a call, in order.
struct Inputs {
  Tensor* at[kMaxInputs];
  uint8_t first[kMaxInputs];  // where the same tensor was first
  size_t size = 0;
  bool plain = true;  // there is room for all, and no class of their own that wants to see the ops

  explicit Inputs(const Call& c) {
    for (size_t i = 0; i < c.op.schema.params.size(); ++i) {
      const Value& v = c.args[i];
      if (v.is_tensor()) add(v.tensor);
      for (int64_t k = 0; v.tag == Value::Tensors && k < v.tensors.size; ++k) {
        add(v.tensors.data[k]);
      }
    }
  }

 private:
  void add(Tensor* t) {
    if (!plain) return;
    plain = t && size < kMaxInputs &&
            (Py_TYPE(t->object()) == TensorType || Py_TYPE(t->object()) == ParameterType);
    if (!plain) return;
    first[size] = static_cast<uint8_t>(std::find(at, at + size, t) - at);
    at[size++] = t;
  }
};

struct TensorKind {
  LayoutRef layout;
  DType dtype;
  Device device;
  bool requires_grad;
  uint8_t first;

  TensorKind(const Tensor& t, uint8_t first)
      : layout(t.layout),
        dtype(t.dtype),
        device(t.device()),
        requires_grad(taimatsu::requires_grad(t)),
        first(first) {}
  bool fits(const Tensor& t, uint8_t first_of_t) const {
    const bool same = t.layout == layout.get() || (t.layout->sizes() == layout->sizes() &&
                                                   t.layout->strides() == layout->strides());
    return same && t.dtype == dtype && t.device() == device && first_of_t == first &&
           taimatsu::requires_grad(t) == requires_grad;
  }
};

constexpr int kDeepest = 8;  // of sequences in one another

// Numbers, strings and sequences of them as text; false for other objects.
bool spell(PyObject* o, std::string& out, int depth = 0) {
  auto put = [&](char tag, const auto& v) {
    out += tag;
    out.append(reinterpret_cast<const char*>(&v), sizeof(v));
    return true;
  };
  if (o == Py_None) return put('n', 'n');
  if (PyBool_Check(o)) return put('b', o == Py_True);
  if (PyLong_CheckExact(o)) {
    int overflow = 0;
    const long long v = PyLong_AsLongLongAndOverflow(o, &overflow);
    return !overflow && put('i', v);
  }
  if (PyFloat_CheckExact(o)) return put('f', PyFloat_AsDouble(o));
  if (PyUnicode_CheckExact(o)) {
    Py_ssize_t n = 0;
    const char* s = PyUnicode_AsUTF8AndSize(o, &n);
    if (!s) return PyErr_Clear(), false;
    put('s', n);
    out.append(s, n);
    return true;
  }
  const bool tuple = PyTuple_Check(o);
  if ((!tuple && !PyList_CheckExact(o)) || depth == kDeepest) return false;
  const Py_ssize_t n = PySequence_Size(o);
  put(tuple ? '(' : '[', n);
  for (Py_ssize_t i = 0; i < n; ++i) {
    PyObject* item = tuple ? PyTuple_GetItem(o, i) : PyList_GetItem(o, i);
    if (!spell(item, out, depth + 1)) return false;
  }
  return true;
}

class Key {
 public:
  Key(const Call& c, const Inputs& in)
      : grad_(modes.grad), inference_(modes.inference), default_(default_dtype()) {
    for (size_t k = 0; k < in.size; ++k) tensors_.emplace_back(*in.at[k], in.first[k]);
    for (size_t i = 0; i < c.op.schema.params.size(); ++i) {
      const Value& v = c.args[i];
      tags_.push_back(v.tag);
      if (v.tag == Value::Object) known_ = known_ && spell(v.object, texts_.emplace_back());
      if (v.tag == Value::Tensors) counts_.push_back(v.tensors.size);
      const bool other = v.is_tensor() || v.tag == Value::Tensors || v.tag == Value::Object;
      values_.emplace_back(other ? Value() : v);
    }
  }
  bool known() const { return known_; }  // there is nothing that can't be compared
  bool fits(const Call& c, const Inputs& in) const {
    if (in.size != tensors_.size() || grad_ != modes.grad || inference_ != modes.inference ||
        default_ != default_dtype()) {
      return false;
    }
    for (size_t k = 0; k < in.size; ++k) {
      if (!tensors_[k].fits(*in.at[k], in.first[k])) return false;
    }
    size_t counts = 0, texts = 0;
    for (size_t i = 0; i < tags_.size(); ++i) {
      const Value& v = c.args[i];
      if (v.tag != tags_[i]) return false;
      if (v.none() || v.is_tensor()) continue;
      if (v.tag == Value::Tensors) {
        if (v.tensors.size != counts_[counts++]) return false;
      } else if (v.tag == Value::Object) {
        std::string text;
        if (!spell(v.object, text) || text != texts_[texts++]) return false;
      } else if (!equal(v, values_[i].get())) {
        return false;
      }
    }
    return true;
  }

 private:
  bool grad_, inference_, known_ = true;
  DType default_;
  std::vector<TensorKind> tensors_;
  std::vector<Value::Tag> tags_;
  std::vector<OwnedValue> values_;
  std::vector<int64_t> counts_;  // of lists of tensors
  std::vector<std::string> texts_;
};

// ---- Recipes ------------------------------------------------------------------------------------

// Tensors of a run have slots: first the arguments, then what steps give, and constants.
constexpr uint8_t kNone = 255;  // no tensor

struct Place {  // where an argument of a step is a tensor
  uint8_t arg;
  int8_t item;  // of a list, or -1
  uint8_t slot;
};
struct RecipeStep {
  Op* op = nullptr;  // null: detach
  bool grad = true;
  std::vector<OwnedValue> args;
  std::vector<Place> tensors;
  bool in_place = false;
  std::vector<uint8_t> outs;
  std::vector<uint8_t> last_use;  // slots that are free after this step
};

}  // namespace

struct Recipe : Counted {
  Recipe(const Call& c, const Inputs& in) : key(c, in) {}
  Key key;
  bool good = false;
  int tries = 1;
  size_t inputs = 0, slots = 0;
  std::vector<RecipeStep> steps;
  std::vector<std::pair<uint8_t, TensorRef>> constants;
  std::vector<uint8_t> results;
  bool is_list = false;
};
void retain(Recipe* r) { ++r->refs; }
void release(Recipe* r) {
  if (--r->refs == 0) delete r;
}

struct Replays {
  std::vector<Ref<Recipe>> recipes;  // most recently used first
  int credit = kCredit;
};
Replays* new_replays() { return new Replays; }

// What is known of a run so far.
struct Notes {
  Op& op;
  Ref<Recipe> recipe;
  Notes* outer;
  bool good = true;
  std::vector<TensorRef> known;  // by slot; null once nobody else has it

  void forget_dead() {  // a run takes no more memory than without notes
    for (size_t i = recipe->inputs; i < known.size(); ++i) {
      if (known[i] && Py_REFCNT(known[i]->object()) == 1) known[i] = nullptr;
    }
  }
};

namespace {

thread_local Notes* notes = nullptr;  // innermost first
bool replays_on = true;

int slot_of(Notes& n, Tensor* t) {
  for (size_t i = 0; i < n.known.size(); ++i) {
    if (n.known[i].get() == t) return static_cast<int>(i);
  }
  if (n.known.size() == kMaxSlots) n.good = false;
  if (!t->constant || !n.good) return -1;
  n.recipe->constants.emplace_back(n.known.size(), TensorRef(t));
  n.known.emplace_back(t);
  return static_cast<int>(n.known.size()) - 1;
}

uint8_t wanted_slot(Notes& n, Tensor* t) {
  const int slot = slot_of(n, t);
  if (slot < 0) n.good = false;
  return static_cast<uint8_t>(slot);
}

// Objects that don't change and hold no tensors.
bool immutable(PyObject* o, int depth = 0) {
  if (o == Py_None || o == Py_Ellipsis || PyBool_Check(o)) return true;
  if (PyLong_CheckExact(o) || PyFloat_CheckExact(o) || PyUnicode_CheckExact(o)) return true;
  if (PySlice_Check(o)) return true;  // a tensor in it has been read
  if (!PyTuple_Check(o) || depth == kDeepest) return false;
  for (Py_ssize_t i = 0, n = PyTuple_Size(o); i < n; ++i) {
    if (!immutable(PyTuple_GetItem(o, i), depth + 1)) return false;
  }
  return true;
}

void note(Notes& n, Op& op, const Value* args, Tensors& outs, Tensor* const* into) {
  n.forget_dead();
  if (outs.other && outs.size() == 0) unwrap_outputs(op, outs);
  if (outs.size() == 0 && (outs.other || op.pure)) n.good = false;  // something but tensors
  if (!n.good) return;
  RecipeStep step;
  step.op = &op;
  step.grad = modes.grad;
  int items = 0;
  for (size_t i = 0; i < op.schema.params.size(); ++i) {
    const Value& v = args[i];
    const auto arg = static_cast<uint8_t>(i);
    if (v.tag == Value::Object && !immutable(v.object)) n.good = false;
    if (v.is_tensor()) {
      step.tensors.push_back({arg, -1, wanted_slot(n, v.tensor)});
      step.args.emplace_back(Value());
    } else if (v.tag == Value::Tensors) {
      items += static_cast<int>(v.tensors.size);
      if (items > static_cast<int>(kMaxItems)) n.good = false;
      for (int64_t k = 0; n.good && k < v.tensors.size; ++k) {
        Tensor* t = v.tensors.data[k];
        step.tensors.push_back({arg, static_cast<int8_t>(k), t ? wanted_slot(n, t) : kNone});
      }
      step.args.emplace_back(Value::of_tensors(nullptr, 0));
    } else {
      step.args.emplace_back(v);
    }
  }
  if (into && !(op.inplace && args[0].is_tensor() && into[0] == args[0].tensor)) n.good = false;
  bool fresh = into || !op.pure;
  for (int i = 0; n.good && i < outs.size(); ++i) {
    int slot = slot_of(n, outs[i].get());
    if (slot < 0) {
      fresh = true;
      slot = static_cast<int>(n.known.size());
      n.known.push_back(outs[i]);
    }
    step.outs.push_back(static_cast<uint8_t>(slot));
  }
  if (n.known.size() > kMaxSlots) n.good = false;
  step.in_place = into;
  if (fresh) n.recipe->steps.push_back(std::move(step));
}

// Each slot is given up after the last step that has to do with it.
void find_last_uses(Recipe& r) {
  std::vector<bool> later(r.slots, false);
  for (size_t i = 0; i < r.inputs; ++i) later[i] = true;  // the caller's
  for (uint8_t s : r.results) later[s] = true;
  for (auto& c : r.constants) later[c.first] = true;
  for (auto step = r.steps.rbegin(); step != r.steps.rend(); ++step) {
    auto see = [&](uint8_t slot) {
      if (!later[slot]) step->last_use.push_back(slot);
      later[slot] = true;
    };
    for (const Place& p : step->tensors) {
      if (p.slot != kNone) see(p.slot);
    }
    for (uint8_t s : step->outs) see(s);
  }
}

void carry_out(const RecipeStep& s, TensorRef* slots) {
  if (!s.op) {
    Tensor& from = *slots[s.tensors[0].slot];
    TensorRef to = alias(from, from.layout);
    to->inference = from.inference;
    slots[s.outs[0]] = std::move(to);
    return;
  }
  union Room {  // left uninitialised
    Value values[kMaxArgs];
    Room() {}
    ~Room() {}
  } args;
  Tensor* items[kMaxItems];
  int used = 0;
  for (size_t i = 0; i < s.args.size(); ++i) args.values[i] = s.args[i].get();
  for (const Place& p : s.tensors) {
    Value& v = args.values[p.arg];
    Tensor* t = p.slot == kNone ? nullptr : slots[p.slot].get();
    if (p.item < 0) {
      v = Value(t);
      continue;
    }
    if (p.item == 0) v.tensors = {items + used, 0};
    items[used++] = t;
    ++v.tensors.size;
  }
  GradMode mode(s.grad);
  Tensors outs;
  call(*s.op, args.values, outs, s.in_place ? &args.values[0].tensor : nullptr);
  if (outs.other && outs.size() == 0) unwrap_outputs(*s.op, outs);
  if (outs.size() != static_cast<int>(s.outs.size())) {
    fail(Error::Runtime, s.op->name, " gave ", outs.size(), " tensors and ", s.outs.size(),
         " when it was noted: mark what calls it replayed=False");
  }
  for (int i = 0; i < outs.size(); ++i) slots[s.outs[i]] = std::move(outs[i]);
  for (uint8_t slot : s.last_use) slots[slot] = nullptr;
}

}  // namespace

bool set_replays(bool on) { return std::exchange(replays_on, on); }

bool replay(Call& c) {
  Replays* all = c.op.replays;
  if (!all || all->recipes.empty() || !replays_on) return false;
  if (modes.interpose & (kInterpreters | kFunctionModes)) return false;
  const Inputs in(c);
  if (!in.plain) return false;
  auto& recipes = all->recipes;
  size_t at = 0;
  while (at < recipes.size() && !recipes[at]->key.fits(c, in)) ++at;
  if (at == recipes.size()) return false;
  if (at) std::rotate(recipes.begin(), recipes.begin() + at, recipes.begin() + at + 1);
  Ref<Recipe> r = recipes[0];  // it may be dropped meanwhile
  if (!r->good) return false;
  all->credit = std::min(all->credit + 1, kCredit);

  constexpr size_t kFew = 12;
  TensorRef few[kFew];
  std::vector<TensorRef> many(r->slots > kFew ? r->slots : 0);
  TensorRef* slots = many.empty() ? few : many.data();
  for (size_t k = 0; k < in.size; ++k) slots[k] = TensorRef(in.at[k]);
  for (auto& [slot, t] : r->constants) slots[slot] = t;
  for (const RecipeStep& s : r->steps) carry_out(s, slots);
  for (uint8_t slot : r->results) c.outs.push(slots[slot]);
  c.outs.is_list = r->is_list;
  return true;
}

Recording::Recording(const Call& c) {
  Replays* all = c.op.replays;
  const uint32_t busy = kInterpreters | kFunctionModes | kRecording | kDispatchModes;
  if (!all || !replays_on || all->credit <= 0 || (modes.interpose & busy)) return;
  const Inputs in(c);
  if (!in.plain) return;
  auto before = std::find_if(all->recipes.begin(), all->recipes.end(),
                             [&](auto& r) { return r->key.fits(c, in); });
  const bool again = before != all->recipes.end();  // a run left no recipe
  if (again && (*before)->tries == kTries) return;
  Ref<Recipe> recipe(new Recipe(c, in));
  if (!recipe->key.known()) return;
  if (again) {
    recipe->tries = (*before)->tries + 1;
    all->recipes.erase(before);
  }
  --all->credit;
  recipe->inputs = in.size;
  notes_ = new Notes{c.op, std::move(recipe), notes, true, {}};
  for (size_t k = 0; k < in.size; ++k) notes_->known.emplace_back(in.at[k]);
  notes = notes_;
  modes.interpose |= kRecording;
}

void Recording::finish(PyObject* result) {
  if (!notes_) return;
  Notes& n = *notes_;
  Recipe& r = *n.recipe;
  const bool several = PyTuple_CheckExact(result);
  for (Py_ssize_t i = 0, size = several ? PyTuple_Size(result) : 1; i < size; ++i) {
    PyObject* item = several ? PyTuple_GetItem(result, i) : result;
    if (!is_tensor(item)) n.good = false;
    if (n.good) r.results.push_back(wanted_slot(n, as_tensor(item)));
  }
  r.is_list = several && n.op.schema.returns.size() == 1;
  r.slots = n.known.size();
  r.good = n.good;
  if (r.good) {
    find_last_uses(r);
  } else {
    r.steps.clear();
    r.constants.clear();
  }
}

Recording::~Recording() {
  if (!notes_) return;
  modes.interpose &= ~kRecording;
  notes = notes_->outer;
  auto& recipes = notes_->op.replays->recipes;
  if (recipes.size() == kMaxRecipes) recipes.pop_back();
  recipes.insert(recipes.begin(), notes_->recipe);
  delete notes_;
}

NotedCall::NotedCall(Op& op, const Value* args, Tensor* const* into)
    : op_(op), args_(args), into_(into) {
  inside_ = op.replays && !into && !grad_mask(op, args);
  if (!inside_) modes.interpose &= ~kRecording;
}

void NotedCall::done(Tensors& outs) {
  if (!inside_) note(*notes, op_, args_, outs, into_);
  done_ = true;
}

NotedCall::~NotedCall() {
  modes.interpose |= kRecording;
  if (!done_) notes->good = false;
}

void void_notes() {
  for (Notes* n = notes; n; n = n->outer) n->good = false;
}

void note_detached(Tensor& from, Tensor& to) {
  if (!(modes.interpose & kRecording)) return;
  Notes& n = *notes;
  RecipeStep step;
  step.tensors.push_back({0, -1, wanted_slot(n, &from)});
  step.outs.push_back(static_cast<uint8_t>(n.known.size()));
  n.known.emplace_back(&to);
  if (n.known.size() > kMaxSlots) n.good = false;
  n.recipe->steps.push_back(std::move(step));
}

}  // namespace taimatsu
