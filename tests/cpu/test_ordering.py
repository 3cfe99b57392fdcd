"""Sorting, selecting and counting of lines long enough for every way that they are done."""

import numpy as np
import pytest

import taimatsu as torch

# Around the borders between networks, cached radix sorts and those by the leading digit first.
SIZES = (1, 2, 5, 16, 32, 33, 300, 2049, 140_000)


def lines(n: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(n)
    plain = rng.standard_normal(n)
    special = plain.copy()
    for value in (np.nan, np.inf, -np.inf, 0.0, -0.0):
        special[rng.random(n) < 0.05] = value
    return {
        "float32": special.astype(np.float32),
        "float64": special,
        # Keys that differ in their last bits alone, in two clusters: words don't hold all of them.
        "close": np.where(rng.random(n) < 0.5, 1 + 1e-15 * rng.integers(0, 9, n), 1e300),
        "float16": plain.astype(np.float16),
        "int64": rng.integers(-(2**63), 2**63 - 1, n),
        "tokens": rng.integers(0, 50, n),
        "int8": rng.integers(-128, 127, n).astype(np.int8),
        "bool": rng.random(n) < 0.3,
        "sorted": np.sort(plain),
    }


CASES = [(name, n) for n in SIZES for name in lines(1)]


@pytest.mark.parametrize(("name", "n"), CASES)
def test_sort_is_stable_and_selects_agree(name, n):
    x = lines(n)[name]
    t = torch.tensor(x)
    order = np.argsort(x, kind="stable")
    values, indices = t.sort()
    np.testing.assert_array_equal(indices.numpy(), order)
    np.testing.assert_array_equal(values.numpy().view(np.uint8), x[order].view(np.uint8))
    k = (n + 1) // 2
    assert torch.kthvalue(t, k).indices.item() == order[k - 1]
    least = t.topk(k, largest=False)
    np.testing.assert_array_equal(least.indices.numpy(), order[:k])
    assert set(t.topk(k, largest=False, sorted=False).indices.tolist()) == set(order[:k].tolist())
    if not np.isnan(x).any():
        distinct, inverse, counts = np.unique(x, return_inverse=True, return_counts=True)
        found = t.unique(return_inverse=True, return_counts=True)
        for ours, theirs in zip(found, (distinct, inverse, counts), strict=True):
            np.testing.assert_array_equal(ours.numpy(), theirs.reshape(ours.shape))
        np.testing.assert_array_equal(t.unique().numpy(), distinct)
        assert t.mode().values.item() == distinct[counts.argmax()]


@pytest.mark.parametrize("name", ["float32", "close", "int64", "tokens"])
def test_same_for_any_number_of_threads(name):
    t = torch.tensor(lines(300_000)[name])
    results = []
    for threads in (1, 2, 4):
        torch.set_num_threads(threads)
        results.append(
            (*t.sort(descending=True), t.kthvalue(9999)[1], t.unique(return_counts=True)[1])
        )
    torch.set_num_threads(1)
    for other in results[1:]:
        for one, more in zip(results[0], other, strict=True):
            np.testing.assert_array_equal(one.numpy(), more.numpy())


def test_lines_along_any_dim():
    x = np.random.default_rng(0).standard_normal((7, 90, 11)).astype(np.float32)
    t = torch.tensor(x)
    for dim in range(3):
        np.testing.assert_array_equal(t.sort(dim)[0].numpy(), np.sort(x, dim))
        top = t.transpose(0, 2).topk(3, 2 - dim)[0].numpy()
        expected = -np.sort(-x.swapaxes(0, 2), 2 - dim).take(range(3), 2 - dim)
        np.testing.assert_array_equal(top, expected)
        middle = t.median(dim, keepdim=True).values.numpy()
        expected = np.sort(x, dim).take([(x.shape[dim] - 1) // 2], dim)
        np.testing.assert_array_equal(middle, expected)


def test_nan_decides_medians():
    t = torch.tensor([[1.0, float("nan"), 3.0, 2.0], [4.0, 1.0, 3.0, 2.0]])
    values, indices = t.median(1)
    assert values.isnan().tolist() == [True, False] and indices.tolist() == [1, 3]
    assert t.nanmedian(1).values.tolist() == [2.0, 2.0]
    assert t.median().isnan() and t.nanmedian().item() == 2.0
    with pytest.raises(IndexError, match="non-zero size"):
        t[:, :0].median(1)


@pytest.mark.parametrize("dtype", ["float32", "int64", "uint8"])
@pytest.mark.parametrize("right", [False, True])
def test_searches(dtype, right):
    rng = np.random.default_rng(3)
    x = rng.integers(0, 200, 5000).astype(dtype)
    for n in (0, 1, 2, 3, 150):
        edges = np.sort(rng.integers(0, 200, n).astype(dtype))
        found = torch.searchsorted(torch.tensor(edges), torch.tensor(x), right=right)
        np.testing.assert_array_equal(
            found.numpy(), np.searchsorted(edges, x, "right" if right else "left")
        )
        np.testing.assert_array_equal(
            torch.isin(torch.tensor(x), torch.tensor(edges)).numpy(), np.isin(x, edges)
        )


def test_counts():
    rng = np.random.default_rng(4)
    tokens, weights = rng.integers(0, 30, 10_000), rng.random(10_000)
    np.testing.assert_array_equal(torch.tensor(tokens).bincount().numpy(), np.bincount(tokens))
    np.testing.assert_array_equal(
        torch.tensor(tokens).bincount(torch.tensor(weights), 40).numpy(),
        np.bincount(tokens, weights, 40),
    )
    x = rng.standard_normal(10_000)
    counts, edges = np.histogram(x, 25)
    found = torch.histogram(torch.tensor(x), 25).bin_edges
    np.testing.assert_allclose(found.numpy(), edges)
    np.testing.assert_array_equal(
        torch.histogram(torch.tensor(x), torch.tensor(edges))[0].numpy(), counts
    )
    np.testing.assert_array_equal(
        torch.tensor(x).histc(25, -2, 2).numpy(), np.histogram(x, 25, (-2, 2))[0]
    )
    with pytest.raises(RuntimeError, match="non-negative"):
        torch.tensor([3, -1]).bincount()
