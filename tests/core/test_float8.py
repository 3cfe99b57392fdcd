"""8-bit floats: every code, and the rounding of many numbers, from the definition of the formats.

OCP 8-bit Floating Point Specification 1.0 (e4m3fn, e5m2), its variants without negative zero
(fnuz), and the scale of the OCP's MX formats (e8m0fnu).
"""

import copy
import io
import pickle
from bisect import bisect_left
from functools import cache

import numpy as np
import pytest

import taimatsu as torch

NAMES = ("float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz", "float8_e8m0fnu")
SIGNED = NAMES[:4]
WIDER = ("bool", "uint8", "int8", "int16", "int32", "int64", "float16", "bfloat16", "float32",
         "float64", "complex32", "complex64", "complex128")  # fmt: skip


def value_of(name: str, code: int) -> float:
    """What a code stands for, by the definition."""
    if name == "float8_e8m0fnu":
        return np.nan if code == 255 else 2.0 ** (code - 127)
    exponent_bits, mantissa_bits = int(name[8]), int(name[10])
    unsigned_zero = name.endswith("uz")
    bias = 2 ** (exponent_bits - 1) - (0 if unsigned_zero else 1)
    sign = -1.0 if code & 0x80 else 1.0
    exponent, fraction = (code & 0x7F) >> mantissa_bits, code & (2**mantissa_bits - 1)
    if unsigned_zero and code == 0x80:
        return np.nan
    if name == "float8_e4m3fn" and code & 0x7F == 0x7F:
        return np.nan
    if name == "float8_e5m2" and exponent == 31:
        return np.nan if fraction else sign * np.inf
    if exponent == 0:
        return sign * fraction * 2.0 ** (1 - bias - mantissa_bits)
    return sign * (1 + fraction / 2**mantissa_bits) * 2.0 ** (exponent - bias)


@cache
def table(name: str) -> np.ndarray:
    return np.array([value_of(name, code) for code in range(256)])


def rounded(name: str, x: float) -> int | None:
    """The code of the nearest number, of two the even one; None for NaN, whose codes differ."""
    values = table(name)
    if np.isnan(x):
        return None
    if name == "float8_e8m0fnu":  # no sign; a tie goes up, and all that is above the least
        if np.isinf(x):
            return None
        x = abs(x)
        code = bisect_left(values[:255], x)
        if code <= 1:
            return code
        code -= x < 1.5 * values[code - 1]
        return None if code == 255 else code
    negative = 0x80 if np.signbit(x) else 0
    positive = values[:128]
    finite = positive[np.isfinite(positive)]
    size = abs(float(x))
    step = finite[-1] - finite[-2]
    # The numbers go on, as if there were no end, until one that isn't there is nearest.
    middle = finite[-1] + step / 2
    beyond = size > middle or (size == middle and (len(finite) - 1) % 2)
    if beyond:
        if name == "float8_e4m3fn":
            return negative | 0x7E
        return negative | 0x7C if name == "float8_e5m2" else None
    code = min(bisect_left(finite, size), len(finite) - 1)
    if code and size < finite[code]:
        middle = (finite[code - 1] + finite[code]) / 2
        if size < middle or (size == middle and code % 2):
            code -= 1
    if name.endswith("uz") and code == 0:
        return 0
    return negative | code


def numbers(name: str) -> np.ndarray:
    """f32 numbers where rounding is decided: the values, halfways, their neighbours, and others."""
    values = table(name)
    values = np.unique(values[np.isfinite(values)])
    middles = (values[1:] + values[:-1]) / 2
    top = values[-1] * np.array([1.0625, 1.125, 1.25, 1.5, 2, 4, 1e3])
    exact = np.concatenate([values, middles, top, -top, [0.0, -0.0]])
    with np.errstate(over="ignore"):
        exact = exact.astype(np.float32)
        near = [np.nextafter(exact, np.float32(s)) for s in (-np.inf, np.inf)]
    random = np.random.default_rng(0).integers(0, 2**32, 2000, dtype=np.uint32).view(np.float32)
    odd = np.array([np.nan, np.inf, -np.inf, 1e-45, -1e-45, 3.4e38, 1e-30], np.float32)
    return np.concatenate([exact, *near, random, odd])


def codes(t: torch.Tensor) -> np.ndarray:
    return t.view(torch.uint8).numpy()


def all_codes(dtype: torch.dtype) -> torch.Tensor:
    return torch.arange(256, dtype=torch.uint8).view(dtype)


@pytest.mark.parametrize("name", NAMES)
def test_every_code_means_what_the_format_says(name):
    x = all_codes(getattr(torch, name))
    expected = table(name)
    np.testing.assert_array_equal(x.to(torch.float64).numpy(), expected)
    np.testing.assert_array_equal(x.to(torch.float32).numpy(), expected.astype(np.float32))
    np.testing.assert_array_equal(np.array(x.tolist()), expected)
    assert np.array_equal(np.signbit(x.float().numpy()), np.signbit(expected.astype(np.float32))
                          ) or np.isnan(expected).any()  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_numbers_round_to_the_nearest(name):
    dtype = getattr(torch, name)
    x = numbers(name)
    got = codes(torch.from_numpy(x).to(dtype))
    back = table(name)
    for value, code in zip(x, got, strict=True):
        expected = rounded(name, float(value))
        if expected is None:
            assert np.isnan(back[code]), (value, code)
        else:
            assert code == expected, (value, code, expected)


