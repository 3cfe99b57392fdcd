"""`vmap` against a loop over examples, for ops of every kind."""

import pytest

import taimatsu as torch
from taimatsu import nn
from taimatsu.func import vmap

F = nn.functional
B = 3


def numbers(*shape, dtype=torch.float32):
    torch.manual_seed(len(shape))
    if dtype == torch.int64:
        return torch.randint(0, 3, shape)
    return torch.randn(*shape).to(dtype)


def check(f, *args, in_dims=0):
    """vmap(f) against f of each example."""
    dims = in_dims if isinstance(in_dims, tuple) else (in_dims,) * len(args)
    together = vmap(f, in_dims=dims)(*args)
    rows = [
        f(*(a if d is None else a.select(d, i) for a, d in zip(args, dims, strict=True)))
        for i in range(B)
    ]
    several = isinstance(together, (tuple, list))
    for k, got in enumerate(together if several else (together,)):
        expected = torch.stack([r[k] if several else r for r in rows])
        assert got.dtype == expected.dtype
        torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-5)


X, Y, V, S = numbers(B, 4, 5), numbers(B, 4, 5), numbers(B, 5), numbers(B)
SQUARE = X @ X.mT + 5 * torch.eye(4)
INDEX = numbers(B, 4, 2, dtype=torch.int64)
IMAGE = numbers(B, 2, 3, 6, 6)

UNARY = {
    "pointwise": lambda x: x.sin() * 2 + 1,
    "where": lambda x: torch.where(x > 0, x, 0.0),
    "sum": lambda x: x.sum(),
    "sum dim": lambda x: x.sum(-1, keepdim=True),
    "mean dims": lambda x: x.mean((0, 1)),
    "amax": lambda x: x.amax(0),
    "max": lambda x: x.max(),
    "max dim": lambda x: x.max(1),
    "argmax": lambda x: x.argmax(),
    "argmin dim": lambda x: x.argmin(0),
    "prod": lambda x: x.prod(),
    "all": lambda x: (x > -9).all(),
    "var": lambda x: x.var(),
    "norm": lambda x: torch.linalg.vector_norm(x, 3, dim=0),
    "logsumexp": lambda x: x.logsumexp(0),
    "softmax": lambda x: x.softmax(0),
    "cumsum": lambda x: x.cumsum(1),
    "layer_norm": lambda x: F.layer_norm(x, (5,)),
    "sort": lambda x: x.sort(0),
    "topk": lambda x: x.topk(2, 1),
    "median": lambda x: x.median(0),
    "view": lambda x: x.contiguous().view(-1, 2),
    "reshape": lambda x: x.reshape(5, 4),
    "flatten": lambda x: x.flatten(),
    "permute": lambda x: x.permute(1, 0),
    "transpose": lambda x: x.transpose(-1, 0),
    "t": lambda x: x.t(),
    "mT": lambda x: x.mT,
    "select": lambda x: x.select(-1, 2),
    "index": lambda x: x[1:, ::2],
    "index none": lambda x: x[None, ..., 0],
    "unsqueeze": lambda x: x.unsqueeze(-1),
    "squeeze": lambda x: x[:1].squeeze(),
    "expand": lambda x: x.expand(2, 4, 5),
    "diagonal": lambda x: x.diagonal(),
    "unfold": lambda x: x.unfold(1, 2, 1),
    "split": lambda x: x.split(2, 1),
    "unbind": lambda x: x.unbind(),
    "chunk": lambda x: x.chunk(2),
    "movedim": lambda x: x.movedim(0, 1),
    "flip": lambda x: x.flip(0),
    "roll": lambda x: x.roll(1, 1),
    "repeat": lambda x: x.repeat(2, 1),
    "tril": lambda x: x.tril(),
    "pad": lambda x: F.pad(x, (1, 1)),
    "stack": lambda x: torch.stack([x, x]),
    "cat": lambda x: torch.cat([x, x[:1]]),
    "gather": lambda x: x.gather(1, torch.tensor([[0, 1]] * 4)),
    "index_select": lambda x: x.index_select(0, torch.tensor([1, 1])),
    "zeros_like": lambda x: torch.zeros_like(x) + torch.ones(5),
    "new_zeros": lambda x: x.new_zeros(2),
    "to": lambda x: x.double(),
    "in place": lambda x: x.clone().add_(1).mul_(x),
    "setitem": lambda x: _assigned(x),
    "glu": lambda x: F.gelu(x),
    "detach": lambda x: x.detach() + x.data,
    "einsum": lambda x: torch.outer(x[0], x[1]),
    "trace": lambda x: x[:, :4].trace(),
    "clamp": lambda x: x.clamp(-0.5, 0.5),
    "cov": lambda x: x.cov(),
    "matrix_exp": lambda x: torch.matrix_exp(x[:, :4]),
    "histc": lambda x: torch.histc(x, 5),
    "masked_fill": lambda x: x.masked_fill(x > 0, x[0, 0]),
    "take_along_dim": lambda x: torch.take_along_dim(x, torch.tensor([[-1, 0]] * 4), 1),
}


