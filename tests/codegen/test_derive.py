"""Derived gradients against finite differences, to the second order, and their shape."""

from __future__ import annotations

import formulas as f
import numpy as np
import pytest
from reference import call, gradients, perturbed, statics_of, steps_of

from taimatsu.codegen import lang
from taimatsu.codegen.ir import F64
from taimatsu.ops.table import pointwise

rng = np.random.default_rng(7)
X = (rng.permutation(12) - 5.5).reshape(3, 4) / 4  # no ties, and nothing near 0
W, B = rng.normal(size=(2, 4))
IMAGE = rng.permutation(24).reshape(1, 2, 3, 4) / 8.0
POSITIVE = np.abs(X) + 0.5

CASES = {
    "gelu": (f.gelu, (X,)),
    "gelu_tanh": (f.gelu, (X, "tanh")),
    "add_broadcast": (f.add, (X, W, 2.5)),
    "add_number": (f.add, (X, 3.0, 2.5)),
    "mul": (f.mul, (X, X + 1)),
    "div": (f.div, (X, POSITIVE)),
    "pow": (f.power, (POSITIVE, X)),
    "pow_number": (f.power, (POSITIVE, 2.5)),
    "maximum": (f.larger, (X, X[::-1].copy())),
    "exp": (f.exponential, (X,)),
    "where": (f.select, (X > 0, X, W)),
    "safe_sqrt": (f.safe_sqrt, (X,)),
    "sigmoid": (f.sigmoid, (X,)),
    "silu": (f.silu, (X,)),
    "power_series": (f.power_series, (X, np.round(4 * W * W) + 0.5)),
    "nested_root": (f.nested_root, (POSITIVE,)),
    "softmax": (f.softmax, (X, 1)),
    "softmax_dim0": (f.softmax, (X, 0)),
    "log_softmax": (f.log_softmax, (X, 1)),
    "logsumexp": (f.logsumexp, (X, (1,))),
    "logsumexp_keepdim": (f.logsumexp, (X, (0,), True)),
    "logsumexp_all": (f.logsumexp, (X, (0, 1))),
    "layer_norm": (f.layer_norm, (X, W, B)),
    "layer_norm_plain": (f.layer_norm, (X, None, None)),
    "layer_norm_weight": (f.layer_norm, (X, W, None)),
    "batch_norm": (f.batch_norm, (X.reshape(2, 3, 2), W[:3], B[:3], 1e-5)),
    "cross_entropy": (f.cross_entropy, (X, np.array([0, 3, 2]))),
    "sum": (f.total, (X, (1,))),
    "sum_all": (f.total, (X, None)),
    "mean": (f.mean, (X, (0,), True)),
    "prod": (f.prod, (X, 1)),
    "amax": (f.amax, (X, (1,))),
    "max_dim": (f.max_dim, (X, 1)),
    "var": (f.var, (X, (1,))),
    "var_all": (f.var, (X, None, 0)),
    "cumsum": (f.cumsum, (X, 0)),
    "scaled_cumsum": (f.scaled_cumsum, (X, W, 1)),
    "reflection_pad1d": (f.reflection_pad1d, (X, 2)),
    "max_pool2d": (f.max_pool2d, (IMAGE, (2, 2), (2, 2), (1, 1))),
    "avg_pool2d_overlapping": (f.avg_pool2d, (IMAGE, (2, 3), (1, 1), (1, 1))),
    "avg_pool2d_stepped": (f.avg_pool2d, (IMAGE, (2, 2), (2, 2), (1, 1))),
    "correlate": (f.correlate, (X, W[:3], (3,))),
    "take": (f.take, (X, np.array([2, 0, 2]))),
    "roll": (f.roll, (X, 2)),
    "flip": (f.flip, (X,)),
    "outer": (f.outer, (X,)),
    "window_max": (f.window_max, (X, (2,))),
}  # fmt: skip


