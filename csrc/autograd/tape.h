// What the files of csrc/autograd share among themselves.
#pragma once

#include "autograd/autograd.h"

namespace taimatsu {

// ---- Nodes (node.cpp) ---------------------------------------------------------------------------

extern PyTypeObject* NodeType;  // taimatsu.autograd.graph.Node
PyTypeObject* new_node_type(const std::string& name, const PyType_Slot* more = nullptr,
                            PyTypeObject* base = nullptr);
PyTypeObject* node_type_of(Op& op);  // "MulBackward0"
NodeRef new_node(PyTypeObject* type, const NodeClass* cls, uint32_t n_edges, uint32_t n_outputs);
inline void init_node(Node& n, const NodeClass* cls);  // no edges, no outputs
inline void set_shape(Node& n, uint32_t n_edges, uint32_t n_outputs);
inline void stamp(Node& n);  // once the edges are there: gives it its place in the order
void set_history(Tensor& t, Node* n, uint32_t slot);
std::string name_of(const Node& n);
inline Node* as_node(PyObject* o) { return reinterpret_cast<Node*>(o); }

// Memory for payloads: free lists by size.
void* pool_take(size_t bytes);
void pool_give(void* p, size_t bytes);
struct Pooled {  // payloads that are made for every call
  static void* operator new(size_t bytes) { return pool_take(bytes); }
  static void operator delete(void* p, size_t bytes) { pool_give(p, bytes); }
};

struct GradMode {  // sets grad mode for a scope
  bool before = modes.grad;
  explicit GradMode(bool on) { modes.grad = on; }
  ~GradMode() { modes.grad = before; }
};

// Keeps a pending Python exception over code that may run destructors.
struct PendingError {
  PyObject *type, *value, *trace;
  PendingError() { PyErr_Fetch(&type, &value, &trace); }
  ~PendingError() { PyErr_Restore(type, value, trace); }
};

// ---- Saved values (saved.cpp) -------------------------------------------------------------------

// A tensor kept for backward. An output of the node is kept as its memory and layout only: the
// tensor itself would hold the node, and the node the tensor.
class SavedTensor {
 public:
  SavedTensor() = default;
  ~SavedTensor() { clear(); }
  SavedTensor(const SavedTensor&) = delete;
  SavedTensor(SavedTensor&& o) noexcept;

  void save_input(Tensor* t);
  void save_output(Tensor& t, uint32_t slot);
  void save_like(Tensor* t);  // sizes, dtype and device only
  // The tensor, after the check that nothing was written to it. `n` is the node that saved it; an
  // output gets its history back if `history`. `held` keeps the tensor alive.
  Tensor* unpack(Node& n, bool history, TensorRef& held) const;
  void clear();
  int traverse(visitproc visit, void* arg) const;

 private:
  enum Kind : uint8_t { None, Input, Output, Like, Detached, Packed };
  Kind kind_ = None;
  DType dtype_ = DType::F32;
  uint16_t slot_ = 0;
  uint32_t version_ = 0;
  union {
    Tensor* tensor_;
    Storage* storage_;
    struct {
      DeviceType type;
      int8_t index;
    } device_;
    struct PackedTensor* packed_;
  };
  const Layout* layout_ = nullptr;  // of an output or a like

