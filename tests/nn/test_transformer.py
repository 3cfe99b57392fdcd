"""Transformer layers against NumPy, and against PyTorch where it is installed."""

import math

import numpy as np
import pytest

import taimatsu as torch
from taimatsu import nn
from tests.nn.test_attention import arrays, close, multihead


def norm(module, x):
    d = x - x.mean(-1, keepdims=True)
    y = d / np.sqrt((d * d).mean(-1, keepdims=True) + module.eps) * module.weight.detach().numpy()
    return y if module.bias is None else y + module.bias.detach().numpy()


def affine(module, x):
    y = x @ module.weight.detach().numpy().T
    return y if module.bias is None else y + module.bias.detach().numpy()


def feed(layer, x):
    return affine(layer.linear2, np.maximum(affine(layer.linear1, x), 0))


def residual(layer, norm_module, x, block):
    return x + block(norm(norm_module, x)) if layer.norm_first else norm(norm_module, x + block(x))


def encoder_layer(layer, x, mask=None):
    x = residual(layer, layer.norm1, x, lambda y: multihead(layer.self_attn, y, y, y, mask)[0])
    return residual(layer, layer.norm2, x, lambda y: feed(layer, y))


def decoder_layer(layer, x, memory, mask=None):
    x = residual(layer, layer.norm1, x, lambda y: multihead(layer.self_attn, y, y, y, mask)[0])
    x = residual(layer, layer.norm2, x,
                 lambda y: multihead(layer.multihead_attn, y, memory, memory)[0])  # fmt: skip
    return residual(layer, layer.norm3, x, lambda y: feed(layer, y))


def causal(n):
    return np.triu(np.full((n, n), -np.inf), 1)


@pytest.mark.parametrize("norm_first", [False, True])
@pytest.mark.parametrize("bias", [True, False])
def test_layers(norm_first, bias):
    torch.manual_seed(0)
    options = {"norm_first": norm_first, "bias": bias, "dropout": 0.0, "dtype": torch.float64}
    x, memory = arrays((4, 3, 8), (5, 3, 8))
    layer = nn.TransformerEncoderLayer(8, 2, 16, **options)
    close(layer(torch.tensor(x)), encoder_layer(layer, x), 1e-10)
    mask = torch.tensor(causal(4))
    for hint in (False, True):
        out = layer(torch.tensor(x), src_mask=mask, is_causal=hint)
        close(out, encoder_layer(layer, x, causal(4)), 1e-10)
    layer = nn.TransformerDecoderLayer(8, 2, 16, **options)
    out = layer(torch.tensor(x), torch.tensor(memory), tgt_mask=mask)
    close(out, decoder_layer(layer, x, memory, causal(4)), 1e-10)


def test_stacks():
    """Copies of one layer start with the same values; the whole is encoder and decoder."""
    torch.manual_seed(0)
    stack = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16), 2, nn.LayerNorm(8))
    first, second = stack.layers
    assert first is not second and torch.equal(first.linear1.weight, second.linear1.weight)
    model = nn.Transformer(8, 2, 2, 1, 16, dropout=0.0, dtype=torch.float64)
    x, y = arrays((5, 3, 8), (4, 3, 8))
    memory = x
    for layer in model.encoder.layers:
        memory = encoder_layer(layer, memory)
    memory = norm(model.encoder.norm, memory)
    expected = y
    for layer in model.decoder.layers:
        expected = decoder_layer(layer, expected, memory, causal(4))
    expected = norm(model.decoder.norm, expected)
    mask = model.generate_square_subsequent_mask(4, dtype=torch.float64)
    close(mask, causal(4))
    close(model(torch.tensor(x), torch.tensor(y), tgt_mask=mask), expected, 1e-10)


def test_batch_first_and_no_batch():
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
    x = torch.randn(3, 4, 8)
    out = layer(x)
    close(layer(x[1]), out[1].detach().numpy(), 1e-5)
    layer.self_attn.batch_first = False
    close(layer(x.transpose(0, 1)).transpose(0, 1), out.detach().numpy(), 1e-5)


def test_padding_is_not_seen():
    torch.manual_seed(0)
    encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 2)
    encoder.eval()
    x = torch.randn(2, 5, 8)
    padding = torch.tensor([[False] * 5, [False] * 3 + [True] * 2])
    out = encoder(x, src_key_padding_mask=padding)
    close(out[1, :3], encoder(x[1:, :3])[0].detach().numpy(), 1e-5)
    with torch.no_grad():  # as from PyTorch's nested tensors
        assert encoder(x, src_key_padding_mask=padding)[1, 3:].abs().max() == 0


def test_dropout_and_activation():
    layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.5)
    x = torch.randn(4, 3, 8)
    assert not torch.equal(layer(x), layer(x))
    layer.eval()
    assert torch.equal(layer(x), layer(x))
    module = nn.TransformerEncoderLayer(8, 2, 16, activation=nn.GELU())
    assert "(activation): GELU" in repr(module)


def test_state_and_repr():
    layer = nn.TransformerDecoderLayer(8, 2, 16)
    names = [name for name, _ in layer.named_children()]
    assert names == ["self_attn", "multihead_attn", "linear1", "dropout", "linear2", "norm1",
                     "norm2", "norm3", "dropout1", "dropout2", "dropout3"]  # fmt: skip
    assert "self_attn.in_proj_weight" in layer.state_dict()


