"""`DataParallel`: batches split among GPUs. Without GPUs the module runs as it is."""

from __future__ import annotations

import itertools
from typing import Any

import taimatsu as torch
from taimatsu.nn.module import Module

from .parallel_apply import parallel_apply
from .replicate import replicate
from .scatter_gather import gather, scatter_kwargs

__all__ = ["DataParallel", "data_parallel"]


def _indices(device_ids: Any) -> list[int]:
    if device_ids is None:
        return list(range(torch.cuda.device_count()))
    return [torch.cuda._driver.index_of(d) for d in device_ids]


class DataParallel(Module):
    """Runs ``module``, whose parameters are called ``module.…`` in its state dict, on several GPUs.

    Each gets a part of the batch, along ``dim``, and a copy of the module, whose parameters must be
    on the first of ``device_ids`` (all GPUs by default); results are put together on
    ``output_device`` (the first by default). Gradients are summed in the module's parameters. Where
    there is no GPU the whole batch goes through the module.

    RuntimeError if a parameter or buffer is elsewhere.

    >>> nn.DataParallel(nn.Linear(3, 2))(torch.ones(4, 3)).shape
    torch.Size([4, 2])
    """

    def __init__(
        self, module: Module, device_ids: Any = None, output_device: Any = None, dim: int = 0
    ):
        super().__init__()
        if not torch.cuda.is_available():
            if device_ids:
                raise RuntimeError(
                    "DataParallel: there are no accelerators to run on; got "
                    f"device_ids={device_ids}; leave them out to run on the CPU"
                )
            device_ids = []
        self.dim, self.module = dim, module
        self.device_ids = _indices(device_ids)
        self.output_device = output_device
        if self.device_ids:
            first = self.device_ids[0] if output_device is None else output_device
            self.output_device = torch.cuda._driver.index_of(first)
            self.src_device_obj = torch.device("cuda", self.device_ids[0])
            if len(self.device_ids) == 1:
                self.module.to(self.src_device_obj)

    def forward(self, *inputs: Any, **kwargs: Any) -> Any:
        if not self.device_ids:
            return self.module(*inputs, **kwargs)
        for t in itertools.chain(self.module.parameters(), self.module.buffers()):
            if t.device != self.src_device_obj:
                raise RuntimeError(
                    "module must have its parameters and buffers on device "
                    f"{self.src_device_obj} (device_ids[0]) but found one of them on device: "
                    f"{t.device}"
                )
        given, named = scatter_kwargs(inputs, kwargs, self.device_ids, self.dim)
        if not given and not named:  # no arguments at all
            given, named = ((),), ({},)
        if len(self.device_ids) == 1 or len(given) == 1:
            return self.module(*given[0], **named[0])
        used = self.device_ids[: len(given)]
        replicas = replicate(self.module, used, not torch.is_grad_enabled())
        results = parallel_apply(replicas, given, named, used)
        return gather(results, self.output_device, self.dim)


def data_parallel(
    module: Module, inputs: Any, device_ids: Any = None, output_device: Any = None, dim: int = 0,
    module_kwargs: dict | None = None,
) -> Any:  # fmt: skip
    """``module(*inputs, **module_kwargs)``, split among GPUs if there are any."""
    inputs = inputs if isinstance(inputs, tuple) else (inputs,)
    wrapped = DataParallel(module, device_ids, output_device, dim)
    return wrapped(*inputs, **(module_kwargs or {}))
