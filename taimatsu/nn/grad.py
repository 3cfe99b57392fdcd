"""The gradients of convolutions by themselves, as functions of the output's gradient."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from taimatsu import Tensor
from taimatsu.ops.conv import _convolution_weight, _input_gradient

from ._sizes import ntuple

__all__ = [
    "conv1d_input", "conv1d_weight", "conv2d_input", "conv2d_weight", "conv3d_input",
    "conv3d_weight",
]  # fmt: skip


def _by_input(n: int) -> Callable[..., Tensor]:
    def gradient(
        input_size: Any, weight: Tensor, grad_output: Tensor, stride: Any = 1, padding: Any = 0,
        dilation: Any = 1, groups: int = 1,
    ) -> Tensor:  # fmt: skip
        stride, padding, dilation = (ntuple(v, n) for v in (stride, padding, dilation))
        like = grad_output.new_empty(1).expand(input_size)
        return _input_gradient(
            grad_output, like, weight, stride, padding, dilation, False, groups
        )

    gradient.__name__ = f"conv{n}d_input"
    gradient.__doc__ = f"""The gradient of `conv{n}d` by its input, of sizes ``input_size``.

    weight: (out, in / groups, *kernel), grad_output: as the convolution's result.
    """
    return gradient


def _by_weight(n: int) -> Callable[..., Tensor]:
    def gradient(
        input: Tensor, weight_size: Any, grad_output: Tensor, stride: Any = 1, padding: Any = 0,
        dilation: Any = 1, groups: int = 1,
    ) -> Tensor:  # fmt: skip
        stride, padding, dilation = (ntuple(v, n) for v in (stride, padding, dilation))
        return _convolution_weight(
            grad_output, input, weight_size, stride, padding, dilation, False, [0] * n, groups
        )

    gradient.__name__ = f"conv{n}d_weight"
    gradient.__doc__ = f"""The gradient of `conv{n}d` by its weight, of sizes ``weight_size``.

    input: (batch, in, *sizes), grad_output: as the convolution's result.
    """
    return gradient


conv1d_input, conv2d_input, conv3d_input = (_by_input(n) for n in (1, 2, 3))
conv1d_weight, conv2d_weight, conv3d_weight = (_by_weight(n) for n in (1, 2, 3))
