"""Fits the polynomials of `taimatsu/codegen/elementary.py` and writes them to `coefficients.py`.

    python tools/minimax.py            # all of them; about two minutes
    python tools/minimax.py exp_f32    # only those whose name matches

Each fit is a minimax approximation (Remez' exchange) in extended precision. Coefficients are
rounded to the target type one after the other, the most significant first, and what is left is
fitted again after each rounding, so that the later ones make up for the earlier ones' error.
Needs mpmath.
"""

from __future__ import annotations

import pathlib
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import mpmath as mp
from mpmath import mpf

mp.mp.dps = 60
OUTPUT = pathlib.Path(__file__).parent.parent / "taimatsu" / "codegen" / "coefficients.py"


@dataclass(frozen=True)
class Fit:
    """Approximates `f` on [lo, hi] by a polynomial of the given number of `terms`.

    The minimised error is (polynomial - f) * weight: with `f` the part of a formula that is
    approximated, `weight` says how much its error counts in the formula's relative error.
    """

    f: Callable[[mpf], mpf]
    lo: mpf
    hi: mpf
    terms: int
    weight: Callable[[mpf], mpf]
    dtype: str


def remez(
    f: Callable, lo: mpf, hi: mpf, powers: Sequence[int], weight: Callable
) -> tuple[list[mpf], mpf]:
    """The coefficients of x**p for p in powers that minimise max |(poly - f) * weight|."""
    n = len(powers)
    count = 24 * (n + 1)
    mid, half = (lo + hi) / 2, (hi - lo) / 2
    grid = [mid - half * mp.cos(mp.pi * (2 * i + 1) / (2 * count)) for i in range(count)]
    grid = [lo, *grid, hi]
    values = [(f(x), weight(x), [x**p for p in powers]) for x in grid]
    nodes = [round(i * (len(grid) - 1) / n) for i in range(n + 1)]
    for _ in range(40):
        rows = [[*values[k][2], mpf((-1) ** i) / values[k][1]] for i, k in enumerate(nodes)]
        solution = mp.lu_solve(mp.matrix(rows), mp.matrix([values[k][0] for k in nodes]))
        c, level = list(solution[:n]), abs(solution[n])
        error = [
            (mp.fsum(a * b for a, b in zip(c, xs, strict=True)) - y) * w for y, w, xs in values
        ]
        # The largest error of every run of one sign; then the n + 1 neighbours that matter most.
        peaks: list[int] = []
        for k, e in enumerate(error):
            if peaks and (error[peaks[-1]] >= 0) == (e >= 0):
                if abs(e) > abs(error[peaks[-1]]):
                    peaks[-1] = k
            else:
                peaks.append(k)
        while len(peaks) > n + 1:
            k = min(range(len(peaks)), key=lambda i: abs(error[peaks[i]]))
            if len(peaks) == n + 2 and 0 < k < n + 1:  # signs must go on alternating
                k = 0 if abs(error[peaks[0]]) < abs(error[peaks[-1]]) else n + 1
            elif 0 < k < len(peaks) - 1:  # so a small one goes with a neighbour
                k += abs(error[peaks[k - 1]]) >= abs(error[peaks[k + 1]])
                peaks.pop(k)
                k -= 1
            peaks.pop(k)
        worst = max(map(abs, error))
        if len(peaks) < n + 1 or worst <= level * mpf("1.001"):
            return c, worst
        nodes = peaks
    return c, worst


def rounded(x: mpf, dtype: str) -> float:
    """The nearest f32 or f64, as a Python float. (Fits stay far from the subnormals.)"""
    if dtype == "f64":
        return float(x)
    mantissa, exponent = mp.frexp(x)
    return float(mp.ldexp(mp.nint(mp.ldexp(mantissa, 24)), exponent - 24))


def least_squares(
    f: Callable, grid: Sequence[mpf], powers: Sequence[int], weight: Callable
) -> list[mpf]:
    """The coefficients of x**p for p in powers that minimise the sum of squared errors."""
    rows = mp.matrix([[weight(x) * x**p for p in powers] for x in grid])
    values = mp.matrix([weight(x) * f(x) for x in grid])
    return list(mp.lu_solve(rows.T * rows, rows.T * values))


