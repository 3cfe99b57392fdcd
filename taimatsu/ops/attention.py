"""Scaled dot-product attention: softmax(scale * query @ key^T + mask) @ value.

The routine of csrc/cpu/attention.cpp works through blocks of queries and keys and never holds more
than one block of scores. What it does to a block, and how that derives, is said here.
"""

from __future__ import annotations

import math

from taimatsu.codegen.lang import exp, inf, maximum, where
from taimatsu.codegen.promote import BOOLEAN, FLOATING

from .table import composite, native, row

# ---- a block of scores ---------------------------------------------------------------------------


@row("_attention_scaled(Row x, Cell factor) -> Row", rows=-1, dtypes=FLOATING)
def _attention_scaled(x, factor):
    """Rows times a factor each."""
    return x * factor


@row("_attention_scores(Row scores, Cell largest, Cell sum)"
     " -> (Row, Cell largest, Cell sum, Cell factor)", rows=-1, dtypes=FLOATING)
def _attention_scores(x, largest, sum):
    """Scores as weights relative to the largest score, of this block or of those before.

    `sum` are the weights so far; `factor` is what earlier ones shrink by.
    """
    new = maximum(largest, x.max())
    shift = where(new == -inf, 0, new)  # every key masked: all weights 0, and not nan
    factor = exp(largest - shift)
    weights = exp(x - shift)
    return weights, new, sum * factor + weights.sum(), factor


@row("_attention_gradient(Row scores, Row grad, Cell logsumexp, Cell delta) -> (Row, Row)", rows=-1,
     dtypes=FLOATING)
def _attention_gradient(x, g, logsumexp, delta):
    """The weights again, and the gradient of the scores from that of the weights."""
    weights = exp(x - logsumexp)
    return weights, weights * (g - delta)


@row("_attention_delta(Row grad, Row output) -> Cell", rows=-1, dtypes=FLOATING)
def _attention_delta(g, y):
    """What the gradients of a query's weights have in common."""
    return (g * y).sum()


@row("_attention_masked_scores(Row scores, Row allowed, Cell largest, Cell sum)"
     " -> (Row, Cell largest, Cell sum, Cell factor)", rows=-1, dtypes=FLOATING,
     keep={"allowed": BOOLEAN})
def _attention_masked_scores(x, allowed, largest, sum):
    """`_attention_scores` of the keys that are allowed."""
    return _attention_scores(where(allowed, x, -inf), largest, sum)


@row("_attention_masked_gradient(Row scores, Row grad, Row allowed, Cell logsumexp, Cell delta)"
     " -> (Row, Row)", rows=-1, dtypes=FLOATING, keep={"allowed": BOOLEAN})
def _attention_masked_gradient(x, g, allowed, logsumexp, delta):
    """`_attention_gradient` of the keys that are allowed."""
    return _attention_gradient(where(allowed, x, -inf), g, logsumexp, delta)


# ---- attention of a batch ------------------------------------------------------------------------

_SETTINGS = "float dropout_p, bool is_causal, float scale"

_attention = native(
    f"_attention(Tensor query, Tensor key, Tensor value, Tensor? mask, Tensor? keep, {_SETTINGS})"
    " -> (Tensor output, Tensor logsumexp)",
    doc="""Attention, and the logarithm of each query's sum of exp(score).

    query: (*, L, E), key: (*, S, E), value: (*, S, V), mask and keep: (*, L, S); the batch dims
    are the same in all. `mask` is bool (True: the key takes part) or added to the scores; `keep`
    tells which weights dropout leaves.
    """,
)

_attention_backward = native(
    "_attention_backward(Tensor grad, Tensor query, Tensor key, Tensor value, Tensor? mask,"
    f" Tensor? keep, Tensor output, Tensor logsumexp, {_SETTINGS})"
    " -> (Tensor query, Tensor key, Tensor value)",
    doc="The gradients of query, key and value.",
)


def _weights(query, key, mask, is_causal, scale):
    """The whole matrix of weights, by ops that derive."""
    import taimatsu as torch

    scores = (query * scale) @ key.mT
    if mask is not None and mask.dtype != torch.bool:
        scores, mask = scores + mask, None
    if is_causal:
        seen = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
        mask = seen if mask is None else mask & seen
    if mask is not None:
        scores = scores.masked_fill(~mask, -inf)
    masked = (scores.detach() == -inf).all(-1, keepdim=True)
    return scores.masked_fill(masked, 0.0).softmax(-1).masked_fill(masked, 0.0)


def _attention_gradients(g_output, query, key, value, mask, keep, output, logsumexp, dropout_p,
                         is_causal, scale, needs):
    """Block by block; by ops where the derivative is itself to be derived, or the mask's is asked.
    """
    import taimatsu as torch

    g = g_output
    if not torch.is_grad_enabled() and not needs[3]:
        return *_attention_backward(g, query, key, value, mask, keep, output, logsumexp, dropout_p,
                                    is_causal, scale), None
    weights = _weights(query, key, mask, is_causal, scale)
    dropped, by_weights = weights, g @ value.mT
    if keep is not None:
        left = keep.to(weights.dtype) * (1 / (1 - dropout_p) if dropout_p < 1 else 0)
        dropped, by_weights = weights * left, by_weights * left
    by_scores = weights * (by_weights - (by_weights * weights).sum(-1, keepdim=True))
    return (by_scores @ key * scale, by_scores.mT @ query * scale, dropped.mT @ g,
            by_scores if needs[3] else None)


