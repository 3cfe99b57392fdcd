"""Convolutions against their definition, in NumPy."""

import itertools

import numpy as np
import pytest
from arrays import array, random_tensor, same, tensor

import taimatsu as torch


def patches(x, kernel, stride, padding, dilation):
    """(batch, channels, *out, *kernel): what each output sees."""
    x = np.pad(x, [(0, 0), (0, 0), *((p, p) for p in padding)])
    spans = [d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True)]
    n = len(kernel)
    windows = np.lib.stride_tricks.sliding_window_view(x, spans, tuple(range(2, 2 + n)))
    steps = tuple(slice(None, None, s) for s in stride)
    return windows[(slice(None), slice(None), *steps, *(slice(None, None, d) for d in dilation))]


def conv(x, w, bias, stride, padding, dilation, groups):
    n = x.ndim - 2
    seen = patches(x, w.shape[2:], stride, padding, dilation)
    out = []
    for xs, ws in zip(np.split(seen, groups, 1), np.split(w, groups, 0), strict=True):
        y = np.tensordot(xs, ws, ([1, *range(2 + n, 2 + 2 * n)], [1, *range(2, 2 + n)]))
        out.append(np.moveaxis(y, -1, 1))
    out = np.concatenate(out, 1)
    return out if bias is None else out + bias.reshape(1, -1, *[1] * n)


