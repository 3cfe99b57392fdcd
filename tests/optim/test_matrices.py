"""Optimizers that treat a matrix as one: Adafactor and Muon, against NumPy."""

import math

import numpy as np
import pytest

import taimatsu as torch
from taimatsu import nn, optim

STEPS = 5


def run(cls, shape, **options):
    """The start, the gradients, and the parameter after some steps, in float64."""
    random = np.random.default_rng(0)
    start, gradients = random.standard_normal(shape), random.standard_normal((STEPS, *shape))
    param = nn.Parameter(torch.tensor(start))
    optimizer = cls([param], **options)
    for g in gradients:
        param.grad = torch.tensor(g)
        optimizer.step()
    return start, gradients, param.detach().numpy(), optimizer.state[param]


def rms(x):
    return math.sqrt((x * x).mean())


EPSILON = np.finfo(float).eps


def adafactor(p, gradients, lr=1e-2, decay=-0.8, eps=(EPSILON, 1e-3), d=1.0, weight=0.0):
    rows = columns = variance = 0.0
    for t, g in enumerate(gradients, 1):
        rate = t**decay
        size = max(eps[1], rms(p)) * min(lr, 1 / math.sqrt(t))
        p = p * (1 - lr * weight)
        if p.ndim > 1:
            rows = rows + rate * ((g * g).mean(-1, keepdims=True) - rows)
            columns = columns + rate * ((g * g).mean(-2, keepdims=True) - columns)
            v = rows * columns / np.maximum(rows.mean(-2, keepdims=True), eps[0])
        else:
            v = variance = variance + rate * (g * g - variance)
        u = g / np.maximum(np.sqrt(v), eps[0])
        p = p - size * u / max(1, rms(u) / d)
    return p


@pytest.mark.parametrize("shape", [(7,), (4, 6), (2, 3, 5)])
@pytest.mark.parametrize(("options", "renamed"), [
    ({}, {}), ({"lr": 0.3, "d": 2.0}, {"lr": 0.3, "d": 2.0}),
    ({"weight_decay": 0.1, "eps": (1e-3, 1e-2)}, {"weight": 0.1, "eps": (1e-3, 1e-2)}),
])  # fmt: skip
def test_adafactor(shape, options, renamed):
    start, gradients, found, state = run(optim.Adafactor, shape, **options)
    np.testing.assert_allclose(found, adafactor(start, gradients, **renamed), rtol=1e-6, atol=1e-7)
    kept = sum(v.numel() for name, v in state.items() if name != "step")
    assert kept == (shape[0] if len(shape) == 1 else math.prod(shape[:-2]) * sum(shape[-2:]))


def test_maximize_climbs():
    param = nn.Parameter(torch.ones(2, 2))
    param.grad = torch.ones(2, 2)
    optim.Adafactor([param], maximize=True).step()
    assert (param > 1).all()


@pytest.mark.parametrize("shape", [(4, 6), (6, 4), (5, 5)])
@pytest.mark.parametrize("nesterov", [True, False])
def test_muon(shape, nesterov):
    """The step is near lr U V^T of what momentum made of the gradients U S V^T."""
    options = {"lr": 0.01, "weight_decay": 0.1, "nesterov": nesterov, "ns_steps": 5}
    p, gradients, found, _ = run(optim.Muon, shape, **options)
    buffer = np.zeros(shape)
    for g in gradients:
        buffer += 0.05 * (g - buffer)
        matrix = g + 0.95 * (buffer - g) if nesterov else buffer
        u, _, vt = np.linalg.svd(matrix, full_matrices=False)
        p = p * (1 - 0.01 * 0.1) - 0.01 * math.sqrt(max(1, shape[0] / shape[1])) * (u @ vt)
    steps = np.abs(found - p).max() / 0.01
    assert steps < 0.35 * STEPS  # singular values of the iteration are in [0.7, 1.2]


def test_muon_makes_steps_of_known_size():
    for adjust, size in ((None, math.sqrt(2)), ("match_rms_adamw", 0.2 * math.sqrt(8))):
        param = nn.Parameter(torch.zeros(8, 4))
        param.grad = torch.randn(8, 4)
        optim.Muon([param], lr=1.0, weight_decay=0.0, adjust_lr_fn=adjust).step()
        values = np.linalg.svd(param.detach().numpy(), compute_uv=False)
        assert (values > 0.6 * size).all() and (values < 1.3 * size).all()


@pytest.mark.parametrize("make", [
    lambda p: optim.Adafactor([p], lr=-1.0), lambda p: optim.Adafactor([p], d=0.5),
    lambda p: optim.Adafactor([p], beta2_decay=0.1), lambda p: optim.Adafactor([p], eps=(-1, 1)),
    lambda p: optim.Muon([p], lr=-1.0), lambda p: optim.Muon([p[0]]),
    lambda p: optim.Muon([p], adjust_lr_fn="none"),
])  # fmt: skip
def test_options_out_of_range(make):
    with pytest.raises(ValueError, match="should be|supports|supported"):
        make(torch.zeros(2, 2))


def test_complex_parameters():
    param = nn.Parameter(torch.zeros(2, 2, dtype=torch.complex64))
    param.grad = torch.zeros(2, 2, dtype=torch.complex64)
    for cls in (optim.Adafactor, optim.Muon):
        with pytest.raises(RuntimeError, match="complex"):
            cls([param]).step()
