"""Initialisers by the moments and bounds of what they draw."""

import math

import numpy as np
import pytest

import taimatsu as torch
from taimatsu import nn


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def test_constants():
    t = torch.empty(2, 3)
    assert nn.init.ones_(t) is t and t.tolist() == [[1.0] * 3] * 2
    assert nn.init.zeros_(t).sum().item() == 0
    assert nn.init.constant_(t, 2.5)[0, 0].item() == 2.5
    assert nn.init.eye_(t).tolist() == [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]


@pytest.mark.parametrize(
    "draw, std",
    [
        (lambda t: nn.init.normal_(t, 0.0, 0.3), 0.3),
        (lambda t: nn.init.uniform_(t, -1.0, 1.0), 1 / math.sqrt(3)),
        (lambda t: nn.init.xavier_uniform_(t), math.sqrt(2 / 700)),
        (lambda t: nn.init.xavier_normal_(t, gain=2.0), 2 * math.sqrt(2 / 700)),
        (lambda t: nn.init.kaiming_uniform_(t, nonlinearity="relu"), math.sqrt(2 / 300)),
        (lambda t: nn.init.kaiming_normal_(t, mode="fan_out"), math.sqrt(2 / 400)),
    ],
)
def test_standard_deviation(draw, std):
    values = draw(torch.empty(400, 300)).numpy()
    assert values.std() == pytest.approx(std, rel=0.02)
    assert abs(values.mean()) < 5 * std / math.sqrt(values.size)


def test_fans_of_a_convolution():
    values = nn.init.kaiming_uniform_(torch.empty(64, 32, 3, 3), a=math.sqrt(5)).numpy()
    bound = 1 / math.sqrt(32 * 9)
    assert np.abs(values).max() <= bound and np.abs(values).max() > 0.99 * bound


def test_truncated_normal():
    values = nn.init.trunc_normal_(torch.empty(100000), 0.0, 1.0, -1.0, 1.0).numpy()
    assert np.abs(values).max() <= 1.0
    assert values.std() == pytest.approx(0.5396, rel=0.01)  # of a normal cut at one sigma


@pytest.mark.parametrize("shape", [(5, 3), (3, 5), (4, 2, 2)])
def test_orthogonal(shape):
    matrix = nn.init.orthogonal_(torch.empty(shape), gain=2.0).numpy().reshape(shape[0], -1)
    small = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    np.testing.assert_allclose(small @ small.T, 4 * np.eye(len(small)), atol=1e-5)


def test_dirac_passes_channels_through():
    conv = nn.Conv2d(2, 3, 3, padding=1, bias=False)
    nn.init.dirac_(conv.weight)
    x = torch.randn(1, 2, 4, 4)
    y = conv(x)
    assert torch.equal(y[:, :2], x) and not y[:, 2].any()


def test_sparse():
    values = nn.init.sparse_(torch.empty(10, 4), 0.3).numpy()
    assert ((values == 0).sum(0) == 3).all()


def test_errors():
    with pytest.raises(ValueError, match="at least 2 dimensions"):
        nn.init.xavier_uniform_(torch.empty(3))
    with pytest.raises(ValueError, match="unsupported nonlinearity"):
        nn.init.calculate_gain("square")
    with pytest.raises(ValueError, match="fan_in"):
        nn.init.kaiming_normal_(torch.empty(2, 2), mode="both")


def test_writes_are_not_recorded():
    weight = nn.Parameter(torch.empty(2, 2))
    nn.init.normal_(weight)
    assert weight.grad_fn is None and weight.is_leaf


def test_old_names_warn_and_do_the_same():
    with pytest.warns(FutureWarning, match="constant_"):
        assert nn.init.constant(torch.empty(2), 3.0).tolist() == [3.0, 3.0]