def mask_of(op, args):
    """Every argument that has a derivative."""
    floating = [isinstance(a, np.ndarray) and a.dtype.kind == "f" for a in args]
    return sum(
        1 << i
        for i, (p, ok) in enumerate(zip(op.parsed.params, floating, strict=False))
        if ok and op.takes_gradient(p)
    )


def difference_error(op, args, mask):
    """The largest difference of the plan's gradients from central differences."""
    outs = call(op, *args)
    gs = [np.random.default_rng(1).normal(size=o.shape) for o in outs]

    def loss(changed):
        outs = call(op, *changed)
        return sum((o * g).sum() for o, g in zip(outs, gs, strict=True) if o.dtype.kind == "f")

    wanted = [i for i in range(len(op.parsed.params)) if mask >> i & 1]
    worst = 0.0
    for i, got in zip(wanted, gradients(op, args, gs, mask), strict=True):
        expected = perturbed(loss, args, i)
        got = np.zeros_like(expected) if got is None else got
        worst = max(worst, np.max(np.abs(got - expected) / (1 + np.abs(expected)), initial=0))
    return worst


def check_to_order(op, args, mask, order):
    """The gradients of `op`, and of the ops that compute them, and of theirs."""
    assert difference_error(op, args, mask) < 1e-6, op.schema
    if order == 1:
        return
    gs = [np.random.default_rng(2).normal(size=o.shape) for o in call(op, *args)]
    for callee, values, read in steps_of(op, args, gs, mask):
        taken = mask_of(callee, values)
        taken &= sum(1 << i for i, ok in enumerate(read) if ok)
        if taken:
            check_to_order(callee, values, taken, order - 1)


@pytest.mark.parametrize("name", CASES)
def test_gradients_match_differences(name):
    op, args = CASES[name]
    order = 3 if name in ("gelu", "softmax", "cross_entropy", "flip", "max_pool2d") else 2
    check_to_order(op, args, mask_of(op, args), order)


def saved(op, args, mask=None):
    """Which arguments and outputs the plan keeps."""
    given = op.bind(args, {})
    present = {p.name: given.get(p.name) is not None for p in op.parsed.tensors}
    plan = op.plan(mask or mask_of(op, args), statics_of(op, given), present)
    sources = {s for _, sources, _ in plan.steps for s in sources}
    tensors = {i for i, p in enumerate(op.parsed.params) if p.tensor}
    return {s for s in sources if s[0] == "out" or (s[0] == "arg" and s[1] in tensors)}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("exp", {("out", 0)}),
        ("sigmoid", {("out", 0)}),
        ("softmax", {("out", 0)}),
        ("log_softmax", {("out", 0)}),
        ("logsumexp", {("arg", 0), ("out", 0)}),
        ("sum", set()),
        ("mean", set()),
        ("cumsum", set()),
        ("add_broadcast", set()),
        ("mul", {("arg", 0), ("arg", 1)}),
        ("div", {("arg", 0), ("arg", 1)}),
        ("max_dim", {("out", 1)}),
        ("where", {("arg", 0)}),
        ("take", {("arg", 1)}),
        ("reflection_pad1d", set()),
    ],
)
def test_saves_only_what_the_gradient_mentions(name, expected):
    assert saved(*CASES[name]) == expected


def test_softmax_derives_to_the_closed_form():
    (callee, _, _), = f.softmax.plan(1, {}, {"self": True}).steps
    v = callee.variant((("f32", "tensor"), ("f32", "tensor")), {})
    g, y = "g[k1, k0, 0, r0]", "result[k1, k0, 0, r0]"
    expected = f"mul(sub({g}, reduce.sum[r0](mul({g}, {y}))), {y})"
    assert repr(v.nest.stores[0].value) == expected


def test_identity_needs_no_op():
    plan = f.add.plan(0b11, {}, {"self": True, "other": True})
    assert plan.grads[0] == ("g", 0)
    assert len(plan.steps) == 1  # alpha * g


