"""Quantized modules with weights: linear maps, convolutions and embeddings."""

from __future__ import annotations

from typing import Any

import taimatsu as torch
from taimatsu import Tensor, nn
from taimatsu.ao.nn.intrinsic.qat import _ConvBn
from taimatsu.ao.nn.qat import WeightRounded
from taimatsu.nn import functional as F

from .activation import observed

__all__ = [
    "Conv1d", "Conv2d", "Conv3d", "ConvTranspose1d", "ConvTranspose2d", "ConvTranspose3d",
    "Embedding", "EmbeddingBag", "Linear", "LinearPackedParams", "quantize_weight",
]  # fmt: skip


def quantize_weight(weight: Tensor, observer: Any) -> Tensor:
    """A weight on the grid that an observer chooses for it; it looks at the weight if it saw none.

    observer: of ``qconfig.weight()``. A floating-point dtype of it only casts the weight.
    """
    weight = weight.detach().float()
    if observer.dtype in (torch.float16, torch.float32):
        return weight.to(observer.dtype)
    scale, zero_point = observer.calculate_qparams()
    if observer.qscheme in (torch.per_tensor_affine, torch.per_tensor_symmetric):
        return torch.quantize_per_tensor(weight, float(scale), int(zero_point), observer.dtype)
    return torch.quantize_per_channel(weight, scale, zero_point, observer.ch_axis, observer.dtype)


def _converted(mod: Any) -> tuple[Any, Tensor]:
    """The float module in ``mod`` (trained or observed) and its quantized weight."""
    if isinstance(mod, WeightRounded):
        observer = mod.weight_fake_quant
        made = mod.to_float()
        inner: Any = made[0] if isinstance(made, nn.Sequential) else made
        if isinstance(mod, _ConvBn):  # the weight that was rounded is that of both
            observer(inner.weight)
        return inner, quantize_weight(inner.weight, observer)
    inner = mod[0] if isinstance(mod, nn.Sequential) else mod
    observer = mod.qconfig.weight()
    observer(inner.weight.detach())
    return inner, quantize_weight(inner.weight, observer)


class LinearPackedParams(nn.Module):
    """The weight and bias of a linear map, as checkpoints keep them."""

    def __init__(self, dtype: Any = torch.qint8):
        super().__init__()
        self.dtype = dtype
        self._packed_params: tuple[Tensor, Tensor | None] = (torch.empty(0), None)

    def set_weight_bias(self, weight: Tensor, bias: Tensor | None) -> None:
        """Sets both."""
        self._packed_params = (weight, None if bias is None else bias.detach())

    def _weight_bias(self) -> tuple[Tensor, Tensor | None]:
        return self._packed_params

    def forward(self, x: Any) -> Any:
        """x."""
        return x

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        destination[prefix + "dtype"] = self.dtype
        destination[prefix + "_packed_params"] = self._packed_params

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *args: Any) -> None:
        self.dtype = state_dict.pop(prefix + "dtype", self.dtype)
        if prefix + "_packed_params" in state_dict:
            self.set_weight_bias(*state_dict.pop(prefix + "_packed_params"))
        super()._load_from_state_dict(state_dict, prefix, *args)

    def __repr__(self) -> str:
        return repr(self._packed_params)


