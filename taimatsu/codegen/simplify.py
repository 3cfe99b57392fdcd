"""Building expressions, with the simplifications that never change a value.

`node` is the constructor that formulas, derivatives and rewrites share. A rule may only drop
work whose result is known exactly: `x * 1` goes, `x + 0` stays for floats (-0.0 + 0 is +0.0), and
`x * 0` stays (nan and inf). Integers have no such cases.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any

from .ir import BOOL, F64, FLOAT8, DType, Expr, const

Rule = Callable[[tuple[Expr, ...], DType], "Expr | None"]


def node(op: str, *src: Expr, arg: object = None, dtype: DType | None = None) -> Expr:
    """`op(*src)` of `dtype` (default: the first operand's), simplified."""
    dtype = dtype or src[0].dtype
    rule = _RULES.get(op)
    found = rule(src, dtype) if rule else None
    return Expr(op, src, arg, dtype) if found is None else found


def is_const(e: Expr, value: Any = None) -> bool:
    """Whether `e` is a constant, and this one if given (0.0 is not -0.0; nan is no value)."""
    if e.op != "const":
        return False
    if value is None:
        return True
    same_sign = e.dtype.kind != "f" or math.copysign(1, e.arg) == math.copysign(1, value)
    return e.arg == value and same_sign


def cast(e: Expr, dtype: DType) -> Expr:
    """`e` converted to `dtype`; complex to bool or real takes the real part, as PyTorch does."""
    return node("cast", e, dtype=dtype)


def where(cond: Expr, a: Expr, b: Expr) -> Expr:
    return node("where", cond, a, b, dtype=a.dtype)


def logical(op: str, a: Expr, b: Expr) -> Expr:
    """`and`, `or` or `xor` of two bools."""
    return node(op, a, b, dtype=BOOL)


def negate(cond: Expr) -> Expr:
    return node("not", cond, dtype=BOOL)


def _fits(value: int, dtype: DType) -> bool:
    if dtype.kind == "u":
        return 0 <= value < 1 << dtype.bits
    return -(1 << dtype.bits - 1) <= value < 1 << dtype.bits - 1


def _fold(function: Callable, src: tuple[Expr, ...], dtype: DType) -> Expr | None:
    """The constant, if all operands are constants and the machine's result is this one."""
    if dtype.kind in "bc" or not all(s.op == "const" for s in src):
        return None
    try:
        value = function(*(s.arg for s in src))
    except (ArithmeticError, ValueError):
        return None
    return None if dtype.integral and not _fits(value, dtype) else const(value, dtype)


def _add(src, dtype):
    a, b = src
    if dtype.integral:
        if is_const(a, 0):
            return b
        if is_const(b, 0):
            return a
        if b.op == "const" and a.op == "add" and a.src[1].op == "const":
            return node("add", a.src[0], node("add", a.src[1], b))
        if a.op == "const" and b.op != "const":  # constants go right: fewer forms
            return node("add", b, a)
    return _fold(operator.add, src, dtype)


def _sub(src, dtype):
    a, b = src
    if is_const(b, 0):  # exact for floats too: -0.0 - 0.0 is -0.0
        return a
    if dtype.integral:
        if a is b:
            return const(0, dtype)
        if b.op == "const" and _fits(-b.arg, dtype):
            return node("add", a, const(-b.arg, dtype))
    return _fold(operator.sub, src, dtype)


def _mul(src, dtype):
    a, b = src
    for x, y in ((a, b), (b, a)):
        if is_const(x, 1):
            return y
        if dtype.integral and is_const(x, 0):
            return x
        if dtype.kind == "f" and is_const(x, -1):
            return node("neg", y)
    return _fold(operator.mul, src, dtype)


def _div(src, dtype):
    return src[0] if is_const(src[1], 1) else _fold(operator.truediv, src, dtype)


def _neg(src, dtype):
    return src[0].src[0] if src[0].op == "neg" else _fold(operator.neg, src, dtype)


def _where(src, _):
    cond, a, b = src
    if cond.op == "const":
        return a if cond.arg else b
    if a is b:
        return a
    return where(cond.src[0], b, a) if cond.op == "not" else None


def _and(src, dtype):
    return _lattice(src, dtype, neutral=True)


def _or(src, dtype):
    return _lattice(src, dtype, neutral=False)


def _lattice(src, dtype, neutral: bool):
    a, b = src
    if a is b:
        return a
    if dtype is BOOL:
        for x, y in ((a, b), (b, a)):
            if x.op == "const":
                return y if x.arg is neutral else x
    return None


def _not(src, dtype):
    (x,) = src
    if x.op == "not":
        return x.src[0]
    return const(not x.arg, BOOL) if x.op == "const" and dtype is BOOL else None


def _compare(function: Callable, of_same: bool) -> Rule:
    def rule(src, _):
        a, b = src
        if a is b and a.dtype.integral:
            return const(of_same, BOOL)
        if a.op == b.op == "const" and a.dtype.kind != "c":
            return const(function(a.arg, b.arg), BOOL)
        return None

    return rule


def _ne(src, dtype):
    a, b = src
    if is_const(b, 0) and a.op == "cast" and a.dtype.integral:
        (x,) = a.src
        if x.dtype is BOOL:
            return x
        if x.dtype.integral and _exact(x.dtype, a.dtype):
            return node("ne", x, const(0, x.dtype), dtype=BOOL)
    return _compare(operator.ne, False)(src, dtype)


def _exact(a: DType, b: DType) -> bool:
    """Whether every value of `a` is one of `b`."""
    if a.kind == b.kind:
        return a.bits < b.bits and (a.name, b.name) != ("f16", "bf16")
    if b in FLOAT8:
        return False
    digits = {"f16": 11, "bf16": 8, "f32": 24, "f64": 53}
    return (
        a.kind == "b"
        or (a.kind == "u" and b.kind == "i" and a.bits < b.bits)
        or (a.integral and b.floating and a.bits <= digits[b.name])
        or (a.floating and b.kind == "c" and a.bits <= b.real.bits)
    )


def _cast(src, dtype):
    (x,) = src
    if x.dtype is dtype:
        return x
    if x.op == "cast" and _exact(x.src[0].dtype, x.dtype):
        return cast(x.src[0], dtype)
    if x.op != "const" or x.dtype.kind == "c" or dtype in FLOAT8:
        return None
    if dtype.kind in "fc":  # a constant narrower than a double isn't rounded yet
        rounded = x.dtype.integral or x.dtype is F64 or dtype.bits <= x.dtype.bits
        return const(x.arg, dtype) if rounded or _in_all_types(x.arg) else None
    if dtype is BOOL:
        return const(x.arg != 0, dtype)
    if x.dtype.integral or math.isfinite(x.arg):
        return const(int(x.arg), dtype) if _fits(int(x.arg), dtype) else None
    return None


def _in_all_types(value: float) -> bool:
    """Whether a number has so few digits that no type of more than 8 bits rounds it."""
    return abs(value) <= 16 and (8 * value).is_integer()


def _stop(src, _):
    return src[0] if src[0].op in ("const", "stop", "param") else None


_RULES: dict[str, Rule] = {
    "add": _add,
    "sub": _sub,
    "mul": _mul,
    "div": _div,
    "neg": _neg,
    "where": _where,
    "and": _and,
    "or": _or,
    "not": _not,
    "cast": _cast,
    "stop": _stop,
    "eq": _compare(operator.eq, True),
    "ne": _ne,
    "lt": _compare(operator.lt, False),
    "le": _compare(operator.le, True),
}
