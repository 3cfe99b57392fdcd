// One backward pass.
//
// Nodes run in descending order of creation. Whatever a node's edges lead to is older than the
// node, so when a node's turn comes, all its gradients have arrived: nothing has to be counted
// beforehand. A pass that some of the graph only is wanted of looks first for what leads there.
//
// A node's work is put on the stream of its forward call (streams.cpp): gradients at a node are
// ready there. Those of a leaf are where the first of them came from.
#include <algorithm>
#include <memory>
#include <optional>
#include <unordered_map>

#include "autograd/tape.h"
#include "ops/dispatch.h"
#include "ops/launch.h"
#include "ops/sparse.h"
#include "plan/segment.h"
#include "python/python.h"

namespace taimatsu {

struct Run;
static thread_local Run* current = nullptr;
static uint64_t runs = 0;

// A few gradients, all absent whenever they are not in use.
class Gradients {
 public:
  ~Gradients() { clear(); }
  TensorRef* resize(uint32_t n) {
    if (n > kFew && many_.size() < n) many_.resize(n);  // may throw: there are none then
    n_ = n;
    return data();
  }
  TensorRef* data() { return n_ <= kFew ? few_ : many_.data(); }
  void clear() {
    TensorRef* all = data();
    for (uint32_t i = 0; i < n_; ++i) all[i] = nullptr;
    n_ = 0;
  }

 private:
  static constexpr uint32_t kFew = 4;
  TensorRef few_[kFew];
  std::vector<TensorRef> many_;
  uint32_t n_ = 0;
};

struct Run {
  struct Item {
    uint64_t sequence;
    Node* node;  // owned
    bool operator<(const Item& o) const { return sequence < o.sequence; }
  };
  struct Wanted {  // a node that leads to some input, or is one
    bool execute = false;
    std::vector<std::pair<uint32_t, size_t>> captures;  // (slot, which result)
  };

  struct Elsewhere {
    std::vector<TensorRef> grads;
    Stream stream = nullptr;
  };
  struct Slot {
    TensorRef& sum;
    Stream& stream;  // on which it is ready
  };

  const bool keep_graph;
  std::vector<TensorRef>* results;
  std::unique_ptr<std::unordered_map<Node*, Wanted>> wanted;  // null: everything is
  std::vector<Item> heap;
  // Gradients at nodes where another pass, suspended or of another thread, has its own.
  std::unique_ptr<std::unordered_map<Node*, Elsewhere>> elsewhere;
  Gradients grads, inputs;                   // of the node that runs
  Stream leaf_stream;                        // if that is a leaf's
  std::vector<std::pair<int, Stream>> used;  // streams of devices, besides the caller's
  std::vector<Object> callbacks;
  Run* const outer = current;
  const uint64_t id = ++runs;

  Run(bool keep_graph, std::vector<TensorRef>* results) : keep_graph(keep_graph), results(results) {
    current = this;
  }
  ~Run() {
    current = outer;
    if (heap.empty()) return;
    PendingError pending;
    try {
      join();
    } catch (const Error&) {  // the device has failed: later calls say so
    }
    while (!heap.empty()) drop(*pop());  // after an error
    grads.clear();
  }

  // Where a gradient of `n` is summed; queues the node when it is the first.
  Slot slot(Node* n, uint32_t i) {
    NodeOutput& o = n->outputs[i];
    if (n->run == this) return {o.grad, o.stream};
    // Once a node's gradients are elsewhere they stay there, though the other pass may be done.
    if (n->run || (elsewhere && elsewhere->count(n))) {
      if (!elsewhere) elsewhere.reset(new std::unordered_map<Node*, Elsewhere>);
      auto [at, first] = elsewhere->try_emplace(n);
      if (first) {
        at->second.grads.resize(n->n_outputs);
        push(n);
      }
      const bool leaf = n->cls == &accumulate_class;  // whose stream is the pass' own choice
      return {at->second.grads[i], leaf ? at->second.stream : o.stream};
    }
    push(n);
    n->run = this;
    return {o.grad, o.stream};
  }

  // A gradient of `n`, ready on the current stream, joins those that arrived before.
  void deliver(Node* n, uint32_t i, TensorRef g) {
    const Slot at = slot(n, i);
    if (!g) return;
    if (streams) return deliver_on_stream(*n, n->outputs[i].device, at, std::move(g));
    accumulate(at.sum, std::move(g));
  }
  static void deliver_on_stream(const Node& n, Device d, const Slot& at, TensorRef g) {
    if (!at.sum && n.cls == &accumulate_class) at.stream = stream_of(d);
    bring(*g, d, at.stream);
    if (!at.sum) return void(at.sum = std::move(g));
    StreamScope scope;
    scope.enter(d, at.stream);
    accumulate(at.sum, std::move(g));
    scope.leave();
  }

