"""Scaled dot-product attention and nn.MultiheadAttention against NumPy."""

import math

import numpy as np
import pytest

import taimatsu as torch
from taimatsu import nn
from taimatsu.autograd import gradcheck, gradgradcheck
from tests.ops.families.attention import attention

F = nn.functional
sdpa = F.scaled_dot_product_attention


def arrays(*shapes, seed=0):
    random = np.random.default_rng(seed)
    return [random.standard_normal(shape) for shape in shapes]


def tensors(*shapes, dtype=torch.float64, grad=True, seed=0):
    return [torch.tensor(a).to(dtype).requires_grad_(grad) for a in arrays(*shapes, seed=seed)]


def close(actual, expected, tolerance=1e-12):
    np.testing.assert_allclose(actual.detach().numpy(), expected, rtol=tolerance, atol=tolerance)


# ---- the function --------------------------------------------------------------------------------

# Around the borders of blocks: 96 queries, 512 keys.
LENGTHS = [(1, 1), (1, 700), (7, 5), (96, 512), (97, 513), (200, 1100)]


@pytest.mark.parametrize("length, keys", LENGTHS)
@pytest.mark.parametrize("masked", ["nothing", "causal", "bool", "added", "bool and causal"])
def test_values(length, keys, masked):
    q, k, v = arrays((2, 3, length, 5), (2, 3, keys, 5), (2, 3, keys, 4))
    (scores,) = arrays((2, 1, length, keys), seed=1)
    mask = {"bool": scores > 0, "added": scores, "bool and causal": scores > 0}.get(masked)
    causal = "causal" in masked
    given = None if mask is None else torch.tensor(mask)
    for dtype, tolerance in ((torch.float64, 1e-12), (torch.float32, 1e-5)):
        wide = given if given is None or given.dtype == torch.bool else given.to(dtype)
        out = sdpa(*(torch.tensor(a).to(dtype) for a in (q, k, v)), wide, is_causal=causal)
        assert out.dtype == dtype
        close(out, attention(q, k, v, mask, is_causal=causal), tolerance)


@pytest.mark.parametrize("dtype, tolerance", [(torch.float16, 2e-3), (torch.bfloat16, 2e-2)])
def test_half_precision(dtype, tolerance):
    q, k, v = (t.to(dtype) for t in tensors((2, 40, 8), (2, 600, 8), (2, 600, 8), grad=False))
    out = sdpa(q, k, v)
    assert out.dtype == dtype
    close(out.double(), attention(*(t.double().numpy() for t in (q, k, v))), tolerance)


@pytest.mark.parametrize("length, keys", [(5, 7), (100, 530)])
@pytest.mark.parametrize("causal", [False, True])
def test_gradients_of_blocks(length, keys, causal):
    """The routine's gradients against those of the whole matrix, by ops."""
    q, k, v = tensors((2, length, 4), (2, keys, 4), (2, keys, 3))
    mask = torch.tensor(arrays((length, keys), seed=1)[0] > -1)
    (g,) = tensors((2, length, 3), grad=False, seed=2)
    scores = (q @ k.mT / 2).masked_fill(~mask, -math.inf)
    if causal:
        scores = scores.masked_fill(~torch.ones(length, keys, dtype=torch.bool).tril(), -math.inf)
    expected = torch.autograd.grad(scores.softmax(-1).nan_to_num() @ v, (q, k, v), g)
    actual = torch.autograd.grad(sdpa(q, k, v, mask, is_causal=causal), (q, k, v), g)
    for a, e in zip(actual, expected, strict=True):
        close(a, e.nan_to_num().numpy(), 1e-11)


@pytest.mark.parametrize("options", [{}, {"is_causal": True}, {"scale": 0.7}])
def test_derivatives(options):
    inputs = tensors((2, 4, 3), (2, 5, 3), (2, 5, 2))
    assert gradcheck(lambda *t: sdpa(*t, **options), inputs)
    assert gradgradcheck(lambda *t: sdpa(*t, **options), inputs, fast_mode=True)


def test_derivative_by_an_added_mask():
    inputs = tensors((2, 4, 3), (2, 5, 3), (2, 5, 2), (4, 5))
    assert gradcheck(sdpa, inputs)
    assert gradgradcheck(sdpa, inputs, fast_mode=True)


