"""Hooks on saved tensors, checkpointing, anomaly mode."""

import warnings

import numpy as np
import pytest

import taimatsu as torch
from taimatsu.autograd import graph
from taimatsu.utils.checkpoint import CheckpointError, checkpoint, checkpoint_sequential


def leaf(*values):
    return torch.tensor(values, dtype=torch.float64, requires_grad=True)


# ---- saved_tensors_hooks ----------------------------------------------------------------------


def test_pack_and_unpack():
    x = leaf(1.0, 2.0)
    packed = []

    def pack(t):
        packed.append(t)
        return t.detach().numpy().copy()

    with graph.saved_tensors_hooks(pack, torch.from_numpy):
        y = (x * x).exp()
    y.sum().backward()
    assert len(packed) == 3  # x twice, the result of exp
    assert not packed[-1].requires_grad
    expected = 2 * x.detach().numpy() * np.exp(x.detach().numpy() ** 2)
    np.testing.assert_allclose(x.grad.numpy(), expected)


def test_hooks_keep_double_backward_right():
    x = leaf(0.5, 1.5)
    with graph.saved_tensors_hooks(lambda t: t.detach().numpy().copy(), torch.from_numpy):
        y = (x * x).exp()
        (g,) = torch.autograd.grad(y.sum(), x, create_graph=True)
        (h,) = torch.autograd.grad(g.sum(), x)
    v = x.detach().numpy()
    np.testing.assert_allclose(h.numpy(), (2 + 4 * v**2) * np.exp(v**2))


def test_the_innermost_hooks_are_used():
    x = leaf(1.0)
    names = []

    def named(name):
        return graph.saved_tensors_hooks(lambda t: (names.append(name), t)[1], lambda t: t)

    with named("outer"):
        x.exp()
        with named("inner"):
            x.exp()
        x.exp()
    x.exp()
    assert names == ["outer", "inner", "outer"]


def test_what_unpack_must_return():
    x = leaf(1.0)
    with graph.saved_tensors_hooks(lambda t: 3, lambda n: n):
        y = x * x
    with pytest.raises(TypeError, match="unpack_hook expected to be a Tensor"):
        y.backward()
    with pytest.raises(TypeError, match="two functions"), graph.saved_tensors_hooks(1, 2):
        pass


def test_hooks_can_be_forbidden():
    with (
        graph.disable_saved_tensors_hooks("not here"),
        pytest.raises(RuntimeError, match="not here"),
        graph.saved_tensors_hooks(lambda t: t, lambda t: t),
    ):
        pass
    with graph.saved_tensors_hooks(lambda t: t, lambda t: t):
        pass


def test_save_on_cpu():
    x = leaf(1.0, 2.0)
    with graph.save_on_cpu():
        y = x * x
    y.sum().backward()
    assert x.grad.tolist() == [2, 4]


def test_mutation_allowed():
    x = leaf(1.0, 2.0)
    with graph.allow_mutation_on_saved_tensors():
        y = x * 1
        z = y * y
        y.zero_()
        z.sum().backward()
    assert x.grad.tolist() == [2, 4]


def test_increment_version():
    x = leaf(2.0)
    y = x * 1
    z = y * y
    graph.increment_version(y)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        z.backward()


# ---- checkpoint -------------------------------------------------------------------------------


class Counted:
    def __init__(self, function):
        self.function, self.calls = function, 0

    def __call__(self, *args, **kwargs):
        self.calls += 1
        return self.function(*args, **kwargs)


def block(x, w):
    return ((x * w).sin() * x).exp()


@pytest.mark.parametrize("reentrant", [False, True])
def test_a_checkpoint_gives_the_same_gradients(reentrant):
    x, w = leaf(0.3, 0.5), leaf(1.5, -0.5)
    block(x * 1, w).sum().backward()
    expected = x.grad.tolist(), w.grad.tolist()
    x.grad = w.grad = None
    f = Counted(block)
    y = checkpoint(f, x * 1, w, use_reentrant=reentrant).sum()
    assert f.calls == 1
    y.backward()
    assert f.calls == 2
    assert (x.grad.tolist(), w.grad.tolist()) == expected


def test_a_checkpoint_saves_only_its_inputs():
    x = leaf(0.3, 0.5)
    saved = []
    with graph.saved_tensors_hooks(lambda t: (saved.append(t), t)[1], lambda t: t):
        checkpoint(block, x, x, use_reentrant=False)
    assert len(saved) == 2


def test_nested_checkpoints_and_keywords():
    x = leaf(0.3, 0.5)

    def outer(x, *, scale):
        return checkpoint(block, x * scale, x, use_reentrant=False) * 2

    outer(x, scale=3).sum().backward()
    expected = x.grad.tolist()
    x.grad = None
    checkpoint(outer, x, scale=3, use_reentrant=False).sum().backward()
    assert x.grad.tolist() == expected