def _assigned(x):
    y = torch.zeros_like(x)
    y[1] = x[0]
    y[:, 2] = 7.0
    return y


@pytest.mark.parametrize("name", UNARY)
def test_one_operand(name):
    check(UNARY[name], X)


def test_scalar_examples():
    check(lambda s: s * 2 + s.sum(0) + s.sum(), S)
    check(lambda s: s.unsqueeze(0).squeeze(), S)
    check(lambda s, x: x * s, S, X)
    check(lambda s: s.softmax(0), S)
    # a 0-dim example has no say in the dtype
    check(lambda s, x: x + s, S.double(), X)
    check(lambda s, t: s + t, S.double(), S)


PAIRS = {
    "add": (lambda a, b: a + b, X, V),
    "matmul": (torch.matmul, X, Y.mT),
    "matmul vector": (torch.matmul, X, V),
    "vector matmul": (torch.matmul, V, Y.mT),
    "mm": (torch.mm, X, Y.mT.contiguous()),
    "mv": (torch.mv, X, V),
    "dot": (torch.dot, V, V),
    "addmm": (lambda a, b: torch.addmm(a, b, a.mT @ a, beta=2, alpha=3), X, Y),
    "linear": (lambda x, w: F.linear(x, w, w[:, 0]), X, Y),
    "solve": (torch.linalg.solve, SQUARE, X),
    "gather": (lambda x, i: x.gather(1, i), X, INDEX),
    "scatter": (lambda x, i: x.scatter(1, i, 2.0), X, INDEX),
    "scatter_add": (lambda x, i: x.scatter_add(1, i, torch.ones(4, 2)), X, INDEX),
    "index": (lambda x, i: x[i[:, 0]], X, INDEX),
    "index_select": (lambda x, i: x.index_select(1, i[:, 0]), X, INDEX),
    "take": (lambda x, i: x.take(i), X, INDEX),
    "embedding": (lambda w, i: F.embedding(i, w), X, INDEX),
    "cross_entropy": (lambda x, i: F.cross_entropy(x, i[:, 0]), X, INDEX),
    "mse": (F.mse_loss, X, Y),
    "layer_norm": (lambda x, w: F.layer_norm(x, (5,), w, w), X, V),
    "copy": (lambda x, y: x.clone().copy_(y), X, Y),
}


@pytest.mark.parametrize("name", PAIRS)
def test_two_operands(name):
    f, a, b = PAIRS[name]
    check(f, a, b)
    if name not in ("copy",):
        check(f, a, b[0], in_dims=(0, None))
    if name not in ("scatter", "copy"):
        check(f, a[0], b, in_dims=(None, 0))


@pytest.mark.parametrize("name", ["det", "inv", "cholesky", "eigh", "qr", "svdvals"])
def test_decompositions(name):
    f = getattr(torch.linalg, name)
    check(lambda a: f(a)[0].abs() if name in ("eigh", "qr") else f(a), SQUARE)


