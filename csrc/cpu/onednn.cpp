// Convolution by oneDNN: primitives are made once per shape and kept, with their memory objects.
//
// oneDNN chooses blocked layouts; what the caller has in another layout is reordered on the way.
// Setting the data of a memory object changes it, so each thread has a cache of its own.
#if TM_USE_MKLDNN
#include <omp.h>
#include <oneapi/dnnl/dnnl.h>

#include <memory>
#include <unordered_map>

#include "cpu/conv.h"
#include "cpu/deterministic.h"
#include "cpu/library.h"
#include "cpu/native.h"
#include "cpu/threads.h"

namespace taimatsu {
namespace {

// The functions of oneDNN under their own names, but the library is loaded with the first call.
Library onednn(TM_ONEDNN);
#define TM_LATE(name) const LateFunction<decltype(::name)> name(onednn, #name)
TM_LATE(dnnl_convolution_backward_data_primitive_desc_create);
TM_LATE(dnnl_convolution_backward_weights_primitive_desc_create);
TM_LATE(dnnl_convolution_forward_primitive_desc_create);
TM_LATE(dnnl_engine_create);
TM_LATE(dnnl_memory_create);
TM_LATE(dnnl_memory_desc_create_with_strides);
TM_LATE(dnnl_memory_desc_create_with_tag);
TM_LATE(dnnl_memory_desc_destroy);
TM_LATE(dnnl_memory_desc_equal);
TM_LATE(dnnl_memory_desc_get_size);
TM_LATE(dnnl_memory_destroy);
TM_LATE(dnnl_memory_set_data_handle);
TM_LATE(dnnl_primitive_create);
TM_LATE(dnnl_primitive_desc_destroy);
TM_LATE(dnnl_primitive_desc_query_md);
TM_LATE(dnnl_primitive_destroy);
TM_LATE(dnnl_primitive_execute);
TM_LATE(dnnl_reorder_primitive_desc_create);
TM_LATE(dnnl_set_primitive_cache_capacity);
TM_LATE(dnnl_stream_create);
#undef TM_LATE

void require(dnnl_status_t status) {
  if (status == dnnl_out_of_memory) fail(Error::OutOfMemory, "oneDNN ran out of memory");
  if (status != dnnl_success)
    fail(Error::Runtime, "oneDNN failed with status ", static_cast<int>(status));
}

// Handles of oneDNN are plain pointers, each with a function that destroys it.
template <class T, const auto& destroy>
struct Destroy {
  using pointer = T;
  void operator()(T handle) const { destroy(handle); }
};
template <class T, const auto& destroy>
using Handle = std::unique_ptr<std::remove_pointer_t<T>, Destroy<T, destroy>>;
using Desc = Handle<dnnl_memory_desc_t, dnnl_memory_desc_destroy>;
using Memory = Handle<dnnl_memory_t, dnnl_memory_destroy>;
using Primitive = Handle<dnnl_primitive_t, dnnl_primitive_destroy>;
using PrimitiveDesc = Handle<dnnl_primitive_desc_t, dnnl_primitive_desc_destroy>;

dnnl_engine_t engine() {
  static dnnl_engine_t e = [] {
    dnnl_engine_t made;
    require(dnnl_engine_create(&made, dnnl_cpu, 0));
    dnnl_set_primitive_cache_capacity(0);  // ours replaces it
    return made;
  }();
  return e;
}
dnnl_stream_t stream() {
  static dnnl_stream_t s = [] {
    dnnl_stream_t made;
    require(dnnl_stream_create(&made, engine(), dnnl_stream_default_flags));
    return made;
  }();
  return s;
}

Desc strided(const std::vector<int64_t>& sizes, const std::vector<int64_t>& strides) {
  dnnl_memory_desc_t d;
  require(dnnl_memory_desc_create_with_strides(&d, static_cast<int>(sizes.size()), sizes.data(),
                                               dnnl_f32, strides.data()));
  return Desc(d);
}
Desc any_layout(const std::vector<int64_t>& sizes) {
  dnnl_memory_desc_t d;
  require(dnnl_memory_desc_create_with_tag(&d, static_cast<int>(sizes.size()), sizes.data(),
                                           dnnl_f32, dnnl_format_tag_any));
  return Desc(d);
}

Memory memory(const_dnnl_memory_desc_t d) {
  dnnl_memory_t m;
  require(dnnl_memory_create(&m, d, engine(), DNNL_MEMORY_NONE));
  return Memory(m);
}

// One operand: the caller's memory, and if oneDNN wants another layout, a copy with a reorder.
struct Operand {
  Memory user, inner;  // no inner: the primitive works on the caller's memory
  Primitive reorder;
  size_t bytes = 0;  // of the inner copy

