"""Attention: the whole matrix of scores in NumPy."""

import numpy as np


def attention(query, key, value, attn_mask=None, dropout_p=0.0, is_causal=False, scale=None,
              enable_gqa=False):
    if enable_gqa:
        groups = query.shape[-3] // key.shape[-3]
        key, value = np.repeat(key, groups, -3), np.repeat(value, groups, -3)
    scale = 1 / np.sqrt(query.shape[-1]) if scale is None else scale
    scores = scale * query @ np.swapaxes(key, -1, -2)
    if is_causal:
        scores = np.where(np.tril(np.ones(scores.shape[-2:], bool)), scores, -np.inf)
    if attn_mask is not None and attn_mask.dtype == bool:
        scores = np.where(attn_mask, scores, -np.inf)
    elif attn_mask is not None:
        scores = scores + attn_mask
    largest = scores.max(-1, keepdims=True, initial=-np.inf)
    weights = np.exp(scores - np.where(np.isneginf(largest), 0, largest))
    total = weights.sum(-1, keepdims=True)
    return (weights / np.where(total == 0, 1, total)) @ value


ORACLES = {"nn.functional.scaled_dot_product_attention": attention}


def _samples(t):
    return [
        (t(2, 3, 4), t(2, 5, 4), t(2, 5, 3)),
        (t(3, 4), t(5, 4), t(5, 4), {"scale": 0.3}),
        (t(2, 2, 4, 3), t(2, 2, 4, 3), t(2, 2, 4, 3), {"is_causal": True}),
        (t(2, 3, 4), t(5, 4), t(1, 5, 4), t(3, 5)),
        (t(1, 2, 3, 4), t(2, 2, 5, 4), t(2, 2, 5, 4), t(2, 1, 3, 5) > 0),
        (t(2, 4, 3, 2), t(2, 2, 5, 2), t(2, 2, 5, 2), {"enable_gqa": True}),
    ]


HINTS = {"nn.functional.scaled_dot_product_attention": _samples}
