"""Parametrized weights, their older forms by hooks, and fused batch norms."""

import copy

import pytest

import taimatsu as torch
from taimatsu import nn
from taimatsu.nn.utils import fusion, parametrizations, parametrize

torch.manual_seed(0)


class Symmetric(nn.Module):
    def forward(self, x):
        return x.triu() + x.triu(1).mT

    def right_inverse(self, x):
        return x.triu()


class Doubled(nn.Module):
    def forward(self, x):
        return 2 * x


def test_a_parametrized_weight_is_computed_and_trained():
    layer = nn.Linear(3, 3)
    parameter = layer.weight
    parametrize.register_parametrization(layer, "weight", Symmetric())
    assert torch.equal(layer.weight, layer.weight.mT) and parametrize.is_parametrized(layer)
    assert layer.parametrizations.weight.original is parameter
    assert set(dict(layer.named_parameters())) == {"bias", "parametrizations.weight.original"}
    layer(torch.ones(1, 3)).sum().backward()
    assert parameter.grad is not None and isinstance(layer, nn.Linear)
    layer.weight = torch.eye(3)
    assert torch.equal(layer.weight, torch.eye(3))
    parametrize.register_parametrization(layer, "weight", Doubled())
    assert torch.equal(layer.weight, 2 * torch.eye(3))
    with pytest.raises(RuntimeError, match="right_inverse"):
        layer.weight = torch.eye(3)
    with parametrize.cached():
        assert layer.weight is layer.weight
    twin = copy.deepcopy(layer)
    assert torch.equal(twin.weight, layer.weight) and twin.bias is not layer.bias
    other = parametrize.transfer_parametrizations_and_params(layer, nn.Linear(3, 3))
    assert torch.equal(other.weight, layer.weight)
    parametrize.remove_parametrizations(layer, "weight")
    assert type(layer) is nn.Linear and layer.weight is parameter
    assert torch.equal(layer.weight, 2 * torch.eye(3))
    assert parametrize.type_before_parametrizations(twin) is nn.Linear


def test_what_parametrize_refuses():
    class Cut(nn.Module):
        def forward(self, x):
            return x[:1]

    layer = nn.Linear(2, 2)
    with pytest.raises(ValueError, match="unsafe"):
        parametrize.register_parametrization(layer, "weight", Cut())
    assert not parametrize.is_parametrized(layer) and layer.weight.shape == (2, 2)
    with pytest.raises(ValueError, match="does not have a parameter"):
        parametrize.register_parametrization(layer, "nothing", Symmetric())
    with pytest.raises(ValueError, match="does not have a parametrization"):
        parametrize.remove_parametrizations(layer, "weight")


@pytest.mark.parametrize("make", [parametrizations.weight_norm, nn.utils.weight_norm])
def test_weight_norm_keeps_the_function(make):
    layer, x = nn.Linear(3, 2), torch.randn(4, 3)
    before = layer(x)
    make(layer)
    torch.testing.assert_close(layer(x), before)
    names = {n.rpartition(".")[2] for n, _ in layer.named_parameters()}
    assert len(names) == 3
    layer(x).sum().backward()
    assert all(p.grad is not None for p in layer.parameters())


def test_weight_norm_is_removed():
    layer = nn.utils.weight_norm(nn.Linear(3, 2))
    value = layer.weight.detach().clone()
    nn.utils.remove_weight_norm(layer)
    torch.testing.assert_close(layer.weight.detach(), value)
    assert isinstance(layer.weight, nn.Parameter)
    with pytest.raises(ValueError, match="not found"):
        nn.utils.remove_weight_norm(layer)


@pytest.mark.parametrize("make", [parametrizations.spectral_norm, nn.utils.spectral_norm])
def test_spectral_norm_makes_the_largest_singular_value_one(make):
    layer = make(nn.Linear(5, 4), n_power_iterations=30)
    layer(torch.ones(1, 5))
    torch.testing.assert_close(
        torch.linalg.svdvals(layer.weight.detach())[0], torch.tensor(1.0), atol=1e-3, rtol=1e-3
    )


@pytest.mark.parametrize("sizes", [(4, 4), (5, 3), (3, 5)])
@pytest.mark.parametrize("map_name", ["cayley", "householder"])
def test_orthogonal(sizes, map_name):
    layer = parametrizations.orthogonal(nn.Linear(*sizes), orthogonal_map=map_name)
    weight = layer.weight
    small = weight @ weight.mT if sizes[1] <= sizes[0] else weight.mT @ weight
    torch.testing.assert_close(small, torch.eye(min(sizes)), atol=1e-5, rtol=1e-5)
    target = torch.linalg.qr(torch.randn(max(sizes), min(sizes)))[0]
    target = target.mT if sizes[1] < sizes[0] else target
    layer.weight = target
    torch.testing.assert_close(layer.weight, target, atol=1e-5, rtol=1e-5)


def test_fused_batch_norms():
    for layer, norm, x in (
        (nn.Conv2d(2, 3, 2), nn.BatchNorm2d(3), torch.randn(2, 2, 5, 5)),
        (nn.Linear(4, 3), nn.BatchNorm1d(3), torch.randn(6, 4)),
    ):
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.5, 2.0)
        nn.init.normal_(norm.weight)
        with pytest.raises(AssertionError, match="eval"):
            fusion.fuse_conv_bn_eval(layer, norm)
        layer.eval(), norm.eval()
        conv = isinstance(layer, nn.Conv2d)
        fused = (fusion.fuse_conv_bn_eval if conv else fusion.fuse_linear_bn_eval)(layer, norm)
        torch.testing.assert_close(fused(x), norm(layer(x)), atol=1e-5, rtol=1e-5)


def test_memory_format_of_weights():
    conv = nn.utils.convert_conv2d_weight_memory_format(nn.Conv2d(4, 4, 3), torch.channels_last)
    assert conv.weight.is_contiguous(memory_format=torch.channels_last)
