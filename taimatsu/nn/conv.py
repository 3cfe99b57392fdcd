"""Convolution layers, and their transposes."""

from __future__ import annotations

import math
from typing import Any

import taimatsu as torch
from taimatsu import Tensor

from . import functional as F
from . import init
from ._sizes import ntuple, repeated_reversed
from .module import Module
from .parameter import Parameter

__all__ = [
    "Conv1d",
    "Conv2d",
    "Conv3d",
    "ConvTranspose1d",
    "ConvTranspose2d",
    "ConvTranspose3d",
]

PADDING_MODES = ("zeros", "reflect", "replicate", "circular")


class _ConvNd(Module):
    """What all convolutions share: checks, weights (U(+-1/sqrt(fan_in))), repr.

    weight: (out_channels, in_channels / groups, *kernel_size); of a transposed convolution
    (in_channels, out_channels / groups, *kernel_size).
    """

    n_dims: int
    transposed = False

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Any,
        stride: Any,
        padding: Any,
        dilation: Any,
        output_padding: Any,
        groups: int,
        bias: bool,
        padding_mode: str,
        device: Any,
        dtype: Any,
    ):
        super().__init__()
        name, n = type(self).__name__, self.n_dims
        if groups <= 0:
            raise ValueError("groups must be a positive integer")
        if in_channels % groups:
            raise ValueError("in_channels must be divisible by groups")
        if out_channels % groups:
            raise ValueError("out_channels must be divisible by groups")
        if isinstance(padding, str):
            if padding not in ("valid", "same"):
                raise ValueError(
                    f"{name}: padding must be 'valid', 'same' or numbers; got {padding!r}"
                )
            if padding == "same" and any(s != 1 for s in ntuple(stride, n)):
                raise ValueError("padding='same' is not supported for strided convolutions")
        if padding_mode not in PADDING_MODES:
            raise ValueError(
                f"{name}: padding_mode must be one of {PADDING_MODES}; got {padding_mode!r}"
            )
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.kernel_size = ntuple(kernel_size, n)
        self.stride = ntuple(stride, n)
        self.padding = padding if isinstance(padding, str) else ntuple(padding, n)
        self.dilation = ntuple(dilation, n)
        self.output_padding = ntuple(output_padding, n)
        self.groups = groups
        self.padding_mode = padding_mode
        if self.padding == "same":
            reach = [d * (k - 1) for d, k in zip(self.dilation, self.kernel_size, strict=True)]
            sides = [(r // 2, r - r // 2) for r in reversed(reach)]
            self._reversed_padding_repeated_twice = [p for side in sides for p in side]
        else:
            sizes: Any = (0,) * n if self.padding == "valid" else self.padding
            self._reversed_padding_repeated_twice = list(repeated_reversed(sizes))
        first, second = out_channels, in_channels
        if self.transposed:
            first, second = second, first
        shape = (first, second // groups, *self.kernel_size)
        self.weight = Parameter(torch.empty(shape, device=device, dtype=dtype))
        if bias:
            self.bias = Parameter(torch.empty(out_channels, device=device, dtype=dtype))
        else:
            self.register_parameter("bias", None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new weights."""
        init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        fan_in = math.prod(self.weight.shape[1:])
        if self.bias is not None and fan_in:
            bound = 1 / math.sqrt(fan_in)
            init.uniform_(self.bias, -bound, bound)

    def extra_repr(self) -> str:
        n = self.n_dims
        text = (
            f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, "
            f"stride={self.stride}"
        )
        zeros, ones = (0,) * n, (1,) * n
        if self.padding != zeros:
            text += f", padding={self.padding}"
        if self.dilation != ones:
            text += f", dilation={self.dilation}"
        if self.output_padding != zeros:
            text += f", output_padding={self.output_padding}"
        if self.groups != 1:
            text += f", groups={self.groups}"
        if self.bias is None:
            text += ", bias=False"
        if self.padding_mode != "zeros":
            text += f", padding_mode={self.padding_mode}"
        return text


class _Conv(_ConvNd):
    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Any,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        device=None,
        dtype=None,
    ):
        super().__init__(
            in_channels, out_channels, kernel_size, stride, padding, dilation, 0, groups, bias,
            padding_mode, device, dtype,
        )  # fmt: skip

    @staticmethod
    def _convolve(*args: Any) -> Tensor:
        raise NotImplementedError

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        padding = self.padding
        if self.padding_mode != "zeros":
            input = F.pad(input, self._reversed_padding_repeated_twice, mode=self.padding_mode)
            padding = (0,) * self.n_dims
        return self._convolve(
            input, weight, bias, self.stride, padding, self.dilation, self.groups
        )

    def forward(self, input: Tensor) -> Tensor:
        return self._conv_forward(input, self.weight, self.bias)


class Conv1d(_Conv):
    """Cross-correlation over the last dim: (N, C_in, L) -> (N, C_out, L_out); N may be absent.

    L_out = floor((L + 2 padding - dilation (kernel_size - 1) - 1) / stride + 1).
    ``padding``: a number, 'valid' or 'same'.

    >>> nn.Conv1d(16, 33, 3, stride=2)(torch.randn(20, 16, 50)).shape
    torch.Size([20, 33, 24])
    """

    n_dims = 1

    @staticmethod
    def _convolve(*args: Any) -> Tensor:
        return F.conv1d(*args)


class Conv2d(_Conv):
    """Cross-correlation over the last two dims: (N, C_in, H, W) -> (N, C_out, H_out, W_out).

    Each of H, W as L in `Conv1d`; sizes are one number or one per dim; N may be absent.

    >>> nn.Conv2d(16, 33, 3, stride=2)(torch.randn(20, 16, 50, 100)).shape
    torch.Size([20, 33, 24, 49])
    """

    n_dims = 2

    @staticmethod
    def _convolve(*args: Any) -> Tensor:
        return F.conv2d(*args)


class Conv3d(_Conv):
    """Cross-correlation over the last three dims: (N, C_in, D, H, W) -> (N, C_out, ...).

    >>> nn.Conv3d(3, 6, 3, padding=1)(torch.ones(1, 3, 8, 8, 8)).shape
    torch.Size([1, 6, 8, 8, 8])
    """

    n_dims = 3

    @staticmethod
    def _convolve(*args: Any) -> Tensor:
        return F.conv3d(*args)


class _ConvTranspose(_ConvNd):
    transposed = True

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Any,
        stride: Any = 1,
        padding: Any = 0,
        output_padding: Any = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: Any = 1,
        padding_mode: str = "zeros",
        device=None,
        dtype=None,
    ):
        if padding_mode != "zeros":
            raise ValueError(
                f"{type(self).__name__}: only padding_mode='zeros' is supported; got "
                f"{padding_mode!r}"
            )
        super().__init__(
            in_channels, out_channels, kernel_size, stride, padding, dilation, output_padding,
            groups, bias, padding_mode, device, dtype,
        )  # fmt: skip

    def _output_padding(self, input: Tensor, output_size: Any) -> tuple:
        """The output padding that makes the output ``output_size``; ValueError if none does."""
        if output_size is None:
            return self.output_padding
        n = self.n_dims
        sizes, has_batch = input.shape[-n:], input.dim() == n + 2
        output_size = list(output_size)
        if len(output_size) == n + 1 + has_batch:
            output_size = output_size[1 + has_batch :]
        if len(output_size) != n:
            raise ValueError(
                f"{type(self).__name__}: output_size must have {n} or {n + 2} elements; got "
                f"{len(output_size)}"
            )
        smallest = [
            (size - 1) * self.stride[d]
            - 2 * self.padding[d]
            + self.dilation[d] * (self.kernel_size[d] - 1)
            + 1
            for d, size in enumerate(sizes)
        ]
        extra = tuple(want - low for want, low in zip(output_size, smallest, strict=True))
        if any(not 0 <= e < s for e, s in zip(extra, self.stride, strict=True)):
            largest = [low + s - 1 for low, s in zip(smallest, self.stride, strict=True)]
            raise ValueError(
                f"{type(self).__name__}: requested an output size of {output_size}, but valid "
                f"sizes range from {smallest} to {largest} (for an input of {list(sizes)})"
            )
        return extra

    @staticmethod
    def _convolve(*args: Any) -> Tensor:
        raise NotImplementedError

    def forward(self, input: Tensor, output_size: Any = None) -> Tensor:
        extra = self._output_padding(input, output_size)
        return self._convolve(
            input, self.weight, self.bias, self.stride, self.padding, extra, self.groups,
            self.dilation,
        )  # fmt: skip


class ConvTranspose1d(_ConvTranspose):
    """The gradient of `Conv1d` with respect to its input: (N, C_in, L) -> (N, C_out, L_out).

    L_out = (L - 1) stride - 2 padding + dilation (kernel_size - 1) + output_padding + 1.

    >>> nn.ConvTranspose1d(3, 6, 2, stride=2)(torch.ones(1, 3, 8)).shape
    torch.Size([1, 6, 16])
    """

    n_dims = 1

    @staticmethod
    def _convolve(*args: Any) -> Tensor:
        return F.conv_transpose1d(*args)


class ConvTranspose2d(_ConvTranspose):
    """The gradient of `Conv2d` with respect to its input; each dim as in `ConvTranspose1d`.

    >>> nn.ConvTranspose2d(16, 33, 3, stride=2)(torch.randn(20, 16, 50, 100)).shape
    torch.Size([20, 33, 101, 201])
    """

    n_dims = 2

    @staticmethod
    def _convolve(*args: Any) -> Tensor:
        return F.conv_transpose2d(*args)


class ConvTranspose3d(_ConvTranspose):
    """The gradient of `Conv3d` with respect to its input; each dim as in `ConvTranspose1d`.

    >>> nn.ConvTranspose3d(3, 6, 2, stride=2)(torch.ones(1, 3, 4, 4, 4)).shape
    torch.Size([1, 6, 8, 8, 8])
    """

    n_dims = 3

    @staticmethod
    def _convolve(*args: Any) -> Tensor:
        return F.conv_transpose3d(*args)
