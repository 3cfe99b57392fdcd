"""Graphs of the ops that a call carries out, and backends of one's own, which are given them."""

import operator

import pytest

import taimatsu as torch
from taimatsu import nn
from taimatsu._dynamo import exc
from taimatsu.fx.capture import ValueRead, capture
from taimatsu.fx.experimental.proxy_tensor import make_fx


def model():
    torch.manual_seed(3)
    return nn.Sequential(
        nn.Linear(4, 8), nn.BatchNorm1d(8), nn.GELU(), nn.Dropout(), nn.Linear(8, 2)
    )


def targets(module):
    return [n.target for n in module.graph.nodes if n.op in ("call_function", "call_method")]


def test_a_module():
    m, x = model().eval(), torch.randn(5, 4)
    graph, _ = capture(m, (x,))
    assert torch.equal(graph(x)[0], m(x))
    assert {name for name, _ in graph.named_parameters()} == {n for n, _ in m.named_parameters()}
    assert getattr(graph, "0").weight is m[0].weight
    functional = torch.nn.functional
    assert targets(graph) == [
        functional.linear, functional.batch_norm, functional.gelu, functional.dropout,
        functional.linear,
    ]  # fmt: skip
    shapes = [tuple(n.meta["val"].shape) for n in graph.graph.nodes if n.op == "call_function"]
    assert shapes == [(5, 8)] * 4 + [(5, 2)]


def test_the_call_leaves_nothing_behind():
    m, x, y = model(), torch.randn(5, 4), torch.zeros(3)
    before = {k: v.clone() for k, v in m.state_dict().items()}
    state = torch.get_rng_state()
    capture(m, (x,))
    capture(lambda y: y.add_(1).mul_(torch.rand(3)), (y,))
    assert all(torch.equal(v, before[k]) for k, v in m.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state) and y.tolist() == [0, 0, 0]
    graph, _ = capture(lambda y: y.add_(1), (y,))
    graph(y)
    assert y.tolist() == [1, 1, 1]


@pytest.mark.parametrize("read", [
    lambda x: x if x.sum() > 0 else -x,
    lambda x: x * x[0].item(),
    lambda x: x + x.tolist()[0],
    lambda x: x[int(x[0])],
])  # fmt: skip
def test_elements_are_not_looked_at(read):
    with pytest.raises(ValueRead, match="looks at elements"):
        capture(read, (torch.ones(2),))


def test_constants_and_containers():
    outside = torch.arange(3.0)

    def function(pair, scale):
        a, b = pair["a"], pair["b"]
        return {"sum": (a + b) * scale, "parts": [outside[1:], a.max(0)]}

    given = {"a": torch.ones(3), "b": torch.full((3,), 2.0)}
    graph, spec = capture(function, (given, 4))
    found = torch.utils._pytree.tree_unflatten(list(graph(given["b"], given["b"])), spec)
    assert found["sum"].tolist() == [16, 16, 16] and found["parts"][0].tolist() == [1, 2]
    assert found["parts"][1].values == 2


def test_custom_functions():
    class Double(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x * 2

        @staticmethod
        def backward(ctx, g):
            return g * 2

    graph, _ = capture(lambda x: Double.apply(x) + 1, (torch.ones(2),))
    x = torch.ones(2, requires_grad=True)
    graph(x)[0].sum().backward()
    assert x.grad.tolist() == [2, 2] and len(targets(graph)) == 2


def test_make_fx():
    aten = torch.ops.aten
    x = torch.randn(3, 4)
    graph = make_fx(lambda x: {"y": torch.sin(x)[:, 1:] + 1})(x)
    assert targets(graph) == [aten.sin.default, operator.getitem, aten.add.Tensor]
    assert torch.equal(graph(x)["y"], x.sin()[:, 1:] + 1)
    assert "torch.ops.aten.sin.default(" in graph.code
    assert nn.functional.linear not in targets(make_fx(model())(x))
    table = {aten.sin.default: lambda x: x.cos()}
    replaced = make_fx(lambda x: x.sin() + 1, decomposition_table=table)(x)
    assert targets(replaced) == [aten.cos.default, aten.add.Tensor]
    with pytest.raises(TypeError, match=r"make_fx: .* got int"):
        make_fx(torch.add)(x, 1)


@pytest.fixture
def backend():
    def noted(module, inputs, **options):
        noted.calls.append((module, inputs, options))
        return module.forward

    noted.calls = []
    return noted


def test_a_backend_is_asked_for_each_kind_of_call(backend):
    @torch.compile(backend=backend)
    def function(x, power=2):
        return x**power + 1, [x]

    for sizes in (3, 3, 4):
        x = torch.randn(sizes)
        y, (same,) = function(x)
        assert torch.equal(y, x**2 + 1) and same is x
    assert len(backend.calls) == 2
    function(x, power=3)
    function(x.double())
    with torch.no_grad():
        function(x)
    assert len(backend.calls) == 5
    assert [i.shape for i in backend.calls[0][1]] == [(3,)]


def test_what_a_backend_makes_is_called():
    def swapped(module, inputs):
        for node in module.graph.nodes:
            if node.target is torch.sin:
                node.target = torch.cos
        module.recompile()
        return module

    x = torch.randn(3)
    assert torch.equal(torch.compile(lambda x: torch.sin(x) + 1, backend=swapped)(x), x.cos() + 1)


def test_modules_and_gradients(backend):
    m = model()
    compiled = torch.compile(m, backend=backend, options={"level": 2})
    x = torch.randn(6, 4)
    for training in (True, True, False):
        compiled.train(training)
        m.train(training)
        torch.manual_seed(0)
        loss = compiled(x).square().mean()
        got = torch.autograd.grad(loss, list(m.parameters()))
        torch.manual_seed(0)
        expected = torch.autograd.grad(m(x).square().mean(), list(m.parameters()))
        assert all(map(torch.equal, got, expected))
    assert len(backend.calls) == 2 and backend.calls[0][2] == {"options": {"level": 2}}
    assert m[1].num_batches_tracked == 4


def test_what_can_be_no_graph_runs_as_it_is(backend):
    def branches(x):
        return x + 1 if x.sum() > 0 else x - 1

    compiled = torch.compile(branches, backend=backend)
    assert compiled(torch.ones(1)) == 2 and compiled(-torch.ones(1)) == -2
    with pytest.raises(exc.Unsupported, match="looks at elements"):
        torch.compile(branches, backend=backend, fullgraph=True)(torch.ones(1))
    with pytest.raises(exc.Unsupported, match="got object"):
        torch.compile(lambda x, y: x, backend=backend, fullgraph=True)(torch.ones(1), object())
    assert not backend.calls


def test_errors_of_backends():
    def broken(module, inputs):
        raise ValueError("no")

    with pytest.raises(exc.BackendCompilerFailed, match="'broken' raised:\nValueError: no"):
        torch.compile(torch.sin, backend=broken)(torch.ones(1))


def test_what_a_function_closes_over_is_part_of_the_kind(backend):
    factor = 1000

    def function(x):
        return x * factor

    compiled = torch.compile(function, backend=backend)
    for factor in range(1000, 1005):
        assert compiled(torch.ones(1)) == factor
    assert len(backend.calls) == 5
