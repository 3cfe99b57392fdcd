"""Observers: modules that pass a tensor on and keep its range, for a scale and a zero point.

An observer's class is given to a `QConfig` with its options, by ``with_args``:

>>> make = MinMaxObserver.with_args(dtype=torch.qint8, qscheme=torch.per_tensor_symmetric)
>>> observer = make()
>>> _ = observer(torch.tensor([-1.0, 2.54]))
>>> observer.calculate_qparams()
(tensor([0.0199]), tensor([0]))
"""

from __future__ import annotations

import functools
from abc import ABCMeta, abstractmethod
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import taimatsu as torch
from taimatsu import Tensor
from taimatsu.nn import Module

__all__ = [
    "FixedQParamsObserver", "HistogramObserver", "MinMaxObserver", "MovingAverageMinMaxObserver",
    "MovingAveragePerChannelMinMaxObserver", "NoopObserver", "ObserverBase",
    "PerChannelMinMaxObserver", "PlaceholderObserver", "RecordingObserver", "ReuseInputObserver",
    "UniformQuantizationObserverBase", "default_affine_fixed_qparams_observer",
    "default_debug_observer", "default_dynamic_quant_observer",
    "default_fixed_qparams_range_0to1_observer", "default_fixed_qparams_range_neg1to1_observer",
    "default_float_qparams_observer", "default_float_qparams_observer_4bit",
    "default_histogram_observer", "default_observer", "default_per_channel_weight_observer",
    "default_placeholder_observer", "default_reuse_input_observer",
    "default_symmetric_fixed_qparams_observer", "default_weight_observer",
    "get_observer_state_dict", "load_observer_state_dict",
    "per_channel_weight_observer_range_neg_127_to_127", "weight_observer_range_neg_127_to_127",
]  # fmt: skip

_EPS = torch.finfo(torch.float32).eps
_SYMMETRIC = (torch.per_tensor_symmetric, torch.per_channel_symmetric)
_BY_CHANNEL = (torch.per_channel_affine, torch.per_channel_symmetric,
               torch.per_channel_affine_float_qparams)  # fmt: skip
_RANGES = {
    torch.qint8: (-128, 127), torch.quint8: (0, 255), torch.int8: (-128, 127),
    torch.uint8: (0, 255), torch.int16: (-(2**15), 2**15 - 1), torch.uint16: (0, 2**16 - 1),
    torch.qint32: (-(2**31), 2**31 - 1), torch.int32: (-(2**31), 2**31 - 1),
    torch.quint4x2: (0, 15),
}  # fmt: skip


class Maker:
    """A class with some of its arguments given: called, it makes an instance."""

    def __init__(self, function: functools.partial, late: dict[str, Callable] | None = None):
        self.p, self.callable_args = function, late or {}

    def __call__(self, *args: Any, **keywords: Any) -> Any:
        late = {name: make() for name, make in self.callable_args.items() if name not in keywords}
        return self.p(*args, **keywords, **late)

    def with_args(self, **kwargs: Any) -> Maker:
        """The same with further arguments."""
        return Maker(functools.partial(self.p, **kwargs), self.callable_args)

    def with_callable_args(self, **kwargs: Callable) -> Maker:
        """The same with arguments that are made, by calling these, at the time of the call."""
        return Maker(self.p, {**self.callable_args, **kwargs})

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Maker) and _identity(self) == _identity(other)

    def __hash__(self) -> int:
        return hash(self.p.func)

    def __repr__(self) -> str:
        return f"{self.p}{self.callable_args}"


def _identity(maker: Maker) -> tuple:
    return maker.p.func, maker.p.args, maker.p.keywords, maker.callable_args


class ObserverBase(Module, metaclass=ABCMeta):
    """What all observers are: ``forward`` looks at a tensor, ``calculate_qparams`` sums up."""

    def __init__(self, dtype: Any, is_dynamic: bool = False):
        super().__init__()
        self.dtype, self.is_dynamic = dtype, is_dynamic

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """Looks at x, and gives it back."""

    @abstractmethod
    def calculate_qparams(self, **kwargs: Any) -> Any:
        """The scale and the zero point."""

    @classmethod
    def with_args(cls, **kwargs: Any) -> Maker:
        """What makes this observer with these arguments."""
        return Maker(functools.partial(cls, **kwargs))

    @classmethod
    def with_callable_args(cls, **kwargs: Callable) -> Maker:
        """What makes this observer with arguments that are made by calling these."""
        return Maker(functools.partial(cls)).with_callable_args(**kwargs)


