"""Graphs: recorded, replayed, with memory of their own."""

from __future__ import annotations

import pytest

import taimatsu as torch
from taimatsu import nn

cuda = torch.cuda


def test_a_replay_reads_what_is_there_then(double):
    x = torch.zeros(1000, device="cuda")
    y = (x + 1) * 2
    g = cuda.CUDAGraph()
    with cuda.graph(g):
        assert cuda.is_current_stream_capturing()
        y = (x + 1) * 2
    assert not cuda.is_current_stream_capturing()
    x.fill_(4)
    launches = double.calls("cuLaunchKernel")
    for _ in range(3):
        g.replay()
    assert (y.cpu() == 10).all()
    assert double.calls("cuLaunchKernel") == launches


def test_nothing_runs_while_it_is_recorded():
    x = torch.zeros(10, device="cuda")
    x += 1
    g = cuda.CUDAGraph()
    with cuda.graph(g):
        x += 1
    assert (x.cpu() == 1).all()
    for _ in range(4):
        g.replay()
    assert (x.cpu() == 5).all()


def test_streams_join_and_part():
    x = torch.zeros(1000, device="cuda")
    side = cuda.Stream()
    x + 1, x * 2
    g = cuda.CUDAGraph()
    with cuda.graph(g):
        side.wait_stream(cuda.current_stream())
        with cuda.stream(side):
            a = x + 1
        b = x * 2
        cuda.current_stream().wait_stream(side)
        c = a + b
    x.fill_(5)
    g.replay()
    assert (c.cpu() == 16).all()


def test_a_stream_that_is_not_joined_again():
    x = torch.zeros(1000, device="cuda")
    x + 1
    side = cuda.Stream()
    g = cuda.CUDAGraph()
    with pytest.raises(RuntimeError, match=r"unjoined work.*begin and end"), cuda.graph(g):
        side.wait_stream(cuda.current_stream())
        with cuda.stream(side):
            x + 1
    assert ((x + 1).cpu() == 1).all()


def test_waiting_is_not_permitted_meanwhile():
    x = torch.zeros(1000, device="cuda")
    x + 1
    g = cuda.CUDAGraph()
    with pytest.raises(RuntimeError, match="capturing"), cuda.graph(g):
        (x + 1).cpu()
    with pytest.raises(RuntimeError, match="without a preceding successful capture"):
        g.replay()
    assert ((x + 1).cpu() == 1).all() and not cuda.is_current_stream_capturing()
    with cuda.graph(g):  # and it can be tried again
        y = x + 1
    g.replay()
    assert (y.cpu() == 1).all()


def test_memory_of_a_graph_is_its_own():
    x = torch.zeros(1 << 16, device="cuda")
    x + 1
    g = cuda.CUDAGraph()
    with cuda.graph(g):
        temporary = x + 1
        y = temporary * 2
        del temporary
    taken = {s["segment_pool_id"] for s in cuda.memory_snapshot()}
    assert g.pool() in taken and (0, 0) in taken
    others = [torch.full((1 << 16,), 9.0, device="cuda") for _ in range(4)]
    g.replay()
    assert (y.cpu() == 2).all()
    assert all((o.cpu() == 9).all() for o in others)


def test_memory_is_given_back_with_the_graph():
    x = torch.zeros(1 << 20, device="cuda")
    x + 1
    g = cuda.CUDAGraph()
    with cuda.graph(g):
        y = x + 1
    pool = g.pool()
    cuda.empty_cache()
    assert any(s["segment_pool_id"] == pool for s in cuda.memory_snapshot())
    del y
    g.reset()
    cuda.empty_cache()
    assert not any(s["segment_pool_id"] == pool for s in cuda.memory_snapshot())


def test_graphs_share_a_pool():
    pool = cuda.graph_pool_handle()
    x = torch.ones(1 << 16, device="cuda")
    x + 1
    first, second = cuda.CUDAGraph(), cuda.CUDAGraph()
    with cuda.graph(first, pool=pool):
        a = x + 1
    with cuda.graph(second, pool=pool):
        b = a * 3
    assert first.pool() == second.pool() == pool
    first.replay()
    second.replay()
    assert (b.cpu() == 6).all()


def test_memory_is_not_asked_for_twice(double):
    """What a capture allocates comes from its pool, whose memory the driver maps meanwhile."""
    x = torch.zeros(1 << 20, device="cuda")
    x + 1
    g = cuda.CUDAGraph()
    with cuda.graph(g):
        for _ in range(10):
            y = x + 1
    reserved = sum(s["total_size"] for s in cuda.memory_snapshot()
                   if s["segment_pool_id"] == g.pool())  # fmt: skip
    assert reserved <= 20 << 20 and y.is_cuda


