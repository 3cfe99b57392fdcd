"""Tensors to and from several GPUs of this process. Copies between devices are ops as any other,
so all of this has derivatives."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import taimatsu as torch
from taimatsu import Tensor

__all__ = [
    "broadcast", "broadcast_coalesced", "gather", "reduce_add", "reduce_add_coalesced", "scatter",
]  # fmt: skip


def _device(device: Any) -> torch.device:
    """A GPU by its index, or whatever names a device; -1 is the CPU."""
    if isinstance(device, int):
        return torch.device("cpu") if device < 0 else torch.device("cuda", device)
    return torch.device(device)


def broadcast(
    tensor: Tensor, devices: Iterable[Any] | None = None, *, out: Sequence[Tensor] | None = None
) -> tuple[Tensor, ...]:
    """A copy on each of ``devices`` (on the tensor's own, the tensor itself); or into ``out``.

    RuntimeError unless one of the two is given.

    >>> nn.parallel.comm.broadcast(torch.ones(2), ["cpu", "cpu"])
    (tensor([1., 1.]), tensor([1., 1.]))
    """
    if (devices is None) == (out is None):
        raise RuntimeError(
            f"Exactly one of 'devices' and 'out' must be specified, but got devices={devices} "
            f"and out={out}"
        )
    if out is not None:
        for each in out:
            each.copy_(tensor)
        return tuple(out)
    return tuple(tensor.to(_device(d), non_blocking=True) for d in devices or ())


def broadcast_coalesced(
    tensors: Sequence[Tensor], devices: Sequence[Any], buffer_size: int = 10485760
) -> list[tuple[Tensor, ...]]:
    """For each device a tuple of the tensors there. ``buffer_size`` is for compatibility."""
    return [tuple(t.to(_device(d), non_blocking=True) for t in tensors) for d in devices]


def reduce_add(inputs: Sequence[Tensor], destination: Any = None) -> Tensor:
    """The sum of tensors on different GPUs, on ``destination``: by default the current GPU.

    RuntimeError for no inputs, for tensors of the CPU, and where sizes differ.
    """
    if not inputs:
        raise RuntimeError("reduce_add: expects one or more tensors")
    for i, x in enumerate(inputs):
        if not x.is_cuda:
            raise RuntimeError(f"reduce_add expects all inputs to be on GPUs; input {i} is not")
        if x.shape != inputs[0].shape:
            raise RuntimeError(
                f"reduce_add: input {i} has invalid size: got {tuple(x.shape)}, but expected "
                f"{tuple(inputs[0].shape)}"
            )
    to = _device(torch.cuda.current_device() if destination is None else destination)
    total = inputs[0].to(to)
    for x in inputs[1:]:
        total = total + x.to(to)
    return total


def reduce_add_coalesced(
    inputs: Sequence[Sequence[Tensor]], destination: Any = None, buffer_size: int = 10485760
) -> tuple[Tensor, ...]:
    """`reduce_add` of the first tensors of each device's list, of the second ones ..."""
    return tuple(reduce_add(each, destination) for each in zip(*inputs, strict=True))


def scatter(
    tensor: Tensor, devices: Sequence[Any] | None = None, chunk_sizes: Sequence[int] | None = None,
    dim: int = 0, streams: Sequence[Any] | None = None, *, out: Sequence[Tensor] | None = None,
) -> tuple[Tensor, ...]:  # fmt: skip
    """Equal parts along ``dim``, or parts of ``chunk_sizes``, one for each device; or into ``out``.

    ``streams``: on which the copies to the devices are made, in place of their current ones.

    RuntimeError if both or none of ``devices`` and ``out`` are given, or ``out`` with sizes.
    """
    if (devices is None) == (out is None) or (out is not None and chunk_sizes is not None):
        raise RuntimeError(
            "scatter: exactly one of 'devices' and 'out' must be given, and with 'out' no "
            f"'chunk_sizes'; got devices={devices}, out={out}, chunk_sizes={chunk_sizes}"
        )
    if out is not None:
        for each, part in zip(out, tensor.split([o.shape[dim] for o in out], dim), strict=True):
            each.copy_(part)
        return tuple(out)
    targets = [_device(d) for d in devices or ()]
    parts = tensor.chunk(len(targets), dim) if chunk_sizes is None else tensor.split(
        list(chunk_sizes), dim)  # fmt: skip
    made = []
    for i, (part, target) in enumerate(zip(parts, targets, strict=False)):  # maybe fewer parts
        with torch.cuda.stream(streams[i] if streams else None):
            made.append(part.to(target, non_blocking=True))
    return tuple(made)


def gather(
    tensors: Sequence[Tensor], dim: int = 0, destination: Any = None, *, out: Tensor | None = None
) -> Tensor:
    """The tensors one behind the other along ``dim``, on ``destination``: by default the current
    GPU; or in ``out``. RuntimeError if both are given."""
    if out is not None and destination is not None:
        raise RuntimeError(f"'destination' must not be specified when 'out' is; got {destination}")
    if out is not None:
        to = out.device
    else:
        to = _device(torch.cuda.current_device() if destination is None else destination)
    whole = torch.cat([t.to(to) for t in tensors], dim)
    return whole if out is None else out.copy_(whole)