class Linear(nn.Module):
    """`nn.Linear` of quantized tensors.

    ``scale``, ``zero_point``: the grid of results. ``weight()`` and ``bias()`` are methods.
    """

    _relu = False

    def __init__(self, in_features: int, out_features: int, bias_: bool = True,
                 dtype: Any = torch.qint8):  # fmt: skip
        super().__init__()
        self.in_features, self.out_features = in_features, out_features
        bias = torch.zeros(out_features) if bias_ else None
        zeros = torch.zeros(out_features, in_features)
        weight = zeros.to(dtype) if dtype.is_floating_point else torch.quantize_per_tensor(
            zeros, 1.0, 0, dtype
        )  # fmt: skip
        self._packed_params = LinearPackedParams(dtype)
        self._packed_params.set_weight_bias(weight, bias)
        self.scale, self.zero_point = 1.0, 0

    def set_weight_bias(self, w: Tensor, b: Tensor | None) -> None:
        """Sets both: a quantized weight, a float bias."""
        self._packed_params.set_weight_bias(w, b)

    def _weight_bias(self) -> tuple[Tensor, Tensor | None]:
        return self._packed_params._weight_bias()

    def weight(self) -> Tensor:
        """The quantized weight."""
        return self._weight_bias()[0]

    def bias(self) -> Tensor | None:
        """The bias, in float32."""
        return self._weight_bias()[1]

    def _product(self, x: Tensor) -> Tensor:
        weight, bias = self._weight_bias()
        y = F.linear(x, weight.dequantize(), bias)
        return F.relu(y) if self._relu else y

    def forward(self, x: Tensor) -> Tensor:
        y = self._product(x.dequantize())
        return torch.quantize_per_tensor(y, self.scale, self.zero_point, x.dtype)

    @classmethod
    def from_float(cls, mod: Any, use_precomputed_fake_quant: bool = False) -> Any:
        """Of an observed `nn.Linear`, one with a ReLU, or one that was trained for it."""
        inner, weight = _converted(mod)
        made = cls(inner.in_features, inner.out_features, dtype=weight.dtype)
        made.set_weight_bias(weight, inner.bias)
        made.scale, made.zero_point = observed(mod)
        return made

    def _get_name(self) -> str:
        return f"Quantized{type(self).__name__}"

    def __repr__(self) -> str:
        return f"{self._get_name()}({self.extra_repr()})"

    def extra_repr(self) -> str:
        """Sizes and grids."""
        return (
            f"in_features={self.in_features}, out_features={self.out_features}, "
            f"scale={self.scale}, zero_point={self.zero_point}, qscheme={self.weight().qscheme()}"
        )

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        destination[prefix + "scale"] = torch.tensor(self.scale)
        destination[prefix + "zero_point"] = torch.tensor(self.zero_point)

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *args: Any) -> None:
        self.scale = float(state_dict.pop(prefix + "scale", self.scale))
        self.zero_point = int(state_dict.pop(prefix + "zero_point", self.zero_point))
        super()._load_from_state_dict(state_dict, prefix, *args)


_CONV_OPTIONS = ("in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation",
                 "groups", "padding_mode")  # fmt: skip


class _Conv(nn.Module):
    """A convolution with a quantized weight."""

    _FLOAT_MODULE: type[nn.Module]
    _relu = False

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__()
        conv: Any = self._FLOAT_MODULE(*args, **kwargs)
        self.__dict__["_conv"] = conv  # not a submodule: it has no weight of its own
        plain = conv.weight.detach()
        self._bias = None if conv.bias is None else conv.bias.detach()
        self._weight = torch.quantize_per_tensor(torch.zeros_like(plain), 1.0, 0, torch.qint8)
        self.scale, self.zero_point = 1.0, 0

    def __getattr__(self, name: str) -> Any:
        conv = self.__dict__.get("_conv")
        if conv is not None and name in conv.__dict__:
            return conv.__dict__[name]  # stride, padding ...
        return super().__getattr__(name)

    def set_weight_bias(self, w: Tensor, b: Tensor | None) -> None:
        """Sets both: a quantized weight, a float bias."""
        self._weight, self._bias = w, None if b is None else b.detach()

    def _weight_bias(self) -> tuple[Tensor, Tensor | None]:
        return self._weight, self._bias

    def weight(self) -> Tensor:
        """The quantized weight."""
        return self._weight

    def bias(self) -> Tensor | None:
        """The bias, in float32."""
        return self._bias

    def forward(self, input: Tensor) -> Tensor:
        from taimatsu.func import functional_call

        given = {"weight": self._weight.dequantize()}
        if self._bias is not None:
            given["bias"] = self._bias
        y = functional_call(self._conv, given, (input.dequantize(),))
        y = F.relu(y) if self._relu else y
        return torch.quantize_per_tensor(y, self.scale, self.zero_point, input.dtype)

    @classmethod
    def from_float(cls, mod: Any, use_precomputed_fake_quant: bool = False) -> Any:
        """Of an observed convolution, one with a ReLU, or one that was trained for it."""
        inner, weight = _converted(mod)
        options = [*_CONV_OPTIONS]
        if inner.transposed:
            options.append("output_padding")
        made = cls(bias=inner.bias is not None, **{n: getattr(inner, n) for n in options})
        made.set_weight_bias(weight, inner.bias)
        made.scale, made.zero_point = observed(mod)
        return made

    def _get_name(self) -> str:
        return f"Quantized{type(self).__name__}"

    def extra_repr(self) -> str:
        """The convolution's, and the grid of results."""
        return f"{self._conv.extra_repr()}, scale={self.scale}, zero_point={self.zero_point}"

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        destination[prefix + "weight"], destination[prefix + "bias"] = self._weight_bias()
        destination[prefix + "scale"] = torch.tensor(self.scale)
        destination[prefix + "zero_point"] = torch.tensor(self.zero_point)

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *args: Any) -> None:
        weight = state_dict.pop(prefix + "weight", self._weight)
        self.set_weight_bias(weight, state_dict.pop(prefix + "bias", self._bias))
        self.scale = float(state_dict.pop(prefix + "scale", self.scale))
        self.zero_point = int(state_dict.pop(prefix + "zero_point", self.zero_point))
        super()._load_from_state_dict(state_dict, prefix, *args)


