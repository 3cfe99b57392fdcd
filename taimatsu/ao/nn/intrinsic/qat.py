"""``ao.nn.intrinsic.qat``: fused modules whose weights are rounded, for training.

A convolution with a batch norm rounds the weight that the two have together: it is scaled by the
running variance before rounding, and the result is scaled back before the norm.
"""

from __future__ import annotations

from typing import Any

import taimatsu as torch
from taimatsu import Tensor, nn
from taimatsu.ao.nn import intrinsic, qat
from taimatsu.nn import functional as F
from taimatsu.nn.utils.fusion import fuse_conv_bn_weights

__all__ = [
    "ConvBn1d", "ConvBn2d", "ConvBn3d", "ConvBnReLU1d", "ConvBnReLU2d", "ConvBnReLU3d",
    "ConvReLU1d", "ConvReLU2d", "ConvReLU3d", "LinearReLU", "freeze_bn_stats", "update_bn_stats",
]  # fmt: skip


class _Activated:
    """A rounded module and a ReLU; made of the fused module."""

    _fused: type

    @classmethod
    def from_float(cls, mod: Any, use_precomputed_fake_quant: bool = False) -> Any:
        inner = mod[0]
        inner.qconfig = mod.qconfig
        return super().from_float(inner)  # type: ignore[misc]

    def forward(self, input: Tensor) -> Tensor:
        return F.relu(super().forward(input))  # type: ignore[misc]

    def to_float(self) -> nn.Module:
        return self._fused(super().to_float(), nn.ReLU())  # type: ignore[misc]


def _activated(base: type, fused: type) -> type:
    name = fused.__name__
    doc = f"`{name}` with a rounded weight."
    body = {"_fused": fused, "__doc__": doc, "__module__": __name__}
    return type(name, (_Activated, base), body)


LinearReLU: type = _activated(qat.Linear, intrinsic.LinearReLU)
ConvReLU1d = _activated(qat.Conv1d, intrinsic.ConvReLU1d)
ConvReLU2d = _activated(qat.Conv2d, intrinsic.ConvReLU2d)
ConvReLU3d = _activated(qat.Conv3d, intrinsic.ConvReLU3d)


class _ConvBn:
    """A convolution and its batch norm, whose common weight is rounded."""

    _relu = False
    bn: Any
    freeze_bn: bool

    @classmethod
    def from_float(cls, mod: Any, use_precomputed_fake_quant: bool = False) -> Any:
        conv = mod[0]
        conv.qconfig = mod.qconfig
        made = super().from_float(conv)  # type: ignore[misc]
        made.bn, made.freeze_bn = mod[1], False
        return made

    def forward(self: Any, input: Tensor) -> Tensor:
        norm = self.bn
        factor = norm.weight / torch.sqrt(norm.running_var + norm.eps)
        along = [-1] + [1] * (self.weight.dim() - 1)
        weight = self.weight_fake_quant(self.weight * factor.reshape(along))
        y = self._conv_forward(input, weight, None)
        along = [1, -1] + [1] * (self.weight.dim() - 2)
        y = y / factor.reshape(along)
        if self.bias is not None:
            y = y + self.bias.reshape(along)
        y = norm(y)
        return F.relu(y) if self._relu else y

    def freeze_bn_stats(self) -> Any:
        """The norm uses its running statistics from now on."""
        self.freeze_bn = True
        self.bn.training = False
        return self

    def update_bn_stats(self) -> Any:
        """The norm uses each batch's statistics."""
        self.freeze_bn = False
        self.bn.training = True
        return self

    def train(self, mode: bool = True) -> Any:
        super().train(mode)  # type: ignore[misc]
        if getattr(self, "freeze_bn", False):
            self.bn.training = False
        return self

    def to_float(self: Any) -> nn.Module:
        conv: Any = super().to_float()  # type: ignore[misc]
        conv._modules.pop("bn", None)
        norm = self.bn
        conv.weight, conv.bias = fuse_conv_bn_weights(
            conv.weight, conv.bias, norm.running_mean, norm.running_var, norm.eps, norm.weight,
            norm.bias,
        )  # fmt: skip
        return self._fused(conv, nn.ReLU()) if self._relu else conv


def _with_norm(base: type, fused: type, activated: type | None = None) -> type:
    body = {"__doc__": f"`{fused.__name__}` with a rounded weight.", "__module__": __name__,
            "_relu": activated is not None, "_fused": activated}  # fmt: skip
    return type(fused.__name__, (_ConvBn, base), body)


ConvBn1d = _with_norm(qat.Conv1d, intrinsic.ConvBn1d)
ConvBn2d = _with_norm(qat.Conv2d, intrinsic.ConvBn2d)
ConvBn3d = _with_norm(qat.Conv3d, intrinsic.ConvBn3d)
ConvBnReLU1d = _with_norm(qat.Conv1d, intrinsic.ConvBnReLU1d, intrinsic.ConvReLU1d)
ConvBnReLU2d = _with_norm(qat.Conv2d, intrinsic.ConvBnReLU2d, intrinsic.ConvReLU2d)
ConvBnReLU3d = _with_norm(qat.Conv3d, intrinsic.ConvBnReLU3d, intrinsic.ConvReLU3d)


def freeze_bn_stats(mod: nn.Module) -> None:
    """``model.apply(freeze_bn_stats)``: norms use their running statistics."""
    if isinstance(mod, _ConvBn):
        mod.freeze_bn_stats()


def update_bn_stats(mod: nn.Module) -> None:
    """``model.apply(update_bn_stats)``: norms use each batch's statistics."""
    if isinstance(mod, _ConvBn):
        mod.update_bn_stats()
