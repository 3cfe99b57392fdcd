"""Recorded events: their order and nesting, averages, the trace; no times."""

import json

import pytest

import taimatsu as torch
from taimatsu.autograd.profiler import profile, record_function


def test_events_nest_and_backward_is_seen():
    with profile(record_shapes=True) as p:
        x = torch.ones(2, 3, requires_grad=True)
        with record_function("block"):
            y = torch.stack([x, x])
        y.sum().backward()
    events = {e.name: e for e in p.events()}
    assert events["aten::stack"].cpu_parent.name == "block" and events["block"].cpu_parent is None
    assert events["aten::cat"].cpu_parent.name == "aten::stack" and "aten::sum_backward" in events
    assert events["aten::sum"].input_shapes[0] == [2, 2, 3]
    assert all(e.cpu_time_total >= e.self_cpu_time_total for e in p.events())


def test_averages_table_and_trace(tmp_path):
    assert not torch.autograd._profiler_enabled()
    with profile() as p:
        assert torch.autograd._profiler_enabled()
        with pytest.raises(RuntimeError, match="didn't finish"):
            p.events()
        for _ in range(3):
            torch.ones(2)
    (average,) = p.key_averages()
    assert average.key == "aten::ones" and average.count == 3
    assert "ones" in p.table(sort_by="cpu_time_total")
    p.export_chrome_trace(str(tmp_path / "trace.json"))
    trace = json.loads((tmp_path / "trace.json").read_text())
    assert [e["name"] for e in trace["traceEvents"]] == ["aten::ones"] * 3
    with profile(enabled=False) as off:
        torch.ones(1)
    assert off.events() == []


def test_errors_close_their_event():
    with profile() as p:
        with pytest.raises(RuntimeError):
            torch.ones(2) + torch.ones(3)
        torch.zeros(1)
    assert [e.cpu_parent for e in p.events()] == [None] * len(p.events())


def test_record_function_decorates():
    @record_function("named")
    def f():
        return torch.ones(1)

    with profile() as p:
        f()
    assert [e.name for e in p.events()] == ["named", "aten::ones"]


def test_a_new_dim_is_an_op_like_others():
    x = torch.ones(2, requires_grad=True)
    with profile():
        assert x[None].shape == (1, 2)
    with torch.autocast("cpu"):
        assert x[None].requires_grad
