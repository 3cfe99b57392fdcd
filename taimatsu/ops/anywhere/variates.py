"""Numbers whose law depends on a tensor of parameters, by rejection, and how gamma's and beta's
move with them.

An element tries until it has a number, in a loop of its own, with counters of Philox that nobody
else has. The sources are those of csrc/cpu/variates.cpp, which draws otherwise: the numbers of a
seed differ, their laws don't. Arithmetic is in double precision.
"""

from __future__ import annotations

import math

import taimatsu as torch
from taimatsu.codegen.ir import F64
from taimatsu.codegen.iteration import iterate
from taimatsu.codegen.lang import abs as magnitude
from taimatsu.codegen.lang import (
    cast,
    cos,
    digamma,
    exp,
    floor,
    isnan,
    lgamma,
    log,
    log1p,
    sqrt,
    where,
)

from ..table import pointwise
from . import computes, random
from .formulas import _HIDDEN
from .lines import iota
from .random import _check, philox, signed

_TRIALS = 64  # that all fail once in 1e30 numbers
_COUNTERS = 2 * _TRIALS + 1  # of an element
_DRAWN = {"keep": ("counter", "key"), "inplace": False, **_HIDDEN}


def _uniforms(counter, key):
    """Two numbers in (0, 1) of 53 bits."""
    a, b, c, d = philox(counter, key)
    return tuple((cast((high << 21) ^ (low >> 11), F64) + 0.5) * 2.0**-53
                 for high, low in ((a, b), (c, d)))  # fmt: skip


def _tried(attempt, otherwise, here, counter, key, *parameters):
    """The first number that an attempt, (number, accepted), accepts; `otherwise` if none does."""

    def step(trial, number, going, counter, key, *parameters):
        made, accepted = attempt(counter + 2 * trial, key, *parameters)
        return trial + 1, where(accepted, made, number), where(accepted, 0, going)

    state = 0 * counter, otherwise, where(here, 1, 0) + 0 * counter
    return iterate(_TRIALS, lambda trial, number, going, *_: going > 0, step, state, counter, key,
                   *parameters)[1]  # fmt: skip


# ---- Poisson and binomial numbers ----------------------------------------------------------------


def _many_events(counter, key, rate):
    root = sqrt(rate)
    b = 0.931 + 2.53 * root
    a = -0.059 + 0.02483 * b
    inverse_alpha, accepted = 1.1239 + 1.1328 / (b - 3.4), 0.9277 - 3.6224 / (b - 2)
    u, v = _uniforms(counter, key)
    u = u - 0.5
    us = 0.5 - magnitude(u)
    k = floor((2 * a / us + b) * u + rate + 0.43)
    at_once = (us >= 0.07) & (v <= accepted)
    never = (k < 0) | ((us < 0.013) & (v > us))
    bound = -rate + k * log(rate) - lgamma(where(never, 0.0, k) + 1)
    return k, at_once | (~never & (log(v * inverse_alpha / (a / (us * us) + b)) <= bound))


@pointwise("_poisson_drawn(Tensor rate, Tensor counter, Tensor|Number key) -> Tensor", **_DRAWN)
def _poisson_drawn(rate, counter, key):
    """Few events: as many as uniform numbers are multiplied before they are below exp(-rate)."""
    x = cast(rate, F64)
    many = x >= 10

    def step(events, product, counter, key, limit):
        u, _ = _uniforms(counter + cast(events, "i64"), key)
        return events + 1, product * u

    state = -1.0 + 0 * x, where(many, 0.0, 1.0)
    few, _ = iterate(2 * _TRIALS, lambda events, product, *rest: product > rest[-1], step, state,
                     counter, key, where(many, 1.0, exp(-x)))  # fmt: skip
    drawn = _tried(_many_events, floor(x), many, counter, key, where(many, x, 10.0))
    found = where(many, drawn, where(x == 0, 0.0, few))
    return cast(where(isnan(x), x, found), rate.dtype)


def _many_successes(counter, key, n, p):
    deviation = sqrt(n * p * (1 - p))
    b = 1.15 + 2.53 * deviation
    a = -0.0873 + 0.0248 * b + 0.01 * p
    accepted, odds = 0.92 - 4.2 / b, p / (1 - p)
    alpha, mode = (2.83 + 5.1 / b) * deviation, floor((n + 1) * p)
    u, v = _uniforms(counter, key)
    u = u - 0.5
    us = 0.5 - magnitude(u)
    k = floor((2 * a / us + b) * u + n * p + 0.5)
    at_once, never = (us >= 0.07) & (v <= accepted), (k < 0) | (k > n)
    at = where(never, mode, k)
    bound = (lgamma(mode + 1) + lgamma(n - mode + 1) - lgamma(at + 1) - lgamma(n - at + 1)
             + (at - mode) * log(odds))  # fmt: skip
    return k, at_once | (~never & (log(v * alpha / (a / (us * us) + b)) <= bound))


