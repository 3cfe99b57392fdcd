// Scaled dot-product attention, block by block: softmax(scale * query @ key^T + mask) @ value.
//
// A block of queries meets the keys a block at a time. What is kept of the keys seen so far is, for
// each query, the largest score and the sum of exp(score - largest); when a larger one turns up,
// the sum and the output are scaled down to it. So there is never more than one block of scores.
// The steps on scores are formulas of the table (taimatsu/ops/attention.py), the products gemm's.
//
// A block of keys and values is packed once for all the queries of a head that a thread has.
//
// Every sum runs over blocks in order, and blocks depend on the sizes alone: threads share queries
// (and in the backward pass keys), never a sum.
#include <cmath>

#include "cpu/gemm.h"
#include "cpu/gemm_routine.h"
#include "cpu/native.h"
#include "cpu/threads.h"

namespace taimatsu {
namespace {

constexpr int64_t kQueries = 96, kKeys = 256;  // scores of a block: 102 KiB in f32
constexpr int64_t kLine = kKeys + 16;          // lines of scores fall into different cache sets

// ---- Steps on a block of scores: kernels of row ops ---------------------------------------------

// The kernel of a formula whose rows are lines of a block. `shape`: a letter for each operand,
// outputs first: r a row, m one of a mask, c one number for each row.
class BlockStep {
 public:
  struct Lines {
    const void* data;
    int64_t step;  // from one to the next
  };

  BlockStep(const char* name, const char* shape, DType dtype) : shape_(shape) {
    Op& op = core_op(name);
    const int64_t sizes[2] = {kQueries, kLine};
    TensorRef row = empty({sizes, 2}, dtype), cell = empty({sizes, 1}, dtype);
    TensorRef mask = empty({sizes, 2}, DType::Bool);
    std::vector<Value> args;
    for (const char* s = shape + std::strlen(shape) - op.operands.size(); *s; ++s) {
      args.emplace_back(*s == 'r' ? row : *s == 'm' ? mask : cell);
    }
    Tensors outs;
    Call call{op, args.data(), outs};
    LayoutClass key;
    int n = 0;
    for (const char* s = shape_; *s; ++s) {
      *s == 'c' ? key.add(n++, 1, 0) : key.add(n++, stride_class(kLine), 1);
    }
    key.rows = LayoutClass::Bundled;
    kernel_ = find_variant(call).kernel(key, n, 2, Device{});
  }
  int64_t scratch_bytes() const { return kernel_.scratch_bytes * kLine; }

  void operator()(std::initializer_list<Lines> operands, int64_t rows, int64_t length,
                  void* scratch) const {
    int64_t geometry[8 + 4 * kMaxOperands] = {0, 1, 0, rows, 0, 1, 0, length};
    void* data[kMaxOperands];
    int n = 0;
    for (const Lines& l : operands) {
      data[n] = const_cast<void*>(l.data);
      int64_t* strides = geometry + 8 + 4 * n;
      strides[0] = strides[2] = 0;
      strides[1] = l.step;
      strides[3] = shape_[n++] == 'c' ? 0 : 1;
    }
    kernel_.fn(data, geometry, nullptr, scratch);
  }

 private:
  const char* shape_;
  Kernel kernel_;
};

struct Steps {
  BlockStep scale, forward, masked_forward, backward, masked_backward;
  explicit Steps(DType t)
      : scale("_attention_scaled", "rrc", t),
        forward("_attention_scores", "rcccrcc", t),
        masked_forward("_attention_masked_scores", "rcccrmcc", t),
        backward("_attention_gradient", "rrrrcc", t),
        masked_backward("_attention_masked_gradient", "rrrrmcc", t) {}
  int64_t forward_scratch() const {
    return std::max(forward.scratch_bytes(), masked_forward.scratch_bytes());
  }
  int64_t backward_scratch() const {
    return std::max(backward.scratch_bytes(), masked_backward.scratch_bytes());
  }
  static const Steps& of(DType t) {  // holds the GIL
    static std::unique_ptr<Steps> f32, f64;
    std::unique_ptr<Steps>& steps = t == DType::F64 ? f64 : f32;
    if (!steps) {
      auto made = std::make_unique<Steps>(t);  // runs Python: another thread may be first
      if (!steps) steps = std::move(made);
    }
    return *steps;
  }
};

// ---- Operands -----------------------------------------------------------------------------------

// A tensor (*batch, rows, columns) as one matrix for each position of the batch.
template <class T>
struct Batch {
  T* data = nullptr;
  int64_t row = 0, col = 0;
  std::vector<int64_t> at;

