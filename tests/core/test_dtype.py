"""Element types: promotion, conversion of single elements."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import taimatsu as torch

# PyTorch's table of promotion. A dot: not supported.
TABLE = """
      bool u8   i8   i16  i32  i64  f16  bf16 f32  f64  c32  c64  c128 u16  u32  u64
bool  bool u8   i8   i16  i32  i64  f16  bf16 f32  f64  c32  c64  c128 .    .    .
u8    u8   u8   i16  i16  i32  i64  f16  bf16 f32  f64  c32  c64  c128 .    .    .
i8    i8   i16  i8   i16  i32  i64  f16  bf16 f32  f64  c32  c64  c128 .    .    .
i16   i16  i16  i16  i16  i32  i64  f16  bf16 f32  f64  c32  c64  c128 .    .    .
i32   i32  i32  i32  i32  i32  i64  f16  bf16 f32  f64  c32  c64  c128 .    .    .
i64   i64  i64  i64  i64  i64  i64  f16  bf16 f32  f64  c32  c64  c128 .    .    .
f16   f16  f16  f16  f16  f16  f16  f16  f32  f32  f64  c32  c64  c128 f16  f16  f16
bf16  bf16 bf16 bf16 bf16 bf16 bf16 f32  bf16 f32  f64  c64  c64  c128 bf16 bf16 bf16
f32   f32  f32  f32  f32  f32  f32  f32  f32  f32  f64  c64  c64  c128 f32  f32  f32
f64   f64  f64  f64  f64  f64  f64  f64  f64  f64  f64  c128 c128 c128 f64  f64  f64
c32   c32  c32  c32  c32  c32  c32  c32  c64  c64  c128 c32  c64  c128 .    .    .
c64   c64  c64  c64  c64  c64  c64  c64  c64  c64  c128 c64  c64  c128 .    .    .
c128  c128 c128 c128 c128 c128 c128 c128 c128 c128 c128 c128 c128 c128 .    .    .
u16   .    .    .    .    .    .    f16  bf16 f32  f64  .    .    .    u16  .    .
u32   .    .    .    .    .    .    f16  bf16 f32  f64  .    .    .    .    u32  .
u64   .    .    .    .    .    .    f16  bf16 f32  f64  .    .    .    .    .    u64
"""
FAMILIES = {"u": "uint", "i": "int", "f": "float", "bf": "bfloat", "c": "complex"}


def dtype(code):
    family = code.rstrip("0123456789")
    return getattr(torch, FAMILIES.get(family, family) + code[len(family) :])


CODES, *ROWS = (line.split() for line in TABLE.strip().splitlines())
PROMOTED = {(row[0], b): c for row in ROWS for b, c in zip(CODES, row[1:], strict=True)}
DTYPES = {code: dtype(code) for code in CODES}
INTEGERS = ["u8", "u16", "u32", "u64", "i8", "i16", "i32", "i64"]


@pytest.mark.parametrize(("a", "b"), PROMOTED)
def test_promotion_of_types(a, b):
    if PROMOTED[a, b] == ".":
        with pytest.raises(RuntimeError, match="not supported, attempted to promote"):
            torch.promote_types(DTYPES[a], DTYPES[b])
    else:
        assert torch.promote_types(DTYPES[a], DTYPES[b]) is DTYPES[PROMOTED[a, b]]


def vector(code):
    return torch.empty(2, dtype=DTYPES[code])


def scalar(code):
    return torch.empty((), dtype=DTYPES[code])


@pytest.mark.parametrize(
    ("operands", "expected"),
    [
        # Tensors without dimensions, then Python numbers, count only if their category is higher.
        ((vector("f32"), scalar("f64")), "f32"),
        ((scalar("f64"), vector("f32")), "f32"),
        ((scalar("f32"), scalar("f64")), "f64"),
        ((vector("i8"), scalar("i64")), "i8"),
        ((vector("i8"), scalar("f16")), "f16"),
        ((vector("bool"), scalar("u8")), "u8"),
        ((vector("f16"), 1.5), "f16"),
        ((vector("i8"), 1000), "i8"),
        ((vector("u16"), 3), "u16"),
        ((vector("i64"), 1.5), "f32"),
        ((scalar("i32"), 1.5), "f32"),
        ((scalar("f64"), 1.5), "f64"),
        ((vector("bool"), 2), "i64"),
        ((vector("bool"), True), "bool"),
        ((vector("i8"), True), "i8"),
        ((vector("f64"), 1j), "c128"),
        ((vector("f32"), scalar("c128")), "c64"),
        ((vector("i32"), 1j), "c64"),
        ((vector("u16"), 1j), "c64"),
        ((1, 2.0), "f32"),
        ((True, 1), "i64"),
    ],
)
def test_priorities(operands, expected):
    assert torch.result_type(*operands) is DTYPES[expected]


def test_default_dtype_takes_part():
    try:
        torch.set_default_dtype(torch.float64)
        assert torch.result_type(vector("i64"), 1.5) is torch.float64
        assert torch.result_type(vector("i64"), 1j) is torch.complex128
        assert torch.result_type(vector("f32"), 1.5) is torch.float32
    finally:
        torch.set_default_dtype(torch.float32)


def test_default_dtype_must_be_floating():
    with pytest.raises(TypeError, match="floating-point"):
        torch.set_default_dtype(torch.int32)


@pytest.mark.parametrize("code", INTEGERS)
def test_integers_keep_their_extremes(code):
    limits = np.iinfo(str(DTYPES[code]).rpartition(".")[2])
    for value in (limits.min, limits.max, 0, 1):
        assert torch.tensor(value, dtype=DTYPES[code]).item() == value


@pytest.mark.parametrize(
    ("code", "value"),
    [("u8", 256), ("u8", -256), ("i8", 128), ("i8", -129), ("i16", 40000), ("i32", 2**31),
     ("i8", 3e5), ("i64", 1e19), ("u8", float("nan")), ("i32", float("inf")), ("u8", -3.7),
     ("f32", 1e39), ("f32", 1 + 1j), ("f16", 1j)],
)  # fmt: skip
def test_filling_with_what_does_not_fit(code, value):
    t = torch.ones(2, dtype=DTYPES[code])
    with pytest.raises(RuntimeError, match="without overflow"):
        t.fill_(value)
    assert t.tolist() == [1, 1]


@pytest.mark.parametrize(
    ("code", "value", "expected"),
    [("u8", -1, 255), ("u16", -256, 65280), ("i8", 3.7, 3), ("i8", -3.7, -3), ("f16", 1e6, np.inf),
     ("f32", float("inf"), np.inf), ("bool", float("nan"), True), ("bool", 1e-300, True)],
)  # fmt: skip
def test_filling_converts(code, value, expected):
    assert torch.ones(1, dtype=DTYPES[code]).fill_(value).item() == expected


def test_all_float16_values():
    bits = np.arange(2**16, dtype=np.uint16).view(np.float16)
    read = np.array(torch.from_numpy(bits).tolist())
    np.testing.assert_array_equal(read, bits.astype(np.float64))


def bfloat16(x):
    """The nearest bfloat16, ties to even."""
    bits = np.float32(x).view(np.uint32)
    rounded = (int(bits) + 0x7FFF + (int(bits) >> 16 & 1)) & 0xFFFF0000
    return np.uint32(rounded).view(np.float32)


@given(st.floats(width=32, allow_nan=False))
def test_rounding_to_16_bits(x):
    with np.errstate(over="ignore"):
        expected = float(np.float32(x).astype(np.float16))
    assert torch.full((1,), x, dtype=torch.float16).item() == expected
    assert torch.full((1,), x, dtype=torch.bfloat16).item() == float(bfloat16(x))


@pytest.mark.parametrize("code", ["f16", "bf16", "f32", "f64"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), -0.0])
def test_special_values(code, value):
    read = torch.full((1,), value, dtype=DTYPES[code]).item()
    np.testing.assert_array_equal(read, value)
    assert np.signbit(read) == np.signbit(value)


@pytest.mark.parity
def test_result_type_is_pytorchs():
    theirs = pytest.importorskip("torch")
    numbers = (True, 2, 1.5, 1j)
    operands = [(code, n) for code in CODES for n in (0, 1)] + [(None, n) for n in numbers]

    def make(library, operand):
        code, n = operand
        if code is None:
            return n
        return library.empty((2,) * n, dtype=getattr(library, str(DTYPES[code]).rpartition(".")[2]))

    def result(library, pair):
        try:
            return str(library.result_type(*(make(library, o) for o in pair))).rpartition(".")[2]
        except RuntimeError:
            return None

    for pair in itertools.product(operands, repeat=2):
        assert result(torch, pair) == result(theirs, pair), pair
