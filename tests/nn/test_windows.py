"""Pooling, resampling, patches and embeddings: what the table's matrix doesn't reach."""

import warnings

import numpy as np
import pytest

import taimatsu as torch
import taimatsu.nn.functional as F
from taimatsu.autograd import gradcheck, gradgradcheck

close = np.testing.assert_allclose


def doubles(*shape):
    return torch.randn(*shape, dtype=torch.float64, requires_grad=True)


# ---- pooling -------------------------------------------------------------------------------------


@pytest.mark.parametrize("pool", [
    lambda x: F.max_pool2d(x, 3, 2, 1), lambda x: F.avg_pool2d(x, 3, 2, 1),
    lambda x: F.adaptive_max_pool2d(x, 3), lambda x: F.adaptive_avg_pool2d(x, (3, 2)),
])  # fmt: skip
def test_channels_last(pool):
    """The other order in memory gives the same values, gradients, and its own order again."""
    x = doubles(2, 4, 7, 8)
    y = pool(x)
    g = torch.randn(y.shape, dtype=y.dtype)
    expected = torch.autograd.grad(y, x, g)[0]
    last = x.detach().contiguous(memory_format=torch.channels_last).requires_grad_()
    z = pool(last)
    assert z.is_contiguous(memory_format=torch.channels_last) and not z.is_contiguous()
    close(z.detach(), y.detach(), rtol=1e-12)
    close(torch.autograd.grad(z, last, g)[0], expected, rtol=1e-12)


@pytest.mark.parametrize("n", [1, 2, 3])
def test_unpooling_undoes_a_pool_of_maxima(n):
    pool, unpool = getattr(F, f"max_pool{n}d"), getattr(F, f"max_unpool{n}d")
    x = torch.randn(2, 3, *(6, 4, 4)[:n])
    values, at = pool(x, 2, return_indices=True)
    y = unpool(values, at, 2)
    assert y.shape == x.shape
    assert torch.equal(y, torch.where(y == x, x, torch.zeros_like(x)))
    assert torch.equal(pool(y.abs(), 2) > 0, pool(x, 2).abs() > 0)
    grown = unpool(values, at, 2, output_size=[k + 1 for k in x.shape[2:]])
    assert grown.shape[2:] == tuple(k + 1 for k in x.shape[2:])


def test_nan_is_a_maximum():
    x = torch.tensor([[[1.0, float("nan"), 3.0, 4.0]]])
    assert F.max_pool1d(x, 2).isnan().tolist() == [[[True, False]]]


def test_fractional_windows_cover_the_ends():
    torch.manual_seed(0)
    x = torch.arange(100.0).reshape(1, 1, 10, 10)
    y = F.fractional_max_pool2d(x, 2, output_size=5)
    assert float(y[0, 0, -1, -1]) == 99 and y.shape == (1, 1, 5, 5)
    assert F.fractional_max_pool2d(x, 2, output_ratio=0.5).shape == (1, 1, 5, 5)
    with pytest.raises(ValueError, match="output_ratio"):
        F.fractional_max_pool2d(x, 2)


@pytest.mark.parametrize(("call", "error"), [
    (lambda x: F.max_pool2d(x, 3, padding=2), "pad should be"),
    (lambda x: F.max_pool2d(x, 9), "too small"),
    (lambda x: F.avg_pool2d(x, 2, divisor_override=0), "divisor"),
    (lambda x: F.max_unpool2d(x, torch.full(x.shape, 99), 1), "invalid max index"),
    (lambda x: F.max_pool2d(x[0, 0], 2), "3D or 4D"),
    (lambda x: F.adaptive_avg_pool2d(x, (-1, 2)), "greater than or equal to 0"),
])  # fmt: skip
def test_errors_of_pools(call, error):
    with pytest.raises(RuntimeError, match=error):
        call(torch.randn(1, 2, 4, 4))


# ---- resampling ----------------------------------------------------------------------------------


def test_names_of_before_are_deprecated():
    x = torch.randn(1, 2, 4, 4)
    for old, options in (
        (F.upsample, {"mode": "bicubic", "align_corners": True}), (F.upsample_nearest, {}),
        (F.upsample_bilinear, {"mode": "bilinear", "align_corners": True}),
    ):  # fmt: skip
        given = options if old is F.upsample else {}
        with pytest.warns(UserWarning, match="deprecated"):
            y = old(x, scale_factor=2, **given)
        assert torch.equal(y, F.interpolate(x, scale_factor=2, **options))


