"""Making a batch of samples, and tensors of what is none."""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable, Mapping, MutableMapping, MutableSequence, Sequence
from typing import Any

import taimatsu as torch
from taimatsu import Tensor

from ._fetch import get_worker_info

__all__ = ["collate", "default_collate", "default_collate_fn_map", "default_convert"]


def _is_numpy(value: Any) -> bool:
    return type(value).__module__ == "numpy"


def _rebuild(like: Any, values: Any) -> Any:
    """A container like ``like`` with other values; a dict or list where its type can't be."""
    is_map = isinstance(like, Mapping)
    try:
        if isinstance(like, MutableMapping):
            clone = copy.copy(like)  # keeps what the class holds besides the values
            clone.update(values)
            return clone
        if isinstance(like, MutableSequence):
            clone = copy.copy(like)
            for i, value in enumerate(values):
                clone[i] = value
            return clone
        return type(like)(values)
    except TypeError:
        return dict(values) if is_map else list(values)


def _fields(like: Any) -> list[str]:
    """Those of a dataclass that its constructor takes."""
    from dataclasses import fields  # not before somebody has one: a worker starts sooner

    return [f.name for f in fields(like) if f.init]


def _with_fields(like: Any, values: dict[str, Any]) -> Any:
    from dataclasses import replace

    return replace(like, **values)


def default_convert(data: Any) -> Any:
    """NumPy arrays as tensors, in containers of any depth (tuples become lists)."""
    if isinstance(data, Tensor):
        return data
    if _is_numpy(data):
        if hasattr(data, "dtype") and data.dtype.kind in "SUO":
            return data
        return torch.as_tensor(data)
    if isinstance(data, Mapping):
        return _rebuild(data, {key: default_convert(value) for key, value in data.items()})
    if isinstance(data, tuple) and hasattr(data, "_fields"):
        return type(data)(*(default_convert(value) for value in data))
    if hasattr(type(data), "__dataclass_fields__"):
        return _with_fields(data, {n: default_convert(getattr(data, n)) for n in _fields(data)})
    if isinstance(data, tuple):
        return [default_convert(value) for value in data]
    if isinstance(data, Sequence) and not isinstance(data, (str, bytes)):
        return _rebuild(data, [default_convert(value) for value in data])
    return data


def collate(
    batch: Sequence,
    *,
    collate_fn_map: Mapping[type | tuple[type, ...], Callable] | None = None,
) -> Any:
    """A batch of ``batch``: containers of batches, down to the types in ``collate_fn_map``.

    Each function there is called as ``fn(samples, collate_fn_map=...)``. Sequences in one batch
    must have equal lengths. Raises TypeError for other types.
    """
    first = batch[0]
    functions = collate_fn_map or {}
    if (exact := functions.get(type(first))) is not None:
        return exact(batch, collate_fn_map=collate_fn_map)
    for kind, fn in functions.items():
        if isinstance(first, kind):
            return fn(batch, collate_fn_map=collate_fn_map)

    def deeper(samples: Sequence) -> Any:
        return collate(samples, collate_fn_map=collate_fn_map)

    if isinstance(first, Mapping):
        return _rebuild(first, {key: deeper([sample[key] for sample in batch]) for key in first})
    if isinstance(first, tuple) and hasattr(first, "_fields"):
        return type(first)(*(deeper(samples) for samples in zip(*batch, strict=True)))
    if hasattr(type(first), "__dataclass_fields__"):
        columns = {n: deeper([getattr(sample, n) for sample in batch]) for n in _fields(first)}
        return _with_fields(first, columns)
    if isinstance(first, Sequence):
        if len(set(map(len, batch))) > 1:
            raise RuntimeError("each element in list of batch should be of equal size")
        columns = [deeper(samples) for samples in zip(*batch, strict=True)]
        return columns if isinstance(first, tuple) else _rebuild(first, columns)
    raise TypeError(
        "default_collate: batch must contain tensors, numpy arrays, numbers, dicts or lists; "
        f"found {type(first)}"
    )


def _collate_tensors(batch: Sequence[Tensor], *, collate_fn_map: Any = None) -> Tensor:
    first = batch[0]
    if not _in_process() and type(first) is Tensor:
        alike = all(
            x.shape == first.shape and x.dtype == first.dtype and not x.requires_grad for x in batch
        )
        if alike and first.is_cpu and first.numel():
            return _shared_stack(batch)
    return torch.stack(batch)


def _in_process() -> bool:
    """Whether the batch stays here: this is no worker process."""
    worker = get_worker_info()
    return worker is None or worker.kind == "thread"


def _shared_stack(batch: Sequence[Tensor]) -> Tensor:
    """Stacked in shared memory, which the main process gets without another copy."""
    from taimatsu.multiprocessing.shared_memory import allocate

    first = batch[0]
    storage = allocate(len(batch) * first.numel() * first.dtype.itemsize)
    flat = torch._core.tensor_from_storage(
        storage, first.dtype, 0, (len(batch) * first.numel(),), (1,)
    )
    if first.dim() == 0:
        return torch.stack(batch, out=flat)
    torch.cat(batch, out=flat.view(-1, *first.shape[1:]))
    return flat.view(len(batch), *first.shape)


def _collate_floats(batch: Sequence[float], *, collate_fn_map: Any = None) -> Tensor:
    return torch.tensor(batch, dtype=torch.float64)


def _collate_ints(batch: Sequence[int], *, collate_fn_map: Any = None) -> Tensor:
    return torch.tensor(batch)


def _collate_text(batch: Sequence[Any], *, collate_fn_map: Any = None) -> Any:
    return batch


def _collate_arrays(batch: Sequence[Any], *, collate_fn_map: Any = None) -> Any:
    """Arrays and scalars of NumPy. TypeError for those that hold no numbers."""
    first = batch[0]
    if first.dtype.kind in "SUO":
        raise TypeError(
            "default_collate: batch must contain tensors, numpy arrays, numbers, dicts or lists; "
            f"found {first.dtype}"
        )
    if first.shape == ():
        return torch.as_tensor(batch)
    return _collate_tensors([torch.as_tensor(sample) for sample in batch])


default_collate_fn_map: dict[type | tuple[type, ...], Callable] = {
    Tensor: _collate_tensors,
    float: _collate_floats,
    int: _collate_ints,
    str: _collate_text,
    bytes: _collate_text,
}


def default_collate(batch: Sequence) -> Any:
    """Stack samples along a new first dimension.

    Tensors and arrays are stacked, numbers become a tensor, strings stay, dicts, tuples, lists and
    dataclasses become those of batches.

    >>> default_collate([(1, "a"), (2, "b")])
    [tensor([1, 2]), ('a', 'b')]
    """
    return collate(batch, collate_fn_map=_functions())


def _functions() -> dict:
    """The default functions, with those for arrays if NumPy is in use: it is not imported here."""
    numpy = sys.modules.get("numpy")
    if numpy is not None and numpy.ndarray not in default_collate_fn_map:
        for kind in (numpy.ndarray, numpy.generic):
            default_collate_fn_map[kind] = _collate_arrays
    return default_collate_fn_map
