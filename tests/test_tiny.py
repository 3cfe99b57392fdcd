"""The first thing to run: one short test for each layer, bottom up. `make tiny`."""

import math

import numpy as np

import taimatsu as torch
from taimatsu import nn


def test_tensors_and_views_share_memory():
    x = torch.arange(12.0).reshape(3, 4)
    x[1] = 0
    assert x.t()[0].tolist() == [0.0, 0.0, 8.0]
    assert x[:, ::2].stride() == (4, 2)
    array = x.numpy()
    array[0, 0] = 7
    assert x[0, 0].item() == 7


def test_promotion_and_broadcasting():
    out = torch.ones(3, 1, dtype=torch.int32) + torch.tensor([0.5, 1.5], dtype=torch.float64)
    assert out.dtype is torch.float64
    assert out.shape == (3, 2)
    assert (torch.tensor([1, 2]) + 1.0).dtype is torch.get_default_dtype()


def test_generated_kernels_of_each_kind():
    x = np.random.default_rng(0).standard_normal((5, 37))
    t = torch.from_numpy(x)
    np.testing.assert_allclose(torch.exp(t).numpy(), np.exp(x), rtol=1e-14)
    e = np.exp(x - x.max(1, keepdims=True))
    np.testing.assert_allclose(t.softmax(1).numpy(), e / e.sum(1, keepdims=True), rtol=1e-13)
    rows = np.array([4, 0, -1])
    np.testing.assert_array_equal(t[torch.from_numpy(rows)].numpy(), x[rows])


def test_a_formula_of_ones_own_has_a_gradient():
    @torch.pointwise
    def bump(x, width=2.0):
        return width * x * x * x

    x = torch.tensor([1.0, 2.0], dtype=torch.float64, requires_grad=True)
    bump(x, width=3.0).sum().backward()
    assert x.grad.tolist() == [9.0, 36.0]


def test_libraries():
    a = np.random.default_rng(1).standard_normal((6, 6)) + 6 * np.eye(6)
    t = torch.from_numpy(a)
    np.testing.assert_allclose((t @ t).numpy(), a @ a, rtol=1e-13)
    np.testing.assert_allclose(torch.linalg.solve(t, t).numpy(), np.eye(6), atol=1e-12)


def test_tape_to_the_second_order():
    x = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    (first,) = torch.autograd.grad(torch.sin(x) * x, x, create_graph=True)
    (second,) = torch.autograd.grad(first, x)
    assert math.isclose(first.item(), math.cos(0.3) * 0.3 + math.sin(0.3), rel_tol=1e-14)
    assert math.isclose(second.item(), 2 * math.cos(0.3) - 0.3 * math.sin(0.3), rel_tol=1e-14)


def test_random_numbers_repeat():
    torch.manual_seed(3)
    first = torch.randn(5)
    torch.manual_seed(3)
    assert torch.equal(first, torch.randn(5))


def test_a_model_learns(tmp_path):
    torch.manual_seed(0)
    x = torch.rand(256, 2) * 2 - 1
    y = (x[:, 0] * x[:, 1] > 0).long()
    model = nn.Sequential(nn.Linear(2, 32), nn.ReLU(), nn.Linear(32, 2))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    for _ in range(200):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
    assert (model(x).argmax(1) == y).float().mean().item() > 0.95
    torch.save(model.state_dict(), tmp_path / "model.pt")
    again = nn.Sequential(nn.Linear(2, 32), nn.ReLU(), nn.Linear(32, 2))
    again.load_state_dict(torch.load(tmp_path / "model.pt"))
    assert torch.equal(again(x), model(x))


def test_bad_input_names_the_op_and_what_was_given():
    try:
        torch.ones(2, 3) @ torch.ones(2, 3)
    except RuntimeError as e:
        message = str(e)
    assert "matmul" in message or "mm" in message
    assert "3" in message
