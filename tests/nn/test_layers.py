"""Layers against NumPy: what they compute, how they start, how they print."""

import math

import numpy as np
import pytest

import taimatsu as torch
from taimatsu import nn


def close(actual, expected, tolerance=1e-5):
    np.testing.assert_allclose(actual.detach().numpy(), expected, rtol=tolerance, atol=tolerance)


def array(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def test_linear():
    layer, x = nn.Linear(3, 2), array(4, 3)
    expected = x @ layer.weight.detach().numpy().T + layer.bias.detach().numpy()
    close(layer(torch.tensor(x)), expected)
    assert layer.weight.abs().max().item() <= 1 / math.sqrt(3)
    assert nn.Linear(3, 2, bias=False).bias is None


def convolved(x, w, b, stride, padding, dilation, groups):
    """Cross-correlation by its definition: loops over the output's coordinates."""
    x = np.pad(x, [(0, 0), (0, 0), (padding, padding), (padding, padding)])
    n, _, height, width = x.shape
    out_channels, per_group, kh, kw = w.shape
    oh = (height - dilation * (kh - 1) - 1) // stride + 1
    ow = (width - dilation * (kw - 1) - 1) // stride + 1
    out = np.zeros((n, out_channels, oh, ow))
    for o in range(out_channels):
        first = o // (out_channels // groups) * per_group
        for i in range(oh):
            for j in range(ow):
                rows = i * stride + dilation * np.arange(kh)
                columns = j * stride + dilation * np.arange(kw)
                patch = x[:, first : first + per_group][:, :, rows][:, :, :, columns]
                out[:, o, i, j] = (patch * w[o]).sum((1, 2, 3)) + b[o]
    return out


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"stride": 2, "padding": 1},
        {"padding": 2, "dilation": 2},
        {"groups": 2, "padding": 1},
    ],
)
def test_conv2d(options):
    layer, x = nn.Conv2d(4, 6, 3, **options), array(2, 4, 7, 6)
    full = {"stride": 1, "padding": 0, "dilation": 1, "groups": 1, **options}
    expected = convolved(
        x, layer.weight.detach().numpy(), layer.bias.detach().numpy(), **full
    )
    close(layer(torch.tensor(x)), expected, 1e-4)


def test_conv_arguments():
    with pytest.raises(ValueError, match="divisible by groups"):
        nn.Conv2d(3, 4, 1, groups=2)
    with pytest.raises(ValueError, match="padding_mode"):
        nn.Conv2d(2, 2, 1, padding_mode="mirror")
    with pytest.raises(ValueError, match="strided"):
        nn.Conv2d(2, 2, 3, stride=2, padding="same")
    layer = nn.Conv2d(2, 4, (3, 1), stride=2, padding=1, bias=False)
    assert repr(layer) == (
        "Conv2d(2, 4, kernel_size=(3, 1), stride=(2, 2), padding=(1, 1), bias=False)"
    )


def test_batch_norm_uses_the_batch_then_what_it_learnt():
    layer, x = nn.BatchNorm2d(3, momentum=0.1), array(4, 3, 5, 5)
    mean, var = x.mean((0, 2, 3)), x.var((0, 2, 3))
    shape = (1, 3, 1, 1)
    normal = (x - mean.reshape(shape)) / np.sqrt(var.reshape(shape) + 1e-5)
    close(layer(torch.tensor(x)), normal, 1e-4)
    n = x.size // 3
    close(layer.running_mean, 0.1 * mean)
    close(layer.running_var, 0.9 + 0.1 * var * n / (n - 1))
    assert layer.num_batches_tracked.item() == 1
    layer.eval()
    running_mean, running_var = layer.running_mean.numpy(), layer.running_var.numpy()
    expected = (x - running_mean.reshape(shape)) / np.sqrt(running_var.reshape(shape) + 1e-5)
    close(layer(torch.tensor(x)), expected, 1e-4)
    with pytest.raises(ValueError, match="expected 4D input"):
        layer(torch.ones(2, 3))


def test_batch_norm_plain_average():
    layer = nn.BatchNorm1d(1, momentum=None)
    for value in (1.0, 2.0, 6.0):
        layer(torch.tensor([[value], [value + 2]]))
    assert layer.running_mean.item() == pytest.approx((2 + 3 + 7) / 3)


def test_layer_norm_and_group_norm():
    x = array(2, 4, 6)
    normal = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
    close(nn.LayerNorm(6)(torch.tensor(x)), normal, 1e-4)
    assert nn.LayerNorm((4, 6), bias=False).bias is None
    assert nn.LayerNorm(6, elementwise_affine=False).weight is None
    with pytest.raises(ValueError, match="divisible by num_groups"):
        nn.GroupNorm(3, 4)


