// Anomaly mode: where the forward call of a failing node was, where a NaN came from.
#include <unordered_map>

#include "autograd/tape.h"
#include "ops/sparse.h"
#include "python/tensor_type.h"

namespace taimatsu {

bool anomaly_checks_nan = true;

namespace {

constexpr const char* kTrace = "traceback_";  // in the node's metadata, as PyTorch has it
constexpr const char* kParent = "parent_";    // the node whose backward made this one

// Stacks of in-place writes, while anomaly mode is on. A storage may be gone: its version and its
// writer tell whether the note is still about it.
struct Write {
  uint32_t version;
  const Op* writer;
  std::string stack;
};
constexpr size_t kMaxWrites = 100000;

std::unordered_map<const Storage*, Write>& writes() {
  static auto* all = new std::unordered_map<const Storage*, Write>;
  return *all;
}

thread_local Node* running = nullptr;

PyObject* stack_here() {
  static PyObject* describe = nullptr;
  PyObject* f = python_function(describe, "taimatsu.autograd.anomaly_mode", "_describe_call");
  return checked(PyObject_CallNoArgs(f));
}

CoreOp kIsNan{"isnan"}, kAny{"any"};

}  // namespace

void note_call(Node& n) {
  Object stack = Object::steal(stack_here());
  PyObject* metadata = metadata_of(n);
  checked(PyDict_SetItemString(metadata, kTrace, stack.get()));
  if (running) checked(PyDict_SetItemString(metadata, kParent, &running->ob_base));
}

void note_write(const Storage& s) {
  Object stack = Object::steal(stack_here());
  if (writes().size() >= kMaxWrites) writes().clear();
  writes()[&s] = {s.version, s.writer, to_string(stack.get())};
}

std::string write_note(const Storage& s) {
  auto at = writes().find(&s);
  if (at == writes().end() || at->second.version != s.version || at->second.writer != s.writer) {
    return "";
  }
  return at->second.stack;
}

void report_anomaly(Node& n) {
  PendingError pending;
  std::string text = "Error detected in " + name_of(n) + ".";
  Object metadata(metadata_of(n));
  PyObject* stack = PyDict_GetItemString(metadata.get(), kTrace);
  text += stack
              ? " Traceback of forward call that caused the error:\n" + to_string(stack)
              : " No forward pass information available. Enable detect anomaly during forward pass "
                "for more information.";
  PyObject* parent = PyDict_GetItemString(metadata.get(), kParent);
  if (parent) {
    PyObject* of = PyDict_GetItemString(metadata_of(*as_node(parent)), kTrace);
    text += "\n\nPrevious calculation was induced by " + name_of(*as_node(parent)) + ".";
    if (of)
      text += " Traceback of forward call that induced the previous calculation:\n" + to_string(of);
  }
  if (PyErr_WarnEx(PyExc_UserWarning, text.c_str(), 1) < 0) PyErr_Clear();
}

void check_nan(Node& n, const TensorRef* inputs) {
  GradMode off(false);
  for (uint32_t i = 0; i < n.n_edges; ++i) {
    if (!inputs[i] || inputs[i]->device().type == DeviceType::Meta || is_sparse(*inputs[i]))
      continue;
    TensorRef nan = call1(kIsNan.get(), {Value(inputs[i])});
    if (read_item(*call1(kAny.get(), {Value(nan)})).as_double() == 0) continue;
    report_anomaly(n);
    fail(Error::Runtime, "Function '", name_of(n), "' returned nan values in its ", i,
         "th output.");
  }
}

AnomalyScope::AnomalyScope(Node& n) : before(std::exchange(running, &n)) {}
AnomalyScope::~AnomalyScope() { running = before; }

}  // namespace taimatsu
