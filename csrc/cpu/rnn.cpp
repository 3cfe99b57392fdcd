// Recurrent layers: the steps that follow the projection of the input (one product for all steps).
//
// A step multiplies the state by the hidden weight, which is packed once for all of them, and
// then runs the cell, a generated kernel of taimatsu/ops/rnn.py. Each thread has columns of the
// state, for the product and for the cell, so that a step needs one barrier. The backward pass is
// the same in reverse; gradients of the weights are products over all steps, in Python.
//
// Sequences lie as in a PackedSequence: step after step, in each a row for every sequence that is
// long enough, longest first. `batch_sizes` counts them.
#include <algorithm>

#include "cpu/elements.h"
#include "cpu/gemm.h"
#include "cpu/native.h"
#include "cpu/threads.h"

namespace taimatsu {
namespace {

// ---- Steps ----------------------------------------------------------------------------------

// Rows of one step whose states before it lie together.
struct Run {
  int64_t row;       // the first, among those of all steps
  int64_t sequence;  // that it belongs to
  int64_t rows;
  int64_t before;  // where the first one's sequence was a step earlier; -1: it starts here
};

// All steps in the order in which they are taken.
struct Steps {
  std::vector<Run> runs;
  std::vector<int64_t> last;  // of each sequence the row of its last step
  int64_t rows = 0;

  Steps(Ints batch_sizes, bool reverse) {
    std::vector<int64_t> start;
    for (int64_t i = 0; i < batch_sizes.size; ++i) {
      start.push_back(rows);
      rows += batch_sizes[i];
    }
    if (batch_sizes.size == 0) return;
    last.resize(batch_sizes[0]);
    for (int64_t i = 0, running = 0; i < batch_sizes.size; ++i) {
      const int64_t step = reverse ? batch_sizes.size - 1 - i : i, size = batch_sizes[step];
      const int64_t going_on = std::min(running, size);
      const int64_t before = i ? start[reverse ? step + 1 : step - 1] : -1;
      if (going_on) runs.push_back({start[step], 0, going_on, before});
      if (size > going_on) {
        runs.push_back({start[step] + going_on, going_on, size - going_on, -1});
      }
      for (int64_t s = 0; s < size; ++s) last[s] = start[step] + s;
      running = size;
    }
  }
  // Whether it pays to pack a matrix that every step multiplies by.
  bool many() const { return runs.size() > 1 && last.size() >= 4; }
};

int64_t check_batch_sizes(Ints sizes) {
  int64_t total = 0;
  for (int64_t i = 0; i < sizes.size; ++i) {
    if (sizes[i] < 0 || (i && sizes[i] > sizes[i - 1])) {
      fail(Error::Runtime, "batch_sizes must not increase; got ", format(sizes));
    }
    total += sizes[i];
  }
  return total;
}

// The rows of a contiguous matrix.
struct Rows {
  char* data = nullptr;
  int64_t width = 0, bytes = 0;  // bytes of an element

  Rows() = default;
  Rows(const Tensor& t)
      : data(t.data()), width(t.layout->size(t.ndim() - 1)), bytes(itemsize(t.dtype)) {}
  Matrix at(int64_t row, int64_t column = 0) const {
    return {data + (row * width + column) * bytes, width, 1};
  }
  void copy(int64_t row, const Rows& from, int64_t from_row, int64_t count) const {
    std::memcpy(at(row).data, from.at(from_row).data, count * width * bytes);
  }
};

// A tensor argument without gaps; no data if it isn't given.
struct Argument : Rows {
  TensorRef kept;
  explicit Argument(const Value& v) : Argument(v.none() ? TensorRef() : contiguous(v.t())) {}
  explicit Argument(TensorRef t) : Rows(t ? Rows(*t) : Rows()), kept(std::move(t)) {}
};

// What steps hand on: a row for each of theirs, and one for each sequence to begin with.
struct States {
  Rows steps, initial;
  Matrix before(const Run& r) const {
    return r.before < 0 ? initial.at(r.sequence) : steps.at(r.before);
  }
  void gather(const Steps& all, const Rows& to) const {  // the states before all steps
    for (const Run& r : all.runs) {
      std::memcpy(to.at(r.row).data, before(r).data, r.rows * to.width * to.bytes);
    }
  }
  void last(const Steps& all, const Rows& to) const {
    for (size_t i = 0; i < all.last.size(); ++i) to.copy(i, steps, all.last[i], 1);
  }
};

// ---- What a step is made of -----------------------------------------------------------------

Matrix from_column(Matrix m, int64_t column, int64_t bytes) {
  if (m.data) m.data = static_cast<char*>(m.data) + column * m.col * bytes;
  return m;
}

// A matrix that every step multiplies by.
class Factor {
 public:
  Factor(DType dtype, Matrix b, int64_t k, int64_t n, const Steps& steps)
      : dtype_(dtype), b_(b), k_(k) {
    if (steps.many()) packed_ = PackedMatrix(dtype, b, k, n);
  }
  // Columns [begin, end) of out = a @ this + add.
  void multiply(int64_t rows, Matrix a, Matrix add, Matrix out, int64_t begin, int64_t end) const {
    const int64_t bytes = itemsize(dtype_);
    Product p;
    p.dtype = dtype_;
    p.m = rows;
    p.n = end - begin;
    p.k = k_;
    p.a = a;
    if (packed_) {
      p.packed_b = packed_.from(begin);
    } else {
      p.b = from_column(b_, begin, bytes);
    }
    p.add = from_column(add, begin, bytes);
    p.out = from_column(out, begin, bytes);
    taimatsu::multiply(p);
  }

