"""What goes on step by step: recurrent layers, alignments, linear recurrences."""

from __future__ import annotations

import math

import taimatsu as torch

from .. import rnn
from . import computes
from .lines import iota


def _steps(batch_sizes, reverse):
    """(first row, rows) of each step, in the order in which they are taken."""
    first, found = 0, []
    for n in batch_sizes:
        found.append((first, n))
        first += n
    return found[::-1] if reverse else found


def _gates(input, w_ih, b_ih):
    from .products import linear

    return linear(input, w_ih, b_ih)


def _last(states, new, n):
    return [torch.cat([a, b[n:]]) for a, b in zip(new, states, strict=True)]


def _run(step, input, states, batch_sizes, reverse):
    """`step(rows, states) -> (states, *kept)`; what is kept of all steps, and the last states."""
    found = []
    for first, n in _steps(batch_sizes, reverse):
        new, *kept = step(input.narrow(0, first, n), [s[:n] for s in states])
        states = _last(states, new, n)
        found.append(kept)
    order = found[::-1] if reverse else found
    return [torch.cat(parts) for parts in zip(*order, strict=True)], states


@computes("_rnn")
def _(input, h0, w_ih, w_hh, b_ih, b_hh, batch_sizes, reverse, relu):
    def step(x, states):
        x = x + _gates(states[0], w_hh, b_hh)
        h = x.relu() if relu else x.tanh()
        return [h], h

    (output,), (hn,) = _run(step, _gates(input, w_ih, b_ih), [h0], batch_sizes, reverse)
    return output, hn


@computes("_gru")
def _(input, h0, w_ih, w_hh, b_ih, b_hh, batch_sizes, reverse):
    def step(x, states):
        (xr, xz, xn), (hr, hz, hn) = x.chunk(3, -1), _gates(states[0], w_hh, b_hh).chunk(3, -1)
        r, z, n, h = rnn.gru_cell_parts(xr + hr, xz + hz, xn, hn, states[0])
        return [h], h, torch.cat([r, z, n, hn], -1)

    (output, kept), (hn,) = _run(step, _gates(input, w_ih, b_ih), [h0], batch_sizes, reverse)
    return output, hn, kept


@computes("_lstm")
def _(input, h0, c0, w_ih, w_hh, b_ih, b_hh, w_hr, batch_sizes, reverse):
    def step(x, states):
        gates = x + _gates(states[0], w_hh, b_hh)
        i, f, n, o, c, h = rnn.lstm_cell_parts(*gates.chunk(4, -1), states[1])
        if w_hr is not None:
            h = _gates(h, w_hr, None)
        return [h, c], h, torch.cat([i, f, n, o], -1), c

    (output, kept, cells), (hn, cn) = _run(step, _gates(input, w_ih, b_ih), [h0, c0], batch_sizes,
                                           reverse)  # fmt: skip
    return output, hn, cn, kept, cells


def _before(steps, initial, batch_sizes, reverse):
    """For each row of the output the state that its step began with."""
    states, found = initial, []
    for first, n in _steps(batch_sizes, reverse):
        found.append(states[:n])
        states = torch.cat([steps.narrow(0, first, n), states[n:]])
    return torch.cat(found[::-1] if reverse else found)


def _run_back(step, g_output, g_last, batch_sizes, reverse, like):
    """The steps backwards: `step(first, n, gradients of the states) -> (those before, *kept)`."""
    found, states = [], g_last
    for first, n in reversed(_steps(batch_sizes, reverse)):
        g = [s[:n] for s in states]
        if g_output is not None:
            g[0] = g[0] + g_output.narrow(0, first, n)
        new, *kept = step(first, n, g)
        states = _last(states, new, n)
        found.append(kept)
    order = found if reverse else found[::-1]
    return [torch.cat(parts) for parts in zip(*order, strict=True)], states


def _or_zeros(g, like):
    return torch.zeros_like(like) if g is None else g


@computes("_rnn_backward")
def _(g_output, g_hn, output, h0, w_hh, batch_sizes, reverse, relu):
    from .products import product

    def step(first, n, g):
        cell = rnn.rnn_relu_backward if relu else rnn.rnn_tanh_backward
        gates = cell(g[0], output.narrow(0, first, n))
        return [product(gates, w_hh)], gates

    (gates,), (g_h0,) = _run_back(step, g_output, [_or_zeros(g_hn, h0)], batch_sizes, reverse, h0)
    return gates, g_h0, _before(output, h0, batch_sizes, reverse)


