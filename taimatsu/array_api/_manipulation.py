"""Other sizes and orders of elements; picking elements."""

from __future__ import annotations

from collections.abc import Sequence

import taimatsu as torch
from taimatsu import Tensor, broadcast_shapes, moveaxis

from ._promotion import as_one_dtype

__all__ = [
    "broadcast_arrays", "broadcast_shapes", "broadcast_to", "concat", "expand_dims", "flip",
    "moveaxis", "permute_dims", "repeat", "reshape", "roll", "squeeze", "stack", "take",
    "take_along_axis", "tile", "unstack",
]  # fmt: skip

Axes = int | tuple[int, ...]


def broadcast_arrays(*arrays: Tensor) -> list[Tensor]:
    """The arrays, all with the sizes that they broadcast to."""
    return list(torch.broadcast_tensors(*arrays))


def broadcast_to(x: Tensor, /, shape: tuple[int, ...]) -> Tensor:
    """With the sizes of `shape`, by repetition along axes of one element."""
    return torch.broadcast_to(x, shape)


def concat(arrays: Sequence[Tensor], /, *, axis: int | None = 0) -> Tensor:
    """One after the other along an axis; without an axis, flattened."""
    arrays = as_one_dtype(*arrays)
    return torch.concat([a.flatten() for a in arrays] if axis is None else arrays, axis or 0)


def stack(arrays: Sequence[Tensor], /, *, axis: int = 0) -> Tensor:
    """Arrays of the same sizes, along a new axis."""
    return torch.stack(as_one_dtype(*arrays), axis)


def unstack(x: Tensor, /, *, axis: int = 0) -> tuple[Tensor, ...]:
    """The parts of an array along an axis, which they don't have."""
    return torch.unbind(x, axis)


def expand_dims(x: Tensor, /, axis: Axes = 0) -> Tensor:
    """With a new axis of one element. IndexError where there is no such place."""
    axes = axis if isinstance(axis, tuple) else (axis,)
    ndim = x.ndim + len(axes)
    for a in axes:
        if not -ndim <= a < ndim:
            raise IndexError(f"expand_dims: axis {a} is not in [{-ndim}, {ndim})")
    for a in sorted(a % ndim for a in axes):
        x = x.unsqueeze(a)
    return x


def squeeze(x: Tensor, /, axis: Axes) -> Tensor:
    """Without axes of one element. ValueError where there are more."""
    axes = axis if isinstance(axis, tuple) else (axis,)
    for a in axes:
        if x.size(a) != 1:
            raise ValueError(f"squeeze: axis {a} of sizes {list(x.shape)} has more than 1 element")
    return torch.squeeze(x, axes)


def flip(x: Tensor, /, *, axis: Axes | None = None) -> Tensor:
    """In reverse order along axes, or all."""
    if axis is None:
        axis = tuple(range(x.ndim))
    return torch.flip(x, axis if isinstance(axis, tuple) else (axis,))


def permute_dims(x: Tensor, /, axes: tuple[int, ...]) -> Tensor:
    """The axes in another order."""
    return torch.permute(x, axes)


def repeat(x: Tensor, repeats: int | Tensor, /, *, axis: int | None = None) -> Tensor:
    """Each element `repeats` times."""
    return torch.repeat_interleave(x, repeats, axis)


def reshape(x: Tensor, /, shape: tuple[int, ...], *, copy: bool | None = None) -> Tensor:
    """The elements with other sizes. ValueError for ``copy=False`` where that needs a copy."""
    if copy:
        return x.clone(memory_format=torch.contiguous_format).reshape(shape)
    made = torch.reshape(x, shape)
    if copy is False and made.data_ptr() != x.data_ptr():
        raise ValueError(f"reshape: copy=False, but sizes {list(shape)} need a copy")
    return made


def roll(x: Tensor, /, shift: Axes, *, axis: Axes | None = None) -> Tensor:
    """Shifted along axes; what goes out at one end comes in at the other."""
    if isinstance(axis, tuple) and isinstance(shift, int):
        shift = (shift,) * len(axis)
    return torch.roll(x, shift, () if axis is None else axis)


def tile(x: Tensor, repetitions: tuple[int, ...], /) -> Tensor:
    """The whole, repeated along each axis."""
    return torch.tile(x, repetitions)


def take(x: Tensor, indices: Tensor, /, *, axis: int | None = None) -> Tensor:
    """Elements by position along an axis, which may be left out of a vector."""
    if axis is None:
        if x.ndim != 1:
            raise ValueError(f"take: an array of {x.ndim} dims needs an axis")
        axis = 0
    made = torch.index_select(x, axis, _positions(indices.flatten(), x.size(axis)))
    return made.unflatten(axis, indices.shape) if indices.ndim != 1 else made


def take_along_axis(x: Tensor, indices: Tensor, /, *, axis: int = -1) -> Tensor:
    """Elements by position along an axis, each row's own."""
    return torch.take_along_dim(x, _positions(indices, x.size(axis)), axis)


def _positions(indices: Tensor, n: int) -> Tensor:
    return torch.where(indices < 0, indices + n, indices)


