#include "cuda/module.h"

#include <algorithm>
#include <memory>

#include "cuda/allocator.h"
#include "cuda/grid.h"
#include "cuda/recording.h"
#include "cuda/stream.h"
#include "ops/launch.h"

namespace taimatsu::cuda {
namespace {

constexpr int kLogBytes = 8192;

struct GpuKernel {
  std::string name, finish_name, image;
  std::vector<int64_t> formula;  // of the grid
  int64_t lengths[3];            // of the arguments: operands, geometry, scalars
  Function run = nullptr, finish = nullptr;
  int64_t multiprocessors;
  const Op* op = nullptr;  // the last one that launched it, and where it reports
  int32_t* report = nullptr;
};

// Where the kernels of an op report what the CPU's return (csrc/ops/op.h): words in host memory
// that the devices write to, looked at when the host has waited for them.
class Reports {
 public:
  int32_t* of(const Op* op) {
    auto found = std::find(ops_.begin(), ops_.end(), op);
    if (found == ops_.end()) {
      if (ops_.size() == kWords) return words_;  // the first speaks for all further ones
      if (!words_) allocate();
      ops_.push_back(op);
      found = ops_.end() - 1;
    }
    return words_ + (found - ops_.begin());
  }
  // The first op that has reported, and what; forgotten with that.
  std::pair<const Op*, int32_t> take() {
    for (size_t i = 0; i < ops_.size(); ++i) {
      auto* word = const_cast<volatile int32_t*>(words_ + i);
      const int32_t status = *word;
      if (!status) continue;
      *word = 0;
      return {ops_[i], status};
    }
    return {nullptr, 0};
  }

 private:
  void allocate() {
    RelaxedCapture relaxed;
    void* memory;
    check(driver().host_allocate(&memory, kWords * sizeof(int32_t), kHostPortable | kHostMapped),
          "cuMemHostAlloc");
    std::memset(memory, 0, kWords * sizeof(int32_t));
    words_ = static_cast<int32_t*>(memory);
  }
  static constexpr size_t kWords = 1024;
  int32_t* words_ = nullptr;
  std::vector<const Op*> ops_;  // of each word
} reports;

// Attributes of taimatsu.codegen.ptx.Launch.
class Image {
 public:
  explicit Image(PyObject* o) : o_(o) {}
  Object get(const char* name) const {
    return Object::steal(checked(PyObject_GetAttrString(o_, name)));
  }
  int64_t number(const char* name) const { return number(get(name).get()); }
  std::vector<int64_t> numbers(const char* name) const {
    Object list = get(name);
    std::vector<int64_t> all;
    for (Py_ssize_t i = 0, n = PySequence_Size(list.get()); i < n; ++i) {
      all.push_back(number(Object::steal(checked(PySequence_GetItem(list.get(), i))).get()));
    }
    if (PyErr_Occurred()) python_error();
    return all;
  }
  std::string text(const char* name) const {
    Object o = get(name);
    if (!PyBytes_Check(o.get())) o = Object::steal(checked(PyUnicode_AsUTF8String(o.get())));
    char* data;
    Py_ssize_t size;
    checked(PyBytes_AsStringAndSize(o.get(), &data, &size));
    return {data, static_cast<size_t>(size)};
  }

 private:
  static int64_t number(PyObject* o) {
    const int64_t n = PyLong_AsLongLong(o);  // True and False too
    if (n == -1 && PyErr_Occurred()) python_error();
    return n;
  }
  PyObject* o_;
};

Module loaded(const GpuKernel& k) {
  std::vector<char> log(kLogBytes);
  int options[] = {kJitErrorLog, kJitErrorLogBytes};
  void* values[] = {log.data(), reinterpret_cast<void*>(static_cast<uintptr_t>(log.size()))};
  RelaxedCapture relaxed;  // loading is no part of what is captured
  Module module;
  const Result r = driver().module_load(&module, k.image.c_str(), 2, options, values);
  log.back() = 0;
  check(r, concat("cuModuleLoadDataEx of ", k.name, log[0] ? ": " : "", log.data()).c_str());
  return module;
}

Function function_of(Module module, const std::string& name) {
  Function f;
  check(driver().module_function(&f, module, name.c_str()),
        concat("cuModuleGetFunction of ", name).c_str());
  return f;
}

const char* name_of(const Op* op) { return op ? op->base_name.c_str() : "cuLaunchKernel"; }

}  // namespace

void* load_kernel(PyObject* launch, Device d) {
  const Image about(launch);
  auto k = std::make_unique<GpuKernel>();
  k->name = about.text("name");
  k->finish_name = about.text("finish");
  k->image = about.text("image");
  k->formula = about.numbers("formula");
  const std::vector<int64_t> lengths = about.numbers("arguments");
  if (lengths.size() != 3) fail(Error::Assertion, k->name, ": three lengths of arguments expected");
  std::copy(lengths.begin(), lengths.end(), k->lengths);
  const int device = checked_device(d.index);
  k->multiprocessors = attribute(device, kMultiprocessors);
  enter(device);
  Module module = loaded(*k);
  k->run = function_of(module, k->name);
  if (!k->finish_name.empty()) k->finish = function_of(module, k->finish_name);
  k->image.clear();
  return k.release();
}

void launch_kernel(void* kernel, const Launch& l, Device d) {
  auto& k = *static_cast<GpuKernel*>(kernel);
  if (l.geometry_size != k.lengths[1]) {
    fail(Error::Assertion, k.name, " takes ", k.lengths[1], " numbers of geometry, got ",
         l.geometry_size);
  }
  const int device = checked_device(d.index);
  enter(device);
  if (!k.report || k.op != l.op) {
    k.report = reports.of(l.op);
    k.op = l.op;
  }
  Grid g = grid_of(k.formula, l.geometry, k.multiprocessors);
  const Workspace scratch(device, static_cast<size_t>(g.scratch));
  void* memory = scratch.data();
  void* params[] = {l.ptr,     l.geometry, const_cast<int64_t*>(l.scalars),
                    &k.report, &memory,    &g.sections};
  const StreamHandle stream = current_stream(device);
  auto run = [&](Function f, unsigned x, unsigned y, unsigned z, const unsigned* threads) {
    check(driver().launch(f, x, y, z, threads[0], threads[1], 1, 0, stream, params, nullptr),
          name_of(l.op));
    if (!recording_here()) return;
    note_launch({f,
                 {x, y, z},
                 {threads[0], threads[1]},
                 l.op,
                 {reinterpret_cast<const int64_t*>(l.ptr), l.geometry, l.scalars},
                 k.lengths,
                 k.report,
                 memory,
                 g.sections},
                stream);
  };
  run(k.run, g.blocks[0], g.blocks[1], g.blocks[2], g.threads);
  if (g.sections > 1) run(k.finish, g.finish_blocks[0], g.finish_blocks[1], 1, g.finish_threads);
  if (launch_blocking() && !capturing(stream)) synchronize(device, stream, name_of(l.op));
}

void check_reports() {
  const auto [op, status] = reports.take();
  if (!status) return;
  if (!op) fail(Error::Runtime, "a kernel has reported ", status);
  try {
    check_status(*op, status);
  } catch (Error& e) {
    e.message = concat(op->base_name, ": ", e.message);
    e.named = true;
    throw;
  }
}

}  // namespace taimatsu::cuda
