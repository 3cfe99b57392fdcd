"""Signatures of earlier times, with their factors by position."""

import pytest

import taimatsu as torch

V, M, B = torch.arange(1.0, 3), torch.arange(1.0, 5).reshape(2, 2), torch.ones(3, 2, 2)
V2 = torch.tensor([3.0, -1.0])

FACTORS = {
    "add": ("alpha", V, (V2,)),
    "sub": ("alpha", V, (V2,)),
    "addcmul": ("value", V, (V2, V)),
    "addcdiv": ("value", V, (V2, V)),
}
PRODUCTS = {
    "addmm": (M, (M, M)),
    "addmv": (V, (M, V2)),
    "addr": (M, (V, V2)),
    "addbmm": (M, (B, B)),
    "baddbmm": (B, (B, B)),
}
pytestmark = pytest.mark.filterwarnings("ignore:This overload")


@pytest.mark.parametrize("name", FACTORS)
def test_a_factor_before_the_operands(name):
    factor, x, operands = FACTORS[name]
    function = getattr(torch, name)
    expected = function(x, *operands, **{factor: 2})
    assert torch.equal(function(x, 2, *operands), expected)
    assert torch.equal(function(x, 2, *operands, out=torch.empty(2)), expected)
    assert torch.equal(getattr(x, name)(2, *operands), expected)
    y = x.clone()
    assert getattr(y, name + "_")(2, *operands) is y
    assert torch.equal(y, expected)


@pytest.mark.parametrize("name", PRODUCTS)
def test_factors_before_what_they_are_of(name):
    x, operands = PRODUCTS[name]
    function = getattr(torch, name)
    both, one = function(x, *operands, beta=2, alpha=3), function(x, *operands, beta=2)
    assert torch.equal(function(2, x, 3, *operands), both)
    assert torch.equal(function(2, x, *operands), one)
    assert torch.equal(getattr(x, name)(2, 3, *operands), both)
    y = x.clone()
    getattr(y, name + "_")(2, *operands)
    assert torch.equal(y, one)


def test_they_are_differentiable_and_no_error_tells_of_them():
    x = V.clone().requires_grad_()
    torch.add(x, 2, x).sum().backward()
    assert x.grad.tolist() == [3, 3]
    with pytest.raises(TypeError, match="add.*positional"):
        torch.add(V, V, V, V)


def test_numbers_in_place_of_the_first_operand():
    assert torch.div(1.0, V).tolist() == [1.0, 0.5]
    assert torch.sub(1, V, alpha=2).tolist() == [-1.0, -3.0]
    assert torch.mul(2j, V).dtype is torch.complex64
    assert torch.floor_divide(3, V).tolist() == [3.0, 1.0]
    assert torch.remainder(3, V).tolist() == [0.0, 1.0]
    assert torch.div(3, V, rounding_mode="floor").tolist() == [3.0, 1.0]
