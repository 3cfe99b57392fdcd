"""``ao.quantization``: marks of where a model is quantized. Conversion isn't there yet.

The marks do nothing, so that models which have them run; what would convert a model raises
NotImplementedError.
"""

from __future__ import annotations

from typing import Any, NoReturn

from taimatsu.nn import Module

__all__ = ["DeQuantStub", "QuantStub", "QuantWrapper", "convert", "prepare", "prepare_qat",
           "quantize", "quantize_dynamic", "quantize_qat"]  # fmt: skip


class QuantStub(Module):
    """Where tensors become quantized after a conversion; before it, the tensor itself."""

    def __init__(self, qconfig: Any = None):
        super().__init__()
        if qconfig:
            self.qconfig = qconfig

    def forward(self, x: Any) -> Any:
        return x


class DeQuantStub(QuantStub):
    """Where tensors become floating-point again after a conversion; before it, the same."""


class QuantWrapper(Module):
    """A module between a `QuantStub` and a `DeQuantStub`."""

    def __init__(self, module: Module):
        super().__init__()
        self.quant, self.dequant, self.module = QuantStub(), DeQuantStub(), module
        self.train(module.training)

    def forward(self, x: Any) -> Any:
        return self.dequant(self.module(self.quant(x)))


def _refuse(*args: Any, **kwargs: Any) -> NoReturn:
    """Raises NotImplementedError: there are no quantized tensors yet."""
    raise NotImplementedError(
        "ao.quantization: models can't be quantized yet; run them in bfloat16 (model.bfloat16())"
    )


convert = prepare = prepare_qat = quantize = quantize_dynamic = quantize_qat = _refuse