class Conv1d(_Conv):
    """`nn.Conv1d` of quantized tensors."""

    _FLOAT_MODULE = nn.Conv1d


class Conv2d(_Conv):
    """`nn.Conv2d` of quantized tensors."""

    _FLOAT_MODULE = nn.Conv2d


class Conv3d(_Conv):
    """`nn.Conv3d` of quantized tensors."""

    _FLOAT_MODULE = nn.Conv3d


class ConvTranspose1d(_Conv):
    """`nn.ConvTranspose1d` of quantized tensors."""

    _FLOAT_MODULE = nn.ConvTranspose1d


class ConvTranspose2d(_Conv):
    """`nn.ConvTranspose2d` of quantized tensors."""

    _FLOAT_MODULE = nn.ConvTranspose2d


class ConvTranspose3d(_Conv):
    """`nn.ConvTranspose3d` of quantized tensors."""

    _FLOAT_MODULE = nn.ConvTranspose3d


class Embedding(nn.Module):
    """`nn.Embedding` with a quantized table; rows are given in float32."""

    def __init__(self, num_embeddings: int, embedding_dim: int, padding_idx: int | None = None,
                 max_norm: float | None = None, norm_type: float = 2.0,
                 scale_grad_by_freq: bool = False, sparse: bool = False, _weight: Any = None,
                 dtype: Any = torch.quint8):  # fmt: skip
        super().__init__()
        self.num_embeddings, self.embedding_dim = num_embeddings, embedding_dim
        self.dtype = dtype
        if _weight is None:
            _weight = torch.quantize_per_channel(
                torch.zeros(num_embeddings, embedding_dim), torch.ones(num_embeddings),
                torch.zeros(num_embeddings), 0, dtype,
            )  # fmt: skip
        self.set_weight(_weight)

    def set_weight(self, w: Tensor) -> None:
        """The table, quantized by row."""
        self._weight = w

    def weight(self) -> Tensor:
        """The table."""
        return self._weight

    def forward(self, indices: Tensor) -> Tensor:
        return F.embedding(indices, self._weight.dequantize())

    @classmethod
    def from_float(cls, mod: Any, use_precomputed_fake_quant: bool = False) -> Any:
        """Of `nn.Embedding` with a `qconfig` of its table, or one that was trained for it."""
        _, weight = _converted(mod)
        return cls(mod.num_embeddings, mod.embedding_dim, _weight=weight, dtype=weight.dtype)

    def _get_name(self) -> str:
        return f"Quantized{type(self).__name__}"

    def extra_repr(self) -> str:
        """Sizes and the grid."""
        return (
            f"num_embeddings={self.num_embeddings}, embedding_dim={self.embedding_dim}, "
            f"dtype={self.dtype}, qscheme={self._weight.qscheme()}"
        )

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        destination[prefix + "weight"] = self._weight

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *args: Any) -> None:
        self.set_weight(state_dict.pop(prefix + "weight", self._weight))
        super()._load_from_state_dict(state_dict, prefix, *args)


class EmbeddingBag(Embedding):
    """`nn.EmbeddingBag` with a quantized table; sums are given in float32."""

    def __init__(self, num_embeddings: int, embedding_dim: int, max_norm: float | None = None,
                 norm_type: float = 2.0, scale_grad_by_freq: bool = False, mode: str = "sum",
                 sparse: bool = False, _weight: Any = None, include_last_offset: bool = False,
                 dtype: Any = torch.quint8):  # fmt: skip
        super().__init__(num_embeddings, embedding_dim, _weight=_weight, dtype=dtype)
        self.mode, self.include_last_offset = mode, include_last_offset

    def forward(
        self, indices: Tensor, offsets: Tensor | None = None,
        per_sample_weights: Tensor | None = None,
    ) -> Tensor:  # fmt: skip
        return F.embedding_bag(
            indices, self._weight.dequantize(), offsets, mode=self.mode,
            per_sample_weights=per_sample_weights, include_last_offset=self.include_last_offset,
        )  # fmt: skip

    @classmethod
    def from_float(cls, mod: Any, use_precomputed_fake_quant: bool = False) -> Any:
        """Of `nn.EmbeddingBag` with a `qconfig` of its table, or one that was trained for it."""
        _, weight = _converted(mod)
        return cls(mod.num_embeddings, mod.embedding_dim, mode=mod.mode, _weight=weight,
                   include_last_offset=mod.include_last_offset, dtype=weight.dtype)  # fmt: skip
