"""Tests that need a GPU: the same programs as on the double, on what is there."""

from __future__ import annotations

import pytest

import taimatsu as torch
from taimatsu.cuda import _driver

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason=_driver.why_absent() or "none"),
]


def test_copies_and_kernels():
    a, b = torch.randn(1000, 100), torch.randn(100)
    x, y = a.cuda(), b.cuda()
    assert (x.cpu() == a).all()
    assert torch.equal((x + y).cpu(), a + b)


def test_long_rows_and_scatters():
    a = torch.randn(4, 1 << 18)
    assert torch.allclose(a.cuda().sum(1).cpu(), a.sum(1), rtol=1e-5, atol=1e-3)


def test_steady_state_allocates_nothing():
    x = torch.ones(1 << 20, device="cuda")
    for _ in range(3):
        y = x * 2
    made = torch.cuda.memory_stats()["num_device_alloc"]
    for _ in range(100):
        y = x * 2
    assert torch.cuda.memory_stats()["num_device_alloc"] == made
    assert y[0].item() == 2


def test_a_graph_replays():
    x = torch.zeros(1000, device="cuda")
    y = x + 1
    g = torch.cuda.CUDAGraph()
    with torch.cuda.graph(g):
        y = x + 1
    x.fill_(3)
    g.replay()
    assert (y.cpu() == 4).all()


def test_events_take_times():
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    x = torch.ones(1 << 22, device="cuda")
    start.record()
    for _ in range(10):
        x = x * 2
    end.record()
    end.synchronize()
    assert start.elapsed_time(end) > 0
