"""Interning, substitution without capture, and rewriting."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from taimatsu.codegen import interp, monoids
from taimatsu.codegen.ir import (
    F64,
    I64,
    Axis,
    Buffer,
    Expr,
    Nest,
    Store,
    axis,
    const,
    load,
    reduce,
    substitute,
    topological,
    transform,
)  # fmt: skip

N = 3
AXES = [Axis(name, "p", N) for name in "abc"]
DATA = Buffer("x", F64, 2, 1)
OUT = Buffer("y", F64, 3, 0)
VALUES = np.arange(1.0, 1 + N * N).reshape(N, N) ** 0.5


def expressions():
    """Expressions over loads at the axes, sums over them too."""
    axes = st.sampled_from(AXES)
    leaf = st.tuples(axes, axes).map(lambda p: load(DATA, axis(p[0]), axis(p[1])))
    leaf |= axes.map(lambda a: Expr("cast", (axis(a),), None, F64))

    def grow(inner):
        binary = st.tuples(st.sampled_from(["add", "mul", "sub"]), inner, inner)
        summed = st.tuples(axes, inner)
        return binary.map(lambda t: Expr(t[0], t[1:], None, F64)) | summed.map(
            lambda t: reduce(monoids.SUM, (t[0],), t[1])
        )

    return st.recursive(leaf, grow, max_leaves=6)


def evaluate(e: Expr) -> np.ndarray:
    """The value for all (a, b, c)."""
    store = Store(OUT, tuple(map(axis, AXES)), e)
    nest = Nest("e", tuple(AXES), [store], (OUT,), (DATA,))
    return interp.run(nest, [VALUES], extents=(N,) * 3)[0]


# A position in range: another axis, or the same turned round.
targets = st.tuples(st.sampled_from(AXES), st.booleans())


def position(target: tuple[Axis, bool]) -> Expr:
    a, turned = target
    return Expr("sub", (const(N - 1, I64), axis(a)), None, I64) if turned else axis(a)


@settings(max_examples=150, deadline=None)
@given(expressions(), st.lists(targets, min_size=3, max_size=3))
def test_substitution_of_axes_is_indexing(e, chosen):
    new = substitute(e, {axis(a): position(t) for a, t in zip(AXES, chosen, strict=True)})
    before, at = evaluate(e), []
    for a, turned in chosen:
        grid = np.indices((N,) * 3)[AXES.index(a)]
        at.append(N - 1 - grid if turned else grid)
    np.testing.assert_allclose(evaluate(new), before[tuple(at)], rtol=1e-12)


def test_bound_axis_is_renamed_not_captured():
    a, b, _ = AXES
    e = reduce(monoids.SUM, (b,), load(DATA, axis(a), axis(b)))
    new = substitute(e, {axis(a): axis(b)})  # sum over b' of x[b, b']
    assert new.axes == {b}
    (bound,) = new.arg[1]
    assert bound is not b
    assert bound.origin is b
    assert substitute(e, {axis(b): axis(a)}) is e  # b is bound: nothing is free to replace


def test_replaced_value_is_another_one_under_its_axis():
    a, b, _ = AXES
    x = load(DATA, axis(a), axis(b))
    total = reduce(monoids.SUM, (b,), x)
    e = Expr("add", (x, total), None, F64)
    new = substitute(e, {x: const(0, F64)})
    assert new.src == (const(0, F64), total)


def test_equal_expressions_are_one_object():
    a, b, _ = AXES
    assert load(DATA, axis(a), axis(b)) is load(DATA, axis(a), axis(b))
    assert const(0.0, F64) is not const(-0.0, F64)
    assert const(1, F64) is not const(1, I64)
    assert const(float("nan"), F64) is const(float("nan"), F64)


def test_transform_replaces_known_nodes_whole():
    a, b, _ = AXES
    x = load(DATA, axis(a), axis(b))
    twice = Expr("add", (x, x), None, F64)
    zero = const(0, F64)
    (new,) = transform([Expr("neg", (twice,), None, F64)], lambda _: None, {twice: zero})
    assert new.src == (zero,)


def test_deep_expressions_need_no_recursion():
    e = axis(AXES[0])
    for _ in range(20000):
        e = Expr("add", (e, const(1, I64)), None, I64)
    assert len(topological([e])) == 20002
    assert transform([e], lambda _: None) == [e]
