"""Quantized modules without weights to quantize: activations, norms, and the way in and out."""

from __future__ import annotations

from typing import Any

import taimatsu as torch
from taimatsu import Tensor, nn
from taimatsu.nn import functional as F

__all__ = [
    "ELU",
    "BatchNorm2d",
    "BatchNorm3d",
    "DeQuantize",
    "Dropout",
    "GroupNorm",
    "Hardswish",
    "InstanceNorm1d",
    "InstanceNorm2d",
    "InstanceNorm3d",
    "LayerNorm",
    "LeakyReLU",
    "PReLU",
    "Quantize",
    "ReLU6",
    "Sigmoid",
    "Softmax",
]  # fmt: skip


def observed(mod: Any) -> tuple[float, int]:
    """The scale and zero point that the observer of a module's results found."""
    scale, zero_point = mod.activation_post_process.calculate_qparams()
    return float(scale), int(zero_point)


class Quantize(nn.Module):
    """Quantizes what it is given, by one scale and zero point.

    >>> Quantize(0.5, 0, torch.quint8)(torch.tensor([0.6])).int_repr()
    tensor([1], dtype=torch.uint8)
    """

    scale: Tensor
    zero_point: Tensor

    def __init__(self, scale: float, zero_point: int, dtype: Any, factory_kwargs: Any = None):
        super().__init__()
        self.register_buffer("scale", torch.tensor([float(scale)]))
        self.register_buffer("zero_point", torch.tensor([int(zero_point)]))
        self.dtype = dtype

    def forward(self, X: Tensor) -> Tensor:
        return torch.quantize_per_tensor(X, float(self.scale), int(self.zero_point), self.dtype)

    @staticmethod
    def from_float(mod: Any, use_precomputed_fake_quant: bool = False) -> Quantize:
        """Of a `QuantStub` that observed its tensors."""
        return Quantize(*observed(mod), mod.activation_post_process.dtype)

    def extra_repr(self) -> str:
        """The grid."""
        return f"scale={self.scale}, zero_point={self.zero_point}, dtype={self.dtype}"


class DeQuantize(nn.Module):
    """The numbers that a quantized tensor stands for, in float32."""

    def forward(self, Xq: Tensor) -> Tensor:
        return Xq.dequantize()

    @staticmethod
    def from_float(mod: Any, use_precomputed_fake_quant: bool = False) -> DeQuantize:
        """Of a `DeQuantStub`."""
        return DeQuantize()


class _SameGrid:
    """A module that computes on a quantized tensor, whose grid the result keeps."""

    def _get_name(self) -> str:
        return f"Quantized{type(self).__name__}"


class ReLU6(_SameGrid, nn.ReLU6):
    """`nn.ReLU6` of quantized tensors."""

    @staticmethod
    def from_float(mod: Any, use_precomputed_fake_quant: bool = False) -> ReLU6:
        """Of `nn.ReLU6`."""
        return ReLU6(mod.inplace)


class Dropout(_SameGrid, nn.Dropout):
    """`nn.Dropout` of quantized tensors: nothing, since they aren't trained."""

    def forward(self, input: Tensor) -> Tensor:
        return input

    @classmethod
    def from_float(cls, mod: Any, use_precomputed_fake_quant: bool = False) -> Dropout:
        """Of `nn.Dropout`."""
        return cls(mod.p, mod.inplace)


class _OnGrid(nn.Module):
    """A floating-point function, whose result is quantized by ``scale`` and ``zero_point``."""

    scale: Tensor
    zero_point: Tensor

    def _set_grid(self, scale: float, zero_point: int) -> None:
        self.register_buffer("scale", torch.tensor(float(scale)))
        self.register_buffer("zero_point", torch.tensor(int(zero_point)))

    def forward(self, input: Tensor) -> Tensor:
        result = super().forward(input.dequantize())
        scale, zero_point = float(self.scale), int(self.zero_point)
        return torch.quantize_per_tensor(result, scale, zero_point, input.dtype)

    def _get_name(self) -> str:
        return f"Quantized{type(self).__name__}"


class ELU(_OnGrid, nn.ELU):
    """`nn.ELU` of quantized tensors."""

    def __init__(self, scale: float, zero_point: int, alpha: float = 1.0):
        nn.ELU.__init__(self, alpha)
        self._set_grid(scale, zero_point)

    @staticmethod
    def from_float(mod: Any, use_precomputed_fake_quant: bool = False) -> ELU:
        """Of `nn.ELU` whose results were observed."""
        return ELU(*observed(mod), mod.alpha)