def test_fewer_heads_of_keys():
    q, k, v = tensors((2, 6, 4, 3), (2, 2, 5, 3), (2, 2, 5, 3))
    mask = torch.tensor(arrays((2, 6, 4, 5), seed=1)[0])
    out = sdpa(q, k, v, mask, enable_gqa=True)
    close(out, attention(*(t.detach().numpy() for t in (q, k, v, mask)), enable_gqa=True))
    assert gradcheck(lambda *t: sdpa(*t, mask, enable_gqa=True), (q, k, v))
    more = v.repeat_interleave(3, 1)  # as many of values as of queries
    close(sdpa(q, k, more, mask, enable_gqa=True), out.detach().numpy())
    with pytest.raises(RuntimeError, match="must divide"):
        sdpa(q, *tensors((2, 4, 5, 3), (2, 4, 5, 3)), enable_gqa=True)


def test_a_query_that_sees_no_key_gives_zeros():
    q, k, v = tensors((3, 4), (3, 4), (3, 4))
    mask = torch.tensor([[True] * 3, [False] * 3, [True, False, True]])
    added = torch.zeros(3, 3, dtype=torch.float64).masked_fill(~mask, -math.inf)
    for m in (mask, added):
        out = sdpa(q, k, v, m)
        assert out[1].tolist() == [0.0] * 4
        grads = torch.autograd.grad(out.sum(), (q, k, v), create_graph=True)
        for once, again in zip(torch.autograd.grad(sdpa(q, k, v, m).sum(), (q, k, v)), grads,
                               strict=True):  # fmt: skip
            assert once.isfinite().all()
            close(once, again.detach().numpy())
        assert grads[0][1].tolist() == [0.0] * 4
    assert sdpa(q, k[:0], v[:0]).tolist() == [[0.0] * 4] * 3


def test_nan_stays_where_it_is():
    q, k, v = tensors((2, 3, 4), (2, 5, 4), (2, 5, 4), grad=False)
    q[0, 1, 2] = math.nan
    out = sdpa(q, k, v)
    assert out[0, 1].isnan().all() and out.isnan().sum() == 4


def test_dropout():
    q, k, v = tensors((2, 50, 4), (2, 600, 4), (2, 600, 3), dtype=torch.float64)
    torch.manual_seed(3)
    keep = torch.empty(2, 50, 600, dtype=torch.bool).bernoulli_(0.75)
    expected = ((q @ k.mT / 2).softmax(-1) * keep / 0.75) @ v
    (g,) = tensors((2, 50, 3), grad=False, seed=1)
    for create_graph in (False, True):
        torch.manual_seed(3)
        out = sdpa(q, k, v, dropout_p=0.25)
        close(out, expected.detach().numpy())
        grads = torch.autograd.grad(out, (q, k, v), g, create_graph=create_graph)
        for a, e in zip(grads, torch.autograd.grad(expected, (q, k, v), g, retain_graph=True),
                        strict=True):  # fmt: skip
            close(a, e.numpy(), 1e-11)
    assert sdpa(q, k, v, dropout_p=1.0).abs().max() == 0


@pytest.mark.parametrize("shape", [(1, 1, 300, 8), (5, 2, 130, 8), (1, 2, 700, 8)])
def test_same_bits_for_any_number_of_threads(shape):
    found = []
    before = torch.get_num_threads()
    try:
        for threads in (1, 2, 4):
            torch.set_num_threads(threads)
            q, k, v = tensors(shape, shape, shape, dtype=torch.float32)
            out = sdpa(q, k, v, is_causal=True)
            out.backward(torch.ones_like(out))
            found.append([t.detach().numpy().tobytes() for t in (out, q.grad, k.grad, v.grad)])
    finally:
        torch.set_num_threads(before)
    assert found[0] == found[1] == found[2]


def test_any_layout():
    """Heads split off one projection: no operand is contiguous, and the heads join without a copy.
    """
    (packed,) = tensors((2, 7, 3 * 8))
    q, k, v = (x.unflatten(-1, (2, 4)).transpose(1, 2) for x in packed.chunk(3, -1))
    out = sdpa(q, k, v)
    close(out, attention(*(t.detach().numpy() for t in (q, k, v))))
    assert out.transpose(1, 2).is_contiguous()
    out.sum().backward()
    again = [t.detach().contiguous().requires_grad_() for t in (q, k, v)]
    sdpa(*again).sum().backward()
    joined = torch.cat([t.grad.transpose(1, 2).flatten(2) for t in again], -1)
    close(packed.grad, joined.numpy())
    expanded = torch.tensor(arrays((1, 1, 4))[0]).expand(2, 5, 4)
    close(sdpa(expanded, expanded, expanded), attention(*[expanded.numpy()] * 3))


