"""Words for how tensors are quantized: for which elements, by which mapping, to which integers."""

from __future__ import annotations

import enum
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import taimatsu as torch
from taimatsu import Tensor

from .observer import _RANGES, ObserverBase

__all__ = [
    "AffineQuantizedObserverBase", "Granularity", "MappingType", "PerAxis", "PerBlock", "PerGroup",
    "PerRow", "PerTensor", "PerToken", "TorchAODType", "ZeroPointDomain", "get_block_size",
]  # fmt: skip


class MappingType(enum.Enum):
    """How numbers become integers: about zero, or with a zero point."""

    SYMMETRIC = enum.auto()
    SYMMETRIC_NO_CLIPPING_ERR = enum.auto()
    ASYMMETRIC = enum.auto()


class ZeroPointDomain(enum.Enum):
    """What zero points are: integers of the grid, or numbers."""

    NONE = enum.auto()
    INT = enum.auto()
    FLOAT = enum.auto()


class TorchAODType(enum.Enum):
    """Integers of fewer than eight bits."""

    INT1 = enum.auto()
    INT2 = enum.auto()
    INT3 = enum.auto()
    INT4 = enum.auto()
    INT5 = enum.auto()
    INT6 = enum.auto()
    INT7 = enum.auto()


@dataclass(frozen=True)
class Granularity:
    """Which elements share a scale."""


@dataclass(frozen=True)
class PerTensor(Granularity):
    """All of a tensor."""


@dataclass(frozen=True)
class PerAxis(Granularity):
    """Those of one index of a dim."""

    axis: int


@dataclass(frozen=True)
class PerBlock(Granularity):
    """Those of a block of these sizes."""

    block_size: tuple[int, ...]


@dataclass(frozen=True)
class PerGroup(Granularity):
    """That many in a row."""

    group_size: int


class PerRow(Granularity):
    """Those of a row, along the last dim."""


class PerToken(Granularity):
    """Those of a token: a row along the last dim of activations."""


def get_block_size(input_shape: Sequence[int], granularity: Granularity) -> tuple[int, ...]:
    """The sizes of the block of elements that share a scale.

    >>> get_block_size((4, 6), PerAxis(0))
    (1, 6)
    """
    shape = tuple(input_shape)
    if isinstance(granularity, PerTensor):
        return shape
    if isinstance(granularity, PerAxis):
        sizes = list(shape)
        sizes[granularity.axis] = 1
        return tuple(sizes)
    if isinstance(granularity, PerBlock):
        return granularity.block_size
    if isinstance(granularity, (PerRow, PerToken)):
        return (1,) * (len(shape) - 1) + (shape[-1],)
    if isinstance(granularity, PerGroup):
        if len(shape) != 2:
            raise AssertionError(f"Expecting input shape dim to be 2 for per group; got {shape}")
        return (1, granularity.group_size)
    raise ValueError(f"Unsupported Granularity: {granularity}")


class AffineQuantizedObserverBase(ObserverBase):
    """Observers whose elements share scales by blocks; ``forward`` and ``calculate_qparams`` are
    a subclass'."""

    def __init__(
        self, mapping_type: MappingType, target_dtype: Any, granularity: Granularity,
        quant_min: int | None = None, quant_max: int | None = None, eps: float | None = None,
        scale_dtype: Any = None, zero_point_dtype: Any = None, preserve_zero: bool = True,
        zero_point_domain: ZeroPointDomain | None = ZeroPointDomain.INT, **kwargs: Any,
    ):  # fmt: skip
        super().__init__(target_dtype)
        if granularity is None:
            raise AssertionError("granularity is None")
        if zero_point_domain is None:
            raise ValueError("Please use ZeroPointDomain.NONE instead of None")
        low, high = _RANGES.get(target_dtype, (None, None))
        self.mapping_type, self.target_dtype, self.granularity = (
            mapping_type, target_dtype, granularity,
        )  # fmt: skip
        self.quant_min = low if quant_min is None else quant_min
        self.quant_max = high if quant_max is None else quant_max
        self.eps = torch.finfo(torch.float32).eps if eps is None else eps
        self.scale_dtype, self.zero_point_dtype = scale_dtype, zero_point_dtype
        self.preserve_zero, self.zero_point_domain = preserve_zero, zero_point_domain
        self.block_size: tuple[int, ...] | None = None

    @abstractmethod
    def forward(self, input: Tensor) -> Tensor:
        """Looks at a tensor, and gives it back."""

    @abstractmethod
    def calculate_qparams(self) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        """Scales and zero points."""