  Batch() = default;
  Batch(const Tensor& t, Ints batch)
      : data(static_cast<T*>(static_cast<void*>(t.data()))), at(batch_starts(t, batch, 2)) {
    const Layout& l = *t.layout;
    // Where there is one row or column, its stride leads nowhere, and 1 is what gemm likes.
    row = l.size(l.ndim - 2) > 1 ? l.stride(l.ndim - 2) : 1;
    col = l.size(l.ndim - 1) > 1 ? l.stride(l.ndim - 1) : 1;
  }
  T* matrix(int64_t b) const { return at.empty() ? data : data + at[b]; }
  T* line(int64_t b, int64_t i) const { return matrix(b) + i * row; }
  // From row i on.
  Matrix from(int64_t b, int64_t i) const { return {line(b, i), row, col}; }
  Matrix transposed(int64_t b, int64_t i) const { return {line(b, i), col, row}; }
};

// What forward and backward have in common: the operands, and how a block of scores is computed.
template <class T>
struct Attention {
  int64_t batch, queries, keys, width, value_width;
  Batch<T> query, key, value, add;
  Batch<bool> allowed, keep;  // of keys by the mask, of weights by dropout
  TensorRef lines;            // the copy that `allowed` is of, if it is one
  T scale, keep_scale;
  bool causal;
  DType dtype;
  int64_t block;  // queries of a block
  bool packs;     // keys and values, for their many queries
  const Steps& steps;

  // args: query, key, value, mask, keep; settings: dropout_p, is_causal, scale.
  Attention(const Value* args, const Value* settings)
      : dtype(args[0].t().dtype), steps(Steps::of(args[0].t().dtype)) {
    const Tensor &q = args[0].t(), &v = args[2].t();
    const int dims = q.ndim() - 2;
    const Ints sizes{q.layout->size_data(), dims};
    batch = numel_of(sizes);
    queries = q.layout->size(dims), width = q.layout->size(dims + 1);
    keys = v.layout->size(dims), value_width = v.layout->size(dims + 1);
    query = {q, sizes}, key = {args[1].t(), sizes}, value = {v, sizes};
    if (!args[3].none()) {
      if (args[3].t().dtype == DType::Bool) {
        allowed = {args[3].t(), sizes};
        if (allowed.col != 1) {  // the steps read lines of it
          lines = contiguous(args[3].t());
          allowed = {*lines, sizes};
        }
      } else {
        add = {args[3].t(), sizes};
      }
    }
    if (!args[4].none()) keep = {args[4].t(), sizes};
    keep_scale = static_cast<T>(1 / (1 - settings[0].to_double()));
    causal = settings[1].to_bool();
    scale = static_cast<T>(settings[2].to_double());
    block = queries <= 4 * kQueries && causal ? kQueries / 2 : kQueries;
    packs = queries >= 32;
  }
  double work() const {
    return static_cast<double>(batch) * queries * keys * (width + value_width);
  }
  int64_t query_blocks() const { return (queries + block - 1) / block; }
  int64_t key_blocks() const { return (keys + kKeys - 1) / kKeys; }
  // Where block i begins. Of causal attention later queries see more keys: who has several
  // neighbouring blocks gets some of both ends.
  int64_t start(int64_t i) const { return (i % 2 ? query_blocks() - 1 - i / 2 : i / 2) * block; }
  int64_t rows(int64_t i0) const { return std::min(block, queries - i0); }
  // The end of the block of keys from j0 on, as far as queries from i0 on see it.
  int64_t end(int64_t i0, int64_t j0) const {
    const int64_t end = std::min(keys, j0 + kKeys);
    return causal ? std::min(end, i0 + rows(i0)) : end;
  }

