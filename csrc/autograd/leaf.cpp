// AccumulateGrad: the node at which gradients enter the `grad` of a leaf.
#include "autograd/tape.h"
#include "ops/dispatch.h"
#include "ops/launch.h"
#include "ops/sparse.h"
#include "python/python.h"

namespace taimatsu {
namespace {

struct Accumulator : Pooled {
  explicit Accumulator(Tensor& t) : leaf(&t) {}
  TensorRef leaf;
  bool busy = false;  // a thread is adding, maybe without the GIL
};

Accumulator& payload(Node& n) { return *static_cast<Accumulator*>(n.payload); }

// Two threads must not add to one `grad` at a time: an addition lets go of the GIL.
class Turn {
 public:
  explicit Turn(Accumulator& a) : a_(a) {
    while (a_.busy) {
      PyThreadState* state = PyEval_SaveThread();
      restore_gil(state);
    }
    a_.busy = true;
  }
  ~Turn() { a_.busy = false; }

 private:
  Accumulator& a_;
};

// PyTorch's contract: `grad` has the leaf's strides where the leaf is dense, else row-major ones.
LayoutRef grad_layout(const Tensor& leaf) {
  return leaf.layout->dense ? dense_layout_like(*leaf.layout) : contiguous_layout(leaf.sizes());
}

bool has_layout(const Tensor& g, const Layout& wanted) {
  if (g.layout == &wanted) return true;
  for (int d = 0; d < wanted.ndim; ++d) {
    if (wanted.size(d) > 1 && g.layout->stride(d) != wanted.stride(d)) return false;
  }
  return true;
}

TensorRef first_grad(const Tensor& leaf, TensorRef g) {
  if (is_sparse(*g)) return modes.grad ? g : ask_sparse_tensor("detach", *g);
  if (dispatches(*g)) return modes.grad ? g : detach_dispatched(*g);
  LayoutRef layout = grad_layout(leaf);
  if (!modes.grad && unshared(*g) && has_layout(*g, *layout)) return g;
  TensorRef own = empty(layout.get(), leaf.dtype, leaf.device());
  copy_into(*own, *g);
  if (Edge e = gradient_edge(*g); modes.grad && e.node) set_history(*own, e.node.get(), e.slot);
  return own;
}

void apply(Node& n, TensorRef* grads, TensorRef*) {
  Tensor& leaf = variable(n);
  TensorRef g = std::move(grads[0]);
  if (!g || !leaf.requires_grad) return;
  {
    Turn turn(payload(n));
    TensorRef before(leaf.grad);
    if (before && !modes.grad && !is_sparse(*before) && !is_sparse(*g) && !dispatches(*before) &&
        !dispatches(*g) && !overlaps_itself(*before->layout)) {
      add_into(*before, *g);
    } else {
      TensorRef after = before ? add(*before, *g) : first_grad(leaf, std::move(g));
      Tensor* old = std::exchange(leaf.grad, after.leak());
      track(&leaf);
      if (old) release(old);
    }
  }
  run_accumulate_hooks(leaf);
}

int traverse(Node& n, visitproc visit, void* arg) {
  if (n.payload) Py_VISIT(payload(n).leaf.get());
  return 0;
}

void destroy(Node& n) {
  forget_accumulator(n);
  delete static_cast<Accumulator*>(std::exchange(n.payload, nullptr));
}

PyObject* get_variable(PyObject* self, void*) {
  Node* n = as_node(self);
  if (!n->payload) Py_RETURN_NONE;
  return new_ref(variable(*n).object());
}

PyTypeObject* accumulate_type() {
  static PyGetSetDef getters[] = {
      {"variable", get_variable, nullptr, "The leaf whose `grad` this node fills.", nullptr}, {}};
  static const PyType_Slot slots[] = {{Py_tp_getset, getters}, {0, nullptr}};
  static PyTypeObject* type = new_node_type("AccumulateGrad", slots);
  return type;
}

}  // namespace

const NodeClass accumulate_class = {apply, nullptr, traverse, destroy};

Tensor& variable(Node& n) { return *payload(n).leaf; }

bool unshared(const Tensor& t) {
  // The low half is the count on every Python version; the high half may hold flags.
  return static_cast<uint32_t>(Py_REFCNT(const_cast<PyObject*>(&t.ob_base))) == 1 &&
         t.storage->refs == 1 && !t.storage->base && !t.storage->owner && !t.dict;
}

void forget_accumulator(Node& n) {
  if (!n.payload) return;
  TensorExtra* extra = variable(n).extra;
  if (extra && extra->accumulator == &n) extra->accumulator = nullptr;
}

NodeRef accumulator(Tensor& leaf) {
  TensorExtra& extra = extra_of(leaf);
  if (extra.accumulator) return NodeRef(extra.accumulator);
  NodeRef n = new_node(accumulate_type(), &accumulate_class, 0, 1);
  n->payload = new Accumulator(leaf);
  n->outputs[0].describe(leaf);
  extra.accumulator = n.get();
  attach_tensor_hooks(*n, 0, leaf);
  stamp(*n);
  return n;
}

}  // namespace taimatsu
