"""Which module takes the place of which."""

from __future__ import annotations

import copy
from typing import Any

from taimatsu import nn
from taimatsu.ao.nn import intrinsic, qat, quantized
from taimatsu.ao.nn.intrinsic import qat as intrinsic_qat
from taimatsu.ao.nn.intrinsic import quantized as intrinsic_quantized
from taimatsu.ao.nn.quantized import dynamic
from taimatsu.nn import functional as F

from . import fake_quantize as fq
from . import observer as ob
from .stubs import DeQuantStub, QuantStub

__all__ = [
    "get_default_compare_output_module_list",
    "get_default_dynamic_quant_module_mappings",
    "get_default_float_to_quantized_operator_mappings",
    "get_default_qat_module_mappings",
    "get_default_qconfig_propagation_list",
    "get_default_static_quant_module_mappings",
    "get_dynamic_quant_module_class",
    "get_embedding_qat_module_mappings",
    "get_embedding_static_quant_module_mappings",
    "get_static_quant_module_class",
    "no_observer_set",
]  # fmt: skip

# Modules that have a quantized one of the same name.
_WITH_TWIN = (
    "BatchNorm2d BatchNorm3d Dropout Conv1d Conv2d Conv3d ConvTranspose1d ConvTranspose2d "
    "ConvTranspose3d ELU Embedding EmbeddingBag GroupNorm Hardswish InstanceNorm1d InstanceNorm2d "
    "InstanceNorm3d LayerNorm LeakyReLU Linear ReLU6 PReLU"
)
_FUSED = "BNReLU2d BNReLU3d ConvReLU1d ConvReLU2d ConvReLU3d LinearReLU"

_STATIC: dict[Any, Any] = {
    QuantStub: quantized.Quantize,
    DeQuantStub: quantized.DeQuantize,
    quantized.FloatFunctional: quantized.QFunctional,
    **{
        getattr(nn, name): getattr(quantized, name)
        for name in _WITH_TWIN.split()
    },
    **{
        getattr(intrinsic, name): getattr(intrinsic_quantized, name)
        for name in _FUSED.split()
    },
    **{
        getattr(intrinsic_qat, f"{name}{n}d"): getattr(space, f"{plain}{n}d")
        for name, space, plain in (
            ("ConvBn", quantized, "Conv"), ("ConvBnReLU", intrinsic_quantized, "ConvReLU"),
            ("ConvReLU", intrinsic_quantized, "ConvReLU"),
        )
        for n in (1, 2, 3)
    },
    intrinsic_qat.LinearReLU: intrinsic_quantized.LinearReLU,
    qat.Linear: quantized.Linear, qat.Conv1d: quantized.Conv1d, qat.Conv2d: quantized.Conv2d,
    qat.Conv3d: quantized.Conv3d, qat.Embedding: quantized.Embedding,
    qat.EmbeddingBag: quantized.EmbeddingBag,
}  # fmt: skip

_QAT: dict[Any, Any] = {
    nn.Conv1d: qat.Conv1d, nn.Conv2d: qat.Conv2d, nn.Conv3d: qat.Conv3d, nn.Linear: qat.Linear,
    intrinsic.LinearReLU: intrinsic_qat.LinearReLU,
    **{
        getattr(intrinsic, f"{name}{n}d"): getattr(intrinsic_qat, f"{name}{n}d")
        for name in ("ConvBn", "ConvBnReLU", "ConvReLU")
        for n in (1, 2, 3)
    },
}  # fmt: skip

_DYNAMIC: dict[Any, Any] = {
    nn.Linear: dynamic.Linear, nn.LSTM: dynamic.LSTM, nn.GRU: dynamic.GRU,
    nn.LSTMCell: dynamic.LSTMCell, nn.GRUCell: dynamic.GRUCell, nn.RNNCell: dynamic.RNNCell,
    intrinsic.LinearReLU: intrinsic_quantized.DynamicLinearReLU,
    nn.EmbeddingBag: quantized.EmbeddingBag, nn.Embedding: quantized.Embedding,
}  # fmt: skip