  // A right operand of many products.
  struct Right {
    Matrix matrix;
    PackedColumns packed;
  };
  int64_t right_size(int64_t k, int64_t n) const {
    return packs ? packed_bytes(dtype, k, n) / sizeof(T) : 0;
  }
  Right right(const Matrix& m, int64_t k, int64_t n, T*& memory) const {
    if (!packs) return {m, {}};
    return {m, pack_columns(dtype, m, k, n, std::exchange(memory, memory + right_size(k, n)))};
  }

  Product product(int64_t m, int64_t n, int64_t k, Matrix a, const Right& b, Matrix out,
                  bool accumulate) const {
    Product p;
    p.dtype = dtype;
    p.m = m, p.n = n, p.k = k;
    p.a = a, p.b = b.matrix, p.packed_b = b.packed, p.out = out;
    if (accumulate) p.add = out;
    return p;
  }

  // Rows times a factor each. `to` may be `from`.
  void scale_rows(const T* from, int64_t row, int64_t col, const T* factor, int64_t n,
                  int64_t length, T* to, int64_t to_row, int64_t to_col) const {
    if (col == 1 && to_col == 1) {
      return steps.scale({{to, to_row}, {from, row}, {factor, 1}}, n, length, nullptr);
    }
    for (int64_t i = 0; i < n; ++i) {
      for (int64_t e = 0; e < length; ++e)
        to[i * to_row + e * to_col] = factor[i] * from[i * row + e * col];
    }
  }
  // `scale * query`, without gaps: rows [i0, i0 + rows). `factor` has room for a block.
  void scaled_queries(int64_t b, int64_t i0, T* factor, T* to) const {
    std::fill(factor, factor + rows(i0), scale);
    scale_rows(query.line(b, i0), query.row, query.col, factor, rows(i0), width, to, width, 1);
  }
  // The scores of queries from i0 on and keys [j0, j1), but for a mask of what is allowed.
  void scores(int64_t b, int64_t i0, int64_t j0, int64_t j1, T* scaled, const Right& key_t,
              T* s) const {
    const T never = -std::numeric_limits<T>::infinity();
    Product p = product(rows(i0), j1 - j0, width, {scaled, width, 1}, key_t, {s, kLine, 1}, false);
    if (add.data) p.add = {add.line(b, i0) + j0 * add.col, add.row, add.col};
    multiply(p);
    for (int64_t i = 0; i < rows(i0); ++i, s += kLine) {
      if (causal && i0 + i + 1 < j1) {
        std::fill(s + std::max<int64_t>(0, i0 + i + 1 - j0), s + j1 - j0, never);
      }
    }
  }
  BlockStep::Lines mask(int64_t b, int64_t i0, int64_t j0) const {
    return {allowed.line(b, i0) + j0, allowed.row};
  }
  // Weights, or their gradients, that dropout leaves.
  void drop(int64_t b, int64_t i0, int64_t j0, int64_t j1, T* s) const {
    if (!keep.data) return;
    for (int64_t i = 0; i < rows(i0); ++i, s += kLine) {
      const bool* line = keep.line(b, i0 + i) + j0 * keep.col;
      for (int64_t j = 0; j < j1 - j0; ++j) s[j] = line[j * keep.col] ? s[j] * keep_scale : T(0);
    }
  }

