"""Loops inside an element: every lane for itself, wherever an expression can be."""

from __future__ import annotations

import formulas as f
import numpy as np
import pytest
from machine import Call, pointwise, row
from reference import call, gradients
from test_ptx import assemble, emulate

from taimatsu.codegen import interp, monoids, ptx
from taimatsu.codegen.engine import fingerprint
from taimatsu.codegen.floats import rarely
from taimatsu.codegen.ir import C128, F32, F64, I64, reduce
from taimatsu.codegen.iteration import iterate
from taimatsu.codegen.lang import Value, cast, constant, exp
from taimatsu.codegen.show import nest_text
from taimatsu.ops import table

X = np.linspace(0, 3, 77).reshape(1, -1)


def exponential(x, limit=100):
    """Its series, until a term changes nothing: from 1 step to some 25."""
    def step(k, term, total, x):
        return k + 1, term * x / k, total + term

    def going(k, term, total, x):
        return total + term != total

    one = x * 0.0 + 1.0
    return iterate(limit, going, step, (one, one, 0.0 * x), x)[2]


def lifted(formula):
    return lambda *args: formula(*map(Value, args)).expr


def run(nest, *arrays, **options):
    out = np.zeros_like(arrays[0])
    assert Call(nest, [out, *arrays], **options)() == 0
    np.testing.assert_allclose(out, interp.run(nest, arrays, extents=out.shape)[0], rtol=1e-14)
    return out


def test_lanes_end_at_different_steps():
    np.testing.assert_allclose(run(pointwise(lifted(exponential), (F64,), F64), X), np.exp(X))


def test_a_lane_does_not_depend_on_its_company():
    nest = pointwise(lifted(exponential), (F64,), F64)
    alone = [run(nest, X[:, i : i + 1].copy()) for i in range(0, 77, 5)]
    assert np.array_equal(run(nest, X)[:, ::5], np.concatenate(alone, 1))


def test_the_limit_ends_what_does_not_end_itself():
    nest = pointwise(lifted(lambda x: exponential(x, 3)), (F64,), F64)
    np.testing.assert_allclose(run(nest, X), np.where(X == 0, 1, 1 + X + X * X / 2))
    forever = pointwise(
        lifted(lambda x: iterate(1000, lambda s: s == s, lambda s: (s + 1,), (x,))[0]), (F64,), F64
    )
    x = np.array([[1.0, np.nan, np.inf]])
    np.testing.assert_array_equal(run(forever, x), [[1001, np.nan, np.inf]])


def test_states_of_every_kind():
    """Truth values, whole numbers and complex ones, and a loop of the same value in all lanes."""
    def step(even, n, z, x):
        return ~even, n + cast(even, I64), z * z + x

    def states(x):
        start = (x == x, cast(0.0 * x, I64), cast(x, C128))
        even, n, z = iterate(5, lambda even, n, z, x: abs(z) < 2, step, start, x)
        return cast(even, F64) + 10 * cast(n, F64) + 100 * abs(z)

    run(pointwise(lifted(states), (F64,), F64), X)
    run(pointwise(lifted(states), (F64,), F64), np.full((4, 1), 0.3))


def test_behind_a_branch():
    """Inside a value that is computed rarely, where other lanes must not be waited for."""
    nest = pointwise(lifted(lambda x: rarely(x > 2.5, exponential(x), exp(x))), (F64,), F64)
    np.testing.assert_allclose(run(nest, X), np.exp(X))
    both = lifted(lambda x: rarely(exponential(x) > 12, 2 * exponential(x), exponential(x)))
    got = run(pointwise(both, (F64,), F64), X)
    np.testing.assert_allclose(got, np.where(np.exp(X) > 12, 2, 1) * np.exp(X))


def test_in_a_row():
    """Before a reduction along the row, and of what has been reduced."""
    def total(axes, x):
        inner = reduce(monoids.SUM, axes, exponential(Value(x)).expr)
        return exponential(Value(inner) / 100).expr

    nest = row(total, [(F64, "cell")], (F64, "row"))
    x, out = X.reshape(1, 1, 1, -1), np.zeros((1, 1, 1, 1))
    assert Call(nest, [out, x], extents=x.shape)() == 0
    np.testing.assert_allclose(out.item(), np.exp(np.exp(X).sum() / 100))


@pytest.mark.parametrize("t", (F32, F64))
def test_on_a_gpu(t):
    nest = pointwise(lifted(exponential), (t,), t)
    x = X.astype(np.float32 if t is F32 else np.float64)
    y = np.zeros_like(x)
    assert emulate(nest, [y, x]) == 0
    np.testing.assert_allclose(y, np.exp(x), rtol=1e-6 if t is F32 else 1e-14)
    assemble([ptx.render(nest, ("sc", "sc"))])


def test_equal_loops_are_one_and_different_ones_are_told_apart():
    nests = [pointwise(lifted(lambda x, n=n: exponential(x, n)), (F64,), F64) for n in (3, 3, 4)]
    first, same, other = (fingerprint(n) for n in nests)
    assert first == same != other
    x = Value(nests[0].stores[0].value.src[0].src[3])
    assert exponential(x).expr is exponential(x).expr


def test_reads_as_a_formula():
    def formula(x):
        return iterate(9, lambda r, y: r < y, lambda r, y: (r * y,), (x,), x + 1)[0]

    text = nest_text(pointwise(lifted(formula), (F64,), F64))
    assert "loop(s0 = x1[a1, a0], s1 = x1[a1, a0] + 1.0; while s0 < s1: s0 * s1).0" in text


def test_a_derivative_stops_at_constants():
    def step(r, x):
        return (r * r * constant(x),)

    @table.pointwise
    def cube(x):
        return iterate(1, lambda r, x: r == r, step, (x,), x)[0]

    (slope,) = gradients(cube, (X,), [np.ones_like(X)], 1)
    np.testing.assert_allclose(slope, 2 * X * X)


@pytest.mark.parametrize("wrong", ("outside", "too few"))
def test_mistakes(wrong):
    def formula(x):
        step = {"outside": lambda r: (r * x,), "too few": lambda r: ()}[wrong]
        return iterate(9, lambda r: r < 1, step, (x,))[0]

    with pytest.raises(TypeError, match="a step uses" if wrong == "outside" else "got 0"):
        pointwise(lifted(formula), (F64,), F64)


def test_derivatives_are_exact():
    x, count = np.array([[0.5, 2.0, -1.5]]), np.array([[3.5, 0.5, 9.5]])
    power, total = call(f.power_series, x, count)
    n = np.ceil(count)
    np.testing.assert_array_equal(power, x**n)
    g0, g1 = np.ones_like(power), np.zeros_like(total)
    (slope,) = gradients(f.power_series, (x, count), [g0, g1], 1)
    np.testing.assert_array_equal(slope, np.where(n == 0, 0, n * x ** (n - 1)))