@pytest.mark.parametrize(
    "layer, function",
    [
        (nn.ReLU(), lambda x: np.maximum(x, 0)),
        (nn.Sigmoid(), lambda x: 1 / (1 + np.exp(-x))),
        (nn.Tanh(), np.tanh),
        (nn.GELU(), lambda x: 0.5 * x * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))),
        (nn.SiLU(), lambda x: x / (1 + np.exp(-x))),
        (nn.LeakyReLU(0.1), lambda x: np.where(x > 0, x, 0.1 * x)),
        (nn.ELU(2.0), lambda x: np.where(x > 0, x, 2 * np.expm1(x))),
        (nn.Softplus(), lambda x: np.log1p(np.exp(x))),
        (nn.Softmax(dim=-1), lambda x: np.exp(x) / np.exp(x).sum(-1, keepdims=True)),
        (nn.LogSoftmax(dim=-1), lambda x: x - np.log(np.exp(x).sum(-1, keepdims=True))),
    ],
    ids=lambda value: type(value).__name__,
)
def test_activations(layer, function):
    x = array(5, 7)
    close(layer(torch.tensor(x)), function(x), 1e-4)


def test_inplace_activation_writes_to_its_input():
    x = torch.tensor([-1.0, 2.0])
    assert nn.ReLU(inplace=True)(x) is x and x.tolist() == [0.0, 2.0]
    assert repr(nn.ReLU(inplace=True)) == "ReLU(inplace=True)"


def test_pooling():
    x = array(1, 2, 4, 6)
    blocks = x.reshape(1, 2, 2, 2, 3, 2)
    close(nn.MaxPool2d(2)(torch.tensor(x)), blocks.max((3, 5)))
    close(nn.AvgPool2d(2)(torch.tensor(x)), blocks.mean((3, 5)))
    values, index = nn.MaxPool2d(2, return_indices=True)(torch.tensor(x))
    flat = x.reshape(1, 2, -1)
    found = np.take_along_axis(flat, index.numpy().reshape(1, 2, -1), 2)
    np.testing.assert_array_equal(found, values.numpy().reshape(1, 2, -1))


def test_dropout_keeps_the_mean_and_is_off_in_evaluation():
    torch.manual_seed(0)
    layer, x = nn.Dropout(0.25), torch.ones(20000)
    y = layer(x)
    kept = y != 0
    assert kept.float().mean().item() == pytest.approx(0.75, abs=0.02)
    assert y[kept].unique().tolist() == pytest.approx([4 / 3])
    assert torch.equal(layer.eval()(x), x)
    with pytest.raises(ValueError, match="between 0 and 1"):
        nn.Dropout(1.5)


def test_embedding():
    table = nn.Embedding(5, 3, padding_idx=-2)
    assert table.padding_idx == 3 and table.weight[3].tolist() == [0.0] * 3
    index = torch.tensor([[0, 3], [1, 0]])
    out = table(index)
    rows = table.weight.detach().numpy()[index.numpy()]
    np.testing.assert_array_equal(out.detach().numpy(), rows)
    out.sum().backward()
    assert table.weight.grad[:, 0].tolist() == [2.0, 1.0, 0.0, 0.0, 0.0]
    frozen = nn.Embedding.from_pretrained(torch.ones(2, 2))
    assert not frozen.weight.requires_grad


def test_losses():
    x, y = array(4, 3), np.array([0, 2, 1, 2])
    log = x - np.log(np.exp(x).sum(1, keepdims=True))
    picked = -log[np.arange(4), y]
    scores, target = torch.tensor(x), torch.tensor(y)
    close(nn.CrossEntropyLoss()(scores, target), picked.mean())
    close(nn.CrossEntropyLoss(reduction="none")(scores, target), picked)
    ignoring = nn.CrossEntropyLoss(reduction="sum", ignore_index=2)
    close(ignoring(scores, target), picked[[0, 2]].sum())
    weight = np.array([1.0, 2.0, 3.0], dtype=np.float32)
    weighted = (weight[y] * picked).sum() / weight[y].sum()
    close(nn.CrossEntropyLoss(torch.tensor(weight))(scores, target), weighted)
    smoothed = 0.9 * picked.mean() + 0.1 * (-log).mean()
    close(nn.CrossEntropyLoss(label_smoothing=0.1)(scores, target), smoothed)
    close(nn.MSELoss()(scores, torch.zeros(4, 3)), (x**2).mean())
    p = (np.arange(12).reshape(4, 3) % 2).astype(np.float32)
    bce = np.log1p(np.exp(x)) - p * x
    close(nn.BCEWithLogitsLoss()(scores, torch.tensor(p)), bce.mean())


def test_shape_modules():
    x = torch.arange(24.0).reshape(2, 3, 4)
    assert nn.Flatten()(x).shape == (2, 12)
    assert nn.Unflatten(1, (3, 1))(x).shape == (2, 3, 1, 4)
    assert nn.ZeroPad2d((1, 0, 0, 2))(x).shape == (2, 5, 5)


@pytest.mark.parametrize("channels_last", [False, True])
def test_patches_that_leave_one_position(channels_last):
    layout = torch.channels_last if channels_last else torch.contiguous_format
    x, layer = torch.randn(2, 24, 2, 2).to(memory_format=layout), nn.Conv2d(24, 32, 2, 2)
    want = x.flatten(1) @ layer.weight.flatten(1).T + layer.bias
    assert torch.allclose(layer(x).flatten(1), want, atol=1e-4)
