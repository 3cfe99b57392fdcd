"""`DataParallel`: batches split among GPUs. Without GPUs the module runs as it is."""

from __future__ import annotations

from typing import Any

from taimatsu.nn.module import Module

__all__ = ["DataParallel", "data_parallel"]


class DataParallel(Module):
    """Runs ``module``, whose parameters are called ``module.…`` in its state dict.

    PyTorch splits the batch among the machine's GPUs; where there is none the whole batch goes
    through the module, here and there. RuntimeError if ``device_ids`` asks for GPUs.
    """

    def __init__(
        self, module: Module, device_ids: Any = None, output_device: Any = None, dim: int = 0
    ):
        super().__init__()
        if device_ids:
            raise RuntimeError(
                f"DataParallel: there are no accelerators to run on; got device_ids={device_ids}; "
                "leave them out to run on the CPU"
            )
        self.dim, self.module = dim, module
        self.device_ids: list = []
        self.output_device = output_device

    def forward(self, *inputs: Any, **kwargs: Any) -> Any:
        return self.module(*inputs, **kwargs)


def data_parallel(
    module: Module, inputs: Any, device_ids: Any = None, output_device: Any = None, dim: int = 0,
    module_kwargs: dict | None = None,
) -> Any:  # fmt: skip
    """``module(*inputs, **module_kwargs)``, split among GPUs if there are any."""
    inputs = inputs if isinstance(inputs, tuple) else (inputs,)
    wrapped = DataParallel(module, device_ids, output_device, dim)
    return wrapped(*inputs, **(module_kwargs or {}))
