"""Sizes, strides and offsets that can't be: refused before any memory is touched."""

import pytest

import taimatsu as torch

HUGE = 2**62

REFUSED = {
    "empty": lambda: torch.empty(HUGE, 4),
    "empty, in bytes": lambda: torch.empty(HUGE),
    "zeros, negative": lambda: torch.zeros(-1),
    "full, negative": lambda: torch.full((2, -1), 1.0),
    "empty_strided, negative stride": lambda: torch.empty_strided((2, 2), (-1, 1)),
    "empty_strided, too few strides": lambda: torch.empty_strided((2, 2), (1,)),
    "empty_strided, reach": lambda: torch.empty_strided((2, 2), (HUGE, HUGE)),
    "as_strided, offset": lambda: torch.ones(5).as_strided((2,), (1,), 2**63 - 1),
    "as_strided, stride": lambda: torch.ones(5).as_strided((2,), (2**63 - 1,)),
    "as_strided, one past the end": lambda: torch.ones(5).as_strided((2,), (1,), 4),
    "set_": lambda: torch.empty(0).set_(torch.ones(1).untyped_storage(), 2**61, (1,), (1,)),
    "resize_": lambda: torch.ones(3).resize_(HUGE),
    "resize_, float64": lambda: torch.ones(3, dtype=torch.float64).resize_(2**61),
    "narrow": lambda: torch.ones(4).narrow(0, 3, 2**63 - 1),
    "narrow, from the end": lambda: torch.ones(4).narrow(0, -1, 2**63 - 1),
    "narrow, negative length": lambda: torch.ones(4).narrow(0, 0, -1),
    "expand": lambda: torch.ones(1).expand(HUGE, 4),
    "contiguous": lambda: torch.ones(1).expand(HUGE).contiguous(),
    "broadcast": lambda: torch.ones(1, 1).expand(2**40, 1) + torch.ones(1, 1).expand(1, 2**40),
    "cat": lambda: torch.cat([torch.ones(1).expand(HUGE)] * 2),
    "matmul": lambda: torch.ones(1, 1).expand(2**40, 1) @ torch.ones(1, 1).expand(1, 2**40),
    "arange": lambda: torch.arange(-(2**63), 2**63 - 1),
    "eye": lambda: torch.eye(2**40),
}


@pytest.mark.parametrize("make", REFUSED.values(), ids=REFUSED)
def test_refused(make):
    with pytest.raises(RuntimeError):
        make()


def test_steps_that_pass_the_end_of_int64():
    assert torch.arange(0, 10, 2**63 - 1).tolist() == [0]
    assert torch.arange(5, 0, -(2**63)).tolist() == [5]


OVERLAPPING = {
    "copy_": lambda x: x.copy_(torch.ones(4, 3)),
    "add_": lambda x: x.add_(1),
    "uniform_": lambda x: x.uniform_(),
    "normal_": lambda x: x.normal_(),
    "index_put_": lambda x: x.index_put_((torch.tensor([0, 1]),), torch.ones(2, 3)),
    "index_add_": lambda x: x.index_add_(0, torch.tensor([0, 1]), torch.ones(2, 3)),
    "scatter_": lambda x: x.scatter_(0, torch.zeros(1, 3, dtype=torch.int64), 1.0),
}


@pytest.mark.parametrize("write", OVERLAPPING.values(), ids=OVERLAPPING)
def test_elements_that_share_memory_are_not_written_to(write):
    x = torch.zeros(1, 3)
    with pytest.raises(RuntimeError, match="single memory location"):
        write(x.expand(4, 3))
    assert x.tolist() == [[0.0, 0.0, 0.0]]


def test_one_value_may_be_written_to_elements_that_share_memory():
    x = torch.ones(1, 3)
    x.expand(4, 3).fill_(2)
    assert x.tolist() == [[2.0, 2.0, 2.0]]
    x.expand(4, 3).zero_()
    assert x.tolist() == [[0.0, 0.0, 0.0]]
