"""Functions of the top level that PyTorch has besides better names of the same."""

from __future__ import annotations

import enum
from typing import Any

import taimatsu as torch
from taimatsu import Tensor

__all__ = [
    "AVG", "SUM", "AcceleratorError", "AggregationType", "FatalError", "JITException", "Storage",
    "StorageBase", "detach_copy", "frobenius_norm", "legacy_contiguous_format",
    "norm_except_dim", "nuclear_norm", "saddmm", "segment_reduce", "spmm", "to_dlpack",
]  # fmt: skip

legacy_contiguous_format = torch.contiguous_format
StorageBase = torch.UntypedStorage
Storage = torch.FloatStorage


class AggregationType(enum.Enum):
    """How what several graphs computed is put together."""

    SUM = 0
    AVG = 1


SUM, AVG = AggregationType.SUM, AggregationType.AVG


class AcceleratorError(RuntimeError):
    """An error of a device's runtime."""


class FatalError(RuntimeError):
    """An error after which the process can't go on."""


class JITException(RuntimeError):
    """An exception that TorchScript's code raised."""


def detach_copy(self: Tensor) -> Tensor:
    """A copy that has no history."""
    return self.detach().clone()


def frobenius_norm(self: Tensor, dim: Any = (), keepdim: bool = False) -> Tensor:
    """`linalg.vector_norm` over dims, or all.

    >>> torch.frobenius_norm(torch.tensor([[3.0, 4.0]]), dim=1)
    tensor([5.])
    """
    dims = [dim] if isinstance(dim, int) else list(dim)
    return torch.linalg.vector_norm(self, 2, dims or None, keepdim)


def nuclear_norm(self: Tensor, dim: Any = None, keepdim: bool = False) -> Tensor:
    """The sum of the singular values of matrices.

    >>> torch.nuclear_norm(torch.eye(3))
    tensor(3.)
    """
    return torch.linalg.matrix_norm(self, "nuc", (-2, -1) if dim is None else tuple(dim), keepdim)


def norm_except_dim(v: Tensor, pow: int = 2, dim: int = 0) -> Tensor:
    """The norms over all dims but one (-1: over all).

    >>> torch.norm_except_dim(torch.tensor([[3.0, 4.0], [0.0, 1.0]]))
    tensor([[5.],
            [1.]])
    """
    if dim == -1:
        return v.norm(pow)
    others = [d for d in range(v.dim()) if d != dim % v.dim()]
    return torch.linalg.vector_norm(v, pow, others, keepdim=True) if others else v.abs()


def spmm(input: Tensor, mat2: Tensor) -> Tensor:
    """`mm`, of a sparse tensor."""
    return torch.mm(input, mat2)


def saddmm(
    input: Tensor, mat1: Tensor, mat2: Tensor, *, beta: float = 1, alpha: float = 1
) -> Tensor:
    """`addmm`, of a sparse ``mat1``."""
    return torch.addmm(input, mat1, mat2, beta=beta, alpha=alpha)


def to_dlpack(tensor: Tensor) -> Any:
    """A capsule by which other libraries share the memory."""
    given: Any = tensor
    return given.__dlpack__()


_EMPTY = {"sum": 0.0, "mean": float("nan"), "prod": 1.0, "max": -float("inf"),
          "min": float("inf")}  # fmt: skip


def segment_reduce(
    data: Tensor, reduce: str, *, lengths: Tensor | None = None, indices: Tensor | None = None,
    offsets: Tensor | None = None, axis: int = 0, unsafe: bool = False,
    initial: float | None = None,
) -> Tensor:  # fmt: skip
    """The "sum", "mean", "max", "min" or "prod" of consecutive segments of a dim.

    ``lengths``: theirs; or ``offsets``: where they begin, and the last one ends. Their leading
    dims are those of ``data`` before ``axis``. A segment without elements is ``initial``, or what
    changes nothing (nan, for the mean). RuntimeError for lengths that aren't the dim's in all.

    >>> torch.segment_reduce(torch.arange(4.0), "sum", lengths=torch.tensor([1, 3]))
    tensor([0., 6.])
    """
    if reduce not in _EMPTY:
        raise RuntimeError(f"segment_reduce: unsupported reduction {reduce!r}")
    if (lengths is None) == (offsets is None):
        raise RuntimeError("segment_reduce(): Either lengths or offsets must be defined")
    counts = lengths if offsets is None else torch.diff(offsets, dim=-1)
    assert counts is not None
    axis %= max(data.dim(), 1)
    if counts.dim() != axis + 1 or counts.shape[:-1] != data.shape[:axis]:
        raise RuntimeError(
            f"segment_reduce: lengths of shape {tuple(counts.shape)} don't fit data of shape "
            f"{tuple(data.shape)} at axis {axis}"
        )
    if not unsafe and bool(((counts < 0).any(-1) | (counts.sum(-1) != data.shape[axis])).any()):
        raise RuntimeError("Expected all rows of lengths along axis to sum to data.size(axis)")
    rows = data.reshape(-1, *data.shape[axis:])
    parts = [
        torch.stack([_reduced(s, reduce, initial) for s in row.split(own)])
        for row, own in zip(rows, counts.reshape(-1, counts.shape[-1]).tolist(), strict=True)
    ]
    return torch.stack(parts).reshape(*data.shape[:axis], counts.shape[-1], *data.shape[axis + 1 :])


def _reduced(segment: Tensor, how: str, initial: float | None) -> Tensor:
    if not len(segment):
        return segment.new_full(segment.shape[1:], _EMPTY[how] if initial is None else initial)
    ops: dict[str, Any] = {
        "sum": torch.sum, "mean": torch.sum, "prod": torch.prod, "max": torch.amax,
        "min": torch.amin,
    }  # fmt: skip
    result = ops[how](segment, 0)
    if initial is not None:
        merge: dict[str, Any] = {"max": torch.clamp_min, "min": torch.clamp_max, "prod": torch.mul}
        result = merge.get(how, torch.add)(result, initial)
    return result / len(segment) if how == "mean" else result
