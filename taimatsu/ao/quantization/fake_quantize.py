"""Modules that round as a quantized model will, so that training takes it into account."""

from __future__ import annotations

import functools
from typing import Any

import taimatsu as torch
from taimatsu import Tensor
from taimatsu.nn import Module

from .observer import (
    _BY_CHANNEL,
    HistogramObserver,
    Maker,
    MovingAverageMinMaxObserver,
    MovingAveragePerChannelMinMaxObserver,
    ObserverBase,
    default_fixed_qparams_range_0to1_observer,
    default_fixed_qparams_range_neg1to1_observer,
)

__all__ = [
    "FakeQuantize", "FakeQuantizeBase", "FixedQParamsFakeQuantize",
    "FusedMovingAvgObsFakeQuantize", "default_affine_fixed_qparams_fake_quant",
    "default_dynamic_fake_quant", "default_embedding_fake_quant",
    "default_embedding_fake_quant_4bit", "default_fake_quant",
    "default_fixed_qparams_range_0to1_fake_quant", "default_fixed_qparams_range_neg1to1_fake_quant",
    "default_fused_act_fake_quant", "default_fused_per_channel_wt_fake_quant",
    "default_fused_wt_fake_quant", "default_histogram_fake_quant",
    "default_per_channel_weight_fake_quant", "default_symmetric_fixed_qparams_fake_quant",
    "default_weight_fake_quant", "disable_fake_quant", "disable_observer", "enable_fake_quant",
    "enable_observer", "fused_per_channel_wt_fake_quant_range_neg_127_to_127",
    "fused_wt_fake_quant_range_neg_127_to_127",
]  # fmt: skip


class FakeQuantizeBase(Module):
    """What all of them are: rounding and observing, each of which can be switched off."""

    fake_quant_enabled: Tensor
    observer_enabled: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("fake_quant_enabled", torch.tensor([1], dtype=torch.uint8))
        self.register_buffer("observer_enabled", torch.tensor([1], dtype=torch.uint8))

    def forward(self, x: Tensor) -> Tensor:
        """x as a quantized tensor would hold it; to be overridden."""
        raise NotImplementedError(f"{type(self).__name__}.forward")

    def calculate_qparams(self, **kwargs: Any) -> Any:
        """The scale and the zero point; to be overridden."""
        raise NotImplementedError(f"{type(self).__name__}.calculate_qparams")

    def enable_fake_quant(self, enabled: bool = True) -> None:
        """Whether to round."""
        self.fake_quant_enabled[0] = 1 if enabled else 0

    def disable_fake_quant(self) -> None:
        """Don't round."""
        self.enable_fake_quant(False)

    def enable_observer(self, enabled: bool = True) -> None:
        """Whether to observe."""
        self.observer_enabled[0] = 1 if enabled else 0

    def disable_observer(self) -> None:
        """Don't observe."""
        self.enable_observer(False)

    @classmethod
    def with_args(cls, **kwargs: Any) -> Maker:
        """What makes this module with these arguments."""
        return Maker(functools.partial(cls, **kwargs))