def fit(task: Fit) -> tuple[list[float], float]:
    """Coefficients from the constant term upwards, and the error that is left."""
    n, mid, half = task.terms, (task.lo + task.hi) / 2, (task.hi - task.lo) / 2
    best, _ = remez(task.f, task.lo, task.hi, range(n), task.weight)
    grid = [mid - half * mp.cos(mp.pi * (2 * i + 1) / (8 * n)) for i in range(4 * n)]
    fixed: list[float] = []
    for k in range(n):
        done = tuple(fixed)

        def rest(x: mpf, done: tuple = done) -> mpf:
            return mp.polyval(best[::-1], x) - mp.fsum(c * x**p for p, c in enumerate(done))

        c = least_squares(rest, grid, range(k, n), task.weight)
        fixed.append(rounded(c[0], task.dtype))
    dense = [task.lo + 2 * half * i / 997 for i in range(998)]
    errors = ((mp.polyval(fixed[::-1], x) - task.f(x)) * task.weight(x) for x in dense)
    return fixed, float(max(map(abs, errors)))


def relative(g: Callable) -> Callable:
    """The weight of an error in a formula whose value is g."""
    return lambda x: 1 / g(x)


LN2, PI = mp.log(2), mp.pi
EPS = mpf(2) ** -40  # instead of zero, where the fitted function is a limit


def log_tail(x: mpf) -> mpf:
    return (mp.log1p(x) - x) / x**2


def sqrt_argument(g: Callable) -> Callable:
    """g as a function of the square of its argument."""
    return lambda s: g(mp.sqrt(s))


def neg_log2_erfc(t: mpf) -> mpf:
    return -mp.log(mp.erfc(t), 2) / t


def at_four(x: mpf) -> mpf:
    return (x - 4) / (x + 4)


def scaled_erfc(t: mpf) -> mpf:
    x = 4 * (1 + t) / (1 - t)
    return mp.erfc(x) * mp.exp(x * x) * (1 + 2 * x) - 1


def near_one(g: Callable) -> Callable:
    """The weight where the formula's value is 1 + g."""
    return lambda t: 1 / (1 + g(t))


def erfinv_ratio(w: mpf) -> mpf:
    """erfinv(x) / x as a function of -log(1 - x**2), by Newton's method on erfc."""
    x = mp.sqrt(-mp.expm1(-w))
    rest = mp.exp(-w) / (1 + x)  # 1 - x
    y = mp.erfinv(mpf(float(x))) if w < 20 else mp.sqrt(w - mp.log(w * mp.pi) / 2)
    for _ in range(8):
        y += (mp.erfc(y) - rest) * mp.sqrt(mp.pi) / 2 * mp.exp(y * y)
    return y / x


def stirling(x: mpf) -> mpf:
    return (mp.loggamma(x) - ((x - 0.5) * mp.log(x) - x + mp.log(2 * PI) / 2)) * x


def digamma_far(x: mpf) -> mpf:
    return (mp.log(x) - 1 / (2 * x) - mp.digamma(x)) * x**2


def trigamma_far(x: mpf) -> mpf:
    return (mp.polygamma(1, x) - 1 / x - 1 / (2 * x**2)) * x**3


DIGAMMA_ROOT = mp.findroot(mp.digamma, 1.4616)


def both(
    name: str, f: Callable, lo: Any, hi: Any, terms: tuple[int, int], weight: Callable
) -> dict[str, Fit]:
    """The same fit for f32 and f64, with different numbers of terms."""
    return {
        f"{name}_{dtype}": Fit(f, mpf(lo), mpf(hi), n, weight, dtype)
        for dtype, n in zip(("f32", "f64"), terms, strict=True)
        if n
    }


