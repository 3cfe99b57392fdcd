"""Functions of elements."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import taimatsu as torch
from taimatsu import Tensor

from ._promotion import as_one_dtype

# By the standard's name: this library's, where that is another.
_UNARY = {
    "abs": "", "acos": "", "acosh": "", "asin": "", "asinh": "", "atan": "", "atanh": "",
    "bitwise_invert": "bitwise_not", "ceil": "", "conj": "", "cos": "", "cosh": "", "exp": "",
    "expm1": "", "floor": "", "imag": "", "isfinite": "", "isinf": "", "isnan": "", "log": "",
    "log10": "", "log1p": "", "log2": "", "logical_not": "", "negative": "", "positive": "",
    "real": "", "reciprocal": "", "round": "", "sign": "sgn", "signbit": "", "sin": "", "sinh": "",
    "sqrt": "", "square": "", "tan": "", "tanh": "", "trunc": "",
}  # fmt: skip
_BINARY = {
    "add": "", "atan2": "", "bitwise_and": "", "bitwise_left_shift": "", "bitwise_or": "",
    "bitwise_right_shift": "", "bitwise_xor": "", "copysign": "", "divide": "", "equal": "eq",
    "floor_divide": "", "greater": "", "greater_equal": "", "hypot": "", "less": "",
    "less_equal": "", "logaddexp": "", "logical_and": "", "logical_or": "", "logical_xor": "",
    "maximum": "", "minimum": "", "multiply": "", "nextafter": "", "not_equal": "", "pow": "",
    "remainder": "", "subtract": "",
}  # fmt: skip


def _binary(name: str, op: Callable) -> Callable:
    def function(x1: Any, x2: Any, /) -> Tensor:
        return op(*as_one_dtype(x1, x2))

    function.__name__ = function.__qualname__ = name
    function.__doc__ = op.__doc__
    return function


for _name, _own in _UNARY.items():
    globals()[_name] = getattr(torch, _own or _name)
for _name, _own in _BINARY.items():
    globals()[_name] = _binary(_name, getattr(torch, _own or _name))


def clip(x: Tensor, /, min: Any = None, max: Any = None) -> Tensor:
    """Each element, but at least `min` and at most `max`: numbers or tensors that broadcast."""
    low, high = (torch.as_tensor(b, device=x.device).to(x.dtype) if b is not None else None
                 for b in (min, max))  # fmt: skip
    return x.clone() if low is high is None else torch.clip(x, low, high)


def where(condition: Tensor, x1: Any, x2: Any, /) -> Tensor:
    """Elements of `x1` where the condition holds, of `x2` elsewhere."""
    return torch.where(condition, *as_one_dtype(x1, x2))


__all__ = [*_UNARY, *_BINARY, "clip", "where"]
