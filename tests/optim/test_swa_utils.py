"""Averaged models against sums by hand."""

import pytest

import taimatsu as torch
from taimatsu import nn
from taimatsu.optim import swa_utils


def steps(average, model, count=4):
    values = []
    for i in range(count):
        with torch.no_grad():
            for p in model.parameters():
                p.fill_(float(i))
        average.update_parameters(model)
        values.append(float(i))
    return values


def test_equal_and_moving_averages():
    model = nn.Linear(2, 2)
    for fn in ({}, {"avg_fn": swa_utils.get_swa_avg_fn()}):
        average = swa_utils.AveragedModel(model, **fn)
        values = steps(average, model)
        assert average.module.weight[0, 0].item() == pytest.approx(sum(values) / 4)
        assert int(average.n_averaged) == 4
    expected = 0.0
    for v in range(1, 4):
        expected = 0.9 * expected + 0.1 * v
    for fn in (
        {"avg_fn": swa_utils.get_ema_avg_fn(0.9)},
        {"multi_avg_fn": swa_utils.get_ema_multi_avg_fn(0.9)},
    ):
        average = swa_utils.AveragedModel(model, **fn)
        steps(average, model)
        assert average.module.weight[0, 0].item() == pytest.approx(expected)
    with pytest.raises(ValueError, match="decay"):
        swa_utils.get_ema_avg_fn(2.0)


def test_update_bn_computes_the_statistics_of_all_data():
    model = nn.Sequential(nn.BatchNorm1d(3))
    data = torch.randn(8, 4, 3) + 2
    swa_utils.update_bn([(x, None) for x in data], model)
    torch.testing.assert_close(model[0].running_mean, data.mean((0, 1)))
    assert model[0].momentum == 0.1 and model.training


@pytest.mark.parametrize("strategy", ["cos", "linear"])
def test_swalr_goes_to_its_rate_and_stays(strategy):
    optimizer = torch.optim.SGD([nn.Parameter(torch.ones(1))], lr=1.0)
    scheduler = swa_utils.SWALR(optimizer, 0.1, anneal_epochs=4, anneal_strategy=strategy)
    rates = []
    for _ in range(6):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    assert rates[0] == 1.0 and rates[2] == pytest.approx(0.55)
    assert rates[4] == pytest.approx(0.1) == rates[5]
    with pytest.raises(ValueError, match="anneal_strategy"):
        swa_utils.SWALR(optimizer, 0.1, anneal_strategy="steps")
