"""Kernels of hand-made nests against NumPy, through the ABI of docs/layout.md."""

from __future__ import annotations

import numpy as np
import pytest
from machine import NUMPY, Call, Operands, bf16, from_bf16, numpy_dtype, pointwise, row

from taimatsu.codegen import engine, llvm, monoids
from taimatsu.codegen.ir import (
    BF16,
    BOOL,
    C64,
    DTYPES,
    F16,
    F32,
    F64,
    I8,
    I16,
    I32,
    I64,
    U8,
    U16,
    U64,
    Axis,
    Buffer,
    Expr,
    Nest,
    Store,
    axis,
    const,
    item,
    load,
    reduce,
    scan,
)  # fmt: skip
from taimatsu.codegen.schedule import Schedule
from taimatsu.codegen.simplify import cast, logical, node, where

SIZES = (0, 1, 3, 7, 8, 31, 33, 63, 64, 65, 1000)
EXTENTS = (0, 1, 5, 16, 100, 4096)
KNOWN = [t for t in DTYPES.values() if t.name in NUMPY and t is not BF16]  # to NumPy
REAL = [t for t in KNOWN if t.kind in "iuf"]
rng = np.random.default_rng(0)


def sample(t, shape) -> np.ndarray:
    if t is BOOL:
        return rng.random(shape) > 0.5
    if t is BF16:
        return bf16(rng.standard_normal(shape))
    if t.kind == "c":
        parts = rng.standard_normal((2, *shape))
        return (parts[0] + 1j * parts[1]).astype(numpy_dtype(t))
    if t.kind == "f":
        return rng.standard_normal(shape).astype(numpy_dtype(t))
    info = np.iinfo(numpy_dtype(t))
    return rng.integers(info.min, info.max, shape, numpy_dtype(t), endpoint=True)


def empty(t, shape) -> np.ndarray:
    return np.full(shape, 77, numpy_dtype(t))


# Pointwise


def add(a, b):
    return node("add", a, b)


@pytest.mark.parametrize("t", [t for t in KNOWN if t not in (BOOL, F16)], ids=repr)
@pytest.mark.parametrize("n", SIZES)
def test_add_of_every_dtype(t, n):
    x, z, y = sample(t, (3, n)), sample(t, (3, n)), empty(t, (3, n))
    assert Call(pointwise(add, (t,), t, t), [y, x, z], extents=y.shape)() == 0
    np.testing.assert_array_equal(y, x + z)


@pytest.mark.parametrize("t", [F16, BF16], ids=repr)
@pytest.mark.parametrize("n", (3, 70))
def test_sixteen_bit_floats_compute_in_f32(t, n):
    def formula(a, b):
        return cast(node("mul", cast(a, F32), cast(b, F32)), t)

    x, z, y = sample(t, (2, n)), sample(t, (2, n)), empty(t, (2, n))
    Call(pointwise(formula, (t,), t, t), [y, x, z])()
    if t is F16:
        want = (x.astype("f") * z.astype("f")).astype(np.float16)
    else:
        want = bf16(from_bf16(x) * from_bf16(z))
    np.testing.assert_array_equal(y, want)


@pytest.mark.parametrize("n", (5, 64))
def test_bf16_rounds_to_nearest_even_and_keeps_nan(n):
    special = [1.00390625, 1.01171875, np.nan, np.inf, -0.0, 3.4e38]
    x = np.resize(np.array(special, "f"), (1, n))
    y = empty(BF16, (1, n))
    Call(pointwise(lambda a: cast(a, BF16), (BF16,), F32), [y, x])()
    np.testing.assert_array_equal(y, bf16(x))


STRIDES = {
    "contiguous": lambda a: a,
    "step 2": lambda a: np.repeat(a, 2, axis=1)[:, ::2],
    "reversed": lambda a: np.ascontiguousarray(a[:, ::-1])[:, ::-1],
    "transposed": lambda a: np.ascontiguousarray(a.T).T,
    "one row": lambda a: np.broadcast_to(a[:1], a.shape),
    "one column": lambda a: np.broadcast_to(a[:, :1], a.shape),
}


@pytest.mark.parametrize("t", [F32, F64, U8, BOOL, C64, BF16], ids=repr)
@pytest.mark.parametrize("layout", STRIDES)
@pytest.mark.parametrize("out", ["contiguous", "step 2", "transposed"])
def test_strides(t, layout, out):
    x = STRIDES[layout](sample(t, (37, 67)))
    y = STRIDES[out](np.zeros_like(sample(t, (37, 67))))
    Call(pointwise(lambda a: a, (t,), t), [y, x])()
    np.testing.assert_array_equal(y, x)