 private:
  DType dtype_;
  Matrix b_;
  int64_t k_;
  PackedMatrix packed_;
};

// A pointwise op's kernel, for operands whose rows are contiguous.
class Cell {
 public:
  Cell(const char* name, DType dtype) : bytes_(itemsize(dtype)) {
    Op& op = core_op(name);
    TensorRef any = empty(Ints(&kOnes[0], 2), dtype);
    Value args[kMaxArgs];
    for (uint8_t i : op.operands) args[i] = Value(any);
    Tensors outs;
    Call c{op, args, outs};
    Variant& v = find_variant(c);
    count_ = static_cast<int>(v.outputs.size() + op.operands.size());
    LayoutClass rows;
    for (int i = 0; i < count_; ++i) rows.add(i, 2, 1);
    kernel_ = v.kernel(rows, count_, 2, Device{});
  }
  // Columns [begin, end) of some rows. Operands: outputs, then inputs, in the schema's order.
  void run(int64_t rows, int64_t begin, int64_t end, std::initializer_list<Matrix> operands) const {
    void* ptr[kMaxOperands];
    int64_t geometry[4 + 2 * kMaxOperands] = {0, rows, 0, end - begin};
    int i = 0;
    for (const Matrix& m : operands) {
      ptr[i] = static_cast<char*>(m.data) + begin * bytes_;
      geometry[4 + 2 * i] = m.row;
      geometry[5 + 2 * i++] = 1;
    }
    kernel_.fn(ptr, geometry, nullptr, nullptr);
  }

