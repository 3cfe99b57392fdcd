"""Data parallelism over the devices of one process."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from taimatsu import Tensor

from .module import Module

__all__ = ["DataParallel", "data_parallel"]


def _only_here(device_ids: Sequence[Any] | None) -> None:
    if device_ids:
        raise RuntimeError(
            f"DataParallel: there are no accelerators to run on, but device_ids={device_ids} was "
            "given; leave it out to run on the CPU"
        )


class DataParallel(Module):
    """A module whose batch is split among accelerators; without any it runs where it is.

    The wrapped module is ``.module``, so that the keys of its state dict begin with "module.".
    Raises RuntimeError for ``device_ids`` that aren't there.

    >>> nn.DataParallel(nn.Linear(3, 2))(torch.ones(4, 3)).shape
    torch.Size([4, 2])
    """

    def __init__(
        self,
        module: Module,
        device_ids: Sequence[Any] | None = None,
        output_device: Any = None,
        dim: int = 0,
    ):
        super().__init__()
        _only_here(device_ids)
        self.module = module
        self.device_ids: list[Any] = []
        self.output_device = output_device
        self.dim = dim

    def forward(self, *inputs: Any, **kwargs: Any) -> Any:
        return self.module(*inputs, **kwargs)


def data_parallel(
    module: Module,
    inputs: Any,
    device_ids: Sequence[Any] | None = None,
    output_device: Any = None,
    dim: int = 0,
    module_kwargs: dict[str, Any] | None = None,
) -> Tensor:
    """`DataParallel` for one call."""
    _only_here(device_ids)
    inputs = inputs if isinstance(inputs, tuple) else (inputs,)
    return module(*inputs, **(module_kwargs or {}))