@pytest.mark.parametrize("source", KNOWN, ids=repr)
@pytest.mark.parametrize("to", KNOWN, ids=repr)
def test_cast(source, to):
    if source.kind == "c" and to.kind != "c":
        pytest.skip("formulas take a part")
    x = sample(source, (1, 45))
    if source.kind in "fc" and to.kind in "iu":
        x = np.abs(x) * 9
    y = empty(to, x.shape)
    Call(pointwise(lambda a: cast(a, to), (to,), source), [y, x])()
    with np.errstate(over="ignore"):
        want = x.astype("f") if to is F16 and source.bits > 32 else x  # 16 bits through f32
        np.testing.assert_array_equal(y, want.astype(numpy_dtype(to)))


INTEGERS = [t for t in DTYPES.values() if t.kind in "iu"]


@pytest.mark.parametrize("t", INTEGERS, ids=repr)
@pytest.mark.parametrize("n", (3, 65))
def test_division_truncates_and_never_traps(t, n):
    info = np.iinfo(numpy_dtype(t))
    x, z = sample(t, (1, n)), sample(t, (1, n))
    x[0, :2], z[0, :2] = (info.min, info.max), (-1 if t.kind == "i" else 1, 3)
    z[z == 0] = 1
    q, r = empty(t, (1, n)), empty(t, (1, n))
    both = pointwise(lambda a, b: (node("idiv", a, b), node("irem", a, b)), (t, t), t, t)
    assert Call(both, [q, r, x, z])() == 0
    exact = [(abs(int(a)) // abs(int(b))) * (-1 if (a < 0) != (b < 0) else 1)
             for a, b in zip(x[0], z[0], strict=True)]  # fmt: skip
    size = 1 << t.bits
    wrapped = [(e - info.min) % size + info.min for e in exact]
    assert q[0].tolist() == wrapped
    assert r[0].tolist() == [int(a) - e * int(b) for a, b, e in zip(x[0], z[0], exact, strict=True)]
    z[0, -1] = 0
    assert Call(both, [q, r, x, z])() == 1


@pytest.mark.parametrize("t", INTEGERS, ids=repr)
def test_division_by_a_number(t):
    """Next to whole quotients, and where quotients are next to whole ones."""
    info = np.iinfo(numpy_dtype(t))
    both = pointwise(lambda a, b: (node("idiv", a, b), node("irem", a, b)), (t, t), t, t)
    for d in {1, 3, 7, 10, info.max // 3, info.max - 1, info.max, info.min + 1, info.min, -1, -7}:
        if d == 0 or d < info.min:
            continue
        whole = (*range(-9, 9), info.max // d, *(s * (1 << 48) // d for s in (-1, 1)))
        near = [k * d + e for k in whole for e in (-1, 0, 1)]
        near += [info.min, info.min + 1, info.max, info.max - 1]
        x = np.array([[n for n in near if info.min <= n <= info.max]], numpy_dtype(t))
        q, r, z = empty(t, x.shape), empty(t, x.shape), np.full((1, 1), d, x.dtype)
        assert Call(both, [q, r, x, z])() == 0
        exact = [abs(n) // abs(d) * (-1 if (n < 0) != (d < 0) else 1) for n in x[0].tolist()]
        assert q[0].tolist() == [(e - info.min) % (1 << t.bits) + info.min for e in exact]
        assert r[0].tolist() == [n - e * d for n, e in zip(x[0].tolist(), exact, strict=True)]
    z[:] = 0
    assert Call(both, [q, r, x, z])() == 1


@pytest.mark.parametrize("t", [I64, U64], ids=repr)
@pytest.mark.parametrize("bits", [20, 50, 51, 52, 62])
def test_quotients_of_long_integers(t, bits):
    """About the limit up to which they are those of doubles, and next to whole quotients."""
    least = -(1 << bits) if t.kind == "i" else 0
    d = rng.integers(1, 1 << min(bits, 30), (1, 320)).astype(numpy_dtype(t))
    n = rng.integers(0, (1 << bits) // d.max(), d.shape).astype(d.dtype) * d
    n[0, ::3] -= t.kind == "i"
    n[0, 1::3] += 1
    n[0, :64:2], n[0, 1:64:2], n[0, 64:96] = least, (1 << bits) - 1, (1 << bits) - 2
    if t.kind == "i":
        d[0, ::5] *= -1
    q, r = empty(t, n.shape), empty(t, n.shape)
    both = pointwise(lambda a, b: (node("idiv", a, b), node("irem", a, b)), (t, t), t, t)
    assert Call(both, [q, r, n, d])() == 0
    np.testing.assert_array_equal(r, np.fmod(n, d))
    np.testing.assert_array_equal(q, (n - r) // d)


@pytest.mark.parametrize("t", INTEGERS, ids=repr)
def test_shifts_by_any_count(t):
    x, counts = sample(t, (1, 70)), np.resize(np.arange(-3 if t.kind == "i" else 0, 70), (1, 70))
    n = counts.astype(numpy_dtype(t))
    left, right = empty(t, x.shape), empty(t, x.shape)
    nest = pointwise(lambda a, b: (node("shl", a, b), node("shr", a, b)), (t, t), t, t)
    Call(nest, [left, right, x, n])()
    inside = (counts >= 0) & (counts < t.bits)
    safe = np.where(inside, n, 0).astype(n.dtype)
    gone = np.where(x < 0, -1, 0).astype(x.dtype) if t.kind == "i" else x * 0
    np.testing.assert_array_equal(left, np.where(inside, x << safe, 0))
    np.testing.assert_array_equal(right, np.where(inside, x >> safe, gone))


def test_plain_min_max_take_the_second_operand_of_a_nan():
    x = np.array([[1, np.nan, 2, np.nan]], "f")
    z = np.array([[np.nan, 1, 1, np.nan]], "f")
    low, high = empty(F32, x.shape), empty(F32, x.shape)
    nest = pointwise(lambda a, b: (node("min", a, b), node("max", a, b)), (F32, F32), F32, F32)
    Call(nest, [low, high, x, z])()
    np.testing.assert_array_equal(low, np.where(x < z, x, z))
    np.testing.assert_array_equal(high, np.where(x > z, x, z))


UNARY = {"floor": np.floor, "ceil": np.ceil, "trunc": np.trunc, "rint": np.rint,
         "abs": np.abs, "sqrt": np.sqrt, "neg": np.negative}  # fmt: skip


@pytest.mark.parametrize("op", UNARY)
@pytest.mark.parametrize("t", [F32, F64], ids=repr)
def test_float_instructions(op, t):
    x = np.concatenate([sample(t, (1, 60)) * 9, [[0.5, 1.5, -0.5, -0.0, np.inf, np.nan, 2.5]]], 1)
    x = x.astype(numpy_dtype(t))
    y = empty(t, x.shape)
    Call(pointwise(lambda a: node(op, a), (t,), t), [y, x])()
    with np.errstate(invalid="ignore"):
        np.testing.assert_array_equal(y, UNARY[op](x))
        assert (np.signbit(y) == np.signbit(UNARY[op](x)))[~np.isnan(x) & (y == y)].all()


@pytest.mark.parametrize("t", [BOOL, U8, I32, I64, F32], ids=repr)
@pytest.mark.parametrize("op", ["lt", "le", "eq", "ne"])
def test_comparisons_and_logic(t, op):
    compare = {"lt": np.less, "le": np.less_equal, "eq": np.equal, "ne": np.not_equal}[op]
    x, z = sample(t, (2, 77)), sample(t, (2, 77))
    z[:, ::3] = x[:, ::3]
    b = sample(BOOL, (2, 77))
    y, w = empty(BOOL, x.shape), empty(t, x.shape)

    def formula(a, c, b):
        test = logical("xor", Expr(op, (a, c), None, BOOL), b)
        return test, where(logical("or", test, b), a, c)

    Call(pointwise(formula, (BOOL, t), t, t, BOOL), [y, w, x, z, b])()
    np.testing.assert_array_equal(y, compare(x, z) ^ b)
    np.testing.assert_array_equal(w, np.where((compare(x, z) ^ b) | b, x, z))


def test_params_are_cast_to_their_dtype():
    x, y = sample(F32, (1, 40)), empty(F32, (1, 40))
    formula = lambda a, s, n: node("add", node("mul", a, s), cast(n, F32))
    Call(pointwise(formula, (F32,), F32, params=(F32, I64)), [y, x], scalars=(0.1, -3))()
    np.testing.assert_array_equal(y, x * np.float32(0.1) + np.float32(-3))


def test_a_rare_value_is_computed_for_the_lanes_that_need_it():
    def formula(a):
        far = node("mul", cast(a, F64), const(3.0, F64))
        cond = node("lt", const(2.0, F32), a, dtype=BOOL)
        return Expr("where", (cond, cast(far, F32), node("neg", a)), "rarely", F32)

    for n in (1, 9, 100):
        x, y = sample(F32, (1, n)) * 2, empty(F32, (1, n))
        Call(pointwise(formula, (F32,), F32), [y, x])()
        np.testing.assert_array_equal(y, np.where(x > 2, (x.astype("d") * 3).astype("f"), -x))


def test_splitting_gives_the_same_bits():
    def formula(a, b):
        return node("fma", node("div", a, b), node("sqrt", node("abs", a)), b)

    x, z = sample(F32, (9, 501)), sample(F32, (9, 501))
    whole, parts = empty(F32, x.shape), empty(F32, x.shape)
    nest = pointwise(formula, (F32,), F32, F32)
    Call(nest, [whole, x, z])()
    call = Call(nest, [parts, x, z])
    for rows in ((0, 4), (4, 9)):
        for cols in ((0, 1), (1, 67), (67, 500), (500, 501)):
            call([rows, cols])
    assert whole.tobytes() == parts.tobytes()


# Rows


def size_of(axes, t):
    return cast(node("mul", *(Expr("size", (), a, I64) for a in axes)), t)


def mean(axes, x):
    return node("div", reduce(monoids.SUM, axes, x), size_of(axes, x.dtype))


def variance(axes, x):
    d = node("sub", x, mean(axes, x))
    return mean(axes, node("mul", d, d))


def bump(x):
    """A positive function that takes a few operations, in place of exp."""
    one = const(1.0, x.dtype)
    u = node("div", one, node("add", one, node("mul", x, x)))
    for c in (1.0, 2.0, 3.0):
        u = node("mul", u, node("add", u, const(c, x.dtype)))
    return u


def softmax(axes, x):
    e = bump(node("sub", x, reduce(monoids.MAX, axes, x)))
    return node("div", e, reduce(monoids.SUM, axes, e))


def layer_norm(axes, x, w, b):
    d = node("sub", x, mean(axes, x))
    scale = node("sqrt", node("add", variance(axes, x), const(1e-5, x.dtype)))
    return node("add", node("mul", node("div", d, scale), w), b)


def softmax_reference(x):
    e = bump_reference(x - x.max((2, 3), keepdims=True))
    return e / e.sum((2, 3), keepdims=True)


def bump_reference(x):
    u = 1 / (1 + x * x)
    for c in (1, 2, 3):
        u = u * (u + c)
    return u


def rows(extent, height=1, t=F32, layout="rows", count=(2, 5)):
    """An array (k1, k0, r1, r0), contiguous along r0 or along k0."""
    shape = (*count, height, extent)
    if layout == "rows":
        return sample(t, shape)
    return np.ascontiguousarray(sample(t, shape).transpose(0, 3, 2, 1)).transpose(0, 3, 2, 1)


LAYOUTS = [(n, h, layout, how) for n in EXTENTS for h in (1, 3) for layout in ("rows", "columns")
           for how in (("whole", "short") if n < 16 else ("whole",))]  # fmt: skip


@pytest.mark.parametrize("n,height,layout,how", LAYOUTS)
@pytest.mark.parametrize("t", [F32, F64, BF16], ids=repr)
def test_sum(n, height, layout, how, t):
    x = rows(n, height, t, layout)
    y = empty(t, (2, 5, 1, 1))
    formula = lambda axes, a: cast(reduce(monoids.SUM, axes, cast(a, t.compute)), t)
    nest = row(formula, [(t, "cell")], (t, "row"))
    Call(nest, [y, x], rows=how, extents=x.shape)()
    values = from_bf16(x) if t is BF16 else x
    want = values.astype("d").sum((2, 3), keepdims=True)
    if t is BF16:
        np.testing.assert_allclose(from_bf16(y), want, rtol=1e-2, atol=0.2)
        return
    bound = np.abs(x).sum((2, 3), keepdims=True) * (1e-6 if t is F32 else 1e-15) + 1e-30
    assert (np.abs(y - want) <= bound).all()
    z = empty(t, y.shape)
    assert Call(nest, [z, x], rows="blocked", extents=x.shape).blocked() == 0
    assert (np.abs(z - want) <= bound).all()


@pytest.mark.parametrize("n,height,layout,how", [c for c in LAYOUTS if c[0]])
def test_argmax_and_max(n, height, layout, how):
    x = np.round(rows(n, height, F32, layout) * 4)  # with ties
    x.reshape(-1)[:: max(n, 7) * 3] = np.nan

    def formula(axes, a):
        best = reduce(monoids.ARGMAX, axes, a, *map(axis, axes))
        at = node("add", node("mul", item(best, 1), Expr("size", (), axes[1], I64)), item(best, 2))
        return item(best, 0), at

    flat = x.reshape(2, 5, 1, -1)
    values = np.maximum.reduce(flat, 3, keepdims=True)
    places = np.where(np.isnan(flat).any(3), np.isnan(flat).argmax(3), flat.argmax(3))
    nest = row(formula, [(F32, "cell"), (I64, "cell")], (F32, "row"))
    for run in (how, "blocked"):
        y, at = empty(F32, (2, 5, 1, 1)), empty(I64, (2, 5, 1, 1))
        call = Call(nest, [y, at, x], rows=run, extents=x.shape)
        (call.blocked if run == "blocked" else call)()
        np.testing.assert_array_equal(y, values)
        np.testing.assert_array_equal(at[..., 0], places)


@pytest.mark.parametrize("n,height,layout,how", [c for c in LAYOUTS if c[0]])
@pytest.mark.parametrize("t,tolerance", [(F32, 3e-6), (F64, 1e-14)], ids=repr)
def test_variance_softmax_layer_norm(n, height, layout, how, t, tolerance):
    x = rows(n, height, t, layout)
    exact = x.astype("d")
    y = np.empty_like(x)
    nest = row(lambda axes, a: softmax(axes, a), [(t, "row")], (t, "row"))
    Call(nest, [y, x], rows=how)()
    np.testing.assert_allclose(y, softmax_reference(exact), rtol=tolerance)

    v = empty(t, (2, 5, 1, 1))
    Call(row(variance, [(t, "cell")], (t, "row")), [v, x], rows=how, extents=x.shape)()
    np.testing.assert_allclose(v, exact.var((2, 3), keepdims=True), rtol=tolerance, atol=tolerance)

    w, b = sample(t, (1, 1, height, n)), sample(t, (1, 1, height, n))
    inputs = [(t, "row"), (t, "shared"), (t, "shared")]
    Call(row(layer_norm, [(t, "row")], *inputs), [y, x, w, b], rows=how)()
    d = exact - exact.mean((2, 3), keepdims=True)
    want = d / np.sqrt(exact.var((2, 3), keepdims=True) + 1e-5) * w + b
    np.testing.assert_allclose(y, want, rtol=0, atol=20 * tolerance)


@pytest.mark.parametrize("n,height,layout,how", [c for c in LAYOUTS if c[1] == 1])
@pytest.mark.parametrize("reverse", [False, True])
def test_cumsum(n, height, layout, how, reverse):
    x = rows(n, 1, F32, layout)
    y = np.empty_like(x)
    axes = tuple(Axis(name, name[0]) for name in ("k1", "k0", "r1", "r0"))
    make = Operands(axes)
    out, buffer = make.buffer(F32, "row"), make.buffer(F32, "row")
    index = list(make.index("row"))
    if reverse:
        last = node("sub", Expr("size", (), axes[3], I64), const(1, I64))
        index[3] = node("sub", last, index[3])
    total = scan(monoids.SUM, axes[3], cast(load(buffer, *index), F64))
    nest = Nest("cumsum", axes, [Store(out, tuple(index), cast(total, F32))],
                (out,), (buffer,), (), axes[2:])  # fmt: skip
    Call(nest, [y, x], rows=how)()
    wide = x.astype("d")
    want = wide[..., ::-1].cumsum(3)[..., ::-1] if reverse else wide.cumsum(3)
    np.testing.assert_allclose(y, want.astype("f"), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("layout", ["rows", "columns"])
def test_a_scan_is_kept_for_a_later_pass(layout):
    def formula(axes, a):
        running = scan(monoids.SUM, axes[1], a)
        return node("div", running, reduce(monoids.MAX, axes, running))

    x = np.abs(rows(100, 1, F64, layout))
    y = np.empty_like(x)
    Call(row(formula, [(F64, "row")], (F64, "row")), [y, x])()
    want = x.cumsum(3)
    np.testing.assert_allclose(y, want / want.max(3, keepdims=True), rtol=1e-12)


@pytest.mark.parametrize("layout", ["rows", "columns"])
@pytest.mark.parametrize("n", [5, 333])
def test_rows_don_t_depend_on_their_neighbours_or_on_the_split(layout, n):
    x = rows(n, 1, F32, layout, (3, 71))
    nest = row(lambda axes, a: softmax(axes, a), [(F32, "row")], (F32, "row"))
    whole, parts = np.empty_like(x), np.empty_like(x)
    Call(nest, [whole, x])()
    call = Call(nest, [parts, x])
    for k1 in ((0, 2), (2, 3)):
        for k0 in ((0, 1), (1, 34), (34, 70), (70, 71)):
            call([k1, k0, (0, 1), (0, n)])
    assert whole.tobytes() == parts.tobytes()


def test_fused_sums_have_the_bits_of_eager_ones():
    x, z = rows(1000), rows(1000)
    product = x * z
    eager, fused, other = (empty(F32, (2, 5, 1, 1)) for _ in range(3))
    Call(row(lambda axes, a: reduce(monoids.SUM, axes, a), [(F32, "cell")], (F32, "row")),
         [eager, product], extents=x.shape)()  # fmt: skip

    def formula(axes, a, b):
        return reduce(monoids.SUM, axes, node("mul", a, b)), reduce(monoids.MAX, axes, a)

    outs = [(F32, "cell"), (F32, "cell")]
    Call(row(formula, outs, (F32, "row"), (F32, "row")), [fused, other, x, z], extents=x.shape)()
    assert fused.tobytes() == eager.tobytes()


def test_long_sums_keep_their_digits():
    x = rng.random((1, 1, 1, 3_000_000)).astype("f")
    column = x.transpose(0, 1, 3, 2).copy().transpose(0, 1, 3, 2)
    nest = row(lambda axes, a: reduce(monoids.SUM, axes, a), [(F32, "cell")], (F32, "row"))
    want = x.astype("d").sum()
    for array in (x, column):
        for run in ("whole", "blocked"):
            y = empty(F32, (1, 1, 1, 1))
            call = Call(nest, [y, array], rows=run, extents=x.shape)
            (call.blocked if run == "blocked" else call)()
            assert abs(y.item() / want - 1) < 3e-7


@pytest.mark.parametrize("t", [BOOL, U8, I8, U16, I16], ids=repr)
@pytest.mark.parametrize("layout", ["rows", "columns"])
def test_sums_of_few_bits_don_t_overflow(t, layout):
    for n, run in ((31, "bundled"), (511, "bundled"), (511, "whole"), (9000, "whole")):
        x = rows(n, 1, t, layout, (2, 9))
        x[0] = True if t is BOOL else np.iinfo(x.dtype).max
        x[1, :5] = False if t is BOOL else np.iinfo(x.dtype).min
        y = empty(I64, (2, 9, 1, 1))
        nest = row(lambda axes, a: reduce(monoids.SUM, axes, cast(a, I64)),
                   [(I64, "cell")], (t, "row"))  # fmt: skip
        Call(nest, [y, x], extents=x.shape, rows=run)()
        np.testing.assert_array_equal(y, x.sum(3, dtype=np.int64, keepdims=True))


def test_any_all_of_bools():
    x = sample(BOOL, (2, 5, 1, 77))
    x[0, 0], x[1, 1] = False, True
    some, every = empty(BOOL, (2, 5, 1, 1)), empty(BOOL, (2, 5, 1, 1))
    nest = row(lambda r, a: (reduce(monoids.ANY, r, a), reduce(monoids.ALL, r, a)),
               [(BOOL, "cell"), (BOOL, "cell")], (BOOL, "row"))  # fmt: skip
    Call(nest, [some, every, x], extents=x.shape)()
    np.testing.assert_array_equal(some, x.any(3, keepdims=True))
    np.testing.assert_array_equal(every, x.all(3, keepdims=True))


# Indexed


def integer(i):
    return const(i, I64)


def extent(b, d):
    return Expr("size", (), (b, d), I64)


def inside(b, d, i):
    low = node("le", integer(0), i, dtype=BOOL)
    return logical("and", low, node("lt", i, extent(b, d), dtype=BOOL))


def checked(b, d, i):
    return where(node("check", inside(b, d, i), arg=2), i, integer(0))


def indexed(ranks, stores):
    """Buffers of given (dtype, rank), outputs first, and a nest of `stores(*buffers)`."""
    buffers = [Buffer(f"x{i}", t, rank, i) for i, (t, rank) in enumerate(ranks)]
    axes, outputs, stores = stores(*buffers)
    return Nest("test", axes, stores, tuple(buffers[:outputs]), tuple(buffers[outputs:]))


def run(nest, arrays, extents, **options):
    call = Call(nest, arrays, extents=extents, indexed=True, **options)
    return call(), call


@pytest.mark.parametrize("t", [F32, F64, BOOL, U8, C64, BF16], ids=repr)
@pytest.mark.parametrize("width", [1, 7, 77])
def test_gather_of_rows(t, width):
    def stores(y, x, index):
        n, d = Axis("n"), Axis("d")
        at = checked(x, 0, load(index, axis(n)))
        return (n, d), 1, [Store(y, (axis(n), axis(d)), load(x, at, axis(d)))]

    x, index = sample(t, (50, width)), rng.integers(0, 50, 33)
    y = empty(t, (33, width))
    nest = indexed([(t, 2), (t, 2), (I64, 1)], stores)
    assert run(nest, [y, x, index], y.shape)[0] == 0
    np.testing.assert_array_equal(y, x[index])
    index[7] = 50
    assert run(nest, [y, x, index], y.shape)[0] == 2
    nothing = np.zeros((0, width), x.dtype)
    assert run(nest, [y, nothing, index], y.shape)[0] == 2


@pytest.mark.parametrize("t", [F32, U8, I64], ids=repr)
def test_gather_along_the_last_dim(t):
    def stores(y, x, index):
        n, d = Axis("n"), Axis("d")
        at = checked(x, 1, load(index, axis(n), axis(d)))
        return (n, d), 1, [Store(y, (axis(n), axis(d)), load(x, axis(n), at))]

    x, index = sample(t, (9, 40)), rng.integers(0, 40, (9, 101))
    y = empty(t, index.shape)
    nest = indexed([(t, 2), (t, 2), (I64, 2)], stores)
    assert run(nest, [y, x, index], y.shape)[0] == 0
    np.testing.assert_array_equal(y, np.take_along_axis(x, index, 1))


@pytest.mark.parametrize("t", [F32, U8, C64], ids=repr)
@pytest.mark.parametrize("shift", [0, 1, 40, 99])
def test_roll_reads_each_half_in_vectors(t, shift):
    def stores(y, x):
        n, d = Axis("n"), Axis("d")
        i, s = axis(d), integer(shift)
        wrapped = node("add", node("sub", i, s), extent(x, 1))
        at = where(node("lt", i, s, dtype=BOOL), wrapped, node("sub", i, s))
        return (n, d), 1, [Store(y, (axis(n), i), load(x, axis(n), at))]

    x = sample(t, (3, 100))
    y = empty(t, x.shape)
    assert run(indexed([(t, 2), (t, 2)], stores), [y, x], y.shape)[0] == 0
    np.testing.assert_array_equal(y, np.roll(x, shift, 1))


def test_reflection():
    def stores(y, x):
        n, d = Axis("n"), Axis("d")
        last = node("sub", extent(x, 1), integer(1))
        i = node("sub", axis(d), integer(10))
        at = node("sub", last, node("abs", node("sub", last, node("abs", i))))
        return (n, d), 1, [Store(y, (axis(n), axis(d)), load(x, axis(n), at))]

    x, y = sample(F32, (5, 61)), empty(F32, (5, 81))
    run(indexed([(F32, 2), (F32, 2)], stores), [y, x], y.shape)
    np.testing.assert_array_equal(y, np.pad(x, ((0, 0), (10, 10)), "reflect"))


@pytest.mark.parametrize("t", [F32, U8], ids=repr)
@pytest.mark.parametrize("step", [2, 3, 4, 5, -1, -2])
@pytest.mark.parametrize("n", [1, 8, 75])
def test_steps(t, step, n):
    begin = 0 if step > 0 else (n - 1) * -step

    def stores(y, x):
        (d,) = axes = (Axis("d"),)
        at = node("add", node("mul", axis(d), integer(step)), integer(begin))
        return axes, 1, [Store(y, (axis(d),), load(x, at))]

    x, y = sample(t, ((n - 1) * abs(step) + 1,)), empty(t, (n,))
    run(indexed([(t, 1), (t, 1)], stores), [y, x], y.shape)
    np.testing.assert_array_equal(y, x[::step] if step > 0 else x[::-1][::-step])


POOLS = [(2, 2, 0), (3, 2, 1), (3, 1, 1), (5, 4, 2), (3, 3, 1)]


@pytest.mark.parametrize("t", [F32, F64], ids=repr)
@pytest.mark.parametrize("k,s,p", POOLS)
def test_max_pooling_with_index(t, k, s, p):
    def stores(y, index, x):
        n, i, j = axes = tuple(map(Axis, "nij"))
        u, v = Axis("u", "w", k), Axis("v", "w", k)
        h, w = (node("add", node("sub", node("mul", axis(a), integer(s)), integer(p)), axis(b))
                for a, b in ((i, u), (j, v)))  # fmt: skip
        ok = logical("and", inside(x, 1, h), inside(x, 2, w))
        value = where(ok, load(x, axis(n), h, w), const(-np.inf, t))
        flat = node("add", node("mul", h, extent(x, 2)), w)
        best = reduce(monoids.ARGMAX, (u, v), value, where(ok, flat, integer(monoids.LAST)))
        at = tuple(map(axis, axes))
        return axes, 2, [Store(y, at, item(best, 0)), Store(index, at, item(best, 1))]

    x = sample(t, (3, 29, 70))
    padded = np.pad(x, ((0, 0), (p, p), (p, p)), constant_values=-np.inf)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (k, k), (1, 2))[:, ::s, ::s]
    want = windows.max((3, 4))
    y, index = np.empty_like(want), empty(I64, want.shape)
    flags, call = run(indexed([(t, 3), (I64, 3), (t, 3)], stores), [y, index, x], y.shape)
    assert flags == 0
    np.testing.assert_array_equal(y, want)
    np.testing.assert_array_equal(np.take_along_axis(x.reshape(3, -1), index.reshape(3, -1), 1),
                                  want.reshape(3, -1))  # fmt: skip
    assert call.kernel.parallel == (0, 1, 2)


def test_scatter_adds_rows_in_order():
    def stores(y, g, index):
        n, d = Axis("n"), Axis("d")
        i = load(index, axis(n))
        ok = node("check", inside(y, 0, i), arg=2)
        value = load(g, axis(n), axis(d))
        return (n, d), 1, [Store(y, (i, axis(d)), value, monoids.SUM, ok)]

    g, index = sample(F32, (90, 77)), rng.integers(0, 20, 90)
    y, want = np.zeros((20, 77), "f"), np.zeros((20, 77), "f")
    np.add.at(want, index, g)
    nest = indexed([(F32, 2), (F32, 2), (I64, 1)], stores)
    flags, call = run(nest, [y, g, index], g.shape)
    assert flags == 0
    assert call.kernel.parallel == (1,)
    np.testing.assert_array_equal(y, want)
    index[3] = -1
    y[:] = 0
    assert run(nest, [y, g, index], g.shape)[0] == 2
    want[:] = 0
    np.add.at(want, index[:3], g[:3])  # where the check fails the kernel ends
    np.testing.assert_array_equal(y, want)


def test_scatter_along_the_last_dim_is_sequential():
    def stores(y, g, index):
        n, d = Axis("n"), Axis("d")
        i = load(index, axis(n), axis(d))
        ok = node("check", inside(y, 1, i), arg=2)
        return (n, d), 1, [Store(y, (axis(n), i), load(g, axis(n), axis(d)), monoids.SUM, ok)]

    g, index = sample(F32, (6, 77)), rng.integers(0, 9, (6, 77))
    y, want = np.zeros((6, 9), "f"), np.zeros((6, 9), "f")
    np.add.at(want, (np.arange(6)[:, None], index), g)
    flags, call = run(indexed([(F32, 2), (F32, 2), (I64, 2)], stores), [y, g, index], g.shape)
    assert (flags, call.kernel.parallel) == (0, (0,))
    np.testing.assert_array_equal(y, want)


def test_stores_over_windows():
    def stores(y, g):
        n, i, j = axes = tuple(map(Axis, "nij"))
        u, v = Axis("u", "w", 3), Axis("v", "w", 3)
        h, w = (node("add", node("mul", axis(a), integer(2)), axis(b)) for a, b in ((i, u), (j, v)))
        return axes, 1, [Store(y, (axis(n), h, w), load(g, *map(axis, axes)), monoids.SUM)]

    g = sample(F32, (40, 5, 6))
    y, want = np.zeros((40, 11, 13), "f"), np.zeros((40, 11, 13), "f")
    for i in range(5):
        for j in range(6):
            want[:, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3] += g[:, i : i + 1, j : j + 1]
    flags, call = run(indexed([(F32, 3), (F32, 3)], stores), [y, g], g.shape)
    assert (flags, call.kernel.parallel) == (0, (0,))
    np.testing.assert_allclose(y, want, rtol=1e-5, atol=1e-6)


# Schedules


def test_one_row_is_vectorised_along_the_row():
    """A single row is contiguous along k0 as well as r0; only r0 has elements to put in lanes."""
    nest = row(lambda r, a: reduce(monoids.SUM, r, a), [(F32, "cell")], (F32, "row"))
    assert Schedule(nest, ("cu", "cc")).along_row
    assert Schedule(nest, ("cu", "sc")).along_row
    assert not Schedule(nest, ("cu", "cs")).along_row  # a sum over rows, as of x.sum(0)


# Other machines

TARGETS = {"sse": llvm.SSE, "avx2": llvm.AVX2, "avx512": llvm.AVX512, "neon": llvm.NEON}
INSTRUCTION = {"sse": "addps", "avx2": "ymm", "avx512": "zmm", "neon": ".4s"}


def kernels():
    yield pointwise(add, (F32,), F32, F32), ("sc",) * 3, {}
    yield pointwise(lambda a: cast(node("sqrt", cast(a, F32)), F16), (F16,), F16), ("sc", "ss"), {}
    yield pointwise(lambda a, b: node("idiv", a, b), (I64,), I64, I64), ("sc",) * 3, {}
    summed = row(lambda r, a: reduce(monoids.SUM, r, a), [(F32, "cell")], (F32, "row"))
    yield summed, ("cu", "sc"), {"rows": "blocked"}
    yield summed, ("cu", "cs"), {}
    yield row(softmax, [(F32, "row")], (F32, "row")), ("sc", "sc"), {}
    best = lambda r, a: item(reduce(monoids.ARGMAX, r, cast(a, F32), *map(axis, r)), 2)
    yield row(best, [(I64, "cell")], (BF16, "row")), ("cu", "sc"), {}


@pytest.mark.parametrize("name", TARGETS)
def test_other_targets(name):
    assembly = ""
    for nest, classes, options in kernels():
        schedule = Schedule(nest, classes, **options)
        text = engine.render(schedule, TARGETS[name])
        assembly += engine.emit(text, TARGETS[name], assembly=True)
    assert INSTRUCTION[name] in assembly