 private:
  static constexpr int64_t kOnes[2] = {1, 1};
  Kernel kernel_;
  int64_t bytes_;
  int count_;
};

// Threads share the columns of a state; `work`: multiplications for one column.
template <class F>
void share_columns(DType dtype, int64_t columns, int64_t work, const F& body) {
  constexpr int64_t kWorkPerThread = 1 << 18;
  parallel_for(columns, std::max<int64_t>(1, kWorkPerThread / std::max<int64_t>(1, work)),
               panel_columns(dtype), body);
}

// The weight of a gate, rows [gate * size, (gate + 1) * size) of w, as a right operand.
std::vector<Factor> gate_factors(const Argument& w, int gates, const Steps& steps) {
  const int64_t size = w.kept->layout->size(0) / gates;
  std::vector<Factor> factors;
  for (int g = 0; g < gates; ++g) {
    factors.emplace_back(w.kept->dtype, Matrix{w.at(g * size).data, 1, w.width}, w.width, size,
                         steps);
  }
  return factors;
}

// Gradients of states before the backward steps: those of the outputs and of the last states.
void begin_gradients(const Steps& steps, const Value& g_output, const Value& g_last,
                     const States& g) {
  const auto zero = [](const Rows& r, int64_t count) {
    std::memset(r.data, 0, count * r.width * r.bytes);
  };
  zero(g.initial, static_cast<int64_t>(steps.last.size()));
  if (!g_output.none()) {
    g.steps.copy(0, Argument(g_output), 0, steps.rows);
  } else {
    zero(g.steps, steps.rows);
  }
  if (g_last.none()) return;
  const Argument from(g_last);
  with_real_type(from.kept->dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    for (size_t i = 0; i < steps.last.size(); ++i) {
      T* to = static_cast<T*>(g.steps.at(steps.last[i]).data);
      const T* more = static_cast<const T*>(from.at(i).data);
      for (int64_t j = 0; j < from.width; ++j) to[j] = static_cast<T>(to[j] + more[j]);
    }
  });
}

// ---- Arguments --------------------------------------------------------------------------------

TensorRef& push(Call& c, std::initializer_list<int64_t> sizes, const Tensor& like) {
  c.outs.push(
      empty(Ints(sizes.begin(), static_cast<int64_t>(sizes.size())), like.dtype, like.device()));
  return c.outs[c.outs.size() - 1];
}

void check(const Value& v, const char* name, std::initializer_list<int64_t> sizes, DType dtype) {
  if (v.none()) return;
  const Tensor& t = v.t();
  const Ints expected(sizes.begin(), static_cast<int64_t>(sizes.size()));
  if (t.sizes() != expected) {
    fail(Error::Runtime, "expected ", name, " to have sizes ", format(expected), "; got ",
         format(t.sizes()));
  }
  if (t.dtype != dtype) {
    fail(Error::Runtime, "expected all tensors to have one dtype; ", name, " is ",
         info(t.dtype).name, ", the hidden weight ", info(dtype).name);
  }
}

// Sizes of a layer, from its hidden weight (gates * size, state) and the first states.
struct Sizes {
  int64_t rows, batch, gates, size, state;
  DType dtype;

  Sizes(const Value& weight, const Value& h0, const Value& batch_sizes, int64_t gates)
      : gates(gates) {
    const Tensor &w = weight.t(), &h = h0.t();
    dtype = w.dtype;
    if (dtype != DType::F32 && dtype != DType::F64) {
      fail(Error::Runtime, "not implemented for '", info(dtype).legacy, "'");
    }
    if (w.ndim() != 2 || h.ndim() != 2 || w.layout->size(0) % gates) {
      fail(Error::Runtime, "expected a hidden weight of ", gates,
           " gates and states of 2 dims; got ", format(w.sizes()), " and ", format(h.sizes()));
    }
    size = w.layout->size(0) / gates;
    state = w.layout->size(1);
    rows = check_batch_sizes(batch_sizes.ints());
    batch = batch_sizes.ints().size ? batch_sizes.ints()[0] : 0;
    check(h0, "the hidden state", {batch, state}, dtype);
  }
  void check_input(const Value& input, const Value& weight, const Value& b_ih,
                   const Value& b_hh) const {
    const Tensor& w = weight.t();
    const int64_t features = w.ndim() == 2 ? w.layout->size(1) : 0;
    check(weight, "the input weight", {gates * size, features}, dtype);
    check(input, "the input", {rows, features}, dtype);
    check(b_ih, "the input's bias", {gates * size}, dtype);
    check(b_hh, "the hidden bias", {gates * size}, dtype);
  }
  double work() const { return static_cast<double>(rows) * gates * size * state; }
};

// b_ih + b_hh, the second only up to `count`; nothing if there are no biases.
Argument sum_of(const Value& b_ih, const Value& b_hh, int64_t count) {
  if (b_ih.none()) return Argument(TensorRef());
  Argument sum(clone(b_ih.t()));
  const Argument hidden(b_hh);
  with_real_type(sum.kept->dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    T* to = sum.kept->template as<T>();
    const T* more = hidden.kept->template as<T>();
    for (int64_t i = 0; i < count; ++i) to[i] = static_cast<T>(to[i] + more[i]);
  });
  return sum;
}

// The input's part of all gates of all steps.
void project_input(const Sizes& s, const Argument& x, const Argument& w_ih, const Argument& bias,
                   const Matrix& gates) {
  Product p;
  p.dtype = s.dtype;
  p.m = s.rows;
  p.n = s.gates * s.size;
  p.k = x.width;
  p.a = x.at(0);
  p.b = {w_ih.data, 1, w_ih.width};
  if (bias.data) p.add = {bias.data, 0, 1};
  p.out = gates;
  multiply(p);
}