  // The current streams wait for all others that the pass has used.
  void join() {
    for (const auto& [device, stream] : used) {
      streams->order(device, stream, device, streams->current(device));
    }
    for (size_t i = 0; results && !used.empty() && i < results->size(); ++i) {
      if (Tensor* g = (*results)[i].get()) use_on(*g, stream_of(g->device()));
    }
    used.clear();
  }

  void push(Node* n) {
    heap.push_back({n->sequence, n});
    retain(n);
    if (heap.size() > 1) std::push_heap(heap.begin(), heap.end());
  }

  NodeRef pop() {
    if (heap.size() > 1) std::pop_heap(heap.begin(), heap.end());
    NodeRef n = NodeRef::steal(heap.back().node);
    heap.pop_back();
    return n;
  }

  void drop(Node& n) {  // the gradients that arrived at `n`
    if (n.run == this) {
      n.run = nullptr;
      for (uint32_t i = 0; i < n.n_outputs; ++i) n.outputs[i].grad = nullptr;
    } else if (elsewhere) {
      elsewhere->erase(&n);
    }
  }

  void take(Node& n) {  // moves the gradients that arrived at `n` to `grads`
    TensorRef* to;
    try {
      to = grads.resize(n.n_outputs);
    } catch (...) {
      drop(n);
      throw;
    }
    if (n.run == this) {
      for (uint32_t i = 0; i < n.n_outputs; ++i) to[i] = std::move(n.outputs[i].grad);
      leaf_stream = n.outputs[0].stream;
      n.run = nullptr;
    } else {
      auto at = elsewhere->find(&n);
      std::move(at->second.grads.begin(), at->second.grads.end(), to);
      leaf_stream = at->second.stream;
      elsewhere->erase(at);
    }
  }

  // Finds what leads to the targets. Older nodes come first: a node's edges are decided before it.
  bool skips(Node* n) const { return wanted && !wanted->count(n); }

  void look_for_wanted(uint64_t oldest, const std::vector<Edge>& roots) {
    std::vector<Node*> found, next;
    std::unordered_map<Node*, bool> seen;
    auto see = [&](Node* n) {
      if (n && n->sequence >= oldest && seen.emplace(n, true).second) next.push_back(n);
    };
    for (const Edge& e : roots) see(e.node.get());
    while (!next.empty()) {
      Node* n = next.back();
      next.pop_back();
      found.push_back(n);
      for (uint32_t i = 0; i < n->n_edges; ++i) see(n->edges[i].node.get());
    }
    std::sort(found.begin(), found.end(),
              [](Node* a, Node* b) { return a->sequence < b->sequence; });
    for (Node* n : found) {
      for (uint32_t i = 0; i < n->n_edges; ++i) {
        if (wanted->count(n->edges[i].node.get())) {
          (*wanted)[n].execute = true;
          break;
        }
      }
    }
  }

  // From the first node that a compiled function has recorded, calls are put off.
  void execute() {
    std::optional<Deferral> deferral;
    for (int steps = 1; !heap.empty(); ++steps) {
      NodeRef n = pop();
      if (n->deferred && !deferral) deferral.emplace(true, n->as_graphs);
      take(*n);
      streams ? run_on_streams(*n) : run(*n);
      if (steps % 64 == 0) checked(PyErr_CheckSignals());
    }
    join();
    for (size_t i = 0; i < callbacks.size(); ++i) {  // one may queue another
      Object f = callbacks[i];
      Object done = Object::steal(checked(PyObject_CallNoArgs(f.get())));
    }
    if (deferral) deferral->end();
  }

  void apply_watched(Node& n) {
    AnomalyScope scope(n);
    try {
      n.cls->apply(n, grads.data(), inputs.data());
    } catch (const Error&) {
      report_anomaly(n);
      throw;
    }
    if (anomaly_checks_nan) check_nan(n, inputs.data());
  }

