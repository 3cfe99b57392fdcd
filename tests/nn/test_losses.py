"""Losses against their definitions in NumPy, loop by loop."""

import itertools
import math

import numpy as np
import pytest

import taimatsu as torch
from taimatsu import nn
from taimatsu.nn import functional as F

rng = np.random.default_rng(3)
X, Y, Z = rng.standard_normal((3, 5, 4))
SIGNS = np.where(rng.random((5, 4)) < 0.5, -1.0, 1.0)
CLASSES = np.array([3, 0, 1, 1, 2])
close = np.testing.assert_allclose


def hinge(x):
    return np.maximum(x, 0)


def multi_margin(x, y, p=1, margin=1.0, weight=None):
    w = np.ones(x.shape[1]) if weight is None else weight
    return np.array([
        sum(w[t] * hinge(margin - row[t] + row[i]) ** p for i in range(len(row)) if i != t)
        for row, t in zip(x, y, strict=True)
    ]) / x.shape[1]  # fmt: skip


def multilabel_margin(x, y):
    losses = []
    for row, labels in zip(x, y, strict=True):
        labels = list(itertools.takewhile(lambda label: label >= 0, labels))
        others = [i for i in range(len(row)) if i not in labels]
        losses.append(sum(hinge(1 - (row[j] - row[i])) for j in labels for i in others) / len(row))
    return np.array(losses)


def distance(x, y, p=2, eps=1e-6):
    return (np.abs(x - y + eps) ** p).sum(-1) ** (1 / p)


def triplet(a, p, n, margin=1.0, swap=False, norm=2):
    far = distance(a, n, norm)
    far = np.minimum(far, distance(p, n, norm)) if swap else far
    return hinge(distance(a, p, norm) - far + margin)


def cosine(x, y):
    return (x * y).sum(-1) / np.sqrt((x * x).sum(-1) * (y * y).sum(-1))


def stirling(y):
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = y * np.log(y) - y + 0.5 * np.log(2 * math.pi * y)
    return np.where(y > 1, terms, 0)


LABELS = np.array([[3, 0, -1, 2], [1, -1, -1, -1], [-1, 0, 1, 2], [0, 1, 2, 3], [2, 2, 0, -1]])
COUNTS = np.abs(np.round(Y * 3))
ONE_SIGN = SIGNS[:, 0]
# loss, its arguments and keywords, its values
CASES = {
    "multi_margin": (F.multi_margin_loss, (X, CLASSES), {}, multi_margin(X, CLASSES)),
    "multi_margin squared, weighted": (
        F.multi_margin_loss, (X, CLASSES), {"p": 2, "margin": 0.5, "weight": np.abs(X[0])},
        multi_margin(X, CLASSES, 2, 0.5, np.abs(X[0])),
    ),
    "multilabel_margin": (F.multilabel_margin_loss, (X, LABELS), {}, multilabel_margin(X, LABELS)),
    "soft_margin": (F.soft_margin_loss, (X, SIGNS), {}, np.log1p(np.exp(-SIGNS * X))),
    "hinge_embedding": (
        F.hinge_embedding_loss, (X, SIGNS), {"margin": 0.7},
        np.where(SIGNS > 0, X, hinge(0.7 - X)),
    ),
    "margin_ranking": (
        F.margin_ranking_loss, (X, Y, SIGNS), {"margin": 0.3}, hinge(-SIGNS * (X - Y) + 0.3)
    ),
    "cosine_embedding": (
        F.cosine_embedding_loss, (X, Y, ONE_SIGN), {"margin": 0.1},
        np.where(ONE_SIGN > 0, 1 - cosine(X, Y), hinge(cosine(X, Y) - 0.1)),
    ),
    "triplet": (F.triplet_margin_loss, (X, Y, Z), {}, triplet(X, Y, Z)),
    "triplet with swap": (
        F.triplet_margin_loss, (X, Y, Z), {"swap": True, "p": 3, "margin": 2.0},
        triplet(X, Y, Z, 2.0, True, 3),
    ),
    "triplet with a distance": (
        F.triplet_margin_with_distance_loss, (X, Y, Z),
        {"distance_function": lambda a, b: (a - b).abs().sum(-1), "swap": True},
        hinge(1 + np.abs(X - Y).sum(-1)
              - np.minimum(np.abs(X - Z).sum(-1), np.abs(Y - Z).sum(-1))),
    ),
    "poisson_nll": (F.poisson_nll_loss, (X, COUNTS), {}, np.exp(X) - COUNTS * X),
    "poisson_nll of rates, full": (
        F.poisson_nll_loss, (np.abs(X), COUNTS), {"log_input": False, "full": True},
        np.abs(X) - COUNTS * np.log(np.abs(X) + 1e-8) + stirling(COUNTS),
    ),
    "gaussian_nll": (
        F.gaussian_nll_loss, (X, Y, np.abs(Z)), {"full": True},
        0.5 * (np.log(np.abs(Z)) + (X - Y) ** 2 / np.abs(Z)) + 0.5 * math.log(2 * math.pi),
    ),
    "multilabel_soft_margin": (
        F.multilabel_soft_margin_loss, (X, (SIGNS + 1) / 2), {},
        np.log1p(np.exp(-SIGNS * X)).mean(-1),
    ),
}  # fmt: skip


