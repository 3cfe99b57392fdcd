"""Exported programs do what the module did, for other sizes too, and from a file."""

import dataclasses
import io

import pytest

import taimatsu as torch
from taimatsu import nn
from taimatsu.export import Dim, export, load, save


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.bn, self.fc = nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Linear(8, 3)
        self.shift = torch.ones(3)

    def forward(self, x, scale=1.0, *, extra=None):
        y = self.fc(self.bn(self.conv(x)).relu().view(x.shape[0], -1)) + self.shift
        if extra is not None:
            y = y + extra["bias"]
        z = y.clone()
        z.add_(1)
        return {"y": y * scale, "others": (z, y.max(1)[0])}


X = torch.randn(2, 1, 4, 4)


def same(a, b):
    pairs = [(a["y"], b["y"]), *zip(a["others"], b["others"], strict=True)]
    return all(torch.allclose(x, y, atol=1e-5) for x, y in pairs)


def targets(program):
    return [str(n.target) for n in program.graph.nodes if n.op == "call_function"]


def test_a_program_computes_what_the_module_did():
    m, extra = Net().eval(), {"bias": torch.arange(3.0)}
    program = export(m, (X,), {"extra": extra})
    assert same(program.module()(X, extra=extra), m(X, extra=extra))
    assert {"aten.conv2d.default", "aten.relu.default", "aten.linear.default"} <= set(
        targets(program)
    )
    signature = program.graph_signature
    assert set(signature.parameters) == {n for n, _ in m.named_parameters()}
    assert signature.user_inputs == ("x", "extra") and len(program.constants) == 1
    assert set(program.module().state_dict()) == set(m.state_dict())
    assert program.module().fc.weight is m.fc.weight
    with pytest.raises(RuntimeError, match="module"):
        program(X)


def test_calls_are_checked():
    program = export(Net().eval(), (X,))
    with pytest.raises(RuntimeError, match="dim 0"):
        program.module()(torch.randn(3, 1, 4, 4))
    with pytest.raises(RuntimeError, match="float64"):
        program.module()(X.double())
    with pytest.raises(ValueError, match="structure"):
        program.module()(X, X)
    with pytest.raises(ValueError, match="Module"):
        export(torch.sin, (X,))


class Sizes(nn.Module):
    def forward(self, x):
        b, s, d = x.shape
        rows = x.reshape(b * s, d)[: b * s - 1]
        return rows.sum() + torch.ones(b, 2 * s + 1).sum() + torch.arange(s).sum()


def test_open_sizes():
    batch, length = torch.export.dims("batch", "length", max=64)
    program = export(Sizes(), (torch.randn(2, 3, 4),), dynamic_shapes=({0: batch, 1: length},))
    for shape in ((2, 3, 4), (5, 1, 4), (1, 9, 4)):
        x = torch.randn(shape)
        assert torch.allclose(program.module()(x), Sizes()(x), atol=1e-5)
    assert program.range_constraints == {"batch": (0, 64), "length": (0, 64)}
    with pytest.raises(RuntimeError, match="dim 2"):
        program.module()(torch.randn(2, 3, 5))
    with pytest.raises(RuntimeError, match="max=64"):
        program.module()(torch.randn(65, 3, 4))
    m = Net().eval()
    program = export(m, (X,), dynamic_shapes={"x": {0: Dim.DYNAMIC}})
    big = torch.randn(7, 1, 4, 4)
    assert same(program.module()(big), m(big))


def test_sizes_that_can_not_be_open():
    class Loop(nn.Module):
        def forward(self, x):
            for _ in range(x.shape[0]):
                x = x + 1
            return x

    class Root(nn.Module):
        def forward(self, x):
            return x / x.shape[0] ** 0.5

    for m in (Loop(), Root()):
        with pytest.raises(RuntimeError, match="static"):
            export(m, (torch.ones(3),), dynamic_shapes=({0: Dim("n")},))
    program = torch.export.draft_export(Loop(), (torch.ones(3),), dynamic_shapes=({0: Dim("n")},))
    assert program.module()(torch.ones(3)).tolist() == [4, 4, 4]
    with pytest.raises(ValueError, match="min"):
        Dim("n", min=4, max=2)


def test_programs_are_saved_and_loaded():
    m = Net().eval()
    program = export(m, (X,), dynamic_shapes={"x": {0: Dim("batch")}})
    file = io.BytesIO()
    save(program, file, extra_files={"note": "hello"})
    file.seek(0)
    files = {"note": None}
    again = load(file, extra_files=files)
    big = torch.randn(5, 1, 4, 4)
    assert same(again.module()(big), m(big)) and files == {"note": "hello"}
    assert targets(again) == targets(program)
    with pytest.raises(RuntimeError, match="no exported program"):
        other = io.BytesIO()
        torch.save({"x": 1}, other)
        other.seek(0)
        load(other)


def test_composites_fall_apart():
    m = Net().eval()
    program = export(m, (X,)).run_decompositions()
    assert "aten.conv2d.default" not in targets(program)
    assert same(program.module()(X), m(X))


def test_training_mode_and_gradients():
    m = Net().train()
    before = m.bn.running_mean.clone()
    program = export(m, (X,))
    assert torch.equal(before, m.bn.running_mean)  # recording changes nothing
    program.module()(X)["y"].sum().backward()
    assert m.fc.weight.grad is not None
    assert not torch.equal(before, m.bn.running_mean)  # running does


def test_a_transformer_layer():
    m = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True).eval()
    sizes = ({0: Dim("batch"), 1: Dim("length")},)
    program = export(m, (torch.randn(2, 5, 8),), dynamic_shapes=sizes)
    x = torch.randn(3, 4, 8)
    assert torch.allclose(program.module()(x), m(x), atol=1e-5)


def test_dataclasses_are_containers():
    @dataclasses.dataclass
    class Pair:
        a: torch.Tensor
        b: torch.Tensor

    class Swap(nn.Module):
        def forward(self, pair):
            return Pair(pair.b, pair.a + 1)

    torch.export.register_dataclass(Pair)
    made = export(Swap(), (Pair(X, X * 2),)).module()(Pair(X, X * 3))
    assert isinstance(made, Pair) and torch.equal(made.a, X * 3)
    with pytest.raises(ValueError, match="dataclass"):
        torch.export.register_dataclass(int)


def test_the_call_leaves_nothing_behind_and_looks_at_no_element():
    m, x = nn.Sequential(nn.BatchNorm1d(4), nn.Dropout()), torch.randn(5, 4)
    before, state = m[0].running_mean.clone(), torch.get_rng_state()
    torch.export.export(m, (x,))
    assert torch.equal(m[0].running_mean, before) and torch.equal(torch.get_rng_state(), state)

    class Branches(nn.Module):
        def forward(self, x):
            return x if x.sum() > 0 else -x

    with pytest.raises(RuntimeError, match="looks at elements"):
        torch.export.export(Branches(), (x,))
