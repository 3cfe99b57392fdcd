"""Batches split into parts for devices, and results put together."""

from __future__ import annotations

from typing import Any, NoReturn

import taimatsu as torch

__all__ = ["gather", "scatter", "scatter_kwargs"]


def _refuse(name: str, devices: Any) -> NoReturn:
    raise RuntimeError(f"{name}: needs GPUs, and there are none in this build; got {devices}")


def _is_cpu(device: Any) -> bool:
    return device == "cpu" or device == torch.device("cpu") or device == -1


def scatter(inputs: Any, target_gpus: Any, dim: int = 0) -> NoReturn:
    """Tensors in ``inputs`` in equal parts, one for each GPU. RuntimeError: there are none."""
    _refuse("scatter", target_gpus)


def scatter_kwargs(inputs: Any, kwargs: Any, target_gpus: Any, dim: int = 0) -> NoReturn:
    """`scatter` of positional and keyword arguments."""
    _refuse("scatter_kwargs", target_gpus)


def gather(outputs: Any, target_device: Any, dim: int = 0) -> Any:
    """Results of the same structure, their tensors concatenated along ``dim``.

    RuntimeError for a target other than the CPU.
    """
    if not _is_cpu(target_device):
        _refuse("gather", target_device)
    first = outputs[0]
    if isinstance(first, torch.Tensor):
        return torch.cat([o.reshape(1) if o.dim() == 0 else o for o in outputs], dim)
    if first is None:
        return None
    if isinstance(first, dict):
        if any(len(o) != len(first) for o in outputs):
            raise ValueError("gather: all dicts must have the same number of keys")
        return type(first)((k, gather([o[k] for o in outputs], target_device, dim)) for k in first)
    parts = (gather(each, target_device, dim) for each in zip(*outputs, strict=True))
    return type(first)(*parts) if hasattr(first, "_fields") else type(first)(parts)