# Modules whose results lie in a known range.
RANGES: dict[Any, Any] = {
    nn.Hardsigmoid: ob.default_fixed_qparams_range_0to1_observer,
    nn.Sigmoid: ob.default_fixed_qparams_range_0to1_observer,
    nn.Softmax: ob.default_fixed_qparams_range_0to1_observer,
    nn.Tanh: ob.default_fixed_qparams_range_neg1to1_observer,
}
ROUNDED_RANGES: dict[Any, Any] = {
    nn.Hardsigmoid: fq.default_fixed_qparams_range_0to1_fake_quant,
    nn.Sigmoid: fq.default_fixed_qparams_range_0to1_fake_quant,
    nn.Softmax: fq.default_fixed_qparams_range_0to1_fake_quant,
    nn.Tanh: fq.default_fixed_qparams_range_neg1to1_fake_quant,
}


def get_default_static_quant_module_mappings() -> dict[Any, Any]:
    """Quantized modules by the observed ones."""
    return copy.copy(_STATIC)


def get_default_qat_module_mappings() -> dict[Any, Any]:
    """Modules with rounded weights by the floating-point ones."""
    return copy.copy(_QAT)


def get_default_dynamic_quant_module_mappings() -> dict[Any, Any]:
    """Dynamically quantized modules by the floating-point ones."""
    return copy.copy(_DYNAMIC)


def get_embedding_static_quant_module_mappings() -> dict[Any, Any]:
    """The mapping for models with embeddings that were trained rounded."""
    return {**_STATIC, qat.EmbeddingBag: quantized.EmbeddingBag, qat.Embedding: quantized.Embedding}


def get_embedding_qat_module_mappings() -> dict[Any, Any]:
    """The mapping for training models with embeddings."""
    return {**_QAT, nn.EmbeddingBag: qat.EmbeddingBag, nn.Embedding: qat.Embedding}


def get_default_qconfig_propagation_list() -> set[Any]:
    """The modules that a ``qconfig`` is given to: those that some mapping knows."""
    return {*_STATIC, *_QAT, *_DYNAMIC, *RANGES, *vars_of(intrinsic)}


def vars_of(space: Any) -> list[Any]:
    """The public classes of a module."""
    return [getattr(space, name) for name in space.__all__]


def get_default_compare_output_module_list() -> set[Any]:
    """The modules whose results can be compared before and after."""
    return {*_STATIC.keys(), *_STATIC.values(), *_QAT.keys(), *_QAT.values(), *_DYNAMIC.values()}


def _class_for(cls: type, mapping: dict[Any, Any], extra: dict[Any, Any] | None, what: str) -> Any:
    found = {**mapping, **(extra or {})}.get(cls)
    if found is None:
        raise AssertionError(
            f"Floating point module class {cls} does not have a corresponding {what} class"
        )
    return found


def get_static_quant_module_class(
    float_module_class: type, additional_static_quant_mapping: dict[Any, Any] | None = None,
    is_reference: bool = False,
) -> Any:  # fmt: skip
    """The quantized class for a floating-point one. AssertionError if there is none."""
    return _class_for(float_module_class, _STATIC, additional_static_quant_mapping, "quantized")


def get_dynamic_quant_module_class(
    float_module_class: type, additional_dynamic_quant_mapping: dict[Any, Any] | None = None
) -> Any:
    """The dynamically quantized class for a floating-point one. AssertionError if none."""
    return _class_for(float_module_class, _DYNAMIC, additional_dynamic_quant_mapping, "dynamic")


def get_default_float_to_quantized_operator_mappings() -> dict[Any, Any]:
    """Modules of quantized tensors by the functions of floating-point ones."""
    names = {
        F.elu: "ELU", F.hardswish: "Hardswish", F.instance_norm: "InstanceNorm2d",
        F.layer_norm: "LayerNorm", F.leaky_relu: "LeakyReLU", F.dropout: "Dropout",
    }  # fmt: skip
    return {function: getattr(quantized, name) for function, name in names.items()}


def no_observer_set() -> set[Any]:
    """Modules whose results aren't observed: they keep their operand's grid."""
    return {nn.Dropout, DeQuantStub}
