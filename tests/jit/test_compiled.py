"""What is done with compiled modules: frozen, traced with others, shown as graphs, damaged."""

from __future__ import annotations

import io

import pytest

import taimatsu as torch
from taimatsu import Tensor, nn

from . import models, programs
from .test_script import CASES, assert_same, loaded, theirs


# ---- Frozen -------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", CASES)
def test_a_frozen_model_has_constants_only(name):
    model, calls = CASES[name]
    scripted = torch.jit.script(model).eval()
    frozen = torch.jit.freeze(scripted)
    again = loaded(frozen)
    assert not list(frozen.parameters()) and not frozen.state_dict()
    for args in calls:
        assert_same(scripted(*args), frozen(*args))
        assert_same(scripted(*args), again(*args))


@pytest.mark.parity
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", CASES)
def test_pytorch_runs_frozen_models(name):
    pytorch = pytest.importorskip("torch")
    model, calls = CASES[name]
    scripted = torch.jit.script(model).eval()
    there = loaded(torch.jit.freeze(scripted), pytorch.jit.load)
    for args in calls:
        assert_same(scripted(*args), there(*theirs(args)))


def test_what_freezing_keeps_and_refuses():
    class Counting(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc, self.scale, self.count = nn.Linear(2, 1), 2.0, 0

        @torch.jit.export
        def twice(self, x):
            return 2 * self.fc(x)

        def forward(self, x):
            self.count += 1
            return self.fc(x) * self.scale

    scripted = torch.jit.script(Counting())
    with pytest.raises(RuntimeError, match="eval mode"):
        torch.jit.freeze(scripted)
    with pytest.raises(RuntimeError, match="expects a ScriptModule"):
        torch.jit.freeze(nn.Linear(1, 1).eval())
    with pytest.raises(RuntimeError, match="no attribute 'nothing'"):
        torch.jit.freeze(scripted.eval(), ["nothing"])
    x = torch.ones(1, 2)
    frozen = torch.jit.freeze(scripted.eval(), ["twice", "scale"])
    want = frozen(x)
    with torch.no_grad():
        scripted.fc.weight.zero_()
    frozen.scale = 4.0
    assert torch.equal(frozen(x), 2 * want) and frozen.count == 2
    assert torch.equal(frozen.twice(x), want) and "CONSTANTS.c" in frozen.fc.code
    optimized = torch.jit.optimize_for_inference(torch.jit.trace(nn.Linear(2, 1).eval(), x))
    assert optimized(x).shape == (1, 1)


# ---- Traced and scripted ------------------------------------------------------------------------
@torch.jit.script
def choose(x, n: int) -> tuple[Tensor, dict[str, Tensor]]:
    if x.sum() > 0:
        return x * n, {"a": x}
    return x - n, {"a": -x}


class Mixed(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(2, 2)
        self.tail = torch.jit.script(models.Transformer(2, 1, 1)).eval()

    def forward(self, x):
        y, found = choose(self.fc(x) * 0 + x, 3)
        return self.tail(y[None])[0] + found["a"]


def test_a_trace_calls_scripted_code():
    model = Mixed().eval()
    traced = torch.jit.trace(model, torch.ones(3, 2))
    again = loaded(traced)
    for x in (torch.ones(2, 2), -torch.ones(4, 2)):
        assert_same(model(x), traced(x))
        assert_same(model(x), again(x))


def test_a_script_calls_what_was_traced_and_loaded():
    tail = torch.tensor([2.0, 3.0])
    function = torch.jit.trace(lambda x: x * tail + 1, torch.ones(2))
    assert isinstance(function, torch.jit.ScriptFunction)

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.traced = torch.jit.trace(nn.Linear(2, 2), torch.ones(1, 2))
            self.loaded = loaded(torch.jit.script(nn.Sequential(nn.Linear(2, 2), nn.ReLU())))

        def forward(self, x, n: int):
            for _ in range(n):
                x = function(self.loaded(self.traced(x)))
            return x

    model = Model()
    scripted, x = torch.jit.script(model), torch.ones(1, 2)
    assert_same(model(x, 2), scripted(x, 2))
    assert_same(model(x, 2), loaded(scripted)(x, 2))


@pytest.mark.parity
@pytest.mark.filterwarnings("ignore")
def test_pytorch_runs_what_is_mixed():
    pytorch = pytest.importorskip("torch")
    model = Mixed().eval()
    there = loaded(torch.jit.trace(model, torch.ones(3, 2)), pytorch.jit.load)
    for x in (torch.ones(2, 2), -torch.ones(4, 2)):
        assert_same(model(x), there(theirs(x)))


def test_what_is_scripted_when_it_is_traced():
    @torch.jit.script_if_tracing
    def summed(x):
        for i in range(x.size(0)):
            x = x + i
        return x

    traced = torch.jit.trace(lambda x: summed(x) * 2, torch.ones(2))
    assert torch.equal(traced(torch.ones(4)), torch.full((4,), 14.0))
    assert not torch.jit.is_tracing() and torch._C._get_tracing_state() is None
    assert torch.equal(summed(torch.ones(1)), torch.ones(1))


# ---- Graphs -------------------------------------------------------------------------------------
def test_graphs():
    graph = torch.jit.script(programs.branches).graph
    assert [n.kind() for n in graph.nodes()][:2] == ["prim::If", "aten::__not__"]
    assert [v.debugName() for v in graph.inputs()] == ["x", "c"]
    assert len(graph.findAllNodes("aten::add")) == 1 and "prim::TupleConstruct" in str(graph)
    for function, _ in programs.FUNCTIONS:
        assert str(torch.jit.script(function).graph).startswith("graph(")
    block = torch.jit.script(models.Block(2, 2))
    kinds = [n.kind() for n in block.graph.nodes()]
    assert kinds.count("prim::CallMethod") == 6 and "aten::add_" in kinds
    traced = torch.jit.trace(nn.Linear(2, 2), torch.ones(1, 2)).graph
    assert [n.kind() for n in traced.nodes()] == ["prim::GetAttr", "prim::GetAttr", "aten::linear"]


# ---- Archives -----------------------------------------------------------------------------------
@pytest.mark.filterwarnings("ignore")
def test_a_damaged_archive_is_a_runtime_error():
    whole = torch.jit.script(models.Block(2, 2)).save_to_buffer()
    for cut in (0, 1, 30, len(whole) // 2, len(whole) - 1):
        with pytest.raises(RuntimeError):
            torch.jit.load(io.BytesIO(whole[:cut]))
    outcomes = set()
    for at in range(0, len(whole), max(1, len(whole) // 150)):
        spoilt = bytearray(whole)
        spoilt[at] ^= 0x5A
        try:
            torch.jit.load(io.BytesIO(bytes(spoilt)))
            outcomes.add("loaded")  # names of files that nothing asks for
        except RuntimeError:
            outcomes.add("refused")
    assert "refused" in outcomes


def test_extra_files_and_places(tmp_path):
    scripted = torch.jit.script(nn.Linear(1, 1))
    torch.jit.save(scripted, tmp_path / "m.pt", _extra_files={"about.txt": "seven"})
    extra = {"about.txt": "", "none": ""}
    again = torch.jit.load(tmp_path / "m.pt", map_location="cpu", _extra_files=extra)
    assert extra == {"about.txt": b"seven", "none": ""} and again.weight.device.type == "cpu"
    with open(tmp_path / "f.pt", "wb") as file:
        torch.jit.save(scripted, file)
    with open(tmp_path / "f.pt", "rb") as file:
        assert torch.equal(torch.jit.load(file).weight, scripted.weight)
