"""What the allocator did, as PyTorch's viewer of memory reads it."""

from __future__ import annotations

import pickle

import pytest

import taimatsu as torch

memory = torch.cuda.memory


@pytest.fixture(autouse=True)
def _ended():
    torch.cuda.empty_cache()
    yield
    memory._record_memory_history(None)


def steps(action=None, device=0):
    found = memory._snapshot()["device_traces"][device]
    return [s for s in found if action is None or s["action"] == action]


def make(size=1 << 20):
    return torch.empty(size, device="cuda")


def test_every_step_is_told_with_its_stack(double):
    memory._record_memory_history()
    x = make()
    address, size = x.data_ptr(), 4 << 20
    del x
    torch.cuda.empty_cache()
    actions = [s["action"] for s in steps()]
    grown, given = (
        ("segment_map", "segment_unmap") if double.virtual else ("segment_alloc", "segment_free")
    )
    assert actions == [grown, "alloc", "free_requested", "free_completed", given, "snapshot"]
    alloc = steps("alloc")[0]
    assert (alloc["addr"], alloc["size"], alloc["stream"]) == (address, size, 0)
    frames = alloc["frames"]
    assert frames[0]["name"] == "make" and frames[0]["filename"] == __file__
    assert frames[1]["name"] == test_every_step_is_told_with_its_stack.__name__
    assert isinstance(frames[0]["line"], int) and alloc["time_us"] > 0
    assert steps("free_requested")[0]["frames"][0]["name"] == frames[1]["name"]
    mapped, unmapped = steps(grown)[0], steps(given)[0]
    assert (mapped["addr"], mapped["size"]) == (unmapped["addr"], unmapped["size"])


def test_blocks_in_use_know_where_they_come_from():
    memory._record_memory_history("state")
    x = make()
    blocks = [b for s in memory._snapshot()["segments"] for b in s["blocks"]]
    (block,) = [b for b in blocks if b["address"] == x.data_ptr()]
    assert block["state"] == "active_allocated" and block["frames"][0]["name"] == "make"
    assert all(not b["frames"] for b in blocks if b["state"] == "inactive")
    assert steps() == []  # "state": no history


def test_sums_of_the_history_are_the_allocators(double):
    """From the steps alone, a viewer computes what is in use and what is reserved."""
    memory._record_memory_history(context=None)
    before = torch.cuda.memory_allocated(), torch.cuda.memory_reserved()
    kept = [make(n) for n in (100, 1 << 18, 3 << 20, 1 << 10)]
    del kept[1:3]
    kept.append(make(1 << 19))
    sign = {"alloc": 1, "free_completed": -1}
    held = {"segment_map": 1, "segment_alloc": 1, "segment_unmap": -1, "segment_free": -1}
    used = sum(sign.get(s["action"], 0) * s["size"] for s in steps())
    reserved = sum(held.get(s["action"], 0) * s["size"] for s in steps())
    assert used == torch.cuda.memory_allocated() - before[0]
    assert reserved == torch.cuda.memory_reserved() - before[1]
    assert not any(s["frames"] for s in steps())


def test_other_streams_delay_what_is_free():
    side = torch.cuda.Stream()
    memory._record_memory_history(skip_actions=["snapshot"])
    x = make()
    x.record_stream(side)
    del x
    assert steps()[-1]["action"] == "free_requested"
    torch.cuda.synchronize()
    make()
    actions = [s["action"] for s in steps()]
    assert "free_completed" in actions[actions.index("free_requested") :]


def test_too_little_memory_is_a_step(double):
    memory._record_memory_history()
    double.set_memory(64 << 20)
    try:
        with pytest.raises(torch.cuda.OutOfMemoryError):
            make(1 << 26)
    finally:
        double.set_memory(1 << 30)
    (step,) = steps("oom")
    assert step["size"] == 1 << 28 and 0 <= step["device_free"] <= 64 << 20
    assert step["frames"][0]["name"] == "make"


def test_how_much_is_kept():
    memory._record_memory_history(max_entries=3)
    for _ in range(5):
        make(10)
    assert len(steps()) == 3
    memory._record_memory_history(clear_history=True)
    assert [s["action"] for s in steps()] == ["snapshot"]
    memory._record_memory_history(enabled=None)
    make(10)
    assert [s["action"] for s in steps()] == ["snapshot"]  # what was noted before
    for bad in ({"enabled": "some"}, {"context": "some"}, {"stacks": "some"}):
        with pytest.raises(ValueError, match="must be"):
            memory._record_memory_history(**bad)


def test_the_file(tmp_path):
    memory._record_memory_history()
    x = make()
    memory._dump_snapshot(str(tmp_path / "memory.pickle"))
    with open(tmp_path / "memory.pickle", "rb") as file:
        found = pickle.load(file)
    assert {"segments", "device_traces", "allocator_settings"} <= set(found)
    assert len(found["device_traces"]) == torch.cuda.device_count()
    for segment in found["segments"]:
        assert {"address", "total_size", "allocated_size", "active_size", "requested_size",
                "stream", "segment_type", "segment_pool_id", "is_expandable", "frames",
                "blocks"} <= set(segment)  # fmt: skip
        at = segment["address"]
        for block in segment["blocks"]:
            assert block["address"] == at and block["state"] in (
                "active_allocated", "active_pending_free", "inactive")  # fmt: skip
            at += block["size"]
        assert at == segment["address"] + segment["total_size"]
    assert x.is_cuda


def test_tensors_that_die_while_steps_are_told():
    """Stacks are looked up by Python code, which may collect garbage: memory is freed meanwhile."""
    import gc

    class Loop:
        def __init__(self, tensor):
            self.tensor, self.own = tensor, self

    memory._record_memory_history()
    threshold = gc.get_threshold()
    gc.set_threshold(3)
    try:
        for n in range(200):
            Loop(make(1 + n * 997 % 5000))
            if n % 20 == 0:
                torch.cuda.empty_cache()
    finally:
        gc.set_threshold(*threshold)
    gc.collect()
    allocs, frees = (sum(s["size"] for s in steps(a)) for a in ("alloc", "free_completed"))
    assert allocs == frees