QUARTER = (PI / 4 * mpf("1.005")) ** 2  # the largest square after reduction by pi/2
TASKS: dict[str, Fit] = {
    # e**r = 1 + r + r**2 P(r), reduced by 2 ln 2 and by ln 2
    **both("exp", lambda r: (mp.expm1(r) - r) / r**2, -LN2 * 1.001, LN2 * 1.001, (6, 12),
           lambda r: r**2 / mp.exp(r)),
    **both("expm1", lambda r: (mp.expm1(r) - r) / r**2, -LN2 * 0.501, LN2 * 0.501, (6, 11),
           lambda r: r**2 / mp.expm1(r)),
    # 2**r = 1 + r P(r), reduced by 2 and by 1
    **both("exp2", lambda r: (mp.mpf(2) ** r - 1) / r, -1, 1, (8, 14), lambda r: r / 2**r),
    "exp2_pow": Fit(lambda r: (mp.mpf(2) ** r - 1) / r, mpf(-0.5), mpf(0.5), 6,
                    lambda r: r / 2**r, "f64"),
    # log(1 + f) = f + f**2 P(f);  for f64 2 atanh(s) = 2 s + s z P(z), s = f / (2 + f), z = s**2
    "log_f32": Fit(log_tail, -mpf(1) / 3, mpf(1) / 3, 8, lambda f: f**2 / mp.log1p(f), "f32"),
    "log_f64": Fit(sqrt_argument(lambda s: (2 * mp.atanh(s) / s - 2) / s**2), EPS,
                   mpf("0.1717") ** 2, 7, lambda z: z / 2, "f64"),
    "log2_pow": Fit(lambda f: mp.log1p(f) / LN2 / f, mpf("-0.2929"), mpf("0.4143"), 12,
                    lambda f: f * LN2 / mp.log1p(f), "f64"),
    # atanh(s) = s (1 + z / 3 + z**2 P(z))
    "atanh_tail": Fit(sqrt_argument(lambda s: (mp.atanh(s) / s - 1 - s**2 / 3) / s**4), EPS,
                      mpf("0.1717") ** 2, 7, lambda z: z**2, "f64"),
    # sin r = r + r s P(s), cos r = 1 - s/2 + s**2 P(s), s = r**2
    **both("sin", sqrt_argument(lambda r: (mp.sin(r) / r - 1) / r**2), EPS, QUARTER, (3, 6),
           lambda s: s * mp.sqrt(s) / mp.sin(mp.sqrt(s))),
    **both("cos", sqrt_argument(lambda r: (mp.cos(r) - 1 + r**2 / 2) / r**4), mpf(2) ** -20,
           QUARTER, (3, 6), lambda s: s**2 / mp.cos(mp.sqrt(s))),
    # atan t = t + t**3 P(t**2) up to 1/2; asin likewise
    **both("atan", sqrt_argument(lambda t: (mp.atan(t) / t - 1) / t**2), EPS, mpf("0.2501"),
           (5, 12), lambda s: s * mp.sqrt(s) / mp.atan(mp.sqrt(s))),
    **both("asin", sqrt_argument(lambda t: (mp.asin(t) / t - 1) / t**2), EPS, mpf("0.2501"),
           (5, 12), lambda s: s * mp.sqrt(s) / mp.asin(mp.sqrt(s))),
    # erf x = x + x P(x**2) near zero, 1 - 2**-(t P(t)) further out
    **both("erf", sqrt_argument(lambda x: mp.erf(x) / x - 1), EPS, mpf("0.93") ** 2, (6, 12),
           lambda s: mp.sqrt(s) / mp.erf(mp.sqrt(s))),
    "erf_tail_f32": Fit(neg_log2_erfc, mpf("0.92"), mpf("3.95"), 7,
                        lambda t: t * mp.erfc(t) / mp.erf(t) * LN2, "f32"),
    "erf_tail_f64": Fit(neg_log2_erfc, mpf("0.92"), mpf("5.95"), 19,
                        lambda t: t * mp.erfc(t) / mp.erf(t) * LN2, "f64"),
    **both("erf_exp2", lambda r: (mp.mpf(2) ** r - 1) / r, -0.5, 0.5, (6, 11),
           lambda r: r / 2**r / 4),
    # erfc x = exp(-x**2) (1 + P(t)) / (1 + 2 x), t = (x - 4) / (x + 4)
    "erfc_f32": Fit(scaled_erfc, mpf(-1), at_four(mpf("10.2")), 12, near_one(scaled_erfc), "f64"),
    "erfc_f64": Fit(scaled_erfc, mpf(-1), at_four(mpf("27.4")), 24, near_one(scaled_erfc), "f64"),
    # erfinv x = x P(w), w = -log(1 - x**2); where w is large, of sqrt(w)
    "erfinv_f32": Fit(erfinv_ratio, EPS, mpf(5), 12, relative(erfinv_ratio), "f64"),
    "erfinv_tail_f32": Fit(lambda s: erfinv_ratio((s + 3) ** 2), mpf("-0.8"), mpf("1.1"), 12,
                           lambda s: 1 / erfinv_ratio((s + 3) ** 2), "f64"),
    "erfinv_f64": Fit(lambda w: erfinv_ratio(w + 3), EPS - 3, mpf("3.25"), 26,
                      lambda w: 1 / erfinv_ratio(w + 3), "f64"),
    "erfinv_tail_f64": Fit(lambda s: erfinv_ratio((s + mpf("3.25")) ** 2), mpf("-0.76"),
                           mpf("0.76"), 22, lambda s: 1 / (s + 3), "f64"),
    "erfinv_far_f64": Fit(lambda s: erfinv_ratio((s + 5) ** 2), mpf("-1.01"), mpf("1.1"), 19,
                          lambda s: 1 / (s + 5), "f64"),
    # lgamma x = (x - 1) (x - 2) P(x - 3/2) on [7/8, 17/8]
    "lgamma_f64": Fit(lambda u: mp.loggamma(u + 1.5) / (u + 0.5) / (u - 0.5), mpf("-0.6251"),
                      mpf("0.6251"), 26,
                      lambda u: (u + 0.5) * (u - 0.5) / mp.loggamma(u + 1.5), "f64"),
    # digamma x = (x - root) P(x - 3/2) on [1, 2]
    "digamma_f64": Fit(lambda u: mp.digamma(u + 1.5) / (u + 1.5 - DIGAMMA_ROOT), mpf("-0.501"),
                       mpf("0.501"), 24,
                       lambda u: (u + 1.5 - DIGAMMA_ROOT) / mp.digamma(u + 1.5), "f64"),
    # The asymptotic series' tails as x P(1 / x**2) / x**2 and so on, from 8 on
    "stirling_f64": Fit(lambda z: stirling(1 / mp.sqrt(z)), mpf(2) ** -20, mpf("0.0157"), 7,
                        lambda z: mp.sqrt(z) / 8, "f64"),
    "digamma_far_f64": Fit(lambda z: digamma_far(1 / mp.sqrt(z)), mpf(2) ** -20, mpf("0.0157"), 7,
                           lambda z: z / 2, "f64"),
    "trigamma_far_f64": Fit(lambda z: trigamma_far(1 / mp.sqrt(z)), mpf(2) ** -20, mpf("0.0157"),
                            8, lambda z: z, "f64"),
}


def main(patterns: list[str]) -> None:
    old = {}
    if OUTPUT.exists() and patterns:
        scope: dict = {}
        exec(OUTPUT.read_text(), scope)
        old = scope["POLYNOMIALS"]
    lines = []
    for name, task in TASKS.items():
        if name in old and not any(p in name for p in patterns):
            coefficients, error = old[name], scope["ERRORS"][name]
        else:
            coefficients, error = fit(task)
            print(f"{name:24} {len(coefficients):3} terms  error 2^{mp.nstr(mp.log(error, 2), 4)}")
        lines.append((name, coefficients, error))
    text = '"""Minimax polynomials, constant term first. Made by tools/minimax.py."""\n\n'
    text += "POLYNOMIALS = {\n"
    for name, coefficients, _ in lines:
        text += f'    "{name}": (\n'
        text += "".join(f"        {c!r},\n" for c in coefficients)
        text += "    ),\n"
    text += "}\n\n# The largest weighted error of each, over its interval.\nERRORS = {\n"
    text += "".join(f'    "{name}": {error:.3e},\n' for name, _, error in lines) + "}\n"
    OUTPUT.write_text(text)


if __name__ == "__main__":
    main(sys.argv[1:])
