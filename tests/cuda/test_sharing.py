"""Tensors on GPUs sent to other processes: the same memory there, kept until all have let go."""

from __future__ import annotations

import gc

import pytest
import sharing_workers

import taimatsu as torch
import taimatsu.multiprocessing as mp
from taimatsu.multiprocessing import gpu

cuda = torch.cuda


class Other:
    """Another process, asked one thing after the other."""

    def __init__(self):
        context = mp.get_context("spawn")
        self.inbox, self.outbox = context.Queue(), context.Queue()
        self.process = context.Process(
            target=sharing_workers.serve, args=(self.inbox, self.outbox), daemon=True
        )
        self.process.start()

    def __call__(self, what, x=None):
        self.inbox.put((what, x))
        del x
        return self.outbox.get(timeout=60)


@pytest.fixture(scope="module")
def other():
    process = Other()
    yield process
    process.inbox.put(("stop", None))
    process.process.join(60)
    assert process.process.exitcode == 0


@pytest.fixture(autouse=True)
def _nothing_left(other):
    yield
    other("let go")
    cuda.ipc_collect()
    assert not gpu._sent


def test_tensors_arrive(other):
    x = torch.arange(6.0, device="cuda").reshape(2, 3)
    assert other("read", x) == ("cuda:0", x.tolist(), False)
    assert other("read", x.t()[1:]) == ("cuda:0", x.t()[1:].tolist(), False)
    assert other("read", x.to("cuda:1").long())[0] == "cuda:1"
    assert other("read", torch.nn.Parameter(x))[2]
    assert other("read", x[:0]) == ("cuda:0", [], False)


def test_memory_is_the_same(other):
    x = torch.zeros(1 << 16, device="cuda")
    for step in range(1, 4):
        assert other("write", x) != 0
        assert (x.cpu() == step).all()


def test_a_receiver_comes_after_what_is_queued(double, other):
    side = cuda.Stream()
    with cuda.stream(side):
        x = torch.zeros(1 << 12, device="cuda")
        for _ in range(20):
            x = x + 1
        if not double.threads:
            assert not side.query()
        other.inbox.put(("read", x[:3]))
        assert other.outbox.get(timeout=60)[1] == [20, 20, 20]


def test_large_tensors_and_many(other):
    large = torch.ones((24 << 20) // 4 + 5, device="cuda")  # over the edge of a granule
    parts = [large[i::7] for i in range(7)] + [torch.ones(i + 1, device="cuda") for i in range(9)]
    assert other("sum of all", parts) == large.numel() + 45


def test_memory_is_kept_until_the_receiver_lets_go(double, other):
    x = torch.full((1 << 18,), 7.0, device="cuda")
    address, before = x.data_ptr(), cuda.memory_allocated()
    other("hold", x)
    del x
    gc.collect()
    cuda.ipc_collect()
    assert cuda.memory_allocated() == before and len(gpu._sent) == 1
    taken = [torch.zeros(1 << 18, device="cuda") for _ in range(4)]
    assert address not in [t.data_ptr() for t in taken]
    cuda.empty_cache()
    assert other("held")[0][:2] == [7.0, 7.0]
    other("let go")
    del taken
    cuda.ipc_collect()
    assert not gpu._sent and cuda.memory_allocated() < before


def test_memory_comes_back_before_there_is_too_little(double, other):
    size = (20 << 20) // 4  # all of a granule
    x = torch.zeros(size, device="cuda")
    other("hold", x)
    other("let go")
    del x
    gc.collect()
    cuda.empty_cache()
    assert len(gpu._sent) == 1
    double.set_memory(double.used())
    try:
        y = torch.empty(size, device="cuda")  # where the one that was sent has been
    finally:
        double.set_memory(1 << 30)
    assert y.is_cuda and not gpu._sent


def test_what_came_from_another_process_isnt_sent_on(other):
    assert "cloning before sending" in other("send on", torch.ones(3, device="cuda"))


def test_a_queue_within_the_process():
    queue = mp.get_context("spawn").Queue()
    x = torch.ones(5, device="cuda")
    queue.put(x)
    y = queue.get(timeout=60)
    assert y.data_ptr() == x.data_ptr()


def test_a_message_that_cant_be_written_takes_its_handles_back(other):
    x = torch.ones(4, device="cuda")
    with pytest.raises(Exception, match="pickle"):
        mp.reductions.pack((x, lambda: 0))
    cuda.ipc_collect()
    assert not gpu._sent


def test_arguments_of_a_process(other):
    context = mp.get_context("spawn")
    outbox = context.Queue()
    x = torch.arange(3.0, device="cuda")
    process = context.Process(target=sharing_workers.double_it, args=(x, outbox))
    process.start()
    assert outbox.get(timeout=60) == 3
    process.join(60)
    assert process.exitcode == 0 and x.tolist() == [0, 2, 4]
    cuda.ipc_collect()  # the process has ended, and let go
    assert not gpu._sent


def test_events_of_another_process(other):
    event = cuda.Event(interprocess=True)
    x = torch.zeros(100, device="cuda")
    handle = event.ipc_handle()
    for _ in range(5):
        x += 1
    event.record()
    assert other("wait for", (handle, x[:2])) == (True, [5, 5])
    with pytest.raises(RuntimeError, match="interprocess=True"):
        cuda.Event().ipc_handle()


def test_memory_of_others_isnt_shared(other):
    x = torch.ones(4, device="cuda")
    y = torch.from_dlpack(x[1:].__dlpack__())
    with pytest.raises(RuntimeError, match="clone"):
        gpu.reduce_storage(y.untyped_storage())
