// Pointwise ops: one output element from the elements of the inputs.
#include <algorithm>

#include "ops/launch.h"

namespace taimatsu {
namespace {

// Memory operands of a call: outputs, then the tensors among the params.
struct Operands {
  Tensor* tensors[kMaxOperands];
  int count = 0;

  explicit Operands(const Call& c, bool with_outputs = true) {
    if (with_outputs) {
      for (int i = 0; i < c.outs.size(); ++i) tensors[count++] = c.outs[i].get();
    }
    for (uint8_t i : c.op.operands) {
      if (c.args[i].is_tensor()) tensors[count++] = c.args[i].tensor;
    }
  }
};

}  // namespace

void infer_pointwise(Call& c, Tensor* const*) {
  Variant& v = find_variant(c);
  if (c.shared && c.shared->offset == 0 && c.on_cpu) {  // most calls: nothing to work out
    for (const Variant::Output& o : v.outputs) c.outs.push(empty(c.shared, o.dtype));
    return;
  }
  Operands in(c, false);
  if (in.count == 0) fail(Error::Type, "at least one argument must be a Tensor");
  Device device = in.tensors[0]->device();
  const Layout* layouts[kMaxOperands];
  std::vector<int64_t> sizes;
  for (int i = 0; i < in.count; ++i) {
    layouts[i] = in.tensors[i]->layout;
    if (layouts[i]->ndim > 0) device = in.tensors[i]->device();
    broadcast_into(sizes, layouts[i]->sizes());
  }
  LayoutRef layout = pointwise_output_layout({layouts, in.count}, sizes);
  for (const Variant::Output& o : v.outputs) c.outs.push(empty(layout.get(), o.dtype, device));
}

void run_pointwise(Call& c) {
  Variant& v = find_variant(c);
  Operands ops(c);
  int64_t scalars[kMaxScalars];
  if (!v.scalars.empty()) pack_scalars(c, scalars);
  run_points(c.op, v, ops.tensors, ops.count, scalars);
}

void run_points(const Op& op, Variant& v, Tensor* const* tensors, int n, const int64_t* scalars) {
  int64_t numel = tensors[0]->numel();
  if (numel == 0) return;
  void* ptr[kMaxOperands];
  const Layout* first = tensors[0]->layout;
  bool flat = true;
  for (int i = 0; i < n; ++i) {
    ptr[i] = tensors[i]->data();
    const Layout* l = tensors[i]->layout;
    flat &= l == first || (l->contiguous && first->contiguous && l->sizes() == first->sizes());
  }
  flat &= first->dense;
  int64_t geometry[4 + 2 * kMaxOperands];
  geometry[0] = geometry[2] = 0;
  geometry[1] = 1;
  LayoutClass key;
  if (flat) {  // every element in memory order
    for (int i = 0; i < n; ++i) {
      key.add(i, 2, 1);
      geometry[4 + 2 * i] = 0;
      geometry[5 + 2 * i] = 1;
    }
    if (!first->contiguous) {  // dense in another order: start at the lowest address
      for (int i = 0; i < n; ++i) {
        const Tensor& t = *tensors[i];
        ptr[i] = t.storage->as<char>() + reach(*t.layout).first * itemsize(t.dtype);
      }
    }
    geometry[3] = numel;
  }
  Iteration it;
  if (!flat) {
    const Layout* layouts[kMaxOperands];
    for (int i = 0; i < n; ++i) layouts[i] = tensors[i]->layout;
    iterate(it, {layouts, n}, tensors[0]->sizes());
    bool strided = false;
    for (int i = 0; i < n; ++i) {
      geometry[5 + 2 * i] = it.ndim > 0 ? it.stride[i][0] : 1;
      geometry[4 + 2 * i] = it.ndim > 1 ? it.stride[i][1] : 0;
      strided |= stride_class(geometry[5 + 2 * i]) >= 2;
    }
    for (int i = 0; i < n; ++i) {
      int inner = stride_class(geometry[5 + 2 * i]);
      int outer = strided ? stride_class(geometry[4 + 2 * i]) : 2;
      key.add(i, outer, inner);
    }
    geometry[1] = it.ndim > 1 ? it.extent[1] : 1;
    geometry[3] = it.ndim > 0 ? it.extent[0] : 1;
  }
  int64_t itemsizes[kMaxOperands];  // now: where the kernel isn't known yet, Python runs
  for (int i = 0; i < n; ++i) itemsizes[i] = itemsize(tensors[i]->dtype);
  Kernel kernel = v.kernel(key, n, 2, tensors[0]->device());

  const int64_t inner = (geometry[1] - geometry[0]) * (geometry[3] - geometry[2]);
  const Launch launched{kernel, ptr, geometry, 4 + 2 * n, 2, scalars, inner, 0, &op};
  int32_t status;
  if (flat || it.ndim <= 2) {
    status = launch(launched);
  } else {
    status = launch_each(launched, n, it, 2, itemsizes);
  }
  if (status) check_status(op, status);
}

}  // namespace taimatsu
