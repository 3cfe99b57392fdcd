"""Checkpoints that keep some results, and groups of backward passes."""

import functools

import pytest

import taimatsu as torch
from taimatsu import nn
from taimatsu.utils._python_dispatch import TorchDispatchMode
from taimatsu.utils.checkpoint import (
    CheckpointPolicy,
    GraphExecGroup,
    checkpoint,
    create_selective_checkpoint_contexts,
)

aten = torch.ops.aten


class Calls(TorchDispatchMode):
    """The names of the ops that are carried out."""

    def __init__(self):
        self.names = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.names.append(func._opname)
        return func(*args, **(kwargs or {}))


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.GELU(), nn.Linear(8, 8), nn.Softmax(-1))


def keep(policy, **options):
    return functools.partial(create_selective_checkpoint_contexts, policy, **options)


def gelu_only(ctx, op, *args, **kwargs):
    assert isinstance(ctx.op_output, torch.Tensor) and not ctx.is_recompute
    kept = op is aten.gelu.default
    return CheckpointPolicy.MUST_SAVE if kept else CheckpointPolicy.PREFER_RECOMPUTE


@pytest.mark.parametrize(
    "policy, left",
    [
        ([aten.addmm.default], {"gelu", "_softmax"}),
        (gelu_only, {"addmm", "_softmax"}),
        (lambda *a, **k: CheckpointPolicy.PREFER_SAVE, set()),
        (lambda *a, **k: CheckpointPolicy.MUST_CPU_OFFLOAD, set()),
        (lambda *a, **k: CheckpointPolicy.PREFER_RECOMPUTE, {"addmm", "gelu", "_softmax"}),
    ],
)
def test_what_is_kept_is_not_computed_again(policy, left):
    net, x = network(), torch.randn(3, 4, requires_grad=True)
    net(x).square().sum().backward()
    wanted = [p.grad for p in (*net.parameters(), x)]
    net.zero_grad()
    x.grad = None
    y = checkpoint(net, x, use_reentrant=False, context_fn=keep(policy)).square().sum()
    with Calls() as calls:
        y.backward()
    assert {"addmm", "gelu", "_softmax"} & set(calls.names) == left
    for p, g in zip((*net.parameters(), x), wanted, strict=True):
        assert torch.equal(p.grad, g)


def test_kept_results_must_stay_as_they_are():
    def f(x):
        y = x.exp()
        z = y.sin()
        y.detach().zero_()
        return z.sum()

    x = torch.ones(2, requires_grad=True)
    policy = lambda *a, **k: CheckpointPolicy.MUST_SAVE
    with pytest.raises(RuntimeError, match="mutated"):
        checkpoint(f, x, use_reentrant=False, context_fn=keep(policy)).backward()
    with pytest.raises(ValueError, match="overloads"):
        create_selective_checkpoint_contexts([aten.mm])


def test_a_group_of_passes_computes_once():
    count = []

    def f(x):
        count.append(1)
        return x.sin().cos(), x.exp().sin()

    x = torch.ones(2, requires_grad=True)
    a, b = checkpoint(f, x, use_reentrant=False, early_stop=False)
    with GraphExecGroup():
        a.sum().backward(retain_graph=True)
        b.sum().backward()
        with pytest.raises(RuntimeError, match="nested"), GraphExecGroup():
            pass
    assert len(count) == 2
