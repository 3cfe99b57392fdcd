"""Orthogonal polynomials of `special`, by their recurrences: P_0 = 1, P_1, then from the last two.

The degree is an operand like the other: each element takes as many steps as it needs. Beyond some
degree Chebyshev's have a closed form that is as good and takes no steps at all.
"""

from __future__ import annotations

from collections.abc import Callable

from taimatsu.codegen import lang
from taimatsu.codegen.ir import F32, F64
from taimatsu.codegen.iteration import iterate
from taimatsu.codegen.lang import Value, acos, cast, cos, sin, trunc, where

from .table import Op, pointwise

MAX_DEGREE = 1 << 24  # what doesn't end sooner takes a second there
CLOSED = 64  # from this degree on, sines and cosines for |x| < 1

# P_k+1 from k, P_k, P_k-1 and x
Step = Callable[[Value, Value, Value, Value], Value]


def recurrence(x: Value, n: Value, first: Value, step: Step, most: int = MAX_DEGREE) -> Value:
    """P_n(x), given P_1; 0 of a negative degree, NaN of one above `most`."""
    one = cast(1.0, F64)

    def going(k, q, p, x, n):
        return (k < n) & (q == q)

    def following(k, q, p, x, n):
        return k + 1, step(k, q, p, x), q

    _, q, _ = iterate(most, going, following, (one, first, one), x, where(n <= most, n, 0))
    return where(n < 0, 0, where(n == 0, 1, where(n <= most, q, lang.nan)))


def polynomial(name: str, doc: str, formula: Callable[[Value, Value], Value]) -> Op:
    """The entry of a formula in f64, of an argument and a whole degree."""

    def computed(x, n):
        return cast(formula(cast(x, F64), trunc(cast(n, F64))), x.dtype)

    doc = (
        f"{doc} at x, of the degree n; what n has behind the point doesn't count.\n\n"
        "0 where n is negative, NaN where a step overflows. Integers become floating. The\n"
        "derivative by x is the polynomial's; by n there is none (it is 0).\n\n"
        f">>> taimatsu.special.{name}(taimatsu.tensor([0.5, 2.0]), 3).shape\n"
        "torch.Size([2])"
    )
    return pointwise(
        f"{name}(Tensor|Number x, Tensor|Number n) -> Tensor", module="special", promote="float",
        dtypes=frozenset((F32, F64)), inplace=False, out=True, doc=doc,
    )(computed)  # fmt: skip


def chebyshev(first: Callable[[Value], Value], closed: Callable[[Value, Value], Value]) -> Callable:
    """One of the four kinds: all have T_k+1 = 2 x T_k - T_k-1, and are ratios of sines or cosines.

    `closed` takes n and the angle whose cosine x is.
    """

    def formula(x: Value, n: Value) -> Value:
        apart = (n > CLOSED) & (abs(x) < 1)
        steps = recurrence(x, where(apart, 0, n), first(x), lambda k, q, p, x: 2 * x * q - p)
        return where(apart, closed(n, acos(where(apart, x, 0))), steps)

    return formula


_KINDS = {
    "t": ("first", chebyshev(lambda x: x, lambda n, t: cos(n * t))),
    "u": ("second", chebyshev(lambda x: 2 * x, lambda n, t: sin((n + 1) * t) / sin(t))),
    "v": ("third", chebyshev(lambda x: 2 * x - 1, lambda n, t: cos((n + 0.5) * t) / cos(t / 2))),
    "w": ("fourth", chebyshev(lambda x: 2 * x + 1, lambda n, t: sin((n + 0.5) * t) / sin(t / 2))),
}  # fmt: skip


def _shifted(formula: Callable[[Value, Value], Value]) -> Callable[[Value, Value], Value]:
    return lambda x, n: formula(2 * x - 1, n)


for _letter, (_which, _formula) in _KINDS.items():
    polynomial(
        f"chebyshev_polynomial_{_letter}",
        f"Chebyshev's polynomial of the {_which} kind",
        _formula,
    )
    polynomial(
        f"shifted_chebyshev_polynomial_{_letter}",
        f"Chebyshev's polynomial of the {_which} kind of 2 x - 1, for the interval from 0 to 1,",
        _shifted(_formula),
    )

# Of a higher degree they are past the range of f64.
_HERMITE_MAX = 512

polynomial(
    "hermite_polynomial_h",
    "Hermite's polynomial as physicists have it, orthogonal with the weight exp(-x²),",
    lambda x, n: recurrence(x, n, 2 * x, lambda k, q, p, x: 2 * (x * q - k * p), _HERMITE_MAX),
)
polynomial(
    "hermite_polynomial_he",
    "Hermite's polynomial as statisticians have it, orthogonal with the weight exp(-x²/2),",
    lambda x, n: recurrence(x, n, x, lambda k, q, p, x: x * q - k * p, _HERMITE_MAX),
)
polynomial(
    "laguerre_polynomial_l",
    "Laguerre's polynomial, orthogonal with the weight exp(-x),",
    lambda x, n: recurrence(
        x, n, 1 - x, lambda k, q, p, x: ((2 * k + 1 - x) * q - k * p) / (k + 1)
    ),
)
polynomial(
    "legendre_polynomial_p",
    "Legendre's polynomial",
    lambda x, n: recurrence(x, n, x, lambda k, q, p, x: ((2 * k + 1) * x * q - k * p) / (k + 1)),
)
