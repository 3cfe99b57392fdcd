"""Compiled functions as CUDA graphs: the numbers of eager calls, by one launch."""

from __future__ import annotations

import gc
import threading

import pytest

import taimatsu as torch
from taimatsu import nn
from taimatsu.compiler import _graphs
from taimatsu.nn import functional as F

cuda = torch.cuda
CALLS = ("cuLaunchKernel", "cuGraphLaunch", "cuMemcpyAsync", "cuMemsetD8Async")


@pytest.fixture(autouse=True)
def _forgotten():
    yield
    torch.compiler.reset()


def graphed(function):
    return torch.compile(function, mode="reduce-overhead")


class Counted:
    """How often the driver was called inside."""

    def __init__(self, double):
        self.double = double

    def __enter__(self):
        self.before = [self.double.calls(name) for name in CALLS]
        self.figures = _graphs.figures()
        return self

    def __exit__(self, *exc):
        counts = [self.double.calls(n) - b for n, b in zip(CALLS, self.before, strict=True)]
        self.kernels, self.graphs, self.copies, self.fills = counts
        self.changed = {k: v - self.figures[k] for k, v in _graphs.figures().items()}


def mixed(x, y):
    a = (x @ y).sin() + 1
    b = a.sum(1, keepdim=True)
    return a / b, torch.cat([a, b], 1).flip(0), x.cumsum(0)


def test_one_launch(double):
    compiled = graphed(mixed)
    for step in range(10):
        x, y = torch.randn(8, 6).cuda(), torch.randn(6, 5).cuda()
        wanted = mixed(x, y)
        with Counted(double) as counted:
            found = compiled(x, y)
        for a, b in zip(found, wanted, strict=True):
            assert torch.equal(a.cpu(), b.cpu())
        if step >= 7:  # what a library reads and writes is copied, where it keeps moving
            assert (counted.graphs, counted.kernels) == (1, 0) and counted.copies <= 3
            assert counted.changed == {"recorded": 0, "launched": 1, "refused": 0}
    with Counted(double) as counted:
        torch.compile(mixed)(x, y)
    assert counted.graphs == 0, "only where the mode asks for it"


def test_who_asks():
    from taimatsu._inductor import config

    wants = torch.compiler._wants_graphs
    assert wants("inductor", "reduce-overhead", None) and wants("inductor", "max-autotune", None)
    assert wants("cudagraphs", None, None) and wants("inductor", None, {"triton.cudagraphs": True})
    assert not wants("inductor", None, None)
    assert not wants("inductor", "max-autotune-no-cudagraphs", None)
    config.triton.cudagraphs = True
    try:
        assert wants("inductor", None, None)
        assert not wants("inductor", None, {"triton.cudagraphs": False})
    finally:
        config.triton.cudagraphs = False


def test_memory_that_moves(double):
    """Inputs and results lie elsewhere in each call, results of before keep what they hold."""
    held, kept = [], []
    compiled = graphed(lambda x, w: (x * w).relu() + x)
    w = torch.randn(1000).cuda()
    for step in range(9):
        x = torch.randn(1000).cuda()
        held += [x, torch.empty(1000 * (step + 1), device="cuda")]
        with Counted(double) as counted:
            kept.append(compiled(x, w))
        if step > 3:
            assert counted.changed == {"recorded": 0, "launched": 1, "refused": 0}
            assert counted.kernels == 0
    for x, y in zip(held[::2], kept, strict=True):
        assert torch.equal(y.cpu(), ((x * w).relu() + x).cpu())


def test_numbers_that_change(double):
    """Those of kernels are written into the graph; others belong to the recording."""
    f = lambda x, n: (x * n + 1).exp() - n
    compiled = graphed(f)
    x = torch.randn(10).cuda()
    for step in range(8):
        with Counted(double) as counted:
            found = compiled(x, step / 4)
        assert torch.equal(found.cpu(), f(x, step / 4).cpu())
    assert counted.changed == {"recorded": 0, "launched": 1, "refused": 0}

    f = lambda x, n: torch.addmm(x, x, x, alpha=n) + 1
    compiled = graphed(f)
    x = torch.randn(10, 10).cuda()
    for step in range(20):
        with Counted(double) as counted:
            found = compiled(x, step)
        assert torch.equal(found.cpu(), f(x, step).cpu())
    assert counted.graphs == 0, "always another number for a library: not worth it"
    for _ in range(8):
        with Counted(double) as counted:
            found = graphed(lambda x, n: f(x, n) * 2)(x, 3)
    assert counted.changed == {"recorded": 0, "launched": 1, "refused": 0}