@pointwise("_binomial_drawn(Tensor count, Tensor prob, Tensor counter, Tensor|Number key)"
           " -> Tensor", **_DRAWN)  # fmt: skip
def _binomial_drawn(count, prob, counter, key):
    """Of the rarer outcome: few are counted by the gaps between them."""
    n, p = cast(count, F64), cast(prob, F64)
    rare = where(p <= 0.5, p, 1 - p)
    some = (n > 0) & (rare > 0)
    many = some & (n * rare >= 10)

    def step(successes, trials, counter, key, n, log_failure):
        u, _ = _uniforms(counter + cast(successes, "i64"), key)
        return successes + 1, trials - floor(-log(u) / log_failure)

    state = -1.0 + 0 * n, where(some & ~many, 0.0, n + 1)
    log_failure = log1p(-where(some, rare, 0.5))
    few, _ = iterate(2 * _TRIALS, lambda successes, trials, *rest: trials <= rest[-2], step, state,
                     counter, key, n, log_failure)  # fmt: skip
    drawn = _tried(_many_successes, floor(n * rare), many, counter, key, where(many, n, 100.0),
                   where(many, rare, 0.5))  # fmt: skip
    found = where(many, drawn, where(some, few, 0.0))
    found = where(p <= 0.5, found, n - found)
    return cast(where(isnan(n) | isnan(p), n + p, where(n > 0, found, 0.0)), count.dtype)


# ---- gamma numbers -------------------------------------------------------------------------------


def _gamma_attempt(counter, key, d, c):
    (v, w), (u, _) = _uniforms(counter, key), _uniforms(counter + 1, key)
    x = sqrt(-2 * log(v)) * cos(2 * math.pi * w)
    root = 1 + c * x
    cube = root * root * root
    bound = 0.5 * x * x + d * (1 - cube + log(where(root > 0, cube, 1.0)))
    return d * cube, (root > 0) & (log(u) < bound)


@pointwise("_gamma_drawn(Tensor shape, Tensor counter, Tensor|Number key) -> Tensor", **_DRAWN)
def _gamma_drawn(shape, counter, key):
    """A shape below 1 is that of one more, times a power of a uniform number."""
    a = cast(shape, F64)
    small = a < 1
    u, _ = _uniforms(counter + 2 * _TRIALS, key)
    d = where(small, a + 1, a) - 1 / 3
    made = _tried(_gamma_attempt, d, a > 0, counter, key, d, 1 / sqrt(9 * d))
    scale = where(small, exp(log(u) / where(small, a, 1.0)), 1.0)
    return cast(where(a > 0, scale * made, a), shape.dtype)


# ---- how numbers move with their parameters ------------------------------------------------------


class _Dual:
    """A value and its derivative by one parameter."""

    def __init__(self, v, d=0.0):
        self.v, self.d = v, d

    def __add__(self, o):
        return _Dual(self.v + o.v, self.d + o.d)

    def __mul__(self, o):
        return _Dual(self.v * o.v, self.d * o.v + self.v * o.d)

    def __truediv__(self, o):
        return _Dual(self.v / o.v, (self.d - self.v / o.v * o.d) / o.v)


_STEPS = 100000


@pointwise("_gamma_slope(Tensor shape, Tensor x) -> Tensor", inplace=False, **_HIDDEN)
def _gamma_slope(shape, x):
    """-(dP(a, x) / da) / p(x): by the series of P, or the continued fraction of 1 - P."""
    a, at = cast(shape, F64), cast(x, F64)
    good = (at > 0) & (a > 0)
    a, at = where(good, a, 1.0), where(good, at, 1.0)
    low = at < a + 1
    zero, one = 0 * a, 0 * a + 1

    def sum_step(n, tv, td, sv, sd, a, x):
        term = _Dual(tv, td) * _Dual(x) / _Dual(a + n, 1.0)
        total = _Dual(sv, sd) + term
        return n + 1, term.v, term.d, total.v, total.d

    start = one, where(low, 1.0, 0.0) + zero, zero, one, zero
    _, _, _, sv, sd = iterate(
        _STEPS, lambda n, tv, td, sv, *_: magnitude(tv) + magnitude(td) > 1e-17 * sv, sum_step,
        start, a, at,
    )  # fmt: skip
    ratio = _Dual(sv, sd) / _Dual(a, 1.0)

    def fraction_step(n, bv, bd, cv, cd, dv, dd, hv, hd, off, a):
        an = _Dual(-n * (n - a), n)
        b = _Dual(bv + 2, bd)
        d = _Dual(1.0) / (an * _Dual(dv, dd) + b)
        c = b + an / _Dual(cv, cd)
        factor = c * d
        h = _Dual(hv, hd) * factor
        off = magnitude(factor.v - 1) + magnitude(factor.d)
        return n + 1, b.v, b.d, c.v, c.d, d.v, d.d, h.v, h.d, off

    b = _Dual(where(low, 1.0, at + 1 - a), zero - 1)
    d = _Dual(one) / b
    first = one, b.v, b.d, one * 1e300, zero, d.v, d.d, d.v, d.d, where(low, 0.0, 1.0) + zero
    *_, hv, hd, _ = iterate(_STEPS, lambda *state: state[9] >= 1e-16, fraction_step, first, a)
    slope = log(at) - digamma(a)
    found = where(low, -at * (ratio.d + ratio.v * slope), at * (hd + hv * slope))
    wide = cast(x, F64) + cast(shape, F64)
    return cast(where(good, found, where(isnan(wide), wide, 0.0)), shape.dtype)