class FakeQuantize(FakeQuantizeBase):
    """An observer, and rounding by the scale and zero point that it finds.

    ``observer_kwargs`` are the observer's; ``quant_min`` and ``quant_max`` its range of integers.

    >>> m = FakeQuantize(quant_min=0, quant_max=15)
    >>> m(torch.tensor([0.0, 0.52, 1.5]))
    tensor([0.0000, 0.5000, 1.5000])
    """

    scale: Tensor
    zero_point: Tensor

    def __init__(self, observer: Any = MovingAverageMinMaxObserver, quant_min: int | None = None,
                 quant_max: int | None = None, is_dynamic: bool = False,
                 **observer_kwargs: Any):  # fmt: skip
        super().__init__()
        if quant_min is not None and quant_max is not None:
            if quant_min > quant_max:
                raise AssertionError("quant_min must be less than or equal to quant_max")
            observer_kwargs.update(quant_min=quant_min, quant_max=quant_max)
        self.is_dynamic = is_dynamic
        self.activation_post_process = observer(is_dynamic=is_dynamic, **observer_kwargs)
        seen = self.activation_post_process
        self.quant_min, self.quant_max = seen.quant_min, seen.quant_max
        floating = seen.qscheme is torch.per_channel_affine_float_qparams
        zero_dtype = torch.float if floating else torch.int
        self.register_buffer("scale", torch.tensor([1.0]))
        self.register_buffer("zero_point", torch.tensor([0], dtype=zero_dtype))
        self.dtype, self.qscheme = seen.dtype, seen.qscheme
        self.ch_axis = getattr(seen, "ch_axis", -1)
        self.is_per_channel = self.qscheme in _BY_CHANNEL

    def calculate_qparams(self) -> Any:  # type: ignore[override]
        """The scale and the zero point of what was observed."""
        return self.activation_post_process.calculate_qparams()

    def forward(self, X: Tensor) -> Tensor:
        """X as a quantized tensor would hold it."""
        if self.observer_enabled[0] == 1:
            self.activation_post_process(X.detach())
            scale, zero_point = self.calculate_qparams()
            self.scale.resize_(scale.shape).copy_(scale)
            self.zero_point.resize_(zero_point.shape).copy_(zero_point)
        if self.fake_quant_enabled[0] != 1:
            return X
        limits = self.quant_min, self.quant_max
        if self.is_per_channel:
            return torch.fake_quantize_per_channel_affine(
                X, self.scale, self.zero_point, self.ch_axis, *limits
            )
        return torch.fake_quantize_per_tensor_affine(X, self.scale, self.zero_point, *limits)

    def extra_repr(self) -> str:
        """What it does, to which grid."""
        return (
            f"fake_quant_enabled={self.fake_quant_enabled}, "
            f"observer_enabled={self.observer_enabled}, quant_min={self.quant_min}, "
            f"quant_max={self.quant_max}, dtype={self.dtype}, qscheme={self.qscheme}, "
            f"ch_axis={self.ch_axis}, scale={self.scale}, zero_point={self.zero_point}"
        )

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *args: Any) -> None:
        for name in ("scale", "zero_point"):  # one for each channel, once it has observed
            if prefix + name in state_dict:
                self._buffers[name] = torch.empty_like(state_dict[prefix + name])
        super()._load_from_state_dict(state_dict, prefix, *args)


class FixedQParamsFakeQuantize(FakeQuantize):
    """Rounding by a scale and a zero point that are known; ``observer`` gives them."""

    def __init__(self, observer: Any):
        super().__init__(observer=observer)
        seen = self.activation_post_process
        self.scale, self.zero_point = seen.scale, seen.zero_point

    def calculate_qparams(self) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        """The scale and the zero point."""
        return self.scale, self.zero_point


class FusedMovingAvgObsFakeQuantize(FakeQuantize):
    """`FakeQuantize` of an observer of moving averages, in one step."""

    def __init__(self, observer: Any = MovingAverageMinMaxObserver, quant_min: int = 0,
                 quant_max: int = 255, **observer_kwargs: Any):  # fmt: skip
        super().__init__(observer, quant_min, quant_max, **observer_kwargs)
        kinds = (MovingAverageMinMaxObserver, MovingAveragePerChannelMinMaxObserver)
        if not isinstance(self.activation_post_process, kinds):
            raise AssertionError("Fused observer+fake_quant module only works with moving averages")
        self.fake_quant_enabled = torch.tensor([1], dtype=torch.long)
        self.observer_enabled = torch.tensor([1], dtype=torch.long)


def is_activation_post_process(module: Module) -> bool:
    """Whether a module looks at what another one gives: an observer or a fake-quantizer."""
    return isinstance(module, (ObserverBase, FakeQuantizeBase))


_ZERO_TO_ONE = default_fixed_qparams_range_0to1_observer
_PLUS_MINUS_ONE = default_fixed_qparams_range_neg1to1_observer
_WEIGHT: dict[str, Any] = {"quant_min": -128, "quant_max": 127, "dtype": torch.qint8}
_NARROW: dict[str, Any] = {**_WEIGHT, "quant_min": -127, "eps": 2**-12}
_BYTES: dict[str, Any] = {"quant_min": 0, "quant_max": 255, "dtype": torch.quint8}
_CHANNELS = MovingAveragePerChannelMinMaxObserver

