// Values kept for backward: their version check, and the hooks that pack them.
#include "autograd/tape.h"
#include "ops/dispatch.h"
#include "python/python.h"

namespace taimatsu {

// What a saved tensor became under saved_tensors_hooks.
struct PackedTensor {
  Object object, unpack;
  Edge edge;  // history of an input
  bool output = false;
};

namespace {

struct SavedHooks {
  Object pack, unpack;
};
struct SavedHooksStack {
  std::vector<SavedHooks> hooks;
  Object disabled;  // a message, where they are not allowed
};
thread_local SavedHooksStack* saved_hooks = nullptr;  // null for nearly all threads

SavedHooksStack& saved_hooks_stack() {
  if (!saved_hooks) saved_hooks = new SavedHooksStack;
  return *saved_hooks;
}

void check_enabled() {
  if (saved_hooks && saved_hooks->disabled) {
    fail(Error::Runtime, to_string(saved_hooks->disabled.get()));
  }
}

}  // namespace

void push_saved_hooks(PyObject* pack, PyObject* unpack) {
  check_enabled();
  saved_hooks_stack().hooks.push_back({Object(pack), Object(unpack)});
}

void pop_saved_hooks() {
  if (!saved_hooks || saved_hooks->hooks.empty()) {
    fail(Error::Runtime, "saved_tensors_hooks: there are no hooks to remove");
  }
  SavedHooks last = std::move(saved_hooks->hooks.back());
  saved_hooks->hooks.pop_back();
}

PyObject* disable_saved_hooks(PyObject* message) {
  SavedHooksStack& s = saved_hooks_stack();
  if (message != Py_None && !s.hooks.empty()) fail(Error::Runtime, to_string(message));
  Object before = std::exchange(s.disabled, message == Py_None ? Object() : Object(message));
  return before ? before.leak() : new_ref(Py_None);
}

// True if hooks took the tensor.
bool SavedTensor::pack(Tensor& t, bool output, uint32_t slot) {
  if (!saved_hooks || saved_hooks->hooks.empty()) return false;
  SavedHooks h = saved_hooks->hooks.back();
  TensorRef given(&t);
  if (output) given = alias(t, t.layout);
  Object packed =
      Object::steal(checked(PyObject_CallFunctionObjArgs(h.pack.get(), given->object(), nullptr)));
  auto* p = new PackedTensor{packed, h.unpack, {}, output};
  if (!output) p->edge = gradient_edge(t);
  slot_ = static_cast<uint16_t>(slot);
  packed_ = p;
  kind_ = Packed;
  return true;
}

static void refuse_inference(const Tensor& t) {
  if (t.inference) {
    fail(Error::Runtime,
         "Inference tensors cannot be saved for backward. Please do not use Tensors "
         "created in inference mode in computation tracked by autograd. To work around this, you "
         "can make a clone to get a normal tensor and use it in autograd, or use `no_grad()` "
         "instead of `inference_mode()`.");
  }
}

void SavedTensor::save_input(Tensor* t) {
  if (!t) return;
  refuse_inference(*t);
  if (saved_hooks && pack(*t, false, 0)) return;
  retain(t);
  tensor_ = t;
  version_ = t->storage->version;
  kind_ = Input;
}

void SavedTensor::save_output(Tensor& t, uint32_t slot) {
  refuse_inference(t);
  if (saved_hooks && pack(t, true, slot)) return;
  if (dispatches(t)) {  // it is no memory alone
    GradMode off(false);
    tensor_ = detach_dispatched(t).leak();
    slot_ = static_cast<uint16_t>(slot);
    kind_ = Detached;
    return;
  }
  retain(t.storage);
  retain(t.layout);
  storage_ = t.storage;
  layout_ = t.layout;
  dtype_ = t.dtype;
  slot_ = static_cast<uint16_t>(slot);
  version_ = t.storage->version;
  kind_ = Output;
}

SavedTensor::SavedTensor(SavedTensor&& o) noexcept
    : kind_(std::exchange(o.kind_, None)),
      dtype_(o.dtype_),
      slot_(o.slot_),
      version_(o.version_),
      tensor_(o.tensor_),
      layout_(o.layout_) {}

void SavedTensor::save_like(Tensor* t) {
  if (!t) return;
  retain(t->layout);
  layout_ = t->layout;
  dtype_ = t->dtype;
  device_ = {t->device().type, t->device().index};
  kind_ = Like;
}

void SavedTensor::clear() {
  switch (std::exchange(kind_, None)) {
    case Input:
    case Detached: release(tensor_); break;
    case Output:
      release(storage_);
      release(layout_);
      break;
    case Like: release(layout_); break;
    case Packed: delete packed_; break;
    case None: break;
  }
}

int SavedTensor::traverse(visitproc visit, void* arg) const {
  if (kind_ == Input || kind_ == Detached) Py_VISIT(tensor_);
  if (kind_ == Packed) {
    Py_VISIT(packed_->object.get());
    Py_VISIT(packed_->unpack.get());
    Py_VISIT(packed_->edge.node.get());
  }
  return 0;
}

void fail_released() {
  fail(Error::Runtime,
       "Trying to backward through the graph a second time (or directly access saved "
       "tensors after they have already been freed). Saved intermediate values of the graph are "
       "freed when you call .backward() or autograd.grad(). Specify retain_graph=True if you need "
       "to backward through the graph a second time or if you need to access saved tensors after "
       "calling backward.");
}

void SavedTensor::check_version(const Storage& s, DType dtype, const Layout& l, const Node* from,
                                uint32_t slot) const {
  if (s.version == version_) return;
  std::string source = from ? concat(", which is output ", slot, " of ", name_of(*from), ",") : ",";
  std::string writer =
      s.writer ? concat(" The last write was by '", s.writer->base_name, "'.") : "";
  std::string where = write_note(s);
  fail(Error::Runtime,
       "one of the variables needed for gradient computation has been modified by an "
       "inplace operation: [torch.",
       info(dtype).legacy, "Tensor ", format(l.sizes()), "]", source, " is at version ", s.version,
       "; expected version ", version_, " instead.", writer,
       where.empty()
           ? " Hint: enable anomaly detection to see the line that wrote and the operation "
             "that failed to compute its gradient, with "
             "autograd.set_detect_anomaly(True, check_nan=False)."
           : " It was here:\n" + where);
}

Tensor* SavedTensor::unpack(Node& n, bool history, TensorRef& held) const {
  switch (kind_) {
    case None: return nullptr;
    case Input:
      check_version(*tensor_->storage, tensor_->dtype, *tensor_->layout, tensor_->node,
                    tensor_->output_index);
      held = TensorRef(tensor_);
      if (streams) crosses(*held);
      return tensor_;
    case Output:
      check_version(*storage_, dtype_, *layout_, &n, slot_);
      held = make_tensor(storage_, layout_, dtype_);
      if (streams) crosses(*held);
      if (history) set_history(*held, &n, slot_);
      return held.get();
    case Detached:
      held = TensorRef(tensor_);
      if (history) {
        held = detach_dispatched(*tensor_);
        set_history(*held, &n, slot_);
      }
      return held.get();
    case Like: {
      TensorRef one = empty(Ints(), dtype_, Device{device_.type, device_.index});
      std::vector<int64_t> strides(layout_->ndim, 0);
      held = alias(*one, intern(layout_->sizes(), strides).get());
      return held.get();
    }
    case Packed: break;
  }
  const PackedTensor packed = *packed_;  // the hook may run a pass that gives all this up
  const uint16_t slot = slot_;
  Object got = Object::steal(
      checked(PyObject_CallFunctionObjArgs(packed.unpack.get(), packed.object.get(), nullptr)));
  if (!is_tensor(got.get())) {
    fail(Error::Type,
         "Output of saved tensor unpack_hook expected to be a Tensor but got result of "
         "type ",
         type_name(got.get()));
  }
  held = TensorRef(as_tensor(got.get()));
  Edge source = packed.output ? Edge{history ? NodeRef(&n) : NodeRef(), slot} : packed.edge;
  if (!source.node) return held.get();
  const bool itself =
      source.node->cls == &accumulate_class && &variable(*source.node) == held.get();
  if (!itself) {  // the hooks gave another tensor of the same value
    held = alias(*held, held->layout);
    set_history(*held, source.node.get(), source.slot);
  }
  return held.get();
}

}  // namespace taimatsu