def test_convolution_pooling_and_batch_norm():
    w, bias = numbers(B, 4, 3, 3, 3), numbers(B, 4)
    check(lambda x, w, b: F.conv2d(x, w, b, padding=1), IMAGE, w, bias)
    check(lambda x: F.conv2d(x, w[0], bias[0], stride=2), IMAGE)
    check(lambda w: F.conv2d(IMAGE[0], w), w)
    check(lambda x, w: F.conv_transpose2d(x, w.transpose(0, 1)), IMAGE, w)
    check(lambda x: F.max_pool2d(x, 2), IMAGE)
    check(lambda x: F.avg_pool2d(x, 2), IMAGE)
    check(lambda x: F.adaptive_avg_pool2d(x, 3), IMAGE)
    check(lambda x: F.batch_norm(x, None, None, training=True), IMAGE)
    check(lambda x, m: F.batch_norm(x, m, m.abs() + 1), IMAGE, numbers(B, 3))


def test_in_and_out_dims_trees_and_chunks():
    x, y = numbers(4, B), numbers(B, 2)
    out = vmap(lambda d, k: {"s": d["x"].sum() * k, "p": d["x"]}, in_dims=({"x": 1}, None),
               out_dims={"s": 0, "p": 1})({"x": x}, 2.0)  # fmt: skip
    torch.testing.assert_close(out["s"], x.sum(0) * 2)
    torch.testing.assert_close(out["p"], x)
    torch.testing.assert_close(vmap(torch.sin, chunk_size=2)(y), y.sin())
    torch.testing.assert_close(vmap(lambda a: torch.ones(2))(y), torch.ones(B, 2))


def test_maps_nest():
    x, y = numbers(B, 2), numbers(4, 2)
    outer = vmap(lambda a: vmap(lambda b: (a * b).sum())(y))(x)
    torch.testing.assert_close(outer, x @ y.T)
    square = vmap(vmap(lambda a: a * a))(x)
    torch.testing.assert_close(square, x * x)


def test_randomness():
    x = numbers(B, 50)
    with pytest.raises(RuntimeError, match="randomness"):
        vmap(lambda a: a + torch.rand(50))(x)
    same = vmap(lambda a: torch.rand(50), randomness="same")(x)
    assert torch.equal(same[0], same[1])
    different = vmap(lambda a: torch.rand(50) + 0 * a, randomness="different")(x)
    assert not torch.equal(different[0], different[1])
    alike = vmap(lambda a: torch.rand_like(a), randomness="same")(torch.zeros(B, 50))
    assert (alike == alike[0]).all() and len(alike[0].unique()) > 40
    orders = vmap(lambda a: torch.randperm(50) + 0 * a, randomness="different")(x)
    assert all(sorted(o.tolist()) == list(range(50)) for o in orders)
    assert len({tuple(o.tolist()) for o in orders}) == len(x)
    with pytest.raises(RuntimeError, match="randomness"):
        vmap(torch.poisson)(x)
    events = vmap(lambda a: torch.poisson(torch.full((50,), 9.0)), randomness="different")(x)
    assert events.shape == (len(x), 50) and not torch.equal(events[0], events[1])
    dropped = vmap(lambda a: F.dropout(torch.ones(50) * a / a), randomness="different")(x)
    assert not torch.equal(dropped[0], dropped[1]) and {0.0, 2.0} >= set(dropped.flatten().tolist())


def test_what_is_refused():
    x = numbers(B, 2)
    with pytest.raises(RuntimeError, match="data-dependent"):
        vmap(lambda a: a if a.sum() > 0 else -a)(x)
    with pytest.raises(RuntimeError, match="item"):
        vmap(lambda a: a.sum().item())(x)
    with pytest.raises(RuntimeError, match="inplace"):
        vmap(lambda a: torch.zeros(2).add_(a))(x)
    with pytest.raises(RuntimeError, match="depend on the elements"):
        vmap(torch.nonzero)(x)
    with pytest.raises(ValueError, match="same size"):
        vmap(torch.add)(x, numbers(B + 1, 2))
    with pytest.raises(ValueError, match="in_dim=2"):
        vmap(torch.sin, in_dims=2)(x)
    with pytest.raises(ValueError, match="only return tensors"):
        vmap(lambda a: 3)(x)
    with pytest.raises(ValueError, match="in_dims must be"):
        vmap(torch.sin, in_dims=None)(x)
    with pytest.raises(ValueError, match="at least one"):
        vmap(torch.sin, in_dims=(None,))(x)
    with pytest.raises(ValueError, match="not compatible with the structure of the outputs"):
        vmap(lambda a: [a], out_dims=(0,))(x)
    with pytest.raises(IndexError, match="out of range"):
        vmap(lambda a: a.sum(1))(x)


