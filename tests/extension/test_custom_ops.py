"""Ops of a program's own in Python: formulas that call the library's functions, rules for vmap."""

from __future__ import annotations

import pytest

import taimatsu as torch
from taimatsu.nn import functional as F


def several(x, y, beta=1.0):
    return (
        torch.log1p(torch.exp(beta * x)) / beta
        + torch.where(x > 0, torch.sigmoid(y), torch.abs(y))
        + F.gelu(x, approximate="tanh") * torch.special.erf(y)
        + torch.clamp(x, min=-0.5)
        + torch.multiply(torch.atan2(x, y), 2)
    )


def test_functions_of_the_library_in_formulas():
    op = torch.pointwise(several)
    x, y = (torch.randn(7, dtype=torch.float64, requires_grad=True) for _ in range(2))
    torch.testing.assert_close(op(x, y, beta=2.0), several(x, y, beta=2.0))
    assert torch.autograd.gradcheck(op, (x, y)) and torch.autograd.gradgradcheck(op, (x, y))


@pytest.mark.parametrize("function", [lambda x: torch.softmax(x, 0), lambda x: torch.sort(x)])
def test_functions_of_more_than_an_element_are_refused(function):
    with pytest.raises(TypeError, match="formula: (softmax|sort) is not a function of one element"):
        torch.pointwise(function)(torch.ones(2))


def test_rules_for_vmap():
    seen = []

    @torch.library.custom_op("taimatsu_test::scaled", mutates_args=())
    def scaled(x: torch.Tensor, factor: float, *, power: int = 1) -> torch.Tensor:
        return x.detach() * factor**power

    @scaled.register_vmap
    def _(info, in_dims, x, factor, *, power=1):
        seen.append((info.batch_size, in_dims))
        return x.movedim(in_dims[0], 0) * factor**power, 0

    x = torch.arange(6.0).reshape(3, 2)
    found = torch.vmap(lambda x: scaled(x, 2.0, power=2), in_dims=1)(x)
    assert torch.equal(found, 4 * x.T) and seen == [(2, (0, None))]

    @torch.library.register_vmap("taimatsu_test::scaled")
    def _(info, in_dims, x, factor, *, power=1):
        return torch.zeros_like(x), in_dims[0]

    assert torch.vmap(lambda x: scaled(x, 2.0))(x).count_nonzero() == 0


def test_opcheck_finds_what_is_wrong():
    @torch.library.custom_op("taimatsu_test::writes", mutates_args=())
    def writes(x: torch.Tensor) -> torch.Tensor:
        return x.add_(1).clone()

    with pytest.raises(RuntimeError, match="wrote to an argument"):
        torch.library.opcheck(writes, (torch.ones(2),))

    @torch.library.custom_op("taimatsu_test::halves", mutates_args=())
    def halves(x: torch.Tensor) -> torch.Tensor:
        return x[::2].clone()

    halves.register_fake(torch.empty_like)
    results = torch.library.opcheck(halves, (torch.ones(4),), raise_exception=False)
    assert results["test_schema"] == "SUCCESS"
    assert "the fake implementation gives" in str(results["test_faketensor"])
    halves.register_fake(lambda x: x.new_empty(2))
    assert set(torch.library.opcheck(halves, (torch.ones(4),)).values()) == {"SUCCESS"}


def test_a_row_formula_s_numbers_stand_beside_its_dim():
    @torch.row("shifted(Row self, int dim, float by=0.25, int times=2) -> Row")
    def shifted(x, by, times):
        return x - x.mean() + by * times

    x = torch.randn(3, 4, dtype=torch.float64)
    for dim in (0, 1):
        expected = x - x.mean(dim, keepdim=True)
        torch.testing.assert_close(shifted(x, dim), expected + 0.5)
        torch.testing.assert_close(shifted(x, dim, 3.0, times=5), expected + 15)
