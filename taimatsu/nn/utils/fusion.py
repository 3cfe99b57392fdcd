"""A batch norm in evaluation is an affine map of the channels: the layer before it can do that."""

from __future__ import annotations

import copy
from typing import Any

import taimatsu as torch
from taimatsu import Tensor

from ..parameter import Parameter

__all__ = [
    "fuse_conv_bn_eval",
    "fuse_conv_bn_weights",
    "fuse_linear_bn_eval",
    "fuse_linear_bn_weights",
]


def _fused(
    w: Tensor, b: Tensor | None, mean: Tensor, var: Tensor, eps: float, scale: Tensor | None,
    shift: Tensor | None, shape: list[int],
) -> tuple[Parameter, Parameter]:  # fmt: skip
    b = torch.zeros_like(mean) if b is None else b
    factor = torch.rsqrt(var + eps)
    factor = factor if scale is None else scale * factor
    bias = (b - mean) * factor
    bias = bias if shift is None else bias + shift
    weight = (w * factor.reshape(shape)).to(w.dtype)
    return Parameter(weight.detach(), w.requires_grad), Parameter(
        bias.to(b.dtype).detach(), b.requires_grad
    )


def fuse_conv_bn_weights(
    conv_w: Tensor, conv_b: Tensor | None, bn_rm: Tensor, bn_rv: Tensor, bn_eps: float,
    bn_w: Tensor | None, bn_b: Tensor | None, transpose: bool = False,
) -> tuple[Parameter, Parameter]:  # fmt: skip
    """The weight and bias of a convolution followed by a batch norm. ``transpose``: of a transposed
    one, whose output channels are the weight's second dim."""
    shape = [1, -1] if transpose else [-1, 1]
    shape += [1] * (conv_w.dim() - 2)
    return _fused(conv_w, conv_b, bn_rm, bn_rv, bn_eps, bn_w, bn_b, shape)


def fuse_linear_bn_weights(
    linear_w: Tensor, linear_b: Tensor | None, bn_rm: Tensor, bn_rv: Tensor, bn_eps: float,
    bn_w: Tensor | None, bn_b: Tensor | None,
) -> tuple[Parameter, Parameter]:  # fmt: skip
    """The weight and bias of a linear layer followed by a batch norm."""
    return _fused(linear_w, linear_b, bn_rm, bn_rv, bn_eps, bn_w, bn_b, [-1, 1])


def _check_evaluation(*modules: Any) -> None:
    if any(m.training for m in modules):
        raise AssertionError("Fusion only for eval!")
    if modules[1].running_mean is None or modules[1].running_var is None:
        raise AssertionError("fusion needs a batch norm with running statistics")


def fuse_conv_bn_eval(conv: Any, bn: Any, transpose: bool = False) -> Any:
    """A copy of ``conv`` that does what ``conv`` and then ``bn`` do. AssertionError unless both are
    in evaluation mode.

    >>> conv, norm = nn.Conv2d(3, 6, 3).eval(), nn.BatchNorm2d(6).eval()
    >>> nn.utils.fuse_conv_bn_eval(conv, norm)(torch.ones(1, 3, 8, 8)).shape
    torch.Size([1, 6, 6, 6])
    """
    _check_evaluation(conv, bn)
    fused = copy.deepcopy(conv)
    fused.weight, fused.bias = fuse_conv_bn_weights(
        conv.weight, conv.bias, bn.running_mean, bn.running_var, bn.eps, bn.weight, bn.bias,
        transpose,
    )  # fmt: skip
    return fused


def fuse_linear_bn_eval(linear: Any, bn: Any) -> Any:
    """A copy of ``linear`` that does what ``linear`` and then ``bn`` do. AssertionError unless both
    are in evaluation mode and ``bn`` has one or as many features.

    >>> linear, norm = nn.Linear(3, 6).eval(), nn.BatchNorm1d(6).eval()
    >>> nn.utils.fuse_linear_bn_eval(linear, norm)(torch.ones(2, 3)).shape
    torch.Size([2, 6])
    """
    _check_evaluation(linear, bn)
    if linear.out_features != bn.num_features and bn.num_features != 1:
        raise AssertionError(
            "To fuse, linear.out_features == bn.num_features or bn.num_features == 1"
        )
    fused = copy.deepcopy(linear)
    fused.weight, fused.bias = fuse_linear_bn_weights(
        linear.weight, linear.bias, bn.running_mean, bn.running_var, bn.eps, bn.weight, bn.bias
    )
    return fused
