// The engine, its saved state, and the Python type Generator.
#include "cpu/random.h"

#include <algorithm>
#include <cmath>
#include <random>

#include "plan/segment.h"
#include "python/python.h"

namespace taimatsu {

void MersenneTwister::seed(uint64_t seed) {
  state_[0] = static_cast<uint32_t>(seed);
  for (uint32_t j = 1; j < kSize; ++j) {
    state_[j] = 1812433253u * (state_[j - 1] ^ state_[j - 1] >> 30) + j;
  }
  left_ = 1;
  next_ = 0;
}

#pragma GCC push_options
#pragma GCC optimize("O3")  // vectorised
void MersenneTwister::refill() {
  constexpr int kShift = 397;
  auto mix = [](uint32_t u, uint32_t v, uint32_t w) {
    const uint32_t y = (u & 0x80000000) | (v & 0x7fffffff);
    return w ^ y >> 1 ^ (-(v & 1) & 0x9908b0df);
  };
  int i = 0;
  for (; i < kSize - kShift; ++i) state_[i] = mix(state_[i], state_[i + 1], state_[i + kShift]);
  for (; i < kSize - 1; ++i) {
    state_[i] = mix(state_[i], state_[i + 1], state_[i + kShift - kSize]);
  }
  state_[i] = mix(state_[i], state_[0], state_[kShift - 1]);
  left_ = kSize;
  next_ = 0;
}

void MersenneTwister::draw(uint32_t* out, int64_t n) {
  while (n > 0) {
    if (left_ == 1) {
      refill();
      ++left_;  // the refill below is what draw() does after its own decrement
    }
    const int64_t run = std::min<int64_t>(n, left_ - 1);
    for (int64_t i = 0; i < run; ++i) out[i] = temper(state_[next_ + i]);
    out += run;
    n -= run;
    left_ -= static_cast<int>(run);
    next_ += static_cast<uint32_t>(run);
  }
}
#pragma GCC pop_options

// The layout of PyTorch's saved states.
struct GeneratorState {
  uint64_t seed;
  int32_t left, seeded;
  uint64_t next;
  uint64_t state[MersenneTwister::kSize];
  double normal_x, normal_y, normal_rho;
  int32_t normal_is_valid;
  float next_float_normal;
  bool has_float_normal;

