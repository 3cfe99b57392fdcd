"""From formulas to nests: values, dtypes, scalars, errors; the nests run by the interpreter."""

from __future__ import annotations

import formulas as f
import numpy as np
import pytest
from reference import call
from scipy import special

import taimatsu.ops  # noqa: F401  (fills the table)
from taimatsu.codegen import interp, lang, promote
from taimatsu.codegen.ir import DTYPES, I64
from taimatsu.codegen.simplify import const, node
from taimatsu.ops.schema import parse
from taimatsu.ops.table import ENTRIES, Op, pointwise

rng = np.random.default_rng(0)
X = rng.normal(size=(4, 5))


def close(got, expected):
    np.testing.assert_allclose(got, expected, rtol=1e-12, atol=1e-13)


def test_pointwise():
    close(*call(f.gelu, X), X * special.ndtr(X))
    close(*call(f.add, X, X[0], 2), X + 2 * X[0])
    close(*call(f.select, X > 0, X, 0.5), np.where(X > 0, X, 0.5))


@pytest.mark.parametrize("dim", [0, 1])
def test_rows_along_any_dim(dim):
    close(*call(f.softmax, X, dim), special.softmax(X, dim))
    close(*call(f.log_softmax, X, dim), special.log_softmax(X, dim))
    close(*call(f.cumsum, X, dim), X.cumsum(dim))
    close(*call(f.var, X, (dim,)), X.var(dim, ddof=1))
    close(*call(f.logsumexp, X, (dim,), True), special.logsumexp(X, dim, keepdims=True))


def test_rows_of_several_dims():
    x = rng.normal(size=(2, 3, 4, 5))
    close(*call(f.total, x, (1, 3)), x.sum((1, 3)))
    close(*call(f.var, x, None), x.var(ddof=1))
    close(*call(f.mean, x, (0, 2), True), x.mean((0, 2), keepdims=True))
    assert call(f.argmin, x)[0] == x.argmin()


def test_argmax_takes_the_first_of_equals_and_nan_over_all():
    x = np.array([[1, 3, 3, 0], [np.nan, 9, np.nan, 9], [-np.inf] * 4])
    values, indices = call(f.max_dim, x, 1)
    np.testing.assert_array_equal(values, [3, np.nan, -np.inf])
    np.testing.assert_array_equal(indices, [1, 0, 0])
    values, indices = call(f.cummax, x, 1)
    np.testing.assert_array_equal(indices, [[0, 1, 2, 2], [0, 0, 2, 2], [0, 1, 2, 3]])


def test_layer_norm_and_cross_entropy():
    w, b = rng.normal(size=(2, 5))
    mean, var = X.mean(1, keepdims=True), X.var(1, keepdims=True)
    close(*call(f.layer_norm, X, w, b), (X - mean) / np.sqrt(var + 1e-5) * w + b)
    target = np.array([0, 4, 2, 3])
    expected = -special.log_softmax(X, 1)[range(4), target]
    close(*call(f.cross_entropy, X, target), expected)
    with pytest.raises(interp.IndexOutOfRange):
        call(f.cross_entropy, X, np.array([0, 5, 2, 3]))


def test_indexed():
    close(*call(f.reflection_pad1d, X, 2), np.pad(X, ((0, 0), (2, 2)), mode="reflect"))
    close(*call(f.roll, X, 2), np.roll(X, 2, 1))
    close(*call(f.flip, X), X[:, ::-1])
    close(*call(f.take, X, np.array([1, 1, 4])), X[:, [1, 1, 4]])
    with pytest.raises(interp.IndexOutOfRange):
        call(f.take, X, np.array([5]))


def test_max_pool_index_is_never_of_the_padding():
    x = np.full((1, 1, 4, 4), -np.inf)
    y, index = call(f.max_pool2d, x, (3, 3), (2, 2), (1, 1))
    np.testing.assert_array_equal(y, np.full((1, 1, 2, 2), -np.inf))
    np.testing.assert_array_equal(index, [[[[0, 1], [4, 5]]]])


# ---- dtypes -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("op", "operands", "outputs", "compute"),
    [
        (f.mul, [("f32", "tensor"), ("f64", "tensor")], ["f64"], "f64"),
        (f.mul, [("f32", "tensor"), ("f64", "scalar")], ["f32"], "f32"),
        (f.mul, [("i32", "tensor"), ("f64", "scalar")], ["f64"], "f64"),
        (f.mul, [("i32", "tensor"), ("f64", "number")], ["f32"], "f32"),
        (f.mul, [("bf16", "tensor"), ("f64", "number")], ["bf16"], "f32"),
        (f.mul, [("bf16", "tensor"), ("f16", "tensor")], ["f32"], "f32"),
        (f.mul, [("bool", "tensor"), ("i64", "number")], ["i64"], "i64"),
        (f.mul, [("u8", "tensor"), ("i8", "tensor")], ["i16"], "i16"),
        (f.mul, [("f64", "tensor"), ("c128", "number")], ["c128"], "c128"),
        (f.mul, [("f32", "tensor"), ("c128", "number")], ["c64"], "c64"),
        (f.mul, [("i64", "tensor"), ("c128", "number")], ["c64"], "c64"),
        (f.div, [("i32", "tensor"), ("i64", "number")], ["f32"], "f32"),
        (f.less, [("f16", "tensor"), ("f64", "number")], ["bool"], "f32"),
        (f.total, [("bool", "tensor")], ["i64"], "bool"),
        (f.total, [("f16", "tensor")], ["f16"], "f32"),
        (f.max_dim, [("i32", "tensor")], ["i32", "i64"], "i32"),
    ],
)
def test_dtypes(op, operands, outputs, compute):
    v = op.variant(tuple(operands), {})
    assert [t for t, _ in v.outputs] == outputs
    assert v.compute == compute


