"""Schedules against their closed forms."""

import copy
import math

import pytest

import taimatsu as torch
from taimatsu import nn, optim
from taimatsu.optim.lr_scheduler import (
    ChainedScheduler,
    ConstantLR,
    CosineAnnealingLR,
    CosineAnnealingWarmRestarts,
    CyclicLR,
    ExponentialLR,
    LambdaLR,
    LinearLR,
    MultiplicativeLR,
    MultiStepLR,
    OneCycleLR,
    PolynomialLR,
    ReduceLROnPlateau,
    SequentialLR,
    StepLR,
)

N = 16


def optimizer(lr=1.0):
    return optim.SGD([nn.Parameter(torch.ones(1))], lr=lr, momentum=0.9)


def rates(make, n=N):
    """The rate at each of the first n epochs."""
    opt = optimizer()
    schedule = make(opt)
    out = []
    for _ in range(n):
        out.append(opt.param_groups[0]["lr"])
        opt.step()
        schedule.step()
    return out


def cosine(share):
    return (1 + math.cos(math.pi * share)) / 2


@pytest.mark.parametrize(
    "make, form",
    [
        (lambda o: LambdaLR(o, lambda t: 0.9**t), lambda t: 0.9**t),
        (lambda o: MultiplicativeLR(o, lambda t: 0.5), lambda t: 0.5**t),
        (lambda o: StepLR(o, 3, 0.5), lambda t: 0.5 ** (t // 3)),
        (lambda o: MultiStepLR(o, [2, 5, 5], 0.5), lambda t: 0.5 ** ((t >= 2) + 2 * (t >= 5))),
        (lambda o: ConstantLR(o, 0.25, 4), lambda t: 0.25 if t < 4 else 1.0),
        (lambda o: LinearLR(o, 0.5, 1.0, 4), lambda t: 0.5 + 0.5 * min(t, 4) / 4),
        (lambda o: ExponentialLR(o, 0.9), lambda t: 0.9**t),
        (lambda o: PolynomialLR(o, 8, 2.0), lambda t: (1 - min(t, 8) / 8) ** 2),
        (lambda o: CosineAnnealingLR(o, 5, 0.1), lambda t: 0.1 + 0.9 * cosine(t / 5)),
        (lambda o: CosineAnnealingWarmRestarts(o, 4), lambda t: cosine(t % 4 / 4)),
        (
            lambda o: CosineAnnealingWarmRestarts(o, 2, 2),
            lambda t: cosine(t / 2 if t < 2 else (t - 2) / 4 if t < 6 else (t - 6) / 8 % 1)
            if t < 14
            else cosine((t - 14) / 16),
        ),
        (
            lambda o: CyclicLR(o, 0.0, 1.0, step_size_up=4),
            lambda t: 1 - abs(t % 8 - 4) / 4,
        ),
        (
            lambda o: CyclicLR(o, 0.0, 1.0, step_size_up=4, mode="triangular2"),
            lambda t: (1 - abs(t % 8 - 4) / 4) / 2 ** (t // 8),
        ),
        (
            lambda o: ChainedScheduler([ConstantLR(o, 0.5, 4), ExponentialLR(o, 0.9)]),
            lambda t: (0.5 if t < 4 else 1.0) * 0.9**t,
        ),
        (
            lambda o: SequentialLR(o, [ConstantLR(o, 0.5, 99), ExponentialLR(o, 0.9)], [6]),
            lambda t: 0.5 if t < 6 else 0.9 ** (t - 6),
        ),
    ],
)
def test_closed_form(make, form):
    assert rates(make) == pytest.approx([form(t) for t in range(N)], abs=1e-12)


@pytest.mark.parametrize("strategy", ["cos", "linear"])
def test_one_cycle(strategy):
    values = rates(lambda o: OneCycleLR(o, 2.0, total_steps=11, pct_start=0.5,
                                        anneal_strategy=strategy), 11)  # fmt: skip
    assert values[0] == pytest.approx(2 / 25) and values[-1] == pytest.approx(2 / 25 / 1e4)
    assert max(values) <= 2.0 and values.index(max(values)) in (4, 5)


def test_one_cycle_moves_the_momentum_the_other_way():
    opt = optimizer()
    schedule = OneCycleLR(opt, 1.0, total_steps=10, pct_start=0.5)
    momenta = []
    for _ in range(10):
        momenta.append(opt.param_groups[0]["momentum"])
        opt.step()
        schedule.step() if len(momenta) < 10 else None
    assert momenta[0] == 0.95 and min(momenta) == pytest.approx(0.85) and momenta[-1] == 0.95
    with pytest.raises(ValueError, match="Tried to step"):
        for _ in range(3):
            schedule.step()


def test_reduce_on_plateau():
    opt = optimizer()
    schedule = ReduceLROnPlateau(opt, factor=0.1, patience=1, cooldown=1, min_lr=0.01)
    seen = []
    for loss in (5, 4, 4, 4, 4, 4, 4, 4, 4):
        opt.step()
        schedule.step(loss)
        seen.append(opt.param_groups[0]["lr"])
    assert seen == pytest.approx([1, 1, 1, 0.1, 0.1, 0.1, 0.01, 0.01, 0.01])


@pytest.mark.parametrize(
    "make",
    [
        lambda o: StepLR(o, 3, 0.5),
        lambda o: CosineAnnealingLR(o, 5),
        lambda o: OneCycleLR(o, 1.0, total_steps=30),
        lambda o: CyclicLR(o, 0.1, 1.0, step_size_up=3),
        lambda o: SequentialLR(o, [LinearLR(o, 0.1), ExponentialLR(o, 0.9)], [4]),
    ],
)
def test_resuming_changes_nothing(make):
    def continued(resume):
        opt = optimizer()
        schedule = make(opt)
        out = []
        for t in range(N):
            if resume and t == 6:
                saved = copy.deepcopy((opt.state_dict(), schedule.state_dict()))
                opt = optimizer()
                schedule = make(opt)
                opt.load_state_dict(saved[0])
                schedule.load_state_dict(saved[1])
            out.append(opt.param_groups[0]["lr"])
            opt.step()
            schedule.step()
        return out

    assert continued(True) == continued(False)


def test_each_group_has_its_own_rate():
    params = [{"params": [nn.Parameter(torch.ones(1))], "lr": lr} for lr in (1.0, 0.1)]
    opt = optim.SGD(params, lr=5.0)
    schedule = LambdaLR(opt, [lambda t: 2.0, lambda t: 3.0])
    assert schedule.get_last_lr() == pytest.approx([2.0, 0.3])
    assert [g["initial_lr"] for g in opt.param_groups] == [1.0, 0.1]
    with pytest.raises(ValueError, match="same length"):
        LambdaLR(opt, [lambda t: 1.0])


def test_the_order_of_calls_is_checked():
    schedule = StepLR(optimizer(), 1)
    with pytest.warns(UserWarning, match="before optimizer.step"):
        schedule.step()


def test_errors():
    with pytest.raises(TypeError, match="is not an Optimizer"):
        StepLR(3, 1)
    with pytest.raises(KeyError, match="initial_lr"):
        StepLR(optimizer(), 1, last_epoch=3)
    with pytest.raises(ValueError, match="Factor"):
        ReduceLROnPlateau(optimizer(), factor=1.0)
    with pytest.raises(ValueError, match="total_steps"):
        OneCycleLR(optimizer(), 1.0)
    with pytest.raises(ValueError, match="one more than"):
        opt = optimizer()
        SequentialLR(opt, [StepLR(opt, 1)], [1])


def test_a_tensor_rate_keeps_its_identity():
    lr = torch.tensor(1.0)
    opt = optimizer(lr)
    schedule = ExponentialLR(opt, 0.5)
    opt.step()
    schedule.step()
    assert opt.param_groups[0]["lr"] is lr and lr.item() == 0.5
