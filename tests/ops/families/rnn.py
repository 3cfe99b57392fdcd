"""Recurrent layers and cells: loops over sequences, steps and layers in NumPy."""

from functools import partial

import numpy as np

import taimatsu as torch


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def _affine(x, weight, bias):
    return x @ weight.T + (0 if bias is None else bias)


def lstm_cell(x, hx, w_ih, w_hh, b_ih=None, b_hh=None, w_hr=None):
    h, c = hx
    i, f, n, o = np.split(_affine(x, w_ih, b_ih) + _affine(h, w_hh, b_hh), 4, -1)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(n)
    h = sigmoid(o) * np.tanh(c)
    return (h if w_hr is None else h @ w_hr.T), c


def gru_cell(x, h, w_ih, w_hh, b_ih=None, b_hh=None):
    r, z, n = np.split(_affine(x, w_ih, b_ih), 3, -1)
    hr, hz, hn = np.split(_affine(h, w_hh, b_hh), 3, -1)
    z = sigmoid(z + hz)
    return (1 - z) * np.tanh(n + sigmoid(r + hr) * hn) + z * h


def rnn_cell(activation, x, h, w_ih, w_hh, b_ih=None, b_hh=None):
    return activation(_affine(x, w_ih, b_ih) + _affine(h, w_hh, b_hh))


def tanh(x):
    return np.tanh(x, dtype=np.result_type(x, np.float32))  # of small integers NumPy's is float16


def relu(x):
    return np.maximum(x, 0)


def of_one_state(cell):
    """The cell with its state in a list, and a projection that it hasn't."""
    return lambda x, hx, *weights: (cell(x, *hx, *weights[:4]),)


CELLS = {
    "lstm": lstm_cell,
    "gru": of_one_state(gru_cell),
    "rnn_tanh": of_one_state(partial(rnn_cell, tanh)),
    "rnn_relu": of_one_state(partial(rnn_cell, relu)),
}


def run(cell, x, hx, weights, reverse):
    """One sequence (steps, features): its output (steps, size) and last states."""
    outputs = [None] * len(x)
    for t in reversed(range(len(x))) if reverse else range(len(x)):
        hx = cell(x[t], hx, *weights)
        outputs[t] = hx[0]
    return np.stack(outputs), hx


def stack(name, sequences, hx, params, has_biases, num_layers, bidirectional):
    """Sequences of any lengths through all layers: their outputs, and the last states."""
    directions = 2 if bidirectional else 1
    each = len(params) // (num_layers * directions)
    last = [s.copy() for s in hx]
    for layer in range(num_layers):
        ways = []
        for way in range(directions):
            at = layer * directions + way
            w_ih, w_hh, *rest = params[at * each : (at + 1) * each]
            biases, rest = (rest[:2], rest[2:]) if has_biases else ((None, None), rest)
            outputs = []
            for n, x in enumerate(sequences):
                y, states = run(CELLS[name], x, [s[at, n] for s in hx],
                                (w_ih, w_hh, *biases, *(rest or [None])), way == 1)
                outputs.append(y)
                for to, state in zip(last, states, strict=True):
                    to[at, n] = state
            ways.append(outputs)
        sequences = [np.concatenate(pieces, -1) for pieces in zip(*ways, strict=True)]
    return sequences, last


def over_batch(name, input, hx, params, has_biases, num_layers, dropout, train, bidirectional,
               batch_first):
    states = list(hx) if name == "lstm" else [hx]
    batch = input if batch_first else input.swapaxes(0, 1)
    outputs, last = stack(name, batch, states, params, has_biases, num_layers, bidirectional)
    output = np.stack(outputs)
    return output if batch_first else output.swapaxes(0, 1), *last


def over_packed(name, data, batch_sizes, hx, params, has_biases, num_layers, dropout, train,
                bidirectional):
    states = list(hx) if name == "lstm" else [hx]
    starts = np.cumsum(batch_sizes) - batch_sizes
    rows = [[start + n for start, size in zip(starts, batch_sizes, strict=True) if n < size]
            for n in range(batch_sizes[0])]
    outputs, last = stack(name, [data[r] for r in rows], states, params, has_biases, num_layers,
                          bidirectional)
    packed = np.empty((len(data), outputs[0].shape[-1]), data.dtype)
    for r, y in zip(rows, outputs, strict=True):
        packed[r] = y
    return packed, *last


ORACLES = {
    "lstm_cell": lstm_cell,
    "gru_cell": gru_cell,
    "rnn_tanh_cell": partial(rnn_cell, tanh),
    "rnn_relu_cell": partial(rnn_cell, relu),
    **{f"{name}.input": partial(over_batch, name) for name in CELLS},
    **{f"{name}.data": partial(over_packed, name) for name in CELLS},
}

_GATES = {"lstm": 4, "gru": 3, "rnn_tanh": 1, "rnn_relu": 1}


def _cells(name, t):
    g = _GATES[name]

    def states(*sizes):
        return [t(*sizes), t(*sizes)] if name == "lstm" else t(*sizes)

    return [
        (t(2, 3), states(2, 4), t(4 * g, 3), t(4 * g, 4), t(4 * g), t(4 * g)),
        (t(3), states(2), t(2 * g, 3), t(2 * g, 2)),
    ]


def _weights(name, t, features, size, layers, directions, biases=True, projected=0):
    g, state = _GATES[name], projected or size
    weights = []
    for layer in range(layers):
        for _ in range(directions):
            weights += [t(g * size, directions * state if layer else features), t(g * size, state)]
            weights += [t(g * size), t(g * size)] if biases else []
            weights += [t(projected, size)] if projected else []
    return weights


def _states(name, t, count, batch, size, projected=0):
    h = t(count, batch, projected or size)
    return [h, t(count, batch, size)] if name == "lstm" else h


def _layers(name, t):
    w, s = partial(_weights, name, t), partial(_states, name, t)
    calls = [
        (t(3, 2, 3), s(1, 2, 2), w(3, 2, 1, 1), True, 1, 0.0, False, False, False),
        (t(2, 3, 2), s(4, 2, 2), w(2, 2, 2, 2, False), False, 2, 0.5, False, True, True),
    ]
    if name == "lstm":
        calls.append((t(3, 2, 3), s(2, 2, 3, 2), w(3, 3, 1, 2, True, 2), True, 1, 0.0, True, True,
                      False))
    return calls


def _packed(name, t):
    w, s = partial(_weights, name, t), partial(_states, name, t)
    sizes = torch.tensor([3, 2, 2, 1])
    return [(t(8, 2), sizes, s(2, 3, 2), w(2, 2, 1, 2), True, 1, 0.0, False, True)]


HINTS = {
    **{f"{name}_cell": partial(_cells, name) for name in CELLS},
    **{f"{name}.input": partial(_layers, name) for name in CELLS},
    **{f"{name}.data": partial(_packed, name) for name in CELLS},
}