@pytest.mark.parametrize(
    "shapes, options, error",
    [
        ([(4,), (4,), (4,)], {}, RuntimeError),
        ([(3, 4), (5, 3), (5, 4)], {}, RuntimeError),
        ([(3, 4), (5, 4), (6, 4)], {}, RuntimeError),
        ([(2, 3, 4), (3, 5, 4), (3, 5, 4)], {}, RuntimeError),
        ([(3, 4), (5, 4), (5, 4)], {"dropout_p": 1.5}, RuntimeError),
        ([(3, 4), (5, 4), (5, 4)], {"attn_mask": torch.zeros(3, 5).long()}, RuntimeError),
        ([(3, 4), (5, 4), (5, 4)], {"attn_mask": torch.zeros(3, 4) > 0}, RuntimeError),
    ],
)
def test_bad_input(shapes, options, error):
    with pytest.raises(error):
        sdpa(*tensors(*shapes), **options)


def test_dtypes_must_agree():
    x = torch.zeros(3, 4)
    with pytest.raises(RuntimeError, match="same dtype"):
        sdpa(x, x.double(), x)
    with pytest.raises(RuntimeError, match="floating"):
        sdpa(x.long(), x.long(), x.long())
    with pytest.raises(NotImplementedError):
        sdpa(x.cfloat(), x.cfloat(), x.cfloat())


def test_meta():
    x = torch.empty(2, 3, 4, device="meta")
    assert sdpa(x, x, x).shape == (2, 3, 4)


def test_backends_are_names():
    from taimatsu.nn.attention import SDPBackend, sdpa_kernel

    x = torch.ones(2, 3)
    with sdpa_kernel([SDPBackend.MATH, SDPBackend.FLASH_ATTENTION]):
        assert sdpa(x, x, x).tolist() == [[1.0] * 3] * 2
    with pytest.raises(AssertionError), sdpa_kernel("math"):
        pass
    assert repr(SDPBackend.MATH) == "<SDPBackend.MATH: 0>"


# ---- nn.MultiheadAttention -----------------------------------------------------------------------


def multihead(module, query, key, value, mask=None):
    """(L, N, E), (S, N, *) by its definition; gives the output and weights (N, heads, L, S)."""
    p = {name: t.detach().numpy() for name, t in module.named_parameters()}
    if "in_proj_weight" in p:
        weights = np.split(p["in_proj_weight"], 3)
    else:
        weights = [p[f"{c}_proj_weight"] for c in "qkv"]
    biases = np.split(p["in_proj_bias"], 3) if "in_proj_bias" in p else [0, 0, 0]
    q, k, v = (x @ w.T + b for x, w, b in zip((query, key, value), weights, biases, strict=True))
    batch = q.shape[1]
    if "bias_k" in p:
        k = np.concatenate([k, np.repeat(p["bias_k"], batch, 1)])
        v = np.concatenate([v, np.repeat(p["bias_v"], batch, 1)])
    if module.add_zero_attn:
        k, v = (np.concatenate([x, np.zeros_like(x[:1])]) for x in (k, v))

    def heads(x):
        return x.reshape(*x.shape[:2], module.num_heads, -1).transpose(1, 2, 0, 3)

    q, k, v = heads(q), heads(k), heads(v)
    scores = q @ np.swapaxes(k, -1, -2) / math.sqrt(q.shape[-1])
    if mask is not None:
        extra = scores.shape[-1] - mask.shape[-1]
        scores = scores + np.pad(mask, [(0, 0)] * (mask.ndim - 1) + [(0, extra)])
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    weights /= weights.sum(-1, keepdims=True)
    out = (weights @ v).transpose(2, 0, 1, 3).reshape(query.shape)
    return out @ p["out_proj.weight"].T + p.get("out_proj.bias", 0), weights


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"bias": False},
        {"kdim": 3, "vdim": 5},
        {"kdim": 3, "add_bias_kv": True, "add_zero_attn": True},
    ],
)
@pytest.mark.parametrize("need_weights", [True, False])
def test_multihead_values(options, need_weights):
    torch.manual_seed(0)
    m = nn.MultiheadAttention(8, 2, dtype=torch.float64, **options)
    q, k, v = arrays((4, 3, 8), (5, 3, m.kdim), (5, 3, m.vdim))
    padding = np.zeros((3, 5), bool)
    padding[1, 3:] = True
    scores = arrays((4, 5), seed=1)[0]
    mask = scores + np.where(padding, -np.inf, 0.0)[:, None, None]
    expected, weights = multihead(m, q, k, v, mask)
    out, found = m(
        *map(torch.tensor, (q, k, v)),
        key_padding_mask=torch.where(torch.tensor(padding), -math.inf, 0.0).double(),
        attn_mask=torch.tensor(scores),
        need_weights=need_weights,
    )
    close(out, expected)
    if need_weights:
        close(found, weights.mean(1))
    else:
        assert found is None