def test_bytes_are_rounded():
    x = torch.tensor([[[[0, 255], [100, 50]]]], dtype=torch.uint8)
    y = F.interpolate(x, size=(3, 3), mode="bilinear", align_corners=True)
    assert y.dtype == torch.uint8
    assert y[0, 0].tolist() == [[0, 128, 255], [50, 102, 153], [100, 75, 50]]


@pytest.mark.parametrize(("options", "error"), [
    ({}, ValueError), ({"size": 2, "scale_factor": 2}, ValueError),
    ({"size": [2]}, ValueError), ({"size": 2, "align_corners": True}, ValueError),
    ({"size": 2, "mode": "trilinear"}, NotImplementedError), ({"size": 0}, RuntimeError),
    ({"size": 2, "antialias": True}, ValueError),
])  # fmt: skip
def test_errors_of_interpolate(options, error):
    with pytest.raises(error):
        F.interpolate(torch.randn(1, 1, 4, 4), **options)


@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
@pytest.mark.parametrize("padding", ["zeros", "border", "reflection"])
def test_derivatives_of_grid_sample(mode, padding):
    torch.manual_seed(0)
    x = doubles(1, 2, 4, 5)
    grid = (torch.rand(1, 2, 3, 2, dtype=torch.float64) * 2.6 - 1.3).requires_grad_()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")

        def sample(x, grid):
            return F.grid_sample(x, grid, mode, padding)

        assert gradcheck(sample, [x, grid]) and gradgradcheck(sample, [x, grid])


def test_points_that_are_no_numbers():
    grid = torch.tensor([float("nan"), float("inf"), -float("inf"), 0.0]).reshape(1, 2, 1, 2)
    y = F.grid_sample(torch.ones(1, 1, 3, 3), grid, "nearest", align_corners=True)
    assert y.shape == (1, 1, 2, 1)  # and no read outside of the image


# ---- embeddings ----------------------------------------------------------------------------------


def test_max_norm_shrinks_what_is_used():
    weight = torch.ones(4, 9)
    F.embedding(torch.tensor([1, 1, 3]), weight, max_norm=1.5)
    close(weight.norm(dim=1), [3, 1.5, 3, 1.5], rtol=1e-5)


def test_frequency_scales_the_gradient():
    for run in (lambda w: F.embedding(torch.tensor([0, 2, 2, 2]), w, scale_grad_by_freq=True),
                lambda w: F.embedding_bag(torch.tensor([0, 2, 2, 2]), w, torch.tensor([0, 2]),
                                          mode="sum", scale_grad_by_freq=True)):
        weight = torch.ones(3, 2, requires_grad=True)
        run(weight).sum().backward()
        assert weight.grad.tolist() == [[1, 1], [0, 0], [1, 1]]


def test_padding_row_takes_no_part():
    weight = torch.arange(6.0).reshape(3, 2).requires_grad_()
    F.embedding(torch.tensor([0, 1]), weight, padding_idx=-2).sum().backward()
    assert weight.grad.tolist() == [[1, 1], [0, 0], [0, 0]]
    bags = F.embedding_bag(torch.tensor([[0, 1], [1, 1]]), weight, padding_idx=1)
    assert bags.tolist() == [[0, 1], [0, 0]]


@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
def test_derivatives_of_bags(mode):
    torch.manual_seed(0)
    at, offsets = torch.tensor([0, 2, 2, 4, 1]), torch.tensor([0, 0, 3])
    weight, factors = doubles(5, 3), doubles(5)

    def bags(weight, factors):
        return F.embedding_bag(at, weight, offsets, mode=mode,
                               per_sample_weights=factors if mode == "sum" else None)

    inputs = [weight, factors if mode == "sum" else factors.detach()]
    assert gradcheck(bags, inputs) and gradgradcheck(bags, inputs)


@pytest.mark.parametrize(("call", "error"), [
    (lambda w, i, o: F.embedding_bag(i, w, o + 1), RuntimeError),
    (lambda w, i, o: F.embedding_bag(i + 9, w, o), RuntimeError),
    (lambda w, i, o: F.embedding_bag(i, w), ValueError),
    (lambda w, i, o: F.embedding_bag(i, w, o, mode="min"), ValueError),
    (lambda w, i, o: F.embedding_bag(i, w, o, per_sample_weights=torch.ones(4)),
     NotImplementedError),
    (lambda w, i, o: F.embedding_bag(i, w, o.flip(0)), RuntimeError),
    (lambda w, i, o: F.embedding(i + 9, w), IndexError),
    (lambda w, i, o: F.embedding(i, w, padding_idx=7), AssertionError),
])  # fmt: skip
def test_errors_of_embeddings(call, error):
    with pytest.raises(error):
        call(torch.ones(3, 2), torch.tensor([0, 1, 1, 2]), torch.tensor([0, 2]))
