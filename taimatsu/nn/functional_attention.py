"""Multi-head attention as a function of its weights."""

from __future__ import annotations

import math
import warnings

import taimatsu as torch
from taimatsu import Tensor
from taimatsu.ops import namespaces

__all__ = ["multi_head_attention_forward"]

_ops = namespaces["nn.functional"]


def additive_mask(mask: Tensor | None, name: str, dtype, other: Tensor | None = None):
    """A mask to add to the scores: -inf where a bool one is True; a floating one as it is."""
    if mask is None:
        return None
    if mask.dtype != torch.bool:
        if not mask.is_floating_point():
            raise AssertionError(
                f"only bool and floating types of {name} are supported; got {mask.dtype}"
            )
        if other is not None and other.dtype != mask.dtype:
            warnings.warn(
                f"{name} is {mask.dtype} and the other mask {other.dtype}: masks of different "
                "dtypes are deprecated; give both in one",
                stacklevel=4,
            )
        return mask
    return torch.zeros(mask.shape, dtype=dtype, device=mask.device).masked_fill_(mask, -math.inf)


def _check(condition: bool, message: str, *given) -> None:
    if not condition:
        shapes = ", ".join(str(tuple(t.shape)) for t in given if t is not None)
        raise AssertionError(f"multi_head_attention_forward: {message}; got {shapes}")


def _check_dims(query, key, value, key_padding_mask, attn_mask, num_heads) -> bool:
    """Whether there is a batch dim; AssertionError where the operands disagree on it."""
    dims = query.dim()
    _check(dims in (2, 3), "query should be unbatched 2D or batched 3D", query)
    _check(key.dim() == value.dim() == dims, f"key and value should be {dims}-D as query is",
           query, key, value)
    if key_padding_mask is not None:
        _check(key_padding_mask.dim() == dims - 1, f"key_padding_mask should be {dims - 1}-D for a "
               f"{dims}-D query", key_padding_mask)
    if attn_mask is not None:
        _check(attn_mask.dim() in (2, 3), "attn_mask should be 2D or 3D", attn_mask)
        if dims == 2 and attn_mask.dim() == 3:
            expected = (num_heads, query.shape[0], key.shape[0])
            _check(tuple(attn_mask.shape) == expected, f"attn_mask should be {expected}", attn_mask)
    return dims == 3


def _project_packed(query, key, value, weight, bias):
    """Queries, keys and values from one (3 E, E) weight, in as few products as they allow."""
    linear, size = _ops["linear"], query.shape[-1]
    if key is value and query is key:
        return linear(query, weight, bias).chunk(3, -1)
    if key is value:
        parts = (size, 2 * size)
        biases = (None, None) if bias is None else bias.split(parts)
        (w_q, w_kv), (b_q, b_kv) = weight.split(parts), biases
        return linear(query, w_q, b_q), *linear(key, w_kv, b_kv).chunk(2, -1)
    biases = (None, None, None) if bias is None else bias.chunk(3)
    return tuple(
        linear(x, w, b)
        for x, w, b in zip((query, key, value), weight.chunk(3), biases, strict=True)
    )


def _project_apart(query, key, value, weights, bias):
    """The same with weights (E, E), (E, kdim) and (E, vdim)."""
    _check(key.shape[:2] == value.shape[:2], "key's sequence and batch dims should be those of "
           "value", key, value)
    biases = (None, None, None) if bias is None else bias.chunk(3)
    for name, x, w in zip("qkv", (query, key, value), weights, strict=True):
        expected = (query.shape[-1], x.shape[-1])
        _check(tuple(w.shape) == expected, f"{name}_proj_weight should be {expected}", w)
    return tuple(
        _ops["linear"](x, w, b)
        for x, w, b in zip((query, key, value), weights, biases, strict=True)
    )


def _one_key_more(mask: Tensor | None) -> Tensor | None:
    return None if mask is None else _ops["pad"](mask, (0, 1))