  // The queries of blocks [first, last) of a head.
  void forward(int64_t b, int64_t first, int64_t last, const Batch<T>& output, T* logsumexp) const {
    T* memory =
        workspace<T>(2 * queries + kQueries * (width + kLine + 3) + right_size(width, kKeys) +
                     right_size(kKeys, value_width) + steps.forward_scratch() / sizeof(T));
    auto take = [&](int64_t n) { return std::exchange(memory, memory + n); };
    T *largest = take(queries), *sum = take(queries);  // of each query, so far
    T *new_largest = take(kQueries), *new_sum = take(kQueries), *factor = take(kQueries);
    T *scaled = take(kQueries * width), *s = take(kQueries * kLine);
    T* packed = take(right_size(width, kKeys) + right_size(kKeys, value_width));
    T* scratch = memory;
    std::fill(largest, largest + queries, -std::numeric_limits<T>::infinity());
    std::fill(sum, sum + queries, T(0));
    for (int64_t j0 = 0; j0 < keys; j0 += kKeys) {
      const int64_t count = std::min(kKeys, keys - j0);
      T* at = packed;
      const Right key_t = right(key.transposed(b, j0), width, count, at);
      const Right values = right(value.from(b, j0), count, value_width, at);
      for (int64_t i = first; i < last; ++i) {
        const int64_t i0 = start(i), n = rows(i0), j1 = end(i0, j0);
        if (j1 <= j0) continue;
        T* to = output.line(b, i0);
        scaled_queries(b, i0, factor, scaled);
        scores(b, i0, j0, j1, scaled, key_t, s);
        if (allowed.data) {
          steps.masked_forward({{s, kLine},
                                {new_largest, 1},
                                {new_sum, 1},
                                {factor, 1},
                                {s, kLine},
                                mask(b, i0, j0),
                                {largest + i0, 1},
                                {sum + i0, 1}},
                               n, j1 - j0, scratch);
        } else {
          steps.forward({{s, kLine},
                         {new_largest, 1},
                         {new_sum, 1},
                         {factor, 1},
                         {s, kLine},
                         {largest + i0, 1},
                         {sum + i0, 1}},
                        n, j1 - j0, scratch);
        }
        std::copy(new_largest, new_largest + n, largest + i0);
        std::copy(new_sum, new_sum + n, sum + i0);
        drop(b, i0, j0, j1, s);
        if (j0 > 0) {
          scale_rows(to, output.row, output.col, factor, n, value_width, to, output.row,
                     output.col);
        }
        multiply(
            product(n, value_width, j1 - j0, {s, kLine, 1}, values, output.from(b, i0), j0 > 0));
      }
    }
    for (int64_t i = first; i < last; ++i) {
      const int64_t i0 = start(i), n = rows(i0);
      for (int64_t r = 0; r < n; ++r) {
        const T total = sum[i0 + r];
        const bool masked = total == 0;  // every key is
        factor[r] = masked ? T(0) : 1 / total;
        logsumexp[b * queries + i0 + r] =
            masked ? std::numeric_limits<T>::infinity() : largest[i0 + r] + std::log(total);
      }
      T* to = output.line(b, i0);
      scale_rows(to, output.row, output.col, factor, n, value_width, to, output.row, output.col);
    }
  }