def tensors(args):
    return [torch.from_numpy(a) if isinstance(a, np.ndarray) else a for a in args]


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
def test_values(name, reduction):
    loss, args, kwargs, expected = CASES[name]
    kwargs = dict(zip(kwargs, tensors(kwargs.values()), strict=True))
    got = loss(*tensors(args), **kwargs, reduction=reduction)
    close(got, expected if reduction == "none" else getattr(expected, reduction)(), rtol=1e-6)


@pytest.mark.parametrize("name", CASES)
def test_gradients(name):
    loss, args, kwargs, _ = CASES[name]
    kwargs = dict(zip(kwargs, tensors(kwargs.values()), strict=True))
    x, *rest = tensors(args)
    assert torch.autograd.gradcheck(
        lambda x: loss(x, *rest, **kwargs), x.clone().requires_grad_()
    )


@pytest.mark.parametrize("name", CASES)
def test_errors_of_reductions(name):
    loss, args, kwargs, _ = CASES[name]
    kwargs = dict(zip(kwargs, tensors(kwargs.values()), strict=True))
    with pytest.raises(ValueError, match="abc"):
        loss(*tensors(args), **kwargs, reduction="abc")


# ---- connectionist temporal classification ------------------------------------------------------


def collapsed(path, blank):
    """The labels of an alignment: repetitions merged, then blanks dropped."""
    return [k for k, _ in itertools.groupby(path) if k != blank]


def ctc(log_probs, labels, blank):
    """-log of the sum over all C^T alignments."""
    steps, classes = log_probs.shape
    total = sum(
        np.exp(log_probs[range(steps), path].sum())
        for path in itertools.product(range(classes), repeat=steps)
        if collapsed(path, blank) == list(labels)
    )
    return -np.log(total) if total else np.inf


LOG_PROBS = X.T[:, :, None] * np.ones(3) + rng.standard_normal((4, 5, 3))
LOG_PROBS -= np.log(np.exp(LOG_PROBS).sum(-1, keepdims=True))  # (T, N, C) = (4, 5, 3)
TARGETS = [[1, 2], [1, 1], [2], [], [1, 2, 1]]
PADDED = torch.tensor([t + [1] * (3 - len(t)) for t in TARGETS])
JOINED = torch.tensor([*itertools.chain(*TARGETS)])
INPUT_LENGTHS, TARGET_LENGTHS = [4, 3, 2, 4, 4], [len(t) for t in TARGETS]
CTC = np.array([
    ctc(LOG_PROBS[:n, i], t, 0)
    for i, (n, t) in enumerate(zip(INPUT_LENGTHS, TARGETS, strict=True))
])  # fmt: skip


@pytest.mark.parametrize("targets", [PADDED, JOINED], ids=["padded", "joined"])
@pytest.mark.parametrize("as_tensor", [False, True])
def test_ctc(targets, as_tensor):
    x = torch.from_numpy(LOG_PROBS)
    lengths = [INPUT_LENGTHS, TARGET_LENGTHS]
    if as_tensor:
        lengths = [torch.tensor(n, dtype=torch.int32) for n in lengths]
    close(F.ctc_loss(x, targets, *lengths, reduction="none"), CTC, rtol=1e-9)
    close(F.ctc_loss(x, targets, *lengths, reduction="sum"), CTC.sum(), rtol=1e-9)
    mean = (CTC / np.maximum(TARGET_LENGTHS, 1)).mean()
    close(nn.CTCLoss()(x, targets, *lengths), mean, rtol=1e-9)