CASES = [
    (dims, *rest)
    for dims in (1, 2, 3)
    for rest in itertools.product((1, 2), (1, 2), (0, 1, 2), (1, 2))
    if dims < 3 or rest[2] == 1
]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.complex64, torch.int64])
@pytest.mark.parametrize(("dims", "groups", "stride", "padding", "dilation"), CASES)
def test_forward(dims, groups, stride, padding, dilation, dtype):
    rng = np.random.default_rng(0)
    x = random_tensor(rng, (2, 4, *(9, 8, 7)[:dims]), dtype)
    w = random_tensor(rng, (6, 4 // groups, *(3, 2, 3)[:dims]), dtype)
    bias = random_tensor(rng, (6,), dtype)
    settings = [stride] * dims, [padding] * dims, [dilation] * dims
    got = getattr(torch, f"conv{dims}d")(x, w, bias, *settings, groups)
    same(got, conv(array(x), array(w), array(bias), *settings, groups), dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("dims", "groups", "stride", "padding", "dilation"), CASES)
def test_gradients_are_the_transpose(dims, groups, stride, padding, dilation, dtype):
    """<conv(x, w), g> is linear in x and in w, so it equals <x, grad x> and <w, grad w>."""
    rng = np.random.default_rng(1)
    x = random_tensor(rng, (2, 4, *(9, 8, 7)[:dims]), dtype).requires_grad_()
    w = random_tensor(rng, (6, 4 // groups, *(3, 2, 3)[:dims]), dtype).requires_grad_()
    bias = random_tensor(rng, (6,), dtype).requires_grad_()
    settings = [stride] * dims, [padding] * dims, [dilation] * dims
    function = getattr(torch, f"conv{dims}d")
    y = function(x, w, bias, *settings, groups)
    g = random_tensor(rng, tuple(y.shape), dtype)
    y.backward(g)
    product = (array(function(x, w, None, *settings, groups)) * array(g)).sum()
    scale = 1e-4 if dtype == torch.float32 else 1e-10
    for v in (x, w):
        assert abs((array(v) * array(v.grad)).sum() - product) < scale * max(1, abs(product))
    same(bias.grad, array(g).sum(tuple(d for d in range(dims + 2) if d != 1)), dtype)
    # One element of each, by its definition: the output for a unit input.
    unit = torch.zeros_like(x.detach())
    unit[1, 3, *(s // 2 for s in x.shape[2:])] = 1
    expected = (conv(array(unit), array(w), None, *settings, groups) * array(g)).sum()
    got = x.grad[1, 3, *(s // 2 for s in x.shape[2:])].item()
    assert abs(got - expected) < 10 * scale


def derivatives(function, x, w, g):
    """Of <function(x, w), g>, which is linear in each: by a unit at every place."""
    x, w = x.detach().clone().requires_grad_(), w.detach().clone().requires_grad_()
    function(x, w).backward(g)
    return array(x.grad), array(w.grad)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    ("sizes", "kernel", "stride", "padding", "dilation", "outputs"),
    [
        ((9, 7), (3, 3), 1, 1, 1, 1),
        ((5, 40), (3, 5), 1, (1, 2), 1, 2),
        ((12, 19), (3, 3), 2, 1, 1, 1),
        ((8, 33), (2, 4), (1, 3), (0, 2), (2, 1), 2),
        ((20,), (31,), 1, 15, 1, 1),
        ((70,), (4,), 1, 3, 1, 1),
        ((3, 3), (7, 7), 2, 3, 1, 1),
    ],
)
def test_depthwise(dtype, sizes, kernel, stride, padding, dilation, outputs):
    """Groups of one channel have kernels of their own; as other groups they are the same."""
    rng = np.random.default_rng(7)
    channels, dims = 5, len(sizes)
    x = random_tensor(rng, (3, channels, *sizes), dtype)
    w = random_tensor(rng, (channels * outputs, 1, *kernel), dtype)
    bias = random_tensor(rng, (channels * outputs,), dtype)
    run = getattr(torch, f"conv{dims}d")
    spread = [[v] * dims if isinstance(v, int) else list(v) for v in (stride, padding, dilation)]
    y = run(x, w, bias, *spread, channels)
    same(y, conv(array(x), array(w), array(bias), *spread, channels), dtype)
    g = random_tensor(rng, tuple(y.shape), dtype)
    by_x, by_w = derivatives(lambda x, w: run(x, w, None, *spread, channels), x, w, g)
    for c in range(channels):  # a channel alone is no depthwise convolution
        some = slice(c * outputs, (c + 1) * outputs)
        one = derivatives(lambda x, w: run(x, w, None, *spread), x[:, c : c + 1], w[some],
                          g[:, some])
        np.testing.assert_allclose(by_x[:, c : c + 1], one[0], rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(by_w[some], one[1], rtol=1e-4, atol=1e-4)


def test_what_lies_beside_a_plane_is_not_read():
    """Not even multiplied by zero, as that would not be zero."""
    x = torch.full((2, 3, 5, 9), torch.inf)
    x[:, 1] = 1.0
    w = torch.ones(3, 1, 3, 3, requires_grad=True)
    y = torch.conv2d(x, w, None, 1, 1, 1, 3)
    assert y[1, 1].isfinite().all() and not y[1, 0].isfinite().any()
    y[1, 1].sum().backward()
    assert w.grad[1].tolist() == [[[32, 36, 32], [40, 45, 40], [32, 36, 32]]]


@pytest.mark.parametrize("groups", [1, 16])
@pytest.mark.parametrize(
    ("kernel", "stride", "padding"),
    [((3, 3), 1, 1), ((3, 3), 2, 1), ((2, 5), (1, 2), (0, 2)), ((1, 1), 1, 0), ((1, 1), 2, 0),
     ((4, 4), 3, 0)],
)
@pytest.mark.parametrize("last", [False, True])
def test_images_of_any_layout(kernel, stride, padding, groups, last):
    rng = np.random.default_rng(8)
    x = random_tensor(rng, (2, 16, 10, 11), torch.float64)
    w = random_tensor(rng, (32, 16 // groups, *kernel), torch.float64)
    y = torch.conv2d(x, w, None, stride, padding, 1, groups)
    g = random_tensor(rng, tuple(y.shape), torch.float64)
    layout = torch.channels_last if last else torch.contiguous_format

    def run(x, w):
        return torch.conv2d(x, w, None, stride, padding, 1, groups)

    narrow = [t.float().contiguous(memory_format=layout) for t in (x, w, g)]
    expected, got = derivatives(run, x, w, g), derivatives(run, *narrow)
    np.testing.assert_allclose(array(run(*narrow[:2])), array(y), rtol=1e-4, atol=1e-4)
    for e, a in zip(expected, got, strict=True):
        np.testing.assert_allclose(a, e, rtol=1e-4, atol=1e-4)


def test_the_gradient_of_a_depthwise_weight_is_the_same_for_any_number_of_threads():
    rng = np.random.default_rng(9)
    x, w = (random_tensor(rng, s, torch.float32) for s in ((4, 32, 24, 24), (32, 1, 3, 3)))
    g = random_tensor(rng, tuple(x.shape), torch.float32)
    before, found = torch.get_num_threads(), []
    try:
        for n in (1, 2, 4):
            torch.set_num_threads(n)
            found.append(derivatives(lambda x, w: torch.conv2d(x, w, None, 1, 1, 1, 32), x, w, g))
    finally:
        torch.set_num_threads(before)
    for by_x, by_w in found[1:]:
        assert (by_x == found[0][0]).all() and (by_w == found[0][1]).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_transposed(dtype):
    """The transpose as a linear map: <conv(x), y> = <x, conv_transpose(y)>."""
    rng = np.random.default_rng(2)
    for dims, groups, stride in itertools.product((1, 2, 3), (1, 2), (1, 2)):
        w = random_tensor(rng, (6, 4 // groups, *[3] * dims), dtype)
        x = random_tensor(rng, (2, 4, *[9] * dims), dtype)
        y = conv(array(x), array(w), None, [stride] * dims, [1] * dims, [1] * dims, groups)
        z = random_tensor(rng, y.shape, dtype)
        got = getattr(torch, f"conv_transpose{dims}d")(z, w, None, stride, 1, 0, groups)
        assert got.shape == x.shape
        left, right = (y * array(z)).sum(), (array(x) * array(got)).sum()
        assert abs(left - right) < (1e-3 if dtype == torch.float32 else 1e-9) * max(1, abs(left))


def test_output_padding_and_bias_of_a_transposed_one():
    x, w = torch.ones(1, 1, 2), torch.ones(1, 1, 3)
    y = torch.conv_transpose1d(x, w, torch.tensor([10.0]), stride=2, padding=1, output_padding=1)
    assert y.tolist() == [[[11, 12, 11, 11]]]


def test_output_padding_of_the_stride_or_more():
    """A longer output, of whose end the input has no part."""
    rng = np.random.default_rng(10)
    x = random_tensor(rng, (1, 2, 4), torch.float64).requires_grad_()
    w = random_tensor(rng, (2, 3, 3), torch.float64)
    short = torch.conv_transpose1d(x, w, None, 1, 2, 0, 1, 2)
    y = torch.conv_transpose1d(x, w, None, 1, 2, 1, 1, 2)
    same(y[..., :-1], array(short), torch.float64)
    g = random_tensor(rng, tuple(y.shape), torch.float64)
    (by_x,) = torch.autograd.grad(y, x, g)
    same(by_x, array(torch.conv1d(g, w, None, 1, 2, 2)[..., :4]), torch.float64)


def test_second_derivatives():
    rng = np.random.default_rng(3)
    x = random_tensor(rng, (1, 2, 6, 5), torch.float64).requires_grad_()
    w = random_tensor(rng, (3, 2, 3, 2), torch.float64).requires_grad_()

    def energy(x, w):
        return (torch.conv2d(x, w, stride=2, padding=1) ** 3).sum()

    first = torch.autograd.grad(energy(x, w), (x, w), create_graph=True)
    u = [random_tensor(rng, tuple(v.shape), torch.float64) for v in (x, w)]
    along = sum((a * b).sum() for a, b in zip(first, u, strict=True))
    second = torch.autograd.grad(along, (x, w))
    h = 1e-5
    moved = []
    for sign in (1, -1):
        p, q = (v.detach() + sign * h * d for v, d in zip((x, w), u, strict=True))
        p.requires_grad_(), q.requires_grad_()
        moved.append(torch.autograd.grad(energy(p, q), (p, q)))
    for got, plus, minus in zip(second, *moved, strict=True):
        np.testing.assert_allclose(array(got), (array(plus) - array(minus)) / (2 * h), atol=1e-4)


def test_channels_last_is_kept():
    rng = np.random.default_rng(4)
    x = tensor(rng.standard_normal((2, 8, 9, 4)), torch.float32).permute(0, 3, 1, 2)
    w = random_tensor(rng, (6, 4, 3, 3), torch.float32)
    y = torch.conv2d(x, w)
    assert y.is_contiguous(memory_format=torch.channels_last)
    same(y, conv(array(x), array(w), None, [1, 1], [0, 0], [1, 1], 1))


def test_same_and_valid():
    rng = np.random.default_rng(5)
    x = random_tensor(rng, (1, 2, 9), torch.float64)
    for k in (3, 4):
        w = random_tensor(rng, (1, 2, k), torch.float64)
        total = k - 1
        padded = np.pad(array(x), [(0, 0), (0, 0), (total // 2, total - total // 2)])
        same(torch.conv1d(x, w, padding="same"), conv(padded, array(w), None, [1], [0], [1], 1))
        same(torch.conv1d(x, w, padding="valid"), conv(array(x), array(w), None, [1], [0], [1], 1))


def test_unbatched_and_empty():
    w = torch.ones(2, 3, 3, 3)
    assert torch.conv2d(torch.ones(3, 5, 5), w).shape == (2, 3, 3)
    assert torch.conv2d(torch.ones(0, 3, 5, 5), w).shape == (0, 2, 3, 3)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_halves(dtype):
    rng = np.random.default_rng(6)
    x, w = random_tensor(rng, (2, 3, 8, 8), dtype), random_tensor(rng, (4, 3, 3, 3), dtype)
    same(torch.conv2d(x, w), conv(array(x), array(w), None, [1, 1], [0, 0], [1, 1], 1), dtype)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: torch.conv2d(x, torch.ones(6, 3, 3, 3)), "to have 3 channels, but got 4"),
        (lambda x: torch.conv2d(x, torch.ones(6, 4, 30, 3)), "Kernel size can't be greater"),
        (lambda x: torch.conv2d(x[0, 0], torch.ones(6, 4, 3, 3)), "Expected 3D"),
        (lambda x: torch.conv2d(x, torch.ones(6, 4, 3, 3), torch.ones(5)), "6 elements"),
        (lambda x: torch.conv2d(x, torch.ones(6, 4, 3, 3).double()), "must be the same"),
        (lambda x: torch.conv2d(x, torch.ones(5, 2, 3, 3), groups=2), "divisible by groups"),
        (lambda x: torch.conv2d(x, torch.ones(6, 4, 3, 3), stride=0), "stride must be positive"),
        (lambda x: torch.conv2d(x, torch.ones(6, 4, 3, 3), padding=-1), "must not be negative"),
        (lambda x: torch.conv2d(x, torch.ones(6, 4, 3, 3), None, 2, "same"), "strided"),
        (lambda x: torch.conv_transpose2d(x, torch.ones(4, 2, 3, 3), output_padding=1), "smaller"),
    ],
)
def test_errors(call, message):
    with pytest.raises(RuntimeError, match=message):
        call(torch.ones(2, 4, 9, 9))


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize(("channels", "sizes", "kernel", "stride", "padding"), [
    (1, (30, 28), (5, 5), 1, 2), (1, (40,), (10,), 5, 0), (3, (20, 21), (3, 4), 2, 1),
    (4, (9, 10), (3, 3), 1, 1), (5, (4, 6), (4, 6), 1, 0), (2, (7,), (3,), 9, 0),
])  # fmt: skip
def test_few_inputs_and_single_positions(channels, sizes, kernel, stride, padding, last):
    if last and len(sizes) < 2:
        return
    rng = np.random.default_rng(0)
    settings = [stride] * len(sizes), [padding] * len(sizes)
    x = rng.standard_normal((19, channels, *sizes))
    w = rng.standard_normal((7, channels, *kernel))
    wanted = conv(x, w, None, *settings, [1] * len(sizes), 1)
    g = rng.standard_normal(wanted.shape)
    seen = patches(x, kernel, *settings, [1] * len(sizes))
    axes = [0, *range(2, 2 + len(sizes))]

    def given(a):
        t = torch.tensor(a.astype(np.float32))
        return t.to(memory_format=torch.channels_last) if last else t

    function = getattr(torch, f"conv{len(sizes)}d")
    before, found = torch.get_num_threads(), []
    for threads in (1, 3):
        torch.set_num_threads(threads)
        leaves = given(x).requires_grad_(), given(w).requires_grad_()
        y = function(*leaves, None, *settings)
        found.append([y.detach(), *torch.autograd.grad(y, leaves, given(g))])
    torch.set_num_threads(before)
    for one, other in list(zip(*found, strict=True))[: 3 if channels == 1 else 2]:
        np.testing.assert_array_equal(one.numpy(), other.numpy())
    y, gx, gw = (t.numpy().astype(np.float64) for t in found[0])
    np.testing.assert_allclose(y, wanted, atol=1e-4)
    np.testing.assert_allclose(gw, np.tensordot(g, seen, (axes, axes)), atol=1e-3)
    v = rng.standard_normal(x.shape)
    along = conv(v, w, None, *settings, [1] * len(sizes), 1)
    np.testing.assert_allclose((gx * v).sum(), (along * g).sum(), atol=1e-2)
