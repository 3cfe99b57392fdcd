"""Losses under PyTorch: values, gradients, and the adaptive softmax of one seed."""

import numpy as np
import pytest
from test_losses import CASES, INPUT_LENGTHS, LOG_PROBS, PADDED, TARGET_LENGTHS

import taimatsu

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.parity
close = np.testing.assert_allclose


def run(library, name, dtype, reduction):
    loss, args, kwargs, _ = CASES[name]

    def tensor(a):
        if not isinstance(a, np.ndarray):
            return a
        return library.from_numpy(a.astype(dtype) if a.dtype.kind == "f" else a)

    x, *rest = map(tensor, args)
    x = x.clone().requires_grad_()
    function = getattr(library.nn.functional, loss.__name__)
    out = function(x, *rest, **{k: tensor(v) for k, v in kwargs.items()}, reduction=reduction)
    out.sum().backward()
    return out.detach().numpy(), x.grad.numpy()


@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", CASES)
def test_losses(name, dtype, reduction):
    rtol = 1e-5 if dtype == "float32" else 1e-12
    theirs, ours = (run(library, name, dtype, reduction) for library in (torch, taimatsu))
    for expected, got in zip(theirs, ours, strict=True):
        assert got.dtype == expected.dtype and got.shape == expected.shape
        close(got, expected, rtol=rtol, atol=rtol)


@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
@pytest.mark.parametrize("zero_infinity", [False, True])
def test_ctc(reduction, zero_infinity):
    """The gradient with respect to log-probabilities too, which is not that of the formula."""
    found = []
    for library in (torch, taimatsu):
        x = library.from_numpy(LOG_PROBS).clone().requires_grad_()
        targets = library.tensor(PADDED.tolist())
        out = library.nn.functional.ctc_loss(
            x, targets, INPUT_LENGTHS, TARGET_LENGTHS, 0, reduction, zero_infinity
        )
        out.sum().backward()
        found.append((out.detach().numpy(), x.grad.numpy()))
    for expected, got in zip(*found, strict=True):
        close(got, expected, rtol=1e-10, atol=1e-12)


def test_adaptive_softmax():
    found = []
    for library in (torch, taimatsu):
        library.manual_seed(4)
        m = library.nn.AdaptiveLogSoftmaxWithLoss(16, 20, [5, 10], head_bias=True)
        x, target = library.randn(6, 16), library.tensor([0, 5, 9, 19, 12, 4])
        output, loss = m(x, target)
        found.append([m.state_dict(), output, loss, m.log_prob(x), m.predict(x)])
    (theirs, *expected), (ours, *got) = found
    assert list(ours) == list(theirs)
    for key in theirs:
        assert ours[key].numpy().tobytes() == theirs[key].numpy().tobytes()
    for a, b in zip(got, expected, strict=True):
        close(a.detach().numpy(), b.detach().numpy(), rtol=1e-5)