def _beta_fraction(a, b, x):
    """The continued fraction F of I_x(a, b) = x^a (1 - x)^b F / (a B(a, b)); a, b: duals."""

    def off_zero(v):
        return _Dual(where(magnitude(v.v) < 1e-300, 1e-300, v.v), v.d)

    one = 0 * x + 1
    d = _Dual(one) / off_zero(_Dual(one) + (a + b) * _Dual(-x) / (a + _Dual(one)))

    def step(m, cv, cd, dv, dd, fv, fd, off, av, ad, bv, bd, x):
        a, b, c, d, f = (_Dual(*p) for p in ((av, ad), (bv, bd), (cv, cd), (dv, dd), (fv, fd)))
        k, a_2m = _Dual(m), _Dual(av + 2 * m, ad)
        even = k * _Dual(bv - m, bd) * _Dual(x) / (_Dual(a_2m.v - 1, ad) * a_2m)
        odd = (a + k) * (a + b + k) * _Dual(-x) / (a_2m * _Dual(a_2m.v + 1, ad))
        for term in (even, odd):
            d = _Dual(1.0) / off_zero(_Dual(1.0) + term * d)
            c = off_zero(_Dual(1.0) + term / c)
            factor = c * d
            f = f * factor
        off = magnitude(factor.v - 1) + magnitude(factor.d)
        return m + 1, c.v, c.d, d.v, d.d, f.v, f.d, off

    zero = 0 * x
    start = one, one, zero, d.v, d.d, d.v, d.d, one
    found = iterate(_STEPS, lambda *state: state[7] >= 1e-15, step, start, a.v, a.d + zero, b.v,
                    b.d + zero, x)  # fmt: skip
    return _Dual(found[5], found[6])


@pointwise("_beta_slope(Tensor x, Tensor a, Tensor total) -> Tensor", inplace=False, **_HIDDEN)
def _beta_slope(x, a, total):
    """How a number of Beta(a, total - a) moves with a, over 1 - x."""
    at, p, q = cast(x, F64), cast(a, F64), cast(total, F64) - cast(a, F64)
    good = (at > 0) & (at < 1)
    at = where(good, at, 0.5)
    slope = log(at) - digamma(p) + digamma(p + q)
    low = at < (p + 1) / (p + q + 2)
    # I_x(p, q) = 1 - I_(1 - x)(q, p)
    first = _Dual(where(low, p, q), where(low, 1.0, 0.0))
    second = _Dual(where(low, q, p), where(low, 0.0, 1.0))
    f = _beta_fraction(first, second, where(low, at, 1 - at))
    found = where(low, -at / p * (f.d + f.v * (slope - 1 / p)), at / q * (f.d + f.v * slope))
    wide = cast(x, F64)
    return cast(where(good, found, where(isnan(wide), wide, 0.0)), x.dtype)


# ---- the ops -------------------------------------------------------------------------------------


for _op, _names in ((_poisson_drawn, ("rate",)), (_binomial_drawn, ("count", "prob")),
                    (_gamma_drawn, ("shape",)), (_gamma_slope, ("shape", "x")),
                    (_beta_slope, ("x", "a", "total"))):  # fmt: skip
    _op.gradient(**dict.fromkeys(_names, lambda g: None))  # none of them is for the tape


def _drawn(op, generator, *parameters):
    like = parameters[0]
    n = like.numel()
    key, offset = random._seed(generator, like.device, n * _COUNTERS)
    if isinstance(key, int):
        key, offset = signed(key), signed(offset)
    counter = iota(n, like.device).reshape(like.shape) * _COUNTERS + offset
    return op(*parameters, counter, key)


@computes("poisson")
def _(self, generator):
    _check(not bool((self < 0).any()), "invalid Poisson rate, expected rate to be non-negative")
    return _drawn(_poisson_drawn, generator, self)


@computes("_binomial")
def _(count, prob, generator):
    return _drawn(_binomial_drawn, generator, count, prob)


@computes("_standard_gamma")
def _(self, generator):
    found = _drawn(_gamma_drawn, generator, self)
    return found.clamp(min=torch.finfo(self.dtype).smallest_normal)


@computes("_standard_gamma_grad")
def _(self, output):
    return _gamma_slope(self, output)


@computes("_dirichlet_grad")
def _(self, concentration, total):
    return _beta_slope(self, concentration, total)
