"""Graphs of functions and modules: recording, changing, running."""

import copy
import operator
import pickle

import pytest

import taimatsu as torch
from taimatsu import fx, nn
from taimatsu.nn import functional as F


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.param = nn.Parameter(torch.rand(3, 4))
        self.register_buffer("shift", torch.ones(4))
        self.layers = nn.Sequential(nn.Linear(4, 5), nn.ReLU())

    def forward(self, x, scale=2):
        y = self.layers(x + self.param) * scale
        return torch.topk(torch.sum(F.softmax(y, dim=-1).clamp(min=0.1), dim=-1), 2), self.shift


def targets(graph):
    return [(n.op, n.target) for n in graph.nodes]


def test_a_module_s_graph_and_what_it_computes():
    net = Net()
    traced = fx.symbolic_trace(net)
    assert targets(traced.graph) == [
        ("placeholder", "x"), ("placeholder", "scale"), ("get_attr", "param"),
        ("call_function", operator.add), ("call_module", "layers.0"), ("call_module", "layers.1"),
        ("call_function", operator.mul), ("call_function", F.softmax), ("call_method", "clamp"),
        ("call_function", torch.sum), ("call_function", torch.topk), ("get_attr", "shift"),
        ("output", "output"),
    ]  # fmt: skip
    x = torch.randn(3, 4)
    for ours, theirs in zip(traced(x)[0], net(x)[0], strict=True):
        assert torch.equal(ours, theirs)
    assert torch.equal(traced(x, 3)[0][0], net(x, 3)[0][0])
    traced(x)[0][0].sum().backward()
    assert net.param.grad is not None and traced.param is net.param
    assert isinstance(fx.Interpreter(traced).run(x)[0], tuple)
    names = set(dict(traced.named_parameters()))
    assert names == set(dict(net.named_parameters()))


def test_the_source_reads_like_the_function():
    def f(x, y, *, flag=True):
        a, b = x.split(2)
        zeros = torch.zeros(2, dtype=torch.int64)
        return {"sum": (a + b) ** -y.shape[0], "cut": b[1:, None]}, zeros

    traced = fx.symbolic_trace(f)
    assert traced.code.strip().splitlines()[:3] == [
        "def forward(self, x, y, flag = True):",
        "    split = x.split(2);  x = None",
        "    getitem = split[0]",
    ]
    x = torch.arange(1.0, 5)
    found, zeros = traced(x, torch.ones(2))
    assert torch.allclose(found["sum"], (x[:2] + x[2:]) ** -2) and found["cut"].shape == (1, 1)
    assert zeros.tolist() == [0, 0]


def test_control_flow_on_a_value_is_an_error_that_says_so():
    with pytest.raises(fx.TraceError, match="control flow"):
        fx.symbolic_trace(lambda x: x if x.sum() > 0 else -x)
    with pytest.raises(fx.TraceError, match="cannot be iterated"):
        fx.symbolic_trace(lambda x: list(x))
    with pytest.raises(RuntimeError, match="'len' is not supported"):
        fx.symbolic_trace(lambda x: len(x))
    branch = fx.symbolic_trace(lambda x, up: x + 1 if up else x - 1, concrete_args={"up": True})
    assert branch(torch.zeros(1), True).item() == 1
    with pytest.raises(AssertionError, match="up has been specialized to have value True"):
        branch(torch.zeros(1), False)


def test_nodes_are_replaced_erased_and_inserted():
    traced = fx.symbolic_trace(lambda x, y: torch.relu(torch.add(x, y)))
    for node in traced.graph.nodes:
        if node.target is torch.add:
            with traced.graph.inserting_after(node):
                new = traced.graph.call_function(torch.mul, node.args)
            assert node.replace_all_uses_with(new)
            with pytest.raises(RuntimeError, match="users"):
                traced.graph.erase_node(new)
            traced.graph.erase_node(node)
    traced.graph.lint()
    traced.recompile()
    assert traced(torch.tensor(2.0), torch.tensor(3.0)).item() == 6
    with traced.graph.inserting_before(traced.graph.output_node()):
        dead = traced.graph.call_method("neg", (traced.graph.output_node().args[0],))
    assert traced.graph.eliminate_dead_code() and dead not in list(traced.graph.nodes)
    order = list(traced.graph.nodes)
    order[2].append(order[0])
    with pytest.raises(RuntimeError, match="before it has been defined"):
        traced.graph.lint()


def test_graphs_made_by_hand_run_and_print():
    g = fx.Graph()
    x = g.placeholder("x")
    y = g.call_module("lin", (x,))
    g.output(g.call_function(torch.cat, ([y, y],), {"dim": 0}))
    module = fx.GraphModule({"lin": nn.Linear(2, 3)}, g, "ByHand")
    assert module(torch.ones(1, 2)).shape == (2, 3) and type(module).__name__ == "ByHand"
    assert "call_module[target=lin](args = (%x,), kwargs = {})" in str(g)
    with pytest.raises(RuntimeError, match="lin"):
        fx.GraphModule({}, g)