def multi_head_attention_forward(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    embed_dim_to_check: int,
    num_heads: int,
    in_proj_weight: Tensor | None,
    in_proj_bias: Tensor | None,
    bias_k: Tensor | None,
    bias_v: Tensor | None,
    add_zero_attn: bool,
    dropout_p: float,
    out_proj_weight: Tensor,
    out_proj_bias: Tensor | None,
    training: bool = True,
    key_padding_mask: Tensor | None = None,
    need_weights: bool = True,
    attn_mask: Tensor | None = None,
    use_separate_proj_weight: bool = False,
    q_proj_weight: Tensor | None = None,
    k_proj_weight: Tensor | None = None,
    v_proj_weight: Tensor | None = None,
    static_k: Tensor | None = None,
    static_v: Tensor | None = None,
    average_attn_weights: bool = True,
    is_causal: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """Attention of `nn.MultiheadAttention`, which describes the arguments, with given weights.

    query: (L, N, E) or (L, E), key and value: (S, N, *) or (S, *). ``static_k`` and ``static_v``
    (N num_heads, S, E / num_heads) stand in for the projected key and value. Gives the output and,
    with ``need_weights``, the weights. AssertionError or RuntimeError where shapes don't fit.
    """
    batched = _check_dims(query, key, value, key_padding_mask, attn_mask, num_heads)
    if not batched:
        query, key, value = _with_batch_dim(query, key, value)
        if key_padding_mask is not None:
            key_padding_mask = key_padding_mask.unsqueeze(0)
    length, batch, embed_dim = query.shape
    if is_causal and attn_mask is None:
        raise RuntimeError("multi_head_attention_forward: Need attn_mask if specifying the "
                           "is_causal hint.")  # fmt: skip
    # The hint stands for the mask where that is all there is to do with it.
    hint_is_all = is_causal and key_padding_mask is None and not need_weights
    padding = additive_mask(key_padding_mask, "key_padding_mask", query.dtype, attn_mask)
    mask = None if hint_is_all else additive_mask(attn_mask, "attn_mask", query.dtype)

    _check(embed_dim == embed_dim_to_check, f"was expecting embedding dimension of "
           f"{embed_dim_to_check}", query)
    head_dim = embed_dim // num_heads
    _check(head_dim * num_heads == embed_dim, f"embed_dim {embed_dim} not divisible by num_heads "
           f"{num_heads}", query)
    if use_separate_proj_weight:
        apart = (q_proj_weight, k_proj_weight, v_proj_weight)
        for name, w in zip("qkv", apart, strict=True):
            _check(w is not None, f"use_separate_proj_weight needs {name}_proj_weight")
        q, k, v = _project_apart(query, key, value, apart, in_proj_bias)
    else:
        _check(key.shape == value.shape, "key and value should have one shape", key, value)
        _check(in_proj_weight is not None, "needs in_proj_weight")
        q, k, v = _project_packed(query, key, value, in_proj_weight, in_proj_bias)

    if mask is not None:
        expected: tuple[int, ...] = (length, key.shape[0])
        if mask.dim() == 3:
            expected = (batch * num_heads, *expected)
        if tuple(mask.shape) != expected:
            raise RuntimeError(
                f"multi_head_attention_forward: The shape of the {mask.dim()}D attn_mask is "
                f"{tuple(mask.shape)}, but should be {expected}."
            )
        if mask.dim() == 2:
            mask = mask.unsqueeze(0)
    if (bias_k is None) != (bias_v is None):
        raise AssertionError("multi_head_attention_forward: needs bias_k and bias_v, or neither")
    if bias_k is not None and bias_v is not None:
        if static_k is not None or static_v is not None:
            raise AssertionError("multi_head_attention_forward: bias cannot be added to static "
                                 "key or value.")  # fmt: skip
        k = torch.cat([k, bias_k.repeat(1, batch, 1)])
        v = torch.cat([v, bias_v.repeat(1, batch, 1)])
        mask, padding = _one_key_more(mask), _one_key_more(padding)

    def heads(x):  # (length, N, E) -> (N * num_heads, length, head_dim)
        return x.reshape(x.shape[0], batch * num_heads, head_dim).transpose(0, 1)

    q = heads(q)
    k, v = (
        heads(x) if static is None else _checked_static(name, static, batch * num_heads, head_dim)
        for name, x, static in (("static_k", k, static_k), ("static_v", v, static_v))
    )
    if add_zero_attn:
        zeros = (batch * num_heads, 1, head_dim)
        k = torch.cat([k, k.new_zeros(zeros)], 1)
        v = torch.cat([v, v.new_zeros(zeros)], 1)
        mask, padding = _one_key_more(mask), _one_key_more(padding)
    keys = k.shape[1]
    if padding is not None:
        _check(tuple(padding.shape) == (batch, keys), f"key_padding_mask should be {batch, keys}",
               padding)
        padding = padding.reshape(batch, 1, 1, keys).expand(-1, num_heads, -1, -1)
        padding = padding.reshape(batch * num_heads, 1, keys)
        mask = padding if mask is None else mask + padding

    weights: Tensor | None = None
    dropout_p = dropout_p if training else 0.0
    if need_weights:
        scores = (q * math.sqrt(1.0 / head_dim)) @ k.mT
        weights = torch.softmax(scores if mask is None else scores + mask, -1)
        if dropout_p > 0:
            weights = _ops["dropout"](weights, dropout_p)
        out = weights @ v
        weights = weights.reshape(batch, num_heads, length, keys)
        if average_attn_weights:
            weights = weights.mean(1)
    else:
        if mask is not None:
            mask = mask.unsqueeze(0) if mask.shape[0] == 1 else mask.unflatten(0, (batch, -1))
        q, k, v = (x.unflatten(0, (batch, num_heads)) for x in (q, k, v))
        out = _ops["scaled_dot_product_attention"](q, k, v, mask, dropout_p, hint_is_all)
        out = out.flatten(0, 1)
    out = out.transpose(0, 1).reshape(length, batch, embed_dim)
    out = _ops["linear"](out, out_proj_weight, out_proj_bias)
    if not batched:
        out = out.squeeze(1)
        weights = None if weights is None else weights.squeeze(0)
    return out, weights


def _with_batch_dim(query, key, value):
    """Operands that are one object stay one: their projections are then one product."""
    q = query.unsqueeze(1)
    k = q if key is query else key.unsqueeze(1)
    v = k if value is key else value.unsqueeze(1)
    return q, k, v


def _checked_static(name, static, batch, head_dim):
    _check(static.shape[0] == batch and static.shape[2] == head_dim,
           f"{name} should be ({batch}, S, {head_dim})", static)
    return static
