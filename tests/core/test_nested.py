"""Nested tensors: each function does to all parts at once what it does to each."""

import pytest

import taimatsu as torch
from taimatsu import nn

F = nn.functional
PARTS = [torch.randn(2, 6), torch.randn(5, 6), torch.randn(0, 6)]


def nested(parts=PARTS):
    return torch.nested.nested_tensor(parts, layout=torch.jagged)


LINEAR, NORM = nn.Linear(6, 4), nn.LayerNorm(6)
FUNCTIONS = {
    "sin": torch.sin, "times": lambda x: x * 2 - 1, "sum of two": lambda x: x + x,
    "linear": LINEAR, "norm": NORM, "gelu": F.gelu, "product": lambda x: x @ torch.ones(6, 2),
    "softmax": lambda x: x.softmax(-1), "mean": lambda x: x.mean(-1),
    "where": lambda x: torch.where(x > 0, x, 0.0), "cat": lambda x: torch.cat([x, x], -1),
    "sum": lambda x: x.sum(-1, keepdim=True), "double": lambda x: x.double(),
}  # fmt: skip


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_of_all_parts(name):
    made = FUNCTIONS[name](nested())
    assert made.is_nested and made.layout is torch.jagged and len(made) == 3
    for found, part in zip(made.unbind(), PARTS, strict=True):
        assert torch.allclose(found, FUNCTIONS[name](part))


def test_sizes_tell_offsets_apart():
    x, y = nested(), nested()
    assert x.size(0) == 3 and x.size(2) == 6 and x.dim() == 3
    assert x.size(1) == (x * 2).size(1) and x.size(1) != y.size(1) and x.size(1) != 5
    with pytest.raises(RuntimeError, match="different offsets"):
        x + y


def test_sums_over_rows_are_by_part():
    x = nested()
    expected = torch.stack([p.sum(0) for p in PARTS])
    assert torch.allclose(x.sum(1), expected)
    assert torch.allclose(x.sum((0, 1)), expected.sum(0))
    assert torch.allclose(x.sum(), expected.sum())
    weights = torch.softmax(x, 1).unbind()[1]
    assert torch.allclose(weights.sum(0), torch.ones(6))


def test_gradients_go_back_to_the_parts():
    parts = [p.clone().requires_grad_() for p in PARTS]
    x = torch.nested.as_nested_tensor(parts, layout=torch.jagged)
    (LINEAR(x) ** 2).sum().backward()
    for part in parts:
        (expected,) = torch.autograd.grad((LINEAR(part) ** 2).sum(), part)
        torch.testing.assert_close(part.grad, expected)


def test_attention_is_part_by_part():
    x = nested(PARTS[:2])
    heads = x.view(2, -1, 2, 3).transpose(1, 2)
    made = F.scaled_dot_product_attention(heads, heads, heads).transpose(1, 2).reshape(2, -1, 6)
    for found, part in zip(made.unbind(), PARTS, strict=False):
        h = part.view(1, -1, 2, 3).transpose(1, 2)
        expected = F.scaled_dot_product_attention(h, h, h).transpose(1, 2).reshape(-1, 6)
        assert torch.allclose(found, expected, atol=1e-6)


def test_padding_and_views_of_one_tensor():
    padded = nested().to_padded_tensor(-1.0)
    assert padded.shape == (3, 5, 6)
    assert torch.equal(padded[0, :2], PARTS[0]) and (padded[0, 2:] == -1).all()
    with pytest.raises(RuntimeError, match="smaller"):
        nested().to_padded_tensor(0.0, (3, 4, 6))
    values = torch.arange(6.0)
    x = torch.nested.nested_tensor_from_jagged(values, torch.tensor([0, 2, 6]))
    x.unbind()[1].zero_()
    assert values.tolist() == [0, 1, 0, 0, 0, 0]
    rows = torch.arange(6.0).reshape(2, 3)
    chosen = torch.nested.masked_select(rows, rows % 2 == 0)
    assert [p.tolist() for p in chosen.unbind()] == [[0, 2], [4]]
    pieces = torch.nested.narrow(rows, 1, torch.tensor([0, 1]), torch.tensor([3, 1]))
    assert [p.tolist() for p in pieces.unbind()] == [[0, 1, 2], [4]]


def test_what_is_refused():
    with pytest.raises(NotImplementedError, match="to_padded_tensor"):
        torch.sort(nested())
    with pytest.raises(RuntimeError, match="first dim only"):
        nested([torch.ones(2, 3), torch.ones(2, 4)])
    with pytest.raises(RuntimeError, match="offsets or lengths"):
        torch.nested.nested_tensor_from_jagged(torch.ones(3))