  void make(const_dnnl_memory_desc_t given, const_dnnl_memory_desc_t wanted, bool output) {
    user = memory(given);
    if (dnnl_memory_desc_equal(given, wanted)) return;
    inner = memory(wanted);
    bytes = dnnl_memory_desc_get_size(wanted);
    const_dnnl_memory_desc_t from = output ? wanted : given, to = output ? given : wanted;
    dnnl_primitive_desc_t pd;
    require(dnnl_reorder_primitive_desc_create(&pd, from, engine(), to, engine(), nullptr));
    PrimitiveDesc owner(pd);
    dnnl_primitive_t p;
    require(dnnl_primitive_create(&p, pd));
    reorder = Primitive(p);
  }
  dnnl_memory_t used() const { return inner ? inner.get() : user.get(); }
  void set(void* data, void* copy) {
    require(dnnl_memory_set_data_handle(user.get(), data));
    if (inner) require(dnnl_memory_set_data_handle(inner.get(), copy));
  }
  void run_reorder(bool output) {
    if (!reorder) return;
    dnnl_exec_arg_t args[2] = {{DNNL_ARG_FROM, output ? inner.get() : user.get()},
                               {DNNL_ARG_TO, output ? user.get() : inner.get()}};
    require(dnnl_primitive_execute(reorder.get(), stream(), 2, args));
  }
};

struct Convolution {
  Primitive primitive;
  Operand x, w, y;
  Memory bias;
};

// Sizes and strides of the three operands as oneDNN sees them; the weight with its groups.
struct Operands {
  std::vector<int64_t> x, w, y, x_strides, w_strides, y_strides;
};

Operands operands(const ConvShape& s, const Tensor& x, const Tensor& w, const Tensor& y) {
  Operands o;
  o.x = to_vector(x.sizes());
  o.y = to_vector(y.sizes());
  o.w = to_vector(w.sizes());
  o.x_strides = to_vector(x.strides());
  o.y_strides = to_vector(y.strides());
  o.w_strides = to_vector(w.strides());
  if (s.groups > 1) {
    o.w[0] /= s.groups;
    o.w.insert(o.w.begin(), s.groups);
    o.w_strides.insert(o.w_strides.begin(), o.w_strides[0] * o.w[1]);
  }
  return o;
}

// Null if oneDNN has no implementation.
std::unique_ptr<Convolution> make(ConvKind kind, const ConvShape& s, int dims, const Operands& o,
                                  bool has_bias) {
  Desc x = strided(o.x, o.x_strides), w = strided(o.w, o.w_strides), y = strided(o.y, o.y_strides);
  Desc any_x = any_layout(o.x), any_w = any_layout(o.w), any_y = any_layout(o.y);
  Desc bias = has_bias ? strided({s.out_channels}, {1}) : Desc();
  int64_t stride[3], padding[3], padding_end[3], dilation[3];
  for (int d = 0; d < dims; ++d) {
    const int i = d + 3 - dims;
    stride[d] = s.stride[i];
    padding[d] = s.padding[i];
    dilation[d] = s.dilation[i] - 1;
    padding_end[d] = (s.out[i] - 1) * s.stride[i] + s.dilation[i] * (s.kernel[i] - 1) + 1 -
                     s.in[i] - s.padding[i];
  }
  const dnnl_alg_kind_t algorithm = dnnl_convolution_direct;
  dnnl_primitive_desc_t forward, pd;
  if (dnnl_convolution_forward_primitive_desc_create(
          &forward, engine(),
          kind == ConvKind::Forward ? dnnl_forward_inference : dnnl_forward_training, algorithm,
          any_x.get(), any_w.get(), bias.get(), any_y.get(), stride, dilation, padding, padding_end,
          nullptr) != dnnl_success) {
    return nullptr;
  }
  PrimitiveDesc hint(forward), owner;
  pd = forward;
  if (kind == ConvKind::Data) {
    if (dnnl_convolution_backward_data_primitive_desc_create(
            &pd, engine(), algorithm, any_x.get(), any_w.get(), any_y.get(), stride, dilation,
            padding, padding_end, forward, nullptr) != dnnl_success) {
      return nullptr;
    }
    owner.reset(pd);
  } else if (kind == ConvKind::Weight) {
    if (dnnl_convolution_backward_weights_primitive_desc_create(
            &pd, engine(), algorithm, any_x.get(), any_w.get(), nullptr, any_y.get(), stride,
            dilation, padding, padding_end, forward, nullptr) != dnnl_success) {
      return nullptr;
    }
    owner.reset(pd);
  }
  auto wanted = [&](dnnl_query_t plain, dnnl_query_t gradient, bool is_gradient) {
    return dnnl_primitive_desc_query_md(pd, is_gradient ? gradient : plain, 0);
  };
  auto c = std::make_unique<Convolution>();
  c->x.make(x.get(), wanted(dnnl_query_src_md, dnnl_query_diff_src_md, kind == ConvKind::Data),
            kind == ConvKind::Data);
  c->w.make(w.get(),
            wanted(dnnl_query_weights_md, dnnl_query_diff_weights_md, kind == ConvKind::Weight),
            kind == ConvKind::Weight);
  c->y.make(y.get(), wanted(dnnl_query_dst_md, dnnl_query_diff_dst_md, kind != ConvKind::Forward),
            kind == ConvKind::Forward);
  if (has_bias) c->bias = memory(bias.get());
  dnnl_primitive_t p;
  require(dnnl_primitive_create(&p, pd));
  c->primitive = Primitive(p);
  return c;
}

Convolution* find(ConvKind kind, const ConvShape& s, int dims, const Operands& o, bool has_bias,
                  int threads) {
  thread_local std::unordered_map<std::string, std::unique_ptr<Convolution>> cache;
  std::string key;
  auto put = [&](const std::vector<int64_t>& v) {
    key.append(reinterpret_cast<const char*>(v.data()), v.size() * sizeof(int64_t));
  };
  put({static_cast<int64_t>(kind), dims, s.groups, has_bias, threads});
  put({s.stride, s.stride + 3});
  put({s.padding, s.padding + 3});
  put({s.dilation, s.dilation + 3});
  put(o.x);
  put(o.w);
  put(o.y);
  put(o.x_strides);
  put(o.w_strides);
  put(o.y_strides);
  auto it = cache.find(key);
  if (it == cache.end()) {
    if (cache.size() >= 512) cache.clear();  // shapes that keep changing must not fill the memory
    it = cache.emplace(std::move(key), make(kind, s, dims, o, has_bias)).first;
  }
  return it->second.get();
}

}  // namespace

bool onednn_convolution(ConvKind kind, const ConvShape& s, int dims, const Tensor& x,
                        const Tensor& w, const Tensor* bias, const Tensor& y) {
  // The sum over a batch is split among threads in the weight's gradient, and there only.
  const bool alone = kind == ConvKind::Weight && deterministic_algorithms();
  const int threads = alone ? 1 : num_threads();
  omp_set_num_threads(threads);  // for this thread: a primitive is made for a number of threads
  Convolution* c = find(kind, s, dims, operands(s, x, w, y), bias != nullptr, threads);
  if (!c) return false;
  const bool outputs[3] = {kind == ConvKind::Data, kind == ConvKind::Weight,
                           kind == ConvKind::Forward};
  Operand* all[3] = {&c->x, &c->w, &c->y};
  const Tensor* tensors[3] = {&x, &w, &y};
  Ref<Storage> copies[3];
  for (int i = 0; i < 3; ++i) {
    if (all[i]->bytes) copies[i] = new_storage(all[i]->bytes);
    all[i]->set(tensors[i]->data(), copies[i] ? copies[i]->data : nullptr);
  }
  TensorRef plain_bias;
  if (bias) {
    plain_bias = contiguous(const_cast<Tensor&>(*bias));
    require(dnnl_memory_set_data_handle(c->bias.get(), plain_bias->data()));
  }
  const int names[3][3] = {{DNNL_ARG_SRC, DNNL_ARG_WEIGHTS, DNNL_ARG_DST},
                           {DNNL_ARG_DIFF_SRC, DNNL_ARG_WEIGHTS, DNNL_ARG_DIFF_DST},
                           {DNNL_ARG_SRC, DNNL_ARG_DIFF_WEIGHTS, DNNL_ARG_DIFF_DST}};
  const int* name = names[static_cast<int>(kind)];
  dnnl_exec_arg_t args[4] = {{name[0], c->x.used()},
                             {name[1], c->w.used()},
                             {name[2], c->y.used()},
                             {DNNL_ARG_BIAS, c->bias.get()}};
  WithoutGil without(s.work() > kLongWork);
  for (int i = 0; i < 3; ++i) {
    if (!outputs[i]) all[i]->run_reorder(false);
  }
  require(dnnl_primitive_execute(c->primitive.get(), stream(), bias ? 4 : 3, args));
  for (int i = 0; i < 3; ++i) {
    if (outputs[i]) all[i]->run_reorder(true);
  }
  return true;
}

}  // namespace taimatsu
#endif