@pytest.mark.parametrize("name", NAMES)
def test_single_elements_are_rounded_as_tensors_are(name):
    dtype = getattr(torch, name)
    values = [v for v in numbers(name)[::7].tolist() if np.isfinite(v)]
    whole = torch.tensor(values).to(dtype)
    np.testing.assert_array_equal(codes(torch.tensor(values, dtype=dtype)), codes(whole))
    np.testing.assert_array_equal(np.array([v.item() for v in whole]), whole.double().numpy())


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("wide", WIDER)
def test_casts_to_and_from_every_dtype(name, wide):
    dtype, other = getattr(torch, name), getattr(torch, wide)
    x = all_codes(dtype)
    keep = torch.tensor(np.isfinite(table(name)) & (np.abs(table(name)) < 100))
    x = x[keep] if other.is_floating_point or other.is_complex else x[keep][:100]
    small = x.float().abs() if wide.startswith("u") else x.float()
    got = small.to(dtype).to(other)
    assert got.dtype is other
    assert torch.equal(got.to(torch.float64 if not other.is_complex else torch.complex128),
                       small.to(other).to(torch.float64 if not other.is_complex
                                          else torch.complex128))  # fmt: skip
    again = got.to(dtype)
    assert np.array_equal(codes(again), codes(got.to(torch.complex64).real.to(dtype)))


@pytest.mark.parametrize("first", NAMES)
@pytest.mark.parametrize("second", NAMES)
def test_casts_among_themselves_go_through_f32(first, second):
    x = all_codes(getattr(torch, first))
    to = getattr(torch, second)
    direct, wide = x.to(to), x.float().to(to)
    np.testing.assert_array_equal(direct.float().numpy(), wide.float().numpy())


@pytest.mark.parametrize("name", NAMES)
def test_what_moves_elements(name):
    dtype = getattr(torch, name)
    x = all_codes(dtype).reshape(16, 16)
    raw = x.view(torch.uint8)
    same = [
        lambda t: t.T, lambda t: t[3:9, ::2], lambda t: t[torch.tensor([4, 1])],
        lambda t: t[t.view(torch.uint8) > 100], lambda t: torch.cat([t, t], 1),
        lambda t: torch.stack([t, t.clone()]), lambda t: t.T.contiguous(),
        lambda t: t.index_select(0, torch.tensor([3, 3])), lambda t: t.repeat(2, 1),
        lambda t: torch.empty_like(t).copy_(t), lambda t: t.reshape(-1).unfold(0, 4, 2),
        lambda t: t.expand(2, 16, 16).reshape(32, 16), lambda t: t.view(4, 64).split(2)[1],
        lambda t: torch.zeros_like(t).index_copy_(0, torch.tensor([5]), t[:1]),
        lambda t: t.gather(1, torch.zeros(16, 2, dtype=torch.int64)), lambda t: t.flip(0),
        lambda t: torch.roll(t, 3, 1).contiguous(),
    ]  # fmt: skip
    nan = np.isnan(table(name))
    for move in same:
        got, expected = codes(move(x).contiguous()), codes(move(raw).contiguous())
        both_nan = nan[got] & nan[expected]  # a NaN may become another
        assert ((got == expected) | both_nan).all()
    y = torch.zeros(4, dtype=dtype)
    y[1] = 1.0
    y[2:] = torch.tensor([2.0, 4.0]).to(dtype)
    expected = 0.0 if name in SIGNED else 2.0**-127
    assert y.tolist() == [expected, 1.0, 2.0, 4.0]
    assert torch.full((2,), 1.0, dtype=dtype).tolist() == [1.0, 1.0]
    assert torch.ones(2, dtype=dtype).fill_(2.0).tolist() == [2.0, 2.0]
    assert (torch.ones(3, dtype=dtype) == 1).all() and (x == x).sum() == (~nan).sum()
    assert x.isnan().sum() == nan.sum()


@pytest.mark.parametrize("name", NAMES)
def test_copies_pickles_and_files(name):
    x = all_codes(getattr(torch, name))
    file = io.BytesIO()
    torch.save({"x": x}, file)
    file.seek(0)
    for y in (torch.load(file)["x"], pickle.loads(pickle.dumps(x)), copy.deepcopy(x), x.clone(),
              torch.from_dlpack(x)):  # fmt: skip
        assert y.dtype is x.dtype and np.array_equal(codes(y), codes(x))


def test_how_they_print():
    x = torch.tensor([1.5, -448, 0.0625]).to(torch.float8_e4m3fn)
    assert repr(x) == (
        "tensor([ 1.5000e+00, -4.4800e+02,  6.2500e-02], dtype=torch.float8_e4m3fn)"
    )
    assert repr(torch.ones(2, dtype=torch.float8_e8m0fnu)) == (
        "tensor([1., 1.], dtype=torch.float8_e8m0fnu)"
    )


