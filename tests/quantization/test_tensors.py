"""Quantized tensors: what they hold, what moves them, what is rounded again, how they are saved."""

import copy
import io

import numpy as np
import pytest

import taimatsu as torch

X = torch.tensor([[-1.0, 0.55], [2.0, 3.3]])


def quantized(scale=0.1, zero_point=10, dtype=torch.quint8):
    return torch.quantize_per_tensor(X, scale, zero_point, dtype)


def by_channel(axis=0):
    return torch.quantize_per_channel(
        X, torch.tensor([0.1, 0.25]), torch.tensor([1, 2]), axis, torch.qint8
    )


def grid(q):
    return q.q_scale(), q.q_zero_point(), q.dtype


def test_integers_are_those_of_the_formula():
    q = quantized()
    expected = np.clip(np.rint(X.numpy() / np.float32(0.1)) + 10, 0, 255)
    assert q.int_repr().dtype is torch.uint8
    assert np.array_equal(q.int_repr().numpy(), expected)
    assert np.allclose(q.dequantize().numpy(), (expected - 10) * 0.1)
    assert (q.is_quantized, q.qscheme()) == (True, torch.per_tensor_affine)
    assert grid(q) == (0.1, 10, torch.quint8)
    assert quantized(0.01, 0).int_repr().tolist() == [[0, 55], [200, 255]]
    assert torch.quantize_per_tensor(X, 1.0, 0, torch.qint32).int_repr().dtype is torch.int32


def test_channels_have_grids_of_their_own():
    q = by_channel()
    scales = np.array([[0.1], [0.25]], np.float32)
    expected = np.clip(np.rint(X.numpy() / scales) + np.array([[1], [2]]), -128, 127)
    assert np.array_equal(q.int_repr().numpy(), expected)
    assert q.q_per_channel_axis() == 0 and q.q_per_channel_zero_points().tolist() == [1, 2]
    assert q.t().q_per_channel_axis() == 1
    assert torch.equal(q.t().dequantize(), q.dequantize().t())
    assert grid(q[1]) == (0.25, 2, torch.qint8)
    with pytest.raises(RuntimeError, match="length of scales"):
        q.view(-1)
    with pytest.raises(RuntimeError, match="per_tensor_affine"):
        q.q_scale()


MOVED = {
    "select": lambda x: x[0], "slice": lambda x: x[:, 1:], "t": lambda x: x.t(),
    "view": lambda x: x.view(-1), "clone": lambda x: x.clone(), "flip": lambda x: x.flip(0),
    "unsqueeze": lambda x: x.unsqueeze(0), "expand": lambda x: x.expand(2, 2, 2),
    "max": lambda x: x.max(), "sort": lambda x: x.sort().values, "chunk": lambda x: x.chunk(2)[1],
    "max_pool": lambda x: torch.nn.functional.max_pool2d(x[None], 2),
    "permute": lambda x: x.permute(1, 0), "repeat": lambda x: x.repeat(2, 1),
}  # fmt: skip
ROUNDED = {
    "relu": lambda x: x.relu(), "mean": lambda x: x.mean(0), "cat": lambda x: torch.cat([x, x]),
    "clamp": lambda x: x.clamp(0, 1), "pool": lambda x: torch.nn.functional.avg_pool2d(x[None], 2),
    "hardtanh": lambda x: torch.nn.functional.hardtanh(x),
    "stack": lambda x: torch.stack([x, x]),
}  # fmt: skip


@pytest.mark.parametrize("name", MOVED)
def test_what_only_moves_elements_moves_integers(name):
    q = quantized()
    made = MOVED[name](q)
    assert grid(made) == grid(q)
    assert torch.equal(made.dequantize(), MOVED[name](q.dequantize()))
    assert torch.equal(made.int_repr(), MOVED[name](q.int_repr()))


