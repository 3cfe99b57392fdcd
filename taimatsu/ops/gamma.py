"""The gamma function's kin beyond `lgamma` and `digamma`: derivatives, several dims, incomplete."""

from __future__ import annotations

import math

from taimatsu.codegen import lang
from taimatsu.codegen.floats import horner
from taimatsu.codegen.ir import F64
from taimatsu.codegen.iteration import iterate
from taimatsu.codegen.lang import Value, cast, exp, log, sqrt, where
from taimatsu.codegen.lang import abs as magnitude
from taimatsu.codegen.promote import FLOATING

from . import special_tables as tables
from .special import chebyshev
from .table import pointwise

# ---- zeta and polygamma ------------------------------------------------------------------------


@pointwise("zeta(Tensor|Number self, Tensor|Number other) -> Tensor", module="special",
           promote="float", dtypes=FLOATING, inplace=False, out=True)
def zeta(s, q):
    """Hurwitz' zeta function: the sum of (k + other) ** -self over k = 0, 1 ...

    Infinite where `self` is 1 and where `other` is 0 or a negative whole number; NaN where `self`
    is less than 1, and where `other` is negative and `self` isn't whole. The derivative by `self`
    isn't implemented.

    >>> taimatsu.special.zeta(taimatsu.tensor([2.0, 4.0]), 1)
    tensor([1.6449, 1.0823])
    """
    return lang.zeta(s, q)


def _by_exponent(g):
    raise NotImplementedError("zeta: the derivative by 'self' isn't implemented; detach it")


zeta.gradient(
    self=_by_exponent, other=lambda g, self, other: -g * self * zeta(self + 1, other)
)


@pointwise("polygamma(int n, Tensor self) -> Tensor", static=("n",), promote="float",
           dtypes=FLOATING, method=False)
def polygamma(x, n):
    """The n-th derivative of `digamma`, for n = 0, 1 ...

    >>> taimatsu.polygamma(1, taimatsu.tensor([1.0, 0.5]))
    tensor([1.6449, 4.9348])
    """
    if n < 0:
        raise RuntimeError(f"polygamma: n has to be at least 0; got {n}; give a derivative's order")
    return lang.polygamma(n, x)


pointwise(
    "polygamma.method(Tensor self, int n) -> Tensor", module="Tensor", static=("n",),
    promote="float", dtypes=FLOATING, inplace=True, doc="See `polygamma`.",
)(polygamma.formula)  # fmt: skip


# ---- of several dims ---------------------------------------------------------------------------

_MOST_DIMS = 1 << 20


@pointwise("mvlgamma(Tensor self, int p) -> Tensor", static=("p",), promote="float",
           dtypes=FLOATING, refusal=RuntimeError)
def mvlgamma(x, p):
    """The logarithm of the multivariate gamma function of `p` dims.

    p (p - 1) / 4 log(pi) and the sum of lgamma(self - k / 2) for k < p. The argument should be
    more than (p - 1) / 2.

    >>> taimatsu.mvlgamma(taimatsu.tensor([3.0, 4.5]), 2)
    tensor([1.5502, 4.8179])
    """
    if not 1 <= p <= _MOST_DIMS:
        raise RuntimeError(
            f"mvlgamma: p has to be at least 1 and at most {_MOST_DIMS}; got {p}; "
            "give the number of dims"
        )
    wide = cast(x, F64)
    total = cast(p * (p - 1) / 4 * math.log(math.pi), F64)

    def step(k, total, x):
        return k + 1, total + lang.lgamma(x - 0.5 * k)

    state = cast(0.0, F64), total
    return cast(iterate(p, lambda k, *_: k < p, step, state, wide)[1], x.dtype)


# ---- incomplete --------------------------------------------------------------------------------

_LARGE = 20.0  # arguments from which on Stirling's and Temme's series are exact
_STEPS = 500  # more than any of the series takes


def _log_gamma_1p(a: Value) -> Value:
    """log(gamma(1 + a)) for 0 <= a <= 1.25, to a relative precision."""
    return a * chebyshev(a / 0.625 - 1, tables.LOG_GAMMA_1P)