class Hardswish(_OnGrid, nn.Hardswish):
    """`nn.Hardswish` of quantized tensors."""

    def __init__(self, scale: float, zero_point: int, device: Any = None, dtype: Any = None):
        nn.Hardswish.__init__(self)
        self._set_grid(scale, zero_point)

    @staticmethod
    def from_float(mod: Any, use_precomputed_fake_quant: bool = False) -> Hardswish:
        """Of `nn.Hardswish` whose results were observed."""
        return Hardswish(*observed(mod))


class LeakyReLU(_OnGrid, nn.LeakyReLU):
    """`nn.LeakyReLU` of quantized tensors."""

    def __init__(self, scale: float, zero_point: int, negative_slope: float = 0.01,
                 inplace: bool = False, device: Any = None, dtype: Any = None):  # fmt: skip
        nn.LeakyReLU.__init__(self, negative_slope, inplace)
        self._set_grid(scale, zero_point)

    @classmethod
    def from_float(cls, mod: Any, use_precomputed_fake_quant: bool = False) -> LeakyReLU:
        """Of `nn.LeakyReLU` whose results were observed."""
        return cls(*observed(mod), mod.negative_slope, mod.inplace)


class Sigmoid(_OnGrid, nn.Sigmoid):
    """`nn.Sigmoid` of quantized tensors."""

    def __init__(self, output_scale: float, output_zero_point: int):
        nn.Sigmoid.__init__(self)
        self._set_grid(output_scale, output_zero_point)

    @classmethod
    def from_float(cls, mod: Any, use_precomputed_fake_quant: bool = False) -> Sigmoid:
        """Of `nn.Sigmoid` whose results were observed."""
        return cls(*observed(mod))


class Softmax(_OnGrid, nn.Softmax):
    """`nn.Softmax` of quantized tensors."""

    def __init__(self, dim: int | None = None, scale: float = 1.0, zero_point: int = 0):
        nn.Softmax.__init__(self, dim)
        self._set_grid(scale, zero_point)

    @staticmethod
    def from_float(mod: Any, use_precomputed_fake_quant: bool = False) -> Softmax:
        """Of `nn.Softmax` whose results were observed."""
        return Softmax(mod.dim, *observed(mod))


class PReLU(_OnGrid):
    """`nn.PReLU` of quantized tensors, with a quantized slope."""

    def __init__(self, output_scale: float, output_zero_point: int, num_parameters: int = 1):
        super().__init__()
        self.num_parameters = num_parameters
        self._set_grid(output_scale, output_zero_point)
        slopes = torch.randn(num_parameters)
        self.set_weight(torch.quantize_per_tensor(slopes, 1.0, 0, torch.quint8))

    def set_weight(self, w: Tensor) -> None:
        """The slopes, quantized."""
        self.weight = w

    def forward(self, input: Tensor) -> Tensor:
        result = F.prelu(input.dequantize(), self.weight.dequantize())
        return torch.quantize_per_tensor(
            result, float(self.scale), int(self.zero_point), torch.quint8
        )

    @classmethod
    def from_float(cls, mod: Any, use_precomputed_fake_quant: bool = False) -> PReLU:
        """Of `nn.PReLU` whose results were observed."""
        made = cls(*observed(mod), mod.num_parameters)
        slopes = mod.weight.detach().float()
        seen = mod.qconfig.weight()
        seen(slopes)
        scale, zero_point = seen.calculate_qparams()
        made.set_weight(torch.quantize_per_tensor(
            slopes, float(scale), int(zero_point), torch.quint8 if seen.dtype is not torch.qint8
            else torch.qint8,
        ))  # fmt: skip
        return made


# ---- norms --------------------------------------------------------------------------------------


class _Norm(_OnGrid):
    """A norm whose weight and bias stay floating-point."""

    weight: Any
    bias: Any

    def _take(self, weight: Any, bias: Any, scale: float, zero_point: int) -> None:
        self.weight, self.bias = weight, bias
        self._set_grid(scale, zero_point)


