"""Sequential, ModuleList, ModuleDict, ParameterList, ParameterDict."""

from collections import OrderedDict

import pytest

import taimatsu as torch
from taimatsu import nn


def test_sequential_as_a_list():
    a, b, c = nn.ReLU(), nn.Tanh(), nn.Sigmoid()
    net = nn.Sequential(a, b)
    assert len(net) == 2 and list(net) == [a, b] and net[-1] is b
    assert net.append(c) is net and list(net[1:]) == [b, c]
    net.insert(0, c)
    assert list(net) == [c, a, b, c] and list(net._modules) == ["0", "1", "2", "3"]
    del net[1:3]
    assert list(net) == [c, c]
    assert net.pop(0) is c and len(net) == 1
    assert list(nn.Sequential(a) + nn.Sequential(b)) == [a, b]
    assert list(nn.Sequential(a, b) * 2) == [a, b, a, b]
    net[0] = a
    assert net[0] is a
    with pytest.raises(IndexError):
        net[1]
    named = nn.Sequential(OrderedDict(first=a, second=b))
    assert named.first is a and [n for n, _ in named.named_children()] == ["first", "second"]


def test_sequential_computes_in_order():
    net = nn.Sequential(nn.Flatten(), nn.Identity(), nn.Softmax(dim=1))
    assert net(torch.zeros(2, 2, 2)).tolist() == [[0.25] * 4] * 2


def test_module_list():
    layers = nn.ModuleList([nn.Linear(1, 1) for _ in range(3)])
    assert len(list(layers.parameters())) == 6
    layers += [nn.ReLU()]
    layers.insert(0, nn.Tanh())
    assert isinstance(layers[0], nn.Tanh) and isinstance(layers[-1], nn.ReLU)
    assert isinstance(layers[1:3], nn.ModuleList) and len(layers[1:3]) == 2
    del layers[0]
    assert list(layers._modules) == ["0", "1", "2", "3"]
    with pytest.raises(NotImplementedError):
        layers(1)
    with pytest.raises(TypeError):
        layers.extend(3)


def test_module_dict():
    modules = nn.ModuleDict({"b": nn.ReLU(), "a": nn.Tanh()})
    assert list(modules) == ["b", "a"] and "a" in modules and len(modules) == 2
    modules.update([("c", nn.Sigmoid())])
    assert isinstance(modules["c"], nn.Sigmoid)
    assert isinstance(modules.pop("b"), nn.ReLU) and list(modules.keys()) == ["a", "c"]
    with pytest.raises(KeyError):
        modules["keys"] = nn.ReLU()
    with pytest.raises(ValueError, match="has length 3"):
        modules.update([(1, 2, 3)])
    modules.clear()
    assert not len(modules)


def test_parameter_list():
    params = nn.ParameterList([torch.zeros(2), nn.Parameter(torch.ones(1))])
    assert all(isinstance(p, nn.Parameter) for p in params)
    params.append(torch.ones(3))
    params[0] = torch.full((1,), 5.0)
    assert [p.numel() for p in params] == [1, 1, 3] and params[-1].numel() == 3
    assert len(params[1:]) == 2
    assert list(params.state_dict()) == ["0", "1", "2"]
    assert "Parameter containing: [torch.float32 of size 3]" in repr(params)
    with pytest.raises(IndexError):
        params[3]
    with pytest.raises(RuntimeError, match="should not be called"):
        params()


def test_parameter_dict():
    params = nn.ParameterDict({"a": torch.zeros(1)})
    params["b"] = nn.Parameter(torch.ones(2))
    assert list(params) == ["a", "b"] and len(list(params.parameters())) == 2
    assert params.get("c") is None and params.setdefault("c", torch.ones(1)).requires_grad
    assert params.popitem()[0] == "c"
    merged = params | nn.ParameterDict({"d": torch.zeros(1)})
    assert list(merged) == ["a", "b", "d"] and list(params) == ["a", "b"]
    with pytest.raises(TypeError, match="not a string"):
        params[1] = torch.zeros(1)
    with pytest.raises(KeyError):
        params["z"]
