"""The namespace of the array API standard, against NumPy's, which follows the standard too."""

import inspect
import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

import taimatsu as torch

xp = torch.ones(1).__array_namespace__()


def _words(text):
    return text.split()


# What version 2024.12 of the standard names.
NAMES = _words("""
e inf nan newaxis pi bool int8 int16 int32 int64 uint8 uint16 uint32 uint64 float32 float64
complex64 complex128 arange asarray empty empty_like eye from_dlpack full full_like linspace
meshgrid ones ones_like tril triu zeros zeros_like astype can_cast finfo iinfo isdtype result_type
abs acos acosh add asin asinh atan atan2 atanh bitwise_and bitwise_left_shift bitwise_invert
bitwise_or bitwise_right_shift bitwise_xor ceil clip conj copysign cos cosh divide equal exp expm1
floor floor_divide greater greater_equal hypot imag isfinite isinf isnan less less_equal log log1p
log2 log10 logaddexp logical_and logical_not logical_or logical_xor maximum minimum multiply
negative nextafter not_equal positive pow real reciprocal remainder round sign signbit sin sinh
square sqrt subtract tan tanh trunc take take_along_axis __array_namespace_info__ matmul
matrix_transpose tensordot vecdot broadcast_arrays broadcast_to concat expand_dims flip moveaxis
permute_dims repeat reshape roll squeeze stack tile unstack argmax argmin count_nonzero nonzero
searchsorted where unique_all unique_counts unique_inverse unique_values argsort sort
cumulative_prod cumulative_sum max mean min prod std sum var all any diff __array_api_version__
""")
LINALG = _words("""
cholesky cross det diagonal eigh eigvalsh inv matmul matrix_norm matrix_power matrix_rank
matrix_transpose outer pinv qr slogdet solve svd svdvals tensordot trace vecdot vector_norm
""")
FFT = _words("""
fft ifft fftn ifftn rfft irfft rfftn irfftn hfft ihfft fftfreq rfftfreq fftshift ifftshift
""")

SIGNED, UNSIGNED = ("int8", "int16", "int32", "int64"), ("uint8", "uint16", "uint32", "uint64")
INTEGERS, REAL, COMPLEX = SIGNED + UNSIGNED, ("float32", "float64"), ("complex64", "complex128")
FLOATING, REALS = REAL + COMPLEX, INTEGERS + REAL
NUMERIC = REALS + COMPLEX
few = settings(max_examples=6, deadline=None, derandomize=True)


def some(dtypes, shape=None, low=-20, high=20):
    """Arrays of small sizes and values, in which equal ones are frequent."""

    @st.composite
    def draw(draw):
        dtype = np.dtype(draw(st.sampled_from(dtypes)))
        any_sizes = arrays.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4)
        sizes = draw(any_sizes) if shape is None else shape
        start = max(low, 0) if dtype.kind == "u" else low
        if dtype.kind == "b":
            return draw(arrays.arrays(dtype, sizes))
        if dtype.kind == "c":
            parts = st.integers(4 * low, 4 * high).map(lambda n: n / 4)
            elements = st.builds(complex, parts, parts)
        elif dtype.kind == "f":
            elements = st.integers(4 * start, 4 * high).map(lambda n: n / 4)
        else:
            elements = st.integers(start, high)
        return draw(arrays.arrays(dtype, sizes, elements=elements))

    return draw()


def same(got, expected, exact=False):
    if isinstance(expected, (tuple, list)):
        assert len(got) == len(expected)
        for g, e in zip(got, expected, strict=True):
            same(g, e, exact)
        return
    assert type(got) is torch.Tensor
    got, expected = got.numpy(), np.asarray(expected)
    assert got.dtype == expected.dtype and got.shape == expected.shape
    tolerance = 0 if exact else 2e-5 if expected.dtype in (np.float32, np.complex64) else 1e-12
    np.testing.assert_allclose(got, expected, rtol=tolerance, atol=tolerance)


def agree(name, *args, exact=False, **options):
    """The function of both namespaces, of arrays and the same as tensors."""

    def own(x):
        if isinstance(x, (list, tuple)):
            return type(x)(map(own, x))
        if isinstance(x, np.dtype):
            return getattr(torch, x.name)
        return torch.from_numpy(x.copy()) if isinstance(x, np.ndarray) else x

    numpys, ours = np, xp
    for part in name.split("."):
        numpys, ours = getattr(numpys, part), getattr(ours, part)
    with np.errstate(all="ignore"):
        expected = numpys(*args, **options)
    same(ours(*map(own, args), **{k: own(v) for k, v in options.items()}), expected, exact)


