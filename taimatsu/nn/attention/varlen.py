"""Attention of sequences of several lengths, one after the other in one tensor."""

from __future__ import annotations

import typing
from collections.abc import Iterator

import taimatsu as torch
from taimatsu import Tensor
from taimatsu.ops import attention

__all__ = ["AuxRequest", "varlen_attn", "varlen_attn_out"]


class AuxRequest(typing.NamedTuple):
    """What is wanted besides the result: ``lse``, the logarithm of each query's sum of
    exp(score)."""

    lse: bool = False


def _pieces(cu_seq: Tensor) -> list[tuple[int, int]]:
    ends = cu_seq.tolist()
    return list(zip(ends, ends[1:]))  # noqa: B905  (one less)


def _keys(
    key: Tensor, value: Tensor, sequences: int, cu_seq_k: Tensor | None, used: list[int] | None,
    block_table: Tensor | None,
) -> Iterator[tuple[Tensor, Tensor]]:  # fmt: skip
    """Of each sequence: by its place, or page by page."""
    pieces = [] if cu_seq_k is None else _pieces(cu_seq_k)
    for i in range(sequences):
        if block_table is not None:
            found = [t[block_table[i]].flatten(0, 1) for t in (key, value)]
        else:
            found = [t[slice(*pieces[i])] for t in (key, value)]
        k, v = (t[: used[i]] if used else t for t in found)
        yield k, v


def _window(queries: int, keys: int, window: tuple[int, int], device: torch.device) -> Tensor:
    """Which keys each query sees; the last query is level with the last key."""
    position = torch.arange(keys, device=device) - (keys - queries)
    ahead = position - torch.arange(queries, device=device)[:, None]
    left, right = (float("inf") if w < 0 else w for w in window)
    return (ahead >= -left) & (ahead <= right)


def varlen_attn(
    query: Tensor, key: Tensor, value: Tensor, cu_seq_q: Tensor, cu_seq_k: Tensor | None,
    max_q: int, max_k: int, *, return_aux: AuxRequest | None = None, scale: float | None = None,
    window_size: tuple[int, int] = (-1, -1), enable_gqa: bool = False,
    seqused_k: Tensor | None = None, block_table: Tensor | None = None,
    num_splits: int | None = None,
) -> Tensor | tuple[Tensor, Tensor]:  # fmt: skip
    """Attention within each of N sequences: (T_q, H, E), (T_k, H, E), (T_k, H, V) -> (T_q, H, V).

    cu_seq_q, cu_seq_k  (N + 1): where each sequence begins and, at last, all end
    window_size         how many keys to the left and to the right a query sees, -1 all of them:
                        (-1, 0) is causal. The last query is level with the last key
    enable_gqa          key and value may have fewer heads, each for several of the query
    seqused_k           (N): how many keys of each sequence there are, as in a cache
    block_table         (N, pages): the pages of each sequence, where key and value are
                        (pages of all, page size, H, E); needs ``seqused_k``
    return_aux          ``AuxRequest(lse=True)``: the logarithm of each query's sum of exp(score)
                        too, (T_q, H)

    ``max_q``, ``max_k`` and ``num_splits`` are not needed here. RuntimeError for other numbers of
    dims, or heads that don't go together; ValueError for a table without ``seqused_k``.

    >>> q = torch.randn(5, 2, 4)
    >>> varlen_attn(q, q, q, torch.tensor([0, 2, 5]), torch.tensor([0, 2, 5]), 3, 3).shape
    torch.Size([5, 2, 4])
    """
    if block_table is not None and seqused_k is None:
        raise ValueError("varlen_attn: block_table needs seqused_k, the lengths of the sequences")
    if block_table is None and cu_seq_k is None:
        raise ValueError("varlen_attn: cu_seq_k is needed without a block_table")
    if query.dim() != 3 or key.dim() != (3 if block_table is None else 4):
        raise RuntimeError(
            "varlen_attn: query must be (tokens, heads, size), key and value too, or with a "
            "block_table (pages, page size, heads, size); "
            f"got {tuple(query.shape)} and {tuple(key.shape)}"
        )
    shared, rest = divmod(query.shape[1], key.shape[-2])
    if rest or (shared != 1 and not enable_gqa):
        raise RuntimeError(
            f"varlen_attn: {query.shape[1]} heads of query and {key.shape[-2]} of key; they must "
            "be equal, or with enable_gqa=True a multiple"
        )
    scale = query.shape[-1] ** -0.5 if scale is None else scale
    used = None if seqused_k is None else seqused_k.tolist()
    pieces = _pieces(cu_seq_q)
    outputs, sums = [], []
    keys = _keys(key, value, len(pieces), cu_seq_k, used, block_table)
    for (start, end), (k, v) in zip(pieces, keys, strict=True):
        q, k, v = (t.transpose(0, 1) for t in (query[start:end], k, v))
        if shared != 1:
            k, v = (t.repeat_interleave(shared, 0) for t in (k, v))
        causal = tuple(window_size) == (-1, 0) and q.shape[1] == k.shape[1]
        mask = None
        if not causal and tuple(window_size) != (-1, -1):
            seen = _window(q.shape[1], k.shape[1], window_size, q.device)
            mask = seen.expand(len(q), *seen.shape)
        y, lse = attention._attention(q, k, v, mask, None, 0.0, causal, scale)
        outputs.append(y.transpose(0, 1))
        sums.append(lse.transpose(0, 1))
    output = torch.cat(outputs)
    if return_aux is not None and return_aux.lse:
        return output, torch.cat(sums)
    return output


def varlen_attn_out(
    out: Tensor, query: Tensor, key: Tensor, value: Tensor, cu_seq_q: Tensor,
    cu_seq_k: Tensor | None, max_q: int, max_k: int, **options: typing.Any,
) -> Tensor | tuple[Tensor, Tensor]:  # fmt: skip
    """`varlen_attn`, written to ``out`` (T_q, H, V). Has no gradient.

    >>> q = torch.randn(3, 2, 4)
    >>> out = torch.empty(3, 2, 4)
    >>> varlen_attn_out(out, q, q, q, torch.tensor([0, 3]), torch.tensor([0, 3]), 3, 3) is out
    True
    """
    with torch.no_grad():
        result = varlen_attn(query, key, value, cu_seq_q, cu_seq_k, max_q, max_k, **options)
        if not isinstance(result, tuple):
            return out.copy_(result)
        return out.copy_(result[0]), result[1]