_attention.gradient(_attention_gradients)


# ---- the public form -----------------------------------------------------------------------------


def _checked(query, key, value, dropout_p):
    operands = (query, key, value)
    if min(t.dim() for t in operands) < 2:
        raise RuntimeError(
            "scaled_dot_product_attention: Expected query, key, and value to all be at least 2 "
            f"dimensional, but got {', '.join(str(t.dim()) for t in operands)} dims"
        )
    if not query.dtype == key.dtype == value.dtype:
        raise RuntimeError(
            "scaled_dot_product_attention: Expected query, key, and value to have the same dtype, "
            f"but got {query.dtype}, {key.dtype} and {value.dtype}; convert with .to()"
        )
    if query.is_complex():
        raise NotImplementedError(
            f"scaled_dot_product_attention: not implemented for {query.dtype}"
        )
    if not query.is_floating_point():
        raise RuntimeError(
            f"scaled_dot_product_attention: expected a floating dtype, but got {query.dtype}"
        )
    if not 0 <= dropout_p <= 1:
        raise RuntimeError(
            "scaled_dot_product_attention: dropout probability has to be between 0 and 1, but got "
            f"{dropout_p}"
        )


@composite(
    "scaled_dot_product_attention(Tensor query, Tensor key, Tensor value, Tensor? attn_mask=None,"
    " float dropout_p=0.0, bool is_causal=False, *, float? scale=None, bool enable_gqa=False)"
    " -> Tensor",
    module="nn.functional",
    method=False,
)
def scaled_dot_product_attention(query, key, value, attn_mask, dropout_p, is_causal, scale,
                                 enable_gqa):
    """softmax(scale * query @ key^T + mask) @ value, without the matrix of scores in memory.

    query: (*, H, L, E), key: (*, H, S, E), value: (*, H, S, V); result: (*, H, L, V). Batch dims
    broadcast. `scale` is 1 / sqrt(E) unless given. `attn_mask` broadcasts to (*, H, L, S): bool,
    True where a query sees a key, or floating and added to the scores; `is_causal`: query i sees
    keys up to i. A query that sees no key gives zeros. `dropout_p`: weights are dropped with that
    probability, always. `enable_gqa`: key and value may have fewer heads, each for several heads
    of the query.

    RuntimeError for sizes or dtypes that don't fit.

    >>> x = taimatsu.ones(1, 2, 3, 4)
    >>> taimatsu.nn.functional.scaled_dot_product_attention(x, x, x, is_causal=True).shape
    torch.Size([1, 2, 3, 4])
    """
    import taimatsu as torch

    _checked(query, key, value, dropout_p)
    shape = None
    if enable_gqa and query.dim() > 2:
        query, key, value, attn_mask, shape = _grouped(query, key, value, attn_mask)
    length, keys = query.shape[-2], key.shape[-2]
    batch = query.shape[:-2]
    if not batch == key.shape[:-2] == value.shape[:-2] or attn_mask is not None:
        shapes = [t.shape[:-2] for t in (query, key, value)]
        if attn_mask is not None:
            attn_mask = _fitting(attn_mask, query)
            shapes.append(attn_mask.shape[:-2])
        batch = torch.broadcast_shapes(*shapes)
        query, key, value = (
            t if t.shape[:-2] == batch else t.expand(*batch, *t.shape[-2:])
            for t in (query, key, value)
        )
        if attn_mask is not None:
            attn_mask = attn_mask.expand(*batch, length, keys)
    if scale is None:
        scale = 1 / math.sqrt(query.shape[-1]) if query.shape[-1] else 1.0
    keep = None
    if dropout_p > 0:
        keep = torch.empty((*batch, length, keys), dtype=torch.bool, device=query.device)
        keep.bernoulli_(1 - dropout_p)
    output, _ = _attention(query, key, value, attn_mask, keep, dropout_p, is_causal, scale)
    return output if shape is None else output.reshape(shape)


def _fitting(mask, query):
    """The mask in a dtype that the routine takes."""
    import taimatsu as torch

    if mask.dtype not in (torch.bool, torch.float32, query.dtype):
        raise RuntimeError(
            "scaled_dot_product_attention: Expected attn_mask dtype to be bool or float or to "
            f"match query dtype, but got attn_mask.dtype: {mask.dtype} and query.dtype: "
            f"{query.dtype} instead."
        )
    return mask if mask.dtype == torch.bool else mask.to(query.dtype)


def _grouped(query, key, value, mask):
    """Heads of the query beside the head of keys that they share, as one more dim."""
    import taimatsu as torch

    heads, shared, of_values = (t.shape[-3] for t in (query, key, value))
    if 0 in (shared, of_values) or heads % shared or heads % of_values:
        raise RuntimeError(
            "scaled_dot_product_attention: Number of heads in key and value must divide the "
            f"number of heads in query; got {heads}, {shared} and {of_values}"
        )
    if shared != of_values:
        key, value = (t.repeat_interleave(heads // t.shape[-3], -3) for t in (key, value))
        shared = heads
    batch = torch.broadcast_shapes(*(t.shape[:-3] for t in (query, key, value)))
    shape = (*batch, heads, query.shape[-2], value.shape[-1])

    def split(t):
        return t.unflatten(-3, (shared, heads // shared))

    if mask is not None and mask.dim() > 2:
        mask = split(mask) if mask.shape[-3] == heads else mask.unsqueeze(-3)
    return split(query), key.unsqueeze(-3), value.unsqueeze(-3), mask, shape
