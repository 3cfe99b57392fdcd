// Python runs while a formula is traced or sizes are computed, and with it finalizers and other
// threads, which may change the operands. What was read of them before has to hold afterwards.
#pragma once

#include "ops/op.h"

namespace taimatsu {

class Unchanged {
 public:
  explicit Unchanged(const Call& c) {
    for (int i = 0; i < c.outs.size(); ++i) see(c.outs[i].get());
    for (uint8_t i : c.op.operands) {
      if (c.args[i].is_tensor()) see(c.args[i].tensor);
    }
  }
  void check() const {
    for (const Seen& s : seen_) {
      const Tensor& t = *s.tensor;
      if (t.layout == s.layout.get() && t.dtype == s.dtype && t.device() == s.device) continue;
      fail(Error::Runtime, "a tensor changed while its op was compiled: from ", info(s.dtype).name,
           " ", format(s.layout->sizes()), " to ", info(t.dtype).name, " ", format(t.sizes()),
           "; don't let one thread change what another computes with");
    }
  }

 private:
  struct Seen {
    Tensor* tensor;
    LayoutRef layout;
    DType dtype;
    Device device;
  };
  void see(Tensor* t) { seen_.push_back({t, LayoutRef(t->layout), t->dtype, t->device()}); }
  std::vector<Seen> seen_;
};

}  // namespace taimatsu
