"""sort, topk, unique, nonzero, searchsorted, bincount, cat."""

import numpy as np
import pytest
from arrays import FLOATS, HALVES, INTEGERS, array, random_tensor, same, tensor

import taimatsu as torch

REAL = (*FLOATS, *HALVES, *INTEGERS)
SHAPES = [(), (0,), (1,), (9,), (300,), (3000,), (4, 300), (3, 5, 7), (2, 0, 3)]


def values(sizes, dtype, seed=0):
    x = random_tensor(np.random.default_rng(seed), sizes, dtype)
    if dtype not in INTEGERS and x.numel() > 8:
        special = [float("nan"), -0.0, 0.0, float("inf"), -float("inf"), float("nan")]
        flat = x.reshape(-1)
        flat[1:7] = torch.tensor(special).to(dtype)
    return x


def stable_order(x, axis, descending):
    """Positions in order; NaN is the greatest, equal elements stay in order."""
    ranks = np.unique(x.reshape(-1), return_inverse=True, equal_nan=True)[1].reshape(x.shape)
    return np.argsort(-ranks if descending else ranks, axis, kind="stable")


@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("dtype", REAL)
@pytest.mark.parametrize("sizes", SHAPES)
def test_sort(sizes, dtype, descending):
    x = values(sizes, dtype)
    for dim in range(max(1, len(sizes))):
        ordered, index = torch.sort(x, dim, descending)
        a = array(x)
        expected = stable_order(np.atleast_1d(a), dim, descending).reshape(a.shape)
        assert array(index).tolist() == expected.tolist()
        picked = np.take_along_axis(np.atleast_1d(a), np.atleast_1d(expected), dim).reshape(a.shape)
        np.testing.assert_array_equal(array(ordered), picked)
        assert ordered.dtype == dtype


def test_sort_of_strided():
    x = values((40, 30), torch.float32)
    np.testing.assert_array_equal(array(torch.sort(x.t(), 0)[0]), np.sort(array(x.t()), 0))


@pytest.mark.parametrize("largest", [True, False])
@pytest.mark.parametrize("dtype", REAL)
def test_topk(dtype, largest):
    x = values((3, 300), dtype)
    order = stable_order(array(x), 1, largest)
    for k in (0, 1, 5, 300):
        best, index = torch.topk(x, k, 1, largest)
        assert array(index).tolist() == order[:, :k].tolist()
        np.testing.assert_array_equal(array(best), np.take_along_axis(array(x), order[:, :k], 1))
    assert sorted(array(torch.topk(x, 7, 1, largest, sorted=False)[1])[0]) == sorted(order[0, :7])


def test_topk_along_another_dim():
    x = random_tensor(np.random.default_rng(1), (5, 6), torch.float64)
    np.testing.assert_array_equal(array(x.topk(2, 0)[0]), -np.sort(-array(x), 0)[:2])


@pytest.mark.parametrize("dtype", [torch.float32, torch.int64])
def test_kthvalue(dtype):
    x = values((4, 50), dtype)
    order = stable_order(array(x), 1, False)
    for k in (1, 7, 50):
        found, index = x.kthvalue(k)
        assert array(index).tolist() == order[:, k - 1].tolist()
        assert found.shape == (4,) and x.kthvalue(k, keepdim=True)[0].shape == (4, 1)


@pytest.mark.parametrize("dtype", [*REAL, torch.bool, torch.complex64])
def test_nonzero(dtype):
    rng = np.random.default_rng(2)
    for sizes in [(), (0,), (7,), (4, 5), (2, 3, 4), (2, 70_000)]:
        a = rng.integers(0, 2, sizes)
        x = tensor(a, dtype)
        expected = np.argwhere(a)
        assert x.nonzero().shape == expected.shape
        assert array(x.nonzero()).tolist() == expected.tolist()
        if sizes:
            parts = x.nonzero(as_tuple=True)
            assert [array(p).tolist() for p in parts] == [p.tolist() for p in np.nonzero(a)]


def test_unique():
    rng = np.random.default_rng(3)
    for dtype in INTEGERS:
        a = rng.integers(0, 5, (4, 30))
        got = torch.unique(tensor(a, dtype), return_inverse=True, return_counts=True)
        expected = np.unique(a, return_inverse=True, return_counts=True)
        assert [array(g).reshape(-1).tolist() for g in got] == [e.reshape(-1).tolist()
                                                               for e in expected]
        assert got[1].shape == a.shape
    rows = rng.integers(0, 2, (20, 3))
    got = torch.unique(tensor(rows), dim=0, return_inverse=True, return_counts=True)
    expected = np.unique(rows, axis=0, return_inverse=True, return_counts=True)
    for g, e in zip(got, expected, strict=True):
        assert array(g).tolist() == e.reshape(np.shape(array(g))).tolist()
    nans = torch.unique(torch.tensor([float("nan"), 1.0, float("nan")]))
    assert nans.numel() == 3