def test_written_in_place(double):
    def f(x, y):
        x.add_(y).mul_(2)
        x[1:3] = 7
        return x.sum()

    compiled = graphed(f)
    x, other = torch.zeros(6).cuda(), torch.zeros(6).cuda()
    for step in range(8):
        y = torch.full((6,), float(step)).cuda()
        with Counted(double) as counted:
            found = compiled(x, y)
        assert found.item() == f(other, y).item() and torch.equal(x.cpu(), other.cpu())
    assert counted.graphs == 1 and counted.kernels == 0


def test_training(double):
    torch.manual_seed(2)
    nets = [nn.Sequential(nn.Linear(6, 16), nn.GELU(), nn.LayerNorm(16), nn.Linear(16, 3)).cuda()
            for _ in range(2)]  # fmt: skip
    nets[1].load_state_dict(nets[0].state_dict())
    optimizers = [torch.optim.AdamW(net.parameters(), lr=0.01) for net in nets]

    def step(net, optimizer, x, target):
        loss = F.cross_entropy(net(x), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    compiled = graphed(step)
    reserved = []
    for number in range(14):
        x, target = torch.randn(10, 6).cuda(), torch.randint(3, (10,)).cuda()
        wanted = step(nets[0], optimizers[0], x, target)
        with Counted(double) as counted:
            found = compiled(nets[1], optimizers[1], x, target)
        assert found.item() == wanted.item()
        for p, q in zip(nets[0].parameters(), nets[1].parameters(), strict=True):
            assert torch.equal(p.cpu(), q.cpu())
        reserved.append(cuda.memory_reserved())
        if number > 9:
            assert counted.changed["refused"] == 0
            assert counted.graphs >= 1 and counted.kernels <= 2
    assert len(set(reserved[-4:])) == 1


def test_backward_of_a_compiled_module(double):
    net = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3)).cuda()
    eager = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3)).cuda()
    eager.load_state_dict(net.state_dict())
    compiled = graphed(net)
    for _ in range(14):
        x = torch.randn(4, 6).cuda()
        (eager(x) ** 2).sum().backward()
        with Counted(double) as counted:
            (compiled(x) ** 2).sum().backward()
        for p, q in zip(net.parameters(), eager.parameters(), strict=True):
            assert torch.equal(p.grad.cpu(), q.grad.cpu())
            p.grad = q.grad = None
    assert counted.graphs == 2 and counted.changed["recorded"] == 0


def test_random_numbers_go_on(double):
    def f(x):
        return F.dropout(x, 0.5) + torch.rand_like(x)

    x = torch.ones(50).cuda()
    compiled = graphed(f)
    torch.manual_seed(3)
    wanted = [f(x).cpu() for _ in range(8)]
    torch.manual_seed(3)
    for step, values in enumerate(wanted):
        with Counted(double) as counted:
            found = compiled(x)
        assert torch.equal(found.cpu(), values), step
    assert counted.graphs == 1 and counted.changed["recorded"] == 0


def test_internal_memory_is_shared(double):
    """Graphs of a stream run one after another: what they don't give out is one pool's."""
    def work(x, n):
        for _ in range(n):
            x = x.cumsum(0).flip(0)
        return x.sum()

    x = torch.ones(1 << 17).cuda()
    figures = []
    for n in (3, 4, 5, 6):
        compiled = graphed(lambda x, n=n: work(x, n))
        for _ in range(5):
            compiled(x).item()
        figures.append(sum(s["total_size"] for s in cuda.memory_snapshot()
                           if s["segment_pool_id"] != (0, 0)))  # fmt: skip
    assert 0 < figures[0] == figures[-1]
    torch.compiler.reset()
    gc.collect()
    cuda.empty_cache()
    assert all(s["segment_pool_id"] == (0, 0) for s in cuda.memory_snapshot())


def test_steady_memory(double):
    compiled = graphed(mixed)
    x, y = torch.randn(300, 200).cuda(), torch.randn(200, 100).cuda()
    for _ in range(6):
        compiled(x, y)
    allocated, made = cuda.memory_allocated(), double.calls("cuMemCreate")
    for _ in range(20):
        compiled(x, y)
    assert cuda.memory_allocated() == allocated and double.calls("cuMemCreate") == made


def test_what_waits_is_no_graph(double):
    """It is called as ever, and its users can ask why."""
    from taimatsu._dynamo.utils import counters

    compiled = graphed(lambda x: torch.multinomial(x.exp(), 1).sum() + x.sum())
    x = torch.tensor([0.0, -1000.0]).cuda()
    before = counters["inductor"]["cudagraph_skips"]
    for _ in range(6):
        with Counted(double) as counted:
            assert compiled(x).item() == -1000
    assert counted.graphs == 0 and counters["inductor"]["cudagraph_skips"] == before + 1
    assert not cuda.is_current_stream_capturing()