def test_multihead_shapes():
    m = nn.MultiheadAttention(8, 2, batch_first=True)
    x, y = torch.randn(3, 4, 8), torch.randn(3, 5, 8)
    out, weights = m(x, y, y, average_attn_weights=False)
    assert out.shape == (3, 4, 8) and weights.shape == (3, 2, 4, 5)
    one, w = m(x[0], y[0], y[0], average_attn_weights=False)
    close(one, out[0].detach().numpy(), 1e-5)
    close(w, weights[0].detach().numpy(), 1e-5)
    same, _ = m(x, x, x)
    again, _ = m(x, x.clone(), x.clone())
    close(same, again.detach().numpy(), 1e-5)


def test_multihead_causal_hint_and_bool_masks():
    m = nn.MultiheadAttention(8, 2)
    x = torch.randn(5, 3, 8)
    mask = nn.Transformer.generate_square_subsequent_mask(5)
    expected, _ = m(x, x, x, attn_mask=mask)
    for given in (mask, mask == -math.inf):
        for options in ({"is_causal": True}, {}, {"is_causal": True, "need_weights": False}):
            close(m(x, x, x, attn_mask=given, **options)[0], expected.detach().numpy(), 1e-5)
    with pytest.raises(RuntimeError, match="attn_mask"):
        m(x, x, x, is_causal=True)


def test_multihead_state_and_repr():
    m = nn.MultiheadAttention(8, 2, kdim=4, add_bias_kv=True)
    assert list(m.state_dict()) == [
        "q_proj_weight", "k_proj_weight", "v_proj_weight", "in_proj_bias", "bias_k", "bias_v",
        "out_proj.weight", "out_proj.bias",
    ]  # fmt: skip
    assert list(nn.MultiheadAttention(8, 2, bias=False).state_dict()) == [
        "in_proj_weight", "out_proj.weight",
    ]  # fmt: skip
    assert repr(m) == (
        "MultiheadAttention(\n  (out_proj): NonDynamicallyQuantizableLinear(in_features=8, "
        "out_features=8, bias=True)\n)"
    )
    assert m.in_proj_bias.abs().max() == 0 and m.out_proj.bias.abs().max() == 0


@pytest.mark.parametrize(
    "call, error",
    [
        (lambda: nn.MultiheadAttention(0, 2), ValueError),
        (lambda: nn.MultiheadAttention(8, 3), AssertionError),
        (lambda: _call((5, 3, 6), (5, 3, 6)), AssertionError),
        (lambda: _call((5, 3, 8), (5, 8)), AssertionError),
        (lambda: _call((1, 5, 3, 8), (5, 3, 8)), AssertionError),
        (lambda: _call((5, 3, 8), (4, 3, 8), attn_mask=torch.zeros(3, 3)), RuntimeError),
        (lambda: _call((5, 3, 8), (4, 3, 8), attn_mask=torch.zeros(5, 4).long()), AssertionError),
        (lambda: _call((5, 3, 8), (4, 3, 8), key_padding_mask=torch.zeros(2, 4)), AssertionError),
    ],
)
def test_multihead_bad_input(call, error):
    with pytest.raises(error):
        call()


def _call(query, key, **options):
    return nn.MultiheadAttention(8, 2)(torch.zeros(query), *[torch.zeros(key)] * 2, **options)


@pytest.mark.parity
def test_multihead_parity():
    """Initial values, outputs, weights and gradients of one seed."""
    peer = pytest.importorskip("torch")
    for options in ({}, {"kdim": 3, "add_bias_kv": True}, {"dropout": 0.3}):
        for need_weights in (True, False):
            found = []
            for lib in (torch, peer):
                lib.manual_seed(5)
                m = lib.nn.MultiheadAttention(8, 2, **options)
                q, k, v = (lib.tensor(a).float() for a in arrays((4, 3, 8), (5, 3, m.kdim),
                                                                 (5, 3, 8)))  # fmt: skip
                out, weights = m(q, k, v, need_weights=need_weights)
                out.pow(2).sum().backward()
                found.append([out, weights, *m.parameters(), *(p.grad for p in m.parameters())])
            for ours, theirs in zip(*found, strict=True):
                if theirs is not None:
                    close(ours, theirs.detach().numpy(), 1e-4)
