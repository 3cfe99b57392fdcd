"""einsum against NumPy's, its errors, and the order of contractions."""

import numpy as np
import pytest
from arrays import array, random_tensor

import taimatsu as torch
from taimatsu.backends import opt_einsum

CASES = [
    ("ij,jk->ik", (2, 3), (3, 4)), ("ij,jk", (2, 3), (3, 4)), ("ii->i", (3, 3)), ("ii", (3, 3)),
    ("iJ", (2, 3)), ("ij->", (2, 3)), ("ij->ji", (2, 3)), ("i,i->", (3,), (3,)),
    ("i,j,k->kij", (2,), (3,), (4,)), ("ij,ij->ij", (2, 3), (2, 3)),
    ("ijk,ijk->ij", *[(2, 3, 4)] * 2),
    ("ij,jk->k", (2, 3), (3, 4)),
    ("...ij,...jk->...ik", (5, 2, 3), (3, 4)), ("...i,...i->...", (2, 1, 3), (4, 3)),
    ("bn,anm,bm->ba", (2, 5), (3, 5, 4), (2, 4)), ("iij,jk->ik", (2, 2, 3), (3, 4)),
    ("bhqd,bhkd->bhqk", (2, 3, 4, 5), (2, 3, 6, 5)), ("ij,jk->ik", (2, 0), (0, 3)),
    ("abc,cd,de,ea->b", (2, 3, 4), (4, 5), (5, 6), (6, 2)), ("...->...", (2, 3)), ("->", ()),
    ("i j, j k -> i k", (2, 3), (3, 4)),
    ("ab,cd,ef,bd,fa->ce", (2, 3), (4, 5), (2, 3), (3, 5), (3, 2)),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda c: c[0])
@pytest.mark.parametrize("strategy", ["auto", "optimal", None])
def test_einsum(case, strategy, monkeypatch):
    monkeypatch.setattr(opt_einsum, "enabled", strategy is not None)
    monkeypatch.setattr(opt_einsum, "strategy", strategy)
    equation, *shapes = case
    rng = np.random.default_rng(0)
    for dtype in (torch.float64, torch.complex128, torch.int32):
        xs = [random_tensor(rng, shape, dtype) for shape in shapes]
        got, expected = torch.einsum(equation, *xs), np.einsum(equation, *map(array, xs))
        alone = len(shapes) == 1 and dtype == torch.int32  # a plain sum
        assert got.dtype == dtype or alone
        np.testing.assert_allclose(array(got), expected, rtol=1e-12, atol=1e-12)


def test_forms():
    rng = np.random.default_rng(1)
    a, b = random_tensor(rng, (2, 3), torch.float64), random_tensor(rng, (3, 4), torch.float64)
    product = array(a) @ array(b)
    for got in (torch.einsum(a, [0, 1], b, [1, 2]), torch.einsum(a, [..., 1], b, [1, 2], [..., 2]),
                torch.einsum("ij,jk", [a, b])):
        np.testing.assert_allclose(array(got), product)
    # Dims of one broadcast, and of labels that are repeated they stay.
    np.testing.assert_allclose(array(torch.einsum("ij,jk->ik", a[:, :1], b)),
                               array(a[:, :1]) @ array(b).sum(0, keepdims=True))
    assert torch.einsum("...ij->ij", torch.ones(4, 2, 3)).tolist() == [[4] * 3] * 2


def test_gradient():
    rng = np.random.default_rng(2)
    xs = [random_tensor(rng, s, torch.float64).requires_grad_() for s in [(2, 3), (3, 4), (4, 2)]]
    assert torch.autograd.gradcheck(lambda *x: torch.einsum("ij,jk,kl->il", *x), xs)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ((), ValueError), (("ij",), ValueError), (("ij,jk", torch.ones(2, 3)), RuntimeError),
        (("ij->k", torch.ones(2, 3)), RuntimeError), (("ij->ii", torch.ones(2, 3)), RuntimeError),
        (("i!", torch.ones(2, 3)), RuntimeError), (("i.j", torch.ones(2, 3)), RuntimeError),
        (("i...j...", torch.ones(2, 3)), RuntimeError), (("ij", torch.ones(2)), RuntimeError),
        (("ii", torch.ones(2, 3)), RuntimeError), (("ii", torch.ones(1, 3)), RuntimeError),
        (("i,i", torch.ones(2), torch.ones(3)), RuntimeError),
        (("i,i", torch.ones(2), torch.ones(2).double()), RuntimeError),
        (("i,i", torch.ones(2), [1]), TypeError), ((torch.ones(2), [52]), ValueError),
    ],
)  # fmt: skip
def test_errors(arguments, error):
    with pytest.raises(error, match="einsum"):
        torch.einsum(*arguments)