@pytest.mark.parametrize("function", [
    "cuStreamBeginCapture_v2", "cuStreamEndCapture", "cuGraphInstantiateWithFlags",
    "cuGraphGetNodes", "cuGraphExecKernelNodeSetParams",
])  # fmt: skip
def test_a_driver_that_refuses(double, function):
    compiled = graphed(mixed)
    for step in range(8):
        x, y = torch.randn(8, 6).cuda(), torch.randn(6, 5).cuda()
        if step == 3:
            double.fail(function, 801, after=double.calls(function) * 0, times=1000)
        hold = compiled(x, y)
        for a, b in zip(hold, mixed(x, y), strict=True):
            assert torch.equal(a.cpu(), b.cpu())
    double.fail(function, 0, times=0)
    assert _graphs.figures()["refused"] > 0


def test_an_error_while_it_is_recorded(double):
    """What fails is told where it always is, and the next call works."""
    compiled = graphed(lambda x, i: (x * 2)[i] // x.new_zeros(1).add_(1))
    x, good = torch.arange(10).cuda(), torch.tensor([3]).cuda()
    for _ in range(6):
        assert compiled(x, good).item() == 6
    with pytest.raises((IndexError, RuntimeError)):
        compiled(x, torch.tensor([99]).cuda())
        cuda.synchronize()
    assert compiled(x, good).item() == 6


def test_a_launch_that_fails(double):
    compiled = graphed(mixed)
    x, y = torch.randn(8, 6).cuda(), torch.randn(6, 5).cuda()
    for _ in range(5):
        wanted = compiled(x, y)
    double.fail("cuGraphLaunch", 719)
    with pytest.raises(RuntimeError, match="cuGraphLaunch"):
        compiled(x, y)
    double.recover()
    for a, b in zip(compiled(x, y), wanted, strict=True):
        assert torch.equal(a.cpu(), b.cpu())


def test_out_of_memory(double):
    compiled = graphed(lambda x: x.cumsum(0).flip(0).cumsum(0).sum())
    x = torch.zeros(1 << 21).cuda()
    for _ in range(3):
        wanted = compiled(x).item()
    cuda.empty_cache()
    double.set_memory(double.used())
    try:
        with pytest.raises(torch.OutOfMemoryError):
            compiled(x)
    finally:
        double.set_memory(1 << 30)
    assert compiled(x).item() == wanted


def test_streams(double):
    """Each stream has recordings of its own, as two may run at once."""
    compiled = graphed(mixed)
    x, y = torch.randn(8, 6).cuda(), torch.randn(6, 5).cuda()
    wanted = [t.cpu() for t in mixed(x, y)]
    sides = [cuda.Stream(), cuda.Stream()]
    for _ in range(8):
        for side in sides:
            side.wait_stream(cuda.current_stream())
            with cuda.stream(side), double.trace() as queued:
                found = compiled(x, y)
            side.synchronize()
            assert all(torch.equal(a.cpu(), b) for a, b in zip(found, wanted, strict=True))
    assert {stream for stream, *_ in queued} == {side.cuda_stream}
    assert [what for _, what, *_ in queued if what != "copy"] == ["replay"]


def test_inside_of_a_graph_of_the_program(double):
    compiled = graphed(mixed)
    x, y = torch.randn(8, 6).cuda(), torch.randn(6, 5).cuda()
    for _ in range(5):
        compiled(x, y)
    graph = cuda.CUDAGraph()
    with cuda.graph(graph):
        found = compiled(x, y)
    x.fill_(2)
    graph.replay()
    for a, b in zip(found, mixed(x, y), strict=True):
        assert torch.equal(a.cpu(), b.cpu())


def test_threads(double):
    compiled = graphed(mixed)
    failures = []

    def work(seed):
        try:
            for step in range(8):
                x, y = (torch.full(n, seed + step / 8).cuda() for n in ((8, 6), (6, 5)))
                for a, b in zip(compiled(x, y), mixed(x, y), strict=True):
                    assert torch.equal(a.cpu(), b.cpu())
        except BaseException as e:
            failures.append(e)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert failures == []


def test_numbers_on_the_host_beside(double):
    """Calls on the CPU are no part of the graph, and are made all the same."""
    counter = torch.zeros(100)

    def f(x):
        counter.add_(1)
        return x * 2 + 1

    compiled = graphed(f)
    for step in range(7):
        with Counted(double) as counted:
            assert (compiled(torch.ones(5).cuda()).cpu() == 3).all()
        assert (counter == step + 1).all()
    assert counted.graphs == 1
