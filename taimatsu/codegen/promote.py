"""Type promotion: what dtype the operands of an op meet in. PyTorch's rules, once.

A *category* is bool < integral < floating < complex. Operands rank by what they are: a tensor
with dims decides over a zero-dim one, which decides over a Python number; a lower-ranked
operand counts only if its category is higher.
"""

from __future__ import annotations

from collections.abc import Iterable

from .ir import BF16, BOOL, C32, C64, C128, DTYPES, F16, F32, F64, FLOAT8, I64, U8, U64, DType

_CATEGORY = {"b": 0, "u": 1, "i": 1, "f": 2, "c": 3}
_RANK = {"tensor": 0, "scalar": 1, "number": 2}

ALL = frozenset(DTYPES.values()).difference(FLOAT8)
NUMERIC = ALL - {BOOL}
INTEGRAL = frozenset(t for t in ALL if t.integral)
INTEGERS = INTEGRAL - {BOOL}
FLOATING = frozenset(t for t in ALL if t.floating)
COMPLEX = frozenset((C32, C64, C128))
INEXACT = FLOATING | COMPLEX
REAL = ALL - COMPLEX
BOOLEAN = frozenset((BOOL,))
BYTES = frozenset((U8,))

_STEMS = {"b": "bool", "u": "uint", "i": "int", "f": "float", "c": "complex"}
LONG_NAMES = {
    **{t.name: _STEMS[t.kind] + str(t.bits) for t in ALL},
    **{t.name: "float8_" + t.name[2:] for t in FLOAT8},
    BOOL.name: "bool",
    BF16.name: "bfloat16",
}

_default = F32


def default_dtype() -> DType:
    """The floating type that integers become where an op needs one."""
    return _default


def set_default_dtype(name: str) -> None:
    """Whoever calls this also drops the variants cached so far."""
    global _default
    _default = DTYPES[name]


def category(t: DType) -> int:
    return _CATEGORY[t.kind]


def number_dtype(value: bool | int | float | complex) -> DType:
    """The dtype that stands for a Python number's category."""
    for kind, t in ((bool, BOOL), (int, I64), (float, F64), (complex, C128)):
        if isinstance(value, kind):
            return t
    raise TypeError(f"expected a number, got {type(value).__name__}")


def complex_of(t: DType) -> DType:
    """The complex type with parts at least as wide as `t`."""
    return t if t.kind == "c" else {F16: C32, F64: C128}.get(t, C64)


def promote_types(a: DType, b: DType) -> DType:
    """The smallest type that both convert to, PyTorch's table."""
    if a is b:
        return a
    if a in FLOAT8 or b in FLOAT8:
        raise RuntimeError(
            "Promotion for Float8 Types is not supported, attempted to promote "
            f"{LONG_NAMES[a.name]} and {LONG_NAMES[b.name]}; convert one of them with .to(dtype)"
        )
    if category(a) != category(b):
        low, high = (a, b) if category(a) < category(b) else (b, a)
        if high.kind == "c" and low.kind == "f":
            return promote_types(complex_of(low), high)
        return high
    if {a, b} == {F16, BF16}:
        return F32
    if a.kind == b.kind:
        return a if a.bits > b.bits else b
    unsigned, signed = (a, b) if a.kind == "u" else (b, a)
    if unsigned.bits < signed.bits:
        return signed
    return F32 if unsigned is U64 else DTYPES[f"i{2 * unsigned.bits}"]


def result_type(operands: Iterable[tuple[str, str]]) -> DType:
    """The common type of operands given as (dtype name, "tensor" | "scalar" | "number").

    "scalar" is a zero-dim tensor. Example: `result_type([("i32", "tensor"), ("f64", "number")])`
    is the default dtype.
    """
    best: list[DType | None] = [None, None, None]
    for name, rank in operands:
        r, t = _RANK[rank], DTYPES[name]
        seen = best[r]
        best[r] = t if seen is None else promote_types(seen, t)
    tensor, scalar, number = best
    if number is not None:  # a Python number has a category, no width
        number = {2: _default, 3: complex_of(_default)}.get(category(number), number)
    result = _over(tensor, _over(scalar, number))
    if result is None:
        raise TypeError("no operand to take a dtype from")
    return result


def _over(high: DType | None, low: DType | None) -> DType | None:
    """What a higher-ranked operand and a lower-ranked one meet in."""
    if high is None or low is None:
        return high or low
    if category(high) >= category(low):
        return high
    if high.floating:
        return complex_of(high)
    return promote_types(high, low) if low.integral else low
