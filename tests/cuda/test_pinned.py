"""Pinned host memory: copies that don't wait, and memory that stays until they are done."""

from __future__ import annotations

import pytest

import taimatsu as torch

cuda = torch.cuda


@pytest.fixture(autouse=True)
def _used():
    torch.ones(1, device="cuda")
    cuda.synchronize()


def test_pin_memory():
    x = torch.arange(12.0).reshape(3, 4).t()
    p = x.pin_memory()
    assert p.is_pinned() and not x.is_pinned() and p.is_cpu
    assert torch.equal(p, x) and p.stride() == x.stride()
    assert p.pin_memory() is p and p[1:].is_pinned()
    assert not torch.ones(3).is_pinned() and not torch.ones(3, device="cuda").is_pinned()
    with pytest.raises(RuntimeError, match="only dense CPU tensors can be pinned"):
        torch.ones(3, device="cuda").pin_memory()


def test_copies_of_pinned_memory_dont_wait(double):
    p = torch.full((1000,), 3.0).pin_memory()
    x = p.to("cuda", non_blocking=True)
    assert double.pending() > 0
    back = torch.zeros(1000).pin_memory()
    back.copy_(x, non_blocking=True)
    assert (back == 0).all()  # not yet
    cuda.synchronize()
    assert (back == 3).all()


def test_copies_of_other_memory_can_be_trusted(double):
    a = torch.full((1000,), 3.0)
    x = a.to("cuda", non_blocking=True)
    a.fill_(5)
    assert (x.cpu() == 3).all()
    p = torch.full((10,), 4.0).pin_memory()
    y = p.to("cuda")
    p.fill_(5)
    assert (y.cpu() == 4).all()


def test_memory_stays_until_the_copy_is_done(double):
    p = torch.full((4096,), 3.0).pin_memory()
    address = p.data_ptr()
    x = p.to("cuda", non_blocking=True)
    del p
    other = torch.full((4096,), 9.0).pin_memory()
    assert other.data_ptr() != address
    assert (x.cpu() == 3).all()
    del other
    assert torch.empty(4096).pin_memory().data_ptr()
    again = [torch.ones(4096).pin_memory() for _ in range(2)]
    assert address in {t.data_ptr() for t in again}


def test_memory_is_cached(double):
    def figure(name: str) -> int:
        return cuda.host_memory_stats()[name]

    p = torch.ones(100000).pin_memory()
    del p
    made = double.calls("cuMemHostAlloc")
    for _ in range(10):
        p = torch.ones(100000).pin_memory()
        del p
    assert double.calls("cuMemHostAlloc") == made
    assert figure("reserved_bytes.current") >= 400000
    assert figure("allocated_bytes.peak") >= 400000
    nested = cuda.memory.host_memory_stats_as_nested_dict()
    assert nested["reserved_bytes"]["current"] == figure("reserved_bytes.current")


def test_no_host_memory_left(double):
    double.fail("cuMemHostAlloc", 2, times=2)
    with pytest.raises(torch.OutOfMemoryError, match="pinned host memory"):
        torch.ones(77777).pin_memory()
    assert torch.ones(77777).pin_memory().is_pinned()


def test_memory_that_others_have_pinned():
    x = torch.ones(1 << 16)
    runtime = cuda.cudart()
    assert runtime.cudaHostRegister(x.data_ptr(), x.nbytes, 0) == 0
    assert x.is_pinned()
    assert runtime.cudaHostUnregister(x.data_ptr()) == 0
    assert not x.is_pinned()


def test_a_loader_pins_its_batches():
    data = torch.utils.data.TensorDataset(torch.arange(8.0))
    for (batch,) in torch.utils.data.DataLoader(data, batch_size=4, pin_memory=True):
        assert batch.is_pinned()