def test_copies_and_pickles_are_independent():
    traced = fx.symbolic_trace(Net())
    x = torch.randn(3, 4)
    for other in (copy.deepcopy(traced), pickle.loads(pickle.dumps(traced))):
        assert torch.equal(other(x)[0][0], traced(x)[0][0])
        with torch.no_grad():
            other.param.zero_()
        assert traced.param.sum() > 0


def test_transformers_and_patterns():
    class Smooth(fx.Transformer):
        def call_function(self, target, args, kwargs):
            target = torch.tanh if target is torch.relu else target
            return super().call_function(target, args, kwargs)

    traced = fx.symbolic_trace(lambda x: torch.relu(x) + torch.relu(x + 1))
    x = torch.randn(4)
    assert torch.allclose(Smooth(traced).transform()(x), x.tanh() + (x + 1).tanh())
    found = fx.replace_pattern(traced, lambda a: torch.relu(a), lambda a: torch.sigmoid(a) * 2)
    assert len(found) == 2
    assert torch.allclose(traced(x), 2 * x.sigmoid() + 2 * (x + 1).sigmoid())


def test_wrapped_functions_are_one_step():
    module = type(torch)("module_with_wrap")
    exec(
        "import taimatsu as torch\n"
        "@torch.fx.wrap\n"
        "def odd(x):\n    return x + 1 if x.sum() > 0 else x\n"
        "torch.fx.wrap('len')\n"
        "def f(x):\n    return odd(x) * len(x)\n",
        vars(module),
    )
    traced = fx.symbolic_trace(module.f)
    assert [n.target for n in traced.graph.nodes if n.op == "call_function"] == [
        module.odd, len, operator.mul,
    ]  # fmt: skip
    assert traced(torch.ones(2)).tolist() == [4, 4]


def test_proxies_take_attributes_and_constants():
    constant = torch.arange(3.0)

    def f(x):
        return (x.T @ constant).view(x.shape[1], -1).to(x.device) + getattr(x, "ndim")  # noqa: B009

    traced = fx.symbolic_trace(f)
    x = torch.ones(3, 2)
    assert torch.equal(traced(x), f(x)) and hasattr(traced, "_tensor_constant0")


def test_graphs_read_as_those_of_pytorch():
    def f(x, w):
        return torch.nn.functional.relu(x @ w, inplace=True).reshape(x.shape[0], -1)

    traced = fx.symbolic_trace(f)
    assert str(traced.graph) == """graph():
    %x : [num_users=2] = placeholder[target=x]
    %w : [num_users=1] = placeholder[target=w]
    %matmul : [num_users=1] = call_function[target=operator.matmul](args = (%x, %w), kwargs = {})
    %relu : [num_users=1] = call_function[target=torch.nn.functional.relu](args = (%matmul,), \
kwargs = {inplace: True})
    %getattr_1 : [num_users=1] = call_function[target=builtins.getattr](args = (%x, shape), \
kwargs = {})
    %getitem : [num_users=1] = call_function[target=operator.getitem](args = (%getattr_1, 0), \
kwargs = {})
    %reshape : [num_users=1] = call_method[target=reshape](args = (%relu, %getitem, -1), \
kwargs = {})
    return reshape"""
    assert traced.code.startswith("\n\n\ndef forward(self, x, w):\n    matmul = x @ w;  w = None\n")
    assert traced.code.endswith("    return reshape\n    ")


def test_shapes_are_noted_and_parts_become_modules():
    from taimatsu.fx.experimental.optimization import fuse
    from taimatsu.fx.passes.shape_prop import ShapeProp
    from taimatsu.fx.passes.split_module import split_module

    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU()).eval()
    traced, x = fx.symbolic_trace(model), torch.randn(1, 1, 5, 5)
    ShapeProp(traced).propagate(x)
    shapes = [tuple(n.meta["tensor_meta"].shape) for n in traced.graph.nodes]
    assert shapes == [(1, 1, 5, 5), *[(1, 2, 3, 3)] * 4]
    parts = split_module(traced, model, lambda node: int(node.name != "_0"))
    assert [n for n, _ in parts.named_children() if n.startswith("submod")] == [
        "submod_0", "submod_1",
    ]  # fmt: skip
    assert torch.equal(parts(x), model(x))
    fused = fuse(model)
    assert [n.target for n in fused.graph.nodes if n.op == "call_module"] == ["0", "2"]
    assert torch.allclose(fused(x), model(x), atol=1e-5)


def test_assertions_about_sizes_are_part_of_the_graph():
    def f(x):
        torch._assert(x.shape[0] == 2, "two rows")
        return x + 1

    traced = fx.symbolic_trace(f)
    assert torch.equal(traced(torch.ones(2)), torch.full((2,), 2.0))
    with pytest.raises(AssertionError, match="two rows"):
        traced(torch.ones(3))
