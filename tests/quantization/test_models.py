"""Quantized models: observers, conversion, training that rounds, and PyTorch's figures."""

import importlib

import numpy as np
import pytest

import taimatsu as torch
import taimatsu.ao.quantization as q
from taimatsu import nn

RANDOM = np.random.default_rng(0)
DATA = [RANDOM.normal(size=(16, 1, 4, 4)).astype("f") for _ in range(3)]


def model(t):
    class Model(t.nn.Module):
        def __init__(self):
            super().__init__()
            quantization = t.ao.quantization
            self.quant, self.dequant = quantization.QuantStub(), quantization.DeQuantStub()
            self.conv, self.bn = t.nn.Conv2d(1, 2, 3), t.nn.BatchNorm2d(2)
            self.relu, self.fc = t.nn.ReLU(), t.nn.Linear(8, 3)
            self.sum = t.ao.nn.quantized.FloatFunctional()

        def forward(self, x):
            x = self.relu(self.bn(self.conv(self.quant(x))))
            return self.dequant(self.fc(self.sum.add(x, x).flatten(1)))

    made = Model()
    numbers = np.random.default_rng(1)
    with t.no_grad():
        for p in made.parameters():
            p.copy_(t.from_numpy(numbers.normal(size=tuple(p.shape)).astype("f")))
        made.bn.running_var.copy_(t.tensor([0.5, 1.5]))
    return made


ROW = [["conv", "bn", "relu"]]


def static(t, backend="fbgemm"):
    quantization = t.ao.quantization
    m = model(t).eval()
    m.qconfig = quantization.get_default_qconfig(backend)
    prepared = quantization.prepare(quantization.fuse_modules(m, ROW))
    for x in DATA:
        prepared(t.from_numpy(x))
    return quantization.convert(prepared)


def trained(t, backend="fbgemm"):
    quantization = t.ao.quantization
    m = model(t).train()
    m.qconfig = quantization.get_default_qat_qconfig(backend)
    prepared = quantization.prepare_qat(quantization.fuse_modules_qat(m, ROW))
    for x in DATA:
        prepared(t.from_numpy(x))
    return quantization.convert(prepared.eval())


def dynamic(t):
    m = t.nn.Sequential(t.nn.Linear(16, 3))
    with t.no_grad():
        m[0].weight.copy_(t.linspace(-1, 1, 48).reshape(3, 16))
        m[0].bias.zero_()
    return t.ao.quantization.quantize_dynamic(m, {t.nn.Linear})


def test_static_quantization_is_near_the_floating_point_model():
    x = torch.from_numpy(DATA[0])
    expected, made = model(torch).eval()(x), static(torch)
    assert type(made.fc).__name__ == "Linear" and made.fc.weight().dtype is torch.qint8
    assert repr(made.conv).startswith("QuantizedConvReLU2d(1, 2, kernel_size=(3, 3)")
    assert not hasattr(made, "qconfig") and isinstance(made.bn, nn.Identity)
    error = (made(x) - expected).abs().max() / expected.abs().max()
    assert error < 0.05
    levels = made(x) / made.fc.scale
    assert torch.allclose(levels, levels.round(), atol=1e-3)


def test_state_dicts_of_quantized_models_load():
    first, second = static(torch), static(torch)
    second.fc.scale = 99.0
    second.load_state_dict(first.state_dict())
    x = torch.from_numpy(DATA[0])
    assert torch.equal(first(x), second(x))


def test_training_rounds_and_converts():
    quantization = torch.ao.quantization
    m = model(torch).train()
    m.qconfig = quantization.get_default_qat_qconfig("qnnpack")
    prepared = quantization.prepare_qat(quantization.fuse_modules_qat(m, ROW))
    assert type(prepared.conv).__name__ == "ConvBnReLU2d"
    out = prepared(torch.from_numpy(DATA[0]))
    out.square().mean().backward()
    assert prepared.conv.weight.grad.abs().sum() > 0
    prepared.apply(q.disable_observer)
    before = prepared.fc.activation_post_process.scale.clone()
    prepared(100 * torch.from_numpy(DATA[0]))
    assert torch.equal(before, prepared.fc.activation_post_process.scale)
    made = quantization.convert(prepared.eval())
    assert type(made.conv).__name__ == "ConvReLU2d"
    # The running statistics are those of one batch: near what they were.
    assert made(torch.from_numpy(DATA[0])).shape == (16, 3)
    with pytest.raises(AssertionError, match="training mode"):
        quantization.prepare_qat(model(torch).eval())