  struct Gradients {
    Batch<T> output;  // what is given
    const T *logsumexp, *delta;
    Batch<T> query, key, value;  // what is computed
    bool of_query, of_keys;      // which of it: keys' and values' go together
  };
  // What queries of blocks [first, last) and keys from j0 on contribute to the gradients.
  void backward(int64_t b, int64_t first, int64_t last, int64_t j0, const Gradients& g) const {
    const int64_t all = std::min(kKeys, keys - j0);
    const int64_t packed_size =
        right_size(width, all) + right_size(value_width, all) + right_size(all, width);
    T* memory = workspace<T>(kQueries * (width + 1) + 2 * kQueries * kLine + packed_size +
                             steps.backward_scratch() / sizeof(T));
    auto take = [&](int64_t n) { return std::exchange(memory, memory + n); };
    T *factor = take(kQueries), *scaled = take(kQueries * width);
    T *s = take(kQueries * kLine), *ds = take(kQueries * kLine);
    T *at = take(packed_size), *scratch = memory;
    const Right key_t = right(key.transposed(b, j0), width, all, at);
    const Right value_t = right(value.transposed(b, j0), value_width, all, at);
    const Right keys_ = right(key.from(b, j0), all, width, at);
    for (int64_t i = first; i < last; ++i) {
      const int64_t i0 = start(i), n = rows(i0), j1 = end(i0, j0), count = j1 - j0;
      if (count <= 0) continue;
      scaled_queries(b, i0, factor, scaled);
      scores(b, i0, j0, j1, scaled, key_t, s);
      multiply(
          product(n, count, value_width, g.output.from(b, i0), value_t, {ds, kLine, 1}, false));
      drop(b, i0, j0, j1, ds);
      const T *logsumexp = g.logsumexp + b * queries + i0, *delta = g.delta + b * queries + i0;
      if (allowed.data) {
        steps.masked_backward({{s, kLine},
                               {ds, kLine},
                               {s, kLine},
                               {ds, kLine},
                               mask(b, i0, j0),
                               {logsumexp, 1},
                               {delta, 1}},
                              n, count, scratch);
      } else {
        steps.backward(
            {{s, kLine}, {ds, kLine}, {s, kLine}, {ds, kLine}, {logsumexp, 1}, {delta, 1}}, n,
            count, scratch);
      }
      if (g.of_query) {
        Product p = product(n, width, count, {ds, kLine, 1}, keys_, g.query.from(b, i0), j0 > 0);
        p.alpha = Number::real(scale);
        multiply(p);
      }
      if (g.of_keys) {
        drop(b, i0, j0, j1, s);
        multiply(product(count, width, n, {ds, 1, kLine}, {{scaled, width, 1}, {}},
                         g.key.from(b, j0), true));
        multiply(product(count, value_width, n, {s, 1, kLine}, {g.output.from(b, i0), {}},
                         g.value.from(b, j0), true));
      }
    }
  }
};

template <class T>
void run_forward(const Value* args, Tensor& out, Tensor& logsumexp) {
  const Attention<T> a(args, args + 5);
  if (a.keys == 0) fill(out, Number::integer(0));
  const Ints sizes{out.layout->size_data(), out.ndim() - 2};
  const Batch<T> output(out, sizes);
  const int64_t blocks = a.query_blocks();
  WithoutGil without(a.work() > kLongWork);
  parallel_for(a.batch * blocks, grain_of(a.batch * blocks, a.work()), 1,
               [&](int64_t begin, int64_t end) {
                 for (int64_t at = begin; at < end;) {  // a head after the other
                   const int64_t b = at / blocks, last = std::min(end - b * blocks, blocks);
                   a.forward(b, at % blocks, last, output, logsumexp.as<T>());
                   at = b * blocks + last;
                 }
               });
}

template <class T>
void run_backward(const Value* args, Tensors& outs) {
  const Attention<T> a(args + 1, args + 8);
  const Ints sizes{outs[0]->layout->size_data(), outs[0]->ndim() - 2};
  for (int i = 0; i < 3; ++i) {
    if (i > 0 || a.keys == 0) fill(*outs[i], Number::integer(0));
  }
  static Op& sums = core_op("_attention_delta");
  const TensorRef delta = contiguous(*call1(sums, {args[0], args[6]}));
  typename Attention<T>::Gradients g{
      {args[0].t(), sizes}, args[7].t().as<T>(), delta->as<T>(), {*outs[0], sizes},
      {*outs[1], sizes},    {*outs[2], sizes},   true,           true};
  const int64_t query_blocks = a.query_blocks(), key_blocks = a.key_blocks();
  // The contributions to one sum come in the same order either way.
  WithoutGil without(a.work() > kLongWork);
  if (a.batch >= num_threads()) {
    parallel_for(a.batch, grain_of(a.batch, a.work()), 1, [&](int64_t begin, int64_t end) {
      for (int64_t at = begin * key_blocks; at < end * key_blocks; ++at) {
        a.backward(at / key_blocks, 0, query_blocks, at % key_blocks * kKeys, g);
      }
    });
    return;
  }
  g.of_keys = false;
  parallel_for(a.batch * query_blocks, grain_of(a.batch * query_blocks, a.work()), 1,
               [&](int64_t begin, int64_t end) {
                 for (int64_t at = begin; at < end;) {
                   const int64_t b = at / query_blocks,
                                 last = std::min(end - b * query_blocks, query_blocks);
                   for (int64_t j = 0; j < key_blocks; ++j) {
                     a.backward(b, at % query_blocks, last, j * kKeys, g);
                   }
                   at = b * query_blocks + last;
                 }
               });
  std::swap(g.of_query, g.of_keys);
  parallel_for(a.batch * key_blocks, grain_of(a.batch * key_blocks, a.work()), 1,
               [&](int64_t begin, int64_t end) {
                 for (int64_t at = begin; at < end; ++at) {
                   a.backward(at / key_blocks, 0, query_blocks, at % key_blocks * kKeys, g);
                 }
               });
}

// ---- The ops ------------------------------------------------------------------------------------

// Sizes as `t` has them but for the last, in its order of dims: heads that were split off a
// (batch, length, heads * width) tensor can be joined again without a copy.
TensorRef push_like(const Tensor& t, int64_t last, DType dtype) {
  const Layout& l = *t.layout;
  std::vector<int64_t> sizes = to_vector(l.sizes());
  sizes.back() = last;
  std::vector<int> order{l.ndim - 1};
  for (int d = l.ndim - 2; d >= 0; --d) order.push_back(d);
  const bool repeated = std::any_of(order.begin(), order.end(),
                                    [&](int d) { return l.size(d) > 1 && l.stride(d) == 0; });
  if (!repeated) {
    std::stable_sort(order.begin() + 1, order.end(), [&](int a, int b) {
      return l.size(a) > 1 && l.size(b) > 1 && l.stride(a) < l.stride(b);
    });
  }
  LayoutRef layout = packed_layout(sizes, {order.data(), static_cast<int64_t>(order.size())});
  return empty(layout.get(), dtype, t.device());
}

// Copies of 16-bit floats in f32; what has another dtype (masks) stays.
struct Wide {
  std::vector<TensorRef> kept;
  std::vector<Value> args;
  Wide(const Value* from, int count) : args(from, from + count) {
    for (Value& v : args) {
      if (!v.is_tensor() || (v.t().dtype != DType::F16 && v.t().dtype != DType::BF16)) continue;
      kept.push_back(to_dtype(v.t(), DType::F32));
      v = Value(kept.back());
    }
  }
};
DType compute_type(DType t) { return t == DType::F64 ? t : DType::F32; }

void check_attention(const Tensor& q, const Tensor& k, const Tensor& v) {
  const int dims = q.ndim();
  auto agree = [&](const Tensor& t) {
    return t.ndim() == dims && std::equal(q.layout->size_data(), q.layout->size_data() + dims - 2,
                                          t.layout->size_data());
  };
  if (!agree(k) || !agree(v) || q.layout->size(dims - 1) != k.layout->size(dims - 1) ||
      k.layout->size(dims - 2) != v.layout->size(dims - 2)) {
    fail(Error::Runtime,
         "query (*, L, E), key (*, S, E) and value (*, S, V) must agree in E and S, and their "
         "other sizes must broadcast; got ",
         format(q.sizes()), ", ", format(k.sizes()), " and ", format(v.sizes()));
  }
}

// _attention(query, key, value, mask, keep, dropout_p, is_causal, scale)
void infer_attention(Call& c) {
  const Tensor &q = c.args[0].t(), &k = c.args[1].t(), &v = c.args[2].t();
  check_attention(q, k, v);
  c.outs.push(push_like(q, v.layout->size(v.ndim() - 1), q.dtype));
  c.outs.push(empty({q.layout->size_data(), q.ndim() - 1}, compute_type(q.dtype), q.device()));
}
void run_attention(Call& c) {
  Tensor &out = *c.outs[0], &logsumexp = *c.outs[1];
  if (logsumexp.numel() == 0) return;
  if (logsumexp.dtype == DType::F64) return run_forward<double>(c.args, out, logsumexp);
  if (out.dtype == DType::F32) return run_forward<float>(c.args, out, logsumexp);
  const Wide wide(c.args, 8);
  TensorRef result = empty(out.layout, DType::F32);
  run_forward<float>(wide.args.data(), *result, logsumexp);
  copy_into(out, *result);
}
TM_NATIVE("_attention", infer_attention, run_attention);

// _attention_backward(grad, query, key, value, mask, keep, output, logsumexp, dropout_p, is_causal,
// scale)
void infer_attention_backward(Call& c) {
  for (int i = 1; i <= 3; ++i) {
    const Tensor& t = c.args[i].t();
    c.outs.push(push_like(t, t.layout->size(t.ndim() - 1), t.dtype));
  }
}
void run_attention_backward(Call& c) {
  const DType dtype = c.outs[0]->dtype;
  if (dtype == DType::F64) return run_backward<double>(c.args, c.outs);
  if (dtype == DType::F32) return run_backward<float>(c.args, c.outs);
  const Wide wide(c.args, 11);
  Tensors results;
  for (int i = 0; i < 3; ++i) results.push(empty(c.outs[i]->layout, DType::F32));
  run_backward<float>(wide.args.data(), results);
  for (int i = 0; i < 3; ++i) copy_into(*c.outs[i], *results[i]);
}
TM_NATIVE("_attention_backward", infer_attention_backward, run_attention_backward);

}  // namespace
}  // namespace taimatsu