class UniformQuantizationObserverBase(ObserverBase):
    """Observers of ranges: from a smallest and a largest value, a scale and a zero point.

    dtype       the integers; quint8, qint8, qint32, or plain integer dtypes
    qscheme     per_tensor_affine or symmetric, per_channel_affine or symmetric ...
    reduce_range   leaves one bit unused, for kernels that add products in 16 bits
    quant_min, quant_max   the range of the integers [that of dtype]
    eps         the least scale

    NotImplementedError for other schemes; ValueError for dtypes and ranges that don't go together.
    """

    eps: Tensor

    def __init__(
        self, dtype: Any = torch.quint8, qscheme: Any = torch.per_tensor_affine,
        reduce_range: bool = False, quant_min: int | None = None, quant_max: int | None = None,
        factory_kwargs: dict | None = None, eps: float = _EPS, is_dynamic: bool = False,
        **kwargs: Any,
    ):  # fmt: skip
        super().__init__(dtype, is_dynamic)
        if qscheme not in (torch.per_tensor_affine, *_SYMMETRIC, *_BY_CHANNEL):
            raise NotImplementedError(f"{type(self).__name__}: unknown qscheme {qscheme}")
        if dtype not in _RANGES:
            raise ValueError(f"{type(self).__name__}: no integers of {dtype} to quantize to")
        self.qscheme, self.reduce_range = qscheme, reduce_range
        factory = {k: v for k, v in (factory_kwargs or {}).items() if k in ("device", "dtype")}
        self.register_buffer("eps", torch.tensor([eps], **factory))
        self.has_customized_qrange = quant_min is not None and quant_max is not None
        low, high = _RANGES[dtype]
        if self.has_customized_qrange:
            assert quant_min is not None and quant_max is not None
            if quant_min > 0 or quant_max < 0:
                raise AssertionError("quantization range must contain 0")
            if quant_min >= quant_max:
                raise AssertionError("quant_min must be less than quant_max")
            low, high = quant_min, quant_max
        self.quant_min, self.quant_max = (low // 2, high // 2) if reduce_range else (low, high)

    def _ranged(self, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
        """The scale and zero point whose grid covers [low, high] and 0."""
        qmin, qmax = self.quant_min, self.quant_max
        low, high = torch.clamp(low, max=0), torch.clamp(high, min=0)
        if self.qscheme in _SYMMETRIC:
            scale = torch.maximum(torch.maximum(-low, high) / ((qmax - qmin) / 2), self.eps)
            middle = 0
            if self.dtype in (torch.quint8, torch.uint8):
                custom = (qmin + qmax) // 2 if self.has_customized_qrange else 128
                middle = custom
            return scale, torch.full_like(scale, middle, dtype=torch.int64)
        scale = (high - low) / (qmax - qmin)
        if self.qscheme is torch.per_channel_affine_float_qparams:
            scale = torch.where(scale > self.eps, scale, torch.ones_like(scale))
            return scale, -low / scale
        scale = torch.maximum(scale, self.eps)
        zero_point = qmin - torch.round(low / scale).to(torch.int32)
        return scale, torch.clamp(zero_point, qmin, qmax)

    def _calculate_qparams(self, min_val: Tensor, max_val: Tensor) -> tuple[Tensor, Tensor]:
        if min_val.numel() == 0 or max_val.numel() == 0 or not bool((min_val <= max_val).all()):
            import warnings

            warnings.warn(
                "must run observer before calling calculate_qparams. Returning default values.",
                stacklevel=3,
            )
            return torch.tensor([1.0]), torch.tensor([0])
        scale, zero_point = self._ranged(min_val, max_val)
        return (scale, zero_point) if scale.dim() else (scale.reshape(1), zero_point.reshape(1))

    def reset_min_max_vals(self) -> None:
        """Forgets what was seen. NotImplementedError where nothing is kept."""
        raise NotImplementedError("Cannot reset min/max values in the given observer.")


class MinMaxObserver(UniformQuantizationObserverBase):
    """The smallest and the largest value ever seen. NotImplementedError for schemes by channel."""

    min_val: Tensor
    max_val: Tensor

    def __init__(self, dtype: Any = torch.quint8, qscheme: Any = torch.per_tensor_affine,
                 *args: Any, **kwargs: Any):  # fmt: skip
        super().__init__(dtype, qscheme, *args, **kwargs)
        if qscheme in _BY_CHANNEL:
            raise NotImplementedError(
                "MinMaxObserver's qscheme only support torch.per_tensor_symmetric and "
                f"torch.per_tensor_affine; got {qscheme}; use PerChannelMinMaxObserver"
            )
        self.register_buffer("min_val", torch.tensor(float("inf")))
        self.register_buffer("max_val", torch.tensor(float("-inf")))

    def _merged(self, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
        return torch.minimum(low, self.min_val), torch.maximum(high, self.max_val)

    def forward(self, x_orig: Tensor) -> Tensor:
        """Looks at x, and gives it back."""
        if x_orig.numel():
            x = x_orig.detach().to(self.min_val.dtype)
            low, high = self._merged(*torch.aminmax(x))
            self.min_val.copy_(low)
            self.max_val.copy_(high)
        return x_orig

    def calculate_qparams(self) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        """The scale and the zero point, by the range that was seen."""
        return self._calculate_qparams(self.min_val, self.max_val)

    def reset_min_max_vals(self) -> None:
        """Forgets what was seen."""
        self.min_val.fill_(float("inf"))
        self.max_val.fill_(float("-inf"))

    def extra_repr(self) -> str:
        """The range that was seen."""
        return f"min_val={self.min_val}, max_val={self.max_val}"


class MovingAverageMinMaxObserver(MinMaxObserver):
    """Moving averages of the smallest and the largest value of each tensor."""

    def __init__(self, averaging_constant: float = 0.01, dtype: Any = torch.quint8,
                 qscheme: Any = torch.per_tensor_affine, *args: Any, **kwargs: Any):  # fmt: skip
        super().__init__(dtype, qscheme, *args, **kwargs)
        self.averaging_constant = averaging_constant

    def _merged(self, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
        if not bool(torch.isfinite(self.min_val)):  # nothing was seen yet
            return low, high
        rate = self.averaging_constant
        return (self.min_val + rate * (low - self.min_val),
                self.max_val + rate * (high - self.max_val))  # fmt: skip


class PerChannelMinMaxObserver(UniformQuantizationObserverBase):
    """The smallest and the largest value ever seen, for each index of the dim ``ch_axis``."""

    min_val: Tensor
    max_val: Tensor

    def __init__(self, ch_axis: int = 0, dtype: Any = torch.quint8,
                 qscheme: Any = torch.per_channel_affine, *args: Any, **kwargs: Any):  # fmt: skip
        super().__init__(dtype, qscheme, *args, **kwargs)
        if qscheme not in _BY_CHANNEL:
            raise NotImplementedError(
                f"PerChannelMinMaxObserver: needs a scheme by channel; got {qscheme}; use "
                "MinMaxObserver"
            )
        self.ch_axis = ch_axis
        self.register_buffer("min_val", torch.tensor([]))
        self.register_buffer("max_val", torch.tensor([]))

    def _merged(self, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
        if self.min_val.numel() == 0:
            return low, high
        return torch.minimum(low, self.min_val), torch.maximum(high, self.max_val)

    def forward(self, x_orig: Tensor) -> Tensor:
        """Looks at x, and gives it back."""
        if x_orig.numel():
            x = x_orig.detach().to(self.min_val.dtype).transpose(0, self.ch_axis).flatten(1)
            low, high = self._merged(*torch.aminmax(x, dim=1))
            self.min_val = self.min_val.resize_(low.shape).copy_(low)
            self.max_val = self.max_val.resize_(high.shape).copy_(high)
        return x_orig

    def calculate_qparams(self) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        """The scales and zero points of the channels."""
        return self._calculate_qparams(self.min_val, self.max_val)

    def reset_min_max_vals(self) -> None:
        """Forgets what was seen."""
        self.min_val, self.max_val = torch.rand(0), torch.rand(0)

    def extra_repr(self) -> str:
        """The ranges that were seen."""
        return f"min_val={self.min_val}, max_val={self.max_val}"

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *args: Any) -> None:
        for name in ("min_val", "max_val"):  # their size is that of what was seen
            if prefix + name in state_dict:
                self._buffers[name] = torch.empty_like(state_dict[prefix + name])
        super()._load_from_state_dict(state_dict, prefix, *args)


class MovingAveragePerChannelMinMaxObserver(PerChannelMinMaxObserver):
    """Moving averages of the smallest and the largest value of each channel."""

    def __init__(self, averaging_constant: float = 0.01, ch_axis: int = 0,
                 dtype: Any = torch.quint8, qscheme: Any = torch.per_channel_affine,
                 *args: Any, **kwargs: Any):  # fmt: skip
        super().__init__(ch_axis, dtype, qscheme, *args, **kwargs)
        self.averaging_constant = averaging_constant

    def _merged(self, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
        if self.min_val.numel() == 0:
            return low, high
        rate = self.averaging_constant
        return (self.min_val + rate * (low - self.min_val),
                self.max_val + rate * (high - self.max_val))  # fmt: skip


class HistogramObserver(UniformQuantizationObserverBase):
    """A histogram of all values; the range is the one in which rounding costs least.

    Values outside of the histogram widen it: what is there is spread over the wider bins. The range
    is narrowed from the ends as long as the squared error of rounding, by the histogram, falls.
    """

    histogram: Tensor
    min_val: Tensor
    max_val: Tensor

    def __init__(self, bins: int = 2048, dtype: Any = torch.quint8,
                 qscheme: Any = torch.per_tensor_affine, *args: Any, **kwargs: Any):  # fmt: skip
        super().__init__(dtype, qscheme, *args, **kwargs)
        if qscheme in _BY_CHANNEL:
            raise NotImplementedError(
                "HistogramObserver's qscheme only support torch.per_tensor_symmetric and "
                f"torch.per_tensor_affine; got {qscheme}"
            )
        self.bins = bins
        self.register_buffer("histogram", torch.zeros(bins))
        self.register_buffer("min_val", torch.tensor(float("inf")))
        self.register_buffer("max_val", torch.tensor(float("-inf")))

    def _seen(self) -> bool:
        return bool(self.min_val <= self.max_val)

    def forward(self, x_orig: Tensor) -> Tensor:
        """Looks at x, and gives it back."""
        x = x_orig.detach().float()
        if not x.numel() or not bool(torch.isfinite(x).all()):
            return x_orig
        low, high = (v.item() for v in torch.aminmax(x))
        if not self._seen():
            self._set(low, high, torch.histc(x, self.bins, low, high))
            return x_orig
        old_low, old_high = self.min_val.item(), self.max_val.item()
        low, high = min(low, old_low), max(high, old_high)
        before = self.histogram
        if (low, high) != (old_low, old_high):
            before = self._spread(before, old_low, old_high, low, high)
        self._set(low, high, before + torch.histc(x, self.bins, low, high))
        return x_orig

    def _set(self, low: float, high: float, histogram: Tensor) -> None:
        self.min_val.fill_(low)
        self.max_val.fill_(high)
        self.histogram.copy_(histogram)

    def _spread(self, counts: Tensor, old_low: float, old_high: float, low: float, high: float
                ) -> Tensor:  # fmt: skip
        """The counts of bins over one range as counts of bins over a wider one."""
        if old_low == old_high:
            return torch.histc(torch.tensor([old_low]), self.bins, low, high) * counts.sum()
        edges = torch.linspace(low, high, self.bins + 1, dtype=torch.float64)
        known = torch.linspace(old_low, old_high, self.bins + 1, dtype=torch.float64)
        total = torch.cat([torch.zeros(1, dtype=torch.float64), counts.double().cumsum(0)])
        at = torch.searchsorted(known, edges).clamp(1, self.bins)
        share = ((edges - known[at - 1]) / (known[at] - known[at - 1])).clamp(0, 1)
        return (total[at - 1] + share * (total[at] - total[at - 1])).diff().to(counts.dtype)

    def _error(self, first: int, last: int) -> float:
        """The squared error of rounding to 256 levels over the bins first..last.

        Values are spread evenly over a bin; each goes to the middle of its level, those outside to
        the outermost levels.
        """
        width = (self.max_val.item() - self.min_val.item()) / self.bins
        levels = 2 ** (8 * self.dtype.itemsize)
        step = width * (last - first + 1) / levels
        if step == 0:
            return 0.0
        begin = (torch.arange(self.bins, dtype=torch.float64) - first) * width
        ends = (begin, begin + width)
        level = [torch.clamp((x / step).floor(), 0, levels - 1) for x in ends]
        from_begin, to_end = (x - (n + 0.5) * step for x, n in zip(ends, level, strict=True))
        inside = (to_end**3 - from_begin**3) / 3
        between = level[1] - level[0] - 1
        across = ((step / 2) ** 3 * 2 - from_begin**3 + to_end**3) / 3 + between * step**3 / 12
        error = torch.where(level[0] == level[1], inside, across)
        return (error * (self.histogram.double() / width)).sum().item()

    def _narrowed(self) -> tuple[Tensor, Tensor]:
        """The range with the least error: the ends move in by quantiles of the values."""
        total = self.histogram.sum().item()
        share = self.histogram.double().cumsum(0) / max(total, 1)
        first, last, alpha, beta = 0, self.bins - 1, 0.0, 1.0
        best, step = float("inf"), 1e-5
        while alpha < beta:
            left = int(torch.searchsorted(share, alpha + step).clamp(first, last))
            below = torch.searchsorted(share, beta - step, right=True) - 1
            right = int(below.clamp(first, last))
            if left - first > last - right:  # the end where more bins are given up for a step
                to_first, to_last, alpha = left, last, alpha + step
            else:
                to_first, to_last, beta = first, right, beta - step
            if (to_first, to_last) == (first, last):
                continue
            error = self._error(to_first, to_last)
            if error > best:
                break
            best, first, last = error, to_first, to_last
        width = (self.max_val - self.min_val) / self.bins
        return self.min_val + width * first, self.min_val + width * (last + 1)

    def calculate_qparams(self) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        """The scale and the zero point of the range with the least error."""
        if not self._seen():
            return self._calculate_qparams(self.min_val, self.max_val)
        return self._calculate_qparams(*self._narrowed())

    def reset_histogram(self) -> None:
        """Forgets what was seen."""
        self.histogram.zero_()
        self.min_val.fill_(float("inf"))
        self.max_val.fill_(float("-inf"))

    def extra_repr(self) -> str:
        """The range that was seen."""
        return f"min_val={self.min_val}, max_val={self.max_val}"


class FixedQParamsObserver(ObserverBase):
    """A scale and a zero point that are known: looks at nothing."""

    scale: Tensor
    zero_point: Tensor

    def __init__(self, scale: float, zero_point: int, dtype: Any = torch.quint8,
                 qscheme: Any = torch.per_tensor_affine, quant_min: int = 0, quant_max: int = 255,
                 is_dynamic: bool = False, **kwargs: Any):  # fmt: skip
        super().__init__(dtype, is_dynamic)
        self.qscheme, self.quant_min, self.quant_max = qscheme, quant_min, quant_max
        self.register_buffer("scale", torch.tensor([scale], dtype=torch.float))
        self.register_buffer("zero_point", torch.tensor([zero_point], dtype=torch.int))

    def forward(self, X: Tensor) -> Tensor:
        """X."""
        return X

    def calculate_qparams(self) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        """The scale and the zero point."""
        return self.scale, self.zero_point


class PlaceholderObserver(ObserverBase):
    """Only says to which dtype: where the range is found at run time, or there is none."""

    def __init__(self, dtype: Any = torch.float32, custom_op_name: str = "",
                 compute_dtype: Any = None, quant_min: int | None = None,
                 quant_max: int | None = None, qscheme: Any = None, eps: float | None = None,
                 is_dynamic: bool = False):  # fmt: skip
        super().__init__(dtype, is_dynamic or compute_dtype is not None)
        self.qscheme = torch.per_tensor_affine if qscheme is None else qscheme
        self.quant_min, self.quant_max, self.eps = quant_min, quant_max, eps
        self.custom_op = custom_op_name

    def forward(self, x: Tensor) -> Tensor:
        """x."""
        return x

    def calculate_qparams(self) -> Any:  # type: ignore[override]
        """Exception: there is nothing to calculate from."""
        raise Exception("calculate_qparams should not be called for PlaceholderObserver")

    def extra_repr(self) -> str:
        """The dtype."""
        return f"dtype={self.dtype}, is_dynamic={self.is_dynamic}"


class NoopObserver(ObserverBase):
    """Looks at nothing: for what isn't quantized, or is converted to a 16-bit float."""

    def __init__(self, dtype: Any = torch.float16, custom_op_name: str = ""):
        super().__init__(dtype)
        self.custom_op = custom_op_name

    def forward(self, x: Tensor) -> Tensor:
        """x."""
        return x

    def calculate_qparams(self) -> Any:  # type: ignore[override]
        """Exception: there is nothing to calculate from."""
        raise Exception("calculate_qparams should not be called for NoopObserver")


class ReuseInputObserver(NoopObserver):
    """For ops whose result has the grid of their operand: ``reshape`` and its kin."""

    def __init__(self) -> None:
        super().__init__(torch.quint8)


class RecordingObserver(ObserverBase):
    """Keeps copies of all tensors, for looking at them."""

    def __init__(self, dtype: Any = torch.quint8):
        super().__init__(dtype)
        self.tensor_val: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        """Keeps a copy of x, and gives x back."""
        self.tensor_val.append(x.clone())
        return x

    def calculate_qparams(self) -> Any:  # type: ignore[override]
        """Exception: the tensors are kept, no range."""
        raise Exception("calculate_qparams should not be called for RecordingObserver")

    def get_tensor_value(self) -> list[Tensor]:
        """The copies."""
        return self.tensor_val


def get_observer_state_dict(mod: Module) -> OrderedDict:
    """What the observers of a model have seen."""
    state = mod.state_dict()
    return OrderedDict((k, v) for k, v in state.items() if "activation_post_process" in k)


def load_observer_state_dict(mod: Module, obs_dict: dict) -> None:
    """Gives the observers of a model what others saw. RuntimeError for keys that don't fit."""
    found = mod.load_state_dict({**mod.state_dict(), **obs_dict}, strict=False)
    strange = [k for k in found.unexpected_keys if "activation_post_process" in k]
    if strange:
        raise RuntimeError(f"load_observer_state_dict: no observer has {', '.join(strange)}")


default_observer: Any = MinMaxObserver.with_args(quant_min=0, quant_max=127)
default_placeholder_observer: Any = PlaceholderObserver
default_debug_observer: Any = RecordingObserver
default_weight_observer: Any = MinMaxObserver.with_args(
    dtype=torch.qint8, qscheme=torch.per_tensor_symmetric
)
weight_observer_range_neg_127_to_127: Any = MinMaxObserver.with_args(
    dtype=torch.qint8, qscheme=torch.per_tensor_symmetric, quant_min=-127, quant_max=127, eps=2**-12
)
default_histogram_observer: Any = HistogramObserver.with_args(quant_min=0, quant_max=127)
default_per_channel_weight_observer: Any = PerChannelMinMaxObserver.with_args(
    dtype=torch.qint8, qscheme=torch.per_channel_symmetric
)
per_channel_weight_observer_range_neg_127_to_127: Any = PerChannelMinMaxObserver.with_args(
    dtype=torch.qint8, qscheme=torch.per_channel_symmetric, quant_min=-127, quant_max=127,
    eps=2**-12,
)  # fmt: skip
default_dynamic_quant_observer: Any = PlaceholderObserver.with_args(
    dtype=torch.quint8, quant_min=0, quant_max=255, is_dynamic=True
)
default_float_qparams_observer: Any = PerChannelMinMaxObserver.with_args(
    dtype=torch.quint8, qscheme=torch.per_channel_affine_float_qparams, ch_axis=0
)
default_float_qparams_observer_4bit: Any = PerChannelMinMaxObserver.with_args(
    dtype=torch.quint4x2, qscheme=torch.per_channel_affine_float_qparams, ch_axis=0
)
default_fixed_qparams_range_neg1to1_observer: Any = FixedQParamsObserver.with_args(
    scale=2.0 / 256.0, zero_point=128, dtype=torch.quint8, quant_min=0, quant_max=255
)
default_fixed_qparams_range_0to1_observer: Any = FixedQParamsObserver.with_args(
    scale=1.0 / 256.0, zero_point=0, dtype=torch.quint8, quant_min=0, quant_max=255
)
default_symmetric_fixed_qparams_observer: Any = default_fixed_qparams_range_neg1to1_observer
default_affine_fixed_qparams_observer: Any = default_fixed_qparams_range_0to1_observer
default_reuse_input_observer: Any = ReuseInputObserver
