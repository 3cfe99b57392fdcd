"""Other names of the top level."""

import math

import pytest

import taimatsu as torch


def test_norms():
    x = torch.tensor([[3.0, 4.0], [0.0, 1.0]])
    assert torch.frobenius_norm(x, 1).tolist() == [5, 1]
    assert torch.frobenius_norm(x).item() == pytest.approx(math.sqrt(26))
    assert torch.norm_except_dim(x, 2, 0).tolist() == [[5], [1]]
    assert torch.norm_except_dim(x, 2, 1).shape == (1, 2)
    assert torch.nuclear_norm(torch.diag(torch.tensor([1.0, -2.0]))).item() == pytest.approx(3)
    assert not torch.detach_copy(x.requires_grad_()).requires_grad


def test_segments():
    data = torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]], requires_grad=True)
    lengths = torch.tensor([1, 0, 2])
    total = torch.segment_reduce(data, "sum", lengths=lengths)
    assert total.tolist() == [[1, 2], [0, 0], [8, 10]]
    total[2].sum().backward()
    assert data.grad.tolist() == [[0, 0], [1, 1], [1, 1]]
    offsets = torch.tensor([0, 1, 1, 3])
    mean = torch.segment_reduce(data, "mean", offsets=offsets)
    assert mean[2].tolist() == [4, 5] and mean[1].isnan().all()
    largest = torch.segment_reduce(data, "max", lengths=lengths, initial=5.5)
    assert largest.tolist() == [[5.5, 5.5], [5.5, 5.5], [5.5, 6]]
    along = torch.segment_reduce(data, "prod", lengths=torch.tensor([[2], [2], [2]]), axis=1)
    assert along.tolist() == [[2], [12], [30]]
    with pytest.raises(RuntimeError, match="sum to"):
        torch.segment_reduce(data, "sum", lengths=torch.tensor([1, 1]))
    with pytest.raises(RuntimeError, match="Either"):
        torch.segment_reduce(data, "sum")
