"""Attention block by block: never more scores at once than a block of queries has for one of keys.

The steps on a block are the formulas of `ops.attention`, the products `matmul`'s. Blocks depend on
the sizes alone, and each sum has its terms in their order.
"""

from __future__ import annotations

import math

import taimatsu as torch

from .. import attention as steps
from . import computes

_SCORES = 1 << 24  # in memory at once, of all heads
_KEYS = 1024  # of a block


def _wide(*tensors):
    """In single precision at least."""
    return [
        t.to(torch.float32) if t.dtype in (torch.float16, torch.bfloat16) else t for t in tensors
    ]


class _Blocks:
    """The operands, and the scores of a block: queries from i on, keys from j on."""

    def __init__(self, query, key, value, mask, keep, dropout_p, is_causal, scale):
        self.dtype = query.dtype
        self.query, self.key, self.value = _wide(query, key, value)
        self.mask, self.keep, self.causal, self.scale = mask, keep, is_causal, scale
        self.kept = 1 / (1 - dropout_p) if dropout_p < 1 else 0.0
        self.lead = query.shape[:-2]
        self.length, self.keys = query.size(-2), key.size(-2)
        self.columns = min(self.keys, _KEYS)
        most = _SCORES // max(1, self.columns * math.prod(self.lead))
        self.rows = max(1, min(self.length, most // 64 * 64 or 64))

    def of_queries(self):
        """(i, number of queries) of each block."""
        return [(i, min(self.rows, self.length - i)) for i in range(0, self.length, self.rows)]

    def of_keys(self, i: int, n: int):
        """(j, number of keys) of each block that queries i ... i + n see."""
        end = min(self.keys, i + n) if self.causal else self.keys
        return [(j, min(self.columns, end - j)) for j in range(0, end, self.columns)]

    def _part(self, x, i, n, j, m):
        return x.narrow(-2, i, n).narrow(-1, j, m)

    def scores(self, scaled, i, n, j, m):
        """Masked where the key has no weight."""
        s = torch.matmul(scaled, self.key.narrow(-2, j, m).mT)
        if self.mask is not None:
            mask = self._part(self.mask, i, n, j, m)
            s = s.masked_fill(~mask, -math.inf) if mask.dtype == torch.bool else s + mask
        if self.causal and j + m > i + 1:
            later = s.new_ones([n, m], dtype=torch.bool).triu(i - j + 1)
            s = s.masked_fill(later, -math.inf)
        return s

    def left(self, weights, i, n, j, m):
        """What dropout leaves of weights, or of their gradients."""
        if self.keep is None:
            return weights
        return weights * self._part(self.keep, i, n, j, m) * self.kept


@computes("_attention")
def _(query, key, value, mask, keep, dropout_p, is_causal, scale):
    a = _Blocks(query, key, value, mask, keep, dropout_p, is_causal, scale)
    output = a.query.new_zeros([*a.lead, a.length, value.size(-1)])
    logsumexp = a.query.new_empty([*a.lead, a.length])
    for i, n in a.of_queries():
        scaled = a.query.narrow(-2, i, n) * scale
        largest = logsumexp.new_full([*a.lead, n], -math.inf)
        total = torch.zeros_like(largest)
        out = output.narrow(-2, i, n)
        for j, m in a.of_keys(i, n):
            weights, largest, total, factor = steps._attention_scores(
                a.scores(scaled, i, n, j, m), largest, total
            )
            part = torch.matmul(a.left(weights, i, n, j, m), a.value.narrow(-2, j, m))
            out.mul_(factor.unsqueeze(-1)).add_(part)
        none = total == 0  # every key is masked
        out.mul_(torch.where(none, 0, 1 / total).unsqueeze(-1))
        logsumexp.narrow(-1, i, n).copy_(torch.where(none, math.inf, largest + total.log()))
    return output.to(a.dtype), logsumexp


@computes("_attention_backward")
def _(grad, query, key, value, mask, keep, output, logsumexp, dropout_p, is_causal, scale):
    a = _Blocks(query, key, value, mask, keep, dropout_p, is_causal, scale)
    grad, output = _wide(grad, output)
    delta = steps._attention_delta(grad, output)
    by_query, by_key, by_value = map(torch.zeros_like, (a.query, a.key, a.value))
    for i, n in a.of_queries():
        scaled, g = a.query.narrow(-2, i, n) * scale, grad.narrow(-2, i, n)
        for j, m in a.of_keys(i, n):
            keys, values = a.key.narrow(-2, j, m), a.value.narrow(-2, j, m)
            by_weights = a.left(torch.matmul(g, values.mT), i, n, j, m)
            weights, by_scores = steps._attention_gradient(
                a.scores(scaled, i, n, j, m), by_weights, logsumexp.narrow(-1, i, n),
                delta.narrow(-1, i, n),
            )  # fmt: skip
            by_query.narrow(-2, i, n).add_(torch.matmul(by_scores, keys), alpha=scale)
            by_key.narrow(-2, j, m).add_(torch.matmul(by_scores.mT, scaled))
            left = a.left(weights, i, n, j, m)
            by_value.narrow(-2, j, m).add_(torch.matmul(left.mT, g))
    return by_query.to(a.dtype), by_key.to(a.dtype), by_value.to(a.dtype)