def test_errors():
    g = cuda.CUDAGraph()
    with pytest.raises(RuntimeError, match="non-default stream"):
        g.capture_begin()
    with pytest.raises(RuntimeError, match="no capture has begun"):
        g.capture_end()
    with pytest.raises(RuntimeError, match="without a preceding"):
        g.replay()
    with pytest.raises(RuntimeError, match="capture error mode"), cuda.stream(cuda.Stream()):
        g.capture_begin(capture_error_mode="no")
    with pytest.raises(RuntimeError, match="pool"):
        g.pool()


def test_a_graph_that_is_kept(tmp_path):
    x = torch.zeros(10, device="cuda")
    x + 1
    g = cuda.CUDAGraph(keep_graph=True)
    with cuda.graph(g):
        y = x + 1
    assert g.raw_cuda_graph()
    g.debug_dump(str(tmp_path / "g.dot"))
    assert "digraph" in (tmp_path / "g.dot").read_text()
    g.instantiate()
    g.replay()
    assert (y.cpu() == 1).all()
    with pytest.raises(RuntimeError, match="already owns"), cuda.graph(g):
        pass


def test_an_index_out_of_range_in_a_graph():
    a, b = torch.tensor([4]).cuda(), torch.tensor([2]).cuda()
    a // b
    g = cuda.CUDAGraph()
    with cuda.graph(g):
        c = a // b
    g.replay()
    assert c.item() == 2
    b.fill_(0)
    g.replay()
    with pytest.raises(RuntimeError, match="ZeroDivision"):
        cuda.synchronize()


class Scale(nn.Module):
    def __init__(self, n: int):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.rand(n)), nn.Parameter(torch.rand(n))

    def forward(self, x):
        return x * self.weight + self.bias


def test_graphed_callables():
    torch.manual_seed(0)
    net, eager = (nn.Sequential(Scale(8), nn.Tanh(), Scale(8), nn.Softmax(-1)) for _ in range(2))
    eager.load_state_dict(net.state_dict())
    net, eager = net.cuda(), eager.cuda()
    sample = torch.zeros(5, 8, device="cuda", requires_grad=True)
    graphed = cuda.make_graphed_callables(net, (sample,))
    assert graphed is net
    for step in range(3):
        x = torch.full((5, 8), 0.1 * step).cuda().requires_grad_()
        z = x.detach().clone().requires_grad_()
        (graphed(x) ** 2).sum().backward()
        (eager(z) ** 2).sum().backward()
        assert torch.allclose(x.grad.cpu(), z.grad.cpu())
        for p, q in zip(net.parameters(), eager.parameters(), strict=True):
            assert torch.allclose(p.grad.cpu(), q.grad.cpu())
            p.grad = q.grad = None


def test_graphed_functions():
    sample = torch.zeros(6, device="cuda")
    double_it, square = cuda.make_graphed_callables(
        (lambda x: x * 2, lambda x: (x * x, x)), ((sample,), (sample,))
    )
    x = torch.full((6,), 3.0).cuda()
    y, same = square(double_it(x))
    assert (y.cpu() == 36).all() and (same.cpu() == 6).all()


def test_random_numbers_are_new_at_each_replay():
    """Those that the same draws without a graph would give."""
    x = torch.empty(6, device="cuda")
    own = torch.Generator(device="cuda").manual_seed(7)
    draws = lambda: (torch.rand_like(x), x.normal_(generator=own), torch.rand(3, device="cuda"))
    torch.manual_seed(1)
    wanted = [tuple(t.clone().cpu() for t in draws()) for _ in range(3)]
    graph = torch.cuda.CUDAGraph()
    torch.manual_seed(5)
    with torch.cuda.graph(graph):
        results = draws()
    torch.manual_seed(1)
    own.manual_seed(7)
    first = torch.rand(6, device="cuda")  # as many counters as the first of each draw has
    torch.manual_seed(1)
    seen = []
    for _ in range(3):
        graph.replay()
        seen.append(tuple(t.clone().cpu() for t in results))
    assert torch.equal(seen[0][0], first.cpu()) and torch.equal(seen[0][0], wanted[0][0])
    for a, b in zip(seen, wanted, strict=True):
        for s, t in zip(a, b, strict=True):
            assert torch.equal(s, t)
    own.manual_seed(7)
    graph.replay()
    assert torch.equal(results[1].cpu(), wanted[0][1])
    graph.reset()