def test_integral_inputs_have_no_gradient():
    plan = f.less.plan(0b11, {}, {"self": True, "other": True})
    assert plan.grads == [None, None]


def test_select_keeps_infinities_out():
    x = np.array([0.0, -1.0, 4.0])
    (g,) = gradients(f.safe_sqrt, (x,), [np.ones(3)], 1)
    np.testing.assert_array_equal(g, [0, 0, 0.25])


def test_own_gradient_holds_inside_other_formulas():
    x = np.array([-1000.0, 0.0, 1000.0])
    (g,) = gradients(f.silu, (x,), [np.ones(3)], 1)
    np.testing.assert_allclose(g, [0, 0.5, 1])


def test_ties_share_the_gradient_of_amax():
    x = np.array([[1.0, 3.0, 3.0]])
    (g,) = gradients(f.amax, (x, (1,)), [np.ones(1)], 1)
    np.testing.assert_array_equal(g, [[0, 0.5, 0.5]])
    (g,) = gradients(f.max_dim, (x, 1), [np.ones(1), np.zeros(1)], 1)
    np.testing.assert_array_equal(g, [[0, 1, 0]])


def test_product_with_zeros():
    x = np.array([[2.0, 0.0, 3.0], [0.0, 0.0, 5.0], [1.0, 2.0, 3.0]])
    (g,) = gradients(f.prod, (x, 1), [np.ones(3)], 1)
    np.testing.assert_array_equal(g, [[0, 6, 0], [0, 0, 0], [6, 3, 2]])


def test_unit_steps_are_gathered_and_longer_ones_scattered():
    def accumulates(op, statics):
        (callee, _, _), = op.plan(1, statics, {"self": True}).steps
        return bool(callee.accumulates)

    pool = {"k": (2, 2), "p": (0, 0)}
    assert not accumulates(f.avg_pool2d, {**pool, "s": (1, 1)})
    assert accumulates(f.avg_pool2d, {**pool, "s": (2, 2)})
    assert not accumulates(f.reflection_pad1d, {"p": 2})
    assert not accumulates(f.flip, {})
    assert not accumulates(f.roll, {"shift": 1})


def test_gradient_in_the_dtype_of_16_bit_inputs():
    x = X.astype(np.float16)
    (g,) = gradients(f.softmax, (x, 1), [np.ones_like(x)], 1)
    assert g.dtype == np.float16


def test_complex_gradients_are_conjugate():
    a, b = X + 1j, X[::-1] - 2j
    g = np.ones_like(a)
    ga, gb = gradients(f.mul, (a, b), [g], 0b11)
    np.testing.assert_allclose(ga, b.conj())
    np.testing.assert_allclose(gb, a.conj())


def test_what_differs_for_complex_numbers():
    z = X + 1j * X[::-1]
    (g,) = gradients(f.conjugate, (z,), [z], 1)
    np.testing.assert_array_equal(g, z.conj())
    (g,) = gradients(f.imaginary, (z,), [X], 1)
    np.testing.assert_array_equal(g, 1j * X)
    (g,) = gradients(f.magnitude, (z,), [X], 1)
    np.testing.assert_allclose(g, X * z / np.abs(z))
    (g,) = gradients(f.magnitude, (X,), [X], 1)
    np.testing.assert_allclose(g, X * np.sign(X))


def test_underivable_scan_names_the_remedy():
    with pytest.raises(NotImplementedError, match=r"\.gradient"):
        f.cummax.plan(1, {}, {"self": True})


def test_extremes_of_another_type_than_the_formula():
    @pointwise
    def clamped(x):
        return lang.cast(lang.clamp(lang.cast(x, F64), 0.0, 1.0), x.dtype)

    x = np.array([-1.0, 0.5, 2.0], np.float32)
    (g,) = gradients(clamped, (x,), [np.ones_like(x)], 1)
    np.testing.assert_array_equal(g, [0, 1, 0])