def test_products_with_scales():
    a, b = torch.randn(4, 6).to(torch.float8_e4m3fn), torch.randn(6, 3).to(torch.float8_e5m2)
    s, t = torch.tensor(0.5), torch.tensor(3.0)
    plain = a.float() @ b.float()
    got = torch._scaled_mm(a, b, s, t, bias=torch.ones(3), out_dtype=torch.float32)
    torch.testing.assert_close(got, 1.5 * plain + 1)
    rows, columns = torch.rand(4, 1), torch.rand(1, 3)
    got = torch._scaled_mm(a, b, rows, columns, out_dtype=torch.bfloat16)
    torch.testing.assert_close(got, (plain * rows * columns).bfloat16())
    assert torch._scaled_mm(a, b, s, t).dtype is a.dtype
    with pytest.raises(RuntimeError, match="4x6 and 4x6"):
        torch._scaled_mm(a, a, s, t)
    for bad in ((a.float(), b, s, t), (a, b, s.double(), t), (a, b, s, torch.rand(2))):
        with pytest.raises(ValueError, match="scaling"):
            torch._scaled_mm(*bad)


def test_gradients_pass_through_casts():
    x = torch.tensor([1.1, 2.3], requires_grad=True)
    y = x.to(torch.float8_e4m3fn).to(torch.float32)
    (y * torch.tensor([2.0, 3.0])).sum().backward()
    assert x.grad.tolist() == [2.0, 3.0]


@pytest.mark.parametrize("name", NAMES)
def test_there_is_no_arithmetic(name):
    x = torch.ones(2, 2, dtype=getattr(torch, name))
    for op in (torch.add, torch.sub, torch.maximum, torch.atan2):
        with pytest.raises(NotImplementedError, match=r"storage.*\.to\(torch.float32\)"):
            op(x, x)
    for op in (torch.exp, torch.sum, torch.sort, torch.argmax, torch.relu, torch.cumsum,
               torch.linalg.inv, torch.matmul, torch.unique, torch.nonzero):  # fmt: skip
        with pytest.raises((NotImplementedError, RuntimeError, TypeError)):
            op(x, *([x] if op is torch.matmul else [0] if op is torch.cumsum else []))
    with pytest.raises(RuntimeError, match="Promotion"):
        torch.cat([x, torch.ones(2, 2)])
    with pytest.raises(RuntimeError, match="Promotion"):
        torch.promote_types(x.dtype, torch.float32)
    with pytest.raises(TypeError, match="Float8"):
        x.numpy()
    with pytest.raises(RuntimeError, match="overflow"):
        torch.full((2,), 1e39, dtype=x.dtype)
    with pytest.raises(TypeError):
        torch.set_default_dtype(x.dtype)
    assert torch.get_default_dtype() is torch.float32


@pytest.mark.parametrize(("name", "largest", "smallest", "eps"), [
    ("float8_e4m3fn", 448.0, 2.0**-6, 2.0**-3), ("float8_e5m2", 57344.0, 2.0**-14, 2.0**-2),
    ("float8_e4m3fnuz", 240.0, 2.0**-7, 2.0**-3), ("float8_e5m2fnuz", 57344.0, 2.0**-15, 2.0**-3),
    ("float8_e8m0fnu", 2.0**127, 2.0**-127, 1.0),
])  # fmt: skip
def test_limits(name, largest, smallest, eps):
    limits = torch.finfo(getattr(torch, name))
    values = table(name)
    assert limits.max == largest == values[np.isfinite(values)].max()
    assert limits.min == values[np.isfinite(values)].min()
    assert (limits.tiny, limits.eps, limits.bits) == (smallest, eps, 8)


@pytest.mark.parity
@pytest.mark.parametrize("name", NAMES)
def test_codes_equal_pytorch_s(name):
    theirs = pytest.importorskip("torch")
    ours, other = getattr(torch, name), getattr(theirs, name)
    random = np.random.default_rng(1).integers(0, 2**32, 200_000, dtype=np.uint32)
    for x in (numbers(name), random.view(np.float32)):
        got = codes(torch.from_numpy(x).to(ours))
        expected = theirs.from_numpy(x).to(other).view(theirs.uint8).numpy()
        np.testing.assert_array_equal(got, expected)
    every = np.arange(256, dtype=np.uint8)
    np.testing.assert_array_equal(
        torch.from_numpy(every).view(ours).double().numpy(),
        theirs.from_numpy(every).view(other).double().numpy(),
    )
    for wide in ("float64", "float16", "bfloat16", "int64", "uint8", "complex64", "bool"):
        y = torch.from_numpy(numbers(name)).clamp(-200, 200).nan_to_num().abs()
        a, b = y.to(getattr(torch, wide)).to(ours), theirs.from_numpy(y.numpy())
        b = b.to(getattr(theirs, wide)).to(other)
        np.testing.assert_array_equal(codes(a), b.view(theirs.uint8).numpy())
    for field in ("max", "min", "eps", "tiny", "bits", "resolution"):
        assert getattr(torch.finfo(ours), field) == getattr(theirs.finfo(other), field), field