@computes("_gru_backward")
def _(g_output, g_hn, activations, output, h0, w_hh, batch_sizes, reverse):
    from .products import product

    before = _before(output, h0, batch_sizes, reverse)

    def step(first, n, g):
        r, z, new, hn = activations.narrow(0, first, n).chunk(4, -1)
        h = before.narrow(0, first, n)
        *parts, direct = rnn.gru_cell_backward(g[0], torch.zeros_like(g[0]), r, z, new, hn, h)
        gates, hidden = torch.cat(parts[:3], -1), torch.cat(parts[3:], -1)
        return [direct + product(hidden, w_hh)], gates, hidden

    (gates, hidden), (g_h0,) = _run_back(step, g_output, [_or_zeros(g_hn, h0)], batch_sizes,
                                         reverse, h0)  # fmt: skip
    return gates, hidden, g_h0, before


@computes("_lstm_backward")
def _(g_output, g_hn, g_cn, activations, cells, output, h0, c0, w_hh, w_hr, batch_sizes, reverse):
    from .products import product

    before, c_before = (_before(steps, first, batch_sizes, reverse)
                        for steps, first in ((output, h0), (cells, c0)))  # fmt: skip

    def step(first, n, g):
        i, f, new, o = activations.narrow(0, first, n).chunk(4, -1)
        g_h = g[0]
        cell = g_h if w_hr is None else product(g_h, w_hr)
        *gates, g_c = rnn.lstm_cell_backward(cell, g[1], i, f, new, o,
                                             c_before.narrow(0, first, n),
                                             cells.narrow(0, first, n))  # fmt: skip
        gates = torch.cat(gates, -1)
        return [product(gates, w_hh), g_c], gates, g_h

    last = [_or_zeros(g_hn, h0), _or_zeros(g_cn, c0)]
    (gates, states), (g_h0, g_c0) = _run_back(step, g_output, last, batch_sizes, reverse, h0)
    return gates, g_h0, g_c0, states, before


# ---- alignments (Graves et al., 2006): see csrc/cpu/ctc.cpp --------------------------------------


class _Alignments:
    """States blank, l1, blank, l2 ... of each sequence, of all sequences together."""

    def __init__(self, log_probs, targets, input_lengths, target_lengths, blank):
        self.log_probs, device = log_probs, log_probs.device
        lengths = target_lengths.to(torch.int64).to(device)
        self.times = input_lengths.to(torch.int64).to(device)
        targets = targets.to(torch.int64).to(device)
        batch = log_probs.size(1)
        longest = int(lengths.max()) if batch else 0
        at = iota(max(longest, 1), device).expand(batch, -1)
        if targets.dim() == 1:
            at = at + (lengths.cumsum(0) - lengths).unsqueeze(1)
            flat = targets
        else:
            at = at + (iota(batch, device) * targets.size(1)).unsqueeze(1)
            flat = targets.reshape(-1)
        inside = iota(max(longest, 1), device) < lengths.unsqueeze(1)
        at = torch.where(inside, at, 0)
        labels = flat[at] if flat.numel() else torch.zeros_like(at)
        n = 2 * longest + 1
        self.labels = torch.full([batch, n], blank, dtype=torch.int64, device=device)
        self.labels[:, 1::2] = labels[:, :longest]
        self.used = 2 * lengths + 1
        self.there = iota(n, device) < self.used.unsqueeze(1)
        self.skips = torch.zeros_like(self.there)
        self.skips[:, 3::2] = (labels[:, 1:] != labels[:, :-1])[:, : max(0, longest - 1)]

    def at(self, t):
        """The log probabilities of the states' labels."""
        return self.log_probs[t].gather(1, self.labels)


def _moved(x, by):
    """Columns moved to the right (or left), -inf in their place."""
    out = torch.full_like(x, -math.inf)
    n = x.size(1) - abs(by)
    if n > 0:
        out.narrow(1, max(by, 0), n).copy_(x.narrow(1, max(-by, 0), n))
    return out


def _log_sum(*parts):
    return torch.stack(parts).logsumexp(0)


