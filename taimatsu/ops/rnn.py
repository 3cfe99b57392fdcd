"""Recurrent layers: cells, whole layers, and the stacks that `nn.RNN`, `LSTM` and `GRU` call.

A cell's arithmetic is a formula; a layer is a routine (csrc/cpu/rnn.cpp) that multiplies the state
by the hidden weight and launches the cell's kernel, step after step. Its gradient is another such
routine, and products over all steps; where that gradient is to be differentiated itself, the layer
is unrolled into cells.

Inside, sequences lie as in a PackedSequence: rows of step after step, in each one for every
sequence that is long enough, longest first; `batch_sizes` counts them.
"""

from __future__ import annotations

from taimatsu.codegen.promote import FLOATING

from .activation import sigmoid
from .arithmetic import tanh
from .comparison import where
from .linalg import linear
from .shape import cat, stack
from .table import composite, native, pointwise

_HIDDEN = {"module": None, "method": False, "out": False}
_CELL = {**_HIDDEN, "inplace": False, "dtypes": FLOATING}


# ---- Cells -----------------------------------------------------------------------------------
# The parts of the gates are those of Hochreiter and Schmidhuber (1997) with forget gates, and of
# Cho et al. (2014): i input, f forget, n new, o output; r reset, z update. What a cell launched by
# a routine gives beside its state is for the backward pass; on the tape there is the state alone.


@pointwise("_lstm_cell(Tensor i, Tensor f, Tensor n, Tensor o, Tensor c) -> (Tensor si, Tensor sf,"
           " Tensor tn, Tensor so, Tensor c1, Tensor h)", **_CELL)
def lstm_cell_parts(i, f, n, o, c):
    """The activated gates, the cell and the hidden state."""
    i, f, n, o = sigmoid(i), sigmoid(f), tanh(n), sigmoid(o)
    c = f * c + i * n
    return i, f, n, o, c, o * tanh(c)


@pointwise("_lstm_cell_backward(Tensor g_h, Tensor g_c, Tensor i, Tensor f, Tensor n, Tensor o,"
           " Tensor c, Tensor c1) -> (Tensor, Tensor, Tensor, Tensor, Tensor)", **_CELL)
def lstm_cell_backward(g_h, g_c, i, f, n, o, c, c1):
    """From activated gates and the cell before and after, the gradients of gates and cell."""
    t = tanh(c1)
    g_c = g_c + g_h * o * (1 - t * t)
    return (g_c * n * i * (1 - i), g_c * c * f * (1 - f), g_c * i * (1 - n * n),
            g_h * t * o * (1 - o), g_c * f)


@pointwise("_lstm_cell_state(Tensor i, Tensor f, Tensor n, Tensor o, Tensor c) -> (Tensor c1,"
           " Tensor h)", **_CELL)
def lstm_cell_state(i, f, n, o, c):
    """The cell and the hidden state."""
    return lstm_cell_parts.formula(i, f, n, o, c)[4:]


@pointwise("_gru_cell(Tensor r, Tensor z, Tensor n, Tensor hn, Tensor h) -> (Tensor sr, Tensor sz,"
           " Tensor tn, Tensor h1)", **_CELL)
def gru_cell_parts(r, z, n, hn, h):
    """The activated gates and the hidden state; `hn` is the hidden part of `n`."""
    r, z = sigmoid(r), sigmoid(z)
    n = tanh(n + r * hn)
    return r, z, n, n + z * (h - n)


@pointwise("_gru_cell_backward(Tensor g, Tensor g_before, Tensor r, Tensor z, Tensor n, Tensor hn,"
           " Tensor h) -> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)", **_CELL)
def gru_cell_backward(g, g_before, r, z, n, hn, h):
    """The gradients of the gates' input parts and hidden parts; the state's is added to another."""
    g_n = g * (1 - z) * (1 - n * n)
    g_r, g_z = g_n * hn * r * (1 - r), g * (h - n) * z * (1 - z)
    return g_r, g_z, g_n, g_r, g_z, g_n * r, g_before + g * z


@pointwise("_gru_cell_state(Tensor r, Tensor z, Tensor n, Tensor hr, Tensor hz, Tensor hn,"
           " Tensor h) -> Tensor", **_CELL)
def gru_cell_state(r, z, n, hr, hz, hn, h):
    """The hidden state; `hr`, `hz`, `hn` are the hidden parts of the gates."""
    return gru_cell_parts.formula(r + hr, z + hz, n, hn, h)[3]


