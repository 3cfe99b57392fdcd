"""Reductions of consecutive segments."""

from __future__ import annotations

from .table import composite

_EMPTY = {"sum": 0.0, "mean": float("nan"), "prod": 1.0, "max": -float("inf"), "min": float("inf")}


@composite("segment_reduce(Tensor data, str reduce, *, Tensor? lengths=None, Tensor? indices=None,"
           " Tensor? offsets=None, int axis=0, bool unsafe=False, Number? initial=None) -> Tensor",
           method=False, out=True)
def segment_reduce(data, reduce, lengths, indices, offsets, axis, unsafe, initial):
    """The "sum", "mean", "prod", "max" or "min" of each segment of a dim.

    data      (..., n, *), of floating numbers; n is the size of `axis`. Result: (..., s, *)
    lengths   of the segments, (..., s), whose sum is n; or
    offsets   (..., s + 1): where they begin, and the last ends
    initial   what each starts from; an empty segment is that, or the reduction of nothing
    unsafe    doesn't check that the lengths are not negative and have this sum

    RuntimeError for other reductions or lengths, and for both or none of these.

    >>> taimatsu.segment_reduce(taimatsu.tensor([1.0, 2.0, 3.0]), "sum",
    ...                         lengths=taimatsu.tensor([1, 0, 2]))
    tensor([1., 0., 5.])
    """
    from taimatsu import arange, int64, repeat_interleave, where

    if reduce not in _EMPTY:
        raise RuntimeError(f"segment_reduce: expected reduce to be one of {', '.join(_EMPTY)}; got "
                           f"{reduce!r}")
    if not data.dtype.is_floating_point:
        raise NotImplementedError(f"segment_reduce: not defined for {data.dtype}; convert it to a "
                                  "floating dtype")
    if (lengths is None) == (offsets is None) or indices is not None:
        raise RuntimeError("segment_reduce: expected either lengths or offsets, and no indices")
    lengths = (offsets.diff(dim=-1) if lengths is None else lengths).to(int64)
    lead, n = data.shape[:axis], data.size(axis)
    if lengths.shape[:-1] != lead:
        raise RuntimeError(f"segment_reduce: expected lengths of sizes (*{tuple(lead)}, segments) "
                           f"for data of sizes {tuple(data.shape)} and axis {axis}; got "
                           f"{tuple(lengths.shape)}")
    if not unsafe and not lengths.is_meta and not bool(
            (lengths >= 0).all() & (lengths.sum(-1) == n).all()):
        raise RuntimeError("segment_reduce: expected lengths that are not negative and whose sum "
                           f"is the axis's size {n}; got {lengths.tolist()}")
    rest, count = data.shape[axis + 1:], lengths.reshape(-1)
    rows = data.reshape(-1, *rest)
    segment = repeat_interleave(arange(count.numel(), device=data.device), count,
                                output_size=rows.size(0))
    start = initial if initial is not None else 0.0 if reduce == "mean" else _EMPTY[reduce]
    out = data.new_full((count.numel(), *rest), start)
    if reduce in ("sum", "mean"):
        out = out.index_add(0, segment, rows)
    else:
        how = {"prod": "prod", "max": "amax", "min": "amin"}[reduce]
        out = out.index_reduce(0, segment, rows, how)
    if reduce == "mean":
        some = count.reshape(-1, *(1 for _ in rest))
        nothing = _EMPTY["mean"] if initial is None else initial
        out = where(some > 0, out / some.clamp(min=1), nothing)
    return out.reshape(*lengths.shape, *rest)
