"""``flex_attention``: attention whose scores a function changes, and which a function masks.

>>> def causal(b, h, q, k):
...     return q >= k
>>> x = torch.randn(1, 2, 5, 4)
>>> mask = create_block_mask(causal, None, None, 5, 5, device="cpu")
>>> flex_attention(x, x, x, block_mask=mask).shape
torch.Size([1, 2, 5, 4])

The functions are called once, with tensors of positions that broadcast to (batch, heads, queries,
keys); all scores are computed, those of masked blocks too.
"""

from __future__ import annotations

import math
import typing
from collections.abc import Callable
from typing import Any

import taimatsu as torch
from taimatsu import Tensor

__all__ = [
    "AuxOutput", "AuxRequest", "BlockMask", "and_masks", "create_block_mask", "create_mask",
    "create_nested_block_mask", "flex_attention", "noop_mask", "or_masks",
]  # fmt: skip

_DEFAULT_SPARSE_BLOCK_SIZE = 128


class AuxRequest(typing.NamedTuple):
    """What `flex_attention` returns besides: the rows' logsumexp, the rows' largest score."""

    lse: bool = False
    max_scores: bool = False


class AuxOutput(typing.NamedTuple):
    """What an `AuxRequest` asked for."""

    lse: Tensor | None = None
    max_scores: Tensor | None = None


def noop_mask(batch: Tensor, head: Tensor, token_q: Tensor, token_kv: Tensor) -> Tensor:
    """The mask that hides nothing."""
    return batch.new_ones((), dtype=torch.bool)


def and_masks(*mask_mods: Callable) -> Callable:
    """The mask that shows what all show."""

    def mask(b: Tensor, h: Tensor, q: Tensor, k: Tensor) -> Tensor:
        result = noop_mask(b, h, q, k)
        for mod in mask_mods:
            result = result & mod(b, h, q, k)
        return result

    return mask


def or_masks(*mask_mods: Callable) -> Callable:
    """The mask that shows what any shows."""

    def mask(b: Tensor, h: Tensor, q: Tensor, k: Tensor) -> Tensor:
        result = b.new_zeros((), dtype=torch.bool)
        for mod in mask_mods:
            result = result | mod(b, h, q, k)
        return result

    return mask


def _positions(sizes: tuple, device: Any) -> list[Tensor]:
    """For each dim the positions along it, shaped to broadcast with those of the others."""
    return [
        torch.arange(n, device=device).view([n if d == i else 1 for d in range(len(sizes))])
        for i, n in enumerate(sizes)
    ]


def create_mask(
    mod_fn: Callable, B: int | None, H: int | None, Q_LEN: int, KV_LEN: int,
    device: Any = None, **options: Any,
) -> Tensor:  # fmt: skip
    """The mask as a tensor of bool (B, H, queries, keys); None is 1."""
    sizes = (B or 1, H or 1, Q_LEN, KV_LEN)
    return mod_fn(*_positions(sizes, device)).expand(sizes)


class BlockMask:
    """A mask, and which blocks of it hold anything.

    ``kv_num_blocks`` (B, H, blocks of queries) and ``kv_indices``: for each block of queries, the
    blocks of keys that are shown in part; ``full_kv_num_blocks``, ``full_kv_indices``: in full.
    """

    def __init__(self, mask_mod: Callable, seq_lengths: tuple[int, int], block_size: tuple,
                 partial: Tensor, full: Tensor, chosen: bool = False):  # fmt: skip
        self.mask_mod, self.seq_lengths, self.BLOCK_SIZE = mask_mod, seq_lengths, block_size
        self._partial, self._full = partial, full
        self._chosen = chosen  # not by what mask_mod shows
        self.kv_num_blocks, self.kv_indices = _listed(partial)
        self.full_kv_num_blocks, self.full_kv_indices = _listed(full)
        self.q_num_blocks, self.q_indices = _listed(partial.transpose(-1, -2))
        self.full_q_num_blocks, self.full_q_indices = _listed(full.transpose(-1, -2))

    @classmethod
    def from_kv_blocks(
        cls, kv_num_blocks: Tensor, kv_indices: Tensor, full_kv_num_blocks: Tensor | None = None,
        full_kv_indices: Tensor | None = None, BLOCK_SIZE: int | tuple[int, int] = 128,
        mask_mod: Callable | None = None, seq_lengths: tuple[int, int] | None = None,
        compute_q_blocks: bool = True,
    ) -> BlockMask:  # fmt: skip
        """The mask of blocks that are listed: for each block of queries how many blocks of keys,
        (B, H, rows), and which, first in (B, H, rows, columns).

        In the ``full`` ones all is shown, in the others what `mask_mod` shows, or all without one.
        """
        if kv_indices.dim() < 2:
            raise RuntimeError("BlockMask must have at least 2 dimensions")
        if (full_kv_num_blocks is None) != (full_kv_indices is None):
            raise AssertionError(
                "full_kv_num_blocks and full_kv_indices must be both provided or omitted"
            )
        partial = _unlisted(kv_num_blocks, kv_indices)
        full = torch.zeros_like(partial)
        if full_kv_num_blocks is not None and full_kv_indices is not None:
            full = _unlisted(full_kv_num_blocks, full_kv_indices)
        size = BLOCK_SIZE if isinstance(BLOCK_SIZE, tuple) else (BLOCK_SIZE, BLOCK_SIZE)
        lengths = seq_lengths or (partial.shape[-2] * size[0], partial.shape[-1] * size[1])
        return cls(mask_mod or noop_mask, lengths, size, partial, full, chosen=True)

    def shows(self, b: Tensor, h: Tensor, q: Tensor, k: Tensor) -> Tensor:
        """Whether a query sees a key."""
        shown = self.mask_mod(b, h, q, k)
        if not self._chosen:
            return shown
        n, heads = self._partial.shape[:2]  # 1 where they are the same for all
        at = b.clamp(max=n - 1), h.clamp(max=heads - 1), *(
            i // size for i, size in zip((q, k), self.BLOCK_SIZE, strict=True)
        )
        return self._full[at] | self._partial[at] & shown

    @property
    def shape(self) -> tuple[int, ...]:
        """(B, H, queries, keys)."""
        return (*self._partial.shape[:2], *self.seq_lengths)

    def to_dense(self) -> Tensor:
        """1 for each block that is shown in part or in full, else 0."""
        return (self._partial | self._full).int()

    def sparsity(self) -> float:
        """The part of blocks that is hidden, in percent."""
        return 100 * (1 - self.to_dense().double().mean().item())

    def numel(self) -> int:
        """The number of elements of the whole mask."""
        return math.prod(self.shape)

    def to(self, device: Any) -> BlockMask:
        """The mask on a device."""
        return BlockMask(self.mask_mod, self.seq_lengths, self.BLOCK_SIZE,
                         self._partial.to(device), self._full.to(device), self._chosen)  # fmt: skip

    def __repr__(self) -> str:
        return f"BlockMask(shape={self.shape}, sparsity={self.sparsity():.2f}%)"


