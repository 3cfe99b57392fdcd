"""Masks on parameters: which elements and channels they take, one after the other, for good."""

import pytest

import taimatsu as torch
from taimatsu import nn
from taimatsu.nn.utils import prune


def layer():
    m = nn.Linear(4, 3)
    with torch.no_grad():
        m.weight.copy_(torch.arange(1.0, 13.0).reshape(3, 4))
    return m


def test_the_smallest_elements_go_and_stay_away_in_training():
    m = prune.l1_unstructured(layer(), "weight", amount=5)
    assert m.weight_mask.reshape(-1).tolist() == [0.0] * 5 + [1.0] * 7
    assert set(dict(m.named_parameters())) == {"bias", "weight_orig"} and prune.is_pruned(m)
    m(torch.ones(1, 4)).sum().backward()
    assert m.weight_orig.grad.reshape(-1)[:5].abs().sum() == 0
    prune.remove(m, "weight")
    assert m.weight.reshape(-1)[:5].abs().sum() == 0 and isinstance(m.weight, nn.Parameter)
    assert not prune.is_pruned(m) and "weight_mask" not in dict(m.named_buffers())
    with pytest.raises(ValueError, match="has to be pruned"):
        prune.remove(m, "weight")


def test_methods_follow_each_other_on_what_is_left():
    m = prune.l1_unstructured(layer(), "weight", amount=0.25)
    prune.l1_unstructured(m, "weight", amount=3)
    assert m.weight_mask.reshape(-1).tolist() == [0.0] * 6 + [1.0] * 6
    prune.ln_structured(m, "weight", amount=1, n=2, dim=0)
    assert m.weight_mask.sum(1).tolist() == [0.0, 0.0, 4.0]


def test_structured_random_custom_and_identity():
    m = prune.ln_structured(layer(), "weight", amount=2, n=1, dim=1)
    assert m.weight_mask.sum(0).tolist() == [0.0, 0.0, 3.0, 3.0]
    assert prune.random_structured(layer(), "weight", 1, 0).weight_mask.sum() == 8
    assert prune.random_unstructured(layer(), "weight", 0.5).weight_mask.sum() == 6
    assert prune.identity(layer(), "weight").weight_mask.sum() == 12
    mask = torch.zeros(3, 4)
    mask[0, 0] = 1
    assert prune.custom_from_mask(layer(), "weight", mask).weight.sum() == 1.0


def test_global_pruning_compares_all_parameters():
    a, b = layer(), layer()
    with torch.no_grad():
        b.weight.mul_(100)
    prune.global_unstructured([(a, "weight"), (b, "weight")], prune.L1Unstructured, amount=12)
    assert a.weight_mask.sum() == 0 and b.weight_mask.sum() == 12


def test_what_prune_refuses():
    for amount, error in ((-1, ValueError), (1.5, ValueError), ("x", TypeError), (99, ValueError)):
        with pytest.raises(error, match="amount"):
            prune.l1_unstructured(layer(), "weight", amount)
    with pytest.raises(ValueError, match="multidimensional"):
        prune.ln_structured(layer(), "bias", 1, n=2, dim=0)
