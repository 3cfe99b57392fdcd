"""Normalisations: gradients of results with statistics, mixed types, running statistics."""

import numpy as np
import pytest

import taimatsu as torch
import taimatsu.nn.functional as F
from taimatsu import nn
from taimatsu.autograd import gradcheck, gradgradcheck

close = np.testing.assert_allclose


def doubles(*shape):
    return torch.randn(*shape, dtype=torch.float64, requires_grad=True)


@pytest.mark.parametrize(
    ("norm", "shapes"),
    [
        (lambda x, w, b: torch.native_layer_norm(x, [3, 4], w, b, 1e-3)[0], [(2, 3, 4), (3, 4)]),
        (lambda x, w, b: torch.native_batch_norm(x, w, b, None, None, True, 0.1, 1e-3)[0],
         [(4, 3, 2), (3,)]),
        (lambda x, w, b: torch.native_group_norm(x, w, b, 2, 4, 3, 2, 1e-3), [(2, 4, 3), (4,)]),
    ],
)  # fmt: skip
def test_gradients(norm, shapes):
    torch.manual_seed(0)
    inputs = [doubles(*shapes[0]), doubles(*shapes[1]), doubles(*shapes[1])]
    assert gradcheck(norm, inputs) and gradgradcheck(norm, inputs)


def test_statistics_of_batch_and_layer_norm_have_no_gradient():
    x = doubles(4, 3, 2)
    for _, mean, rstd in (torch.native_layer_norm(x, [2], None, None, 1e-5),
                          torch.native_batch_norm(x, None, None, None, None, True, 0.1, 1e-5)):
        assert not mean.requires_grad and not rstd.requires_grad


@pytest.mark.parametrize(
    "norm",
    [
        lambda x, w: F.layer_norm(x, [4], w, w),
        lambda x, w: F.group_norm(x, 2, w, w),
        lambda x, w: F.batch_norm(x, w.clone(), w.clone(), w, w, True),
        lambda x, w: F.batch_norm(x, w, w, w, w),
        lambda x, w: F.instance_norm(x.unsqueeze(2).expand(8, 4, 2), weight=w, bias=w),
    ],
)
def test_wide_weights_of_narrow_inputs(norm):
    """As under mixed precision: the result has the input's type, the gradients their own."""
    x = torch.randn(8, 4).bfloat16().requires_grad_()
    weight = torch.ones(4, requires_grad=True)
    y = norm(x, weight)
    assert y.dtype == torch.bfloat16
    y.float().pow(2).sum().backward()
    assert x.grad.dtype == torch.bfloat16 and weight.grad.dtype == torch.float32


def test_running_statistics():
    x = torch.randn(6, 3, 5)
    a = x.numpy()
    mean, var = torch.zeros(3), torch.ones(3)
    F.batch_norm(x, mean, var, training=True, momentum=0.5)
    close(mean, a.mean((0, 2)) / 2, rtol=1e-5, atol=1e-6)
    close(var, (1 + a.var((0, 2), ddof=1)) / 2, rtol=1e-5)
    mean, var = torch.zeros(3), torch.ones(3)
    F.instance_norm(x, mean, var, momentum=0.5)
    close(mean, a.mean((0, 2)) / 2, rtol=1e-5, atol=1e-6)
    close(var, (1 + a.var(2, ddof=1).mean(0)) / 2, rtol=1e-5)


def test_no_elements():
    for y in (F.batch_norm(torch.ones(0, 3), torch.zeros(3), torch.ones(3), training=True),
              F.group_norm(torch.ones(0, 4), 2), F.instance_norm(torch.ones(0, 4, 2))):
        assert y.numel() == 0


def test_local_response_norm():
    x = torch.randn(2, 5, 3, 4)
    a, size = x.numpy().astype(np.float64), 3
    wide = np.pad(a**2, [(0, 0), (size // 2, (size - 1) // 2), (0, 0), (0, 0)])
    mean = sum(wide[:, k : k + 5] for k in range(size)) / size
    close(nn.LocalResponseNorm(size, alpha=0.5, k=2)(x), a / (2 + 0.5 * mean) ** 0.75, rtol=1e-5)


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda x: F.group_norm(x, 4), RuntimeError, "divisible by num_groups"),
        (lambda x: F.group_norm(x, 0), ZeroDivisionError, "num_groups"),
        (lambda x: F.group_norm(x, 3, torch.ones(2)), RuntimeError, "vector of size"),
        (lambda x: F.group_norm(x[:1], 3), ValueError, "more than 1 value"),
        (lambda x: F.batch_norm(x, None, None), RuntimeError, "must be defined"),
        (lambda x: F.batch_norm(x, torch.ones(4), torch.ones(4)), RuntimeError, "3 elements"),
        (lambda x: F.batch_norm(x[:1], None, None, training=True), ValueError, "more than 1 value"),
        (lambda x: F.instance_norm(x), ValueError, "spatial element"),
        (lambda x: F.instance_norm(x, use_input_stats=False), RuntimeError, "running_mean"),
    ],
)
def test_errors(call, error, text):
    with pytest.raises(error, match=text):
        call(torch.randn(2, 3))
