"""Streams, events, the current device: order where it was asked for, and only there."""

from __future__ import annotations

import threading

import pytest

import taimatsu as torch


def numbers(n: int, value: float = 1.0) -> torch.Tensor:
    return torch.full((n,), value)


def test_work_is_queued_until_it_is_waited_for(double):
    x = numbers(100).cuda()
    y = x + 1
    if not double.threads:
        assert double.pending() > 0 and not torch.cuda.current_stream().query()
    torch.cuda.synchronize()
    assert double.pending() == 0 and torch.cuda.current_stream().query()
    assert (y.cpu() == 2).all()


def test_copies_to_the_host_wait():
    x = numbers(1000).cuda()
    for _ in range(5):
        x = x * 2
    assert x.cpu()[999] == 32 and x[3].item() == 32


def test_the_current_stream_is_the_threads_own():
    s = torch.cuda.Stream()
    found = []
    with torch.cuda.stream(s):
        assert torch.cuda.current_stream() == s
        t = threading.Thread(target=lambda: found.append(torch.cuda.current_stream()))
        t.start()
        t.join()
    assert found == [torch.cuda.default_stream()]
    assert torch.cuda.current_stream() == torch.cuda.default_stream() != s


def test_streams_as_contexts_nest():
    a, b = torch.cuda.Stream(), torch.cuda.Stream()
    with a:
        with b, a:
            assert torch.cuda.current_stream() == a
        assert torch.cuda.current_stream() == a
    assert torch.cuda.current_stream().cuda_stream == 0


def test_a_stream_that_doesnt_wait_reads_too_early(double):
    """The double runs nothing before it has to: so tests of order can fail."""
    if double.threads:
        pytest.skip("of threads, any order may come about")
    side = torch.cuda.Stream()
    x = numbers(100, 5).cuda()
    torch.cuda.synchronize()
    y = x + 1
    with torch.cuda.stream(side):
        z = y + 0
        early = z.cpu()
    assert not (early == 6).all()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        assert ((y + 0).cpu() == 6).all()


def test_wait_stream_and_events_order():
    side = torch.cuda.Stream(priority=-1)
    x = numbers(1 << 16).cuda()
    for _ in range(20):
        x = x + 1
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            x = x + 1
            event = side.record_event()
        event.wait()
    assert (x.cpu() == 41).all()


def test_events_tell_when_they_are_reached(double):
    event = torch.cuda.Event()
    assert event.query() and "uninitialized" in repr(event)
    event.synchronize()  # was never recorded
    x = numbers(10).cuda()
    x += 1
    event.record()
    event.synchronize()
    assert event.query() and event.device == x.device
    while not torch.cuda.current_stream().query():
        pass


def test_elapsed_time():
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    with pytest.raises(ValueError, match="recorded"):
        start.elapsed_time(end)
    start.record()
    x = numbers(1 << 16).cuda() * 2
    end.record()
    end.synchronize()
    assert 0 <= start.elapsed_time(end) < 10000
    with pytest.raises(ValueError, match="enable_timing"):
        start.elapsed_time(torch.cuda.Event())
    assert x.is_cuda


def test_priorities_are_kept_within_range():
    least, greatest = torch.cuda.Stream.priority_range()
    assert least == 0 and greatest < 0
    assert torch.cuda.Stream(priority=-1).priority == -1
    assert torch.cuda.Stream(priority=-100).priority == greatest
    assert torch.cuda.Stream(priority=7).priority == least


def test_streams_come_from_a_pool(double):
    seen = {torch.cuda.Stream().cuda_stream for _ in range(100)}
    assert len(seen) == 32 and 0 not in seen
    made = double.calls("cuStreamCreateWithPriority")
    torch.cuda.Stream()
    assert double.calls("cuStreamCreateWithPriority") == made


def test_an_external_stream_is_used_as_it_is():
    s = torch.cuda.Stream()
    outside = torch.cuda.ExternalStream(s.cuda_stream)
    assert outside == s and hash(outside) == hash(s)
    assert torch.cuda.get_stream_from_external(s.cuda_stream) == s
    with torch.cuda.stream(outside):
        assert (numbers(4).cuda() + 1).cpu().tolist() == [2] * 4


# Devices


def test_devices_are_told_apart():
    assert torch.cuda.device_count() == 2
    x = numbers(3).to("cuda:1")
    assert x.device == torch.device("cuda", 1) and x.get_device() == 1
    with torch.cuda.device(1):
        assert torch.cuda.current_device() == 1
        assert torch.ones(2, device="cuda").device.index == 1
        with torch.cuda.device(torch.device("cuda:0")):
            assert numbers(1).cuda().device.index == 0
    assert torch.cuda.current_device() == 0
    with torch.cuda.device_of(x):
        assert torch.cuda.current_device() == 1


def test_the_current_device_is_the_threads_own():
    torch.cuda.set_device(1)
    found = []
    t = threading.Thread(target=lambda: found.append(torch.cuda.current_device()))
    t.start()
    t.join()
    assert found == [0] and torch.cuda.current_device() == 1


def test_copies_between_devices_keep_order():
    x = numbers(1 << 16).to("cuda:0")
    for i in range(6):
        x = (x + 1).to(f"cuda:{(i + 1) % 2}")
    assert (x.cpu() == 7).all()
    assert torch.cuda.can_device_access_peer(0, 1)


def test_streams_and_events_by_device():
    assert isinstance(torch.Stream("cuda:1"), torch.cuda.Stream)
    s, event = torch.Stream(priority=-1), torch.Event(enable_timing=True)
    assert (s.device_index, s.priority) == (0, -1) and isinstance(event, torch.cuda.Event)
    s.record_event(event)
    s.synchronize()
    assert event.elapsed_time(event) == 0


def test_streams_of_another_device_are_entered_with_it():
    s = torch.cuda.Stream(device=1)
    with torch.cuda.stream(s):
        assert torch.cuda.current_device() == 1 and torch.cuda.current_stream() == s
        assert torch.ones(2, device="cuda").device.index == 1
    assert torch.cuda.current_device() == 0
    assert torch.cuda.current_stream(1) == torch.cuda.default_stream(1)


@pytest.mark.parametrize("bad", [2, "cuda:9", torch.device("cuda:5")])
def test_devices_that_arent_there(bad):
    with pytest.raises(RuntimeError, match=r"invalid device ordinal.*0 to 1"):
        torch.cuda.set_device(bad)
    with pytest.raises(RuntimeError, match="invalid device ordinal"):
        torch.ones(1, device=bad)


def test_what_is_no_device():
    with pytest.raises(ValueError, match="Expected a cuda device"):
        torch.cuda.synchronize("cpu")
    with pytest.raises(TypeError):
        torch.cuda.synchronize(1.5)


def test_properties():
    about = torch.cuda.get_device_properties(0)
    assert torch.cuda.get_device_name() == about.name == "Double 0"
    assert torch.cuda.get_device_capability() == (9, 0)
    assert about.total_memory == 1 << 30 and about.warp_size == 32
    assert "Double 0" in repr(about) and torch.cuda.is_bf16_supported()
    assert "sm_90" in torch.cuda.get_arch_list() and "sm_90" in torch.cuda.get_gencode_flags()
    with pytest.raises(AssertionError, match="Invalid device id"):
        torch.cuda.get_device_properties(7)
