"""`QConfig`: what observes (or rounds) the results of a module, and what its weight."""

from __future__ import annotations

import typing
import warnings
from typing import Any

import taimatsu as torch
from taimatsu.nn import Module

from . import fake_quantize as fq
from . import observer as ob

__all__ = [
    "QConfig", "QConfigAny", "QConfigDynamic", "default_activation_only_qconfig",
    "default_debug_qconfig", "default_dynamic_qat_qconfig", "default_dynamic_qconfig",
    "default_embedding_qat_qconfig", "default_embedding_qat_qconfig_4bit",
    "default_per_channel_qconfig", "default_qat_qconfig", "default_qat_qconfig_v2",
    "default_qconfig", "default_quint8_weight_qconfig", "default_reuse_input_qconfig",
    "default_symmetric_qnnpack_qat_qconfig", "default_symmetric_qnnpack_qconfig",
    "default_weight_only_qconfig", "float16_dynamic_qconfig", "float16_static_qconfig",
    "float_qparams_weight_only_qconfig", "float_qparams_weight_only_qconfig_4bit",
    "get_default_qat_qconfig", "get_default_qconfig", "per_channel_dynamic_qconfig",
    "qconfig_equals",
]  # fmt: skip


class QConfig(typing.NamedTuple("QConfig", [("activation", Any), ("weight", Any)])):
    """Makers of an observer, or of a fake-quantizer, of results and of the weight.

    They are called for each module, so classes or what ``with_args`` gives, not instances:
    ValueError for those.
    """

    __slots__ = ()

    def __new__(cls, activation: Any, weight: Any) -> QConfig:
        if isinstance(activation, Module) or isinstance(weight, Module):
            raise ValueError(
                "QConfig received observer instance, please pass observer class instead. Use "
                "MyObserver.with_args(x=1) to override arguments to constructor if needed"
            )
        return super().__new__(cls, activation, weight)


class QConfigDynamic(QConfig):
    """The same for dynamic quantization; `QConfig` does as well."""

    __slots__ = ()


QConfigAny = QConfig | None

_HALF = ob.PlaceholderObserver.with_args(dtype=torch.float16)
_AVERAGE = ob.MovingAverageMinMaxObserver
_IDENTITY = torch.nn.Identity

default_qconfig = QConfig(ob.default_observer, ob.default_weight_observer)
default_debug_qconfig = QConfig(weight=ob.default_weight_observer,
                                activation=ob.default_debug_observer)  # fmt: skip
default_per_channel_qconfig = QConfig(ob.default_observer, ob.default_per_channel_weight_observer)
default_dynamic_qconfig = QConfig(ob.default_dynamic_quant_observer, ob.default_weight_observer)
float16_dynamic_qconfig = QConfig(
    ob.PlaceholderObserver.with_args(dtype=torch.float16, is_dynamic=True), _HALF
)
float16_static_qconfig = QConfig(_HALF, _HALF)
per_channel_dynamic_qconfig = QConfig(
    ob.default_dynamic_quant_observer, ob.default_per_channel_weight_observer
)
float_qparams_weight_only_qconfig = QConfig(
    ob.default_placeholder_observer, ob.default_float_qparams_observer
)
float_qparams_weight_only_qconfig_4bit = QConfig(
    ob.default_placeholder_observer, ob.default_float_qparams_observer_4bit
)
default_qat_qconfig = QConfig(fq.default_fake_quant, fq.default_weight_fake_quant)
default_dynamic_qat_qconfig = QConfig(fq.default_dynamic_fake_quant, fq.default_weight_fake_quant)
default_weight_only_qconfig = QConfig(_IDENTITY, fq.default_weight_fake_quant)
default_activation_only_qconfig = QConfig(fq.default_fake_quant, _IDENTITY)
default_qat_qconfig_v2 = QConfig(fq.default_fused_act_fake_quant, fq.default_fused_wt_fake_quant)
default_reuse_input_qconfig = QConfig(ob.default_reuse_input_observer, ob.NoopObserver)
default_embedding_qat_qconfig = QConfig(
    ob.NoopObserver.with_args(dtype=torch.float32), fq.default_embedding_fake_quant
)
default_embedding_qat_qconfig_4bit = QConfig(
    ob.NoopObserver.with_args(dtype=torch.float32), fq.default_embedding_fake_quant_4bit
)
default_quint8_weight_qconfig = QConfig(
    ob.HistogramObserver.with_args(reduce_range=False), ob.MinMaxObserver.with_args()
)
_QNNPACK = {"dtype": torch.qint8, "reduce_range": False, "eps": 2**-12}
default_symmetric_qnnpack_qconfig = QConfig(
    ob.HistogramObserver.with_args(**_QNNPACK), ob.weight_observer_range_neg_127_to_127
)
default_symmetric_qnnpack_qat_qconfig = QConfig(
    fq.FusedMovingAvgObsFakeQuantize.with_args(
        observer=_AVERAGE, quant_min=-128, quant_max=127, **_QNNPACK
    ),
    fq.fused_wt_fake_quant_range_neg_127_to_127,
)