  void run_on_streams(Node& n) {
    const bool leaf = n.cls == &accumulate_class;
    StreamScope scope;
    for (uint32_t i = 0; i < n.n_outputs; ++i) {
      scope.enter(n.outputs[i].device, leaf ? leaf_stream : n.outputs[i].stream);
    }
    if (!scope.moved()) return run(n);
    for (const auto& [device, caller] : scope.before()) {
      const std::pair<int, Stream> here(device, streams->current(device));
      if (std::find(used.begin(), used.end(), here) == used.end()) used.push_back(here);
    }
    const Device d = n.outputs[0].device;
    if (Tensor* grad = leaf ? variable(n).grad : nullptr) crosses(*grad);
    for (uint32_t i = 0; n.hooks && i < n.n_outputs; ++i) {  // what hooks see, others keep
      if (Tensor* g = grads.data()[i].get()) use_on(*g, scope.caller(g->device()));
    }
    run(n);
    if (Tensor* grad = leaf ? variable(n).grad : nullptr) use_on(*grad, scope.caller(d));
    scope.leave();
  }

  void run(Node& n) {
    if (n.hooks) {
      run_tensor_hooks(n, grads.data());
      run_retained(n, grads.data());
    }
    if (wanted) {
      const Wanted& w = (*wanted)[&n];
      for (auto [i, result] : w.captures) {
        if (results) (*results)[result] = grads.data()[i];
      }
      if (!w.execute) return grads.clear();
    }
    if (n.hooks) run_pre_hooks(n, grads.data());
    std::vector<TensorRef> before;  // what the hooks after the node are shown
    if (n.hooks && n.hooks->post) before.assign(grads.data(), grads.data() + n.n_outputs);
    TensorRef* out = inputs.resize(n.n_edges);
    if (modes.anomaly) {
      apply_watched(n);
    } else {
      n.cls->apply(n, grads.data(), out);
    }
    if (!keep_graph && n.cls->release) {
      n.released = true;
      n.cls->release(n);
    }
    if (!before.empty()) run_post_hooks(n, out, before.data());
    before.clear();
    grads.clear();  // what was passed through belongs to the receivers alone
    for (uint32_t i = 0; i < n.n_edges; ++i) {
      Node* next = n.edges[i].node.get();
      TensorRef g = std::move(out[i]);
      if (!next || skips(next)) continue;
      if (g) fit_gradient(g, *next, n.edges[i].slot, n, i);
      deliver(next, n.edges[i].slot, std::move(g));
    }
  }
};

// sum += g, in place where nobody else can see it.
void accumulate(TensorRef& sum, TensorRef g) {
  if (!sum) {
    sum = std::move(g);
    return;
  }
  auto ours = [&](const TensorRef& t) {
    return !modes.grad && unshared(*t) && t->layout->dense && t->sizes() == sum->sizes() &&
           !is_sparse(*t);
  };
  if (dispatches(*g) || dispatches(*sum)) {
    sum = add(*sum, *g);
  } else if (ours(sum)) {
    add_into(*sum, *g);
  } else if (ours(g)) {
    add_into(*g, *sum);
    sum = std::move(g);
  } else {
    sum = add(*sum, *g);
  }
}

// Makes `g` a gradient of that output of `target`: sums over what was broadcast, converts.
void fit_gradient(TensorRef& g, Node& target, uint32_t slot, const Node& from, uint32_t index) {
  NodeOutput& o = target.outputs[slot];
  if (target.cls == &accumulate_class) o.expect(variable(target));  // `set_data` may change it
  if (!o.layout) return;
  if (g->layout != o.layout.get() && g->sizes() != o.layout->sizes()) {
    if (!is_expandable(o.layout->sizes(), g->sizes())) {
      fail(Error::Runtime, "Function ", name_of(from), " returned an invalid gradient at index ",
           index, " - got ", format(g->sizes()), " but expected shape compatible with ",
           format(o.layout->sizes()));
    }
    g = sum_to(*g, o.layout->sizes());
  }
  if (g->dtype != o.dtype) {
    if (!is_differentiable(g->dtype)) {
      fail(Error::Runtime, "Function ", name_of(from), " returned an invalid gradient at index ",
           index, " - got a gradient of dtype ", info(g->dtype).name, " for one of ",
           info(o.dtype).name);
    }
    g = to_dtype(*g, o.dtype);  // of complex numbers the real part
  }
  if (g->device() != o.device && g->device().type != o.device.type) {
    fail(Error::Runtime, "Function ", name_of(from), " returned an invalid gradient at index ",
         index, " - expected device ", o.device.str(), " but got ", g->device().str());
  }
}

namespace {

TensorRef root_gradient(Tensor& root, Tensor* given, int64_t index) {
  if (!given) {
    if (root.numel() != 1) {
      fail(Error::Runtime, "grad can be implicitly created only for scalar outputs");
    }
    if (!is_floating(root.dtype)) {
      fail(Error::Runtime, "grad can be implicitly created only for real scalar outputs but got ",
           info(root.dtype).name);
    }
    return ones_like(root);
  }
  if (given->sizes() != root.sizes()) {
    fail(Error::Runtime, "Mismatch in shape: grad_output[", index, "] has a shape of torch.Size(",
         format(given->sizes()), ") and output[", index, "] has a shape of torch.Size(",
         format(root.sizes()), ").");
  }
  if (is_complex(given->dtype) != is_complex(root.dtype)) {
    fail(Error::Runtime,
         "For complex Tensors, both grad_output and output are required to have the "
         "same dtype. Mismatch in dtype: grad_output[",
         index, "] has a dtype of ", info(given->dtype).name, " and output[", index,
         "] has a dtype of ", info(root.dtype).name, ".");
  }
  return TensorRef(given);
}

struct RecursionGuard {  // a backward in a hook of a backward in a hook ...
  RecursionGuard() { checked(Py_EnterRecursiveCall(" in backward") ? -1 : 0); }
  ~RecursionGuard() { Py_LeaveRecursiveCall(); }
};

}  // namespace

void backward(Span<Tensor*> roots, Span<Tensor*> grads, bool retain_graph, bool create_graph,
              Span<Tensor*> inputs, bool accumulate_grad, std::vector<TensorRef>* results,
              bool allow_unused) {
  RecursionGuard guard;
  std::vector<Edge> starts;
  std::vector<TensorRef> start_grads;
  starts.reserve(roots.size);
  start_grads.reserve(roots.size);
  {
    GradMode on(true);  // views that were written get their nodes
    for (int64_t i = 0; i < roots.size; ++i) {
      starts.push_back(gradient_edge(*roots[i]));
      if (!starts.back().node) {
        fail(Error::Runtime, "element ", i,
             " of tensors does not require grad and does not have a grad_fn");
      }
      TensorRef g = root_gradient(*roots[i], grads.size ? grads[i] : nullptr, i);
      // The tape knows the values of a sparse tensor: the gradient where they are.
      start_grads.push_back(
          is_sparse(*roots[i]) ? ask_sparse_tensor("grad_values", *roots[i], g.get()) : g);
    }
  }
  std::vector<Edge> targets;
  Run run(retain_graph, results);
  if (inputs.size) {
    run.wanted.reset(new std::unordered_map<Node*, Run::Wanted>);
    uint64_t oldest = UINT64_MAX;
    for (int64_t i = 0; i < inputs.size; ++i) {
      GradMode on(true);
      Tensor& t = *inputs[i];
      targets.push_back(gradient_edge(t));
      Node* n = targets.back().node.get();
      if (!n) fail(Error::Runtime, "One of the differentiated Tensors does not require grad");
      Run::Wanted& w = (*run.wanted)[n];
      w.captures.emplace_back(targets.back().slot, i);
      if (accumulate_grad && n->cls == &accumulate_class) w.execute = true;
      oldest = std::min(oldest, n->sequence);
    }
    run.look_for_wanted(oldest, starts);
  }
  if (results) results->assign(inputs.size, TensorRef());

  GradMode mode(create_graph);
  for (size_t i = 0; i < starts.size(); ++i) {
    Node* n = starts[i].node.get();
    if (run.skips(n)) continue;
    TensorRef g = std::move(start_grads[i]);
    fit_gradient(g, *n, starts[i].slot, *n, static_cast<uint32_t>(i));
    run.deliver(n, starts[i].slot, std::move(g));
  }
  run.execute();
  for (size_t i = 0; results && i < results->size(); ++i) {
    TensorRef& g = (*results)[i];
    if (g && is_sparse(*inputs[i])) g = ask_sparse_tensor("with_values", *inputs[i], g.get());
  }
  if (results && !allow_unused) {
    for (size_t i = 0; i < results->size(); ++i) {
      if ((*results)[i]) continue;
      fail(Error::Runtime, "The differentiated Tensor at index ", i,
           " appears to not have been used "
           "in the graph. Set allow_unused=True if this is the desired behavior.");
    }
  }
}

bool wants_only_some() { return current && current->wanted; }

bool wants(Node& n) { return !current->skips(&n); }

uint64_t current_backward() { return current ? current->id : 0; }

void queue_callback(PyObject* f) {
  if (!current) {
    fail(Error::Runtime, "queue_callback: final callbacks can only be installed during backward");
  }
  current->callbacks.push_back(Object(f));
}

}  // namespace taimatsu