@pointwise("_rnn_tanh_backward(Tensor g, Tensor h) -> Tensor", **_CELL)
def rnn_tanh_backward(g, h):
    """From the state h = tanh(x) the gradient of x."""
    return g * (1 - h * h)


@pointwise("_rnn_relu_backward(Tensor g, Tensor h) -> Tensor", **_CELL)
def rnn_relu_backward(g, h):
    """From the state h = relu(x) the gradient of x."""
    return where(h <= 0, 0, g)


def _lstm_step(input, states, w_ih, w_hh, b_ih, b_hh, w_hr=None):
    h, c = states
    gates = linear(input, w_ih, b_ih) + linear(h, w_hh, b_hh)
    c, h = lstm_cell_state(*gates.chunk(4, -1), c)
    return (h if w_hr is None else linear(h, w_hr)), c


def _gru_step(input, states, w_ih, w_hh, b_ih, b_hh):
    (h,) = states
    gates = linear(input, w_ih, b_ih).chunk(3, -1)
    return (gru_cell_state(*gates, *linear(h, w_hh, b_hh).chunk(3, -1), h),)


def _rnn_step(activation):
    def step(input, states, w_ih, w_hh, b_ih, b_hh):
        x = linear(input, w_ih, b_ih) + linear(states[0], w_hh, b_hh)
        return (x.relu() if activation == "relu" else x.tanh(),)

    return step


# ---- Layers ----------------------------------------------------------------------------------
# (input, h0, w_ih, w_hh, b_ih, b_hh, batch_sizes, reverse) -> the output, the last state, and what
# the backward pass needs. The backward ops give the gradient of the gates, and `before`: for each
# row of the output the state that its step began with.

_INPUT, _LAST = "Tensor input, Tensor h0", "Tensor? g_output, Tensor? g_hn"
_WEIGHTS = "Tensor w_ih, Tensor w_hh, Tensor? b_ih, Tensor? b_hh"
_SEQUENCE = "int[] batch_sizes, bool reverse"

_rnn = native(f"_rnn({_INPUT}, {_WEIGHTS}, {_SEQUENCE}, bool relu) -> (Tensor output, Tensor hn)",
              **_HIDDEN, doc="h' = tanh(or relu)(W_ih x + b_ih + W_hh h + b_hh).")
_rnn_backward = native(f"_rnn_backward({_LAST}, Tensor output, Tensor h0, Tensor w_hh, {_SEQUENCE},"
                       " bool relu) -> (Tensor g_gates, Tensor g_h0, Tensor before)",
                       **_HIDDEN, doc="`_rnn` backwards in time.")
_gru = native(f"_gru({_INPUT}, {_WEIGHTS}, {_SEQUENCE})"
              " -> (Tensor output, Tensor hn, Tensor activations)",
              **_HIDDEN, doc="The gated recurrent unit over all steps.")
_gru_backward = native(f"_gru_backward({_LAST}, Tensor activations, Tensor output, Tensor h0,"
                       f" Tensor w_hh, {_SEQUENCE})"
                       " -> (Tensor g_gates, Tensor g_hidden, Tensor g_h0, Tensor before)",
                       **_HIDDEN, doc="`_gru` backwards in time.")
_lstm = native(f"_lstm({_INPUT}, Tensor c0, {_WEIGHTS}, Tensor? w_hr, {_SEQUENCE}) -> "
               "(Tensor output, Tensor hn, Tensor cn, Tensor activations, Tensor cells)",
               **_HIDDEN, doc="Long short-term memory over all steps; w_hr projects the state.")
_lstm_backward = native(f"_lstm_backward({_LAST}, Tensor? g_cn, Tensor activations, Tensor cells,"
                        f" Tensor output, Tensor h0, Tensor c0, Tensor w_hh, Tensor? w_hr,"
                        f" {_SEQUENCE}) -> (Tensor g_gates, Tensor g_h0, Tensor g_c0,"
                        " Tensor g_states, Tensor before)",
                        **_HIDDEN, doc="`_lstm` backwards in time.")


def _unrolled(step, input, states, weights, batch_sizes, reverse):
    """A layer as ops on each step: (output, *last states)."""
    rows = input.split(list(batch_sizes))
    outputs = [None] * len(rows)
    for t in reversed(range(len(rows))) if reverse else range(len(rows)):
        size = batch_sizes[t]
        new = step(rows[t], [s[:size] for s in states], *weights)
        outputs[t] = new[0]
        states = [cat([n, s[size:]]) for n, s in zip(new, states, strict=True)]
    return cat(outputs), *states


