"""Attention by cuDNN: the whole of it is one graph, which its engines know by its form.

Scores are a product, a factor, what is added, a choice of keys, and a softmax in its steps; none of
them is ever in memory. The backward pass computes the weights again from the scores and the
logarithms of their sums. Operands are (batch, heads, length, width), of 16-bit floats.
"""

from __future__ import annotations

import math
from functools import cache

import taimatsu as torch
from taimatsu.backends import cuda, cudnn
from taimatsu.ops.anywhere import computes

from . import dnn

# cudnnPointwiseMode_t, cudnnReduceTensorOp_t
_ADD, _MUL, _DIV, _SUB, _EXP, _LOG, _IDENTITY, _AT_LEAST, _INDEX, _SELECT = (
    0, 1, 6, 9, 13, 15, 21, 303, 501, 601,
)  # fmt: skip
_SUM, _MAX = 0, 3

_ALIGNED = 8  # elements: cuDNN reads 16 bytes at a time, and doesn't look whether it may


_BROKEN = range(91000, 91002)  # versions whose attention NVIDIA's own front end refuses


@cache
def _version() -> int:
    return cudnn.version() or 0


# ---- graphs --------------------------------------------------------------------------------------


class _Graph(dnn.Graph):
    """Attention of operands of certain sizes."""

    def __init__(self, q: torch.Tensor, k: torch.Tensor):
        super().__init__()
        self.scores = *q.shape[:3], k.size(2)
        self.cells = *q.shape[:3], 1
        self.data_type = dnn.DATA_TYPES[q.dtype]

    def point(self, mode: int, *x: dnn.Descriptor) -> dnn.Descriptor:
        """A function of each score."""
        return self.pointwise(mode, self.between(self.scores), *x)

    def scored(self, q, keys, bias, scale: float) -> dnn.Descriptor:
        """keys: transposed."""
        scores = self.matmul(self.between(self.scores), q, keys)
        scores = self.point(_MUL, scores, self.constant(scale))
        return scores if bias is None else self.point(_ADD, scores, bias)

    def causal(self, scores: dnn.Descriptor) -> dnn.Descriptor:
        """Scores of no later key; for the others what has no weight."""
        row, column = (
            self.pointwise(_INDEX, self.between(self.scores, dnn.INT32), scores, axis=axis)
            for axis in (2, 3)
        )
        seen = self.pointwise(_AT_LEAST, self.between(self.scores, dnn.BOOLEAN), row, column,
                              computed=dnn.BOOLEAN)  # fmt: skip
        never = -math.inf if _version() >= 91000 else torch.finfo(torch.float32).min
        return self.point(_SELECT, scores, self.constant(never), seen)

    def turned(self, scores: dnn.Descriptor) -> dnn.Descriptor:
        """Their transpose, as a product takes it."""
        b, h, m, n = self.scores
        strides = h * m * n, m * n, 1, n
        return self.reshape(self.between((b, h, n, m), self.data_type, strides), scores)


def _forward(q, k, v, bias, out, stats, causal: bool, scale: float) -> dnn.Graph:
    """The largest score, weights relative to it, their sum; the logarithm of the sum is told."""
    g = _Graph(q, k)
    query, keys, values = g.given(q), g.given(k.mT), g.given(v)
    scores = g.scored(query, keys, None if bias is None else g.given(bias), scale)
    if causal:
        scores = g.causal(scores)
    to, told = g.given(out), g.given(stats)
    largest = g.reduction(_MAX, g.between(g.cells), scores)
    weights = g.point(_EXP, g.point(_SUB, scores, largest))
    total = g.reduction(_SUM, g.between(g.cells), weights)
    logarithm = g.pointwise(_LOG, g.between(g.cells), total)
    g.pointwise(_ADD, told, largest, logarithm)
    part = g.pointwise(_DIV, g.between(g.scores, g.data_type), weights, total)
    g.matmul(to, part, values)
    return g


def _backward(q, k, v, bias, out, grad, stats, sums, dq, dk, dv, wide_dq, causal: bool,
              scale: float) -> dnn.Graph:  # fmt: skip
    """`sums`: of grad * out for each query; `wide_dq`: dq in single precision, as it is summed."""
    g = _Graph(q, k)
    query, keys, values, output, slope, told = map(g.given, (q, k.mT, v.mT, out, grad, stats))
    added = None if bias is None else g.given(bias)
    delta, to_q, to_k, to_v, wide = map(g.given, (sums, dq, dk, dv, wide_dq))
    product = g.pointwise(_MUL, g.between(out.shape), slope, output)
    product = g.reduction(_SUM, g.between(g.cells), product)
    g.pointwise(_MUL, delta, product, g.constant(1.0))
    scores = g.point(_SUB, g.scored(query, keys, added, scale), told)
    if causal:
        scores = g.causal(scores)
    weights = g.point(_EXP, scores)
    g.matmul(to_v, g.turned(weights), slope)
    by_scores = g.point(_SUB, g.matmul(g.between(g.scores), slope, values), delta)
    by_scores = g.point(_MUL, g.point(_MUL, by_scores, weights), g.constant(scale))
    g.matmul(to_k, g.turned(by_scores), query)
    straight = g.reshape(g.between(k.shape, strides=k.stride()), keys)
    g.matmul(wide, by_scores, straight)
    g.pointwise(_IDENTITY, to_q, wide)
    return g