  bool pack(Tensor& t, bool output, uint32_t slot);
  void check_version(const Storage& s, DType dtype, const Layout& l, const Node* from,
                     uint32_t slot) const;
};
static_assert(sizeof(SavedTensor) == 24, "nodes hold these by the million");
[[noreturn]] void fail_released();  // "... backward through the graph a second time ..."
// The hooks of saved_tensors_hooks, innermost last; a disabling message.
void push_saved_hooks(PyObject* pack, PyObject* unpack);
void pop_saved_hooks();
PyObject* disable_saved_hooks(PyObject* message_or_none);  // the message before, a new reference

// ---- Operations that the tape itself needs ------------------------------------------------------

// All of them have history in grad mode.
TensorRef add(Tensor& a, Tensor& b);
void add_into(Tensor& to, Tensor& g);  // no history
TensorRef zeros(const Layout* layout, DType dtype, Device d);
TensorRef ones_like(Tensor& t);

// ---- Views (views.cpp) --------------------------------------------------------------------------

// How a view lies in the tensor that it is a view of: two layouts of one storage.
struct Window {
  LayoutRef whole, part;
  DType whole_dtype, part_dtype;
};
TensorRef embed(Tensor& part, const Window& w);  // zeros of the whole's sizes around `part`
TensorRef extract(Tensor& whole, const Window& w);
// Hangs a node between base's old history and its new one, after a view of it was written.
// `written` leads to what computed the view's new value.
void rebase_view(Tensor& view, Edge written);

// ---- Leaves (leaf.cpp) --------------------------------------------------------------------------

extern const NodeClass accumulate_class;
NodeRef accumulator(Tensor& leaf);  // made on first use, lives as long as a graph that leads there
Tensor& variable(Node& accumulator);
void forget_accumulator(Node& n);  // at the start of its deletion
bool unshared(const Tensor& t);    // nobody else sees this tensor or its memory

// ---- Hooks (hooks.cpp) --------------------------------------------------------------------------

struct TensorHooks {
  uint32_t slot;
  Object hooks;  // the tensor's dict
};
struct RetainedGrad {
  uint32_t slot;
  Object tensor;  // a weak reference
};
struct NodeHooks {
  std::vector<TensorHooks> tensors;
  std::vector<RetainedGrad> retained;
  Object pre, post;  // OrderedDicts by id
  Object metadata;   // a dict
};
NodeHooks& hooks_of(Node& n);  // made on first use
int traverse_hooks(Node& n, visitproc visit, void* arg);
PyObject* add_pre_hook(Node& n, PyObject* hook);  // the handle
PyObject* add_post_hook(Node& n, PyObject* hook);
void attach_tensor_hooks(Node& n, uint32_t slot, Tensor& t);  // if `t` has any
// `t` gets a new value, from `n`: its hooks stay with the old one, from `before`, but the `grad`
// that it retains is the new one's.
void leave_hooks(Tensor& t, Node* before, Node& n, uint32_t slot);
void run_tensor_hooks(Node& n, TensorRef* grads);
void run_retained(Node& n, TensorRef* grads);
void run_pre_hooks(Node& n, TensorRef* grads);
void run_post_hooks(Node& n, TensorRef* inputs, const TensorRef* grads);
void run_accumulate_hooks(Tensor& leaf);
PyObject* metadata_of(Node& n);                             // borrowed
PyObject* grads_tuple(const TensorRef* grads, uint32_t n);  // None for absent ones

// ---- Anomaly mode (anomaly.cpp) -----------------------------------------------------------------

extern bool anomaly_checks_nan;
void note_call(Node& n);                   // keeps the stack of the forward call
void note_write(const Storage& s);         // keeps the stack of an in-place write
std::string write_note(const Storage& s);  // of the last write; "" if not known
void report_anomaly(Node& n);              // warns where the forward call was
void check_nan(Node& n, const TensorRef* inputs);
struct AnomalyScope {  // `n` runs: nodes made meanwhile are its children
  Node* before;
  explicit AnomalyScope(Node& n);
  ~AnomalyScope();
};

// ---- Engine (engine.cpp) ------------------------------------------------------------------------

void accumulate(TensorRef& sum, TensorRef g);
void fit_gradient(TensorRef& g, Node& target, uint32_t slot, const Node& from, uint32_t index);
bool wants_only_some();            // the running pass is to give some gradients, not all
bool wants(Node& n);               // it has use for gradients that arrive at `n`
void queue_callback(PyObject* f);  // to be called at the end of this thread's running pass
uint64_t current_backward();       // a number for that pass; 0 outside of any

// ---- Streams (streams.cpp); only where `streams` is set -----------------------------------------

// Streams that are their devices' current ones meanwhile, in place of the caller's; and the device
// of the first is the current one.
class StreamScope {
 public:
  StreamScope() = default;
  StreamScope(const StreamScope&) = delete;
  ~StreamScope();
  void enter(Device d, Stream s);
  void leave();  // at the end, before the destructor; may throw
  bool moved() const { return !before_.empty(); }
  Stream caller(Device d) const;
  const std::vector<std::pair<int, Stream>>& before() const { return before_; }
  static thread_local bool away;  // some scope of this thread has moved

 private:
  std::vector<std::pair<int, Stream>> before_;
  int device_ = -1;
  const bool outer_ = away;
};
void use_on(const Tensor& t, Stream s);  // its memory is used by what is on the stream now
// What is put on that stream from now on finds in `t` what the current one of its device writes.
void bring(const Tensor& t, Device to, Stream s);
void crosses(const Tensor& t);  // the node that runs uses `t`, which may be of another stream

// ---- autograd.Function (function.cpp) -----------------------------------------------------------

extern PyTypeObject* FunctionNodeType;
int init_function(PyObject* module);
extern PyMethodDef tape_tensor_methods[];  // hooks.cpp
extern PyGetSetDef tape_tensor_getters[];

// ---- Inline -------------------------------------------------------------------------------------

inline void init_node(Node& n, const NodeClass* cls) {
  n.dict = nullptr;
  n.weakrefs = nullptr;
  n.cls = cls;
  n.sequence = 0;
  n.hooks = nullptr;
  n.deferred = deferring;
  n.as_graphs = as_graphs;
  n.payload = nullptr;
  n.run = nullptr;
  n.edges = n.inline_edges;
  n.outputs = &n.inline_output;
  n.n_edges = n.n_outputs = 0;
  n.released = false;
  n.pooled = false;
}

inline void set_shape(Node& n, uint32_t n_edges, uint32_t n_outputs) {
  constexpr uint32_t kInline = sizeof n.inline_edges / sizeof(Edge);
  if (n_edges > kInline) n.edges = static_cast<Edge*>(pool_take(n_edges * sizeof(Edge)));
  if (n_outputs > 1)
    n.outputs = static_cast<NodeOutput*>(pool_take(n_outputs * sizeof(NodeOutput)));
  for (uint32_t i = 0; i < n_edges; ++i) new (&n.edges[i]) Edge;
  for (uint32_t i = 0; i < n_outputs; ++i) new (&n.outputs[i]) NodeOutput;
  n.n_edges = n_edges;
  n.n_outputs = n_outputs;
}

extern uint64_t last_sequence;
inline void stamp(Node& n) {
  n.sequence = ++last_sequence;
  if (modes.anomaly) note_call(n);
}

}  // namespace taimatsu