def _gamma_1p(a: Value) -> Value:
    """gamma(1 + a) for 0 <= a < 20: the product from the fraction up."""
    whole = lang.floor(a)
    fraction = a - whole

    def step(k, product, fraction, whole):
        return k + 1, product * (fraction + k)

    start = 0 * a + 1, exp(_log_gamma_1p(fraction))
    return iterate(int(_LARGE), lambda k, _, fraction, whole: k <= whole, step, start,
                   fraction, whole)[1]  # fmt: skip


def _distance(a: Value, x: Value, u: Value) -> Value:
    """v - 1 - log(v) for v = x / a = 1 + u, exact near 1."""
    # log(v) = 2 atanh(r)
    r = u / (2 + u)
    r = where(magnitude(u) < 0.5, r, 0.0)
    z = r * r
    tail = 0.0 * z
    for k in range(35, 1, -2):
        tail = (tail + 1 / k) * z
    return where(magnitude(u) < 0.5, r * u - 2 * r * tail, u - log(x / a))


def _power_series(a: Value, x: Value, here: Value) -> Value:
    """Σ x^n / ((a + 1) ... (a + n)): gammainc over x^a exp(-x) / gamma(a + 1)."""
    def step(n, term, total, a, x, here):
        term = term * (x / n)
        return n + 1, term, total + term

    def going(n, term, total, a, x, here):
        return here & (total + term != total)

    one = 0 * a + 1
    return iterate(_STEPS, going, step, (a + 1, one, one), a, x, here)[2]


def _small_series(a: Value, x: Value, here: Value) -> Value:
    """gammaincc for small x, and a so small that 1 - gammainc would cancel."""
    def step(n, power, total, a, x, here):
        power = power * (-x / n)
        return n + 1, power, total + power / (a + n)

    def going(n, power, total, a, x, here):
        return here & (total + power != total)

    logarithm = a * log(x) - _log_gamma_1p(a)
    start = 0 * a + 1, 0 * a + 1, 0 * a
    total = iterate(_STEPS, going, step, start, a, x, here)[2]
    return -lang.expm1(logarithm) - a * exp(logarithm) * total


def _continued_fraction(a: Value, x: Value, here: Value) -> Value:
    """gammaincc over x^a exp(-x) / gamma(a), by Lentz's method."""
    def step(n, b, c, d, h, change, a, here):
        numerator = n * (a - n)
        b = b + 2
        c = b + numerator / c
        d = 1 / (b + numerator * d)
        return n + 1, b, c, d, h * (c * d), c * d

    def going(n, b, c, d, h, change, a, here):
        return here & (magnitude(change - 1) > 2e-16)

    b = where(here, x + 1 - a, 1.0)
    start = 0 * a + 1, b, 0 * a + 1e300, 1 / b, 1 / b, 0 * a
    return iterate(_STEPS, going, step, start, a, here)[4]


def _temme(a: Value, u: Value, distance: Value) -> tuple[Value, Value]:
    """Both, for large a and x near it: the error function and what is left (DLMF 8.12)."""
    eta = lang.copysign(sqrt(2 * distance), u)
    rest = 0.0 * a
    for row in reversed(tables.TEMME):
        rest = rest / a + horner(row, eta)
    rest = rest * exp(-a * distance) / sqrt(2 * math.pi * a)
    z = eta * sqrt(0.5 * a)
    return 0.5 * lang.erfc(-z) - rest, 0.5 * lang.erfc(z) + rest