def test_ctc_with_another_blank():
    x = torch.from_numpy(LOG_PROBS[:, :1])
    close(F.ctc_loss(x, torch.tensor([[0, 1]]), [4], [2], blank=2, reduction="sum"),
          ctc(LOG_PROBS[:, 0], [0, 1], 2))  # fmt: skip


def test_ctc_of_one_sequence():
    x = torch.from_numpy(LOG_PROBS[:, 0])
    got = F.ctc_loss(x, torch.tensor([1, 2]), torch.tensor(4), torch.tensor(2), reduction="none")
    assert got.shape == ()
    close(got, CTC[0])


def test_ctc_of_an_impossible_target():
    x = torch.from_numpy(LOG_PROBS[:, :2]).requires_grad_()
    targets, lengths = torch.tensor([[1, 1, 1], [1, 2, 1]]), ([4, 4], [3, 3])
    assert F.ctc_loss(x, targets, *lengths, reduction="none")[0] == math.inf
    loss = F.ctc_loss(x, targets, *lengths, reduction="none", zero_infinity=True)
    assert loss[0] == 0 and loss[1] > 0
    (g,) = torch.autograd.grad(loss.sum(), x)
    assert torch.isfinite(g).all() and not g[:, 0].any() and g[:, 1].any()


def test_ctc_gradient():
    """Through log_softmax, for which the gradient is meant."""
    scores = torch.from_numpy(rng.standard_normal((4, 5, 3))).requires_grad_()
    assert torch.autograd.gradcheck(
        lambda x: F.ctc_loss(x.log_softmax(2), PADDED, INPUT_LENGTHS, TARGET_LENGTHS), scores
    )


@pytest.mark.parametrize(
    ("args", "error"),
    [
        ((torch.zeros(4, 1, 3), torch.tensor([[1]]), [5], [1]), RuntimeError),
        ((torch.zeros(4, 1, 3), torch.tensor([[1]]), [4], [2]), RuntimeError),
        ((torch.zeros(4, 1, 3), torch.tensor([[1]]), [4, 4], [1]), RuntimeError),
        ((torch.zeros(4, 1, 3), torch.tensor([[3]]), [4], [1]), IndexError),
        ((torch.zeros(4, 1, 3), torch.tensor([1, 1]), [4], [1]), RuntimeError),
        ((torch.zeros(4, 1, 3), torch.tensor([[1]]), [4], [1], 3), RuntimeError),
        ((torch.zeros(4, 1, 3), torch.tensor([[1.0]]), [4], [1]), RuntimeError),
        ((torch.zeros(4, 1, 3), torch.tensor([[1]]), torch.tensor([4.0]), [1]), RuntimeError),
        ((torch.zeros(4, 1, 3), torch.tensor([[1]]), [-1], [1]), RuntimeError),
        ((torch.zeros(4), torch.tensor([1]), [4], [1]), RuntimeError),
        ((torch.zeros(4, 1, 3), torch.tensor([[1]]), [4], [1], 0, "abc"), ValueError),
        ((torch.zeros(4, 1, 3).half(), torch.tensor([[1]]), [4], [1]), NotImplementedError),
    ],
)
def test_ctc_errors(args, error):
    with pytest.raises(error):
        F.ctc_loss(*args)


# ---- adaptive softmax ---------------------------------------------------------------------------


def test_adaptive_log_softmax():
    m = nn.AdaptiveLogSoftmaxWithLoss(16, 20, [5, 10, 15], div_value=2.0).double()
    assert [tuple(p.shape) for p in m.parameters()] == [
        (8, 16), (8, 16), (5, 8), (4, 16), (5, 4), (2, 16), (5, 2)
    ]  # fmt: skip
    x, target = torch.randn(6, 16).double(), torch.tensor([0, 5, 9, 19, 12, 4])
    log_prob = m.log_prob(x)
    close(log_prob.detach().exp().sum(1), 1)
    output, loss = m(x, target)
    close(output.detach(), log_prob.detach()[range(6), target])
    close(loss.detach(), -output.detach().mean())
    assert m.predict(x).tolist() == log_prob.argmax(1).tolist()
    close(m(x[0], target[0]).output.detach(), output.detach()[0])
    assert torch.autograd.gradcheck(lambda x: m(x, target).loss, x.requires_grad_())


