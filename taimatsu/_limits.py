"""The ranges and precisions of dtypes: `finfo` and `iinfo`."""

from __future__ import annotations

from typing import Any

from . import _core

__all__ = ["finfo", "iinfo"]

# Bits of the significand, the leading one included; exponent range of normal numbers.
_FORMATS = {
    "float16": (11, -14, 15),
    "bfloat16": (8, -126, 127),
    "float32": (24, -126, 127),
    "float64": (53, -1022, 1023),
    "float8_e4m3fn": (4, -6, 8),
    "float8_e5m2": (3, -14, 15),
    "float8_e4m3fnuz": (4, -7, 7),
    "float8_e5m2fnuz": (3, -15, 15),
    "float8_e8m0fnu": (1, -127, 127),
}
_NAN_ON_TOP = ("float8_e4m3fn",)  # whose largest pattern is no number
_POSITIVE = ("float8_e8m0fnu",)  # without a sign
_EPS = {"float8_e5m2fnuz": 0.125}  # what PyTorch says, though after 1 comes 1.25


class _Limits:
    """Equal where the dtypes are; printed as `name(field=value, ...)`."""

    __slots__ = ()
    dtype: str  # the name, as in PyTorch
    bits: int
    _shown: tuple[str, ...] = ()

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and other.dtype == self.dtype

    def __hash__(self) -> int:
        return hash((type(self), self.dtype))

    def __repr__(self) -> str:
        shown = (f"{n}={_short(getattr(self, n))}" for n in self._shown)
        return f"{type(self).__name__}({', '.join(shown)}, dtype={self.dtype})"


def _short(value: float) -> str:
    return f"{value:.6g}" if isinstance(value, float) or abs(value) >= 1e6 else str(value)


def _dtype(dtype: Any) -> _core.dtype:
    python = {float: _core.float64, int: _core.int64, bool: _core.bool, complex: _core.complex128}
    dtype = python.get(dtype, dtype)
    if not isinstance(dtype, _core.dtype):
        raise TypeError(f"finfo and iinfo take a torch.dtype; got {type(dtype).__name__}")
    return dtype


class finfo(_Limits):
    """Limits of a floating dtype, of a complex one those of its parts; the default dtype's if none.

    Attributes: ``bits``, ``eps`` (1 + eps is the next number after 1), ``max``, ``min`` (= -max),
    ``tiny`` or ``smallest_normal``, ``resolution`` (10 to minus the number of exact decimal
    digits), ``dtype`` (the name). TypeError for other dtypes.

    >>> torch.finfo(torch.float32).eps
    1.1920928955078125e-07
    """

    __slots__ = ("bits", "dtype", "eps", "max", "min", "resolution", "smallest_normal", "tiny")
    _shown = ("resolution", "min", "max", "eps", "smallest_normal", "tiny")

    def __init__(self, type: Any = None):
        dtype = _core.get_default_dtype() if type is None else _dtype(type)
        if not (dtype.is_floating_point or dtype.is_complex):
            raise TypeError(f"finfo: needs a floating dtype; got {dtype}; use torch.iinfo")
        self.dtype = str(dtype.to_real()).removeprefix("torch.")
        if self.dtype not in _FORMATS:
            raise TypeError(f"finfo: the limits of torch.{self.dtype} are not known")
        precision, lowest, highest = _FORMATS[self.dtype]
        self.bits = 8 * dtype.to_real().itemsize
        step = 2.0 ** (1 - precision)
        self.eps = _EPS.get(self.dtype, step)
        top = 2.0 - step * (1 + (self.dtype in _NAN_ON_TOP))
        self.max = top * 2.0**highest
        self.tiny = self.smallest_normal = 2.0**lowest
        self.min = self.tiny if self.dtype in _POSITIVE else -self.max
        digits = int((precision - 1) * 0.30102999566398)  # of decimals that survive a round trip
        self.resolution = 10.0**-digits


class iinfo(_Limits):
    """Limits of an integer dtype: ``bits``, ``max``, ``min``, ``dtype``. TypeError for others.

    >>> torch.iinfo(torch.int8).max
    127
    """

    __slots__ = ("bits", "dtype", "max", "min")
    _shown = ("min", "max")

    def __init__(self, type: Any):
        dtype = _dtype(type)
        if dtype.is_floating_point or dtype.is_complex or dtype is _core.bool:
            raise TypeError(f"iinfo: needs an integer dtype; got {dtype}; use torch.finfo")
        self.dtype = str(dtype).removeprefix("torch.")
        self.bits = 8 * dtype.itemsize
        signed = int(dtype.is_signed)
        self.max = 2 ** (self.bits - signed) - 1
        self.min = -(2 ** (self.bits - 1)) * signed