def test_keyword_arguments_are_shared():
    assert vmap(lambda a, *, b: a + b)(V, b=torch.arange(5.0)).equal(V + torch.arange(5.0))


def test_leaves_of_other_types_have_their_batch_added_and_removed(monkeypatch):
    """As libraries do whose collections have a batch: they replace steps of `torch._functorch`."""
    import taimatsu._functorch.vmap as steps

    class Box:
        def __init__(self, x):
            self.x = x

    process, create, unwrap = (
        steps._process_batched_inputs, steps._create_batched_inputs, steps._unwrap_batched
    )  # fmt: skip

    def processed(in_dims, args, func):
        return process(in_dims, tuple(box.x for box in args), func)

    def created(dims, leaves, level, spec):
        return tuple(map(Box, create(dims, leaves, level, spec)))

    def unwrapped(box, *rest):
        return Box(unwrap(box.x, *rest))

    monkeypatch.setattr(steps, "_process_batched_inputs", processed)
    monkeypatch.setattr(steps, "_create_batched_inputs", created)
    monkeypatch.setattr(steps, "_unwrap_batched", unwrapped)
    summed = vmap(lambda a, b: Box((a.x * b.x).sum()), in_dims=(0, None))(Box(V), Box(V[0]))
    torch.testing.assert_close(summed.x, (V * V[0]).sum(1))
    assert not steps.vmaps()


def test_chunks_of_trees():
    def f(a):
        return [a.sum(), {"twice": a * 2}]

    whole, parts = vmap(f)(V), vmap(f, chunk_size=2)(V)
    torch.testing.assert_close(whole[0], parts[0])
    assert whole[1]["twice"].equal(parts[1]["twice"])


def test_branches_that_differ_from_example_to_example():
    def f(a):
        return torch.cond(a.sum() > 0, lambda a: a + 1, lambda a: a - 1, (a,))

    check(f, V)


def test_make_functional():
    from taimatsu._functorch.deprecated import (
        combine_state_for_ensemble,
        make_functional,
        make_functional_with_buffers,
    )

    layers = [nn.Linear(5, 2) for _ in range(B)]
    function, weights = make_functional(layers[0])
    assert function(weights, V).equal(layers[0](V))
    function, weights, buffers = combine_state_for_ensemble(layers)
    together = vmap(function, in_dims=(0, 0, None))(weights, buffers, V)
    torch.testing.assert_close(together, torch.stack([layer(V) for layer in layers]))
    norm = nn.BatchNorm1d(5)
    with pytest.raises(RuntimeError, match="has buffers"):
        make_functional(norm)
    function, weights, buffers = make_functional_with_buffers(norm.eval(), True)
    assert function(weights, buffers, V).equal(norm(V)) and not weights[0].requires_grad


def test_gradients_pass_through():
    x = numbers(B, 4).requires_grad_()
    vmap(lambda a: (a * a).sum())(x).sum().backward()
    torch.testing.assert_close(x.grad, 2 * x.detach())


def test_a_batch_of_numbers_as_index_and_as_model_of_new_tensors():
    mask, rows, columns = torch.tensor([[1, 1, 0], [1, 0, 0]]), torch.arange(2), torch.arange(3)
    at = torch.vmap(torch.vmap(lambda i, j: mask[i, j] * i.new_ones(()), (None, 0)), (0, None))
    assert at(rows, columns).equal(mask)

    def write(x, i):
        x[i] = 0
        return x

    written = torch.vmap(write)(torch.ones(2, 3), rows)
    assert written.tolist() == [[0, 1, 1], [1, 0, 1]]