def test_dynamic_products():
    x = torch.from_numpy(DATA[0].reshape(16, 16))
    made = dynamic(torch)
    weight = made[0].weight().dequantize()
    scale = (x.max() - x.min()).item() / 127
    rounded = torch.round(x / scale) * scale
    assert (made(x) - rounded @ weight.T).abs().max() < 20 * scale
    assert torch.allclose(made(x), x @ weight.T, atol=0.3)
    half = q.quantize_dynamic(nn.Sequential(nn.Linear(4, 2)), dtype=torch.float16)
    assert half[0].weight().dtype is torch.float16
    with pytest.raises(ValueError, match="default settings"):
        q.quantize_dynamic(nn.Linear(2, 2), dtype=torch.int64)


@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_recurrent_layers_with_quantized_weights(kind):
    layer = getattr(nn, kind)(3, 4, num_layers=2, bidirectional=True, batch_first=True)
    made = q.quantize_dynamic(nn.Sequential(layer))[0]
    x = torch.randn(2, 5, 3)
    (expected, state), (out, found) = layer(x), made(x)
    assert out.shape == expected.shape and (out - expected).abs().max() < 0.1
    pairs = zip(state, found, strict=True) if kind == "LSTM" else [(state, found)]
    assert all(a.shape == b.shape and (a - b).abs().max() < 0.1 for a, b in pairs)


def test_embeddings_are_quantized_by_row():
    table = nn.Sequential(nn.Embedding(10, 12))
    made = q.quantize_dynamic(table, {nn.Embedding: q.float_qparams_weight_only_qconfig})
    rows = torch.tensor([1, 9, 1])
    assert made[0].weight().qscheme() is torch.per_channel_affine_float_qparams
    assert (made(rows) - table(rows)).abs().max() < 0.03


def test_observers():
    seen = q.MinMaxObserver()
    with pytest.warns(UserWarning, match="must run observer"):
        seen.calculate_qparams()
    for x in (torch.tensor([-1.0, 0.5]), torch.tensor([0.0, 4.1])):
        assert seen(x) is x
    scale, zero_point = seen.calculate_qparams()
    assert scale.item() == pytest.approx(5.1 / 255) and zero_point.item() == 50
    symmetric = q.default_weight_observer()
    symmetric(torch.tensor([-1.0, 2.55]))
    assert symmetric.calculate_qparams()[0].item() == pytest.approx(2.55 / 127.5)
    average = q.MovingAverageMinMaxObserver(averaging_constant=0.5)
    average(torch.tensor([0.0, 2.0]))
    average(torch.tensor([0.0, 4.0]))
    assert average.max_val.item() == 3.0
    channels = q.PerChannelMinMaxObserver(ch_axis=1)
    channels(torch.tensor([[1.0, -2.0], [3.0, 5.0]]))
    assert channels.max_val.tolist() == [3.0, 5.0] and channels.min_val.tolist() == [1.0, -2.0]
    with pytest.raises(NotImplementedError, match="PerChannelMinMaxObserver"):
        q.MinMaxObserver(qscheme=torch.per_channel_affine)


def test_histograms_leave_rare_values_out():
    seen, x = q.HistogramObserver(), torch.randn(20000) ** 3
    seen(x)
    full = (x.max() - x.min()).item() / 255
    assert 0.3 * full < seen.calculate_qparams()[0].item() < 0.95 * full
    assert seen.histogram.sum().item() == 20000
    seen(torch.tensor([-1000.0]))
    assert seen.histogram.sum().item() == pytest.approx(20001) and seen.min_val.item() == -1000


def test_configurations():
    with pytest.raises(ValueError, match="observer instance"):
        q.QConfig(q.MinMaxObserver(), q.MinMaxObserver)
    assert q.qconfig_equals(q.get_default_qconfig("x86"), q.get_default_qconfig("fbgemm"))
    mapping = q.QConfigMapping().set_global(q.default_qconfig).set_module_name("a.b", None)
    assert mapping.qconfig_for("a.b.c", nn.ReLU()) is None
    assert mapping.qconfig_for("a.d", nn.ReLU()) is q.default_qconfig
    assert q.QConfigMapping.from_dict(mapping.to_dict()).to_dict() == mapping.to_dict()
    assert q.get_block_size((4, 6), q.PerGroup(3)) == (1, 3)
    with pytest.raises(NotImplementedError, match="fuser method"):
        q.fuse_modules(nn.Sequential(nn.Linear(1, 1), nn.Tanh()).eval(), ["0", "1"])


@pytest.mark.parity
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("make", [static, trained, dynamic])
def test_figures_are_pytorchs(make):
    theirs = pytest.importorskip("torch")
    importlib.import_module("torch.ao.quantization")
    shape = (16, 16) if make is dynamic else (16, 1, 4, 4)
    a, b = (make(t)(t.from_numpy(DATA[0].reshape(shape))).detach().numpy() for t in (theirs, torch))
    # In training a value that is rounded the other way moves the ranges that follow.
    assert np.abs(a - b).max() <= (0.02 if make is trained else 1e-4) * np.abs(a).max()
