// The CPU's random number generator: MT19937, drawn in sequence, so that a seed gives the same
// numbers on every machine and with any number of threads.
#pragma once

#include "cpu/threads.h"
#include "ops/op.h"

namespace taimatsu {

class MersenneTwister {
 public:
  static constexpr int kSize = 624;
  explicit MersenneTwister(uint64_t seed) { this->seed(seed); }
  void seed(uint64_t seed);  // its low 32 bits decide
  uint32_t draw() {
    if (--left_ == 0) refill();
    return temper(state_[next_++]);
  }
  void draw(uint32_t* out, int64_t n);  // the same as n single draws

 private:
  friend struct GeneratorState;
  static uint32_t temper(uint32_t y) {
    y ^= y >> 11;
    y ^= y << 7 & 0x9d2c5680;
    y ^= y << 15 & 0xefc60000;
    return y ^ y >> 18;
  }
  void refill();
  uint32_t state_[kSize];
  int left_ = 1;  // draws until the state must be refilled, plus one
  uint32_t next_ = 0;
};

// What a taimatsu.Generator holds.
struct Generator {
  static constexpr int64_t kStateBytes = 5056;  // PyTorch's format: states interchange

  ForkSafeMutex mutex;  // routines draw without the GIL
  uint64_t seed_value;
  MersenneTwister engine;
  bool has_normal = false;  // the second of a pair of normal numbers
  double normal = 0;
  // An accelerator's numbers are told by the seed and how far calls have come, which is all of its
  // state: kernels start anywhere. What draws on the host begins a sequence for each call.
  Device device;
  uint64_t offset = 0;
  static constexpr int64_t kOffsetStateBytes = 16;  // seed and offset, PyTorch's format
  static constexpr uint64_t kOffsetStep = 4;

  explicit Generator(uint64_t seed, Device d = {}) : seed_value(seed), engine(seed), device(d) {}
  bool counts_calls() const { return device.type != DeviceType::CPU; }
  void begin_call();
  int64_t state_bytes() const { return counts_calls() ? kOffsetStateBytes : kStateBytes; }
  void seed(uint64_t seed);
  void get_state(uint8_t* bytes) const;
  void set_state(const uint8_t* bytes);

  uint32_t bits32() { return engine.draw(); }
  uint64_t bits64() {
    const uint64_t high = engine.draw();
    return high << 32 | engine.draw();
  }
  float uniform_float() { return static_cast<float>(bits32() & 0xffffff) * 0x1p-24f; }
  double uniform() { return static_cast<double>(bits64() & ((uint64_t{1} << 53) - 1)) * 0x1p-53; }
  double standard_normal();  // Box-Muller, both numbers used
};

Generator& default_generator();
PyObject* default_generator_object(Device d);  // borrowed; of an accelerator, with an index
void seed_accelerators(uint64_t seed);         // their default generators, also those to come
// The generator that a call was given, or the default one; TypeError for anything else.
Generator& generator_of(const Value& v);

int init_random(PyObject* module);

}  // namespace taimatsu
