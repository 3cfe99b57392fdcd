"""`distributed.checkpoint`: files of several processes."""

from __future__ import annotations

import pytest

import taimatsu as torch
from taimatsu import nn
from taimatsu.distributed import checkpoint as dcp
from taimatsu.distributed.checkpoint import format_utils
from taimatsu.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_state_dict,
    set_state_dict,
)
from tests.distributed.test_distributed import together


def test_processes():
    together("resharded", 2, "checkpoint_workers")


def trained():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    optimizer = torch.optim.Adam(model.parameters(), 0.1)
    model(torch.randn(4, 2)).square().sum().backward()
    optimizer.step()
    return model, optimizer


def equal(a, b):
    assert type(a) is type(b)
    if isinstance(a, dict):
        assert a.keys() == b.keys() and all(equal(a[k], b[k]) for k in a)
    elif isinstance(a, (list, tuple)):
        assert all(map(equal, a, b))
    else:
        assert torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b
    return True


@pytest.mark.parametrize("flat", [False, True])
def test_one_process(tmp_path, flat):
    options = StateDictOptions(flatten_optimizer_state_dict=flat)
    model, optimizer = trained()
    state = dict(zip(("model", "optim"), get_state_dict(model, optimizer, options=options),
                     strict=True))  # fmt: skip
    state |= {"step": 3, "list": [1, torch.ones(2)], "nested": {"a": {"b": "text"}}}
    dcp.async_save(state, checkpoint_id=tmp_path / "c").result(60)
    other, moments = trained()
    with torch.no_grad():
        other[0].weight.fill_(9)
    target = dict(zip(("model", "optim"), get_state_dict(other, moments, options=options),
                      strict=True))  # fmt: skip
    target |= {"step": 0, "list": [0, torch.zeros(2)], "nested": {"a": {"b": ""}}}
    dcp.load(target, checkpoint_id=tmp_path / "c")
    assert target["step"] == 3 and target["list"][0] == 1 and target["nested"]["a"]["b"] == "text"
    equal(target, state)
    set_state_dict(other, moments, model_state_dict=target["model"],
                   optim_state_dict=target["optim"], options=options)  # fmt: skip
    equal(dict(other.state_dict()), dict(model.state_dict()))
    equal(moments.state_dict()["state"], optimizer.state_dict()["state"])
    format_utils.dcp_to_torch_save(tmp_path / "c", tmp_path / "one.pt")
    one = torch.load(tmp_path / "one.pt", weights_only=False)
    equal(one["model"], dict(state["model"]))


def test_what_does_not_fit(tmp_path):
    dcp.save({"w": torch.ones(3)}, checkpoint_id=tmp_path)
    with pytest.raises(dcp.CheckpointException, match="Missing key"):
        dcp.load({"v": torch.ones(3)}, checkpoint_id=tmp_path)
    with pytest.raises(dcp.CheckpointException, match="Size mismatch"):
        dcp.load({"w": torch.ones(4)}, checkpoint_id=tmp_path)
    planner = dcp.DefaultLoadPlanner(allow_partial_load=True)
    state = {"w": torch.zeros(3), "v": torch.zeros(1)}
    dcp.load(state, checkpoint_id=tmp_path, planner=planner)
    assert state["w"].tolist() == [1, 1, 1]
    writer = dcp.FileSystemWriter(tmp_path, overwrite=False)
    with pytest.raises(dcp.CheckpointException, match="already exists"):
        dcp.save({"w": torch.ones(3)}, storage_writer=writer)


class Counter:
    def __init__(self, n):
        self.n = n

    def state_dict(self):
        return {"n": self.n}

    def load_state_dict(self, state):
        self.n = state["n"]


def test_objects_that_know_their_state(tmp_path):
    dcp.save({"counter": Counter(5)}, checkpoint_id=tmp_path)
    other = Counter(0)
    dcp.load({"counter": other}, checkpoint_id=tmp_path)
    assert other.n == 5


@pytest.mark.parity
@pytest.mark.filterwarnings("ignore")
def test_files_of_both_sides(tmp_path):
    theirs = pytest.importorskip("torch")
    from torch.distributed import checkpoint as their_dcp

    their_dcp.save({"m": {"w": theirs.arange(6.0).view(2, 3)}, "step": 3},
                   checkpoint_id=tmp_path / "theirs", no_dist=True)  # fmt: skip
    state = {"m": {"w": torch.zeros(2, 3)}, "step": 0}
    dcp.load(state, checkpoint_id=tmp_path / "theirs")
    assert state["m"]["w"].tolist() == [[0, 1, 2], [3, 4, 5]] and state["step"] == 3
    dcp.save(state, checkpoint_id=tmp_path / "ours")
    back = {"m": {"w": theirs.zeros(2, 3)}, "step": 0}
    their_dcp.load(back, checkpoint_id=tmp_path / "ours", no_dist=True)
    assert back["m"]["w"].tolist() == [[0, 1, 2], [3, 4, 5]] and back["step"] == 3
