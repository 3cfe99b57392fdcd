"""Lazy layers, layers that another takes the place of, and the paths that PyTorch has them at."""

import copy
import importlib
import pickle

import numpy as np
import pytest

import taimatsu as torch
from taimatsu import nn
from taimatsu.nn.parameter import UninitializedParameter, is_lazy

close = np.testing.assert_allclose
PLACES = {1: (9,), 2: (6, 5), 3: (5, 4, 3)}

CASES = [
    (lambda: nn.LazyLinear(4), lambda: nn.Linear(5, 4), (3, 5)),
    *((lambda n=n: getattr(nn, f"LazyConv{n}d")(4, 2, groups=2),
       lambda n=n: getattr(nn, f"Conv{n}d")(6, 4, 2, groups=2), (2, 6, *PLACES[n]))
      for n in PLACES),
    *((lambda n=n: getattr(nn, f"LazyConvTranspose{n}d")(4, 2, bias=False),
       lambda n=n: getattr(nn, f"ConvTranspose{n}d")(6, 4, 2, bias=False), (2, 6, *PLACES[n]))
      for n in PLACES),
    *((lambda n=n: getattr(nn, f"LazyBatchNorm{n}d")(),
       lambda n=n: getattr(nn, f"BatchNorm{n}d")(6), (2, 6, *PLACES[n])) for n in PLACES),
    *((lambda n=n: getattr(nn, f"LazyInstanceNorm{n}d")(),
       lambda n=n: getattr(nn, f"InstanceNorm{n}d")(6, affine=True, track_running_stats=True),
       (2, 6, *PLACES[n])) for n in PLACES),
]  # fmt: skip


@pytest.mark.parametrize(("lazy", "eager", "shape"), CASES)
def test_becomes_the_layer(lazy, eager, shape):
    """The first call makes the layer that would have been made knowing the sizes."""
    x = torch.randn(shape)
    module = lazy()
    assert module.has_uninitialized_params()
    torch.manual_seed(0)
    y = module(x)
    torch.manual_seed(0)
    expected = eager()
    assert type(module) is type(expected) and repr(module) == repr(expected)
    close(y.detach(), expected(x).detach())
    assert module.state_dict().keys() == expected.state_dict().keys()
    assert all(type(p) is nn.Parameter for p in module.parameters())


@pytest.mark.parametrize(("lazy", "eager", "shape"), CASES)
def test_state_before_the_first_call(lazy, eager, shape):
    """A state dict says the sizes; copies and pickles stay lazy."""
    source, x = eager(), torch.randn(shape)
    module = lazy()
    module.load_state_dict(source.state_dict())
    assert not module.has_uninitialized_params()
    for made in (module, copy.deepcopy(lazy()), pickle.loads(pickle.dumps(lazy()))):
        y = made(x)
        assert type(made) is type(source) and repr(made) == repr(source)
        if made is module:
            close(y.detach(), source(x).detach())


def test_what_has_no_shape():
    layer = nn.LazyLinear(3)
    assert isinstance(layer.weight, UninitializedParameter) and is_lazy(layer.state_dict()["bias"])
    with pytest.raises(RuntimeError, match="no shape"):
        _ = layer.weight.shape
    with pytest.raises(RuntimeError, match="3D or 4D|4D"):
        nn.LazyConv2d(3, 2)(torch.randn(4, 4))
    with pytest.raises(ValueError, match="divisible by groups"):
        nn.LazyConv1d(4, 2, groups=2)(torch.randn(1, 3, 4))


def test_sync_batch_norm():
    model = nn.Sequential(nn.Conv1d(2, 3, 1), nn.BatchNorm1d(3), nn.Sequential(nn.BatchNorm2d(4)))
    x = torch.randn(4, 2, 5)
    expected = copy.deepcopy(model[:2])(x)
    weight = model[1].weight
    converted = nn.SyncBatchNorm.convert_sync_batchnorm(model)
    assert type(converted[1]) is type(converted[2][0]) is nn.SyncBatchNorm
    assert converted[1].weight is weight
    close(converted[:2](x).detach(), expected.detach())