def test_a_checkpoint_and_double_backward():
    x = leaf(0.3)
    (g,) = torch.autograd.grad(block(x, x).sum(), x, create_graph=True)
    (expected,) = torch.autograd.grad(g, x)
    y = checkpoint(block, x, x, use_reentrant=False).sum()
    (g,) = torch.autograd.grad(y, x, create_graph=True)
    (h,) = torch.autograd.grad(g, x)
    assert h.item() == pytest.approx(expected.item(), rel=1e-12)


def test_a_function_that_changes_is_noticed():
    x = leaf(0.3)
    state = {"first": True}

    def f(x):
        first, state["first"] = state["first"], False
        return x.exp() if first else x * 2

    y = checkpoint(f, x, use_reentrant=False, early_stop=False)
    with pytest.raises(CheckpointError, match="not the same when computed again"):
        y.backward()

    def g(x):
        first, state["first"] = state["first"], True
        return (x * torch.ones(1 if first else 2, dtype=torch.float64)).exp().sum()

    y = checkpoint(g, x, use_reentrant=False)
    with pytest.raises(CheckpointError, match="forward pass"):
        y.backward()


def test_random_numbers_repeat():
    x = torch.ones(100, dtype=torch.float64, requires_grad=True)
    masks = []

    def f(x):
        masks.append(torch.rand(100, dtype=torch.float64))
        return (x * masks[-1]).exp()

    y = checkpoint(f, x, use_reentrant=False, early_stop=False).sum()
    after = torch.rand(1).item()
    state = torch.get_rng_state()
    y.backward()
    assert (masks[0] == masks[1]).all()
    assert (torch.get_rng_state() == state).all()
    assert after != masks[1][0].item()


@pytest.mark.parametrize("reentrant", [False, True])
def test_checkpoint_sequential(reentrant):
    steps = [lambda x, k=k: (x * (k + 1)).sin() for k in range(5)]
    x = leaf(0.3, 0.7)
    y = x
    for s in steps:
        y = s(y)
    y.sum().backward()
    expected = x.grad.tolist()
    x.grad = None
    checkpoint_sequential(steps, 2, x, use_reentrant=reentrant).sum().backward()
    assert x.grad.tolist() == expected


def test_checkpoint_arguments():
    x = leaf(0.3)
    with pytest.warns(UserWarning, match="use_reentrant parameter should be passed"):
        checkpoint(block, x, x)
    with pytest.raises(ValueError, match="keyword"):
        checkpoint(block, x, w=x, use_reentrant=True)
    with pytest.raises(ValueError, match="determinism_check"):
        checkpoint(block, x, x, use_reentrant=False, determinism_check="strict")


# ---- anomaly mode -----------------------------------------------------------------------------


def the_forward_line(x):
    return (x - 1).sqrt()


def test_a_nan_is_traced_to_the_forward_call():
    x = leaf(0.0)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with torch.autograd.detect_anomaly():
            y = the_forward_line(x)
            with pytest.raises(RuntimeError, match="'SqrtBackward0' returned nan values"):
                y.backward()
    texts = [str(w.message) for w in caught]
    assert "Anomaly Detection has been enabled" in texts[0]
    assert "Error detected in SqrtBackward0" in texts[1]
    assert "return (x - 1).sqrt()" in texts[1]
    the_forward_line(x).backward()  # outside: no check
    assert np.isnan(x.grad.numpy()).all()


def test_an_error_is_traced_to_the_forward_call():
    class Fails(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x * 1

        @staticmethod
        def backward(ctx, g):
            raise ValueError("no")

    x = leaf(0.0)
    with torch.autograd.set_detect_anomaly(True, check_nan=False):
        y = Fails.apply(x)
        with (
            pytest.warns(UserWarning, match=r"FailsBackward[\s\S]*y = Fails\.apply\(x\)"),
            pytest.raises(ValueError, match="no"),
        ):
            y.backward()


def test_a_write_is_traced_to_its_line():
    x = leaf(1.0)
    with torch.autograd.set_detect_anomaly(True):
        y = x * 1
        z = y * y
        y.mul_(2)  # the culprit
        with (
            pytest.warns(UserWarning, match="z = y"),
            pytest.raises(RuntimeError, match=r"by 'mul'[\s\S]*# the culprit"),
        ):
            z.backward()


def test_the_module_is_named():
    nn = torch.nn

    class Bad(nn.Module):
        def forward(self, x):
            return (x - 10).sqrt()

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = nn.Sequential(nn.Identity(), Bad())

        def forward(self, x):
            return self.first(x)

    x = leaf(1.0)
    with torch.autograd.set_detect_anomaly(True):
        y = Model()(x)
        with (
            pytest.warns(UserWarning, match=r'module "first\.1" \(Bad\) of Model'),
            pytest.raises(RuntimeError, match="nan"),
        ):
            y.backward()


def test_the_mode_is_restored():
    assert not torch._core.is_anomaly_enabled()
    with torch.autograd.set_detect_anomaly(True):
        assert torch._core.is_anomaly_enabled()
        with torch.autograd.set_detect_anomaly(False):
            assert not torch._core.is_anomaly_enabled()
        assert torch._core.is_anomaly_enabled()
    assert not torch._core.is_anomaly_enabled()
