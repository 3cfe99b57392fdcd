"""New tensors."""

from __future__ import annotations

from typing import Any

import taimatsu as torch
from taimatsu import Tensor, empty_like, full_like, ones_like, zeros_like

from ._promotion import as_one_dtype, result_type

__all__ = [
    "arange", "asarray", "astype", "empty", "empty_like", "eye", "from_dlpack", "full", "full_like",
    "linspace", "meshgrid", "ones", "ones_like", "tril", "triu", "zeros", "zeros_like",
]  # fmt: skip


def asarray(
    obj: Any, /, *, dtype: Any = None, device: Any = None, copy: bool | None = None
) -> Tensor:
    """A tensor of numbers, nested lists, or memory that is shared unless `copy` or a cast asks.

    ValueError for ``copy=False`` where a copy is needed.
    """
    if isinstance(obj, (list, tuple)) and any(isinstance(x, Tensor) for x in obj):
        parts = [x if isinstance(x, Tensor) else torch.tensor(x) for x in obj]
        obj = torch.stack(as_one_dtype(*parts))
    elif copy is False and not isinstance(obj, Tensor) and not _has_memory(obj):
        raise ValueError("asarray: copy=False, but numbers and lists have no memory to share")
    if not isinstance(obj, Tensor):
        return torch.asarray(obj, dtype=dtype, device=device, copy=copy)
    # Not by `torch.asarray`, which leaves the graph.
    made = obj.to(device=device or obj.device, dtype=dtype or obj.dtype, copy=bool(copy))
    if copy is False and made is not obj:
        raise ValueError(f"asarray: copy=False, but {made.dtype} on {made.device} needs a copy")
    return made


def _has_memory(obj: Any) -> bool:
    return any(hasattr(obj, n) for n in ("__dlpack__", "__array_interface__", "__buffer__")) or (
        isinstance(obj, (memoryview, bytes, bytearray))
    )


def astype(x: Tensor, dtype: Any, /, *, copy: bool = True, device: Any = None) -> Tensor:
    """A tensor of another dtype; without `copy` itself where it has that."""
    if x.dtype.is_complex and not dtype.is_complex:
        x = x.real if dtype != torch.bool else x != 0
    return x.to(device=device or x.device, dtype=dtype, copy=copy)


def from_dlpack(x: Any, /, *, device: Any = None, copy: bool | None = None) -> Tensor:
    """A tensor over another library's memory, by DLPack."""
    return torch.from_dlpack(x, device=device, copy=copy)


Shape = int | tuple[int, ...]


def empty(shape: Shape, *, dtype: Any = None, device: Any = None) -> Tensor:
    """An array of these sizes, its elements not initialised."""
    return torch.empty(shape, dtype=dtype, device=device)


def full(shape: Shape, fill_value: Any, *, dtype: Any = None, device: Any = None) -> Tensor:
    """An array of these sizes, every element the number."""
    return torch.full(_sizes(shape), fill_value, dtype=dtype, device=device)


def ones(shape: Shape, *, dtype: Any = None, device: Any = None) -> Tensor:
    """An array of these sizes, every element 1."""
    return torch.ones(shape, dtype=dtype, device=device)


def zeros(shape: Shape, *, dtype: Any = None, device: Any = None) -> Tensor:
    """An array of these sizes, every element 0."""
    return torch.zeros(shape, dtype=dtype, device=device)


def _sizes(shape: Shape) -> tuple[int, ...]:
    return shape if isinstance(shape, tuple) else (shape,)


def arange(
    start: Any, /, stop: Any = None, step: Any = 1, *, dtype: Any = None, device: Any = None
) -> Tensor:
    """Numbers from `start` in steps, before `stop`; none where that lies behind."""
    if stop is None:
        start, stop = 0, start
    if (stop - start) * step <= 0:
        if dtype is None:
            numbers = (start, stop, step)
            integers = all(isinstance(n, int) for n in numbers)
            dtype = torch.int64 if integers else torch.get_default_dtype()
        return torch.empty(0, dtype=dtype, device=device)
    return torch.arange(start, stop, step, dtype=dtype, device=device)


def eye(
    n_rows: int, n_cols: int | None = None, /, *, k: int = 0, dtype: Any = None, device: Any = None
) -> Tensor:
    """A matrix with ones on the `k` th diagonal."""
    made = torch.zeros(n_rows, n_rows if n_cols is None else n_cols, dtype=dtype, device=device)
    if -made.size(0) < k < made.size(1):
        made.diagonal(k).fill_(1)
    return made


def linspace(
    start: Any, stop: Any, /, num: int, *, dtype: Any = None, device: Any = None,
    endpoint: bool = True,
) -> Tensor:  # fmt: skip
    """`num` numbers at equal distances from `start` to `stop`, or up to before it."""
    if isinstance(start, complex) or isinstance(stop, complex):
        dtype = dtype or torch.promote_types(torch.get_default_dtype(), torch.complex64)
    made = torch.linspace(
        start, stop, num if endpoint else num + 1,
        dtype=dtype or torch.get_default_dtype(), device=device,
    )  # fmt: skip
    return made if endpoint else made[:-1]


def meshgrid(*arrays: Tensor, indexing: str = "xy") -> tuple[Tensor, ...]:
    """Coordinates on a grid, as one tensor for each axis."""
    result_type(*arrays)
    return tuple(torch.meshgrid(*arrays, indexing=indexing))


def tril(x: Tensor, /, *, k: int = 0) -> Tensor:
    """Matrices with zeros above the `k` th diagonal."""
    return torch.tril(x, k)


def triu(x: Tensor, /, *, k: int = 0) -> Tensor:
    """Matrices with zeros below the `k` th diagonal."""
    return torch.triu(x, k)