// The steps backwards. `cell` turns the gradient of a run's states into that of its gates, `carry`
// hands it on to the states before. Both work on columns; `apart`: each needs all of the other's.
template <class CellF, class CarryF>
void backwards(const Steps& steps, const Sizes& s, bool apart, const CellF& cell,
               const CarryF& carry) {
  const int64_t n = static_cast<int64_t>(steps.runs.size());
  for (int64_t i = n; i >= 0; --i) {
    const Run* later = i < n ? &steps.runs[i] : nullptr;
    const Run* now = i > 0 ? &steps.runs[i - 1] : nullptr;
    const int64_t rows = std::max(later ? later->rows : 0, now ? now->rows : 0);
    if (apart && later) {
      share_columns(s.dtype, s.state, rows * s.gates * s.size,
                    [&](int64_t begin, int64_t end) { carry(*later, begin, end); });
    }
    share_columns(s.dtype, s.size, rows * s.gates * s.size, [&](int64_t begin, int64_t end) {
      if (later && !apart) carry(*later, begin, end);
      if (now) cell(*now, begin, end);
    });
  }
}

// ---- LSTM -------------------------------------------------------------------------------------

// (input, h0, c0, w_ih, w_hh, b_ih, b_hh, w_hr, batch_sizes, reverse)
void infer_lstm(Call& c) {
  const Value* v = c.args;
  const Sizes s(v[4], v[1], v[8], 4);
  s.check_input(v[0], v[3], v[5], v[6]);
  check(v[2], "the cell state", {s.batch, s.size}, s.dtype);
  check(v[7], "the projection", {s.state, s.size}, s.dtype);
  if (v[7].none() && s.state != s.size) {
    fail(Error::Runtime, "expected a hidden weight with ", s.size, " columns; got ", s.state);
  }
  const Tensor& like = v[4].t();
  push(c, {s.rows, s.state}, like);     // output
  push(c, {s.batch, s.state}, like);    // hn
  push(c, {s.batch, s.size}, like);     // cn
  push(c, {s.rows, 4 * s.size}, like);  // activations
  push(c, {s.rows, s.size}, like);      // cells
}
void run_lstm(Call& c) {
  const Value* v = c.args;
  const Sizes s(v[4], v[1], v[8], 4);
  const Argument x(v[0]), h0(v[1]), c0(v[2]), w_ih(v[3]), w_hh(v[4]), w_hr(v[7]);
  const Rows output(*c.outs[0]), activations(*c.outs[3]), cells(*c.outs[4]);
  const States h{output, h0}, memory{cells, c0};
  const Steps steps(v[8].ints(), v[9].to_bool());
  const Argument bias = sum_of(v[5], v[6], 4 * s.size);
  const std::vector<Factor> gates = gate_factors(w_hh, 4, steps);
  const Factor project(s.dtype, {w_hr.data, 1, s.size}, s.size, w_hr.data ? s.state : 0, steps);
  const Argument raw(w_hr.data ? empty(c0.kept->sizes(), s.dtype) : TensorRef());
  const Cell cell("_lstm_cell", s.dtype);
  WithoutGil without(s.work() > kLongWork);
  project_input(s, x, w_ih, bias, activations.at(0));
  for (const Run& r : steps.runs) {
    auto gate = [&](int64_t g) { return activations.at(r.row, g * s.size); };
    const Matrix out = w_hr.data ? raw.at(r.sequence) : output.at(r.row);
    share_columns(s.dtype, s.size, r.rows * 4 * s.state, [&](int64_t begin, int64_t end) {
      for (int64_t g = 0; g < 4; ++g) {
        gates[g].multiply(r.rows, h.before(r), gate(g), gate(g), begin, end);
      }
      cell.run(r.rows, begin, end,
               {gate(0), gate(1), gate(2), gate(3), cells.at(r.row), out, gate(0), gate(1), gate(2),
                gate(3), memory.before(r)});
    });
    if (!w_hr.data) continue;
    share_columns(s.dtype, s.state, r.rows * s.size, [&](int64_t begin, int64_t end) {
      project.multiply(r.rows, out, {}, output.at(r.row), begin, end);
    });
  }
  h.last(steps, *c.outs[1]);
  memory.last(steps, *c.outs[2]);
}
TM_NATIVE("_lstm", infer_lstm, run_lstm);

