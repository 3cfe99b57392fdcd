"""How tensors print: the cases by hand, and many against torch where it is installed."""

import itertools
import math

import pytest

import taimatsu as torch
from taimatsu import _tensor_str


@pytest.fixture(autouse=True)
def _default_options():
    torch.set_printoptions(profile="default")
    yield
    torch.set_printoptions(profile="default")


@pytest.mark.parametrize(
    "value, text",
    [
        (3, "tensor(3)"),
        (2.5, "tensor(2.5000)"),
        ([1.0, 2.0], "tensor([1., 2.])"),
        ([1.0, -2.5], "tensor([ 1.0000, -2.5000])"),
        ([1e-5, 1.0], "tensor([1.0000e-05, 1.0000e+00])"),
        ([1.0, 2000.0], "tensor([1.0000e+00, 2.0000e+03])"),
        ([0.0, math.nan, math.inf, -1.0], "tensor([ 0., nan, inf, -1.])"),
        ([True, False], "tensor([ True, False])"),
        ([[1, -20], [300, 4]], "tensor([[  1, -20],\n        [300,   4]])"),
        ([1 + 2j, 0.5 + 0j], "tensor([1.0000+2.j, 0.5000+0.j])"),
        ([], "tensor([])"),
        ([[]], "tensor([], size=(1, 0))"),
        ([[[1.0]], [[2.0]]], "tensor([[[1.]],\n\n        [[2.]]])"),
    ],
)
def test_values(value, text):
    assert repr(torch.tensor(value)) == text


def test_what_follows_the_values():
    assert repr(torch.ones(1, dtype=torch.float64)) == "tensor([1.], dtype=torch.float64)"
    assert repr(torch.ones(1, dtype=torch.int32)) == "tensor([1], dtype=torch.int32)"
    assert repr(torch.ones(1, requires_grad=True)) == "tensor([1.], requires_grad=True)"
    assert repr(torch.empty(0, 2, dtype=torch.int64)) == (
        "tensor([], size=(0, 2), dtype=torch.int64)"
    )
    assert repr(torch.empty(2, device="meta")) == "tensor(..., device='meta', size=(2,))"
    assert "grad_fn=<" in repr(torch.ones(1, requires_grad=True) * 2)


def test_large_tensors_are_summarised():
    assert repr(torch.arange(2000)) == "tensor([   0,    1,    2,  ..., 1997, 1998, 1999])"
    lines = repr(torch.zeros(50, 50)).split("\n")
    assert lines[0] == "tensor([[0., 0., 0.,  ..., 0., 0., 0.],"
    assert lines[3] == "        ...,"
    assert len(lines) == 7


def test_lines_are_broken():
    lines = repr(torch.arange(100, 140)).split("\n")
    assert len(lines) == 3 and max(map(len, lines)) <= 80
    torch.set_printoptions(linewidth=40)
    assert len(repr(torch.arange(100, 140)).split("\n")) == 7


def test_options():
    torch.set_printoptions(precision=1)
    assert repr(torch.tensor([0.25])) == "tensor([0.2])"
    torch.set_printoptions(profile="default", sci_mode=True)
    assert repr(torch.tensor([0.25])) == "tensor([2.5000e-01])"
    torch.set_printoptions(sci_mode=False)
    assert repr(torch.tensor([1e-5, 1.0])) == "tensor([0.0000, 1.0000])"
    with _tensor_str.printoptions(precision=2):
        assert repr(torch.tensor(0.125)) == "tensor(0.12)"
    assert repr(torch.tensor(0.125)) == "tensor(0.1250)"


SPECIAL = [0.0, -0.0, 1.0, -1.0, 0.5, 1e-5, 1e9, 123456.0, math.inf, -math.inf, math.nan, 100.0,
           1e8, 1e8 + 1, 999.0, 1001.0, 1e-4, 9e-5, 3.14159]  # fmt: skip
SHAPES = [(), (1,), (0,), (7,), (2, 3), (0, 3), (30,), (5, 40), (1200,), (11, 101), (4, 7, 50)]
OPTIONS = [
    {"profile": "default"},
    {"profile": "short"},
    {"profile": "default", "sci_mode": True},
    {"profile": "default", "sci_mode": False},
    {"profile": "default", "linewidth": 40},
    {"profile": "default", "threshold": 10, "edgeitems": 1},
    {"profile": "default", "edgeitems": 0},
]
DTYPES = ["float32", "float64", "float16", "bfloat16", "int64", "uint8", "bool", "complex64"]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_as_torch_prints(options):
    oracle = pytest.importorskip("torch")
    oracle.manual_seed(0)
    torch.set_printoptions(**options)
    oracle.set_printoptions(**options)
    try:
        for name, shape, kind in itertools.product(DTYPES, SHAPES, range(3)):
            theirs = sample(oracle, name, shape, kind)
            ours = torch.tensor(theirs.tolist(), dtype=getattr(torch, name)).reshape(shape)
            assert repr(ours) == repr(theirs), (name, shape, kind)
    finally:
        oracle.set_printoptions(profile="default")


def sample(oracle, dtype, shape, kind):
    """A torch tensor: special values, normal numbers, or whole ones."""
    n = math.prod(shape)
    values = oracle.randn(n, dtype=oracle.float64)
    if kind == 0:
        values = oracle.tensor(SPECIAL, dtype=oracle.float64)[oracle.randint(len(SPECIAL), (n,))]
    elif kind == 2:
        values = (values * 100).round()
    if dtype.startswith("complex"):
        values = oracle.complex(values, values.flip(0))
    elif not dtype.startswith(("float", "bfloat")):
        values = oracle.nan_to_num(values, 0.0, 5.0, -5.0).abs().clamp(0, 100)
    return values.reshape(shape).to(getattr(oracle, dtype))
