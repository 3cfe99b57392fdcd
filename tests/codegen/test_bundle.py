"""Rows in bundles have the bits of rows by themselves."""

from __future__ import annotations

import numpy as np
import pytest
from machine import Call, row
from test_llvm import empty, layer_norm, sample, softmax

from taimatsu.codegen import monoids
from taimatsu.codegen.ir import BF16, BOOL, C64, F32, F64, I64, axis, item, load, reduce, scan
from taimatsu.codegen.simplify import cast, node

ROWS = (8, 21)  # along k0: one bundle, and two with five more


def both(formula, out, *operands, shape):
    """Results of the formula over rows one by one, and in bundles."""
    results, kernels = [], set()
    for rows in ("whole", "bundled"):
        outs = [empty(t, shape if role == "row" else (*shape[:2], 1, 1)) for t, role in out]
        nest = row(formula, out, *((t, role) for t, role, _ in operands))
        arrays = [*outs, *(a for *_, a in operands)]
        call = Call(nest, arrays, extents=shape, rows=rows)
        assert call() == 0
        results.append(outs)
        kernels.add(call.kernel.address)
    assert len(kernels) == 2
    return results


def check(formula, out, *operands, shape):
    for alone, bundled in zip(*both(formula, out, *operands, shape=shape), strict=True):
        assert alone.tobytes() == bundled.tobytes()


@pytest.mark.parametrize("t", [F32, F64, I64, BF16, C64], ids=repr)
@pytest.mark.parametrize("count", ROWS)
@pytest.mark.parametrize("height,extent", [(1, 16), (1, 100), (3, 45)])
def test_sums_and_products(t, count, height, extent):
    shape = (2, count, height, extent)

    def formula(axes, a):
        a = cast(a, t.compute)
        return tuple(cast(reduce(m, axes, a), t) for m in (monoids.SUM, monoids.PROD))

    check(formula, [(t, "cell"), (t, "cell")], (t, "row", sample(t, shape)), shape=shape)


@pytest.mark.parametrize("monoid", [monoids.ARGMAX, monoids.LAST_ARGMIN], ids=repr)
@pytest.mark.parametrize("height,extent", [(1, 33), (3, 100)])
def test_positions(monoid, height, extent):
    shape = (2, 21, height, extent)
    x = np.round(sample(F32, shape) * 4)  # with ties
    x.reshape(-1)[:: extent * 3] = np.nan

    def formula(axes, a):
        best = reduce(monoid, axes, a, *map(axis, axes))
        return tuple(item(best, i) for i in range(3))

    check(formula, [(F32, "cell"), (I64, "cell"), (I64, "cell")], (F32, "row", x), shape=shape)


@pytest.mark.parametrize("count", ROWS)
@pytest.mark.parametrize("extent", [16, 77, 300])
def test_softmax_and_layer_norm(count, extent):
    shape = (2, count, 1, extent)
    x = sample(F32, shape)
    check(softmax, [(F32, "row")], (F32, "row", x), shape=shape)
    shared = [(F32, "shared", sample(F32, (1, 1, 1, extent))) for _ in range(2)]
    check(layer_norm, [(F32, "row")], (F32, "row", x), *shared, shape=shape)


def test_bools():
    shape = (1, 21, 1, 50)
    x = sample(F32, shape)
    x[:, :9] = np.abs(x[:, :9])

    def formula(axes, a):
        positive = node("lt", cast(axis(axes[1]), F32), node("mul", a, a), dtype=BOOL)
        every = reduce(monoids.ALL, axes, positive)
        return every, reduce(monoids.ANY, axes, positive), node("xor", every, positive)

    out = [(BOOL, "cell"), (BOOL, "cell"), (BOOL, "row")]
    check(formula, out, (F32, "row", x), shape=shape)


@pytest.mark.parametrize("broadcast", [False, True])
def test_values_of_rows_by_themselves(broadcast):
    """What is given one per row, what is computed from it alone, and an element that it names."""
    shape = (3, 21, 1, 40)
    x, c = sample(F32, shape), sample(F32, (3, 1 if broadcast else 21, 1, 1))
    at = np.random.default_rng(0).integers(0, 40, (3, 21, 1, 1))

    def formula(axes, a, cell, place):
        buffer, index = a.arg, list(a.src)
        picked = load(buffer, *index[:3], place)
        scale = node("sqrt", node("add", node("mul", cell, cell), reduce(monoids.MAX, axes, a)))
        running = scan(monoids.SUM, axes[1], node("div", a, scale))
        return node("mul", running, cell), node("sub", picked, reduce(monoids.SUM, axes, running))

    operands = [(F32, "row", x), (F32, "cell", np.broadcast_to(c, (3, 21, 1, 1)))]
    check(formula, [(F32, "row"), (F32, "cell")], *operands, (I64, "cell", at), shape=shape)