// (g_output, g_hn, g_cn, activations, cells, output, h0, c0, w_hh, w_hr, batch_sizes, reverse)
void infer_lstm_backward(Call& c) {
  const Value* v = c.args;
  const Sizes s(v[8], v[6], v[10], 4);
  check(v[0], "the output's gradient", {s.rows, s.state}, s.dtype);
  check(v[1], "the last state's gradient", {s.batch, s.state}, s.dtype);
  check(v[2], "the last cell's gradient", {s.batch, s.size}, s.dtype);
  check(v[3], "the activations", {s.rows, 4 * s.size}, s.dtype);
  check(v[4], "the cells", {s.rows, s.size}, s.dtype);
  check(v[5], "the output", {s.rows, s.state}, s.dtype);
  check(v[7], "the cell state", {s.batch, s.size}, s.dtype);
  check(v[9], "the projection", {s.state, s.size}, s.dtype);
  const Tensor& like = v[8].t();
  push(c, {s.rows, 4 * s.size}, like);  // g_gates
  push(c, {s.batch, s.state}, like);    // g_h0
  push(c, {s.batch, s.size}, like);     // g_c0
  push(c, {s.rows, s.state}, like);     // g_states: of the output, whatever it is used for
  push(c, {s.rows, s.state}, like);     // before
}
void run_lstm_backward(Call& c) {
  const Value* v = c.args;
  const Sizes s(v[8], v[6], v[10], 4);
  const Argument activations(v[3]), cells(v[4]), output(v[5]), h0(v[6]), c0(v[7]), w_hh(v[8]),
      w_hr(v[9]);
  const Rows g_gates(*c.outs[0]), g_cells(*c.outs[2]);
  const States g{*c.outs[3], *c.outs[1]}, memory{cells, c0};
  const Steps steps(v[10].ints(), v[11].to_bool());
  begin_gradients(steps, v[0], v[1], g);
  if (v[2].none()) {
    fill(*c.outs[2], Number::integer(0));
  } else {
    copy_into(*c.outs[2], v[2].t());  // and from there to the states before, in place
  }
  const Factor hidden(s.dtype, {w_hh.data, s.state, 1}, 4 * s.size, s.state, steps);
  const Factor project(s.dtype, {w_hr.data, s.size, 1}, s.state, w_hr.data ? s.size : 0, steps);
  const Argument raw(w_hr.data ? empty(c0.kept->sizes(), s.dtype) : TensorRef());
  const Cell cell("_lstm_cell_backward", s.dtype);
  WithoutGil without(s.work() > kLongWork);
  States{output, h0}.gather(steps, *c.outs[4]);
  backwards(
      steps, s, w_hr.data != nullptr,
      [&](const Run& r, int64_t begin, int64_t end) {
        auto gate = [&](int64_t i) { return activations.at(r.row, i * s.size); };
        auto g_gate = [&](int64_t i) { return g_gates.at(r.row, i * s.size); };
        Matrix g_h = g.steps.at(r.row);
        if (w_hr.data) {
          project.multiply(r.rows, g_h, {}, raw.at(r.sequence), begin, end);
          g_h = raw.at(r.sequence);
        }
        const Matrix g_c = g_cells.at(r.sequence);
        cell.run(r.rows, begin, end,
                 {g_gate(0), g_gate(1), g_gate(2), g_gate(3), g_c, g_h, g_c, gate(0), gate(1),
                  gate(2), gate(3), memory.before(r), cells.at(r.row)});
      },
      [&](const Run& r, int64_t begin, int64_t end) {
        hidden.multiply(r.rows, g_gates.at(r.row), g.before(r), g.before(r), begin, end);
      });
}
TM_NATIVE("_lstm_backward", infer_lstm_backward, run_lstm_backward);

// ---- GRU --------------------------------------------------------------------------------------

