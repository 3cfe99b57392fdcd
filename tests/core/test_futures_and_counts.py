"""Futures, and the count of floating-point operations."""

import threading

import pytest

import taimatsu as torch
from taimatsu.futures import Future, collect_all, wait_all
from taimatsu.utils.flop_counter import FlopCounterMode


def test_futures_chain_fail_and_wait_for_another_thread():
    f = Future()
    later = f.then(lambda f: f.value() + 1).then(lambda f: f.value() * 10)
    failing = f.then(lambda f: 1 // 0)
    assert not f.done()
    with pytest.raises(RuntimeError, match="isn't completed"):
        f.value()
    thread = threading.Timer(0.01, f.set_result, [1])
    thread.start()
    assert f.wait() == 1 and later.wait() == 20
    with pytest.raises(ZeroDivisionError):
        failing.wait()
    with pytest.raises(RuntimeError, match="once"):
        f.set_result(2)
    assert wait_all([f, later]) == [1, 20] and collect_all([]).wait() == []
    with pytest.raises(AssertionError, match="Exception"):
        Future().set_exception("no")


def test_products_and_their_gradients_are_counted():
    w = torch.ones(3, 4, requires_grad=True)
    with FlopCounterMode(display=False) as counter:
        y = torch.ones(2, 3, requires_grad=True) @ w
        assert counter.get_total_flops() == 2 * 2 * 3 * 4
        y.sum().backward()
    assert counter.get_total_flops() == 3 * 2 * 2 * 3 * 4
    conv = torch.nn.Conv2d(2, 4, 3)
    with FlopCounterMode(display=False) as counter:
        conv(torch.ones(1, 2, 5, 5)).sum().backward()
    forward = 2 * (4 * 3 * 3) * (2 * 3 * 3)
    assert counter.get_flop_counts()["Global"] == {
        torch.ops.aten.convolution: forward, torch.ops.aten.convolution_backward: forward
    }  # fmt: skip
    assert counter.get_total_flops() == 2 * forward  # and the weight's gradient
    assert "Global" in counter.get_table()


def test_modules_are_counted_each():
    net = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.Dropout(), torch.nn.Linear(16, 3))
    with FlopCounterMode(display=False) as counter:
        net(torch.ones(4, 8))  # dropout is a function of ops, and forgets nothing
    found = {name: sum(ops.values()) for name, ops in counter.get_flop_counts().items()}
    first, last = 2 * 4 * 8 * 16, 2 * 4 * 16 * 3
    both = {"Global": first + last, "Sequential": first + last}
    assert found == {**both, "Sequential.0": first, "Sequential.2": last}
    assert "Sequential.2" not in counter.get_table(1)
