"""Sparse tensors with parts that were tampered with, or sizes that no memory holds."""

import gc
import weakref
from contextlib import suppress

import pytest

import taimatsu as torch

REFUSED = (RuntimeError, IndexError, NotImplementedError, TypeError, ValueError,
           torch.OutOfMemoryError)  # fmt: skip


def matrix() -> torch.Tensor:
    return torch.sparse_coo_tensor([[0, 1, 1], [2, 0, 2]], [3.0, 4.0, 5.0], (2, 3)).coalesce()


USES = (
    lambda x: x.to_dense(), lambda x: x @ torch.ones(3, 2), lambda x: torch.ones(2, 3) + x,
    lambda x: torch.ones(2, 3).add_(x), lambda x: (x + x * 2).coalesce(),
    lambda x: x.to_sparse_csr(), lambda x: torch.sparse.softmax(x, 1),
    lambda x: x * torch.ones(2, 3), lambda x: x.t().coalesce(), lambda x: torch.sparse.mm(x, x.t()),
    lambda x: x.index_select(0, torch.tensor([1])), lambda x: torch.ones(2, 3).sparse_mask(x), repr,
    lambda x: x.sum(0),
)  # fmt: skip


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("value", [7, -9, 2**62])
def test_indices_written_over(use, value):
    x = matrix()
    x._indices()[:, 1] = value
    with suppress(*REFUSED):
        use(x)
    y = matrix()
    y._coalesced_(True)
    y._indices().copy_(y._indices().flip(1))
    use(y)


@pytest.mark.parametrize("value", [100, -5, 2**40])
def test_rows_written_over(value):
    for use in (lambda x: x.to_dense(), lambda x: x @ torch.ones(3, 2), repr, lambda x: x + x):
        x = matrix().to_sparse_csr()
        x.crow_indices()[1] = value
        with suppress(*REFUSED):
            use(x)


def test_sizes_that_no_memory_holds():
    x = torch.sparse_coo_tensor([[10**9], [10**6]], [1.0], (2**40, 2**20))
    assert (x + x).coalesce().values().tolist() == [2.0]
    assert x.t()[10**6]._indices().tolist() == [[10**9]]
    with pytest.raises(REFUSED):
        x.to_dense()
    with pytest.raises(REFUSED):
        torch.sparse_coo_tensor([[1], [1], [1]], [1.0], (2**40, 2**40, 2**40)).coalesce()
    with pytest.raises(REFUSED):
        torch.sparse_coo_tensor((-1, 2))


def test_cycles_are_collected():
    x = matrix().requires_grad_()
    x.itself = x
    y = torch.sparse.mm(x, torch.ones(3, 2))
    y.back = x
    values = torch.tensor([1.0])
    values.owner = torch.sparse_coo_tensor([[0]], values, (2,))
    gone = [weakref.ref(t) for t in (x, y, values)]
    del x, y, values
    gc.collect()
    assert [r() for r in gone] == [None] * 3


def test_subclasses_and_threads_see_a_tensor():
    from concurrent.futures import ThreadPoolExecutor

    x = matrix()
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda i: (x * i).sum().item(), range(20)))
    assert found == [12.0 * i for i in range(20)]
    with torch.no_grad(), torch.inference_mode():
        assert (x @ torch.ones(3, 1)).tolist() == [[3.0], [9.0]]