// (input, h0, w_ih, w_hh, b_ih, b_hh, batch_sizes, reverse)
void infer_gru(Call& c) {
  const Value* v = c.args;
  const Sizes s(v[3], v[1], v[6], 3);
  s.check_input(v[0], v[2], v[4], v[5]);
  check(v[3], "the hidden weight", {3 * s.size, s.size}, s.dtype);
  const Tensor& like = v[3].t();
  push(c, {s.rows, s.size}, like);      // output
  push(c, {s.batch, s.size}, like);     // hn
  push(c, {s.rows, 4 * s.size}, like);  // activations: r, z, n, and the hidden part of n
}
void run_gru(Call& c) {
  const Value* v = c.args;
  const Sizes s(v[3], v[1], v[6], 3);
  const Argument x(v[0]), h0(v[1]), w_ih(v[2]), w_hh(v[3]), b_hh(v[5]);
  const Rows output(*c.outs[0]), activations(*c.outs[2]);
  const States h{output, h0};
  const Steps steps(v[6].ints(), v[7].to_bool());
  const Argument bias = sum_of(v[4], v[5], 2 * s.size);  // that of n's hidden part stands apart
  const Matrix bias_n = b_hh.data ? Matrix{b_hh.at(0, 2 * s.size).data, 0, 1} : Matrix{};
  const std::vector<Factor> gates = gate_factors(w_hh, 3, steps);
  const Cell cell("_gru_cell", s.dtype);
  WithoutGil without(s.work() > kLongWork);
  project_input(s, x, w_ih, bias, activations.at(0));
  for (const Run& r : steps.runs) {
    auto gate = [&](int64_t g) { return activations.at(r.row, g * s.size); };
    share_columns(s.dtype, s.size, r.rows * 3 * s.size, [&](int64_t begin, int64_t end) {
      for (int64_t g = 0; g < 2; ++g) {
        gates[g].multiply(r.rows, h.before(r), gate(g), gate(g), begin, end);
      }
      gates[2].multiply(r.rows, h.before(r), bias_n, gate(3), begin, end);
      cell.run(r.rows, begin, end,
               {gate(0), gate(1), gate(2), output.at(r.row), gate(0), gate(1), gate(2), gate(3),
                h.before(r)});
    });
  }
  h.last(steps, *c.outs[1]);
}
TM_NATIVE("_gru", infer_gru, run_gru);

// (g_output, g_hn, activations, output, h0, w_hh, batch_sizes, reverse)
void infer_gru_backward(Call& c) {
  const Value* v = c.args;
  const Sizes s(v[5], v[4], v[6], 3);
  check(v[0], "the output's gradient", {s.rows, s.size}, s.dtype);
  check(v[1], "the last state's gradient", {s.batch, s.size}, s.dtype);
  check(v[2], "the activations", {s.rows, 4 * s.size}, s.dtype);
  check(v[3], "the output", {s.rows, s.size}, s.dtype);
  const Tensor& like = v[5].t();
  push(c, {s.rows, 3 * s.size}, like);  // g_gates
  push(c, {s.rows, 3 * s.size}, like);  // g_hidden: of their hidden parts
  push(c, {s.batch, s.size}, like);     // g_h0
  push(c, {s.rows, s.size}, like);      // before
}
void run_gru_backward(Call& c) {
  const Value* v = c.args;
  const Sizes s(v[5], v[4], v[6], 3);
  const Argument activations(v[2]), output(v[3]), h0(v[4]), w_hh(v[5]);
  const Rows g_gates(*c.outs[0]), g_hidden(*c.outs[1]);
  const Argument g_states(empty(output.kept->sizes(), s.dtype));
  const States h{output, h0}, g{g_states, *c.outs[2]};
  const Steps steps(v[6].ints(), v[7].to_bool());
  begin_gradients(steps, v[0], v[1], g);
  const Factor hidden(s.dtype, {w_hh.data, s.size, 1}, 3 * s.size, s.size, steps);
  const Cell cell("_gru_cell_backward", s.dtype);
  WithoutGil without(s.work() > kLongWork);
  h.gather(steps, *c.outs[3]);
  backwards(
      steps, s, false,
      [&](const Run& r, int64_t begin, int64_t end) {
        auto gate = [&](int64_t i) { return activations.at(r.row, i * s.size); };
        auto by_input = [&](int64_t i) { return g_gates.at(r.row, i * s.size); };
        auto by_hidden = [&](int64_t i) { return g_hidden.at(r.row, i * s.size); };
        const Matrix g_h = g.steps.at(r.row);
        cell.run(r.rows, begin, end,
                 {by_input(0), by_input(1), by_input(2), by_hidden(0), by_hidden(1), by_hidden(2),
                  g.before(r), g_h, g.before(r), gate(0), gate(1), gate(2), gate(3), h.before(r)});
      },
      [&](const Run& r, int64_t begin, int64_t end) {
        hidden.multiply(r.rows, g_hidden.at(r.row), g.before(r), g.before(r), begin, end);
      });
}
TM_NATIVE("_gru_backward", infer_gru_backward, run_gru_backward);