@pytest.mark.parametrize("cutoffs", [[], [5, 3], [0, 5], [5, 20], [5, 5], [2.5]])
def test_adaptive_cutoffs(cutoffs):
    with pytest.raises(ValueError, match="cutoffs"):
        nn.AdaptiveLogSoftmaxWithLoss(16, 20, cutoffs)


def test_adaptive_errors():
    m = nn.AdaptiveLogSoftmaxWithLoss(8, 20, [5])
    for args in [(torch.zeros(2, 8), torch.tensor([1])), (torch.zeros(2, 8), torch.tensor([1, 20])),
                 (torch.zeros(2, 8), torch.zeros(2, 1).long())]:  # fmt: skip
        with pytest.raises(RuntimeError):
            m(*args)


# ---- classes ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kwargs", "target", "error"),
    [
        ({}, torch.zeros(2, 3).long(), RuntimeError),
        ({}, torch.zeros(2), RuntimeError),
        ({}, torch.zeros(3).long(), ValueError),
        ({}, torch.zeros(2, 4).long(), RuntimeError),
        ({}, torch.tensor([0, 3]), IndexError),
        ({"weight": torch.ones(2)}, torch.zeros(2).long(), RuntimeError),
        ({"weight": torch.ones(3).double()}, torch.zeros(2).long(), RuntimeError),
        ({"ignore_index": 1}, torch.zeros(2, 3), RuntimeError),
        ({"label_smoothing": 1.5}, torch.zeros(2).long(), RuntimeError),
        ({"reduction": "abc"}, torch.zeros(2).long(), ValueError),
    ],
)
def test_cross_entropy_errors(kwargs, target, error):
    with pytest.raises(error):
        F.cross_entropy(torch.zeros(2, 3), target, **kwargs)


@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("weighted", [False, True])
def test_cross_entropy(reduction, smoothing, weighted):
    """Class indices with one to be ignored, and the same as probabilities."""
    weight = np.abs(Y[0]) if weighted else np.ones(4)
    log_p = X - np.log(np.exp(X).sum(1, keepdims=True))
    soft = np.eye(4)[CLASSES] * (1 - smoothing) + smoothing / 4
    each = -(soft * log_p * weight).sum(1)
    given = {"weight": torch.from_numpy(weight) if weighted else None, "reduction": reduction,
             "label_smoothing": smoothing}  # fmt: skip
    x = torch.from_numpy(X)
    got = F.cross_entropy(x, torch.from_numpy(np.eye(4)[CLASSES]), **given)
    close(got, {"none": each, "sum": each.sum(), "mean": each.mean()}[reduction])
    got = F.cross_entropy(x, torch.from_numpy(CLASSES), ignore_index=2, **given)
    used = CLASSES != 2
    each = each * used
    mean = each.sum() / weight[CLASSES][used].sum()
    close(got, {"none": each, "sum": each.sum(), "mean": mean}[reduction])


NUMBERED = ("binary_cross_entropy_with_logits", "cosine_embedding_loss", "hinge_embedding_loss",
            "kl_div", "margin_ranking_loss", "triplet_margin_loss")  # fmt: skip


@pytest.mark.parametrize("name", NUMBERED)
def test_reductions_by_number(name):
    """The top level's losses are the functionals', with 0, 1, 2 for none, mean, sum."""
    x, y, z = (torch.from_numpy(v) for v in (X, np.abs(Y), X + Y))
    signs = torch.ones(len(X), dtype=x.dtype)
    args = {"cosine_embedding_loss": (x, y, signs), "triplet_margin_loss": (x, y, z),
            "margin_ranking_loss": (x[:, 0], y[:, 0], signs)}.get(name, (x, y))  # fmt: skip
    for number, reduction in enumerate(("none", "mean", "sum")):
        expected = getattr(F, name)(*args, reduction=reduction)
        assert torch.equal(getattr(torch, name)(*args, reduction=number), expected)
    with pytest.raises(ValueError, match="reduction"):
        getattr(torch, name)(*args, reduction=3)
