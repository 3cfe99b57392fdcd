"""Autocast by PyTorch's op lists, and scaled gradients."""

import pickle

import pytest

import taimatsu as torch
from taimatsu import nn
from taimatsu.amp import GradScaler, autocast

X = torch.ones(2, 2)


def test_products_are_lower_and_sensitive_ops_float32():
    with autocast("cpu"):
        assert torch.is_autocast_enabled("cpu") and not torch.is_autocast_enabled("cuda")
        y = X @ X
        assert y.dtype == torch.bfloat16 and (y + y).dtype == torch.bfloat16
        assert nn.functional.mse_loss(y, y).dtype == torch.float32
        assert torch.cat([y, X]).dtype == torch.float32
        assert nn.functional.linear(X, X).dtype == torch.bfloat16
        assert (X.double() @ X.double()).dtype == torch.float64
        assert (X.long() @ X.long()).dtype == torch.int64
    assert (X @ X).dtype == torch.float32 and not torch.is_autocast_cpu_enabled()


def test_nesting_disabling_dtype_and_decorator():
    with autocast("cpu", dtype=torch.float16):
        assert (X @ X).dtype == torch.float16
        with autocast("cpu", enabled=False):
            assert (X @ X).dtype == torch.float32
            with autocast("cpu", dtype=torch.bfloat16):
                assert (X @ X).dtype == torch.bfloat16
        assert (X @ X).dtype == torch.float16
    assert autocast("cpu")(lambda: X @ X)().dtype == torch.bfloat16
    with pytest.raises(RuntimeError, match="unsupported"):
        autocast("abacus")
    with pytest.warns(UserWarning, match="Disabling"), autocast("cpu", dtype=torch.float64):
        assert (X @ X).dtype == torch.float32


def test_training_gives_float32_gradients():
    model = nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 1))
    with autocast("cpu"):
        out = model(X)
    assert out.dtype == torch.bfloat16
    out.float().sum().backward()
    assert all(p.grad.dtype == torch.float32 for p in model.parameters())


def test_custom_functions_are_cast():
    class Product(torch.autograd.Function):
        @staticmethod
        @torch.amp.custom_fwd(device_type="cpu", cast_inputs=torch.float32)
        def forward(ctx, x):
            assert x.dtype == torch.float32 and not torch.is_autocast_cpu_enabled()
            ctx.save_for_backward(x)
            return x @ x

        @staticmethod
        @torch.amp.custom_bwd(device_type="cpu")
        def backward(ctx, g):
            (x,) = ctx.saved_tensors
            return g @ x.mT + x.mT @ g

    x = torch.ones(2, 2, dtype=torch.bfloat16, requires_grad=True)
    with autocast("cpu"):
        y = Product.apply(x)
    assert y.dtype == torch.float32
    y.sum().backward()
    assert x.grad.tolist() == [[4.0, 4.0]] * 2


def test_scaler_unscales_skips_and_adapts():
    p = nn.Parameter(torch.ones(1))
    optimizer = torch.optim.SGD([p], lr=0.5)
    scaler = GradScaler("cpu", init_scale=4.0, growth_interval=2)
    for expected in (4.0, 8.0):
        optimizer.zero_grad()
        scaler.scale(p.sum()).backward()
        scaler.step(optimizer)
        scaler.update()
        assert scaler.get_scale() == expected
    assert p.item() == 0.0
    p.grad.fill_(float("inf"))
    scaler.step(optimizer)
    with pytest.raises(RuntimeError, match="already been called"):
        scaler.step(optimizer)
    scaler.update()
    assert p.item() == 0.0 and scaler.get_scale() == 4.0
    other = pickle.loads(pickle.dumps(scaler))
    other.load_state_dict({**scaler.state_dict(), "scale": 2.0})
    assert other.get_scale() == 2.0
    with pytest.raises(AssertionError, match="inf checks"):
        scaler.update()
    assert GradScaler("cpu", enabled=False).scale(p) is p


def test_devices_that_are_not_there_are_asked_for_too():
    for place, dtype in (("mps", torch.float16), ("hpu", torch.bfloat16)):
        assert not torch.is_autocast_enabled(place)
        assert torch.get_autocast_dtype(place) is dtype
        with torch.autocast(place):
            assert torch.is_autocast_enabled(place)
            assert torch.mm(torch.ones(2, 2), torch.ones(2, 2)).dtype is torch.float32
    with pytest.raises(RuntimeError):
        torch.is_autocast_enabled("meta")


def test_the_old_name_of_the_one_for_the_cpu():
    with torch.cpu.amp.autocast():
        assert torch.mm(torch.ones(2, 2), torch.ones(2, 2)).dtype is torch.bfloat16