def test_default_dtype_is_what_integers_become():
    promote.set_default_dtype("f64")
    try:
        v = f.div.variant((("i32", "tensor"), ("i32", "tensor")), {})
        assert v.outputs == (("f64", "point"),)
    finally:
        promote.set_default_dtype("f32")


def test_sum_in_a_given_dtype():
    (y,) = call(f.total, np.full((2, 300), 200, np.uint8), (1,), dtype="f64")
    np.testing.assert_array_equal(y, np.full(2, 60000.0))


def test_scalars_come_numbers_first_in_the_compute_category():
    v = f.add.variant((("c64", "tensor"), ("f64", "number")), {})
    assert v.scalars == ("c", "c")
    assert [p.slot for p in v.nest.params] == [0, 2]
    v = f.add.variant((("i32", "tensor"), ("i64", "number")), {})
    assert v.scalars == ("i", "i")
    assert [t.name for t in (p.dtype for p in v.nest.params)] == ["i64", "i64"]


def test_unsupported_dtype_names_the_given_and_the_supported():
    with pytest.raises(NotImplementedError, match=r"gelu: not defined for int64.*float32"):
        f.gelu.variant((("i64", "tensor"),), {"approximate": "none"})


def test_values_promote_inside_formulas():
    with lang.tracing(lang.Context("pointwise", DTYPES["f32"])):
        i, x = lang.Value(const(1, I64)), lang.Value(const(1.5, DTYPES["f32"]))
        flag = lang.Value(const(True, DTYPES["bool"]))
        assert (i + x).dtype.name == "f32"
        assert (i / 2).dtype.name == "f64"
        assert (flag + 1).dtype.name == "i64"
        assert (x * 2j).dtype.name == "c64"
        assert (x > 1).dtype.name == "bool"
        assert (1 - x).dtype.name == "f32"


# ---- mistakes ---------------------------------------------------------------------------------


def trace(schema, formula, kind="pointwise", **options):
    op = Op(schema, kind, formula, **options)
    operands = tuple(("f32", "tensor") for p in op.parsed.params if p.tensor)
    return op.variant(operands, {})


def test_branching_on_a_value():
    with pytest.raises(TypeError, match="use where"):
        trace("f(Tensor x) -> Tensor", lambda x: x if x > 0 else -x)


def test_cell_output_that_varies_along_the_row():
    with pytest.raises(TypeError, match="is a Cell, but its value varies along the row"):
        trace("f(Row x, int dim) -> Cell", lambda x: x * 2, "row")


def test_wrong_number_of_outputs():
    with pytest.raises(TypeError, match="the schema has 2 outputs, the formula 1"):
        trace("f(Tensor x) -> (Tensor, Tensor)", lambda x: x)


def test_tensor_used_without_an_index():
    with pytest.raises(TypeError, match="index it"):
        trace("f(Tensor x) -> Tensor", lambda x, i: lang.exp(x), "indexed")


def test_unreadable_schema():
    with pytest.raises(ValueError, match="can't read the parameter 'Tensor'"):
        parse("f(Tensor) -> Tensor")


def test_schema():
    s = parse("max.dim(Tensor self, int[2]? dim=None, *, str m='a,b', float p=inf)"
              " -> (Tensor values, Tensor)")
    dim, mode, p = s.attributes
    assert s.name == "max.dim"
    assert (dim.length, dim.optional, dim.default, dim.keyword_only) == (2, True, None, False)
    assert (mode.default, mode.keyword_only, p.default) == ("a,b", True, float("inf"))
    assert [o.name for o in s.outputs] == ["values", "result1"]


def test_users_own_op_takes_its_schema_from_the_signature():
    @pointwise
    def smooth(x, beta=2.0, exact=True):
        return lang.log1p(lang.exp(beta * x)) / beta if exact else x

    assert smooth.schema == (
        "smooth(Tensor|Number x, float beta=2.0, bool exact=True) -> (Tensor)"
    )
    close(*call(smooth, X), np.log1p(np.exp(2 * X)) / 2)


def test_reversed_scan_becomes_a_forward_one():
    plan = f.cumsum.plan(1, {}, {"self": True})
    v = plan.steps[0][0].variant((("f32", "tensor"),), {})
    assert "sum_reversed" not in repr(v.nest)


def test_simplification_is_exact():
    x = lang.Value(node("cast", const(3, I64), dtype=DTYPES["f32"])).expr
    t = DTYPES["f32"]
    assert node("mul", x, const(1, t)) is x
    load = f.mul.variant((("f32", "tensor"), ("f32", "tensor")), {}).nest.stores[0].value.src[0]
    assert node("add", load, const(0, t)).op == "add"  # -0.0 + 0.0 is +0.0
    assert node("sub", load, const(0, t)) is load
    assert node("mul", load, const(0, t)).op == "mul"  # nan, inf


def test_formulas_call_each_other():
    once = special.softmax(X, 1)
    close(*call(f.double_softmax, X, 1), special.softmax(once, 1))


def test_numbers_that_settle_are_constants():
    op = next(op for op in ENTRIES if op.name == "pow")
    settled = op.variant((("f32", "tensor"), ("i64", "number", 2)), {})
    passed = op.variant((("f32", "tensor"), ("f64", "number")), {})
    assert (settled.scalars, passed.scalars) == ((), ("f",))
    (x,) = settled.nest.inputs
    stored = settled.nest.stores[0].value
    assert stored.op == "mul" and stored.src[0] is stored.src[1] and stored.src[0].arg is x