# Whether the kernels of a back end need a bit left unused, and take weights by channel.
_BACKENDS = {"fbgemm": (True, True), "x86": (True, True), "onednn": (False, True),
             "qnnpack": (False, False)}  # fmt: skip


def _backend(name: str) -> tuple[bool, bool]:
    if name not in _BACKENDS:
        raise AssertionError(f"backend: {name} not supported. backend must be one of "
                             f"{', '.join(_BACKENDS)}")  # fmt: skip
    return _BACKENDS[name]


def get_default_qconfig(backend: str = "x86", version: int = 0) -> QConfig:
    """Histograms of results; weights by channel, but for "qnnpack".

    backend: "x86", "fbgemm", "onednn" or "qnnpack". AssertionError for others.
    """
    reduce_range, by_channel = _backend(backend)
    if version != 0:
        raise AssertionError(f"Version number: {version} in get_default_qconfig is not supported.")
    weight = ob.default_per_channel_weight_observer if by_channel else ob.default_weight_observer
    return QConfig(ob.HistogramObserver.with_args(reduce_range=reduce_range), weight)


def get_default_qat_qconfig(backend: str = "x86", version: int = 1) -> QConfig:
    """The same for training: moving averages, and rounding by them."""
    reduce_range, by_channel = _backend(backend)
    if version not in (0, 1):
        raise AssertionError(
            f"Version number: {version} in get_default_qat_qconfig is not supported."
        )
    kind = fq.FusedMovingAvgObsFakeQuantize if version else fq.FakeQuantize
    activation = kind.with_args(
        observer=_AVERAGE, quant_min=0, quant_max=255, reduce_range=reduce_range
    )
    if version:
        weight = (fq.default_fused_per_channel_wt_fake_quant if by_channel
                  else fq.default_fused_wt_fake_quant)  # fmt: skip
    else:
        weight = (fq.default_per_channel_weight_fake_quant if by_channel
                  else fq.default_weight_fake_quant)  # fmt: skip
    return QConfig(activation, weight)


def qconfig_equals(q1: Any, q2: Any) -> bool:
    """Whether two make the same observers."""
    return q1 == q2


def activation_is_memoryless(qconfig: QConfig) -> bool:
    """Whether results are looked at one by one: for dynamic quantization."""
    made = qconfig.activation()
    return getattr(made, "is_dynamic", False)


def assert_valid_qconfig(qconfig: Any, mod: Module) -> None:
    """AssertionError for weights by channel of transposed convolutions, that have none."""
    if qconfig is None or not isinstance(
        mod, (torch.nn.ConvTranspose1d, torch.nn.ConvTranspose2d, torch.nn.ConvTranspose3d)
    ):
        return
    if isinstance(qconfig.weight(), ob.PerChannelMinMaxObserver):
        warnings.warn("ConvTranspose: weights by channel are along dim 0, which is the input's; "
                      "use default_qconfig", stacklevel=2)  # fmt: skip
