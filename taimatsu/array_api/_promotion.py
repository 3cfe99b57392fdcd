"""The standard's promotion of dtypes."""

from __future__ import annotations

from functools import reduce
from typing import Any

import taimatsu as torch
from taimatsu import Tensor

__all__ = ["KINDS", "as_one_dtype", "can_cast", "finfo", "iinfo", "isdtype", "result_type"]

KINDS: dict[str, tuple] = {
    "bool": (torch.bool,),
    "signed integer": (torch.int8, torch.int16, torch.int32, torch.int64),
    "unsigned integer": (torch.uint8, torch.uint16, torch.uint32, torch.uint64),
    "real floating": (torch.float32, torch.float64),
    "complex floating": (torch.complex64, torch.complex128),
}
KINDS["integral"] = KINDS["signed integer"] + KINDS["unsigned integer"]
KINDS["numeric"] = KINDS["integral"] + KINDS["real floating"] + KINDS["complex floating"]

_SIGNED, _UNSIGNED = KINDS["signed integer"], KINDS["unsigned integer"]
_NUMBERS = (bool, int, float, complex)


def isdtype(dtype: Any, kind: Any) -> bool:
    """Whether a dtype is of a kind: a dtype, "bool", "integral" and the like, or a tuple of these.

    ValueError for a name that is not a kind's.
    """
    if isinstance(kind, tuple):
        return any(isdtype(dtype, k) for k in kind)
    if not isinstance(kind, str):
        return dtype == kind
    if kind not in KINDS:
        raise ValueError(f"isdtype: {kind!r} is not among {list(KINDS)}")
    if kind == "real floating":  # the short ones are of this kind too
        return dtype.is_floating_point
    return dtype in KINDS[kind]


def _promoted(a: Any, b: Any) -> Any:
    if a == b or not (a in KINDS["integral"] and b in KINDS["integral"]):
        return torch.promote_types(a, b)
    if (a in _SIGNED) == (b in _SIGNED):
        return max(a, b, key=lambda d: d.itemsize)
    signed, unsigned = (a, b) if a in _SIGNED else (b, a)
    for dtype in _SIGNED:
        if dtype.itemsize >= signed.itemsize and dtype.itemsize > unsigned.itemsize:
            return dtype
    raise TypeError(f"result_type: {a} and {b} have no common dtype; convert one of them")


def _with_number(dtype: Any, number: Any) -> Any:
    """A Python number takes a tensor's dtype, if its kind is not above."""
    if isinstance(number, complex) and not dtype.is_complex:
        return torch.promote_types(dtype, torch.complex64)
    if isinstance(number, float) and not (dtype.is_floating_point or dtype.is_complex):
        return torch.get_default_dtype()
    if isinstance(number, int) and not isinstance(number, bool) and dtype == torch.bool:
        return torch.int64
    return dtype


def result_type(*arrays_and_dtypes: Any) -> Any:
    """The dtype of a result of tensors, dtypes and Python numbers together.

    TypeError for uint64 with a signed integer, and where there are only numbers; ValueError for
    nothing.
    """
    numbers = [x for x in arrays_and_dtypes if isinstance(x, _NUMBERS)]
    others = [x for x in arrays_and_dtypes if not isinstance(x, _NUMBERS)]
    dtypes = [x.dtype if isinstance(x, Tensor) else x for x in others]
    if not arrays_and_dtypes:
        raise ValueError("result_type: expected at least one array or dtype")
    if not dtypes:
        raise TypeError("result_type: expected an array or a dtype among the arguments")
    return reduce(_with_number, numbers, reduce(_promoted, dtypes))


def can_cast(from_: Any, to: Any, /) -> bool:
    """Whether promotion leads from a dtype, or a tensor's, to the dtype `to`."""
    try:
        return result_type(from_, to) == to
    except TypeError:
        return False


def finfo(type: Any, /) -> Any:
    """The limits of a floating dtype, or of a tensor's."""
    return torch.finfo(type.dtype if isinstance(type, Tensor) else type)


def iinfo(type: Any, /) -> Any:
    """The limits of an integer dtype, or of a tensor's."""
    return torch.iinfo(type.dtype if isinstance(type, Tensor) else type)


def as_one_dtype(*values: Any) -> list[Tensor]:
    """Tensors and numbers as tensors of their common dtype."""
    dtype = result_type(*values)
    device = next(x.device for x in values if isinstance(x, Tensor))
    return [
        x.to(dtype) if isinstance(x, Tensor) else torch.tensor(x, dtype=dtype, device=device)
        for x in values
    ]