@pytest.mark.parametrize("name", ROUNDED)
def test_other_results_are_rounded_to_the_same_grid(name):
    q = quantized()
    made = ROUNDED[name](q)
    again = torch.quantize_per_tensor(ROUNDED[name](q.dequantize()), 0.1, 10, torch.quint8)
    assert grid(made) == grid(q)
    assert torch.equal(made.int_repr(), again.int_repr())


def test_results_of_known_range_have_its_grid():
    assert grid(torch.sigmoid(quantized())) == (1 / 256, 0, torch.quint8)
    assert grid(torch.tanh(quantized())) == (2 / 256, 128, torch.quint8)


def test_views_share_memory_and_writes_are_rounded():
    q = quantized()
    q[0].fill_(1.04)
    assert q.int_repr().tolist() == [[20, 20], [30, 43]]
    q.copy_(torch.tensor([[0.0, 0.26], [9.0, 100.0]]))
    assert q.int_repr().tolist() == [[10, 13], [100, 255]]
    q[1, 1] = 0.5
    assert q[1, 1].item() == pytest.approx(0.5)


def test_comparisons_are_of_the_numbers():
    q = quantized()
    assert (q == X).tolist() == [[True, False], [True, True]]  # 0.55 is no multiple
    assert torch.equal(q, q) and bool((q > 0).any())


@pytest.mark.parametrize("f", [
    lambda q: q + q, lambda q: q.exp(), lambda q: q.sum(), lambda q: torch.zeros_like(q),
    lambda q: q.float(), lambda q: torch.nn.functional.linear(q, q),
])  # fmt: skip
def test_the_others_name_the_way_out(f):
    with pytest.raises(NotImplementedError, match="dequantize"):
        f(quantized())


def test_bad_arguments():
    with pytest.raises(RuntimeError, match="Float Tensor"):
        torch.quantize_per_tensor(X.double(), 1.0, 0, torch.quint8)
    with pytest.raises(RuntimeError, match="not supported"):
        torch.quantize_per_tensor(X, 1.0, 0, torch.int8)
    with pytest.raises(RuntimeError, match="upper bound"):
        torch.quantize_per_tensor(X, 1.0, 256, torch.quint8)
    with pytest.raises(RuntimeError, match="channel"):
        torch.quantize_per_channel(X, torch.ones(3), torch.zeros(3), 0, torch.qint8)
    with pytest.raises(NotImplementedError):
        torch.q_scale(X)
    with pytest.raises(RuntimeError, match="quant_min"):
        torch.fake_quantize_per_tensor_affine(X, 0.1, 0, 5, 1)


def test_the_range_of_a_tensor_is_covered():
    q = torch.quantize_per_tensor_dynamic(torch.tensor([-1.0, 0.0, 2.0]), torch.quint8, False)
    assert grid(q) == (pytest.approx(3 / 255), 85, torch.quint8)
    q = torch.quantize_per_tensor_dynamic(torch.tensor([-1.0, 0.0, 2.0]), torch.quint8, True)
    assert grid(q) == (pytest.approx(3 / 127), 42, torch.quint8)


def test_copies_and_files_keep_the_grid():
    for q in (quantized(), by_channel(), by_channel(1)[:1]):
        file = io.BytesIO()
        torch.save(q, file)
        file.seek(0)
        for again in (copy.deepcopy(q), torch.load(file)):
            assert torch.equal(again.int_repr(), q.int_repr())
            assert torch.equal(again.dequantize(), q.dequantize())
            assert (again.dtype, again.qscheme()) == (q.dtype, q.qscheme())


def test_fake_quantization_lets_gradients_through_where_it_does_not_clamp():
    x = torch.tensor([-1.0, 0.3, 2.0, 7.0], requires_grad=True)
    y = torch.fake_quantize_per_tensor_affine(x, torch.tensor(0.1), torch.tensor(0), 0, 31)
    y.sum().backward()
    assert y.tolist() == pytest.approx([0.0, 0.3, 2.0, 3.1])
    assert x.grad.tolist() == [0.0, 1.0, 1.0, 0.0]