def _incomplete(a: Value, x: Value) -> tuple[Value, Value]:
    """gammainc and gammaincc. Of the two the smaller is computed, the other is what it leaves."""
    inside = (a > 0) & (x > 0) & (a < lang.inf) & (x < lang.inf)
    a_, x_ = a, x
    a, x = where(inside, cast(a, F64), 1.0), where(inside, cast(x, F64), 1.0)
    large = a >= _LARGE
    u = (x - a) / a
    uniform = large & (magnitude(u) < 0.3)
    bound = where(x <= 0.5, -0.4 / log(where(x <= 0.5, x, 0.5)), 1.1 * x)
    small = (x <= 1.1) & (a < bound)
    far = (x > 1.1) & (x > a) & ~uniform
    near = ~(small | far | uniform)

    distance = _distance(a, x, u)
    # x^a exp(-x) / gamma(a + 1)
    limited = lang.minimum(x, 800.0)  # beyond, nothing is left
    weight = where(large, 1.0, lang.pow(limited, where(large, 1.0, a)) * exp(-limited))
    weight = weight / _gamma_1p(where(large, 1.0, a))
    v = 1 / (a * a)
    stirling = (1 / 12 - v * (1 / 360 - v * (1 / 1260 - v * (1 / 1680 - v / 1188)))) / a
    asymptotic = exp(-a * distance - stirling) / sqrt(2 * math.pi * a)
    weight = where(large, asymptotic, weight)

    lower = weight * _power_series(a, x, near)
    upper = where(small, _small_series(a, x, small), a * weight * _continued_fraction(a, x, far))
    temme = _temme(where(uniform, a, _LARGE), where(uniform, u, 0.0), where(uniform, distance, 0.0))
    p = where(uniform, temme[0], where(near, lower, 1 - upper))
    q = where(uniform, temme[1], where(near, 1 - lower, upper))

    # The ends: where the law is all at 0, all at infinity, or before or behind all of it.
    def ends(y, before, behind):
        y = where((a_ == 0) | (x_ == lang.inf), behind, y)
        y = where((x_ == 0) | (a_ == lang.inf), before, y)
        undefined = ~((a_ >= 0) & (x_ >= 0)) | ((a_ == x_) & ((a_ == 0) | (a_ == lang.inf)))
        return where(undefined, lang.nan, y)

    return ends(cast(p, a_.dtype), 0.0, 1.0), ends(cast(q, a_.dtype), 1.0, 0.0)


@pointwise("_gamma_density(Tensor self, Tensor other) -> Tensor", dtypes=FLOATING, method=False)
def _gamma_density(a, x):
    """Of the gamma law of shape `self`, at `other`: the derivative of `igamma` by that."""
    power = where((x == 0) & (a == 1), 0, (a - 1) * log(x))
    return exp(power - x - lang.lgamma(a))


@_gamma_density.gradient
def _(g, self, other, result):
    by_shape = log(other) - lang.digamma(self)
    return tuple(
        where(result == 0, 0, g * result * slope)  # far out, where the slope may be infinite
        for slope in (by_shape, (self - 1) / other - 1)
    )


@pointwise("igamma(Tensor self, Tensor other) -> Tensor", dtypes=FLOATING)
def igamma(a, x):
    """The regularized lower incomplete gamma function, which `special.gammainc` is too.

    The integral of t^(self - 1) exp(-t) / gamma(self) from 0 to `other`: the probability that a
    number of the gamma law is less. NaN where an argument is negative. The derivative by `self`
    isn't implemented.

    >>> taimatsu.igamma(taimatsu.tensor([4.0]), taimatsu.tensor([3.0, 4.0, 5.0]))
    tensor([0.3528, 0.5665, 0.7350])
    """
    return _incomplete(a, x)[0]


@pointwise("igammac(Tensor self, Tensor other) -> Tensor", dtypes=FLOATING)
def igammac(a, x):
    """1 - igamma(self, other), exact where that is small; `special.gammaincc` is the same.

    >>> taimatsu.igammac(taimatsu.tensor([4.0]), taimatsu.tensor([3.0, 40.0]))
    tensor([6.4723e-01, 4.8889e-14])
    """
    return _incomplete(a, x)[1]


def _by_shape(g):
    raise NotImplementedError("igamma: the derivative by 'input' isn't implemented; detach it")


igamma.gradient(
    self=_by_shape, other=lambda g, self, other: g * _gamma_density(self, other)
)
igammac.gradient(
    self=_by_shape, other=lambda g, self, other: -g * _gamma_density(self, other)
)