def test_unique_consecutive():
    x = torch.tensor([1, 1, 2, 2, 2, 1])
    got = torch.unique_consecutive(x, return_inverse=True, return_counts=True)
    assert [g.tolist() for g in got] == [[1, 2, 1], [0, 0, 1, 1, 1, 2], [2, 3, 1]]


@pytest.mark.parametrize("right", [False, True])
def test_searchsorted(right):
    rng = np.random.default_rng(4)
    rows = np.sort(rng.integers(0, 9, (3, 20)), 1)
    v = rng.integers(-1, 11, (3, 5))
    side = "right" if right else "left"
    got = torch.searchsorted(tensor(rows), tensor(v), right=right)
    expected = [np.searchsorted(r, x, side).tolist() for r, x in zip(rows, v, strict=True)]
    assert array(got).tolist() == expected
    got = torch.bucketize(tensor(v), tensor(rows[0]), right=right, out_int32=True)
    assert got.dtype == torch.int32
    assert array(got).tolist() == np.searchsorted(rows[0], v, side).tolist()


def test_bincount():
    x, w = np.array([0, 2, 2, 5]), np.array([0.5, 1.0, 2.0, 3.0])
    assert torch.bincount(tensor(x)).tolist() == np.bincount(x).tolist()
    got = torch.bincount(tensor(x), tensor(w), 8)
    assert got.tolist() == np.bincount(x, w, 8).tolist() and got.dtype == torch.float64


def test_cat():
    rng = np.random.default_rng(5)
    parts = [rng.standard_normal((2, n, 3)) for n in (1, 0, 4)]
    same(torch.cat([tensor(p) for p in parts], 1), np.concatenate(parts, 1))
    turned = [tensor(p).permute(2, 0, 1) for p in parts]
    same(torch.cat(turned, -1), np.concatenate([array(t) for t in turned], -1))
    mixed = torch.cat([torch.tensor([1]), torch.tensor([0.5]), torch.zeros(0)])
    assert mixed.dtype == torch.float32 and mixed.tolist() == [1, 0.5]
    assert torch.cat([torch.zeros(0), torch.ones(2, 3)]).shape == (2, 3)  # the old exception


def test_gradients():
    x = random_tensor(np.random.default_rng(6), (4, 9), torch.float64)
    g = torch.arange(1.0, 10.0, dtype=torch.float64)
    order = array(x).argsort(1)
    rank = order.argsort(1)
    for call, expected in [
        (lambda x: (torch.sort(x)[0] * g).sum(), rank + 1.0),
        (lambda x: (torch.topk(x, 9, largest=False)[0] * g).sum(), rank + 1.0),
        (lambda x: torch.kthvalue(x, 3)[0].sum(), (rank == 2) * 1.0),
        (lambda x: (torch.cat([x, x[:, :2]], 1) * torch.cat([g, g[:2]])).sum(),
         np.tile([2.0, 4, 3, 4, 5, 6, 7, 8, 9], (4, 1))),
    ]:  # fmt: skip
        leaf = x.clone().requires_grad_()
        call(leaf).backward()
        np.testing.assert_array_equal(array(leaf.grad), expected)


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda: torch.cat([]), ValueError),
        (lambda: torch.cat([torch.zeros(2), torch.zeros(2, 2)]), RuntimeError),
        (lambda: torch.cat([torch.zeros(2, 3), torch.zeros(2, 2)]), RuntimeError),
        (lambda: torch.cat([torch.tensor(1.0)]), RuntimeError),
        (lambda: torch.cat([torch.zeros(2)], 3), IndexError),
        (lambda: torch.topk(torch.zeros(3), 4), RuntimeError),
        (lambda: torch.sort(torch.zeros(3), 1), IndexError),
        (lambda: torch.sort(torch.zeros(3, dtype=torch.complex64)), RuntimeError),
        (lambda: torch.kthvalue(torch.zeros(3), 0), RuntimeError),
        (lambda: torch.bincount(torch.tensor([-1])), RuntimeError),
        (lambda: torch.bincount(torch.tensor([1.0])), RuntimeError),
    ],
)
def test_errors(call, error):
    with pytest.raises(error):
        call()
