"""Dropout: what is kept, what the moments are, and one mask for a whole channel."""

import numpy as np
import pytest

import taimatsu as torch
import taimatsu.nn.functional as F
from taimatsu import nn

close = np.testing.assert_allclose
LIMIT = -1.7580993408473766  # of selu


def distinct(x):
    return np.unique(x.detach().numpy().round(5))


def test_elements():
    torch.manual_seed(0)
    y = torch.dropout(torch.ones(10_000), 0.25, True)
    close(distinct(y), [0, 1 / 0.75], rtol=1e-5)
    assert abs(float(y.mean()) - 1) < 0.05
    x = torch.ones(4)
    assert torch.dropout(x, 0.25, False) is x
    assert torch.dropout(x, 1.0, True).tolist() == [0] * 4
    assert torch.dropout_(x, 1.0, True) is x and x.tolist() == [0] * 4


@pytest.mark.parametrize(
    ("drop", "shape", "per_sample"),
    [
        (F.dropout1d, (50, 8, 5), True),
        (F.dropout1d, (50, 5), False),
        (F.dropout2d, (50, 8, 3, 5), True),
        (F.dropout3d, (50, 8, 3, 5, 2), True),
        (F.dropout3d, (50, 3, 5, 2), False),
        (lambda x, p, on: torch.feature_dropout(x, p, on), (50, 8, 5), True),
    ],
)
def test_channels(drop, shape, per_sample):
    torch.manual_seed(0)
    y = drop(torch.ones(shape), 0.5, True)
    lines = y.reshape(shape[0] * (shape[1] if per_sample else 1), -1)
    assert (lines == lines[:, :1]).all()
    assert sorted(set(lines[:, 0].tolist())) == [0, 2]


def test_alpha_keeps_the_moments():
    torch.manual_seed(0)
    x = torch.randn(200_000)
    for p in (0.1, 0.5):
        y = F.alpha_dropout(x, p, True)
        assert abs(float(y.mean())) < 0.02 and abs(float(y.var()) - 1) < 0.02
        a = 1 / np.sqrt((LIMIT**2 * p + 1) * (1 - p))
        dropped = round(a * LIMIT - a * LIMIT * p, 4)
        share = float((y.sub(dropped).abs() < 1e-3).float().mean())
        assert abs(share - p) < 0.02
    channels = F.feature_alpha_dropout(torch.zeros(20, 6, 4), 0.5, True)
    assert (channels == channels[..., :1]).all() and len(distinct(channels)) == 2


def test_gradient_is_the_mask():
    x = torch.ones(1000, requires_grad=True)
    y = F.alpha_dropout(x, 0.5, True)
    y.sum().backward()
    assert len(distinct(x.grad)) == 2 and (x.grad == 0).any()


@pytest.mark.parametrize(
    "module",
    [nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout],
)
def test_modules_are_off_in_evaluation(module):
    x = torch.randn(2, 3, 4) if module is nn.Dropout1d else torch.randn(2, 3, 4, 5)
    assert module().eval()(x) is x
    with pytest.raises(ValueError, match="between 0 and 1"):
        module(1.5)


def test_errors():
    x = torch.ones(3)
    with pytest.raises(ValueError, match="between 0 and 1"):
        F.dropout(x, -0.1)
    with pytest.raises(RuntimeError, match="between 0 and 1"):
        torch.dropout(x, 2.0, True)
    with pytest.raises(RuntimeError, match="at least 2 dim"):
        torch.feature_dropout(x, 0.5, True)
    with pytest.raises(RuntimeError, match="2D or 3D"):
        F.dropout1d(torch.ones(1, 2, 3, 4))