# ---- operands ------------------------------------------------------------------------------------


def _aligned(x: torch.Tensor) -> bool:
    steps = [s for n, s in zip(x.shape[:-1], x.stride(), strict=False) if n > 1]
    return (x.stride(-1) == 1 and all(s and s % _ALIGNED == 0 for s in steps)
            and x.data_ptr() % (_ALIGNED * x.itemsize) == 0)  # fmt: skip


def _fit(x: torch.Tensor) -> torch.Tensor:
    """As cuDNN reads it, copied where it isn't: (batch, heads, length, width)."""
    x = x[(None,) * (4 - x.dim())] if x.dim() < 4 else x.flatten(0, -4)
    return x if _aligned(x) else x.clone(memory_format=torch.contiguous_format)


def _joined(query, key, value, mask):
    """Of groups of heads that share keys, one dim of all heads; keys have fewer."""
    if query.dim() == 5 and query.size(2) > 1 and not key.stride(2) and not value.stride(2):
        mask = None if mask is None else mask.flatten(1, 2)
        return query.flatten(1, 2), key.select(2, 0), value.select(2, 0), mask
    return query, key, value, mask


def _bias(mask: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """What is added to the scores; heads and batches that have the same share it."""
    mask = mask[(None,) * (4 - mask.dim())] if mask.dim() < 4 else mask.flatten(0, -4)
    for d in range(3):
        mask = mask if mask.stride(d) else mask.narrow(d, 0, 1)
    pitch = -(-mask.size(3) // _ALIGNED) * _ALIGNED
    bias = like.new_empty([*mask.shape[:3], pitch])[..., : mask.size(3)]
    return bias.copy_(torch.where(mask, 0.0, -math.inf) if mask.dtype == torch.bool else mask)


def _sees(bias: torch.Tensor) -> torch.Tensor:
    """Which queries see a key at all: cuDNN doesn't say what it gives for others."""
    return (bias > -math.inf).any(-1)


def usable(query, key, value, mask, keep, is_causal: bool) -> bool:
    """Whether cuDNN may be asked: about what it can do, it decides itself."""
    return (
        query.dtype in (torch.float16, torch.bfloat16) and keep is None
        and all(x.numel() for x in (query, key, value))
        and query.size(-1) % _ALIGNED == 0 == value.size(-1) % _ALIGNED
        and not (is_causal and mask is not None)
        and cudnn.enabled and cuda.cudnn_sdp_enabled() and dnn.cudnn.usable()
        and _version() >= 90000 and _version() not in _BROKEN
    )  # fmt: skip


# ---- the ops -------------------------------------------------------------------------------------


@computes("_attention", device="cuda")
def _(query, key, value, mask, keep, dropout_p, is_causal, scale):
    if not usable(query, key, value, mask, keep, is_causal):
        return NotImplemented
    *joined, mask = _joined(query, key, value, mask)
    q, k, v = map(_fit, joined)
    bias = None if mask is None else _bias(mask, q)
    dense = q.is_contiguous() or q.transpose(1, 2).is_contiguous()
    like = q if dense and q.size(3) == v.size(3) else q.new_empty([*q.shape[:3], v.size(3)])
    out = torch.empty_like(like)
    stats = q.new_empty([*q.shape[:3], 1], dtype=torch.float32)
    operands = [q, k, v, *([] if bias is None else [bias]), out, stats]
    done = dnn.run(("attention", is_causal, scale), dnn.handle(q),
                   lambda: _forward(q, k, v, bias, out, stats, is_causal, scale),
                   operands)  # fmt: skip
    if not done:
        return NotImplemented
    logsumexp = stats.squeeze(-1)
    if bias is not None:
        sees = _sees(bias)
        out = torch.where(sees.unsqueeze(-1), out, 0)
        logsumexp = torch.where(sees, logsumexp, math.inf)
    lead = query.shape[:-2]
    return out.reshape(*lead, *out.shape[2:]), logsumexp.reshape(*lead, -1)


@computes("_attention_backward", device="cuda")
def _(grad, query, key, value, mask, keep, output, logsumexp, dropout_p, is_causal, scale):
    """By sums whose order isn't the same each time, so not where all has to be deterministic."""
    alone = query.size(-2) == 1 == key.size(-2)
    padded = key.size(-2) % 128 and _version() <= 91500
    exactly = torch.are_deterministic_algorithms_enabled() or cudnn.deterministic
    if alone or padded or exactly or not usable(query, key, value, mask, keep, is_causal):
        return NotImplemented
    q, k, v, out, slope = map(_fit, (query, key, value, output, grad))
    bias = None if mask is None else _bias(mask, q)
    stats = logsumexp.contiguous().reshape(*q.shape[:3], 1)
    dq, dk, dv = map(torch.empty_like, (q, k, v))
    sums, wide = torch.empty_like(stats), torch.zeros(q.shape, device=q.device)
    added = [] if bias is None else [bias]
    operands = [q, k, v, out, slope, stats, *added, sums, dq, dk, dv, wide]
    done = dnn.run(("attention_backward", is_causal, scale), dnn.handle(q),
                   lambda: _backward(q, k, v, bias, out, slope, stats, sums, dq, dk, dv, wide,
                                     is_causal, scale), operands)  # fmt: skip
    if not done:
        return NotImplemented
    return dq.reshape(query.shape), dk.reshape(key.shape), dv.reshape(value.shape)