default_fake_quant: Any = FakeQuantize.with_args(
    observer=MovingAverageMinMaxObserver, **_BYTES, qscheme=torch.per_tensor_affine,
    reduce_range=True,
)  # fmt: skip
default_weight_fake_quant: Any = FakeQuantize.with_args(
    observer=MovingAverageMinMaxObserver, **_WEIGHT, qscheme=torch.per_tensor_symmetric,
    reduce_range=False,
)  # fmt: skip
default_dynamic_fake_quant: Any = FakeQuantize.with_args(
    observer=MovingAverageMinMaxObserver, **_BYTES, is_dynamic=True, averaging_constant=1
)
default_fixed_qparams_range_neg1to1_fake_quant: Any = FixedQParamsFakeQuantize.with_args(
    observer=_PLUS_MINUS_ONE
)
default_fixed_qparams_range_0to1_fake_quant: Any = FixedQParamsFakeQuantize.with_args(
    observer=_ZERO_TO_ONE
)
default_symmetric_fixed_qparams_fake_quant: Any = default_fixed_qparams_range_neg1to1_fake_quant
default_affine_fixed_qparams_fake_quant: Any = default_fixed_qparams_range_0to1_fake_quant
default_per_channel_weight_fake_quant: Any = FakeQuantize.with_args(
    observer=_CHANNELS, **_WEIGHT, qscheme=torch.per_channel_symmetric, reduce_range=False,
    ch_axis=0,
)  # fmt: skip
default_embedding_fake_quant: Any = FakeQuantize.with_args(
    observer=_CHANNELS, qscheme=torch.per_channel_affine_float_qparams, **_BYTES, ch_axis=0,
    averaging_constant=1,
)  # fmt: skip
default_embedding_fake_quant_4bit: Any = FakeQuantize.with_args(
    observer=_CHANNELS, qscheme=torch.per_channel_affine_float_qparams, ch_axis=0,
    dtype=torch.quint4x2, averaging_constant=1,
)  # fmt: skip
default_histogram_fake_quant: Any = FakeQuantize.with_args(
    observer=HistogramObserver, **_BYTES, qscheme=torch.per_tensor_affine, reduce_range=True
)
default_fused_act_fake_quant: Any = FusedMovingAvgObsFakeQuantize.with_args(
    observer=MovingAverageMinMaxObserver, **_BYTES
)
default_fused_wt_fake_quant: Any = FusedMovingAvgObsFakeQuantize.with_args(
    observer=MovingAverageMinMaxObserver, **_WEIGHT, qscheme=torch.per_tensor_symmetric
)
default_fused_per_channel_wt_fake_quant: Any = FusedMovingAvgObsFakeQuantize.with_args(
    observer=_CHANNELS, **_WEIGHT, qscheme=torch.per_channel_symmetric
)
fused_wt_fake_quant_range_neg_127_to_127: Any = FusedMovingAvgObsFakeQuantize.with_args(
    observer=MovingAverageMinMaxObserver, **_NARROW, qscheme=torch.per_tensor_symmetric
)
fused_per_channel_wt_fake_quant_range_neg_127_to_127: Any = FusedMovingAvgObsFakeQuantize.with_args(
    observer=_CHANNELS, **_NARROW, qscheme=torch.per_channel_symmetric
)


# ---- for ``model.apply`` ------------------------------------------------------------------------


def disable_fake_quant(mod: Module) -> None:
    """``model.apply(disable_fake_quant)``: nothing is rounded."""
    if isinstance(mod, FakeQuantizeBase):
        mod.disable_fake_quant()


def enable_fake_quant(mod: Module) -> None:
    """``model.apply(enable_fake_quant)``: values are rounded."""
    if isinstance(mod, FakeQuantizeBase):
        mod.enable_fake_quant()


def disable_observer(mod: Module) -> None:
    """``model.apply(disable_observer)``: scales and zero points stay what they are."""
    if isinstance(mod, FakeQuantizeBase):
        mod.disable_observer()


def enable_observer(mod: Module) -> None:
    """``model.apply(enable_observer)``: scales and zero points follow what is seen."""
    if isinstance(mod, FakeQuantizeBase):
        mod.enable_observer()
