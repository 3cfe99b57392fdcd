// Gradients of views, and in-place writes: what may be written, and what becomes of history.
//
// A write to a view is a function of its base: base' = base with the view's place replaced. So the
// base gets a node CopySlices(base, written view), and the view, read again, becomes a view of the
// new base. Which views there are need not be known: each compares the version of the storage that
// its node belongs to with the current one, and makes a new node when they differ.
#include <algorithm>
#include <numeric>

#include "autograd/tape.h"
#include "ops/dispatch.h"
#include "ops/launch.h"
#include "ops/sparse.h"
#include "python/tensor_type.h"

namespace taimatsu {
namespace {

// ---- Windows ------------------------------------------------------------------------------------

// The coordinates in `l` of the element `delta` elements from its first, or false.
bool coordinates(const Layout& l, Span<int> by_stride, int64_t delta, int64_t* out) {
  std::fill(out, out + l.ndim, 0);
  if (delta < 0) return false;
  for (int d : by_stride) {
    if (l.size(d) <= 1 || l.stride(d) <= 0) continue;
    out[d] = std::min(delta / l.stride(d), l.size(d) - 1);
    delta -= out[d] * l.stride(d);
  }
  return delta == 0;
}

// `part` as a layout of the memory of a dense tensor with the sizes of `whole`. Each step along a
// dim of the part is a step by whole coordinates; null if it isn't.
LayoutRef part_of_dense(const Layout& whole, const Layout& part, const Layout& dense) {
  std::vector<int> by_stride(whole.ndim);
  std::iota(by_stride.begin(), by_stride.end(), 0);
  std::stable_sort(by_stride.begin(), by_stride.end(),
                   [&](int a, int b) { return whole.stride(a) > whole.stride(b); });
  int64_t first[kMaxDims], step[kMaxDims], low[kMaxDims], high[kMaxDims];
  const int64_t delta = part.offset - whole.offset;
  if (!coordinates(whole, by_stride, delta, first)) return nullptr;
  std::copy(first, first + whole.ndim, low);
  std::copy(first, first + whole.ndim, high);
  std::vector<int64_t> strides(part.ndim, 0);
  for (int k = 0; k < part.ndim; ++k) {
    if (part.size(k) <= 1) continue;
    if (!coordinates(whole, by_stride, delta + part.stride(k), step)) return nullptr;
    for (int d = 0; d < whole.ndim; ++d) {
      const int64_t each = step[d] - first[d];
      (each < 0 ? low : high)[d] += each * (part.size(k) - 1);
      strides[k] += each * dense.stride(d);
    }
  }
  int64_t offset = dense.offset;
  for (int d = 0; d < whole.ndim; ++d) {
    if (whole.numel && (low[d] < 0 || high[d] >= whole.size(d))) return nullptr;
    offset += first[d] * dense.stride(d);
  }
  return intern(part.sizes(), strides, offset);
}

// Where the window lies in memory of its own: layouts of the whole and of the part in it, and how
// many elements (of the whole's dtype) the memory has.
struct Placement {
  LayoutRef whole, part;
  int64_t elements;
};

Placement place(const Window& w) {
  const Layout& whole = *w.whole;
  LayoutRef dense = whole.dense ? dense_layout_like(whole) : contiguous_layout(whole.sizes());
  if (w.whole_dtype == w.part_dtype) {
    if (LayoutRef part = part_of_dense(whole, *w.part, *dense)) return {dense, part, whole.numel};
  }
  // Overlapping or reinterpreted memory: a copy of all that the two layouts reach.
  const int64_t whole_item = itemsize(w.whole_dtype), part_item = itemsize(w.part_dtype);
  auto a = reach(whole), b = reach(*w.part);
  int64_t first = std::min(a.first, b.first * part_item / whole_item);
  int64_t last = std::max(a.second, ((b.second + 1) * part_item + whole_item - 1) / whole_item - 1);
  return {
      intern(whole.sizes(), whole.strides(), whole.offset - first),
      intern(w.part->sizes(), w.part->strides(), w.part->offset - first * whole_item / part_item),
      last - first + 1};
}

// to += g, where elements of `to` may be the same memory: along dims that overlap, one by one.
void add_overlapping(Tensor& to, Tensor& g) {
  if (!overlaps_itself(*to.layout)) return add_into(to, g);
  int dim = 0;  // the shortest dim along which there is something to separate
  for (int d = 0; d < to.ndim(); ++d) {
    int64_t size = to.layout->size(d), best = to.layout->size(dim);
    if (size > 1 && (best <= 1 || size < best)) dim = d;
  }
  auto slice = [&](Tensor& t, int64_t i) {
    std::vector<int64_t> sizes(t.sizes().begin(), t.sizes().end());
    std::vector<int64_t> strides(t.strides().begin(), t.strides().end());
    const int64_t offset = t.layout->offset + i * strides[dim];
    sizes.erase(sizes.begin() + dim);
    strides.erase(strides.begin() + dim);
    return alias(t, intern(sizes, strides, offset).get());
  };
  for (int64_t i = 0; i < to.layout->size(dim); ++i) {
    add_overlapping(*slice(to, i), *slice(g, i));
  }
}

Window window(const Tensor& whole, const Tensor& part) {
  return {LayoutRef(whole.layout), LayoutRef(part.layout), whole.dtype, part.dtype};
}

// ---- Nodes of windows ---------------------------------------------------------------------------

Window& window_of(Node& n) { return *static_cast<Window*>(n.payload); }
void destroy_window(Node& n) { delete static_cast<Window*>(std::exchange(n.payload, nullptr)); }

void apply_extract(Node& n, TensorRef* grads, TensorRef* inputs) {
  if (grads[0]) inputs[0] = embed(*grads[0], window_of(n));
}
void apply_embed(Node& n, TensorRef* grads, TensorRef* inputs) {
  if (grads[0]) inputs[0] = extract(*grads[0], window_of(n));
}
const NodeClass extract_class = {apply_extract, nullptr, nullptr, destroy_window};
const NodeClass embed_class = {apply_embed, nullptr, nullptr, destroy_window};

NodeRef window_node(PyTypeObject* type, const NodeClass& cls, const Window& w, Edge edge,
                    const Tensor& out) {
  NodeRef n = new_node(type, &cls, 1, 1);
  n->payload = new Window(w);
  n->edges[0] = std::move(edge);
  n->outputs[0].describe(out);
  stamp(*n);
  return n;
}

PyTypeObject* as_strided_type() {
  static PyTypeObject* type = new_node_type("AsStridedBackward0");
  return type;
}

// The gradient of what a write left as it was: zero in the window.
TensorRef punch(Tensor& g, const Window& w);
void apply_punch(Node& n, TensorRef* grads, TensorRef* inputs) {
  if (grads[0]) inputs[0] = punch(*grads[0], window_of(n));
}
const NodeClass punch_class = {apply_punch, nullptr, nullptr, destroy_window};

// A tensor in memory of its own with the sizes of the window's whole; `part` lies in it.
TensorRef placed(const Window& w, Device d, TensorRef& part) {
  Placement at = place(w);
  Ref<Storage> memory = new_storage(at.elements * itemsize(w.whole_dtype), d);
  part = make_tensor(memory.get(), at.part.get(), w.part_dtype);
  return make_tensor(memory.get(), at.whole.get(), w.whole_dtype);
}

CoreOp kAsStrided{"as_strided"}, kNewZeros{"new_zeros"}, kCopy{"copy_"};

// The same by ops, for tensors whose class carries them out. The part that the window shows.
TensorRef shown_by_ops(Tensor& whole, const Window& w) {
  const Placement at = place(w);
  if (w.whole_dtype != w.part_dtype || whole.strides() != at.whole->strides()) {
    fail(Error::NotImplemented, "the gradient of this view of a ", type_name(whole.object()),
         " is not known; use reshape() or clone()");
  }
  return call1(kAsStrided.get(), {Value(&whole), Value(at.part->sizes()), Value(at.part->strides()),
                                  Value::of_int(at.part->offset)});
}
TensorRef dense_by_ops(Tensor& t, const Window& w) {
  const Placement at = place(w);
  TensorRef whole = call1(kNewZeros.get(), {Value(&t), Value(at.whole->sizes())});
  return whole->strides() == at.whole->strides()
             ? whole
             : call1(kAsStrided.get(), {Value(whole), Value(at.whole->sizes()),
                                        Value(at.whole->strides()), Value::of_int(0)});
}
TensorRef embed_by_ops(Tensor& g, const Window& w) {
  TensorRef whole = dense_by_ops(g, w);
  TensorRef part = shown_by_ops(*whole, w);
  if (overlaps_itself(*part->layout)) {
    fail(Error::NotImplemented, "the gradient of a view of a ", type_name(g.object()),
         " whose elements overlap is not known; clone() it first");
  }
  call1(kCopy.get(), {Value(part), Value(&g)});
  return whole;
}
TensorRef punch_by_ops(Tensor& g, const Window& w) {
  TensorRef rest = dense_by_ops(g, w);
  call1(kCopy.get(), {Value(rest), Value(&g)});
  TensorRef hole = shown_by_ops(*rest, w);
  static CoreOp zero{"zero_"};
  call1(zero.get(), {Value(hole)});
  return rest;
}
TensorRef extract_by_ops(Tensor& t, const Window& w) {
  TensorRef whole = dense_by_ops(t, w);
  call1(kCopy.get(), {Value(whole), Value(&t)});
  return shown_by_ops(*whole, w);
}

TensorRef punch(Tensor& g, const Window& w) {
  if (dispatches(g)) return punch_by_ops(g, w);
  TensorRef hole, rest = placed(w, g.device(), hole);
  copy_into(*rest, g);
  fill(*hole, Number::integer(0));
  if (Edge e = modes.grad ? gradient_edge(g) : Edge(); e.node) {
    static PyTypeObject* type = new_node_type("CopySlicesBackward0");
    set_history(*rest, window_node(type, punch_class, w, std::move(e), *rest).get(), 0);
  }
  return rest;
}

// CopySlices: (the base before, the view after its write) -> the base after.
void apply_copy_slices(Node& n, TensorRef* grads, TensorRef* inputs) {
  if (!grads[0]) return;
  if (n.edges[0].node) inputs[0] = punch(*grads[0], window_of(n));
  if (n.edges[1].node) inputs[1] = extract(*grads[0], window_of(n));
}
const NodeClass copy_slices_class = {apply_copy_slices, nullptr, nullptr, destroy_window};

// ---- Nodes of view ops --------------------------------------------------------------------------

struct View : Pooled {
  View(Window w, ViewRoutine::Inverse i) : window(std::move(w)), inverse(i) {}
  Window window;
  ViewRoutine::Inverse inverse;
  std::vector<int64_t> dims;  // of a permutation that sizes and strides don't tell
};

CoreOp kReshape{"reshape"}, kPermute{"permute"};

TensorRef reshaped(Tensor& g, Ints sizes) {
  if (g.sizes() == sizes) return TensorRef(&g);
  if (modes.grad || !g.layout->contiguous || dispatches(g)) {
    return call1(kReshape.get(), {Value(&g), Value(sizes)});
  }
  LayoutRef layout = contiguous_layout(sizes);
  if (g.layout->offset) layout = intern(sizes, layout->strides(), g.layout->offset);
  return alias(g, layout.get());
}

bool same_dims(const Layout& l, int a, int b) {
  return l.size(a) == l.size(b) && l.stride(a) == l.stride(b);
}

// Which dim of `whole` each dim of its permutation `part` is.
std::vector<int64_t> permutation(const Layout& whole, const Layout& part) {
  std::vector<int64_t> dims(part.ndim);
  bool used[kMaxDims] = {false};
  for (int i = 0; i < part.ndim; ++i) {
    int d = 0;
    while (used[d] || whole.size(d) != part.size(i) || whole.stride(d) != part.stride(i)) ++d;
    used[d] = true;
    dims[i] = d;
  }
  return dims;
}

bool ambiguous(const Layout& whole) {
  for (int a = 0; a < whole.ndim; ++a) {
    for (int b = 0; b < a; ++b) {
      if (whole.size(a) > 1 && same_dims(whole, a, b)) return true;
    }
  }
  return false;
}

// The permutation that the op makes of a tensor whose strides name its dims.
std::vector<int64_t> traced_permutation(const Op& op, Tensor& self, const Value* args) {
  std::vector<int64_t> names(self.ndim());
  std::iota(names.begin(), names.end(), 0);
  TensorRef named = alias(self, intern(self.sizes(), names).get());
  LayoutRef result = op.view->layout(*named, args);
  return {result->strides().begin(), result->strides().end()};
}

TensorRef permuted_back(Tensor& g, const View& v) {
  const Layout& whole = *v.window.whole;
  std::vector<int64_t> dims = v.dims.empty() ? permutation(whole, *v.window.part) : v.dims;
  std::vector<int64_t> inverse(dims.size());
  for (size_t i = 0; i < dims.size(); ++i) inverse[dims[i]] = static_cast<int64_t>(i);
  static CoreOp transpose{"t"};
  if (dispatches(g) && inverse == std::vector<int64_t>{1, 0}) {
    return call1(transpose.get(), {Value(&g)});
  }
  if (modes.grad || dispatches(g)) {
    return call1(kPermute.get(), {Value(&g), Value(Ints(inverse))});
  }
  std::vector<int64_t> strides(inverse.size());
  for (size_t i = 0; i < inverse.size(); ++i) {
    strides[i] = g.layout->stride(static_cast<int>(inverse[i]));
  }
  return alias(g, intern(whole.sizes(), strides, g.layout->offset).get());
}

// Whether elements of `self` are the same memory, so that layouts don't tell which of them a view
// shows. (`as_strided` is about memory itself.)
bool ambiguous_elements(const Op& op, const Tensor& self) {
  return op.view->inverse == ViewRoutine::Embed && overlaps_itself(*self.layout) &&
         op.base_name != "as_strided";
}

// Then the layouts of a stand-in whose elements lie apart do: the windows of the op's outputs in
// it.
std::vector<Window> windows_apart(const Op& op, Tensor& self, const Value* args,
                                  const Tensors& outs) {
  LayoutRef whole = contiguous_layout(self.sizes());
  TensorRef apart = alias(self, whole.get());
  std::vector<LayoutRef> parts;
  if (op.view->layouts) {
    op.view->layouts(*apart, args, parts);
  } else {
    parts.push_back(op.view->layout(*apart, args));
  }
  std::vector<Window> found;
  for (int i = 0; i < outs.size(); ++i) {
    found.push_back({whole, parts[i], self.dtype, outs[i]->dtype});
  }
  return found;
}

View& view_of(Node& n) { return *static_cast<View*>(n.payload); }
void destroy_view(Node& n) { delete static_cast<View*>(std::exchange(n.payload, nullptr)); }

void apply_view(Node& n, TensorRef* grads, TensorRef* inputs) {
  if (!grads[0]) return;
  const View& v = view_of(n);
  switch (v.inverse) {
    case ViewRoutine::Embed: inputs[0] = embed(*grads[0], v.window); break;
    case ViewRoutine::Reshape: inputs[0] = reshaped(*grads[0], v.window.whole->sizes()); break;
    case ViewRoutine::Permute: inputs[0] = permuted_back(*grads[0], v); break;
    case ViewRoutine::SumTo: inputs[0] = sum_to(*grads[0], v.window.whole->sizes()); break;
    case ViewRoutine::None: break;  // never recorded
  }
}
const NodeClass view_class = {apply_view, nullptr, nullptr, destroy_view};

// Several views of one tensor (split, unbind): their gradients go into one memory.
using Views = std::vector<Window>;
void destroy_views(Node& n) { delete static_cast<Views*>(std::exchange(n.payload, nullptr)); }

void apply_views(Node& n, TensorRef* grads, TensorRef* inputs) {
  const Views& views = *static_cast<Views*>(n.payload);
  TensorRef whole;
  bool by_ops = modes.grad;
  for (size_t i = 0; i < views.size(); ++i) by_ops |= grads[i] && dispatches(*grads[i]);
  if (by_ops) {
    for (size_t i = 0; i < views.size(); ++i) {
      if (grads[i]) accumulate(whole, embed(*grads[i], views[i]));
    }
    inputs[0] = whole;
    return;
  }
  std::vector<LayoutRef> parts(views.size());
  int64_t covered = 0;
  bool apart = true;  // no two parts share elements: memory may overlap itself
  for (size_t i = 0; i < views.size(); ++i) {
    if (!grads[i]) continue;
    if (!whole) {
      whole =
          empty(dense_layout_like(*views[i].whole).get(), views[i].whole_dtype, grads[i]->device());
    }
    parts[i] = part_of_dense(*views[i].whole, *views[i].part, *whole->layout);
    if (parts[i]) {
      covered += parts[i]->numel;
    } else if (views[i].part->numel) {
      apart = false;
    }
  }
  if (whole && !(apart && covered == whole->numel())) fill(*whole, Number::integer(0));
  for (size_t i = 0; i < views.size(); ++i) {
    if (!grads[i] || grads[i]->numel() == 0) continue;
    if (apart) {
      copy_into(*alias(*whole, parts[i].get()), *grads[i]);
    } else {
      add_into(*whole, *embed(*grads[i], views[i]));
    }
  }
  inputs[0] = whole;
}
const NodeClass views_class = {apply_views, nullptr, nullptr, destroy_views};

// ---- Refusals -----------------------------------------------------------------------------------

// Throws if `t` is a view that in-place writes can't be differentiated through. `indirect`: not the
// view is written, but its base was.
void check_origin(const Tensor& t, bool indirect) {
  if (t.view_origin == ViewOrigin::Usual) return;
  const char* what = indirect ? "its base or another view of its base has been" : "is being";
  if (t.view_origin == ViewOrigin::NoGrad) {
    fail(Error::Runtime, "A view was created in no_grad mode and ", what,
         " modified inplace with "
         "grad mode enabled. Given that this use case is ambiguous and error-prone, it is "
         "forbidden. You can clarify your code by moving both the view and the inplace either both "
         "inside the no_grad block (if you don't want the inplace to be tracked) or both outside "
         "(if you want the inplace to be tracked).");
  }
  if (t.view_origin == ViewOrigin::Inference) {
    fail(Error::Runtime, "A view was created in inference mode and ", what,
         " modified inplace in "
         "normal mode. Make the view outside of inference mode, or clone() it first.");
  }
  std::string head = t.node ? concat("Output ", t.output_index, " of ", name_of(*t.node),
                                     " is a view and ", what, " modified inplace. ")
                            : concat("A view ", what, " modified inplace. ");
  if (t.view_origin == ViewOrigin::OneOfSeveral) {
    fail(Error::Runtime, head,
         "This view is the output of a function that returns multiple views. "
         "Such functions do not allow the output views to be modified inplace. You should replace "
         "the inplace operation by an out-of-place one.");
  }
  fail(Error::Runtime, head,
       "This view was created inside a custom Function (or because an input "
       "was returned as-is) and the autograd logic to handle view+inplace would override the "
       "custom backward associated with the custom Function, leading to incorrect gradients. This "
       "behavior is forbidden. You can fix this by cloning the output of the custom Function.");
}

}  // namespace

// All elements of the tensor's memory become zero.
static void clear_memory(Tensor& t) {
  const int64_t elements = static_cast<int64_t>(t.storage->nbytes) / itemsize(t.dtype);
  fill(*alias(t, contiguous_layout(Ints(&elements, 1)).get()), Number::integer(0));
}

TensorRef embed(Tensor& g, const Window& w) {
  if (dispatches(g)) return embed_by_ops(g, w);
  TensorRef part, whole = placed(w, g.device(), part);
  const bool overlaps = overlaps_itself(*part->layout);
  const size_t bytes = static_cast<size_t>(part->numel() * itemsize(w.part_dtype));
  if (overlaps || bytes != whole->storage->nbytes) {
    clear_memory(*whole);
  }
  overlaps ? add_overlapping(*part, g) : copy_into(*part, g);
  if (Edge e = modes.grad ? gradient_edge(g) : Edge(); e.node) {
    static PyTypeObject* type = new_node_type("EmbedBackward0");
    set_history(*whole, window_node(type, embed_class, w, std::move(e), *whole).get(), 0);
  }
  return whole;
}

TensorRef extract(Tensor& t, const Window& w) {
  if (dispatches(t)) return extract_by_ops(t, w);
  Placement at = place(w);
  // A view that was given other sizes, or other memory, may reach beyond the whole.
  const auto [first, last] = reach(*at.whole);
  const bool inside = first == 0 && last == at.elements - 1;
  const bool in_place = inside && t.strides() == at.whole->strides();
  TensorRef part, source(&t);
  if (in_place) {
    const int64_t shift =
        (t.layout->offset - at.whole->offset) * itemsize(w.whole_dtype) / itemsize(w.part_dtype);
    part = make_tensor(t.storage,
                       intern(at.part->sizes(), at.part->strides(), at.part->offset + shift).get(),
                       w.part_dtype);
  } else {
    source = placed(w, t.device(), part);
    if (!inside) clear_memory(*source);
    copy_into(*source, t);
  }
  if (Edge e = modes.grad ? gradient_edge(t) : Edge(); e.node) {
    if (in_place) part = clone(*part);  // memory of its own: nothing may write through it to `t`
    NodeRef n = window_node(as_strided_type(), extract_class, w, std::move(e), *part);
    set_history(*part, n.get(), 0);
  }
  return part;
}

// ---- History ------------------------------------------------------------------------------------

void record_view(Op& op, const Value* args, Tensors& outs) {
  Tensor& self = args[0].t();
  const bool several = op.view->layouts != nullptr;
  Tensor* base = self.base ? self.base : &self;
  ViewOrigin origin = modes.inference ? ViewOrigin::Inference
                      : !modes.grad   ? ViewOrigin::NoGrad
                      : several       ? ViewOrigin::OneOfSeveral
                                      : self.view_origin;
  const bool history = modes.grad && !self.inference && requires_grad(self);
  NodeRef n;
  std::vector<Window> apart;
  if (history && ambiguous_elements(op, self)) apart = windows_apart(op, self, args, outs);
  auto shown = [&](int i) { return apart.empty() ? window(self, *outs[i]) : std::move(apart[i]); };
  for (int i = 0; i < outs.size(); ++i) {
    Tensor& out = *outs[i];
    if (self.inference) {
      out.inference = true;
      continue;
    }
    if (op.view->inverse == ViewRoutine::None) continue;
    retain(base);
    out.base = base;
    out.view_origin = origin;
    out.node_version = out.storage->version;
    track(&out);
    if (!history || !is_differentiable(out.dtype)) continue;
    if (several) {
      if (!n) {
        n = new_node(node_type_of(op), &views_class, 1, outs.size());
        n->payload = new Views;
        n->edges[0] = gradient_edge(self);
        stamp(*n);
      }
      static_cast<Views*>(n->payload)->push_back(shown(i));
    } else {
      n = new_node(node_type_of(op), &view_class, 1, 1);
      auto* v = new View(shown(i), op.view->inverse);
      n->payload = v;
      if (v->inverse == ViewRoutine::Permute && ambiguous(*self.layout)) {
        v->dims = traced_permutation(op, self, args);
      }
      n->edges[0] = gradient_edge(self);
      stamp(*n);
    }
    n->outputs[i].describe(out);
    set_history(out, n.get(), i);
  }
}

Node* refreshed_grad_fn(Tensor& t) {
  Tensor& base = *t.base;
  if (!modes.grad || !is_differentiable(t.dtype)) return t.node;
  if (!t.node && !requires_grad(base)) return nullptr;
  check_origin(t, true);
  Edge e = gradient_edge(base);
  if (!e.node) {  // the base was detached meanwhile
    t.node_version = t.storage->version;
    return t.node;
  }
  NodeRef n = window_node(as_strided_type(), extract_class, window(base, t), std::move(e), t);
  set_history(t, n.get(), 0);
  return t.node;
}

Edge gradient_edge(Tensor& t) {
  if (is_sparse(t)) return gradient_edge(*ask_sparse_tensor("_values", t));
  if (Node* n = grad_fn(t)) return {NodeRef(n), t.output_index};
  if (t.requires_grad) return {accumulator(t), 0};
  return {};
}

void check_inplace(const Op&, Tensor& t, uint64_t mask) {
  if (t.inference && !modes.inference) {
    fail(Error::Runtime,
         "Inplace update to inference tensor outside InferenceMode is not allowed. "
         "You can make a clone to get a normal tensor before doing inplace update.");
  }
  if (!modes.grad || !is_differentiable(t.dtype)) return;
  if (t.base && (mask || requires_grad(*t.base))) {
    check_origin(t, false);
    if (t.base->requires_grad) {
      fail(Error::Runtime,
           "a view of a leaf Variable that requires grad is being used in an in-place operation.");
    }
  }
  if (t.requires_grad) {
    fail(Error::Runtime,
         "a leaf Variable that requires grad is being used in an in-place operation.");
  }
}

void rebase_view(Tensor& view, Edge written) {
  static PyTypeObject* type = new_node_type("CopySlices");
  Tensor& base = *view.base;
  NodeRef n = new_node(type, &copy_slices_class, 2, 1);
  n->payload = new Window(window(base, view));
  n->edges[0] = gradient_edge(base);
  n->edges[1] = std::move(written);
  n->outputs[0].describe(base);
  stamp(*n);
  leave_hooks(base, base.node, *n, 0);
  set_history(base, n.get(), 0);
  // The view is now one of the new base: it gets the node for that when it is used.
  NodeRef before = NodeRef::steal(std::exchange(view.node, nullptr));
  view.node_version = view.storage->version - 1;
  if (view.extra) {
    if (Node* now = grad_fn(view)) leave_hooks(view, before.get(), *now, 0);
  }
}

}  // namespace taimatsu