def test_old_names():
    with pytest.warns(FutureWarning, match="NLLLoss"):
        loss = nn.NLLLoss2d()
    x, target = torch.randn(2, 3, 4, 5).log_softmax(1), torch.zeros(2, 4, 5, dtype=torch.int64)
    close(loss(x, target), nn.NLLLoss()(x, target))
    with pytest.warns(FutureWarning, match="deprecated"):
        assert list(nn.Container(a=nn.ReLU())._modules) == ["a"]
    inner = nn.Linear(3, 2)
    whole = nn.DataParallel(inner)
    assert list(whole.state_dict()) == ["module.weight", "module.bias"]
    close(whole(torch.ones(4, 3)).detach(), inner(torch.ones(4, 3)).detach())
    with pytest.raises(RuntimeError, match="no accelerators"):
        nn.DataParallel(inner, device_ids=[0])


def test_cross_map_norm():
    """Over an odd size and one channel more, divided by the size."""
    x = torch.randn(1, 7, 2, 2)
    a = x.numpy().astype(np.float64)
    sums = np.stack([(a[:, max(c - 2, 0) : c + 2] ** 2).sum(1) for c in range(7)], 1)
    close(nn.CrossMapLRN2d(3, alpha=0.5, k=2)(x), a / (2 + 0.5 / 3 * sums) ** 0.75, rtol=1e-5)


@pytest.mark.parametrize(("path", "name"), [
    ("conv", "Conv2d"), ("batchnorm", "_BatchNorm"), ("instancenorm", "InstanceNorm1d"),
    ("normalization", "LayerNorm"), ("loss", "_Loss"), ("linear", "Linear"), ("module", "Module"),
    ("container", "Sequential"), ("pooling", "MaxPool2d"), ("utils", "_pair"),
])  # fmt: skip
def test_paths(path, name):
    module = importlib.import_module(f"taimatsu.nn.modules.{path}")
    assert getattr(nn.modules, path) is module
    assert getattr(nn, name, getattr(module, name)) is getattr(module, name)


def test_prefix_of_a_state_dict():
    from taimatsu.nn.modules.utils import consume_prefix_in_state_dict_if_present

    state = nn.DataParallel(nn.Linear(2, 2)).state_dict()
    consume_prefix_in_state_dict_if_present(state, "module.")
    assert list(state) == ["weight", "bias"]
    nn.Linear(2, 2).load_state_dict(state)


@pytest.mark.parametrize("n", [1, 2, 3])
def test_gradients_of_convolutions(n):
    from taimatsu.nn import functional as F
    from taimatsu.nn import grad

    x = torch.randn(2, 4, *PLACES[n], dtype=torch.float64, requires_grad=True)
    weight = torch.randn(6, 2, *(2,) * n, dtype=torch.float64, requires_grad=True)
    y = getattr(F, f"conv{n}d")(x, weight, None, 2, 1, 1, 2)
    g = torch.randn(y.shape, dtype=y.dtype)
    by_x, by_weight = torch.autograd.grad(y, [x, weight], g)
    close(getattr(grad, f"conv{n}d_input")(x.shape, weight, g, 2, 1, 1, 2).detach(), by_x)
    close(getattr(grad, f"conv{n}d_weight")(x, weight.shape, g, 2, 1, 1, 2).detach(), by_weight)


def test_pools_that_another_undoes():
    x = torch.randn(1, 2, 6, 6)
    pool, unpool = nn.MaxPool2d(2, return_indices=True), nn.MaxUnpool2d(2)
    assert unpool(*pool(x)).shape == x.shape
    assert repr(unpool) == "MaxUnpool2d(kernel_size=(2, 2), stride=(2, 2), padding=(0, 0))"
    values, at = nn.FractionalMaxPool2d(2, output_ratio=0.5, return_indices=True)(x)
    close(values, x.flatten(2).gather(2, at.flatten(2)).reshape(values.shape))
    for options in ({}, {"output_size": 2, "output_ratio": 0.5}, {"output_ratio": 1.5}):
        with pytest.raises(ValueError, match="output"):
            nn.FractionalMaxPool2d(2, **options)