// ---- The plain recurrence -----------------------------------------------------------------------

// (input, h0, w_ih, w_hh, b_ih, b_hh, batch_sizes, reverse, relu)
void infer_rnn(Call& c) {
  const Value* v = c.args;
  const Sizes s(v[3], v[1], v[6], 1);
  s.check_input(v[0], v[2], v[4], v[5]);
  check(v[3], "the hidden weight", {s.size, s.size}, s.dtype);
  push(c, {s.rows, s.size}, v[3].t());   // output
  push(c, {s.batch, s.size}, v[3].t());  // hn
}
void run_rnn(Call& c) {
  const Value* v = c.args;
  const Sizes s(v[3], v[1], v[6], 1);
  const Argument x(v[0]), h0(v[1]), w_ih(v[2]), w_hh(v[3]);
  const Rows output(*c.outs[0]);
  const States h{output, h0};
  const Steps steps(v[6].ints(), v[7].to_bool());
  const Argument bias = sum_of(v[4], v[5], s.size);
  const Factor hidden(s.dtype, {w_hh.data, 1, s.size}, s.size, s.size, steps);
  const Cell cell(v[8].to_bool() ? "relu" : "tanh", s.dtype);
  WithoutGil without(s.work() > kLongWork);
  project_input(s, x, w_ih, bias, output.at(0));
  for (const Run& r : steps.runs) {
    const Matrix out = output.at(r.row);
    share_columns(s.dtype, s.size, r.rows * s.size, [&](int64_t begin, int64_t end) {
      hidden.multiply(r.rows, h.before(r), out, out, begin, end);
      cell.run(r.rows, begin, end, {out, out});
    });
  }
  h.last(steps, *c.outs[1]);
}
TM_NATIVE("_rnn", infer_rnn, run_rnn);

// (g_output, g_hn, output, h0, w_hh, batch_sizes, reverse, relu)
void infer_rnn_backward(Call& c) {
  const Value* v = c.args;
  const Sizes s(v[4], v[3], v[5], 1);
  check(v[0], "the output's gradient", {s.rows, s.size}, s.dtype);
  check(v[1], "the last state's gradient", {s.batch, s.size}, s.dtype);
  check(v[2], "the output", {s.rows, s.size}, s.dtype);
  push(c, {s.rows, s.size}, v[4].t());   // g_gates
  push(c, {s.batch, s.size}, v[4].t());  // g_h0
  push(c, {s.rows, s.size}, v[4].t());   // before
}
void run_rnn_backward(Call& c) {
  const Value* v = c.args;
  const Sizes s(v[4], v[3], v[5], 1);
  const Argument output(v[2]), h0(v[3]), w_hh(v[4]);
  const Rows g_gates(*c.outs[0]);
  const Argument g_states(empty(output.kept->sizes(), s.dtype));
  const States g{g_states, *c.outs[1]};
  const Steps steps(v[5].ints(), v[6].to_bool());
  begin_gradients(steps, v[0], v[1], g);
  const Factor hidden(s.dtype, {w_hh.data, s.size, 1}, s.size, s.size, steps);
  const Cell cell(v[7].to_bool() ? "_rnn_relu_backward" : "_rnn_tanh_backward", s.dtype);
  WithoutGil without(s.work() > kLongWork);
  States{output, h0}.gather(steps, *c.outs[2]);
  backwards(
      steps, s, false,
      [&](const Run& r, int64_t begin, int64_t end) {
        cell.run(r.rows, begin, end, {g_gates.at(r.row), g.steps.at(r.row), output.at(r.row)});
      },
      [&](const Run& r, int64_t begin, int64_t end) {
        hidden.multiply(r.rows, g_gates.at(r.row), g.before(r), g.before(r), begin, end);
      });
}
TM_NATIVE("_rnn_backward", infer_rnn_backward, run_rnn_backward);

}  // namespace
}  // namespace taimatsu