@computes("_ctc_loss")
def _(log_probs, targets, input_lengths, target_lengths, blank, zero_infinity):
    a = _Alignments(log_probs, targets, input_lengths, target_lengths, blank)
    steps, batch = log_probs.shape[:2]
    states = a.labels.size(1)
    nothing = log_probs.new_full([batch, states], -math.inf)
    start = (iota(states, log_probs.device) < 2) & a.there & (a.times > 0).unsqueeze(1)
    now, all_ = nothing, []
    for t in range(steps):
        if t == 0:
            now = torch.where(start, a.at(0), nothing)
        else:
            skip = torch.where(a.skips, _moved(now, 2), -math.inf)
            following = _log_sum(now, _moved(now, 1), skip) + a.at(t)
            now = torch.where(a.there & (t < a.times).unsqueeze(1), following, nothing)
        all_.append(now)
    log_alpha = torch.stack(all_, 1) if steps else log_probs.new_zeros([batch, 0, states])
    if not steps:
        return torch.where(a.used == 1, 0.0, math.inf).to(log_probs.dtype), log_alpha
    last = (a.times - 1).clamp(min=0).reshape(-1, 1, 1).expand(-1, 1, states)
    final = log_alpha.gather(1, last).squeeze(1)
    end = (a.used - 1).unsqueeze(1)
    one = final.gather(1, end)
    two = torch.where(end > 0, final.gather(1, (end - 1).clamp(min=0)), -math.inf)
    loss = -_log_sum(one, two).squeeze(1)
    return torch.where((a.times == 0) & (a.used == 1), 0, loss), log_alpha


@computes("_ctc_loss_backward")
def _(log_probs, targets, input_lengths, target_lengths, grad, loss, log_alpha, blank,
      zero_infinity):
    a = _Alignments(log_probs, targets, input_lengths, target_lengths, blank)
    steps, batch, classes = log_probs.shape
    states = a.labels.size(1)
    place = iota(states, log_probs.device)
    nothing = log_probs.new_full([batch, states], -math.inf)
    ends = a.there & (place >= (a.used - 2).unsqueeze(1))
    skips = torch.zeros_like(a.skips)
    skips[:, :-2] = a.skips[:, 2:]
    beta, out = nothing, []
    skipped = (loss == math.inf) if zero_infinity else torch.zeros_like(loss, dtype=torch.bool)
    for t in reversed(range(steps)):
        skip = torch.where(skips, _moved(beta, -2), -math.inf)
        rest = _log_sum(beta, _moved(beta, -1), skip)
        rest = torch.where((a.times - 1 == t).unsqueeze(1),
                           torch.where(ends, 0.0, -math.inf).to(rest.dtype), rest)  # fmt: skip
        here = a.there & (t < a.times).unsqueeze(1)
        beta = torch.where(here, rest + a.at(t), nothing)
        both = log_alpha[:, t] + beta
        one_hot = a.labels.unsqueeze(2) == iota(classes, log_probs.device)
        share = torch.where(one_hot, both.unsqueeze(2), -math.inf).logsumexp(1)
        g = log_probs[t].exp() - (share + loss.unsqueeze(1) - log_probs[t]).exp()
        live = (t < a.times) & ~skipped
        out.append(torch.where(live.unsqueeze(1), g * grad.unsqueeze(1), 0))
    return torch.stack(out[::-1]) if steps else torch.zeros_like(log_probs)


# ---- linear recurrences ------------------------------------------------------------------------


@computes("_recurrence")
def _(a, b, dim, reverse):
    """y[i] = a[i] * y[i - 1] + b[i], by doubling: after step k each y sums 2^k terms."""
    if not b.dim():
        return b.clone()
    factor, y = a.movedim(dim, -1), b.movedim(dim, -1)
    if reverse:
        factor, y = factor.flip([-1]), y.flip([-1])
    distance = 1
    while distance < y.size(-1):
        n = y.size(-1) - distance
        new, product = y.clone(), factor.clone()
        new.narrow(-1, distance, n).add_(factor.narrow(-1, distance, n) * y.narrow(-1, 0, n))
        product.narrow(-1, distance, n).mul_(factor.narrow(-1, 0, n))
        factor, y = product, new
        distance *= 2
    y = y.flip([-1]) if reverse else y
    return y.movedim(-1, dim).contiguous()