class LayerNorm(_Norm, nn.LayerNorm):
    """`nn.LayerNorm` of quantized tensors."""

    def __init__(self, normalized_shape: Any, weight: Any, bias: Any, scale: float, zero_point: int,
                 eps: float = 1e-5, elementwise_affine: bool = True, device: Any = None,
                 dtype: Any = None):  # fmt: skip
        nn.LayerNorm.__init__(self, normalized_shape, eps, elementwise_affine)
        self._take(weight, bias, scale, zero_point)

    @classmethod
    def from_float(cls, mod: Any, use_precomputed_fake_quant: bool = False) -> LayerNorm:
        """Of `nn.LayerNorm` whose results were observed."""
        return cls(mod.normalized_shape, mod.weight, mod.bias, *observed(mod), mod.eps,
                   mod.elementwise_affine)  # fmt: skip


class GroupNorm(_Norm, nn.GroupNorm):
    """`nn.GroupNorm` of quantized tensors."""

    def __init__(self, num_groups: int, num_channels: int, weight: Any, bias: Any, scale: float,
                 zero_point: int, eps: float = 1e-5, affine: bool = True, device: Any = None,
                 dtype: Any = None):  # fmt: skip
        nn.GroupNorm.__init__(self, num_groups, num_channels, eps, affine)
        self._take(weight, bias, scale, zero_point)

    @classmethod
    def from_float(cls, mod: Any, use_precomputed_fake_quant: bool = False) -> GroupNorm:
        """Of `nn.GroupNorm` whose results were observed."""
        return cls(mod.num_groups, mod.num_channels, mod.weight, mod.bias, *observed(mod),
                   mod.eps, mod.affine)  # fmt: skip


class _InstanceNorm(_Norm):
    def __init__(self, num_features: int, weight: Any, bias: Any, scale: float, zero_point: int,
                 eps: float = 1e-5, momentum: float = 0.1, affine: bool = False,
                 track_running_stats: bool = False, device: Any = None,
                 dtype: Any = None):  # fmt: skip
        super(_OnGrid, self).__init__(
            num_features, eps, momentum, affine, track_running_stats
        )
        self._take(weight, bias, scale, zero_point)

    @classmethod
    def from_float(cls, mod: Any, use_precomputed_fake_quant: bool = False) -> Any:
        """Of the floating-point module, whose results were observed."""
        return cls(mod.num_features, mod.weight, mod.bias, *observed(mod), mod.eps, mod.momentum,
                   mod.affine)  # fmt: skip


class InstanceNorm1d(_InstanceNorm, nn.InstanceNorm1d):
    """`nn.InstanceNorm1d` of quantized tensors."""


class InstanceNorm2d(_InstanceNorm, nn.InstanceNorm2d):
    """`nn.InstanceNorm2d` of quantized tensors."""


class InstanceNorm3d(_InstanceNorm, nn.InstanceNorm3d):
    """`nn.InstanceNorm3d` of quantized tensors."""


class _BatchNorm(_OnGrid):
    _relu = False

    def __init__(self, num_features: int, eps: float = 1e-5, momentum: float = 0.1,
                 device: Any = None, dtype: Any = None):  # fmt: skip
        super(_OnGrid, self).__init__(num_features, eps, momentum)
        self.eval()
        self._set_grid(1.0, 0)

    def forward(self: Any, input: Tensor) -> Tensor:
        result = F.batch_norm(input.dequantize(), self.running_mean, self.running_var, self.weight,
                              self.bias, False, 0.0, self.eps)  # fmt: skip
        result = F.relu(result) if self._relu else result
        scale, zero_point = float(self.scale), int(self.zero_point)
        return torch.quantize_per_tensor(result, scale, zero_point, input.dtype)

    @classmethod
    def from_float(cls, mod: Any, use_precomputed_fake_quant: bool = False) -> Any:
        """Of a norm, or a norm and a ReLU, whose results were observed."""
        norm = mod[0] if isinstance(mod, nn.Sequential) else mod
        made = cls(norm.num_features, norm.eps)
        for name in ("weight", "bias", "running_mean", "running_var"):
            setattr(made, name, getattr(norm, name))
        made._set_grid(*observed(mod))
        return made


class BatchNorm2d(_BatchNorm, nn.BatchNorm2d):
    """`nn.BatchNorm2d` of quantized tensors, by the running statistics."""


class BatchNorm3d(_BatchNorm, nn.BatchNorm3d):
    """`nn.BatchNorm3d` of quantized tensors, by the running statistics."""