def _listed(blocks: Tensor) -> tuple[Tensor, Tensor]:
    """How many there are in each row, and their positions first."""
    return blocks.sum(-1).int(), blocks.int().argsort(-1, descending=True, stable=True).int()


def _unlisted(number: Tensor, indices: Tensor) -> Tensor:
    """Which blocks are listed: the inverse of `_listed`."""
    listed = torch.arange(indices.shape[-1], device=indices.device) < number.unsqueeze(-1)
    return torch.zeros_like(indices).scatter_add(-1, indices.long(), listed.to(indices.dtype)) > 0


def create_block_mask(
    mask_mod: Callable, B: int | None, H: int | None, Q_LEN: int, KV_LEN: int, device: Any = None,
    BLOCK_SIZE: int | tuple[int, int] = _DEFAULT_SPARSE_BLOCK_SIZE, **options: Any,
) -> BlockMask:  # fmt: skip
    """A `BlockMask` of ``mask_mod(batch, head, query, key)``, which tells what is shown."""
    size = BLOCK_SIZE if isinstance(BLOCK_SIZE, tuple) else (BLOCK_SIZE, BLOCK_SIZE)
    mask = create_mask(mask_mod, B, H, Q_LEN, KV_LEN, device)
    pad = (-KV_LEN % size[1], -Q_LEN % size[0])
    padded = torch.nn.functional.pad(mask, (0, pad[0], 0, pad[1]))
    n, h, q, k = padded.shape
    counts = padded.view(n, h, q // size[0], size[0], k // size[1], size[1]).sum((3, 5))
    full = counts == size[0] * size[1]
    return BlockMask(mask_mod, (Q_LEN, KV_LEN), size, (counts > 0) & ~full, full)


def create_nested_block_mask(*args: Any, **kwargs: Any) -> BlockMask:
    """A mask of nested tensors. NotImplementedError: there are none."""
    raise NotImplementedError("create_nested_block_mask: there are no nested tensors")


def flex_attention(
    query: Tensor, key: Tensor, value: Tensor, score_mod: Callable | None = None,
    block_mask: BlockMask | None = None, scale: float | None = None, enable_gqa: bool = False,
    return_lse: bool = False, kernel_options: Any = None, *, return_aux: AuxRequest | None = None,
) -> Any:  # fmt: skip
    """softmax(score_mod(query @ key.T * scale)) @ value, of (batch, heads, length, width).

    ``score_mod(score, batch, head, query, key)`` changes scores; ``block_mask`` hides them;
    ``enable_gqa``: fewer heads of keys than of queries, each for several. ``return_lse``: also the
    logsumexp of each row. ValueError for operands of other than 4 dims or heads that don't fit.
    """
    for name, t in (("query", query), ("key", key), ("value", value)):
        if t.dim() != 4:
            raise ValueError(f"flex_attention: {name} must be 4-D; got shape {tuple(t.shape)}")
    heads, kv_heads = query.shape[1], key.shape[1]
    if heads != kv_heads:
        if not enable_gqa or heads % kv_heads:
            raise ValueError(
                "flex_attention: query and key/value must have the same number of heads unless "
                f"enable_gqa=True, and then a multiple; got {heads} and {kv_heads}"
            )
        key, value = (t.repeat_interleave(heads // kv_heads, 1) for t in (key, value))
    scale = 1 / math.sqrt(query.shape[-1]) if scale is None else scale
    scores = (query * scale) @ key.transpose(-1, -2)
    scores = scores.to(torch.promote_types(scores.dtype, torch.float32))
    at = _positions(tuple(scores.shape), query.device)
    if score_mod is not None:
        scores = score_mod(scores, *at)
    if block_mask is not None:
        scores = scores.masked_fill(~block_mask.shows(*at), -math.inf)
    lse = scores.logsumexp(-1)
    weights = torch.exp(scores - lse.masked_fill(lse == -math.inf, 0).unsqueeze(-1))
    result = weights.to(query.dtype) @ value
    if return_aux is not None:
        top = scores.amax(-1) if return_aux.max_scores else None
        return result, AuxOutput(lse if return_aux.lse else None, top)
    return (result, lse) if return_lse else result