def test_bad_input():
    with pytest.raises(RuntimeError, match="relu/gelu"):
        nn.TransformerEncoderLayer(8, 2, activation="tanh")
    model = nn.Transformer(8, 2, 1, 1, 16)
    with pytest.raises(RuntimeError, match="batch number"):
        model(torch.zeros(5, 3, 8), torch.zeros(5, 2, 8))
    with pytest.raises(RuntimeError, match="d_model"):
        model(torch.zeros(5, 3, 8), torch.zeros(5, 3, 7))


# ---- nn.LinearCrossEntropyLoss -------------------------------------------------------------------


@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
@pytest.mark.parametrize("size", [None, 1, 3, 100])
def test_linear_cross_entropy(reduction, size):
    """Whole and in pieces, against the logarithm of the softmax."""
    options = size and nn.LinearCrossEntropyOptions(batch_chunk_size=size)
    weight = torch.tensor([0.5, 1.0, 2.0, 1.5], dtype=torch.float64)
    loss = nn.LinearCrossEntropyLoss(3, 4, bias=True, weight=weight, reduction=reduction,
                                     ignore_index=1, options=options, dtype=torch.float64)
    (x,) = arrays((7, 3))
    classes = np.array([0, 1, 2, 3, 0, 1, 2])
    scores = affine(loss.linear, x)
    logp = scores - np.log(np.exp(scores).sum(1, keepdims=True))
    scale = weight.numpy()[classes] * (classes != 1)
    terms = -logp[np.arange(7), classes] * scale
    expected = {"none": terms, "sum": terms.sum(), "mean": terms.sum() / scale.sum()}[reduction]
    given = torch.tensor(x, requires_grad=True)
    out = loss(given, torch.tensor(classes))
    close(out, expected)
    out.sum().backward()
    by_scores = (np.exp(logp) - np.eye(4)[classes]) * scale[:, None]
    if reduction == "mean":
        by_scores = by_scores / scale.sum()
    close(given.grad, by_scores @ loss.linear.weight.detach().numpy())
    close(loss.linear.weight.grad, by_scores.T @ x)


def test_linear_cross_entropy_of_more_dims():
    loss = nn.LinearCrossEntropyLoss(3, 4, out_features=(2,), bias=True, label_smoothing=0.1)
    x, classes = torch.randn(5, 3), torch.randint(0, 4, (5, 2))
    scores = loss.linear(x).reshape(5, 4, 2)
    expected = nn.functional.cross_entropy(scores, classes, label_smoothing=0.1)
    close(loss(x, classes), expected.item(), 1e-6)
    assert loss.state_dict().keys() == {"linear.weight", "linear.bias"}


@pytest.mark.parametrize(
    "options",
    [{"batch_chunk_size": 0}, {"chunking_method": "x"}, {"acc_policy": "x"}, {"acc_dtype": 3}],
)
def test_linear_cross_entropy_options(options):
    with pytest.raises(ValueError):
        nn.LinearCrossEntropyOptions(**options)
    assert nn.LinearCrossEntropyOptions() == nn.LinearCrossEntropyOptions()


def test_linear_cross_entropy_bad_input():
    f = nn.functional.linear_cross_entropy
    x, w, t = torch.zeros(5, 3), torch.zeros(4, 3), torch.zeros(5).long()
    for bad in (
        lambda: f(x.unsqueeze(0), w, t),
        lambda: f(x, w[:, :2], t),
        lambda: f(x, w, t, linear_bias=torch.zeros(5)),
        lambda: f(x, w, torch.zeros(5, 4), ignore_index=2),
        lambda: f(x[0], w.unsqueeze(1), t[:1]),
    ):
        with pytest.raises(RuntimeError):
            bad()


# ---- PyTorch -------------------------------------------------------------------------------------


@pytest.mark.parity
@pytest.mark.parametrize("options", [{}, {"norm_first": True, "activation": "gelu"},
                                     {"batch_first": True, "bias": False}])  # fmt: skip
def test_parity(options):
    """Names, initial values, repr, outputs with dropout, and gradients of one seed."""
    peer = pytest.importorskip("torch")
    found, texts = [], []
    for lib in (torch, peer):
        lib.manual_seed(5)
        model = lib.nn.Transformer(8, 2, 2, 2, 16, **options)
        x, y = (lib.tensor(a).float() for a in arrays((4, 4, 8), (4, 4, 8)))
        padding = lib.tensor(np.arange(16).reshape(4, 4) % 4 > 2)
        out = model(x, y, tgt_mask=model.generate_square_subsequent_mask(4),
                    src_key_padding_mask=padding.float() * -1e9)  # fmt: skip
        out.pow(2).sum().backward()
        texts.append((repr(model), list(model.state_dict())))
        found.append([out, *model.parameters(), *(p.grad for p in model.parameters())])
    assert texts[0] == texts[1]
    for ours, theirs in zip(*found, strict=True):
        scale = max(1.0, theirs.abs().max().item())
        assert math.isfinite(scale)
        close(ours / scale, theirs.detach().numpy() / scale, 1e-4)