def test_an_interrupt_while_an_interpreter_is_entered(monkeypatch):
    """Nobody would call ``__exit__``, and every op would go to it from then on."""
    from taimatsu import _interpreter

    interpose, asked = _interpreter._core.interpose, []

    def interrupted(bit, on):
        asked.append(on)
        if len(asked) == 1:
            raise KeyboardInterrupt
        interpose(bit, on)

    with monkeypatch.context() as m, pytest.raises(KeyboardInterrupt):
        m.setattr(_interpreter._core, "interpose", interrupted)
        torch.vmap(torch.sin)(torch.ones(3))
    assert _interpreter.frames() == [] and asked == [True, False]
    assert torch.vmap(torch.sin)(torch.ones(3)).equal(torch.ones(3).sin())


IN_PLACE = [
    lambda x: (x * 1).t_().sin(),
    lambda x: (x * 1).unsqueeze_(0).sum(1),
    lambda x: (x * 1)[:1].squeeze_(0) * 2,
    lambda x: (y := x * 1, y.t_().mul_(torch.arange(6.0).view(3, 2)))[0],
]


@pytest.mark.parametrize("f", IN_PLACE)
def test_in_place_views_are_seen_by_every_interpreter(f):
    """What knows a tensor by its identity takes over what it knows of the view that it became."""
    x = torch.arange(6.0).view(2, 3)
    y, tangent = torch.func.jvp(f, (x,), (x,))
    numeric = (f(x.double() * (1 + 1e-6)) - f(x.double() * (1 - 1e-6))) / 2e-6
    torch.testing.assert_close(y, f(x))
    torch.testing.assert_close(tangent, numeric.float(), rtol=1e-4, atol=1e-4)
    with torch.autograd.forward_ad.dual_level():
        found = torch.autograd.forward_ad.unpack_dual(f(torch.autograd.forward_ad.make_dual(x, x)))
        torch.testing.assert_close(found.tangent, tangent)
    assert torch.equal(vmap(f)(torch.stack([x, x + 1]))[1], f(x + 1))
    for graph in (torch.fx.experimental.proxy_tensor.make_fx(f)(x), torch.jit.trace(f, (x,))):
        assert torch.equal(graph(x + 1), f(x + 1))


def test_a_batch_has_no_memory_to_give_away():
    with pytest.raises(RuntimeError, match="no memory of its own"):
        vmap(lambda x: x.clone().resize_(2))(torch.ones(2, 3))
    with pytest.raises(ValueError, match="only return tensors"):
        vmap(lambda x: x.clone().untyped_storage().resize_(0))(torch.ones(2, 3))
    assert vmap(torch.sin)(torch.ones(2, 3)).shape == (2, 3)  # that memory wasn't everybody's


def test_checks_of_elements_see_the_batch():
    a = torch.randn(2, 4, 3)
    whole = torch.linalg.lstsq(a, a[..., :1], driver="gelss")
    for one, all_ in zip(vmap(lambda a: tuple(torch.linalg.lstsq(a, a[:, :1], driver="gelss")))(a),
                         whole, strict=True):  # fmt: skip
        torch.testing.assert_close(one, all_)
    hot = torch.nn.functional.one_hot
    assert torch.equal(vmap(lambda i: hot(i, 3))(torch.arange(3)), hot(torch.arange(3)))
    with pytest.raises(RuntimeError, match="got 0 to 3"):
        vmap(lambda i: hot(i, 3))(torch.arange(4))
    w = torch.rand(2, 3)
    found = vmap(lambda x, w: torch.native_layer_norm(x, [3], w, None, 1e-5))(a[..., :3], w)
    for i, x in enumerate(a):
        for one, all_ in zip(torch.native_layer_norm(x, [3], w[i], None, 1e-5), found, strict=True):
            torch.testing.assert_close(one, all_[i])
    draws = vmap(lambda w: torch.multinomial(w, 2), randomness="different")(torch.ones(5, 2, 3))
    assert draws.shape == (5, 2, 2)
    assert (draws[..., 0] != draws[..., 1]).all()
