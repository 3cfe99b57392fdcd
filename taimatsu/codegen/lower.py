"""Rewrites elementary functions and complex arithmetic into what machines do.

Primitive, rendered by every back end:

    const param axis size load pick reduce scan loop hole item stop check where cast bitcast table
    neg add sub mul fma min max abs copysign     min(a, b) is a < b ? a : b; so is max
    div sqrt floor ceil trunc rint               of floats
    idiv                                         of integers, truncating
    lt le eq ne and or xor not shl shr popcount clz
    complex re im; add sub neg eq ne of complex numbers
    frem                                         C's fmod, slow

`table` loads from a constant array (`arg`, f64) at a computed index. A `where` whose `arg` is
"rarely" may be rendered with a branch around its first value, or like any other.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from . import complexes, elementary, lang, narrow, special, trigonometric
from .ir import BF16, F16, F32, FLOAT8, U16, Expr, rebuild, topological
from .lang import Value
from .simplify import node

_EXPONENTIAL = """exp exp2 expm1 log log2 log10 log1p rsqrt pow sinh cosh tanh asinh acosh atanh
                  hypot fmod nextafter"""
_REAL: dict[str, Callable[..., Value]] = {
    name: getattr(module, name)
    for module, names in (
        (elementary, _EXPONENTIAL),
        (trigonometric, "sin cos tan asin acos atan atan2"),
        (special, "erf erfc erfinv lgamma digamma trigamma zeta"),
    )
    for name in names.split()
}
_COMPLEX = complexes.FORMULAS


def lower(root: Expr) -> Expr:
    """`root` with every op that isn't primitive replaced by primitive ones."""
    memo: dict[Expr, Expr] = {}
    for e in topological([root]):
        new = rebuild(e, tuple(memo[s] for s in e.src))
        if e.op == "loop":
            new = Expr("loop", new.src, new.arg.map(lower), new.dtype)
        memo[e] = _lowered(new)
    return memo[root]


def _lowered(e: Expr) -> Expr:
    if e.op == "irem":
        a, b = e.src
        return node("sub", a, node("mul", node("idiv", a, b), b))
    if e.op == "cast" and (e.dtype in FLOAT8 or e.src[0].dtype in FLOAT8):
        return lower(narrow.converted(Value(e.src[0]), e.dtype).expr)
    if e.op == "cast" and (bits := _on_bits(e)) is not None:
        return bits
    kind = e.src[0].dtype.kind if e.src else None
    if kind == "f":
        formula: Any = _REAL.get(e.op)
    elif kind == "c":
        formula = _COMPLEX.get(e.op)
    else:
        formula = elementary.integer_power if e.op == "pow" else None
    if formula is None:
        return e
    args = [Value(s) for s in e.src]
    if kind == "f" and e.dtype.bits == 16:
        return formula(*(x.to(F32) for x in args)).to(e.dtype).expr
    return formula(*args).expr


def _on_bits(e: Expr) -> Expr | None:
    """A 16-bit float with another sign, computed without a wider one and a rounding."""
    (x,) = e.src
    if x.op not in ("neg", "abs", "copysign") or e.dtype not in (BF16, F16):
        return None
    if any(s.op != "cast" or s.src[0].dtype is not e.dtype for s in x.src):
        return None
    first, *other = (lang.bitcast(Value(s.src[0]), U16) for s in x.src)
    sign, rest = 0x8000, 0x7FFF
    if x.op == "neg":
        first = first ^ sign
    else:
        first = first & rest
    for y in other:
        first = first | (y & sign)
    return lang.bitcast(first, e.dtype).expr
