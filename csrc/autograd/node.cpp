// Nodes: allocation, deletion without recursion, and what Python sees of them.
#include "autograd/tape.h"

#include <structmember.h>

#include "python/python.h"
#include "tensor/freelist.h"

namespace taimatsu {

PyTypeObject* NodeType;

// ---- Memory -------------------------------------------------------------------------------------

namespace {

constexpr size_t kPoolStep = 32, kPoolLimit = 512;
constexpr int kPoolKept = 4096;  // blocks of one size
FreeList<> pools[kPoolLimit / kPoolStep];
// The link lies behind the object's header, which Python's allocator owns.
FreeList<sizeof(PyObject)> nodes;

}  // namespace

uint64_t last_sequence = 0;

void* pool_take(size_t bytes) {
  const size_t i = (bytes + kPoolStep - 1) / kPoolStep;
  if (i >= kPoolLimit / kPoolStep) return ::operator new(bytes);
  void* block = pools[i].pop();
  return block ? block : ::operator new(i * kPoolStep);
}

void pool_give(void* p, size_t bytes) {
  const size_t i = (bytes + kPoolStep - 1) / kPoolStep;
  if (!kFreeLists || i >= kPoolLimit / kPoolStep || pools[i].size() >= kPoolKept) {
    ::operator delete(p);
  } else {
    pools[i].push(p);
  }
}

NodeRef new_node(PyTypeObject* type, const NodeClass* cls, uint32_t n_edges, uint32_t n_outputs) {
  Node* n = static_cast<Node*>(nodes.pop());
  if (n) {
    PyObject_Init(&n->ob_base, type);
  } else {
    n = PyObject_GC_New(Node, type);
    if (!n) python_error();
  }
  init_node(*n, cls);
  n->pooled = true;
  set_shape(*n, n_edges, n_outputs);
  PyObject_GC_Track(n);
  return NodeRef::steal(n);
}

void set_history(Tensor& t, Node* n, uint32_t slot) {
  retain(n);
  Node* before = std::exchange(t.node, n);
  t.output_index = static_cast<uint16_t>(slot);
  if (t.base) t.node_version = t.storage->version;
  track(&t);
  if (before) release(before);
}

namespace {

void clear_edges(Node& n) {
  Edge* edges = n.edges;
  const uint32_t count = std::exchange(n.n_edges, 0);
  n.edges = n.inline_edges;
  for (uint32_t i = 0; i < count; ++i) edges[i].~Edge();
  if (edges != n.inline_edges) pool_give(edges, count * sizeof(Edge));
}

void clear_outputs(Node& n) {
  NodeOutput* outputs = n.outputs;
  const uint32_t count = std::exchange(n.n_outputs, 0);
  n.outputs = &n.inline_output;
  for (uint32_t i = 0; i < count; ++i) outputs[i].~NodeOutput();
  if (outputs != &n.inline_output) pool_give(outputs, count * sizeof(NodeOutput));
}

void destroy(Node* n) {
  if (n->weakrefs) PyObject_ClearWeakRefs(&n->ob_base);
  if (n->cls->destroy) n->cls->destroy(*n);
  delete std::exchange(n->hooks, nullptr);
  clear_edges(*n);
  clear_outputs(*n);
  Py_CLEAR(n->dict);
  PyTypeObject* type = Py_TYPE(&n->ob_base);
  if (kFreeLists && n->pooled && nodes.size() < kPoolKept) {
    nodes.push(n);
  } else {
    PyObject_GC_Del(n);
  }
  Py_DECREF(type);
}

// Nodes whose last reference went while another was being destroyed: a graph of any depth is freed
// by this loop, never by recursion. The link is the field of the backward passes, idle by now.
thread_local Node* doomed = nullptr;
thread_local bool destroying = false;

void dealloc(PyObject* self) {
  Node* n = as_node(self);
  PyObject_GC_UnTrack(self);
  if (n->cls == &accumulate_class) forget_accumulator(*n);
  n->run = reinterpret_cast<Run*>(doomed);
  doomed = n;
  if (destroying) return;
  destroying = true;
  while (doomed) {
    Node* next = doomed;
    doomed = reinterpret_cast<Node*>(next->run);
    destroy(next);
  }
  destroying = false;
}

int traverse(PyObject* self, visitproc visit, void* arg) {
  Node* n = as_node(self);
  Py_VISIT(Py_TYPE(self));
  Py_VISIT(n->dict);
  for (uint32_t i = 0; i < n->n_edges; ++i) Py_VISIT(n->edges[i].node.get());
  if (n->hooks) {
    if (int r = traverse_hooks(*n, visit, arg)) return r;
  }
  return n->cls->traverse ? n->cls->traverse(*n, visit, arg) : 0;
}

int clear(PyObject* self) {
  Node* n = as_node(self);
  if (n->cls->release) n->cls->release(*n);
  n->released = true;
  delete std::exchange(n->hooks, nullptr);
  for (uint32_t i = 0; i < n->n_edges; ++i) n->edges[i].node = nullptr;
  Py_CLEAR(n->dict);
  return 0;
}

// ---- What Python sees ---------------------------------------------------------------------------

PyObject* repr(PyObject* self) {
  return guard([&] {
    return PyUnicode_FromFormat("<%s object at %p>", name_of(*as_node(self)).c_str(), self);
  });
}

PyObject* get_name(PyObject* self, PyObject*) {
  return guard([&] { return PyUnicode_FromString(name_of(*as_node(self)).c_str()); });
}

PyObject* get_next_functions(PyObject* self, void*) {
  return guard([&] {
    Node* n = as_node(self);
    Object tuple = Object::steal(checked(PyTuple_New(n->n_edges)));
    for (uint32_t i = 0; i < n->n_edges; ++i) {
      Node* next = n->edges[i].node.get();
      checked(PyTuple_SetItem(
          tuple.get(), i,
          checked(Py_BuildValue("(OI)", next ? &next->ob_base : Py_None, n->edges[i].slot))));
    }
    return tuple.leak();
  });
}

PyObject* get_metadata(PyObject* self, void*) {
  return guard([&] { return new_ref(metadata_of(*as_node(self))); });
}

PyObject* get_requires_grad(PyObject*, void*) { Py_RETURN_TRUE; }

PyObject* get_sequence(PyObject* self, PyObject*) {
  return PyLong_FromUnsignedLongLong(as_node(self)->sequence);
}

// (sizes, dtype, device) of each output of the recorded call.
PyObject* get_input_metadata(PyObject* self, void*) {
  return guard([&] {
    Node* n = as_node(self);
    Object list = Object::steal(checked(PyList_New(n->n_outputs)));
    for (uint32_t i = 0; i < n->n_outputs; ++i) {
      NodeOutput& o = n->outputs[i];
      PyObject* item = Py_None;
      Py_INCREF(item);
      if (o.layout) {
        Py_DECREF(item);
        item = checked(Py_BuildValue("(NON)", size_object(o.layout->sizes()), dtype_object(o.dtype),
                                     device_object(o.device)));
      }
      checked(PyList_SetItem(list.get(), i, item));
    }
    return list.leak();
  });
}

PyObject* register_hook(PyObject* self, PyObject* hook) {
  return guard([&] { return add_post_hook(*as_node(self), hook); });
}
PyObject* register_prehook(PyObject* self, PyObject* hook) {
  return guard([&] { return add_pre_hook(*as_node(self), hook); });
}

PyMethodDef methods[] = {
    {"name", get_name, METH_NOARGS, "name() -> str\n\nThe name of the node, e.g. 'MulBackward0'."},
    {"register_hook", register_hook, METH_O,
     "register_hook(fn) -> RemovableHandle\n\n"
     "Calls fn(grad_inputs, grad_outputs) after the node ran in a backward pass. Both are tuples\n"
     "with None for absent gradients; a tuple that fn returns replaces grad_inputs."},
    {"register_prehook", register_prehook, METH_O,
     "register_prehook(fn) -> RemovableHandle\n\n"
     "Calls fn(grad_outputs) before the node runs; a tuple that fn returns replaces them."},
    {"_sequence_nr", get_sequence, METH_NOARGS, "_sequence_nr() -> int\n\nThe order of creation."},
    {},
};

PyGetSetDef getters[] = {
    {"next_functions", get_next_functions, nullptr,
     "((node, index), ...): where the gradients go, one for each input that requires grad.",
     nullptr},
    {"metadata", get_metadata, nullptr, "A dict for the user's own notes on the node.", nullptr},
    {"requires_grad", get_requires_grad, nullptr, "True.", nullptr},
    {"_input_metadata", get_input_metadata, nullptr,
     "(sizes, dtype, device) of each output of the recorded call.", nullptr},
    {"__dict__", PyObject_GenericGetDict, PyObject_GenericSetDict, nullptr, nullptr},
    {},
};

PyMemberDef members[] = {
    {"__dictoffset__", T_PYSSIZET, offsetof(Node, dict), READONLY, nullptr},
    {"__weaklistoffset__", T_PYSSIZET, offsetof(Node, weakrefs), READONLY, nullptr},
    {},
};

}  // namespace

std::string name_of(const Node& n) { return type_name(const_cast<PyObject*>(&n.ob_base)); }

PyTypeObject* new_node_type(const std::string& name, const PyType_Slot* more, PyTypeObject* base) {
  std::vector<PyType_Slot> slots = {
      {Py_tp_dealloc, slot(dealloc)}, {Py_tp_traverse, slot(traverse)}, {Py_tp_clear, slot(clear)}};
  if (!base) {
    base = NodeType;
    if (!base) {
      slots.insert(slots.end(), {{Py_tp_repr, slot(repr)},
                                 {Py_tp_methods, methods},
                                 {Py_tp_getset, getters},
                                 {Py_tp_members, members},
                                 {Py_tp_doc, const_cast<char*>("A recorded call on the tape.")}});
    }
  }
  unsigned flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_BASETYPE;
  bool constructible = false;
  for (; more && more->slot; ++more) {
    constructible |= more->slot == Py_tp_new;
    slots.push_back(*more);
  }
  if (!constructible) flags |= Py_TPFLAGS_DISALLOW_INSTANTIATION;
  slots.push_back({0, nullptr});
  std::string full = "taimatsu._core." + name;
  // Types keep a pointer to the name where Python is older than 3.12; they live as long as we do.
  PyType_Spec spec = {strdup(full.c_str()), sizeof(Node), 0, flags, slots.data()};
  Object bases;
  if (base) bases = Object::steal(checked(PyTuple_Pack(1, base)));
  return reinterpret_cast<PyTypeObject*>(checked(PyType_FromSpecWithBases(&spec, bases.get())));
}

}  // namespace taimatsu
