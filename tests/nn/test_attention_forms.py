"""Masks known by their form, and sequences of several lengths in one tensor."""

import pytest

import taimatsu as torch
from taimatsu.nn.attention.bias import causal_lower_right, causal_upper_left
from taimatsu.nn.attention.varlen import AuxRequest, varlen_attn, varlen_attn_out
from taimatsu.nn.functional import scaled_dot_product_attention as attention


@pytest.mark.parametrize("make", [causal_upper_left, causal_lower_right])
@pytest.mark.parametrize("queries", [2, 5])
def test_causal_bias_is_the_mask_that_it_stands_for(make, queries):
    q, k, v = torch.randn(1, 2, queries, 4), torch.randn(1, 2, 5, 4), torch.randn(1, 2, 5, 4)
    shift = 5 - queries if make is causal_lower_right else 0
    mask = torch.ones(queries, 5, dtype=torch.bool).tril(shift)
    bias = make(queries, 5)
    assert repr(bias) == repr(mask) and (bias == mask).all() and bias.shape == mask.shape
    torch.testing.assert_close(attention(q, k, v, bias), attention(q, k, v, attn_mask=mask))
    with pytest.raises(ValueError, match="is_causal"):
        attention(q, k, v, bias, is_causal=True)


def test_causal_bias_of_more_queries_than_keys():
    with pytest.warns(UserWarning, match="more queries than keys"):
        bias = causal_lower_right(3, 2)
    y = attention(torch.ones(1, 3, 4), torch.ones(1, 2, 4), torch.ones(1, 2, 4), bias)
    assert y[0, :, 0].tolist() == [0.0, 1.0, 1.0]


def reference(q, k, v, window):
    """By the definition, of one sequence: (L, H, E)."""
    scores = torch.einsum("qhe,khe->hqk", q, k) / q.shape[-1] ** 0.5
    at = torch.arange(len(k)) - torch.arange(len(q))[:, None] - (len(k) - len(q))
    if window[0] >= 0:
        scores = scores.masked_fill(at < -window[0], -torch.inf)
    if window[1] >= 0:
        scores = scores.masked_fill(at > window[1], -torch.inf)
    return torch.einsum("hqk,khe->qhe", scores.softmax(-1), v), scores.logsumexp(-1).T


@pytest.mark.parametrize("window", [(-1, -1), (-1, 0), (1, 0), (1, 1)])
def test_varlen(window):
    q, k, v = (torch.randn(n, 4, 8, requires_grad=True) for n in (7, 9, 9))
    at_q, at_k = torch.tensor([0, 2, 7]), torch.tensor([0, 3, 9])
    y, lse = varlen_attn(q, k, v, at_q, at_k, 5, 6, window_size=window,
                         return_aux=AuxRequest(lse=True))  # fmt: skip
    parts = [reference(q[:2], k[:3], v[:3], window), reference(q[2:], k[3:], v[3:], window)]
    torch.testing.assert_close(y, torch.cat([p[0] for p in parts]))
    torch.testing.assert_close(lse, torch.cat([p[1] for p in parts]))
    mine = torch.autograd.grad(y.square().sum(), (q, k, v))
    theirs = torch.autograd.grad(torch.cat([p[0] for p in parts]).square().sum(), (q, k, v))
    torch.testing.assert_close(mine, theirs)


def test_varlen_by_pages():
    pages_k, pages_v = torch.randn(2, 4, 2, 2, 8)  # (pages, page size, heads, size), heads shared
    q, table, used = torch.randn(2, 4, 8), torch.tensor([[3, 0], [1, 2]]), torch.tensor([3, 2])
    out = torch.empty_like(q)
    y = varlen_attn_out(out, q, pages_k, pages_v, torch.tensor([0, 1, 2]), None, 1, 4,
                        enable_gqa=True, seqused_k=used, block_table=table)  # fmt: skip
    assert y is out
    for i, n in enumerate(used.tolist()):
        k, v = (p[table[i]].flatten(0, 1)[:n].repeat_interleave(2, 1) for p in (pages_k, pages_v))
        torch.testing.assert_close(y[i : i + 1], reference(q[i : i + 1], k, v, (-1, -1))[0])


def test_what_varlen_refuses():
    q, at = torch.ones(3, 4, 8), torch.tensor([0, 3])
    with pytest.raises(RuntimeError, match="enable_gqa"):
        varlen_attn(q, q[:, :2], q[:, :2], at, at, 3, 3)
    with pytest.raises(ValueError, match="seqused_k"):
        varlen_attn(q, q, q, at, None, 3, 3, block_table=torch.zeros(1, 1, dtype=torch.int32))
    with pytest.raises(RuntimeError, match="must be"):
        varlen_attn(q[0], q, q, at, at, 3, 3)
