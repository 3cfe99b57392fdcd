"""Signatures of earlier times, with the factors in front: ``x.add_(2, y)`` is x += 2 * y.

PyTorch takes them still, and warns once. They are tried after all others, and no error tells of
them. As functions they have the factor of ``self`` in front of it.
"""

from __future__ import annotations

import warnings
from typing import Any

from .table import Op

FUNCTIONS: dict[str, list[Op]] = {}
METHODS: dict[str, list[Op]] = {}  # in place too

_warned = False


def _warn(name: str) -> None:
    global _warned
    if not _warned:
        _warned = True
        warnings.warn(
            f"This overload of {name} is deprecated; give its factors by keyword",
            UserWarning,
            stacklevel=4,
        )


def _overload(name: str, params: str) -> Op:
    """``name`` with parameters in this order; numbers are given to it by keyword."""
    given = [param.split() for param in params.split(", ")]

    def call(*args: Any) -> Any:
        import taimatsu

        _warn(name)
        values = list(zip(given, args, strict=True))
        factors = {param: value for (kind, param), value in values if kind == "Number"}
        tensors = [value for (kind, _), value in values if kind == "Tensor"]
        return getattr(taimatsu, name)(*tensors, **factors)

    schema = f"{name}.deprecated{len(given)}({params}) -> Tensor"
    return Op(schema, "composite", call, inplace=True, out=True)


for _name, _factor, _operands in (
    ("add", "alpha", "Tensor other"),
    ("sub", "alpha", "Tensor other"),
    ("addcmul", "value", "Tensor tensor1, Tensor tensor2"),
    ("addcdiv", "value", "Tensor tensor1, Tensor tensor2"),
):
    _ops = [_overload(_name, f"Tensor self, Number {_factor}, {_operands}")]
    FUNCTIONS[_name] = METHODS[_name] = _ops
for _name, _operands in (
    ("addmm", "Tensor mat1, Tensor mat2"),
    ("addmv", "Tensor mat, Tensor vec"),
    ("addr", "Tensor vec1, Tensor vec2"),
    ("addbmm", "Tensor batch1, Tensor batch2"),
    ("baddbmm", "Tensor batch1, Tensor batch2"),
):
    _alphas = (f"Number alpha, {_operands}", _operands)
    FUNCTIONS[_name] = [_overload(_name, f"Number beta, Tensor self, {rest}") for rest in _alphas]
    METHODS[_name] = [_overload(_name, f"Tensor self, Number beta, {rest}") for rest in _alphas]
