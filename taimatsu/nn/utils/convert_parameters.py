"""Parameters as one flat vector, and back."""

from __future__ import annotations

from collections.abc import Iterable

import taimatsu as torch
from taimatsu import Tensor

__all__ = ["parameters_to_vector", "vector_to_parameters"]


def _check_device(parameters: list[Tensor]) -> None:
    devices = {p.device for p in parameters}
    if len(devices) > 1:
        raise TypeError(
            f"parameters_to_vector: all parameters must be on one device; got {devices}"
        )


def parameters_to_vector(parameters: Iterable[Tensor]) -> Tensor:
    """All elements of ``parameters`` in a row: a tensor of one dimension.

    >>> nn.utils.parameters_to_vector(nn.Linear(3, 2).parameters()).shape
    torch.Size([8])
    """
    parameters = list(parameters)
    _check_device(parameters)
    return torch.cat([p.reshape(-1) for p in parameters])


def vector_to_parameters(vec: Tensor, parameters: Iterable[Tensor]) -> None:
    """Make slices of ``vec`` the memory of ``parameters``, in their order.

    >>> linear = nn.Linear(1, 2)
    >>> nn.utils.vector_to_parameters(torch.arange(4.0), linear.parameters())
    >>> linear.bias.data
    tensor([2., 3.])
    """
    if not isinstance(vec, Tensor):
        raise TypeError(f"expected torch.Tensor, but got: {type(vec).__name__}")
    parameters = list(parameters)
    _check_device(parameters)
    start = 0
    for param in parameters:
        end = start + param.numel()
        param.data = vec[start:end].view_as(param).data
        start = end