def _recorded_gradient(layer, inputs, needs, gradients):
    """The gradient of `layer(*inputs)` as a graph, by way of the layer's ops."""
    from taimatsu.autograd import grad

    # Other names for the inputs: two of them may be one tensor.
    inputs = [x.view_as(x) if need else x for x, need in zip(inputs, needs, strict=True)]
    given = [(y, g) for y, g in zip(layer(*inputs), gradients, strict=True) if g is not None]
    wanted = [x for x, need in zip(inputs, needs, strict=True) if need]
    found = iter(grad([y for y, _ in given], wanted, [g for _, g in given], create_graph=True,
                      allow_unused=True))
    return tuple(next(found) if need else None for need in needs)


def _weight_gradients(g_gates, g_hidden, input, before, w_ih, needs):
    """Of input, w_ih, w_hh, b_ih, b_hh from that of the gates, by input and by state."""
    by_bias = g_gates.sum(0) if needs[3] or needs[4] else None
    return (
        g_gates @ w_ih if needs[0] else None,
        g_gates.mT @ input if needs[1] else None,
        g_hidden.mT @ before if needs[2] else None,
        by_bias,
        by_bias if g_hidden is g_gates or by_bias is None else g_hidden.sum(0),
    )


@_rnn.gradient
def _(g_output, g_hn, input, h0, w_ih, w_hh, b_ih, b_hh, batch_sizes, reverse, relu, output,
      needs):
    from taimatsu import is_grad_enabled

    if is_grad_enabled():
        step = _rnn_step("relu" if relu else "tanh")
        return _recorded_gradient(
            lambda x, h, *weights: _unrolled(step, x, [h], weights, batch_sizes, reverse),
            (input, h0, w_ih, w_hh, b_ih, b_hh), needs, (g_output, g_hn))
    g, g_h0, before = _rnn_backward(g_output, g_hn, output, h0, w_hh, batch_sizes, reverse, relu)
    g_input, *rest = _weight_gradients(g, g, input, before, w_ih, (needs[0], *needs[2:]))
    return g_input, g_h0, *rest


@_gru.gradient
def _(g_output, g_hn, input, h0, w_ih, w_hh, b_ih, b_hh, batch_sizes, reverse, output, activations,
      needs):
    from taimatsu import is_grad_enabled

    if is_grad_enabled():
        return _recorded_gradient(
            lambda x, h, *weights: _unrolled(_gru_step, x, [h], weights, batch_sizes, reverse),
            (input, h0, w_ih, w_hh, b_ih, b_hh), needs, (g_output, g_hn))
    g, g_hidden, g_h0, before = _gru_backward(g_output, g_hn, activations, output, h0, w_hh,
                                              batch_sizes, reverse)
    g_input, *rest = _weight_gradients(g, g_hidden, input, before, w_ih, (needs[0], *needs[2:]))
    return g_input, g_h0, *rest


@_lstm.gradient
def _(g_output, g_hn, g_cn, input, h0, c0, w_ih, w_hh, b_ih, b_hh, w_hr, batch_sizes, reverse,
      output, activations, cells, needs):
    from taimatsu import is_grad_enabled

    if is_grad_enabled():
        return _recorded_gradient(
            lambda x, h, c, *weights: _unrolled(_lstm_step, x, [h, c], weights, batch_sizes,
                                                reverse),
            (input, h0, c0, w_ih, w_hh, b_ih, b_hh, w_hr), needs, (g_output, g_hn, g_cn))
    g, g_h0, g_c0, g_states, before = _lstm_backward(
        g_output, g_hn, g_cn, activations, cells, output, h0, c0, w_hh, w_hr, batch_sizes, reverse)
    g_input, *rest = _weight_gradients(g, g, input, before, w_ih, (needs[0], *needs[3:7]))
    g_w_hr = None
    if needs[7]:  # by the state before its projection
        g_w_hr = g_states.mT @ (activations.chunk(4, -1)[3] * cells.tanh())
    return g_input, g_h0, g_c0, *rest, g_w_hr


# ---- Stacks of layers --------------------------------------------------------------------------


def _lstm_layer(input, states, weights, *sequence):
    return _lstm(input, *states, *weights, *sequence)[:3]


