"""Attention and transformers, as TorchScript has them; see `layers`."""
# mypy: ignore-errors
# ruff: noqa: UP006, UP035  (the language's own names of types)

from __future__ import annotations

import math
from typing import Any, Tuple

import taimatsu as torch
from taimatsu import Tensor, nn
from taimatsu.nn import functional as F

__all__ = ["METHODS"]

aten = torch.ops.aten


def additive(mask: Tensor | None, like: Tensor) -> Tensor | None:
    """A mask as numbers to add to the scores."""
    if mask is None:
        return None
    if mask.dtype != torch.bool:
        return mask
    return torch.zeros_like(mask, dtype=like.dtype).masked_fill(mask, float("-inf"))


def heads_of(x: Tensor, count: int, size: int) -> Tensor:
    """(length, N, E) -> (N * heads, length, head_dim)."""
    return x.reshape([x.size(0), count, size]).transpose(0, 1)


def projections(
    self: Any, query: Tensor, key: Tensor, value: Tensor
) -> Tuple[Tensor, Tensor, Tensor]:
    size = self.embed_dim
    if self.in_proj_bias is not None:
        bias_q, bias_k, bias_v = self.in_proj_bias.split([size, size, size])
    else:
        bias_q, bias_k, bias_v = None, None, None
    if self._qkv_same_embed_dim:
        weight_q, weight_k, weight_v = self.in_proj_weight.split([size, size, size])
    else:
        weight_q, weight_k, weight_v = self.q_proj_weight, self.k_proj_weight, self.v_proj_weight
    q = aten.linear(query, weight_q, bias_q)
    return q, aten.linear(key, weight_k, bias_k), aten.linear(value, weight_v, bias_v)


def attention_forward(
    self: Any, query: Tensor, key: Tensor, value: Tensor,
    key_padding_mask: Tensor | None = None, need_weights: bool = True,
    attn_mask: Tensor | None = None, average_attn_weights: bool = True,
    is_causal: bool = False,
) -> Tuple[Tensor, Tensor | None]:  # fmt: skip
    batched = query.dim() == 3
    if not batched:
        query, key, value = query.unsqueeze(1), key.unsqueeze(1), value.unsqueeze(1)
        if key_padding_mask is not None:
            key_padding_mask = key_padding_mask.unsqueeze(0)
    elif self.batch_first:
        query, key, value = query.transpose(0, 1), key.transpose(0, 1), value.transpose(0, 1)
    length, batch = query.size(0), query.size(1)
    count, head_dim = batch * self.num_heads, self.head_dim
    mask = additive(attn_mask, query)
    padding = additive(key_padding_mask, query)
    q, k, v = self._projections(query, key, value)
    if self.bias_k is not None:
        k = torch.cat([k, self.bias_k.repeat(1, batch, 1)])
        v = torch.cat([v, self.bias_v.repeat(1, batch, 1)])
        if mask is not None:
            mask = F.pad(mask, [0, 1])
        if padding is not None:
            padding = F.pad(padding, [0, 1])
    q = heads_of(q, count, head_dim)
    k, v = heads_of(k, count, head_dim), heads_of(v, count, head_dim)
    if self.add_zero_attn:
        k = torch.cat([k, k.new_zeros([count, 1, head_dim])], 1)
        v = torch.cat([v, v.new_zeros([count, 1, head_dim])], 1)
        if mask is not None:
            mask = F.pad(mask, [0, 1])
        if padding is not None:
            padding = F.pad(padding, [0, 1])
    keys = k.size(1)
    if padding is not None:
        rows = padding.reshape([batch, 1, 1, keys]).expand([-1, self.num_heads, -1, -1])
        rows = rows.reshape([count, 1, keys])
        mask = rows if mask is None else mask + rows
    scores = torch.matmul(q * math.sqrt(1.0 / head_dim), k.transpose(-2, -1))
    if mask is not None:
        scores = scores + mask
    weights = torch.softmax(scores, -1)
    if self.dropout > 0.0:
        weights = F.dropout(weights, self.dropout, self.training)
    out = torch.matmul(weights, v).transpose(0, 1).reshape([length, batch, self.embed_dim])
    out = self.out_proj(out)
    shown: Tensor | None = None
    if need_weights:
        each = weights.reshape([batch, self.num_heads, length, keys])
        found = each.mean(1) if average_attn_weights else each
        shown = found if batched else found.squeeze(0)
    if not batched:
        return out.squeeze(1), shown
    return out.transpose(0, 1) if self.batch_first else out, shown


# ---- Transformers ---------------------------------------------------------------------------
def feed(self: Any, x: Tensor) -> Tensor:
    return self.linear2(self.dropout(self.activation(self.linear1(x))))


def look(
    self: Any, x: Tensor, mask: Tensor | None, padding: Tensor | None, causal: bool
) -> Tensor:
    return self.dropout1(self.self_attn(x, x, x, padding, False, mask, True, causal)[0])


