"""Copies of a module on several devices, for one pass."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import taimatsu as torch
from taimatsu.nn.module import Module

from . import comm

__all__ = ["replicate"]


def replicate(network: Module, devices: Sequence[Any], detach: bool = False) -> list[Module]:
    """Copies of a module, one for each of ``devices``.

    Their parameters are copies of the module's: gradients go back to those, unless ``detach``.
    Buffers on a device that is among ``devices`` are the module's own. RuntimeError without GPUs.
    """
    if not torch.cuda.is_available():
        raise RuntimeError(f"replicate: needs GPUs, and there are none; got {devices}")
    places = [comm._device(d) for d in devices]
    modules = list(network.modules())
    replicas = [
        {m: m._replicate_for_data_parallel() for m in modules} for _ in places
    ]  # by the module copied
    tensors: dict[Any, list] = {}  # shared ones are copied once

    def copies(tensor: Any, apart: bool) -> list:
        if tensor not in tensors:
            source = tensor.detach() if apart else tensor
            tensors[tensor] = [source.to(p, non_blocking=True) for p in places]
        return tensors[tensor]

    for module in modules:
        for i, own in enumerate(replicas):
            replica = own[module]
            for key, child in module._modules.items():
                replica._modules[key] = own[child] if child is not None else None
            for key, p in module._parameters.items():
                copy = None if p is None else copies(p, detach)[i]
                object.__setattr__(replica, key, copy)
            for key, b in module._buffers.items():
                replica._buffers[key] = None if b is None else copies(b, True)[i]
            replica._former_parameters = {
                k: getattr(replica, k) for k, p in module._parameters.items() if p is not None
            }
    return [own[network] for own in replicas]