def _gru_layer(input, states, weights, *sequence):
    return _gru(input, *states, *weights[:4], *sequence)[:2]


def _rnn_layer(activation):
    def layer(input, states, weights, *sequence):
        return _rnn(input, *states, *weights[:4], *sequence, activation == "relu")

    return layer


def _in_f32(layer):
    """The layer for every dtype: 16-bit floats are computed in f32."""
    from taimatsu import bfloat16, float16, float32

    def run(input, states, weights, *sequence):
        dtype = input.dtype
        if dtype not in (float16, bfloat16):
            return layer(input, states, weights, *sequence)
        states = [s.to(float32) for s in states]
        weights = [w if w is None else w.to(float32) for w in weights]
        return [y.to(dtype) for y in layer(input.to(float32), states, weights, *sequence)]

    return run


def _grouped(name, params, has_biases, projected, count):
    """The weights of each layer and direction: w_ih, w_hh, b_ih, b_hh, w_hr, None where absent."""
    each = 2 + 2 * has_biases + projected
    if len(params) != each * count:
        raise RuntimeError(f"{name}: got an incorrect number of RNN parameters: {len(params)}, "
                           f"where {each * count} are expected")
    for first in range(0, len(params), each):
        w_ih, w_hh, *rest = params[first : first + each]
        biases = rest[:2] if has_biases else (None, None)
        yield w_ih, w_hh, *biases, rest[-1] if projected else None


def _stack(name, layer, rows, batch_sizes, hx, params, has_biases, num_layers, dropout, train,
           bidirectional):
    """All layers and directions over `rows`: (output, *last states)."""
    from taimatsu.nn.functional import dropout as drop

    directions = 2 if bidirectional else 1
    projected = len(hx) == 2 and hx[0].size(-1) != hx[1].size(-1)
    weights = _grouped(name, params, has_biases, projected, num_layers * directions)
    for s in hx:
        if s.dim() != 3 or s.size(0) != num_layers * directions:
            raise RuntimeError(f"{name}: Expected hidden states of sizes ({num_layers * directions}"
                               f", batch, size), got {list(s.shape)}")
    run = _in_f32(layer)
    last: list[list] = []
    for depth in range(num_layers):
        outputs = []
        for direction in range(directions):
            states = [s[len(last)] for s in hx]
            output, *states = run(rows, states, next(weights), batch_sizes, direction == 1)
            outputs.append(output)
            last.append(states)
        rows = cat(outputs, -1) if bidirectional else outputs[0]
        if dropout and train and depth < num_layers - 1:
            rows = drop(rows, dropout, True)
    return rows, *(stack(states) for states in zip(*last, strict=True))


def _over_batch(name, layer, input, hx, params, has_biases, num_layers, dropout, train,
                bidirectional, batch_first):
    """Sequences of one length: input (steps, batch, features), or batch first."""
    if input.dim() != 3:
        raise RuntimeError(f"{name}: input must have 3 dimensions, got {input.dim()}")
    if batch_first:
        input = input.transpose(0, 1)
    steps, batch, _ = input.shape
    if steps == 0:
        raise RuntimeError(f"{name}: Expected sequence length to be larger than 0 in RNN")
    output, *last = _stack(name, layer, input.flatten(0, 1), [batch] * steps, hx, params,
                           has_biases, num_layers, dropout, train, bidirectional)
    output = output.unflatten(0, (steps, batch))
    return output.transpose(0, 1) if batch_first else output, *last


def _over_packed(name, layer, data, batch_sizes, hx, params, has_biases, num_layers, dropout,
                 train, bidirectional):
    """Sequences of several lengths: data (rows, features) as a PackedSequence has them."""
    if data.dim() != 2:
        raise RuntimeError(f"{name}: input must have 2 dimensions, got {data.dim()}")
    return _stack(name, layer, data, batch_sizes.tolist(), hx, params, has_biases, num_layers,
                  dropout, train, bidirectional)


_OPTIONS = "bool has_biases, int num_layers, float dropout, bool train, bool bidirectional"