def look_at_memory(
    self: Any, x: Tensor, memory: Tensor, mask: Tensor | None, padding: Tensor | None,
    causal: bool,
) -> Tensor:  # fmt: skip
    found = self.multihead_attn(x, memory, memory, padding, False, mask, True, causal)[0]
    return self.dropout2(found)


def encoder_layer_forward(
    self: Any, src: Tensor, src_mask: Tensor | None = None,
    src_key_padding_mask: Tensor | None = None, is_causal: bool = False,
) -> Tensor:  # fmt: skip
    if self.norm_first:
        x = src + self._look(self.norm1(src), src_mask, src_key_padding_mask, is_causal)
        return x + self.dropout2(self._feed(self.norm2(x)))
    else:
        x = self.norm1(src + self._look(src, src_mask, src_key_padding_mask, is_causal))
        return self.norm2(x + self.dropout2(self._feed(x)))


def decoder_layer_forward(
    self: Any, tgt: Tensor, memory: Tensor, tgt_mask: Tensor | None = None,
    memory_mask: Tensor | None = None, tgt_key_padding_mask: Tensor | None = None,
    memory_key_padding_mask: Tensor | None = None, tgt_is_causal: bool = False,
    memory_is_causal: bool = False,
) -> Tensor:  # fmt: skip
    if self.norm_first:
        x = tgt + self._look(self.norm1(tgt), tgt_mask, tgt_key_padding_mask, tgt_is_causal)
        x = x + self._look_at_memory(
            self.norm2(x), memory, memory_mask, memory_key_padding_mask, memory_is_causal
        )
        return x + self.dropout3(self._feed(self.norm3(x)))
    else:
        x = self.norm1(tgt + self._look(tgt, tgt_mask, tgt_key_padding_mask, tgt_is_causal))
        x = self.norm2(x + self._look_at_memory(
            x, memory, memory_mask, memory_key_padding_mask, memory_is_causal))  # fmt: skip
        return self.norm3(x + self.dropout3(self._feed(x)))


def encoder_forward(
    self: Any, src: Tensor, mask: Tensor | None = None,
    src_key_padding_mask: Tensor | None = None, is_causal: bool | None = None,
) -> Tensor:  # fmt: skip
    out = src
    causal = False if is_causal is None else is_causal
    for layer in self.layers:
        out = layer(out, mask, src_key_padding_mask, causal)
    if self.norm is not None:
        out = self.norm(out)
    return out


def decoder_forward(
    self: Any, tgt: Tensor, memory: Tensor, tgt_mask: Tensor | None = None,
    memory_mask: Tensor | None = None, tgt_key_padding_mask: Tensor | None = None,
    memory_key_padding_mask: Tensor | None = None, tgt_is_causal: bool | None = None,
    memory_is_causal: bool = False,
) -> Tensor:  # fmt: skip
    out = tgt
    causal = False if tgt_is_causal is None else tgt_is_causal
    for layer in self.layers:
        out = layer(
            out, memory, tgt_mask, memory_mask, tgt_key_padding_mask, memory_key_padding_mask,
            causal, memory_is_causal,
        )  # fmt: skip
    if self.norm is not None:
        out = self.norm(out)
    return out


def transformer_forward(
    self: Any, src: Tensor, tgt: Tensor, src_mask: Tensor | None = None,
    tgt_mask: Tensor | None = None, memory_mask: Tensor | None = None,
    src_key_padding_mask: Tensor | None = None, tgt_key_padding_mask: Tensor | None = None,
    memory_key_padding_mask: Tensor | None = None, src_is_causal: bool | None = None,
    tgt_is_causal: bool | None = None, memory_is_causal: bool = False,
) -> Tensor:  # fmt: skip
    memory = self.encoder(src, src_mask, src_key_padding_mask, src_is_causal)
    return self.decoder(
        tgt, memory, tgt_mask, memory_mask, tgt_key_padding_mask, memory_key_padding_mask,
        tgt_is_causal, memory_is_causal,
    )  # fmt: skip


METHODS = {
    (nn.MultiheadAttention, "forward"): attention_forward,
    (nn.MultiheadAttention, "_projections"): projections,
    (nn.TransformerEncoderLayer, "forward"): encoder_layer_forward,
    (nn.TransformerDecoderLayer, "forward"): decoder_layer_forward,
    (nn.TransformerEncoder, "forward"): encoder_forward,
    (nn.TransformerDecoder, "forward"): decoder_forward,
    (nn.Transformer, "forward"): transformer_forward,
    (nn.TransformerDecoderLayer, "_look_at_memory"): look_at_memory,
    **{(layer, name): method for layer in (nn.TransformerEncoderLayer, nn.TransformerDecoderLayer)
       for name, method in (("_look", look), ("_feed", feed))},
}  # fmt: skip
