"""``ao.nn.intrinsic.quantized``: fused modules of quantized tensors."""

from __future__ import annotations

from taimatsu.ao.nn import quantized
from taimatsu.ao.nn.quantized import dynamic as _dynamic

__all__ = ["BNReLU2d", "BNReLU3d", "ConvReLU1d", "ConvReLU2d", "ConvReLU3d", "DynamicLinearReLU",
           "LinearReLU"]  # fmt: skip


def _activated(name: str, base: type) -> type:
    doc = f"`{base.__name__}` of quantized tensors, and a ReLU in one step."
    return type(name, (base,), {"_relu": True, "__doc__": doc, "__module__": __name__})


LinearReLU: type = _activated("LinearReLU", quantized.Linear)
DynamicLinearReLU: type = _activated("LinearReLU", _dynamic.Linear)
ConvReLU1d = _activated("ConvReLU1d", quantized.Conv1d)
ConvReLU2d = _activated("ConvReLU2d", quantized.Conv2d)
ConvReLU3d = _activated("ConvReLU3d", quantized.Conv3d)
BNReLU2d = _activated("BNReLU2d", quantized.BatchNorm2d)
BNReLU3d = _activated("BNReLU3d", quantized.BatchNorm3d)