def _public(name, layer, states, about):
    """The two overloads of a stack: for a batch, and for packed sequences."""
    hidden = "Tensor[] hx" if states == 2 else "Tensor hx"
    outputs = ", ".join(["Tensor"] * (states + 1))

    def as_list(hx):
        hx = list(hx) if states == 2 else [hx]
        if len(hx) != states:
            raise RuntimeError(f"{name} expects two hidden states; got {len(hx)}")
        return hx

    @composite(f"{name}.input(Tensor input, {hidden}, Tensor[] params, {_OPTIONS},"
               f" bool batch_first) -> ({outputs})", method=False, doc=f"""{about}

    input: (steps, batch, features), or with `batch_first` (batch, steps, features); `hx`: the
    first states, (layers * directions, batch, size); `params`: w_ih, w_hh, b_ih, b_hh (and w_hr)
    of each layer and direction. Gives the output, (steps, batch, directions * size), and the last
    states. `dropout` acts between layers in training. RuntimeError if sizes don't match.
    """)  # fmt: skip
    def over_batch(input, hx, params, *options):
        return _over_batch(name, layer, input, as_list(hx), list(params), *options)

    @composite(f"{name}.data(Tensor data, Tensor batch_sizes, {hidden}, Tensor[] params,"
               f" {_OPTIONS}) -> ({outputs})", method=False,
               doc=f"{about} For packed sequences.")
    def over_packed(data, batch_sizes, hx, params, *options):
        return _over_packed(name, layer, data, batch_sizes, as_list(hx), list(params), *options)

    return over_batch, over_packed


lstm = _public("lstm", _lstm_layer, 2, "Layers of long short-term memory.")
gru = _public("gru", _gru_layer, 1, "Layers of gated recurrent units.")
rnn_tanh = _public("rnn_tanh", _rnn_layer("tanh"), 1, "Recurrent layers with tanh.")
rnn_relu = _public("rnn_relu", _rnn_layer("relu"), 1, "Recurrent layers with relu.")


# ---- Single steps --------------------------------------------------------------------------------


def _check_cell(name, input, states, w_ih, w_hh):
    """The sizes of a cell's arguments, which products alone would not refuse (or not clearly)."""
    if input.size(-1) != w_ih.size(-1):
        raise RuntimeError(f"{name}: input has inconsistent input_size: got {input.size(-1)}, "
                           f"expected {w_ih.size(-1)}")
    for i, h in enumerate(states):
        if h.shape[:-1] != input.shape[:-1]:
            raise RuntimeError(f"{name}: Input batch size doesn't match that of hidden{i}: got "
                               f"{list(input.shape)} and {list(h.shape)}")
        if h.size(-1) != w_hh.size(-1):
            raise RuntimeError(f"{name}: hidden{i} has inconsistent hidden_size: got {h.size(-1)}, "
                               f"expected {w_hh.size(-1)}")


_CELL_WEIGHTS = "Tensor w_ih, Tensor w_hh, Tensor? b_ih=None, Tensor? b_hh=None"


@composite(f"lstm_cell(Tensor input, Tensor[] hx, {_CELL_WEIGHTS}) -> (Tensor, Tensor)",
           method=False)
def lstm_cell(input, hx, w_ih, w_hh, b_ih, b_hh):
    """A step of long short-term memory: the hidden state and the cell.

    input: (batch, features) or (features); hx: h and c, (batch, size) or (size); w_ih
    (4 * size, features) and w_hh (4 * size, size) have the rows of i, f, g, o.
    RuntimeError if sizes don't match.
    """
    if len(hx) != 2:
        raise RuntimeError(f"lstm_cell expects two hidden states; got {len(hx)}")
    _check_cell("lstm_cell", input, hx, w_ih, w_hh)
    return _lstm_step(input, hx, w_ih, w_hh, b_ih, b_hh)


def _single(name, step, gates, about):
    @composite(f"{name}(Tensor input, Tensor hx, {_CELL_WEIGHTS}) -> Tensor", method=False,
               doc=f"""{about}

    input: (batch, features) or (features); hx: (batch, size) or (size); w_ih
    ({gates}size, features), w_hh ({gates}size, size). RuntimeError if sizes don't match.
    """)  # fmt: skip
    def cell(input, hx, w_ih, w_hh, b_ih, b_hh):
        _check_cell(name, input, [hx], w_ih, w_hh)
        return step(input, [hx], w_ih, w_hh, b_ih, b_hh)[0]

    return cell


gru_cell = _single("gru_cell", _gru_step, "3 * ", "A step of a gated recurrent unit.")
rnn_tanh_cell = _single("rnn_tanh_cell", _rnn_step("tanh"), "", "A recurrent step with tanh.")
rnn_relu_cell = _single("rnn_relu_cell", _rnn_step("relu"), "", "A recurrent step with relu.")
