"""Gradient clipping, and parameters as a vector."""

import math

import pytest

import taimatsu as torch
from taimatsu import nn


def with_grads(*grads):
    params = [nn.Parameter(torch.zeros(len(g))) for g in grads]
    for param, grad in zip(params, grads, strict=True):
        param.grad = torch.tensor(grad)
    return params


def test_clip_grad_norm():
    params = with_grads([3.0], [4.0, 0.0])
    assert nn.utils.clip_grad_norm_(params, 1.0).item() == pytest.approx(5.0)
    assert params[0].grad.item() == pytest.approx(0.6, rel=1e-5)
    assert params[1].grad.tolist() == pytest.approx([0.8, 0.0], rel=1e-5)
    before = [p.grad.clone() for p in params]
    nn.utils.clip_grad_norm_(params, 10.0)
    assert all(torch.equal(p.grad, b) for p, b in zip(params, before, strict=True))
    assert nn.utils.clip_grad_norm_(params, 1.0, math.inf).item() == pytest.approx(0.8, rel=1e-5)


def test_clip_grad_norm_of_what_is_not_finite():
    params = with_grads([math.nan])
    with pytest.raises(RuntimeError, match="non-finite"):
        nn.utils.clip_grad_norm_(params, 1.0, error_if_nonfinite=True)
    assert nn.utils.clip_grad_norm_([], 1.0).item() == 0.0


def test_clipping_tensors_of_several_types():
    params = [*with_grads([3.0]), nn.Parameter(torch.zeros(1, dtype=torch.complex128))]
    params[1].grad = torch.tensor([4.0j], dtype=torch.complex128)
    version = params[0].grad._version
    assert nn.utils.clip_grad_norm_(params, 1.0).item() == pytest.approx(5.0)
    assert params[1].grad.tolist() == [pytest.approx(0.8j, rel=1e-5)]
    assert params[0].grad._version > version
    total = nn.utils.get_total_norm([torch.ones(4).bfloat16(), torch.ones(5)])
    assert total.dtype == torch.float32 and total.item() == 3


def test_clip_grad_value():
    params = with_grads([3.0, -0.5, -7.0])
    nn.utils.clip_grad_value_(params, 1.0)
    assert params[0].grad.tolist() == [1.0, -0.5, -1.0]


def test_parameters_as_a_vector():
    model = nn.Linear(2, 2)
    vector = nn.utils.parameters_to_vector(model.parameters())
    assert vector.shape == (6,)
    nn.utils.vector_to_parameters(torch.arange(6.0), model.parameters())
    assert model.weight.tolist() == [[0.0, 1.0], [2.0, 3.0]] and model.bias.tolist() == [4.0, 5.0]