def test_the_standards_names_are_there():
    assert [n for n in NAMES if not hasattr(xp, n)] == []
    assert [n for n in LINALG if not hasattr(xp.linalg, n)] == []
    assert [n for n in FFT if not hasattr(xp.fft, n)] == []
    for name in (*NAMES, *LINALG, *FFT):
        f = next(getattr(m, name) for m in (xp, xp.linalg, xp.fft) if hasattr(m, name))
        if inspect.isfunction(f):
            assert f.__name__ == name and f.__doc__


def test_signatures_are_the_standards():
    strict = pytest.importorskip("array_api_strict")
    for module, ours in ((strict, xp), (strict.linalg, xp.linalg), (strict.fft, xp.fft)):
        for name in (*NAMES, *LINALG, *FFT):
            theirs, f = getattr(module, name, None), getattr(ours, name, None)
            if inspect.isfunction(theirs) and inspect.isfunction(f):
                expected = inspect.signature(theirs).parameters.values()
                found = inspect.signature(f).parameters
                keywords = [p.name for p in expected if p.kind in (p.KEYWORD_ONLY,)]
                assert [n for n in keywords if n not in found] == [], name


UNARY = {
    "abs": NUMERIC, "ceil": REALS, "conj": COMPLEX, "cos": FLOATING, "exp": FLOATING,
    "floor": REALS, "imag": COMPLEX, "isfinite": NUMERIC, "isinf": NUMERIC, "isnan": NUMERIC,
    "negative": SIGNED + FLOATING, "positive": NUMERIC, "real": COMPLEX, "round": REALS,
    "sign": NUMERIC, "signbit": REAL, "sin": FLOATING, "square": NUMERIC, "tanh": FLOATING,
    "trunc": REALS, "logical_not": ("bool",), "bitwise_invert": ("bool", *INTEGERS),
    "atan": REAL, "asinh": REAL, "cosh": FLOATING, "sinh": FLOATING, "expm1": REAL, "tan": REAL,
}  # fmt: skip
OF_POSITIVE = ("sqrt", "log", "log10", "log2", "log1p", "reciprocal")


@pytest.mark.parametrize("name", [*UNARY, *OF_POSITIVE])
def test_elementwise(name):
    dtypes = UNARY.get(name, REAL)
    for dtype in (dtypes[0], dtypes[-1]):
        start = 0.25 if name in OF_POSITIVE or dtype in UNSIGNED else -1.5
        agree(name, np.arange(start, 3, 0.5).astype(dtype))


@pytest.mark.parametrize("name", ["acos", "asin", "atanh", "acosh"])
def test_elementwise_on_intervals(name):
    for dtype in FLOATING:
        agree(name, np.linspace(-0.9, 0.9, 7).astype(dtype) + (2 if name == "acosh" else 0))


BINARY = {
    "add": NUMERIC, "atan2": REAL, "bitwise_and": INTEGERS, "bitwise_or": INTEGERS,
    "bitwise_xor": INTEGERS, "copysign": REAL, "divide": FLOATING, "equal": NUMERIC,
    "greater": REALS, "greater_equal": REALS, "hypot": REAL, "less": REALS, "less_equal": REALS,
    "logaddexp": REAL, "logical_and": ("bool",), "logical_or": ("bool",), "logical_xor": ("bool",),
    "maximum": REALS, "minimum": REALS, "multiply": NUMERIC, "nextafter": REAL,
    "not_equal": NUMERIC, "subtract": NUMERIC,
}  # fmt: skip
OF_NONZERO = {"floor_divide": REALS, "remainder": REALS, "pow": REAL,
              "bitwise_left_shift": INTEGERS, "bitwise_right_shift": INTEGERS}  # fmt: skip


def common(a, b):
    """Whether the standard promotes these two."""
    kinds = {np.dtype(d).kind for d in (a, b)}
    integers = kinds == {"i", "u"} and "uint64" not in (a, b)
    return kinds <= {"f", "c"} or len(kinds) == 1 or integers


