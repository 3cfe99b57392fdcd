"""Masks of causal attention that are known by their form, and so never need to be in memory."""

from __future__ import annotations

import enum
import warnings
from typing import Any

import taimatsu as torch
from taimatsu import Tensor
from taimatsu.nn import functional as F
from taimatsu.utils._pytree import tree_map_only

__all__ = ["CausalBias", "CausalVariant", "causal_lower_right", "causal_upper_left"]


class CausalVariant(enum.IntEnum):
    """Where the diagonal of a causal mask that isn't square begins: query 0 sees key 0 alone, or
    the last query sees all keys."""

    UPPER_LEFT = 1
    LOWER_RIGHT = 2


class CausalBias(Tensor):
    """A mask (queries, keys), bool, for `nn.functional.scaled_dot_product_attention`.

    Attention takes it by its form; anything else is done to the mask that it stands for.

    >>> from taimatsu.nn.attention.bias import causal_lower_right
    >>> causal_lower_right(2, 3)
    tensor([[ True,  True, False],
            [ True,  True,  True]])
    """

    variant: CausalVariant
    seq_len_q: int
    seq_len_kv: int

    @staticmethod
    def __new__(
        cls: type[CausalBias], variant: CausalVariant, seq_len_q: int, seq_len_kv: int
    ) -> CausalBias:
        one = torch.empty((), dtype=torch.bool).expand(seq_len_q, seq_len_kv)
        return Tensor._make_subclass(cls, one)

    def __init__(self, variant: CausalVariant, seq_len_q: int, seq_len_kv: int) -> None:
        if not isinstance(variant, CausalVariant):
            raise AssertionError(
                f"CausalBias: variant must be a CausalVariant; got {type(variant).__name__}"
            )
        self.variant, self.seq_len_q, self.seq_len_kv = variant, seq_len_q, seq_len_kv
        if seq_len_q > seq_len_kv and variant == CausalVariant.LOWER_RIGHT:
            warnings.warn(
                "Lower right causal bias: there are more queries than keys, and the first queries "
                "see no key",
                stacklevel=3,
            )

    def _materialize(self, device: Any = None) -> Tensor:
        shift = 0 if self.variant == CausalVariant.UPPER_LEFT else self.seq_len_kv - self.seq_len_q
        whole = torch.ones(self.seq_len_q, self.seq_len_kv, dtype=torch.bool, device=device)
        return whole.tril(shift)

    @classmethod
    def __torch_function__(
        cls, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None
    ) -> Any:
        if func is F.scaled_dot_product_attention:
            return _attention(*args, **(kwargs or {}))
        return func(*tree_map_only(CausalBias, CausalBias._materialize, args),
                    **tree_map_only(CausalBias, CausalBias._materialize, kwargs or {}))  # fmt: skip

    def __repr__(self, *, tensor_contents: Any = None) -> str:
        return repr(self._materialize())


def _attention(
    query: Tensor, key: Tensor, value: Tensor, attn_mask: Any = None, dropout_p: float = 0.0,
    is_causal: bool = False, scale: float | None = None, enable_gqa: bool = False,
) -> Tensor:  # fmt: skip
    if is_causal:
        raise ValueError("CausalBias should not be used with causal=True; leave is_causal out")
    options: dict[str, Any] = {"dropout_p": dropout_p, "scale": scale, "enable_gqa": enable_gqa}
    q, k = attn_mask.seq_len_q, attn_mask.seq_len_kv
    square = q == k or attn_mask.variant == CausalVariant.UPPER_LEFT
    if square and (query.shape[-2], key.shape[-2]) == (q, k):
        return F.scaled_dot_product_attention(query, key, value, is_causal=True, **options)
    mask = attn_mask._materialize(query.device)
    return F.scaled_dot_product_attention(query, key, value, attn_mask=mask, **options)


def _sizes(name: str, size: tuple[int, ...]) -> tuple[int, int]:
    if len(size) != 2:
        raise AssertionError(f"{name}: only supports 2D tensors; got {len(size)} sizes")
    return size[0], size[1]


def causal_upper_left(*size: int) -> CausalBias:
    """Query i sees the keys up to i; ``size``: numbers of queries and of keys.

    >>> x = torch.ones(1, 2, 4)
    >>> F.scaled_dot_product_attention(x, x, x, causal_upper_left(2, 2)).shape
    torch.Size([1, 2, 4])
    """
    return CausalBias(CausalVariant.UPPER_LEFT, *_sizes("causal_upper_left", size))


def causal_lower_right(*size: int) -> CausalBias:
    """The last query sees all keys, each before it one key less: for queries that come after keys
    of a cache. ``size``: numbers of queries and of keys.

    >>> query, cache = torch.ones(1, 1, 4), torch.ones(1, 5, 4)
    >>> F.scaled_dot_product_attention(query, cache, cache, causal_lower_right(1, 5)).shape
    torch.Size([1, 1, 4])
    """
    return CausalBias(CausalVariant.LOWER_RIGHT, *_sizes("causal_lower_right", size))
