// The tape: modes, nodes, what an op call does to record itself, and the backward engine.
//
//   node.cpp      nodes: allocation, iterative deletion, what Python sees of them
//   saved.cpp     values kept for backward, their version check, saved_tensors_hooks
//   record.cpp    an op call becomes a node; the node executes the op's Plan
//   views.cpp     gradients of views, in-place writes through them, what may be written in place
//   leaf.cpp      AccumulateGrad: gradients of leaves
//   engine.cpp    one backward pass
//   streams.cpp   which streams of a GPU a pass puts its work on
//   hooks.cpp     hooks on tensors and nodes
//   function.cpp  nodes whose backward is a Python method (autograd.Function)
//   anomaly.cpp   detect_anomaly: where the forward call was, where a NaN came from
//   bindings.cpp  the functions of taimatsu._core for all of this
//
// A gradient may be absent (a null TensorRef): it stands for zero.
#pragma once

#include "ops/op.h"
#include "tensor/stream.h"

namespace taimatsu {

// Who interposes in a thread, as bits: interpreters of ops (tracer, autocast, vmap, profiler ...),
// __torch_function__ modes, which see the public functions, and below the tape __torch_dispatch__
// modes (ops/dispatch.h). All are stacks in Python. And who notes what a composite calls
// (ops/replay.h).
constexpr uint32_t kInterpreters = 1, kFunctionModes = 2, kRecording = 4, kDispatchModes = 8;

// Set inside compiled functions whose calls are to be graphs of their device, when they come again.
extern thread_local bool as_graphs;

// State of the calling thread, consulted by every op call.
struct Modes {
  bool grad = true;
  bool inference = false;
  uint32_t interpose = 0;
  bool anomaly = false;
};
extern thread_local Modes modes;

struct Node;
inline void retain(Node* n);
inline void release(Node* n);
using NodeRef = Ref<Node>;

struct Edge {
  NodeRef node;       // null: no gradient is wanted there
  uint32_t slot = 0;  // which gradient of `node`
};

// A class of nodes.
struct NodeClass {
  // Gradients of the node's inputs (one per edge) from those of its outputs. May take `grads`.
  void (*apply)(Node& n, TensorRef* grads, TensorRef* inputs);
  void (*release)(Node& n);                              // drops what was saved; may be null
  int (*traverse)(Node& n, visitproc visit, void* arg);  // saved Python objects; may be null
  void (*destroy)(Node& n);                              // frees the payload; may be null
};

// One output of the recorded call: what its gradient must look like, and the gradient as far as
// it has arrived in the backward pass that `Node::run` names.
struct NodeOutput {
  LayoutRef layout;
  TensorRef grad;
  DType dtype = DType::F32;
  Device device;
  Stream stream = nullptr;  // that of the call, on which the gradient is ready
  void describe(const Tensor& t) {
    expect(t);
    stream = stream_of(device);
  }
  void expect(const Tensor& t) {
    layout = LayoutRef(t.layout);
    dtype = t.dtype;
    device = t.device();
  }
};

// A recorded call. Nodes are Python objects (`tensor.grad_fn`), so the garbage collector follows
// tensor -> node -> saved tensor without help. The Python type carries the name ("MulBackward0").
struct Node {
  PyObject ob_base;
  PyObject* dict;
  PyObject* weakrefs;
  const NodeClass* cls;
  uint64_t sequence;        // creation order: whatever a node's edges lead to is older
  struct NodeHooks* hooks;  // owned; null for most
  void* payload;            // by class
  struct Run* run;          // the backward pass that has gradients in `outputs`
  Edge* edges;              // one per input that requires grad
  NodeOutput* outputs;
  uint32_t n_edges, n_outputs;
  bool released;   // what was saved is gone
  bool pooled;     // made by new_node
  bool deferred;   // in a compiled function: so is its backward
  bool as_graphs;  // ... which is launched as graphs
  Edge inline_edges[2];
  NodeOutput inline_output;
};
inline void retain(Node* n) { Py_INCREF(&n->ob_base); }
inline void release(Node* n) { Py_DECREF(&n->ob_base); }

// The current grad_fn, borrowed: of a view whose memory was written since, a fresh one.
Node* refreshed_grad_fn(Tensor& t);
inline Node* grad_fn(Tensor& t) {
  if (!t.base || t.node_version == t.storage->version) return t.node;
  return refreshed_grad_fn(t);
}
inline bool requires_grad(const Tensor& t) {
  return t.requires_grad || t.node || (t.base && grad_fn(const_cast<Tensor&>(t)));
}
Edge gradient_edge(Tensor& t);  // to grad_fn, or to the leaf's accumulator; empty if neither

// Params (bit i: the i-th) whose gradient must be recorded; 0 where grad mode is off.
uint64_t grad_mask(const Op& op, const Value* args);

// After a call whose mask is not 0: makes the node and hangs it on the outputs.
//
// How a Plan meets the schema: a param that is a list of tensors has one entry of Plan::grads; its
// source is a step whose outputs are the gradients of the list's elements, in order. A gradient
// that a plan mentions and that is absent arrives as zeros, or as None if it says that it may be.
void record(Op& op, uint64_t mask, const Value* args, Tensors& outs);
// After a view op: history of the view, and `base`, so that writes through it are seen.
void record_view(Op& op, const Value* args, Tensors& outs);

// Around an in-place form. `check` refuses (a leaf that requires grad, an inference tensor, one of
// several views); `written` bumps the version and rebases history. `args[0]` may be a copy of
// `t` from before the write, if the derivative needs it.
void check_inplace(const Op& op, Tensor& t, uint64_t mask);
void written(Op& op, uint64_t mask, const Value* args, Tensor& t);
inline void bump_version(Tensor& t) { ++t.storage->version; }

// One backward pass from `roots`, whose gradients are `grads` (null: one, for a single real
// element). Accumulates into the leaves (only into `inputs`, if any are given), or, if `results`
// is given, returns the gradients of `inputs` there.
void backward(Span<Tensor*> roots, Span<Tensor*> grads, bool retain_graph, bool create_graph,
              Span<Tensor*> inputs, bool accumulate, std::vector<TensorRef>* results,
              bool allow_unused);

// Sums a gradient to the sizes of what was broadcast (with history if create_graph).
TensorRef sum_to(Tensor& g, Ints sizes);

int init_autograd(PyObject* module);  // types and functions of taimatsu._core for the tape

}  // namespace taimatsu
