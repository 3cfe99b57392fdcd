// Streams of a backward pass.
//
// A node's work is put on the stream of its forward call, where the gradients that arrive at it are
// ready. To the stream where `backward` is called the pass is like any call: it comes after what is
// there already, as far as the first gradients tell, and before what follows.
#include "autograd/tape.h"
#include "ops/sparse.h"
#include "plan/segment.h"
#include "python/python.h"

namespace taimatsu {

thread_local bool StreamScope::away = false;

void StreamScope::enter(Device d, Stream s) {
  if (d.type != DeviceType::CUDA) return;
  if (device_ < 0) device_ = streams->enter(d.index);
  if (streams->current(d.index) == s) return;
  flush_pending();  // calls put off belong to the stream of before
  before_.emplace_back(d.index, streams->current(d.index));
  streams->set_current(d.index, s);
  away = true;
}

Stream StreamScope::caller(Device d) const {
  for (const auto& [device, stream] : before_) {
    if (device == d.index) return stream;
  }
  return stream_of(d);
}

void StreamScope::leave() {
  if (moved()) flush_pending();
}

StreamScope::~StreamScope() {
  while (!before_.empty()) {
    streams->set_current(before_.back().first, before_.back().second);
    before_.pop_back();
  }
  if (device_ >= 0) streams->enter(device_);
  away = outer_;
}

void use_on(const Tensor& t, Stream s) {
  if (t.device().type != DeviceType::CUDA) return;
  if (!is_sparse(t)) return streams->use(*t.storage, s);
  Object parts = Object::steal(checked(PyObject_CallMethod(t.extra->parts, "tensors", nullptr)));
  for (Py_ssize_t i = 0, n = PySequence_Size(parts.get()); i < n; ++i) {
    Object part = Object::steal(checked(PySequence_GetItem(parts.get(), i)));
    use_on(*as_tensor(part.get()), s);
  }
}

void bring(const Tensor& t, Device to, Stream stream) {
  const Device d = t.device();
  if (d.type != DeviceType::CUDA || to.type != d.type) return;
  const Stream here = stream_of(d);
  if (d == to && here == stream) return;
  flush_pending();
  streams->order(d.index, here, to.index, stream);
  if (d == to) use_on(t, stream);
}

void crosses(const Tensor& t) {
  if (StreamScope::away) use_on(t, stream_of(t.device()));
}

}  // namespace taimatsu
