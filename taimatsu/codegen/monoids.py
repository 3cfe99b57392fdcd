"""The reductions, as formulas: neutral element and merge (see `ir.Monoid`)."""

from __future__ import annotations

import math

from .ir import BOOL, I64, DType, Expr, Monoid, const
from .simplify import logical, negate, node, where

LAST = (1 << 63) - 1  # the position of no element


def lowest(t: DType) -> Expr:
    """The constant that no element is less than."""
    if t.floating:
        return const(-math.inf, t)
    return const(-(1 << t.bits - 1) if t.kind == "i" else 0, t)


def highest(t: DType) -> Expr:
    if t.floating:
        return const(math.inf, t)
    return const(1 if t is BOOL else (1 << t.bits - (t.kind == "i")) - 1, t)


def less(a: Expr, b: Expr) -> Expr:
    return node("lt", a, b, dtype=BOOL)


def same(a: Expr, b: Expr) -> Expr:
    return node("eq", a, b, dtype=BOOL)


def isnan(x: Expr) -> Expr:
    """Unordered with itself; the constant false for what has no NaN."""
    return node("ne", x, x, dtype=BOOL) if x.dtype.kind in "fc" else const(False, BOOL)


def _binary(name: str, op: str, neutral: object) -> Monoid:
    return Monoid(
        name,
        lambda types: (const(neutral, types[0]),),
        lambda a, b: (node(op, a[0], b[0]),),
    )


def _extremum(name: str, worst) -> Monoid:
    """max or min; a NaN wins: as the second operand it is the result (see `lower`)."""

    def merge(a, b):
        return (where(isnan(a[0]), a[0], node(name, a[0], b[0])),)

    return Monoid(name, lambda types: (worst(types[0]),), merge)


def _arg_extremum(name: str, worst, better, latest: bool = False) -> Monoid:
    """Fields (value, *position): the best value and where it is, outer axis first.

    The merge serves any number of position fields. A NaN is better than any number; among equals
    the first position wins (`latest`: the last).
    """

    def merge(a, b):
        value_a, value_b = a[0], b[0]
        tie = logical("or", same(value_a, value_b), logical("and", isnan(value_a), isnan(value_b)))
        before: Expr = const(False, BOOL)  # b's position, lexicographically
        for p, q in reversed(list(zip(a[1:], b[1:], strict=True))):
            first, second = (p, q) if latest else (q, p)
            rest = logical("and", same(p, q), before)
            before = logical("or", less(first, second), rest)
        beats = logical("or", better(value_b, value_a), isnan(value_b))
        take = where(tie, before, logical("and", beats, negate(isnan(value_a))))
        return tuple(where(take, y, x) for x, y in zip(a, b, strict=True))

    def init(types):
        none = const(-1 if latest else LAST, I64)
        return (worst(types[0]), *(none for _ in types[1:]))

    return Monoid(name, init, merge, fields=2)


def _welford_merge(a, b):
    """Chan's merge of (count, mean, sum of squared deviations)."""
    (count_a, mean_a, m2_a), (count_b, mean_b, m2_b) = a, b
    count = node("add", count_a, count_b)
    one = const(1, count.dtype)
    weight = node("div", count_b, where(less(count, one), one, count))
    delta = node("sub", mean_b, mean_a)
    mean = node("add", mean_a, node("mul", delta, weight))
    between = node("mul", node("mul", delta, delta), node("mul", count_a, weight))
    return count, mean, node("add", node("add", m2_a, m2_b), between)


def _logaddexp_merge(a, b):
    """log(exp(x) + exp(y)): the larger, plus the log1p of the rest; equal infinities stay."""
    (x,), (y,) = a, b
    if x.dtype.kind == "c":
        return (_logaddexp_complex(x, y),)
    high = where(logical("or", less(y, x), isnan(x)), x, y)
    low = where(logical("or", less(y, x), isnan(x)), y, x)
    gap = node("log1p", node("exp", node("sub", low, high)))
    infinite = logical("and", same(low, high), same(node("abs", high), const(math.inf, x.dtype)))
    return (where(infinite, high, node("add", high, gap)),)


def _logaddexp_complex(x: Expr, y: Expr) -> Expr:
    """The same with the larger real part taken out; an infinite one has no phase."""
    p, q = (node("re", z, dtype=z.dtype.real) for z in (x, y))
    first = logical("or", less(q, p), isnan(p))
    high, low, size = where(first, x, y), where(first, y, x), where(first, p, q)
    gap = node("log1p", node("exp", node("sub", low, high)))
    known = negate(logical("or", isnan(x), isnan(y)))
    infinite = logical("and", known, same(node("abs", size), const(math.inf, size.dtype)))
    return where(infinite, node("cast", size, dtype=x.dtype), node("add", high, gap))


SUM = _binary("sum", "add", 0)
# A running sum from the end of the row; `trace` turns it into SUM of the reversed row.
SUM_REVERSED = _binary("sum_reversed", "add", 0)
PROD = _binary("prod", "mul", 1)
ANY = _binary("any", "or", False)
ALL = _binary("all", "and", True)
MAX = _extremum("max", lowest)
MIN = _extremum("min", highest)
ARGMAX = _arg_extremum("argmax", lowest, lambda a, b: less(b, a))
ARGMIN = _arg_extremum("argmin", highest, less)
LAST_ARGMAX = _arg_extremum("last_argmax", lowest, lambda a, b: less(b, a), latest=True)
LAST_ARGMIN = _arg_extremum("last_argmin", highest, less, latest=True)
# What the value of a reduction that has positions too is by itself.
VALUE_OF = {ARGMAX: MAX, ARGMIN: MIN}
WELFORD = Monoid(
    "welford", lambda types: tuple(const(0, t) for t in types), _welford_merge, fields=3
)
LOGADDEXP = Monoid("logaddexp", lambda types: (const(-math.inf, types[0]),), _logaddexp_merge)
