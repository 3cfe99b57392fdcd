"""Padding layers: ``padding`` is one number or (left, right, top, bottom, front, back) as far as
the layer has dims; a negative number crops. The batch dim may be absent."""

from __future__ import annotations

from typing import Any

from taimatsu import Tensor

from . import functional as F
from ._sizes import ntuple
from .module import Module

__all__ = [
    f"{kind}Pad{n}d"
    for kind in ("Circular", "Constant", "Reflection", "Replication", "Zero")
    for n in (1, 2, 3)
]


class _Pad(Module):
    mode: str
    n_dims: int

    def __init__(self, padding: Any):
        super().__init__()
        self.padding = ntuple(padding, 2 * self.n_dims)

    def forward(self, input: Tensor) -> Tensor:
        return F.pad(input, self.padding, self.mode)

    def extra_repr(self) -> str:
        return f"{self.padding}"


class _ConstantPad(_Pad):
    def __init__(self, padding: Any, value: float):
        super().__init__(padding)
        self.value = value

    def forward(self, input: Tensor) -> Tensor:
        return F.pad(input, self.padding, "constant", self.value)

    def extra_repr(self) -> str:
        return f"padding={self.padding}, value={self.value}"


class _ZeroPad(_ConstantPad):
    def __init__(self, padding: Any):
        super().__init__(padding, 0.0)

    def extra_repr(self) -> str:
        return f"{self.padding}"


class _CircularPad(_Pad):
    mode = "circular"

    def forward(self, input: Tensor) -> Tensor:
        if input.dim() not in (self.n_dims + 1, self.n_dims + 2):
            raise ValueError(
                f"{type(self).__name__}: expected {self.n_dims + 1}D or {self.n_dims + 2}D input "
                f"(got {input.dim()}D input)"
            )
        return super().forward(input)


class CircularPad1d(_CircularPad):
    """Repeat the input around (N, C, L).

    >>> nn.CircularPad1d(1)(torch.tensor([[1.0, 2.0, 3.0]]))
    tensor([[3., 1., 2., 3., 1.]])
    """

    n_dims = 1


class CircularPad2d(_CircularPad):
    """Repeat the input around (N, C, H, W).

    >>> nn.CircularPad2d(1)(torch.arange(4.0).view(1, 2, 2))[0, 0]
    tensor([3., 2., 3., 2.])
    """

    n_dims = 2


class CircularPad3d(_CircularPad):
    """Repeat the input around (N, C, D, H, W).

    >>> nn.CircularPad3d(1)(torch.ones(1, 2, 2, 2)).shape
    torch.Size([1, 4, 4, 4])
    """

    n_dims = 3


class ConstantPad1d(_ConstantPad):
    """Put ``value`` around the last dim.

    >>> nn.ConstantPad1d((1, 2), 9.0)(torch.tensor([1.0, 2.0]))
    tensor([9., 1., 2., 9., 9.])
    """

    n_dims = 1


class ConstantPad2d(_ConstantPad):
    """Put ``value`` around the last two dims.

    >>> nn.ConstantPad2d(1, 9.0)(torch.zeros(1, 1))
    tensor([[9., 9., 9.],
            [9., 0., 9.],
            [9., 9., 9.]])
    """

    n_dims = 2


class ConstantPad3d(_ConstantPad):
    """Put ``value`` around the last three dims.

    >>> nn.ConstantPad3d(1, 9.0)(torch.zeros(1, 1, 1)).shape
    torch.Size([3, 3, 3])
    """

    n_dims = 3


class ReflectionPad1d(_Pad):
    """Mirror (N, C, L) at its borders.

    >>> nn.ReflectionPad1d(2)(torch.tensor([[1.0, 2.0, 3.0]]))
    tensor([[3., 2., 1., 2., 3., 2., 1.]])
    """

    mode, n_dims = "reflect", 1


class ReflectionPad2d(_Pad):
    """Mirror (N, C, H, W) at its borders.

    >>> nn.ReflectionPad2d(1)(torch.arange(4.0).view(1, 2, 2))[0, 0]
    tensor([3., 2., 3., 2.])
    """

    mode, n_dims = "reflect", 2


class ReflectionPad3d(_Pad):
    """Mirror (N, C, D, H, W) at its borders.

    >>> nn.ReflectionPad3d(1)(torch.ones(1, 2, 2, 2)).shape
    torch.Size([1, 4, 4, 4])
    """

    mode, n_dims = "reflect", 3


class ReplicationPad1d(_Pad):
    """Repeat the borders of (N, C, L).

    >>> nn.ReplicationPad1d(2)(torch.tensor([[1.0, 2.0, 3.0]]))
    tensor([[1., 1., 1., 2., 3., 3., 3.]])
    """

    mode, n_dims = "replicate", 1


class ReplicationPad2d(_Pad):
    """Repeat the borders of (N, C, H, W).

    >>> nn.ReplicationPad2d(1)(torch.arange(4.0).view(1, 2, 2))[0, 0]
    tensor([0., 0., 1., 1.])
    """

    mode, n_dims = "replicate", 2


class ReplicationPad3d(_Pad):
    """Repeat the borders of (N, C, D, H, W).

    >>> nn.ReplicationPad3d(1)(torch.ones(1, 2, 2, 2)).shape
    torch.Size([1, 4, 4, 4])
    """

    mode, n_dims = "replicate", 3


class ZeroPad1d(_ZeroPad):
    """Put zeros around the last dim.

    >>> nn.ZeroPad1d((1, 2))(torch.tensor([1.0, 2.0]))
    tensor([0., 1., 2., 0., 0.])
    """

    n_dims = 1


class ZeroPad2d(_ZeroPad):
    """Put zeros around the last two dims.

    >>> nn.ZeroPad2d(1)(torch.ones(1, 1))
    tensor([[0., 0., 0.],
            [0., 1., 0.],
            [0., 0., 0.]])
    """

    n_dims = 2


class ZeroPad3d(_ZeroPad):
    """Put zeros around the last three dims.

    >>> nn.ZeroPad3d(1)(torch.ones(1, 1, 1)).shape
    torch.Size([3, 3, 3])
    """

    n_dims = 3