@pytest.mark.parametrize("name", [*BINARY, *OF_NONZERO])
def test_elementwise_of_two(name):
    dtypes = {**BINARY, **OF_NONZERO}[name]
    x, y = np.arange(1, 7).reshape(2, 3) % 4 + 1, np.arange(1, 4)
    middle = dtypes[len(dtypes) // 2]
    for a, b in ((dtypes[0], dtypes[0]), (dtypes[0], dtypes[-1]), (dtypes[-1], middle)):
        if common(a, b):
            agree(name, x.astype(a), y.astype(b))
            agree(name, x.astype(a), np.asarray(y[1], b))  # its dtype counts without dims too


@pytest.mark.parametrize("dtype", NUMERIC)
def test_numbers_take_the_dtype(dtype):
    x = np.arange(1, 4).astype(dtype)
    for name in ("add", "multiply", "subtract", "equal"):
        agree(name, x, 2)
        agree(name, 2, x)
    agree("where", x == 2, x, 0)
    if dtype not in COMPLEX:
        agree("clip", x, 2, None)
        agree("clip", x, np.asarray([1, 2, 1], dtype), 2)
        agree("maximum", x, 2)


def test_promotion():
    for a in ("bool", *NUMERIC):
        for b in ("bool", *NUMERIC):
            kinds = (a, b)
            if common(a, b):
                expected = getattr(torch, np.result_type(*kinds).name)
                assert xp.result_type(*(getattr(torch, k) for k in kinds)) == expected
                x, y = (xp.ones((), dtype=getattr(torch, k)) for k in kinds)
                assert xp.result_type(x, y) == xp.result_type(xp.ones(2, dtype=x.dtype), y)
    with pytest.raises(TypeError, match="uint64 and torch.int8 have no common"):
        xp.result_type(torch.uint64, torch.int8)
    assert xp.result_type(torch.float32, 1j) == torch.complex64
    assert xp.can_cast(torch.int8, torch.int16) and not xp.can_cast(torch.int16, torch.int8)
    assert xp.isdtype(torch.int8, ("bool", "signed integer"))
    assert not xp.isdtype(torch.uint8, "signed integer") and xp.isdtype(torch.uint8, "numeric")
    with pytest.raises(ValueError, match="'whole' is not among"):
        xp.isdtype(torch.int8, "whole")


def axes(draw, ndim, several=True):
    """None, one axis, or a tuple of them."""
    one = st.integers(-ndim, ndim - 1) if ndim else st.none()
    if not several:
        return draw(st.one_of(st.none(), one))
    some = st.lists(st.integers(0, ndim - 1), unique=True).map(tuple) if ndim else st.just(())
    return draw(st.one_of(st.none(), one, some))


@few
@given(st.data())
@pytest.mark.parametrize(
    "name", ["sum", "prod", "max", "min", "mean", "var", "std", "all", "any", "count_nonzero"]
)
def test_reductions(name, data):
    dtypes = REAL if name in ("mean", "var", "std") else NUMERIC
    if name in ("max", "min"):
        dtypes = REALS
    shape = data.draw(arrays.array_shapes(min_dims=1, max_dims=3, max_side=3))
    x = data.draw(some(dtypes, shape, -2, 2))
    options = {"axis": axes(data.draw, x.ndim), "keepdims": data.draw(st.booleans())}
    if name in ("var", "std"):
        options["correction"] = data.draw(st.sampled_from([0, 0.5]))
    if name == "count_nonzero":
        assert xp.count_nonzero(torch.from_numpy(x), **options).dtype == torch.int64
        same(xp.astype(xp.count_nonzero(torch.from_numpy(x), **options), torch.float64),
             np.asarray(np.count_nonzero(x, **options), dtype=float))  # fmt: skip
        return
    agree(name, x, **options)


def test_reductions_of_nothing():
    for name in ("sum", "prod", "all", "any"):
        agree(name, np.ones((0, 2), "float32"))
        agree(name, np.ones((0, 2), "float32"), axis=0)
        agree(name, np.ones((), "float32"))


@few
@given(st.data())
@pytest.mark.parametrize("name", ["argmax", "argmin", "sort", "argsort"])
def test_orders(name, data):
    shape = data.draw(arrays.array_shapes(min_dims=1, max_dims=3, max_side=4))
    x = data.draw(some(REALS, shape, -2, 2))
    axis = axes(data.draw, x.ndim, several=False)
    if name.startswith("arg") and name != "argsort":
        agree(name, x, axis=axis, keepdims=data.draw(st.booleans()))
    else:
        agree(name, x, axis=-1 if axis is None else axis, stable=True)
        down = getattr(xp, name)(torch.from_numpy(x), axis=-1, descending=True)
        values = down if name == "sort" else xp.take_along_axis(torch.from_numpy(x), down, axis=-1)
        assert np.array_equal(values.numpy(), np.sort(x, axis=-1)[..., ::-1])


@few
@given(some(NUMERIC, high=2))
def test_cumulative(x):
    assume(x.ndim > 0)
    for name in ("cumulative_sum", "cumulative_prod"):
        for initial in (False, True):
            agree(name, x.clip(-2, 2) if x.dtype.kind != "c" else x, axis=x.ndim - 1,
                  include_initial=initial)  # fmt: skip
    agree("diff", x, axis=0)


@few
@given(some(("int8", "uint16", "int64", *REAL), low=0, high=4))
def test_sets(x):
    expected = np.unique(x, return_index=True, return_inverse=True, return_counts=True)
    values, _, inverse, counts = expected
    t = torch.from_numpy(x)
    made = xp.unique_all(t)
    same(made, expected, exact=True)
    same(xp.unique_counts(t), (values, counts), exact=True)
    same(xp.unique_inverse(t), (values, inverse), exact=True)
    same(xp.unique_values(t), values, exact=True)
    assert made._fields == ("values", "indices", "inverse_indices", "counts")
    agree("isin", x, np.asarray([1, 2], x.dtype))


@few
@given(some(("bool", *NUMERIC), shape=(2, 3, 1)))
def test_manipulation(x):
    agree("broadcast_arrays", x, x[0])
    agree("broadcast_to", x, (2, 2, 3, 4))
    agree("concat", [x, x])
    agree("concat", [x, x[:1]], axis=None)
    agree("expand_dims", x, axis=1)
    agree("expand_dims", x, axis=(0, -1))
    for axis in (None, 1, (0, 1)):
        agree("flip", x, axis=axis)
    agree("moveaxis", x, 0, -1)
    agree("permute_dims", x, (2, 0, 1))
    agree("repeat", x, 2)
    agree("repeat", x, np.asarray([0, 2, 1]), axis=1)
    agree("reshape", x, (3, -1))
    agree("roll", x, 1)
    agree("roll", x, (1, 2), axis=(0, 1))
    agree("roll", x, 1, axis=(0, 1))
    agree("squeeze", x, axis=-1)
    agree("stack", [x, x], axis=-1)
    agree("tile", x, (2, 1, 2, 1))
    agree("unstack", x, axis=1)
    agree("take", x, np.asarray([2, 0, -1]), axis=1)
    agree("take_along_axis", x, np.asarray([[[0]], [[2]]]), axis=1)
    agree("where", x.astype(bool), x, x[:1])
    agree("nonzero", x)
    agree("matrix_transpose", x)
    agree("tril", x[..., 0], k=1)
    agree("triu", x[..., 0], k=-1)


def test_mixed_dtypes_are_promoted():
    x, y = np.arange(3, dtype="int8"), np.arange(3, dtype="uint16")
    agree("concat", [x, y])
    agree("stack", [x, y])
    agree("where", x > 1, x, y)
    agree("matmul", x[None].astype("float32"), y[:, None].astype("float64"))
    agree("searchsorted", x, y)
    agree("searchsorted", x[::-1].copy(), y, side="right", sorter=np.asarray([2, 1, 0]))


def test_what_is_refused():
    x = torch.ones(2, 3)
    with pytest.raises(ValueError, match="more than 1 element"):
        xp.squeeze(x, axis=0)
    with pytest.raises(ValueError, match="copy=False"):
        xp.reshape(x.T, (6,), copy=False)
    with pytest.raises(ValueError, match="copy=False"):
        xp.asarray([1], copy=False)
    with pytest.raises(ValueError, match="copy=False"):
        xp.asarray(x, dtype=torch.float64, copy=False)
    with pytest.raises(ValueError, match="needs an axis"):
        xp.cumulative_sum(x)
    with pytest.raises(ValueError, match="0 dims"):
        xp.nonzero(x.sum())
    with pytest.raises(IndexError):
        xp.expand_dims(x, axis=4)
    with pytest.raises(ValueError, match="'2020.1' of the standard"):
        x.__array_namespace__(api_version="2020.1")
    assert x.__array_namespace__(api_version="2023.12") is xp


def test_creation():
    for args in ((3,), (1, 4), (5, 1, -2), (3, 1)):
        agree("arange", *args)
    agree("arange", 0, 1, 0.25, dtype=np.dtype("float64"))
    dtype = {"dtype": np.dtype("float64")}
    agree("linspace", 0, 1, 5, **dtype)
    agree("linspace", 0, 1, 5, endpoint=False, **dtype)
    agree("linspace", 0, 1 + 1j, 3, dtype=np.dtype("complex128"))
    agree("eye", 3, 4, k=1, **dtype)
    agree("eye", 2, k=-5, **dtype)
    agree("full", (2, 3), 7)
    agree("full", 2, True)
    agree("zeros", shape=(2,), **dtype)
    agree("ones", 3, **dtype)
    x = np.arange(3, dtype="int16")
    for name in ("zeros_like", "ones_like"):
        agree(name, x)
    agree("full_like", x, 4, dtype=np.dtype("float32"))
    agree("meshgrid", x, x[:2])
    agree("meshgrid", x, x[:2], indexing="ij")
    agree("asarray", [[1, 2], [3, 4]])
    agree("astype", x, np.dtype("bool"))
    same(xp.asarray([torch.tensor(1.0), torch.tensor(2)]), np.asarray([1, 2], "float32"))
    assert xp.asarray(x).numpy().tolist() == [0, 1, 2]
    assert xp.from_dlpack(x).dtype == torch.int16
    assert xp.empty((2, 3)).shape == (2, 3)


@few
@given(some(FLOATING, shape=(2, 3, 3), low=-3, high=3))
def test_linear_algebra(x):
    x = x + 15 * np.eye(3, dtype=x.dtype)
    positive = x @ np.swapaxes(x.conj(), -1, -2) / 64
    agree("matmul", x, x)
    agree("vecdot", x, x, axis=1)
    agree("tensordot", x, x[0], axes=1)
    agree("tensordot", x, x, axes=((0, 1), (0, 1)))
    for name in ("det", "inv", "slogdet", "diagonal", "trace", "svdvals", "matrix_rank",
                 "matrix_norm", "pinv"):  # fmt: skip
        agree(f"linalg.{name}", x / 16)
    agree("linalg.diagonal", x, offset=1)
    agree("linalg.matrix_power", x / 16, 3)
    agree("linalg.solve", x[0], x[0, 0])
    agree("linalg.solve", x, x[0])
    agree("linalg.cross", x, x[:1], axis=1)
    agree("linalg.outer", x[0, 0], x[1, 0])
    agree("linalg.eigvalsh", positive)
    agree("linalg.cholesky", positive)
    agree("linalg.cholesky", positive, upper=True)
    for axis in (None, 0, (1, 2)):
        for order in (0, 1, 2, math.inf, 3):
            if not (order in (0, 3) and axis == (1, 2)):
                ours = xp.linalg.vector_norm(torch.from_numpy(x), axis=axis, ord=order)
                expected = np.linalg.vector_norm(x, axis=axis, ord=order)
                same(ours, expected.astype(ours.numpy().dtype))
    t = torch.from_numpy(x)
    for made in (xp.linalg.qr(t), xp.linalg.svd(t), xp.linalg.eigh(torch.from_numpy(positive))):
        assert isinstance(made, tuple)
    u, s, vh = xp.linalg.svd(t, full_matrices=False)
    same((u * s[..., None, :].to(u.dtype)) @ vh, x)


@few
@given(some(COMPLEX, shape=(3, 4)), st.sampled_from(["backward", "forward", "ortho"]))
def test_fourier_transforms(x, norm):
    for name in ("fft", "ifft", "hfft", "irfft"):
        agree(f"fft.{name}", x, axis=0, norm=norm)
        agree(f"fft.{name}", x, n=6)
    for name in ("rfft", "ihfft"):
        agree(f"fft.{name}", x.real.copy(), axis=0, norm=norm)
    for name in ("fftn", "ifftn", "irfftn"):
        agree(f"fft.{name}", x, axes=(0, 1), norm=norm)
    agree("fft.rfftn", x.real.copy())
    agree("fft.fftshift", x, axes=1)
    agree("fft.ifftshift", x)
    double = {"dtype": torch.float64}
    same(xp.fft.fftfreq(5, d=0.5, **double), np.fft.fftfreq(5, d=0.5))
    same(xp.fft.rfftfreq(5, d=0.5, **double), np.fft.rfftfreq(5, d=0.5))


def test_gradients_flow_through():
    x = torch.randn(3, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: xp.vecdot(xp.flip(x), xp.exp(x), axis=0), (x,))


def test_information():
    info = xp.__array_namespace_info__()
    assert info.capabilities()["boolean indexing"] and torch.device("cpu") in info.devices()
    assert info.dtypes(kind="real floating") == {"float32": torch.float32, "float64": torch.float64}
    assert info.default_dtypes()["complex floating"] == torch.complex64
    assert info.default_device() == torch.device("cpu")
    assert xp.finfo(torch.ones(1)).bits == 32 and xp.iinfo(torch.int8).max == 127
    assert torch.ones(2).to_device("cpu").device.type == "cpu"
