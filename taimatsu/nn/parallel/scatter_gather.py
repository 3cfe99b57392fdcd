"""Batches split into parts for devices, and results put together: whatever holds the tensors."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import taimatsu as torch

from . import comm

__all__ = ["gather", "scatter", "scatter_kwargs"]


def _refuse_without_gpus(name: str, devices: Any) -> None:
    if not torch.cuda.is_available():
        raise RuntimeError(f"{name}: needs GPUs, and there are none; got {devices}")


def _rebuilt(like: Any, items: Sequence[Any]) -> Any:
    return type(like)(*items) if hasattr(like, "_fields") else type(like)(items)


def _scattered(x: Any, devices: Sequence[Any], dim: int) -> list[Any]:
    if isinstance(x, torch.Tensor):
        return list(comm.scatter(x, devices, dim=dim))
    # What all parts of a structure have is a structure again.
    if isinstance(x, (list, tuple)) and x:
        each = [_scattered(item, devices, dim) for item in x]
        return [_rebuilt(x, part) for part in zip(*each, strict=False)]
    if isinstance(x, dict) and x:
        each = [_scattered(item, devices, dim) for item in x.values()]
        return [type(x)(zip(x, part, strict=True)) for part in zip(*each, strict=False)]
    return [x for _ in devices]


def scatter(inputs: Any, target_gpus: Sequence[Any], dim: int = 0) -> Any:
    """Tensors in ``inputs`` in equal parts along ``dim``, one for each GPU; other objects in each.

    Returns a list of the structures, as many as the batch gives parts. RuntimeError without GPUs.
    """
    _refuse_without_gpus("scatter", target_gpus)
    return _scattered(inputs, target_gpus, dim)


def scatter_kwargs(
    inputs: Any, kwargs: Any, target_gpus: Sequence[Any], dim: int = 0
) -> tuple[tuple, tuple]:
    """`scatter` of positional and of keyword arguments, as many of the one as of the other."""
    _refuse_without_gpus("scatter_kwargs", target_gpus)
    given = _scattered(inputs, target_gpus, dim) if inputs else []
    named = _scattered(kwargs, target_gpus, dim) if kwargs else []
    n = max(len(given), len(named))
    return (*given, *[()] * (n - len(given))), (*named, *[{}] * (n - len(named)))


def gather(outputs: Any, target_device: Any, dim: int = 0) -> Any:
    """Results of the same structure, their tensors concatenated along ``dim`` on one device.

    Tensors of one number become a vector. ValueError for dicts of different sizes, RuntimeError
    for a GPU where there is none.
    """
    first = outputs[0]
    if isinstance(first, torch.Tensor):
        if comm._device(target_device).type != "cpu":
            _refuse_without_gpus("gather", target_device)
        if all(o.dim() == 0 for o in outputs) and dim == 0:
            warnings.warn(
                "Was asked to gather along dimension 0, but all input tensors were scalars; will "
                "instead unsqueeze and return a vector.", stacklevel=2,
            )  # fmt: skip
        parts = [o.reshape(1) if o.dim() == 0 else o for o in outputs]
        return comm.gather(parts, dim, target_device)
    if first is None:
        return None
    if isinstance(first, dict):
        if any(len(o) != len(first) for o in outputs):
            raise ValueError("gather: all dicts must have the same number of keys")
        return type(first)((k, gather([o[k] for o in outputs], target_device, dim)) for k in first)
    return _rebuilt(first, [gather(each, target_device, dim)
                            for each in zip(*outputs, strict=True)])  # fmt: skip