  static GeneratorState of(const Generator& g) {
    GeneratorState s;
    std::memset(&s, 0, sizeof s);
    s.seed = g.seed_value;
    s.left = g.engine.left_;
    s.seeded = 1;
    s.next = g.engine.next_;
    for (int i = 0; i < MersenneTwister::kSize; ++i) s.state[i] = g.engine.state_[i];
    s.normal_is_valid = g.has_normal;
    s.normal_y = g.has_normal ? g.normal : 0;
    return s;
  }
  void put(Generator& g) const {
    if (left != 1 && (left < 1 || left > MersenneTwister::kSize || next + left != 625)) {
      fail(Error::Runtime, "set_state: not the state of a generator; give what get_state returned");
    }
    g.seed_value = seed;
    g.engine.left_ = left;
    g.engine.next_ = static_cast<uint32_t>(next);
    for (int i = 0; i < MersenneTwister::kSize; ++i) {
      g.engine.state_[i] = static_cast<uint32_t>(state[i]);
    }
    g.has_normal = normal_is_valid != 0;
    g.normal = normal_y;
  }
};
static_assert(sizeof(GeneratorState) == Generator::kStateBytes);

void Generator::begin_call() {
  if (!counts_calls()) return;
  uint64_t mixed = seed_value + (offset + 1) * 0x9e3779b97f4a7c15;  // SplitMix64
  mixed = (mixed ^ mixed >> 30) * 0xbf58476d1ce4e5b9;
  mixed = (mixed ^ mixed >> 27) * 0x94d049bb133111eb;
  engine.seed(mixed ^ mixed >> 31);
  has_normal = false;
  offset += kOffsetStep;
}

void Generator::get_state(uint8_t* bytes) const {
  if (counts_calls()) {
    std::memcpy(bytes, &seed_value, sizeof seed_value);
    std::memcpy(bytes + sizeof seed_value, &offset, sizeof offset);
    return;
  }
  GeneratorState s = GeneratorState::of(*this);
  std::memcpy(bytes, &s, sizeof s);
}
void Generator::set_state(const uint8_t* bytes) {
  if (counts_calls()) {
    std::memcpy(&seed_value, bytes, sizeof seed_value);
    std::memcpy(&offset, bytes + sizeof seed_value, sizeof offset);
    return;
  }
  GeneratorState s;
  std::memcpy(&s, bytes, sizeof s);
  s.put(*this);
}
void Generator::seed(uint64_t seed) {
  seed_value = seed;
  offset = 0;
  engine.seed(seed);
  has_normal = false;
}

double Generator::standard_normal() {
  if (has_normal) {
    has_normal = false;
    return normal;
  }
  const double u1 = uniform(), u2 = uniform();
  const double r = std::sqrt(-2 * std::log1p(-u2)), theta = 2 * M_PI * u1;
  normal = r * std::sin(theta);
  has_normal = true;
  return r * std::cos(theta);
}

constexpr uint64_t kDefaultSeed = 67280421310721;  // PyTorch's, where none is set

Generator& default_generator() {
  static Generator g(kDefaultSeed);
  return g;
}

// ---- The Python type ------------------------------------------------------------------------
namespace {

struct GeneratorObject {
  PyObject ob_base;
  Generator* generator;
  bool owned;
};
PyTypeObject* generator_type = nullptr;

Generator& of(PyObject* self) {
  flush_pending();  // calls put off draw from it first
  return *reinterpret_cast<GeneratorObject*>(self)->generator;
}

PyObject* wrap(PyTypeObject* type, Generator* g, bool owned) {
  auto alloc = reinterpret_cast<allocfunc>(PyType_GetSlot(type, Py_tp_alloc));
  PyObject* o = checked(alloc(type, 0));
  auto* self = reinterpret_cast<GeneratorObject*>(o);
  self->generator = g;
  self->owned = owned;
  return o;
}

PyObject* generator_new(PyTypeObject* type, PyObject* args, PyObject* kwargs) {
  return guard([&] {
    static const Signature signature{"Generator", {"device"}, 1, 0};
    PyObject* device;
    signature.unpack(args, kwargs, &device);
    Device d;
    if (given(device) && (!device_of(device, d) || d.type == DeviceType::Meta)) {
      fail(Error::Runtime, "Generator: the device must be 'cpu' or 'cuda'; got ",
           to_string(Object::steal(checked(PyObject_Str(device))).get()));
    }
    try {
      d = d.concrete();
    } catch (const Error& e) {
      fail(Error::Runtime, "Generator: ", e.message);
    }
    return wrap(type, new Generator(kDefaultSeed, d), true);
  });
}

void generator_dealloc(PyObject* self) {
  auto* g = reinterpret_cast<GeneratorObject*>(self);
  if (g->owned) delete g->generator;
  PyTypeObject* type = Py_TYPE(self);
  reinterpret_cast<freefunc>(PyType_GetSlot(type, Py_tp_free))(self);
  Py_DECREF(type);
}

uint64_t seed_from(PyObject* o) {
  Object index = Object::steal(checked(PyNumber_Index(o)));
  int overflow;
  long long low = PyLong_AsLongLongAndOverflow(index.get(), &overflow);
  if (overflow == 0) {
    if (low == -1 && PyErr_Occurred()) python_error();
    return static_cast<uint64_t>(low);  // negative seeds count from 2^64 downwards
  }
  unsigned long long high = overflow > 0 ? PyLong_AsUnsignedLongLong(index.get()) : 0;
  if (overflow < 0 || PyErr_Occurred()) {
    PyErr_Clear();
    fail(Error::Runtime,
         "manual_seed: Overflow when unpacking long; a seed is in "
         "[-0x8000_0000_0000_0000, 0xffff_ffff_ffff_ffff], got ",
         to_string(index.get()));
  }
  return high;
}

PyObject* manual_seed(PyObject* self, PyObject* seed) {
  return guard([&] {
    uint64_t value = seed_from(seed);
    std::lock_guard<std::mutex> lock(of(self).mutex);
    of(self).seed(value);
    return new_ref(self);
  });
}
PyObject* seed(PyObject* self, PyObject*) {
  return guard([&] {
    std::random_device device;
    uint64_t value = uint64_t{device()} << 32 | device();
    value &= (uint64_t{1} << 53) - 1;  // exact as a double too
    std::lock_guard<std::mutex> lock(of(self).mutex);
    of(self).seed(value);
    return PyLong_FromUnsignedLongLong(value);
  });
}
PyObject* initial_seed(PyObject* self, PyObject*) {
  return PyLong_FromUnsignedLongLong(of(self).seed_value);
}
PyObject* get_state(PyObject* self, PyObject*) {
  return guard([&] {
    int64_t n = of(self).state_bytes();
    TensorRef state = empty({&n, 1}, DType::U8);
    of(self).get_state(state->as<uint8_t>());
    return tensor_object(state);
  });
}
PyObject* set_state(PyObject* self, PyObject* state) {
  return guard([&] {
    if (!is_tensor(state) || as_tensor(state)->dtype != DType::U8 ||
        as_tensor(state)->device().type != DeviceType::CPU) {
      fail(Error::Type, "set_state: RNG state must be a torch.ByteTensor; got ", type_name(state));
    }
    const Tensor& t = *as_tensor(state);
    const int64_t size = of(self).state_bytes();
    if (t.numel() != size || !t.layout->contiguous) {
      fail(Error::Runtime, "set_state: Expected a ", of(self).counts_calls() ? "CUDA" : "CPU",
           "GeneratorImplState of size ", size, " but found the input RNG state size to be ",
           t.numel());
    }
    std::lock_guard<std::mutex> lock(of(self).mutex);
    of(self).set_state(t.as<uint8_t>());
    return new_ref(self);
  });
}
PyObject* clone_state(PyObject* self, PyObject*) {
  return guard([&] {
    auto* copy = new Generator(0, of(self).device);
    uint8_t bytes[Generator::kStateBytes];
    of(self).get_state(bytes);
    copy->set_state(bytes);
    return wrap(generator_type, copy, true);
  });
}
PyObject* reduce(PyObject* self, PyObject*) {
  return guard([&] {
    Object state = Object::steal(checked(get_state(self, nullptr)));
    const std::string device = of(self).device.str();
    return checked(Py_BuildValue("O(s)O", generator_type, device.c_str(), state.get()));
  });
}
PyObject* set_state_pickled(PyObject* self, PyObject* state) {
  Object done = Object::steal(set_state(self, state));
  return done ? new_ref(Py_None) : nullptr;
}
// What only generators of accelerators have.
Generator& counting(PyObject* self) {
  if (of(self).counts_calls()) return of(self);
  fail(Error::Runtime, "CPU Generator does not use offset; get_state and set_state hold all");
}
PyObject* get_offset(PyObject* self, PyObject*) {
  return guard([&] { return PyLong_FromUnsignedLongLong(counting(self).offset); });
}
PyObject* set_offset(PyObject* self, PyObject* offset) {
  return guard([&] {
    Generator& g = counting(self);
    const uint64_t value = seed_from(offset);
    if (value % Generator::kOffsetStep) {
      fail(Error::Runtime, "set_offset: offset must be a multiple of 4; got ", value);
    }
    g.offset = value;
    return new_ref(self);
  });
}
// For kernels that make their numbers from a key and counters of their own: (key, first counter).
PyObject* take_counters(PyObject* self, PyObject* count) {
  return guard([&] {
    Generator& g = of(self);
    std::lock_guard<std::mutex> lock(g.mutex);
    uint64_t key = g.seed_value, first = g.offset;
    if (g.counts_calls()) {
      const auto n = static_cast<uint64_t>(to_index(count));
      g.offset +=
          (n + Generator::kOffsetStep - 1) / Generator::kOffsetStep * Generator::kOffsetStep;
    } else {
      key = g.bits64();
      first = 0;
    }
    return Py_BuildValue("(KK)", static_cast<unsigned long long>(key),
                         static_cast<unsigned long long>(first));
  });
}
void graph_state(PyObject* self) {
  if (of(self).counts_calls()) return;
  fail(Error::NotImplemented, "graphsafe states are not supported by a CPU Generator");
}
PyObject* graphsafe_get_state(PyObject* self, PyObject*) {
  return guard([&] {
    graph_state(self);
    return clone_state(self, nullptr);
  });
}
PyObject* graphsafe_set_state(PyObject* self, PyObject* other) {
  return guard([&] {
    graph_state(self);
    if (!PyObject_TypeCheck(other, generator_type) || !of(other).counts_calls()) {
      fail(Error::Type, "graphsafe_set_state takes an accelerator's Generator; got ",
           type_name(other));
    }
    of(self).seed_value = of(other).seed_value;
    of(self).offset = of(other).offset;
    return new_ref(self);
  });
}
PyObject* get_device(PyObject* self, void*) { return device_object(of(self).device); }

// Of each accelerator, by its index, made when first asked for. Never deleted: Python may have
// gone.
std::vector<Object>& accelerators = *new std::vector<Object>;
uint64_t accelerator_seed = kDefaultSeed;

PyObject* seed_all_accelerators(PyObject*, PyObject* seed) {
  return guard([&] {
    seed_accelerators(seed_from(seed));
    return new_ref(Py_None);
  });
}
PyMethodDef functions[] = {
    {"_seed_accelerators", seed_all_accelerators, METH_O,
     "_seed_accelerators(seed)\n--\n\nStarts the sequences of all accelerators' generators."},
    {}};

PyMethodDef methods[] = {
    {"manual_seed", manual_seed, METH_O,
     "manual_seed(seed)\n--\n\nStarts the sequence that belongs to `seed`; returns the generator."},
    {"seed", seed, METH_NOARGS, "seed()\n--\n\nSeeds from the system's entropy; returns the seed."},
    {"initial_seed", initial_seed, METH_NOARGS, "initial_seed()\n--\n\nThe seed of the sequence."},
    {"get_state", get_state, METH_NOARGS,
     "get_state()\n--\n\nThe state, a uint8 tensor in PyTorch's format."},
    {"set_state", set_state, METH_O, "set_state(new_state)\n--\n\nGoes on from a saved state."},
    {"clone_state", clone_state, METH_NOARGS,
     "clone_state()\n--\n\nA new generator in the same state."},
    {"get_offset", get_offset, METH_NOARGS,
     "get_offset()\n--\n\nHow far calls have come. RuntimeError: on the CPU is none."},
    {"set_offset", set_offset, METH_O,
     "set_offset(offset)\n--\n\nA multiple of 4. RuntimeError: on the CPU is none."},
    {"take_counters", take_counters, METH_O,
     "take_counters(count)\n--\n\nA key, and the first of `count` counters that nobody else gets."},
    {"graphsafe_get_state", graphsafe_get_state, METH_NOARGS,
     "graphsafe_get_state()\n--\n\nThe state as a generator. NotImplementedError on the CPU."},
    {"graphsafe_set_state", graphsafe_set_state, METH_O,
     "graphsafe_set_state(state)\n--\n\nGoes on from another generator's state. "
     "NotImplementedError on the CPU."},
    {"__reduce__", reduce, METH_NOARGS, nullptr},
    {"__setstate__", set_state_pickled, METH_O, nullptr},
    {}};
PyGetSetDef getters[] = {
    {"device", get_device, nullptr, "The device that the numbers are made on.", nullptr}, {}};
PyType_Slot slots[] = {
    {Py_tp_new, slot(generator_new)},
    {Py_tp_dealloc, slot(generator_dealloc)},
    {Py_tp_methods, methods},
    {Py_tp_getset, getters},
    {Py_tp_doc, const_cast<char*>("Generator(device='cpu')\n--\n\n"
                                  "A source of random numbers with a state of its own.\n\n"
                                  ">>> g = taimatsu.Generator().manual_seed(0)\n"
                                  ">>> taimatsu.rand(2, generator=g)")},
    {0, nullptr}};
PyType_Spec spec = {"taimatsu.Generator", sizeof(GeneratorObject), 0,
                    Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE, slots};

}  // namespace

Generator& generator_of(const Value& v) {
  if (v.none()) return default_generator();
  if (v.tag != Value::Object || !PyObject_TypeCheck(v.object, generator_type)) {
    fail(Error::Type, "generator must be a Generator",
         v.tag == Value::Object ? "; got " + type_name(v.object) : std::string());
  }
  return of(v.object);
}

PyObject* default_generator_object(Device d) {
  const auto index = static_cast<size_t>(d.concrete().index);
  if (accelerators.size() <= index) accelerators.resize(index + 1);
  Object& o = accelerators[index];
  if (!o) {
    o = Object::steal(wrap(generator_type, new Generator(accelerator_seed, d.concrete()), true));
  }
  return o.get();
}

void seed_accelerators(uint64_t seed) {
  accelerator_seed = seed;
  for (const Object& o : accelerators) {
    if (o) of(o.get()).seed(seed);
  }
}

int init_random(PyObject* module) {
  return guard(-1, [&] {
    generator_type = add_type(module, spec);
    if (!generator_type) python_error();
    Object shared = Object::steal(wrap(generator_type, &default_generator(), false));
    checked(PyModule_AddObjectRef(module, "default_generator", shared.get()));
    checked(PyModule_AddFunctions(module, functions));
    return 0;
  });
}

}  // namespace taimatsu
